#include "engine/backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"

/* Writers of packs: one fsync can overlap the filling of the next pack (performance.md). */
#define BACKUP_WRITERS            2
/* The kernel's own limit of getcwd(): PATH_MAX. */
#define CWD_MAX_BYTES             4096
/* Snapshot records of a vault: 100,000 of 2 KiB. */
#define BACKUP_RECORD_ARENA_BYTES ((size_t)1 << 30)

static struct slice
text_slice(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static enum ecode
system_labels(struct backup *b, struct record *rec, struct err *e)
{
	const struct os *os = b->s->os;
	struct os_ids ids = os->ids(os);
	char host[256] = "";
	enum ecode rc = E_OK;

	rec->host = b->args->host;
	if (rec->host == NULL) {
		if (os->hostname(os, host, sizeof(host)) < 0)
			host[0] = '\0'; /* a record without a host name is valid */
		host[sizeof(host) - 1] = '\0';
		rc = arena_str(&rec->arena, host, strlen(host), &rec->host, e);
	}
	rec->next.hostname = text_slice(rec->host);
	rec->next.username = b->args->username != NULL ? text_slice(b->args->username)
						       : meta_user(b->names, ids.uid);
	rec->next.uid = ids.uid;
	rec->next.gid = ids.gid;
	return rc;
}

static enum ecode
text_list(struct arena *a, const char *const *texts, size_t n, const struct slice **out,
	struct err *e)
{
	void *p;
	struct slice *list;
	enum ecode rc = arena_alloc(a, n * sizeof(*list), &p, e);

	if (rc != E_OK)
		return rc;
	list = p;
	for (size_t i = 0; i < n; i++)
		list[i] = text_slice(texts[i]);
	*out = list;
	return E_OK;
}

static enum ecode
record_start(struct backup *b, struct record *rec, struct err *e)
{
	const struct backup_args *args = b->args;
	struct snapshot *next = &rec->next;
	enum ecode rc = system_labels(b, rec, e);

	next->summary.backup_start = b->s->os->wall(b->s->os);
	next->time = args->time_given ? args->time : next->summary.backup_start;
	next->program_version = text_slice(args->program_version);
	if (rc == E_OK)
		rc = text_list(&rec->arena, args->tags, args->tag_count, &next->tags, e);
	if (rc == E_OK)
		rc = text_list(&rec->arena, args->exclude_texts, args->exclude_text_count,
			&next->excludes, e);
	next->tag_count = args->tag_count;
	next->exclude_count = args->exclude_text_count;
	return rc;
}

/* The snapshot to compare with (11.3). */
static enum ecode
choose_parent(struct backup *b, struct record *rec, struct err *e)
{
	const struct backup_args *args = b->args;
	const struct snapshot_filter none = { 0 };
	const char **paths;
	const char *sub;
	void *p;
	enum ecode rc;

	/* without a parent, too: the clock is judged by the newest one */
	rc = snapshot_list_load(b->s->vault, b->s->own, &rec->arena, &rec->known, e);
	if (rc != E_OK || args->force || args->stdin_name != NULL)
		return rc;
	if (args->parent != NULL) {
		rc = snapshot_select(
			&rec->known, &none, args->parent, &rec->arena, &rec->parent, &sub, e);
		return rc == E_OK ? rc : incomplete_named(b->s, args->parent, rc, e);
	}
	rc = arena_alloc(&rec->arena, rec->next.path_count * sizeof(*paths), &p, e);
	if (rc != E_OK)
		return rc;
	paths = p;
	for (size_t i = 0; i < rec->next.path_count; i++)
		paths[i] = (const char *)rec->next.paths[i]
				   .p; /* made NUL-terminated by targets_paths */
	rec->parent = snapshot_parent(
		&rec->known, rec->host, paths, rec->next.path_count, rec->next.time);
	return E_OK;
}

static enum ecode
open_workers(struct backup *b, struct err *e)
{
	for (unsigned i = 0; i < b->s->workers; i++) {
		struct worker *w = &b->worker[i];

		w->codec = b->s->codec[i];
		w->read = buf_limit(CHUNK_MAX_BYTES);
		w->ids = buf_limit(BLOB_PLAIN_MAX_BYTES);
		w->tree = buf_limit(BLOB_PLAIN_MAX_BYTES);
		w->scratch = buf_limit(BLOB_PLAIN_MAX_BYTES);
	}
	return meta_names_open(b->s->os, &b->names, e);
}

static void
close_workers(struct backup *b)
{
	for (unsigned i = 0; i < b->s->workers; i++) {
		struct worker *w = &b->worker[i];

		buf_done(&w->read);
		buf_done(&w->ids);
		buf_done(&w->tree);
		buf_done(&w->scratch);
	}
	while (b->spare_n > 0)
		buf_done(&b->spare[--b->spare_n]);
	meta_names_close(&b->names);
}

/* ---- files and directories ---- */

/* Without a name for it, absolute sources are still fine; the others are refused where they are looked at. */
static enum ecode
working_directory(struct backup *b, struct arena *a, struct err *e)
{
	char cwd[CWD_MAX_BYTES] = ""; /* a name only; nothing is opened through it */

	b->cwd_error = b->s->os->cwd(b->s->os, cwd, sizeof(cwd));
	return b->cwd_error < 0 ? E_OK : arena_str(a, cwd, strlen(cwd), &b->cwd, e);
}

static enum ecode
prepare_targets(struct backup *b, struct record *rec, struct err *e)
{
	struct slice *paths;
	enum ecode rc;

	if (b->args->stdin_name != NULL)
		return stdin_path(b, rec, e);
	if (b->args->target_count == 0)
		return err_set(e, E_SRC_NONE, 0, "no source path was given");
	rc = working_directory(b, &rec->arena, e);
	if (rc == E_OK)
		rc = targets_paths(b, &rec->arena, &paths, e);
	if (rc != E_OK)
		return rc;
	rec->next.paths = paths;
	rec->next.path_count = b->args->target_count;
	return E_OK;
}

/* An estimate of what is to come costs no second walk when the parent says how much it was. */
static bool
totals_of_parent(struct backup *b, const struct snapshot *parent)
{
	struct progress *p = b->s->listener->progress;
	const struct snapshot_summary *sum = parent == NULL ? NULL : &parent->summary;

	if (sum == NULL || !parent->has_summary)
		return false;
	atomic_store(&p->total_items, sum->total_files_processed + sum->dirs_new +
					      sum->dirs_changed + sum->dirs_unmodified);
	atomic_store(&p->total_bytes, sum->total_bytes_processed);
	atomic_store(&p->totals_final, true);
	return true;
}

static enum ecode
run_targets(struct backup *b, struct record *rec, struct err *e)
{
	struct scan *scan = NULL;
	struct vnode *root = NULL;
	bool again = true;
	enum ecode rc = targets_build(b, &rec->arena, &root, e);

	b->targets = root;
	b->counted_ahead = b->args->count_ahead && b->s->threads > 0;
	if (rc == E_OK && b->counted_ahead && !totals_of_parent(b, rec->parent))
		rc = scan_begin(b, root, &scan, e);
	while (rc == E_OK && again) {
		if (b->round > 1) /* a target that could not be looked at may be there now */
			rc = targets_build(b, &rec->arena, &root, e);
		b->targets = root;
		if (rc == E_OK)
			rc = walk_targets(
				b, root, rec->parent == NULL ? NULL : &rec->parent->tree, e);
		if (rc == E_OK)
			rc = recover_ask(b, &again, e);
		if (rc == E_OK && again) /* the next round looks into the trees of this one */
			rc = commit_sync(b->commit, b->s->own, e);
	}
	scan_end(&scan);
	atomic_store(&b->walk_over, true);
	if (rc != E_OK)
		return rc;
	invariant(b->root_done);
	return b->root_empty ? err_set(e, E_EMPTY_SNAPSHOT, 0,
				       "nothing of the sources was left to back up")
			     : E_OK;
}

/* ---- the snapshot ---- */

static void
fill_summary(struct backup *b, struct snapshot_summary *sum, const struct commit_totals *t)
{
	sum->backup_end = b->s->os->wall(b->s->os);
	sum->files_new = atomic_load(&b->files_new);
	sum->files_changed = atomic_load(&b->files_changed);
	sum->files_unmodified = atomic_load(&b->files_unmodified);
	sum->dirs_new = atomic_load(&b->dirs_new);
	sum->dirs_changed = atomic_load(&b->dirs_changed);
	sum->dirs_unmodified = atomic_load(&b->dirs_unmodified);
	sum->data_blobs = t->data_blobs;
	sum->tree_blobs = t->tree_blobs;
	sum->data_added = t->data_added;
	sum->data_added_packed = t->data_added_packed;
	sum->total_files_processed = atomic_load(&b->files);
	sum->total_bytes_processed = atomic_load(&b->bytes);
}

static enum ecode
save_snapshot(struct backup *b, struct record *rec, struct backup_result *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(UNPACKED_MAX_BYTES);
	struct session *s = b->s;
	enum ecode rc = claim_write(b, rec, e);

	/* the last moment to say no: what a stopped writer left in a pipe is not a backup */
	if (rc == E_OK && s->listener->stop(s->listener->arg))
		rc = err_set(e, E_INTERRUPTED, 0, "stopped before the snapshot was written");
	if (rc == E_OK)
		rc = snapshot_write(&rec->next, &text, e);
	if (rc == E_OK && s->lock != NULL)
		rc = lock_check(s->lock, e);
	if (rc == E_OK)
		rc = vault_save(
			s->vault, s->own, O_SNAPSHOT, text.p, text.len, &out->snapshot_id, e);
	out->snapshot_made = rc == E_OK;
	if (rc != E_OK)
		return rc;
	backup_measure(b, "packs, then indexes, then the snapshot, each durable first");
	return prove_snapshot(b, &out->snapshot_id, e);
}

static void
fill_result(struct backup *b, const struct record *rec, struct backup_result *out)
{
	out->tree = b->root_tree;
	out->has_parent = rec->parent != NULL;
	if (rec->parent != NULL)
		out->parent = rec->parent->id;
	out->summary = rec->next.summary;
	out->unreadable = atomic_load(&b->unreadable);
	out->changed_while_read = atomic_load(&b->changed);
	out->vanished = atomic_load(&b->vanished);
	out->sockets_skipped = atomic_load(&b->sockets);
	out->excluded = atomic_load(&b->excluded);
	out->links_kept = atomic_load(&b->symlinks);
	out->links_followed = atomic_load(&b->links_followed);
	out->links_left_out = atomic_load(&b->links_left_out);
	out->bytes_read = atomic_load(&b->bytes_read);
	out->files_reused = atomic_load(&b->files_reused);
	out->bytes_reused = atomic_load(&b->bytes_reused);
	out->checkpoints = b->checkpoint.taken;
	if (b->continued_from != NULL)
		(void)snprintf(
			out->continued_from, sizeof(out->continued_from), "%s", b->continued_from);
	out->measures = b->measures;
}

static bool
nothing_new(const struct backup *b, const struct record *rec)
{
	return b->args->skip_if_unchanged && rec->parent != NULL &&
	       id_cmp(&rec->parent->tree, &b->root_tree) == 0;
}

/* The parent stands for this run: a killed one may have left its name, and those of its indexes, to a power cut. */
static enum ecode
secure_parent(struct backup *b, struct err *e)
{
	enum ecode rc = store_secure(b->s->store, O_INDEX, e);

	return rc == E_OK ? store_secure(b->s->store, O_SNAPSHOT, e) : rc;
}

static enum ecode
make_snapshot(struct backup *b, struct record *rec, struct backup_result *out, struct err *e)
{
	enum ecode rc = prove_stored(b, e);

	commit_totals(b->commit, &out->totals);
	return rc == E_OK ? save_snapshot(b, rec, out, e) : rc;
}

/* Everything is durable: what is left is the verdict and the one write that makes the snapshot exist. */
static enum ecode
conclude(struct backup *b, struct record *rec, struct backup_result *out, struct err *e)
{
	uint64_t lost = atomic_load(&b->unreadable);
	enum ecode rc = E_OK;

	rec->next.tree = b->root_tree;
	rec->next.has_parent = rec->parent != NULL;
	if (rec->parent != NULL)
		rec->next.parent = rec->parent->id;
	rec->next.has_summary = true;
	if (b->lost.trouble.code != E_OK) {
		*e = b->lost.trouble;
		return e->code;
	}
	if (lost > 0 && b->on_unreadable == UNREADABLE_REFUSE)
		return lost_refusal(b, E_SRC_UNREADABLE, e);
	rc = gates_after(b, rec, e);
	if (rc == E_OK && !b->args->dry_run)
		rc = nothing_new(b, rec) ? secure_parent(b, e) : make_snapshot(b, rec, out, e);
	if (rc == E_OK && lost > 0)
		rc = lost_refusal(b, E_PARTIAL, e);
	return rc;
}

static enum ecode
run_opened(struct backup *b, struct record *rec, struct backup_result *out, struct err *e)
{
	const struct listener *l = b->s->listener;
	enum ecode rc;

	l->note(l->arg, "backup_work_started",
		rec->parent == NULL ? "no parent snapshot" : "compared with a parent snapshot");
	atomic_store(&l->progress->phase, PHASE_WORK);
	rc = b->args->stdin_name != NULL ? run_stdin(b, rec, e) : run_targets(b, rec, e);
	if (rc != E_OK)
		return rc; /* what remains is not known then */
	atomic_store(&l->progress->totals_final, true);
	atomic_store(&l->progress->phase, PHASE_COMMIT);
	rc = commit_flush(b->commit, b->s->own, e);
	commit_totals(b->commit, &out->totals);
	fill_summary(b, &rec->next.summary, &out->totals);
	if (rc == E_OK)
		rc = exclusions_tell(b, &rec->arena, out, e);
	if (rc != E_OK)
		return rc;
	b->durable = true;
	capacity_measure(b);
	l->note(l->arg, "backup_packs_and_indexes_durable", "");
	if (out->totals.packs > 0)
		backup_measure(b, "every sealed blob was opened and compared before it was stored");
	return conclude(b, rec, out, e);
}

enum ecode
record_begin(struct backup *b, struct record *rec, struct err *e)
{
	enum ecode rc = record_start(b, rec, e);

	if (rc == E_OK)
		rc = prepare_targets(b, rec, e);
	if (rc == E_OK)
		rc = exclusions_make(b, &rec->arena, e);
	/* snapshots are listed before the index is loaded (11.1) */
	if (rc == E_OK)
		rc = choose_parent(b, rec, e);
	if (rc == E_OK && rec->parent != NULL)
		b->parent_tree = &rec->parent->tree;
	return rc;
}

/* Packs still to be written may take minutes on a slow store: an interruption does not wait for them. */
static enum ecode
before_put(void *arg, uint64_t bytes, struct err *e)
{
	struct backup *b = arg;
	enum ecode rc = E_OK;

	if (atomic_load(&b->s->listener->progress->phase) == PHASE_COMMIT)
		rc = session_go_on(b->s, e);
	return rc == E_OK ? gate_space(arg, bytes, e) : rc;
}

static enum ecode
run_recorded(struct backup *b, struct record *rec, struct backup_result *out, struct err *e)
{
	const struct backup_args *args = b->args;
	struct commit_args how = {
		.pack_target_bytes = args->pack_target_bytes,
		.writers = b->s->threads == 0 ? 0 : BACKUP_WRITERS,
		.compression = b->s->compression,
		.lock = b->s->lock,
		.dry_run = args->dry_run,
		.before_put = before_put,
		.before_put_arg = b,
	};
	enum ecode rc = record_begin(b, rec, e);

	if (rc == E_OK)
		rc = gates_before(b, rec, e);
	if (rc == E_OK)
		rc = session_load_index(b->s, e);
	if (rc == E_OK)
		rc = commit_open(b->s->vault, b->s->index, &how, &b->commit, e);
	if (rc == E_OK)
		rc = resume_begin(b, rec, e);
	if (rc == E_OK) {
		rc = run_opened(b, rec, out, e);
		rc = capacity_explain(b, rc, e);
		rc = resume_end(b, rec, rc, e);
	}
	fill_result(b, rec, out);
	commit_close(&b->commit);
	return rc;
}

enum ecode
backup_begin(struct backup *b, struct session *s, const struct backup_args *args, struct err *e)
{
	enum ecode rc;

	b->s = s;
	b->args = args;
	b->on_unreadable = args->on_unreadable;
	pthread_mutex_init(&b->live_lock, NULL);
	pthread_mutex_init(&b->spare_lock, NULL);
	pthread_mutex_init(&b->link_lock, NULL);
	pthread_mutex_init(&b->space_lock, NULL);
	b->round = 1;
	rc = lost_open(b, e);
	return rc == E_OK ? open_workers(b, e) : rc;
}

void
backup_end(struct backup *b)
{
	close_workers(b);
	lost_close(b);
	map_done(&b->links);
	pthread_mutex_destroy(&b->live_lock);
	pthread_mutex_destroy(&b->spare_lock);
	pthread_mutex_destroy(&b->link_lock);
	pthread_mutex_destroy(&b->space_lock);
}

enum ecode
backup_run(
	struct session *s, const struct backup_args *args, struct backup_result *out, struct err *e)
{
	struct record rec = { .arena = arena_limit(BACKUP_RECORD_ARENA_BYTES) };
	struct backup *b = calloc(1, sizeof(*b));
	enum ecode rc;

	*out = (struct backup_result){ 0 };
	if (b == NULL)
		return err_set(e, E_NOMEM, 0, "a backup");
	rc = backup_begin(b, s, args, e);
	if (rc == E_OK)
		rc = run_recorded(b, &rec, out, e);
	backup_end(b);
	arena_done(&rec.arena);
	free(b);
	return rc;
}
