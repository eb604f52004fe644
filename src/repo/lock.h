/*
 * Locks (format document 8).  A thread of its own refreshes while held; the
 * serial twin (refresh_thread = false) refreshes in lock_check().
 *
 * Our locks say which process wrote them (os/identity), in a member that
 * restic skips.  A lock whose process is provably gone is removed by whoever
 * comes next; anything less certain stays until a person says `unlock`.
 */
#ifndef HF_REPO_LOCK_H
#define HF_REPO_LOCK_H

#include "base/arena.h"
#include "os/identity.h"
#include "repo/vault.h"

struct lock;
struct lock_info {
	struct id id;
	struct instant time;
	bool exclusive;
	struct slice hostname, username;
	int64_t pid;
	uint32_t uid, gid;
	struct identity identity; /* all unknown in restic's locks, or when it cannot be read */
	struct slice run_id;      /* empty as well */
};
/* A dead lock that was removed, or should have been. */
struct lock_takeover {
	const struct lock_info *info;
	const char *why;           /* what proves it, a half sentence */
	const struct err *refusal; /* NULL: removed; else it stays, and does not count for us */
};
struct lock_args {
	bool exclusive;
	bool refresh_thread;
	uint64_t retry_for_s;       /* --retry-lock; 0: one attempt */
	const char *run_id;         /* for the record; may be NULL; lives as long as the lock */
	bool (*stopped)(void *arg); /* asked between attempts; may be NULL */
	/* once for each, in the thread of lock_take() and before it returns, whatever that returns; may be NULL */
	void (*taken_over)(void *arg, const struct lock_takeover *what);
	void *arg;
};
/*
 * Locks of dead processes, conflicting or not, go first: judged, LOCK_RECHECK_MS later listed and judged again, erased.
 * refuses: E_LOCKED (the detail says who, where, since when), E_LOCK_UNREADABLE, those of the store, and of identity_self()
 */
enum ecode lock_take(
	struct vault *v, const struct lock_args *args, struct lock **out, struct err *e) must_check;
/* Must be called before anything is published or removed: E_LOCK_LOST after a suspend or a missed refresh (8.3). */
enum ecode lock_check(struct lock *l, struct err *e) must_check;
/* Remove it; a refusal is reported but the handle is gone.  NULL inside is fine. */
enum ecode lock_release(struct lock **l, struct err *e) must_check;

enum lock_verdict {
	LOCK_ALIVE,
	LOCK_DEAD_PROCESS,
	LOCK_TOO_OLD,
	LOCK_UNKNOWN_HOST /* not to be judged from here, and refreshed within 30 minutes */
};
/*
 * For `unlock`.  Where the lock names a process: alive if that is proven, whatever the wall clock says; dead if that is
 * proven; else only its age counts.  Without: restic's rule, this host and no such process (EPERM is alive), or older
 * than 30 minutes (8.4).
 */
enum lock_verdict lock_judge(const struct os *os, const struct lock_info *info);
/*
 * May it go without a person being asked?  Beyond IDENTITY_GONE, a lock of another boot must have this host's name and
 * be from before this boot: the living one of a machine with a copied machine-id is refreshed every five minutes.
 * `why`: identity_why(); may be NULL.
 */
bool lock_is_gone(const struct os *os, const struct lock_info *info, const char **why);
/* "exclusive lock 1a2b3c4d of ada@host, process 12, since 2026-11-21T…": who, where, since when.  Raw names. */
#define LOCK_WHO_BYTES 512 /* NUL included */
void lock_who(const struct lock_info *info, char out[static LOCK_WHO_BYTES]);
enum ecode lock_parse(const void *json, size_t len, struct arena *a, struct lock_info *out,
	struct err *e) must_check;
/* Every lock, readable ones in `out`; others counted. */
enum ecode lock_list(struct vault *v, struct arena *a, struct lock_info **out, size_t *n,
	size_t *unreadable, struct err *e) must_check;

#endif
