/*
 * An opened vault with everything a verb needs: lock, index, workers and their
 * contexts.  threads = 0 is the serial twin (no thread is started anywhere).
 */
#ifndef HF_ENGINE_SESSION_H
#define HF_ENGINE_SESSION_H

#include "base/flow.h"
#include "repo/commit.h"
#include "repo/snapshot.h"
#include "report/event.h"

enum session_lock {
	SESSION_NO_LOCK,
	SESSION_SHARED,
	SESSION_EXCLUSIVE
};
#define SESSION_WORKERS_MAX 64

struct session_args {
	const struct os *os;
	const char *location;
	struct store *store; /* given by tests; NULL: opened from location */
	struct slice password;
	const char *key_hint;
	enum session_lock lock;
	/* A vault that cannot take the lock is not well: counted in the history below this directory (DV-53).  NULL: not. */
	const char *health_dir;
	uint64_t retry_lock_s;
	const char *run_id; /* for the lock's record; NULL: none; lives as long as the session */
	enum compression compression;
	unsigned threads; /* CPU workers; 0: serial twin.  cpus() is a good value */
	const struct listener *listener;
};
struct session {
	const struct os *os;
	struct store *store;
	bool store_owned;
	struct vault *vault;
	struct lock *lock;         /* NULL without */
	struct index *index;       /* empty until session_load_index() */
	size_t flow_bytes;         /* the flow's capacity */
	struct flow *flow;         /* workers; LIFO */
	unsigned threads, workers; /* workers = flow_workers(flow) */
	enum compression compression;
	struct blob_codec *codec[SESSION_WORKERS_MAX]; /* one per worker */
	struct blob_codec *own; /* for the calling thread outside of the flow */
	const struct listener *listener;
};
/*
 * Opens store, vault, lock in this order; a refusal leaves nothing behind.  *s must be zeroed.
 * Locks of dead processes that had to go are told as note SESSION_NOTE_STALE_LOCK, a sentence each.
 */
#define SESSION_NOTE_STALE_LOCK  "stale_lock_removed"
#define SESSION_NOTE_STALE_STAYS "stale_lock_stays"
enum ecode session_open(
	struct session *s, const struct session_args *args, struct err *e) must_check;
/*
 * E_OK, or E_INTERRUPTED once the listener says stop: asked before each task of the flow, and to be asked in whatever may
 * take more than a moment.  `session` is a struct session; cheap, any thread.
 */
enum ecode session_go_on(void *session, struct err *e) must_check;
enum ecode session_load_index(struct session *s, struct err *e) must_check;
/* Releases the lock (a refusal of that is returned) and everything else.  Fine on a zeroed session. */
enum ecode session_close(struct session *s, struct err *e) must_check;
void session_abandon(struct session *s); /* the same, as cleanup: what fails does not matter */

/*
 * The cost to state for a task that holds `bytes` only while it runs: one for every worker and one that waits pass the
 * flow at a time, whatever their size (with real sizes, packs of 16 MiB would pass one by one).
 */
size_t session_task_cost(const struct session *s, uint64_t bytes);

#endif
