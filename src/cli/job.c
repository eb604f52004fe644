#include "cli/job.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "cli/password.h"
#include "cli/signals.h"
#include "cli/units.h"
#include "engine/drill.h"
#include "engine/restore.h"

#define EVENT_MAX_BYTES (4U << 20)

/* ---- what the engine tells ---- */

static void
on_problem(void *arg, const struct problem *p)
{
	struct job *j = arg;

	problems_add(&j->problems, p);
	if (j->run == NULL)
		return;
	run_problem(j->run, p->fatal_for_item ? RUN_FAILED : RUN_SKIPPED, p);
	if (p->can_retry)
		run_problem(j->run, RUN_CAN_RETRY, p);
}

/* What the engine does beside its task and a person should hear of.  Told by the thread that opens the session. */
static bool
is_warning(const char *event)
{
	return strcmp(event, SESSION_NOTE_STALE_LOCK) == 0 ||
	       strcmp(event, SESSION_NOTE_STALE_STAYS) == 0 ||
	       strcmp(event, RESTORE_NOTE_LEFT) == 0 || strcmp(event, RESTORE_NOTE_NAMES) == 0 ||
	       strcmp(event, RESTORE_NOTE_STAYS) == 0 || strcmp(event, DRILL_NOTE_LEFT) == 0;
}

/* For the report alone: the command tells it in its own words. */
static const char *
recorded_as(struct job *j, const char *event, const char *text)
{
	if (strcmp(event, RESTORE_NOTE_GONE) == 0)
		return cli_text(j->cli, "removed by retention: %s", text);
	if (strcmp(event, RESTORE_NOTE_GOES) == 0)
		return cli_text(j->cli, "would be removed by retention: %s", text);
	return strcmp(event, RESTORE_NOTE_KEPT) == 0 ? cli_text(j->cli, "%s", text) : NULL;
}

static void
on_note(void *arg, const char *event, const char *text)
{
	autoclean(buf_done) struct buf data = buf_limit(EVENT_MAX_BYTES);
	struct job *j = arg;
	const char *record = recorded_as(j, event, text);
	struct json_out w;
	struct err e;

	if (record != NULL)
		job_record(j, record);
	if (is_warning(event))
		job_warn(j, text);
	else if (j->cli->screen.verbose > 0 && !j->cli->screen.json && !j->cli->screen.quiet)
		screen_err(&j->cli->screen, "%s: %s", event, cli_shown(j->cli, text, strlen(text)));
	if (j->run == NULL)
		return;
	json_begin(&w, &data);
	json_open_object(&w);
	json_member_str(&w, "text", text);
	json_close_object(&w);
	if (json_done(&w, &e) == E_OK && buf_add_byte(&data, 0, &e) == E_OK)
		run_event(j->run, event, (const char *)data.p);
}

static bool
on_stop(void *arg)
{
	(void)arg;
	return signals_stopped_by() != 0;
}

static const char *
action_name(enum item_action action)
{
	switch (action) {
	case ITEM_NEW:
		return "new";
	case ITEM_MODIFIED:
		return "modified";
	case ITEM_UNCHANGED:
		return "unchanged";
	case ITEM_RESTORED:
		return "restored";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* verbose_status of format document 12.4 */
static enum ecode
item_json(const struct item_done *item, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(EVENT_MAX_BYTES);
	struct json_out w;
	enum ecode rc = buf_printf(&path, e, "%s%s", item->path, item->is_dir ? "/" : "");

	if (rc != E_OK)
		return rc;
	json_begin(&w, out);
	json_open_object(&w);
	json_member_str(&w, "message_type", "verbose_status");
	json_member_str(&w, "action", action_name(item->action));
	json_put_key(&w, "item");
	json_put_text(&w, path.p, path.len);
	if (item->action == ITEM_RESTORED) {
		json_member_u64(&w, "size", item->size);
	} else {
		json_put_key(&w, "duration");
		json_put_double(&w, item->seconds);
		json_member_u64(&w, "data_size", item->data_size);
		json_member_u64(&w, "data_size_in_repo", item->data_size_in_repo);
		json_member_u64(&w, "metadata_size", item->metadata_size);
		json_member_u64(&w, "metadata_size_in_repo", item->metadata_size_in_repo);
		json_member_u64(&w, "total_files", 0);
	}
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

static void
on_item(void *arg, const struct item_done *item)
{
	autoclean(buf_done) struct buf line = buf_limit(EVENT_MAX_BYTES);
	struct job *j = arg;
	struct screen *screen = &j->cli->screen;
	struct err e;

	if (screen->json) {
		if (item_json(item, &line, &e) == E_OK)
			screen_out_bytes(screen, line.p, line.len);
		return;
	}
	if (item->action == ITEM_UNCHANGED && screen->verbose < 2)
		return;
	if (text_show(&line, item->path, strlen(item->path), &e) == E_OK)
		screen_out(screen, "%-9s %s%s", action_name(item->action), (const char *)line.p,
			item->is_dir ? "/" : "");
}

void
job_want_items(struct job *j)
{
	j->listener.item = on_item;
}

void
job_record(struct job *j, const char *text)
{
	if (j->result.warning_count < JOB_WARNINGS_MAX)
		j->warnings[j->result.warning_count++] = cli_text(j->cli, "%s", text);
}

enum ecode
job_name(struct job *j, const char **out, struct err *e)
{
	char own[RUN_ID_MAX];
	enum ecode rc;

	*out = j->cli->run_id;
	if (**out != '\0')
		return E_OK;
	rc = run_id_make(j->cli->os, own, e);
	return rc == E_OK ? arena_str(&j->cli->arena, own, strlen(own), out, e) : rc;
}

void
job_warn(struct job *j, const char *text)
{
	if (!j->cli->screen.json)
		screen_err(&j->cli->screen, "warning: %s", cli_shown(j->cli, text, strlen(text)));
	job_record(j, text);
}

void
job_restart(struct job *j)
{
	problems_restart(&j->problems);
	if (j->run != NULL)
		run_lists_restart(j->run);
}

/* ---- beginning ---- */

static enum ecode
begin_run(struct job *j, struct err *e)
{
	struct cli *cli = j->cli;
	struct run_args args = { .state_dir = cli->set.state_dir,
		.mode = j->args.mode,
		.argv = cli->argv,
		.argc = cli->argc,
		.version = CLI_VERSION_TEXT,
		.vault = j->vault,
		.source = j->args.source,
		.target = j->args.target };
	struct err why;
	enum ecode rc;

	if (args.state_dir == NULL)
		rc = err_set(&why, E_REPORT_WRITE, 0,
			"neither XDG_STATE_HOME nor HOME names a directory");
	else
		rc = run_open(cli->os, &args, &j->run, &why);
	if (rc == E_OK) {
		(void)strncpy(cli->run_id, run_id(j->run), RUN_ID_MAX - 1);
		cli->run_dir = cli_text(cli, "%s", run_dir(j->run));
		return E_OK;
	}
	if (!j->args.must_report) {
		job_warn(j, cli_text(cli, "this run leaves no report: %s", why.detail));
		return E_OK;
	}
	*e = why;
	return rc;
}

static enum ecode
check_words(const struct cli *cli, const struct job_args *args, struct err *e)
{
	if (cli->set.repo == NULL && !args->no_vault)
		return err_set(e, E_NO_REPO, 0,
			"looked at --repo, --repository-file, and the variables HOLDFAST_ and "
			"RESTIC_ REPOSITORY, REPOSITORY_FILE");
	if (args->must_report && flag_given(cli->opt, FLAG_NO_LOCK))
		return err_set(e, E_USAGE, 0,
			"--no-lock is for commands that only read; this one writes to the vault");
	return E_OK;
}

/* Without it nothing may be changed; the run ends here, with its report. */
static enum ecode
begin_audit(struct job *j, struct err *e)
{
	struct session none = { .os = NULL };
	enum ecode rc = job_audit_begin(j, e);

	return rc == E_OK ? E_OK : job_end(j, &none, rc, e);
}

enum ecode
job_begin(struct job *j, struct cli *cli, const struct job_args *args, struct err *e)
{
	enum ecode rc = check_words(cli, args, e);

	if (rc != E_OK)
		return rc;
	*j = (struct job){ .cli = cli, .args = *args };
	problems_init(&j->problems, &cli->screen);
	j->listener = (struct listener){ .arg = j,
		.progress = &j->progress,
		.problem = on_problem,
		.note = on_note,
		.stop = on_stop };
	j->result.warnings = j->warnings;
	j->result.source = args->source;
	j->result.target = args->target;
	j->vault = args->no_vault ? NULL : cli_safe_location(cli, cli->set.repo);
	cli->operation = args->operation;
	if (args->mode == NULL)
		return E_OK;
	rc = begin_run(j, e);
	if (rc == E_OK && !cli->screen.json && !cli->screen.quiet)
		screen_err(&cli->screen, "%s%s%s",
			cli_shown(cli, args->operation, strlen(args->operation)),
			cli->run_id[0] == '\0' ? "" : ", run ", cli->run_id);
	return rc == E_OK ? begin_audit(j, e) : rc;
}

enum ecode
job_tick(struct job *j, struct err *e)
{
	struct ticker_args args = { .os = j->cli->os,
		.screen = &j->cli->screen,
		.progress = &j->progress,
		.kind = j->args.kind,
		.frames_per_s = j->cli->set.frames_per_s };

	return ticker_open(&args, &j->ticker, e);
}

enum ecode
job_open(struct job *j, const struct job_open_args *how, struct session *s, struct err *e)
{
	struct cli *cli = j->cli;
	struct session_args args = { .os = cli->os,
		.location = cli->set.repo,
		.key_hint = cli->set.key_hint,
		.lock = flag_given(cli->opt, FLAG_NO_LOCK) ? SESSION_NO_LOCK : how->lock,
		.health_dir = how->health_dir,
		.retry_lock_s = cli->set.retry_lock_s,
		.run_id = cli->run_id[0] == '\0' ? NULL : cli->run_id,
		.compression = how->compression,
		.threads = how->threads == 0 ? cli->os->cpus(cli->os) : how->threads,
		.listener = &j->listener };
	struct secret *password = NULL;
	enum ecode rc = secret_open(&password, e);

	if (rc == E_OK)
		rc = password_get(
			cli->os, &cli->set, "password of the vault: ", false, password, e);
	if (rc == E_OK)
		rc = job_tick(j, e);
	if (rc == E_OK) {
		signals_ignore_hup();
		args.password = secret_bytes(password);
		rc = session_open(s, &args, e);
		j->session_open = rc == E_OK;
		if (rc == E_OK)
			job_know_vault(j, &s->vault->repo_id);
	}
	if (password != NULL)
		secret_close(&password);
	return rc;
}

void
job_know_vault(struct job *j, const struct id *repo_id)
{
	id_hex(repo_id, j->repo_id);
	j->result.repo_id = j->repo_id;
}

/* ---- ending ---- */

static const char *
status_name(const struct job *j, enum ecode rc)
{
	enum eclass class = rc == E_OK ? CLASS_SUCCESS : err_row(rc)->class;

	if (class == CLASS_BUSY)
		return "skipped"; /* L-26: somebody else was at it, nothing was done */
	if (class != CLASS_SUCCESS)
		return class == CLASS_PARTIAL ? "partial" : "failure";
	return j->result.status == NULL ? "success" : j->result.status;
}

/* IX-25: what finished, what remains. */
static void
tell_rest(struct job *j)
{
	uint64_t done = atomic_load(&j->progress.done_items),
		 total = atomic_load(&j->progress.total_items);
	char bytes[UNIT_TEXT_MAX];
	const char *text =
		cli_text(j->cli, "finished before the interruption: %" PRIu64 " items, %s", done,
			bytes_text(atomic_load(&j->progress.done_bytes), bytes));

	job_warn(j, text);
	if (j->problems.total > 0)
		job_warn(j, cli_text(j->cli, "failed before the interruption: %" PRIu64 " paths",
				    j->problems.total));
	if (atomic_load(&j->progress.totals_final) && total >= done)
		job_warn(j, cli_text(j->cli, "remaining: %" PRIu64 " items", total - done));
	else
		job_warn(j, "remaining: not known, the sources were not counted to the end");
}

static enum ecode
as_interruption(enum ecode rc, struct err *e)
{
	char detail[ERR_DETAIL_BYTES];

	if (err_row(rc)->class != CLASS_INTERRUPTED || signals_stopped_by() != SIGTERM)
		return rc;
	memcpy(detail, e->detail, sizeof(detail));
	return err_set(e, E_TERMINATED, 0, "%s", detail);
}

static enum ecode
end_run(struct job *j, enum ecode rc, struct err *e)
{
	const char *const *safety = j->args.safety;
	struct err why;

	if (j->run == NULL)
		return rc;
	j->result.status = status_name(j, rc);
	j->result.refusal = rc == E_OK ? NULL : e;
	j->result.safety_measures = safety;
	while (safety != NULL && safety[j->result.safety_count] != NULL)
		j->result.safety_count++;
	if (j->result.snapshot_id != NULL)
		run_item(j->run, RUN_COMPLETED,
			cli_text(j->cli, "snapshots/%s", j->result.snapshot_id), E_OK, NULL);
	if (run_finish(&j->run, &j->result, &why) == E_OK)
		return rc;
	run_abandon(&j->run);
	if (rc == E_OK && j->args.must_report) {
		*e = why;
		err_note(e, "the work itself was done");
		return E_REPORT_WRITE;
	}
	job_warn(j, why.detail);
	return rc;
}

enum ecode
job_end(struct job *j, struct session *s, enum ecode rc, struct err *e)
{
	struct err why;

	if (j->session_open && session_close(s, &why) != E_OK)
		job_warn(j, cli_text(j->cli, "the lock could not be removed: %s", why.detail));
	j->session_open = false;
	ticker_close(&j->ticker);
	problems_end(&j->problems);
	if (rc != E_OK) {
		rc = as_interruption(rc, e);
		if (signals_stopped_by() != 0 && j->args.mode != NULL)
			tell_rest(j);
	}
	rc = job_audit_end(j, rc, e);
	return end_run(j, rc, e);
}
