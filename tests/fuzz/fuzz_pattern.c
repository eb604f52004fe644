/*
 * Input: a byte of flags (bit 0: insensitive), patterns one a line up to an
 * empty line, then a path.  Any pattern that is taken must match or not, and
 * agree with what may match below.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The line at *at, NUL-terminated in `text`; false at the end of the patterns. */
static bool
next_line(char *text, size_t len, size_t *at, char **line)
{
	char *end = *at < len ? memchr(text + *at, '\n', len - *at) : NULL;

	if (end == NULL || end == text + *at)
		return false;
	*line = text + *at;
	*end = '\0';
	*at = (size_t)(end - text) + 1;
	return true;
}

static void
check(const struct rules *r, const char *path, size_t len)
{
	unsigned hit = rules_match(r, path, len);
	const char *slash = len > 1 ? memrchr(path, '/', len) : NULL;

	invariant(hit <= rules_count(r));
	invariant(hit == 0 || rules_text(r, hit - 1)[0] != '!');
	if (hit != 0 &&
		slash != NULL) /* what matches must be reachable from the directory above it */
		invariant(rules_may_match_below(r, path, (size_t)(slash - path)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rules *r = NULL;
	size_t at = 0, len = size > 0 ? size - 1 : 0;
	char *text = malloc(len + 1), *line;

	if (text == NULL || rules_open(&r, NULL) != E_OK)
		abort();
	if (len > 0)
		memcpy(text, data + 1, len);
	text[len] = '\0';
	while (next_line(text, len, &at, &line)) {
		struct err e = { .code = E_OK };
		enum ecode rc = rules_add(r, line, (data[0] & 1) != 0, &e);

		invariant(rc == E_OK || (rc == E_PATTERN && e.code == rc));
	}
	if (at < len && text[at] == '\n')
		at++;
	check(r, text + at, len - at);
	rules_close(&r);
	free(text);
	return 0;
}
