/* Strict UTF-8: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef HF_BASE_UTF8_H
#define HF_BASE_UTF8_H

#include "base/defs.h"

/* Bytes of the valid sequence at p (1..4) and its code point; 0 when p[0] belongs to no valid one. */
unsigned utf8_next(const uint8_t *p, size_t len, uint32_t *cp);
bool utf8_valid(const void *p, size_t len);
unsigned utf8_put(uint32_t cp, uint8_t out[static 4]);

#endif
