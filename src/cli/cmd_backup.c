/* backup: flags → engine/backup; summary and JSON as restic's, and what is ours. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/backup_words.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "cli/recover.h"
#include "cli/units.h"

#define READ_CONCURRENCY_MAX 64 /* SESSION_WORKERS_MAX */
#define SUMMARY_MAX_BYTES    (64U << 10)

void
backup_words_done(struct backup_words *w)
{
	if (w->excludes != NULL)
		rules_close(&w->excludes);
}

static enum ecode
take_marks(struct cli *cli, struct backup_words *w, struct err *e)
{
	const struct flag_value *given = &cli->opt->flags[FLAG_EXCLUDE_IF_PRESENT];
	size_t n = 0;
	void *room;
	enum ecode rc = arena_alloc(
		&cli->arena, (given->n + 1) * sizeof(struct exclude_if_present), &room, e);

	if (rc != E_OK)
		return rc;
	w->marks = room;
	for (size_t i = 0; i < given->n; i++) {
		const char *colon = strchr(given->v[i], ':');

		if (given->v[i][0] == '\0' || colon == given->v[i])
			return err_set(e, E_USAGE, 0,
				"--exclude-if-present %s: a file name is missing", given->v[i]);
		w->marks[n].name = colon == NULL ? given->v[i]
						 : cli_text(cli, "%.*s", (int)(colon - given->v[i]),
							   given->v[i]);
		w->marks[n].header = colon == NULL ? NULL : colon + 1;
		n++;
	}
	if (flag_given(cli->opt, FLAG_EXCLUDE_CACHES)) {
		w->marks[n].name = "CACHEDIR.TAG"; /* format document, appendix A */
		w->marks[n].header = "Signature: 8a477f597d28d172789f06886806bc55";
		n++;
	}
	w->args.if_present = w->marks;
	w->args.if_present_count = n;
	return E_OK;
}

static enum ecode
take_links(struct cli *cli, struct backup_words *w, struct err *e)
{
	const char *text = flag_text(cli->opt, FLAG_SYMLINKS);

	w->args.links = LINKS_ARCHIVE;
	if (text == NULL || strcmp(text, "archive-link") == 0)
		return E_OK;
	w->args.links = LINKS_SKIP;
	if (strcmp(text, "skip") == 0)
		return E_OK;
	w->args.links = LINKS_FOLLOW;
	w->args.count_ahead = false; /* the count follows no links: it would be of something else */
	if (strcmp(text, "follow") == 0)
		return E_OK;
	return err_set(e, E_USAGE, 0, "--symlinks %s: give archive-link, skip or follow", text);
}

static enum ecode
take_excludes(struct cli *cli, struct backup_words *w, struct err *e)
{
	static const struct pick_flags flags = { FLAG_EXCLUDE, FLAG_IEXCLUDE, FLAG_EXCLUDE_FILE,
		FLAG_IEXCLUDE_FILE };
	const struct options *o = cli->opt;
	enum ecode rc = pick_rules(cli, &flags, &w->excludes, e);

	if (rc == E_OK)
		rc = take_marks(cli, w, e);
	if (rc == E_OK && flag_given(o, FLAG_EXCLUDE_LARGER_THAN))
		rc = bytes_from_person("exclude-larger-than",
			flag_text(o, FLAG_EXCLUDE_LARGER_THAN), &w->args.exclude_larger_than, e);
	w->args.excludes = w->excludes;
	w->args.exclude_texts = o->flags[FLAG_EXCLUDE].v;
	w->args.exclude_text_count = o->flags[FLAG_EXCLUDE].n;
	w->args.one_file_system = flag_given(o, FLAG_ONE_FILE_SYSTEM);
	return rc;
}

/* Compression, pack size and concurrency: flag or variable; a wrong value refuses before anything is opened. */
static enum ecode
take_sizes(struct cli *cli, struct backup_words *w, struct err *e)
{
	const struct settings *set = &cli->set;
	uint64_t v;
	enum ecode rc = E_OK;

	if (set->compression != NULL && !compression_parse(set->compression, &w->compression))
		return err_set(e, E_USAGE, 0,
			"compression %s: give auto, off, fastest, better or max", set->compression);
	if (set->pack_size != NULL) {
		rc = number_from_person("pack size", set->pack_size, PACK_TARGET_MIN_BYTES >> 20,
			PACK_TARGET_MAX_BYTES >> 20, &v, e);
		if (rc == E_OK)
			w->args.pack_target_bytes = (uint32_t)v << 20;
	}
	w->threads = cli->os->cpus(cli->os);
	if (rc == E_OK && set->read_concurrency != NULL) {
		rc = number_from_person(
			"read concurrency", set->read_concurrency, 1, READ_CONCURRENCY_MAX, &v, e);
		if (rc == E_OK && v > w->threads)
			w->threads = (unsigned)v;
	}
	return rc;
}

static enum ecode
take_stdin(struct cli *cli, struct backup_words *w, struct err *e)
{
	const struct options *o = cli->opt;
	const char *name = flag_text(o, FLAG_STDIN_FILENAME);
	bool command = flag_given(o, FLAG_STDIN_FROM_COMMAND);
	enum ecode rc = E_OK;
	char **env = NULL;

	if (flag_given(o, FLAG_FILES_FROM) || flag_given(o, FLAG_FILES_FROM_RAW) ||
		flag_given(o, FLAG_FILES_FROM_VERBATIM))
		return err_set(e, E_USAGE, 0, "--stdin and --files-from: give one of them");
	if (!command && o->arg_count > 0)
		return err_set(e, E_USAGE, 0, "--stdin saves standard input; \"%s\" is too much",
			o->args[0]);
	if (command && o->arg_count == 0)
		return err_set(e, E_USAGE, 0, "--stdin-from-command needs a command after --");
	w->args.stdin_name = name == NULL ? "stdin" : name;
	w->args.stdin_fd = STDIN_FILENO;
	/* argv of the process: nobody writes to it, the engine's type is execve's */
	w->args.stdin_command = command ? (char *const *)(uintptr_t)o->args : NULL;
	if (command)
		rc = env_for_helper(&cli->arena, &env, e);
	w->args.stdin_env = env;
	return rc;
}

static enum ecode
take_sources(struct cli *cli, struct backup_words *w, struct err *e)
{
	enum ecode rc;

	if (flag_given(cli->opt, FLAG_STDIN) || flag_given(cli->opt, FLAG_STDIN_FROM_COMMAND))
		return take_stdin(cli, w, e);
	rc = targets_collect(cli, &w->targets, e);
	if (rc == E_OK && w->targets.n == 0)
		rc = err_set(e, E_SRC_NONE, 0, "no target was named, or no list named one");
	w->args.targets = w->targets.v;
	w->args.target_count = w->targets.n;
	return rc;
}

static enum ecode
take_unreadable(struct cli *cli, struct backup_words *w, struct err *e)
{
	const char *text = flag_text(cli->opt, FLAG_ON_UNREADABLE);

	w->args.on_unreadable = UNREADABLE_REFUSE;
	if (text == NULL || strcmp(text, "refuse") == 0)
		return E_OK;
	w->args.on_unreadable = UNREADABLE_RECORD;
	if (strcmp(text, "record") == 0)
		return E_OK;
	return err_set(e, E_USAGE, 0, "--on-unreadable %s: give refuse or record", text);
}

/* What must hold: the band of every source, the clock, the space. */
static enum ecode
take_gates(struct cli *cli, struct backup_words *w, struct err *e)
{
	const struct options *o = cli->opt;
	struct sanity_band *band = &w->args.band;
	const char *capacity = flag_text(o, FLAG_CAPACITY);
	uint64_t pct = SANITY_SHRINK_PCT;
	enum ecode rc = E_OK;

	if (flag_given(o, FLAG_MIN_FILES))
		rc = number_from_person("--min-files", flag_text(o, FLAG_MIN_FILES), 0, INT64_MAX,
			&band->min_files, e);
	if (rc == E_OK && flag_given(o, FLAG_MIN_BYTES))
		rc = bytes_from_person(
			"min-bytes", flag_text(o, FLAG_MIN_BYTES), &band->min_bytes, e);
	if (rc == E_OK && flag_given(o, FLAG_MAX_SHRINK))
		rc = number_from_person(
			"--max-shrink", flag_text(o, FLAG_MAX_SHRINK), 1, 100, &pct, e);
	band->max_shrink_pct = (unsigned)pct;
	w->args.accept_shrink = flag_text(o, FLAG_ACCEPT_SHRINK);
	w->args.accept_clock = flag_given(o, FLAG_ACCEPT_CLOCK);
	if (capacity != NULL && strcmp(capacity, "watch") == 0)
		w->args.capacity = CAPACITY_WATCH;
	else if (rc == E_OK && capacity != NULL && strcmp(capacity, "refuse") != 0)
		rc = err_set(e, E_USAGE, 0, "--capacity %s: give refuse or watch", capacity);
	return rc;
}

static enum ecode
take_proof(struct cli *cli, struct backup_words *w, struct err *e)
{
	static const struct {
		const char *word;
		enum commit_proof how;
	} words[] = { { "presence", PROOF_PRESENCE }, { "read", PROOF_READ },
		{ "none", PROOF_NONE } };
	const char *text = flag_text(cli->opt, FLAG_VERIFY_AFTER);

	w->args.verify_after = PROOF_PRESENCE;
	for (size_t i = 0; text != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].word) == 0) {
			w->args.verify_after = words[i].how;
			return E_OK;
		}
	}
	if (text == NULL)
		return E_OK;
	return err_set(e, E_USAGE, 0, "--verify-after %s: give presence, read or none", text);
}

enum ecode
backup_words_take(struct cli *cli, struct backup_words *w, struct err *e)
{
	const struct options *o = cli->opt;
	struct backup_args *args = &w->args;
	const char *host = flag_text(o, FLAG_HOST);
	enum ecode rc = take_sizes(cli, w, e);

	args->host = host == NULL ? cli->set.host : host;
	args->parent = flag_text(o, FLAG_PARENT);
	args->force = flag_given(o, FLAG_FORCE);
	args->dry_run = flag_given(o, FLAG_DRY_RUN);
	args->with_atime = flag_given(o, FLAG_WITH_ATIME);
	args->ignore_ctime = flag_given(o, FLAG_IGNORE_CTIME);
	args->ignore_inode = flag_given(o, FLAG_IGNORE_INODE);
	args->skip_if_unchanged = flag_given(o, FLAG_SKIP_IF_UNCHANGED);
	args->no_resume = flag_given(o, FLAG_NO_RESUME);
	/* a second walk only where somebody sees the estimate */
	args->count_ahead = !cli->screen.quiet && (cli->screen.json || cli->screen.live);
	args->program_version = CLI_VERSION_TEXT;
	args->state_dir = cli->set.state_dir;
	if (rc == E_OK && flag_given(o, FLAG_CHECKPOINT_EVERY))
		rc = bytes_from_person("checkpoint-every", flag_text(o, FLAG_CHECKPOINT_EVERY),
			&args->checkpoint_bytes, e);

	if (rc == E_OK)
		rc = take_unreadable(cli, w, e);
	if (rc == E_OK)
		rc = take_gates(cli, w, e);
	if (rc == E_OK)
		rc = take_proof(cli, w, e);
	if (rc == E_OK && flag_given(o, FLAG_TIME)) {
		args->time_given = true;
		rc = time_from_person(flag_text(o, FLAG_TIME), &args->time, e);
	}
	if (rc == E_OK)
		rc = pick_words(cli, &o->flags[FLAG_TAG], &args->tags, &args->tag_count, e);
	if (rc == E_OK)
		rc = take_links(cli, w, e);
	if (rc == E_OK)
		rc = take_excludes(cli, w, e);
	return rc == E_OK ? take_sources(cli, w, e) : rc;
}

/* ---- telling ---- */

static double
spent_s(const struct snapshot_summary *s)
{
	return (double)(s->backup_end.s - s->backup_start.s) +
	       (s->backup_end.ns - s->backup_start.ns) / 1e9;
}

static void
put_summary(struct json_out *w, const struct snapshot_summary *s)
{
	snapshot_put_counts(w, s);
	json_put_key(w, "total_duration");
	json_put_double(w, spent_s(s));
	json_member_time(w, "backup_start", s->backup_start);
	json_member_time(w, "backup_end", s->backup_end);
}

/* D-13: what was left out, by which rule. */
static void
put_excluded(struct json_out *w, const struct backup_result *r)
{
	json_put_key(w, "excluded");
	json_open_object(w);
	json_member_u64(w, "count", r->excluded);
	json_member_u64(w, "bytes", r->excluded_bytes);
	json_put_key(w, "by_rule");
	json_open_array(w);
	for (size_t i = 0; i < r->rules_told; i++) {
		json_open_object(w);
		json_member_str(w, "rule", r->by_rule[i].rule);
		json_member_u64(w, "count", r->by_rule[i].count);
		json_member_u64(w, "bytes", r->by_rule[i].bytes);
		json_close_object(w);
	}
	json_close_array(w);
	json_close_object(w);
}

static enum ecode
tell_json(struct cli *cli, const struct backup_args *args, const struct backup_result *r,
	struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(SUMMARY_MAX_BYTES);
	struct json_out w;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "summary");
	put_summary(&w, &r->summary);
	if (r->snapshot_made) {
		json_member_id(&w, "snapshot_id", &r->snapshot_id);
	}
	if (args->dry_run) {
		json_member_bool(&w, "dry_run", true);
	}
	json_member_u64(&w, "unreadable", r->unreadable);
	json_member_u64(&w, "changed_while_read", r->changed_while_read);
	json_member_u64(&w, "vanished", r->vanished);
	json_member_u64(&w, "sockets_skipped", r->sockets_skipped);
	json_member_u64(&w, "symlinks_kept", r->links_kept);
	json_member_u64(&w, "symlinks_followed", r->links_followed);
	json_member_u64(&w, "symlinks_left_out", r->links_left_out);
	put_excluded(&w, r);
	json_member_u64(&w, "stored_bytes", r->totals.stored_bytes);
	json_member_u64(&w, "bytes_read", r->bytes_read);
	if (r->continued_from[0] != '\0') {
		json_member_str(&w, "continued_from", r->continued_from);
		json_member_u64(&w, "files_reused", r->files_reused);
		json_member_u64(&w, "bytes_reused", r->bytes_reused);
	}
	json_member_str(&w, "run_id", cli->run_id[0] == '\0' ? NULL : cli->run_id);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
tell_oddities(struct cli *cli, const struct backup_result *r)
{
	char size[UNIT_TEXT_MAX];

	if (r->unreadable > 0)
		screen_out(&cli->screen, "Unreadable:  %" PRIu64 ", listed in %s/failed.jsonl",
			r->unreadable, cli->run_dir == NULL ? "the run folder" : cli->run_dir);
	if (r->changed_while_read > 0)
		screen_out(&cli->screen, "Changed while read: %" PRIu64, r->changed_while_read);
	if (r->vanished > 0)
		screen_out(&cli->screen, "Vanished meanwhile: %" PRIu64, r->vanished);
	if (r->continued_from[0] != '\0')
		screen_out(&cli->screen,
			"continued run %s: %" PRIu64 " file%s, %s %s not read again",
			r->continued_from, r->files_reused, r->files_reused == 1 ? "" : "s",
			bytes_text(r->bytes_reused, size), r->files_reused == 1 ? "was" : "were");
	if (r->links_kept + r->links_followed + r->links_left_out > 0)
		screen_out(&cli->screen,
			"Links:       %" PRIu64 " followed, %" PRIu64 " left out, %" PRIu64
			" kept as links",
			r->links_followed, r->links_left_out, r->links_kept);
	if (r->sockets_skipped > 0)
		screen_out(&cli->screen, "Sockets left out: %" PRIu64, r->sockets_skipped);
	if (r->excluded > 0)
		screen_out(&cli->screen, "Excluded:    %" PRIu64 " by %zu rule%s", r->excluded,
			r->rules_used, r->rules_used == 1 ? "" : "s");
}

static void
tell_people(struct cli *cli, const struct backup_args *args, const struct backup_result *r)
{
	const struct snapshot_summary *s = &r->summary;
	char a[UNIT_TEXT_MAX], b[UNIT_TEXT_MAX], c[UNIT_TEXT_MAX];
	double spent = spent_s(s);

	if (cli->screen.quiet)
		return;
	screen_out(&cli->screen,
		"Files:       %5" PRIu64 " new, %5" PRIu64 " changed, %5" PRIu64 " unmodified",
		s->files_new, s->files_changed, s->files_unmodified);
	screen_out(&cli->screen,
		"Dirs:        %5" PRIu64 " new, %5" PRIu64 " changed, %5" PRIu64 " unmodified",
		s->dirs_new, s->dirs_changed, s->dirs_unmodified);
	if (cli->screen.verbose > 0)
		screen_out(&cli->screen, "Blobs:       %5" PRIu64 " data, %" PRIu64 " tree",
			s->data_blobs, s->tree_blobs);
	screen_out(&cli->screen, "%s %s (%s in the vault)",
		args->dry_run ? "Would add:  " : "Added:      ", bytes_text(s->data_added, a),
		bytes_text(s->data_added_packed, b));
	tell_oddities(cli, r);
	screen_out(&cli->screen, "processed %" PRIu64 " files, %s in %s", s->total_files_processed,
		bytes_text(s->total_bytes_processed, c),
		span_text(spent < 0 ? 0 : (uint64_t)spent, a));
	if (r->snapshot_made)
		screen_out(&cli->screen, "snapshot %s saved", cli_short(cli, &r->snapshot_id));
	else if (args->dry_run)
		screen_out(&cli->screen, "dry run: nothing was stored");
	else
		screen_out(&cli->screen, "nothing changed: no snapshot was made");
}

static void
fill_result(struct job *j, const struct backup_args *args, const struct backup_result *r)
{
	j->result.counts.scanned_files = r->summary.total_files_processed + r->unreadable;
	j->result.counts.selected_files = r->summary.total_files_processed;
	j->result.counts.uploaded_files = r->summary.files_new + r->summary.files_changed;
	j->result.counts.failed_files = r->unreadable;
	j->result.bytes_read = r->bytes_read;
	j->result.bytes_added = r->totals.data_added;
	j->result.bytes_stored = r->totals.stored_bytes;
	if (r->snapshot_made)
		j->result.snapshot_id = cli_id(j->cli, &r->snapshot_id);
	if (r->links_followed + r->links_left_out > 0)
		job_record(j, cli_text(j->cli,
				      "symbolic links: %" PRIu64 " kept as links, %" PRIu64
				      " followed, %" PRIu64 " left out",
				      r->links_kept, r->links_followed, r->links_left_out));
	if (r->sockets_skipped > 0)
		job_record(j, cli_text(j->cli, "sockets left out: %" PRIu64, r->sockets_skipped));
	for (size_t i = 0; i < r->rules_told; i++)
		job_record(
			j, cli_text(j->cli, "excluded by %s: %" PRIu64 ", %" PRIu64 " bytes",
				   r->by_rule[i].rule, r->by_rule[i].count, r->by_rule[i].bytes));
	if (args->dry_run)
		j->result.status = "dry-run";
}

const char *
backup_words_source(struct cli *cli, const struct backup_words *w)
{
	if (w->args.stdin_name != NULL)
		return w->args.stdin_command == NULL
			       ? "standard input"
			       : cli_text(cli, "the output of %s", cli->opt->args[0]);
	if (w->targets.n == 1)
		return w->targets.v[0];
	return cli_text(cli, "%s and %zu more", w->targets.v[0], w->targets.n - 1);
}

/* The list for the report, NULL at its end; the texts stay with the result. */
static void
fill_safety(const struct backup_measures *m, const char *out[static BACKUP_MEASURES_MAX + 1])
{
	for (unsigned i = 0; i < m->n; i++)
		out[i] = m->text[i];
	out[m->n] = NULL;
}

static enum ecode
run(struct cli *cli, struct backup_words *w, struct backup_result *result, struct err *e)
{
	const char *safety[BACKUP_MEASURES_MAX + 1] = { NULL };
	struct job_args args = { .mode = "backup",
		.must_report = !w->args.dry_run,
		.changes = !w->args.dry_run,
		.kind = TICKER_BACKUP,
		.safety = safety };
	struct job_open_args how = { .lock = w->args.dry_run ? SESSION_NO_LOCK : SESSION_SHARED,
		.compression = w->compression,
		.threads = w->threads,
		.health_dir = w->args.state_dir };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.source = backup_words_source(cli, w);
	args.target = cli->set.repo;
	args.operation = cli_text(cli, "%s of %s into %s",
		w->args.dry_run ? "dry run of a backup" : "backup", args.source, cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	w->args.run_id = cli->run_id[0] == '\0' ? NULL : cli->run_id;
	if (cli->screen.verbose > 0)
		job_want_items(&job);
	if (!flag_given(cli->opt, FLAG_ON_UNREADABLE) && recover_possible(cli)) {
		w->args.recover = recover_dialog;
		w->args.recover_arg = &job;
	}
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = backup_run(&s, &w->args, result, e);
	fill_result(&job, &w->args, result);
	fill_safety(&result->measures, safety);
	return job_end(&job, &s, rc, e);
}

enum ecode
cmd_backup(struct cli *cli, struct err *e)
{
	autoclean(backup_words_done) struct backup_words w = { .compression = COMPRESSION_AUTO };
	struct backup_result result = { .snapshot_made = false };
	struct err ignored;
	enum ecode rc = backup_words_take(cli, &w, e);

	if (rc == E_OK)
		rc = run(cli, &w, &result, e);
	if (rc != E_OK && !result.snapshot_made)
		return rc;
	if (!cli->screen.json)
		tell_people(cli, &w.args, &result);
	else if (rc == E_OK)
		rc = tell_json(cli, &w.args, &result, e);
	else if (tell_json(cli, &w.args, &result, &ignored) != E_OK)
		return rc; /* the first refusal says more */
	return rc;
}
