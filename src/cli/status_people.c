/* `status` for people: the verdict first, then each thing with what to do about it. */
#include <inttypes.h>
#include <string.h>

#include "cli/status_page.h"
#include "cli/units.h"
#include "report/steps.h"

#define PATHS_TOLD_MAX 3 /* of one record; the rest is counted */

static const char *
shown(struct cli *cli, const char *text)
{
	return text == NULL ? "?" : cli_shown(cli, text, strlen(text));
}

static const char *
slice_shown(struct cli *cli, struct slice s)
{
	return cli_shown(cli, s.p, s.len);
}

static const char *
paths_shown(struct cli *cli, const struct slice *v, size_t n)
{
	const char *text = "";

	for (size_t i = 0; i < n && i < PATHS_TOLD_MAX; i++)
		text = cli_text(cli, "%s%s%s", text, i == 0 ? "" : ", ", slice_shown(cli, v[i]));
	return n <= PATHS_TOLD_MAX ? text
				   : cli_text(cli, "%s and %zu more", text, n - PATHS_TOLD_MAX);
}

static void
tell_run(struct cli *cli, const struct run_info *r, const char *state)
{
	char since[UNIT_TEXT_MAX] = "?";
	struct instant t;

	if (r->started != NULL && instant_parse(r->started, strlen(r->started), &t))
		(void)local_text(t, since);
	screen_out(
		&cli->screen, "  %s  %s, %s, begun %s", r->id, shown(cli, r->mode), state, since);
	if (r->source != NULL)
		screen_out(&cli->screen, "    source  %s", shown(cli, r->source));
	if (r->vault != NULL)
		screen_out(&cli->screen, "    vault   %s", shown(cli, r->vault));
	if (r->target != NULL && r->mode != NULL && strncmp(r->mode, "restore", 7) == 0)
		screen_out(&cli->screen, "    target  %s", shown(cli, r->target));
}

static void
tell_left(struct cli *cli, const struct incomplete *i)
{
	char bytes[UNIT_TEXT_MAX], stored[UNIT_TEXT_MAX];

	screen_out(&cli->screen,
		"    left    %" PRIu64 " files, %s finished; %s stored in the vault; %s", i->files,
		bytes_text(i->bytes, bytes), bytes_text(i->stored_bytes, stored),
		i->has_tree ? "a checkpoint to go on from" : "no checkpoint yet");
}

static void
tell_dead(struct cli *cli, const struct status_page *p, size_t i)
{
	const struct run_info *r = &p->runs[i];
	const struct incomplete *left = status_left(p, r->id);
	const char *command = p->staged[i] ? status_resume(cli, r) : status_command(cli, r);

	tell_run(cli, r, r->life == RUN_DEAD ? "killed" : "state unknown");
	if (left != NULL)
		tell_left(cli, left);
	if (p->staged[i])
		screen_out(&cli->screen, "    stage   %s", shown(cli, status_stage(cli, r)));
	screen_out(
		&cli->screen, "    next    %s", p->staged[i] ? STATUS_STAGE_STEP : status_step(r));
	if (command != NULL)
		screen_out(&cli->screen, "            %s", command);
}

static void
tell_incident(struct cli *cli, const struct run_info *r)
{
	const struct err_row *row = err_row((enum ecode)r->code);
	struct step steps[STEPS_MAX];
	size_t n = row->code == (enum ecode)r->code ? steps_of(row->next, steps) : 0;

	tell_run(
		cli, r, cli_text(cli, "SEV-1, %s, code %" PRIu64, shown(cli, r->failure), r->code));
	screen_out(&cli->screen, "    what    %s", shown(cli, r->what));
	screen_out(&cli->screen, "    why     %s", shown(cli, r->why));
	for (size_t i = 0; i < n; i++)
		screen_out(&cli->screen, "    %s    %zu. %.*s", i == 0 ? "next" : "    ", i + 1,
			(int)steps[i].text.len, (const char *)steps[i].text.p);
}

static void
tell_runs(struct cli *cli, const struct status_page *p, enum run_concern which, const char *title,
	size_t count)
{
	if (count == 0)
		return;
	screen_out(&cli->screen, "%s", title);
	for (size_t i = 0; i < p->n; i++) {
		const struct run_info *r = &p->runs[i];

		if (p->concern[i] != which)
			continue;
		if (which == CONCERN_DEAD)
			tell_dead(cli, p, i);
		else if (which == CONCERN_INCIDENT)
			tell_incident(cli, r);
		else
			tell_run(cli, r, cli_text(cli, "process %" PRId64, r->pid));
	}
}

/* Of runs that said how they ended; the killed ones are told above. */
static void
tell_stages(struct cli *cli, const struct status_page *p)
{
	bool told = false;

	for (size_t i = 0; i < p->n; i++) {
		const struct run_info *r = &p->runs[i];

		if (!p->staged[i] || p->concern[i] == CONCERN_DEAD)
			continue;
		if (!told)
			screen_out(&cli->screen, "Interrupted restores that can go on");
		told = true;
		tell_run(cli, r, r->failure == NULL ? "ended" : shown(cli, r->failure));
		screen_out(&cli->screen, "    stage   %s", shown(cli, status_stage(cli, r)));
		screen_out(&cli->screen, "    next    %s", STATUS_STAGE_STEP);
		screen_out(&cli->screen, "            %s", status_resume(cli, r));
	}
}

static void
tell_incomplete(struct cli *cli, const struct incomplete_list *list)
{
	char time[UNIT_TEXT_MAX];

	for (size_t i = 0; i < list->n; i++) {
		const struct incomplete *r = &list->v[i];

		screen_out(&cli->screen,
			"  incomplete  run %s of %s@%s, %s%s, last sign of it %s: %s",
			shown(cli, r->run_id), slice_shown(cli, r->username),
			slice_shown(cli, r->host), status_incomplete_name(list->state[i]),
			r->ended_how == NULL ? ""
					     : cli_text(cli, " (%s)", shown(cli, r->ended_how)),
			local_text(r->updated, time), paths_shown(cli, r->paths, r->path_count));
		tell_left(cli, r);
		screen_out(&cli->screen, "    next    %s", status_incomplete_step(list->state[i]));
	}
	if (list->unreadable > 0)
		screen_out(&cli->screen,
			"  incomplete  %zu records that cannot be read; they are left as they are. Run: holdfast check",
			list->unreadable);
}

/* L-04: drift is told, whoever reads it decides; it is no alarm. */
static void
tell_proof(struct cli *cli, const struct status_vault *v)
{
	char time[UNIT_TEXT_MAX];

	if (v->snapshot_count == 0)
		return;
	if (!v->drift.any)
		screen_out(&cli->screen,
			"  proof   no snapshot here was ever proven. Run: holdfast drill");
	else
		screen_out(&cli->screen,
			"  proof   last proven restore %s, snapshot %s, %zu newer since%s",
			local_text(v->drift.newest->started, time),
			cli_short(cli, &v->drift.newest->snapshot_id), v->drift.behind,
			v->drift.old ? "" : "; within 90 days and 10 snapshots");
	if (v->drift.any && v->drift.old)
		screen_out(&cli->screen,
			"  drift   the proof is older than 90 days, or 10 snapshots. Run: holdfast drill");
	if (v->drills.unreadable > 0)
		screen_out(&cli->screen,
			"  drills  %zu records that cannot be read prove nothing; they are left as they are",
			v->drills.unreadable);
}

static const char *
lock_text(const struct status_lock *lock)
{
	if (lock->gone)
		return "its process is gone; the next backup removes it";
	switch (lock->verdict) {
	case LOCK_ALIVE:
		return "its process is alive";
	case LOCK_DEAD_PROCESS:
		return "its process is gone. Run: holdfast unlock";
	case LOCK_TOO_OLD:
		return "not refreshed for 30 minutes. Ask whoever runs there; then: holdfast unlock";
	case LOCK_UNKNOWN_HOST:
		return "it is fresh and from another machine";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

static void
tell_locks(struct cli *cli, const struct status_vault *v)
{
	char time[UNIT_TEXT_MAX];

	for (size_t i = 0; i < v->lock_count; i++) {
		const struct lock_info *l = &v->locks[i].info;

		screen_out(&cli->screen, "  %s lock %s of %s@%s, process %" PRId64 ", since %s: %s",
			l->exclusive ? "exclusive" : "shared", cli_short(cli, &l->id),
			slice_shown(cli, l->username), slice_shown(cli, l->hostname), l->pid,
			local_text(l->time, time), lock_text(&v->locks[i]));
	}
	if (v->locks_unreadable > 0)
		screen_out(&cli->screen, "  %zu locks that cannot be read. Run: holdfast unlock",
			v->locks_unreadable);
}

static void
tell_health(struct cli *cli, const struct status_vault *v)
{
	const struct health_summary *h = &v->health;
	char time[UNIT_TEXT_MAX];

	if (!v->has_health)
		return;
	if (h->damaged)
		screen_out(&cli->screen,
			"  health  the history of its probes cannot be read; the next backup begins a new one");
	if (h->failures > 0)
		screen_out(&cli->screen,
			"  health  %" PRIu64 " probes failed in a row since %s: %s", h->failures,
			local_text(h->first_failure, time), shown(cli, h->reason));
	else if (h->has_success)
		screen_out(&cli->screen, "  health  the last probe passed, %s",
			local_text(h->last_success, time));
}

static void
tell_vault(struct cli *cli, const struct status_page *p)
{
	const struct status_vault *v = &p->vault;
	char time[UNIT_TEXT_MAX];

	if (!p->named)
		return;
	if (!p->opened) {
		screen_out(&cli->screen, "Vault %s was not looked into: %s: %s",
			shown(cli, p->location), err_row(p->why.code)->what, p->why.detail);
		screen_out(&cli->screen, "    next    %s", err_row(p->why.code)->next);
		return;
	}
	screen_out(&cli->screen, "Vault %s", shown(cli, p->location));
	screen_out(&cli->screen, "  %zu snapshots%s", v->snapshot_count,
		v->latest_count == 0 ? "" : "; the newest of each host and paths:");
	for (size_t i = 0; i < v->latest_count; i++)
		screen_out(&cli->screen, "    %s  %s  %s  %s", cli_short(cli, &v->latest[i]->id),
			local_text(v->latest[i]->time, time),
			slice_shown(cli, v->latest[i]->hostname),
			paths_shown(cli, v->latest[i]->paths, v->latest[i]->path_count));
	if (v->snapshots_unreadable > 0)
		screen_out(&cli->screen,
			"  %zu snapshot records cannot be read. Run: holdfast check",
			v->snapshots_unreadable);
	tell_proof(cli, v);
	tell_incomplete(cli, &v->incomplete);
	tell_locks(cli, v);
	tell_health(cli, v);
}

static const char *
verdict(struct cli *cli, const struct status_page *p)
{
	const char *vault =
		!p->named   ? ""
		: p->opened ? (status_vault_calls(&p->vault) ? ", the vault (see below)" : "")
		: p->why.code == E_PASSWORD_NONE ? ""
						 : ", the vault (see below)";

	if (!p->attention)
		return p->live == 0
			       ? "Nothing needs attention."
			       : cli_text(cli, "Nothing needs attention; %zu at work.", p->live);
	return cli_text(cli, "Needs attention: %zu killed, %zu open incident%s%s%s; %zu at work.",
		p->dead, p->incidents, p->incidents == 1 ? "" : "s",
		p->stages == 0 ? ""
			       : cli_text(cli, ", %zu interrupted restore%s", p->stages,
					 p->stages == 1 ? "" : "s"),
		vault, p->live);
}

void
status_tell_people(struct cli *cli, const struct status_page *p)
{
	screen_out(&cli->screen, "%s", verdict(cli, p));
	tell_runs(cli, p, CONCERN_LIVE, "At work", p->live);
	tell_runs(cli, p, CONCERN_DEAD, "Ended without a report, and not made up for", p->dead);
	tell_runs(cli, p, CONCERN_INCIDENT, "Open incidents", p->incidents);
	tell_stages(cli, p);
	tell_vault(cli, p);
}
