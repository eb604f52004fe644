/* What flags and variables say, and in which order they win. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/env.h"
#include "support/compare_tree.h"

#define VARS_MAX 8

static const char *vars[VARS_MAX][2]; /* getenv has no argument of ours */
static struct arena arena;
static struct settings set;
static struct err err;

static char *
get(const char *name)
{
	for (size_t i = 0; i < VARS_MAX && vars[i][0] != NULL; i++) {
		if (strcmp(vars[i][0], name) == 0)
			return (char *)(uintptr_t)vars[i][1];
	}
	return NULL;
}

static int
setup(void **state)
{
	(void)state;
	memset(vars, 0, sizeof(vars));
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

static void
var(const char *name, const char *text)
{
	size_t i = 0;

	while (vars[i][0] != NULL)
		i++;
	assert_true(i < VARS_MAX);
	vars[i][0] = name;
	vars[i][1] = text;
}

static enum ecode
settings(const char *const *words)
{
	char *argv[16] = { (char *)(uintptr_t) "holdfast" };
	struct options opt;
	int argc = 1;

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	assert_int_equal(options_parse(argc, argv, &arena, &opt, &err), E_OK);
	return env_settings(os_posix(), &opt, get, &arena, &set, &err);
}

#define settings_of(...) settings((const char *const[]){ __VA_ARGS__, NULL })

static void
test_holdfast_wins_over_restic(void **state)
{
	(void)state;
	var("RESTIC_REPOSITORY", "old");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_string_equal(set.repo, "old");
	var("HOLDFAST_REPOSITORY", "new");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_string_equal(set.repo, "new");
	assert_int_equal(settings_of("snapshots", "-r", "flag"), E_OK);
	assert_string_equal(set.repo, "flag");
}

static void
test_empty_variable_is_unset(void **state)
{
	(void)state;
	var("HOLDFAST_KEY_HINT", "");
	var("RESTIC_KEY_HINT", "ab");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_string_equal(set.key_hint, "ab");
}

static void
test_every_stem(void **state)
{
	(void)state;
	var("RESTIC_COMPRESSION", "max");
	var("RESTIC_PACK_SIZE", "64");
	var("RESTIC_READ_CONCURRENCY", "3");
	var("RESTIC_HOST", "h");
	var("RESTIC_PROGRESS_FPS", "0.5");
	assert_int_equal(settings_of("backup", "/x"), E_OK);
	assert_string_equal(set.compression, "max");
	assert_string_equal(set.pack_size, "64");
	assert_string_equal(set.read_concurrency, "3");
	assert_string_equal(set.host, "h");
	assert_true(set.frames_per_s > 0.49 && set.frames_per_s < 0.51);
	assert_int_equal(settings_of("backup", "/x", "--compression", "off"), E_OK);
	assert_string_equal(set.compression, "off");
}

static void
test_frames(void **state)
{
	(void)state;
	var("HOLDFAST_PROGRESS_FPS", "1000");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_true(set.frames_per_s < 60.5);
	vars[0][1] = "often";
	assert_int_equal(settings_of("snapshots"), E_USAGE);
	vars[0][1] = "-1";
	assert_int_equal(settings_of("snapshots"), E_USAGE);
}

static void
test_password_order(void **state)
{
	(void)state;
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_PROMPT);
	var("RESTIC_PASSWORD", "text");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_TEXT);
	var("RESTIC_PASSWORD_FILE", "file");
	assert_int_equal(settings_of("snapshots"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_FILE);
	assert_int_equal(settings_of("snapshots", "--password-command", "echo x"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_COMMAND);
	assert_int_equal(settings_of("snapshots", "--password-fd", "3"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_FD);
	assert_int_equal(set.password_fd, 3);
	assert_int_equal(settings_of("snapshots", "--insecure-no-password"), E_OK);
	assert_int_equal(set.password_from, PASSWORD_EMPTY);
}

static void
test_contradictions(void **state)
{
	(void)state;
	assert_int_equal(settings_of("snapshots", "-p", "a", "--password-fd", "3"), E_USAGE);
	assert_int_equal(settings_of("snapshots", "--password-fd", "x"), E_USAGE);
	assert_int_equal(settings_of("snapshots", "-r", "a", "--repository-file", "b"), E_USAGE);
	var("HOLDFAST_PASSWORD_COMMAND", "c");
	var("RESTIC_PASSWORD_FILE", "f");
	assert_int_equal(settings_of("snapshots"), E_USAGE);
	assert_int_equal(settings_of("snapshots", "-p", "a"), E_OK); /* a flag ends the doubt */
	var("HOLDFAST_REPOSITORY", "r");
	var("HOLDFAST_REPOSITORY_FILE", "f");
	assert_int_equal(settings_of("snapshots", "-p", "a"), E_USAGE);
}

static void
test_retry_lock(void **state)
{
	(void)state;
	assert_int_equal(settings_of("snapshots", "--retry-lock", "5m"), E_OK);
	assert_int_equal(set.retry_lock_s, 300);
	assert_int_not_equal(settings_of("snapshots", "--retry-lock", "soon"), E_OK);
	assert_int_equal(err_row(err.code)->class, CLASS_USAGE);
}

static void
test_state_dir(void **state)
{
	(void)state;
	assert_int_equal(settings_of("runs"), E_OK);
	assert_null(set.state_dir);
	var("HOME", "/home/ada");
	assert_int_equal(settings_of("runs"), E_OK);
	assert_string_equal(set.state_dir, "/home/ada/.local/state/holdfast");
	var("XDG_STATE_HOME", "relative/is/ignored");
	assert_int_equal(settings_of("runs"), E_OK);
	assert_string_equal(set.state_dir, "/home/ada/.local/state/holdfast");
	vars[1][1] = "/var/state";
	assert_int_equal(settings_of("runs"), E_OK);
	assert_string_equal(set.state_dir, "/var/state/holdfast");
}

static void
test_repository_file(void **state)
{
	static const char utf16[] = "\xff\xfe/\0v\0\n\0";
	char dir[200], file[256];

	(void)state;
	temp_dir(dir, sizeof(dir));
	(void)snprintf(file, sizeof(file), "%s/where", dir);
	write_file(file, "\xef\xbb\xbf  /mnt/vault \r\n", 17);
	assert_int_equal(settings_of("snapshots", "--repository-file", file), E_OK);
	assert_string_equal(set.repo, "/mnt/vault");
	write_file(file, utf16, sizeof(utf16) - 1);
	assert_int_equal(settings_of("snapshots", "--repository-file", file), E_OK);
	assert_string_equal(set.repo, "/v");
	write_file(file, " \n", 2);
	assert_int_equal(settings_of("snapshots", "--repository-file", file), E_NO_REPO);
	remove_tree(dir);
	assert_int_equal(settings_of("snapshots", "--repository-file", file), E_NO_REPO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_holdfast_wins_over_restic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_variable_is_unset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_stem, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_password_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contradictions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_retry_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_dir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repository_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
