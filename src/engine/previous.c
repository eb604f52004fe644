#include "engine/previous.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "engine/restore_internal.h"
#include "engine/undo_previous.h"
#include "fs/remove.h"
#include "fs/walk.h"
#include "os/io.h"
#include "report/runlog.h"

#define RECORD_SCHEMA  "holdfast_previous_tree_v1"
#define RECORD_BYTES   ((size_t)64 << 10) /* a path, escaped, and some words */
#define RECORD_SUFFIX  ".json"
#define RECORD_NAME    (RUN_ID_MAX + sizeof(RECORD_SUFFIX))
#define STATE_DIR_MODE 0700
/* Names in the directory that holds the destination, with their metadata. */
#define BESIDE_BYTES   ((size_t)1 << 30)

static enum ecode
dest_digest(const char *dest, struct id *out, struct err *e)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	enum ecode rc = hasher_open(&h, e);

	if (rc == E_OK)
		hasher_sum(h, dest, strlen(dest), out);
	return rc;
}

static enum ecode
records_path(const char *state_dir, char out[static PATH_MAX], struct err *e)
{
	if ((size_t)snprintf(out, PATH_MAX, "%s/" PREVIOUS_RECORDS_DIR, state_dir) < PATH_MAX)
		return E_OK;
	return err_set(e, E_REPORT_WRITE, ENAMETOOLONG, "the state directory's name");
}

/* ---- the record ---- */

/* The destination's own bytes are in the digest; the text is for people and may lack some. */
static enum ecode
record_text(const struct previous_record *r, struct buf *out, struct err *e)
{
	struct json_out w;
	struct id digest;
	enum ecode rc = dest_digest(r->dest, &digest, e);

	if (rc != E_OK)
		return rc;
	json_begin(&w, out);
	json_open_object(&w);
	lines_str(&w, "destination", r->dest);
	lines_id(&w, "destination_sha256", &digest);
	lines_u64(&w, "inode", r->ino);
	lines_str(&w, "run_id", r->run_id);
	lines_str(&w, "schema", RECORD_SCHEMA);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

static enum ecode
publish(const struct os *os, const char *state_dir, const char *run_id, const struct buf *text,
	struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	char path[PATH_MAX], name[RECORD_NAME];
	struct io_publish how = { .name = name, .mode = 0600, .fsync = true };
	struct slice part = buf_slice(text);
	enum ecode rc = records_path(state_dir, path, e);

	if (rc == E_OK)
		rc = io_mkdirs(os, AT_FDCWD, path, STATE_DIR_MODE, e);
	if (rc == E_OK)
		rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);
	(void)snprintf(name, sizeof(name), "%s" RECORD_SUFFIX, run_id);
	how.dir = dir.fd;
	return rc == E_OK ? io_publish(os, &how, &part, 1, e) : rc;
}

enum ecode
previous_note(const struct os *os, const char *state_dir, const struct previous_record *record,
	struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(RECORD_BYTES);
	enum ecode rc;

	if (!run_id_is_one(record->run_id))
		return err_set(e, E_REPORT_WRITE, 0, "%s is no run", record->run_id);
	rc = record_text(record, &text, e);
	if (rc == E_OK)
		rc = publish(os, state_dir, record->run_id, &text, e);
	if (rc == E_OK || rc == E_NOMEM || rc == E_IO_SPACE)
		return rc;
	if (e != NULL)
		e->code = E_REPORT_WRITE;
	return E_REPORT_WRITE;
}

/* ---- reading one ---- */

struct proof {
	struct id dest;
	uint64_t ino;
	bool schema, run, has_dest;
};

static bool
take_proof(struct json *j, struct slice key, const char *run_id, struct proof *p)
{
	struct slice raw;
	bool escaped;

	if (slice_is(key, "inode"))
		return json_u64(j, &p->ino);
	if (!slice_is(key, "destination_sha256") && !slice_is(key, "run_id") &&
		!slice_is(key, "schema"))
		return json_skip(j, NULL);
	if (!json_string(j, &raw, &escaped))
		return false;
	if (slice_is(key, "schema"))
		p->schema = slice_is(raw, RECORD_SCHEMA);
	else if (slice_is(key, "run_id"))
		p->run = slice_is(raw, run_id);
	else
		p->has_dest = id_parse(raw.p, raw.len, &p->dest);
	return true;
}

/* A record counts only when nobody but this user can have written it. */
static bool
read_own(const struct os *os, int records, const char *run_id, struct buf *out)
{
	autoclean(io_fd_done) struct io_fd file = { .os = os, .fd = -1 };
	char name[RECORD_NAME];
	struct os_meta m;
	size_t got = 0;

	(void)snprintf(name, sizeof(name), "%s" RECORD_SUFFIX, run_id);
	if (io_open(os, records, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &file.fd, NULL) !=
			E_OK ||
		os->stat(os, file.fd, "", AT_EMPTY_PATH, &m) < 0)
		return false;
	if (!S_ISREG(m.mode) || m.uid != os->ids(os).uid || (m.mode & 022) != 0 ||
		m.size > RECORD_BYTES || buf_reserve(out, RECORD_BYTES, NULL) != E_OK)
		return false;
	if (io_read(os, file.fd, out->p, RECORD_BYTES, &got, name, NULL) != E_OK)
		return false;
	out->len = got;
	return true;
}

static bool
read_proof(const struct os *os, int records, const char *run_id, struct proof *p)
{
	autoclean(buf_done) struct buf text = buf_limit(RECORD_BYTES);
	struct slice key;
	struct json j;

	*p = (struct proof){ .ino = 0 };
	if (records < 0 || !read_own(os, records, run_id, &text))
		return false;
	json_init(&j, text.p, text.len);
	if (!json_enter_object(&j))
		return false;
	while (json_key(&j, &key))
		if (!take_proof(&j, key, run_id, p))
			return false;
	return json_end(&j) && p->schema && p->run && p->has_dest;
}

/* ---- one tree ---- */

struct retaining {
	const struct os *os;
	const struct previous_retain_args *args;
	struct arena *a;
	struct undo_beside beside;
	int records; /* < 0: there are none */
	struct id dest;
};

static void
retaining_done(struct retaining *r)
{
	io_close(r->os, &r->records);
	undo_beside_done(&r->beside);
}

static void
tell(const struct retaining *r, enum retired what, const char *path, const char *why)
{
	r->args->listener.tell(r->args->listener.arg, what, path, why);
}

/* NULL: it is ours, and of this destination. */
static const char *
doubt(const struct retaining *r, const struct previous_tree *tree)
{
	struct proof p;

	if (!read_proof(r->os, r->records, tree->run_id, &p))
		return "no record of that run says that it was put aside here";
	if (id_cmp(&p.dest, &r->dest) != 0)
		return "the record of that run names another destination";
	if (p.ino != tree->meta.ino)
		return "it is not the directory that was put aside by that run";
	if (tree->meta.dev != r->beside.meta.dev || tree->meta.mnt_id != r->beside.meta.mnt_id)
		return "a file system is mounted there";
	return NULL;
}

static void
forget_record(const struct retaining *r, const char *run_id)
{
	char name[RECORD_NAME];

	(void)snprintf(name, sizeof(name), "%s" RECORD_SUFFIX, run_id);
	(void)r->os->unlink(r->os, r->records, name, 0); /* one that stays fits nothing any more */
}

static void
remove_it(const struct retaining *r, const struct previous_tree *tree, const char *name)
{
	struct err why;

	if (remove_dir_at(r->os, r->beside.parent_fd, name, &tree->meta, &why) != E_OK) {
		tell(r, RETIRED_UNDONE, tree->path, why.detail);
		return;
	}
	forget_record(r, tree->run_id);
	tell(r, RETIRED_GONE, tree->path, NULL);
}

/* From here on it is no previous tree any more, whatever happens to this process. */
static bool
take_name(const struct retaining *r, const struct previous_tree *tree, const char *name)
{
	const struct os *os = r->os;
	int dir = r->beside.parent_fd;
	struct os_meta m;
	int rc = os->rename(os, dir, tree->name, dir, name, RENAME_NOREPLACE);

	if ((rc == -EINVAL || rc == -ENOSYS) &&
		os->stat(os, dir, name, AT_SYMLINK_NOFOLLOW, &m) == -ENOENT)
		rc = os->rename(os, dir, tree->name, dir, name, 0);
	if (rc < 0) {
		tell(r, RETIRED_STAYS, tree->path, "it cannot be renamed");
		return false;
	}
	if (os->stat(os, dir, name, AT_SYMLINK_NOFOLLOW, &m) >= 0 && m.ino == tree->meta.ino &&
		m.dev == tree->meta.dev && os->fsync(os, dir) >= 0)
		return true;
	(void)os->rename(os, dir, name, dir, tree->name, RENAME_NOREPLACE);
	tell(r, RETIRED_STAYS, tree->path, "it changed while it was looked at");
	return false;
}

static void
retire(const struct retaining *r, const struct previous_tree *tree)
{
	char name[NAME_BYTES_MAX + 1];
	const char *why = doubt(r, tree);

	if (why == NULL && !restore_removing_name(r->beside.base, tree->run_id, name, sizeof(name)))
		why = "its name is too long";
	if (why != NULL)
		tell(r, RETIRED_STAYS, tree->path, why);
	else if (r->args->dry_run)
		tell(r, RETIRED_GONE, tree->path, NULL);
	else if (take_name(r, tree, name))
		remove_it(r, tree, name);
}

/* ---- what an earlier one began ---- */

static const char *
removal_of(const struct retaining *r, const char *name)
{
	const char *run = strrchr(name, '_');
	char wanted[NAME_BYTES_MAX + 1];

	if (run == NULL || !run_id_is_one(run + 1) ||
		!restore_removing_name(r->beside.base, run + 1, wanted, sizeof(wanted)) ||
		strcmp(name, wanted) != 0)
		return NULL;
	return run + 1;
}

static enum ecode
go_on_with(
	const struct retaining *r, const struct walk_entry *entry, const char *run, struct err *e)
{
	struct previous_tree tree = { .run_id = run, .name = entry->name, .meta = entry->meta };
	const char *why;
	enum ecode rc = path_join(r->a, r->beside.parent, entry->name, &tree.path, e);

	if (rc != E_OK)
		return rc;
	why = doubt(r, &tree);
	if (why != NULL)
		tell(r, RETIRED_STAYS, tree.path, why);
	else if (r->args->dry_run)
		tell(r, RETIRED_GONE, tree.path, NULL);
	else
		remove_it(r, &tree, tree.name);
	return E_OK;
}

static enum ecode
finish_earlier(const struct retaining *r, struct err *e)
{
	autoclean(arena_done) struct arena names = arena_limit(BESIDE_BYTES);
	struct walk_list list = { 0 };
	enum ecode rc = walk_dir(r->os, r->beside.parent_fd, r->beside.parent, &names, &list, e);

	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const char *run = removal_of(r, list.v[i].name);

		if (run != NULL && list.v[i].have_meta && S_ISDIR(list.v[i].meta.mode))
			rc = go_on_with(r, &list.v[i], run, e);
	}
	return rc;
}

/* ---- the whole ---- */

static enum ecode
begin(struct retaining *r, struct err *e)
{
	char path[PATH_MAX];
	enum ecode rc = undo_beside_open(r->os, r->args->dest, r->a, &r->beside, e);

	if (rc == E_OK)
		rc = dest_digest(r->args->dest, &r->dest, e);
	if (rc != E_OK || r->args->state_dir == NULL)
		return rc;
	rc = records_path(r->args->state_dir, path, e);
	if (rc == E_OK && io_open(r->os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &r->records,
				  NULL) != E_OK)
		r->records = -1; /* without records nothing is proven */
	return rc;
}

enum ecode
previous_retain(const struct os *os, const struct previous_retain_args *args, struct arena *a,
	struct err *e)
{
	autoclean(retaining_done) struct retaining r = { .os = os,
		.args = args,
		.a = a,
		.beside = { .os = os, .parent_fd = -1 },
		.records = -1 };
	struct previous_tree *v = NULL;
	size_t n = 0, keep = args->keep > 0 ? args->keep : 1;
	enum ecode rc = begin(&r, e);

	if (rc != E_OK || undo_previous_pending(&r.beside))
		return rc;
	rc = finish_earlier(&r, e);
	if (rc == E_OK)
		rc = undo_previous_list(os, args->dest, a, &v, &n, e);
	while (rc == E_OK && n > keep)
		retire(&r, &v[--n]);
	return rc;
}
