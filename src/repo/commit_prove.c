/*
 * What a run stored is looked at again before anything refers to it (R5, X-06):
 * an acknowledgement is a promise, not a proof.  Presence compares sizes; read
 * takes every byte from the medium once more and hashes it to its name.
 *
 * A flaw ends in a refusal even when a second look finds nothing wrong: bytes
 * that are right only sometimes are damage (D-22).  The second look is for the
 * person who has to find the cause.
 */
#include "repo/commit_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Up to here each object is asked for by its name; above, one listing a kind is cheaper on most stores. */
#define PROVE_BY_NAME_MAX 4096U
#define STORED_FIRST      64U
/* one read; objects are 16 MiB and more */
#define PROVE_PIECE_BYTES ((size_t)1 << 20)
/* objects that a refusal names; the rest is a number */
#define PROVE_NAMED_MAX   ERR_NOTES_MAX

enum ecode
stored_add(struct stored_list *l, const struct oname *name, uint64_t size, struct err *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? STORED_FIRST : l->cap * 2;
		struct stored *v = realloc(l->v, cap * sizeof(*v));

		if (v == NULL)
			return err_set(e, E_NOMEM, 0, "%zu stored objects", cap);
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct stored){ .name = *name, .size = size };
	return E_OK;
}

/* What one look at all objects found.  `lock` of the commit guards it. */
struct proof {
	struct commit *c;
	bool (*stopped)(void *arg);
	void *arg;
	uint64_t flawed, read_bytes;
	char flaw[PROVE_NAMED_MAX][ERR_NOTE_BYTES];
};

static void
tell_flaw(struct proof *p, const struct oname *name, const char *what)
{
	char text[ONAME_TEXT_MAX];

	oname_text(name, text);
	commit_take(&p->c->lock);
	if (p->flawed < PROVE_NAMED_MAX)
		(void)snprintf(p->flaw[p->flawed], ERR_NOTE_BYTES, "%s: %.*s", text,
			(int)(ERR_NOTE_BYTES - sizeof(text) - 3),
			what); /* a cut text still says most */
	p->flawed++;
	commit_give(&p->c->lock);
}

static enum ecode
verdict(const struct proof *p, const char *how, struct err *e)
{
	if (p->flawed == 0)
		return E_OK;
	err_set(e, E_PROOF, 0,
		"%" PRIu64 " of %zu objects of this run failed: %s; no snapshot was written",
		p->flawed, p->c->stored.n, how);
	for (size_t i = 0; i < p->flawed && i < PROVE_NAMED_MAX; i++)
		err_note(e, "%s", p->flaw[i]);
	return E_PROOF;
}

/* ---- presence ---- */

static void
judge_size(struct proof *p, const struct stored *s, uint64_t size)
{
	char what[96];

	if (size == s->size)
		return;
	(void)snprintf(what, sizeof(what), "it has %" PRIu64 " bytes, %" PRIu64 " were stored",
		size, s->size);
	tell_flaw(p, &s->name, what);
}

static enum ecode
ask_one(struct proof *p, const struct stored *s, struct err *e)
{
	struct err why = { .code = E_OK };
	uint64_t size = 0;
	enum ecode rc = store_stat(p->c->v->store, &s->name, &size, &why);

	if (rc == E_NOMEM)
		return err_set(e, rc, why.sys, "%s", why.detail);
	if (rc == E_STORE_ABSENT)
		tell_flaw(p, &s->name, "it is not there any more");
	else if (rc != E_OK)
		tell_flaw(p, &s->name, why.detail);
	else
		judge_size(p, s, size);
	return E_OK;
}

static enum ecode
ask_each(struct proof *p, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < p->c->stored.n; i++)
		rc = ask_one(p, &p->c->stored.v[i], e);
	return rc;
}

static const struct store_entry *
find_entry(const struct store_listing *l, const struct id *id)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (id_cmp(&l->v[mid].id, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n && id_cmp(&l->v[lo].id, id) == 0 ? &l->v[lo] : NULL;
}

static enum ecode
compare_kind(struct proof *p, enum okind kind, struct err *e)
{
	autoclean(store_listing_done) struct store_listing l = { .n = 0 };
	enum ecode rc = store_list_all(p->c->v->store, kind, &l, e);

	for (size_t i = 0; rc == E_OK && i < p->c->stored.n; i++) {
		const struct stored *s = &p->c->stored.v[i];
		const struct store_entry *entry = find_entry(&l, &s->name.id);

		if (s->name.kind != kind)
			continue;
		if (entry == NULL)
			tell_flaw(p, &s->name, "it is not listed any more");
		else
			judge_size(p, s, entry->size);
	}
	return rc;
}

static enum ecode
prove_presence(struct proof *p, struct err *e)
{
	enum ecode rc;

	if (p->c->stored.n <= PROVE_BY_NAME_MAX)
		return ask_each(p, e);
	rc = compare_kind(p, O_PACK, e);
	return rc == E_OK ? compare_kind(p, O_INDEX, e) : rc;
}

/* ---- reading ---- */

/* Every byte of an object, from the medium where that can be arranged. */
struct rereading {
	struct store *st;
	struct hasher *hasher;
	const struct oname *name;
	uint64_t size;
	bool (*stopped)(void *arg); /* may be NULL */
	void *arg;
};

static enum ecode
read_pieces(const struct rereading *r, struct buf *piece, struct err *e)
{
	enum ecode rc = E_OK;

	for (uint64_t at = 0; rc == E_OK && at < r->size;) {
		uint64_t left = r->size - at;
		size_t want = left < PROVE_PIECE_BYTES ? (size_t)left : PROVE_PIECE_BYTES;

		if (r->stopped != NULL && r->stopped(r->arg))
			return err_set(e, E_FLOW_STOPPED, 0, "while reading back what was stored");
		buf_clear(piece);
		rc = store_get(r->st, r->name, at, want, piece, e);
		if (rc == E_OK)
			hasher_add(r->hasher, piece->p, piece->len);
		at += want;
	}
	return rc;
}

/* E_OBJECT_HASH when the bytes are not the ones of this name; else what the store refused. */
static enum ecode
read_once(const struct rereading *r, struct err *e)
{
	autoclean(buf_done) struct buf piece = buf_limit(PROVE_PIECE_BYTES);
	uint64_t size = 0;
	struct id id;
	enum ecode rc;

	store_go_cold(r->st, r->name);
	rc = store_stat(r->st, r->name, &size, e);
	if (rc == E_OK && size != r->size)
		return err_set(e, E_STORE_SHORT, 0,
			"it has %" PRIu64 " bytes, %" PRIu64 " were stored", size, r->size);
	hasher_begin(r->hasher);
	if (rc == E_OK)
		rc = read_pieces(r, &piece, e);
	hasher_end(r->hasher, &id);
	if (rc == E_OK && id_cmp(&id, &r->name->id) != 0)
		rc = err_set(e, E_OBJECT_HASH, 0, "its bytes are not those that were stored");
	return rc;
}

/* E_PROOF: flawed, and `flaw` says how.  E_OK, E_FLOW_STOPPED, E_NOMEM: as they are. */
static enum ecode
reread(const struct rereading *r, char flaw[static ERR_NOTE_BYTES], struct err *e)
{
	struct err first = { .code = E_OK }, second = { .code = E_OK };
	enum ecode rc = read_once(r, &first);

	if (rc == E_FLOW_STOPPED || rc == E_NOMEM) {
		if (e != NULL)
			*e = first;
		return rc;
	}
	if (rc == E_OK)
		return rc;
	if (rc == E_STORE_ABSENT)
		(void)snprintf(flaw, ERR_NOTE_BYTES, "it is not there any more");
	else if (read_once(r, &second) == E_OK)
		(void)snprintf(flaw, ERR_NOTE_BYTES,
			"it was read right only the second time; first: %.150s", first.detail);
	else
		(void)snprintf(flaw, ERR_NOTE_BYTES, "%.200s", first.detail);
	return E_PROOF;
}

struct prove_task {
	struct flow_task task; /* first: the flow gives it back */
	struct proof *proof;
	const struct stored *stored;
};

static void
prove_drop(struct flow_task *task)
{
	(void)task; /* part of an array */
}

static enum ecode
prove_run(struct flow_task *task, unsigned worker, struct err *e)
{
	const struct prove_task *t = (const struct prove_task *)task;
	struct proof *p = t->proof;
	struct rereading r = { .st = p->c->v->store,
		.hasher = blob_codec_hasher(p->c->codecs[worker]),
		.name = &t->stored->name,
		.size = t->stored->size,
		.stopped = p->stopped,
		.arg = p->arg };
	char flaw[ERR_NOTE_BYTES];
	enum ecode rc = reread(&r, flaw, e);

	if (rc == E_PROOF) {
		tell_flaw(p, r.name, flaw);
		return E_OK; /* the others are looked at, too */
	}
	if (rc == E_OK) {
		commit_take(&p->c->lock);
		p->read_bytes += r.size;
		commit_give(&p->c->lock);
	}
	return rc;
}

/* With the commit's own writers, which have nothing to write any more. */
static enum ecode
prove_read(struct proof *p, struct err *e)
{
	const struct stored_list *l = &p->c->stored;
	struct prove_task *tasks = calloc(l->n, sizeof(*tasks));
	enum ecode rc;

	if (tasks == NULL && l->n > 0)
		return err_set(e, E_NOMEM, 0, "to read %zu objects back", l->n);
	for (size_t i = 0; i < l->n; i++) {
		tasks[i] = (struct prove_task){
			.task = { .run = prove_run, .drop = prove_drop, .cost = 1 },
			.proof = p,
			.stored = &l->v[i],
		};
		flow_add(p->c->flow, &tasks[i].task);
	}
	rc = flow_finish(p->c->flow, e);
	free(tasks);
	return rc;
}

enum ecode
commit_prove(struct commit *c, enum commit_proof how, bool (*stopped)(void *arg), void *arg,
	struct err *e)
{
	struct proof p = { .c = c, .stopped = stopped, .arg = arg };
	enum ecode rc = E_OK;

	switch (how) {
	case PROOF_NONE:
		return E_OK;
	case PROOF_PRESENCE:
		rc = prove_presence(&p, e);
		break;
	case PROOF_READ:
		rc = prove_read(&p, e);
		break;
	}
	if (rc == E_OK)
		rc = verdict(&p, how == PROOF_READ ? "read back" : "presence and size", e);
	if (rc != E_OK)
		return rc;
	commit_take(&c->lock);
	c->totals.proved_objects = c->stored.n;
	c->totals.proved_bytes = p.read_bytes;
	commit_give(&c->lock);
	return E_OK;
}

enum ecode
commit_prove_one(struct vault *v, struct blob_codec *codec, const struct oname *name, struct err *e)
{
	struct rereading r = { .st = v->store, .hasher = blob_codec_hasher(codec), .name = name };
	char flaw[ERR_NOTE_BYTES], text[ONAME_TEXT_MAX];
	struct err why = { .code = E_OK };
	enum ecode rc = store_stat(v->store, name, &r.size, &why);

	/* its name is the hash of its bytes: any other size shows there */
	if (rc == E_OK)
		rc = reread(&r, flaw, &why);
	else
		(void)snprintf(flaw, sizeof(flaw), "%.200s", why.detail);
	if (rc == E_OK || rc == E_NOMEM) {
		if (rc != E_OK && e != NULL)
			*e = why;
		return rc;
	}
	oname_text(name, text);
	return err_set(e, E_PROOF, why.sys, "%s: %s", text, flaw);
}
