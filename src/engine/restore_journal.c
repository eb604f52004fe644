/* execution_journal.jsonl of a restore: what was begun and ended, a line each, written at once (WC-45). */
#include <inttypes.h>
#include <stdio.h>

#include "engine/restore_internal.h"
#include "os/io.h"

/* A line: two texts and a name. */
#define EVENT_MAX_BYTES (4U << 20)
/* Between two lines of progress (WC-45). */
#define PROGRESS_EVERY  250

static enum ecode
event_line(struct restore *r, const char *event, const char *text, struct buf *out, struct err *e)
{
	char when[INSTANT_TEXT_MAX];
	size_t len = instant_format(r->s->os->wall(r->s->os), when);
	struct json_out w;
	enum ecode rc;

	json_begin(&w, out);
	json_open_object(&w);
	json_put_key(&w, "data");
	json_open_object(&w);
	if (text != NULL)
		json_member_str(&w, "text", text);
	json_close_object(&w);
	json_member_str(&w, "event", event);
	json_put_key(&w, "ts");
	json_put_text(&w, when, len);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

/* journal_lock is held. */
static void
write_event(struct restore *r, const char *event, const char *text)
{
	autoclean(buf_done) struct buf line = buf_limit(EVENT_MAX_BYTES);
	enum ecode rc;

	if (r->art.journal_fd < 0)
		return;
	rc = event_line(r, event, text, &line, NULL);
	if (rc == E_OK)
		rc = io_write(r->s->os, r->art.journal_fd, line.p, line.len,
			"execution_journal.jsonl", &r->art.trouble);
	if (rc !=
		E_OK) /* told once, at the end: the journal records the work, it is not the work */
		io_close(r->s->os, &r->art.journal_fd);
}

void
artifacts_event(struct restore *r, const char *event, const char *text)
{
	(void)pthread_mutex_lock(&r->art.journal_lock);
	write_event(r, event, text);
	(void)pthread_mutex_unlock(&r->art.journal_lock);
}

/* journal_lock is held. */
static void
write_progress(struct restore *r)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, r->art.built);
	write_event(r, "stage_build_progress", text);
	r->art.built_told = r->art.built;
}

void
artifacts_built(struct restore *r)
{
	(void)pthread_mutex_lock(&r->art.journal_lock);
	r->art.built++;
	if (r->art.built == 1 || r->art.built % PROGRESS_EVERY == 0)
		write_progress(r);
	(void)pthread_mutex_unlock(&r->art.journal_lock);
}

void
artifacts_stage_ended(struct restore *r, enum ecode outcome)
{
	(void)pthread_mutex_lock(&r->art.journal_lock);
	if (r->art.built != r->art.built_told)
		write_progress(r);
	write_event(r, r->args->dry_run ? "stage_build_dry_run" : "stage_build_completed",
		outcome == E_OK ? NULL : err_row(outcome)->name);
	(void)pthread_mutex_unlock(&r->art.journal_lock);
}
