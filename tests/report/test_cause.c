/* Causes: what an errno means to a person, whether trying again can help, and that every sentence says what to do (DF-32, DF-35). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/cause.h"

static void
test_errno_map(void **state)
{
	static const struct {
		enum ecode code;
		int sys;
		const char *name;
		bool can_retry;
	} rows[] = {
		{ E_OK, 0, "none", false },
		{ E_SRC_DENIED, EACCES, "permission", true },
		{ E_SRC_DENIED, EPERM, "permission", true },
		{ E_SRC_DENIED, 0, "permission", true },
		{ E_SRC_MISSING, ENOENT, "not_found", false },
		{ E_SRC_VANISHED, ENOENT, "vanished", false },
		{ E_IO, ENOENT, "not_found", false },
		{ E_IO, ENOSPC, "disk_full", true },
		{ E_IO, EDQUOT, "disk_full", true },
		{ E_IO_SPACE, 0, "disk_full", true },
		{ E_STORE_SPACE, ENOSPC, "disk_full", true },
		{ E_DEST_SPACE, 0, "disk_full", true },
		{ E_IO, EROFS, "read_only", false },
		{ E_STORE_RDONLY, EACCES, "read_only", false },
		{ E_SRC_BUSY, EBUSY, "busy", true },
		{ E_SRC_BUSY, ETXTBSY, "busy", true },
		{ E_SRC_BUSY, EAGAIN, "locked", true },
		{ E_SRC_IO, EAGAIN, "temp_failure", true },
		{ E_SRC_IO, ETIMEDOUT, "timeout", true },
		{ E_IO, EEXIST, "already_exists", false },
		{ E_SRC_IO, ENAMETOOLONG, "invalid_path", false },
		{ E_SRC_IO, ENOTDIR, "invalid_path", false },
		{ E_SRC_IO, EISDIR, "invalid_path", false },
		{ E_SRC_IO, ELOOP, "symlink_loop", false },
		{ E_SRC_CHANGED, ELOOP, "changed", true },
		{ E_SRC_CHANGED, 0, "changed", true },
		{ E_SRC_IO, ESTALE, "changed", true },
		{ E_SRC_IO, EIO, "io_error", false },
		{ E_SRC_DESCRIPTORS, EMFILE, "too_many_files", false },
		{ E_SRC_DESCRIPTORS, ENFILE, "too_many_files", false },
		{ E_SRC_IO, EPROTO, "unknown", false },
		{ E_SRC_IO, 0, "unknown", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum cause cause = cause_of(rows[i].code, rows[i].sys);

		assert_string_equal(cause_name(cause), rows[i].name);
		assert_int_equal(cause_can_retry(cause), rows[i].can_retry);
	}
}

static void
test_names_come_back(void **state)
{
	enum cause got = CAUSE_NONE;

	(void)state;
	for (unsigned i = 0; i < CAUSE_COUNT; i++) {
		const char *name = cause_name((enum cause)i);

		assert_true(cause_from_name(
			(struct slice){ (const uint8_t *)name, strlen(name) }, &got));
		assert_int_equal(got, i);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(cause_name((enum cause)k), name);
	}
	assert_false(cause_from_name((struct slice){ (const uint8_t *)"permissio", 9 }, &got));
	assert_false(cause_from_name((struct slice){ (const uint8_t *)"", 0 }, &got));
}

static const char *
sentence(enum cause cause, const struct cause_facts *facts, struct buf *out)
{
	struct err e;

	buf_clear(out);
	assert_int_equal(cause_sentence(cause, facts, out, &e), E_OK);
	assert_int_equal(buf_add_byte(out, 0, &e), E_OK);
	return (const char *)out->p;
}

/* A name of errno, or its number, is no advice. */
static void
test_sentences_are_advice(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(4096);

	(void)state;
	for (unsigned i = CAUSE_PERMISSION; i < CAUSE_COUNT; i++) {
		const char *text = sentence((enum cause)i, NULL, &out);

		assert_true(strlen(text) > 30);
		assert_null(strchr(text, '\n'));
		assert_null(strstr(text, "errno"));
		assert_true(strstr(text, ". ") != NULL || strstr(text, ": ") != NULL);
		assert_true(strlen(cause_short((enum cause)i)) > 3);
	}
	assert_non_null(strstr(sentence(CAUSE_PERMISSION, NULL, &out), "sudo"));
	assert_non_null(strstr(sentence(CAUSE_PERMISSION, NULL, &out), "--exclude"));
	assert_non_null(strstr(sentence(CAUSE_NOT_FOUND, NULL, &out), "deleted"));
}

static void
test_disk_full_names_the_bytes(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(4096);
	struct cause_facts facts = { .has_space = true, .need_bytes = 7000, .free_bytes = 42 };
	const char *text = sentence(CAUSE_DISK_FULL, &facts, &out);

	(void)state;
	assert_non_null(strstr(text, "7000 bytes are needed and 42 are free"));
	assert_non_null(strstr(text, "Free some space"));
	assert_non_null(strstr(text, "larger place"));
	assert_null(strstr(sentence(CAUSE_IO_ERROR, &facts, &out), "7000"));
	facts = (struct cause_facts){ .detail = "open x" };
	assert_ptr_equal(strstr(sentence(CAUSE_UNKNOWN, &facts, &out), "open x: "), out.p);
}

/* No room for the text is a refusal, not a cut sentence. */
static void
test_no_room(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(8);
	struct err e;

	(void)state;
	assert_int_equal(cause_sentence(CAUSE_BUSY, NULL, &out, &e), E_LIMIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errno_map),
		cmocka_unit_test(test_names_come_back),
		cmocka_unit_test(test_sentences_are_advice),
		cmocka_unit_test(test_disk_full_names_the_bytes),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
