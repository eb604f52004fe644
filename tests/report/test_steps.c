/* Steps: sentences and commands; and every row of err.def gives a checklist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "report/steps.h"

static bool
is(struct slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static void
test_one_sentence(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("Check the medium.", s), 1);
	assert_true(is(s[0].text, "Check the medium."));
	assert_int_equal(s[0].command.len, 0);
}

static void
test_two_sentences_and_a_command(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(
		steps_of("Stop writing to this vault. Run: holdfast check --read-data", s), 2);
	assert_true(is(s[0].text, "Stop writing to this vault."));
	assert_true(is(s[1].text, "Run: holdfast check --read-data"));
	assert_true(is(s[1].command, "holdfast check --read-data"));
}

static void
test_command_ends_at_semicolon(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("Run: holdfast check; the rest can wait.", s), 1);
	assert_true(is(s[0].command, "holdfast check"));
}

static void
test_command_ends_before_full_stop(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("Run: holdfast check. Then wait.", s), 2);
	assert_true(is(s[0].command, "holdfast check"));
	assert_true(is(s[1].text, "Then wait."));
}

static void
test_placeholder_is_no_command(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("Look with: holdfast ls SNAPSHOT", s), 1);
	assert_int_equal(s[0].command.len, 0);
}

static void
test_numbers_do_not_end_a_sentence(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("Wait 1.5 s. then go on.", s), 1);
	assert_int_equal(steps_of("Is it mounted? To make one: holdfast init", s), 2);
	assert_true(is(s[1].command, "holdfast init"));
}

static void
test_ceiling(void **state)
{
	struct step s[STEPS_MAX];

	(void)state;
	assert_int_equal(steps_of("A. B. C. D. E. F. G. H.", s), STEPS_MAX);
	assert_true(is(s[STEPS_MAX - 1].text, "F. G. H."));
	assert_int_equal(steps_of("", s), 0);
}

static void
test_words(void **state)
{
	struct slice rest = { (const uint8_t *)" holdfast  ls ", 14 }, word;

	(void)state;
	assert_true(steps_word(&rest, &word));
	assert_true(is(word, "holdfast"));
	assert_true(steps_word(&rest, &word));
	assert_true(is(word, "ls"));
	assert_false(steps_word(&rest, &word));
}

static void
test_every_row_has_steps(void **state)
{
	const struct err_row *rows;
	size_t n = err_rows(&rows);
	struct step s[STEPS_MAX];

	(void)state;
	for (size_t i = 0; i < n; i++) {
		size_t steps = steps_of(rows[i].next, s);

		assert_in_range(steps, 1, STEPS_MAX - 1);
		for (size_t k = 0; k < steps; k++)
			assert_true(s[k].text.len > 3);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_sentence),
		cmocka_unit_test(test_two_sentences_and_a_command),
		cmocka_unit_test(test_command_ends_at_semicolon),
		cmocka_unit_test(test_command_ends_before_full_stop),
		cmocka_unit_test(test_placeholder_is_no_command),
		cmocka_unit_test(test_numbers_do_not_end_a_sentence),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_every_row_has_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
