/*
 * The only real entry: the kernel's table, signals, the words on the command
 * line, one command, one exit code.  A refusal is printed here and nowhere else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/refusal.h"
#include "cli/signals.h"
#include "crypto/secret.h"

static enum ecode
run_command(struct cli *cli, struct err *e)
{
	switch (cli->opt->command) {
	case CMD_INIT:
		return cmd_init(cli, e);
	case CMD_BACKUP:
		return cmd_backup(cli, e);
	case CMD_PREFLIGHT:
		return cmd_preflight(cli, e);
	case CMD_SNAPSHOTS:
		return cmd_snapshots(cli, e);
	case CMD_LS:
		return cmd_ls(cli, e);
	case CMD_RESTORE:
	case CMD_RESTORE_SWAP:
	case CMD_RESTORE_IN_PLACE:
		return cmd_restore(cli, e);
	case CMD_RESTORE_UNDO:
		return cmd_undo(cli, e);
	case CMD_CHECK:
		return cmd_check(cli, e);
	case CMD_VERIFY:
		return cmd_verify(cli, e);
	case CMD_DRILL_HISTORY:
		return cmd_drill_history(cli, e);
	case CMD_DRILL:
		return cmd_drill(cli, e);
	case CMD_KEY_LIST:
		return cmd_key_list(cli, e);
	case CMD_KEY_ADD:
		return cmd_key_add(cli, e);
	case CMD_KEY_PASSWD:
		return cmd_key_passwd(cli, e);
	case CMD_KEY_REMOVE:
		return cmd_key_remove(cli, e);
	case CMD_UNLOCK:
		return cmd_unlock(cli, e);
	case CMD_CAT:
		return cmd_cat(cli, e);
	case CMD_RUNS:
		return cmd_runs(cli, e);
	case CMD_STATUS:
		return cmd_status(cli, e);
	case CMD_AUDIT_VERIFY:
		return cmd_audit_verify(cli, e);
	case CMD_AUDIT_SHOW:
		return cmd_audit_show(cli, e);
	case CMD_HELP:
		return cmd_help(cli, e);
	case CMD_VERSION:
		return cmd_version(cli, e);
	}
	return err_set(e, E_BUG, 0, "command %d", (int)cli->opt->command);
}

static enum ecode
dispatch(struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;
	enum ecode rc;

	if (flag_given(o, FLAG_HELP))
		return cmd_help(cli, e);
	if (flag_given(o, FLAG_VERSION) || (o->has_command && o->command == CMD_VERSION))
		return cmd_version(cli, e);
	if (o->has_command && o->command == CMD_HELP)
		return cmd_help(cli, e);
	if (!o->has_command)
		return err_set(e, E_USAGE, 0, "no command was given");
	rc = env_settings(cli->os, o, getenv, &cli->arena, &cli->set, e);
	return rc == E_OK ? run_command(cli, e) : rc;
}

static bool
has_word(int argc, char *const argv[], const char *word)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], word) == 0)
			return true;
	}
	return false;
}

static void
tell_refusal(struct cli *cli, const struct err *why)
{
	autoclean(buf_done) struct buf text = buf_limit(REFUSAL_MAX_BYTES);
	struct refusal_place place = { .operation = cli->operation,
		.run_id = cli->run_id[0] == '\0' ? NULL : cli->run_id,
		.run_dir = cli->run_dir };
	struct err ignored;
	enum ecode rc;

	if (why->code == E_USAGE)
		place.help = cli->opt->has_command ? cli_text(cli, "holdfast help %s",
							     command_row(cli->opt->command)->name)
						   : "holdfast help";
	rc = cli->screen.json ? refusal_line(why, &place, &text, &ignored)
			      : refusal_text(why, &place, &text, &ignored);
	if (rc == E_OK)
		screen_err_bytes(&cli->screen, text.p, text.len);
	else
		screen_err(&cli->screen, "refused: %s", err_row(why->code)->what);
}

static void
screen_words(struct cli *cli)
{
	cli->screen.quiet = flag_given(cli->opt, FLAG_QUIET);
	cli->screen.verbose = cli->screen.quiet ? 0 : cli->opt->flags[FLAG_VERBOSE].count;
}

int
main(int argc, char *argv[])
{
	struct options opt = { .has_command = false };
	struct cli cli = { .os = os_posix(), .opt = &opt, .arena = arena_limit(CLI_ARENA_BYTES) };
	struct err e, flush;
	enum ecode rc;

	secret_harden_process();
	signals_install();
	screen_init(&cli.screen);
	cli.screen.json = has_word(argc, argv, "--json"); /* also for refusals of the parser */
	rc = options_parse(argc, argv, &cli.arena, &opt, &e);
	if (rc == E_OK) {
		cli.screen.json = flag_given(&opt, FLAG_JSON);
		screen_words(&cli);
		rc = cli_safe_argv(&cli, argc, argv, &e);
	}
	if (rc == E_OK)
		rc = dispatch(&cli, &e);
	if (screen_flush(&cli.screen, &flush) != E_OK && rc == E_OK) {
		rc = flush.code;
		e = flush;
	}
	/* a reader that has seen enough ("| head") need not be told */
	if (rc != E_OK && !(rc == E_OUTPUT && e.sys == EPIPE))
		tell_refusal(&cli, &e);
	arena_done(&cli.arena);
	return rc == E_OK ? 0 : (int)err_row(rc)->class;
}
