/*
 * A small vault, damaged in every way a medium can: every bit flipped, every
 * object cut at every length, emptied, removed, swapped with another.  A check
 * that reads data finds it, and a restore is right or refuses; never silently wrong.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
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
#include "engine/restore.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

#define OBJECTS_MAX 32

struct object {
	char path[600];
	uint8_t bytes[8192];
	size_t len;
};

struct fixture {
	char dir[256], vault[300], src[300], out[300];
	struct object object[OBJECTS_MAX];
	size_t n;
	struct id snapshot;
};

/*
 * HOLDFAST_DAMAGE_STRIDE: only every n-th bit and length, for builds many times
 * slower than the plain one, which takes all.  Odd, so that each bit of a byte has its turn.
 */
static size_t
stride(void)
{
	const char *text = getenv("HOLDFAST_DAMAGE_STRIDE");
	size_t n = text == NULL ? 1 : (size_t)strtoul(text, NULL, 10);

	assert_true(n % 2 == 1);
	return n;
}

static struct fixture *gathering; /* nftw has no argument for its callback */

static void
read_object(struct object *o)
{
	int fd = open(o->path, O_RDONLY);
	ssize_t n = read(fd, o->bytes, sizeof(o->bytes));

	assert_true(n > 0 && (size_t)n < sizeof(o->bytes));
	o->len = (size_t)n;
	close(fd);
	assert_int_equal(chmod(o->path, 0600), 0);
}

static int
gather(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)where;
	if (type != FTW_F || strstr(path, "/locks/") != NULL)
		return 0;
	assert_true(gathering->n < OBJECTS_MAX);
	(void)snprintf(gathering->object[gathering->n].path, sizeof(gathering->object[0].path),
		"%s", path);
	read_object(&gathering->object[gathering->n++]);
	return 0;
}

static void
put_bytes(const struct object *o, const uint8_t *p, size_t len)
{
	int fd = open(o->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), (ssize_t)len);
	close(fd);
}

static void
heal(const struct object *o)
{
	put_bytes(o, o->bytes, o->len);
}

static int
fixture_open(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct heard h;
	struct session s;
	struct backup_result r;
	struct err e;
	char path[600];

	temp_dir(f->dir, sizeof(f->dir));
	(void)snprintf(f->vault, sizeof(f->vault), "%s/vault", f->dir);
	(void)snprintf(f->src, sizeof(f->src), "%s/src", f->dir);
	(void)snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
	make_vault(os_posix(), f->vault, 2);
	assert_int_equal(mkdir(f->src, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/a", f->src);
	write_file(path, "x", 1);
	(void)snprintf(path, sizeof(path), "%s/b", f->src);
	write_file(path, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 60);
	assert_int_equal(chdir(f->dir), 0);
	const char *target = "src";
	struct backup_args args = {
		.targets = &target, .target_count = 1, .host = "h", .program_version = "test"
	};
	heard_init(&h);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_SHARED, &h);
	assert_int_equal(backup_run(&s, &args, &r, &e), E_OK);
	assert_int_equal(session_close(&s, &e), E_OK);
	f->snapshot = r.snapshot_id;
	gathering = f;
	assert_int_equal(nftw(f->vault, gather, 16, FTW_PHYS), 0);
	assert_true(f->n >= 6); /* config, key, index, snapshot, two packs */
	*state = f;
	return 0;
}

static int
fixture_close(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(chdir("/"), 0);
	remove_tree(f->dir);
	free(f);
	return 0;
}

static bool
open_quietly(const struct fixture *f, struct session *s, struct heard *h, struct err *e)
{
	struct session_args args = {
		.os = os_posix(),
		.location = f->vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = SESSION_NO_LOCK,
		.listener = &h->listener,
	};

	heard_init(h);
	return session_open(s, &args, e) == E_OK;
}

static void
ignore_finding(void *arg, const struct check_finding *f)
{
	(void)f;
	++*(unsigned *)arg;
}

/* Does anything say that the vault is not what it was? */
static bool
check_notices(const struct fixture *f)
{
	struct session s;
	struct heard h;
	struct err e;
	struct check_args args = { .read = CHECK_READ_ALL };
	struct check_result r;
	unsigned findings = 0;
	enum ecode rc;

	if (!open_quietly(f, &s, &h, &e))
		return true;
	rc = check_run(&s, &args, ignore_finding, &findings, &r, &e);
	check_result_done(&r);
	session_abandon(&s);
	return rc != E_OK;
}

/* Right, or refused. */
static bool
restore_is_honest(const struct fixture *f)
{
	struct session s;
	struct heard h;
	struct err e;
	struct restore_result r;
	char why[512], what[600], hex[ID_HEX_SIZE];
	bool honest = true;
	enum ecode rc;

	if (!open_quietly(f, &s, &h, &e))
		return true;
	id_hex(&f->snapshot, hex);
	(void)snprintf(what, sizeof(what), "%s:src", hex);
	struct restore_args args = { .snapshot = what, .dest = f->out, .run_id = "r" };
	rc = restore_run(&s, &args, &r, &e);
	restore_result_done(&r);
	session_abandon(&s);
	if (rc == E_OK)
		honest = trees_equal(f->src, f->out, COMPARE_ALL, why, sizeof(why));
	else
		honest = access(f->out, F_OK) != 0; /* a refused restore promotes nothing */
	remove_tree(f->out);
	(void)snprintf(what, sizeof(what), "%s.holdfast_stage", f->out);
	remove_tree(what);
	return honest;
}

static void
test_sound_before(void **state)
{
	struct fixture *f = *state;

	assert_false(check_notices(f));
	assert_true(restore_is_honest(f));
}

static void
test_every_bit(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[sizeof(f->object[0].bytes)];
	unsigned bits = 0;

	for (size_t i = 0; i < f->n; i++) {
		struct object *o = &f->object[i];

		for (size_t bit = 0; bit < o->len * 8; bit += stride()) {
			memcpy(bytes, o->bytes, o->len);
			bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
			put_bytes(o, bytes, o->len);
			if (!check_notices(f))
				fail_msg("bit %zu of %s: not noticed", bit, o->path);
			/* restore: one bit of each byte, another one in each */
			if (bit % 8 == (bit / 8) % 8 && !restore_is_honest(f))
				fail_msg("bit %zu of %s: restored wrongly", bit, o->path);
			bits++;
		}
		heal(o);
	}
	print_message("# %u bits flipped\n", bits);
	assert_false(check_notices(f));
}

static void
test_every_length(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n; i++) {
		struct object *o = &f->object[i];

		for (size_t len = 0; len < o->len; len += stride()) {
			put_bytes(o, o->bytes, len);
			if (!check_notices(f))
				fail_msg("%s cut to %zu bytes: not noticed", o->path, len);
			if ((len < 40 || len % 16 == 0) && !restore_is_honest(f))
				fail_msg("%s cut to %zu bytes: restored wrongly", o->path, len);
		}
		put_bytes(o, o->bytes, o->len);
		assert_true(o->len + 1 < sizeof(o->bytes));
		put_bytes(o, o->bytes, o->len + 1); /* one byte too many */
		assert_true(check_notices(f));
		assert_true(restore_is_honest(f));
		heal(o);
	}
}

/*
 * A snapshot record that is gone leaves no trace in the format itself: the
 * vault then simply has none (the signed sequence of a later issue tells).
 */
static void
test_removed(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n; i++) {
		struct object *o = &f->object[i];
		bool snapshot = strstr(o->path, "/snapshots/") != NULL;

		assert_int_equal(unlink(o->path), 0);
		if (check_notices(f) == snapshot)
			fail_msg("%s removed: %s", o->path,
				snapshot ? "an error without a cause" : "not noticed");
		assert_true(restore_is_honest(f));
		heal(o);
	}
}

static void
test_swapped(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n; i++) {
		for (size_t j = i + 1; j < f->n; j++) {
			put_bytes(&f->object[i], f->object[j].bytes, f->object[j].len);
			put_bytes(&f->object[j], f->object[i].bytes, f->object[i].len);
			if (!check_notices(f))
				fail_msg("%s and %s swapped: not noticed", f->object[i].path,
					f->object[j].path);
			assert_true(restore_is_honest(f));
			heal(&f->object[i]);
			heal(&f->object[j]);
		}
	}
	assert_false(check_notices(f));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound_before),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_swapped),
	};

	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
