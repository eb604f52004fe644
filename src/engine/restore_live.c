/*
 * The plan held against what is at the destination: which paths are new, which
 * are there already and the same, which differ and how, and what only the
 * destination has.  It only looks.  A path whose content cannot be read counts
 * as different: what is not known to be equal is not called equal (DV-03).
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <string.h>

#include "base/path.h"
#include "fs/walk.h"
#include "os/io.h"

struct looking {
	struct restore *r;
	struct restore_worker *w;
	struct restore_dir *d;
	int fd; /* of the live directory */
};

/* ---- one entry ---- */

enum ecode
restore_same_piece(struct restore *r, struct restore_worker *w, int fd, uint64_t at,
	const struct id *piece, uint32_t *len, bool *same, struct err *e)
{
	struct buf *plain = &w->plain;
	size_t got = 0;
	struct id id;
	enum ecode rc;

	*len = 0;
	*same = index_size(r->s->index, BLOB_DATA, piece, len);
	if (!*same)
		return E_OK;
	buf_clear(plain);
	rc = buf_reserve(plain, (size_t)*len + 1, e);
	if (rc != E_OK)
		return rc;
	if (io_pread(r->s->os, fd, plain->p, *len, at, &got, "a piece", NULL) != E_OK)
		got = 0; /* not readable: not known to be the same */
	blob_id(w->codec, plain->p, got, &id);
	*same = got == *len && id_cmp(&id, piece) == 0;
	return E_OK;
}

/* *same: every piece of the live file hashes to the plan's. */
static enum ecode
hash_pieces(struct looking *l, const struct restore_item *item, int fd, bool *same, struct err *e)
{
	uint64_t at = 0;
	enum ecode rc = E_OK;
	uint32_t len;

	*same = true;
	for (size_t k = 0; rc == E_OK && *same && k < item->content_count; k++) {
		rc = restore_same_piece(l->r, l->w, fd, at, &item->content[k], &len, same, e);
		at += len;
	}
	return rc;
}

static enum ecode
compare_content(struct looking *l, struct restore_item *item, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = l->r->s->os, .fd = -1 };
	bool same = false;
	enum ecode rc = E_OK;

	if (walk_open_file(l->r->s->os, l->fd, item->name, &file.fd, NULL) == E_OK)
		rc = hash_pieces(l, item, file.fd, &same, e);
	if (!same)
		item->live |= LIVE_CONTENT;
	return rc;
}

static enum ecode
compare_target(struct looking *l, struct restore_item *item, struct err *e)
{
	struct slice target;
	enum ecode rc = walk_readlink(l->r->s->os, l->fd, item->name, &l->w->nodes, &target, e);

	if (rc == E_NOMEM)
		return rc;
	if (rc != E_OK || !slice_is(target, item->extra->target))
		item->live |= LIVE_CONTENT;
	return E_OK;
}

static enum ecode
compare_entry(struct looking *l, struct restore_item *item, const struct os_meta *m, struct err *e)
{
	item->live = LIVE_THERE;
	if (!node_type_fits(item->type, m->mode)) {
		item->live |= LIVE_TYPE;
		return E_OK;
	}
	if (item->uid != m->uid || item->gid != m->gid)
		item->live |= LIVE_OWNER;
	if (item->type != NODE_SYMLINK && (item->st_mode & 07777) != (m->mode & 07777))
		item->live |= LIVE_MODE;
	if (instant_cmp(item->mtime, m->mtime) != 0)
		item->live |= LIVE_TIME;
	if (item->type == NODE_DIR)
		return E_OK;
	if (item->extra != NULL)
		item->extra->live_ino = m->ino;
	if (item->type == NODE_SYMLINK)
		return compare_target(l, item, e);
	if (item->type != NODE_FILE) {
		if (item->extra != NULL && item->extra->rdev != m->rdev)
			item->live |= LIVE_CONTENT;
		return E_OK;
	}
	if (item->size != m->size) {
		item->live |= LIVE_SIZE;
		return E_OK;
	}
	return compare_content(l, item, e);
}

/* ---- the rule for a conflict ---- */

static const char *const rule_names[] = {
	[CONFLICT_REFUSE] = "refuse",
	[CONFLICT_SNAPSHOT] = "snapshot",
	[CONFLICT_LIVE] = "live",
	[CONFLICT_NEWER] = "newer",
	[CONFLICT_LARGER] = "larger",
	[CONFLICT_KEEP_BOTH] = "keep-both",
	[CONFLICT_ASK] = "ask",
};

const char *
conflict_rule_text(enum conflict_rule rule)
{
	return rule_names[rule];
}

bool
conflict_rule_named(const char *name, enum conflict_rule *out)
{
	for (size_t i = 0; i < sizeof(rule_names) / sizeof(rule_names[0]); i++)
		if (strcmp(rule_names[i], name) == 0) {
			*out = (enum conflict_rule)i;
			return true;
		}
	return false;
}

static enum conflict_rule
chosen(const struct restore *r, const char *path, size_t len)
{
	const struct restore_args *args = r->args;
	enum conflict_rule rule = args->kind == RESTORE_IN_PLACE || args->tree == TREE_EXACT
					  ? CONFLICT_SNAPSHOT
					  : CONFLICT_REFUSE;
	unsigned n = args->choices == NULL ? 0 : rules_match(args->choices, path, len);

	return n == 0 ? rule : args->choice_rules[n - 1];
}

/* A link is as long as what it says; the format has no size for it. */
static uint64_t
length_of(const struct restore_item *item)
{
	bool link = item->type == NODE_SYMLINK && item->extra != NULL;

	return link ? strlen(item->extra->target) : item->size;
}

static enum conflict_rule
settle(enum conflict_rule rule, const struct restore_item *item, const struct os_meta *m)
{
	if (rule == CONFLICT_NEWER)
		return instant_cmp(m->mtime, item->mtime) > 0 ? CONFLICT_LIVE : CONFLICT_SNAPSHOT;
	if (rule == CONFLICT_LARGER)
		return m->size > length_of(item) ? CONFLICT_LIVE : CONFLICT_SNAPSHOT;
	return rule;
}

bool
restore_differs(const struct restore *r, const struct restore_item *item)
{
	unsigned bits = LIVE_DIFFERS;

	if (r->args->kind == RESTORE_IN_PLACE && item->type != NODE_DIR)
		bits |= restore_policy_live(r) | LIVE_LINK;
	return (item->live & bits) != 0;
}

/* Nothing that is there is replaced or moved by an add-only: what rules would is a conflict. */
static enum conflict_rule
bounded(const struct restore *r, enum conflict_rule rule)
{
	return restore_keeps(r) && r->args->tree == TREE_ADD_ONLY && rule != CONFLICT_LIVE
		       ? CONFLICT_REFUSE
		       : rule;
}

static enum ecode
ask_rules(struct restore *r, struct restore_worker *w, const struct restore_item *item,
	enum conflict_rule *rule, struct err *e)
{
	enum ecode rc = restore_path(item->dir, item->name, &w->path, e);

	if (rc != E_OK)
		return rc;
	*rule = chosen(r, (const char *)w->path.p, w->path.len);
	if (*rule == CONFLICT_ASK)
		*rule = r->args->ask == NULL
				? CONFLICT_REFUSE
				: r->args->ask(r->args->ask_arg, (const char *)w->path.p);
	return E_OK;
}

/* What would be replaced is part of what is approved: edited since, it is another plan. */
static enum ecode
note_live(struct looking *l, struct restore_item *item, const struct os_meta *m, struct err *e)
{
	enum ecode rc = E_OK;
	void *p;

	if (S_ISDIR(m->mode))
		return E_OK;
	if (item->extra == NULL) {
		rc = arena_alloc(&l->w->plan, sizeof(*item->extra), &p, e);
		if (rc != E_OK)
			return rc;
		item->extra = p;
		*item->extra = (struct restore_extra){ .names = 1 };
	}
	item->extra->live_size = m->size;
	item->extra->live_mtime = m->mtime;
	item->extra->live_told = true;
	return E_OK;
}

static enum ecode
decide(struct looking *l, struct restore_item *item, const struct os_meta *m, struct err *e)
{
	struct restore *r = l->r;
	enum conflict_rule rule;
	enum ecode rc;

	if (!restore_differs(r, item)) {
		atomic_fetch_add(&r->identical, 1);
		item->decision = CONFLICT_LIVE;
		return E_OK;
	}
	atomic_fetch_add(&r->differing, 1);
	rc = note_live(l, item, m, e);
	if (rc == E_OK)
		rc = ask_rules(r, l->w, item, &rule, e);
	if (rc != E_OK)
		return rc;
	item->decision = (uint8_t)bounded(r, settle(rule, item, m));
	if (item->decision == CONFLICT_REFUSE)
		atomic_fetch_add(&r->unresolved, 1);
	return E_OK;
}

/* ---- one directory ---- */

static enum ecode
only_live(struct looking *l, const struct walk_entry *entry, struct err *e)
{
	struct restore *r = l->r;
	struct restore_extra_live *x;
	enum ecode rc;
	void *p;

	if (l->d->parent == NULL && r->args->kind == RESTORE_IN_PLACE &&
		strcmp(entry->name, RESTORE_STAGE_INSIDE) == 0)
		return E_OK;
	if (l->d->parent == NULL && strcmp(entry->name, ARTIFACTS_DIR) == 0 &&
		!(restore_keeps(r) && r->dest.records == RECORDS_FOREIGN))
		return E_OK; /* D-6: judged by the look at the destination */
	rc = arena_alloc(&l->w->plan, sizeof(*x), &p, e);
	if (rc != E_OK)
		return rc;
	x = p;
	*x = (struct restore_extra_live){ .st_mode = entry->meta.mode, .size = entry->meta.size };
	rc = restore_path(l->d, entry->name, &l->w->path, e);
	if (rc == E_OK)
		rc = arena_str(
			&l->w->plan, restore_rel(&l->w->path), l->w->path.len - 1, &x->path, e);
	if (rc != E_OK)
		return rc;
	(void)pthread_mutex_lock(&r->live_lock);
	x->next = r->only_live;
	r->only_live = x;
	(void)pthread_mutex_unlock(&r->live_lock);
	atomic_fetch_add(&r->only_live_count, 1);
	return E_OK;
}

static bool
is_planned(const struct restore_item *item)
{
	return item->type != NODE_DIR || item->to.child->wanted;
}

static enum ecode
compare_one(
	struct looking *l, struct restore_item *item, const struct walk_entry *entry, struct err *e)
{
	enum ecode rc;

	if (!entry->have_meta)
		return err_set(e, E_PLACE_IO, entry->sys, "stat %s", item->name);
	rc = compare_entry(l, item, &entry->meta, e);
	return rc == E_OK ? decide(l, item, &entry->meta, e) : rc;
}

/* Both lists ascend by name. */
static enum ecode
compare_lists(struct looking *l, const struct walk_list *list, struct err *e)
{
	size_t i = 0, k = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && (i < l->d->count || k < list->n)) {
		struct restore_item *item = i < l->d->count ? &l->d->items[i] : NULL;
		int order;

		if (item != NULL && !is_planned(item)) {
			i++;
			continue;
		}
		order = item == NULL ? 1 : k == list->n ? -1 : strcmp(item->name, list->v[k].name);
		if (order < 0)
			atomic_fetch_add(&l->r->fresh, 1);
		else if (order > 0)
			rc = only_live(l, &list->v[k], e);
		else
			rc = compare_one(l, item, &list->v[k], e);
		i += order <= 0;
		k += order >= 0;
	}
	return rc;
}

static enum ecode compare_dir_task(struct flow_task *task, unsigned worker, struct err *e);

/* Below a directory that is not there, or is something else, everything is new. */
static enum ecode
go_down(struct looking *l, struct err *e)
{
	(void)e;
	for (size_t i = 0; i < l->d->count; i++) {
		struct restore_item *item = &l->d->items[i];

		if (item->type != NODE_DIR || !item->to.child->wanted)
			continue;
		item->to.child->task.run = compare_dir_task;
		flow_add(l->r->s->flow, &item->to.child->task);
	}
	return E_OK;
}

static bool
is_there(const struct restore_dir *d)
{
	return d->parent == NULL ||
	       ((d->self->live & LIVE_THERE) != 0 && (d->self->live & LIVE_TYPE) == 0);
}

static enum ecode
compare_dir(struct looking *l, struct err *e)
{
	struct walk_list list = { 0 };
	enum ecode rc = restore_path(l->d, NULL, &l->w->path, e);

	if (rc == E_OK)
		rc = place_open_dir(l->r->live, restore_rel(&l->w->path), &l->fd, e);
	if (rc == E_OK)
		rc = walk_dir(l->r->s->os, l->fd, l->d->self->name, &l->w->nodes, &list, e);
	if (rc == E_OK)
		rc = compare_lists(l, &list, e);
	io_close(l->r->s->os, &l->fd);
	return rc;
}

static enum ecode
compare_dir_task(struct flow_task *task, unsigned worker, struct err *e)
{
	struct restore_dir *d = (struct restore_dir *)task;
	struct looking l = { .r = d->run, .w = &d->run->worker[worker], .d = d, .fd = -1 };
	enum ecode rc = restore_asked_to_stop(l.r, e);

	if (rc == E_OK && is_there(d))
		rc = compare_dir(&l, e);
	else if (rc == E_OK)
		for (size_t i = 0; i < d->count; i++)
			if (is_planned(&d->items[i]))
				atomic_fetch_add(&l.r->fresh, 1);
	arena_reset(&l.w->nodes);
	return rc == E_OK ? go_down(&l, e) : rc;
}

/* ---- names of one inode ---- */

/*
 * Once all of them were looked at.  A restore in place that ended between two
 * names of one inode leaves two files that are right each by itself.
 */
static enum ecode
compare_link(struct restore *r, struct restore_item *item, struct err *e)
{
	struct restore_worker *w = &r->worker[r->s->workers];
	const struct restore_item *first = item->to.link_to;
	bool differed = restore_differs(r, item);
	enum conflict_rule rule;
	enum ecode rc;

	if (item->extra == NULL || first->extra == NULL || item->extra->live_ino == 0 ||
		first->extra->live_ino == 0 || item->extra->live_ino == first->extra->live_ino)
		return E_OK;
	item->live |= LIVE_LINK;
	if (differed)
		return E_OK;
	atomic_fetch_sub(&r->identical, 1);
	atomic_fetch_add(&r->differing, 1);
	rc = ask_rules(r, w, item, &rule, e);
	if (rc != E_OK)
		return rc;
	/* neither is newer nor larger */
	item->decision = rule == CONFLICT_NEWER || rule == CONFLICT_LARGER ? CONFLICT_SNAPSHOT
									   : (uint8_t)rule;
	if (item->decision == CONFLICT_REFUSE)
		atomic_fetch_add(&r->unresolved, 1);
	return E_OK;
}

static enum ecode
compare_links(struct restore *r, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && r->args->kind == RESTORE_IN_PLACE && i < r->link_count;
		i++)
		rc = compare_link(r, r->links[i], e);
	return rc;
}

enum ecode
restore_live_compare(struct restore *r, struct err *e)
{
	enum ecode rc;

	if (!r->dest.exists) {
		r->fresh = r->planned.files + r->planned.dirs + r->planned.others;
		return E_OK;
	}
	rc = place_look_at(r->s->os, r->dest.parent_fd, r->dest.base, &r->live, e);
	if (rc != E_OK)
		return rc;
	r->root->task.run = compare_dir_task;
	flow_add(r->s->flow, &r->root->task);
	rc = flow_finish(r->s->flow, e);
	return rc == E_OK ? compare_links(r, e) : rc;
}
