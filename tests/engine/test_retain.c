/*
 * Retention of the trees that restores replaced (D-8): which may go, when, and
 * that nothing else does, whatever lies at their names, whoever writes there
 * meanwhile, and wherever the removal is cut short.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/previous.h"
#include "engine/undo_previous.h"
#include "fs/remove.h"
#include "report/runlog.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define TREES      4
#define CALLS_MAX  2000
#define PROCESSES  400 /* kill points; reaching it means that the loop does not end */
#define FLIPS_S    2
#define RACED_DIRS 30
#define NOBODY     65534

static struct fix f;
static struct fault_os faults;
static char state_dir[300], tree[TREES][400], removing[400], canary[300];
static const char *const runs[TREES] = { "20261121T000000Z-00000001", "20261121T000001Z-00000001",
	"20261121T000002Z-00000001", "20261121T000003Z-00000001" };

static struct {
	unsigned gone, stays, undone;
	char why[600], path[600];
} told;

static void
on_retired(void *arg, enum retired what, const char *path, const char *why)
{
	(void)arg;
	told.gone += what == RETIRED_GONE;
	told.stays += what == RETIRED_STAYS;
	told.undone += what == RETIRED_UNDONE;
	(void)snprintf(told.path, sizeof(told.path), "%s", path);
	(void)snprintf(told.why, sizeof(told.why), "%s", why == NULL ? "" : why);
}

static enum ecode
retain(const struct os *os, size_t keep, bool dry_run)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 28);
	const struct previous_retain_args args = { .state_dir = state_dir,
		.dest = f.dest,
		.keep = keep,
		.dry_run = dry_run,
		.listener = { .tell = on_retired } };

	memset(&told, 0, sizeof(told));
	return previous_retain(os, &args, &a, &f.e);
}

/* ---- what is there ---- */

static int
setup(void **state)
{
	struct session s;
	struct maker m;
	struct node node;
	struct id x;

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_path(&f, "state", state_dir, sizeof(state_dir));
	fix_path(&f, "canary", canary, sizeof(canary));
	fix_make(&f, &s, &m);
	x = maker_data(&m, "new", 3);
	node = node_file("file", &x, 1, 3);
	fix_made(&s, &m, &node, 1);
	for (unsigned i = 0; i < TREES; i++)
		(void)snprintf(tree[i], sizeof(tree[i]), "%s/.holdfast_restore_previous_dest_%s",
			f.out, runs[i]);
	(void)snprintf(removing, sizeof(removing), "%s/.holdfast_restore_removing_dest_%s", f.out,
		runs[0]);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fix_end(&f);
	return 0;
}

/* A tree with some depth, an unreadable directory, links to the outside. */
static void
fill(const char *dir)
{
	char path[600];

	assert_true(mkdir(dir, 0755) == 0 || errno == EEXIST);
	tmpdir_mkdir(dir, "a/b/c");
	tmpdir_write(dir, "a/b/c/deep", "deep", 4);
	tmpdir_write(dir, "a/file", "file", 4);
	tmpdir_write(dir, "removing-0", "a name of ours", 14);
	tmpdir_mkdir(dir, "closed/inner");
	tmpdir_write(dir, "closed/file", "closed", 6);
	(void)snprintf(path, sizeof(path), "%s/closed", dir);
	assert_int_equal(chmod(path, 0), 0);
	(void)snprintf(path, sizeof(path), "%s/a/out", dir);
	assert_int_equal(symlink(canary, path), 0);
	(void)snprintf(path, sizeof(path), "%s/out", dir);
	assert_int_equal(symlink(canary, path), 0);
}

static void
note(unsigned i, const char *dest)
{
	struct previous_record record = { .dest = dest, .run_id = runs[i] };
	struct stat st;

	assert_int_equal(stat(tree[i], &st), 0);
	record.ino = st.st_ino;
	assert_int_equal(previous_note(os_posix(), state_dir, &record, &f.e), E_OK);
}

/* Four previous trees with their records, the destination, and something outside. */
static int
each(void **state)
{
	(void)state;
	remove_tree(f.out);
	remove_tree(state_dir);
	remove_tree(canary);
	assert_int_equal(mkdir(canary, 0755), 0);
	tmpdir_write(canary, "precious", "precious", 8);
	assert_int_equal(chmod(canary, 0755), 0);
	assert_int_equal(mkdir(f.out, 0755), 0);
	assert_int_equal(mkdir(f.dest, 0755), 0);
	tmpdir_write(f.dest, "live", "live", 4);
	for (unsigned i = 0; i < TREES; i++) {
		fill(tree[i]);
		note(i, f.dest);
	}
	f.os = os_posix();
	f.threads = 1;
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_EXACT;
	f.args.state_dir = state_dir;
	f.args.max_backups = 0;
	f.args.dry_run = false;
	return 0;
}

static void
expect_trees(bool first, bool second, bool third, bool fourth)
{
	const bool wanted[TREES] = { first, second, third, fourth };

	for (unsigned i = 0; i < TREES; i++)
		assert_int_equal(exists(tree[i]), wanted[i]);
	assert_true(tmpdir_exists(f.dest, "live"));
	assert_int_equal(tmpdir_count(canary, ""), 1);
	assert_int_equal(tmpdir_mode(canary, ""), 0755);
}

static size_t
records(void)
{
	return tmpdir_count(state_dir, PREVIOUS_RECORDS_DIR);
}

static void
expect_whole(const char *dir)
{
	assert_true(tmpdir_exists(dir, "a/b/c/deep"));
	assert_true(tmpdir_exists(dir, "a/file"));
	assert_true(tmpdir_exists(dir, "closed/file"));
}

/* ---- which go ---- */

static void
test_the_oldest_beyond_the_limit_go(void **state)
{
	(void)state;
	assert_int_equal(retain(os_posix(), 2, true), E_OK);
	assert_int_equal(told.gone, 2);
	expect_trees(true, true, true, true);
	assert_int_equal(retain(os_posix(), 2, false), E_OK);
	assert_int_equal(told.gone, 2);
	expect_trees(false, false, true, true);
	assert_int_equal(records(), 2);
	assert_int_equal(tmpdir_count(f.out, ""), 3); /* nothing under another name */
	assert_int_equal(retain(os_posix(), 2, false), E_OK);
	assert_int_equal(told.gone + told.stays + told.undone, 0);
}

static void
test_the_newest_never_goes(void **state)
{
	(void)state;
	assert_int_equal(retain(os_posix(), 0, false), E_OK);
	expect_trees(false, false, false, true);
	expect_whole(tree[3]);
}

/* Two restores within one second: the bits behind it are random, and say nothing. */
static void
test_the_newest_of_one_second_never_goes(void **state)
{
	char first[400], second[400];

	(void)state;
	for (unsigned i = 0; i < TREES; i++)
		remove_tree(tree[i]);
	f.args.run_id = "20261121T000020Z-ffffffff";
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(first, sizeof(first), "%s", f.result.previous);
	f.args.run_id = "20261121T000020Z-00000000";
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(second, sizeof(second), "%s", f.result.previous);
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	assert_int_equal(told.gone, 1);
	assert_false(exists(first));
	assert_true(exists(second));
}

/* Each doubt alone keeps a tree, and names it. */
static void
expect_stays(const char *why)
{
	assert_int_equal(retain(os_posix(), 3, false), E_OK);
	assert_int_equal(told.gone, 0);
	assert_int_equal(told.stays, 1);
	assert_string_equal(told.path, tree[0]);
	assert_non_null(strstr(told.why, why));
	expect_trees(true, true, true, true);
	expect_whole(tree[0]);
}

static void
record_path(char *out, size_t size)
{
	(void)snprintf(out, size, "%s/" PREVIOUS_RECORDS_DIR "/%s.json", state_dir, runs[0]);
}

static void
test_a_tree_without_a_record_stays(void **state)
{
	char path[500];

	(void)state;
	record_path(path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	expect_stays("no record of that run");
}

static void
test_a_record_that_others_may_write_is_none(void **state)
{
	char path[500];

	(void)state;
	record_path(path, sizeof(path));
	assert_int_equal(chmod(path, 0666), 0);
	expect_stays("no record of that run");
}

static void
test_a_record_behind_a_link_is_none(void **state)
{
	char path[500], moved[600];

	(void)state;
	record_path(path, sizeof(path));
	(void)snprintf(moved, sizeof(moved), "%s-moved", path);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(symlink(moved, path), 0);
	expect_stays("no record of that run");
}

static void
test_a_record_of_another_run_is_none(void **state)
{
	char path[500], other[600];

	(void)state;
	record_path(path, sizeof(path));
	(void)snprintf(
		other, sizeof(other), "%s/" PREVIOUS_RECORDS_DIR "/%s.json", state_dir, runs[1]);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(link(other, path), 0);
	expect_stays("no record of that run");
}

static void
test_a_tree_of_another_destination_stays(void **state)
{
	(void)state;
	note(0, "/somewhere/else");
	expect_stays("another destination");
}

static void
test_another_directory_of_that_name_stays(void **state)
{
	char aside[600];

	(void)state;
	(void)snprintf(aside, sizeof(aside), "%s-aside", tree[0]);
	assert_int_equal(rename(tree[0], aside), 0);
	fill(tree[0]);
	expect_stays("not the directory");
}

static void
test_without_a_state_directory_all_stay(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 28);
	const struct previous_retain_args args = {
		.dest = f.dest, .keep = 1, .listener = { .tell = on_retired }
	};

	(void)state;
	memset(&told, 0, sizeof(told));
	assert_int_equal(previous_retain(os_posix(), &args, &a, &f.e), E_OK);
	assert_int_equal(told.stays, 3);
	expect_trees(true, true, true, true);
}

/* An undo between its two renames: which tree is which is not certain. */
static void
test_nothing_goes_while_an_undo_is_half_done(void **state)
{
	char path[500];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore_undo_dest", f.out);
	assert_int_equal(symlink("x", path), 0);
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	assert_int_equal(told.gone + told.stays, 0);
	expect_trees(true, true, true, true);
}

static void
test_only_this_destinations_trees(void **state)
{
	char path[500];

	(void)state;
	(void)snprintf(
		path, sizeof(path), "%s/.holdfast_restore_previous_dest2_%s", f.out, runs[0]);
	fill(path);
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	assert_int_equal(told.gone, 3);
	expect_whole(path);
}

/* ---- within a restore ---- */

static const char *const restore_run_id = "20261121T000009Z-00000001";

static void
test_a_swap_records_its_tree_and_the_next_removes_it(void **state)
{
	char first[400];

	(void)state;
	for (unsigned i = 0; i < TREES; i++)
		remove_tree(tree[i]);
	f.args.run_id = restore_run_id;
	expect_rc(&f, fix_restore(&f), E_OK);
	(void)snprintf(first, sizeof(first), "%s", f.result.previous);
	f.args.max_backups = 1;
	f.args.run_id = "20261121T000010Z-00000001";
	expect_rc(&f, fix_restore(&f), E_OK); /* one was kept: it is the newest */
	assert_int_equal(f.result.retired_count, 0);
	f.args.run_id = "20261121T000011Z-00000001";
	f.args.dry_run = true;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(f.result.retired_count, 1);
	assert_string_equal(f.result.retired[0], first);
	assert_true(exists(first));
	f.args.dry_run = false;
	f.args.run_id = "20261121T000012Z-00000001";
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(f.result.retired_count, 1);
	assert_string_equal(f.result.retired[0], first);
	assert_false(exists(first));
}

/* The record is for later: without it the restore is done all the same, and the tree stays for good, which is said. */
static void
test_a_record_that_cannot_be_written_stops_no_restore(void **state)
{
	static char no_dir[400];
	char previous[400];

	(void)state;
	(void)snprintf(no_dir, sizeof(no_dir), "%s/precious", canary); /* a file */
	f.args.state_dir = no_dir;
	f.args.run_id = restore_run_id;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_true(exists(f.result.previous));
	(void)snprintf(previous, sizeof(previous), "%s", f.result.previous);
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	assert_true(exists(previous));
}

/* A record is there whole, or it is none. */
static void
test_every_call_of_a_record_refused(void **state)
{
	const struct previous_record record = { .dest = f.dest, .run_id = runs[0], .ino = 1 };

	(void)state;
	for (unsigned long nth = 1; nth < CALLS_MAX; nth++) {
		enum ecode rc;
		unsigned long fired;

		(void)each(NULL);
		fault_os_init(&faults, os_posix());
		fault_os_plan(&faults, (struct fault_plan){ .nth = nth, .error = EIO });
		rc = previous_note(&faults.os, state_dir, &record, &f.e);
		fired = faults.fired;
		assert_int_equal(faults.open_fds, 0);
		fault_os_done(&faults);
		assert_true(rc == E_OK || rc == E_REPORT_WRITE);
		/* the old one, which fits, or the new one, which does not: never half of either */
		assert_int_equal(retain(os_posix(), 3, false), E_OK);
		assert_int_equal(told.gone + told.stays, 1);
		if (rc == E_OK)
			assert_non_null(strstr(told.why, "not the directory"));
		if (fired == 0)
			return;
	}
	fail_msg("the loop does not end");
}

/* Cleaned at the START: the tree that this very run sets aside is one more. */
static void
test_an_absent_destination_removes_nothing(void **state)
{
	(void)state;
	remove_tree(f.dest);
	f.args.max_backups = 1;
	f.args.run_id = restore_run_id;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(f.result.retired_count, 0);
	for (unsigned i = 0; i < TREES; i++)
		expect_whole(tree[i]);
}

static void
open_incident(void)
{
	const struct run_args args = {
		.state_dir = state_dir, .mode = "restore", .version = "test", .target = f.dest
	};
	struct run_result result = { .status = "failure", .refusal = &f.e, .target = f.dest };
	struct run *run;
	struct err why;

	assert_int_equal(run_open(os_posix(), &args, &run, &f.e), E_OK);
	(void)err_set(&f.e, E_DEST_NOT_EMPTY, 0, "a serious failure");
	assert_int_equal(run_finish(&run, &result, &why), E_OK);
}

static void
test_nothing_goes_while_a_serious_failure_is_open(void **state)
{
	(void)state;
	open_incident();
	f.args.max_backups = 1;
	f.args.run_id = restore_run_id;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(f.result.retired_count, 0);
	for (unsigned i = 0; i < TREES; i++)
		expect_whole(tree[i]);
}

static void
test_a_tree_that_an_undo_set_aside_is_known(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 28);
	const struct undo_previous_args args = {
		.dest = f.dest, .run_id = "20261121T000008Z-00000001", .state_dir = state_dir
	};
	struct undo_previous_result out;

	(void)state;
	assert_int_equal(undo_previous_run(os_posix(), &args, &a, &out, &f.e), E_OK);
	assert_true(out.done && !out.unproven);
	fill(tree[3]); /* one more, newer than none of them */
	note(3, f.dest);
	assert_int_equal(rename(tree[3], tree[3]), 0);
	f.args.run_id = restore_run_id;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	assert_int_equal(told.stays, 0);
	assert_false(exists(out.kept));
	assert_true(exists(f.result.previous));
}

/* ---- cut short ---- */

/* After any end: the newest and the destination are whole, nothing half removed has a previous tree's name. */
static void
expect_sound(void)
{
	expect_whole(tree[3]);
	assert_true(tmpdir_exists(f.dest, "live"));
	assert_int_equal(tmpdir_count(canary, ""), 1);
	assert_int_equal(tmpdir_mode(canary, ""), 0755);
	for (unsigned i = 0; i < 3; i++)
		if (exists(tree[i]))
			expect_whole(tree[i]);
}

static void
expect_finished(void)
{
	assert_int_equal(retain(os_posix(), 1, false), E_OK);
	expect_trees(false, false, false, true);
	assert_int_equal(tmpdir_count(f.out, ""), 2);
}

static void
fault_loop(int error, bool forever)
{
	for (unsigned long nth = 1; nth < CALLS_MAX; nth += fault_stride()) {
		unsigned long fired;

		(void)each(NULL);
		fault_os_init(&faults, os_posix());
		fault_os_plan(&faults,
			(struct fault_plan){ .nth = nth, .error = error, .forever = forever });
		(void)(retain(&faults.os, 1, false) == E_OK);
		fired = faults.fired;
		assert_int_equal(faults.open_fds, 0);
		fault_os_done(&faults);
		expect_sound();
		expect_finished();
		if (fired == 0)
			return;
	}
	fail_msg("the loop does not end");
}

static void
test_every_call_refused(void **state)
{
	(void)state;
	fault_loop(EIO, false);
	fault_loop(EIO, true);
	fault_loop(EACCES, false);
	fault_loop(EINTR, false);
}

static struct os killer;
static long calls_left;

static bool
dies(void)
{
	if (calls_left-- == 0)
		_exit(0);
	return true;
}

static int
unlink_or_die(const struct os *os, int dir, const char *path, int at_flags)
{
	(void)os;
	return dies() ? os_posix()->unlink(os_posix(), dir, path, at_flags) : -EIO;
}

static int
rename_or_die(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	return dies() ? os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags) : -EIO;
}

static int
chmod_or_die(const struct os *os, int dir, const char *path, mode_t mode)
{
	(void)os;
	return dies() ? os_posix()->chmod(os_posix(), dir, path, mode) : -EIO;
}

/* True when it came to its end before the n-th change. */
static bool
killed_at(long n)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		killer = *os_posix();
		killer.unlink = unlink_or_die;
		killer.rename = rename_or_die;
		killer.chmod = chmod_or_die;
		calls_left = n;
		_exit(retain(&killer, 1, false) == E_OK ? 7 : 8);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 8);
	return WEXITSTATUS(status) == 7;
}

static void
test_killed_anywhere_the_next_goes_on(void **state)
{
	bool ended = false;
	long n = 0;

	(void)state;
	for (; !ended; n++) {
		assert_in_range(n, 0, PROCESSES);
		(void)each(NULL);
		ended = killed_at(n);
		expect_sound();
		expect_finished();
	}
	assert_in_range(n, 20, PROCESSES);
}

/* What is half removed waits like everything else while an incident is open, and stays when its proof is gone. */
static void
test_a_half_removed_tree_without_its_record_stays(void **state)
{
	char path[500];

	(void)state;
	assert_int_equal(rename(tree[0], removing), 0);
	record_path(path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(retain(os_posix(), 5, false), E_OK);
	assert_int_equal(told.stays, 1);
	expect_whole(removing);
}

/* ---- somebody else writes there meanwhile ---- */

static atomic_bool racing;
static pthread_mutex_t filling = PTHREAD_MUTEX_INITIALIZER;

static void
flip_one(const char *dir, const char *name, bool away)
{
	char path[600], aside[700];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)snprintf(aside, sizeof(aside), "%s.aside", path);
	if (!away) {
		(void)(unlink(path) == 0);
		(void)(rename(aside, path) == 0);
	} else if (rename(path, aside) == 0) {
		(void)(symlink(canary, path) == 0);
	}
}

/* Directories of the tree become links to the canary and back, as fast as it goes. */
static void *
flip(void *arg)
{
	static const char *const names[] = { "a", "a/b", "closed", "removing-1", "removing-2" };
	const size_t n = sizeof(names) / sizeof(names[0]);

	(void)arg;
	for (size_t i = 0; racing; i++) {
		bool away = (i / n) % 2 == 0;

		assert_int_equal(pthread_mutex_lock(&filling), 0);
		flip_one(tree[0], names[i % n], away);
		flip_one(removing, names[i % n], away);
		assert_int_equal(pthread_mutex_unlock(&filling), 0);
	}
	return NULL;
}

/* More names to be at while others change. */
static void
fill_one(unsigned i)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "a/many/%u", i);
	tmpdir_mkdir(tree[0], name);
	(void)snprintf(name, sizeof(name), "closed/%u", i);
	tmpdir_mkdir(tree[0], name);
}

/* X-05 in reverse: nothing outside is removed or even touched, whatever the links point to. */
static void
test_links_that_come_and_go_lead_nowhere(void **state)
{
	uint64_t before = tree_digest(canary);
	time_t end = time(NULL) + FLIPS_S;
	unsigned rounds = 0;
	pthread_t thread;

	(void)state;
	racing = true;
	assert_int_equal(pthread_create(&thread, NULL, flip, NULL), 0);
	for (; time(NULL) < end; rounds++) {
		assert_int_equal(pthread_mutex_lock(&filling), 0);
		if (!exists(tree[0]) && !exists(removing)) {
			fill(tree[0]);
			for (unsigned i = 0; i < RACED_DIRS; i++)
				fill_one(i);
		}
		if (exists(tree[0]))
			note(0, f.dest);
		assert_int_equal(pthread_mutex_unlock(&filling), 0);
		(void)(retain(os_posix(), 3, false) == E_OK);
		assert_true(tree_digest(canary) == before);
		assert_int_equal(tmpdir_mode(canary, ""), 0755);
	}
	racing = false;
	assert_int_equal(pthread_join(thread, NULL), 0);
	print_message("# %u removals raced\n", rounds);
	assert_in_range(rounds, 5, UINT32_MAX);
	expect_whole(tree[3]);
}

/* ---- fs/remove by itself ---- */

/* Not root: what its owner made unreadable is opened by descriptor; links to a closed directory are left alone. */
static void
test_without_root_closed_directories_go_too(void **state)
{
	int dir = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status;
	char path[400];
	pid_t child;

	(void)state;
	fix_path(&f, "mine", path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(f.dir, 0777), 0);
	child = fork();
	if (child == 0) {
		if (geteuid() == 0 && (chown(path, NOBODY, NOBODY) != 0 || setgid(NOBODY) != 0 ||
					      setuid(NOBODY) != 0))
			_exit(3);
		fill(path);
		if (chmod(path, 0500) != 0)
			_exit(4);
		_exit(remove_tree_at(os_posix(), dir, "mine", NULL) == E_OK ? 0 : 5);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_false(exists(path));
	assert_int_equal(tmpdir_mode(canary, ""), 0755);
	assert_int_equal(chmod(f.dir, 0700), 0);
	assert_int_equal(close(dir), 0);
}

static void
test_another_directory_is_not_removed_for_the_known_one(void **state)
{
	int dir = open(f.out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct os_meta m;

	(void)state;
	assert_int_equal(os_posix()->stat(os_posix(), dir, "dest", AT_SYMLINK_NOFOLLOW, &m), 0);
	assert_int_equal(
		remove_dir_at(os_posix(), dir, strrchr(tree[0], '/') + 1, &m, &f.e), E_PATH_UNSAFE);
	expect_whole(tree[0]);
	assert_int_equal(symlinkat("dest", dir, "link"), 0);
	assert_int_not_equal(remove_dir_at(os_posix(), dir, "link", &m, &f.e), E_OK);
	expect_trees(true, true, true, true);
	assert_int_equal(close(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_the_oldest_beyond_the_limit_go, each),
		cmocka_unit_test_setup(test_the_newest_never_goes, each),
		cmocka_unit_test_setup(test_the_newest_of_one_second_never_goes, each),
		cmocka_unit_test_setup(test_a_tree_without_a_record_stays, each),
		cmocka_unit_test_setup(test_a_record_that_others_may_write_is_none, each),
		cmocka_unit_test_setup(test_a_record_behind_a_link_is_none, each),
		cmocka_unit_test_setup(test_a_record_of_another_run_is_none, each),
		cmocka_unit_test_setup(test_a_tree_of_another_destination_stays, each),
		cmocka_unit_test_setup(test_another_directory_of_that_name_stays, each),
		cmocka_unit_test_setup(test_without_a_state_directory_all_stay, each),
		cmocka_unit_test_setup(test_nothing_goes_while_an_undo_is_half_done, each),
		cmocka_unit_test_setup(test_only_this_destinations_trees, each),
		cmocka_unit_test_setup(test_a_swap_records_its_tree_and_the_next_removes_it, each),
		cmocka_unit_test_setup(test_a_record_that_cannot_be_written_stops_no_restore, each),
		cmocka_unit_test_setup(test_every_call_of_a_record_refused, each),
		cmocka_unit_test_setup(test_an_absent_destination_removes_nothing, each),
		cmocka_unit_test_setup(test_nothing_goes_while_a_serious_failure_is_open, each),
		cmocka_unit_test_setup(test_a_tree_that_an_undo_set_aside_is_known, each),
		cmocka_unit_test_setup(test_every_call_refused, each),
		cmocka_unit_test_setup(test_killed_anywhere_the_next_goes_on, each),
		cmocka_unit_test_setup(test_a_half_removed_tree_without_its_record_stays, each),
		cmocka_unit_test_setup(test_links_that_come_and_go_lead_nowhere, each),
		cmocka_unit_test_setup(test_without_root_closed_directories_go_too, each),
		cmocka_unit_test_setup(
			test_another_directory_is_not_removed_for_the_known_one, each),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
