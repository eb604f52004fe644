/*
 * File contents: read, cut, store.  Small files run to completion in one
 * worker.  The chunks of a large file are handed to all workers while one
 * reads and cuts; the worker that stores the last chunk completes the file.
 * A file that changes while it is read is read again, then recorded as it was read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* Chunk numbers are kept in blocks, so that workers can write while the reader adds. */
#define SPREAD_BLOCK_IDS 512

/* ---- cutting a stream ---- */

struct cutter {
	struct backup *b;
	int fd;
	const char *path;
	struct buf *buf;   /* begins with the bytes not yet cut */
	size_t looked;     /* of them, held no cut */
	uint64_t expected; /* size by fstat; UINT64_MAX for a pipe */
	uint64_t total;    /* bytes read */
	bool eof;
};

/* One read of a pipe: what is there.  A signal comes through, so that the caller can ask whether to stop. */
static enum ecode
cutter_read_pipe(struct cutter *k, size_t want, size_t *got, struct err *e)
{
	const struct os *os = k->b->s->os;
	ssize_t n = os->read(os, k->fd, k->buf->p + k->buf->len, want);

	*got = n > 0 ? (size_t)n : 0;
	k->eof = n == 0;
	return n < 0 && n != -EINTR ? walk_refusal(e, (int)n, "read", k->path) : E_OK;
}

/* A file that was empty and has grown is read to where it ends now: one that grows for ever has no other end. */
static void
bound_growth(struct cutter *k)
{
	const struct os *os = k->b->s->os;
	struct os_meta m;

	if (os->stat(os, k->fd, "", AT_EMPTY_PATH, &m) >= 0 && m.size > k->total)
		k->expected = m.size;
}

static enum ecode
cutter_read_file(struct cutter *k, size_t want, size_t *got, struct err *e)
{
	enum ecode rc = io_read(k->b->s->os, k->fd, k->buf->p + k->buf->len, want, got, k->path, e);

	if (rc == E_IO_READ)
		rc = walk_refusal(e, -e->sys, "read", k->path);
	if (rc == E_OK && k->expected == 0 && *got == want)
		bound_growth(k);
	k->eof = *got < want || (k->expected > 0 && k->total + *got >= k->expected);
	return rc;
}

static enum ecode
cutter_read(struct cutter *k, struct err *e)
{
	uint64_t left = k->expected > k->total ? k->expected - k->total : 0;
	size_t want = BACKUP_READ_BYTES, got = 0;
	enum ecode rc;

	/* Exactly what fstat promised, then no further call: growth shows in the fstat afterwards. */
	if (left > 0 && left < want)
		want = (size_t)left;
	if (want > CHUNK_MAX_BYTES - k->buf->len)
		want = CHUNK_MAX_BYTES - k->buf->len;
	rc = buf_reserve(k->buf, want, e);
	if (rc == E_OK)
		rc = k->expected == UINT64_MAX ? cutter_read_pipe(k, want, &got, e)
					       : cutter_read_file(k, want, &got, e);
	if (rc != E_OK)
		return rc;
	k->buf->len += got;
	k->total += got;
	atomic_fetch_add(&k->b->bytes_read, got);
	atomic_fetch_add(&k->b->s->listener->progress->done_bytes, got);
	return E_OK;
}

/* The next chunk is buf[0, *len); *len = 0 at the end. */
static enum ecode
cutter_next(struct cutter *k, size_t *len, struct err *e)
{
	const struct chunker *chunker = k->b->s->vault->chunker;
	enum ecode rc = E_OK;

	while (rc == E_OK) {
		size_t cut = 0;

		/* first of all: the end of a pipe may be the death of its writer by the same Ctrl-C */
		if (k->b->s->listener->stop(k->b->s->listener->arg))
			return err_set(e, E_INTERRUPTED, 0, "stopped while reading %s", k->path);
		checkpoint_poll(k->b);
		if (k->buf->len > k->looked && k->buf->len >= CHUNK_MIN_BYTES)
			cut = chunker_cut(chunker, k->buf->p, k->buf->len, k->looked, NULL);
		k->looked = k->buf->len;
		if (cut > 0 || k->eof) {
			*len = cut > 0 ? cut : k->buf->len;
			k->looked = 0;
			return E_OK;
		}
		rc = cutter_read(k, e);
	}
	return rc;
}

static void
cutter_consume(struct cutter *k, size_t len)
{
	memmove(k->buf->p, k->buf->p + len, k->buf->len - len);
	k->buf->len -= len;
}

static enum ecode
store_chunk(struct backup *b, struct blob_codec *codec, const void *p, size_t len, struct id *id,
	struct blob_added *added, struct err *e)
{
	blob_id(codec, p, len, id);
	return commit_blob(b->commit, codec, BLOB_DATA, id, p, len, added, e);
}

/* ---- one worker, one file ---- */

struct stored {
	uint64_t added, sealed;
};

static enum ecode
store_stream(struct cutter *k, struct blob_codec *codec, struct buf *ids, struct stored *sum,
	struct err *e)
{
	struct blob_added added;
	struct id id;
	size_t len;
	enum ecode rc;

	buf_clear(ids);
	for (;;) {
		rc = cutter_next(k, &len, e);
		if (rc != E_OK || len == 0)
			return rc;
		rc = store_chunk(k->b, codec, k->buf->p, len, &id, &added, e);
		if (rc == E_OK)
			rc = buf_add(ids, id.b, sizeof(id.b), e);
		if (rc != E_OK)
			return rc;
		sum->added += added.fresh ? len : 0;
		sum->sealed += added.fresh ? added.sealed_bytes : 0;
		cutter_consume(k, len);
	}
}

static enum ecode
node_take_ids(struct node *node, const struct buf *ids, struct arena *a, struct err *e)
{
	void *p;
	enum ecode rc = arena_alloc(a, ids->len, &p, e);

	if (rc != E_OK)
		return rc;
	if (ids->len > 0)
		memcpy(p, ids->p, ids->len);
	node->content = p;
	node->content_count = ids->len / sizeof(struct id);
	return E_OK;
}

enum ecode
stream_store(struct backup *b, int fd, struct arena *a, struct node *node, struct err *e)
{
	autoclean(buf_done) struct buf data = buf_limit(CHUNK_MAX_BYTES);
	autoclean(buf_done) struct buf ids = buf_limit(BLOB_PLAIN_MAX_BYTES);
	struct cutter k = {
		.b = b, .fd = fd, .path = "standard input", .buf = &data, .expected = UINT64_MAX
	};
	struct stored sum = { 0 };
	enum ecode rc = store_stream(&k, b->s->own, &ids, &sum, e);

	node->size = k.total;
	return rc == E_OK ? node_take_ids(node, &ids, a, e) : rc;
}

bool
content_known(struct backup *b, const struct node *node)
{
	for (size_t i = 0; i < node->content_count; i++) {
		if (!index_has(b->s->index, BLOB_DATA, &node->content[i]))
			return false;
	}
	return true;
}

/* ---- a large file, all workers ---- */

struct id_block {
	struct id_block *next;
	struct id id[SPREAD_BLOCK_IDS];
};

/* One attempt at reading one large file. */
struct spread {
	struct spread *next; /* the batch's list, for release */
	struct dir_job *job;
	struct child *child;
	struct arena arena;
	struct id_block *first, *last;
	size_t n;
	atomic_uint pending; /* chunks on their way, and 1 for the reader */
	bool complete;       /* set by the reader before its own decrement */
	_Atomic uint64_t added, sealed;
};

struct chunk_task {
	struct flow_task task;
	struct spread *spread;
	struct id *id;
	struct buf data;
	size_t len;
};

/* Memory of chunks is used again: fresh pages cost as much as reading into them. */
static struct buf
spare_take(struct backup *b)
{
	struct buf got = buf_limit(CHUNK_MAX_BYTES);

	pthread_mutex_lock(&b->spare_lock);
	if (b->spare_n > 0)
		got = b->spare[--b->spare_n];
	pthread_mutex_unlock(&b->spare_lock);
	return got;
}

static void
spare_give(struct backup *b, struct buf *data)
{
	buf_clear(data);
	pthread_mutex_lock(&b->spare_lock);
	if (data->cap > 0 && data->cap <= BACKUP_SPARE_BYTES && b->spare_n < BACKUP_SPARES) {
		b->spare[b->spare_n++] = *data;
		*data = buf_limit(CHUNK_MAX_BYTES);
	}
	pthread_mutex_unlock(&b->spare_lock);
	buf_done(data);
}

static void
chunk_drop(struct flow_task *task)
{
	struct chunk_task *t = (struct chunk_task *)task; /* task is the first member */

	spare_give(t->spread->job->b, &t->data);
	free(t);
}

static enum ecode
spread_collect(struct spread *sp, struct err *e)
{
	void *p;
	struct id *ids;
	size_t at = 0;
	enum ecode rc = arena_alloc(&sp->arena, sp->n * sizeof(*ids), &p, e);

	ids = p;
	for (const struct id_block *block = sp->first; rc == E_OK && block != NULL;
		block = block->next) {
		size_t n = sp->n - at < SPREAD_BLOCK_IDS ? sp->n - at : SPREAD_BLOCK_IDS;

		memcpy(ids + at, block->id, n * sizeof(*ids));
		at += n;
	}
	if (rc != E_OK)
		return rc;
	sp->child->node.content = ids;
	sp->child->node.content_count = sp->n;
	return E_OK;
}

/* Somebody is through with a part; the last one completes the file. */
static enum ecode
spread_part_done(struct spread *sp, struct worker *w, struct err *e)
{
	enum ecode rc = E_OK;

	if (atomic_fetch_sub(&sp->pending, 1) != 1)
		return E_OK;
	if (sp->complete) {
		rc = spread_collect(sp, e);
		sp->child->data_added = atomic_load(&sp->added);
		sp->child->data_stored = atomic_load(&sp->sealed);
		if (rc == E_OK)
			child_done(sp->job, sp->child);
	}
	return rc == E_OK ? child_finished(sp->job, 1, w, e) : rc;
}

static enum ecode
chunk_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct chunk_task *t = (struct chunk_task *)task; /* task is the first member */
	struct spread *sp = t->spread;
	struct backup *b = sp->job->b;
	struct blob_added added;
	enum ecode rc =
		store_chunk(b, b->worker[worker].codec, t->data.p, t->len, t->id, &added, e);

	if (rc == E_OK && added.fresh) {
		atomic_fetch_add(&sp->added, t->len);
		atomic_fetch_add(&sp->sealed, added.sealed_bytes);
	}
	chunk_drop(task);
	return rc == E_OK ? spread_part_done(sp, &b->worker[worker], e) : rc;
}

static enum ecode
spread_slot(struct spread *sp, struct id **out, struct err *e)
{
	size_t at = sp->n % SPREAD_BLOCK_IDS;
	enum ecode rc = E_OK;

	if (at == 0) {
		void *p;
		struct id_block *block;

		rc = arena_alloc(&sp->arena, sizeof(*block), &p, e);
		if (rc != E_OK)
			return rc;
		block = p;
		block->next = NULL;
		if (sp->last != NULL)
			sp->last->next = block;
		else
			sp->first = block;
		sp->last = block;
	}
	*out = &sp->last->id[at];
	sp->n++;
	return rc;
}

/* Give the chunk away with its buffer; what follows it moves into a fresh one. */
static enum ecode
spread_chunk(struct spread *sp, struct cutter *k, size_t len, unsigned worker, struct err *e)
{
	struct chunk_task *t = calloc(1, sizeof(*t));
	enum ecode rc;

	if (t == NULL)
		return err_set(e, E_NOMEM, 0, "a chunk");
	t->task = (struct flow_task){ .run = chunk_run, .drop = chunk_drop, .cost = len };
	t->spread = sp;
	t->len = len;
	buf_take(&t->data, k->buf);
	*k->buf = spare_take(k->b);
	rc = buf_add(k->buf, t->data.p + len, t->data.len - len, e);
	if (rc == E_OK)
		rc = spread_slot(sp, &t->id, e);
	if (rc != E_OK) {
		chunk_drop(&t->task);
		return rc;
	}
	atomic_fetch_add(&sp->pending, 1);
	flow_add_bounded(sp->job->b->s->flow, &t->task, worker);
	return E_OK;
}

static enum ecode
spread_new(struct file_batch *batch, struct child *c, struct spread **out, struct err *e)
{
	struct spread *sp = calloc(1, sizeof(*sp));

	if (sp == NULL)
		return err_set(e, E_NOMEM, 0, "a large file");
	sp->job = batch->job;
	sp->child = c;
	sp->arena = arena_limit(BACKUP_DIR_ARENA_BYTES);
	atomic_init(&sp->pending, 1);
	sp->next = batch->spreads;
	batch->spreads = sp;
	atomic_fetch_add(&batch->job->pending, 1); /* the job outlives every attempt */
	*out = sp;
	return E_OK;
}

static enum ecode
spread_read(struct spread *sp, struct cutter *k, unsigned worker, struct err *e)
{
	size_t len;
	enum ecode rc;

	for (;;) {
		if (flow_stopping(sp->job->b->s->flow))
			return err_set(e, E_FLOW_STOPPED, 0, "stopped while reading %s", k->path);
		rc = cutter_next(k, &len, e);
		if (rc != E_OK || len == 0)
			return rc;
		rc = spread_chunk(sp, k, len, worker, e);
		if (rc != E_OK)
			return rc;
	}
}

/* ---- one file of a batch ---- */

struct reading {
	struct file_batch *batch;
	struct child *c;
	unsigned worker;
	int fd;
	const char *path;
	struct os_meta before;
	struct spread *spread; /* the last attempt, when it was spread */
};

static enum ecode
stat_open(struct reading *r, struct os_meta *m, struct err *e)
{
	const struct os *os = r->batch->job->b->s->os;
	int sys = os->stat(os, r->fd, "", AT_EMPTY_PATH, m);

	return sys < 0 ? walk_refusal(e, sys, "stat", r->path) : E_OK;
}

static bool
changed_between(const struct os_meta *a, const struct os_meta *b)
{
	return a->size != b->size || instant_cmp(a->mtime, b->mtime) != 0 ||
	       instant_cmp(a->ctime, b->ctime) != 0;
}

static enum ecode
read_spread(struct reading *r, struct cutter *k, struct err *e)
{
	struct buf data;
	struct spread *sp;
	enum ecode rc = spread_new(r->batch, r->c, &sp, e);

	if (rc != E_OK)
		return rc;
	r->spread = sp;
	data = spare_take(k->b);
	k->buf = &data;
	rc = spread_read(sp, k, r->worker, e);
	spare_give(k->b, &data);
	return rc;
}

static enum ecode
read_whole(struct reading *r, struct cutter *k, struct err *e)
{
	struct worker *w = &r->batch->job->b->worker[r->worker];
	struct stored sum = { 0 };
	enum ecode rc;

	buf_clear(&w->read);
	k->buf = &w->read;
	rc = store_stream(k, w->codec, &w->ids, &sum, e);
	if (rc == E_OK)
		rc = node_take_ids(&r->c->node, &w->ids, &r->batch->arena, e);
	r->c->data_added = sum.added;
	r->c->data_stored = sum.sealed;
	return rc;
}

/* Read once; *changed when the file moved underneath. */
static enum ecode
read_attempt(struct reading *r, bool *changed, struct err *e)
{
	struct backup *b = r->batch->job->b;
	struct cutter k = { .b = b, .fd = r->fd, .path = r->path };
	struct os_meta after;
	enum ecode rc = stat_open(r, &r->before, e);

	if (rc != E_OK)
		return rc;
	if (!S_ISREG(r->before.mode))
		return err_set(e, E_SRC_CHANGED, 0, "%s is no longer a regular file", r->path);
	k.expected = r->before.size;
	node_from_meta(b, &r->c->node, &r->before);
	rc = r->before.size > BACKUP_SPREAD_BYTES ? read_spread(r, &k, e) : read_whole(r, &k, e);
	if (rc == E_OK)
		rc = stat_open(r, &after, e);
	if (rc != E_OK)
		return rc;
	r->c->node.size = k.total;
	*changed = changed_between(&r->before, &after) || k.total != after.size;
	return E_OK;
}

/* An attempt that does not count any more: its chunks end by themselves. */
static enum ecode
spread_give_up(struct reading *r, struct err *e)
{
	struct spread *sp = r->spread;

	r->spread = NULL;
	if (sp == NULL)
		return E_OK;
	return spread_part_done(sp, &r->batch->job->b->worker[r->worker], e);
}

static enum ecode
read_until_still(struct reading *r, struct err *e)
{
	struct backup *b = r->batch->job->b;
	const struct os *os = b->s->os;
	bool changed = false;
	enum ecode rc = read_attempt(r, &changed, e);

	for (unsigned i = 0; rc == E_OK && changed && i < BACKUP_CHANGE_RETRIES; i++) {
		rc = spread_give_up(r, e);
		if (rc == E_OK && os->lseek(os, r->fd, 0, SEEK_SET) < 0)
			rc = err_set(
				e, E_SRC_IO, 0, "%s cannot be read from its start again", r->path);
		if (rc == E_OK)
			rc = read_attempt(r, &changed, e);
	}
	if (rc == E_OK && changed) {
		atomic_fetch_add(&b->changed, 1);
		backup_warning(b, r->path, E_SRC_CHANGED,
			"it changed while it was read; recorded as it was read");
	}
	return rc;
}

/* Afterwards the child is done, dropped, or will be done by its last chunk. */
static enum ecode
read_child(struct file_batch *batch, struct child *c, unsigned worker, struct err *e)
{
	struct dir_job *job = batch->job;
	const struct os *os = job->b->s->os;
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	struct reading r = { .batch = batch, .c = c, .worker = worker, .fd = -1 };
	enum ecode rc;

	r.path = child_path(job, c, &path);
	c->was_read = true;
	rc = walk_open_file(os, job->fd, c->open_name, &r.fd, e);
	if (rc == E_OK)
		rc = link_landed(job->b, c, r.fd, e);
	if (rc == E_OK)
		rc = read_until_still(&r, e);
	if (rc == E_OK)
		rc = node_xattrs(job, c, r.fd, NULL, &batch->arena, e);
	io_close(os, &r.fd);
	if (rc != E_OK) {
		bool lost = child_refused(job, c, e);

		if (r.spread != NULL && lost)
			return spread_give_up(&r, e);
		return lost ? E_OK : rc;
	}
	if (r.spread == NULL) {
		child_done(job, c);
		return E_OK;
	}
	r.spread->complete = true;
	return spread_part_done(r.spread, &job->b->worker[worker], e);
}

enum ecode
batch_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct file_batch *batch = (struct file_batch *)task; /* task is the first member */
	struct dir_job *job = batch->job;
	struct backup *b = job->b;
	unsigned n = batch->n;
	enum ecode rc = E_OK;

	for (unsigned i = 0; rc == E_OK && i < n; i++)
		rc = read_child(batch, &job->child[batch->child[i]], worker, e);
	job_unpin(job);
	if (rc == E_OK)
		rc = child_finished(job, n, &b->worker[worker], e);
	return rc;
}

void
batch_free(struct file_batch *batch)
{
	while (batch->spreads != NULL) {
		struct spread *sp = batch->spreads;

		batch->spreads = sp->next;
		arena_done(&sp->arena);
		free(sp);
	}
	arena_done(&batch->arena);
	free(batch);
}
