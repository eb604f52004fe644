/*
 * Reading zstd frames (format document 10): whole frames of the fixed format, in
 * a row or skippable, as one content.  Everything about them is a stranger's:
 * no memory is taken for what they cannot hold.
 */
#ifndef HF_REPO_FRAME_H
#define HF_REPO_FRAME_H

#include "base/buf.h"
#include "base/defs.h"

struct ZSTD_DCtx_s;                           /* libzstd's; one thread's */
struct ZSTD_DCtx_s *frame_decoder_open(void); /* NULL: no memory.  Closed by ZSTD_freeDCtx() */

/* Replace out by exactly ulen bytes.  refuses: E_BLOB_ZSTD, E_BLOB_LENGTH, E_LIMIT (out's own), E_NOMEM */
enum ecode frame_open(struct ZSTD_DCtx_s *decoder, struct slice frame, uint32_t ulen,
	struct buf *out, struct err *e) must_check;
/*
 * Replace out by the text of a record, whose length nobody recorded.  refuses:
 * E_BLOB_ZSTD; E_LIMIT: above out's limit, or swollen as no record is; E_NOMEM
 */
enum ecode frame_open_text(
	struct ZSTD_DCtx_s *decoder, struct slice frame, struct buf *out, struct err *e) must_check;

#endif
