/*
 * A node's fields nearly always come in the order of the format, so
 * the next one is guessed: its key is compared at the place where it should
 * be, and only a miss asks the general scanner.  Both paths end in the same
 * readers of values.  Accepted although restic never writes it: any order of
 * keys, white space, unknown keys (flagged), times, uid and gid left out
 * (zero, as restic reads them), null for content, extended_attributes,
 * generic_attributes and an attribute's value.  Refused: no name, no type,
 * a key twice, another type of value, numbers that do not fit.
 */
#include "repo/tree.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/quote.h"
#include "base/word.h"
#include "repo/tree_text.h"

#define DECODED_PER_BYTE 3 /* json_unescape(): U+FFFD for one invalid byte */
#define TREE_DEPTH       2 /* JSON levels around a node */

static const char *const type_texts[] = {
	[NODE_FILE] = "file",
	[NODE_DIR] = "dir",
	[NODE_SYMLINK] = "symlink",
	[NODE_DEV] = "dev",
	[NODE_CHARDEV] = "chardev",
	[NODE_FIFO] = "fifo",
	[NODE_SOCKET] = "socket",
	[NODE_IRREGULAR] = "irregular",
};

#define TYPE_COUNT (sizeof(type_texts) / sizeof(type_texts[0]))

const char *
node_type_text(enum node_type type)
{
	return type_texts[type];
}

/* One node being read.  A reader of a value answers false with rc set, or with j spoilt. */
struct reading {
	struct json j;
	struct node node;
	struct arena *arena;
	struct err *e;
	enum ecode rc; /* a refusal other than JSON's */
	uint32_t seen; /* bit per row of fields[] */
	bool unknown;
	bool content_null;
	struct slice time_text; /* the last time read, because most come twice */
	struct instant time;
};

static bool
refuse(struct reading *r, const char *what)
{
	r->rc = err_set(r->e, E_TREE_FORMAT, 0, "%s", what);
	return false;
}

/* `count` items of `each` bytes from the arena; NULL with rc set when it refuses. */
static void *
take_room(struct reading *r, size_t count, size_t each)
{
	void *p = NULL;
	size_t size;

	if (__builtin_mul_overflow(count, each, &size))
		r->rc = err_set(r->e, E_LIMIT, 0, "%zu items", count);
	else
		r->rc = arena_alloc(r->arena, size, &p, r->e);
	return r->rc == E_OK ? p : NULL;
}

/* Decode escapes into the arena.  The room is enough for any text, so the buf never grows. */
static bool
decode(struct reading *r, struct slice raw, struct slice *text)
{
	uint8_t *p = take_room(r, raw.len, DECODED_PER_BYTE);
	struct buf b = { .p = p, .cap = raw.len * DECODED_PER_BYTE };

	if (p == NULL)
		return false;
	b.limit = b.cap;
	r->rc = json_unescape(&b, raw, r->e);
	if (r->rc == E_JSON_SYNTAX)
		return refuse(r, "an escape in a string");
	*text = buf_slice(&b);
	return r->rc == E_OK;
}

static bool
read_string(struct reading *r, struct slice *text)
{
	struct slice raw;
	bool escaped;

	if (!json_string(&r->j, &raw, &escaped))
		return false;
	if (escaped)
		return decode(r, raw, text);
	*text = raw;
	return true;
}

/* A backslash of quoting needs one of JSON, so a name without escapes is itself. */
static bool
read_name(struct reading *r)
{
	struct slice raw, text;
	struct buf b;
	bool escaped;

	if (!json_string(&r->j, &raw, &escaped))
		return false;
	if (!escaped) {
		r->node.name = raw;
		return true;
	}
	if (!decode(r, raw, &text))
		return false;
	b = (struct buf){ .p = take_room(r, text.len, 1), .cap = text.len, .limit = text.len };
	if (b.p == NULL)
		return false;
	r->rc = quote_read(&b, text.p, text.len, r->e);
	r->node.name = buf_slice(&b);
	return r->rc == E_OK;
}

static bool
read_type(struct reading *r)
{
	struct slice text;

	if (!read_string(r, &text))
		return false;
	r->node.type = NODE_IRREGULAR;
	for (unsigned i = 0; i < TYPE_COUNT; i++) {
		if (slice_is(text, type_texts[i])) {
			r->node.type = (enum node_type)i;
			break;
		}
	}
	return true;
}

static bool
read_u32(struct reading *r, uint32_t *v)
{
	uint64_t wide;

	if (!json_u64(&r->j, &wide))
		return false;
	if (wide > UINT32_MAX)
		return refuse(r, "a number does not fit in 32 bits");
	*v = (uint32_t)wide;
	return true;
}

static bool
read_time(struct reading *r, struct instant *t)
{
	struct slice text;

	if (!read_string(r, &text))
		return false;
	if (text.len != r->time_text.len || text.len == 0 ||
		memcmp(text.p, r->time_text.p, text.len) != 0) {
		if (!instant_parse(text.p, text.len, &r->time))
			return refuse(r, "a time that is not RFC 3339");
		r->time_text = text;
	}
	*t = r->time;
	return true;
}

static bool
read_base64(struct reading *r, struct slice *bytes)
{
	struct slice text;
	uint8_t *p;
	size_t len;

	if (!read_string(r, &text))
		return false;
	p = take_room(r, text.len / 4, 3);
	if (p == NULL)
		return false;
	if (!base64_read(text.p, text.len, p, &len))
		return refuse(r, "bytes that are not base64");
	*bytes = (struct slice){ p, len };
	return true;
}

static bool
read_mode(struct reading *r)
{
	return read_u32(r, &r->node.mode);
}

static bool
read_mtime(struct reading *r)
{
	return read_time(r, &r->node.mtime);
}

static bool
read_atime(struct reading *r)
{
	return read_time(r, &r->node.atime);
}

static bool
read_ctime(struct reading *r)
{
	return read_time(r, &r->node.ctime);
}

static bool
read_uid(struct reading *r)
{
	return read_u32(r, &r->node.uid);
}

static bool
read_gid(struct reading *r)
{
	return read_u32(r, &r->node.gid);
}

static bool
read_user(struct reading *r)
{
	return read_string(r, &r->node.user);
}

static bool
read_group(struct reading *r)
{
	return read_string(r, &r->node.group);
}

static bool
read_inode(struct reading *r)
{
	return json_u64(&r->j, &r->node.inode);
}

static bool
read_device_id(struct reading *r)
{
	return json_u64(&r->j, &r->node.device_id);
}

static bool
read_size(struct reading *r)
{
	return json_u64(&r->j, &r->node.size);
}

static bool
read_links(struct reading *r)
{
	return json_u64(&r->j, &r->node.links);
}

static bool read_linktarget(struct reading *r);
static bool read_linktarget_raw(struct reading *r);

static bool
read_xattr(struct reading *r, struct xattr *x)
{
	bool named = false;
	struct slice key;

	*x = (struct xattr){ .name = { 0 } };
	if (!json_enter_object(&r->j))
		return false;
	while (json_key(&r->j, &key)) {
		bool ok;

		if (slice_is(key, "name")) {
			ok = read_string(r, &x->name);
			named = true;
		} else if (slice_is(key, "value")) {
			ok = json_null(&r->j) || read_base64(r, &x->value);
		} else {
			ok = json_skip(&r->j, NULL);
			r->unknown = true;
		}
		if (!ok)
			return false;
	}
	if (r->j.bad)
		return false;
	return named || refuse(r, "an extended attribute without a name");
}

/* Elements of the array that j stands before; a look ahead with a copy. */
static size_t
count_elements(struct json ahead)
{
	size_t count = 0;

	if (!json_enter_array(&ahead))
		return 0;
	while (json_element(&ahead) && json_skip(&ahead, NULL))
		count++;
	return count;
}

static bool
read_xattrs(struct reading *r)
{
	size_t room, count = 0;
	struct xattr *list;

	if (json_null(&r->j))
		return true;
	room = count_elements(r->j);
	list = take_room(r, room, sizeof(*list));
	if (list == NULL || !json_enter_array(&r->j))
		return false;
	for (; json_element(&r->j); count++) {
		if (count == room || !read_xattr(r, &list[count]))
			return false;
	}
	r->node.xattrs = list;
	r->node.xattr_count = count;
	return !r->j.bad;
}

static bool
read_generic(struct reading *r)
{
	struct slice raw;

	if (json_null(&r->j))
		return true;
	if (json_peek(&r->j) != JSON_OBJECT)
		return refuse(r, "generic_attributes is not an object");
	if (!json_skip(&r->j, &raw))
		return false;
	if (!slice_is(raw, "{}"))
		r->node.generic = raw;
	return true;
}

static bool
read_device(struct reading *r)
{
	return json_u64(&r->j, &r->node.device);
}

static bool
read_id(struct reading *r, struct id *id)
{
	struct slice text;
	bool escaped;

	if (!json_string(&r->j, &text, &escaped))
		return false;
	return id_parse(text.p, text.len, id) || refuse(r, "an id that is not 64 hex digits");
}

/*
 * Ids in canonical text follow each other like bricks: take as many as there
 * are.  Returns the count; j then stands after the last one.
 */
static size_t
read_bricks(struct json *j, struct id *ids, size_t room)
{
	const uint8_t *p = j->p;
	size_t count = 0;

	while (count < room && (size_t)(j->end - p) >= ID_ITEM_BYTES) {
		const uint8_t *after = p + ID_TEXT_BYTES + 1;

		if (p[0] != '"' || after[0] != '"' || !id_parse(p + 1, ID_TEXT_BYTES, &ids[count]))
			break;
		count++;
		j->p = after + 1;
		if (after[1] != ',')
			break;
		p = after + 2;
	}
	return count;
}

/* No id holds a bracket, so the distance to the next one bounds the room that is needed. */
static bool
read_content(struct reading *r)
{
	const uint8_t *bracket;
	size_t room, count = 0;
	struct id *ids;

	if (json_null(&r->j)) {
		r->content_null = true;
		return true;
	}
	if (!json_enter_array(&r->j))
		return false;
	bracket = memchr(r->j.p, ']', (size_t)(r->j.end - r->j.p));
	room = bracket == NULL ? 0 : (size_t)(bracket - r->j.p) / (ID_ITEM_BYTES - 1);
	ids = take_room(r, room, sizeof(*ids));
	if (ids == NULL || !json_element(&r->j))
		return ids != NULL && !r->j.bad;
	count = read_bricks(&r->j, ids, room);
	for (bool more = count == 0 || json_element(&r->j); more; more = json_element(&r->j)) {
		if (count == room)
			return refuse(r, "an id that is not 64 hex digits");
		if (!read_id(r, &ids[count++]))
			return false;
	}
	r->node.content = ids;
	r->node.content_count = count;
	return !r->j.bad;
}

static bool
read_subtree(struct reading *r)
{
	r->node.has_subtree = true;
	return read_id(r, &r->node.subtree);
}

static bool
read_error(struct reading *r)
{
	return read_string(r, &r->node.error);
}

#define KEY_ROOM 24 /* the longest key with quotes and colon has 22 bytes */

/* One field: its key as it stands in the text.  Rows are in the order of the format (6.4). */
struct field {
	char text[KEY_ROOM]; /* "\"mode\":", zero-padded */
	uint64_t head;       /* mask of the first eight bytes that belong to it */
	size_t len;
	bool (*read)(struct reading *r);
};

#define HEAD_6 0x0000ffffffffffffU
#define HEAD_7 0x00ffffffffffffffU
#define HEAD_8 0xffffffffffffffffU

static const struct field fields[] = {
	{ "\"name\":", HEAD_7, 7, read_name },
	{ "\"type\":", HEAD_7, 7, read_type },
	{ "\"mode\":", HEAD_7, 7, read_mode },
	{ "\"mtime\":", HEAD_8, 8, read_mtime },
	{ "\"atime\":", HEAD_8, 8, read_atime },
	{ "\"ctime\":", HEAD_8, 8, read_ctime },
	{ "\"uid\":", HEAD_6, 6, read_uid },
	{ "\"gid\":", HEAD_6, 6, read_gid },
	{ "\"user\":", HEAD_7, 7, read_user },
	{ "\"group\":", HEAD_8, 8, read_group },
	{ "\"inode\":", HEAD_8, 8, read_inode },
	{ "\"device_id\":", HEAD_8, 12, read_device_id },
	{ "\"size\":", HEAD_7, 7, read_size },
	{ "\"links\":", HEAD_8, 8, read_links },
	{ "\"linktarget\":", HEAD_8, 13, read_linktarget },
	{ "\"linktarget_raw\":", HEAD_8, 17, read_linktarget_raw },
	{ "\"extended_attributes\":", HEAD_8, 22, read_xattrs },
	{ "\"generic_attributes\":", HEAD_8, 21, read_generic },
	{ "\"device\":", HEAD_8, 9, read_device },
	{ "\"content\":", HEAD_8, 10, read_content },
	{ "\"subtree\":", HEAD_8, 10, read_subtree },
	{ "\"error\":", HEAD_8, 8, read_error },
};

enum {
	FIELD_NAME = 0,
	FIELD_TYPE = 1,
	FIELD_LINKTARGET_RAW = 15,
	FIELD_CONTENT = 19,
	FIELD_COUNT = sizeof(fields) / sizeof(fields[0]),
};

static bool
has_seen(const struct reading *r, unsigned field)
{
	return (r->seen >> field & 1) != 0;
}

/* linktarget_raw holds the exact bytes and wins, whichever comes first. */
static bool
read_linktarget(struct reading *r)
{
	struct slice text;

	if (!read_string(r, &text))
		return false;
	if (!has_seen(r, FIELD_LINKTARGET_RAW))
		r->node.linktarget = text;
	return true;
}

static bool
read_linktarget_raw(struct reading *r)
{
	return read_base64(r, &r->node.linktarget);
}

/* Does this field's key stand at p?  At least KEY_ROOM bytes are readable there. */
static bool
key_matches(const struct field *f, const uint8_t *p)
{
	const uint8_t *text = (const uint8_t *)f->text;

	if (((word_get(p) ^ word_get(text)) & f->head) != 0)
		return false;
	return f->len <= WORD_BYTES ||
	       memcmp(p + WORD_BYTES, text + WORD_BYTES, f->len - WORD_BYTES) == 0;
}

/* The guess: the first field from `from` on whose key stands next; FIELD_COUNT for a miss. */
static unsigned
guess_field(struct json *j, unsigned from)
{
	uint64_t level = UINT64_C(1) << (j->depth - 1);
	bool comma = (j->first & level) == 0;
	const uint8_t *p = j->p + (comma ? 1 : 0);

	if (j->end - j->p <= KEY_ROOM || (comma && *j->p != ','))
		return FIELD_COUNT;
	for (unsigned i = from; i < FIELD_COUNT; i++) {
		if (key_matches(&fields[i], p)) {
			j->first &= ~level;
			j->p = p + fields[i].len;
			return i;
		}
	}
	return FIELD_COUNT;
}

/* The slow way to a row: `key` is without quotes. */
static unsigned
find_field(struct slice key)
{
	for (unsigned i = 0; i < FIELD_COUNT; i++) {
		const struct field *f = &fields[i];

		if (key.len + 3 == f->len && memcmp(f->text + 1, key.p, key.len) == 0)
			return i;
	}
	return FIELD_COUNT;
}

static bool
read_field(struct reading *r, unsigned field)
{
	if (field == FIELD_COUNT) {
		r->unknown = true;
		return json_skip(&r->j, NULL);
	}
	if (has_seen(r, field))
		return refuse(r, "a key that comes twice");
	r->seen |= 1U << field;
	return fields[field].read(r);
}

/* All members of the object that j stands before. */
static bool
read_members(struct reading *r)
{
	unsigned expected = 0;

	if (!json_enter_object(&r->j))
		return false;
	for (;;) {
		unsigned field = guess_field(&r->j, expected);
		struct slice key;

		if (field == FIELD_COUNT) {
			if (!json_key(&r->j, &key))
				return !r->j.bad;
			field = find_field(key);
		}
		if (!read_field(r, field))
			return false;
		if (field != FIELD_COUNT)
			expected = field + 1;
	}
}

static bool
read_node(struct reading *r)
{
	const uint8_t *begin = r->j.p;

	if (!read_members(r))
		return false;
	if (!has_seen(r, FIELD_NAME))
		return refuse(r, "a node without a name");
	if (!has_seen(r, FIELD_TYPE))
		return refuse(r, "a node without a type");
	r->node.content_null =
		r->node.type == NODE_FILE && (r->content_null || !has_seen(r, FIELD_CONTENT));
	r->node.raw = (struct slice){ begin, (size_t)(r->j.p - begin) };
	return true;
}

void
tree_reader_init(struct tree_reader *r, const void *text, size_t len, struct arena *arena)
{
	*r = (struct tree_reader){ .p = text, .arena = arena };
	r->end = len == 0 ? r->p : r->p + len; /* text may then be NULL */
}

static enum ecode
frame_refusal(const struct json *j, struct err *e)
{
	return err_set(e, E_TREE_FORMAT, 0, "the text around the nodes, %zu bytes before its end",
		(size_t)(j->end - j->p));
}

/* What follows the nodes, up to the end of the text. */
static enum ecode
read_tail(struct tree_reader *r, struct json *j, struct err *e)
{
	struct slice key;

	while (json_key(j, &key)) {
		r->flaws.not_canonical_frame = true;
		if (slice_is(key, "nodes") || !json_skip(j, NULL))
			return frame_refusal(j, e);
	}
	if (!json_end(j))
		return frame_refusal(j, e);
	r->p = j->p;
	r->done = true;
	return E_OK;
}

/* Up to and including the bracket before the first node. */
static enum ecode
read_head(struct tree_reader *r, struct err *e)
{
	size_t len = (size_t)(r->end - r->p), head = strlen(TREE_HEAD), tail = strlen(TREE_TAIL);
	struct json j;
	struct slice key;
	bool found = false;

	r->flaws.not_canonical_frame = len < head + tail || memcmp(r->p, TREE_HEAD, head) != 0 ||
				       memcmp(r->end - tail, TREE_TAIL, tail) != 0;
	json_init(&j, r->p, len);
	if (!json_enter_object(&j))
		return frame_refusal(&j, e);
	while (!found && json_key(&j, &key)) {
		found = slice_is(key, "nodes");
		if (!found && !json_skip(&j, NULL))
			return frame_refusal(&j, e);
	}
	if (!found)
		return frame_refusal(&j, e);
	r->begun = true;
	if (json_null(&j)) {
		r->flaws.not_canonical_frame = true;
		return read_tail(r, &j, e);
	}
	if (!json_enter_array(&j))
		return frame_refusal(&j, e);
	r->p = j.p;
	return E_OK;
}

static void
note_flaws(struct tree_reader *r, const struct reading *reading)
{
	struct slice name = reading->node.name;

	r->flaws.unknown_fields |= reading->unknown;
	r->flaws.bad_name |= !name_is_safe(name.p, name.len);
	if (r->count > 0) {
		int order = name_cmp(r->last, name);

		r->flaws.unsorted |= order > 0;
		r->flaws.duplicate |= order == 0;
	}
	r->last = name;
	r->count++;
}

/* The scanner as it stood between two elements of the list of nodes. */
static struct json
scanner_at(const struct tree_reader *r)
{
	struct json j;

	json_init(&j, r->p, (size_t)(r->end - r->p));
	j.depth = TREE_DEPTH;
	j.first = r->count == 0 ? UINT64_C(1) << (TREE_DEPTH - 1) : 0;
	return j;
}

static enum ecode
node_refusal(const struct tree_reader *r, const struct reading *reading, struct err *e)
{
	size_t at = (size_t)(reading->j.p - r->p);

	if (reading->rc == E_OK)
		return err_set(e, E_TREE_FORMAT, 0, "node %" PRIu64 ": not valid at its byte %zu",
			r->count, at);
	err_note(e, "node %" PRIu64 " of a directory, before its byte %zu", r->count, at);
	return reading->rc;
}

enum ecode
tree_next(struct tree_reader *r, struct node *node, bool *more, struct err *e)
{
	struct reading reading = { .arena = r->arena, .e = e, .rc = E_OK };

	if (!r->begun) {
		enum ecode rc = read_head(r, e);

		if (rc != E_OK)
			return rc;
	}
	if (r->done) {
		*more = false;
		return E_OK;
	}
	reading.j = scanner_at(r);
	if (!json_element(&reading.j)) {
		if (reading.j.bad)
			return node_refusal(r, &reading, e);
		*more = false;
		return read_tail(r, &reading.j, e);
	}
	(void)json_peek(&reading.j); /* steps over white space, so that raw begins at the brace */
	if (!read_node(&reading))
		return node_refusal(r, &reading, e);
	note_flaws(r, &reading);
	r->p = reading.j.p;
	*node = reading.node;
	*more = true;
	return E_OK;
}
