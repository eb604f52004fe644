/* Removing a tree that is ours to remove: a stage, an old safety set. */
#ifndef HF_FS_REMOVE_H
#define HF_FS_REMOVE_H

#include "os/os.h"

#include "base/err.h"

/*
 * `name` in the open directory `dir` and everything below it.  Follows no link, enters no other file system, needs two
 * descriptors whatever the depth.  That it is not there is fine.  After a refusal the rest is still there.  E_PLACE_IO,
 * E_PATH_UNSAFE (something else is mounted in it), E_SRC_…, E_NOMEM
 */
enum ecode remove_tree_at(const struct os *os, int dir, const char *name, struct err *e) must_check;

#endif
