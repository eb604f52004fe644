/*
 * The record is small and read whole.  A key that is missing or null is the
 * zero value; a key of ours with a value of another type makes the record
 * unreadable, because guessing would show a person something that was not
 * backed up.  Only "tree" must be there.
 */
#include "repo/snapshot.h"

#include <string.h>

#include "base/json.h"
#include "base/wire.h"

/* Go's zero time, 0001-01-01T00:00:00Z: what a record without "time" means. */
#define ZERO_TIME_S (-62135596800)

/* ---- writing ---- */

static void
put_texts(struct json_out *w, const char *key, const struct slice *v, size_t n)
{
	json_put_key(w, key);
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_text(w, v[i].p, v[i].len);
	json_close_array(w);
}

static void
put_text(struct json_out *w, const char *key, struct slice s)
{
	if (s.len == 0)
		return;
	json_put_key(w, key);
	json_put_text(w, s.p, s.len);
}

void
snapshot_put_counts(struct json_out *w, const struct snapshot_summary *s)
{
	json_member_u64(w, "files_new", s->files_new);
	json_member_u64(w, "files_changed", s->files_changed);
	json_member_u64(w, "files_unmodified", s->files_unmodified);
	json_member_u64(w, "dirs_new", s->dirs_new);
	json_member_u64(w, "dirs_changed", s->dirs_changed);
	json_member_u64(w, "dirs_unmodified", s->dirs_unmodified);
	json_member_u64(w, "data_blobs", s->data_blobs);
	json_member_u64(w, "tree_blobs", s->tree_blobs);
	json_member_u64(w, "data_added", s->data_added);
	json_member_u64(w, "data_added_packed", s->data_added_packed);
	json_member_u64(w, "total_files_processed", s->total_files_processed);
	json_member_u64(w, "total_bytes_processed", s->total_bytes_processed);
}

static void
put_summary(struct json_out *w, const struct snapshot_summary *s)
{
	json_put_key(w, "summary");
	json_open_object(w);
	json_member_time(w, "backup_start", s->backup_start);
	json_member_time(w, "backup_end", s->backup_end);
	snapshot_put_counts(w, s);
	json_close_object(w);
}

static void
put_owner(struct json_out *w, const struct snapshot *s)
{
	put_text(w, "hostname", s->hostname);
	put_text(w, "username", s->username);
	if (s->uid != 0)
		json_member_u64(w, "uid", s->uid);
	if (s->gid != 0)
		json_member_u64(w, "gid", s->gid);
}

enum ecode
snapshot_write(const struct snapshot *s, struct buf *out, struct err *e)
{
	struct json_out w;

	if (id_is_zero(&s->tree)) /* restic crashes on such a record (7) */
		return err_set(
			e, E_SNAPSHOT_FORMAT, 0, "a snapshot without a tree is never written");
	json_begin(&w, out);
	json_open_object(&w);
	json_member_time(&w, "time", s->time);
	if (s->has_parent)
		json_member_id(&w, "parent", &s->parent);
	json_member_id(&w, "tree", &s->tree);
	put_texts(&w, "paths", s->paths, s->path_count);
	put_owner(&w, s);
	if (s->exclude_count > 0)
		put_texts(&w, "excludes", s->excludes, s->exclude_count);
	if (s->tag_count > 0)
		put_texts(&w, "tags", s->tags, s->tag_count);
	if (s->has_original)
		json_member_id(&w, "original", &s->original);
	put_text(&w, "program_version", s->program_version);
	if (s->has_summary)
		put_summary(&w, &s->summary);
	if (s->holdfast.len > 0) {
		json_put_key(&w, "holdfast");
		json_put_raw(&w, s->holdfast.p, s->holdfast.len);
	}
	json_close_object(&w);
	return json_done(&w, e);
}

/* ---- reading ---- */

struct reading {
	struct json j;
	struct arena *a;
	struct snapshot *s;
	bool has_tree;
};

static enum ecode
wrong(struct reading *r, const char *key, struct err *e)
{
	if (r->j.bad)
		return json_refusal(&r->j, "snapshot", e);
	return err_set(e, E_SNAPSHOT_FORMAT, 0, "unusable value of \"%s\"", key);
}

static enum ecode
read_text(struct reading *r, const char *key, struct slice *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_null(&r->j)) {
		*out = (struct slice){ NULL, 0 };
		return E_OK;
	}
	if (json_peek(&r->j) != JSON_STRING || !json_string(&r->j, &raw, &escaped))
		return wrong(r, key, e);
	return json_text(raw, escaped, UNPACKED_MAX_BYTES, r->a, out, e);
}

/* Elements from here to the end of the array, without moving. */
static size_t
count_elements(struct json j)
{
	size_t n = 0;

	while (json_element(&j) && json_skip(&j, NULL))
		n++;
	return n;
}

static enum ecode
read_texts(
	struct reading *r, const char *key, const struct slice **out, size_t *count, struct err *e)
{
	struct slice *v;
	void *mem = NULL;
	size_t n, i = 0;
	enum ecode rc;

	if (json_null(&r->j)) {
		*count = 0;
		return E_OK;
	}
	if (json_peek(&r->j) != JSON_ARRAY || !json_enter_array(&r->j))
		return wrong(r, key, e);
	n = count_elements(r->j);
	rc = arena_alloc(r->a, n * sizeof(*v), &mem, e); /* n is below the length of the text */
	v = mem;
	while (rc == E_OK && json_element(&r->j)) {
		if (i == n)
			return wrong(r, key, e);
		rc = read_text(r, key, &v[i++], e);
	}
	if (rc == E_OK && (r->j.bad || i != n))
		rc = wrong(r, key, e);
	if (rc == E_OK) {
		*out = v;
		*count = n;
	}
	return rc;
}

static enum ecode
read_time(struct reading *r, const char *key, struct instant *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_null(&r->j))
		return E_OK;
	if (json_peek(&r->j) != JSON_STRING || !json_string(&r->j, &raw, &escaped) ||
		!instant_parse(raw.p, raw.len, out))
		return wrong(r, key, e);
	return E_OK;
}

static enum ecode
read_id(struct reading *r, const char *key, struct id *out, bool *has, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_null(&r->j)) {
		*has = false;
		return E_OK;
	}
	if (json_peek(&r->j) != JSON_STRING || !json_string(&r->j, &raw, &escaped) ||
		!id_parse(raw.p, raw.len, out))
		return wrong(r, key, e);
	*has = true;
	return E_OK;
}

static enum ecode
read_u64(struct reading *r, const char *key, uint64_t *out, struct err *e)
{
	if (json_null(&r->j)) {
		*out = 0;
		return E_OK;
	}
	if (json_peek(&r->j) != JSON_NUMBER || !json_u64(&r->j, out))
		return wrong(r, key, e);
	return E_OK;
}

static enum ecode
read_u32(struct reading *r, const char *key, uint32_t *out, struct err *e)
{
	uint64_t v = 0;
	enum ecode rc = read_u64(r, key, &v, e);

	if (rc == E_OK && v > UINT32_MAX)
		rc = wrong(r, key, e);
	if (rc == E_OK)
		*out = (uint32_t)v;
	return rc;
}

static enum ecode
skip_value(struct reading *r, const char *key, struct err *e)
{
	return json_skip(&r->j, NULL) ? E_OK : wrong(r, key, e);
}

struct counter_key {
	const char *key;
	size_t offset; /* in struct snapshot_summary */
};
static const struct counter_key counters[] = {
	{ "files_new", offsetof(struct snapshot_summary, files_new) },
	{ "files_changed", offsetof(struct snapshot_summary, files_changed) },
	{ "files_unmodified", offsetof(struct snapshot_summary, files_unmodified) },
	{ "dirs_new", offsetof(struct snapshot_summary, dirs_new) },
	{ "dirs_changed", offsetof(struct snapshot_summary, dirs_changed) },
	{ "dirs_unmodified", offsetof(struct snapshot_summary, dirs_unmodified) },
	{ "data_blobs", offsetof(struct snapshot_summary, data_blobs) },
	{ "tree_blobs", offsetof(struct snapshot_summary, tree_blobs) },
	{ "data_added", offsetof(struct snapshot_summary, data_added) },
	{ "data_added_packed", offsetof(struct snapshot_summary, data_added_packed) },
	{ "total_files_processed", offsetof(struct snapshot_summary, total_files_processed) },
	{ "total_bytes_processed", offsetof(struct snapshot_summary, total_bytes_processed) },
};

static enum ecode
read_summary_member(struct reading *r, struct slice key, struct err *e)
{
	struct snapshot_summary *s = &r->s->summary;

	if (slice_is(key, "backup_start"))
		return read_time(r, "backup_start", &s->backup_start, e);
	if (slice_is(key, "backup_end"))
		return read_time(r, "backup_end", &s->backup_end, e);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		if (slice_is(key, counters[i].key))
			return read_u64(r, counters[i].key,
				(uint64_t *)(void *)((char *)s + counters[i].offset), e);
	return skip_value(r, "summary", e);
}

static enum ecode
read_summary(struct reading *r, struct err *e)
{
	enum ecode rc = E_OK;
	struct slice key;

	if (json_null(&r->j))
		return E_OK;
	if (json_peek(&r->j) != JSON_OBJECT || !json_enter_object(&r->j))
		return wrong(r, "summary", e);
	while (rc == E_OK && json_key(&r->j, &key))
		rc = read_summary_member(r, key, e);
	if (rc == E_OK && r->j.bad)
		rc = wrong(r, "summary", e);
	if (rc == E_OK)
		r->s->has_summary = true;
	return rc;
}

/* Kept as it is, so that copying or tagging a snapshot does not lose what a newer version wrote. */
static enum ecode
read_holdfast(struct reading *r, struct err *e)
{
	bool object = json_peek(&r->j) == JSON_OBJECT;
	struct slice raw;

	if (!json_skip(&r->j, &raw))
		return wrong(r, "holdfast", e);
	return object ? arena_copy(r->a, raw.p, raw.len, &r->s->holdfast, e) : E_OK;
}

/* What the backup was of. */
static enum ecode
read_source_member(struct reading *r, struct slice key, struct err *e)
{
	struct snapshot *s = r->s;

	if (slice_is(key, "paths"))
		return read_texts(r, "paths", &s->paths, &s->path_count, e);
	if (slice_is(key, "excludes"))
		return read_texts(r, "excludes", &s->excludes, &s->exclude_count, e);
	if (slice_is(key, "tags"))
		return read_texts(r, "tags", &s->tags, &s->tag_count, e);
	if (slice_is(key, "hostname"))
		return read_text(r, "hostname", &s->hostname, e);
	if (slice_is(key, "username"))
		return read_text(r, "username", &s->username, e);
	if (slice_is(key, "uid"))
		return read_u32(r, "uid", &s->uid, e);
	if (slice_is(key, "gid"))
		return read_u32(r, "gid", &s->gid, e);
	return skip_value(r, "(unknown)", e);
}

static enum ecode
read_member(struct reading *r, struct slice key, struct err *e)
{
	struct snapshot *s = r->s;

	if (slice_is(key, "time"))
		return read_time(r, "time", &s->time, e);
	if (slice_is(key, "tree"))
		return read_id(r, "tree", &s->tree, &r->has_tree, e);
	if (slice_is(key, "parent"))
		return read_id(r, "parent", &s->parent, &s->has_parent, e);
	if (slice_is(key, "original"))
		return read_id(r, "original", &s->original, &s->has_original, e);
	if (slice_is(key, "program_version"))
		return read_text(r, "program_version", &s->program_version, e);
	if (slice_is(key, "summary"))
		return read_summary(r, e);
	if (slice_is(key, "holdfast"))
		return read_holdfast(r, e);
	return read_source_member(r, key, e);
}

enum ecode
snapshot_parse(const void *json, size_t len, struct arena *a, struct snapshot *out, struct err *e)
{
	struct snapshot s = {
		.time.s = ZERO_TIME_S,
		.summary = { .backup_start.s = ZERO_TIME_S, .backup_end.s = ZERO_TIME_S },
	};
	struct reading r = { .a = a, .s = &s };
	enum ecode rc = E_OK;
	struct slice key;

	json_init(&r.j, json, len);
	if (json_peek(&r.j) != JSON_OBJECT || !json_enter_object(&r.j))
		return wrong(&r, "the record", e);
	while (rc == E_OK && json_key(&r.j, &key))
		rc = read_member(&r, key, e);
	if (rc == E_OK && !json_end(&r.j))
		rc = wrong(&r, "the record", e);
	if (rc == E_OK && (!r.has_tree || id_is_zero(&s.tree)))
		rc = err_set(e, E_SNAPSHOT_FORMAT, 0, "no tree");
	if (rc == E_OK)
		*out = s;
	return rc;
}

enum ecode
snapshot_load(struct vault *v, struct blob_codec *c, const struct id *id, struct arena *a,
	struct snapshot *out, struct err *e)
{
	autoclean(buf_done) struct buf json = buf_limit(UNPACKED_MAX_BYTES);
	enum ecode rc = vault_load(v, c, O_SNAPSHOT, id, &json, e);

	if (rc != E_OK)
		return rc;
	rc = snapshot_parse(json.p, json.len, a, out, e);
	if (rc == E_OK) {
		out->id = *id;
	} else {
		char text[9];

		id_short(id, text);
		err_note(e, "in snapshot %s", text);
	}
	return rc;
}
