/*
 * restore-swap: the verified tree takes the place of the one that is there,
 * which is kept whole (D-5, D-21).  At every kernel call that can be refused, and
 * wherever the program can die, the destination is one whole tree and the other
 * one is whole too, or the refusal prints the step that brings it back.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/undo_previous.h"
#include "support/fault_os.h"

/* Calls of one restore, with room; reaching it means that the loop does not end. */
#define CALLS_MAX 5000
#define RUN_ID    "20261121T000000Z-00000001"

static struct fix f;
static struct fault_os faults;
static struct os stubborn; /* a kernel that knows no exchange */
static bool no_exchange;
static int rename_limit; /* renames that succeed; the next one is refused; < 0: all */
static char reference[300], original[300], run_dir[400], staged[420], previous[400];

static int
rename_stubborn(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	const struct os *real = os_posix();

	(void)os;
	if (no_exchange && (flags & RENAME_EXCHANGE) != 0)
		return -EINVAL;
	if (rename_limit == 0)
		return -EIO;
	rename_limit -= rename_limit > 0;
	return real->rename(real, from_dir, from, to_dir, to, flags);
}

static void
make_snapshot(void)
{
	static uint8_t big[100000];
	struct session s;
	struct maker m;
	struct node inner[2], nodes[4];
	struct id x[2], sub;

	fix_make(&f, &s, &m);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 2654435761U >> 9);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	inner[0] = node_symlink("link", "nowhere");
	inner[1] = node_file("small", &x[1], 1, 5);
	sub = maker_tree(&m, inner, 2);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_file("parts", x, 2, sizeof(big) + 5);
	nodes[2] = node_file("twin-a", &x[1], 1, 5);
	nodes[3] = node_file("twin-b", &x[1], 1, 5);
	nodes[2].inode = nodes[3].inode = 5;
	nodes[2].links = nodes[3].links = 2;
	fix_made(&s, &m, nodes, 4);
}

static void
make_dir(const char *path)
{
	assert_int_equal(mkdir(path, 0750), 0);
}

/* What is at the destination before: a changed file, an unrelated one, and a directory with another. */
static void
make_live(const char *dir)
{
	char sub[400];

	make_dir(dir);
	fix_put(dir, "twin-a", "edited since");
	fix_put(dir, "unrelated", "precious");
	(void)snprintf(sub, sizeof(sub), "%s/mine", dir);
	make_dir(sub);
	fix_put(sub, "deep", "also precious");
	fix_time(sub);
	fix_time(dir);
}

static int
setup(void **state)
{
	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_path(&f, "reference", reference, sizeof(reference));
	fix_path(&f, "original", original, sizeof(original));
	make_snapshot();
	f.args.dest = reference;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.dest = f.dest;
	make_live(original);
	(void)snprintf(run_dir, sizeof(run_dir), "%s.holdfast_stage/" RUN_ID, f.dest);
	(void)snprintf(staged, sizeof(staged), "%s/stage_root", run_dir);
	(void)snprintf(
		previous, sizeof(previous), "%s/.holdfast_restore_previous_dest_" RUN_ID, f.out);
	stubborn = *os_posix();
	stubborn.rename = rename_stubborn;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fix_end(&f);
	return 0;
}

/* Each test begins with nothing but the live tree beside the vault. */
static int
each(void **state)
{
	(void)state;
	remove_tree(f.out);
	make_dir(f.out);
	make_live(f.dest);
	no_exchange = false;
	rename_limit = -1;
	f.os = os_posix();
	f.threads = 2;
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_EXACT;
	f.args.run_id = RUN_ID;
	f.args.dry_run = false;
	f.args.artifacts = false;
	return 0;
}

static bool
is_new(const char *dir)
{
	char why[512];

	return exists(dir) && trees_equal(reference, dir, COMPARE_ALL, why, sizeof(why));
}

static bool
is_old(const char *dir)
{
	char why[512];

	return exists(dir) && trees_equal(original, dir, COMPARE_ALL, why, sizeof(why));
}

static void
expect_swapped(void)
{
	assert_true(f.result.promoted);
	assert_true(is_new(f.dest));
	assert_true(is_old(previous));
	assert_string_equal(f.result.previous, previous);
	assert_int_equal(tree_entries(f.out),
		tree_entries(f.dest) + tree_entries(previous) + 2); /* no stage is left */
}

/* ---- what it is for ---- */

/* an unrelated file leaves the live tree only with the whole tree that is kept. */
static void
test_x01_unrelated_files_are_in_the_previous_tree(void **state)
{
	char path[500];

	(void)state;
	expect_rc(&f, fix_restore(&f), E_OK);
	expect_swapped();
	(void)snprintf(path, sizeof(path), "%s/mine/deep", previous);
	assert_true(exists(path));
	assert_int_equal(f.result.only_live, 2); /* "unrelated" and "mine" */
	assert_int_equal(f.result.differing, 1);
}

static void
test_the_new_root_has_the_rights_of_the_old(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(chmod(f.dest, 0710), 0);
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(stat(f.dest, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0710);
}

static void
test_an_absent_destination_is_restored(void **state)
{
	(void)state;
	remove_tree(f.dest);
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_true(is_new(f.dest));
	assert_null(f.result.previous);
	assert_int_equal(tree_entries(f.out), tree_entries(f.dest) + 1);
}

static void
test_without_exchange_two_steps(void **state)
{
	(void)state;
	no_exchange = true;
	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), E_OK);
	expect_swapped();
}

/* a dry run leaves nothing but the named directory of records. */
static void
test_x13_a_dry_run_leaves_only_its_records(void **state)
{
	char path[500];

	(void)state;
	f.args.dry_run = true;
	f.args.artifacts = true;
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(
		path, sizeof(path), "%s/.holdfast_restore/" RUN_ID "/restore_plan.json", f.dest);
	assert_true(exists(path));
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore", f.dest);
	remove_tree(path);
	assert_true(is_old(f.dest));
	assert_int_equal(tree_entries(f.out), tree_entries(f.dest) + 1);
}

/* the same snapshot again has a run, a stage and a previous tree of its own. */
static void
test_x14_the_same_snapshot_twice(void **state)
{
	char second[400];

	(void)state;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.run_id = "20261121T000000Z-00000002";
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(second, sizeof(second),
		"%s/.holdfast_restore_previous_dest_20261121T000000Z-00000002", f.out);
	assert_true(is_new(f.dest));
	assert_true(is_new(second));
	assert_true(is_old(previous));
	assert_string_equal(f.result.previous, second);
}

static void
test_a_taken_name_refuses_before_the_first_byte(void **state)
{
	uint64_t before;

	(void)state;
	make_dir(previous);
	before = tree_digest(f.out);
	expect_rc(&f, fix_restore(&f), E_PREVIOUS_THERE);
	assert_int_equal(tree_digest(f.out), before);
}

static void
test_a_link_is_not_exchanged(void **state)
{
	char aside[400];

	(void)state;
	(void)snprintf(aside, sizeof(aside), "%s-aside", f.dest);
	assert_int_equal(rename(f.dest, aside), 0);
	assert_int_equal(symlink(aside, f.dest), 0);
	expect_rc(&f, fix_restore(&f), E_DEST_NOT_DIR);
	assert_true(is_old(aside));
}

static void
test_a_long_name_is_cut(void **state)
{
	char dest[600], name[211], *base;

	(void)state;
	memset(name, 'n', 210);
	name[210] = '\0';
	(void)snprintf(dest, sizeof(dest), "%s/%s", f.out, name);
	make_live(dest);
	f.args.dest = dest;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.dest = f.dest;
	assert_true(is_new(dest));
	base = strrchr(f.result.previous, '/') + 1;
	assert_int_equal(strlen(base), 255);
	assert_true(exists(f.result.previous));
}

/* Records of earlier runs stay with the tree they describe. */
static void
test_records_travel_with_their_trees(void **state)
{
	char path[500];

	(void)state;
	f.args.artifacts = true;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.run_id = "20261121T000000Z-00000002";
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore/" RUN_ID "/restore_summary.json",
		f.result.previous);
	assert_true(exists(path));
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore/" RUN_ID, f.dest);
	assert_false(exists(path));
	(void)snprintf(path, sizeof(path),
		"%s/.holdfast_restore/20261121T000000Z-00000002/execution_journal.jsonl", f.dest);
	assert_true(exists(path));
}

/* ---- every way it can end ---- */

static bool
prints(const char *text)
{
	bool found = strstr(f.e.detail, text) != NULL;

	for (unsigned i = 0; i < f.e.notes; i++)
		found |= strstr(f.e.note[i], text) != NULL;
	return found;
}

static enum ecode
run_with(struct fault_plan plan)
{
	struct session s;
	unsigned long fired;
	enum ecode rc;

	restore_result_done(&f.result);
	heard_init(&f.h);
	memset(&f.e, 0, sizeof(f.e));
	fault_os_init(&faults, &stubborn);
	faults.real_random = true;
	open_session(&s, &faults.os, f.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f.h);
	fault_os_plan(&faults, plan);
	rc = restore_run(&s, &f.args, &f.result, &f.e);
	fired = faults.fired;
	fault_os_plan(&faults, (struct fault_plan){ 0 });
	session_abandon(&s);
	faults.fired = fired;
	return rc;
}

/* The destination is there, or its tree is under the previous name and the refusal says so; both trees are whole. */
static void
judge(enum ecode rc)
{
	if (rc == E_OK || f.result.promoted) {
		assert_true(f.result.promoted);
		if (f.result.metadata_problems == 0)
			assert_true(is_new(f.dest));
		assert_true(is_old(f.result.previous));
		if (rc == E_PREVIOUS_KEPT)
			assert_true(prints(staged));
	} else if (exists(f.dest)) {
		assert_true(is_old(f.dest));
	} else {
		assert_int_equal(rc, E_PROMOTE);
		assert_true(prints(previous));
		assert_true(is_old(previous));
		assert_true(is_new(staged));
		assert_int_equal(rename(previous, f.dest), 0); /* the printed step */
	}
	assert_int_equal(faults.open_fds, 0);
}

static unsigned long
loop(struct fault_plan plan, bool stubborn_kernel)
{
	unsigned long refused = 0;

	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth++) {
		enum ecode rc;

		(void)each(NULL);
		no_exchange = stubborn_kernel;
		rc = run_with(plan);
		judge(rc);
		refused += rc != E_OK;
		if (faults.fired == 0)
			break;
	}
	assert_in_range(plan.nth, 10, CALLS_MAX - 1);
	return refused;
}

static void
test_x11_every_call_refused_once(void **state)
{
	(void)state;
	assert_in_range(loop((struct fault_plan){ .error = EIO }, false), 30, CALLS_MAX);
	assert_in_range(loop((struct fault_plan){ .error = EACCES }, true), 30, CALLS_MAX);
}

/* From the n-th change on nothing works any more, roll-backs included: what a crash leaves. */
static void
test_x11_death_after_every_change(void **state)
{
	struct fault_plan plan = { .error = EIO, .forever = true, .slots = SLOTS_MUTATING };

	(void)state;
	assert_in_range(loop(plan, false), 10, CALLS_MAX);
	assert_in_range(loop(plan, true), 10, CALLS_MAX);
}

static void
test_x11_exchange_refused(void **state)
{
	(void)state;
	rename_limit = 0;
	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), E_PROMOTE);
	assert_true(is_old(f.dest));
	assert_true(is_new(staged));
	assert_string_equal(f.result.stage, run_dir);
}

static void
test_x11_the_previous_name_refused(void **state)
{
	(void)state;
	rename_limit = 1;
	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), E_PREVIOUS_KEPT);
	assert_true(is_new(f.dest));
	assert_true(is_old(staged));
	assert_string_equal(f.result.previous, staged);
}

static void
test_x11_second_step_refused_and_rolled_back(void **state)
{
	struct fault_plan plan = { .error = EIO, .nth = 3, .slots = SLOT_BIT(SLOT_RENAME) };

	(void)state;
	no_exchange = true;
	expect_rc(&f, run_with(plan), E_PROMOTE);
	assert_true(is_old(f.dest));
	assert_true(is_new(staged));
	assert_false(exists(previous));
}

static void
test_x11_roll_back_refused_prints_the_step(void **state)
{
	(void)state;
	no_exchange = true;
	rename_limit = 1;
	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), E_PROMOTE);
	assert_false(exists(f.dest));
	assert_true(prints(previous));
	assert_true(is_old(previous));
	assert_true(is_new(staged));
}

/* ---- the look back at what an earlier run left ---- */

static void
leave_and_look(enum ecode first, const char *wanted)
{
	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), first);
	rename_limit = -1;
	heard_init(&f.h);
	f.args.run_id = "20261121T000000Z-00000002";
	f.args.dry_run = true; /* it only looks: what is told is not what is left by itself */
	expect_rc(&f, fix_restore(&f), E_OK);
	if (strstr(f.h.last_note, wanted) == NULL)
		print_message("# %s\n", f.h.last_note);
	assert_non_null(strstr(f.h.last_note, wanted));
	assert_non_null(strstr(f.h.last_note, RUN_ID));
}

static void
test_look_back_nothing_promoted(void **state)
{
	(void)state;
	rename_limit = 0;
	leave_and_look(E_PROMOTE, "put nothing in place");
	assert_true(is_new(staged));
}

static void
test_look_back_exchanged(void **state)
{
	(void)state;
	rename_limit = 1;
	leave_and_look(E_PREVIOUS_KEPT, "the tree that was there before is still");
	assert_true(is_old(staged));
	assert_true(is_new(f.dest));
}

static void
test_look_back_between_two_renames(void **state)
{
	(void)state;
	no_exchange = true;
	rename_limit = 1;
	leave_and_look(E_PROMOTE, "ended between its two renames");
	assert_true(is_old(previous));
	assert_true(is_new(staged));
}

/* ---- putting back ---- */

#define UNDO_ID "20261121T000000Z-00000009"

static enum ecode
undo(const struct os *os, struct undo_previous_result *out, struct arena *a, bool dry_run)
{
	struct undo_previous_args args = { .dest = f.dest, .run_id = UNDO_ID, .dry_run = dry_run };

	memset(&f.e, 0, sizeof(f.e));
	return undo_previous_run(os, &args, a, out, &f.e);
}

static void
test_undo_puts_the_newest_back(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1 << 24);
	struct undo_previous_result out;
	struct previous_tree *v;
	size_t n;

	(void)state;
	expect_rc(&f, undo(os_posix(), &out, &a, false), E_PREVIOUS_NONE);
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.run_id = "20261121T000000Z-00000002";
	expect_rc(&f, fix_restore(&f), E_OK);
	expect_rc(&f, undo_previous_list(os_posix(), f.dest, &a, &v, &n, &f.e), E_OK);
	assert_int_equal(n, 2);
	assert_string_equal(v[0].run_id, "20261121T000000Z-00000002");
	assert_string_equal(v[1].run_id, RUN_ID);
	expect_rc(&f, undo(os_posix(), &out, &a, true), E_OK);
	assert_false(out.done);
	assert_true(is_old(previous));
	expect_rc(&f,
		undo_previous_run(os_posix(),
			&(struct undo_previous_args){
				.dest = f.dest, .which = RUN_ID, .run_id = UNDO_ID },
			&a, &out, &f.e),
		E_OK);
	assert_true(out.done);
	assert_true(is_old(f.dest));
	assert_true(is_new(out.kept));
	assert_false(exists(previous));
}

/* Every kernel call of it refused, once and for ever, with and without an exchange. */
static void
undo_loop(bool forever, bool stubborn_kernel)
{
	for (unsigned long nth = 1;; nth++) {
		autoclean(arena_done) struct arena a = arena_limit(1 << 24);
		struct undo_previous_result out;
		struct fault_plan plan = { .nth = nth, .error = EIO, .forever = forever };
		enum ecode rc;

		(void)each(NULL);
		expect_rc(&f, fix_restore(&f), E_OK);
		no_exchange = stubborn_kernel;
		fault_os_init(&faults, &stubborn);
		fault_os_plan(&faults, plan);
		rc = undo(&faults.os, &out, &a, false);
		assert_int_equal(faults.open_fds, 0);
		if (out.done) {
			assert_true(is_old(f.dest));
			assert_true(is_new(out.kept));
		} else if (exists(f.dest)) {
			assert_true(is_new(f.dest));
			assert_true(is_old(previous));
		} else {
			assert_int_equal(rc, E_PROMOTE);
			assert_true(prints("mv -T"));
			assert_true(is_old(previous));
		}
		fault_os_done(&faults);
		if (faults.fired == 0) {
			assert_int_equal(rc, E_OK);
			assert_in_range(nth, 5, 100);
			return;
		}
	}
}

static void
test_undo_every_call_refused(void **state)
{
	(void)state;
	undo_loop(false, false);
	undo_loop(true, false);
	undo_loop(false, true);
	undo_loop(true, true);
}

/* ---- merge and add-only: what is there stays (C-02, X-01) ---- */

static char at[700];

static const char *
below(const char *dir, const char *name)
{
	assert_true(snprintf(at, sizeof(at), "%s/%s", dir, name) < (int)sizeof(at));
	return at;
}

static void
expect_text(const char *path, const char *text)
{
	char got[64] = "";
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	assert_int_equal(fread(got, 1, sizeof(got) - 1, file), strlen(text));
	(void)fclose(file);
	assert_string_equal(got, text);
}

static enum ecode
with_rule(enum conflict_rule rule)
{
	struct rules *globs = NULL;
	enum ecode rc;

	assert_int_equal(rules_open(&globs, &f.e), E_OK);
	assert_int_equal(rules_add(globs, "*", false, &f.e), E_OK);
	f.args.choices = globs;
	f.args.choice_rules = &rule;
	rc = fix_restore(&f);
	f.args.choices = NULL;
	f.args.choice_rules = NULL;
	rules_close(&globs);
	return rc;
}

/* More kinds than the live tree has by itself. */
static void
enrich_live(void)
{
	char a[500], b[500];
	int fd;

	(void)snprintf(a, sizeof(a), "%s/linked-1", f.dest);
	(void)snprintf(b, sizeof(b), "%s/mine/linked-2", f.dest);
	fix_put(f.dest, "linked-1", "one inode");
	assert_int_equal(link(a, b), 0);
	assert_int_equal(symlink("unrelated", below(f.dest, "pointer")), 0);
	assert_int_equal(mkfifo(below(f.dest, "queue"), 0640), 0);
	fd = open(below(f.dest, "holes"), O_CREAT | O_WRONLY | O_CLOEXEC, 0604);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "end", 3, 5 << 20), 3);
	assert_int_equal(close(fd), 0);
	fix_time(below(f.dest, "holes"));
	assert_int_equal(chmod(below(f.dest, "mine"), 0500), 0);
	fix_time(f.dest);
}

static void
test_x01_add_only_leaves_what_is_there(void **state)
{
	char why[512], before[400];
	struct stat st;

	(void)state;
	remove_tree(below(f.dest, "twin-a"));
	enrich_live();
	(void)snprintf(before, sizeof(before), "%s/before", f.dir);
	remove_tree(before);
	f.args.tree = TREE_ADD_ONLY;
	expect_rc(&f, fix_restore(&f), E_OK);
	expect_text(below(f.dest, "unrelated"), "precious");
	expect_text(below(f.dest, "mine/deep"), "also precious");
	expect_text(below(f.dest, "dir/small"), "small");
	expect_text(below(f.dest, "twin-a"), "small");
	assert_int_equal(stat(below(f.dest, "holes"), &st), 0);
	assert_true(st.st_blocks < 1000);
	assert_int_equal(stat(below(f.dest, "mine"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0500);
	/* what was there is there, and in the tree that is kept, alike in everything */
	for (const char *const *name =
			(const char *const[]){ "dir", "parts", "twin-a", "twin-b", NULL };
		*name != NULL; name++)
		remove_tree(below(f.dest, *name));
	fix_time(f.dest);
	if (!trees_equal(
		    f.result.previous, f.dest, COMPARE_ALL | COMPARE_ROOT_META, why, sizeof(why)))
		fail_msg("%s", why);
}

static void
test_a_difference_refuses_by_default(void **state)
{
	enum restore_tree trees[2] = { TREE_MERGE, TREE_ADD_ONLY };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		f.args.tree = trees[i];
		expect_rc(&f, fix_restore(&f), E_RESTORE_CONFLICT);
		assert_int_equal(f.result.unresolved, 1);
		assert_true(is_old(f.dest));
		assert_int_equal(tree_entries(f.out), tree_entries(f.dest) + 1);
	}
	expect_rc(&f, with_rule(CONFLICT_SNAPSHOT),
		E_RESTORE_CONFLICT); /* add-only replaces nothing */
	assert_true(is_old(f.dest));
}

static void
test_merge_rules(void **state)
{
	static const struct {
		enum conflict_rule rule;
		const char *text;
	} rules[] = { { CONFLICT_SNAPSHOT, "small" }, { CONFLICT_LIVE, "edited since" },
		{ CONFLICT_LARGER, "edited since" }, { CONFLICT_NEWER, "small" },
		{ CONFLICT_KEEP_BOTH, "small" } };

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		(void)each(NULL);
		f.args.tree = TREE_MERGE;
		expect_rc(&f, with_rule(rules[i].rule), E_OK);
		expect_text(below(f.dest, "twin-a"), rules[i].text);
		expect_text(below(f.dest, "twin-b"), "small");
		expect_text(below(f.dest, "unrelated"), "precious");
		assert_true(is_old(previous));
		if (rules[i].rule == CONFLICT_KEEP_BOTH)
			expect_text(below(f.dest, "twin-a.live-" RUN_ID), "edited since");
		else
			assert_false(exists(below(f.dest, "twin-a.live-" RUN_ID)));
	}
}

static void
test_merge_again_changes_nothing(void **state)
{
	char why[512];

	(void)state;
	f.args.tree = TREE_MERGE;
	expect_rc(&f, with_rule(CONFLICT_SNAPSHOT), E_OK);
	f.args.run_id = "20261121T000000Z-00000002";
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(f.result.differing, 0);
	if (!trees_equal(
		    f.result.previous, f.dest, COMPARE_ALL | COMPARE_ROOT_META, why, sizeof(why)))
		fail_msg("%s", why);
}

/* A directory where the snapshot has a file, and the other way round. */
static void
test_merge_of_other_types(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		(void)each(NULL);
		f.args.tree = TREE_MERGE;
		remove_tree(below(f.dest, "twin-a"));
		make_dir(below(f.dest, "twin-a"));
		fix_put(at, "inside", "kept");
		fix_put(f.dest, "dir", "a file");
		expect_rc(&f,
			with_rule(i == 0   ? CONFLICT_SNAPSHOT
				  : i == 1 ? CONFLICT_LIVE
					   : CONFLICT_KEEP_BOTH),
			E_OK);
		if (i == 1) {
			expect_text(below(f.dest, "twin-a/inside"), "kept");
			expect_text(below(f.dest, "dir"), "a file");
		} else {
			expect_text(below(f.dest, "twin-a"), "small");
			expect_text(below(f.dest, "dir/small"), "small");
		}
		if (i == 2) {
			expect_text(below(f.dest, "twin-a.live-" RUN_ID "/inside"), "kept");
			expect_text(below(f.dest, "dir.live-" RUN_ID), "a file");
		}
	}
}

/* Somebody writes to a file between the two looks at it. */
static unsigned fchmods;

static int
chmod_and_write(const struct os *os, int dir, const char *path, mode_t mode)
{
	const struct os *real = os_posix();

	(void)os;
	if (path == NULL && mode == 0604 && fchmods++ == 0)
		fix_put(f.dest, "unrelated", "and now something longer");
	return real->chmod(real, dir, path, mode);
}

static void
test_a_live_change_refuses(void **state)
{
	struct os busy = *os_posix();

	(void)state;
	busy.chmod = chmod_and_write;
	fchmods = 0;
	assert_int_equal(chmod(below(f.dest, "unrelated"), 0604), 0);
	f.args.tree = TREE_MERGE;
	f.os = &busy;
	f.threads = 1;
	expect_rc(&f, with_rule(CONFLICT_SNAPSHOT), E_LIVE_CHANGED);
	assert_false(f.result.promoted);
	expect_text(below(f.dest, "unrelated"), "and now something longer");
	assert_false(exists(previous));
}

static void
test_merge_every_call_refused(void **state)
{
	struct rules *globs = NULL;
	enum conflict_rule rule = CONFLICT_LIVE;
	unsigned long nth;

	(void)state;
	assert_int_equal(rules_open(&globs, &f.e), E_OK);
	assert_int_equal(rules_add(globs, "*", false, &f.e), E_OK);
	for (nth = 1; nth < CALLS_MAX; nth++) {
		enum ecode rc;

		(void)each(NULL);
		f.args.tree = TREE_MERGE;
		f.args.choices = globs;
		f.args.choice_rules = &rule;
		rc = run_with((struct fault_plan){ .nth = nth, .error = EIO });
		assert_int_equal(faults.open_fds, 0);
		if (rc == E_OK || f.result.promoted) {
			assert_true(is_old(f.result.previous));
			if (f.result.metadata_problems == 0) {
				expect_text(below(f.dest, "twin-a"), "edited since");
				expect_text(below(f.dest, "mine/deep"), "also precious");
				expect_text(below(f.dest, "dir/small"), "small");
			}
		} else {
			assert_true(is_old(f.dest));
		}
		if (faults.fired == 0)
			break;
	}
	f.args.choices = NULL;
	f.args.choice_rules = NULL;
	rules_close(&globs);
	assert_in_range(nth, 100, CALLS_MAX - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_x01_unrelated_files_are_in_the_previous_tree, each),
		cmocka_unit_test_setup(test_the_new_root_has_the_rights_of_the_old, each),
		cmocka_unit_test_setup(test_an_absent_destination_is_restored, each),
		cmocka_unit_test_setup(test_without_exchange_two_steps, each),
		cmocka_unit_test_setup(test_x13_a_dry_run_leaves_only_its_records, each),
		cmocka_unit_test_setup(test_x14_the_same_snapshot_twice, each),
		cmocka_unit_test_setup(test_a_taken_name_refuses_before_the_first_byte, each),
		cmocka_unit_test_setup(test_a_link_is_not_exchanged, each),
		cmocka_unit_test_setup(test_a_long_name_is_cut, each),
		cmocka_unit_test_setup(test_records_travel_with_their_trees, each),
		cmocka_unit_test_setup(test_x11_every_call_refused_once, each),
		cmocka_unit_test_setup(test_x11_death_after_every_change, each),
		cmocka_unit_test_setup(test_x11_exchange_refused, each),
		cmocka_unit_test_setup(test_x11_the_previous_name_refused, each),
		cmocka_unit_test_setup(test_x11_second_step_refused_and_rolled_back, each),
		cmocka_unit_test_setup(test_x11_roll_back_refused_prints_the_step, each),
		cmocka_unit_test_setup(test_look_back_nothing_promoted, each),
		cmocka_unit_test_setup(test_look_back_exchanged, each),
		cmocka_unit_test_setup(test_look_back_between_two_renames, each),
		cmocka_unit_test_setup(test_undo_puts_the_newest_back, each),
		cmocka_unit_test_setup(test_undo_every_call_refused, each),
		cmocka_unit_test_setup(test_x01_add_only_leaves_what_is_there, each),
		cmocka_unit_test_setup(test_a_difference_refuses_by_default, each),
		cmocka_unit_test_setup(test_merge_rules, each),
		cmocka_unit_test_setup(test_merge_again_changes_nothing, each),
		cmocka_unit_test_setup(test_merge_of_other_types, each),
		cmocka_unit_test_setup(test_a_live_change_refuses, each),
		cmocka_unit_test_setup(test_merge_every_call_refused, each),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
