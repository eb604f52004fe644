/*
 * Internal to index*.c: one index file as parsed (a listing), and its way into
 * the index.  A listing belongs to one thread.
 */
#ifndef HF_REPO_INDEX_INTERNAL_H
#define HF_REPO_INDEX_INTERNAL_H

#include "repo/index.h"

/* 48 bytes.  pack_kind: pack number << 1 | kind; in a listing the number counts its own packs. */
struct index_entry {
	struct id id;
	uint32_t pack_kind;
	uint32_t offset, length, ulen;
};
static inline uint32_t
entry_pack(const struct index_entry *t)
{
	return t->pack_kind >> 1;
}
static inline enum blob_kind
entry_kind(const struct index_entry *t)
{
	return (t->pack_kind & 1) != 0 ? BLOB_TREE : BLOB_DATA;
}
static inline uint32_t
entry_pack_kind(uint32_t pack_no, enum blob_kind kind)
{
	return pack_no << 1 | (kind == BLOB_TREE ? 1 : 0);
}
/* Pack numbers stay below this; it marks a claimed blob that lies nowhere yet. */
#define PACK_PENDING UINT32_C(0x7fffffff)

struct listing_pack {
	struct id id;
	size_t first, n; /* its blobs in listing.v, ascending by offset */
	uint32_t no;     /* in the index */
	uint32_t fresh_blobs;
	uint64_t fresh_bytes; /* with their header entries */
	unsigned kinds;       /* bit per enum blob_kind */
};
struct listing {
	struct index_entry *v;
	struct listing_pack *packs;
	uint32_t *order; /* scratch of index_enter */
	size_t n, cap, pack_n, pack_cap, order_cap;
};
/* A zeroed listing is empty and ready.  clear keeps the memory. */
void listing_done(struct listing *l);
void listing_clear(struct listing *l);
/* Begin a pack, then add its blobs, then end it (sorted and judged).  E_INDEX_FORMAT, E_NOMEM, E_LIMIT */
enum ecode listing_begin_pack(struct listing *l, struct err *e) must_check;
enum ecode listing_add(struct listing *l, const struct index_entry *blob, struct err *e) must_check;
enum ecode listing_end_pack(struct listing *l, const struct id *id, struct err *e) must_check;
/* Replace l by an index text. */
enum ecode listing_parse(struct listing *l, const void *json, size_t len, unsigned version,
	struct err *e) must_check;

/* Enter everything; a refusal may leave a part of it.  flaws (may be NULL): packs only, counted under a lock. */
enum ecode index_enter(
	struct index *ix, struct listing *l, struct index_flaws *flaws, struct err *e) must_check;
/* Slots for so many, at once: growing step by step would place each blob about four times. */
enum ecode index_expect(struct index *ix, uint64_t blobs, struct err *e) must_check;
size_t index_mixed_packs(struct index *ix);

#endif
