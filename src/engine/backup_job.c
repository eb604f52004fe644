/*
 * The life of a directory's job: made, linked among the living, opened from the
 * descriptor of one above, released.  See backup_internal.h.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* Longest relative path given to the kernel at once; PATH_MAX is 4096 with the NUL. */
#define OPEN_STEP_BYTES 4000

static void
live_add(struct dir_job *job)
{
	struct backup *b = job->b;

	pthread_mutex_lock(&b->live_lock);
	job->live_next = b->live;
	if (b->live != NULL)
		b->live->live_prev = job;
	b->live = job;
	pthread_mutex_unlock(&b->live_lock);
}

static void
live_remove(struct dir_job *job)
{
	struct backup *b = job->b;

	pthread_mutex_lock(&b->live_lock);
	if (job->live_prev != NULL)
		job->live_prev->live_next = job->live_next;
	else
		b->live = job->live_next;
	if (job->live_next != NULL)
		job->live_next->live_prev = job->live_prev;
	pthread_mutex_unlock(&b->live_lock);
}

void
job_unpin(struct dir_job *job)
{
	if (atomic_fetch_sub(&job->pins, 1) == 1 && job->fd >= 0)
		io_close(job->b->s->os, &job->fd);
}

void
job_free(struct dir_job *job)
{
	live_remove(job);
	if (job->fd >= 0)
		io_close(job->b->s->os, &job->fd);
	while (job->batches != NULL) {
		struct file_batch *batch = job->batches;

		job->batches = batch->next;
		batch_free(batch);
	}
	buf_done(&job->prev.text);
	buf_done(&job->done.text);
	arena_done(&job->arena);
	free(job);
}

/* Jobs are released through the backup's list, whether they ran or not. */
void
job_drop(struct flow_task *task)
{
	(void)task;
}

enum ecode
job_new(struct backup *b, struct dir_job *up, uint32_t up_child, struct dir_job **out,
	struct err *e)
{
	struct dir_job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return err_set(e, E_NOMEM, 0, "a directory");
	job->task = (struct flow_task){ .run = job_run, .drop = job_drop };
	job->b = b;
	job->up = up;
	job->up_child = up_child;
	job->fd = -1;
	job->anchor = job;
	job->arena = arena_limit(BACKUP_DIR_ARENA_BYTES);
	job->prev.text = buf_limit(BLOB_PLAIN_MAX_BYTES);
	job->done.text = buf_limit(BLOB_PLAIN_MAX_BYTES);
	atomic_init(&job->pins, 1);
	live_add(job);
	*out = job;
	return E_OK;
}

void
older_is(struct older *old, const struct id *tree)
{
	old->has_tree = tree != NULL;
	if (tree != NULL)
		old->tree = *tree;
}

static const struct id *
subtree_of(const struct node *n)
{
	return n != NULL && n->type == NODE_DIR && n->has_subtree ? &n->subtree : NULL;
}

/* Finished work that the parent snapshot has as well tells nothing new. */
void
skip_same(struct dir_job *job)
{
	if (job->done.has_tree && job->prev.has_tree &&
		id_cmp(&job->done.tree, &job->prev.tree) == 0)
		job->done.has_tree = false;
}

/* A job for a subdirectory: where it is, what it was, and whose descriptor it will be opened from. */
enum ecode
job_below(struct dir_job *up, uint32_t number, struct dir_job **out, struct err *e)
{
	struct child *c = &up->child[number];
	struct dir_job *job;
	enum ecode rc = job_new(up->b, up, number, &job, e);

	if (rc != E_OK)
		return rc;
	job->vnode = c->vnode;
	if (job->vnode != NULL)
		job->fd = AT_FDCWD;
	job->depth = up->vnode != NULL ? 0 : up->depth + 1;
	job->dev = up->vnode != NULL ? c->meta.dev : up->dev;
	job->source = up->vnode != NULL ? c->source : up->source;
	job->contents_excluded = c->contents_excluded;
	job->followed = up->followed || c->followed;
	older_is(&job->prev, subtree_of(c->prev));
	older_is(&job->done, subtree_of(c->done));
	skip_same(job);
	if (up->vnode != NULL)
		rc = arena_str(&job->arena, c->abs_path, strlen(c->abs_path), &job->path, e);
	else
		rc = path_join(&job->arena, up->path, c->name, &job->path, e);
	if (rc == E_OK)
		rc = path_join(&job->arena, up->snap_path, c->name, &job->snap_path, e);
	if (rc == E_OK && up->vnode == NULL) {
		if (job->depth >= BACKUP_HELD_DEPTH &&
			!c->followed) /* no path leads there without the link */
			job->anchor = up->anchor;
		atomic_fetch_add(&up->anchor->pins, 1);
	}
	*out = job;
	return rc;
}

/* Open a path of any length below an anchor, in steps the kernel accepts, following no link. */
static int
open_steps(const struct os *os, int anchor, const char *rel)
{
	char step[OPEN_STEP_BYTES + 1];
	int at = anchor;

	while (*rel != '\0') {
		size_t len = strlen(rel);
		int next;

		if (len > OPEN_STEP_BYTES) {
			len = OPEN_STEP_BYTES;
			while (rel[len] != '/')
				len--; /* a name is at most 255 bytes */
		}
		memcpy(step, rel, len);
		step[len] = '\0';
		next = os->open_beneath(os, at, step, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, false);
		if (at != anchor)
			(void)os->close(os, at); /* a directory opened for reading */
		if (next < 0)
			return next;
		at = next;
		rel += len;
		rel += *rel == '/';
	}
	return at;
}

enum ecode
job_open_dir(struct dir_job *job, struct err *e)
{
	const struct os *os = job->b->s->os;
	struct dir_job *up = job->up, *anchor = up->anchor;
	const struct child *c = &up->child[job->up_child];
	enum ecode rc = E_OK;

	if (up->vnode != NULL || c->followed) {
		rc = walk_open_dir(os, AT_FDCWD, c->open_name, false, &job->fd, e);
		return rc == E_OK ? link_landed(job->b, c, job->fd, e) : rc;
	}
	if (anchor == up) {
		rc = walk_open_dir(os, up->fd, c->open_name, false, &job->fd, e);
	} else {
		size_t skip = strlen(anchor->path);
		int fd = open_steps(
			os, anchor->fd, job->path + skip + (anchor->path[skip - 1] != '/'));

		if (fd < 0)
			rc = walk_refusal(e, fd, "open", job->path);
		else
			job->fd = fd;
	}
	return rc;
}
