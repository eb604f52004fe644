#include "cli/env.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "cli/textfile.h"
#include "cli/units.h"

#define NAME_MAX_BYTES     64          /* longest: HOLDFAST_READ_CONCURRENCY */
#define LOCATION_MAX_BYTES (64U << 10) /* a repository file */
#define FRAMES_PER_S_MAX   60.0

const char *
env_get(char *(*get)(const char *name), const char *stem)
{
	static const char *const prefix[] = { "HOLDFAST_", "RESTIC_" };
	char name[NAME_MAX_BYTES];

	for (size_t i = 0; i < 2; i++) {
		const char *text;

		(void)snprintf(name, sizeof(name), "%s%s", prefix[i], stem);
		text = get(name);
		if (text != NULL && *text != '\0')
			return text;
	}
	return NULL;
}

static enum ecode
repo_from_file(
	const struct os *os, const char *path, struct arena *a, const char **out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(LOCATION_MAX_BYTES);
	struct err why;
	struct slice trimmed;

	if (textfile_read(os, path, &text, &why) != E_OK)
		return err_set(e, E_NO_REPO, why.sys, "the repository file could not be read: %s",
			why.detail);
	trimmed = text_trim(buf_slice(&text));
	if (trimmed.len == 0)
		return err_set(e, E_NO_REPO, 0, "the repository file %s is empty", path);
	return arena_str(a, trimmed.p, trimmed.len, out, e);
}

static enum ecode
find_repo(const struct os *os, const struct options *o, char *(*get)(const char *name),
	struct arena *a, struct settings *s, struct err *e)
{
	const char *repo = flag_text(o, FLAG_REPO), *file = flag_text(o, FLAG_REPOSITORY_FILE);

	if (repo != NULL && file != NULL)
		return err_set(e, E_USAGE, 0, "--repo and --repository-file: give one of them");
	if (repo == NULL && file == NULL) {
		repo = env_get(get, "REPOSITORY");
		file = env_get(get, "REPOSITORY_FILE");
		if (repo != NULL && file != NULL)
			return err_set(e, E_USAGE, 0,
				"the variables REPOSITORY and REPOSITORY_FILE: set one of them");
	}
	s->repo = repo;
	return file == NULL ? E_OK : repo_from_file(os, file, a, &s->repo, e);
}

static enum ecode
password_flags(const struct options *o, struct settings *s, bool *found, struct err *e)
{
	static const struct {
		enum flag flag;
		enum password_from from;
	} sources[] = { { FLAG_PASSWORD_FILE, PASSWORD_FILE },
		{ FLAG_PASSWORD_COMMAND, PASSWORD_COMMAND }, { FLAG_PASSWORD_FD, PASSWORD_FD },
		{ FLAG_INSECURE_NO_PASSWORD, PASSWORD_EMPTY } };
	uint64_t fd;
	unsigned given = 0;
	enum ecode rc = E_OK;

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (!flag_given(o, sources[i].flag))
			continue;
		given++;
		s->password_from = sources[i].from;
		s->password = flag_text(o, sources[i].flag);
	}
	*found = given > 0;
	if (given > 1)
		return err_set(
			e, E_USAGE, 0, "several sources of the password are named; give one");
	if (s->password_from == PASSWORD_FD) {
		rc = number_from_person("--password-fd", s->password, 0, INT32_MAX, &fd, e);
		if (rc == E_OK)
			s->password_fd = (int)fd;
	}
	return rc;
}

/* Format document 12.2: the command beats the file beats the variable, but command and file together are an error. */
static enum ecode
find_password(
	const struct options *o, char *(*get)(const char *name), struct settings *s, struct err *e)
{
	const char *command = env_get(get, "PASSWORD_COMMAND"),
		   *file = env_get(get, "PASSWORD_FILE");
	bool found = false;
	enum ecode rc = password_flags(o, s, &found, e);

	if (rc != E_OK || found)
		return rc;
	if (command != NULL && file != NULL)
		return err_set(e, E_USAGE, 0,
			"the variables PASSWORD_COMMAND and PASSWORD_FILE: set one of them");
	s->password_from = PASSWORD_PROMPT;
	s->password = env_get(get, "PASSWORD");
	if (s->password != NULL)
		s->password_from = PASSWORD_TEXT;
	if (file != NULL) {
		s->password_from = PASSWORD_FILE;
		s->password = file;
	}
	if (command != NULL) {
		s->password_from = PASSWORD_COMMAND;
		s->password = command;
	}
	return E_OK;
}

/* The XDG specification: a relative path is to be ignored. */
static enum ecode
find_dir(const char *xdg, const char *home, const char *below_home, struct arena *a,
	const char **out, struct err *e)
{
	const char *base = NULL;
	enum ecode rc = E_OK;

	if (xdg != NULL && xdg[0] == '/')
		base = xdg;
	else if (home != NULL)
		rc = path_join(a, home, below_home, &base, e);
	if (rc == E_OK && base != NULL)
		rc = path_join(a, base, "holdfast", out, e);
	return rc;
}

static enum ecode
find_dirs(char *(*get)(const char *name), struct arena *a, struct settings *s, struct err *e)
{
	const char *home = get("HOME");
	enum ecode rc;

	s->home = home != NULL && home[0] == '/' ? home : NULL;
	rc = find_dir(get("XDG_STATE_HOME"), s->home, ".local/state", a, &s->state_dir, e);
	return rc == E_OK
		       ? find_dir(get("XDG_DATA_HOME"), s->home, ".local/share", a, &s->data_dir, e)
		       : rc;
}

static enum ecode
find_frames(char *(*get)(const char *name), struct settings *s, struct err *e)
{
	const char *text = env_get(get, "PROGRESS_FPS");
	char *end;
	double v;

	if (text == NULL)
		return E_OK;
	v = strtod(text, &end);
	if (*end != '\0' || !(v > 0 && v <= 1e6))
		return err_set(e, E_USAGE, 0,
			"the variable PROGRESS_FPS: \"%s\" is not a number above 0", text);
	s->frames_per_s = v > FRAMES_PER_S_MAX ? FRAMES_PER_S_MAX : v;
	return E_OK;
}

static const char *
flag_or_env(
	const struct options *o, enum flag flag, char *(*get)(const char *name), const char *stem)
{
	const char *text = flag_text(o, flag);

	return text == NULL ? env_get(get, stem) : text;
}

enum ecode
env_settings(const struct os *os, const struct options *o, char *(*get)(const char *name),
	struct arena *a, struct settings *out, struct err *e)
{
	struct settings s = { .password_fd = -1 };
	int64_t wait_s = 0;
	enum ecode rc = find_repo(os, o, get, a, &s, e);

	if (rc == E_OK)
		rc = find_password(o, get, &s, e);
	if (rc == E_OK)
		rc = find_dirs(get, a, &s, e);
	if (rc == E_OK)
		rc = find_frames(get, &s, e);
	if (rc == E_OK && flag_given(o, FLAG_RETRY_LOCK))
		rc = span_from_person(flag_text(o, FLAG_RETRY_LOCK), &wait_s, e);
	if (rc == E_OK && wait_s < 0)
		rc = err_set(e, E_USAGE, 0, "--retry-lock: a time to wait cannot be negative");
	if (rc != E_OK)
		return rc;
	s.retry_lock_s = (uint64_t)wait_s;
	s.key_hint = flag_or_env(o, FLAG_KEY_HINT, get, "KEY_HINT");
	s.compression = flag_or_env(o, FLAG_COMPRESSION, get, "COMPRESSION");
	s.pack_size = flag_or_env(o, FLAG_PACK_SIZE, get, "PACK_SIZE");
	s.read_concurrency = flag_or_env(o, FLAG_READ_CONCURRENCY, get, "READ_CONCURRENCY");
	s.host = env_get(get, "HOST");
	*out = s;
	return E_OK;
}

/*
 * The helper needs what the person's session has (agents, buses, DISPLAY), so
 * it gets this environment; but not the passwords in it.
 */
enum ecode
env_for_helper(struct arena *a, char ***out, struct err *e)
{
	static const char *const secret[] = { "HOLDFAST_PASSWORD=", "RESTIC_PASSWORD=" };
	size_t n = 0, kept = 0;
	void *room;
	enum ecode rc;

	while (environ[n] != NULL)
		n++;
	rc = arena_alloc(a, (n + 1) * sizeof(char *), &room, e);
	if (rc != E_OK)
		return rc;
	*out = room;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], secret[0], strlen(secret[0])) == 0 ||
			strncmp(environ[i], secret[1], strlen(secret[1])) == 0)
			continue;
		(*out)[kept++] = environ[i];
	}
	(*out)[kept] = NULL;
	return E_OK;
}
