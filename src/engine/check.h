/* Check: is everything there, whole, and what it was (format document 11.12), and what restic's check misses. */
#ifndef HF_ENGINE_CHECK_H
#define HF_ENGINE_CHECK_H

#include "engine/session.h"

enum check_read {
	CHECK_READ_NONE,
	CHECK_READ_ALL,
	CHECK_READ_FRACTION /* n/t */,
	CHECK_READ_PERCENT,
	CHECK_READ_BYTES
};
struct check_args {
	enum check_read read;
	unsigned n, t;  /* CHECK_READ_FRACTION: first ID byte mod t = n - 1 */
	double percent; /* CHECK_READ_PERCENT */
	uint64_t bytes; /* CHECK_READ_BYTES: random choice of about so many */
};
/* "n/t", "x%", "500M" */
enum ecode check_subset_parse(const char *text, struct check_args *out, struct err *e) must_check;

struct check_finding {
	enum ecode code;
	bool hint;          /* not damage: prune or repair index would tidy it */
	const char *object; /* "pack 1234…", "tree 9abc…", "snapshot …" */
	const char *text;   /* one sentence */
};
struct check_result {
	uint64_t errors, hints;
	uint64_t partial; /* snapshots that say of themselves that paths are missing */
	uint64_t snapshots, trees, packs, blobs, packs_read, bytes_read;
	bool suggest_repair_index, suggest_prune;
	struct id *broken_packs; /* owned; sorted, unique */
	size_t broken_pack_count;
};
/*
 * Findings go to `found` as they are made (any thread).  refuses E_CHECK_FAILED when errors > 0, E_INDEX_FORMAT when the
 * index cannot be used, E_INTERRUPTED.  The session holds an exclusive lock, or none.
 */
enum ecode check_run(struct session *s, const struct check_args *args,
	void (*found)(void *arg, const struct check_finding *f), void *arg,
	struct check_result *out, struct err *e) must_check;
void check_result_done(struct check_result *r);

#endif
