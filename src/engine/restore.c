/*
 * The story of a restore: check the destination → choose the snapshot → plan →
 * (dry run ends) → stage → verify → finish → make durable → promote.
 * Everything up to the plan only looks; up to the promotion nothing but the
 * stage changes.
 */
#include "engine/restore_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/incomplete.h"
#include "engine/inspect.h"
#include "os/io.h"

/* Snapshot records of a whole vault: a million of 1 KiB. */
#define SNAPSHOTS_ARENA_BYTES ((size_t)1 << 30)

static enum ecode
ask_to_stop(void *restore, struct err *e)
{
	return restore_asked_to_stop(restore, e);
}

/* "latest" among records of which some cannot be read would be a guess. */
static enum ecode
choose(struct restore *r, struct err *e)
{
	struct session *s = r->s;
	const struct snapshot *snap = NULL;
	struct snapshot_list list = { 0 };
	const char *text = r->args->snapshot, *sub = NULL;
	enum ecode rc;

	rc = snapshot_list_load(s->vault, s->own, &r->arena, &list, e);
	if (rc != E_OK)
		return rc;
	if (list.unreadable > 0 && strncmp(text, "latest", 6) == 0) {
		*e = list.first_unreadable;
		err_note(e, "which snapshot is the latest is not certain; give an id");
		return e->code;
	}
	while (r->args->at != NULL && list.n > 0 &&
		instant_cmp(list.v[list.n - 1].time, *r->args->at) > 0)
		list.n--; /* oldest first */
	rc = snapshot_select(&list, r->args->filter, text, &r->arena, &snap, &sub, e);
	if (rc != E_OK)
		rc = incomplete_named(s, text, rc, e);
	if (rc == E_OK && index_blob_count(s->index) == 0)
		rc = session_load_index(s, e);
	if (rc != E_OK)
		return rc;
	r->out->snapshot_id = snap->id;
	r->out->completeness = own_completeness(snap, &r->out->lacking);
	r->sub = sub;
	r->when = snap->time;
	r->tree = snap->tree;
	return sub != NULL ? inspect_subtree(s, &snap->tree, sub, &r->tree, e) : E_OK;
}

static void
tell_totals(struct restore *r)
{
	struct progress *p = r->s->listener->progress;

	r->out->files = r->planned.files;
	r->out->dirs = r->planned.dirs;
	r->out->others = r->planned.others;
	r->out->bytes = r->planned.bytes;
	r->out->sockets_skipped = r->sockets;
	atomic_store(&p->total_items, r->planned.files + r->planned.dirs + r->planned.others);
	atomic_store(&p->total_bytes, r->planned.bytes);
	atomic_store(&p->totals_final, true);
}

static void
tell_conflicts(struct restore *r)
{
	r->out->fresh = r->fresh;
	r->out->identical = r->identical;
	r->out->differing = r->differing;
	r->out->only_live = r->only_live_count;
	r->out->unresolved = r->unresolved;
	r->out->needed_bytes = r->needed;
}

static enum ecode
look(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	enum ecode rc;

	rc = restore_dest_check(r, e);
	if (rc == E_OK && r->args->ownership_by_name)
		rc = restore_names_open(os, &r->names, e);
	if (rc == E_OK)
		rc = space_at(os, r->dest.inside ? r->dest.path : r->dest.parent, &r->space, e);
	if (rc == E_OK)
		rc = restore_policy_open(r, e);
	if (rc == E_OK)
		rc = restore_only_open(r, e);
	if (rc == E_OK)
		rc = choose(r, e);
	if (rc != E_OK)
		return rc;
	atomic_store(&r->s->listener->progress->phase, PHASE_SCAN);
	rc = restore_plan(r, &r->tree, e);
	if (rc == E_OK)
		rc = restore_only_met(r, e);
	if (rc == E_OK)
		rc = restore_map(r, e);
	if (rc == E_OK)
		rc = restore_locate(r, e);
	if (rc == E_OK)
		rc = restore_live_compare(r, e);
	if (rc == E_OK && r->unresolved == 0)
		rc = restore_relocate(r, e);
	if (rc == E_OK)
		tell_totals(r);
	if (rc == E_OK)
		tell_conflicts(r);
	return rc == E_OK ? artifacts_approved(r, e) : rc;
}

/* R9: what was planned equals what was done, or it is no success. */
static enum ecode
compare_counts(struct restore *r, struct err *e)
{
	struct restore_counts done = r->left;

	done.others += r->not_made;
	for (unsigned i = 0; i <= r->s->workers; i++) {
		done.files += r->worker[i].done.files;
		done.dirs += r->worker[i].done.dirs;
		done.others += r->worker[i].done.others;
		done.bytes += r->worker[i].done.bytes;
	}
	if (done.files == r->planned.files && done.dirs == r->planned.dirs &&
		done.others == r->planned.others && done.bytes == r->planned.bytes)
		return E_OK;
	return err_set(e, E_STAGE_VERIFY, 0,
		"done are %" PRIu64 " of %" PRIu64 " files, %" PRIu64 " of %" PRIu64
		" directories, %" PRIu64 " of %" PRIu64 " bytes",
		done.files, r->planned.files, done.dirs, r->planned.dirs, done.bytes,
		r->planned.bytes);
}

static enum ecode
judge_stage(struct restore *r, struct err *e)
{
	uint64_t unapplied = r->metadata_problems + r->owner_refused;

	if (r->damaged > 0 && !r->args->allow_partial)
		return err_set(e, E_RESTORE_DAMAGED, 0, "%" PRIu64 " path%s could not be restored",
			(uint64_t)r->damaged, r->damaged == 1 ? "" : "s");
	if (r->args->strict_metadata && unapplied > 0)
		return err_set(e, E_RESTORE_STRICT, 0,
			"%" PRIu64 " attribute%s could not be applied", unapplied,
			unapplied == 1 ? "" : "s");
	return compare_counts(r, e);
}

static void
note(struct restore *r, const char *event, const char *text)
{
	const struct listener *l = r->s->listener;

	l->note(l->arg, event, text);
}

static void
note_owners(struct restore *r)
{
	struct err text;

	if (r->owner_refused == 0)
		return;
	(void)err_set(&text, E_RESTORE_META, 0,
		"the owner of %" PRIu64 " path%s was not applied: not running as root",
		(uint64_t)r->owner_refused, r->owner_refused == 1 ? "" : "s");
	note(r, "owners_not_applied", text.detail);
}

/* D-14: an owner that stays a number because nobody could be asked is no owner that was applied. */
static void
note_names(struct restore *r)
{
	struct err text;
	int rc = restore_names_trouble(r->names);

	if (rc == 0)
		return;
	(void)io_refusal(&text, E_RESTORE_META, rc, "ask for", "the names of owners");
	note(r, RESTORE_NOTE_NAMES, text.detail);
}

static enum ecode
judge_conflicts(struct restore *r, struct err *e)
{
	if (r->unresolved == 0)
		return E_OK;
	return err_set(e, E_RESTORE_CONFLICT, 0,
		"%" PRIu64 " path%s at %s differ%s from the snapshot", (uint64_t)r->unresolved,
		r->unresolved == 1 ? "" : "s", r->dest.path, r->unresolved == 1 ? "s" : "");
}

/* How a pass ended goes into the artifacts, also when it was refused: the first refusal is the one that is told. */
static enum ecode
recorded(enum ecode rc, enum ecode (*write)(struct restore *r, enum ecode rc, struct err *e),
	struct restore *r, struct err *e)
{
	struct err late = { .code = E_OK };
	enum ecode got = write(r, rc, rc == E_OK ? e : &late);

	return rc == E_OK ? got : rc;
}

/* D-18: a place that filled up is no end; what is staged stays. */
static enum ecode
staging_refused(struct restore *r, enum ecode rc, struct err *e)
{
	if (rc == E_IO_SPACE && r->dest.resumable) {
		err_note(e, "%s", err_row(rc)->what);
		e->code = E_STAGE_SPACE;
		return E_STAGE_SPACE;
	}
	return restore_stage_refusal(rc, e);
}

static enum ecode
all_staged(struct restore *r, enum ecode ignored, struct err *e)
{
	(void)ignored; /* it came after the staging */
	return artifacts_staged(r, E_OK, e);
}

static enum ecode
stage_and_verify(struct restore *r, struct err *e)
{
	struct progress *p = r->s->listener->progress;
	enum ecode rc;

	atomic_store(&p->phase, PHASE_WORK);
	note(r, "staging", r->dest.run_path);
	rc = restore_stage_make(r, e);
	if (rc == E_OK)
		rc = artifacts_open(r, e);
	if (rc == E_OK)
		rc = artifacts_plan(r, e);
	if (rc == E_OK)
		rc = restore_resume_note(r, e);
	if (rc == E_OK) {
		artifacts_event(r, "stage_build_planned", r->dest.run_path);
		artifacts_event(r, "stage_build_started", r->args->resume);
		rc = restore_adopt(r, e);
		if (rc == E_OK)
			rc = restore_stage(r, e);
		artifacts_stage_ended(r, rc);
		r->art.staged_later =
			rc == E_OK && r->args->verify != VERIFY_NONE && r->damaged == 0;
		if (!r->art.staged_later)
			rc = recorded(rc, artifacts_staged, r, e);
	}
	if (rc == E_OK)
		rc = restore_partial_drop(r, e);
	if (rc == E_OK)
		rc = judge_stage(r, e);
	if (rc != E_OK && r->art.staged_later) /* all was staged, whatever is wrong with it */
		rc = recorded(rc, all_staged, r, e);
	if (rc != E_OK)
		return staging_refused(r, rc, e);
	atomic_store(&p->phase, PHASE_VERIFY);
	note(r, "verifying", r->dest.run_path);
	artifacts_event(r, "verify_stage_started", NULL);
	rc = r->args->verify == VERIFY_NONE ? E_OK : restore_verify(r, e);
	rc = recorded(rc, artifacts_verified, r, e);
	if (rc == E_OK)
		rc = restore_keep_copy(r, e);
	if (rc == E_OK && r->args->verify != VERIFY_NONE)
		rc = restore_keep_compare(r, e);
	if (rc == E_OK)
		rc = restore_finish(r, e);
	if (rc == E_OK)
		rc = restore_keep_finish(r, e);
	if (rc == E_OK && r->args->strict_metadata)
		rc = judge_stage(r, e);
	return staging_refused(r, rc, e);
}

/* Nothing is staged; the conflicts are written where nothing of the destination is touched. */
static enum ecode
refuse_conflicts(struct restore *r, struct err *e)
{
	enum ecode rc = artifacts_open(r, e);

	if (rc == E_OK)
		rc = artifacts_plan(r, e);
	return rc == E_OK ? judge_conflicts(r, e) : rc;
}

/* Every file of the set, and nothing else (WC-14, X-13). */
static enum ecode
rehearse(struct restore *r, struct err *e)
{
	enum ecode rc;

	if (r->args->plan_file != NULL)
		return artifacts_plan_file(r, e);
	rc = artifacts_open(r, e);
	if (rc == E_OK)
		rc = artifacts_plan(r, e);
	if (rc == E_OK)
		rc = artifacts_staged(r, E_OK, e);
	if (rc == E_OK)
		artifacts_stage_ended(r, E_OK);
	if (rc == E_OK)
		rc = artifacts_verified(r, E_OK, e);
	if (rc == E_OK) {
		artifacts_event(r, "restore_promotion_skipped", NULL);
		artifacts_event(r, "promotion_dry_run", NULL);
	}
	return rc == E_OK ? judge_conflicts(r, e) : rc;
}

static enum ecode
promote(struct restore *r, struct err *e)
{
	enum ecode rc;

	restore_close_held(r);
	atomic_store(&r->s->listener->progress->phase, PHASE_PROMOTE);
	artifacts_event(r, "restore_promotion_started", NULL);
	artifacts_event(r, "promotion_started", r->dest.path);
	rc = r->args->kind == RESTORE_IN_PLACE ? restore_in_place(r, e) : restore_promote(r, e);
	artifacts_event(
		r, r->out->promoted ? "promotion_completed" : "promotion_failed", r->dest.path);
	if (rc == E_OK)
		note(r, "promoted", r->dest.path);
	return rc;
}

/* D-20: it is in place, under another name, and it is not the whole. */
static enum ecode
tell_partial(struct restore *r, struct err *e)
{
	enum ecode rc = E_OK;

	r->out->partial = strdup(r->dest.partial_path);
	if (r->art.staged) /* they went with the tree */
		rc = restore_partial_records(r, e);
	if (rc != E_OK)
		return rc;
	return err_set(e, E_RESTORE_PARTIAL, 0,
		"%" PRIu64 " path%s could not be restored; the rest is %s", r->out->missing,
		r->out->missing == 1 ? "" : "s", r->dest.partial_path);
}

static enum ecode
work(struct restore *r, struct err *e)
{
	enum ecode rc = look(r, e);

	if (rc == E_PLAN_CHANGED && r->args->resume != NULL)
		return err_set(e, E_RESUME_STAGE, 0,
			"%s: the snapshot, the destination or the program is not what it was when that run was planned",
			r->args->resume);
	if (rc != E_OK)
		return rc;
	rc = restore_retain(r, e);
	if (rc == E_OK && (r->args->dry_run || r->args->plan_file != NULL))
		return rehearse(r, e);
	if (rc == E_OK && r->unresolved == 0)
		rc = restore_in_place_choose(r, e);
	if (rc == E_OK)
		rc = r->unresolved > 0 ? refuse_conflicts(r, e) : stage_and_verify(r, e);
	if (rc == E_OK)
		rc = restore_asked_to_stop(r, e);
	if (rc == E_OK)
		rc = promote(r, e);
	return rc == E_OK && r->out->missing > 0 ? tell_partial(r, e) : rc;
}

static void
sum_verified(struct restore *r)
{
	for (unsigned i = 0; r->worker != NULL && i <= r->s->workers; i++) {
		r->out->verified_files += r->worker[i].verified.files;
		r->out->verified_bytes += r->worker[i].verified.bytes;
	}
}

/* After the rename the tree is there, whatever becomes of its records. */
static enum ecode
summarise(struct restore *r, enum ecode rc, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode got = artifacts_summary(r, rc, &why);

	if (rc == E_OK && got == E_OK && r->art.trouble.code != E_OK) {
		got = r->art.trouble.code;
		why = r->art.trouble;
	}
	if (rc != E_OK || got == E_OK)
		return rc;
	return err_set(e, E_REPORT_WRITE, why.sys, "%s%s: %s",
		r->out->promoted ? "the tree is complete and in place; " : "", r->art.path,
		why.detail);
}

/* DF-32: a place that filled up while it was written. */
static void
note_space(struct restore *r, struct err *e)
{
	struct space now;

	if (cause_of(e->code, e->sys) == CAUSE_DISK_FULL && r->needed > 0 && e->sys > 0 &&
		space_at(r->s->os, r->dest.parent, &now, NULL) == E_OK)
		err_note(e, "%" PRIu64 " bytes are needed in all, %" PRIu64 " are free now",
			r->needed, now.free_bytes);
}

static void
give_result(struct restore *r, enum ecode rc, struct err *e)
{
	struct restore_result *out = r->out;

	out->metadata_problems = r->metadata_problems;
	out->sockets_skipped = r->sockets;
	out->kept_files = r->kept_files;
	out->kept_bytes = r->kept_bytes;
	note_owners(r);
	note_names(r);
	if (r->art.fd >= 0 && (!r->art.staged || out->promoted))
		out->artifacts = strdup(r->art.path);
	if (rc != E_OK)
		note_space(r, e);
	if (rc != E_OK && !out->promoted && r->dest.root_made) {
		out->stage = strdup(r->dest.run_path);
		err_note(e, "the stage is kept: %s", r->dest.run_path);
	}
	if (rc != E_OK)
		restore_resume_tell(r, e);
}

enum ecode
restore_run(struct session *s, const struct restore_args *args, struct restore_result *out,
	struct err *e)
{
	struct restore r = {
		.s = s,
		.args = args,
		.out = out,
		.arena = arena_limit(SNAPSHOTS_ARENA_BYTES),
		.dest = { .parent_fd = -1,
			.home_fd = -1,
			.stage_fd = -1,
			.run_fd = -1,
			.root_fd = -1 },
		.art = { .fd = -1, .journal_fd = -1, .journal_lock = PTHREAD_MUTEX_INITIALIZER },
		.live_lock = PTHREAD_MUTEX_INITIALIZER,
		.privileged = s->os->ids(s->os).uid == 0,
	};
	enum ecode rc;

	*out = (struct restore_result){ 0 };
	flow_watch(
		s->flow, ask_to_stop, &r); /* its refusal says that the destination is as it was */
	rc = restore_open_workers(&r, e);
	if (rc == E_OK)
		rc = hasher_open(&r.art.hasher, e);
	if (rc == E_OK)
		rc = work(&r, e);
	flow_watch(s->flow, session_go_on, s);
	sum_verified(&r);
	rc = summarise(&r, rc, e);
	give_result(&r, rc, e);
	artifacts_close(&r);
	restore_close_workers(&r);
	place_close(&r.place);
	place_close(&r.live);
	restore_dest_done(&r, out->stage != NULL);
	restore_names_close(&r.names);
	restore_only_close(&r.only);
	restore_policy_close(&r.policy);
	repeats_done(&r.repeats);
	free(r.dirs);
	free(r.uses);
	free(r.ranges);
	free(r.links);
	arena_done(&r.arena);
	return rc;
}

void
restore_result_done(struct restore_result *r)
{
	free((void *)(uintptr_t)r->stage);
	r->stage = NULL;
	free((void *)(uintptr_t)r->previous);
	r->previous = NULL;
	free((void *)(uintptr_t)r->safety);
	r->safety = NULL;
	free((void *)(uintptr_t)r->artifacts);
	r->artifacts = NULL;
	for (size_t i = 0; i < r->retired_count; i++)
		free((void *)(uintptr_t)r->retired[i]);
	free(r->retired);
	r->retired = NULL;
	r->retired_count = 0;
	free((void *)(uintptr_t)r->partial);
	r->partial = NULL;
	for (size_t i = 0; i < RESTORE_MISSING_TOLD; i++) {
		free((void *)(uintptr_t)r->missing_path[i]);
		r->missing_path[i] = NULL;
	}
}
