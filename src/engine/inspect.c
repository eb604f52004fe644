/* Looking.  The walk keeps one frame per level on the heap: depth costs memory, never stack. */
#include "engine/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/incomplete.h"
#include "engine/repeats.h"
#include "repo/reader.h"

/* Names, attributes and content lists of one directory. */
#define INSPECT_ARENA_BYTES ((size_t)1 << 32)

static enum ecode
need_index(struct session *s, struct err *e)
{
	return index_blob_count(s->index) == 0 ? session_load_index(s, e) : E_OK;
}

/* One directory on the way down. */
struct frame {
	struct frame *up;
	struct arena arena;
	struct buf text;
	struct tree_reader reader;
	size_t path_len; /* of its path */
	bool again;      /* this tree was walked before */
};

static void
frame_pop(struct frame **top)
{
	struct frame *f = *top;

	*top = f->up;
	arena_done(&f->arena);
	buf_done(&f->text);
	free(f);
}

static void
frames_done(struct frame **top)
{
	while (*top != NULL)
		frame_pop(top);
}

static enum ecode
frame_push(struct session *s, struct frame **top, const struct id *tree, size_t path_len,
	struct err *e)
{
	autoclean(buf_done) struct buf scratch = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD);
	struct frame *f = malloc(sizeof(*f));
	enum ecode rc;

	if (f == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a directory");
	*f = (struct frame){
		.up = *top,
		.arena = arena_limit(INSPECT_ARENA_BYTES),
		.text = buf_limit(BLOB_PLAIN_MAX_BYTES),
		.path_len = path_len,
	};
	*top = f;
	rc = blob_load(s->vault, s->index, s->own, BLOB_TREE, tree, &scratch, &f->text, e);
	if (rc == E_OK)
		tree_reader_init(&f->reader, f->text.p, f->text.len, &f->arena);
	else
		frame_pop(top);
	return rc;
}

struct walk {
	struct session *s;
	enum ecode (*each)(
		void *arg, const struct inspect_item *item, bool *descend, struct err *e);
	void *arg;
	struct frame *top;
	struct buf path;
	struct repeats repeats;
};

static void
walk_done(struct walk *w)
{
	frames_done(&w->top);
	buf_done(&w->path);
	repeats_done(&w->repeats);
}

static enum ecode
walk_push(struct walk *w, const struct id *tree, size_t path_len, struct err *e)
{
	bool again;
	enum ecode rc = repeats_enter(&w->repeats, tree, &again, e);

	if (rc == E_OK)
		rc = frame_push(w->s, &w->top, tree, path_len, e);
	if (rc == E_OK)
		w->top->again = again;
	return rc;
}

static enum ecode
visit(struct walk *w, const struct node *node, struct err *e)
{
	struct tree_flaws *flaws = &w->top->reader.flaws;
	struct inspect_item item = { .node = node,
		.ascends = !flaws->unsorted && !flaws->duplicate };
	bool descend = node->type == NODE_DIR && node->has_subtree;
	enum ecode rc = repeats_entry(&w->repeats, w->top->again, e);

	flaws->unsorted = flaws->duplicate = false; /* of this node only */
	w->path.len = w->top->path_len;
	if (rc == E_OK)
		rc = buf_add_byte(&w->path, '/', e);
	if (rc == E_OK)
		rc = buf_add(&w->path, node->name.p, node->name.len, e);
	if (rc == E_OK)
		rc = buf_add_byte(&w->path, '\0', e);
	if (rc != E_OK)
		return rc;
	w->path.len--;
	item.path = (const char *)w->path.p;
	rc = w->each(w->arg, &item, &descend, e);
	if (rc != E_OK || !descend || node->type != NODE_DIR || !node->has_subtree)
		return rc;
	rc = walk_push(w, &node->subtree, w->path.len, e);
	if (rc != E_OK)
		err_note(e, "while reading %.200s", item.path);
	return rc;
}

enum ecode
inspect_walk(struct session *s, const struct id *root_tree,
	enum ecode (*each)(
		void *arg, const struct inspect_item *item, bool *descend, struct err *e),
	void *arg, struct err *e)
{
	autoclean(walk_done) struct walk w = {
		.s = s,
		.each = each,
		.arg = arg,
		.path = buf_limit(
			PATH_TEXT_MAX + NAME_BYTES_MAX + 2), /* of a directory, and a name in it */
	};
	const struct listener *l = s->listener;
	struct node node;
	enum ecode rc;
	bool more;

	repeats_init(&w.repeats, s->index);
	rc = need_index(s, e);
	if (rc == E_OK)
		rc = walk_push(&w, root_tree, 0, e);
	while (rc == E_OK && w.top != NULL) {
		if (l->stop(l->arg))
			return err_set(e, E_INTERRUPTED, 0, "looking through a snapshot");
		rc = tree_next(&w.top->reader, &node, &more, e);
		if (rc == E_OK && more)
			rc = visit(&w, &node, e);
		else if (rc == E_OK)
			frame_pop(&w.top);
	}
	return rc;
}

/* ---- one folder ---- */

static enum ecode
step_down(struct session *s, struct id *tree, struct slice name, const char *sub, struct err *e)
{
	struct frame *f = NULL;
	struct node node;
	enum ecode rc;
	bool more = true, found = false;

	rc = frame_push(s, &f, tree, 0, e);
	while (rc == E_OK && more && !found) {
		rc = tree_next(&f->reader, &node, &more, e);
		found = rc == E_OK && more && node.name.len == name.len &&
			memcmp(node.name.p, name.p, name.len) == 0;
	}
	if (rc == E_OK && (!found || node.type != NODE_DIR || !node.has_subtree))
		rc = err_set(e, E_SUBPATH_ABSENT, 0, "%s leads nowhere: \"%.*s\" is not %s", sub,
			(int)name.len, (const char *)name.p, found ? "a folder" : "there");
	if (rc == E_OK)
		*tree = node.subtree;
	frames_done(&f);
	return rc;
}

enum ecode
inspect_subtree(
	struct session *s, const struct id *root, const char *sub, struct id *out, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	struct id tree = *root;
	enum ecode rc;

	rc = buf_add_byte(&clean, '/', e);
	if (rc == E_OK)
		rc = buf_add_str(&clean, sub, e);
	if (rc == E_OK)
		rc = need_index(s, e);
	for (size_t at = 0, end; rc == E_OK && at < clean.len; at = end) {
		while (at < clean.len && clean.p[at] == '/')
			at++;
		for (end = at; end < clean.len && clean.p[end] != '/';)
			end++;
		if (end > at)
			rc = step_down(s, &tree, (struct slice){ clean.p + at, end - at }, sub, e);
	}
	if (rc == E_OK)
		*out = tree;
	return rc;
}

/* ---- cat ---- */

struct cat_kind {
	const char *text;
	enum okind kind;
};

static bool
object_kind(const char *text, enum okind *out)
{
	static const struct cat_kind kinds[] = {
		{ "key", O_KEY },
		{ "snapshot", O_SNAPSHOT },
		{ "index", O_INDEX },
		{ "lock", O_LOCK },
		{ "pack", O_PACK },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].text, text) == 0) {
			*out = kinds[i].kind;
			return true;
		}
	return false;
}

static enum ecode
cat_object(struct session *s, enum okind kind, const char *id_text, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(UNPACKED_MAX_BYTES);
	struct oname name = { .kind = kind };
	enum ecode rc;

	rc = vault_find(s->vault, kind, id_text, &name.id, e);
	if (rc != E_OK)
		return kind == O_SNAPSHOT ? incomplete_named(s, id_text, rc, e) : rc;
	if (kind == O_PACK || kind == O_KEY)
		return store_get_all(s->store, &name, out, e);
	rc = vault_load(s->vault, s->own, kind, &name.id, &text, e);
	return rc == E_OK ? buf_add(out, text.p, text.len, e) : rc;
}

static enum ecode
cat_blob(
	struct session *s, enum blob_kind kind, const char *id_text, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf scratch = buf_limit(BLOB_PLAIN_MAX_BYTES + SEAL_OVERHEAD);
	autoclean(buf_done) struct buf plain = buf_limit(BLOB_PLAIN_MAX_BYTES);
	struct id id;
	enum ecode rc;

	if (!id_parse(id_text, strlen(id_text), &id))
		return err_set(
			e, E_ID_SYNTAX, 0, "%s: all 64 digits of a blob's id are needed", id_text);
	rc = need_index(s, e);
	if (rc == E_OK && !index_has(s->index, kind, &id))
		return err_set(e, E_ID_ABSENT, 0, "no index lists %s", id_text);
	if (rc == E_OK)
		rc = blob_load(s->vault, s->index, s->own, kind, &id, &scratch, &plain, e);
	return rc == E_OK ? buf_add(out, plain.p, plain.len, e) : rc;
}

static enum ecode
cat_any_blob(struct session *s, const char *id_text, struct buf *out, struct err *e)
{
	enum ecode rc = cat_blob(s, BLOB_DATA, id_text, out, e);

	return rc == E_ID_ABSENT ? cat_blob(s, BLOB_TREE, id_text, out, e) : rc;
}

/* "id:sub/folder" or a snapshot's name leads to its tree. */
static enum ecode
cat_tree(struct session *s, const char *id_text, struct buf *out, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(INSPECT_ARENA_BYTES);
	struct snapshot_list list = { 0 };
	const struct snapshot *snap = NULL;
	const char *sub = NULL;
	char hex[ID_HEX_SIZE];
	struct id tree;
	enum ecode rc;

	if (id_parse(id_text, strlen(id_text), &tree)) {
		rc = cat_blob(s, BLOB_TREE, id_text, out, e);
		if (rc != E_ID_ABSENT)
			return rc;
	}
	rc = snapshot_list_load(s->vault, s->own, &a, &list, e);
	if (rc == E_OK)
		rc = snapshot_select(&list, NULL, id_text, &a, &snap, &sub, e);
	if (rc != E_OK)
		return incomplete_named(s, id_text, rc, e);
	tree = snap->tree;
	if (sub != NULL)
		rc = inspect_subtree(s, &snap->tree, sub, &tree, e);
	id_hex(&tree, hex);
	return rc == E_OK ? cat_blob(s, BLOB_TREE, hex, out, e) : rc;
}

enum ecode
inspect_cat(
	struct session *s, const char *kind, const char *id_text, struct buf *out, struct err *e)
{
	enum okind object;

	if (strcmp(kind, "config") == 0)
		return vault_config_text(s->vault, out, e);
	if (id_text == NULL)
		return err_set(e, E_USAGE, 0, "cat %s needs an id", kind);
	if (object_kind(kind, &object))
		return cat_object(s, object, id_text, out, e);
	if (strcmp(kind, "tree") == 0)
		return cat_tree(s, id_text, out, e);
	if (strcmp(kind, "blob") == 0)
		return cat_any_blob(s, id_text, out, e);
	return err_set(e, E_USAGE, 0,
		"cat %s: kinds are config, key, snapshot, index, lock, pack, tree, blob", kind);
}
