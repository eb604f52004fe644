/* preflight: what a backup would meet, on one calm screen or as JSON (docs/preflight.schema.json). */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "cli/backup_words.h"
#include "cli/job.h"
#include "cli/units.h"
#include "engine/preflight.h"

#define RESULT_MAX_BYTES \
	(16U << 20) /* 25 samples and warnings with paths of 64 KiB, and the rules */
/* Lines of a screen for what is a list: the rest is in --json. */
#define RULES_SHOWN    6
#define SAMPLES_SHOWN  5
#define WARNINGS_SHOWN 4

/* ---- JSON ---- */

static void
put_unreadable(struct json_out *w, const struct preflight *p)
{
	json_put_key(w, "unreadable");
	json_open_object(w);
	json_member_u64(w, "permission_denied", p->permission_denied);
	json_member_u64(w, "locked_or_in_use", p->locked_or_in_use);
	json_member_u64(w, "not_found", p->not_found);
	json_member_u64(w, "other_io", p->other_io);
	json_close_object(w);
	json_put_key(w, "unreadable_samples");
	json_open_array(w);
	for (size_t i = 0; i < p->sample_count; i++) {
		json_open_object(w);
		json_member_str(w, "path", p->sample[i].path);
		json_member_str(w, "cause", cause_name(p->sample[i].cause));
		json_member_str(w, "why", p->sample[i].why);
		json_close_object(w);
	}
	json_close_array(w);
	json_put_key(w, "warnings");
	json_open_array(w);
	for (size_t i = 0; i < p->warning_count; i++)
		json_put_str(w, p->warning[i]);
	json_close_array(w);
}

static void
put_sources(struct json_out *w, const struct preflight *p)
{
	json_member_str(w, "source_root", p->source_root);
	json_put_key(w, "sources");
	json_open_array(w);
	for (size_t i = 0; i < p->source_count; i++) {
		json_open_object(w);
		json_member_str(w, "path", p->sources[i].path);
		json_member_u64(w, "files", p->sources[i].files);
		json_member_u64(w, "bytes", p->sources[i].bytes);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_excluded(struct json_out *w, const struct preflight *p)
{
	json_put_key(w, "excluded");
	json_open_object(w);
	json_member_u64(w, "count", p->excluded_count);
	json_member_u64(w, "bytes", p->excluded_bytes);
	json_put_key(w, "by_rule");
	json_open_array(w);
	for (size_t i = 0; i < p->rule_count; i++) {
		json_open_object(w);
		json_member_str(w, "rule", p->rules[i].rule);
		json_member_u64(w, "count", p->rules[i].count);
		json_member_u64(w, "bytes", p->rules[i].bytes);
		json_close_object(w);
	}
	json_close_array(w);
	json_close_object(w);
}

static void
put_gates(struct json_out *w, const struct preflight *p)
{
	json_put_key(w, "gates");
	json_open_array(w);
	for (size_t i = 0; i < p->gate_count; i++) {
		const struct preflight_gate *g = &p->gate[i];
		bool refused = g->verdict == GATE_REFUSE;

		json_open_object(w);
		json_member_str(w, "name", g->name);
		json_member_str(w, "verdict", gate_verdict_text(g->verdict));
		json_put_key(w, "code");
		json_put_i64(w, refused ? (int64_t)g->why.code : 0);
		json_member_str(w, "text", refused ? g->why.detail : "");
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_space(struct json_out *w, const struct preflight *p)
{
	json_put_key(w, "free_bytes");
	if (p->space_known)
		json_put_u64(w, p->free_bytes);
	else
		json_put_null(w);
	json_member_u64(w, "estimated_new_bytes", p->estimated_new_bytes);
	json_member_u64(w, "needed_bytes", p->needed_bytes);
}

static enum ecode
tell_json(struct cli *cli, const struct preflight *p, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(RESULT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "preflight");
	put_sources(&w, p);
	json_member_str(&w, "backup_root", cli->set.repo);
	json_member_u64(&w, "file_count", p->file_count);
	json_member_u64(&w, "total_bytes", p->total_bytes);
	json_member_u64(&w, "skipped_symlinks", p->skipped_symlinks);
	json_member_u64(&w, "left_out_symlinks", p->left_out_symlinks);
	json_member_u64(&w, "followed_symlinks", p->followed_symlinks);
	put_unreadable(&w, p);
	put_space(&w, p);
	put_excluded(&w, p);
	json_put_key(&w, "parent");
	if (p->has_parent)
		json_put_id(&w, &p->parent);
	else
		json_put_null(&w);
	put_gates(&w, p);
	json_member_bool(&w, "allowed", p->refusal == NULL);
	json_member_str(&w, "run_id", cli->run_id[0] == '\0' ? NULL : cli->run_id);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

/* ---- text ---- */

static const char *
shown(struct cli *cli, const char *text)
{
	return cli_shown(cli, text, strlen(text));
}

static void
tell_sources(struct cli *cli, const struct preflight *p)
{
	char bytes[UNIT_TEXT_MAX];

	screen_out(&cli->screen, "Source       %s", shown(cli, p->source_root));
	for (size_t i = 0;
		p->source_count > 1 && p->walked && i < p->source_count && i < RULES_SHOWN; i++)
		screen_out(&cli->screen, "  %12" PRIu64 " files  %s  %s", p->sources[i].files,
			bytes_text(p->sources[i].bytes, bytes), shown(cli, p->sources[i].path));
	screen_out(&cli->screen, "Vault        %s", shown(cli, cli->set.repo));
	if (!p->walked)
		return;
	screen_out(&cli->screen, "Content      %" PRIu64 " files, %s", p->file_count,
		bytes_text(p->total_bytes, bytes));
	if (p->skipped_symlinks > p->left_out_symlinks)
		screen_out(&cli->screen,
			"Links        %" PRIu64 ", saved as links; where they lead is not followed",
			p->skipped_symlinks - p->left_out_symlinks);
	if (p->left_out_symlinks > 0)
		screen_out(
			&cli->screen, "Links        %" PRIu64 ", left out", p->left_out_symlinks);
	if (p->followed_symlinks > 0)
		screen_out(&cli->screen, "Links        %" PRIu64 ", followed to what they lead to",
			p->followed_symlinks);
	if (p->sockets_skipped > 0)
		screen_out(&cli->screen, "Sockets      %" PRIu64 ", left out", p->sockets_skipped);
}

static void
tell_space(struct cli *cli, const struct preflight *p)
{
	char new[UNIT_TEXT_MAX], need[UNIT_TEXT_MAX], free[UNIT_TEXT_MAX];

	screen_out(&cli->screen, "New data     at most %s, %s%s",
		bytes_text(p->estimated_new_bytes, new),
		p->has_parent ? "compared with snapshot " : "compared with no snapshot",
		p->has_parent ? cli_short(cli, &p->parent) : "");
	if (p->space_known)
		screen_out(&cli->screen,
			"Space        %s needed (metadata and reserve included), %s free",
			bytes_text(p->needed_bytes, need), bytes_text(p->free_bytes, free));
}

static void
tell_excluded(struct cli *cli, const struct preflight *p)
{
	char bytes[UNIT_TEXT_MAX];

	if (p->excluded_count == 0)
		return;
	screen_out(&cli->screen,
		"Excluded     %" PRIu64 ", %s; content of excluded directories not counted",
		p->excluded_count, bytes_text(p->excluded_bytes, bytes));
	for (size_t i = 0; i < p->rule_count && i < RULES_SHOWN; i++)
		screen_out(&cli->screen, "  %10" PRIu64 "  %s", p->rules[i].count,
			shown(cli, p->rules[i].rule));
	if (p->rule_count > RULES_SHOWN)
		screen_out(&cli->screen, "              and %zu more rules",
			p->rule_count - RULES_SHOWN);
}

static void
tell_unreadable(struct cli *cli, const struct preflight *p)
{
	uint64_t all = p->permission_denied + p->locked_or_in_use + p->not_found + p->other_io;

	if (all > 0)
		screen_out(&cli->screen,
			"Unreadable   %" PRIu64 ": permission %" PRIu64 ", in use %" PRIu64
			", not found %" PRIu64 ", other %" PRIu64,
			all, p->permission_denied, p->locked_or_in_use, p->not_found, p->other_io);
	for (size_t i = 0; i < p->sample_count && i < SAMPLES_SHOWN; i++)
		screen_out(&cli->screen, "              %s: %s", shown(cli, p->sample[i].path),
			cause_short(p->sample[i].cause));
	if (all > SAMPLES_SHOWN)
		screen_out(&cli->screen, "              and %" PRIu64 " more", all - SAMPLES_SHOWN);
	for (size_t i = 0; i < p->warning_count && i < WARNINGS_SHOWN; i++)
		screen_out(&cli->screen, "%s  %s", i == 0 ? "Warnings   " : "           ",
			shown(cli, p->warning[i]));
	if (p->warning_count + p->warnings_left_out > WARNINGS_SHOWN)
		screen_out(&cli->screen, "              and %zu more",
			p->warning_count + p->warnings_left_out - WARNINGS_SHOWN);
}

static void
tell_gates(struct cli *cli, const struct preflight *p)
{
	for (size_t i = 0; i < p->gate_count; i++) {
		const struct preflight_gate *g = &p->gate[i];

		screen_out(&cli->screen, "%s  %-11s %s%s%s", i == 0 ? "Gates      " : "           ",
			g->name, gate_verdict_text(g->verdict),
			g->verdict == GATE_REFUSE ? ": " : "",
			g->verdict == GATE_REFUSE ? err_row(g->why.code)->what : "");
	}
	if (p->refusal == NULL)
		screen_out(&cli->screen, "A backup would be allowed.");
	else
		screen_out(&cli->screen, "A backup would be refused; nothing was written.");
}

static enum ecode
tell(struct cli *cli, const struct preflight *p, struct err *e)
{
	if (cli->screen.json)
		return tell_json(cli, p, e);
	if (cli->screen.quiet)
		return E_OK;
	tell_sources(cli, p);
	if (p->walked)
		tell_space(cli, p);
	tell_excluded(cli, p);
	tell_unreadable(cli, p);
	tell_gates(cli, p);
	return E_OK;
}

/* ---- the command ---- */

static enum ecode
run(struct cli *cli, struct backup_words *w, struct preflight *p, struct err *e)
{
	struct job_args args = { .mode = "preflight", .kind = TICKER_OTHER };
	struct job_open_args how = {
		.lock = SESSION_NO_LOCK, .compression = w->compression, .threads = w->threads
	};
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.source = backup_words_source(cli, w);
	args.target = cli->set.repo;
	args.operation =
		cli_text(cli, "preflight of a backup of %s into %s", args.source, cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = preflight_run(&s, &w->args, &cli->arena, p, e);
	job.result.counts.scanned_files = p->file_count;
	if (rc == E_OK && p->refusal != NULL) {
		*e = *p->refusal;
		rc = e->code;
	}
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_preflight(struct cli *cli, struct err *e)
{
	autoclean(backup_words_done) struct backup_words w = { .compression = COMPRESSION_AUTO };
	struct preflight p = { .file_count = 0 };
	struct err ignored;
	enum ecode rc = backup_words_take(cli, &w, e);

	if (rc == E_OK)
		rc = run(cli, &w, &p, e);
	if (p.source_root == NULL) /* there was no judgement */
		return rc;
	if (rc == E_OK)
		return tell(cli, &p, e);
	if (tell(cli, &p, &ignored) != E_OK)
		return rc; /* the refusal says more */
	return rc;
}
