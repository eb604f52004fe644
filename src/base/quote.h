/*
 * Node names as the format stores them (format document 6.3): the inside of a
 * Go string literal.  What comes out is always valid UTF-8.
 */
#ifndef HF_BASE_QUOTE_H
#define HF_BASE_QUOTE_H

#include "base/buf.h"

enum ecode quote_write(struct buf *out, const void *name, size_t len, struct err *e) must_check;
/* True when quoting and JSON escaping would both leave these bytes as they are (the fast path). */
bool quote_is_plain(const void *name, size_t len);
/* Reverse; `text` is already JSON-decoded.  refuses: E_NAME_SYNTAX */
enum ecode quote_read(struct buf *out, const void *text, size_t len, struct err *e) must_check;

#endif
