/* The last look before a snapshot refers to what was stored, and the first look at the snapshot itself (R5, X-06). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/backup_internal.h"

void
backup_measure(struct backup *b, const char *fmt, ...)
{
	struct backup_measures *m = &b->measures;
	va_list ap;

	if (m->n == BACKUP_MEASURES_MAX) /* the first ones say most */
		return;
	va_start(ap, fmt);
	(void)vsnprintf(m->text[m->n], BACKUP_MEASURE_BYTES, fmt, ap);
	va_end(ap);
	m->n++;
}

static bool
stopped(void *arg)
{
	const struct listener *l = arg;

	return l->stop(l->arg);
}

enum ecode
prove_stored(struct backup *b, struct err *e)
{
	const struct listener *l = b->s->listener;
	enum commit_proof how = b->args->verify_after;
	struct commit_totals t;
	enum ecode rc;

	if (how == PROOF_NONE)
		return E_OK;
	atomic_store(&l->progress->phase, PHASE_VERIFY);
	rc = commit_prove(b->commit, how, stopped, (void *)(uintptr_t)l, e);
	if (rc != E_OK)
		return rc;
	commit_totals(b->commit, &t);
	l->note(l->arg, "backup_stored_objects_proven", how == PROOF_READ ? "read" : "presence");
	if (how == PROOF_READ)
		backup_measure(b,
			"%" PRIu64 " stored objects (%" PRIu64
			" bytes) were read back and hashed before the snapshot was written",
			t.proved_objects, t.proved_bytes);
	else
		backup_measure(b,
			"%" PRIu64
			" stored objects were seen with their sizes before the snapshot was written",
			t.proved_objects);
	return E_OK;
}

enum ecode
prove_snapshot(struct backup *b, const struct id *id, struct err *e)
{
	const struct oname name = { .kind = O_SNAPSHOT, .id = *id };
	enum ecode rc;

	if (b->args->verify_after == PROOF_NONE)
		return E_OK;
	rc = commit_prove_one(b->s->vault, b->s->own, &name, e);
	if (rc == E_OK)
		backup_measure(b, "the snapshot's record was read back and hashed");
	if (rc == E_PROOF)
		err_note(e, "the snapshot record was written but does not read back; "
			    "all it refers to was stored before");
	return rc;
}
