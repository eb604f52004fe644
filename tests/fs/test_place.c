#include "fs/place.h"

#include "fixture.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

/*
 * Every test that could leave its root runs twice: with the kernel's openat2,
 * and with a kernel that does not have it.
 */
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

static const struct os *
old_kernel(void)
{
	static struct os os;

	os = *os_posix();
	os.open_beneath = no_open_beneath;
	return &os;
}

static const struct os *
kernel(unsigned n)
{
	return n == 0 ? os_posix() : old_kernel();
}
#define KERNELS 2

/* `dir`/root is the root; beside it lies `outside`, which nobody may touch. */
static struct place *
open_root(const struct fixture *f, const struct os *os)
{
	struct place *p = NULL;
	struct err e = { .code = E_OK };
	char path[100];

	(void)mkdirat(f->fd, "root", 0700);
	(void)mkdirat(f->fd, "outside", 0700);
	(void)snprintf(path, sizeof(path), "%s/root", f->dir);
	expect_code(place_open(os, path, &p, &e), E_OK, &e);
	return p;
}

static int
dir_of(struct place *p, const char *rel)
{
	struct err e = { .code = E_OK };
	int fd = -1;

	expect_code(place_open_dir(p, rel, &fd, &e), E_OK, &e);
	return fd;
}

static void
outside_is_empty(const struct fixture *f)
{
	assert_int_equal(
		unlinkat(f->fd, "outside", AT_REMOVEDIR), 0); /* refuses when something is in it */
	assert_int_equal(mkdirat(f->fd, "outside", 0700), 0);
}

static void
a_tree_is_placed(const struct fixture *f, const struct os *os)
{
	struct place *p = open_root(f, os);
	struct stat st, st2;
	int dir, fd = -1;
	char text[8];

	assert_int_equal(place_dir(p, "a", NULL), E_OK);
	assert_int_equal(place_dir(p, "a/b", NULL), E_OK);
	assert_int_equal(place_dir(p, "a/b/c", NULL), E_OK);
	dir = dir_of(p, "a/b");
	assert_int_equal(place_file(p, dir, "file", &fd, NULL), E_OK);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(close(fd), 0);
	assert_int_equal(place_symlink(p, dir, "link", "../../../outside", NULL), E_OK);
	assert_int_equal(place_special(p, dir, "fifo", S_IFIFO | 0644, 99, NULL), E_OK);
	assert_int_equal(place_link(p, "a/b/file", dir, "hard", NULL), E_OK);
	assert_int_equal(fstatat(dir, "hard", &st2, 0), 0);
	assert_int_equal(st2.st_ino, st.st_ino);
	assert_int_equal(place_reopen(p, "a/b/hard", O_RDONLY, &fd, NULL), E_OK);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(fstatat(f->fd, "root/a/b/c", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(close(dir), 0);
	dir = dir_of(p, "");
	assert_int_equal(place_file(p, dir, "top", &fd, NULL), E_OK);
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(dir), 0);
	assert_int_equal(fstatat(f->fd, "root/top", &st, 0), 0);
	place_close(&p);
	assert_null(p);
	place_close(&p);
}

static void
everything_is_placed_below_the_root(void **state)
{
	size_t before = fixture_open_fds();

	a_tree_is_placed(*state, os_posix());
	assert_int_equal(fixture_open_fds(), before);
}

static void
an_old_kernel_places_the_same(void **state)
{
	size_t before = fixture_open_fds();

	a_tree_is_placed(*state, old_kernel());
	assert_int_equal(fixture_open_fds(), before);
}

static void
unsafe_names_are_refused_everywhere(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "/abs", "../x", "a/../x", "a/..",
		"a/./b", "a//b", "a/", "./a" };
	const struct fixture *f = *state;
	char too_long[300];

	memset(too_long, 'n', 256);
	too_long[256] = '\0';
	for (unsigned k = 0; k < KERNELS; k++) {
		struct place *p = open_root(f, kernel(k));
		int dir = dir_of(p, ""), fd = -1;

		for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
			const char *name = i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : too_long;

			assert_int_equal(place_dir(p, name, NULL), E_PATH_UNSAFE);
			if (name[0] != '\0')
				assert_int_equal(place_open_dir(p, name, &fd, NULL), E_PATH_UNSAFE);
			assert_int_equal(place_file(p, dir, name, &fd, NULL), E_PATH_UNSAFE);
			assert_int_equal(place_symlink(p, dir, name, "t", NULL), E_PATH_UNSAFE);
			assert_int_equal(
				place_special(p, dir, name, S_IFIFO, 0, NULL), E_PATH_UNSAFE);
			assert_int_equal(place_link(p, name, dir, "x", NULL), E_PATH_UNSAFE);
			assert_int_equal(place_link(p, "x", dir, name, NULL), E_PATH_UNSAFE);
			assert_int_equal(place_reopen(p, name, O_RDONLY, &fd, NULL), E_PATH_UNSAFE);
		}
		assert_int_equal(place_file(p, dir, "a/b", &fd, NULL),
			E_PATH_UNSAFE); /* one component only */
		assert_int_equal(fd, -1);
		assert_int_equal(close(dir), 0);
		place_close(&p);
	}
	outside_is_empty(f);
	assert_int_equal(
		unlinkat(f->fd, "root", AT_REMOVEDIR), 0); /* and nothing was made inside */
}

static void
odd_but_safe_names_are_taken(void **state)
{
	static const char *const odd[] = { "...", "..a", "a\nb", " ", "\xff\xfe", "-rf", "*",
		"a\\b", "\x01" };
	const struct fixture *f = *state;
	struct place *p = open_root(f, os_posix());
	int dir = dir_of(p, "");
	char longest[256];
	struct stat st;
	int fd = -1;

	memset(longest, 'n', 255);
	longest[255] = '\0';
	for (size_t i = 0; i <= sizeof(odd) / sizeof(odd[0]); i++) {
		const char *name = i < sizeof(odd) / sizeof(odd[0]) ? odd[i] : longest;

		assert_int_equal(place_file(p, dir, name, &fd, NULL), E_OK);
		assert_int_equal(close(fd), 0);
		assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	}
	assert_int_equal(close(dir), 0);
	place_close(&p);
}

static void
what_exists_is_never_opened_or_replaced(void **state)
{
	const struct fixture *f = *state;
	struct place *p = open_root(f, os_posix());
	int dir = dir_of(p, ""), fd = -1;

	fixture_file(f, "root/file", "old");
	assert_int_equal(mkdirat(f->fd, "root/dir", 0700), 0);
	assert_int_equal(symlinkat("../outside/new", f->fd, "root/link"), 0);
	static const char *const there[] = { "file", "dir", "link" };

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(place_file(p, dir, there[i], &fd, NULL), E_PLACE_EXISTS);
		assert_int_equal(place_dir(p, there[i], NULL), E_PLACE_EXISTS);
		assert_int_equal(place_symlink(p, dir, there[i], "t", NULL), E_PLACE_EXISTS);
		assert_int_equal(place_special(p, dir, there[i], S_IFIFO, 0, NULL), E_PLACE_EXISTS);
		assert_int_equal(place_link(p, "file", dir, there[i], NULL), E_PLACE_EXISTS);
	}
	assert_int_equal(fd, -1);
	assert_int_equal(close(dir), 0);
	place_close(&p);
	outside_is_empty(f);
}

/* Somebody swaps a directory we made for a link that leads out, before each kind of step. */
static void
a_swapped_parent_is_never_followed(void **state)
{
	static const char *const targets[] = { "../outside", "/", "..", ".", "b" };
	const struct fixture *f = *state;

	fixture_file(f, "victim", "x");
	for (unsigned n = 0; n < KERNELS * 5; n++) {
		struct place *p = open_root(f, kernel(n % KERNELS));
		int dir = dir_of(p, ""), fd = -1;
		struct err e = { .code = E_OK };

		assert_int_equal(place_dir(p, "a", NULL), E_OK);
		assert_int_equal(place_dir(p, "b", NULL), E_OK);
		assert_int_equal(unlinkat(f->fd, "root/a", AT_REMOVEDIR), 0);
		assert_int_equal(symlinkat(targets[n / KERNELS], f->fd, "root/a"), 0);
		expect_code(place_dir(p, "a/x", &e), E_PATH_UNSAFE, &e);
		expect_code(place_open_dir(p, "a", &fd, &e), E_PATH_UNSAFE, &e);
		expect_code(place_open_dir(p, "a/b", &fd, &e), E_PATH_UNSAFE, &e);
		expect_code(place_reopen(p, "a/victim", O_RDWR, &fd, &e), E_PATH_UNSAFE, &e);
		expect_code(place_link(p, "a/victim", dir, "hard", &e), E_PATH_UNSAFE, &e);
		assert_int_equal(fd, -1);
		assert_int_equal(close(dir), 0);
		place_close(&p);
		assert_int_equal(unlinkat(f->fd, "root/a", 0), 0);
		assert_int_equal(unlinkat(f->fd, "root/b", AT_REMOVEDIR), 0);
		assert_int_equal(unlinkat(f->fd, "root", AT_REMOVEDIR), 0);
		outside_is_empty(f);
	}
}

static void
a_swapped_file_is_never_followed(void **state)
{
	const struct fixture *f = *state;

	fixture_file(f, "victim", "x");
	for (unsigned k = 0; k < KERNELS; k++) {
		struct place *p = open_root(f, kernel(k));
		struct err e = { .code = E_OK };
		int fd = -1, dir = dir_of(p, "");
		struct stat st;

		assert_int_equal(symlinkat("../victim", f->fd, "root/file"), 0);
		expect_code(place_reopen(p, "file", O_WRONLY, &fd, &e), E_PATH_UNSAFE, &e);
		/* a hard link to a link is a link, not the victim */
		expect_code(place_link(p, "file", dir, "hard", &e), E_OK, &e);
		assert_int_equal(fstatat(dir, "hard", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(fstatat(f->fd, "victim", &st, 0), 0);
		assert_int_equal(st.st_nlink, 1);
		assert_int_equal(unlinkat(dir, "hard", 0), 0);
		assert_int_equal(unlinkat(dir, "file", 0), 0);
		assert_int_equal(close(dir), 0);
		place_close(&p);
	}
}

static void
a_root_that_is_a_link_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct place *p = NULL;
	struct err e = { .code = E_OK };
	char path[100];

	assert_int_equal(symlinkat("/tmp", f->fd, "root"), 0);
	(void)snprintf(path, sizeof(path), "%s/root", f->dir);
	expect_code(place_open(os_posix(), path, &p, &e), E_PLACE_IO, &e);
	(void)snprintf(path, sizeof(path), "%s/absent", f->dir);
	expect_code(place_open(os_posix(), path, &p, &e), E_PLACE_IO, &e);
	assert_null(p);
}

static void
held_descriptors_survive_a_swap(void **state)
{
	const struct fixture *f = *state;
	struct place *p = open_root(f, os_posix());
	struct stat st;
	int dir, fd = -1;

	assert_int_equal(place_dir(p, "a", NULL), E_OK);
	dir = dir_of(p, "a");
	assert_int_equal(renameat(f->fd, "root/a", f->fd, "root/moved"), 0);
	assert_int_equal(symlinkat("../outside", f->fd, "root/a"), 0);
	assert_int_equal(place_file(p, dir, "file", &fd, NULL), E_OK);
	assert_int_equal(close(fd), 0);
	assert_int_equal(fstatat(f->fd, "root/moved/file", &st, 0), 0);
	assert_int_equal(close(dir), 0);
	place_close(&p);
	outside_is_empty(f);
}

/* The root is "/" itself, with a kernel that leaves it as it is. */
static int
no_change_to_attribute(const struct os *os, int dir, const char *path, const char *name)
{
	(void)os;
	(void)dir;
	(void)path;
	(void)name;
	return -ENODATA;
}

static struct os_ids
ids_of_the_root(const struct os *os)
{
	struct stat st;

	(void)os;
	assert_int_equal(stat("/", &st), 0);
	return (struct os_ids){ st.st_uid, st.st_gid };
}

static void
another_file_system_is_not_entered(void **state)
{
	struct stat root, proc;

	(void)state;
	if (stat("/", &root) != 0 || stat("/proc/self", &proc) != 0 || root.st_dev == proc.st_dev)
		skip(); /* no /proc here */
	for (unsigned k = 0; k < KERNELS; k++) {
		struct os os = *kernel(k);
		struct place *p = NULL;
		struct err e = { .code = E_OK };
		int fd = -1;

		os.removexattr = no_change_to_attribute;
		os.ids = ids_of_the_root;
		expect_code(place_open(&os, "/", &p, &e), E_OK, &e);
		expect_code(place_open_dir(p, "proc/tty", &fd, &e), E_PATH_UNSAFE, &e);
		expect_code(place_reopen(p, "proc/version", O_RDONLY, &fd, &e), E_PATH_UNSAFE, &e);
		assert_int_equal(fd, -1);
		place_close(&p);
	}
}

/* Take a chain of equal names away from its top: the whole path is too long for nftw(). */
static void
remove_chain(const struct fixture *f, const char *name)
{
	char top[300], next[600];

	(void)snprintf(top, sizeof(top), "root/%s", name);
	(void)snprintf(next, sizeof(next), "root/%s/%s", name, name);
	while (renameat(f->fd, next, f->fd, "rest") == 0) {
		assert_int_equal(unlinkat(f->fd, top, AT_REMOVEDIR), 0);
		assert_int_equal(renameat(f->fd, "rest", f->fd, top), 0);
	}
}

/* Longer than PATH_MAX: walked in segments. */
static void
very_deep_trees_are_reached(void **state)
{
	const struct fixture *f = *state;
	size_t before = fixture_open_fds();
	char name[201], rel[201 * 60 + 1] = "";

	memset(name, 'd', 200);
	name[200] = '\0';
	for (unsigned k = 0; k < KERNELS; k++) {
		struct place *p = open_root(f, kernel(k));
		struct err e = { .code = E_OK };
		int dir, fd = -1;

		rel[0] = '\0';
		name[0] = (char)('0' + k);
		for (unsigned depth = 0; depth < 60; depth++) {
			if (depth > 0)
				(void)strcat(rel, "/");
			(void)strcat(rel, name);
			expect_code(place_dir(p, rel, &e), E_OK, &e);
		}
		assert_true(strlen(rel) > 12000);
		dir = dir_of(p, rel);
		assert_int_equal(place_file(p, dir, "leaf", &fd, NULL), E_OK);
		assert_int_equal(close(fd), 0);
		assert_int_equal(close(dir), 0);
		place_close(&p);
		remove_chain(f, name);
	}
	assert_int_equal(fixture_open_fds(), before);
}

static unsigned long steps;

static int
count_steps(const struct os *os, int dir, const char *path, int flags, mode_t mode, bool same_dev)
{
	for (const char *p = path; *p != '\0'; p++)
		steps += *p == '/';
	steps++;
	return os_posix()->open_beneath(os, dir, path, flags, mode, same_dev);
}

/* 3,000 levels: from the top each time it would be 9 million steps (3,000 squared, made and opened). */
static void
a_deep_chain_is_not_walked_from_the_top(void **state)
{
	const struct fixture *f = *state;
	size_t before = fixture_open_fds();
	struct os counting = *os_posix();
	char rel[6001] = "";
	struct place *p;
	struct stat st;
	struct err e;
	int fd;

	counting.open_beneath = count_steps;
	steps = 0;
	p = open_root(f, &counting);
	for (unsigned depth = 0; depth < 3000; depth++) {
		(void)strcat(rel + (depth > 0 ? depth * 2 - 2 : 0), depth > 0 ? "/c" : "c");
		expect_code(place_dir(p, rel, &e), E_OK, &e);
		expect_code(place_open_dir(p, rel, &fd, &e), E_OK, &e);
		assert_int_equal(close(fd), 0);
	}
	assert_in_range(steps, 3000, 2000000);
	/* what is made anew is not what was remembered */
	assert_int_equal(renameat(f->fd, "root/c", f->fd, "old"), 0);
	rel[0] = '\0';
	for (unsigned depth = 0; depth < 1000; depth++) {
		(void)strcat(rel + (depth > 0 ? depth * 2 - 2 : 0), depth > 0 ? "/c" : "c");
		expect_code(place_dir(p, rel, &e), E_OK, &e);
	}
	expect_code(place_open_dir(p, rel, &fd, &e), E_OK, &e);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 2); /* the last one; in the old chain it has one below */
	assert_int_equal(close(fd), 0);
	place_close(&p);
	assert_int_equal(fixture_open_fds(), before);
	assert_int_equal(renameat(f->fd, "root/c", f->fd, "new"), 0);
	(void)snprintf(rel, sizeof(rel), "rm -rf '%s/old' '%s/new'", f->dir, f->dir);
	assert_int_equal(system(rel), 0);
}

/* What a parent directory hands down would make fresh files differ from what fs/meta assumes. */
static void
the_root_hands_nothing_down(void **state)
{
	static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 7, 0,
		0xe8, 3, 0, 0, 4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 7, 0, 0xff, 0xff, 0xff,
		0xff, 0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff };
	const struct fixture *f = *state;
	struct place *p;
	struct stat st;
	char path[100], got[100];
	int dir, fd = -1;

	assert_int_equal(mkdirat(f->fd, "root", 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/root", f->dir);
	assert_int_equal(setxattr(path, "system.posix_acl_default", acl, sizeof(acl), 0), 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(f->fd, "root", 0, 77, 0), 0);
	assert_int_equal(fchmodat(f->fd, "root", 02700, 0), 0);
	p = open_root(f, os_posix());
	dir = dir_of(p, "");
	assert_int_equal(place_file(p, dir, "x", &fd, NULL), E_OK);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_gid, getegid());
	assert_int_equal(fgetxattr(fd, "system.posix_acl_access", got, sizeof(got)), -1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(place_dir(p, "d", NULL), E_OK);
	assert_int_equal(fstatat(dir, "d", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(close(dir), 0);
	place_close(&p);
}

static void
special_files_are_of_three_kinds(void **state)
{
	const struct fixture *f = *state;
	struct place *p = open_root(f, os_posix());
	int dir = dir_of(p, "");
	struct stat st;

	assert_int_equal(place_special(p, dir, "r", S_IFREG | 0600, 0, NULL), E_PLACE_IO);
	assert_int_equal(place_special(p, dir, "d", S_IFDIR | 0700, 0, NULL), E_PLACE_IO);
	assert_int_equal(place_special(p, dir, "s", S_IFSOCK | 0700, 0, NULL), E_PLACE_IO);
	assert_int_equal(place_special(p, dir, "f", S_IFIFO | 07777, 5, NULL), E_OK);
	assert_int_equal(fstatat(dir, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0600); /* the rest comes with the metadata */
	if (geteuid() == 0 &&
		place_special(p, dir, "null", S_IFCHR | 0666, makedev(1, 3), NULL) == E_OK) {
		assert_int_equal(fstatat(dir, "null", &st, 0), 0);
		assert_int_equal(st.st_rdev, makedev(1, 3));
	}
	assert_int_equal(close(dir), 0);
	place_close(&p);
}

struct failing {
	struct os os;
	int error;
};

static int
failing_mkdir(const struct os *os, int dir, const char *path, mode_t mode)
{
	(void)dir;
	(void)path;
	(void)mode;
	return -((const struct failing *)os)->error;
}

static void
refusals_say_what_to_do(void **state)
{
	static const struct {
		int error;
		enum ecode code;
	} rows[] = { { ENOSPC, E_IO_SPACE }, { EDQUOT, E_IO_SPACE }, { EEXIST, E_PLACE_EXISTS },
		{ EACCES, E_PLACE_IO }, { EROFS, E_PLACE_IO }, { ENOENT, E_PLACE_IO },
		{ ELOOP, E_PATH_UNSAFE }, { EXDEV, E_PATH_UNSAFE } };
	struct failing w = { .os = *os_posix() };
	struct place *p;

	w.os.mkdir = failing_mkdir;
	p = open_root(*state, &w.os);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err e = { .code = E_OK };

		w.error = rows[i].error;
		expect_code(place_dir(p, "x", &e), rows[i].code, &e);
		assert_int_equal(e.sys, rows[i].error);
	}
	place_close(&p);
}

static void
placing_as_nobody(struct fixture *f)
{
	struct place *p = NULL;
	struct err e = { .code = E_OK };
	char path[100];
	int dir = -1, fd = -1;

	(void)snprintf(path, sizeof(path), "%s/mine", f->dir);
	child_check(place_open(os_posix(), path, &p, &e) == E_OK, "a root of its own");
	child_check(place_open_dir(p, "", &dir, &e) == E_OK, "the root");
	child_check(place_file(p, dir, "x", &fd, &e) == E_OK, "a file");
	child_check(place_special(p, dir, "dev", S_IFBLK, makedev(8, 0), &e) == E_PLACE_IO &&
			    e.sys == EPERM,
		"no device");
	child_check(fchmod(dir, 0500) == 0, "closing it");
	child_check(place_dir(p, "d", &e) == E_PLACE_IO && e.sys == EACCES, "closed");
	place_close(&p);
}

static void
nobody_makes_no_devices(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdirat(f->fd, "mine", 0700), 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(f->fd, "mine", NOBODY, NOBODY, 0), 0);
	as_nobody(placing_as_nobody, f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			everything_is_placed_below_the_root, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_old_kernel_places_the_same, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			unsafe_names_are_refused_everywhere, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			odd_but_safe_names_are_taken, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_exists_is_never_opened_or_replaced, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_swapped_parent_is_never_followed, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_swapped_file_is_never_followed, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_root_that_is_a_link_is_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			held_descriptors_survive_a_swap, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			another_file_system_is_not_entered, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			very_deep_trees_are_reached, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_deep_chain_is_not_walked_from_the_top, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_root_hands_nothing_down, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			special_files_are_of_three_kinds, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			refusals_say_what_to_do, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			nobody_makes_no_devices, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
