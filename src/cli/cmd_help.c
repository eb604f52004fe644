/* help and version. */
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/help.h"

#define LINE_MAX_BYTES 4096

/* "holdfast help key": every command of the group */
static enum ecode
help_group(const char *group, struct buf *out, struct err *e)
{
	size_t len = strlen(group);
	bool found = false;
	enum ecode rc = E_OK;

	for (unsigned i = 0; rc == E_OK && i < COMMANDS; i++) {
		const char *name = command_row((enum command_id)i)->name;

		if (strncmp(name, group, len) != 0 || name[len] != ' ')
			continue;
		rc = found ? buf_add_str(out, "\n", e) : E_OK;
		if (rc == E_OK)
			rc = help_command((enum command_id)i, out, e);
		found = true;
	}
	if (rc == E_OK && !found)
		rc = err_set(e, E_USAGE, 0, "there is no command \"%s\"", group);
	return rc;
}

enum ecode
cmd_help(struct cli *cli, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(HELP_MAX_BYTES);
	const struct options *o = cli->opt;
	bool asked = o->has_command && o->command != CMD_HELP; /* COMMAND --help */
	enum command_id id;
	enum ecode rc;

	if (cli->screen.json)
		rc = help_json(HOLDFAST_VERSION, &out, e);
	else if (asked)
		rc = help_command(o->command, &out, e);
	else if (o->arg_count == 0)
		rc = help_all(&out, e);
	else if (command_find(o->args, o->arg_count, &id) > 0)
		rc = help_command(id, &out, e);
	else
		rc = help_group(o->args[0], &out, e);
	if (rc == E_OK)
		screen_out_bytes(&cli->screen, out.p, out.len);
	return rc;
}

enum ecode
cmd_version(struct cli *cli, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(LINE_MAX_BYTES);
	struct json_out w;

	if (!cli->screen.json) {
		screen_out(&cli->screen, "%s", CLI_VERSION_TEXT);
		return E_OK;
	}
	json_begin(&w, &out);
	json_open_object(&w);
	json_member_str(&w, "message_type", "version");
	json_member_str(&w, "version", HOLDFAST_VERSION);
	json_member_str(&w, "program", "holdfast");
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}
