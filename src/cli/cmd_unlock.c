/* unlock: every lock is told, removed or left, with the reason. */
#include <inttypes.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/units.h"
#include "engine/unlock.h"

#define LINE_MAX_BYTES (64U << 10)

static const char *
verdict_text(struct cli *cli, const struct unlock_item *item)
{
	const struct identity *named = &item->info.identity;

	switch (item->verdict) {
	case LOCK_ALIVE:
		return "its process is alive";
	case LOCK_DEAD_PROCESS:
		return "its process is gone";
	case LOCK_TOO_OLD:
		return "it was not refreshed for 30 minutes";
	case LOCK_UNKNOWN_HOST:
		return named->boot[0] == '\0'
			       ? "it is fresh and from another machine"
			       : cli_text(cli, "it is fresh, and %s", identity_why(cli->os, named));
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

static enum ecode
item_json(struct cli *cli, const struct unlock_item *item, const char *why, struct buf *line,
	struct err *e)
{
	struct json_out w;
	enum ecode rc;

	json_begin(&w, line);
	json_open_object(&w);
	json_member_str(&w, "message_type", item->removed ? "lock_removed" : "lock_left");
	json_member_str(&w, "id", cli_id(cli, &item->info.id));
	json_member_str(&w, "reason", why);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(line, '\n', e) : rc;
}

static void
on_lock(void *arg, const struct unlock_item *item)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct cli *cli = arg;
	const char *why = item->readable ? verdict_text(cli, item) : "it cannot be read";
	const struct lock_info *info = &item->info;
	char time[UNIT_TEXT_MAX];
	struct err e;

	if (flag_given(cli->opt, FLAG_REMOVE_ALL) && item->removed)
		why = "--remove-all does not judge";
	if (cli->screen.json) {
		if (item_json(cli, item, why, &line, &e) == E_OK)
			screen_out_bytes(&cli->screen, line.p, line.len);
		return;
	}
	if (!item->readable)
		screen_out(&cli->screen, "%s lock %s: %s", item->removed ? "removed" : "left",
			cli_short(cli, &info->id), why);
	else
		screen_out(&cli->screen, "%s lock %s of process %" PRId64 " (%s@%s, since %s): %s",
			item->removed ? "removed" : "left", cli_short(cli, &info->id), info->pid,
			cli_shown(cli, info->username.p, info->username.len),
			cli_shown(cli, info->hostname.p, info->hostname.len),
			local_text(info->time, time), why);
}

enum ecode
cmd_unlock(struct cli *cli, struct err *e)
{
	struct job_args args = {
		.mode = "unlock", .must_report = true, .changes = true, .kind = TICKER_OTHER
	};
	struct job_open_args how = { .lock = SESSION_NO_LOCK };
	struct session s = { .os = NULL };
	size_t removed = 0, left = 0;
	struct job job;
	enum ecode rc;

	args.target = cli->set.repo;
	args.operation = cli_text(cli, "unlock of %s", cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = unlock_run(&s, flag_given(cli->opt, FLAG_REMOVE_ALL), on_lock, cli, &removed,
			&left, e);
	job.result.counts.deleted_remote_files = removed;
	rc = job_end(&job, &s, rc, e);
	if (rc == E_OK && !cli->screen.json && !cli->screen.quiet)
		screen_out(&cli->screen, "%zu lock%s removed, %zu left", removed,
			removed == 1 ? "" : "s", left);
	return rc;
}
