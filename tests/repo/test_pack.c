#include "support/unit_json.h"

#include "support/random_os.h"

#include "repo/pack.h"

#define PACK_TEST_BYTES ((size_t)64 << 20)

struct fixture {
	struct buf vectors, file, header; /* the pack of unit.json */
	struct keyring *keys;
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
	struct blob_codec *codec;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct buf json = buf_limit(VECTORS_MAX_BYTES);
	struct slice pack;

	assert_non_null(f);
	f->vectors = f->file = f->header = buf_limit(VECTORS_MAX_BYTES);
	vectors_read("unit.json", &f->vectors);
	vectors_text(vectors_member(buf_slice(&f->vectors), "keyfile"), "master_json", &json);
	assert_int_equal(keyring_from_json(buf_slice(&json), &f->keys, NULL), E_OK);
	buf_done(&json);
	pack = vectors_member(buf_slice(&f->vectors), "pack");
	vectors_hex(pack, "file", &f->file);
	vectors_hex(pack, "header_plain", &f->header);
	f->seed = 99;
	f->ros = random_os_make(&f->seed, &f->calls);
	assert_int_equal(
		blob_codec_open(f->keys, &f->ros.os, 2, COMPRESSION_AUTO, &f->codec, NULL), E_OK);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	blob_codec_close(&f->codec);
	keyring_close(&f->keys);
	buf_done(&f->vectors);
	buf_done(&f->file);
	buf_done(&f->header);
	free(f);
	return 0;
}

static void
the_pack_of_the_vectors_is_read(void **state)
{
	struct fixture *f = *state;
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	autoclean(buf_done) struct buf want = buf_limit(PACK_TEST_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(PACK_TEST_BYTES);
	struct slice pack = vectors_member(buf_slice(&f->vectors), "pack");
	struct slice entries = vectors_member(pack, "entries"), one;
	struct json j;
	size_t need = 0, i = 0;
	struct id name;

	hasher_sum(blob_codec_hasher(f->codec), f->file.p, f->file.len, &name);
	vectors_hex(pack, "name", &want);
	assert_memory_equal(want.p, name.b, sizeof(name.b));
	assert_int_equal(pack_tail_parse(f->codec, f->file.p, f->file.len, f->file.len, 2, &list,
				 &need, NULL),
		E_OK);
	assert_int_equal(list.n, 2);
	assert_int_equal(need, vectors_u64(pack, "header_sealed_length") + 4);
	assert_int_equal(pack_size(&list), f->file.len);
	json_init(&j, entries.p, entries.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		const struct pack_entry *entry = &list.v[i++];
		uint64_t type;

		assert_true(json_skip(&j, &one));
		type = vectors_u64(one, "type");
		assert_int_equal(entry->offset, vectors_u64(one, "offset"));
		assert_int_equal(entry->length, vectors_u64(one, "length"));
		assert_int_equal(entry->kind, type % 2 == 0 ? BLOB_DATA : BLOB_TREE);
		assert_int_equal(entry->ulen != 0, type >= 2);
		vectors_hex(one, "id", &want);
		assert_memory_equal(entry->id.b, want.p, sizeof(entry->id.b));
		assert_int_equal(blob_open(f->codec, &entry->id, f->file.p + entry->offset,
					 entry->length, entry->ulen, &got, NULL),
			E_OK);
		vectors_hex(one, "plain", &want);
		assert_int_equal(got.len, want.len);
		assert_memory_equal(got.p, want.p, want.len);
	}
	assert_int_equal(i, 2);
}

static void
the_header_is_written_as_in_the_vectors(void **state)
{
	struct fixture *f = *state;
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	autoclean(buf_done) struct buf out = buf_limit(PACK_TEST_BYTES);

	assert_int_equal(pack_header_parse(f->header.p, f->header.len, 2, &list, NULL), E_OK);
	assert_int_equal(pack_header_write(&list, &out, NULL), E_OK);
	assert_int_equal(out.len, f->header.len);
	assert_memory_equal(out.p, f->header.p, out.len);
}

/* Only the cut between the two entries leaves a whole header. */
static void
every_truncated_header_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };

	for (size_t len = 0; len < f->header.len; len++) {
		autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
		uint8_t *cut = malloc(len + (len == 0));
		enum ecode rc;

		assert_non_null(cut);
		memcpy(cut, f->header.p, len);
		rc = pack_header_parse(cut, len, 2, &list, &e);
		assert_int_equal(rc, len == PACK_ENTRY_PLAIN_BYTES ? E_OK : E_PACK_FORMAT);
		assert_int_equal(list.n, rc == E_OK ? 1 : 0);
		free(cut);
	}
}

static enum ecode
parse_one(uint8_t type, uint32_t length, uint32_t ulen, size_t copies, unsigned version)
{
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	size_t size = type == 2 || type == 3 ? PACK_ENTRY_ZSTD_BYTES : PACK_ENTRY_PLAIN_BYTES;
	uint8_t *header = calloc(copies, size);
	struct err e = { 0 };
	enum ecode rc;

	assert_non_null(header);
	for (size_t i = 0; i < copies; i++) {
		header[i * size] = type;
		le32_put(header + i * size + 1, length);
		if (size == PACK_ENTRY_ZSTD_BYTES)
			le32_put(header + i * size + 5, ulen);
	}
	rc = pack_header_parse(header, copies * size, version, &list, &e);
	assert_int_equal(e.code, rc);
	assert_true(rc == E_OK ? list.n == copies : list.v == NULL);
	free(header);
	return rc;
}

static void
hostile_entries_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse_one(0, 32, 0, 1, 2), E_OK);
	assert_int_equal(parse_one(1, 33, 0, 1, 1), E_OK);
	assert_int_equal(parse_one(2, 40, 1, 1, 2), E_OK);
	assert_int_equal(parse_one(3, 40, 1, 1, 2), E_OK);
	for (unsigned type = 4; type < 256; type++)
		assert_int_equal(parse_one((uint8_t)type, 40, 0, 1, 2), E_PACK_FORMAT);
	assert_int_equal(parse_one(2, 40, 1, 1, 1), E_PACK_FORMAT); /* version 1 has no zstd */
	assert_int_equal(parse_one(3, 40, 1, 1, 1), E_PACK_FORMAT);
	assert_int_equal(parse_one(2, 40, 0, 1, 2), E_PACK_FORMAT); /* never of length 0 */
	assert_int_equal(parse_one(2, 40, UINT32_MAX, 1, 2), E_PACK_FORMAT);
	assert_int_equal(parse_one(0, 0, 0, 1, 2), E_PACK_FORMAT);
	assert_int_equal(parse_one(0, 31, 0, 1, 2), E_PACK_FORMAT);
	assert_int_equal(parse_one(0, UINT32_MAX, 0, 1, 2), E_OK);
	assert_int_equal(parse_one(0, UINT32_MAX, 0, 2, 2), E_PACK_FORMAT); /* beyond 4 GiB */
	assert_int_equal(parse_one(0, UINT32_MAX / 2, 0, 3, 2), E_PACK_FORMAT);
	assert_int_equal(parse_one(0, 100, 0, 400000, 2), E_OK);
	assert_int_equal(
		parse_one(0, 100, 0, 460000, 2), E_PACK_FORMAT); /* more than 16 MiB of header */
}

static void
add_blob(struct fixture *f, struct pack_list *list, struct buf *body, size_t len,
	enum blob_kind kind)
{
	struct pack_entry entry = { .offset = (uint32_t)body->len, .kind = kind };
	uint8_t *plain = calloc(1, len + 1);

	assert_non_null(plain);
	memcpy(plain, &list->n, len < sizeof(list->n) ? len : sizeof(list->n));
	blob_id(f->codec, plain, len, &entry.id);
	assert_int_equal(
		blob_shut(f->codec, kind, &entry.id, plain, len, body, &entry.ulen, NULL), E_OK);
	entry.length = (uint32_t)body->len - entry.offset;
	assert_int_equal(pack_list_add(list, &entry, NULL), E_OK);
	free(plain);
}

static void
a_finished_pack_parses_back(void **state)
{
	struct fixture *f = *state;
	const size_t counts[] = { 1, 14, 15, 16, 17, 1000 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
		autoclean(pack_list_done) struct pack_list got = { NULL, 0, 0 };
		autoclean(buf_done) struct buf body = buf_limit(PACK_TEST_BYTES);
		size_t need = 0, first = PACK_TAIL_FIRST_BYTES;

		while (list.n < counts[i])
			add_blob(f, &list, &body, 40 * (list.n % 5),
				list.n % 2 == 0 ? BLOB_DATA : BLOB_TREE);
		assert_int_equal(pack_finish(f->codec, &list, 2, &body, NULL), E_OK);
		assert_int_equal(body.len, pack_size(&list));
		/* as from a remote store: the tail first, more of it when asked for */
		first = first < body.len ? first : body.len;
		assert_int_equal(pack_tail_parse(f->codec, body.p + body.len - first, first,
					 body.len, 2, &got, &need, NULL),
			E_OK);
		if (need > first) {
			assert_int_equal(got.n, 0);
			assert_true(counts[i] > 15 && need <= body.len);
			assert_int_equal(pack_tail_parse(f->codec, body.p + body.len - need, need,
						 body.len, 2, &got, &need, NULL),
				E_OK);
		}
		assert_int_equal(got.n, counts[i]);
		for (size_t k = 0; k < got.n; k++) {
			assert_int_equal(got.v[k].offset, list.v[k].offset);
			assert_int_equal(got.v[k].length, list.v[k].length);
			assert_int_equal(got.v[k].ulen, list.v[k].ulen);
			assert_int_equal(got.v[k].kind, list.v[k].kind);
			assert_memory_equal(got.v[k].id.b, list.v[k].id.b, sizeof(struct id));
		}
	}
}

static void
too_short_a_tail_asks_for_more(void **state)
{
	struct fixture *f = *state;
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	const uint8_t *end = f->file.p + f->file.len;

	for (size_t len = 0; len < 114; len++) {
		size_t need = 0;

		assert_int_equal(pack_tail_parse(f->codec, end - len, len, f->file.len, 2, &list,
					 &need, NULL),
			E_OK);
		assert_true(need > len && need <= f->file.len);
		assert_int_equal(list.n, 0);
	}
}

static enum ecode
parse_changed(struct fixture *f, size_t len, uint64_t pack_bytes, unsigned version)
{
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	struct err e = { 0 };
	size_t need = 0;
	enum ecode rc = pack_tail_parse(f->codec, f->file.p + f->file.len - len, len, pack_bytes,
		version, &list, &need, &e);

	assert_true((rc == E_OK) == (list.n > 0));
	assert_int_equal(e.code, rc);
	return rc;
}

static void
damaged_packs_are_refused(void **state)
{
	struct fixture *f = *state;
	size_t len = f->file.len;
	uint8_t *trailer = f->file.p + len - 4;
	const uint32_t lengths[] = { 0, 1, 31, 32, 68, 16777217, UINT32_MAX, UINT32_MAX - 3 };

	assert_int_equal(parse_changed(f, len, len, 2), E_OK);
	assert_int_equal(parse_changed(f, len, len, 1), E_PACK_FORMAT);
	assert_int_equal(
		parse_changed(f, 114, len + 1, 2), E_PACK_FORMAT); /* a byte nobody accounts for */
	assert_int_equal(parse_changed(f, 114, len - 1, 2), E_PACK_FORMAT);
	assert_int_equal(parse_changed(f, 4, 72, 2), E_PACK_FORMAT);
	assert_int_equal(parse_changed(f, 4, 0, 2), E_PACK_FORMAT);
	assert_int_equal(parse_changed(f, 4, UINT64_MAX, 2), E_PACK_FORMAT);
	assert_int_equal(parse_changed(f, len, len - 1, 2), E_PACK_FORMAT);
	for (size_t at = len - 114; at < len - 4; at++) {
		f->file.p[at] ^= 0x10;
		assert_int_equal(parse_changed(f, len, len, 2), E_SEAL_MAC);
		f->file.p[at] ^= 0x10;
	}
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		le32_put(trailer, lengths[i]);
		assert_int_equal(parse_changed(f, len, len, 2), E_PACK_FORMAT);
	}
	le32_put(trailer, (uint32_t)len - 4);
	assert_int_equal(parse_changed(f, len, len, 2), E_SEAL_MAC);
	le32_put(trailer, (uint32_t)len - 3);
	assert_int_equal(parse_changed(f, len, len, 2), E_PACK_FORMAT);
}

static void
a_refused_finish_leaves_the_body(void **state)
{
	struct fixture *f = *state;
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	autoclean(buf_done) struct buf body = buf_limit(PACK_TEST_BYTES);
	autoclean(buf_done) struct buf tight = buf_limit(PACK_TEST_BYTES);
	autoclean(blob_codec_close) struct blob_codec *fresh = NULL;
	struct err e = { 0 };
	size_t before;

	add_blob(f, &list, &body, 500, BLOB_DATA);
	before = body.len;
	assert_int_equal(
		pack_finish(f->codec, &list, 1, &body, &e), E_BLOB_VERIFY); /* zstd in version 1 */
	assert_int_equal(body.len, before);
	assert_int_equal(
		blob_codec_open(f->keys, &f->ros.os, 2, COMPRESSION_AUTO, &fresh, &e), E_OK);
	f->ros.refuse_from = 1;
	assert_int_equal(pack_finish(fresh, &list, 2, &body, &e), E_RANDOM);
	assert_int_equal(body.len, before);
	f->ros.refuse_from = 0;
	assert_int_equal(buf_add(&tight, body.p, body.len, &e), E_OK);
	tight.limit = tight.cap; /* room for the header, but not for its length */
	while (tight.cap - before > SEAL_OVERHEAD + PACK_ENTRY_ZSTD_BYTES)
		tight.limit = --tight.cap;
	assert_int_equal(pack_finish(fresh, &list, 2, &tight, &e), E_LIMIT);
	assert_int_equal(tight.len, before);
	assert_int_equal(pack_finish(fresh, &list, 2, &body, &e), E_OK);
}

static void
a_list_has_a_ceiling(void **state)
{
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	const struct pack_entry entry = { .length = 40 };
	struct err e = { 0 };

	(void)state;
	while (pack_list_add(&list, &entry, &e) == E_OK)
		continue;
	assert_int_equal(e.code, E_LIMIT);
	assert_int_equal(list.n, PACK_HEADER_MAX_BYTES / PACK_ENTRY_PLAIN_BYTES);
	assert_true(list.cap >= list.n);
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(the_pack_of_the_vectors_is_read),
		RUN(the_header_is_written_as_in_the_vectors),
		RUN(every_truncated_header_is_refused),
		cmocka_unit_test(hostile_entries_are_refused),
		RUN(a_finished_pack_parses_back),
		RUN(too_short_a_tail_asks_for_more),
		RUN(damaged_packs_are_refused),
		RUN(a_refused_finish_leaves_the_body),
		cmocka_unit_test(a_list_has_a_ceiling),
	};

	return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
