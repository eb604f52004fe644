#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_add(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(100);
	struct err e;

	(void)state;
	assert_int_equal(buf_add(&b, "a\0b", 3, &e), E_OK);
	assert_int_equal(buf_add_str(&b, "cd", &e), E_OK);
	assert_int_equal(buf_add_byte(&b, 0xff, &e), E_OK);
	assert_int_equal(buf_add(&b, NULL, 0, &e), E_OK);
	assert_int_equal(b.len, 6);
	assert_memory_equal(buf_slice(&b).p, "a\0bcd\xff", 6);
	assert_int_equal(buf_slice(&b).len, 6);
}

static void
test_grows_to_its_limit(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(100001);
	struct err e;

	(void)state;
	for (size_t i = 0; i < 100001; i++)
		assert_int_equal(buf_add_byte(&b, (uint8_t)(i % 251), &e), E_OK);
	assert_int_equal(buf_add_byte(&b, 1, &e), E_LIMIT);
	assert_int_equal(e.code, E_LIMIT);
	assert_int_equal(b.len, 100001);
	assert_true(b.cap <= b.limit);
	for (size_t i = 0; i < 100001; i++)
		assert_int_equal(b.p[i], i % 251);
}

static void
test_refusal_changes_nothing(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(10);
	struct err e;

	(void)state;
	assert_int_equal(buf_add_str(&b, "12345678", &e), E_OK);
	assert_int_equal(buf_add_str(&b, "abc", &e), E_LIMIT);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &e), E_LIMIT);
	assert_int_equal(buf_printf(&b, &e, "%s", "abc"), E_LIMIT);
	assert_int_equal(b.len, 8);
	assert_memory_equal(b.p, "12345678", 8);
}

static void
test_no_memory(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(SIZE_MAX);
	struct err e;

	(void)state;
	assert_int_equal(buf_add_byte(&b, 'x', &e), E_OK);
	assert_int_equal(buf_reserve(&b, SIZE_MAX / 2, &e), E_NOMEM);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &e), E_LIMIT); /* the sum would wrap */
	assert_int_equal(b.len, 1);
	assert_int_equal(b.p[0], 'x');
}

static void
test_printf(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(2000);
	struct err e;

	(void)state;
	assert_int_equal(buf_printf(&b, &e, "%d-%s", 12, "x"), E_OK);
	assert_int_equal(buf_printf(&b, &e, "%0500d", 7), E_OK);
	assert_int_equal(b.len, 504);
	assert_memory_equal(b.p, "12-x000", 7);
	assert_int_equal(b.p[503], '7');
}

static void
test_reserve_keeps_length(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(5000);
	uint8_t *before;
	struct err e;

	(void)state;
	assert_int_equal(buf_reserve(&b, 5000, &e), E_OK);
	assert_int_equal(b.len, 0);
	assert_true(b.cap >= 5000);
	before = b.p;
	memset(b.p, 1, 5000);
	b.len = 5000;
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_reserve(&b, 5000, &e), E_OK);
	assert_ptr_equal(b.p, before);
}

static void
test_take(void **state)
{
	autoclean(buf_done) struct buf a = buf_limit(10);
	autoclean(buf_done) struct buf b = buf_limit(20);
	uint8_t *p;
	struct err e;

	(void)state;
	assert_int_equal(buf_add_str(&a, "moved", &e), E_OK);
	p = a.p;
	buf_take(&b, &a);
	assert_ptr_equal(b.p, p);
	assert_int_equal(b.len, 5);
	assert_null(a.p);
	assert_int_equal(a.len, 0);
	assert_int_equal(buf_add_str(&a, "again", &e), E_OK);
	assert_memory_equal(b.p, "moved", 5);
}

static void
test_done_keeps_limit(void **state)
{
	struct buf b = buf_limit(3);
	struct err e;

	(void)state;
	assert_int_equal(buf_add_str(&b, "abc", &e), E_OK);
	buf_done(&b);
	assert_null(b.p);
	assert_int_equal(buf_add_str(&b, "abcd", &e), E_LIMIT);
	assert_int_equal(buf_add_str(&b, "abc", &e), E_OK);
	buf_done(&b);
	buf_done(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_grows_to_its_limit),
		cmocka_unit_test(test_refusal_changes_nothing),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_reserve_keeps_length),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_done_keeps_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
