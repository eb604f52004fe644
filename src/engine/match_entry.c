/* One entry: what is there, held against the node of the snapshot. */
#include <string.h>

#include "engine/match_internal.h"
#include "fs/meta.h"
#include "os/io.h"
#include "repo/reader.h"

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

enum ecode
match_content(struct session *s, const struct node *node, int fd, bool *same, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(BLOB_PLAIN_MAX_BYTES + 1);
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
		buf_clear(&plain);
		if (rc == E_OK)
			rc = buf_reserve(&plain, (size_t)len + 1, e);
		if (rc == E_OK)
			rc = io_pread(s->os, fd, plain.p, len, at, &got, "a file", e);
		if (rc != E_OK)
			return rc;
		blob_id(s->own, plain.p, got, &id);
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

static enum ecode
compare_xattrs(struct matching *m, struct match_record *r, const char *name, struct err *e)
{
	struct meta_xattrs there = { .n = 0 };
	struct err why = { .code = E_OK };
	enum ecode rc = meta_xattrs_read(
		m->s->os, m->top->fd, name, &m->top->arena, &there, xattr_skipped, r, &why);

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

/* Names of one inode in the snapshot must be names of one inode here. */
static enum ecode
compare_links(struct matching *m, struct match_record *r, const struct os_meta *meta, struct err *e)
{
	const struct node *n = r->node;
	uint64_t *ino;
	enum ecode rc;
	bool found;

	if (n->links < 2 || n->inode == 0 || n->type == NODE_DIR || n->type == NODE_FIFO)
		return E_OK;
	rc = map_put(&m->names, n->device_id, n->inode, meta->ino, &ino, &found, e);
	if (rc == E_OK && found && *ino != meta->ino)
		match_flaw(r, MATCH_METADATA,
			"it is a file of its own, not another name of one before it");
	return rc;
}

static enum ecode
compare_rest(
	struct matching *m, struct match_record *r, const struct walk_entry *entry, struct err *e)
{
	const struct node *n = r->node;
	const char *why = match_metadata(n, &entry->meta, m->args->privileged);
	enum ecode rc;

	if (!m->args->privileged && (n->uid != entry->meta.uid || n->gid != entry->meta.gid))
		m->out->unproven++;
	if (m->args->wanted != NULL && n->type == NODE_DIR)
		return E_OK; /* of a sample's directories only the way counts */
	if (why != NULL)
		match_flaw(r, MATCH_METADATA, why);
	rc = r->why == NULL ? compare_xattrs(m, r, entry->name, e) : E_OK;
	return rc == E_OK && r->why == NULL ? compare_links(m, r, &entry->meta, e) : rc;
}

static enum ecode
compare_bytes(struct matching *m, struct match_record *r, const char *name, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = m->s->os, .fd = -1 };
	struct err why = { .code = E_OK };
	bool same = false;
	enum ecode rc = walk_open_file(m->s->os, m->top->fd, name, &file.fd, &why);

	if (rc == E_OK && m->args->same != NULL)
		rc = m->args->same(m->s, r->node, file.fd, &same, &why);
	else if (rc == E_OK)
		rc = match_content(m->s, r->node, file.fd, &same, &why);
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
compare_target(struct matching *m, struct match_record *r, const char *name, struct err *e)
{
	const struct slice *want = &r->node->linktarget;
	struct slice target = { .p = NULL };
	struct err why = { .code = E_OK };
	enum ecode rc = walk_readlink(m->s->os, m->top->fd, name, &m->top->arena, &target, &why);

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

enum ecode
match_entry(
	struct matching *m, struct match_record *r, const struct walk_entry *entry, struct err *e)
{
	enum match_level level = m->args->level;
	enum node_type type = r->node->type;
	enum ecode rc = E_OK;

	if (!entry->have_meta) {
		match_flaw(r, MATCH_ERROR, strerrordesc_np(entry->sys));
		return E_OK;
	}
	if (!node_type_fits(type, entry->meta.mode)) {
		match_flaw(r, MATCH_MISSING, "something of another type has its name");
		return E_OK;
	}
	r->actual_size = type == NODE_FILE ? entry->meta.size : 0;
	if (level == MATCH_EXISTENCE)
		return E_OK;
	if (r->actual_size != r->expected_size)
		match_flaw(r, MATCH_SIZE, "its size is not that of the snapshot");
	else if (type == NODE_FILE && level == MATCH_HASHES)
		rc = compare_bytes(m, r, entry->name, e);
	else if (type == NODE_SYMLINK)
		rc = compare_target(m, r, entry->name, e);
	return rc == E_OK && r->why == NULL ? compare_rest(m, r, entry, e) : rc;
}
