/*
 * A store for tests, around another one: counts calls, refuses the n-th, cuts
 * or falsifies what is read, loses acknowledgements, lists the past.
 * Close it with store_close(): that closes what is under it, too.
 */
#ifndef HF_TESTS_FAULT_STORE_H
#define HF_TESTS_FAULT_STORE_H

#include <pthread.h>

#include "store/store.h"

enum store_op {
	OP_PUT,
	OP_GET,
	OP_STAT,
	OP_LIST,
	OP_ERASE,
	OP_PREPARE,
	OP_NOTE_PUT,
	OP_NOTE_GET,
	OP_NOTE_LIST,
	OP_NOTE_ERASE,
	OP_PROBE
};
#define OP_COUNT   11
#define OP_BIT(op) (1U << (op))
#define KIND_NOTE  O_KINDS /* notes and the probe are of no kind */

enum fault_store_mode {
	STORE_REFUSE,   /* nothing happens; the plan's code */
	STORE_LOSE_ACK, /* put, erase, also of notes: it happens, and the plan's code is given */
	STORE_CUT, /* get: half of the bytes, called E_OK; list: half of the entries, called E_OK */
	STORE_CUT_LIST, /* list: half of the entries are told, then the plan's code */
	STORE_FLIP,     /* get, also of a note: one bit is wrong, called E_OK */
};

struct fault_store_plan {
	unsigned long nth; /* from 1, among eligible calls; 0: nothing happens */
	bool forever;
	enum fault_store_mode mode;
	enum ecode code;
	unsigned ops;   /* OP_BIT; 0: all the mode can act on */
	unsigned kinds; /* bit per enum okind, KIND_NOTE; 0: all */
};

struct fault_store {
	struct store st; /* first; give &f->st away */
	struct store *under;
	pthread_mutex_t lock;
	struct fault_store_plan plan;
	unsigned long calls, op_calls[OP_COUNT], eligible, fired;
	/*
	 * Stale listings: from fault_store_freeze() on, list shows the objects of
	 * that moment: put ones are hidden, erased ones still shown.
	 */
	bool frozen;
	struct store_listing past[O_KINDS];
};

/* Takes `under` over.  Aborts when memory is missing. */
struct fault_store *fault_store_open(struct store *under);
void fault_store_set_plan(
	struct fault_store *f, struct fault_store_plan plan); /* counts from zero */
void fault_store_freeze(struct fault_store *f);
void fault_store_thaw(struct fault_store *f);

#endif
