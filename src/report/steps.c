#include "report/steps.h"

#include <ctype.h>
#include <string.h>

/* Where the sentence at p ends: behind a stop or question mark that a blank and a capital follow, or at the end. */
static size_t
sentence_len(const char *p)
{
	for (size_t i = 0; p[i] != '\0'; i++) {
		if ((p[i] == '.' || p[i] == '?') && p[i + 1] == ' ' &&
			isupper((unsigned char)p[i + 2]) != 0)
			return i + 1;
	}
	return strlen(p);
}

bool
steps_word(struct slice *rest, struct slice *word)
{
	size_t from = 0, to;

	while (from < rest->len && rest->p[from] == ' ')
		from++;
	for (to = from; to < rest->len && rest->p[to] != ' ';)
		to++;
	if (from == to)
		return false;
	*word = (struct slice){ rest->p + from, to - from };
	*rest = (struct slice){ rest->p + to, rest->len - to };
	return true;
}

/* SNAPSHOT, DIR: two capitals at least and nothing else */
static bool
is_placeholder(struct slice word)
{
	for (size_t i = 0; i < word.len; i++) {
		if (isupper(word.p[i]) == 0)
			return false;
	}
	return word.len >= 2;
}

static struct slice
command_in(struct slice text)
{
	static const char mark[] = ": holdfast ";
	const uint8_t *p = memmem(text.p, text.len, mark, sizeof(mark) - 1);
	struct slice command, rest, word;

	if (p == NULL)
		return (struct slice){ NULL, 0 };
	command.p = p + 2;
	command.len = (size_t)(text.p + text.len - command.p);
	p = memchr(command.p, ';', command.len);
	if (p != NULL)
		command.len = (size_t)(p - command.p);
	if (command.p[command.len - 1] == '.')
		command.len--;
	rest = command;
	while (steps_word(&rest, &word)) {
		if (is_placeholder(word))
			return (struct slice){ NULL, 0 };
	}
	return command;
}

size_t
steps_of(const char *next, struct step out[static STEPS_MAX])
{
	size_t n = 0;

	while (*next != '\0' && n < STEPS_MAX) {
		size_t len = n + 1 < STEPS_MAX ? sentence_len(next) : strlen(next);

		out[n].text = (struct slice){ (const uint8_t *)next, len };
		out[n].command = command_in(out[n].text);
		n++;
		next += len;
		while (*next == ' ')
			next++;
	}
	return n;
}
