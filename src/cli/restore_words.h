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

/*
 * --resume RUN: the run's record of this machine, or --target, says where its stage is; the stage's plan says the rest.
 * refuses: E_USAGE, E_REPORT_READ, E_RESUME_STAGE
 */
enum ecode take_resume(struct cli *cli, struct restore_approval *hold, struct restore_args *out,
	struct err *e) must_check;

#endif
