/*
 * The table: 256 shards by the first byte of the ID, each with its own lock,
 * its entries in segments that never move, and an open-addressing table of
 * 32-bit slots: 8 bits of the ID and 24 bits of entry number.  A slot's 8 bits
 * spare nearly every look at a wrong entry.  Tables grow by a quarter, so that
 * they are 64 to 80 per cent full: 5 to 6.3 bytes beside the entry's 48.
 *
 * The ID itself is the hash.  IDs are SHA-256 of contents and index texts are
 * sealed: crowding one place costs an outsider a search for hash prefixes per
 * blob, and somebody with the key could do worse.
 *
 * A blob may have several entries (locations), all in the same run of slots.
 * A claimed blob is an entry without a pack.  Only a claim or a pack of this
 * run makes or changes entries after loading; an entry that has a pack never
 * changes again.
 *
 * Locks, in this order: shape (read: entering packs; write: the order by pack)
 * → packs → nothing; shape → a shard → nothing.
 */
#include "repo/index.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "repo/index_internal.h"

#define SHARDS           256U
#define SEGMENT_SHIFT    8U
#define SEGMENT_ENTRIES  (1U << SEGMENT_SHIFT)
#define SEGMENT_FIRST    8U /* a shard's first segment grows from this, for small vaults */
#define SLOT_TAG_SHIFT   24U
#define SHARD_MAX        ((1U << SLOT_TAG_SHIFT) - 2) /* entries; 4 · 10^9 in all */
#define SLOTS_FIRST      8U
/* Copies of one blob; real vaults hold a handful.  Keeps entering linear. */
#define LOCATIONS_MAX    4096U
#define LOOK_AHEAD       8U  /* entries; measured: 4 to 16 do the same */
#define PACK_ROWS_SHIFT  10U /* the first piece of pack rows; each next one is twice as long */
#define PACK_PIECES      21U /* 2^31 packs */
#define PACK_SLOTS_FIRST 64U

struct shard {
	alignas(64) pthread_mutex_t lock;
	uint32_t *slots; /* 0: free; else tag << 24 | entry number + 1 */
	struct index_entry **segments;
	uint32_t slot_count, n, located, segment_count, segment_cap;
	uint32_t first_cap; /* entries the first segment has room for */
};

struct pack_row {
	struct id id;
	uint64_t digest; /* of the first listing: to tell a repetition from a contradiction */
	uint64_t bytes;  /* blobs and their header entries */
	uint32_t listed; /* blobs in the first listing */
	uint32_t blobs;  /* entries in the index */
	uint32_t first;  /* in by_pack */
	unsigned kinds;
};

struct index {
	pthread_rwlock_t shape;
	pthread_mutex_t packs_lock;
	struct pack_row *pieces[PACK_PIECES]; /* never moved */
	uint32_t pack_count;
	uint32_t *pack_slots; /* pack number + 1; at most half full */
	uint32_t pack_slot_count;
	/* Entries by pack, made on demand: shard << 24 | entry number. */
	uint32_t *by_pack;
	size_t by_pack_n;
	bool by_pack_fresh;
	unsigned locks_made;
	struct shard shards[SHARDS];
};

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
	if (pthread_mutex_init(&ix->packs_lock, NULL) != 0)
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

static void
shard_done(struct shard *s)
{
	for (uint32_t i = 0; i < s->segment_count; i++)
		free(s->segments[i]);
	free(s->segments);
	free(s->slots);
	(void)pthread_mutex_destroy(&s->lock);
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
		(void)pthread_mutex_destroy(&old->packs_lock);
	for (unsigned i = 0; i < PACK_PIECES; i++)
		free(old->pieces[i]);
	free(old->pack_slots);
	free(old->by_pack);
	free(old);
	*ix = NULL;
}

/* A lock of ours cannot fail except by our own mistake. */
static void
take(pthread_mutex_t *lock)
{
	int rc = pthread_mutex_lock(lock);

	invariant(rc == 0);
}

static void
give(pthread_mutex_t *lock)
{
	int rc = pthread_mutex_unlock(lock);

	invariant(rc == 0);
}

/* ---- one shard; its lock is held ---- */

static struct index_entry *
entry_at(const struct shard *s, uint32_t no)
{
	return &s->segments[no >> SEGMENT_SHIFT][no & (SEGMENT_ENTRIES - 1)];
}

static struct shard *
shard_of(struct index *ix, const struct id *id)
{
	return &ix->shards[id->b[0]];
}

static uint32_t
home_slot(const struct shard *s, const struct id *id)
{
	return (uint32_t)((uint64_t)le32_get(id->b + 4) * s->slot_count >> 32);
}

static uint32_t
tag_of(const struct id *id)
{
	return (uint32_t)id->b[1] << SLOT_TAG_SHIFT;
}

static uint32_t
next_slot(const struct shard *s, uint32_t at)
{
	return at + 1 == s->slot_count ? 0 : at + 1;
}

/* Steps through the entries of one blob, oldest first. */
struct probe {
	const struct shard *s;
	const struct id *id;
	enum blob_kind kind;
	uint32_t at;
};

static struct probe
probe_begin(const struct shard *s, enum blob_kind kind, const struct id *id)
{
	return (struct probe){ .s = s, .id = id, .kind = kind, .at = home_slot(s, id) };
}

/* The next entry of the blob, or NULL; `at` then is a free slot. */
static struct index_entry *
probe_next(struct probe *p)
{
	const struct shard *s = p->s;
	uint32_t slot, tag = tag_of(p->id);

	if (s->slot_count == 0)
		return NULL;
	for (slot = s->slots[p->at]; slot != 0; slot = s->slots[p->at]) {
		uint32_t no = (slot & (SHARD_MAX + 1)) - 1;

		p->at = next_slot(s, p->at);
		if ((slot ^ tag) >> SLOT_TAG_SHIFT == 0) {
			struct index_entry *t = entry_at(s, no);

			if (memcmp(&t->id, p->id, sizeof(t->id)) == 0 && entry_kind(t) == p->kind)
				return t;
		}
	}
	return NULL;
}

static void
put_slot(struct shard *s, const struct id *id, uint32_t no)
{
	uint32_t at = home_slot(s, id);

	while (s->slots[at] != 0)
		at = next_slot(s, at);
	s->slots[at] = tag_of(id) | (no + 1);
}

static enum ecode
resize_slots(struct shard *s, uint32_t more, struct err *e)
{
	uint32_t *slots = calloc(more, sizeof(*slots));

	if (slots == NULL)
		return err_set(e, E_NOMEM, 0, "%" PRIu32 " slots", more);
	free(s->slots);
	s->slots = slots;
	s->slot_count = more;
	for (uint32_t i = 0; i < s->n; i++)
		put_slot(s, &entry_at(s, i)->id, i);
	return E_OK;
}

static enum ecode
grow_slots(struct shard *s, struct err *e)
{
	uint32_t more = s->slot_count + s->slot_count / 4;

	if ((uint64_t)(s->n + 1) * 5 <= (uint64_t)s->slot_count * 4)
		return E_OK;
	return resize_slots(s, more < SLOTS_FIRST ? SLOTS_FIRST : more, e);
}

static enum ecode
grow_first_segment(struct shard *s, struct err *e)
{
	uint32_t more = s->first_cap == 0 ? SEGMENT_FIRST : s->first_cap * 2;
	struct index_entry *p;

	if (s->n < s->first_cap)
		return E_OK;
	p = realloc(s->segments[0], more * sizeof(*p));
	if (p == NULL)
		return err_set(e, E_NOMEM, 0, "%" PRIu32 " entries", more);
	s->segments[0] = p;
	s->first_cap = more;
	return E_OK;
}

static enum ecode
grow_segment_list(struct shard *s, struct err *e)
{
	uint32_t more = s->segment_cap == 0 ? 1 : s->segment_cap * 2;
	struct index_entry **p;

	if (s->segment_count < s->segment_cap)
		return E_OK;
	p = realloc(s->segments, more * sizeof(struct index_entry *));
	if (p == NULL)
		return err_set(e, E_NOMEM, 0, "%" PRIu32 " segments", more);
	s->segments = p;
	s->segment_cap = more;
	return E_OK;
}

static enum ecode
grow_segments(struct shard *s, struct err *e)
{
	enum ecode rc;

	if (s->n < s->segment_count * SEGMENT_ENTRIES)
		return s->segment_count > 1 ? E_OK : grow_first_segment(s, e);
	rc = grow_segment_list(s, e);
	if (rc != E_OK)
		return rc;
	if (s->segment_count > 0) {
		struct index_entry *p = malloc(SEGMENT_ENTRIES * sizeof(*p));

		if (p == NULL)
			return err_set(e, E_NOMEM, 0, "%u entries", SEGMENT_ENTRIES);
		s->segments[s->segment_count++] = p;
		return E_OK;
	}
	invariant(s->n == 0);
	s->segments[0] = NULL;
	s->segment_count = 1;
	return grow_first_segment(s, e);
}

static enum ecode
append_entry(struct shard *s, const struct index_entry *t, struct err *e)
{
	enum ecode rc = E_OK;

	if (s->n == SHARD_MAX)
		return err_set(e, E_LIMIT, 0, "more than %u blobs under one first byte", SHARD_MAX);
	rc = grow_slots(s, e);
	if (rc == E_OK)
		rc = grow_segments(s, e);
	if (rc == E_OK) {
		*entry_at(s, s->n) = *t;
		put_slot(s, &t->id, s->n);
		s->n++;
	}
	return rc;
}

static bool
same_place(const struct index_entry *a, const struct index_entry *b)
{
	return a->pack_kind == b->pack_kind && a->offset == b->offset && a->length == b->length &&
	       a->ulen == b->ulen;
}

/* *fresh is false when exactly this location was known. */
static enum ecode
enter_location(struct shard *s, const struct index_entry *t, bool *fresh, struct err *e)
{
	struct probe p = probe_begin(s, entry_kind(t), &t->id);
	struct index_entry *known = probe_next(&p);
	unsigned copies = 0;
	enum ecode rc = E_OK;

	*fresh = false;
	for (; known != NULL; known = probe_next(&p)) {
		if (same_place(known, t))
			return E_OK;
		if (++copies > LOCATIONS_MAX)
			return err_set(e, E_INDEX_FORMAT, 0, "more than %u copies of one blob",
				LOCATIONS_MAX);
		if (entry_pack(known) == PACK_PENDING)
			break;
	}
	if (known != NULL)
		*known = *t;
	else
		rc = append_entry(s, t, e);
	if (rc == E_OK) {
		*fresh = true;
		s->located++;
	}
	return rc;
}

/* ---- packs; their lock is held ---- */

static unsigned
piece_of(uint32_t no)
{
	return 31U - (unsigned)__builtin_clz((no >> PACK_ROWS_SHIFT) + 1);
}

/* Piece k holds the 2^(10+k) rows from (2^k - 1) · 2^10 on. */
static struct pack_row *
pack_at(const struct index *ix, uint32_t no)
{
	unsigned piece = piece_of(no);

	return &ix->pieces[piece][no - (((1U << piece) - 1) << PACK_ROWS_SHIFT)];
}

/* The slot of a pack, or the free one where it belongs. */
static uint32_t
pack_slot(const struct index *ix, const struct id *id)
{
	uint32_t mask = ix->pack_slot_count - 1;
	uint32_t at = le32_get(id->b) & mask;

	while (ix->pack_slots[at] != 0 && id_cmp(&pack_at(ix, ix->pack_slots[at] - 1)->id, id) != 0)
		at = (at + 1) & mask;
	return at;
}

static enum ecode
grow_pack_slots(struct index *ix, struct err *e)
{
	uint32_t more = ix->pack_slot_count == 0 ? PACK_SLOTS_FIRST : ix->pack_slot_count * 2;
	uint32_t *slots;

	if ((uint64_t)ix->pack_count * 2 < ix->pack_slot_count)
		return E_OK;
	slots = more == 0 ? NULL : calloc(more, sizeof(*slots));
	if (slots == NULL)
		return err_set(e, E_NOMEM, 0, "slots for %" PRIu32 " packs", ix->pack_count);
	free(ix->pack_slots);
	ix->pack_slots = slots;
	ix->pack_slot_count = more;
	for (uint32_t i = 0; i < ix->pack_count; i++)
		slots[pack_slot(ix, &pack_at(ix, i)->id)] = i + 1;
	return E_OK;
}

static enum ecode
add_row(struct index *ix, const struct pack_row *row, struct err *e)
{
	unsigned piece = piece_of(ix->pack_count);

	if (piece >= PACK_PIECES)
		return err_set(e, E_LIMIT, 0, "more than %" PRIu32 " packs", ix->pack_count);
	if (ix->pieces[piece] == NULL) {
		size_t rows = (size_t)1 << (PACK_ROWS_SHIFT + piece);

		ix->pieces[piece] = malloc(rows * sizeof(*row));
		if (ix->pieces[piece] == NULL)
			return err_set(e, E_NOMEM, 0, "%zu packs", rows);
	}
	*pack_at(ix, ix->pack_count) = *row;
	ix->pack_slots[pack_slot(ix, &row->id)] = ix->pack_count + 1;
	ix->pack_count++;
	return E_OK;
}

/* The number of a pack with this listing, new or known. */
static enum ecode
register_pack(struct index *ix, struct listing_pack *pack, uint64_t digest,
	struct index_flaws *flaws, struct err *e)
{
	struct pack_row row = { .id = pack->id, .digest = digest, .listed = (uint32_t)pack->n };
	struct pack_row *known;
	uint32_t slot;
	enum ecode rc = grow_pack_slots(ix, e);

	if (rc != E_OK)
		return rc;
	slot = ix->pack_slots[pack_slot(ix, &pack->id)];
	if (slot == 0) {
		pack->no = ix->pack_count;
		return add_row(ix, &row, e);
	}
	pack->no = slot - 1;
	known = pack_at(ix, pack->no);
	if (flaws != NULL && known->listed == pack->n && known->digest == digest)
		flaws->duplicate_packs++;
	else if (flaws != NULL)
		flaws->conflicting_packs++;
	return E_OK;
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
		take(&ix->packs_lock);
		rc = register_pack(ix, pack, digest, flaws, e);
		give(&ix->packs_lock);
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
	if (near < n && s->slot_count > 0)
		__builtin_prefetch(&s->slots[home_slot(s, &l->v[order[near]].id)]);
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
		rc = enter_location(s, &t, &fresh, e);
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
		take(&s->lock);
		rc = enter_shard(s, l, l->order + from[i], from[i + 1] - from[i], e);
		give(&s->lock);
	}
	return rc;
}

static void
settle_packs(struct index *ix, const struct listing *l)
{
	take(&ix->packs_lock);
	for (size_t i = 0; i < l->pack_n; i++) {
		struct pack_row *row = pack_at(ix, l->packs[i].no);

		row->blobs += l->packs[i].fresh_blobs;
		row->bytes += l->packs[i].fresh_bytes;
		row->kinds |= l->packs[i].kinds;
	}
	ix->by_pack_fresh = false;
	give(&ix->packs_lock);
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

		take(&s->lock);
		if (slots > s->slot_count)
			rc = resize_slots(s, (uint32_t)slots, e);
		give(&s->lock);
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

bool
index_has(struct index *ix, enum blob_kind kind, const struct id *id)
{
	struct shard *s = shard_of(ix, id);
	struct probe p;
	bool known;

	take(&s->lock);
	p = probe_begin(s, kind, id);
	known = probe_next(&p) != NULL;
	give(&s->lock);
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

	take(&s->lock);
	p = probe_begin(s, kind, id);
	t = probe_next(&p);
	found = t != NULL && entry_pack(t) != PACK_PENDING; /* a pending one is the only one */
	if (found)
		*out = *t;
	give(&s->lock);
	return found;
}

/* A row's id never changes once an entry of it was seen, and rows never move: no lock. */
static struct blob_loc
loc_of(const struct index *ix, const struct index_entry *t)
{
	uint32_t no = entry_pack(t);

	return (struct blob_loc){ .pack = pack_at(ix, no)->id,
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

	take(&s->lock);
	p = probe_begin(s, kind, id);
	for (t = probe_next(&p); t != NULL; t = probe_next(&p)) {
		if (entry_pack(t) == PACK_PENDING)
			continue;
		if (n < max)
			out[n] = loc_of(ix, t);
		n++;
	}
	give(&s->lock);
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

	take(&s->lock);
	p = probe_begin(s, kind, id);
	known = probe_next(&p) != NULL;
	if (!known)
		rc = append_entry(s, &t, e);
	give(&s->lock);
	if (rc == E_OK)
		*mine = !known;
	return rc;
}

size_t
index_blob_count(struct index *ix)
{
	size_t n = 0;

	for (unsigned i = 0; i < SHARDS; i++) {
		take(&ix->shards[i].lock);
		n += ix->shards[i].located;
		give(&ix->shards[i].lock);
	}
	return n;
}

size_t
index_pack_count(struct index *ix)
{
	size_t n;

	take(&ix->packs_lock);
	n = ix->pack_count;
	give(&ix->packs_lock);
	return n;
}

/* A copy of a row.  The number comes from this index. */
static struct pack_row
row_of(struct index *ix, uint32_t pack_no)
{
	struct pack_row row;

	take(&ix->packs_lock);
	invariant(pack_no < ix->pack_count);
	row = *pack_at(ix, pack_no);
	give(&ix->packs_lock);
	return row;
}

void
index_pack_id(struct index *ix, uint32_t pack_no, struct id *out)
{
	*out = row_of(ix, pack_no).id;
}

uint64_t
index_pack_size(struct index *ix, uint32_t pack_no)
{
	return row_of(ix, pack_no).bytes + SEAL_OVERHEAD +
	       4; /* the header's own frame and length field (4) */
}

size_t
index_mixed_packs(struct index *ix)
{
	size_t n = 0;

	take(&ix->packs_lock);
	for (uint32_t i = 0; i < ix->pack_count; i++) {
		if (pack_at(ix, i)->kinds == (1U << BLOB_DATA | 1U << BLOB_TREE))
			n++;
	}
	give(&ix->packs_lock);
	return n;
}

static size_t
shard_memory(struct shard *s)
{
	size_t bytes;

	take(&s->lock);
	bytes = (size_t)s->slot_count * sizeof(*s->slots);
	bytes += (size_t)s->segment_cap * sizeof(struct index_entry *);
	bytes += (size_t)s->first_cap * sizeof(struct index_entry);
	if (s->segment_count > 1)
		bytes += (size_t)(s->segment_count - 1) * SEGMENT_ENTRIES *
			 sizeof(struct index_entry);
	give(&s->lock);
	return bytes;
}

size_t
index_memory_bytes(struct index *ix)
{
	size_t bytes = sizeof(*ix);

	for (unsigned i = 0; i < SHARDS; i++)
		bytes += shard_memory(&ix->shards[i]);
	take(&ix->packs_lock);
	for (unsigned i = 0; i < PACK_PIECES && ix->pieces[i] != NULL; i++)
		bytes += ((size_t)1 << (PACK_ROWS_SHIFT + i)) * sizeof(struct pack_row);
	bytes += (size_t)ix->pack_slot_count * sizeof(*ix->pack_slots);
	bytes += ix->by_pack_n * sizeof(*ix->by_pack);
	give(&ix->packs_lock);
	return bytes;
}

/* ---- by pack: shape is held for writing, so nothing is located meanwhile; claims are passed over ---- */

static void
place_shard(struct index *ix, uint32_t shard, uint32_t *next)
{
	struct shard *s = &ix->shards[shard];

	take(&s->lock);
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t pack = entry_pack(entry_at(s, i));

		if (pack != PACK_PENDING)
			ix->by_pack[next[pack]++] = shard << SLOT_TAG_SHIFT | i;
	}
	give(&s->lock);
}

static enum ecode
make_by_pack(struct index *ix, struct err *e)
{
	size_t n = index_blob_count(ix);
	uint32_t *next = malloc((ix->pack_count + (size_t)1) * sizeof(*next));
	uint32_t *p = realloc(ix->by_pack, (n + 1) * sizeof(*p));
	size_t at = 0;

	if (p != NULL)
		ix->by_pack = p;
	if (p == NULL || next == NULL) {
		free(next);
		return err_set(e, E_NOMEM, 0, "%zu blobs by pack", n);
	}
	take(&ix->packs_lock);
	for (uint32_t i = 0; i < ix->pack_count; i++) {
		struct pack_row *row = pack_at(ix, i);

		next[i] = row->first = (uint32_t)at;
		at += row->blobs;
	}
	ix->by_pack_n = n + 1;
	ix->by_pack_fresh = true; /* seen by nobody before shape is given back */
	give(&ix->packs_lock);
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
	const struct pack_row row = row_of(ix, pack_no);
	size_t before = out->n;
	enum ecode rc = E_OK;

	for (uint32_t i = 0; rc == E_OK && i < row.blobs; i++) {
		uint32_t where = ix->by_pack[row.first + i];
		struct shard *s = &ix->shards[where >> SLOT_TAG_SHIFT];
		struct index_entry t;
		struct pack_entry b;

		take(&s->lock);
		t = *entry_at(s, where & (SHARD_MAX + 1));
		give(&s->lock);
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

	take(&ix->packs_lock);
	fresh = ix->by_pack_fresh;
	give(&ix->packs_lock);
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
