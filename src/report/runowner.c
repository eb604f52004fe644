/*
 * run_owner.json: whose run this is and what it was asked to do, under the
 * kernel's lock for as long as the process lives.  The lock is the proof of life:
 * it goes with the process, however that ends, and a process number given again
 * does not bring it back.  The identity inside is for people, and for file systems
 * that have no locks.
 */
#include "report/runparts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "os/identity.h"
#include "os/io.h"

#define OWNER_TMP_NAME \
	RUN_OWNER_NAME "-tmp" /* the folder is new and ours: no other takes this name */
#define OWNER_MAX_BYTES \
	(4U << 20)     /* argv: ARG_MAX is 2 MiB; escaped it may not fit, then it is left out */
#define ARG_TEXT_MIN 3 /* `"",`: no argument takes less of the record */

static enum ecode
owner_text(const struct run *r, bool locked, bool with_argv, struct buf *out, struct err *e)
{
	struct identity self = { .pid = 0 };
	char cwd[PATH_MAX];
	struct json_out w;
	enum ecode rc = identity_self(r->os, &self, e);

	if (rc != E_OK)
		return rc;
	json_begin(&w, out);
	json_open_object(&w);
	json_member_str(&w, "run_id", r->id);
	json_member_str(&w, "mode", r->args.mode);
	json_put_key(&w, "identity");
	identity_put(&w, &self);
	json_member_bool(&w, "locked", locked);
	json_member_str(&w, "cwd", r->os->cwd(r->os, cwd, sizeof(cwd)) < 0 ? NULL : cwd);
	json_member_str(&w, "vault", r->args.vault);
	json_member_str(&w, "source", r->args.source);
	json_member_str(&w, "target", r->args.target);
	json_put_key(&w, "argv");
	json_open_array(&w);
	for (size_t i = 0; with_argv && i < r->args.argc; i++)
		json_put_str(&w, r->args.argv[i]);
	json_close_array(&w);
	json_close_object(&w);
	return json_done(&w, e);
}

/* No lock to be had is no reason not to run: the identity judges then. */
static bool
owner_lock(const struct os *os, int fd)
{
	return os->flock(os, fd, LOCK_EX | LOCK_NB) == 0;
}

enum ecode
run_owner_write(struct run *r, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(OWNER_MAX_BYTES);
	const struct os *os = r->os;
	bool locked;
	enum ecode rc = io_open(
		os, r->dir_fd, OWNER_TMP_NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &r->owner_fd, e);
	int moved;

	if (rc != E_OK)
		return rc;
	locked = owner_lock(os, r->owner_fd);
	rc = owner_text(r, locked, true, &text, e);
	if (rc == E_LIMIT) {
		buf_clear(&text);
		rc = owner_text(r, locked, false, &text, e);
	}
	if (rc == E_OK)
		rc = io_write(os, r->owner_fd, text.p, text.len, RUN_OWNER_NAME, e);
	if (rc != E_OK)
		return rc;
	moved = os->rename(os, r->dir_fd, OWNER_TMP_NAME, r->dir_fd, RUN_OWNER_NAME, 0);
	return moved < 0 ? io_refusal(e, E_REPORT_WRITE, moved, "rename", RUN_OWNER_NAME) : E_OK;
}

/* ---- looking at another's ---- */

struct owner {
	struct identity id;
	bool locked;
};

static bool
take_argv(struct json *j, struct arena *a, struct run_info *info)
{
	size_t max = (size_t)(j->end - j->p) / ARG_TEXT_MIN + 1;
	void *room;
	struct err e;

	if (arena_alloc(a, max * sizeof(char *), &room, &e) != E_OK || !json_enter_array(j))
		return false;
	info->argv = room;
	while (json_element(j)) {
		if (info->argc == max)
			return false;
		info->argv[info->argc] = "";
		if (!run_take_text(j, a, &info->argv[info->argc]))
			return false;
		info->argc++;
	}
	return !j->bad;
}

static bool
take_owner(struct json *j, struct slice key, struct arena *a, struct run_info *info,
	struct owner *owner)
{
	struct err e;

	if (slice_is(key, "identity"))
		return identity_take(j, &owner->id, &e) == E_OK;
	if (slice_is(key, "locked"))
		return json_bool(j, &owner->locked);
	if (slice_is(key, "mode"))
		return run_take_text(j, a, &info->mode);
	if (slice_is(key, "cwd"))
		return run_take_text(j, a, &info->cwd);
	if (slice_is(key, "vault"))
		return run_take_text(j, a, &info->vault);
	if (slice_is(key, "source"))
		return run_take_text(j, a, &info->source);
	if (slice_is(key, "target"))
		return run_take_text(j, a, &info->target);
	if (slice_is(key, "argv"))
		return take_argv(j, a, info);
	return json_skip(j, NULL);
}

static bool
parse_owner(const struct buf *text, struct arena *a, struct run_info *info, struct owner *owner)
{
	struct json j;
	struct slice key;

	json_init(&j, text->p, text->len);
	if (!json_enter_object(&j))
		return false;
	while (json_key(&j, &key)) {
		if (!take_owner(&j, key, a, info, owner))
			return false;
	}
	return json_end(&j);
}

static enum run_life
life_by_identity(const struct os *os, const struct identity *id)
{
	switch (identity_judge(os, id)) {
	case IDENTITY_ALIVE:
		return RUN_LIVE;
	case IDENTITY_GONE:
		return RUN_DEAD;
	case IDENTITY_UNKNOWN:
		return RUN_UNKNOWN;
	}
	return RUN_UNKNOWN; /* not reached: -Wswitch-enum proves the list above */
}

/*
 * A lock we get at once was nobody's.  On a state directory shared with another
 * machine it may be that machine's: then the lock is the server's business and as good.
 */
static enum run_life
life_of(const struct os *os, int fd, const struct owner *owner)
{
	int rc;

	if (!owner->locked)
		return life_by_identity(os, &owner->id);
	rc = os->flock(os, fd, LOCK_SH | LOCK_NB);
	if (rc == -EWOULDBLOCK)
		return RUN_LIVE;
	return rc == 0 ? RUN_DEAD : RUN_UNKNOWN;
}

void
run_owner_read(const struct os *os, int dir, struct arena *a, struct run_info *info)
{
	autoclean(buf_done) struct buf text = buf_limit(OWNER_MAX_BYTES);
	struct owner owner = { .locked = false };
	struct io_fd f = { os, -1 };
	struct err e;

	info->life = RUN_UNKNOWN;
	if (io_open(os, dir, RUN_OWNER_NAME, O_RDONLY | O_NOFOLLOW, 0, &f.fd, &e) != E_OK)
		return;
	if (io_read_file(os, dir, RUN_OWNER_NAME, &text, &e) == E_OK &&
		parse_owner(&text, a, info, &owner)) {
		info->pid = owner.id.pid;
		info->life = life_of(os, f.fd, &owner);
	}
	io_fd_done(&f); /* a lock taken by looking goes with it */
}
