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
	enum ticker_kind kind;
	const char *operation; /* "backup of /home/ada into /mnt/vault" */
	const char *source, *target;
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
};
/* refuses: E_NO_REPO, E_USAGE (--no-lock with a command that writes), E_REPORT_WRITE */
enum ecode job_begin(
	struct job *j, struct cli *cli, const struct job_args *args, struct err *e) must_check;
/* Progress from here on. */
enum ecode job_tick(struct job *j, struct err *e) must_check;
/* Password, progress, session.  `compression` as session_args; threads: 0 means one a processor. */
struct job_open_args {
	enum session_lock lock;
	enum compression compression;
	unsigned threads;
};
enum ecode job_open(struct job *j, const struct job_open_args *how, struct session *s,
	struct err *e) must_check;
/* Told at once on stderr, and in the report. */
void job_warn(struct job *j, const char *text);
/* For the report only: a fact that happens every day, like a socket. */
void job_record(struct job *j, const char *text);
/* For restic's `verbose_status` and -v: set before the engine is called. */
void job_want_items(struct job *j);
/*
 * Close the session (may be zeroed), stop the progress, write the report.  `rc` and `e` are the command's outcome;
 * returns what is to be told: `rc`, E_TERMINATED instead of an interruption by SIGTERM, or E_REPORT_WRITE.
 */
enum ecode job_end(struct job *j, struct session *s, enum ecode rc, struct err *e) must_check;

#endif
