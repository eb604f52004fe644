/*
 * A file is written whole beside its place, under a name of ours, described,
 * made durable, and renamed over what is there; where one of the two is a
 * directory they are exchanged, and what came out is removed: there is a copy.
 */
#include "engine/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "base/wire.h"
#include "fs/remove.h"
#include "fs/walk.h"
#include "os/io.h"
#include "repo/blob.h" /* with the hasher */
#include "report/runlog.h"

#define UNDO_BYTES  ((size_t)1 << 20)
#define TEMP_BYTES  64
#define TEMP_PREFIX ".holdfast_undo_"
#define NAMES_BYTES ((size_t)64 << 20) /* of one directory, while leftovers are looked for */

struct undoing {
	const struct os *os;
	const struct undo_args *args;
	struct undo_result *out;
	struct arena *a;
	struct place *live, *set;
	struct safety *safety;
	struct hasher *hasher;
	struct buf data, path;
	char temp[TEMP_BYTES];
};

static void
undoing_done(struct undoing *u)
{
	safety_close(&u->safety);
	place_close(&u->live);
	place_close(&u->set);
	hasher_close(&u->hasher);
	buf_done(&u->data);
	buf_done(&u->path);
}

/* The directory that holds `rel`. */
static enum ecode
open_parent(struct undoing *u, const char *rel, int *fd, struct err *e)
{
	const char *slash = strrchr(rel, '/');
	enum ecode rc;

	buf_clear(&u->path);
	rc = buf_add(&u->path, rel, slash == NULL ? 0 : (size_t)(slash - rel), e);
	if (rc == E_OK)
		rc = buf_add_byte(&u->path, '\0', e);
	return rc == E_OK ? place_open_dir(u->live, (const char *)u->path.p, fd, e) : rc;
}

/* ---- what is there now ---- */

static enum ecode
same_bytes(struct undoing *u, int dir, const struct safety_entry *entry, bool *same, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = u->os, .fd = -1 };
	uint64_t at = 0;
	size_t got = 1;
	struct id id;
	enum ecode rc = walk_open_file(u->os, dir, path_base(entry->rel), &file.fd, e);

	hasher_begin(u->hasher);
	while (rc == E_OK && got > 0) {
		rc = io_pread(u->os, file.fd, u->data.p, UNDO_BYTES, at, &got, entry->rel, e);
		if (rc == E_OK)
			hasher_add(u->hasher, u->data.p, got);
		at += got;
	}
	hasher_end(u->hasher, &id);
	*same = rc == E_OK && id_cmp(&id, &entry->hash) == 0;
	return rc == E_NOMEM ? rc : E_OK; /* not readable: not known to be the same */
}

static enum ecode
same_target(struct undoing *u, int dir, const struct safety_entry *entry, bool *same, struct err *e)
{
	struct slice target;
	enum ecode rc = walk_readlink(u->os, dir, path_base(entry->rel), u->a, &target, e);

	*same = rc == E_OK && strcmp((const char *)target.p, entry->target) == 0;
	return rc == E_NOMEM ? rc : E_OK;
}

static enum ecode
compare(struct undoing *u, int dir, struct undo_path *p, struct err *e)
{
	const struct safety_entry *entry = p->entry;
	const struct os_meta *m = &entry->meta;
	struct os_meta now;
	bool same;
	enum ecode rc = E_OK;
	int got = u->os->stat(u->os, dir, path_base(entry->rel), AT_SYMLINK_NOFOLLOW, &now);

	p->state = UNDO_MISSING;
	if (got == -ENOENT)
		return E_OK;
	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "stat", entry->rel);
	same = now.mode == m->mode && now.uid == m->uid && now.gid == m->gid;
	if (same && !S_ISDIR(m->mode))
		same = now.size == m->size && instant_cmp(now.mtime, m->mtime) == 0;
	if (same && S_ISREG(m->mode))
		rc = same_bytes(u, dir, entry, &same, e);
	else if (same && S_ISLNK(m->mode))
		rc = same_target(u, dir, entry, &same, e);
	p->state = same ? UNDO_SAME : UNDO_CHANGED;
	return rc;
}

static enum ecode
classify(struct undoing *u, struct undo_path *p, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = u->os, .fd = -1 };
	uint32_t mode = p->entry->meta.mode;
	struct err why;
	enum ecode rc;

	p->state = UNDO_CREATED;
	if (p->entry->created)
		return E_OK;
	p->state = UNDO_LOST;
	if (!S_ISREG(mode) && !S_ISLNK(mode) && !S_ISDIR(mode) && !S_ISFIFO(mode))
		return E_OK;
	rc = open_parent(u, p->entry->rel, &dir.fd, &why);
	if (rc == E_OK)
		return compare(u, dir.fd, p, e);
	p->state = UNDO_MISSING; /* the directory above it is gone, or is a file now */
	if (why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP)
		return E_OK;
	*e = why;
	return rc;
}

static enum ecode
classify_all(struct undoing *u, const struct safety_entry *first, struct err *e)
{
	struct undo_result *out = u->out;
	enum ecode rc = E_OK;
	size_t n = 0;
	void *p;

	for (const struct safety_entry *at = first; at != NULL; at = at->next)
		n++;
	rc = arena_alloc(u->a, (n + 1) * sizeof(*out->paths), &p, e);
	if (rc != E_OK)
		return rc;
	out->paths = p;
	for (; rc == E_OK && first != NULL; first = first->next) {
		struct undo_path *path = &out->paths[out->count++];

		*path = (struct undo_path){ .entry = first };
		rc = classify(u, path, e);
		if (rc == E_OK)
			rc = safety_prove(u->os, u->set, first, e);
		out->counts[path->state]++;
	}
	return rc;
}

/* ---- what is there now is kept ---- */

static enum ecode
keep_one(struct undoing *u, struct undo_path *p, struct err *e)
{
	uint32_t mode = p->entry->meta.mode;

	if (p->state == UNDO_MISSING)
		return safety_add_created(u->safety, p->entry->rel, e);
	if (p->state == UNDO_CHANGED && !S_ISDIR(mode))
		return safety_add(u->safety, u->live, p->entry->rel, &p->was, e);
	/* directories get their attributes back in any case: their times changed */
	if (S_ISDIR(mode) && (p->state == UNDO_CHANGED || p->state == UNDO_SAME))
		return safety_add_dir(u->safety, u->live, p->entry->rel, e);
	return E_OK;
}

static enum ecode
keep_now(struct undoing *u, struct err *e)
{
	const struct undo_result *out = u->out;
	const struct safety_args how = { .base = u->args->base,
		.home = u->args->home,
		.dest = out->set.dest,
		.source = out->set.path,
		.run_id = u->args->run_id };
	enum ecode rc = safety_open(u->os, &how, &u->safety, e);

	for (size_t i = 0; rc == E_OK && i < out->count; i++)
		rc = keep_one(u, &out->paths[i], e);
	if (rc == E_OK)
		rc = safety_seal(u->safety, e);
	if (rc == E_OK)
		rc = arena_str(u->a, safety_path(u->safety), strlen(safety_path(u->safety)),
			&u->out->safety, e);
	return rc;
}

/* ---- putting back ---- */

static struct meta_apply
described(const struct safety_entry *entry, bool fresh)
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
		.fresh = fresh };
}

static void
describe(struct undoing *u, const struct safety_entry *entry, int fd, const char *name, bool fresh)
{
	const struct meta_apply m = described(entry, fresh);

	u->out->meta_problems += meta_put(u->os, fd, name, &m, NULL, NULL);
}

static enum ecode
write_file(struct undoing *u, const struct safety_entry *entry, int dir, struct err *e)
{
	autoclean(io_fd_done) struct io_fd from = { .os = u->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd to = { .os = u->os, .fd = -1 };
	uint64_t at = 0;
	size_t got = 1;
	enum ecode rc = place_reopen(u->set, entry->copy, O_RDONLY, &from.fd, e);
	int synced;

	if (rc == E_OK)
		rc = place_file(u->live, dir, u->temp, &to.fd, e);
	while (rc == E_OK && got > 0) {
		rc = io_pread(u->os, from.fd, u->data.p, UNDO_BYTES, at, &got, entry->copy, e);
		if (rc == E_OK && got > 0)
			rc = io_pwrite(u->os, to.fd, u->data.p, got, at, u->temp, e);
		at += got;
	}
	if (rc != E_OK)
		return rc;
	describe(u, entry, to.fd, NULL, false); /* a directory may hand down attributes */
	synced = u->os->fsync(u->os, to.fd);
	return synced < 0 ? io_refusal(e, E_IO, synced, "fsync", u->temp) : E_OK;
}

static enum ecode
make_temp(struct undoing *u, const struct safety_entry *entry, int dir, struct err *e)
{
	enum ecode rc;

	if (S_ISREG(entry->meta.mode))
		return write_file(u, entry, dir, e);
	if (S_ISDIR(entry->meta.mode)) {
		int got = u->os->mkdir(u->os, dir, u->temp, 0700);

		return got < 0 ? io_refusal(e, E_PLACE_IO, got, "mkdir", u->temp) : E_OK;
	}
	rc = S_ISLNK(entry->meta.mode)
		     ? place_symlink(u->live, dir, u->temp, entry->target, e)
		     : place_special(u->live, dir, u->temp, entry->meta.mode, 0, e);
	if (rc == E_OK)
		describe(u, entry, dir, u->temp, true);
	return rc;
}

/* Is what would be replaced still what was copied? */
static enum ecode
look_again(struct undoing *u, const struct undo_path *p, int dir, bool *exchange, struct err *e)
{
	const struct safety_entry *entry = p->entry;
	struct os_meta now;
	int rc = u->os->stat(u->os, dir, path_base(entry->rel), AT_SYMLINK_NOFOLLOW, &now);
	bool gone = rc == -ENOENT;

	if (rc < 0 && !gone)
		return io_refusal(e, E_PLACE_IO, rc, "stat", entry->rel);
	*exchange = !gone && (S_ISDIR(now.mode) || S_ISDIR(entry->meta.mode));
	if (gone != (p->state == UNDO_MISSING))
		return err_set(e, E_LIVE_CHANGED, 0, "%s", entry->rel);
	if (!gone && !S_ISDIR(entry->meta.mode) &&
		(now.ino != p->was.ino || now.dev != p->was.dev ||
			(p->was.nlink == 1 && instant_cmp(now.ctime, p->was.ctime) != 0)))
		return err_set(e, E_LIVE_CHANGED, 0, "%s", entry->rel);
	return E_OK;
}

static enum ecode
change_names(struct undoing *u, const struct undo_path *p, int dir, struct err *e)
{
	const char *name = path_base(p->entry->rel);
	unsigned flags = p->state == UNDO_MISSING ? RENAME_NOREPLACE : 0;
	bool exchange = false;
	enum ecode rc = look_again(u, p, dir, &exchange, e);
	int got;

	if (rc != E_OK)
		return rc;
	got = u->os->rename(u->os, dir, u->temp, dir, name, exchange ? RENAME_EXCHANGE : flags);
	if (!exchange && flags != 0 && (got == -EINVAL || got == -ENOSYS))
		got = u->os->rename(u->os, dir, u->temp, dir, name, 0);
	if (exchange && (got == -EINVAL || got == -ENOSYS || got == -ENOTSUP))
		return err_set(e, E_NO_EXCHANGE, -got, "%s", p->entry->rel);
	if (got < 0)
		return io_refusal(e, E_PLACE_IO, got, "rename", p->entry->rel);
	u->out->put++;
	if (!exchange)
		return E_OK;
	got = u->os->fsync(
		u->os, dir); /* or a power cut may undo the exchange, and not the removal */
	return got < 0 ? io_refusal(e, E_PLACE_IO, got, "fsync the directory of", p->entry->rel)
		       : remove_tree_at(u->os, dir, u->temp, e);
}

/* A directory that was above the path may have gone since. */
static enum ecode
make_parents(struct undoing *u, const char *rel, struct err *e)
{
	enum ecode rc = E_OK;
	const char *dir;

	for (const char *p = strchr(rel, '/'); rc == E_OK && p != NULL; p = strchr(p + 1, '/')) {
		rc = arena_str(u->a, rel, (size_t)(p - rel), &dir, e);
		if (rc == E_OK)
			rc = place_dir(u->live, dir, e);
		if (rc == E_PLACE_EXISTS)
			rc = E_OK;
	}
	return rc;
}

static bool
is_to_put(const struct undoing *u, const struct undo_path *p, int dir)
{
	struct os_meta now;

	if (p->state == UNDO_MISSING)
		return true;
	if (p->state != UNDO_CHANGED)
		return false;
	if (!S_ISDIR(p->entry->meta.mode))
		return true;
	/* a directory that is one still only gets its attributes back */
	return u->os->stat(u->os, dir, path_base(p->entry->rel), AT_SYMLINK_NOFOLLOW, &now) < 0 ||
	       !S_ISDIR(now.mode);
}

static enum ecode
put_one(struct undoing *u, const struct undo_path *p, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = u->os, .fd = -1 };
	enum ecode rc = E_OK;

	if (p->state == UNDO_MISSING)
		rc = make_parents(u, p->entry->rel, e);
	if (rc == E_OK && (p->state == UNDO_MISSING || p->state == UNDO_CHANGED))
		rc = open_parent(u, p->entry->rel, &dir.fd, e);
	if (rc != E_OK || dir.fd < 0 || !is_to_put(u, p, dir.fd))
		return rc;
	rc = make_temp(u, p->entry, dir.fd, e);
	if (rc == E_OK)
		rc = change_names(u, p, dir.fd, e);
	if (rc != E_OK && rc != E_PLACE_EXISTS)
		(void)u->os->unlink(
			u->os, dir.fd, u->temp, S_ISDIR(p->entry->meta.mode) ? AT_REMOVEDIR : 0);
	return rc;
}

static enum ecode
describe_dirs(struct undoing *u, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = u->out->count; rc == E_OK && i-- > 0;) {
		autoclean(io_fd_done) struct io_fd dir = { .os = u->os, .fd = -1 };
		const struct undo_path *p = &u->out->paths[i];

		if (!S_ISDIR(p->entry->meta.mode) || p->entry->created)
			continue;
		rc = place_open_dir(u->live, p->entry->rel, &dir.fd, e);
		if (rc == E_OK)
			describe(u, p->entry, dir.fd, NULL, false);
	}
	return rc;
}

static enum ecode
put_all(struct undoing *u, struct err *e)
{
	autoclean(io_fd_done) struct io_fd root = { .os = u->os, .fd = -1 };
	enum ecode rc = place_open_dir(u->live, "", &root.fd, e);
	struct err why;
	int got;

	for (size_t i = 0; rc == E_OK && i < u->out->count; i++)
		rc = put_one(u, &u->out->paths[i], e);
	if (rc == E_OK)
		rc = describe_dirs(u, e);
	if (rc == E_OK) {
		got = u->os->syncfs(u->os, root.fd);
		rc = got < 0 ? io_refusal(e, E_IO, got, "syncfs", u->out->set.dest) : E_OK;
	}
	if (rc == E_OK || rc == E_LIVE_CHANGED || rc == E_NO_EXCHANGE || rc == E_NOMEM || e == NULL)
		return rc;
	why = *e;
	rc = err_set(e, E_UNDO, why.sys, "%s", why.detail);
	err_note(e, "%" PRIu64 " paths were put back; what was there is in %s", u->out->put,
		u->out->safety);
	return rc;
}

/* ---- what an undo that was killed left ---- */

/* A copy of something, or what was exchanged for one: either is in a safety set. */
static void
clear_dir(struct undoing *u, int dir)
{
	autoclean(arena_done) struct arena a = arena_limit(NAMES_BYTES);
	const size_t len = strlen(TEMP_PREFIX);
	struct walk_list list = { 0 };
	struct err ignored;

	if (walk_dir(u->os, dir, "what an undo left", &a, &list, &ignored) != E_OK)
		return; /* the undo itself says what is wrong with it */
	for (size_t i = 0; i < list.n; i++)
		if (strncmp(list.v[i].name, TEMP_PREFIX, len) == 0 &&
			run_id_is_one(list.v[i].name + len))
			(void)(remove_tree_at(u->os, dir, list.v[i].name, &ignored) == E_OK);
}

static void
clear_leftovers(struct undoing *u)
{
	const char *last = NULL;
	struct err ignored;

	for (size_t i = 0; i < u->out->count; i++) {
		autoclean(io_fd_done) struct io_fd dir = { .os = u->os, .fd = -1 };
		const char *rel = u->out->paths[i].entry->rel, *base = path_base(rel);

		if (last != NULL && path_base(last) - last == base - rel &&
			strncmp(last, rel, (size_t)(base - rel)) == 0)
			continue; /* the directory of the one before */
		last = rel;
		if (open_parent(u, rel, &dir.fd, &ignored) == E_OK)
			clear_dir(u, dir.fd);
	}
}

/* ---- the whole ---- */

static enum ecode
prepare(struct undoing *u, struct err *e)
{
	struct safety_entry *first = NULL;
	struct err why;
	enum ecode rc = hasher_open(&u->hasher, e);

	if (rc == E_OK)
		rc = buf_reserve(&u->data, UNDO_BYTES, e);
	if (rc == E_OK)
		rc = safety_load(u->os, u->args->base, u->args->set, u->a, &u->out->set, &first, e);
	if (rc == E_OK)
		rc = place_look(u->os, u->out->set.path, &u->set, e);
	if (rc != E_OK)
		return rc;
	rc = place_look(u->os, u->out->set.dest, &u->live, &why);
	if (rc != E_OK && why.sys == ENOENT)
		return err_set(e, E_DEST_MISSING, 0, "%s", u->out->set.dest);
	if (rc != E_OK) {
		*e = why;
		return rc;
	}
	return classify_all(u, first, e);
}

enum ecode
undo_run(const struct os *os, const struct undo_args *args, struct arena *a,
	struct undo_result *out, struct err *e)
{
	autoclean(undoing_done) struct undoing u = { .os = os,
		.args = args,
		.out = out,
		.a = a,
		.data = buf_limit(UNDO_BYTES),
		.path = buf_limit(PATH_TEXT_MAX) };
	enum ecode rc;

	*out = (struct undo_result){ .count = 0 };
	(void)snprintf(u.temp, sizeof(u.temp), TEMP_PREFIX "%.32s", args->run_id);
	rc = prepare(&u, e);
	if (rc != E_OK || args->dry_run)
		return rc;
	clear_leftovers(&u);
	if (out->counts[UNDO_CHANGED] + out->counts[UNDO_MISSING] == 0)
		return E_OK;
	rc = keep_now(&u, e);
	return rc == E_OK ? put_all(&u, e) : rc;
}
