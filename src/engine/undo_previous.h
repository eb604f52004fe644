/*
 * The trees that restores replaced (D-5, D-8): listed, and put back.  Putting
 * back is an exchange too: the tree that is there now becomes a previous tree, so
 * that it can be undone as well.
 */
#ifndef HF_ENGINE_UNDO_PREVIOUS_H
#define HF_ENGINE_UNDO_PREVIOUS_H

#include "base/arena.h"
#include "os/os.h"

struct previous_tree {      /* texts in the arena */
	const char *run_id; /* of the restore that replaced it */
	const char *name;   /* beside the destination */
	const char *path;
	struct os_meta meta; /* of its root */
};
/* Newest first.  refuses: E_DEST_PARENT, E_DEST_NOT_DIR (no name of its own), E_SRC_…, E_NOMEM */
enum ecode undo_previous_list(const struct os *os, const char *dest, struct arena *a,
	struct previous_tree **out, size_t *n, struct err *e) must_check;

struct undo_previous_args {
	const char *dest;
	const char *which;  /* run id of the tree; NULL: the newest */
	const char *run_id; /* of this undo: the tree that is there now is kept under it */
	bool dry_run;       /* look, choose and check, change nothing */
};
struct undo_previous_result { /* texts in the arena */
	struct previous_tree chosen;
	const char *kept; /* where the tree is that was at the destination; NULL: there was none */
	bool done;
};
/*
 * refuses: as the list, E_PREVIOUS_NONE, E_PREVIOUS_THERE, E_PROMOTE (the destination is as it was, or the note says the
 * step), E_PREVIOUS_KEPT and E_IO_UNSURE (it is in place).
 */
enum ecode undo_previous_run(const struct os *os, const struct undo_previous_args *args,
	struct arena *a, struct undo_previous_result *out, struct err *e) must_check;

#endif
