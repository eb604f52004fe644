/* The vault whose listings can say anything. */
#include "engine/hostile_craft.h"

#include <unistd.h>

#include "base/wire.h"

#define BIG_BYTES 4000
#define BLOBS     6 /* letters[] */
#define PACKS     4 /* packs[] */

static const char letters[] = "xbston";
static const char packs[] = "DTEN";
static const unsigned home[BLOBS] = { 0, 0, 1, 1, 2, 3 }; /* which pack a blob lies in */

struct craft {
	struct maker *m;
	struct pack_entry blob[BLOBS];
	struct buf sealed[PACKS]; /* the blobs of each */
	struct id pack[PACKS];
};
/* One blob of a listing. */
struct said {
	unsigned blob, place;
	const char *key, *value;
	size_t key_len, value_len;
	char op; /* '+' '-' '=', or '}' for: left out */
};

static void
add(struct buf *out, const void *p, size_t len)
{
	struct err e;

	must(buf_add(out, p, len, &e));
}

static void
add_str(struct buf *out, const char *text)
{
	add(out, text, strlen(text));
}

static unsigned
number_of(const char *list, char letter)
{
	const char *at = strchr(list, letter);

	invariant(at != NULL && letter != '\0');
	return (unsigned)(at - list);
}

/* ---- the truth ---- */

static void
make_blob(struct craft *c, char letter, enum blob_kind kind, const void *p, size_t len)
{
	struct blob_codec *codec = c->m->s->own;
	unsigned k = number_of(letters, letter);
	struct pack_entry *b = &c->blob[k];
	struct buf *out = &c->sealed[home[k]];
	struct err e;

	blob_id(codec, p, len, &b->id);
	b->kind = kind;
	b->offset = (uint32_t)out->len;
	must(blob_shut(codec, kind, &b->id, p, len, out, &b->ulen, &e));
	b->length = (uint32_t)out->len - b->offset;
}

void
craft_own(struct node *nodes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		nodes[i].uid = getuid();
		nodes[i].gid = getgid();
	}
}

static void
make_tree(struct craft *c, char letter, struct node *nodes, size_t n)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 16);
	struct tree_writer w;
	struct err e;

	craft_own(nodes, n);
	must(tree_begin(&w, &text, &e));
	for (size_t i = 0; i < n; i++)
		must(tree_put(&w, &nodes[i], &e));
	must(tree_end(&w, &e));
	make_blob(c, letter, BLOB_TREE, text.p, text.len);
}

static void
make_truth(struct craft *c, uint64_t big_size)
{
	uint8_t big[BIG_BYTES];
	struct node nodes[3];

	make_blob(c, 'x', BLOB_DATA, "x", 1);
	for (size_t i = 0; i < BIG_BYTES; i++)
		big[i] = (uint8_t)(i / 40);
	make_blob(c, 'b', BLOB_DATA, big, BIG_BYTES);
	memset(big, 'o', BIG_BYTES);
	make_blob(c, 'o', BLOB_DATA, big, BIG_BYTES);
	nodes[0] = node_file("child", &c->blob[0].id, 1, 1);
	make_tree(c, 's', nodes, 1);
	nodes[0] = node_file("big", &c->blob[1].id, 1, big_size > 0 ? big_size : BIG_BYTES);
	nodes[1] = node_dir("sub", &c->blob[2].id);
	nodes[2] = node_file("x", &c->blob[0].id, 1, 1);
	make_tree(c, 't', nodes, 3);
	c->blob[5] = (struct pack_entry){ .id = { { 0xab, 0xcd, 1 } },
		.kind = BLOB_DATA,
		.offset = (uint32_t)c->sealed[0].len,
		.length = 100 };
	c->pack[3] = (struct id){ { 0xab, 0xcd, 2 } };
}

/* ---- what is said ---- */

static const char *
read_said(const char *p, struct said *s)
{
	*s = (struct said){ .blob = number_of(letters, *p) };
	s->place = s->blob;
	p++;
	if (*p == '@') {
		s->place = number_of(letters, p[1]);
		p += 2;
	}
	if (*p == '{') {
		s->key = p + 1;
		s->key_len = strcspn(s->key, "+-=}");
		s->op = s->key[s->key_len];
		s->value = s->key + s->key_len + (s->op != '}');
		s->value_len = strcspn(s->value, "}");
		p = s->value + s->value_len + 1;
	}
	return p;
}

static bool
is_about(const struct said *s, const char *key)
{
	return s->key != NULL && s->key_len == strlen(key) && memcmp(s->key, key, s->key_len) == 0;
}

static void
add_number(struct buf *out, const struct said *s, const char *key, uint32_t v)
{
	char text[64];
	bool lies = is_about(s, key);
	long long more = lies && s->op != '=' ? strtoll(s->value - 1, NULL, 10) : 0;

	if (lies && s->op == '}')
		return;
	(void)snprintf(text, sizeof(text), ",\"%s\":", key);
	add_str(out, text);
	(void)snprintf(text, sizeof(text), "%lld", (long long)v + more);
	if (lies && s->op == '=')
		add(out, s->value, s->value_len);
	else
		add_str(out, text);
}

static void
add_said(struct buf *out, const struct craft *c, const struct said *s)
{
	const struct pack_entry *is = &c->blob[s->blob], *lies = &c->blob[s->place];
	char hex[ID_HEX_SIZE];

	id_hex(&is->id, hex);
	add_str(out, "{\"id\":\"");
	add_str(out, hex);
	add_str(out, "\",\"type\":");
	if (is_about(s, "type"))
		add(out, s->value, s->value_len);
	else
		add_str(out, is->kind == BLOB_TREE ? "\"tree\"" : "\"data\"");
	add_number(out, s, "offset", lies->offset);
	add_number(out, s, "length", lies->length);
	if (lies->ulen > 0 || is_about(s, "uncompressed_length"))
		add_number(out, s, "uncompressed_length", lies->ulen);
	add_str(out, "}");
}

/* The list of packs of one file; what is behind it. */
static const char *
add_packs(struct buf *out, const struct craft *c, const char *p)
{
	const char *between = "[";
	struct said s;

	while (*p != '\0' && *p != ';') {
		char hex[ID_HEX_SIZE];

		id_hex(&c->pack[number_of(packs, *p)], hex);
		add_str(out, between);
		add_str(out, "{\"id\":\"");
		add_str(out, hex);
		add_str(out, "\",\"blobs\":[");
		for (p += 2; *p != '\0' && *p != ' ' && *p != ';'; p += *p == ',') {
			add_str(out, p[-1] == ',' ? "," : "");
			p = read_said(p, &s);
			add_said(out, c, &s);
		}
		add_str(out, "]}");
		between = ",";
		p += *p == ' ';
	}
	add_str(out, "]");
	return p;
}

void
craft_index(struct maker *m, const void *text, size_t len)
{
	struct id ignored;
	struct err e;

	must(vault_save(m->s->vault, m->s->own, O_INDEX, text, len, &ignored, &e));
}

static void
write_whole(const struct craft *c, const char *template)
{
	autoclean(buf_done) struct buf list = buf_limit(1 << 16), text = buf_limit(1 << 24);
	struct hostile_ids ids = { .decoys = "" };

	(void)add_packs(&list, c, CRAFT_INDEX);
	add(&list, "", 1);
	ids.packs = (const char *)list.p;
	hostile_expand(&text, template, &ids);
	craft_index(c->m, text.p, text.len);
}

static void
write_indexes(const struct craft *c, const char *said)
{
	if (*said == '!') {
		write_whole(c, said + 1);
		return;
	}
	while (*said != '\0') {
		autoclean(buf_done) struct buf text = buf_limit(1 << 16);

		add_str(&text, "{\"packs\":");
		said = add_packs(&text, c, said);
		add_str(&text, "}\n");
		craft_index(c->m, text.p, text.len);
		said += *said == ';';
	}
}

/* ---- packs ---- */

static uint32_t
changed(const struct said *s, const char *key, uint32_t v)
{
	if (!is_about(s, key))
		return v;
	return s->op == '=' ? (uint32_t)strtoul(s->value, NULL, 10)
			    : (uint32_t)(v + strtoll(s->value - 1, NULL, 10));
}

static void
add_header_entry(struct buf *out, const struct craft *c, const struct said *s)
{
	const struct pack_entry *is = &c->blob[s->blob], *lies = &c->blob[s->place];
	uint8_t number[4];
	uint32_t type = (is->kind == BLOB_TREE ? 1 : 0) + (lies->ulen > 0 ? 2 : 0);
	uint8_t byte;

	type = changed(s, "type", type);
	byte = (uint8_t)type;
	add(out, &byte, 1);
	le32_put(number, changed(s, "length", lies->length));
	add(out, number, 4);
	le32_put(number, changed(s, "uncompressed_length", lies->ulen));
	if (type >= 2)
		add(out, number, 4);
	add(out, is->id.b, sizeof(is->id.b));
}

void
craft_pack(struct maker *m, const struct buf *blobs, const struct buf *header, const char *says,
	struct id *name)
{
	autoclean(buf_done) struct buf body = buf_limit(1 << 28);
	struct blob_codec *codec = m->s->own;
	struct oname oname = { .kind = O_PACK };
	uint8_t number[4];
	struct slice part;
	struct err e;

	add(&body, blobs->p, blobs->len);
	must(seal_shut(blob_codec_sealer(codec), header->p, header->len, &body, &e));
	le32_put(number, says != NULL ? (uint32_t)strtoul(says, NULL, 10)
				      : (uint32_t)(body.len - blobs->len));
	add(&body, number, sizeof(number));
	hasher_sum(blob_codec_hasher(codec), body.p, body.len, &oname.id);
	part = buf_slice(&body);
	must(store_put(m->s->store, &oname, &part, 1, &e));
	*name = oname.id;
}

/* One pack as the text says; what is behind it. */
static const char *
write_pack(struct craft *c, const char *p)
{
	autoclean(buf_done) struct buf header = buf_limit(1 << 24);
	unsigned k = number_of(packs, *p++);
	const char *says = NULL;
	size_t cut = 0;
	struct said s;

	if (strncmp(p, "[cut=", 5) == 0)
		cut = strtoul(p + 5, NULL, 10);
	if (strncmp(p, "[says=", 6) == 0)
		says = p + 6;
	for (p = strchr(p, ':') + 1; *p != '\0' && *p != ' '; p += *p == ',') {
		p = read_said(p, &s);
		add_header_entry(&header, c, &s);
	}
	header.len -= cut;
	craft_pack(c->m, &c->sealed[k], &header, says, &c->pack[k]);
	return p + (*p == ' ');
}

struct id
craft_vault(struct maker *m, const struct lie *lie)
{
	const char *index = lie->index != NULL ? lie->index : CRAFT_INDEX;
	const char *headers = lie->header != NULL ? lie->header : CRAFT_HEADERS;
	struct craft c = { .m = m };
	bool with_e = strchr(index, 'E') != NULL;

	for (unsigned i = 0; i < PACKS; i++)
		c.sealed[i] = buf_limit(1 << 20);
	make_truth(&c, lie->size);
	while (*headers != '\0' && (with_e || *headers != 'E'))
		headers = write_pack(&c, headers);
	write_indexes(&c, index);
	for (unsigned i = 0; i < PACKS; i++)
		buf_done(&c.sealed[i]);
	return c.blob[3].id;
}
