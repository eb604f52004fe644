/*
 * Verification: list every staged directory and hold the listing against the
 * plan, entry by entry; then read every file again and hash each piece.  It
 * shares nothing with the writing but the plan.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "fs/walk.h"
#include "os/io.h"

/* Files of one task; see also RESTORE_VERIFY_BYTES. */
#define VERIFY_BATCH_FILES 512

/* Some pieces of one file, or several whole files. */
struct verify_part {
	struct flow_task task;
	struct restore_dir *dir;
	size_t first, count;     /* entries of the directory */
	size_t blob, blob_count; /* of the entry, when count is 1 */
	uint64_t at;             /* where that blob begins */
};

static void
finding(struct restore *r, const struct restore_dir *d, const char *name, const char *why)
{
	struct restore_trouble t = {
		.during = "verify",
		.code = E_STAGE_VERIFY,
		.why = why,
		.fatal_for_item = true,
	};

	atomic_fetch_add(&r->verify_failed, 1);
	restore_tell(r, d, name, &t);
}

/* An entry of the plan that is not what it should be; the artifacts name it. */
static void
unlike(struct restore *r, struct restore_item *item, const char *why)
{
	atomic_store(&item->unlike, true);
	finding(r, item->dir, item->name, why);
}

/* ---- content ---- */

/* One file being read again. */
struct reading {
	struct restore *r;
	struct restore_worker *w;
	struct restore_item *item;
	int fd;
	uint64_t at;
};

/* *same is false when the bytes are not those of the plan. */
static enum ecode
check_blob(struct reading *f, const struct id *expected, bool *same, struct err *e)
{
	struct restore_worker *w = f->w;
	size_t got = 0;
	uint32_t len;
	enum ecode rc;
	struct id id;

	if (!index_size(f->r->s->index, BLOB_DATA, expected, &len))
		return err_set(e, E_BUG, 0, "a piece of %s is in no index any more", f->item->name);
	buf_clear(&w->plain);
	rc = buf_reserve(
		&w->plain, (size_t)len + 1, e); /* one more: a length of 0 has memory too */
	if (rc == E_OK)
		rc = io_pread(f->r->s->os, f->fd, w->plain.p, len, f->at, &got, f->item->name, e);
	if (rc != E_OK)
		return rc;
	blob_id(w->codec, w->plain.p, got, &id);
	*same = got == len && id_cmp(&id, expected) == 0;
	f->at += len;
	w->verified.bytes += len;
	return E_OK;
}

static enum ecode
check_blobs(struct reading *f, size_t first, size_t count, struct err *e)
{
	struct progress *p = f->r->s->listener->progress;
	uint64_t from = f->at;
	enum ecode rc = E_OK;
	bool same = true;

	for (size_t k = first; rc == E_OK && same && k < first + count; k++)
		rc = check_blob(f, &f->item->content[k], &same, e);
	if (rc == E_OK && !same)
		unlike(f->r, f->item, "its bytes are not those of the snapshot");
	atomic_fetch_add_explicit(&p->done_bytes, f->at - from, memory_order_relaxed);
	if (rc != E_OK || !same || first + count != f->item->content_count)
		return rc;
	f->w->verified.files++;
	atomic_fetch_add_explicit(&p->done_items, 1, memory_order_relaxed);
	return rc;
}

static enum ecode
check_file(struct restore *r, struct restore_worker *w, const struct verify_part *part,
	struct restore_item *item, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = r->s->os, .fd = -1 };
	struct reading f = { .r = r, .w = w, .item = item, .at = part->at };
	size_t count = part->blob_count != 0 ? part->blob_count : item->content_count;
	enum ecode rc;
	int dir;

	rc = restore_open_dir(r, w, item->dir, &dir, e);
	if (rc == E_OK)
		rc = walk_open_file(r->s->os, dir, item->name, &file.fd, e);
	if (rc != E_OK)
		return rc;
	f.fd = file.fd;
	return check_blobs(&f, part->blob, count, e);
}

static enum ecode
part_task(struct flow_task *task, unsigned worker, struct err *e)
{
	const struct verify_part *part = (const struct verify_part *)task;
	struct restore *r = part->dir->run;
	struct restore_worker *w = &r->worker[worker];
	enum ecode rc = restore_asked_to_stop(r, e);

	for (size_t i = part->first; rc == E_OK && i < part->first + part->count; i++) {
		struct restore_item *item = &part->dir->items[i];

		if (item->skipped || item->damaged)
			continue;
		if (item->type == NODE_FILE && item->content_count > 0)
			rc = check_file(r, w, part, item, e);
		else if (item->type == NODE_FILE)
			w->verified.files++;
	}
	return rc;
}

static enum ecode
add_part(struct restore_worker *w, const struct verify_part *part, struct err *e)
{
	struct verify_part *copy;
	enum ecode rc;
	void *p;

	rc = arena_alloc(&w->plan, sizeof(*copy), &p, e);
	if (rc != E_OK)
		return rc;
	copy = p;
	*copy = *part;
	copy->task = (struct flow_task){ .run = part_task, .drop = restore_keep_task };
	flow_add(part->dir->run->s->flow, &copy->task);
	return E_OK;
}

/* A large file is read by several workers. */
static enum ecode
share_file(struct restore_worker *w, struct restore_dir *d, size_t entry, struct err *e)
{
	const struct restore_item *item = &d->items[entry];
	struct verify_part part = { .dir = d, .first = entry, .count = 1 };
	uint64_t at = 0;
	uint32_t len = 0;
	enum ecode rc = E_OK;

	for (size_t k = 0; rc == E_OK && k < item->content_count; k++) {
		if (!index_size(d->run->s->index, BLOB_DATA, &item->content[k], &len))
			return err_set(
				e, E_BUG, 0, "a piece of %s is in no index any more", item->name);
		at += len;
		part.blob_count++;
		if (at - part.at < RESTORE_VERIFY_BYTES && k + 1 < item->content_count)
			continue;
		rc = add_part(w, &part, e);
		part = (struct verify_part){
			.dir = d, .first = entry, .count = 1, .blob = k + 1, .at = at
		};
	}
	return rc;
}

static enum ecode
share_dir(struct restore_worker *w, struct restore_dir *d, struct err *e)
{
	struct verify_part part = { .dir = d };
	uint64_t bytes = 0;
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < d->count; i++) {
		bool large = d->items[i].type == NODE_FILE && !d->items[i].skipped &&
			     !d->items[i].damaged && d->items[i].size > RESTORE_VERIFY_BYTES;

		if (!large) {
			bytes += d->items[i].size;
			part.count = i + 1 - part.first;
		}
		if (part.count > 0 && (large || part.count == VERIFY_BATCH_FILES ||
					      bytes > RESTORE_VERIFY_BYTES)) {
			rc = add_part(w, &part, e);
			bytes = 0;
			part.count = 0;
		}
		if (rc == E_OK && large)
			rc = share_file(w, d, i, e);
		if (part.count == 0)
			part.first = i + 1;
	}
	return rc == E_OK && part.count > 0 ? add_part(w, &part, e) : rc;
}

/* ---- the listing ---- */

static bool
expected(const struct restore_item *item)
{
	return item->type == NODE_DIR ? item->to.child->wanted : !item->skipped && !item->damaged;
}

static const char *
entry_flaw(const struct restore_item *item, const struct os_meta *m)
{
	const struct restore_item *first = restore_is_link(item) ? item->to.link_to : item;

	if (!node_type_fits(item->type, m->mode))
		return "its type is not that of the snapshot";
	if (item->type == NODE_FILE && m->size != item->size)
		return "its size is not that of the snapshot";
	if (item->type != NODE_DIR && m->nlink != (first->extra != NULL ? first->extra->names : 1))
		return "it does not have as many names as in the plan";
	if ((item->type == NODE_DEV || item->type == NODE_CHARDEV) && item->extra != NULL &&
		m->rdev != item->extra->rdev)
		return "it is another device than in the snapshot";
	return NULL;
}

/*
 * A file system that cannot hold a time moves it to the nearest one it can,
 * and says nothing (ext4: 1901 to 2446).  Two seconds are the coarsest grain.
 */
static void
check_time(struct restore *r, const struct restore_item *item, const struct os_meta *m)
{
	struct restore_trouble t = {
		.during = "verify",
		.code = E_RESTORE_META,
		.why = "this file system cannot hold its time",
	};

	if (item->type == NODE_DIR || !restore_policy_times(r) ||
		restore_is_link(item)) /* directories get theirs later, links have it already */
		return;
	if (m->mtime.s >= item->mtime.s - 2 && m->mtime.s <= item->mtime.s + 2)
		return;
	atomic_fetch_add(&r->metadata_problems, 1);
	restore_tell(r, item->dir, item->name, &t);
}

static enum ecode
check_entry(struct restore *r, struct restore_worker *w, int fd, struct restore_item *item,
	const struct walk_entry *entry, struct err *e)
{
	struct slice target;
	const char *flaw;
	enum ecode rc;

	if (!entry->have_meta)
		return err_set(e, E_STAGE_IO, entry->sys, "stat %s", item->name);
	flaw = entry_flaw(item, &entry->meta);
	if (flaw == NULL && item->type == NODE_SYMLINK) {
		rc = walk_readlink(r->s->os, fd, item->name, &w->nodes, &target, e);
		if (rc != E_OK)
			return rc;
		if (!slice_is(target, item->extra->target))
			flaw = "it points elsewhere than in the snapshot";
	}
	if (flaw != NULL)
		unlike(r, item, flaw);
	else
		check_time(r, item, &entry->meta);
	return E_OK;
}

/* Both lists ascend by name: what stands on one side only is a finding. */
static enum ecode
compare_listing(struct restore *r, struct restore_worker *w, const struct restore_dir *d, int fd,
	const struct walk_list *list, struct err *e)
{
	size_t i = 0, k = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && (i < d->count || k < list->n)) {
		int order;

		if (i < d->count && !expected(&d->items[i])) {
			i++;
			continue;
		}
		order = i == d->count  ? 1
			: k == list->n ? -1
				       : strcmp(d->items[i].name, list->v[k].name);
		if (order == 0)
			rc = check_entry(r, w, fd, &d->items[i], &list->v[k], e);
		else if (order < 0)
			unlike(r, &d->items[i], "it is missing in the stage");
		else if (!artifacts_is_own(r, d, list->v[k].name))
			finding(r, d, list->v[k].name, "it is in the stage but not in the plan");
		i += order <= 0;
		k += order >= 0;
	}
	return rc;
}

static enum ecode
verify_dir_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct restore *r = d->run;
	struct restore_worker *w = &r->worker[worker];
	struct walk_list list = { 0 };
	enum ecode rc = restore_asked_to_stop(r, e);
	uint64_t before = r->verify_failed;
	int fd;

	if (rc == E_OK)
		rc = restore_open_dir(r, w, d, &fd, e);
	if (rc == E_OK)
		rc = walk_dir(r->s->os, fd, d->self->name, &w->nodes, &list, e);
	if (rc == E_OK)
		rc = compare_listing(r, w, d, fd, &list, e);
	arena_reset(&w->nodes);
	if (rc == E_OK && r->args->verify == VERIFY_HASH && r->verify_failed == before)
		rc = share_dir(w, d, e);
	return rc;
}

/* Without hashing, what the listing confirmed is all that is known. */
static void
count_listed(struct restore *r)
{
	struct restore_worker *w = &r->worker[r->s->workers];

	if (r->args->verify == VERIFY_SIZE)
		w->verified.files = r->planned.files;
}

/*
 * What this thread does while the workers read: the table of what was staged,
 * and the longest part of making the stage durable, so that the sync before
 * the promotion finds little left.  That one is what the promotion counts on;
 * but an error of write-back is told to a descriptor once, so it ends the run here.
 */
static enum ecode
beside(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	enum ecode rc = r->art.staged_later ? artifacts_staged(r, E_OK, e) : E_OK;
	int got = rc == E_OK && !r->args->passing ? os->syncfs(os, r->dest.root_fd) : 0;

	return got < 0 ? io_refusal(e, E_STAGE_IO, got, "syncfs", r->dest.run_path) : rc;
}

enum ecode
restore_verify(struct restore *r, struct err *e)
{
	struct progress *p = r->s->listener->progress;
	enum ecode rc;

	atomic_store(&p->done_items,
		r->planned.dirs + r->planned.others); /* the second round of the same items */
	atomic_store(&p->done_bytes, 0);
	restore_close_held(r); /* a descriptor that was listed before would begin at its end */
	for (size_t i = 0; i < r->dir_count; i++) {
		r->dirs[i]->task.run = verify_dir_task;
		flow_add(r->s->flow, &r->dirs[i]->task);
	}
	rc = beside(r, e);
	if (rc != E_OK)
		flow_stop(r->s->flow, rc, e);
	rc = flow_finish(r->s->flow, e);
	if (rc != E_OK)
		return rc;
	if (r->verify_failed > 0)
		return err_set(
			e, E_STAGE_VERIFY, 0, "%" PRIu64 " paths", (uint64_t)r->verify_failed);
	count_listed(r);
	return E_OK;
}
