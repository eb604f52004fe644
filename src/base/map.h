/* Hash map from a pair of 64-bit numbers (device, inode) to one 64-bit number. Not thread-safe. */
#ifndef HF_BASE_MAP_H
#define HF_BASE_MAP_H

#include "base/err.h"

struct map_slot;
struct map {
	struct map_slot *slots;
	size_t used, cap; /* cap is a power of two or 0 */
};
/* A zeroed map is empty and ready. */
void map_done(struct map *m);
/*
 * Find or insert.  On insertion *found is false and **value is `fresh`.
 * The pointer is valid until the next map_put.  refuses: E_NOMEM
 */
enum ecode map_put(struct map *m, uint64_t a, uint64_t b, uint64_t fresh, uint64_t **value,
	bool *found, struct err *e) must_check;
bool map_get(const struct map *m, uint64_t a, uint64_t b, uint64_t *value) must_check;

#endif
