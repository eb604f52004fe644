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

static enum ecode
clean_target(struct arena *a, const char *text, const char **out, struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(PATH_TEXT_MAX);
	enum ecode rc = path_clean(&b, text, strlen(text), e);

	return rc == E_OK ? arena_str(a, b.p, b.len, out, e) : rc;
}

static enum ecode
absolute(
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
	return rc == E_OK ? clean_target(a, joined, out, e) : rc;
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
	insert_child(dir, v);
	*out = v;
	return E_OK;
}

static enum ecode
prefix_text(struct arena *a, const char *clean, size_t len, const char **out, struct err *e)
{
	return arena_str(a, clean, len, out, e);
}

/* Add one cleaned target that has at least one component. */
static enum ecode
add_target(struct backup *b, struct arena *a, struct vnode *top, const char *clean,
	bool explicit_target, struct err *e)
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
			rc = absolute(b, a, v->fs_path, &v->abs_path, e);
		part += len;
		part += *part == '/';
	}
	if (rc == E_OK) {
		v->leaf = true;
		v->explicit_target = explicit_target;
		v->children = NULL; /* inner targets change nothing */
	}
	return rc;
}

/* ".", "..", "/": each entry is a target of its own, but not an explicit one. */
static enum ecode
add_entries(struct backup *b, struct arena *a, struct vnode *top, const char *clean, struct err *e)
{
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
			rc = clean_target(a, path, &path, e);
		if (rc == E_OK)
			rc = add_target(b, a, top, path, false, e);
	}
	return rc;
}

static enum ecode
add_one(struct backup *b, struct arena *a, struct vnode *top, const char *text, size_t *found,
	struct err *e)
{
	const char *clean;
	struct os_meta meta;
	size_t root_len;
	int sys;
	enum ecode rc = clean_target(a, text, &clean, e);

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
		return add_target(b, a, top, clean, true, e);
	rc = add_entries(b, a, top, clean, e);
	if (backup_concerns_path(rc)) {
		backup_problem(b, text, e);
		return E_OK;
	}
	return rc;
}

enum ecode
targets_build(struct backup *b, struct arena *a, struct vnode **root, struct err *e)
{
	const struct backup_args *args = b->args;
	struct vnode *top;
	size_t found = 0;
	enum ecode rc = vnode_new(a, (struct slice){ (const uint8_t *)"", 0 }, &top, e);

	for (size_t i = 0; rc == E_OK && i < args->target_count; i++)
		rc = add_one(b, a, top, args->targets[i], &found, e);
	if (rc != E_OK)
		return rc;
	if (found == 0)
		return args->target_count == 1
			       ? err_set(e, E_SRC_MISSING, 0, "the only source given is not there")
			       : err_set(e, E_SRC_MISSING, 0,
					 "none of the %zu sources given is there",
					 args->target_count);
	*root = top;
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

		rc = clean_target(a, args->targets[i], &clean, e);
		if (rc == E_OK)
			rc = absolute(b, a, clean, &clean, e);
		if (rc == E_OK)
			paths[i] = (struct slice){ (const uint8_t *)clean, strlen(clean) };
	}
	if (rc == E_OK)
		*out = paths;
	return rc;
}

struct place_id {
	uint64_t dev, ino;
};

/* Is `want` this directory or one above it?  Follows ".." of the kernel, so links and bind mounts count. */
static bool
lies_within(const struct os *os, const char *path, struct place_id want)
{
	struct place_id last = { 0, 0 };
	struct os_meta m;
	int fd = -1, next;
	bool found = false;

	if (io_open(os, AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, &fd, NULL) != E_OK)
		return false;
	for (unsigned i = 0; i < PARENT_CHAIN_MAX && !found; i++) {
		if (os->stat(os, fd, "", AT_EMPTY_PATH, &m) < 0)
			break;
		if (i > 0 && m.dev == last.dev && m.ino == last.ino)
			break; /* ".." of the root is the root */
		found = m.dev == want.dev && m.ino == want.ino;
		last = (struct place_id){ m.dev, m.ino };
		next = os->open(os, fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		io_close(os, &fd);
		if (next < 0)
			return found;
		fd = next;
	}
	io_close(os, &fd);
	return found;
}

/* Excluded by name, itself or a directory above it: then it may lie inside a source. */
static bool
vault_excluded(const struct backup *b, const char *vault)
{
	size_t len = strlen(vault);

	if (b->args->excludes == NULL)
		return false;
	for (size_t i = 1; i <= len; i++) {
		if ((vault[i] == '/' || vault[i] == '\0') &&
			rules_match(b->args->excludes, vault, i) != 0)
			return true;
	}
	return false;
}

static enum ecode
overlap_with(struct backup *b, struct arena *a, const char *target, const char *vault,
	bool excluded, struct err *e)
{
	const struct os *os = b->s->os;
	struct os_meta m;
	const char *clean;
	enum ecode rc = clean_target(a, target, &clean, e);

	if (rc != E_OK || os->stat(os, AT_FDCWD, clean, AT_SYMLINK_NOFOLLOW, &m) < 0)
		return rc;
	if (!excluded && lies_within(os, vault, (struct place_id){ m.dev, m.ino }))
		return err_set(e, E_SRC_OVERLAP, 0, "the vault %s lies inside the source %s", vault,
			target);
	if (lies_within(os, clean, (struct place_id){ b->vault_dev, b->vault_ino }))
		return err_set(e, E_SRC_OVERLAP, 0, "the source %s lies inside the vault %s",
			target, vault);
	return E_OK;
}

enum ecode
targets_overlap(struct backup *b, struct arena *a, struct err *e)
{
	const char *vault = store_local_path(b->s->store);
	struct os_meta m;
	bool excluded;
	enum ecode rc;

	if (vault == NULL || b->s->os->stat(b->s->os, AT_FDCWD, vault, 0, &m) < 0)
		return E_OK;
	b->vault_dev = m.dev;
	b->vault_ino = m.ino;
	b->vault_known = true;
	rc = clean_target(a, vault, &vault, e);
	if (rc == E_OK)
		rc = absolute(b, a, vault, &vault, e);
	if (rc != E_OK)
		return rc;
	excluded = vault_excluded(b, vault);
	for (size_t i = 0; rc == E_OK && i < b->args->target_count; i++)
		rc = overlap_with(b, a, b->args->targets[i], vault, excluded, e);
	return rc;
}
