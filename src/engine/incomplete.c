#include "engine/incomplete.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"

/* of the record's text; a newer one is not guessed at */
#define FORMAT         1
/* characters of a refusal's name */
#define ENDED_NAME_MAX 64
#define RECORD_WORD    "the record of an interrupted run"

/* ---- writing ---- */

static void
put_progress(struct json_out *w, const struct incomplete *i)
{
	if (i->has_tree) {
		json_member_id(w, "tree", &i->tree);
	}
	json_member_u64(w, "files", i->files);
	json_member_u64(w, "bytes", i->bytes);
	json_member_u64(w, "stored_bytes", i->stored_bytes);
	if (i->ended) {
		json_member_str(w, "ended", i->ended_how); /* NULL: null */
	}
}

enum ecode
incomplete_text(const struct incomplete *i, struct buf *out, struct err *e)
{
	struct json_out w;

	json_begin(&w, out);
	json_open_object(&w);
	json_member_u64(&w, "format", FORMAT);
	json_member_str(&w, "run_id", i->run_id);
	json_member_text(&w, "host", i->host);
	json_member_text(&w, "username", i->username);
	json_put_key(&w, "owner");
	identity_put(&w, &i->owner);
	json_member_time(&w, "started", i->started);
	json_member_time(&w, "updated", i->updated);
	json_put_key(&w, "paths");
	json_open_array(&w);
	for (size_t n = 0; n < i->path_count; n++)
		json_put_text(&w, i->paths[n].p, i->paths[n].len);
	json_close_array(&w);
	put_progress(&w, i);
	json_close_object(&w);
	return json_done(&w, e);
}

/* ---- reading ---- */

static enum ecode
bad_record(struct err *e, const char *what)
{
	return err_set(e, E_INCOMPLETE_FORMAT, 0, "%s", what);
}

static enum ecode
take_text(struct json *j, struct arena *a, struct slice *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	return json_text(raw, escaped, INCOMPLETE_MAX_BYTES, a, out, e);
}

/* A word that is shown and used in names: plain characters only. */
static enum ecode
take_word(struct json *j, struct arena *a, size_t max, const char **out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	if (raw.len == 0 || raw.len > max)
		return bad_record(e, "a name in it is empty or too long");
	for (size_t i = 0; i < raw.len; i++) {
		uint8_t c = raw.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    c == '-' || c == '_'))
			return bad_record(e, "a name in it has characters that no name has");
	}
	return arena_str(a, raw.p, raw.len, out, e);
}

static enum ecode
take_time(struct json *j, struct instant *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	return instant_parse(raw.p, raw.len, out) ? E_OK : bad_record(e, "a time in it is not one");
}

static enum ecode
take_tree(struct json *j, struct incomplete *i, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, RECORD_WORD, e);
	i->has_tree = id_parse(raw.p, raw.len, &i->tree);
	return i->has_tree ? E_OK : bad_record(e, "its tree is not an id");
}

static enum ecode
count_elements(struct json j, size_t *n, struct err *e)
{
	*n = 0;
	if (!json_enter_array(&j))
		return json_refusal(&j, RECORD_WORD, e);
	while (json_element(&j)) {
		if (!json_skip(&j, NULL))
			break;
		++*n;
	}
	return j.bad ? json_refusal(&j, RECORD_WORD, e) : E_OK;
}

/* Twice over the text, so that no list has to grow.  Its length bounds both. */
static enum ecode
take_paths(struct json *j, struct arena *a, struct incomplete *i, struct err *e)
{
	struct slice *list;
	void *p;
	size_t n;
	enum ecode rc = count_elements(*j, &n, e);

	if (rc == E_OK)
		rc = arena_alloc(a, n * sizeof(*list), &p, e);
	if (rc == E_OK && !json_enter_array(j))
		rc = json_refusal(j, RECORD_WORD, e);
	if (rc != E_OK)
		return rc;
	list = p;
	for (size_t at = 0; rc == E_OK && json_element(j); at++)
		rc = take_text(j, a, &list[at], e);
	if (rc == E_OK && j->bad)
		rc = json_refusal(j, RECORD_WORD, e);
	i->paths = list;
	i->path_count = n;
	return rc;
}

static enum ecode
take_ended(struct json *j, struct arena *a, struct incomplete *i, struct err *e)
{
	i->ended = true;
	i->ended_how = NULL;
	return json_null(j) ? E_OK : take_word(j, a, ENDED_NAME_MAX, &i->ended_how, e);
}

/* What every record must have. */
#define HAS_FORMAT  1U
#define HAS_RUN     2U
#define HAS_STARTED 4U
#define HAS_UPDATED 8U
#define HAS_PATHS   16U
#define HAS_ALL     31U

struct reading {
	struct incomplete i;
	struct arena *a;
	unsigned has;
};

static enum ecode
take_format(struct json *j, struct err *e)
{
	uint64_t format = 0;

	if (!json_u64(j, &format))
		return json_refusal(j, RECORD_WORD, e);
	return format == FORMAT ? E_OK
				: err_set(e, E_INCOMPLETE_FORMAT, 0, "format %" PRIu64, format);
}

static enum ecode
take_number(struct json *j, struct slice key, struct incomplete *i, struct err *e)
{
	bool ok;

	if (slice_is(key, "files"))
		ok = json_u64(j, &i->files);
	else if (slice_is(key, "bytes"))
		ok = json_u64(j, &i->bytes);
	else if (slice_is(key, "stored_bytes"))
		ok = json_u64(j, &i->stored_bytes);
	else
		ok = json_skip(j, NULL); /* of a later version */
	return ok ? E_OK : json_refusal(j, RECORD_WORD, e);
}

static enum ecode
take_optional(struct json *j, struct slice key, struct reading *r, struct err *e)
{
	if (slice_is(key, "host"))
		return take_text(j, r->a, &r->i.host, e);
	if (slice_is(key, "username"))
		return take_text(j, r->a, &r->i.username, e);
	if (slice_is(key, "owner"))
		return identity_take(j, &r->i.owner, e);
	if (slice_is(key, "tree"))
		return take_tree(j, &r->i, e);
	if (slice_is(key, "ended"))
		return take_ended(j, r->a, &r->i, e);
	return take_number(j, key, &r->i, e);
}

static enum ecode
take_member(struct json *j, struct slice key, struct reading *r, struct err *e)
{
	if (slice_is(key, "format")) {
		r->has |= HAS_FORMAT;
		return take_format(j, e);
	}
	if (slice_is(key, "run_id")) {
		r->has |= HAS_RUN;
		return take_word(j, r->a, NOTE_ID_MAX, &r->i.run_id, e);
	}
	if (slice_is(key, "started")) {
		r->has |= HAS_STARTED;
		return take_time(j, &r->i.started, e);
	}
	if (slice_is(key, "updated")) {
		r->has |= HAS_UPDATED;
		return take_time(j, &r->i.updated, e);
	}
	if (slice_is(key, "paths")) {
		r->has |= HAS_PATHS;
		return take_paths(j, r->a, &r->i, e);
	}
	return take_optional(j, key, r, e);
}

enum ecode
incomplete_parse(
	const void *json, size_t len, struct arena *a, struct incomplete *out, struct err *e)
{
	struct reading r = { .a = a };
	struct slice key;
	struct json j;
	enum ecode rc = E_OK;

	if (len > INCOMPLETE_MAX_BYTES)
		return err_set(e, E_LIMIT, 0, "%s has %zu bytes", RECORD_WORD, len);
	json_init(&j, json, len);
	if (!json_enter_object(&j))
		return json_refusal(&j, RECORD_WORD, e);
	while (rc == E_OK && json_key(&j, &key))
		rc = take_member(&j, key, &r, e);
	if (rc != E_OK)
		return rc;
	if (!json_end(&j))
		return json_refusal(&j, RECORD_WORD, e);
	if (r.has != HAS_ALL)
		return bad_record(e, "it lacks a member that every record has");
	*out = r.i;
	return E_OK;
}

/* ---- in the vault ---- */

static void
note_name(const char *run_id, char out[static NOTE_NAME_MAX])
{
	int len = snprintf(out, NOTE_NAME_MAX, NOTE_PREFIX "%s", run_id);

	invariant(len > 0 && (size_t)len < NOTE_NAME_MAX && note_name_valid(out));
}

/* A codec of its own for each call: the session's belong to its threads. */
static enum ecode
open_codec(struct session *s, struct blob_codec **out, struct err *e)
{
	return blob_codec_open(s->vault->keys, s->os, s->vault->version, COMPRESSION_AUTO, out, e);
}

enum ecode
incomplete_seal(struct session *s, const struct incomplete *i, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(INCOMPLETE_MAX_BYTES);
	autoclean(blob_codec_close) struct blob_codec *codec = NULL;
	struct id hash; /* a record is found by its run, not by its hash */
	enum ecode rc = incomplete_text(i, &text, e);

	if (rc == E_OK)
		rc = open_codec(s, &codec, e);
	return rc == E_OK ? unpacked_shut(codec, text.p, text.len, out, &hash, e) : rc;
}

enum ecode
incomplete_write(struct session *s, const struct incomplete *i, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(INCOMPLETE_SEALED_BYTES);
	char name[NOTE_NAME_MAX];
	enum ecode rc;

	note_name(i->run_id, name);
	if (!store_has_notes(s->store))
		return E_OK;
	rc = incomplete_seal(s, i, &sealed, e);
	return rc == E_OK ? store_note_put(s->store, name, buf_slice(&sealed), e) : rc;
}

enum ecode
incomplete_erase(struct session *s, const char *run_id, struct err *e)
{
	char name[NOTE_NAME_MAX];

	note_name(run_id, name);
	return store_note_erase(s->store, name, e);
}

/* ---- listing ---- */

struct loading {
	struct session *s;
	struct arena *a;
	struct blob_codec *codec;
	struct incomplete *v; /* INCOMPLETE_MAX of them */
	size_t n, unreadable;
};

static void
tell_unreadable(struct loading *l, const char *name, const struct err *why)
{
	const struct listener *to = l->s->listener;
	char text[NOTE_NAME_MAX + ERR_DETAIL_BYTES + 64];

	l->unreadable++;
	(void)snprintf(
		text, sizeof(text), "%s: %s (%s)", name, why->detail, err_row(why->code)->name);
	to->note(to->arg, "incomplete_record_unreadable", text);
}

/* `run_id`: whose record it should be; the name it lies under is not sealed. */
static enum ecode
open_sealed(struct blob_codec *codec, struct slice sealed, const char *run_id, struct arena *a,
	struct incomplete *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(INCOMPLETE_MAX_BYTES);
	struct incomplete found;
	enum ecode rc = unpacked_open(codec, NULL, sealed.p, sealed.len, &text, e);

	if (rc == E_OK)
		rc = incomplete_parse(text.p, text.len, a, &found, e);
	if (rc == E_OK && strcmp(found.run_id, run_id) != 0)
		rc = err_set(e, E_INCOMPLETE_FORMAT, 0, "it is the record of run %s", found.run_id);
	if (rc == E_OK)
		*out = found;
	return rc;
}

enum ecode
incomplete_open(struct session *s, struct slice sealed, const char *run_id, struct arena *a,
	struct incomplete *out, struct err *e)
{
	autoclean(blob_codec_close) struct blob_codec *codec = NULL;
	enum ecode rc = open_codec(s, &codec, e);

	return rc == E_OK ? open_sealed(codec, sealed, run_id, a, out, e) : rc;
}

static enum ecode
load_one(struct loading *l, const char *name, struct incomplete *out, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(INCOMPLETE_SEALED_BYTES);
	enum ecode rc = store_note_get(l->s->store, name, &sealed, e);

	return rc == E_OK ? open_sealed(l->codec, buf_slice(&sealed), name + strlen(NOTE_PREFIX),
				    l->a, out, e)
			  : rc;
}

static enum ecode
load_each(void *arg, const char *name, struct err *e)
{
	struct loading *l = arg;
	struct err why = { .code = E_OK };
	enum ecode rc;

	if (note_id(name, NOTE_PREFIX) == NULL)
		return E_OK; /* of another kind */
	if (l->n == INCOMPLETE_MAX)
		rc = err_set(&why, E_LIMIT, 0, "more than %u of them", INCOMPLETE_MAX);
	else
		rc = load_one(l, name, &l->v[l->n], &why);
	if (rc == E_NOMEM && e != NULL)
		*e = why;
	if (rc == E_NOMEM)
		return rc;
	if (rc == E_OK)
		l->n++;
	else if (rc != E_STORE_ABSENT) /* its run ended while we looked */
		tell_unreadable(l, name, &why);
	return E_OK;
}

static int
newest_first(const void *a, const void *b)
{
	const struct incomplete *x = a, *y = b;
	int order = instant_cmp(y->updated, x->updated);

	return order != 0 ? order : strcmp(y->run_id, x->run_id);
}

enum incomplete_state
incomplete_state_of(const struct os *os, const struct incomplete *i)
{
	if (i->ended)
		return INCOMPLETE_DEAD;
	switch (identity_judge(os, &i->owner)) {
	case IDENTITY_ALIVE:
		return INCOMPLETE_LIVE;
	case IDENTITY_GONE:
		return INCOMPLETE_DEAD;
	case IDENTITY_UNKNOWN:
		return INCOMPLETE_UNKNOWN;
	}
	return INCOMPLETE_UNKNOWN; /* not reached: -Wswitch-enum proves the list above */
}

static enum ecode
load_all(struct loading *l, struct err *e)
{
	void *p;
	enum ecode rc = open_codec(l->s, &l->codec, e);

	if (rc == E_OK)
		rc = arena_alloc(l->a, INCOMPLETE_MAX * sizeof(*l->v), &p, e);
	if (rc != E_OK)
		return rc;
	l->v = p;
	return store_note_list(l->s->store, load_each, l, e);
}

enum ecode
incomplete_list_load(struct session *s, struct arena *a, struct incomplete_list *out, struct err *e)
{
	struct loading l = { .s = s, .a = a };
	struct incomplete_list list = { .n = 0 };
	void *p;
	enum ecode rc = load_all(&l, e);

	blob_codec_close(&l.codec);
	if (rc == E_OK)
		rc = arena_alloc(a, l.n * sizeof(*list.state), &p, e);
	if (rc != E_OK)
		return rc;
	if (l.n > 1)
		qsort(l.v, l.n, sizeof(*l.v), newest_first);
	list = (struct incomplete_list){
		.v = l.v, .state = p, .n = l.n, .unreadable = l.unreadable
	};
	for (size_t i = 0; i < l.n; i++)
		list.state[i] = incomplete_state_of(s->os, &l.v[i]);
	*out = list;
	return E_OK;
}

/* ---- asked for as if it were a snapshot ---- */

enum ecode
incomplete_named(struct session *s, const char *text, enum ecode rc, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(INCOMPLETE_SEALED_BYTES);
	enum eclass class = err_row(rc)->class;
	size_t skip =
		strncmp(text, NOTE_PREFIX, strlen(NOTE_PREFIX)) == 0 ? strlen(NOTE_PREFIX) : 0;
	size_t len = strcspn(text + skip, ":");
	char name[NOTE_NAME_MAX];
	struct err ignored;

	if ((class != CLASS_NOT_FOUND && class != CLASS_USAGE) || len > NOTE_ID_MAX)
		return rc;
	(void)snprintf(name, sizeof(name), NOTE_PREFIX "%.*s", (int)len, text + skip);
	/* whatever it holds, it is no snapshot; nothing of it is used */
	if (!note_name_valid(name) || !store_has_notes(s->store) ||
		store_note_get(s->store, name, &sealed, &ignored) != E_OK)
		return rc;
	return err_set(e, E_SNAPSHOT_INCOMPLETE, 0,
		"run %s made no snapshot; %s in the vault tells of it", name + strlen(NOTE_PREFIX),
		name);
}
