/* io.c: transfers are whole, and publication keeps its promise whatever call is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "os/io.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

struct place {
	char path[TMPDIR_PATH_MAX];
	struct fault_os f;
	int fd; /* of the directory; not counted by f */
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	tmpdir_make(p->path);
	fault_os_init(&p->f, os_posix());
	p->fd = os_posix()->open(os_posix(), AT_FDCWD, p->path, O_RDONLY | O_DIRECTORY, 0);
	assert_true(p->fd >= 0);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(os_posix()->close(os_posix(), p->fd), 0);
	fault_os_done(&p->f);
	tmpdir_remove(p->path);
	free(p);
	return 0;
}

static void
check_file(const struct place *p, const char *name, const char *want)
{
	size_t len;
	char *have = tmpdir_read(p->path, name, &len);

	assert_int_equal(len, strlen(want));
	assert_memory_equal(have, want, len);
	free(have);
}

static void
test_refusal_says_call_path_and_reason(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(io_refusal(&e, E_IO, -EIO, "write", "some/file"), E_IO);
	assert_int_equal(e.sys, EIO);
	assert_non_null(strstr(e.detail, "write some/file"));
	assert_non_null(strstr(e.detail, "Input/output error"));
	assert_int_equal(io_refusal(&e, E_IO, -ENOSPC, "write", "f"), E_IO_SPACE);
	assert_int_equal(io_refusal(&e, E_IO, -EDQUOT, "write", "f"), E_IO_SPACE);
	assert_int_equal(io_refusal(NULL, E_IO_READ, -EIO, "read", "f"), E_IO_READ);
}

static void
test_short_and_interrupted_transfers_are_completed(void **state)
{
	static const struct fault_plan plans[] = {
		{ .nth = 1, .forever = true, .mode = FAULT_SHORT_ONE },
		{ .nth = 1, .forever = true, .mode = FAULT_SHORT_HALF },
		{ .nth = 1, .error = EINTR },
		{ .nth = 2, .error = EINTR },
	};
	struct place *p = *state;
	const struct os *os = &p->f.os;
	char have[16];
	struct err e;

	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		size_t got = 0;
		int fd = -1;

		tmpdir_empty(p->path);
		fault_os_plan(&p->f, plans[i]);
		assert_int_equal(io_open(os, p->fd, "f", O_RDWR | O_CREAT, 0600, &fd, &e), E_OK);
		assert_int_equal(io_write(os, fd, "0123456789", 10, "f", &e), E_OK);
		assert_int_equal(io_pwrite(os, fd, "abc", 3, 4, "f", &e), E_OK);
		assert_int_equal(io_pread(os, fd, have, 16, 1, &got, "f", &e), E_OK);
		assert_int_equal(got, 9);
		assert_memory_equal(have, "123abc789", 9);
		assert_int_equal(os->lseek(os, fd, 0, SEEK_SET), 0);
		assert_int_equal(io_read(os, fd, have, 16, &got, "f", &e), E_OK);
		assert_int_equal(got, 10);
		io_close(os, &fd);
		assert_int_equal(fd, -1);
		assert_true(p->f.fired > 0);
		assert_int_equal(p->f.open_fds, 0);
	}
}

static void
test_endless_interruption_is_a_refusal(void **state)
{
	struct place *p = *state;
	int fd = -7;
	struct err e;

	tmpdir_write(p->path, "f", "x", 1);
	fault_os_plan(&p->f, (struct fault_plan){ .nth = 1, .forever = true, .error = EINTR });
	assert_int_equal(io_open(&p->f.os, p->fd, "f", O_RDONLY, 0, &fd, &e), E_IO_READ);
	assert_int_equal(e.sys, EINTR);
	assert_int_equal(fd, -7);
}

static ssize_t
write_nothing(const struct os *os, int fd, const void *p, size_t len)
{
	(void)os;
	(void)fd;
	(void)p;
	(void)len;
	return 0;
}

static void
test_a_write_of_nothing_is_a_refusal(void **state)
{
	struct place *p = *state;
	struct os os = *os_posix();
	struct err e;

	os.write = write_nothing;
	assert_int_equal(io_write(&os, p->fd, "x", 1, "f", &e), E_IO);
	assert_int_equal(e.sys, EIO);
	assert_int_equal(io_write(&os, p->fd, "", 0, "f", &e), E_OK);
}

static void
test_read_file_obeys_the_limit(void **state)
{
	struct place *p = *state;
	autoclean(buf_done) struct buf exact = buf_limit(7), small = buf_limit(6);
	struct err e;

	tmpdir_write(p->path, "f", "12345", 5);
	assert_int_equal(buf_add_str(&exact, "ab", &e), E_OK);
	assert_int_equal(buf_add_str(&small, "ab", &e), E_OK);
	assert_int_equal(io_read_file(&p->f.os, p->fd, "f", &exact, &e), E_OK);
	assert_int_equal(exact.len, 7);
	assert_memory_equal(exact.p, "ab12345", 7);
	assert_int_equal(io_read_file(&p->f.os, p->fd, "f", &small, &e), E_LIMIT);
	assert_int_equal(small.len, 2);
	assert_int_equal(io_read_file(&p->f.os, p->fd, "absent", &small, &e), E_IO_READ);
	assert_int_equal(e.sys, ENOENT);
	assert_int_equal(p->f.open_fds, 0);
}

static void
test_read_file_longer_than_a_piece(void **state)
{
	struct place *p = *state;
	autoclean(buf_done) struct buf out = buf_limit(1 << 20);
	uint8_t *bytes = malloc(200000);
	struct err e;

	assert_non_null(bytes);
	for (size_t i = 0; i < 200000; i++)
		bytes[i] = (uint8_t)(i * 31 >> 3);
	tmpdir_write(p->path, "f", bytes, 200000);
	assert_int_equal(io_read_file(&p->f.os, p->fd, "f", &out, &e), E_OK);
	assert_int_equal(out.len, 200000);
	assert_memory_equal(out.p, bytes, 200000);
	free(bytes);
}

static void
test_read_file_under_faults(void **state)
{
	struct place *p = *state;
	unsigned long n = 1;
	struct err e;

	tmpdir_write(p->path, "f", "12345", 5);
	for (;; n++) {
		autoclean(buf_done) struct buf out = buf_limit(100);
		enum ecode rc;

		fault_os_plan(&p->f, (struct fault_plan){ .nth = n, .error = EIO });
		rc = io_read_file(&p->f.os, p->fd, "f", &out, &e);
		assert_int_equal(p->f.open_fds, 0);
		if (p->f.fired == 0)
			break;
		if (p->f.fired_slot == SLOT_CLOSE) {
			assert_int_equal(rc, E_OK); /* reading is over by then */
			continue;
		}
		assert_int_equal(rc, E_IO_READ);
		assert_int_equal(out.len, 0);
	}
	assert_true(n >= 4);
}

static void
test_mkdirs(void **state)
{
	struct place *p = *state;
	const struct os *os = &p->f.os;
	char absolute[TMPDIR_PATH_MAX + 16];
	struct err e;

	assert_int_equal(io_mkdirs(os, p->fd, "a/b//c/", 0700, &e), E_OK);
	assert_int_equal(io_mkdirs(os, p->fd, "a/b/c", 0700, &e), E_OK);
	assert_true(tmpdir_exists(p->path, "a/b/c"));
	assert_int_equal(tmpdir_mode(p->path, "a/b"), 0700);
	(void)snprintf(absolute, sizeof(absolute), "%s/x/y", p->path);
	assert_int_equal(io_mkdirs(os, AT_FDCWD, absolute, 0700, &e), E_OK);
	assert_true(tmpdir_exists(p->path, "x/y"));
	tmpdir_write(p->path, "file", "", 0);
	assert_int_equal(io_mkdirs(os, p->fd, "file", 0700, &e), E_IO);
	assert_int_equal(e.sys, EEXIST);
	assert_int_equal(io_mkdirs(os, p->fd, "file/d", 0700, &e), E_IO);
	assert_int_equal(io_mkdirs(os, p->fd, "", 0700, &e), E_IO);
	fault_os_plan(&p->f, (struct fault_plan){ .nth = 2, .error = ENOSPC });
	assert_int_equal(io_mkdirs(os, p->fd, "n/m", 0700, &e), E_IO_SPACE);
}

/* Publish "new content" in three parts under "name". */
static enum ecode
publish(struct place *p, bool exclusive, struct err *e)
{
	const struct slice parts[] = { { (const uint8_t *)"new ", 4 }, { NULL, 0 },
		{ (const uint8_t *)"content", 7 } };
	const struct io_publish how = {
		.dir = p->fd,
		.name = "name",
		.mode = 0400,
		.fsync = true,
		.exclusive = exclusive,
	};

	return io_publish(&p->f.os, &how, parts, 3, e);
}

static void
test_publish_makes_the_file(void **state)
{
	struct place *p = *state;
	struct err e;

	assert_int_equal(publish(p, false, &e), E_OK);
	check_file(p, "name", "new content");
	assert_int_equal(tmpdir_mode(p->path, "name"), 0400);
	assert_int_equal(tmpdir_count(p->path, ""), 1);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 2); /* the file and its directory */
	assert_int_equal(publish(p, false, &e), E_OK);    /* replaces even what is read-only */
	assert_int_equal(publish(p, true, &e), E_IO);
	assert_int_equal(e.sys, EEXIST);
	assert_int_equal(tmpdir_count(p->path, ""), 1);
	assert_int_equal(p->f.open_fds, 0);
}

/* What the directory looks like in the middle: watched through fsync. */
struct watch {
	struct os os; /* first */
	const struct place *place;
	unsigned long *temporaries;
	mode_t *mode;
};

static int
watch_fsync(const struct os *os, int fd)
{
	const struct watch *w = (const struct watch *)os;
	struct os_meta meta;

	assert_int_equal(os_posix()->stat(os_posix(), fd, NULL, 0, &meta), 0);
	if (S_ISREG(meta.mode)) {
		*w->temporaries += tmpdir_count_like(w->place->path, "name-tmp-");
		*w->mode = meta.mode & 07777;
	}
	return os_posix()->fsync(os_posix(), fd);
}

static void
test_publish_goes_through_a_private_temporary(void **state)
{
	struct place *p = *state;
	unsigned long temporaries = 0;
	mode_t mode = 0;
	struct watch w = {
		.os = *os_posix(), .place = p, .temporaries = &temporaries, .mode = &mode
	};
	struct io_publish how = { .dir = p->fd, .name = "name", .mode = 0444, .fsync = true };
	struct err e;

	w.os.fsync = watch_fsync;
	assert_int_equal(io_publish(&w.os, &how, NULL, 0, &e), E_OK);
	assert_int_equal(temporaries, 1);
	assert_int_equal(mode, 0600);
	assert_int_equal(tmpdir_mode(p->path, "name"), 0444);
}

static void
test_publish_tolerates_missing_support(void **state)
{
	static const int unsupported[] = { ENOTSUP, EINVAL };
	struct place *p = *state;
	struct err e;

	for (size_t i = 0; i < 2; i++) {
		fault_os_plan(&p->f, (struct fault_plan){ .nth = 1,
					     .forever = true,
					     .error = unsupported[i],
					     .slots = SLOT_BIT(SLOT_FSYNC) });
		assert_int_equal(publish(p, false, &e), E_OK);
		assert_int_equal(p->f.fired, 2);
	}
	fault_os_plan(&p->f,
		(struct fault_plan){ .nth = 1, .error = EPERM, .slots = SLOT_BIT(SLOT_CHMOD) });
	assert_int_equal(publish(p, false, &e), E_OK); /* exFAT, CIFS */
	assert_int_equal(p->f.fired, 1);
}

static void
test_publish_exclusive_without_renameat2(void **state)
{
	struct place *p = *state;
	struct fault_plan plan = { .nth = 1, .error = EINVAL, .slots = SLOT_BIT(SLOT_RENAME) };
	struct err e;

	fault_os_plan(&p->f, plan);
	assert_int_equal(publish(p, true, &e), E_OK);
	assert_int_equal(p->f.fired, 1);
	check_file(p, "name", "new content");
	assert_int_equal(tmpdir_count(p->path, ""), 1);
	tmpdir_write(p->path, "name", "old", 3);
	fault_os_plan(&p->f, plan);
	assert_int_equal(publish(p, true, &e), E_IO);
	assert_int_equal(e.sys, EEXIST);
	check_file(p, "name", "old");
	assert_int_equal(tmpdir_count(p->path, ""), 1);
}

static int
rename_lies(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	(void)os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
	return -EIO;
}

static void
test_publish_is_unsure_when_a_refused_rename_happened(void **state)
{
	struct place *p = *state;
	struct os os = *os_posix();
	struct io_publish how = { .dir = p->fd, .name = "name", .mode = 0400, .fsync = true };
	struct err e;

	os.rename = rename_lies;
	assert_int_equal(io_publish(&os, &how, NULL, 0, &e), E_IO_UNSURE);
	assert_true(tmpdir_exists(p->path, "name"));
}

static void
test_publish_picks_another_taken_temporary_name(void **state)
{
	struct place *p = *state;
	struct err e;

	fault_os_plan(
		&p->f, (struct fault_plan){
			       .nth = 1, .error = EEXIST, .slots = SLOT_BIT(SLOT_OPEN_CREATE) });
	assert_int_equal(publish(p, false, &e), E_OK);
	assert_int_equal(p->f.fired, 1);
	fault_os_plan(&p->f, (struct fault_plan){ .nth = 1,
				     .forever = true,
				     .error = EEXIST,
				     .slots = SLOT_BIT(SLOT_OPEN_CREATE) });
	assert_int_equal(publish(p, false, &e), E_IO);
	assert_int_equal(e.sys, EEXIST);
}

static void
test_publish_refuses_a_name_too_long_for_a_temporary(void **state)
{
	struct place *p = *state;
	char name[256];
	struct io_publish how = { .dir = p->fd, .name = name, .mode = 0400 };
	struct err e;

	memset(name, 'n', 255);
	name[255] = '\0';
	assert_int_equal(io_publish(&p->f.os, &how, NULL, 0, &e), E_IO);
	assert_int_equal(e.sys, ENAMETOOLONG);
	assert_int_equal(tmpdir_count(p->path, ""), 0);
}

/* The promise of io.h after one refused call. */
static void
check_promise(struct place *p, enum ecode rc, bool had_old, bool unlink_refused)
{
	const char *old = "old";

	assert_int_equal(p->f.open_fds, 0);
	if (rc == E_OK)
		check_file(p, "name", "new content");
	if (rc == E_IO || rc == E_IO_SPACE) {
		assert_int_equal(tmpdir_exists(p->path, "name"), had_old);
		if (had_old)
			check_file(p, "name", old);
	}
	if (rc == E_IO_UNSURE) /* whole or as before, never something between */
		check_file(p, "name", "new content");
	if (!unlink_refused)
		assert_int_equal(tmpdir_count_like(p->path, "-tmp-"), 0);
	if (rc != E_OK && rc != E_IO && rc != E_IO_SPACE)
		assert_int_equal(rc, E_IO_UNSURE);
}

/* Refuse the n-th call for every n; returns how many calls there were to refuse. */
static unsigned long
fault_loop(struct place *p, struct fault_plan plan, bool old, bool exclusive)
{
	unsigned long n = 1;
	struct err e;

	for (;; n++) {
		enum ecode rc;

		tmpdir_empty(p->path);
		if (old)
			tmpdir_write(p->path, "name", "old", 3);
		plan.nth = n;
		fault_os_plan(&p->f, plan);
		rc = publish(p, exclusive, &e);
		if (p->f.fired == 0)
			break;
		check_promise(p, rc, old, plan.forever || p->f.fired_slot == SLOT_UNLINK);
		if (p->f.fired_slot == SLOT_FSYNC && plan.error != EINVAL && !plan.forever)
			assert_true(rc != E_OK); /* no failed fsync is ever a success */
		/* the repeat, without any tidying, succeeds */
		fault_os_plan(&p->f, (struct fault_plan){ .nth = 0 });
		if (!exclusive)
			assert_int_equal(publish(p, false, &e), E_OK);
		else if (rc == E_IO || rc == E_IO_SPACE)
			assert_int_equal(publish(p, true, &e), E_OK);
		check_file(p, "name", "new content");
	}
	return n - 1;
}

static const int errors[] = { EIO, ENOSPC, EDQUOT, EINTR, EROFS, EACCES, ESTALE, ENOMEM, EMFILE };

static void
test_publish_keeps_its_promise_once(void **state)
{
	unsigned long refused = 0;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct fault_plan plan = { .error = errors[i] };

		refused += fault_loop(*state, plan, false, false);
		refused += fault_loop(*state, plan, true, false);
		refused += fault_loop(*state, plan, false, true);
	}
	assert_true(refused >= 100);
}

static void
test_publish_keeps_its_promise_for_ever(void **state)
{
	unsigned long refused = 0;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct fault_plan plan = { .error = errors[i], .forever = true };

		refused += fault_loop(*state, plan, false, false);
		refused += fault_loop(*state, plan, true, false);
	}
	assert_true(refused >= 60);
}

static void
test_publish_with_short_writes(void **state)
{
	struct place *p = *state;
	struct err e;

	fault_os_plan(
		&p->f, (struct fault_plan){ .nth = 1, .forever = true, .mode = FAULT_SHORT_ONE });
	assert_int_equal(publish(p, false, &e), E_OK);
	assert_int_equal(p->f.fired, 11);
	check_file(p, "name", "new content");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_refusal_says_call_path_and_reason),
		T(test_short_and_interrupted_transfers_are_completed),
		T(test_endless_interruption_is_a_refusal),
		T(test_a_write_of_nothing_is_a_refusal),
		T(test_read_file_obeys_the_limit),
		T(test_read_file_longer_than_a_piece),
		T(test_read_file_under_faults),
		T(test_mkdirs),
		T(test_publish_makes_the_file),
		T(test_publish_goes_through_a_private_temporary),
		T(test_publish_tolerates_missing_support),
		T(test_publish_exclusive_without_renameat2),
		T(test_publish_is_unsure_when_a_refused_rename_happened),
		T(test_publish_picks_another_taken_temporary_name),
		T(test_publish_refuses_a_name_too_long_for_a_temporary),
		T(test_publish_keeps_its_promise_once),
		T(test_publish_keeps_its_promise_for_ever),
		T(test_publish_with_short_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
