/*
 * Comparing ahead of telling.  The walking thread puts the records in their order and goes on; the session's workers hold
 * the entries against their nodes, batch by batch; the walking thread tells the records in the order in which they were
 * put.  Instead of waiting it compares, too.
 *
 * Ownership: what is put is copied, into the arena of its batch; a batch holds its directories open until it was told.
 * Threads: every function here is the walking thread's.  Workers see only match_entry(), one batch at a time each, with a
 * hand of their own; maps, counts, listener and `each` are never theirs.
 * Limits: two batches for each worker and two more, and all together AHEAD_DIRS directories and AHEAD_COPIED_BYTES.
 * Refusals: a batch ends at its first one; it is told after all records before it, and none after it is told.
 */
#ifndef HF_ENGINE_MATCH_AHEAD_H
#define HF_ENGINE_MATCH_AHEAD_H

#include "engine/match_internal.h"

/* For a session with threads whose flow is not stopped.  refuses: E_NOMEM */
enum ecode match_ahead_open(struct matching *m, struct match_ahead **out, struct err *e) must_check;
/* May tell earlier ones.  refuses: what match_entry() or match_conclude() refuses of an earlier one, E_NOMEM, E_INTERRUPTED */
enum ecode match_ahead_put(
	struct match_ahead *a, const struct match_item *item, struct err *e) must_check;
/* Tells all that was put; after a refusal nothing.  The same refusals. */
enum ecode match_ahead_drain(struct match_ahead *a, struct err *e) must_check;
/* Waits for what is being compared; tells nothing.  NULL is fine. */
void match_ahead_close(struct match_ahead **a);

#endif
