/* snapshots: a table for people, restic's array with --json. */
#include <string.h>

#include "cli/job.h"
#include "cli/pick.h"
#include "cli/units.h"
#include "engine/catalog.h"
#include "engine/drill_record.h"
#include "engine/incomplete.h"
#include "engine/ownrecord.h"

#define DOCUMENT_MAX_BYTES (1U << 30) /* 100,000 snapshots of some KiB */
#define CELL_MAX_BYTES     (1U << 20)

struct choice { /* the snapshots to show, oldest first */
	const struct snapshot **v;
	size_t n;
	struct drill_list drills; /* what was proven of them */
};

static bool
same_texts(const struct slice *a, size_t na, const struct slice *b, size_t nb)
{
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++) {
		if (a[i].len != b[i].len || (a[i].len > 0 && memcmp(a[i].p, b[i].p, a[i].len) != 0))
			return false;
	}
	return true;
}

/* restic's --latest counts per host and paths */
static bool
same_group(const struct snapshot *a, const struct snapshot *b)
{
	return same_texts(&a->hostname, 1, &b->hostname, 1) &&
	       same_texts(a->paths, a->path_count, b->paths, b->path_count);
}

static void
keep_latest(struct choice *c, uint64_t latest)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->n; i++) {
		uint64_t newer = 0;

		for (size_t k = i + 1; k < c->n && newer < latest; k++)
			newer += same_group(c->v[i], c->v[k]);
		if (newer < latest)
			c->v[kept++] = c->v[i];
	}
	c->n = kept;
}

static enum ecode
choose(struct cli *cli, const struct snapshot_list *list, struct choice *out, struct err *e)
{
	const struct options *o = cli->opt;
	struct snapshot_filter filter;
	size_t max = list->n > o->arg_count ? list->n : o->arg_count;
	uint64_t latest = 0;
	const char *sub;
	void *room;
	enum ecode rc = pick_filter(cli, &filter, e);

	if (rc == E_OK)
		rc = arena_alloc(&cli->arena, (max + 1) * sizeof(struct snapshot *), &room, e);
	if (rc == E_OK && flag_given(o, FLAG_LATEST))
		rc = number_from_person(
			"--latest", flag_text(o, FLAG_LATEST), 1, UINT32_MAX, &latest, e);
	if (rc != E_OK)
		return rc;
	*out = (struct choice){ .v = room };
	for (size_t i = 0; rc == E_OK && i < o->arg_count; i++) {
		rc = snapshot_select(list, &filter, o->args[i], &cli->arena, &out->v[i], &sub, e);
		out->n = i + 1;
	}
	for (size_t i = 0; o->arg_count == 0 && i < list->n; i++) {
		if (snapshot_matches(&list->v[i], &filter))
			out->v[out->n++] = &list->v[i];
	}
	if (rc == E_OK && latest > 0)
		keep_latest(out, latest);
	return rc;
}

static enum ecode
add_json(const struct snapshot *s, struct cli *cli, const struct drill_list *drills,
	struct buf *out, struct err *e)
{
	const struct drill_record *proof = drill_proof(drills, &s->id);
	char time[INSTANT_TEXT_MAX] = "";
	uint64_t lost;
	enum ecode rc = catalog_record_open(s, out, e);

	if (rc == E_OK)
		rc = buf_printf(out, e,
			",\"id\":\"%s\",\"short_id\":\"%s\",\"completeness\":\"%s\"",
			cli_id(cli, &s->id), cli_short(cli, &s->id),
			completeness_text(own_completeness(s, &lost)));
	if (rc == E_OK && proof != NULL)
		time[instant_format(proof->started, time)] = '\0';
	if (rc == E_OK)
		rc = proof == NULL ? buf_add_str(out, ",\"proven\":null}", e)
				   : buf_printf(out, e, ",\"proven\":\"%s\"}", time);
	return rc;
}

static enum ecode
tell_json(struct cli *cli, const struct choice *c, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	enum ecode rc = buf_add_byte(&out, '[', e);

	for (size_t i = 0; rc == E_OK && i < c->n; i++) {
		rc = i == 0 ? E_OK : buf_add_byte(&out, ',', e);
		if (rc == E_OK)
			rc = add_json(c->v[i], cli, &c->drills, &out, e);
	}
	if (rc == E_OK)
		rc = buf_add_str(&out, "]\n", e);
	if (rc == E_OK)
		screen_out_bytes(&cli->screen, out.p, out.len);
	return rc;
}

static const char *
joined(struct cli *cli, const struct slice *v, size_t n)
{
	autoclean(buf_done) struct buf text = buf_limit(CELL_MAX_BYTES);
	struct err e;

	for (size_t i = 0; i < n; i++) {
		if ((i > 0 && buf_add_str(&text, ", ", &e) != E_OK) ||
			buf_add(&text, v[i].p, v[i].len, &e) != E_OK)
			break; /* shown as far as it fits */
	}
	return cli_shown(cli, text.p, text.len);
}

/* Nothing for what is complete, or made by a program that says nothing: the mark is to stand out. */
static const char *
mark(enum completeness state)
{
	switch (state) {
	case COMPLETENESS_UNSAID:
	case COMPLETENESS_COMPLETE:
		return "";
	case COMPLETENESS_PARTIAL:
		return "partial";
	case COMPLETENESS_UNREADABLE:
		return "unknown";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* The day of the last proven restore (DV-32); "" when there was none. */
static const char *
proven(const struct drill_record *proof, char out[static UNIT_TEXT_MAX])
{
	return proof == NULL ? "" : local_text(proof->started, out);
}

static void
tell_partial(struct cli *cli, size_t partial, size_t unknown)
{
	if (partial > 0)
		screen_out(&cli->screen,
			"%zu of them partial: paths could not be read when they were made",
			partial);
	if (unknown > 0)
		screen_out(&cli->screen,
			"%zu of them unknown: what they say of their completeness cannot be read",
			unknown);
}

static void
tell_people(struct cli *cli, const struct choice *c)
{
	size_t partial = 0, unknown = 0;
	uint64_t lost;
	char time[UNIT_TEXT_MAX], size[UNIT_TEXT_MAX], when[UNIT_TEXT_MAX];

	if (c->n > 0)
		screen_out(&cli->screen, "%-8s  %-19s  %-12s  %-10s  %12s  %-7s  %-10s  %s", "ID",
			"Time", "Host", "Tags", "Size", "State", "Proven", "Paths");
	for (size_t i = 0; i < c->n; i++) {
		const struct snapshot *s = c->v[i];
		enum completeness state = own_completeness(s, &lost);

		partial += state == COMPLETENESS_PARTIAL;
		unknown += state == COMPLETENESS_UNREADABLE;
		screen_out(&cli->screen, "%s  %s  %-12s  %-10s  %12s  %-7s  %-10.10s  %s",
			cli_short(cli, &s->id), local_text(s->time, time),
			cli_shown(cli, s->hostname.p, s->hostname.len),
			joined(cli, s->tags, s->tag_count),
			s->has_summary ? bytes_text(s->summary.total_bytes_processed, size) : "",
			mark(state), proven(drill_proof(&c->drills, &s->id), when),
			joined(cli, s->paths, s->path_count));
	}
	screen_out(&cli->screen, "%zu snapshot%s", c->n, c->n == 1 ? "" : "s");
	tell_partial(cli, partial, unknown);
	if (c->drills.unreadable > 0)
		screen_out(&cli->screen, "%zu records of drills cannot be read, and prove nothing",
			c->drills.unreadable);
}

/* Somebody who asks for some snapshots does not ask for what is none. */
static bool
whole_list(const struct options *o)
{
	return o->arg_count == 0 && !flag_given(o, FLAG_ONLY_HOST) &&
	       !flag_given(o, FLAG_ONLY_TAG) && !flag_given(o, FLAG_ONLY_PATH) &&
	       !flag_given(o, FLAG_LATEST);
}

/* D-4: below the snapshots and never among them.  restic's array has no place for them: --json leaves them to `status`. */
static enum ecode
tell_incomplete(struct cli *cli, struct session *s, struct err *e)
{
	struct incomplete_list list;
	char time[UNIT_TEXT_MAX];
	enum ecode rc = incomplete_list_load(s, &cli->arena, &list, e);

	if (rc != E_OK || (list.n == 0 && list.unreadable == 0))
		return rc;
	screen_out(&cli->screen, "not snapshots, and never to be restored (see: holdfast status):");
	for (size_t i = 0; i < list.n; i++) {
		const struct incomplete *r = &list.v[i];

		screen_out(&cli->screen, "incomplete  %s  run %s  %s  %s",
			local_text(r->started, time), cli_shown(cli, r->run_id, strlen(r->run_id)),
			cli_shown(cli, r->host.p, r->host.len),
			joined(cli, r->paths, r->path_count));
	}
	if (list.unreadable > 0)
		screen_out(&cli->screen, "incomplete  %zu records that cannot be read",
			list.unreadable);
	return E_OK;
}

static enum ecode
show(struct cli *cli, struct session *s, struct err *e)
{
	struct snapshot_list list;
	struct choice choice = { .n = 0 };
	struct drill_list drills = { .n = 0 };
	enum ecode rc = catalog_list(s, &cli->arena, &list, e);

	if (rc == E_OK)
		rc = drill_list_load(s, s->os, cli->set.state_dir, &cli->arena, &drills, e);
	if (rc == E_OK)
		rc = choose(cli, &list, &choice, e);
	choice.drills = drills;
	if (rc != E_OK && choice.n > 0 && choice.n <= cli->opt->arg_count)
		rc = incomplete_named(s, cli->opt->args[choice.n - 1], rc, e);
	if (rc == E_OK && cli->screen.json)
		rc = tell_json(cli, &choice, e);
	else if (rc == E_OK)
		tell_people(cli, &choice);
	if (rc == E_OK && !cli->screen.json && whole_list(cli->opt))
		rc = tell_incomplete(cli, s, e);
	if (rc != E_OK || list.unreadable == 0)
		return rc;
	*e = list.first_unreadable;
	err_note(e, "%zu snapshot records could not be read; the others are listed",
		list.unreadable);
	return e->code;
}

enum ecode
cmd_snapshots(struct cli *cli, struct err *e)
{
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.operation = cli_text(
		cli, "listing the snapshots of %s", cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = show(cli, &s, e);
	return job_end(&job, &s, rc, e);
}
