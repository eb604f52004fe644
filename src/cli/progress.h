/*
 * A thread that looks at the counters and tells how far the work is: a redrawn
 * line on a terminal, a line a minute elsewhere, `status` lines with --json, and
 * one line for every SIGUSR1.  The engine never waits for it.
 */
#ifndef HF_CLI_PROGRESS_H
#define HF_CLI_PROGRESS_H

#include "cli/screen.h"
#include "os/os.h"
#include "report/event.h"

enum ticker_kind {
	TICKER_BACKUP,
	TICKER_RESTORE,
	TICKER_OTHER
}; /* whose JSON status fields; OTHER has none */
struct ticker;
struct ticker_args {
	const struct os *os;
	struct screen *screen;
	struct progress *progress;
	enum ticker_kind kind;
	double frames_per_s; /* 0: default */
};
/* The first line is printed before this returns. */
enum ecode ticker_open(
	const struct ticker_args *args, struct ticker **out, struct err *e) must_check;
/* Ends the thread at once and takes the line away.  NULL inside is fine. */
void ticker_close(struct ticker **t);

struct pace { /* what the line is made of; a struct so that tests can see it */
	enum phase phase;
	bool totals_final;
	uint64_t elapsed_s;
	uint64_t done_items, total_items, done_bytes, total_bytes, problems;
};
#define PACE_TEXT_MAX 256
/* "[2/3] working  1:02  50.0%  ETA 1:02  1 problem  120/300 items  1.0 MiB/2.0 MiB  1/s  16.5 KiB/s" */
const char *pace_text(
	enum ticker_kind kind, const struct pace *pace, char out[static PACE_TEXT_MAX]);
/* The `status` object of format document 12.4, with its newline; nothing for TICKER_OTHER. */
enum ecode pace_json(
	enum ticker_kind kind, const struct pace *pace, struct buf *out, struct err *e) must_check;

#endif
