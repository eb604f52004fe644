/* audit verify, audit show: the log of what changed a vault or a destination. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/units.h"

#define DOCUMENT_MAX_BYTES (64U << 20)
#define LINE_MAX_BYTES     (4U << 20) /* one entry as people see it */
#define OPEN_TOLD_MAX      20 /* begins without end that `verify` prints; all of them are in --json */
#define SHOW_LATEST_MAX    1000000

static enum ecode
state_dir_of(struct cli *cli, const char *operation, struct err *e)
{
	cli->operation = operation;
	if (cli->set.state_dir != NULL)
		return E_OK;
	return err_set(e, E_AUDIT_READ, 0, "neither XDG_STATE_HOME nor HOME names a directory");
}

/* ---- verify ---- */

static int
by_seq(const void *pa, const void *pb)
{
	const struct audit_claim *a = pa, *b = pb;

	return (a->mark.seq > b->mark.seq) - (a->mark.seq < b->mark.seq);
}

/* What the run reports say of the log.  Read before the log: a run that ends meanwhile is in both or in the log alone. */
static enum ecode
collect_claims(struct cli *cli, struct audit_reading *how, struct err *e)
{
	struct run_info *runs;
	struct audit_claim *claims;
	void *room;
	size_t n;
	enum ecode rc = run_list_all(cli->os, cli->set.state_dir, &cli->arena, &runs, &n, e);

	if (rc == E_OK)
		rc = arena_alloc(&cli->arena, (n + 1) * sizeof(*claims), &room, e);
	if (rc != E_OK)
		return rc;
	claims = room;
	for (size_t i = 0; i < n; i++) {
		if (runs[i].audit.seq > 0)
			claims[how->claim_count++] =
				(struct audit_claim){ .run_id = runs[i].id, .mark = runs[i].audit };
	}
	if (how->claim_count > 1)
		qsort(claims, how->claim_count, sizeof(*claims), by_seq);
	how->claims = claims;
	return E_OK;
}

static void
put_open(struct json_out *w, const struct audit_summary *sum)
{
	json_put_key(w, "without_end");
	json_open_array(w);
	for (size_t i = 0; i < sum->open_count; i++) {
		json_open_object(w);
		json_member_u64(w, "seq", sum->open[i].seq);
		json_member_str(w, "run_id", sum->open[i].run_id);
		json_member_str(w, "command", sum->open[i].command);
		json_member_time(w, "time", sum->open[i].time);
		json_close_object(w);
	}
	json_close_array(w);
	json_member_u64(w, "without_end_unlisted", sum->open_unlisted);
}

static enum ecode
verify_json(struct cli *cli, const struct audit_summary *sum, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "audit_verified");
	json_member_str(&w, "log", sum->entries == 0 ? NULL : sum->log);
	json_member_u64(&w, "entries", sum->entries);
	if (sum->entries > 0) {
		json_member_time(&w, "first", sum->first);
		json_member_time(&w, "last", sum->last);
	}
	put_open(&w, sum);
	json_member_u64(&w, "torn_kept", sum->torn_entries);
	json_member_u64(&w, "torn_untold", sum->torn_untold);
	json_member_u64(&w, "torn_tail_bytes", sum->torn_tail_bytes);
	json_member_bool(&w, "append_interrupted", sum->interrupted);
	json_member_u64(&w, "reports_that_agree", sum->claims);
	json_member_u64(&w, "reports_of_other_logs", sum->claims_elsewhere);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
tell_open(struct cli *cli, const struct audit_summary *sum)
{
	size_t first = sum->open_count > OPEN_TOLD_MAX ? sum->open_count - OPEN_TOLD_MAX : 0;
	char time[UNIT_TEXT_MAX];

	if (sum->open_count == 0)
		return;
	screen_out(&cli->screen,
		"%" PRIu64
		" began and did not end: at work, killed, or cut off by a power loss (see: holdfast status)",
		(uint64_t)sum->open_count + sum->open_unlisted);
	for (size_t i = first; i < sum->open_count; i++)
		screen_out(&cli->screen, "  %s  %s  %s", local_text(sum->open[i].time, time),
			sum->open[i].run_id, sum->open[i].command);
}

static void
tell_oddities(struct cli *cli, const struct audit_summary *sum)
{
	if (sum->interrupted)
		screen_out(&cli->screen,
			"the last entry's append was interrupted; the next run completes it");
	if (sum->torn_tail_bytes > 0)
		screen_out(&cli->screen,
			"a line of %" PRIu64
			" bytes at the end is torn; the next run keeps it beside the log",
			sum->torn_tail_bytes);
	if (sum->torn_entries + sum->torn_untold > 0)
		screen_out(&cli->screen, "%" PRIu64 " torn lines were kept beside the log (torn-…)",
			sum->torn_entries + sum->torn_untold);
	if (sum->claims_elsewhere > 0)
		screen_out(&cli->screen, "%" PRIu64 " run reports are of logs that were put aside",
			sum->claims_elsewhere);
}

static void
verify_people(struct cli *cli, const struct audit_summary *sum)
{
	char first[UNIT_TEXT_MAX], last[UNIT_TEXT_MAX];

	if (sum->entries == 0) {
		screen_out(&cli->screen, "the audit log has no entries yet");
		tell_oddities(cli, sum);
		return;
	}
	tell_open(cli, sum);
	tell_oddities(cli, sum);
	screen_out(&cli->screen,
		"the audit log is whole: %" PRIu64 " entries from %s to %s; %" PRIu64
		" run reports agree",
		sum->entries, local_text(sum->first, first), local_text(sum->last, last),
		sum->claims);
}

enum ecode
cmd_audit_verify(struct cli *cli, struct err *e)
{
	struct audit_reading how = { .each = NULL };
	struct audit_summary sum;
	enum ecode rc = state_dir_of(cli, "proving the audit log", e);

	if (rc == E_OK)
		rc = collect_claims(cli, &how, e);
	if (rc == E_OK)
		rc = audit_read(cli->os, cli->set.state_dir, &how, &cli->arena, &sum, e);
	if (rc != E_OK)
		return rc;
	if (cli->screen.json)
		return verify_json(cli, &sum, e);
	verify_people(cli, &sum);
	return E_OK;
}

/* ---- show ---- */

struct shown {
	struct cli *cli;
	uint64_t from; /* the first entry to print */
};

static const char *
safe(struct cli *cli, const char *text)
{
	return cli_shown(cli, text, strlen(text));
}

static const char *
outcome(struct cli *cli, const struct audit_record *r)
{
	if (r->event == AUDIT_END && r->code == 0)
		return r->snapshot_count == 0 ? "success"
					      : cli_text(cli, "success, snapshot %.8s",
							safe(cli, r->snapshots[0]));
	if (r->event == AUDIT_END)
		return cli_text(cli, "%s (exit %" PRIu64 ", code %" PRIu64 ")",
			safe(cli, r->class_name), r->exit_code, r->code);
	if (r->event == AUDIT_TORN)
		return cli_text(cli, "%" PRIu64 " bytes of a torn line kept as %s", r->torn_bytes,
			safe(cli, r->torn_file));
	return r->destination[0] == '\0'
		       ? safe(cli, r->vault)
		       : cli_text(cli, "%s to %s", safe(cli, r->vault), safe(cli, r->destination));
}

/* The arena of the command keeps what was shown: too much for a long log. */
static enum ecode
show_one(void *arg, const struct audit_record *r, struct err *e)
{
	struct shown *s = arg;
	struct cli *cli = s->cli;
	struct arena kept = cli->arena;
	char time[UNIT_TEXT_MAX];

	(void)e;
	if (r->seq < s->from)
		return E_OK;
	if (cli->screen.json) {
		screen_out_bytes(&cli->screen, r->text.p, r->text.len);
		screen_out_bytes(&cli->screen, "\n", 1);
		return E_OK;
	}
	cli->arena = arena_limit(LINE_MAX_BYTES);
	screen_out(&cli->screen, "%6" PRIu64 "  %s  %-5s  %-10s  %s@%s  %s%s%s", r->seq,
		local_text(r->time, time), safe(cli, r->event_text),
		r->command[0] == '\0' ? "-" : safe(cli, r->command), safe(cli, r->user),
		safe(cli, r->host), r->run_id[0] == '\0' ? "" : safe(cli, r->run_id),
		r->run_id[0] == '\0' ? "" : "  ", outcome(cli, r));
	arena_done(&cli->arena);
	cli->arena = kept;
	return E_OK;
}

enum ecode
cmd_audit_show(struct cli *cli, struct err *e)
{
	const char *latest = flag_text(cli->opt, FLAG_LATEST);
	struct shown shown = { .cli = cli };
	struct audit_reading count = { .each = NULL };
	struct audit_reading how = { .each = show_one, .arg = &shown };
	struct audit_summary sum;
	uint64_t max = UINT64_MAX;
	enum ecode rc = state_dir_of(cli, "showing the audit log", e);

	if (rc == E_OK && latest != NULL)
		rc = number_from_person("--latest", latest, 1, SHOW_LATEST_MAX, &max, e);
	/* which entries are the last is known at the end only; a refusal then comes again, behind what can be shown */
	if (rc == E_OK && latest != NULL)
		(void)(audit_read(cli->os, cli->set.state_dir, &count, &cli->arena, &sum, e) ==
			E_OK);
	if (rc != E_OK)
		return rc;
	if (latest != NULL && sum.entries > max)
		shown.from = sum.entries - max + 1;
	rc = audit_read(cli->os, cli->set.state_dir, &how, &cli->arena, &sum, e);
	if (rc == E_OK && !cli->screen.json)
		tell_open(cli, &sum);
	return rc;
}
