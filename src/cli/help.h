/* Help made from the table: examples first. */
#ifndef HF_CLI_HELP_H
#define HF_CLI_HELP_H

#include "base/buf.h"
#include "cli/options.h"

#define HELP_MAX_BYTES (256U << 10)
enum ecode help_all(struct buf *out, struct err *e) must_check;
enum ecode help_command(enum command_id id, struct buf *out, struct err *e) must_check;
/* Everything the table has, as one JSON document: for shells, tests and the man page. */
enum ecode help_json(const char *version, struct buf *out, struct err *e) must_check;

#endif
