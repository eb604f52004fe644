/* restore-undo: list, show and put back safety sets; list and put back trees that were replaced. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "engine/undo.h"
#include "engine/undo_previous.h"

#define DOCUMENT_MAX_BYTES (256U << 20) /* some million paths */

static enum ecode
find_base(struct cli *cli, const char **out, struct err *e)
{
	if (cli->set.data_dir == NULL)
		return err_set(e, E_SAFETY_SET_ABSENT, 0,
			"neither XDG_DATA_HOME nor HOME names a directory");
	return path_join(&cli->arena, cli->set.data_dir, SAFETY_SETS_DIR, out, e);
}

static const char *
safe(struct cli *cli, const char *text)
{
	return text == NULL ? "" : cli_shown(cli, text, strlen(text));
}

static enum ecode
print(struct cli *cli, struct json_out *w, struct buf *out, struct err *e)
{
	enum ecode rc = json_done(w, e);

	if (rc == E_OK)
		rc = buf_add_byte(out, '\n', e);
	if (rc == E_OK)
		screen_out_bytes(&cli->screen, out->p, out->len);
	return rc;
}

/* ---- list ---- */

static void
put_set(struct json_out *w, const struct safety_set *set)
{
	json_open_object(w);
	json_member_str(w, "set", set->name);
	json_member_str(w, "path", set->path);
	json_member_bool(w, "whole", set->whole);
	json_member_str(w, "timestamp", set->created);
	json_member_str(w, "destination", set->dest);
	json_member_str(w, "source_backup", set->source);
	json_member_str(w, "run_id", set->run_id);
	json_member_u64(w, "files", set->files);
	json_close_object(w);
}

static enum ecode
list_json(struct cli *cli, const struct safety_sets *sets, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &out);
	json_open_array(&w);
	for (size_t i = 0; i < sets->n; i++)
		put_set(&w, &sets->v[i]);
	json_close_array(&w);
	return print(cli, &w, &out, e);
}

static enum ecode
list(struct cli *cli, struct err *e)
{
	struct safety_sets sets;
	const char *base;
	enum ecode rc = find_base(cli, &base, e);

	cli->operation = "listing the safety sets";
	if (rc == E_OK)
		rc = safety_list(cli->os, base, &cli->arena, &sets, e);
	if (rc != E_OK)
		return rc;
	if (cli->screen.json)
		return list_json(cli, &sets, e);
	if (sets.n == 0)
		screen_out(&cli->screen, "there are no safety sets in %s", safe(cli, base));
	for (size_t i = 0; i < sets.n; i++) {
		const struct safety_set *set = &sets.v[i];

		if (set->whole)
			screen_out(&cli->screen, "%s  %" PRIu64 " files of %s", set->name,
				set->files, safe(cli, set->dest));
		else
			screen_out(&cli->screen,
				"%s  not whole: the run ended before anything was changed",
				set->name);
	}
	return E_OK;
}

/* ---- show and put back ---- */

static const char *
state_text(enum undo_state state)
{
	switch (state) {
	case UNDO_SAME:
		return "same";
	case UNDO_CHANGED:
		return "changed";
	case UNDO_MISSING:
		return "missing";
	case UNDO_CREATED:
		return "new";
	case UNDO_LOST:
		return "no-copy";
	}
	return "?"; /* not reached */
}

static enum ecode
tell_json(struct cli *cli, const struct undo_result *r, bool done, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &out);
	json_open_object(&w);
	json_member_str(&w, "message_type", done ? "undo" : "undo_plan");
	json_member_str(&w, "set", r->set.name);
	json_member_str(&w, "destination", r->set.dest);
	for (unsigned i = 0; i <= UNDO_LOST; i++)
		json_member_u64(&w, state_text((enum undo_state)i), r->counts[i]);
	json_member_u64(&w, "put_back", r->put);
	json_member_u64(&w, "metadata_problems", r->meta_problems);
	json_member_str(&w, "safety_set", r->safety);
	json_member_str(&w, "run_id", cli->run_id[0] == '\0' ? NULL : cli->run_id);
	json_put_key(&w, "paths");
	json_open_array(&w);
	for (size_t i = 0; i < r->count; i++) {
		json_open_object(&w);
		json_member_str(&w, "path", r->paths[i].entry->rel);
		json_member_str(&w, "state", state_text(r->paths[i].state));
		json_close_object(&w);
	}
	json_close_array(&w);
	json_close_object(&w);
	return print(cli, &w, &out, e);
}

static void
tell_people(struct cli *cli, const struct undo_result *r, bool done)
{
	if (!done)
		for (size_t i = 0; i < r->count; i++)
			screen_out(&cli->screen, "%-8s %s", state_text(r->paths[i].state),
				safe(cli, r->paths[i].entry->rel));
	if (cli->screen.quiet)
		return;
	screen_out(&cli->screen,
		"set %s of %s: %" PRIu64 " changed, %" PRIu64 " missing, %" PRIu64
		" the same, %" PRIu64 " new since (they stay)",
		r->set.name, safe(cli, r->set.dest), r->counts[UNDO_CHANGED],
		r->counts[UNDO_MISSING], r->counts[UNDO_SAME], r->counts[UNDO_CREATED]);
	if (r->meta_problems > 0)
		screen_out(&cli->screen, "%" PRIu64 " attributes could not be applied",
			r->meta_problems);
	if (!done)
		return;
	screen_out(&cli->screen, "put back: %" PRIu64 " paths", r->put);
	if (r->safety != NULL)
		screen_out(&cli->screen, "what was there is in the safety set %s",
			safe(cli, r->safety));
}

static enum ecode
tell(struct cli *cli, const struct undo_result *r, bool done, struct err *e)
{
	if (cli->screen.json)
		return tell_json(cli, r, done, e);
	tell_people(cli, r, done);
	return E_OK;
}

static enum ecode
show(struct cli *cli, struct undo_args *args, struct err *e)
{
	struct undo_result r;
	enum ecode rc;

	args->dry_run = true;
	args->run_id = "show";
	rc = undo_run(cli->os, args, &cli->arena, &r, e);
	return rc == E_OK ? tell(cli, &r, false, e) : rc;
}

static enum ecode
put_back(struct cli *cli, struct undo_args *args, struct err *e)
{
	static const char *const safety[] = {
		"every copy was compared with its recorded hash before the first change",
		"what was there was copied to a safety set before the first change",
		"each file was replaced in one step", NULL
	};
	struct job_args how = { .mode = "restore-undo",
		.no_vault = true,
		.changes = true,
		.kind = TICKER_RESTORE,
		.safety = safety };
	struct session none = { .os = NULL };
	struct safety_set set;
	struct safety_entry *entries;
	struct undo_result r = { .count = 0 };
	struct job job;
	enum ecode rc = safety_load(cli->os, args->base, args->set, &cli->arena, &set, &entries, e);

	cli->operation = cli_text(cli, "undo with safety set %s", args->set);
	if (rc != E_OK)
		return rc; /* nothing begins without a set */
	how.operation = cli->operation;
	how.source = set.path;
	how.target = set.dest;
	how.destination = set.dest;
	rc = job_begin(&job, cli, &how, e);
	if (rc != E_OK)
		return rc;
	rc = job_name(&job, &args->run_id, e);
	if (rc == E_OK)
		rc = undo_run(cli->os, args, &cli->arena, &r, e);
	job.result.counts.selected_files = r.count;
	job.result.counts.downloaded_files = r.put;
	rc = job_end(&job, &none, rc, e);
	return rc == E_OK ? tell(cli, &r, true, e) : rc;
}

/* ---- trees that restore-swap replaced ---- */

static enum ecode
list_trees(struct cli *cli, const char *dest, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct previous_tree *v = NULL;
	struct json_out w;
	size_t n = 0;
	enum ecode rc = undo_previous_list(cli->os, dest, &cli->arena, &v, &n, e);

	if (rc != E_OK)
		return rc;
	if (!cli->screen.json) {
		if (n == 0)
			screen_out(&cli->screen, "no tree is kept beside %s", safe(cli, dest));
		for (size_t i = 0; i < n; i++)
			screen_out(&cli->screen, "%s  %s", safe(cli, v[i].run_id),
				safe(cli, v[i].path));
		return E_OK;
	}
	json_begin(&w, &out);
	json_open_array(&w);
	for (size_t i = 0; i < n; i++) {
		json_open_object(&w);
		json_member_str(&w, "run_id", v[i].run_id);
		json_member_str(&w, "path", v[i].path);
		json_close_object(&w);
	}
	json_close_array(&w);
	return print(cli, &w, &out, e);
}

static enum ecode
tell_tree(struct cli *cli, const struct undo_previous_result *r, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	if (!cli->screen.json) {
		screen_out(&cli->screen, "%s: %s", r->done ? "put back" : "would be put back",
			safe(cli, r->chosen.path));
		if (r->kept != NULL)
			screen_out(&cli->screen, "what was there is kept: %s", safe(cli, r->kept));
		return E_OK;
	}
	json_begin(&w, &out);
	json_open_object(&w);
	json_member_str(&w, "message_type", r->done ? "undo" : "undo_plan");
	json_member_str(&w, "previous_tree", r->chosen.path);
	json_member_str(&w, "kept", r->kept);
	json_member_str(&w, "run_id", cli->run_id[0] == '\0' ? NULL : cli->run_id);
	json_close_object(&w);
	return print(cli, &w, &out, e);
}

static enum ecode
put_tree_back(struct cli *cli, struct undo_previous_args *args, struct err *e)
{
	static const char *const safety[] = { "the tree that was there is kept whole", NULL };
	struct job_args how = { .mode = "restore-undo",
		.no_vault = true,
		.changes = true,
		.kind = TICKER_RESTORE,
		.target = args->dest,
		.destination = args->dest,
		.safety = safety };
	struct session none = { .os = NULL };
	struct undo_previous_result r = { .done = false };
	struct job job;
	enum ecode rc;

	how.operation = cli_text(cli, "undo at %s", args->dest);
	rc = job_begin(&job, cli, &how, e);
	if (rc != E_OK)
		return rc;
	rc = job_name(&job, &args->run_id, e);
	args->state_dir = cli->set.state_dir;
	if (rc == E_OK)
		rc = undo_previous_run(cli->os, args, &cli->arena, &r, e);
	if (r.done && r.unproven)
		job_warn(&job,
			"the tree that was there will stay until you remove it: no record of it could be written");
	rc = job_end(&job, &none, rc, e);
	return rc == E_OK ? tell_tree(cli, &r, e) : rc;
}

static enum ecode
undo_trees(struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;
	struct undo_previous_args args = { .dry_run = flag_given(o, FLAG_UNDO_DRY_RUN),
		.run_id = "show" };
	struct undo_previous_result r;
	enum ecode rc = pick_absolute(cli, flag_text(o, FLAG_TARGET), &args.dest, e);

	if (rc != E_OK)
		return rc;
	if (o->arg_count > 1)
		return err_set(e, E_USAGE, 0, "restore-undo --target: list, or the run's name");
	cli->operation = cli_text(cli, "looking for replaced trees of %s", args.dest);
	if (o->arg_count == 0 || strcmp(o->args[0], "list") == 0)
		return list_trees(cli, args.dest, e);
	args.which = o->args[0];
	if (!args.dry_run)
		return put_tree_back(cli, &args, e);
	rc = undo_previous_run(cli->os, &args, &cli->arena, &r, e);
	return rc == E_OK ? tell_tree(cli, &r, e) : rc;
}

enum ecode
cmd_undo(struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;
	bool showing = o->arg_count == 2 && strcmp(o->args[0], "show") == 0;
	struct undo_args args = { .home = cli->set.home };
	enum ecode rc;

	if (flag_given(o, FLAG_TARGET))
		return undo_trees(cli, e);
	if (o->arg_count == 0 || (o->arg_count == 1 && strcmp(o->args[0], "list") == 0))
		return list(cli, e);
	if (o->arg_count == 2 && !showing)
		return err_set(e, E_USAGE, 0, "restore-undo: list, show SET, or SET");
	rc = find_base(cli, &args.base, e);
	if (rc != E_OK)
		return rc;
	args.set = o->args[showing ? 1 : 0];
	cli->operation = cli_text(cli, "looking at safety set %s", args.set);
	return showing || flag_given(o, FLAG_UNDO_DRY_RUN) ? show(cli, &args, e)
							   : put_back(cli, &args, e);
}
