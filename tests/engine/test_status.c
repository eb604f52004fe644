/* Which runs are somebody's concern (D-8): kinds, what makes up for what, and that a beginning run is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/status.h"

#define RUNS_MAX 4

static const struct run_info killed = { .mode = "backup",
	.vault = "/v",
	.source = "/home",
	.started = "2026-01-01T00:00:00Z",
	.status = "unfinished",
	.life = RUN_DEAD };
static const struct run_info saved = { .mode = "backup",
	.vault = "/v",
	.source = "/home",
	.status = "success",
	.life = RUN_ENDED };
static const struct run_info tampered = { .mode = "check",
	.vault = "/v",
	.status = "failure",
	.severity = "SEV-1",
	.life = RUN_ENDED };

/* newest first */
static void
expect(const struct run_info *runs, size_t n, const enum run_concern *wanted)
{
	enum run_concern got[RUNS_MAX];

	status_judge(runs, n, got);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got[i], wanted[i]);
}

static void
test_a_killed_run_until_its_kind_succeeds(void **state)
{
	struct run_info runs[2] = { saved, killed };

	(void)state;
	expect(&killed, 1, (enum run_concern[]){ CONCERN_DEAD });
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_NONE });
	runs[0].status = "partial";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_NONE });
	runs[0].status = "dry-run";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
	runs[0].status = "skipped";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
	runs[0] = killed; /* an older success made up for nothing */
	runs[1] = saved;
	expect(runs, 2, (enum run_concern[]){ CONCERN_DEAD, CONCERN_NONE });
}

static void
test_kinds_are_told_apart(void **state)
{
	struct run_info runs[2] = { saved, killed };

	(void)state;
	runs[0].source = "/srv";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
	runs[0] = saved;
	runs[0].vault = "/other";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
	runs[0].repo_id = "aa"; /* the same vault by its id, wherever it stands now */
	runs[1].repo_id = "aa";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_NONE });
	runs[1].repo_id = "bb";
	runs[1].vault = "/other";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
	runs[0].mode = "check";
	expect(runs, 2, (enum run_concern[]){ CONCERN_NONE, CONCERN_DEAD });
}

static void
test_incidents(void **state)
{
	struct run_info fine = tampered, runs[3] = { tampered, tampered, tampered };

	(void)state;
	fine.severity = NULL;
	fine.status = "success";
	expect(runs, 3, (enum run_concern[]){ CONCERN_INCIDENT, CONCERN_NONE, CONCERN_NONE });
	runs[0] = fine;
	expect(runs, 3, (enum run_concern[]){ CONCERN_NONE, CONCERN_NONE, CONCERN_NONE });
	runs[0].status = "partial"; /* an incident is not over by choice */
	expect(runs, 3, (enum run_concern[]){ CONCERN_NONE, CONCERN_INCIDENT, CONCERN_NONE });
	runs[0] = fine;
	runs[0].mode = "backup"; /* another command proves nothing about this one */
	expect(runs, 3, (enum run_concern[]){ CONCERN_NONE, CONCERN_INCIDENT, CONCERN_NONE });
	runs[0] = tampered;
	runs[0].severity = "SEV-2";
	expect(runs, 1, (enum run_concern[]){ CONCERN_NONE });
}

static void
test_live_and_uncertain(void **state)
{
	struct run_info run = killed;

	(void)state;
	run.life = RUN_LIVE;
	expect(&run, 1, (enum run_concern[]){ CONCERN_LIVE });
	run.life = RUN_UNKNOWN;
	expect(&run, 1, (enum run_concern[]){ CONCERN_DEAD });
	assert_non_null(strstr(status_step(&run), "Look for its process first"));
	run.started = NULL; /* no first line: just beginning */
	expect(&run, 1, (enum run_concern[]){ CONCERN_NONE });
	assert_non_null(strstr(status_step(&killed), "what was stored is used"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_killed_run_until_its_kind_succeeds),
		cmocka_unit_test(test_kinds_are_told_apart),
		cmocka_unit_test(test_incidents),
		cmocka_unit_test(test_live_and_uncertain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
