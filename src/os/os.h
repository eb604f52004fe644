/*
 * The one table of kernel calls.  Production passes os_posix() once, from
 * main; tests wrap it to count, refuse, shorten, or simulate a power cut.
 *
 * Convention: a result >= 0, or -errno.  `errno` itself is never looked at
 * above this room.  Slots take the table first so that wrappers find their
 * state.  Thread-safe wherever the kernel is.
 * No slot retries: EINTR comes back as -EINTR (os/io.h retries where right).
 */
#ifndef HF_OS_OS_H
#define HF_OS_OS_H

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include "base/instant.h"

struct os_dirent { /* one name from getdents; offsets into the caller's buffer */
	uint64_t ino;
	const char *name; /* NUL-terminated */
	uint8_t type;     /* DT_* or DT_UNKNOWN */
};

struct os_meta {       /* what statx tells; times in UTC */
	uint32_t mode; /* st_mode */
	uint32_t uid, gid;
	uint64_t ino, dev, rdev, size, nlink, blocks; /* dev and rdev as glibc's st_dev */
	struct instant atime, mtime, ctime;
	uint64_t mnt_id; /* 0 when the kernel does not tell */
};

struct os_ids { /* the process's user, for records */
	uint32_t uid, gid;
};

struct os_child; /* see os/child.h */

struct os {
	int (*open)(const struct os *os, int dir, const char *path, int flags, mode_t mode);
	/* openat2 with RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS [| NO_XDEV]; -ENOSYS where absent */
	int (*open_beneath)(const struct os *os, int dir, const char *path, int flags, mode_t mode,
		bool same_dev);
	int (*close)(const struct os *os, int fd);
	ssize_t (*read)(const struct os *os, int fd, void *p, size_t len);
	ssize_t (*pread)(const struct os *os, int fd, void *p, size_t len, uint64_t off);
	ssize_t (*write)(const struct os *os, int fd, const void *p, size_t len);
	ssize_t (*pwrite)(const struct os *os, int fd, const void *p, size_t len, uint64_t off);
	int (*fsync)(const struct os *os, int fd);
	int (*syncfs)(const struct os *os, int fd);
	int (*fallocate)(const struct os *os, int fd, uint64_t off, uint64_t len);
	int (*ftruncate)(const struct os *os, int fd, uint64_t len);
	/* FICLONE: `to` gets all bytes of `from`, shared on disk until one of them changes; few file systems can */
	int (*clone)(const struct os *os, int to, int from);
	/* copy_file_range at `off` of both; bytes copied in the kernel, 0 at the end of `from` */
	ssize_t (*copy_range)(const struct os *os, int to, int from, uint64_t off, size_t len);
	int (*fadvise)(const struct os *os, int fd, uint64_t off, uint64_t len, int advice);
	off_t (*lseek)(const struct os *os, int fd, int64_t off, int whence);
	/* flock(2): the kernel's own lock on an open file, gone with its last descriptor; LOCK_NB gives -EWOULDBLOCK */
	int (*flock)(const struct os *os, int fd, int operation);

	int (*stat)(const struct os *os, int dir, const char *path, int at_flags,
		struct os_meta *out); /* statx */
	/* One getdents64 call: bytes filled, 0 at the end.  Decode with os_dirent_next(). */
	ssize_t (*getdents)(const struct os *os, int fd, void *p, size_t len);
	ssize_t (*readlink)(const struct os *os, int dir, const char *path, char *p, size_t len);
	int (*statvfs)(const struct os *os, int fd, struct statvfs *out);

	int (*mkdir)(const struct os *os, int dir, const char *path, mode_t mode);
	int (*rename)(const struct os *os, int from_dir, const char *from, int to_dir,
		const char *to, unsigned flags);
	int (*link)(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
		int at_flags);
	int (*symlink)(const struct os *os, const char *target, int dir, const char *path);
	int (*mknod)(const struct os *os, int dir, const char *path, mode_t mode, uint64_t rdev);
	int (*unlink)(const struct os *os, int dir, const char *path, int at_flags);

	/* fd with path NULL works on the descriptor itself; AT_SYMLINK_NOFOLLOW in at_flags */
	int (*chown)(const struct os *os, int dir, const char *path, uint32_t uid, uint32_t gid,
		int at_flags);
	int (*chmod)(const struct os *os, int dir, const char *path,
		mode_t mode); /* path NULL: fchmod; a link in `dir` is not followed: -ENOTSUP */
	int (*utimens)(const struct os *os, int dir, const char *path, struct instant atime,
		struct instant mtime, int at_flags);
	/* path NULL: f*xattr on dir; else the l-variant on path below dir, never following a final link */
	ssize_t (*listxattr)(const struct os *os, int dir, const char *path, char *p, size_t len);
	ssize_t (*getxattr)(const struct os *os, int dir, const char *path, const char *name,
		void *p, size_t len);
	int (*setxattr)(const struct os *os, int dir, const char *path, const char *name,
		const void *p, size_t len);
	int (*removexattr)(const struct os *os, int dir, const char *path, const char *name);

	int (*random)(const struct os *os, void *p, size_t len); /* all of it, or -errno */
	struct instant (*wall)(const struct os *os);             /* UTC */
	uint64_t (*monotonic_ns)(const struct os *os);
	uint64_t (*boottime_ns)(const struct os *os);       /* counts suspend */
	void (*sleep_ns)(const struct os *os, uint64_t ns); /* may return early on a signal */

	int (*pid)(const struct os *os);
	int (*kill)(const struct os *os, int pid, int sig);
	struct os_ids (*ids)(const struct os *os); /* effective */
	int (*hostname)(const struct os *os, char *p, size_t len);
	/* name of a uid/gid; 0 and an empty string when there is none.  NUL-terminated. */
	int (*user_name)(const struct os *os, uint32_t uid, char *p, size_t len);
	int (*group_name)(const struct os *os, uint32_t gid, char *p, size_t len);
	/* the other way round: 0 and *out; -ENOENT when there is no such name; else it could not be asked for */
	int (*user_number)(const struct os *os, const char *name, uint32_t *out);
	int (*group_number)(const struct os *os, const char *name, uint32_t *out);
	unsigned (*cpus)(const struct os *os); /* usable now, >= 1 */
	/* the working directory's name, NUL-terminated; a name only, it may be gone or moved */
	int (*cwd)(const struct os *os, char *p, size_t len);

	/*
	 * Start argv[0] (searched in PATH) with a pipe from its stdout; stdin is
	 * /dev/null, stderr inherited.  `env` NULL means a clean minimal environment.
	 * Returns the read end and sets *pid.
	 */
	int (*spawn)(const struct os *os, char *const argv[], char *const env[], int *pid);
	/* Wait for it: 0 … 255 exit status, 256 + signal when killed by one. */
	int (*wait)(const struct os *os, int pid);
};

const struct os *os_posix(void);

/* Step through what getdents gave; false at the end or on a malformed record. */
bool os_dirent_next(const void *p, size_t len, size_t *at, struct os_dirent *out);

#endif
