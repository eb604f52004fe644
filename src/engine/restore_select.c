/*
 * A list of paths that are wanted (--files-from).  A path stands for itself and
 * what is below it.  Each must be met while planning: a path that is missing
 * silently would be found missing when it is needed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"

/* Two million paths of ordinary length. */
#define ONLY_ARENA_BYTES ((size_t)256 << 20)

struct wanted {
	const char *path; /* "/a/b", cleaned */
	size_t len;
};
struct restore_only {
	struct arena arena;
	struct wanted *v; /* ascending */
	size_t n;
	atomic_bool *met; /* parallel */
};

/* A '/' before every other byte: what is below a path stands directly behind it. */
static int
order_of(char c)
{
	return c == '/' ? 1 : c == '\0' ? 0 : (unsigned char)c + 1;
}

static int
compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;

	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return order_of(a[i]) - order_of(b[i]);
	return (a_len > b_len) - (a_len < b_len);
}

static int
by_path(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return compare(x->path, x->len, y->path, y->len);
}

static enum ecode
keep_path(struct restore_only *o, const char *text, struct err *e)
{
	autoclean(buf_done) struct buf joined = buf_limit(PATH_TEXT_MAX);
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	struct wanted *w = &o->v[o->n];
	enum ecode rc = buf_printf(&joined, e, "/%s", text);

	if (rc == E_OK)
		rc = path_clean(&clean, joined.p, joined.len, e);
	if (rc == E_OK)
		rc = arena_str(&o->arena, clean.p, clean.len, &w->path, e);
	if (rc != E_OK)
		return rc;
	w->len = clean.len;
	o->n++;
	return E_OK;
}

static void
drop_twins(struct restore_only *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n; i++)
		if (n == 0 || strcmp(o->v[n - 1].path, o->v[i].path) != 0)
			o->v[n++] = o->v[i];
	o->n = n;
}

static enum ecode
fill(struct restore_only *o, const struct restore_args *args, struct err *e)
{
	enum ecode rc = E_OK;

	o->v = calloc(args->only_count, sizeof(*o->v));
	o->met = calloc(args->only_count, sizeof(*o->met));
	if (o->v == NULL || o->met == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a list of %zu paths", args->only_count);
	for (size_t i = 0; rc == E_OK && i < args->only_count; i++)
		rc = keep_path(o, args->only[i], e);
	if (rc != E_OK)
		return rc;
	qsort(o->v, o->n, sizeof(*o->v), by_path);
	drop_twins(o);
	return E_OK;
}

enum ecode
restore_only_open(struct restore *r, struct err *e)
{
	struct restore_only *o;

	if (r->args->only_count == 0)
		return E_OK;
	o = calloc(1, sizeof(*o));
	if (o == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a list of paths");
	o->arena = arena_limit(ONLY_ARENA_BYTES);
	r->only = o;
	return fill(o, r->args, e);
}

void
restore_only_close(struct restore_only **o)
{
	if (*o == NULL)
		return;
	arena_done(&(*o)->arena);
	free((*o)->v);
	free((*o)->met);
	free(*o);
	*o = NULL;
}

/* The first that is not before the path. */
static size_t
lower(const struct restore_only *o, const char *path, size_t len)
{
	size_t from = 0, to = o->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare(o->v[mid].path, o->v[mid].len, path, len) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool
is_listed(const struct restore_only *o, size_t at, const char *path, size_t len)
{
	return at < o->n && o->v[at].len == len && memcmp(o->v[at].path, path, len) == 0;
}

void
restore_only_ask(struct restore_only *o, const char *path, size_t len, bool *listed, bool *above)
{
	size_t at = lower(o, path, len);
	size_t next;

	*listed = is_listed(o, at, path, len);
	if (*listed)
		atomic_store(&o->met[at], true);
	next = *listed ? at + 1 : at;
	*above = next < o->n && o->v[next].len > len && o->v[next].path[len] == '/' &&
		 memcmp(o->v[next].path, path, len) == 0;
	for (size_t i = len; !*listed && i > 0; i--) /* "/" itself is the last */
		if (path[i - 1] == '/')
			*listed = is_listed(
				o, lower(o, path, i > 1 ? i - 1 : 1), path, i > 1 ? i - 1 : 1);
}

static void
tell_absent(struct restore *r, const char *path)
{
	const struct listener *l = r->s->listener;
	struct problem problem = {
		.path = path,
		.during = "restore",
		.code = E_ONLY_ABSENT,
		.cause = cause_of(E_ONLY_ABSENT, 0),
		.why = "it is not in the snapshot, or a pattern leaves it out",
		.fatal_for_item = true,
	};

	atomic_fetch_add(&l->progress->problems, 1);
	l->problem(l->arg, &problem);
}

enum ecode
restore_only_met(struct restore *r, struct err *e)
{
	const struct restore_only *o = r->only;
	const char *first = NULL;
	size_t absent = 0;

	for (size_t i = 0; o != NULL && i < o->n; i++) {
		if (o->met[i] || o->v[i].len == 1) /* the root is always there */
			continue;
		first = absent++ == 0 ? o->v[i].path : first;
		tell_absent(r, o->v[i].path);
	}
	if (absent == 0)
		return E_OK;
	return err_set(e, E_ONLY_ABSENT, 0, "%zu of %zu: %s%s", absent, o->n, first,
		absent > 1 ? " and others" : "");
}
