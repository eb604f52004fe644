/*
 * The kernel does the guarding: openat2 with BENEATH, NO_SYMLINKS, NO_XDEV.
 * Where it is missing (Linux < 5.6) every component is opened by itself with
 * O_NOFOLLOW and its device compared.  Names are checked before either, so
 * ".." never reaches the kernel, and paths longer than PATH_MAX are walked in
 * segments.
 *
 * The root is stripped of what would leak into new files: a set-group-ID bit,
 * a foreign group (BSD groups), inherited ACLs.  So a fresh file below it is
 * ours and plain, and fs/meta may skip what it knows.
 */
#include "fs/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "os/io.h"

/* bytes; one openat2 walks at most this much, well below PATH_MAX of 4096 */
#define SEGMENT_MAX_BYTES 1024
/* openat2 answers EAGAIN when something was renamed while it walked */
#define RACE_TRIES        64

/*
 * Below a root of ours the last segment's directory stays open: of a chain of 10,000 directories each would else be walked
 * to from the top again, 50 million steps a pass.  Nobody but us makes or moves directories there; what we make anew is
 * forgotten in place_dir().
 */
struct waypoint {
	pthread_mutex_t lock; /* over all of it */
	int fd;               /* -1: none */
	struct buf rel;
};
struct place {
	const struct os *os;
	int root;
	uint64_t dev; /* of the root */
	bool ours;
	struct waypoint way;
};

static enum ecode
place_refusal(struct err *e, int rc, const char *call, const char *path)
{
	switch (-rc) {
	case EEXIST:
		return err_set(e, E_PLACE_EXISTS, EEXIST, "%s", path);
	case ELOOP:   /* a link where we made a directory: told as the one or the other */
	case ENOTDIR: /* depending on the flags of the open */
	case EXDEV:   /* a mount, or a way out */
		return err_set(e, E_PATH_UNSAFE, -rc, "%s %s", call, path);
	default:
		return io_refusal(e, E_PLACE_IO, rc, call, path);
	}
}

static enum ecode
check_name(const char *name, size_t len, struct err *e)
{
	if (!name_is_safe(name, len))
		return err_set(e, E_PATH_UNSAFE, 0, "\"%.*s\"", len < 300 ? (int)len : 300, name);
	return E_OK;
}

/* Every component of a relative path. */
static enum ecode
check_rel(const char *rel, struct err *e)
{
	const char *p = rel;
	enum ecode rc;

	for (;;) {
		size_t len = strcspn(p, "/");

		rc = check_name(p, len, e);
		if (rc != E_OK || p[len] == '\0')
			return rc;
		p += len + 1;
	}
}

/* 0 or -errno; that there is no such attribute, or can be none, is what we want. */
static int
remove_attribute(const struct place *p, const char *name)
{
	int rc = p->os->removexattr(p->os, p->root, NULL, name);

	return rc == -ENODATA || rc == -ENOTSUP || rc == -ENOSYS ? 0 : rc;
}

static enum ecode
strip_root(const struct place *p, const char *dir, struct err *e)
{
	const struct os *os = p->os;
	uint32_t gid = os->ids(os).gid;
	struct os_meta m;
	int rc = os->stat(os, p->root, "", AT_EMPTY_PATH, &m);

	if (rc >= 0)
		rc = remove_attribute(p, "system.posix_acl_default");
	if (rc >= 0)
		rc = remove_attribute(p, "system.posix_acl_access");
	if (rc >= 0 && m.gid != gid)
		rc = os->chown(os, p->root, NULL, m.uid, gid, 0);
	if (rc >= 0 && (m.mode & S_ISGID) != 0)
		rc = os->chmod(os, p->root, NULL, 0700);
	return rc < 0 ? place_refusal(e, rc, "prepare", dir) : E_OK;
}

static enum ecode
open_root(struct place *p, int at, const char *dir, struct err *e)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct os_meta m;
	int rc;

	do {
		p->root = p->os->open(p->os, at, dir, flags, 0);
	} while (p->root == -EINTR);
	if (p->root < 0)
		return io_refusal(e, E_PLACE_IO, p->root, "open", dir);
	rc = p->os->stat(p->os, p->root, "", AT_EMPTY_PATH, &m);
	if (rc < 0)
		return place_refusal(e, rc, "stat", dir);
	p->dev = m.dev;
	return E_OK;
}

static enum ecode
open_place(
	const struct os *os, int at, const char *dir, bool ours, struct place **out, struct err *e)
{
	struct place *p = calloc(1, sizeof(*p));
	enum ecode rc;

	if (p == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "destination %s", dir);
	*p = (struct place){ .os = os,
		.root = -1,
		.ours = ours,
		.way = { .lock = PTHREAD_MUTEX_INITIALIZER,
			.fd = -1,
			.rel = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2) } };
	rc = open_root(p, at, dir, e);
	if (rc == E_OK && ours)
		rc = strip_root(p, dir, e);
	if (rc != E_OK)
		place_close(&p);
	else
		*out = p;
	return rc;
}

enum ecode
place_open(const struct os *os, const char *dir, struct place **out, struct err *e)
{
	return open_place(os, AT_FDCWD, dir, true, out, e);
}

enum ecode
place_look(const struct os *os, const char *dir, struct place **out, struct err *e)
{
	return open_place(os, AT_FDCWD, dir, false, out, e);
}

enum ecode
place_open_at(const struct os *os, int at, const char *dir, struct place **out, struct err *e)
{
	return open_place(os, at, dir, true, out, e);
}

enum ecode
place_look_at(const struct os *os, int at, const char *dir, struct place **out, struct err *e)
{
	return open_place(os, at, dir, false, out, e);
}

void
place_close(struct place **p)
{
	if (*p == NULL)
		return;
	if ((*p)->root >= 0)
		io_close((*p)->os, &(*p)->root);
	io_close((*p)->os, &(*p)->way.fd);
	buf_done(&(*p)->way.rel);
	free(*p);
	*p = NULL;
}

/* One component below `dir`, following nothing.  With O_PATH a link itself would open: that is told as ELOOP. */
static int
open_component(const struct place *p, int dir, const char *name, int flags)
{
	struct os_meta m;
	int fd = p->os->open(p->os, dir, name, flags | O_NOFOLLOW | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	int rc = p->os->stat(p->os, fd, "", AT_EMPTY_PATH, &m);

	if (rc >= 0 && m.dev != p->dev)
		rc = -EXDEV;
	if (rc >= 0 && S_ISLNK(m.mode))
		rc = -ELOOP;
	if (rc < 0)
		io_close(p->os, &fd);
	return rc < 0 ? rc : fd;
}

/* For kernels without openat2.  `path` is checked, shorter than a segment, and may be overwritten. */
static int
open_by_steps(const struct place *p, int dir, char *path, int flags)
{
	int fd = dir;

	for (;;) {
		char *slash = strchr(path, '/');
		int next;

		if (slash != NULL)
			*slash = '\0';
		next = open_component(p, fd, path, slash != NULL ? O_PATH | O_DIRECTORY : flags);
		if (fd != dir)
			io_close(p->os, &fd);
		if (next < 0 || slash == NULL)
			return next;
		fd = next;
		path = slash + 1;
	}
}

/* Descriptor or -errno.  `len` <= SEGMENT_MAX_BYTES */
static int
open_segment(const struct place *p, int dir, const char *rel, size_t len, int flags)
{
	char path[SEGMENT_MAX_BYTES + 1];
	int rc = -EAGAIN;

	memcpy(path, rel, len);
	path[len] = '\0';
	for (unsigned n = 0; n < RACE_TRIES && (rc == -EAGAIN || rc == -EINTR); n++)
		rc = p->os->open_beneath(p->os, dir, path, flags | O_NOFOLLOW | O_CLOEXEC, 0, true);
	if (rc == -ENOSYS)
		rc = open_by_steps(p, dir, path, flags);
	return rc;
}

/* How many of `len` bytes the next step may take: whole components only. */
static size_t
segment_length(const char *rel, size_t len)
{
	size_t n = SEGMENT_MAX_BYTES;

	if (len <= n)
		return len;
	while (rel[n] != '/') /* a component has at most 255 bytes, so this ends above 0 */
		n--;
	return n;
}

/* Where the last segment of a path begins; segments are the same for all paths below it. */
static size_t
last_segment(const char *rel, size_t len)
{
	size_t at = 0, n = segment_length(rel, len);

	while (at + n < len) {
		at += n + 1;
		n = segment_length(rel + at, len - at);
	}
	return at;
}

/* Descriptor or -errno; the caller closes *fd unless it is `from`. */
static int
open_segments(const struct place *p, int from, const char *rel, size_t len, int flags)
{
	int dir = from;

	for (;;) {
		size_t n = segment_length(rel, len);
		int fd = open_segment(p, dir, rel, n, n < len ? O_PATH | O_DIRECTORY : flags);

		if (dir != from)
			io_close(p->os, &dir);
		if (fd < 0 || n == len)
			return fd;
		dir = fd;
		rel += n + 1;
		len -= n + 1;
	}
}

/* The waypoint becomes the directory of the first `len` bytes.  0 or -errno */
static int
move_waypoint(struct place *p, const char *rel, size_t len)
{
	struct waypoint *w = &p->way;
	struct err ignored;
	int fd;

	if (w->fd >= 0 && w->rel.len == len && memcmp(w->rel.p, rel, len) == 0)
		return 0;
	io_close(p->os, &w->fd);
	fd = open_segments(p, p->root, rel, len, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd;
	buf_clear(&w->rel);
	if (buf_add(&w->rel, rel, len, &ignored) != E_OK) {
		io_close(p->os, &fd);
		return -ENOMEM;
	}
	w->fd = fd;
	return 0;
}

/* Descriptor or -errno for the first `len` bytes of a checked path. */
static int
open_rel(struct place *p, const char *rel, size_t len, int flags)
{
	size_t at = last_segment(rel, len);
	int rc;

	if (!p->ours || at == 0)
		return open_segments(p, p->root, rel, len, flags);
	(void)pthread_mutex_lock(&p->way.lock);
	rc = move_waypoint(p, rel, at - 1);
	if (rc == 0)
		rc = open_segment(p, p->way.fd, rel + at, len - at, flags);
	(void)pthread_mutex_unlock(&p->way.lock);
	return rc;
}

/* What was made just now is not what a waypoint at it or below it led to. */
static void
forget_waypoint(struct place *p, const char *rel)
{
	size_t len = strlen(rel);
	struct waypoint *w = &p->way;

	(void)pthread_mutex_lock(&w->lock);
	if (w->fd >= 0 && w->rel.len >= len && memcmp(w->rel.p, rel, len) == 0)
		io_close(p->os, &w->fd);
	(void)pthread_mutex_unlock(&w->lock);
}

struct parent {
	struct place *p;
	int fd;
	const char *name;
};

static void
parent_done(struct parent *d)
{
	if (d->fd >= 0 && d->fd != d->p->root)
		io_close(d->p->os, &d->fd);
}

/* The directory that holds rel's last component. */
static enum ecode
parent_open(struct place *p, const char *rel, struct parent *out, struct err *e)
{
	const char *slash = strrchr(rel, '/');
	enum ecode rc = check_rel(rel, e);

	if (rc != E_OK)
		return rc;
	if (slash == NULL) {
		*out = (struct parent){ .p = p, .fd = p->root, .name = rel };
		return E_OK;
	}
	int fd = open_rel(p, rel, (size_t)(slash - rel), O_PATH | O_DIRECTORY);

	if (fd < 0)
		return place_refusal(e, fd, "open parent of", rel);
	*out = (struct parent){ .p = p, .fd = fd, .name = slash + 1 };
	return E_OK;
}

enum ecode
place_dir(struct place *p, const char *rel, struct err *e)
{
	autoclean(parent_done) struct parent d = { .p = p, .fd = -1 };
	enum ecode rc = parent_open(p, rel, &d, e);
	int got;

	if (rc != E_OK)
		return rc;
	do {
		got = p->os->mkdir(p->os, d.fd, d.name, 0700);
	} while (got == -EINTR);
	if (got < 0)
		return place_refusal(e, got, "mkdir", rel);
	forget_waypoint(p, rel);
	return E_OK;
}

enum ecode
place_open_dir(struct place *p, const char *rel, int *fd, struct err *e)
{
	int flags = O_RDONLY | O_DIRECTORY;
	enum ecode rc = rel[0] == '\0' ? E_OK : check_rel(rel, e);
	int got;

	if (rc != E_OK)
		return rc;
	got = rel[0] == '\0' ? open_segment(p, p->root, ".", 1, flags)
			     : open_rel(p, rel, strlen(rel), flags);
	if (got < 0)
		return place_refusal(e, got, "open", rel);
	*fd = got;
	return E_OK;
}

enum ecode
place_open_below(struct place *p, int dir_fd, const char *name, int *fd, struct err *e)
{
	enum ecode rc = check_name(name, strlen(name), e);
	int got;

	invariant(dir_fd >= 0);
	if (rc != E_OK)
		return rc;
	got = open_segment(p, dir_fd, name, strlen(name), O_RDONLY | O_DIRECTORY);
	if (got < 0)
		return place_refusal(e, got, "open", name);
	*fd = got;
	return E_OK;
}

enum ecode
place_file(struct place *p, int dir_fd, const char *name, int *fd, struct err *e)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	enum ecode rc = check_name(name, strlen(name), e);
	int got;

	invariant(dir_fd >= 0); /* AT_FDCWD would leave the root */
	if (rc != E_OK)
		return rc;
	do {
		got = p->os->open(p->os, dir_fd, name, flags, 0600);
	} while (got == -EINTR);
	if (got < 0)
		return place_refusal(e, got, "create", name);
	*fd = got;
	return E_OK;
}

enum ecode
place_symlink(struct place *p, int dir_fd, const char *name, const char *target, struct err *e)
{
	enum ecode rc = check_name(name, strlen(name), e);
	int got;

	invariant(dir_fd >= 0);
	if (rc != E_OK)
		return rc;
	do {
		got = p->os->symlink(p->os, target, dir_fd, name);
	} while (got == -EINTR);
	return got < 0 ? place_refusal(e, got, "symlink", name) : E_OK;
}

enum ecode
place_special(struct place *p, int dir_fd, const char *name, uint32_t st_mode, uint64_t rdev,
	struct err *e)
{
	enum ecode rc = check_name(name, strlen(name), e);
	mode_t type = st_mode & S_IFMT;
	int got;

	invariant(dir_fd >= 0);
	if (rc != E_OK)
		return rc;
	if (type != S_IFIFO && type != S_IFCHR && type != S_IFBLK)
		return err_set(e, E_PLACE_IO, EINVAL, "mknod %s: type %o", name, type);
	do {
		got = p->os->mknod(p->os, dir_fd, name, type | 0600, type == S_IFIFO ? 0 : rdev);
	} while (got == -EINTR);
	return got < 0 ? place_refusal(e, got, "mknod", name) : E_OK;
}

/* Without AT_SYMLINK_FOLLOW a link to a link is a link to that link, not to where it points. */
enum ecode
place_link(struct place *p, const char *existing_rel, int dir_fd, const char *name, struct err *e)
{
	autoclean(parent_done) struct parent d = { .p = p, .fd = -1 };
	enum ecode rc = check_name(name, strlen(name), e);
	int got;

	invariant(dir_fd >= 0);
	if (rc == E_OK)
		rc = parent_open(p, existing_rel, &d, e);
	if (rc != E_OK)
		return rc;
	do {
		got = p->os->link(p->os, d.fd, d.name, dir_fd, name, 0);
	} while (got == -EINTR);
	return got < 0 ? place_refusal(e, got, "link", name) : E_OK;
}

enum ecode
place_reopen(struct place *p, const char *rel, int flags, int *fd, struct err *e)
{
	enum ecode rc = check_rel(rel, e);
	int got;

	invariant((flags & (O_CREAT | O_TRUNC)) == 0); /* creating is place_file's */
	if (rc != E_OK)
		return rc;
	got = open_rel(p, rel, strlen(rel), flags | O_NONBLOCK | O_NOCTTY);
	if (got < 0)
		return place_refusal(e, got, "open", rel);
	*fd = got;
	return E_OK;
}
