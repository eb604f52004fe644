/* What the command line of a backup says; preflight is asked with the same words. */
#ifndef HF_CLI_BACKUP_WORDS_H
#define HF_CLI_BACKUP_WORDS_H

#include "cli/cli.h"
#include "cli/targets.h"
#include "engine/backup.h"

struct backup_words { /* everything the command line said */
	struct backup_args args;
	struct targets targets;
	struct rules *excludes;
	struct exclude_if_present *marks;
	enum compression compression;
	unsigned threads;
};
/* Lives as long as `cli` and `w`.  E_USAGE, E_SRC_NONE, E_PATTERN, those of reading lists */
enum ecode backup_words_take(struct cli *cli, struct backup_words *w, struct err *e) must_check;
void backup_words_done(struct backup_words *w);
/* "/home/ada and 2 more" */
const char *backup_words_source(struct cli *cli, const struct backup_words *w);

#endif
