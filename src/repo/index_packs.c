/*
 * The packs an index knows: rows in pieces, each twice as long as the one
 * before, and a table of slots that finds a pack's number by its ID.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/wire.h"
#include "repo/index_table.h"

#define PACK_ROWS_SHIFT  10U /* the first piece of pack rows; each next one is twice as long */
#define PACK_SLOTS_FIRST 64U

static unsigned
piece_of(uint32_t no)
{
	return 31U - (unsigned)__builtin_clz((no >> PACK_ROWS_SHIFT) + 1);
}

/* Piece k holds the 2^(10+k) rows from (2^k - 1) · 2^10 on. */
struct pack_row *
pack_at(const struct pack_table *t, uint32_t no)
{
	unsigned piece = piece_of(no);

	return &t->pieces[piece][no - (((1U << piece) - 1) << PACK_ROWS_SHIFT)];
}

/* The slot of a pack, or the free one where it belongs. */
static uint32_t
pack_slot(const struct pack_table *t, const struct id *id)
{
	uint32_t mask = t->slot_count - 1;
	uint32_t at = le32_get(id->b) & mask;

	while (t->slots[at] != 0 && id_cmp(&pack_at(t, t->slots[at] - 1)->id, id) != 0)
		at = (at + 1) & mask;
	return at;
}

static enum ecode
grow_pack_slots(struct pack_table *t, struct err *e)
{
	uint32_t more = t->slot_count == 0 ? PACK_SLOTS_FIRST : t->slot_count * 2;
	uint32_t *slots;

	if ((uint64_t)t->n * 2 < t->slot_count)
		return E_OK;
	slots = more == 0 ? NULL : calloc(more, sizeof(*slots));
	if (slots == NULL)
		return err_set(e, E_NOMEM, 0, "slots for %" PRIu32 " packs", t->n);
	free(t->slots);
	t->slots = slots;
	t->slot_count = more;
	for (uint32_t i = 0; i < t->n; i++)
		slots[pack_slot(t, &pack_at(t, i)->id)] = i + 1;
	return E_OK;
}

static enum ecode
add_row(struct pack_table *t, const struct pack_row *row, struct err *e)
{
	unsigned piece = piece_of(t->n);

	if (piece >= PACK_PIECES)
		return err_set(e, E_LIMIT, 0, "more than %" PRIu32 " packs", t->n);
	if (t->pieces[piece] == NULL) {
		size_t rows = (size_t)1 << (PACK_ROWS_SHIFT + piece);

		t->pieces[piece] = malloc(rows * sizeof(*row));
		if (t->pieces[piece] == NULL)
			return err_set(e, E_NOMEM, 0, "%zu packs", rows);
	}
	*pack_at(t, t->n) = *row;
	t->slots[pack_slot(t, &row->id)] = t->n + 1;
	t->n++;
	return E_OK;
}

enum ecode
pack_register(struct pack_table *t, struct listing_pack *pack, uint64_t digest,
	struct index_flaws *flaws, struct err *e)
{
	struct pack_row row = { .id = pack->id, .digest = digest, .listed = (uint32_t)pack->n };
	struct pack_row *known;
	uint32_t slot;
	enum ecode rc = grow_pack_slots(t, e);

	if (rc != E_OK)
		return rc;
	slot = t->slots[pack_slot(t, &pack->id)];
	if (slot == 0) {
		pack->no = t->n;
		return add_row(t, &row, e);
	}
	pack->no = slot - 1;
	known = pack_at(t, pack->no);
	if (flaws != NULL && known->listed == pack->n && known->digest == digest)
		flaws->duplicate_packs++;
	else if (flaws != NULL)
		flaws->conflicting_packs++;
	return E_OK;
}

struct pack_row
pack_row_of(struct pack_table *t, uint32_t no)
{
	struct pack_row row;

	index_take(&t->lock);
	invariant(no < t->n);
	row = *pack_at(t, no);
	index_give(&t->lock);
	return row;
}

size_t
pack_table_memory(const struct pack_table *t)
{
	size_t bytes = (size_t)t->slot_count * sizeof(*t->slots);

	for (unsigned i = 0; i < PACK_PIECES && t->pieces[i] != NULL; i++)
		bytes += ((size_t)1 << (PACK_ROWS_SHIFT + i)) * sizeof(struct pack_row);
	return bytes;
}

void
pack_table_done(struct pack_table *t)
{
	for (unsigned i = 0; i < PACK_PIECES; i++)
		free(t->pieces[i]);
	free(t->slots);
}
