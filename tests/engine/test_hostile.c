/*
 * Hostile vaults (reliability.md, format document 14, issue 4): names, nodes and texts of trees that lie.  Each row of
 * hostile_rows.c is a vault of its own; hostile_run.c takes it through every verb.
 */
#include "engine/hostile.h"

/* What the largest row was measured to need (27 MiB), with room; it must not grow with a number that a vault claims. */
#define PEAK_KIB_MAX (64L << 10)

static void
test_names(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_names(&n);

	(void)state;
	hostile_family(rows, n, "unsafe names");
}

static void
test_nodes(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_nodes(&n);

	(void)state;
	hostile_family(rows, n, "nodes");
}

static void
test_texts(void **state)
{
	size_t n;
	const struct hostile *rows = hostile_texts(&n);

	(void)state;
	hostile_family(rows, n, "texts");
}

/* After the families: what all of them took. */
static void
test_memory_was_bounded_and_vaults_were_enough(void **state)
{
	(void)state;
	hostile_memory(PEAK_KIB_MAX, 250);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_memory_was_bounded_and_vaults_were_enough),
	};

	return hostile_main(tests, sizeof(tests) / sizeof(tests[0]));
}
