/* Looking: snapshots' content and raw objects, without changing anything. */
#ifndef HF_ENGINE_INSPECT_H
#define HF_ENGINE_INSPECT_H

#include "engine/session.h"
#include "repo/tree.h"

/* Walk a snapshot's tree depth-first in name order, loading trees serially; nodes live during the call only. */
struct inspect_item {
	const char *path; /* absolute in the snapshot, raw bytes, NUL-terminated */
	const struct node *node;
	bool ascends; /* its name comes after the one before it, as the format has it */
};
enum ecode inspect_walk(struct session *s, const struct id *root_tree,
	enum ecode (*each)(
		void *arg, const struct inspect_item *item, bool *descend, struct err *e),
	void *arg, struct err *e) must_check;
/* The tree below `sub` ("a/b", leading slash allowed) of a root tree.  E_SUBPATH_ABSENT */
enum ecode inspect_subtree(struct session *s, const struct id *root, const char *sub,
	struct id *out, struct err *e) must_check;
/* `cat`: kind is one of config masterkey-less: "config" "key" "snapshot" "index" "tree" "blob" "lock" "pack"; appends what is to be printed. */
enum ecode inspect_cat(struct session *s, const char *kind, const char *id_text, struct buf *out,
	struct err *e) must_check;

#endif
