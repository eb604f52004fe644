/*
 * Why one path could not be handled, in words a person can act on.  An errno
 * says what the kernel saw; a cause says what to do, and whether trying again
 * can help (catalogue DF-31, DF-32, DF-35).
 */
#ifndef HF_REPORT_CAUSE_H
#define HF_REPORT_CAUSE_H

#include "base/buf.h"

enum cause {
	CAUSE_NONE, /* nothing is wrong with the path */
	CAUSE_PERMISSION,
	CAUSE_NOT_FOUND,
	CAUSE_VANISHED, /* was there when its directory was listed */
	CAUSE_DISK_FULL,
	CAUSE_READ_ONLY,
	CAUSE_BUSY,   /* EBUSY, ETXTBSY */
	CAUSE_LOCKED, /* another program holds a lease on it */
	CAUSE_TIMEOUT,
	CAUSE_TEMP_FAILURE,
	CAUSE_ALREADY_EXISTS,
	CAUSE_INVALID_PATH,
	CAUSE_SYMLINK_LOOP,
	CAUSE_IO_ERROR,
	CAUSE_TOO_MANY_FILES, /* descriptors: ours, not the path's */
	CAUSE_CHANGED,        /* became something else while it was looked at */
	CAUSE_UNKNOWN
};
#define CAUSE_COUNT (CAUSE_UNKNOWN + 1)

/* From a refusal: its code decides where it is precise, else its errno. */
enum cause cause_of(enum ecode code, int sys);
const char *cause_name(enum cause cause); /* "permission": for JSON, stable for ever */
bool cause_from_name(struct slice name, enum cause *out);
/* A second try can succeed when somebody has done something about it; a full disk is one of them (DF-35). */
bool cause_can_retry(enum cause cause);
const char *cause_short(enum cause cause); /* "permission denied": for lists */

/* What a sentence may name beside the cause. */
struct cause_facts {
	bool has_space;
	uint64_t need_bytes, free_bytes; /* for CAUSE_DISK_FULL */
	const char *detail;              /* what was tried: "read of …"; NULL: nothing to add */
};
/*
 * One line: what is wrong, then the remedies, safest first.  The path stands before it wherever it is shown.  No errno in
 * it.  Appends to `out`, not NUL-terminated.
 */
enum ecode cause_sentence(enum cause cause, const struct cause_facts *facts, struct buf *out,
	struct err *e) must_check;

#endif
