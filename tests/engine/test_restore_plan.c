/*
 * A plan is a document: the same snapshot, destination, options and clock give
 * the same bytes, whatever the threads, the order of directories on disk and the
 * blocks of files were (D-15, WC-03, scenario 12); and it is carried out only
 * while snapshot, destination and plan are what was approved (IX-47, WC-46).
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/safety.h"
#include "engine/undo.h"
#include "support/tmpdir.h"

#define FILES 40 /* enough for several threads to be out of order */
#define RUN   "20261121T000000Z-0000000a"

static struct fix f;
static char plan[400], live[400], sets[400];

static const char *const tails[3] = { "", ".candidates.jsonl", ".conflicts.jsonl" };

struct verb {
	const char *name;
	enum restore_kind kind;
	enum restore_tree tree;
};
static const struct verb verbs[] = {
	{ "restore", RESTORE_EMPTY, TREE_EXACT },
	{ "restore-swap exact", RESTORE_SWAP, TREE_EXACT },
	{ "restore-swap merge", RESTORE_SWAP, TREE_MERGE },
	{ "restore-swap add-only", RESTORE_SWAP, TREE_ADD_ONLY },
	{ "restore-in-place", RESTORE_IN_PLACE, TREE_EXACT },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static struct instant
still_clock(const struct os *os)
{
	(void)os;
	return (struct instant){ .s = 1795219200 };
}
static struct os still;

/* ---- the vault ---- */

static struct id
make_snapshot(const char *text)
{
	struct session s;
	struct maker m;
	struct node nodes[FILES + 2], inner[FILES];
	char names[FILES][16];
	struct id x, y, sub, tree;

	open_session(&s, os_posix(), f.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f.h);
	maker_begin(&m, &s);
	x = maker_data(&m, text, strlen(text));
	y = maker_data(&m, "the same everywhere", 19);
	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "file-%02u", i);
		inner[i] = node_file(
			names[i], i % 3 == 0 ? &y : &x, 1, i % 3 == 0 ? 19 : strlen(text));
		nodes[i] = inner[i];
	}
	sub = maker_tree(&m, inner, FILES);
	nodes[FILES] = node_dir("folder", &sub);
	nodes[FILES + 1] = node_symlink("link", "folder");
	tree = maker_tree(&m, nodes, FILES + 2);
	tree = maker_end(&m, &tree);
	session_abandon(&s);
	return tree;
}

static int
setup(void **state)
{
	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	make_vault(os_posix(), f.vault, 2);
	(void)make_snapshot("first");
	fix_path(&f, "plan.json", plan, sizeof(plan));
	fix_path(&f, "out/live", live, sizeof(live));
	fix_path(&f, "sets", sets, sizeof(sets));
	still = *os_posix();
	still.wall = still_clock;
	f.args.run_id = RUN;
	f.args.artifacts = true;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fix_end(&f);
	return 0;
}

/* ---- the destination ---- */

static void
put_live(const char *rel, const char *text, bool more_blocks)
{
	const struct timespec times[2] = { { .tv_sec = 1700000000 }, { .tv_sec = 1700000000 } };
	char path[600];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	if (more_blocks) /* reserved behind the end, as a file system does when a file grew slowly */
		(void)(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20) == 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(close(fd), 0);
}

/* The same tree, made in one order or the other, with other blocks. */
static void
make_live(const struct verb *v, bool otherwise)
{
	char name[32];

	remove_tree(f.out);
	assert_int_equal(mkdir(f.out, 0755), 0);
	f.args.dest = live;
	if (v->kind == RESTORE_EMPTY)
		return;
	assert_int_equal(mkdir(live, 0755), 0);
	tmpdir_mkdir(live, "folder");
	for (unsigned k = 0; k < FILES; k++) {
		unsigned i = otherwise ? FILES - 1 - k : k;

		(void)snprintf(name, sizeof(name), "mine-%02u", i);
		put_live(name, "only here", otherwise);
		(void)snprintf(name, sizeof(name), "folder/file-%02u", i);
		if (i % 2 == 0)
			put_live(name, "differs", otherwise);
	}
}

static void
remove_plan(void)
{
	char path[500];

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s%s", plan, tails[i]);
		(void)unlink(path);
	}
}

static enum ecode
write_plan(const struct verb *v)
{
	static const enum conflict_rule rule[] = { CONFLICT_LIVE };
	struct rules *rules = NULL;
	enum ecode rc;

	assert_int_equal(rules_open(&rules, &f.e), E_OK);
	assert_int_equal(rules_add(rules, "*", false, &f.e), E_OK);
	remove_plan();
	f.args.kind = v->kind;
	f.args.tree = v->tree;
	f.args.choices = v->tree != TREE_EXACT ? rules : NULL;
	f.args.choice_rules = rule;
	f.args.plan_file = plan;
	rc = fix_restore(&f);
	f.args.plan_file = NULL;
	f.args.choices = NULL;
	rules_close(&rules);
	return rc;
}

static void
take_plan(char *texts[3])
{
	char name[64];
	size_t len;

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof(name), "plan.json%s", tails[i]);
		texts[i] = tmpdir_read(f.dir, name, &len);
	}
}

/* ---- the same bytes ---- */

static void
same_bytes(const struct verb *v, unsigned threads, bool otherwise)
{
	char *before[3], *after[3];

	f.os = &still;
	f.threads = 0;
	make_live(v, false);
	expect_rc(&f, write_plan(v), E_OK);
	take_plan(before);
	make_live(v, otherwise);
	f.threads = threads;
	expect_rc(&f, write_plan(v), E_OK);
	take_plan(after);
	for (size_t i = 0; i < 3; i++) {
		if (strcmp(before[i], after[i]) != 0)
			print_message("# %s, %u threads: plan.json%s\n%s\n%s\n", v->name, threads,
				tails[i], before[i], after[i]);
		assert_string_equal(before[i], after[i]);
		free(before[i]);
		free(after[i]);
	}
}

static void
test_D15_same_inputs_and_clock_give_the_same_plan_of_every_verb(void **state)
{
	(void)state;
	for (size_t i = 0; i < VERBS; i++)
		for (unsigned threads = 0; threads < 5; threads += 2) {
			same_bytes(&verbs[i], threads, false);
			same_bytes(&verbs[i], threads, true);
		}
}

/* Only the time of the plan moves with the clock; its digest does not. */
static void
test_D15_the_clock_is_no_part_of_what_is_approved(void **state)
{
	struct id digest;

	(void)state;
	make_live(&verbs[1], false);
	f.os = &still;
	expect_rc(&f, write_plan(&verbs[1]), E_OK);
	digest = f.result.plan_digest;
	f.os = os_posix();
	expect_rc(&f, write_plan(&verbs[1]), E_OK);
	assert_int_equal(id_cmp(&digest, &f.result.plan_digest), 0);
}

/* What an undo would do, asked twice: the same paths in the same order. */
static void
test_D15_the_plan_of_an_undo_is_the_same_twice(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 26);
	struct undo_result one, two;
	struct undo_args args = { .base = sets, .run_id = "show", .dry_run = true };

	(void)state;
	make_live(&verbs[4], false);
	f.os = os_posix();
	f.threads = 2;
	f.args.kind = RESTORE_IN_PLACE;
	f.args.safety_dir = sets;
	expect_rc(&f, fix_restore(&f), E_OK);
	args.set = strrchr(f.result.safety, '/') + 1;
	assert_int_equal(undo_run(os_posix(), &args, &a, &one, &f.e), E_OK);
	assert_int_equal(undo_run(os_posix(), &args, &a, &two, &f.e), E_OK);
	assert_in_range(one.count, FILES, 10 * FILES);
	assert_int_equal(one.count, two.count);
	for (size_t i = 0; i < one.count; i++) {
		assert_string_equal(one.paths[i].entry->rel, two.paths[i].entry->rel);
		assert_int_equal(one.paths[i].state, two.paths[i].state);
	}
}

/* ---- carried out only while it fits ---- */

static enum ecode
apply(void)
{
	struct restore_approval hold = { .includes = NULL };
	struct restore_args keep = f.args;
	enum ecode rc;

	f.args.safety_dir = sets;
	rc = restore_plan_load(os_posix(), plan, NULL, &hold, &f.args, &f.e);
	if (rc == E_OK)
		rc = fix_restore(&f);
	f.args = keep;
	restore_approval_done(&hold);
	return rc;
}

/* Refused with this code, and nothing beside the plan was changed. */
static void
expect_refused(enum ecode wanted)
{
	uint64_t before = tree_digest(f.out);

	expect_rc(&f, apply(), wanted);
	assert_true(tree_digest(f.out) == before);
	assert_false(f.result.promoted);
}

static void
snapshot_path(const struct id *id, char *out, size_t size)
{
	char hex[ID_HEX_SIZE];

	id_hex(id, hex);
	assert_true(snprintf(out, size, "%s/snapshots/%s", f.vault, hex) < (int)size);
}

static void
test_apply_refuses_when_the_snapshot_changed(void **state)
{
	char path[600], other[600], aside[400];
	struct id second;

	(void)state;
	for (size_t i = 0; i < VERBS; i++) {
		make_live(&verbs[i], false);
		f.os = os_posix();
		expect_rc(&f, write_plan(&verbs[i]), E_OK);
		snapshot_path(&f.result.snapshot_id, path, sizeof(path));
		fix_path(&f, "aside", aside, sizeof(aside));
		assert_int_equal(rename(path, aside), 0);
		assert_int_not_equal(apply(), E_OK); /* forgotten since */
		assert_false(f.result.promoted);
		second = make_snapshot("second");
		snapshot_path(&second, other, sizeof(other));
		assert_int_equal(rename(other, path), 0); /* another one under its name */
		assert_int_not_equal(apply(), E_OK);
		assert_false(f.result.promoted);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(rename(aside, path), 0);
		expect_rc(&f, apply(), E_OK);
	}
}

/* "latest" is what it was when the plan was made. */
static void
test_apply_restores_the_snapshot_that_was_approved(void **state)
{
	struct id approved;

	(void)state;
	make_live(&verbs[0], false);
	f.os = os_posix();
	expect_rc(&f, write_plan(&verbs[0]), E_OK);
	approved = f.result.snapshot_id;
	(void)make_snapshot("newer");
	expect_rc(&f, apply(), E_OK);
	assert_int_equal(id_cmp(&approved, &f.result.snapshot_id), 0);
}

static void
test_apply_refuses_when_the_destination_changed(void **state)
{
	char path[500];

	(void)state;
	f.os = os_posix();
	make_live(&verbs[0], false);
	expect_rc(&f, write_plan(&verbs[0]), E_OK);
	assert_int_equal(mkdir(live, 0755), 0);
	put_live("new", "x", false);
	expect_refused(E_DEST_NOT_EMPTY);
	for (size_t i = 1; i < VERBS; i++) {
		make_live(&verbs[i], false);
		expect_rc(&f, write_plan(&verbs[i]), E_OK);
		put_live("new", "x", false); /* one more */
		expect_refused(E_PLAN_CHANGED);
		(void)snprintf(path, sizeof(path), "%s/new", live);
		assert_int_equal(unlink(path), 0);
		(void)snprintf(path, sizeof(path), "%s/mine-00", live); /* one less */
		assert_int_equal(unlink(path), 0);
		expect_refused(E_PLAN_CHANGED);
		put_live("mine-00", "only here", false);
		(void)snprintf(path, sizeof(path), "%s/folder/file-00", live); /* another length */
		assert_int_equal(unlink(path), 0);
		put_live("folder/file-00", "something else", false);
		expect_refused(E_PLAN_CHANGED);
		assert_int_equal(unlink(path), 0);
		put_live("folder/file-00", "differs", false);
		expect_rc(&f, apply(), E_OK); /* as it was: it fits again */
	}
}

static void
edit(const char *from, const char *to)
{
	size_t len;
	char *text = tmpdir_read(f.dir, "plan.json", &len), *at = strstr(text, from);

	assert_int_equal(strlen(from), strlen(to));
	assert_non_null(at);
	memcpy(at, to, strlen(to));
	write_file(plan, text, len);
	free(text);
}

static void
test_apply_refuses_when_the_plan_digest_changed(void **state)
{
	char hex[ID_HEX_SIZE], other[ID_HEX_SIZE];

	(void)state;
	f.os = os_posix();
	for (size_t i = 0; i < VERBS; i++) {
		make_live(&verbs[i], false);
		expect_rc(&f, write_plan(&verbs[i]), E_OK);
		id_hex(&f.result.plan_digest, hex);
		memcpy(other, hex, sizeof(other));
		other[5] = other[5] == '0' ? '1' : '0';
		edit(hex, other);
		expect_refused(E_PLAN_FILE);
		edit(other, hex);
		edit("\"verify\":\"hash\"", "\"verify\":\"none\"");
		expect_refused(E_PLAN_FILE);
		edit("\"verify\":\"none\"", "\"verify\":\"hash\"");
		expect_rc(&f, apply(), E_OK);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D15_same_inputs_and_clock_give_the_same_plan_of_every_verb),
		cmocka_unit_test(test_D15_the_clock_is_no_part_of_what_is_approved),
		cmocka_unit_test(test_D15_the_plan_of_an_undo_is_the_same_twice),
		cmocka_unit_test(test_apply_refuses_when_the_snapshot_changed),
		cmocka_unit_test(test_apply_restores_the_snapshot_that_was_approved),
		cmocka_unit_test(test_apply_refuses_when_the_destination_changed),
		cmocka_unit_test(test_apply_refuses_when_the_plan_digest_changed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
