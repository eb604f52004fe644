/*
 * What earlier restores kept goes when the next one begins, never during one and
 * never while a serious failure of this vault or destination is open (D-8,
 * DF-13): the newest max_backups safety sets stay, and as many trees that were
 * replaced at this destination.  A restore into nothing removes nothing: what
 * is beside an absent destination may be all that is left of it.
 */
#include "engine/restore_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/previous.h"
#include "engine/safety.h"
#include "engine/safety_incident.h"

static void
note(struct restore *r, const char *event, const char *text)
{
	const struct listener *l = r->s->listener;

	l->note(l->arg, event, text);
}

/* A list that lacks one for want of memory is no reason to stop. */
static void
remember(struct restore_result *out, const char *path)
{
	const char **more = realloc(out->retired, (out->retired_count + 1) * sizeof(*more));
	char *copy;

	if (more == NULL)
		return;
	out->retired = more;
	copy = strdup(path);
	if (copy != NULL)
		out->retired[out->retired_count++] = copy;
}

static void
on_retired(void *arg, enum retired what, const char *path, const char *why)
{
	struct restore *r = arg;
	bool rehearsed = r->args->dry_run || r->args->plan_file != NULL;
	char text[2 * PATH_TEXT_SHOWN];

	switch (what) {
	case RETIRED_GONE:
		remember(r->out, path);
		note(r, rehearsed ? RESTORE_NOTE_GOES : RESTORE_NOTE_GONE, path);
		return;
	case RETIRED_STAYS:
		(void)snprintf(text, sizeof(text),
			"%s stays: %s. Remove it yourself when it is not needed", path, why);
		note(r, RESTORE_NOTE_STAYS, text);
		return;
	case RETIRED_UNDONE:
		(void)snprintf(text, sizeof(text),
			"%s is old and was being removed; the rest of it stays for now: %s", path,
			why);
		note(r, RESTORE_NOTE_STAYS, text);
		return;
	}
}

static enum ecode
retain(struct restore *r, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(SAFETY_ARENA_MAX);
	const struct restore_args *args = r->args;
	const struct retire_listener listener = { .tell = on_retired, .arg = r };
	bool rehearsed = args->dry_run || args->plan_file != NULL;
	const struct safety_retain_args sets = { .base = args->safety_dir,
		.keep = args->max_backups,
		.dry_run = rehearsed,
		.listener = listener };
	const struct previous_retain_args trees = { .state_dir = args->state_dir,
		.dest = r->dest.path,
		.keep = args->max_backups,
		.dry_run = rehearsed,
		.listener = listener };
	enum ecode rc = E_OK;

	if (args->safety_dir != NULL)
		rc = safety_retain(r->s->os, &sets, &a, e);
	return rc == E_OK ? previous_retain(r->s->os, &trees, &a, e) : rc;
}

enum ecode
restore_retain(struct restore *r, struct err *e)
{
	const struct restore_args *args = r->args;
	struct err why = { .code = E_OK };
	bool open = true;

	if (args->kind == RESTORE_EMPTY || !r->dest.exists || args->max_backups == 0 ||
		r->unresolved > 0)
		return E_OK;
	if (safety_incident_open(r->s->os, args->state_dir, &r->s->vault->repo_id, r->dest.path,
		    &open, &why) != E_OK ||
		open) {
		note(r, RESTORE_NOTE_KEPT,
			"what earlier restores kept stays: a serious failure of this vault or destination is open");
		return E_OK;
	}
	if (retain(r, &why) != E_OK)
		note(r, RESTORE_NOTE_KEPT, why.detail); /* room is missed, not safety */
	if (why.code == E_NOMEM)
		*e = why;
	return why.code == E_NOMEM ? E_NOMEM : E_OK;
}
