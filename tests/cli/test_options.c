/* The parser, the table it reads, and the nearest words it names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.h"

#define WORDS_MAX 16

static struct arena arena;
static struct options opt;
static struct err err;

static int
setup(void **state)
{
	(void)state;
	arena = arena_limit(1 << 20);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

/* Parse "holdfast" and the words given, NULL-terminated. */
static enum ecode
parse(const char *const *words)
{
	char *argv[WORDS_MAX] = { (char *)(uintptr_t) "holdfast" };
	int argc = 1;

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	return options_parse(argc, argv, &arena, &opt, &err);
}

#define parse_words(...) parse((const char *const[]){ __VA_ARGS__, NULL })

static void
test_command_and_arguments(void **state)
{
	(void)state;
	assert_int_equal(parse_words("backup", "/a", "/b"), E_OK);
	assert_true(opt.has_command);
	assert_int_equal(opt.command, CMD_BACKUP);
	assert_int_equal(opt.arg_count, 2);
	assert_string_equal(opt.args[1], "/b");
	assert_null(opt.args[2]);
}

static void
test_two_words(void **state)
{
	(void)state;
	assert_int_equal(parse_words("key", "list"), E_OK);
	assert_int_equal(opt.command, CMD_KEY_LIST);
	assert_int_equal(parse_words("key", "-r", "x", "passwd"), E_OK);
	assert_int_equal(opt.command, CMD_KEY_PASSWD);
	assert_int_equal(parse_words("key"), E_USAGE);
	assert_non_null(strstr(err.detail, "list, add, passwd or remove"));
}

static void
test_every_way_to_give_a_value(void **state)
{
	static const char *const ways[][3] = { { "--repo", "v", NULL }, { "--repo=v", NULL, NULL },
		{ "-r", "v", NULL }, { "-rv", NULL, NULL }, { "-r=v", NULL, NULL } };

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		assert_int_equal(parse(ways[i]), E_OK);
		assert_string_equal(flag_text(&opt, FLAG_REPO), "v");
	}
}

static void
test_last_and_all_values(void **state)
{
	(void)state;
	assert_int_equal(
		parse_words("backup", "-r", "a", "-r", "b", "-e", "x", "--exclude=y", "/t"), E_OK);
	assert_string_equal(flag_text(&opt, FLAG_REPO), "b");
	assert_int_equal(opt.flags[FLAG_EXCLUDE].n, 2);
	assert_string_equal(opt.flags[FLAG_EXCLUDE].v[0], "x");
	assert_string_equal(opt.flags[FLAG_EXCLUDE].v[1], "y");
}

static void
test_switches(void **state)
{
	(void)state;
	assert_int_equal(parse_words("backup", "-nx", "/t"), E_OK);
	assert_true(flag_given(&opt, FLAG_DRY_RUN));
	assert_true(flag_given(&opt, FLAG_ONE_FILE_SYSTEM));
	assert_int_equal(parse_words("--json=false", "snapshots"), E_OK);
	assert_false(flag_given(&opt, FLAG_JSON));
	assert_int_equal(parse_words("--json=maybe", "snapshots"), E_USAGE);
}

static void
test_levels(void **state)
{
	(void)state;
	assert_int_equal(parse_words("-v", "-v", "runs"), E_OK);
	assert_int_equal(opt.flags[FLAG_VERBOSE].count, 2);
	assert_int_equal(parse_words("-vv", "runs"), E_OK);
	assert_int_equal(opt.flags[FLAG_VERBOSE].count, 2);
	assert_int_equal(parse_words("--verbose=2", "runs"), E_OK);
	assert_int_equal(opt.flags[FLAG_VERBOSE].count, 2);
	assert_int_equal(parse_words("--verbose=much", "runs"), E_USAGE);
}

static void
test_double_dash(void **state)
{
	(void)state;
	assert_int_equal(parse_words("backup", "--", "--dry-run", "-"), E_OK);
	assert_false(flag_given(&opt, FLAG_DRY_RUN));
	assert_int_equal(opt.arg_count, 2);
	assert_string_equal(opt.args[0], "--dry-run");
}

static void
test_value_that_looks_like_a_flag(void **state)
{
	(void)state;
	assert_int_equal(parse_words("backup", "-e", "-x", "/t"), E_OK);
	assert_string_equal(flag_text(&opt, FLAG_EXCLUDE), "-x");
	assert_false(flag_given(&opt, FLAG_ONE_FILE_SYSTEM));
}

static void
test_missing_value(void **state)
{
	(void)state;
	assert_int_equal(parse_words("snapshots", "--repo"), E_USAGE);
	assert_non_null(strstr(err.detail, "--repo needs a value"));
	assert_int_equal(parse_words("snapshots", "-r"), E_USAGE);
}

static void
test_flags_belong_to_commands(void **state)
{
	(void)state;
	assert_int_equal(parse_words("snapshots", "--dry-run"), E_USAGE);
	assert_int_equal(parse_words("--dry-run", "backup", "/t"), E_USAGE);
	assert_int_equal(
		parse_words("restore", "latest", "--host", "a", "--host", "b", "-t", "/x"), E_OK);
	assert_int_equal(opt.flags[FLAG_ONLY_HOST].n, 2);
	assert_false(flag_given(&opt, FLAG_HOST));
}

static void
test_how_many_arguments(void **state)
{
	(void)state;
	assert_int_equal(parse_words("ls"), E_USAGE);
	assert_non_null(strstr(err.detail, "ls needs: SNAPSHOT"));
	assert_int_equal(parse_words("check", "now"), E_USAGE);
	assert_non_null(strstr(err.detail, "check does not take \"now\""));
	assert_int_equal(parse_words("ls", "--help"), E_OK);
}

static void
test_nearest_names(void **state)
{
	static const char *const cases[][3] = { { "bakcup", "backup" }, { "snapshot", "snapshots" },
		{ "snap", "snapshots" }, { "restor", "restore" }, { "vresion", "version" },
		{ "uncheck", "check" }, { "keys", "key list" } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char quoted[32];

		assert_int_equal(parse_words(cases[i][0]), E_USAGE);
		quoted[0] = '"';
		memcpy(quoted + 1, cases[i][1], strlen(cases[i][1]) + 1);
		assert_non_null(strstr(err.detail, "the nearest one is"));
		assert_non_null(strstr(err.detail, quoted));
	}
	assert_int_equal(parse_words("xyzzy"), E_USAGE);
	assert_null(strstr(err.detail, "nearest"));
	assert_int_equal(parse_words("key", "ad"), E_USAGE);
	assert_non_null(strstr(err.detail, "\"key add\""));
}

static void
test_nearest_flags(void **state)
{
	(void)state;
	assert_int_equal(parse_words("backup", "--exclde", "x"), E_USAGE);
	assert_non_null(strstr(err.detail, "nearest one is --exclude"));
	assert_int_equal(parse_words("restore", "--tagret=x"), E_USAGE);
	assert_non_null(strstr(err.detail, "nearest one is --target"));
	assert_int_equal(parse_words("backup", "-Z"), E_USAGE);
	assert_non_null(strstr(err.detail, "no flag -Z for backup"));
}

static void
test_long_and_empty_words_have_no_neighbour(void **state)
{
	static const char *const words[] = { "backup" };

	(void)state;
	assert_null(nearest_word("", words, 1));
	assert_null(nearest_word("backupbackupbackupbackupbackupbackup", words, 1));
	assert_string_equal(nearest_word("backup", words, 1), "backup");
}

/* The table itself: what the parser and the help rely on. */
static void
test_table_is_sound(void **state)
{
	(void)state;
	for (unsigned c = 0; c < COMMANDS; c++) {
		const struct command_row *row = command_row((enum command_id)c);
		bool letters[128] = { false };

		assert_non_null(row->name);
		assert_non_null(row->summary);
		assert_non_null(row->examples[0].command);
		assert_true(row->flag_count == COMMAND_FLAGS_MAX ||
			    row->flags[row->flag_count] == FLAG_REPO);
		for (unsigned f = 0; f < GLOBAL_FLAGS; f++)
			letters[(unsigned char)flag_row((enum flag)f)->letter] = true;
		letters[0] = false;
		for (size_t i = 0; i < row->flag_count; i++) {
			const struct flag_row *flag = flag_row(row->flags[i]);

			assert_true(row->flags[i] >= GLOBAL_FLAGS);
			if (flag->letter != 0)
				assert_false(letters[(unsigned char)flag->letter]);
			letters[(unsigned char)flag->letter] = true;
			letters[0] = false;
		}
	}
	for (unsigned f = 0; f < FLAGS; f++) {
		const struct flag_row *flag = flag_row((enum flag)f);

		assert_non_null(flag->name);
		assert_non_null(flag->help);
		assert_int_equal(
			flag->value != NULL, flag->kind == FLAG_ONE || flag->kind == FLAG_MANY);
	}
}

/* Examples are commands that parse. */
static void
test_examples_name_known_commands(void **state)
{
	(void)state;
	for (unsigned c = 0; c < COMMANDS; c++) {
		const struct command_row *row = command_row((enum command_id)c);

		for (size_t i = 0; i < EXAMPLES_MAX && row->examples[i].text != NULL; i++)
			assert_non_null(strstr(row->examples[i].command, row->name));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_command_and_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_way_to_give_a_value, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_and_all_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_switches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_double_dash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_value_that_looks_like_a_flag, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_value, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags_belong_to_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_how_many_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nearest_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nearest_flags, setup, teardown),
		cmocka_unit_test(test_long_and_empty_words_have_no_neighbour),
		cmocka_unit_test(test_table_is_sound),
		cmocka_unit_test(test_examples_name_known_commands),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
