/* A piece is judged once, however many files hold it. */
#include "engine/match_vault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "repo/reader.h"

/* Copies of one piece that are looked at; a vault has one, rarely two. */
#define COPIES_MAX     8
/* In the memory of pieces: a status and one more. */
#define JUDGED(status) ((uint64_t)(status) + 1)

struct match_vault {
	struct session *s;
	enum match_level level;
	struct store_listing packs;
	struct map judged; /* first half of a piece's name → JUDGED(…) */
	struct buf scratch, plain;
};

void
match_vault_close(struct match_vault **m)
{
	struct match_vault *v = *m;

	if (v == NULL)
		return;
	store_listing_done(&v->packs);
	map_done(&v->judged);
	buf_done(&v->scratch);
	buf_done(&v->plain);
	free(v);
	*m = NULL;
}

enum ecode
match_vault_open(struct session *s, enum match_level level, struct match_vault **out, struct err *e)
{
	autoclean(match_vault_close) struct match_vault *m = calloc(1, sizeof(*m));
	enum ecode rc;

	if (m == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "the list of packs");
	m->s = s;
	m->level = level;
	m->scratch = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD);
	m->plain = buf_limit(BLOB_PLAIN_MAX_BYTES);
	rc = store_list_all(s->store, O_PACK, &m->packs, e);
	if (rc == E_OK) {
		*out = m;
		m = NULL;
	}
	return rc;
}

static const struct store_entry *
find_pack(const struct match_vault *m, const struct id *pack)
{
	size_t low = 0, high = m->packs.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = id_cmp(&m->packs.v[mid].id, pack);

		if (order == 0)
			return &m->packs.v[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* The best of all copies. */
static enum match_status
judge_place(const struct match_vault *m, const struct id *piece)
{
	struct blob_loc loc[COPIES_MAX];
	size_t n = index_find_all(m->s->index, BLOB_DATA, piece, loc, COPIES_MAX);
	enum match_status best = MATCH_MISSING;

	for (size_t i = 0; i < n && i < COPIES_MAX; i++) {
		const struct store_entry *pack = find_pack(m, &loc[i].pack);

		if (pack == NULL)
			continue;
		if (m->level == MATCH_EXISTENCE ||
			pack->size >= index_pack_size(m->s->index, loc[i].pack_no))
			return MATCH_OK;
		best = MATCH_SIZE;
	}
	return best;
}

static enum match_status
status_of(enum ecode rc)
{
	if (rc == E_STORE_ABSENT || rc == E_BLOB_ABSENT)
		return MATCH_MISSING;
	if (rc == E_STORE_SHORT)
		return MATCH_SIZE;
	return err_row(rc)->caller == CALLER_CORRUPT ? MATCH_HASH : MATCH_ERROR;
}

static enum ecode
judge_bytes(struct match_vault *m, const struct id *piece, enum match_status *out, struct err *e)
{
	struct session *s = m->s;
	struct err why = { .code = E_OK };
	enum ecode rc = session_go_on(s, e);

	if (rc != E_OK)
		return rc;
	rc = blob_load(s->vault, s->index, s->own, BLOB_DATA, piece, &m->scratch, &m->plain, &why);
	if (rc == E_NOMEM) {
		*e = why;
		return rc;
	}
	*out = rc == E_OK ? MATCH_OK : status_of(rc);
	return E_OK;
}

static enum ecode
judge(struct match_vault *m, const struct id *piece, enum match_status *out, struct err *e)
{
	uint64_t key[2], *known;
	bool found;
	enum ecode rc;

	memcpy(key, piece->b, sizeof(key));
	rc = map_put(&m->judged, key[0], key[1], 0, &known, &found, e);
	if (rc != E_OK)
		return rc;
	if (found && *known != 0) {
		*out = (enum match_status)(*known - 1);
		return E_OK;
	}
	*out = judge_place(m, piece);
	if (*out == MATCH_OK && m->level == MATCH_HASHES)
		rc = judge_bytes(m, piece, out, e);
	if (rc == E_OK)
		*known = JUDGED(*out);
	return rc;
}

static const char *
why_text(enum match_status status)
{
	switch (status) {
	case MATCH_OK:
	case MATCH_EXTRA:
	case MATCH_METADATA:
		return NULL;
	case MATCH_MISSING:
		return "a piece of it is not in the vault";
	case MATCH_SIZE:
		return "a pack that holds a piece of it is shorter than recorded";
	case MATCH_HASH:
		return "a piece of it is damaged";
	case MATCH_ERROR:
		return "a piece of it cannot be read";
	}
	return NULL; /* not reached: -Wswitch-enum proves the list above */
}

enum ecode
match_vault_file(struct match_vault *m, struct match_record *r, struct err *e)
{
	enum match_status status = MATCH_OK;
	enum ecode rc = E_OK;

	for (size_t k = 0; rc == E_OK && status == MATCH_OK && k < r->node->content_count; k++) {
		uint32_t len = 0;

		rc = judge(m, &r->node->content[k], &status, e);
		if (index_size(m->s->index, BLOB_DATA, &r->node->content[k], &len))
			r->actual_size += len;
	}
	if (rc != E_OK)
		return rc;
	r->status = status;
	r->why = why_text(status);
	r->hashed = m->level == MATCH_HASHES && (status == MATCH_OK || status == MATCH_HASH);
	if (status == MATCH_OK && m->level != MATCH_EXISTENCE &&
		r->actual_size != r->expected_size) {
		r->status = MATCH_SIZE;
		r->why = "its pieces are not as long as it is";
	}
	return E_OK;
}
