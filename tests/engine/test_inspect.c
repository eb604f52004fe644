#include "engine/inspect.h"

#include "support/restore_fix.h"

#include "base/json.h"
#include "support/vectors.h"

#define VECTOR_PASSWORD "holdfast-vector-1"
#define FIRST_V2        "a03f3937"

static struct session s;

static int
setup(void **state)
{
	static struct fix f;
	const char *root = getenv("HOLDFAST_SOURCE_ROOT");
	char from[1024];

	fix_begin(&f);
	if (root == NULL)
		return -1;
	(void)snprintf(from, sizeof(from), "%s/tests/vectors/v2", root);
	copy_tree(from, f.vault);
	open_session(&s, os_posix(), f.vault, VECTOR_PASSWORD, 0, SESSION_NO_LOCK, &f.h);
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	session_abandon(&s);
	fix_end(*state);
	return 0;
}

static struct id
tree_of(const char *snapshot)
{
	struct arena a = arena_limit(1 << 20);
	struct snapshot_list list = { 0 };
	const struct snapshot *snap = NULL;
	const char *sub = NULL;
	struct err e;
	struct id tree;

	assert_int_equal(snapshot_list_load(s.vault, s.own, &a, &list, &e), E_OK);
	assert_int_equal(snapshot_select(&list, NULL, snapshot, &a, &snap, &sub, &e), E_OK);
	tree = snap->tree;
	arena_done(&a);
	return tree;
}

struct seen {
	size_t n, dirs, files;
	char last[1024];
	bool ascending, shallow;
	size_t refuse_at; /* 0: never */
};

static enum ecode
see(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	struct seen *seen = arg;

	seen->n++;
	seen->dirs += item->node->type == NODE_DIR;
	seen->files += item->node->type == NODE_FILE;
	assert_int_equal(item->path[0], '/');
	assert_true(strlen(item->path) > item->node->name.len);
	if (strlen(seen->last) < sizeof(seen->last) - 1)
		(void)snprintf(seen->last, sizeof(seen->last), "%s", item->path);
	if (seen->shallow)
		*descend = false;
	if (seen->n == seen->refuse_at)
		return err_set(e, E_USAGE, 0, "enough");
	return E_OK;
}

/* How many paths expected.json gives the first snapshot of v2. */
static size_t
expected_paths(void)
{
	autoclean(buf_done) struct buf text = buf_limit(VECTOR_MAX_BYTES);
	struct slice key, path;
	struct json j;
	size_t n = 0;

	assert_true(vector_load("expected.json", &text));
	json_init(&j, text.p, text.len);
	for (const char *const *step = (const char *const[]){ "repos", "v2", "snapshots", NULL };
		*step != NULL; step++) {
		assert_true(json_enter_object(&j));
		while (json_key(&j, &key) && !slice_is(key, *step))
			assert_true(json_skip(&j, NULL));
	}
	assert_true(json_enter_array(&j));
	assert_true(json_element(&j));
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key) && !slice_is(key, "paths"))
		assert_true(json_skip(&j, NULL));
	assert_true(json_enter_object(&j));
	for (; json_key(&j, &path); n++)
		assert_true(json_skip(&j, NULL));
	return n;
}

static void
test_walk_sees_everything(void **state)
{
	struct seen seen = { 0 };
	struct id tree = tree_of(FIRST_V2);
	struct err e;

	(void)state;
	assert_int_equal(inspect_walk(&s, &tree, see, &seen, &e), E_OK);
	assert_int_equal(seen.n, expected_paths());
	assert_int_equal(seen.dirs, 13);
	assert_int_equal(seen.files, 90);
}

static void
test_walk_without_descending(void **state)
{
	struct seen seen = { .shallow = true };
	struct id tree = tree_of(FIRST_V2);
	struct err e;

	(void)state;
	assert_int_equal(inspect_walk(&s, &tree, see, &seen, &e), E_OK);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.last, "/tree");
}

static void
test_walk_passes_refusals_on(void **state)
{
	struct seen seen = { .refuse_at = 5 };
	struct id tree = tree_of(FIRST_V2);
	struct fix *f = *state;
	struct err e;

	assert_int_equal(inspect_walk(&s, &tree, see, &seen, &e), E_USAGE);
	assert_int_equal(seen.n, 5);
	f->h.stop_after = 3;
	assert_int_equal(inspect_walk(&s, &tree, see, &seen, &e), E_INTERRUPTED);
	f->h.stop_after = -1;
}

static void
test_subtree(void **state)
{
	struct seen seen = { 0 };
	struct id tree = tree_of(FIRST_V2), sub, same;
	struct err e;

	(void)state;
	assert_int_equal(inspect_subtree(&s, &tree, "tree/xattr", &sub, &e), E_OK);
	assert_int_equal(
		inspect_subtree(&s, &tree, "//tree/./../tree/xattr/", &same, &e), E_SUBPATH_ABSENT);
	assert_int_equal(inspect_subtree(&s, &tree, "/tree//xattr/", &same, &e), E_OK);
	assert_memory_equal(&sub, &same, sizeof(sub));
	assert_int_equal(inspect_walk(&s, &sub, see, &seen, &e), E_OK);
	assert_int_equal(seen.n, 5);
	assert_int_equal(inspect_subtree(&s, &tree, "", &same, &e), E_OK);
	assert_memory_equal(&tree, &same, sizeof(sub));
	assert_int_equal(inspect_subtree(&s, &tree, "tree/none", &same, &e), E_SUBPATH_ABSENT);
	assert_int_equal(
		inspect_subtree(&s, &tree, "tree/xattr/user", &same, &e), E_SUBPATH_ABSENT);
}

static bool
contains(const struct buf *b, const char *text)
{
	return memmem(b->p, b->len, text, strlen(text)) != NULL;
}

static void
expect_cat(const char *kind, const char *id, const char *text)
{
	autoclean(buf_done) struct buf out = buf_limit(64 << 20);
	struct err e = { 0 };
	enum ecode rc = inspect_cat(&s, kind, id, &out, &e);

	if (rc != E_OK)
		print_message("# cat %s: %s %s\n", kind, err_row(rc)->name, e.detail);
	assert_int_equal(rc, E_OK);
	assert_true(contains(&out, text));
}

static void
refuse_cat(const char *kind, const char *id, enum ecode code)
{
	autoclean(buf_done) struct buf out = buf_limit(64 << 20);
	struct err e;

	assert_string_equal(
		err_row(inspect_cat(&s, kind, id, &out, &e))->name, err_row(code)->name);
	assert_int_equal(out.len, 0);
}

static void
test_cat_records(void **state)
{
	char hex[ID_HEX_SIZE];
	struct id tree = tree_of(FIRST_V2);

	(void)state;
	expect_cat("config", NULL, "\"chunker_polynomial\"");
	expect_cat("snapshot", FIRST_V2, "\"tree\"");
	expect_cat("tree", FIRST_V2, "{\"nodes\":[");
	expect_cat("tree", FIRST_V2 ":tree/xattr", "user.comment");
	id_hex(&tree, hex);
	expect_cat("tree", hex, "\"name\":\"tree\"");
	expect_cat("blob", hex, "\"name\":\"tree\"");
	id_hex(&s.vault->key_id, hex);
	expect_cat("key", hex, "\"scrypt\"");
}

static void
test_cat_index_and_pack(void **state)
{
	struct store_listing list = { 0 };
	char hex[ID_HEX_SIZE];
	struct err e;

	(void)state;
	assert_int_equal(store_list_all(s.store, O_INDEX, &list, &e), E_OK);
	assert_true(list.n > 0);
	id_hex(&list.v[0].id, hex);
	expect_cat("index", hex, "\"packs\"");
	store_listing_done(&list);
	list = (struct store_listing){ 0 };
	assert_int_equal(store_list_all(s.store, O_PACK, &list, &e), E_OK);
	id_hex(&list.v[0].id, hex);
	autoclean(buf_done) struct buf out = buf_limit(64 << 20);
	struct hasher *h = NULL;
	struct id sum;

	assert_int_equal(inspect_cat(&s, "pack", hex, &out, &e), E_OK);
	assert_int_equal(hasher_open(&h, &e), E_OK);
	hasher_sum(h, out.p, out.len, &sum);
	hasher_close(&h);
	assert_memory_equal(&sum, &list.v[0].id, sizeof(sum));
	store_listing_done(&list);
}

static void
test_cat_refusals(void **state)
{
	(void)state;
	refuse_cat("nonsense", "00", E_USAGE);
	refuse_cat("snapshot", NULL, E_USAGE);
	refuse_cat("blob", "12ab", E_ID_SYNTAX);
	refuse_cat("blob", "00000000000000000000000000000000000000000000000000000000000000ff",
		E_ID_ABSENT);
	refuse_cat("snapshot", "00000000000000ff", E_ID_ABSENT);
	refuse_cat("snapshot", "not hex", E_ID_SYNTAX);
	refuse_cat("lock", "00", E_ID_ABSENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_sees_everything),
		cmocka_unit_test(test_walk_without_descending),
		cmocka_unit_test(test_walk_passes_refusals_on),
		cmocka_unit_test(test_subtree),
		cmocka_unit_test(test_cat_records),
		cmocka_unit_test(test_cat_index_and_pack),
		cmocka_unit_test(test_cat_refusals),
	};

	return cmocka_run_group_tests(
		tests, setup, teardown); /* one session: opening derives a key at full cost */
}
