/*
 * What the engine tells while it works: typed facts, no text for people beyond
 * a path and a reason.  The callee locks: every callback may come from any thread.
 */
#ifndef HF_REPORT_EVENT_H
#define HF_REPORT_EVENT_H

#include <stdatomic.h>

#include "report/cause.h"

/* Counters that the engine raises and a ticker reads; never an event per file. */
struct progress {
	atomic_int phase; /* enum phase */
	atomic_bool totals_final;
	_Atomic uint64_t total_items, total_bytes; /* grow while the scan runs */
	_Atomic uint64_t done_items, done_bytes;
	_Atomic uint64_t problems;
	_Atomic uint64_t stored_bytes;
};
enum phase {
	PHASE_START,
	PHASE_INDEX,
	PHASE_SCAN,
	PHASE_WORK,
	PHASE_COMMIT,
	PHASE_VERIFY,
	PHASE_PROMOTE,
	PHASE_DONE
};
const char *phase_text(enum phase phase); /* "opening", "reading the index", … */

/* One path that could not be handled as asked, or not at all. */
struct problem {
	const char *
		during; /* "scan", "archival", "restore", "check": restic's words where it has one */
	const char *path; /* absolute, or in the snapshot; raw bytes */
	enum ecode code;
	int sys;
	enum cause cause;
	const char *why; /* one sentence for people, the remedy included; no errno in it */
	bool fatal_for_item; /* false: the item was handled, something about it was not (an attribute) */
	bool can_retry;      /* false for a warning too: there is nothing to try again */
};
/* One item done, for -v and verbose_status. */
enum item_action {
	ITEM_NEW,
	ITEM_MODIFIED,
	ITEM_UNCHANGED,
	ITEM_RESTORED
};
struct item_done {
	enum item_action action;
	const char *path;
	bool is_dir;
	uint64_t size, data_size, data_size_in_repo, metadata_size, metadata_size_in_repo;
	double seconds;
};
struct listener {
	void *arg;
	struct progress *progress;                           /* never NULL */
	void (*problem)(void *arg, const struct problem *p); /* never NULL */
	void (*item)(
		void *arg, const struct item_done *item); /* NULL: not wanted (costs nothing) */
	void (*note)(void *arg, const char *event,
		const char *text); /* journal-worthy step; never NULL */
	bool (*stop)(void *arg);   /* true: end cleanly now; never NULL, cheap */
};

#endif
