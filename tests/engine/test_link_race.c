/*
 * Another process exchanges directories and files for links while a restore works (issue 4, reliability.md "Restoring as
 * root", I6): in the stage, in the destination of restore-swap and restore-in-place, and where restore-undo and a drill work.
 * Every link leads to canaries, which nothing may touch.  How a restore ends is left to it: done, or refused by a number; what
 * it must not do is follow.  The same race against a writer that goes by paths shows that it can be lost.
 */
#include "engine/link_race.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/drill.h"
#include "engine/undo.h"
#include "engine/undo_previous.h"
#include "support/jail.h"
#include "support/tmpdir.h"

#define FLIPS_EACH  30000U /* of each verb; four verbs */
#define FLIPS_SETS  10000U /* of the undo of a set: each round is a restore, too, without a race */
#define FLIPS_TREE  4000U  /* of the undo of a swap, which is a few calls */
#define FLIPS_ALL   100000U
#define RUN         "20261121T000000Z-"
#define RUN_DONE    RUN "ffffffff" /* the restore that is undone: its previous tree has this name */
#define FLIPS_DRILL 4000U
/* Restores of one verb at most; measured are 100 to 400 for that many flips. */
#define ROUNDS_MAX  20000U
#define NAIVE_MAX   200000U
#define HANG_S      500
#define PARTS       9000U

#define STAGE "out/dest.holdfast_stage"
#define ROOT  STAGE "/%s/stage_root"
static const struct spot spots[] = {
	{ ROOT, "a", "tree/a" },
	{ ROOT, "a/b", "tree/a/b" },
	{ ROOT, "c", "tree/c" },
	{ ROOT, "a/f", "tree/a/f" },
	{ ROOT, "a/b/f", "tree/a/b/f" },
	{ ROOT, "c/big", "tree/c/big" },
	{ ROOT, "pipe", "tree/pipe" },
	{ ROOT, "c/twin", "tree/a/f" },
	{ STAGE "/%s", "stage_root", "tree" },
	{ STAGE, "%s", "run" },
	{ "out", "dest.holdfast_stage", "stage" },
	{ "out/dest", "a", "tree/a" },
	{ "out/dest", "a/b", "tree/a/b" },
	{ "out/dest", "c", "tree/c" },
	{ "out/dest", "a/f", "tree/a/f" },
	{ "out/dest", "a/b/f", "tree/a/b/f" },
	{ "out/dest", "c/big", "tree/c/big" },
	{ "out/dest", "pipe", "tree/pipe" },
	{ "out/dest", "keep", "tree/a" },
	{ "out", "dest", "tree" },
	{ "out/dest", ".holdfast_undo_%s", "tree/a" },
	{ "out", ".holdfast_restore_previous_dest_%s", "tree" },
	{ "drills", "holdfast-drill-%s", "run" },
	{ "drills/holdfast-drill-%s", "tree", "tree" },
	{ "drills/holdfast-drill-%s", "tree/a", "tree/a" },
	{ "drills/holdfast-drill-%s", "tree/c/big", "tree/c/big" },
	{ "drills/holdfast-drill-%s", "control", "tree/a/f" },
};
#define SPOTS (sizeof(spots) / sizeof(spots[0]))

/* ---- the place ---- */

static void
put(const char *dir, const char *rel, mode_t mode)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, rel);
	write_file(path, rel, strlen(rel));
	assert_int_equal(chmod(path, mode), 0);
}

static void
make_dirs(const char *dir, const char *const *rel)
{
	char path[700];

	assert_int_equal(mkdir(dir, 0755), 0);
	for (; *rel != NULL; rel++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, *rel);
		assert_int_equal(mkdir(path, 0755), 0);
	}
}

/* Modes and contents unlike those of the snapshot: whatever follows a link shows. */
static void
make_canary(const char *dir)
{
	static const char *const dirs[] = { "tree", "tree/a", "tree/a/b", "tree/c", "run",
		"run/stage_root", "stage", NULL };

	make_dirs(dir, dirs);
	put(dir, "tree/a/f", 0600);
	put(dir, "tree/a/b/f", 0600);
	put(dir, "tree/a/b/old", 0600);
	put(dir, "tree/c/big", 0640);
	put(dir, "tree/pipe", 0600);
	put(dir, "run/stage_root/a", 0600);
}

static void
make_live(const char *dir)
{
	static const char *const dirs[] = { "a", "a/b", "c", "keep", NULL };

	make_dirs(dir, dirs);
	put(dir, "a/f", 0644);
	put(dir, "a/b/f", 0640);
	put(dir, "c/big", 0644);
	put(dir, "keep/kept", 0644);
}

static void
make_snapshot(struct fix *f)
{
	static uint8_t big[PARTS];
	struct node b[2], a[2], c[3], top[4];
	struct id x[2], tree[3];
	struct session s;
	struct maker m;

	memset(big, 'b', sizeof(big));
	fix_make(f, &s, &m);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	b[0] = node_file("f", &x[1], 1, 5);
	b[1] = node_file("g", &x[1], 1, 5);
	tree[0] = maker_tree(&m, b, 2);
	a[0] = node_dir("b", &tree[0]);
	a[1] = node_file("f", &x[1], 1, 5);
	a[1].mode = MODE_SETUID | 0755;
	a[1].inode = 7;
	a[1].links = 2;
	tree[1] = maker_tree(&m, a, 2);
	c[0] = node_file("big", x, 2, PARTS + 5);
	c[1] = node_file("none", NULL, 0, 0);
	c[2] = a[1];
	c[2].name = (struct slice){ (const uint8_t *)"twin", 4 };
	tree[2] = maker_tree(&m, c, 3);
	top[0] = node_dir("a", &tree[1]);
	top[1] = node_dir("c", &tree[2]);
	top[2] = node_symlink("link", "a/f");
	top[3] = node_symlink("pipe", "");
	top[3].type = NODE_FIFO;
	top[3].mode = MODE_FIFO | 0666;
	fix_made(&s, &m, top, 4);
}

/* ---- restores ---- */

struct verb {
	const char *name;
	enum restore_kind kind;
	enum restore_tree tree;
	unsigned long flips;
	enum ecode (*after)(const char *run); /* raced against instead, once the restore is done */
};
static enum ecode undo_set(const char *run);
static enum ecode undo_tree(const char *run);
static enum ecode drill(const char *run);
static const struct verb verbs[] = {
	{ "restore", RESTORE_EMPTY, TREE_EXACT, FLIPS_EACH, NULL },
	{ "swap", RESTORE_SWAP, TREE_EXACT, FLIPS_EACH, NULL },
	{ "merge", RESTORE_SWAP, TREE_MERGE, FLIPS_EACH, NULL },
	{ "in-place", RESTORE_IN_PLACE, TREE_EXACT, FLIPS_EACH, NULL },
	{ "undo of a set", RESTORE_IN_PLACE, TREE_EXACT, FLIPS_SETS, undo_set },
	{ "undo of a swap", RESTORE_SWAP, TREE_EXACT, FLIPS_TREE, undo_tree },
	{ "drill", RESTORE_EMPTY, TREE_EXACT, FLIPS_DRILL, drill },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static struct fix f;
static struct race race;
static struct rules *all;
static char sets[300], state_dir[300], drills[300];
static unsigned long flips[VERBS];

static void
set_verb(const struct verb *v, const char *run)
{
	static const enum conflict_rule snapshot[] = { CONFLICT_SNAPSHOT };

	f.args = (struct restore_args){ .snapshot = "latest",
		.dest = f.dest,
		.run_id = run,
		.verify = VERIFY_HASH,
		.kind = v->kind,
		.tree = v->tree,
		.choices = all,
		.choice_rules = snapshot,
		.artifacts = true,
		.fallback_dir = state_dir,
		.safety_dir = v->kind == RESTORE_IN_PLACE ? sets : NULL };
}

/* Everything but where the restore and the race are at work. */
static char *
census(void)
{
	static const char *const skip[] = { "drills", "out", "race", "sets", "state", "vault",
		NULL };
	static const char *const grows[] = { ".", NULL };

	return jail_census(f.dir, skip, grows);
}

static void
fresh_place(const struct verb *v)
{
	race_clear(f.out);
	race_clear(sets);
	race_clear(state_dir);
	race_clear(drills);
	assert_int_equal(mkdir(drills, 0755), 0);
	assert_int_equal(mkdir(f.out, 0755), 0);
	assert_int_equal(mkdir(state_dir, 0755), 0);
	if (v->kind != RESTORE_EMPTY)
		make_live(f.dest);
}

/* The only set there is. */
static enum ecode
undo_set(const char *run)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 26);
	struct undo_args args = { .base = sets, .run_id = run };
	struct safety_sets found;
	struct undo_result out;

	assert_int_equal(safety_list(os_posix(), sets, &a, &found, &f.e), E_OK);
	assert_int_equal(found.n, 1);
	args.set = found.v[0].name;
	return undo_run(f.os, &args, &a, &out, &f.e);
}

static enum ecode
undo_tree(const char *run)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 26);
	struct undo_previous_args args = { .dest = f.dest, .run_id = run, .state_dir = state_dir };
	struct undo_previous_result out;

	return undo_previous_run(os_posix(), &args, &a, &out, &f.e);
}

static enum ecode
drill(const char *run)
{
	struct drill_args args = { .snapshot = "latest",
		.parent = drills,
		.run_id = run,
		.state_dir = state_dir,
		.kind = DRILL_FULL };
	struct drill_result out;
	struct session s;
	enum ecode rc;

	open_session(&s, os_posix(), f.vault, TEST_PASSWORD, f.threads, SESSION_NO_LOCK, &f.h);
	s.os = f.os;
	rc = drill_run(&s, &args, &out, &f.e);
	session_abandon(&s);
	drill_result_done(&out);
	return rc;
}

static bool
one_restore(const struct verb *v, unsigned round)
{
	static const unsigned pauses[] = { 0, 4, 40, 400 };
	char run[32];
	enum ecode rc;

	(void)snprintf(run, sizeof(run), RUN "%08x", round);
	fresh_place(v);
	set_verb(v, v->after != NULL ? RUN_DONE : run);
	heard_init(&f.h);
	if (v->after != NULL)
		expect_rc(&f, fix_restore(&f), E_OK);
	memset(&f.e, 0, sizeof(f.e));
	race_go(&race, round % 8 >= 4 && v->after != NULL ? RUN_DONE : run, pauses[round % 4]);
	rc = v->after != NULL ? v->after(run) : fix_restore(&f);
	race_halt(&race);
	if (rc != E_OK && err_row(rc)->class == CLASS_INTERNAL)
		expect_rc(&f, rc, E_OK);
	if (rc != E_OK)
		assert_true(f.e.detail[0] != '\0');
	return rc == E_OK;
}

static void
race_verb(size_t i)
{
	unsigned long from = race.shared->flips, done = 0, rounds = 0;
	char *before = census(), *after;

	/* enough flips, and both ends were met: on a busy machine one may be rare */
	while (race.shared->flips - from < verbs[i].flips ||
		((done == 0 || done == rounds) && rounds < ROUNDS_MAX)) {
		assert_in_range(rounds, 0, ROUNDS_MAX);
		done += one_restore(&verbs[i], (unsigned)rounds++);
		after = census();
		if (!jail_same(before, after, verbs[i].name))
			fail_msg("escaped in round %lu of %s: %s %s", rounds, verbs[i].name,
				err_row(f.e.code)->name, f.e.detail);
		free(after);
	}
	free(before);
	flips[i] = race.shared->flips - from;
	print_message("# %s: %lu flips; of %lu restores %lu were done, %lu refused\n",
		verbs[i].name, flips[i], rounds, done, rounds - done);
	assert_true(done < rounds); /* the race was met */
}

static void
test_restore(void **state)
{
	(void)state;
	race_verb(0);
}

static void
test_swap(void **state)
{
	(void)state;
	race_verb(1);
}

static void
test_merge(void **state)
{
	(void)state;
	race_verb(2);
}

static void
test_in_place(void **state)
{
	(void)state;
	race_verb(3);
}

static void
test_undo_of_a_set(void **state)
{
	(void)state;
	race_verb(4);
}

static void
test_undo_of_a_swap(void **state)
{
	(void)state;
	race_verb(5);
}

static void
test_drill(void **state)
{
	(void)state;
	race_verb(6);
}

static void
test_flips_were_enough(void **state)
{
	unsigned long sum = 0;

	(void)state;
	for (size_t i = 0; i < VERBS; i++)
		sum += flips[i];
	print_message("# %lu flips in all, 0 escapes\n", sum);
	assert_true(sum >= FLIPS_ALL);
}

/* ---- the worst moment, without luck ---- */

static unsigned swapped;

/* The pipe that was just made becomes a link to a canary. */
static int
mknod_and_swap(const struct os *os, int dir, const char *name, mode_t mode, uint64_t rdev)
{
	int rc = os_posix()->mknod(os, dir, name, mode, rdev);
	char target[400];

	(void)snprintf(target, sizeof(target), "%s/tree/pipe", race.canary);
	if (rc >= 0 && unlinkat(dir, name, 0) == 0 && symlinkat(target, dir, name) == 0)
		swapped++;
	return rc;
}

static void
test_a_pipe_becomes_a_link_before_it_is_described(void **state)
{
	char *before = census(), *after;
	struct os os = *os_posix();
	enum ecode rc;

	(void)state;
	os.mknod = mknod_and_swap;
	fresh_place(&verbs[0]);
	set_verb(&verbs[0], "pipe");
	heard_init(&f.h);
	f.os = &os;
	rc = fix_restore(&f);
	f.os = os_posix();
	expect_rc(&f, rc, E_STAGE_VERIFY);
	assert_int_equal(swapped, 1);
	after = census();
	assert_true(jail_same(before, after, "a pipe becomes a link"));
	free(before);
	free(after);
}

static void
test_a_pipe_becomes_a_link_before_an_undo_describes_it(void **state)
{
	char path[700], *before, *after;
	struct os os = *os_posix();
	enum ecode rc;

	(void)state;
	os.mknod = mknod_and_swap;
	fresh_place(&verbs[4]);
	(void)snprintf(path, sizeof(path), "%s/c/big", f.dest);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0666), 0);
	set_verb(&verbs[4], RUN_DONE);
	heard_init(&f.h);
	expect_rc(&f, fix_restore(&f), E_OK);
	before = census();
	swapped = 0;
	f.os = &os;
	rc = undo_set(RUN "00000001");
	f.os = os_posix();
	after = census();
	assert_int_equal(swapped, 1);
	assert_true(rc == E_OK || err_row(rc)->class != CLASS_INTERNAL);
	assert_true(jail_same(before, after, "an undo's pipe becomes a link"));
	free(before);
	free(after);
}

static bool as_link; /* else a directory where everybody may work */

/* The drill's private directory becomes a link to a canary, or another directory, once it is made. */
static int
mkdir_and_swap(const struct os *os, int dir, const char *name, mode_t mode)
{
	int rc = os_posix()->mkdir(os, dir, name, mode);
	char target[400], away[400];

	(void)snprintf(target, sizeof(target), "%s/run", race.canary);
	(void)snprintf(away, sizeof(away), "%s/away", drills);
	if (rc < 0 || strstr(name, "/holdfast-drill-") == NULL || rename(name, away) != 0)
		return rc;
	if (as_link)
		swapped += symlink(target, name) == 0;
	else
		swapped += mkdir(name, 0777) == 0 && chmod(name, 0777) == 0;
	return rc;
}

static void
drill_elsewhere(bool link)
{
	char *before, *after;
	struct os os = *os_posix();
	enum ecode rc;

	os.mkdir = mkdir_and_swap;
	as_link = link;
	fresh_place(&verbs[6]);
	heard_init(&f.h);
	before = census();
	swapped = 0;
	f.os = &os;
	rc = drill(RUN "00000001");
	f.os = os_posix();
	after = census();
	assert_int_equal(swapped, 1);
	expect_rc(&f, rc, E_DEST_PARENT);
	assert_true(jail_same(before, after, "a drill's directory is another"));
	free(before);
	free(after);
}

static void
test_a_drills_directory_becomes_a_link(void **state)
{
	(void)state;
	drill_elsewhere(true);
}

static void
test_a_drills_directory_becomes_everybodys(void **state)
{
	(void)state;
	drill_elsewhere(false);
}

/* ---- the same race against one who goes by paths ---- */

static void
write_naively(const char *dest)
{
	static const char *const dirs[] = { "a", "a/b", "c" };
	static const char *const files[] = { "a/f", "a/b/f", "c/big" };
	char path[700];

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dest, dirs[i]);
		(void)mkdir(path, 0755);
	}
	for (size_t i = 0; i < 3; i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", dest, files[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			continue;
		(void)!write(fd, "escaped", 7);
		(void)close(fd);
	}
}

static void
test_one_who_goes_by_paths_loses(void **state)
{
	static const struct spot live[] = {
		{ "naive", "a", "tree/a" },
		{ "naive", "a/b", "tree/a/b" },
		{ "naive", "c", "tree/c" },
	};
	struct race r = { .spots = live, .n = 3 };
	char *before, *after, dest[300];
	bool same = true;
	unsigned tries = 0;

	(void)state;
	fix_path(&f, "naive-race", r.dir, sizeof(r.dir));
	fix_path(&f, "naive-canary", r.canary, sizeof(r.canary));
	fix_path(&f, "naive", dest, sizeof(dest));
	(void)snprintf(r.root, sizeof(r.root), "%s", f.dir);
	make_canary(r.canary);
	make_live(dest);
	before = jail_census(r.canary, NULL, NULL);
	race_begin(&r);
	race_go(&r, "naive", 0);
	while (same && tries++ < NAIVE_MAX) {
		write_naively(dest);
		after = jail_census(r.canary, NULL, NULL);
		same = strcmp(before, after) == 0;
		free(after);
	}
	race_halt(&r);
	print_message("# by paths: %lu flips, escaped in round %u\n", r.shared->flips, tries);
	race_end(&r);
	free(before);
	assert_false(same);
}

static int
setup(void **state)
{
	(void)state;
	(void)alarm(HANG_S);
	fix_begin(&f);
	fix_path(&f, "sets", sets, sizeof(sets));
	fix_path(&f, "drills", drills, sizeof(drills));
	fix_path(&f, "state", state_dir, sizeof(state_dir));
	fix_path(&f, "race", race.dir, sizeof(race.dir));
	fix_path(&f, "canary", race.canary, sizeof(race.canary));
	(void)snprintf(race.root, sizeof(race.root), "%s", f.dir);
	race.spots = spots;
	race.n = SPOTS;
	f.threads = 2;
	make_canary(race.canary);
	make_snapshot(&f);
	assert_int_equal(rules_open(&all, &f.e), E_OK);
	assert_int_equal(rules_add(all, "*", false, &f.e), E_OK);
	race_begin(&race);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	race_end(&race);
	rules_close(&all);
	fix_end(&f);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_undo_of_a_set),
		cmocka_unit_test(test_undo_of_a_swap),
		cmocka_unit_test(test_drill),
		cmocka_unit_test(test_flips_were_enough),
		cmocka_unit_test(test_a_pipe_becomes_a_link_before_it_is_described),
		cmocka_unit_test(test_a_pipe_becomes_a_link_before_an_undo_describes_it),
		cmocka_unit_test(test_a_drills_directory_becomes_a_link),
		cmocka_unit_test(test_a_drills_directory_becomes_everybodys),
		cmocka_unit_test(test_one_who_goes_by_paths_loses),
	};

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncfs */
	(void)umask(022);
	return cmocka_run_group_tests(tests, setup, teardown);
}
