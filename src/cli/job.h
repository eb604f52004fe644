/*
 * One command at work: run folder, password, progress, problems, and the end
 * of all of them in the right order (the report is durable before success is told).
 */
#ifndef HF_CLI_JOB_H
#define HF_CLI_JOB_H

#include "cli/cli.h"
#include "cli/problems.h"
#include "cli/progress.h"
#include "engine/session.h"

#define JOB_WARNINGS_MAX 32 /* a few of each kind; all of them are in the journal */

struct job_args {
	const char *mode; /* the run report's; NULL: a command without run folder */
	bool must_report; /* writes to the vault: no run folder, no run */
	bool no_vault;    /* needs none: no E_NO_REPO */
	bool changes;     /* a vault or a destination: begin and end go into the audit log */
	enum ticker_kind kind;
	const char *operation; /* "backup of /home/ada into /mnt/vault" */
	const char *source, *target;
	const char *destination;   /* of a restore, from the root; NULL: none */
	const char *const *safety; /* NULL-terminated; may be NULL */
};
struct job {
	struct cli *cli;
	struct job_args args;
	struct run *run; /* NULL: none */
	struct progress progress;
	struct listener listener;
	struct problems problems;
	struct ticker *ticker;
	struct run_result result; /* the command fills in counts, bytes, status "dry-run" */
	const char *warnings[JOB_WARNINGS_MAX];
	bool session_open;
	char repo_id[ID_HEX_SIZE]; /* "" until it is known */
	const char *vault;         /* location without secrets; NULL: none named */
	bool audited;              /* a begin was written */
	struct audit_mark mark;    /* of the end */
};
/*
 * A run that changes something has its begin in the audit log when this returns E_OK; a restore, which must work with a
 * state directory that cannot be written, is only warned.
 * refuses: E_NO_REPO, E_USAGE (--no-lock with a command that writes), E_REPORT_WRITE, E_AUDIT_…
 */
enum ecode job_begin(
	struct job *j, struct cli *cli, const struct job_args *args, struct err *e) must_check;
/* Progress from here on. */
enum ecode job_tick(struct job *j, struct err *e) must_check;
/* Password, progress, session.  `compression` as session_args; threads: 0 means one a processor. */
struct job_open_args {
	enum session_lock lock;
	enum compression compression;
	unsigned threads;
	const char *health_dir; /* see struct session_args */
};
enum ecode job_open(struct job *j, const struct job_open_args *how, struct session *s,
	struct err *e) must_check;
/* The run's id; a new one where it has no folder, for what it keeps and records is found by it (D-6). */
enum ecode job_name(struct job *j, const char **out, struct err *e) must_check;
/* Told at once on stderr, and in the report. */
void job_warn(struct job *j, const char *text);
/* For the report only: a fact that happens every day, like a socket. */
void job_record(struct job *j, const char *text);
/* Which vault it is, when it did not come from job_open (init). */
void job_know_vault(struct job *j, const struct id *repo_id);
/* job_audit.c: begin and end of this run in the audit log; E_OK at once for runs that change nothing. */
enum ecode job_audit_begin(struct job *j, struct err *e) must_check;
enum ecode job_audit_end(struct job *j, enum ecode rc, struct err *e) must_check;
/* What failed is tried again: the lists of failures begin anew, in the report too. */
void job_restart(struct job *j);
/* For restic's `verbose_status` and -v: set before the engine is called. */
void job_want_items(struct job *j);
/*
 * Close the session (may be zeroed), stop the progress, write the report.  `rc` and `e` are the command's outcome;
 * returns what is to be told: `rc`, E_TERMINATED instead of an interruption by SIGTERM, E_REPORT_WRITE, or E_AUDIT_….
 */
enum ecode job_end(struct job *j, struct session *s, enum ecode rc, struct err *e) must_check;

#endif
