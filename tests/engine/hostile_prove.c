/* The verbs that prove a snapshot, or find what is wrong with it: verify, drill, check. */
#include "engine/hostile_run.h"

#include <unistd.h>

#include "engine/check.h"
#include "engine/drill.h"
#include "engine/verify.h"

/* What is no good for a restore is no good for those who prove one. */
enum ecode
hostile_of_verify(const struct hostile *h)
{
	if (h->want == E_DEST_SPACE)
		return E_OK; /* what is too much for the place is no fault of the vault */
	if (h->verify != E_OK)
		return h->verify;
	return h->want == E_RESTORE_DAMAGED || h->want == E_PATH_UNSAFE || h->want == E_LIMIT
		       ? E_VERIFY_FAILED
		       : h->want;
}

static enum ecode
of_drill(const struct hostile *h)
{
	if ((h->flags & H_TIMES) != 0)
		return E_BUG; /* any answer */
	if (h->drill != E_OK)
		return h->drill;
	return h->want == E_RESTORE_DAMAGED || h->want == E_PATH_UNSAFE || h->want == E_LIMIT
		       ? E_DRILL_FAILED
		       : h->want;
}

void
hostile_run_verify(struct row *r, const char *name, const char *against, enum ecode wanted)
{
	static unsigned count;
	char reports[400], *before = hostile_census(r);
	struct verify_result out;
	struct session s;
	enum ecode rc;
	bool ok;

	(void)snprintf(reports, sizeof(reports), "%s/reports-%u", r->state, count++);
	struct verify_args args = { .snapshot = "latest",
		.level = MATCH_HASHES,
		.run_id = "h-verify",
		.against = against,
		.reports = reports };
	heard_init(&r->f.h);
	memset(&r->f.e, 0, sizeof(r->f.e));
	open_session(
		&s, os_posix(), r->f.vault, TEST_PASSWORD, r->f.threads, SESSION_NO_LOCK, &r->f.h);
	rc = verify_run(&s, &args, &out, &r->f.e);
	session_abandon(&s);
	ok = hostile_judge_code(r, name, rc, wanted);
	if ((r->h->flags & H_ANY) != 0 && ok != r->restored)
		hostile_blame(r, name, "not as restore", err_row(rc)->name, NULL);
	hostile_judge_census(r, name, before, true);
	free(before);
}

void
hostile_run_drill(struct row *r)
{
	struct drill_args args = { .snapshot = "latest",
		.parent = r->tmp,
		.run_id = "h-drill",
		.state_dir = r->state,
		.kind = DRILL_FULL };
	char *before = hostile_census(r);
	struct drill_result out;
	struct session s;
	enum ecode rc;
	bool ok;

	heard_init(&r->f.h);
	memset(&r->f.e, 0, sizeof(r->f.e));
	open_session(
		&s, os_posix(), r->f.vault, TEST_PASSWORD, r->f.threads, SESSION_NO_LOCK, &r->f.h);
	rc = drill_run(&s, &args, &out, &r->f.e);
	session_abandon(&s);
	ok = hostile_judge_code(r, "drill", rc, of_drill(r->h));
	if (!ok && rc != r->h->drill && r->f.e.code == E_OK)
		hostile_blame(r, "drill", "refusal without a story", err_row(rc)->name, NULL);
	if ((r->h->flags & H_ANY) != 0 && ok != r->restored)
		hostile_blame(r, "drill", "not as restore", err_row(rc)->name, NULL);
	hostile_judge_census(r, "drill", before, true);
	drill_result_done(&out);
	free(before);
}

/* ---- check ---- */

static enum ecode
of_check(const struct hostile *h, bool read)
{
	if (h->check != E_OK && !read)
		return h->check;
	if (h->read != E_OK && read)
		return h->read;
	if (h->want == E_OK || h->want == E_INDEX_FORMAT || (h->flags & H_SOUND) != 0)
		return h->want == E_INDEX_FORMAT ? E_INDEX_FORMAT : E_OK;
	return !read && (h->flags & H_PLANNED) != 0 ? E_OK : E_CHECK_FAILED;
}

static void
count_finding(void *arg, const struct check_finding *finding)
{
	_Atomic unsigned *n = arg;

	*n += !finding->hint;
}

void
hostile_run_check(struct row *r, bool read)
{
	struct check_args args = { .read = read ? CHECK_READ_ALL : CHECK_READ_NONE };
	char *before = hostile_census(r);
	_Atomic unsigned findings = 0;
	const char *name = read ? "check --read-data" : "check";
	struct check_result out;
	struct session s;
	enum ecode rc;

	heard_init(&r->f.h);
	memset(&r->f.e, 0, sizeof(r->f.e));
	open_session(
		&s, os_posix(), r->f.vault, TEST_PASSWORD, r->f.threads, SESSION_NO_LOCK, &r->f.h);
	rc = check_run(&s, &args, count_finding, &findings, &out, &r->f.e);
	session_abandon(&s);
	check_result_done(&out);
	if (!hostile_judge_code(r, name, rc, of_check(r->h, read)) && findings == 0)
		hostile_blame(r, name, "refusal without a finding", err_row(rc)->name, NULL);
	hostile_judge_census(r, name, before, true);
	free(before);
}

enum ecode
hostile_of_against(const struct row *r)
{
	const struct hostile *h = r->h;

	bool lacks = h->drill == E_DRILL_UNKNOWN && h->nodes != NULL && *h->nodes != '!';

	if ((h->flags & H_TIMES) != 0)
		return E_BUG;
	if (h->want == E_DEST_SPACE)
		return E_VERIFY_DIFFERS;
	if (h->want == E_OK)
		return lacks || h->drill == E_DRILL_FAILED ? E_VERIFY_DIFFERS : E_OK;
	return hostile_of_verify(h) == E_VERIFY_FAILED ? E_VERIFY_DIFFERS : hostile_of_verify(h);
}
