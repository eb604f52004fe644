/* What every step of a restore uses: the stop, paths, what is told, the workers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "os/io.h"

enum ecode
restore_asked_to_stop(struct restore *r, struct err *e)
{
	const struct listener *l = r->s->listener;

	if (!l->stop(l->arg))
		return E_OK;
	return err_set(e, E_INTERRUPTED, 0, "the destination %s is as it was", r->args->dest);
}

/* Written backwards, because a directory knows its parent only: no recursion, no second buffer. */
enum ecode
restore_path(const struct restore_dir *d, const char *name, struct buf *out, struct err *e)
{
	size_t name_len = name != NULL ? strlen(name) + 1 : 0;
	size_t len = d->path_len + name_len;
	enum ecode rc;

	buf_clear(out);
	rc = buf_reserve(out, len + 1, e);
	if (rc != E_OK)
		return rc;
	out->len = len;
	out->p[len] = '\0';
	if (name != NULL) {
		out->p[d->path_len] = '/';
		memcpy(out->p + d->path_len + 1, name, name_len - 1);
	}
	for (; d->parent != NULL; d = d->parent) {
		size_t from = d->parent->path_len;

		out->p[from] = '/';
		memcpy(out->p + from + 1, d->self->name, d->path_len - from - 1);
	}
	return E_OK;
}

const char *
restore_rel(const struct buf *path)
{
	return path->len == 0 ? "" : (const char *)path->p + 1;
}

bool
restore_is_damage(enum ecode code)
{
	return code == E_STORE_ABSENT ||
	       (code != E_PATH_UNSAFE && err_row(code)->caller == CALLER_CORRUPT);
}

void
restore_tell(struct restore *r, const struct restore_dir *d, const char *name,
	const struct restore_trouble *t)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	const struct listener *l = r->s->listener;
	enum cause cause = cause_of(t->code, t->sys);
	struct problem problem = {
		.during = t->during,
		.code = t->code,
		.sys = t->sys,
		.cause = cause,
		.why = t->why,
		.fatal_for_item = t->fatal_for_item,
		.can_retry = t->fatal_for_item && cause_can_retry(cause),
	};
	const char *system = t->sys > 0 ? strerrordesc_np(t->sys) : NULL;
	char why[ERR_DETAIL_BYTES];
	struct err ignored;

	if (system != NULL && strstr(t->why, system) == NULL) {
		(void)snprintf(why, sizeof(why), "%s: %s%s", t->why, cause_short(cause),
			cause == CAUSE_PERMISSION ? ". Run the restore as root if it is needed"
						  : "");
		problem.why = why;
	}
	/* without memory for the path the problem is told all the same */
	if (restore_path(d, name, &path, &ignored) != E_OK || path.len == 0)
		problem.path = name != NULL ? name : "/";
	else
		problem.path = (const char *)path.p;
	atomic_fetch_add(&l->progress->problems, 1);
	l->problem(l->arg, &problem);
}

void
restore_damage(struct restore *r, const struct restore_dir *d, const char *name, enum ecode code,
	int sys, const char *why)
{
	struct restore_trouble t = {
		.during = "restore",
		.code = code,
		.sys = sys,
		.why = why,
		.fatal_for_item = true,
	};

	atomic_fetch_add(&r->damaged, 1);
	restore_tell(r, d, name, &t);
	if (r->args->allow_partial)
		restore_partial_missing(r, d, name);
}

enum ecode
restore_open_dir(struct restore *r, struct restore_worker *w, const struct restore_dir *d, int *fd,
	struct err *e)
{
	enum ecode rc;

	if (w->open_dir != d) {
		io_close(r->s->os, &w->dir_fd);
		w->open_dir = NULL;
		rc = restore_path(d, NULL, &w->path, e);
		if (rc == E_OK)
			rc = place_open_dir(r->place, restore_rel(&w->path), &w->dir_fd, e);
		if (rc != E_OK)
			return rc;
		w->open_dir = d;
	}
	*fd = w->dir_fd;
	return E_OK;
}

void
restore_close_held(struct restore *r)
{
	for (unsigned i = 0; i <= r->s->workers; i++) {
		struct restore_worker *w = &r->worker[i];

		io_close(r->s->os, &w->dir_fd);
		io_close(r->s->os, &w->file_fd);
		w->open_dir = NULL;
		w->open_file = NULL;
	}
}

void
restore_keep_task(struct flow_task *task)
{
	(void)task; /* its arena releases it */
}

enum ecode
restore_stage_refusal(enum ecode rc, struct err *e)
{
	bool writing = rc == E_PLACE_IO || rc == E_PLACE_EXISTS || rc == E_IO || rc == E_IO_UNSURE;
	bool reading = rc == E_IO_READ || (rc >= E_SRC_MISSING && rc <= E_SRC_BUSY);

	if (!writing && !reading)
		return rc;
	err_note(e, "%s", err_row(rc)->what);
	e->code = E_STAGE_IO;
	return E_STAGE_IO;
}

enum ecode
restore_open_workers(struct restore *r, struct err *e)
{
	struct session *s = r->s;

	r->worker = calloc((size_t)s->workers + 1, sizeof(*r->worker));
	if (r->worker == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "restore workers");
	for (unsigned i = 0; i <= s->workers; i++)
		r->worker[i] = (struct restore_worker){
			.codec = i < s->workers ? s->codec[i] : s->own,
			.plan = arena_limit(RESTORE_ARENA_BYTES),
			.nodes = arena_limit(RESTORE_ARENA_BYTES),
			.scratch = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD),
			.spare = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD),
			.plain = buf_limit(BLOB_PLAIN_MAX_BYTES),
			.path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2),
			.dir_fd = -1,
			.file_fd = -1,
		};
	return E_OK;
}

void
restore_close_workers(struct restore *r)
{
	if (r->worker == NULL)
		return;
	restore_close_held(r);
	for (unsigned i = 0; i <= r->s->workers; i++) {
		struct restore_worker *w = &r->worker[i];

		arena_done(&w->plan);
		arena_done(&w->nodes);
		buf_done(&w->scratch);
		buf_done(&w->spare);
		buf_done(&w->plain);
		buf_done(&w->path);
		free(w->draft);
	}
	free(r->worker);
	r->worker = NULL;
}
