/*
 * Pieces that no honest writer makes: index and header agree about each, and it is sealed with the vault's key.  Format
 * document 10.2: a reader takes several frames, skippable ones, any window; what it must not take is another length,
 * another content, or more memory than a small vault can ask for.
 */
#include "engine/hostile_craft.h"

#include <zstd.h>

#define BAD        E_RESTORE_DAMAGED
#define BOMB_BYTES ((size_t)32 << 20)
#define TEXT_BYTES ((size_t)80 << 20) /* of a record; more than any real one has: blob.c */

/* What is stored, and of what its name is the hash. */
struct piece {
	struct buf stored, plain;
	uint64_t claimed; /* uncompressed_length; 0: stored plain */
	bool tree;        /* the directory "x", not the file */
};

static void
must(enum ecode rc)
{
	invariant(rc == E_OK);
}

static void
put(struct piece *p, const void *bytes, size_t len)
{
	struct err e;

	must(buf_add(&p->stored, bytes, len, &e));
}

static void
fill(struct piece *p, size_t len, uint8_t byte)
{
	struct err e;

	buf_clear(&p->plain);
	must(buf_reserve(&p->plain, len + 1, &e));
	memset(p->plain.p, byte, len);
	p->plain.len = len;
	p->claimed = len;
}

/* Append what the plain bytes from..to compress to. */
static void
put_frame_of(struct piece *p, size_t from, size_t to, ZSTD_cParameter key, int value)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(to - from), got;
	struct err e;

	invariant(c != NULL);
	must(buf_reserve(&p->stored, room, &e));
	invariant(!ZSTD_isError(ZSTD_CCtx_setParameter(c, key, value)));
	got = ZSTD_compress2(c, p->stored.p + p->stored.len, room, p->plain.p + from, to - from);
	invariant(!ZSTD_isError(got));
	p->stored.len += got;
	(void)ZSTD_freeCCtx(c);
}

static void
put_frame(struct piece *p)
{
	put_frame_of(p, 0, p->plain.len, ZSTD_c_contentSizeFlag, 1);
}

/* A thousand of one byte, and its frame. */
static void
make_usual(struct piece *p)
{
	fill(p, 1000, 'u');
	put_frame(p);
}

static void
make_unsized(struct piece *p)
{
	fill(p, 1000, 'u');
	put_frame_of(p, 0, 1000, ZSTD_c_contentSizeFlag, 0);
}

static void
make_with_checksum(struct piece *p)
{
	fill(p, 1000, 'u');
	put_frame_of(p, 0, 1000, ZSTD_c_checksumFlag, 1);
}

static void
make_with_wrong_checksum(struct piece *p)
{
	make_with_checksum(p);
	p->stored.p[p->stored.len - 1] ^= 1;
}

/* A window of 2^31 bytes in its head: nothing needs it to be taken. */
static void
make_with_large_window(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x43, 0x1f, 0x00,
		'u' }; /* one block: 1,000 times that byte */

	fill(p, 1000, 'u');
	put(p, frame, sizeof(frame));
}

static void
make_two_frames(struct piece *p)
{
	fill(p, 1000, 'u');
	put_frame_of(p, 0, 400, ZSTD_c_contentSizeFlag, 1);
	put_frame_of(p, 400, 1000, ZSTD_c_contentSizeFlag, 0);
}

static void
put_skippable(struct piece *p, unsigned n)
{
	static const uint8_t frame[] = { 0x5a, 0x2a, 0x4d, 0x18, 0x01, 0x00, 0x00, 0x00, 's' };

	for (; n > 0; n--)
		put(p, frame, sizeof(frame));
}

static void
make_between_skippable(struct piece *p)
{
	put_skippable(p, 2);
	make_usual(p);
	put_skippable(p, 1);
}

static void
make_among_100000_skippable(struct piece *p)
{
	put_skippable(p, 100000);
	make_usual(p);
}

static void
make_skippable_only(struct piece *p)
{
	fill(p, 1000, 'u');
	put_skippable(p, 3);
}

/* A hundred thousand blocks of nothing before the one that counts. */
static void
make_of_100000_blocks(struct piece *p)
{
	static const uint8_t head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58 };
	static const uint8_t last[] = { 0x43, 0x1f, 0x00, 'u' };

	fill(p, 1000, 'u');
	put(p, head, sizeof(head));
	for (unsigned i = 0; i < 100000; i++)
		put(p, "\0\0\0", 3);
	put(p, last, sizeof(last));
}

static void
make_that_skips_4_gib(struct piece *p)
{
	static const uint8_t head[] = { 0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff };

	fill(p, 1000, 'u');
	put(p, head, sizeof(head));
}

static void
make_with_more_behind(struct piece *p)
{
	make_usual(p);
	put(p, "more", 4);
}

static void
make_cut(struct piece *p)
{
	make_usual(p);
	p->stored.len -= 3;
}

static void
make_empty_frame(struct piece *p)
{
	fill(p, 1000, 'u');
}

static void
make_of_no_frame(struct piece *p)
{
	fill(p, 1000, 'n');
	put(p, p->plain.p, 1000);
}

static void
make_of_a_dictionary(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 0x07, 0x01, 0x09, 0x00, 0x00,
		'u' };

	fill(p, 1, 'u');
	put(p, frame, sizeof(frame));
}

/* As zstd 0.7 wrote it, before the format was fixed; restic reads no such frame. */
static void
make_of_an_old_frame(struct piece *p)
{
	static const uint8_t frame[] = { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x40, 0x00, 0x01, 'u',
		0xc0, 0x00, 0x00 };

	fill(p, 1, 'u');
	put(p, frame, sizeof(frame));
}

static void
make_with_window_of_terabytes(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x43, 0x1f, 0x00,
		'u' };

	fill(p, 1000, 'u');
	put(p, frame, sizeof(frame));
}

/* Its head says 2^64 - 2 bytes. */
static void
make_with_lying_head(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xfe, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0x43, 0x1f, 0x00, 'u' };

	fill(p, 1000, 'u');
	put(p, frame, sizeof(frame));
}

static void
make_one_more(struct piece *p)
{
	make_usual(p);
	p->claimed = 1001;
}

static void
make_one_less(struct piece *p)
{
	make_unsized(p);
	p->claimed = 999;
}

/* ---- bombs ---- */

static void
make_bomb(struct piece *p)
{
	fill(p, BOMB_BYTES, 0);
	put_frame(p);
}

static void
make_bomb_said_small(struct piece *p)
{
	make_bomb(p);
	p->claimed = 10;
}

static void
make_bomb_said_small_unsized(struct piece *p)
{
	fill(p, BOMB_BYTES, 0);
	put_frame_of(p, 0, BOMB_BYTES, ZSTD_c_contentSizeFlag, 0);
	p->claimed = 10;
}

/* A chunk of zeros, as large as restic's can be: honest. */
static void
make_largest_chunk(struct piece *p)
{
	fill(p, CHUNK_MAX_BYTES, 0);
	put_frame(p);
}

/* A thousand of a kilobyte: none is large, and no head says what they come to. */
static void
make_bomb_of_frames(struct piece *p)
{
	fill(p, 1000, 0);
	for (unsigned i = 0; i < 1000; i++)
		put_frame(p);
}

static void
make_tree_of_2_gib(struct piece *p)
{
	make_usual(p);
	p->claimed = UINT64_C(1) << 31;
	p->tree = true;
}

/* Spaces behind an empty directory; the index calls it small. */
static void
make_tree_bomb(struct piece *p)
{
	fill(p, BOMB_BYTES, ' ');
	memcpy(p->plain.p, "{\"nodes\":[]}", 12);
	put_frame(p);
	p->claimed = 4000;
	p->tree = true;
}

/* ---- another content than the name's ---- */

static void
make_other(struct piece *p)
{
	make_usual(p);
	memset(p->plain.p, 'o', 1000);
}

static void
make_other_plain(struct piece *p)
{
	fill(p, 1000, 'o');
	put(p, p->plain.p, 1000);
	p->plain.p[999] = 'p';
	p->claimed = 0;
}

static void
make_nothing_plain(struct piece *p)
{
	fill(p, 0, 0);
}

/* A good directory, under the name of another. */
static void
make_other_tree(struct piece *p)
{
	static const char text[] = "{\"nodes\":[]}\n";

	fill(p, sizeof(text) - 1, ' ');
	memcpy(p->plain.p, text, sizeof(text) - 1);
	put_frame(p);
	p->plain.p[0] = '[';
	p->tree = true;
}

/* ---- into a vault ---- */

static void
say_where(struct maker *m, const struct pack_entry *b, const struct id *pack)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 16);
	struct index_pack one = { .id = *pack };
	struct err e;

	must(pack_list_add(&one.blobs, b, &e));
	must(index_write(&one, 1, &text, &e));
	craft_index(m, text.p, text.len);
	pack_list_done(&one.blobs);
}

static void
store_piece(struct maker *m, const struct piece *p, struct pack_entry *b)
{
	autoclean(buf_done) struct buf sealed = buf_limit(1 << 28), header = buf_limit(1 << 16);
	struct pack_list list = { .v = b, .n = 1, .cap = 1 };
	struct blob_codec *codec = m->s->own;
	struct id pack;
	struct err e;

	blob_id(codec, p->plain.p, p->plain.len, &b->id);
	must(seal_shut(blob_codec_sealer(codec), p->stored.p, p->stored.len, &sealed, &e));
	b->length = (uint32_t)sealed.len;
	b->ulen = (uint32_t)p->claimed;
	b->kind = p->tree ? BLOB_TREE : BLOB_DATA;
	must(pack_header_write(&list, &header, &e));
	craft_pack(m, &sealed, &header, NULL, &pack);
	say_where(m, b, &pack);
}

/* Beside it a good file, which a partial restore leaves. */
static struct id
craft_piece(struct maker *m, const struct lie *lie)
{
	struct piece p = { .stored = buf_limit(1 << 28), .plain = buf_limit(1 << 28) };
	struct pack_entry b = { .offset = 0 };
	struct id good = maker_data(m, "good", 4);
	struct node nodes[2];

	lie->build(&p);
	store_piece(m, &p, &b);
	nodes[0] = node_file("good", &good, 1, 4);
	nodes[1] = p.tree ? node_dir("x", &b.id)
			  : node_file("x", &b.id, 1, p.claimed > 0 ? p.claimed : p.stored.len);
	craft_own(nodes, 2);
	buf_done(&p.stored);
	buf_done(&p.plain);
	return maker_tree(m, nodes, 2);
}

/* ---- index files and snapshot records: texts of unknown length (3) ---- */

static void
put_text(struct piece *p, const char *text)
{
	fill(p, strlen(text), ' ');
	memcpy(p->plain.p, text, strlen(text));
	put(p, "\2", 1);
}

/* The text in one block that is stored as it is, below a window of 2^(10 + byte / 8). */
static void
put_raw_frame(struct piece *p, uint8_t window)
{
	uint8_t head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0, 0, 0 };
	size_t block = p->plain.len << 3 | 1;

	head[6] = (uint8_t)block;
	head[7] = (uint8_t)(block >> 8);
	head[8] = (uint8_t)(block >> 16);
	put(p, head, sizeof(head));
	put(p, p->plain.p, p->plain.len);
}

static void
pack_as_json(struct piece *p)
{
	buf_clear(&p->stored);
	put(p, p->plain.p, p->plain.len);
}

static void
pack_in_two_frames(struct piece *p)
{
	put_frame_of(p, 0, p->plain.len / 2, ZSTD_c_contentSizeFlag, 1);
	put_skippable(p, 1);
	put_frame_of(p, p->plain.len / 2, p->plain.len, ZSTD_c_contentSizeFlag, 0);
}

static void
pack_with_window_of_2_27(struct piece *p)
{
	put_raw_frame(p, 17 << 3);
}

static void
pack_with_window_of_2_28(struct piece *p)
{
	put_raw_frame(p, 18 << 3);
}

static void
pack_cut(struct piece *p)
{
	put_frame(p);
	p->stored.len -= 3;
}

static void
pack_in_old_frame(struct piece *p)
{
	put_raw_frame(p, 0);
	p->stored.p[1] = 0x27;
}

static void
pack_in_unknown_way(struct piece *p)
{
	put_frame(p);
	p->stored.p[0] = 3;
}

/* Good JSON, and then spaces. */
static void
pack_with_spaces(struct piece *p, int sized)
{
	char *text = strndup((const char *)p->plain.p, p->plain.len);

	fill(p, TEXT_BYTES, ' ');
	memcpy(p->plain.p, text, strlen(text));
	put_frame_of(p, 0, TEXT_BYTES, ZSTD_c_contentSizeFlag, sized);
	free(text);
}

static void
pack_bomb(struct piece *p)
{
	pack_with_spaces(p, 1);
}

static void
pack_unsized_bomb(struct piece *p)
{
	pack_with_spaces(p, 0);
}

static void
put_record(struct session *s, enum okind kind, const char *text, void (*pack)(struct piece *p))
{
	struct piece p = { .stored = buf_limit(1 << 28), .plain = buf_limit(1 << 28) };
	autoclean(buf_done) struct buf sealed = buf_limit(1 << 28);
	struct oname name = { .kind = kind };
	struct slice part;
	struct err e;

	put_text(&p, text);
	pack(&p);
	must(seal_shut(blob_codec_sealer(s->own), p.stored.p, p.stored.len, &sealed, &e));
	hasher_sum(blob_codec_hasher(s->own), sealed.p, sealed.len, &name.id);
	part = buf_slice(&sealed);
	must(store_put(s->store, &name, &part, 1, &e));
	buf_done(&p.stored);
	buf_done(&p.plain);
}

/* One more snapshot, the newest. */
static void
spoil_with_snapshot(struct fix *f, const struct hostile *h)
{
	char text[300], hex[ID_HEX_SIZE];
	struct session s;

	id_hex(&f->result.snapshot_id, hex); /* the tree: put there by the runner */
	(void)snprintf(text, sizeof(text),
		"{\"time\":\"2090-01-01T00:00:00Z\",\"tree\":\"%s\",\"paths\":[\"/x\"]}", hex);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	put_record(&s, O_SNAPSHOT, text, h->lie.build);
	session_abandon(&s);
}

/* One more index file, which would say nothing. */
static void
spoil_with_index(struct fix *f, const struct hostile *h)
{
	struct session s;

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	put_record(&s, O_INDEX, "{\"packs\":[]}", h->lie.build);
	session_abandon(&s);
}

/* ---- rows ---- */

enum outcome {
	FINE, /* the file is there, and right */
	READ, /* damage, seen by who reads the piece */
	TREE, /* damage, seen by who plans */
};
static const struct {
	const char *name;
	void (*build)(struct piece *p);
	enum outcome outcome;
	const char *size; /* of the file; NULL: 1000 */
} pieces[] = {
	{ "zstd: as usual", make_usual, FINE },
	{ "zstd: without its size", make_unsized, FINE },
	{ "zstd: with a checksum", make_with_checksum, FINE },
	{ "zstd: with a wrong checksum", make_with_wrong_checksum, READ },
	{ "zstd: a window of 2^31", make_with_large_window, FINE },
	{ "zstd: a window of terabytes", make_with_window_of_terabytes, READ },
	{ "zstd: two frames", make_two_frames, FINE },
	{ "zstd: between skippable frames", make_between_skippable, FINE },
	{ "zstd: among 100,000 skippable frames", make_among_100000_skippable, FINE },
	{ "zstd: skippable frames only", make_skippable_only, READ },
	{ "zstd: skips 4 GiB", make_that_skips_4_gib, READ },
	{ "zstd: 100,000 empty blocks", make_of_100000_blocks, FINE },
	{ "zstd: more behind it", make_with_more_behind, READ },
	{ "zstd: cut", make_cut, READ },
	{ "zstd: nothing", make_empty_frame, READ },
	{ "zstd: no frame", make_of_no_frame, READ },
	{ "zstd: of a dictionary", make_of_a_dictionary, READ, "1" },
	{ "zstd: of version 0.7", make_of_an_old_frame, READ, "1" },
	{ "zstd: its head lies", make_with_lying_head, READ },
	{ "zstd: one more is claimed", make_one_more, READ },
	{ "zstd: one less is claimed", make_one_less, READ },
	{ "bomb: 8 MiB that are said to be", make_largest_chunk, FINE, "8388608" },
	{ "bomb: 32 MiB said to be 10", make_bomb_said_small, READ },
	{ "bomb: 32 MiB said to be 10, unsized", make_bomb_said_small_unsized, READ },
	{ "bomb: a thousand frames of 1,000, said to be one", make_bomb_of_frames, READ },
	{ "bomb: a tree said to be 2 GiB", make_tree_of_2_gib, TREE },
	{ "bomb: a tree of 32 MiB said to be 4,000", make_tree_bomb, TREE },
	{ "piece: another content", make_other, READ },
	{ "piece: another content, stored plain", make_other_plain, READ },
	{ "piece: another tree", make_other_tree, TREE },
	{ "piece: empty", make_nothing_plain, FINE, "0" },
};
#define PIECES (sizeof(pieces) / sizeof(pieces[0]))

static const struct {
	const char *name;
	void (*pack)(struct piece *p);
	enum ecode snapshot, index; /* what comes of it */
} texts[] = {
	{ "plain JSON", pack_as_json, E_OK, E_OK },
	{ "two frames", pack_in_two_frames, E_OK, E_OK },
	{ "a window of 2^27", pack_with_window_of_2_27, E_OK, E_OK },
	{ "a window of 2^28", pack_with_window_of_2_28, E_BLOB_ZSTD, E_INDEX_FORMAT },
	{ "cut", pack_cut, E_BLOB_ZSTD, E_INDEX_FORMAT },
	{ "of version 0.7", pack_in_old_frame, E_BLOB_ZSTD, E_INDEX_FORMAT },
	{ "of no known way", pack_in_unknown_way, E_UNPACKED_FORMAT, E_INDEX_FORMAT },
	{ "bomb", pack_bomb, E_LIMIT, E_INDEX_FORMAT },
	{ "bomb, unsized", pack_unsized_bomb, E_LIMIT, E_INDEX_FORMAT },
};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))

static struct hostile
row_of_piece(size_t i)
{
	struct hostile h = { .name = pieces[i].name,
		.craft = craft_piece,
		.flags = pieces[i].outcome == READ ? H_PLANNED : 0,
		.want = pieces[i].outcome == FINE ? E_OK : BAD,
		.lie = { .build = pieces[i].build } };
	const char *size = pieces[i].size;
	char *tree;

	invariant(asprintf(&tree, "f644 4 good|f644 %s x", size != NULL ? size : "1000") > 0);
	h.tree = tree;
	if (h.want != E_OK)
		h.partial = pieces[i].outcome == TREE ? "f644 4 good|d755 x" : "f644 4 good";
	return h;
}

static struct hostile
row_of_text(size_t i, bool index)
{
	enum ecode want = index ? texts[i].index : texts[i].snapshot;
	struct hostile h = { .nodes = "f",
		.tree = "f644 1 x",
		.flags = i % 3 != 0 ? H_ALONE : 0, /* it comes before any verb */
		.want = want,
		.spoil = index ? spoil_with_index : spoil_with_snapshot,
		.lie = { .build = texts[i].pack } };
	char *name;

	invariant(asprintf(&name, "%s: %s", index ? "index" : "snapshot", texts[i].name) > 0);
	h.name = name;
	h.verify = want;
	h.drill = want == E_INDEX_FORMAT ? E_DRILL_FAILED : want;
	return h;
}

const struct hostile *
hostile_pieces(size_t *n)
{
	static struct hostile rows[PIECES + 2 * TEXTS];

	*n = PIECES + 2 * TEXTS;
	for (size_t i = 0; rows[*n - 1].name == NULL && i < PIECES; i++)
		rows[i] = row_of_piece(i);
	for (size_t i = 0; rows[*n - 1].name == NULL && i < TEXTS; i++) {
		rows[PIECES + i] = row_of_text(i, false);
		rows[PIECES + TEXTS + i] = row_of_text(i, true);
	}
	return rows;
}
