#include "engine/backup_local.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "base/wire.h"
#include "fs/walk.h"
#include "os/io.h"

#define LOCAL_PREFIX "checkpoint-"

static enum ecode
vault_dir(
	struct session *s, const char *state_dir, struct arena *a, const char **out, struct err *e)
{
	char hex[ID_HEX_SIZE];
	enum ecode rc;

	id_hex(&s->vault->repo_id, hex);
	rc = path_join(a, state_dir, "vaults", out, e);
	return rc == E_OK ? path_join(a, *out, hex, out, e) : rc;
}

static enum ecode
open_dir(struct session *s, const char *state_dir, bool make, struct io_fd *fd, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(PATH_TEXT_MAX);
	const char *dir;
	enum ecode rc = vault_dir(s, state_dir, &a, &dir, e);

	if (rc == E_OK && make)
		rc = io_mkdirs(s->os, AT_FDCWD, dir, 0700, e);
	return rc == E_OK ? io_open(s->os, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0, &fd->fd, e)
			  : rc;
}

static enum ecode
record_name(struct buf *out, const char *run_id, struct err *e)
{
	enum ecode rc = buf_printf(out, e, LOCAL_PREFIX "%s", run_id);

	return rc == E_OK ? buf_add_byte(out, 0, e) : rc;
}

enum ecode
local_put(struct session *s, const char *state_dir, const struct incomplete *i, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { s->os, -1 };
	autoclean(buf_done) struct buf sealed = buf_limit(INCOMPLETE_SEALED_BYTES);
	autoclean(buf_done) struct buf name = buf_limit(NOTE_NAME_MAX);
	struct io_publish how = { .mode = 0600, .fsync = true };
	struct slice part;
	enum ecode rc = incomplete_seal(s, i, &sealed, e);

	if (rc == E_OK)
		rc = record_name(&name, i->run_id, e);
	if (rc == E_OK)
		rc = open_dir(s, state_dir, true, &dir, e);
	if (rc != E_OK)
		return rc;
	how.dir = dir.fd;
	how.name = (const char *)name.p;
	part = buf_slice(&sealed);
	return io_publish(s->os, &how, &part, 1, e);
}

enum ecode
local_erase(struct session *s, const char *state_dir, const char *run_id, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { s->os, -1 };
	autoclean(buf_done) struct buf name = buf_limit(NOTE_NAME_MAX);
	enum ecode rc = record_name(&name, run_id, e);
	int sys;

	if (rc == E_OK)
		rc = open_dir(s, state_dir, false, &dir, e);
	if (rc != E_OK)
		return rc == E_IO_READ || rc == E_IO ? (e->sys == ENOENT ? E_OK : rc) : rc;
	sys = s->os->unlink(s->os, dir.fd, (const char *)name.p, 0);
	return sys < 0 && sys != -ENOENT ? io_refusal(e, E_IO, sys, "unlink", (const char *)name.p)
					 : E_OK;
}

/* ---- loading ---- */

/* One file; what cannot be read or does not open is counted and left where it is. */
static enum ecode
load_one(struct session *s, int dir, const char *name, struct arena *a, struct incomplete_list *out,
	struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(INCOMPLETE_SEALED_BYTES);
	struct incomplete *i = &out->v[out->n];
	enum ecode rc = io_read_file(s->os, dir, name, &sealed, e);

	if (rc == E_OK)
		rc = incomplete_open(s, buf_slice(&sealed), name + strlen(LOCAL_PREFIX), a, i, e);
	if (rc == E_NOMEM)
		return rc;
	if (rc != E_OK) {
		out->unreadable++;
		return E_OK;
	}
	out->state[out->n++] = incomplete_state_of(s->os, i);
	return E_OK;
}

static enum ecode
load_all(struct session *s, int dir, struct arena *a, struct incomplete_list *out, struct err *e)
{
	struct walk_list list = { 0 };
	void *p;
	enum ecode rc = walk_dir(s->os, dir, "the state directory", a, &list, e);

	if (rc == E_OK)
		rc = arena_alloc(a, list.n * sizeof(*out->v), &p, e);
	if (rc != E_OK)
		return rc;
	out->v = p;
	rc = arena_alloc(a, list.n * sizeof(*out->state), &p, e);
	if (rc == E_OK)
		out->state = p;
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const char *name = list.v[i].name;

		if (strncmp(name, LOCAL_PREFIX, strlen(LOCAL_PREFIX)) == 0 &&
			strstr(name, "-tmp-") == NULL)
			rc = load_one(s, dir, name, a, out, e);
	}
	return rc;
}

enum ecode
local_load(struct session *s, const char *state_dir, struct arena *a, struct incomplete_list *out,
	struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { s->os, -1 };
	enum ecode rc;

	*out = (struct incomplete_list){ 0 };
	rc = open_dir(s, state_dir, false, &dir, e);
	if (rc != E_OK)
		return e->sys == ENOENT ? E_OK : rc;
	return load_all(s, dir.fd, a, out, e);
}
