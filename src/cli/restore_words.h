/* What of which snapshot is restored, and to which places below the target: flags → struct restore_args. */
#ifndef HF_CLI_RESTORE_WORDS_H
#define HF_CLI_RESTORE_WORDS_H

#include "cli/cli.h"
#include "engine/restore.h"

struct restore_selection {
	struct instant at;
};
/* Fills snapshot, at, only, strip, moves; they live in the command's arena and in `hold`.
 * refuses: E_USAGE, E_TIME_SYNTAX, E_IO_READ, E_REPORT_READ, E_SNAPSHOT_ABSENT */
enum ecode take_selection(struct cli *cli, struct restore_selection *hold, struct restore_args *out,
	struct err *e) must_check;

#endif
