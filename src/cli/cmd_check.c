/* check: findings as they are made, restic's summary with --json. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/units.h"
#include "engine/check.h"

#define LINE_MAX_BYTES (64U << 20) /* a list of broken packs: a million ids */

static enum ecode
finding_json(const struct check_finding *f, const char *text, struct buf *line, struct err *e)
{
	struct json_out w;
	enum ecode rc;

	json_begin(&w, line);
	json_open_object(&w);
	json_member_str(&w, "message_type", f->hint ? "hint" : "error");
	json_member_str(&w, "message", text);
	json_put_key(&w, "refusal_code");
	json_put_i64(&w, (int64_t)f->code);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(line, '\n', e) : rc;
}

static const char *
finding_text(const struct check_finding *f, char *out, size_t size)
{
	int n = snprintf(out, size, "%s: %s", f->object, f->text);

	return n < 0 ? f->text : out;
}

static void
on_finding(void *arg, const struct check_finding *f)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct job *j = arg;
	char text[ERR_DETAIL_BYTES];
	struct err e;

	(void)finding_text(f, text, sizeof(text));
	if (j->run != NULL && !f->hint)
		run_item(j->run, RUN_FAILED, f->object, f->code, f->text);
	if (j->cli->screen.json) {
		if (finding_json(f, text, &line, &e) == E_OK)
			screen_err_bytes(&j->cli->screen, line.p, line.len);
		return;
	}
	if (text_show(&line, text, strlen(text), &e) == E_OK)
		screen_err(&j->cli->screen, "%s: %s", f->hint ? "hint" : "damage",
			(const char *)line.p);
}

static enum ecode
tell_json(struct cli *cli, const struct check_result *r, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "summary");
	json_member_u64(&w, "num_errors", r->errors);
	json_put_key(&w, "broken_packs");
	if (r->broken_pack_count == 0) {
		json_put_null(&w);
	} else {
		json_open_array(&w);
		for (size_t i = 0; i < r->broken_pack_count; i++)
			json_put_id(&w, &r->broken_packs[i]);
		json_close_array(&w);
	}
	json_member_bool(&w, "suggest_repair_index", r->suggest_repair_index);
	json_member_bool(&w, "suggest_prune", r->suggest_prune);
	json_member_u64(&w, "num_hints", r->hints);
	json_member_u64(&w, "num_partial", r->partial);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
tell_people(struct cli *cli, const struct check_args *args, const struct check_result *r)
{
	char bytes[UNIT_TEXT_MAX];

	if (cli->screen.quiet)
		return;
	screen_out(&cli->screen,
		"%" PRIu64 " snapshots, %" PRIu64 " trees, %" PRIu64 " blobs, %" PRIu64 " packs",
		r->snapshots, r->trees, r->blobs, r->packs);
	if (args->read != CHECK_READ_NONE)
		screen_out(&cli->screen, "read %" PRIu64 " packs, %s", r->packs_read,
			bytes_text(r->bytes_read, bytes));
	else
		screen_out(&cli->screen,
			"content was not read; to read it too: holdfast check --read-data");
	if (r->partial > 0)
		screen_out(&cli->screen,
			"%" PRIu64 " snapshot%s partial: paths could not be read when %s made",
			r->partial, r->partial == 1 ? " is" : "s are",
			r->partial == 1 ? "it was" : "they were");
	if (r->suggest_repair_index)
		screen_out(&cli->screen, "the index could be repaired; nothing is lost by waiting");
	if (r->suggest_prune)
		screen_out(&cli->screen, "some stored data is not used; pruning would free it");
	if (r->errors == 0)
		screen_out(&cli->screen, "no errors were found");
	else
		screen_out(&cli->screen, "%" PRIu64 " errors were found", r->errors);
}

static enum ecode
take_words(struct cli *cli, struct check_args *out, struct err *e)
{
	const char *subset = flag_text(cli->opt, FLAG_READ_DATA_SUBSET);

	*out = (struct check_args){
		.read = flag_given(cli->opt, FLAG_READ_DATA) ? CHECK_READ_ALL : CHECK_READ_NONE
	};
	if (subset == NULL)
		return E_OK;
	if (out->read == CHECK_READ_ALL)
		return err_set(
			e, E_USAGE, 0, "--read-data and --read-data-subset: give one of them");
	return check_subset_parse(subset, out, e);
}

static enum ecode
run(struct cli *cli, const struct check_args *what, struct check_result *result, struct err *e)
{
	struct job_args args = { .mode = "check", .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_EXCLUSIVE };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.source = cli->set.repo;
	args.operation = cli_text(cli, "check of %s", cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = check_run(&s, what, on_finding, &job, result, e);
	job.result.counts.scanned_files = result->packs;
	job.result.counts.verified_files = result->packs_read;
	job.result.counts.verify_failed_files = result->broken_pack_count;
	job.result.bytes_read = result->bytes_read;
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_check(struct cli *cli, struct err *e)
{
	autoclean(check_result_done) struct check_result result = { .errors = 0 };
	struct check_args what;
	struct err ignored;
	enum ecode rc = take_words(cli, &what, e);

	if (rc == E_OK)
		rc = run(cli, &what, &result, e);
	if (rc != E_OK && rc != E_CHECK_FAILED)
		return rc;
	if (!cli->screen.json)
		tell_people(cli, &what, &result);
	else if (rc == E_OK)
		rc = tell_json(cli, &result, e);
	else if (tell_json(cli, &result, &ignored) != E_OK)
		return rc; /* the first refusal says more */
	return rc;
}
