#include "engine/undo_previous.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/previous.h"
#include "engine/restore_internal.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

/* Names in the directory that holds the destination, with their metadata. */
#define PARENT_ARENA_BYTES ((size_t)1 << 30)
/* Beside the destination while two names change hands: whoever ends in between is understood by the next (D-21). */
#define UNDO_NOTE_PREFIX   ".holdfast_restore_undo_"
#define UNDO_NOTE_BYTES    128 /* a run's name and an inode */
#define RUN_SECOND_CHARS   16  /* of a run's name: 20261121T031522Z, then random bits */

struct undo {
	struct undo_beside at;
	struct arena *a;
	bool exists;
	uint64_t ino;     /* of the tree that is there */
	const char *kept; /* name it gets */
};

void
undo_beside_done(struct undo_beside *u)
{
	io_close(u->os, &u->parent_fd);
}

static void
undo_done(struct undo *u)
{
	undo_beside_done(&u->at);
}

static enum ecode
open_parent(struct undo_beside *u, struct err *e)
{
	int got;

	if (io_open(u->os, AT_FDCWD, u->parent, O_RDONLY | O_DIRECTORY, 0, &u->parent_fd, e) !=
		E_OK)
		return err_set(e, E_DEST_PARENT, e != NULL ? e->sys : 0, "open %s", u->parent);
	got = u->os->stat(u->os, u->parent_fd, "", AT_EMPTY_PATH, &u->meta);
	return got < 0 ? err_set(e, E_DEST_PARENT, -got, "stat %s", u->parent) : E_OK;
}

enum ecode
undo_beside_open(const struct os *os, const char *dest, struct arena *a, struct undo_beside *u,
	struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	size_t base_len;
	enum ecode rc;

	*u = (struct undo_beside){ .os = os, .parent_fd = -1 };
	rc = path_clean(&clean, dest, strlen(dest), e);

	if (rc == E_OK)
		rc = arena_str(a, clean.p, clean.len, &u->path, e);
	if (rc != E_OK)
		return rc;
	u->base = path_base(u->path);
	base_len = strlen(u->base);
	if (!name_is_safe(u->base, base_len))
		return err_set(
			e, E_DEST_NOT_DIR, 0, "%s: give the directory by its own name", u->path);
	if (clean.len == base_len)
		u->parent = ".";
	else if (clean.len == base_len + 1)
		u->parent = "/";
	else
		rc = arena_str(a, clean.p, clean.len - base_len - 1, &u->parent, e);
	return rc == E_OK ? open_parent(u, e) : rc;
}

/* ---- the list ---- */

/* The run that a name belongs to, when it is one of this destination's; else NULL. */
static const char *
run_of(const struct undo *u, const char *name)
{
	const char *run = strrchr(name, '_');
	char wanted[NAME_BYTES_MAX + 1];

	if (run == NULL || !run_id_is_one(run + 1) ||
		!restore_previous_name(u->at.base, run + 1, wanted, sizeof(wanted)))
		return NULL;
	return strcmp(name, wanted) == 0 ? run + 1 : NULL;
}

/* By the run's second; within it by when the tree got its name, which is its inode's last change. */
static int
newest_first(const void *a, const void *b)
{
	const struct previous_tree *x = a, *y = b;
	int order = strncmp(y->run_id, x->run_id, RUN_SECOND_CHARS);

	if (order == 0)
		order = instant_cmp(y->meta.ctime, x->meta.ctime);
	return order != 0 ? order : strcmp(y->run_id, x->run_id);
}

static enum ecode
take(struct undo *u, const struct walk_entry *entry, const char *run, struct previous_tree *out,
	struct err *e)
{
	enum ecode rc = arena_str(u->a, entry->name, entry->name_len, &out->name, e);

	if (rc == E_OK)
		rc = arena_str(u->a, run, strlen(run), &out->run_id, e);
	if (rc == E_OK)
		rc = path_join(u->a, u->at.parent, out->name, &out->path, e);
	out->meta = entry->meta;
	return rc;
}

static enum ecode
list_trees(struct undo *u, struct previous_tree **out, size_t *n, struct err *e)
{
	autoclean(arena_done) struct arena names = arena_limit(PARENT_ARENA_BYTES);
	struct walk_list list = { 0 };
	enum ecode rc = walk_dir(u->at.os, u->at.parent_fd, u->at.parent, &names, &list, e);
	void *room = NULL;

	*n = 0;
	if (rc == E_OK)
		rc = arena_alloc(u->a, (list.n + 1) * sizeof(**out), &room, e);
	*out = room;
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const char *run = run_of(u, list.v[i].name);

		if (run == NULL || !list.v[i].have_meta || !S_ISDIR(list.v[i].meta.mode))
			continue;
		rc = take(u, &list.v[i], run, &(*out)[*n], e);
		*n += rc == E_OK;
	}
	if (rc == E_OK && *n > 1)
		qsort(*out, *n, sizeof(**out), newest_first);
	return rc;
}

enum ecode
undo_previous_list(const struct os *os, const char *dest, struct arena *a,
	struct previous_tree **out, size_t *n, struct err *e)
{
	autoclean(undo_done) struct undo u = { .at = { .os = os, .parent_fd = -1 }, .a = a };
	enum ecode rc = undo_beside_open(os, dest, a, &u.at, e);

	return rc == E_OK ? list_trees(&u, out, n, e) : rc;
}

/* ---- putting back ---- */

static enum ecode
choose(struct undo *u, const char *which, struct previous_tree *out, struct err *e)
{
	struct previous_tree *v;
	size_t n;
	enum ecode rc = list_trees(u, &v, &n, e);

	if (rc != E_OK)
		return rc;
	for (size_t i = 0; i < n; i++)
		if (which == NULL || strcmp(v[i].run_id, which) == 0) {
			*out = v[i];
			return E_OK;
		}
	return err_set(e, E_PREVIOUS_NONE, 0, "%s%s has none beside it",
		which == NULL ? "" : "of that run, ", u->at.path);
}

/* Nothing but a directory on the same file system changes places, and the new name must be free. */
static enum ecode
check(struct undo *u, const struct undo_previous_args *args, const struct previous_tree *chosen,
	struct err *e)
{
	char name[NAME_BYTES_MAX + 1];
	struct os_meta m;
	int got = u->at.os->stat(u->at.os, u->at.parent_fd, u->at.base, AT_SYMLINK_NOFOLLOW, &m);

	if (got == -ENOENT)
		return E_OK;
	if (got < 0 || !S_ISDIR(m.mode))
		return err_set(e, E_DEST_NOT_DIR, got < 0 ? -got : 0, "%s", u->at.path);
	if (m.dev != chosen->meta.dev || m.mnt_id != chosen->meta.mnt_id)
		return err_set(e, E_DEST_MOUNT, 0, "a file system is mounted at %s or %s",
			u->at.path, chosen->path);
	u->exists = true;
	u->ino = m.ino;
	if (!restore_previous_name(u->at.base, args->run_id, name, sizeof(name)))
		return err_set(
			e, E_DEST_NOT_DIR, 0, "the run's name has %zu bytes", strlen(args->run_id));
	got = u->at.os->stat(u->at.os, u->at.parent_fd, name, AT_SYMLINK_NOFOLLOW, &m);
	if (got != -ENOENT)
		return err_set(
			e, E_PREVIOUS_THERE, got < 0 ? -got : 0, "%s in %s", name, u->at.parent);
	return arena_str(u->a, name, strlen(name), &u->kept, e);
}

static int
move(struct undo *u, const char *from, const char *to, unsigned flags)
{
	return u->at.os->rename(u->at.os, u->at.parent_fd, from, u->at.parent_fd, to, flags);
}

/* Where nothing can be exchanged: the one aside, the other in, or the one back. */
static enum ecode
two_steps(struct undo *u, const struct previous_tree *chosen, struct err *e)
{
	int rc = move(u, u->at.base, u->kept, 0);

	if (rc < 0)
		return err_set(e, E_PROMOTE, -rc, "%s is as it was", u->at.path);
	rc = move(u, chosen->name, u->at.base, 0);
	if (rc >= 0)
		return E_OK;
	if (move(u, u->kept, u->at.base, 0) >= 0)
		return err_set(e, E_PROMOTE, -rc, "%s is as it was", u->at.path);
	(void)err_set(e, E_PROMOTE, -rc, "%s has no name at the moment", u->at.path);
	err_note(e, "next: mv -T '%s/%s' '%s'", u->at.parent, u->kept, u->at.path);
	return E_PROMOTE;
}

/* ---- the note ---- */

static void
note_name(const struct undo_beside *u, char out[static NAME_BYTES_MAX + 1])
{
	size_t len = strlen(u->base), room = NAME_BYTES_MAX - strlen(UNDO_NOTE_PREFIX);

	(void)snprintf(out, NAME_BYTES_MAX + 1, UNDO_NOTE_PREFIX "%.*s",
		(int)(len > room ? room : len), u->base);
}

bool
undo_previous_pending(const struct undo_beside *u)
{
	char name[NAME_BYTES_MAX + 1];
	struct os_meta m;

	note_name(u, name);
	return u->os->stat(u->os, u->parent_fd, name, AT_SYMLINK_NOFOLLOW, &m) != -ENOENT;
}

/* A link's target: it is there as a whole, or not at all. */
static void
note_text(const struct previous_tree *chosen, char out[static UNDO_NOTE_BYTES])
{
	(void)snprintf(out, UNDO_NOTE_BYTES, "%s %" PRIu64, chosen->run_id, chosen->meta.ino);
}

static void
forget_note(const struct undo *u)
{
	char name[NAME_BYTES_MAX + 1];

	note_name(&u->at, name);
	(void)u->at.os->unlink(
		u->at.os, u->at.parent_fd, name, 0); /* one that stays fits nothing any more */
}

static enum ecode
leave_note(const struct undo *u, const struct previous_tree *chosen, struct err *e)
{
	char name[NAME_BYTES_MAX + 1], text[UNDO_NOTE_BYTES];
	int rc;

	note_name(&u->at, name);
	note_text(chosen, text);
	rc = u->at.os->symlink(u->at.os, text, u->at.parent_fd, name);
	if (rc >= 0)
		rc = u->at.os->fsync(u->at.os, u->at.parent_fd);
	return rc < 0 ? err_set(e, E_PROMOTE, -rc, "%s is as it was; note beside it", u->at.path)
		      : E_OK;
}

/* An earlier undo of this very tree ended after the exchange: it is in place, and its old name is that of the other one. */
static bool
is_half_done(const struct undo *u, const struct previous_tree *chosen)
{
	char name[NAME_BYTES_MAX + 1], wanted[UNDO_NOTE_BYTES], found[UNDO_NOTE_BYTES];
	struct previous_tree in_place = *chosen;
	ssize_t n;

	in_place.meta.ino = u->ino;
	note_name(&u->at, name);
	note_text(&in_place, wanted);
	n = u->at.os->readlink(u->at.os, u->at.parent_fd, name, found, sizeof(found));
	return n > 0 && (size_t)n == strlen(wanted) && memcmp(found, wanted, (size_t)n) == 0;
}

/* ---- names change hands ---- */

/* The tree that was there, now under the chosen one's name, gets its own. */
static enum ecode
keep_aside(struct undo *u, const struct previous_tree *chosen, const char **kept, struct err *e)
{
	int rc = move(u, chosen->name, u->kept, RENAME_NOREPLACE);

	*kept = u->kept;
	if (rc == -EINVAL || rc == -ENOSYS)
		rc = move(u, chosen->name, u->kept, 0);
	if (rc >= 0)
		return E_OK;
	*kept = chosen->name;
	return err_set(e, E_PREVIOUS_KEPT, -rc, "the tree that was at %s is now %s", u->at.path,
		chosen->path);
}

/* *kept: the name under which the tree is that was there. */
static enum ecode
exchange(struct undo *u, const struct previous_tree *chosen, const char **kept, struct err *e)
{
	int rc = move(u, chosen->name, u->at.base, RENAME_EXCHANGE);

	*kept = u->kept;
	if (rc == -EINVAL || rc == -ENOSYS || rc == -ENOTSUP)
		return two_steps(u, chosen, e);
	if (rc < 0)
		return err_set(e, E_PROMOTE, -rc, "%s is as it was", u->at.path);
	return keep_aside(u, chosen, kept, e);
}

static enum ecode
change_places(struct undo *u, const struct previous_tree *chosen, const char **kept, struct err *e)
{
	enum ecode rc;

	if (is_half_done(u, chosen)) {
		rc = keep_aside(u, chosen, kept, e);
	} else {
		forget_note(u); /* of one that ended before it changed anything */
		rc = leave_note(u, chosen, e);
		if (rc == E_OK)
			rc = exchange(u, chosen, kept, e);
	}
	if (rc != E_PREVIOUS_KEPT) /* asked again, the rest is done */
		forget_note(u);
	return rc;
}

/* So that retention knows it for ours (previous.h); without it the tree stays for good, which is said. */
static bool
is_noted(const struct undo *u, const struct undo_previous_args *args,
	const struct previous_tree *chosen)
{
	const struct previous_record record = { .dest = u->at.path,
		.run_id = args->run_id,
		.ino = is_half_done(u, chosen) ? chosen->meta.ino : u->ino };

	return args->state_dir != NULL &&
	       previous_note(u->at.os, args->state_dir, &record, NULL) == E_OK;
}

static enum ecode
put_back(struct undo *u, const struct undo_previous_args *args, struct undo_previous_result *out,
	struct err *e)
{
	const char *kept = NULL;
	enum ecode rc = E_OK, joined = E_OK;
	int got;

	if (u->exists) {
		out->unproven = !is_noted(u, args, &out->chosen);
		rc = change_places(u, &out->chosen, &kept, e);
	} else {
		got = move(u, out->chosen.name, u->at.base, RENAME_NOREPLACE);
		if (got == -EINVAL || got == -ENOSYS)
			got = move(u, out->chosen.name, u->at.base, 0);
		if (got < 0)
			rc = err_set(e, E_PROMOTE, -got, "%s is absent, as it was", u->at.path);
	}
	if (rc != E_OK && rc != E_PREVIOUS_KEPT)
		return rc;
	out->done = true;
	if (kept != NULL)
		joined = path_join(u->a, u->at.parent, kept, &out->kept, rc == E_OK ? e : NULL);
	if (rc == E_OK)
		rc = joined;
	got = u->at.os->fsync(u->at.os, u->at.parent_fd);
	if (rc == E_OK && got < 0)
		rc = err_set(e, E_IO_UNSURE, -got, "%s is in place; fsync of %s", u->at.path,
			u->at.parent);
	return rc;
}

enum ecode
undo_previous_run(const struct os *os, const struct undo_previous_args *args, struct arena *a,
	struct undo_previous_result *out, struct err *e)
{
	autoclean(undo_done) struct undo u = { .at = { .os = os, .parent_fd = -1 }, .a = a };
	enum ecode rc = undo_beside_open(os, args->dest, a, &u.at, e);

	*out = (struct undo_previous_result){ .done = false };
	if (rc == E_OK)
		rc = choose(&u, args->which, &out->chosen, e);
	if (rc == E_OK)
		rc = check(&u, args, &out->chosen, e);
	if (rc != E_OK)
		return rc;
	if (args->dry_run)
		return u.exists ? path_join(a, u.at.parent, u.kept, &out->kept, e) : E_OK;
	return put_back(&u, args, out, e);
}
