/*
 * `verify` and `drill` where every kernel call and every store call may be
 * refused, cut short or falsified.  Neither may call good what was not seen, nor
 * bad what only could not be read; both leave alone what they look at.
 */
#include "support/harmed.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "engine/drill.h"
#include "engine/verify.h"

/* Calls of one run, with room: reaching it means that a loop does not end. */
#define CALLS_MAX 20000
#define FILES     5

static struct fix f;
static struct fault_os faults;
static char tmp[300], state[300], reports[300];
static unsigned long runs, refused, survived;

struct seen { /* of one run */
	enum ecode rc;
	bool fired;
	struct verify_result v;
	struct drill_result d;
};

static int
setup(void **unused)
{
	static uint8_t big[70000];
	static const struct xattr note = { { (const uint8_t *)"user.note", 9 },
		{ (const uint8_t *)"v", 1 } };
	struct node inner[2], nodes[5];
	struct id x[2], sub;
	struct session s;
	struct maker m;

	(void)unused;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_path(&f, "tmp", tmp, sizeof(tmp));
	fix_path(&f, "state", state, sizeof(state));
	fix_path(&f, "reports", reports, sizeof(reports));
	assert_int_equal(mkdir(tmp, 0755), 0);
	fix_make(&f, &s, &m);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 2654435761U >> 9);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_file("small", &x[1], 1, 5);
	inner[1].xattrs = &note;
	inner[1].xattr_count = 1;
	sub = maker_tree(&m, inner, 2);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_symlink("link", "dir");
	nodes[2] = node_file("parts", x, 2, sizeof(big) + 5);
	nodes[3] = node_file("twin-a", &x[1], 1, 5);
	nodes[4] = node_file("twin-b", &x[1], 1, 5);
	nodes[3].inode = nodes[4].inode = 5;
	nodes[3].links = nodes[4].links = 2;
	fix_made(&s, &m, nodes, 5);
	expect_rc(&f, fix_restore(&f), E_OK);
	return 0;
}

/* Whatever an earlier one left. */
static int
each(void **unused)
{
	(void)unused;
	remove_tree(tmp);
	assert_int_equal(mkdir(tmp, 0755), 0);
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	fix_end(&f);
	return 0;
}

/* ---- one run ---- */

static void
verify_once(struct session *s, const char *against, struct seen *out)
{
	const struct verify_args args = { .snapshot = "latest",
		.level = MATCH_HASHES,
		.run_id = "20261121T000000Z-0000000a",
		.against = against,
		.reports = reports };

	out->rc = verify_run(s, &args, &out->v, &f.e);
}

static void
drill_once(struct session *s, struct seen *out)
{
	static unsigned long number;
	char run[32];
	const struct drill_args args = { .snapshot = "latest",
		.parent = tmp,
		.run_id = run,
		.state_dir = state,
		.kind = DRILL_FULL };

	(void)snprintf(run, sizeof(run), "20261121T000000Z-%08lx", ++number);
	out->rc = drill_run(s, &args, &out->d, &f.e);
}

enum what {
	VERIFY_VAULT,
	VERIFY_AGAINST,
	DRILL
};

static void
run(enum what what, const struct fault_plan *kernel, const struct fault_store_plan *vault,
	unsigned threads, struct seen *out)
{
	struct harmed h;

	memset(out, 0, sizeof(*out));
	harmed_open(&h, &f, &faults, kernel, vault, threads);
	if (what == DRILL)
		drill_once(&h.s, out);
	else
		verify_once(&h.s, what == VERIFY_VAULT ? NULL : f.dest, out);
	out->fired = harmed_close(&h);
}

/* ---- judging ---- */

/* The report of this name; false when there is none. */
static bool
read_report(const char *name, char *text, size_t size)
{
	char path[400];
	ssize_t got;
	int fd;

	assert_true(snprintf(path, sizeof(path), "%s/%s", reports, name) < (int)sizeof(path));
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	assert_int_equal(close(fd), 0);
	assert_in_range(got, 0, size - 2);
	text[got] = '\0';
	return true;
}

/* It is whole, or it was told that it is not. */
static void
judge_report(const struct seen *seen)
{
	char text[8192];
	bool good, told = seen->rc == E_REPORT_WRITE || seen->rc == E_IO_SPACE;

	for (unsigned i = 0; i < f.e.notes; i++)
		told |= strstr(f.e.note[i], "the reports could not be finished") != NULL;
	if (!read_report("verify_report.json", text, sizeof(text)) || told)
		return;
	good = strstr(text, "\"result\":\"ok\"") != NULL;
	assert_true(text[strlen(text) - 1] == '\n' && strchr(text, '{') == text);
	assert_true(good || strstr(text, "\"result\":\"failed\"") != NULL ||
		    strstr(text, "\"result\":\"incomplete\"") != NULL);
	assert_int_equal(good, seen->rc == E_OK);
}

/* Says that data is missing or wrong. */
static bool
accuses(const struct match_counts *c)
{
	return c->status[MATCH_MISSING] + c->status[MATCH_SIZE] + c->status[MATCH_HASH] +
		       c->status[MATCH_EXTRA] >
	       0;
}

/* `honest`: what was read was what is there, so nothing may be called missing or wrong. */
static void
judge_verify(const struct seen *seen, bool honest)
{
	if (seen->rc == E_OK) {
		assert_int_equal(seen->v.files_ok, FILES);
		assert_int_equal(seen->v.failed, 0);
		assert_true(exists(reports));
	}
	if (seen->rc == E_VERIFY_FAILED || seen->rc == E_VERIFY_DIFFERS)
		assert_true(seen->v.failed > 0);
	if (honest)
		assert_false(accuses(&seen->v.counts));
	judge_report(seen);
}

/* Evidence, or a directory that could not be removed, is named; else nothing is left. */
static void
judge_drill(struct seen *seen, bool honest)
{
	const struct drill_record *r = &seen->d.record;

	if (honest && r->verdict == DRILL_FAIL)
		print_message(
			"# %s; %s %s\n", r->why, f.h.last_path, fault_slot_name(faults.fired_slot));
	if (seen->rc == E_OK) {
		assert_int_equal(r->verdict, DRILL_PASS);
		assert_true(seen->d.control);
		assert_int_equal(seen->d.counts.files, FILES);
		assert_int_equal(seen->d.counts.hashed_files, FILES);
	}
	if (seen->rc != E_OK && seen->rc != E_REPORT_WRITE && seen->rc != E_IO_SPACE)
		assert_int_not_equal(r->verdict, DRILL_PASS);
	if (seen->rc == E_DRILL_FAILED)
		assert_int_equal(r->verdict, DRILL_FAIL);
	if (honest)
		assert_int_not_equal(r->verdict, DRILL_FAIL);
	if (seen->d.kept != NULL)
		assert_true(exists(seen->d.kept));
	else
		assert_int_equal(tree_entries(tmp), 0);
	drill_result_done(&seen->d);
	(void)each(NULL);
}

static bool
judge(enum what what, struct seen *seen, bool honest)
{
	runs++;
	refused += seen->rc != E_OK;
	survived += seen->rc == E_OK && seen->fired;
	if (!seen->fired)
		expect_rc(&f, seen->rc, E_OK);
	if (what == DRILL)
		judge_drill(seen, honest);
	else
		judge_verify(seen, honest);
	return seen->fired;
}

/* What is only looked at. */
static uint64_t
census(enum what what)
{
	return what == DRILL ? tree_digest(f.dest) : tree_digest(f.dest) ^ tree_digest(f.vault);
}

static void
begin(void)
{
	runs = refused = survived = 0;
}

static void
end(const char *what, unsigned long at_least)
{
	print_message("# %s: %lu runs, %lu refused, %lu survived\n", what, runs, refused, survived);
	assert_in_range(refused, at_least / fault_stride(), CALLS_MAX);
}

/* ---- the kernel ---- */

static void
every_call(enum what what, struct fault_plan plan, unsigned threads)
{
	uint64_t before = census(what);
	struct seen seen;
	bool fired = true;

	for (plan.nth = 1; fired && plan.nth < CALLS_MAX; plan.nth += fault_stride()) {
		remove_tree(reports);
		run(what, &plan, NULL, threads, &seen);
		if (plan.mode != FAULT_REFUSE)
			expect_rc(&f, seen.rc, E_OK);
		fired = judge(what, &seen, true);
		assert_true(census(what) == before);
	}
	assert_in_range(plan.nth, 2, CALLS_MAX - 1);
}

static void
every_error(enum what what)
{
	static const int errors[] = { EIO, EACCES, ENOMEM, EMFILE, ENOSPC };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		every_call(what, (struct fault_plan){ .error = errors[i] }, 0);
	every_call(what, (struct fault_plan){ .error = EIO, .forever = true }, 0);
	every_call(what, (struct fault_plan){ .error = EINTR }, 0);
	every_call(what, (struct fault_plan){ .mode = FAULT_SHORT_ONE }, 0);
	every_call(what, (struct fault_plan){ .mode = FAULT_SHORT_HALF, .forever = true }, 0);
}

static void
test_every_kernel_call_of_a_verification(void **unused)
{
	(void)unused;
	begin();
	every_error(VERIFY_VAULT);
	end("the vault alone", 50);
	begin();
	every_error(VERIFY_AGAINST);
	end("against a directory", 200);
}

static void
test_every_kernel_call_of_a_drill(void **unused)
{
	static const int errors[] = { EIO, ENOSPC, EACCES };

	(void)unused;
	begin();
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		every_call(DRILL, (struct fault_plan){ .error = errors[i] }, 0);
	end("a drill", 300);
}

/* Without threads the n-th call is always the same one; with them it is one of the same calls, made by anybody. */
static void
test_every_kernel_call_of_workers(void **unused)
{
	static const int errors[] = { EIO, ENOMEM, EMFILE };

	(void)unused;
	begin();
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		every_call(VERIFY_AGAINST, (struct fault_plan){ .error = errors[i] }, 2);
	every_call(VERIFY_AGAINST, (struct fault_plan){ .error = EIO, .forever = true }, 2);
	every_call(VERIFY_AGAINST, (struct fault_plan){ .mode = FAULT_SHORT_ONE }, 2);
	end("against a directory, two threads", 100);
	begin();
	every_call(DRILL, (struct fault_plan){ .error = EIO }, 2);
	end("a drill, two threads", 100);
}

/* ---- the store ---- */

static bool
is_honest(const struct fault_store_plan *p)
{
	return p->code != E_STORE_ABSENT && p->mode != STORE_CUT && p->mode != STORE_FLIP;
}

static void
every_store_call(enum what what, struct fault_store_plan plan, unsigned threads)
{
	uint64_t before = census(what);
	struct seen seen;
	bool fired = true;

	for (plan.nth = 1; fired && plan.nth < CALLS_MAX; plan.nth++) {
		remove_tree(reports);
		run(what, NULL, &plan, threads, &seen);
		fired = judge(what, &seen, is_honest(&plan));
		assert_true(census(what) == before);
	}
	assert_in_range(plan.nth, 2, CALLS_MAX - 1);
}

static void
every_mode(enum what what)
{
	static const enum fault_store_mode modes[] = { STORE_REFUSE, STORE_CUT, STORE_CUT_LIST,
		STORE_FLIP };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		for (unsigned threads = 0; threads <= 2; threads += 2) {
			struct fault_store_plan plan = { .mode = modes[i], .code = E_STORE_READ };

			every_store_call(what, plan, threads);
			plan.forever = true;
			every_store_call(what, plan, threads);
		}
	}
}

static void
test_every_store_call_of_a_verification(void **unused)
{
	(void)unused;
	begin();
	every_mode(VERIFY_VAULT);
	end("the vault alone, store", 20);
	begin();
	every_mode(VERIFY_AGAINST);
	end("against a directory, store", 20);
}

static void
test_every_store_call_of_a_drill(void **unused)
{
	struct seen seen;

	(void)unused;
	begin();
	every_mode(DRILL);
	every_store_call(DRILL,
		(struct fault_store_plan){ .mode = STORE_LOSE_ACK, .code = E_STORE_WRITE }, 0);
	every_store_call(DRILL,
		(struct fault_store_plan){ .mode = STORE_REFUSE, .code = E_STORE_ABSENT }, 0);
	end("a drill, store", 20);
	run(DRILL, NULL, NULL, 0, &seen); /* and nobody had to tidy up */
	assert_false(judge(DRILL, &seen, true));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_every_kernel_call_of_a_verification, each),
		cmocka_unit_test_setup(test_every_kernel_call_of_a_drill, each),
		cmocka_unit_test_setup(test_every_kernel_call_of_workers, each),
		cmocka_unit_test_setup(test_every_store_call_of_a_verification, each),
		cmocka_unit_test_setup(test_every_store_call_of_a_drill, each),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
