/* child.c: splitting a command, and taking a helper's output with its verdict. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "os/child.h"
#include "support/fault_os.h"

struct split_case {
	const char *command;
	const char *words[6]; /* up to the first NULL */
};

static const struct split_case cases[] = {
	{ "foo", { "foo" } },
	{ "'foo'", { "foo" } },
	{ "  foo \t bar\nbaz ", { "foo", "bar", "baz" } },
	{ "foo 'bar' baz", { "foo", "bar", "baz" } },
	{ "'bar box' baz", { "bar box", "baz" } },
	{ "\"bar 'box'\" baz", { "bar 'box'", "baz" } },
	{ "'bar \"box\"' baz", { "bar \"box\"", "baz" } },
	{ "\\\"bar box baz", { "\"bar", "box", "baz" } },
	{ "\"bar/foo/x\" \"box baz\"", { "bar/foo/x", "box baz" } },
	{ "a\\ b c", { "a b", "c" } },
	{ "\"a\\\"b\\\\c\\d\"", { "a\"b\\c\\d" } },
	{ "'a\\b'", { "a\\b" } },
	{ "a '' b", { "a", "", "b" } },
	{ "x\\", { "x\\" } },
};

static void
test_split(void **state)
{
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoclean(arena_done) struct arena a = arena_limit(1 << 16);
		char **argv = NULL;
		size_t n = 0;

		assert_int_equal(child_split(&a, cases[i].command, &argv, &e), E_OK);
		for (; cases[i].words[n] != NULL; n++) {
			assert_non_null(argv[n]);
			assert_string_equal(argv[n], cases[i].words[n]);
		}
		assert_null(argv[n]);
	}
}

static void
test_split_refuses(void **state)
{
	static const char *const bad[] = { "", "   ", "'foo", "foo \"bar", "foo 'bar\"" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		autoclean(arena_done) struct arena a = arena_limit(1 << 16);
		char **argv = NULL;

		assert_int_equal(child_split(&a, bad[i], &argv, &e), E_USAGE);
		assert_null(argv);
	}
}

static void
test_split_refuses_too_many_words(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(1 << 20);
	char command[] = "w w w w w w w w w w w w w w w w ", many[16 * sizeof(command)];
	size_t len = sizeof(command) - 1; /* sixteen words */
	char **argv = NULL;
	struct err e;

	(void)state;
	for (size_t i = 0; i < 16; i++)
		memcpy(many + i * len, command, len + 1);
	assert_int_equal(child_split(&a, many, &argv, &e), E_OK);
	assert_non_null(argv[255]);
	assert_null(argv[256]);
	memcpy(many + 16 * len, "w", 2);
	assert_int_equal(child_split(&a, many, &argv, &e), E_USAGE);
}

static enum ecode
capture(const struct os *os, const char *script, struct buf *out, struct err *e)
{
	char sh[] = "sh", c[] = "-c";
	char *copy = strdup(script);
	char *argv[] = { sh, c, copy, NULL };
	enum ecode rc = child_capture(os, argv, out, e);

	free(copy);
	return rc;
}

static void
test_capture_appends_what_is_printed(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(1 << 20);
	struct err e;

	(void)state;
	assert_int_equal(buf_add_str(&out, "before ", &e), E_OK);
	assert_int_equal(capture(os_posix(), "echo after", &out, &e), E_OK);
	assert_int_equal(out.len, 13);
	assert_memory_equal(out.p, "before after\n", 13);
	assert_int_equal(capture(os_posix(), "head -c 300000 /dev/zero", &out, &e), E_OK);
	assert_int_equal(out.len, 300013);
}

static void
test_capture_tells_failures_apart(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(1000);
	char absent[] = "hf-no-such-program";
	char *argv[] = { absent, NULL };
	struct err e;

	(void)state;
	assert_int_equal(child_capture(os_posix(), argv, &out, &e), E_CHILD);
	assert_int_equal(e.sys, ENOENT);
	assert_int_equal(capture(os_posix(), "echo x; exit 3", &out, &e), E_CHILD_FAILED);
	assert_non_null(strstr(e.detail, "status 3"));
	assert_int_equal(capture(os_posix(), "kill -15 $$", &out, &e), E_CHILD_FAILED);
	assert_non_null(strstr(e.detail, "signal 15"));
	assert_int_equal(out.len, 0);
}

static void
test_capture_stops_a_child_that_says_too_much(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(1000);
	struct err e;

	(void)state;
	assert_int_equal(
		capture(os_posix(), "trap '' PIPE; while :; do echo yes; done", &out, &e), E_LIMIT);
	assert_int_equal(out.len, 0);
}

/* What must hold after one capture of "echo text" with a refused call. */
static void
check_capture(struct fault_os *f, enum ecode rc, const struct buf *out)
{
	assert_int_equal(f->open_fds, 0);
	if (rc == E_OK) {
		assert_memory_equal(out->p, "text\n", 5);
		assert_true(f->fired == 0 || f->plan.error == EINTR || f->fired_slot == SLOT_CLOSE);
	} else {
		assert_int_equal(out->len, 0);
	}
	if (f->fired > 0 && f->fired_slot == SLOT_WAIT && rc != E_OK) {
		assert_int_equal(
			f->under->wait(f->under, -1), 0); /* the wait was refused, no more */
		f->children--;
	}
	assert_int_equal(f->children, 0);
}

static void
test_capture_under_faults(void **state)
{
	static const int errors[] = { EIO, EINTR, ENOMEM, EMFILE };
	struct fault_os f;
	unsigned long fired = 0;

	(void)state;
	fault_os_init(&f, os_posix());
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		f.fired = 1;
		for (unsigned long n = 1; f.fired > 0; n++) {
			autoclean(buf_done) struct buf out = buf_limit(1000);
			enum ecode rc;

			fault_os_plan(&f, (struct fault_plan){ .nth = n, .error = errors[i] });
			rc = capture(&f.os, "echo text", &out, NULL);
			check_capture(&f, rc, &out);
			fired += f.fired;
		}
	}
	assert_true(fired > 10);
	fault_os_done(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_refuses),
		cmocka_unit_test(test_split_refuses_too_many_words),
		cmocka_unit_test(test_capture_appends_what_is_printed),
		cmocka_unit_test(test_capture_tells_failures_apart),
		cmocka_unit_test(test_capture_stops_a_child_that_says_too_much),
		cmocka_unit_test(test_capture_under_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
