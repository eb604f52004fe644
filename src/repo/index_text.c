/*
 * Index files as text (format document 5.1): one pass over the JSON into a
 * listing, every number judged before it is kept; and the writer.
 *
 * restic writes a pack's blobs in any order.  They are sorted here, because
 * overlaps and repetitions show only then.
 */
#include "repo/index_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"

#define LISTING_FIRST 64 /* packs or blobs; doubled from there */

void
listing_done(struct listing *l)
{
	free(l->v);
	free(l->packs);
	free(l->order);
	*l = (struct listing){ 0 };
}

void
listing_clear(struct listing *l)
{
	l->n = 0;
	l->pack_n = 0;
}

/* Room for one more of `size` bytes; the numbers stay below 2^31 (pack_kind has a bit for the kind). */
static enum ecode
grow(void **v, size_t n, size_t *cap, size_t size, struct err *e)
{
	size_t more = *cap == 0 ? LISTING_FIRST : *cap * 2;
	void *p;

	if (n < *cap)
		return E_OK;
	if (n >= PACK_PENDING || more > SIZE_MAX / size)
		return err_set(e, E_LIMIT, 0, "more than %zu entries in one index file", n);
	p = realloc(*v, more * size);
	if (p == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", more * size);
	*v = p;
	*cap = more;
	return E_OK;
}

enum ecode
listing_begin_pack(struct listing *l, struct err *e)
{
	void *p = l->packs;
	enum ecode rc = grow(&p, l->pack_n, &l->pack_cap, sizeof(*l->packs), e);

	l->packs = p;
	if (rc == E_OK)
		l->packs[l->pack_n++] = (struct listing_pack){ .first = l->n };
	return rc;
}

enum ecode
listing_add(struct listing *l, const struct index_entry *blob, struct err *e)
{
	void *p = l->v;
	enum ecode rc = grow(&p, l->n, &l->cap, sizeof(*l->v), e);

	l->v = p;
	if (rc == E_OK) {
		enum blob_kind kind = entry_kind(blob);

		l->v[l->n] = *blob;
		l->v[l->n].pack_kind = entry_pack_kind((uint32_t)(l->pack_n - 1), kind);
		l->packs[l->pack_n - 1].kinds |= 1U << kind;
		l->n++;
	}
	return rc;
}

static int
by_offset(const void *a, const void *b)
{
	const struct index_entry *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return memcmp(x, y, sizeof(*x)); /* equal ones side by side */
}

static bool
ascending(const struct index_entry *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (v[i - 1].offset >= v[i].offset)
			return false;
	}
	return true;
}

enum ecode
listing_end_pack(struct listing *l, const struct id *id, struct err *e)
{
	struct listing_pack *pack = &l->packs[l->pack_n - 1];
	size_t n = l->n - pack->first, kept = 0;
	struct index_entry *v = n == 0 ? NULL : l->v + pack->first; /* l->v may be NULL, too */

	pack->id = *id;
	if (n > 1 && !ascending(v, n))
		qsort(v, n, sizeof(*v), by_offset);
	for (size_t i = 0; i < n; i++) {
		const struct index_entry *last = kept == 0 ? NULL : &v[kept - 1];

		if (last != NULL && memcmp(last, &v[i], sizeof(*last)) == 0)
			continue;
		if (last != NULL && (uint64_t)last->offset + last->length > v[i].offset)
			return err_set(e, E_INDEX_FORMAT, 0, "two blobs overlap at byte %" PRIu32,
				v[i].offset);
		v[kept++] = v[i];
	}
	pack->n = kept;
	l->n = pack->first + kept;
	return E_OK;
}

/* ---- reading ---- */

static enum ecode
bad(struct json *j, const char *what, struct err *e)
{
	if (j->bad)
		return json_refusal(j, "index", e);
	return err_set(e, E_INDEX_FORMAT, 0, "%s at byte %zu", what, (size_t)(j->p - j->start));
}

static bool
read_u32(struct json *j, uint32_t *out)
{
	uint64_t v = 0;

	if (json_null(j))
		return true;
	if (!json_u64(j, &v) || v > UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool
read_id(struct json *j, struct id *out)
{
	struct slice text;
	bool escaped;

	return json_string(j, &text, &escaped) && id_parse(text.p, text.len, out);
}

static bool
read_kind(struct json *j, struct index_entry *t)
{
	struct slice text;
	bool escaped;

	if (!json_string(j, &text, &escaped))
		return false;
	if (slice_is(text, "tree"))
		t->pack_kind = entry_pack_kind(0, BLOB_TREE);
	else if (slice_is(text, "data"))
		t->pack_kind = entry_pack_kind(0, BLOB_DATA);
	else
		return false;
	return true;
}

enum blob_field {
	FIELD_ID = 1,
	FIELD_TYPE = 2
};

/* One member of a blob; `seen` collects the fields without which a blob is none. */
static bool
read_field(struct json *j, struct slice key, struct index_entry *t, unsigned *seen)
{
	if (slice_is(key, "id")) {
		*seen |= FIELD_ID;
		return read_id(j, &t->id);
	}
	if (slice_is(key, "type")) {
		*seen |= FIELD_TYPE;
		return read_kind(j, t);
	}
	if (slice_is(key, "offset"))
		return read_u32(j, &t->offset);
	if (slice_is(key, "length"))
		return read_u32(j, &t->length);
	if (slice_is(key, "uncompressed_length"))
		return read_u32(j, &t->ulen);
	return json_skip(j, NULL);
}

/* The numbers of a blob against the format's limits (4). */
static const char *
judge(const struct index_entry *t, unsigned seen, unsigned version)
{
	if (seen != (FIELD_ID | FIELD_TYPE))
		return "a blob without id or type";
	if (t->length < SEAL_OVERHEAD)
		return "a blob too short to be sealed";
	if ((uint64_t)t->offset + t->length > UINT32_MAX)
		return "a blob beyond the end of any pack";
	if (t->ulen != 0 && version < 2)
		return "a compressed blob in a vault of version 1";
	if (t->ulen > BLOB_PLAIN_MAX_BYTES || t->length - SEAL_OVERHEAD > BLOB_PLAIN_MAX_BYTES)
		return "a blob above the size limit";
	return NULL;
}

static enum ecode
read_blob(struct json *j, struct listing *l, unsigned version, struct err *e)
{
	struct index_entry t = { .pack_kind = 0 };
	unsigned seen = 0;
	struct slice key;
	const char *flaw;

	if (!json_enter_object(j))
		return bad(j, "a blob is not an object", e);
	while (json_key(j, &key)) {
		if (!read_field(j, key, &t, &seen))
			return bad(j, "a bad value in a blob", e);
	}
	if (j->bad)
		return bad(j, "", e);
	flaw = judge(&t, seen, version);
	return flaw == NULL ? listing_add(l, &t, e) : bad(j, flaw, e);
}

static enum ecode
read_blobs(struct json *j, struct listing *l, unsigned version, struct err *e)
{
	enum ecode rc = E_OK;

	if (json_null(j))
		return E_OK;
	if (!json_enter_array(j))
		return bad(j, "the blobs of a pack are not a list", e);
	while (rc == E_OK && json_element(j))
		rc = read_blob(j, l, version, e);
	return rc == E_OK && j->bad ? bad(j, "", e) : rc;
}

static enum ecode
read_pack(struct json *j, struct listing *l, unsigned version, struct err *e)
{
	struct id id = { { 0 } };
	bool named = false;
	struct slice key;
	enum ecode rc = listing_begin_pack(l, e);

	if (rc == E_OK && !json_enter_object(j))
		rc = bad(j, "a pack is not an object", e);
	while (rc == E_OK && json_key(j, &key)) {
		if (slice_is(key, "blobs")) {
			rc = read_blobs(j, l, version, e);
		} else if (slice_is(key, "id")) {
			named = read_id(j, &id);
			rc = named ? E_OK : bad(j, "a pack's id is none", e);
		} else if (!json_skip(j, NULL)) {
			rc = bad(j, "", e);
		}
	}
	if (rc == E_OK && (j->bad || !named))
		rc = bad(j, "a pack without id", e);
	return rc == E_OK ? listing_end_pack(l, &id, e) : rc;
}

static enum ecode
read_packs(struct json *j, struct listing *l, unsigned version, struct err *e)
{
	enum ecode rc = E_OK;

	if (json_null(j))
		return E_OK;
	if (!json_enter_array(j))
		return bad(j, "the packs are not a list", e);
	while (rc == E_OK && json_element(j))
		rc = read_pack(j, l, version, e);
	return rc == E_OK && j->bad ? bad(j, "", e) : rc;
}

/* Malformed JSON here means an index that cannot be used; its next action is the index's. */
static enum ecode
as_index_refusal(enum ecode rc, struct err *e)
{
	if ((rc == E_JSON_SYNTAX || rc == E_JSON_RANGE) && e != NULL)
		e->code = E_INDEX_FORMAT;
	return rc == E_JSON_SYNTAX || rc == E_JSON_RANGE ? E_INDEX_FORMAT : rc;
}

enum ecode
listing_parse(struct listing *l, const void *json, size_t len, unsigned version, struct err *e)
{
	enum ecode rc = E_OK;
	struct slice key;
	struct json j;

	listing_clear(l);
	json_init(&j, json, len);
	if (!json_enter_object(&j))
		rc = bad(&j, "not an object", e);
	while (rc == E_OK && json_key(&j, &key)) {
		if (slice_is(key, "packs"))
			rc = read_packs(&j, l, version, e);
		else if (!json_skip(&j, NULL)) /* "supersedes" too: it must hide nothing (5.1) */
			rc = bad(&j, "", e);
	}
	if (rc == E_OK && !json_end(&j))
		rc = bad(&j, "more text after the index", e);
	return as_index_refusal(rc, e);
}

/* ---- writing ---- */

static void
write_blob(struct json_out *w, const struct pack_entry *b)
{
	json_open_object(w);
	json_member_id(w, "id", &b->id);
	json_member_str(w, "type", b->kind == BLOB_TREE ? "tree" : "data");
	json_member_u64(w, "offset", b->offset);
	json_member_u64(w, "length", b->length);
	if (b->ulen != 0) {
		json_member_u64(w, "uncompressed_length", b->ulen);
	}
	json_close_object(w);
}

enum ecode
index_write(const struct index_pack *packs, size_t n, struct buf *out, struct err *e)
{
	struct json_out w;
	enum ecode rc;

	json_begin(&w, out);
	json_open_object(&w);
	json_put_key(&w, "packs");
	json_open_array(&w);
	for (size_t i = 0; i < n; i++) {
		json_open_object(&w);
		json_member_id(&w, "id", &packs[i].id);
		json_put_key(&w, "blobs");
		json_open_array(&w);
		for (size_t k = 0; k < packs[i].blobs.n; k++)
			write_blob(&w, &packs[i].blobs.v[k]);
		json_close_array(&w);
		json_close_object(&w);
	}
	json_close_array(&w);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}
