/* The recovery question on a terminal (DF-33): Retry failed, Skip & continue, Abort. */
#ifndef HF_CLI_RECOVER_H
#define HF_CLI_RECOVER_H

#include "cli/job.h"
#include "engine/backup.h"

/* Somebody sits there: stdin and stderr are terminals, and neither --json nor --quiet was given. */
bool recover_possible(const struct cli *cli);
/* For backup_args.recover; `arg` is the struct job.  End of input, and any answer that is none, mean Abort. */
enum recover_answer recover_dialog(void *arg, const struct recover_question *q);

#endif
