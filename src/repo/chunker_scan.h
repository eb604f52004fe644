/*
 * Inside of the chunker: what its scanners share.  A scanner looks for the
 * first position whose last 64 bytes have a fingerprint with zero mask bits.
 * All scanners give the same answer; they differ in speed and in what the
 * processor must have.
 */
#ifndef HF_REPO_CHUNKER_SCAN_H
#define HF_REPO_CHUNKER_SCAN_H

#include "repo/chunker.h"

#define POLY_DEGREE          53       /* 9.1 */
#define CHUNK_MASK           0xfffffU /* 9.2: low 20 bits */
#define CHUNKER_ARCH_NUMBERS 16

struct chunker_scanner {
	const char *name;
	bool (*usable)(void); /* has this processor what it needs? */
	/* Fill c->arch from the tables. */
	void (*prepare)(struct chunker *c);
	/*
	 * The least n in [from, end] for which p[n - 64, n) has a zero mask; 0 when
	 * there is none.  64 < from; reads p[from - 65, end) only.
	 */
	size_t (*scan)(const struct chunker *c, const uint8_t *p, size_t from, size_t end);
};

struct chunker {
	uint64_t poly;
	uint64_t out[256], mod[256];
	const struct chunker_scanner *scanner;
	uint64_t arch[CHUNKER_ARCH_NUMBERS]; /* the scanner's own */
};

/* For one kind of processor, best first; chosen by the build (chunker_x86.c, chunker_generic.c). */
size_t chunker_arch_scanners(const struct chunker_scanner **list);

uint64_t poly_mod(uint64_t a, uint64_t p);
/* The portable scanner, also for what is too short for the others. */
size_t chunker_scan_lanes(const struct chunker *c, const uint8_t *p, size_t from, size_t end);

#endif
