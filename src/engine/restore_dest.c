/*
 * The destination and the stage beside it.  Everything is reached from the
 * parent's descriptor, which is opened once; names of others are never
 * followed.  The stage's root gets the rights of the directory it replaces, or
 * 0755: what mkdir would give cannot be asked without changing the umask.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "fs/walk.h"
#include "os/io.h"

#define DEST_FRESH_MODE  0755
#define DIR_FLAGS        (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define EMPTY_DENT_BYTES 4096 /* one getdents call: "." and ".." and whatever else */

/* ---- texts ---- */

/* Its own name cannot change hands, and what is mounted below it is no part of a restore: one directory at a time. */
static enum ecode
root_refused(const struct restore *r, struct err *e)
{
	(void)err_set(
		e, E_DEST_MOUNT, 0, "a file system is mounted at /, the root of this machine");
	if (r->args->kind != RESTORE_EMPTY)
		err_note(e,
			"a directory of a whole machine goes where it was with: holdfast %s SNAPSHOT:/etc --target /etc",
			restore_kind_text(r->args->kind));
	return E_DEST_MOUNT;
}

static enum ecode
name_texts(struct restore *r, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	struct restore_dest *d = &r->dest;
	size_t base_len;
	enum ecode rc;

	rc = path_clean(&clean, r->args->dest, strlen(r->args->dest), e);
	if (rc == E_OK)
		rc = arena_str(&r->arena, clean.p, clean.len, &d->path, e);
	if (rc != E_OK)
		return rc;
	d->base = path_base(d->path);
	base_len = strlen(d->base);
	if (strcmp(d->path, "/") == 0)
		return root_refused(r, e);
	if (!name_is_safe(d->base, base_len) ||
		!name_is_safe(r->args->run_id, strlen(r->args->run_id)))
		return err_set(
			e, E_DEST_NOT_DIR, 0, "%s: give the directory by its own name", d->path);
	if (clean.len == base_len)
		d->parent = ".";
	else if (clean.len == base_len + 1)
		d->parent = "/";
	else
		rc = arena_str(&r->arena, clean.p, clean.len - base_len - 1, &d->parent, e);
	if (rc == E_OK)
		rc = buf_printf(
			&text, e, "%s" RESTORE_STAGE_SUFFIX "/%s", d->path, r->args->run_id);
	if (rc == E_OK)
		rc = arena_str(&r->arena, text.p, text.len, &d->run_path, e);
	buf_clear(&text);
	if (rc == E_OK)
		rc = buf_printf(&text, e, "%s" RESTORE_STAGE_SUFFIX, d->path);
	if (rc == E_OK)
		rc = arena_str(&r->arena, text.p, text.len, &d->stage_path, e);
	buf_clear(&text);
	if (rc == E_OK)
		rc = buf_printf(&text, e, "%s" RESTORE_STAGE_SUFFIX, d->base);
	if (rc == E_OK)
		rc = arena_str(&r->arena, text.p, text.len, &d->stage_name, e);
	return rc;
}

/* ---- looking ---- */

static enum ecode
open_parent(struct restore *r, struct os_meta *meta, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	int rc;

	do
		rc = os->open(os, AT_FDCWD, d->parent,
			r->args->passing ? DIR_FLAGS | O_NOFOLLOW : DIR_FLAGS, 0);
	while (rc == -EINTR);
	if (rc < 0)
		return err_set(e, E_DEST_PARENT, -rc, "open %s", d->parent);
	d->parent_fd = rc;
	rc = os->stat(os, d->parent_fd, "", AT_EMPTY_PATH, meta);
	if (rc < 0)
		return err_set(e, E_DEST_PARENT, -rc, "stat %s", d->parent);
	/* who may rename beside it could have put something else there since it was made */
	if (r->args->passing && (meta->uid != os->ids(os).uid || (meta->mode & 077) != 0))
		return err_set(e, E_DEST_PARENT, 0, "%s is not private any more", d->parent);
	return E_OK;
}

static uint64_t
count_entries(const void *records, size_t len, bool but_records)
{
	struct os_dirent ent;
	uint64_t n = 0;
	size_t at = 0;

	while (os_dirent_next(records, len, &at, &ent))
		n += strcmp(ent.name, ".") != 0 && strcmp(ent.name, "..") != 0 &&
		     (!but_records || strcmp(ent.name, ARTIFACTS_DIR) != 0);
	return n;
}

static enum ecode
check_inside(struct restore *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };
	const struct os *os = r->s->os;
	_Alignas(16) uint8_t records[EMPTY_DENT_BYTES];
	uint64_t n = 0;
	ssize_t got = 1;
	int rc;

	do
		rc = os->open(os, r->dest.parent_fd, r->dest.base, DIR_FLAGS | O_NOFOLLOW, 0);
	while (rc == -EINTR);
	if (rc < 0)
		return err_set(e, E_DEST_NOT_DIR, -rc, "open %s", r->dest.path);
	dir.fd = rc;
	if (artifacts_earlier(r, dir.fd, &r->dest.records, e) != E_OK)
		return e->code;
	while (r->args->kind == RESTORE_EMPTY && got > 0) {
		got = os->getdents(os, dir.fd, records, sizeof(records));
		if (got == -EINTR)
			got = 1;
		else if (got < 0)
			return err_set(e, E_DEST_NOT_EMPTY, (int)-got, "%s could not be listed",
				r->dest.path);
		else
			n += count_entries(records, (size_t)got, r->dest.records == RECORDS_OURS);
	}
	if (n > 0)
		return err_set(e, E_DEST_NOT_EMPTY, 0,
			"%s holds %" PRIu64 " %s; a restore never puts existing data at risk",
			r->dest.path, n, n == 1 ? "entry" : "entries");
	return E_OK;
}

enum ecode
restore_dest_check(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_meta parent = { 0 };
	enum ecode rc;
	int got;

	rc = name_texts(r, e);
	if (rc == E_OK)
		rc = open_parent(r, &parent, e);
	if (rc == E_OK)
		rc = restore_partial_check(r, e);
	if (rc == E_OK)
		rc = restore_apart(r, e);
	if (rc != E_OK)
		return rc;
	got = os->stat(os, d->parent_fd, d->base, AT_SYMLINK_NOFOLLOW, &d->meta);
	if (got == -ENOENT && r->args->kind == RESTORE_IN_PLACE)
		return err_set(e, E_DEST_MISSING, 0, "%s", d->path);
	if (got < 0 && got != -ENOENT)
		return err_set(e, E_DEST_NOT_DIR, -got, "stat %s", d->path);
	d->exists = got >= 0;
	rc = restore_left_look(r, e);
	if (rc != E_OK || !d->exists)
		return rc;
	if (!S_ISDIR(d->meta.mode))
		return err_set(
			e, E_DEST_NOT_DIR, 0, "%s is there already, as something else", d->path);
	d->inside = d->meta.dev != parent.dev || d->meta.mnt_id != parent.mnt_id;
	if (d->inside && r->args->kind != RESTORE_IN_PLACE)
		return err_set(e, E_DEST_MOUNT, 0, "a file system is mounted at %s", d->path);
	rc = check_inside(r, e);
	return rc == E_OK ? restore_swap_check(r, e) : rc;
}

/* ---- the stage ---- */

static enum ecode
stage_refused(struct err *e, int rc, const char *call, const char *path)
{
	if (rc == -EEXIST)
		return err_set(e, E_PLACE_EXISTS, EEXIST, "%s", path);
	return io_refusal(e, E_STAGE_IO, rc, call, path);
}

static enum ecode
open_made(struct restore *r, int parent, const char *name, int *fd, struct err *e)
{
	const struct os *os = r->s->os;
	int rc = os->open(os, parent, name, DIR_FLAGS | O_NOFOLLOW, 0);

	if (rc < 0)
		return stage_refused(e, rc, "open", name);
	*fd = rc;
	return E_OK;
}

/*
 * In place the stage may lie in the destination: where that is a mount point, or
 * where nothing may be made beside it, as beside a home directory.
 */
static enum ecode
move_inside(struct restore *r, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	struct restore_dest *d = &r->dest;
	enum ecode rc =
		io_open(r->s->os, d->parent_fd, d->base, DIR_FLAGS | O_NOFOLLOW, 0, &d->home_fd, e);

	d->inside = true;
	d->stage_name = RESTORE_STAGE_INSIDE;
	if (rc == E_OK)
		rc = buf_printf(
			&text, e, "%s/" RESTORE_STAGE_INSIDE "/%s", d->path, r->args->run_id);
	return rc == E_OK ? arena_str(&r->arena, text.p, text.len, &d->run_path, e) : rc;
}

static int
stage_home(const struct restore_dest *d)
{
	return d->home_fd >= 0 ? d->home_fd : d->parent_fd;
}

/* One for all restores to this destination; somebody else's would be a trap. */
static enum ecode
make_stage_dir(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_meta m;
	enum ecode rc;
	int got = os->mkdir(os, stage_home(d), d->stage_name, 0700);

	if (got < 0 && got != -EEXIST)
		return stage_refused(e, got, "mkdir", d->stage_name);
	d->stage_made = got >= 0;
	rc = open_made(r, stage_home(d), d->stage_name, &d->stage_fd, e);
	if (rc != E_OK)
		return rc;
	got = os->stat(os, d->stage_fd, "", AT_EMPTY_PATH, &m);
	if (got < 0)
		return stage_refused(e, got, "stat", d->stage_name);
	if (m.uid != os->ids(os).uid || (m.mode & 022) != 0)
		return err_set(e, E_PLACE_EXISTS, 0, "%s belongs to somebody else", d->stage_name);
	d->stage_made = true; /* also of an earlier run; removed only when empty */
	return E_OK;
}

/* By the descriptor of what this run made: its name and those above it may lead elsewhere by now. */
static enum ecode
make_root(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	enum ecode rc = place_open_at(r->s->os, d->run_fd, RESTORE_STAGE_ROOT, &r->place, e);

	return rc == E_OK ? place_open_dir(r->place, "", &d->root_fd, e) : rc;
}

/* What was opened must still be what has the name. */
static enum ecode
check_root(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_meta made, opened;
	int rc = os->stat(os, d->run_fd, RESTORE_STAGE_ROOT, AT_SYMLINK_NOFOLLOW, &made);

	if (rc >= 0)
		rc = os->stat(os, d->root_fd, "", AT_EMPTY_PATH, &opened);
	if (rc < 0)
		return stage_refused(e, rc, "stat", d->run_path);
	if (made.ino != opened.ino || made.dev != opened.dev)
		return err_set(
			e, E_PATH_UNSAFE, 0, "%s was exchanged while it was opened", d->run_path);
	return E_OK;
}

/* The run's own directory and the tree in it, both new. */
static enum ecode
make_run(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	enum ecode rc;
	int got = os->mkdir(os, d->stage_fd, r->args->run_id, 0700);

	if (got < 0)
		return stage_refused(e, got, "mkdir", d->run_path);
	d->run_made = true;
	rc = open_made(r, d->stage_fd, r->args->run_id, &d->run_fd, e);
	if (rc == E_OK)
		rc = restore_stage_lock(r, e);
	if (rc == E_OK)
		rc = restore_left_note(r, e);
	if (rc != E_OK)
		return rc;
	got = os->mkdir(os, d->run_fd, RESTORE_STAGE_ROOT, 0700);
	if (got < 0)
		return stage_refused(e, got, "mkdir " RESTORE_STAGE_ROOT " in", d->run_path);
	d->root_made = true;
	return E_OK;
}

enum ecode
restore_stage_make(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	enum ecode rc = d->inside ? move_inside(r, e) : E_OK;

	if (rc == E_OK)
		rc = make_stage_dir(r, e);
	if (rc == E_STAGE_IO && r->args->kind == RESTORE_IN_PLACE && !d->inside &&
		(e->sys == EACCES || e->sys == EPERM || e->sys == EROFS)) {
		rc = move_inside(r, e);
		if (rc == E_OK)
			rc = make_stage_dir(r, e);
	}
	if (rc != E_OK)
		return rc;
	rc = r->args->resume != NULL ? restore_stage_take(r, e) : make_run(r, e);
	if (rc == E_OK)
		rc = make_root(r, e);
	if (rc == E_OK)
		rc = check_root(r, e);
	return rc == E_OK && r->args->resume != NULL ? restore_records_check(r, e) : rc;
}

/* ---- promotion ---- */

static enum ecode
describe_root(struct restore *r, struct err *e)
{
	const struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_ids me = os->ids(os);
	int rc = 0;

	if (d->exists && (d->meta.uid != me.uid || d->meta.gid != me.gid))
		rc = os->chown(os, d->root_fd, NULL, d->meta.uid, d->meta.gid, 0);
	if (rc == -EPERM && !r->privileged)
		rc = 0; /* somebody else's empty directory in a place we may write: it becomes ours */
	if (rc >= 0)
		rc = os->chmod(
			os, d->root_fd, NULL, d->exists ? d->meta.mode & 07777 : DEST_FRESH_MODE);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "describe", d->run_path) : E_OK;
}

/*
 * Everything below the root reaches the medium before its name does.  syncfs
 * reports write-back errors since the descriptor was opened, which was before
 * the first write.  Not supported (ENOSYS, EINVAL, ENOTSUP) is not an excuse.
 */
static enum ecode
make_durable(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	int rc = r->args->passing ? 0 : os->syncfs(os, r->dest.root_fd);

	if (rc >= 0)
		rc = os->fsync(os, r->dest.run_fd);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "syncfs", r->dest.run_path) : E_OK;
}

/*
 * A directory's rename replaces nothing but an empty directory, so the plain
 * form is safe where RENAME_NOREPLACE is not known.
 */
static int
rename_into_place(struct restore *r)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	unsigned flags = d->exists && r->out->missing == 0 ? 0 : RENAME_NOREPLACE;
	const char *name = r->out->missing > 0 ? d->partial : d->base;
	int rc = os->rename(os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, name, flags);

	if (flags != 0 && (rc == -EINVAL || rc == -ENOSYS))
		rc = os->rename(os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, name, 0);
	return rc;
}

static enum ecode
put_in_place(struct restore *r, struct err *e)
{
	int rc;

	artifacts_event(r, "promotion_planned", "one rename");
	rc = rename_into_place(r);
	if (rc < 0)
		return err_set(e, E_PROMOTE, -rc, "rename to %s", r->dest.path);
	r->out->promoted = true;
	r->dest.root_made = false;
	return E_OK;
}

enum ecode
restore_promote(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	enum ecode rc, kept;
	int got;

	rc = describe_root(r, e);
	if (rc == E_OK && d->records == RECORDS_OURS && r->args->kind == RESTORE_EMPTY &&
		r->out->missing == 0)
		rc = artifacts_take_over(r, e);
	if (rc == E_OK)
		rc = make_durable(r, e);
	if (rc != E_OK)
		return rc;
	if (d->previous != NULL)
		kept = restore_swap(r, e);
	else
		kept = put_in_place(r, e);
	if (!r->out->promoted)
		return kept;
	got = os->fsync(os, d->parent_fd);
	if (got < 0)
		return err_set(e, E_IO_UNSURE, -got, "%s is complete and in place; fsync of %s",
			d->path, d->parent);
	return kept;
}

/* Leftovers are named by the next look at the destination's parent; removing them may fail. */
void
restore_dest_done(struct restore *r, bool keep_stage)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;

	if (!keep_stage && d->run_fd >= 0 && d->root_made)
		(void)os->unlink(os, d->run_fd, RESTORE_STAGE_ROOT, AT_REMOVEDIR);
	if (!keep_stage && !d->old_staged)
		restore_left_forget(r);
	if (!keep_stage && d->run_made)
		restore_resume_forget(r);
	if (!keep_stage && d->run_made)
		(void)os->unlink(os, d->stage_fd, r->args->run_id, AT_REMOVEDIR);
	if (!keep_stage && d->stage_made)
		(void)os->unlink(os, stage_home(d), d->stage_name, AT_REMOVEDIR);
	io_close(os, &d->root_fd);
	io_close(os, &d->run_fd);
	io_close(os, &d->stage_fd);
	io_close(os, &d->home_fd);
	io_close(os, &d->parent_fd);
}
