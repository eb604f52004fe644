/*
 * The walk goes through the trees in the order of names.  Beside it runs one
 * listing for each directory on the way down; both ascend, so each name is
 * met once, and what the listing has between two names is extra.  What the walk
 * meets becomes an item; with threads the items are compared ahead of being
 * told (match_ahead.h), without them each one when it is told.
 */
#include "engine/match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/inspect.h"
#include "engine/match_ahead.h"
#include "engine/match_internal.h"
#include "os/io.h"
#include "repo/reader.h"

/* One directory's listing: 300 bytes a name, a hundred million names. */
#define LEVEL_ARENA_BYTES ((size_t)1 << 35)

const char *
match_status_text(enum match_status status)
{
	switch (status) {
	case MATCH_OK:
		return "ok";
	case MATCH_MISSING:
		return "missing";
	case MATCH_SIZE:
		return "size_mismatch";
	case MATCH_HASH:
		return "hash_mismatch";
	case MATCH_ERROR:
		return "error";
	case MATCH_EXTRA:
		return "extra";
	case MATCH_METADATA:
		return "metadata";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

const char *
match_level_text(enum match_level level)
{
	switch (level) {
	case MATCH_EXISTENCE:
		return "existence";
	case MATCH_SIZES:
		return "size";
	case MATCH_HASHES:
		return "hash";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* ---- open directories ---- */

enum ecode
match_dir_new(const struct os *os, struct match_dir **out, struct err *e)
{
	struct match_dir *d = malloc(sizeof(*d));

	if (d == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a directory");
	*d = (struct match_dir){ .os = os, .refs = 1, .fd = -1 };
	*out = d;
	return E_OK;
}

struct match_dir *
match_dir_get(struct match_dir *d)
{
	d->refs++;
	return d;
}

void
match_dir_put(struct match_dir **d)
{
	if (*d != NULL && --(*d)->refs == 0) {
		io_close((*d)->os, &(*d)->fd);
		free(*d);
	}
	*d = NULL;
}

/* ---- the beginning and the end ---- */

static void
level_drop(struct matching *m)
{
	struct level *l = m->top;

	m->top = l->up;
	match_dir_put(&l->dir);
	arena_done(&l->arena);
	free(l);
}

static void
matching_done(struct matching *m)
{
	match_ahead_close(&m->ahead); /* first: its workers use all the rest */
	while (m->top != NULL)
		level_drop(m);
	match_hand_done(&m->hand);
	match_vault_close(&m->vault);
	place_close(&m->place);
	map_done(&m->names);
	buf_done(&m->path);
	buf_done(&m->scratch);
	buf_done(&m->text);
}

/* ---- telling ---- */

static void
count(struct matching *m, const struct node *node)
{
	if (node->type == NODE_DIR)
		m->out->dirs++;
	else if (node->type != NODE_FILE)
		m->out->others++;
	else
		m->out->files++;
	m->out->bytes += node->type == NODE_FILE ? node->size : 0;
}

static enum ecode
report(struct matching *m, const struct match_record *r, struct err *e)
{
	struct progress *p = m->s->listener->progress;

	m->out->status[r->status]++;
	if (r->hashed) {
		m->out->hashed_files++;
		m->out->hashed_bytes += r->expected_size;
	}
	atomic_fetch_add_explicit(&p->done_items, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->done_bytes, r->expected_size, memory_order_relaxed);
	return m->args->each == NULL ? E_OK : m->args->each(m->args->arg, r, e);
}

enum ecode
match_conclude(struct matching *m, struct match_item *item, struct err *e)
{
	enum ecode rc = item->links ? match_links(m, item, e) : E_OK;

	if (item->counts)
		count(m, item->r.node);
	m->out->unproven += item->unproven;
	return rc == E_OK ? report(m, &item->r, e) : rc;
}

/* All of a record goes through here, in order. */
static enum ecode
tell(struct matching *m, struct match_item *item, struct err *e)
{
	enum ecode rc = E_OK;

	if (m->ahead != NULL)
		rc = match_ahead_put(m->ahead, item, e);
	else if (item->due)
		rc = match_entry(&m->hand, m->args, item, e);
	if (rc == E_OK && m->ahead == NULL)
		rc = match_conclude(m, item, e);
	m->refused |= rc != E_OK;
	return rc;
}

/* m->path becomes "/a/b/name". */
static enum ecode
tell_extra(struct matching *m, const struct level *l, const struct walk_entry *entry, struct err *e)
{
	struct match_item extra = { .r = { .status = MATCH_EXTRA,
					    .why = "it is not in the snapshot" } };
	enum ecode rc;

	if (l->path_len == 0 && m->args->own != NULL && strcmp(entry->name, m->args->own) == 0)
		return E_OK;
	m->path.len = l->path_len;
	rc = buf_add_byte(&m->path, '/', e);
	if (rc == E_OK)
		rc = buf_add(&m->path, entry->name, entry->name_len + (size_t)1, e);
	if (rc != E_OK)
		return rc;
	extra.r.path = (const char *)m->path.p;
	extra.r.actual_size = entry->have_meta && S_ISREG(entry->meta.mode) ? entry->meta.size : 0;
	rc = tell(m, &extra, e);
	m->path.len = l->path_len;
	return rc;
}

/* ---- the listings ---- */

static enum ecode
hold_dir(struct matching *m, struct level *l, struct err *e)
{
	enum ecode rc = E_OK;

	if (m->place == NULL || !l->there || l->dir != NULL)
		return rc;
	rc = match_dir_new(m->s->os, &l->dir, e);
	m->path.len = l->path_len;
	if (rc == E_OK)
		rc = buf_add_byte(&m->path, '\0', e);
	if (rc == E_OK)
		rc = place_open_dir(m->place, l->path_len == 0 ? "" : (const char *)m->path.p + 1,
			&l->dir->fd, e);
	m->path.len = l->path_len;
	if (rc != E_OK)
		match_dir_put(&l->dir);
	return rc;
}

/* From the level above, where that is open: else each level of a deep tree would be walked to from the top. */
static enum ecode
go_below(struct matching *m, struct level *l, struct err *e)
{
	struct level *up = l->up;
	enum ecode rc;

	if (up == NULL || up->dir == NULL)
		return hold_dir(m, l, e);
	rc = match_dir_new(m->s->os, &l->dir, e);
	m->path.len = l->path_len;
	if (rc == E_OK)
		rc = buf_add_byte(&m->path, '\0', e);
	if (rc == E_OK)
		rc = place_open_below(m->place, up->dir->fd,
			(const char *)m->path.p + up->path_len + 1, &l->dir->fd, e);
	m->path.len = l->path_len;
	match_dir_put(&up->dir);
	if (rc != E_OK)
		match_dir_put(&l->dir);
	return rc;
}

/* Opened once more, so that the access time stays where the system allows it. */
static enum ecode
list_level(struct matching *m, struct level *l, struct err *e)
{
	autoclean(io_fd_done) struct io_fd again = { .os = m->s->os, .fd = -1 };
	enum ecode rc = walk_open_dir(m->s->os, l->dir->fd, ".", false, &again.fd, e);

	return rc == E_OK ? walk_dir(m->s->os, again.fd, "a directory", &l->arena, &l->list, e)
			  : rc;
}

/* What cannot be looked at is a finding; only of the directory that was named it is a refusal. */
static enum ecode
judge_level(struct level *l, enum ecode rc, const struct err *why, struct err *e)
{
	bool descriptors = why->sys == EMFILE || why->sys == ENFILE;

	if (rc == E_OK || (l->up != NULL && !match_is_fatal(rc) && !descriptors)) {
		l->unread |= rc != E_OK;
		return E_OK;
	}
	*e = *why;
	return rc;
}

/* m->path holds the directory's. */
static enum ecode
level_push(struct matching *m, bool there, bool unread, struct err *e)
{
	struct level *l = malloc(sizeof(*l));
	struct err why = { .code = E_OK };
	enum ecode rc;

	if (l == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a directory");
	*l = (struct level){ .up = m->top,
		.arena = arena_limit(LEVEL_ARENA_BYTES),
		.path_len = m->path.len,
		.there = there,
		.unread = unread };
	m->top = l;
	if (m->place == NULL || !there || unread) {
		if (l->up != NULL)
			match_dir_put(&l->up->dir);
		return E_OK;
	}
	rc = go_below(m, l, &why);
	if (rc == E_OK)
		rc = list_level(m, l, &why);
	return judge_level(l, rc, &why, e);
}

static enum ecode
level_pop(struct matching *m, struct err *e)
{
	struct level *l = m->top;
	enum ecode rc = E_OK;

	for (; rc == E_OK && l->at < l->list.n; l->at++)
		rc = tell_extra(m, l, &l->list.v[l->at], e);
	m->path.len = l->path_len;
	if (rc == E_OK)
		level_drop(m);
	return rc;
}

/* The entry of this name, or NULL; what comes before it is extra. */
static enum ecode
seek(struct matching *m, const char *name, const struct walk_entry **out, struct err *e)
{
	struct level *l = m->top;
	enum ecode rc = E_OK;
	int order = 1;

	*out = NULL;
	while (rc == E_OK && l->at < l->list.n) {
		order = strcmp(l->list.v[l->at].name, name);
		if (order >= 0)
			break;
		rc = tell_extra(m, l, &l->list.v[l->at++], e);
	}
	if (rc == E_OK && l->at < l->list.n && order == 0)
		*out = &l->list.v[l->at++];
	return rc;
}

/* ---- the walk ---- */

/* Can the tree be read?  Asked first, so that the walk can go round it. */
static enum ecode
try_tree(struct matching *m, const struct id *tree, bool *whole, struct err *why, struct err *e)
{
	struct session *s = m->s;
	enum ecode rc =
		blob_load(s->vault, s->index, s->own, BLOB_TREE, tree, &m->scratch, &m->text, why);

	*whole = rc == E_OK;
	if (rc != E_NOMEM)
		return E_OK;
	*e = *why;
	return rc;
}

/* There is something of its name.  A directory is compared at once: whether it is entered is told with it. */
static enum ecode
look_at(struct matching *m, struct match_item *item, const struct walk_entry *entry, struct err *e)
{
	if (!entry->have_meta) {
		match_flaw(&item->r, MATCH_ERROR, strerrordesc_np(entry->sys));
		return E_OK;
	}
	item->due = true;
	item->dir = m->top->dir;
	item->meta = entry->meta;
	return item->r.node->type == NODE_DIR ? match_entry(&m->hand, m->args, item, e) : E_OK;
}

static enum ecode
look(struct matching *m, struct match_item *item, const struct walk_entry *entry, struct err *e)
{
	struct match_record *r = &item->r;
	bool device = r->node->type == NODE_DEV || r->node->type == NODE_CHARDEV;
	const char *why = node_flaw(r->node);

	if (why != NULL) {
		match_flaw(r, MATCH_ERROR, why);
		return E_OK;
	}
	if (m->vault != NULL)
		return r->node->type == NODE_FILE ? match_vault_file(m->vault, r, e) : E_OK;
	if (m->top->unread) {
		match_flaw(r, MATCH_ERROR, "its directory cannot be read");
		return E_OK;
	}
	if (entry != NULL)
		return look_at(m, item, entry, e);
	if (device && !m->args->privileged)
		m->out->unproven++;
	else if (m->args->wanted == NULL || r->node->type != NODE_DIR)
		match_flaw(r, MATCH_MISSING, "it is not there");
	return E_OK;
}

/* What is in it, and what is at the same place here. */
static enum ecode
descend_into(struct matching *m, const struct inspect_item *item, struct match_record *r,
	const struct walk_entry *entry, struct err *e)
{
	bool there =
		entry != NULL && entry->have_meta && node_type_fits(NODE_DIR, entry->meta.mode);
	bool unread = m->top->unread || (entry != NULL && !entry->have_meta);
	enum ecode rc;

	m->path.len = 0;
	rc = buf_add(&m->path, item->path, strlen(item->path), e);
	if (rc == E_OK)
		rc = level_push(m, there, unread, e);
	if (rc == E_OK && m->top->unread && r->why == NULL)
		match_flaw(r, MATCH_ERROR, "it cannot be read");
	return rc;
}

static enum ecode
enter(struct matching *m, const struct inspect_item *item, struct match_item *told,
	const struct walk_entry *entry, bool *descend, struct err *e)
{
	struct match_record *r = &told->r;
	struct err why = { .code = E_OK };
	bool whole = false;
	enum ecode rc = E_OK;

	if (!item->node->has_subtree)
		match_flaw(r, MATCH_ERROR, "the snapshot does not say what is in it");
	else
		rc = try_tree(m, &item->node->subtree, &whole, &why, e);
	if (rc == E_OK && item->node->has_subtree && !whole)
		match_flaw(r, MATCH_ERROR, why.detail);
	*descend = whole;
	if (rc == E_OK && whole)
		rc = descend_into(m, item, r, entry, e);
	return rc == E_OK ? tell(m, told, e) : rc;
}

static enum ecode
go_up(struct matching *m, size_t parent_len, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode rc = E_OK;

	while (rc == E_OK && m->top->path_len > parent_len)
		rc = level_pop(m, e);
	if (rc != E_OK || m->top->unread)
		return rc;
	rc = hold_dir(m, m->top, &why);
	return judge_level(m->top, rc, &why, e);
}

static bool
is_wanted(const struct matching *m, const struct inspect_item *item)
{
	return m->args->wanted == NULL || item->node->type == NODE_DIR ||
	       m->args->wanted(m->args->wanted_arg, item->path, strlen(item->path));
}

static enum ecode
each_node(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	struct matching *m = arg;
	const struct node *node = item->node;
	struct match_item told = { .r = { .path = item->path,
					   .node = node,
					   .expected_size =
						   node->type == NODE_FILE ? node->size : 0 } };
	const struct walk_entry *entry = NULL;
	size_t parent_len = strlen(item->path) - node->name.len - 1;
	enum ecode rc;

	if (!name_is_safe(node->name.p, node->name.len))
		match_flaw(&told.r, MATCH_ERROR, "its name would leave its place");
	else if (!item->ascends)
		match_flaw(&told.r, MATCH_ERROR, "its name does not come after the one before it");
	if (told.r.why != NULL) {
		*descend = false;
		return tell(m, &told, e);
	}
	rc = go_up(m, parent_len, e);
	if (rc != E_OK || !is_wanted(m, item))
		return rc;
	rc = seek(m, item->path + parent_len + 1, &entry, e);
	if (rc != E_OK || node->type == NODE_SOCKET) {
		m->out->sockets += rc == E_OK;
		return rc;
	}
	told.counts = true;
	rc = look(m, &told, entry, e);
	if (rc != E_OK)
		return rc;
	return node->type == NODE_DIR ? enter(m, item, &told, entry, descend, e)
				      : tell(m, &told, e);
}

/* What cannot be read of the trees themselves is a finding about the snapshot. */
static enum ecode
tell_broken(struct matching *m, const struct err *why, struct err *e)
{
	struct match_item broken = {
		.r = { .path = "/", .status = MATCH_ERROR, .why = why->detail }
	};

	return tell(m, &broken, e);
}

static enum ecode
begin(struct matching *m, struct err *e)
{
	struct session *s = m->s;
	enum ecode rc = E_OK;

	if (index_blob_count(s->index) == 0)
		rc = session_load_index(s, e);
	if (rc == E_OK && m->args->dir != NULL)
		rc = place_look(s->os, m->args->dir, &m->place, e);
	else if (rc == E_OK)
		rc = match_vault_open(s, m->args->level, &m->vault, e);
	if (rc == E_OK && m->args->dir != NULL && s->threads > 0 && !flow_stopping(s->flow))
		rc = match_ahead_open(m, &m->ahead, e);
	return rc == E_OK ? level_push(m, true, false, e) : rc;
}

static enum ecode
walk(struct matching *m, struct err *e)
{
	struct err why = { .code = E_OK };
	bool whole;
	enum ecode rc = try_tree(m, m->args->tree, &whole, &why, e);

	if (rc == E_OK && !whole)
		return tell_broken(m, &why, e);
	if (rc == E_OK)
		rc = inspect_walk(m->s, m->args->tree, each_node, m, &why);
	if (rc != E_OK && !m->refused && err_row(rc)->caller == CALLER_CORRUPT)
		return tell_broken(m, &why, e);
	if (rc != E_OK && rc == why.code && e != NULL)
		*e = why;
	while (rc == E_OK && m->top != NULL)
		rc = level_pop(m, e);
	return rc;
}

/* What was met before a refusal is told before it, and a refusal in there came first.  Who stops is not made to wait. */
static enum ecode
tell_rest(struct matching *m, enum ecode rc, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode got;

	if (m->ahead == NULL || rc == E_INTERRUPTED)
		return rc;
	got = match_ahead_drain(m->ahead, &why);
	if (got != E_OK && e != NULL)
		*e = why;
	return got != E_OK ? got : rc;
}

enum ecode
match_run(struct session *s, const struct match_args *args, struct match_counts *out, struct err *e)
{
	struct progress *p = s->listener->progress;
	autoclean(matching_done) struct matching m = {
		.s = s,
		.args = args,
		.out = out,
		.hand = match_hand_of(s, s->own),
		.path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2),
		.scratch = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD),
		.text = buf_limit(BLOB_PLAIN_MAX_BYTES),
	};
	enum ecode rc;

	*out = (struct match_counts){ .files = 0 };
	atomic_store(&p->phase, PHASE_VERIFY);
	atomic_store(&p->done_items, 0);
	atomic_store(&p->done_bytes, 0);
	rc = begin(&m, e);
	if (rc == E_OK)
		rc = walk(&m, e);
	return tell_rest(&m, rc, e);
}
