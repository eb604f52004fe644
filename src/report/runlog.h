/*
 * The run folder: <state>/runs/<run_id>/ with run_owner.json (whose run it is;
 * locked by the kernel while its process lives), execution_journal.jsonl (flushed
 * line by line) and run_report.json (written atomically, last), 0700/0600.
 * run_id is "20261121T031522Z-5e0c7a11": wall clock and 32 random bits.
 */
#ifndef HF_REPORT_RUNLOG_H
#define HF_REPORT_RUNLOG_H

#include "base/arena.h"
#include "base/json.h"
#include "os/os.h"
#include "report/audit.h"
#include "report/event.h"

#define RUN_ID_MAX 32 /* NUL included */
#define RUNS_KEPT_MAX \
	200 /* folders; the oldest beyond go when a run begins, evidence later or never (runretain.c) */
#define RUNS_EVIDENCE_MAX 1000  /* folders, before killed runs and SEV-1 failures go too */
#define RUN_LIST_MAX      10000 /* lines in one artifact list; the rest is counted */

struct run;
struct run_args {
	const char *state_dir;   /* …/holdfast; made when missing */
	const char *mode;        /* "backup", "restore", "check", "init", "key" … */
	const char *const *argv; /* without secrets: the caller removed them */
	size_t argc;
	const char *version;
	const char *vault, *source, *target; /* as told to people, without secrets; NULL: none */
};
enum ecode run_open(const struct os *os, const struct run_args *args, struct run **out,
	struct err *e) must_check;
/* Does the text look like one? */
bool run_id_is_one(const char *text);
/* A fresh one: wall clock and random bits.  E_RANDOM */
enum ecode run_id_make(const struct os *os, char out[static RUN_ID_MAX], struct err *e) must_check;
const char *run_id(const struct run *r);
const char *run_dir(const struct run *r); /* absolute */
/* One journal line {ts,event,data}; keys sorted; data NULL writes {}.  Thread-safe.  A refusal sticks and shows in the report. */
void run_event(struct run *r, const char *event, const char *data_json);
/* Lists of DF-31: completed / failed / skipped / can_retry lines go to <name>.jsonl beside the report.  Thread-safe. */
enum run_list {
	RUN_FAILED,
	RUN_SKIPPED,
	RUN_CAN_RETRY,
	RUN_COMPLETED
};
void run_item(
	struct run *r, enum run_list list, const char *path, enum ecode code, const char *why);
/* The same from the engine's own record: error_type is the cause's name where it is known, else the class of the refusal. */
void run_problem(struct run *r, enum run_list list, const struct problem *p);
/* What failed is tried again from here on: failed, skipped and can_retry begin anew, `completed` stays. */
void run_lists_restart(struct run *r);

struct run_counts { /* catalogue B1 */
	uint64_t scanned_files, selected_files, uploaded_files, downloaded_files, failed_files;
	uint64_t verified_files, verify_failed_files, deleted_remote_files, retried_operations;
};
struct run_result {
	const char *
		status; /* "success", "partial", "failure", "skipped" (somebody else was at it: L-26), "dry-run" */
	const struct err *refusal;      /* NULL on success */
	const char *source, *target;    /* text or NULL */
	const char *snapshot_id;        /* or NULL */
	const char *repo_id;            /* of the vault, once it was open; or NULL */
	const struct audit_mark *audit; /* the end entry; NULL: none was written */
	struct run_counts counts;
	uint64_t bytes_read, bytes_added, bytes_stored, bytes_sent, bytes_received;
	const char *const *warnings;
	size_t warning_count;
	const char *const
		*safety_measures; /* what ran: "sealed blobs verified before storing", … */
	size_t safety_count;
};
/* Write run_report.json and close.  The folder stays.  NULL inside is fine. */
enum ecode run_finish(struct run **r, const struct run_result *result, struct err *e) must_check;
/* Without a report: for tests of crashes only. */
void run_abandon(struct run **r);

enum run_life {
	RUN_ENDED,  /* by itself: there is a report */
	RUN_LIVE,   /* proven: its process holds the lock on its owner record */
	RUN_DEAD,   /* proven: nobody holds it, and there is no report */
	RUN_UNKNOWN /* no owner record, or nobody can tell */
};
struct run_info { /* texts in the arena, NULL where unknown */
	const char *id, *mode, *failure, *started, *snapshot_id;
	const char *status; /* the report's; without one "running" or "unfinished" */
	int exit_code;
	uint64_t duration_ms;
	enum run_life life;
	const char *severity, *what, *why; /* of the refusal */
	uint64_t code;
	const char *vault, *repo_id, *source, *target;
	struct audit_mark audit; /* seq 0: none */
	int64_t pid;             /* what follows only without a report */
	const char *cwd;
	const char **argv;
	size_t argc;
};
/* Newest first. */
enum ecode run_list_all(const struct os *os, const char *state_dir, struct arena *a,
	struct run_info **out, size_t *n, struct err *e) must_check;

/* The refusal record of refusals.md as a JSON object (also used on stderr with --json and inside the report). */
void refusal_json(struct json_out *w, const struct err *e, const char *run_id);

#endif
