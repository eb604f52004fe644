/*
 * Staging: directories and everything without content first, then content pack
 * by pack in order of offsets, then further names of inodes.  A blob is decoded
 * once per range, however many files want it.  What is held is one range and
 * one blob per worker.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "os/io.h"
#include "repo/reader.h"

/* ---- directories and what has no content ---- */

static enum ecode
stage_item(struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	if (item->type == NODE_DIR || item->skipped || item->damaged || restore_is_link(item))
		return E_OK;
	if (item->kept)
		return E_OK; /* all of it, or to be gone on with */
	if (item->type != NODE_FILE)
		return restore_write_other(r, w, item, e);
	if (item->content_count == 0)
		return restore_write_whole(r, w, item, (struct slice){ NULL, 0 }, e);
	return item->content_count > 1 ? restore_write_begin(r, w, item, e) : E_OK;
}

static enum ecode
make_dir(struct restore *r, struct restore_worker *w, const struct restore_dir *d, struct err *e)
{
	enum ecode rc;

	if (d->parent == NULL)
		return E_OK;
	rc = restore_path(d, NULL, &w->path, e);
	if (rc == E_OK && !d->self->kept)
		rc = place_dir(r->place, restore_rel(&w->path), e);
	if (rc == E_OK)
		restore_item_done(r, w, d->self);
	return rc;
}

static enum ecode
stage_dir_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct restore *r = d->run;
	struct restore_worker *w = &r->worker[worker];
	enum ecode rc = restore_asked_to_stop(r, e);

	if (rc == E_OK)
		rc = make_dir(r, w, d, e);
	for (size_t i = 0; rc == E_OK && i < d->count; i++)
		rc = stage_item(r, w, &d->items[i], e);
	for (size_t i = 0; rc == E_OK && i < d->count; i++) {
		struct restore_dir *child =
			d->items[i].type == NODE_DIR ? d->items[i].to.child : NULL;

		if (child != NULL && child->wanted) {
			child->task.run = stage_dir_task;
			flow_add(r->s->flow, &child->task);
		}
	}
	return rc;
}

/* ---- content ---- */

static bool
same_blob(const struct restore_use *a, const struct restore_use *b)
{
	return a->offset == b->offset && a->length == b->length &&
	       id_cmp(&a->item->content[a->blob], &b->item->content[b->blob]) == 0;
}

/* The blob from the range in hand, else from wherever else the index knows it. */
static enum ecode
decode(struct restore *r, struct restore_worker *w, const struct restore_range *range,
	const struct restore_use *use, struct err *e)
{
	const struct id *id = &use->item->content[use->blob];
	uint64_t expected = use->ulen != 0 ? use->ulen : use->length - SEAL_OVERHEAD;
	uint64_t from = use->offset - range->start;
	enum ecode rc = E_STORE_SHORT;

	if (w->scratch.len == range->len)
		rc = blob_open(
			w->codec, id, w->scratch.p + from, use->length, use->ulen, &w->plain, e);
	if (rc != E_OK && rc != E_NOMEM)
		rc = blob_load(
			r->s->vault, r->s->index, w->codec, BLOB_DATA, id, &w->spare, &w->plain, e);
	if (rc == E_OK && w->plain.len != expected)
		rc = err_set(e, E_BLOB_LENGTH, 0, "a piece has %zu bytes", w->plain.len);
	return rc;
}

static void
use_damaged(struct restore *r, const struct restore_use *use, enum ecode code, const struct err *e)
{
	if (!atomic_exchange(&use->item->damaged, true))
		restore_damage(r, use->item->dir, use->item->name, code, e->sys, e->detail);
}

static enum ecode
write_use(struct restore *r, struct restore_worker *w, const struct restore_use *use, struct err *e)
{
	struct slice data = buf_slice(&w->plain);

	if (use->item->content_count == 1)
		return restore_write_whole(r, w, use->item, data, e);
	return restore_write_part(r, w, use, data, e);
}

static enum ecode
write_range(struct restore *r, struct restore_worker *w, const struct restore_range *range,
	struct err *e)
{
	const struct restore_use *prev = NULL;
	enum ecode rc = E_OK, got = E_OK;

	for (size_t i = range->first; rc == E_OK && i < range->first + range->count; i++) {
		const struct restore_use *use = &r->uses[i];

		if (prev == NULL || !same_blob(prev, use))
			got = decode(r, w, range, use, e);
		prev = use;
		if (got == E_OK)
			rc = write_use(r, w, use, e);
		else if (restore_is_damage(got))
			use_damaged(r, use, got, e);
		else
			rc = got;
	}
	return rc;
}

static enum ecode
range_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_range *range = (struct restore_range *)task;
	struct restore *r = range->run;
	struct restore_worker *w = &r->worker[worker];
	struct oname name = { .kind = O_PACK };
	enum ecode rc = restore_asked_to_stop(r, e), closed;

	if (rc != E_OK)
		return rc;
	index_pack_id(r->s->index, r->uses[range->first].pack_no, &name.id);
	buf_clear(&w->scratch);
	rc = store_get(r->s->store, &name, range->start, range->len, &w->scratch, e);
	if (rc == E_NOMEM)
		return rc;
	/* other refusals: every blob is looked for by itself, here and in other packs */
	rc = write_range(r, w, range, e);
	closed = restore_file_release(r, w, e);
	return rc != E_OK ? rc : closed;
}

/* The next range: as many uses as fit; returns the first one after it. */
static size_t
take_range(const struct restore *r, size_t from, struct restore_range *out)
{
	const struct restore_use *u = &r->uses[from];
	uint64_t start = u->offset, end = start + u->length;
	size_t i = from + 1;

	for (; i < r->use_count && i - from < RESTORE_RANGE_USES; i++) {
		const struct restore_use *n = &r->uses[i];
		uint64_t n_end = (uint64_t)n->offset + n->length;

		if (n->pack_no != u->pack_no || n->offset > end + RESTORE_GAP_BYTES ||
			(n_end > end && n_end - start > RESTORE_RANGE_BYTES))
			break;
		end = n_end > end ? n_end : end;
	}
	if (out != NULL)
		*out = (struct restore_range){
			.task = { .run = range_task,
				.drop = restore_keep_task,
				.cost = session_task_cost(r->s, end - start) },
			.run = (struct restore *)(uintptr_t)r,
			.first = from,
			.count = i - from,
			.start = start,
			.len = end - start,
		};
	return i;
}

static enum ecode
stage_content(struct restore *r, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < r->use_count; i = take_range(r, i, NULL))
		n++;
	r->ranges = calloc(n + 1, sizeof(*r->ranges));
	if (r->ranges == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "%zu ranges", n);
	for (size_t i = 0; i < r->use_count;) {
		struct restore_range *range = &r->ranges[r->range_count++];

		i = take_range(r, i, range);
		flow_add_bounded(r->s->flow, &range->task, FLOW_OUTSIDE);
	}
	return flow_finish(r->s->flow, e);
}

/* ---- further names ---- */

struct link_task {
	struct flow_task task;
	struct restore *run;
	size_t first, count;
};

static enum ecode
make_link(struct restore *r, struct restore_worker *w, struct restore_item *item, struct err *e)
{
	const struct restore_item *first = item->to.link_to;
	enum ecode rc;
	int dir;

	if (first->damaged) {
		item->damaged = true;
		if (r->args->allow_partial) /* else the first name speaks for all */
			restore_damage(r, item->dir, item->name, E_BLOB_ABSENT, 0,
				"it is another name of a file that is damaged");
		return E_OK;
	}
	if (first->skipped) {
		item->skipped = true;
		atomic_fetch_add(&r->not_made, 1);
		return E_OK;
	}
	rc = restore_open_dir(r, w, item->dir, &dir, e);
	if (rc == E_OK)
		rc = restore_path(first->dir, first->name, &w->path, e);
	if (rc == E_OK)
		rc = place_link(r->place, restore_rel(&w->path), dir, item->name, e);
	if (rc == E_OK)
		restore_item_done(r, w, item);
	return rc;
}

static enum ecode
link_task_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct link_task *t = (struct link_task *)task;
	struct restore *r = t->run;
	enum ecode rc = restore_asked_to_stop(r, e);

	for (size_t i = t->first; rc == E_OK && i < t->first + t->count; i++)
		rc = make_link(r, &r->worker[worker], r->links[i], e);
	return rc;
}

static enum ecode
stage_links(struct restore *r, struct err *e)
{
	enum ecode rc;
	void *p;

	for (size_t i = 0; i < r->link_count; i += RESTORE_LINK_BATCH) {
		size_t left = r->link_count - i;
		struct link_task *t;

		rc = arena_alloc(&r->arena, sizeof(*t), &p, e);
		if (rc != E_OK) {
			flow_stop(r->s->flow, rc, e);
			break;
		}
		t = p;
		*t = (struct link_task){
			.task = { .run = link_task_run, .drop = restore_keep_task },
			.run = r,
			.first = i,
			.count = left < RESTORE_LINK_BATCH ? left : RESTORE_LINK_BATCH,
		};
		flow_add(r->s->flow, &t->task);
	}
	return flow_finish(r->s->flow, e);
}

enum ecode
restore_stage(struct restore *r, struct err *e)
{
	enum ecode rc;

	r->root->task.run = stage_dir_task;
	flow_add(r->s->flow, &r->root->task);
	rc = flow_finish(r->s->flow, e);
	if (rc == E_OK)
		rc = stage_content(r, e);
	if (rc == E_OK)
		rc = stage_links(r, e);
	return rc;
}

/* ---- the last touch, after the verification ---- */

static enum ecode
set_late_modes(struct restore *r, const struct restore_dir *d, int fd, struct err *e)
{
	const struct os *os = r->s->os;

	for (size_t i = 0; i < d->count; i++) {
		const struct restore_item *item = &d->items[i];
		int rc = 0;

		if (!item->skipped && !item->damaged && restore_mode_is_late(r, item))
			rc = os->chmod(os, fd, item->name, item->st_mode);
		if (rc < 0)
			return io_refusal(e, E_STAGE_IO, rc, "chmod", item->name);
	}
	return E_OK;
}

static enum ecode
finish_dir_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct restore *r = d->run;
	enum ecode rc = restore_asked_to_stop(r, e);
	int fd;

	if (rc == E_OK)
		rc = restore_open_dir(r, &r->worker[worker], d, &fd, e);
	if (rc == E_OK)
		rc = set_late_modes(r, d, fd, e);
	if (rc != E_OK || d->parent == NULL)
		return rc; /* the root gets its rights when it is promoted */
	if (!restore_dir_stays(r, d->self) &&
		(d->fate != FATE_THERE || r->args->kind != RESTORE_IN_PLACE))
		restore_describe(
			r, d->self, fd, NULL); /* else it is not this one that will be there */
	if (atomic_fetch_sub(&d->parent->pending, 1) == 1)
		flow_add(r->s->flow, &d->parent->task);
	return E_OK;
}

/* Leaves are chosen before the first task runs: a parent must not be added twice. */
enum ecode
restore_finish(struct restore *r, struct err *e)
{
	struct restore_dir *leaves = NULL;

	for (size_t i = 0; i < r->dir_count; i++) {
		r->dirs[i]->task.run = finish_dir_task;
		if (r->dirs[i]->parent != NULL)
			atomic_fetch_add(&r->dirs[i]->parent->pending, 1);
	}
	for (size_t i = 0; i < r->dir_count; i++)
		if (r->dirs[i]->pending == 0) {
			r->dirs[i]->next = leaves;
			leaves = r->dirs[i];
		}
	while (leaves != NULL) {
		struct restore_dir *d = leaves;

		leaves = d->next;
		flow_add(r->s->flow, &d->task);
	}
	return flow_finish(r->s->flow, e);
}
