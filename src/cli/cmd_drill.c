/* drill: a restore into a place of its own, proven and thrown away; drill history: what was proven when. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "cli/units.h"
#include "engine/drill.h"

#define DOCUMENT_MAX_BYTES (64U << 20) /* DRILLS_MAX records of some KiB */

/* "10%", "files 20", "files:20", "full" */
static enum ecode
take_sample(const char *text, struct drill_args *args, struct err *e)
{
	char number[32] = "";
	size_t len = text == NULL ? 0 : strlen(text);

	args->kind = DRILL_FULL;
	if (text == NULL || strcmp(text, "full") == 0)
		return E_OK;
	if (strncmp(text, "files ", 6) == 0 || strncmp(text, "files:", 6) == 0) {
		args->kind = DRILL_FILES;
		return number_from_person("--sample", text + 6, 1, UINT32_MAX, &args->amount, e);
	}
	if (len < 2 || len >= sizeof(number) || text[len - 1] != '%')
		return err_set(e, E_USAGE, 0, "--sample %s: give N%%, \"files N\" or full", text);
	args->kind = DRILL_PERCENT;
	memcpy(number, text, len - 1);
	return number_from_person("--sample", number, 1, 100, &args->amount, e);
}

/* What is typed, or comes through a descriptor, is known to somebody; a file may burn with the house. */
static enum ecode
forget_password(struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;

	if (!flag_given(o, FLAG_NO_SAVED_PASSWORD))
		return E_OK;
	if (flag_given(o, FLAG_PASSWORD_FILE) || flag_given(o, FLAG_PASSWORD_COMMAND))
		return err_set(e, E_USAGE, 0,
			"--no-saved-password: type it, or give it through --password-fd");
	if (!flag_given(o, FLAG_PASSWORD_FD) && !flag_given(o, FLAG_INSECURE_NO_PASSWORD)) {
		cli->set.password_from = PASSWORD_PROMPT;
		cli->set.password = NULL;
	}
	return E_OK;
}

static const char *
temporary(void)
{
	const char *dir = getenv("TMPDIR");

	return dir != NULL && dir[0] != '\0' ? dir : "/tmp";
}

static enum ecode
take_words(struct cli *cli, struct drill_args *args, struct snapshot_filter *filter, struct err *e)
{
	const struct options *o = cli->opt;
	const char *parent = flag_text(o, FLAG_TARGET_PARENT);
	enum ecode rc = take_sample(flag_text(o, FLAG_SAMPLE), args, e);

	args->snapshot = o->arg_count == 0 ? "latest" : o->args[0];
	args->filter = filter;
	args->state_dir = cli->set.state_dir;
	if (rc == E_OK)
		rc = forget_password(cli, e);
	if (rc == E_OK)
		rc = pick_filter(cli, filter, e);
	return rc == E_OK
		       ? pick_absolute(cli, parent == NULL ? temporary() : parent, &args->parent, e)
		       : rc;
}

static enum ecode
tell_json(struct cli *cli, const struct drill_result *r, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "summary");
	json_member_bool(&w, "negative_control", r->control);
	json_member_str(&w, "evidence", r->kept);
	json_put_key(&w, "drill");
	drill_record_put(&w, &r->record);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static const char *
verdict_shown(const struct drill_record *r)
{
	switch (r->verdict) {
	case DRILL_PASS:
		return "pass: all of the snapshot was restored and is as recorded";
	case DRILL_SAMPLED:
		return "sampled: what was looked at is as recorded; only a full drill is a proof";
	case DRILL_UNKNOWN:
		return "unknown";
	case DRILL_FAIL:
		return "fail";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

static void
tell_people(struct cli *cli, const struct drill_result *r)
{
	const struct drill_record *d = &r->record;
	char bytes[UNIT_TEXT_MAX], span[UNIT_TEXT_MAX], time[UNIT_TEXT_MAX];

	if (cli->screen.quiet)
		return;
	screen_out(&cli->screen, "snapshot %s of %s, sample %s", cli_short(cli, &d->snapshot_id),
		local_text(d->snapshot_time, time), cli_shown(cli, d->sample, strlen(d->sample)));
	if (d->seed[0] != '\0')
		screen_out(&cli->screen, "seed %s", d->seed);
	screen_out(&cli->screen,
		"compared %" PRIu64 " files, %s, in %s; %" PRIu64
		" of them also with the live file",
		d->files, bytes_text(d->bytes, bytes), span_text(d->duration_ms / 1000, span),
		d->live_files);
	screen_out(&cli->screen, "negative control: %s",
		r->control ? "a flipped byte was caught" : "not passed");
	if (r->kept != NULL)
		screen_out(&cli->screen, "kept: %s", cli_shown(cli, r->kept, strlen(r->kept)));
	screen_out(&cli->screen, "verdict: %s%s%s", verdict_shown(d), d->why[0] == '\0' ? "" : ": ",
		cli_shown(cli, d->why, strlen(d->why)));
}

static void
fill_result(struct job *j, const struct drill_result *r)
{
	j->result.counts.selected_files = r->counts.files;
	j->result.counts.scanned_files = r->counts.files + r->counts.dirs + r->counts.others;
	j->result.counts.downloaded_files = r->counts.files;
	j->result.counts.verified_files = r->counts.hashed_files;
	j->result.counts.failed_files = atomic_load(&j->progress.problems);
	j->result.bytes_read = r->counts.hashed_bytes;
	if (r->recorded)
		j->result.snapshot_id = cli_id(j->cli, &r->record.snapshot_id);
}

static enum ecode
run(struct cli *cli, struct drill_args *what, struct drill_result *result, struct err *e)
{
	static const char *const safety[] = {
		"the snapshot was restored into a private directory only", NULL
	};
	struct job_args args = { .mode = "drill",
		.kind = TICKER_RESTORE,
		.changes = true, /* a record in the vault, a directory elsewhere */
		.safety = safety };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.source = cli_text(
		cli, "%s of %s", what->snapshot, cli->set.repo == NULL ? "?" : cli->set.repo);
	args.target = what->parent;
	args.operation = cli_text(cli, "drill of %s", what->snapshot);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_name(&job, &what->run_id, e);
	if (rc == E_OK)
		rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = drill_run(&s, what, result, e);
	fill_result(&job, result);
	if (result->kept != NULL && result->record.verdict != DRILL_FAIL && rc != E_DRILL_CONTROL)
		job_warn(&job, cli_text(cli, "%s could not be removed", result->kept));
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_drill(struct cli *cli, struct err *e)
{
	autoclean(drill_result_done) struct drill_result result = { .recorded = false };
	struct drill_args args = { .kind = DRILL_FULL };
	struct snapshot_filter filter;
	struct err ignored;
	enum ecode rc = take_words(cli, &args, &filter, e);

	if (rc == E_OK)
		rc = run(cli, &args, &result, e);
	if (rc != E_OK && rc != E_DRILL_FAILED && rc != E_DRILL_UNKNOWN && rc != E_DRILL_CONTROL)
		return rc;
	if (!cli->screen.json)
		tell_people(cli, &result);
	else if (rc == E_OK)
		rc = tell_json(cli, &result, e);
	else if (tell_json(cli, &result, &ignored) != E_OK)
		return rc; /* the first refusal says more */
	return rc;
}

/* ---- drill history ---- */

static enum ecode
history_json(struct cli *cli, const struct drill_list *list, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &out);
	json_open_object(&w);
	json_member_str(&w, "message_type", "drill_history");
	json_member_u64(&w, "unreadable", list->unreadable);
	json_put_key(&w, "drills");
	json_open_array(&w);
	for (size_t i = 0; i < list->n; i++)
		drill_record_put(&w, &list->v[i]);
	json_close_array(&w);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
history_people(struct cli *cli, const struct drill_list *list)
{
	char time[UNIT_TEXT_MAX], made[UNIT_TEXT_MAX], bytes[UNIT_TEXT_MAX];

	for (size_t i = 0; i < list->n; i++) {
		const struct drill_record *r = &list->v[i];

		screen_out(&cli->screen,
			"%s  %-7s  %-8s  snapshot %s of %s  %" PRIu64 " files, %s  %s@%s%s%s",
			local_text(r->started, time), drill_verdict_text(r->verdict),
			cli_shown(cli, r->sample, strlen(r->sample)),
			cli_short(cli, &r->snapshot_id), local_text(r->snapshot_time, made),
			r->files, bytes_text(r->bytes, bytes),
			cli_shown(cli, r->username, strlen(r->username)),
			cli_shown(cli, r->host, strlen(r->host)), r->why[0] == '\0' ? "" : "  ",
			cli_shown(cli, r->why, strlen(r->why)));
	}
	screen_out(&cli->screen, "%zu drill%s", list->n, list->n == 1 ? "" : "s");
	if (list->unreadable > 0)
		screen_out(&cli->screen,
			"%zu records that cannot be read; they are left as they are, and prove nothing",
			list->unreadable);
}

enum ecode
cmd_drill_history(struct cli *cli, struct err *e)
{
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct drill_list list = { .n = 0 };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.operation = cli_text(cli, "listing the drills");
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = drill_list_load(&s, cli->os, cli->set.state_dir, &cli->arena, &list, e);
	if (rc == E_OK && cli->screen.json)
		rc = history_json(cli, &list, e);
	else if (rc == E_OK)
		history_people(cli, &list);
	return job_end(&job, &s, rc, e);
}
