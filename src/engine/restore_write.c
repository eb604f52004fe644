/* One entry of the stage: made, filled, described.  Content first, then by descriptor owner, attributes, mode, times. */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "os/io.h"

/* What a hole is made of: the block size of the usual file systems. */
#define HOLE_BLOCK_BYTES ((size_t)4096)

/* ---- metadata ---- */

struct describing {
	struct restore *r;
	const struct restore_item *item;
};

static const char *
part_text(enum meta_part part)
{
	switch (part) {
	case META_OWNER:
		return "its owner was not applied";
	case META_XATTR:
		return "an extended attribute was not applied";
	case META_TIMES:
		return "its times were not applied";
	case META_MODE:
		return "its mode was not applied";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* Owners cannot be given away by others than root: that is said once, not for every path. */
static void
part_failed(void *arg, enum meta_part part, const char *xattr, int sys)
{
	struct describing *d = arg;
	struct restore *r = d->r;
	struct restore_trouble t = {
		.during = "restore", .code = E_RESTORE_META, .sys = sys, .why = part_text(part)
	};
	struct err text;

	if (part == META_OWNER && sys == EPERM && !r->privileged) {
		atomic_fetch_add(&r->owner_refused, 1);
		return;
	}
	if (part == META_MODE && sys == EPERM && (d->item->st_mode & (S_ISUID | S_ISGID)) != 0)
		t.why = "its set-user-ID or set-group-ID bit was not applied";
	if (xattr != NULL) {
		(void)err_set(
			&text, E_RESTORE_META, sys, "its attribute %s was not applied", xattr);
		t.why = text.detail;
	}
	atomic_fetch_add(&r->metadata_problems, 1);
	restore_tell(r, d->item->dir, d->item->name, &t);
}

bool
restore_mode_is_late(const struct restore *r, const struct restore_item *item)
{
	return !r->privileged && item->type == NODE_FILE && (item->st_mode & S_IRUSR) == 0;
}

static void
describe(struct restore *r, const struct restore_item *item, int fd, const char *name, bool fresh)
{
	struct describing d = { .r = r, .item = item };
	struct meta_apply m = {
		.owner = true,
		.mode = item->type != NODE_SYMLINK,
		.times = restore_policy_times(r),
		.setid_with_owner = !r->args->allow_setid && item->type == NODE_FILE,
		.xattrs = true,
		.uid = item->uid,
		.gid = item->gid,
		.st_mode = restore_mode_is_late(r, item) ? item->st_mode | S_IRUSR : item->st_mode,
		.atime = item->atime,
		.mtime = item->mtime,
		.is_symlink = item->type == NODE_SYMLINK,
		.fresh = fresh && !item->kept,
	};

	if (item->extra != NULL) {
		m.xattr = item->extra->xattrs;
		m.xattr_count = item->extra->xattr_count;
	}
	(void)meta_put(
		r->s->os, fd, name, &m, part_failed, &d); /* what fails is told and counted there */
}

void
restore_describe(struct restore *r, const struct restore_item *item, int fd, const char *name)
{
	describe(r, item, fd, name, true);
}

void
restore_describe_live(struct restore *r, const struct restore_item *item, int fd)
{
	describe(r, item, fd, NULL, false);
}

void
restore_item_done(struct restore *r, struct restore_worker *w, struct restore_item *item)
{
	const struct listener *l = r->s->listener;
	struct item_done done = {
		.action = ITEM_RESTORED, .is_dir = item->type == NODE_DIR, .size = item->size
	};
	struct err ignored;

	if (item->type == NODE_DIR)
		w->done.dirs++;
	else if (item->type == NODE_FILE)
		w->done.files++;
	else
		w->done.others++;
	atomic_store_explicit(&item->made, true, memory_order_relaxed);
	w->done.bytes += item->size;
	atomic_fetch_add_explicit(&l->progress->done_items, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->progress->done_bytes, item->size, memory_order_relaxed);
	artifacts_built(r);
	if (l->item == NULL || restore_path(item->dir, item->name, &w->path, &ignored) != E_OK)
		return;
	done.path = (const char *)w->path.p;
	l->item(l->arg, &done);
}

/* ---- content ---- */

static bool
is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Bytes from `from` up to the next block boundary of the file, or to the end. */
static size_t
block_at(size_t from, size_t len, uint64_t at)
{
	size_t n = HOLE_BLOCK_BYTES - (size_t)((at + from) % HOLE_BLOCK_BYTES);

	return n < len - from ? n : len - from;
}

/* Blocks of zeros are left out; the file has its length already. */
static enum ecode
write_with_holes(const struct os *os, int fd, struct slice data, uint64_t at, const char *name,
	struct err *e)
{
	size_t from = 0, end = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && end < data.len) {
		size_t n = block_at(end, data.len, at);
		bool hole = is_zero(data.p + end, n);

		if (!hole)
			end += n;
		if (end > from && (hole || end == data.len))
			rc = io_pwrite(os, fd, data.p + from, end - from, at + from, name, e);
		if (hole)
			end += n;
		if (hole)
			from = end;
	}
	return rc;
}

static enum ecode
set_length(const struct os *os, int fd, uint64_t len, const char *name, struct err *e)
{
	int rc;

	do
		rc = os->ftruncate(os, fd, len);
	while (rc == -EINTR);
	return rc < 0 ? io_refusal(e, E_IO, rc, "ftruncate", name) : E_OK;
}

/* Room for all of it now: a full disk shows at once, and the blocks lie together. */
static enum ecode
preallocate(struct restore *r, int fd, const struct restore_item *item, struct err *e)
{
	const struct os *os = r->s->os;
	int rc = -EOPNOTSUPP;

	if (!r->args->sparse) {
		do
			rc = os->fallocate(os, fd, 0, item->size);
		while (rc == -EINTR);
	}
	if (rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL)
		return set_length(os, fd, item->size, item->name, e);
	return rc < 0 ? io_refusal(e, E_IO, rc, "fallocate", item->name) : E_OK;
}

/* A close that refuses may be the only sign of bytes that were lost (NFS, quotas). */
static enum ecode
close_written(const struct os *os, int *fd, const char *name, enum ecode rc, struct err *e)
{
	int got = os->close(os, *fd);

	*fd = -1;
	if (rc == E_OK && got < 0)
		rc = io_refusal(e, E_IO, got, "close", name);
	return rc;
}

static enum ecode
create(struct restore *r, struct restore_worker *w, const struct restore_item *item, int *fd,
	struct err *e)
{
	enum ecode rc;
	int dir;

	rc = restore_open_dir(r, w, item->dir, &dir, e);
	return rc == E_OK ? place_file(r->place, dir, item->name, fd, e) : rc;
}

static enum ecode
fill_whole(struct restore *r, int fd, const struct restore_item *item, struct slice data,
	struct err *e)
{
	const struct os *os = r->s->os;
	enum ecode rc;

	if (!r->args->sparse)
		return io_write(os, fd, data.p, data.len, item->name, e);
	rc = set_length(os, fd, data.len, item->name, e);
	return rc == E_OK ? write_with_holes(os, fd, data, 0, item->name, e) : rc;
}

enum ecode
restore_write_whole(struct restore *r, struct restore_worker *w, struct restore_item *item,
	struct slice data, struct err *e)
{
	enum ecode rc;
	int fd = -1;

	rc = create(r, w, item, &fd, e);
	if (rc != E_OK)
		return rc;
	if (data.len > 0)
		rc = fill_whole(r, fd, item, data, e);
	if (rc == E_OK)
		restore_describe(r, item, fd, NULL);
	rc = close_written(r->s->os, &fd, item->name, rc, e);
	if (rc == E_OK)
		restore_item_done(r, w, item);
	return rc;
}

enum ecode
restore_write_begin(
	struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	enum ecode rc;
	int fd = -1;

	rc = create(r, w, item, &fd, e);
	if (rc != E_OK)
		return rc;
	if (item->size > 0)
		rc = preallocate(r, fd, item, e);
	return close_written(r->s->os, &fd, item->name, rc, e);
}

enum ecode
restore_file_release(struct restore *r, struct restore_worker *w, struct err *e)
{
	struct restore_item *item = w->open_file;

	if (item == NULL)
		return E_OK;
	w->open_file = NULL;
	return close_written(r->s->os, &w->file_fd, item->name, E_OK, e);
}

static enum ecode
hold_file(struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	enum ecode rc;

	if (w->open_file == item)
		return E_OK;
	rc = restore_file_release(r, w, e);
	if (rc == E_OK)
		rc = restore_path(item->dir, item->name, &w->path, e);
	if (rc == E_OK)
		rc = place_reopen(r->place, restore_rel(&w->path), O_WRONLY, &w->file_fd, e);
	if (rc == E_OK)
		w->open_file = item;
	return rc;
}

enum ecode
restore_write_part(struct restore *r, struct restore_worker *w, const struct restore_use *use,
	struct slice data, struct err *e)
{
	struct restore_item *item = use->item;
	const struct os *os = r->s->os;
	enum ecode rc;

	rc = hold_file(r, w, item, e);
	if (rc == E_OK && r->args->sparse)
		rc = write_with_holes(os, w->file_fd, data, use->at, item->name, e);
	else if (rc == E_OK)
		rc = io_pwrite(os, w->file_fd, data.p, data.len, use->at, item->name, e);
	if (rc != E_OK || atomic_fetch_sub(&item->left, 1) != 1)
		return rc;
	restore_describe(r, item, w->file_fd, NULL);
	rc = restore_file_release(r, w, e);
	if (rc == E_OK)
		restore_item_done(r, w, item);
	return rc;
}

/* ---- the rest ---- */

static uint32_t
st_type(enum node_type type)
{
	if (type == NODE_FIFO)
		return S_IFIFO;
	return type == NODE_DEV ? S_IFBLK : S_IFCHR;
}

/* Devices need a privilege; without it the entry is told and left out, and nothing pretends otherwise. */
static enum ecode
make_special(struct restore *r, struct restore_item *item, int dir, struct err *e)
{
	uint64_t rdev = item->extra != NULL ? item->extra->rdev : 0;
	struct restore_trouble t = {
		.during = "restore",
		.code = E_RESTORE_META,
		.sys = EPERM,
		.why = "a device was not made: this needs a privilege",
		.fatal_for_item = true,
	};
	enum ecode rc;

	rc = place_special(r->place, dir, item->name, st_type(item->type), rdev, e);
	if (rc != E_PLACE_IO || e->sys != EPERM || item->type == NODE_FIFO)
		return rc;
	item->skipped = true;
	atomic_fetch_add(&r->not_made, 1);
	atomic_fetch_add(&r->metadata_problems, 1);
	restore_tell(r, item->dir, item->name, &t);
	return E_OK;
}

enum ecode
restore_write_other(
	struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	enum ecode rc;
	int dir;

	rc = restore_open_dir(r, w, item->dir, &dir, e);
	if (rc != E_OK)
		return rc;
	if (item->type == NODE_SYMLINK)
		rc = place_symlink(r->place, dir, item->name, item->extra->target, e);
	else
		rc = make_special(r, item, dir, e);
	if (rc != E_OK || item->skipped)
		return rc;
	restore_describe(r, item, dir, item->name);
	restore_item_done(r, w, item);
	return E_OK;
}
