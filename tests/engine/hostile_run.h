/* Between hostile_run.c, which restores, and hostile_prove.c, which only looks. */
#ifndef HF_TESTS_HOSTILE_RUN_H
#define HF_TESTS_HOSTILE_RUN_H

#include "engine/hostile.h"

struct row {
	const struct hostile *h;
	struct fix f;
	char around[300], sets[300], tmp[300], state[300], plan[320];
	char run[32], previous[400];
	struct rules *all;
	unsigned tried, failed;
	double began;  /* monotonic, seconds */
	bool restored; /* the verb "restore" was E_OK */
	char *last;    /* the latest census with the destination, until something is made there */
};

void hostile_blame(
	struct row *r, const char *verb, const char *what, const char *got, const char *wanted);
/* Was it fine?  Whether it should have been is judged. */
bool hostile_judge_code(struct row *r, const char *verb, enum ecode got, enum ecode wanted);
/* For a verb that changes nothing: how things are, as the one before told it.  The caller frees. */
char *hostile_census(struct row *r);
void hostile_judge_census(struct row *r, const char *verb, const char *before, bool with_dest);

/* hostile_prove.c */
enum ecode hostile_of_verify(const struct hostile *h);
enum ecode hostile_of_against(const struct row *r);
void hostile_run_verify(struct row *r, const char *name, const char *against, enum ecode wanted);
void hostile_run_drill(struct row *r);
void hostile_run_check(struct row *r, bool read);

#endif
