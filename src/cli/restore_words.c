#include "cli/restore_words.h"

#include <string.h>

#include "base/path.h"
#include "cli/pick.h"
#include "cli/textfile.h"
#include "cli/units.h"
#include "report/runlog.h"

#define LIST_MAX_BYTES (256U << 20) /* two million paths of ordinary length */
#define STRIP_MAX      4096         /* names; more have no room in a path */

/* ---- which snapshot ---- */

/* The last name of the path that looks like a run: RUN may be its id, its folder or a file in there. */
static const char *
run_of(struct cli *cli, const char *path)
{
	size_t len = strlen(path);

	while (len > 0) {
		size_t from = len;
		const char *name;

		while (from > 0 && path[from - 1] != '/')
			from--;
		name = cli_text(cli, "%.*s", (int)(len - from), path + from);
		if (run_id_is_one(name))
			return name;
		len = from > 0 ? from - 1 : 0;
	}
	return NULL;
}

/* The record that this machine keeps, not the file given, says what was saved. */
static enum ecode
find_run(struct cli *cli, const char *id, const struct run_info **out, struct err *e)
{
	struct run_info *runs = NULL;
	size_t n = 0;
	enum ecode rc;

	if (cli->set.state_dir == NULL)
		return err_set(
			e, E_REPORT_READ, 0, "neither XDG_STATE_HOME nor HOME names a directory");
	rc = run_list_all(cli->os, cli->set.state_dir, &cli->arena, &runs, &n, e);
	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < n; i++)
		if (strcmp(runs[i].id, id) == 0) {
			*out = &runs[i];
			return E_OK;
		}
	return err_set(e, E_SNAPSHOT_ABSENT, 0, "run %s is not among the runs of this machine", id);
}

static enum ecode
take_manifest(struct cli *cli, const char *text, const char **out, struct err *e)
{
	const struct run_info *run = NULL;
	const char *id = NULL, *path;
	enum ecode rc = pick_absolute(cli, text, &path, e);

	if (rc == E_OK)
		id = run_of(cli, path);
	if (rc == E_OK && id == NULL)
		rc = err_set(e, E_USAGE, 0,
			"--manifest %s: give a run's id, its folder or its run_report.json", text);
	if (rc == E_OK)
		rc = find_run(cli, id, &run, e);
	if (rc != E_OK)
		return rc;
	if (run->mode == NULL || strcmp(run->mode, "backup") != 0 || run->snapshot_id == NULL)
		return err_set(
			e, E_SNAPSHOT_ABSENT, 0, "run %s was no backup that made a snapshot", id);
	*out = run->snapshot_id;
	return E_OK;
}

/* "latest", "latest:sub/folder" */
static bool
is_latest(const char *text)
{
	return strcmp(text, "latest") == 0 || strncmp(text, "latest:", 7) == 0;
}

static enum ecode
take_snapshot(
	struct cli *cli, struct restore_selection *hold, struct restore_args *out, struct err *e)
{
	const struct options *o = cli->opt;
	const char *run = flag_text(o, FLAG_MANIFEST), *at = flag_text(o, FLAG_AT);
	enum ecode rc;

	if (run != NULL && (at != NULL || o->arg_count > 0))
		return err_set(e, E_USAGE, 0, "--manifest says which snapshot: without %s",
			at != NULL ? "--at" : "another");
	if (run != NULL)
		return take_manifest(cli, run, &out->snapshot, e);
	out->snapshot = o->arg_count > 0 ? o->args[0] : at != NULL ? "latest" : NULL;
	if (out->snapshot == NULL)
		return err_set(e, E_USAGE, 0, "restore needs a snapshot: an id, or latest");
	if (at == NULL)
		return E_OK;
	if (!is_latest(out->snapshot))
		return err_set(
			e, E_USAGE, 0, "--at says which snapshot: without %s", out->snapshot);
	rc = time_from_person(at, &hold->at, e);
	out->at = &hold->at;
	return rc;
}

/* ---- which paths ---- */

static enum ecode
read_list(struct cli *cli, const char *file, struct buf *text, struct err *e)
{
	enum ecode rc = textfile_read(cli->os, file, text, e);

	return rc == E_OK ? buf_add_byte(text, '\n', e) : rc; /* the next file begins a line */
}

static size_t
count_lines(const struct buf *text)
{
	size_t n = 0;

	for (size_t i = 0; i < text->len; i++)
		n += text->p[i] == '\n';
	return n;
}

/* Bytes as they are: a name may begin or end with a space. */
static enum ecode
take_lines(struct cli *cli, const struct buf *text, struct restore_args *out, struct err *e)
{
	struct slice rest = buf_slice(text), line;
	const char **v;
	enum ecode rc;
	void *room;

	rc = arena_alloc(&cli->arena, (count_lines(text) + 1) * sizeof(*v), &room, e);
	if (rc != E_OK)
		return rc;
	v = room;
	while (rc == E_OK && text_line(&rest, &line)) {
		if (line.len == 0)
			continue;
		if (memchr(line.p, '\0', line.len) != NULL)
			return err_set(e, E_USAGE, 0, "--files-from: a path has a zero byte");
		rc = arena_str(&cli->arena, line.p, line.len, &v[out->only_count], e);
		out->only_count += rc == E_OK;
	}
	out->only = v;
	if (rc == E_OK && out->only_count == 0)
		rc = err_set(e, E_USAGE, 0, "--files-from: there is no path in it");
	return rc;
}

static enum ecode
take_lists(struct cli *cli, struct restore_args *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(LIST_MAX_BYTES);
	const struct flag_value *given = &cli->opt->flags[FLAG_RESTORE_FILES_FROM];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < given->n; i++)
		rc = read_list(cli, given->v[i], &text, e);
	return rc == E_OK && given->n > 0 ? take_lines(cli, &text, out, e) : rc;
}

/* ---- which places ---- */

/*
 * FROM is a path of the snapshot and cleaned like one.  TO is kept as it was
 * typed, but for slashes: what would leave the target is refused, not bent.
 */
static enum ecode
take_move(struct cli *cli, const char *text, struct restore_move *out, struct err *e)
{
	autoclean(buf_done) struct buf from = buf_limit(PATH_TEXT_MAX);
	const char *equals = strchr(text, '='), *to;
	size_t len;
	enum ecode rc;

	if (equals == NULL || equals == text || equals[1] == '\0')
		return err_set(e, E_USAGE, 0, "--map %s: write it like FROM=TO", text);
	rc = path_clean(&from, cli_text(cli, "/%.*s", (int)(equals - text), text),
		(size_t)(equals - text) + 1, e);
	if (rc == E_OK)
		rc = arena_str(&cli->arena, from.p, from.len, &out->from, e);
	for (to = equals + 1; *to == '/';)
		to++;
	len = strlen(to);
	while (len > 0 && to[len - 1] == '/')
		len--;
	out->to = cli_text(cli, "/%.*s", (int)len, to);
	return rc;
}

static enum ecode
take_moves(struct cli *cli, struct restore_args *out, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[FLAG_MAP];
	struct restore_move *v;
	enum ecode rc;
	void *room;

	rc = arena_alloc(&cli->arena, (given->n + 1) * sizeof(*v), &room, e);
	v = room;
	for (size_t i = 0; rc == E_OK && i < given->n; i++)
		rc = take_move(cli, given->v[i], &v[i], e);
	if (rc != E_OK)
		return rc;
	out->moves = v;
	out->move_count = given->n;
	return E_OK;
}

static enum ecode
take_strip(struct cli *cli, struct restore_args *out, struct err *e)
{
	const char *text = flag_text(cli->opt, FLAG_STRIP);
	uint64_t n = 0;
	enum ecode rc = E_OK;

	if (text != NULL)
		rc = number_from_person("--strip-components", text, 0, STRIP_MAX, &n, e);
	out->strip = (size_t)n;
	return rc;
}

/* ---- which metadata ---- */

struct metadata_row {
	const char *name; /* as restore_without_named knows it */
	enum flag no, yes;
};
static const struct metadata_row metadata_rows[] = {
	{ "owner", FLAG_NO_OWNER, FLAG_OWNER },
	{ "mode", FLAG_NO_MODE, FLAG_MODE },
	{ "times", FLAG_NO_TIMES, FLAG_TIMES },
	{ "xattrs", FLAG_NO_XATTRS, FLAG_XATTRS },
	{ "acls", FLAG_NO_ACLS, FLAG_ACLS },
	{ "hardlinks", FLAG_NO_HARDLINKS, FLAG_HARDLINKS },
	{ "devices", FLAG_NO_DEVICES, FLAG_DEVICES },
	{ "setuid", FLAG_NO_SETUID, FLAG_ALLOW_SETUID },
};

static enum ecode
take_metadata(struct cli *cli, struct restore_args *out, struct err *e)
{
	const struct options *o = cli->opt;
	const char *which = flag_text(o, FLAG_METADATA);
	bool none = which != NULL && strcmp(which, "none") == 0;

	out->metadata_auto = which != NULL && strcmp(which, "auto") == 0;
	if (which != NULL && !none && !out->metadata_auto && strcmp(which, "all") != 0)
		return err_set(e, E_USAGE, 0, "--metadata %s: give all, auto or none", which);
	for (size_t i = 0; i < sizeof(metadata_rows) / sizeof(metadata_rows[0]); i++) {
		const struct metadata_row *row = &metadata_rows[i];
		bool yes = flag_given(o, row->yes), no = flag_given(o, row->no);

		if (yes && no)
			return err_set(e, E_USAGE, 0, "--%s and --%s together",
				flag_row(row->yes)->name, flag_row(row->no)->name);
		*restore_without_named(&out->without, row->name) = no || (none && !yes);
	}
	out->allow_setid = flag_given(o, FLAG_ALLOW_SETUID);
	if (flag_given(o, FLAG_NO_SPARSE))
		out->sparse = false;
	out->owner_map = o->flags[FLAG_OWNER_MAP].v;
	out->owner_map_count = o->flags[FLAG_OWNER_MAP].n;
	return E_OK;
}

enum ecode
take_selection(
	struct cli *cli, struct restore_selection *hold, struct restore_args *out, struct err *e)
{
	enum ecode rc = take_snapshot(cli, hold, out, e);

	if (rc == E_OK)
		rc = take_lists(cli, out, e);
	if (rc == E_OK)
		rc = take_moves(cli, out, e);
	if (rc == E_OK)
		rc = take_metadata(cli, out, e);
	return rc == E_OK ? take_strip(cli, out, e) : rc;
}

/* ---- an interrupted restore ---- */

/* Everything else is in its plan. */
static enum ecode
only_resume(struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;

	if (o->arg_count > 0)
		return err_set(
			e, E_USAGE, 0, "--resume says which snapshot: without %s", o->args[0]);
	for (unsigned i = GLOBAL_FLAGS; i < FLAGS; i++)
		if (flag_given(o, (enum flag)i) && i != FLAG_RESUME && i != FLAG_TARGET &&
			i != FLAG_DEST && i != FLAG_ARTIFACTS && i != FLAG_ALLOW_PARTIAL)
			return err_set(e, E_USAGE, 0,
				"a restore is continued as it was planned: without --%s",
				flag_row((enum flag)i)->name);
	return E_OK;
}

enum ecode
take_resume(struct cli *cli, struct restore_approval *hold, struct restore_args *out, struct err *e)
{
	const struct options *o = cli->opt;
	const char *given = flag_text(o, flag_given(o, FLAG_DEST) ? FLAG_DEST : FLAG_TARGET);
	struct restore_resume_ask ask = { .run_id = flag_text(o, FLAG_RESUME),
		.state_dir = cli->set.state_dir };
	enum ecode rc = only_resume(cli, e);

	if (rc == E_OK && given != NULL)
		rc = pick_absolute(cli, given, &ask.dest, e);
	if (rc == E_OK)
		rc = restore_resume_find(cli->os, &ask, &cli->arena, hold, out, e);
	out->artifacts = true; /* beside those of the run that is continued */
	out->artifacts_dir = flag_text(o, FLAG_ARTIFACTS);
	out->allow_partial = flag_given(o, FLAG_ALLOW_PARTIAL);
	return rc;
}
