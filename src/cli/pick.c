#include "cli/pick.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cli/textfile.h"

#define CWD_MAX_BYTES 4096 /* PATH_MAX: what /proc/self/cwd can give */

enum ecode
pick_absolute(struct cli *cli, const char *path, const char **out, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	char cwd[CWD_MAX_BYTES];
	const char *joined = path;
	ssize_t len;
	enum ecode rc = E_OK;

	if (path[0] != '/') {
		len = cli->os->readlink(cli->os, AT_FDCWD, "/proc/self/cwd", cwd, sizeof(cwd) - 1);
		if (len < 0)
			return err_set(e, E_USAGE, (int)-len,
				"the working directory is not known; give an absolute path: %s",
				path);
		cwd[len] = '\0';
		rc = path_join(&cli->arena, cwd, path, &joined, e);
	}
	if (rc == E_OK)
		rc = path_clean(&clean, joined, strlen(joined), e);
	return rc == E_OK ? arena_str(&cli->arena, clean.p, clean.len, out, e) : rc;
}

static enum ecode
room_for(struct cli *cli, size_t n, const char ***out, struct err *e)
{
	void *room;
	enum ecode rc = arena_alloc(&cli->arena, (n + 1) * sizeof(char *), &room, e);

	if (rc == E_OK)
		*out = room;
	return rc;
}

static size_t
commas(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == ',';
	return n;
}

/* One "a, b" argument into v[*n…]. */
static enum ecode
split_words(struct cli *cli, const char *text, const char **v, size_t *n, struct err *e)
{
	enum ecode rc = E_OK;
	bool more = true;

	while (rc == E_OK && more) {
		size_t len = strcspn(text, ",");
		struct slice word = text_trim((struct slice){ (const uint8_t *)text, len });

		if (word.len > 0) {
			rc = arena_str(&cli->arena, word.p, word.len, &v[*n], e);
			(*n)++;
		}
		more = text[len] == ',';
		text += len + 1;
	}
	return rc;
}

enum ecode
pick_words(struct cli *cli, const struct flag_value *given, const char *const **out, size_t *n,
	struct err *e)
{
	size_t max = 0;
	const char **v;
	enum ecode rc;

	for (size_t i = 0; i < given->n; i++)
		max += commas(given->v[i]) + 1;
	rc = room_for(cli, max, &v, e);
	*n = 0;
	for (size_t i = 0; rc == E_OK && i < given->n; i++)
		rc = split_words(cli, given->v[i], v, n, e);
	if (rc == E_OK)
		*out = v;
	return rc;
}

/* --host "" cancels the variable; other empty ones mean nothing */
static enum ecode
pick_hosts(struct cli *cli, struct snapshot_filter *out, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[FLAG_ONLY_HOST];
	const char **v;
	enum ecode rc = room_for(cli, given->n + 1, &v, e);

	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < given->n; i++) {
		if (given->v[i][0] != '\0')
			v[out->host_count++] = given->v[i];
	}
	if (given->n == 0 && cli->set.host != NULL)
		v[out->host_count++] = cli->set.host;
	out->hosts = v;
	return E_OK;
}

enum ecode
pick_filter(struct cli *cli, struct snapshot_filter *out, struct err *e)
{
	const struct flag_value *paths = &cli->opt->flags[FLAG_ONLY_PATH],
				*tags = &cli->opt->flags[FLAG_ONLY_TAG];
	struct snapshot_filter f = { .tags = tags->v, .tag_count = tags->n };
	const char **v;
	enum ecode rc = pick_hosts(cli, &f, e);

	if (rc == E_OK)
		rc = room_for(cli, paths->n, &v, e);
	for (size_t i = 0; rc == E_OK && i < paths->n; i++)
		rc = pick_absolute(cli, paths->v[i], &v[i], e);
	if (rc != E_OK)
		return rc;
	f.paths = v;
	f.path_count = paths->n;
	*out = f;
	return E_OK;
}

static const char *
from_environment(const char *name)
{
	return getenv(name);
}

static enum ecode
add_patterns(struct cli *cli, enum flag flag, bool insensitive, struct rules *r, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[flag];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < given->n; i++)
		rc = rules_add(r, given->v[i], insensitive, e);
	return rc;
}

static enum ecode
add_files(struct cli *cli, enum flag flag, bool insensitive, struct rules *r, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[flag];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < given->n; i++)
		rc = rules_add_file(r, cli->os, given->v[i], insensitive, from_environment, e);
	return rc;
}

enum ecode
pick_rules(struct cli *cli, const struct pick_flags *flags, struct rules **out, struct err *e)
{
	const struct options *o = cli->opt;
	struct rules *r = NULL;
	enum ecode rc;

	*out = NULL;
	if (!flag_given(o, flags->patterns) && !flag_given(o, flags->insensitive) &&
		!flag_given(o, flags->files) && !flag_given(o, flags->insensitive_files))
		return E_OK;
	rc = rules_open(&r, e);
	if (rc == E_OK)
		rc = add_patterns(cli, flags->patterns, false, r, e);
	if (rc == E_OK)
		rc = add_files(cli, flags->files, false, r, e);
	if (rc == E_OK)
		rc = add_patterns(cli, flags->insensitive, true, r, e);
	if (rc == E_OK)
		rc = add_files(cli, flags->insensitive_files, true, r, e);
	if (rc == E_OK)
		*out = r;
	else if (r != NULL)
		rules_close(&r);
	return rc;
}
