#include "fs/walk.h"

#include "fixture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define LIST_ARENA ((size_t)1 << 30)

static struct walk_list
list_of(const struct fixture *f, struct arena *a)
{
	struct err e = { .code = E_OK };
	struct walk_list list;
	int fd = -1;

	expect_code(walk_open_dir(os_posix(), AT_FDCWD, f->dir, false, &fd, &e), E_OK, &e);
	expect_code(walk_dir(os_posix(), fd, f->dir, a, &list, &e), E_OK, &e);
	assert_int_equal(close(fd), 0);
	return list;
}

static void
an_empty_directory_lists_nothing(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list = list_of(*state, &a);

	assert_int_equal(list.n, 0);
	assert_int_equal(list.vanished, 0);
}

static void
names_are_sorted_by_raw_bytes(void **state)
{
	static const char *const sorted[] = { "\n", " ", "A", "B.txt", "a", "a\nb", "a b", "aa",
		"aaaaaaaa", "aaaaaaaab", "aaaaaaab", "b", "\x7f", "\x80", "\xc3\xa9", "\xff",
		"\xff\xfe" };
	size_t n = sizeof(sorted) / sizeof(sorted[0]);
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list;

	for (size_t i = 0; i < n; i++)
		fixture_file(*state, sorted[(i * 7) % n], "x");
	list = list_of(*state, &a);
	assert_int_equal(list.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(list.v[i].name, sorted[i]);
		assert_int_equal(list.v[i].name_len, strlen(sorted[i]));
	}
}

static void
the_longest_name_is_listed_whole(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list;
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	fixture_file(*state, name, "");
	list = list_of(*state, &a);
	assert_int_equal(list.n, 1);
	assert_int_equal(list.v[0].name_len, 255);
	assert_string_equal(list.v[0].name, name);
}

static const struct walk_entry *
entry(const struct walk_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i].name, name) == 0)
			return &list->v[i];
	fail_msg("no %s", name);
	return NULL;
}

static void
make_one_of_each(const struct fixture *f)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fixture_file(f, "file", "hello");
	assert_int_equal(mkdirat(f->fd, "dir", 0750), 0);
	assert_int_equal(symlinkat("/nowhere", f->fd, "link"), 0);
	assert_int_equal(mkfifoat(f->fd, "fifo", 0600), 0);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/sock", f->dir);
	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(close(s), 0);
}

static void
metadata_is_that_of_the_entry_itself(void **state)
{
	static const struct timespec when[2] = { { .tv_sec = 1, .tv_nsec = 2 },
		{ .tv_sec = -5, .tv_nsec = 999999999 } };
	static const struct {
		const char *name;
		mode_t type;
	} kinds[] = { { "file", S_IFREG }, { "dir", S_IFDIR }, { "link", S_IFLNK },
		{ "fifo", S_IFIFO }, { "sock", S_IFSOCK } };
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list;
	struct stat st;

	make_one_of_each(f);
	assert_int_equal(utimensat(f->fd, "file", when, 0), 0);
	list = list_of(f, &a);
	assert_int_equal(list.n, 5);
	for (size_t i = 0; i < 5; i++) {
		const struct walk_entry *w = entry(&list, kinds[i].name);

		assert_int_equal(fstatat(f->fd, kinds[i].name, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(w->have_meta);
		assert_int_equal(w->sys, 0);
		assert_int_equal(w->meta.mode & S_IFMT, kinds[i].type);
		assert_int_equal(w->meta.mode, st.st_mode);
		assert_int_equal(w->meta.ino, st.st_ino);
		assert_int_equal(w->meta.dev, st.st_dev);
		assert_int_equal(w->meta.nlink, st.st_nlink);
		assert_int_equal(w->meta.size, st.st_size);
	}
	assert_int_equal(entry(&list, "file")->meta.mtime.s, -5);
	assert_int_equal(entry(&list, "file")->meta.mtime.ns, 999999999);
}

/* More than one getdents call, more than INODE_ORDER_MIN. */
static void
many_entries_are_all_there_in_order(void **state)
{
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list;
	char name[64];

	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "%08x-some-longer-name",
			(i * 2654435761U) ^ 0x5bd1e995U);
		fixture_file(f, name, "");
	}
	list = list_of(f, &a);
	assert_int_equal(list.n, 5000);
	for (size_t i = 0; i < list.n; i++) {
		struct stat st;

		assert_true(i == 0 || strcmp(list.v[i - 1].name, list.v[i].name) < 0);
		if (i % 97 != 0)
			continue;
		assert_int_equal(fstatat(f->fd, list.v[i].name, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(list.v[i].meta.ino, st.st_ino);
	}
}

/* ---- a kernel with whims, around the real one ---- */

struct whims {
	struct os os;              /* first: the slots find their state */
	const char *gone, *denied; /* names whose stat fails */
	int getdents_error;        /* of the second call */
	unsigned getdents_calls;
	int first_open_error;
	unsigned opens;
	bool twice; /* every listing is told two times */
};

static int
whims_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	const struct whims *w = (const struct whims *)os;

	if (w->gone != NULL && strcmp(path, w->gone) == 0)
		return -ENOENT;
	if (w->denied != NULL && strcmp(path, w->denied) == 0)
		return -EACCES;
	return os_posix()->stat(os_posix(), dir, path, at_flags, out);
}

static ssize_t
whims_getdents(const struct os *os, int fd, void *p, size_t len)
{
	struct whims *w = (struct whims *)(uintptr_t)os;
	ssize_t got;

	w->getdents_calls++;
	if (w->getdents_calls > 1 && w->getdents_error != 0)
		return -w->getdents_error;
	got = os_posix()->getdents(os_posix(), fd, p, len);
	if (got == 0 && w->twice) {
		w->twice = false;
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		got = os_posix()->getdents(os_posix(), fd, p, len);
	}
	return got;
}

static int
whims_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct whims *w = (struct whims *)(uintptr_t)os;

	if (w->opens++ == 0 && w->first_open_error != 0)
		return -w->first_open_error;
	assert_true(w->first_open_error != EPERM || (flags & O_NOATIME) == 0);
	return os_posix()->open(os_posix(), dir, path, flags, mode);
}

static struct whims
whims(void)
{
	struct whims w = { .os = *os_posix() };

	w.os.stat = whims_stat;
	w.os.getdents = whims_getdents;
	w.os.open = whims_open;
	return w;
}

static void
what_vanished_is_counted_and_what_failed_is_told(void **state)
{
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct whims w = whims();
	struct walk_list list;
	struct err e = { .code = E_OK };

	fixture_file(f, "a", "");
	fixture_file(f, "b", "");
	fixture_file(f, "c", "");
	w.gone = "a";
	w.denied = "b";
	expect_code(walk_dir(&w.os, f->fd, f->dir, &a, &list, &e), E_OK, &e);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.vanished, 1);
	assert_string_equal(list.v[0].name, "b");
	assert_false(list.v[0].have_meta);
	assert_int_equal(list.v[0].sys, EACCES);
	assert_string_equal(list.v[1].name, "c");
	assert_true(list.v[1].have_meta);
}

static void
a_partial_listing_is_never_given(void **state)
{
	static const struct {
		int error;
		enum ecode code;
	} rows[] = { { EIO, E_SRC_IO }, { EACCES, E_SRC_DENIED }, { ENOENT, E_SRC_MISSING },
		{ ESTALE, E_SRC_CHANGED }, { EAGAIN, E_SRC_IO }, { EBUSY, E_SRC_BUSY },
		{ EMFILE, E_SRC_DESCRIPTORS }, { ENOMEM, E_NOMEM } };
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list = { .n = 77 };

	fixture_file(f, "a", "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct whims w = whims();
		struct err e = { .code = E_OK };

		w.getdents_error = rows[i].error;
		assert_int_equal(lseek(f->fd, 0, SEEK_SET), 0);
		expect_code(walk_dir(&w.os, f->fd, "the/path", &a, &list, &e), rows[i].code, &e);
		assert_int_equal(e.sys, rows[i].error);
		assert_non_null(strstr(e.detail, "the/path"));
		assert_int_equal(list.n, 77);
	}
}

struct patience {
	unsigned asked, until; /* asked so often, it says stop */
};

static enum ecode
lose_patience(void *arg, struct err *e)
{
	struct patience *p = arg;

	return ++p->asked < p->until ? E_OK : err_set(e, E_INTERRUPTED, 0, "enough");
}

/* Between two reads of the directory, and between two thousand questions for a file: wherever it stops, nothing is given. */
static void
a_long_listing_may_be_stopped_anywhere(void **state)
{
	const struct fixture *f = *state;
	unsigned stops = 0;

	for (unsigned i = 0; i < 3 * WALK_ASK_EVERY; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "file %u", i);
		fixture_file(f, name, "");
	}
	for (unsigned until = 1;; until++) {
		autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
		struct patience p = { .until = until };
		const struct walk_ask ask = { .ask = lose_patience, .arg = &p };
		struct walk_list list = { .n = 77 };
		struct err e = { .code = E_OK };
		enum ecode rc;

		assert_int_equal(lseek(f->fd, 0, SEEK_SET), 0);
		rc = walk_dir_asking(os_posix(), f->fd, f->dir, &ask, &a, &list, &e);
		if (rc == E_OK) {
			assert_int_equal(list.n, 3 * WALK_ASK_EVERY);
			break;
		}
		expect_code(rc, E_INTERRUPTED, &e);
		assert_int_equal(list.n, 77);
		stops++;
	}
	assert_true(stops >= 4); /* one for a read at least, three for the files */
}

static void
a_name_told_twice_is_listed_once(void **state)
{
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct whims w = whims();
	struct walk_list list;
	struct err e = { .code = E_OK };

	fixture_file(f, "a", "");
	fixture_file(f, "b", "");
	w.twice = true;
	expect_code(walk_dir(&w.os, f->fd, f->dir, &a, &list, &e), E_OK, &e);
	assert_int_equal(w.getdents_calls, 3);
	assert_int_equal(list.n, 2);
}

static void
too_little_memory_is_refused(void **state)
{
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(16);
	struct walk_list list = { .n = 77 };

	fixture_file(f, "a-name-longer-than-sixteen-bytes", "");
	assert_int_not_equal(walk_dir(os_posix(), f->fd, f->dir, &a, &list, NULL), E_OK);
	assert_int_equal(list.n, 77);
}

static void
directories_open_without_following(void **state)
{
	const struct fixture *f = *state;
	struct err e = { .code = E_OK };
	int fd = -1;

	make_one_of_each(f);
	assert_int_equal(symlinkat("dir", f->fd, "todir"), 0);
	expect_code(walk_open_dir(os_posix(), f->fd, "todir", false, &fd, &e), E_SRC_CHANGED, &e);
	expect_code(walk_open_dir(os_posix(), f->fd, "file", false, &fd, &e), E_SRC_CHANGED, &e);
	expect_code(walk_open_dir(os_posix(), f->fd, "absent", false, &fd, &e), E_SRC_MISSING, &e);
	assert_int_equal(fd, -1);
	expect_code(walk_open_dir(os_posix(), f->fd, "todir", true, &fd, &e), E_OK, &e);
	assert_int_equal(close(fd), 0);
	expect_code(walk_open_dir(os_posix(), f->fd, "dir", false, &fd, &e), E_OK, &e);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(close(fd), 0);
}

static void
files_open_without_following_or_hanging(void **state)
{
	const struct fixture *f = *state;
	struct err e = { .code = E_OK };
	char text[8];
	int fd = -1;

	make_one_of_each(f);
	expect_code(walk_open_file(os_posix(), f->fd, "link", &fd, &e), E_SRC_CHANGED, &e);
	expect_code(walk_open_file(os_posix(), f->fd, "sock", &fd, &e), E_SRC_CHANGED, &e);
	expect_code(walk_open_file(os_posix(), f->fd, "absent", &fd, &e), E_SRC_MISSING, &e);
	assert_int_equal(fd, -1);
	expect_code(walk_open_file(os_posix(), f->fd, "fifo", &fd, &e), E_OK, &e); /* at once */
	assert_int_equal(close(fd), 0);
	expect_code(walk_open_file(os_posix(), f->fd, "file", &fd, &e), E_OK, &e);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_int_equal(close(fd), 0);
}

static void
reading_leaves_the_access_time(void **state)
{
	static const struct timespec when[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	const struct fixture *f = *state;
	struct stat st;
	char text[8];
	int fd = -1;

	fixture_file(f, "file", "hello");
	assert_int_equal(utimensat(f->fd, "file", when, 0), 0);
	assert_int_equal(walk_open_file(os_posix(), f->fd, "file", &fd, NULL), E_OK);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_int_equal(close(fd), 0);
	assert_int_equal(fstatat(f->fd, "file", &st, 0), 0);
	assert_int_equal(st.st_atim.tv_sec, 1);
}

static void
noatime_and_leases_are_tried_again(void **state)
{
	static const int errors[] = { EPERM, EAGAIN, EINTR };
	const struct fixture *f = *state;

	fixture_file(f, "file", "hello");
	for (size_t i = 0; i < 3; i++) {
		struct whims w = whims();
		int fd = -1;

		w.first_open_error = errors[i];
		assert_int_equal(walk_open_file(&w.os, f->fd, "file", &fd, NULL), E_OK);
		assert_int_equal(w.opens, 2);
		assert_int_equal(close(fd), 0);
	}
}

static void
refused_to_nobody(struct fixture *f)
{
	struct err e = { .code = E_OK };
	struct arena a = arena_limit(LIST_ARENA);
	struct walk_list list;
	int fd = -1;

	child_check(walk_open_dir(os_posix(), f->fd, "closed", false, &fd, &e) == E_SRC_DENIED,
		"closed directory");
	child_check(walk_open_file(os_posix(), f->fd, "secret", &fd, &e) == E_SRC_DENIED,
		"secret file");
	child_check(e.sys == EACCES, "errno");
	child_check(walk_open_file(os_posix(), f->fd, "open", &fd, &e) == E_OK,
		"another's file, without O_NOATIME");
	(void)close(fd);
	/* may be listed, may not be searched: every stat fails, none is hidden */
	child_check(
		walk_open_dir(os_posix(), f->fd, "listable", false, &fd, &e) == E_OK, "listable");
	child_check(walk_dir(os_posix(), fd, "listable", &a, &list, &e) == E_OK, "listing");
	child_check(list.n == 1 && !list.v[0].have_meta && list.v[0].sys == EACCES, "stat refused");
	arena_done(&a);
	(void)close(fd);
}

static void
permissions_are_told_as_denied(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdirat(f->fd, "closed", 0700), 0);
	assert_int_equal(mkdirat(f->fd, "listable", 0700), 0);
	fixture_file(f, "listable/x", "");
	fixture_file(f, "secret", "x");
	fixture_file(f, "open", "x");
	assert_int_equal(fchmodat(f->fd, "open", 0644, 0), 0);
	assert_int_equal(fchmodat(f->fd, "listable", 0744, 0), 0);
	as_nobody(refused_to_nobody, f);
}

static void
link_targets_are_exact_bytes(void **state)
{
	const struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(LIST_ARENA);
	struct err e = { .code = E_OK };
	struct slice got;
	char longest[4096];

	memset(longest, 't', 4095);
	longest[4095] = '\0';
	assert_int_equal(symlinkat("\xff/../a\nb", f->fd, "odd"), 0);
	assert_int_equal(symlinkat(longest, f->fd, "long"), 0);
	fixture_file(f, "file", "");
	expect_code(walk_readlink(os_posix(), f->fd, "odd", &a, &got, &e), E_OK, &e);
	assert_int_equal(got.len, 8);
	assert_memory_equal(got.p, "\xff/../a\nb", 9);
	expect_code(walk_readlink(os_posix(), f->fd, "long", &a, &got, &e), E_OK, &e);
	assert_int_equal(got.len, 4095);
	assert_string_equal((const char *)got.p, longest);
	expect_code(walk_readlink(os_posix(), f->fd, "file", &a, &got, &e), E_SRC_CHANGED, &e);
	expect_code(walk_readlink(os_posix(), f->fd, "absent", &a, &got, &e), E_SRC_MISSING, &e);
}

static void
nothing_stays_open(void **state)
{
	size_t before = fixture_open_fds();

	permissions_are_told_as_denied(state);
	assert_int_equal(fixture_open_fds(), before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			an_empty_directory_lists_nothing, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			names_are_sorted_by_raw_bytes, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_longest_name_is_listed_whole, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			metadata_is_that_of_the_entry_itself, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			many_entries_are_all_there_in_order, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_vanished_is_counted_and_what_failed_is_told,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_partial_listing_is_never_given, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_name_told_twice_is_listed_once, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_long_listing_may_be_stopped_anywhere, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			too_little_memory_is_refused, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			directories_open_without_following, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			files_open_without_following_or_hanging, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			reading_leaves_the_access_time, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			noatime_and_leases_are_tried_again, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			permissions_are_told_as_denied, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			link_targets_are_exact_bytes, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			nothing_stays_open, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
