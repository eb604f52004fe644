/*
 * The run folder's life: made before anything else happens, journal lines
 * written straight through (no buffering: a crash loses nothing that was told),
 * the report published last.  Trouble while working never stops the work: it
 * sticks and is told by the report.
 */
#include "report/runparts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "os/io.h"

#define RUN_ARENA_BYTES (16U << 20) /* argv of a run: the kernel's ARG_MAX is 2 MiB here */
#define RUN_ID_TRIES    8           /* equal second and equal 32 bits: once is already unlikely */

static enum ecode
refuse(struct err *e, const struct err *why, const char *what)
{
	return err_set(e, E_REPORT_WRITE, why->sys, "%s: %s", what, why->detail);
}

const char *
run_list_name(enum run_list list)
{
	switch (list) {
	case RUN_FAILED:
		return "failed";
	case RUN_SKIPPED:
		return "skipped";
	case RUN_CAN_RETRY:
		return "can_retry";
	case RUN_COMPLETED:
		return "completed";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

static enum ecode
copy_text(struct run *r, const char *text, const char **out, struct err *e)
{
	*out = NULL;
	return text == NULL ? E_OK : arena_str(&r->arena, text, strlen(text), out, e);
}

static enum ecode
copy_args(struct run *r, const struct run_args *args, struct err *e)
{
	void *argv = NULL;
	enum ecode rc = copy_text(r, args->mode, &r->args.mode, e);

	if (rc == E_OK)
		rc = copy_text(r, args->version, &r->args.version, e);
	if (rc == E_OK)
		rc = copy_text(r, args->state_dir, &r->args.state_dir, e);
	if (rc == E_OK)
		rc = copy_text(r, args->vault, &r->args.vault, e);
	if (rc == E_OK)
		rc = copy_text(r, args->source, &r->args.source, e);
	if (rc == E_OK)
		rc = copy_text(r, args->target, &r->args.target, e);
	if (rc == E_OK)
		rc = arena_alloc(&r->arena, args->argc * sizeof(char *), &argv, e);
	for (size_t i = 0; rc == E_OK && i < args->argc; i++)
		rc = arena_str(&r->arena, args->argv[i], strlen(args->argv[i]),
			(const char **)argv + i, e);
	r->args.argv = argv;
	r->args.argc = args->argc;
	return rc;
}

static enum ecode
name_at(const struct os *os, struct instant when, char out[static RUN_ID_MAX], struct err *e)
{
	struct civil c = instant_civil(when);
	uint32_t word = 0;
	int rc = os->random(os, &word, sizeof(word));

	if (rc < 0)
		return err_set(e, E_RANDOM, -rc, "for a run's name");
	(void)snprintf(out, RUN_ID_MAX, "%04" PRId64 "%02d%02dT%02d%02d%02dZ-%08" PRIx32, c.year,
		c.month, c.day, c.hour, c.minute, c.second, word);
	return E_OK;
}

enum ecode
run_id_make(const struct os *os, char out[static RUN_ID_MAX], struct err *e)
{
	return name_at(os, os->wall(os), out, e);
}

/* A fresh directory of our own; a name that exists is never taken over. */
static enum ecode
make_folder(struct run *r, int runs_fd, struct err *e)
{
	enum ecode rc = E_OK;
	int made = -EEXIST;

	for (int i = 0; rc == E_OK && made == -EEXIST && i < RUN_ID_TRIES; i++) {
		rc = name_at(r->os, r->started, r->id, e);
		if (rc == E_OK)
			made = r->os->mkdir(r->os, runs_fd, r->id, 0700);
	}
	if (rc == E_OK && made < 0)
		rc = io_refusal(e, E_REPORT_WRITE, made, "mkdir", r->id);
	if (rc == E_OK)
		rc = io_open(r->os, runs_fd, r->id, O_RDONLY | O_DIRECTORY, 0, &r->dir_fd, e);
	if (rc == E_OK)
		rc = io_open(r->os, r->dir_fd, RUN_JOURNAL_NAME,
			O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600, &r->journal_fd, e);
	if (rc == E_OK)
		rc = run_owner_write(r, e);
	if (rc == E_OK)
		(void)r->os->fsync(
			r->os, runs_fd); /* a folder lost in a power cut loses no promise */
	return rc;
}

static enum ecode
open_folder(struct run *r, struct err *e)
{
	struct io_fd runs = { r->os, -1 };
	const char *path = NULL;
	struct err why;
	enum ecode rc = path_join(&r->arena, r->args.state_dir, "runs", &path, &why);

	if (rc == E_OK)
		rc = io_mkdirs(r->os, AT_FDCWD, path, 0700, &why);
	if (rc == E_OK)
		rc = io_open(r->os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &runs.fd, &why);
	if (rc == E_OK) {
		run_retain(r->os, runs.fd);
		rc = make_folder(r, runs.fd, &why);
	}
	if (rc == E_OK)
		rc = path_join(&r->arena, path, r->id, &r->dir, &why);
	io_fd_done(&runs);
	return rc == E_OK ? E_OK : refuse(e, &why, "making the run folder");
}

static void
run_free(struct run *r)
{
	io_close(r->os, &r->journal_fd);
	io_close(r->os, &r->owner_fd);
	io_close(r->os, &r->dir_fd);
	for (unsigned i = 0; i < RUN_LISTS; i++) {
		io_close(r->os, &r->roll[i].fd);
		buf_done(&r->roll[i].head);
	}
	arena_done(&r->arena);
	(void)pthread_mutex_destroy(&r->lock); /* cannot fail: nobody holds it any more */
	free(r);
}

static void
tell_start(struct run *r)
{
	autoclean(buf_done) struct buf text = buf_limit(RUN_LINE_MAX_BYTES);
	struct json_out w;
	struct err e;

	json_begin(&w, &text);
	json_open_object(&w);
	json_member_str(&w, "mode", r->args.mode);
	json_put_key(&w, "pid");
	json_put_i64(&w, r->os->pid(r->os));
	json_member_str(&w, "version", r->args.version);
	json_close_object(&w);
	if (json_done(&w, &e) == E_OK && buf_add_byte(&text, 0, &e) == E_OK)
		run_event(r, "run_started", (const char *)text.p);
}

enum ecode
run_open(const struct os *os, const struct run_args *args, struct run **out, struct err *e)
{
	struct run *r = calloc(1, sizeof(*r));
	enum ecode rc;

	if (r == NULL)
		return err_set(e, E_NOMEM, 0, "a run");
	r->os = os;
	r->arena = arena_limit(RUN_ARENA_BYTES);
	r->dir_fd = -1;
	r->journal_fd = -1;
	r->owner_fd = -1;
	for (unsigned i = 0; i < RUN_LISTS; i++) {
		r->roll[i].fd = -1;
		r->roll[i].head = buf_limit(RUN_INLINE_BYTES);
	}
	(void)pthread_mutex_init(&r->lock, NULL); /* cannot fail with default attributes on Linux */
	r->started = os->wall(os);
	r->started_ns = os->monotonic_ns(os);
	rc = copy_args(r, args, e);
	if (rc == E_OK)
		rc = open_folder(r, e);
	if (rc != E_OK) {
		run_free(r);
		return rc;
	}
	tell_start(r);
	*out = r;
	return E_OK;
}

const char *
run_id(const struct run *r)
{
	return r->id;
}

const char *
run_dir(const struct run *r)
{
	return r->dir;
}

/* Sorted keys, compact, one line (WC-45): data, event, ts */
static enum ecode
journal_line(
	struct run *r, const char *event, const char *data_json, struct buf *line, struct err *e)
{
	char ts[INSTANT_TEXT_MAX];
	struct json_out w;
	enum ecode rc;

	(void)instant_format(r->os->wall(r->os), ts);
	json_begin(&w, line);
	json_open_object(&w);
	json_put_key(&w, "data");
	json_put_raw(&w, data_json == NULL ? "{}" : data_json,
		data_json == NULL ? 2 : strlen(data_json));
	json_member_str(&w, "event", event);
	json_member_str(&w, "ts", ts);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(line, '\n', e) : rc;
}

void
run_event(struct run *r, const char *event, const char *data_json)
{
	autoclean(buf_done) struct buf line = buf_limit(RUN_LINE_MAX_BYTES);
	struct err why;
	enum ecode rc = journal_line(r, event, data_json, &line, &why);

	(void)pthread_mutex_lock(&r->lock);
	if (rc == E_OK)
		rc = io_write(r->os, r->journal_fd, line.p, line.len, RUN_JOURNAL_NAME, &why);
	if (rc != E_OK && r->trouble.code == E_OK)
		r->trouble = why;
	(void)pthread_mutex_unlock(&r->lock);
}

static const char *
item_status(enum run_list list)
{
	switch (list) {
	case RUN_FAILED:
		return "failed";
	case RUN_SKIPPED:
		return "skipped";
	case RUN_CAN_RETRY:
		return "failed";
	case RUN_COMPLETED:
		return "success";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* DF-31's per-path record */
static enum ecode
item_line(enum run_list list, const struct problem *p, struct buf *line, struct err *e)
{
	const char *type = p->cause != CAUSE_UNKNOWN ? cause_name(p->cause)
						     : eclass_name(err_row(p->code)->class);
	struct json_out w;

	json_begin(&w, line);
	json_open_object(&w);
	json_member_str(&w, "path", p->path);
	json_member_str(&w, "status", item_status(list));
	json_member_str(&w, "error_type", p->code == E_OK ? NULL : type);
	json_put_key(&w, "error_code");
	json_put_i64(&w, (int64_t)p->code);
	json_member_str(&w, "error_message", p->why);
	json_member_bool(&w, "can_retry", p->can_retry);
	json_close_object(&w);
	return json_done(&w, e);
}

static enum ecode
roll_write(struct run *r, enum run_list list, struct buf *line, struct err *e)
{
	struct roll *roll = &r->roll[list];
	char name[32];
	enum ecode rc = buf_add_byte(line, '\n', e);

	(void)snprintf(name, sizeof(name), "%s.jsonl", run_list_name(list));
	if (rc == E_OK && roll->fd < 0)
		rc = io_open(r->os, r->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600,
			&roll->fd, e);
	if (rc == E_OK)
		rc = io_write(r->os, roll->fd, line->p, line->len, name, e);
	if (rc == E_OK)
		roll->listed++;
	return rc;
}

/* Keep the first few for the report itself; an entry that is too long is only in the file. */
static void
roll_keep(struct roll *roll, const struct buf *line)
{
	size_t before = roll->head.len;
	enum ecode rc = before == 0 ? E_OK : buf_add_byte(&roll->head, ',', NULL);

	if (rc == E_OK)
		rc = buf_add(&roll->head, line->p, line->len, NULL);
	if (rc == E_OK)
		roll->inlined++;
	else
		roll->head.len = before;
}

void
run_problem(struct run *r, enum run_list list, const struct problem *p)
{
	autoclean(buf_done) struct buf line = buf_limit(RUN_LINE_MAX_BYTES);
	struct roll *roll = &r->roll[list];
	struct err trouble;
	enum ecode rc = item_line(list, p, &line, &trouble);

	(void)pthread_mutex_lock(&r->lock);
	roll->total++;
	if (rc == E_OK && roll->inlined < RUN_INLINE_MAX)
		roll_keep(roll, &line);
	if (rc == E_OK && roll->listed < RUN_LIST_MAX)
		rc = roll_write(r, list, &line, &trouble);
	if (rc != E_OK && r->trouble.code == E_OK)
		r->trouble = trouble;
	(void)pthread_mutex_unlock(&r->lock);
}

void
run_item(struct run *r, enum run_list list, const char *path, enum ecode code, const char *why)
{
	struct problem p = {
		.path = path,
		.code = code,
		.cause = cause_of(code, 0),
		.why = why,
		.can_retry = list == RUN_CAN_RETRY,
	};

	run_problem(r, list, &p);
}

static void
roll_restart(struct run *r, struct roll *roll)
{
	int sys = roll->fd < 0 ? 0 : r->os->ftruncate(r->os, roll->fd, 0);

	if (sys < 0 && r->trouble.code == E_OK)
		(void)io_refusal(&r->trouble, E_REPORT_WRITE, sys, "ftruncate", "a list");
	roll->total = 0;
	roll->listed = 0;
	roll->inlined = 0;
	buf_clear(&roll->head);
}

void
run_lists_restart(struct run *r)
{
	(void)pthread_mutex_lock(&r->lock);
	roll_restart(r, &r->roll[RUN_FAILED]);
	roll_restart(r, &r->roll[RUN_SKIPPED]);
	roll_restart(r, &r->roll[RUN_CAN_RETRY]);
	(void)pthread_mutex_unlock(&r->lock);
}

enum ecode
run_finish(struct run **run, const struct run_result *result, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(RUN_TEXT_MAX_BYTES);
	struct run *r = *run;
	struct io_publish how;
	struct slice part;
	struct err why;
	enum ecode rc;

	if (r == NULL)
		return E_OK;
	run_event(r, "run_finished", NULL);
	(void)r->os->fsync(r->os, r->journal_fd); /* the report, not the journal, is the promise */
	rc = run_record(r, result, &text, &why);
	if (rc == E_OK) {
		how = (struct io_publish){
			.dir = r->dir_fd, .name = RUN_REPORT_NAME, .mode = 0600, .fsync = true
		};
		part = buf_slice(&text);
		rc = io_publish(r->os, &how, &part, 1, &why);
	}
	if (rc != E_OK)
		rc = refuse(e, &why, "writing the run report");
	run_free(r);
	*run = NULL;
	return rc;
}

void
run_abandon(struct run **r)
{
	if (*r != NULL)
		run_free(*r);
	*r = NULL;
}
