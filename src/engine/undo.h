/*
 * Putting a safety set back (DF-15): every copy is proven first, what is there
 * now goes to a safety set of its own, then name by name, each in one step.
 * What the restore made new stays, and is listed.
 */
#ifndef HF_ENGINE_UNDO_H
#define HF_ENGINE_UNDO_H

#include "engine/safety.h"

enum undo_state {
	UNDO_SAME,    /* is as the set has it: nothing to do */
	UNDO_CHANGED, /* something else is there: it is replaced, after a copy */
	UNDO_MISSING, /* nothing is there */
	UNDO_CREATED, /* was not there before the restore: stays */
	UNDO_LOST     /* was a device or a socket, of which no copy is made: stays as it is */
};
struct undo_path {
	const struct safety_entry *entry;
	enum undo_state state;
	struct os_meta was; /* when it was copied */
};
struct undo_args {
	const char *base, *home; /* as safety_args */
	const char *set;         /* its name */
	const char *run_id;
	bool dry_run;
};
struct undo_result { /* memory is the arena's */
	struct safety_set set;
	struct undo_path *paths;
	size_t count;
	uint64_t counts[UNDO_LOST + 1];
	uint64_t put;           /* names that changed hands */
	uint64_t meta_problems; /* attributes that could not be applied */
	const char *safety;     /* the set of what was there; NULL: nothing was */
};
/* refuses: E_SAFETY_SET…, E_DEST_MISSING, E_SAFETY_COPY (all before any change), E_LIVE_CHANGED, E_NO_EXCHANGE, E_UNDO */
enum ecode undo_run(const struct os *os, const struct undo_args *args, struct arena *a,
	struct undo_result *out, struct err *e) must_check;

#endif
