/*
 * choose → private directory → (sample) → restore → compare → control →
 * verdict → remove, or keep as evidence → record.  A refusal of the
 * surroundings (no space, an interruption) is told as itself, and recorded as
 * unknown: it says nothing about the snapshot.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/catalog.h"
#include "engine/drill_internal.h"
#include "engine/restore_internal.h"
#include "engine/scratch.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define DRILL_ARENA_BYTES ((size_t)1 << 30) /* snapshot records of a whole vault */
#define DIR_PREFIX        "holdfast-drill-"
#define EVIDENCE_SUFFIX   "-evidence" /* D-8 */
#define DENT_BYTES        ((size_t)16 << 10)

static void
drill_done(struct drill *d)
{
	hasher_close(&d->hasher);
	hasher_close(&d->keys);
	free(d->ranks);
	free((void *)(uintptr_t)d->small);
	free(d->small_content);
	arena_done(&d->arena);
}

void
drill_result_done(struct drill_result *r)
{
	free((void *)(uintptr_t)r->kept);
	r->kept = NULL;
}

static void
note(const struct drill *d, const char *event, const char *text)
{
	const struct listener *l = d->s->listener;

	l->note(l->arg, event, text);
}

/* The first reason stays; a graver verdict takes its place. */
static void printf_like(3, 4)
	judge(struct drill *d, enum drill_verdict verdict, const char *fmt, ...)
{
	struct drill_record *r = &d->out->record;
	va_list args;

	if (verdict <= r->verdict && r->why[0] != '\0')
		return;
	r->verdict = verdict;
	va_start(args, fmt);
	(void)vsnprintf(r->why, sizeof(r->why), fmt, args);
	va_end(args);
}

/* ---- before ---- */

static void
sample_text(const struct drill_args *args, char out[static DRILL_TEXT_BYTES])
{
	switch (args->kind) {
	case DRILL_FULL:
		(void)snprintf(out, DRILL_TEXT_BYTES, "full");
		return;
	case DRILL_PERCENT:
		(void)snprintf(out, DRILL_TEXT_BYTES, "%" PRIu64 "%%", args->amount);
		return;
	case DRILL_FILES:
		(void)snprintf(out, DRILL_TEXT_BYTES, "files %" PRIu64, args->amount);
		return;
	}
}

static void
describe(struct drill *d)
{
	const struct os *os = d->s->os;
	struct drill_record *r = &d->out->record;

	(void)snprintf(r->run_id, sizeof(r->run_id), "%s", d->args->run_id);
	if (os->hostname(os, r->host, sizeof(r->host)) < 0)
		r->host[0] = '\0';
	r->host[sizeof(r->host) - 1] = '\0';
	if (os->user_name(os, os->ids(os).uid, r->username, sizeof(r->username)) < 0)
		r->username[0] = '\0';
	sample_text(d->args, r->sample);
	r->repo_id = d->s->vault->repo_id;
	r->started = os->wall(os);
	r->verdict = DRILL_UNKNOWN;
}

static enum ecode
choose(struct drill *d, struct err *e)
{
	const char *sub = NULL;
	enum ecode rc = catalog_choose(
		d->s, d->args->filter, d->args->snapshot, &d->arena, &d->snap, &sub, e);

	if (rc == E_OK && sub != NULL)
		rc = err_set(e, E_USAGE, 0, "a drill takes a whole snapshot, not a folder of it");
	if (rc != E_OK)
		return rc;
	d->out->record.snapshot_id = d->snap->id;
	d->out->record.snapshot_time = d->snap->time;
	return E_OK;
}

static enum ecode
path_text(struct drill *d, const char **out, const char *a, const char *b, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(1U << 20);
	enum ecode rc = buf_printf(&text, e, "%s%s", a, b);

	return rc == E_OK ? arena_str(&d->arena, text.p, text.len, out, e) : rc;
}

/* What a killed drill restored is the user's: it is named, and never removed, for it may be at work. */
static void
tell_if_left(const struct drill *d, int dir, const char *name)
{
	const size_t len = strlen(DIR_PREFIX);
	char text[3 * PATH_TEXT_SHOWN];
	struct os_meta m;

	if (strncmp(name, DIR_PREFIX, len) != 0 || !run_id_is_one(name + len) ||
		d->s->os->stat(d->s->os, dir, name, AT_SYMLINK_NOFOLLOW, &m) < 0 ||
		!S_ISDIR(m.mode) || m.uid != d->s->os->ids(d->s->os).uid)
		return;
	(void)snprintf(text, sizeof(text),
		"drill %s ended without removing what it had restored: %.*s/%s. Unless it is still at work, it may be removed",
		name + len, PATH_TEXT_SHOWN, d->args->parent, name);
	note(d, DRILL_NOTE_LEFT, text);
}

/* A place that cannot be listed is no reason to refuse. */
static void
tell_left(const struct drill *d)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = d->s->os, .fd = -1 };
	_Alignas(16) uint8_t records[DENT_BYTES];
	struct os_dirent ent;
	struct err ignored;
	ssize_t got = 1;

	if (walk_open_dir(d->s->os, AT_FDCWD, d->args->parent, true, &dir.fd, &ignored) != E_OK)
		return;
	while (got > 0) {
		size_t at = 0;

		got = d->s->os->getdents(d->s->os, dir.fd, records, sizeof(records));
		while (got > 0 && os_dirent_next(records, (size_t)got, &at, &ent))
			tell_if_left(d, dir.fd, ent.name);
	}
}

static enum ecode
make_dir(struct drill *d, struct err *e)
{
	const char *parent;
	enum ecode rc = path_text(d, &parent, d->args->parent, "/" DIR_PREFIX, e);

	if (rc == E_OK)
		rc = path_text(d, &d->dir, parent, d->args->run_id, e);
	if (rc == E_OK)
		rc = path_text(d, &d->tree, d->dir, "/tree", e);
	if (rc == E_OK)
		tell_left(d);
	if (rc == E_OK)
		rc = scratch_make(d->s->os, d->dir, e);
	d->made = rc == E_OK;
	return rc;
}

/* ---- after the restore ---- */

static void
add_digest(struct drill *d, const struct match_record *r)
{
	const char *status = match_status_text(r->status);
	uint64_t size = r->expected_size;

	hasher_add(d->hasher, status, strlen(status) + 1);
	hasher_add(d->hasher, r->path, strlen(r->path) + 1);
	hasher_add(d->hasher, &size, sizeof(size));
	if (r->node != NULL && r->node->type == NODE_FILE)
		hasher_add(d->hasher, r->node->content,
			r->node->content_count * sizeof(*r->node->content));
}

static void
judge_live(struct drill *d, const struct match_record *r)
{
	switch ((enum drill_live)r->beside) {
	case DRILL_LIVE_NONE:
		return;
	case DRILL_LIVE_CHANGED:
		d->out->live_changed++;
		return;
	case DRILL_LIVE_SAME:
		d->out->live_files++;
		return;
	case DRILL_LIVE_OTHER:
		d->live_unlike++;
		judge(d, DRILL_FAIL, "%s: the live file is unchanged, but its bytes are others",
			r->path);
		return;
	}
}

static enum ecode
on_record(void *arg, const struct match_record *r, struct err *e)
{
	const struct listener *l;
	struct drill *d = arg;
	struct problem problem = { .path = r->path,
		.during = "drill",
		.code = E_DRILL_FAILED,
		.cause = cause_of(E_DRILL_FAILED, 0),
		.why = r->why,
		.fatal_for_item = r->status != MATCH_METADATA };

	add_digest(d, r);
	if (r->status != MATCH_OK) {
		l = d->s->listener;
		atomic_fetch_add(&l->progress->problems, 1);
		l->problem(l->arg, &problem);
		return E_OK;
	}
	if (r->node == NULL || r->node->type != NODE_FILE)
		return E_OK;
	judge_live(d, r);
	return drill_control_candidate(d, r, e);
}

static enum ecode
compare(struct drill *d, struct err *e)
{
	struct match_args args = {
		.tree = &d->snap->tree,
		.dir = d->tree,
		.level = MATCH_HASHES,
		.privileged = d->s->os->ids(d->s->os).uid == 0,
		.own = ARTIFACTS_DIR,
		.wanted = d->args->kind == DRILL_FULL ? NULL : drill_sample_wants,
		.wanted_arg = d,
		.same = d->same,
		.beside = drill_live_compare,
		.each = on_record,
		.arg = d,
	};
	struct drill_record *r = &d->out->record;
	enum ecode rc;

	rc = drill_live_begin(d, e);
	if (rc != E_OK)
		return rc;
	hasher_begin(d->hasher);
	rc = match_run(d->s, &args, &d->out->counts, e);
	hasher_end(d->hasher, &r->digest);
	r->files = d->out->counts.files;
	r->bytes = d->out->counts.bytes;
	r->live_files = d->out->live_files;
	return rc;
}

/* What says something about the snapshot, and not about the place where it was restored. */
static bool
is_failure(enum ecode rc)
{
	return rc == E_RESTORE_DAMAGED || rc == E_STORE_ABSENT ||
	       err_row(rc)->caller == CALLER_CORRUPT;
}

static enum ecode
restore(struct drill *d, struct restore_result *out, struct err *e)
{
	char hex[ID_HEX_SIZE];
	struct restore_args args = {
		.snapshot = hex,
		.dest = d->tree,
		.run_id = d->args->run_id,
		.verify = VERIFY_SIZE, /* compare() reads and hashes all of it, where it is then */
		.passing = true,
		.artifacts = true,
		.wanted = d->args->kind == DRILL_FULL ? NULL : drill_sample_wants,
		.wanted_arg = d,
	};

	id_hex(&d->snap->id, hex);
	return restore_run(d->s, &args, out, e);
}

static void
judge_counts(struct drill *d, const struct restore_result *restored)
{
	const struct match_counts *c = &d->out->counts;
	uint64_t bad = c->status[MATCH_MISSING] + c->status[MATCH_SIZE] + c->status[MATCH_HASH] +
		       c->status[MATCH_EXTRA];
	uint64_t metadata = c->status[MATCH_METADATA];

	if (bad > 0 || (metadata > 0 && restored->metadata_problems == 0))
		judge(d, DRILL_FAIL, "%" PRIu64 " paths are not as in the snapshot",
			bad + metadata);
	if (d->args->kind == DRILL_FULL && c->status[MATCH_ERROR] == 0 &&
		(restored->files != c->files || restored->others != c->others ||
			restored->dirs != c->dirs || restored->bytes != c->bytes))
		judge(d, DRILL_FAIL,
			"restored were %" PRIu64 " files, and the snapshot has %" PRIu64,
			restored->files, c->files);
	if (c->status[MATCH_ERROR] > 0) /* what was not seen says nothing about the snapshot */
		judge(d, DRILL_UNKNOWN, "%" PRIu64 " paths could not be read to be compared",
			c->status[MATCH_ERROR]);
	if (metadata > 0)
		judge(d, DRILL_UNKNOWN, "%" PRIu64 " attributes could not be applied at this place",
			metadata);
	if (c->unproven > 0)
		judge(d, DRILL_UNKNOWN,
			"the owners of %" PRIu64 " paths can only be proven as root", c->unproven);
}

static enum ecode
judge_control(struct drill *d, struct err *e)
{
	bool ran = false;
	enum ecode rc = drill_control(d, &ran, &d->out->control, e);

	if (rc != E_OK)
		return rc;
	if (!ran)
		judge(d, DRILL_UNKNOWN, "there is no content to run the negative control with");
	else if (!d->out->control) /* whatever it said before: it cannot tell a difference */
		judge(d, DRILL_UNKNOWN, "a flipped byte was not noticed: the comparison is broken");
	return ran && !d->out->control ? err_set(e, E_DRILL_CONTROL, 0,
						 "the copy with a flipped byte was called equal")
				       : E_OK;
}

static enum ecode
prove(struct drill *d, struct err *e)
{
	autoclean(restore_result_done) struct restore_result restored = { .promoted = false };
	enum ecode rc = E_OK;

	if (d->args->kind != DRILL_FULL)
		rc = drill_sample_choose(d, e);
	if (rc == E_OK)
		rc = restore(d, &restored, e);
	if (rc == E_OK)
		rc = compare(d, e);
	if (rc != E_OK && is_failure(rc))
		judge(d, DRILL_FAIL, "%s: %s", err_row(rc)->name, e->detail);
	if (rc != E_OK)
		return rc;
	d->out->record.verdict = d->args->kind == DRILL_FULL ? DRILL_PASS : DRILL_SAMPLED;
	if (d->live_unlike > 0)
		d->out->record.verdict = DRILL_FAIL;
	judge_counts(d, &restored);
	return judge_control(d, e);
}

/* ---- the end ---- */

static void
keep_evidence(struct drill *d)
{
	const struct os *os = d->s->os;
	const char *name = d->dir;
	struct err ignored;

	if (path_text(d, &name, d->dir, EVIDENCE_SUFFIX, &ignored) != E_OK ||
		os->rename(os, AT_FDCWD, d->dir, AT_FDCWD, name, RENAME_NOREPLACE) < 0)
		name = d->dir; /* it stays under its first name */
	d->out->kept = strdup(name);
	note(d, "drill_evidence", name);
}

static void
settle(struct drill *d, enum ecode rc)
{
	struct err why = { .code = E_OK };

	if (!d->made)
		return;
	if (d->out->record.verdict == DRILL_FAIL || rc == E_DRILL_CONTROL) {
		keep_evidence(d);
		return;
	}
	if (scratch_remove(d->s->os, d->dir, &why) == E_OK)
		return;
	d->out->kept = strdup(d->dir);
	note(d, "drill_directory_left", why.detail);
}

static enum ecode
keep_record(struct drill *d, struct err *e)
{
	struct err why = { .code = E_OK };
	struct drill_record *r = &d->out->record;
	enum ecode rc;

	if (drill_record_note(d->s, r, &why) != E_OK)
		note(d, "drill_record_not_in_vault", why.detail);
	rc = drill_record_keep(d->s->os, d->args->state_dir, r, e);
	d->out->recorded = rc == E_OK;
	return rc;
}

static enum ecode
refuse(struct drill *d, enum ecode rc, struct err *e)
{
	const struct drill_record *r = &d->out->record;

	if (r->verdict == DRILL_FAIL)
		rc = err_set(e, E_DRILL_FAILED, 0, "%s", r->why);
	else if (rc == E_OK && r->verdict == DRILL_UNKNOWN)
		rc = err_set(e, E_DRILL_UNKNOWN, 0, "%s", r->why);
	if (rc != E_OK && d->out->kept != NULL)
		err_note(e, "%.250s", d->out->kept);
	return rc;
}

static enum ecode
work(struct drill *d, struct err *e)
{
	const struct os *os = d->s->os;
	uint64_t from_ns = os->monotonic_ns(os);
	struct err late = { .code = E_OK };
	enum ecode rc, kept;

	rc = choose(d, e);
	if (rc != E_OK)
		return rc; /* no snapshot: nothing to record */
	rc = make_dir(d, e);
	if (rc == E_OK)
		rc = prove(d, e);
	if (rc != E_OK && d->out->record.why[0] == '\0')
		judge(d, DRILL_UNKNOWN, "%s: %s", err_row(rc)->name, e->detail);
	d->out->record.duration_ms = (os->monotonic_ns(os) - from_ns) / 1000000;
	settle(d, rc);
	kept = keep_record(d, &late);
	rc = refuse(d, rc, e);
	if (kept == E_OK)
		return rc;
	if (rc == E_OK) {
		*e = late;
		return kept;
	}
	err_note(e, "the record could not be kept: %.200s", late.detail);
	return rc;
}

enum ecode
drill_run(struct session *s, const struct drill_args *args, struct drill_result *out, struct err *e)
{
	autoclean(drill_done) struct drill d = {
		.s = s,
		.args = args,
		.out = out,
		.arena = arena_limit(DRILL_ARENA_BYTES),
		.same = args->same != NULL ? args->same : match_content,
	};
	enum ecode rc;

	*out = (struct drill_result){ .recorded = false };
	describe(&d);
	rc = hasher_open(&d.hasher, e);
	if (rc == E_OK)
		rc = hasher_open(&d.keys, e);
	return rc == E_OK ? work(&d, e) : rc;
}
