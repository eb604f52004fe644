/* JSON as Go's encoder writes it, to the byte: what restic would have written (format document 6.2). */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "base/wire.h"
#include "base/word.h"

#define ESCAPE_MAX_BYTES 6  /* "\u003c" */
#define NUMBER_TEXT_MAX  32 /* a 64-bit integer or a %.17g, NUL included */
#define REPLACEMENT      0xfffdU

void
json_begin(struct json_out *w, struct buf *out)
{
	w->out = out;
	w->comma = false;
	w->err.code = E_OK;
}

static bool
failed(const struct json_out *w)
{
	return w->err.code != E_OK;
}

/* Append bytes; a refusal stays in w->err. */
static void
put(struct json_out *w, const void *p, size_t len)
{
	if (!failed(w))
		w->err.code = buf_add(w->out, p, len, &w->err);
}

/* Room for `len` more bytes, NULL after a refusal: a member is put by one call, not by one for each of its signs. */
static uint8_t *
room(struct json_out *w, size_t len)
{
	if (!failed(w))
		w->err.code = buf_reserve(w->out, len, &w->err);
	return failed(w) ? NULL : w->out->p + w->out->len;
}

/* With the comma that it may need before it. */
static void
put_value(struct json_out *w, const void *p, size_t len)
{
	bool comma = w->comma;
	uint8_t *to = room(w, len + comma);

	w->comma = true;
	if (to == NULL)
		return;
	if (comma)
		*to++ = ',';
	if (len > 0)
		memcpy(to, p, len);
	w->out->len = (size_t)(to + len - w->out->p);
}

void
json_open_object(struct json_out *w)
{
	put_value(w, "{", 1);
	w->comma = false;
}

void
json_close_object(struct json_out *w)
{
	put(w, "}", 1);
	w->comma = true;
}

void
json_open_array(struct json_out *w)
{
	put_value(w, "[", 1);
	w->comma = false;
}

void
json_close_array(struct json_out *w)
{
	put(w, "]", 1);
	w->comma = true;
}

void
json_put_key(struct json_out *w, const char *key)
{
	size_t len = strlen(key);
	uint8_t *to = room(w, w->comma + len + 3);

	if (to == NULL)
		return;
	if (w->comma)
		*to++ = ',';
	*to++ = '"';
	memcpy(to, key, len);
	to[len] = '"';
	to[len + 1] = ':';
	w->out->len = (size_t)(to + len + 2 - w->out->p);
	w->comma = false;
}

void
json_put_text(struct json_out *w, const void *p, size_t len)
{
	put_value(w, "\"", 1);
	if (!failed(w))
		w->err.code = json_escape(w->out, p, len, &w->err);
	put(w, "\"", 1);
}

void
json_put_str(struct json_out *w, const char *s)
{
	if (s == NULL)
		json_put_null(w);
	else
		json_put_text(w, s, strlen(s));
}

void
json_put_u64(struct json_out *w, uint64_t v)
{
	char text[NUMBER_TEXT_MAX];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	put_value(w, text + at, sizeof(text) - at);
}

void
json_put_i64(struct json_out *w, int64_t v)
{
	char text[NUMBER_TEXT_MAX];
	int len = snprintf(text, sizeof(text), "%lld", (long long)v);

	put_value(w, text, (size_t)len);
}

void
json_put_double(struct json_out *w, double v)
{
	char text[NUMBER_TEXT_MAX];
	int len;

	if (!isfinite(v)) {
		if (!failed(w))
			(void)err_set(&w->err, E_BUG, 0, "a number that is not finite");
		return;
	}
	len = snprintf(text, sizeof(text), "%.15g", v);
	put_value(w, text, (size_t)len);
}

void
json_put_bool(struct json_out *w, bool v)
{
	put_value(w, v ? "true" : "false", v ? 4 : 5);
}

void
json_put_null(struct json_out *w)
{
	put_value(w, "null", 4);
}

void
json_put_id(struct json_out *w, const struct id *id)
{
	char text[ID_HEX_SIZE + 1];

	text[0] = '"';
	id_hex(id, text + 1);
	text[ID_HEX_SIZE] = '"';
	put_value(w, text, sizeof(text));
}

void
json_put_base64(struct json_out *w, const void *p, size_t len)
{
	put_value(w, "\"", 1);
	if (!failed(w))
		w->err.code = base64_write(w->out, p, len, &w->err);
	put(w, "\"", 1);
}

void
json_put_raw(struct json_out *w, const void *p, size_t len)
{
	put_value(w, p, len);
}

void
json_member_str(struct json_out *w, const char *key, const char *s)
{
	json_put_key(w, key);
	json_put_str(w, s);
}

void
json_member_text(struct json_out *w, const char *key, struct slice s)
{
	json_put_key(w, key);
	json_put_text(w, s.p, s.len);
}

void
json_member_u64(struct json_out *w, const char *key, uint64_t v)
{
	json_put_key(w, key);
	json_put_u64(w, v);
}

void
json_member_some(struct json_out *w, const char *key, uint64_t v)
{
	if (v != 0)
		json_member_u64(w, key, v);
}

void
json_member_bool(struct json_out *w, const char *key, bool v)
{
	json_put_key(w, key);
	json_put_bool(w, v);
}

void
json_member_id(struct json_out *w, const char *key, const struct id *id)
{
	json_put_key(w, key);
	json_put_id(w, id);
}

void
json_member_time(struct json_out *w, const char *key, struct instant t)
{
	char text[INSTANT_TEXT_MAX];
	size_t len = instant_format(t, text);

	json_put_key(w, key);
	json_put_text(w, text, len);
}

enum ecode
json_done(struct json_out *w, struct err *e)
{
	if (failed(w) && e != NULL)
		*e = w->err;
	return w->err.code;
}

/* The first byte at or after p that may not be copied as it is. */
static const uint8_t *
clean_end(const uint8_t *p, const uint8_t *end)
{
	for (; end - p >= WORD_BYTES; p += WORD_BYTES) {
		uint64_t w = word_get(p);
		uint64_t marks = word_equal(w, '"') | word_equal(w, '\\') | word_equal(w, '<') |
				 word_equal(w, '>') | word_equal(w, '&') | word_below(w, 0x20) |
				 word_high(w);

		if (marks != 0)
			return p + word_first(marks);
	}
	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\' && *p != '<' &&
		*p != '>' && *p != '&')
		p++;
	return p;
}

static size_t
put_unicode_escape(uint8_t *out, uint32_t cp)
{
	uint8_t bytes[2] = { (uint8_t)(cp >> 8), (uint8_t)cp };

	out[0] = '\\';
	out[1] = 'u';
	hex_write(bytes, 2, (char *)out + 2);
	return 6;
}

/* An ASCII character that clean_end() stops at. */
static size_t
put_ascii_escape(uint8_t *out, uint8_t c)
{
	static const uint8_t letter[128] = { ['"'] = '"',
		['\\'] = '\\',
		['\b'] = 'b',
		['\f'] = 'f',
		['\n'] = 'n',
		['\r'] = 'r',
		['\t'] = 't' };

	if (letter[c] == 0)
		return put_unicode_escape(out, c);
	out[0] = '\\';
	out[1] = letter[c];
	return 2;
}

/* Write what stands for the character at p; *taken bytes of it were read. */
static size_t
put_special(uint8_t *out, const uint8_t *p, const uint8_t *end, unsigned *taken)
{
	uint32_t cp;

	*taken = utf8_next(p, (size_t)(end - p), &cp);
	if (*taken == 1)
		return put_ascii_escape(out, *p);
	if (*taken == 0) {
		*taken = 1;
		return put_unicode_escape(out, REPLACEMENT);
	}
	if (cp == 0x2028 || cp == 0x2029)
		return put_unicode_escape(out, cp);
	memcpy(out, p, *taken);
	return *taken;
}

enum ecode
json_escape(struct buf *out, const void *text, size_t len, struct err *e)
{
	const uint8_t *p = text, *end = len == 0 ? p : p + len;

	while (p < end) {
		const uint8_t *stop = clean_end(p, end);
		enum ecode rc = buf_reserve(out, (size_t)(stop - p) + ESCAPE_MAX_BYTES, e);
		unsigned taken = 0;

		if (rc != E_OK)
			return rc;
		memcpy(out->p + out->len, p, (size_t)(stop - p));
		out->len += (size_t)(stop - p);
		if (stop < end)
			out->len += put_special(out->p + out->len, stop, end, &taken);
		p = stop + taken;
	}
	return E_OK;
}
