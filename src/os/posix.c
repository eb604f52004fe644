/*
 * The kernel table of production: each slot is one system call, nothing is
 * retried, `errno` ends here.  Only posix*.c call the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "os/posix_internal.h"

#define NS_PER_S           1000000000ULL
/* getrandom(2): a request of at most 256 bytes is never interrupted */
#define RANDOM_PIECE_BYTES 256

static ssize_t
told(ssize_t rc)
{
	return rc < 0 ? -errno : rc;
}

static int
told_int(int rc)
{
	return rc < 0 ? -errno : rc;
}

static int
px_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	(void)os;
	return told_int(openat(dir, path, flags | O_CLOEXEC, mode));
}

static int
px_open_beneath(
	const struct os *os, int dir, const char *path, int flags, mode_t mode, bool same_dev)
{
	bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = creates ? mode : 0, /* the kernel refuses a mode it would not use */
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	(void)os;
	if (same_dev)
		how.resolve |= RESOLVE_NO_XDEV;
	return told_int((int)syscall(SYS_openat2, dir, path, &how, sizeof(how)));
}

static int
px_close(const struct os *os, int fd)
{
	(void)os;
	return told_int(close(fd));
}

static ssize_t
px_read(const struct os *os, int fd, void *p, size_t len)
{
	(void)os;
	return told(read(fd, p, len));
}

static ssize_t
px_pread(const struct os *os, int fd, void *p, size_t len, uint64_t off)
{
	(void)os;
	return told(pread(fd, p, len, (off_t)off));
}

static ssize_t
px_write(const struct os *os, int fd, const void *p, size_t len)
{
	(void)os;
	return told(write(fd, p, len));
}

static ssize_t
px_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off)
{
	(void)os;
	return told(pwrite(fd, p, len, (off_t)off));
}

static int
px_fsync(const struct os *os, int fd)
{
	(void)os;
	return told_int(fsync(fd));
}

static int
px_syncfs(const struct os *os, int fd)
{
	(void)os;
	return told_int(syncfs(fd));
}

static int
px_fallocate(const struct os *os, int fd, uint64_t off, uint64_t len)
{
	(void)os;
	return told_int(fallocate(fd, 0, (off_t)off, (off_t)len));
}

static int
px_ftruncate(const struct os *os, int fd, uint64_t len)
{
	(void)os;
	return told_int(ftruncate(fd, (off_t)len));
}

static int
px_clone(const struct os *os, int to, int from)
{
	(void)os;
	return told_int(ioctl(to, FICLONE, from));
}

static ssize_t
px_copy_range(const struct os *os, int to, int from, uint64_t off, size_t len)
{
	off_t in = (off_t)off, out = (off_t)off;
	ssize_t n = copy_file_range(from, &in, to, &out, len, 0);

	(void)os;
	return n < 0 ? -errno : n;
}

static int
px_fadvise(const struct os *os, int fd, uint64_t off, uint64_t len, int advice)
{
	(void)os;
	return -posix_fadvise(fd, (off_t)off, (off_t)len, advice);
}

static off_t
px_lseek(const struct os *os, int fd, int64_t off, int whence)
{
	off_t at = lseek(fd, off, whence);

	(void)os;
	return at < 0 ? -errno : at;
}

static int
px_flock(const struct os *os, int fd, int operation)
{
	(void)os;
	return told_int(flock(fd, operation));
}

static struct instant
instant_of(const struct statx_timestamp *t)
{
	return (struct instant){ .s = t->tv_sec, .ns = (int32_t)t->tv_nsec };
}

static int
px_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	struct statx x;

	(void)os;
	if (path == NULL)
		at_flags |= AT_EMPTY_PATH;
	if (statx(dir, path == NULL ? "" : path, at_flags, STATX_BASIC_STATS | STATX_MNT_ID, &x) <
		0)
		return -errno;
	*out = (struct os_meta){
		.mode = x.stx_mode,
		.uid = x.stx_uid,
		.gid = x.stx_gid,
		.ino = x.stx_ino,
		.dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		.rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
		.size = x.stx_size,
		.nlink = x.stx_nlink,
		.blocks = x.stx_blocks,
		.atime = instant_of(&x.stx_atime),
		.mtime = instant_of(&x.stx_mtime),
		.ctime = instant_of(&x.stx_ctime),
		.mnt_id = (x.stx_mask & STATX_MNT_ID) != 0 ? x.stx_mnt_id : 0,
	};
	return 0;
}

static ssize_t
px_getdents(const struct os *os, int fd, void *p, size_t len)
{
	(void)os;
	return told(syscall(SYS_getdents64, fd, p, len));
}

static ssize_t
px_readlink(const struct os *os, int dir, const char *path, char *p, size_t len)
{
	(void)os;
	return told(readlinkat(dir, path, p, len));
}

static int
px_statvfs(const struct os *os, int fd, struct statvfs *out)
{
	(void)os;
	return told_int(fstatvfs(fd, out));
}

static int
px_mkdir(const struct os *os, int dir, const char *path, mode_t mode)
{
	(void)os;
	return told_int(mkdirat(dir, path, mode));
}

static int
px_rename(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	return told_int((int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

static int
px_link(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	int at_flags)
{
	(void)os;
	return told_int(linkat(from_dir, from, to_dir, to, at_flags));
}

static int
px_symlink(const struct os *os, const char *target, int dir, const char *path)
{
	(void)os;
	return told_int(symlinkat(target, dir, path));
}

static int
px_mknod(const struct os *os, int dir, const char *path, mode_t mode, uint64_t rdev)
{
	(void)os;
	return told_int(mknodat(dir, path, mode, (dev_t)rdev));
}

static int
px_unlink(const struct os *os, int dir, const char *path, int at_flags)
{
	(void)os;
	return told_int(unlinkat(dir, path, at_flags));
}

static int
px_chown(const struct os *os, int dir, const char *path, uint32_t uid, uint32_t gid, int at_flags)
{
	(void)os;
	if (path == NULL)
		return told_int(fchownat(dir, "", uid, gid, at_flags | AT_EMPTY_PATH));
	return told_int(fchownat(dir, path, uid, gid, at_flags));
}

static int
px_chmod(const struct os *os, int dir, const char *path, mode_t mode)
{
	(void)os;
	if (path == NULL)
		return told_int(fchmod(dir, mode));
	/* glibc needs /proc for it on kernels before 6.6 */
	return told_int(fchmodat(dir, path, mode, dir == AT_FDCWD ? 0 : AT_SYMLINK_NOFOLLOW));
}

static int
px_utimens(const struct os *os, int dir, const char *path, struct instant atime,
	struct instant mtime, int at_flags)
{
	const struct timespec times[2] = {
		{ .tv_sec = atime.s, .tv_nsec = atime.ns },
		{ .tv_sec = mtime.s, .tv_nsec = mtime.ns },
	};

	(void)os;
	if (path == NULL) /* glibc's utimensat refuses NULL; futimens is the same call */
		return told_int(futimens(dir, times));
	return told_int(utimensat(dir, path, times, at_flags));
}

#define XATTR_PATH_MAX (PATH_MAX + 64)

/* There are no *at calls for attributes below kernel 6.13; the way through /proc is the same. */
static int
xattr_path(int dir, const char *path, char out[static XATTR_PATH_MAX])
{
	int len;

	if (dir == AT_FDCWD || path[0] == '/')
		len = snprintf(out, XATTR_PATH_MAX, "%s", path);
	else
		len = snprintf(out, XATTR_PATH_MAX, "/proc/self/fd/%d/%s", dir, path);
	return len < 0 || len >= XATTR_PATH_MAX ? -ENAMETOOLONG : 0;
}

static ssize_t
px_listxattr(const struct os *os, int dir, const char *path, char *p, size_t len)
{
	char full[XATTR_PATH_MAX];
	int rc;

	(void)os;
	if (path == NULL)
		return told(flistxattr(dir, p, len));
	rc = xattr_path(dir, path, full);
	return rc < 0 ? rc : told(llistxattr(full, p, len));
}

static ssize_t
px_getxattr(const struct os *os, int dir, const char *path, const char *name, void *p, size_t len)
{
	char full[XATTR_PATH_MAX];
	int rc;

	(void)os;
	if (path == NULL)
		return told(fgetxattr(dir, name, p, len));
	rc = xattr_path(dir, path, full);
	return rc < 0 ? rc : told(lgetxattr(full, name, p, len));
}

static int
px_setxattr(
	const struct os *os, int dir, const char *path, const char *name, const void *p, size_t len)
{
	char full[XATTR_PATH_MAX];
	int rc;

	(void)os;
	if (path == NULL)
		return told_int(fsetxattr(dir, name, p, len, 0));
	rc = xattr_path(dir, path, full);
	return rc < 0 ? rc : told_int(lsetxattr(full, name, p, len, 0));
}

static int
px_removexattr(const struct os *os, int dir, const char *path, const char *name)
{
	char full[XATTR_PATH_MAX];
	int rc;

	(void)os;
	if (path == NULL)
		return told_int(fremovexattr(dir, name));
	rc = xattr_path(dir, path, full);
	return rc < 0 ? rc : told_int(lremovexattr(full, name));
}

static int
px_random(const struct os *os, void *p, size_t len)
{
	uint8_t *to = p;
	ssize_t got;

	(void)os;
	while (len > 0) {
		got = getrandom(to, len < RANDOM_PIECE_BYTES ? len : RANDOM_PIECE_BYTES, 0);
		if (got < 0)
			return -errno;
		to += got;
		len -= (size_t)got;
	}
	return 0;
}

/* These clocks exist since Linux 2.6.39 and a valid pointer cannot fault: no failure is left. */
static struct timespec
clock_now(clockid_t clock)
{
	struct timespec t = { 0 };

	(void)clock_gettime(clock, &t);
	return t;
}

static struct instant
px_wall(const struct os *os)
{
	struct timespec t = clock_now(CLOCK_REALTIME);

	(void)os;
	return (struct instant){ .s = t.tv_sec, .ns = (int32_t)t.tv_nsec };
}

static uint64_t
px_monotonic_ns(const struct os *os)
{
	struct timespec t = clock_now(CLOCK_MONOTONIC);

	(void)os;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t
px_boottime_ns(const struct os *os)
{
	struct timespec t = clock_now(CLOCK_BOOTTIME);

	(void)os;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void
px_sleep_ns(const struct os *os, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };

	(void)os;
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL); /* early return is the contract */
}

static int
px_pid(const struct os *os)
{
	(void)os;
	return getpid();
}

static int
px_kill(const struct os *os, int pid, int sig)
{
	(void)os;
	return told_int(kill(pid, sig));
}

static struct os_ids
px_ids(const struct os *os)
{
	(void)os;
	return (struct os_ids){ .uid = geteuid(), .gid = getegid() };
}

static int
px_hostname(const struct os *os, char *p, size_t len)
{
	(void)os;
	if (gethostname(p, len) < 0)
		return -errno;
	if (len > 0)
		p[len - 1] = '\0'; /* POSIX leaves a cut name unterminated */
	return 0;
}

static int
px_cwd(const struct os *os, char *p, size_t len)
{
	(void)os;
	return getcwd(p, len) == NULL ? -errno : 0;
}

static unsigned
px_cpus(const struct os *os)
{
	cpu_set_t set;
	long online;

	(void)os;
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	online = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 processors */
	return online > 0 ? (unsigned)online : 1;
}

static const struct os posix_table = {
	.open = px_open,
	.open_beneath = px_open_beneath,
	.close = px_close,
	.read = px_read,
	.pread = px_pread,
	.write = px_write,
	.pwrite = px_pwrite,
	.fsync = px_fsync,
	.syncfs = px_syncfs,
	.fallocate = px_fallocate,
	.ftruncate = px_ftruncate,
	.clone = px_clone,
	.copy_range = px_copy_range,
	.fadvise = px_fadvise,
	.lseek = px_lseek,
	.flock = px_flock,
	.stat = px_stat,
	.getdents = px_getdents,
	.readlink = px_readlink,
	.statvfs = px_statvfs,
	.mkdir = px_mkdir,
	.rename = px_rename,
	.link = px_link,
	.symlink = px_symlink,
	.mknod = px_mknod,
	.unlink = px_unlink,
	.chown = px_chown,
	.chmod = px_chmod,
	.utimens = px_utimens,
	.listxattr = px_listxattr,
	.getxattr = px_getxattr,
	.setxattr = px_setxattr,
	.removexattr = px_removexattr,
	.random = px_random,
	.wall = px_wall,
	.monotonic_ns = px_monotonic_ns,
	.boottime_ns = px_boottime_ns,
	.sleep_ns = px_sleep_ns,
	.pid = px_pid,
	.kill = px_kill,
	.ids = px_ids,
	.hostname = px_hostname,
	.user_name = posix_user_name,
	.group_name = posix_group_name,
	.user_number = posix_user_number,
	.group_number = posix_group_number,
	.cpus = px_cpus,
	.cwd = px_cwd,
	.spawn = posix_spawn_child,
	.wait = posix_wait_child,
};

const struct os *
os_posix(void)
{
	return &posix_table;
}

/* linux_dirent64: ino 8, offset 8, record length 2, type 1, then the name with its NUL */
#define DIRENT_RECLEN_AT 16
#define DIRENT_TYPE_AT   18
#define DIRENT_NAME_AT   19

bool
os_dirent_next(const void *p, size_t len, size_t *at, struct os_dirent *out)
{
	const uint8_t *rec = (const uint8_t *)p + *at;
	struct os_dirent entry;
	uint16_t size;

	if (*at >= len || len - *at <= DIRENT_NAME_AT)
		return false;
	memcpy(&size, rec + DIRENT_RECLEN_AT, sizeof(size));
	if (size <= DIRENT_NAME_AT || size > len - *at)
		return false;
	memcpy(&entry.ino, rec, sizeof(entry.ino));
	entry.type = rec[DIRENT_TYPE_AT];
	entry.name = (const char *)(rec + DIRENT_NAME_AT);
	if (memchr(entry.name, '\0', size - DIRENT_NAME_AT) == NULL)
		return false;
	*out = entry;
	*at += size;
	return true;
}
