/*
 * Restoring into a directory that is in use, file by file (D-5).  Only what
 * changes is staged and verified; then the safety set is made whole; only then
 * the first name changes hands:
 *	nothing there		rename that replaces nothing; a new directory goes whole
 *	a file over a file	rename over it: the name is the old file or the new
 *	a file and a directory	exchanged in one step; the old one is then in the stage
 *	keep both		exchanged, then the old one gets its second name
 * A path that is not any more what the safety copy was made of is left alone,
 * and ends the restore.  Killed anywhere, every file is old or new and whole;
 * the same command again finds what is left to do and finishes.
 *
 * What only the destination has stays.  Directories that were there keep their
 * place and get the snapshot's attributes last, deepest first.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/safety.h"
#include "fs/remove.h"
#include "os/io.h"

/* ---- which of the plan is staged ---- */

static enum restore_fate
fate_below(const struct restore_dir *d)
{
	const struct restore_item *self = d->self;

	if (d->parent == NULL)
		return FATE_THERE;
	if (d->parent->fate != FATE_THERE)
		return d->parent->fate;
	if ((self->live & LIVE_THERE) == 0)
		return FATE_NEW;
	if ((self->live & LIVE_TYPE) == 0)
		return FATE_THERE;
	return self->decision == CONFLICT_LIVE ? FATE_LEFT : FATE_NEW;
}

static bool
is_wanted(const struct restore *r, const struct restore_item *item)
{
	if (item->dir->fate != FATE_THERE)
		return item->dir->fate == FATE_NEW;
	if ((item->live & LIVE_THERE) == 0)
		return true;
	return restore_differs(r, item) && item->decision != CONFLICT_LIVE;
}

/* One inode stays one inode: when one of its names is replaced, all are staged. */
static void
keep_names_together(struct restore *r)
{
	for (size_t i = 0; i < r->link_count; i++)
		if (!r->links[i]->skipped)
			r->links[i]->to.link_to->skipped = false;
	for (size_t i = 0; i < r->link_count; i++)
		r->links[i]->skipped = r->links[i]->to.link_to->skipped;
}

static void
forget_left(struct restore *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->use_count; i++)
		if (!r->uses[i].item->skipped)
			r->uses[n++] = r->uses[i];
	r->use_count = n;
	n = 0;
	for (size_t i = 0; i < r->link_count; i++)
		if (!r->links[i]->skipped)
			r->links[n++] = r->links[i];
	r->link_count = n;
}

static void
count_left(struct restore *r, const struct restore_item *item)
{
	if (item->type == NODE_FILE) {
		r->left.files++;
		r->left.bytes += item->size;
	} else {
		r->left.others++;
	}
}

static enum ecode
check_space(struct restore *r, struct err *e)
{
	uint64_t files = r->planned.files - r->left.files;
	uint64_t need = RESTORE_RESERVE_BYTES + r->planned.bytes - r->left.bytes +
			(files + r->planned.dirs) * RESTORE_BLOCK_BYTES;

	if (r->args->artifacts)
		need += (files + r->planned.dirs) * RESTORE_RECORD_BYTES;
	r->needed = need;
	r->out->needed_bytes = need;
	if (need > r->space.free_bytes)
		return err_set(e, E_DEST_SPACE, 0,
			"%" PRIu64 " bytes are needed, %" PRIu64 " are free", need,
			r->space.free_bytes);
	return E_OK;
}

enum ecode
restore_in_place_choose(struct restore *r, struct err *e)
{
	if (r->args->kind != RESTORE_IN_PLACE)
		return E_OK;
	for (size_t i = 0; i < r->dir_count; i++) {
		struct restore_dir *d = r->dirs[i];

		d->fate = fate_below(d);
		for (size_t k = 0; k < d->count; k++)
			if (d->items[k].type != NODE_DIR)
				d->items[k].skipped = !is_wanted(r, &d->items[k]);
	}
	keep_names_together(r);
	for (size_t i = 0; i < r->dir_count; i++)
		for (size_t k = 0; k < r->dirs[i]->count; k++)
			if (r->dirs[i]->items[k].type != NODE_DIR && r->dirs[i]->items[k].skipped)
				count_left(r, &r->dirs[i]->items[k]);
	forget_left(r);
	return check_space(r, e);
}

/* ---- what changes, as a list ---- */

enum put_how {
	PUT_NEW,
	PUT_OVER,     /* a rename over it */
	PUT_EXCHANGE, /* one of the two is a directory */
	PUT_BESIDE    /* keep both */
};
struct in_place_put {
	const struct restore_item *item;
	enum put_how how;
	struct os_meta was; /* when it was copied */
};
struct in_place {
	struct restore *r;
	struct in_place_put *puts;
	size_t count, cap;
	struct safety *safety;
	struct buf path;
	const struct restore_dir *open; /* whose descriptors these are */
	int live, stage;
};

static void
in_place_done(struct in_place *p)
{
	io_close(p->r->s->os, &p->live);
	io_close(p->r->s->os, &p->stage);
	safety_close(&p->safety);
	buf_done(&p->path);
	free(p->puts);
}

static bool
is_put(const struct restore *r, const struct restore_item *item)
{
	if (item->type == NODE_DIR)
		return item->to.child->wanted && item->to.child->fate == FATE_NEW;
	if (!item->made)
		return false;
	/* what is the same is put only because another name of its inode is */
	return (item->live & LIVE_THERE) == 0 || item->decision != CONFLICT_LIVE ||
	       !restore_differs(r, item);
}

static enum put_how
how_to_put(const struct restore_item *item, const struct os_meta *was)
{
	if ((item->live & LIVE_THERE) == 0)
		return PUT_NEW;
	if (item->decision == CONFLICT_KEEP_BOTH)
		return PUT_BESIDE;
	return item->type == NODE_DIR || S_ISDIR(was->mode) ? PUT_EXCHANGE : PUT_OVER;
}

static enum ecode
collect(struct in_place *p, struct err *e)
{
	struct restore *r = p->r;

	for (size_t i = 0; i < r->dir_count; i++)
		for (size_t k = 0; r->dirs[i]->fate == FATE_THERE && k < r->dirs[i]->count; k++)
			p->cap += is_put(r, &r->dirs[i]->items[k]);
	p->puts = calloc(p->cap + 1, sizeof(*p->puts));
	if (p->puts == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "%zu paths to put", p->cap);
	for (size_t i = 0; i < r->dir_count; i++) {
		struct restore_dir *d = r->dirs[i];

		for (size_t k = 0; d->fate == FATE_THERE && k < d->count; k++) {
			if (!is_put(r, &d->items[k]))
				continue;
			p->puts[p->count++].item = &d->items[k];
			d->touched = true;
		}
	}
	return E_OK;
}

/*
 * A directory that stays gets the snapshot's attributes: when it was selected, and something in it or about it changes.
 * Its time alone is something: a run that was ended late has put every entry, and no time of a directory.
 */
static bool
is_described(const struct restore *r, const struct restore_dir *d)
{
	return d->fate == FATE_THERE && d->parent != NULL && !d->self->skipped &&
	       (d->touched || (d->self->live & restore_policy_live(r)) != 0);
}

/* ---- the safety set ---- */

static enum ecode
open_safety(struct in_place *p, struct err *e)
{
	const struct restore_args *args = p->r->args;
	const struct safety_args how = { .base = args->safety_dir,
		.home = args->home,
		.dest = p->r->dest.path,
		.source = args->source == NULL ? args->snapshot : args->source,
		.run_id = args->run_id };

	return safety_open(p->r->s->os, &how, &p->safety, e);
}

static enum ecode
keep_old(struct in_place *p, struct in_place_put *put, struct err *e)
{
	struct restore *r = p->r;
	bool there = (put->item->live & LIVE_THERE) != 0;
	enum ecode rc = restore_path(put->item->dir, put->item->name, &p->path, e);
	int got;

	if (rc != E_OK)
		return rc;
	if (p->safety != NULL && !there)
		rc = safety_add_created(p->safety, restore_rel(&p->path), e);
	else if (p->safety != NULL)
		rc = safety_add(p->safety, r->live, restore_rel(&p->path), &put->was, e);
	else if (there) {
		autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };

		rc = restore_path(put->item->dir, NULL, &p->path, e);
		if (rc == E_OK)
			rc = place_open_dir(r->live, restore_rel(&p->path), &dir.fd, e);
		got = rc != E_OK ? 0
				 : r->s->os->stat(r->s->os, dir.fd, put->item->name,
					   AT_SYMLINK_NOFOLLOW, &put->was);
		if (got < 0)
			rc = io_refusal(e, E_PLACE_IO, got, "stat", put->item->name);
	}
	put->how = how_to_put(put->item, &put->was);
	return rc;
}

static bool
has_old(const struct in_place *p)
{
	for (size_t i = 0; i < p->count; i++)
		if ((p->puts[i].item->live & LIVE_THERE) != 0)
			return true;
	for (size_t i = 0; i < p->r->dir_count; i++)
		if (is_described(p->r, p->r->dirs[i]))
			return true;
	return false;
}

static enum ecode
make_safety(struct in_place *p, struct err *e)
{
	struct restore *r = p->r;
	enum ecode rc = E_OK;

	if (r->args->safety_dir != NULL && has_old(p)) {
		artifacts_event(r, "pre_restore_backup_started", r->args->safety_dir);
		rc = open_safety(p, e);
	} else {
		artifacts_event(r, "pre_restore_backup_skipped",
			r->args->safety_dir == NULL ? "as confirmed" : "nothing is replaced");
	}
	for (size_t i = 0; rc == E_OK && i < p->count; i++) {
		rc = restore_asked_to_stop(r, e);
		if (rc == E_OK)
			rc = keep_old(p, &p->puts[i], e);
	}
	for (size_t i = 0; p->safety != NULL && rc == E_OK && i < r->dir_count; i++) {
		if (!is_described(r, r->dirs[i]))
			continue;
		rc = restore_path(r->dirs[i], NULL, &p->path, e);
		if (rc == E_OK)
			rc = safety_add_dir(p->safety, r->live, restore_rel(&p->path), e);
	}
	if (rc == E_OK && p->safety != NULL)
		rc = safety_seal(p->safety, e);
	if (rc != E_OK || p->safety == NULL)
		return rc;
	artifacts_event(r, "pre_restore_backup_completed", safety_path(p->safety));
	r->out->safety = strdup(safety_path(p->safety));
	r->out->safety_files = safety_files(p->safety);
	return E_OK;
}

/* ---- names change hands ---- */

static enum ecode
open_pair(struct in_place *p, const struct restore_dir *d, struct err *e)
{
	enum ecode rc;

	if (p->open == d)
		return E_OK;
	io_close(p->r->s->os, &p->live);
	io_close(p->r->s->os, &p->stage);
	p->open = NULL;
	rc = restore_path(d, NULL, &p->path, e);
	if (rc == E_OK)
		rc = place_open_dir(p->r->live, restore_rel(&p->path), &p->live, e);
	if (rc == E_OK)
		rc = place_open_dir(p->r->place, restore_rel(&p->path), &p->stage, e);
	if (rc == E_OK)
		p->open = d;
	return rc;
}

static enum ecode
changed(const char *path, struct err *e)
{
	return err_set(e, E_LIVE_CHANGED, 0, "%s", path);
}

/* What the safety copy was made of is what will be replaced.  A name less changes an inode's own time. */
static enum ecode
still_the_same(struct in_place *p, const struct in_place_put *put, struct err *e)
{
	const struct os *os = p->r->s->os;
	const struct os_meta *was = &put->was;
	struct os_meta now;
	int rc = os->stat(os, p->live, put->item->name, AT_SYMLINK_NOFOLLOW, &now);

	if (rc == -ENOENT ||
		(rc >= 0 &&
			(now.ino != was->ino || now.dev != was->dev || now.mode != was->mode ||
				now.size != was->size || instant_cmp(now.mtime, was->mtime) != 0 ||
				(was->nlink == 1 && instant_cmp(now.ctime, was->ctime) != 0))))
		return changed(put->item->name, e);
	return rc < 0 ? io_refusal(e, E_PLACE_IO, rc, "stat", put->item->name) : E_OK;
}

static bool
is_unknown_flag(int rc)
{
	return rc == -EINVAL || rc == -ENOSYS || rc == -ENOTSUP;
}

static enum ecode
renamed(int rc, const char *name, struct err *e)
{
	if (rc == -EEXIST || rc == -ENOTEMPTY)
		return changed(name, e);
	return rc < 0 ? io_refusal(e, E_PLACE_IO, rc, "rename", name) : E_OK;
}

static enum ecode
put_new(struct in_place *p, const char *name, struct err *e)
{
	const struct os *os = p->r->s->os;
	struct os_meta m;
	int rc = os->rename(os, p->stage, name, p->live, name, RENAME_NOREPLACE);

	if (is_unknown_flag(rc)) {
		rc = os->stat(os, p->live, name, AT_SYMLINK_NOFOLLOW, &m);
		if (rc >= 0)
			return changed(name, e);
		rc = rc == -ENOENT ? os->rename(os, p->stage, name, p->live, name, 0) : rc;
	}
	return renamed(rc, name, e);
}

/* Moving a directory changes its ".."; without being root it must be writable for that moment. */
static enum ecode
put_new_dir(struct in_place *p, const struct restore_item *item, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = p->r->s->os, .fd = -1 };
	bool locked = !p->r->privileged && (item->st_mode & 0700) != 0700;
	const struct os *os = p->r->s->os;
	enum ecode rc = E_OK;
	int got = 0;

	if (locked) {
		got = os->chmod(os, p->stage, item->name, item->st_mode | 0700);
		if (got >= 0)
			rc = io_open(os, p->stage, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
				0, &dir.fd, e);
	}
	if (got >= 0 && rc == E_OK)
		rc = put_new(p, item->name, e);
	if (got >= 0 && rc == E_OK && locked)
		got = os->chmod(os, dir.fd, NULL, item->st_mode);
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "chmod", item->name) : rc;
}

/* XFS gives a directory that was exchanged, whose ".." is another now, the time of that. */
static void
describe_exchanged(struct in_place *p, const struct restore_item *item)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = p->r->s->os, .fd = -1 };

	if (item->type == NODE_DIR &&
		io_open(dir.os, p->live, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
			&dir.fd, NULL) == E_OK)
		restore_describe_live(p->r, item, dir.fd);
}

static enum ecode
put_exchanged(struct in_place *p, const struct in_place_put *put, struct err *e)
{
	const struct os *os = p->r->s->os;
	const char *name = put->item->name;
	int rc = os->rename(os, p->stage, name, p->live, name, RENAME_EXCHANGE);

	if (is_unknown_flag(rc))
		return err_set(e, E_NO_EXCHANGE, -rc, "%s", name);
	if (rc >= 0)
		describe_exchanged(p, put->item);
	return renamed(rc, name, e);
}

static enum ecode
put_beside(struct in_place *p, const struct in_place_put *put, struct err *e)
{
	autoclean(buf_done) struct buf second = buf_limit(PATH_TEXT_MAX);
	const char *name = put->item->name;
	size_t fixed = strlen(".live-") + strlen(p->r->args->run_id), len = strlen(name);
	enum ecode rc;

	if (fixed >= NAME_BYTES_MAX)
		return err_set(e, E_PLACE_IO, ENAMETOOLONG, "%s", name);
	if (len > NAME_BYTES_MAX - fixed)
		len = NAME_BYTES_MAX - fixed;
	rc = buf_printf(&second, e, "%.*s.live-%s", (int)len, name, p->r->args->run_id);
	if (rc == E_OK)
		rc = buf_add_byte(&second, '\0', e);
	if (rc == E_OK)
		rc = put_exchanged(p, put, e);
	return rc == E_OK ? renamed(p->r->s->os->rename(p->r->s->os, p->stage, name, p->live,
					    (const char *)second.p, RENAME_NOREPLACE),
				    (const char *)second.p, e)
			  : rc;
}

static enum ecode
put_one(struct in_place *p, const struct in_place_put *put, struct err *e)
{
	const struct os *os = p->r->s->os;
	const char *name = put->item->name;
	enum ecode rc = open_pair(p, put->item->dir, e);

	if (rc == E_OK)
		rc = restore_path(put->item->dir, name, &p->path, e);
	if (rc == E_OK && put->how != PUT_NEW)
		rc = still_the_same(p, put, e);
	if (rc != E_OK)
		return rc;
	artifacts_event(p->r, "path_planned", restore_rel(&p->path));
	switch (put->how) {
	case PUT_NEW:
		return put->item->type == NODE_DIR ? put_new_dir(p, put->item, e)
						   : put_new(p, name, e);
	case PUT_OVER:
		return renamed(os->rename(os, p->stage, name, p->live, name, 0), name, e);
	case PUT_EXCHANGE:
		return put_exchanged(p, put, e);
	case PUT_BESIDE:
		return put_beside(p, put, e);
	}
	return E_BUG; /* not reached: -Wswitch-enum proves the list above */
}

/* Deepest first: a directory's time changes with every entry below it. */
static enum ecode
describe_dirs(struct in_place *p, struct err *e)
{
	struct restore *r = p->r;
	enum ecode rc = E_OK;

	for (size_t i = r->dir_count; rc == E_OK && i-- > 0;) {
		autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };

		if (!is_described(r, r->dirs[i]))
			continue;
		rc = restore_path(r->dirs[i], NULL, &p->path, e);
		if (rc == E_OK)
			rc = place_open_dir(r->live, restore_rel(&p->path), &dir.fd, e);
		if (rc == E_OK)
			restore_describe_live(r, r->dirs[i]->self, dir.fd);
	}
	return rc;
}

/* Half done is worth another sentence than not begun; what the refusal itself says stays. */
static enum ecode
stopped(struct in_place *p, enum ecode rc, struct err *e)
{
	struct err why;

	if (rc == E_OK || e == NULL)
		return rc;
	why = *e;
	if (rc != E_LIVE_CHANGED && rc != E_NO_EXCHANGE)
		rc = err_set(e, E_IN_PLACE, why.sys, "%s", why.detail);
	err_note(e, "%" PRIu64 " of %zu paths are in place, each of them whole",
		p->r->out->put_paths, p->count);
	if (p->r->out->safety != NULL)
		err_note(e, "what they were is in the safety set %s", p->r->out->safety);
	return rc;
}

static enum ecode
put_all(struct in_place *p, struct err *e)
{
	struct restore *r = p->r;
	enum ecode rc = E_OK;
	int got;

	for (size_t i = 0; rc == E_OK && i < p->count; i++) {
		rc = put_one(p, &p->puts[i], e);
		r->out->put_paths += rc == E_OK;
		r->out->replaced_paths += rc == E_OK && p->puts[i].how != PUT_NEW;
	}
	if (rc == E_OK)
		rc = describe_dirs(p, e);
	if (rc != E_OK)
		return stopped(p, rc, e);
	r->out->promoted = true;
	got = r->s->os->syncfs(r->s->os, r->dest.root_fd);
	return got < 0 ? err_set(e, E_IO_UNSURE, -got, "%s is complete and in place; syncfs of it",
				 r->dest.path)
		       : E_OK;
}

/* Left in the stage: directories of the plan, and what was exchanged, of which there is a copy. */
static enum ecode
clear_stage(struct in_place *p, struct err *e)
{
	struct restore *r = p->r;
	struct err why;

	io_close(r->s->os, &p->live);
	io_close(r->s->os, &p->stage);
	if (remove_tree_at(r->s->os, r->dest.run_fd, RESTORE_STAGE_ROOT, &why) == E_OK) {
		r->dest.root_made = false;
		return E_OK;
	}
	r->out->stage = strdup(r->dest.run_path);
	(void)e; /* the restore is done; what stays behind is named */
	r->s->listener->note(r->s->listener->arg, "stage_stays", r->dest.run_path);
	return E_OK;
}

enum ecode
restore_in_place(struct restore *r, struct err *e)
{
	autoclean(in_place_done) struct in_place p = {
		.r = r, .path = buf_limit(PATH_TEXT_MAX), .live = -1, .stage = -1
	};
	int got = r->s->os->syncfs(r->s->os, r->dest.root_fd);
	enum ecode rc;

	if (got < 0)
		return io_refusal(e, E_STAGE_IO, got, "syncfs", r->dest.run_path);
	artifacts_event(r, "promotion_planned", "path by path");
	rc = collect(&p, e);
	if (rc == E_OK)
		rc = make_safety(&p, e);
	if (rc == E_OK)
		rc = put_all(&p, e);
	return rc == E_OK ? clear_stage(&p, e) : rc;
}
