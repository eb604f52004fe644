/*
 * Every name is opened relative to the vault's directory, which is held open
 * from the first use: a disk that is mounted over or replaced meanwhile cannot
 * be taken for the vault.  Directories below are opened when needed, so one
 * that a tidy-up tool removed is made again.
 *
 * An acknowledged put must survive a power cut together with the directories
 * on its way.  We cannot see whether another process synced a directory that
 * we find, so the first put into each directory syncs its parents as well.
 * An object that exists is replaced, not believed: whoever wrote it may have
 * been cut off before its fsync.
 */
#include "store/local_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "os/io.h"

#define FILE_MODE         0400 /* no write bit: format document 1.2 */
#define FILE_MODE_GROUP   0440
/* what restic uses for local directories, too: writing is bound by the disk */
#define LOCAL_CONNECTIONS 2
#define LIST_BUFFER_BYTES (32U << 10)

static const struct store_ops local_ops;

static bool
is_readonly(int sys)
{
	return sys == EROFS || sys == EACCES || sys == EPERM;
}

enum ecode
local_read_refusal(
	const struct local_store *l, int rc, const char *call, const char *path, struct err *e)
{
	enum ecode code = rc == -ENOENT ? E_STORE_ABSENT : E_STORE_READ;

	return err_set(e, code, -rc, "%s %s in %s: %s", call, path, l->dir, strerrordesc_np(-rc));
}

enum ecode
local_write_refusal(
	const struct local_store *l, int rc, const char *call, const char *path, struct err *e)
{
	enum ecode code = E_STORE_WRITE;

	if (rc == -ENOSPC || rc == -EDQUOT)
		code = E_STORE_SPACE;
	else if (is_readonly(-rc))
		code = E_STORE_RDONLY;
	return err_set(e, code, -rc, "%s %s in %s: %s", call, path, l->dir, strerrordesc_np(-rc));
}

enum ecode
local_erase_refusal(const struct local_store *l, int rc, const char *path, struct err *e)
{
	return err_set(e, is_readonly(-rc) ? E_STORE_RDONLY : E_STORE_ERASE, -rc,
		"unlink %s in %s: %s", path, l->dir, strerrordesc_np(-rc));
}

/* open with EINTR retried; 0 and *fd, or -errno */
static int
open_at(const struct local_store *l, int dir, const char *path, int flags, int *fd)
{
	struct err why = { 0 };
	enum ecode rc = io_open(l->os, dir, path, flags, 0, fd, &why);

	return rc == E_OK ? 0 : -why.sys;
}

static int
open_dir(const struct local_store *l, int dir, const char *path, int *fd)
{
	return open_at(l, dir, path, O_RDONLY | O_DIRECTORY, fd);
}

int
local_root(struct local_store *l, int *root)
{
	int rc = 0;

	(void)pthread_mutex_lock(&l->lock);
	if (l->root < 0)
		rc = open_dir(l, AT_FDCWD, l->dir, &l->root);
	*root = l->root;
	(void)pthread_mutex_unlock(&l->lock);
	return rc;
}

enum ecode
local_learn_mode(struct local_store *l, int root, bool *shared, struct err *e)
{
	struct os_meta meta = { 0 };
	int rc = 0;

	(void)pthread_mutex_lock(&l->lock);
	if (!l->mode_known) {
		rc = l->os->stat(l->os, root, "config", 0, &meta);
		l->mode_known = rc == 0;
		l->shared = rc == 0 && (meta.mode & S_IRGRP) != 0;
	}
	*shared = l->shared;
	(void)pthread_mutex_unlock(&l->lock);
	if (rc < 0 && rc != -ENOENT)
		return local_write_refusal(l, rc, "stat", "config", e);
	return E_OK;
}

/* "data/ab", "keys", or "." for config: where an object's file lives. */
static void
dir_text(const struct oname *name, char out[static LOCAL_DIR_TEXT_MAX])
{
	if (name->kind == O_CONFIG)
		(void)snprintf(out, LOCAL_DIR_TEXT_MAX, ".");
	else if (name->kind == O_PACK)
		(void)snprintf(out, LOCAL_DIR_TEXT_MAX, "data/%02x", name->id.b[0]);
	else
		(void)snprintf(out, LOCAL_DIR_TEXT_MAX, "%s", okind_dir(name->kind));
}

enum ecode
local_make_dir(struct local_store *l, int root, const char *path, mode_t mode, struct err *e)
{
	struct err why = { 0 };

	if (io_mkdirs(l->os, root, path, mode, &why) == E_OK)
		return E_OK;
	return local_write_refusal(l, -why.sys, "mkdir", path, e);
}

static bool
sync_unsupported(int rc)
{
	return rc == -ENOTSUP || rc == -EINVAL;
}

/* UNSURE would be wrong here: the object itself has not been named yet. */
enum ecode
local_sync_dir(struct local_store *l, int root, const char *path, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	int rc = open_dir(l, root, path, &f.fd);

	if (rc < 0)
		return local_write_refusal(l, rc, "open", path, e);
	rc = l->os->fsync(l->os, f.fd);
	if (rc < 0 && !sync_unsupported(rc))
		return err_set(e, E_STORE_WRITE, -rc, "fsync %s in %s: %s", path, l->dir,
			strerrordesc_np(-rc));
	return E_OK;
}

static bool *
synced_flag(struct local_store *l, const struct oname *name)
{
	return name->kind == O_PACK ? &l->pack_synced[name->id.b[0]] : &l->kind_synced[name->kind];
}

/*
 * A snapshot needs index files that another run may have written and, killed,
 * not secured: they were there to be read, which proves nothing about a power
 * cut.  This run wrote none if everything was in them, so it syncs them here.
 */
static enum ecode
sync_indexes(struct local_store *l, int root, struct err *e)
{
	struct err why = { 0 };
	enum ecode rc = local_sync_dir(l, root, okind_dir(O_INDEX), &why);

	if (rc == E_OK || why.sys == ENOENT)
		return E_OK;
	if (e != NULL)
		*e = why;
	return rc;
}

static enum ecode
local_secure(struct store *st, enum okind kind, struct err *e)
{
	struct local_store *l = local_of(st);
	int root, sys = local_root(l, &root);

	if (sys < 0)
		return local_write_refusal(l, sys, "open", ".", e);
	return local_sync_dir(l, root, okind_dir(kind), e);
}

/* Once per directory and process: the directory's own name is durable, and what its objects refer to. */
static enum ecode
sync_parents(struct local_store *l, int root, const struct oname *name, struct err *e)
{
	enum ecode rc = E_OK;
	bool done;

	(void)pthread_mutex_lock(&l->lock);
	done = *synced_flag(l, name);
	(void)pthread_mutex_unlock(&l->lock);
	if (done || name->kind == O_CONFIG)
		return E_OK;
	if (name->kind == O_PACK)
		rc = local_sync_dir(l, root, "data", e);
	else if (name->kind == O_SNAPSHOT)
		rc = sync_indexes(l, root, e);
	if (rc == E_OK)
		rc = local_sync_dir(l, root, ".", e);
	if (rc != E_OK)
		return rc;
	(void)pthread_mutex_lock(&l->lock);
	*synced_flag(l, name) = true;
	(void)pthread_mutex_unlock(&l->lock);
	return E_OK;
}

/* The directory an object goes to, made when it is missing. */
static enum ecode
put_dir(struct local_store *l, int root, const struct oname *name, mode_t mode, int *fd,
	struct err *e)
{
	char path[LOCAL_DIR_TEXT_MAX];
	enum ecode rc;
	int sys;

	dir_text(name, path);
	sys = open_dir(l, root, path, fd);
	if (sys == -ENOENT) {
		(void)pthread_mutex_lock(&l->lock);
		*synced_flag(l, name) = false;
		(void)pthread_mutex_unlock(&l->lock);
		rc = local_make_dir(l, root, path, mode, e);
		if (rc != E_OK)
			return rc;
		sys = open_dir(l, root, path, fd);
	}
	if (sys < 0)
		return local_write_refusal(l, sys, "open", path, e);
	return sync_parents(l, root, name, e);
}

/* io_publish's refusal in the store's words. */
static enum ecode
publish_refusal(const struct local_store *l, enum ecode code, const struct err *why, struct err *e)
{
	if (code == E_IO_UNSURE)
		code = E_STORE_UNSURE;
	else if (code == E_IO_SPACE)
		code = E_STORE_SPACE;
	else if (is_readonly(why->sys))
		code = E_STORE_RDONLY;
	else
		code = E_STORE_WRITE;
	err_set(e, code, why->sys, "%s", why->detail);
	for (unsigned i = 0; i < why->notes; i++)
		err_note(e, "%s", why->note[i]);
	err_note(e, "while writing to %s", l->dir);
	return code;
}

enum ecode
local_publish(struct local_store *l, int dir, const char *name, bool shared,
	const struct slice *parts, size_t n, struct err *e)
{
	struct io_publish how = {
		.dir = dir,
		.name = name,
		.mode = shared ? FILE_MODE_GROUP : FILE_MODE,
		.fsync = true,
	};
	struct err why = { 0 };
	enum ecode rc = io_publish(l->os, &how, parts, n, &why);

	return rc == E_OK ? E_OK : publish_refusal(l, rc, &why, e);
}

static enum ecode
local_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct local_store *l = local_of(st);
	autoclean(io_fd_done) struct io_fd dir = { .os = l->os, .fd = -1 };
	char hex[ID_HEX_SIZE];
	bool shared = false;
	int root;
	int sys = local_root(l, &root);
	enum ecode rc;

	id_hex(&name->id, hex);
	/* a vault's directory that is missing is an absent disk: never made here */
	if (sys < 0)
		return local_write_refusal(l, sys, "open", ".", e);
	rc = local_learn_mode(l, root, &shared, e);
	if (rc == E_OK)
		rc = put_dir(
			l, root, name, shared ? LOCAL_DIR_MODE_GROUP : LOCAL_DIR_MODE, &dir.fd, e);
	if (rc == E_OK)
		rc = local_publish(
			l, dir.fd, name->kind == O_CONFIG ? "config" : hex, shared, parts, n, e);
	return rc;
}

/* O_NONBLOCK: a pipe under an object's name must not hold us. */
static enum ecode
open_object(struct local_store *l, const char *text, int *fd, uint64_t *size, struct err *e)
{
	struct os_meta meta = { 0 };
	int root;
	int rc = local_root(l, &root);

	if (rc == 0)
		rc = open_at(l, root, text, O_RDONLY | O_NONBLOCK, fd);
	if (rc < 0)
		return local_read_refusal(l, rc, "open", text, e);
	rc = l->os->stat(l->os, *fd, NULL, 0, &meta);
	if (rc < 0)
		return err_set(e, E_STORE_READ, -rc, "stat %s in %s: %s", text, l->dir,
			strerrordesc_np(-rc));
	if (!S_ISREG(meta.mode))
		return err_set(e, E_STORE_READ, 0, "%s in %s is not a file", text, l->dir);
	*size = meta.size;
	return E_OK;
}

static enum ecode
read_object(struct local_store *l, int fd, const char *text, uint64_t off, size_t len,
	struct buf *out, struct err *e)
{
	struct err why = { 0 };
	size_t got = 0;
	enum ecode rc = buf_reserve(out, len, e);

	if (rc != E_OK)
		return rc;
	if (io_pread(l->os, fd, out->p + out->len, len, off, &got, text, &why) != E_OK)
		return err_set(e, E_STORE_READ, why.sys, "%s", why.detail);
	if (got < len)
		return err_set(e, E_STORE_SHORT, 0, "%s ends %zu bytes early", text, len - got);
	out->len += len;
	return E_OK;
}

static enum ecode
local_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct local_store *l = local_of(st);
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	char text[ONAME_TEXT_MAX];
	uint64_t size = 0;
	enum ecode rc;

	oname_text(name, text);
	rc = open_object(l, text, &f.fd, &size, e);
	if (rc != E_OK)
		return rc;
	/* before any memory is taken for a length that an index may have invented */
	if (off > size || len > size - off)
		return err_set(e, E_STORE_SHORT, 0,
			"%s has %" PRIu64 " bytes, wanted %zu from %" PRIu64, text, size, len, off);
	return len == 0 ? E_OK : read_object(l, f.fd, text, off, len, out, e);
}

static enum ecode
local_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	struct local_store *l = local_of(st);
	char text[ONAME_TEXT_MAX];
	struct os_meta meta = { 0 };
	int root;
	int rc = local_root(l, &root);

	oname_text(name, text);
	if (rc == 0)
		rc = l->os->stat(l->os, root, text, 0, &meta);
	if (rc < 0)
		return local_read_refusal(l, rc, "stat", text, e);
	if (!S_ISREG(meta.mode))
		return err_set(e, E_STORE_READ, 0, "%s in %s is not a file", text, l->dir);
	*size = meta.size;
	return E_OK;
}

/* A walk through the names of one directory. */
struct lister {
	struct local_store *l;
	int fd;             /* the directory */
	const char *path;   /* its name, for messages */
	const char *digits; /* what every name begins with: the directory's own two digits, or "" */
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e);
	void *arg;
};

static enum ecode
list_refusal(const struct lister *d, int rc, const char *call, struct err *e)
{
	return err_set(e, E_STORE_READ, -rc, "%s %s in %s: %s", call, d->path, d->l->dir,
		strerrordesc_np(-rc));
}

/* One name.  Foreign ones are passed over; one that vanished meanwhile was erased. */
static enum ecode
list_name(const struct lister *d, const char *name, struct err *e)
{
	struct store_entry entry;
	struct os_meta meta = { 0 };
	int rc;

	/* a pack in a wrong directory cannot be read by its name, so it is not there */
	if (!id_parse(name, strlen(name), &entry.id) ||
		strncmp(name, d->digits, strlen(d->digits)) != 0)
		return E_OK;
	rc = d->l->os->stat(d->l->os, d->fd, name, 0, &meta);
	if (rc == -ENOENT)
		return E_OK;
	if (rc < 0)
		return list_refusal(d, rc, "stat an entry of", e);
	if (!S_ISREG(meta.mode))
		return E_OK;
	entry.size = meta.size;
	return d->each(d->arg, &entry, e);
}

/* Call `use` for every name of the open directory.  Any doubt about completeness refuses. */
static enum ecode
walk_names(const struct lister *d,
	enum ecode (*use)(const struct lister *d, const char *name, struct err *e), struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(LIST_BUFFER_BYTES);
	struct os_dirent entry;
	enum ecode rc = buf_reserve(&b, LIST_BUFFER_BYTES, e);
	ssize_t got = 1;

	while (rc == E_OK && got > 0) {
		size_t at = 0;

		got = d->l->os->getdents(d->l->os, d->fd, b.p, b.cap);
		if (got < 0)
			return list_refusal(d, (int)got, "list", e);
		while (rc == E_OK && os_dirent_next(b.p, (size_t)got, &at, &entry))
			rc = use(d, entry.name, e);
		if (rc == E_OK && at != (size_t)got)
			rc = list_refusal(d, -EIO, "decode the listing of", e);
	}
	return rc;
}

static bool
is_pack_dir(const char *name)
{
	static const char digits[] = "0123456789abcdef";

	return strlen(name) == 2 && strchr(digits, name[0]) != NULL &&
	       strchr(digits, name[1]) != NULL;
}

/* One name in data/: a directory of packs, or something foreign. */
static enum ecode
list_pack_dir(const struct lister *data, const char *name, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = data->l->os, .fd = -1 };
	char path[LOCAL_DIR_TEXT_MAX];
	struct lister d = *data;
	int rc;

	if (!is_pack_dir(name))
		return E_OK;
	(void)snprintf(path, sizeof(path), "data/%.2s", name);
	d.path = path;
	d.digits = name;
	rc = open_dir(data->l, data->fd, name, &f.fd);
	if (rc == -ENOTDIR || rc == -ENOENT)
		return E_OK;
	if (rc < 0)
		return list_refusal(&d, rc, "open", e);
	d.fd = f.fd;
	return walk_names(&d, list_name, e);
}

/* A missing directory is an empty one, unless the vault itself was removed under our hands. */
static enum ecode
list_missing(struct local_store *l, int root, const struct lister *d, struct err *e)
{
	struct os_meta meta = { 0 };
	int rc = l->os->stat(l->os, root, NULL, 0, &meta);

	if (rc < 0)
		return list_refusal(d, rc, "stat the directory above", e);
	return meta.nlink > 0 ? E_OK : list_refusal(d, -ENOENT, "list", e);
}

static enum ecode
local_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	struct local_store *l = local_of(st);
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	struct lister d = {
		.l = l, .path = okind_dir(kind), .digits = "", .each = each, .arg = arg
	};
	int root;
	int rc = local_root(l, &root);

	if (rc == -ENOENT) /* no vault yet: init looks before it makes the directory */
		return E_OK;
	if (rc < 0)
		return list_refusal(&d, rc, "open the directory of", e);
	rc = open_dir(l, root, d.path, &f.fd);
	if (rc == -ENOENT)
		return list_missing(l, root, &d, e);
	if (rc < 0)
		return list_refusal(&d, rc, "open", e);
	d.fd = f.fd;
	return walk_names(&d, kind == O_PACK ? list_pack_dir : list_name, e);
}

static enum ecode
local_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct local_store *l = local_of(st);
	char text[ONAME_TEXT_MAX];
	int root;
	int rc = local_root(l, &root);

	/* with the whole vault missing nothing was erased */
	if (rc < 0)
		return err_set(e, E_STORE_ERASE, -rc, "open %s: %s", l->dir, strerrordesc_np(-rc));
	oname_text(name, text);
	rc = l->os->unlink(l->os, root, text, 0);
	if (rc == 0 || rc == -ENOENT)
		return E_OK;
	return local_erase_refusal(l, rc, text, e);
}

static void
local_close(struct store *st)
{
	struct local_store *l = local_of(st);

	io_close(l->os, &l->root);
	(void)pthread_mutex_destroy(&l->lock);
	free(l->dir);
	free(l);
}

static const struct store_ops local_ops = {
	.put = local_put,
	.get = local_get,
	.stat = local_stat,
	.list = local_list,
	.erase = local_erase,
	.prepare = local_prepare,
	.close = local_close,
	.note_put = local_note_put,
	.note_get = local_note_get,
	.note_list = local_note_list,
	.note_erase = local_note_erase,
	.probe = local_probe,
	.go_cold = local_go_cold,
	.secure = local_secure,
};

enum ecode
local_open(const struct os *os, const char *dir, struct store **out, struct err *e)
{
	struct local_store *l = calloc(1, sizeof(*l));
	char *copy = strdup(dir);

	if (l == NULL || copy == NULL) {
		free(l);
		free(copy);
		return err_set(e, E_NOMEM, 0, "to open %s", dir);
	}
	*l = (struct local_store){ .os = os, .dir = copy, .root = -1 };
	l->st = (struct store){
		.ops = &local_ops, .location = copy, .connections = LOCAL_CONNECTIONS
	};
	(void)pthread_mutex_init(&l->lock, NULL);
	*out = &l->st;
	return E_OK;
}

const char *
local_path(const struct store *st)
{
	return st->ops == &local_ops ? st->location : NULL;
}
