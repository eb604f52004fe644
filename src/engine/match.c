/*
 * The walk goes through the trees in the order of names.  Beside it runs one
 * listing for each directory on the way down; both ascend, so each name is
 * met once, and what the listing has between two names is extra.
 */
#include "engine/match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/inspect.h"
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

static void
level_drop(struct matching *m)
{
	struct level *l = m->top;

	m->top = l->up;
	io_close(m->s->os, &l->fd);
	arena_done(&l->arena);
	free(l);
}

static void
matching_done(struct matching *m)
{
	while (m->top != NULL)
		level_drop(m);
	match_vault_close(&m->vault);
	place_close(&m->place);
	map_done(&m->names);
	buf_done(&m->path);
	buf_done(&m->scratch);
	buf_done(&m->text);
}

/* ---- telling ---- */

static enum ecode
tell(struct matching *m, const struct match_record *r, struct err *e)
{
	struct progress *p = m->s->listener->progress;

	m->out->status[r->status]++;
	if (r->hashed) {
		m->out->hashed_files++;
		m->out->hashed_bytes += r->expected_size;
	}
	atomic_fetch_add_explicit(&p->done_items, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->done_bytes, r->expected_size, memory_order_relaxed);
	return m->args->each == NULL ? E_OK : m->args->each(m->args->each_arg, r, e);
}

/* m->path becomes "/a/b/name". */
static enum ecode
tell_extra(struct matching *m, const struct level *l, const struct walk_entry *entry, struct err *e)
{
	struct match_record r = { .status = MATCH_EXTRA, .why = "it is not in the snapshot" };
	enum ecode rc;

	if (l->path_len == 0 && m->args->own != NULL && strcmp(entry->name, m->args->own) == 0)
		return E_OK;
	m->path.len = l->path_len;
	rc = buf_add_byte(&m->path, '/', e);
	if (rc == E_OK)
		rc = buf_add(&m->path, entry->name, entry->name_len + (size_t)1, e);
	if (rc != E_OK)
		return rc;
	r.path = (const char *)m->path.p;
	r.actual_size = entry->have_meta && S_ISREG(entry->meta.mode) ? entry->meta.size : 0;
	rc = tell(m, &r, e);
	m->path.len = l->path_len;
	return rc;
}

/* ---- the listings ---- */

static enum ecode
hold_fd(struct matching *m, struct level *l, struct err *e)
{
	enum ecode rc = E_OK;

	if (m->place == NULL || !l->there || l->fd >= 0)
		return rc;
	m->path.len = l->path_len;
	rc = buf_add_byte(&m->path, '\0', e);
	if (rc == E_OK)
		rc = place_open_dir(
			m->place, l->path_len == 0 ? "" : (const char *)m->path.p + 1, &l->fd, e);
	m->path.len = l->path_len;
	return rc;
}

/* From the level above, where that is open: else each level of a deep tree would be walked to from the top. */
static enum ecode
go_below(struct matching *m, struct level *l, struct err *e)
{
	struct level *up = l->up;
	enum ecode rc;

	if (up == NULL || up->fd < 0)
		return hold_fd(m, l, e);
	m->path.len = l->path_len;
	rc = buf_add_byte(&m->path, '\0', e);
	if (rc == E_OK)
		rc = place_open_below(
			m->place, up->fd, (const char *)m->path.p + up->path_len + 1, &l->fd, e);
	m->path.len = l->path_len;
	io_close(m->s->os, &up->fd);
	return rc;
}

/* Opened once more, so that the access time stays where the system allows it. */
static enum ecode
list_level(struct matching *m, struct level *l, struct err *e)
{
	autoclean(io_fd_done) struct io_fd again = { .os = m->s->os, .fd = -1 };
	enum ecode rc = walk_open_dir(m->s->os, l->fd, ".", false, &again.fd, e);

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
		.fd = -1,
		.there = there,
		.unread = unread };
	m->top = l;
	if (m->place == NULL || !there || unread) {
		if (l->up != NULL)
			io_close(m->s->os, &l->up->fd);
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
look(struct matching *m, struct match_record *r, const struct walk_entry *entry, struct err *e)
{
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
		return match_entry(m, r, entry, e);
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
enter(struct matching *m, const struct inspect_item *item, struct match_record *r,
	const struct walk_entry *entry, bool *descend, struct err *e)
{
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
	return rc == E_OK ? tell(m, r, e) : rc;
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
	rc = hold_fd(m, m->top, &why);
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
	struct match_record r = { .path = item->path,
		.node = node,
		.expected_size = node->type == NODE_FILE ? node->size : 0 };
	const struct walk_entry *entry = NULL;
	size_t parent_len = strlen(item->path) - node->name.len - 1;
	enum ecode rc;

	if (!name_is_safe(node->name.p, node->name.len))
		match_flaw(&r, MATCH_ERROR, "its name would leave its place");
	else if (!item->ascends)
		match_flaw(&r, MATCH_ERROR, "its name does not come after the one before it");
	if (r.why != NULL) {
		*descend = false;
		return tell(m, &r, e);
	}
	rc = go_up(m, parent_len, e);
	if (rc != E_OK || !is_wanted(m, item))
		return rc;
	rc = seek(m, item->path + parent_len + 1, &entry, e);
	if (rc != E_OK || node->type == NODE_SOCKET) {
		m->out->sockets += rc == E_OK;
		return rc;
	}
	count(m, node);
	rc = look(m, &r, entry, e);
	if (rc != E_OK)
		return rc;
	return node->type == NODE_DIR ? enter(m, item, &r, entry, descend, e) : tell(m, &r, e);
}

/* What cannot be read of the trees themselves is a finding about the snapshot. */
static enum ecode
tell_broken(struct matching *m, const struct err *why, struct err *e)
{
	struct match_record r = { .path = "/", .status = MATCH_ERROR, .why = why->detail };

	return tell(m, &r, e);
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
	if (rc != E_OK && err_row(rc)->caller == CALLER_CORRUPT)
		return tell_broken(m, &why, e);
	if (rc != E_OK && rc == why.code && e != NULL)
		*e = why;
	while (rc == E_OK && m->top != NULL)
		rc = level_pop(m, e);
	return rc;
}

enum ecode
match_run(struct session *s, const struct match_args *args, struct match_counts *out, struct err *e)
{
	struct progress *p = s->listener->progress;
	autoclean(matching_done) struct matching m = {
		.s = s,
		.args = args,
		.out = out,
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
	return rc == E_OK ? walk(&m, e) : rc;
}
