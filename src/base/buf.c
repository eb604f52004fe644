#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES 256

void
buf_done(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->len = 0;
	b->cap = 0;
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
}

/* Doubling keeps appending linear; the ceiling is never passed. */
static size_t
grown_cap(const struct buf *b, size_t need)
{
	size_t cap = b->cap < BUF_FIRST_BYTES ? BUF_FIRST_BYTES : b->cap;

	if (cap > b->limit)
		cap = b->limit;
	while (cap < need)
		cap = cap > b->limit / 2 ? b->limit : cap * 2;
	return cap;
}

enum ecode
buf_reserve(struct buf *b, size_t extra, struct err *e)
{
	uint8_t *p;
	size_t cap;

	if (extra <= b->cap - b->len)
		return E_OK;
	if (b->len > b->limit || extra > b->limit - b->len)
		return err_set(e, E_LIMIT, 0, "%zu more bytes after %zu exceed the limit of %zu",
			extra, b->len, b->limit);
	cap = grown_cap(b, b->len + extra);
	p = realloc(b->p, cap);
	if (p == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", cap);
	b->p = p;
	b->cap = cap;
	return E_OK;
}

enum ecode
buf_add(struct buf *b, const void *p, size_t len, struct err *e)
{
	enum ecode rc = buf_reserve(b, len, e);

	if (rc == E_OK && len > 0) {
		memcpy(b->p + b->len, p, len);
		b->len += len;
	}
	return rc;
}

enum ecode
buf_add_str(struct buf *b, const char *s, struct err *e)
{
	return buf_add(b, s, strlen(s), e);
}

enum ecode
buf_add_byte(struct buf *b, uint8_t byte, struct err *e)
{
	return buf_add(b, &byte, 1, e);
}

enum ecode
buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
{
	va_list ap;
	enum ecode rc;
	int need;

	va_start(ap, fmt);
	need = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (need < 0)
		return err_set(e, E_BUG, 0, "format %s", fmt);
	rc = buf_reserve(b, (size_t)need + 1, e);
	if (rc != E_OK)
		return rc;
	va_start(ap, fmt);
	(void)vsnprintf((char *)b->p + b->len, (size_t)need + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)need;
	return E_OK;
}

void
buf_take(struct buf *to, struct buf *from)
{
	invariant(to->p == NULL);
	*to = *from;
	from->p = NULL;
	from->len = 0;
	from->cap = 0;
}
