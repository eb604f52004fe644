#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_aligned_and_apart(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(8U << 20);
	uint8_t *got[600];
	size_t size[600];
	struct err e;

	(void)state;
	for (size_t i = 0; i < 600; i++) {
		void *p = NULL;

		size[i] = i % 50 == 49 ? 20000 + i : i * 7 % 301; /* 0 too */
		assert_int_equal(arena_alloc(&a, size[i], &p, &e), E_OK);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		memset(p, (int)(i & 0xff), size[i]);
		got[i] = p;
	}
	for (size_t i = 0; i < 600; i++) {
		for (size_t at = 0; at < size[i]; at++)
			assert_int_equal(got[i][at], i & 0xff);
	}
}

static void
test_limit(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1000);
	void *p = NULL, *q = NULL;
	struct err e;

	(void)state;
	assert_int_equal(arena_alloc(&a, 1001, &q, &e), E_LIMIT);
	assert_int_equal(arena_alloc(&a, 1000, &p, &e), E_OK);
	assert_int_equal(arena_alloc(&a, 1, &q, &e), E_LIMIT);
	assert_int_equal(e.code, E_LIMIT);
	assert_null(q);
	arena_reset(&a);
	assert_int_equal(arena_alloc(&a, 500, &p, &e), E_OK);
	assert_int_equal(arena_alloc(&a, 600, &q, &e), E_LIMIT);
}

static void
test_no_limit_means_nothing(void **state)
{
	struct arena a = { 0 };
	void *p = NULL;
	struct err e;

	(void)state;
	assert_int_equal(arena_alloc(&a, 1, &p, &e), E_LIMIT);
	arena_reset(&a);
	arena_done(&a);
}

static void
test_huge(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(SIZE_MAX);
	struct slice s = { NULL, 7 };
	const char *text = NULL;
	void *p = NULL;
	struct err e;

	(void)state;
	assert_int_equal(arena_alloc(&a, SIZE_MAX, &p, &e), E_NOMEM);
	assert_int_equal(arena_alloc(&a, SIZE_MAX - 15, &p, &e), E_NOMEM);
	assert_int_equal(arena_alloc(&a, SIZE_MAX - 40, &p, &e), E_NOMEM);
	assert_int_equal(arena_copy(&a, "", SIZE_MAX - 40, &s, &e), E_NOMEM);
	assert_int_equal(arena_str(&a, "", SIZE_MAX, &text, &e), E_LIMIT);
	assert_null(p);
	assert_null(text);
	assert_int_equal(s.len, 7);
	assert_int_equal(a.used, 0);
}

/* A large piece does not end the block that serves small ones. */
static void
test_small_ones_stay_together(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 20);
	void *first, *large, *second;
	struct err e;

	(void)state;
	assert_int_equal(arena_alloc(&a, 16, &first, &e), E_OK);
	assert_int_equal(arena_alloc(&a, 100000, &large, &e), E_OK);
	assert_int_equal(arena_alloc(&a, 16, &second, &e), E_OK);
	assert_ptr_equal((uint8_t *)second, (uint8_t *)first + 16);
}

static void
test_reset_reuses(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 20);
	void *p, *q;
	struct err e;

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(arena_alloc(&a, 1000, &p, &e), E_OK);
	arena_reset(&a);
	assert_int_equal(a.used, 0);
	assert_int_equal(arena_alloc(&a, 100, &p, &e), E_OK);
	arena_reset(&a);
	assert_int_equal(arena_alloc(&a, 100, &q, &e), E_OK);
	assert_ptr_equal(p, q);
}

static void
test_copies(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1000);
	const char *text = NULL;
	struct slice s;
	struct err e;

	(void)state;
	assert_int_equal(arena_copy(&a, "a\0b", 3, &s, &e), E_OK);
	assert_int_equal(s.len, 3);
	assert_memory_equal(s.p, "a\0b", 3);
	assert_int_equal(arena_copy(&a, NULL, 0, &s, &e), E_OK);
	assert_int_equal(s.len, 0);
	assert_int_equal(arena_str(&a, "hello there", 5, &text, &e), E_OK);
	assert_string_equal(text, "hello");
	assert_int_equal(arena_str(&a, NULL, 0, &text, &e), E_OK);
	assert_string_equal(text, "");
	assert_int_equal(arena_str(&a, "x", 1000, &text, &e), E_LIMIT);
	assert_int_equal(arena_copy(&a, "x", 1000, &s, &e), E_LIMIT);
	assert_string_equal(text, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aligned_and_apart),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_no_limit_means_nothing),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_small_ones_stay_together),
		cmocka_unit_test(test_reset_reuses),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
