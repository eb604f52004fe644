/* What a person and a program see while the work goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "cli/progress.h"

static const struct pace half = { .phase = PHASE_WORK,
	.totals_final = true,
	.elapsed_s = 62,
	.done_items = 120,
	.total_items = 300,
	.done_bytes = 1 << 20,
	.total_bytes = 2 << 20,
	.problems = 1 };

static void
test_line_after_the_scan(void **state)
{
	char out[PACE_TEXT_MAX];

	(void)state;
	assert_string_equal(pace_text(TICKER_BACKUP, &half, out),
		"[2/3] working  1:02  50.0%  ETA 1:02  1 problem  120/300 items  1.0 MiB/2.0 MiB  1/s  16.5 KiB/s");
}

static void
test_no_eta_before_the_end_of_the_scan(void **state)
{
	struct pace p = half;
	char out[PACE_TEXT_MAX];

	(void)state;
	p.totals_final = false;
	p.problems = 2;
	(void)pace_text(TICKER_BACKUP, &p, out);
	assert_null(strstr(out, "ETA"));
	assert_null(strstr(out, "%"));
	assert_null(strstr(out, "120/"));
	assert_non_null(strstr(out, "2 problems"));
}

static void
test_phases(void **state)
{
	struct pace p = { .phase = PHASE_START };
	char out[PACE_TEXT_MAX];

	(void)state;
	assert_string_equal(pace_text(TICKER_OTHER, &p, out), "opening  0:00");
	p.phase = PHASE_SCAN;
	assert_string_equal(pace_text(TICKER_BACKUP, &p, out), "[2/3] scanning  0:00");
	p.phase = PHASE_VERIFY;
	assert_string_equal(pace_text(TICKER_RESTORE, &p, out), "[4/5] verifying  0:00");
}

/* DF-24: of how many is said only where it is known. */
static void
test_verifying_is_counted(void **state)
{
	struct pace p = { .phase = PHASE_VERIFY, .done_items = 23 };
	const char *first = "[4/5] Verifying... (23)  0:00";
	char out[PACE_TEXT_MAX];

	(void)state;
	assert_int_equal(strncmp(pace_text(TICKER_RESTORE, &p, out), first, strlen(first)), 0);
	p.total_items = 24;
	assert_int_equal(strncmp(pace_text(TICKER_RESTORE, &p, out), first, strlen(first)), 0);
	p.totals_final = true;
	first = "[4/5] Verifying... (23/24)  0:00";
	assert_int_equal(strncmp(pace_text(TICKER_RESTORE, &p, out), first, strlen(first)), 0);
	p.done_items = 25; /* more than was expected: then it was no good number */
	first = "[4/5] Verifying... (25)  0:00";
	assert_int_equal(strncmp(pace_text(TICKER_RESTORE, &p, out), first, strlen(first)), 0);
	p.phase = PHASE_WORK;
	assert_null(strstr(pace_text(TICKER_RESTORE, &p, out), "Verifying"));
}

static void
test_huge_numbers_fit(void **state)
{
	struct pace p = { .phase = PHASE_COMMIT,
		.totals_final = true,
		.elapsed_s = UINT64_MAX,
		.done_items = UINT64_MAX,
		.total_items = UINT64_MAX,
		.done_bytes = UINT64_MAX / 2,
		.total_bytes = UINT64_MAX,
		.problems = UINT64_MAX };
	char out[PACE_TEXT_MAX];

	(void)state;
	assert_true(strlen(pace_text(TICKER_BACKUP, &p, out)) < PACE_TEXT_MAX);
}

static void
test_status_of_backup(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(4096);
	struct err e;

	(void)state;
	assert_int_equal(pace_json(TICKER_BACKUP, &half, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"{\"message_type\":\"status\",\"seconds_elapsed\":62,\"seconds_remaining\":62,\"percent_done\":0.5,"
		"\"total_files\":300,\"files_done\":120,\"total_bytes\":2097152,\"bytes_done\":1048576,\"error_count\":1}\n");
}

static void
test_status_of_restore(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(4096);
	struct pace p = { .phase = PHASE_START };
	struct err e;

	(void)state;
	assert_int_equal(pace_json(TICKER_RESTORE, &p, &out, &e), E_OK);
	assert_int_equal(pace_json(TICKER_RESTORE, &half, &out, &e), E_OK);
	assert_int_equal(pace_json(TICKER_OTHER, &half, &out, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"{\"message_type\":\"status\",\"percent_done\":0}\n"
		"{\"message_type\":\"status\",\"seconds_elapsed\":62,\"percent_done\":0.5,\"total_files\":300,"
		"\"files_restored\":120,\"total_bytes\":2097152,\"bytes_restored\":1048576}\n");
}

static void
test_ticker_ends_at_once(void **state)
{
	struct progress progress = { 0 };
	struct screen screen;
	struct ticker_args args = {
		.os = os_posix(), .screen = &screen, .progress = &progress, .kind = TICKER_BACKUP
	};
	struct ticker *t = NULL;
	struct err e;
	uint64_t from_ns;

	(void)state;
	screen_init(&screen);
	screen.quiet = true;
	assert_int_equal(ticker_open(&args, &t, &e), E_OK);
	from_ns = os_posix()->monotonic_ns(os_posix());
	ticker_close(&t);
	assert_null(t);
	assert_true(os_posix()->monotonic_ns(os_posix()) - from_ns < UINT64_C(2000000000));
	ticker_close(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_after_the_scan),
		cmocka_unit_test(test_no_eta_before_the_end_of_the_scan),
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_verifying_is_counted),
		cmocka_unit_test(test_huge_numbers_fit),
		cmocka_unit_test(test_status_of_backup),
		cmocka_unit_test(test_status_of_restore),
		cmocka_unit_test(test_ticker_ends_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
