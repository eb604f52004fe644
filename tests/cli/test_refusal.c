/* The refusal on a terminal, to the letter, and the last line with --json. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "cli/refusal.h"

static void
test_full_text(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(REFUSAL_MAX_BYTES);
	struct refusal_place place = { .operation = "restore of 3f9c2b1e into /home/ada/project",
		.run_id = "20261121T031522Z-5e0c7a11",
		.run_dir = "/s/runs/20261121T031522Z-5e0c7a11" };
	struct err why, e;

	(void)state;
	(void)err_set(&why, E_DEST_NOT_EMPTY, 0, "the directory holds 214 entries");
	assert_int_equal(refusal_text(&why, &place, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"refused: the destination is not empty (restore-refused, SEV-1, code 5100)\n"
		"  what     restore of 3f9c2b1e into /home/ada/project\n"
		"  why      the directory holds 214 entries\n"
		"  evidence run 20261121T031522Z-5e0c7a11, journal "
		"/s/runs/20261121T031522Z-5e0c7a11/execution_journal.jsonl\n"
		"  next     1. Choose a directory that is empty or does not exist.\n");
}

static void
test_notes_and_system_reason(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(REFUSAL_MAX_BYTES);
	struct refusal_place place = { .operation = NULL };
	struct err why, e;

	(void)state;
	(void)err_set(&why, E_SEAL_MAC, EACCES, "pack\x1b[2J");
	err_note(&why, "first");
	err_note(&why, "second");
	assert_int_equal(refusal_text(&why, &place, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"refused: a sealed record does not authenticate (tamper, SEV-1, code 2001)\n"
		"  why      pack\\x1b[2J: Permission denied (EACCES)\n"
		"  evidence first\n"
		"           second\n"
		"  next     1. Stop writing to this vault.\n"
		"           2. Run: holdfast check --read-data\n");
}

static void
test_usage_points_to_help(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(REFUSAL_MAX_BYTES);
	struct refusal_place place = { .help = "holdfast help ls" };
	struct err why, e;

	(void)state;
	(void)err_set(&why, E_USAGE, 0, "ls needs: SNAPSHOT");
	assert_int_equal(refusal_text(&why, &place, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_non_null(strstr(
		(const char *)out.p, "  next     1. Examples and flags:  holdfast help ls\n"));
}

static void
test_first_words(void **state)
{
	static const struct {
		enum ecode code;
		const char *word;
	} cases[] = { { E_PARTIAL, "incomplete: " }, { E_INTERRUPTED, "interrupted: " },
		{ E_TERMINATED, "interrupted: " }, { E_BUG, "refused: " } };
	struct refusal_place place = { .operation = NULL };
	struct err why, e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autoclean(buf_done) struct buf out = buf_limit(REFUSAL_MAX_BYTES);

		(void)err_set(&why, cases[i].code, 0, "x");
		assert_int_equal(refusal_text(&why, &place, &out, &e), E_OK);
		assert_memory_equal(out.p, cases[i].word, strlen(cases[i].word));
	}
}

/* Every refusal of the table: one screen at most, and a JSON line that parses. */
static void
test_every_row(void **state)
{
	const struct err_row *rows;
	size_t n = err_rows(&rows);
	struct refusal_place place = { .operation = "x", .run_id = "r", .run_dir = "/d" };
	struct err why, e;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		autoclean(buf_done) struct buf text = buf_limit(REFUSAL_MAX_BYTES),
					       line = buf_limit(REFUSAL_MAX_BYTES);
		unsigned lines = 0;
		struct json j;

		(void)err_set(&why, rows[i].code, 0, "detail");
		assert_int_equal(refusal_text(&why, &place, &text, &e), E_OK);
		for (size_t k = 0; k < text.len; k++)
			lines += text.p[k] == '\n';
		assert_in_range(lines, 4, 24);
		assert_int_equal(refusal_line(&why, &place, &line, &e), E_OK);
		json_init(&j, line.p, line.len);
		assert_true(json_skip(&j, NULL));
		assert_true(json_end(&j));
	}
}

static void
test_json_line(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(REFUSAL_MAX_BYTES);
	struct refusal_place place = { .run_id = "r1" };
	struct err why, e;

	(void)state;
	(void)err_set(&why, E_LOCKED, 0, "by ada");
	assert_int_equal(refusal_line(&why, &place, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"{\"message_type\":\"exit_error\",\"code\":11,\"message\":\"the vault is locked by another process: by ada\","
		"\"refusal\":{\"class\":\"busy\",\"exit\":11,\"severity\":\"SEV-3\",\"code\":4560,"
		"\"what\":\"the vault is locked by another process\",\"why\":\"by ada\",\"evidence\":[\"run r1\"],"
		"\"next_steps\":[{\"text\":\"Wait for it to end, or add --retry-lock 10m.\"},"
		"{\"text\":\"If it is provably dead: holdfast unlock\",\"argv\":[\"holdfast\",\"unlock\"]}],"
		"\"run_id\":\"r1\"}}\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_text),
		cmocka_unit_test(test_notes_and_system_reason),
		cmocka_unit_test(test_usage_points_to_help),
		cmocka_unit_test(test_first_words),
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_json_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
