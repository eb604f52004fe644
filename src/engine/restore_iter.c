/* Walking a finished plan: no stack, because a directory knows its parent and its own entry there. */
#include "engine/restore_internal.h"

void
restore_iter_begin(struct restore_iter *it, const struct restore *r)
{
	*it = (struct restore_iter){ .dir = r->root };
}

static bool
planned(const struct restore_item *item)
{
	return item->type != NODE_DIR || item->to.child->wanted;
}

/* Up until a directory has further entries. */
static void
climb(struct restore_iter *it)
{
	while (it->dir != NULL && it->at == it->dir->count) {
		const struct restore_dir *done = it->dir;

		it->dir = done->parent;
		if (it->dir != NULL)
			it->at = (size_t)(done->self - it->dir->items) + 1;
	}
}

const struct restore_item *
restore_iter_next(struct restore_iter *it)
{
	for (climb(it); it->dir != NULL; climb(it)) {
		const struct restore_item *item = &it->dir->items[it->at];

		if (!planned(item)) {
			it->at++;
			continue;
		}
		if (item->type == NODE_DIR) {
			it->dir = item->to.child;
			it->at = 0;
		} else {
			it->at++;
		}
		return item;
	}
	return NULL;
}
