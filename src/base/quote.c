#include "base/quote.h"

#include <string.h>

#include "base/quote_table.h"
#include "base/utf8.h"
#include "base/wire.h"
#include "base/word.h"

#define QUOTED_MAX_BYTES 10 /* "\U0010ffff" stands for four bytes, "\x80" for one */
#define BYTE_QUOTED      4  /* "\x80": the most that one raw byte can become */

/* The first byte at or after p that is not printable ASCII without a role in quoting or JSON. */
static const uint8_t *
plain_end(const uint8_t *p, const uint8_t *end)
{
	for (; end - p >= WORD_BYTES; p += WORD_BYTES) {
		uint64_t w = word_get(p);
		uint64_t marks = word_equal(w, '"') | word_equal(w, '\\') | word_equal(w, '<') |
				 word_equal(w, '>') | word_equal(w, '&') | word_equal(w, 0x7f) |
				 word_below(w, 0x20) | word_high(w);

		if (marks != 0)
			return p + word_first(marks);
	}
	while (p < end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\' && *p != '<' &&
		*p != '>' && *p != '&')
		p++;
	return p;
}

bool
quote_is_plain(const void *name, size_t len)
{
	const uint8_t *p = name, *end = len == 0 ? p : p + len;

	for (p = plain_end(p, end); p < end; p = plain_end(p, end)) {
		uint32_t cp;
		unsigned taken;

		if (*p < 0x80)
			return false;
		taken = utf8_next(p, (size_t)(end - p), &cp);
		if (taken == 0 || !quote_printable(cp))
			return false;
		p += taken;
	}
	return true;
}

/* The letter of a one-letter escape, 0 when c has none. */
static uint8_t
letter_of(uint32_t c)
{
	static const uint8_t letter[128] = { ['\a'] = 'a',
		['\b'] = 'b',
		['\f'] = 'f',
		['\n'] = 'n',
		['\r'] = 'r',
		['\t'] = 't',
		['\v'] = 'v',
		['"'] = '"',
		['\\'] = '\\' };

	return c < sizeof(letter) ? letter[c] : 0;
}

/* Backslash, `kind`, and the last `digits` (at most 8) hex digits of v. */
static size_t
put_hex(uint8_t *out, uint8_t kind, uint32_t v, unsigned digits)
{
	uint8_t bytes[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
		(uint8_t)v };

	out[0] = '\\';
	out[1] = kind;
	hex_write(bytes + sizeof(bytes) - digits / 2, digits / 2, (char *)out + 2);
	return 2 + digits;
}

/* Quote the character at p; *taken is the number of bytes read. */
static size_t
put_quoted(uint8_t *out, const uint8_t *p, const uint8_t *end, unsigned *taken)
{
	uint32_t cp;

	*taken = utf8_next(p, (size_t)(end - p), &cp);
	if (*taken == 0) {
		*taken = 1;
		return put_hex(out, 'x', *p, 2);
	}
	if (letter_of(cp) != 0) {
		out[0] = '\\';
		out[1] = letter_of(cp);
		return 2;
	}
	if (quote_printable(cp)) {
		memcpy(out, p, *taken);
		return *taken;
	}
	if (cp < 0x20 || cp == 0x7f)
		return put_hex(out, 'x', cp, 2);
	return cp < 0x10000 ? put_hex(out, 'u', cp, 4) : put_hex(out, 'U', cp, 8);
}

enum ecode
quote_write(struct buf *out, const void *name, size_t len, struct err *e)
{
	const uint8_t *p = name, *end = len == 0 ? p : p + len;
	size_t room;
	enum ecode rc;

	if (__builtin_mul_overflow(len, (size_t)BYTE_QUOTED, &room) ||
		__builtin_add_overflow(room, (size_t)QUOTED_MAX_BYTES, &room))
		return err_set(e, E_LIMIT, 0, "a name of %zu bytes", len);
	rc = buf_reserve(out, room, e);
	while (rc == E_OK && p < end) {
		const uint8_t *stop = plain_end(p, end);
		unsigned taken = 0;

		memcpy(out->p + out->len, p, (size_t)(stop - p));
		out->len += (size_t)(stop - p);
		if (stop < end)
			out->len += put_quoted(out->p + out->len, stop, end, &taken);
		p = stop + taken;
	}
	return rc;
}

/* The byte that a one-letter escape stands for; -1 when there is no such escape. */
static int
byte_of(uint8_t letter)
{
	static const char letters[] = "abfnrtv\"\\";
	static const char bytes[] = "\a\b\f\n\r\t\v\"\\";
	const char *at = letter == 0 ? NULL : strchr(letters, letter);

	return at == NULL ? -1 : bytes[at - letters];
}

/* `digits` digits of base 8 or 16 at p as a number. */
static bool
get_number(const uint8_t *p, const uint8_t *end, unsigned digits, unsigned base, uint32_t *v)
{
	uint32_t sum = 0;

	if ((size_t)(end - p) < digits)
		return false;
	for (unsigned i = 0; i < digits; i++) {
		uint8_t pair[2] = { '0', p[i] }, digit;

		if (!hex_read(pair, 2, &digit) || digit >= base)
			return false;
		sum = sum * base + digit;
	}
	*v = sum;
	return true;
}

/* A numbered escape: what it says and how many bytes it takes after the backslash. */
struct numbered {
	unsigned skip, digits, base; /* skip: the letter before the digits */
	bool byte;                   /* one byte, not a code point */
};

static bool
numbered_of(uint8_t letter, struct numbered *n)
{
	if (letter == 'x')
		*n = (struct numbered){ 1, 2, 16, true };
	else if (letter == 'u')
		*n = (struct numbered){ 1, 4, 16, false };
	else if (letter == 'U')
		*n = (struct numbered){ 1, 8, 16, false };
	else if (letter >= '0' && letter <= '7')
		*n = (struct numbered){ 0, 3, 8, true };
	else
		return false;
	return true;
}

/* Decode the escape whose backslash is before p; returns the bytes read after it, 0 if bad. */
static size_t
get_escape(const uint8_t *p, const uint8_t *end, struct buf *out)
{
	struct numbered n;
	uint32_t v;

	if (p == end)
		return 0;
	if (byte_of(*p) >= 0) {
		out->p[out->len++] = (uint8_t)byte_of(*p);
		return 1;
	}
	if (!numbered_of(*p, &n) || !get_number(p + n.skip, end, n.digits, n.base, &v))
		return 0;
	if (n.byte) {
		if (v > 0xff)
			return 0;
		out->p[out->len++] = (uint8_t)v;
	} else {
		if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
			return 0;
		out->len += utf8_put(v, out->p + out->len);
	}
	return n.skip + n.digits;
}

/* Everything stands for itself, except that a raw quote or newline is an error. */
static bool
get_raw(uint8_t c, struct buf *out)
{
	if (c == '"' || c == '\n')
		return false;
	out->p[out->len++] = c;
	return true;
}

enum ecode
quote_read(struct buf *out, const void *text, size_t len, struct err *e)
{
	const uint8_t *begin = text, *p = begin, *end = len == 0 ? p : p + len;
	size_t before = out->len;
	enum ecode rc = buf_reserve(out, len, e); /* no escape is shorter than what it means */

	while (rc == E_OK && p < end) {
		size_t taken;

		if (*p != '\\') {
			taken = get_raw(*p, out) ? 1 : 0;
		} else {
			size_t after = get_escape(p + 1, end, out);

			taken = after == 0 ? 0 : after + 1;
		}
		if (taken == 0) {
			out->len = before;
			rc = err_set(e, E_NAME_SYNTAX, 0, "at byte %zu of %zu", (size_t)(p - begin),
				len);
		}
		p += taken;
	}
	return rc;
}
