#include "support/make_vault.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/quote.h"
#include "store/local.h"

#define TREE_MAX_BYTES ((size_t)128 << 20)

/* Setting up must work: say why it does not, then stop. */
static void
must(enum ecode rc, const struct err *e)
{
	if (rc != E_OK)
		(void)fprintf(stderr, "# make_vault: %s: %s\n", err_row(rc)->name, e->detail);
	invariant(rc == E_OK);
}

static pthread_mutex_t text_lock = PTHREAD_MUTEX_INITIALIZER; /* any thread may be heard */

static void
hear_problem(void *arg, const struct problem *p)
{
	struct heard *h = arg;
	unsigned n = h->problems++;

	if (p->fatal_for_item)
		h->fatal_problems++;
	if (n < sizeof(h->codes) / sizeof(h->codes[0]))
		h->codes[n] = p->code;
	if (n < sizeof(h->causes) / sizeof(h->causes[0]))
		h->causes[n] = p->cause;
	h->can_retry += p->can_retry;
	(void)pthread_mutex_lock(&text_lock);
	(void)snprintf(h->last_path, sizeof(h->last_path), "%s", p->path);
	(void)pthread_mutex_unlock(&text_lock);
}

static void
hear_note(void *arg, const char *event, const char *text)
{
	struct heard *h = arg;

	h->notes++;
	(void)pthread_mutex_lock(&text_lock);
	(void)snprintf(
		h->last_note, sizeof(h->last_note), "%s: %s", event, text != NULL ? text : "");
	(void)pthread_mutex_unlock(&text_lock);
}

static void
hear_item(void *arg, const struct item_done *item)
{
	struct heard *h = arg;

	(void)item;
	h->items++;
}

static bool
hear_stop(void *arg)
{
	struct heard *h = arg;

	if (h->stop_after < 0)
		return false;
	return h->stop_after-- <= 0 || h->stop_after < 0;
}

void
heard_init(struct heard *h)
{
	memset(h, 0, sizeof(*h));
	h->stop_after = -1;
	h->listener = (struct listener){ .arg = h,
		.progress = &h->progress,
		.problem = hear_problem,
		.item = hear_item,
		.note = hear_note,
		.stop = hear_stop };
}

void
make_vault(const struct os *os, const char *dir, unsigned version)
{
	static const struct kdf_params cheap = { .n = 16, .r = 1, .p = 1 };
	struct vault_init_args args = {
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.version = version,
		.params = &cheap,
	};
	struct store *st = NULL;
	struct id repo_id;
	struct err e = { 0 };

	must(local_open(os, dir, &st, &e), &e);
	must(vault_init(os, st, &args, &repo_id, &e), &e);
	store_close(&st);
}

void
open_session(struct session *s, const struct os *os, const char *dir, const char *password,
	unsigned threads, enum session_lock lock, struct heard *h)
{
	struct session_args args = {
		.os = os,
		.location = dir,
		.password = { (const uint8_t *)password, strlen(password) },
		.lock = lock,
		.threads = threads,
		.listener = &h->listener,
	};
	struct err e = { 0 };

	memset(s, 0, sizeof(*s));
	must(session_open(s, &args, &e), &e);
}

void
maker_begin(struct maker *m, struct session *s)
{
	struct commit_args args = {
		.writers = 0, .compression = COMPRESSION_AUTO, .lock = s->lock
	};
	struct err e = { 0 };

	m->s = s;
	m->commit = NULL;
	must(session_load_index(s, &e), &e);
	must(commit_open(s->vault, s->index, &args, &m->commit, &e), &e);
}

static struct id
put_blob(struct maker *m, enum blob_kind kind, const void *p, size_t len)
{
	struct blob_added added;
	struct err e = { 0 };
	struct id id;

	blob_id(m->s->own, p, len, &id);
	must(commit_blob(m->commit, m->s->own, kind, &id, p, len, &added, &e), &e);
	return id;
}

struct id
maker_data(struct maker *m, const void *p, size_t len)
{
	return put_blob(m, BLOB_DATA, p, len);
}

struct id
maker_tree_text(struct maker *m, const char *text)
{
	return put_blob(m, BLOB_TREE, text, strlen(text));
}

struct id
maker_tree_bytes(struct maker *m, const void *p, size_t len)
{
	return put_blob(m, BLOB_TREE, p, len);
}

static void
put_time(struct json_out *w, const char *key, struct instant t)
{
	char text[INSTANT_TEXT_MAX];

	json_put_key(w, key);
	json_put_text(w, text, instant_format(t, text));
}

static void
put_name(struct json_out *w, struct slice name)
{
	autoclean(buf_done) struct buf quoted = buf_limit(TREE_MAX_BYTES);
	struct err e = { 0 };

	must(quote_write(&quoted, name.p, name.len, &e), &e);
	json_put_key(w, "name");
	json_put_text(w, quoted.p, quoted.len);
}

static void
put_content(struct json_out *w, const struct node *n)
{
	json_put_key(w, "content");
	if (n->type != NODE_FILE) {
		json_put_null(w);
	} else {
		json_open_array(w);
		for (size_t i = 0; i < n->content_count; i++)
			json_put_id(w, &n->content[i]);
		json_close_array(w);
	}
	if (n->has_subtree) {
		json_put_key(w, "subtree");
		json_put_id(w, &n->subtree);
	}
}

static void
put_u64(struct json_out *w, const char *key, uint64_t v)
{
	if (v == 0)
		return;
	json_put_key(w, key);
	json_put_u64(w, v);
}

static void
put_xattrs(struct json_out *w, const struct node *n)
{
	if (n->xattr_count == 0)
		return;
	json_put_key(w, "extended_attributes");
	json_open_array(w);
	for (size_t i = 0; i < n->xattr_count; i++) {
		json_open_object(w);
		json_put_key(w, "name");
		json_put_text(w, n->xattrs[i].name.p, n->xattrs[i].name.len);
		json_put_key(w, "value");
		json_put_base64(w, n->xattrs[i].value.p, n->xattrs[i].value.len);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_node(struct json_out *w, const struct node *n)
{
	json_open_object(w);
	put_name(w, n->name);
	json_put_key(w, "type");
	json_put_str(w, node_type_text(n->type));
	put_u64(w, "mode", n->mode);
	put_time(w, "mtime", n->mtime);
	put_time(w, "atime", n->atime);
	put_time(w, "ctime", n->ctime);
	json_put_key(w, "uid");
	json_put_u64(w, n->uid);
	json_put_key(w, "gid");
	json_put_u64(w, n->gid);
	if (n->user.len > 0) {
		json_put_key(w, "user");
		json_put_text(w, n->user.p, n->user.len);
	}
	if (n->group.len > 0) {
		json_put_key(w, "group");
		json_put_text(w, n->group.p, n->group.len);
	}
	put_u64(w, "inode", n->inode);
	put_u64(w, "device_id", n->device_id);
	put_u64(w, "size", n->size);
	put_u64(w, "links", n->links);
	if (n->linktarget.len > 0) {
		json_put_key(w, "linktarget");
		json_put_text(w, n->linktarget.p, n->linktarget.len);
	}
	put_xattrs(w, n);
	put_u64(w, "device", n->device);
	put_content(w, n);
	json_close_object(w);
}

struct id
maker_tree(struct maker *m, const struct node *nodes, size_t n)
{
	autoclean(buf_done) struct buf text = buf_limit(TREE_MAX_BYTES);
	struct err e = { 0 };
	struct json_out w;

	json_begin(&w, &text);
	json_open_object(&w);
	json_put_key(&w, "nodes");
	json_open_array(&w);
	for (size_t i = 0; i < n; i++)
		put_node(&w, &nodes[i]);
	json_close_array(&w);
	json_close_object(&w);
	must(json_done(&w, &e), &e);
	must(buf_add_byte(&text, '\n', &e), &e);
	return put_blob(m, BLOB_TREE, text.p, text.len);
}

struct id
maker_end(struct maker *m, const struct id *tree)
{
	static const struct slice path = { (const uint8_t *)"/made", 5 };
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct snapshot snap = {
		.time = m->s->os->wall(m->s->os),
		.tree = *tree,
		.paths = &path,
		.path_count = 1,
		.hostname = { (const uint8_t *)"testhost", 8 },
		.username = { (const uint8_t *)"tester", 6 },
	};
	struct err e = { 0 };
	struct id id;

	must(commit_flush(m->commit, m->s->own, &e), &e);
	commit_close(&m->commit);
	must(snapshot_write(&snap, &text, &e), &e);
	must(vault_save(m->s->vault, m->s->own, O_SNAPSHOT, text.p, text.len, &id, &e), &e);
	return id;
}

static struct node
plain_node(const char *name, enum node_type type, uint32_t mode)
{
	const struct instant t = { .s = 1600000000, .ns = 123456789 };

	return (struct node){ .name = { (const uint8_t *)name, strlen(name) },
		.type = type,
		.mode = mode,
		.mtime = t,
		.atime = t,
		.ctime = t };
}

struct node
node_file(const char *name, const struct id *content, size_t n, uint64_t size)
{
	struct node node = plain_node(name, NODE_FILE, 0644);

	node.content = content;
	node.content_count = n;
	node.size = size;
	node.links = 1;
	return node;
}

struct node
node_dir(const char *name, const struct id *subtree)
{
	struct node node = plain_node(name, NODE_DIR, MODE_DIR | 0755);

	node.has_subtree = true;
	node.subtree = *subtree;
	return node;
}

struct node
node_symlink(const char *name, const char *target)
{
	struct node node = plain_node(name, NODE_SYMLINK, MODE_SYMLINK | 0777);

	node.linktarget = (struct slice){ (const uint8_t *)target, strlen(target) };
	node.links = 1;
	return node;
}
