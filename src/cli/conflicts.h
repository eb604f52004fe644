/* --tree and --on-conflict: what a restore does about what is there. */
#ifndef HF_CLI_CONFLICTS_H
#define HF_CLI_CONFLICTS_H

#include "cli/cli.h"
#include "engine/restore.h"

/* Fills tree, choices, choice_rules and ask; *hold is closed by the caller.  E_USAGE, E_PATTERN */
enum ecode conflicts_take(
	struct cli *cli, struct rules **hold, struct restore_args *out, struct err *e) must_check;

#endif
