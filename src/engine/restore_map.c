/*
 * Other places below the destination.  The plan that was read from the snapshot
 * is taken apart and built again under the paths that --map and
 * --strip-components give.  Whatever they give is judged like names from a vault:
 * nothing leaves the destination, and no two entries share a place.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"

/* Directories that no entry of the snapshot is: made to hold what was moved into them. */
#define MADE_DIR_MODE 0755U
#define NOTE_BYTES    96 /* one sentence with one number */

struct moved {
	struct restore_item *item;
	const char *from, *to; /* "/a/b"; to "" is the root */
	size_t to_len;
	struct restore_dir *dir; /* the new one it is in */
};
struct moving {
	struct restore *r;
	struct restore_worker *w; /* of the thread that runs the restore */
	struct moved *v;
	size_t n, cap;
	struct moved *made; /* directories that had to be added */
	size_t made_count, made_cap;
	struct buf path;
};

/* ---- the new path ---- */

static const struct restore_move *
move_of(const struct restore_args *args, const char *path)
{
	const struct restore_move *best = NULL;

	for (size_t i = 0; i < args->move_count; i++)
		if (path_within(args->moves[i].from, path) &&
			(best == NULL || strlen(args->moves[i].from) > strlen(best->from)))
			best = &args->moves[i];
	return best;
}

/* Behind the first `n` names; NULL when there are not as many and one more. */
static const char *
strip(const char *path, size_t n)
{
	for (; n > 0 && path != NULL; n--)
		path = strchr(path + 1, '/');
	return path;
}

static enum ecode
check_names(const char *from, const char *to, struct err *e)
{
	for (const char *p = to; *p == '/';) {
		size_t len = strcspn(p + 1, "/");

		if (!name_is_safe(p + 1, len))
			return err_set(e, E_PATH_UNSAFE, 0, "%s would be put at %s", from, to);
		p += len + 1;
	}
	return E_OK;
}

/* *out NULL: nothing is left of it. */
static enum ecode
new_path(struct moving *m, const char *from, const char **out, struct err *e)
{
	const struct restore_move *move = move_of(m->r->args, from);
	const char *rest, *to;
	enum ecode rc;

	if (move == NULL) {
		*out = strip(from, m->r->args->strip);
		return E_OK;
	}
	rest = strcmp(move->from, "/") == 0 ? from : from + strlen(move->from);
	to = strcmp(move->to, "/") == 0 ? "" : move->to;
	buf_clear(&m->path);
	rc = buf_printf(&m->path, e, "%s%s", to, rest);
	if (rc == E_OK)
		rc = arena_str(&m->w->plan, m->path.p, m->path.len, out, e);
	return rc == E_OK ? check_names(from, *out, e) : rc;
}

/* ---- taking apart ---- */

static enum ecode
grow(struct moved **v, size_t n, size_t *cap, struct err *e)
{
	size_t more = *cap == 0 ? 256 : *cap * 2;
	struct moved *p;

	if (n < *cap)
		return E_OK;
	p = reallocarray(*v, more, sizeof(*p));
	if (p == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "%zu paths", n);
	*v = p;
	*cap = more;
	return E_OK;
}

static enum ecode
remember_from(struct moving *m, struct restore_item *item, const char *from, struct err *e)
{
	enum ecode rc;
	void *p;

	if (item->extra == NULL) {
		rc = arena_alloc(&m->w->plan, sizeof(*item->extra), &p, e);
		if (rc != E_OK)
			return rc;
		item->extra = p;
		*item->extra = (struct restore_extra){ .names = 1 };
	}
	item->extra->from = from;
	return E_OK;
}

static enum ecode
take(struct moving *m, struct restore_item *item, struct err *e)
{
	struct moved x = { .item = item };
	enum ecode rc = restore_path(item->dir, item->name, &m->path, e);

	if (rc == E_OK)
		rc = arena_str(&m->w->plan, m->path.p, m->path.len, &x.from, e);
	if (rc == E_OK)
		rc = new_path(m, x.from, &x.to, e);
	if (rc != E_OK)
		return rc;
	if (x.to == NULL) {
		m->r->stripped += item->type != NODE_DIR;
		return E_OK;
	}
	x.to_len = strlen(x.to);
	if (x.to_len ==
		0) { /* it becomes the destination, whose own rights are not the snapshot's */
		if (item->type == NODE_DIR)
			return E_OK;
		return err_set(e, E_MAP_COLLISION, 0, "%s would be the destination itself", x.from);
	}
	rc = strcmp(x.from, x.to) == 0 ? E_OK : remember_from(m, item, x.from, e);
	if (rc == E_OK)
		rc = grow(&m->v, m->n, &m->cap, e);
	if (rc == E_OK)
		m->v[m->n++] = x;
	return rc;
}

static enum ecode
take_apart(struct moving *m, struct err *e)
{
	const struct restore_item *item;
	struct restore_iter it;
	enum ecode rc = E_OK;

	restore_iter_begin(&it, m->r);
	while (rc == E_OK && (item = restore_iter_next(&it)) != NULL)
		rc = take(m, (struct restore_item *)(uintptr_t)item, e); /* the plan is ours */
	return rc;
}

/* ---- order: a directory, then what is below it, names ascending by bytes ---- */

static int
by_place(const void *a, const void *b)
{
	const struct moved *x = a, *y = b;
	const char *p = x->to, *q = y->to;

	while (*p != '\0' && *p == *q) {
		p++;
		q++;
	}
	if (*p != *q) {
		int c = *p == '/' ? 1 : *p == '\0' ? 0 : (unsigned char)*p + 1;
		int d = *q == '/' ? 1 : *q == '\0' ? 0 : (unsigned char)*q + 1;

		return c - d;
	}
	/* at one place: what was chosen before what is only on the way, then by origin */
	if (x->item->skipped != y->item->skipped)
		return x->item->skipped ? 1 : -1;
	return strcmp(x->from, y->from);
}

/* ---- building ---- */

static enum ecode
add_dir(struct moving *m, struct moved *x, struct restore_dir *parent, struct restore_dir **out,
	struct err *e)
{
	enum ecode rc = restore_dir_add(m->r, m->w, parent, x->item, out, e);

	if (rc == E_OK)
		x->item->to.child = *out;
	return rc;
}

/* A directory of no entry: ours, with fixed rights and the snapshot's time, so that plans stay equal. */
static enum ecode
make_between(struct moving *m, struct restore_dir *parent, const char *name, size_t len,
	struct restore_dir **out, struct err *e)
{
	struct os_ids me = m->r->s->os->ids(m->r->s->os);
	struct moved x = { .dir = parent };
	enum ecode rc;
	void *p;

	rc = arena_alloc(&m->w->plan, sizeof(*x.item), &p, e);
	if (rc != E_OK)
		return rc;
	x.item = p;
	*x.item = (struct restore_item){ .type = NODE_DIR,
		.st_mode = MADE_DIR_MODE,
		.uid = me.uid,
		.gid = me.gid,
		.mtime = m->r->when,
		.atime = m->r->when };
	rc = arena_str(&m->w->plan, name, len, &x.item->name, e);
	if (rc == E_OK)
		rc = add_dir(m, &x, parent, out, e);
	if (rc == E_OK)
		rc = grow(&m->made, m->made_count, &m->made_cap, e);
	if (rc != E_OK)
		return rc;
	m->made[m->made_count++] = x;
	parent->count++;
	return E_OK;
}

static bool
is_below(const struct restore_dir *d, const struct buf *path, const struct moved *x)
{
	return d->path_len < x->to_len && x->to[d->path_len] == '/' &&
	       memcmp(path->p, x->to, d->path_len) == 0;
}

/* From the directory in hand up to one above the path, then down, making what is missing. */
static enum ecode
find_parent(struct moving *m, struct restore_dir *d, struct moved *x, struct err *e)
{
	size_t last = (size_t)(strrchr(x->to, '/') - x->to);
	enum ecode rc = restore_path(d, NULL, &m->path, e);

	while (rc == E_OK && !is_below(d, &m->path, x))
		d = d->parent; /* the root is above everything; its path is the text's beginning */
	while (rc == E_OK && d->path_len < last) {
		const char *name = x->to + d->path_len + 1;

		rc = make_between(m, d, name, strcspn(name, "/"), &d, e);
	}
	x->dir = d;
	return rc;
}

static enum ecode
collision(const struct moved *a, const struct moved *b, struct err *e)
{
	return err_set(
		e, E_MAP_COLLISION, 0, "%s and %s would both be %s", a->from, b->from, b->to);
}

/* `prev` is the last that got a place of its own, or NULL; *d the directory in hand. */
static enum ecode
put(struct moving *m, struct moved *x, const struct moved *prev, struct restore_dir **d,
	struct err *e)
{
	bool is_dir = x->item->type == NODE_DIR;
	enum ecode rc;

	if (prev != NULL && prev->item->type != NODE_DIR && x->to_len > prev->to_len &&
		x->to[prev->to_len] == '/' && memcmp(x->to, prev->to, prev->to_len) == 0)
		return collision(prev, x, e); /* below something that is no directory */
	rc = find_parent(m, *d, x, e);
	if (rc != E_OK)
		return rc;
	x->dir->count++;
	x->item->name = strrchr(x->to, '/') + 1;
	if (is_dir)
		rc = add_dir(m, x, x->dir, d, e);
	else
		*d = x->dir;
	if (rc == E_OK && !x->item->skipped)
		restore_want(*d);
	return rc;
}

/* Two at one place are one only when the later is but on the way to something. */
static enum ecode
put_all(struct moving *m, struct err *e)
{
	struct restore_dir *d = m->r->root;
	const struct moved *prev = NULL;
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < m->n; i++) {
		struct moved *x = &m->v[i];

		if (prev == NULL || strcmp(prev->to, x->to) != 0) {
			rc = put(m, x, prev, &d, e);
			prev = x;
		} else if (x->item->type != NODE_DIR || prev->item->type != NODE_DIR ||
			   !x->item->skipped) {
			rc = collision(prev, x, e);
		} else {
			x->dir = NULL;
		}
	}
	return rc;
}

/* ---- one array a directory ---- */

static void
settle(struct moved *x)
{
	struct restore_item *slot = &x->dir->items[x->dir->count++];

	*slot = *x->item; /* atomics in it are not in use yet */
	slot->dir = x->dir;
}

static int
by_name(const void *a, const void *b)
{
	const struct restore_item *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static enum ecode
make_arrays(struct moving *m, struct err *e)
{
	enum ecode rc = E_OK;
	void *p;

	for (struct restore_dir *d = m->w->dirs; rc == E_OK && d != NULL; d = d->next) {
		rc = arena_alloc(&m->w->plan, (d->count + 1) * sizeof(*d->items), &p, e);
		d->items = p;
		d->count = 0;
	}
	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].dir != NULL)
			settle(&m->v[i]);
	for (size_t i = 0; i < m->made_count; i++)
		settle(&m->made[i]);
	for (struct restore_dir *d = m->w->dirs; d != NULL; d = d->next) {
		qsort(d->items, d->count, sizeof(*d->items), by_name);
		for (size_t i = 0; i < d->count; i++)
			if (d->items[i].type == NODE_DIR)
				d->items[i].to.child->self = &d->items[i];
	}
	return E_OK;
}

static enum ecode
build(struct moving *m, struct err *e)
{
	struct restore *r = m->r;
	struct restore_item *self = r->root->self;
	enum ecode rc;

	if (m->n > 1)
		qsort(m->v, m->n, sizeof(*m->v), by_place);
	for (unsigned i = 0; i <= r->s->workers; i++)
		r->worker[i].dirs = NULL;
	rc = restore_dir_add(r, m->w, NULL, self, &r->root, e);
	if (rc != E_OK)
		return rc;
	r->root->wanted = true;
	rc = put_all(m, e);
	return rc == E_OK ? make_arrays(m, e) : rc;
}

static enum ecode
check_moves(const struct restore_args *args, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < args->move_count; i++)
		if (strcmp(args->moves[i].to, "/") != 0)
			rc = check_names(args->moves[i].from, args->moves[i].to, e);
	return rc;
}

static void
note_stripped(struct restore *r)
{
	const struct listener *l = r->s->listener;
	char text[NOTE_BYTES];

	if (r->stripped == 0)
		return;
	(void)snprintf(text, sizeof(text),
		"%" PRIu64 " entries have no name left and are not restored", r->stripped);
	l->note(l->arg, "stripped_away", text);
}

enum ecode
restore_map(struct restore *r, struct err *e)
{
	struct moving m = { .r = r,
		.w = &r->worker[r->s->workers],
		.path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2) };
	enum ecode rc;

	if (r->args->strip == 0 && r->args->move_count == 0)
		return E_OK;
	rc = check_moves(r->args, e);
	if (rc == E_OK)
		rc = take_apart(&m, e);
	if (rc == E_OK)
		rc = build(&m, e);
	if (rc == E_OK)
		note_stripped(r);
	free(m.v);
	free(m.made);
	buf_done(&m.path);
	return rc;
}
