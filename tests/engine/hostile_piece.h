/* One stored thing made by hand, byte by byte: a blob of a pack, or a record. */
#ifndef HF_TESTS_HOSTILE_PIECE_H
#define HF_TESTS_HOSTILE_PIECE_H

#include <zstd.h>

#include "engine/hostile_craft.h"

/* What is stored, and of what its name is the hash. */
struct piece {
	struct buf stored, plain;
	uint64_t claimed; /* uncompressed_length; 0: stored plain */
	bool tree;        /* the directory "x", not the file */
};

/* All of these append to what is stored, but fill: it makes the plain bytes, so many of one. */
void piece_put(struct piece *p, const void *bytes, size_t len);
void piece_fill(struct piece *p, size_t len, uint8_t byte);
/* What the plain bytes compress to; of some of them, with one parameter set. */
void piece_frame(struct piece *p);
void piece_frame_of(struct piece *p, size_t from, size_t to, ZSTD_cParameter key, int value);
void piece_skippable(struct piece *p, unsigned n);

#endif
