/*
 * Problems of single paths, told so that a person can read them: the first few
 * of each kind as they happen, the rest as one line a kind at the end.  With --json
 * every one is an `error` line (format document 12.4).  Any thread.
 */
#ifndef HF_CLI_PROBLEMS_H
#define HF_CLI_PROBLEMS_H

#include "cli/screen.h"
#include "report/event.h"

#define PROBLEM_GROUPS_MAX 32 /* kinds; what exceeds them is counted together */
#define PROBLEM_SHOWN_MAX  5  /* lines of one kind while working */
#define PROBLEM_LINES_MAX  25 /* of all kinds together (DV-25); the run folder has them all */

struct problem_group {
	enum ecode code;
	enum cause cause;
	uint64_t count, shown;
};
struct problems {
	struct screen *screen;
	pthread_mutex_t lock;
	struct problem_group group[PROBLEM_GROUPS_MAX];
	unsigned groups, shown;
	uint64_t total, other; /* other: of kinds beyond the last group */
};
void problems_init(struct problems *p, struct screen *screen);
void problems_add(struct problems *p, const struct problem *what);
void problems_end(struct problems *p);
/* What failed is tried again: counts begin anew, what was shown stays shown. */
void problems_restart(struct problems *p);

#endif
