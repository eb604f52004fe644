#include "support/fault_os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define START_S  1767323045 /* 2026-01-02 03:04:05 UTC */

/* What a wrapper does with the call at hand. */
#define GO_ON 1

const uint64_t SLOTS_MUTATING =
	SLOT_BIT(SLOT_OPEN_CREATE) | SLOT_BIT(SLOT_WRITE) | SLOT_BIT(SLOT_PWRITE) |
	SLOT_BIT(SLOT_FSYNC) | SLOT_BIT(SLOT_SYNCFS) | SLOT_BIT(SLOT_FALLOCATE) |
	SLOT_BIT(SLOT_FTRUNCATE) | SLOT_BIT(SLOT_CLONE) | SLOT_BIT(SLOT_COPY_RANGE) |
	SLOT_BIT(SLOT_MKDIR) | SLOT_BIT(SLOT_RENAME) | SLOT_BIT(SLOT_LINK) |
	SLOT_BIT(SLOT_SYMLINK) | SLOT_BIT(SLOT_MKNOD) | SLOT_BIT(SLOT_UNLINK) |
	SLOT_BIT(SLOT_CHOWN) | SLOT_BIT(SLOT_CHMOD) | SLOT_BIT(SLOT_UTIMENS) |
	SLOT_BIT(SLOT_SETXATTR) | SLOT_BIT(SLOT_REMOVEXATTR);

/* slots that have no way to refuse */
#define SLOTS_INFALLIBLE                                                            \
	(SLOT_BIT(SLOT_WALL) | SLOT_BIT(SLOT_MONOTONIC) | SLOT_BIT(SLOT_BOOTTIME) | \
		SLOT_BIT(SLOT_SLEEP) | SLOT_BIT(SLOT_PID) | SLOT_BIT(SLOT_IDS) |    \
		SLOT_BIT(SLOT_CPUS))
/* slots the kernel may interrupt before anything happened */
#define SLOTS_INTERRUPTED                                                                    \
	(SLOT_BIT(SLOT_OPEN) | SLOT_BIT(SLOT_OPEN_CREATE) | SLOT_BIT(SLOT_READ) |            \
		SLOT_BIT(SLOT_PREAD) | SLOT_BIT(SLOT_WRITE) | SLOT_BIT(SLOT_PWRITE) |        \
		SLOT_BIT(SLOT_FSYNC) | SLOT_BIT(SLOT_FALLOCATE) | SLOT_BIT(SLOT_FTRUNCATE) | \
		SLOT_BIT(SLOT_COPY_RANGE) | SLOT_BIT(SLOT_WAIT) | SLOT_BIT(SLOT_CLOSE) |     \
		SLOT_BIT(SLOT_FLOCK))
/* slots that take space or descriptors */
#define SLOTS_SPACE                                                                           \
	(SLOT_BIT(SLOT_OPEN_CREATE) | SLOT_BIT(SLOT_WRITE) | SLOT_BIT(SLOT_PWRITE) |          \
		SLOT_BIT(SLOT_FSYNC) | SLOT_BIT(SLOT_CLOSE) | SLOT_BIT(SLOT_FALLOCATE) |      \
		SLOT_BIT(SLOT_FTRUNCATE) | SLOT_BIT(SLOT_CLONE) | SLOT_BIT(SLOT_COPY_RANGE) | \
		SLOT_BIT(SLOT_MKDIR) | SLOT_BIT(SLOT_RENAME) | SLOT_BIT(SLOT_LINK) |          \
		SLOT_BIT(SLOT_SYMLINK) | SLOT_BIT(SLOT_MKNOD) | SLOT_BIT(SLOT_SETXATTR))
#define SLOTS_DESCRIPTOR (SLOT_BIT(SLOT_OPEN) | SLOT_BIT(SLOT_OPEN_CREATE) | SLOT_BIT(SLOT_SPAWN))
#define SLOTS_PERMISSION                                                                           \
	(SLOTS_DESCRIPTOR | SLOT_BIT(SLOT_STAT) | SLOT_BIT(SLOT_READLINK) | SLOT_BIT(SLOT_MKDIR) | \
		SLOT_BIT(SLOT_RENAME) | SLOT_BIT(SLOT_LINK) | SLOT_BIT(SLOT_SYMLINK) |             \
		SLOT_BIT(SLOT_MKNOD) | SLOT_BIT(SLOT_UNLINK) | SLOT_BIT(SLOT_CHOWN) |              \
		SLOT_BIT(SLOT_CHMOD) | SLOT_BIT(SLOT_UTIMENS) | SLOT_BIT(SLOT_LISTXATTR) |         \
		SLOT_BIT(SLOT_GETXATTR) | SLOT_BIT(SLOT_SETXATTR) | SLOT_BIT(SLOT_REMOVEXATTR) |   \
		SLOT_BIT(SLOT_KILL))
#define SLOTS_SHORT \
	(SLOT_BIT(SLOT_READ) | SLOT_BIT(SLOT_PREAD) | SLOT_BIT(SLOT_WRITE) | SLOT_BIT(SLOT_PWRITE))

static const char *const slot_names[SLOT_COUNT] = {
	[SLOT_OPEN] = "open",
	[SLOT_OPEN_CREATE] = "open-create",
	[SLOT_CLOSE] = "close",
	[SLOT_READ] = "read",
	[SLOT_PREAD] = "pread",
	[SLOT_WRITE] = "write",
	[SLOT_PWRITE] = "pwrite",
	[SLOT_FSYNC] = "fsync",
	[SLOT_SYNCFS] = "syncfs",
	[SLOT_FALLOCATE] = "fallocate",
	[SLOT_FTRUNCATE] = "ftruncate",
	[SLOT_CLONE] = "clone",
	[SLOT_COPY_RANGE] = "copy_range",
	[SLOT_FADVISE] = "fadvise",
	[SLOT_LSEEK] = "lseek",
	[SLOT_FLOCK] = "flock",
	[SLOT_STAT] = "stat",
	[SLOT_GETDENTS] = "getdents",
	[SLOT_READLINK] = "readlink",
	[SLOT_STATVFS] = "statvfs",
	[SLOT_MKDIR] = "mkdir",
	[SLOT_RENAME] = "rename",
	[SLOT_LINK] = "link",
	[SLOT_SYMLINK] = "symlink",
	[SLOT_MKNOD] = "mknod",
	[SLOT_UNLINK] = "unlink",
	[SLOT_CHOWN] = "chown",
	[SLOT_CHMOD] = "chmod",
	[SLOT_UTIMENS] = "utimens",
	[SLOT_LISTXATTR] = "listxattr",
	[SLOT_GETXATTR] = "getxattr",
	[SLOT_SETXATTR] = "setxattr",
	[SLOT_REMOVEXATTR] = "removexattr",
	[SLOT_RANDOM] = "random",
	[SLOT_WALL] = "wall",
	[SLOT_MONOTONIC] = "monotonic",
	[SLOT_BOOTTIME] = "boottime",
	[SLOT_SLEEP] = "sleep",
	[SLOT_PID] = "pid",
	[SLOT_KILL] = "kill",
	[SLOT_IDS] = "ids",
	[SLOT_HOSTNAME] = "hostname",
	[SLOT_USER_NAME] = "user_name",
	[SLOT_GROUP_NAME] = "group_name",
	[SLOT_USER_NUMBER] = "user_number",
	[SLOT_GROUP_NUMBER] = "group_number",
	[SLOT_CPUS] = "cpus",
	[SLOT_CWD] = "cwd",
	[SLOT_SPAWN] = "spawn",
	[SLOT_WAIT] = "wait",
};

const char *
fault_slot_name(enum fault_slot slot)
{
	return slot_names[slot];
}

bool
fault_eligible(enum fault_slot slot, int error)
{
	uint64_t bit = SLOT_BIT(slot);

	if ((bit & SLOTS_INFALLIBLE) != 0)
		return false;
	if (error == EINTR)
		return (bit & SLOTS_INTERRUPTED) != 0;
	if (error == ENOSPC || error == EDQUOT)
		return (bit & SLOTS_SPACE) != 0;
	if (error == EROFS)
		return (bit & SLOTS_MUTATING) != 0 && slot != SLOT_WRITE && slot != SLOT_PWRITE &&
		       slot != SLOT_FSYNC;
	if (error == EMFILE || error == ENFILE)
		return (bit & SLOTS_DESCRIPTOR) != 0;
	if (error == EACCES || error == EPERM)
		return (bit & SLOTS_PERMISSION) != 0;
	return slot != SLOT_CLOSE || error == EIO;
}

static bool
plan_covers(const struct fault_plan *plan, enum fault_slot slot)
{
	if (plan->nth == 0 || (plan->slots != 0 && (plan->slots & SLOT_BIT(slot)) == 0))
		return false;
	if (plan->mode != FAULT_REFUSE)
		return (SLOTS_SHORT & SLOT_BIT(slot)) != 0;
	return fault_eligible(slot, plan->error);
}

static struct fault_os *
fault_of(const struct os *os)
{
	return ((const struct fault_os *)os)->self;
}

/* Count the call and decide: GO_ON, or -errno, or 0 for a short transfer. */
static int
enter(struct fault_os *f, enum fault_slot slot, const char *what)
{
	bool fire;
	int verdict = GO_ON;

	(void)pthread_mutex_lock(&f->lock);
	f->calls++;
	f->slot_calls[slot]++;
	if (plan_covers(&f->plan, slot)) {
		f->eligible++;
		fire = f->plan.forever ? f->eligible >= f->plan.nth : f->eligible == f->plan.nth;
		if (fire) {
			f->fired++;
			f->fired_slot = slot;
			verdict = f->plan.mode == FAULT_REFUSE ? -f->plan.error : 0;
		}
	}
	(void)snprintf(f->log[f->calls % FAULT_LOG_CALLS], FAULT_LOG_TEXT, "%lu %s %.60s%s",
		f->calls, slot_names[slot], what == NULL ? "" : what,
		verdict == GO_ON ? "" : "  <- fault");
	(void)pthread_mutex_unlock(&f->lock);
	return verdict;
}

static int
balance(struct fault_os *f, long *count, long change, int rc)
{
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&f->lock);
	*count += change;
	(void)pthread_mutex_unlock(&f->lock);
	return rc;
}

/* What a short transfer is cut to. */
static size_t
cut(const struct fault_os *f, int verdict, size_t len)
{
	if (verdict == GO_ON || len == 0)
		return len;
	return f->plan.mode == FAULT_SHORT_ONE || len == 1 ? 1 : len / 2;
}

static enum fault_slot
open_slot(int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;

	return writes ? SLOT_OPEN_CREATE : SLOT_OPEN;
}

static int
ft_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, open_slot(flags), path);

	return rc < 0 ? rc
		      : balance(f, &f->open_fds, 1,
				f->under->open(f->under, dir, path, flags, mode));
}

static int
ft_open_beneath(
	const struct os *os, int dir, const char *path, int flags, mode_t mode, bool same_dev)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, open_slot(flags), path);

	return rc < 0 ? rc
		      : balance(f, &f->open_fds, 1,
				f->under->open_beneath(f->under, dir, path, flags, mode, same_dev));
}

/* A refused close has closed: that is what Linux does. */
static int
ft_close(const struct os *os, int fd)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_CLOSE, NULL);
	int real = f->under->close(f->under, fd);

	if (real != -EBADF)
		(void)balance(f, &f->open_fds, -1, 0);
	return rc < 0 ? rc : real;
}

static ssize_t
ft_read(const struct os *os, int fd, void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_READ, NULL);

	return rc < 0 ? rc : f->under->read(f->under, fd, p, cut(f, rc, len));
}

static ssize_t
ft_pread(const struct os *os, int fd, void *p, size_t len, uint64_t off)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_PREAD, NULL);

	return rc < 0 ? rc : f->under->pread(f->under, fd, p, cut(f, rc, len), off);
}

static ssize_t
ft_write(const struct os *os, int fd, const void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_WRITE, NULL);

	return rc < 0 ? rc : f->under->write(f->under, fd, p, cut(f, rc, len));
}

static ssize_t
ft_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_PWRITE, NULL);

	return rc < 0 ? rc : f->under->pwrite(f->under, fd, p, cut(f, rc, len), off);
}

/* 0 or -EBADF, as a sync would say, without the wait */
static int
looks_open(struct fault_os *f, int fd)
{
	struct os_meta meta;

	return f->under->stat(f->under, fd, NULL, 0, &meta);
}

static int
ft_fsync(const struct os *os, int fd)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_FSYNC, NULL);

	if (rc < 0)
		return rc;
	return f->real_sync ? f->under->fsync(f->under, fd) : looks_open(f, fd);
}

static int
ft_syncfs(const struct os *os, int fd)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_SYNCFS, NULL);

	if (rc < 0)
		return rc;
	return f->real_sync ? f->under->syncfs(f->under, fd) : looks_open(f, fd);
}

static int
ft_fallocate(const struct os *os, int fd, uint64_t off, uint64_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_FALLOCATE, NULL);

	return rc < 0 ? rc : f->under->fallocate(f->under, fd, off, len);
}

static int
ft_ftruncate(const struct os *os, int fd, uint64_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_FTRUNCATE, NULL);

	return rc < 0 ? rc : f->under->ftruncate(f->under, fd, len);
}

static int
ft_clone(const struct os *os, int to, int from)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_CLONE, NULL);

	return rc < 0 ? rc : f->under->clone(f->under, to, from);
}

static ssize_t
ft_copy_range(const struct os *os, int to, int from, uint64_t off, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_COPY_RANGE, NULL);

	return rc < 0 ? rc : f->under->copy_range(f->under, to, from, off, len);
}

static int
ft_fadvise(const struct os *os, int fd, uint64_t off, uint64_t len, int advice)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_FADVISE, NULL);

	return rc < 0 ? rc : f->under->fadvise(f->under, fd, off, len, advice);
}

static off_t
ft_lseek(const struct os *os, int fd, int64_t off, int whence)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_LSEEK, NULL);

	return rc < 0 ? rc : f->under->lseek(f->under, fd, off, whence);
}

static int
ft_flock(const struct os *os, int fd, int operation)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_FLOCK, NULL);

	return rc < 0 ? rc : f->under->flock(f->under, fd, operation);
}

static int
ft_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_STAT, path);

	return rc < 0 ? rc : f->under->stat(f->under, dir, path, at_flags, out);
}

static ssize_t
ft_getdents(const struct os *os, int fd, void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_GETDENTS, NULL);

	return rc < 0 ? rc : f->under->getdents(f->under, fd, p, len);
}

static ssize_t
ft_readlink(const struct os *os, int dir, const char *path, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_READLINK, path);

	return rc < 0 ? rc : f->under->readlink(f->under, dir, path, p, len);
}

static int
ft_statvfs(const struct os *os, int fd, struct statvfs *out)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_STATVFS, NULL);

	return rc < 0 ? rc : f->under->statvfs(f->under, fd, out);
}

static int
ft_mkdir(const struct os *os, int dir, const char *path, mode_t mode)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_MKDIR, path);

	return rc < 0 ? rc : f->under->mkdir(f->under, dir, path, mode);
}

static int
ft_rename(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_RENAME, to);

	return rc < 0 ? rc : f->under->rename(f->under, from_dir, from, to_dir, to, flags);
}

static int
ft_link(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	int at_flags)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_LINK, to);

	return rc < 0 ? rc : f->under->link(f->under, from_dir, from, to_dir, to, at_flags);
}

static int
ft_symlink(const struct os *os, const char *target, int dir, const char *path)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_SYMLINK, path);

	return rc < 0 ? rc : f->under->symlink(f->under, target, dir, path);
}

static int
ft_mknod(const struct os *os, int dir, const char *path, mode_t mode, uint64_t rdev)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_MKNOD, path);

	return rc < 0 ? rc : f->under->mknod(f->under, dir, path, mode, rdev);
}

static int
ft_unlink(const struct os *os, int dir, const char *path, int at_flags)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_UNLINK, path);

	return rc < 0 ? rc : f->under->unlink(f->under, dir, path, at_flags);
}

static int
ft_chown(const struct os *os, int dir, const char *path, uint32_t uid, uint32_t gid, int at_flags)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_CHOWN, path);

	return rc < 0 ? rc : f->under->chown(f->under, dir, path, uid, gid, at_flags);
}

static int
ft_chmod(const struct os *os, int dir, const char *path, mode_t mode)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_CHMOD, path);

	return rc < 0 ? rc : f->under->chmod(f->under, dir, path, mode);
}

static int
ft_utimens(const struct os *os, int dir, const char *path, struct instant atime,
	struct instant mtime, int at_flags)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_UTIMENS, path);

	return rc < 0 ? rc : f->under->utimens(f->under, dir, path, atime, mtime, at_flags);
}

static ssize_t
ft_listxattr(const struct os *os, int dir, const char *path, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_LISTXATTR, path);

	return rc < 0 ? rc : f->under->listxattr(f->under, dir, path, p, len);
}

static ssize_t
ft_getxattr(const struct os *os, int dir, const char *path, const char *name, void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_GETXATTR, path);

	return rc < 0 ? rc : f->under->getxattr(f->under, dir, path, name, p, len);
}

static int
ft_setxattr(
	const struct os *os, int dir, const char *path, const char *name, const void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_SETXATTR, path);

	return rc < 0 ? rc : f->under->setxattr(f->under, dir, path, name, p, len);
}

static int
ft_removexattr(const struct os *os, int dir, const char *path, const char *name)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_REMOVEXATTR, path);

	return rc < 0 ? rc : f->under->removexattr(f->under, dir, path, name);
}

static uint64_t
splitmix(uint64_t *state)
{
	uint64_t z;

	*state += UINT64_C(0x9e3779b97f4a7c15);
	z = *state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int
ft_random(const struct os *os, void *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_RANDOM, NULL);
	uint8_t *to = p;

	if (rc < 0)
		return rc;
	if (f->real_random)
		return f->under->random(f->under, p, len);
	(void)pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)splitmix(&f->random);
	(void)pthread_mutex_unlock(&f->lock);
	return 0;
}

static void
advance(struct fault_os *f, uint64_t ns)
{
	uint64_t sum = (uint64_t)f->wall.ns + ns % NS_PER_S;

	f->mono_ns += ns;
	f->boot_ns += ns;
	f->wall.s += (int64_t)(ns / NS_PER_S + sum / NS_PER_S);
	f->wall.ns = (int32_t)(sum % NS_PER_S);
}

static struct instant
ft_wall(const struct os *os)
{
	struct fault_os *f = fault_of(os);
	struct instant now;

	(void)enter(f, SLOT_WALL, NULL);
	if (f->real_clock)
		return f->under->wall(f->under);
	(void)pthread_mutex_lock(&f->lock);
	advance(f, f->tick_ns);
	now = f->wall;
	(void)pthread_mutex_unlock(&f->lock);
	return now;
}

/* One of the two counting clocks. */
static uint64_t
look(struct fault_os *f, const uint64_t *clock)
{
	uint64_t now;

	(void)pthread_mutex_lock(&f->lock);
	advance(f, f->tick_ns);
	now = *clock;
	(void)pthread_mutex_unlock(&f->lock);
	return now;
}

static uint64_t
ft_monotonic_ns(const struct os *os)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_MONOTONIC, NULL);
	return f->real_clock ? f->under->monotonic_ns(f->under) : look(f, &f->mono_ns);
}

static uint64_t
ft_boottime_ns(const struct os *os)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_BOOTTIME, NULL);
	return f->real_clock ? f->under->boottime_ns(f->under) : look(f, &f->boot_ns);
}

static void
ft_sleep_ns(const struct os *os, uint64_t ns)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_SLEEP, NULL);
	if (f->real_clock) {
		f->under->sleep_ns(f->under, ns);
		return;
	}
	(void)pthread_mutex_lock(&f->lock);
	advance(f, ns);
	(void)pthread_mutex_unlock(&f->lock);
}

static int
ft_pid(const struct os *os)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_PID, NULL);
	return f->under->pid(f->under);
}

static struct os_ids
ft_ids(const struct os *os)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_IDS, NULL);
	return f->under->ids(f->under);
}

static unsigned
ft_cpus(const struct os *os)
{
	struct fault_os *f = fault_of(os);

	(void)enter(f, SLOT_CPUS, NULL);
	return f->under->cpus(f->under);
}

static int
ft_kill(const struct os *os, int pid, int sig)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_KILL, NULL);

	return rc < 0 ? rc : f->under->kill(f->under, pid, sig);
}

static int
ft_hostname(const struct os *os, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_HOSTNAME, NULL);

	return rc < 0 ? rc : f->under->hostname(f->under, p, len);
}

static int
ft_user_name(const struct os *os, uint32_t uid, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_USER_NAME, NULL);

	return rc < 0 ? rc : f->under->user_name(f->under, uid, p, len);
}

static int
ft_group_name(const struct os *os, uint32_t gid, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_GROUP_NAME, NULL);

	return rc < 0 ? rc : f->under->group_name(f->under, gid, p, len);
}

static int
ft_user_number(const struct os *os, const char *name, uint32_t *out)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_USER_NUMBER, name);

	return rc < 0 ? rc : f->under->user_number(f->under, name, out);
}

static int
ft_group_number(const struct os *os, const char *name, uint32_t *out)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_GROUP_NUMBER, name);

	return rc < 0 ? rc : f->under->group_number(f->under, name, out);
}

static int
ft_cwd(const struct os *os, char *p, size_t len)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_CWD, NULL);

	return rc < 0 ? rc : f->under->cwd(f->under, p, len);
}

static int
ft_spawn(const struct os *os, char *const argv[], char *const env[], int *pid)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_SPAWN, argv[0]);

	if (rc < 0)
		return rc;
	rc = f->under->spawn(f->under, argv, env, pid);
	(void)balance(f, &f->children, 1, rc);
	return balance(f, &f->open_fds, 1, rc);
}

static int
ft_wait(const struct os *os, int pid)
{
	struct fault_os *f = fault_of(os);
	int rc = enter(f, SLOT_WAIT, NULL);

	return rc < 0 ? rc : balance(f, &f->children, -1, f->under->wait(f->under, pid));
}

static const struct os fault_table = {
	.open = ft_open,
	.open_beneath = ft_open_beneath,
	.close = ft_close,
	.read = ft_read,
	.pread = ft_pread,
	.write = ft_write,
	.pwrite = ft_pwrite,
	.fsync = ft_fsync,
	.syncfs = ft_syncfs,
	.fallocate = ft_fallocate,
	.ftruncate = ft_ftruncate,
	.clone = ft_clone,
	.copy_range = ft_copy_range,
	.fadvise = ft_fadvise,
	.lseek = ft_lseek,
	.flock = ft_flock,
	.stat = ft_stat,
	.getdents = ft_getdents,
	.readlink = ft_readlink,
	.statvfs = ft_statvfs,
	.mkdir = ft_mkdir,
	.rename = ft_rename,
	.link = ft_link,
	.symlink = ft_symlink,
	.mknod = ft_mknod,
	.unlink = ft_unlink,
	.chown = ft_chown,
	.chmod = ft_chmod,
	.utimens = ft_utimens,
	.listxattr = ft_listxattr,
	.getxattr = ft_getxattr,
	.setxattr = ft_setxattr,
	.removexattr = ft_removexattr,
	.random = ft_random,
	.wall = ft_wall,
	.monotonic_ns = ft_monotonic_ns,
	.boottime_ns = ft_boottime_ns,
	.sleep_ns = ft_sleep_ns,
	.pid = ft_pid,
	.kill = ft_kill,
	.ids = ft_ids,
	.hostname = ft_hostname,
	.user_name = ft_user_name,
	.group_name = ft_group_name,
	.user_number = ft_user_number,
	.group_number = ft_group_number,
	.cpus = ft_cpus,
	.cwd = ft_cwd,
	.spawn = ft_spawn,
	.wait = ft_wait,
};

void
fault_os_init(struct fault_os *f, const struct os *under)
{
	memset(f, 0, sizeof(*f));
	f->os = fault_table;
	f->self = f;
	f->under = under;
	f->wall = (struct instant){ .s = START_S };
	f->mono_ns = 1000 * NS_PER_S;
	f->boot_ns = 2000 * NS_PER_S;
	f->random = 1;
	(void)pthread_mutex_init(&f->lock, NULL);
}

void
fault_os_done(struct fault_os *f)
{
	(void)pthread_mutex_destroy(&f->lock);
}

void
fault_os_plan(struct fault_os *f, struct fault_plan plan)
{
	(void)pthread_mutex_lock(&f->lock);
	f->plan = plan;
	f->calls = 0;
	f->eligible = 0;
	f->fired = 0;
	memset(f->slot_calls, 0, sizeof(f->slot_calls));
	memset(f->log, 0, sizeof(f->log));
	(void)pthread_mutex_unlock(&f->lock);
}

void
fault_os_print_log(struct fault_os *f)
{
	(void)pthread_mutex_lock(&f->lock);
	for (unsigned long i = 1; i <= FAULT_LOG_CALLS; i++) {
		const char *line = f->log[(f->calls + i) % FAULT_LOG_CALLS];

		if (line[0] != '\0')
			(void)fprintf(stderr, "# %s\n", line);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

unsigned long
fault_stride(void)
{
	const char *text = getenv("HOLDFAST_FAULT_STRIDE");
	unsigned long stride = text == NULL ? 1 : strtoul(text, NULL, 10);

	return stride == 0 ? 1 : stride;
}
