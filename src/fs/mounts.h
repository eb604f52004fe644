/*
 * What is mounted where, from the kernel's own list, so that one place can be
 * told by two names: a bind mount shows the same directory again, and neither
 * names nor ".." lead from one to the other.  The text is not trusted: a line
 * that is not as proc(5) describes it refuses.  Read-only after loading.
 */
#ifndef HF_FS_MOUNTS_H
#define HF_FS_MOUNTS_H

#include "base/arena.h"
#include "os/os.h"

/* A hundred thousand lines of 160 bytes. */
#define MOUNTS_MAX_BYTES ((size_t)16 << 20)

struct mount {
	uint64_t id;       /* as statx tells it */
	uint64_t dev;      /* of the file system: equal for all its mounts */
	const char *root;  /* which of its directories is shown */
	const char *point; /* where */
	const char *type;  /* "ext4" */
};
struct mounts {
	struct mount
		*v; /* in the kernel's order: a later one covers an earlier one at the same point */
	size_t n;
};
/* A place told without its mount: a file system, and the path inside of it. */
struct mount_place {
	uint64_t dev;
	const char *inside;
	const char *real; /* the name without links, as this process sees it */
};

/* Texts go into the arena.  E_MOUNTS (the line's number), E_NOMEM, E_LIMIT */
enum ecode mounts_parse(const void *text, size_t len, struct arena *a, struct mounts *out,
	struct err *e) must_check;
/* An empty list where the system has none (no /proc).  E_MOUNTS */
enum ecode mounts_load(
	const struct os *os, struct arena *a, struct mounts *out, struct err *e) must_check;
/* `real`: absolute, cleaned, no links.  `id`: of its mount, 0 when not known.  inside NULL: no mount covers it. */
enum ecode mounts_locate(const struct mounts *m, const char *real, uint64_t id, struct arena *a,
	struct mount_place *out, struct err *e) must_check;
/* For a path as typed; a final link stands for itself.  inside NULL: it cannot be told (absent, no /proc). */
enum ecode mounts_locate_path(const struct mounts *m, const struct os *os, const char *path,
	struct arena *a, struct mount_place *out, struct err *e) must_check;
/* The rest of `inner`, which is within `outer`: "" when equal, else it begins with a slash. */
const char *mounts_rest(const char *outer, const char *inner);

#endif
