/* The bytes of a piece. */
#include "engine/hostile_piece.h"

void
piece_put(struct piece *p, const void *bytes, size_t len)
{
	struct err e;

	must(buf_add(&p->stored, bytes, len, &e));
}

void
piece_fill(struct piece *p, size_t len, uint8_t byte)
{
	struct err e;

	buf_clear(&p->plain);
	must(buf_reserve(&p->plain, len + 1, &e));
	memset(p->plain.p, byte, len);
	p->plain.len = len;
	p->claimed = len;
}

void
piece_frame_of(struct piece *p, size_t from, size_t to, ZSTD_cParameter key, int value)
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

void
piece_frame(struct piece *p)
{
	piece_frame_of(p, 0, p->plain.len, ZSTD_c_contentSizeFlag, 1);
}

void
piece_skippable(struct piece *p, unsigned n)
{
	static const uint8_t frame[] = { 0x5a, 0x2a, 0x4d, 0x18, 0x01, 0x00, 0x00, 0x00, 's' };

	for (; n > 0; n--)
		piece_put(p, frame, sizeof(frame));
}
