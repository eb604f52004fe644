#include "repo/pack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

/* The type byte of a header entry (format document 4) */
#define TYPE_DATA      0
#define TYPE_TREE      1
#define TYPE_DATA_ZSTD 2
#define TYPE_TREE_ZSTD 3

/* bytes; the length of the sealed header, at the very end */
#define TRAILER_BYTES    4
#define FIRST_ENTRIES    64
/* as many as fit a header */
#define PACK_ENTRIES_MAX (PACK_HEADER_MAX_BYTES / PACK_ENTRY_PLAIN_BYTES)

void
pack_list_done(struct pack_list *l)
{
	free(l->v);
	*l = (struct pack_list){ NULL, 0, 0 };
}

static enum ecode
pack_list_reserve(struct pack_list *l, size_t cap, struct err *e)
{
	struct pack_entry *v = realloc(l->v, cap * sizeof(*v));

	if (v == NULL)
		return err_set(e, E_NOMEM, 0, "%zu pack entries", cap);
	l->v = v;
	l->cap = cap;
	return E_OK;
}

enum ecode
pack_list_add(struct pack_list *l, const struct pack_entry *entry, struct err *e)
{
	enum ecode rc = E_OK;

	if (l->n >= PACK_ENTRIES_MAX)
		return err_set(e, E_LIMIT, 0, "more than %u blobs in a pack", PACK_ENTRIES_MAX);
	if (l->n == l->cap)
		rc = pack_list_reserve(l, l->cap == 0 ? FIRST_ENTRIES : l->cap * 2, e);
	if (rc == E_OK)
		l->v[l->n++] = *entry;
	return rc;
}

/* ---- writing ---- */

static uint8_t
type_of(const struct pack_entry *entry)
{
	if (entry->ulen != 0)
		return entry->kind == BLOB_TREE ? TYPE_TREE_ZSTD : TYPE_DATA_ZSTD;
	return entry->kind == BLOB_TREE ? TYPE_TREE : TYPE_DATA;
}

static size_t
entry_size(const struct pack_entry *entry)
{
	return entry->ulen != 0 ? PACK_ENTRY_ZSTD_BYTES : PACK_ENTRY_PLAIN_BYTES;
}

static size_t
header_size(const struct pack_list *l)
{
	size_t size = 0;

	for (size_t i = 0; i < l->n; i++)
		size += entry_size(&l->v[i]);
	return size;
}

static uint64_t
body_size(const struct pack_list *l)
{
	uint64_t size = 0; /* 2^19 lengths of 32 bits */

	for (size_t i = 0; i < l->n; i++)
		size += l->v[i].length;
	return size;
}

uint64_t
pack_size(const struct pack_list *l)
{
	return body_size(l) + header_size(l) + SEAL_OVERHEAD + TRAILER_BYTES;
}

static uint8_t *
write_entry(uint8_t *p, const struct pack_entry *entry)
{
	*p++ = type_of(entry);
	le32_put(p, entry->length);
	p += 4;
	if (entry->ulen != 0) {
		le32_put(p, entry->ulen);
		p += 4;
	}
	memcpy(p, entry->id.b, sizeof(entry->id.b));
	return p + sizeof(entry->id.b);
}

enum ecode
pack_header_write(const struct pack_list *l, struct buf *out, struct err *e)
{
	size_t size = header_size(l);
	enum ecode rc;
	uint8_t *p;

	if (size > PACK_HEADER_MAX_BYTES - SEAL_OVERHEAD)
		return err_set(e, E_LIMIT, 0, "a pack header of %zu bytes", size);
	rc = buf_reserve(out, size, e);
	if (rc != E_OK)
		return rc;
	p = out->p + out->len;
	for (size_t i = 0; i < l->n; i++)
		p = write_entry(p, &l->v[i]);
	out->len += size;
	return E_OK;
}

/* ---- reading ---- */

struct cursor {
	const uint8_t *p;
	size_t left, at; /* bytes */
	uint64_t offset; /* in the pack, of the next blob */
	unsigned version;
};

static enum ecode
check_type(const struct cursor *c, uint8_t type, struct err *e)
{
	if (type > TYPE_TREE_ZSTD)
		return err_set(
			e, E_PACK_FORMAT, 0, "type %u at byte %zu of the header", type, c->at);
	if (c->version < 2 && type >= TYPE_DATA_ZSTD)
		return err_set(e, E_PACK_FORMAT, 0, "a compressed blob in a vault of version 1");
	return E_OK;
}

static enum ecode
check_entry(const struct cursor *c, const struct pack_entry *entry, bool zstd, struct err *e)
{
	if (entry->length < SEAL_OVERHEAD)
		return err_set(e, E_PACK_FORMAT, 0,
			"a sealed length of %" PRIu32 " at byte %zu of the header", entry->length,
			c->at);
	if (zstd && (entry->ulen == 0 || entry->ulen > BLOB_PLAIN_MAX_BYTES))
		return err_set(e, E_PACK_FORMAT, 0,
			"a plain length of %" PRIu32 " at byte %zu of the header", entry->ulen,
			c->at);
	if (c->offset + entry->length > UINT32_MAX)
		return err_set(e, E_PACK_FORMAT, 0, "the blobs are longer than 4 GiB");
	return E_OK;
}

static enum ecode
read_entry(struct cursor *c, struct pack_entry *entry, struct err *e)
{
	uint8_t type = c->p[0]; /* the caller saw that a byte is left */
	bool zstd = type == TYPE_DATA_ZSTD || type == TYPE_TREE_ZSTD;
	size_t size = zstd ? PACK_ENTRY_ZSTD_BYTES : PACK_ENTRY_PLAIN_BYTES;
	enum ecode rc = check_type(c, type, e);

	if (rc != E_OK)
		return rc;
	if (c->left < size)
		return err_set(
			e, E_PACK_FORMAT, 0, "the last entry has %zu of %zu bytes", c->left, size);
	entry->kind = type == TYPE_TREE || type == TYPE_TREE_ZSTD ? BLOB_TREE : BLOB_DATA;
	entry->offset = (uint32_t)c->offset;
	entry->length = le32_get(c->p + 1);
	entry->ulen = zstd ? le32_get(c->p + 5) : 0;
	memcpy(entry->id.b, c->p + size - sizeof(entry->id.b), sizeof(entry->id.b));
	rc = check_entry(c, entry, zstd, e);
	if (rc != E_OK)
		return rc;
	c->offset += entry->length;
	c->p += size;
	c->left -= size;
	c->at += size;
	return E_OK;
}

enum ecode
pack_header_parse(
	const void *plain, size_t len, unsigned version, struct pack_list *out, struct err *e)
{
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	struct cursor c = { .p = plain, .left = len, .version = version };
	enum ecode rc = E_OK;

	if (len == 0)
		return err_set(e, E_PACK_FORMAT, 0, "a pack header without entries");
	if (len > PACK_HEADER_MAX_BYTES - SEAL_OVERHEAD)
		return err_set(e, E_PACK_FORMAT, 0, "a pack header of %zu bytes", len);
	rc = pack_list_reserve(&list, len / PACK_ENTRY_PLAIN_BYTES + 1, e);
	while (rc == E_OK && c.left > 0) {
		struct pack_entry entry;

		rc = read_entry(&c, &entry, e);
		if (rc == E_OK)
			rc = pack_list_add(&list, &entry, e);
	}
	if (rc != E_OK)
		return rc;
	pack_list_done(out);
	*out = list;
	list = (struct pack_list){ NULL, 0, 0 };
	return E_OK;
}

/* How long the sealed header says it is; bounds as in format document 4. */
static enum ecode
sealed_header_length(const uint8_t *trailer, uint64_t pack_bytes, size_t *out, struct err *e)
{
	uint32_t length = le32_get(trailer);

	if (length < SEAL_OVERHEAD + PACK_ENTRY_PLAIN_BYTES || length > PACK_HEADER_MAX_BYTES ||
		length > pack_bytes - TRAILER_BYTES)
		return err_set(e, E_PACK_FORMAT, 0,
			"a header of %" PRIu32 " bytes in a pack of %" PRIu64, length, pack_bytes);
	*out = length;
	return E_OK;
}

static enum ecode
open_header(struct blob_codec *c, struct slice sealed, uint64_t pack_bytes, unsigned version,
	struct pack_list *out, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(PACK_HEADER_MAX_BYTES);
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	enum ecode rc = seal_open(blob_codec_sealer(c), sealed.p, sealed.len, &plain, e);

	if (rc == E_OK)
		rc = pack_header_parse(plain.p, plain.len, version, &list, e);
	if (rc == E_OK && pack_size(&list) != pack_bytes)
		rc = err_set(e, E_PACK_FORMAT, 0,
			"a pack of %" PRIu64 " bytes whose header asks for %" PRIu64, pack_bytes,
			pack_size(&list));
	if (rc != E_OK)
		return rc;
	pack_list_done(out);
	*out = list;
	list = (struct pack_list){ NULL, 0, 0 };
	return E_OK;
}

enum ecode
pack_tail_parse(struct blob_codec *c, const void *tail, size_t len, uint64_t pack_bytes,
	unsigned version, struct pack_list *out, size_t *need, struct err *e)
{
	const uint8_t *end = (const uint8_t *)tail + len;
	size_t length = 0;
	enum ecode rc;

	if (pack_bytes < PACK_MIN_BYTES || pack_bytes > UINT32_MAX || len > pack_bytes)
		return err_set(e, E_PACK_FORMAT, 0, "a pack of %" PRIu64 " bytes", pack_bytes);
	if (len < TRAILER_BYTES) {
		*need = pack_bytes < PACK_TAIL_FIRST_BYTES ? (size_t)pack_bytes
							   : PACK_TAIL_FIRST_BYTES;
		return E_OK;
	}
	rc = sealed_header_length(end - TRAILER_BYTES, pack_bytes, &length, e);
	if (rc == E_OK && length + TRAILER_BYTES <= len)
		rc = open_header(c, (struct slice){ end - TRAILER_BYTES - length, length },
			pack_bytes, version, out, e);
	if (rc == E_OK)
		*need = length + TRAILER_BYTES;
	return rc;
}

/* ---- finishing ---- */

static bool
same_entries(const struct pack_list *a, const struct pack_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct pack_entry *x = &a->v[i], *y = &b->v[i];

		if (x->length != y->length || x->ulen != y->ulen || x->kind != y->kind ||
			id_cmp(&x->id, &y->id) != 0)
			return false;
	}
	return true;
}

static enum ecode
verify_finished(struct blob_codec *c, const struct pack_list *l, unsigned version,
	const struct buf *body, struct err *e)
{
	autoclean(pack_list_done) struct pack_list got = { NULL, 0, 0 };
	size_t need = 0;
	enum ecode rc = pack_tail_parse(c, body->p, body->len, body->len, version, &got, &need, e);

	if (rc == E_NOMEM || (rc == E_OK && same_entries(l, &got)))
		return rc;
	return err_set(e, E_BLOB_VERIFY, 0, "the header of a pack of %zu blobs", l->n);
}

static enum ecode
append_header(struct blob_codec *c, const struct pack_list *l, struct buf *body, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(PACK_HEADER_MAX_BYTES);
	uint8_t trailer[TRAILER_BYTES];
	enum ecode rc = pack_header_write(l, &plain, e);

	if (rc == E_OK)
		rc = seal_shut(blob_codec_sealer(c), plain.p, plain.len, body, e);
	le32_put(trailer, (uint32_t)plain.len + SEAL_OVERHEAD);
	return rc == E_OK ? buf_add(body, trailer, sizeof(trailer), e) : rc;
}

enum ecode
pack_finish(struct blob_codec *c, const struct pack_list *l, unsigned version, struct buf *body,
	struct err *e)
{
	size_t before = body->len;
	enum ecode rc;

	invariant(l->n > 0 && body->len == body_size(l));
	if (pack_size(l) > UINT32_MAX)
		return err_set(e, E_LIMIT, 0, "a pack of %" PRIu64 " bytes", pack_size(l));
	rc = append_header(c, l, body, e);
	if (rc == E_OK)
		rc = verify_finished(c, l, version, body, e);
	if (rc != E_OK)
		body->len = before;
	return rc;
}
