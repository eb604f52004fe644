/*
 * Pieces that no honest writer makes: index and header agree about each, and it is sealed with the vault's key.  Format
 * document 10.2: a reader takes several frames, skippable ones, any window; what it must not take is another length,
 * another content, or more memory than a small vault can ask for.
 */
#include "engine/hostile_piece.h"

#define BAD        E_RESTORE_DAMAGED
#define BOMB_BYTES ((size_t)32 << 20)

/* A thousand of one byte, and its frame. */
static void
make_usual(struct piece *p)
{
	piece_fill(p, 1000, 'u');
	piece_frame(p);
}

static void
make_unsized(struct piece *p)
{
	piece_fill(p, 1000, 'u');
	piece_frame_of(p, 0, 1000, ZSTD_c_contentSizeFlag, 0);
}

static void
make_with_checksum(struct piece *p)
{
	piece_fill(p, 1000, 'u');
	piece_frame_of(p, 0, 1000, ZSTD_c_checksumFlag, 1);
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

	piece_fill(p, 1000, 'u');
	piece_put(p, frame, sizeof(frame));
}

static void
make_two_frames(struct piece *p)
{
	piece_fill(p, 1000, 'u');
	piece_frame_of(p, 0, 400, ZSTD_c_contentSizeFlag, 1);
	piece_frame_of(p, 400, 1000, ZSTD_c_contentSizeFlag, 0);
}

static void
make_between_skippable(struct piece *p)
{
	piece_skippable(p, 2);
	make_usual(p);
	piece_skippable(p, 1);
}

static void
make_among_100000_skippable(struct piece *p)
{
	piece_skippable(p, 100000);
	make_usual(p);
}

static void
make_skippable_only(struct piece *p)
{
	piece_fill(p, 1000, 'u');
	piece_skippable(p, 3);
}

/* A hundred thousand blocks of nothing before the one that counts. */
static void
make_of_100000_blocks(struct piece *p)
{
	static const uint8_t head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58 };
	static const uint8_t last[] = { 0x43, 0x1f, 0x00, 'u' };

	piece_fill(p, 1000, 'u');
	piece_put(p, head, sizeof(head));
	for (unsigned i = 0; i < 100000; i++)
		piece_put(p, "\0\0\0", 3);
	piece_put(p, last, sizeof(last));
}

static void
make_that_skips_4_gib(struct piece *p)
{
	static const uint8_t head[] = { 0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff };

	piece_fill(p, 1000, 'u');
	piece_put(p, head, sizeof(head));
}

static void
make_with_more_behind(struct piece *p)
{
	make_usual(p);
	piece_put(p, "more", 4);
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
	piece_fill(p, 1000, 'u');
}

static void
make_of_no_frame(struct piece *p)
{
	piece_fill(p, 1000, 'n');
	piece_put(p, p->plain.p, 1000);
}

static void
make_of_a_dictionary(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 0x07, 0x01, 0x09, 0x00, 0x00,
		'u' };

	piece_fill(p, 1, 'u');
	piece_put(p, frame, sizeof(frame));
}

/* As zstd 0.7 wrote it, before the format was fixed; restic reads no such frame. */
static void
make_of_an_old_frame(struct piece *p)
{
	static const uint8_t frame[] = { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x40, 0x00, 0x01, 'u',
		0xc0, 0x00, 0x00 };

	piece_fill(p, 1, 'u');
	piece_put(p, frame, sizeof(frame));
}

static void
make_with_window_of_terabytes(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x43, 0x1f, 0x00,
		'u' };

	piece_fill(p, 1000, 'u');
	piece_put(p, frame, sizeof(frame));
}

/* Its head says 2^64 - 2 bytes. */
static void
make_with_lying_head(struct piece *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xfe, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0x43, 0x1f, 0x00, 'u' };

	piece_fill(p, 1000, 'u');
	piece_put(p, frame, sizeof(frame));
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
	piece_fill(p, BOMB_BYTES, 0);
	piece_frame(p);
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
	piece_fill(p, BOMB_BYTES, 0);
	piece_frame_of(p, 0, BOMB_BYTES, ZSTD_c_contentSizeFlag, 0);
	p->claimed = 10;
}

/* A chunk of zeros, as large as restic's can be: honest. */
static void
make_largest_chunk(struct piece *p)
{
	piece_fill(p, CHUNK_MAX_BYTES, 0);
	piece_frame(p);
}

/* A thousand of a kilobyte: none is large, and no head says what they come to. */
static void
make_bomb_of_frames(struct piece *p)
{
	piece_fill(p, 1000, 0);
	for (unsigned i = 0; i < 1000; i++)
		piece_frame(p);
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
	piece_fill(p, BOMB_BYTES, ' ');
	memcpy(p->plain.p, "{\"nodes\":[]}", 12);
	piece_frame(p);
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
	piece_fill(p, 1000, 'o');
	piece_put(p, p->plain.p, 1000);
	p->plain.p[999] = 'p';
	p->claimed = 0;
}

static void
make_nothing_plain(struct piece *p)
{
	piece_fill(p, 0, 0);
}

/* A good directory, under the name of another. */
static void
make_other_tree(struct piece *p)
{
	static const char text[] = "{\"nodes\":[]}\n";

	piece_fill(p, sizeof(text) - 1, ' ');
	memcpy(p->plain.p, text, sizeof(text) - 1);
	piece_frame(p);
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

const struct hostile *
hostile_pieces(size_t *n)
{
	static struct hostile rows[PIECES];

	*n = PIECES;
	for (size_t i = 0; rows[PIECES - 1].name == NULL && i < PIECES; i++)
		rows[i] = row_of_piece(i);
	return rows;
}
