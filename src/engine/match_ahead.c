/*
 * A ring of batches with three running numbers, head <= begun <= fill: told up
 * to head, given to somebody up to begun, closed up to fill, which is the one
 * being filled.  Batches are begun in order, so that all before a refusal are
 * done or under way.
 *
 * A task of the flow is no batch but a call for a worker ("take the next one
 * until there is none"): the walking thread may have taken a batch itself
 * before the task runs, and a busy worker needs no call.
 */
#include "engine/match_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * A batch ends with the first of these.  Records: 64 tiny files are a millisecond of work, a hundred times what handing
 * over costs.  Bytes of content: another millisecond; larger files go alone.
 */
#define BATCH_RECORDS      64
#define BATCH_BYTES        ((uint64_t)1 << 20)
#define BATCH_COPIED_BYTES ((size_t)128 << 10) /* 64 records of 2 KiB */
#define BATCH_DIRS         8
/* Descriptors: the usual limit of a process is 1024, and each worker opens one more. */
#define AHEAD_DIRS         64
/* Bytes of copies; a node of a file of a TiB is 22 MB, and goes alone when it is more than all of it. */
#define AHEAD_COPIED_BYTES ((size_t)32 << 20)
/* One node: not more than the tree it comes from (inspect.c) */
#define BATCH_ARENA_BYTES  ((size_t)1 << 33)

struct batch {
	struct arena arena;
	struct match_item *first, *last;
	struct match_dir *dir[BATCH_DIRS];
	unsigned dirs;
	size_t records;
	uint64_t bytes;             /* of content to be read */
	bool done;                  /* under the lock */
	struct match_item *stopped; /* at this one; NULL: all were compared */
	enum ecode code;            /* why, with err */
	struct err err;
};
/* A call for a worker. */
struct call {
	struct flow_task task;
	struct match_ahead *ahead;
	bool out; /* with the flow; under the lock */
};
struct match_ahead {
	struct matching *m;
	pthread_mutex_t lock;
	pthread_cond_t one_done;
	size_t begun, fill; /* under the lock */
	bool over;          /* nothing more is begun; under the lock */
	size_t head;        /* from here on all is the walking thread's */
	size_t dirs, copied;
	bool ended;   /* nothing more is told */
	size_t count; /* batches */
	struct batch *batch;
	struct match_hand *hand; /* one for each worker */
	struct call *call;       /* one for each worker */
	unsigned workers;
};

static void
lock(struct match_ahead *a)
{
	invariant(pthread_mutex_lock(&a->lock) == 0);
}

static void
unlock(struct match_ahead *a)
{
	invariant(pthread_mutex_unlock(&a->lock) == 0);
}

static struct batch *
at(const struct match_ahead *a, size_t number)
{
	return &a->batch[number % a->count];
}

/* ---- comparing: any thread ---- */

/* The next batch that nobody has begun, or NULL.  With the lock. */
static struct batch *
take(struct match_ahead *a)
{
	return a->over || a->begun == a->fill ? NULL : at(a, a->begun++);
}

static void
compare(struct match_ahead *a, struct batch *b, struct match_hand *h)
{
	b->code = b->err.code = E_OK;
	for (struct match_item *i = b->first; i != NULL && b->code == E_OK; i = i->next) {
		if (i->due)
			b->code = match_entry(h, a->m->args, i, &b->err);
		if (b->code != E_OK)
			b->stopped = i;
	}
	lock(a);
	b->done = true;
	a->over |= b->code != E_OK; /* what comes after it will not be told */
	(void)pthread_cond_signal(&a->one_done);
	unlock(a);
}

static enum ecode
call_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct call *call = (struct call *)task;
	struct match_ahead *a = call->ahead;
	struct batch *b;

	(void)e; /* a refusal waits in its batch until it is its turn */
	lock(a);
	for (b = take(a); b != NULL; b = take(a)) {
		unlock(a);
		compare(a, b, &a->hand[worker]);
		lock(a);
	}
	call->out = false;
	unlock(a);
	return E_OK;
}

static void
call_drop(struct flow_task *task)
{
	struct call *call = (struct call *)task;

	lock(call->ahead);
	call->out = false;
	unlock(call->ahead);
}

/* ---- the beginning and the end ---- */

static enum ecode
make(struct match_ahead *a, struct err *e)
{
	struct session *s = a->m->s;

	a->workers = s->workers;
	a->count = 2 * (size_t)a->workers + 2;
	a->batch = calloc(a->count, sizeof(*a->batch));
	a->hand = calloc(a->workers, sizeof(*a->hand));
	a->call = calloc(a->workers, sizeof(*a->call));
	if (a->batch == NULL || a->hand == NULL || a->call == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "the records on their way");
	for (size_t i = 0; i < a->count; i++)
		a->batch[i].arena = arena_limit(BATCH_ARENA_BYTES);
	for (unsigned i = 0; i < a->workers; i++) {
		a->hand[i] = match_hand_of(s, s->codec[i]);
		a->call[i] =
			(struct call){ .task = { .run = call_run, .drop = call_drop }, .ahead = a };
	}
	return E_OK;
}

enum ecode
match_ahead_open(struct matching *m, struct match_ahead **out, struct err *e)
{
	struct match_ahead *a = calloc(1, sizeof(*a));
	enum ecode rc;

	if (a == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "the records on their way");
	a->m = m;
	(void)pthread_mutex_init(&a->lock, NULL); /* these cannot fail with glibc */
	(void)pthread_cond_init(&a->one_done, NULL);
	rc = make(a, e);
	if (rc == E_OK)
		*out = a;
	else
		match_ahead_close(&a);
	return rc;
}

static void
empty(struct batch *b)
{
	for (unsigned i = 0; i < b->dirs; i++)
		match_dir_put(&b->dir[i]);
	b->dirs = 0;
	b->first = b->last = b->stopped = NULL;
	b->records = 0;
	b->bytes = 0;
	b->done = false;
	if (b->arena.used > 2 * BATCH_COPIED_BYTES)
		arena_done(&b->arena); /* room for a node of unusual size is not kept */
	arena_reset(&b->arena);
}

/* Nothing more is begun, and nobody is at work any more.  The flow's refusal, if it has one. */
static enum ecode
end_work(struct match_ahead *a, struct err *e)
{
	lock(a);
	a->over = true;
	unlock(a);
	a->ended = true;
	return flow_finish(a->m->s->flow, e);
}

void
match_ahead_close(struct match_ahead **ap)
{
	struct match_ahead *a = *ap;
	struct err ignored;

	if (a == NULL)
		return;
	*ap = NULL;
	if (end_work(a, &ignored) != E_OK)
		a->ended = true; /* it was told when it mattered */
	for (size_t i = 0; a->batch != NULL && i < a->count; i++) {
		empty(&a->batch[i]);
		arena_done(&a->batch[i].arena);
	}
	for (unsigned i = 0; a->hand != NULL && i < a->workers; i++)
		match_hand_done(&a->hand[i]);
	(void)pthread_cond_destroy(&a->one_done);
	(void)pthread_mutex_destroy(&a->lock);
	free(a->batch);
	free(a->hand);
	free(a->call);
	free(a);
}

/* ---- telling ---- */

static bool
is_done(struct match_ahead *a, const struct batch *b)
{
	bool done;

	lock(a);
	done = b->done;
	unlock(a);
	return done;
}

/* Somebody has begun it, or we do. */
static void
finish_batch(struct match_ahead *a, const struct batch *b)
{
	lock(a);
	while (!b->done) {
		struct batch *other = take(a);

		if (other == NULL) {
			(void)pthread_cond_wait(&a->one_done, &a->lock);
			continue;
		}
		unlock(a);
		compare(a, other, &a->m->hand);
		lock(a);
	}
	unlock(a);
}

static enum ecode
tell_head(struct match_ahead *a, struct err *e)
{
	struct batch *b = at(a, a->head);
	enum ecode rc = E_OK;

	finish_batch(a, b);
	for (struct match_item *i = b->first; i != b->stopped && rc == E_OK; i = i->next)
		rc = match_conclude(a->m, i, e);
	if (rc == E_OK && b->stopped != NULL) {
		rc = b->code;
		if (e != NULL)
			*e = b->err;
	}
	a->dirs -= b->dirs;
	a->copied -= b->arena.used;
	empty(b);
	a->head++;
	return rc;
}

static bool
must_tell(struct match_ahead *a)
{
	if (a->head == a->fill) /* only this thread writes `fill` */
		return false;
	return a->fill - a->head == a->count || a->dirs + BATCH_DIRS > AHEAD_DIRS ||
	       a->copied > AHEAD_COPIED_BYTES || is_done(a, at(a, a->head));
}

/* ---- filling ---- */

static struct call *
free_call(struct match_ahead *a)
{
	for (unsigned i = 0; i < a->workers; i++)
		if (!a->call[i].out)
			return &a->call[i];
	return NULL;
}

/* The batch being filled is the workers' now. */
static void
close_batch(struct match_ahead *a)
{
	struct batch *b = at(a, a->fill);
	struct call *call;

	a->dirs += b->dirs;
	a->copied += b->arena.used;
	lock(a);
	a->fill++;
	call = free_call(a);
	if (call != NULL)
		call->out = true;
	unlock(a);
	if (call != NULL)
		flow_add(a->m->s->flow, &call->task);
}

static enum ecode
hand_over(struct match_ahead *a, struct err *e)
{
	enum ecode rc = E_OK;

	close_batch(a);
	while (rc == E_OK && must_tell(a))
		rc = tell_head(a, e);
	if (rc == E_OK && flow_stopping(a->m->s->flow))
		return end_work(a, e);
	a->ended |= rc != E_OK;
	return rc;
}

static enum ecode
keep_slice(struct arena *a, struct slice *s, struct err *e)
{
	return s->len == 0 ? E_OK : arena_copy(a, s->p, s->len, s, e);
}

static enum ecode
keep_xattrs(struct arena *a, struct node *n, struct err *e)
{
	size_t bytes = n->xattr_count * sizeof(*n->xattrs);
	struct xattr *x;
	void *p = NULL;
	enum ecode rc;

	if (bytes == 0)
		return E_OK;
	rc = arena_alloc(a, bytes, &p, e);
	if (rc != E_OK)
		return rc;
	x = memcpy(p, n->xattrs, bytes);
	n->xattrs = x;
	for (size_t i = 0; rc == E_OK && i < n->xattr_count; i++) {
		rc = keep_slice(a, &x[i].name, e);
		if (rc == E_OK)
			rc = keep_slice(a, &x[i].value, e);
	}
	return rc;
}

static enum ecode
keep_content(struct arena *a, struct node *n, struct err *e)
{
	struct slice s = { (const uint8_t *)n->content, n->content_count * sizeof(*n->content) };
	enum ecode rc = keep_slice(a, &s, e);

	n->content = (const struct id *)(const void *)s.p;
	return rc;
}

/* All of it but its text. */
static enum ecode
keep_node(struct arena *a, const struct node **node, struct err *e)
{
	struct node *n;
	struct slice copy;
	enum ecode rc = arena_copy(a, *node, sizeof(**node), &copy, e);

	if (rc != E_OK)
		return rc;
	n = (struct node *)(uintptr_t)copy.p;
	n->raw = (struct slice){ .p = NULL };
	struct slice *const slices[] = { &n->name, &n->user, &n->group, &n->linktarget, &n->generic,
		&n->error };

	for (size_t i = 0; rc == E_OK && i < sizeof(slices) / sizeof(slices[0]); i++)
		rc = keep_slice(a, slices[i], e);
	if (rc == E_OK)
		rc = keep_xattrs(a, n, e);
	if (rc == E_OK)
		rc = keep_content(a, n, e);
	*node = n;
	return rc;
}

static enum ecode
keep_item(struct batch *b, const struct match_item *item, struct err *e)
{
	struct match_item *copy;
	struct slice place;
	enum ecode rc = arena_copy(&b->arena, item, sizeof(*item), &place, e);

	if (rc != E_OK)
		return rc;
	copy = (struct match_item *)(uintptr_t)place.p;
	copy->next = NULL;
	rc = arena_str(&b->arena, item->r.path, strlen(item->r.path), &copy->r.path, e);
	if (rc == E_OK && item->r.why != NULL)
		rc = arena_str(&b->arena, item->r.why, strlen(item->r.why), &copy->r.why, e);
	if (rc == E_OK && item->r.node != NULL)
		rc = keep_node(&b->arena, &copy->r.node, e);
	if (rc != E_OK)
		return rc; /* the arena keeps it until the end, which is now */
	if (b->last == NULL)
		b->first = copy;
	else
		b->last->next = copy;
	b->last = copy;
	b->records++;
	b->bytes += item->due ? item->r.expected_size : 0;
	return E_OK;
}

static bool
knows_dir(const struct batch *b, const struct match_item *item)
{
	return !item->due || (b->dirs > 0 && b->dir[b->dirs - 1] == item->dir);
}

enum ecode
match_ahead_put(struct match_ahead *a, const struct match_item *item, struct err *e)
{
	struct batch *b = at(a, a->fill);
	enum ecode rc = E_OK;

	if (!knows_dir(b, item) && b->dirs == BATCH_DIRS)
		rc = hand_over(a, e);
	if (rc != E_OK)
		return rc;
	b = at(a, a->fill);
	rc = keep_item(b, item, e);
	if (rc != E_OK)
		return rc;
	if (!knows_dir(b, item))
		b->dir[b->dirs++] = match_dir_get(item->dir);
	if (b->records < BATCH_RECORDS && b->bytes < BATCH_BYTES &&
		b->arena.used < BATCH_COPIED_BYTES)
		return E_OK;
	return hand_over(a, e);
}

enum ecode
match_ahead_drain(struct match_ahead *a, struct err *e)
{
	enum ecode rc = E_OK;

	if (a->ended)
		return E_OK;
	if (at(a, a->fill)->records > 0)
		rc = hand_over(a, e);
	while (rc == E_OK && a->head != a->fill)
		rc = tell_head(a, e);
	if (rc == E_OK) /* a call that no worker has heard yet may still hear that it is to stop */
		rc = end_work(a, e);
	a->ended = true;
	return rc;
}
