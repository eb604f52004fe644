/* One entry: what is there, held against the node of the snapshot. */
#include <string.h>

#include "engine/match_internal.h"
#include "fs/meta.h"
#include "os/io.h"
#include "repo/reader.h"

/* bytes; attributes of one entry, a target: XATTR_VALUE_MAX_BYTES each, of which a file has few */
#define ENTRY_ARENA_BYTES ((size_t)1 << 35)

const char *
match_metadata(const struct node *node, const struct os_meta *m, bool owners)
{
	bool device = node->type == NODE_DEV || node->type == NODE_CHARDEV;

	if (owners && (node->uid != m->uid || node->gid != m->gid))
		return "its owner is not that of the snapshot";
	if (node->type != NODE_SYMLINK && mode_to_st(node->mode) != (m->mode & 07777))
		return "its permissions are not those of the snapshot";
	if (instant_cmp(node->mtime, m->mtime) != 0)
		return "its time is not that of the snapshot";
	if (device && node->device != m->rdev)
		return "it is another device than in the snapshot";
	return NULL;
}

struct match_hand
match_hand_of(struct session *s, struct blob_codec *codec)
{
	return (struct match_hand){ .s = s,
		.codec = codec,
		.plain = buf_limit(BLOB_PLAIN_MAX_BYTES + 1),
		.arena = arena_limit(ENTRY_ARENA_BYTES) };
}

void
match_hand_done(struct match_hand *h)
{
	buf_done(&h->plain);
	arena_done(&h->arena);
}

enum ecode
match_content(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	struct session *s = h->s;
	struct buf *plain = &h->plain;
	uint64_t at = 0;
	enum ecode rc = E_OK;

	*same = true;
	for (size_t k = 0; rc == E_OK && *same && k < node->content_count; k++) {
		size_t got = 0;
		uint32_t len;
		struct id id;

		*same = index_size(s->index, BLOB_DATA, &node->content[k], &len);
		if (!*same)
			return E_OK;
		rc = session_go_on(s, e);
		buf_clear(plain);
		if (rc == E_OK)
			rc = buf_reserve(plain, (size_t)len + 1, e);
		if (rc == E_OK)
			rc = io_pread(s->os, fd, plain->p, len, at, &got, "a file", e);
		if (rc != E_OK)
			return rc;
		blob_id(h->codec, plain->p, got, &id);
		*same = got == len && id_cmp(&id, &node->content[k]) == 0;
		at += len;
	}
	*same = *same && at == node->size;
	return rc;
}

static bool
has_xattr(const struct node *node, struct slice name)
{
	for (size_t i = 0; i < node->xattr_count; i++)
		if (node->xattrs[i].name.len == name.len &&
			memcmp(node->xattrs[i].name.p, name.p, name.len) == 0)
			return true;
	return false;
}

static bool
same_xattr(const struct meta_xattrs *there, const struct xattr *x)
{
	for (size_t i = 0; i < there->n; i++) {
		const struct meta_xattr *t = &there->v[i];

		if (t->name.len == x->name.len && memcmp(t->name.p, x->name.p, x->name.len) == 0)
			return t->value.len == x->value.len &&
			       (x->value.len == 0 ||
				       memcmp(t->value.p, x->value.p, x->value.len) == 0);
	}
	return false;
}

/* What a security module puts on each new file is not the snapshot's. */
static bool
is_labelled_by_system(struct slice name)
{
	return name.len >= 9 && memcmp(name.p, "security.", 9) == 0;
}

static void
xattr_skipped(void *arg, const char *name, int sys)
{
	struct match_record *r = arg;

	(void)name, (void)sys;
	match_flaw(r, MATCH_ERROR, "an attribute cannot be read");
}

/* An entry being looked at. */
struct looking {
	struct match_hand *h;
	const struct match_args *args;
	struct match_item *item;
	const char *name; /* in its directory */
};

static enum ecode
compare_xattrs(const struct looking *l, struct err *e)
{
	struct match_record *r = &l->item->r;
	struct meta_xattrs there = { .n = 0 };
	struct err why = { .code = E_OK };
	enum ecode rc = meta_xattrs_read(l->h->s->os, l->item->dir->fd, l->name, &l->h->arena,
		&there, xattr_skipped, r, &why);

	if (rc == E_NOMEM || rc == E_LIMIT)
		return err_set(e, rc, why.sys, "%s", why.detail);
	if (rc != E_OK)
		match_flaw(r, MATCH_ERROR, "its attributes cannot be read");
	for (size_t i = 0; r->why == NULL && i < r->node->xattr_count; i++)
		if (!same_xattr(&there, &r->node->xattrs[i]))
			match_flaw(r, MATCH_METADATA, "an attribute is not that of the snapshot");
	for (size_t i = 0; r->why == NULL && i < there.n; i++)
		if (!has_xattr(r->node, there.v[i].name) && !is_labelled_by_system(there.v[i].name))
			match_flaw(r, MATCH_METADATA,
				"it has an attribute that is not in the snapshot");
	return E_OK;
}

enum ecode
match_links(struct matching *m, struct match_item *item, struct err *e)
{
	const struct node *n = item->r.node;
	uint64_t *ino;
	enum ecode rc;
	bool found;

	if (n->links < 2 || n->inode == 0 || n->type == NODE_DIR || n->type == NODE_FIFO)
		return E_OK;
	rc = map_put(&m->names, n->device_id, n->inode, item->meta.ino, &ino, &found, e);
	if (rc == E_OK && found && *ino != item->meta.ino)
		match_flaw(&item->r, MATCH_METADATA,
			"it is a file of its own, not another name of one before it");
	return rc;
}

static enum ecode
compare_rest(const struct looking *l, struct err *e)
{
	struct match_item *item = l->item;
	struct match_record *r = &item->r;
	const struct node *n = r->node;
	bool privileged = l->args->privileged;
	const char *why = match_metadata(n, &item->meta, privileged);
	enum ecode rc;

	item->unproven = !privileged && (n->uid != item->meta.uid || n->gid != item->meta.gid);
	if (l->args->wanted != NULL && n->type == NODE_DIR)
		return E_OK; /* of a sample's directories only the way counts */
	if (why != NULL)
		match_flaw(r, MATCH_METADATA, why);
	rc = r->why == NULL ? compare_xattrs(l, e) : E_OK;
	item->links = rc == E_OK && r->why == NULL;
	return rc;
}

static enum ecode
compare_bytes(const struct looking *l, struct err *e)
{
	const struct os *os = l->h->s->os;
	autoclean(io_fd_done) struct io_fd file = { .os = os, .fd = -1 };
	struct match_record *r = &l->item->r;
	struct err why = { .code = E_OK };
	bool same = false;
	enum ecode rc = walk_open_file(os, l->item->dir->fd, l->name, &file.fd, &why);

	if (rc == E_OK && l->args->same != NULL)
		rc = l->args->same(l->h, r->node, file.fd, &same, &why);
	else if (rc == E_OK)
		rc = match_content(l->h, r->node, file.fd, &same, &why);
	if (match_is_fatal(rc)) {
		*e = why;
		return rc;
	}
	r->hashed = rc == E_OK;
	if (rc != E_OK)
		match_flaw(r, MATCH_ERROR, "it cannot be read");
	else if (!same)
		match_flaw(r, MATCH_HASH, "its bytes are not those of the snapshot");
	return E_OK;
}

static enum ecode
compare_target(const struct looking *l, struct err *e)
{
	struct match_record *r = &l->item->r;
	const struct slice *want = &r->node->linktarget;
	struct slice target = { .p = NULL };
	struct err why = { .code = E_OK };
	enum ecode rc =
		walk_readlink(l->h->s->os, l->item->dir->fd, l->name, &l->h->arena, &target, &why);

	if (match_is_fatal(rc)) {
		*e = why;
		return rc;
	}
	if (rc != E_OK)
		match_flaw(r, MATCH_ERROR, "it cannot be read");
	else if (target.len != want->len || memcmp(target.p, want->p, want->len) != 0)
		match_flaw(r, MATCH_HASH, "it points elsewhere than in the snapshot");
	return E_OK;
}

static enum ecode
look_beside(const struct looking *l, struct err *e)
{
	struct match_record *r = &l->item->r;

	if (l->args->beside == NULL || r->node->type == NODE_DIR || r->status != MATCH_OK)
		return E_OK;
	return l->args->beside(l->args->arg, l->h, r, &r->beside, e);
}

static enum ecode
compare(const struct looking *l, struct err *e)
{
	struct match_record *r = &l->item->r;
	enum match_level level = l->args->level;
	enum node_type type = r->node->type;
	enum ecode rc = E_OK;

	if (!node_type_fits(type, l->item->meta.mode)) {
		match_flaw(r, MATCH_MISSING, "something of another type has its name");
		return E_OK;
	}
	r->actual_size = type == NODE_FILE ? l->item->meta.size : 0;
	if (level == MATCH_EXISTENCE)
		return E_OK;
	if (r->actual_size != r->expected_size)
		match_flaw(r, MATCH_SIZE, "its size is not that of the snapshot");
	else if (type == NODE_FILE && level == MATCH_HASHES)
		rc = compare_bytes(l, e);
	else if (type == NODE_SYMLINK)
		rc = compare_target(l, e);
	return rc == E_OK && r->why == NULL ? compare_rest(l, e) : rc;
}

enum ecode
match_entry(
	struct match_hand *h, const struct match_args *args, struct match_item *item, struct err *e)
{
	const struct looking l = {
		.h = h, .args = args, .item = item, .name = strrchr(item->r.path, '/') + 1
	};
	enum ecode rc;

	item->due = false;
	arena_reset(&h->arena);
	rc = compare(&l, e);
	return rc == E_OK ? look_beside(&l, e) : rc;
}
