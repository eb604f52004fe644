/*
 * The artifact set and the plan (WC-10…23, WC-44…46, D-6, D-15, X-03, X-13): every file
 * is there and counts what the tree holds, two runs write the same bytes, a dry
 * run leaves nothing else, and an approved plan is carried out only while it fits.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <unistd.h>

#include "support/fault_os.h"
#include "support/tmpdir.h"

#define CALLS_MAX 5000
#define HALF_MARK "out/dest/.holdfast_restore/owner.json-tmp-2608"
#define RUN_A     "20261121T000000Z-0000000a"
#define RUN_B     "20261121T000000Z-0000000b"

static const char *const all_files[] = { "restore_plan.json", "restore_candidates.jsonl",
	"restore_conflicts.jsonl", "execution_journal.jsonl", "stage_copy_results.jsonl",
	"stage_copy_summary.json", "stage_verify_results.jsonl", "stage_verify_summary.json",
	"restore_summary.json" };
#define ALL_FILES (sizeof(all_files) / sizeof(all_files[0]))

/* Two files with one inode, a link, a directory with an entry, and a name that JSON must escape. */
static void
make_source(struct fix *f, const char *extra)
{
	struct session s;
	struct maker m;
	struct node inner[1], nodes[6];
	struct id x, sub;
	size_t n = 0;

	fix_make(f, &s, &m);
	x = maker_data(&m, "small", 5);
	inner[0] = node_file("in \"side\"\n", &x, 1, 5);
	sub = maker_tree(&m, inner, 1);
	if (extra != NULL)
		nodes[n++] = node_dir(extra, &sub);
	nodes[n++] = node_dir("dir", &sub);
	nodes[n++] = node_symlink("link", "dir");
	nodes[n] = node_file("twin-a", &x, 1, 5);
	nodes[n + 1] = node_file("twin-b", &x, 1, 5);
	nodes[n].inode = nodes[n + 1].inode = 5;
	nodes[n].links = nodes[n + 1].links = 2;
	fix_made(&s, &m, nodes, n + 2);
	f->args.artifacts = true;
	f->args.run_id = RUN_A;
}

static int
setup(void **state)
{
	static struct fix f;

	fix_begin(&f);
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	fix_end(*state);
	return 0;
}

static void
record_path(const struct fix *f, const char *run, const char *name, char *out, size_t size)
{
	assert_true(
		snprintf(out, size, "%s/.holdfast_restore/%s/%s", f->dest, run, name) < (int)size);
}

static char *
record(const struct fix *f, const char *run, const char *name, size_t *len)
{
	char rel[600];

	assert_true(snprintf(rel, sizeof(rel), "out/dest/.holdfast_restore/%s/%s", run, name) > 0);
	return tmpdir_read(f->dir, rel, len);
}

static void
expect_all(const struct fix *f, const char *run)
{
	char path[700];

	for (size_t i = 0; i < ALL_FILES; i++) {
		record_path(f, run, all_files[i], path, sizeof(path));
		if (!exists(path))
			fail_msg("%s is missing", path);
	}
}

static size_t
lines(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static void
expect_in(const struct fix *f, const char *run, const char *name, const char *part)
{
	size_t len;
	char *text = record(f, run, name, &len);

	if (strstr(text, part) == NULL)
		fail_msg("%s has no %s: %s", name, part, text);
	free(text);
}

/* WC-45: these events, in this order. */
static void
expect_events(const struct fix *f, const char *run, const char *const *events)
{
	size_t len;
	char *text = record(f, run, "execution_journal.jsonl", &len), *at = text;

	for (; *events != NULL; events++) {
		char wanted[100];

		(void)snprintf(wanted, sizeof(wanted), "\"event\":\"%s\"", *events);
		at = strstr(at, wanted);
		if (at == NULL)
			fail_msg("%s is missing, or not in its place: %s", *events, text);
	}
	free(text);
}

static const char *const whole[] = { "restore_run_started", "restore_plan_built",
	"restore_candidates_materialized", "restore_artifacts_written", "stage_build_planned",
	"stage_build_started", "stage_build_progress", "stage_build_completed",
	"verify_stage_started", "restore_stage_verified", "restore_promotion_started",
	"promotion_started", "promotion_planned", "promotion_completed", NULL };
static const char *const rehearsed[] = { "restore_run_started", "restore_plan_built",
	"restore_candidates_materialized", "restore_artifacts_written", "stage_build_dry_run",
	"verify_stage_skipped", "restore_promotion_skipped", "promotion_dry_run", NULL };

/* ---- a real restore ---- */

static void
test_every_file_travels_with_the_tree(void **state)
{
	struct fix *f = *state;
	size_t len;
	char *text;

	make_source(f, NULL);
	expect_rc(f, fix_restore(f), E_OK);
	expect_all(f, RUN_A);
	expect_in(f, RUN_A, "stage_copy_summary.json",
		"\"failed_files\":0,\"planned_files\":5,\"skipped_files\":0,\"staged_files\":5,"
		"\"status\":\"success\"");
	expect_in(f, RUN_A, "stage_verify_summary.json",
		"\"failed\":0,\"mode\":\"hash\",\"planned\":5,\"skipped\":0,\"status\":\"success\","
		"\"verified\":5");
	expect_in(f, RUN_A, "restore_summary.json", "\"result\":\"ok\"");
	expect_in(f, RUN_A, "execution_journal.jsonl", "promotion_completed");
	expect_in(f, RUN_A, "restore_summary.json", "\"manifest_path\":\"snapshots/");
	expect_events(f, RUN_A, whole);
	text = record(f, RUN_A, "restore_candidates.jsonl", &len);
	assert_int_equal(lines(text), 5);
	assert_non_null(strstr(text, "dir/in \\\"side\\\"\\n"));
	free(text);
	text = record(f, RUN_A, "stage_copy_results.jsonl", &len);
	assert_int_equal(lines(text), 5);
	free(text);
	assert_string_equal(f->result.artifacts + strlen(f->dest), "/.holdfast_restore/" RUN_A);
}

/* WC-45: the first, every 250th, the last; whatever the number of workers. */
static void
test_the_journal_tells_how_far_the_stage_is(void **state)
{
	static const char *const told[] = { "\"1\"", "\"250\"", "\"500\"", "\"600\"" };
	struct fix *f = *state;
	struct node nodes[600];
	char names[600][8], *text, *at;
	struct session s;
	struct maker m;
	struct id x;
	size_t len;

	fix_make(f, &s, &m);
	x = maker_data(&m, "small", 5);
	for (size_t i = 0; i < 600; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "f%03zu", i);
		nodes[i] = node_file(names[i], &x, 1, 5);
	}
	fix_made(&s, &m, nodes, 600);
	f->args.artifacts = true;
	f->args.run_id = RUN_A;
	expect_rc(f, fix_restore(f), E_OK);
	text = at = record(f, RUN_A, "execution_journal.jsonl", &len);
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		char wanted[80];

		(void)snprintf(wanted, sizeof(wanted),
			"{\"data\":{\"text\":%s},\"event\":\"stage_build_progress\"", told[i]);
		at = strstr(at, wanted);
		if (at == NULL)
			fail_msg("%s is not there: %s", wanted, text);
		at += strlen(wanted);
	}
	assert_null(strstr(at, "stage_build_progress"));
	free(text);
}

static void
test_without_verification_the_summary_says_skipped(void **state)
{
	struct fix *f = *state;

	make_source(f, NULL);
	f->args.verify = VERIFY_NONE;
	expect_rc(f, fix_restore(f), E_OK);
	expect_in(f, RUN_A, "stage_verify_summary.json", "\"status\":\"skipped\",\"verified\":0");
}

static struct instant
still_clock(const struct os *os)
{
	(void)os;
	return (struct instant){ .s = 1795219200 };
}

/* E 12, D-15: the same snapshot and clock, whatever the threads did: the same bytes in every file of the set. */
static void
test_the_same_bytes_every_time(void **state)
{
	struct fix *f = *state;
	struct os still = *os_posix();
	char *first[ALL_FILES];
	struct id plan;
	size_t len;

	make_source(f, NULL);
	still.wall = still_clock;
	f->os = &still;
	expect_rc(f, fix_restore(f), E_OK);
	plan = f->result.plan_digest;
	for (size_t i = 0; i < ALL_FILES; i++)
		first[i] = record(f, RUN_A, all_files[i], &len);
	remove_tree(f->dest);
	f->threads = 4;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(id_cmp(&plan, &f->result.plan_digest), 0);
	for (size_t i = 0; i < ALL_FILES; i++) {
		char *again = record(f, RUN_A, all_files[i], &len);

		assert_string_equal(first[i], again);
		free(first[i]);
		free(again);
	}
	f->os = os_posix();
}

/* what the snapshot has of that name is the user's. */
static void
test_the_snapshots_own_directory_is_untouched(void **state)
{
	struct fix *f = *state;
	char path[700], fallback[400];

	make_source(f, ".holdfast_restore");
	fix_path(f, "run", fallback, sizeof(fallback));
	f->args.fallback_dir = fallback;
	expect_rc(f, fix_restore(f), E_OK);
	record_path(f, "in \"side\"\n", "", path, sizeof(path));
	path[strlen(path) - 1] = '\0';
	assert_true(exists(path));
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore", f->dest);
	assert_int_equal(tree_entries(path), 1);
	(void)snprintf(path, sizeof(path), "%s/" RUN_A "/restore_summary.json", fallback);
	assert_true(exists(path));
}

static void
test_another_directory_for_the_records(void **state)
{
	struct fix *f = *state;
	char path[700], there[400];

	make_source(f, NULL);
	fix_path(f, "records/deep", there, sizeof(there));
	f->args.artifacts_dir = there;
	expect_rc(f, fix_restore(f), E_OK);
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore", f->dest);
	assert_false(exists(path));
	(void)snprintf(path, sizeof(path), "%s/" RUN_A "/stage_copy_results.jsonl", there);
	assert_true(exists(path));
}

/* ---- a dry run ---- */

static void
test_a_dry_run_leaves_its_records_and_nothing_else(void **state)
{
	struct fix *f = *state;

	make_source(f, NULL);
	f->args.dry_run = true;
	expect_rc(f, fix_restore(f), E_OK);
	expect_all(f, RUN_A);
	/* .holdfast_restore, its mark, the run and its files */
	assert_int_equal(tree_entries(f->out), 4 + sizeof(all_files) / sizeof(all_files[0]));
	expect_in(f, RUN_A, "stage_copy_results.jsonl", "\"outcome\":\"skipped_dry_run\"");
	expect_in(f, RUN_A, "stage_verify_summary.json", "\"status\":\"skipped\"");
	expect_in(f, RUN_A, "restore_summary.json", "\"dry_run\":true");
	expect_events(f, RUN_A, rehearsed);
}

/* D-6: the emptiness test ignores exactly our records, and they are kept. */
static void
test_a_restore_after_a_dry_run_keeps_both_records(void **state)
{
	struct fix *f = *state;

	make_source(f, NULL);
	f->args.dry_run = true;
	expect_rc(f, fix_restore(f), E_OK);
	f->args.dry_run = false;
	f->args.run_id = RUN_B;
	expect_rc(f, fix_restore(f), E_OK);
	expect_all(f, RUN_A);
	expect_all(f, RUN_B);
}

static void
test_somebody_elses_directory_of_that_name_is_data(void **state)
{
	struct fix *f = *state;
	char path[700];

	make_source(f, NULL);
	tmpdir_write(f->dir, "out/dest/.holdfast_restore/notes.txt", "mine", 4);
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	/* the mark alone does not make other files ours */
	record_path(f, "", "owner.json", path, sizeof(path));
	write_file(path, "{\"owner\":\"holdfast\",\"what\":\"records of restores\"}\n", 50);
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore/notes.txt", f->dest);
	assert_true(exists(path));
}

/* D-6, DV-37: what a killed run or a power cut leaves of the mark is nobody's data; anything else of that name is. */
static void
test_a_mark_that_was_being_written_is_no_data(void **state)
{
	static const char mark[] = "{\"owner\":\"holdfast\",\"what\":\"records of restores\"}\n";
	const size_t length = sizeof(mark) - 1;
	struct fix *f = *state;
	char half[sizeof(mark) + 1], half_path[400];
	size_t kept;

	make_source(f, NULL);
	f->args.dry_run = true; /* the refusal, without a tree to remove each time */
	for (kept = 0; kept <= length; kept += 7) {
		for (size_t len = kept; len <= length; len += 7) {
			memset(half, 0, sizeof(half));
			memcpy(half, mark, kept);
			tmpdir_write(f->dir, HALF_MARK, half, len);
			expect_rc(f, fix_restore(f), E_OK);
			remove_tree(f->dest);
		}
	}
	memset(half, 0, sizeof(half));
	tmpdir_write(f->dir, HALF_MARK, half, length + 1); /* longer than any mark */
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	tmpdir_write(f->dir, HALF_MARK, "\0mine", 5);
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	tmpdir_write(f->dir, HALF_MARK, "{\"owner\":\"somebody\"", 19);
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	fix_path(f, HALF_MARK, half_path, sizeof(half_path));
	assert_int_equal(unlink(half_path), 0);
	assert_int_equal(mkfifo(half_path, 0600), 0); /* nobody waits for its other end */
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
}

/* ---- a plan that is applied ---- */

static void
make_plan(struct fix *f, char *path, size_t size)
{
	fix_path(f, "plan.json", path, size);
	f->args.plan_file = path;
	expect_rc(f, fix_restore(f), E_OK);
	f->args.plan_file = NULL;
	assert_int_equal(tree_entries(f->out), 0);
}

static enum ecode
apply(struct fix *f, const char *path)
{
	struct restore_approval hold = { .includes = NULL };
	struct restore_args keep = f->args;
	enum ecode rc;

	rc = restore_plan_load(os_posix(), path, NULL, &hold, &f->args, &f->e);
	if (rc == E_OK)
		rc = fix_restore(f);
	f->args = keep;
	restore_approval_done(&hold);
	return rc;
}

static void
test_a_plan_is_carried_out(void **state)
{
	struct fix *f = *state;
	char path[400];

	make_source(f, NULL);
	make_plan(f, path, sizeof(path));
	expect_rc(f, apply(f, path), E_OK);
	expect_all(f, RUN_A);
}

static void
test_patterns_travel_in_the_plan(void **state)
{
	struct rules *in = NULL;
	struct fix *f = *state;
	char path[400], twin[400];

	make_source(f, NULL);
	assert_int_equal(rules_open(&in, &f->e), E_OK);
	assert_int_equal(rules_add(in, "TWIN-*", true, &f->e), E_OK);
	f->args.includes = in;
	make_plan(f, path, sizeof(path));
	f->args.includes = NULL;
	expect_rc(f, apply(f, path), E_OK);
	fix_path(f, "out/dest/twin-b", twin, sizeof(twin));
	assert_true(exists(twin));
	fix_path(f, "out/dest/dir", twin, sizeof(twin));
	assert_false(exists(twin));
	rules_close(&in);
}

/* What was approved is one destination, in one state. */
static void
test_a_plan_that_no_longer_fits_is_refused(void **state)
{
	struct fix *f = *state;
	char path[400];

	make_source(f, NULL);
	tmpdir_write(f->dir, "out/live/twin-a", "small", 5);
	fix_path(f, "plan.json", path, sizeof(path));
	f->args.plan_file = path;
	f->args.kind = RESTORE_SWAP;
	fix_path(f, "out/live", f->dest, sizeof(f->dest));
	expect_rc(f, fix_restore(f), E_OK);
	f->args.plan_file = NULL;
	tmpdir_write(f->dir, "out/live/new", "x", 1);
	expect_rc(f, apply(f, path), E_PLAN_CHANGED);
}

static void
test_an_edited_plan_is_refused(void **state)
{
	struct fix *f = *state;
	char path[400];
	size_t len;
	char *text, *at;

	make_source(f, NULL);
	make_plan(f, path, sizeof(path));
	text = tmpdir_read(f->dir, "plan.json", &len);
	at = strstr(text, "\"verify\":\"hash\"");
	assert_non_null(at);
	memcpy(at, "\"verify\":\"none\"", 15);
	write_file(path, text, len);
	expect_rc(f, apply(f, path), E_PLAN_FILE);
	for (size_t cut = 0; cut < len - 1; cut += 7) {
		write_file(path, text, cut);
		expect_rc(f, apply(f, path), E_PLAN_FILE);
	}
	(void)unlink(path);
	expect_rc(f, apply(f, path), E_PLAN_FILE);
	assert_int_equal(tree_entries(f->out), 0);
	free(text);
}

/* ---- against what is there ---- */

static void
test_the_live_tree_is_compared(void **state)
{
	struct fix *f = *state;
	uint64_t before;

	make_source(f, NULL);
	tmpdir_write(f->dir, "out/dest/twin-a", "small", 5);    /* the same */
	tmpdir_write(f->dir, "out/dest/twin-b", "other", 5);    /* content */
	tmpdir_write(f->dir, "out/dest/link", "no link", 7);    /* type */
	tmpdir_write(f->dir, "out/dest/dir/only here", "y", 1); /* not in the snapshot */
	f->args.kind = RESTORE_SWAP;
	f->args.tree = TREE_MERGE;
	f->args.dry_run = true;
	f->args.artifacts_dir = f->dir;
	before = tree_digest(f->dest);
	expect_rc(f, fix_restore(f), E_RESTORE_CONFLICT);
	assert_true(before == tree_digest(f->dest));
	assert_int_equal(f->result.identical, 2); /* twin-a and dir */
	assert_int_equal(f->result.differing, 2);
	assert_int_equal(f->result.unresolved, 2);
	assert_int_equal(f->result.fresh, 1);
	assert_int_equal(f->result.only_live, 1);
}

/* ---- faults ---- */

static struct fault_os faults;

static enum ecode
run_with(struct fix *f, struct fault_plan plan)
{
	struct session s;
	enum ecode rc;

	restore_result_done(&f->result);
	heard_init(&f->h);
	fault_os_init(&faults, os_posix());
	faults.real_random = true;
	open_session(&s, &faults.os, f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	fault_os_plan(&faults, plan);
	rc = restore_run(&s, &f->args, &f->result, &f->e);
	unsigned long fired = faults.fired;

	fault_os_plan(&faults, (struct fault_plan){ 0 });
	session_abandon(&s);
	faults.fired = fired;
	return rc;
}

/* Every call that writes, once: no success without the whole set, no descriptor lost. */
static void
fault_loop(struct fix *f, struct fault_plan plan)
{
	unsigned long refused = 0;
	char stage[400];

	(void)snprintf(stage, sizeof(stage), "%s.holdfast_stage", f->dest);
	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth += fault_stride()) {
		enum ecode rc = run_with(f, plan);

		assert_int_equal(faults.open_fds, 0);
		if (rc == E_OK)
			expect_all(f, RUN_A);
		else
			refused++;
		if (rc != E_OK && !f->args.dry_run && !f->result.promoted)
			assert_false(exists(f->dest));
		remove_tree(f->dest);
		remove_tree(stage);
		if (faults.fired == 0)
			break;
	}
	assert_true(plan.nth < CALLS_MAX);
	assert_true(refused > 0);
	print_message("# %lu of %lu calls refused\n", refused, plan.nth);
}

static void
test_faults(void **state)
{
	struct fix *f = *state;

	make_source(f, NULL);
	fault_loop(f, (struct fault_plan){ .error = EIO });
	fault_loop(f, (struct fault_plan){ .error = ENOSPC });
	f->args.dry_run = true;
	fault_loop(f, (struct fault_plan){ .error = EIO });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_every_file_travels_with_the_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_journal_tells_how_far_the_stage_is, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_without_verification_the_summary_says_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_same_bytes_every_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_snapshots_own_directory_is_untouched, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_another_directory_for_the_records, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_dry_run_leaves_its_records_and_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_restore_after_a_dry_run_keeps_both_records, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_somebody_elses_directory_of_that_name_is_data, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_mark_that_was_being_written_is_no_data, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_plan_is_carried_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_patterns_travel_in_the_plan, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_plan_that_no_longer_fits_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_edited_plan_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_live_tree_is_compared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
