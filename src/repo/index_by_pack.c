/*
 * The entries of one pack.  Their order is made once, on demand, and again
 * after packs were entered.  While it is made, `shape` is held for writing, so
 * that nothing is located meanwhile; claims are passed over.
 */
#include <stdlib.h>

#include "base/wire.h"
#include "repo/index_table.h"

static void
place_shard(struct index *ix, uint32_t shard, uint32_t *next)
{
	struct shard *s = &ix->shards[shard];

	index_take(&s->lock);
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t pack = entry_pack(shard_entry(s, i));

		if (pack != PACK_PENDING)
			ix->by_pack[next[pack]++] = shard << SLOT_TAG_SHIFT | i;
	}
	index_give(&s->lock);
}

static enum ecode
make_by_pack(struct index *ix, struct err *e)
{
	size_t n = index_blob_count(ix);
	uint32_t *next = malloc((ix->packs.n + (size_t)1) * sizeof(*next));
	uint32_t *p = realloc(ix->by_pack, (n + 1) * sizeof(*p));
	size_t at = 0;

	if (p != NULL)
		ix->by_pack = p;
	if (p == NULL || next == NULL) {
		free(next);
		return err_set(e, E_NOMEM, 0, "%zu blobs by pack", n);
	}
	index_take(&ix->packs.lock);
	for (uint32_t i = 0; i < ix->packs.n; i++) {
		struct pack_row *row = pack_at(&ix->packs, i);

		next[i] = row->first = (uint32_t)at;
		at += row->blobs;
	}
	ix->by_pack_n = n + 1;
	ix->by_pack_fresh = true; /* seen by nobody before shape is given back */
	index_give(&ix->packs.lock);
	invariant(at == n && n < UINT32_MAX);
	for (uint32_t i = 0; i < SHARDS; i++)
		place_shard(ix, i, next);
	free(next);
	return E_OK;
}

static int
by_place(const void *a, const void *b)
{
	const struct pack_entry *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return id_cmp(&x->id, &y->id);
}

static enum ecode
copy_pack(struct index *ix, uint32_t pack_no, struct pack_list *out, struct err *e)
{
	const struct pack_row row = pack_row_of(&ix->packs, pack_no);
	size_t before = out->n;
	enum ecode rc = E_OK;

	for (uint32_t i = 0; rc == E_OK && i < row.blobs; i++) {
		uint32_t where = ix->by_pack[row.first + i];
		struct shard *s = &ix->shards[where >> SLOT_TAG_SHIFT];
		struct index_entry t;
		struct pack_entry b;

		index_take(&s->lock);
		t = *shard_entry(s, where & (SHARD_MAX + 1));
		index_give(&s->lock);
		b = (struct pack_entry){ .id = t.id,
			.offset = t.offset,
			.length = t.length,
			.ulen = t.ulen,
			.kind = entry_kind(&t) };
		rc = pack_list_add(out, &b, e);
	}
	if (rc != E_OK)
		out->n = before;
	else if (row.blobs > 1)
		qsort(out->v + before, row.blobs, sizeof(*out->v), by_place);
	return rc;
}

static bool
by_pack_is_fresh(struct index *ix)
{
	bool fresh;

	index_take(&ix->packs.lock);
	fresh = ix->by_pack_fresh;
	index_give(&ix->packs.lock);
	return fresh;
}

/* One attempt with what there is; *done tells whether the order was fresh. */
static enum ecode
copy_if_fresh(struct index *ix, uint32_t pack_no, struct pack_list *out, bool *done, struct err *e)
{
	enum ecode rc = E_OK;
	int locked = pthread_rwlock_rdlock(&ix->shape);

	invariant(locked == 0);
	*done = by_pack_is_fresh(ix);
	if (*done)
		rc = copy_pack(ix, pack_no, out, e);
	locked = pthread_rwlock_unlock(&ix->shape);
	invariant(locked == 0);
	return rc;
}

enum ecode
index_pack_blobs(struct index *ix, uint32_t pack_no, struct pack_list *out, struct err *e)
{
	enum ecode rc = E_OK;
	bool done;
	int locked;

	rc = copy_if_fresh(ix, pack_no, out, &done, e);
	if (rc != E_OK || done)
		return rc;
	locked = pthread_rwlock_wrlock(&ix->shape);
	invariant(locked == 0);
	rc = by_pack_is_fresh(ix) ? E_OK : make_by_pack(ix, e);
	if (rc ==
		E_OK) /* still alone: another pack may be entered as soon as the lock is given back */
		rc = copy_pack(ix, pack_no, out, e);
	locked = pthread_rwlock_unlock(&ix->shape);
	invariant(locked == 0);
	return rc;
}
