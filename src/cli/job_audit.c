/*
 * A run's two lines in the audit log.  Its begin stands before anything is
 * changed, its end before the report, which names it.  A run that must leave a
 * report must leave these too.
 */
#include <string.h>

#include "cli/job.h"

static struct audit_entry
entry_of(const struct job *j, enum audit_event event)
{
	const struct cli *cli = j->cli;

	return (struct audit_entry){ .event = event,
		.run_id = cli->run_id,
		.command = command_row(cli->opt->command)->name,
		.argv = cli->argv,
		.argc = cli->argc,
		.vault = j->vault,
		.repo_id = j->repo_id[0] == '\0' ? NULL : j->repo_id,
		.destination = j->args.destination };
}

/* What a run that may go on without is told; the first step is the log's own. */
static void
warn(struct job *j, const struct err *why)
{
	job_warn(j, cli_text(j->cli, "the audit log: %s%s%s", why->detail,
			    why->notes == 0 ? "" : "; ", why->notes == 0 ? "" : why->note[0]));
}

enum ecode
job_audit_begin(struct job *j, struct err *e)
{
	struct audit_entry entry = entry_of(j, AUDIT_BEGIN);
	struct audit_mark mark;
	struct err why;
	enum ecode rc;

	if (!j->args.changes || j->run == NULL)
		return E_OK; /* no run folder: told already, or refused */
	rc = audit_append(j->cli->os, j->cli->set.state_dir, &entry, &mark, &why);
	j->audited = rc == E_OK;
	if (rc == E_OK)
		return E_OK;
	if (!j->args.must_report) {
		warn(j, &why);
		return E_OK;
	}
	*e = why;
	err_note(e, "nothing was changed");
	return rc;
}

enum ecode
job_audit_end(struct job *j, enum ecode rc, struct err *e)
{
	struct audit_entry entry = entry_of(j, AUDIT_END);
	struct err why;
	enum ecode told;

	if (!j->audited)
		return rc;
	entry.code = rc;
	entry.snapshots = &j->result.snapshot_id;
	entry.snapshot_count = j->result.snapshot_id != NULL;
	told = audit_append(j->cli->os, j->cli->set.state_dir, &entry, &j->mark, &why);
	if (told == E_OK) {
		j->result.audit = &j->mark;
		return rc;
	}
	if (rc == E_OK && j->args.must_report) {
		*e = why;
		err_note(e, "the work itself was done");
		return told;
	}
	warn(j, &why);
	return rc;
}
