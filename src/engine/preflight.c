#include "engine/preflight.h"

#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "engine/health.h"

/* As of a backup: snapshot records of a vault, 100,000 of 2 KiB. */
#define PREFLIGHT_RECORD_ARENA_BYTES ((size_t)1 << 30)

struct preflight_work {
	struct backup b;
	struct session s; /* the caller's, with our ears */
	struct listener listener;
	const struct listener *outer;
	struct record rec;
	struct arena *arena;  /* the result's */
	pthread_mutex_t lock; /* over arena and out while the walk runs */
	struct preflight *out;
	bool memory_short;
};

const char *
gate_verdict_text(enum gate_verdict verdict)
{
	switch (verdict) {
	case GATE_PASS:
		return "pass";
	case GATE_REFUSE:
		return "refuse";
	case GATE_SKIPPED:
		return "skipped";
	}
	return "?"; /* not reached */
}

/* ---- what the walk tells ---- */

static uint64_t *
unreadable_kind(struct preflight *out, enum cause cause)
{
	switch (cause) {
	case CAUSE_PERMISSION:
		return &out->permission_denied;
	case CAUSE_BUSY:
	case CAUSE_LOCKED:
	case CAUSE_TEMP_FAILURE:
		return &out->locked_or_in_use;
	case CAUSE_NOT_FOUND:
	case CAUSE_VANISHED:
		return &out->not_found;
	case CAUSE_NONE:
	case CAUSE_DISK_FULL:
	case CAUSE_READ_ONLY:
	case CAUSE_TIMEOUT:
	case CAUSE_ALREADY_EXISTS:
	case CAUSE_INVALID_PATH:
	case CAUSE_SYMLINK_LOOP:
	case CAUSE_IO_ERROR:
	case CAUSE_TOO_MANY_FILES:
	case CAUSE_CHANGED:
	case CAUSE_UNKNOWN:
		break;
	}
	return &out->other_io;
}

static const char *
keep_text(struct preflight_work *w, const char *text)
{
	const char *kept;

	if (arena_str(w->arena, text, strlen(text), &kept, NULL) == E_OK)
		return kept;
	w->memory_short = true;
	return "";
}

static void
keep_warning(struct preflight_work *w, const struct problem *p)
{
	struct preflight *out = w->out;
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX + ERR_DETAIL_BYTES);

	if (out->warning_count == PREFLIGHT_WARNINGS_MAX) {
		out->warnings_left_out++;
		return;
	}
	if (buf_printf(&text, NULL, "%s: %s", p->path, p->why) != E_OK ||
		buf_add_byte(&text, 0, NULL) != E_OK)
		w->memory_short = true;
	else
		out->warning[out->warning_count++] = keep_text(w, (const char *)text.p);
}

static void
on_problem(void *arg, const struct problem *p)
{
	struct preflight_work *w = arg;
	struct preflight *out = w->out;

	pthread_mutex_lock(&w->lock);
	if (!p->fatal_for_item) {
		keep_warning(w, p);
	} else {
		++*unreadable_kind(out, p->cause);
		if (out->sample_count < PREFLIGHT_SAMPLES_MAX)
			out->sample[out->sample_count++] = (struct preflight_sample){
				.path = keep_text(w, p->path),
				.cause = p->cause,
				.why = keep_text(w, p->why),
			};
	}
	pthread_mutex_unlock(&w->lock);
}

static void
on_note(void *arg, const char *event, const char *text)
{
	const struct preflight_work *w = arg;

	w->outer->note(w->outer->arg, event, text);
}

static bool
on_stop(void *arg)
{
	const struct preflight_work *w = arg;

	return w->outer->stop(w->outer->arg);
}

/* ---- gates ---- */

/* True when it passed.  A refusal is a result here, not an end. */
static bool
verdict(struct preflight_work *w, const char *name, enum ecode rc, const struct err *why)
{
	struct preflight *out = w->out;
	struct preflight_gate *gate = &out->gate[out->gate_count++];

	invariant(out->gate_count <= PREFLIGHT_GATES_MAX);
	*gate = (struct preflight_gate){ .name = name };
	if (rc == E_OK)
		return true;
	gate->verdict = GATE_REFUSE;
	gate->why = *why;
	gate->why.code = rc;
	if (out->refusal == NULL)
		out->refusal = &gate->why;
	return false;
}

static void
skipped(struct preflight_work *w, const char *name)
{
	w->out->gate[w->out->gate_count++] =
		(struct preflight_gate){ .name = name, .verdict = GATE_SKIPPED };
}

/* Not about the vault or the sources: then there is no judgement to give. */
static bool
ends_all(enum ecode rc)
{
	enum eclass class = err_row(rc)->class;

	return rc == E_NOMEM || class == CLASS_INTERRUPTED;
}

/* *walk: the sources can be walked. */
static enum ecode
judge_before(struct preflight_work *w, bool *walk, struct err *e)
{
	struct backup *b = &w->b;
	struct vnode *root = NULL;
	struct err why = { .code = E_OK };
	enum ecode rc;

	(void)verdict(w, "version", E_OK, &why); /* it was opened */
	rc = gate_overlap(b, &w->rec.arena, &why);
	*walk = verdict(w, "overlap", rc, &why);
	(void)verdict(w, "clock", gate_clock(b, &w->rec, &why), &why);
	rc = health_gate(&w->s, b->args->state_dir, &why);
	(void)verdict(w, "health", rc, &why);
	rc = targets_build(b, &w->rec.arena, &root, &why);
	if (ends_all(rc)) {
		*e = why;
		return rc;
	}
	*walk &= verdict(w, "sources", rc, &why);
	b->targets = root;
	return E_OK;
}

static void
judge_unreadable(struct preflight_work *w)
{
	struct backup *b = &w->b;
	struct err why = { .code = E_OK };
	enum ecode rc = E_OK;

	if (atomic_load(&b->unreadable) > 0 && b->on_unreadable == UNREADABLE_REFUSE)
		rc = lost_refusal(b, E_SRC_UNREADABLE, &why);
	(void)verdict(w, "unreadable", rc, &why);
	rc = b->root_empty ? err_set(&why, E_EMPTY_SNAPSHOT, 0,
				     "nothing of the sources was left to back up")
			   : E_OK;
	(void)verdict(w, "content", rc, &why);
}

static enum ecode
judge_after(struct preflight_work *w, struct err *e)
{
	struct backup *b = &w->b;
	struct preflight *out = w->out;
	struct capacity cap;
	struct err why = { .code = E_OK };
	enum ecode rc;

	judge_unreadable(w);
	rc = gate_band(b, &w->rec, &why);
	if (ends_all(rc)) {
		*e = why;
		return rc;
	}
	(void)verdict(w, "band", rc, &why);
	rc = capacity_judge(b, atomic_load(&b->new_bytes), atomic_load(&b->meta_bytes), &cap, &why);
	out->space_known = cap.known;
	out->free_bytes = cap.free;
	out->estimated_new_bytes = cap.data;
	out->needed_bytes = cap.need;
	if (b->args->capacity == CAPACITY_WATCH || (rc == E_OK && !cap.known))
		skipped(w, "capacity");
	else
		(void)verdict(w, "capacity", rc, &why);
	return E_OK;
}

/* ---- the result ---- */

/* The deepest directory that is above both, cut in place. */
static void
cut_to_common(char *root, const char *path)
{
	while (!path_within(root, path)) {
		char *slash = strrchr(root, '/');

		slash[slash == root ? 1 : 0] = '\0';
	}
}

static enum ecode
take_sources(struct preflight_work *w, struct err *e)
{
	const struct backup *b = &w->b;
	struct preflight *out = w->out;
	struct preflight_source *list;
	struct slice root;
	void *p;
	enum ecode rc = arena_alloc(w->arena, b->source_count * sizeof(*list), &p, e);

	list = rc == E_OK ? p : NULL;
	for (size_t i = 0; rc == E_OK && i < b->source_count; i++) {
		list[i].files = atomic_load(&b->source[i].files);
		list[i].bytes = atomic_load(&b->source[i].bytes);
		rc = arena_str(
			w->arena, b->source[i].path, strlen(b->source[i].path), &list[i].path, e);
	}
	if (rc == E_OK)
		rc = arena_copy(w->arena, list[0].path, strlen(list[0].path) + 1, &root, e);
	if (rc != E_OK)
		return rc;
	p = (void *)(uintptr_t)root.p; /* our own copy, not yet shared */
	for (size_t i = 1; i < b->source_count; i++)
		cut_to_common(p, list[i].path);
	out->source_root = p;
	out->sources = list;
	out->source_count = b->source_count;
	return E_OK;
}

static enum ecode
take_rules(struct preflight_work *w, struct err *e)
{
	const struct backup *b = &w->b;
	struct preflight *out = w->out;
	struct preflight_rule *list;
	void *p;
	enum ecode rc = arena_alloc(w->arena, b->rule_count * sizeof(*list), &p, e);

	list = rc == E_OK ? p : NULL;
	for (size_t i = 0; rc == E_OK && i < b->rule_count; i++) {
		struct preflight_rule *rule = &list[out->rule_count];

		rule->count = atomic_load(&b->by_rule[i].count);
		rule->bytes = atomic_load(&b->by_rule[i].bytes);
		if (rule->count == 0)
			continue;
		rc = exclusion_text(b->args, i, w->arena, &rule->rule, e);
		out->excluded_count += rule->count;
		out->excluded_bytes += rule->bytes;
		out->rule_count++;
	}
	out->rules = list;
	return rc;
}

static enum ecode
take_counts(struct preflight_work *w, struct err *e)
{
	const struct backup *b = &w->b;
	struct preflight *out = w->out;
	enum ecode rc;

	out->file_count = atomic_load(&b->files);
	out->total_bytes = atomic_load(&b->bytes);
	out->left_out_symlinks = atomic_load(&b->links_left_out);
	out->skipped_symlinks = atomic_load(&b->symlinks) + out->left_out_symlinks;
	out->followed_symlinks = atomic_load(&b->links_followed);
	out->sockets_skipped = atomic_load(&b->sockets);
	out->has_parent = w->rec.parent != NULL;
	if (out->has_parent)
		out->parent = w->rec.parent->id;
	rc = take_sources(w, e);
	if (rc == E_OK)
		rc = take_rules(w, e);
	if (rc == E_OK && w->memory_short)
		rc = err_set(e, E_NOMEM, 0, "the list of what cannot be read");
	return rc;
}

/* ---- the work ---- */

static enum ecode
work(struct preflight_work *w, struct err *e)
{
	struct backup *b = &w->b;
	bool walk = false;
	enum ecode rc = record_begin(b, &w->rec, e);

	if (rc == E_OK)
		rc = session_load_index(&w->s, e);
	if (rc == E_OK)
		rc = judge_before(w, &walk, e);
	if (rc != E_OK)
		return rc;
	if (walk) {
		atomic_store(&w->listener.progress->phase, PHASE_SCAN);
		w->out->walked = true;
		b->estimating = true;
		b->estimate_opens = true;
		rc = walk_targets(b, b->targets, b->parent_tree, e);
		if (rc == E_OK)
			rc = judge_after(w, e);
	} else {
		skipped(w, "unreadable");
		skipped(w, "content");
		skipped(w, "band");
		skipped(w, "capacity");
	}
	return rc == E_OK ? take_counts(w, e) : rc;
}

enum ecode
preflight_run(struct session *s, const struct backup_args *args, struct arena *a,
	struct preflight *out, struct err *e)
{
	struct preflight_work *w = calloc(1, sizeof(*w));
	enum ecode rc;

	*out = (struct preflight){ .file_count = 0 };
	if (w == NULL)
		return err_set(e, E_NOMEM, 0, "a preflight");
	w->outer = s->listener;
	w->listener = (struct listener){ .arg = w,
		.progress = s->listener->progress,
		.problem = on_problem,
		.note = on_note,
		.stop = on_stop };
	w->s = *s;
	w->s.listener = &w->listener;
	w->arena = a;
	w->out = out;
	w->rec.arena = arena_limit(PREFLIGHT_RECORD_ARENA_BYTES);
	pthread_mutex_init(&w->lock, NULL);
	rc = backup_begin(&w->b, &w->s, args, e);
	if (rc == E_OK)
		rc = work(w, e);
	backup_end(&w->b);
	s->index = w->s.index; /* whoever closes the session closes it */
	pthread_mutex_destroy(&w->lock);
	arena_done(&w->rec.arena);
	free(w);
	return rc;
}
