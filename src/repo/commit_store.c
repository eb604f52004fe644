/*
 * A full pack becomes a task: finish, hash, store, enter into the index, and
 * into the pending index file.  A pending index file is taken away by whoever
 * finds it full and written without any lock held; it lists stored packs only,
 * so nothing it says is ever not yet durable.
 */
#include "repo/commit_internal.h"

#include <stdlib.h>

void
packing_free(struct packing *p)
{
	buf_done(&p->body);
	pack_list_done(&p->list);
	free(p);
}

static enum ecode packing_run(struct flow_task *task, unsigned worker, struct err *e);

/* A pack is stored, or never will be: then the refusal was kept before. */
static void
round_done(struct commit *c, unsigned round)
{
	commit_take(&c->lock);
	c->out[round]--;
	if (c->out[round] == 0)
		(void)pthread_cond_broadcast(&c->moved);
	commit_give(&c->lock);
}

static void
packing_drop(struct flow_task *task)
{
	struct packing *p = (struct packing *)task;

	round_done(p->c, p->round);
	packing_free(p);
}

struct packing *
packing_take(struct commit *c)
{
	struct packing *p = calloc(1, sizeof(*p));

	if (p != NULL) {
		p->task = (struct flow_task){ .run = packing_run, .drop = packing_drop };
		p->c = c;
		p->body.limit = PACK_BODY_MAX_BYTES;
	}
	return p;
}

/* ---- publishing ---- */

static enum ecode
publish(struct commit *c, enum okind kind, const struct id *id, const struct buf *bytes,
	struct err *e)
{
	const struct oname name = { .kind = kind, .id = *id };
	const struct slice part = buf_slice(bytes);
	enum ecode rc = E_OK;

	if (c->args.lock != NULL)
		rc = lock_check(c->args.lock, e);
	if (rc == E_OK && c->args.before_put != NULL)
		rc = c->args.before_put(c->args.before_put_arg, bytes->len, e);
	if (rc == E_OK)
		rc = store_put(c->v->store, &name, &part, 1, e);
	if (rc == E_OK) {
		commit_take(&c->lock);
		c->totals.stored_bytes += bytes->len;
		if (kind == O_PACK)
			c->totals.packs++;
		else
			c->totals.index_files++;
		rc = stored_add(&c->stored, &name, bytes->len, e);
		commit_give(&c->lock);
	}
	return rc;
}

void
pending_done(struct pending *p)
{
	for (size_t i = 0; i < p->n; i++)
		pack_list_done(&p->v[i].blobs);
	free(p->v);
	*p = (struct pending){ 0 };
}

static enum ecode
write_index(struct commit *c, struct blob_codec *codec, const struct pending *p, struct err *e)
{
	autoclean(buf_done) struct buf json = buf_limit(UNPACKED_MAX_BYTES);
	autoclean(buf_done) struct buf sealed = buf_limit(UNPACKED_MAX_BYTES);
	struct id id;
	enum ecode rc = index_write(p->v, p->n, &json, e);

	if (rc == E_OK)
		rc = unpacked_shut(codec, json.p, json.len, &sealed, &id, e);
	return rc == E_OK ? publish(c, O_INDEX, &id, &sealed, e) : rc;
}

/* Take the pending index away when it is full by count or age (5.2), or in any case. */
static struct pending
pending_take(struct commit *c, bool any)
{
	uint64_t now_ns = c->v->os->monotonic_ns(c->v->os);
	struct pending full = { 0 };

	commit_take(&c->lock);
	if (any || c->pending.blobs >= INDEX_FULL_BLOBS ||
		now_ns - c->pending.since_ns >= INDEX_FULL_AGE_S * UINT64_C(1000000000)) {
		full = c->pending;
		c->pending = (struct pending){ .since_ns = now_ns };
		c->indexing += full.n > 0;
	}
	commit_give(&c->lock);
	return full;
}

/* c->lock is held.  The blobs move into the pending index. */
static enum ecode
pending_append(struct pending *p, const struct id *pack, struct pack_list *blobs, struct err *e)
{
	if (p->n == p->cap) {
		size_t more = p->cap == 0 ? 16 : p->cap * 2; /* packs */
		struct index_pack *v = realloc(p->v, more * sizeof(*v));

		if (v == NULL)
			return err_set(e, E_NOMEM, 0, "%zu packs", more);
		p->v = v;
		p->cap = more;
	}
	p->v[p->n++] = (struct index_pack){ .id = *pack, .blobs = *blobs };
	p->blobs += blobs->n;
	*blobs = (struct pack_list){ 0 };
	return E_OK;
}

/* A stored pack: known to this run, and due in an index file. */
static enum ecode
enter_pack(struct commit *c, const struct id *id, struct packing *p, struct err *e)
{
	enum ecode rc = index_add_pack(c->ix, id, &p->list, e);

	if (rc == E_OK) {
		commit_take(&c->lock);
		rc = pending_append(&c->pending, id, &p->list, e);
		commit_give(&c->lock);
	}
	return rc;
}

/* Nobody who waits for it may miss that it failed: first the refusal, then the count. */
static enum ecode
index_pending(struct commit *c, struct blob_codec *codec, struct pending *full, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode rc;

	if (full->n == 0)
		return E_OK;
	rc = write_index(c, codec, full, &why);
	pending_done(full);
	if (rc != E_OK) {
		commit_refuse(c, rc, &why);
		if (e != NULL)
			*e = why;
	}
	commit_take(&c->lock);
	c->indexing--;
	(void)pthread_cond_broadcast(&c->moved);
	commit_give(&c->lock);
	return rc;
}

static enum ecode
store_pack(struct commit *c, struct packing *p, struct blob_codec *codec, struct err *e)
{
	struct pending full = { 0 };
	struct id id;
	enum ecode rc = pack_finish(codec, &p->list, c->v->version, &p->body, e);

	if (rc == E_OK) {
		hasher_sum(blob_codec_hasher(codec), p->body.p, p->body.len, &id);
		rc = publish(c, O_PACK, &id, &p->body, e);
		buf_done(
			&p->body); /* an index file may be written next, with buffers of its size */
	}
	if (rc == E_OK)
		rc = enter_pack(c, &id, p, e);
	if (rc == E_OK)
		full = pending_take(c, false);
	if (rc == E_OK)
		rc = index_pending(c, codec, &full, e);
	return rc;
}

static enum ecode
packing_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct packing *p = (struct packing *)task;
	struct commit *c = p->c;
	unsigned round = p->round;
	struct err why = { .code = E_OK };
	enum ecode rc = commit_refused(c, &why);

	if (rc == E_OK)
		rc = store_pack(c, p, c->codecs[worker], &why);
	packing_free(p);
	if (rc != E_OK) {
		commit_refuse(c, rc, &why);
		if (e != NULL)
			*e = why;
	}
	round_done(c, round);
	return rc;
}

/*
 * The cost counts whole targets, so that
 * the capacity holds exactly COMMIT_WAITING_PACKS full packs beside the writers'.
 */
void
commit_submit(struct commit *c, struct packing *p, unsigned round)
{
	size_t target = c->args.pack_target_bytes, packs = p->body.len / target;

	p->round = round;
	commit_take(&c->lock);
	c->out[round]++;
	commit_give(&c->lock);
	p->task.cost = (packs == 0 ? 1 : packs) * target;
	flow_add_bounded(c->flow, &p->task, FLOW_OUTSIDE);
}

enum ecode
packing_merge(struct packing *to, struct packing *from, struct err *e)
{
	size_t base = to->body.len, entries = to->list.n;
	enum ecode rc = buf_add(&to->body, from->body.p, from->body.len, e);

	for (size_t i = 0; rc == E_OK && i < from->list.n; i++) {
		struct pack_entry entry = from->list.v[i];

		entry.offset += (uint32_t)base;
		rc = pack_list_add(&to->list, &entry, e);
	}
	if (rc != E_OK) {
		to->body.len = base;
		to->list.n = entries;
	}
	return rc;
}

void
commit_drain(struct commit *c, unsigned round)
{
	struct err why = { .code = E_OK };

	/* The serial twin has no writers: its packs are stored here. */
	if (c->args.writers == 0 || c->args.dry_run) {
		enum ecode rc = flow_finish(c->flow, &why);

		if (rc != E_OK)
			commit_refuse(c, rc, &why); /* no other than packing_run kept */
		return;
	}
	commit_take(&c->lock);
	while (c->out[round] > 0)
		(void)pthread_cond_wait(&c->moved, &c->lock);
	commit_give(&c->lock);
}

enum ecode
commit_index_rest(struct commit *c, struct blob_codec *codec, struct err *e)
{
	struct pending rest = pending_take(c, true);
	enum ecode rc = index_pending(c, codec, &rest, e);

	commit_take(&c->lock);
	while (c->indexing > 0) /* a writer may have taken it away just before */
		(void)pthread_cond_wait(&c->moved, &c->lock);
	commit_give(&c->lock);
	return rc;
}
