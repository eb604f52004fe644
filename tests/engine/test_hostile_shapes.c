/*
 * Hostile shapes (issue 4): trees that multiply themselves or go deep, sizes that lie, destinations that are traps, snapshot
 * records that are none.  See hostile.h.
 */
#include "engine/hostile.h"

/* What the largest row was measured to need, with room: a bomb must not take what it claims. */
#define PEAK_KIB_MAX (256L << 10)

static void
test_shapes(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_shapes(&n);

	(void)state;
	hostile_family(rows, n, "shapes");
}

static void
test_memory_was_bounded(void **state)
{
	(void)state;
	hostile_memory(PEAK_KIB_MAX, 30);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_memory_was_bounded),
	};

	return hostile_main(tests, sizeof(tests) / sizeof(tests[0]));
}
