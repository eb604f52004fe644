#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define FLAG_COLUMN  34 /* where a flag's sentence begins; the longest flag is a little shorter */
#define EXIT_COLUMNS 60 /* of the list of exit classes, about */

static enum ecode
add_examples(struct buf *out, const struct command_row *row, struct err *e)
{
	enum ecode rc = buf_add_str(out, "Examples\n", e);

	for (size_t i = 0; rc == E_OK && i < EXAMPLES_MAX && row->examples[i].text != NULL; i++)
		rc = buf_printf(out, e, "  %s:\n      %s\n", row->examples[i].text,
			row->examples[i].command);
	return rc;
}

/* Characters, not bytes: "TAG[,TAG…]" */
static int
shown_width(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static enum ecode
add_flag(struct buf *out, enum flag flag, struct err *e)
{
	const struct flag_row *row = flag_row(flag);
	char head[64], letter[8] = "    ";
	int pad;

	if (row->letter != 0)
		(void)snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	(void)snprintf(head, sizeof(head), "  %s--%s%s%s", letter, row->name,
		row->value == NULL ? "" : " ", row->value == NULL ? "" : row->value);
	pad = FLAG_COLUMN - shown_width(head);
	return buf_printf(out, e, "%s%*s  %s\n", head, pad > 0 ? pad : 0, "", row->help);
}

static enum ecode
add_globals(struct buf *out, struct err *e)
{
	enum ecode rc = buf_add_str(out, "\nFlags of every command\n", e);

	for (unsigned i = 0; rc == E_OK && i < GLOBAL_FLAGS; i++)
		rc = add_flag(out, (enum flag)i, e);
	return rc;
}

/* "Exit status" in a few lines: numbers and the names of their classes. */
static enum ecode
add_exits(struct buf *out, const struct command_row *row, struct err *e)
{
	enum ecode rc = buf_printf(out, e, "\nExit status\n  0 %s", eclass_name(CLASS_SUCCESS));
	size_t column = 0;

	for (size_t i = 0; rc == E_OK && row->exits[i] != CLASS_SUCCESS; i++) {
		const char *name = eclass_name(row->exits[i]);
		bool fits = column + strlen(name) < EXIT_COLUMNS;

		column = fits ? column + strlen(name) + 6 : 0;
		rc = buf_printf(out, e, "%s%d %s", fits ? ", " : ",\n  ", (int)row->exits[i], name);
	}
	if (rc == E_OK)
		rc = buf_add_str(out, "\n", e);
	return rc;
}

enum ecode
help_command(enum command_id id, struct buf *out, struct err *e)
{
	const struct command_row *row = command_row(id);
	enum ecode rc = buf_printf(out, e, "holdfast %s - %s\n\n", row->name, row->summary);

	if (rc == E_OK)
		rc = add_examples(out, row, e);
	if (rc == E_OK)
		rc = buf_printf(out, e, "\nUsage\n  holdfast %s [FLAGS]%s%s\n", row->name,
			*row->arguments == '\0' ? "" : " ", row->arguments);
	if (rc == E_OK && row->more != NULL)
		rc = buf_printf(out, e, "\n%s\n", row->more);
	if (rc == E_OK && row->flag_count > 0)
		rc = buf_add_str(out, "\nFlags\n", e);
	for (size_t i = 0; rc == E_OK && i < row->flag_count; i++)
		rc = add_flag(out, row->flags[i], e);
	if (rc == E_OK)
		rc = add_exits(out, row, e);
	return rc == E_OK ? add_globals(out, e) : rc;
}

enum ecode
help_all(struct buf *out, struct err *e)
{
	enum ecode rc = buf_add_str(out,
		"holdfast - backups in the restic format that prove themselves\n\n"
		"Examples\n"
		"  Make a vault, save something, look, bring it back:\n"
		"      holdfast -r /mnt/disk/vault init\n"
		"      holdfast -r /mnt/disk/vault backup /home/ada\n"
		"      holdfast -r /mnt/disk/vault snapshots\n"
		"      holdfast -r /mnt/disk/vault restore latest --target /home/ada/restored\n"
		"  Prove that it is whole:\n"
		"      holdfast -r /mnt/disk/vault check --read-data\n\n"
		"Commands\n",
		e);

	for (unsigned i = 0; rc == E_OK && i < COMMANDS; i++) {
		const struct command_row *row = command_row((enum command_id)i);

		rc = buf_printf(out, e, "  %-12s %s\n", row->name, row->summary);
	}
	if (rc == E_OK)
		rc = add_globals(out, e);
	if (rc == E_OK)
		rc = buf_add_str(out,
			"\nVariables HOLDFAST_… stand for flags; RESTIC_… of the same name is accepted.\n"
			"More about one command: holdfast help COMMAND\n",
			e);
	return rc;
}

static const char *
kind_name(enum flag_kind kind)
{
	switch (kind) {
	case FLAG_SWITCH:
		return "switch";
	case FLAG_COUNTED:
		return "counted";
	case FLAG_ONE:
		return "one";
	case FLAG_MANY:
		return "many";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

static void
put_flag(struct json_out *w, enum flag flag)
{
	const struct flag_row *row = flag_row(flag);
	char letter[2] = { row->letter, '\0' };

	json_open_object(w);
	json_member_str(w, "name", row->name);
	json_member_str(w, "letter", row->letter == 0 ? NULL : letter);
	json_member_str(w, "kind", kind_name(row->kind));
	json_member_str(w, "value", row->value);
	json_member_str(w, "help", row->help);
	json_close_object(w);
}

static void
put_exit(struct json_out *w, enum eclass class)
{
	json_open_object(w);
	json_put_key(w, "exit");
	json_put_i64(w, (int64_t) class);
	json_member_str(w, "class", eclass_name(class));
	json_member_str(w, "severity", eclass_severity(class));
	json_close_object(w);
}

static void
put_exits(struct json_out *w, const struct command_row *row)
{
	json_put_key(w, "exits");
	json_open_array(w);
	put_exit(w, CLASS_SUCCESS);
	for (size_t i = 0; row->exits[i] != CLASS_SUCCESS; i++)
		put_exit(w, row->exits[i]);
	json_close_array(w);
}

static void
put_command(struct json_out *w, const struct command_row *row)
{
	json_open_object(w);
	json_member_str(w, "name", row->name);
	json_member_str(w, "arguments", row->arguments);
	json_member_str(w, "summary", row->summary);
	json_member_bool(w, "writes", row->writes);
	json_put_key(w, "examples");
	json_open_array(w);
	for (size_t i = 0; i < EXAMPLES_MAX && row->examples[i].text != NULL; i++)
		json_put_str(w, row->examples[i].command);
	json_close_array(w);
	json_put_key(w, "flags");
	json_open_array(w);
	for (size_t i = 0; i < row->flag_count; i++)
		put_flag(w, row->flags[i]);
	json_close_array(w);
	put_exits(w, row);
	json_close_object(w);
}

enum ecode
help_json(const char *version, struct buf *out, struct err *e)
{
	struct json_out w;
	enum ecode rc;

	json_begin(&w, out);
	json_open_object(&w);
	json_member_str(&w, "version", version);
	json_put_key(&w, "global_flags");
	json_open_array(&w);
	for (unsigned i = 0; i < GLOBAL_FLAGS; i++)
		put_flag(&w, (enum flag)i);
	json_close_array(&w);
	json_put_key(&w, "commands");
	json_open_array(&w);
	for (unsigned i = 0; i < COMMANDS; i++)
		put_command(&w, command_row((enum command_id)i));
	json_close_array(&w);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}
