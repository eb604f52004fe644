#include "repo/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/json.h"
#include "support/vectors.h"

#define ARENA_MAX_BYTES  (64U << 20)
#define TEXT_MAX_BYTES   (8U << 20)
#define TREES_IN_VECTORS 31

/* All that a strict reader learns of one text. */
struct result {
	enum ecode rc;
	struct tree_flaws flaws;
	size_t nodes;
	struct err err;
};

static bool
writable(const struct tree_flaws *flaws)
{
	return !flaws->unsorted && !flaws->duplicate;
}

/* Read a text and write what was read into `again` as long as names ascend. */
static struct result
read_and_write(const void *text, size_t len, struct buf *again)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
	struct result result = { .rc = E_OK };
	struct tree_reader reader;
	struct tree_writer writer;
	struct node node;
	bool more = true;

	buf_clear(again);
	tree_reader_init(&reader, text, len, &a);
	assert_int_equal(tree_begin(&writer, again, NULL), E_OK);
	while (more) {
		result.rc = tree_next(&reader, &node, &more, &result.err);
		if (result.rc != E_OK)
			return result;
		result.flaws = reader.flaws;
		result.nodes += more ? 1 : 0;
		if (more && writable(&reader.flaws))
			assert_int_equal(tree_put(&writer, &node, NULL), E_OK);
	}
	assert_int_equal(tree_end(&writer, NULL), E_OK);
	return result;
}

static struct result
read_text(const char *text)
{
	autoclean(buf_done) struct buf again = buf_limit(TEXT_MAX_BYTES);

	return read_and_write(text, strlen(text), &again);
}

static bool
flawless(const struct tree_flaws *f)
{
	return !f->unsorted && !f->duplicate && !f->unknown_fields && !f->bad_name &&
	       !f->not_canonical_frame;
}

/* Canonical text comes back byte for byte, without a flaw. */
static void
check_canonical(const void *text, size_t len)
{
	autoclean(buf_done) struct buf again = buf_limit(TEXT_MAX_BYTES);
	struct result result = read_and_write(text, len, &again);

	if (result.rc != E_OK)
		fail_msg("%s in %.*s", result.err.detail, (int)len, (const char *)text);
	assert_true(flawless(&result.flaws));
	if (again.len != len || memcmp(again.p, text, len) != 0)
		fail_msg("%.*s became %.*s", (int)len, (const char *)text, (int)again.len,
			(const char *)again.p);
}

static size_t
check_trees(struct json *j)
{
	struct slice id, raw;
	size_t count = 0;
	bool escaped;

	assert_true(json_enter_object(j));
	for (; json_key(j, &id); count++) {
		autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);

		assert_true(json_string(j, &raw, &escaped));
		assert_int_equal(json_unescape(&text, raw, NULL), E_OK);
		check_canonical(text.p, text.len);
	}
	return count;
}

static size_t
check_repos(struct json *j)
{
	struct slice key;
	size_t count = 0;

	assert_true(json_enter_object(j));
	while (json_key(j, &key)) {
		assert_true(json_enter_object(j));
		while (json_key(j, &key)) {
			if (slice_is(key, "trees"))
				count += check_trees(j);
			else
				assert_true(json_skip(j, NULL));
		}
	}
	return count;
}

static void
test_vector_trees(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	struct slice key;
	size_t count = 0;
	struct json j;

	(void)state;
	assert_true(vector_load("expected.json", &file));
	json_init(&j, file.p, file.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		if (slice_is(key, "repos"))
			count += check_repos(&j);
		else
			assert_true(json_skip(&j, NULL));
	}
	assert_true(json_end(&j));
	assert_int_equal(count, TREES_IN_VECTORS);
}

/* Stand the scanner before the value of one section of unit.json. */
static void
open_section(struct buf *file, const char *name, struct json *j)
{
	struct slice key;

	assert_true(vector_load("unit.json", file));
	json_init(j, file->p, file->len);
	assert_true(json_enter_object(j));
	while (json_key(j, &key)) {
		if (slice_is(key, name))
			return;
		assert_true(json_skip(j, NULL));
	}
	fail_msg("no %s", name);
}

/* ["hex of the bytes", "the exact JSON text"] → bytes and text */
static void
read_pair(struct json *j, struct buf *bytes, struct buf *text)
{
	struct slice hex = { NULL, 0 }, raw = { NULL, 0 };
	bool escaped;

	assert_true(json_enter_array(j) && json_element(j) && json_string(j, &hex, &escaped));
	assert_int_equal(buf_reserve(bytes, hex.len, NULL), E_OK);
	assert_true(hex_read(hex.p, hex.len, bytes->p));
	bytes->len = hex.len / 2;
	assert_true(json_element(j) && json_string(j, &raw, &escaped) && !json_element(j));
	assert_int_equal(json_unescape(text, raw, NULL), E_OK);
}

static void
write_one(const struct node *node, struct buf *out)
{
	struct tree_writer w;

	assert_int_equal(tree_begin(&w, out, NULL), E_OK);
	assert_int_equal(tree_put(&w, node, NULL), E_OK);
	assert_int_equal(tree_end(&w, NULL), E_OK);
}

static void
read_one(const void *text, size_t len, struct arena *a, struct node *node)
{
	struct tree_reader reader;
	struct node none;
	bool more = false;

	tree_reader_init(&reader, text, len, a);
	assert_int_equal(tree_next(&reader, node, &more, NULL), E_OK);
	assert_true(more && flawless(&reader.flaws));
	assert_int_equal(tree_next(&reader, &none, &more, NULL), E_OK);
	assert_false(more);
}

static bool
slices_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* `before` and the text's JSON string must occur in the text. */
static bool
holds(const struct buf *tree, const char *before, const struct buf *json)
{
	autoclean(buf_done) struct buf part = buf_limit(TEXT_MAX_BYTES);

	assert_int_equal(buf_add_str(&part, before, NULL), E_OK);
	assert_int_equal(buf_add(&part, json->p, json->len, NULL), E_OK);
	return memmem(tree->p, tree->len, part.p, part.len) != NULL;
}

static void
test_vector_names(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	unsigned seen = 0;
	struct json j;

	(void)state;
	open_section(&file, "names", &j);
	assert_true(json_enter_array(&j));
	for (; json_element(&j); seen++) {
		autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
		autoclean(buf_done) struct buf bytes = buf_limit(4096), text = buf_limit(32768);
		autoclean(buf_done) struct buf tree = buf_limit(TEXT_MAX_BYTES);
		struct node node = { .type = NODE_FILE }, back;

		read_pair(&j, &bytes, &text);
		node.name = buf_slice(&bytes);
		write_one(&node, &tree);
		assert_true(holds(&tree, "{\"nodes\":[{\"name\":", &text));
		read_one(tree.p, tree.len, &a, &back);
		assert_true(slices_equal(back.name, node.name));
	}
	assert_int_equal(seen, 48);
}

static void
test_vector_linktargets(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	unsigned seen = 0, raw = 0;
	struct json j;

	(void)state;
	open_section(&file, "linktargets", &j);
	assert_true(json_enter_array(&j));
	for (; json_element(&j); seen++) {
		autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
		autoclean(buf_done) struct buf bytes = buf_limit(4096), text = buf_limit(32768);
		autoclean(buf_done) struct buf tree = buf_limit(TEXT_MAX_BYTES);
		struct node node = { .name = { (const uint8_t *)"l", 1 }, .type = NODE_SYMLINK };
		struct node back;

		read_pair(&j, &bytes, &text);
		node.linktarget = buf_slice(&bytes);
		write_one(&node, &tree);
		assert_true(holds(&tree, "\"linktarget\":", &text));
		raw += memmem(tree.p, tree.len, "linktarget_raw", 14) != NULL ? 1 : 0;
		read_one(tree.p, tree.len, &a, &back);
		assert_true(slices_equal(back.linktarget, node.linktarget));
		check_canonical(tree.p, tree.len);
	}
	assert_int_equal(seen, 5);
	assert_int_equal(raw, 1);
}

#define AT                                                                       \
	"\"mtime\":\"2020-01-02T03:04:05Z\",\"atime\":\"2020-01-02T03:04:05Z\"," \
	"\"ctime\":\"2020-01-02T03:04:05Z\""
#define REST   AT ",\"uid\":0,\"gid\":0"
#define FILE_A "{\"name\":\"a\",\"type\":\"file\"," REST ",\"content\":[]}"
#define ID_1   "\"0101010101010101010101010101010101010101010101010101010101010101\""
#define ID_2   "\"0202020202020202020202020202020202020202020202020202020202020202\""
#define HEAD   "{\"nodes\":["
#define TAIL   "]}\n"

static void
test_vector_times(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	struct slice key, text;
	unsigned seen = 0;
	struct json j;
	bool escaped;

	(void)state;
	open_section(&file, "times", &j);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		assert_true(json_enter_object(&j));
		for (; json_key(&j, &key); seen++) {
			char tree[400];
			int len;

			assert_true(json_string(&j, &text, &escaped));
			len = snprintf(tree, sizeof(tree),
				"{\"nodes\":[{\"name\":\"a\",\"type\":\"fifo\",\"mtime\":\"%.*s\","
				"\"atime\":\"%.*s\",\"ctime\":\"1970-01-01T00:00:00Z\",\"uid\":0,"
				"\"gid\":0,\"content\":null}]}\n",
				(int)text.len, (const char *)text.p, (int)text.len,
				(const char *)text.p);
			check_canonical(tree, (size_t)len);
		}
	}
	assert_int_equal(seen, 38);
}

static void
test_vector_modes(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	unsigned seen = 0;
	struct slice key;
	struct json j;

	(void)state;
	open_section(&file, "modes", &j);
	assert_true(json_enter_object(&j));
	for (; json_key(&j, &key); seen++) {
		char octal[16];
		uint64_t mode;
		uint32_t st_mode;

		assert_true(json_u64(&j, &mode));
		(void)snprintf(octal, sizeof(octal), "%.*s", (int)key.len, (const char *)key.p);
		st_mode = (uint32_t)strtoul(octal, NULL, 8);
		assert_int_equal(mode_from_st(st_mode), mode);
		assert_int_equal(mode_to_st((uint32_t)mode), st_mode & 07777);
	}
	assert_int_equal(seen, 19);
}

static void
test_mode_text(void **state)
{
	static const struct {
		uint32_t mode;
		const char *text;
	} cases[] = { { 2147484141U, "drwxr-xr-x" }, { 134218239, "Lrwxrwxrwx" },
		{ 8389101, "urwxr-xr-x" }, { 2148532735U, "dtrwxrwxrwx" },
		{ MODE_DEVICE | MODE_CHARDEV | 0666, "Dcrw-rw-rw-" }, { 0, "----------" },
		{ 0xffffffffU, "dalTLDpSugct?rwxrwxrwx" } };
	char out[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		mode_text(cases[i].mode, out);
		assert_string_equal(out, cases[i].text);
	}
}

/* Every field at its largest and strangest, in the order of the format. */
static void
test_all_fields(void **state)
{
	static const char text[] = HEAD
		"{\"name\":\"all\\\\x80\\u003c\",\"type\":\"file\",\"mode\":4294967295,"
		"\"mtime\":\"0000-01-01T00:00:00.000000001-23:59\","
		"\"atime\":\"9999-12-31T23:59:59.999999999+23:59\","
		"\"ctime\":\"2020-02-29T00:00:00.5Z\",\"uid\":4294967295,\"gid\":4294967294,"
		"\"user\":\"u\\u0026\xc3\xa9\",\"group\":\"g \\\"\",\"inode\":18446744073709551615,"
		"\"device_id\":18446744073709551614,\"size\":18446744073709551613,"
		"\"links\":9223372036854775808,\"linktarget\":\"x\\ufffd\","
		"\"linktarget_raw\":\"eP8=\",\"extended_attributes\":["
		"{\"name\":\"user.\\u003e\",\"value\":\"\"},{\"name\":\"\",\"value\":\"AAECAw==\"}],"
		"\"generic_attributes\":{\"windows.x\": [1, \"]\" ]},\"device\":1,"
		"\"content\":[" ID_1 "," ID_2 "],\"subtree\":" ID_2 ",\"error\":\"e\\n\"}" TAIL;
	autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
	struct node node;

	(void)state;
	check_canonical(text, strlen(text));
	read_one(text, strlen(text), &a, &node);
	assert_true(slice_is(node.name, "all\x80<"));
	assert_true(slice_is(node.user, "u&\xc3\xa9"));
	assert_true(slice_is(node.group, "g \""));
	assert_true(slice_is(node.linktarget, "x\xff"));
	assert_true(slice_is(node.error, "e\n"));
	assert_true(node.inode == UINT64_MAX && node.device_id == UINT64_MAX - 1);
	assert_true(node.size == UINT64_MAX - 2 && node.links == UINT64_C(1) << 63);
	assert_int_equal(node.uid, UINT32_MAX);
	assert_int_equal(node.atime.off_min, 1439);
	assert_int_equal(node.mtime.ns, 1);
	assert_int_equal(node.xattr_count, 2);
	assert_true(slice_is(node.xattrs[0].name, "user.>"));
	assert_int_equal(node.xattrs[0].value.len, 0);
	assert_int_equal(node.xattrs[1].value.len, 4);
	assert_memory_equal(node.xattrs[1].value.p, "\0\1\2\3", 4);
	assert_true(slice_is(node.generic, "{\"windows.x\": [1, \"]\" ]}"));
	assert_int_equal(node.content_count, 2);
	assert_int_equal(node.content[1].b[31], 2);
	assert_true(node.has_subtree && node.subtree.b[0] == 2);
	assert_int_equal(node.raw.len, strlen(text) - strlen(HEAD TAIL));
}

static void
test_empty_tree(void **state)
{
	struct result result = read_text("{\"nodes\":[]}\n");

	(void)state;
	assert_int_equal(result.rc, E_OK);
	assert_int_equal(result.nodes, 0);
	check_canonical("{\"nodes\":[]}\n", 13);
}

static void
test_frame_accepted(void **state)
{
	static const char *const texts[] = { "{\"nodes\":null}\n", "{\"nodes\":[]}",
		"{\"nodes\":[]}\n\n", " {\"nodes\":[]}\n", "{\"v\":[1],\"nodes\":[],\"w\":{}}\n",
		"{\"nodes\":[" FILE_A "],\"later\":0}\n", "{ \"nodes\" : [ " FILE_A " ] }",
		"{\"nodes\":null,\"x\":1}\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct result result = read_text(texts[i]);

		if (result.rc != E_OK || !result.flaws.not_canonical_frame)
			fail_msg("%s", texts[i]);
	}
}

static void
test_frame_refused(void **state)
{
	static const char *const texts[] = { "", "{}", "[]", "null", "{\"nodes\":{}}",
		"{\"nodes\":[]", "{\"nodes\":[", "{\"nodes\":[}", "{\"nodes\":[]}x",
		"{\"nodes\":[]}{}", "{\"nodes\":[],\"nodes\":[]}", "{\"nodes\":[],}",
		"{\"nodes\":[,]}", "{\"nodes\":[" FILE_A ",]}", "{\"nodes\":[" FILE_A FILE_A "]}",
		"{\"nodes\":[" FILE_A "}", "{\"nodes\":[1]}", "{\"nodes\":[null]}",
		"{\"Nodes\":[]}", "{\"nodes\":\"\"}", "{\"nodes\":[]]" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (read_text(texts[i]).rc != E_TREE_FORMAT)
			fail_msg("%s", texts[i]);
	}
}

/* What other programs may write; the head of tree.c lists it. */
static void
test_node_accepted(void **state)
{
	static const char text[] = HEAD
		"{ \"content\" : [ " ID_1 " , " ID_2
		" ] , \"gid\":5,\"type\":\"file\",\"new\":{\"a\":[]},"
		"\"extended_attributes\":null,\"generic_attributes\":null,\"name\":\"b\" } ,"
		"{\"type\":\"symlink\",\"linktarget_raw\":\"/w==\",\"linktarget\":\"z\",\"name\":\"c\","
		"\"extended_attributes\":[{\"value\":null,\"name\":\"n\",\"more\":1}],"
		"\"generic_attributes\":{}},"
		"{\"name\":\"d\",\"type\":\"file\",\"content\":null},{\"name\":\"e\",\"type\":\"file\"},"
		"{\"name\":\"f\",\"type\":\"door\",\"content\":[]},{\"name\":\"g\",\"type\":\"\"}" TAIL;
	autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
	struct tree_reader reader;
	struct node n[7];
	bool more = true;
	size_t count = 0;

	(void)state;
	tree_reader_init(&reader, text, strlen(text), &a);
	while (more && count < 7) {
		assert_int_equal(tree_next(&reader, &n[count], &more, NULL), E_OK);
		count += more ? 1 : 0;
	}
	assert_int_equal(count, 6);
	assert_true(reader.flaws.unknown_fields && !reader.flaws.unsorted);
	assert_true(n[0].content_count == 2 && n[0].gid == 5 && n[0].uid == 0);
	assert_true(n[0].mtime.s == 0 && n[0].xattr_count == 0 && n[0].generic.len == 0);
	assert_true(n[0].raw.p[0] == '{' && n[0].raw.p[n[0].raw.len - 1] == '}');
	assert_true(slice_is(n[1].linktarget, "\xff") && n[1].xattr_count == 1);
	assert_true(n[1].xattrs[0].value.len == 0 && n[1].generic.len == 0);
	assert_true(n[2].content_null && n[3].content_null && !n[0].content_null);
	assert_true(n[4].type == NODE_IRREGULAR && n[5].type == NODE_IRREGULAR);
}

static void
test_node_refused(void **state)
{
	static const char *const texts[] = {
		HEAD "{}" TAIL,
		HEAD "{\"name\":\"a\"}" TAIL,
		HEAD "{\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"name\":\"b\"}" TAIL,
		HEAD "{\"name\":null,\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":1,\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":null}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mode\":4294967296}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mode\":-1}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mode\":1.0}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mode\":\"1\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"uid\":4294967296}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"gid\":99999999999999999999}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"inode\":18446744073709551616}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"size\":1e3}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"size\":01}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mtime\":\"yesterday\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mtime\":\"\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"mtime\":0}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":[\"00\"]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":[" ID_1 ",]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":[" ID_1 ",1]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":[" ID_1 ID_2 "]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":[null]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"content\":{}}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"dir\",\"subtree\":null}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"dir\",\"subtree\":\"AB\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"linktarget_raw\":\"a\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"linktarget_raw\":\"YR==\"}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"extended_attributes\":[{}]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"extended_attributes\":[1]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"extended_attributes\":{}}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"generic_attributes\":[]}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",\"generic_attributes\":{\"a\":}}" TAIL,
		HEAD "{\"name\":\"a\",\"type\":\"file\",}" TAIL,
		HEAD "{\"name\":\"a\" \"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"a\n\",\"type\":\"file\"}" TAIL,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (read_text(texts[i]).rc != E_TREE_FORMAT)
			fail_msg("%s", texts[i]);
	}
}

static void
test_name_refused(void **state)
{
	static const char *const texts[] = { HEAD "{\"name\":\"\\\\q\",\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"a\\\"b\",\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"a\\nb\",\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"\\\\ud800\",\"type\":\"file\"}" TAIL,
		HEAD "{\"name\":\"\\\\\",\"type\":\"file\"}" TAIL };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct result result = read_text(texts[i]);

		assert_int_equal(result.rc, E_NAME_SYNTAX);
		assert_int_equal(result.err.notes, 1);
	}
}

static void
test_bad_names_flagged(void **state)
{
	static const char *const names[] = { "", ".", "..", "a/b", "/", "../../etc/passwd",
		"\\\\x00", "a\\\\x2fb" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[200];
		struct result result;

		(void)snprintf(text, sizeof(text), HEAD "{\"name\":\"%s\",\"type\":\"file\"}" TAIL,
			names[i]);
		result = read_text(text);
		assert_int_equal(result.rc, E_OK);
		if (!result.flaws.bad_name)
			fail_msg("%s", names[i]);
	}
}

static void
test_order_flagged(void **state)
{
	static const struct {
		const char *first, *second;
		bool unsorted, duplicate;
	} cases[] = { { "a", "b", false, false }, { "b", "a", true, false },
		{ "a", "a", false, true }, { "a", "aa", false, false }, { "aa", "a", true, false },
		/* by raw bytes: \x80 sorts above z although its text begins with a backslash */
		{ "z", "\\\\x80", false, false }, { "\\\\x80", "z", true, false },
		{ "a", "\\u0061", false, true } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[200];
		struct result result;

		(void)snprintf(text, sizeof(text),
			HEAD
			"{\"name\":\"%s\",\"type\":\"file\"},{\"name\":\"%s\",\"type\":\"file\"}" TAIL,
			cases[i].first, cases[i].second);
		result = read_text(text);
		assert_int_equal(result.rc, E_OK);
		assert_int_equal(result.flaws.unsorted, cases[i].unsorted);
		assert_int_equal(result.flaws.duplicate, cases[i].duplicate);
	}
}

static void
test_deep_nesting(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);

	(void)state;
	assert_int_equal(
		buf_add_str(&text, "{\"nodes\":[{\"name\":\"a\",\"type\":\"file\",\"x\":", NULL),
		E_OK);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(buf_add_str(&text, i % 2 == 0 ? "[" : "{\"a\":", NULL), E_OK);
	assert_int_equal(buf_add_byte(&text, 0, NULL), E_OK);
	assert_int_equal(read_text((const char *)text.p).rc, E_TREE_FORMAT);
}

static const char sample[] = HEAD
	"{\"name\":\"a\\\\x80\\u003c\",\"type\":\"file\",\"mode\":420," REST
	",\"user\":\"u\\n\",\"group\":\"g\",\"inode\":7,\"device_id\":9,\"size\":3,\"links\":1,"
	"\"linktarget\":\"x\\ufffd\",\"linktarget_raw\":\"eP8=\","
	"\"extended_attributes\":[{\"name\":\"n\",\"value\":\"AAECAw==\"}],"
	"\"generic_attributes\":{\"k\":[1,{\"m\":null}]},\"device\":1,\"content\":[" ID_1 "," ID_2
	"]},{\"name\":\"b\",\"type\":\"dir\"," REST ",\"content\":null,\"subtree\":" ID_1 "}" TAIL;

#define SAMPLE_LEN (sizeof(sample) - 1)

/* Cut at every byte, in memory of exactly that size: refused, except without the newline. */
static void
test_truncation(void **state)
{
	autoclean(buf_done) struct buf again = buf_limit(TEXT_MAX_BYTES);

	(void)state;
	check_canonical(sample, SAMPLE_LEN);
	for (size_t len = 0; len < SAMPLE_LEN; len++) {
		char *exact = malloc(len == 0 ? 1 : len);
		struct result result;

		assert_non_null(exact);
		memcpy(exact, sample, len);
		result = read_and_write(exact, len, &again);
		if (len == SAMPLE_LEN - 1)
			assert_true(result.rc == E_OK && result.flaws.not_canonical_frame);
		else
			assert_int_equal(result.rc, E_TREE_FORMAT);
		free(exact);
	}
}

/* What is accepted must mean the same when written by us and read again. */
static void
check_stable(const uint8_t *text, size_t len)
{
	autoclean(buf_done) struct buf once = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf twice = buf_limit(TEXT_MAX_BYTES);
	struct result result = read_and_write(text, len, &once);

	if (result.rc != E_OK) {
		assert_true(result.rc == E_TREE_FORMAT || result.rc == E_NAME_SYNTAX);
		return;
	}
	if (!writable(&result.flaws))
		return;
	assert_int_equal(read_and_write(once.p, once.len, &twice).rc, E_OK);
	assert_int_equal(once.len, twice.len);
	assert_memory_equal(once.p, twice.p, once.len);
}

static void
test_bit_flips(void **state)
{
	size_t len = SAMPLE_LEN;
	uint8_t *text = malloc(len);

	(void)state;
	assert_non_null(text);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		memcpy(text, sample, len);
		text[bit / 8] ^= (uint8_t)(1U << bit % 8);
		check_stable(text, len);
	}
	free(text);
}

static void
test_random_damage(void **state)
{
	static const char bits[] = "\"\\{}[],:0x9eu.-n \n";
	size_t len = SAMPLE_LEN;
	uint8_t *text = malloc(len);
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	assert_non_null(text);
	print_message("# seed %u\n", seed);
	srandom(seed);
	for (unsigned round = 0; round < 20000; round++) {
		size_t from = (size_t)random() % len, to = (size_t)random() % len;
		size_t span = (size_t)random() % 40;

		memcpy(text, sample, len);
		if (from + span <= len && to + span <= len && round % 2 == 0)
			memmove(text + to, text + from, span);
		text[(size_t)random() % len] = (uint8_t)bits[(size_t)random() % (sizeof(bits) - 1)];
		check_stable(text, len);
	}
	free(text);
}

static void
test_arena_limit_refused(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(40);
	struct tree_reader reader;
	struct node node = { .uid = 77 };
	bool more = true;

	(void)state;
	tree_reader_init(&reader, sample, SAMPLE_LEN, &a);
	assert_int_equal(tree_next(&reader, &node, &more, NULL), E_LIMIT);
	assert_int_equal(node.uid, 77);
}

static void
test_writer_limit_refused(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(2000);
	struct node node = { .type = NODE_FILE };
	struct tree_writer w;
	enum ecode rc = E_OK;
	size_t before = 0;

	(void)state;
	assert_int_equal(tree_begin(&w, &out, NULL), E_OK);
	for (unsigned i = 0; i < 26 && rc == E_OK; i++) {
		static char names[26][2];

		names[i][0] = (char)('a' + i);
		node.name = (struct slice){ (const uint8_t *)names[i], 1 };
		before = out.len;
		rc = tree_put(&w, &node, NULL);
	}
	assert_int_equal(rc, E_LIMIT);
	assert_int_equal(out.len, before);
}

/* Names of every kind of byte and length, in a tree with thousands of nodes. */
static void
test_many_nodes(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(TEXT_MAX_BYTES);
	struct tree_writer w;
	static uint8_t names[4096][3];

	(void)state;
	assert_int_equal(tree_begin(&w, &out, NULL), E_OK);
	for (unsigned i = 0; i < 4096; i++) {
		struct node node = { .type = NODE_FIFO, .name = { names[i], 2 }, .inode = i };

		names[i][0] = (uint8_t)(0x30 + i / 256 * 13);
		names[i][1] = (uint8_t)(i % 256);
		node.mtime.s = (int64_t)i * 86399 * 1000;
		node.ctime.ns = (int32_t)(i * 1000);
		assert_int_equal(tree_put(&w, &node, NULL), E_OK);
	}
	assert_int_equal(tree_end(&w, NULL), E_OK);
	check_stable(out.p, out.len);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector_trees),
		cmocka_unit_test(test_vector_names),
		cmocka_unit_test(test_vector_linktargets),
		cmocka_unit_test(test_vector_times),
		cmocka_unit_test(test_vector_modes),
		cmocka_unit_test(test_mode_text),
		cmocka_unit_test(test_all_fields),
		cmocka_unit_test(test_empty_tree),
		cmocka_unit_test(test_frame_accepted),
		cmocka_unit_test(test_frame_refused),
		cmocka_unit_test(test_node_accepted),
		cmocka_unit_test(test_node_refused),
		cmocka_unit_test(test_name_refused),
		cmocka_unit_test(test_bad_names_flagged),
		cmocka_unit_test(test_order_flagged),
		cmocka_unit_test(test_deep_nesting),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_arena_limit_refused),
		cmocka_unit_test(test_writer_limit_refused),
		cmocka_unit_test(test_many_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
