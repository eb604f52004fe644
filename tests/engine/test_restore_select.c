/*
 * Which snapshot, which paths, which places: --at, lists of paths, moves and
 * stripped names (IX-18, IX-19, WC-08), what they refuse, and that all of it is in the plan.
 */
#include "support/restore_fix.h"

#include <unistd.h>

#include "support/tmpdir.h"

/* a/{one,two}, b/{one}, top, bare/ (empty, 0750), link → a */
static void
make_source(struct fix *f)
{
	struct session s;
	struct maker m;
	struct node in_a[2], in_b[1], nodes[5];
	struct id one, two, a, b, none;

	fix_make(f, &s, &m);
	one = maker_data(&m, "one", 3);
	two = maker_data(&m, "two22", 5);
	in_a[0] = node_file("one", &one, 1, 3);
	in_a[1] = node_file("two", &two, 1, 5);
	in_b[0] = node_file("one", &two, 1, 5);
	a = maker_tree(&m, in_a, 2);
	b = maker_tree(&m, in_b, 1);
	none = maker_tree(&m, NULL, 0);
	nodes[0] = node_dir("a", &a);
	nodes[1] = node_dir("b", &b);
	nodes[2] = node_dir("bare", &none);
	nodes[2].mode = nodes[2].mode & ~UINT32_C(0777);
	nodes[2].mode |= 0750;
	nodes[3] = node_symlink("link", "a");
	nodes[4] = node_file("top", &one, 1, 3);
	fix_made(&s, &m, nodes, 5);
}

static int
setup(void **state)
{
	static struct fix f;

	fix_begin(&f);
	make_source(&f);
	*state = &f;
	return 0;
}

static int
setup_threads(void **state)
{
	int rc = setup(state);

	((struct fix *)*state)->threads = 4;
	return rc;
}

static int
teardown(void **state)
{
	fix_end(*state);
	return 0;
}

static bool
has(const struct fix *f, const char *rel)
{
	char path[700];

	assert_true(snprintf(path, sizeof(path), "%s/%s", f->dest, rel) < (int)sizeof(path));
	return exists(path);
}

static mode_t
mode_of(const struct fix *f, const char *rel)
{
	char path[700];
	struct stat st;

	assert_true(snprintf(path, sizeof(path), "%s/%s", f->dest, rel) < (int)sizeof(path));
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode;
}

static void
expect_text(const struct fix *f, const char *rel, const char *text)
{
	char path[700];
	size_t len;
	char *got;

	(void)snprintf(path, sizeof(path), "out/dest/%s", rel);
	got = tmpdir_read(f->dir, path, &len);
	assert_string_equal(got, text);
	free(got);
}

/* ---- which snapshot ---- */

static void
second_snapshot(struct fix *f, struct id *first, struct instant *between)
{
	struct session s;
	struct maker m;
	struct node nodes[1];
	struct id x, tree;
	struct snapshot_list list = { 0 };
	struct arena a = arena_limit((size_t)1 << 20);

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	assert_int_equal(snapshot_list_load(s.vault, s.own, &a, &list, &f->e), E_OK);
	assert_int_equal(list.n, 1);
	*first = list.v[0].id;
	*between = list.v[0].time;
	maker_begin(&m, &s);
	x = maker_data(&m, "later", 5);
	nodes[0] = node_file("later", &x, 1, 5);
	tree = maker_tree(&m, nodes, 1);
	(void)maker_end(&m, &tree);
	session_abandon(&s);
	arena_done(&a);
}

static void
test_at_takes_the_newest_that_is_not_younger(void **state)
{
	struct fix *f = *state;
	struct instant at;
	struct id first;

	second_snapshot(f, &first, &at);
	f->args.at = &at;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(id_cmp(&f->result.snapshot_id, &first), 0);
	assert_true(has(f, "top"));
	assert_false(has(f, "later"));
}

static void
test_at_before_the_first_finds_none(void **state)
{
	struct fix *f = *state;
	struct instant at;
	struct id first;

	second_snapshot(f, &first, &at);
	at.s -= 10;
	f->args.at = &at;
	expect_rc(f, fix_restore(f), E_SNAPSHOT_ABSENT);
	assert_false(exists(f->dest));
}

/* ---- which paths ---- */

static void
test_a_list_brings_its_paths_and_what_is_below(void **state)
{
	static const char *const only[] = { "/a/", "bare", "./a/two", "top" };
	struct fix *f = *state;

	f->args.only = only;
	f->args.only_count = 4;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), 5); /* a, one, two, bare, top */
	assert_int_equal(mode_of(f, "bare") & 07777, 0750);
	expect_text(f, "a/two", "two22");
}

static void
test_a_path_deeper_makes_only_the_way_to_it(void **state)
{
	static const char *const only[] = { "a/two" };
	struct fix *f = *state;

	f->args.only = only;
	f->args.only_count = 1;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), 2);
	expect_text(f, "a/two", "two22");
}

static void
test_the_root_is_everything(void **state)
{
	static const char *const only[] = { "/" };
	struct fix *f = *state;

	f->args.only = only;
	f->args.only_count = 1;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), 8);
}

static void
test_absent_paths_refuse_and_are_told(void **state)
{
	static const char *const only[] = { "a/two", "a/tw", "nope", "a/two/deeper" };
	struct fix *f = *state;

	f->args.only = only;
	f->args.only_count = 4;
	expect_rc(f, fix_restore(f), E_ONLY_ABSENT);
	assert_int_equal(f->h.problems, 3);
	assert_string_equal(f->h.last_path, "/nope");
	assert_false(exists(f->dest));
}

/* ---- which places ---- */

static void
test_the_longest_move_wins(void **state)
{
	static const struct restore_move moves[] = { { "/a", "/moved" },
		{ "/a/two", "/deep/er/second" } };
	struct fix *f = *state;

	f->args.moves = moves;
	f->args.move_count = 2;
	expect_rc(f, fix_restore(f), E_OK);
	expect_text(f, "moved/one", "one");
	expect_text(f, "deep/er/second", "two22");
	expect_text(f, "b/one", "two22");
	assert_false(has(f, "a"));
	assert_false(has(f, "moved/two"));
	assert_int_equal(mode_of(f, "deep/er") & 07777, 0755);
	assert_int_equal(mode_of(f, "bare") & 07777, 0750);
}

static void
test_stripped_names(void **state)
{
	static const char *const only[] = { "a", "top" };
	struct fix *f = *state;

	f->args.only = only;
	f->args.only_count = 2;
	f->args.strip = 1;
	expect_rc(f, fix_restore(f), E_OK);
	expect_text(f, "one", "one");
	expect_text(f, "two", "two22");
	assert_int_equal(tree_entries(f->dest), 2);
}

static void
test_two_entries_at_one_place_refuse(void **state)
{
	static const struct restore_move moves[] = { { "/top", "/a/one" } };
	struct fix *f = *state;

	f->args.strip = 1; /* a/one and b/one */
	expect_rc(f, fix_restore(f), E_MAP_COLLISION);
	assert_non_null(strstr(f->e.detail, "/a/one and /b/one would both be /one"));
	f->args.strip = 0;
	f->args.moves = moves;
	f->args.move_count = 1;
	expect_rc(f, fix_restore(f), E_MAP_COLLISION);
	assert_false(exists(f->dest));
}

static void
test_below_a_file_is_no_place(void **state)
{
	static const struct restore_move moves[] = { { "/b", "/top/b" } };
	struct fix *f = *state;

	f->args.moves = moves;
	f->args.move_count = 1;
	expect_rc(f, fix_restore(f), E_MAP_COLLISION);
}

static void
test_a_file_is_not_the_destination(void **state)
{
	static const struct restore_move moves[] = { { "/top", "/" } };
	struct fix *f = *state;

	f->args.moves = moves;
	f->args.move_count = 1;
	expect_rc(f, fix_restore(f), E_MAP_COLLISION);
}

/* What leaves the target is refused, however it is written, also when nothing is below FROM. */
static void
test_unsafe_places_refuse(void **state)
{
	static const char *const bad[] = { "/..", "/../x", "/x/../../y", "/.", "/x//y", "/x/./y" };
	struct fix *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct restore_move moves[] = { { "/a", bad[i] }, { "/absent", "/fine" } };

		f->args.moves = moves;
		f->args.move_count = 2;
		expect_rc(f, fix_restore(f), E_PATH_UNSAFE);
		moves[0].from = "/absent-too";
		expect_rc(f, fix_restore(f), E_PATH_UNSAFE);
	}
	assert_false(exists(f->dest));
}

static void
test_an_exchange_of_two(void **state)
{
	static const struct restore_move moves[] = { { "/a", "/b" }, { "/b", "/a" } };
	struct fix *f = *state;

	f->args.moves = moves;
	f->args.move_count = 2;
	expect_rc(f, fix_restore(f), E_OK);
	expect_text(f, "a/one", "two22");
	expect_text(f, "b/one", "one");
	assert_true(has(f, "link"));
}

/* ---- the plan ---- */

static void
expect_in_file(const struct fix *f, const char *rel, const char *part)
{
	size_t len;
	char *text = tmpdir_read(f->dir, rel, &len);

	if (strstr(text, part) == NULL)
		fail_msg("%s has no %s: %s", rel, part, text);
	free(text);
}

static void
test_the_plan_shows_it_and_is_applied(void **state)
{
	static const struct restore_move moves[] = { { "/a", "/zz" }, { "/a/one", "/first" } };
	static const char *const only[] = { "a", "b/one", "top" };
	struct fix *f = *state;
	struct restore_args given = f->args;
	struct restore_approval hold;
	char plan[400];

	fix_path(f, "plan.json", plan, sizeof(plan));
	f->args.moves = moves;
	f->args.move_count = 2;
	f->args.only = only;
	f->args.only_count = 3;
	f->args.strip = 1;
	f->args.plan_file = plan;
	expect_rc(f, fix_restore(f), E_OK);
	assert_false(exists(f->dest));
	expect_in_file(f, "plan.json",
		"\"map\":[{\"from\":\"/a\",\"to\":\"/zz\"},{\"from\":\"/a/one\",\"to\":\"/first\"}]");
	expect_in_file(f, "plan.json", "\"paths\":[\"a\",\"b/one\",\"top\"]");
	expect_in_file(f, "plan.json", "\"strip_components\":1,\"stripped_away\":1");
	expect_in_file(f, "plan.json.candidates.jsonl",
		"\"relative_path\":\"zz/two\",\"size\":5,\"source_path\":\"a/two\"");
	f->args = given;
	assert_int_equal(restore_plan_load(os_posix(), plan, NULL, &hold, &f->args, &f->e), E_OK);
	expect_rc(f, fix_restore(f), E_OK);
	expect_text(f, "first", "one");
	expect_text(f, "zz/two", "two22");
	expect_text(f, "one", "two22");
	assert_int_equal(tree_entries(f->dest), 4);
	restore_approval_done(&hold);
}

#define BOTH(t)                                              \
	cmocka_unit_test_setup_teardown(t, setup, teardown), \
		cmocka_unit_test_setup_teardown(t, setup_threads, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_at_takes_the_newest_that_is_not_younger),
		BOTH(test_at_before_the_first_finds_none),
		BOTH(test_a_list_brings_its_paths_and_what_is_below),
		BOTH(test_a_path_deeper_makes_only_the_way_to_it),
		BOTH(test_the_root_is_everything),
		BOTH(test_absent_paths_refuse_and_are_told),
		BOTH(test_the_longest_move_wins),
		BOTH(test_stripped_names),
		BOTH(test_two_entries_at_one_place_refuse),
		BOTH(test_below_a_file_is_no_place),
		BOTH(test_a_file_is_not_the_destination),
		BOTH(test_unsafe_places_refuse),
		BOTH(test_an_exchange_of_two),
		BOTH(test_the_plan_shows_it_and_is_applied),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
