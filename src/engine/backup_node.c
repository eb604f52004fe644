/* What the walk of a backup says and records about single items: problems, nodes, counts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "base/utf8.h"
#include "engine/backup_internal.h"

/* a detail and a sentence */
#define PROBLEM_TEXT_MAX (ERR_DETAIL_BYTES + 512)
#define XATTR_NAME_SHOWN 256 /* NUL included; XATTR_NAME_MAX of Linux is 255 */

/* ---- problems ---- */

/* The refusal's own words come first where the cause alone would say too little. */
static enum ecode
problem_text(enum cause cause, const struct err *why, struct buf *out, struct err *e)
{
	struct cause_facts facts = { .detail = why->detail };
	bool plain = cause != CAUSE_UNKNOWN && why->sys != 0;
	enum ecode rc = cause_sentence(cause, plain ? NULL : &facts, out, e);

	return rc == E_OK ? buf_add_byte(out, 0, e) : rc;
}

void
backup_problem(struct backup *b, const char *path, const struct err *why)
{
	autoclean(buf_done) struct buf text = buf_limit(PROBLEM_TEXT_MAX);
	const struct listener *l = b->s->listener;
	enum cause cause = cause_of(why->code, why->sys);
	struct err ignored;
	struct problem p = {
		.during = "archival",
		.path = path,
		.code = why->code,
		.sys = why->sys,
		.cause = cause,
		.why = why->detail,
		.fatal_for_item = true,
		.can_retry = cause_can_retry(cause),
	};

	if (problem_text(cause, why, &text, &ignored) == E_OK)
		p.why = (const char *)text.p;
	atomic_fetch_add(&b->unreadable, 1);
	atomic_fetch_add(&l->progress->problems, 1);
	lost_add(b, path, why, cause);
	l->problem(l->arg, &p);
}

void
backup_warning(struct backup *b, const char *path, enum ecode code, const char *why)
{
	const struct listener *l = b->s->listener;
	struct problem p = {
		.during = "archival",
		.path = path,
		.code = code,
		.cause = cause_of(code, 0),
		.why = why,
	};

	l->problem(l->arg, &p);
}

const char *
child_path(const struct dir_job *job, const struct child *c, struct buf *out)
{
	struct err ignored;
	enum ecode rc;

	buf_clear(out);
	if (job->vnode != NULL) /* the names of targets may differ from the names in the snapshot */
		rc = buf_add_str(out, c->abs_path, &ignored);
	else
		rc = buf_printf(
			out, &ignored, "%s/%s", job->path[1] == '\0' ? "" : job->path, c->name);
	if (rc != E_OK || buf_add_byte(out, 0, &ignored) != E_OK)
		return "?";
	return (const char *)out->p;
}

void
child_problem(struct dir_job *job, const struct child *c, const struct err *why)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);

	backup_problem(job->b, child_path(job, c, &path), why);
}

/* ---- nodes ---- */

static enum node_type
type_of(uint32_t st_mode)
{
	switch (st_mode & S_IFMT) {
	case S_IFREG:
		return NODE_FILE;
	case S_IFDIR:
		return NODE_DIR;
	case S_IFLNK:
		return NODE_SYMLINK;
	case S_IFBLK:
		return NODE_DEV;
	case S_IFCHR:
		return NODE_CHARDEV;
	case S_IFIFO:
		return NODE_FIFO;
	case S_IFSOCK:
		return NODE_SOCKET;
	default:
		return NODE_IRREGULAR;
	}
}

void
node_from_meta(struct backup *b, struct node *node, const struct os_meta *m)
{
	enum node_type type = type_of(m->mode);

	node->type = type;
	node->mode = mode_from_st(m->mode);
	node->mtime = m->mtime;
	node->atime = b->args->with_atime ? m->atime : m->mtime;
	node->ctime = m->ctime;
	node->uid = m->uid;
	node->gid = m->gid;
	node->user = meta_user(b->names, m->uid);
	node->group = meta_group(b->names, m->gid);
	node->inode = m->ino;
	node->device_id = m->dev;
	node->size = type == NODE_FILE ? m->size : 0;
	node->links = type == NODE_DIR || type == NODE_FIFO ? 0 : m->nlink;
	node->device = type == NODE_DEV || type == NODE_CHARDEV ? m->rdev : 0;
}

static bool
slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static bool
xattrs_equal(const struct node *a, const struct node *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++) {
		if (!slice_equal(a->xattrs[i].name, b->xattrs[i].name) ||
			!slice_equal(a->xattrs[i].value, b->xattrs[i].value))
			return false;
	}
	return true;
}

static bool
content_equal(const struct node *a, const struct node *b)
{
	return a->content_count == b->content_count && a->content_null == b->content_null &&
	       (a->content_count == 0 || memcmp(a->content, b->content,
						 a->content_count * sizeof(a->content[0])) == 0);
}

bool
node_equal(const struct node *a, const struct node *b)
{
	return a->type == b->type && a->mode == b->mode && instant_cmp(a->mtime, b->mtime) == 0 &&
	       instant_cmp(a->atime, b->atime) == 0 && instant_cmp(a->ctime, b->ctime) == 0 &&
	       a->uid == b->uid && a->gid == b->gid && slice_equal(a->user, b->user) &&
	       slice_equal(a->group, b->group) && a->inode == b->inode &&
	       a->device_id == b->device_id && a->size == b->size && a->links == b->links &&
	       slice_equal(a->linktarget, b->linktarget) && xattrs_equal(a, b) &&
	       slice_equal(a->generic, b->generic) && a->device == b->device &&
	       content_equal(a, b) && a->has_subtree == b->has_subtree &&
	       (!a->has_subtree || id_cmp(&a->subtree, &b->subtree) == 0) &&
	       a->error.len == b->error.len;
}

struct xattr_skip {
	struct dir_job *job;
	const struct child *c;
};

static void
xattr_skipped(void *arg, const char *name, int sys)
{
	struct xattr_skip *s = arg;
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	char why[160];

	(void)snprintf(why, sizeof(why), "attribute %.80s was not readable: %s", name,
		cause_short(cause_of(E_SRC_IO, sys < 0 ? -sys : sys)));
	backup_warning(s->job->b, child_path(s->job, s->c, &path), E_SRC_IO, why);
}

/* Everything outside of printable ASCII becomes '?': the name is shown, not used. */
static void
plain_name(struct slice name, char out[static XATTR_NAME_SHOWN])
{
	size_t n = name.len < XATTR_NAME_SHOWN ? name.len : XATTR_NAME_SHOWN - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = name.p[i] > ' ' && name.p[i] <= '~' ? (char)name.p[i] : '?';
	out[n] = '\0';
}

/* The format keeps attribute names as JSON text only: bytes that are no UTF-8 become U+FFFD there (6.3). */
static void
tell_foreign_names(struct xattr_skip *s, const struct meta_xattrs *list)
{
	for (size_t i = 0; i < list->n; i++) {
		autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
		char name[XATTR_NAME_SHOWN], why[XATTR_NAME_SHOWN + 96];

		if (utf8_valid(list->v[i].name.p, list->v[i].name.len))
			continue;
		plain_name(list->v[i].name, name);
		(void)snprintf(why, sizeof(why),
			"the name of attribute %s is not UTF-8; it is stored under an altered name",
			name);
		backup_warning(s->job->b, child_path(s->job, s->c, &path), E_SRC_IO, why);
	}
}

/* ctime moves with every attribute change, so equal ctime and inode prove the attributes of the parent's node. */
static bool
xattrs_known(const struct backup *b, const struct child *c, const struct node *prev)
{
	return prev != NULL && !b->args->ignore_ctime && !b->args->ignore_inode &&
	       prev->inode == c->node.inode && prev->device_id == c->node.device_id &&
	       instant_cmp(prev->ctime, c->node.ctime) == 0;
}

enum ecode
node_xattrs(struct dir_job *job, struct child *c, int dir, const char *name, struct arena *a,
	struct err *e)
{
	struct xattr_skip skip = { job, c };
	struct meta_xattrs list = { 0 };
	const struct node *old = xattrs_known(job->b, c, c->prev) ? c->prev : NULL;
	struct xattr *out;
	void *p;
	enum ecode rc;

	if (old == NULL && xattrs_known(job->b, c, c->done))
		old = c->done;
	if (old != NULL) {
		c->node.xattrs = old->xattrs;
		c->node.xattr_count = old->xattr_count;
		return E_OK;
	}
	if (job->b->estimating)
		return E_OK; /* a node that changed is written anew in any case */
	rc = meta_xattrs_read(job->b->s->os, dir, name, a, &list, xattr_skipped, &skip, e);
	if (rc != E_OK || list.n == 0)
		return rc;
	rc = arena_alloc(a, list.n * sizeof(*out), &p, e);
	if (rc != E_OK)
		return rc;
	out = p;
	tell_foreign_names(&skip, &list);
	for (size_t i = 0; i < list.n; i++)
		out[i] = (struct xattr){ list.v[i].name, list.v[i].value };
	c->node.xattrs = out;
	c->node.xattr_count = list.n;
	return E_OK;
}

/* ---- counting ---- */

static enum item_action
count_against_prev(struct backup *b, const struct child *c)
{
	if (c->prev == NULL || c->prev->type != NODE_FILE) {
		atomic_fetch_add(&b->files_new, 1);
		return ITEM_NEW;
	}
	if (node_equal(&c->node, c->prev)) {
		atomic_fetch_add(&b->files_unmodified, 1);
		return ITEM_UNCHANGED;
	}
	atomic_fetch_add(&b->files_changed, 1);
	return ITEM_MODIFIED;
}

static void
tell_item(struct dir_job *job, const struct child *c, enum item_action action)
{
	const struct listener *l = job->b->s->listener;
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	struct err ignored;
	struct item_done done = {
		.action = action,
		.size = c->node.size,
		.data_size = c->data_added,
		.data_size_in_repo = c->data_stored,
	};

	if (buf_printf(&path, &ignored, "%s/%s", job->snap_path[1] == '\0' ? "" : job->snap_path,
		    c->name) != E_OK)
		return;
	if (buf_add_byte(&path, 0, &ignored) != E_OK)
		return;
	done.path = (const char *)path.p;
	l->item(l->arg, &done);
}

void
child_done(struct dir_job *job, struct child *c)
{
	struct backup *b = job->b;
	const struct listener *l = b->s->listener;
	enum item_action action;
	struct source *source;

	c->state = CHILD_DONE;
	atomic_fetch_add(&l->progress->done_items, 1);
	if (c->node.type != NODE_FILE)
		return;
	if (!c->was_read) /* bytes that were read are counted as they come */
		atomic_fetch_add(&l->progress->done_bytes, c->node.size);
	atomic_fetch_add(&b->files, 1);
	atomic_fetch_add(&b->bytes, c->node.size);
	source = job->vnode != NULL ? c->source : job->source;
	atomic_fetch_add(&source->files, 1);
	atomic_fetch_add(&source->bytes, c->node.size);
	action = count_against_prev(b, c);
	if (l->item != NULL)
		tell_item(job, c, action);
}
