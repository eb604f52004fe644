#include <string.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/password.h"
#include "cli/signals.h"
#include "engine/catalog.h"

#define LINE_MAX_BYTES (256U << 10)

static enum ecode
tell(struct cli *cli, const struct id *id, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct json_out w;

	if (!cli->screen.json) {
		if (cli->screen.quiet)
			return E_OK;
		screen_out(&cli->screen,
			"Keep the password in a second safe place: without it nothing can be read, by nobody.");
		screen_out(&cli->screen, "vault %s made at %s", cli_short(cli, id),
			cli_shown(cli, cli->set.repo, strlen(cli->set.repo)));
		return E_OK;
	}
	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "initialized");
	json_member_id(&w, "id", id);
	json_member_str(&w, "repository", cli->set.repo);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static enum ecode
make(struct job *j, struct id *id, struct err *e)
{
	struct cli *cli = j->cli;
	struct catalog_init_args args = { .os = cli->os, .location = cli->set.repo };
	struct secret *password = NULL;
	enum ecode rc = secret_open(&password, e);

	if (rc == E_OK)
		rc = password_get(
			cli->os, &cli->set, "password for the new vault: ", true, password, e);
	if (rc == E_OK)
		rc = job_tick(j, e);
	if (rc == E_OK) {
		signals_ignore_hup();
		args.password = secret_bytes(password);
		rc = catalog_init(&args, id, e);
	}
	if (password != NULL)
		secret_close(&password);
	return rc;
}

enum ecode
cmd_init(struct cli *cli, struct err *e)
{
	struct job_args args = {
		.mode = "init", .must_report = true, .changes = true, .kind = TICKER_OTHER
	};
	struct session none = { .os = NULL };
	struct job job;
	struct id id;
	enum ecode rc;

	args.target = cli->set.repo;
	args.operation =
		cli_text(cli, "making a vault at %s", cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = make(&job, &id, e);
	if (rc == E_OK)
		job_know_vault(&job, &id);
	rc = job_end(&job, &none, rc, e);
	return rc == E_OK ? tell(cli, &id, e) : rc;
}
