#include "engine/unlock.h"

#include "base/wire.h"

/* Locks of a vault: a few; 64 MiB hold 100,000. */
#define UNLOCK_ARENA_BYTES ((size_t)64 << 20)

static bool
provably_dead(enum lock_verdict verdict)
{
	switch (verdict) {
	case LOCK_DEAD_PROCESS:
	case LOCK_TOO_OLD:
		return true;
	case LOCK_ALIVE:
	case LOCK_UNKNOWN_HOST:
		return false;
	}
	return false;
}

static const struct lock_info *
find_readable(const struct lock_info *locks, size_t n, const struct id *id)
{
	for (size_t i = 0; i < n; i++) {
		if (id_cmp(&locks[i].id, id) == 0)
			return &locks[i];
	}
	return NULL;
}

enum ecode
unlock_run(struct session *s, bool remove_all,
	void (*told)(void *arg, const struct unlock_item *item), void *arg, size_t *removed,
	size_t *left, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(UNLOCK_ARENA_BYTES);
	autoclean(store_listing_done) struct store_listing there = { 0 };
	struct eraser er = eraser_for(s->store, 1U << O_LOCK);
	struct lock_info *locks = NULL;
	size_t n = 0, unreadable = 0;
	enum ecode rc = lock_list(s->vault, &a, &locks, &n, &unreadable, e);

	*removed = 0;
	*left = 0;
	/* a second listing: an unreadable lock has an id and nothing else */
	if (rc == E_OK)
		rc = store_list_all(s->store, O_LOCK, &there, e);
	for (size_t i = 0; rc == E_OK && i < there.n; i++) {
		const struct lock_info *info = find_readable(locks, n, &there.v[i].id);
		struct unlock_item item = { .readable = info != NULL, .verdict = LOCK_ALIVE };
		struct oname name = { O_LOCK, there.v[i].id };

		item.info.id = there.v[i].id;
		if (info != NULL) {
			item.info = *info;
			item.verdict = lock_judge(s->os, info);
		}
		if (remove_all || (info != NULL && provably_dead(item.verdict))) {
			rc = eraser_erase(&er, &name, e);
			item.removed = rc == E_OK;
		}
		*removed += item.removed;
		*left += !item.removed;
		told(arg, &item);
	}
	return rc;
}
