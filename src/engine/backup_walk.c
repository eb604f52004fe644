/*
 * The walk of a backup: directories as tasks, newest first, so that one path
 * from the root is open at a time and memory stays small.  See
 * backup_internal.h for the life of a dir_job.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"

/* ---- one child ---- */

enum next_step {
	STEP_DONE,
	STEP_DROP,
	STEP_READ,
	STEP_DESCEND
};

static bool
file_unchanged(const struct backup *b, const struct child *c, const struct node *prev)
{
	const struct backup_args *args = b->args;

	if (prev == NULL || prev->type != NODE_FILE || prev->content_null ||
		prev->size != c->meta.size || instant_cmp(prev->mtime, c->meta.mtime) != 0)
		return false;
	if (!args->ignore_ctime && !args->ignore_inode &&
		instant_cmp(prev->ctime, c->meta.ctime) != 0)
		return false;
	return args->ignore_inode || prev->inode == c->meta.ino;
}

/* Is the file as it was then, and is what was stored of it still there? */
static bool
content_reusable(struct dir_job *job, const struct child *c, const struct node *old)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);

	if (!file_unchanged(job->b, c, old))
		return false;
	if (content_known(job->b, old))
		return true;
	backup_warning(job->b, child_path(job, c, &path), E_BLOB_ABSENT,
		"some of its stored content is missing from the vault; it is read again");
	return false;
}

static enum ecode
take_file(struct dir_job *job, struct child *c, enum next_step *step, struct err *e)
{
	struct backup *b = job->b;
	const struct node *old = c->prev;
	enum ecode rc;

	*step = STEP_READ;
	if (!content_reusable(job, c, old))
		old = c->done;
	if (old != c->prev && !content_reusable(job, c, old))
		return E_OK;
	if (old == NULL)
		return E_OK;
	c->node.content = old->content;
	c->node.content_count = old->content_count;
	rc = node_xattrs(job, c, job->fd, c->open_name, &job->arena, e);
	if (rc != E_OK)
		return rc;
	*step = STEP_DONE;
	if (old == c->done && b->round <= 1) { /* later rounds take what this very run read */
		atomic_fetch_add(&b->files_reused, 1);
		atomic_fetch_add(&b->bytes_reused, c->node.size);
	}
	return E_OK;
}

static enum ecode
take_other(struct dir_job *job, struct child *c, enum next_step *step, struct err *e)
{
	enum ecode rc = E_OK;

	*step = STEP_DONE;
	if (c->node.type == NODE_SYMLINK)
		rc = walk_readlink(
			job->b->s->os, job->fd, c->open_name, &job->arena, &c->node.linktarget, e);
	if (rc == E_OK)
		rc = node_xattrs(job, c, job->fd, c->open_name, &job->arena, e);
	return rc;
}

/* A directory above targets may be a link: "/." follows it.  What may not be read there is not ours to judge (6.7). */
static enum ecode
vnode_xattrs(struct dir_job *job, struct child *c, struct err *e)
{
	const char *inside;
	enum ecode rc = path_join(&job->arena, c->open_name, ".", &inside, e);

	if (rc == E_OK)
		rc = node_xattrs(job, c, AT_FDCWD, inside, &job->arena, e);
	return rc == E_SRC_DENIED ? E_OK : rc;
}

static bool
is_vault(const struct backup *b, const struct child *c)
{
	return b->vault_known && c->meta.dev == b->vault_dev && c->meta.ino == b->vault_ino;
}

static enum ecode
take_child(struct dir_job *job, struct child *c, enum next_step *step, struct err *e)
{
	struct backup *b = job->b;

	c->node.name = (struct slice){ (const uint8_t *)c->name, strlen(c->name) };
	node_from_meta(b, &c->node, &c->meta);
	switch (c->node.type) {
	case NODE_FILE:
		return take_file(job, c, step, e);
	case NODE_DIR:
		if (is_vault(b, c))
			return err_set(e, E_SRC_OVERLAP, 0,
				"the vault itself was met below the source directory %s",
				job->path);
		*step = STEP_DESCEND;
		return c->vnode != NULL
			       ? vnode_xattrs(job, c, e)
			       : node_xattrs(job, c, job->fd, c->open_name, &job->arena, e);
	case NODE_SOCKET:
		atomic_fetch_add(&b->sockets, 1);
		*step = STEP_DROP;
		return E_OK;
	case NODE_SYMLINK:
	case NODE_DEV:
	case NODE_CHARDEV:
	case NODE_FIFO:
		return take_other(job, c, step, e);
	case NODE_IRREGULAR:
		break;
	}
	return err_set(e, E_SRC_CHANGED, 0, "it is of a kind this program does not know (mode %o)",
		c->meta.mode);
}

/* Refusals that concern one path only; the run goes on without it. */
bool
backup_concerns_path(enum ecode rc)
{
	return rc == E_SRC_DENIED || rc == E_SRC_IO || rc == E_SRC_CHANGED || rc == E_SRC_MISSING ||
	       rc == E_SRC_VANISHED || rc == E_SRC_BUSY;
}

static void
child_lost(struct dir_job *job, struct child *c, const struct err *why)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);

	c->state = CHILD_DROPPED;
	if ((why->code == E_SRC_MISSING || why->code == E_SRC_VANISHED) && !c->explicit_target) {
		atomic_fetch_add(&job->b->vanished, 1);
		backup_warning(job->b, child_path(job, c, &path), E_SRC_VANISHED,
			"it vanished after it was listed");
		return;
	}
	child_problem(job, c, why);
}

bool
child_refused(struct dir_job *job, struct child *c, const struct err *why)
{
	if (!backup_concerns_path(why->code))
		return false;
	child_lost(job, c, why);
	return true;
}

/* ---- handing out work ---- */

struct plan {
	struct dir_job *job;
	struct file_batch *batch; /* being filled */
	uint64_t batch_bytes;
	uint32_t waiting;        /* children that are not done yet */
	struct dir_job *subdirs; /* linked through task.next, last first */
};

static enum ecode
batch_new(struct plan *p, struct err *e)
{
	struct file_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return err_set(e, E_NOMEM, 0, "a batch of files");
	batch->task = (struct flow_task){ .run = batch_run, .drop = job_drop };
	batch->job = p->job;
	batch->arena = arena_limit(BACKUP_DIR_ARENA_BYTES);
	batch->next = p->job->batches;
	p->job->batches = batch;
	p->batch = batch;
	p->batch_bytes = 0;
	return E_OK;
}

static enum ecode
plan_read(struct plan *p, uint32_t number, struct err *e)
{
	enum ecode rc = E_OK;

	if (p->batch == NULL || p->batch->n == BACKUP_BATCH_FILES ||
		p->batch_bytes >= BACKUP_BATCH_BYTES)
		rc = batch_new(p, e);
	if (rc != E_OK)
		return rc;
	p->batch->child[p->batch->n++] = number;
	p->batch_bytes += p->job->child[number].meta.size;
	p->waiting++;
	return E_OK;
}

static enum ecode
plan_descend(struct plan *p, uint32_t number, struct err *e)
{
	struct dir_job *job;
	enum ecode rc = job_below(p->job, number, &job, e);

	if (rc != E_OK)
		return rc;
	job->task.next = p->subdirs == NULL ? NULL : &p->subdirs->task;
	p->subdirs = job;
	p->waiting++;
	return E_OK;
}

/* A later round: what failed for a reason that does not pass by itself is not tried once more (DF-33). */
static bool
again_in_vain(struct dir_job *job, const struct child *c, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);

	return job->b->round > 1 && lost_for_good(job->b, child_path(job, c, &path), e);
}

static enum ecode
plan_estimate(struct dir_job *job, struct child *c, struct err *e)
{
	enum ecode rc = estimate_file(job, c, e);

	if (rc != E_OK)
		return child_refused(job, c, e) ? E_OK : rc;
	child_done(job, c);
	return E_OK;
}

/* What is stored must come back, and a restore refuses directories' paths above this length. */
static enum ecode
check_length(const struct dir_job *job, const struct child *c, struct err *e)
{
	size_t here = strlen(job->path), there = strlen(job->snap_path);

	if (job->vnode != NULL ||
		(here > there ? here : there) + 1 + strlen(c->name) <= PATH_TEXT_MAX)
		return E_OK;
	return err_set(e, E_SRC_IO, ENAMETOOLONG,
		"its path has more than %u bytes, the longest that is stored", PATH_TEXT_MAX);
}

static enum ecode
plan_child(struct plan *p, uint32_t number, struct err *e)
{
	struct dir_job *job = p->job;
	struct child *c = &job->child[number];
	struct progress *pr = job->b->s->listener->progress;
	enum next_step step = STEP_DROP;
	enum ecode rc;

	rc = link_decide(job, c, e);
	if (rc != E_OK)
		return child_refused(job, c, e) ? E_OK : rc;
	if (child_excluded(job, c)) {
		c->state = CHILD_DROPPED;
		return E_OK;
	}
	link_count(job->b, c);
	if (c->left_out) {
		c->state = CHILD_DROPPED;
		return E_OK;
	}
	if (!job->b->counted_ahead) {
		atomic_fetch_add(&pr->total_items, 1);
		atomic_fetch_add(&pr->total_bytes, S_ISREG(c->meta.mode) ? c->meta.size : 0);
	}
	rc = again_in_vain(job, c, e) ? e->code : take_child(job, c, &step, e);
	if (rc == E_OK && step == STEP_DESCEND)
		rc = check_length(job, c, e);
	if (rc != E_OK)
		return child_refused(job, c, e) ? E_OK : rc;
	switch (step) {
	case STEP_DONE:
		child_done(job, c);
		return E_OK;
	case STEP_DROP:
		c->state = CHILD_DROPPED;
		return E_OK;
	case STEP_READ:
		return job->b->estimating ? plan_estimate(job, c, e) : plan_read(p, number, e);
	case STEP_DESCEND:
		return plan_descend(p, number, e);
	}
	return E_OK;
}

/* Newest first: subdirectories go in before batches, so that this directory's files come next. */
static struct file_batch *
plan_start(struct plan *p)
{
	struct dir_job *job = p->job;
	struct flow *flow = job->b->s->flow;
	struct file_batch *mine = job->batches;

	for (struct dir_job *d = p->subdirs; d != NULL;) {
		struct flow_task *next = d->task.next;

		flow_add(flow, &d->task);
		d = (struct dir_job *)next; /* task is the first member */
	}
	if (mine == NULL)
		return NULL;
	for (struct file_batch *batch = mine->next; batch != NULL; batch = batch->next) {
		atomic_fetch_add(&job->pins, 1);
		flow_add(flow, &batch->task);
	}
	atomic_fetch_add(&job->pins, 1);
	return mine;
}

static enum ecode
refresh_own_node(struct dir_job *job, struct err *e)
{
	struct os_meta m;
	int sys = job->b->s->os->stat(job->b->s->os, job->fd, "", AT_EMPTY_PATH, &m);

	if (sys < 0)
		return walk_refusal(e, sys, "stat", job->path);
	node_from_meta(job->b, &job->up->child[job->up_child].node, &m);
	return E_OK;
}

static enum ecode
job_list(struct dir_job *job, struct err *e)
{
	enum ecode rc;

	if (job->vnode != NULL)
		return list_vnode(job, e);
	rc = job_open_dir(job, e);
	if (rc == E_OK)
		rc = refresh_own_node(job, e);
	if (rc == E_OK && !job->contents_excluded)
		rc = list_directory(job, e);
	if (rc == E_OK)
		apply_marks(job);
	return rc;
}

/* Held until our own children have pinned it in their turn. */
static void
unpin_anchor(struct dir_job *job)
{
	if (job->up != NULL && job->up->vnode == NULL)
		job_unpin(job->up->anchor);
}

/* The directory itself could not be read: it is left out, and the one above goes on. */
static enum ecode
job_lost(struct dir_job *job, struct worker *w, struct err *e)
{
	struct dir_job *up = job->up;
	struct child *c = up == NULL ? NULL : &up->child[job->up_child];

	if (c == NULL || !child_refused(up, c, e))
		return e->code;
	unpin_anchor(job);
	job_free(job);
	return child_finished(up, 1, w, e);
}

enum ecode
job_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct dir_job *job = (struct dir_job *)task; /* task is the first member */
	struct backup *b = job->b;
	struct worker *w = &b->worker[worker];
	struct plan plan = { .job = job };
	struct file_batch *mine;
	enum ecode rc = E_OK;

	checkpoint_poll(b);
	rc = job_list(job, e);
	if (rc != E_OK)
		return job_lost(job, w, e);
	rc = load_older(job, w, e);
	match_older(job);
	for (uint32_t i = 0; rc == E_OK && i < job->n; i++) {
		if (i % WALK_ASK_EVERY == WALK_ASK_EVERY - 1)
			rc = session_go_on(b->s, e);
		if (rc == E_OK)
			rc = plan_child(&plan, i, e);
	}
	if (rc != E_OK)
		return rc;
	atomic_store(&job->pending, plan.waiting + 1);
	atomic_store(&job->planned, true);
	mine = plan_start(&plan);
	if (mine != NULL)
		rc = batch_run(&mine->task, worker, e);
	unpin_anchor(job);
	job_unpin(job);
	return rc == E_OK ? child_finished(job, 1, w, e) : rc;
}

/* ---- finishing a directory ---- */

static bool
same_as_prev(const struct dir_job *job)
{
	size_t kept = 0;

	if (!job->prev.has_tree || job->prev.flawed)
		return false;
	for (size_t i = 0; i < job->n; i++) {
		const struct child *c = &job->child[i];

		if (c->state != CHILD_DONE)
			continue;
		if (c->prev == NULL || !node_equal(&c->node, c->prev))
			return false;
		kept++;
	}
	return kept == job->prev.n;
}

static enum ecode
write_tree(struct dir_job *job, struct worker *w, struct id *id, struct blob_added *added,
	struct err *e)
{
	struct tree_writer tw;
	enum ecode rc;

	if (job->b->estimating) {
		estimate_tree(job->b, job);
		*id = (struct id){ { 0 } }; /* equal to no stored one */
		return E_OK;
	}
	buf_clear(&w->tree);
	rc = tree_begin(&tw, &w->tree, e);
	for (size_t i = 0; rc == E_OK && i < job->n; i++) {
		if (job->child[i].state == CHILD_DONE)
			rc = tree_put(&tw, &job->child[i].node, e);
	}
	if (rc == E_OK)
		rc = tree_end(&tw, e);
	if (rc != E_OK)
		return rc;
	blob_id(w->codec, w->tree.p, w->tree.len, id);
	return commit_blob(
		job->b->commit, w->codec, BLOB_TREE, id, w->tree.p, w->tree.len, added, e);
}

static void
count_dir(struct dir_job *job, struct child *c, const struct blob_added *added)
{
	struct backup *b = job->b;
	struct item_done done = {
		.path = job->snap_path, .is_dir = true, .metadata_size_in_repo = added->sealed_bytes
	};

	if (c->prev == NULL) {
		atomic_fetch_add(&b->dirs_new, 1);
		done.action = ITEM_NEW;
	} else if (node_equal(&c->node, c->prev)) {
		atomic_fetch_add(&b->dirs_unmodified, 1);
		done.action = ITEM_UNCHANGED;
	} else {
		atomic_fetch_add(&b->dirs_changed, 1);
		done.action = ITEM_MODIFIED;
	}
	atomic_fetch_add(&b->s->listener->progress->done_items, 1);
	if (b->s->listener->item != NULL)
		b->s->listener->item(b->s->listener->arg, &done);
}

static enum ecode
finish_dir(struct dir_job *job, struct worker *w, struct err *e)
{
	struct blob_added added = { 0 };
	struct id id;
	struct child *c;
	enum ecode rc = E_OK;

	if (same_as_prev(job))
		id = job->prev.tree;
	else
		rc = write_tree(job, w, &id, &added, e);
	if (rc != E_OK)
		return rc;
	if (job->up == NULL) {
		job->b->root_tree = id;
		job->b->root_empty = true;
		for (size_t i = 0; i < job->n; i++)
			job->b->root_empty &= job->child[i].state != CHILD_DONE;
		job->b->root_done = true;
		return E_OK;
	}
	c = &job->up->child[job->up_child];
	/* a checkpoint reads the node of a directory that is not done */
	pthread_mutex_lock(&job->b->live_lock);
	c->node.subtree = id;
	c->node.has_subtree = true;
	atomic_store(&c->state, CHILD_DONE);
	pthread_mutex_unlock(&job->b->live_lock);
	count_dir(job, c, &added);
	return E_OK;
}

enum ecode
child_finished(struct dir_job *job, unsigned n, struct worker *w, struct err *e)
{
	enum ecode rc = E_OK;

	while (rc == E_OK && job != NULL) {
		struct dir_job *up = job->up;

		if (atomic_fetch_sub(&job->pending, n) != n)
			return E_OK;
		rc = finish_dir(job, w, e);
		job_free(job);
		job = up;
		n = 1;
	}
	return rc;
}

enum ecode
walk_targets(struct backup *b, const struct vnode *root, const struct id *prev_tree, struct err *e)
{
	struct dir_job *job;
	enum ecode rc = job_new(b, NULL, 0, &job, e);

	if (rc == E_OK) {
		job->vnode = root;
		job->fd = AT_FDCWD;
		job->path = "/";
		job->snap_path = "/";
		older_is(&job->prev, prev_tree);
		older_is(&job->done, b->has_done_tree ? &b->done_tree : NULL);
		skip_same(job);
		rc = checkpoint_begin(b, e);
	}
	if (rc == E_OK) {
		flow_add(b->s->flow, &job->task);
		rc = flow_finish(b->s->flow, e);
	}
	checkpoint_end(b);
	if (rc != E_OK)
		checkpoint_last(b, rc);
	while (b->live != NULL)
		job_free(b->live);
	return rc;
}
