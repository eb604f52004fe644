/* What the run folder's files share.  Internal to report/. */
#ifndef HF_REPORT_RUNPARTS_H
#define HF_REPORT_RUNPARTS_H

#include <pthread.h>

#include "report/auditparts.h"
#include "report/runlog.h"

#define RUN_LISTS        4
#define RUN_INLINE_MAX   20 /* entries of a list inside the report itself; more are in its file */
#define RUN_INLINE_BYTES (1U << 20) /* of one list inside the report */
#define RUN_LINE_MAX_BYTES \
	(1U << 20) /* one journal or list line; a path is at most PATH_TEXT_MAX when escaped plainly */
#define RUN_TEXT_MAX_BYTES     (16U << 20) /* a whole report */
#define RUN_FOLDERS_MAX        100000      /* names looked at below runs/ */
#define RUN_JOURNAL_NAME       "execution_journal.jsonl"
#define RUN_REPORT_NAME        "run_report.json"
#define RUN_OWNER_NAME         "run_owner.json"
#define RUN_NAMES_ARENA_BYTES  (16U << 20) /* RUN_FOLDERS_MAX names */
#define RUN_FOLDER_ARENA_BYTES (64U << 20) /* what one report or owner record gives */

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
	int owner_fd; /* open and locked as long as the run lives */
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
/* One folder's facts; info->id is set already.  Text that cannot be read is left as it was. */
void run_read_folder(const struct os *os, int runs_fd, struct arena *a, struct run_info *info);
/* A JSON string into the arena; null leaves *out. */
bool run_take_text(struct json *j, struct arena *a, const char **out) must_check;

/* runretain.c: remove old folders so that one more fits.  What fails is left for the next time. */
void run_retain(const struct os *os, int runs_fd);

/* runowner.c */
enum ecode run_owner_write(struct run *r, struct err *e) must_check;
/* Fills life, pid and what was asked for; as far as it can be read. */
void run_owner_read(const struct os *os, int dir, struct arena *a, struct run_info *info);

#endif
