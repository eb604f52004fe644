/*
 * Putting a verified tree in the place of another, which is kept beside it
 * (D-5, D-21, X-11).  Where the file system can, both names change hands in one
 * step; at no moment is there no tree under the destination's name.  Where it
 * cannot, two renames with a way back, each announced in the journal first.
 *
 * Whatever a power cut leaves, both trees are whole:
 *	before the exchange	the new one is in the stage
 *	after it		the old one is in the stage
 *	after the last rename	the old one has its own name
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "engine/previous.h"

#define PREVIOUS_PREFIX ".holdfast_restore_previous_" /* D-1 */
#define REMOVING_PREFIX ".holdfast_restore_removing_" /* one that retention is at (previous.h) */

/* A long destination's name is cut: the run id tells it apart. */
static bool
name_beside(const char *prefix, const char *base, const char *run_id, char *out, size_t size)
{
	size_t fixed = strlen(prefix) + 1 + strlen(run_id);
	size_t len = strlen(base);

	if (fixed >= NAME_BYTES_MAX || size <= NAME_BYTES_MAX)
		return false;
	if (len > NAME_BYTES_MAX - fixed)
		len = NAME_BYTES_MAX - fixed;
	(void)snprintf(out, size, "%s%.*s_%s", prefix, (int)len, base, run_id);
	return true;
}

bool
restore_previous_name(const char *base, const char *run_id, char *out, size_t size)
{
	return name_beside(PREVIOUS_PREFIX, base, run_id, out, size);
}

bool
restore_removing_name(const char *base, const char *run_id, char *out, size_t size)
{
	return name_beside(REMOVING_PREFIX, base, run_id, out, size);
}

static enum ecode
name_previous(struct restore *r, struct err *e)
{
	char name[NAME_BYTES_MAX + 1];

	if (!restore_previous_name(r->dest.base, r->args->run_id, name, sizeof(name)))
		return err_set(e, E_DEST_NOT_DIR, 0, "the run's name has %zu bytes",
			strlen(r->args->run_id));
	return arena_str(&r->arena, name, strlen(name), &r->dest.previous, e);
}

enum ecode
restore_swap_check(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	struct os_meta m;
	enum ecode rc;
	int got;

	if (r->args->kind != RESTORE_SWAP || !d->exists)
		return E_OK;
	rc = name_previous(r, e);
	if (rc != E_OK)
		return rc;
	got = r->s->os->stat(r->s->os, d->parent_fd, d->previous, AT_SYMLINK_NOFOLLOW, &m);
	if (got == -ENOENT)
		return E_OK;
	return err_set(e, E_PREVIOUS_THERE, got < 0 ? -got : 0, "%s in %s", d->previous, d->parent);
}

/* The kernel's refusal is told with what the operator finds on disk. */
static enum ecode
told(struct restore *r, int rc, const char *state, struct err *e)
{
	artifacts_event(r, "promotion_failed", state);
	return err_set(e, E_PROMOTE, -rc, "%s", state);
}

/* Both names at once; then the old tree leaves the stage. */
static int
exchange(struct restore *r)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;

	artifacts_event(r, "promotion_planned", "exchange");
	return os->rename(
		os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, d->base, RENAME_EXCHANGE);
}

static bool
cannot_exchange(int rc)
{
	return rc == -EINVAL || rc == -ENOSYS || rc == -ENOTSUP;
}

/* From here on the new tree is in place: a refusal says where the old one is, and is no failure of the restore. */
static enum ecode
keep_old(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	int rc = os->rename(
		os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, d->previous, RENAME_NOREPLACE);

	if (rc == -EINVAL || rc == -ENOSYS)
		rc = os->rename(os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, d->previous, 0);
	if (rc < 0) {
		d->old_staged = true;
		return err_set(e, E_PREVIOUS_KEPT, -rc,
			"the previous tree is %s/" RESTORE_STAGE_ROOT, d->run_path);
	}
	return E_OK;
}

/* Without an exchange: the old one aside, the new one in, or the old one back. */
static enum ecode
two_steps(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	int rc, back;

	artifacts_event(r, "promotion_planned", "two renames");
	rc = os->rename(os, d->parent_fd, d->base, d->parent_fd, d->previous, 0);
	if (rc < 0)
		return told(r, rc, "the destination is as it was; the new tree is in the stage", e);
	rc = os->rename(os, d->run_fd, RESTORE_STAGE_ROOT, d->parent_fd, d->base, 0);
	if (rc >= 0)
		return E_OK;
	back = os->rename(os, d->parent_fd, d->previous, d->parent_fd, d->base, 0);
	if (back >= 0)
		return told(r, rc, "the destination is as it was; the new tree is in the stage", e);
	(void)told(r, rc,
		"the destination has no name at the moment: rename the previous tree back", e);
	err_note(e, "the previous tree is %s/%s", d->parent, d->previous);
	err_note(e, "next: mv -T '%s/%s' '%s'", d->parent, d->previous, d->path);
	return E_PROMOTE;
}

static void
tell_previous(struct restore *r)
{
	const struct restore_dest *d = &r->dest;
	const char *dir = d->old_staged ? d->run_path : d->parent;
	const char *name = d->old_staged ? RESTORE_STAGE_ROOT : d->previous;
	const char *path;
	struct err ignored;

	r->out->previous =
		strdup(path_join(&r->arena, dir, name, &path, &ignored) == E_OK ? path : name);
}

/* Before it is put aside: by this record retention will know it for ours.  The restore goes on without. */
static void
note_previous(struct restore *r)
{
	const struct listener *l = r->s->listener;
	const struct previous_record record = {
		.dest = r->dest.path, .run_id = r->args->run_id, .ino = r->dest.meta.ino
	};
	struct err why;

	if (r->args->state_dir != NULL &&
		previous_note(r->s->os, r->args->state_dir, &record, &why) != E_OK)
		l->note(l->arg, RESTORE_NOTE_STAYS,
			"the previous tree will stay until you remove it: no record of it could be written");
}

enum ecode
restore_swap(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	enum ecode kept = E_OK;
	int rc;

	note_previous(r);
	rc = exchange(r);
	if (cannot_exchange(rc)) {
		kept = two_steps(r, e);
		if (kept != E_OK)
			return kept;
		r->out->promoted = true;
	} else if (rc < 0) {
		return told(r, rc, "the destination is as it was; the new tree is in the stage", e);
	} else {
		r->out->promoted = true;
		kept = keep_old(r, e);
	}
	d->root_made = false;
	tell_previous(r);
	return kept;
}
