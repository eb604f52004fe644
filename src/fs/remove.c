/*
 * No stack and no path: a directory found inside is renamed into the top one
 * and waits there for its turn, so that nothing is ever deeper than one level.
 *
 * The tree may belong to somebody who changes it while it goes, and we may be
 * root.  So a directory is opened beneath the one that holds it, following no
 * link; what is done to it is done by descriptor; a name is only ever renamed
 * within the tree or unlinked.  What is exchanged for a link meanwhile is
 * unlinked like any other.
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
#define PROC_FD_BYTES      32
/* One look a level of depth; the deepest tree of the tests has 10^5. More is somebody who goes on writing. */
#define REMOVE_ROUNDS_MAX  (1U << 21)

struct removing {
	const struct os *os;
	int top;
	uint64_t dev, mnt_id;
	uint64_t serial; /* of waiting directories */
	struct os_ids me;
};

/* A kernel without openat2: one name is beneath, and is_foreign() sees what is mounted. */
static int
open_beneath(const struct os *os, int dir, const char *name, int flags)
{
	int rc;

	do
		rc = os->open_beneath(os, dir, name, flags, 0, true);
	while (rc == -EINTR);
	while (rc == -ENOSYS || rc == -EINTR)
		rc = os->open(os, dir, name, flags, 0);
	return rc;
}

/*
 * Somebody may have made it unreadable for himself.  There is no fchmod for a
 * descriptor that only names a file, but its name in /proc leads to this very
 * inode, whatever the name below `dir` is by now.
 */
static int
unlock(const struct os *os, int dir, const char *name)
{
	autoclean(io_fd_done) struct io_fd named = { .os = os, .fd = -1 };
	char path[PROC_FD_BYTES];

	named.fd = open_beneath(os, dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (named.fd < 0)
		return named.fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", named.fd);
	return os->chmod(os, AT_FDCWD, path, 0700);
}

static int
open_own(const struct os *os, int dir, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int rc = open_beneath(os, dir, name, flags);

	if (rc == -EACCES) {
		rc = unlock(os, dir, name);
		if (rc >= 0)
			rc = open_beneath(os, dir, name, flags);
	}
	return rc;
}

/* Nobody else adds to it any more.  Where that cannot be had, what is missing is told by the call that misses it. */
static void
close_to_others(const struct removing *r, int fd, const struct os_meta *m)
{
	if (m->uid != r->me.uid && r->me.uid == 0)
		(void)r->os->chown(r->os, fd, NULL, 0, 0, 0);
	if ((m->mode & 07777) != 0700)
		(void)r->os->chmod(r->os, fd, NULL, 0700);
}

/* It is gone, or something else has its name by now: the next look at the top directory sees what is left. */
static bool
changed_meanwhile(int rc)
{
	return rc == -ENOENT || rc == -ENOTDIR || rc == -EISDIR || rc == -ELOOP ||
	       rc == -ENOTEMPTY || rc == -EEXIST;
}

static bool
is_foreign(const struct removing *r, const struct os_meta *m)
{
	return m->dev != r->dev || m->mnt_id != r->mnt_id;
}

static enum ecode
mounted(const char *name, struct err *e)
{
	return err_set(e, E_PATH_UNSAFE, 0, "another file system is mounted at %s", name);
}

static int
move_up(struct removing *r, int dir, const char *name)
{
	char waiting[WAITING_NAME_BYTES];
	int rc = -EEXIST;

	for (unsigned n = 0; n < WAITING_TRIES; n++) {
		(void)snprintf(waiting, sizeof(waiting), "removing-%" PRIu64, r->serial++);
		rc = r->os->rename(r->os, dir, name, r->top, waiting, 0);
		if (rc != -EEXIST && rc != -ENOTEMPTY && rc != -ENOTDIR)
			return rc;
	}
	return rc;
}

/* Up into the top directory, under a name that is free.  Its ".." changes: it must be writable. */
static enum ecode
put_off(struct removing *r, int dir, const char *name, struct err *e)
{
	int rc = move_up(r, dir, name);

	if (rc == -EACCES) {
		rc = unlock(r->os, dir, name);
		if (rc >= 0)
			rc = move_up(r, dir, name);
	}
	return rc < 0 && rc != -ENOENT ? io_refusal(e, E_PLACE_IO, rc, "rename", name) : E_OK;
}

static enum ecode
remove_entry(struct removing *r, int dir, const struct walk_entry *entry, struct err *e)
{
	int rc;

	if (!entry->have_meta)
		return err_set(e, E_PLACE_IO, entry->sys, "stat %s", entry->name);
	if (S_ISDIR(entry->meta.mode))
		return is_foreign(r, &entry->meta) ? mounted(entry->name, e)
						   : put_off(r, dir, entry->name, e);
	rc = r->os->unlink(r->os, dir, entry->name, 0);
	return rc < 0 && !changed_meanwhile(rc)
		       ? io_refusal(e, E_PLACE_IO, rc, "unlink", entry->name)
		       : E_OK;
}

static enum ecode
remove_below(struct removing *r, int dir, const char *name, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(REMOVE_ARENA_BYTES);
	struct walk_list list = { 0 };
	struct os_meta m;
	enum ecode rc;
	int got = r->os->stat(r->os, dir, "", AT_EMPTY_PATH, &m);

	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", name);
	if (is_foreign(r, &m))
		return mounted(name, e);
	close_to_others(r, dir, &m);
	rc = walk_dir(r->os, dir, name, &a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		rc = remove_entry(r, dir, &list.v[i], e);
	return rc;
}

/* A directory of the top one: its directories move up, the rest goes, then it goes. */
static enum ecode
remove_dir(struct removing *r, const char *name, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = r->os, .fd = -1 };
	enum ecode rc;
	int got;

	dir.fd = open_own(r->os, r->top, name);
	if (dir.fd < 0 && changed_meanwhile(dir.fd))
		return E_OK;
	if (dir.fd < 0)
		return io_refusal(e, E_PLACE_IO, dir.fd, "open", name);
	rc = remove_below(r, dir.fd, name, e);
	if (rc != E_OK)
		return rc;
	got = r->os->unlink(r->os, r->top, name, AT_REMOVEDIR);
	return got < 0 && !changed_meanwhile(got) ? io_refusal(e, E_PLACE_IO, got, "rmdir", name)
						  : E_OK;
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

		if (entry->have_meta && S_ISDIR(entry->meta.mode) && !is_foreign(r, &entry->meta))
			rc = remove_dir(r, entry->name, e);
		else
			rc = remove_entry(r, r->top, entry, e);
	}
	*more = list.n > 0;
	return rc;
}

static enum ecode
empty(struct removing *r, const char *name, const struct os_meta *known, struct err *e)
{
	struct os_meta m;
	bool more = true;
	enum ecode rc = E_OK;
	int got = r->os->stat(r->os, r->top, "", AT_EMPTY_PATH, &m);

	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", name);
	if (m.ino != known->ino || m.dev != known->dev)
		return err_set(e, E_PATH_UNSAFE, 0, "%s was exchanged for another", name);
	r->dev = m.dev;
	r->mnt_id = m.mnt_id;
	close_to_others(r, r->top, &m);
	for (unsigned n = 0; rc == E_OK && more; n++) {
		if (n == REMOVE_ROUNDS_MAX)
			return err_set(e, E_PLACE_IO, EBUSY, "%s is written to all the time", name);
		rc = remove_round(r, name, &more, e);
	}
	return rc;
}

enum ecode
remove_dir_at(
	const struct os *os, int dir, const char *name, const struct os_meta *known, struct err *e)
{
	struct removing r = { .os = os, .me = os->ids(os) };
	enum ecode rc;
	int got;

	r.top = open_own(os, dir, name);
	if (r.top < 0)
		return io_refusal(e, E_PLACE_IO, r.top, "open", name);
	rc = empty(&r, name, known, e);
	io_close(os, &r.top);
	if (rc != E_OK)
		return rc;
	got = os->unlink(os, dir, name, AT_REMOVEDIR);
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "rmdir", name) : E_OK;
}

enum ecode
remove_tree_at(const struct os *os, int dir, const char *name, struct err *e)
{
	struct os_meta m;
	int got = os->stat(os, dir, name, AT_SYMLINK_NOFOLLOW, &m);

	if (got == -ENOENT)
		return E_OK;
	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", name);
	if (S_ISDIR(m.mode))
		return remove_dir_at(os, dir, name, &m, e);
	got = os->unlink(os, dir, name, 0);
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "remove", name) : E_OK;
}
