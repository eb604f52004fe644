#include "repo/blob.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/wire.h"
#include "repo/frame.h"

/*
 * The only door to libzstd, with frame.c, which reads.  Contexts and scratch memory are a codec's own and
 * reused: a new compression context costs more than compressing a small blob.
 * What is sealed is opened, decompressed and hashed before anybody may store
 * it: bad memory and a wrong encoder are found here, not at the restore.
 */

/* libzstd's levels for restic's words (format document 10.1) */
#define LEVEL_FASTEST    1
#define LEVEL_AUTO       3
#define LEVEL_BETTER     7
#define LEVEL_MAX        11
/* Largest window we write (format document 10.2) */
#define WINDOW_LOG_WRITE 23

/* A blob of at least this many bytes is sampled before it is compressed. */
#define SAMPLE_FROM_BYTES  ((size_t)256 << 10)
#define SAMPLE_SLICE_BYTES ((size_t)16 << 10)
#define SAMPLE_SLICES      4
#define SAMPLE_BYTES       (SAMPLE_SLICES * SAMPLE_SLICE_BYTES)
/* The sample must shrink by more than 1/64 for the whole to be worth compressing. */
#define SAMPLE_GAIN_BYTES  (SAMPLE_BYTES / 64)

/* bytes; scratch memory above this is given back: such chunks are rare, giant trees rarer */
#define SCRATCH_KEEP_BYTES ((size_t)4 << 20)
/* first byte of an unpacked record that is compressed (format document 3) */
#define UNPACKED_ZSTD      0x02

/* SHA-256 of CHUNK_MIN_BYTES zeros: the chunk that holes and empty disks are made of */
static const struct id zero_chunk = { {
	0x07,
	0x85,
	0x4d,
	0x2f,
	0xef,
	0x29,
	0x7a,
	0x06,
	0xba,
	0x81,
	0x68,
	0x5e,
	0x66,
	0x0c,
	0x33,
	0x2d,
	0xe3,
	0x6d,
	0x5d,
	0x18,
	0xd5,
	0x46,
	0x92,
	0x7d,
	0x30,
	0xda,
	0xad,
	0x6d,
	0x7f,
	0xda,
	0x15,
	0x41,
} };

struct blob_codec {
	unsigned version;
	enum compression compression;
	struct hasher *hasher;
	struct sealer *sealer;
	ZSTD_CCtx *encoder; /* at the level asked for */
	ZSTD_CCtx *sampler; /* at the fastest */
	ZSTD_DCtx *decoder;
	struct buf frame; /* a compressed blob, or what an unsealed record holds */
	struct buf check; /* what was sealed, opened again */
	uint8_t sample[SAMPLE_BYTES];
	uint8_t sample_out[ZSTD_COMPRESSBOUND(SAMPLE_BYTES)];
};

bool
compression_parse(const char *text, enum compression *out)
{
	static const struct {
		const char *name;
		enum compression value;
	} names[] = {
		{ "auto", COMPRESSION_AUTO },
		{ "off", COMPRESSION_OFF },
		{ "fastest", COMPRESSION_FASTEST },
		{ "better", COMPRESSION_BETTER },
		{ "max", COMPRESSION_MAX },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*out = names[i].value;
			return true;
		}
	}
	return false;
}

static int
level_of(enum compression compression)
{
	switch (compression) {
	case COMPRESSION_FASTEST:
		return LEVEL_FASTEST;
	case COMPRESSION_BETTER:
		return LEVEL_BETTER;
	case COMPRESSION_MAX:
		return LEVEL_MAX;
	case COMPRESSION_AUTO:
	case COMPRESSION_OFF: /* trees and records are compressed even then */
		return LEVEL_AUTO;
	}
	return LEVEL_AUTO; /* not reached */
}

static ZSTD_CCtx *
encoder_open(int level)
{
	ZSTD_CCtx *ctx = ZSTD_createCCtx();

	if (ctx == NULL)
		return NULL;
	if (!ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, level)) &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 1)) &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, 0)))
		return ctx;
	(void)ZSTD_freeCCtx(ctx);
	return NULL;
}

void
blob_codec_close(struct blob_codec **codec)
{
	struct blob_codec *c = *codec;

	if (c == NULL)
		return;
	(void)ZSTD_freeCCtx(c->encoder); /* these three free NULL calmly and cannot fail */
	(void)ZSTD_freeCCtx(c->sampler);
	(void)ZSTD_freeDCtx(c->decoder);
	sealer_close(&c->sealer);
	hasher_close(&c->hasher);
	buf_done(&c->frame);
	buf_done(&c->check);
	free(c);
	*codec = NULL;
}

static enum ecode
set_up(struct blob_codec *c, const struct keyring *keys, const struct os *os, struct err *e)
{
	enum ecode rc;

	c->frame = buf_limit(ZSTD_COMPRESSBOUND(UNPACKED_MAX_BYTES) + 1);
	c->check = buf_limit(ZSTD_COMPRESSBOUND(UNPACKED_MAX_BYTES) + 1);
	c->encoder = encoder_open(level_of(c->compression));
	c->sampler = encoder_open(LEVEL_FASTEST);
	c->decoder = frame_decoder_open();
	if (c->encoder == NULL || c->sampler == NULL || c->decoder == NULL)
		return err_set(e, E_NOMEM, 0, "memory for compression");
	rc = hasher_open(&c->hasher, e);
	return rc == E_OK ? sealer_open(keys, os, &c->sealer, e) : rc;
}

enum ecode
blob_codec_open(const struct keyring *keys, const struct os *os, unsigned version,
	enum compression compression, struct blob_codec **out, struct err *e)
{
	struct blob_codec *c = calloc(1, sizeof(*c));
	enum ecode rc;

	_Static_assert(WINDOW_LOG_WRITE >= 22, "level 11 uses windows of up to 2^22 bytes");
	if (c == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a codec");
	c->version = version;
	c->compression = compression;
	rc = set_up(c, keys, os, e);
	if (rc == E_OK)
		*out = c;
	else
		blob_codec_close(&c);
	return rc;
}

struct hasher *
blob_codec_hasher(struct blob_codec *c)
{
	return c->hasher;
}

struct sealer *
blob_codec_sealer(struct blob_codec *c)
{
	return c->sealer;
}

static void
trim(struct buf *b)
{
	if (b->cap > SCRATCH_KEEP_BYTES)
		buf_done(b);
}

static bool
all_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

void
blob_id(struct blob_codec *c, const void *plain, size_t len, struct id *out)
{
	if (len == CHUNK_MIN_BYTES && all_zero(plain, len))
		*out = zero_chunk;
	else
		hasher_sum(c->hasher, plain, len, out);
}

/* ---- compressing ---- */

/* Append one frame with its content size to out. */
static enum ecode
compress(struct blob_codec *c, const void *plain, size_t len, struct buf *out, struct err *e)
{
	size_t room = ZSTD_compressBound(len);
	enum ecode rc = buf_reserve(out, room, e);

	if (rc != E_OK)
		return rc;
	room = ZSTD_compress2(c->encoder, out->p + out->len, room, plain, len);
	if (ZSTD_isError(room)) /* the room was enough: only memory can be short */
		return err_set(
			e, E_NOMEM, 0, "compressing %zu bytes: %s", len, ZSTD_getErrorName(room));
	out->len += room;
	return E_OK;
}

/*
 * Photos, films and archives do not shrink.  Four slices compressed quickly
 * tell that for a twentieth of the price.  What this can miss is content that
 * repeats itself far apart only, which the chunker finds anyway.
 */
static bool
looks_incompressible(struct blob_codec *c, const uint8_t *plain, size_t len)
{
	size_t step = (len - SAMPLE_SLICE_BYTES) / (SAMPLE_SLICES - 1), n;

	for (size_t i = 0; i < SAMPLE_SLICES; i++)
		memcpy(c->sample + i * SAMPLE_SLICE_BYTES, plain + i * step, SAMPLE_SLICE_BYTES);
	n = ZSTD_compress2(
		c->sampler, c->sample_out, sizeof(c->sample_out), c->sample, SAMPLE_BYTES);
	return !ZSTD_isError(n) && n > SAMPLE_BYTES - SAMPLE_GAIN_BYTES;
}

static bool
worth_trying(struct blob_codec *c, enum blob_kind kind, const void *plain, size_t len)
{
	if (c->version < 2 || len == 0) /* a compressed entry may not state the length 0 */
		return false;
	if (kind == BLOB_TREE)
		return true;
	if (c->compression == COMPRESSION_OFF)
		return false;
	if (len < SAMPLE_FROM_BYTES || c->compression == COMPRESSION_MAX)
		return true;
	return !looks_incompressible(c, plain, len);
}

/* ---- blobs ---- */

static enum ecode
check_hash(struct blob_codec *c, const struct id *id, const struct buf *plain, struct err *e)
{
	char want[ID_HEX_SIZE];
	struct id got;

	blob_id(c, plain->p, plain->len, &got);
	if (id_cmp(&got, id) == 0)
		return E_OK;
	id_hex(id, want);
	return err_set(e, E_BLOB_HASH, 0, "blob %s, %zu bytes", want, plain->len);
}

static enum ecode
open_into(struct blob_codec *c, struct slice sealed, uint32_t ulen, struct buf *out, struct err *e)
{
	enum ecode rc;

	buf_clear(out);
	if (ulen == 0)
		return seal_open(c->sealer, sealed.p, sealed.len, out, e);
	if (ulen > BLOB_PLAIN_MAX_BYTES)
		return err_set(e, E_BLOB_LENGTH, 0, "a recorded length of %" PRIu32 " bytes", ulen);
	buf_clear(&c->frame);
	rc = seal_open(c->sealer, sealed.p, sealed.len, &c->frame, e);
	if (rc == E_OK)
		rc = frame_open(c->decoder, buf_slice(&c->frame), ulen, out, e);
	trim(&c->frame);
	return rc;
}

enum ecode
blob_open(struct blob_codec *c, const struct id *id, const void *sealed, size_t len, uint32_t ulen,
	struct buf *out, struct err *e)
{
	enum ecode rc = open_into(c, (struct slice){ sealed, len }, ulen, out, e);

	if (rc == E_OK)
		rc = check_hash(c, id, out, e);
	if (rc != E_OK)
		buf_clear(out); /* nothing unverified leaves here */
	return rc;
}

/* A failed check of our own fresh work: memory or processor, not the vault. */
static enum ecode
verify_refusal(enum ecode rc, struct err *e)
{
	struct err why = { .code = rc };

	if (rc == E_OK || rc == E_NOMEM || rc == E_LIMIT)
		return rc;
	if (e != NULL)
		why = *e;
	return err_set(
		e, E_BLOB_VERIFY, 0, "%s: %s", err_row(rc)->what, e != NULL ? why.detail : "");
}

static enum ecode
verify_blob(struct blob_codec *c, const struct id *id, struct slice sealed, uint32_t ulen,
	struct err *e)
{
	enum ecode rc =
		verify_refusal(blob_open(c, id, sealed.p, sealed.len, ulen, &c->check, e), e);

	trim(&c->check);
	return rc;
}

enum ecode
blob_shut(struct blob_codec *c, enum blob_kind kind, const struct id *id, const void *plain,
	size_t len, struct buf *out, uint32_t *ulen, struct err *e)
{
	struct slice body = { plain, len };
	size_t before = out->len;
	uint32_t recorded = 0;
	enum ecode rc = E_OK;

	if (len > BLOB_PLAIN_MAX_BYTES)
		return err_set(e, E_LIMIT, 0, "a blob of %zu bytes", len);
	if (worth_trying(c, kind, plain, len)) {
		buf_clear(&c->frame);
		rc = compress(c, plain, len, &c->frame, e);
		if (rc == E_OK && (c->frame.len < len || kind == BLOB_TREE)) {
			body = buf_slice(&c->frame);
			recorded = (uint32_t)len;
		}
	}
	if (rc == E_OK)
		rc = seal_shut(c->sealer, body.p, body.len, out, e);
	if (rc == E_OK) /* from here on c->frame is used again */
		rc = verify_blob(
			c, id, (struct slice){ out->p + before, out->len - before }, recorded, e);
	if (rc != E_OK)
		out->len = before;
	else
		*ulen = recorded;
	trim(&c->frame);
	return rc;
}

/* ---- records ---- */

enum ecode
record_open(struct blob_codec *c, const void *sealed, size_t len, struct buf *out, struct err *e)
{
	buf_clear(out);
	return seal_open(c->sealer, sealed, len, out, e);
}

/* What opens again must be what was given. */
static enum ecode
verify_text(const struct buf *got, struct slice text, enum ecode rc, struct err *e)
{
	if (rc == E_OK &&
		(got->len != text.len || (text.len > 0 && memcmp(got->p, text.p, text.len) != 0)))
		rc = err_set(e, E_BLOB_HASH, 0, "a record of %zu bytes", text.len);
	return verify_refusal(rc, e);
}

enum ecode
record_shut(struct blob_codec *c, const void *plain, size_t len, struct buf *out, struct err *e)
{
	enum ecode rc;

	buf_clear(out);
	rc = seal_shut(c->sealer, plain, len, out, e);
	if (rc == E_OK)
		rc = verify_text(&c->check, (struct slice){ plain, len },
			record_open(c, out->p, out->len, &c->check, e), e);
	if (rc != E_OK)
		buf_clear(out);
	trim(&c->check);
	return rc;
}

static enum ecode
unpack_body(struct blob_codec *c, struct slice body, struct buf *out, struct err *e)
{
	if (c->version >= 2 && body.len > 0 && body.p[0] == UNPACKED_ZSTD)
		return frame_open_text(
			c->decoder, (struct slice){ body.p + 1, body.len - 1 }, out, e);
	if (c->version >= 2 && body.len > 0 && body.p[0] != '{' && body.p[0] != '[')
		return err_set(e, E_UNPACKED_FORMAT, 0, "a record that begins with byte 0x%02x",
			body.p[0]);
	buf_clear(out);
	return buf_add(out, body.p, body.len, e);
}

static enum ecode
check_name(struct blob_codec *c, const struct id *name, struct slice sealed, struct err *e)
{
	char want[ID_HEX_SIZE];
	struct id got;

	if (name == NULL)
		return E_OK;
	hasher_sum(c->hasher, sealed.p, sealed.len, &got);
	if (id_cmp(&got, name) == 0)
		return E_OK;
	id_hex(name, want);
	return err_set(e, E_OBJECT_HASH, 0, "object %s, %zu bytes", want, sealed.len);
}

enum ecode
unpacked_open(struct blob_codec *c, const struct id *name, const void *sealed, size_t len,
	struct buf *out, struct err *e)
{
	enum ecode rc = check_name(c, name, (struct slice){ sealed, len }, e);

	buf_clear(out);
	buf_clear(&c->frame);
	if (rc == E_OK)
		rc = seal_open(c->sealer, sealed, len, &c->frame, e);
	if (rc == E_OK)
		rc = unpack_body(c, buf_slice(&c->frame), out, e);
	if (rc != E_OK)
		buf_clear(out);
	trim(&c->frame);
	return rc;
}

enum ecode
unpacked_shut(struct blob_codec *c, const void *json, size_t len, struct buf *out, struct id *name,
	struct err *e)
{
	struct slice body = { json, len };
	enum ecode rc = E_OK;

	buf_clear(out);
	buf_clear(&c->frame);
	if (len > UNPACKED_MAX_BYTES)
		return err_set(e, E_LIMIT, 0, "a record of %zu bytes", len);
	if (c->version >= 2) {
		rc = buf_add_byte(&c->frame, UNPACKED_ZSTD, e);
		if (rc == E_OK)
			rc = compress(c, json, len, &c->frame, e);
		body = buf_slice(&c->frame);
	}
	if (rc == E_OK)
		rc = seal_shut(c->sealer, body.p, body.len, out, e);
	if (rc == E_OK)
		rc = verify_text(&c->check, (struct slice){ json, len },
			unpacked_open(c, NULL, out->p, out->len, &c->check, e), e);
	if (rc == E_OK)
		hasher_sum(c->hasher, out->p, out->len, name);
	else
		buf_clear(out);
	trim(&c->frame);
	trim(&c->check);
	return rc;
}
