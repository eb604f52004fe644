#include "fs/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/path.h"
#include "os/io.h"

#define MOUNTS_PATH    "/proc/self/mountinfo"
#define MOUNT_NAME_MAX 4096 /* PATH_MAX: what readlink of a descriptor can tell */
#define MOUNT_FIELDS   6    /* before the optional ones: id, parent, device, root, point, options */

/* ---- one line: "36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw" ---- */

static bool
take_field(struct slice *rest, struct slice *field)
{
	const uint8_t *blank = rest->len == 0 ? NULL : memchr(rest->p, ' ', rest->len);
	size_t len = blank == NULL ? rest->len : (size_t)(blank - rest->p);

	if (len == 0)
		return false;
	*field = (struct slice){ rest->p, len };
	rest->p += len + (blank != NULL);
	rest->len -= len + (blank != NULL);
	return true;
}

/* Digits only, below 2^32: the kernel's numbers are ints. */
static bool
take_number(struct slice *s, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; n < s->len && n < 10 && s->p[n] >= '0' && s->p[n] <= '9'; n++)
		v = v * 10 + (uint64_t)(s->p[n] - '0');
	if (n == 0 || v > UINT32_MAX)
		return false;
	*out = v;
	s->p += n;
	s->len -= n;
	return true;
}

static bool
whole_number(struct slice s, uint64_t *out)
{
	return take_number(&s, out) && s.len == 0;
}

static bool
device_number(struct slice s, uint64_t *out)
{
	uint64_t major, minor;

	if (!take_number(&s, &major) || s.len == 0 || s.p[0] != ':')
		return false;
	s.p++;
	s.len--;
	if (!whole_number(s, &minor))
		return false;
	*out = major << 32 | minor;
	return true;
}

static bool
is_octal(const uint8_t *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
	       p[2] <= '7';
}

/* Blank, tab, newline and backslash stand as \040, \011, \012, \134. */
static enum ecode
unescape(struct slice s, struct arena *a, const char **out, struct err *e)
{
	void *room;
	char *to;
	size_t n = 0;
	enum ecode rc = arena_alloc(a, s.len + 1, &room, e);

	if (rc != E_OK)
		return rc;
	to = room;
	for (size_t i = 0; i < s.len; i++) {
		const uint8_t *p = s.p + i;

		if (p[0] == '\\' && s.len - i >= 4 && is_octal(p + 1)) {
			to[n++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			i += 3;
		} else {
			to[n++] = (char)p[0];
		}
	}
	to[n] = '\0';
	*out = to;
	return E_OK;
}

/* Behind the optional fields stands a lone "-", then the type. */
static bool
find_type(struct slice rest, struct slice *type)
{
	struct slice field;

	while (take_field(&rest, &field)) {
		if (field.len == 1 && field.p[0] == '-')
			return take_field(&rest, type);
	}
	return false;
}

static enum ecode
parse_line(struct slice line, struct arena *a, size_t number, struct mount *out, struct err *e)
{
	struct slice field[MOUNT_FIELDS], type;
	uint64_t parent;
	size_t n = 0;
	enum ecode rc;

	while (n < MOUNT_FIELDS && take_field(&line, &field[n]))
		n++;
	if (n < MOUNT_FIELDS || !whole_number(field[0], &out->id) ||
		!whole_number(field[1], &parent) || !device_number(field[2], &out->dev) ||
		field[4].p[0] != '/' || !find_type(line, &type))
		return err_set(e, E_MOUNTS, 0, "line %zu of %s is not as it should be", number,
			MOUNTS_PATH);
	rc = unescape(field[3], a, &out->root, e);
	if (rc == E_OK)
		rc = unescape(field[4], a, &out->point, e);
	if (rc == E_OK)
		rc = unescape(type, a, &out->type, e);
	return rc;
}

/* ---- the list ---- */

static size_t
count_lines(const uint8_t *p, size_t len)
{
	size_t n = 1;

	for (size_t i = 0; i < len; i++)
		n += p[i] == '\n';
	return n;
}

enum ecode
mounts_parse(const void *text, size_t len, struct arena *a, struct mounts *out, struct err *e)
{
	struct mounts list = { 0 };
	struct slice rest = { text, len };
	void *room;
	enum ecode rc = arena_alloc(a, count_lines(text, len) * sizeof(*list.v), &room, e);

	list.v = rc == E_OK ? room : NULL;
	while (rc == E_OK && rest.len > 0) {
		const uint8_t *end = memchr(rest.p, '\n', rest.len);
		size_t n = end == NULL ? rest.len : (size_t)(end - rest.p);

		rc = parse_line((struct slice){ rest.p, n }, a, list.n + 1, &list.v[list.n], e);
		list.n++;
		n += end != NULL;
		rest.p += n;
		rest.len -= n;
	}
	if (rc == E_OK)
		*out = list;
	return rc;
}

enum ecode
mounts_load(const struct os *os, struct arena *a, struct mounts *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(MOUNTS_MAX_BYTES);
	struct err why = { .code = E_OK };
	enum ecode rc = io_read_file(os, AT_FDCWD, MOUNTS_PATH, &text, &why);

	if (rc == E_IO_READ && why.sys == ENOENT) {
		*out = (struct mounts){ 0 };
		return E_OK;
	}
	if (rc != E_OK)
		return err_set(e, E_MOUNTS, why.sys, "%s", why.detail);
	return mounts_parse(text.p, text.len, a, out, e);
}

/* ---- places ---- */

const char *
mounts_rest(const char *outer, const char *inner)
{
	size_t len = strlen(outer);

	if (len == 1) /* the root, which ends in its slash */
		return inner[1] == '\0' ? inner + 1 : inner;
	return inner + len;
}

/* The deepest point above the path; the latest of several at one point. */
static const struct mount *
covering(const struct mounts *m, const char *real, uint64_t id)
{
	const struct mount *best = NULL;

	for (size_t i = 0; i < m->n; i++) {
		const struct mount *one = &m->v[i];

		if (!path_within(one->point, real))
			continue;
		if (id != 0 && one->id == id)
			return one;
		if (best == NULL || strlen(one->point) >= strlen(best->point))
			best = one;
	}
	return best;
}

enum ecode
mounts_locate(const struct mounts *m, const char *real, uint64_t id, struct arena *a,
	struct mount_place *out, struct err *e)
{
	const struct mount *on = covering(m, real, id);
	struct mount_place place = { .real = real };
	const char *rest;
	size_t root_len, len;
	void *room;
	enum ecode rc;

	if (on == NULL) {
		*out = place;
		return E_OK;
	}
	place.dev = on->dev;
	rest = mounts_rest(on->point, real);
	root_len = strcmp(on->root, "/") == 0 ? 0 : strlen(on->root);
	len = root_len + strlen(rest);
	rc = arena_alloc(a, len + 2, &room, e);
	if (rc != E_OK)
		return rc;
	(void)snprintf(
		room, len + 2, "%.*s%s%s", (int)root_len, on->root, rest, len == 0 ? "/" : "");
	place.inside = room;
	*out = place;
	return E_OK;
}

/* The kernel's own name for an open descriptor. */
static enum ecode
real_name(const struct os *os, int fd, struct arena *a, const char **out, struct err *e)
{
	char link[64], name[MOUNT_NAME_MAX];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = os->readlink(os, AT_FDCWD, link, name, sizeof(name));
	*out = NULL;
	/* a longer name, no /proc, or a pipe's "pipe:[…]" */
	if (n <= 0 || (size_t)n == sizeof(name) || name[0] != '/')
		return E_OK;
	return arena_str(a, name, (size_t)n, out, e);
}

enum ecode
mounts_locate_path(const struct mounts *m, const struct os *os, const char *path, struct arena *a,
	struct mount_place *out, struct err *e)
{
	autoclean(io_fd_done) struct io_fd fd = { .os = os, .fd = -1 };
	struct os_meta meta = { 0 };
	struct err absent;
	const char *real;
	enum ecode rc;

	*out = (struct mount_place){ 0 };
	if (io_open(os, AT_FDCWD, path, O_PATH | O_NOFOLLOW, 0, &fd.fd, &absent) != E_OK)
		return E_OK; /* whoever opens it for its content tells why */
	if (os->stat(os, fd.fd, "", AT_EMPTY_PATH, &meta) < 0)
		meta.mnt_id = 0;
	rc = real_name(os, fd.fd, a, &real, e);
	if (rc == E_OK && real != NULL)
		rc = mounts_locate(m, real, meta.mnt_id, a, out, e);
	return rc;
}
