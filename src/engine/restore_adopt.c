/*
 * What an earlier run staged, held against the plan (IX-48).  First every name:
 * directories stay, stripped of all they carry; files that may be whole stay for
 * the moment; everything else of the plan goes and is made anew, second names of
 * files too, so that a file that stays has one name and nobody else's.  A name
 * that the plan does not have is not ours to remove: then nothing is continued.
 *
 * Then every piece of every file that stayed is hashed.  A whole file gets its
 * metadata through the descriptor it was read by; of others the pieces that are
 * right are not fetched again; a file with none goes.
 *
 * In a merge the stage may hold copies of what stays at the destination.  They
 * go, and are made again: each is still there, by the same name and type.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/path.h"
#include "engine/scratch.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define STAGE_DIR_MODE  0700U /* as place_dir makes them */
#define STAGE_FILE_MODE 0600U /* as place_file */
/* Files of one task: as many as the verification takes. */
#define REHASH_FILES    512
#define LIVE_MARK       ".live-" /* restore_keep.c */

struct adopting {
	struct restore *r;
	struct restore_worker *w;
	struct restore_dir *d;
	int fd;
};
/* Files of one directory to be hashed. */
struct rehash {
	struct flow_task task;
	struct restore_dir *dir;
	size_t first, count;
};

bool
restore_has_piece(const struct restore_item *item, size_t blob)
{
	if (item->made)
		return true;
	return item->kept && item->extra != NULL && item->extra->have != NULL &&
	       (item->extra->have[blob / 8] >> blob % 8 & 1) != 0;
}

/* ---- names ---- */

static enum ecode
foreign(struct adopting *a, const char *name, struct err *e)
{
	enum ecode rc = restore_path(a->d, name, &a->w->path, e);

	return rc != E_OK ? rc
			  : err_set(e, E_RESUME_FOREIGN, 0, "%.*s/" RESTORE_STAGE_ROOT "/%.*s",
				    PATH_TEXT_SHOWN / 4, a->r->dest.run_path, PATH_TEXT_SHOWN / 2,
				    restore_rel(&a->w->path));
}

static enum ecode
drop(struct restore *r, int dir, const char *name, struct err *e)
{
	int rc = r->s->os->unlink(r->s->os, dir, name, 0);

	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "unlink", name) : E_OK;
}

/* A directory where the plan has something else: gone when nothing is in it. */
static enum ecode
drop_dir(struct adopting *a, const char *name, struct err *e)
{
	int rc = a->r->s->os->unlink(a->r->s->os, a->fd, name, AT_REMOVEDIR);

	if (rc == -ENOTEMPTY || rc == -EEXIST || rc == -EBUSY)
		return foreign(a, name, e);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "rmdir", name) : E_OK;
}

/* A mode that keeps its owner out; root needs no such thing, and goes by descriptors alone. */
static enum ecode
open_up(struct adopting *a, const struct walk_entry *entry, mode_t mode, struct err *e)
{
	const struct os *os = a->r->s->os;
	int rc = 0;

	if (!a->r->privileged && (entry->meta.mode & mode) != mode)
		rc = os->chmod(os, a->fd, entry->name, mode);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "chmod", entry->name) : E_OK;
}

/* It may be whole: a plain file of ours, of the right size. */
static bool
may_stay(const struct restore *r, const struct restore_item *item, const struct os_meta *m)
{
	return item->type == NODE_FILE && !restore_is_link(item) && item->content_count > 0 &&
	       !item->damaged && S_ISREG(m->mode) && m->size == item->size &&
	       (r->privileged || m->uid == r->s->os->ids(r->s->os).uid);
}

static enum ecode
adopt_entry(struct adopting *a, struct restore_item *item, const struct walk_entry *entry,
	struct err *e)
{
	bool is_dir = S_ISDIR(entry->meta.mode);

	if (item->type == NODE_DIR && is_dir) {
		item->kept = true;
		return open_up(a, entry, STAGE_DIR_MODE, e);
	}
	if (is_dir)
		return drop_dir(a, item->name, e);
	if (!may_stay(a->r, item, &entry->meta))
		return drop(a->r, a->fd, item->name, e);
	item->kept = true;
	return open_up(a, entry, STAGE_FILE_MODE, e);
}

/* ---- copies of what stays at the destination, in a merge ---- */

/* "name.live-<run>" is the copy of "name". */
static size_t
live_name_len(const char *name)
{
	size_t len = strlen(name), tail = strlen(LIVE_MARK) + RUN_ID_MAX;

	for (size_t i = len > tail ? len - tail : 0; i + strlen(LIVE_MARK) < len; i++)
		if (strncmp(name + i, LIVE_MARK, strlen(LIVE_MARK)) == 0 &&
			run_id_is_one(name + i + strlen(LIVE_MARK)))
			return i;
	return len;
}

/* The destination has it, too, and as the same kind of thing. */
static enum ecode
is_copy(struct restore *r, struct buf *rel, uint32_t st_mode, bool *copy, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };
	char *text = (char *)rel->p, *slash = strrchr(text, '/');
	const char *name = slash == NULL ? text : slash + 1;
	struct os_meta m;
	struct err ignored;
	enum ecode rc;

	*copy = false;
	if (slash != NULL)
		*slash = '\0';
	rc = place_open_dir(r->live, slash == NULL ? "" : text, &dir.fd, &ignored);
	if (slash != NULL)
		*slash = '/';
	if (rc == E_NOMEM)
		return err_set(e, E_NOMEM, ENOMEM, "looking at the destination");
	*copy = rc == E_OK &&
		r->s->os->stat(r->s->os, dir.fd, name, AT_SYMLINK_NOFOLLOW, &m) >= 0 &&
		(m.mode & S_IFMT) == (st_mode & S_IFMT);
	return E_OK;
}

/* Everything below a copied directory is a copy; the directories met are looked into in turn. */
struct copied {
	struct copied *next;
	const char *rel;
};

static enum ecode
look_below(struct adopting *a, struct copied *at, struct copied **last, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = a->r->s->os, .fd = -1 };
	autoclean(buf_done) struct buf rel = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	struct walk_list list = { 0 };
	bool copy = false;
	enum ecode rc = place_open_dir(a->r->place, at->rel, &dir.fd, e);

	if (rc == E_OK)
		rc = walk_dir(a->r->s->os, dir.fd, at->rel, &a->w->nodes, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		struct copied *below;
		void *p;

		buf_clear(&rel);
		rc = buf_printf(&rel, e, "%s/%s", at->rel, list.v[i].name);
		if (rc == E_OK)
			rc = buf_add_byte(&rel, '\0', e);
		if (rc == E_OK)
			rc = is_copy(a->r, &rel, list.v[i].meta.mode, &copy, e);
		if (rc == E_OK && !copy)
			rc = err_set(e, E_RESUME_FOREIGN, 0, "%.*s/" RESTORE_STAGE_ROOT "/%.*s",
				PATH_TEXT_SHOWN / 4, a->r->dest.run_path, PATH_TEXT_SHOWN / 2,
				(const char *)rel.p);
		if (rc != E_OK || !S_ISDIR(list.v[i].meta.mode))
			continue;
		rc = open_up(&(struct adopting){ .r = a->r, .fd = dir.fd }, &list.v[i],
			STAGE_DIR_MODE, e);
		if (rc == E_OK)
			rc = arena_alloc(&a->w->nodes, sizeof(*below), &p, e);
		if (rc != E_OK)
			break;
		below = p;
		*below = (struct copied){ .next = NULL };
		rc = arena_str(&a->w->nodes, rel.p, rel.len - 1, &below->rel, e);
		(*last)->next = below;
		*last = below;
	}
	return rc;
}

static enum ecode
drop_copied_dir(struct adopting *a, const char *rel, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	struct copied top = { .rel = rel }, *last = &top;
	enum ecode rc = E_OK;

	for (struct copied *at = &top; rc == E_OK && at != NULL; at = at->next)
		rc = look_below(a, at, &last, e);
	if (rc == E_OK)
		rc = buf_printf(&path, e, "%s/" RESTORE_STAGE_ROOT "/%s", a->r->dest.run_path, rel);
	if (rc == E_OK)
		rc = buf_add_byte(&path, '\0', e);
	return rc == E_OK ? scratch_remove(a->r->s->os, (const char *)path.p, e) : rc;
}

static enum ecode
is_copy_of(struct adopting *a, const char *rel, size_t len, uint32_t st_mode, bool *copy,
	struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	enum ecode rc = buf_add(&text, rel, len, e);

	if (rc == E_OK)
		rc = buf_add_byte(&text, '\0', e);
	return rc == E_OK ? is_copy(a->r, &text, st_mode, copy, e) : rc;
}

static enum ecode
drop_copy(struct adopting *a, const struct walk_entry *entry, struct err *e)
{
	size_t cut = strlen(entry->name) - live_name_len(entry->name);
	bool copy = false;
	const char *rel = "";
	enum ecode rc = restore_path(a->d, entry->name, &a->w->path, e);

	if (rc == E_OK)
		rc = arena_str(&a->w->nodes, restore_rel(&a->w->path), a->w->path.len - 1, &rel, e);
	if (rc == E_OK)
		rc = is_copy_of(a, rel, strlen(rel), entry->meta.mode, &copy, e);
	if (rc == E_OK && !copy && cut > 0)
		rc = is_copy_of(a, rel, strlen(rel) - cut, entry->meta.mode, &copy, e);
	if (rc != E_OK)
		return rc;
	if (!copy)
		return foreign(a, entry->name, e);
	if (!S_ISDIR(entry->meta.mode))
		return drop(a->r, a->fd, entry->name, e);
	rc = open_up(a, entry, STAGE_DIR_MODE, e);
	return rc == E_OK ? drop_copied_dir(a, rel, e) : rc;
}

/* ---- one directory ---- */

static bool
is_planned(const struct restore_item *item)
{
	return item->type == NODE_DIR ? item->to.child->wanted : !item->skipped;
}

/* Both lists ascend by name. */
static enum ecode
adopt_list(struct adopting *a, const struct walk_list *list, struct err *e)
{
	enum ecode rc = E_OK;
	size_t i = 0;

	for (size_t k = 0; rc == E_OK && k < list->n; k++) {
		const struct walk_entry *entry = &list->v[k];
		bool known;

		while (i < a->d->count && strcmp(a->d->items[i].name, entry->name) < 0)
			i++;
		known = i < a->d->count && strcmp(a->d->items[i].name, entry->name) == 0 &&
			is_planned(&a->d->items[i]);
		if (!entry->have_meta)
			rc = err_set(e, E_STAGE_IO, entry->sys, "stat %s", entry->name);
		else if (known)
			rc = adopt_entry(a, &a->d->items[i], entry, e);
		else if (artifacts_is_own(a->r, a->d, entry->name))
			continue;
		else if (restore_keeps(a->r))
			rc = drop_copy(a, entry, e);
		else
			rc = foreign(a, entry->name, e);
	}
	return rc;
}

static void
count_failed(void *arg, enum meta_part part, const char *xattr, int sys)
{
	struct err *e = arg;

	(void)part;
	(void)err_set(e, E_STAGE_IO, sys, "a directory of the stage cannot be made plain%s%.200s",
		xattr == NULL ? "" : ": ", xattr == NULL ? "" : xattr);
}

/* As place_dir would have made it: what is created in there inherits nothing. */
static enum ecode
make_plain(struct restore *r, int fd, struct err *e)
{
	struct os_ids me = r->s->os->ids(r->s->os);
	struct meta_apply m = {
		.owner = true,
		.mode = true,
		.xattrs = true,
		.uid = me.uid,
		.gid = me.gid,
		.st_mode = STAGE_DIR_MODE,
	};
	struct err why = { .code = E_OK };

	if (meta_put(r->s->os, fd, NULL, &m, count_failed, &why) == 0)
		return E_OK;
	return err_set(e, E_STAGE_IO, why.sys, "%s", why.detail);
}

static enum ecode
adopt_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct restore *r = d->run;
	struct adopting a = { .r = r, .w = &r->worker[worker], .d = d, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc = restore_asked_to_stop(r, e);

	if (rc == E_OK)
		rc = restore_path(d, NULL, &a.w->path, e);
	if (rc == E_OK)
		rc = place_open_dir(r->place, restore_rel(&a.w->path), &a.fd, e);
	if (rc == E_OK)
		rc = make_plain(r, a.fd, e);
	if (rc == E_OK)
		rc = walk_dir(r->s->os, a.fd, d->self->name, &a.w->nodes, &list, e);
	if (rc == E_OK)
		rc = adopt_list(&a, &list, e);
	io_close(r->s->os, &a.fd);
	arena_reset(&a.w->nodes);
	for (size_t i = 0; rc == E_OK && i < d->count; i++)
		if (d->items[i].type == NODE_DIR && d->items[i].kept) {
			d->items[i].to.child->task.run = adopt_task;
			flow_add(r->s->flow, &d->items[i].to.child->task);
		}
	return rc;
}

/* ---- content ---- */

/* Bits for its pieces; what other members say stays as it is. */
static enum ecode
have_bits(struct restore_worker *w, struct restore_item *item, struct err *e)
{
	struct restore_extra *x = item->extra;
	enum ecode rc = E_OK;
	void *p;

	if (x == NULL) {
		rc = arena_alloc(&w->plan, sizeof(*x), &p, e);
		if (rc != E_OK)
			return rc;
		x = p;
		*x = (struct restore_extra){ .names = 1 };
	}
	rc = arena_alloc(&w->plan, item->content_count / 8 + 1, &p, e);
	if (rc != E_OK)
		return rc;
	memset(p, 0, item->content_count / 8 + 1);
	x->have = p;
	item->extra = x;
	return E_OK;
}

static enum ecode
hash_file(struct restore *r, struct restore_worker *w, struct restore_item *item, int fd,
	size_t *right, struct err *e)
{
	uint64_t at = 0, bytes = 0;
	uint32_t len;
	bool many = item->content_count > 1;
	enum ecode rc = many ? have_bits(w, item, e) : E_OK;

	*right = 0;
	for (size_t k = 0; rc == E_OK && k < item->content_count; k++) {
		bool same = false;

		rc = restore_same_piece(r, w, fd, at, &item->content[k], &len, &same, e);
		at += len;
		if (rc != E_OK || !same)
			continue;
		if (many)
			item->extra->have[k / 8] |= (uint8_t)(1U << k % 8);
		bytes += len;
		++*right;
		if (k % 64 == 63)
			rc = restore_asked_to_stop(r, e);
	}
	if (rc == E_OK)
		atomic_fetch_add(&r->kept_bytes, bytes);
	return rc;
}

/* Opened below the place; plain, with one name, of its size: else it is nothing to go on with. */
static bool
open_staged(struct restore *r, struct restore_worker *w, const struct restore_item *item, int *fd,
	struct os_meta *m)
{
	struct err ignored;

	if (restore_path(item->dir, item->name, &w->path, &ignored) != E_OK ||
		place_reopen(r->place, restore_rel(&w->path), O_RDONLY, fd, &ignored) != E_OK)
		return false;
	return r->s->os->stat(r->s->os, *fd, "", AT_EMPTY_PATH, m) >= 0 && S_ISREG(m->mode) &&
	       m->nlink == 1 && m->size == item->size;
}

/* Gone on with: it may have got its last mode already. */
static bool
make_writable(struct restore *r, int fd)
{
	return r->s->os->chmod(r->s->os, fd, NULL, STAGE_FILE_MODE) >= 0;
}

static enum ecode
drop_file(struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	enum ecode rc;
	int dir;

	item->kept = false;
	if (item->extra != NULL)
		item->extra->have = NULL;
	rc = restore_open_dir(r, w, item->dir, &dir, e);
	return rc == E_OK ? drop(r, dir, item->name, e) : rc;
}

static enum ecode
rehash_file(struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = r->s->os, .fd = -1 };
	struct os_meta m = { 0 };
	size_t right = 0;
	enum ecode rc = E_OK;

	if (open_staged(r, w, item, &file.fd, &m))
		rc = hash_file(r, w, item, file.fd, &right, e);
	if (rc != E_OK)
		return rc;
	if (right == 0 || (right < item->content_count && !make_writable(r, file.fd)))
		return drop_file(r, w, item, e);
	atomic_fetch_add(&r->kept_space, m.blocks * 512);
	item->left = item->content_count - right;
	if (right < item->content_count)
		return E_OK;
	atomic_fetch_add(&r->kept_files, 1);
	restore_describe(r, item, file.fd, NULL);
	restore_item_done(r, w, item);
	return E_OK;
}

static enum ecode
rehash_task(struct flow_task *task, unsigned worker, struct err *e)
{
	const struct rehash *t = (const struct rehash *)task;
	struct restore *r = t->dir->run;
	enum ecode rc = restore_asked_to_stop(r, e);

	for (size_t i = t->first; rc == E_OK && i < t->first + t->count; i++)
		if (t->dir->items[i].type == NODE_FILE && t->dir->items[i].kept)
			rc = rehash_file(r, &r->worker[worker], &t->dir->items[i], e);
	return rc;
}

static void
share_files(struct restore *r, struct restore_dir *d)
{
	struct restore_worker *w = &r->worker[r->s->workers];
	struct err e;
	void *p;

	for (size_t i = 0; i < d->count; i += REHASH_FILES) {
		size_t left = d->count - i;
		struct rehash *t;

		if (arena_alloc(&w->plan, sizeof(*t), &p, &e) != E_OK) {
			flow_stop(r->s->flow, e.code, &e);
			return;
		}
		t = p;
		*t = (struct rehash){ .task = { .run = rehash_task, .drop = restore_keep_task },
			.dir = d,
			.first = i,
			.count = left < REHASH_FILES ? left : REHASH_FILES };
		flow_add(r->s->flow, &t->task);
	}
}

/* ---- all of it ---- */

/* Only what is still to be written is fetched. */
static void
forget_uses(struct restore *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->use_count; i++)
		if (!restore_has_piece(r->uses[i].item, r->uses[i].blob))
			r->uses[n++] = r->uses[i];
	r->use_count = n;
}

static void
note_kept(struct restore *r)
{
	const struct listener *l = r->s->listener;
	struct err text;

	(void)err_set(&text, E_OK, 0,
		"run %s is continued: %" PRIu64 " of %" PRIu64 " files and %" PRIu64
		" bytes were staged before and are kept",
		r->args->resume, (uint64_t)r->kept_files, r->planned.files,
		(uint64_t)r->kept_bytes);
	l->note(l->arg, "restore_resumed", text.detail);
	artifacts_event(r, "restore_resumed", text.detail);
}

/* D-18: before the next byte, what is still needed. */
static enum ecode
check_space(struct restore *r, struct err *e)
{
	uint64_t need = r->needed > r->kept_space ? r->needed - r->kept_space : 0;
	struct space now;
	enum ecode rc = space_at(r->s->os, r->dest.parent, &now, e);

	if (rc != E_OK || need <= now.free_bytes)
		return rc;
	return err_set(e, E_STAGE_SPACE, 0,
		"%" PRIu64 " bytes are needed beside what is staged, %" PRIu64 " are free", need,
		now.free_bytes);
}

enum ecode
restore_adopt(struct restore *r, struct err *e)
{
	enum ecode rc;

	if (r->args->resume == NULL)
		return E_OK;
	r->root->task.run = adopt_task;
	flow_add(r->s->flow, &r->root->task);
	rc = flow_finish(r->s->flow, e);
	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < r->dir_count; i++)
		share_files(r, r->dirs[i]);
	rc = flow_finish(r->s->flow, e);
	if (rc != E_OK)
		return rc;
	forget_uses(r);
	note_kept(r);
	return check_space(r, e);
}
