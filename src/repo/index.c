/*
 * The index: 256 shards by the first byte of the ID (index_shard.c), each with
 * its own lock, and the packs they lie in (index_packs.c).  Here: entering
 * listings, and asking.
 */
#include "repo/index.h"

#include <stdlib.h>
#include <string.h>

#include "repo/index_table.h"

#define LOOK_AHEAD 8U /* entries; measured: 4 to 16 do the same */

/* ---- life ---- */

static enum ecode
make_locks(struct index *ix, struct err *e)
{
	for (unsigned i = 0; i < SHARDS; i++, ix->locks_made++) {
		int rc = pthread_mutex_init(&ix->shards[i].lock, NULL);

		if (rc != 0)
			return err_set(e, E_NOMEM, rc, "a lock");
	}
	if (pthread_rwlock_init(&ix->shape, NULL) != 0)
		return err_set(e, E_NOMEM, 0, "a lock");
	ix->locks_made++;
	if (pthread_mutex_init(&ix->packs.lock, NULL) != 0)
		return err_set(e, E_NOMEM, 0, "a lock");
	ix->locks_made++;
	return E_OK;
}

enum ecode
index_open(struct index **out, struct err *e)
{
	struct index *ix = aligned_alloc(alignof(struct index), sizeof(*ix));
	enum ecode rc;

	if (ix == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(*ix));
	memset(ix, 0, sizeof(*ix));
	rc = make_locks(ix, e);
	if (rc == E_OK)
		*out = ix;
	else
		index_close(&ix);
	return rc;
}

void
index_close(struct index **ix)
{
	struct index *old = *ix;

	if (old == NULL)
		return;
	for (unsigned i = 0; i < SHARDS && i < old->locks_made; i++)
		shard_done(&old->shards[i]);
	if (old->locks_made > SHARDS)
		(void)pthread_rwlock_destroy(&old->shape);
	if (old->locks_made > SHARDS + 1)
		(void)pthread_mutex_destroy(&old->packs.lock);
	pack_table_done(&old->packs);
	free(old->by_pack);
	free(old);
	*ix = NULL;
}

/* ---- entering a listing ---- */

/* Of a sorted pack; the local pack number is left out.  Not against attackers, who would need the key. */
static uint64_t
digest_of(const struct listing *l, const struct listing_pack *pack)
{
	uint64_t d = pack->n;

	for (size_t i = 0; i < pack->n; i++) {
		const struct index_entry *t = &l->v[pack->first + i];
		const uint8_t *id = t->id.b;
		uint64_t place = (uint64_t)t->offset << 32 | t->length;
		uint64_t size = (uint64_t)t->ulen << 1 | (t->pack_kind & 1);

		for (unsigned k = 0; k < sizeof(t->id); k += sizeof(uint64_t)) {
			uint64_t word;

			memcpy(&word, id + k, sizeof(word));
			d = (d ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		}
		d = ((d ^ d >> 29) ^ place) * UINT64_C(0xbf58476d1ce4e5b9);
		d = ((d ^ d >> 32) ^ size) * UINT64_C(0x94d049bb133111eb);
	}
	return d;
}

static enum ecode
register_packs(struct index *ix, struct listing *l, struct index_flaws *flaws, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < l->pack_n; i++) {
		struct listing_pack *pack = &l->packs[i];
		uint64_t digest = digest_of(l, pack);

		pack->fresh_blobs = 0;
		pack->fresh_bytes = 0;
		index_take(&ix->packs.lock);
		rc = pack_register(&ix->packs, pack, digest, flaws, e);
		index_give(&ix->packs.lock);
	}
	return rc;
}

/* Order of the entries by shard, so that each shard is locked once; from[i] … from[i + 1] are shard i's. */
static enum ecode
order_by_shard(struct listing *l, size_t from[static SHARDS + 1], struct err *e)
{
	size_t at[SHARDS] = { 0 };

	if (l->order_cap < l->n) {
		uint32_t *p = realloc(l->order, l->cap * sizeof(*p));

		if (p == NULL)
			return err_set(e, E_NOMEM, 0, "%zu entries", l->cap);
		l->order = p;
		l->order_cap = l->cap;
	}
	for (size_t i = 0; i < l->n; i++)
		at[l->v[i].id.b[0]]++;
	from[0] = 0;
	for (unsigned i = 0; i < SHARDS; i++) {
		from[i + 1] = from[i] + at[i];
		at[i] = from[i];
	}
	for (size_t i = 0; i < l->n; i++)
		l->order[at[l->v[i].id.b[0]]++] = (uint32_t)i;
	return E_OK;
}

/* Entering is a walk through memory that no cache holds; asking early hides most of the way. */
static void
look_ahead(
	const struct shard *s, const struct listing *l, const uint32_t *order, size_t n, size_t i)
{
	const size_t near = i + LOOK_AHEAD, far = near + LOOK_AHEAD;

	if (far < n)
		__builtin_prefetch(&l->v[order[far]]);
	if (near < n)
		shard_look_ahead(s, &l->v[order[near]].id);
}

static enum ecode
enter_shard(struct shard *s, struct listing *l, const uint32_t *order, size_t n, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < n; i++) {
		struct index_entry t = l->v[order[i]];
		struct listing_pack *pack = &l->packs[entry_pack(&t)];
		bool fresh;

		look_ahead(s, l, order, n, i);
		t.pack_kind = entry_pack_kind(pack->no, entry_kind(&t));
		rc = shard_enter(s, &t, &fresh, e);
		if (rc == E_OK && fresh) {
			pack->fresh_blobs++;
			pack->fresh_bytes +=
				(uint64_t)t.length +
				(t.ulen == 0 ? PACK_ENTRY_PLAIN_BYTES : PACK_ENTRY_ZSTD_BYTES);
		}
	}
	return rc;
}

static enum ecode
enter_entries(struct index *ix, struct listing *l, struct err *e)
{
	size_t from[SHARDS + 1] = { 0 };
	enum ecode rc = order_by_shard(l, from, e);

	for (unsigned i = 0; rc == E_OK && i < SHARDS; i++) {
		struct shard *s = &ix->shards[i];

		if (from[i] == from[i + 1])
			continue;
		index_take(&s->lock);
		rc = enter_shard(s, l, l->order + from[i], from[i + 1] - from[i], e);
		index_give(&s->lock);
	}
	return rc;
}

static void
settle_packs(struct index *ix, const struct listing *l)
{
	index_take(&ix->packs.lock);
	for (size_t i = 0; i < l->pack_n; i++) {
		struct pack_row *row = pack_at(&ix->packs, l->packs[i].no);

		row->blobs += l->packs[i].fresh_blobs;
		row->bytes += l->packs[i].fresh_bytes;
		row->kinds |= l->packs[i].kinds;
	}
	ix->by_pack_fresh = false;
	index_give(&ix->packs.lock);
}

enum ecode
index_enter(struct index *ix, struct listing *l, struct index_flaws *flaws, struct err *e)
{
	enum ecode rc;
	int locked = pthread_rwlock_rdlock(&ix->shape);

	invariant(locked == 0);
	rc = register_packs(ix, l, flaws, e);
	if (rc == E_OK) {
		rc = enter_entries(ix, l, e);
		settle_packs(ix, l); /* after a refusal too: the counts are those of what is in */
	}
	locked = pthread_rwlock_unlock(&ix->shape);
	invariant(locked == 0);
	return rc;
}

enum ecode
index_expect(struct index *ix, uint64_t blobs, struct err *e)
{
	uint64_t slots = blobs / SHARDS * 5 / 4;
	enum ecode rc = E_OK;

	if (slots > SHARD_MAX)
		slots = SHARD_MAX;
	for (unsigned i = 0; rc == E_OK && i < SHARDS; i++) {
		struct shard *s = &ix->shards[i];

		index_take(&s->lock);
		rc = shard_expect(s, (uint32_t)slots, e);
		index_give(&s->lock);
	}
	return rc;
}

enum ecode
index_parse(struct index *ix, const void *json, size_t len, unsigned version, struct err *e)
{
	autoclean(listing_done) struct listing l = { 0 };
	enum ecode rc = listing_parse(&l, json, len, version, e);

	return rc == E_OK ? index_enter(ix, &l, NULL, e) : rc;
}

static enum ecode
list_pack(struct listing *l, const struct id *pack, const struct pack_list *blobs, struct err *e)
{
	enum ecode rc = listing_begin_pack(l, e);

	for (size_t i = 0; rc == E_OK && i < blobs->n; i++) {
		const struct pack_entry *b = &blobs->v[i];
		struct index_entry t = { .id = b->id,
			.pack_kind = entry_pack_kind(0, b->kind),
			.offset = b->offset,
			.length = b->length,
			.ulen = b->ulen };

		rc = listing_add(l, &t, e);
	}
	return rc == E_OK ? listing_end_pack(l, pack, e) : rc;
}

enum ecode
index_add_pack(
	struct index *ix, const struct id *pack, const struct pack_list *blobs, struct err *e)
{
	autoclean(listing_done) struct listing l = { 0 };
	enum ecode rc = list_pack(&l, pack, blobs, e);

	return rc == E_OK ? index_enter(ix, &l, NULL, e) : rc;
}

/* ---- asking ---- */

static struct shard *
shard_of(struct index *ix, const struct id *id)
{
	return &ix->shards[id->b[0]];
}

bool
index_has(struct index *ix, enum blob_kind kind, const struct id *id)
{
	struct shard *s = shard_of(ix, id);
	struct probe p;
	bool known;

	index_take(&s->lock);
	p = probe_begin(s, kind, id);
	known = probe_next(&p) != NULL;
	index_give(&s->lock);
	return known;
}

/* The first located entry, copied. */
static bool
find_located(struct index *ix, enum blob_kind kind, const struct id *id, struct index_entry *out)
{
	struct shard *s = shard_of(ix, id);
	const struct index_entry *t;
	struct probe p;
	bool found;

	index_take(&s->lock);
	p = probe_begin(s, kind, id);
	t = probe_next(&p);
	found = t != NULL && entry_pack(t) != PACK_PENDING; /* a pending one is the only one */
	if (found)
		*out = *t;
	index_give(&s->lock);
	return found;
}

/* A row's id never changes once an entry of it was seen, and rows never move: no lock. */
static struct blob_loc
loc_of(const struct index *ix, const struct index_entry *t)
{
	uint32_t no = entry_pack(t);

	return (struct blob_loc){ .pack = pack_at(&ix->packs, no)->id,
		.pack_no = no,
		.offset = t->offset,
		.length = t->length,
		.ulen = t->ulen };
}

bool
index_find(struct index *ix, enum blob_kind kind, const struct id *id, struct blob_loc *out)
{
	struct index_entry t;
	bool found = find_located(ix, kind, id, &t);

	if (found)
		*out = loc_of(ix, &t);
	return found;
}

size_t
index_find_all(struct index *ix, enum blob_kind kind, const struct id *id, struct blob_loc *out,
	size_t max)
{
	struct shard *s = shard_of(ix, id);
	const struct index_entry *t;
	struct probe p;
	size_t n = 0;

	index_take(&s->lock);
	p = probe_begin(s, kind, id);
	for (t = probe_next(&p); t != NULL; t = probe_next(&p)) {
		if (entry_pack(t) == PACK_PENDING)
			continue;
		if (n < max)
			out[n] = loc_of(ix, t);
		n++;
	}
	index_give(&s->lock);
	return n;
}

bool
index_size(struct index *ix, enum blob_kind kind, const struct id *id, uint32_t *plain_len)
{
	struct index_entry t;
	bool found = find_located(ix, kind, id, &t);

	if (found)
		*plain_len = t.ulen != 0 ? t.ulen : t.length - SEAL_OVERHEAD;
	return found;
}

enum ecode
index_claim(struct index *ix, enum blob_kind kind, const struct id *id, bool *mine, struct err *e)
{
	struct index_entry t = { .id = *id, .pack_kind = entry_pack_kind(PACK_PENDING, kind) };
	struct shard *s = shard_of(ix, id);
	enum ecode rc = E_OK;
	struct probe p;
	bool known;

	index_take(&s->lock);
	p = probe_begin(s, kind, id);
	known = probe_next(&p) != NULL;
	if (!known)
		rc = shard_append(s, &t, e);
	index_give(&s->lock);
	if (rc == E_OK)
		*mine = !known;
	return rc;
}

size_t
index_blob_count(struct index *ix)
{
	size_t n = 0;

	for (unsigned i = 0; i < SHARDS; i++) {
		index_take(&ix->shards[i].lock);
		n += ix->shards[i].located;
		index_give(&ix->shards[i].lock);
	}
	return n;
}

size_t
index_pack_count(struct index *ix)
{
	size_t n;

	index_take(&ix->packs.lock);
	n = ix->packs.n;
	index_give(&ix->packs.lock);
	return n;
}

void
index_pack_id(struct index *ix, uint32_t pack_no, struct id *out)
{
	*out = pack_row_of(&ix->packs, pack_no).id;
}

uint64_t
index_pack_size(struct index *ix, uint32_t pack_no)
{
	return pack_row_of(&ix->packs, pack_no).bytes + SEAL_OVERHEAD +
	       4; /* the header's own frame and length field (4) */
}

size_t
index_mixed_packs(struct index *ix)
{
	size_t n = 0;

	index_take(&ix->packs.lock);
	for (uint32_t i = 0; i < ix->packs.n; i++) {
		if (pack_at(&ix->packs, i)->kinds == (1U << BLOB_DATA | 1U << BLOB_TREE))
			n++;
	}
	index_give(&ix->packs.lock);
	return n;
}

size_t
index_memory_bytes(struct index *ix)
{
	size_t bytes = sizeof(*ix);

	for (unsigned i = 0; i < SHARDS; i++) {
		index_take(&ix->shards[i].lock);
		bytes += shard_memory(&ix->shards[i]);
		index_give(&ix->shards[i].lock);
	}
	index_take(&ix->packs.lock);
	bytes += pack_table_memory(&ix->packs);
	bytes += ix->by_pack_n * sizeof(*ix->by_pack);
	index_give(&ix->packs.lock);
	return bytes;
}
