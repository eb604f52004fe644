/*
 * Making a safety set.  Nothing of the destination is changed here, and the
 * restore changes nothing before safety_seal() said E_OK: a copy that fails
 * ends the restore, it is never "logged and gone on".
 *
 * What matters for putting back stands in manifest.json, attributes included:
 * the set may lie on a file system that cannot hold them.
 */
#include "engine/safety.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "fs/remove.h"
#include "fs/walk.h"
#include "os/io.h"
#include "repo/blob.h" /* with the hasher */

#define COPY_BYTES     ((size_t)1 << 20) /* one read */
#define HOST_BYTES     256
#define SET_NAME_BYTES 48
#define SET_TRIES      100 /* sets of one second */

struct safety {
	const struct os *os;
	struct safety_args args;
	struct arena arena;
	struct buf data, path;
	struct hasher *hasher;
	int base_fd, set_fd;
	struct place *place; /* the set */
	const char *name, *set_path;
	const char *last_dir; /* made already; below the set */
	struct safety_entry *first, **tail;
	struct safety_story story;
	bool sealed;
};

/* Whatever went wrong, it is the safety copy that failed, and nothing was touched. */
static enum ecode
failed(enum ecode rc, struct err *e, const char *what)
{
	struct err why;

	if (rc == E_OK || rc == E_NOMEM || rc == E_INTERRUPTED || rc == E_SAFETY_COPY || e == NULL)
		return rc;
	why = *e;
	(void)err_set(e, E_SAFETY_COPY, why.sys, "%s: %s", what, why.detail);
	err_note(e, "%s", err_row(rc)->what);
	return E_SAFETY_COPY;
}

/* ---- the set's directory ---- */

static enum ecode
open_base(struct safety *s, struct err *e)
{
	int flags = O_RDONLY | O_DIRECTORY;
	enum ecode rc = io_mkdirs(s->os, AT_FDCWD, s->args.base, 0700, e);

	return rc == E_OK ? io_open(s->os, AT_FDCWD, s->args.base, flags, 0, &s->base_fd, e) : rc;
}

static enum ecode
make_set_dir(struct safety *s, struct err *e)
{
	struct civil c = instant_civil(s->story.when);
	char name[SET_NAME_BYTES];
	int rc = -EEXIST;

	for (unsigned n = 1; rc == -EEXIST && n <= SET_TRIES; n++) {
		int len = snprintf(name, sizeof(name), "%04d-%02d-%02d_%02d%02d%02d", (int)c.year,
			c.month, c.day, c.hour, c.minute, c.second);

		if (n > 1)
			(void)snprintf(name + len, sizeof(name) - (size_t)len, "_%u", n);
		rc = s->os->mkdir(s->os, s->base_fd, name, 0700);
	}
	if (rc < 0)
		return io_refusal(e, E_IO, rc, "mkdir", name);
	return arena_str(&s->arena, name, strlen(name), &s->name, e);
}

static enum ecode
open_set(struct safety *s, struct err *e)
{
	const struct slice none = { NULL, 0 };
	struct io_publish begun = { .name = SAFETY_BEGUN, .mode = 0600, .fsync = true };
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	enum ecode rc = make_set_dir(s, e);

	if (rc == E_OK)
		rc = path_join(&s->arena, s->args.base, s->name, &s->set_path, e);
	if (rc == E_OK)
		rc = io_open(s->os, s->base_fd, s->name, flags, 0, &s->set_fd, e);
	begun.dir = s->set_fd;
	if (rc == E_OK)
		rc = io_publish(s->os, &begun, &none, 0, e);
	if (rc == E_OK)
		rc = place_open_at(s->os, s->set_fd, ".", &s->place, e);
	return rc;
}

static enum ecode
begin(struct safety *s, struct err *e)
{
	char host[HOST_BYTES];
	enum ecode rc = hasher_open(&s->hasher, e);

	s->story = (struct safety_story){ .when = s->os->wall(s->os),
		.source = s->args.source,
		.home = s->args.home,
		.dest = s->args.dest,
		.run_id = s->args.run_id };
	if (s->os->hostname(s->os, host, sizeof(host)) < 0)
		(void)snprintf(host, sizeof(host), "unknown");
	if (rc == E_OK)
		rc = arena_str(&s->arena, host, strlen(host), &s->story.host, e);
	if (rc == E_OK)
		rc = buf_reserve(&s->data, COPY_BYTES, e);
	if (rc == E_OK)
		rc = open_base(s, e);
	return rc == E_OK ? open_set(s, e) : rc;
}

enum ecode
safety_open(const struct os *os, const struct safety_args *args, struct safety **out, struct err *e)
{
	struct safety *s = calloc(1, sizeof(*s));
	enum ecode rc;

	if (s == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "safety set");
	*s = (struct safety){ .os = os,
		.args = *args,
		.arena = arena_limit(SAFETY_ARENA_MAX),
		.data = buf_limit(COPY_BYTES),
		.path = buf_limit(PATH_TEXT_MAX),
		.base_fd = -1,
		.set_fd = -1 };
	s->tail = &s->first;
	rc = begin(s, e);
	if (rc != E_OK)
		safety_close(&s);
	else
		*out = s;
	return failed(rc, e, args->base);
}

void
safety_close(struct safety **sp)
{
	struct safety *s = *sp;

	if (s == NULL)
		return;
	place_close(&s->place);
	io_close(s->os, &s->set_fd);
	if (!s->sealed && s->name != NULL) /* what stays is removed as the oldest one day */
		(void)(remove_tree_at(s->os, s->base_fd, s->name, NULL) == E_OK);
	io_close(s->os, &s->base_fd);
	hasher_close(&s->hasher);
	buf_done(&s->data);
	buf_done(&s->path);
	arena_done(&s->arena);
	free(s);
	*sp = NULL;
}

const char *
safety_path(const struct safety *s)
{
	return s->set_path;
}

uint64_t
safety_files(const struct safety *s)
{
	return s->story.files;
}

/* ---- where a copy goes ---- */

static bool
is_reserved(const char *rel)
{
	static const char *const names[] = { SAFETY_TOML, SAFETY_JSON, SAFETY_ROOT, SAFETY_BEGUN };
	size_t len = strcspn(rel, "/");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == len && memcmp(names[i], rel, len) == 0)
			return true;
	return false;
}

/* Below home as it is there; whatever could meet a name of ours, and all else, below _root: no two paths share a copy. */
static enum ecode
name_copy(struct safety *s, const char *rel, const char **out, struct err *e)
{
	const char *home = s->args.home, *path, *below = NULL;
	enum ecode rc = path_join(&s->arena, s->args.dest, rel, &path, e);

	if (rc != E_OK)
		return rc;
	if (home != NULL && strcmp(home, "/") != 0 && path_within(home, path))
		below = path + strlen(home) + 1;
	if (below != NULL && !is_reserved(below)) {
		*out = below;
		return E_OK;
	}
	return path_join(&s->arena, SAFETY_ROOT, path[0] == '/' ? path + 1 : path, out, e);
}

/* Every directory above `copy`; most neighbours share one. */
static enum ecode
make_parents(struct safety *s, const char *copy, struct err *e)
{
	const char *slash = strrchr(copy, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - copy);
	enum ecode rc = E_OK;
	const char *dir;

	if (len == 0 || (s->last_dir != NULL && strlen(s->last_dir) == len &&
				memcmp(s->last_dir, copy, len) == 0))
		return E_OK;
	for (const char *p = strchr(copy, '/'); rc == E_OK && p != NULL; p = strchr(p + 1, '/')) {
		rc = arena_str(&s->arena, copy, (size_t)(p - copy), &dir, e);
		if (rc == E_OK)
			rc = place_dir(s->place, dir, e);
		if (rc == E_PLACE_EXISTS)
			rc = E_OK;
		if (rc == E_OK)
			s->last_dir = dir;
	}
	return rc;
}

struct copying {
	struct safety *s;
	struct place *live;
	struct safety_entry *entry;
	const char *name; /* last component of entry->rel */
	int from, to;     /* directories that hold the two */
	int unread;       /* errno of an attribute; 0: all were read */
};

static void
copying_done(struct copying *c)
{
	io_close(c->s->os, &c->from);
	io_close(c->s->os, &c->to);
}

static enum ecode
open_parent(struct safety *s, struct place *p, const char *rel, int *fd, struct err *e)
{
	const char *slash = strrchr(rel, '/');
	enum ecode rc;

	buf_clear(&s->path);
	rc = buf_add(&s->path, rel, slash == NULL ? 0 : (size_t)(slash - rel), e);
	if (rc == E_OK)
		rc = buf_add_byte(&s->path, '\0', e);
	return rc == E_OK ? place_open_dir(p, (const char *)s->path.p, fd, e) : rc;
}

/* ---- one path ---- */

static enum ecode
stat_now(struct copying *c, int fd, struct os_meta *out, struct err *e)
{
	const struct os *os = c->s->os;
	int rc = fd >= 0 ? os->stat(os, fd, "", AT_EMPTY_PATH, out)
			 : os->stat(os, c->from, c->name, AT_SYMLINK_NOFOLLOW, out);

	return rc < 0 ? io_refusal(e, E_IO_READ, rc, "stat", c->entry->rel) : E_OK;
}

static bool
is_same(const struct os_meta *a, const struct os_meta *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mode == b->mode && a->size == b->size &&
	       instant_cmp(a->mtime, b->mtime) == 0 && instant_cmp(a->ctime, b->ctime) == 0;
}

static enum ecode
copy_bytes(struct copying *c, int from, int to, struct err *e)
{
	struct safety *s = c->s;
	uint64_t at = 0;
	size_t got = 1;
	enum ecode rc = E_OK;

	hasher_begin(s->hasher);
	while (rc == E_OK && got > 0) {
		rc = io_pread(s->os, from, s->data.p, COPY_BYTES, at, &got, c->entry->rel, e);
		if (rc == E_OK && got > 0)
			rc = io_pwrite(s->os, to, s->data.p, got, at, c->entry->copy, e);
		if (rc == E_OK)
			hasher_add(s->hasher, s->data.p, got);
		at += got;
	}
	hasher_end(s->hasher, &c->entry->hash);
	if (rc == E_OK && at != c->entry->meta.size)
		return err_set(
			e, E_SAFETY_COPY, 0, "%s changed while it was copied", c->entry->rel);
	return rc;
}

static struct meta_apply
described(const struct safety_entry *entry)
{
	const struct os_meta *m = &entry->meta;

	return (struct meta_apply){ .owner = true,
		.mode = !S_ISLNK(m->mode),
		.times = true,
		.xattrs = true,
		.uid = m->uid,
		.gid = m->gid,
		.st_mode = m->mode & 07777,
		.atime = m->atime,
		.mtime = m->mtime,
		.xattr = entry->xattrs.v,
		.xattr_count = entry->xattrs.n,
		.setid_with_owner = S_ISREG(m->mode),
		.is_symlink = S_ISLNK(m->mode),
		.fresh = true };
}

static void
xattr_unread(void *arg, const char *name, int sys)
{
	struct copying *c = arg;

	(void)name;
	c->unread = sys;
}

/* All of them: what the copy has not, no undo brings back. */
static enum ecode
read_xattrs(struct copying *c, int fd, struct err *e)
{
	enum ecode rc = meta_xattrs_read(c->s->os, fd >= 0 ? fd : c->from, fd >= 0 ? NULL : c->name,
		&c->s->arena, &c->entry->xattrs, xattr_unread, c, e);

	if (rc == E_OK && c->unread != 0)
		rc = io_refusal(e, E_IO_READ, -c->unread, "getxattr", c->entry->rel);
	return rc;
}

static enum ecode
copy_file(struct copying *c, struct err *e)
{
	autoclean(io_fd_done) struct io_fd from = { .os = c->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd to = { .os = c->s->os, .fd = -1 };
	struct meta_apply m;
	struct os_meta after;
	enum ecode rc = walk_open_file(c->s->os, c->from, c->name, &from.fd, e);

	if (rc == E_OK)
		rc = stat_now(c, from.fd, &c->entry->meta, e);
	if (rc == E_OK)
		rc = read_xattrs(c, from.fd, e);
	if (rc == E_OK)
		rc = place_file(c->s->place, c->to, path_base(c->entry->copy), &to.fd, e);
	if (rc == E_OK)
		rc = copy_bytes(c, from.fd, to.fd, e);
	if (rc == E_OK)
		rc = stat_now(c, from.fd, &after, e);
	if (rc == E_OK && !is_same(&c->entry->meta, &after))
		rc = err_set(e, E_SAFETY_COPY, 0, "%s changed while it was copied", c->entry->rel);
	if (rc != E_OK)
		return rc;
	m = described(c->entry);
	/* what this file system cannot hold stands in manifest.json, which is what counts */
	(void)meta_put(c->s->os, to.fd, NULL, &m, NULL, NULL);
	c->s->story.files++;
	return E_OK;
}

static enum ecode
copy_link(struct copying *c, struct err *e)
{
	struct slice target;
	struct meta_apply m;
	enum ecode rc = walk_readlink(c->s->os, c->from, c->name, &c->s->arena, &target, e);
	const char *base = path_base(c->entry->copy);

	if (rc == E_OK)
		rc = read_xattrs(c, -1, e);
	if (rc == E_OK)
		rc = place_symlink(c->s->place, c->to, base, (const char *)target.p, e);
	if (rc != E_OK)
		return rc;
	c->entry->target = (const char *)target.p;
	m = described(c->entry);
	(void)meta_put(c->s->os, c->to, base, &m, NULL, NULL);
	c->s->story.files++;
	return E_OK;
}

/* A directory, a device, a fifo, a socket: what they are is all there is to keep; it goes into the manifest. */
static enum ecode
record(struct copying *c, struct err *e)
{
	c->entry->copy = NULL;
	return read_xattrs(c, -1, e);
}

static enum ecode
new_entry(struct safety *s, const char *rel, struct safety_entry **out, struct err *e)
{
	struct safety_entry *entry;
	enum ecode rc;
	void *p;

	rc = arena_alloc(&s->arena, sizeof(*entry), &p, e);
	if (rc != E_OK)
		return rc;
	entry = p;
	*entry = (struct safety_entry){ .next = NULL };
	rc = arena_str(&s->arena, rel, strlen(rel), &entry->rel, e);
	if (rc == E_OK)
		rc = name_copy(s, rel, &entry->copy, e);
	if (rc != E_OK)
		return rc;
	*s->tail = entry;
	s->tail = &entry->next;
	*out = entry;
	return E_OK;
}

static enum ecode
copy_one(struct safety *s, struct place *live, struct safety_entry *entry, struct err *e)
{
	autoclean(copying_done) struct copying c = { .s = s,
		.live = live,
		.entry = entry,
		.name = path_base(entry->rel),
		.from = -1,
		.to = -1 };
	enum ecode rc = open_parent(s, live, entry->rel, &c.from, e);

	if (rc == E_OK)
		rc = stat_now(&c, -1, &entry->meta, e);
	if (rc != E_OK)
		return rc;
	if (!S_ISREG(entry->meta.mode) && !S_ISLNK(entry->meta.mode))
		return record(&c, e);
	rc = make_parents(s, entry->copy, e);
	if (rc == E_OK)
		rc = open_parent(s, s->place, entry->copy, &c.to, e);
	if (rc != E_OK)
		return rc;
	return S_ISREG(entry->meta.mode) ? copy_file(&c, e) : copy_link(&c, e);
}

/* Entries for everything in a directory; they join the list, whose walk meets them later. */
static enum ecode
add_below(struct safety *s, struct place *live, const struct safety_entry *dir, struct err *e)
{
	autoclean(io_fd_done) struct io_fd fd = { .os = s->os, .fd = -1 };
	struct walk_list list = { 0 };
	struct safety_entry *entry;
	const char *rel;
	enum ecode rc = place_open_dir(live, dir->rel, &fd.fd, e);

	if (rc == E_OK)
		rc = walk_dir(s->os, fd.fd, dir->rel, &s->arena, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		rc = path_join(&s->arena, dir->rel, list.v[i].name, &rel, e);
		if (rc == E_OK)
			rc = new_entry(s, rel, &entry, e);
	}
	return rc;
}

/* A set cannot lie in what it is to keep: it would hold itself. */
static enum ecode
refuse_own(struct safety *s, const struct safety_entry *dir, struct err *e)
{
	const char *path;
	enum ecode rc = path_join(&s->arena, s->args.dest, dir->rel, &path, e);

	if (rc == E_OK && path_within(path, s->args.base))
		rc = err_set(e, E_SAFETY_COPY, 0, "the safety sets themselves lie in %s", path);
	return rc;
}

enum ecode
safety_add(
	struct safety *s, struct place *live, const char *rel, struct os_meta *was, struct err *e)
{
	struct safety_entry *entry = NULL, *at;
	enum ecode rc = new_entry(s, rel, &entry, e);

	for (at = entry; rc == E_OK && at != NULL; at = at->next) {
		rc = copy_one(s, live, at, e);
		if (rc == E_OK && S_ISDIR(at->meta.mode))
			rc = refuse_own(s, at, e);
		if (rc == E_OK && S_ISDIR(at->meta.mode))
			rc = add_below(s, live, at, e);
	}
	if (rc == E_OK)
		*was = entry->meta;
	return failed(rc, e, rel);
}

enum ecode
safety_add_dir(struct safety *s, struct place *live, const char *rel, struct err *e)
{
	struct safety_entry *entry;
	enum ecode rc = new_entry(s, rel, &entry, e);

	if (rc == E_OK)
		rc = copy_one(s, live, entry, e);
	return failed(rc, e, rel);
}

enum ecode
safety_add_created(struct safety *s, const char *rel, struct err *e)
{
	struct safety_entry *entry;
	enum ecode rc = new_entry(s, rel, &entry, e);

	if (rc == E_OK) {
		entry->created = true;
		entry->copy = NULL;
	}
	return failed(rc, e, rel);
}

/* ---- the end ---- */

static enum ecode
publish(struct safety *s, const char *name,
	enum ecode (*write)(const struct safety_story *story, const struct safety_entry *first,
		struct buf *out, struct err *e),
	struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SAFETY_TEXT_MAX);
	const struct io_publish how = {
		.dir = s->set_fd, .name = name, .mode = 0600, .fsync = true, .exclusive = true
	};
	enum ecode rc = write(&s->story, s->first, &text, e);
	struct slice all = buf_slice(&text);

	return rc == E_OK ? io_publish(s->os, &how, &all, 1, e) : rc;
}

static enum ecode
seal(struct safety *s, struct err *e)
{
	enum ecode rc = E_OK;
	int got = s->os->syncfs(s->os, s->set_fd);

	if (got < 0)
		return io_refusal(e, E_IO, got, "syncfs", s->set_path);
	for (const struct safety_entry *at = s->first; rc == E_OK && at != NULL; at = at->next)
		rc = safety_prove(s->os, s->place, at, e);
	if (rc == E_OK)
		rc = publish(s, SAFETY_TOML, safety_write_toml, e);
	if (rc == E_OK)
		rc = publish(s, SAFETY_JSON, safety_write_json, e);
	if (rc != E_OK)
		return rc;
	got = s->os->fsync(s->os, s->base_fd);
	return got < 0 ? io_refusal(e, E_IO, got, "fsync", s->args.base) : E_OK;
}

enum ecode
safety_seal(struct safety *s, struct err *e)
{
	enum ecode rc = seal(s, e);

	s->sealed = rc == E_OK;
	return failed(rc, e, s->set_path);
}
