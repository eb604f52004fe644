#include "fs/space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/path.h"
#include "os/io.h"

/* Cut the last component off; false when nothing is left to cut. */
static bool
to_parent(struct buf *path)
{
	size_t n = path->len;

	if (n == 1 && (path->p[0] == '/' || path->p[0] == '.'))
		return false;
	while (n > 0 && path->p[n - 1] != '/')
		n--;
	if (n > 1)
		n--; /* the slash itself, unless it is the root */
	if (n == 0)
		path->p[n++] = '.';
	path->len = n;
	path->p[n] = '\0';
	return true;
}

/* O_PATH: asking for space needs no right to read. */
static enum ecode
open_nearest(const struct os *os, struct buf *path, int *fd, struct err *e)
{
	for (;;) {
		int rc = os->open(os, AT_FDCWD, (const char *)path->p, O_PATH | O_CLOEXEC, 0);

		if (rc >= 0) {
			*fd = rc;
			return E_OK;
		}
		if (rc == -EINTR)
			continue;
		if ((rc != -ENOENT && rc != -ENOTDIR) || !to_parent(path))
			return err_set(e, E_IO_READ, -rc, "open %s", (const char *)path->p);
	}
}

static uint64_t
times_or_max(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static enum ecode
ask(const struct os *os, int fd, const char *path, struct space *out, struct err *e)
{
	struct statvfs s;
	struct os_meta m;
	uint64_t unit;
	int rc;

	do {
		rc = os->statvfs(os, fd, &s);
	} while (rc == -EINTR);
	if (rc < 0)
		return err_set(e, E_IO_READ, -rc, "statvfs %s", path);
	do {
		rc = os->stat(os, fd, "", AT_EMPTY_PATH, &m);
	} while (rc == -EINTR);
	if (rc < 0)
		return err_set(e, E_IO_READ, -rc, "stat %s", path);
	unit = s.f_frsize != 0 ? s.f_frsize : s.f_bsize;
	/* f_bavail, for root too: the reserve is there to keep the system alive, not to be filled by a restore */
	*out = (struct space){
		.free_bytes = times_or_max(s.f_bavail, unit),
		.free_inodes = s.f_files != 0 ? s.f_favail : UINT64_MAX,
		.total_bytes = times_or_max(s.f_blocks, unit),
		.used_bytes = times_or_max(less(s.f_blocks, s.f_bfree), unit),
		.used_inodes = less(s.f_files, s.f_ffree),
		.dev = m.dev,
	};
	return E_OK;
}

enum ecode
space_at(const struct os *os, const char *path, struct space *out, struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(PATH_TEXT_MAX);
	autoclean(io_fd_done) struct io_fd fd = { .os = os, .fd = -1 };
	enum ecode rc;

	rc = path_clean(&b, path, strlen(path), e);
	if (rc == E_OK)
		rc = buf_add_byte(&b, '\0', e);
	if (rc == E_OK) {
		b.len--;
		rc = open_nearest(os, &b, &fd.fd, e);
	}
	if (rc == E_OK)
		rc = ask(os, fd.fd, path, out, e);
	return rc;
}

const char *
space_text(uint64_t bytes, char out[static SPACE_TEXT_MAX])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes / 1024;
	unsigned u = 0;

	if (bytes < 1024) {
		(void)snprintf(out, SPACE_TEXT_MAX, "%u bytes", (unsigned)bytes);
		return out;
	}
	for (; v >= 1024 && u < 3; u++)
		v /= 1024;
	(void)snprintf(out, SPACE_TEXT_MAX, "%llu bytes (%.1f %s)", (unsigned long long)bytes, v,
		units[u]);
	return out;
}
