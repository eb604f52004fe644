/*
 * Which trees that restores replaced may go, and their removal (D-8).
 *
 * A previous tree may be the only copy of somebody's data, and it lies where
 * others may write.  So nothing is removed by its name alone: the restore (or the
 * undo) that sets a tree aside writes a record into this user's own state
 * directory before it does so: run, destination, inode.  A tree without a fitting
 * record stays and is named.  What is removed gets another name first, by
 * which the next retention finds a removal that was cut short.
 */
#ifndef HF_ENGINE_PREVIOUS_H
#define HF_ENGINE_PREVIOUS_H

#include "base/arena.h"
#include "os/os.h"

#define PREVIOUS_RECORDS_DIR "previous-trees" /* below the state directory */

struct previous_record {
	const char *dest; /* from the root, cleaned */
	const char *run_id;
	uint64_t ino; /* of the tree's root */
};
/* Durable.  E_REPORT_WRITE, E_IO_SPACE, E_NOMEM: then that tree will stay for good */
enum ecode previous_note(const struct os *os, const char *state_dir,
	const struct previous_record *record, struct err *e) must_check;

/* What becomes of one old tree or set; `why` only with STAYS and UNDONE. */
enum retired {
	RETIRED_GONE,   /* removed, or in a dry run: would be */
	RETIRED_STAYS,  /* it cannot be proven to be ours and of this destination */
	RETIRED_UNDONE, /* its removal was refused in the middle; the next one goes on */
};
struct retire_listener {
	void (*tell)(void *arg, enum retired what, const char *path, const char *why);
	void *arg;
};
struct previous_retain_args {
	const char *state_dir; /* NULL: nothing is proven, so all stays */
	const char *dest;      /* from the root, cleaned */
	size_t keep;           /* the newest; at least 1 */
	bool dry_run;
	struct retire_listener listener;
};
/*
 * Those of `dest` beyond the newest `keep`, and what an earlier retention began
 * to remove.  Nothing while an undo there is half done.
 * refuses: E_DEST_PARENT, E_DEST_NOT_DIR, E_SRC_…, E_NOMEM: nothing was removed
 */
enum ecode previous_retain(const struct os *os, const struct previous_retain_args *args,
	struct arena *a, struct err *e) must_check;

#endif
