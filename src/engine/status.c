#include "engine/status.h"

#include <string.h>

#include "engine/catalog.h"
#include "engine/restore.h"

/* ---- runs of this machine ---- */

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* A vault may have moved, and another may stand where it was: its id says more than its place. */
static bool
same_vault(const struct run_info *a, const struct run_info *b)
{
	if (a->repo_id != NULL && b->repo_id != NULL)
		return strcmp(a->repo_id, b->repo_id) == 0;
	return same(a->vault, b->vault);
}

static bool
same_kind(const struct run_info *a, const struct run_info *b)
{
	return same(a->mode, b->mode) && same_vault(a, b) &&
	       (!same(a->mode, "backup") || same(a->source, b->source));
}

static bool
is_sev1(const struct run_info *r)
{
	return r->life == RUN_ENDED && same(r->severity, "SEV-1");
}

/* Is there a newer run of its kind that ended like this? */
static bool
made_up_for(const struct run_info *runs, size_t i, bool partial_counts)
{
	for (size_t k = i; k > 0; k--) {
		const struct run_info *newer = &runs[k - 1];
		bool good = same(newer->status, "success") ||
			    (partial_counts && same(newer->status, "partial"));

		if (newer->life == RUN_ENDED && good && same_kind(newer, &runs[i]))
			return true;
	}
	return false;
}

/* Of many alike the newest speaks for all. */
static bool
is_newest_incident(const struct run_info *runs, size_t i)
{
	for (size_t k = i; k > 0; k--) {
		if (is_sev1(&runs[k - 1]) && same_kind(&runs[k - 1], &runs[i]))
			return false;
	}
	return true;
}

static enum run_concern
concern_of(const struct run_info *runs, size_t i)
{
	const struct run_info *r = &runs[i];

	switch (r->life) {
	case RUN_LIVE:
		return CONCERN_LIVE;
	case RUN_UNKNOWN:
		if (r->started == NULL)
			return CONCERN_NONE; /* no first line yet: it is just beginning, or changed nothing */
		return made_up_for(runs, i, true) ? CONCERN_NONE : CONCERN_DEAD;
	case RUN_DEAD:
		return made_up_for(runs, i, true) ? CONCERN_NONE : CONCERN_DEAD;
	case RUN_ENDED:
		break;
	}
	if (!is_sev1(r) || !is_newest_incident(runs, i) || made_up_for(runs, i, false))
		return CONCERN_NONE;
	return CONCERN_INCIDENT;
}

void
status_judge(const struct run_info *runs, size_t n, enum run_concern *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = concern_of(runs, i);
}

const char *
status_step(const struct run_info *run)
{
	static const struct {
		const char *mode, *step;
	} steps[] = {
		{ "backup",
			"Run the same command again: what was stored is used, and its lock goes by itself." },
		{ "restore",
			"Run the same command again: the destination is as it was, or whole. What was being built lies beside it." },
		{ "restore-in-place",
			"Run the same command again: every file is whole, old or new, and it finishes. What was replaced is in the newest safety set (holdfast restore-undo list)." },
		{ "restore-undo",
			"Run the same command again: every file is whole, and it finishes." },
		{ "restore-swap",
			"Run the same command again: it says in which state it finds the destination. Both trees are whole." },
		{ "init", "Run the same command again: it says if the vault was made already." },
		{ "key", "See which keys there are (holdfast key list), then decide." },
		{ "unlock", "Run the same command again." },
		{ "check", "Run the same command again; it changes nothing." },
	};

	if (run->life == RUN_UNKNOWN)
		return "It cannot be told whether it still works. Look for its process first; if it is gone, run the same command again.";
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (same(run->mode, steps[i].mode))
			return steps[i].step;
	}
	return "Run the same command again.";
}

bool
status_left_stage(const struct os *os, const struct run_info *run, enum run_concern concern)
{
	bool restored = run->mode != NULL && (strcmp(run->mode, "restore") == 0 ||
						     strcmp(run->mode, "restore-swap") == 0);

	return restored && concern != CONCERN_LIVE && run->target != NULL &&
	       run->target[0] == '/' && restore_resume_there(os, run->target, run->id);
}

/* ---- a vault ---- */

static bool
same_slices(const struct slice *a, size_t na, const struct slice *b, size_t nb)
{
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++) {
		if (a[i].len != b[i].len || (a[i].len > 0 && memcmp(a[i].p, b[i].p, a[i].len) != 0))
			return false;
	}
	return true;
}

static bool
is_listed(const struct status_vault *v, const struct snapshot *s)
{
	for (size_t i = 0; i < v->latest_count; i++) {
		const struct snapshot *o = v->latest[i];

		if (same_slices(&o->hostname, 1, &s->hostname, 1) &&
			same_slices(o->paths, o->path_count, s->paths, s->path_count))
			return true;
	}
	return false;
}

static enum ecode
load_snapshots(struct session *s, const char *state_dir, struct arena *a, struct status_vault *out,
	struct err *e)
{
	struct snapshot_list list;
	void *room;
	enum ecode rc = catalog_list(s, a, &list, e);

	if (rc == E_OK)
		rc = drill_list_load(s, s->os, state_dir, a, &out->drills, e);
	if (rc == E_OK)
		drill_drift(&out->drills, &list, s->os->wall(s->os), &out->drift);
	if (rc == E_OK)
		rc = arena_alloc(a, (list.n + 1) * sizeof(struct snapshot *), &room, e);
	if (rc != E_OK)
		return rc;
	out->latest = room;
	out->snapshot_count = list.n;
	out->snapshots_unreadable = list.unreadable;
	for (size_t i = list.n; i > 0; i--) {
		if (!is_listed(out, &list.v[i - 1]))
			out->latest[out->latest_count++] = &list.v[i - 1];
	}
	return E_OK;
}

static enum ecode
load_locks(struct session *s, struct arena *a, struct status_vault *out, struct err *e)
{
	struct lock_info *info;
	void *room;
	size_t n;
	enum ecode rc = lock_list(s->vault, a, &info, &n, &out->locks_unreadable, e);

	if (rc == E_OK)
		rc = arena_alloc(a, (n + 1) * sizeof(struct status_lock), &room, e);
	if (rc != E_OK)
		return rc;
	out->locks = room;
	out->lock_count = n;
	for (size_t i = 0; i < n; i++)
		out->locks[i] = (struct status_lock){ .info = info[i],
			.verdict = lock_judge(s->os, &info[i]),
			.gone = lock_is_gone(s->os, &info[i], NULL) };
	return E_OK;
}

enum ecode
status_vault(struct session *s, const char *state_dir, struct arena *a, struct status_vault *out,
	struct err *e)
{
	struct status_vault v = { .repo_id = s->vault->repo_id, .has_health = state_dir != NULL };
	enum ecode rc = load_snapshots(s, state_dir, a, &v, e);

	if (rc == E_OK)
		rc = incomplete_list_load(s, a, &v.incomplete, e);
	if (rc == E_OK)
		rc = load_locks(s, a, &v, e);
	if (rc == E_OK && state_dir != NULL)
		rc = health_summary(s->os, state_dir, &v.repo_id, &v.health, e);
	if (rc == E_OK)
		*out = v;
	return rc;
}

bool
status_vault_calls(const struct status_vault *v)
{
	for (size_t i = 0; i < v->incomplete.n; i++) {
		if (v->incomplete.state[i] == INCOMPLETE_DEAD)
			return true;
	}
	for (size_t i = 0; i < v->lock_count; i++) {
		if (v->locks[i].verdict == LOCK_TOO_OLD && !v->locks[i].gone)
			return true;
	}
	return v->snapshots_unreadable > 0 || v->incomplete.unreadable > 0 ||
	       v->locks_unreadable > 0 ||
	       (v->has_health && (v->health.damaged || v->health.failures > 0));
}
