#include "base/err.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void
test_set(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_set(&e, E_LIMIT, 5, "%d bytes of %s", 12, "x"), E_LIMIT);
	assert_int_equal(e.code, E_LIMIT);
	assert_int_equal(e.sys, 5);
	assert_string_equal(e.detail, "12 bytes of x");
	assert_int_equal(e.notes, 0);
	assert_non_null(strstr(e.file, "test_err.c"));
	assert_true(e.line > 0);
	assert_int_equal(err_set(NULL, E_NOMEM, 0, "nobody listens"), E_NOMEM);
}

static void
test_long_text_is_cut(void **state)
{
	char text[5000];
	struct err e;

	(void)state;
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)err_set(&e, E_LIMIT, 0, "%s", text);
	assert_int_equal(strlen(e.detail), ERR_DETAIL_BYTES - 1);
	err_note(&e, "%s", text);
	assert_int_equal(strlen(e.note[0]), ERR_NOTE_BYTES - 1);
}

static void
test_first_notes_stay(void **state)
{
	struct err e;

	(void)state;
	(void)err_set(&e, E_LIMIT, 0, "x");
	for (unsigned i = 0; i < ERR_NOTES_MAX + 3; i++)
		err_note(&e, "note %u", i);
	assert_int_equal(e.notes, ERR_NOTES_MAX);
	assert_string_equal(e.note[0], "note 0");
	assert_string_equal(e.note[ERR_NOTES_MAX - 1], "note 5");
	assert_int_equal(e.code, E_LIMIT);
	err_note(NULL, "nobody listens");
	(void)err_set(&e, E_NOMEM, 0, "again");
	assert_int_equal(e.notes, 0);
}

/* The table: sorted, complete, calm and helpful. */
static void
test_rows(void **state)
{
	const struct err_row *rows;
	size_t n = err_rows(&rows);

	(void)state;
	assert_true(n > 50);
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || rows[i - 1].code < rows[i].code);
		assert_ptr_equal(err_row(rows[i].code), &rows[i]);
		assert_memory_equal(rows[i].name, "E_", 2);
		assert_true(strlen(rows[i].what) > 8 && strlen(rows[i].next) > 8);
		assert_true(rows[i].what[strlen(rows[i].what) - 1] != '.');
		assert_true(rows[i].class != CLASS_SUCCESS);
		assert_string_not_equal(eclass_severity(rows[i].class), "-");
		assert_true(rows[i].class == CLASS_INTERNAL ||
			    strcmp(eclass_name(rows[i].class), "internal-error") != 0);
	}
	assert_string_equal(err_row(E_LIMIT)->name, "E_LIMIT");
	assert_int_equal(err_row((enum ecode)999999)->code, E_BUG);
}

static void
test_classes(void **state)
{
	(void)state;
	assert_string_equal(eclass_name(CLASS_SUCCESS), "success");
	assert_string_equal(eclass_severity(CLASS_SUCCESS), "-");
	assert_string_equal(eclass_name(CLASS_RESTORE_REFUSED), "restore-refused");
	assert_string_equal(eclass_severity(CLASS_TAMPER), "SEV-1");
	assert_string_equal(eclass_name((enum eclass)99), "internal-error");
}

static void
test_invariant_holds(void **state)
{
	int calls = 0;

	(void)state;
	invariant(++calls == 1); /* evaluated once, in every build */
	assert_int_equal(calls, 1);
}

static void
test_invariant_broken_aborts(void **state)
{
	char text[200] = { 0 };
	int to[2], status = 0;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(to), 0);
	child = fork();
	if (child == 0) {
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(to[1], STDERR_FILENO);
		invariant(to[0] < 0);
		_exit(0);
	}
	assert_true(child > 0);
	(void)close(to[1]);
	assert_true(read(to[0], text, sizeof(text) - 1) > 0);
	(void)close(to[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(text, "to[0] < 0"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_long_text_is_cut),
		cmocka_unit_test(test_first_notes_stay),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_invariant_holds),
		cmocka_unit_test(test_invariant_broken_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
