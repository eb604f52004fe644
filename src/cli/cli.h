/* What every command gets: the world, the words on the command line, and where to print. */
#ifndef HF_CLI_CLI_H
#define HF_CLI_CLI_H

#include "cli/env.h"
#include "cli/options.h"
#include "cli/screen.h"
#include "report/runlog.h"

#define CLI_VERSION_TEXT "holdfast " HOLDFAST_VERSION /* as it stands in snapshots and reports */
#define CLI_ARENA_BYTES  (256U << 20) /* lists of snapshots, targets and runs of one command */

struct cli {
	const struct os *os;
	const struct options *opt;
	struct settings set;
	struct arena arena; /* lives as long as the command */
	struct screen screen;
	const char *const *argv; /* without secrets */
	size_t argc;
	const char *operation;   /* what was begun, for a refusal; NULL until then */
	char run_id[RUN_ID_MAX]; /* "" without a run folder */
	const char *run_dir;
};
/* A text in the command's arena; "" when there is no memory (it is only ever shown). */
const char *cli_text(struct cli *cli, const char *fmt, ...) printf_like(2, 3);
const char *cli_id(struct cli *cli, const struct id *id);    /* 64 digits */
const char *cli_short(struct cli *cli, const struct id *id); /* 8 digits */
/* Bytes made safe for a terminal. */
const char *cli_shown(struct cli *cli, const void *p, size_t len);
/* argv as it may be written down: values of --password-command, the words of --stdin-from-command and passwords in URLs replaced. */
enum ecode cli_safe_argv(struct cli *cli, int argc, char *const argv[], struct err *e) must_check;

/* A vault's location as it may be written down: no password, and a directory from the root. */
const char *cli_safe_location(struct cli *cli, const char *location);

/* One function a command, in cmd_<name>.c.  The refusal is printed by main. */
enum ecode cmd_init(struct cli *cli, struct err *e) must_check;
enum ecode cmd_backup(struct cli *cli, struct err *e) must_check;
enum ecode cmd_preflight(struct cli *cli, struct err *e) must_check;
enum ecode cmd_snapshots(struct cli *cli, struct err *e) must_check;
enum ecode cmd_ls(struct cli *cli, struct err *e) must_check;
enum ecode cmd_restore(
	struct cli *cli, struct err *e) must_check; /* restore, restore-swap, restore-in-place */
enum ecode cmd_undo(struct cli *cli, struct err *e) must_check;
enum ecode cmd_check(struct cli *cli, struct err *e) must_check;
enum ecode cmd_verify(struct cli *cli, struct err *e) must_check;
enum ecode cmd_drill(struct cli *cli, struct err *e) must_check;
enum ecode cmd_drill_history(struct cli *cli, struct err *e) must_check;
enum ecode cmd_key_list(struct cli *cli, struct err *e) must_check;
enum ecode cmd_key_add(struct cli *cli, struct err *e) must_check;
enum ecode cmd_key_passwd(struct cli *cli, struct err *e) must_check;
enum ecode cmd_key_remove(struct cli *cli, struct err *e) must_check;
enum ecode cmd_unlock(struct cli *cli, struct err *e) must_check;
enum ecode cmd_cat(struct cli *cli, struct err *e) must_check;
enum ecode cmd_runs(struct cli *cli, struct err *e) must_check;
enum ecode cmd_status(struct cli *cli, struct err *e) must_check;
enum ecode cmd_audit_verify(struct cli *cli, struct err *e) must_check;
enum ecode cmd_audit_show(struct cli *cli, struct err *e) must_check;
enum ecode cmd_help(struct cli *cli, struct err *e) must_check;
enum ecode cmd_version(struct cli *cli, struct err *e) must_check;

#endif
