#include "engine/verify.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/catalog.h"
#include "engine/inspect.h"
#include "engine/restore_internal.h"
#include "engine/verify_report.h"

/* Snapshot records of a whole vault: a million of 1 KiB. */
#define RECORDS_ARENA_BYTES ((size_t)1 << 30)

struct verifying {
	struct verify_report report;
	struct verify_result *out;
};

static void
verifying_done(struct verifying *v)
{
	verify_report_done(&v->report);
}

const char *
verify_text(const struct verify_result *r, char out[static VERIFY_TEXT_BYTES])
{
	(void)snprintf(out, VERIFY_TEXT_BYTES, "%" PRIu64 " file%s verified, %" PRIu64 " failed",
		r->files_ok, r->files_ok == 1 ? "" : "s", r->failed);
	return out;
}

static enum ecode
on_record(void *arg, const struct match_record *r, struct err *e)
{
	struct verifying *v = arg;
	bool file = r->node != NULL && r->node->type == NODE_FILE;

	v->out->files_ok += file && r->status == MATCH_OK;
	v->out->failed += r->status != MATCH_OK;
	return verify_report_put(&v->report, r, e);
}

/* DF-24: of how many is known when the snapshot says it and all of it is looked at; the count is what it says, no promise. */
static void
expect_totals(struct session *s, const struct snapshot *snap)
{
	const struct snapshot_summary *sum = &snap->summary;
	struct progress *p = s->listener->progress;

	if (!snap->has_summary)
		return;
	atomic_store(&p->total_items, sum->total_files_processed + sum->dirs_new +
					      sum->dirs_changed + sum->dirs_unmodified);
	atomic_store(&p->total_bytes, sum->total_bytes_processed);
	atomic_store(&p->totals_final, true);
}

static enum ecode
choose(struct session *s, const struct verify_args *args, struct verify_result *out,
	struct id *tree, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(RECORDS_ARENA_BYTES);
	const struct snapshot *snap;
	const char *sub;
	enum ecode rc = catalog_choose(s, args->filter, args->snapshot, &a, &snap, &sub, e);

	if (rc == E_OK)
		rc = session_load_index(s, e);
	if (rc != E_OK)
		return rc;
	out->snapshot_id = snap->id;
	out->time = snap->time;
	*tree = snap->tree;
	if (sub == NULL)
		expect_totals(s, snap);
	return sub == NULL ? E_OK : inspect_subtree(s, &snap->tree, sub, tree, e);
}

static enum ecode
judge(const struct verify_args *args, const struct verify_result *r, struct err *e)
{
	char text[VERIFY_TEXT_BYTES];

	if (r->failed == 0)
		return E_OK;
	return err_set(e, args->against == NULL ? E_VERIFY_FAILED : E_VERIFY_DIFFERS, 0, "%s",
		verify_text(r, text));
}

/* The reports are finished for every end; the first refusal is told. */
static enum ecode
close_report(struct verifying *v, enum ecode rc, struct err *e)
{
	struct err late = { .code = E_OK };
	enum ecode got = verify_report_close(&v->report, rc, &late);

	if (rc == E_OK && got != E_OK) {
		*e = late;
		return got;
	}
	if (got != E_OK)
		err_note(e, "the reports could not be finished: %.150s", late.detail);
	return rc;
}

enum ecode
verify_run(
	struct session *s, const struct verify_args *args, struct verify_result *out, struct err *e)
{
	autoclean(verifying_done) struct verifying v = { .out = out };
	struct id tree;
	struct match_args match = {
		.tree = &tree,
		.dir = args->against,
		.level = args->level,
		.privileged = true, /* nothing is made here: an owner is as recorded or it is not */
		.own = ARTIFACTS_DIR,
		.each = on_record,
		.arg = &v,
	};
	enum ecode rc;

	*out = (struct verify_result){ .failed = 0 };
	rc = choose(s, args, out, &tree, e);
	if (rc == E_OK)
		rc = verify_report_open(&v.report, s, args, out, e);
	if (rc != E_OK)
		return rc;
	rc = match_run(s, &match, &out->counts, e);
	if (rc == E_OK)
		rc = judge(args, out, e);
	return close_report(&v, rc, e);
}
