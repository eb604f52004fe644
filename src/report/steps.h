/*
 * The `next` of an err.def row as a checklist: one step a sentence, in the
 * row's order, which is safest first; and the command inside a step when it can be
 * typed as it stands (no SNAPSHOT or PATH left to fill in).  Pure text.
 */
#ifndef HF_REPORT_STEPS_H
#define HF_REPORT_STEPS_H

#include "base/defs.h"

#define STEPS_MAX 6 /* the longest row has 3; a checklist of more is not read */

struct step {
	struct slice text;    /* "Run: holdfast check --read-data" */
	struct slice command; /* "holdfast check --read-data"; empty: none */
};
/* How many steps; slices point into `next`.  What exceeds STEPS_MAX stays in the last one. */
size_t steps_of(const char *next, struct step out[static STEPS_MAX]);
/* The next blank-separated word of *rest; false at the end. */
bool steps_word(struct slice *rest, struct slice *word) must_check;

#endif
