#include "fs/space.h"

#include "fixture.h"

#include <sys/statvfs.h>

static void
an_existing_path_is_asked_itself(void **state)
{
	struct fixture *f = *state;
	struct err e = { .code = E_OK };
	struct space s;
	struct stat st;

	expect_code(space_at(os_posix(), f->dir, &s, &e), E_OK, &e);
	assert_int_equal(stat(f->dir, &st), 0);
	assert_int_equal(s.dev, st.st_dev);
	assert_true(s.free_bytes > 0);
	assert_true(s.free_inodes > 0);
}

static void
the_nearest_parent_answers_for_what_is_not_there(void **state)
{
	static const char *const below[] = { "/absent", "/a/b/c/d", "//x/../y//", "/file/below" };
	struct fixture *f = *state;
	struct stat st;

	fixture_file(f, "file", "");
	assert_int_equal(stat(f->dir, &st), 0);
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		struct err e = { .code = E_OK };
		struct space s = { .dev = 0 };
		char path[200];

		(void)snprintf(path, sizeof(path), "%s%s", f->dir, below[i]);
		expect_code(space_at(os_posix(), path, &s, &e), E_OK, &e);
		assert_int_equal(s.dev, st.st_dev);
	}
}

static void
relative_paths_end_at_the_working_directory(void **state)
{
	struct space s = { .dev = 0 };
	struct stat st;

	(void)state;
	assert_int_equal(stat(".", &st), 0);
	assert_int_equal(space_at(os_posix(), "no-such-name/b", &s, NULL), E_OK);
	assert_int_equal(s.dev, st.st_dev);
	assert_int_equal(space_at(os_posix(), "", &s, NULL), E_OK);
	assert_int_equal(stat("/", &st), 0);
	assert_int_equal(space_at(os_posix(), "/no-such-name", &s, NULL), E_OK);
	assert_int_equal(s.dev, st.st_dev);
}

struct told {
	struct os os;
	struct statvfs answer;
	int error;
};

static int
told_statvfs(const struct os *os, int fd, struct statvfs *out)
{
	const struct told *t = (const struct told *)os;

	(void)fd;
	*out = t->answer;
	return -t->error;
}

static void
figures_are_computed_without_overflow(void **state)
{
	struct told t = { .os = *os_posix(),
		.answer = { .f_bsize = 1 << 20,
			.f_frsize = 4096,
			.f_bavail = 10,
			.f_bfree = 99,
			.f_files = 5,
			.f_favail = 3,
			.f_ffree = 4 } };
	struct space s;

	(void)state;
	t.os.statvfs = told_statvfs;
	assert_int_equal(space_at(&t.os, "/", &s, NULL), E_OK);
	assert_int_equal(s.free_bytes, 40960);
	assert_int_equal(s.free_inodes, 3);
	t.answer.f_files = 0; /* btrfs does not count */
	t.answer.f_bavail = UINT64_MAX / 2;
	assert_int_equal(space_at(&t.os, "/", &s, NULL), E_OK);
	assert_true(s.free_inodes == UINT64_MAX);
	assert_true(s.free_bytes == UINT64_MAX);
	t.answer.f_bavail = 0;
	assert_int_equal(space_at(&t.os, "/", &s, NULL), E_OK);
	assert_int_equal(s.free_bytes, 0);
}

static void
a_refusal_leaves_the_answer_alone(void **state)
{
	struct told t = { .os = *os_posix(), .error = EIO };
	size_t before = fixture_open_fds();
	struct space s = { .dev = 77 };
	struct err e = { .code = E_OK };

	(void)state;
	t.os.statvfs = told_statvfs;
	expect_code(space_at(&t.os, "/", &s, &e), E_IO_READ, &e);
	assert_int_equal(e.sys, EIO);
	assert_int_equal(s.dev, 77);
	assert_int_equal(fixture_open_fds(), before);
}

static void
closed_to_nobody(struct fixture *f)
{
	struct err e = { .code = E_OK };
	struct space s;
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/closed/x", f->dir);
	child_check(space_at(os_posix(), path, &s, &e) == E_IO_READ && e.sys == EACCES,
		"refused, not answered by a parent");
}

static void
a_closed_directory_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdirat(f->fd, "closed", 0700), 0);
	as_nobody(closed_to_nobody, f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			an_existing_path_is_asked_itself, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(the_nearest_parent_answers_for_what_is_not_there,
			fixture_setup, fixture_teardown),
		cmocka_unit_test(relative_paths_end_at_the_working_directory),
		cmocka_unit_test(figures_are_computed_without_overflow),
		cmocka_unit_test(a_refusal_leaves_the_answer_alone),
		cmocka_unit_test_setup_teardown(
			a_closed_directory_is_refused, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
