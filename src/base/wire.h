/* Bytes as other programs write them: little-endian integers, hex, base64, ids. */
#ifndef HF_BASE_WIRE_H
#define HF_BASE_WIRE_H

#include "base/buf.h"

uint32_t le32_get(const uint8_t *p);
void le32_put(uint8_t *p, uint32_t v);

void id_hex(const struct id *id, char out[static ID_HEX_SIZE]); /* lower case */
/* How many digits to show of ids that share the first `shared` ones, so that a reader can tell them apart. */
int id_digits_telling(size_t shared);
void id_short(const struct id *id, char out[static 9]); /* 8 digits and NUL */
/* Exactly 64 lower-case digits; false otherwise, `id` then unchanged. */
bool id_parse(const void *text, size_t len, struct id *id) must_check;
static inline int
id_cmp(const struct id *a, const struct id *b)
{
	return __builtin_memcmp(a->b, b->b, sizeof(a->b));
}
bool id_is_zero(const struct id *id);

/* out has room for 2*len; no NUL is written. */
void hex_write(const void *bytes, size_t len, char *out);
/* Even length, either case; false otherwise.  out has room for len/2. */
bool hex_read(const void *text, size_t len, uint8_t *out) must_check;

/* Standard alphabet, padded, no line breaks. */
enum ecode base64_write(struct buf *out, const void *p, size_t len, struct err *e) must_check;
static inline size_t
base64_size(size_t len)
{
	return (len + 2) / 3 * 4;
}
void base64_write_raw(
	char *out, const void *bytes, size_t len); /* base64_size(len) chars, no NUL */
/* out has room for len/4*3; false on any foreign character or wrong padding. */
bool base64_read(const void *text, size_t len, uint8_t *out, size_t *out_len) must_check;

#endif
