/*
 * What an earlier restore to the same destination left beside it, when it was
 * killed or refused (D-21, X-11).  It is told with the next safe step and never
 * removed: it may hold the only copy of somebody's tree.
 *
 * Which of two trees is which tells the note that every exchange writes before
 * it begins: the inode of the directory that is to be replaced.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define LEFT_NOTE        "replaces"
#define LEFT_NOTE_BYTES  64
/* Names in one stage directory: one a restore that did not end well. */
#define LEFT_ARENA_BYTES ((size_t)16 << 20)

enum ecode
restore_left_note(struct restore *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = r->s->os, .fd = -1 };
	char text[LEFT_NOTE_BYTES];
	enum ecode rc;
	int len;

	if (r->dest.previous == NULL)
		return E_OK;
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", r->dest.meta.ino);
	rc = io_open(r->s->os, r->dest.run_fd, LEFT_NOTE, O_WRONLY | O_CREAT | O_EXCL, 0600,
		&file.fd, e);
	if (rc == E_OK)
		r->dest.noted = true;
	return rc == E_OK ? io_write(r->s->os, file.fd, text, (size_t)len, LEFT_NOTE, e) : rc;
}

void
restore_left_forget(struct restore *r)
{
	if (r->dest.noted)
		(void)r->s->os->unlink(r->s->os, r->dest.run_fd, LEFT_NOTE, 0);
}

/* ---- looking ---- */

struct left {
	struct restore *r;
	const char *run; /* id */
	bool staged;     /* a tree is in its stage */
	bool aside;      /* a tree has the previous name of that run */
	bool swapped;    /* the tree in the stage is the one that was to be replaced */
	bool resumable;  /* its plan is there */
};

static bool
is_there(struct restore *r, int dir, const char *name, struct os_meta *m)
{
	return r->s->os->stat(r->s->os, dir, name, AT_SYMLINK_NOFOLLOW, m) >= 0;
}

/* Nobody's guess: without the note nothing is known to be exchanged. */
static bool
noted_inode(struct restore *r, int run_fd, uint64_t *ino)
{
	autoclean(buf_done) struct buf text = buf_limit(LEFT_NOTE_BYTES);
	uint64_t v = 0;

	if (io_read_file(r->s->os, run_fd, LEFT_NOTE, &text, NULL) != E_OK || text.len < 2)
		return false;
	for (size_t i = 0; i + 1 < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ino = v;
	return true;
}

static void
look_at(struct left *l, int stage_fd)
{
	autoclean(io_fd_done) struct io_fd run = { .os = l->r->s->os, .fd = -1 };
	struct restore *r = l->r;
	struct os_meta m;
	char previous[NAME_BYTES_MAX + 1];
	uint64_t ino = 0;

	if (io_open(r->s->os, stage_fd, l->run, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &run.fd,
		    NULL) != E_OK)
		return;
	l->resumable = is_there(r, run.fd, RESTORE_STAGE_PLAN, &m);
	l->staged = is_there(r, run.fd, RESTORE_STAGE_ROOT, &m);
	l->swapped = l->staged && noted_inode(r, run.fd, &ino) && m.ino == ino;
	if (restore_previous_name(r->dest.base, l->run, previous, sizeof(previous)))
		l->aside = is_there(r, r->dest.parent_fd, previous, &m);
}

static void
tell(const struct left *l)
{
	const struct listener *to = l->r->s->listener;
	const struct restore_dest *d = &l->r->dest;
	char previous[NAME_BYTES_MAX + 1], text[3 * PATH_TEXT_SHOWN];

	if (!restore_previous_name(d->base, l->run, previous, sizeof(previous)))
		return;
	if (!d->exists && l->aside)
		(void)snprintf(text, sizeof(text),
			"run %s ended between its two renames: the tree that was at %s is %s/%s, and the new one is %s/%s/" RESTORE_STAGE_ROOT
			". Both are whole. Next: mv -T '%s/%s' '%s'",
			l->run, d->path, d->parent, previous, d->stage_path, l->run, d->parent,
			previous, d->path);
	else if (l->swapped)
		(void)snprintf(text, sizeof(text),
			"run %s put its tree in place, but the tree that was there before is still %s/%s/" RESTORE_STAGE_ROOT
			". Next: mv -T it to %s/%s, or wherever you want it",
			l->run, d->stage_path, l->run, d->parent, previous);
	else if (l->resumable)
		(void)snprintf(text, sizeof(text),
			"run %s put nothing in place; what it had built is %s/%s. Unless it is still at work, go on with it: holdfast restore --resume %s. Or remove it",
			l->run, d->stage_path, l->run, l->run);
	else if (l->staged && l->r->args->kind == RESTORE_IN_PLACE)
		(void)snprintf(text, sizeof(text),
			"run %s ended before all was in place; the same command to its end does the rest. What is left of its stage is %s/%s, and may hold what it replaced: look before it is removed",
			l->run, d->stage_path, l->run);
	else if (l->staged)
		(void)snprintf(text, sizeof(text),
			"run %s put nothing in place; what it had built is %s/%s. Unless it is still at work, it may be removed",
			l->run, d->stage_path, l->run);
	else
		return;
	to->note(to->arg, RESTORE_NOTE_LEFT, text);
}

bool
restore_left_between(const struct os *os, const char *dest, const char *run, struct buf *aside)
{
	const char *base = path_base(dest);
	char previous[NAME_BYTES_MAX + 1];
	struct os_meta m;
	struct err ignored;

	aside->len = 0;
	return os->stat(os, AT_FDCWD, dest, AT_SYMLINK_NOFOLLOW, &m) == -ENOENT &&
	       restore_previous_name(base, run, previous, sizeof(previous)) &&
	       buf_printf(aside, &ignored, "%.*s%s", (int)(base - dest), dest, previous) == E_OK &&
	       buf_add_byte(aside, '\0', &ignored) == E_OK &&
	       os->stat(os, AT_FDCWD, (const char *)aside->p, AT_SYMLINK_NOFOLLOW, &m) >= 0 &&
	       S_ISDIR(m.mode);
}

enum ecode
restore_left_look(struct restore *r, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(LEFT_ARENA_BYTES);
	autoclean(io_fd_done) struct io_fd stage = { .os = r->s->os, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc;

	stage.fd = r->s->os->open(r->s->os, r->dest.parent_fd, r->dest.stage_name,
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (stage.fd < 0)
		return E_OK; /* none, or not ours to look at: the stage's own refusals follow */
	rc = walk_dir(r->s->os, stage.fd, r->dest.stage_name, &a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		struct left l = { .r = r, .run = list.v[i].name };

		if (!run_id_is_one(l.run) || strcmp(l.run, r->args->run_id) == 0 ||
			(r->args->resume != NULL && strcmp(l.run, r->args->resume) == 0))
			continue;
		look_at(&l, stage.fd);
		tell(&l);
	}
	return rc == E_NOMEM ? rc : E_OK; /* a stage that cannot be listed is no reason to refuse */
}
