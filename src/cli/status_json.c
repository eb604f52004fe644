/* `status --json`: docs/status.schema.json, one object on one line. */
#include <string.h>

#include "base/json.h"
#include "cli/status_page.h"
#include "report/steps.h"

#define DOCUMENT_MAX_BYTES (256U << 20)

static void
put(struct json_out *w, const char *key, const char *text)
{
	json_put_key(w, key);
	json_put_str(w, text);
}

static void
put_slice(struct json_out *w, const char *key, struct slice text)
{
	json_put_key(w, key);
	json_put_text(w, text.p, text.len);
}

static void
put_count(struct json_out *w, const char *key, uint64_t v)
{
	json_put_key(w, key);
	json_put_u64(w, v);
}

static void
put_bool(struct json_out *w, const char *key, bool v)
{
	json_put_key(w, key);
	json_put_bool(w, v);
}

static void
put_time(struct json_out *w, const char *key, struct instant t)
{
	char text[INSTANT_TEXT_MAX];

	(void)instant_format(t, text);
	put(w, key, text);
}

static void
put_paths(struct json_out *w, const struct slice *v, size_t n)
{
	json_put_key(w, "paths");
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_text(w, v[i].p, v[i].len);
	json_close_array(w);
}

/* members of the object that is open */
static void
put_run(struct json_out *w, const struct run_info *r)
{
	put(w, "run_id", r->id);
	put(w, "mode", r->mode);
	put(w, "started", r->started);
	put(w, "vault", r->vault);
	put(w, "source", r->source);
	put(w, "target", r->target);
}

static void
put_left(struct json_out *w, const struct incomplete *left)
{
	json_put_key(w, "left");
	if (left == NULL) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	put_count(w, "files", left->files);
	put_count(w, "bytes", left->bytes);
	put_count(w, "stored_bytes", left->stored_bytes);
	put_bool(w, "checkpoint", left->has_tree);
	json_close_object(w);
}

static void
put_step_text(struct json_out *w, const char *text, const char *command)
{
	json_put_key(w, "next");
	json_open_array(w);
	json_open_object(w);
	put(w, "text", text);
	if (command != NULL)
		put(w, "command", command);
	json_close_object(w);
	json_close_array(w);
}

static void
put_steps_of(struct json_out *w, enum ecode code)
{
	const struct err_row *row = err_row(code);
	struct step steps[STEPS_MAX];
	size_t n = row->code == code ? steps_of(row->next, steps) : 0;

	json_put_key(w, "next");
	json_open_array(w);
	for (size_t i = 0; i < n; i++) {
		json_open_object(w);
		put_slice(w, "text", steps[i].text);
		if (steps[i].command.len > 0)
			put_slice(w, "command", steps[i].command);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_concern(struct cli *cli, struct json_out *w, const struct status_page *p, size_t i)
{
	const struct run_info *r = &p->runs[i];

	json_open_object(w);
	put_run(w, r);
	switch (p->concern[i]) {
	case CONCERN_NONE:
		break;
	case CONCERN_LIVE:
		json_put_key(w, "pid");
		json_put_i64(w, r->pid);
		break;
	case CONCERN_DEAD:
		put(w, "state", r->life == RUN_DEAD ? "killed" : "unknown");
		put_left(w, status_left(p, r->id));
		if (p->staged[i])
			put_step_text(w, STATUS_STAGE_STEP, status_resume(cli, r));
		else
			put_step_text(w, status_step(r), status_command(cli, r));
		break;
	case CONCERN_INCIDENT:
		put(w, "class", r->failure);
		put_count(w, "code", r->code);
		put(w, "what", r->what);
		put(w, "why", r->why);
		put_steps_of(w, (enum ecode)r->code);
		break;
	}
	json_close_object(w);
}

static void
put_runs(struct cli *cli, struct json_out *w, const struct status_page *p, const char *key,
	enum run_concern which)
{
	json_put_key(w, key);
	json_open_array(w);
	for (size_t i = 0; i < p->n; i++) {
		if (p->concern[i] == which)
			put_concern(cli, w, p, i);
	}
	json_close_array(w);
}

static void
put_stages(struct cli *cli, struct json_out *w, const struct status_page *p)
{
	json_put_key(w, "stages");
	json_open_array(w);
	for (size_t i = 0; i < p->n; i++) {
		if (!p->staged[i])
			continue;
		json_open_object(w);
		put_run(w, &p->runs[i]);
		put(w, "stage", status_stage(cli, &p->runs[i]));
		put_step_text(w, STATUS_STAGE_STEP, status_resume(cli, &p->runs[i]));
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_snapshots(struct json_out *w, const struct status_vault *v)
{
	put_count(w, "snapshots", v->snapshot_count);
	put_count(w, "snapshots_unreadable", v->snapshots_unreadable);
	json_put_key(w, "newest");
	json_open_array(w);
	for (size_t i = 0; i < v->latest_count; i++) {
		json_open_object(w);
		json_put_key(w, "id");
		json_put_id(w, &v->latest[i]->id);
		put_time(w, "time", v->latest[i]->time);
		put_slice(w, "host", v->latest[i]->hostname);
		put_paths(w, v->latest[i]->paths, v->latest[i]->path_count);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_drills(struct json_out *w, const struct status_vault *v)
{
	json_put_key(w, "drills");
	json_open_object(w);
	put_count(w, "known", v->drills.n);
	put_count(w, "unreadable", v->drills.unreadable);
	put_bool(w, "drift", v->drift.old);
	put_count(w, "snapshots_behind", v->drift.behind);
	json_put_key(w, "last_proven");
	if (v->drift.any)
		drill_record_put(w, v->drift.newest);
	else
		json_put_null(w);
	json_close_object(w);
}

static void
put_incomplete(struct json_out *w, const struct incomplete_list *list)
{
	json_put_key(w, "incomplete");
	json_open_array(w);
	for (size_t i = 0; i < list->n; i++) {
		const struct incomplete *r = &list->v[i];

		json_open_object(w);
		put(w, "run_id", r->run_id);
		put(w, "state", status_incomplete_name(list->state[i]));
		put_slice(w, "host", r->host);
		put_slice(w, "username", r->username);
		put_time(w, "started", r->started);
		put_time(w, "updated", r->updated);
		put_paths(w, r->paths, r->path_count);
		put(w, "ended_how", r->ended_how);
		put_left(w, r);
		put_step_text(w, status_incomplete_step(list->state[i]), NULL);
		json_close_object(w);
	}
	json_close_array(w);
	put_count(w, "incomplete_unreadable", list->unreadable);
}

static void
put_locks(struct json_out *w, const struct status_vault *v)
{
	json_put_key(w, "locks");
	json_open_array(w);
	for (size_t i = 0; i < v->lock_count; i++) {
		const struct lock_info *l = &v->locks[i].info;

		json_open_object(w);
		json_put_key(w, "id");
		json_put_id(w, &l->id);
		put_bool(w, "exclusive", l->exclusive);
		put_slice(w, "host", l->hostname);
		put_slice(w, "username", l->username);
		json_put_key(w, "pid");
		json_put_i64(w, l->pid);
		put_time(w, "since", l->time);
		put(w, "verdict", status_lock_name(&v->locks[i]));
		json_close_object(w);
	}
	json_close_array(w);
	put_count(w, "locks_unreadable", v->locks_unreadable);
}

static void
put_health(struct json_out *w, const struct status_vault *v)
{
	const struct health_summary *h = &v->health;

	json_put_key(w, "health");
	if (!v->has_health) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	put_bool(w, "damaged", h->damaged);
	put_count(w, "failures", h->failures);
	if (h->has_success)
		put_time(w, "last_success", h->last_success);
	if (h->failures > 0) {
		put_time(w, "first_failure", h->first_failure);
		put(w, "reason", h->reason);
	}
	json_close_object(w);
}

static void
put_vault(struct json_out *w, const struct status_page *p)
{
	json_put_key(w, "vault");
	if (!p->named) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	put(w, "location", p->location);
	put_bool(w, "opened", p->opened);
	if (p->opened) {
		json_put_key(w, "repository_id");
		json_put_id(w, &p->vault.repo_id);
		put_snapshots(w, &p->vault);
		put_drills(w, &p->vault);
		put_incomplete(w, &p->vault.incomplete);
		put_locks(w, &p->vault);
		put_health(w, &p->vault);
	} else {
		put_count(w, "code", (uint64_t)p->why.code);
		put(w, "why", p->why.detail);
		put_steps_of(w, p->why.code);
	}
	json_close_object(w);
}

enum ecode
status_tell_json(struct cli *cli, const struct status_page *p, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &out);
	json_open_object(&w);
	put(&w, "message_type", "status_report");
	put(&w, "schemaVersion", "1.0.0");
	put_bool(&w, "attention", p->attention);
	put_runs(cli, &w, p, "live", CONCERN_LIVE);
	put_runs(cli, &w, p, "dead", CONCERN_DEAD);
	put_runs(cli, &w, p, "incidents", CONCERN_INCIDENT);
	put_stages(cli, &w, p);
	put_vault(&w, p);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}
