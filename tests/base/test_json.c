#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "base/wire.h"
#include "support/vectors.h"

static struct json
scan(const char *text)
{
	struct json j;

	json_init(&j, text, strlen(text));
	return j;
}

static bool
skips(const char *text, size_t len)
{
	struct json j;

	json_init(&j, text, len);
	return json_skip(&j, NULL) && json_end(&j);
}

static void
test_object(void **state)
{
	struct json j = scan(" { \"a\" : 1 , \"b\":[ true,null ],\"c\":{},\"d\":\"x\\ny\" } ");
	struct slice key, raw;
	bool flag, escaped;
	uint64_t v;

	(void)state;
	assert_true(json_enter_object(&j));
	assert_true(json_key(&j, &key) && slice_is(key, "a"));
	assert_true(json_u64(&j, &v) && v == 1);
	assert_true(json_key(&j, &key) && slice_is(key, "b"));
	assert_true(json_enter_array(&j));
	assert_true(json_element(&j));
	assert_true(json_bool(&j, &flag) && flag);
	assert_true(json_element(&j));
	assert_true(json_null(&j));
	assert_false(json_element(&j));
	assert_true(json_key(&j, &key) && slice_is(key, "c"));
	assert_true(json_skip(&j, &raw) && slice_is(raw, "{}"));
	assert_true(json_key(&j, &key) && slice_is(key, "d"));
	assert_true(json_string(&j, &raw, &escaped) && slice_is(raw, "x\\ny") && escaped);
	assert_false(json_key(&j, &key));
	assert_true(json_end(&j));
}

static void
test_peek(void **state)
{
	static const char *const texts[] = { "{", "[", "\"", "-1", "true", "false", "null", "x",
		"" };
	static const enum json_type types[] = { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER,
		JSON_TRUE, JSON_FALSE, JSON_NULL, JSON_BAD, JSON_BAD };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json j = scan(texts[i]);

		assert_int_equal(json_peek(&j), types[i]);
	}
}

static void
test_u64_range(void **state)
{
	struct json j = scan("18446744073709551615");
	uint64_t v = 5;

	(void)state;
	assert_true(json_u64(&j, &v) && v == UINT64_MAX && json_end(&j));
	j = scan("18446744073709551616");
	assert_false(json_u64(&j, &v));
	assert_int_equal(j.code, E_JSON_RANGE);
	assert_true(v == UINT64_MAX);
	j = scan("99999999999999999999999999");
	assert_false(json_u64(&j, &v));
	assert_int_equal(json_refusal(&j, "test", NULL), E_JSON_RANGE);
}

static void
test_u64_syntax(void **state)
{
	static const char *const bad[] = { "-1", "01", "1.0", "1e3", "+1", "", "\"1\"", "0x10",
		"1E0" };
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct json j = scan(bad[i]);

		assert_false(json_u64(&j, &v) && json_end(&j));
		assert_int_equal(json_refusal(&j, "test", NULL), E_JSON_SYNTAX);
	}
}

static void
test_i64(void **state)
{
	struct json j = scan("-9223372036854775808");
	int64_t v;

	(void)state;
	assert_true(json_i64(&j, &v) && v == INT64_MIN);
	j = scan("9223372036854775807");
	assert_true(json_i64(&j, &v) && v == INT64_MAX);
	j = scan("9223372036854775808");
	assert_false(json_i64(&j, &v));
	assert_int_equal(j.code, E_JSON_RANGE);
	j = scan("-9223372036854775809");
	assert_false(json_i64(&j, &v));
	assert_int_equal(j.code, E_JSON_RANGE);
	j = scan("-");
	assert_false(json_i64(&j, &v));
}

/* The first refusal sticks, and its place is the one reported. */
static void
test_refusal_sticks(void **state)
{
	struct json j = scan("[1 2]");
	struct err e;
	uint64_t v = 0;

	(void)state;
	assert_true(json_enter_array(&j) && json_element(&j) && json_u64(&j, &v));
	assert_false(json_element(&j));
	assert_false(json_u64(&j, &v));
	assert_false(json_enter_array(&j));
	assert_false(json_null(&j));
	assert_false(json_end(&j));
	assert_int_equal(json_peek(&j), JSON_BAD);
	assert_int_equal(v, 1);
	assert_int_equal(json_refusal(&j, "a list", &e), E_JSON_SYNTAX);
	assert_string_equal(e.detail, "a list, at byte 3 of 5");
}

static void
test_skip_accepts(void **state)
{
	static const char *const good[] = { "0", "-0", "1.5e+10", "0.25", "[]", "{}",
		"[[],{},[{}]]", "{\"a\":{\"b\":[1,2,{\"c\":null}]},\"d\":\"\\u0041\\\"\"}",
		" \t\r\n1 ", "\"\"", "1E-2", "[1,\"a\",true,false,null]" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!skips(good[i], strlen(good[i])))
			fail_msg("%s", good[i]);
	}
}

static void
test_skip_refuses(void **state)
{
	static const char *const bad[] = { "", "[", "]", "[1,]", "[,1]", "{,}", "{\"a\"}",
		"{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "[1}", "{\"a\":1]", "01", "1.", ".5",
		"1e", "-", "+1", "nul", "tru", "falsE", "\"", "\"\\\"", "\"\\x41\"", "\"\\u12g4\"",
		"\"\\u12", "\"\n\"", "[1] 2", "1 1", "'a'", "NaN", "[1 2]", "{\"a\" 1}", "\"\\",
		"--1" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (skips(bad[i], strlen(bad[i])))
			fail_msg("%s", bad[i]);
	}
	assert_false(skips("\"\0\"", 3));
}

static void
test_depth(void **state)
{
	char text[2 * (JSON_DEPTH_MAX + 1)];

	(void)state;
	for (size_t depth = 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(skips(text, 2 * depth), depth <= JSON_DEPTH_MAX);
	}
}

/* A record of every kind of value, cut at every byte, is never taken for whole. */
static void
test_truncation(void **state)
{
	const char *text =
		"{\"a\":[1,-2.5e3,\"x\\u00e9\\n\",null,true,false,{\"k\":[]}],\"b\":\"\xc3\xa9\"}";

	(void)state;
	for (size_t len = 0; len < strlen(text); len++) {
		char *copy = malloc(len + 1); /* exact size: ASan sees a step too far */

		assert_non_null(copy);
		memcpy(copy, text, len);
		if (skips(copy, len))
			fail_msg("cut at %zu", len);
		free(copy);
	}
	assert_true(skips(text, strlen(text)));
}

static void
test_string_position(void **state)
{
	char text[64];
	struct slice raw;
	bool escaped;

	(void)state;
	for (size_t len = 0; len < 40; len++) {
		struct json j;

		memset(text, 'a', sizeof(text));
		text[0] = '"';
		text[len + 1] = '"';
		json_init(&j, text, sizeof(text));
		assert_true(json_string(&j, &raw, &escaped));
		assert_int_equal(raw.len, len);
		assert_false(escaped);
		text[len / 2 + 1] = 0x1f;
		json_init(&j, text, sizeof(text));
		assert_false(len > 0 && json_string(&j, &raw, &escaped));
	}
}

/* `escaped` is also the sign that raw bytes are not UTF-8. */
static void
test_string_invalid_utf8(void **state)
{
	struct json j = scan("\"\xc3\xa9\"");
	struct slice raw;
	bool escaped;

	(void)state;
	assert_true(json_string(&j, &raw, &escaped));
	assert_false(escaped);
	j = scan("\"a\xff\"");
	assert_true(json_string(&j, &raw, &escaped));
	assert_true(escaped);
}

struct pair {
	const char *from, *to;
};

static void
test_unescape(void **state)
{
	static const struct pair pairs[] = {
		{ "", "" },
		{ "plain text longer than a word", "plain text longer than a word" },
		{ "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t" },
		{ "\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac" },
		{ "\\ud83d\\ude00!", "\xf0\x9f\x98\x80!" },
		{ "\\ud83d", "\xef\xbf\xbd" },
		{ "\\ud83dx", "\xef\xbf\xbdx" },
		{ "\\ud83d\\u0041", "\xef\xbf\xbd"
				    "A" },
		{ "\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "a\xff\xe6\x97z", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(1000);
		struct slice raw = { (const uint8_t *)pairs[i].from, strlen(pairs[i].from) };

		assert_int_equal(json_unescape(&b, raw, NULL), E_OK);
		if (!slice_is(buf_slice(&b), pairs[i].to))
			fail_msg("%s gave %.*s", pairs[i].from, (int)b.len, (const char *)b.p);
	}
}

static void
test_unescape_refuses(void **state)
{
	static const char *const bad[] = { "\\", "abc\\", "\\q", "\\u12", "\\u12g4", "\\x41" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(1000);
		struct slice raw = { (const uint8_t *)bad[i], strlen(bad[i]) };

		assert_int_equal(buf_add_str(&b, "kept", NULL), E_OK);
		assert_int_equal(json_unescape(&b, raw, NULL), E_JSON_SYNTAX);
		assert_true(slice_is(buf_slice(&b), "kept"));
	}
}

/* A text of its own: what it was read from may go; its limit is that of the decoded bytes. */
static void
test_text(void **state)
{
	static const struct {
		const char *raw;
		bool escaped;
		const char *want; /* NULL: longer than five bytes */
	} rows[] = { { "", false, "" }, { "", true, "" }, { "five.", false, "five." },
		{ "six...", false, NULL }, { "\\u0041\\u0042cde", true, "ABcde" },
		{ "\\u0041\\u0042cdef", true, NULL } };
	autoclean(arena_done) struct arena a = arena_limit(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slice raw = { (const uint8_t *)rows[i].raw, strlen(rows[i].raw) }, out = raw;
		enum ecode rc = json_text(raw, rows[i].escaped, 5, &a, &out, NULL);

		assert_int_equal(rc, rows[i].want == NULL ? E_LIMIT : E_OK);
		if (rc != E_OK)
			continue;
		assert_true(out.p != raw.p);
		assert_true(slice_is(out, rows[i].want));
		assert_int_equal(out.p[out.len], 0);
	}
}

/* Format document 6.2, row by row. */
static void
test_escape(void **state)
{
	static const struct pair pairs[] = {
		{ "a/b'c d", "a/b'c d" },
		{ "\"\\", "\\\"\\\\" },
		{ "\b\f\n\r\t", "\\b\\f\\n\\r\\t" },
		{ "\x01\x1f\x0b\x1b", "\\u0001\\u001f\\u000b\\u001b" },
		{ "<tag>&more text", "\\u003ctag\\u003e\\u0026more text" },
		{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\\u2028\\u2029\xe2\x80\xaa" },
		{ "\xff\xfe", "\\ufffd\\ufffd" },
		{ "\xe6\x97", "\\ufffd\\ufffd" },
		{ "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" },
		{ "\x7f\xef\xbf\xbd\xf0\x9f\x98\x80", "\x7f\xef\xbf\xbd\xf0\x9f\x98\x80" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(1000);

		assert_int_equal(json_escape(&b, pairs[i].from, strlen(pairs[i].from), NULL), E_OK);
		if (!slice_is(buf_slice(&b), pairs[i].to))
			fail_msg("%s gave %.*s", pairs[i].to, (int)b.len, (const char *)b.p);
	}
}

/* Every code point, alone and after a word of plain text, comes back through the scanner. */
static void
test_escape_round_trip(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(1000), back = buf_limit(1000);

	(void)state;
	for (uint32_t cp = 0; cp <= 0x10ffff; cp += cp < 0x3000 ? 1 : 61) {
		uint8_t text[16] = "12345678";
		size_t len;

		if (cp >= 0xd800 && cp <= 0xdfff)
			continue;
		len = 8 + utf8_put(cp, text + 8);
		buf_clear(&b);
		buf_clear(&back);
		assert_int_equal(json_escape(&b, text, len, NULL), E_OK);
		assert_int_equal(json_unescape(&back, buf_slice(&b), NULL), E_OK);
		assert_int_equal(back.len, len);
		assert_memory_equal(back.p, text, len);
	}
}

static void
test_vector_linktargets(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES), b = buf_limit(5000);
	struct slice key, hex, want;
	struct json j;
	bool escaped;
	unsigned seen = 0;

	(void)state;
	assert_true(vector_load("unit.json", &file));
	json_init(&j, file.p, file.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		if (!slice_is(key, "linktargets")) {
			assert_true(json_skip(&j, NULL));
			continue;
		}
		assert_true(json_enter_array(&j));
		for (; json_element(&j); seen++) {
			autoclean(buf_done) struct buf text = buf_limit(5000);
			uint8_t raw[4096];

			assert_true(json_enter_array(&j) && json_element(&j));
			assert_true(json_string(&j, &hex, &escaped) && hex.len <= 8192);
			assert_true(hex_read(hex.p, hex.len, raw) && json_element(&j));
			assert_true(json_string(&j, &want, &escaped) && !json_element(&j));
			buf_clear(&b);
			assert_int_equal(json_unescape(&text, want, NULL), E_OK);
			assert_int_equal(buf_add_byte(&b, '"', NULL), E_OK);
			assert_int_equal(json_escape(&b, raw, hex.len / 2, NULL), E_OK);
			assert_int_equal(buf_add_byte(&b, '"', NULL), E_OK);
			assert_int_equal(b.len, text.len);
			assert_memory_equal(b.p, text.p, b.len);
		}
	}
	assert_true(json_end(&j));
	assert_int_equal(seen, 5);
}

static void
test_write(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(1000);
	struct json_out w;
	struct id id = { { 0xab } };

	(void)state;
	json_begin(&w, &b);
	json_open_object(&w);
	json_put_key(&w, "a");
	json_put_u64(&w, UINT64_MAX);
	json_put_key(&w, "b");
	json_open_array(&w);
	json_put_i64(&w, INT64_MIN);
	json_put_bool(&w, true);
	json_put_bool(&w, false);
	json_put_null(&w);
	json_put_double(&w, 0.1);
	json_open_object(&w);
	json_close_object(&w);
	json_open_array(&w);
	json_close_array(&w);
	json_close_array(&w);
	json_put_key(&w, "c");
	json_put_str(&w, "<x>");
	json_put_key(&w, "d");
	json_put_str(&w, NULL);
	json_put_key(&w, "e");
	json_put_base64(&w, "foob", 4);
	json_put_key(&w, "f");
	json_put_raw(&w, "[0]", 3);
	json_put_key(&w, "g");
	json_put_id(&w, &id);
	json_close_object(&w);
	assert_int_equal(json_done(&w, NULL), E_OK);
	assert_true(slice_is(buf_slice(&b),
		"{\"a\":18446744073709551615,\"b\":[-9223372036854775808,true,false,null,0.1,{},[]],"
		"\"c\":\"\\u003cx\\u003e\",\"d\":null,\"e\":\"Zm9vYg==\",\"f\":[0],\"g\":\"ab"
		"00000000000000000000000000000000000000000000000000000000000000\"}"));
	assert_true(skips((const char *)b.p, b.len));
}

static void
test_write_refusal_sticks(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(300);
	struct json_out w;
	struct err e;

	(void)state;
	json_begin(&w, &b);
	json_open_array(&w);
	for (unsigned i = 0; i < 100; i++)
		json_put_str(&w, "ten bytes.");
	json_close_array(&w);
	assert_int_equal(json_done(&w, &e), E_LIMIT);
	assert_int_equal(e.code, E_LIMIT);
	assert_true(b.len <= 300);
	buf_clear(&b);
	json_begin(&w, &b);
	json_put_double(&w, 1.0 / 0.0);
	json_put_null(&w);
	assert_int_equal(json_done(&w, &e), E_BUG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_object),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_u64_range),
		cmocka_unit_test(test_u64_syntax),
		cmocka_unit_test(test_i64),
		cmocka_unit_test(test_refusal_sticks),
		cmocka_unit_test(test_skip_accepts),
		cmocka_unit_test(test_skip_refuses),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_string_position),
		cmocka_unit_test(test_string_invalid_utf8),
		cmocka_unit_test(test_unescape),
		cmocka_unit_test(test_unescape_refuses),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_round_trip),
		cmocka_unit_test(test_vector_linktargets),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_refusal_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
