/*
 * Every kernel call of a small restore refused, once and for ever: the
 * destination is absent or complete, nothing leaks, and the same command again
 * works without tidying up first.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <unistd.h>

#include "support/fault_os.h"

/* Calls of one restore, with room; reaching it means that the loop does not end. */
#define CALLS_MAX 5000

static struct fix f;
static struct fault_os faults;
static char reference[300];
static unsigned long refused, survived; /* runs */

static int
setup(void **state)
{
	static uint8_t big[100000];
	static const struct xattr note = { { (const uint8_t *)"user.note", 9 },
		{ (const uint8_t *)"v", 1 } };
	struct session s;
	struct maker m;
	struct node inner[3], nodes[4];
	struct id x[2], sub;

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncfs */
	fix_begin(&f);
	fix_path(&f, "reference", reference, sizeof(reference));
	fix_make(&f, &s, &m);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 2654435761U >> 9);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_symlink("link", "nowhere");
	inner[2] = node_file("small", &x[1], 1, 5);
	inner[2].xattrs = &note;
	inner[2].xattr_count = 1;
	sub = maker_tree(&m, inner, 3);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_file("parts", x, 2, sizeof(big) + 5);
	nodes[2] = node_file("twin-a", &x[1], 1, 5);
	nodes[3] = node_file("twin-b", &x[1], 1, 5);
	nodes[2].inode = nodes[3].inode = 5;
	nodes[2].links = nodes[3].links = 2;
	fix_made(&s, &m, nodes, 4);
	f.args.dest = reference;
	expect_rc(&f, fix_restore(&f), E_OK);
	f.args.dest = f.dest;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	print_message("# %lu runs refused, %lu survived\n", refused, survived);
	fix_end(&f);
	return 0;
}

static void
expect_complete(void)
{
	char why[512];

	if (!trees_equal(reference, f.dest, COMPARE_ALL, why, sizeof(why)))
		fail_msg("%s", why);
}

/* One restore with the session opened unharmed and the plan in force from then on. */
static enum ecode
run(const char *id, struct fault_plan plan)
{
	struct session s;
	enum ecode rc;

	restore_result_done(&f.result);
	heard_init(&f.h);
	f.args.run_id = id;
	fault_os_init(&faults, os_posix());
	faults.real_random = true;
	open_session(&s, &faults.os, f.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f.h);
	fault_os_plan(&faults, plan);
	rc = restore_run(&s, &f.args, &f.result, &f.e);
	unsigned long fired = faults.fired;

	fault_os_plan(&faults, (struct fault_plan){ 0 });
	session_abandon(&s);
	faults.fired = fired;
	return rc;
}

static void
judge(enum ecode rc)
{
	if (rc == E_OK && f.result.metadata_problems == 0) {
		survived += faults.fired > 0;
		expect_complete();
	} else if (rc == E_OK) {
		survived++;
		assert_int_equal(f.h.problems, f.result.metadata_problems);
		assert_int_equal(tree_entries(f.dest), tree_entries(reference));
	} else if (f.result.promoted) {
		refused++;
		assert_int_equal(rc, E_IO_UNSURE);
		expect_complete();
	} else {
		refused++;
		assert_false(exists(f.dest));
		assert_true(faults.fired > 0);
		if (f.result.stage != NULL)
			assert_true(exists(f.result.stage));
	}
	if (faults.open_fds != 0)
		fault_os_print_log(&faults);
	assert_int_equal(faults.open_fds, 0);
}

/* The next safe action of every refusal here is to run again; what was left behind stays where it is. */
static void
again(void)
{
	if (exists(f.dest))
		return;
	expect_rc(&f, run("again", (struct fault_plan){ 0 }), E_OK);
	expect_complete();
}

static void
loop(struct fault_plan plan)
{
	char stage[400];

	(void)snprintf(stage, sizeof(stage), "%s.holdfast_stage", f.dest);
	for (plan.nth = 1; plan.nth < CALLS_MAX; plan.nth += fault_stride()) {
		enum ecode rc = run("first", plan);
		bool fired = faults.fired > 0;

		judge(rc);
		again();
		remove_tree(f.dest);
		remove_tree(stage);
		if (!fired)
			break;
	}
	assert_in_range(plan.nth, 10, CALLS_MAX - 1);
}

static void
both(int error)
{
	loop((struct fault_plan){ .error = error });
	loop((struct fault_plan){ .error = error, .forever = true });
}

static void
test_eio(void **state)
{
	(void)state;
	both(EIO);
}

/* DF-32: what is needed and what is free, wherever the place fills up. */
static void
test_a_full_place_tells_the_bytes(void **state)
{
	bool told = false;

	(void)state;
	assert_int_equal(run("full", (struct fault_plan){ .error = ENOSPC,
					     .nth = 1,
					     .forever = true,
					     .slots = SLOT_BIT(SLOT_WRITE) |
						      SLOT_BIT(SLOT_PWRITE) }) == E_OK,
		0);
	for (unsigned i = 0; i < f.e.notes; i++)
		told |= strstr(f.e.note[i], "bytes are needed in all") != NULL &&
			strstr(f.e.note[i], "are free now") != NULL;
	assert_true(told);
	again();
	remove_tree(f.dest);
}

static void
test_enospc(void **state)
{
	(void)state;
	both(ENOSPC);
}

static void
test_eacces(void **state)
{
	(void)state;
	both(EACCES);
}

static void
test_emfile(void **state)
{
	(void)state;
	both(EMFILE);
}

static void
test_eintr(void **state)
{
	(void)state;
	loop((struct fault_plan){
		.error =
			EINTR }); /* for ever would mean: no progress, which is what a retry is for */
}

static void
test_short(void **state)
{
	(void)state;
	loop((struct fault_plan){ .mode = FAULT_SHORT_ONE });
	loop((struct fault_plan){ .mode = FAULT_SHORT_HALF, .forever = true });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eio),
		cmocka_unit_test(test_a_full_place_tells_the_bytes),
		cmocka_unit_test(test_enospc),
		cmocka_unit_test(test_eacces),
		cmocka_unit_test(test_emfile),
		cmocka_unit_test(test_eintr),
		cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
