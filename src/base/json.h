/*
 * The program's one JSON scanner and writer.  Pull style: no document tree, no
 * allocation except into the caller's buf.  64-bit integers are exact.
 * Writing escapes strings as Go does (format document 6.2).
 * Limits: nesting JSON_DEPTH_MAX.  Threads: each struct belongs to one thread.
 */
#ifndef HF_BASE_JSON_H
#define HF_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/instant.h"

#define JSON_DEPTH_MAX 64 /* the deepest document we write has 6 levels */

/* ---- reading: the first refusal sticks; later calls answer false and change nothing ---- */
struct json {
	const uint8_t *start, *p, *end;
	unsigned depth;
	uint64_t first; /* bit per level: nothing read at this level yet */
	bool bad;
	enum ecode code; /* E_JSON_SYNTAX or E_JSON_RANGE once bad */
};
void json_init(struct json *j, const void *text, size_t len);
enum json_type {
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL,
	JSON_BAD
};
enum json_type json_peek(struct json *j);
bool json_enter_object(struct json *j) must_check;
bool json_enter_array(struct json *j) must_check;
/*
 * Inside an object: true and the key (raw: escapes not decoded) when there is
 * another member, whose value must then be read or skipped; false at the
 * closing brace (consumed) or when bad.
 */
bool json_key(struct json *j, struct slice *key) must_check;
/* Inside an array: true when another element follows; false at ']' (consumed) or when bad. */
bool json_element(struct json *j) must_check;
/* The raw inside of a string; *escaped tells whether json_unescape() is needed. */
bool json_string(struct json *j, struct slice *raw, bool *escaped) must_check;
bool json_u64(struct json *j, uint64_t *v) must_check; /* plain digits only */
bool json_i64(struct json *j, int64_t *v) must_check;
bool json_bool(struct json *j, bool *v) must_check;
bool json_null(struct json *j); /* true and consumed when the next value is null */
bool json_skip(struct json *j,
	struct slice *raw) must_check;    /* any value; raw (may be NULL) is its text */
bool json_end(struct json *j) must_check; /* only white space is left, and nothing was bad */
/* The refusal for a bad scanner, with the byte position; `what` names the record. */
enum ecode json_refusal(const struct json *j, const char *what, struct err *e) must_check;
/* Decode escapes, replacing invalid UTF-8 and lone surrogates by U+FFFD; appends. */
enum ecode json_unescape(struct buf *out, struct slice raw, struct err *e) must_check;
/* The same, into an arena: at most `limit` bytes (E_LIMIT) and a NUL that is not counted. */
enum ecode json_text(struct slice raw, bool escaped, size_t limit, struct arena *a,
	struct slice *out, struct err *e) must_check;
static inline bool
slice_is(struct slice s, const char *text)
{
	size_t n = __builtin_strlen(text);
	return s.len == n && __builtin_memcmp(s.p, text, n) == 0;
}

/* ---- writing: compact; the first refusal sticks and json_done() returns it ---- */
struct json_out {
	struct buf *out;
	struct err err;
	bool comma;
};
void json_begin(struct json_out *w, struct buf *out);
void json_open_object(struct json_out *w);
void json_close_object(struct json_out *w);
void json_open_array(struct json_out *w);
void json_close_array(struct json_out *w);
void json_put_key(struct json_out *w, const char *key);            /* plain ASCII */
void json_put_text(struct json_out *w, const void *p, size_t len); /* escaped string */
void json_put_str(struct json_out *w, const char *s);              /* NULL writes null */
void json_put_u64(struct json_out *w, uint64_t v);
void json_put_i64(struct json_out *w, int64_t v);
void json_put_double(struct json_out *w, double v); /* shortest of %.15g; finite only */
void json_put_bool(struct json_out *w, bool v);
void json_put_null(struct json_out *w);
void json_put_id(struct json_out *w, const struct id *id);
void json_put_base64(struct json_out *w, const void *p, size_t len);
void json_put_raw(struct json_out *w, const void *p, size_t len); /* a value, verbatim */
/* A member of the object that is open: key and value. */
void json_member_str(struct json_out *w, const char *key, const char *s); /* NULL writes null */
void json_member_text(struct json_out *w, const char *key, struct slice s);
void json_member_u64(struct json_out *w, const char *key, uint64_t v);
void json_member_some(struct json_out *w, const char *key, uint64_t v); /* unless it is 0 */
void json_member_bool(struct json_out *w, const char *key, bool v);
void json_member_id(struct json_out *w, const char *key, const struct id *id);
void json_member_time(struct json_out *w, const char *key, struct instant t); /* as text */
enum ecode json_done(struct json_out *w, struct err *e) must_check;
/* Just the escaping, without quotes: for the tree writer's own hot path. */
enum ecode json_escape(struct buf *out, const void *text, size_t len, struct err *e) must_check;

#endif
