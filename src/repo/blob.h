/*
 * From plaintext to a sealed blob and back (format document 4, 10), and the
 * unpacked records (3).  A codec holds one thread's contexts: hash, seal, zstd.
 */
#ifndef HF_REPO_BLOB_H
#define HF_REPO_BLOB_H

#include "crypto/hash.h"
#include "crypto/seal.h"
#include "repo/format.h"

enum compression {
	COMPRESSION_AUTO,
	COMPRESSION_OFF,
	COMPRESSION_FASTEST,
	COMPRESSION_BETTER,
	COMPRESSION_MAX
};
bool compression_parse(const char *text,
	enum compression *out) must_check; /* "auto" "off" "fastest" "better" "max" */

struct blob_codec;
/* version: of the repository, 1 or 2.  The keyring and the table outlive the codec. */
enum ecode blob_codec_open(const struct keyring *keys, const struct os *os, unsigned version,
	enum compression compression, struct blob_codec **out, struct err *e) must_check;
void blob_codec_close(struct blob_codec **c);

/* The blob's name: SHA-256 of the plaintext.  (524,288 zero bytes are recognised.) */
void blob_id(struct blob_codec *c, const void *plain, size_t len, struct id *out);

/*
 * Append the sealed blob to out.  *ulen is the plaintext length when it was
 * compressed, 0 when it is stored plain (a frame that is not smaller is thrown
 * away; a large incompressible blob is recognised from a sample; trees in v2
 * are always compressed).  Every sealed blob is opened, decompressed and hashed
 * again before this returns: E_BLOB_VERIFY.  On refusal out->len is unchanged.
 */
enum ecode blob_shut(struct blob_codec *c, enum blob_kind kind, const struct id *id,
	const void *plain, size_t len, struct buf *out, uint32_t *ulen, struct err *e) must_check;
/*
 * Replace `out` by the plaintext.  ulen 0: stored plain.  Verified: tag, exact
 * length, hash.  refuses: E_SEAL_*, E_BLOB_ZSTD, E_BLOB_LENGTH, E_BLOB_HASH
 */
enum ecode blob_open(struct blob_codec *c, const struct id *id, const void *sealed, size_t len,
	uint32_t ulen, struct buf *out, struct err *e) must_check;

/*
 * Index, snapshot, lock: replace `out` by the sealed record of a JSON text, verified after sealing (E_BLOB_VERIFY);
 * *name = hash of the sealed bytes.  All four of these replace `out`; after a refusal it is empty.
 */
enum ecode unpacked_shut(struct blob_codec *c, const void *json, size_t len, struct buf *out,
	struct id *name, struct err *e) must_check;
/* `sealed` is checked against `name` first (NULL: not checked).  E_OBJECT_HASH, E_SEAL_*, E_UNPACKED_FORMAT, E_BLOB_ZSTD */
enum ecode unpacked_open(struct blob_codec *c, const struct id *name, const void *sealed,
	size_t len, struct buf *out, struct err *e) must_check;
/* For config: sealed, never compressed. */
enum ecode record_shut(struct blob_codec *c, const void *plain, size_t len, struct buf *out,
	struct err *e) must_check;
enum ecode record_open(struct blob_codec *c, const void *sealed, size_t len, struct buf *out,
	struct err *e) must_check;
/* The codec's own contexts, for pack headers and pack names. */
struct hasher *blob_codec_hasher(struct blob_codec *c);
struct sealer *blob_codec_sealer(struct blob_codec *c);

#endif
