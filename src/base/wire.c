/*
 * Ids go through here once per chunk and directory of a vault, so their digits
 * are made and read eight at a time: see digits_of() and nibbles_of().
 */
#include "base/wire.h"

#include <string.h>

#include "base/word.h"

#define NIBBLES   0x0f0f0f0f0f0f0f0fU
#define DIGIT_GAP 39 /* 'a' - '0' - 10 */

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The tables hold value + 1, so that 0 marks every character that is no digit. */
static const uint8_t hex_plus_one[256] = { ['0'] = 1,
	['1'] = 2,
	['2'] = 3,
	['3'] = 4,
	['4'] = 5,
	['5'] = 6,
	['6'] = 7,
	['7'] = 8,
	['8'] = 9,
	['9'] = 10,
	['a'] = 11,
	['b'] = 12,
	['c'] = 13,
	['d'] = 14,
	['e'] = 15,
	['f'] = 16,
	['A'] = 11,
	['B'] = 12,
	['C'] = 13,
	['D'] = 14,
	['E'] = 15,
	['F'] = 16 };

static const uint8_t base64_plus_one[256] = { ['A'] = 1,
	['B'] = 2,
	['C'] = 3,
	['D'] = 4,
	['E'] = 5,
	['F'] = 6,
	['G'] = 7,
	['H'] = 8,
	['I'] = 9,
	['J'] = 10,
	['K'] = 11,
	['L'] = 12,
	['M'] = 13,
	['N'] = 14,
	['O'] = 15,
	['P'] = 16,
	['Q'] = 17,
	['R'] = 18,
	['S'] = 19,
	['T'] = 20,
	['U'] = 21,
	['V'] = 22,
	['W'] = 23,
	['X'] = 24,
	['Y'] = 25,
	['Z'] = 26,
	['a'] = 27,
	['b'] = 28,
	['c'] = 29,
	['d'] = 30,
	['e'] = 31,
	['f'] = 32,
	['g'] = 33,
	['h'] = 34,
	['i'] = 35,
	['j'] = 36,
	['k'] = 37,
	['l'] = 38,
	['m'] = 39,
	['n'] = 40,
	['o'] = 41,
	['p'] = 42,
	['q'] = 43,
	['r'] = 44,
	['s'] = 45,
	['t'] = 46,
	['u'] = 47,
	['v'] = 48,
	['w'] = 49,
	['x'] = 50,
	['y'] = 51,
	['z'] = 52,
	['0'] = 53,
	['1'] = 54,
	['2'] = 55,
	['3'] = 56,
	['4'] = 57,
	['5'] = 58,
	['6'] = 59,
	['7'] = 60,
	['8'] = 61,
	['9'] = 62,
	['+'] = 63,
	['/'] = 64 };

uint32_t
le32_get(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void
le32_put(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* Eight values 0..15, one a byte, to eight lower-case digits. */
static uint64_t
digits_of(uint64_t nibbles)
{
	uint64_t letters = ((nibbles + WORD_ONES * 6) >> 4) & WORD_ONES;

	return nibbles + WORD_ONES * '0' + letters * DIGIT_GAP;
}

/* Four bytes to eight nibbles, one a byte, the high one of each first. */
static uint64_t
nibbles_of(uint32_t bytes)
{
	uint64_t w = bytes;

	w = (w | w << 16) & 0x0000ffff0000ffffU;
	w = (w | w << 8) & 0x00ff00ff00ff00ffU;
	return ((w >> 4) | (w << 8)) & NIBBLES;
}

void
id_hex(const struct id *id, char out[static ID_HEX_SIZE])
{
	for (size_t i = 0; i < sizeof(id->b); i += 4)
		word_put((uint8_t *)out + 2 * i, digits_of(nibbles_of(le32_get(id->b + i))));
	out[ID_HEX_SIZE - 1] = '\0';
}

int
id_digits_telling(size_t shared)
{
	if (shared <= 4)
		return 8; /* as id_short shows them */
	return shared < ID_HEX_SIZE - 5 ? (int)shared + 4 : ID_HEX_SIZE - 1;
}

void
id_short(const struct id *id, char out[static 9])
{
	hex_write(id->b, 4, out);
	out[8] = '\0';
}

/*
 * Eight digits to four bytes.  What the guess yields is written back and
 * compared, so nothing but the eight lower-case digits can pass.
 */
static bool
four_bytes(const uint8_t *text, uint8_t *out)
{
	uint64_t w = word_get(text);
	uint64_t n = (w & NIBBLES) + ((w >> 6) & WORD_ONES) * 9;

	if ((n & ~NIBBLES) != 0 || digits_of(n) != w)
		return false;
	n = (n << 4 | n >> 8) & 0x00ff00ff00ff00ffU;
	n = (n | n >> 8) & 0x0000ffff0000ffffU;
	le32_put(out, (uint32_t)(n | n >> 16));
	return true;
}

bool
id_parse(const void *text, size_t len, struct id *id)
{
	const uint8_t *p = text;
	struct id parsed;

	if (len != ID_HEX_SIZE - 1)
		return false;
	for (size_t i = 0; i < sizeof(parsed.b); i += 4) {
		if (!four_bytes(p + 2 * i, parsed.b + i))
			return false;
	}
	*id = parsed;
	return true;
}

bool
id_is_zero(const struct id *id)
{
	static const struct id zero;

	return id_cmp(id, &zero) == 0;
}

void
hex_write(const void *bytes, size_t len, char *out)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex_digits[p[i] >> 4];
		out[2 * i + 1] = hex_digits[p[i] & 15];
	}
}

bool
hex_read(const void *text, size_t len, uint8_t *out)
{
	const uint8_t *p = text;

	if (len % 2 != 0)
		return false;
	for (size_t i = 0; i < len; i += 2) {
		unsigned high = hex_plus_one[p[i]], low = hex_plus_one[p[i + 1]];

		if (high == 0 || low == 0)
			return false;
		out[i / 2] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	return true;
}

/* One or two last bytes. */
static void
base64_write_tail(char *out, const uint8_t *p, size_t left)
{
	uint32_t v = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);

	out[0] = base64_digits[v >> 18];
	out[1] = base64_digits[v >> 12 & 63];
	out[2] = '=';
	out[3] = '=';
	if (left == 2)
		out[2] = base64_digits[v >> 6 & 63];
}

void
base64_write_raw(char *out, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (; len >= 3; len -= 3, p += 3, out += 4) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

		out[0] = base64_digits[v >> 18];
		out[1] = base64_digits[v >> 12 & 63];
		out[2] = base64_digits[v >> 6 & 63];
		out[3] = base64_digits[v & 63];
	}
	if (len > 0)
		base64_write_tail(out, p, len);
}

enum ecode
base64_write(struct buf *out, const void *p, size_t len, struct err *e)
{
	enum ecode rc;

	if (len > SIZE_MAX / 2)
		return err_set(e, E_LIMIT, 0, "%zu bytes as base64", len);
	rc = buf_reserve(out, base64_size(len), e);
	if (rc == E_OK && len > 0) {
		base64_write_raw((char *)out->p + out->len, p, len);
		out->len += base64_size(len);
	}
	return rc;
}

/* Four characters to 24 bits; false when one of them is foreign. */
static bool
base64_group(const uint8_t *p, uint32_t *v)
{
	unsigned a = base64_plus_one[p[0]], b = base64_plus_one[p[1]];
	unsigned c = base64_plus_one[p[2]], d = base64_plus_one[p[3]];

	if (a == 0 || b == 0 || c == 0 || d == 0)
		return false;
	*v = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
	return true;
}

/* The group that ends in one or two '='; bits that no byte holds must be zero. */
static bool
base64_read_tail(const uint8_t *p, uint8_t *out, size_t *out_len)
{
	bool one_byte = p[2] == '=';
	uint8_t full[4] = { p[0], p[1], one_byte ? 'A' : p[2], 'A' };
	uint32_t v;

	if (!base64_group(full, &v))
		return false;
	if ((v & (one_byte ? 0xffffU : 0xffU)) != 0)
		return false;
	out[0] = (uint8_t)(v >> 16);
	if (!one_byte)
		out[1] = (uint8_t)(v >> 8);
	*out_len = one_byte ? 1 : 2;
	return true;
}

bool
base64_read(const void *text, size_t len, uint8_t *out, size_t *out_len)
{
	const uint8_t *p = text;
	size_t whole = len, at = 0, tail = 0;
	uint32_t v;

	if (len % 4 != 0)
		return false;
	if (len > 0 && p[len - 1] == '=')
		whole = len - 4;
	for (size_t i = 0; i < whole; i += 4, at += 3) {
		if (!base64_group(p + i, &v))
			return false;
		out[at] = (uint8_t)(v >> 16);
		out[at + 1] = (uint8_t)(v >> 8);
		out[at + 2] = (uint8_t)v;
	}
	if (whole < len && !base64_read_tail(p + whole, out + at, &tail))
		return false;
	*out_len = at + tail;
	return true;
}
