/*
 * restore-in-place: what was there goes to the safety set before the first
 * change; each path is then old or new, and whole, whatever refuses (D-5, D-8,
 * DF-10…13, DF-15).  And restore-undo, which brings it back.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "engine/safety.h"
#include "engine/undo.h"
#include "os/io.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define CALLS_MAX 8000
#define PARTS     100000

#define MADE 1600000000 /* seconds; the time of every node of make_vault.c */

static struct fix f;
static struct fault_os faults;
static char home[300], live[300], sets[300], kept[300];
static uint8_t big[PARTS], old_big[PARTS];
static unsigned long refused, halfway;

static void
put_text(const char *rel, const char *text, mode_t mode)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	write_file(path, text, strlen(text));
	assert_int_equal(chmod(path, mode), 0);
}

static void
make_live_dir(const char *rel)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* The live tree before a restore. */
static void
make_old(void)
{
	char path[700];

	remove_tree(live);
	remove_tree(sets);
	assert_int_equal(mkdir(live, 0755), 0);
	make_live_dir("dir");
	put_text("dir/small", "the old small one", 0600);
	put_text("dir/mine", "only here", 0640);
	make_live_dir("thing");
	make_live_dir("thing/deep");
	put_text("thing/deep/x", "deep", 0644);
	put_text("thing/y", "why", 0400);
	put_text("folder", "a file in the way", 0644);
	put_text("twin-a", "old twin", 0644);
	(void)snprintf(path, sizeof(path), "%s/parts", live);
	write_file(path, old_big, sizeof(old_big));
	(void)snprintf(path, sizeof(path), "%s/link", live);
	assert_int_equal(symlink("elsewhere", path), 0);
}

static int
setup(void **state)
{
	struct session s;
	struct maker m;
	struct node inner[2], deep[1], nodes[7];
	struct id x[2], sub, folder;

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncfs */
	fix_begin(&f);
	fix_path(&f, "home", home, sizeof(home));
	fix_path(&f, "home/live", live, sizeof(live));
	fix_path(&f, "sets", sets, sizeof(sets));
	fix_path(&f, "kept", kept, sizeof(kept));
	assert_int_equal(mkdir(home, 0755), 0);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 2654435761U >> 9);
	memset(old_big, 'o', sizeof(old_big));
	fix_make(&f, &s, &m);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_file("small", &x[1], 1, 5);
	deep[0] = node_file("inside", &x[1], 1, 5);
	sub = maker_tree(&m, inner, 2);
	folder = maker_tree(&m, deep, 1);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_dir("folder", &folder);
	nodes[2] = node_symlink("link", "nowhere");
	nodes[3] = node_file("parts", x, 2, sizeof(big) + 5);
	nodes[4] = node_file("thing", &x[1], 1, 5);
	nodes[5] = node_file("twin-a", &x[1], 1, 5);
	nodes[6] = node_file("twin-b", &x[1], 1, 5);
	nodes[5].inode = nodes[6].inode = 5;
	nodes[5].links = nodes[6].links = 2;
	fix_made(&s, &m, nodes, 7);
	f.args.dest = live;
	f.args.kind = RESTORE_IN_PLACE;
	f.args.safety_dir = sets;
	f.args.home = home;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	print_message("# %lu runs refused, %lu of them half way\n", refused, halfway);
	fix_end(&f);
	return 0;
}

/* ---- looking, by libc alone ---- */

static bool
has_text(const char *root, const char *rel, const void *text, size_t len)
{
	static uint8_t buf[PARTS + 100];
	char path[700];
	ssize_t got;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", root, rel);
	fd = open(path, O_RDONLY | O_NOFOLLOW);
	if (fd < 0)
		return false;
	got = read(fd, buf, sizeof(buf));
	(void)close(fd);
	return got >= 0 && (size_t)got == len && memcmp(buf, text, len) == 0;
}

static bool
is_text(const char *root, const char *rel, const char *text)
{
	return has_text(root, rel, text, strlen(text));
}

static bool
points_to(const char *root, const char *rel, const char *target)
{
	char path[700], got[100] = { 0 };

	(void)snprintf(path, sizeof(path), "%s/%s", root, rel);
	return readlink(path, got, sizeof(got) - 1) > 0 && strcmp(got, target) == 0;
}

static bool
there(const char *rel)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	return exists(path);
}

static bool
new_parts(void)
{
	static uint8_t all[PARTS + 5];

	memcpy(all, big, PARTS);
	memcpy(all + PARTS, "small", 5);
	return has_text(live, "parts", all, sizeof(all));
}

/* How many of the paths are new; each must be old or new, and whole. */
static unsigned
count_new(void)
{
	unsigned n = 0;
	bool fresh;

	fresh = is_text(live, "dir/small", "small");
	assert_true(fresh || is_text(live, "dir/small", "the old small one"));
	n += fresh;
	fresh = points_to(live, "link", "nowhere");
	assert_true(fresh || points_to(live, "link", "elsewhere"));
	n += fresh;
	fresh = new_parts();
	assert_true(fresh || has_text(live, "parts", old_big, sizeof(old_big)));
	n += fresh;
	fresh = is_text(live, "thing", "small");
	assert_true(fresh ||
		    (is_text(live, "thing/deep/x", "deep") && is_text(live, "thing/y", "why")));
	n += fresh;
	fresh = is_text(live, "folder/inside", "small");
	assert_true(fresh || is_text(live, "folder", "a file in the way"));
	n += fresh;
	fresh = is_text(live, "twin-a", "small");
	assert_true(fresh || is_text(live, "twin-a", "old twin"));
	n += fresh;
	assert_true(!there("twin-b") || is_text(live, "twin-b", "small"));
	assert_true(!there("dir/empty") || is_text(live, "dir/empty", ""));
	n += there("twin-b") + there("dir/empty");
	assert_true(is_text(live, "dir/mine", "only here"));
	return n;
}

/* The one whole set; false when there is none. */
static bool
find_set(char *out, size_t size)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	struct safety_sets found;
	bool whole = false;

	assert_int_equal(safety_list(os_posix(), sets, &a, &found, NULL), E_OK);
	for (size_t i = 0; i < found.n; i++) {
		if (!found.v[i].whole)
			continue;
		(void)snprintf(out, size, "%s", found.v[i].path);
		whole = true;
	}
	return whole;
}

static void
expect_whole_set(const char *set)
{
	assert_true(is_text(set, "live/dir/small", "the old small one"));
	assert_true(has_text(set, "live/parts", old_big, sizeof(old_big)));
	assert_true(points_to(set, "live/link", "elsewhere"));
	assert_true(is_text(set, "live/thing/deep/x", "deep"));
	assert_true(is_text(set, "live/thing/y", "why"));
	assert_true(is_text(set, "live/folder", "a file in the way"));
	assert_true(is_text(set, "live/twin-a", "old twin"));
}

#define PATHS_NEW 8

static enum ecode run(struct fault_plan plan);

/* ---- the ordinary course ---- */

/* Every run has a name of its own, as in life: what an earlier one left is not in its way. */
static const char *
new_id(void)
{
	static char id[32];
	static unsigned n;

	(void)snprintf(id, sizeof(id), "20261121T000000Z-%08x", ++n);
	return id;
}

static enum ecode
restore_again(void)
{
	f.args.run_id = new_id();
	return fix_restore(&f);
}

static void
restore_once(unsigned threads)
{
	struct stat a, b;
	char path[700], set[400];

	make_old();
	f.os = os_posix();
	f.threads = threads;
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(count_new(), PATHS_NEW);
	assert_int_equal(f.result.put_paths, PATHS_NEW);
	assert_int_equal(f.result.replaced_paths, 6);
	assert_int_equal(f.result.safety_files, 7);
	assert_true(find_set(set, sizeof(set)));
	assert_string_equal(set, f.result.safety);
	expect_whole_set(set);
	(void)snprintf(path, sizeof(path), "%s/twin-a", live);
	assert_int_equal(lstat(path, &a), 0);
	(void)snprintf(path, sizeof(path), "%s/twin-b", live);
	assert_int_equal(lstat(path, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	(void)snprintf(path, sizeof(path), "%s.holdfast_stage", live);
	assert_false(exists(path));
}

static void
test_both_twins(void **state)
{
	uint64_t serial;

	(void)state;
	restore_once(0);
	restore_once(2);
	serial = tree_digest(live);
	/* nothing is left to do, so nothing is copied, either */
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(f.result.put_paths, 0);
	assert_null(f.result.safety);
	assert_int_equal(serial, tree_digest(live));
}

static struct stat
look(const char *rel)
{
	struct stat st;
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	assert_int_equal(lstat(path, &st), 0);
	return st;
}

/* What a run that was ended late leaves undone, the next one finds: names of one inode, and times of directories. */
static void
expect_mended(void)
{
	assert_true(look("twin-a").st_ino == look("twin-b").st_ino);
	assert_int_equal(look("dir").st_mtime, MADE); /* as the snapshot has it */
}

static void
set_mtime(const char *rel, time_t when)
{
	const struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", live, rel);
	assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* Killed between the two names: each file is right by itself. */
static void
test_names_of_one_inode_are_joined_again(void **state)
{
	char path[700];

	(void)state;
	restore_once(0);
	(void)snprintf(path, sizeof(path), "%s/twin-b", live);
	assert_int_equal(unlink(path), 0);
	put_text("twin-b", "small", look("twin-a").st_mode & 07777);
	set_mtime("twin-b", look("twin-a").st_mtime);
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(f.result.differing, 1);
	expect_mended();
	assert_true(is_text(live, "twin-b", "small"));
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(f.result.put_paths, 0);
}

/* … and killed before the times of directories were set. */
static void
test_the_time_of_a_directory_is_set_again(void **state)
{
	(void)state;
	restore_once(0);
	set_mtime("dir", 1700000000);
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(f.result.put_paths, 0);
	expect_mended();
	assert_non_null(f.result.safety); /* with it the time can be put back */
}

/* D-14: what is not applied is no difference, so equal files stay the files they are. */
static void
test_what_is_not_applied_is_no_difference(void **state)
{
	struct stat before;

	(void)state;
	restore_once(0);
	put_text("twin-a", "small", 0640);
	set_mtime("twin-a", 1700000000);
	before = look("twin-a");
	f.args.without = (struct restore_without){ .mode = true, .times = true, .owner = true };
	expect_rc(&f, restore_again(), E_OK);
	f.args.without = (struct restore_without){ .mode = false };
	assert_int_equal(f.result.put_paths, 0);
	assert_true(look("twin-a").st_ino == before.st_ino);
	assert_int_equal(look("twin-a").st_mode & 07777, 0640);
}

static void
test_a_mode_alone_is_a_difference(void **state)
{
	struct stat st;
	char path[700];

	(void)state;
	restore_once(0);
	(void)snprintf(path, sizeof(path), "%s/dir/small", live);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(chmod(path, 0600), 0);
	expect_rc(&f, restore_again(), E_OK);
	assert_int_equal(f.result.put_paths, 1);
	mode_t before = st.st_mode;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, before);
}

static void
test_a_dry_run_changes_nothing(void **state)
{
	uint64_t before;

	(void)state;
	make_old();
	before = tree_digest(live);
	f.args.dry_run = true;
	expect_rc(&f, restore_again(), E_OK);
	f.args.dry_run = false;
	assert_int_equal(before, tree_digest(live));
	assert_false(exists(sets));
	assert_true(f.result.differing >= 6);
}

static void
test_live_and_keep_both(void **state)
{
	static const enum conflict_rule choice[] = { CONFLICT_LIVE, CONFLICT_KEEP_BOTH };
	struct rules *rules = NULL;
	char second[100];

	(void)state;
	make_old();
	assert_int_equal(rules_open(&rules, &f.e), E_OK);
	assert_int_equal(rules_add(rules, "/parts", false, &f.e), E_OK);
	assert_int_equal(rules_add(rules, "/dir/small", false, &f.e), E_OK);
	f.args.choices = rules;
	f.args.choice_rules = choice;
	expect_rc(&f, restore_again(), E_OK);
	assert_true(has_text(live, "parts", old_big, sizeof(old_big)));
	assert_true(is_text(live, "dir/small", "small"));
	(void)snprintf(second, sizeof(second), "dir/small.live-%s", f.args.run_id);
	assert_true(is_text(live, second, "the old small one"));
	f.args.choices = NULL;
	rules_close(&rules);
}

static void
test_no_such_directory(void **state)
{
	(void)state;
	remove_tree(live);
	remove_tree(sets);
	expect_rc(&f, restore_again(), E_DEST_MISSING);
	assert_false(exists(live));
	assert_false(exists(sets));
}

/* a file that cannot be copied is not "logged and gone on with". */
static void
test_X_19_a_failed_safety_copy_stops_everything(void **state)
{
	uint64_t before;

	(void)state;
	make_old();
	before = tree_digest(live);
	write_file(sets, "a file where the sets should be", 5);
	expect_rc(&f, restore_again(), E_SAFETY_COPY);
	assert_int_equal(before, tree_digest(live));
	assert_int_equal(unlink(sets), 0);
}

/* what the copy lacks, no undo brings back. */
static void
test_X_19_an_attribute_that_cannot_be_read_stops_everything(void **state)
{
	struct fault_plan plan = { .error = EIO, .slots = SLOT_BIT(SLOT_GETXATTR) };
	unsigned long told = 0;
	char path[700], value[8];
	enum ecode rc;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/parts", live);
	for (plan.nth = 1;; plan.nth++) {
		make_old();
		assert_int_equal(setxattr(path, "user.mine", "mine", 4, 0), 0);
		rc = run(plan);
		if (faults.fired == 0)
			break;
		told += rc == E_SAFETY_COPY;
		if (rc !=
			E_OK) /* else it was read to compare, and the plan shows it as differing */
			assert_int_equal(getxattr(path, "user.mine", value, sizeof(value)), 4);
	}
	expect_rc(&f, rc, E_OK);
	assert_true(plan.nth > 1 && told > 0);
}

/* outside home nothing is flattened to its base name; names of ours do not collide. */
static void
test_X_19_no_two_files_share_a_copy(void **state)
{
	static const char *const names[] = { "manifest.toml", "manifest.json", "_root",
		".holdfast-safety-set" };
	const struct safety_args how = {
		.base = sets, .home = live, .dest = live, .source = "s", .run_id = "r"
	};
	struct place *place = NULL;
	struct safety *s = NULL;
	struct os_meta was;
	char path[700];

	(void)state;
	make_old();
	for (size_t i = 0; i < 4; i++)
		put_text(names[i], names[i], 0644);
	assert_int_equal(place_look(os_posix(), live, &place, &f.e), E_OK);
	assert_int_equal(safety_open(os_posix(), &how, &s, &f.e), E_OK);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(safety_add(s, place, names[i], &was, &f.e), E_OK);
	assert_int_equal(safety_seal(s, &f.e), E_OK);
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "_root%s/%s", live, names[i]);
		assert_true(is_text(safety_path(s), path, names[i]));
	}
	safety_close(&s);
	place_close(&place);
}

static void
test_a_set_cannot_hold_itself(void **state)
{
	struct place *place = NULL;
	struct safety *s = NULL;
	struct os_meta was;
	char inside[400];
	struct safety_args how = { .home = home, .dest = live, .source = "s", .run_id = "r" };

	(void)state;
	make_old();
	(void)snprintf(inside, sizeof(inside), "%s/thing/sets", live);
	how.base = inside;
	assert_int_equal(place_look(os_posix(), live, &place, &f.e), E_OK);
	assert_int_equal(safety_open(os_posix(), &how, &s, &f.e), E_OK);
	assert_int_equal(safety_add(s, place, "thing", &was, &f.e), E_SAFETY_COPY);
	safety_close(&s);
	place_close(&place);
}

/* ---- undo ---- */

static enum ecode
undo(const struct os *os, const char *set, bool dry_run, struct undo_result *out, struct arena *a)
{
	const struct undo_args args = { .base = sets,
		.home = home,
		.set = strrchr(set, '/') + 1,
		.run_id = new_id(),
		.dry_run = dry_run };

	return undo_run(os, &args, a, out, &f.e);
}

static void
test_undo_brings_back_bytes_and_modes(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 26);
	char why[512], set[400], path[700];
	struct undo_result r;

	(void)state;
	make_old();
	remove_tree(kept);
	(void)snprintf(path, sizeof(path), "cp -a %s %s", live, kept);
	assert_int_equal(system(path), 0);
	expect_rc(&f, restore_again(), E_OK);
	assert_true(find_set(set, sizeof(set)));
	expect_rc(&f, undo(os_posix(), set, true, &r, &a), E_OK);
	assert_int_equal(count_new(), PATHS_NEW);
	assert_int_equal(r.counts[UNDO_CREATED], 2);
	expect_rc(&f, undo(os_posix(), set, false, &r, &a), E_OK);
	assert_int_equal(r.meta_problems, 0);
	assert_non_null(r.safety);
	/* what the restore made new stays; it is all that differs */
	(void)snprintf(path, sizeof(path), "%s/twin-b", live);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/dir/empty", live);
	assert_int_equal(unlink(path), 0);
	if (!trees_equal(kept, live, COMPARE_OWNER | COMPARE_XATTRS, why, sizeof(why)))
		fail_msg("%s", why);
	/* and the undo is undone by its own set */
	expect_rc(&f, undo(os_posix(), r.safety, false, &r, &a), E_OK);
	assert_true(is_text(live, "thing", "small"));
	assert_true(is_text(live, "folder/inside", "small"));
	assert_true(new_parts());
}

static void
test_undo_refuses_a_damaged_set(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 26);
	struct undo_result r;
	char set[400], path[700];
	uint64_t before;

	(void)state;
	make_old();
	expect_rc(&f, restore_again(), E_OK);
	assert_true(find_set(set, sizeof(set)));
	before = tree_digest(live);
	(void)snprintf(path, sizeof(path), "%s/live/dir/small", set);
	write_file(path, "the old small onE", 17);
	expect_rc(&f, undo(os_posix(), set, false, &r, &a), E_SAFETY_SET_DAMAGED);
	assert_int_equal(before, tree_digest(live));
	(void)snprintf(path, sizeof(path), "%s/manifest.json", set);
	write_file(path, "{\"owner\":\"x\"}", 13);
	expect_rc(&f, undo(os_posix(), set, false, &r, &a), E_SAFETY_SET);
	expect_rc(&f, undo(os_posix(), "/2020-01-01_000000", false, &r, &a), E_SAFETY_SET_ABSENT);
	expect_rc(&f, undo(os_posix(), "/..", false, &r, &a), E_SAFETY_SET_ABSENT);
	assert_int_equal(before, tree_digest(live));
}

/* ---- every kernel call refused ---- */

static enum ecode
run(struct fault_plan plan)
{
	struct session s;
	enum ecode rc;
	unsigned long fired;

	restore_result_done(&f.result);
	heard_init(&f.h);
	f.args.run_id = new_id();
	fault_os_init(&faults, os_posix());
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

/* Each path is old or new; a change means that a whole set was there before it; running again finishes. */
static void
judge(enum ecode rc)
{
	char set[400];
	unsigned n = count_new();

	if (n > 0) {
		assert_true(find_set(set, sizeof(set)));
		expect_whole_set(set);
	}
	if (rc == E_OK || f.result.promoted)
		assert_int_equal(n, PATHS_NEW);
	refused += rc != E_OK;
	if (n > 0 && n < PATHS_NEW) {
		halfway++;
		assert_int_equal(rc, E_IN_PLACE);
	}
	if (faults.open_fds != 0)
		fault_os_print_log(&faults);
	assert_int_equal(faults.open_fds, 0);
	expect_rc(&f, run((struct fault_plan){ 0 }), E_OK);
	assert_int_equal(count_new(), PATHS_NEW);
	expect_mended();
}

static void
loop(struct fault_plan plan)
{
	char stage[400];

	(void)snprintf(stage, sizeof(stage), "%s.holdfast_stage", live);
	f.threads = 0;
	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth++) {
		bool fired;
		enum ecode rc;

		make_old();
		rc = run(plan);
		fired = faults.fired > 0;
		judge(rc);
		remove_tree(stage);
		if (!fired)
			break;
	}
	assert_in_range(plan.nth, 50, CALLS_MAX - 1);
}

static void
test_every_call_once(void **state)
{
	(void)state;
	loop((struct fault_plan){ .error = EIO });
}

static void
test_every_change_for_ever(void **state)
{
	(void)state;
	loop((struct fault_plan){ .error = ENOSPC, .forever = true, .slots = SLOTS_MUTATING });
}

/* A directory fills file by file; each file is old or new. */
static void
expect_whole_files(void)
{
	assert_true(is_text(live, "dir/small", "small") ||
		    is_text(live, "dir/small", "the old small one"));
	assert_true(new_parts() || has_text(live, "parts", old_big, sizeof(old_big)));
	assert_true(points_to(live, "link", "nowhere") || points_to(live, "link", "elsewhere"));
	assert_true(is_text(live, "twin-a", "small") || is_text(live, "twin-a", "old twin"));
	assert_true(!there("thing/deep/x") || is_text(live, "thing/deep/x", "deep"));
	assert_true(is_text(live, "folder/inside", "small") ||
		    is_text(live, "folder", "a file in the way"));
	assert_true(is_text(live, "dir/mine", "only here"));
}

/* ---- retention ---- */

static void
make_set(void)
{
	const struct safety_args how = {
		.base = sets, .home = live, .dest = live, .source = "s", .run_id = "r"
	};
	struct place *place = NULL;
	struct safety *s = NULL;
	struct os_meta was;

	assert_int_equal(place_look(os_posix(), live, &place, &f.e), E_OK);
	assert_int_equal(safety_open(os_posix(), &how, &s, &f.e), E_OK);
	assert_int_equal(safety_add(s, place, "folder", &was, &f.e), E_OK);
	assert_int_equal(safety_seal(s, &f.e), E_OK);
	safety_close(&s);
	place_close(&place);
}

static void
count_gone(void *arg, enum retired what, const char *path, const char *why)
{
	unsigned *gone = arg;

	(void)why;
	assert_non_null(strstr(path, sets));
	*gone += what == RETIRED_GONE;
}

static unsigned
retain(const struct os *os, size_t keep, bool dry_run)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	unsigned gone = 0;
	const struct safety_retain_args args = { .base = sets,
		.keep = keep,
		.dry_run = dry_run,
		.listener = { .tell = count_gone, .arg = &gone } };

	if (safety_retain(os, &args, &a, &f.e) != E_OK)
		print_message("# %s\n", f.e.detail);
	return gone;
}

static size_t
whole_sets(void)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	struct safety_sets list;

	assert_int_equal(safety_list(os_posix(), sets, &a, &list, &f.e), E_OK);
	for (size_t i = 0; i < list.n; i++)
		assert_true(list.v[i].whole);
	return list.n;
}

/* D-8: refused anywhere, a set is whole or on its way out; the next retention finishes. */
static void
test_a_set_is_never_half_removed_under_its_name(void **state)
{
	(void)state;
	for (unsigned long nth = 1;; nth++) {
		struct fault_os bad;
		unsigned long fired;

		make_old();
		remove_tree(sets);
		for (unsigned i = 0; i < 3; i++)
			make_set();
		fault_os_init(&bad, os_posix());
		fault_os_plan(
			&bad, (struct fault_plan){ .nth = nth, .error = EIO, .forever = true });
		(void)retain(&bad.os, 1, false);
		fired = bad.fired;
		assert_int_equal(bad.open_fds, 0);
		fault_os_done(&bad);
		assert_in_range(whole_sets(), 1, 3);
		(void)retain(os_posix(), 1, false);
		assert_int_equal(whole_sets(), 1);
		assert_int_equal(tmpdir_count(sets, ""), 1);
		if (fired == 0)
			break;
		assert_in_range(nth, 1, 500);
	}
}

/* DF-13: the oldest go, never what is not ours. */
static void
test_retention_keeps_the_newest_and_what_is_not_ours(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	struct safety_sets before, after;
	char path[700];

	(void)state;
	make_old();
	for (unsigned i = 0; i < 12; i++)
		make_set();
	(void)snprintf(path, sizeof(path), "%s/2001-01-01_000000", sets);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(safety_list(os_posix(), sets, &a, &before, &f.e), E_OK);
	assert_int_equal(before.n, 12);
	assert_int_equal(retain(os_posix(), 5, true), 7);
	assert_int_equal(whole_sets(), 12);
	assert_int_equal(retain(os_posix(), 5, false), 7);
	assert_int_equal(safety_list(os_posix(), sets, &a, &after, &f.e), E_OK);
	assert_int_equal(after.n, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(after.v[i].name, before.v[7 + i].name);
	assert_true(exists(path));
}

/* DF-12: S3's layout; names that need escaping are exact in the twin. */
static void
test_strange_names_in_the_manifests(void **state)
{
	static const char strange[] = "a \"quote\" \\ and\na line\xff";
	const struct safety_args how = {
		.base = sets, .home = home, .dest = live, .source = "s", .run_id = "r"
	};
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	autoclean(buf_done) struct buf text = buf_limit(1U << 20);
	struct safety_entry *entries;
	struct safety_set set;
	struct place *place = NULL;
	struct safety *s = NULL;
	struct os_meta was;
	char path[700];

	(void)state;
	make_old();
	put_text(strange, "strange", 0644);
	assert_int_equal(place_look(os_posix(), live, &place, &f.e), E_OK);
	assert_int_equal(safety_open(os_posix(), &how, &s, &f.e), E_OK);
	assert_int_equal(safety_add(s, place, strange, &was, &f.e), E_OK);
	assert_int_equal(safety_seal(s, &f.e), E_OK);
	(void)snprintf(path, sizeof(path), "%s/manifest.toml", safety_path(s));
	assert_int_equal(io_read_file(os_posix(), AT_FDCWD, path, &text, &f.e), E_OK);
	assert_int_equal(buf_add_byte(&text, 0, &f.e), E_OK);
	assert_non_null(strstr((const char *)text.p, "[restore_operation]\ntimestamp = \"20"));
	assert_non_null(strstr((const char *)text.p, "file_count = 1\n\n[[backed_up_files]]\n"));
	assert_non_null(strstr((const char *)text.p,
		"original_path = \"~/live/a \\\"quote\\\" \\\\ and\\na line\xef\xbf\xbd\"\n"));
	assert_non_null(strstr((const char *)text.p, "size_bytes = 7\nmodified = \"20"));
	assert_int_equal(safety_load(os_posix(), sets, strrchr(safety_path(s), '/') + 1, &a, &set,
				 &entries, &f.e),
		E_OK);
	assert_string_equal(entries->rel, strange);
	assert_true(is_text(safety_path(s), entries->copy, "strange"));
	safety_close(&s);
	place_close(&place);
}

static void
test_a_full_place_stops_the_undo_with_whole_files(void **state)
{
	char set[400];

	(void)state;
	for (unsigned long nth = 1; nth < CALLS_MAX; nth++) {
		autoclean(arena_done) struct arena a = arena_limit(1U << 26);
		struct undo_result r;
		enum ecode rc;

		make_old();
		expect_rc(&f, run((struct fault_plan){ 0 }), E_OK);
		assert_true(find_set(set, sizeof(set)));
		fault_os_init(&faults, os_posix());
		faults.real_random = true;
		fault_os_plan(&faults, (struct fault_plan){ .nth = nth, .error = EIO });
		rc = undo(&faults.os, set, false, &r, &a);
		expect_whole_files();
		assert_int_equal(faults.open_fds, 0);
		if (faults.fired == 0) {
			expect_rc(&f, rc, E_OK);
			assert_true(nth > 50);
			return;
		}
		if (rc != E_OK && r.put > 0)
			assert_true(rc == E_UNDO || rc == E_LIVE_CHANGED || rc == E_NO_EXCHANGE);
		expect_rc(&f, undo(os_posix(), set, false, &r, &a), E_OK);
		assert_true(is_text(live, "dir/small", "the old small one"));
		assert_true(is_text(live, "thing/deep/x", "deep"));
		assert_true(is_text(live, "folder", "a file in the way"));
	}
	fail_msg("the loop does not end");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_twins),
		cmocka_unit_test(test_a_mode_alone_is_a_difference),
		cmocka_unit_test(test_names_of_one_inode_are_joined_again),
		cmocka_unit_test(test_the_time_of_a_directory_is_set_again),
		cmocka_unit_test(test_what_is_not_applied_is_no_difference),
		cmocka_unit_test(test_a_dry_run_changes_nothing),
		cmocka_unit_test(test_live_and_keep_both),
		cmocka_unit_test(test_no_such_directory),
		cmocka_unit_test(test_X_19_a_failed_safety_copy_stops_everything),
		cmocka_unit_test(test_X_19_an_attribute_that_cannot_be_read_stops_everything),
		cmocka_unit_test(test_X_19_no_two_files_share_a_copy),
		cmocka_unit_test(test_a_set_cannot_hold_itself),
		cmocka_unit_test(test_undo_brings_back_bytes_and_modes),
		cmocka_unit_test(test_undo_refuses_a_damaged_set),
		cmocka_unit_test(test_a_set_is_never_half_removed_under_its_name),
		cmocka_unit_test(test_retention_keeps_the_newest_and_what_is_not_ours),
		cmocka_unit_test(test_strange_names_in_the_manifests),
		cmocka_unit_test(test_every_call_once),
		cmocka_unit_test(test_every_change_for_ever),
		cmocka_unit_test(test_a_full_place_stops_the_undo_with_whole_files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
