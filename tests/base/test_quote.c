#include "base/quote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/quote_table.h"
#include "base/utf8.h"
#include "base/wire.h"
#include "support/vectors.h"

#define CODE_POINTS 0x110000U

/* Mark the code points of one line, "00a1-00ac" or "038c". */
static void
mark_line(const char *line, bool *printable)
{
	char *rest;
	unsigned long first = strtoul(line, &rest, 16), last = first;

	if (*rest == '-')
		last = strtoul(rest + 1, NULL, 16);
	assert_true(first <= last && last < CODE_POINTS);
	for (unsigned long cp = first; cp <= last; cp++)
		printable[cp] = true;
}

/* The compiled table equals the measured list for every code point. */
static void
test_table(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	bool *printable = calloc(CODE_POINTS, sizeof(*printable));
	char *line, *save = NULL;
	unsigned lines = 0;

	(void)state;
	assert_non_null(printable);
	assert_true(vector_load("go-printable-ranges.txt", &file));
	assert_int_equal(buf_add_byte(&file, 0, NULL), E_OK);
	for (line = strtok_r((char *)file.p, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#')
			continue;
		mark_line(line, printable);
		lines++;
	}
	assert_int_equal(lines, 711);
	for (uint32_t cp = 0; cp < CODE_POINTS; cp++) {
		if (quote_printable(cp) != printable[cp])
			fail_msg("U+%04X", cp);
	}
	free(printable);
}

/* raw → stored text (quoted, then JSON-escaped) and back */
static void
check_name(const uint8_t *raw, size_t len, struct slice want)
{
	autoclean(buf_done) struct buf quoted = buf_limit(1 << 20), text = buf_limit(1 << 20);
	autoclean(buf_done) struct buf decoded = buf_limit(1 << 20), back = buf_limit(1 << 20);

	assert_int_equal(quote_write(&quoted, raw, len, NULL), E_OK);
	assert_true(utf8_valid(quoted.p, quoted.len));
	assert_int_equal(json_escape(&text, quoted.p, quoted.len, NULL), E_OK);
	if (want.p != NULL) {
		assert_int_equal(text.len, want.len);
		assert_memory_equal(text.p, want.p, want.len);
	}
	assert_int_equal(quote_is_plain(raw, len),
		text.len == len && (len == 0 || memcmp(text.p, raw, len) == 0));
	assert_int_equal(json_unescape(&decoded, buf_slice(&text), NULL), E_OK);
	assert_int_equal(quote_read(&back, decoded.p, decoded.len, NULL), E_OK);
	assert_int_equal(back.len, len);
	assert_true(len == 0 || memcmp(back.p, raw, len) == 0);
}

static void
check_vector(struct slice hex, struct slice stored)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	uint8_t raw[1024];

	assert_true(hex.len <= 2 * sizeof(raw) && hex_read(hex.p, hex.len, raw));
	assert_int_equal(json_unescape(&text, stored, NULL), E_OK);
	assert_true(text.len >= 2 && text.p[0] == '"' && text.p[text.len - 1] == '"');
	check_name(raw, hex.len / 2, (struct slice){ text.p + 1, text.len - 2 });
}

static void
test_vectors(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	struct slice key, hex, stored;
	unsigned seen = 0;
	struct json j;
	bool escaped;

	(void)state;
	assert_true(vector_load("unit.json", &file));
	json_init(&j, file.p, file.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		if (!slice_is(key, "names")) {
			assert_true(json_skip(&j, NULL));
			continue;
		}
		assert_true(json_enter_array(&j));
		for (; json_element(&j); seen++) {
			assert_true(json_enter_array(&j) && json_element(&j));
			assert_true(json_string(&j, &hex, &escaped) && json_element(&j));
			assert_true(json_string(&j, &stored, &escaped) && !json_element(&j));
			check_vector(hex, stored);
		}
	}
	assert_true(json_end(&j));
	assert_int_equal(seen, 48);
}

static void
test_every_byte_and_pair(void **state)
{
	(void)state;
	for (unsigned a = 1; a < 256; a++) {
		uint8_t name[16] = "12345678abcdefg";

		name[a % 15] = (uint8_t)a;
		check_name(name, 15, (struct slice){ NULL, 0 });
		name[0] = (uint8_t)a;
		name[1] = (uint8_t)(a * 7);
		check_name(name, 2, (struct slice){ NULL, 0 });
	}
}

static void
test_random_names(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("# seed %u\n", seed);
	srandom(seed);
	for (unsigned round = 0; round < 20000; round++) {
		uint8_t name[64];
		size_t len = (size_t)random() % sizeof(name);

		for (size_t i = 0; i < len; i++)
			name[i] = (uint8_t)(random() % 3 != 0 ? random() : 'a');
		check_name(name, len, (struct slice){ NULL, 0 });
	}
}

struct pair {
	const char *from, *to;
};

static void
test_read(void **state)
{
	static const struct pair pairs[] = {
		{ "", "" },
		{ "\\a\\b\\f\\n\\r\\t\\v\\\\\\\"", "\a\b\f\n\r\t\v\\\"" },
		{ "\\x41\\xff\\xFF", "A\xff\xff" },
		{ "\\u00e9\\U0001f600", "\xc3\xa9\xf0\x9f\x98\x80" },
		{ "\\101\\377", "A\xff" },
		{ "it's `raw`", "it's `raw`" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(1000);

		assert_int_equal(quote_read(&b, pairs[i].from, strlen(pairs[i].from), NULL), E_OK);
		assert_true(slice_is(buf_slice(&b), pairs[i].to));
	}
}

static void
test_read_refuses(void **state)
{
	static const char *const bad[] = { "\\", "a\\", "\"", "\n", "\\'", "\\q", "\\x", "\\x4",
		"\\xg0", "\\u12", "\\u12g4", "\\ud800", "\\udfff", "\\U00110000", "\\U0001f60",
		"\\400", "\\777", "\\08", "\\1", "\\18", "\\8", "\\N", "\\0" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(1000);
		size_t len = strlen(bad[i]);
		char *exact = malloc(len);
		struct err e;

		assert_non_null(exact);
		memcpy(exact, bad[i], len);
		assert_int_equal(buf_add_str(&b, "kept", NULL), E_OK);
		if (quote_read(&b, exact, len, &e) != E_NAME_SYNTAX)
			fail_msg("%s", bad[i]);
		assert_true(slice_is(buf_slice(&b), "kept"));
		free(exact);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_byte_and_pair),
		cmocka_unit_test(test_random_names),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
