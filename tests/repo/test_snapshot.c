#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "os/io.h"
#include "repo/snapshot.h"

#define TEST_ARENA      ((size_t)64 << 20)
#define VECTOR_PASSWORD "holdfast-vector-1"
#define TREE            "32ee64281aa57af15c1c0a8ce0f5808ce9e23b66853eeb476f410be1ea4cb90a"
#define OTHER           "a03f3937eda75b8fd37be02ed813d3822d274c4b83138db3d66c7d27ee4d88eb"

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static bool
is(struct slice s, const char *want)
{
	return s.len == strlen(want) && memcmp(s.p, want, s.len) == 0;
}

static void
expect_code(enum ecode got, enum ecode want, const struct err *e)
{
	if (got != want)
		fail_msg("%s: %s, expected %s", err_row(got)->name, e->detail, err_row(want)->name);
}

static enum ecode
parse(struct arena *a, const char *json, struct snapshot *s, struct err *e)
{
	return snapshot_parse(json, strlen(json), a, s, e);
}

/* ---- the record's text ---- */

static const char full[] =
	"{\"time\":\"2026-11-21T08:32:43.31516866+05:30\",\"parent\":\"" OTHER "\",\"tree\":\"" TREE
	"\",\"paths\":[\"/a\\nb\",\"/\\u003c\"],\"hostname\":\"h\",\"username\":\"u\",\"uid\":1000,\"gid\":4294967295,"
	"\"excludes\":[\"*.img\"],\"tags\":[\"x\",\"y\"],\"original\":\"" TREE
	"\",\"program_version\":\"holdfast 1\","
	"\"summary\":{\"backup_start\":\"2026-11-21T03:02:43Z\",\"backup_end\":\"2026-11-21T03:02:44.5Z\","
	"\"files_new\":1,\"files_changed\":2,\"files_unmodified\":3,\"dirs_new\":4,\"dirs_changed\":5,"
	"\"dirs_unmodified\":6,\"data_blobs\":7,\"tree_blobs\":8,\"data_added\":9,\"data_added_packed\":10,"
	"\"total_files_processed\":11,\"total_bytes_processed\":18446744073709551615},"
	"\"holdfast\":{\"v\":1,\"x\":[ 1, \"}\" ]}}";

static void
a_full_record_is_read(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct err e = { .code = E_OK };
	struct snapshot s;
	char hex[ID_HEX_SIZE];

	(void)state;
	expect_code(parse(&a, full, &s, &e), E_OK, &e);
	assert_true(s.has_parent && s.has_original && s.has_summary);
	id_hex(&s.tree, hex);
	assert_string_equal(hex, TREE);
	id_hex(&s.parent, hex);
	assert_string_equal(hex, OTHER);
	assert_int_equal(s.time.off_min, 330);
	assert_int_equal(s.time.ns, 315168660);
	assert_int_equal(s.path_count, 2);
	assert_true(is(s.paths[0], "/a\nb"));
	assert_true(is(s.paths[1], "/<"));
	assert_int_equal(s.uid, 1000);
	assert_true(s.gid == UINT32_MAX);
	assert_int_equal(s.exclude_count, 1);
	assert_int_equal(s.tag_count, 2);
	assert_true(is(s.tags[1], "y"));
	assert_true(is(s.program_version, "holdfast 1"));
	assert_int_equal(s.summary.files_new, 1);
	assert_int_equal(s.summary.dirs_unmodified, 6);
	assert_int_equal(s.summary.data_added_packed, 10);
	assert_true(s.summary.total_bytes_processed == UINT64_MAX);
	assert_int_equal(s.summary.backup_end.ns, 500000000);
	assert_true(is(s.holdfast, "{\"v\":1,\"x\":[ 1, \"}\" ]}"));
}

static void
what_was_read_is_written_the_same(void **state)
{
	static const char small[] =
		"{\"time\":\"2026-11-21T03:02:43Z\",\"tree\":\"" TREE "\",\"paths\":[]}";
	static const char *const texts[] = { full, small };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
		autoclean(buf_done) struct buf out = buf_limit(1 << 20);
		struct err e = { .code = E_OK };
		struct snapshot s;

		expect_code(parse(&a, texts[i], &s, &e), E_OK, &e);
		expect_code(snapshot_write(&s, &out, &e), E_OK, &e);
		assert_int_equal(out.len, strlen(texts[i]));
		assert_memory_equal(out.p, texts[i], out.len);
	}
}

static void
a_record_without_tree_is_never_written(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(1 << 20);
	struct snapshot s = { .time = { .s = 1 } };

	(void)state;
	assert_int_equal(snapshot_write(&s, &out, NULL), E_SNAPSHOT_FORMAT);
}

static void
null_and_absent_are_the_zero_value(void **state)
{
	static const char *const texts[] = { "{\"tree\":\"" TREE "\"}",
		"{\"time\":null,\"parent\":null,\"tree\":\"" TREE
		"\",\"paths\":null,\"hostname\":null,\"username\":null,\"uid\":null,\"gid\":null,\"excludes\":null,"
		"\"tags\":null,\"original\":null,\"program_version\":null,\"summary\":null,\"holdfast\":null}",
		" { \"unknown\" : { \"tree\" : [ null , 1.5e3 , {} ] } , \"tree\" : \"" TREE
		"\" } " };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
		struct err e = { .code = E_OK };
		struct snapshot s;

		expect_code(parse(&a, texts[i], &s, &e), E_OK, &e);
		assert_false(s.has_parent || s.has_original || s.has_summary);
		assert_int_equal(s.path_count + s.tag_count + s.exclude_count, 0);
		assert_int_equal(s.hostname.len + s.holdfast.len + s.uid + s.gid, 0);
		assert_true(s.time.s == -62135596800);
	}
}

static void
unusable_records_are_refused(void **state)
{
	static const struct {
		const char *json;
		enum ecode code;
	} rows[] = {
		{ "", E_OK },
		{ "[]", E_OK },
		{ "null", E_OK },
		{ "{}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":null}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"12\"}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
			E_SNAPSHOT_FORMAT },
		{ "{\"tree\":7}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"parent\":\"x\"}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"time\":\"yesterday\"}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"uid\":4294967296}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"uid\":-1}", E_OK },
		{ "{\"tree\":\"" TREE "\",\"uid\":\"1\"}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"paths\":\"x\"}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"paths\":[1]}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"paths\":[\"a\"", E_OK },
		{ "{\"tree\":\"" TREE "\",\"paths\":[\"a\",]}", E_OK },
		{ "{\"tree\":\"" TREE "\",\"summary\":[]}", E_SNAPSHOT_FORMAT },
		{ "{\"tree\":\"" TREE "\",\"summary\":{\"files_new\":18446744073709551616}}",
			E_OK },
		{ "{\"tree\":\"" TREE "\",\"summary\":{\"files_new\":1", E_OK },
		{ "{\"tree\":\"" TREE "\"} x", E_OK },
		{ "{\"tree\":\"" TREE "\"", E_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
		struct err e = { .code = E_OK };
		struct snapshot s = { .uid = 77 };
		enum ecode rc = parse(&a, rows[i].json, &s, &e);

		if (rc == E_OK || rc != e.code || (rows[i].code != E_OK && rc != rows[i].code))
			fail_msg("%s: %s", rows[i].json, err_row(rc)->name);
		assert_int_equal(s.uid, 77);
	}
}

static void
every_cut_of_a_record_is_refused(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct snapshot s;

	(void)state;
	for (size_t len = 0; len < sizeof(full) - 1; len++) {
		char *cut = malloc(len + 1); /* exactly sized, for the sanitizer */

		assert_non_null(cut);
		memcpy(cut, full, len);
		assert_int_not_equal(snapshot_parse(cut, len, &a, &s, NULL), E_OK);
		free(cut);
	}
}

/* ---- choosing ---- */

#define LIST_MAX 8

struct shelf {
	struct snapshot v[LIST_MAX];
	struct slice path[LIST_MAX][2], tag[LIST_MAX][2];
	struct snapshot_list list;
};

static struct snapshot *
put(struct shelf *s, int64_t when, const char *host, const char *path0, const char *path1)
{
	size_t n = s->list.n++;

	assert_true(n < LIST_MAX);
	s->path[n][0] = text(path0);
	s->path[n][1] = text(path1 != NULL ? path1 : "");
	s->v[n] = (struct snapshot){ .time = { .s = when },
		.hostname = text(host),
		.paths = s->path[n],
		.path_count = path1 != NULL ? 2 : 1 };
	s->v[n].id.b[0] = (uint8_t)(0xa0 + n);
	s->list.v = s->v;
	return &s->v[n];
}

static void
put_tags(struct shelf *s, const char *tag0, const char *tag1)
{
	size_t n = s->list.n - 1;

	s->tag[n][0] = text(tag0);
	s->tag[n][1] = text(tag1 != NULL ? tag1 : "");
	s->v[n].tags = s->tag[n];
	s->v[n].tag_count = tag1 != NULL ? 2 : 1;
}

static void
shelf_fill(struct shelf *s)
{
	memset(s, 0, sizeof(*s));
	(void)put(s, 100, "one", "/home", NULL);
	(void)put(s, 200, "two", "/home", NULL);
	put_tags(s, "daily", NULL);
	(void)put(s, 300, "one", "/home", "/etc");
	put_tags(s, "daily", "kept");
	(void)put(s, 400, "one", "/etc", NULL);
	put_tags(s, "kept", NULL);
}

static enum ecode
choose(const struct shelf *s, const struct snapshot_filter *f, const char *what, size_t *at,
	const char **sub)
{
	static struct arena a = { .limit = TEST_ARENA };
	const struct snapshot *got = NULL;
	enum ecode rc = snapshot_select(&s->list, f, what, &a, &got, sub, NULL);

	*at = rc == E_OK ? (size_t)(got - s->v) : SIZE_MAX;
	return rc;
}

struct want {
	const char *what;
	enum ecode code;
	size_t at;
	const char *sub;
};

static void
texts_select_snapshots(void **state)
{
	static const struct want rows[] = {
		{ "latest", E_OK, 3, NULL },
		{ "latest~0", E_OK, 3, NULL },
		{ "latest~1", E_OK, 2, NULL },
		{ "latest~3", E_OK, 0, NULL },
		{ "latest~4", E_SNAPSHOT_ABSENT, 0, NULL },
		{ "latest~", E_ID_SYNTAX, 0, NULL },
		{ "latest~x", E_ID_SYNTAX, 0, NULL },
		{ "latest~-1", E_ID_SYNTAX, 0, NULL },
		{ "latest~9999999999", E_ID_SYNTAX, 0, NULL },
		{ "latestx", E_ID_SYNTAX, 0, NULL },
		{ "latest:etc", E_OK, 3, "etc" },
		{ "latest~1:/home//me/../you/", E_OK, 2, "/home/you" },
		{ "latest:", E_OK, 3, NULL },
		{ "a1:x:y", E_OK, 1, "x:y" },
		{ "a1", E_OK, 1, NULL },
		{ "a1000000", E_OK, 1, NULL },
		{ "a100000000000000000000000000000000000000000000000000000000000000", E_OK, 1,
			NULL },
		{ "a1000000000000000000000000000000000000000000000000000000000000001", E_ID_SYNTAX,
			0, NULL },
		{ "a", E_ID_AMBIGUOUS, 0, NULL },
		{ "b", E_SNAPSHOT_ABSENT, 0, NULL },
		{ "A1", E_ID_SYNTAX, 0, NULL },
		{ "xyz", E_ID_SYNTAX, 0, NULL },
		{ "", E_ID_SYNTAX, 0, NULL },
		{ ":sub", E_ID_SYNTAX, 0, NULL },
	};
	struct shelf s;

	(void)state;
	shelf_fill(&s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *sub = "untouched";
		size_t at;

		if (choose(&s, NULL, rows[i].what, &at, &sub) != rows[i].code)
			fail_msg("%s", rows[i].what);
		if (rows[i].code != E_OK) {
			assert_string_equal(sub, "untouched");
			continue;
		}
		assert_int_equal(at, rows[i].at);
		if (rows[i].sub == NULL)
			assert_null(sub);
		else
			assert_string_equal(sub, rows[i].sub);
	}
}

static void
latest_obeys_the_filter_and_ids_do_not(void **state)
{
	const char *host = "two", *tag = "kept";
	struct snapshot_filter by_host = { .hosts = &host, .host_count = 1 };
	struct snapshot_filter by_tag = { .tags = &tag, .tag_count = 1 };
	const char *sub;
	struct shelf s;
	size_t at;

	(void)state;
	shelf_fill(&s);
	assert_int_equal(choose(&s, &by_host, "latest", &at, &sub), E_OK);
	assert_int_equal(at, 1);
	assert_int_equal(choose(&s, &by_host, "latest~1", &at, &sub), E_SNAPSHOT_ABSENT);
	assert_int_equal(choose(&s, &by_tag, "latest~1", &at, &sub), E_OK);
	assert_int_equal(at, 2);
	assert_int_equal(choose(&s, &by_host, "a0", &at, &sub), E_OK);
	assert_int_equal(at, 0);
}

static void
unreadable_snapshots_are_mentioned_when_nothing_is_found(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct snapshot_list none = { .unreadable = 3 };
	const struct snapshot *got;
	struct err e = { .code = E_OK };
	const char *sub;

	(void)state;
	assert_int_equal(
		snapshot_select(&none, NULL, "latest", &a, &got, &sub, &e), E_SNAPSHOT_ABSENT);
	assert_int_equal(e.notes, 1);
	assert_non_null(strstr(e.note[0], "3 snapshots"));
}

/* Bit i of `want`: does snapshot i of the shelf pass? */
static void
expect_filter(const struct snapshot_filter *f, unsigned want, const char *what)
{
	struct shelf s;

	shelf_fill(&s);
	for (size_t i = 0; i < s.list.n; i++)
		if (snapshot_matches(&s.v[i], f) != ((want >> i & 1) != 0))
			fail_msg("%s: snapshot %zu", what, i);
}

static void
filters_by_host_and_path(void **state)
{
	static const char *const hosts[] = { "two", "three", "one" };
	static const char *const paths[] = { "/etc", "/home" };

	(void)state;
	expect_filter(&(struct snapshot_filter){ .host_count = 0 }, 0xf, "no filter");
	expect_filter(
		&(struct snapshot_filter){ .hosts = hosts, .host_count = 2 }, 0x2, "two or three");
	expect_filter(
		&(struct snapshot_filter){ .hosts = hosts, .host_count = 3 }, 0xf, "any of three");
	expect_filter(&(struct snapshot_filter){ .paths = paths, .path_count = 1 }, 0xc, "/etc");
	expect_filter(&(struct snapshot_filter){ .paths = paths, .path_count = 2 }, 0x4,
		"/etc and /home");
	expect_filter(
		&(struct snapshot_filter){
			.hosts = hosts, .host_count = 2, .paths = paths, .path_count = 1 },
		0, "host and path");
}

static void
filters_by_tag(void **state)
{
	static const struct {
		const char *tags[2];
		unsigned want;
	} rows[] = {
		{ { "daily" }, 0x6 },
		{ { "kept" }, 0xc },
		{ { "daily,kept" }, 0x4 },
		{ { " kept , daily " }, 0x4 },
		{ { "daily,absent" }, 0x0 },
		{ { "daily", "kept" }, 0xe },
		{ { "" }, 0x1 },
		{ { "", "kept" }, 0xd },
		{ { "dail" }, 0x0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect_filter(&(struct snapshot_filter){ .tags = rows[i].tags,
				      .tag_count = rows[i].tags[1] != NULL ? 2 : 1 },
			rows[i].want, rows[i].tags[0]);
}

static void
the_parent_is_the_newest_that_fits(void **state)
{
	static const struct {
		const char *host, *paths[2];
		int64_t not_after;
		int at; /* -1: none */
	} rows[] = {
		{ "one", { "/home" }, 1000, 2 }, /* a superset of paths is fine */
		{ "one", { "/home" }, 300, 2 },  /* the same instant counts */
		{ "one", { "/home" }, 299, 0 },
		{ "one", { "/home" }, 99, -1 },
		{ "one", { "/etc" }, 1000, 3 },
		{ "one", { "/etc", "/home" }, 1000, 2 },
		{ "two", { "/home" }, 1000, 1 },
		{ "two", { "/etc" }, 1000, -1 },
		{ "three", { "/home" }, 1000, -1 },
		{ "one", { "/home/me" }, 1000, -1 },
		{ "one", { "/hom" }, 1000, -1 },
		{ "one", { NULL }, 1000, 3 },
	};
	struct shelf s;

	(void)state;
	shelf_fill(&s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = rows[i].paths[0] == NULL ? 0 : rows[i].paths[1] == NULL ? 1 : 2;
		struct instant limit = { .s = rows[i].not_after };
		const struct snapshot *got =
			snapshot_parent(&s.list, rows[i].host, rows[i].paths, n, limit);

		if (got != (rows[i].at < 0 ? NULL : &s.v[rows[i].at]))
			fail_msg("row %zu", i);
	}
}

/* ---- the vectors ---- */

struct opened {
	struct store *st;
	struct vault *v;
	struct blob_codec *c;
	struct buf expected; /* expected.json */
};

static void
read_expected(struct opened *o)
{
	char path[1024];

	(void)snprintf(path, sizeof(path), "%s/tests/vectors/expected.json",
		getenv("HOLDFAST_SOURCE_ROOT"));
	o->expected = buf_limit(64 << 20);
	assert_int_equal(io_read_file(os_posix(), AT_FDCWD, path, &o->expected, NULL), E_OK);
}

static struct opened
open_vector(const char *name)
{
	struct opened o = { .st = NULL };
	struct err e = { .code = E_OK };
	char path[1024];

	(void)snprintf(
		path, sizeof(path), "%s/tests/vectors/%s", getenv("HOLDFAST_SOURCE_ROOT"), name);
	expect_code(store_open(os_posix(), path, &o.st, &e), E_OK, &e);
	expect_code(vault_open(os_posix(), o.st, text(VECTOR_PASSWORD), NULL, &o.v, &e), E_OK, &e);
	expect_code(
		blob_codec_open(o.v->keys, os_posix(), o.v->version, COMPRESSION_AUTO, &o.c, &e),
		E_OK, &e);
	read_expected(&o);
	return o;
}

static void
close_vector(struct opened *o)
{
	blob_codec_close(&o->c);
	vault_close(&o->v);
	store_close(&o->st);
	buf_done(&o->expected);
}

/* Move to the value of a member of the object that comes next. */
static void
enter(struct json *j, const char *name)
{
	struct slice key;

	assert_true(json_enter_object(j));
	while (json_key(j, &key)) {
		if (slice_is(key, name))
			return;
		assert_true(json_skip(j, NULL));
	}
	fail_msg("no \"%s\" in expected.json", name);
}

/* The n-th expected snapshot of a repository: its id and its record's text.  False beyond the last. */
static bool
expected_snapshot(
	const struct opened *o, const char *repo, size_t n, struct slice *id, struct slice *record)
{
	struct json j, one;
	bool escaped;

	json_init(&j, o->expected.p, o->expected.len);
	enter(&j, "repos");
	enter(&j, repo);
	enter(&j, "snapshots");
	assert_true(json_enter_array(&j));
	for (size_t i = 0; json_element(&j); i++) {
		if (i < n) {
			assert_true(json_skip(&j, NULL));
			continue;
		}
		one = j;
		enter(&one, "id");
		assert_true(json_string(&one, id, &escaped));
		enter(&j, "snapshot");
		assert_true(json_skip(&j, record));
		return true;
	}
	return false;
}

static const struct snapshot *
by_hex(const struct snapshot_list *list, struct slice hex)
{
	struct id id;

	assert_true(id_parse(hex.p, hex.len, &id));
	for (size_t i = 0; i < list->n; i++)
		if (id_cmp(&list->v[i].id, &id) == 0)
			return &list->v[i];
	fail_msg("%.*s is not in the list", (int)hex.len, (const char *)hex.p);
	return NULL;
}

/* Both went through snapshot_write: equal texts are equal records. */
static void
expect_same(const struct snapshot *got, const struct snapshot *want)
{
	autoclean(buf_done) struct buf a = buf_limit(1 << 20), b = buf_limit(1 << 20);

	assert_int_equal(snapshot_write(got, &a, NULL), E_OK);
	assert_int_equal(snapshot_write(want, &b, NULL), E_OK);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.p, b.p, a.len);
}

static void
check_vector(const char *name, size_t count)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct opened o = open_vector(name);
	struct snapshot_list list;
	struct err e = { .code = E_OK };
	struct slice id, record;
	size_t n = 0;

	expect_code(snapshot_list_load(o.v, o.c, &a, &list, &e), E_OK, &e);
	assert_int_equal(list.n, count);
	assert_int_equal(list.unreadable, 0);
	for (size_t i = 1; i < list.n; i++)
		assert_true(instant_cmp(list.v[i - 1].time, list.v[i].time) <= 0);
	for (; expected_snapshot(&o, name, n, &id, &record); n++) {
		const struct snapshot *got = by_hex(&list, id);
		struct snapshot want;

		expect_code(snapshot_parse(record.p, record.len, &a, &want, &e), E_OK, &e);
		expect_same(got, &want);
	}
	assert_int_equal(n, count);
	close_vector(&o);
}

static void
version_2_snapshots_are_as_expected(void **state)
{
	(void)state;
	check_vector("v2", 3);
}

static void
version_1_snapshots_are_as_expected(void **state)
{
	(void)state;
	check_vector("v1", 2);
}

/* restic's own text, byte for byte: our key order is its key order. */
static void
restics_records_are_written_byte_for_byte(void **state)
{
	struct opened o = open_vector("v2");
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct snapshot_list list;

	(void)state;
	assert_int_equal(snapshot_list_load(o.v, o.c, &a, &list, NULL), E_OK);
	for (size_t i = 0; i < list.n; i++) {
		autoclean(buf_done) struct buf theirs = buf_limit(1 << 20),
					       ours = buf_limit(1 << 20);

		assert_int_equal(
			vault_load(o.v, o.c, O_SNAPSHOT, &list.v[i].id, &theirs, NULL), E_OK);
		assert_int_equal(snapshot_write(&list.v[i], &ours, NULL), E_OK);
		assert_int_equal(ours.len, theirs.len);
		assert_memory_equal(ours.p, theirs.p, ours.len);
	}
	close_vector(&o);
}

/* A store that refuses or spoils one object. */
struct spoiling {
	struct store st;
	struct store *below;
	struct id bad;
	enum ecode refuse;
};

static enum ecode
spoiling_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct spoiling *s = (struct spoiling *)st;
	size_t before = out->len;
	enum ecode rc;

	if (id_cmp(&name->id, &s->bad) == 0 && s->refuse != E_OK)
		return err_set(e, s->refuse, 0, "as told by the test");
	rc = store_get(s->below, name, off, len, out, e);
	if (rc == E_OK && id_cmp(&name->id, &s->bad) == 0)
		out->p[before + 20] ^= 1;
	return rc;
}

static enum ecode
spoiling_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	return store_stat(((struct spoiling *)st)->below, name, size, e);
}

static enum ecode
spoiling_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	return store_list(((struct spoiling *)st)->below, kind, each, arg, e);
}

/* DV-50, DV-52: who names a damaged snapshot is told of damage, not that there is none. */
static void
assert_damage_is_not_absence(const struct snapshot_list *list, struct arena *a)
{
	const struct snapshot *got = NULL;
	char hex[ID_HEX_SIZE];
	const char *sub;
	struct err e;

	id_hex(&list->broken[0].id, hex);
	assert_int_equal(snapshot_select(list, NULL, hex, a, &got, &sub, &e), list->broken[0].code);
	assert_int_equal(list->broken[0].code, list->first_unreadable.code);
	hex[12] = '\0';
	assert_int_equal(snapshot_select(list, NULL, hex, a, &got, &sub, &e), list->broken[0].code);
	assert_null(got);
}

static void
an_unreadable_snapshot_is_counted_not_hidden(void **state)
{
	static const struct store_ops ops = {
		.get = spoiling_get, .stat = spoiling_stat, .list = spoiling_list
	};
	static const enum ecode how[] = { E_OK, E_STORE_READ };
	struct opened o = open_vector("v1");
	struct vault v = *o.v;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
		struct spoiling s = { .st = { .ops = &ops, .location = "spoiling" },
			.below = o.st,
			.refuse = how[i] };
		struct snapshot_list list;
		struct slice id, record;

		assert_true(expected_snapshot(&o, "v1", 0, &id, &record));
		assert_true(id_parse(id.p, id.len, &s.bad));
		v.store = &s.st;
		assert_int_equal(snapshot_list_load(&v, o.c, &a, &list, NULL), E_OK);
		assert_int_equal(list.n, 1);
		assert_int_equal(list.unreadable, 1);
		assert_int_equal(
			list.first_unreadable.code, how[i] == E_OK ? E_OBJECT_HASH : how[i]);
		assert_int_equal(list.first_unreadable.notes, 1);
		assert_damage_is_not_absence(&list, &a);
	}
	close_vector(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_record_is_read),
		cmocka_unit_test(what_was_read_is_written_the_same),
		cmocka_unit_test(a_record_without_tree_is_never_written),
		cmocka_unit_test(null_and_absent_are_the_zero_value),
		cmocka_unit_test(unusable_records_are_refused),
		cmocka_unit_test(every_cut_of_a_record_is_refused),
		cmocka_unit_test(texts_select_snapshots),
		cmocka_unit_test(latest_obeys_the_filter_and_ids_do_not),
		cmocka_unit_test(unreadable_snapshots_are_mentioned_when_nothing_is_found),
		cmocka_unit_test(filters_by_host_and_path),
		cmocka_unit_test(filters_by_tag),
		cmocka_unit_test(the_parent_is_the_newest_that_fits),
		cmocka_unit_test(version_2_snapshots_are_as_expected),
		cmocka_unit_test(version_1_snapshots_are_as_expected),
		cmocka_unit_test(restics_records_are_written_byte_for_byte),
		cmocka_unit_test(an_unreadable_snapshot_is_counted_not_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
