#include "cli/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "base/wire.h"
#include "cli/units.h"

#define SHORT_DIGITS 8
#define SHOWN_MAX_BYTES \
	(8U << 20) /* a path of PATH_TEXT_MAX with every byte as \xNN, and a little */
#define TEXT_MAX_BYTES SHOWN_MAX_BYTES

const char *
cli_text(struct cli *cli, const char *fmt, ...)
{
	va_list ap;
	void *p;
	int need;
	struct err e;

	va_start(ap, fmt);
	need = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (need < 0 || (size_t)need >= TEXT_MAX_BYTES)
		return "";
	if (arena_alloc(&cli->arena, (size_t)need + 1, &p, &e) != E_OK)
		return "";
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)need + 1, fmt, ap); /* the size was just measured */
	va_end(ap);
	return p;
}

const char *
cli_id(struct cli *cli, const struct id *id)
{
	char hex[ID_HEX_SIZE];

	id_hex(id, hex);
	return cli_text(cli, "%s", hex);
}

const char *
cli_short(struct cli *cli, const struct id *id)
{
	char hex[ID_HEX_SIZE];

	id_hex(id, hex);
	return cli_text(cli, "%.*s", SHORT_DIGITS, hex);
}

const char *
cli_shown(struct cli *cli, const void *p, size_t len)
{
	autoclean(buf_done) struct buf text = buf_limit(SHOWN_MAX_BYTES);
	struct err e;

	if (text_show(&text, p, len, &e) != E_OK)
		return "";
	return cli_text(cli, "%s", (const char *)text.p);
}

/* "rest:https://ada:secret@host/" → "rest:https://ada:***@host/" */
static const char *
without_password(struct cli *cli, const char *word)
{
	const char *host = strstr(word, "://"), *at, *colon;

	if (host == NULL)
		return word;
	host += 3;
	at = memchr(host, '@', strcspn(host, "/"));
	if (at == NULL)
		return word;
	colon = memchr(host, ':', (size_t)(at - host));
	if (colon == NULL)
		return word;
	return cli_text(cli, "%.*s***%s", (int)(colon + 1 - word), word, at);
}

/* A relative directory means nothing to whoever reads a record in another place. */
const char *
cli_safe_location(struct cli *cli, const char *location)
{
	static const char local[] = "local:";
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	char cwd[PATH_MAX];
	struct err e;

	if (location == NULL || strstr(location, "://") != NULL)
		return location == NULL ? NULL : without_password(cli, location);
	if (strncmp(location, local, sizeof(local) - 1) == 0)
		location += sizeof(local) - 1;
	if (location[0] != '/') {
		if (cli->os->cwd(cli->os, cwd, sizeof(cwd)) < 0)
			return location;
		location = cli_text(cli, "%s/%s", cwd, location);
	}
	if (path_clean(&clean, location, strlen(location), &e) != E_OK)
		return location;
	return cli_text(cli, "%.*s", (int)clean.len, (const char *)clean.p);
}

static const char *
safe_word(struct cli *cli, const char *previous, const char *word)
{
	static const char flag[] = "--password-command";
	size_t len = sizeof(flag) - 1;

	if (strcmp(previous, flag) == 0)
		return "(not recorded)";
	if (strncmp(word, flag, len) == 0 && word[len] == '=')
		return "--password-command=(not recorded)";
	return without_password(cli, word);
}

enum ecode
cli_safe_argv(struct cli *cli, int argc, char *const argv[], struct err *e)
{
	bool hide_args = cli->opt->has_command && flag_given(cli->opt, FLAG_STDIN_FROM_COMMAND);
	void *room;
	const char **safe;
	enum ecode rc = arena_alloc(&cli->arena, ((size_t)argc + 1) * sizeof(char *), &room, e);

	if (rc != E_OK)
		return rc;
	safe = room;
	for (int i = 0; i < argc; i++) {
		safe[i] = safe_word(cli, i == 0 ? "" : argv[i - 1], argv[i]);
		/* the command's own words may hold passwords; its name may stay */
		for (size_t k = 1; hide_args && k < cli->opt->arg_count; k++) {
			if (cli->opt->args[k] == argv[i])
				safe[i] = "(not recorded)";
		}
	}
	safe[argc] = NULL;
	cli->argv = safe;
	cli->argc = (size_t)argc;
	return E_OK;
}
