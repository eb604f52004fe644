/*
 * A few trees that name each other can stand for 2^40 entries.  Whoever walks
 * a snapshot counts here what comes from a tree that was walked before, and
 * ends when that is out of all proportion to what the vault holds.  Any thread.
 */
#ifndef HF_ENGINE_REPEATS_H
#define HF_ENGINE_REPEATS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "repo/index.h"

/*
 * Entries before anything is noted: below it no walk is long, and no plan takes much memory (some 300 bytes each).  The
 * same number may be repeated, and PER_BLOB more for each blob of the vault: that many copies of one tree, eleven years
 * of daily ones.  2^40 entries out of 41 trees were measured to end after 300,000: 2 s, 95 MiB.
 */
#define REPEATS_FREE_ENTRIES ((uint64_t)1 << 16)
#define REPEATS_PER_BLOB     4096

struct repeats {
	struct index *index;
	_Atomic uint64_t entries, repeated;
	pthread_mutex_t lock; /* over seen */
	struct map seen;      /* first 16 bytes of a tree's id → nothing */
};
void repeats_init(struct repeats *r, struct index *index);
void repeats_done(struct repeats *r);
/* A tree is about to be walked: *again when it was before, as far as that is noted. */
enum ecode repeats_enter(
	struct repeats *r, const struct id *tree, bool *again, struct err *e) must_check;
/* One of its entries.  E_LIMIT when they are too many. */
enum ecode repeats_entry(struct repeats *r, bool again, struct err *e) must_check;
/* Was the limit met? */
bool repeats_over(const struct repeats *r);

#endif
