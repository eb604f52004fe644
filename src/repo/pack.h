/* Pack headers (format document 4): what lies where in a pack. Pure: bytes in, entries out. */
#ifndef HF_REPO_PACK_H
#define HF_REPO_PACK_H

#include "repo/blob.h"

struct pack_entry {
	struct id id;
	uint32_t offset; /* bytes from the pack's start */
	uint32_t length; /* sealed bytes */
	uint32_t ulen;   /* plaintext bytes; 0 when stored plain */
	enum blob_kind kind;
};
struct pack_list {
	struct pack_entry *v;
	size_t n, cap;
};
void pack_list_done(struct pack_list *l);
enum ecode pack_list_add(
	struct pack_list *l, const struct pack_entry *entry, struct err *e) must_check;

/* Append the plain header for the entries (their offsets are implied). */
enum ecode pack_header_write(const struct pack_list *l, struct buf *out, struct err *e) must_check;
/* Parse a plain header; offsets are the running sum.  version 1 refuses compressed entries.  E_PACK_FORMAT */
enum ecode pack_header_parse(const void *plain, size_t len, unsigned version, struct pack_list *out,
	struct err *e) must_check;
/* The size a pack with these entries must have: blobs + sealed header + length. */
uint64_t pack_size(const struct pack_list *l);
/* Append sealed header and its length to a pack body, and verify by parsing it back.  E_BLOB_VERIFY */
enum ecode pack_finish(struct blob_codec *c, const struct pack_list *l, unsigned version,
	struct buf *body, struct err *e) must_check;
/*
 * The header of a whole pack in memory, or of its tail: `tail` are the last len
 * bytes of a pack of size pack_bytes.  *need > len asks for a longer tail.
 * refuses: E_PACK_FORMAT, E_SEAL_*
 */
enum ecode pack_tail_parse(struct blob_codec *c, const void *tail, size_t len, uint64_t pack_bytes,
	unsigned version, struct pack_list *out, size_t *need, struct err *e) must_check;
#define PACK_TAIL_FIRST_BYTES 651 /* 15 entries of 41, 36 of frame (format document 4) */

#endif
