/*
 * The room that a node can need at most is reserved once; then a
 * bare pointer (the pen) writes.  Only strings that need escaping go through
 * the buf, see put_string().
 */
#include "repo/tree.h"

#include <string.h>

#include "base/json.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "repo/tree_text.h"

#define ESCAPED_PER_BYTE 6    /* "\u003c"; quoting first gives less: "\\xff" */
#define NODE_FIXED_BYTES 1024 /* all keys, numbers, times; measured: below 640 */
#define XATTR_BYTES      32   /* {"name":"","value":""} and a comma */

/* Where the next byte goes; `out` has room for all that is still to come. */
struct pen {
	uint8_t *p;
	struct buf *out;
	struct err *e;
	enum ecode rc;
};

static void
put(struct pen *pen, const void *p, size_t len)
{
	memcpy(pen->p, p, len);
	pen->p += len;
}

/* Inlined for literals: then a move or two. */
static inline void
put_text(struct pen *pen, const char *text)
{
	put(pen, text, strlen(text));
}

static void
put_u64(struct pen *pen, uint64_t v)
{
	static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
					 "25262728293031323334353637383940414243444546474849"
					 "50515253545556575859606162636465666768697071727374"
					 "75767778798081828384858687888990919293949596979899";
	char text[20]; /* digits of 2^64 - 1 */
	size_t at = sizeof(text);

	for (; v >= 100; v /= 100) {
		at -= 2;
		memcpy(text + at, two_digits + 2 * (v % 100), 2);
	}
	if (v >= 10) {
		at -= 2;
		memcpy(text + at, two_digits + 2 * v, 2);
	} else {
		text[--at] = (char)('0' + v);
	}
	put(pen, text + at, sizeof(text) - at);
}

/* `key` is all that stands before the number. */
static inline void
put_number(struct pen *pen, const char *key, uint64_t v)
{
	if (v == 0)
		return;
	put_text(pen, key);
	put_u64(pen, v);
}

/* Escape through the buf; the room reserved for the rest stays. */
static void
put_escaped(struct pen *pen, struct slice s)
{
	pen->out->len = (size_t)(pen->p - pen->out->p);
	if (pen->rc == E_OK)
		pen->rc = json_escape(pen->out, s.p, s.len, pen->e);
	pen->p = pen->out->p + pen->out->len;
}

/* `key` ends in the opening quote. */
static inline void
put_string(struct pen *pen, const char *key, struct slice s)
{
	put_text(pen, key);
	if (quote_is_plain(s.p, s.len)) /* stricter than JSON asks, so always right */
		put(pen, s.p, s.len);
	else
		put_escaped(pen, s);
	put_text(pen, "\"");
}

static void
put_quoted_name(struct pen *pen, struct slice name)
{
	autoclean(buf_done) struct buf quoted = buf_limit(SIZE_MAX / 2);

	pen->rc = quote_write(&quoted, name.p, name.len, pen->e);
	put_escaped(pen, buf_slice(&quoted));
}

static void
put_name(struct pen *pen, struct slice name)
{
	put_text(pen, "\"name\":\"");
	if (quote_is_plain(name.p, name.len))
		put(pen, name.p, name.len);
	else
		put_quoted_name(pen, name);
	put_text(pen, "\"");
}

static bool
same_text(struct instant a, struct instant b)
{
	return a.s == b.s && a.ns == b.ns && a.off_min == b.off_min;
}

static void
put_times(struct pen *pen, const struct node *node)
{
	char text[INSTANT_TEXT_MAX];
	size_t len = instant_format(node->mtime, text);

	put_text(pen, ",\"mtime\":\"");
	put(pen, text, len);
	put_text(pen, "\",\"atime\":\"");
	if (!same_text(node->mtime, node->atime))
		len = instant_format(node->atime, text);
	put(pen, text, len);
	put_text(pen, "\",\"ctime\":\"");
	if (!same_text(node->atime, node->ctime))
		len = instant_format(node->ctime, text);
	put(pen, text, len);
	put_text(pen, "\",\"uid\":");
}

static void
put_base64(struct pen *pen, struct slice bytes)
{
	base64_write_raw((char *)pen->p, bytes.p, bytes.len);
	pen->p += base64_size(bytes.len);
}

static void
put_linktarget(struct pen *pen, struct slice target)
{
	if (target.len == 0)
		return;
	put_string(pen, ",\"linktarget\":\"", target);
	if (utf8_valid(target.p, target.len))
		return;
	put_text(pen, ",\"linktarget_raw\":\"");
	put_base64(pen, target);
	put_text(pen, "\"");
}

static void
put_xattrs(struct pen *pen, const struct node *node)
{
	if (node->xattr_count == 0)
		return;
	put_text(pen, ",\"extended_attributes\":[");
	for (size_t i = 0; i < node->xattr_count; i++) {
		if (i > 0)
			put_text(pen, ",");
		put_string(pen, "{\"name\":\"", node->xattrs[i].name);
		put_text(pen, ",\"value\":\"");
		put_base64(pen, node->xattrs[i].value);
		put_text(pen, "\"}");
	}
	put_text(pen, "]");
}

static void
put_id(struct pen *pen, const struct id *id)
{
	id_hex(id, (char *)pen->p); /* its NUL is overwritten next */
	pen->p += ID_TEXT_BYTES;
}

/* What is not a file has null, unless a foreign writer gave it blobs. */
static void
put_content(struct pen *pen, const struct node *node)
{
	if (node->content_count == 0) {
		bool list = node->type == NODE_FILE && !node->content_null;

		put_text(pen, list ? ",\"content\":[]" : ",\"content\":null");
		return;
	}
	put_text(pen, ",\"content\":[\"");
	for (size_t i = 0; i < node->content_count; i++) {
		if (i > 0)
			put_text(pen, "\",\"");
		put_id(pen, &node->content[i]);
	}
	put_text(pen, "\"]");
}

static void
put_generic(struct pen *pen, struct slice generic)
{
	if (generic.len == 0)
		return;
	put_text(pen, ",\"generic_attributes\":");
	put(pen, generic.p, generic.len);
}

static void
put_owner(struct pen *pen, const struct node *node)
{
	put_u64(pen, node->uid);
	put_text(pen, ",\"gid\":");
	put_u64(pen, node->gid);
	if (node->user.len > 0)
		put_string(pen, ",\"user\":\"", node->user);
	if (node->group.len > 0)
		put_string(pen, ",\"group\":\"", node->group);
}

static void
put_node(struct pen *pen, const struct node *node)
{
	put_text(pen, "{");
	put_name(pen, node->name);
	put_text(pen, ",\"type\":\"");
	put_text(pen, node_type_text(node->type));
	put_text(pen, "\"");
	put_number(pen, ",\"mode\":", node->mode);
	put_times(pen, node);
	put_owner(pen, node);
	put_number(pen, ",\"inode\":", node->inode);
	put_number(pen, ",\"device_id\":", node->device_id);
	put_number(pen, ",\"size\":", node->size);
	put_number(pen, ",\"links\":", node->links);
	put_linktarget(pen, node->linktarget);
	put_xattrs(pen, node);
	put_generic(pen, node->generic);
	put_number(pen, ",\"device\":", node->device);
	put_content(pen, node);
	if (node->has_subtree) {
		put_text(pen, ",\"subtree\":\"");
		put_id(pen, &node->subtree);
		put_text(pen, "\"");
	}
	if (node->error.len > 0)
		put_string(pen, ",\"error\":\"", node->error);
	put_text(pen, "}");
}

/* *sum += count * each; false when that overflows. */
static bool
add_room(size_t *sum, size_t count, size_t each)
{
	size_t part;

	return !__builtin_mul_overflow(count, each, &part) &&
	       !__builtin_add_overflow(*sum, part, sum);
}

/* Bytes that put_node() writes at most; false when no memory could hold them. */
static bool
node_room(const struct node *node, size_t *room)
{
	bool fits;

	*room = NODE_FIXED_BYTES;
	fits = add_room(room, node->name.len, ESCAPED_PER_BYTE) &&
	       add_room(room, node->user.len, ESCAPED_PER_BYTE) &&
	       add_room(room, node->group.len, ESCAPED_PER_BYTE) &&
	       add_room(room, node->error.len, ESCAPED_PER_BYTE) &&
	       add_room(room, node->linktarget.len, ESCAPED_PER_BYTE + 2) &&
	       add_room(room, node->content_count, ID_ITEM_BYTES) &&
	       add_room(room, node->xattr_count, XATTR_BYTES) &&
	       add_room(room, node->generic.len, 1);
	for (size_t i = 0; fits && i < node->xattr_count; i++) {
		fits = add_room(room, node->xattrs[i].name.len, ESCAPED_PER_BYTE) &&
		       add_room(room, node->xattrs[i].value.len, 2) && add_room(room, 4, 1);
	}
	return fits;
}

enum ecode
tree_begin(struct tree_writer *w, struct buf *out, struct err *e)
{
	*w = (struct tree_writer){ .out = out };
	return buf_add_str(out, TREE_HEAD, e);
}

enum ecode
tree_put(struct tree_writer *w, const struct node *node, struct err *e)
{
	struct pen pen = { .out = w->out, .e = e, .rc = E_OK };
	size_t before = w->out->len, room;
	enum ecode rc;

	invariant(!w->any || name_cmp(w->last, node->name) < 0);
	if (!node_room(node, &room))
		return err_set(e, E_LIMIT, 0, "a node with %zu blobs", node->content_count);
	rc = buf_reserve(w->out, room, e);
	if (rc != E_OK)
		return rc;
	pen.p = w->out->p + before;
	if (w->any)
		put_text(&pen, ",");
	put_node(&pen, node);
	if (pen.rc != E_OK) {
		w->out->len = before;
		return pen.rc;
	}
	w->out->len = (size_t)(pen.p - w->out->p);
	w->last = node->name;
	w->any = true;
	return E_OK;
}

enum ecode
tree_end(struct tree_writer *w, struct err *e)
{
	return buf_add_str(w->out, TREE_TAIL, e);
}
