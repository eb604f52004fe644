/*
 * The stage of an interrupted restore, to be continued (IX-48, D-18).  Beside
 * its tree it holds the plan, with its digest, and the inode of the tree that
 * was begun: after an exchange the tree in the stage is the previous one, and
 * that is never built upon.  The stage is somebody else's word: what is in there
 * is opened below held descriptors, nothing is followed, nothing is believed
 * that was not hashed again (restore_adopt.c).
 *
 * The run that continues gives the stage its own name, under the lock, so that
 * there is one run to speak of however often it is interrupted.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/path.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define ROOT_NOTE           "stage_root.inode"
#define ROOT_NOTE_BYTES     32
#define DIR_FLAGS           (O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
/* Files of one run's records: about ten. */
#define RECORDS_ARENA_BYTES ((size_t)64 << 20)

static enum ecode
no_stage(struct err *e, int sys, const char *path, const char *why)
{
	return err_set(e, E_RESUME_STAGE, sys, "%.*s: %s", PATH_TEXT_SHOWN / 2, path, why);
}

/* ---- the plan in the stage, before anything is opened for work ---- */

/* A plain file below the stage, whole. */
static enum ecode
read_plain(
	const struct os *os, struct place *stage, const char *rel, struct buf *text, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = os, .fd = -1 };
	struct os_meta m;
	size_t got = 0;
	enum ecode rc = place_reopen(stage, rel, O_RDONLY, &file.fd, e);

	if (rc != E_OK)
		return rc;
	if (os->stat(os, file.fd, "", AT_EMPTY_PATH, &m) < 0 || !S_ISREG(m.mode) || m.nlink != 1)
		return err_set(e, E_RESUME_STAGE, 0, "it is not a plain file");
	if (m.size > PLAN_FILE_MAX_BYTES)
		return err_set(e, E_RESUME_STAGE, 0, "it is too large for a plan");
	rc = buf_reserve(text, (size_t)m.size + 1, e);
	if (rc == E_OK)
		rc = io_read(os, file.fd, text->p, (size_t)m.size, &got, rel, e);
	text->len = got;
	return rc;
}

static enum ecode
load(const struct os *os, const char *stage_path, const char *run, struct restore_approval *hold,
	struct restore_args *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PLAN_FILE_MAX_BYTES + 1);
	char rel[RUN_ID_MAX + sizeof(RESTORE_STAGE_PLAN) + 1];
	struct place *stage = NULL;
	enum ecode rc = place_look(os, stage_path, &stage, e);

	(void)snprintf(rel, sizeof(rel), "%s/" RESTORE_STAGE_PLAN, run);
	if (rc == E_OK)
		rc = read_plain(os, stage, rel, &text, e);
	place_close(&stage);
	return rc == E_OK ? restore_plan_take(&text, NULL, hold, out, e) : rc;
}

/* The run and the place are what was asked for, whatever the plan says. */
static enum ecode
check_loaded(const struct restore_args *args, const char *dest, const char *digest, struct err *e)
{
	if (strcmp(args->dest, dest) != 0)
		return err_set(e, E_RESUME_STAGE, 0, "its plan is for another place");
	if (digest != NULL && strcmp(args->plan_digest, digest) != 0)
		return err_set(e, E_RESUME_STAGE, 0, "its plan is not the one that run had");
	if (args->kind == RESTORE_IN_PLACE)
		return err_set(e, E_RESUME_STAGE, 0,
			"a restore in place is continued by the same command again");
	return E_OK;
}

static enum ecode
stage_text(const char *dest, struct buf *out, struct err *e)
{
	enum ecode rc = buf_printf(out, e, "%s" RESTORE_STAGE_SUFFIX, dest);

	return rc == E_OK ? buf_add_byte(out, '\0', e) : rc;
}

/* The plan is one for a destination that is there. */
static enum ecode
refuse_between(const struct os *os, const char *dest, const char *run, struct err *e)
{
	autoclean(buf_done) struct buf aside = buf_limit(PATH_TEXT_MAX);
	int shown = PATH_TEXT_SHOWN / 2;

	if (!restore_left_between(os, dest, run, &aside))
		return E_OK;
	(void)err_set(e, E_RESUME_STAGE, 0,
		"run %s ended between its two renames: the tree that was at %.*s is %.*s", run,
		shown, dest, shown, (const char *)aside.p);
	err_next(e, "Bring that tree back, then ask again: mv -T '%.*s' '%.*s'", shown,
		(const char *)aside.p, shown, dest);
	return E_RESUME_STAGE;
}

enum ecode
restore_resume_load(const struct os *os, const char *dest, const char *run, const char *digest,
	struct restore_approval *hold, struct restore_args *out, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX);
	struct err why = { .code = E_OK };
	enum ecode rc = stage_text(dest, &path, e);

	*hold = (struct restore_approval){ .arena = arena_limit(PLAN_ARENA_BYTES) };
	if (rc != E_OK)
		return rc;
	if (strlen(run) >= RUN_ID_MAX || !name_is_safe(run, strlen(run)))
		return err_set(e, E_USAGE, 0, "--resume %.64s: give the id of a run", run);
	rc = refuse_between(os, dest, run, e);
	if (rc != E_OK)
		return rc;
	rc = load(os, (const char *)path.p, run, hold, out, &why);
	if (rc == E_OK)
		rc = check_loaded(out, dest, digest, &why);
	if (rc == E_NOMEM)
		return err_set(e, E_NOMEM, why.sys, "%s", why.detail);
	if (rc != E_OK)
		return err_set(e, E_RESUME_STAGE, why.sys, "%.*s/%s: %s", PATH_TEXT_SHOWN / 2,
			(const char *)path.p, run,
			why.sys == ENOENT ? "there is no stage with a plan" : why.detail);
	out->resume = run;
	out->resumable = true;
	return E_OK;
}

/* Digits and a line feed; false when it is anything else. */
static bool
read_number(const struct os *os, int dir, const char *name, uint64_t *out)
{
	autoclean(buf_done) struct buf text = buf_limit(ROOT_NOTE_BYTES);
	autoclean(io_fd_done) struct io_fd file = { .os = os, .fd = -1 };
	struct os_meta m;
	size_t got = 0;

	if (buf_reserve(&text, ROOT_NOTE_BYTES, NULL) != E_OK ||
		walk_open_file(os, dir, name, &file.fd, NULL) != E_OK ||
		os->stat(os, file.fd, "", AT_EMPTY_PATH, &m) < 0 || !S_ISREG(m.mode) ||
		io_read(os, file.fd, text.p, ROOT_NOTE_BYTES - 1, &got, name, NULL) != E_OK ||
		got < 2 || text.p[got - 1] != '\n')
		return false;
	*out = 0;
	for (size_t i = 0; i + 1 < got; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(text.p[i] - '0');
	}
	return true;
}

bool
restore_resume_there(const struct os *os, const char *dest, const char *run)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX);
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct os_meta plan, root;
	uint64_t ino = 0;
	struct err e;

	if (restore_left_between(os, dest, run, &path))
		return false; /* the same command again says how the tree comes back */
	path.len = 0;
	if (buf_printf(&path, &e, "%s" RESTORE_STAGE_SUFFIX "/%s", dest, run) != E_OK ||
		buf_add_byte(&path, '\0', &e) != E_OK ||
		io_open(os, AT_FDCWD, (const char *)path.p, DIR_FLAGS, 0, &dir.fd, NULL) != E_OK)
		return false;
	return os->stat(os, dir.fd, RESTORE_STAGE_PLAN, AT_SYMLINK_NOFOLLOW, &plan) >= 0 &&
	       S_ISREG(plan.mode) &&
	       os->stat(os, dir.fd, RESTORE_STAGE_ROOT, AT_SYMLINK_NOFOLLOW, &root) >= 0 &&
	       S_ISDIR(root.mode) && read_number(os, dir.fd, ROOT_NOTE, &ino) && ino == root.ino;
}

/* ---- taking it over ---- */

/* The lock goes with the descriptor, however the process ends. */
enum ecode
restore_stage_lock(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	int rc;

	do
		rc = os->flock(os, r->dest.run_fd, LOCK_EX | LOCK_NB);
	while (rc == -EINTR);
	if (rc != -EWOULDBLOCK)
		return E_OK; /* network file systems without locks: a stage is only ever renamed once all the same */
	return err_set(e, E_RESUME_BUSY, 0, "%s", r->dest.run_path);
}

/* Ours, and of nobody who could change it meanwhile. */
static bool
is_private(const struct restore *r, const struct os_meta *m)
{
	return S_ISDIR(m->mode) && m->uid == r->s->os->ids(r->s->os).uid && (m->mode & 022) == 0;
}

/* Between opening and locking another run may have taken it. */
static enum ecode
check_run_dir(struct restore *r, struct err *e)
{
	const struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_meta held, named;
	int rc = os->stat(os, d->run_fd, "", AT_EMPTY_PATH, &held);

	if (rc >= 0 && !is_private(r, &held))
		return no_stage(e, 0, r->args->resume, "it belongs to somebody else");
	if (rc >= 0)
		rc = os->stat(os, d->stage_fd, r->args->resume, AT_SYMLINK_NOFOLLOW, &named);
	if (rc == -ENOENT || (rc >= 0 && (named.ino != held.ino || named.dev != held.dev)))
		return err_set(e, E_RESUME_BUSY, 0, "another run continues %s", r->args->resume);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "stat", r->args->resume) : E_OK;
}

/* The tree that was begun, and not the one that an exchange left there. */
static enum ecode
check_stage_root(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	uint64_t ino = 0;
	struct os_meta m;
	int rc = os->stat(os, r->dest.run_fd, RESTORE_STAGE_ROOT, AT_SYMLINK_NOFOLLOW, &m);

	if (rc < 0)
		return no_stage(e, -rc, r->args->resume, "it holds no tree");
	if (!S_ISDIR(m.mode) || m.dev != r->dest.run_dev)
		return no_stage(e, 0, r->args->resume, "its tree is not a directory of its own");
	if (!read_number(os, r->dest.run_fd, ROOT_NOTE, &ino) || ino != m.ino)
		return no_stage(e, 0, r->args->resume,
			"its tree is not the one that was begun; it may be the previous tree of an exchange, so look before anything is removed");
	if (r->privileged || (m.mode & 0700) == 0700)
		return E_OK;
	rc = os->chmod(os, r->dest.run_fd, RESTORE_STAGE_ROOT, 0700);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "chmod", RESTORE_STAGE_ROOT) : E_OK;
}

static enum ecode
take_name(struct restore *r, struct err *e)
{
	const struct restore_args *args = r->args;
	const struct os *os = r->s->os;
	int fd = r->dest.stage_fd, rc;

	if (strcmp(args->resume, args->run_id) == 0)
		return E_OK;
	rc = os->rename(os, fd, args->resume, fd, args->run_id, RENAME_NOREPLACE);
	if (rc == -EINVAL || rc == -ENOSYS)
		rc = os->rename(os, fd, args->resume, fd, args->run_id, 0);
	return rc < 0 ? io_refusal(e, E_STAGE_IO, rc, "rename", r->dest.run_path) : E_OK;
}

enum ecode
restore_stage_take(struct restore *r, struct err *e)
{
	struct restore_dest *d = &r->dest;
	const struct os *os = r->s->os;
	struct os_meta m;
	enum ecode rc;
	int fd = os->open(os, d->stage_fd, r->args->resume, DIR_FLAGS | O_CLOEXEC, 0);

	if (fd < 0)
		return no_stage(e, -fd, r->args->resume, "there is no such stage");
	d->run_fd = fd;
	fd = os->stat(os, d->stage_fd, "", AT_EMPTY_PATH, &m);
	if (fd < 0)
		return io_refusal(e, E_STAGE_IO, fd, "stat", d->stage_path);
	d->run_dev = m.dev;
	rc = restore_stage_lock(r, e);
	if (rc == E_OK)
		rc = check_run_dir(r, e);
	if (rc == E_OK)
		rc = check_stage_root(r, e);
	if (rc == E_OK)
		rc = take_name(r, e);
	if (rc != E_OK)
		return rc;
	d->run_made = d->root_made = d->resumable = true;
	d->noted = true; /* what an earlier run said of the destination may be old */
	restore_left_forget(r);
	d->noted = false;
	return restore_left_note(r, e);
}

/* ---- records of the runs that are continued ---- */

static enum ecode
foreign_record(struct restore *r, const char *name, struct err *e)
{
	return err_set(e, E_RESUME_FOREIGN, 0, "%s/" RESTORE_STAGE_ROOT "/" ARTIFACTS_DIR ": %s",
		r->dest.run_path, name);
}

static bool
is_record(const struct restore *r, const struct walk_entry *entry)
{
	const char *dot = strrchr(entry->name, '.');

	return entry->have_meta && S_ISREG(entry->meta.mode) && entry->meta.nlink == 1 &&
	       entry->meta.uid == r->s->os->ids(r->s->os).uid && dot != NULL &&
	       (strcmp(dot, ".json") == 0 || strcmp(dot, ".jsonl") == 0 ||
		       strcmp(dot, ".txt") == 0 || strcmp(dot, ".toml") == 0 ||
		       strncmp(dot, ".json-tmp-", 10) == 0);
}

/* `run` NULL: the directory above them all. */
static enum ecode
check_records_dir(struct restore *r, struct arena *a, const char *rel, const char *run,
	struct walk_list *list, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };
	enum ecode rc = place_open_dir(r->place, rel, &dir.fd, e);

	if (rc == E_OK)
		rc = walk_dir(r->s->os, dir.fd, rel, a, list, e);
	for (size_t i = 0; rc == E_OK && i < list->n; i++) {
		const struct walk_entry *entry = &list->v[i];
		bool fine = is_record(r, entry);

		if (run == NULL && entry->have_meta && S_ISDIR(entry->meta.mode))
			fine = run_id_is_one(entry->name);
		if (!fine)
			rc = foreign_record(r, entry->name, e);
	}
	return rc;
}

enum ecode
restore_records_check(struct restore *r, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(RECORDS_ARENA_BYTES);
	struct walk_list runs = { 0 }, files;
	char rel[sizeof(ARTIFACTS_DIR) + NAME_BYTES_MAX + 1];
	struct os_meta m;
	enum ecode rc;
	int got;

	for (size_t i = 0; i < r->root->count; i++)
		if (strcmp(r->root->items[i].name, ARTIFACTS_DIR) == 0)
			return E_OK; /* the snapshot's own: judged like the rest of the tree */
	got = r->s->os->stat(r->s->os, r->dest.root_fd, ARTIFACTS_DIR, AT_SYMLINK_NOFOLLOW, &m);
	if (got == -ENOENT)
		return E_OK;
	if (got < 0)
		return io_refusal(e, E_STAGE_IO, got, "stat", ARTIFACTS_DIR);
	if (!S_ISDIR(m.mode))
		return foreign_record(r, "it is no directory", e);
	rc = check_records_dir(r, &a, ARTIFACTS_DIR, NULL, &runs, e);
	for (size_t i = 0; rc == E_OK && i < runs.n; i++) {
		if (!S_ISDIR(runs.v[i].meta.mode))
			continue;
		files = (struct walk_list){ 0 };
		(void)snprintf(rel, sizeof(rel), ARTIFACTS_DIR "/%s", runs.v[i].name);
		rc = check_records_dir(r, &a, rel, runs.v[i].name, &files, e);
	}
	r->art.earlier = rc == E_OK;
	return rc;
}

/* ---- what the stage keeps for it ---- */

/* The run's own record says which plan it had. */
static enum ecode
write_digest(struct restore *r)
{
	struct io_publish how = { .name = RESTORE_DIGEST_NAME, .mode = 0600, .fsync = true };
	autoclean(io_fd_done) struct io_fd dir = { .os = r->s->os, .fd = -1 };
	char text[ID_HEX_SIZE];
	const struct slice part = { (const uint8_t *)text, ID_HEX_SIZE };
	enum ecode rc;

	id_hex(&r->art.plan, text);
	text[ID_HEX_SIZE - 1] = '\n';
	rc = io_open(r->s->os, AT_FDCWD, r->args->fallback_dir, DIR_FLAGS, 0, &dir.fd, NULL);
	how.dir = dir.fd;
	return rc == E_OK ? io_publish(r->s->os, &how, &part, 1, NULL) : rc;
}

/* A restore works without a state directory; the stage's own word has to do then. */
static void
note_digest(struct restore *r)
{
	const struct listener *l = r->s->listener;

	if (r->args->fallback_dir != NULL && write_digest(r) != E_OK)
		l->note(l->arg, "plan_not_recorded", r->args->fallback_dir);
}

static enum ecode
write_root_note(struct restore *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = r->s->os, .fd = -1 };
	const struct os *os = r->s->os;
	char text[ROOT_NOTE_BYTES];
	struct os_meta m;
	enum ecode rc;
	int len = os->stat(os, r->dest.root_fd, "", AT_EMPTY_PATH, &m);

	if (len < 0)
		return io_refusal(e, E_STAGE_IO, len, "stat", RESTORE_STAGE_ROOT);
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", m.ino);
	rc = io_open(os, r->dest.run_fd, ROOT_NOTE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600,
		&file.fd, e);
	if (rc == E_OK)
		rc = io_write(os, file.fd, text, (size_t)len, ROOT_NOTE, e);
	if (rc != E_OK)
		return rc;
	len = os->fsync(os, file.fd);
	return len < 0 ? io_refusal(e, E_STAGE_IO, len, "fsync", ROOT_NOTE) : E_OK;
}

/* What a person answered is in no plan. */
static bool
asks(const struct restore_args *args)
{
	for (unsigned i = 0; args->choices != NULL && i < rules_count(args->choices); i++)
		if (args->choice_rules[i] == CONFLICT_ASK)
			return true;
	return false;
}

enum ecode
restore_resume_note(struct restore *r, struct err *e)
{
	enum ecode rc = E_OK;
	int got;

	if (!r->args->resumable || asks(r->args))
		return E_OK;
	if (r->args->resume == NULL) { /* the note comes last: where it is, the plan is whole */
		rc = artifacts_plan_at(r, r->dest.run_fd, RESTORE_STAGE_PLAN, e);
		if (rc == E_OK)
			rc = write_root_note(r, e);
		if (rc != E_OK)
			return rc;
		r->dest.resumable = true;
	}
	note_digest(r);
	got = r->s->os->fsync(r->s->os, r->dest.run_fd);
	if (got < 0)
		return io_refusal(e, E_STAGE_IO, got, "fsync", r->dest.run_path);
	return E_OK;
}

void
restore_resume_forget(struct restore *r)
{
	if (!r->args->resumable || r->dest.run_fd < 0)
		return;
	(void)r->s->os->unlink(r->s->os, r->dest.run_fd, ROOT_NOTE, 0);
	(void)r->s->os->unlink(r->s->os, r->dest.run_fd, RESTORE_STAGE_PLAN, 0);
}

void
restore_resume_tell(struct restore *r, struct err *e)
{
	const char *run = r->dest.resumable         ? r->args->run_id
			  : r->args->resume != NULL ? r->args->resume
						    : NULL;

	if (r->out->promoted || e->code == E_RESUME_STAGE || e->code == E_RESUME_BUSY)
		return;
	if (run == NULL && e->code == E_STAGE_IO)
		err_next(e,
			"Then run the same command again; a stage that is named here is not in its way.");
	else if (run == NULL)
		return;
	else if (r->args->fallback_dir != NULL) /* the run's record says where its stage is */
		err_next(e, "Then continue with: holdfast restore --resume %s", run);
	else
		err_next(e, "Then continue with: holdfast restore --resume %s --target '%s'", run,
			r->dest.path);
}
