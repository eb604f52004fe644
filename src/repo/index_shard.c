/*
 * One shard of the index: its entries in segments that never move, and an
 * open-addressing table of 32-bit slots: 8 bits of the ID and 24 bits of
 * entry number.  A slot's 8 bits spare nearly every look at a wrong entry.
 * Tables grow by a quarter, so that they are 64 to 80 per cent full: 5 to 6.3
 * bytes beside the entry's 48.
 *
 * The ID itself is the hash.  IDs are SHA-256 of contents and index texts are
 * sealed: crowding one place costs an outsider a search for hash prefixes per
 * blob, and somebody with the key could do worse.
 *
 * A blob may have several entries (locations), all in the same run of slots.
 * A claimed blob is an entry without a pack.  Only a claim or a pack of this
 * run makes or changes entries after loading; an entry that has a pack never
 * changes again.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "repo/index_table.h"

#define SEGMENT_SHIFT   8U
#define SEGMENT_ENTRIES (1U << SEGMENT_SHIFT)
#define SEGMENT_FIRST   8U /* a shard's first segment grows from this, for small vaults */
#define SLOTS_FIRST     8U
/* Copies of one blob; real vaults hold a handful.  Keeps entering linear. */
#define LOCATIONS_MAX   4096U

struct index_entry *
shard_entry(const struct shard *s, uint32_t no)
{
	return &s->segments[no >> SEGMENT_SHIFT][no & (SEGMENT_ENTRIES - 1)];
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

struct probe
probe_begin(const struct shard *s, enum blob_kind kind, const struct id *id)
{
	return (struct probe){ .s = s, .id = id, .kind = kind, .at = home_slot(s, id) };
}

struct index_entry *
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
			struct index_entry *t = shard_entry(s, no);

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
		put_slot(s, &shard_entry(s, i)->id, i);
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

enum ecode
shard_append(struct shard *s, const struct index_entry *t, struct err *e)
{
	enum ecode rc = E_OK;

	if (s->n == SHARD_MAX)
		return err_set(e, E_LIMIT, 0, "more than %u blobs under one first byte", SHARD_MAX);
	rc = grow_slots(s, e);
	if (rc == E_OK)
		rc = grow_segments(s, e);
	if (rc == E_OK) {
		*shard_entry(s, s->n) = *t;
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

enum ecode
shard_enter(struct shard *s, const struct index_entry *t, bool *fresh, struct err *e)
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
		rc = shard_append(s, t, e);
	if (rc == E_OK) {
		*fresh = true;
		s->located++;
	}
	return rc;
}

enum ecode
shard_expect(struct shard *s, uint32_t slots, struct err *e)
{
	return slots > s->slot_count ? resize_slots(s, slots, e) : E_OK;
}

void
shard_look_ahead(const struct shard *s, const struct id *id)
{
	if (s->slot_count > 0)
		__builtin_prefetch(&s->slots[home_slot(s, id)]);
}

size_t
shard_memory(const struct shard *s)
{
	size_t bytes = (size_t)s->slot_count * sizeof(*s->slots);

	bytes += (size_t)s->segment_cap * sizeof(struct index_entry *);
	bytes += (size_t)s->first_cap * sizeof(struct index_entry);
	if (s->segment_count > 1)
		bytes += (size_t)(s->segment_count - 1) * SEGMENT_ENTRIES *
			 sizeof(struct index_entry);
	return bytes;
}

void
shard_done(struct shard *s)
{
	for (uint32_t i = 0; i < s->segment_count; i++)
		free(s->segments[i]);
	free(s->segments);
	free(s->slots);
	(void)pthread_mutex_destroy(&s->lock);
}
