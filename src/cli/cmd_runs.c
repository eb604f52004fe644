/* runs: the run folders of this machine, newest first. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/units.h"

#define DOCUMENT_MAX_BYTES (64U << 20)

static enum ecode
tell_json(struct cli *cli, const struct run_info *runs, size_t n, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &out);
	json_open_array(&w);
	for (size_t i = 0; i < n; i++) {
		json_open_object(&w);
		json_member_str(&w, "run_id", runs[i].id);
		json_member_str(&w, "mode", runs[i].mode);
		json_member_str(&w, "status", runs[i].status);
		json_member_str(&w, "failure", runs[i].failure);
		json_member_str(&w, "started", runs[i].started);
		json_member_str(&w, "snapshot_id", runs[i].snapshot_id);
		json_member_str(&w, "vault", runs[i].vault);
		json_put_key(&w, "exit_code");
		json_put_i64(&w, runs[i].exit_code);
		json_member_u64(&w, "duration_ms", runs[i].duration_ms);
		if (runs[i].pid > 0) {
			json_put_key(&w, "pid");
			json_put_i64(&w, runs[i].pid);
		}
		json_close_object(&w);
	}
	json_close_array(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static const char *
shown(struct cli *cli, const char *text)
{
	return text == NULL ? "" : cli_shown(cli, text, strlen(text));
}

/* A run without a report has no exit code; a zero would look like success. */
static const char *
exit_text(const struct run_info *r, char out[static 16])
{
	if (r->life != RUN_ENDED)
		return "-";
	(void)snprintf(out, 16, "%d", r->exit_code);
	return out;
}

static const char *
fact_of(struct cli *cli, const struct run_info *r)
{
	if (r->life == RUN_LIVE)
		return cli_text(cli, "process %" PRId64, r->pid);
	return r->exit_code == 0 ? shown(cli, r->snapshot_id) : shown(cli, r->failure);
}

static void
tell_people(struct cli *cli, const struct run_info *runs, size_t n)
{
	char span[UNIT_TEXT_MAX], exit_code[16];

	if (n > 0)
		screen_out(&cli->screen, "%-25s  %-8s  %-10s  %4s  %8s  %s", "Run", "What",
			"Status", "Exit", "Time", "Snapshot or refusal");
	for (size_t i = 0; i < n; i++) {
		const struct run_info *r = &runs[i];

		screen_out(&cli->screen, "%-25s  %-8s  %-10s  %4s  %8s  %.18s", r->id,
			shown(cli, r->mode), shown(cli, r->status), exit_text(r, exit_code),
			span_text(r->duration_ms / 1000, span), fact_of(cli, r));
	}
	screen_out(&cli->screen, "%zu run%s in %s/runs", n, n == 1 ? "" : "s",
		cli_shown(cli, cli->set.state_dir, strlen(cli->set.state_dir)));
}

enum ecode
cmd_runs(struct cli *cli, struct err *e)
{
	const char *latest = flag_text(cli->opt, FLAG_LATEST);
	struct run_info *runs = NULL;
	uint64_t max = UINT64_MAX;
	size_t n = 0;
	enum ecode rc = E_OK;

	cli->operation = "listing the run folders";
	if (cli->set.state_dir == NULL)
		return err_set(
			e, E_REPORT_READ, 0, "neither XDG_STATE_HOME nor HOME names a directory");
	if (latest != NULL)
		rc = number_from_person("--latest", latest, 1, UINT32_MAX, &max, e);
	if (rc == E_OK)
		rc = run_list_all(cli->os, cli->set.state_dir, &cli->arena, &runs, &n, e);
	if (rc != E_OK)
		return rc;
	if (n > max)
		n = (size_t)max;
	if (cli->screen.json)
		return tell_json(cli, runs, n, e);
	tell_people(cli, runs, n);
	return E_OK;
}
