/*
 * Notes in the root of a local vault, published like any object: temporary,
 * fsync, rename, fsync of the directory.  The root has a handful of names, so
 * listing it costs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "os/io.h"
#include "store/local_internal.h"

#define ROOT_LIST_BYTES (32U << 10)

enum ecode
local_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	struct local_store *l = local_of(st);
	bool shared = false;
	int root;
	int sys = local_root(l, &root);
	enum ecode rc;

	if (sys < 0)
		return local_write_refusal(l, sys, "open", ".", e);
	rc = local_learn_mode(l, root, &shared, e);
	return rc == E_OK ? local_publish(l, root, name, shared, &bytes, 1, e) : rc;
}

/* O_NONBLOCK: a pipe under this name must not hold us. */
static enum ecode
open_note(struct local_store *l, const char *name, int *fd, uint64_t *size, struct err *e)
{
	struct os_meta meta = { 0 };
	struct err why = { 0 };
	int root;
	int sys = local_root(l, &root);

	if (sys < 0)
		return local_read_refusal(l, sys, "open", ".", e);
	if (io_open(l->os, root, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, fd, &why) != E_OK)
		return local_read_refusal(l, -why.sys, "open", name, e);
	sys = l->os->stat(l->os, *fd, NULL, 0, &meta);
	if (sys < 0)
		return err_set(e, E_STORE_READ, -sys, "stat %s in %s: %s", name, l->dir,
			strerrordesc_np(-sys));
	if (!S_ISREG(meta.mode))
		return err_set(e, E_STORE_READ, 0, "%s in %s is not a file", name, l->dir);
	*size = meta.size;
	return E_OK;
}

enum ecode
local_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	struct local_store *l = local_of(st);
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	struct err why = { 0 };
	uint64_t size = 0;
	size_t got = 0;
	enum ecode rc = open_note(l, name, &f.fd, &size, e);

	if (rc != E_OK)
		return rc;
	if (out->len > out->limit || size > out->limit - out->len)
		return err_set(
			e, E_LIMIT, 0, "%s is longer than %zu bytes", name, out->limit - out->len);
	rc = buf_reserve(out, (size_t)size, e);
	if (rc != E_OK || size == 0)
		return rc;
	if (io_pread(l->os, f.fd, out->p + out->len, (size_t)size, 0, &got, name, &why) != E_OK)
		return err_set(e, E_STORE_READ, why.sys, "%s", why.detail);
	if (got < size)
		return err_set(e, E_STORE_READ, 0, "%s ends early", name);
	out->len += got;
	return E_OK;
}

static enum ecode
list_refusal(const struct local_store *l, int rc, const char *call, struct err *e)
{
	return err_set(e, E_STORE_READ, -rc, "%s %s: %s", call, l->dir, strerrordesc_np(-rc));
}

enum ecode
local_root_names(struct local_store *l, const char *prefix,
	enum ecode (*each)(void *arg, const char *name, struct err *e), void *arg, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	autoclean(buf_done) struct buf b = buf_limit(ROOT_LIST_BYTES);
	struct os_dirent entry;
	struct err why = { 0 };
	int root;
	int sys = local_root(l, &root);
	enum ecode rc;
	ssize_t got = 1;

	if (sys == -ENOENT) /* no vault yet */
		return E_OK;
	if (sys < 0)
		return list_refusal(l, sys, "open", e);
	/* a descriptor of our own: the position of the held one is shared by all threads */
	if (io_open(l->os, root, ".", O_RDONLY | O_DIRECTORY, 0, &f.fd, &why) != E_OK)
		return list_refusal(l, -why.sys, "open", e);
	rc = buf_reserve(&b, ROOT_LIST_BYTES, e);
	while (rc == E_OK && got > 0) {
		size_t at = 0;

		got = l->os->getdents(l->os, f.fd, b.p, b.cap);
		if (got < 0)
			return list_refusal(l, (int)got, "list", e);
		while (rc == E_OK && os_dirent_next(b.p, (size_t)got, &at, &entry))
			if (strncmp(entry.name, prefix, strlen(prefix)) == 0)
				rc = each(arg, entry.name, e);
		if (rc == E_OK && at != (size_t)got)
			rc = list_refusal(l, -EIO, "decode the listing of", e);
	}
	return rc;
}

struct note_teller {
	enum ecode (*each)(void *arg, const char *name, struct err *e);
	void *arg;
};

/* Temporaries and foreign names are passed over. */
static enum ecode
tell_note(void *arg, const char *name, struct err *e)
{
	const struct note_teller *t = arg;

	return note_name_valid(name) ? t->each(t->arg, name, e) : E_OK;
}

enum ecode
local_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	struct note_teller t = { .each = each, .arg = arg };

	return local_root_names(local_of(st), ".", tell_note, &t, e);
}

static enum ecode
erase_name(void *arg, const char *name, struct err *e)
{
	struct local_store *l = arg;
	int root;
	int sys = local_root(l, &root);

	if (sys == 0)
		sys = l->os->unlink(l->os, root, name, 0);
	return sys == 0 || sys == -ENOENT ? E_OK : local_erase_refusal(l, sys, name, e);
}

enum ecode
local_note_erase(struct store *st, const char *name, struct err *e)
{
	struct local_store *l = local_of(st);
	char temporaries[NOTE_NAME_MAX + sizeof("-tmp-")];
	int root;
	int sys = local_root(l, &root);
	enum ecode rc;

	/* with the whole vault missing nothing was erased */
	if (sys < 0)
		return err_set(
			e, E_STORE_ERASE, -sys, "open %s: %s", l->dir, strerrordesc_np(-sys));
	rc = erase_name(l, name, e);
	(void)snprintf(temporaries, sizeof(temporaries), "%s-tmp-", name);
	if (rc == E_OK)
		rc = local_root_names(l, temporaries, erase_name, l, e);
	return rc;
}
