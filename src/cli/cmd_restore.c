/* restore, restore-swap, restore-in-place: flags → engine/restore; summary and JSON as restic's. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "cli/conflicts.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "cli/restore_words.h"
#include "cli/units.h"
#include "engine/restore.h"
#include "engine/safety.h"

#define SUMMARY_MAX_BYTES (64U << 10)

struct restore_words {
	struct restore_args args;
	struct snapshot_filter filter;
	struct restore_selection selection;
	struct rules *includes, *excludes, *conflicts;
	struct restore_approval approval; /* of a plan that is applied, or continued */
	const char *shown;                /* the place, as it was typed */
};

static void
words_done(struct restore_words *w)
{
	if (w->includes != NULL)
		rules_close(&w->includes);
	if (w->excludes != NULL)
		rules_close(&w->excludes);
	if (w->conflicts != NULL)
		rules_close(&w->conflicts);
	restore_approval_done(&w->approval);
}

static enum ecode
take_verify(const char *text, enum restore_verify *out, struct err *e)
{
	*out = VERIFY_HASH;
	if (text == NULL || strcmp(text, "hash") == 0)
		return E_OK;
	*out = VERIFY_SIZE;
	if (strcmp(text, "size") == 0)
		return E_OK;
	*out = VERIFY_NONE;
	if (strcmp(text, "none") == 0)
		return E_OK;
	return err_set(e, E_USAGE, 0, "--verify %s: give hash, size or none", text);
}

static enum ecode
take_safety(struct cli *cli, struct restore_words *w, struct err *e)
{
	const struct options *o = cli->opt;
	const char *most = flag_text(o, FLAG_MAX_RESTORE_BACKUPS);
	uint64_t keep = SAFETY_KEPT_DEFAULT;
	enum ecode rc = E_OK;

	if (w->args.kind == RESTORE_EMPTY)
		return E_OK;
	w->args.home = cli->set.home;
	w->args.state_dir = cli->set.state_dir;
	if (most != NULL)
		rc = number_from_person(
			"--max-restore-backups", most, 1, SAFETY_KEPT_MAX, &keep, e);
	w->args.max_backups = (unsigned)keep;
	if (rc != E_OK || w->args.kind == RESTORE_SWAP)
		return rc;
	if (flag_given(o, FLAG_NO_PRE_RESTORE_BACKUP)) {
		if (flag_given(o, FLAG_YES_WITHOUT_SAFETY_COPY))
			return E_OK;
		return err_set(e, E_SAFETY_CONFIRM, 0,
			"--no-pre-restore-backup: what is overwritten could not be brought back");
	}
	if (cli->set.data_dir == NULL)
		return err_set(
			e, E_SAFETY_COPY, 0, "neither XDG_DATA_HOME nor HOME names a directory");
	return path_join(&cli->arena, cli->set.data_dir, SAFETY_SETS_DIR, &w->args.safety_dir, e);
}

/* Everything a plan decides is in the plan: options beside it would be another plan. */
static enum ecode
take_plan(struct cli *cli, struct restore_words *w, struct err *e)
{
	const struct options *o = cli->opt;

	for (unsigned i = GLOBAL_FLAGS; i < FLAGS; i++)
		if (flag_given(o, (enum flag)i) && i != FLAG_ARTIFACTS)
			return err_set(e, E_USAGE, 0, "a plan is applied as it is: without --%s",
				flag_row((enum flag)i)->name);
	w->args.artifacts_dir = flag_text(o, FLAG_ARTIFACTS);
	if (restore_plan_load(cli->os, o->args[1], NULL, &w->approval, &w->args, e) != E_OK)
		return e->code;
	return take_safety(cli, w, e);
}

/* A plan is carried out later, from somewhere else perhaps. */
static enum ecode
take_records(struct cli *cli, struct restore_words *w, struct err *e)
{
	const struct options *o = cli->opt;

	w->args.artifacts_dir = flag_text(o, FLAG_ARTIFACTS);
	w->args.plan_file = flag_text(o, FLAG_PLAN);
	if (w->args.plan_file == NULL)
		return E_OK;
	if (w->args.dry_run)
		return err_set(
			e, E_USAGE, 0, "--plan writes a plan and nothing else: without --dry-run");
	return pick_absolute(cli, w->args.dest, &w->args.dest, e);
}

static enum ecode
take_words(struct cli *cli, struct restore_words *w, struct err *e)
{
	static const struct pick_flags includes = { FLAG_INCLUDE, FLAG_IINCLUDE, FLAG_INCLUDE_FILE,
		FLAG_IINCLUDE_FILE };
	static const struct pick_flags excludes = { FLAG_EXCLUDE, FLAG_IEXCLUDE, FLAG_EXCLUDE_FILE,
		FLAG_IEXCLUDE_FILE };
	const struct options *o = cli->opt;
	enum ecode rc;

	w->args.artifacts =
		true; /* WC-17, WC-23: in every restored tree, or where --artifacts says */
	if (o->command == CMD_RESTORE_SWAP)
		w->args.kind = RESTORE_SWAP;
	else if (o->command == CMD_RESTORE_IN_PLACE)
		w->args.kind = RESTORE_IN_PLACE;
	else if (o->arg_count == 2 && strcmp(o->args[0], "apply") == 0)
		return take_plan(cli, w, e);
	else if (flag_given(o, FLAG_RESUME)) {
		rc = take_resume(cli, &w->approval, &w->args, e);
		return rc == E_OK ? take_safety(cli, w, e) : rc;
	}
	if (o->arg_count > 1)
		return err_set(e, E_USAGE, 0, "%s takes one snapshot; \"%s\" is too much",
			command_row(o->command)->name, o->args[1]);
	w->args.dest = flag_text(o, flag_given(o, FLAG_DEST) ? FLAG_DEST : FLAG_TARGET);
	w->args.dry_run = flag_given(o, FLAG_RESTORE_DRY_RUN);
	w->args.sparse = flag_given(o, FLAG_SPARSE);
	w->args.ownership_by_name = flag_given(o, FLAG_OWNERSHIP_BY_NAME);
	w->args.strict_metadata = flag_given(o, FLAG_STRICT_METADATA);
	if (w->args.dest == NULL || w->args.dest[0] == '\0')
		return err_set(e, E_USAGE, 0, "%s needs a place: --target DIR",
			command_row(o->command)->name);
	rc = take_verify(flag_text(o, FLAG_VERIFY), &w->args.verify, e);
	w->shown = w->args.dest;
	w->args.allow_partial = flag_given(o, FLAG_ALLOW_PARTIAL);
	if (rc == E_OK) /* a stage is found again from anywhere */
		rc = pick_absolute(cli, w->args.dest, &w->args.dest, e);
	if (rc == E_OK)
		rc = take_selection(cli, &w->selection, &w->args, e);
	if (rc == E_OK)
		rc = pick_filter(cli, &w->filter, e);
	if (rc == E_OK)
		rc = pick_rules(cli, &includes, &w->includes, e);
	if (rc == E_OK)
		rc = pick_rules(cli, &excludes, &w->excludes, e);
	if (rc == E_OK && w->args.kind != RESTORE_EMPTY)
		rc = conflicts_take(cli, &w->conflicts, &w->args, e);
	if (rc == E_OK)
		rc = take_records(cli, w, e);
	if (rc == E_OK)
		rc = take_safety(cli, w, e);
	w->args.filter = &w->filter;
	w->args.includes = w->includes;
	w->args.excludes = w->excludes;
	return rc;
}

static bool
only_planned(const struct restore_args *args)
{
	return args->dry_run || args->plan_file != NULL;
}

static void
put_retired(struct json_out *w, const struct restore_args *args, const struct restore_result *r)
{
	if (r->retired_count == 0)
		return;
	json_put_key(w, only_planned(args) ? "would_remove" : "removed");
	json_open_array(w);
	for (size_t i = 0; i < r->retired_count; i++)
		json_put_str(w, r->retired[i]);
	json_close_array(w);
}

static void
put_plan(struct json_out *w, const struct restore_result *r)
{
	json_member_u64(w, "needed_bytes", r->needed_bytes);
	json_member_u64(w, "estimated_seconds", r->estimated_s);
	json_member_u64(w, "new_at_target", r->fresh);
	json_member_u64(w, "identical_at_target", r->identical);
	json_member_u64(w, "different_at_target", r->differing);
	json_member_u64(w, "only_at_target", r->only_live);
}

static enum ecode
tell_json(struct cli *cli, const struct restore_args *args, const struct restore_result *r,
	uint64_t spent_s, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(SUMMARY_MAX_BYTES);
	uint64_t items = r->files + r->dirs + r->others;
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "summary");
	json_member_some(&w, "seconds_elapsed", spent_s);
	json_member_some(&w, "total_files", items);
	json_member_some(&w, "files_restored", only_planned(args) ? 0 : items);
	json_member_some(&w, "total_bytes", r->bytes);
	json_member_some(&w, "bytes_restored", only_planned(args) ? 0 : r->bytes);
	json_member_some(&w, "files_verified", r->verified_files);
	json_member_some(&w, "metadata_problems", r->metadata_problems);
	json_member_id(&w, "snapshot_id", &r->snapshot_id);
	if (args->resume != NULL) {
		json_member_str(&w, "continued_run", args->resume);
	}
	json_member_some(&w, "files_kept", r->kept_files);
	json_member_some(&w, "bytes_kept", r->kept_bytes);
	json_member_some(&w, "paths_missing", r->missing);
	if (r->partial != NULL) {
		json_member_str(&w, "partial_tree", r->partial);
	}
	if (r->previous != NULL) {
		json_member_str(&w, "previous_tree", r->previous);
	}
	put_retired(&w, args, r);
	if (only_planned(args))
		put_plan(&w, r);
	if (args->kind == RESTORE_IN_PLACE && !only_planned(args)) {
		json_member_u64(&w, "paths_put", r->put_paths);
		json_member_u64(&w, "paths_replaced", r->replaced_paths);
		json_member_str(&w, "safety_set", r->safety);
	}
	json_member_str(&w, "completeness", completeness_text(r->completeness));
	json_member_str(&w, "run_id", cli->run_id[0] == '\0' ? NULL : cli->run_id);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

/* What changed, and how it is undone. */
static void
tell_in_place(struct cli *cli, const struct restore_args *args, const struct restore_result *r)
{
	if (args->kind != RESTORE_IN_PLACE)
		return;
	screen_out(&cli->screen,
		"%" PRIu64 " paths put in place, %" PRIu64
		" of them over something; all others were the same already",
		r->put_paths, r->replaced_paths);
	if (r->safety != NULL) {
		screen_out(&cli->screen, "the safety set of what was replaced: %s",
			cli_shown(cli, r->safety, strlen(r->safety)));
		screen_out(&cli->screen, "put it back with: holdfast restore-undo %s",
			path_base(r->safety));
	}
}

/* D-20: what a partial restore lacks, by name. */
static void
tell_missing(struct cli *cli, const struct restore_result *r)
{
	size_t n = 0;

	for (; n < RESTORE_MISSING_TOLD && r->missing > 0 && r->missing_path[n] != NULL; n++)
		screen_out(&cli->screen, "missing: %s",
			cli_shown(cli, r->missing_path[n], strlen(r->missing_path[n])));
	if (r->missing > n)
		screen_out(&cli->screen,
			"and %" PRIu64 " more; failed.jsonl of the run folder names all of them",
			r->missing - n);
}

/* IX-47: the estimate, and the conflicts; each of them is in restore_conflicts.jsonl beside the plan. */
static void
tell_plan(struct cli *cli, const struct restore_result *r)
{
	char bytes[UNIT_TEXT_MAX], span[UNIT_TEXT_MAX];

	screen_out(&cli->screen, "estimate: %s of space, about %s",
		bytes_text(r->needed_bytes, bytes), span_text(r->estimated_s, span));
	screen_out(&cli->screen,
		"at the target: %" PRIu64 " new, %" PRIu64 " identical, %" PRIu64
		" different, %" PRIu64 " not in the snapshot",
		r->fresh, r->identical, r->differing, r->only_live);
}

static void
tell_people(struct cli *cli, const struct restore_args *args, const struct restore_result *r,
	uint64_t spent_s)
{
	const char *place = r->partial == NULL ? args->dest : r->partial;
	char bytes[UNIT_TEXT_MAX], span[UNIT_TEXT_MAX];

	if (cli->screen.quiet)
		return;
	for (size_t i = 0; i < r->retired_count; i++)
		screen_out(&cli->screen, "%s by retention: %s",
			only_planned(args) ? "would be removed" : "removed",
			cli_shown(cli, r->retired[i], strlen(r->retired[i])));
	if (only_planned(args)) {
		tell_plan(cli, r);
		screen_out(&cli->screen,
			"dry run: %" PRIu64 " files, %" PRIu64 " directories, %" PRIu64
			" others, %s would be restored; nothing was written but the plan: %s",
			r->files, r->dirs, r->others, bytes_text(r->bytes, bytes),
			args->plan_file != NULL ? args->plan_file
			: r->artifacts == NULL  ? "(run folder)"
						: r->artifacts);
		return;
	}
	if (args->resume != NULL)
		screen_out(&cli->screen,
			"continued run %s: %s of %s were staged before, and hashed again",
			args->resume, bytes_text(r->kept_bytes, span), bytes_text(r->bytes, bytes));
	screen_out(&cli->screen, "verified %" PRIu64 " file%s", r->verified_files,
		r->verified_files == 1 ? "" : "s");
	if (r->sockets_skipped > 0)
		screen_out(&cli->screen, "Sockets left out: %" PRIu64, r->sockets_skipped);
	if (r->metadata_problems > 0)
		screen_out(&cli->screen, "%" PRIu64 " attributes could not be applied",
			r->metadata_problems);
	screen_out(&cli->screen,
		"restored %s%s into %s: %" PRIu64 " files, %" PRIu64 " directories, %s in %s",
		r->partial == NULL ? "" : "what could be read of ", cli_short(cli, &r->snapshot_id),
		cli_shown(cli, place, strlen(place)), r->files, r->dirs,
		bytes_text(r->bytes, bytes), span_text(spent_s, span));
	tell_in_place(cli, args, r);
	tell_missing(cli, r);
	if (r->previous != NULL)
		screen_out(&cli->screen, "the previous tree is kept: %s",
			cli_shown(cli, r->previous, strlen(r->previous)));
}

static void
fill_result(struct job *j, const struct restore_args *args, const struct restore_result *r)
{
	j->result.counts.selected_files = r->files;
	j->result.counts.scanned_files = r->files + r->dirs + r->others;
	j->result.counts.downloaded_files = r->promoted ? r->files : 0;
	j->result.counts.verified_files = r->verified_files;
	j->result.counts.failed_files = atomic_load(&j->progress.problems);
	j->result.bytes_read = r->bytes;
	if (r->promoted)
		j->result.snapshot_id = cli_id(j->cli, &r->snapshot_id);
	if (only_planned(args))
		j->result.status = "dry-run";
}

#define SAFETY_LINES 4

/* What ran before the destination changed, and how it changed; NULL-terminated. */
static void
fill_safety(const struct restore_args *args, const char *lines[SAFETY_LINES])
{
	size_t n = 0;

	if (only_planned(args))
		return;
	if (args->verify == VERIFY_HASH)
		lines[n++] =
			"the restored tree was compared with the snapshot by hash before it was put in place";
	else if (args->verify == VERIFY_SIZE)
		lines[n++] =
			"sizes were compared with the snapshot before the tree was put in place";
	if (args->kind == RESTORE_IN_PLACE) {
		lines[n++] =
			args->safety_dir != NULL
				? "what was replaced was copied to a safety set and read again before the first change"
				: "no safety copy was made, as confirmed";
		lines[n++] = "each file was replaced in one step";
		return;
	}
	lines[n++] = args->kind == RESTORE_SWAP
			     ? "the destination was untouched until it was exchanged"
			     : "the destination was untouched until one rename";
	if (args->kind == RESTORE_SWAP)
		lines[n++] = "the tree that was replaced is kept whole";
}

/* What was restored is what the snapshot has; that this is not all there was must not be found out later (DV-04). */
static void
warn_completeness(struct job *j, const struct restore_result *r)
{
	if (r->completeness == COMPLETENESS_PARTIAL)
		job_warn(j,
			cli_text(j->cli,
				"the snapshot is partial: %" PRIu64
				" path%s could not be read when it was made, and cannot be restored",
				r->lacking, r->lacking == 1 ? "" : "s"));
	else if (r->completeness == COMPLETENESS_UNREADABLE)
		job_warn(j, "whether the snapshot is complete cannot be read from it");
}

static enum ecode
run(struct cli *cli, struct restore_words *w, struct restore_result *result, struct err *e)
{
	struct job_args args = { .mode = restore_kind_text(w->args.kind),
		.changes = !w->args.dry_run,
		.kind = TICKER_RESTORE };
	const char *safety[SAFETY_LINES] = { NULL };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	if (w->shown == NULL)
		w->shown = w->args.dest;
	fill_safety(&w->args, safety);
	args.safety = safety;
	args.source = cli_text(
		cli, "%s of %s", w->args.snapshot, cli->set.repo == NULL ? "?" : cli->set.repo);
	args.target = w->args.dest;
	args.destination = cli_safe_location(cli, w->args.dest);
	args.operation = cli_text(cli, "%s of %s into %s", args.mode, w->args.snapshot, w->shown);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	w->args.resumable = w->args.kind != RESTORE_IN_PLACE;
	if (cli->screen.verbose > 1 || (cli->screen.verbose > 0 && !cli->screen.json))
		job_want_items(&job);
	rc = job_name(&job, &w->args.run_id, e);
	if (cli->run_dir != NULL)
		w->args.fallback_dir = cli->run_dir;
	if (w->args.kind == RESTORE_IN_PLACE)
		w->args.source = args.source;
	if (rc == E_OK)
		rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = restore_run(&s, &w->args, result, e);
	fill_result(&job, &w->args, result);
	warn_completeness(&job, result);
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_restore(struct cli *cli, struct err *e)
{
	autoclean(words_done) struct restore_words w = { .args = { .verify = VERIFY_HASH } };
	autoclean(restore_result_done) struct restore_result result = { .promoted = false };
	uint64_t started_ns = cli->os->monotonic_ns(cli->os), spent_s;
	struct err ignored;
	enum ecode rc = take_words(cli, &w, e);

	if (rc == E_OK)
		rc = run(cli, &w, &result, e);
	if (rc != E_OK && !result.promoted)
		return rc;
	spent_s = (cli->os->monotonic_ns(cli->os) - started_ns) / 1000000000;
	if (!cli->screen.json)
		tell_people(cli, &w.args, &result, spent_s);
	else if (rc == E_OK)
		rc = tell_json(cli, &w.args, &result, spent_s, e);
	else if (tell_json(cli, &w.args, &result, spent_s, &ignored) != E_OK)
		return rc; /* the first refusal says more */
	return rc;
}
