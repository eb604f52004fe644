/*
 * What stays of the tree that is there, for a merge (C-02, X-01): the stage is
 * the whole future tree, so what only the destination has, and what was decided
 * to stay, is copied into it, with all metadata.  Nothing of the live tree is
 * changed.  Three walks over it, all alike: measure (before the first byte),
 * copy, and compare what was copied with what is there now.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/map.h"
#include "base/path.h"
#include "engine/copy_bytes.h"
#include "fs/walk.h"
#include "os/io.h"

#define KEEP_BUFFER_BYTES ((size_t)1 << 20)
#define BYTES_PER_BLOCK   512 /* of stat's blocks: inode(7) */

enum keep_pass {
	PASS_MEASURE,
	PASS_COPY,
	PASS_COMPARE
};
struct restore_keep_dir {
	struct restore_keep_dir *next, *prev;
	const char *from, *to;          /* relative; "" is the root */
	const struct restore_dir *plan; /* the snapshot has it too; else NULL */
	struct os_meta meta;
};
struct keeping {
	struct restore *r;
	struct restore_worker *w;
	enum keep_pass pass;
	struct restore_keep_dir *first, *last, *dir; /* dir: in hand */
	struct map links; /* (device, inode) → the name it has in the stage */
	struct copier copier;
	int live_fd, stage_fd;
	uint64_t kept;           /* names in the directory in hand */
	uint64_t bytes, entries; /* of all; bytes by size, which the same tree always has (D-15) */
	uint64_t taken; /* … and by blocks, which depend on what the file system did before */
};
/* One entry of the live tree that stays. */
struct staying {
	const struct walk_entry *entry;
	const struct restore_item *item; /* of the same name in the plan, or NULL */
	const char *name;                /* it gets */
	const char *from, *to;
};

bool
restore_keeps(const struct restore *r)
{
	return r->args->kind == RESTORE_SWAP && r->args->tree != TREE_EXACT && r->dest.exists;
}

bool
restore_dir_stays(const struct restore *r, const struct restore_item *dir)
{
	return restore_keeps(r) && (dir->live & LIVE_THERE) != 0 && (dir->live & LIVE_TYPE) == 0;
}

static void
done(struct keeping *k)
{
	map_done(&k->links);
	io_close(k->r->s->os, &k->live_fd);
	io_close(k->r->s->os, &k->stage_fd);
}

static enum ecode
changed(const char *path, const char *how, struct err *e)
{
	return err_set(e, E_LIVE_CHANGED, 0, "%s %s", path, how);
}

/* ---- metadata ---- */

struct putting {
	struct restore *r;
	const char *to;
};

static void
part_failed(void *arg, enum meta_part part, const char *xattr, int sys)
{
	struct putting *p = arg;
	struct restore_trouble t = { .during = "restore",
		.code = E_RESTORE_META,
		.sys = sys,
		.why = "an attribute of what stays was not applied" };

	(void)xattr;
	if (part == META_OWNER && sys == EPERM && !p->r->privileged) {
		atomic_fetch_add(&p->r->owner_refused, 1);
		return;
	}
	atomic_fetch_add(&p->r->metadata_problems, 1);
	restore_tell(p->r, p->r->root, p->to, &t);
}

static void
xattr_unread(void *arg, const char *name, int sys)
{
	part_failed(arg, META_XATTR, name, sys);
}

/* From live (fd, or name below it) to staged: everything a file has besides its content. */
static enum ecode
copy_meta(struct keeping *k, const char *to, const struct os_meta *m, const int fd[2],
	const char *const name[2], struct err *e)
{
	struct putting p = { .r = k->r, .to = to };
	struct meta_xattrs x = { 0 };
	struct meta_apply a = { .owner = true,
		.mode = !S_ISLNK(m->mode),
		.times = true,
		.xattrs = true,
		.uid = m->uid,
		.gid = m->gid,
		.st_mode = m->mode & 07777,
		.atime = m->atime,
		.mtime = m->mtime,
		.setid_with_owner = S_ISREG(m->mode),
		.is_symlink = S_ISLNK(m->mode),
		.fresh = true };
	enum ecode rc = meta_xattrs_read(
		k->r->s->os, fd[0], name[0], &k->w->nodes, &x, xattr_unread, &p, e);

	if (rc != E_OK)
		return rc;
	a.xattr = x.v;
	a.xattr_count = x.n;
	(void)meta_put(k->r->s->os, fd[1], name[1], &a, part_failed, &p);
	return E_OK;
}

/* ---- files ---- */

static bool
same_state(const struct os_meta *a, const struct os_meta *b)
{
	return a->ino == b->ino && a->size == b->size && instant_cmp(a->mtime, b->mtime) == 0 &&
	       instant_cmp(a->ctime, b->ctime) == 0;
}

static enum ecode
look(struct keeping *k, int fd, const char *path, struct os_meta *m, struct err *e)
{
	int got = k->r->s->os->stat(k->r->s->os, fd, "", AT_EMPTY_PATH, m);

	return got < 0 ? err_set(e, E_STAGE_IO, -got, "stat %s", path) : E_OK;
}

/* Copied between two looks that must agree. */
static enum ecode
copy_open(struct keeping *k, const struct staying *s, const int fd[2], struct err *e)
{
	static const char *const self[2] = { NULL, NULL };
	struct os_meta before, after;
	enum ecode rc = look(k, fd[0], s->from, &before, e);

	if (rc == E_OK && !S_ISREG(before.mode))
		rc = changed(s->from, "is no file any more", e);
	if (rc == E_OK)
		rc = copy_bytes(&k->copier, fd, before.size, s->from, e);
	if (rc == E_OK)
		rc = copy_meta(k, s->to, &before, fd, self, e);
	if (rc == E_OK)
		rc = look(k, fd[0], s->from, &after, e);
	if (rc == E_OK && (!same_state(&before, &after) || !same_state(&before, &s->entry->meta)))
		rc = changed(s->from, "changed while it was copied", e);
	return rc;
}

/* *linked: its inode is in the stage already, and has one more name now. */
static enum ecode
link_known(struct keeping *k, const struct staying *s, bool *linked, struct err *e)
{
	const struct os_meta *m = &s->entry->meta;
	uint64_t *first;
	enum ecode rc;

	*linked = false;
	if (m->nlink < 2)
		return E_OK;
	rc = map_put(&k->links, m->dev, m->ino, (uint64_t)(uintptr_t)s->to, &first, linked, e);
	if (rc != E_OK || !*linked)
		return rc;
	return place_link(k->r->place, (const char *)(uintptr_t)*first, k->stage_fd, s->name, e);
}

static enum ecode
copy_file(struct keeping *k, const struct staying *s, struct err *e)
{
	autoclean(io_fd_done) struct io_fd live = { .os = k->r->s->os, .fd = -1 };
	int made = -1, got;
	enum ecode rc = walk_open_file(k->r->s->os, k->live_fd, s->entry->name, &live.fd, e);

	if (rc == E_OK)
		rc = place_file(k->r->place, k->stage_fd, s->name, &made, e);
	if (rc != E_OK)
		return rc;
	rc = copy_open(k, s, (const int[2]){ live.fd, made }, e);
	got = k->r->s->os->close(k->r->s->os, made);
	return rc == E_OK && got < 0 ? io_refusal(e, E_IO, got, "close", s->to) : rc;
}

static enum ecode
copy_other(struct keeping *k, const struct staying *s, struct err *e)
{
	const struct os_meta *m = &s->entry->meta;
	const int fd[2] = { k->live_fd, k->stage_fd };
	const char *const name[2] = { s->entry->name, s->name };
	struct slice target;
	enum ecode rc;

	if (S_ISLNK(m->mode)) {
		rc = walk_readlink(
			k->r->s->os, k->live_fd, s->entry->name, &k->w->nodes, &target, e);
		if (rc == E_OK)
			rc = place_symlink(
				k->r->place, k->stage_fd, s->name, (const char *)target.p, e);
	} else {
		rc = place_special(k->r->place, k->stage_fd, s->name, m->mode, m->rdev, e);
	}
	return rc == E_OK ? copy_meta(k, s->to, m, fd, name, e) : rc;
}

/* ---- comparing ---- */

static enum ecode
compare_bytes(struct keeping *k, const struct staying *s, const int fd[2], struct err *e)
{
	struct buf *a = &k->w->scratch, *b = &k->w->spare;
	uint64_t at = 0, size = s->entry->meta.size;
	enum ecode rc = buf_reserve(a, KEEP_BUFFER_BYTES, e);

	if (rc == E_OK)
		rc = buf_reserve(b, KEEP_BUFFER_BYTES, e);
	while (rc == E_OK && at < size) {
		size_t n = 0, m = 0;

		rc = io_pread(k->r->s->os, fd[0], a->p, KEEP_BUFFER_BYTES, at, &n, s->from, e);
		if (rc == E_OK)
			rc = io_pread(
				k->r->s->os, fd[1], b->p, KEEP_BUFFER_BYTES, at, &m, s->to, e);
		if (rc == E_OK && (n == 0 || n != m || memcmp(a->p, b->p, n) != 0))
			rc = changed(s->from, "is not what was copied of it", e);
		at += n;
		if (rc == E_OK)
			rc = restore_asked_to_stop(k->r, e);
	}
	return rc;
}

static enum ecode
compare_entry(struct keeping *k, const struct staying *s, struct err *e)
{
	autoclean(io_fd_done) struct io_fd live = { .os = k->r->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd made = { .os = k->r->s->os, .fd = -1 };
	const struct os *os = k->r->s->os;
	const struct os_meta *m = &s->entry->meta;
	struct os_meta got;
	int rc = os->stat(os, k->stage_fd, s->name, AT_SYMLINK_NOFOLLOW, &got);
	enum ecode opened;

	if (rc < 0)
		return changed(s->from, "is there now, but was not when the tree was copied", e);
	if ((got.mode & S_IFMT) != (m->mode & S_IFMT) || (S_ISREG(m->mode) && got.size != m->size))
		return changed(s->from, "is not what was copied of it", e);
	if (!S_ISREG(m->mode) || k->r->args->verify != VERIFY_HASH || m->size == 0)
		return E_OK;
	opened = walk_open_file(os, k->live_fd, s->entry->name, &live.fd, e);
	if (opened == E_OK)
		opened = walk_open_file(os, k->stage_fd, s->name, &made.fd, e);
	return opened == E_OK ? compare_bytes(k, s, (const int[2]){ live.fd, made.fd }, e) : opened;
}

static bool
is_expected(const struct restore_item *item)
{
	return item->type == NODE_DIR ? item->to.child->wanted : !item->skipped;
}

/* Every name in the stage is the plan's or that of something that stays, and nothing that should stay is missing. */
static enum ecode
compare_names(struct keeping *k, struct err *e)
{
	const struct restore_dir *plan = k->dir->plan;
	struct walk_list list = { 0 };
	uint64_t expected = k->kept;
	int fd = -1;
	enum ecode rc = place_open_dir(k->r->place, k->dir->to, &fd, e);

	if (rc == E_OK)
		rc = walk_dir(k->r->s->os, fd, k->dir->to, &k->w->nodes, &list, e);
	io_close(k->r->s->os, &fd);
	for (size_t i = 0; plan != NULL && i < plan->count; i++)
		expected += is_expected(&plan->items[i]) &&
			    (plan->items[i].type != NODE_DIR ||
				    !restore_dir_stays(k->r, &plan->items[i]));
	if (plan != NULL && plan->parent == NULL && artifacts_in_tree(k->r))
		expected++;
	if (rc == E_OK && list.n != expected)
		rc = changed(k->dir->from[0] == '\0' ? "the destination" : k->dir->from,
			"lost or got a name while it was copied", e);
	return rc;
}

/* ---- the walk ---- */

static enum ecode
add_dir(struct keeping *k, const char *from, const char *to, const struct restore_dir *plan,
	const struct os_meta *m, struct err *e)
{
	struct restore_keep_dir *d;
	void *p;
	enum ecode rc = arena_alloc(&k->r->arena, sizeof(*d), &p, e);

	if (rc != E_OK)
		return rc;
	d = p;
	*d = (struct restore_keep_dir){
		.prev = k->last, .from = from, .to = to, .plan = plan, .meta = *m
	};
	if (k->last != NULL)
		k->last->next = d;
	else
		k->first = d;
	k->last = d;
	return E_OK;
}

static enum ecode
keep_dir(struct keeping *k, const struct staying *s, struct err *e)
{
	const struct restore_dir *plan = NULL;
	enum ecode rc = E_OK;

	if (s->item != NULL && s->item->type == NODE_DIR && restore_dir_stays(k->r, s->item) &&
		s->item->to.child->wanted)
		plan = s->item->to.child;
	if (k->pass == PASS_COPY && plan == NULL)
		rc = place_dir(k->r->place, s->to, e);
	return rc == E_OK ? add_dir(k, s->from, s->to, plan, &s->entry->meta, e) : rc;
}

static enum ecode
socket_stays(struct keeping *k, const struct staying *s)
{
	struct restore_trouble t = { .during = "restore",
		.code = E_RESTORE_META,
		.why = "a socket cannot be copied; it is in the previous tree only" };

	if (k->pass == PASS_COPY) {
		atomic_fetch_add(&k->r->metadata_problems, 1);
		restore_tell(k->r, k->r->root, s->to, &t);
	}
	return E_OK;
}

/* Sparse files of others may add up to more than there is: then it is too much, not little. */
static void
add_to(uint64_t *sum, uint64_t bytes)
{
	if (__builtin_add_overflow(*sum, bytes, sum) ||
		__builtin_add_overflow(*sum, RESTORE_BLOCK_BYTES, sum))
		*sum = UINT64_MAX;
}

static enum ecode
keep_entry(struct keeping *k, const struct staying *s, struct err *e)
{
	const struct os_meta *m = &s->entry->meta;
	bool linked = false;
	enum ecode rc;

	if (m->dev != k->r->dest.meta.dev || m->mnt_id != k->r->dest.meta.mnt_id)
		return err_set(e, E_DEST_MOUNT, 0, "a file system is mounted at %s/%s",
			k->r->dest.path, s->from);
	if (S_ISSOCK(m->mode))
		return socket_stays(k, s);
	k->kept++;
	k->entries++;
	add_to(&k->bytes, S_ISREG(m->mode) ? m->size : 0);
	add_to(&k->taken, m->blocks * BYTES_PER_BLOCK);
	if (S_ISDIR(m->mode))
		return keep_dir(k, s, e);
	if (k->pass == PASS_COMPARE)
		return compare_entry(k, s, e);
	if (k->pass == PASS_MEASURE)
		return E_OK;
	rc = link_known(k, s, &linked, e);
	if (rc != E_OK || linked)
		return rc;
	return S_ISREG(m->mode) ? copy_file(k, s, e) : copy_other(k, s, e);
}

/* The name a live entry gets in the new tree; NULL: the snapshot's takes its place. */
static enum ecode
name_of(struct keeping *k, struct staying *s, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	enum ecode rc;

	s->name = s->entry->name;
	if (s->item == NULL || s->item->decision == CONFLICT_LIVE)
		return E_OK;
	if ((s->item->live & LIVE_THERE) == 0)
		return changed(s->entry->name, "is there now, but was not when it was planned", e);
	s->name = NULL;
	if (s->item->decision != CONFLICT_KEEP_BOTH)
		return E_OK;
	rc = buf_printf(&text, e, "%s.live-%s", s->entry->name, k->r->args->run_id);
	if (rc == E_OK && text.len > NAME_BYTES_MAX)
		return err_set(e, E_LIMIT, 0, "%s is too long for a second name", s->entry->name);
	return rc == E_OK ? arena_str(&k->r->arena, text.p, text.len, &s->name, e) : rc;
}

static enum ecode
join(struct keeping *k, const char *dir, const char *name, const char **out, struct err *e)
{
	if (dir[0] == '\0')
		return arena_str(&k->r->arena, name, strlen(name), out, e);
	return path_join(&k->r->arena, dir, name, out, e);
}

static enum ecode
one(struct keeping *k, const struct walk_entry *entry, const struct restore_item *item,
	struct err *e)
{
	struct staying s = { .entry = entry, .item = item };
	enum ecode rc;

	if (!entry->have_meta)
		return err_set(e, E_PLACE_IO, entry->sys, "stat %s", entry->name);
	rc = name_of(k, &s, e);
	if (rc != E_OK || s.name == NULL)
		return rc;
	rc = join(k, k->dir->from, entry->name, &s.from, e);
	if (rc == E_OK)
		rc = join(k, k->dir->to, s.name, &s.to, e);
	return rc == E_OK ? keep_entry(k, &s, e) : rc;
}

/* The plan's item of this name; *at moves on: both lists ascend. */
static const struct restore_item *
planned_item(const struct restore_dir *plan, size_t *at, const char *name)
{
	for (; plan != NULL && *at < plan->count; ++*at) {
		const struct restore_item *item = &plan->items[*at];
		int order = strcmp(item->name, name);

		if (order > 0)
			return NULL;
		/* a directory that nothing was selected of is none of the plan's, unless the live thing was chosen */
		if (order == 0)
			return item->type != NODE_DIR || item->to.child->wanted ||
					       (item->live & LIVE_TYPE) != 0
				       ? item
				       : NULL;
	}
	return NULL;
}

/* D-6: records of earlier runs stay with the tree they describe. */
static bool
is_record(const struct keeping *k, const char *name, const struct restore_item *item)
{
	return k->dir->from[0] == '\0' && item == NULL && strcmp(name, ARTIFACTS_DIR) == 0 &&
	       k->r->dest.records == RECORDS_OURS;
}

static enum ecode
one_dir(struct keeping *k, struct err *e)
{
	struct walk_list list = { 0 };
	size_t at = 0;
	enum ecode rc = restore_asked_to_stop(k->r, e);

	k->kept = 0;
	if (rc == E_OK)
		rc = place_open_dir(k->r->live, k->dir->from, &k->live_fd, e);
	if (rc == E_OK)
		rc = walk_dir(k->r->s->os, k->live_fd, k->dir->from, &k->w->nodes, &list, e);
	if (rc == E_OK && k->pass != PASS_MEASURE)
		rc = place_open_dir(k->r->place, k->dir->to, &k->stage_fd, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const struct restore_item *item = planned_item(k->dir->plan, &at, list.v[i].name);

		if (!is_record(k, list.v[i].name, item))
			rc = one(k, &list.v[i], item, e);
	}
	io_close(k->r->s->os, &k->live_fd);
	io_close(k->r->s->os, &k->stage_fd);
	if (rc == E_OK && k->pass == PASS_COMPARE)
		rc = compare_names(k, e);
	arena_reset(&k->w->nodes);
	return rc;
}

static enum ecode
pass(struct keeping *k, struct err *e)
{
	enum ecode rc = add_dir(k, "", "", k->r->root, &k->r->dest.meta, e);

	for (k->dir = k->first; rc == E_OK && k->dir != NULL; k->dir = k->dir->next)
		rc = one_dir(k, e);
	return rc;
}

static enum ecode
go_on(void *restore, struct err *e)
{
	return restore_asked_to_stop(restore, e);
}

static struct keeping
begin(struct restore *r, enum keep_pass what)
{
	struct restore_worker *w = &r->worker[r->s->workers];

	return (struct keeping){ .r = r,
		.w = w,
		.pass = what,
		.copier = { .os = r->s->os, .room = &w->scratch, .go_on = go_on, .arg = r },
		.live_fd = -1,
		.stage_fd = -1 };
}

enum ecode
restore_keep_measure(struct restore *r, struct restore_stays *out, struct err *e)
{
	autoclean(done) struct keeping k = begin(r, PASS_MEASURE);
	enum ecode rc = pass(&k, e);

	*out = (struct restore_stays){ .bytes = k.bytes, .taken = k.taken, .entries = k.entries };
	return rc;
}

enum ecode
restore_keep_copy(struct restore *r, struct err *e)
{
	autoclean(done) struct keeping k = begin(r, PASS_COPY);
	enum ecode rc;

	if (!restore_keeps(r))
		return E_OK;
	rc = pass(&k, e);
	r->keep_dirs = k.last;
	return rc;
}

enum ecode
restore_keep_compare(struct restore *r, struct err *e)
{
	autoclean(done) struct keeping k = begin(r, PASS_COMPARE);

	return restore_keeps(r) ? pass(&k, e) : E_OK;
}

/* Deepest first: a mode that shuts a directory comes after everything below it. */
enum ecode
restore_keep_finish(struct restore *r, struct err *e)
{
	static const char *const self[2] = { NULL, NULL };
	struct keeping k = begin(r, PASS_COPY);
	enum ecode rc = E_OK;

	for (struct restore_keep_dir *d = r->keep_dirs; rc == E_OK && d != NULL; d = d->prev) {
		int fd[2] = { -1, -1 };

		rc = place_open_dir(r->live, d->from, &fd[0], e);
		if (rc == E_OK)
			rc = place_open_dir(r->place, d->to, &fd[1], e);
		if (rc == E_OK)
			rc = copy_meta(&k, d->to, &d->meta, fd, self, e);
		io_close(r->s->os, &fd[0]);
		io_close(r->s->os, &fd[1]);
		arena_reset(&k.w->nodes);
	}
	return rc;
}
