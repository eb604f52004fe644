/*
 * How much a backup would store, without reading content: the backup's own walk,
 * with the sizes of what it would read.  An upper bound: content that is in the
 * vault under another name, and what compression saves, is not known before reading.
 *
 * It runs as the walk of preflight, and beside a running backup that wants a
 * verdict on the space: there in one thread, with a listener that is silent,
 * because the backup itself tells of whatever cannot be read.
 */
#include <stdlib.h>

#include "engine/backup_internal.h"
#include "os/io.h"

/* st_blocks counts these, whatever the file system's own block is (stat(2)). */
#define STAT_BLOCK_BYTES  512U
/* Below this a file may have its content beside its inode, with no block of its own. */
#define SPARSE_FROM_BYTES (1U << 20)

/* ---- in the walk ---- */

/* Holes cost nothing: all their chunks are one. */
static uint64_t
content_bytes(const struct os_meta *m)
{
	uint64_t on_disk;

	if (m->size < SPARSE_FROM_BYTES ||
		__builtin_mul_overflow(m->blocks, STAT_BLOCK_BYTES, &on_disk))
		return m->size;
	return on_disk < m->size ? on_disk : m->size;
}

/* A further link of a file that was counted.  Without memory for it it is counted again: the estimate may be high. */
static bool
counted_link(struct backup *b, const struct os_meta *m)
{
	uint64_t *value;
	bool found = false;

	if (m->nlink < 2)
		return false;
	pthread_mutex_lock(&b->link_lock);
	if (map_put(&b->links, m->dev, m->ino, 1, &value, &found, NULL) != E_OK)
		found = false;
	pthread_mutex_unlock(&b->link_lock);
	return found;
}

static enum ecode
try_open(struct dir_job *job, const struct child *c, struct err *e)
{
	const struct os *os = job->b->s->os;
	int fd = -1;
	enum ecode rc = walk_open_file(os, job->fd, c->open_name, &fd, e);

	io_close(os, &fd);
	return rc;
}

enum ecode
estimate_file(struct dir_job *job, struct child *c, struct err *e)
{
	struct backup *b = job->b;
	uint64_t bytes = content_bytes(&c->meta);
	enum ecode rc = b->estimate_opens ? try_open(job, c, e) : E_OK;

	if (rc != E_OK || counted_link(b, &c->meta))
		return rc;
	atomic_fetch_add(&b->new_bytes, bytes);
	if (c->meta.size > 0)
		atomic_fetch_add(
			&b->meta_bytes, (bytes / CHUNK_MIN_BYTES + 1) * ESTIMATE_BLOB_BYTES);
	return E_OK;
}

void
estimate_tree(struct backup *b, const struct dir_job *job)
{
	uint64_t bytes = ESTIMATE_BLOB_BYTES;

	for (size_t i = 0; i < job->n; i++) {
		if (job->child[i].state == CHILD_DONE)
			bytes += ESTIMATE_NODE_BYTES +
				 job->child[i].node.content_count * (ID_HEX_SIZE + 3);
	}
	atomic_fetch_add(&b->meta_bytes, bytes);
}

/* ---- beside a running backup ---- */

struct beside {
	struct backup b;
	struct session s;
	struct listener listener;
	struct progress progress;
	const struct backup *of;
};

static bool
beside_stop(void *arg)
{
	const struct beside *x = arg;
	const struct listener *l = x->of->s->listener;

	return l->stop(l->arg) || flow_stopping(x->of->s->flow);
}

static void
silent_problem(void *arg, const struct problem *p)
{
	(void)arg;
	(void)p;
}

static void
silent_note(void *arg, const char *event, const char *text)
{
	(void)arg;
	(void)event;
	(void)text;
}

static void
beside_close(struct beside *x)
{
	flow_close(&x->s.flow);
	blob_codec_close(&x->s.codec[0]);
	free(x->b.source);
	backup_end(&x->b);
	free(x);
}

/* Everything that has a state is its own; what is only read (index, vault, targets) is shared. */
static enum ecode
beside_open(struct backup *of, struct beside **out, struct err *e)
{
	struct beside *x = calloc(1, sizeof(*x));
	enum ecode rc;

	if (x == NULL)
		return err_set(e, E_NOMEM, 0, "an estimate");
	x->of = of;
	x->listener = (struct listener){ .arg = x,
		.progress = &x->progress,
		.problem = silent_problem,
		.note = silent_note,
		.stop = beside_stop };
	x->s = *of->s;
	x->s.listener = &x->listener;
	x->s.threads = 0;
	x->s.workers = 1;
	x->s.flow = NULL;
	x->s.codec[0] = NULL;
	rc = backup_begin(&x->b, &x->s, of->args, e);
	if (rc == E_OK)
		rc = flow_open(&x->s.flow, 0, FLOW_LIFO, x->s.flow_bytes, e);
	if (rc == E_OK)
		rc = blob_codec_open(x->s.vault->keys, x->s.os, x->s.vault->version,
			x->s.compression, &x->s.codec[0], e);
	x->b.worker[0].codec = x->s.codec[0];
	x->b.source = calloc(of->source_count, sizeof(struct source));
	if (rc == E_OK && x->b.source == NULL)
		rc = err_set(e, E_NOMEM, 0, "%zu sources", of->source_count);
	*out = x;
	return rc;
}

enum ecode
estimate_beside(struct backup *b, uint64_t *data, uint64_t *metadata, struct err *e)
{
	struct beside *x = NULL;
	enum ecode rc = beside_open(b, &x, e);

	if (rc == E_OK) {
		x->b.source_count = b->source_count;
		x->b.vault_known = b->vault_known;
		x->b.vault_dev = b->vault_dev;
		x->b.vault_ino = b->vault_ino;
		x->b.has_done_tree = b->has_done_tree;
		x->b.done_tree = b->done_tree;
		x->b.counted_ahead = true;
		x->b.estimating = true;
		rc = walk_targets(&x->b, b->targets, b->parent_tree, e);
	}
	if (rc == E_OK) {
		*data = atomic_load(&x->b.new_bytes);
		*metadata = atomic_load(&x->b.meta_bytes);
	}
	if (x != NULL)
		beside_close(x);
	return rc;
}
