/*
 * A way that is refused is no failure: the next one meets the same trouble if
 * there is any, and tells it.  So only reading and writing refuse.
 */
#include "engine/copy_bytes.h"

#include <errno.h>
#include <unistd.h>

#include "os/io.h"

/* One piece of reading and writing: large enough for the disk, small enough to stop soon. */
#define COPY_BUFFER_BYTES ((size_t)1 << 20)
/* One piece that the kernel copies alone, likewise. */
#define COPY_RANGE_BYTES  ((size_t)16 << 20)

/* Not this file, but these places, this kernel. */
static bool
is_never(int64_t rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOTTY || rc == -EXDEV || rc == -ENOSYS;
}

static bool
shared(struct copier *c, const int fd[2], uint64_t size)
{
	int rc;

	if (c->no_clone)
		return false;
	rc = c->os->clone(c->os, fd[1], fd[0]);
	c->no_clone = is_never(rc);
	if (rc >= 0)
		c->shared += size;
	return rc >= 0;
}

/* Up to `end` or as far as the kernel takes it. */
static uint64_t
ranged(struct copier *c, const int fd[2], uint64_t from, uint64_t end)
{
	size_t want = end - from < COPY_RANGE_BYTES ? (size_t)(end - from) : COPY_RANGE_BYTES;
	ssize_t got;

	if (c->no_range)
		return from;
	got = c->os->copy_range(c->os, fd[1], fd[0], from, want);
	c->no_range = is_never(got);
	return got > 0 ? from + (uint64_t)got : from;
}

static enum ecode
written(struct copier *c, const int fd[2], uint64_t *from, uint64_t end, const char *path,
	struct err *e)
{
	size_t want = end - *from < COPY_BUFFER_BYTES ? (size_t)(end - *from) : COPY_BUFFER_BYTES;
	size_t got = 0;
	enum ecode rc = buf_reserve(c->room, COPY_BUFFER_BYTES, e);

	if (rc == E_OK)
		rc = io_pread(c->os, fd[0], c->room->p, want, *from, &got, path, e);
	if (rc == E_OK && got != want)
		rc = err_set(e, E_LIVE_CHANGED, 0, "%s became shorter while it was copied", path);
	if (rc == E_OK)
		rc = io_pwrite(c->os, fd[1], c->room->p, got, *from, path, e);
	*from += got;
	return rc;
}

static enum ecode
copy_extent(struct copier *c, const int fd[2], uint64_t from, uint64_t end, const char *path,
	struct err *e)
{
	enum ecode rc = E_OK;

	while (rc == E_OK && from < end) {
		uint64_t at = ranged(c, fd, from, end);

		if (at == from)
			rc = written(c, fd, &at, end, path, e);
		from = at;
		if (rc == E_OK)
			rc = c->go_on(c->arg, e);
	}
	return rc;
}

/* The next data from `at`; false when only a hole is left.  Where holes cannot be told, everything is data. */
static bool
next_extent(struct copier *c, int fd, uint64_t at, uint64_t size, uint64_t extent[2])
{
	off_t data = c->os->lseek(c->os, fd, (int64_t)at, SEEK_DATA), hole;

	if (data == -ENXIO)
		return false;
	if (data < 0)
		data = (off_t)at;
	hole = c->os->lseek(c->os, fd, (int64_t)data, SEEK_HOLE);
	if (hole <= data || (uint64_t)hole > size)
		hole = (off_t)size;
	extent[0] = (uint64_t)data;
	extent[1] = (uint64_t)hole;
	return true;
}

enum ecode
copy_bytes(struct copier *c, const int fd[2], uint64_t size, const char *path, struct err *e)
{
	uint64_t extent[2] = { 0, 0 };
	enum ecode rc = E_OK;
	int got;

	if (size == 0)
		return E_OK;
	if (shared(c, fd, size))
		return c->go_on(c->arg, e);
	got = c->os->ftruncate(c->os, fd[1], size);
	if (got < 0)
		return io_refusal(e, E_IO, got, "ftruncate", path);
	while (rc == E_OK && extent[1] < size && next_extent(c, fd[0], extent[1], size, extent))
		rc = copy_extent(c, fd, extent[0], extent[1], path, e);
	if (rc == E_OK)
		c->copied += size;
	return rc;
}
