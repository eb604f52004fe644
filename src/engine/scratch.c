/* Directories are emptied of what is no directory on the way down, and removed on the way back: no recursion. */
#include "engine/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/arena.h"
#include "base/path.h"
#include "fs/place.h"
#include "fs/walk.h"
#include "os/io.h"

#define SCRATCH_ARENA_BYTES ((size_t)1 << 34)
#define SCRATCH_MODE        0700

/* A directory that was met; parents before children. */
struct met {
	struct met *before; /* the one met before this one */
	struct met *todo;   /* the next whose content is not looked at yet */
	const char *rel;    /* "" is the root */
	const char *name;   /* the last component of rel */
};
struct removal {
	const struct os *os;
	struct place *place;
	struct arena kept, listing;
	struct buf path;
	struct met *last;
};

static void
removal_done(struct removal *r)
{
	place_close(&r->place);
	arena_done(&r->kept);
	arena_done(&r->listing);
	buf_done(&r->path);
}

enum ecode
scratch_make(const struct os *os, const char *dir, struct err *e)
{
	int rc = os->mkdir(os, AT_FDCWD, dir, SCRATCH_MODE);

	return rc < 0 ? io_refusal(e, E_DEST_PARENT, rc, "mkdir", dir) : E_OK;
}

/* "parent/name" goes into the list of directories that were met, and to the end of those to look at. */
static enum ecode
meet(struct removal *r, struct met *parent, const struct walk_entry *entry, struct err *e)
{
	struct met *d;
	void *p;
	enum ecode rc;

	buf_clear(&r->path);
	rc = buf_add_str(&r->path, parent->rel, e);
	if (rc == E_OK && r->path.len > 0)
		rc = buf_add_byte(&r->path, '/', e);
	if (rc == E_OK)
		rc = buf_add_str(&r->path, entry->name, e);
	if (rc == E_OK)
		rc = arena_alloc(&r->kept, sizeof(*d), &p, e);
	if (rc != E_OK)
		return rc;
	d = p;
	*d = (struct met){ .before = r->last };
	rc = arena_str(&r->kept, r->path.p, r->path.len, &d->rel, e);
	if (rc != E_OK)
		return rc;
	d->name = d->rel + r->path.len - entry->name_len;
	r->last->todo = d;
	r->last = d;
	return E_OK;
}

static enum ecode
empty_entry(struct removal *r, struct met *d, int fd, const struct walk_entry *entry, struct err *e)
{
	int rc;

	if (entry->have_meta && S_ISDIR(entry->meta.mode)) {
		/* a restored mode may keep its owner out */
		(void)r->os->chmod(r->os, fd, entry->name, SCRATCH_MODE);
		return meet(r, d, entry, e);
	}
	rc = r->os->unlink(r->os, fd, entry->name, 0);
	return rc < 0 && rc != -ENOENT ? io_refusal(e, E_IO, rc, "unlink", entry->name) : E_OK;
}

static enum ecode
empty(struct removal *r, struct met *d, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = r->os, .fd = -1 };
	struct walk_list list = { .n = 0 };
	enum ecode rc = place_open_dir(r->place, d->rel, &f.fd, e);

	if (rc == E_OK)
		rc = walk_dir(r->os, f.fd, d->rel, &r->listing, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		rc = empty_entry(r, d, f.fd, &list.v[i], e);
	arena_reset(&r->listing);
	return rc;
}

static enum ecode
drop(struct removal *r, const struct met *d, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = r->os, .fd = -1 };
	size_t len = (size_t)(d->name - d->rel);
	enum ecode rc;
	int got;

	buf_clear(&r->path);
	rc = buf_add(&r->path, d->rel, len == 0 ? 0 : len - 1, e);
	if (rc == E_OK)
		rc = buf_add_byte(&r->path, '\0', e);
	if (rc == E_OK)
		rc = place_open_dir(r->place, (const char *)r->path.p, &f.fd, e);
	if (rc != E_OK)
		return rc;
	got = r->os->unlink(r->os, f.fd, d->name, AT_REMOVEDIR);
	return got < 0 ? io_refusal(e, E_IO, got, "rmdir", d->name) : E_OK;
}

enum ecode
scratch_remove(const struct os *os, const char *dir, struct err *e)
{
	autoclean(removal_done) struct removal r = {
		.os = os,
		.kept = arena_limit(SCRATCH_ARENA_BYTES),
		.listing = arena_limit(SCRATCH_ARENA_BYTES),
		.path = buf_limit(PATH_TEXT_MAX),
	};
	struct met root = { .rel = "" };
	enum ecode rc = place_look(os, dir, &r.place, e);
	int got;

	r.last = &root;
	for (struct met *d = &root; rc == E_OK && d != NULL; d = d->todo)
		rc = empty(&r, d, e);
	for (const struct met *d = r.last; rc == E_OK && d != &root; d = d->before)
		rc = drop(&r, d, e);
	if (rc != E_OK)
		return rc;
	got = os->unlink(os, AT_FDCWD, dir, AT_REMOVEDIR);
	return got < 0 ? io_refusal(e, E_IO, got, "rmdir", dir) : E_OK;
}
