/* A fresh directory for each test, and what the tests of this room share. */
#ifndef HF_TESTS_FS_FIXTURE_H
#define HF_TESTS_FS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"

#define NOBODY 65534

struct fixture {
	char dir[64]; /* absolute */
	int fd;
};

/* Memory, where it keeps user attributes (Linux 6.6): the tests make thousands of files. */
static inline const char *
fixture_base(void)
{
	const char *base = "/tmp";
	char path[] = "/dev/shm/hf-probe-XXXXXX";
	int fd;

	if (getenv("TMPDIR") != NULL)
		return getenv("TMPDIR");
	fd = mkstemp(path);
	if (fd < 0)
		return base;
	if (fsetxattr(fd, "user.probe", "1", 1, 0) == 0)
		base = "/dev/shm";
	(void)close(fd);
	(void)unlink(path);
	return base;
}

static inline int
fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_true(snprintf(f->dir, sizeof(f->dir), "%s/hf-fs-XXXXXX", fixture_base()) <
		    (int)sizeof(f->dir));
	assert_non_null(mkdtemp(f->dir));
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static inline int
fixture_remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st;
	(void)what;
	(void)ftw;
	return remove(path);
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *f = *state;
	int rc;

	(void)close(f->fd);
	rc = nftw(f->dir, fixture_remove_one, 64, FTW_DEPTH | FTW_PHYS);
	free(f);
	return rc;
}

static inline void
fixture_file(const struct fixture *f, const char *name, const char *text)
{
	int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static inline size_t
fixture_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

/* The refusal as expected, with its text when not. */
static inline void
expect_code(enum ecode got, enum ecode want, const struct err *e)
{
	if (got != want)
		fail_msg("%s: %s, expected %s", err_row(got)->name, e->detail, err_row(want)->name);
}

/*
 * Run `body` as nobody, in a child: permissions mean nothing to root.  The
 * child's assertions end it; its exit status says whether they held.
 */
static inline void
as_nobody(void (*body)(struct fixture *f), struct fixture *f)
{
	pid_t pid;
	int status = 0;

	if (geteuid() != 0) {
		print_message("# not root: this test needs to drop privileges\n");
		skip();
	}
	assert_int_equal(chmod(f->dir, 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
			_exit(99);
		body(f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In the child of as_nobody(), where cmocka's own assertions would unwind into the parent's tests. */
static inline void
child_check(bool ok, const char *what)
{
	if (!ok) {
		(void)fprintf(stderr, "in the child: %s\n", what);
		_exit(1);
	}
}

#endif
