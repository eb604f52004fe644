/* The refusal record for people (refusals.md), and the last line on stderr with --json. */
#ifndef HF_CLI_REFUSAL_H
#define HF_CLI_REFUSAL_H

#include "base/buf.h"

struct refusal_place {
	const char *operation;        /* "restore of latest into /x"; NULL: nothing was begun */
	const char *run_id, *run_dir; /* NULL: no run folder */
	const char *help; /* "holdfast help backup": a further step for usage errors; NULL: none */
};
#define REFUSAL_MAX_BYTES (64U << 10)
/* Text; ends in a newline. */
enum ecode refusal_text(const struct err *why, const struct refusal_place *place, struct buf *out,
	struct err *e) must_check;
/* {"message_type":"exit_error","code":…,"message":…,"refusal":{…}} and a newline */
enum ecode refusal_line(const struct err *why, const struct refusal_place *place, struct buf *out,
	struct err *e) must_check;

#endif
