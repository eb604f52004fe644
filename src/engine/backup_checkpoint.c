/*
 * Checkpoints: from time to time, what is finished so far becomes a tree of its
 * own, durable and indexed, and the run's incomplete record names it (issue 3
 * point 6, X-18).  The next run compares with that tree as with a parent's.
 *
 * The live jobs are read under live_lock: a job that is in the list is not
 * freed, and a child that is done stays as it is.  A job is always older than
 * those below it, and the list is newest first: one pass goes from the deepest up.
 *
 * What an earlier run finished and this one has not come to yet is carried on:
 * two interruptions do not cost more than one.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/backup_internal.h"

/* How often the thread looks: what a fast disk gives in between is small beside any useful interval, and 50 looks a second cost nothing. */
#define CHECKPOINT_LOOK_NS UINT64_C(20000000)
#define NS_PER_S           UINT64_C(1000000000)

/* ---- the tree of what is finished ---- */

static const struct dir_job *
partial_of(const struct dir_job *job, size_t number)
{
	/* only directories somebody has begun: about as many as there are workers */
	for (const struct dir_job *d = job->partials; d != NULL; d = d->partial_next) {
		if (d->up_child == number)
			return d;
	}
	return NULL;
}

/* What a checkpoint says of one entry; false: nothing. */
static bool
child_so_far(const struct dir_job *job, size_t number, struct node *out)
{
	const struct child *c = &job->child[number];
	const struct dir_job *below;
	int state = atomic_load(&c->state);

	if (state == CHILD_DROPPED)
		return false;
	if (state == CHILD_DONE) {
		*out = c->node;
		return true;
	}
	below = partial_of(job, number);
	if (below != NULL) {
		*out = c->node;
		out->subtree = below->partial;
		out->has_subtree = true;
		return true;
	}
	if (c->done == NULL)
		return false;
	*out = *c->done;
	return true;
}

/* Write job->partial; *any is false when there is nothing to say. */
static enum ecode
write_partial(struct dir_job *job, bool *any, struct err *e)
{
	struct backup *b = job->b;
	struct buf *text = &b->checkpoint.text;
	struct blob_added added;
	struct tree_writer tw;
	struct node node;
	enum ecode rc;

	*any = false;
	buf_clear(text);
	rc = tree_begin(&tw, text, e);
	for (size_t i = 0; rc == E_OK && i < job->n; i++) {
		if (!child_so_far(job, i, &node))
			continue;
		node.name = (struct slice){ (const uint8_t *)job->child[i].name,
			strlen(job->child[i].name) }; /* outlives the writer */
		rc = tree_put(&tw, &node, e);
		*any = true;
	}
	if (rc != E_OK || !*any)
		return rc;
	rc = tree_end(&tw, e);
	if (rc != E_OK)
		return rc;
	blob_id(b->s->own, text->p, text->len, &job->partial);
	return commit_blob(
		b->commit, b->s->own, BLOB_TREE, &job->partial, text->p, text->len, &added, e);
}

/* live_lock is held. */
static enum ecode
gather(struct backup *b, struct id *root, bool *found, struct err *e)
{
	enum ecode rc = E_OK;

	for (struct dir_job *job = b->live; job != NULL; job = job->live_next)
		job->partials = NULL;
	for (struct dir_job *job = b->live; rc == E_OK && job != NULL; job = job->live_next) {
		bool any = false;

		if (!atomic_load(&job->planned))
			continue;
		rc = write_partial(job, &any, e);
		if (rc != E_OK || !any)
			continue;
		if (job->up == NULL) {
			*root = job->partial;
			*found = true;
			continue;
		}
		job->partial_next = job->up->partials;
		job->up->partials = job;
	}
	return rc;
}

/* ---- taking one ---- */

static enum ecode
store_partial(struct backup *b, bool *found, struct err *e)
{
	struct commit_totals totals;
	struct incomplete *own = &b->resume.own;
	struct id tree;
	enum ecode rc;

	pthread_mutex_lock(&b->live_lock);
	rc = gather(b, &tree, found, e);
	pthread_mutex_unlock(&b->live_lock);
	if (rc == E_OK && *found)
		rc = commit_sync(b->commit, b->s->own, e);
	if (rc != E_OK || !*found)
		return rc;
	commit_totals(b->commit, &totals);
	own->has_tree = true;
	own->tree = tree;
	own->files = atomic_load(&b->files);
	own->bytes = atomic_load(&b->bytes);
	own->stored_bytes = totals.stored_bytes;
	return E_OK;
}

/* The data is not concerned: the run goes on, and says once that an interruption would cost more. */
static void
tell_unwritten(struct backup *b, const struct err *why)
{
	struct checkpoint *c = &b->checkpoint;

	if (c->told)
		return;
	c->told = true;
	backup_warning(b, b->resume.own.run_id, why->code,
		"a checkpoint could not be written down; if this run is interrupted, more is read again");
}

static void
take(struct backup *b)
{
	uint64_t read = atomic_load(&b->bytes_read);
	bool found = false;
	struct err why;

	if (store_partial(b, &found, &why) != E_OK)
		return; /* the commit keeps its refusal: the run ends with it */
	b->checkpoint.read_before = read;
	if (!found)
		return;
	if (resume_record(b, &why) == E_OK)
		b->checkpoint.taken++;
	else
		tell_unwritten(b, &why);
}

/* ---- when ---- */

static uint64_t
now_ns(const struct backup *b)
{
	return b->s->os->monotonic_ns(b->s->os);
}

static uint64_t
interval_ns(const struct backup *b)
{
	return (b->args->checkpoint_s == 0 ? CHECKPOINT_S : b->args->checkpoint_s) * NS_PER_S;
}

/* Only what was read is worth one: an unchanged tree costs nothing. */
static bool
is_due(const struct backup *b, uint64_t now)
{
	uint64_t every =
		b->args->checkpoint_bytes == 0 ? CHECKPOINT_BYTES : b->args->checkpoint_bytes;
	uint64_t fresh = atomic_load(&b->bytes_read) - b->checkpoint.read_before;

	return fresh >= every || (fresh > 0 && now >= b->checkpoint.due_ns);
}

static uint64_t
look(void *arg)
{
	struct backup *b = arg;
	uint64_t now = now_ns(b);

	if (is_due(b, now)) {
		take(b);
		now = now_ns(b);
		b->checkpoint.due_ns = now + interval_ns(b);
	}
	return now + CHECKPOINT_LOOK_NS;
}

enum ecode
checkpoint_begin(struct backup *b, struct err *e)
{
	struct checkpoint *c = &b->checkpoint;

	if (!b->resume.announced)
		return E_OK;
	c->text.limit = BLOB_PLAIN_MAX_BYTES;
	if (c->due_ns == 0)
		c->due_ns = now_ns(b) + interval_ns(b);
	return b->s->threads == 0 ? E_OK : pulse_start(&c->pulse, look, b, e);
}

void
checkpoint_end(struct backup *b)
{
	pulse_stop(&b->checkpoint.pulse);
	buf_done(&b->checkpoint.text);
}

void
checkpoint_poll(struct backup *b)
{
	if (b->s->threads == 0 && b->resume.announced && b->args->stdin_name == NULL)
		(void)look(b);
}

/* Evidence first: after a refusal that makes the data doubtful the last checkpoint stays as it is. */
void
checkpoint_last(struct backup *b, enum ecode why)
{
	if (!b->resume.announced || strcmp(eclass_severity(err_row(why)->class), "SEV-1") == 0)
		return;
	b->checkpoint.text.limit = BLOB_PLAIN_MAX_BYTES;
	take(b);
	buf_done(&b->checkpoint.text);
}
