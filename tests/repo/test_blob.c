#include "support/unit_json.h"

#include <zstd.h>

#include "support/random_os.h"

#include "repo/blob.h"

#define LARGE_BYTES ((size_t)64 << 20)

struct fixture {
	struct buf vectors;
	struct keyring *keys;
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
	struct blob_codec *v1, *v2; /* compression auto */
	struct sealer *sealer;
};

static struct blob_codec *
codec(struct fixture *f, unsigned version, enum compression compression)
{
	struct blob_codec *c = NULL;

	assert_int_equal(
		blob_codec_open(f->keys, &f->ros.os, version, compression, &c, NULL), E_OK);
	return c;
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct buf json = buf_limit(VECTORS_MAX_BYTES);

	assert_non_null(f);
	f->vectors = buf_limit(VECTORS_MAX_BYTES);
	vectors_read("unit.json", &f->vectors);
	vectors_text(vectors_member(buf_slice(&f->vectors), "keyfile"), "master_json", &json);
	assert_int_equal(keyring_from_json(buf_slice(&json), &f->keys, NULL), E_OK);
	buf_done(&json);
	f->seed = 7;
	f->ros = random_os_make(&f->seed, &f->calls);
	f->v1 = codec(f, 1, COMPRESSION_AUTO);
	f->v2 = codec(f, 2, COMPRESSION_AUTO);
	assert_int_equal(sealer_open(f->keys, &f->ros.os, &f->sealer, NULL), E_OK);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	blob_codec_close(&f->v1);
	blob_codec_close(&f->v2);
	blob_codec_close(&f->v2);
	sealer_close(&f->sealer);
	keyring_close(&f->keys);
	buf_done(&f->vectors);
	free(f);
	return 0;
}

/* ---- contents ---- */

enum content {
	CONTENT_TEXT,
	CONTENT_ZEROS,
	CONTENT_RANDOM
};

static uint8_t *
make(struct fixture *f, enum content what, size_t len)
{
	uint8_t *p = malloc(len + 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++) {
		if (what == CONTENT_TEXT)
			p[i] = (uint8_t) "a line of text, one of many\n"[i % 28];
		else
			p[i] = what == CONTENT_RANDOM ? (uint8_t)random_next(&f->seed) : 0;
	}
	return p;
}

struct shut_case {
	unsigned version;
	enum compression compression;
	enum blob_kind kind;
	enum content content;
	size_t len;
	bool compressed;
};

static const struct shut_case shuts[] = {
	{ 1, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 5000, false },
	{ 1, COMPRESSION_AUTO, BLOB_TREE, CONTENT_TEXT, 5000, false },
	{ 1, COMPRESSION_MAX, BLOB_DATA, CONTENT_ZEROS, 524288, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 0, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 1, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_RANDOM, 20, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 255, true },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 256, true },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 300000, true },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_ZEROS, 524288, true },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_RANDOM, 4096, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_RANDOM, 262144, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_RANDOM, 1048577, false },
	{ 2, COMPRESSION_AUTO, BLOB_DATA, CONTENT_TEXT, 8388608, true },
	{ 2, COMPRESSION_MAX, BLOB_DATA, CONTENT_RANDOM, 300000, false },
	{ 2, COMPRESSION_MAX, BLOB_DATA, CONTENT_TEXT, 300000, true },
	{ 2, COMPRESSION_BETTER, BLOB_DATA, CONTENT_TEXT, 300000, true },
	{ 2, COMPRESSION_FASTEST, BLOB_DATA, CONTENT_TEXT, 300000, true },
	{ 2, COMPRESSION_OFF, BLOB_DATA, CONTENT_TEXT, 300000, false },
	{ 2, COMPRESSION_OFF, BLOB_TREE, CONTENT_TEXT, 300000, true },
	{ 2, COMPRESSION_AUTO, BLOB_TREE, CONTENT_RANDOM, 100, true },
	{ 2, COMPRESSION_AUTO, BLOB_TREE, CONTENT_RANDOM, 300000, true },
	{ 2, COMPRESSION_AUTO, BLOB_TREE, CONTENT_TEXT, 20 << 20, true },
};

static void
check_shut(struct fixture *f, const struct shut_case *how, size_t no)
{
	autoclean(blob_codec_close) struct blob_codec *c = codec(f, how->version, how->compression);
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	uint8_t *plain = make(f, how->content, how->len);
	uint32_t ulen = 12345;
	struct id id;

	blob_id(c, plain, how->len, &id);
	assert_int_equal(buf_add_str(&sealed, "head", NULL), E_OK);
	assert_int_equal(blob_shut(c, how->kind, &id, plain, how->len, &sealed, &ulen, NULL), E_OK);
	assert_memory_equal(sealed.p, "head", 4);
	if (ulen != (how->compressed ? how->len : 0))
		fail_msg("case %zu: recorded length %u", no, ulen);
	if (!how->compressed)
		assert_int_equal(sealed.len, 4 + how->len + SEAL_OVERHEAD);
	assert_int_equal(buf_add_str(&got, "replaced", NULL), E_OK);
	assert_int_equal(blob_open(c, &id, sealed.p + 4, sealed.len - 4, ulen, &got, NULL), E_OK);
	assert_int_equal(got.len, how->len);
	assert_true(how->len == 0 || memcmp(got.p, plain, how->len) == 0);
	free(plain);
}

static void
blobs_round_trip_and_are_compressed_when_it_helps(void **state)
{
	for (size_t i = 0; i < sizeof(shuts) / sizeof(shuts[0]); i++)
		check_shut(*state, &shuts[i], i);
}

static void
names_of_compression_are_restics(void **state)
{
	enum compression c = COMPRESSION_AUTO;

	(void)state;
	assert_true(compression_parse("off", &c) && c == COMPRESSION_OFF);
	assert_true(compression_parse("fastest", &c) && c == COMPRESSION_FASTEST);
	assert_true(compression_parse("better", &c) && c == COMPRESSION_BETTER);
	assert_true(compression_parse("max", &c) && c == COMPRESSION_MAX);
	assert_true(compression_parse("auto", &c) && c == COMPRESSION_AUTO);
	assert_false(compression_parse("Max", &c));
	assert_false(compression_parse("", &c));
	assert_int_equal(c, COMPRESSION_AUTO);
}

static void
the_chunk_of_zeros_has_its_true_name(void **state)
{
	struct fixture *f = *state;
	uint8_t *zeros = make(f, CONTENT_ZEROS, CHUNK_MIN_BYTES);
	struct id quick, true_name, other;

	blob_id(f->v2, zeros, CHUNK_MIN_BYTES, &quick);
	hasher_sum(blob_codec_hasher(f->v2), zeros, CHUNK_MIN_BYTES, &true_name);
	assert_memory_equal(quick.b, true_name.b, sizeof(quick.b));
	blob_id(f->v2, zeros, CHUNK_MIN_BYTES - 1, &other);
	assert_int_not_equal(id_cmp(&other, &quick), 0);
	zeros[CHUNK_MIN_BYTES - 1] = 1;
	blob_id(f->v2, zeros, CHUNK_MIN_BYTES, &other);
	hasher_sum(blob_codec_hasher(f->v2), zeros, CHUNK_MIN_BYTES, &true_name);
	assert_memory_equal(other.b, true_name.b, sizeof(other.b));
	free(zeros);
}

/* One frame, content size stated (also below 256 bytes), no checksum, window within 2^23. */
static void
a_frame_is_modest(void **state)
{
	struct fixture *f = *state;
	const size_t lens[] = { 200, 5000, 8388608, 16 << 20 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
		autoclean(buf_done) struct buf frame = buf_limit(LARGE_BYTES);
		autoclean(blob_codec_close) struct blob_codec *c = codec(f, 2, COMPRESSION_MAX);
		uint8_t *plain = make(f, CONTENT_TEXT, lens[i]);
		uint32_t ulen;
		struct id id;

		blob_id(c, plain, lens[i], &id);
		assert_int_equal(
			blob_shut(c, BLOB_TREE, &id, plain, lens[i], &sealed, &ulen, NULL), E_OK);
		assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &frame, NULL), E_OK);
		assert_int_equal(ZSTD_getFrameContentSize(frame.p, frame.len), lens[i]);
		assert_int_equal(ZSTD_findFrameCompressedSize(frame.p, frame.len), frame.len);
		assert_int_equal(
			frame.p[4] & 0x07, 0); /* RFC 8878, 3.1.1.1: no checksum, no dictionary */
		if ((frame.p[4] & 0x20) == 0)  /* not single-segment: a window descriptor follows */
			assert_true((frame.p[5] >> 3) + 10 <= 23);
		free(plain);
	}
}

/* ---- refusals ---- */

/* A wrong name stands for bad memory: the plaintext is no longer what was hashed. */
static void
what_does_not_verify_is_not_given_out(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf out = buf_limit(LARGE_BYTES);
	uint8_t *plain = make(f, CONTENT_TEXT, 3000);
	struct err e = { 0 };
	uint32_t ulen = 99;
	struct id id;

	blob_id(f->v2, plain, 3000, &id);
	id.b[31] ^= 0x80;
	assert_int_equal(buf_add_str(&out, "kept", &e), E_OK);
	assert_int_equal(
		blob_shut(f->v2, BLOB_DATA, &id, plain, 3000, &out, &ulen, &e), E_BLOB_VERIFY);
	assert_int_equal(
		blob_shut(f->v1, BLOB_DATA, &id, plain, 3000, &out, &ulen, &e), E_BLOB_VERIFY);
	assert_int_equal(e.code, E_BLOB_VERIFY);
	assert_int_equal(
		blob_shut(f->v1, BLOB_DATA, &id, plain, 3000, &out, &ulen, NULL), E_BLOB_VERIFY);
	assert_int_equal(out.len, 4);
	assert_int_equal(ulen, 99);
	free(plain);
}

static void
refused_random_bytes_leave_nothing(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf out = buf_limit(LARGE_BYTES);
	struct err e = { 0 };
	uint32_t ulen;
	struct id id;

	blob_id(f->v2, "abc", 3, &id);
	f->ros.refuse_from = 1;
	assert_int_equal(blob_shut(f->v2, BLOB_DATA, &id, "abc", 3, &out, &ulen, &e), E_RANDOM);
	assert_int_equal(unpacked_shut(f->v2, "{}", 2, &out, &id, &e), E_RANDOM);
	assert_int_equal(record_shut(f->v2, "{}", 2, &out, &e), E_RANDOM);
	assert_int_equal(out.len, 0);
	f->ros.refuse_from = 0;
	assert_int_equal(blob_shut(f->v2, BLOB_DATA, &id, "abc", 3, &out, &ulen, &e), E_OK);
}

static void
wrong_lengths_names_and_bits_are_told_apart(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	uint8_t *plain = make(f, CONTENT_TEXT, 3000);
	struct err e = { 0 };
	struct id id, other;
	uint32_t ulen;

	blob_id(f->v2, plain, 3000, &id);
	assert_int_equal(blob_shut(f->v2, BLOB_DATA, &id, plain, 3000, &sealed, &ulen, &e), E_OK);
	assert_int_equal(ulen, 3000);
	assert_int_equal(
		blob_open(f->v2, &id, sealed.p, sealed.len, 2999, &got, &e), E_BLOB_LENGTH);
	assert_int_equal(
		blob_open(f->v2, &id, sealed.p, sealed.len, 3001, &got, &e), E_BLOB_LENGTH);
	assert_int_equal(
		blob_open(f->v2, &id, sealed.p, sealed.len, UINT32_MAX, &got, &e), E_BLOB_LENGTH);
	assert_int_equal(blob_open(f->v2, &id, sealed.p, sealed.len, 0, &got, &e), E_BLOB_HASH);
	assert_int_equal(got.len, 0);
	other = id;
	other.b[0] ^= 1;
	assert_int_equal(
		blob_open(f->v2, &other, sealed.p, sealed.len, 3000, &got, &e), E_BLOB_HASH);
	assert_int_equal(got.len, 0);
	sealed.p[20] ^= 1;
	assert_int_equal(blob_open(f->v2, &id, sealed.p, sealed.len, 3000, &got, &e), E_SEAL_MAC);
	assert_int_equal(blob_open(f->v2, &id, sealed.p, 31, 3000, &got, &e), E_SEAL_SHORT);
	assert_int_equal(blob_open(f->v2, &id, sealed.p, 0, 3000, &got, &e), E_SEAL_SHORT);
	free(plain);
}

static enum ecode
open_frame(struct fixture *f, struct slice frame, struct slice plain, struct buf *got)
{
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	struct err e = { 0 };
	struct id id;

	blob_id(f->v2, plain.p, plain.len, &id);
	assert_int_equal(seal_shut(f->sealer, frame.p, frame.len, &sealed, &e), E_OK);
	return blob_open(f->v2, &id, sealed.p, sealed.len, (uint32_t)plain.len, got, &e);
}

static size_t
add_frame(uint8_t *to, size_t room, const void *plain, size_t len, bool checksum, bool size)
{
	ZSTD_CCtx *ctx = ZSTD_createCCtx();
	size_t n;

	assert_non_null(ctx);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, checksum)));
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, size)));
	n = ZSTD_compress2(ctx, to, room, plain, len);
	assert_false(ZSTD_isError(n));
	(void)ZSTD_freeCCtx(ctx);
	return n;
}

/* What other writers may do (format document 10.2). */
static void
foreign_frames_are_read(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z' };
	uint8_t frames[8000];
	uint8_t *plain = make(f, CONTENT_TEXT, 4000);
	struct slice want = { plain, 4000 };
	size_t n = 0;

	n += add_frame(frames, sizeof(frames), plain, 1000, true, true);
	memcpy(frames + n, skippable, sizeof(skippable));
	n += sizeof(skippable);
	n += add_frame(frames + n, sizeof(frames) - n, plain + 1000, 3000, false, false);
	assert_int_equal(open_frame(f, (struct slice){ frames, n }, want, &got), E_OK);
	assert_int_equal(got.len, 4000);
	assert_memory_equal(got.p, plain, 4000);
	for (size_t cut = 0; cut < n;
		cut++) /* every truncation, authenticated as it is, is refused */
		assert_int_not_equal(
			open_frame(f, (struct slice){ frames, cut }, want, &got), E_OK);
	frames[0] ^= 1;
	assert_int_equal(open_frame(f, (struct slice){ frames, n }, want, &got), E_BLOB_ZSTD);
	free(plain);
}

static void
the_ceiling_of_the_output_holds(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(2999);
	uint8_t *plain = make(f, CONTENT_TEXT, 3000);
	struct err e = { 0 };
	uint32_t ulen;
	struct id id;

	blob_id(f->v2, plain, 3000, &id);
	assert_int_equal(blob_shut(f->v2, BLOB_DATA, &id, plain, 3000, &sealed, &ulen, &e), E_OK);
	assert_int_equal(blob_open(f->v2, &id, sealed.p, sealed.len, ulen, &got, &e), E_LIMIT);
	assert_int_equal(blob_shut(f->v2, BLOB_DATA, &id, plain, BLOB_PLAIN_MAX_BYTES + 1, &sealed,
				 &ulen, &e),
		E_LIMIT);
	free(plain);
}

/* ---- unpacked records ---- */

static void
the_unpacked_vector_opens(void **state)
{
	struct fixture *f = *state;
	struct slice v = vectors_member(buf_slice(&f->vectors), "unpacked");
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf body = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf json = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);

	vectors_hex(v, "sealed", &sealed);
	vectors_hex(v, "plain_v2", &body);
	vectors_text(v, "json", &json);
	assert_int_equal(unpacked_open(f->v2, NULL, sealed.p, sealed.len, &got, NULL), E_OK);
	assert_int_equal(got.len, json.len);
	assert_memory_equal(got.p, json.p, json.len);
	/* a vault of version 1 never looks for the byte */
	assert_int_equal(unpacked_open(f->v1, NULL, sealed.p, sealed.len, &got, NULL), E_OK);
	assert_int_equal(got.len, body.len);
	assert_memory_equal(got.p, body.p, body.len);
}

static void
unpacked_records_round_trip(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	const size_t lens[] = { 1, 2, 200, 255, 256, 70000, 9 << 20 };
	struct blob_codec *both[] = { f->v1, f->v2 };

	for (size_t i = 0; i < 2 * sizeof(lens) / sizeof(lens[0]); i++) {
		struct blob_codec *c = both[i % 2];
		size_t len = lens[i / 2];
		uint8_t *text = make(f, CONTENT_TEXT, len);
		struct id name, true_name;

		text[0] = '{';
		assert_int_equal(unpacked_shut(c, text, len, &sealed, &name, NULL), E_OK);
		hasher_sum(blob_codec_hasher(c), sealed.p, sealed.len, &true_name);
		assert_memory_equal(name.b, true_name.b, sizeof(name.b));
		assert_int_equal(unpacked_open(c, &name, sealed.p, sealed.len, &got, NULL), E_OK);
		assert_int_equal(got.len, len);
		assert_memory_equal(got.p, text, len);
		name.b[3] ^= 4;
		assert_int_equal(
			unpacked_open(c, &name, sealed.p, sealed.len, &got, NULL), E_OBJECT_HASH);
		assert_int_equal(got.len, 0);
		free(text);
	}
}

static enum ecode
open_body(struct fixture *f, struct blob_codec *c, const void *body, size_t len, struct buf *got)
{
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	struct err e = { 0 };

	assert_int_equal(seal_shut(f->sealer, body, len, &sealed, &e), E_OK);
	return unpacked_open(c, NULL, sealed.p, sealed.len, got, &e);
}

static void
plain_records_are_read_and_unknown_ones_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);

	assert_int_equal(open_body(f, f->v2, "{\"a\":1}", 7, &got), E_OK);
	assert_int_equal(got.len, 7);
	assert_int_equal(open_body(f, f->v2, "[]", 2, &got), E_OK);
	assert_int_equal(open_body(f, f->v2, "", 0, &got), E_OK);
	assert_int_equal(got.len, 0);
	for (unsigned first = 0; first < 256; first++) {
		uint8_t body[2] = { (uint8_t)first, '}' };
		bool known = first == '{' || first == '[' || first == 2;

		if (!known)
			assert_int_equal(open_body(f, f->v2, body, 2, &got), E_UNPACKED_FORMAT);
		assert_int_equal(open_body(f, f->v1, body, 2, &got), E_OK);
	}
	assert_int_equal(open_body(f, f->v2, "\x02not zstd", 9, &got), E_BLOB_ZSTD);
	assert_int_equal(got.len, 0);
}

/* Frames of unknown content size, cut at every length; a ceiling stops what swells. */
static void
frames_of_unknown_length_are_bounded(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf tight = buf_limit(199999);
	uint8_t *plain = make(f, CONTENT_TEXT, 200000);
	uint8_t body[4000];
	size_t n = 1;

	body[0] = 2;
	n += add_frame(body + 1, sizeof(body) - 1, plain, 200000, false, false);
	assert_int_equal(open_body(f, f->v2, body, n, &got), E_OK);
	assert_int_equal(got.len, 200000);
	assert_memory_equal(got.p, plain, 200000);
	assert_int_equal(open_body(f, f->v2, body, n, &tight), E_LIMIT);
	assert_int_equal(tight.len, 0);
	for (size_t cut = 2; cut < n; cut++)
		assert_int_equal(open_body(f, f->v2, body, cut, &got), E_BLOB_ZSTD);
	assert_int_equal(open_body(f, f->v2, body, n, &got), E_OK);
	free(plain);
}

/* A window of 2^27 is allowed (level 22 writes it), 2^28 is not. */
static void
the_window_is_bounded(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	/* 0x02, magic, no flags, window descriptor, last raw block of 2 bytes: "{}" */
	uint8_t body[] = { 2, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0, 0x11, 0x00, 0x00, '{', '}' };

	body[6] = (27 - 10) << 3;
	assert_int_equal(open_body(f, f->v2, body, sizeof(body), &got), E_OK);
	assert_int_equal(got.len, 2);
	body[6] = (28 - 10) << 3;
	assert_int_equal(open_body(f, f->v2, body, sizeof(body), &got), E_BLOB_ZSTD);
}

/* libzstd's decoders for what zstd 0.5 to 0.7 wrote are not reached: restic reads no such frames, and they are old. */
static void
frames_of_old_versions_are_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	/* zstd 0.7: magic, one byte of content, a block that is repeated, the end */
	uint8_t frame[] = { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x40, 0x00, 0x01, 'u', 0xc0, 0, 0 };
	uint8_t body[] = { 2, 0x27, 0xb5, 0x2f, 0xfd, 0x00, 0, 0x11, 0x00, 0x00, '{', '}' };
	struct slice want = { (const uint8_t *)"u", 1 };

	for (uint8_t magic = 0x22; magic < 0x28; magic++) {
		frame[0] = magic;
		body[1] = magic;
		assert_int_equal(open_frame(f, (struct slice){ frame, sizeof(frame) }, want, &got),
			E_BLOB_ZSTD);
		assert_int_equal(open_body(f, f->v2, body, sizeof(body), &got), E_BLOB_ZSTD);
	}
}

/* A block of four bytes gives at most 128 KiB: what claims more is refused before memory is taken for it. */
static void
a_length_that_no_frame_can_hold_is_refused_at_once(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(BLOB_PLAIN_MAX_BYTES);
	uint8_t *zeros = calloc(1, CHUNK_MAX_BYTES);
	struct id id;
	uint32_t ulen;

	assert_non_null(zeros);
	blob_id(f->v2, zeros, CHUNK_MAX_BYTES, &id); /* the most that an honest one grows */
	assert_int_equal(
		blob_shut(f->v2, BLOB_DATA, &id, zeros, CHUNK_MAX_BYTES, &sealed, &ulen, NULL),
		E_OK);
	assert_int_equal(blob_open(f->v2, &id, sealed.p, sealed.len, ulen, &got, NULL), E_OK);
	assert_int_equal(got.len, CHUNK_MAX_BYTES);
	free(zeros);
	buf_done(&got);
	assert_int_equal(
		blob_open(f->v2, &id, sealed.p, sealed.len, BLOB_PLAIN_MAX_BYTES, &got, NULL),
		E_BLOB_LENGTH);
	assert_int_equal(got.cap, 0);
}

#define SWOLLEN_BYTES ((size_t)65 << 20)

/* Real ids do not shrink: a large record is a large object.  One that grew 64-fold beyond 64 MiB is none. */
static void
records_may_be_large_but_not_swell(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(2 * SWOLLEN_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(UNPACKED_MAX_BYTES);
	uint8_t *text = make(f, CONTENT_RANDOM, SWOLLEN_BYTES), body[100000];
	struct id name;
	size_t n;

	text[0] = '{';
	assert_int_equal(unpacked_shut(f->v2, text, SWOLLEN_BYTES, &sealed, &name, NULL), E_OK);
	assert_int_equal(unpacked_open(f->v2, &name, sealed.p, sealed.len, &got, NULL), E_OK);
	assert_int_equal(got.len, SWOLLEN_BYTES);
	assert_int_equal(got.limit, UNPACKED_MAX_BYTES);
	memset(text, ' ', SWOLLEN_BYTES);
	body[0] = 2;
	for (unsigned sized = 0; sized < 2; sized++) {
		n = add_frame(body + 1, sizeof(body) - 1, text, SWOLLEN_BYTES, false, sized != 0);
		assert_int_equal(open_body(f, f->v2, body, n + 1, &got), E_LIMIT);
		assert_int_equal(got.limit, UNPACKED_MAX_BYTES);
		n = add_frame(body + 1, sizeof(body) - 1, text, SWOLLEN_BYTES - (2 << 20), false,
			sized != 0);
		assert_int_equal(open_body(f, f->v2, body, n + 1, &got), E_OK);
	}
	free(text);
}

static void
config_records_are_never_compressed(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	uint8_t *text = make(f, CONTENT_TEXT, 900);

	assert_int_equal(record_shut(f->v2, text, 900, &sealed, NULL), E_OK);
	assert_int_equal(sealed.len, 900 + SEAL_OVERHEAD);
	assert_int_equal(record_open(f->v2, sealed.p, sealed.len, &got, NULL), E_OK);
	assert_int_equal(got.len, 900);
	assert_memory_equal(got.p, text, 900);
	free(text);
}

/* The sizes of blobs vary; scratch memory of one must not leak into the next. */
static void
a_codec_is_reusable_in_any_order(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(LARGE_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(LARGE_BYTES);
	struct id id;

	print_message("# seed %llu\n", (unsigned long long)f->seed);
	for (int i = 0; i < 200; i++) {
		size_t len = random_next(&f->seed) % 60000;
		uint8_t *plain = make(f, i % 3 == 0 ? CONTENT_RANDOM : CONTENT_TEXT, len);
		uint32_t ulen;

		buf_clear(&sealed);
		blob_id(f->v2, plain, len, &id);
		assert_int_equal(blob_shut(f->v2, i % 2 == 0 ? BLOB_DATA : BLOB_TREE, &id, plain,
					 len, &sealed, &ulen, NULL),
			E_OK);
		assert_int_equal(
			blob_open(f->v2, &id, sealed.p, sealed.len, ulen, &got, NULL), E_OK);
		assert_int_equal(got.len, len);
		assert_true(len == 0 || memcmp(got.p, plain, len) == 0);
		free(plain);
	}
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(blobs_round_trip_and_are_compressed_when_it_helps),
		cmocka_unit_test(names_of_compression_are_restics),
		RUN(the_chunk_of_zeros_has_its_true_name),
		RUN(a_frame_is_modest),
		RUN(what_does_not_verify_is_not_given_out),
		RUN(refused_random_bytes_leave_nothing),
		RUN(wrong_lengths_names_and_bits_are_told_apart),
		RUN(foreign_frames_are_read),
		RUN(the_ceiling_of_the_output_holds),
		RUN(the_unpacked_vector_opens),
		RUN(unpacked_records_round_trip),
		RUN(plain_records_are_read_and_unknown_ones_refused),
		RUN(frames_of_unknown_length_are_bounded),
		RUN(the_window_is_bounded),
		RUN(frames_of_old_versions_are_refused),
		RUN(a_length_that_no_frame_can_hold_is_refused_at_once),
		RUN(records_may_be_large_but_not_swell),
		RUN(config_records_are_never_compressed),
		RUN(a_codec_is_reusable_in_any_order),
	};

	return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
