/*
 * Internal to index*.c: how the index lies in memory.  Every function here
 * expects the lock of what it is given to be held, unless it says otherwise.
 *
 * Locks, in this order: shape (read: entering packs; write: the order by pack)
 * → packs → nothing; shape → a shard → nothing.
 */
#ifndef HF_REPO_INDEX_TABLE_H
#define HF_REPO_INDEX_TABLE_H

#include <pthread.h>
#include <stdalign.h>

#include "repo/index_internal.h"

#define SHARDS         256U
#define SLOT_TAG_SHIFT 24U
#define SHARD_MAX      ((1U << SLOT_TAG_SHIFT) - 2) /* entries; 4 · 10^9 in all */
#define PACK_PIECES    21U                          /* 2^31 packs */

/* One of 256 open-addressing tables, by the first byte of the ID (index_shard.c). */
struct shard {
	alignas(64) pthread_mutex_t lock;
	uint32_t *slots; /* 0: free; else tag << 24 | entry number + 1 */
	struct index_entry **segments;
	uint32_t slot_count, n, located, segment_count, segment_cap;
	uint32_t first_cap; /* entries the first segment has room for */
};

/* Steps through the entries of one blob, oldest first. */
struct probe {
	const struct shard *s;
	const struct id *id;
	enum blob_kind kind;
	uint32_t at;
};
struct probe probe_begin(const struct shard *s, enum blob_kind kind, const struct id *id);
/* The next entry of the blob, or NULL. */
struct index_entry *probe_next(struct probe *p);
struct index_entry *shard_entry(const struct shard *s, uint32_t no);
/* A claim: an entry nobody has.  E_LIMIT, E_NOMEM */
enum ecode shard_append(struct shard *s, const struct index_entry *t, struct err *e) must_check;
/* A location; *fresh is false when exactly this one was known.  E_INDEX_FORMAT (too many copies), E_LIMIT, E_NOMEM */
enum ecode shard_enter(
	struct shard *s, const struct index_entry *t, bool *fresh, struct err *e) must_check;
/* Room for so many slots at once; never fewer than there are. */
enum ecode shard_expect(struct shard *s, uint32_t slots, struct err *e) must_check;
/* Ask the memory for where the blob's slots are, ahead of their use. */
void shard_look_ahead(const struct shard *s, const struct id *id);
size_t shard_memory(const struct shard *s);
void shard_done(struct shard *s); /* the lock too */

/* What is known of one pack (index_packs.c). */
struct pack_row {
	struct id id;
	uint64_t digest; /* of the first listing: to tell a repetition from a contradiction */
	uint64_t bytes;  /* blobs and their header entries */
	uint32_t listed; /* blobs in the first listing */
	uint32_t blobs;  /* entries in the index */
	uint32_t first;  /* in by_pack */
	unsigned kinds;
};

/* Rows in pieces that never move, so that a row once seen may be read without the lock. */
struct pack_table {
	pthread_mutex_t lock;
	struct pack_row *pieces[PACK_PIECES];
	uint32_t n;
	uint32_t *slots; /* pack number + 1; at most half full */
	uint32_t slot_count;
};
struct pack_row *pack_at(const struct pack_table *t, uint32_t no);
/* The number of a pack with this listing, new or known; flaws may be NULL.  E_LIMIT, E_NOMEM */
enum ecode pack_register(struct pack_table *t, struct listing_pack *pack, uint64_t digest,
	struct index_flaws *flaws, struct err *e) must_check;
/* A copy of a row; takes the lock.  The number comes from this index. */
struct pack_row pack_row_of(struct pack_table *t, uint32_t no);
size_t pack_table_memory(const struct pack_table *t);
void pack_table_done(struct pack_table *t); /* not the lock */

struct index {
	pthread_rwlock_t shape;
	struct pack_table packs;
	/* Entries by pack, made on demand (index_by_pack.c): shard << 24 | entry number. */
	uint32_t *by_pack;
	size_t by_pack_n;
	bool by_pack_fresh; /* under packs.lock */
	unsigned locks_made;
	struct shard shards[SHARDS];
};

/* A lock of ours cannot fail except by our own mistake. */
static inline void
index_take(pthread_mutex_t *lock)
{
	int rc = pthread_mutex_lock(lock);

	invariant(rc == 0);
}
static inline void
index_give(pthread_mutex_t *lock)
{
	int rc = pthread_mutex_unlock(lock);

	invariant(rc == 0);
}

#endif
