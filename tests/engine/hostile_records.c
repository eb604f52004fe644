/*
 * Index files and snapshot records that are encoded in every way (format document 3): nobody recorded how long their texts
 * are.
 */
#include "engine/hostile_piece.h"

#define TEXT_BYTES ((size_t)80 << 20) /* more than any real record has: repo/frame.c */

static void
put_text(struct piece *p, const char *text)
{
	piece_fill(p, strlen(text), ' ');
	memcpy(p->plain.p, text, strlen(text));
	piece_put(p, "\2", 1);
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
	piece_put(p, head, sizeof(head));
	piece_put(p, p->plain.p, p->plain.len);
}

static void
pack_as_json(struct piece *p)
{
	buf_clear(&p->stored);
	piece_put(p, p->plain.p, p->plain.len);
}

static void
pack_in_two_frames(struct piece *p)
{
	piece_frame_of(p, 0, p->plain.len / 2, ZSTD_c_contentSizeFlag, 1);
	piece_skippable(p, 1);
	piece_frame_of(p, p->plain.len / 2, p->plain.len, ZSTD_c_contentSizeFlag, 0);
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
	piece_frame(p);
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
	piece_frame(p);
	p->stored.p[0] = 3;
}

/* Good JSON, and then spaces. */
static void
pack_with_spaces(struct piece *p, int sized)
{
	char *text = strndup((const char *)p->plain.p, p->plain.len);

	piece_fill(p, TEXT_BYTES, ' ');
	memcpy(p->plain.p, text, strlen(text));
	piece_frame_of(p, 0, TEXT_BYTES, ZSTD_c_contentSizeFlag, sized);
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
hostile_records(size_t *n)
{
	static struct hostile rows[2 * TEXTS];

	*n = 2 * TEXTS;
	for (size_t i = 0; rows[*n - 1].name == NULL && i < TEXTS; i++) {
		rows[i] = row_of_text(i, false);
		rows[TEXTS + i] = row_of_text(i, true);
	}
	return rows;
}
