/*
 * The artifact set of a restore (WC-15…23, WC-43…46): what was planned, what
 * became of every candidate, how it ended.  The files lie in
 * `.holdfast_restore/<run id>/` of the tree they describe: below the stage while
 * it is built, so that they travel with the one rename; in the destination for
 * a dry run (D-6).  Where the snapshot has a thing of that name they go to the
 * run folder instead, because the snapshot's own must not be touched.
 *
 * Lines stand in the plan's order, whatever the threads did (D-15).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "engine/restore_lines.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define MARKER              "owner.json"
#define MARKER_TEXT         "{\"owner\":\"holdfast\",\"what\":\"records of restores\"}\n"
/* Names of runs in one destination. */
#define RECORDS_ARENA_BYTES ((size_t)64 << 20)
#define MANIFEST_DIR \
	"snapshots/" /* of the vault: what a run manifest is here, as in the run report */

/* ---- the directory ---- */

static enum ecode
make_dir_at(struct restore *r, int parent, const char *name, int *fd, struct err *e)
{
	const struct os *os = r->s->os;
	int rc = os->mkdir(os, parent, name, 0700);

	if (rc < 0 && rc != -EEXIST)
		return io_refusal(e, E_STAGE_IO, rc, "mkdir", name);
	return io_open(os, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, fd, e);
}

/* The mark by which the next restore knows that the directory is ours (D-6). */
static enum ecode
write_marker(struct restore *r, int dir, struct err *e)
{
	const struct slice text = { (const uint8_t *)MARKER_TEXT, strlen(MARKER_TEXT) };
	const struct io_publish how = { .dir = dir, .name = MARKER, .mode = 0600, .fsync = true };

	return io_publish(r->s->os, &how, &text, 1, e);
}

/* The run's directory below an open one.  In the stage a syncfs follows; elsewhere the name is made durable here. */
static enum ecode
make_run_dir(struct restore *r, int parent, struct err *e)
{
	enum ecode rc = make_dir_at(r, parent, r->args->run_id, &r->art.fd, e);
	int got = rc == E_OK && !r->art.staged ? r->s->os->fsync(r->s->os, parent) : 0;

	return got < 0 ? io_refusal(e, E_STAGE_IO, got, "fsync the directory of", r->args->run_id)
		       : rc;
}

/* `.holdfast_restore/<run id>` below an open directory. */
static enum ecode
make_below(struct restore *r, int parent, struct err *e)
{
	autoclean(io_fd_done) struct io_fd all = { .os = r->s->os, .fd = -1 };
	enum ecode rc = make_dir_at(r, parent, ARTIFACTS_DIR, &all.fd, e);

	if (rc == E_OK)
		rc = write_marker(r, all.fd, e);
	if (rc == E_OK)
		rc = make_run_dir(r, all.fd, e);
	return rc;
}

static enum ecode
make_at(struct restore *r, const char *dir, struct err *e)
{
	autoclean(io_fd_done) struct io_fd parent = { .os = r->s->os, .fd = -1 };
	enum ecode rc = io_mkdirs(r->s->os, AT_FDCWD, dir, 0700, e);

	if (rc == E_OK)
		rc = io_open(r->s->os, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0, &parent.fd, e);
	return rc == E_OK ? make_run_dir(r, parent.fd, e) : rc;
}

/* A dry run's own directory in the destination, which may not be there yet. */
static enum ecode
make_in_dest(struct restore *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dest = { .os = r->s->os, .fd = -1 };
	enum ecode rc = make_dir_at(r, r->dest.parent_fd, r->dest.base, &dest.fd, e);

	return rc == E_OK ? make_below(r, dest.fd, e) : rc;
}

static bool
snapshot_has_own(const struct restore *r)
{
	for (size_t i = 0; i < r->root->count; i++)
		if (strcmp(r->root->items[i].name, ARTIFACTS_DIR) == 0)
			return true;
	return false;
}

static enum ecode
keep_path(struct restore *r, const char *base, struct err *e)
{
	return path_join(&r->arena, base, r->args->run_id, &r->art.path, e);
}

static enum ecode
choose_place(struct restore *r, struct err *e)
{
	const struct restore_args *args = r->args;
	const struct listener *l = r->s->listener;
	const char *dir = args->artifacts_dir, *own;
	bool refused = r->unresolved > 0 && !args->dry_run;
	/* in place nothing moves as a whole: the records are where they belong from the beginning */
	bool at_dest = args->dry_run || args->kind == RESTORE_IN_PLACE;
	bool taken = snapshot_has_own(r) ||
		     ((at_dest || restore_keeps(r)) && r->dest.records == RECORDS_FOREIGN);
	enum ecode rc;

	if (dir == NULL && taken)
		l->note(l->arg, "artifacts_elsewhere",
			"there is another " ARTIFACTS_DIR
			"; the records of this restore are in the run folder");
	if (dir == NULL && (refused || taken)) {
		dir = args->fallback_dir;
		if (dir == NULL)
			return E_OK; /* no place for them: the run report tells what happened */
	}
	if (dir != NULL) {
		rc = keep_path(r, dir, e);
		return rc == E_OK ? make_at(r, dir, e) : rc;
	}
	rc = path_join(&r->arena, r->dest.path, ARTIFACTS_DIR, &own, e);
	if (rc == E_OK)
		rc = keep_path(r, own, e);
	if (rc != E_OK)
		return rc;
	r->art.staged = !at_dest;
	return at_dest ? make_in_dest(r, e) : make_below(r, r->dest.root_fd, e);
}

enum ecode
artifacts_open(struct restore *r, struct err *e)
{
	enum ecode rc;

	if (!r->args->artifacts)
		return E_OK;
	rc = choose_place(r, e);
	if (rc != E_OK || r->art.fd < 0)
		return rc;
	rc = io_open(r->s->os, r->art.fd, "execution_journal.jsonl",
		O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600, &r->art.journal_fd, e);
	artifacts_event(r, "restore_run_started", r->args->run_id);
	return rc;
}

/* ---- records of earlier runs in the destination (D-6) ---- */

/* How much of a text is the mark's beginning. */
static size_t
marker_length(const struct buf *text)
{
	size_t n = 0;

	while (n < text->len && n < strlen(MARKER_TEXT) && text->p[n] == (uint8_t)MARKER_TEXT[n])
		n++;
	return n;
}

static bool
has_marker(struct restore *r, int dir)
{
	autoclean(buf_done) struct buf text = buf_limit(sizeof(MARKER_TEXT));

	return io_read_file(r->s->os, dir, MARKER, &text, NULL) == E_OK &&
	       text.len == strlen(MARKER_TEXT) && marker_length(&text) == text.len;
}

/* What a run leaves that ended while it wrote the mark: its beginning; after a power cut also zeros for what did not reach the disk. */
static bool
is_half_marker(struct restore *r, int dir, const struct walk_entry *entry)
{
	autoclean(buf_done) struct buf text = buf_limit(sizeof(MARKER_TEXT));

	if (entry->dtype != DT_REG ||
		strncmp(entry->name, MARKER "-tmp-", strlen(MARKER "-tmp-")) != 0 ||
		io_read_file(r->s->os, dir, entry->name, &text, NULL) != E_OK ||
		text.len > strlen(MARKER_TEXT))
		return false;
	for (size_t i = marker_length(&text); i < text.len; i++)
		if (text.p[i] != 0)
			return false;
	return true;
}

/* Ours: besides the marker only directories named like runs; or nothing at all, before the first and after the last. */
static enum ecode
whose_records(struct restore *r, int dir, enum restore_records *whose, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(RECORDS_ARENA_BYTES);
	struct walk_list list = { 0 };
	bool something = false;
	enum ecode rc = walk_dir(r->s->os, dir, ARTIFACTS_DIR, &a, &list, e);

	*whose = RECORDS_FOREIGN;
	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < list.n; i++) {
		const struct walk_entry *entry = &list.v[i];
		bool mark = entry->dtype == DT_REG && strcmp(entry->name, MARKER) == 0;

		if (is_half_marker(r, dir, entry))
			continue;
		something = true;
		if (!mark && (entry->dtype != DT_DIR || !run_id_is_one(entry->name)))
			return E_OK;
	}
	if (!something || has_marker(r, dir))
		*whose = RECORDS_OURS;
	return E_OK;
}

enum ecode
artifacts_earlier(struct restore *r, int dest, enum restore_records *whose, struct err *e)
{
	autoclean(io_fd_done) struct io_fd all = { .os = r->s->os, .fd = -1 };

	*whose = RECORDS_NONE;
	all.fd = r->s->os->open(
		r->s->os, dest, ARTIFACTS_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (all.fd == -ENOENT)
		return E_OK;
	*whose = RECORDS_FOREIGN;
	return all.fd < 0 ? E_OK : whose_records(r, all.fd, whose, e);
}

/* Of what a directory of records has, all but its marks moves to `to`; or (-1) the marks are removed. */
static enum ecode
empty_records(struct restore *r, const struct walk_list *list, int from, int to, struct err *e)
{
	const struct os *os = r->s->os;

	for (size_t i = 0; i < list->n; i++) {
		const char *name = list->v[i].name;
		bool mark = strcmp(name, MARKER) == 0 || is_half_marker(r, from, &list->v[i]);
		int got = 0;

		if (!mark && to >= 0)
			got = os->rename(os, from, name, to, name, RENAME_NOREPLACE);
		else if (mark && to < 0)
			got = os->unlink(os, from, name, 0);
		if (got < 0)
			return io_refusal(e, E_STAGE_IO, got, "move", name);
	}
	return E_OK;
}

/* The marks go when the runs are elsewhere for certain: without them a power cut would leave runs that are nobody's. */
static enum ecode
move_records(struct restore *r, int from, int home, int to, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(RECORDS_ARENA_BYTES);
	const struct os *os = r->s->os;
	struct walk_list list = { 0 };
	enum ecode rc = walk_dir(os, from, ARTIFACTS_DIR, &a, &list, e);
	int got = 0;

	if (rc == E_OK)
		rc = empty_records(r, &list, from, to, e);
	if (rc == E_OK)
		got = os->fsync(os, home);
	if (rc == E_OK && got >= 0)
		got = os->fsync(os, to);
	if (got < 0)
		rc = io_refusal(e, E_STAGE_IO, got, "fsync", ARTIFACTS_DIR);
	return rc == E_OK ? empty_records(r, &list, from, -1, e) : rc;
}

/*
 * The destination holds nothing but records of earlier runs: they move into
 * the tree that takes its place, because a rename replaces empty directories only.
 */
enum ecode
artifacts_take_over(struct restore *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dest = { .os = r->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd from = { .os = r->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd to = { .os = r->s->os, .fd = -1 };
	const struct os *os = r->s->os;
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	enum ecode rc;
	int got;

	/* where the snapshot has its own, they stay beside the tree, in the run's stage */
	int home = r->art.staged ? r->dest.root_fd : r->dest.run_fd;

	rc = io_open(os, r->dest.parent_fd, r->dest.base, flags, 0, &dest.fd, e);
	if (rc == E_OK)
		rc = io_open(os, dest.fd, ARTIFACTS_DIR, flags, 0, &from.fd, e);
	if (rc == E_OK)
		rc = make_dir_at(r, home, ARTIFACTS_DIR, &to.fd, e);
	if (rc == E_OK)
		rc = move_records(r, from.fd, home, to.fd, e);
	if (rc != E_OK)
		return rc;
	got = os->unlink(os, dest.fd, ARTIFACTS_DIR, AT_REMOVEDIR);
	return got < 0 ? io_refusal(e, E_STAGE_IO, got, "rmdir", ARTIFACTS_DIR) : E_OK;
}

bool
artifacts_in_tree(const struct restore *r)
{
	return r->art.staged || r->art.earlier;
}

bool
artifacts_is_own(const struct restore *r, const struct restore_dir *d, const char *name)
{
	return artifacts_in_tree(r) && d->parent == NULL && strcmp(name, ARTIFACTS_DIR) == 0;
}

/* ---- what became of it ---- */

enum outcome {
	OUTCOME_DONE,
	OUTCOME_SKIPPED,
	OUTCOME_FAILED
};

static enum outcome
stage_outcome(const struct restore *r, const struct restore_item *item)
{
	if (item->made)
		return OUTCOME_DONE;
	/* a directory that is kept for what is below it is `skipped` from the beginning */
	return r->args->dry_run || (item->skipped && item->type != NODE_DIR) ? OUTCOME_SKIPPED
									     : OUTCOME_FAILED;
}

/* Below the run's directory in the stage (WC-15): the same for every run, so that two of them can be compared. */
static enum ecode
put_stage_path(struct json_out *w, const struct buf *path, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 16);
	enum ecode rc = buf_add(&text, RESTORE_STAGE_ROOT, strlen(RESTORE_STAGE_ROOT), e);

	if (rc == E_OK)
		rc = buf_add(&text, path->p, path->len, e);
	if (rc != E_OK)
		return rc;
	json_put_key(w, "stage_path");
	json_put_text(w, text.p, text.len);
	return E_OK;
}

static enum ecode
put_staged(struct restore *r, struct lines *l, const struct restore_item *item, uint64_t index,
	const struct buf *path, struct err *e)
{
	static const char *const names[] = { "copied", "skipped", "failed" };
	enum outcome got = stage_outcome(r, item);
	struct json_out w;
	enum ecode rc;

	r->art.tally[got]++;
	lines_begin(l, &w);
	lines_u64(&w, "candidate_index", index);
	if (got == OUTCOME_FAILED)
		lines_str(&w, "message", "see failed.jsonl of the run folder");
	lines_str(&w, "outcome", r->args->dry_run ? "skipped_dry_run" : names[got]);
	restore_put_path(&w, "relative_path", path);
	json_put_key(&w, "source_path"); /* below the snapshot's tree, which the plan names */
	if (item->extra != NULL && item->extra->from != NULL)
		json_put_str(&w, item->extra->from);
	else
		json_put_text(&w, path->p, path->len);
	rc = put_stage_path(&w, path, e);
	return rc == E_OK ? lines_end(l, &w, e) : rc;
}

static enum ecode
write_summary(struct restore *r, const char *name, const char *status, struct err *e)
{
	bool verify = strcmp(name, "stage_verify_summary.json") == 0;
	autoclean(lines_done) struct lines l = { .os = r->s->os, .fd = -1 };
	const uint64_t *n = r->art.tally;
	struct json_out w;
	struct id ignored;
	enum ecode rc = lines_open(&l, r->s->os, r->art.fd, name, e);

	if (rc != E_OK)
		return rc;
	l.sync_later = r->art.staged;
	lines_begin(&l, &w);
	lines_u64(&w, verify ? "failed" : "failed_files", n[OUTCOME_FAILED]);
	if (verify)
		lines_str(&w, "mode", restore_verify_text(r->args->verify));
	lines_u64(&w, verify ? "planned" : "planned_files", n[0] + n[1] + n[2]);
	lines_u64(&w, verify ? "skipped" : "skipped_files", n[OUTCOME_SKIPPED]);
	if (!verify)
		lines_u64(&w, "staged_files", n[OUTCOME_DONE]);
	lines_str(&w, "status", status);
	if (verify)
		lines_u64(&w, "verified", n[OUTCOME_DONE]);
	rc = lines_end(&l, &w, e);
	return rc == E_OK ? lines_close(&l, &ignored, e) : rc;
}

enum ecode
artifacts_staged(struct restore *r, enum ecode outcome, struct err *e)
{
	const struct restore_table t = {
		.name = "stage_copy_results.jsonl", .sync_later = true, .put = put_staged
	};
	struct id ignored;
	enum ecode rc;

	if (r->art.fd < 0)
		return E_OK;
	memset(r->art.tally, 0, sizeof(r->art.tally));
	rc = restore_table_write(r, r->art.fd, &t, &ignored, e);
	r->art.staged_paths = r->art.tally[OUTCOME_DONE];
	if (rc == E_OK)
		rc = write_summary(r, "stage_copy_summary.json",
			outcome != E_OK                            ? "failed"
			: r->args->allow_partial && r->damaged > 0 ? "partial"
								   : "success",
			e);
	return rc;
}

static enum ecode
put_verified(struct restore *r, struct lines *l, const struct restore_item *item, uint64_t index,
	const struct buf *path, struct err *e)
{
	static const char *const names[] = { "verified", "skipped", "failed" };
	bool looked = !r->args->dry_run && r->args->verify != VERIFY_NONE;
	enum outcome got = stage_outcome(r, item);
	struct json_out w;

	(void)index;
	if (!looked)
		got = OUTCOME_SKIPPED;
	else if (item->unlike)
		got = OUTCOME_FAILED;
	r->art.tally[got]++;
	lines_begin(l, &w);
	lines_str(&w, "outcome", names[got]);
	restore_put_path(&w, "relative_path", path);
	return lines_end(l, &w, e);
}

enum ecode
artifacts_verified(struct restore *r, enum ecode outcome, struct err *e)
{
	const struct restore_table t = {
		.name = "stage_verify_results.jsonl", .sync_later = true, .put = put_verified
	};
	bool looked = !r->args->dry_run && r->args->verify != VERIFY_NONE;
	const char *status = !looked ? "skipped" : outcome == E_OK ? "success" : "failed";
	struct id ignored;
	enum ecode rc;

	if (r->art.fd < 0)
		return E_OK;
	memset(r->art.tally, 0, sizeof(r->art.tally));
	rc = restore_table_write(r, r->art.fd, &t, &ignored, e);
	if (rc == E_OK)
		rc = write_summary(r, "stage_verify_summary.json", status, e);
	artifacts_event(r, looked ? "restore_stage_verified" : "verify_stage_skipped", status);
	return rc;
}

/* The last lines of the journal came after the last syncfs, and so did the summary's name (WC-23). */
static enum ecode
sync_last(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	int got = r->art.journal_fd < 0 ? 0 : os->fsync(os, r->art.journal_fd);

	if (got >= 0)
		got = os->fsync(os, r->art.fd);
	return got < 0 ? io_refusal(e, E_IO, got, "fsync", r->art.path) : E_OK;
}

enum ecode
artifacts_summary(struct restore *r, enum ecode outcome, struct err *e)
{
	autoclean(lines_done) struct lines l = { .os = r->s->os, .fd = -1 };
	bool conflict = err_row(outcome)->class == CLASS_RESTORE_CONFLICT;
	char hex[ID_HEX_SIZE], manifest[sizeof(MANIFEST_DIR) + ID_HEX_SIZE];
	struct json_out w;
	struct id ignored;
	enum ecode rc;

	if (r->art.fd < 0)
		return E_OK;
	id_hex(&r->out->snapshot_id, hex);
	rc = lines_open(&l, r->s->os, r->art.fd, "restore_summary.json", e);
	if (rc != E_OK)
		return rc;
	lines_begin(&l, &w);
	if (r->args->resume != NULL)
		lines_str(&w, "continues", r->args->resume);
	json_put_key(&w, "counts");
	json_open_object(&w);
	lines_u64(&w, "conflicts", r->unresolved);
	lines_u64(&w, "failed_files", r->damaged + r->verify_failed);
	if (r->args->resume != NULL)
		lines_u64(&w, "kept_files", r->kept_files);
	lines_u64(&w, "planned", r->planned.files + r->planned.dirs + r->planned.others);
	lines_u64(&w, "staged_files", r->art.staged_paths);
	lines_u64(&w, "verified_files", r->out->verified_files);
	json_close_object(&w);
	lines_str(
		&w, "destination_root", r->out->missing > 0 ? r->dest.partial_path : r->dest.path);
	json_member_bool(&w, "dry_run", r->args->dry_run);
	(void)snprintf(manifest, sizeof(manifest), MANIFEST_DIR "%s", hex);
	lines_str(&w, "manifest_path", manifest);
	lines_str(&w, "mode", restore_tree_text(r->args->tree));
	lines_str(&w, "result",
		outcome == E_OK                ? "ok"
		: outcome == E_RESTORE_PARTIAL ? "partial"
		: conflict                     ? "conflict"
					       : "error");
	lines_str(&w, "run_id", r->args->run_id);
	lines_id(&w, "snapshot_id", &r->out->snapshot_id);
	lines_str(&w, "verb", restore_kind_text(r->args->kind));
	lines_str(&w, "verify", restore_verify_text(r->args->verify));
	rc = lines_end(&l, &w, e);
	if (rc == E_OK)
		rc = lines_close(&l, &ignored, e);
	return rc == E_OK ? sync_last(r, e) : rc;
}

void
artifacts_close(struct restore *r)
{
	io_close(r->s->os, &r->art.journal_fd);
	io_close(r->s->os, &r->art.fd);
	hasher_close(&r->art.hasher);
}
