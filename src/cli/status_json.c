/* `status --json`: docs/status.schema.json, one object on one line. */
#include <string.h>

#include "base/json.h"
#include "cli/status_page.h"
#include "report/steps.h"

#define DOCUMENT_MAX_BYTES (256U << 20)

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
	json_member_str(w, "run_id", r->id);
	json_member_str(w, "mode", r->mode);
	json_member_str(w, "started", r->started);
	json_member_str(w, "vault", r->vault);
	json_member_str(w, "source", r->source);
	json_member_str(w, "target", r->target);
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
	json_member_u64(w, "files", left->files);
	json_member_u64(w, "bytes", left->bytes);
	json_member_u64(w, "stored_bytes", left->stored_bytes);
	json_member_bool(w, "checkpoint", left->has_tree);
	json_close_object(w);
}

static void
put_step_text(struct json_out *w, const char *text, const char *command)
{
	json_put_key(w, "next");
	json_open_array(w);
	json_open_object(w);
	json_member_str(w, "text", text);
	if (command != NULL)
		json_member_str(w, "command", command);
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
		json_member_text(w, "text", steps[i].text);
		if (steps[i].command.len > 0)
			json_member_text(w, "command", steps[i].command);
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
		json_member_str(w, "state", r->life == RUN_DEAD ? "killed" : "unknown");
		put_left(w, status_left(p, r->id));
		if (p->staged[i])
			put_step_text(w, STATUS_STAGE_STEP, status_resume(cli, r));
		else
			put_step_text(w, status_step(r), status_command(cli, r));
		break;
	case CONCERN_INCIDENT:
		json_member_str(w, "class", r->failure);
		json_member_u64(w, "code", r->code);
		json_member_str(w, "what", r->what);
		json_member_str(w, "why", r->why);
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
		json_member_str(w, "stage", status_stage(cli, &p->runs[i]));
		put_step_text(w, STATUS_STAGE_STEP, status_resume(cli, &p->runs[i]));
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_snapshots(struct json_out *w, const struct status_vault *v)
{
	json_member_u64(w, "snapshots", v->snapshot_count);
	json_member_u64(w, "snapshots_unreadable", v->snapshots_unreadable);
	json_put_key(w, "newest");
	json_open_array(w);
	for (size_t i = 0; i < v->latest_count; i++) {
		json_open_object(w);
		json_member_id(w, "id", &v->latest[i]->id);
		json_member_time(w, "time", v->latest[i]->time);
		json_member_text(w, "host", v->latest[i]->hostname);
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
	json_member_u64(w, "known", v->drills.n);
	json_member_u64(w, "unreadable", v->drills.unreadable);
	json_member_bool(w, "drift", v->drift.old);
	json_member_u64(w, "snapshots_behind", v->drift.behind);
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
		json_member_str(w, "run_id", r->run_id);
		json_member_str(w, "state", status_incomplete_name(list->state[i]));
		json_member_text(w, "host", r->host);
		json_member_text(w, "username", r->username);
		json_member_time(w, "started", r->started);
		json_member_time(w, "updated", r->updated);
		put_paths(w, r->paths, r->path_count);
		json_member_str(w, "ended_how", r->ended_how);
		put_left(w, r);
		put_step_text(w, status_incomplete_step(list->state[i]), NULL);
		json_close_object(w);
	}
	json_close_array(w);
	json_member_u64(w, "incomplete_unreadable", list->unreadable);
}

static void
put_locks(struct json_out *w, const struct status_vault *v)
{
	json_put_key(w, "locks");
	json_open_array(w);
	for (size_t i = 0; i < v->lock_count; i++) {
		const struct lock_info *l = &v->locks[i].info;

		json_open_object(w);
		json_member_id(w, "id", &l->id);
		json_member_bool(w, "exclusive", l->exclusive);
		json_member_text(w, "host", l->hostname);
		json_member_text(w, "username", l->username);
		json_put_key(w, "pid");
		json_put_i64(w, l->pid);
		json_member_time(w, "since", l->time);
		json_member_str(w, "verdict", status_lock_name(&v->locks[i]));
		json_close_object(w);
	}
	json_close_array(w);
	json_member_u64(w, "locks_unreadable", v->locks_unreadable);
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
	json_member_bool(w, "damaged", h->damaged);
	json_member_u64(w, "failures", h->failures);
	if (h->has_success)
		json_member_time(w, "last_success", h->last_success);
	if (h->failures > 0) {
		json_member_time(w, "first_failure", h->first_failure);
		json_member_str(w, "reason", h->reason);
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
	json_member_str(w, "location", p->location);
	json_member_bool(w, "opened", p->opened);
	if (p->opened) {
		json_member_id(w, "repository_id", &p->vault.repo_id);
		put_snapshots(w, &p->vault);
		put_drills(w, &p->vault);
		put_incomplete(w, &p->vault.incomplete);
		put_locks(w, &p->vault);
		put_health(w, &p->vault);
	} else {
		json_member_u64(w, "code", (uint64_t)p->why.code);
		json_member_str(w, "why", p->why.detail);
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
	json_member_str(&w, "message_type", "status_report");
	json_member_str(&w, "schemaVersion", "1.0.0");
	json_member_bool(&w, "attention", p->attention);
	put_runs(cli, &w, p, "live", CONCERN_LIVE);
	put_runs(cli, &w, p, "dead", CONCERN_DEAD);
	put_runs(cli, &w, p, "incidents", CONCERN_INCIDENT);
	put_stages(cli, &w, p);
	put_vault(&w, p);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}
