#include "cli/targets.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cli/textfile.h"
#include "os/io.h"

#define DENTS_BYTES (32U << 10)

static enum ecode
grow(struct cli *cli, struct targets *t, struct err *e)
{
	size_t cap = t->cap == 0 ? 64 : t->cap * 2;
	void *room;
	enum ecode rc;

	if (t->n < t->cap)
		return E_OK;
	if (t->n >= TARGETS_MAX)
		return err_set(e, E_USAGE, 0, "more than %d targets", TARGETS_MAX);
	rc = arena_alloc(&cli->arena, cap * sizeof(char *), &room, e);
	if (rc != E_OK)
		return rc;
	if (t->n > 0)
		memcpy(room, t->v, t->n * sizeof(char *));
	t->v = room;
	t->cap = cap;
	return E_OK;
}

static enum ecode
add(struct cli *cli, struct targets *t, const void *p, size_t len, struct err *e)
{
	enum ecode rc = grow(cli, t, e);

	if (rc == E_OK)
		rc = arena_str(&cli->arena, p, len, &t->v[t->n], e);
	if (rc == E_OK)
		t->n++;
	return rc;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of `dir` that match one component, each as dir/name. */
static enum ecode
match_dir(
	struct cli *cli, const char *dir, const char *component, struct targets *out, struct err *e)
{
	const struct os *os = cli->os;
	autoclean(io_fd_done) struct io_fd fd = { os, -1 };
	char dents[DENTS_BYTES];
	struct os_dirent entry;
	struct err ignored;
	ssize_t got = 1;
	size_t from = out->n;
	enum ecode rc = E_OK;

	/* what cannot be listed matches nothing */
	if (io_open(os, AT_FDCWD, *dir == '\0' ? "." : dir, O_RDONLY | O_DIRECTORY, 0, &fd.fd,
		    &ignored) != E_OK)
		return E_OK;
	while (rc == E_OK && got > 0) {
		size_t at = 0;

		got = os->getdents(os, fd.fd, dents, sizeof(dents));
		while (rc == E_OK && got > 0 && os_dirent_next(dents, (size_t)got, &at, &entry)) {
			const char *path = entry.name;

			if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
				continue;
			if (fnmatch(component, entry.name, 0) != 0)
				continue;
			if (*dir != '\0')
				rc = path_join(&cli->arena, dir, entry.name, &path, e);
			if (rc == E_OK)
				rc = add(cli, out, path, strlen(path), e);
		}
	}
	if (out->n - from > 1)
		qsort(out->v + from, out->n - from, sizeof(char *), by_text);
	return rc;
}

/* A component without wildcards is only appended; whether it exists is seen at the end. */
static enum ecode
extend(struct cli *cli, const char *dir, struct slice component, struct targets *out, struct err *e)
{
	const char *name, *path;
	enum ecode rc = arena_str(&cli->arena, component.p, component.len, &name, e);

	if (rc != E_OK)
		return rc;
	if (strpbrk(name, "*?[\\") != NULL)
		return match_dir(cli, dir, name, out, e);
	if (*dir == '\0')
		return add(cli, out, name, strlen(name), e);
	rc = path_join(&cli->arena, dir, name, &path, e);
	return rc == E_OK ? add(cli, out, path, strlen(path), e) : rc;
}

enum ecode
targets_glob(struct cli *cli, const char *pattern, struct targets *out, struct err *e)
{
	struct targets now = { NULL, 0, 0 };
	struct os_meta meta;
	const char *at = pattern;
	enum ecode rc = add(cli, &now, "/", *pattern == '/' ? 1 : 0, e);

	while (rc == E_OK && *at != '\0') {
		struct targets next = { NULL, 0, 0 };
		size_t len = strcspn(at, "/");

		for (size_t i = 0; rc == E_OK && len > 0 && i < now.n; i++)
			rc = extend(cli, now.v[i], (struct slice){ (const uint8_t *)at, len },
				&next, e);
		if (len > 0)
			now = next;
		at += len + (at[len] == '/');
	}
	for (size_t i = 0; rc == E_OK && i < now.n; i++) {
		if (cli->os->stat(cli->os, AT_FDCWD, now.v[i], AT_SYMLINK_NOFOLLOW, &meta) == 0)
			rc = add(cli, out, now.v[i], strlen(now.v[i]), e);
	}
	return rc;
}

static enum ecode
glob_line(struct cli *cli, struct slice line, struct targets *out, struct err *e)
{
	const char *pattern;
	size_t before = out->n;
	enum ecode rc;

	line = text_trim(line);
	if (line.len == 0 || line.p[0] == '#')
		return E_OK;
	rc = arena_str(&cli->arena, line.p, line.len, &pattern, e);
	if (rc == E_OK)
		rc = targets_glob(cli, pattern, out, e);
	if (rc == E_OK && out->n == before && !cli->screen.json)
		screen_err(&cli->screen, "warning: --files-from: nothing matches %s",
			cli_shown(cli, line.p, line.len));
	return rc;
}

static enum ecode
verbatim_line(struct cli *cli, struct slice line, struct targets *out, struct err *e)
{
	return line.len == 0 ? E_OK : add(cli, out, line.p, line.len, e);
}

static enum ecode
from_lines(struct cli *cli, enum flag flag,
	enum ecode (*each)(struct cli *cli, struct slice line, struct targets *out, struct err *e),
	struct targets *out, struct err *e)
{
	const struct flag_value *files = &cli->opt->flags[flag];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < files->n; i++) {
		autoclean(buf_done) struct buf text = buf_limit(TARGETS_FILE_MAX_BYTES);
		struct slice rest, line;

		rc = textfile_read(cli->os, files->v[i], &text, e);
		rest = buf_slice(&text);
		while (rc == E_OK && text_line(&rest, &line))
			rc = each(cli, line, out, e);
	}
	return rc;
}

static enum ecode
raw_names(struct cli *cli, const struct buf *text, struct targets *out, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t at = 0; rc == E_OK && at < text->len;) {
		const uint8_t *end = memchr(text->p + at, 0, text->len - at);
		size_t len = end == NULL ? text->len - at : (size_t)(end - text->p) - at;

		if (end == NULL)
			return err_set(e, E_USAGE, 0,
				"--files-from-raw: the last path does not end in a NUL byte");
		if (len == 0)
			return err_set(e, E_USAGE, 0, "--files-from-raw: an empty path");
		rc = add(cli, out, text->p + at, len, e);
		at += len + 1;
	}
	return rc;
}

static enum ecode
from_raw(struct cli *cli, struct targets *out, struct err *e)
{
	const struct flag_value *files = &cli->opt->flags[FLAG_FILES_FROM_RAW];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < files->n; i++) {
		autoclean(buf_done) struct buf text = buf_limit(TARGETS_FILE_MAX_BYTES);

		rc = textfile_bytes(cli->os, files->v[i], &text, e);
		if (rc == E_OK)
			rc = raw_names(cli, &text, out, e);
	}
	return rc;
}

enum ecode
targets_collect(struct cli *cli, struct targets *out, struct err *e)
{
	enum ecode rc = E_OK;

	*out = (struct targets){ NULL, 0, 0 };
	for (size_t i = 0; rc == E_OK && i < cli->opt->arg_count; i++)
		rc = add(cli, out, cli->opt->args[i], strlen(cli->opt->args[i]), e);
	if (rc == E_OK)
		rc = from_lines(cli, FLAG_FILES_FROM, glob_line, out, e);
	if (rc == E_OK)
		rc = from_lines(cli, FLAG_FILES_FROM_VERBATIM, verbatim_line, out, e);
	return rc == E_OK ? from_raw(cli, out, e) : rc;
}
