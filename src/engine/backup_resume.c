/*
 * The incomplete record of a run, and what an interrupted run left (D-4, X-18,
 * L-32).  The record is there before the first object of the run and goes after
 * its snapshot; whoever finds one whose writer is provably gone continues from
 * its checkpoint.  Nothing in it is believed beyond "this tree was durable": every
 * file is compared with it as with a parent's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/backup_internal.h"
#include "engine/backup_local.h"

/* ---- what this run says of itself ---- */

static enum ecode
own_id(struct backup *b, struct arena *a, struct err *e)
{
	const char *given = b->args->run_id;
	uint8_t bits[16];
	char text[2 * sizeof(bits) + 1];
	int rc;

	if (given != NULL)
		return arena_str(a, given, strlen(given), &b->resume.own.run_id, e);
	rc = b->s->os->random(b->s->os, bits, sizeof(bits));
	if (rc < 0)
		return err_set(e, E_RANDOM, -rc, "naming a run");
	for (size_t i = 0; i < sizeof(bits); i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bits[i]);
	return arena_str(a, text, strlen(text), &b->resume.own.run_id, e);
}

static enum ecode
describe(struct backup *b, struct record *rec, struct err *e)
{
	struct incomplete *own = &b->resume.own;
	enum ecode rc = own_id(b, &rec->arena, e);

	own->host = rec->next.hostname;
	own->username = rec->next.username;
	own->started = b->s->os->wall(b->s->os);
	own->paths = rec->next.paths;
	own->path_count = rec->next.path_count;
	return rc == E_OK ? identity_self(b->s->os, &own->owner, e) : rc;
}

enum ecode
resume_record(struct backup *b, struct err *e)
{
	struct resume *r = &b->resume;
	const char *state = b->args->state_dir;
	bool notes = store_has_notes(b->s->store);
	enum ecode rc = E_OK, beside = E_OK;
	struct err why;

	r->own.updated = b->s->os->wall(b->s->os);
	if (notes)
		rc = incomplete_write(b->s, &r->own, e);
	/* without a checkpoint the copy says nothing that the vault does not */
	if (state != NULL && (r->own.has_tree || !notes)) {
		r->local = true;
		beside = local_put(b->s, state, &r->own, &why);
	}
	if (rc == E_OK && beside != E_OK && e != NULL)
		*e = why;
	return rc == E_OK ? beside : rc;
}

/* ---- what earlier runs left ---- */

struct search {
	struct backup *b;
	const struct record *rec;
	const struct incomplete *best;
	size_t room;
};

static bool
same_slice(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static bool
same_sources(const struct record *rec, const struct incomplete *i)
{
	if (!same_slice(i->host, rec->next.hostname) || i->path_count != rec->next.path_count)
		return false;
	for (size_t k = 0; k < i->path_count; k++) {
		if (!same_slice(i->paths[k], rec->next.paths[k]))
			return false;
	}
	return true;
}

static void
remember(struct search *at, const char *run_id, bool in_vault)
{
	struct resume *r = &at->b->resume;
	size_t i = 0;

	while (i < r->old_n && strcmp(r->old[i].run_id, run_id) != 0)
		i++;
	if (i == at->room)
		return;
	if (i == r->old_n)
		r->old[r->old_n++] = (struct old_run){ .run_id = run_id };
	if (in_vault)
		r->old[i].in_vault = true;
	else
		r->old[i].in_state = true;
}

/* Of this run's sources and over: it ends with this run's success. */
static void
consider(struct search *at, const struct incomplete *i, enum incomplete_state state, bool in_vault)
{
	struct backup *b = at->b;

	if (!same_sources(at->rec, i) || state != INCOMPLETE_DEAD)
		return;
	remember(at, i->run_id, in_vault);
	if (!i->has_tree || (at->best != NULL && instant_cmp(i->updated, at->best->updated) <= 0))
		return;
	if (index_has(b->s->index, BLOB_TREE, &i->tree))
		at->best = i;
	else
		backup_warning(b, i->run_id, E_BLOB_ABSENT,
			"what this interrupted run finished is missing from the vault; it is read again");
}

static void
tell_unreadable(struct backup *b, size_t n, const char *where)
{
	char why[160];

	if (n == 0)
		return;
	(void)snprintf(why, sizeof(why),
		"%zu record%s of interrupted runs cannot be trusted; ignored, and kept for whoever looks into it",
		n, n == 1 ? "" : "s");
	backup_warning(b, where, E_SEAL_MAC, why);
}

static void
load_local(struct backup *b, struct arena *a, struct incomplete_list *out)
{
	struct err why;

	*out = (struct incomplete_list){ 0 };
	if (b->args->state_dir == NULL ||
		local_load(b->s, b->args->state_dir, a, out, &why) == E_OK)
		return;
	*out = (struct incomplete_list){ 0 };
	backup_warning(b, b->args->state_dir, why.code,
		"the checkpoints in the state directory could not be read");
}

static enum ecode
search_all(struct search *at, struct arena *a, struct err *e)
{
	struct backup *b = at->b;
	struct incomplete_list vault = { 0 }, local;
	void *p;
	enum ecode rc = E_OK;

	if (store_has_notes(b->s->store))
		rc = incomplete_list_load(b->s, a, &vault, e);
	if (rc != E_OK)
		return rc;
	load_local(b, a, &local);
	at->room = vault.n + local.n;
	rc = arena_alloc(a, at->room * sizeof(*b->resume.old), &p, e);
	if (rc != E_OK)
		return rc;
	b->resume.old = p;
	for (size_t i = 0; i < vault.n; i++)
		consider(at, &vault.v[i], vault.state[i], true);
	for (size_t i = 0; i < local.n; i++)
		consider(at, &local.v[i], local.state[i], false);
	tell_unreadable(b, vault.unreadable, b->s->store->location);
	tell_unreadable(b, local.unreadable, b->args->state_dir);
	return E_OK;
}

static void
continue_from(struct backup *b, const struct incomplete *i)
{
	const struct listener *l = b->s->listener;
	char text[256];

	b->done_tree = i->tree;
	b->has_done_tree = true;
	b->continued_from = i->run_id;
	(void)snprintf(text, sizeof(text),
		"continues run %s, which had finished %" PRIu64 " files with %" PRIu64
		" bytes: what has not changed since is not read again",
		i->run_id, i->files, i->bytes);
	l->note(l->arg, "resumed_from", text);
}

enum ecode
resume_begin(struct backup *b, struct record *rec, struct err *e)
{
	const struct backup_args *args = b->args;
	struct search at = { .b = b, .rec = rec };
	enum ecode rc;

	if (args->dry_run || (!store_has_notes(b->s->store) && args->state_dir == NULL))
		return E_OK;
	rc = describe(b, rec, e);
	if (rc == E_OK)
		rc = search_all(&at, &rec->arena, e);
	if (rc != E_OK)
		return rc;
	if (at.best != NULL && !args->no_resume && !args->force && args->stdin_name == NULL)
		continue_from(b, at.best);
	rc = resume_record(b, e);
	b->resume.announced = rc == E_OK;
	if (rc != E_LIMIT)
		return rc;
	backup_warning(b, b->resume.own.run_id, rc,
		"there are too many sources for a record of this run; if it is interrupted, all is read again");
	return E_OK;
}

/* ---- the end ---- */

static void
forget(struct backup *b, const char *run_id, bool in_vault, bool in_state)
{
	struct err why = { .code = E_OK };
	enum ecode rc = E_OK;

	if (in_vault && store_has_notes(b->s->store))
		rc = incomplete_erase(b->s, run_id, &why);
	if (rc == E_OK && in_state)
		rc = local_erase(b->s, b->args->state_dir, run_id, &why);
	if (rc != E_OK)
		backup_warning(b, run_id, rc,
			"the record of this run could not be removed; it says incomplete, the snapshot is whole");
}

/* The stored data itself is in doubt: no tree of this moment is worth continuing from. */
static bool
data_doubtful(enum ecode rc)
{
	enum eclass class = err_row(rc)->class;

	return class == CLASS_VERIFY_FAILED || class == CLASS_TAMPER ||
	       class == CLASS_ROLLBACK_DETECTED;
}

static void
keep(struct backup *b, enum ecode rc, struct err *e)
{
	struct incomplete *own = &b->resume.own;
	struct err why;

	own->ended = true;
	own->ended_how = err_row(rc)->name;
	if (b->durable && b->root_done && !data_doubtful(rc)) {
		own->has_tree = true;
		own->tree = b->root_tree;
		own->files = atomic_load(&b->files);
		own->bytes = atomic_load(&b->bytes);
	}
	if (resume_record(b, &why) != E_OK)
		err_note(e, "the record of this run could not be written: %s", why.detail);
}

enum ecode
resume_end(struct backup *b, struct record *rec, enum ecode rc, struct err *e)
{
	const struct resume *r = &b->resume;

	(void)rec;
	if (!r->announced)
		return rc;
	if (rc != E_OK && rc != E_PARTIAL) {
		keep(b, rc, e);
		return rc;
	}
	/* own last: until then there is a record of whatever the others left */
	for (size_t i = 0; i < r->old_n; i++)
		forget(b, r->old[i].run_id, r->old[i].in_vault, r->old[i].in_state);
	forget(b, r->own.run_id, true, r->local);
	return rc;
}
