/*
 * Blobs are sealed by the callers, appended to one of two open packs of their
 * kind by chance, and a full pack becomes a task: finish, hash, store, enter
 * into the index, and into the pending index file.  A pending index file is
 * taken away by whoever finds it full and written without any lock held; it
 * lists stored packs only, so nothing it says is ever not yet durable.
 *
 * Memory: two open packs a kind, COMMIT_WAITING_PACKS waiting, one for each
 * writer.  A stored pack's memory goes back to the system at once: packs in a
 * free list would stand beside the open ones that fill meanwhile.
 *
 * The first refusal sticks: a claimed blob that was not stored is in the index
 * already, so nothing after it may be published.
 *
 * Locks, never two at once except slot → lock: each open pack has its own; `lock`
 * guards the free list, the totals, the refusal and the pending index.
 */
#include "repo/commit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/flow.h"
#include "base/wire.h"

#define KINDS               2U
#define OPEN_PER_KIND       2U /* 4: by chance between them, so that pack sizes do not tell chunk sizes */
/* Above this a sealing buffer goes back to the system: chunks of several times the usual size are rare. */
#define SCRATCH_KEPT_BYTES  ((size_t)4 << 20)
/* Behind the target: what the last blob of a pack and its header usually need. */
#define BODY_SPARE_BYTES    ((size_t)1 << 20)
/* Offsets are 32 bits (4). */
#define PACK_BODY_MAX_BYTES ((size_t)UINT32_MAX)
/* One more entry and the sealed header would pass its limit. */
#define PACK_ENTRIES_MAX    ((PACK_HEADER_MAX_BYTES - SEAL_OVERHEAD) / PACK_ENTRY_ZSTD_BYTES)

struct packing {
	struct flow_task task; /* first: the flow gives it back */
	struct commit *c;
	struct buf body;
	struct pack_list list;
};

struct slot {
	pthread_mutex_t lock;
	struct packing *open; /* NULL: none yet */
};

struct scratch {
	struct buf buf;
	struct scratch *next;
};

struct pending { /* packs stored and in no index file */
	struct index_pack *v;
	size_t n, cap, blobs;
	uint64_t since_ns; /* monotonic */
};

struct commit {
	struct vault *v;
	struct index *ix;
	struct commit_args args;
	struct flow *flow;
	struct blob_codec **codecs; /* of the writers */
	unsigned codec_count, locks_made;
	struct slot slots[KINDS][OPEN_PER_KIND];
	pthread_mutex_t lock;
	struct scratch *free_scratch;
	struct pending pending;
	struct commit_totals totals;
	struct err refusal; /* code E_OK: none */
	uint64_t chance;
	unsigned chances; /* bits left in it */
};

static void
take(pthread_mutex_t *lock)
{
	invariant(pthread_mutex_lock(lock) == 0);
}

static void
give(pthread_mutex_t *lock)
{
	invariant(pthread_mutex_unlock(lock) == 0);
}

/* ---- the refusal ---- */

/* Keep the first one; the caller gets its own. */
static enum ecode
refuse(struct commit *c, enum ecode rc, const struct err *e)
{
	take(&c->lock);
	if (c->refusal.code == E_OK) {
		c->refusal = *e;
		c->refusal.code = rc;
	}
	give(&c->lock);
	return rc;
}

static enum ecode
refused(struct commit *c, struct err *e)
{
	enum ecode rc;

	take(&c->lock);
	rc = c->refusal.code;
	if (rc != E_OK && e != NULL)
		*e = c->refusal;
	give(&c->lock);
	return rc;
}

/* ---- pack memory ---- */

/*
 * Bytes asked for before the first blob: the body never moves while it grows,
 * and what is not written to costs no memory.
 */
static size_t
body_room(const struct commit *c)
{
	return (size_t)c->args.pack_target_bytes + BODY_SPARE_BYTES;
}

static void
packing_free(struct packing *p)
{
	buf_done(&p->body);
	pack_list_done(&p->list);
	free(p);
}

static enum ecode packing_run(struct flow_task *task, unsigned worker, struct err *e);

static void
packing_drop(struct flow_task *task)
{
	packing_free((struct packing *)task);
}

/* NULL: no memory. */
static struct packing *
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

/* ---- sealing memory ---- */

/* NULL: no memory. */
static struct scratch *
scratch_take(struct commit *c)
{
	struct scratch *s;

	take(&c->lock);
	s = c->free_scratch;
	if (s != NULL)
		c->free_scratch = s->next;
	give(&c->lock);
	if (s == NULL)
		s = calloc(1, sizeof(*s));
	if (s != NULL)
		s->buf.limit = PACK_BODY_MAX_BYTES;
	return s;
}

static void
scratch_give(struct commit *c, struct scratch *s)
{
	buf_clear(&s->buf);
	if (s->buf.cap > SCRATCH_KEPT_BYTES)
		buf_done(&s->buf);
	take(&c->lock);
	s->next = c->free_scratch;
	c->free_scratch = s;
	give(&c->lock);
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
		take(&c->lock);
		c->totals.stored_bytes += bytes->len;
		if (kind == O_PACK)
			c->totals.packs++;
		else
			c->totals.index_files++;
		give(&c->lock);
	}
	return rc;
}

static void
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

	take(&c->lock);
	if (any || c->pending.blobs >= INDEX_FULL_BLOBS ||
		now_ns - c->pending.since_ns >= INDEX_FULL_AGE_S * UINT64_C(1000000000)) {
		full = c->pending;
		c->pending = (struct pending){ .since_ns = now_ns };
	}
	give(&c->lock);
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
		take(&c->lock);
		rc = pending_append(&c->pending, id, &p->list, e);
		give(&c->lock);
	}
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
	if (rc == E_OK && full.n > 0)
		rc = write_index(c, codec, &full, e);
	pending_done(&full);
	return rc;
}

static enum ecode
packing_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct packing *p = (struct packing *)task;
	struct commit *c = p->c;
	struct err why = { .code = E_OK };
	enum ecode rc = refused(c, &why);

	if (rc == E_OK)
		rc = store_pack(c, p, c->codecs[worker], &why);
	packing_free(p);
	if (rc != E_OK) {
		refuse(c, rc, &why);
		if (e != NULL)
			*e = why;
	}
	return rc;
}

/*
 * Hand a pack to the writers; may wait.  The cost counts whole targets, so that
 * the capacity holds exactly COMMIT_WAITING_PACKS full packs beside the writers'.
 */
static void
submit(struct commit *c, struct packing *p)
{
	size_t target = c->args.pack_target_bytes, packs = p->body.len / target;

	p->task.cost = (packs == 0 ? 1 : packs) * target;
	flow_add_bounded(c->flow, &p->task, FLOW_OUTSIDE);
}

/* ---- adding ---- */

static enum ecode
toss(struct commit *c, unsigned *out, struct err *e)
{
	int rc = 0;

	take(&c->lock);
	if (c->chances == 0) {
		rc = c->v->os->random(c->v->os, &c->chance, sizeof(c->chance));
		c->chances = rc < 0 ? 0 : sizeof(c->chance) * 8;
	}
	if (rc >= 0) {
		*out = (unsigned)(c->chance & 1);
		c->chance >>= 1;
		c->chances--;
	}
	give(&c->lock);
	return rc < 0 ? err_set(e, E_RANDOM, -rc, "choosing a pack") : E_OK;
}

static bool
is_full(const struct commit *c, const struct packing *p)
{
	return p->body.len >= c->args.pack_target_bytes || p->list.n >= PACK_ENTRIES_MAX;
}

static enum ecode
append(struct packing *p, struct pack_entry *entry, const struct buf *sealed, struct err *e)
{
	enum ecode rc = E_OK;

	if (p->body.len == 0)
		rc = buf_reserve(&p->body, body_room(p->c), e);
	if (rc == E_OK)
		rc = buf_reserve(&p->body, sealed->len, e);
	entry->offset = (uint32_t)p->body.len;
	if (rc == E_OK)
		rc = pack_list_add(&p->list, entry, e);
	if (rc == E_OK)
		rc = buf_add(&p->body, sealed->p, sealed->len, e);
	return rc;
}

/* Into one of the open packs; *full is the pack when it is to be stored now. */
static enum ecode
append_open(struct commit *c, struct pack_entry *entry, const struct buf *sealed,
	struct packing **full, struct err *e)
{
	struct slot *s;
	unsigned which = 0;
	enum ecode rc = toss(c, &which, e);

	if (rc != E_OK)
		return rc;
	s = &c->slots[entry->kind][which];
	take(&s->lock);
	if (s->open == NULL)
		s->open = packing_take(c);
	if (s->open == NULL)
		rc = err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(struct packing));
	else
		rc = append(s->open, entry, sealed, e);
	if (rc == E_OK && is_full(c, s->open)) {
		*full = s->open;
		s->open = NULL;
	}
	give(&s->lock);
	return rc;
}

/* A blob as large as a pack is one; its memory moves. */
static enum ecode
append_alone(struct commit *c, struct pack_entry *entry, struct buf *sealed, struct packing **full,
	struct err *e)
{
	struct packing *p = packing_take(c);
	enum ecode rc;

	if (p == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(*p));
	entry->offset = 0;
	rc = pack_list_add(&p->list, entry, e);
	if (rc != E_OK) {
		packing_free(p);
		return rc;
	}
	buf_done(&p->body);
	buf_take(&p->body, sealed);
	*full = p;
	return E_OK;
}

static void
count(struct commit *c, const struct pack_entry *entry, size_t plain_len, struct blob_added *added)
{
	uint32_t header = entry->ulen == 0 ? PACK_ENTRY_PLAIN_BYTES : PACK_ENTRY_ZSTD_BYTES;

	added->sealed_bytes = entry->length + header;
	take(&c->lock);
	if (entry->kind == BLOB_TREE)
		c->totals.tree_blobs++;
	else
		c->totals.data_blobs++;
	c->totals.data_added += plain_len;
	c->totals.data_added_packed += added->sealed_bytes;
	give(&c->lock);
}

static enum ecode
add_sealed(struct commit *c, struct pack_entry *entry, struct buf *sealed, struct packing **full,
	struct err *e)
{
	entry->length = (uint32_t)sealed->len; /* bounded by the buffer's limit */
	if (c->args.dry_run)
		return E_OK;
	if (sealed->len >= c->args.pack_target_bytes)
		return append_alone(c, entry, sealed, full, e);
	return append_open(c, entry, sealed, full, e);
}

/* The blob is ours to store. */
static enum ecode
add_blob(struct commit *c, struct blob_codec *codec, struct pack_entry *entry, struct slice plain,
	struct blob_added *added, struct err *e)
{
	struct packing *full = NULL;
	struct scratch *s = scratch_take(c);
	enum ecode rc;

	if (s == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(*s));
	rc = blob_shut(
		codec, entry->kind, &entry->id, plain.p, plain.len, &s->buf, &entry->ulen, e);
	if (rc == E_OK)
		rc = add_sealed(c, entry, &s->buf, &full, e);
	scratch_give(c, s);
	if (rc == E_OK)
		count(c, entry, plain.len, added);
	if (full != NULL)
		submit(c, full);
	return rc;
}

enum ecode
commit_blob(struct commit *c, struct blob_codec *codec, enum blob_kind kind, const struct id *id,
	const void *plain, size_t len, struct blob_added *added, struct err *e)
{
	struct pack_entry entry = { .id = *id, .kind = kind };
	struct blob_added result = { .fresh = false };
	struct err why = { .code = E_OK };
	enum ecode rc = refused(c, e);

	if (rc != E_OK)
		return rc;
	rc = index_claim(c->ix, kind, id, &result.fresh, &why);
	if (rc == E_OK && result.fresh)
		rc = add_blob(c, codec, &entry, (struct slice){ plain, len }, &result, &why);
	if (rc != E_OK) {
		if (e != NULL)
			*e = why;
		return refuse(c, rc, &why);
	}
	rc = refused(c, e); /* while we waited */
	if (rc == E_OK)
		*added = result;
	return rc;
}

/* ---- opening, flushing, closing ---- */

static enum ecode
open_codecs(struct commit *c, struct err *e)
{
	unsigned n = flow_workers(c->flow);
	enum ecode rc = E_OK;

	c->codecs = calloc(n, sizeof(struct blob_codec *));
	if (c->codecs == NULL)
		return err_set(e, E_NOMEM, 0, "%u codecs", n);
	while (rc == E_OK && c->codec_count < n) {
		rc = blob_codec_open(c->v->keys, c->v->os, c->v->version, c->args.compression,
			&c->codecs[c->codec_count], e);
		if (rc == E_OK)
			c->codec_count++;
	}
	return rc;
}

static enum ecode
make_locks(struct commit *c, struct err *e)
{
	if (pthread_mutex_init(&c->lock, NULL) != 0)
		return err_set(e, E_NOMEM, 0, "a lock");
	c->locks_made = 1;
	for (unsigned i = 0; i < KINDS * OPEN_PER_KIND; i++) {
		if (pthread_mutex_init(
			    &c->slots[i / OPEN_PER_KIND][i % OPEN_PER_KIND].lock, NULL) != 0)
			return err_set(e, E_NOMEM, 0, "a lock");
		c->locks_made++;
	}
	return E_OK;
}

enum ecode
commit_open(struct vault *v, struct index *ix, const struct commit_args *args, struct commit **out,
	struct err *e)
{
	struct commit *c = calloc(1, sizeof(*c));
	enum ecode rc;

	if (c == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(*c));
	c->v = v;
	c->ix = ix;
	c->args = *args;
	if (c->args.pack_target_bytes == 0)
		c->args.pack_target_bytes = PACK_TARGET_DEFAULT_BYTES;
	invariant(c->args.pack_target_bytes <=
		  PACK_TARGET_MAX_BYTES); /* the command line refuses more */
	c->pending.since_ns = v->os->monotonic_ns(v->os);
	rc = make_locks(c, e);
	if (rc == E_OK)
		rc = flow_open(&c->flow, args->dry_run ? 0 : args->writers, FLOW_FIFO,
			((size_t)args->writers + COMMIT_WAITING_PACKS) * c->args.pack_target_bytes,
			e);
	if (rc == E_OK)
		rc = open_codecs(c, e);
	if (rc == E_OK)
		*out = c;
	else
		commit_close(&c);
	return rc;
}

/* Blobs of `from` behind those of `to`. */
static enum ecode
merge(struct packing *to, struct packing *from, struct err *e)
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

static enum ecode
flush_kind(struct commit *c, struct slot slots[static OPEN_PER_KIND], struct err *e)
{
	struct packing *a = slots[0].open, *b = slots[1].open;
	enum ecode rc = E_OK;

	slots[0].open = slots[1].open = NULL;
	if (a != NULL && b != NULL && a->body.len + b->body.len < c->args.pack_target_bytes &&
		a->list.n + b->list.n <= PACK_ENTRIES_MAX) {
		rc = merge(a, b, e);
		packing_free(b);
		b = NULL;
	}
	if (rc != E_OK) {
		packing_free(a);
		return rc;
	}
	if (a != NULL)
		submit(c, a);
	if (b != NULL)
		submit(c, b);
	return E_OK;
}

/* Everything but the refusal's memory. */
static enum ecode
flush(struct commit *c, struct blob_codec *codec, struct err *e)
{
	struct pending rest;
	enum ecode rc = E_OK;

	for (unsigned kind = 0; rc == E_OK && kind < KINDS; kind++)
		rc = flush_kind(c, c->slots[kind], e);
	if (rc == E_OK)
		rc = flow_finish(c->flow, e);
	if (rc != E_OK)
		return rc;
	rest = pending_take(c, true);
	if (rest.n > 0)
		rc = write_index(c, codec, &rest, e);
	pending_done(&rest);
	return rc;
}

enum ecode
commit_flush(struct commit *c, struct blob_codec *codec, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode rc = refused(c, e);

	if (rc != E_OK)
		return rc;
	rc = flush(c, codec, &why);
	if (rc == E_OK)
		return E_OK;
	refuse(c, rc, &why); /* a writer's refusal was earlier and stays */
	return refused(c, e);
}

void
commit_totals(struct commit *c, struct commit_totals *out)
{
	take(&c->lock);
	*out = c->totals;
	give(&c->lock);
}

static void
free_open(struct commit *c)
{
	for (unsigned i = 0; i < KINDS * OPEN_PER_KIND; i++) {
		struct packing *p = c->slots[i / OPEN_PER_KIND][i % OPEN_PER_KIND].open;

		if (p != NULL)
			packing_free(p);
	}
}

static void
free_scratch(struct commit *c)
{
	while (c->free_scratch != NULL) {
		struct scratch *s = c->free_scratch;

		c->free_scratch = s->next;
		buf_done(&s->buf);
		free(s);
	}
}

void
commit_close(struct commit **c)
{
	struct commit *old = *c;

	if (old == NULL)
		return;
	flow_close(&old->flow); /* ends the writers, drops what waits */
	for (unsigned i = 0; i < old->codec_count; i++)
		blob_codec_close(&old->codecs[i]);
	free(old->codecs);
	free_open(old);
	free_scratch(old);
	pending_done(&old->pending);
	for (unsigned i = 1; i < old->locks_made; i++)
		(void)pthread_mutex_destroy(
			&old->slots[(i - 1) / OPEN_PER_KIND][(i - 1) % OPEN_PER_KIND].lock);
	if (old->locks_made > 0)
		(void)pthread_mutex_destroy(&old->lock);
	free(old);
	*c = NULL;
}
