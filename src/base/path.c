#include "base/path.h"

#include <string.h>

/* Where the next component of [*at, len) begins and ends; false when none is left. */
static bool
next_component(const char *path, size_t len, size_t *at, struct slice *part)
{
	size_t begin = *at, end;

	while (begin < len && path[begin] == '/')
		begin++;
	end = begin;
	while (end < len && path[end] != '/')
		end++;
	*at = end;
	*part = (struct slice){ (const uint8_t *)path + begin, end - begin };
	return end > begin;
}

static bool
part_is(struct slice part, const char *text)
{
	size_t len = strlen(text);

	return part.len == len && memcmp(part.p, text, len) == 0;
}

/* Take back the last component after `floor`, which is not empty. */
static void
drop_component(struct buf *out, size_t floor)
{
	while (out->len > floor && out->p[out->len - 1] != '/')
		out->len--;
	if (out->len > floor)
		out->len--;
}

static enum ecode
add_component(struct buf *out, size_t root, struct slice part, struct err *e)
{
	enum ecode rc = E_OK;

	if (out->len > root)
		rc = buf_add_byte(out, '/', e);
	if (rc == E_OK)
		rc = buf_add(out, part.p, part.len, e);
	return rc;
}

/*
 * `root` is the length after a leading slash; below `floor` stand ".."s that
 * no later ".." can take back.
 */
static enum ecode
clean_parts(struct buf *out, size_t root, const char *path, size_t len, struct err *e)
{
	bool absolute = len > 0 && path[0] == '/';
	size_t floor = root, at = 0;
	struct slice part;
	enum ecode rc = E_OK;

	while (rc == E_OK && next_component(path, len, &at, &part)) {
		if (part_is(part, "."))
			continue;
		if (!part_is(part, "..")) {
			rc = add_component(out, root, part, e);
		} else if (out->len > floor) {
			drop_component(out, floor);
		} else if (!absolute) {
			rc = add_component(out, root, part, e);
			floor = out->len;
		}
	}
	return rc;
}

enum ecode
path_clean(struct buf *out, const void *path, size_t len, struct err *e)
{
	const char *text = path;
	size_t start = out->len;
	enum ecode rc = E_OK;

	if (len > 0 && text[0] == '/')
		rc = buf_add_byte(out, '/', e);
	if (rc == E_OK)
		rc = clean_parts(out, out->len, text, len, e);
	if (rc == E_OK && out->len == start)
		rc = buf_add_byte(out, '.', e);
	if (rc != E_OK)
		out->len = start;
	return rc;
}

enum ecode
path_join(struct arena *a, const char *dir, const char *name, const char **out, struct err *e)
{
	size_t dir_len = strlen(dir), name_len = strlen(name);
	size_t slash = dir_len > 0 && dir[dir_len - 1] != '/' ? 1 : 0;
	enum ecode rc;
	void *to;
	char *p;

	if (dir_len >= PATH_TEXT_MAX || name_len >= PATH_TEXT_MAX - dir_len)
		return err_set(e, E_LIMIT, 0, "a path of more than %u bytes", PATH_TEXT_MAX);
	rc = arena_alloc(a, dir_len + slash + name_len + 1, &to, e);
	if (rc != E_OK)
		return rc;
	p = to;
	memcpy(p, dir, dir_len);
	if (slash == 1)
		p[dir_len] = '/';
	memcpy(p + dir_len + slash, name, name_len + 1);
	*out = p;
	return E_OK;
}

bool
name_is_safe(const void *name, size_t len)
{
	struct slice s = { name, len };

	if (len == 0 || len > NAME_BYTES_MAX || part_is(s, ".") || part_is(s, ".."))
		return false;
	return memchr(name, '/', len) == NULL && memchr(name, '\0', len) == NULL;
}

const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL || slash[1] == '\0')
		return path;
	return slash + 1;
}

bool
path_within(const char *outer, const char *inner)
{
	size_t len = strlen(outer);

	if (strncmp(outer, inner, len) != 0)
		return false;
	return (len > 0 && outer[len - 1] == '/') || inner[len] == '\0' || inner[len] == '/';
}
