/*
 * No stack and no path: a directory found inside is renamed into the top one
 * and waits there for its turn, so that nothing is ever deeper than one level.
 */
#include "fs/remove.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs/walk.h"
#include "os/io.h"

#define REMOVE_ARENA_BYTES ((size_t)1 << 30) /* names of one directory */
#define WAITING_NAME_BYTES 32
#define WAITING_TRIES      10000 /* names that are taken by what is to be removed */

struct removing {
	const struct os *os;
	int top;
	uint64_t dev;
	uint64_t serial; /* of waiting directories */
};

static enum ecode
open_own(const struct removing *r, int dir, const char *name, int *fd, struct err *e)
{
	/* a directory may have been made unreadable; its parent is ours alone */
	int rc = r->os->chmod(r->os, dir, name, 0700);

	if (rc < 0)
		return io_refusal(e, E_PLACE_IO, rc, "chmod", name);
	return io_open(r->os, dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, fd, e);
}

/* Up into the top directory, under a name that is free. */
static enum ecode
put_off(struct removing *r, int dir, const char *name, struct err *e)
{
	char waiting[WAITING_NAME_BYTES];
	int rc = r->os->chmod(r->os, dir, name, 0700); /* its ".." changes: it must be writable */

	for (unsigned n = 0; rc >= 0 && n < WAITING_TRIES; n++) {
		(void)snprintf(waiting, sizeof(waiting), "removing-%" PRIu64, r->serial++);
		rc = r->os->rename(r->os, dir, name, r->top, waiting, 0);
		if (rc >= 0)
			return E_OK;
		if (rc == -EEXIST || rc == -ENOTEMPTY || rc == -ENOTDIR)
			rc = 0;
	}
	return io_refusal(e, E_PLACE_IO, rc < 0 ? rc : -EEXIST, "rename", name);
}

static enum ecode
remove_entry(struct removing *r, int dir, const struct walk_entry *entry, struct err *e)
{
	int rc;

	if (!entry->have_meta)
		return err_set(e, E_PLACE_IO, entry->sys, "stat %s", entry->name);
	if (S_ISDIR(entry->meta.mode) && entry->meta.dev != r->dev)
		return err_set(
			e, E_PATH_UNSAFE, 0, "another file system is mounted at %s", entry->name);
	if (S_ISDIR(entry->meta.mode))
		return put_off(r, dir, entry->name, e);
	rc = r->os->unlink(r->os, dir, entry->name, 0);
	return rc < 0 ? io_refusal(e, E_PLACE_IO, rc, "unlink", entry->name) : E_OK;
}

/* A directory of the top one: its directories move up, the rest goes, then it goes. */
static enum ecode
remove_dir(struct removing *r, const struct walk_entry *entry, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(REMOVE_ARENA_BYTES);
	autoclean(io_fd_done) struct io_fd dir = { .os = r->os, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc = open_own(r, r->top, entry->name, &dir.fd, e);
	int got;

	if (rc == E_OK)
		rc = walk_dir(r->os, dir.fd, entry->name, &a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		rc = remove_entry(r, dir.fd, &list.v[i], e);
	if (rc != E_OK)
		return rc;
	got = r->os->unlink(r->os, r->top, entry->name, AT_REMOVEDIR);
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "rmdir", entry->name) : E_OK;
}

/* One look at the top directory; *more: something was there. */
static enum ecode
remove_round(struct removing *r, const char *name, bool *more, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(REMOVE_ARENA_BYTES);
	autoclean(io_fd_done) struct io_fd dir = { .os = r->os, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc;

	/* opened anew: a directory that changed while it was read does not list well */
	rc = io_open(r->os, r->top, ".", O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);
	if (rc == E_OK)
		rc = walk_dir(r->os, dir.fd, name, &a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const struct walk_entry *entry = &list.v[i];

		if (entry->have_meta && S_ISDIR(entry->meta.mode) && entry->meta.dev == r->dev)
			rc = remove_dir(r, entry, e);
		else
			rc = remove_entry(r, r->top, entry, e);
	}
	*more = list.n > 0;
	return rc;
}

static enum ecode
empty(struct removing *r, const char *name, struct err *e)
{
	struct os_meta m;
	bool more = true;
	enum ecode rc = E_OK;
	int got = r->os->stat(r->os, r->top, "", AT_EMPTY_PATH, &m);

	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", name);
	r->dev = m.dev;
	while (rc == E_OK && more)
		rc = remove_round(r, name, &more, e);
	return rc;
}

enum ecode
remove_tree_at(const struct os *os, int dir, const char *name, struct err *e)
{
	struct removing r = { .os = os, .top = -1 };
	struct os_meta m;
	enum ecode rc;
	int got = os->stat(os, dir, name, AT_SYMLINK_NOFOLLOW, &m);

	if (got == -ENOENT)
		return E_OK;
	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", name);
	if (S_ISDIR(m.mode)) {
		rc = open_own(&r, dir, name, &r.top, e);
		if (rc == E_OK)
			rc = empty(&r, name, e);
		io_close(os, &r.top);
		if (rc != E_OK)
			return rc;
	}
	got = os->unlink(os, dir, name, S_ISDIR(m.mode) ? AT_REMOVEDIR : 0);
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "remove", name) : E_OK;
}
