#include "cli/conflicts.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/recover.h"
#include "cli/signals.h"

#define ANSWER_MAX_BYTES 256

/* The first letter of a line; 0 at the end of input. */
static int
read_letter(const struct os *os)
{
	int letter = 0;
	unsigned char byte = 0;

	for (unsigned n = 0; n < ANSWER_MAX_BYTES; n++) {
		ssize_t got = os->read(os, STDIN_FILENO, &byte, 1);

		if (signals_stopped_by() != 0)
			return 0;
		if (got == -EINTR)
			continue;
		if (got <= 0 || byte == '\n')
			return got <= 0 ? 0 : letter;
		if (letter == 0 && isspace(byte) == 0)
			letter = tolower(byte);
	}
	return letter;
}

/* Workers ask at the same time; a person answers one question after the other. */
struct asking {
	struct cli *cli;
	pthread_mutex_t lock;
};

/* One question a path; no answer is no decision, so nothing is put in place. */
static enum conflict_rule
ask(void *arg, const char *path)
{
	static const char prompt[] = "  [s]napshot, [l]ive, [k]eep both, anything else refuses: ";
	struct asking *a = arg;
	struct cli *cli = a->cli;
	char line[1024];
	int letter;

	(void)pthread_mutex_lock(&a->lock);
	screen_hold(&cli->screen, true);
	(void)snprintf(line, sizeof(line), "%s differs from the snapshot\n", path);
	for (char *at = line; *at != '\0' && *at != '\n'; at++)
		if (iscntrl((unsigned char)*at) != 0)
			*at = '?';
	screen_err_bytes(&cli->screen, line, strlen(line));
	screen_err_bytes(&cli->screen, prompt, strlen(prompt));
	letter = read_letter(cli->os);
	screen_hold(&cli->screen, false);
	(void)pthread_mutex_unlock(&a->lock);
	if (letter == 's')
		return CONFLICT_SNAPSHOT;
	if (letter == 'l')
		return CONFLICT_LIVE;
	return letter == 'k' ? CONFLICT_KEEP_BOTH : CONFLICT_REFUSE;
}

static enum ecode
take_tree(const char *text, enum restore_tree *out, struct err *e)
{
	*out = TREE_EXACT;
	if (text == NULL || strcmp(text, "exact") == 0)
		return E_OK;
	*out = TREE_MERGE;
	if (strcmp(text, "merge") == 0)
		return E_OK;
	*out = TREE_ADD_ONLY;
	if (strcmp(text, "add-only") == 0)
		return E_OK;
	return err_set(e, E_USAGE, 0, "--tree %s: give exact, merge or add-only", text);
}

/* GLOB=RULE: the last "=" divides. */
static enum ecode
take_rule(struct cli *cli, const char *text, enum restore_tree tree, struct rules *globs,
	enum conflict_rule *out, struct err *e)
{
	const char *equals = strrchr(text, '='), *glob;
	enum ecode rc;

	if (equals == NULL || equals == text || text[0] == '!' ||
		!conflict_rule_named(equals + 1, out))
		return err_set(e, E_USAGE, 0,
			"--on-conflict %s: give GLOB=RULE with snapshot, live, newer, larger, keep-both, ask or refuse",
			text);
	if (tree == TREE_ADD_ONLY && *out != CONFLICT_LIVE && *out != CONFLICT_REFUSE)
		return err_set(e, E_USAGE, 0,
			"--on-conflict %s: add-only replaces nothing, so only live and refuse have a meaning",
			text);
	rc = arena_str(&cli->arena, text, (size_t)(equals - text), &glob, e);
	return rc == E_OK ? rules_add(globs, glob, false, e) : rc;
}

static enum ecode
may_ask(struct cli *cli, struct restore_args *out, struct err *e)
{
	struct asking *a;
	void *room = NULL;
	enum ecode rc = arena_alloc(&cli->arena, sizeof(*a), &room, e);

	if (rc != E_OK)
		return rc;
	a = room;
	*a = (struct asking){ .cli = cli, .lock = PTHREAD_MUTEX_INITIALIZER };
	out->ask = ask;
	out->ask_arg = a;
	return E_OK;
}

enum ecode
conflicts_take(struct cli *cli, struct rules **hold, struct restore_args *out, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[FLAG_ON_CONFLICT];
	enum conflict_rule *rules;
	enum ecode rc = take_tree(flag_text(cli->opt, FLAG_TREE), &out->tree, e);
	void *room = NULL;

	if (rc != E_OK || given->n == 0)
		return rc;
	if (out->kind == RESTORE_SWAP && out->tree == TREE_EXACT)
		return err_set(e, E_USAGE, 0,
			"--on-conflict has a meaning with --tree merge or add-only only: an exact tree is the snapshot");
	rc = rules_open(hold, e);
	if (rc == E_OK)
		rc = arena_alloc(&cli->arena, given->n * sizeof(*rules), &room, e);
	rules = room;
	for (size_t i = 0; rc == E_OK && i < given->n; i++) {
		rc = take_rule(cli, given->v[i], out->tree, *hold, &rules[i], e);
		if (rc == E_OK && rules[i] == CONFLICT_ASK && flag_given(cli->opt, FLAG_PLAN))
			rc = err_set(e, E_USAGE, 0,
				"--on-conflict %s: a plan asks nobody; give the rule itself, or restore without --plan",
				given->v[i]);
	}
	out->choices = *hold;
	out->choice_rules = rules;
	return rc == E_OK && recover_possible(cli) ? may_ask(cli, out, e) : rc;
}
