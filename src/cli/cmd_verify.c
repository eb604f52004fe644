/* verify: a snapshot against its vault, or against a directory; only looks. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "cli/units.h"
#include "engine/verify.h"

#define SUMMARY_MAX_BYTES (64U << 10)

static enum ecode
take_level(const char *text, enum match_level *out, struct err *e)
{
	static const enum match_level all[] = { MATCH_EXISTENCE, MATCH_SIZES, MATCH_HASHES };

	*out = MATCH_HASHES;
	if (text == NULL)
		return E_OK;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*out = all[i];
		if (strcmp(text, match_level_text(all[i])) == 0)
			return E_OK;
	}
	return err_set(e, E_USAGE, 0, "--level %s: give existence, size or hash", text);
}

static enum ecode
take_words(struct cli *cli, struct verify_args *args, struct snapshot_filter *filter, struct err *e)
{
	const struct options *o = cli->opt;
	const char *against = flag_text(o, FLAG_AGAINST);
	enum ecode rc = take_level(flag_text(o, FLAG_LEVEL), &args->level, e);

	args->snapshot = o->args[0];
	args->filter = filter;
	if (rc == E_OK)
		rc = pick_filter(cli, filter, e);
	if (rc == E_OK && against != NULL && against[0] == '\0')
		rc = err_set(e, E_USAGE, 0, "--against needs a directory");
	return rc == E_OK && against != NULL ? pick_absolute(cli, against, &args->against, e) : rc;
}

/* One directory a run, so that earlier reports stay. */
static enum ecode
choose_reports(struct job *job, struct cli *cli, struct verify_args *args, struct err *e)
{
	const char *dir = flag_text(cli->opt, FLAG_VERIFY_ARTIFACTS);
	enum ecode rc = job_name(job, &args->run_id, e);

	if (rc == E_OK)
		args->reports =
			dir == NULL ? cli->run_dir : cli_text(cli, "%s/%s", dir, args->run_id);
	return rc;
}

static enum ecode
tell_json(struct cli *cli, const struct verify_args *args, const struct verify_result *r,
	struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(SUMMARY_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "summary");
	json_member_u64(&w, "files_verified", r->files_ok);
	json_member_u64(&w, "failed", r->failed);
	json_member_u64(&w, "bytes_hashed", r->counts.hashed_bytes);
	json_member_id(&w, "snapshot_id", &r->snapshot_id);
	json_member_str(&w, "level", match_level_text(args->level));
	json_member_str(&w, "reports", args->reports);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
tell_people(struct cli *cli, const struct verify_args *args, const struct verify_result *r)
{
	char text[VERIFY_TEXT_BYTES], bytes[UNIT_TEXT_MAX];

	if (cli->screen.quiet)
		return;
	for (unsigned i = 0; i < MATCH_STATUSES; i++)
		if ((enum match_status)i != MATCH_OK && r->counts.status[i] > 0)
			screen_out(&cli->screen, "%s: %" PRIu64,
				match_status_text((enum match_status)i), r->counts.status[i]);
	if (args->level == MATCH_HASHES)
		screen_out(&cli->screen, "hashed %s", bytes_text(r->counts.hashed_bytes, bytes));
	if (args->reports != NULL)
		screen_out(&cli->screen, "reports: %s",
			cli_shown(cli, args->reports, strlen(args->reports)));
	screen_out(&cli->screen, "%s %s", r->failed == 0 ? "\xe2\x9c\x93" : "\xe2\x9c\x97",
		verify_text(r, text));
}

static void
fill_result(struct job *j, const struct verify_result *r)
{
	j->result.counts.selected_files = r->counts.files;
	j->result.counts.scanned_files = r->counts.files + r->counts.dirs + r->counts.others;
	j->result.counts.verified_files = r->files_ok;
	j->result.counts.verify_failed_files = r->failed;
	j->result.bytes_read = r->counts.hashed_bytes;
}

static enum ecode
run(struct cli *cli, struct verify_args *what, struct verify_result *result, struct err *e)
{
	struct job_args args = { .mode = "verify",
		.kind = TICKER_OTHER,
		/* then something is written outside of the state directory */
		.changes = flag_given(cli->opt, FLAG_VERIFY_ARTIFACTS) };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.source = cli_text(
		cli, "%s of %s", what->snapshot, cli->set.repo == NULL ? "?" : cli->set.repo);
	args.target = what->against;
	args.operation = cli_text(cli, "verifying %s", what->snapshot);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = choose_reports(&job, cli, what, e);
	if (rc == E_OK)
		rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = verify_run(&s, what, result, e);
	if (rc == E_OK || rc == E_VERIFY_FAILED || rc == E_VERIFY_DIFFERS)
		job.result.snapshot_id = cli_id(cli, &result->snapshot_id);
	fill_result(&job, result);
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_verify(struct cli *cli, struct err *e)
{
	struct verify_args args = { .level = MATCH_HASHES };
	struct verify_result result = { .failed = 0 };
	struct snapshot_filter filter;
	struct err ignored;
	enum ecode rc = take_words(cli, &args, &filter, e);

	if (rc == E_OK)
		rc = run(cli, &args, &result, e);
	if (rc != E_OK && rc != E_VERIFY_FAILED && rc != E_VERIFY_DIFFERS)
		return rc;
	if (!cli->screen.json)
		tell_people(cli, &args, &result);
	else if (rc == E_OK)
		rc = tell_json(cli, &args, &result, e);
	else if (tell_json(cli, &args, &result, &ignored) != E_OK)
		return rc; /* the first refusal says more */
	return rc;
}
