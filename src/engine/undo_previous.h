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
	/* where the record goes by which retention knows the tree that was there (previous.h); may be NULL */
	const char *state_dir;
	bool dry_run; /* look, choose and check, change nothing */
};
struct undo_previous_result { /* texts in the arena */
	struct previous_tree chosen;
	const char *kept; /* where the tree is that was at the destination; NULL: there was none */
	bool done;
	bool unproven; /* no record of `kept` could be made: no retention will remove it */
};
/*
 * refuses: as the list, E_PREVIOUS_NONE, E_PREVIOUS_THERE, E_PROMOTE (the destination is as it was, or the note says the
 * step), E_PREVIOUS_KEPT and E_IO_UNSURE (it is in place).
 */
enum ecode undo_previous_run(const struct os *os, const struct undo_previous_args *args,
	struct arena *a, struct undo_previous_result *out, struct err *e) must_check;

/* ---- for undo_previous.c and previous.c only ---- */
struct undo_beside { /* where a destination's trees are; texts in the arena */
	const struct os *os;
	const char *path, *parent, *base; /* of the destination; base is one safe name */
	int parent_fd;
	struct os_meta meta; /* of the parent */
};
/* refuses: E_DEST_PARENT, E_DEST_NOT_DIR, E_NOMEM */
enum ecode undo_beside_open(const struct os *os, const char *dest, struct arena *a,
	struct undo_beside *u, struct err *e) must_check;
void undo_beside_done(struct undo_beside *u);
/* An undo there began and did not end, or it cannot be told. */
bool undo_previous_pending(const struct undo_beside *u);

#endif
