/* The kernel's list of mounts: lines as proc(5) describes them, hostile ones, and where a path lies. */
#include "fs/mounts.h"

#include "fixture.h"

#define ARENA_BYTES ((size_t)1 << 20)

static const char list[] = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
			   "22 21 0:20 / /proc rw - proc proc rw\n"
			   "30 21 8:17 / /mnt/disk rw shared:5 master:1 - xfs /dev/sdb1 rw\n"
			   "31 21 8:17 /vault/data /home/ada/odd\\040name rw - xfs /dev/sdb1 rw\n"
			   "32 21 8:1 /srv /mnt/disk/bind rw - ext4 /dev/sda1 rw\n"
			   "33 30 0:44 / /mnt/disk rw - tmpfs tmpfs rw\n";

static void
parse(const char *text, struct arena *a, struct mounts *m)
{
	struct err e = { .code = E_OK };

	*a = arena_limit(ARENA_BYTES);
	expect_code(mounts_parse(text, strlen(text), a, m, &e), E_OK, &e);
}

static void
fields_are_taken_and_unescaped(void **state)
{
	struct arena a;
	struct mounts m;

	(void)state;
	parse(list, &a, &m);
	assert_int_equal(m.n, 6);
	assert_int_equal(m.v[0].id, 21);
	assert_true(m.v[0].dev == (UINT64_C(8) << 32 | 1));
	assert_string_equal(m.v[2].type, "xfs");
	assert_string_equal(m.v[3].root, "/vault/data");
	assert_string_equal(m.v[3].point, "/home/ada/odd name");
	arena_done(&a);
}

static void
a_line_without_optional_fields_and_one_with_many_are_fine(void **state)
{
	struct arena a;
	struct mounts m;

	(void)state;
	parse("1 0 0:1 / / rw - rootfs rootfs rw\n"
	      "2 1 0:2 /x\\134\\012\\011 /y rw shared:1 master:2 propagate_from:3 unbindable - tmpfs none",
		&a, &m);
	assert_int_equal(m.n, 2);
	assert_string_equal(m.v[1].root, "/x\\\n\t");
	arena_done(&a);
}

static void
lines_that_are_not_so_are_refused(void **state)
{
	static const char *const bad[] = {
		"\n",
		"garbage\n",
		"1 0 0:1 / / rw\n",
		"1 0 0:1 / / rw -\n",
		"1 0 0:1 / / rw shared:1\n",
		"x 0 0:1 / / rw - tmpfs none rw\n",
		"1 y 0:1 / / rw - tmpfs none rw\n",
		"1 0 01 / / rw - tmpfs none rw\n",
		"1 0 0:z / / rw - tmpfs none rw\n",
		"1 0 0: / / rw - tmpfs none rw\n",
		"1 0 0:1 / relative rw - tmpfs none rw\n",
		"1 0 4294967296:1 / / rw - tmpfs none rw\n",
		"99999999999999999999 0 0:1 / / rw - tmpfs none rw\n",
		"1 0 0:1  / rw - tmpfs none rw\n",
		"1 0 0:1 / / rw - tmpfs none rw\n\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct arena a = arena_limit(ARENA_BYTES);
		struct mounts m = { .n = 77 };
		struct err e = { .code = E_OK };

		if (mounts_parse(bad[i], strlen(bad[i]), &a, &m, &e) != E_MOUNTS)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(m.n, 77);
		arena_done(&a);
	}
}

/* Any text either parses or refuses: bytes cut off and flipped at every place. */
static void
no_text_is_read_beyond_its_end(void **state)
{
	size_t len = strlen(list);

	(void)state;
	for (size_t cut = 0; cut <= len; cut++) {
		char *copy = malloc(cut + 1);
		struct arena a = arena_limit(ARENA_BYTES);
		struct mounts m = { 0 };

		assert_non_null(copy);
		memcpy(copy, list, cut);
		(void)!mounts_parse(copy, cut, &a, &m, NULL);
		if (cut > 0) {
			copy[cut - 1] = (char)(copy[cut - 1] ^ 0x55);
			(void)!mounts_parse(copy, cut, &a, &m, NULL);
		}
		arena_done(&a);
		free(copy);
	}
}

static void
expect_place(
	const struct mounts *m, const char *real, uint64_t id, uint64_t dev, const char *inside)
{
	struct arena a = arena_limit(ARENA_BYTES);
	struct mount_place p;

	assert_int_equal(mounts_locate(m, real, id, &a, &p, NULL), E_OK);
	assert_string_equal(p.inside, inside);
	assert_true(p.dev == dev);
	arena_done(&a);
}

static void
paths_are_told_by_file_system_and_inner_path(void **state)
{
	const uint64_t sda = UINT64_C(8) << 32 | 1, sdb = UINT64_C(8) << 32 | 17, tmp = 44;
	struct arena a;
	struct mounts m;

	(void)state;
	parse(list, &a, &m);
	expect_place(&m, "/", 0, sda, "/");
	expect_place(&m, "/home/ada", 0, sda, "/home/ada");
	expect_place(&m, "/home/ada/odd name", 0, sdb, "/vault/data");
	expect_place(&m, "/home/ada/odd name/aa/bb", 0, sdb, "/vault/data/aa/bb");
	expect_place(&m, "/home/ada/odd names", 0, sda, "/home/ada/odd names");
	/* mounted over: the latest at the point, unless the kernel names the mount */
	expect_place(&m, "/mnt/disk/vault", 0, tmp, "/vault");
	expect_place(&m, "/mnt/disk/vault", 30, sdb, "/vault");
	expect_place(&m, "/mnt/disk/bind/x", 0, sda, "/srv/x");
	arena_done(&a);
}

static void
without_a_covering_mount_nothing_is_told(void **state)
{
	struct arena a = arena_limit(ARENA_BYTES);
	struct mounts none = { 0 };
	struct mount_place p = { .inside = "x" };

	(void)state;
	assert_int_equal(mounts_locate(&none, "/home", 0, &a, &p, NULL), E_OK);
	assert_null(p.inside);
	arena_done(&a);
}

static void
the_real_list_covers_the_real_directory(void **state)
{
	struct fixture *f = *state;
	struct arena a = arena_limit(MOUNTS_MAX_BYTES);
	struct mounts m;
	struct mount_place p, q;
	struct err e = { .code = E_OK };
	char link[300];

	expect_code(mounts_load(os_posix(), &a, &m, &e), E_OK, &e);
	assert_true(m.n > 0);
	expect_code(mounts_locate_path(&m, os_posix(), f->dir, &a, &p, &e), E_OK, &e);
	assert_non_null(p.inside);
	/* a link stands for itself, and with "/." for where it leads */
	(void)snprintf(link, sizeof(link), "%s/link", f->dir);
	assert_int_equal(symlink(f->dir, link), 0);
	expect_code(mounts_locate_path(&m, os_posix(), link, &a, &q, &e), E_OK, &e);
	assert_string_equal(q.real, link);
	(void)snprintf(link, sizeof(link), "%s/link/.", f->dir);
	expect_code(mounts_locate_path(&m, os_posix(), link, &a, &q, &e), E_OK, &e);
	assert_string_equal(q.inside, p.inside);
	assert_string_equal(q.real, p.real);
	expect_code(mounts_locate_path(&m, os_posix(), "/no/such", &a, &q, &e), E_OK, &e);
	assert_null(q.inside);
	arena_done(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_taken_and_unescaped),
		cmocka_unit_test(a_line_without_optional_fields_and_one_with_many_are_fine),
		cmocka_unit_test(lines_that_are_not_so_are_refused),
		cmocka_unit_test(no_text_is_read_beyond_its_end),
		cmocka_unit_test(paths_are_told_by_file_system_and_inner_path),
		cmocka_unit_test(without_a_covering_mount_nothing_is_told),
		cmocka_unit_test_setup_teardown(
			the_real_list_covers_the_real_directory, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
