/* Removing a tree that is ours to remove: a stage, an old safety set, a tree that was replaced. */
#ifndef HF_FS_REMOVE_H
#define HF_FS_REMOVE_H

#include "os/os.h"

#include "base/err.h"

/*
 * `name` in the open directory `dir` and everything below it.  Follows no link
 * and enters no other file system or mount, also while somebody else changes the
 * tree; its directories are closed to others first.  Three descriptors whatever
 * the depth.  That it is not there is fine.  After a refusal the rest is still there.
 * refuses: E_PLACE_IO, E_PATH_UNSAFE (mounted in it, or exchanged), E_SRC_…, E_NOMEM
 */
enum ecode remove_tree_at(const struct os *os, int dir, const char *name, struct err *e) must_check;
/* The same for a directory that must be there and be this very one, else E_PATH_UNSAFE and nothing of it is touched. */
enum ecode remove_dir_at(const struct os *os, int dir, const char *name,
	const struct os_meta *known, struct err *e) must_check;

#endif
