/* Making a vault's directories, durable up to the mount point. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "store/local_internal.h"

/* Shorten a path to its parent: "a/b" → "a", "a" → ".", "/a" → "/".  False when there is none. */
static bool
cut_to_parent(char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0)
		return false;
	if (len == 0)
		path[len++] = '.';
	path[len] = '\0';
	return true;
}

/*
 * Directories that were found may be as new as ours: made by an init that was
 * killed before its fsync, or by hand.  Their names too, up to the mount point;
 * one that may not be opened was made by somebody else long ago.
 */
static enum ecode
sync_found(struct local_store *l, char *path, uint64_t dev, struct err *e)
{
	struct os_meta meta = { .dev = dev };
	enum ecode rc = E_OK;

	while (rc == E_OK && cut_to_parent(path)) {
		int sys = l->os->stat(l->os, AT_FDCWD, path, 0, &meta);

		if (sys < 0)
			return local_write_refusal(l, sys, "stat", path, e);
		if (meta.dev != dev)
			return E_OK;
		rc = local_sync_dir(l, AT_FDCWD, path, e);
		if (rc == E_STORE_RDONLY)
			return E_OK;
	}
	return rc;
}

/* Make the vault's own directory and what is missing above it, and make those names durable. */
static enum ecode
make_root(struct local_store *l, struct err *e)
{
	char path[PATH_MAX];
	struct os_meta meta = { 0 };
	unsigned missing = 0;
	enum ecode rc = E_OK;
	int sys;

	if ((size_t)snprintf(path, sizeof(path), "%s", l->dir) >= sizeof(path))
		return local_write_refusal(l, -ENAMETOOLONG, "mkdir", ".", e);
	sys = l->os->stat(l->os, AT_FDCWD, path, 0, &meta);
	while (sys == -ENOENT && cut_to_parent(path)) {
		missing++;
		sys = l->os->stat(l->os, AT_FDCWD, path, 0, &meta);
	}
	if (sys < 0) /* parents that were not looked at could not be made durable */
		return local_write_refusal(l, sys, "stat", path, e);
	if (missing > 0)
		rc = local_make_dir(l, AT_FDCWD, l->dir, LOCAL_DIR_MODE, e);
	(void)snprintf(path, sizeof(path), "%s", l->dir);
	for (unsigned i = 0; rc == E_OK && i < missing && cut_to_parent(path); i++)
		rc = local_sync_dir(l, AT_FDCWD, path, e);
	return rc == E_OK ? sync_found(l, path, meta.dev, e) : rc;
}

/* The five directories and all of data/xx, then their names made durable. */
static enum ecode
make_tree(struct local_store *l, int root, mode_t mode, struct err *e)
{
	char path[LOCAL_DIR_TEXT_MAX];
	enum ecode rc = E_OK;

	for (unsigned kind = O_KEY; rc == E_OK && kind < O_KINDS; kind++)
		rc = local_make_dir(l, root, okind_dir((enum okind)kind), mode, e);
	for (unsigned i = 0; rc == E_OK && i < PACK_DIRS; i++) {
		(void)snprintf(path, sizeof(path), "data/%02x", i);
		rc = local_make_dir(l, root, path, mode, e);
	}
	if (rc == E_OK)
		rc = local_sync_dir(l, root, "data", e);
	if (rc == E_OK)
		rc = local_sync_dir(l, root, ".", e);
	return rc;
}

enum ecode
local_prepare(struct store *st, struct err *e)
{
	struct local_store *l = local_of(st);
	bool shared = false;
	enum ecode rc = make_root(l, e);
	int root, sys;

	if (rc != E_OK)
		return rc;
	sys = local_root(l, &root);
	if (sys < 0)
		return local_write_refusal(l, sys, "open", ".", e);
	rc = local_learn_mode(l, root, &shared, e);
	if (rc == E_OK)
		rc = make_tree(l, root, shared ? LOCAL_DIR_MODE_GROUP : LOCAL_DIR_MODE, e);
	return rc;
}
