/*
 * From what was typed to the directories of the snapshot (format document 6.9).
 * The components of each cleaned target, without leading "/" and "..", become
 * a small tree of vnodes; its leaves are the targets.
 */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* A chain of parents longer than this is not a path the kernel could have given (PATH_MAX / 2). */
#define PARENT_CHAIN_MAX 2048

/* Leading "/" or "../" parts: where the first component lies.  Returns the rest. */
static const char *
split_root(const char *clean, size_t *root_len)
{
	const char *p = clean;

	while (*p == '/')
		p++;
	while (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
		p += p[2] == '/' ? 3 : 2;
	*root_len = (size_t)(p - clean);
	return p;
}

enum ecode
target_clean(struct arena *a, const char *text, const char **out, struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(PATH_TEXT_MAX);
	enum ecode rc = path_clean(&b, text, strlen(text), e);

	return rc == E_OK ? arena_str(a, b.p, b.len, out, e) : rc;
}

enum ecode
target_absolute(
	const struct backup *b, struct arena *a, const char *clean, const char **out, struct err *e)
{
	const char *joined;
	enum ecode rc;

	if (clean[0] == '/') {
		*out = clean;
		return E_OK;
	}
	if (b->cwd == NULL)
		return err_set(e, E_SRC_MISSING, -b->cwd_error,
			"%s: the working directory has no name; give an absolute path", clean);
	rc = path_join(a, b->cwd, clean, &joined, e);
	return rc == E_OK ? target_clean(a, joined, out, e) : rc;
}

static enum ecode
vnode_new(struct arena *a, struct slice name, struct vnode **out, struct err *e)
{
	void *p;
	struct vnode *v;
	enum ecode rc = arena_alloc(a, sizeof(*v), &p, e);

	if (rc != E_OK)
		return rc;
	v = p;
	*v = (struct vnode){ 0 };
	rc = arena_str(a, name.p, name.len, &v->name, e);
	*out = v;
	return rc;
}

static struct vnode *
find_child(struct vnode *dir, const char *name, size_t len)
{
	for (struct vnode *v = dir->children; v != NULL; v = v->next) {
		if (strlen(v->name) == len && memcmp(v->name, name, len) == 0)
			return v;
	}
	return NULL;
}

/* Keeps the list strictly ascending by raw bytes. */
static void
insert_child(struct vnode *dir, struct vnode *v)
{
	struct vnode **at = &dir->children;

	while (*at != NULL && strcmp((*at)->name, v->name) < 0)
		at = &(*at)->next;
	v->next = *at;
	*at = v;
}

/* The vnode for one component; a first component of the same name elsewhere gets "-1", "-2", … */
static enum ecode
step_down(struct arena *a, struct vnode *dir, struct slice part, const char *root,
	struct vnode **out, struct err *e)
{
	autoclean(buf_done) struct buf name = buf_limit(PATH_TEXT_MAX);
	struct vnode *v;
	enum ecode rc = buf_add(&name, part.p, part.len, e);

	for (unsigned i = 1; rc == E_OK; i++) {
		v = find_child(dir, (const char *)name.p, name.len);
		if (v != NULL && strcmp(v->root, root) == 0) {
			*out = v;
			return E_OK;
		}
		if (v == NULL)
			break;
		buf_clear(&name);
		rc = buf_printf(&name, e, "%.*s-%u", (int)part.len, (const char *)part.p, i);
	}
	if (rc == E_OK)
		rc = vnode_new(a, buf_slice(&name), &v, e);
	if (rc != E_OK)
		return rc;
	v->root = root;
	v->up = dir;
	insert_child(dir, v);
	*out = v;
	return E_OK;
}

static enum ecode
prefix_text(struct arena *a, const char *clean, size_t len, const char **out, struct err *e)
{
	return arena_str(a, clean, len, out, e);
}

struct target_kind {
	bool explicit_target;
	size_t source; /* number of the target on the command line */
};

/* Add one cleaned target that has at least one component. */
static enum ecode
add_target(struct backup *b, struct arena *a, struct vnode *top, const char *clean,
	const struct target_kind *kind, struct err *e)
{
	size_t root_len;
	const char *part = split_root(clean, &root_len);
	const char *root;
	struct vnode *v = top;
	enum ecode rc = prefix_text(a, clean, root_len, &root, e);

	while (rc == E_OK && *part != '\0') {
		size_t len = strcspn(part, "/");

		if (v->leaf)
			return E_OK; /* an outer target has it already */
		rc = step_down(a, v, (struct slice){ (const uint8_t *)part, len },
			v == top ? root : "", &v, e);
		if (rc == E_OK && v->fs_path == NULL)
			rc = prefix_text(a, clean, (size_t)(part - clean) + len, &v->fs_path, e);
		if (rc == E_OK && v->abs_path == NULL)
			rc = target_absolute(b, a, v->fs_path, &v->abs_path, e);
		part += len;
		part += *part == '/';
	}
	if (rc == E_OK) {
		v->leaf = true;
		v->explicit_target = kind->explicit_target;
		v->source = kind->source;
		v->children = NULL; /* inner targets change nothing */
	}
	return rc;
}

/* ".", "..", "/": each entry is a target of its own, but not an explicit one. */
static enum ecode
add_entries(struct backup *b, struct arena *a, struct vnode *top, const char *clean, size_t source,
	struct err *e)
{
	const struct target_kind kind = { .explicit_target = false, .source = source };
	const struct os *os = b->s->os;
	struct walk_list list = { 0 };
	int fd = -1;
	enum ecode rc = walk_open_dir(os, AT_FDCWD, clean, true, &fd, e);

	if (rc == E_OK)
		rc = walk_dir(os, fd, clean, a, &list, e);
	io_close(os, &fd);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const char *path;

		rc = path_join(a, clean, list.v[i].name, &path, e);
		if (rc == E_OK)
			rc = target_clean(a, path, &path, e);
		if (rc == E_OK)
			rc = add_target(b, a, top, path, &kind, e);
	}
	return rc;
}

static enum ecode
add_one(struct backup *b, struct arena *a, struct vnode *top, size_t source, size_t *found,
	struct err *e)
{
	const struct target_kind kind = { .explicit_target = true, .source = source };
	const char *text = b->args->targets[source];
	const char *clean;
	struct os_meta meta;
	size_t root_len;
	int sys;
	enum ecode rc = target_clean(a, text, &clean, e);

	if (rc != E_OK)
		return rc;
	sys = b->s->os->stat(b->s->os, AT_FDCWD, clean, AT_SYMLINK_NOFOLLOW, &meta);
	if (sys < 0) {
		struct err why;

		rc = walk_refusal(&why, sys, "stat", text);
		if (!backup_concerns_path(rc)) {
			*e = why;
			return rc;
		}
		backup_problem(b, text, &why);
		return E_OK;
	}
	++*found;
	if (*split_root(clean, &root_len) != '\0' && strcmp(clean, ".") != 0)
		return add_target(b, a, top, clean, &kind, e);
	rc = add_entries(b, a, top, clean, source, e);
	if (backup_concerns_path(rc)) {
		backup_problem(b, text, e);
		return E_OK;
	}
	return rc;
}

/* Which sources have no leaf of their own: an outer one has them, or they are not there. */
static void
note_nested(struct backup *b, const struct vnode *top)
{
	const struct vnode *v = top;

	for (size_t i = 0; i < b->source_count; i++)
		b->source[i].nested = true;
	while (v != NULL) {
		if (v->leaf)
			b->source[v->source].nested = false;
		if (v->children != NULL) {
			v = v->children;
			continue;
		}
		while (v != NULL && v->next == NULL)
			v = v->up;
		v = v == NULL ? NULL : v->next;
	}
}

enum ecode
targets_build(struct backup *b, struct arena *a, struct vnode **root, struct err *e)
{
	const struct backup_args *args = b->args;
	struct vnode *top;
	size_t found = 0;
	enum ecode rc = vnode_new(a, (struct slice){ (const uint8_t *)"", 0 }, &top, e);

	for (size_t i = 0; rc == E_OK && i < args->target_count; i++)
		rc = add_one(b, a, top, i, &found, e);
	if (rc != E_OK)
		return rc;
	if (found == 0)
		return args->target_count == 1
			       ? err_set(e, E_SRC_MISSING, 0, "the only source given is not there")
			       : err_set(e, E_SRC_MISSING, 0,
					 "none of the %zu sources given is there",
					 args->target_count);
	note_nested(b, top);
	*root = top;
	return E_OK;
}

/* One account for each target. */
static enum ecode
sources_make(struct backup *b, struct arena *a, const struct slice *paths, struct err *e)
{
	size_t n = b->args->target_count;
	void *p;
	enum ecode rc = arena_alloc(a, n * sizeof(struct source), &p, e);

	if (rc != E_OK)
		return rc;
	b->source = p;
	b->source_count = n;
	memset(b->source, 0, n * sizeof(struct source)); /* atomics of 0 are all bits 0 here */
	for (size_t i = 0; i < n; i++)
		b->source[i].path = (const char *)paths[i].p;
	return E_OK;
}

enum ecode
targets_paths(struct backup *b, struct arena *a, struct slice **out, struct err *e)
{
	const struct backup_args *args = b->args;
	void *p;
	struct slice *paths;
	enum ecode rc = arena_alloc(a, args->target_count * sizeof(*paths), &p, e);

	paths = p;
	for (size_t i = 0; rc == E_OK && i < args->target_count; i++) {
		const char *clean;

		rc = target_clean(a, args->targets[i], &clean, e);
		if (rc == E_OK)
			rc = target_absolute(b, a, clean, &clean, e);
		if (rc == E_OK)
			paths[i] = (struct slice){ (const uint8_t *)clean, strlen(clean) };
	}
	if (rc == E_OK)
		rc = sources_make(b, a, paths, e);
	if (rc == E_OK)
		rc = links_begin(b, a, e);
	if (rc == E_OK)
		*out = paths;
	return rc;
}
