/*
 * Blobs are sealed by the callers and appended to one of two open packs of
 * their kind by chance; a full pack goes to the writers (commit_store.c).
 *
 * Memory: two open packs a kind, COMMIT_WAITING_PACKS waiting, one for each
 * writer.  A stored pack's memory goes back to the system at once: packs in a
 * free list would stand beside the open ones that fill meanwhile.
 *
 * The first refusal sticks: a claimed blob that was not stored is in the index
 * already, so nothing after it may be published.
 *
 * commit_blob passes a gate.  commit_sync closes it until those inside are
 * through, so that a blob that one thread claimed and another found known is in
 * a pack before the packs are collected.
 */
#include "repo/commit_internal.h"

#include <stdlib.h>
#include <string.h>

/* Above this a sealing buffer goes back to the system: chunks of several times the usual size are rare. */
#define SCRATCH_KEPT_BYTES ((size_t)4 << 20)
/* Behind the target: what the last blob of a pack and its header usually need. */
#define BODY_SPARE_BYTES   ((size_t)1 << 20)

void
commit_take(pthread_mutex_t *lock)
{
	invariant(pthread_mutex_lock(lock) == 0);
}

void
commit_give(pthread_mutex_t *lock)
{
	invariant(pthread_mutex_unlock(lock) == 0);
}

/* ---- the refusal ---- */

enum ecode
commit_refuse(struct commit *c, enum ecode rc, const struct err *e)
{
	commit_take(&c->lock);
	if (c->refusal.code == E_OK) {
		c->refusal = *e;
		c->refusal.code = rc;
	}
	commit_give(&c->lock);
	return rc;
}

enum ecode
commit_refused(struct commit *c, struct err *e)
{
	enum ecode rc;

	commit_take(&c->lock);
	rc = c->refusal.code;
	if (rc != E_OK && e != NULL)
		*e = c->refusal;
	commit_give(&c->lock);
	return rc;
}

/* ---- sealing memory ---- */

/* NULL: no memory. */
static struct scratch *
scratch_take(struct commit *c)
{
	struct scratch *s;

	commit_take(&c->lock);
	s = c->free_scratch;
	if (s != NULL)
		c->free_scratch = s->next;
	commit_give(&c->lock);
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
	commit_take(&c->lock);
	s->next = c->free_scratch;
	c->free_scratch = s;
	commit_give(&c->lock);
}

/* ---- adding ---- */

static enum ecode
toss(struct commit *c, unsigned *out, struct err *e)
{
	int rc = 0;

	commit_take(&c->lock);
	if (c->chances == 0) {
		rc = c->v->os->random(c->v->os, &c->chance, sizeof(c->chance));
		c->chances = rc < 0 ? 0 : sizeof(c->chance) * 8;
	}
	if (rc >= 0) {
		*out = (unsigned)(c->chance & 1);
		c->chance >>= 1;
		c->chances--;
	}
	commit_give(&c->lock);
	return rc < 0 ? err_set(e, E_RANDOM, -rc, "choosing a pack") : E_OK;
}

/*
 * Bytes asked for before the first blob: the body never moves while it grows,
 * and what is not written to costs no memory.
 */
static size_t
body_room(const struct commit *c)
{
	return (size_t)c->args.pack_target_bytes + BODY_SPARE_BYTES;
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
	commit_take(&s->lock);
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
	commit_give(&s->lock);
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
	commit_take(&c->lock);
	if (entry->kind == BLOB_TREE)
		c->totals.tree_blobs++;
	else
		c->totals.data_blobs++;
	c->totals.data_added += plain_len;
	c->totals.data_added_packed += added->sealed_bytes;
	commit_give(&c->lock);
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
		commit_submit(c, full, c->round); /* moves only while nobody is inside the gate */
	return rc;
}

/* Into the gate; it closes while packs are collected. */
static enum ecode
enter(struct commit *c, struct err *e)
{
	enum ecode rc;

	commit_take(&c->lock);
	while (c->gathering)
		(void)pthread_cond_wait(&c->moved, &c->lock);
	rc = c->refusal.code;
	if (rc != E_OK && e != NULL)
		*e = c->refusal;
	if (rc == E_OK)
		c->adding++;
	commit_give(&c->lock);
	return rc;
}

/* Out of it, with the refusal of others meanwhile. */
static enum ecode
leave(struct commit *c, struct err *e)
{
	enum ecode rc;

	commit_take(&c->lock);
	c->adding--;
	if (c->gathering && c->adding == 0)
		(void)pthread_cond_broadcast(&c->moved);
	rc = c->refusal.code;
	if (rc != E_OK && e != NULL)
		*e = c->refusal;
	commit_give(&c->lock);
	return rc;
}

enum ecode
commit_blob(struct commit *c, struct blob_codec *codec, enum blob_kind kind, const struct id *id,
	const void *plain, size_t len, struct blob_added *added, struct err *e)
{
	struct pack_entry entry = { .id = *id, .kind = kind };
	struct blob_added result = { .fresh = false };
	struct err why = { .code = E_OK };
	enum ecode rc = enter(c, e), others;

	if (rc != E_OK)
		return rc;
	rc = index_claim(c->ix, kind, id, &result.fresh, &why);
	if (rc == E_OK && result.fresh)
		rc = add_blob(c, codec, &entry, (struct slice){ plain, len }, &result, &why);
	if (rc != E_OK)
		commit_refuse(c, rc, &why);
	others = leave(c, e);
	if (rc == E_OK && others == E_OK)
		*added = result;
	if (rc != E_OK && e != NULL)
		*e = why;
	return rc == E_OK ? others : rc;
}

/* ---- making all of it durable ---- */

/* What is open now, and the end of this round. */
static unsigned
gather(struct commit *c, struct packing *open[static KINDS * OPEN_PER_KIND])
{
	unsigned round;

	commit_take(&c->lock);
	c->gathering = true;
	while (c->adding > 0)
		(void)pthread_cond_wait(&c->moved, &c->lock);
	for (unsigned i = 0; i < KINDS * OPEN_PER_KIND; i++) {
		struct slot *s = &c->slots[i / OPEN_PER_KIND][i % OPEN_PER_KIND];

		open[i] = s->open;
		s->open = NULL;
	}
	round = c->round;
	c->round = (round + 1) % ROUNDS;
	c->gathering = false;
	(void)pthread_cond_broadcast(&c->moved);
	commit_give(&c->lock);
	return round;
}

/* Two half-full packs of a kind become one. */
static enum ecode
join(struct commit *c, struct packing *pair[static OPEN_PER_KIND], struct err *e)
{
	struct packing *a = pair[0], *b = pair[1];
	enum ecode rc;

	if (a == NULL || b == NULL || a->body.len + b->body.len >= c->args.pack_target_bytes ||
		a->list.n + b->list.n > PACK_ENTRIES_MAX)
		return E_OK;
	rc = packing_merge(a, b, e);
	packing_free(b);
	pair[1] = NULL;
	return rc;
}

static enum ecode
sync_packs(struct commit *c, struct err *e)
{
	struct packing *open[KINDS * OPEN_PER_KIND];
	unsigned round = gather(c, open);
	enum ecode rc = E_OK;

	for (unsigned kind = 0; rc == E_OK && kind < KINDS; kind++)
		rc = join(c, open + (size_t)kind * OPEN_PER_KIND, e);
	for (unsigned i = 0; i < KINDS * OPEN_PER_KIND; i++) {
		if (open[i] != NULL && rc == E_OK)
			commit_submit(c, open[i], round);
		else if (open[i] != NULL)
			packing_free(open[i]);
	}
	if (rc == E_OK)
		commit_drain(c, round);
	return rc;
}

enum ecode
commit_sync(struct commit *c, struct blob_codec *codec, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode rc;

	commit_take(&c->sync_lock);
	rc = commit_refused(c, e);
	if (rc == E_OK) {
		rc = sync_packs(c, &why);
		if (rc == E_OK)
			rc = commit_refused(c, &why);
		if (rc == E_OK)
			rc = commit_index_rest(c, codec, &why);
		if (rc != E_OK)
			commit_refuse(c, rc, &why); /* a writer's refusal was earlier and stays */
		rc = commit_refused(c, e);
	}
	commit_give(&c->sync_lock);
	return rc;
}

enum ecode
commit_flush(struct commit *c, struct blob_codec *codec, struct err *e)
{
	return commit_sync(c, codec, e);
}

/* ---- opening, closing ---- */

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
	if (pthread_mutex_init(&c->lock, NULL) != 0 ||
		pthread_mutex_init(&c->sync_lock, NULL) != 0 ||
		pthread_cond_init(&c->moved, NULL) != 0)
		return err_set(e, E_NOMEM, 0, "a lock"); /* on Linux none of these holds anything */
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

void
commit_totals(struct commit *c, struct commit_totals *out)
{
	commit_take(&c->lock);
	*out = c->totals;
	commit_give(&c->lock);
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
	free(old->stored.v);
	for (unsigned i = 1; i < old->locks_made; i++)
		(void)pthread_mutex_destroy(
			&old->slots[(i - 1) / OPEN_PER_KIND][(i - 1) % OPEN_PER_KIND].lock);
	if (old->locks_made > 0) {
		(void)pthread_cond_destroy(&old->moved);
		(void)pthread_mutex_destroy(&old->sync_lock);
		(void)pthread_mutex_destroy(&old->lock);
	}
	free(old);
	*c = NULL;
}
