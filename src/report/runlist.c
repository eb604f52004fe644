/* Looking at run folders: the list for `runs` and `status`. */
#include "report/runparts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "os/io.h"

#define DENTS_BYTES (32U << 10)

/* "20261121T031522Z-5e0c7a11" */
bool
run_id_is_one(const char *name)
{
	static const char shape[] = "ddddddddTddddddZ-xxxxxxxx";
	size_t n = sizeof(shape) - 1;

	if (strlen(name) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool fits = shape[i] == 'd'   ? isdigit((unsigned char)name[i]) != 0
			    : shape[i] == 'x' ? isxdigit((unsigned char)name[i]) != 0
					      : shape[i] == name[i];
		if (!fits)
			return false;
	}
	return true;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One getdents buffer; names that pass `wanted` go into the list. */
static enum ecode
take_names(const void *dents, size_t len, struct arena *a, const char **names, size_t *n,
	struct err *e)
{
	struct os_dirent entry;
	size_t at = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && os_dirent_next(dents, len, &at, &entry)) {
		if (!run_id_is_one(entry.name))
			continue;
		if (*n == RUN_FOLDERS_MAX)
			return err_set(
				e, E_REPORT_READ, 0, "more than %d run folders", RUN_FOLDERS_MAX);
		rc = arena_str(a, entry.name, strlen(entry.name), &names[*n], e);
		if (rc == E_OK)
			(*n)++;
	}
	return rc;
}

enum ecode
run_names(const struct os *os, int runs_fd, struct arena *a, const char ***out, size_t *n,
	struct err *e)
{
	void *names = NULL, *dents = NULL;
	ssize_t got = 1;
	enum ecode rc = arena_alloc(a, RUN_FOLDERS_MAX * sizeof(char *), &names, e);

	if (rc == E_OK)
		rc = arena_alloc(a, DENTS_BYTES, &dents, e);
	*n = 0;
	while (rc == E_OK && got > 0) {
		got = os->getdents(os, runs_fd, dents, DENTS_BYTES);
		if (got == -EINTR) {
			got = 1;
			continue;
		}
		if (got < 0)
			rc = err_set(e, E_REPORT_READ, (int)-got, "listing the run folders");
		else
			rc = take_names(dents, (size_t)got, a, names, n, e);
	}
	if (rc == E_OK && *n > 1)
		qsort(names, *n, sizeof(char *), by_name);
	*out = names;
	return rc;
}

/* ---- reading one folder ---- */

bool
run_take_text(struct json *j, struct arena *a, const char **out)
{
	struct slice raw, text;
	bool escaped;

	if (json_null(j))
		return true;
	if (!json_string(j, &raw, &escaped) ||
		json_text(raw, escaped, RUN_TEXT_MAX_BYTES, a, &text, NULL) != E_OK)
		return false;
	*out = (const char *)text.p;
	return true;
}

static bool
take_exit(struct json *j, int *out)
{
	int64_t v;

	if (!json_i64(j, &v) || v < 0 || v > 255)
		return false;
	*out = (int)v;
	return true;
}

/* {log, seq, digest}, or null */
static bool
take_audit(struct json *j, struct audit_mark *out)
{
	struct audit_mark mark = { .seq = 0 };
	struct slice key;

	if (json_null(j))
		return true;
	if (!json_enter_object(j))
		return false;
	while (json_key(j, &key)) {
		bool ok = slice_is(key, "log")      ? audit_take_log(j, mark.log)
			  : slice_is(key, "seq")    ? json_u64(j, &mark.seq)
			  : slice_is(key, "digest") ? audit_take_id(j, &mark.digest)
						    : json_skip(j, NULL);

		if (!ok)
			return false;
	}
	*out = mark;
	return !j->bad;
}

/* Of the refusal record: what a person wants in one line, and how bad it was. */
static bool
take_refusal(struct json *j, struct arena *a, struct run_info *info)
{
	struct slice key;

	if (json_null(j))
		return true;
	if (!json_enter_object(j))
		return false;
	while (json_key(j, &key)) {
		bool ok = slice_is(key, "severity") ? run_take_text(j, a, &info->severity)
			  : slice_is(key, "what")   ? run_take_text(j, a, &info->what)
			  : slice_is(key, "why")    ? run_take_text(j, a, &info->why)
			  : slice_is(key, "code")   ? json_u64(j, &info->code)
						    : json_skip(j, NULL);

		if (!ok)
			return false;
	}
	return !j->bad;
}

static bool
take_paths(struct json *j, struct arena *a, struct run_info *info)
{
	struct slice key;

	if (!json_enter_object(j))
		return false;
	while (json_key(j, &key)) {
		bool ok = slice_is(key, "source")   ? run_take_text(j, a, &info->source)
			  : slice_is(key, "target") ? run_take_text(j, a, &info->target)
						    : json_skip(j, NULL);

		if (!ok)
			return false;
	}
	return !j->bad;
}

static bool
take_member(struct json *j, struct slice key, struct arena *a, struct run_info *info)
{
	if (slice_is(key, "mode"))
		return run_take_text(j, a, &info->mode);
	if (slice_is(key, "status"))
		return run_take_text(j, a, &info->status);
	if (slice_is(key, "failureCode"))
		return run_take_text(j, a, &info->failure);
	if (slice_is(key, "startedAt"))
		return run_take_text(j, a, &info->started);
	if (slice_is(key, "snapshotId"))
		return run_take_text(j, a, &info->snapshot_id);
	if (slice_is(key, "vault"))
		return run_take_text(j, a, &info->vault);
	if (slice_is(key, "repositoryId"))
		return run_take_text(j, a, &info->repo_id);
	if (slice_is(key, "paths"))
		return take_paths(j, a, info);
	if (slice_is(key, "refusal"))
		return take_refusal(j, a, info);
	if (slice_is(key, "audit"))
		return take_audit(j, &info->audit);
	if (slice_is(key, "exitCode"))
		return take_exit(j, &info->exit_code);
	if (slice_is(key, "durationMs"))
		return json_u64(j, &info->duration_ms);
	return json_skip(j, NULL);
}

static bool
take_report(const struct buf *text, struct arena *a, struct run_info *info)
{
	struct json j;
	struct slice key;

	json_init(&j, text->p, text->len);
	if (!json_enter_object(&j))
		return false;
	while (json_key(&j, &key)) {
		if (!take_member(&j, key, a, info))
			return false;
	}
	return json_end(&j);
}

/* The journal's first line knows what an unfinished run was. */
static void
take_journal(const struct buf *text, struct arena *a, struct run_info *info)
{
	const uint8_t *end = text->len == 0 ? NULL : memchr(text->p, '\n', text->len);
	struct json j;
	struct slice key;

	if (end == NULL)
		return;
	json_init(&j, text->p, (size_t)(end - text->p));
	if (!json_enter_object(&j) || !json_key(&j, &key) || !slice_is(key, "data") ||
		!json_enter_object(&j))
		return;
	while (json_key(&j, &key)) {
		if (!take_member(&j, key, a, info))
			return;
	}
	while (json_key(&j, &key)) {
		bool ok = slice_is(key, "ts") ? run_take_text(&j, a, &info->started)
					      : json_skip(&j, NULL);

		if (!ok)
			return;
	}
}

#define JOURNAL_HEAD_BYTES 4096

static void
read_unfinished(const struct os *os, int dir, struct arena *a, struct run_info *info)
{
	autoclean(buf_done) struct buf text = buf_limit(JOURNAL_HEAD_BYTES);
	struct io_fd f = { os, -1 };
	struct err e;
	size_t got = 0;

	run_owner_read(os, dir, a, info);
	info->status = info->life == RUN_LIVE ? "running" : "unfinished";
	if (buf_reserve(&text, JOURNAL_HEAD_BYTES, &e) != E_OK)
		return;
	if (io_open(os, dir, RUN_JOURNAL_NAME, O_RDONLY | O_NOFOLLOW, 0, &f.fd, &e) != E_OK)
		return;
	if (io_read(os, f.fd, text.p, JOURNAL_HEAD_BYTES, &got, RUN_JOURNAL_NAME, &e) == E_OK) {
		text.len = got;
		take_journal(&text, a, info);
	}
	io_fd_done(&f);
}

void
run_read_folder(const struct os *os, int runs_fd, struct arena *a, struct run_info *info)
{
	autoclean(buf_done) struct buf text = buf_limit(RUN_TEXT_MAX_BYTES);
	struct io_fd dir = { os, -1 };
	struct err e;

	info->status = "unreadable";
	info->life = RUN_UNKNOWN;
	if (io_open(os, runs_fd, info->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &dir.fd, &e) !=
		E_OK)
		return;
	if (io_read_file(os, dir.fd, RUN_REPORT_NAME, &text, &e) == E_OK) {
		info->life = RUN_ENDED;
		if (!take_report(&text, a, info))
			info->status =
				"unreadable"; /* what was read before the fault is kept for the rest */
	} else if (e.sys == ENOENT) {
		read_unfinished(os, dir.fd, a, info);
	}
	io_fd_done(&dir);
}

/* Names know seconds only; the reports know better.  Newest first. */
static int
by_start(const void *pa, const void *pb)
{
	const struct run_info *a = pa, *b = pb;
	struct instant ta, tb;

	if (a->started != NULL && b->started != NULL &&
		instant_parse(a->started, strlen(a->started), &ta) &&
		instant_parse(b->started, strlen(b->started), &tb) && instant_cmp(ta, tb) != 0)
		return instant_cmp(tb, ta);
	return strcmp(b->id, a->id);
}

static enum ecode
read_folders(const struct os *os, int runs_fd, struct arena *a, struct run_info **out, size_t *n,
	struct err *e)
{
	const char **names;
	void *infos = NULL;
	size_t count = 0;
	enum ecode rc = run_names(os, runs_fd, a, &names, &count, e);

	if (rc == E_OK)
		rc = arena_alloc(a, count * sizeof(struct run_info), &infos, e);
	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < count; i++) {
		struct run_info *info = (struct run_info *)infos + i;

		*info = (struct run_info){ .id = names[count - 1 - i], .mode = "?" };
		run_read_folder(os, runs_fd, a, info);
	}
	if (count > 1)
		qsort(infos, count, sizeof(struct run_info), by_start);
	*out = infos;
	*n = count;
	return E_OK;
}

enum ecode
run_list_all(const struct os *os, const char *state_dir, struct arena *a, struct run_info **out,
	size_t *n, struct err *e)
{
	struct io_fd runs = { os, -1 };
	const char *path;
	struct err why;
	enum ecode rc = path_join(a, state_dir, "runs", &path, e);

	if (rc != E_OK)
		return rc;
	rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &runs.fd, &why);
	if (rc != E_OK && why.sys == ENOENT) { /* nothing ran yet */
		*out = NULL;
		*n = 0;
		return E_OK;
	}
	if (rc != E_OK)
		return err_set(e, E_REPORT_READ, why.sys, "%s", why.detail);
	rc = read_folders(os, runs.fd, a, out, n, e);
	io_fd_done(&runs);
	return rc;
}
