/* Check: which packs a subset reads, and each finding by its code: damage is an error, what prune would tidy a hint. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/check.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

#define BACKUPS 12
#define JUNK_ID "00000000000000000000000000000000000000000000000000000000000000aa"

struct fixture {
	char dir[256], vault[300], src[300];
};

struct findings {
	unsigned errors, hints;
	enum ecode last;
	char object[100], text[300];
};

static void
back_up(const struct fixture *f)
{
	const char *target = f->src;
	struct backup_args args = {
		.targets = &target, .target_count = 1, .host = "h", .program_version = "test"
	};
	struct backup_result r;
	struct session s;
	struct heard h;
	struct err e;

	heard_init(&h);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_SHARED, &h);
	assert_int_equal(backup_run(&s, &args, &r, &e), E_OK);
	assert_int_equal(session_close(&s, &e), E_OK);
}

static int
fixture_open(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[400], text[40];

	temp_dir(f->dir, sizeof(f->dir));
	(void)snprintf(f->vault, sizeof(f->vault), "%s/vault", f->dir);
	(void)snprintf(f->src, sizeof(f->src), "%s/src", f->dir);
	make_vault(os_posix(), f->vault, 2);
	assert_int_equal(mkdir(f->src, 0755), 0);
	for (unsigned i = 0; i < BACKUPS; i++) { /* each makes a pack of data and one of trees */
		(void)snprintf(path, sizeof(path), "%s/file-%u", f->src, i);
		(void)snprintf(text, sizeof(text), "content %u", i);
		write_file(path, text, strlen(text));
		back_up(f);
	}
	*state = f;
	return 0;
}

static int
fixture_close(void **state)
{
	struct fixture *f = *state;

	remove_tree(f->dir);
	free(f);
	return 0;
}

static void
hear(void *arg, const struct check_finding *f)
{
	struct findings *to = arg;

	to->errors += !f->hint;
	to->hints += f->hint;
	to->last = f->code;
	(void)snprintf(to->object, sizeof(to->object), "%s", f->object);
	(void)snprintf(to->text, sizeof(to->text), "%s", f->text);
}

static enum ecode
check_with(const struct fixture *f, const struct check_args *args, long stop_after,
	struct findings *found, struct check_result *r)
{
	struct session s;
	struct heard h;
	struct err e;
	enum ecode rc;

	*found = (struct findings){ 0 };
	heard_init(&h);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	h.stop_after = stop_after;
	rc = check_run(&s, args, hear, found, r, &e);
	check_result_done(r);
	session_abandon(&s);
	return rc;
}

static enum ecode
check_only(const struct fixture *f, struct findings *found, struct check_result *r)
{
	struct check_args args = { .read = CHECK_READ_NONE };

	return check_with(f, &args, -1, found, r);
}

static uint64_t
packs_read(const struct fixture *f, const char *subset, struct check_result *r)
{
	struct check_args args = { 0 };
	struct findings found;
	struct err e;

	assert_int_equal(check_subset_parse(subset, &args, &e), E_OK);
	assert_int_equal(check_with(f, &args, -1, &found, r), E_OK);
	assert_int_equal(found.errors + found.hints, 0);
	return r->packs_read;
}

/* Any pack's file. */
static void
some_pack(const struct fixture *f, char *path, size_t len)
{
	char data[320], below[600];
	struct dirent *dir, *file = NULL;
	DIR *all, *one;

	(void)snprintf(data, sizeof(data), "%s/data", f->vault);
	all = opendir(data);
	assert_non_null(all);
	path[0] = '\0';
	while (path[0] == '\0' && (dir = readdir(all)) != NULL) {
		if (dir->d_name[0] == '.')
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", data, dir->d_name);
		one = opendir(below);
		assert_non_null(one);
		while ((file = readdir(one)) != NULL)
			if (file->d_name[0] != '.')
				(void)snprintf(path, len, "%s/%s", below, file->d_name);
		(void)closedir(one);
	}
	(void)closedir(all);
	assert_true(path[0] != '\0');
}

/* ---- subsets ---- */

static void
test_subset_words(void **state)
{
	static const char *const bad[] = { "", "0/3", "4/3", "1/0", "1/257", "1/3x", "1/", "x",
		"0%", "-1%", "101%", "nan%", "inf%", "5%%", "0", "-5M", "5X", "5MB",
		"18446744073709551615T" };
	struct check_args args = { .read = CHECK_READ_ALL };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (check_subset_parse(bad[i], &args, &e) != E_USAGE)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(args.read, CHECK_READ_ALL);
	}
	assert_int_equal(check_subset_parse("256/256", &args, &e), E_OK);
	assert_int_equal(args.read, CHECK_READ_FRACTION);
	assert_int_equal(args.n, 256);
	assert_int_equal(args.t, 256);
	assert_int_equal(check_subset_parse("2.5%", &args, &e), E_OK);
	assert_int_equal(args.read, CHECK_READ_PERCENT);
	assert_true(args.percent > 2.4 && args.percent < 2.6);
	assert_int_equal(check_subset_parse("3g", &args, &e), E_OK);
	assert_int_equal(args.read, CHECK_READ_BYTES);
	assert_true(args.bytes == UINT64_C(3) << 30);
	assert_int_equal(check_subset_parse("17", &args, &e), E_OK);
	assert_true(args.bytes == 17);
}

static void
test_parts_make_the_whole(void **state)
{
	struct check_result r;
	uint64_t sum = 0;
	char subset[16];

	for (unsigned n = 1; n <= 5; n++) {
		(void)snprintf(subset, sizeof(subset), "%u/5", n);
		sum += packs_read(*state, subset, &r);
	}
	assert_true(r.packs >= 2 * BACKUPS);
	assert_int_equal(sum, r.packs);
}

static void
test_shares(void **state)
{
	struct check_result r;

	assert_int_equal(packs_read(*state, "0.001%", &r), 1);
	assert_int_equal(packs_read(*state, "50%", &r), r.packs / 2);
	assert_int_equal(packs_read(*state, "100%", &r), r.packs);
	assert_int_equal(packs_read(*state, "1", &r), 1);
	assert_int_equal(packs_read(*state, "1T", &r), r.packs);
	assert_true(r.bytes_read > 0);
}

/* ---- findings ---- */

static void
test_sound(void **state)
{
	struct findings found;
	struct check_result r;

	assert_int_equal(check_only(*state, &found, &r), E_OK);
	assert_int_equal(found.errors + found.hints, 0);
	assert_int_equal(r.snapshots, BACKUPS);
	assert_int_equal(r.packs_read, 0);
}

static void
test_stops(void **state)
{
	struct check_args args = { .read = CHECK_READ_ALL };
	struct findings found;
	struct check_result r;

	assert_int_equal(check_with(*state, &args, 0, &found, &r), E_INTERRUPTED);
}

static void
test_pack_is_missing(void **state)
{
	struct findings found;
	struct check_result r;
	char path[1200], aside[1300];

	some_pack(*state, path, sizeof(path));
	(void)snprintf(aside, sizeof(aside), "%s/aside", ((struct fixture *)*state)->dir);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(check_only(*state, &found, &r), E_CHECK_FAILED);
	assert_true(found.errors >= 1);
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(check_only(*state, &found, &r), E_OK);
}

static void
test_pack_has_another_size(void **state)
{
	struct findings found;
	struct check_result r;
	struct stat st;
	char path[1200];

	some_pack(*state, path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, st.st_size + 1), 0);
	assert_int_equal(check_only(*state, &found, &r), E_CHECK_FAILED);
	assert_int_equal(found.errors, 1);
	assert_int_equal(found.last, E_STORE_SHORT);
	assert_int_equal(strncmp(found.object, "pack ", 5), 0);
	assert_non_null(strstr(found.text, "the index implies"));
	assert_int_equal(truncate(path, st.st_size), 0);
	assert_int_equal(check_only(*state, &found, &r), E_OK);
}

/* What each kind of junk file is called. */
static void
test_junk(void **state)
{
	static const struct {
		const char *place;
		enum ecode rc, code;
		unsigned errors, hints;
		bool prune;
	} table[] = {
		{ "data/00/" JUNK_ID, E_OK, E_OK, 0, 1, true },
		{ "keys/" JUNK_ID, E_CHECK_FAILED, E_KEY_DAMAGED, 1, 0, false },
		{ "locks/" JUNK_ID, E_OK, E_LOCK_UNREADABLE, 0, 1, false },
		{ "snapshots/" JUNK_ID, E_CHECK_FAILED, E_SNAPSHOT_FORMAT, 1, 0, false },
		{ "index/" JUNK_ID, E_INDEX_FORMAT, E_INDEX_FORMAT, 1, 0, false },
	};
	struct fixture *f = *state;
	struct findings found;
	struct check_result r;
	char path[400];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/data/00", f->vault);
		(void)mkdir(path, 0700);
		(void)snprintf(path, sizeof(path), "%s/%s", f->vault, table[i].place);
		write_file(path, "junk", 4);
		assert_int_equal(check_only(f, &found, &r), table[i].rc);
		assert_int_equal(found.errors, table[i].errors);
		assert_int_equal(found.hints, table[i].hints);
		assert_int_equal(found.last, table[i].code);
		assert_int_equal(r.suggest_prune, table[i].prune);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(check_only(f, &found, &r), E_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subset_words),
		cmocka_unit_test(test_parts_make_the_whole),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_pack_is_missing),
		cmocka_unit_test(test_pack_has_another_size),
		cmocka_unit_test(test_junk),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
