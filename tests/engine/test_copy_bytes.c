/*
 * Every way of copying, each made impossible in turn: the bytes and the holes
 * come out alike, what can never work is not asked again, and a refusal of one
 * way is not the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/copy_bytes.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define SIZE   ((size_t)3 << 20)
#define HOLE   ((size_t)1 << 20) /* from here … */
#define RESUME ((size_t)2 << 20) /* … to here */

/* A kernel that answers as told, and counts. */
static struct {
	int clone, range; /* 0: does it; else the answer */
	size_t range_most;
	unsigned clones, ranges, pwrites, stops;
	unsigned stop_at; /* go_on refuses then; 0: never */
} told;

static uint8_t bytes[SIZE];

static int
tell_clone(const struct os *os, int to, int from)
{
	const struct os *real = os_posix();

	(void)os;
	told.clones++;
	if (told.clone != 0)
		return told.clone;
	assert_int_equal(real->ftruncate(real, to, SIZE), 0);
	for (size_t at = 0; at < SIZE; at += HOLE)
		if (at != HOLE)
			assert_int_equal(real->copy_range(real, to, from, at, HOLE), HOLE);
	return 0;
}

static ssize_t
tell_range(const struct os *os, int to, int from, uint64_t off, size_t len)
{
	(void)os;
	told.ranges++;
	if (told.range != 0)
		return told.range;
	if (told.range_most != 0 && told.ranges > 1)
		return 0; /* as some file systems do */
	return os_posix()->copy_range(os_posix(), to, from, off,
		told.range_most != 0 && len > told.range_most ? told.range_most : len);
}

static ssize_t
count_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off)
{
	(void)os;
	told.pwrites++;
	return os_posix()->pwrite(os_posix(), fd, p, len, off);
}

/* A file system that cannot tell holes. */
static off_t
tell_no_holes(const struct os *os, int fd, int64_t off, int whence)
{
	(void)os;
	(void)fd;
	(void)off;
	(void)whence;
	return -EINVAL;
}

static enum ecode
go_on(void *arg, struct err *e)
{
	(void)arg;
	if (++told.stops == told.stop_at)
		return err_set(e, E_INTERRUPTED, 0, "asked");
	return E_OK;
}

struct lab {
	char dir[TMPDIR_PATH_MAX];
	struct os os;
	struct buf room;
	struct copier c;
	int fd[2];
	struct err e;
};
static struct lab lab;

static int
setup(void **state)
{
	(void)state;
	memset(&told, 0, sizeof(told));
	lab = (struct lab){ .os = *os_posix(), .room = buf_limit(4 << 20) };
	tmpdir_make(lab.dir);
	lab.os.clone = tell_clone;
	lab.os.copy_range = tell_range;
	lab.os.pwrite = count_pwrite;
	lab.c = (struct copier){ .os = &lab.os, .room = &lab.room, .go_on = go_on };
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = i >= HOLE && i < RESUME ? 0 : (uint8_t)(i * 2654435761U >> 11 | 1);
	for (int i = 0; i < 2; i++) {
		char path[TMPDIR_PATH_MAX + 8];

		(void)snprintf(path, sizeof(path), "%s/%d", lab.dir, i);
		lab.fd[i] = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		assert_true(lab.fd[i] >= 0);
	}
	assert_int_equal(pwrite(lab.fd[0], bytes, HOLE, 0), HOLE);
	assert_int_equal(pwrite(lab.fd[0], bytes + RESUME, SIZE - RESUME, RESUME), SIZE - RESUME);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	(void)close(lab.fd[0]);
	(void)close(lab.fd[1]);
	buf_done(&lab.room);
	tmpdir_remove(lab.dir);
	return 0;
}

static enum ecode
copy_it(uint64_t size)
{
	return copy_bytes(&lab.c, lab.fd, size, "a file", &lab.e);
}

static void
expect_bytes(void)
{
	static uint8_t got[SIZE + 1];

	assert_int_equal(pread(lab.fd[1], got, sizeof(got), 0), SIZE);
	assert_memory_equal(got, bytes, SIZE);
}

static void
expect_copy(void)
{
	expect_bytes();
	/* a file system that tells holes kept them */
	if (lseek(lab.fd[0], 0, SEEK_HOLE) == (off_t)HOLE)
		assert_int_equal(lseek(lab.fd[1], 0, SEEK_HOLE), HOLE);
	assert_int_equal(ftruncate(lab.fd[1], 0), 0);
}

static void
test_shared_where_that_works(void **state)
{
	(void)state;
	assert_int_equal(copy_it(SIZE), E_OK);
	expect_copy();
	assert_int_equal(told.clones, 1);
	assert_int_equal(told.ranges + told.pwrites, 0);
	assert_int_equal(lab.c.shared, SIZE);
	assert_int_equal(lab.c.copied, 0);
}

static void
test_copied_in_the_kernel_else(void **state)
{
	static const int never[] = { -EOPNOTSUPP, -ENOTTY, -EXDEV, -ENOSYS };
	static const int this_file[] = { -EINVAL, -ETXTBSY, -EPERM, -ENOSPC, -EIO, -EINTR };

	(void)state;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		lab.c.no_clone = false;
		told.clones = 0;
		told.clone = never[i];
		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(copy_it(SIZE), E_OK);
			expect_copy();
		}
		assert_int_equal(told.clones, 1); /* it is not asked again */
	}
	lab.c.no_clone = false;
	for (size_t i = 0; i < sizeof(this_file) / sizeof(this_file[0]); i++) {
		told.clones = 0;
		told.clone = this_file[i];
		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(copy_it(SIZE), E_OK);
			expect_copy();
		}
		assert_int_equal(told.clones, 2);
	}
	assert_true(told.ranges > 0);
	assert_int_equal(told.pwrites, 0);
	assert_int_equal(lab.c.shared, 0);
}

static void
test_read_and_written_at_last(void **state)
{
	(void)state;
	told.clone = -EOPNOTSUPP;
	told.range = -EXDEV;
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(copy_it(SIZE), E_OK);
		expect_copy();
	}
	assert_int_equal(told.ranges, 1);
	assert_int_equal(told.pwrites, 4); /* the hole is not written */
	lab.c.no_range = false;
	told.range = -EIO; /* of this piece: asked for each */
	assert_int_equal(copy_it(SIZE), E_OK);
	expect_copy();
	assert_int_equal(told.ranges, 3);
}

/* What was taken in part is gone on with where it ended. */
static void
test_a_short_copy_is_gone_on_with(void **state)
{
	(void)state;
	told.clone = -EOPNOTSUPP;
	told.range_most = 12345;
	assert_int_equal(copy_it(SIZE), E_OK);
	expect_copy();
	assert_true(told.ranges > 1 && told.pwrites >= 2);
}

static void
test_a_file_that_became_shorter(void **state)
{
	(void)state;
	told.clone = -EOPNOTSUPP;
	lab.os.lseek = tell_no_holes;
	assert_int_equal(copy_it(SIZE + 5), E_LIVE_CHANGED);
	assert_int_equal(ftruncate(lab.fd[1], 0), 0);
	told.range = -ENOSYS;
	assert_int_equal(copy_it(SIZE + 5), E_LIVE_CHANGED);
	assert_int_equal(copy_it(0), E_OK);
}

static void
test_it_stops_when_asked(void **state)
{
	(void)state;
	told.stop_at = 1;
	assert_int_equal(copy_it(SIZE), E_INTERRUPTED); /* after sharing */
	told.stops = 0;
	told.stop_at = 2;
	told.clone = -EOPNOTSUPP;
	assert_int_equal(copy_it(SIZE), E_INTERRUPTED); /* between pieces */
}

/* Refuse every call in turn, with every error it can have: done and right, or refused. */
static void
test_every_call_refused(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EINTR };

	(void)state;
	for (size_t k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
		unsigned long calls = 1;

		for (unsigned long n = 1; n <= calls; n++) {
			struct fault_os f;

			fault_os_init(&f, os_posix());
			fault_os_plan(&f, (struct fault_plan){ .nth = n, .error = errors[k] });
			lab.c = (struct copier){ .os = &f.os, .room = &lab.room, .go_on = go_on };
			if (copy_it(SIZE) == E_OK)
				expect_bytes(); /* holes that could not be asked for are data */
			else
				assert_true(f.fired > 0);
			assert_int_equal(ftruncate(lab.fd[1], 0), 0);
			calls = f.calls > calls ? f.calls : calls;
			fault_os_done(&f);
		}
		assert_true(calls > 3);
	}
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_shared_where_that_works),
		T(test_copied_in_the_kernel_else),
		T(test_read_and_written_at_last),
		T(test_a_short_copy_is_gone_on_with),
		T(test_a_file_that_became_shorter),
		T(test_it_stops_when_asked),
		T(test_every_call_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
