#include "repo/frame.h"

#include <inttypes.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "base/wire.h"

/* Largest window we read (format document 10.2) */
#define WINDOW_LOG_READ     27
/* bytes; first guess for a text of unknown length */
#define TEXT_FIRST_BYTES    ((size_t)64 << 10)
/* bytes; a length stated in a frame is believed at once up to here, larger texts grow as they come */
#define TEXT_BELIEVED_BYTES ((size_t)16 << 20)

/*
 * Records are lists of ids, and an id does not shrink: at most six to one is real.  What is larger than this, and
 * more than so many times its frame, is no record but a way to take memory.
 */
#define TEXT_USUAL_BYTES ((size_t)64 << 20)
#define TEXT_GROWS_MAX   64
/* A block is at least a head of 3 bytes and one more, and gives at most so much (RFC 8878, 3.1.1.2) */
#define FRAME_GROWS_MAX  (ZSTD_BLOCKSIZE_MAX / 4)

struct ZSTD_DCtx_s *
frame_decoder_open(void)
{
	ZSTD_DCtx *ctx = ZSTD_createDCtx();

	if (ctx == NULL)
		return NULL;
	if (!ZSTD_isError(ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, WINDOW_LOG_READ)))
		return ctx;
	(void)ZSTD_freeDCtx(ctx);
	return NULL;
}

/* A frame error of libzstd as a refusal. */
static enum ecode
zstd_refusal(size_t code, size_t len, struct err *e)
{
	if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
		return err_set(e, E_NOMEM, 0, "decompressing %zu bytes", len);
	return err_set(
		e, E_BLOB_ZSTD, 0, "decompressing %zu bytes: %s", len, ZSTD_getErrorName(code));
}

/*
 * Whole frames, one behind another.  libzstd may be built with decoders for what
 * was written before the format was fixed, which nobody looks after; no vault
 * holds such frames, so that a stranger's do not reach them.
 */
static enum ecode
check_frames(struct slice frames, struct err *e)
{
	while (frames.len > 0) {
		uint32_t magic = frames.len < 4 ? 0 : le32_get(frames.p);
		size_t n;

		if (magic != ZSTD_MAGICNUMBER &&
			(magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
			return err_set(
				e, E_BLOB_ZSTD, 0, "%zu bytes that begin no frame", frames.len);
		n = ZSTD_findFrameCompressedSize(frames.p, frames.len);
		if (ZSTD_isError(n))
			return zstd_refusal(n, frames.len, e);
		frames.p += n;
		frames.len -= n;
	}
	return E_OK;
}

enum ecode
frame_open(ZSTD_DCtx *decoder, struct slice frame, uint32_t ulen, struct buf *out, struct err *e)
{
	enum ecode rc = check_frames(frame, e);
	size_t n;

	buf_clear(out);
	if (rc == E_OK && ulen / FRAME_GROWS_MAX > frame.len) /* before memory is taken for it */
		return err_set(e, E_BLOB_LENGTH, 0, "%zu bytes cannot hold the recorded %" PRIu32,
			frame.len, ulen);
	if (rc == E_OK)
		rc = buf_reserve(out, ulen, e);
	if (rc != E_OK)
		return rc;
	n = ZSTD_decompressDCtx(decoder, out->p, ulen, frame.p, frame.len);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
		return err_set(
			e, E_BLOB_LENGTH, 0, "longer than the recorded %" PRIu32 " bytes", ulen);
	if (ZSTD_isError(n))
		return zstd_refusal(n, frame.len, e);
	if (n != ulen)
		return err_set(
			e, E_BLOB_LENGTH, 0, "%zu bytes instead of the recorded %" PRIu32, n, ulen);
	out->len = n;
	return E_OK;
}

/* At least one more byte of room, at most the ceiling. */
static enum ecode
more_room(struct buf *out, struct err *e)
{
	size_t more = out->len < TEXT_FIRST_BYTES ? TEXT_FIRST_BYTES : out->len;

	if (out->len >= out->limit)
		return err_set(e, E_LIMIT, 0, "a record of more than %zu bytes", out->limit);
	if (more > out->limit - out->len)
		more = out->limit - out->len;
	return buf_reserve(out, more, e);
}

/* Where its room ends: memory of an earlier, larger text is no leave to pass the ceiling. */
static size_t
room_end(const struct buf *out)
{
	return out->cap < out->limit ? out->cap : out->limit;
}

/* Append a content of unknown length; out->limit bounds it. */
static enum ecode
decompress_stream(ZSTD_DCtx *decoder, struct slice frame, struct buf *out, struct err *e)
{
	unsigned long long stated = ZSTD_getFrameContentSize(frame.p, frame.len);
	ZSTD_inBuffer in = { frame.p, frame.len, 0 };
	size_t left = 0; /* 0 at the end of a frame */
	enum ecode rc = E_OK;

	if (stated < ZSTD_CONTENTSIZE_ERROR && stated > out->limit) /* the two above say nothing */
		return err_set(e, E_LIMIT, 0, "a record of %llu bytes in %zu", stated, frame.len);
	(void)ZSTD_DCtx_reset(decoder, ZSTD_reset_session_only); /* cannot fail for a session */
	if (stated > 0 && stated <= TEXT_BELIEVED_BYTES)
		rc = buf_reserve(out, (size_t)stated, e);
	while (rc == E_OK && (in.pos < in.size || (left != 0 && out->len == room_end(out)))) {
		size_t at = in.pos, before = out->len;
		ZSTD_outBuffer to;

		if (out->len == room_end(out))
			rc = more_room(out, e);
		if (rc != E_OK)
			return rc;
		to = (ZSTD_outBuffer){ out->p, room_end(out), out->len };
		left = ZSTD_decompressStream(decoder, &to, &in);
		if (ZSTD_isError(left))
			return zstd_refusal(left, frame.len, e);
		out->len = to.pos;
		if (in.pos == at && out->len == before)
			break; /* no progress: cut short */
	}
	if (rc == E_OK && left != 0)
		return err_set(
			e, E_BLOB_ZSTD, 0, "the frame ends early after %zu bytes", frame.len);
	return rc;
}

enum ecode
frame_open_text(ZSTD_DCtx *decoder, struct slice frame, struct buf *out, struct err *e)
{
	size_t limit = out->limit, real = frame.len * TEXT_GROWS_MAX; /* of at most 2^31 bytes */
	enum ecode rc = check_frames(frame, e);

	buf_clear(out);
	real = real > TEXT_USUAL_BYTES ? real : TEXT_USUAL_BYTES;
	out->limit = real < limit ? real : limit;
	if (rc == E_OK)
		rc = decompress_stream(decoder, frame, out, e);
	out->limit = limit;
	return rc;
}
