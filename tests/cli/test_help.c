/* Help, and the man page that must say the same. */
#include <ctype.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "cli/help.h"
#include "os/io.h"

static void
test_help_leads_with_examples(void **state)
{
	struct err e;

	(void)state;
	for (unsigned i = 0; i < COMMANDS; i++) {
		autoclean(buf_done) struct buf out = buf_limit(HELP_MAX_BYTES);
		const char *examples, *usage;

		assert_int_equal(help_command((enum command_id)i, &out, &e), E_OK);
		assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
		examples = strstr((const char *)out.p, "\nExamples\n");
		usage = strstr((const char *)out.p, "\nUsage\n");
		assert_non_null(examples);
		assert_non_null(usage);
		assert_true(examples < usage);
		assert_non_null(strstr((const char *)out.p, "--help"));
	}
}

static void
test_help_names_every_command(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(HELP_MAX_BYTES);
	struct err e;

	(void)state;
	assert_int_equal(help_all(&out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	for (unsigned i = 0; i < COMMANDS; i++)
		assert_non_null(
			strstr((const char *)out.p, command_row((enum command_id)i)->summary));
}

static void
test_json_description_parses(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(HELP_MAX_BYTES);
	struct json j;
	struct err e;

	(void)state;
	assert_int_equal(help_json("1", &out, &e), E_OK);
	json_init(&j, out.p, out.len);
	assert_true(json_skip(&j, NULL));
	assert_true(json_end(&j));
}

/* Ascending, so that nobody declares one twice; every command can be called wrongly. */
static void
test_exit_classes_are_in_order(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COMMANDS; i++) {
		const struct command_row *row = command_row((enum command_id)i);
		bool usage = false;

		assert_int_equal(row->exits[COMMAND_EXITS_MAX - 1], CLASS_SUCCESS);
		for (size_t k = 0; row->exits[k] != CLASS_SUCCESS; k++) {
			usage = usage || row->exits[k] == CLASS_USAGE;
			if (k > 0)
				assert_true(row->exits[k - 1] < row->exits[k]);
		}
		assert_true(usage);
	}
}

static void
test_help_shows_exit_classes(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(HELP_MAX_BYTES);
	struct err e;

	(void)state;
	assert_int_equal(help_command(CMD_RESTORE, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_non_null(strstr((const char *)out.p, "\nExit status\n  0 success,"));
	assert_non_null(strstr((const char *)out.p, "30 restore-refused"));
}

static void
read_man(struct buf *out)
{
	char path[1024];
	struct err e;

	(void)snprintf(
		path, sizeof(path), "%s/docs/holdfast.1.scd", getenv("HOLDFAST_SOURCE_ROOT"));
	assert_int_equal(io_read_file(os_posix(), AT_FDCWD, path, out, &e), E_OK);
	assert_int_equal(buf_add_byte(out, 0, &e), E_OK);
}

/* "*-e*, *--exclude* _PATTERN_" below the command's own heading */
static void
check_flag(const char *section, const char *end, const struct flag_row *flag)
{
	char head[128];
	const char *at;

	if (flag->letter != 0)
		(void)snprintf(head, sizeof(head), "\n*-%c*, *--%s*", flag->letter, flag->name);
	else
		(void)snprintf(head, sizeof(head), "\n*--%s*", flag->name);
	at = strstr(section, head);
	if (at == NULL || (end != NULL && at > end))
		fail_msg("the man page does not list %s", head + 1);
}

static void
test_man_page_has_every_flag(void **state)
{
	autoclean(buf_done) struct buf man = buf_limit(1 << 20);

	(void)state;
	read_man(&man);
	for (unsigned i = 0; i < GLOBAL_FLAGS; i++)
		check_flag((const char *)man.p, NULL, flag_row((enum flag)i));
	for (unsigned c = 0; c < COMMANDS; c++) {
		const struct command_row *row = command_row((enum command_id)c);
		char heading[64];
		const char *section;

		(void)snprintf(heading, sizeof(heading), "\n## holdfast %s\n", row->name);
		section = strstr((const char *)man.p, heading);
		assert_non_null(section);
		for (size_t i = 0; i < row->flag_count; i++)
			check_flag(section, strstr(section + 1, "\n## "), flag_row(row->flags[i]));
	}
}

static void
test_man_page_has_no_other_flag(void **state)
{
	autoclean(buf_done) struct buf man = buf_limit(1 << 20);
	const char *at;

	(void)state;
	read_man(&man);
	for (at = strstr((const char *)man.p, "*--"); at != NULL; at = strstr(at + 3, "*--")) {
		size_t len = strcspn(at + 3, "*");
		bool known = false;

		for (unsigned f = 0; f < FLAGS; f++) {
			const char *name = flag_row((enum flag)f)->name;

			known = known || (strlen(name) == len && strncmp(name, at + 3, len) == 0);
		}
		if (!known)
			fail_msg("the man page lists --%.*s", (int)len, at + 3);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help_leads_with_examples),
		cmocka_unit_test(test_help_names_every_command),
		cmocka_unit_test(test_json_description_parses),
		cmocka_unit_test(test_exit_classes_are_in_order),
		cmocka_unit_test(test_help_shows_exit_classes),
		cmocka_unit_test(test_man_page_has_every_flag),
		cmocka_unit_test(test_man_page_has_no_other_flag),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
