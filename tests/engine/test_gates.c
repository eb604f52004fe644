/*
 * The gates of a backup with a kernel that lies: clocks of 1970 and 2038, an
 * hour to each side (5013), and a file system that is too small before
 * the first byte or fills up in mid-run (DV-26, D-18, 5012).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

#define FILE_BYTES ((size_t)6 << 20)
#define FILES      8
#define MIB        (UINT64_C(1) << 20)

struct lying_os {
	struct os os; /* first */
	const struct os *real;
	int64_t shift_s;        /* of the clock */
	uint64_t free_bytes;    /* UINT64_MAX: the truth */
	uint64_t free_later;    /* from the n-th look on */
	unsigned later_from;    /* 0: never */
	_Atomic unsigned looks; /* at the free space */
};

struct bench {
	char dir[256], vault[300], src[300];
	struct lying_os os;
	struct heard h;
	struct backup_result result;
	struct err e;
};

static struct instant
lying_wall(const struct os *os)
{
	const struct lying_os *l = (const struct lying_os *)os;
	struct instant now = l->real->wall(l->real);

	now.s += l->shift_s;
	return now;
}

static int
lying_statvfs(const struct os *os, int fd, struct statvfs *out)
{
	struct lying_os *l = (struct lying_os *)(uintptr_t)os;
	unsigned look = ++l->looks;
	uint64_t free = l->later_from != 0 && look >= l->later_from ? l->free_later : l->free_bytes;
	int rc = l->real->statvfs(l->real, fd, out);

	if (rc < 0 || free == UINT64_MAX)
		return rc;
	out->f_frsize = 4096;
	out->f_blocks = 1000 * MIB / 4096;
	out->f_bavail = free / 4096;
	out->f_bfree = out->f_bavail;
	return rc;
}

static void
bench_open(struct bench *b)
{
	*b = (struct bench){
		.os = { .os = *os_posix(), .real = os_posix(), .free_bytes = UINT64_MAX }
	};
	b->os.os.wall = lying_wall;
	b->os.os.statvfs = lying_statvfs;
	temp_dir(b->dir, sizeof(b->dir));
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	(void)snprintf(b->src, sizeof(b->src), "%s/src", b->dir);
	make_vault(os_posix(), b->vault, 2);
	assert_int_equal(mkdir(b->src, 0755), 0);
}

static void
put_noise(const struct bench *b, unsigned number)
{
	uint64_t seed = number + 1;
	uint8_t *p = malloc(FILE_BYTES);
	char path[400];

	assert_non_null(p);
	for (size_t i = 0; i < FILE_BYTES; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		p[i] = (uint8_t)(seed >> 56);
	}
	(void)snprintf(path, sizeof(path), "%s/file%u", b->src, number);
	write_file(path, p, FILE_BYTES);
	free(p);
}

static enum ecode
back_up(struct bench *b, unsigned threads, struct backup_args args)
{
	const char *target = b->src;
	struct session s;
	struct err late;
	enum ecode rc;

	args.targets = &target;
	args.target_count = 1;
	args.host = "h";
	args.program_version = "test";
	heard_init(&b->h);
	open_session(&s, &b->os.os, b->vault, TEST_PASSWORD, threads, SESSION_SHARED, &b->h);
	rc = backup_run(&s, &args, &b->result, &b->e);
	if (session_close(&s, &late) != E_OK && rc == E_OK)
		rc = late.code;
	return rc;
}

static size_t
entries(const struct bench *b, const char *kind)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", b->vault, kind);
	return tree_entries(path);
}

static void
expect(const struct bench *b, enum ecode rc, enum ecode wanted)
{
	if (rc != wanted)
		fail_msg("%s, not %s: %s", err_row(rc)->name, err_row(wanted)->name, b->e.detail);
}

static void
clocks_far_away_are_refused(void **state)
{
	const int64_t hour = 3600, year = 365 * 86400;
	const struct {
		int64_t shift_s;
		enum ecode want;
	} cases[] = { { -56 * year, E_CLOCK }, { 12 * year, E_CLOCK }, { -3 * hour, E_CLOCK },
		{ -hour, E_OK }, { hour, E_OK }, { 4 * year, E_OK } };
	struct bench b;
	char path[400];

	(void)state;
	bench_open(&b);
	(void)snprintf(path, sizeof(path), "%s/a", b.src);
	write_file(path, "a", 1);
	expect(&b, back_up(&b, 0, (struct backup_args){ .capacity = CAPACITY_REFUSE }), E_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t before = entries(&b, "snapshots");

		b.os.shift_s = cases[i].shift_s;
		expect(&b, back_up(&b, 0, (struct backup_args){ .force = i % 2 == 1 }),
			cases[i].want);
		assert_int_equal(entries(&b, "snapshots"), before + (cases[i].want == E_OK));
	}
	b.os.shift_s = -56 * year;
	expect(&b, back_up(&b, 0, (struct backup_args){ .accept_clock = true }), E_OK);
	remove_tree(b.dir);
}

static void
too_small_is_refused_before_the_first_byte(void **state)
{
	struct bench b;

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		size_t before;

		bench_open(&b);
		for (unsigned i = 0; i < FILES; i++)
			put_noise(&b, i);
		before = entries(&b, "data");
		b.os.free_bytes = 40 * MIB; /* two packs would fit */
		expect(&b, back_up(&b, threads, (struct backup_args){ .force = true }), E_CAPACITY);
		assert_int_equal(entries(&b, "data"), before);
		assert_int_equal(entries(&b, "index"), 0);
		assert_int_equal(entries(&b, "snapshots"), 0);
		assert_non_null(strstr(b.e.next, "--capacity watch"));
		b.os.free_bytes = 90 * MIB;
		expect(&b, back_up(&b, threads, (struct backup_args){ .force = true }), E_OK);
		assert_int_equal(entries(&b, "snapshots"), 1);
		remove_tree(b.dir);
	}
}

/* Somebody else fills the disk: every object is compared with the free space of its moment. */
static void
filled_up_in_mid_run_is_refused_cleanly(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b);
	for (unsigned i = 0; i < FILES; i++)
		put_noise(&b, i);
	b.os.free_bytes = 900 * MIB;
	b.os.free_later = MIB;
	b.os.later_from = 4;
	expect(&b, back_up(&b, 0, (struct backup_args){ .capacity = CAPACITY_REFUSE }), E_CAPACITY);
	assert_int_equal(entries(&b, "snapshots"), 0);
	b.os.later_from = 0;
	expect(&b, back_up(&b, 0, (struct backup_args){ .capacity = CAPACITY_REFUSE }), E_OK);
	assert_int_equal(entries(&b, "snapshots"), 1);
	remove_tree(b.dir);
}

static void
watching_skips_only_the_estimate(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b);
	for (unsigned i = 0; i < FILES; i++)
		put_noise(&b, i);
	b.os.free_bytes = 40 * MIB; /* a lie that stays: every object alone fits */
	expect(&b, back_up(&b, 0, (struct backup_args){ .capacity = CAPACITY_WATCH }), E_OK);
	assert_int_equal(entries(&b, "snapshots"), 1);
	remove_tree(b.dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clocks_far_away_are_refused),
		cmocka_unit_test(too_small_is_refused_before_the_first_byte),
		cmocka_unit_test(filled_up_in_mid_run_is_refused_cleanly),
		cmocka_unit_test(watching_skips_only_the_estimate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
