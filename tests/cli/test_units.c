/* Numbers for people, and text that is safe for a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cli/units.h"

static void
test_bytes(void **state)
{
	char out[UNIT_TEXT_MAX];

	(void)state;
	assert_string_equal(bytes_text(0, out), "0 B");
	assert_string_equal(bytes_text(1023, out), "1023 B");
	assert_string_equal(bytes_text(1024, out), "1.000 KiB");
	assert_string_equal(bytes_text(1536, out), "1.500 KiB");
	assert_string_equal(bytes_text(UINT64_C(35782656), out), "34.125 MiB");
	assert_string_equal(bytes_text(UINT64_MAX, out), "16.000 EiB");
}

static void
test_spans(void **state)
{
	char out[UNIT_TEXT_MAX];

	(void)state;
	assert_string_equal(span_text(7, out), "0:07");
	assert_string_equal(span_text(723, out), "12:03");
	assert_string_equal(span_text(3723, out), "1:02:03");
	assert_string_equal(span_text(UINT64_MAX, out), "5124095576030431:00:15");
}

static void
test_sizes_typed(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = { { "0", 0 }, { "500", 500 }, { "500b", 500 }, { "10k", 10240 },
		{ "10K", 10240 }, { "3M", 3145728 }, { "2GiB", UINT64_C(2147483648) },
		{ "1tb", UINT64_C(1099511627776) } };
	static const char *const bad[] = { "", "k", "-1", "1.5m", "10x", "10kk",
		"99999999999999999999", "99999999999t", " 1" };
	struct err e;
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(bytes_from_person("x", good[i].text, &v, &e), E_OK);
		assert_int_equal(v, good[i].bytes);
	}
	v = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(bytes_from_person("exclude-larger-than", bad[i], &v, &e), E_USAGE);
		assert_int_equal(v, 7);
	}
}

static void
test_numbers_typed(void **state)
{
	struct err e;
	uint64_t v = 7;

	(void)state;
	assert_int_equal(number_from_person("n", "4", 4, 128, &v, &e), E_OK);
	assert_int_equal(v, 4);
	assert_int_equal(number_from_person("n", "3", 4, 128, &v, &e), E_USAGE);
	assert_int_equal(number_from_person("n", "129", 4, 128, &v, &e), E_USAGE);
	assert_int_equal(number_from_person("n", "4x", 4, 128, &v, &e), E_USAGE);
	assert_int_equal(number_from_person("n", "", 0, 128, &v, &e), E_USAGE);
	assert_int_equal(v, 4);
}

static void
test_local_times(void **state)
{
	char out[UNIT_TEXT_MAX];
	struct instant t = { .s = 0 };
	struct err e;

	(void)state;
	assert_int_equal(setenv("TZ", "XXX-2", 1), 0); /* two hours east */
	tzset();
	assert_string_equal(local_text(t, out), "1970-01-01 02:00:00");
	assert_int_equal(time_from_person("2026-11-21 03:15:22", &t, &e), E_OK);
	assert_int_equal(t.s, 1795223722);
	assert_int_equal(t.off_min, 120);
	assert_int_equal(time_from_person("2026-11-21T03:15:22Z", &t, &e), E_OK);
	assert_int_equal(t.s, 1795230922);
	assert_int_equal(time_from_person("tomorrow", &t, &e), E_TIME_SYNTAX);
}

static void
test_shown_text(void **state)
{
	static const struct {
		const char *raw, *shown;
	} cases[] = { { "plain /path", "plain /path" }, { "a\nb", "a\\x0ab" },
		{ "\x1b[2J", "\\x1b[2J" }, { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xff\xfe", "\\xff\\xfe" }, { "\xc2\x9b", "\\xc2\\x9b" }, { "\x7f", "\\x7f" },
		{ "", "" } };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoclean(buf_done) struct buf out = buf_limit(100);

		assert_int_equal(text_show(&out, cases[i].raw, strlen(cases[i].raw), &e), E_OK);
		assert_string_equal((const char *)out.p, cases[i].shown);
		assert_int_equal(out.len, strlen(cases[i].shown));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_sizes_typed),
		cmocka_unit_test(test_numbers_typed),
		cmocka_unit_test(test_local_times),
		cmocka_unit_test(test_shown_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
