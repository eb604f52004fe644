/*
 * Hostile packs and indexes (reliability.md, format document 4, 5, 10, issue 4): listings that lie about where the pieces
 * are, pieces that are not what they are said to be, frames that grow.  See hostile.h.
 */
#include "engine/hostile.h"

/* What the largest row was measured to need, with room: never what a number in the vault claims. */
#define PEAK_KIB_MAX  (128L << 10)
/* Nor is it reserved: less than half of the largest claim. */
#define ADDRESS_BYTES ((size_t)900 << 20)

static void
test_listings(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_listings(&n);

	(void)state;
	hostile_family(rows, n, "listings");
}

static void
test_pieces(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_pieces(&n);

	(void)state;
	hostile_family(rows, n, "pieces");
}

static void
test_records(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_records(&n);

	(void)state;
	hostile_family(rows, n, "records");
}

static void
test_memory_was_bounded(void **state)
{
	(void)state;
	hostile_memory(PEAK_KIB_MAX, 140);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listings),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_memory_was_bounded),
	};

	hostile_limit(ADDRESS_BYTES);
	return hostile_main(tests, sizeof(tests) / sizeof(tests[0]));
}
