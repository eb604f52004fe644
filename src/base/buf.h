/*
 * A growing run of bytes with a ceiling from birth.  Zero-initialised memory
 * is NOT a valid buf; use buf_limit().  One owner, one thread at a time.
 */
#ifndef HF_BASE_BUF_H
#define HF_BASE_BUF_H

#include "base/err.h"

struct buf {
	uint8_t *p;
	size_t len;
	size_t cap;
	size_t limit; /* bytes; growth beyond it is refused */
};

static inline struct buf
buf_limit(size_t limit_bytes)
{
	return (struct buf){ .limit = limit_bytes };
}

void buf_done(struct buf *b);  /* frees; leaves an empty buf with the same limit */
void buf_clear(struct buf *b); /* len = 0, keeps the memory */
/* Make room for `extra` more bytes.  refuses: E_LIMIT, E_NOMEM */
enum ecode buf_reserve(struct buf *b, size_t extra, struct err *e) must_check;
enum ecode buf_add(struct buf *b, const void *p, size_t len, struct err *e) must_check;
enum ecode buf_add_str(struct buf *b, const char *s, struct err *e) must_check;
enum ecode buf_add_byte(struct buf *b, uint8_t byte, struct err *e) must_check;
enum ecode buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
	printf_like(3, 4) must_check;
/* Move the memory out of `from`; `to` must be empty-handed (released first). */
void buf_take(struct buf *to, struct buf *from);
static inline struct slice
buf_slice(const struct buf *b)
{
	return (struct slice){ b->p, b->len };
}

#endif
