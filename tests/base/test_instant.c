#include "base/instant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "support/vectors.h"

static bool
parse(const char *text, struct instant *t)
{
	return instant_parse(text, strlen(text), t);
}

/* "-1500000000" ns → seconds and nanoseconds; wider than 64 bits, as the vectors are */
static struct instant
from_ns(struct slice text)
{
	bool negative = text.p[0] == '-';
	__extension__ __int128 v = 0;
	struct instant t = { 0 };

	for (size_t i = negative ? 1 : 0; i < text.len; i++)
		v = v * 10 + (text.p[i] - '0');
	v = negative ? -v : v;
	t.s = (int64_t)(v / 1000000000);
	t.ns = (int32_t)(v % 1000000000);
	if (t.ns < 0) {
		t.ns += 1000000000;
		t.s--;
	}
	return t;
}

/* What restic wrote for one instant in one zone. */
static void
check_vector(struct instant t, struct slice zone, struct slice want)
{
	char text[INSTANT_TEXT_MAX];
	struct instant read, again;
	size_t len;

	assert_true(instant_parse(want.p, want.len, &read));
	assert_int_equal(instant_format(read, text), want.len);
	assert_memory_equal(text, want.p, want.len);
	assert_true(instant_parse(text, want.len, &again));
	assert_int_equal(instant_cmp(read, again), 0);
	/* before 1906 Kolkata's offset had seconds, which the text cannot say (6.6) */
	if (slice_is(zone, "Asia/Kolkata") && read.off_min != 330)
		return;
	t.off_min = read.off_min;
	len = instant_format(t, text);
	assert_int_equal(len, want.len);
	assert_memory_equal(text, want.p, want.len);
}

/* The section "times" of unit.json; returns the number of texts in it. */
static unsigned
check_times(struct json *j)
{
	struct slice ns, zone, want;
	unsigned seen = 0;
	bool escaped;

	assert_true(json_enter_object(j));
	while (json_key(j, &ns)) {
		assert_true(json_enter_object(j));
		for (; json_key(j, &zone); seen++) {
			assert_true(json_string(j, &want, &escaped));
			check_vector(from_ns(ns), zone, want);
		}
	}
	return seen;
}

static void
test_vectors(void **state)
{
	autoclean(buf_done) struct buf file = buf_limit(VECTOR_MAX_BYTES);
	unsigned seen = 0;
	struct slice key;
	struct json j;

	(void)state;
	assert_true(vector_load("unit.json", &file));
	json_init(&j, file.p, file.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		if (slice_is(key, "times"))
			seen += check_times(&j);
		else
			assert_true(json_skip(&j, NULL));
	}
	assert_true(json_end(&j));
	assert_int_equal(seen, 38);
}

struct text_case {
	int64_t s;
	int32_t ns;
	int16_t off_min;
	const char *text;
};

static void
test_format_cases(void **state)
{
	static const struct text_case cases[] = {
		{ 0, 0, 0, "1970-01-01T00:00:00Z" },
		{ -1, 500000000, 330, "1970-01-01T05:29:59.5+05:30" },
		{ 0, 1, -720, "1969-12-31T12:00:00.000000001-12:00" },
		{ 951782400, 120000000, 0, "2000-02-29T00:00:00.12Z" },
		{ 951868799, 0, 0, "2000-02-29T23:59:59Z" },
		{ 951868800, 0, 0, "2000-03-01T00:00:00Z" },
		{ 4107542400, 0, 0, "2100-03-01T00:00:00Z" },
		{ 4107456000, 0, 0, "2100-02-28T00:00:00Z" },
		{ 1600000000, 999999999, -1, "2020-09-13T12:25:40.999999999-00:01" },
		{ 253402300799, 999999999, 330, "9999-01-01T05:29:59.999999999+05:30" },
		/* 10000-02-29: year 9999 has no such day */
		{ 253407398400, 0, 0, "9999-03-01T00:00:00Z" },
		/* -0004-02-29: year 0000 has one */
		{ -62288352000, 0, 0, "0000-02-29T00:00:00Z" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct instant t = { cases[i].s, cases[i].ns, cases[i].off_min };
		char text[INSTANT_TEXT_MAX];

		assert_int_equal(instant_format(t, text), strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void
test_format_extremes(void **state)
{
	char text[INSTANT_TEXT_MAX];

	(void)state;
	for (int16_t off = -1439; off <= 1439; off++) {
		struct instant last = { INT64_MAX, 999999999, off };
		struct instant first = { INT64_MIN, 0, off }, back;

		assert_true(instant_parse(text, instant_format(last, text), &back));
		assert_memory_equal(text, "9999-", 5);
		assert_true(instant_parse(text, instant_format(first, text), &back));
		assert_memory_equal(text, "0000-", 5);
	}
}

/* Every day of the years 0 … 9999 against a calendar that only counts. */
static void
test_every_day(void **state)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = 0, month = 1, day = 1;
	char text[INSTANT_TEXT_MAX];

	(void)state;
	for (int64_t d = -719528; d < 2932897; d++) {
		struct instant t = { d * 86400 + 86399, 0, 0 }, back;
		struct civil c = instant_civil(t);
		bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

		if (c.year != year || c.month != month || c.day != day || c.second != 59)
			fail_msg("day %lld", (long long)d);
		if (!instant_parse(text, instant_format(t, text), &back) || back.s != t.s)
			fail_msg("day %lld came back otherwise", (long long)d);
		day++;
		if (day > lengths[month - 1] + (month == 2 && leap ? 1 : 0)) {
			day = 1;
			month = month == 12 ? 1 : month + 1;
			year += month == 1 ? 1 : 0;
		}
	}
	assert_int_equal(year, 10000);
}

static void
test_parse_refuses(void **state)
{
	static const char *const bad[] = { "", "Z", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z",
		"1970-01-01t00:00:00Z", "1970-01-01T00:00:00z", "1970-13-01T00:00:00Z",
		"1970-00-01T00:00:00Z", "1970-01-32T00:00:00Z", "1970-01-00T00:00:00Z",
		"1970-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "1970-04-31T00:00:00Z",
		"1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z", "1970-01-01T00:00:60Z",
		"1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567890Z",
		"1970-01-01T00:00:00,5Z", "1970-01-01T00:00:00+0530", "1970-01-01T00:00:00+05:60",
		"1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+05:3", "1970-01-01T00:00:00ZZ",
		"1970-01-01T00:00:00.5", "1970-1-01T00:00:00Z0", "19x0-01-01T00:00:00Z",
		"x970-01-01T00:00:00Z", "1970/01/01T00:00:00Z", "1970-01-01T00.00:00Z",
		"1970-01-01T00:00:0:Z", "+970-01-01T00:00:00Z", "1970-01-01T00:00:00 05:30" };
	struct instant t = { 7, 7, 7 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i], &t))
			fail_msg("%s", bad[i]);
	}
	assert_true(t.s == 7 && t.ns == 7 && t.off_min == 7);
}

static void
test_parse_truncated(void **state)
{
	const char *text = "2020-09-13T17:56:40.123456789+05:30";
	struct instant t;

	(void)state;
	for (size_t len = 0; len < strlen(text); len++) {
		char *copy = malloc(len + 1);

		assert_non_null(copy);
		memcpy(copy, text, len);
		assert_false(instant_parse(copy, len, &t));
		free(copy);
	}
	assert_true(parse(text, &t));
	assert_int_equal(t.s, 1600000000);
	assert_int_equal(t.ns, 123456789);
	assert_int_equal(t.off_min, 330);
}

static void
test_compare(void **state)
{
	struct instant a = { 1, 2, 0 }, b = { 1, 3, 0 }, c = { 2, 0, 60 }, d = { 2, 0, 0 };

	(void)state;
	assert_true(instant_cmp(a, b) < 0);
	assert_true(instant_cmp(c, b) > 0);
	assert_int_equal(instant_cmp(c, d), 0);
}

static void
test_person(void **state)
{
	struct instant t;

	(void)state;
	assert_int_equal(instant_from_person("2026-11-21", &t, NULL), E_OK);
	assert_int_equal(t.s, 1795219200);
	assert_int_equal(instant_from_person("2026-11-21 03:15:22", &t, NULL), E_OK);
	assert_int_equal(t.s, 1795219200 + 11722);
	assert_int_equal(instant_from_person("2026-11-21T03:15:22+01:00", &t, NULL), E_OK);
	assert_int_equal(t.s, 1795219200 + 11722 - 3600);
}

static void
test_person_refuses(void **state)
{
	static const char *const bad[] = { "", "yesterday", "2026-11-31", "2026-11-21 03:15",
		"2026-11-21 03:15:22Z", "2026-11-21 24:00:00", "21.11.2026", "2026-11-2" };
	struct instant t = { .s = 5 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(instant_from_person(bad[i], &t, NULL), E_TIME_SYNTAX);
	assert_int_equal(t.s, 5);
}

static void
test_span(void **state)
{
	int64_t s = 0;

	(void)state;
	assert_int_equal(span_from_person("10s", &s, NULL), E_OK);
	assert_int_equal(s, 10);
	assert_int_equal(span_from_person("5m", &s, NULL), E_OK);
	assert_int_equal(s, 300);
	assert_int_equal(span_from_person("1h30m", &s, NULL), E_OK);
	assert_int_equal(s, 5400);
	assert_int_equal(span_from_person("1d2h3m4s", &s, NULL), E_OK);
	assert_int_equal(s, 93784);
	assert_int_equal(span_from_person("0s", &s, NULL), E_OK);
	assert_int_equal(s, 0);
}

static void
test_span_refuses(void **state)
{
	static const char *const bad[] = { "", "5", "m", "5x", "-5m", "5m1h", "5m5m", "1.5h", " 5m",
		"5m ", "9223372036854775808s", "9223372036854775807m",
		"106751991167300d23h59m59s" };
	int64_t s = 9;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (span_from_person(bad[i], &s, NULL) != E_SPAN_SYNTAX)
			fail_msg("%s", bad[i]);
	}
	assert_int_equal(s, 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_format_cases),
		cmocka_unit_test(test_format_extremes),
		cmocka_unit_test(test_every_day),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_parse_truncated),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_person),
		cmocka_unit_test(test_person_refuses),
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_span_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
