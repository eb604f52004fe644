#include "engine/ownrecord.h"

#include <string.h>

#include "base/wire.h"

/* Paths, names and counts of one record; the record itself has at most UNPACKED_MAX_BYTES. */
#define OWN_ARENA_BYTES ((size_t)1 << 30)
#define OWN_TEXT_MAX    ((size_t)64 << 20)
#define OWN_SOURCES_MIN 8

const char *
completeness_text(enum completeness c)
{
	switch (c) {
	case COMPLETENESS_UNSAID:
		return "unsaid";
	case COMPLETENESS_COMPLETE:
		return "complete";
	case COMPLETENESS_PARTIAL:
		return "partial";
	case COMPLETENESS_UNREADABLE:
		return "unreadable";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* ---- writing ---- */

static void
put_text(struct json_out *w, const char *key, struct slice text)
{
	if (text.len == 0)
		return;
	json_put_key(w, key);
	json_put_text(w, text.p, text.len);
}

static void
put_completeness(struct json_out *w, const struct own_record *r)
{
	json_put_key(w, "completeness");
	json_open_object(w);
	json_member_str(w, "state", completeness_text(r->state));
	json_member_u64(w, "unreadable", r->unreadable);
	json_member_u64(w, "changed_while_read", r->changed_while_read);
	json_member_u64(w, "vanished", r->vanished);
	json_member_u64(w, "excluded", r->excluded);
	json_member_u64(w, "sockets_skipped", r->sockets_skipped);
	if (r->has_digest) {
		json_member_id(w, "list_digest", &r->list_digest);
	}
	json_close_object(w);
}

static void
put_sources(struct json_out *w, const struct own_record *r)
{
	if (r->source_count == 0)
		return;
	json_put_key(w, "sources");
	json_open_array(w);
	for (size_t i = 0; i < r->source_count; i++) {
		json_open_object(w);
		json_put_key(w, "path");
		json_put_text(w, r->sources[i].path.p, r->sources[i].path.len);
		json_member_u64(w, "files", r->sources[i].files);
		json_member_u64(w, "bytes", r->sources[i].bytes);
		json_close_object(w);
	}
	json_close_array(w);
}

enum ecode
own_write(const struct own_record *r, struct buf *out, struct err *e)
{
	struct json_out w;

	invariant(r->state == COMPLETENESS_COMPLETE || r->state == COMPLETENESS_PARTIAL);
	json_begin(&w, out);
	json_open_object(&w);
	json_member_u64(&w, "format", OWN_FORMAT);
	put_text(&w, "run_id", r->run_id);
	put_completeness(&w, r);
	put_sources(&w, r);
	put_text(&w, "continued_from", r->continued_from);
	json_close_object(&w);
	return json_done(&w, e);
}

/* ---- reading ---- */

struct own_reading {
	struct json j;
	struct arena *a;
	uint64_t format;
	bool has_state;
	size_t source_cap;
	struct own_source *sources;
	struct own_record r;
};

static enum ecode
wrong(const char *what, struct err *e)
{
	return err_set(e, E_OWN_FORMAT, 0, "its member \"holdfast\": %s", what);
}

static enum ecode
read_text(struct own_reading *o, struct slice *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_peek(&o->j) != JSON_STRING || !json_string(&o->j, &raw, &escaped))
		return wrong("a text was expected", e);
	return json_text(raw, escaped, OWN_TEXT_MAX, o->a, out, e);
}

static enum ecode
read_count(struct own_reading *o, uint64_t *out, struct err *e)
{
	return json_u64(&o->j, out) ? E_OK : wrong("a count was expected", e);
}

static enum ecode
read_state(struct own_reading *o, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_peek(&o->j) != JSON_STRING || !json_string(&o->j, &raw, &escaped))
		return wrong("completeness is no text", e);
	if (slice_is(raw, "complete"))
		o->r.state = COMPLETENESS_COMPLETE;
	else if (slice_is(raw, "partial"))
		o->r.state = COMPLETENESS_PARTIAL;
	else
		return wrong("a completeness that is neither complete nor partial", e);
	o->has_state = true;
	return E_OK;
}

static enum ecode
read_digest(struct own_reading *o, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_peek(&o->j) != JSON_STRING || !json_string(&o->j, &raw, &escaped) || escaped ||
		!id_parse((const char *)raw.p, raw.len, &o->r.list_digest))
		return wrong("list_digest is not 64 hexadecimal digits", e);
	o->r.has_digest = true;
	return E_OK;
}

static enum ecode
skip(struct own_reading *o, struct err *e)
{
	return json_skip(&o->j, NULL) ? E_OK : wrong("it is no valid JSON", e);
}

/* In format 1 these stood beside `completeness`, in format 2 they stand inside. */
static enum ecode
read_claim(struct own_reading *o, struct slice key, struct err *e)
{
	if (slice_is(key, "unreadable"))
		return read_count(o, &o->r.unreadable, e);
	if (slice_is(key, "changed_while_read"))
		return read_count(o, &o->r.changed_while_read, e);
	if (slice_is(key, "vanished"))
		return read_count(o, &o->r.vanished, e);
	if (slice_is(key, "excluded"))
		return read_count(o, &o->r.excluded, e);
	if (slice_is(key, "sockets_skipped"))
		return read_count(o, &o->r.sockets_skipped, e);
	return skip(o, e);
}

static enum ecode
read_completeness(struct own_reading *o, struct err *e)
{
	struct slice key;
	enum ecode rc = E_OK;

	if (json_peek(&o->j) == JSON_STRING) /* format 1 */
		return read_state(o, e);
	if (json_peek(&o->j) != JSON_OBJECT || !json_enter_object(&o->j))
		return wrong("completeness is no object", e);
	while (rc == E_OK && json_key(&o->j, &key)) {
		if (slice_is(key, "state"))
			rc = read_state(o, e);
		else if (slice_is(key, "list_digest"))
			rc = read_digest(o, e);
		else
			rc = read_claim(o, key, e);
	}
	return rc;
}

static enum ecode
source_slot(struct own_reading *o, struct own_source **out, struct err *e)
{
	if (o->r.source_count == o->source_cap) {
		size_t cap = o->source_cap == 0 ? OWN_SOURCES_MIN : o->source_cap * 2;
		void *p;
		enum ecode rc = arena_alloc(o->a, cap * sizeof(o->sources[0]), &p, e);

		if (rc != E_OK)
			return rc;
		if (o->r.source_count > 0)
			memcpy(p, o->sources, o->r.source_count * sizeof(o->sources[0]));
		o->sources = p;
		o->source_cap = cap;
	}
	*out = &o->sources[o->r.source_count++];
	**out = (struct own_source){ .files = 0 };
	return E_OK;
}

static enum ecode
read_source(struct own_reading *o, struct err *e)
{
	struct own_source *s;
	struct slice key;
	enum ecode rc;

	if (json_peek(&o->j) != JSON_OBJECT || !json_enter_object(&o->j))
		return wrong("a source is no object", e);
	rc = source_slot(o, &s, e);
	while (rc == E_OK && json_key(&o->j, &key)) {
		if (slice_is(key, "path"))
			rc = read_text(o, &s->path, e);
		else if (slice_is(key, "files"))
			rc = read_count(o, &s->files, e);
		else if (slice_is(key, "bytes"))
			rc = read_count(o, &s->bytes, e);
		else
			rc = skip(o, e);
	}
	return rc;
}

static enum ecode
read_sources(struct own_reading *o, struct err *e)
{
	enum ecode rc = E_OK;

	if (json_peek(&o->j) != JSON_ARRAY || !json_enter_array(&o->j))
		return wrong("sources is no list", e);
	while (rc == E_OK && json_element(&o->j))
		rc = read_source(o, e);
	o->r.sources = o->sources;
	return rc;
}

static enum ecode
read_member(struct own_reading *o, struct slice key, struct err *e)
{
	if (slice_is(key, "format"))
		return read_count(o, &o->format, e);
	if (slice_is(key, "run_id"))
		return read_text(o, &o->r.run_id, e);
	if (slice_is(key, "continued_from"))
		return read_text(o, &o->r.continued_from, e);
	if (slice_is(key, "completeness"))
		return read_completeness(o, e);
	if (slice_is(key, "sources"))
		return read_sources(o, e);
	return read_claim(o, key, e);
}

/* The format alone, first: a newer one may mean anything by every other member. */
static enum ecode
read_format(struct slice text, uint64_t *format, struct err *e)
{
	struct json j;
	struct slice key;

	*format = 0;
	json_init(&j, text.p, text.len);
	if (json_peek(&j) != JSON_OBJECT || !json_enter_object(&j))
		return wrong("it is no object", e);
	while (json_key(&j, &key)) {
		bool ok = slice_is(key, "format") ? json_u64(&j, format) : json_skip(&j, NULL);

		if (!ok)
			return wrong("it is no valid JSON, or its format is no number", e);
	}
	if (j.bad || !json_end(&j) || *format == 0)
		return wrong("it tells no format", e);
	if (*format > OWN_FORMAT)
		return err_set(e, E_OWN_VERSION, 0,
			"its member \"holdfast\" is of format %llu; up to %d is known",
			(unsigned long long)*format, OWN_FORMAT);
	return E_OK;
}

static enum ecode
judge(const struct own_reading *o, struct err *e)
{
	if (o->j.bad)
		return wrong("it is no valid JSON", e);
	if (!o->has_state)
		return wrong("it does not say whether the snapshot is complete", e);
	if (o->r.state == COMPLETENESS_COMPLETE && (o->r.unreadable > 0 || o->r.has_digest))
		return wrong("it says complete, and that paths are missing", e);
	if (o->r.state == COMPLETENESS_PARTIAL && o->r.unreadable == 0)
		return wrong("it says partial, and that no path is missing", e);
	return E_OK;
}

enum ecode
own_parse(struct slice text, struct arena *a, struct own_record *out, struct err *e)
{
	struct own_reading o = { .a = a };
	struct slice key;
	enum ecode rc;

	if (text.len == 0) {
		*out = (struct own_record){ .state = COMPLETENESS_UNSAID };
		return E_OK;
	}
	rc = read_format(text, &o.format, e);
	if (rc != E_OK)
		return rc;
	json_init(&o.j, text.p, text.len);
	if (!json_enter_object(&o.j))
		return wrong("it is no object", e);
	while (rc == E_OK && json_key(&o.j, &key))
		rc = read_member(&o, key, e);
	if (rc == E_OK)
		rc = judge(&o, e);
	if (rc == E_OK)
		*out = o.r;
	return rc;
}

enum completeness
own_completeness(const struct snapshot *s, uint64_t *unreadable)
{
	autoclean(arena_done) struct arena a = arena_limit(OWN_ARENA_BYTES);
	struct own_record r;

	*unreadable = 0;
	if (own_parse(s->holdfast, &a, &r, NULL) != E_OK)
		return COMPLETENESS_UNREADABLE;
	*unreadable = r.unreadable;
	return r.state;
}
