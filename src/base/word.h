/*
 * Eight bytes of text at a time.  A mark is the top bit of a byte.  In every
 * result the LOWEST mark is exact; marks above it may be false, so ask only
 * for the first one.  Byte 0 of the text is the lowest byte on every machine.
 */
#ifndef HF_BASE_WORD_H
#define HF_BASE_WORD_H

#include "base/defs.h"

#define WORD_BYTES 8
#define WORD_ONES  0x0101010101010101U
#define WORD_TOPS  0x8080808080808080U

static inline uint64_t
word_get(const uint8_t *p)
{
	return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
	       (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
	       (uint64_t)p[7] << 56;
}

static inline void
word_put(uint8_t *p, uint64_t w)
{
	for (unsigned i = 0; i < WORD_BYTES; i++)
		p[i] = (uint8_t)(w >> (8 * i));
}

/* Mark bytes equal to c. */
static inline uint64_t
word_equal(uint64_t w, uint8_t c)
{
	uint64_t x = w ^ (WORD_ONES * c);

	return (x - WORD_ONES) & ~x & WORD_TOPS;
}

/* Mark bytes below n, n <= 128. */
static inline uint64_t
word_below(uint64_t w, uint8_t n)
{
	return (w - WORD_ONES * n) & ~w & WORD_TOPS;
}

/* Mark bytes of 128 and above; every mark is exact. */
static inline uint64_t
word_high(uint64_t w)
{
	return w & WORD_TOPS;
}

/* Position (0..7) of the first mark; marks != 0. */
static inline unsigned
word_first(uint64_t marks)
{
	return (unsigned)__builtin_ctzll(marks) / 8;
}

#endif
