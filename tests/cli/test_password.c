/* Where a password comes from; the terminal is tests/cli/test_cli.sh's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/password.h"
#include "support/compare_tree.h"

static struct secret *secret;
static char dir[200], file[256];
static struct err err;

static int
setup(void **state)
{
	struct err e;

	(void)state;
	temp_dir(dir, sizeof(dir));
	(void)snprintf(file, sizeof(file), "%s/pw", dir);
	return secret_open(&secret, &e) == E_OK ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	secret_close(&secret);
	remove_tree(dir);
	return 0;
}

static enum ecode
get(enum password_from from, const char *text, int fd)
{
	struct settings s = { .password_from = from, .password = text, .password_fd = fd };

	return password_get(os_posix(), &s, "?", false, secret, &err);
}

static void
assert_secret(const char *text)
{
	struct slice s = secret_bytes(secret);

	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.p, text, s.len);
}

static void
test_file_is_trimmed(void **state)
{
	(void)state;
	write_file(file, "\xef\xbb\xbf correct horse \r\n", 20);
	assert_int_equal(get(PASSWORD_FILE, file, -1), E_OK);
	assert_secret("correct horse");
}

static void
test_file_that_cannot_be_used(void **state)
{
	static char big[SECRET_MAX_BYTES + 100];

	(void)state;
	assert_int_equal(get(PASSWORD_FILE, file, -1), E_PASSWORD_SOURCE);
	assert_non_null(strstr(err.detail, file));
	write_file(file, " \n", 2);
	assert_int_equal(get(PASSWORD_FILE, file, -1), E_PASSWORD_SOURCE);
	memset(big, 'x', sizeof(big));
	write_file(file, big, sizeof(big));
	assert_int_equal(get(PASSWORD_FILE, file, -1), E_PASSWORD_SOURCE);
}

static void
test_command(void **state)
{
	(void)state;
	assert_int_equal(get(PASSWORD_COMMAND, "printf '%s\\n' 'correct horse'", -1), E_OK);
	assert_secret("correct horse");
	assert_int_equal(get(PASSWORD_COMMAND, "false", -1), E_PASSWORD_SOURCE);
	assert_int_equal(get(PASSWORD_COMMAND, "/no/such/program", -1), E_PASSWORD_SOURCE);
	assert_int_equal(get(PASSWORD_COMMAND, "true", -1), E_PASSWORD_SOURCE);
	assert_int_equal(get(PASSWORD_COMMAND, "", -1), E_USAGE);
	assert_int_equal(get(PASSWORD_COMMAND, "echo 'open", -1), E_USAGE);
}

static void
test_command_does_not_inherit_passwords(void **state)
{
	(void)state;
	assert_int_equal(setenv("HOLDFAST_PASSWORD", "geheim", 1), 0);
	assert_int_equal(setenv("HOLDFAST_AGENT", "yes", 1), 0);
	assert_int_equal(
		get(PASSWORD_COMMAND, "sh -c 'echo \"[$HOLDFAST_PASSWORD$HOLDFAST_AGENT]\"'", -1),
		E_OK);
	assert_secret("[yes]");
	assert_int_equal(get(PASSWORD_COMMAND, "head -c 5000 /dev/zero", -1), E_PASSWORD_SOURCE);
	assert_int_equal(unsetenv("HOLDFAST_PASSWORD"), 0);
}

static void
test_descriptor(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "from fd\n", 8), 8);
	assert_int_equal(close(fds[1]), 0);
	assert_int_equal(get(PASSWORD_FD, NULL, fds[0]), E_OK);
	assert_secret("from fd");
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(get(PASSWORD_FD, NULL, 999), E_PASSWORD_SOURCE);
}

static void
test_variable_is_not_trimmed(void **state)
{
	(void)state;
	assert_int_equal(get(PASSWORD_TEXT, " as it is ", -1), E_OK);
	assert_secret(" as it is ");
	assert_int_equal(get(PASSWORD_EMPTY, NULL, -1), E_OK);
	assert_secret("");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_is_trimmed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_that_cannot_be_used, setup, teardown),
		cmocka_unit_test_setup_teardown(test_command, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_command_does_not_inherit_passwords, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_variable_is_not_trimmed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
