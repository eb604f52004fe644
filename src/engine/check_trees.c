/*
 * Structure: every tree reachable from a snapshot is loaded once, decoded, and
 * encoded again; every piece of content is in the index and adds up to the
 * recorded size.  What restic's check misses is an error here too (format
 * document 11.12, last paragraph).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check_internal.h"
#include "repo/reader.h"
#include "repo/tree.h"

/* One tree's nodes while it is looked at. */
#define TREE_ARENA_BYTES ((size_t)1 << 32)

struct tree_task {
	struct flow_task task;
	struct check *c;
	struct id id;
};

static void
tree_drop(struct flow_task *task)
{
	free(task); /* task is the first member */
}

static enum ecode tree_run(struct flow_task *task, unsigned worker, struct err *e);

static enum ecode
tree_add(struct check *c, const struct id *id, struct err *e)
{
	struct tree_task *t;
	bool fresh = false;
	enum ecode rc;

	pthread_mutex_lock(&c->lock);
	rc = id_set_add(c->seen_trees, id, &fresh, e);
	pthread_mutex_unlock(&c->lock);
	if (rc != E_OK || !fresh)
		return rc;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return err_set(e, E_NOMEM, 0, "a tree to check");
	*t = (struct tree_task){
		.task = { .run = tree_run, .drop = tree_drop }, .c = c, .id = *id
	};
	flow_add(c->s->flow, &t->task);
	return E_OK;
}

static void
node_name(const struct node *node, char *out, size_t size)
{
	size_t n = node->name.len < size - 1 ? node->name.len : size - 1;

	memcpy(out, node->name.p, n);
	out[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)out[i] < 0x20)
			out[i] = '?'; /* for a message only */
	}
}

static void
check_file(struct check *c, const struct id *tree, const struct node *node)
{
	uint64_t sum = 0;
	char name[128];

	node_name(node, name, sizeof(name));
	if (node->content_null)
		check_error(
			c, E_TREE_FORMAT, "tree", tree, "file \"%s\" has no content list", name);
	for (size_t i = 0; i < node->content_count; i++) {
		uint32_t len;

		if (!index_size(c->s->index, BLOB_DATA, &node->content[i], &len)) {
			char hex[ID_HEX_SIZE];

			id_hex(&node->content[i], hex);
			check_error(c, E_BLOB_ABSENT, "tree", tree,
				"file \"%s\": its content %s is in no index", name, hex);
			return;
		}
		sum += len;
	}
	if (sum != node->size && !node->content_null)
		check_error(c, E_BLOB_LENGTH, "tree", tree,
			"file \"%s\" records %" PRIu64 " bytes, its content has %" PRIu64, name,
			node->size, sum);
}

/* What a restore would refuse, a check must not call sound: both ask node_flaw(). */
static enum ecode
check_node(struct check *c, const struct id *tree, const struct node *node, struct err *e)
{
	const char *flaw = node_flaw(node);
	char name[128];

	if (flaw == NULL && node->type == NODE_DIR && id_is_zero(&node->subtree))
		flaw = "a directory whose subtree is all zeros";
	if (flaw != NULL) {
		node_name(node, name, sizeof(name));
		check_error(c, E_TREE_FORMAT, "tree", tree, "entry \"%s\": %s", name, flaw);
		return E_OK;
	}
	if (node->type == NODE_FILE)
		check_file(c, tree, node);
	return node->type == NODE_DIR ? tree_add(c, &node->subtree, e) : E_OK;
}

static void
check_flaws(struct check *c, const struct id *tree, const struct tree_flaws *flaws, bool canonical)
{
	if (flaws->bad_name)
		check_error(c, E_PATH_UNSAFE, "tree", tree, "a name in it is no name for a file");
	if (flaws->duplicate)
		check_error(c, E_TREE_FORMAT, "tree", tree, "a name occurs twice");
	if (flaws->unsorted)
		check_error(c, E_TREE_FORMAT, "tree", tree, "its names are not sorted");
	if (!canonical && !flaws->bad_name && !flaws->duplicate && !flaws->unsorted)
		check_hint(c, E_TREE_FORMAT, "tree", tree,
			"its text is not in the canonical form (another program wrote it)");
}

struct tree_walk {
	struct check *c;
	const struct id *id;
	struct tree_reader reader;
	struct tree_writer writer;
	struct buf again; /* the same nodes, encoded by us */
	bool comparable;
};

static enum ecode
next_node(struct tree_walk *w, bool *more, struct err *e)
{
	const struct tree_flaws *flaws = &w->reader.flaws;
	struct node node;
	enum ecode rc = tree_next(&w->reader, &node, more, e);

	if (rc != E_OK || !*more)
		return rc;
	/* the writer wants ascending names; a tree without them is reported anyway */
	w->comparable = w->comparable && !flaws->unsorted && !flaws->duplicate &&
			!flaws->bad_name && node.type != NODE_IRREGULAR;
	if (w->comparable)
		rc = tree_put(&w->writer, &node, e);
	return rc == E_OK ? check_node(w->c, w->id, &node, e) : rc;
}

static enum ecode
walk_tree(struct check *c, const struct id *id, const struct buf *text, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(TREE_ARENA_BYTES);
	struct tree_walk w = {
		.c = c, .id = id, .again = buf_limit(BLOB_PLAIN_MAX_BYTES), .comparable = true
	};
	bool more = true, canonical = true;
	enum ecode rc;

	tree_reader_init(&w.reader, text->p, text->len, &a);
	rc = tree_begin(&w.writer, &w.again, e);
	while (rc == E_OK && more)
		rc = next_node(&w, &more, e);
	if (rc == E_OK && w.comparable)
		rc = tree_end(&w.writer, e);
	if (rc == E_OK) {
		canonical = w.comparable && w.again.len == text->len &&
			    memcmp(w.again.p, text->p, text->len) == 0;
		check_flaws(c, id, &w.reader.flaws, canonical);
	}
	buf_done(&w.again);
	return rc;
}

/* Our own troubles stop the check; what is wrong with the tree is a finding. */
static bool
stops_check(enum ecode rc)
{
	return rc == E_NOMEM || rc == E_FLOW_STOPPED || rc == E_INTERRUPTED || rc == E_CRYPTO ||
	       rc == E_BUG;
}

static enum ecode
tree_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct tree_task *t = (struct tree_task *)task; /* task is the first member */
	struct check *c = t->c;
	struct session *s = c->s;
	struct id id = t->id;
	autoclean(buf_done) struct buf scratch = buf_limit(BLOB_PLAIN_MAX_BYTES);
	autoclean(buf_done) struct buf text = buf_limit(BLOB_PLAIN_MAX_BYTES);
	enum ecode rc = check_stopped(c, e);

	free(t);
	if (rc == E_OK)
		rc = blob_load(
			s->vault, s->index, s->codec[worker], BLOB_TREE, &id, &scratch, &text, e);
	if (rc == E_OK)
		rc = walk_tree(c, &id, &text, e);
	atomic_fetch_add(&c->trees, 1);
	atomic_fetch_add(&s->listener->progress->done_items, 1);
	if (rc == E_OK || stops_check(rc))
		return rc;
	check_error(c, rc, "tree", &id, "%s: %s", err_row(rc)->what, e->detail);
	return E_OK;
}

enum ecode
check_trees(struct check *c, const struct snapshot_list *snapshots, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < snapshots->n; i++)
		rc = tree_add(c, &snapshots->v[i].tree, e);
	return rc == E_OK ? flow_finish(c->s->flow, e) : rc;
}
