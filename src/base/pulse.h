/*
 * A thread that calls a function again and again until it is stopped, and
 * sleeps in between.  It takes no signals: they are for the thread that knows
 * what to do with them.
 */
#ifndef HF_BASE_PULSE_H
#define HF_BASE_PULSE_H

#include "base/err.h"

struct pulse;

/*
 * The first beat comes at once.  A beat returns when the next one is due, in ns
 * of the monotonic clock; a time that is past means at once.
 * refuses: E_NOMEM (also when the system gives no thread)
 */
enum ecode pulse_start(
	struct pulse **out, uint64_t (*beat)(void *arg), void *arg, struct err *e) must_check;
/* Waits for a beat in progress; no other follows.  NULL is fine. */
void pulse_stop(struct pulse **p);

#endif
