/* The small language of hostile rows. */
#include "engine/hostile.h"

#include <ctype.h>
#include <unistd.h>

#define TEXT_LIMIT ((size_t)64 << 20)
#define FIELDS_MAX 32

static void
add(struct buf *out, const char *p, size_t len)
{
	struct err e;

	must(buf_add(out, p, len, &e));
}

static void
add_str(struct buf *out, const char *text)
{
	add(out, text, strlen(text));
}

static void
add_id(struct buf *out, const struct id *id)
{
	char hex[ID_HEX_SIZE];

	id_hex(id, hex);
	add_str(out, "\"");
	add_str(out, hex);
	add_str(out, "\"");
}

static void expand(struct buf *out, const char *p, size_t len, const struct hostile_ids *ids);

/* "<n*text>", not within each other; the position after it. */
static const char *
add_many(struct buf *out, const char *p, const struct hostile_ids *ids)
{
	char *rest;
	unsigned long n = strtoul(p + 1, &rest, 10);
	const char *end = strchr(rest, '>');

	invariant(*rest == '*' && end != NULL);
	for (; n > 0; n--)
		expand(out, rest + 1, (size_t)(end - rest - 1), ids);
	return end + 1;
}

static const char *
add_named(struct buf *out, const char *p, const struct hostile_ids *ids)
{
	const struct id nothing = { { 0xab, 0xcd, 1 } };
	char number[32];

	switch (*p) {
	case 'X':
		add_id(out, &ids->x);
		break;
	case 'Y':
		add_id(out, &ids->y);
		break;
	case 'S':
		add_id(out, &ids->sub);
		break;
	case 'E':
		add_id(out, &ids->empty);
		break;
	case 'I':
		add_id(out, &ids->inner);
		break;
	case 'T':
		add_id(out, &ids->tree);
		break;
	case 'N':
		add_id(out, &nothing);
		break;
	case 'P':
		add_str(out, ids->packs);
		break;
	case 'A':
		add_str(out, ids->decoys);
		break;
	case 'U':
	case 'G':
		(void)snprintf(number, sizeof(number), "%u", *p == 'U' ? getuid() : getgid());
		add_str(out, number);
		break;
	case '0':
		add(out, "", 1);
		break;
	case '<':
		return add_many(out, p, ids);
	default:
		invariant(*p == '$');
		add_str(out, "$");
	}
	return p + 1;
}

static void
expand(struct buf *out, const char *p, size_t len, const struct hostile_ids *ids)
{
	const char *end = p + len;

	while (p < end) {
		const char *dollar = memchr(p, '$', (size_t)(end - p));
		const char *stop = dollar != NULL ? dollar : end;

		add(out, p, (size_t)(stop - p));
		p = dollar != NULL ? add_named(out, dollar + 1, ids) : end;
	}
}

void
hostile_expand(struct buf *out, const char *text, const struct hostile_ids *ids)
{
	buf_clear(out);
	out->limit = TEXT_LIMIT;
	expand(out, text, strlen(text), ids);
}

/* ---- nodes ---- */

struct field {
	const char *key;
	size_t key_len;
	const char *value;
	size_t value_len;
	bool quoted, out;
};
struct fields {
	struct field v[FIELDS_MAX];
	size_t n;
	const char *appended;
	size_t appended_len;
};
struct standard {
	char letter;
	const char *pairs; /* in the language itself */
};
#define TIME_TEXT "'2020-01-02T03:04:05.678901234Z"
#define TIMES     "|mtime" TIME_TEXT "|atime" TIME_TEXT "|ctime" TIME_TEXT "|uid=$U|gid=$G"
static const struct standard standards[] = {
	{ 'f', "name'x|type'file|mode=420" TIMES "|size=1|links=1|content=[$X]" },
	{ 'd', "name'x|type'dir|mode=2147484141" TIMES "|content=null|subtree=$S" },
	{ 'l', "name'x|type'symlink|mode=134218239" TIMES "|links=1|linktarget't|content=null" },
	{ 'b', "name'x|type'dev|mode=67109248" TIMES "|links=1|device=1793|content=null" },
	{ 'c', "name'x|type'chardev|mode=69206400" TIMES "|links=1|device=259|content=null" },
	{ 'p', "name'x|type'fifo|mode=33554816" TIMES "|links=1|content=null" },
	{ 's', "name'x|type'socket|mode=16777600" TIMES "|links=1|content=null" },
};

static struct field *
field_of(struct fields *f, const char *key, size_t len)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].key_len == len && memcmp(f->v[i].key, key, len) == 0)
			return &f->v[i];
	invariant(f->n < FIELDS_MAX);
	f->v[f->n] = (struct field){ .key = key, .key_len = len };
	return &f->v[f->n++];
}

static void
take_pair(struct fields *f, const char *p, size_t len)
{
	size_t key = 0;
	struct field *field;

	if (*p == '+') {
		f->appended = p + 1;
		f->appended_len = len - 1;
		return;
	}
	if (*p == '!') {
		field_of(f, p + 1, len - 1)->out = true;
		return;
	}
	while (key < len && p[key] != '=' && p[key] != '\'')
		key++;
	invariant(key < len);
	field = field_of(f, p, key);
	field->quoted = p[key] == '\'';
	field->value = p + key + 1;
	field->value_len = len - key - 1;
}

static void
take_pairs(struct fields *f, const char *p, const char *end)
{
	while (p < end) {
		const char *bar = memchr(p, '|', (size_t)(end - p));
		const char *stop = bar != NULL ? bar : end;

		if (stop > p)
			take_pair(f, p, (size_t)(stop - p));
		p = stop + 1;
	}
}

static void
put_fields(struct buf *out, const struct fields *f, const struct hostile_ids *ids)
{
	const char *comma = "{";

	for (size_t i = 0; i < f->n; i++) {
		const struct field *v = &f->v[i];

		if (v->out)
			continue;
		add_str(out, comma);
		add_str(out, "\"");
		add(out, v->key, v->key_len);
		add_str(out, v->quoted ? "\":\"" : "\":");
		expand(out, v->value, v->value_len, ids);
		add_str(out, v->quoted ? "\"" : "");
		comma = ",";
	}
	if (f->appended != NULL) {
		add_str(out, ",");
		expand(out, f->appended, f->appended_len, ids);
	}
	add_str(out, "}");
}

static void
put_node(struct buf *out, const char *p, const char *end, const struct hostile_ids *ids)
{
	struct fields f = { .n = 0 };

	if (*p == '{') {
		expand(out, p, (size_t)(end - p), ids);
		return;
	}
	for (size_t i = 0; i < sizeof(standards) / sizeof(standards[0]); i++)
		if (standards[i].letter == *p)
			take_pairs(&f, standards[i].pairs,
				standards[i].pairs + strlen(standards[i].pairs));
	invariant(f.n > 0);
	take_pairs(&f, p + 1 + (p + 1 < end && p[1] == ' '), end);
	put_fields(out, &f, ids);
}

void
hostile_tree(struct buf *out, const char *nodes, bool good, const struct hostile_ids *ids)
{
	static const char zz[] = "f name'\\\\xff\\\\xff\\\\xff";
	const char *comma = "";

	if (*nodes == '!') {
		hostile_expand(out, nodes + 1, ids);
		return;
	}
	buf_clear(out);
	out->limit = TEXT_LIMIT;
	add_str(out, "{\"nodes\":[");
	for (const char *p = nodes; *p != '\0';) {
		const char *end = p + strcspn(p, "\n");

		add_str(out, comma);
		put_node(out, p, end, ids);
		comma = ",";
		p = end + (*end == '\n');
	}
	if (good) {
		add_str(out, comma);
		put_node(out, zz, zz + strlen(zz), ids);
	}
	add_str(out, "]}\n");
}
