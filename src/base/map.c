#include "base/map.h"

#include <stdlib.h>

/* Open addressing, linear probing; at most three quarters of the slots are used. */
#define MAP_FIRST_SLOTS 64

struct map_slot {
	uint64_t a, b, value;
	bool taken;
};

void
map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}

/* Inode numbers come in runs and devices differ in few bits: spread them over the word. */
static uint64_t
mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio, odd */
	x ^= x >> 29;
	x *= UINT64_C(0xd6e8feb86659fd93); /* odd, no short pattern of bits */
	return x ^ x >> 32;
}

/* The slot that holds (a, b), or the free one where it belongs. */
static struct map_slot *
slot_for(struct map_slot *slots, size_t cap, uint64_t a, uint64_t b)
{
	size_t at = (size_t)mix(a + mix(b)) & (cap - 1);

	while (slots[at].taken && (slots[at].a != a || slots[at].b != b))
		at = (at + 1) & (cap - 1);
	return &slots[at];
}

static enum ecode
grow(struct map *m, struct err *e)
{
	size_t cap = m->cap == 0 ? MAP_FIRST_SLOTS : m->cap * 2;
	struct map_slot *slots = NULL;

	if (m->cap <= SIZE_MAX / 2)
		slots = calloc(cap, sizeof(*slots));
	if (slots == NULL)
		return err_set(e, E_NOMEM, 0, "%zu slots", cap);
	for (size_t i = 0; i < m->cap; i++) {
		const struct map_slot *old = &m->slots[i];

		if (old->taken)
			*slot_for(slots, cap, old->a, old->b) = *old;
	}
	free(m->slots);
	m->slots = slots;
	m->cap = cap;
	return E_OK;
}

enum ecode
map_put(struct map *m, uint64_t a, uint64_t b, uint64_t fresh, uint64_t **value, bool *found,
	struct err *e)
{
	struct map_slot *slot;
	enum ecode rc = E_OK;

	if (m->used >= m->cap / 4 * 3)
		rc = grow(m, e);
	if (rc != E_OK)
		return rc;
	slot = slot_for(m->slots, m->cap, a, b);
	*found = slot->taken;
	if (!slot->taken) {
		*slot = (struct map_slot){ .a = a, .b = b, .value = fresh, .taken = true };
		m->used++;
	}
	*value = &slot->value;
	return E_OK;
}

bool
map_get(const struct map *m, uint64_t a, uint64_t b, uint64_t *value)
{
	const struct map_slot *slot;

	if (m->cap == 0)
		return false;
	slot = slot_for(m->slots, m->cap, a, b);
	if (slot->taken)
		*value = slot->value;
	return slot->taken;
}
