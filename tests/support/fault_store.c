#include "support/fault_store.h"

#include <stdio.h>
#include <stdlib.h>

static struct fault_store *
fault_of(struct store *st)
{
	return (struct fault_store *)st;
}

static unsigned
mode_ops(enum fault_store_mode mode)
{
	switch (mode) {
	case STORE_REFUSE:
		return ~0U;
	case STORE_LOSE_ACK:
		return OP_BIT(OP_PUT) | OP_BIT(OP_ERASE) | OP_BIT(OP_NOTE_PUT) |
		       OP_BIT(OP_NOTE_ERASE);
	case STORE_CUT:
		return OP_BIT(OP_GET) | OP_BIT(OP_LIST);
	case STORE_CUT_LIST:
		return OP_BIT(OP_LIST);
	case STORE_FLIP:
		return OP_BIT(OP_GET) | OP_BIT(OP_NOTE_GET);
	}
	return 0; /* not reached: -Wswitch-enum proves the list above */
}

static bool
covers(const struct fault_store_plan *plan, enum store_op op, unsigned kind)
{
	unsigned ops = mode_ops(plan->mode) & (plan->ops == 0 ? ~0U : plan->ops);

	return plan->nth != 0 && (ops & OP_BIT(op)) != 0 &&
	       (plan->kinds == 0 || (plan->kinds & 1U << kind) != 0);
}

/* Count the call; true when the fault is to happen now. */
static bool
enter(struct fault_store *f, enum store_op op, unsigned kind)
{
	bool fire = false;

	(void)pthread_mutex_lock(&f->lock);
	f->calls++;
	f->op_calls[op]++;
	if (covers(&f->plan, op, kind)) {
		f->eligible++;
		fire = f->plan.forever ? f->eligible >= f->plan.nth : f->eligible == f->plan.nth;
	}
	if (fire)
		f->fired++;
	(void)pthread_mutex_unlock(&f->lock);
	return fire;
}

static enum ecode
refuse(const struct fault_store *f, const char *what, struct err *e)
{
	return err_set(e, f->plan.code, 0, "injected into %s", what);
}

static enum ecode
fs_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct fault_store *f = fault_of(st);
	enum ecode rc;

	if (!enter(f, OP_PUT, name->kind))
		return store_put(f->under, name, parts, n, e);
	if (f->plan.mode == STORE_REFUSE)
		return refuse(f, "put", e);
	rc = store_put(f->under, name, parts, n, e);
	return rc == E_OK ? refuse(f, "the answer of put", e) : rc;
}

static enum ecode
fs_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct fault_store *f = fault_of(st);
	bool fire = enter(f, OP_GET, name->kind);
	size_t before = out->len;
	enum ecode rc;

	if (fire && f->plan.mode == STORE_REFUSE)
		return refuse(f, "get", e);
	rc = store_get(f->under, name, off, len, out, e);
	if (rc != E_OK || !fire)
		return rc;
	if (f->plan.mode == STORE_CUT)
		out->len = before + len / 2;
	else if (len > 0)
		out->p[before + len / 2] ^= 1;
	return E_OK;
}

static enum ecode
fs_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	struct fault_store *f = fault_of(st);

	if (enter(f, OP_STAT, name->kind))
		return refuse(f, "stat", e);
	return store_stat(f->under, name, size, e);
}

/* Tell the first `n` entries. */
static enum ecode
tell(const struct store_listing *l, size_t n,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < n; i++)
		rc = each(arg, &l->v[i], e);
	return rc;
}

static enum ecode
fs_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	struct fault_store *f = fault_of(st);
	autoclean(store_listing_done) struct store_listing now = { 0 };
	bool fire = enter(f, OP_LIST, kind);
	const struct store_listing *shown = f->frozen ? &f->past[kind] : &now;
	enum ecode rc;

	if (fire && f->plan.mode == STORE_REFUSE)
		return refuse(f, "list", e);
	rc = store_list_all(f->under, kind, &now, e);
	if (rc == E_OK)
		rc = tell(shown, fire ? shown->n / 2 : shown->n, each, arg, e);
	if (rc == E_OK && fire && f->plan.mode == STORE_CUT_LIST)
		rc = refuse(f, "the middle of list", e);
	return rc;
}

static enum ecode
fs_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct fault_store *f = fault_of(st);
	enum ecode rc;

	if (!enter(f, OP_ERASE, name->kind))
		return f->under->ops->erase(f->under, name, e);
	if (f->plan.mode == STORE_REFUSE)
		return refuse(f, "erase", e);
	rc = f->under->ops->erase(f->under, name, e);
	return rc == E_OK ? refuse(f, "the answer of erase", e) : rc;
}

static enum ecode
fs_prepare(struct store *st, struct err *e)
{
	struct fault_store *f = fault_of(st);

	if (enter(f, OP_PREPARE, O_CONFIG))
		return refuse(f, "prepare", e);
	return store_prepare(f->under, e);
}

static enum ecode
fs_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	struct fault_store *f = fault_of(st);
	bool fire = enter(f, OP_NOTE_PUT, KIND_NOTE);
	enum ecode rc;

	if (fire && f->plan.mode == STORE_REFUSE)
		return refuse(f, "note_put", e);
	rc = store_note_put(f->under, name, bytes, e);
	return rc == E_OK && fire ? refuse(f, "the answer of note_put", e) : rc;
}

static enum ecode
fs_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	struct fault_store *f = fault_of(st);
	bool fire = enter(f, OP_NOTE_GET, KIND_NOTE);
	size_t before = out->len;
	enum ecode rc;

	if (fire && f->plan.mode == STORE_REFUSE)
		return refuse(f, "note_get", e);
	rc = store_note_get(f->under, name, out, e);
	if (rc == E_OK && fire && out->len > before)
		out->p[before + (out->len - before) / 2] ^= 1;
	return rc;
}

static enum ecode
fs_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	struct fault_store *f = fault_of(st);

	if (enter(f, OP_NOTE_LIST, KIND_NOTE))
		return refuse(f, "note_list", e);
	return store_note_list(f->under, each, arg, e);
}

static enum ecode
fs_note_erase(struct store *st, const char *name, struct err *e)
{
	struct fault_store *f = fault_of(st);
	bool fire = enter(f, OP_NOTE_ERASE, KIND_NOTE);
	enum ecode rc;

	if (fire && f->plan.mode == STORE_REFUSE)
		return refuse(f, "note_erase", e);
	rc = store_note_erase(f->under, name, e);
	return rc == E_OK && fire ? refuse(f, "the answer of note_erase", e) : rc;
}

static enum ecode
fs_probe(struct store *st, struct store_health *out, struct err *e)
{
	struct fault_store *f = fault_of(st);

	if (enter(f, OP_PROBE, KIND_NOTE))
		return refuse(f, "probe", e);
	return store_probe(f->under, out, e);
}

static void
fs_go_cold(struct store *st, const struct oname *name)
{
	store_go_cold(fault_of(st)->under, name);
}

static enum ecode
fs_secure(struct store *st, enum okind kind, struct err *e)
{
	return store_secure(fault_of(st)->under, kind, e);
}

static void
fs_close(struct store *st)
{
	struct fault_store *f = fault_of(st);

	store_close(&f->under);
	fault_store_thaw(f);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct store_ops fault_ops = {
	.put = fs_put,
	.get = fs_get,
	.stat = fs_stat,
	.list = fs_list,
	.erase = fs_erase,
	.prepare = fs_prepare,
	.close = fs_close,
	.note_put = fs_note_put,
	.note_get = fs_note_get,
	.note_list = fs_note_list,
	.note_erase = fs_note_erase,
	.probe = fs_probe,
	.go_cold = fs_go_cold,
	.secure = fs_secure,
};

struct fault_store *
fault_store_open(struct store *under)
{
	struct fault_store *f = calloc(1, sizeof(*f));

	if (f == NULL)
		abort();
	f->st = (struct store){
		.ops = &fault_ops, .location = under->location, .connections = under->connections
	};
	f->under = under;
	(void)pthread_mutex_init(&f->lock, NULL);
	return f;
}

void
fault_store_set_plan(struct fault_store *f, struct fault_store_plan plan)
{
	(void)pthread_mutex_lock(&f->lock);
	f->plan = plan;
	f->calls = 0;
	f->eligible = 0;
	f->fired = 0;
	for (unsigned i = 0; i < OP_COUNT; i++)
		f->op_calls[i] = 0;
	(void)pthread_mutex_unlock(&f->lock);
}

void
fault_store_freeze(struct fault_store *f)
{
	struct err e;

	for (unsigned kind = O_KEY; kind < O_KINDS; kind++) {
		if (store_list_all(f->under, (enum okind)kind, &f->past[kind], &e) != E_OK) {
			(void)fprintf(stderr, "fault_store: %s\n", e.detail);
			abort();
		}
	}
	f->frozen = true;
}

void
fault_store_thaw(struct fault_store *f)
{
	f->frozen = false;
	for (unsigned kind = 0; kind < O_KINDS; kind++)
		store_listing_done(&f->past[kind]);
}
