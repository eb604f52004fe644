#include "os/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"

/* A call interrupted this often in a row makes no progress; then it is a refusal. */
#define IO_INTERRUPTED_MAX  1000
/* one call moves at most this much: Linux cuts at 0x7ffff000 bytes anyway */
#define IO_CALL_BYTES       (1U << 30)
#define IO_FILE_PIECE_BYTES (64U << 10)
/* a random name of 32 bits that is taken eight times is no accident */
#define IO_NAME_TRIES       8

enum ecode
io_refusal(struct err *e, enum ecode code, int rc, const char *call, const char *path)
{
	int sys = -rc;
	const char *why = strerrordesc_np(sys); /* any thread, any locale */

	if (sys == ENOSPC || sys == EDQUOT)
		code = E_IO_SPACE;
	return err_set(e, code, sys, "%s %s: %s", call, path, why == NULL ? "unknown error" : why);
}

enum ecode
io_open(const struct os *os, int dir, const char *path, int flags, mode_t mode, int *fd,
	struct err *e)
{
	int rc = -EINTR;

	for (unsigned i = 0; rc == -EINTR && i < IO_INTERRUPTED_MAX; i++)
		rc = os->open(os, dir, path, flags | O_CLOEXEC, mode);
	if (rc < 0)
		return io_refusal(
			e, (flags & O_ACCMODE) == O_RDONLY ? E_IO_READ : E_IO, rc, "open", path);
	*fd = rc;
	return E_OK;
}

void
io_close(const struct os *os, int *fd)
{
	if (*fd >= 0)
		(void)os->close(os, *fd); /* nothing was written through it */
	*fd = -1;
}

void
io_fd_done(struct io_fd *f)
{
	io_close(f->os, &f->fd);
}

static size_t
piece(size_t left)
{
	return left < IO_CALL_BYTES ? left : IO_CALL_BYTES;
}

/* Position of a transfer; `fixed` means the file's own position is used. */
struct transfer {
	const struct os *os;
	int fd;
	bool fixed;
	uint64_t off;
};

static ssize_t
read_some(const struct transfer *t, uint8_t *p, size_t len, size_t done)
{
	ssize_t rc = -EINTR;

	for (unsigned i = 0; rc == -EINTR && i < IO_INTERRUPTED_MAX; i++) {
		if (t->fixed)
			rc = t->os->pread(t->os, t->fd, p + done, piece(len - done), t->off + done);
		else
			rc = t->os->read(t->os, t->fd, p + done, piece(len - done));
	}
	return rc;
}

static enum ecode
read_all(const struct transfer *t, uint8_t *p, size_t len, size_t *got, const char *path,
	struct err *e)
{
	size_t done = 0;

	while (done < len) {
		ssize_t rc = read_some(t, p, len, done);

		if (rc < 0)
			return io_refusal(e, E_IO_READ, (int)rc, "read", path);
		if (rc == 0)
			break;
		done += (size_t)rc;
	}
	*got = done;
	return E_OK;
}

enum ecode
io_read(const struct os *os, int fd, void *p, size_t len, size_t *got, const char *path,
	struct err *e)
{
	struct transfer t = { .os = os, .fd = fd };

	return read_all(&t, p, len, got, path, e);
}

enum ecode
io_pread(const struct os *os, int fd, void *p, size_t len, uint64_t off, size_t *got,
	const char *path, struct err *e)
{
	struct transfer t = { .os = os, .fd = fd, .fixed = true, .off = off };

	return read_all(&t, p, len, got, path, e);
}

static ssize_t
write_some(const struct transfer *t, const uint8_t *p, size_t len, size_t done)
{
	ssize_t rc = -EINTR;

	for (unsigned i = 0; rc == -EINTR && i < IO_INTERRUPTED_MAX; i++) {
		if (t->fixed)
			rc = t->os->pwrite(
				t->os, t->fd, p + done, piece(len - done), t->off + done);
		else
			rc = t->os->write(t->os, t->fd, p + done, piece(len - done));
	}
	return rc == 0 ? -EIO : rc;
}

static enum ecode
write_all(const struct transfer *t, const uint8_t *p, size_t len, const char *path, struct err *e)
{
	size_t done = 0;

	while (done < len) {
		ssize_t rc = write_some(t, p, len, done);

		if (rc < 0)
			return io_refusal(e, E_IO, (int)rc, "write", path);
		done += (size_t)rc;
	}
	return E_OK;
}

enum ecode
io_write(const struct os *os, int fd, const void *p, size_t len, const char *path, struct err *e)
{
	struct transfer t = { .os = os, .fd = fd };

	return write_all(&t, p, len, path, e);
}

enum ecode
io_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off, const char *path,
	struct err *e)
{
	struct transfer t = { .os = os, .fd = fd, .fixed = true, .off = off };

	return write_all(&t, p, len, path, e);
}

/* The limit is reached: fine only at the end of the file. */
static enum ecode
expect_end(const struct os *os, int fd, size_t limit, const char *path, struct err *e)
{
	uint8_t byte;
	size_t got = 0;
	enum ecode rc = io_read(os, fd, &byte, sizeof(byte), &got, path, e);

	if (rc == E_OK && got > 0)
		return err_set(e, E_LIMIT, 0, "%s is longer than %zu bytes", path, limit);
	return rc;
}

static enum ecode
read_to_end(const struct os *os, int fd, const char *path, struct buf *out, struct err *e)
{
	enum ecode rc = E_OK;
	bool more = true;

	while (rc == E_OK && more && out->len < out->limit) {
		size_t room = out->limit - out->len, got = 0;
		size_t want = room < IO_FILE_PIECE_BYTES ? room : IO_FILE_PIECE_BYTES;

		rc = buf_reserve(out, want, e);
		if (rc == E_OK)
			rc = io_read(os, fd, out->p + out->len, want, &got, path, e);
		out->len += got;
		more = got == want;
	}
	if (rc == E_OK && more)
		rc = expect_end(os, fd, out->limit, path, e);
	return rc;
}

enum ecode
io_read_file(const struct os *os, int dir, const char *path, struct buf *out, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = os, .fd = -1 };
	size_t before = out->len;
	enum ecode rc = io_open(os, dir, path, O_RDONLY, 0, &f.fd, e);

	if (rc == E_OK)
		rc = read_to_end(os, f.fd, path, out, e);
	if (rc != E_OK)
		out->len = before;
	return rc;
}

/* One directory; whatever mkdir says, a directory that is there is fine. */
static enum ecode
make_dir(const struct os *os, int dir, const char *path, mode_t mode, struct err *e)
{
	struct os_meta meta = { 0 };
	int rc = os->mkdir(os, dir, path, mode);

	if (rc < 0 && (os->stat(os, dir, path, 0, &meta) < 0 || !S_ISDIR(meta.mode)))
		return io_refusal(e, E_IO, rc, "mkdir", path);
	return E_OK;
}

enum ecode
io_mkdirs(const struct os *os, int dir, const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	enum ecode rc = E_OK;

	if (len == 0 || len >= sizeof(part))
		return io_refusal(e, E_IO, len == 0 ? -ENOENT : -ENAMETOOLONG, "mkdir", path);
	memcpy(part, path, len + 1);
	for (size_t i = 1; rc == E_OK && i < len; i++) {
		if (part[i] != '/' || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		rc = make_dir(os, dir, part, mode, e);
		part[i] = '/';
	}
	return rc == E_OK ? make_dir(os, dir, part, mode, e) : rc;
}

/* One publication under way. */
struct publication {
	const struct os *os;
	const struct io_publish *how;
	char tmp[NAME_BYTES_MAX + 1];
	int fd;
};

static enum ecode
tmp_name(struct publication *p, struct err *e)
{
	uint32_t random;
	int rc = p->os->random(p->os, &random, sizeof(random));
	int len;

	if (rc < 0)
		return io_refusal(e, E_IO, rc, "get random bytes for", p->how->name);
	len = snprintf(p->tmp, sizeof(p->tmp), "%s-tmp-%" PRIu32, p->how->name, random);
	if (len < 0 || (size_t)len >= sizeof(p->tmp))
		return io_refusal(e, E_IO, -ENAMETOOLONG, "create a temporary for", p->how->name);
	return E_OK;
}

static enum ecode
tmp_create(struct publication *p, struct err *e)
{
	enum ecode rc = E_IO;
	struct err why = { .sys = EEXIST };

	for (unsigned i = 0; rc != E_OK && why.sys == EEXIST && i < IO_NAME_TRIES; i++) {
		rc = tmp_name(p, &why);
		if (rc == E_OK)
			rc = io_open(p->os, p->how->dir, p->tmp, O_CREAT | O_EXCL | O_RDWR, 0600,
				&p->fd, &why);
	}
	if (rc != E_OK && e != NULL)
		*e = why;
	return rc;
}

static bool
sync_unsupported(int rc)
{
	return rc == -ENOTSUP || rc == -EINVAL;
}

/* Close is asked here, not in a cleanup: on some file systems it is the write. */
static enum ecode
tmp_finish(struct publication *p, enum ecode rc, struct err *e)
{
	const struct os *os = p->os;
	int sys;

	if (rc == E_OK && p->how->fsync) {
		sys = os->fsync(os, p->fd);
		if (sys < 0 && !sync_unsupported(sys))
			rc = io_refusal(e, E_IO, sys, "fsync", p->tmp);
	}
	sys = os->close(os, p->fd); /* the descriptor is gone whatever it says */
	p->fd = -1;
	if (rc == E_OK && sys < 0)
		rc = io_refusal(e, E_IO, sys, "close", p->tmp);
	return rc;
}

/* Exclusive where the file system knows no RENAME_NOREPLACE: link refuses an existing name. */
static int
name_by_link(const struct publication *p)
{
	const struct os *os = p->os;
	int rc = os->link(os, p->how->dir, p->tmp, p->how->dir, p->how->name, 0);

	if (rc == 0)
		(void)os->unlink(os, p->how->dir, p->tmp, 0); /* the file is published either way */
	return rc;
}

static int
tmp_rename(const struct publication *p)
{
	const struct os *os = p->os;
	unsigned flags = p->how->exclusive ? RENAME_NOREPLACE : 0;
	int rc = os->rename(os, p->how->dir, p->tmp, p->how->dir, p->how->name, flags);

	return p->how->exclusive && rc == -EINVAL ? name_by_link(p) : rc;
}

/*
 * Not published: nothing is to remain.  A temporary that is gone although a
 * rename was refused was renamed after all (network file systems do that).
 */
static enum ecode
tmp_drop(const struct publication *p, enum ecode rc, bool renaming, struct err *e)
{
	int sys = p->os->unlink(p->os, p->how->dir, p->tmp, 0);

	if (sys == -ENOENT && renaming)
		return err_set(e, E_IO_UNSURE, ENOENT, "rename %s was refused, yet it happened",
			p->how->name);
	if (sys < 0 && sys != -ENOENT)
		err_note(e, "the temporary file %s could not be removed", p->tmp);
	return rc;
}

/* The name is there.  From here on a refusal can only say that it may not last. */
static enum ecode
name_secure(const struct publication *p, struct err *e)
{
	const struct os *os = p->os;
	const struct io_publish *how = p->how;
	enum ecode rc = E_OK;
	int sys = how->fsync ? os->fsync(os, how->dir) : 0;

	if (sys < 0 && !sync_unsupported(sys))
		rc = err_set(e, E_IO_UNSURE, -sys, "fsync the directory of %s: %s", how->name,
			strerrordesc_np(-sys));
	sys = os->chmod(os, how->dir, how->name, how->mode);
	/* file systems without modes refuse like this (exFAT, CIFS) */
	if (rc == E_OK && sys < 0 && sys != -EPERM && sys != -ENOTSUP)
		rc = err_set(
			e, E_IO_UNSURE, -sys, "chmod %s: %s", how->name, strerrordesc_np(-sys));
	return rc;
}

enum ecode
io_publish(const struct os *os, const struct io_publish *how, const struct slice *parts, size_t n,
	struct err *e)
{
	struct publication p = { .os = os, .how = how, .fd = -1 };
	enum ecode rc = tmp_create(&p, e);
	bool renaming = false;
	int sys;

	if (rc != E_OK)
		return rc;
	for (size_t i = 0; rc == E_OK && i < n; i++)
		rc = io_write(os, p.fd, parts[i].p, parts[i].len, p.tmp, e);
	rc = tmp_finish(&p, rc, e);
	if (rc == E_OK) {
		renaming = true;
		sys = tmp_rename(&p);
		if (sys < 0)
			rc = io_refusal(e, E_IO, sys, "rename to", how->name);
	}
	if (rc != E_OK)
		return tmp_drop(&p, rc, renaming, e);
	return name_secure(&p, e);
}
