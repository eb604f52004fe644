/*
 * The n-th kernel call refused, once and for ever, for every errno that can
 * happen: nothing leaks, nothing half is given as whole, and the same work
 * succeeds right after.
 */
#include "fixture.h"

#include <sys/xattr.h>

#include "fs/meta.h"
#include "fs/place.h"
#include "fs/rules.h"
#include "fs/space.h"
#include "fs/walk.h"
#include "support/fault_os.h"

#define TEST_ARENA ((size_t)64 << 20)

static const int errors[] = { EIO, ENOSPC, EDQUOT, EINTR, EROFS, EACCES, EPERM, ESTALE, ENOMEM,
	EMFILE, ENOENT, ENOSYS };

/* What was done to whom; `old` kernels have no openat2. */
struct job {
	struct fixture *f;
	const char *name; /* of this round's own directory or file */
	int error;
	bool old;
	unsigned made; /* rounds so far: each has names of its own */
};

static int
no_open_beneath(
	const struct os *os, int dir, const char *path, int flags, mode_t mode, bool same_dev)
{
	(void)os;
	(void)dir;
	(void)path;
	(void)flags;
	(void)mode;
	(void)same_dev;
	return -ENOSYS;
}

/* Every n for one errno; `work` asserts what its header promises.  Returns how many calls were refused. */
static unsigned long
loop(struct job *j, bool forever, void (*work)(struct job *j, const struct os *os, bool fault))
{
	unsigned long total = 0;

	for (unsigned long n = 1;; n++) {
		struct fault_os f;

		fault_os_init(&f, os_posix());
		if (j->old)
			f.os.open_beneath = no_open_beneath;
		f.plan = (struct fault_plan){ .nth = n, .error = j->error, .forever = forever };
		j->made++;
		work(j, &f.os, true);
		if (f.open_fds != 0) {
			fault_os_print_log(&f);
			fail_msg("errno %d at call %lu: %ld descriptors are open", j->error, n,
				f.open_fds);
		}
		total += f.fired;
		unsigned long fired = f.fired;

		fault_os_done(&f);
		if (fired == 0)
			return total;
		j->made++;
		work(j, os_posix(), false); /* the next safe action: the same again */
	}
}

static void
all_loops(struct job *j, void (*work)(struct job *j, const struct os *os, bool fault))
{
	unsigned long total = 0;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		j->error = errors[i];
		total += loop(j, false, work);
		if (errors[i] != EINTR) /* which is retried as long as it comes */
			total += loop(j, true, work);
	}
	print_message("# %lu refused calls\n", total);
	assert_true(total > 20);
}

/* ---- listing ---- */

#define LISTED 5

static void
list_work(struct job *j, const struct os *os, bool fault)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct walk_list list = { .n = 77 };
	struct err e = { .code = E_OK };
	struct slice target;
	int fd = -1;
	enum ecode rc = walk_open_dir(os, j->f->fd, "listed", false, &fd, &e);

	assert_true(rc == E_OK ? fd >= 0 : fd == -1 && rc == e.code);
	if (rc != E_OK) {
		assert_true(fault);
		return;
	}
	rc = walk_dir(os, fd, "listed", &a, &list, &e);
	assert_true(
		rc == E_OK ? fault || list.vanished == 0 : rc == e.code && list.n == 77 && fault);
	if (rc ==
		E_OK) /* whole: every name is there, stat'ed, with the reason, or counted as vanished */
		assert_int_equal(list.n + list.vanished, LISTED);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		assert_true(list.v[i].have_meta ? list.v[i].sys == 0
						: list.v[i].sys == j->error && fault);
		assert_true(list.vanished == 0 || j->error == ENOENT);
	}
	rc = walk_readlink(os, fd, "link", &a, &target, &e);
	assert_true(rc == E_OK ? target.len == 8 && memcmp(target.p, "/nowhere", 9) == 0
			       : rc == e.code && fault);
	(void)os->close(os, fd);
	fd = -1;
	rc = walk_open_file(os, j->f->fd, "listed/a", &fd, &e);
	assert_true(rc == E_OK ? fd >= 0 : fd == -1 && rc == e.code && fault);
	if (rc == E_OK)
		(void)os->close(os, fd);
}

static void
listings_are_whole_or_refused(void **state)
{
	struct job j = { .f = *state };

	assert_int_equal(mkdirat(j.f->fd, "listed", 0700), 0);
	fixture_file(j.f, "listed/a", "x");
	fixture_file(j.f, "listed/b", "");
	fixture_file(j.f, "listed/c", "");
	assert_int_equal(symlinkat("/nowhere", j.f->fd, "listed/link"), 0);
	assert_int_equal(mkfifoat(j.f->fd, "listed/fifo", 0600), 0);
	all_loops(&j, list_work);
}

/* ---- attributes ---- */

static void
count_told(void *arg, const char *name, int sys)
{
	assert_true(sys > 0 && strncmp(name, "user.", 5) == 0);
	(*(unsigned *)arg)++;
}

static void
xattr_work(struct job *j, const struct os *os, bool fault)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct meta_xattrs x = { .n = 77 };
	struct err e = { .code = E_OK };
	unsigned told = 0;
	enum ecode rc = meta_xattrs_read(os, j->f->fd, "x", &a, &x, count_told, &told, &e);

	if (rc != E_OK)
		assert_true(fault && rc == e.code && x.n == 77);
	else /* each is there or was told */
		assert_int_equal(x.n + told, 3);
	assert_true(fault || told == 0);
}

static void
attributes_are_read_told_or_refused(void **state)
{
	struct job j = { .f = *state };
	char path[100];

	fixture_file(j.f, "x", "");
	(void)snprintf(path, sizeof(path), "%s/x", j.f->dir);
	assert_int_equal(setxattr(path, "user.a", "1", 1, 0), 0);
	assert_int_equal(setxattr(path, "user.b", "", 0, 0), 0);
	assert_int_equal(setxattr(path, "user.c", path, sizeof(path), 0), 0);
	all_loops(&j, xattr_work);
}

static void
count_failed(void *arg, enum meta_part part, const char *xattr, int sys)
{
	assert_true(sys > 0);
	assert_true((part == META_XATTR) == (xattr != NULL));
	(*(unsigned *)arg)++;
}

static void
put_work(struct job *j, const struct os *os, bool fault)
{
	static const struct meta_xattr want = { .name = { (const uint8_t *)"user.want", 9 },
		.value = { (const uint8_t *)"1", 1 } };
	struct meta_apply m = { .owner = true,
		.mode = true,
		.times = true,
		.xattrs = true,
		.uid = geteuid(),
		.gid = getegid(),
		.st_mode = 02750,
		.mtime = { .s = 1000000 + j->made, .ns = 7 },
		.xattr = &want,
		.xattr_count = 1 };
	unsigned told = 0, failures;
	char path[100], got[4];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/x", j->f->dir);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(setxattr(path, "user.foreign", "1", 1, 0), 0);
	failures = meta_put(os, j->f->fd, "x", &m, count_failed, &told);
	assert_int_equal(failures, told);
	assert_true(fault || failures == 0);
	if (failures != 0)
		return;
	assert_int_equal(stat(path, &st), 0); /* no failure: all of it is there */
	assert_int_equal(st.st_mode & 07777, 02750);
	assert_int_equal(st.st_mtim.tv_sec, m.mtime.s);
	assert_int_equal(getxattr(path, "user.want", got, sizeof(got)), 1);
	assert_int_equal(getxattr(path, "user.foreign", got, sizeof(got)), -1);
}

static void
what_could_not_be_put_is_told(void **state)
{
	struct job j = { .f = *state };

	fixture_file(j.f, "x", "");
	all_loops(&j, put_work);
}

/* ---- placing ---- */

static enum ecode
place_some(struct place *p, const struct os *os, struct err *e)
{
	int dir = -1, fd = -1;
	enum ecode rc = place_dir(p, "a", e);

	if (rc == E_OK)
		rc = place_dir(p, "a/b", e);
	if (rc == E_OK)
		rc = place_open_dir(p, "a/b", &dir, e);
	if (rc == E_OK)
		rc = place_file(p, dir, "file", &fd, e);
	if (fd >= 0)
		(void)os->close(os, fd);
	if (rc == E_OK)
		rc = place_symlink(p, dir, "link", "/nowhere", e);
	if (rc == E_OK)
		rc = place_special(p, dir, "fifo", S_IFIFO, 0, e);
	if (rc == E_OK)
		rc = place_link(p, "a/b/file", dir, "hard", e);
	if (dir >= 0)
		(void)os->close(os, dir);
	fd = -1;
	if (rc == E_OK)
		rc = place_reopen(p, "a/b/hard", O_RDONLY, &fd, e);
	if (fd >= 0)
		(void)os->close(os, fd);
	return rc;
}

static bool
is_there(const struct fixture *f, const char *root, const char *name)
{
	struct stat st;
	char path[100];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	return fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
place_work(struct job *j, const struct os *os, bool fault)
{
	static const char *const made[] = { "a/b/file", "a/b/link", "a/b/fifo", "a/b/hard" };
	struct place *p = NULL;
	struct err e = { .code = E_OK };
	char root[40], path[120];
	enum ecode rc;

	(void)snprintf(root, sizeof(root), "root-%u", j->made);
	(void)snprintf(path, sizeof(path), "%s/%s", j->f->dir, root);
	assert_int_equal(mkdirat(j->f->fd, root, 0700), 0);
	rc = place_open(os, path, &p, &e);
	assert_true((rc == E_OK) == (p != NULL));
	if (rc == E_OK)
		rc = place_some(p, os, &e);
	place_close(&p);
	assert_true(rc == E_OK || (fault && rc == e.code));
	for (size_t i = 0; rc == E_OK && i < 4; i++)
		assert_true(is_there(j->f, root, made[i]));
}

static void
placing_is_done_or_refused(void **state)
{
	struct job j = { .f = *state };

	all_loops(&j, place_work);
}

static void
placing_without_openat2_is_done_or_refused(void **state)
{
	struct job j = { .f = *state, .old = true };

	all_loops(&j, place_work);
}

/* ---- the small ones ---- */

static void
space_work(struct job *j, const struct os *os, bool fault)
{
	struct space s = { .dev = 77 };
	struct err e = { .code = E_OK };
	char path[100];
	enum ecode rc;

	(void)snprintf(path, sizeof(path), "%s/absent/below", j->f->dir);
	rc = space_at(os, path, &s, &e);
	assert_true(rc == E_OK ? s.dev != 77 : fault && rc == e.code && s.dev == 77);
}

static void
space_is_told_or_refused(void **state)
{
	struct job j = { .f = *state };

	all_loops(&j, space_work);
}

static const char *
no_env(const char *name)
{
	(void)name;
	return NULL;
}

static void
file_work(struct job *j, const struct os *os, bool fault)
{
	struct rules *r = NULL;
	struct err e = { .code = E_OK };
	char path[100];
	enum ecode rc;

	(void)snprintf(path, sizeof(path), "%s/patterns", j->f->dir);
	assert_int_equal(rules_open(&r, NULL), E_OK);
	rc = rules_add_file(r, os, path, false, no_env, &e);
	assert_true(rc == E_OK || (fault && rc == e.code));
	assert_int_equal(rules_count(r),
		rc == E_OK ? 2 : 0); /* half a list would exclude too little or too much */
	rules_close(&r);
}

static void
pattern_files_are_read_whole_or_refused(void **state)
{
	struct job j = { .f = *state };

	fixture_file(j.f, "patterns", "*.o\n# x\n!keep.o\n");
	all_loops(&j, file_work);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			listings_are_whole_or_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			attributes_are_read_told_or_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_could_not_be_put_is_told, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			placing_is_done_or_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(placing_without_openat2_is_done_or_refused,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			space_is_told_or_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			pattern_files_are_read_whole_or_refused, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
