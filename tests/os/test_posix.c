/* The kernel table against the real kernel: conventions, and what is easy to get wrong. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/os.h"
#include "support/tmpdir.h"

struct place {
	char path[TMPDIR_PATH_MAX];
	int fd;
};

static const struct os *os;

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	os = os_posix();
	assert_non_null(p);
	tmpdir_make(p->path);
	p->fd = os->open(os, AT_FDCWD, p->path, O_RDONLY | O_DIRECTORY, 0);
	assert_true(p->fd >= 0);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(os->close(os, p->fd), 0);
	tmpdir_remove(p->path);
	free(p);
	return 0;
}

static void
test_errors_are_negative_errno(void **state)
{
	struct place *p = *state;
	struct os_meta meta;
	char text[8];

	assert_int_equal(os->open(os, p->fd, "absent", O_RDONLY, 0), -ENOENT);
	assert_int_equal(os->close(os, 1 << 20), -EBADF);
	assert_int_equal(os->read(os, 1 << 20, text, sizeof(text)), -EBADF);
	assert_int_equal(os->pwrite(os, 1 << 20, text, 1, 0), -EBADF);
	assert_int_equal(os->stat(os, p->fd, "absent", 0, &meta), -ENOENT);
	assert_int_equal(os->unlink(os, p->fd, "absent", 0), -ENOENT);
	assert_int_equal(os->readlink(os, p->fd, "absent", text, sizeof(text)), -ENOENT);
	assert_int_equal(os->lseek(os, 1 << 20, 0, SEEK_SET), -EBADF);
	assert_int_equal(os->fadvise(os, 1 << 20, 0, 0, POSIX_FADV_DONTNEED), -EBADF);
	assert_int_equal(os->clone(os, 1 << 20, p->fd), -EBADF);
	assert_int_equal(os->copy_range(os, 1 << 20, p->fd, 0, 1), -EBADF);
	assert_int_equal(os->getdents(os, 1 << 20, text, sizeof(text)), -EBADF);
	assert_int_equal(os->listxattr(os, p->fd, "absent", text, sizeof(text)), -ENOENT);
}

static void
test_descriptors_do_not_survive_exec(void **state)
{
	struct place *p = *state;

	assert_true((fcntl(p->fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void
test_beneath_stays_beneath(void **state)
{
	struct place *p = *state;
	int fd;

	tmpdir_write(p->path, "in/file", "x", 1);
	assert_int_equal(os->symlink(os, "in/file", p->fd, "link"), 0);
	assert_int_equal(os->symlink(os, "/etc", p->fd, "out"), 0);
	fd = os->open_beneath(os, p->fd, "in/file", O_RDONLY, 0, true);
	assert_true(fd >= 0);
	assert_int_equal(os->close(os, fd), 0);
	assert_int_equal(os->open_beneath(os, p->fd, "../x", O_RDONLY, 0, false), -EXDEV);
	assert_int_equal(os->open_beneath(os, p->fd, "/etc/passwd", O_RDONLY, 0, false), -EXDEV);
	assert_int_equal(os->open_beneath(os, p->fd, "link", O_RDONLY, 0, false), -ELOOP);
	assert_int_equal(os->open_beneath(os, p->fd, "out/passwd", O_RDONLY, 0, false), -ELOOP);
	fd = os->open_beneath(os, p->fd, "new", O_WRONLY | O_CREAT | O_EXCL, 0600, true);
	assert_true(fd >= 0);
	assert_int_equal(os->close(os, fd), 0);
	assert_int_equal(tmpdir_mode(p->path, "new"), 0600);
}

static void
test_stat_agrees_with_libc(void **state)
{
	struct place *p = *state;
	struct os_meta meta;
	struct stat st;
	char full[TMPDIR_PATH_MAX + 8];

	tmpdir_write(p->path, "f", "12345", 5);
	(void)snprintf(full, sizeof(full), "%s/f", p->path);
	assert_int_equal(stat(full, &st), 0);
	assert_int_equal(os->stat(os, p->fd, "f", AT_SYMLINK_NOFOLLOW, &meta), 0);
	assert_int_equal(meta.size, 5);
	assert_int_equal(meta.mode, st.st_mode);
	assert_int_equal(meta.ino, st.st_ino);
	assert_int_equal(meta.dev, st.st_dev);
	assert_int_equal(meta.nlink, st.st_nlink);
	assert_int_equal(meta.mtime.s, st.st_mtim.tv_sec);
	assert_int_equal(meta.mtime.ns, st.st_mtim.tv_nsec);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_int_equal(os->stat(os, AT_FDCWD, "/dev/null", 0, &meta), 0);
	assert_int_equal(meta.rdev, st.st_rdev);
	assert_int_equal(os->stat(os, p->fd, NULL, 0, &meta), 0); /* the descriptor itself */
	assert_true(S_ISDIR(meta.mode));
}

static void
test_getdents_decodes_every_name(void **state)
{
	struct place *p = *state;
	struct os_dirent entry;
	uint8_t piece[512];
	unsigned seen[200] = { 0 };
	ssize_t got = 1;

	for (unsigned i = 0; i < 200; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%u", i);
		tmpdir_write(p->path, name, "", 0);
	}
	while (got > 0) {
		size_t at = 0;

		got = os->getdents(os, p->fd, piece, sizeof(piece));
		assert_true(got >= 0);
		while (os_dirent_next(piece, (size_t)got, &at, &entry)) {
			if (entry.name[0] != 'n')
				continue;
			assert_int_equal(entry.type, DT_REG);
			assert_true(entry.ino != 0);
			seen[strtoul(entry.name + 1, NULL, 10)]++;
		}
		assert_int_equal(at, got);
	}
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(seen[i], 1);
}

static void
test_malformed_dirents_end_the_walk(void **state)
{
	uint8_t rec[64] = { 0 };
	struct os_dirent entry = { .ino = 77 };
	size_t at = 0;
	uint16_t size = 24;

	(void)state;
	memcpy(rec + 16, &size, sizeof(size));
	memset(rec + 19, 'a', 5); /* no NUL inside the record */
	assert_false(os_dirent_next(rec, sizeof(rec), &at, &entry));
	rec[23] = '\0';
	assert_false(os_dirent_next(rec, 23, &at, &entry)); /* cut */
	assert_false(os_dirent_next(rec, 19, &at, &entry));
	assert_false(os_dirent_next(rec, 0, &at, &entry));
	size = 0; /* would never advance */
	memcpy(rec + 16, &size, sizeof(size));
	assert_false(os_dirent_next(rec, sizeof(rec), &at, &entry));
	assert_int_equal(at, 0);
	assert_int_equal(entry.ino, 77);
	size = 24;
	memcpy(rec + 16, &size, sizeof(size));
	assert_true(os_dirent_next(rec, sizeof(rec), &at, &entry));
	assert_string_equal(entry.name, "aaaa");
	assert_int_equal(at, 24);
}

static void
test_rename_can_refuse_to_replace(void **state)
{
	struct place *p = *state;

	tmpdir_write(p->path, "a", "1", 1);
	tmpdir_write(p->path, "b", "2", 1);
	assert_int_equal(os->rename(os, p->fd, "a", p->fd, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(os->rename(os, p->fd, "a", p->fd, "b", 0), 0);
	assert_false(tmpdir_exists(p->path, "a"));
}

static void
test_times_owner_mode_by_name_and_descriptor(void **state)
{
	struct place *p = *state;
	struct instant at = { .s = -5, .ns = 999999999 }, mt = { .s = 1LL << 33, .ns = 7 };
	struct os_meta meta;
	int fd;

	tmpdir_write(p->path, "f", "", 0);
	assert_int_equal(os->utimens(os, p->fd, "f", at, mt, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(os->stat(os, p->fd, "f", 0, &meta), 0);
	assert_int_equal(meta.mtime.s, mt.s);
	assert_int_equal(meta.mtime.ns, mt.ns);
	fd = os->open(os, p->fd, "f", O_RDWR, 0);
	assert_true(fd >= 0);
	assert_int_equal(os->utimens(os, fd, NULL, mt, at, 0), 0);
	assert_int_equal(os->chmod(os, fd, NULL, 0640), 0);
	assert_int_equal(os->chown(os, fd, NULL, geteuid(), getegid(), 0), 0);
	assert_int_equal(os->stat(os, fd, NULL, 0, &meta), 0);
	assert_int_equal(meta.mtime.s, -5);
	assert_int_equal(meta.mtime.ns, 999999999);
	assert_int_equal(meta.mode & 07777, 0640);
	assert_int_equal(os->close(os, fd), 0);
	assert_int_equal(os->chmod(os, p->fd, "f", 0400), 0);
	assert_int_equal(tmpdir_mode(p->path, "f"), 0400);
}

static void
test_xattrs_by_name_and_descriptor(void **state)
{
	struct place *p = *state;
	char text[64];
	int fd, rc;

	tmpdir_write(p->path, "d/f", "", 0);
	rc = os->setxattr(os, p->fd, "d/f", "user.hf", "value", 5);
	if (rc == -ENOTSUP)
		skip(); /* the file system below TMPDIR has none */
	assert_int_equal(rc, 0);
	assert_int_equal(os->getxattr(os, p->fd, "d/f", "user.hf", text, sizeof(text)), 5);
	assert_memory_equal(text, "value", 5);
	assert_int_equal(os->listxattr(os, p->fd, "d/f", NULL, 0), 8);
	fd = os->open(os, p->fd, "d/f", O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_int_equal(os->getxattr(os, fd, NULL, "user.hf", text, sizeof(text)), 5);
	assert_int_equal(os->setxattr(os, fd, NULL, "user.two", "2", 1), 0);
	assert_int_equal(os->listxattr(os, fd, NULL, text, sizeof(text)), 17);
	assert_int_equal(os->removexattr(os, fd, NULL, "user.two"), 0);
	assert_int_equal(os->close(os, fd), 0);
	assert_int_equal(os->removexattr(os, p->fd, "d/f", "user.hf"), 0);
	assert_int_equal(os->getxattr(os, p->fd, "d/f", "user.hf", text, 64), -ENODATA);
	/* never through a final link */
	assert_int_equal(os->symlink(os, "d/f", p->fd, "link"), 0);
	assert_true(os->setxattr(os, p->fd, "link", "user.hf", "x", 1) < 0);
	assert_int_equal(os->listxattr(os, p->fd, "d/f", NULL, 0), 0);
}

static void
test_xattr_path_too_long(void **state)
{
	struct place *p = *state;
	char *path = malloc(9000);

	assert_non_null(path);
	memset(path, 'a', 8999);
	path[8999] = '\0';
	assert_int_equal(os->getxattr(os, p->fd, path, "user.x", NULL, 0), -ENAMETOOLONG);
	free(path);
}

static void
test_random_fills_everything(void **state)
{
	uint8_t a[1000] = { 0 }, b[1000] = { 0 };
	unsigned zeros = 0;

	(void)state;
	assert_int_equal(os->random(os, a, sizeof(a)), 0);
	assert_int_equal(os->random(os, b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	for (size_t i = 900; i < 1000; i++)
		zeros += a[i] == 0;
	assert_true(zeros < 20);
}

static void
test_clocks_go_forward(void **state)
{
	uint64_t mono = os->monotonic_ns(os), boot = os->boottime_ns(os);
	struct instant now = os->wall(os);

	(void)state;
	os->sleep_ns(os, 2000000);
	assert_true(os->monotonic_ns(os) >= mono + 1000000);
	assert_true(os->boottime_ns(os) > boot);
	assert_true(now.s > 1700000000);
	assert_in_range(now.ns, 0, 999999999);
}

static void
test_names_of_ids(void **state)
{
	char name[64] = "?", tiny[2];

	(void)state;
	assert_int_equal(os->user_name(os, 0, name, sizeof(name)), 0);
	assert_string_equal(name, "root");
	assert_int_equal(os->group_name(os, 0, name, sizeof(name)), 0);
	assert_string_equal(name, "root");
	assert_int_equal(os->user_name(os, 3999999999U, name, sizeof(name)), 0);
	assert_string_equal(name, "");
	assert_int_equal(os->group_name(os, 3999999999U, name, sizeof(name)), 0);
	assert_string_equal(name, "");
	assert_int_equal(os->user_name(os, 0, tiny, sizeof(tiny)), -ERANGE);
}

static void
test_numbers_of_names(void **state)
{
	uint32_t v = 7;

	(void)state;
	assert_int_equal(os->user_number(os, "root", &v), 0);
	assert_int_equal(v, 0);
	v = 7;
	assert_int_equal(os->group_number(os, "root", &v), 0);
	assert_int_equal(v, 0);
	v = 7;
	assert_int_equal(os->user_number(os, "no-such-user-here", &v), -ENOENT);
	assert_int_equal(os->group_number(os, "no-such-group-here", &v), -ENOENT);
	assert_int_equal(v, 7);
}

static void
test_the_process(void **state)
{
	char host[256] = "";

	(void)state;
	assert_int_equal(os->pid(os), getpid());
	assert_int_equal(os->ids(os).uid, geteuid());
	assert_int_equal(os->ids(os).gid, getegid());
	assert_true(os->cpus(os) >= 1);
	assert_int_equal(os->hostname(os, host, sizeof(host)), 0);
	assert_true(host[0] != '\0');
	assert_int_equal(os->kill(os, getpid(), 0), 0);
}

/* A name without room for it, and one that is no more. */
static void
test_the_working_directory(void **state)
{
	char was[4096] = "", made[] = "/tmp/holdfast-test-XXXXXX", now[4096] = "", small[2];

	(void)state;
	assert_int_equal(os->cwd(os, was, sizeof(was)), 0);
	assert_int_equal(was[0], '/');
	assert_non_null(mkdtemp(made));
	assert_int_equal(chdir(made), 0);
	assert_int_equal(os->cwd(os, now, sizeof(now)), 0);
	assert_string_equal(now, made);
	assert_int_equal(os->cwd(os, small, sizeof(small)), -ERANGE);
	assert_int_equal(rmdir(made), 0);
	assert_int_equal(os->cwd(os, now, sizeof(now)), -ENOENT);
	assert_int_equal(chdir(was), 0);
}

/* Everything the program prints, then its end. */
static int
run(char *const argv[], char *const env[], char *out, size_t len)
{
	int pid = -1;
	int fd = os->spawn(os, argv, env, &pid);
	size_t at = 0;
	ssize_t got = 1;

	assert_true(fd >= 0);
	while (got > 0 && at + 1 < len) {
		got = os->read(os, fd, out + at, len - 1 - at);
		assert_true(got >= 0);
		at += (size_t)got;
	}
	out[at] = '\0';
	assert_int_equal(os->close(os, fd), 0);
	return os->wait(os, pid);
}

static int
run_shell(const char *script, char *out, size_t len)
{
	char sh[] = "sh", c[] = "-c";
	char *copy = strdup(script);
	char *argv[] = { sh, c, copy, NULL };
	int status = run(argv, NULL, out, len);

	free(copy);
	return status;
}

static void
test_spawn_tells_output_and_status(void **state)
{
	char out[64];

	(void)state;
	assert_int_equal(run_shell("echo hello", out, sizeof(out)), 0);
	assert_string_equal(out, "hello\n");
	assert_int_equal(run_shell("exit 7", out, sizeof(out)), 7);
	assert_int_equal(run_shell("kill -9 $$", out, sizeof(out)), 256 + SIGKILL);
}

static void
test_spawn_reports_what_exec_said(void **state)
{
	struct place *p = *state;
	char absent[] = "hf-no-such-program", plain[TMPDIR_PATH_MAX + 8];
	char *argv[] = { absent, NULL };
	int pid = -1;

	assert_int_equal(os->spawn(os, argv, NULL, &pid), -ENOENT);
	tmpdir_write(p->path, "plain", "x", 1);
	(void)snprintf(plain, sizeof(plain), "%s/plain", p->path);
	argv[0] = plain;
	assert_int_equal(os->spawn(os, argv, NULL, &pid), -EACCES);
	assert_int_equal(pid, -1);
	assert_int_equal(os->wait(os, -1), -ECHILD); /* nothing is left behind */
}

static void
test_spawn_gives_a_clean_environment(void **state)
{
	char out[4096];

	(void)state;
	assert_int_equal(setenv("HOLDFAST_PASSWORD", "very secret", 1), 0);
	assert_int_equal(run_shell("env", out, sizeof(out)), 0);
	assert_null(strstr(out, "secret"));
	assert_non_null(strstr(out, "LANG=C\n"));
	assert_non_null(strstr(out, "PATH="));
	assert_int_equal(unsetenv("HOLDFAST_PASSWORD"), 0);
}

static void
test_spawn_gives_the_environment_named(void **state)
{
	char one[] = "ONLY=this", env[] = "env", out[256];
	char *argv[] = { env, NULL }, *envp[] = { one, NULL };

	(void)state;
	assert_int_equal(run(argv, envp, out, sizeof(out)), 0);
	assert_string_equal(out, "ONLY=this\n");
}

static void
test_spawn_closes_foreign_descriptors_and_resets_signals(void **state)
{
	int high = fcntl(STDERR_FILENO, F_DUPFD, 50); /* no CLOEXEC, as a careless library */
	char out[512];
	sigset_t block, before;

	(void)state;
	assert_int_equal(high, 50);
	assert_true(signal(SIGTERM, SIG_IGN) != SIG_ERR);
	assert_int_equal(sigemptyset(&block), 0);
	assert_int_equal(sigaddset(&block, SIGUSR1), 0);
	assert_int_equal(sigprocmask(SIG_BLOCK, &block, &before), 0);
	assert_int_equal(
		run_shell("cd /proc/$$/fd; test -e 50 && echo open; readlink 0", out, sizeof(out)),
		0);
	assert_string_equal(out, "/dev/null\n");
	assert_int_equal(run_shell("kill -TERM $$; sleep 5", out, sizeof(out)), 256 + SIGTERM);
	assert_int_equal(run_shell("kill -USR1 $$; sleep 5", out, sizeof(out)), 256 + SIGUSR1);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	assert_true(signal(SIGTERM, SIG_DFL) != SIG_ERR);
	assert_int_equal(close(high), 0);
}

static void
test_spawn_works_with_standard_descriptors_closed(void **state)
{
	int in = dup(STDIN_FILENO), out_fd = dup(STDOUT_FILENO);
	char out[64];
	int status;

	(void)state;
	assert_true(out_fd >= 0);
	(void)close(STDIN_FILENO);
	(void)close(STDOUT_FILENO);
	status = run_shell("echo here", out, sizeof(out));
	(void)dup2(out_fd, STDOUT_FILENO);
	if (in >= 0) {
		(void)dup2(in, STDIN_FILENO);
		(void)close(in);
	}
	(void)close(out_fd);
	assert_int_equal(status, 0);
	assert_string_equal(out, "here\n");
}

static void
test_files_and_space(void **state)
{
	struct place *p = *state;
	struct statvfs vfs;
	struct os_meta meta;
	char text[16];
	int fd = os->open(os, p->fd, "f", O_RDWR | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(os->write(os, fd, "abcdef", 6), 6);
	assert_int_equal(os->pwrite(os, fd, "XY", 2, 2), 2);
	assert_int_equal(os->pread(os, fd, text, sizeof(text), 1), 5);
	assert_memory_equal(text, "bXYef", 5);
	assert_int_equal(os->lseek(os, fd, 4, SEEK_SET), 4);
	assert_int_equal(os->read(os, fd, text, sizeof(text)), 2);
	assert_int_equal(os->ftruncate(os, fd, 3), 0);
	assert_int_equal(os->fallocate(os, fd, 0, 4096), 0);
	assert_int_equal(os->fadvise(os, fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
	assert_int_equal(os->fsync(os, fd), 0);
	assert_int_equal(os->syncfs(os, fd), 0);
	assert_int_equal(os->statvfs(os, fd, &vfs), 0);
	assert_true(vfs.f_bsize > 0);
	assert_int_equal(os->stat(os, fd, NULL, 0, &meta), 0);
	assert_int_equal(meta.size, 4096);
	assert_int_equal(os->close(os, fd), 0);
	assert_int_equal(os->link(os, p->fd, "f", p->fd, "g", 0), 0);
	assert_int_equal(os->stat(os, p->fd, "g", 0, &meta), 0);
	assert_int_equal(meta.nlink, 2);
	assert_int_equal(os->mkdir(os, p->fd, "d", 0700), 0);
	assert_int_equal(os->unlink(os, p->fd, "d", 0), -EISDIR);
	assert_int_equal(os->unlink(os, p->fd, "d", AT_REMOVEDIR), 0);
	assert_int_equal(os->mknod(os, p->fd, "pipe", S_IFIFO | 0600, 0), 0);
	assert_int_equal(os->readlink(os, p->fd, "f", text, sizeof(text)), -EINVAL);
}

/* Two open descriptions exclude each other, also in one process; closing lets go. */
static void
test_flock_belongs_to_the_description(void **state)
{
	struct place *p = *state;
	int a = os->open(os, p->fd, "held", O_RDWR | O_CREAT, 0600);
	int b = os->open(os, p->fd, "held", O_RDONLY, 0);

	assert_true(a >= 0 && b >= 0);
	assert_int_equal(os->flock(os, a, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(os->flock(os, b, LOCK_SH | LOCK_NB), -EWOULDBLOCK);
	assert_int_equal(os->close(os, a), 0);
	assert_int_equal(os->flock(os, b, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(os->close(os, b), 0);
	assert_int_equal(os->flock(os, b, LOCK_SH | LOCK_NB), -EBADF);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_errors_are_negative_errno),
		T(test_descriptors_do_not_survive_exec),
		T(test_beneath_stays_beneath),
		T(test_stat_agrees_with_libc),
		T(test_getdents_decodes_every_name),
		T(test_malformed_dirents_end_the_walk),
		T(test_rename_can_refuse_to_replace),
		T(test_times_owner_mode_by_name_and_descriptor),
		T(test_xattrs_by_name_and_descriptor),
		T(test_xattr_path_too_long),
		T(test_random_fills_everything),
		T(test_flock_belongs_to_the_description),
		T(test_clocks_go_forward),
		T(test_names_of_ids),
		T(test_numbers_of_names),
		T(test_the_process),
		T(test_the_working_directory),
		T(test_spawn_tells_output_and_status),
		T(test_spawn_reports_what_exec_said),
		T(test_spawn_gives_a_clean_environment),
		T(test_spawn_gives_the_environment_named),
		T(test_spawn_closes_foreign_descriptors_and_resets_signals),
		T(test_spawn_works_with_standard_descriptors_closed),
		T(test_files_and_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
