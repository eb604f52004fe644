/* What the run folder's files share.  Internal to report/. */
#ifndef HF_REPORT_RUNPARTS_H
#define HF_REPORT_RUNPARTS_H

#include <pthread.h>

#include "report/runlog.h"

#define RUN_LISTS        4
#define RUN_INLINE_MAX   20 /* entries of a list inside the report itself; more are in its file */
#define RUN_INLINE_BYTES (1U << 20) /* of one list inside the report */
#define RUN_LINE_MAX_BYTES \
	(1U << 20) /* one journal or list line; a path is at most PATH_TEXT_MAX when escaped plainly */
#define RUN_TEXT_MAX_BYTES (16U << 20) /* a whole report */
#define RUN_FOLDERS_MAX    100000      /* names looked at below runs/ */
#define RUN_JOURNAL_NAME   "execution_journal.jsonl"
#define RUN_REPORT_NAME    "run_report.json"

struct roll {   /* one list of DF-31 */
	int fd; /* -1: not made yet */
	uint64_t total;
	uint64_t listed; /* lines in the file */
	unsigned inlined;
	struct buf head; /* the first entries, comma-separated */
};
struct run {
	const struct os *os;
	struct arena arena; /* everything run_args names */
	struct run_args args;
	char id[RUN_ID_MAX];
	const char *dir;
	int dir_fd, journal_fd;
	struct instant started;
	uint64_t started_ns;  /* monotonic */
	pthread_mutex_t lock; /* over everything below */
	struct err trouble;   /* first refusal while writing journal or lists; E_OK: none */
	struct roll roll[RUN_LISTS];
};

const char *run_list_name(enum run_list list); /* "failed" */

/* runrecord.c: the text of run_report.json */
enum ecode run_record(
	struct run *r, const struct run_result *result, struct buf *out, struct err *e) must_check;

/* runlist.c: names of run folders below an open runs/ directory, ascending; foreign names are skipped */
enum ecode run_names(const struct os *os, int runs_fd, struct arena *a, const char ***out,
	size_t *n, struct err *e) must_check;
/* Remove the oldest folders so that one more fits into RUNS_KEPT_MAX.  What fails is left for the next time. */
void run_retain(const struct os *os, int runs_fd, struct arena *a);

#endif
