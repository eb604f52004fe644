#include "repo/reader.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/wire.h"

#define LOCATIONS_USUAL 8U /* on the stack; more are rare and go to the heap */
#define TRIES           2U /* 13.5: once more before it counts as damage */

static enum ecode
load_from(struct vault *v, struct blob_codec *c, const struct id *id, const struct blob_loc *loc,
	struct buf *scratch, struct buf *out, struct err *e)
{
	const struct oname name = { .kind = O_PACK, .id = loc->pack };
	enum ecode rc;

	buf_clear(scratch);
	rc = store_get(v->store, &name, loc->offset, loc->length, scratch, e);
	if (rc == E_OK)
		rc = blob_open(c, id, scratch->p, scratch->len, loc->ulen, out, e);
	return rc;
}

static void
note_place(struct err *e, const struct id *id, const struct blob_loc *loc, size_t copies)
{
	char blob[ID_HEX_SIZE], pack[ID_HEX_SIZE];

	id_hex(id, blob);
	id_hex(&loc->pack, pack);
	err_note(e, "blob %s at byte %" PRIu32 " of pack %s (%zu known copies)", blob, loc->offset,
		pack, copies);
}

/* Every copy, then every copy once more; memory shortage says nothing about a copy. */
static enum ecode
try_all(struct vault *v, struct blob_codec *c, const struct id *id, const struct blob_loc *locs,
	size_t n, struct buf *scratch, struct buf *out, struct err *e)
{
	struct err other = { .code = E_OK };
	enum ecode first = E_OK, rc = E_OK;

	for (size_t i = 0; i < n * TRIES; i++) {
		struct err *why = first == E_OK ? e : &other;

		rc = load_from(v, c, id, &locs[i % n], scratch, out, why);
		if (rc == E_OK)
			return E_OK;
		if (rc == E_NOMEM) {
			if (why == &other && e != NULL)
				*e = other;
			return rc;
		}
		if (first == E_OK) {
			first = rc;
			note_place(e, id, &locs[i], n);
		}
	}
	return first;
}

static enum ecode
absent(enum blob_kind kind, const struct id *id, struct err *e)
{
	char blob[ID_HEX_SIZE];

	id_hex(id, blob);
	return err_set(e, E_BLOB_ABSENT, 0, "%s %s", kind == BLOB_TREE ? "tree" : "data", blob);
}

enum ecode
blob_load(struct vault *v, struct index *ix, struct blob_codec *c, enum blob_kind kind,
	const struct id *id, struct buf *scratch, struct buf *out, struct err *e)
{
	struct blob_loc usual[LOCATIONS_USUAL];
	struct blob_loc *all = NULL;
	size_t n = index_find_all(ix, kind, id, usual, LOCATIONS_USUAL), max = n;
	enum ecode rc;

	if (n == 0)
		return absent(kind, id, e);
	if (n > LOCATIONS_USUAL) {
		all = calloc(n, sizeof(*all));
		if (all == NULL)
			return err_set(e, E_NOMEM, 0, "%zu locations", n);
		n = index_find_all(ix, kind, id, all, max);
		n = n < max ? n : max; /* more may have come meanwhile */
	}
	rc = try_all(v, c, id, all != NULL ? all : usual, n, scratch, out, e);
	free(all);
	return rc;
}
