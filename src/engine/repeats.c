#include "engine/repeats.h"

#include <inttypes.h>
#include <string.h>

void
repeats_init(struct repeats *r, struct index *index)
{
	*r = (struct repeats){ .index = index, .lock = PTHREAD_MUTEX_INITIALIZER };
}

void
repeats_done(struct repeats *r)
{
	map_done(&r->seen);
}

enum ecode
repeats_enter(struct repeats *r, const struct id *tree, bool *again, struct err *e)
{
	uint64_t a, b, *value;
	enum ecode rc;

	*again = false;
	if (r->entries < REPEATS_FREE_ENTRIES)
		return E_OK;
	memcpy(&a, tree->b, sizeof(a));
	memcpy(&b, tree->b + sizeof(a), sizeof(b));
	(void)pthread_mutex_lock(&r->lock);
	rc = map_put(&r->seen, a, b, 0, &value, again, e);
	(void)pthread_mutex_unlock(&r->lock);
	return rc;
}

static uint64_t
allowed(const struct repeats *r)
{
	return REPEATS_FREE_ENTRIES + index_blob_count(r->index) * (uint64_t)REPEATS_PER_BLOB;
}

enum ecode
repeats_entry(struct repeats *r, bool again, struct err *e)
{
	uint64_t n;

	(void)atomic_fetch_add_explicit(&r->entries, 1, memory_order_relaxed);
	if (!again)
		return E_OK;
	n = atomic_fetch_add_explicit(&r->repeated, 1, memory_order_relaxed) + 1;
	/* the allowance is not asked for each: it looks at all of the index's shards */
	if (n <= REPEATS_FREE_ENTRIES || n % 1024 != 1 || n <= allowed(r))
		return E_OK;
	return err_set(e, E_LIMIT, 0,
		"the same directories come again and again: %" PRIu64
		" entries so far, out of proportion to the vault; a part can be had as "
		"SNAPSHOT:folder",
		n);
}

bool
repeats_over(const struct repeats *r)
{
	return r->repeated > REPEATS_FREE_ENTRIES && r->repeated > allowed(r);
}
