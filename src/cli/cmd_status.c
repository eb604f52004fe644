/*
 * status: what is at work, what was killed, what is an open incident, how the
 * vault is, and the next safe step for each.  Without a vault, or without its
 * password, the part of this machine.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/job.h"
#include "cli/status_page.h"
#include "cli/units.h"
#include "engine/restore.h"

#define QUOTED_MAX_BYTES (4U << 20)

static enum ecode
look_for_stages(struct cli *cli, struct status_page *p, struct err *e)
{
	void *room;
	bool *staged;
	enum ecode rc = arena_alloc(&cli->arena, p->n + 1, &room, e);

	if (rc != E_OK)
		return rc;
	staged = room;
	for (size_t i = 0; i < p->n; i++) {
		staged[i] = status_left_stage(cli->os, &p->runs[i], p->concern[i]);
		p->stages += staged[i];
	}
	p->staged = staged;
	return E_OK;
}

static enum ecode
load_runs(struct cli *cli, struct status_page *p, struct err *e)
{
	struct run_info *runs;
	enum run_concern *concern;
	void *room;
	enum ecode rc;

	if (cli->set.state_dir == NULL)
		return err_set(
			e, E_REPORT_READ, 0, "neither XDG_STATE_HOME nor HOME names a directory");
	rc = run_list_all(cli->os, cli->set.state_dir, &cli->arena, &runs, &p->n, e);
	if (rc == E_OK)
		rc = arena_alloc(&cli->arena, (p->n + 1) * sizeof(*concern), &room, e);
	if (rc != E_OK)
		return rc;
	concern = room;
	status_judge(runs, p->n, concern);
	for (size_t i = 0; i < p->n; i++) {
		p->live += concern[i] == CONCERN_LIVE;
		p->dead += concern[i] == CONCERN_DEAD;
		p->incidents += concern[i] == CONCERN_INCIDENT;
	}
	p->runs = runs;
	p->concern = concern;
	return look_for_stages(cli, p, e);
}

/* A vault that cannot be opened is a finding, not the end: the rest is told all the same. */
static enum ecode
load_vault(struct cli *cli, struct status_page *p, struct err *e)
{
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_NO_LOCK };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.operation = cli_text(cli, "looking at %s", p->location);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, &p->why);
	if (rc == E_OK)
		rc = status_vault(&s, cli->set.state_dir, &cli->arena, &p->vault, &p->why);
	rc = job_end(&job, &s, rc, &p->why);
	p->opened = rc == E_OK;
	if (rc != E_OK && (err_row(rc)->class == CLASS_INTERRUPTED ||
				  err_row(rc)->class == CLASS_TERMINATED)) {
		*e = p->why;
		return rc;
	}
	return E_OK;
}

static bool
needs_somebody(const struct status_page *p)
{
	if (p->dead > 0 || p->incidents > 0 || p->stages > 0)
		return true;
	if (!p->named)
		return false;
	return p->opened ? status_vault_calls(&p->vault) : p->why.code != E_PASSWORD_NONE;
}

enum ecode
cmd_status(struct cli *cli, struct err *e)
{
	struct status_page p = { .named = cli->set.repo != NULL };
	enum ecode rc;

	cli->operation = "looking at the runs of this machine";
	rc = load_runs(cli, &p, e);
	if (rc == E_OK && p.named) {
		p.location = cli_safe_location(cli, cli->set.repo);
		rc = load_vault(cli, &p, e);
	}
	if (rc != E_OK)
		return rc;
	p.attention = needs_somebody(&p);
	if (cli->screen.json)
		rc = status_tell_json(cli, &p, e);
	else
		status_tell_people(cli, &p);
	if (rc == E_OK && p.attention && flag_given(cli->opt, FLAG_CHECK))
		rc = err_set(e, E_STATUS_ATTENTION, 0,
			"%zu killed runs, %zu open incidents, %zu stages of restores%s", p.dead,
			p.incidents, p.stages,
			!p.named                       ? ""
			: !p.opened                    ? "; the vault cannot be looked at"
			: status_vault_calls(&p.vault) ? "; the vault needs somebody"
						       : "");
	return rc;
}

/* ---- what both ways of telling share ---- */

static bool
is_plain_word(const char *word)
{
	return word[0] != '\0' &&
	       word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789_./:=@%+,-")] == '\0';
}

/* One word for a shell; a word a terminal could not show as it is, is none. */
static bool
add_word(struct cli *cli, struct buf *out, const char *word)
{
	struct err e;
	bool ok;

	if (strstr(word, "(not recorded)") != NULL || strstr(word, ":***@") != NULL ||
		strcmp(cli_shown(cli, word, strlen(word)), word) != 0)
		return false;
	if (out->len > 0 && buf_add_byte(out, ' ', &e) != E_OK)
		return false;
	if (is_plain_word(word))
		return buf_add_str(out, word, &e) == E_OK;
	ok = buf_add_byte(out, '\'', &e) == E_OK;
	for (const char *p = word; ok && *p != '\0'; p++)
		ok = *p == '\'' ? buf_add_str(out, "'\\''", &e) == E_OK
				: buf_add_byte(out, (uint8_t)*p, &e) == E_OK;
	return ok && buf_add_byte(out, '\'', &e) == E_OK;
}

const char *
status_command(struct cli *cli, const struct run_info *run)
{
	autoclean(buf_done) struct buf text = buf_limit(QUOTED_MAX_BYTES);

	struct err e;

	if (run->argc == 0 || run->cwd == NULL || !add_word(cli, &text, "cd") ||
		!add_word(cli, &text, run->cwd) || buf_add_str(&text, " &&", &e) != E_OK)
		return NULL;
	for (size_t i = 0; i < run->argc; i++) {
		if (!add_word(cli, &text, run->argv[i]))
			return NULL;
	}
	return cli_text(cli, "%.*s", (int)text.len, (const char *)text.p);
}

const char *
status_resume(struct cli *cli, const struct run_info *run)
{
	return cli_text(cli, "holdfast restore --resume %s", run->id);
}

const char *
status_stage(struct cli *cli, const struct run_info *run)
{
	return cli_text(cli, "%s" RESTORE_STAGE_SUFFIX "/%s", run->target, run->id);
}

const struct incomplete *
status_left(const struct status_page *p, const char *run_id)
{
	for (size_t i = 0; p->opened && i < p->vault.incomplete.n; i++) {
		if (strcmp(p->vault.incomplete.v[i].run_id, run_id) == 0)
			return &p->vault.incomplete.v[i];
	}
	return NULL;
}

const char *
status_incomplete_name(enum incomplete_state state)
{
	switch (state) {
	case INCOMPLETE_LIVE:
		return "live";
	case INCOMPLETE_DEAD:
		return "dead";
	case INCOMPLETE_UNKNOWN:
		return "unknown";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

const char *
status_incomplete_step(enum incomplete_state state)
{
	switch (state) {
	case INCOMPLETE_LIVE:
		return "Wait: it is at work.";
	case INCOMPLETE_DEAD:
		return "Run the backup of these paths again: what was stored is used.";
	case INCOMPLETE_UNKNOWN:
		return "Ask on its host: holdfast status. If that host is gone, nothing needs to be done.";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

const char *
status_lock_name(const struct status_lock *lock)
{
	if (lock->gone)
		return "gone";
	switch (lock->verdict) {
	case LOCK_ALIVE:
		return "alive";
	case LOCK_DEAD_PROCESS:
		return "dead";
	case LOCK_TOO_OLD:
		return "too-old";
	case LOCK_UNKNOWN_HOST:
		return "unknown";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}
