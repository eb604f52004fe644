#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Every code point survives; surrogates and what lies above are refused. */
static void
test_every_code_point(void **state)
{
	uint8_t b[4];
	uint32_t back;

	(void)state;
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		unsigned len = utf8_put(cp, b);
		bool surrogate = cp >= 0xd800 && cp <= 0xdfff;

		if (utf8_next(b, len, &back) != (surrogate ? 0 : len))
			fail_msg("U+%04X", cp);
		if (!surrogate && back != cp)
			fail_msg("U+%04X came back as U+%04X", cp, back);
		if (utf8_next(b, len - 1, &back) != 0)
			fail_msg("U+%04X cut short was taken", cp);
	}
}

/* Each of these starts no valid sequence: the Unicode standard, table 3-7. */
static void
test_bad_starts(void **state)
{
	static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80",
		"\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe",
		"\xc2\x41", "\xe1\x80\x41", "\xe1\x41\x80", "\xf1\x80\x80\x41" };
	uint32_t cp = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(utf8_next((const uint8_t *)bad[i], strlen(bad[i]), &cp), 0);
		assert_int_equal(cp, 7);
		assert_false(utf8_valid(bad[i], strlen(bad[i])));
	}
}

/* One bad byte at every place around the eight-byte steps. */
static void
test_valid_position(void **state)
{
	char text[40];

	(void)state;
	for (size_t len = 0; len <= sizeof(text); len++) {
		memset(text, 'a', sizeof(text));
		assert_true(utf8_valid(text, len));
		for (size_t at = 0; at < len; at++) {
			text[at] = (char)0xff;
			assert_false(utf8_valid(text, len));
			text[at] = 'a';
		}
	}
}

static void
test_valid_mixed(void **state)
{
	const char *text =
		"plain text, \xe6\x97\xa5\xe6\x9c\xac, \xf0\x9f\x98\x80, \xc3\xa9 and on";

	(void)state;
	assert_true(utf8_valid(text, strlen(text)));
	assert_false(utf8_valid(text, 14)); /* inside the first wide character */
	assert_true(utf8_valid(NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_point),
		cmocka_unit_test(test_bad_starts),
		cmocka_unit_test(test_valid_position),
		cmocka_unit_test(test_valid_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
