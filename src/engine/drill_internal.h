/* The inside of a drill, shared by drill*.c only. */
#ifndef HF_ENGINE_DRILL_INTERNAL_H
#define HF_ENGINE_DRILL_INTERNAL_H

#include "engine/drill.h"
#include "engine/restore.h"

struct drill {
	struct session *s;
	const struct drill_args *args;
	struct drill_result *out;
	struct arena arena;
	const struct snapshot *snap;
	const char *dir, *tree; /* in the arena; "<dir>/tree" is what is restored */
	/* before the paths of the tree, when the source was named relative to it; NULL: they are the live ones (in the arena) */
	const char *live_base;
	bool made;             /* dir is there */
	struct hasher *hasher; /* of the digest */
	struct hasher *keys;   /* of the sample */
	uint8_t seed[16];
	uint64_t *ranks; /* of every file, while the sample is chosen */
	size_t rank_count, rank_cap;
	uint64_t threshold; /* files up to this rank are in the sample */
	/* the smallest file with content, for the control */
	const char *small; /* path; owned; NULL: none yet */
	struct id *small_content;
	size_t small_count;
	uint64_t small_size;
	uint64_t live_unlike;
	enum ecode (*same)(
		struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e);
};
/* ---- drill_sample.c ---- */
enum ecode drill_sample_choose(struct drill *d, struct err *e) must_check;
/* As struct restore_args and struct match_args want it; `drill` is a struct drill. */
bool drill_sample_wants(void *drill, const char *path, size_t len);
/* ---- drill_live.c ---- */
enum drill_live {
	DRILL_LIVE_NONE,    /* not a file */
	DRILL_LIVE_CHANGED, /* gone, or another now; or not to be read by us */
	DRILL_LIVE_SAME,
	DRILL_LIVE_OTHER /* unchanged since, and its bytes are others */
};
/* Before the comparison: where the live files are. */
enum ecode drill_live_begin(struct drill *d, struct err *e) must_check;
/* As match_args.beside wants it, of any thread; `drill` is a struct drill, which is only read.  *found: enum drill_live */
enum ecode drill_live_compare(void *drill, struct match_hand *h, const struct match_record *r,
	unsigned *found, struct err *e) must_check;
/* ---- drill_control.c ---- */
/* A piece of a restored file, once more with one byte flipped.  *ran is false when there is no byte to flip. */
enum ecode drill_control(struct drill *d, bool *ran, bool *caught, struct err *e) must_check;
/* Remembers the smallest. */
enum ecode drill_control_candidate(
	struct drill *d, const struct match_record *r, struct err *e) must_check;

#endif
