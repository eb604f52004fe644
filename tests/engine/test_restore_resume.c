/*
 * An interrupted restore goes on from its stage (IX-48, D-18), wherever it was
 * interrupted and whatever somebody did to the stage meanwhile: the result is
 * that of a restore that was never interrupted, or a refusal that changed
 * nothing outside of the stage.  What was staged whole is not fetched again.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "support/fault_os.h"
#include "support/store_shim.h"

#define CALLS_MAX 5000
#define FIRST     "20261121T000000Z-00000001"
#define SECOND    "20261121T000000Z-00000002"
#define THIRD     "20261121T000000Z-00000003"
#define PIECE     ((size_t)3 << 20)
#define PIECES    4

static struct fix f, large;
static struct fault_os faults;
static struct os stubborn; /* a kernel that puts no tree in place */
static char reference[300], merged[300], jail[300], run_dir[400], staged[420];
static char large_reference[300];
static unsigned long went_on, began_anew, done_anyway, untold;

/* ---- the snapshots ---- */

static void
make_snapshot(void)
{
	static uint8_t big[50000];
	static const struct xattr note = { { (const uint8_t *)"user.note", 9 },
		{ (const uint8_t *)"v", 1 } };
	struct node inner[3], nodes[6];
	struct id x[4], sub;
	struct session s;
	struct maker m;

	fix_make(&f, &s, &m);
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof(big); i++)
			big[i] = (uint8_t)((i + k) * 2654435761U >> 9);
		x[k] = maker_data(&m, big, sizeof(big));
	}
	x[2] = maker_data(&m, "small", 5);
	x[3] = maker_data(&m, "other", 5);
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_symlink("link", "nowhere");
	inner[2] = node_file("small", &x[2], 1, 5);
	inner[2].xattrs = &note;
	inner[2].xattr_count = 1;
	sub = maker_tree(&m, inner, 3);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_file("other", &x[3], 1, 5);
	nodes[2] = node_file("parts", x, 2, 2 * sizeof(big));
	nodes[3] = node_file("small", &x[2], 1, 5);
	nodes[4] = node_file("twin-a", &x[2], 1, 5);
	nodes[5] = node_file("twin-b", &x[2], 1, 5);
	nodes[4].inode = nodes[5].inode = 5;
	nodes[4].links = nodes[5].links = 2;
	fix_made(&s, &m, nodes, 6);
}

/* Pieces that lie further apart than the gap that is read along. */
static void
make_large(void)
{
	uint8_t *p = malloc(PIECE);
	uint64_t state = 7;
	struct id x[PIECES + 1];
	struct node nodes[2];
	struct session s;
	struct maker m;

	assert_non_null(p);
	fix_make(&large, &s, &m);
	for (size_t k = 0; k <= PIECES; k++) {
		for (size_t i = 0; i < PIECE; i += 8) {
			state = state * 6364136223846793005U + 1442695040888963407U;
			memcpy(p + i, &state, 8);
		}
		x[k] = maker_data(&m, p, PIECE);
	}
	free(p);
	nodes[0] = node_file("parts", x, PIECES, PIECES * PIECE);
	nodes[1] = node_file("single", &x[PIECES], 1, PIECE);
	fix_made(&s, &m, nodes, 2);
}

static void
make_live(const char *dir)
{
	char sub[400], deep[420];

	assert_int_equal(mkdir(dir, 0750), 0);
	fix_put(dir, "unrelated", "precious");
	assert_true(snprintf(sub, sizeof(sub), "%s/mine", dir) < (int)sizeof(sub));
	assert_int_equal(mkdir(sub, 0750), 0);
	fix_put(sub, "here", "also precious");
	assert_true(snprintf(deep, sizeof(deep), "%s/deep", sub) < (int)sizeof(deep));
	assert_int_equal(mkdir(deep, 0550), 0);
	fix_time(deep);
	fix_time(sub);
	fix_time(dir);
}

static int
rename_stubborn(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	if (strcmp(from, "stage_root") == 0)
		return -EIO;
	return os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
}

static int
setup(void **state)
{
	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_begin(&large);
	fix_path(&f, "reference", reference, sizeof(reference));
	fix_path(&f, "merged", merged, sizeof(merged));
	fix_path(&f, "jail", jail, sizeof(jail));
	fix_path(&large, "reference", large_reference, sizeof(large_reference));
	assert_int_equal(mkdir(jail, 0755), 0);
	fix_put(jail, "secret", "quiet"); /* as long as "small" */
	make_snapshot();
	make_large();
	f.args.dest = reference;
	expect_rc(&f, fix_restore(&f), E_OK);
	make_live(merged);
	f.args.dest = merged;
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_MERGE;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.dest = f.dest;
	large.args.dest = large_reference;
	expect_rc(&large, fix_restore(&large), E_OK);
	large.args.dest = large.dest;
	large.args.resumable = true;
	assert_true(snprintf(run_dir, sizeof(run_dir), "%s.holdfast_stage/" FIRST, f.dest) > 0);
	assert_true(snprintf(staged, sizeof(staged), "%s/stage_root", run_dir) > 0);
	stubborn = *os_posix();
	stubborn.rename = rename_stubborn;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	print_message(
		"# %lu went on, %lu began anew, %lu were done\n", went_on, began_anew, done_anyway);
	fix_end(&large);
	fix_end(&f);
	return 0;
}

static void
begin_again(struct fix *x)
{
	remove_tree(x->out);
	assert_int_equal(mkdir(x->out, 0755), 0);
	x->os = os_posix();
	x->threads = 0;
	heard_init(&x->h);
	x->args = (struct restore_args){ .snapshot = "latest",
		.dest = x->dest,
		.run_id = FIRST,
		.verify = VERIFY_HASH,
		.artifacts = true, /* the plan counts their space */
		.resumable = true };
}

static int
each(void **state)
{
	(void)state;
	begin_again(&f);
	begin_again(&large);
	return 0;
}

/* ---- running and going on ---- */

static struct restore_approval hold;

/* One restore with the session opened unharmed and the plan in force from then on. */
static enum ecode
run(const struct fault_plan *plan, long stop_after)
{
	struct session s;
	enum ecode rc;

	restore_result_done(&f.result);
	memset(&f.e, 0, sizeof(f.e));
	heard_init(&f.h);
	fault_os_init(&faults, f.os);
	faults.real_random = true;
	open_session(&s, &faults.os, f.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f.h);
	f.h.stop_after = stop_after;
	fault_os_plan(&faults, *plan);
	rc = restore_run(&s, &f.args, &f.result, &f.e);
	unsigned long fired = faults.fired;

	fault_os_plan(&faults, (struct fault_plan){ 0 });
	session_abandon(&s);
	faults.fired = fired;
	if (faults.open_fds != 0)
		fault_os_print_log(&faults);
	assert_int_equal(faults.open_fds, 0);
	return rc;
}

/* The run that continues `from` under the name `id`; `digest` may be NULL. */
static enum ecode
go_on(struct fix *x, const char *from, const char *id, const char *digest,
	const struct fault_plan *plan)
{
	const char *dest = x->args.dest;
	enum ecode rc;

	x->args = (struct restore_args){ .run_id = id, .artifacts = true };
	memset(&x->e, 0, sizeof(x->e));
	rc = restore_resume_load(os_posix(), dest, from, digest, &hold, &x->args, &x->e);
	if (rc == E_OK)
		rc = plan == NULL ? fix_restore(x) : run(plan, -1);
	restore_approval_done(&hold);
	x->args.dest = dest;
	return rc;
}

/* Records of runs in the tree are not the snapshot's. */
static void
expect_equal(const char *wanted, const char *dest)
{
	char why[512], path[400];

	assert_true(snprintf(path, sizeof(path), "%s/.holdfast_restore", dest) > 0);
	remove_tree(path);
	if (!trees_equal(wanted, dest, COMPARE_ALL, why, sizeof(why)))
		fail_msg("%s", why);
}

static bool
told_next(const struct err *e, const char *id)
{
	return strstr(e->next, "holdfast restore --resume ") != NULL && strstr(e->next, id) != NULL;
}

/* Wherever the stage is now called, it goes on; without one it begins anew. */
static void
finish_restore(const char *wanted, enum restore_kind kind, enum restore_tree tree, bool promised)
{
	static const struct fault_plan none = { 0 };
	const char *from = restore_resume_there(os_posix(), f.dest, SECOND) ? SECOND : FIRST;

	if (promised && restore_resume_there(os_posix(), f.dest, from)) {
		expect_rc(&f, go_on(&f, from, THIRD, NULL, &none), E_OK);
		assert_false(exists(run_dir));
		went_on++;
	} else {
		f.args = (struct restore_args){ .snapshot = "latest",
			.dest = f.dest,
			.run_id = "20261121T000000Z-00000009",
			.verify = VERIFY_HASH,
			.artifacts = true,
			.resumable = true,
			.kind = kind,
			.tree = tree };
		expect_rc(&f, run(&none, -1), E_OK);
		began_anew++;
	}
	expect_equal(wanted, f.dest);
}

/* What was not put in place and has a whole plan says how it goes on; false: it does not, because that could not be written. */
static bool
judge_interrupted(enum ecode rc, const char *id)
{
	assert_int_not_equal(rc, E_OK);
	assert_false(f.result.promoted);
	if (told_next(&f.e, id)) {
		assert_true(restore_resume_there(os_posix(), f.dest, id));
		return true;
	}
	untold += restore_resume_there(os_posix(), f.dest, id);
	return false;
}

static void
interrupted_anywhere(
	struct fault_plan plan, enum restore_kind kind, enum restore_tree tree, const char *wanted)
{
	untold = 0;
	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth += fault_stride()) {
		enum ecode rc;
		bool fired;

		begin_again(&f);
		f.args.kind = kind;
		f.args.tree = tree;
		if (kind == RESTORE_SWAP)
			make_live(f.dest);
		rc = run(&plan, -1);
		fired = faults.fired > 0;
		if (f.result.promoted || rc == E_OK) {
			done_anyway++;
		} else {
			finish_restore(wanted, kind, tree, judge_interrupted(rc, FIRST));
		}
		if (!fired)
			break;
	}
	assert_in_range(plan.nth, 10, CALLS_MAX - 1);
	assert_in_range(untold, 0, 8); /* the calls that write the plan itself */
}

static void
test_interrupted_at_every_call(void **state)
{
	unsigned long before = went_on;

	(void)state;
	interrupted_anywhere((struct fault_plan){ .error = EIO, .forever = true }, RESTORE_EMPTY,
		TREE_EXACT, reference);
	assert_in_range(
		went_on - before, 50 / fault_stride(), CALLS_MAX); /* most of them have a stage */
}

static void
test_no_space_at_every_call(void **state)
{
	(void)state;
	interrupted_anywhere((struct fault_plan){ .error = ENOSPC, .forever = true }, RESTORE_EMPTY,
		TREE_EXACT, reference);
}

static void
test_a_merge_interrupted_at_every_call(void **state)
{
	unsigned long before = went_on;

	(void)state;
	interrupted_anywhere((struct fault_plan){ .error = EIO, .forever = true }, RESTORE_SWAP,
		TREE_MERGE, merged);
	assert_in_range(went_on - before, 50 / fault_stride(), CALLS_MAX);
}

/* The continuation is interrupted, too. */
static void
test_interrupted_twice(void **state)
{
	struct fault_plan plan = { .error = EIO, .forever = true };

	(void)state;
	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth += fault_stride()) {
		enum ecode rc;
		bool fired;

		begin_again(&f);
		assert_int_not_equal(run(&(struct fault_plan){ .error = EIO,
						 .forever = true,
						 .nth = 1,
						 .slots = SLOT_BIT(SLOT_PWRITE) },
					     -1),
			E_OK);
		rc = go_on(&f, FIRST, SECOND, NULL, &plan);
		fired = faults.fired > 0;
		if (f.result.promoted || rc == E_OK)
			done_anyway++;
		else
			finish_restore(reference, RESTORE_EMPTY, TREE_EXACT, true);
		if (!fired)
			break;
	}
	assert_in_range(plan.nth, 10, CALLS_MAX - 1);
}

/* As by SIGINT: asked to stop at every question. */
static void
test_stopped_at_every_question(void **state)
{
	static const struct fault_plan none = { 0 };
	enum ecode rc = E_INTERRUPTED;
	long n;

	(void)state;
	for (n = 1; rc != E_OK && n < CALLS_MAX; n++) {
		begin_again(&f);
		rc = run(&none, n);
		if (rc == E_OK)
			break;
		assert_int_equal(rc, E_INTERRUPTED);
		finish_restore(reference, RESTORE_EMPTY, TREE_EXACT, judge_interrupted(rc, FIRST));
	}
	assert_in_range(n, 5, CALLS_MAX - 1);
}

/* ---- a stage somebody was at ---- */

/* Staged and verified, but not put in place. */
static void
leave_stage(struct fix *x)
{
	x->os = &stubborn;
	expect_rc(x, fix_restore(x), E_PROMOTE);
	assert_true(told_next(&x->e, FIRST));
	x->os = os_posix();
}

static char *
in_stage(const char *rel)
{
	static char path[600];

	assert_true(snprintf(path, sizeof(path), "%s/%s", staged, rel) < (int)sizeof(path));
	return path;
}

static char *
in_jail(const char *rel)
{
	static char path[600];

	assert_true(snprintf(path, sizeof(path), "%s/%s", jail, rel) < (int)sizeof(path));
	return path;
}

static void
become_link(void)
{
	assert_int_equal(unlink(in_stage("small")), 0);
	assert_int_equal(symlink(in_jail("secret"), in_stage("small")), 0);
}

static void
become_dir(void)
{
	assert_int_equal(unlink(in_stage("small")), 0);
	assert_int_equal(mkdir(in_stage("small"), 0700), 0);
}

static void
become_full_dir(void)
{
	become_dir();
	fix_put(in_stage("small"), "of-somebody", "theirs");
}

static void
become_hard_link(void)
{
	assert_int_equal(unlink(in_stage("small")), 0);
	assert_int_equal(link(in_jail("secret"), in_stage("small")), 0);
}

/* The right bytes, but somebody else has a name of them. */
static void
gain_a_name(void)
{
	assert_int_equal(link(in_stage("other"), in_jail("other")), 0);
}

static void
become_fifo(void)
{
	assert_int_equal(unlink(in_stage("small")), 0);
	assert_int_equal(mkfifo(in_stage("small"), 0600), 0);
}

static void
become_device(void)
{
	assert_int_equal(unlink(in_stage("parts")), 0);
	if (mknod(in_stage("parts"), S_IFCHR | 0600, makedev(1, 5)) != 0) /* not root */
		assert_int_equal(mkfifo(in_stage("parts"), 0600), 0);
}

static void
grow(void)
{
	assert_int_equal(truncate(in_stage("parts"), 100001), 0);
}

static void
shrink(void)
{
	assert_int_equal(truncate(in_stage("parts"), 1), 0);
}

static void
flip(const char *rel, long at)
{
	int fd = open(in_stage(rel), O_RDWR);
	char c;

	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	assert_int_equal(close(fd), 0);
}

static void
flip_one_piece(void)
{
	flip("parts", 70000);
}

static void
flip_small(void)
{
	flip("small", 2);
}

static void
swap_files(void)
{
	char other[600];

	assert_true(snprintf(other, sizeof(other), "%s/other", staged) > 0);
	assert_int_equal(
		renameat2(AT_FDCWD, other, AT_FDCWD, in_stage("small"), RENAME_EXCHANGE), 0);
}

static void
add_file(void)
{
	fix_put(staged, "foreign", "theirs");
}

static void
add_deep_dir(void)
{
	assert_int_equal(mkdir(in_stage("dir/foreign"), 0700), 0);
}

static void
link_for_dir(void)
{
	remove_tree(in_stage("dir"));
	assert_int_equal(symlink(jail, in_stage("dir")), 0);
}

static void
change_target(void)
{
	assert_int_equal(unlink(in_stage("dir/link")), 0);
	assert_int_equal(symlink(in_jail("secret"), in_stage("dir/link")), 0);
}

static void
change_rights(void)
{
	assert_int_equal(chmod(in_stage("small"), 04777), 0);
	assert_int_equal(chmod(in_stage("other"), 0), 0);
	assert_int_equal(setxattr(in_stage("small"), "user.theirs", "x", 1, 0), 0);
	assert_int_equal(setxattr(in_stage("dir"), "user.theirs", "x", 1, 0), 0);
	assert_int_equal(chmod(in_stage("dir"), 02000), 0);
}

static void
join_names(void)
{
	char from[600];

	assert_true(snprintf(from, sizeof(from), "%s/small", staged) > 0);
	assert_int_equal(unlink(in_stage("dir/small")), 0);
	assert_int_equal(link(from, in_stage("dir/small")), 0);
}

static void
records_elsewhere(void)
{
	remove_tree(in_stage(".holdfast_restore"));
	assert_int_equal(symlink(jail, in_stage(".holdfast_restore")), 0);
}

static void
records_with_fifo(void)
{
	assert_int_equal(mkfifo(in_stage(".holdfast_restore/" FIRST "/a.json"), 0600), 0);
}

static void
edit_plan(void)
{
	char path[600];
	int fd;

	assert_true(snprintf(path, sizeof(path), "%s/restore_plan.json", run_dir) > 0);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "X", 1, 200), 1);
	assert_int_equal(close(fd), 0);
}

static void
plan_is(void (*make)(const char *path))
{
	char path[600];

	assert_true(snprintf(path, sizeof(path), "%s/restore_plan.json", run_dir) > 0);
	assert_int_equal(unlink(path), 0);
	make(path);
}

static void
make_fifo(const char *path)
{
	assert_int_equal(mkfifo(path, 0600), 0);
}

static void
make_jail_link(const char *path)
{
	assert_int_equal(symlink(in_jail("secret"), path), 0);
}

static void
plan_is_fifo(void)
{
	plan_is(make_fifo);
}

static void
plan_is_link(void)
{
	plan_is(make_jail_link);
}

static void
another_root(void)
{
	char aside[600];

	assert_true(snprintf(aside, sizeof(aside), "%s/aside", run_dir) > 0);
	assert_int_equal(rename(staged, aside), 0);
	assert_int_equal(mkdir(staged, 0700), 0);
}

static void
root_is_link(void)
{
	remove_tree(staged);
	assert_int_equal(symlink(jail, staged), 0);
}

static void
run_is_link(void)
{
	char aside[600];

	assert_true(snprintf(aside, sizeof(aside), "%s-aside", f.dest) > 0);
	assert_int_equal(rename(run_dir, aside), 0);
	assert_int_equal(symlink(aside, run_dir), 0);
}

static void
lose_note(void)
{
	char path[600];

	assert_true(snprintf(path, sizeof(path), "%s/stage_root.inode", run_dir) > 0);
	assert_int_equal(unlink(path), 0);
}

static void
test_hostile_stages(void **state)
{
	static const struct {
		const char *name;
		void (*make)(void);
		enum ecode wanted;
	} kinds[] = {
		{ "a link instead of a file", become_link, E_OK },
		{ "an empty directory instead of a file", become_dir, E_OK },
		{ "a directory with something in it", become_full_dir, E_RESUME_FOREIGN },
		{ "a hard link to a file outside", become_hard_link, E_OK },
		{ "a name outside of a file in it", gain_a_name, E_OK },
		{ "a fifo", become_fifo, E_OK },
		{ "a device", become_device, E_OK },
		{ "a longer file", grow, E_OK },
		{ "a shorter file", shrink, E_OK },
		{ "a flipped byte in one piece", flip_one_piece, E_OK },
		{ "a flipped byte in a small file", flip_small, E_OK },
		{ "two files exchanged", swap_files, E_OK },
		{ "a foreign file", add_file, E_RESUME_FOREIGN },
		{ "a foreign directory, deep", add_deep_dir, E_RESUME_FOREIGN },
		{ "a link instead of a directory", link_for_dir, E_OK },
		{ "another target of a link", change_target, E_OK },
		{ "other rights and attributes", change_rights, E_OK },
		{ "two files become one", join_names, E_OK },
		{ "records that lead elsewhere", records_elsewhere, E_RESUME_FOREIGN },
		{ "a fifo among the records", records_with_fifo, E_RESUME_FOREIGN },
		{ "an edited plan", edit_plan, E_RESUME_STAGE },
		{ "a fifo for the plan", plan_is_fifo, E_RESUME_STAGE },
		{ "a link for the plan", plan_is_link, E_RESUME_STAGE },
		{ "another tree", another_root, E_RESUME_STAGE },
		{ "a link for the tree", root_is_link, E_RESUME_STAGE },
		{ "a link for the run's directory", run_is_link, E_RESUME_STAGE },
		{ "no word of which tree it is", lose_note, E_RESUME_STAGE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint64_t before = tree_digest(jail);
		enum ecode rc;

		begin_again(&f);
		leave_stage(&f);
		kinds[i].make();
		if (kinds[i].make == gain_a_name)
			before = tree_digest(jail);
		rc = go_on(&f, FIRST, SECOND, NULL, NULL);
		if (rc != kinds[i].wanted)
			print_message("# %s\n", kinds[i].name);
		expect_rc(&f, rc, kinds[i].wanted);
		if (rc == E_OK)
			expect_equal(reference, f.dest);
		else
			assert_false(exists(f.dest));
		assert_int_equal(tree_digest(jail), before);
		(void)unlink(in_jail("other"));
	}
}

/* A whole and valid plan, but of another restore: the run's own record tells. */
static void
test_another_plan_is_told_by_the_record(void **state)
{
	char digest[ID_HEX_SIZE], path[600];

	(void)state;
	leave_stage(&f);
	assert_int_equal(
		restore_resume_load(os_posix(), f.dest, FIRST, NULL, &hold, &f.args, &f.e), E_OK);
	(void)snprintf(digest, sizeof(digest), "%s", f.args.plan_digest);
	restore_approval_done(&hold);
	f.args.dest = f.dest; /* it was the approval's */
	expect_rc(&f, go_on(&f, FIRST, SECOND, digest, NULL), E_OK);

	begin_again(&f);
	f.args.verify = VERIFY_SIZE;
	leave_stage(&f);
	(void)snprintf(path, sizeof(path), "%s/restore_plan.json", run_dir);
	assert_true(exists(path));
	expect_rc(&f, go_on(&f, FIRST, SECOND, digest, NULL), E_RESUME_STAGE);
	assert_false(exists(f.dest));
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
}

/* The record itself is made by the run. */
static void
test_the_run_records_its_plan(void **state)
{
	char dir[400], path[500], text[80] = "";
	int fd;

	(void)state;
	fix_path(&f, "runfolder", dir, sizeof(dir));
	assert_int_equal(mkdir(dir, 0700), 0);
	f.args.fallback_dir = dir;
	leave_stage(&f);
	(void)snprintf(path, sizeof(path), "%s/" RESTORE_DIGEST_NAME, dir);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 65);
	assert_int_equal(close(fd), 0);
	text[64] = '\0';
	expect_rc(&f, go_on(&f, FIRST, SECOND, text, NULL), E_OK);
	expect_equal(reference, f.dest);
	remove_tree(dir);
}

/* After an exchange the tree in the stage is somebody's only copy. */
static void
test_the_previous_tree_is_never_built_upon(void **state)
{
	uint64_t before;

	(void)state;
	make_live(f.dest);
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_MERGE;
	leave_stage(&f);
	assert_int_equal(renameat2(AT_FDCWD, staged, AT_FDCWD, f.dest, RENAME_EXCHANGE), 0);
	before = tree_digest(staged);
	assert_int_not_equal(go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
	assert_int_equal(tree_digest(staged), before);
	/* even when the plan still fits: the destination looks as it did */
	remove_tree(f.dest);
	make_live(f.dest);
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_RESUME_STAGE);
	assert_non_null(strstr(f.e.detail, "previous tree"));
	assert_int_equal(tree_digest(staged), before);
}

/* the destination has no name at the moment.  Its tree comes back first, by the step that is told. */
static void
test_between_two_renames_the_tree_comes_back_first(void **state)
{
	char aside[500];
	uint64_t before;

	(void)state;
	make_live(f.dest);
	f.args.kind = RESTORE_SWAP;
	leave_stage(&f);
	fix_path(&f, "out/.holdfast_restore_previous_dest_" FIRST, aside, sizeof(aside));
	assert_int_equal(rename(f.dest, aside), 0);
	before = tree_digest(aside);
	assert_false(restore_resume_there(os_posix(), f.dest, FIRST));
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_RESUME_STAGE);
	assert_non_null(strstr(f.e.detail, "between its two renames"));
	assert_non_null(strstr(f.e.next, "mv -T '"));
	assert_non_null(strstr(f.e.next, aside));
	assert_false(exists(f.dest));
	assert_int_equal(tree_digest(aside), before);
	assert_int_equal(rename(aside, f.dest), 0);
	assert_true(restore_resume_there(os_posix(), f.dest, FIRST));
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
	expect_equal(reference, f.dest);
}

/* In a merge copies are made again; what is no copy stays where it is, and refuses. */
static void
test_a_merge_keeps_what_is_no_copy(void **state)
{
	(void)state;
	make_live(f.dest);
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_MERGE;
	leave_stage(&f);
	assert_true(exists(in_stage("mine/here")));
	assert_int_equal(chmod(in_stage("mine/deep"), 0700), 0);
	fix_put(in_stage("mine/deep"), "only-here", "whose?");
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_RESUME_FOREIGN);
	(void)snprintf(staged, sizeof(staged), "%s.holdfast_stage/" SECOND "/stage_root", f.dest);
	assert_true(exists(in_stage("mine/deep/only-here")));
	assert_int_equal(unlink(in_stage("mine/deep/only-here")), 0);
	(void)snprintf(staged, sizeof(staged), "%s/stage_root", run_dir);
	expect_rc(&f, go_on(&f, SECOND, THIRD, NULL, NULL), E_OK);
	expect_equal(merged, f.dest);
}

static int
stat_no_records(const struct os *os, int dir, const char *path, int flags, struct os_meta *out)
{
	(void)os;
	if (strcmp(path, ".holdfast_restore") == 0)
		return -EIO;
	return os_posix()->stat(os_posix(), dir, path, flags, out);
}

/* Are there records of an earlier run?  Who cannot tell does not go on. */
static void
test_records_that_cannot_be_looked_at(void **state)
{
	struct os odd = *os_posix();

	(void)state;
	leave_stage(&f);
	odd.stat = stat_no_records;
	f.os = &odd;
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_STAGE_IO);
	assert_int_equal(f.e.sys, EIO);
	assert_true(told_next(&f.e, SECOND));
	assert_false(exists(f.dest));
	f.os = os_posix();
	expect_rc(&f, go_on(&f, SECOND, THIRD, NULL, NULL), E_OK);
	expect_equal(reference, f.dest);
}

/* A stage without a plan is no continuation, and in nobody's way. */
static void
test_what_cannot_go_on_says_to_begin_again(void **state)
{
	static const struct fault_plan none = { 0 }, full = {
		.error = EIO, .forever = true, .nth = 1, .slots = SLOT_BIT(SLOT_PWRITE)
	};

	(void)state;
	f.args.resumable = false;
	expect_rc(&f, run(&full, -1), E_STAGE_IO);
	assert_non_null(strstr(f.e.next, "run the same command again"));
	assert_null(strstr(f.e.next, "--resume"));
	f.args.run_id = SECOND;
	expect_rc(&f, run(&none, -1), E_OK);
	expect_equal(reference, f.dest);
}

/* ---- who may ---- */

static void
test_one_at_a_time(void **state)
{
	int fd;

	(void)state;
	leave_stage(&f);
	fd = open(run_dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); /* as a living run holds it */
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_RESUME_BUSY);
	assert_true(exists(run_dir));
	assert_int_equal(close(fd), 0);
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
	expect_equal(reference, f.dest);
}

static int held_fd = -1;

static int
fsync_and_look(const struct os *os, int fd)
{
	(void)os;
	if (held_fd < 0 && exists(run_dir)) {
		held_fd = open(run_dir, O_RDONLY | O_DIRECTORY);
		assert_int_equal(flock(held_fd, LOCK_EX | LOCK_NB), -1);
		assert_int_equal(errno, EWOULDBLOCK);
	}
	return os_posix()->fsync(os_posix(), fd);
}

static void
test_a_living_restore_holds_its_stage(void **state)
{
	struct os looking = *os_posix();

	(void)state;
	looking.fsync = fsync_and_look;
	f.os = &looking;
	held_fd = -1;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_true(held_fd >= 0);
	assert_int_equal(close(held_fd), 0);
}

static void
test_a_destination_in_use_waits(void **state)
{
	(void)state;
	leave_stage(&f);
	make_live(f.dest);
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_DEST_NOT_EMPTY);
	assert_true(told_next(&f.e, FIRST));
	assert_true(exists(staged));
	remove_tree(f.dest);
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
	expect_equal(reference, f.dest);
}

static void
test_another_place_or_run_is_refused(void **state)
{
	char other[400], moved[500];

	(void)state;
	leave_stage(&f);
	expect_rc(&f, go_on(&f, SECOND, THIRD, NULL, NULL), E_RESUME_STAGE);
	expect_rc(&f, go_on(&f, "../" FIRST, THIRD, NULL, NULL), E_USAGE);
	fix_path(&f, "out/other", other, sizeof(other));
	(void)snprintf(moved, sizeof(moved), "%s.holdfast_stage", other);
	(void)snprintf(run_dir, sizeof(run_dir), "%s.holdfast_stage", f.dest);
	assert_int_equal(rename(run_dir, moved), 0);
	(void)snprintf(run_dir, sizeof(run_dir), "%s.holdfast_stage/" FIRST, f.dest);
	f.args.dest = other;
	expect_rc(&f, go_on(&f, FIRST, THIRD, NULL, NULL), E_RESUME_STAGE);
	f.args.dest = f.dest;
	assert_false(exists(other));
}

/* The records of both runs travel with the tree, and say so. */
static void
test_records_say_what_is_continued(void **state)
{
	char path[600], text[4000] = "";
	ssize_t n;
	int fd;

	(void)state;
	leave_stage(&f);
	expect_rc(&f, go_on(&f, FIRST, SECOND, NULL, NULL), E_OK);
	assert_int_equal(f.result.kept_files, 5);
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore/" FIRST "/execution_journal.jsonl",
		f.dest);
	assert_true(exists(path));
	(void)snprintf(
		path, sizeof(path), "%s/.holdfast_restore/" SECOND "/restore_summary.json", f.dest);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	assert_int_equal(close(fd), 0);
	assert_non_null(strstr(text, "\"continues\":\"" FIRST "\""));
	assert_non_null(strstr(text, "\"kept_files\":5"));
	assert_non_null(strstr(text, "\"result\":\"ok\""));
	expect_equal(reference, f.dest);
	assert_int_equal(tree_entries(f.out), tree_entries(f.dest) + 1); /* no stage is left */
}

/* ---- how much is fetched ---- */

static struct store_shim counting;
static uint64_t fetched; /* bytes of packs */

static enum ecode
get_counted(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	size_t before = out->len;
	enum ecode rc = store_get(((struct store_shim *)st)->below, name, off, len, out, e);

	if (rc == E_OK && name->kind == O_PACK)
		fetched += out->len - before;
	return rc;
}

static void
restore_counted(enum ecode wanted)
{
	struct store_ops ops;
	struct session s;
	struct store *real;
	enum ecode rc;

	heard_init(&large.h);
	restore_result_done(&large.result);
	memset(&large.e, 0, sizeof(large.e));
	open_session(&s, os_posix(), large.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &large.h);
	real = s.store;
	store_shim_init(&counting, real);
	ops = *counting.st.ops;
	ops.get = get_counted;
	counting.st.ops = &ops;
	s.store = &counting.st;
	s.os = large.os;
	fetched = 0;
	rc = restore_run(&s, &large.args, &large.result, &large.e);
	s.store = real;
	session_abandon(&s);
	expect_rc(&large, rc, wanted);
}

static void
go_on_counted(void)
{
	const char *dest = large.args.dest;

	large.os = os_posix();
	large.args = (struct restore_args){ .run_id = SECOND, .artifacts = true };
	assert_int_equal(
		restore_resume_load(os_posix(), dest, FIRST, NULL, &hold, &large.args, &large.e),
		E_OK);
	restore_counted(E_OK);
	restore_approval_done(&hold);
	large.args.dest = dest;
	expect_equal(large_reference, large.dest);
}

static void
test_what_was_whole_is_not_fetched_again(void **state)
{
	uint64_t all;

	(void)state;
	large.os = &stubborn;
	restore_counted(E_PROMOTE);
	all = fetched;
	assert_true(all >= (PIECES + 1) * PIECE);
	go_on_counted();
	print_message("# of %llu bytes a continuation of a whole stage fetched %llu\n",
		(unsigned long long)all, (unsigned long long)fetched);
	assert_int_equal(fetched, 0);
	assert_int_equal(large.result.kept_files, 2);
	assert_int_equal(large.result.kept_bytes, (PIECES + 1) * PIECE);
}

static void
test_only_the_piece_that_is_wrong_is_fetched(void **state)
{
	char path[600];
	int fd;

	(void)state;
	large.os = &stubborn;
	restore_counted(E_PROMOTE);
	(void)snprintf(
		path, sizeof(path), "%s.holdfast_stage/" FIRST "/stage_root/parts", large.dest);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "flip", 4, PIECE + 17), 4);
	assert_int_equal(close(fd), 0);
	go_on_counted();
	print_message("# one wrong piece of %zu bytes: %llu fetched\n", PIECE,
		(unsigned long long)fetched);
	assert_in_range(fetched, PIECE, PIECE + 1024);
	assert_int_equal(large.result.kept_bytes, PIECES * PIECE);
}

/* A stop in the midst: fetched before and after are together no more than all of it. */
static void
test_a_full_disk_in_the_midst(void **state)
{
	static const struct fault_plan full = {
		.error = ENOSPC, .forever = true, .nth = 3, .slots = SLOT_BIT(SLOT_PWRITE)
	};
	bool told = false;
	uint64_t first;

	(void)state;
	fault_os_init(&faults, os_posix());
	faults.real_random = true;
	fault_os_plan(&faults, full);
	large.os = &faults.os;
	restore_counted(E_STAGE_SPACE);
	fault_os_plan(&faults, (struct fault_plan){ 0 });
	assert_true(told_next(&large.e, FIRST));
	for (unsigned i = 0; i < large.e.notes; i++)
		told |= strstr(large.e.note[i], "bytes are needed in all") != NULL &&
			strstr(large.e.note[i], "are free now") != NULL;
	assert_true(told);
	first = fetched;
	go_on_counted();
	print_message("# %llu fetched before the disk was full, %llu after, of %zu\n",
		(unsigned long long)first, (unsigned long long)fetched, (PIECES + 1) * PIECE);
	assert_true(fetched < (PIECES + 1) * PIECE);
	assert_true(large.result.kept_bytes >= 2 * PIECE);
}

/* ---- what is left of a damaged snapshot (D-20) ---- */

static void
break_vault(struct fix *x)
{
	char cmd[600];

	/* a byte in the middle of the largest object: one piece of "parts" or "single" */
	assert_true(
		snprintf(cmd, sizeof(cmd),
			"p=$(find '%s/data' -type f -printf '%%s %%p\\n' | sort -n | tail -n 1 | cut -d' ' -f2-); "
			"chmod u+w \"$p\"; s=$(stat -c %%s \"$p\"); "
			"printf X | dd of=\"$p\" bs=1 seek=$((s / 2)) conv=notrunc status=none",
			x->vault) < (int)sizeof(cmd));
	assert_int_equal(system(cmd), 0);
}

static void
test_partial(void **state)
{
	char partial[400], path[500];
	struct stat st;

	(void)state;
	(void)snprintf(partial, sizeof(partial), "%s.partial", large.dest);
	break_vault(&large);
	expect_rc(&large, fix_restore(&large), E_RESTORE_DAMAGED);
	assert_false(exists(large.dest));
	assert_false(exists(partial));

	/* the stage of the refused one goes on, with less asked for */
	large.args = (struct restore_args){ .run_id = SECOND };
	assert_int_equal(restore_resume_load(
				 os_posix(), large.dest, FIRST, NULL, &hold, &large.args, &large.e),
		E_OK);
	large.args.allow_partial = true;
	large.args.artifacts = true;
	expect_rc(&large, fix_restore(&large), E_RESTORE_PARTIAL);
	restore_approval_done(&hold);
	assert_true(large.result.promoted);
	assert_string_equal(large.result.partial, partial);
	assert_int_equal(large.result.missing, 1);
	assert_true(strcmp(large.result.missing_path[0], "/parts") == 0 ||
		    strcmp(large.result.missing_path[0], "/single") == 0);
	assert_null(large.result.missing_path[1]);
	assert_false(exists(large.dest));
	(void)snprintf(path, sizeof(path), "%s/parts", partial);
	if (stat(path, &st) != 0) { /* the one or the other: never a file with wrong bytes */
		(void)snprintf(path, sizeof(path), "%s/single", partial);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, PIECE);
	} else {
		assert_int_equal(st.st_size, PIECES * PIECE);
	}
	assert_int_equal(large.result.verified_files, 1);
	(void)snprintf(path, sizeof(path), "%s/.holdfast_restore/" SECOND "/restore_summary.json",
		partial);
	assert_true(exists(path));
	assert_non_null(strstr(large.result.artifacts, "dest.partial/.holdfast_restore/" SECOND));
}

static void
test_partial_takes_no_place_that_is_taken(void **state)
{
	char partial[400];
	uint64_t before;

	(void)state;
	(void)snprintf(partial, sizeof(partial), "%s.partial", large.dest);
	make_live(partial);
	before = tree_digest(large.out);
	large.args.allow_partial = true;
	expect_rc(&large, fix_restore(&large), E_PARTIAL_THERE);
	assert_int_equal(tree_digest(large.out), before);
}

/* Nothing is missing: it is a restore like any other. */
static void
test_partial_of_a_whole_snapshot_is_whole(void **state)
{
	(void)state;
	f.args.allow_partial = true;
	expect_rc(&f, fix_restore(&f), E_OK);
	expect_equal(reference, f.dest);
	assert_null(f.result.partial);
	assert_int_equal(tree_entries(f.out), tree_entries(f.dest) + 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_interrupted_at_every_call, each),
		cmocka_unit_test_setup(test_no_space_at_every_call, each),
		cmocka_unit_test_setup(test_a_merge_interrupted_at_every_call, each),
		cmocka_unit_test_setup(test_interrupted_twice, each),
		cmocka_unit_test_setup(test_stopped_at_every_question, each),
		cmocka_unit_test_setup(test_hostile_stages, each),
		cmocka_unit_test_setup(test_another_plan_is_told_by_the_record, each),
		cmocka_unit_test_setup(test_the_run_records_its_plan, each),
		cmocka_unit_test_setup(test_the_previous_tree_is_never_built_upon, each),
		cmocka_unit_test_setup(test_between_two_renames_the_tree_comes_back_first, each),
		cmocka_unit_test_setup(test_a_merge_keeps_what_is_no_copy, each),
		cmocka_unit_test_setup(test_records_that_cannot_be_looked_at, each),
		cmocka_unit_test_setup(test_what_cannot_go_on_says_to_begin_again, each),
		cmocka_unit_test_setup(test_one_at_a_time, each),
		cmocka_unit_test_setup(test_a_living_restore_holds_its_stage, each),
		cmocka_unit_test_setup(test_a_destination_in_use_waits, each),
		cmocka_unit_test_setup(test_another_place_or_run_is_refused, each),
		cmocka_unit_test_setup(test_records_say_what_is_continued, each),
		cmocka_unit_test_setup(test_what_was_whole_is_not_fetched_again, each),
		cmocka_unit_test_setup(test_only_the_piece_that_is_wrong_is_fetched, each),
		cmocka_unit_test_setup(test_a_full_disk_in_the_midst, each),
		cmocka_unit_test_setup(test_partial_takes_no_place_that_is_taken, each),
		cmocka_unit_test_setup(test_partial_of_a_whole_snapshot_is_whole, each),
		cmocka_unit_test_setup(test_partial, each), /* last: it breaks the large vault */
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
