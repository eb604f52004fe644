/*
 * Locks (format document 8).  A thread of its own refreshes while held; the
 * serial twin (refresh_thread = false) refreshes in lock_check().
 */
#ifndef HF_REPO_LOCK_H
#define HF_REPO_LOCK_H

#include "base/arena.h"
#include "repo/vault.h"

struct lock;
struct lock_info {
	struct id id;
	struct instant time;
	bool exclusive;
	struct slice hostname, username;
	int64_t pid;
	uint32_t uid, gid;
};
struct lock_args {
	bool exclusive;
	bool refresh_thread;
	uint64_t retry_for_s;       /* --retry-lock; 0: one attempt */
	bool (*stopped)(void *arg); /* asked between attempts; may be NULL */
	void *arg;
};
/* refuses: E_LOCKED (the detail says who, where, since when), E_LOCK_UNREADABLE, those of the store */
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
	LOCK_UNKNOWN_HOST
};
/* Dead: this host and no such process (EPERM is alive), or older than 30 minutes (8.4). */
enum lock_verdict lock_judge(const struct os *os, const struct lock_info *info);
enum ecode lock_parse(const void *json, size_t len, struct arena *a, struct lock_info *out,
	struct err *e) must_check;
/* Every lock, readable ones in `out`; others counted. */
enum ecode lock_list(struct vault *v, struct arena *a, struct lock_info **out, size_t *n,
	size_t *unreadable, struct err *e) must_check;

#endif
