/*
 * A tree that is restored into the vault would be taken for objects or their
 * folders, and one that takes the vault's place would take the vault away.
 * Device and inode decide, so links and bind mounts hide nothing.
 */
#include <errno.h>
#include <fcntl.h>

#include "engine/restore_internal.h"
#include "os/io.h"
#include "store/store.h"

#define UP_MAX 4096 /* levels: PATH_MAX / 2 is the deepest a path can name */

static bool
same_dir(const struct os_meta *a, const struct os_meta *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

static enum ecode
stat_fd(const struct os *os, int fd, struct os_meta *out, const char *name, struct err *e)
{
	int rc = os->stat(os, fd, "", AT_EMPTY_PATH, out);

	return rc < 0 ? io_refusal(e, E_IO_READ, rc, "stat", name) : E_OK;
}

/* *found: `wanted` is the directory or above it.  Takes the descriptor over. */
static enum ecode
is_above(const struct os *os, int fd, const struct os_meta *wanted, bool *found, struct err *e)
{
	autoclean(io_fd_done) struct io_fd at = { .os = os, .fd = fd };
	struct os_meta here, before = { 0 };
	enum ecode rc = stat_fd(os, at.fd, &here, "the destination", e);

	*found = false;
	for (unsigned i = 0; rc == E_OK && i < UP_MAX && !same_dir(&here, &before); i++) {
		int up;

		*found = same_dir(&here, wanted);
		if (*found)
			return E_OK;
		up = os->open(os, at.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
		if (up < 0) /* what may not be opened is not the vault: that was opened */
			return E_OK;
		io_close(os, &at.fd);
		at.fd = up;
		before = here;
		rc = stat_fd(os, at.fd, &here, "a directory above the destination", e);
	}
	return rc;
}

static enum ecode
refuse(struct restore *r, const char *how, struct err *e)
{
	return err_set(e, E_DEST_VAULT, 0, "%s %s the vault %s", r->dest.path, how,
		store_local_path(r->s->store));
}

static enum ecode
look_from(struct restore *r, int from, const char *name, const struct os_meta *wanted, bool *found,
	struct err *e)
{
	const struct os *os = r->s->os;
	int fd = os->open(os, from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	*found = false;
	return fd < 0 ? E_OK : is_above(os, fd, wanted, found, e);
}

enum ecode
restore_apart(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	const struct restore_dest *d = &r->dest;
	struct os_meta vault, dest;
	bool found = false;
	enum ecode rc;

	if (store_local_path(r->s->store) == NULL ||
		os->stat(os, AT_FDCWD, store_local_path(r->s->store), 0, &vault) < 0)
		return E_OK; /* no directory of this machine */
	rc = look_from(r, d->parent_fd, ".", &vault, &found, e);
	if (rc == E_OK && found)
		return refuse(r, "is in", e);
	if (rc != E_OK || os->stat(os, d->parent_fd, d->base, AT_SYMLINK_NOFOLLOW, &dest) < 0)
		return rc;
	if (same_dir(&dest, &vault))
		return refuse(r, "is", e);
	rc = look_from(r, AT_FDCWD, store_local_path(r->s->store), &dest, &found, e);
	return rc == E_OK && found ? refuse(r, "is around", e) : rc;
}
