/*
 * The scanner keeps no stack: one bit per level says whether a comma is due,
 * and the caller's own calls say whether the level is an object or an array.
 * Strings are stepped over eight bytes at a time up to the first byte that is
 * a quote, a backslash, a control or not ASCII.
 */
#include "base/json.h"

#include <string.h>

#include "base/utf8.h"
#include "base/word.h"

#define DECODED_PER_BYTE 3 /* U+FFFD for each invalid byte */
#define REPLACEMENT      0xfffdU

static bool
spoil(struct json *j, enum ecode code)
{
	if (!j->bad) {
		j->bad = true;
		j->code = code;
	}
	return false;
}

void
json_init(struct json *j, const void *text, size_t len)
{
	*j = (struct json){ .start = text, .p = text, .code = E_JSON_SYNTAX };
	j->end = len == 0 ? j->p : j->p + len; /* text may then be NULL */
}

static void
skip_space(struct json *j)
{
	while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
		j->p++;
}

/* The next significant byte without taking it; 0, which starts no value, at the end. */
static uint8_t
next_byte(struct json *j)
{
	if (j->bad)
		return 0;
	skip_space(j);
	return j->p < j->end ? *j->p : 0;
}

enum json_type
json_peek(struct json *j)
{
	switch (next_byte(j)) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
		return JSON_TRUE;
	case 'f':
		return JSON_FALSE;
	case 'n':
		return JSON_NULL;
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		return JSON_NUMBER;
	default: /* a byte, not an enum */
		return JSON_BAD;
	}
}

static bool
enter(struct json *j, uint8_t bracket)
{
	if (j->bad)
		return false;
	if (next_byte(j) != bracket || j->depth == JSON_DEPTH_MAX)
		return spoil(j, E_JSON_SYNTAX);
	j->p++;
	j->first |= UINT64_C(1) << j->depth;
	j->depth++;
	return true;
}

bool
json_enter_object(struct json *j)
{
	return enter(j, '{');
}

bool
json_enter_array(struct json *j)
{
	return enter(j, '[');
}

/* Take the comma before the next member, or the closing bracket (then false). */
static bool
another(struct json *j, uint8_t closing)
{
	uint8_t c = next_byte(j);
	uint64_t level;

	if (j->bad)
		return false;
	if (j->depth == 0)
		return spoil(j, E_JSON_SYNTAX);
	level = UINT64_C(1) << (j->depth - 1);
	if (c == closing) {
		j->p++;
		j->depth--;
		return false;
	}
	if ((j->first & level) != 0) {
		j->first &= ~level;
		return true;
	}
	if (c != ',')
		return spoil(j, E_JSON_SYNTAX);
	j->p++;
	return true;
}

/* The first byte at or after p that plain scanning cannot pass. */
static const uint8_t *
plain_end(const uint8_t *p, const uint8_t *end)
{
	for (; end - p >= WORD_BYTES; p += WORD_BYTES) {
		uint64_t w = word_get(p);
		uint64_t marks = word_equal(w, '"') | word_equal(w, '\\') | word_below(w, 0x20) |
				 word_high(w);

		if (marks != 0)
			return p + word_first(marks);
	}
	while (p < end && *p != '"' && *p != '\\' && *p >= 0x20 && *p < 0x80)
		p++;
	return p;
}

static int
hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at p, or -1. */
static int32_t
hex_four(const uint8_t *p, const uint8_t *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		int digit = hex_value(p[i]);

		if (digit < 0)
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

/* What a one-letter escape stands for; 0 when there is no such escape. */
static uint8_t
escape_meaning(uint8_t letter)
{
	static const uint8_t meaning[128] = { ['"'] = '"',
		['\\'] = '\\',
		['/'] = '/',
		['b'] = '\b',
		['f'] = '\f',
		['n'] = '\n',
		['r'] = '\r',
		['t'] = '\t' };

	return letter < sizeof(meaning) ? meaning[letter] : 0;
}

/* Length of the escape at p (which is the backslash); 0 when it is not one. */
static size_t
escape_len(const uint8_t *p, const uint8_t *end)
{
	if (end - p < 2)
		return 0;
	if (p[1] == 'u')
		return hex_four(p + 2, end) < 0 ? 0 : 6;
	return escape_meaning(p[1]) != 0 ? 2 : 0;
}

/* From the byte after the opening quote to the closing one, which is taken. */
static bool
string_rest(struct json *j, struct slice *raw, bool *escaped)
{
	const uint8_t *begin = j->p, *p = begin;
	bool special = false, wide = false;

	for (;;) {
		size_t len;

		p = plain_end(p, j->end);
		if (p == j->end || *p < 0x20)
			return spoil(j, E_JSON_SYNTAX);
		if (*p == '"')
			break;
		if (*p >= 0x80) {
			wide = true;
			p++;
			continue;
		}
		len = escape_len(p, j->end);
		if (len == 0)
			return spoil(j, E_JSON_SYNTAX);
		special = true;
		p += len;
	}
	*raw = (struct slice){ begin, (size_t)(p - begin) };
	*escaped = special || (wide && !utf8_valid(begin, raw->len));
	j->p = p + 1;
	return true;
}

bool
json_string(struct json *j, struct slice *raw, bool *escaped)
{
	if (j->bad)
		return false;
	if (next_byte(j) != '"')
		return spoil(j, E_JSON_SYNTAX);
	j->p++;
	return string_rest(j, raw, escaped);
}

bool
json_key(struct json *j, struct slice *key)
{
	struct slice raw;
	bool escaped;

	if (!another(j, '}') || !json_string(j, &raw, &escaped))
		return false;
	if (next_byte(j) != ':')
		return spoil(j, E_JSON_SYNTAX);
	j->p++;
	*key = raw;
	return true;
}

bool
json_element(struct json *j)
{
	return another(j, ']');
}

static bool
is_digit(const struct json *j, const uint8_t *p)
{
	return p < j->end && *p >= '0' && *p <= '9';
}

/* Digits from j->p on as a number; a leading zero stands alone. */
static bool
digits(struct json *j, uint64_t *v)
{
	const uint8_t *p = j->p;
	uint64_t sum = 0;

	if (!is_digit(j, p) || (*p == '0' && is_digit(j, p + 1)))
		return spoil(j, E_JSON_SYNTAX);
	for (; is_digit(j, p); p++) {
		if (p - j->p < 19) /* 19 digits always fit */
			sum = sum * 10 + (uint64_t)(*p - '0');
		else if (__builtin_mul_overflow(sum, 10, &sum) ||
			 __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
			return spoil(j, E_JSON_RANGE);
	}
	if (p < j->end && (*p == '.' || *p == 'e' || *p == 'E'))
		return spoil(j, E_JSON_SYNTAX);
	j->p = p;
	*v = sum;
	return true;
}

bool
json_u64(struct json *j, uint64_t *v)
{
	if (j->bad)
		return false;
	(void)next_byte(j);
	return digits(j, v);
}

bool
json_i64(struct json *j, int64_t *v)
{
	uint64_t magnitude;
	bool negative = next_byte(j) == '-';

	if (j->bad)
		return false;
	if (negative)
		j->p++;
	if (!digits(j, &magnitude))
		return false;
	if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return spoil(j, E_JSON_RANGE);
	*v = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return true;
}

/* Take `word` when it is next. */
static bool
take_word(struct json *j, const char *word)
{
	size_t len = strlen(word);

	(void)next_byte(j);
	if (j->bad || (size_t)(j->end - j->p) < len || memcmp(j->p, word, len) != 0)
		return false;
	j->p += len;
	return true;
}

bool
json_bool(struct json *j, bool *v)
{
	if (take_word(j, "true")) {
		*v = true;
		return true;
	}
	if (take_word(j, "false")) {
		*v = false;
		return true;
	}
	return spoil(j, E_JSON_SYNTAX);
}

bool
json_null(struct json *j)
{
	return take_word(j, "null");
}

static bool
skip_digits(struct json *j)
{
	if (!is_digit(j, j->p))
		return spoil(j, E_JSON_SYNTAX);
	while (is_digit(j, j->p))
		j->p++;
	return true;
}

/* Any number of the grammar, whatever its range. */
static bool
skip_number(struct json *j)
{
	if (*j->p == '-')
		j->p++;
	if (is_digit(j, j->p) && *j->p == '0' && is_digit(j, j->p + 1))
		return spoil(j, E_JSON_SYNTAX);
	if (!skip_digits(j))
		return false;
	if (j->p < j->end && *j->p == '.') {
		j->p++;
		if (!skip_digits(j))
			return false;
	}
	if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
		j->p++;
		if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
			j->p++;
		return skip_digits(j);
	}
	return true;
}

/* A value that holds no others; containers are only entered. */
static bool
skip_step(struct json *j)
{
	struct slice raw;
	bool flag;

	switch (json_peek(j)) {
	case JSON_OBJECT:
		return json_enter_object(j);
	case JSON_ARRAY:
		return json_enter_array(j);
	case JSON_STRING:
		return json_string(j, &raw, &flag);
	case JSON_NUMBER:
		return skip_number(j);
	case JSON_TRUE:
	case JSON_FALSE:
		return json_bool(j, &flag);
	case JSON_NULL:
		return json_null(j) || spoil(j, E_JSON_SYNTAX);
	case JSON_BAD:
		break;
	}
	return spoil(j, E_JSON_SYNTAX);
}

/* One bit per level below `floor`: set for objects. */
static bool
skip_levels(struct json *j, unsigned floor)
{
	uint64_t objects = 0;
	struct slice key;

	do {
		unsigned before = j->depth;
		bool object = json_peek(j) == JSON_OBJECT;

		if (!skip_step(j))
			return false;
		if (j->depth > before) {
			uint64_t level = UINT64_C(1) << before;

			objects = object ? objects | level : objects & ~level;
		}
		while (j->depth > floor) {
			bool inside = (objects >> (j->depth - 1) & 1) != 0;

			if (inside ? json_key(j, &key) : json_element(j))
				break;
			if (j->bad)
				return false;
		}
	} while (j->depth > floor);
	return true;
}

bool
json_skip(struct json *j, struct slice *raw)
{
	const uint8_t *begin;

	(void)next_byte(j);
	begin = j->p;
	if (j->bad || !skip_levels(j, j->depth))
		return false;
	if (raw != NULL)
		*raw = (struct slice){ begin, (size_t)(j->p - begin) };
	return true;
}

bool
json_end(struct json *j)
{
	(void)next_byte(j);
	if (j->bad)
		return false;
	return (j->p == j->end && j->depth == 0) || spoil(j, E_JSON_SYNTAX);
}

enum ecode
json_refusal(const struct json *j, const char *what, struct err *e)
{
	return err_set(e, j->code, 0, "%s, at byte %zu of %zu", what, (size_t)(j->p - j->start),
		(size_t)(j->end - j->start));
}

/* The code point of the \u escape at p; a surrogate pair is one. *len is 6 or 12. */
static uint32_t
unicode_escape(const uint8_t *p, const uint8_t *end, size_t *len)
{
	uint32_t high = (uint32_t)hex_four(p + 2, end);
	int32_t low;

	*len = 6;
	if (high < 0xd800 || high > 0xdfff)
		return high;
	if (high > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u')
		return REPLACEMENT;
	low = hex_four(p + 8, end);
	if (low < 0xdc00 || low > 0xdfff)
		return REPLACEMENT;
	*len = 12;
	return 0x10000 + ((high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
}

/* Decode what is at p, which is not plain ASCII; returns the bytes read, 0 for a bad escape. */
static size_t
decode_special(const uint8_t *p, const uint8_t *end, struct buf *out)
{
	uint32_t cp;
	size_t len;

	if (*p == '\\') {
		len = escape_len(p, end);
		if (len == 0)
			return 0;
		cp = len == 2 ? escape_meaning(p[1]) : unicode_escape(p, end, &len);
	} else {
		len = utf8_next(p, (size_t)(end - p), &cp);
		if (len == 0) {
			len = 1;
			cp = REPLACEMENT;
		}
	}
	out->len += utf8_put(cp, out->p + out->len);
	return len;
}

enum ecode
json_unescape(struct buf *out, struct slice raw, struct err *e)
{
	const uint8_t *p = raw.p, *end = raw.len == 0 ? p : p + raw.len;
	size_t before = out->len, room;
	enum ecode rc;

	if (__builtin_mul_overflow(raw.len, (size_t)DECODED_PER_BYTE, &room))
		return err_set(e, E_LIMIT, 0, "a string of %zu bytes", raw.len);
	rc = buf_reserve(out, room, e);
	if (rc != E_OK || raw.len == 0)
		return rc;
	while (p < end) {
		const uint8_t *stop = plain_end(p, end);
		size_t len;

		memcpy(out->p + out->len, p, (size_t)(stop - p));
		out->len += (size_t)(stop - p);
		if (stop == end)
			break;
		len = decode_special(stop, end, out);
		if (len == 0) {
			out->len = before;
			return err_set(e, E_JSON_SYNTAX, 0, "an escape at byte %zu of a string",
				(size_t)(stop - raw.p));
		}
		p = stop + len;
	}
	return E_OK;
}

enum ecode
json_text(struct slice raw, bool escaped, size_t limit, struct arena *a, struct slice *out,
	struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(SIZE_MAX);
	const char *text;
	enum ecode rc = E_OK;

	if (escaped) {
		rc = json_unescape(&plain, raw, e);
		raw = (struct slice){ plain.p, plain.len };
	}
	if (rc == E_OK && raw.len > limit)
		rc = err_set(e, E_LIMIT, 0, "a text of %zu bytes", raw.len);
	if (rc == E_OK)
		rc = arena_str(a, raw.p, raw.len, &text, e);
	if (rc == E_OK)
		*out = (struct slice){ (const uint8_t *)text, raw.len };
	return rc;
}
