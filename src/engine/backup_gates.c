/* What must hold before a backup writes, and before its snapshot is written: the order, and the clock. */
#include <inttypes.h>

#include "engine/backup_internal.h"
#include "engine/health.h"

/* seconds; twice what a wrong zone or daylight saving makes of a clock */
#define CLOCK_BEHIND_S (2 * 3600)
/* seconds; longer than any vault rests before somebody looks at it, and far below a clock gone mad (2038, 1970) */
#define CLOCK_AHEAD_S  (INT64_C(5) * 366 * 86400)

/* When a snapshot was really made: its time may be anything that somebody wished (--time). */
static struct instant
made_at(const struct snapshot *s)
{
	return s->has_summary && s->summary.backup_start.s != 0 ? s->summary.backup_start : s->time;
}

enum ecode
gate_clock(struct backup *b, const struct record *rec, struct err *e)
{
	struct instant now = b->s->os->wall(b->s->os), newest = { 0 };
	char here[INSTANT_TEXT_MAX], there[INSTANT_TEXT_MAX];
	const struct listener *l = b->s->listener;
	int64_t ahead;

	for (size_t i = 0; i < rec->known.n; i++) {
		struct instant made = made_at(&rec->known.v[i]);

		if (i == 0 || instant_cmp(made, newest) > 0)
			newest = made;
	}
	if (rec->known.n == 0)
		return E_OK;
	if (__builtin_sub_overflow(now.s, newest.s, &ahead) || ahead == INT64_MIN)
		ahead = now.s > newest.s ? INT64_MAX : -INT64_MAX;
	if (ahead >= -CLOCK_BEHIND_S && ahead <= CLOCK_AHEAD_S)
		return E_OK;
	(void)instant_format(now, here);
	(void)instant_format(newest, there);
	if (b->args->accept_clock) {
		l->note(l->arg, "clock_accepted", here);
		return E_OK;
	}
	return err_set(e, E_CLOCK, 0,
		"the clock says %s; the newest snapshot was made at %s, which is %" PRIi64
		" hours %s",
		here, there, (ahead < 0 ? -ahead : ahead) / 3600, ahead < 0 ? "later" : "earlier");
}

/* A dry run writes nothing, so the vault need not be able to take it. */
static enum ecode
gate_health(struct backup *b, struct err *e)
{
	enum ecode rc = b->args->dry_run ? E_OK : health_gate(b->s, b->args->state_dir, e);

	if (rc == E_OK && !b->args->dry_run)
		backup_measure(b, "the vault's place was probed: written, synced, read back, "
				  "renamed; its permissions looked at");
	return rc;
}

/* The order is that of what costs least and says most. */
enum ecode
gates_before(struct backup *b, struct record *rec, struct err *e)
{
	enum ecode rc = gate_overlap(b, &rec->arena, e);

	if (rc == E_OK)
		rc = gate_clock(b, rec, e);
	if (rc == E_OK)
		backup_measure(b, "vault and sources do not overlap%s",
			b->args->accept_clock ? "" : "; the clock fits the snapshots");
	return rc == E_OK ? gate_health(b, e) : rc;
}

enum ecode
gates_after(struct backup *b, struct record *rec, struct err *e)
{
	enum ecode rc = gate_band(b, rec, e);

	if (rc == E_OK && b->args->accept_shrink == NULL)
		backup_measure(b, "every source was inside its sanity band");
	if (rc == E_OK && b->args->dry_run)
		rc = gate_capacity_of_dry_run(b, e);
	return rc;
}
