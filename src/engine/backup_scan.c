/*
 * Counting ahead: one thread of its own walks the targets so that progress can
 * say how much is left.  Nothing depends on it: what it cannot read it leaves
 * out of the count, and the walk that matters tells of it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* Paths of directories that wait to be counted; a million of 200 bytes. */
#define SCAN_ARENA_BYTES ((size_t)256 << 20)

struct scan {
	struct flow_task task;
	struct backup *b;
	struct flow *flow;
	const struct vnode *root;
	atomic_bool stop;
};

struct scan_dir {
	struct scan_dir *next;
	const char *path; /* as it is opened */
	const char *abs;  /* as patterns see it */
	uint64_t dev;
};

struct scan_walk {
	struct scan *scan;
	struct arena arena;
	struct scan_dir *waiting;
};

static enum ecode
push_dir(struct scan_walk *w, const char *path, const char *abs, uint64_t dev, struct err *e)
{
	struct scan_dir *d;
	void *p;
	enum ecode rc = arena_alloc(&w->arena, sizeof(*d), &p, e);

	if (rc != E_OK)
		return rc;
	d = p;
	*d = (struct scan_dir){ .next = w->waiting, .path = path, .abs = abs, .dev = dev };
	w->waiting = d;
	return E_OK;
}

static void
count(struct scan_walk *w, const struct os_meta *m)
{
	struct progress *p = w->scan->b->s->listener->progress;

	if (S_ISSOCK(m->mode))
		return;
	atomic_fetch_add(&p->total_items, 1);
	if (S_ISREG(m->mode))
		atomic_fetch_add(&p->total_bytes, m->size);
}

static bool
left_out(const struct backup_args *args, const char *abs, const struct os_meta *m)
{
	if (args->excludes != NULL && rules_match(args->excludes, abs, strlen(abs)) != 0)
		return true;
	return args->exclude_larger_than > 0 && !S_ISDIR(m->mode) &&
	       m->size > args->exclude_larger_than;
}

static enum ecode
scan_entry(struct scan_walk *w, const struct scan_dir *d, const struct walk_entry *entry,
	struct err *e)
{
	const struct backup_args *args = w->scan->b->args;
	const char *path, *abs;
	enum ecode rc;

	if (!entry->have_meta)
		return E_OK;
	rc = path_join(&w->arena, d->path, entry->name, &path, e);
	if (rc == E_OK)
		rc = path_join(&w->arena, d->abs, entry->name, &abs, e);
	if (rc != E_OK || left_out(args, abs, &entry->meta))
		return rc;
	count(w, &entry->meta);
	if (!S_ISDIR(entry->meta.mode) || (args->one_file_system && entry->meta.dev != d->dev))
		return E_OK;
	return push_dir(w, path, abs, d->dev, e);
}

/* Only the estimate is lost; nobody hears of this refusal. */
static enum ecode
scan_go_on(void *arg, struct err *e)
{
	struct scan *scan = arg;

	if (atomic_load(&scan->stop))
		return err_set(e, E_FLOW_STOPPED, 0, "counting ahead");
	return session_go_on(scan->b->s, e);
}

static enum ecode
scan_one(struct scan_walk *w, const struct scan_dir *d, struct err *e)
{
	const struct os *os = w->scan->b->s->os;
	autoclean(arena_done) struct arena a = arena_limit(BACKUP_DIR_ARENA_BYTES);
	const struct walk_ask ask = { .ask = scan_go_on, .arg = w->scan };
	struct walk_list list = { 0 };
	int fd = -1;
	enum ecode rc = walk_open_dir(os, AT_FDCWD, d->path, false, &fd, e);

	if (rc != E_OK)
		return E_OK; /* not counted; too long a path, or not readable */
	rc = walk_dir_asking(os, fd, d->path, &ask, &a, &list, e);
	io_close(os, &fd);
	if (rc != E_OK)
		return rc == E_NOMEM ? rc : E_OK;
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		rc = scan_entry(w, d, &list.v[i], e);
	return rc;
}

/* Targets first; directories above them count as one item each. */
static enum ecode
scan_targets(struct scan_walk *w, struct err *e)
{
	const struct os *os = w->scan->b->s->os;
	const struct vnode
		*stack[64]; /* deeper chains of directories above a target are not counted ahead */
	size_t n = 0;
	enum ecode rc = E_OK;

	stack[n++] = w->scan->root;
	while (rc == E_OK && n > 0) {
		const struct vnode *dir = stack[--n];

		for (const struct vnode *v = dir->children; rc == E_OK && v != NULL; v = v->next) {
			struct os_meta m;

			if (os->stat(os, AT_FDCWD, v->fs_path, v->leaf ? AT_SYMLINK_NOFOLLOW : 0,
				    &m) < 0)
				continue;
			count(w, &m);
			if (v->leaf && S_ISDIR(m.mode))
				rc = push_dir(w, v->fs_path, v->abs_path, m.dev, e);
			else if (!v->leaf && n < sizeof(stack) / sizeof(stack[0]))
				stack[n++] = v;
		}
	}
	return rc;
}

static enum ecode
scan_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct scan *scan = (struct scan *)task; /* task is the first member */
	struct scan_walk w = { .scan = scan, .arena = arena_limit(SCAN_ARENA_BYTES) };
	enum ecode rc = scan_targets(&w, e);

	(void)worker;
	while (rc == E_OK && w.waiting != NULL && scan_go_on(scan, e) == E_OK) {
		const struct scan_dir *d = w.waiting;

		w.waiting = d->next;
		rc = scan_one(&w, d, e);
	}
	if (rc == E_OK && !atomic_load(&scan->stop))
		atomic_store(&scan->b->s->listener->progress->totals_final, true);
	arena_done(&w.arena);
	return E_OK; /* whatever happened: only the estimate is missing */
}

static void
scan_drop(struct flow_task *task)
{
	(void)task; /* owned by scan_end */
}

enum ecode
scan_begin(struct backup *b, const struct vnode *root, struct scan **out, struct err *e)
{
	struct scan *scan = calloc(1, sizeof(*scan));
	enum ecode rc;

	if (scan == NULL)
		return err_set(e, E_NOMEM, 0, "counting ahead");
	*scan = (struct scan){
		.task = { .run = scan_run, .drop = scan_drop }, .b = b, .root = root
	};
	rc = flow_open(&scan->flow, 1, FLOW_FIFO, 0, e);
	if (rc != E_OK) {
		free(scan);
		return rc;
	}
	flow_add(scan->flow, &scan->task);
	*out = scan;
	return E_OK;
}

void
scan_end(struct scan **scan)
{
	if (*scan == NULL)
		return;
	atomic_store(&(*scan)->stop, true);
	flow_close(&(*scan)->flow);
	free(*scan);
	*scan = NULL;
}
