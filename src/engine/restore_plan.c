/*
 * Planning: one task per directory.  It loads the tree, judges every name
 * before anything else, keeps what was selected and adds a task for each child
 * directory.  Depth costs heap, never stack.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "repo/reader.h"

#define DRAFT_FIRST 256 /* entries; grows by doubling */

static enum ecode
unsafe(struct restore *r, const struct restore_dir *d, struct slice name, const char *why,
	struct err *e)
{
	struct restore_trouble t = {
		.during = "restore", .code = E_PATH_UNSAFE, .why = why, .fatal_for_item = true
	};

	restore_tell(r, d, NULL, &t);
	return err_set(e, E_PATH_UNSAFE, 0, "%s: \"%.*s\"", why,
		name.len < 300 ? (int)name.len : 300, (const char *)name.p);
}

/* ---- one entry's rare parts ---- */

static enum ecode
copy_xattrs(struct restore *r, struct restore_worker *w, const struct node *node,
	struct restore_extra *x, struct err *e)
{
	struct meta_xattr *v;
	size_t n = 0;
	enum ecode rc;
	void *p;

	rc = arena_alloc(&w->plan, node->xattr_count * sizeof(*v), &p, e);
	v = p;
	for (size_t i = 0; rc == E_OK && i < node->xattr_count; i++) {
		if (!restore_policy_xattr(r, node->xattrs[i].name))
			continue;
		rc = arena_copy(
			&w->plan, node->xattrs[i].name.p, node->xattrs[i].name.len, &v[n].name, e);
		if (rc == E_OK)
			rc = arena_copy(&w->plan, node->xattrs[i].value.p,
				node->xattrs[i].value.len, &v[n].value, e);
		n++;
	}
	if (rc == E_OK) {
		x->xattrs = v;
		x->xattr_count = n;
	}
	return rc;
}

static bool
is_linked(const struct node *n)
{
	return n->links > 1 && n->inode != 0 && n->type != NODE_DIR && n->type != NODE_FIFO;
}

static enum ecode
fill_extra(struct restore *r, struct restore_worker *w, const struct node *node,
	struct restore_item *item, struct err *e)
{
	bool device = node->type == NODE_DEV || node->type == NODE_CHARDEV;
	struct restore_extra *x;
	enum ecode rc;
	void *p;

	if (node->xattr_count == 0 && node->type != NODE_SYMLINK && !device && !is_linked(node))
		return E_OK;
	rc = arena_alloc(&w->plan, sizeof(*x), &p, e);
	if (rc != E_OK)
		return rc;
	x = p;
	*x = (struct restore_extra){ .rdev = device ? node->device : 0, .names = 1 };
	if (is_linked(node)) {
		x->inode = node->inode;
		x->device_id = node->device_id;
	}
	if (node->type == NODE_SYMLINK)
		rc = arena_str(&w->plan, node->linktarget.p, node->linktarget.len, &x->target, e);
	if (rc == E_OK && node->xattr_count > 0)
		rc = copy_xattrs(r, w, node, x, e);
	item->extra = x;
	return rc;
}

static enum ecode
fill_content(
	struct restore_worker *w, const struct node *node, struct restore_item *item, struct err *e)
{
	const struct id *from = node->type == NODE_DIR ? &node->subtree : node->content;
	size_t n = node->type == NODE_DIR ? 1 : node->type == NODE_FILE ? node->content_count : 0;
	struct slice copy;
	enum ecode rc;

	if (n == 0)
		return E_OK;
	rc = arena_copy(&w->plan, from, n * sizeof(*from), &copy, e);
	if (rc != E_OK)
		return rc;
	item->content = (const struct id *)(const void *)copy.p;
	item->content_count = node->type == NODE_FILE ? n : 0;
	item->left = item->content_count;
	return E_OK;
}

static enum ecode
fill_item(struct restore *r, struct restore_worker *w, const struct node *node,
	struct restore_item *item, struct err *e)
{
	enum ecode rc;

	*item = (struct restore_item){
		.type = node->type,
		.st_mode = mode_to_st(node->mode),
		.uid = node->uid,
		.gid = node->gid,
		.mtime = node->mtime,
		.atime = node->atime,
		.size = node->type == NODE_FILE ? node->size : 0,
	};
	restore_policy_item(r, node, item);
	rc = arena_str(&w->plan, node->name.p, node->name.len, &item->name, e);
	if (rc == E_OK)
		rc = fill_content(w, node, item, e);
	if (rc == E_OK)
		rc = fill_extra(r, w, node, item, e);
	return rc;
}

/* ---- selection ---- */

struct selection {
	bool keep;  /* make it */
	bool enter; /* a directory only needed if something below it is kept */
};

static enum ecode
select_path(struct restore *r, struct restore_worker *w, struct restore_dir *d,
	const struct node *node, struct selection *out, struct err *e)
{
	const struct rules *in = r->args->includes, *ex = r->args->excludes;
	size_t base = d->path_len;
	const char *path;
	bool listed = true, above = true;
	enum ecode rc = E_OK;

	*out = (struct selection){ .keep = true, .enter = true };
	if (in == NULL && ex == NULL && r->args->wanted == NULL && r->only == NULL)
		return rc;
	/* w->path holds the directory's path, ending in a slash */
	w->path.len = base + 1;
	rc = buf_add(&w->path, node->name.p, node->name.len, e);
	if (rc != E_OK)
		return rc;
	path = (const char *)w->path.p;
	if (ex != NULL && rules_match(ex, path, w->path.len) != 0)
		*out = (struct selection){ .keep = false, .enter = false };
	else if (in != NULL && rules_match(in, path, w->path.len) == 0)
		*out = (struct selection){ .keep = false,
			.enter = rules_may_match_below(in, path, w->path.len) };
	if (out->keep && r->args->wanted != NULL)
		out->keep = node->type != NODE_DIR &&
			    r->args->wanted(r->args->wanted_arg, path, w->path.len);
	if (r->only != NULL)
		restore_only_ask(r->only, path, w->path.len, &listed, &above);
	out->keep = out->keep && listed;
	out->enter = out->enter && (listed || above);
	return E_OK;
}

/* Directories above something kept are needed; the first that knows ends the climb. */
void
restore_want(struct restore_dir *d)
{
	while (d != NULL && !atomic_exchange(&d->wanted, true))
		d = d->parent;
}

/* ---- one tree ---- */

/* Windows attributes mean nothing here; others we do not know are said once (format document 6.8). */
static void
note_generic(struct restore *r, const struct node *node)
{
	const struct listener *l = r->s->listener;
	struct slice key;
	struct json j;

	if (node->generic.len == 0)
		return;
	json_init(&j, node->generic.p, node->generic.len);
	if (!json_enter_object(&j))
		return;
	while (json_key(&j, &key)) {
		bool known = key.len >= 8 && memcmp(key.p, "windows.", 8) == 0;

		if (!known && !atomic_exchange(&r->generic_noted, true))
			l->note(l->arg, "attributes_ignored",
				"the snapshot holds attributes of another system");
		if (!json_skip(&j, NULL))
			return;
	}
}

static enum ecode
grow_draft(struct restore_worker *w, struct err *e)
{
	size_t cap = w->draft_cap == 0 ? DRAFT_FIRST : w->draft_cap * 2;
	struct restore_item *p;

	if (w->draft_count < w->draft_cap)
		return E_OK;
	p = reallocarray(w->draft, cap, sizeof(*p));
	if (p == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a directory of %zu entries", w->draft_count);
	w->draft = p;
	w->draft_cap = cap;
	return E_OK;
}

/* A kernel that has no inodes left ends a tree that multiplies itself, long before memory does. */
static enum ecode
count_planned(struct restore *r, struct err *e)
{
	uint64_t n = atomic_fetch_add(&r->planned_items, 1) + 1;

	if (n <= r->space.free_inodes || r->args->resume != NULL)
		return E_OK; /* a plan that is continued was counted when it was made */
	return err_set(e, E_DEST_SPACE, 0, "more than the %" PRIu64 " inodes that are free",
		r->space.free_inodes);
}

static enum ecode
keep_node(struct restore *r, struct restore_worker *w, struct restore_dir *d,
	const struct node *node, const struct selection *sel, struct err *e)
{
	struct restore_item *item;
	enum ecode rc;

	rc = grow_draft(w, e);
	if (rc == E_OK)
		rc = count_planned(r, e);
	if (rc != E_OK)
		return rc;
	item = &w->draft[w->draft_count];
	rc = fill_item(r, w, node, item, e);
	if (rc != E_OK)
		return rc;
	item->dir = d;
	/* an entered directory that is not kept itself waits for something below it */
	item->skipped = !sel->keep;
	w->draft_count++;
	if (sel->keep)
		restore_want(d);
	return E_OK;
}

static enum ecode
plan_node(struct restore *r, struct restore_worker *w, struct restore_dir *d,
	const struct node *node, struct err *e)
{
	struct selection sel;
	const char *flaw;
	enum ecode rc;

	if (!name_is_safe(node->name.p, node->name.len))
		return unsafe(r, d, node->name, "a stored name that is not a name", e);
	rc = select_path(r, w, d, node, &sel, e);
	if (rc != E_OK || (!sel.keep && !(sel.enter && node->type == NODE_DIR)))
		return rc;
	note_generic(r, node);
	flaw = node_flaw(node);
	if (flaw != NULL) {
		char name[NAME_BYTES_MAX + 1] = { 0 };

		memcpy(name, node->name.p, node->name.len);
		restore_damage(r, d, name, E_TREE_FORMAT, 0, flaw);
		return E_OK;
	}
	if (node->type == NODE_SOCKET) {
		atomic_fetch_add(&r->sockets, 1);
		return E_OK;
	}
	if (restore_policy_leaves(r, node->type))
		return E_OK;
	return keep_node(r, w, d, node, &sel, e);
}

static int
by_name(const void *a, const void *b)
{
	const struct restore_item *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Ascending and without twins, whatever the vault says; then into the arena. */
static enum ecode
settle_items(struct restore *r, struct restore_worker *w, struct restore_dir *d, bool sorted,
	struct err *e)
{
	struct slice copy;
	enum ecode rc;

	if (!sorted)
		qsort(w->draft, w->draft_count, sizeof(*w->draft), by_name);
	for (size_t i = 1; i < w->draft_count; i++) {
		const char *name = w->draft[i].name;

		if (strcmp(w->draft[i - 1].name, name) == 0)
			return unsafe(r, d, (struct slice){ (const uint8_t *)name, strlen(name) },
				"two entries of one directory have the same name", e);
	}
	rc = arena_copy(&w->plan, w->draft, w->draft_count * sizeof(*w->draft), &copy, e);
	if (rc != E_OK)
		return rc;
	d->items = (struct restore_item *)(void *)(uintptr_t)copy.p;
	d->count = w->draft_count;
	return E_OK;
}

static enum ecode plan_task(struct flow_task *task, unsigned worker, struct err *e);

enum ecode
restore_dir_add(struct restore *r, struct restore_worker *w, struct restore_dir *parent,
	struct restore_item *self, struct restore_dir **out, struct err *e)
{
	size_t above = parent != NULL ? parent->path_len : 0;
	size_t len = parent != NULL ? above + 1 + strlen(self->name) : 0;
	struct restore_dir *d;
	enum ecode rc;
	void *p;

	if (len > PATH_TEXT_MAX)
		return err_set(e, E_LIMIT, 0, "a path of more than %u bytes", PATH_TEXT_MAX);
	rc = arena_alloc(&w->plan, sizeof(*d), &p, e);
	if (rc != E_OK)
		return rc;
	d = p;
	*d = (struct restore_dir){
		.task = { .run = plan_task, .drop = restore_keep_task },
		.run = r,
		.parent = parent,
		.self = self,
		.path_len = len,
		.depth = parent != NULL ? parent->depth + 1 : 0,
		.next = w->dirs,
	};
	w->dirs = d;
	*out = d;
	return E_OK;
}

static enum ecode
add_children(struct restore *r, struct restore_worker *w, struct restore_dir *d, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < d->count; i++) {
		struct restore_item *item = &d->items[i];

		if (item->type != NODE_DIR)
			continue;
		rc = restore_dir_add(r, w, d, item, &item->to.child, e);
		if (rc != E_OK)
			return rc;
		if (!item->skipped)
			restore_want(item->to.child);
		flow_add(r->s->flow, &item->to.child->task);
	}
	return rc;
}

static enum ecode
read_tree(struct restore *r, struct restore_worker *w, struct restore_dir *d, bool again,
	struct err *e)
{
	struct tree_reader reader;
	const char *last = NULL;
	bool sorted = true, more = true;
	struct node node;
	enum ecode rc;

	rc = restore_path(d, NULL, &w->path, e);
	if (rc == E_OK)
		rc = buf_add_byte(&w->path, '/', e);
	w->draft_count = 0;
	tree_reader_init(&reader, w->plain.p, w->plain.len, &w->nodes);
	while (rc == E_OK) {
		size_t before = w->draft_count;

		rc = tree_next(&reader, &node, &more, e);
		if (rc != E_OK || !more)
			break;
		rc = repeats_entry(&r->repeats, again, e);
		if (rc == E_OK)
			rc = plan_node(r, w, d, &node, e);
		if (rc != E_OK || w->draft_count == before)
			continue;
		sorted = sorted && (last == NULL || strcmp(last, w->draft[before].name) < 0);
		last = w->draft[before].name;
	}
	if (rc == E_OK)
		rc = settle_items(r, w, d, sorted, e);
	arena_reset(&w->nodes);
	return rc;
}

static enum ecode
plan_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct restore *r = d->run;
	struct restore_worker *w = &r->worker[worker];
	bool again = false;
	enum ecode rc = restore_asked_to_stop(r, e);

	if (rc == E_OK)
		rc = repeats_enter(&r->repeats, d->self->content, &again, e);
	if (rc != E_OK)
		return rc;
	rc = blob_load(r->s->vault, r->s->index, w->codec, BLOB_TREE, d->self->content, &w->scratch,
		&w->plain, e);
	if (rc == E_OK)
		rc = read_tree(r, w, d, again, e);
	if (rc == E_OK)
		return add_children(r, w, d, e);
	if (!restore_is_damage(rc) || repeats_over(&r->repeats))
		return rc;
	restore_damage(r, d, NULL, rc, e->sys, e->detail);
	return E_OK;
}

enum ecode
restore_plan(struct restore *r, const struct id *tree, struct err *e)
{
	struct restore_worker *w = &r->worker[r->s->workers];
	struct restore_item *root;
	enum ecode rc;
	void *p;

	rc = arena_alloc(&w->plan, sizeof(*root), &p, e);
	if (rc != E_OK)
		return rc;
	root = p;
	*root = (struct restore_item){ .name = "", .type = NODE_DIR, .content = tree };
	rc = restore_dir_add(r, w, NULL, root, &r->root, e);
	if (rc != E_OK)
		return rc;
	r->root->wanted = true;
	repeats_init(&r->repeats, r->s->index);
	flow_add(r->s->flow, &r->root->task);
	return flow_finish(r->s->flow, e);
}
