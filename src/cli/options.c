#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

#define LEVEL_MAX 9 /* -v more often than this changes nothing */

struct parse {
	char *const *argv;
	size_t argc, at;
	struct arena *arena;
	struct options *out;
	const char *group; /* "key" or "audit", waiting for its second word */
	bool only_args;    /* after "--" */
};

static bool
flag_belongs(const struct options *o, enum flag flag)
{
	const struct command_row *row;

	if (flag < GLOBAL_FLAGS)
		return true;
	if (!o->has_command)
		return false;
	row = command_row(o->command);
	for (size_t i = 0; i < row->flag_count; i++) {
		if (row->flags[i] == flag)
			return true;
	}
	return false;
}

static enum ecode
unknown_flag(const struct parse *p, const char *name, size_t len, struct err *e)
{
	const char *words[FLAGS], *near;
	char typed[64];
	size_t n = 0;

	for (unsigned i = 0; i < FLAGS; i++) {
		if (flag_belongs(p->out, (enum flag)i))
			words[n++] = flag_row((enum flag)i)->name;
	}
	if (len >= sizeof(typed))
		len = sizeof(typed) - 1;
	memcpy(typed, name, len);
	typed[len] = '\0';
	near = nearest_word(typed, words, n);
	if (near == NULL)
		return err_set(e, E_USAGE, 0, "there is no flag --%s%s%s", typed,
			p->out->has_command ? " for " : "",
			p->out->has_command ? command_row(p->out->command)->name : "");
	return err_set(
		e, E_USAGE, 0, "there is no flag --%s; the nearest one is --%s", typed, near);
}

static enum ecode
add_value(struct parse *p, enum flag flag, const char *value, struct err *e)
{
	struct flag_value *v = &p->out->flags[flag];
	void *room;
	enum ecode rc = E_OK;

	if (v->v == NULL) {
		rc = arena_alloc(p->arena, p->argc * sizeof(char *), &room, e);
		if (rc == E_OK)
			v->v = room;
	}
	if (rc != E_OK)
		return rc;
	v->v[v->n] = value;
	v->n++;
	v->count++;
	return E_OK;
}

static enum ecode
set_switch(struct parse *p, enum flag flag, const char *value, struct err *e)
{
	struct flag_value *v = &p->out->flags[flag];

	if (value == NULL || strcmp(value, "true") == 0)
		v->count = 1;
	else if (strcmp(value, "false") == 0)
		v->count = 0;
	else
		return err_set(e, E_USAGE, 0, "--%s is given or not; it takes no value",
			flag_row(flag)->name);
	return E_OK;
}

static enum ecode
set_counted(struct parse *p, enum flag flag, const char *value, struct err *e)
{
	struct flag_value *v = &p->out->flags[flag];

	if (value == NULL) {
		v->count += v->count < LEVEL_MAX;
		return E_OK;
	}
	if (strlen(value) != 1 || value[0] < '0' || value[0] > '9')
		return err_set(e, E_USAGE, 0, "--%s=%s: give a number from 0 to 9",
			flag_row(flag)->name, value);
	v->count = (unsigned)(value[0] - '0');
	return E_OK;
}

/* `value` is what followed "=" (or a letter), or NULL: then the next word is taken where one is needed. */
static enum ecode
set_flag(struct parse *p, enum flag flag, const char *value, struct err *e)
{
	switch (flag_row(flag)->kind) {
	case FLAG_SWITCH:
		return set_switch(p, flag, value, e);
	case FLAG_COUNTED:
		return set_counted(p, flag, value, e);
	case FLAG_ONE:
	case FLAG_MANY:
		if (value == NULL && p->at == p->argc)
			return err_set(e, E_USAGE, 0, "--%s needs a value: %s",
				flag_row(flag)->name, flag_row(flag)->value);
		if (value == NULL)
			value = p->argv[p->at++];
		return add_value(p, flag, value, e);
	}
	return E_BUG; /* not reached: -Wswitch-enum proves the list above */
}

static enum ecode
take_long(struct parse *p, const char *text, struct err *e)
{
	const char *equals = strchr(text, '=');
	size_t len = equals == NULL ? strlen(text) : (size_t)(equals - text);

	for (unsigned i = 0; i < FLAGS; i++) {
		const char *name = flag_row((enum flag)i)->name;

		if (!flag_belongs(p->out, (enum flag)i) || strlen(name) != len ||
			strncmp(name, text, len) != 0)
			continue;
		return set_flag(p, (enum flag)i, equals == NULL ? NULL : equals + 1, e);
	}
	return unknown_flag(p, text, len, e);
}

static bool
find_letter(const struct options *o, char letter, enum flag *out)
{
	for (unsigned i = 0; i < FLAGS; i++) {
		if (flag_row((enum flag)i)->letter == letter && flag_belongs(o, (enum flag)i)) {
			*out = (enum flag)i;
			return true;
		}
	}
	return false;
}

/* "-vv", "-r/mnt", "-r=/mnt" (as pflag), "-nx" */
static enum ecode
take_letters(struct parse *p, const char *text, struct err *e)
{
	enum ecode rc = E_OK;

	for (const char *at = text; rc == E_OK && *at != '\0'; at++) {
		const char *rest = at[1] == '=' ? at + 2 : at[1] == '\0' ? NULL : at + 1;
		enum flag flag;
		enum flag_kind kind;

		if (!find_letter(p->out, *at, &flag))
			return err_set(e, E_USAGE, 0, "there is no flag -%c%s%s", *at,
				p->out->has_command ? " for " : "",
				p->out->has_command ? command_row(p->out->command)->name : "");
		kind = flag_row(flag)->kind;
		if (kind == FLAG_ONE || kind == FLAG_MANY || at[1] == '=')
			return set_flag(p, flag, rest, e);
		rc = set_flag(p, flag, NULL, e);
	}
	return rc;
}

size_t
command_find(const char *const *words, size_t n, enum command_id *out)
{
	for (unsigned i = 0; n > 0 && i < COMMANDS; i++) {
		const char *name = command_row((enum command_id)i)->name;
		const char *blank = strchr(name, ' ');
		size_t len = blank == NULL ? strlen(name) : (size_t)(blank - name);

		if (strlen(words[0]) != len || strncmp(name, words[0], len) != 0)
			continue;
		if (blank != NULL && (n < 2 || strcmp(words[1], blank + 1) != 0))
			continue;
		*out = (enum command_id)i;
		return blank == NULL ? 1 : 2;
	}
	return 0;
}

/* The first word of a command that has two. */
static bool
is_group(const char *word)
{
	size_t len = strlen(word);

	for (unsigned i = 0; i < COMMANDS; i++) {
		const char *name = command_row((enum command_id)i)->name;

		if (strncmp(name, word, len) == 0 && name[len] == ' ')
			return true;
	}
	return false;
}

static enum ecode
unknown_command(const char *group, const char *typed, struct err *e)
{
	const char *words[COMMANDS], *near;
	size_t n = 0, skip = group == NULL ? 0 : strlen(group) + 1;

	for (unsigned i = 0; i < COMMANDS; i++) {
		const char *name = command_row((enum command_id)i)->name;

		if (group == NULL && strncmp(name, "key ", 4) == 0)
			continue;
		if (group == NULL || strncmp(name, group, skip - 1) == 0)
			words[n++] = name + skip;
	}
	if (group == NULL && strcmp(typed, "keys") == 0)
		return err_set(e, E_USAGE, 0,
			"there is no command \"keys\"; the nearest one is \"key list\"");
	near = nearest_word(typed, words, n);
	if (near == NULL)
		return err_set(e, E_USAGE, 0, "there is no command \"%s%s%s\"",
			group == NULL ? "" : group, group == NULL ? "" : " ", typed);
	return err_set(e, E_USAGE, 0,
		"there is no command \"%s%s%s\"; the nearest one is \"%s%s%s\"",
		group == NULL ? "" : group, group == NULL ? "" : " ", typed,
		group == NULL ? "" : group, group == NULL ? "" : " ", near);
}

/* A command of its own as well ("drill"), and what follows is not its second word ("drill history"). */
static bool
stands_alone(const struct parse *p, const char *word)
{
	const char *both[2] = { word, p->at < p->argc ? p->argv[p->at] : "" };
	enum command_id id;

	return command_find(both, 1, &id) == 1 && command_find(both, 2, &id) != 2;
}

/* The command's first or second word, or an argument of it. */
static enum ecode
take_word(struct parse *p, const char *word, struct err *e)
{
	struct options *o = p->out;
	const char *words[2] = { p->group == NULL ? word : p->group, word };

	if (o->has_command) {
		o->args[o->arg_count] = word;
		o->arg_count++;
		return E_OK;
	}
	if (p->group == NULL && is_group(word) && !stands_alone(p, word)) {
		p->group = word;
		return E_OK;
	}
	if (command_find(words, p->group == NULL ? 1 : 2, &o->command) == 0)
		return unknown_command(p->group, word, e);
	o->has_command = true;
	p->group = NULL;
	return E_OK;
}

static enum ecode
take_next(struct parse *p, struct err *e)
{
	const char *text = p->argv[p->at++];

	if (p->only_args || text[0] != '-' || text[1] == '\0')
		return take_word(p, text, e);
	if (strcmp(text, "--") == 0) {
		p->only_args = true;
		return E_OK;
	}
	return text[1] == '-' ? take_long(p, text + 2, e) : take_letters(p, text + 1, e);
}

static enum ecode
check_args(const struct parse *p, struct err *e)
{
	const struct options *o = p->out;
	const struct command_row *row;

	if (flag_given(o, FLAG_HELP) || flag_given(o, FLAG_VERSION))
		return E_OK;
	if (p->group != NULL)
		return err_set(e, E_USAGE, 0, "%s",
			strcmp(p->group, "key") == 0 ? "key: list, add, passwd or remove?"
						     : "audit: verify or show?");
	if (!o->has_command)
		return E_OK;
	row = command_row(o->command);
	if (o->arg_count < row->min_args)
		return err_set(e, E_USAGE, 0, "%s needs: %s", row->name, row->arguments);
	if (o->arg_count > row->max_args)
		return err_set(e, E_USAGE, 0, "%s does not take \"%s\"", row->name,
			o->args[row->max_args]);
	return E_OK;
}

enum ecode
options_parse(int argc, char *const argv[], struct arena *a, struct options *out, struct err *e)
{
	struct parse p = { .argv = argv, .argc = (size_t)argc, .at = 1, .arena = a, .out = out };
	void *args = NULL;
	enum ecode rc;

	*out = (struct options){ .has_command = false };
	rc = arena_alloc(a, ((size_t)argc + 1) * sizeof(char *), &args, e);
	out->args = args;
	while (rc == E_OK && p.at < p.argc)
		rc = take_next(&p, e);
	if (rc == E_OK)
		rc = check_args(&p, e);
	if (rc == E_OK)
		out->args[out->arg_count] = NULL;
	return rc;
}
