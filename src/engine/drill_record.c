#include "engine/drill_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "engine/restore_lines.h"
#include "fs/walk.h"
#include "os/io.h"

#define RECORD_WORD     "the record of a drill"
#define FORMAT          1 /* of the text; a newer one is not guessed at */
#define STATE_DIR_MODE  0700
#define STATE_FILE_MODE 0600
#define STATE_SUFFIX    ".json"
#define LIST_BYTES      ((size_t)64 << 20) /* names of one directory */

const char *
drill_verdict_text(enum drill_verdict v)
{
	switch (v) {
	case DRILL_PASS:
		return "pass";
	case DRILL_SAMPLED:
		return "sampled";
	case DRILL_UNKNOWN:
		return "unknown";
	case DRILL_FAIL:
		return "fail";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* ---- writing ---- */

void
drill_record_put(struct json_out *w, const struct drill_record *r)
{
	json_open_object(w);
	lines_u64(w, "bytes", r->bytes);
	lines_id(w, "digest", &r->digest);
	lines_u64(w, "duration_ms", r->duration_ms);
	lines_u64(w, "files", r->files);
	lines_u64(w, "format", FORMAT);
	lines_str(w, "host", r->host);
	lines_u64(w, "live_files", r->live_files);
	lines_id(w, "repository_id", &r->repo_id);
	lines_str(w, "run_id", r->run_id);
	lines_str(w, "sample", r->sample);
	lines_str(w, "schema", "holdfast_drill_v1");
	lines_str(w, "seed", r->seed);
	lines_id(w, "snapshot_id", &r->snapshot_id);
	lines_time(w, "snapshot_time", r->snapshot_time);
	lines_time(w, "started", r->started);
	lines_str(w, "username", r->username);
	lines_str(w, "verdict", drill_verdict_text(r->verdict));
	lines_str(w, "why", r->why);
	json_close_object(w);
}

static enum ecode
record_text(const struct drill_record *r, struct buf *out, struct err *e)
{
	struct json_out w;

	json_begin(&w, out);
	drill_record_put(&w, r);
	return json_done(&w, e);
}

static enum ecode
drills_dir(const char *state_dir, char out[static PATH_MAX], struct err *e)
{
	if ((size_t)snprintf(out, PATH_MAX, "%s/drills", state_dir) < PATH_MAX)
		return E_OK;
	return err_set(e, E_REPORT_WRITE, ENAMETOOLONG, "the state directory's name");
}

/* The first record makes the directory, whose name is not durable by what is in it. */
static enum ecode
sync_above(const struct os *os, const char *state_dir, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	enum ecode rc = io_open(os, AT_FDCWD, state_dir, O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);
	int got = rc == E_OK ? os->fsync(os, dir.fd) : 0;

	return got < 0 ? io_refusal(e, E_IO, got, "fsync", state_dir) : rc;
}

enum ecode
drill_record_keep(
	const struct os *os, const char *state_dir, const struct drill_record *r, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(DRILL_RECORD_BYTES);
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	char path[PATH_MAX], name[NOTE_NAME_MAX];
	struct io_publish how = { .name = name, .mode = STATE_FILE_MODE, .fsync = true };
	struct slice part;
	enum ecode rc;

	if (state_dir == NULL)
		return E_OK;
	rc = drills_dir(state_dir, path, e);
	if (rc == E_OK)
		rc = record_text(r, &text, e);
	if (rc == E_OK)
		rc = io_mkdirs(os, AT_FDCWD, path, STATE_DIR_MODE, e);
	if (rc == E_OK)
		rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);
	(void)snprintf(name, sizeof(name), "%s" STATE_SUFFIX, r->run_id);
	how.dir = dir.fd;
	part = buf_slice(&text);
	if (rc == E_OK)
		rc = io_publish(os, &how, &part, 1, e);
	if (rc == E_OK)
		rc = sync_above(os, state_dir, e);
	if (rc != E_OK && rc != E_NOMEM && e != NULL)
		e->code = E_REPORT_WRITE;
	return rc == E_OK || rc == E_NOMEM ? rc : E_REPORT_WRITE;
}

static enum ecode
open_codec(struct session *s, struct blob_codec **out, struct err *e)
{
	return blob_codec_open(s->vault->keys, s->os, s->vault->version, COMPRESSION_AUTO, out, e);
}

enum ecode
drill_record_note(struct session *s, const struct drill_record *r, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(DRILL_RECORD_BYTES);
	autoclean(buf_done) struct buf sealed = buf_limit(2 * DRILL_RECORD_BYTES);
	autoclean(blob_codec_close) struct blob_codec *codec = NULL;
	char name[NOTE_NAME_MAX];
	struct id hash; /* found by its run */
	enum ecode rc;

	(void)snprintf(name, sizeof(name), NOTE_DRILL_PREFIX "%s", r->run_id);
	if (!store_has_notes(s->store) || !note_name_valid(name))
		return E_OK;
	rc = record_text(r, &text, e);
	if (rc == E_OK)
		rc = open_codec(s, &codec, e);
	if (rc == E_OK)
		rc = unpacked_shut(codec, text.p, text.len, &sealed, &hash, e);
	return rc == E_OK ? store_note_put(s->store, name, buf_slice(&sealed), e) : rc;
}

/* ---- reading ---- */

static enum ecode
bad(struct err *e, const char *what)
{
	return err_set(e, E_DRILL_FORMAT, 0, "%s", what);
}

static enum ecode
take_text(struct json *j, char *out, size_t size, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(DRILL_RECORD_BYTES);
	struct slice raw;
	bool escaped;
	enum ecode rc;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	rc = json_unescape(&plain, raw, e);
	if (rc != E_OK)
		return rc;
	if (plain.len >= size || (plain.len > 0 && memchr(plain.p, '\0', plain.len) != NULL))
		return bad(e, "a text in it is too long");
	if (plain.len > 0)
		memcpy(out, plain.p, plain.len);
	out[plain.len] = '\0';
	return E_OK;
}

static enum ecode
take_id(struct json *j, struct id *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	return id_parse(raw.p, raw.len, out) ? E_OK : bad(e, "an id in it is none");
}

static enum ecode
take_time(struct json *j, struct instant *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	return instant_parse(raw.p, raw.len, out) ? E_OK : bad(e, "a time in it is none");
}

static enum ecode
take_verdict(struct json *j, enum drill_verdict *out, struct err *e)
{
	static const enum drill_verdict all[] = { DRILL_PASS, DRILL_SAMPLED, DRILL_UNKNOWN,
		DRILL_FAIL };
	char text[DRILL_TEXT_BYTES];
	enum ecode rc = take_text(j, text, sizeof(text), e);

	for (size_t i = 0; rc == E_OK && i < sizeof(all) / sizeof(all[0]); i++) {
		*out = all[i];
		if (strcmp(text, drill_verdict_text(all[i])) == 0)
			return E_OK;
	}
	return rc == E_OK ? bad(e, "its verdict is none") : rc;
}

static enum ecode
take_count(struct json *j, uint64_t *out, struct err *e)
{
	return json_u64(j, out) ? E_OK : json_refusal(j, RECORD_WORD, e);
}

/* What every record must have; the order of the bits is that of the names. */
static const char *const needed[] = { "digest", "format", "repository_id", "run_id", "sample",
	"snapshot_id", "snapshot_time", "started", "verdict" };
#define NEEDED     (sizeof(needed) / sizeof(needed[0]))
#define NEEDED_ALL ((1U << NEEDED) - 1)

static enum ecode
take_name(struct json *j, struct slice key, struct drill_record *r, struct err *e)
{
	if (slice_is(key, "run_id"))
		return take_text(j, r->run_id, sizeof(r->run_id), e);
	if (slice_is(key, "host"))
		return take_text(j, r->host, sizeof(r->host), e);
	if (slice_is(key, "username"))
		return take_text(j, r->username, sizeof(r->username), e);
	if (slice_is(key, "sample"))
		return take_text(j, r->sample, sizeof(r->sample), e);
	if (slice_is(key, "seed"))
		return take_text(j, r->seed, sizeof(r->seed), e);
	if (slice_is(key, "why"))
		return take_text(j, r->why, sizeof(r->why), e);
	return json_skip(j, NULL) ? E_OK : json_refusal(j, RECORD_WORD, e); /* a later version's */
}

static enum ecode
take_member(
	struct json *j, struct slice key, struct drill_record *r, uint64_t *format, struct err *e)
{
	if (slice_is(key, "format"))
		return take_count(j, format, e);
	if (slice_is(key, "digest"))
		return take_id(j, &r->digest, e);
	if (slice_is(key, "repository_id"))
		return take_id(j, &r->repo_id, e);
	if (slice_is(key, "snapshot_id"))
		return take_id(j, &r->snapshot_id, e);
	if (slice_is(key, "snapshot_time"))
		return take_time(j, &r->snapshot_time, e);
	if (slice_is(key, "started"))
		return take_time(j, &r->started, e);
	if (slice_is(key, "verdict"))
		return take_verdict(j, &r->verdict, e);
	if (slice_is(key, "bytes"))
		return take_count(j, &r->bytes, e);
	if (slice_is(key, "files"))
		return take_count(j, &r->files, e);
	if (slice_is(key, "duration_ms"))
		return take_count(j, &r->duration_ms, e);
	if (slice_is(key, "live_files"))
		return take_count(j, &r->live_files, e);
	return take_name(j, key, r, e);
}

enum ecode
drill_record_parse(const void *json, size_t len, struct drill_record *out, struct err *e)
{
	struct drill_record r = { .verdict = DRILL_UNKNOWN };
	uint64_t format = 0;
	unsigned has = 0;
	struct slice key;
	struct json j;
	enum ecode rc = E_OK;

	if (len > DRILL_RECORD_BYTES)
		return err_set(e, E_LIMIT, 0, "%s has %zu bytes", RECORD_WORD, len);
	json_init(&j, json, len);
	if (!json_enter_object(&j))
		return json_refusal(&j, RECORD_WORD, e);
	while (rc == E_OK && json_key(&j, &key)) {
		for (unsigned i = 0; i < NEEDED; i++)
			has |= slice_is(key, needed[i]) ? 1U << i : 0;
		rc = take_member(&j, key, &r, &format, e);
	}
	if (rc != E_OK)
		return rc;
	if (!json_end(&j))
		return json_refusal(&j, RECORD_WORD, e);
	if (format != FORMAT)
		return err_set(e, E_DRILL_FORMAT, 0, "format %" PRIu64, format);
	if (has != NEEDED_ALL)
		return bad(e, "it lacks a member that every record has");
	*out = r;
	return E_OK;
}

/* ---- all of them ---- */

struct loading {
	struct session *s; /* may be NULL */
	struct blob_codec *codec;
	struct drill_record *v; /* DRILLS_MAX of them */
	size_t n, unreadable;
};

static bool
is_known(const struct loading *l, const char *run_id)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i].run_id, run_id) == 0)
			return true;
	return false;
}

static void
tell_unreadable(struct loading *l, const char *name, const struct err *why)
{
	char text[ERR_DETAIL_BYTES + NOTE_NAME_MAX + 64];

	l->unreadable++;
	if (l->s == NULL)
		return;
	(void)snprintf(text, sizeof(text), "%.*s: %s (%s)", (int)NOTE_NAME_MAX, name, why->detail,
		err_row(why->code)->name);
	l->s->listener->note(l->s->listener->arg, "drill_record_unreadable", text);
}

/* `run_id`: whose record it should be. */
static void
add(struct loading *l, const struct buf *text, const char *name, const char *run_id, size_t len)
{
	struct drill_record r;
	struct err why = { .code = E_OK };
	enum ecode rc = drill_record_parse(text->p, text->len, &r, &why);

	if (rc == E_OK && (strlen(r.run_id) != len || memcmp(r.run_id, run_id, len) != 0))
		rc = err_set(&why, E_DRILL_FORMAT, 0, "it is the record of another run");
	if (rc == E_OK && l->n == DRILLS_MAX)
		rc = err_set(&why, E_LIMIT, 0, "more than %u of them", DRILLS_MAX);
	if (rc != E_OK)
		tell_unreadable(l, name, &why);
	else if ((l->s == NULL || id_cmp(&r.repo_id, &l->s->vault->repo_id) == 0) &&
		 !is_known(l, r.run_id))
		l->v[l->n++] = r;
}

static enum ecode
each_note(void *arg, const char *name, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(2 * DRILL_RECORD_BYTES);
	autoclean(buf_done) struct buf text = buf_limit(DRILL_RECORD_BYTES);
	struct loading *l = arg;
	const char *run_id = note_id(name, NOTE_DRILL_PREFIX);
	struct err why = { .code = E_OK };
	enum ecode rc;

	if (run_id == NULL)
		return E_OK;
	rc = store_note_get(l->s->store, name, &sealed, &why);
	if (rc == E_OK)
		rc = unpacked_open(l->codec, NULL, sealed.p, sealed.len, &text, &why);
	if (rc == E_NOMEM)
		return err_set(e, rc, 0, "%s", why.detail);
	if (rc == E_OK)
		add(l, &text, name, run_id, strlen(run_id));
	else
		tell_unreadable(l, name, &why);
	return E_OK;
}

static void
read_state(struct loading *l, const struct os *os, int dir, const char *name)
{
	autoclean(buf_done) struct buf text = buf_limit(DRILL_RECORD_BYTES);
	struct err why = { .code = E_OK };
	size_t len = strlen(name), suffix = strlen(STATE_SUFFIX);

	if (len <= suffix || strcmp(name + len - suffix, STATE_SUFFIX) != 0)
		return; /* a temporary, or somebody's own */
	if (io_read_file(os, dir, name, &text, &why) != E_OK)
		tell_unreadable(l, name, &why);
	else
		add(l, &text, name, name, len - suffix);
}

static enum ecode
load_state(struct loading *l, const struct os *os, const char *state_dir, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(LIST_BYTES);
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct walk_list list = { .n = 0 };
	struct err why = { .code = E_OK };
	char path[PATH_MAX];
	enum ecode rc = drills_dir(state_dir, path, e);

	if (rc != E_OK)
		return rc;
	rc = walk_open_dir(os, AT_FDCWD, path, true, &dir.fd, &why);
	if (rc == E_SRC_MISSING)
		return E_OK;
	if (rc == E_OK)
		rc = walk_dir(os, dir.fd, path, &a, &list, &why);
	if (rc == E_NOMEM)
		return err_set(e, rc, 0, "%s", why.detail);
	if (rc !=
		E_OK) { /* what cannot be read proves nothing; a list of snapshots goes on without it */
		tell_unreadable(l, path, &why);
		return E_OK;
	}
	for (size_t i = 0; i < list.n; i++)
		read_state(l, os, dir.fd, list.v[i].name);
	return E_OK;
}

static int
newest_first(const void *a, const void *b)
{
	const struct drill_record *x = a, *y = b;
	int order = instant_cmp(y->started, x->started);

	return order != 0 ? order : strcmp(y->run_id, x->run_id);
}

enum ecode
drill_list_load(struct session *s, const struct os *os, const char *state_dir, struct arena *a,
	struct drill_list *out, struct err *e)
{
	struct loading l = { .s = s };
	void *room = NULL;
	enum ecode rc = E_OK;

	l.v = calloc(DRILLS_MAX, sizeof(*l.v));
	if (l.v == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "records of drills");
	if (s != NULL)
		rc = open_codec(s, &l.codec, e);
	if (rc == E_OK && s != NULL)
		rc = store_note_list(s->store, each_note, &l, e);
	if (rc == E_OK && state_dir != NULL)
		rc = load_state(&l, os, state_dir, e);
	if (rc == E_OK)
		rc = arena_alloc(a, (l.n + 1) * sizeof(*l.v), &room, e);
	if (rc == E_OK && l.n > 0) {
		qsort(l.v, l.n, sizeof(*l.v), newest_first);
		memcpy(room, l.v, l.n * sizeof(*l.v));
	}
	if (rc == E_OK)
		*out = (struct drill_list){ .v = room, .n = l.n, .unreadable = l.unreadable };
	blob_codec_close(&l.codec);
	free(l.v);
	return rc;
}

const struct drill_record *
drill_proof(const struct drill_list *l, const struct id *snapshot)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].verdict == DRILL_PASS && id_cmp(&l->v[i].snapshot_id, snapshot) == 0)
			return &l->v[i];
	return NULL;
}

void
drill_drift(const struct drill_list *l, const struct snapshot_list *snapshots, struct instant now,
	struct drill_drift *out)
{
	*out = (struct drill_drift){ .any = false };
	for (size_t i = snapshots->n; i > 0; i--) {
		const struct drill_record *r = drill_proof(l, &snapshots->v[i - 1].id);

		if (r != NULL && !out->any)
			out->behind = snapshots->n - i;
		if (r != NULL && (!out->any || instant_cmp(r->started, out->newest->started) > 0))
			out->newest = r;
		out->any = out->any || r != NULL;
	}
	if (!out->any)
		out->behind = snapshots->n;
	out->old = snapshots->n > 0 && (!out->any || out->behind >= DRILL_BEHIND_MAX ||
					       now.s - out->newest->started.s > DRILL_OLD_S);
}
