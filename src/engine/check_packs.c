/*
 * Packs: every one the index names is there with the size the index implies,
 * its blobs end to end; selected ones are read whole: name, header, header
 * against index, every blob (format document 11.12).  A pack that fails is read
 * a second time, and a second success is a finding too.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "engine/check_internal.h"

#define PACK_BYTES_MAX ((size_t)1 << 32) /* offsets have 32 bits (format document 4) */

struct pack_ref {
	struct id id;
	uint32_t no;
	uint64_t size;
};

struct pack_task {
	struct flow_task task;
	struct check *c;
	struct pack_ref pack;
};

static int
compare_refs(const void *a, const void *b)
{
	const struct pack_ref *x = a, *y = b;

	return id_cmp(&x->id, &y->id);
}

static enum ecode
index_packs(struct check *c, struct pack_ref **out, size_t *n, struct err *e)
{
	struct index *ix = c->s->index;
	struct pack_ref *v;

	*n = index_pack_count(ix);
	v = calloc(*n + 1, sizeof(*v));
	if (v == NULL)
		return err_set(e, E_NOMEM, 0, "the list of packs");
	for (size_t i = 0; i < *n; i++) {
		v[i].no = (uint32_t)i;
		v[i].size = index_pack_size(ix, (uint32_t)i);
		index_pack_id(ix, (uint32_t)i, &v[i].id);
	}
	qsort(v, *n, sizeof(*v), compare_refs);
	*out = v;
	return E_OK;
}

/* A pack has no gaps (format document 4): an index that says otherwise points at the wrong bytes. */
static enum ecode
check_places(struct check *c, const struct pack_ref *p, struct err *e)
{
	autoclean(pack_list_done) struct pack_list blobs = { 0 };
	uint64_t at = 0;
	enum ecode rc = index_pack_blobs(c->s->index, p->no, &blobs, e);

	for (size_t i = 0; rc == E_OK && i < blobs.n; i++) {
		if (blobs.v[i].offset != at) {
			check_error(c, E_INDEX_FORMAT, "pack", &p->id,
				"the index has a blob at byte %" PRIu32
				" of it; the one before ends at byte %" PRIu64,
				blobs.v[i].offset, at);
			atomic_store(&c->suggest_repair_index, true);
			break;
		}
		at += blobs.v[i].length;
	}
	return rc;
}

static enum ecode
compare_one(
	struct check *c, const struct pack_ref *p, const struct store_entry *there, struct err *e)
{
	if (there->size == p->size)
		return check_places(c, p, e);
	check_error(c, E_STORE_SHORT, "pack", &p->id,
		"it has %" PRIu64 " bytes, the index implies %" PRIu64, there->size, p->size);
	return check_broken(c, &p->id, e);
}

/* Both lists are sorted by id. */
static enum ecode
compare_lists(struct check *c, const struct pack_ref *v, size_t n,
	const struct store_listing *there, struct err *e)
{
	size_t i = 0, j = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && (i < n || j < there->n)) {
		int cmp = i == n ? 1 : j == there->n ? -1 : id_cmp(&v[i].id, &there->v[j].id);

		if (cmp < 0) {
			check_error(c, E_STORE_ABSENT, "pack", &v[i].id,
				"the index names it, but it is not in the vault");
		} else if (cmp > 0) {
			check_hint(c, E_OK, "pack", &there->v[j].id,
				"no index names it; prune would remove it");
			atomic_store(&c->suggest_prune, true);
		} else {
			rc = compare_one(c, &v[i], &there->v[j], e);
		}
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return rc;
}

/* ---- reading ---- */

static enum ecode
same_entries(const struct pack_list *header, const struct pack_list *index, struct err *e)
{
	if (header->n != index->n)
		return err_set(e, E_PACK_FORMAT, 0, "its header lists %zu blobs, the index %zu",
			header->n, index->n);
	for (size_t i = 0; i < header->n; i++) {
		const struct pack_entry *h = &header->v[i], *x = &index->v[i];

		if (id_cmp(&h->id, &x->id) != 0 || h->offset != x->offset ||
			h->length != x->length || h->ulen != x->ulen || h->kind != x->kind)
			return err_set(
				e, E_PACK_FORMAT, 0, "header and index differ at blob %zu", i);
	}
	return E_OK;
}

static enum ecode
check_header(struct check *c, struct blob_codec *codec, const struct buf *bytes,
	const struct pack_list *index, struct err *e)
{
	struct pack_list header = { 0 };
	size_t need = 0;
	enum ecode rc = pack_tail_parse(
		codec, bytes->p, bytes->len, bytes->len, c->s->vault->version, &header, &need, e);

	if (rc == E_OK && need > bytes->len)
		rc = err_set(e, E_PACK_FORMAT, 0, "its header is longer than the pack");
	if (rc == E_OK)
		rc = same_entries(&header, index, e);
	pack_list_done(&header);
	return rc;
}

static enum ecode
check_blobs(struct check *c, struct blob_codec *codec, const struct buf *bytes,
	const struct pack_list *index, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(BLOB_PLAIN_MAX_BYTES);
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < index->n; i++) {
		const struct pack_entry *b = &index->v[i];

		if ((uint64_t)b->offset + b->length > bytes->len)
			return err_set(e, E_STORE_SHORT, 0, "blob %zu ends behind the pack", i);
		rc = blob_open(codec, &b->id, bytes->p + b->offset, b->length, b->ulen, &plain, e);
		if (rc != E_OK) {
			char hex[ID_HEX_SIZE];

			id_hex(&b->id, hex);
			err_note(e, "blob %s at byte %u", hex, b->offset);
		}
		atomic_fetch_add(&c->blobs, 1);
	}
	return rc;
}

static enum ecode
read_pack(struct check *c, struct blob_codec *codec, const struct pack_ref *pack, struct buf *bytes,
	struct err *e)
{
	struct oname name = { O_PACK, pack->id };
	struct pack_list index = { 0 };
	struct id hash;
	enum ecode rc;

	buf_clear(bytes);
	rc = store_get_all(c->s->store, &name, bytes, e);
	if (rc == E_OK)
		rc = index_pack_blobs(c->s->index, pack->no, &index, e);
	if (rc == E_OK)
		hasher_sum(blob_codec_hasher(codec), bytes->p, bytes->len, &hash);
	if (rc == E_OK && id_cmp(&hash, &pack->id) != 0)
		rc = err_set(e, E_OBJECT_HASH, 0, "its bytes do not hash to its name");
	if (rc == E_OK)
		rc = check_header(c, codec, bytes, &index, e);
	if (rc == E_OK)
		rc = check_blobs(c, codec, bytes, &index, e);
	pack_list_done(&index);
	return rc;
}

/* Ours to report as a stop; anything else is about the pack. */
static bool
stops_check(enum ecode rc)
{
	return rc == E_NOMEM || rc == E_CRYPTO || rc == E_BUG;
}

static enum ecode
judge_pack(struct check *c, struct blob_codec *codec, const struct pack_ref *pack,
	struct buf *bytes, struct err *e)
{
	struct err first;
	enum ecode rc = read_pack(c, codec, pack, bytes, e);

	if (rc == E_OK || stops_check(rc))
		return rc;
	first = *e;
	rc = read_pack(c, codec, pack, bytes, e);
	if (stops_check(rc))
		return rc;
	check_error(c, first.code, "pack", &pack->id, "%s%s%s%s", first.detail,
		first.notes > 0 ? ", " : "", first.notes > 0 ? first.note[0] : "",
		rc == E_OK ? "; a second read succeeded: the medium or the memory is failing" : "");
	return check_broken(c, &pack->id, e);
}

static void
pack_drop(struct flow_task *task)
{
	free(task); /* task is the first member */
}

static enum ecode
pack_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct pack_task *t = (struct pack_task *)task; /* task is the first member */
	struct check *c = t->c;
	struct progress *p = c->s->listener->progress;
	struct pack_ref pack = t->pack;
	autoclean(buf_done) struct buf bytes = buf_limit(PACK_BYTES_MAX);
	enum ecode rc = check_stopped(c, e);

	free(t);
	if (rc != E_OK)
		return rc;
	rc = judge_pack(c, c->s->codec[worker], &pack, &bytes, e);
	atomic_fetch_add(&c->packs_read, 1);
	atomic_fetch_add(&c->bytes_read, bytes.len);
	atomic_fetch_add(&p->done_items, 1);
	atomic_fetch_add(&p->done_bytes, pack.size);
	return rc;
}

/* ---- choosing ---- */

static enum ecode
random_u64(struct check *c, uint64_t *v, struct err *e)
{
	int sys = c->s->os->random(c->s->os, v, sizeof(*v));

	return sys < 0 ? err_set(e, E_RANDOM, -sys, "choosing packs") : E_OK;
}

/* Move a random choice to the front: as many as the share of packs or bytes asks for, at least one. */
static enum ecode
choose_random(struct check *c, struct pack_ref *v, size_t *n, struct err *e)
{
	const struct check_args *args = c->args;
	uint64_t bytes = 0, r;
	size_t want = args->read == CHECK_READ_PERCENT
			      ? (size_t)((double)*n * args->percent / 100.0)
			      : *n;
	size_t kept = 0;

	if (want == 0 && *n > 0)
		want = 1;
	while (kept < want && (args->read == CHECK_READ_PERCENT || bytes < args->bytes)) {
		struct pack_ref chosen;
		size_t at;
		enum ecode rc = random_u64(c, &r, e);

		if (rc != E_OK)
			return rc;
		at = kept + (size_t)(r % (*n - kept));
		chosen = v[at];
		v[at] = v[kept];
		v[kept++] = chosen;
		bytes += chosen.size;
	}
	*n = kept;
	return E_OK;
}

static enum ecode
choose(struct check *c, struct pack_ref *v, size_t *n, struct err *e)
{
	size_t kept = 0;

	switch (c->args->read) {
	case CHECK_READ_NONE:
		*n = 0;
		return E_OK;
	case CHECK_READ_ALL:
		return E_OK;
	case CHECK_READ_FRACTION:
		for (size_t i = 0; i < *n; i++) {
			if (v[i].id.b[0] % c->args->t == c->args->n - 1)
				v[kept++] = v[i];
		}
		*n = kept;
		return E_OK;
	case CHECK_READ_PERCENT:
	case CHECK_READ_BYTES:
		return choose_random(c, v, n, e);
	}
	return E_OK;
}

static enum ecode
read_chosen(struct check *c, const struct pack_ref *v, size_t n, struct err *e)
{
	struct progress *p = c->s->listener->progress;
	enum ecode rc;

	for (size_t i = 0; i < n; i++) {
		atomic_fetch_add(&p->total_items, 1);
		atomic_fetch_add(&p->total_bytes, v[i].size);
	}
	atomic_store(&p->totals_final, true);
	for (size_t i = 0; i < n && !flow_stopping(c->s->flow); i++) {
		struct pack_task *t = calloc(1, sizeof(*t));

		if (t == NULL) {
			rc = err_set(e, E_NOMEM, 0, "a pack to check");
			flow_stop(c->s->flow, rc, e);
			break;
		}
		*t = (struct pack_task){ .task = { .run = pack_run,
						 .drop = pack_drop,
						 .cost = session_task_cost(c->s, v[i].size) },
			.c = c,
			.pack = v[i] };
		flow_add_bounded(c->s->flow, &t->task, FLOW_OUTSIDE);
	}
	return flow_finish(c->s->flow, e);
}

enum ecode
check_packs(struct check *c, struct err *e)
{
	struct store_listing there = { 0 };
	struct pack_ref *v = NULL;
	size_t n = 0;
	enum ecode rc = store_list_all(c->s->store, O_PACK, &there, e);

	if (rc == E_OK)
		rc = index_packs(c, &v, &n, e);
	if (rc == E_OK)
		rc = compare_lists(c, v, n, &there, e);
	if (rc == E_OK)
		rc = choose(c, v, &n, e);
	if (rc == E_OK)
		rc = read_chosen(c, v, n, e);
	free(v);
	store_listing_done(&there);
	return rc;
}
