/*
 * Interruption and suspension: at every question whether to stop, in every
 * phase, the answer yes ends the run with nothing false left; and a machine
 * that slept too long never publishes under a lock that others removed
 * (IX-25, R6, R13).
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/check.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/make_vault.h"
#include "support/tmpdir.h"

#define QUESTIONS_MAX 5000 /* reaching it means that a loop does not end */
#define PHASES        (PHASE_DONE + 1)
#define TWO_HOURS_NS  (UINT64_C(7200) * 1000000000)

struct place {
	char dir[TMPDIR_PATH_MAX], vault[300], src[300];
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	char path[400], text[4000];

	assert_non_null(p);
	tmpdir_make(p->dir);
	(void)snprintf(p->vault, sizeof(p->vault), "%.250s/vault", p->dir);
	(void)snprintf(p->src, sizeof(p->src), "%.250s/src", p->dir);
	make_vault(os_posix(), p->vault, 2);
	assert_int_equal(mkdir(p->src, 0755), 0);
	for (unsigned d = 0; d < 5; d++) {
		(void)snprintf(path, sizeof(path), "%s/%u", p->src, d);
		assert_int_equal(mkdir(path, 0755), 0);
		for (unsigned i = 0; i < 5; i++) {
			memset(text, (int)('a' + d * 5 + i), sizeof(text));
			(void)snprintf(path, sizeof(path), "%s/%u/file %u", p->src, d, i);
			write_file(path, text, sizeof(text));
		}
	}
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	tmpdir_remove(p->dir);
	free(p);
	return 0;
}

static unsigned
count_in(const struct place *p, const char *dir)
{
	char path[400];
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%s", p->vault, dir);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
		n += strlen(entry->d_name) == 64;
	assert_int_equal(closedir(d), 0);
	return n;
}

/* ---- a listener that answers yes, or does something else, at the n-th question ---- */

struct asked {
	struct heard heard;
	const struct place *place;
	struct fault_os *os;
	long at;
	_Atomic long n;
	bool sleeps, robbed; /* instead of stopping: the machine sleeps; meanwhile its lock goes */
	_Atomic bool fired;
	_Atomic int phase; /* when it fired */
};

static void
remove_locks(const struct place *p)
{
	char command[400];

	(void)snprintf(command, sizeof(command), "rm -f '%s'/locks/*", p->vault);
	assert_int_equal(system(command), 0);
}

static bool
answer(void *arg)
{
	struct asked *a = arg;
	bool now = a->n++ == a->at;

	if (now) {
		a->fired = true;
		a->phase = a->heard.progress.phase;
	}
	if (now && a->sleeps)
		a->os->boot_ns += TWO_HOURS_NS;
	if (now && a->robbed)
		remove_locks(a->place);
	return a->fired && !a->sleeps;
}

static void
hear_asked_problem(void *arg, const struct problem *p)
{
	(void)arg;
	(void)p;
}

static void
hear_asked_note(void *arg, const char *event, const char *text)
{
	(void)arg;
	(void)event;
	(void)text;
}

static void
asked_init(struct asked *a, const struct place *p, long at)
{
	memset(a, 0, sizeof(*a));
	a->place = p;
	a->at = at;
	a->heard.listener = (struct listener){ .arg = a,
		.progress = &a->heard.progress,
		.problem = hear_asked_problem,
		.note = hear_asked_note,
		.stop = answer };
}

/* ---- runs ---- */

typedef enum ecode (*verb)(struct session *s, const struct place *p, struct err *e);

static enum ecode
run_backup(struct session *s, const struct place *p, struct err *e)
{
	const char *target = p->src;
	struct backup_args args = { .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.program_version = "test" };
	struct backup_result r;
	enum ecode rc = backup_run(s, &args, &r, e);

	assert_int_equal(r.snapshot_made, rc == E_OK);
	return rc;
}

static void
keep_nothing(void *arg, const struct check_finding *finding)
{
	(void)arg;
	(void)finding;
}

static enum ecode
run_check(struct session *s, const struct place *p, struct err *e)
{
	struct check_args args = { .read = CHECK_READ_ALL };
	struct check_result r;

	(void)p;
	return check_run(s, &args, keep_nothing, NULL, &r, e);
}

static enum ecode
run(const struct place *p, struct asked *a, verb work, enum session_lock lock, unsigned threads,
	struct err *e)
{
	struct fault_os f;
	struct session_args args = {
		.os = &f.os,
		.location = p->vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = lock,
		.threads = threads,
		.listener = &a->heard.listener,
	};
	struct session s;
	enum ecode rc, closed;
	struct err late;

	fault_os_init(&f, os_posix());
	f.real_random = true;
	a->os = &f;
	rc = session_open(&s, &args, e);
	if (rc == E_OK) {
		rc = work(&s, p, e);
		closed = session_close(&s, &late);
		assert_int_equal(closed, E_OK);
	}
	assert_int_equal(f.open_fds, 0);
	fault_os_done(&f);
	return rc;
}

static unsigned
stop_everywhere(const struct place *p, verb work, enum session_lock lock, unsigned threads,
	unsigned phases[static PHASES])
{
	unsigned before = count_in(p, "snapshots"), stops = 0;

	for (long n = 0; n < QUESTIONS_MAX; n++) {
		struct asked a;
		struct err e = { .code = E_OK };
		enum ecode rc;

		asked_init(&a, p, n);
		rc = run(p, &a, work, lock, threads, &e);
		assert_int_equal(count_in(p, "locks"), 0);
		if (rc == E_OK)
			break; /* with threads the number of questions is not always the same */
		if (!a.fired || err_row(rc)->class != CLASS_INTERRUPTED)
			fail_msg("question %ld: %s, %s", n, err_row(rc)->name, e.detail);
		assert_int_equal(count_in(p, "snapshots"), before);
		phases[a.phase]++;
		stops++;
	}
	return stops;
}

static void
a_backup_may_be_stopped_anywhere(void **state)
{
	struct place *p = *state;

	for (unsigned threads = 0; threads <= 2; threads += 2) {
		unsigned phases[PHASES] = { 0 }, stops;

		/* something for the index to load */
		if (threads == 0) {
			struct asked a;
			char path[400];
			struct err e;

			asked_init(&a, p, -1);
			assert_int_equal(run(p, &a, run_backup, SESSION_SHARED, 0, &e), E_OK);
			(void)snprintf(path, sizeof(path), "%s/0/new", p->src);
			write_file(path, "new content", 11);
		}
		stops = stop_everywhere(p, run_backup, SESSION_SHARED, threads, phases);
		assert_true(stops > 5);
		assert_true(phases[PHASE_START] > 0);
		assert_true(phases[PHASE_INDEX] > 0);
		assert_true(phases[PHASE_WORK] > 0);
		if (threads == 0) /* with two threads all may be stored by then */
			assert_true(phases[PHASE_COMMIT] > 0);
		(void)fprintf(
			stderr, "# backup, %u threads: stopped at %u questions\n", threads, stops);
	}
	assert_int_equal(count_in(p, "snapshots"), 3);
}

static void
a_check_may_be_stopped_anywhere(void **state)
{
	unsigned phases[PHASES] = { 0 };
	struct place *p = *state;
	struct asked a;
	struct err e;

	asked_init(&a, p, -1);
	assert_int_equal(run(p, &a, run_backup, SESSION_SHARED, 0, &e), E_OK);
	assert_true(stop_everywhere(p, run_check, SESSION_EXCLUSIVE, 0, phases) > 5);
	assert_true(phases[PHASE_START] > 0);
	assert_true(phases[PHASE_INDEX] > 0);
	assert_true(phases[PHASE_SCAN] > 0);
	assert_true(phases[PHASE_VERIFY] > 0);
	memset(phases, 0, sizeof(phases));
	assert_true(stop_everywhere(p, run_check, SESSION_EXCLUSIVE, 2, phases) > 5);
}

/* Suspended for two hours at every point; somebody's `unlock` took the lock for dead meanwhile. */
static void
nothing_is_published_under_a_lost_lock(void **state)
{
	struct place *p = *state;
	unsigned lost = 0;

	for (long n = 0; n < QUESTIONS_MAX; n++) {
		struct asked a;
		struct err e = { .code = E_OK };
		enum ecode rc;

		asked_init(&a, p, n);
		a.sleeps = a.robbed = true;
		rc = run(p, &a, run_backup, SESSION_SHARED, 0, &e);
		if (!a.fired) {
			assert_int_equal(rc, E_OK);
			break;
		}
		if (a.phase == PHASE_START && rc == E_OK)
			continue; /* before the lock was taken */
		if (rc != E_LOCK_LOST)
			fail_msg("question %ld: %s, %s", n, err_row(rc)->name, e.detail);
		assert_int_equal(count_in(p, "locks"), 0);
		lost++;
	}
	assert_true(lost > 5);
	(void)fprintf(stderr, "# %u times suspended and robbed\n", lost);
}

static void
a_long_sleep_alone_loses_nothing(void **state)
{
	struct place *p = *state;
	unsigned slept = 0;

	for (long n = 0; n < QUESTIONS_MAX; n++) {
		struct asked a;
		struct err e = { .code = E_OK };

		asked_init(&a, p, n);
		a.sleeps = true;
		assert_int_equal(run(p, &a, run_backup, SESSION_SHARED, 0, &e), E_OK);
		assert_int_equal(count_in(p, "locks"), 0);
		if (!a.fired)
			break;
		slept++;
	}
	assert_true(slept > 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_backup_may_be_stopped_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(a_check_may_be_stopped_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(
			nothing_is_published_under_a_lost_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_sleep_alone_loses_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
