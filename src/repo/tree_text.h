/* What the reader and the writer of trees share of their text; for tree_*.c only. */
#ifndef HF_REPO_TREE_TEXT_H
#define HF_REPO_TREE_TEXT_H

#include <string.h>

#include "base/wire.h"

#define ID_TEXT_BYTES (ID_HEX_SIZE - 1)
#define ID_ITEM_BYTES (ID_TEXT_BYTES + 3) /* in a list: two quotes and a comma */
#define TREE_HEAD     "{\"nodes\":["
#define TREE_TAIL     "]}\n"

static inline int
name_cmp(struct slice a, struct slice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common == 0 ? 0 : memcmp(a.p, b.p, common);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

#endif
