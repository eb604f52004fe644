/*
 * The index in memory: which blob lies where (format document 5).  The union
 * of all index files, plus what this run adds.  At most 56 bytes per blob.
 * Threads: index_load and index_close from one thread; everything else from any.
 */
#ifndef HF_REPO_INDEX_H
#define HF_REPO_INDEX_H

#include "base/flow.h"
#include "repo/pack.h"
#include "repo/vault.h"

struct index;
struct blob_loc {
	struct id pack;
	uint32_t pack_no; /* dense number of the pack in this index, for sorting and arrays */
	uint32_t offset, length, ulen;
};

enum ecode index_open(struct index **out, struct err *e) must_check; /* empty */
void index_close(struct index **ix);

struct index_flaws {       /* for check; nothing here stops a load */
	size_t unreadable; /* files; index_load refuses with E_INDEX_FORMAT unless told to go on */
	size_t duplicate_packs; /* identical listing in several files */
	size_t conflicting_packs;
	size_t mixed_packs;
};
/*
 * Load every index file, decrypting and parsing in parallel on `flow` (its
 * workers have the codecs `codecs[worker]`).  An unreadable file refuses:
 * E_INDEX_FORMAT, unless `flaws` is given, then it is counted and
 * each_flaw (may be NULL) is told the file and the refusal.
 */
enum ecode index_load(struct index *ix, struct vault *v, struct flow *flow,
	struct blob_codec *const codecs[], struct index_flaws *flaws,
	void (*each_flaw)(void *arg, const struct id *file, const struct err *why), void *arg,
	struct err *e) must_check;
/* Parse one index text into ix (for the fuzzer and tests).  version 1 refuses uncompressed_length. */
enum ecode index_parse(
	struct index *ix, const void *json, size_t len, unsigned version, struct err *e) must_check;

bool index_has(struct index *ix, enum blob_kind kind, const struct id *id);
/* The first location; false when unknown. */
bool index_find(struct index *ix, enum blob_kind kind, const struct id *id,
	struct blob_loc *out) must_check;
/* All locations, at most max; how many there are. */
size_t index_find_all(struct index *ix, enum blob_kind kind, const struct id *id,
	struct blob_loc *out, size_t max);
/* Plaintext length from the index alone; false when unknown. */
bool index_size(
	struct index *ix, enum blob_kind kind, const struct id *id, uint32_t *plain_len) must_check;

/*
 * Reserve the right to store a blob: true for exactly one caller per unknown
 * blob, also when several ask at once.  index_has() is true for others from then on.
 */
enum ecode index_claim(struct index *ix, enum blob_kind kind, const struct id *id, bool *mine,
	struct err *e) must_check;
/* A pack of this run is durable: enter its blobs (claimed ones become located). */
enum ecode index_add_pack(struct index *ix, const struct id *pack, const struct pack_list *blobs,
	struct err *e) must_check;

size_t index_blob_count(struct index *ix);
size_t index_pack_count(struct index *ix);
void index_pack_id(struct index *ix, uint32_t pack_no, struct id *out);
/* Size of a pack computed from its entries (4). */
uint64_t index_pack_size(struct index *ix, uint32_t pack_no);
/* Entries of one pack, sorted by offset, appended to out.  Linear in all blobs for the first call, which sorts; then in the pack. */
enum ecode index_pack_blobs(
	struct index *ix, uint32_t pack_no, struct pack_list *out, struct err *e) must_check;
/* Bytes held, for the figures. */
size_t index_memory_bytes(struct index *ix);

/* Writing index files: the text for some packs (ends in a newline). */
struct index_pack {
	struct id id;
	struct pack_list blobs;
};
enum ecode index_write(
	const struct index_pack *packs, size_t n, struct buf *out, struct err *e) must_check;

#endif
