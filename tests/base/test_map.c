#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_empty(void **state)
{
	struct map m = { 0 };
	uint64_t v = 5;

	(void)state;
	assert_false(map_get(&m, 0, 0, &v));
	assert_int_equal(v, 5);
	map_done(&m);
	map_done(&m);
}

static void
test_put_get(void **state)
{
	autoclean(map_done) struct map m = { 0 };
	uint64_t *at = NULL, v = 0;
	bool found = true;
	struct err e;

	(void)state;
	assert_int_equal(map_put(&m, 1, 2, 30, &at, &found, &e), E_OK);
	assert_false(found);
	assert_int_equal(*at, 30);
	*at = 31;
	assert_int_equal(map_put(&m, 1, 2, 99, &at, &found, &e), E_OK);
	assert_true(found);
	assert_int_equal(*at, 31);
	assert_int_equal(m.used, 1);
	assert_true(map_get(&m, 1, 2, &v));
	assert_int_equal(v, 31);
	assert_false(map_get(&m, 2, 1, &v));
	assert_int_equal(v, 31);
}

/* Zero is a key like any other. */
static void
test_zero_key(void **state)
{
	autoclean(map_done) struct map m = { 0 };
	uint64_t *at = NULL, v = 1;
	bool found = true;
	struct err e;

	(void)state;
	assert_int_equal(map_put(&m, 5, 0, 0, &at, &found, &e), E_OK);
	assert_false(map_get(&m, 0, 0, &v));
	assert_int_equal(map_put(&m, 0, 0, 0, &at, &found, &e), E_OK);
	assert_false(found);
	assert_true(map_get(&m, 0, 0, &v));
	assert_int_equal(v, 0);
}

/* Three devices with the same inode numbers; then every pair and no other is there. */
static void
test_many(void **state)
{
	autoclean(map_done) struct map m = { 0 };
	uint64_t *at, v;
	bool found;
	struct err e;

	(void)state;
	for (uint64_t i = 0; i < 60000; i++) {
		assert_int_equal(map_put(&m, i % 3, i / 3 << 8, i, &at, &found, &e), E_OK);
		assert_false(found);
	}
	assert_int_equal(m.used, 60000);
	assert_int_equal(m.cap & (m.cap - 1), 0);
	assert_true(m.used <= m.cap / 4 * 3);
	for (uint64_t i = 0; i < 60000; i++) {
		assert_true(map_get(&m, i % 3, i / 3 << 8, &v));
		assert_int_equal(v, i);
		assert_false(map_get(&m, i % 3, (i / 3 << 8) + 1, &v));
		assert_false(map_get(&m, i % 3 + 3, i / 3 << 8, &v));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_put_get),
		cmocka_unit_test(test_zero_key),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
