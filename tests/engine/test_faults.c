/*
 * Every kernel call of init, backup, check and key add refused or shortened,
 * once and for ever, in the serial twin.  Whatever is refused: no descriptor
 * leaks, what the vault held before is whole, no snapshot exists that was not
 * reported, and the same command again works without tidying up first.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/catalog.h"
#include "engine/check.h"
#include "engine/keyadmin.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/make_vault.h"
#include "support/whole_vault.h"

/* Calls of one run, with room: reaching it means that a loop does not end. */
#define CALLS_MAX 20000

static const struct kdf_params cheap = { .n = 16, .r = 1, .p = 1 };

struct fixture {
	char dir[256], vault[300], src[300], state[300];
	uint64_t checkpoint_bytes; /* 0: no state directory either */
	long stop_after;           /* questions whether to stop; 0: never */
	enum links links;
	struct id tree; /* of the source, from an unharmed run */
	struct id tree_after_edit;
	unsigned long refused, survived, runs;
};

static struct fixture f;
static struct fault_os faults;

static void
put(const char *name, const char *text)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", f.src, name);
	write_file(path, text, strlen(text));
}

static void
make_dir(const char *name)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", f.src, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* ---- running ---- */

static enum ecode
open_harmed(struct session *s, struct heard *h, enum session_lock lock, struct err *e)
{
	struct session_args args = {
		.os = &faults.os,
		.location = f.vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = lock,
		.listener = &h->listener,
	};

	heard_init(h);
	return session_open(s, &args, e);
}

static void
plan(struct fault_plan p)
{
	fault_os_init(&faults, os_posix());
	faults.real_random = true;
	faults.plan = p;
}

static enum ecode
run_backup(struct fault_plan p, struct backup_result *r, struct heard *h, struct err *e)
{
	const char *target = "src"; /* relative: the directories above are not ours */
	struct backup_args args = { .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.links = f.links,
		.checkpoint_bytes = f.checkpoint_bytes,
		.state_dir = f.checkpoint_bytes > 0 ? f.state : NULL,
		.program_version = "test" };
	struct session s;
	enum ecode rc, closed;
	struct err late;

	*r = (struct backup_result){ 0 };
	plan(p);
	rc = open_harmed(&s, h, SESSION_SHARED, e);
	if (rc != E_OK)
		return rc;
	if (f.stop_after > 0)
		h->stop_after = f.stop_after;
	rc = backup_run(&s, &args, r, e);
	closed = session_close(&s, &late);
	if (rc == E_OK && closed != E_OK) {
		*e = late;
		rc = closed;
	}
	return rc;
}

static void
no_leak(const struct err *e)
{
	if (faults.open_fds != 0 || faults.children != 0) {
		fault_os_print_log(&faults);
		fail_msg("%ld descriptors leaked after: %s", faults.open_fds, e->detail);
	}
}

/* ---- what is refused ---- */

static const struct fault_plan harms[] = {
	{ .error = EIO },
	{ .error = EIO, .forever = true },
	{ .error = ENOSPC },
	{ .error = ENOSPC, .forever = true },
	{ .error = EACCES },
	{ .error = EACCES, .forever = true },
	{ .error = EINTR },
	{ .error = EMFILE, .forever = true },
	{ .mode = FAULT_SHORT_ONE },
	{ .mode = FAULT_SHORT_HALF, .forever = true },
};
#define HARMS (sizeof(harms) / sizeof(harms[0]))

/*
 * An interrupted call and a short one are the kernel's right: nobody may
 * notice.  But an interrupted fsync says nothing about what is on the medium, and it
 * is never repeated on the same descriptor (R4); the same holds for close.  Those may refuse.
 */
static bool
must_survive(const struct fault_plan *p)
{
	return p->mode != FAULT_REFUSE || (p->error == EINTR && faults.fired_slot != SLOT_FSYNC &&
						  faults.fired_slot != SLOT_CLOSE);
}

static void
for_each_nth(struct fault_plan p, void (*one)(struct fault_plan p, unsigned long *fired))
{
	for (p.nth = 1;; p.nth += fault_stride()) {
		unsigned long fired = 0;

		one(p, &fired);
		f.runs++;
		if (fired == 0)
			break;
		assert_true(p.nth < CALLS_MAX);
	}
}

static void
for_every_call(void (*one)(struct fault_plan p, unsigned long *fired))
{
	for (size_t i = 0; i < HARMS; i++)
		for_each_nth(harms[i], one);
	print_message("# %lu runs, %lu refused, %lu survived\n", f.runs, f.refused, f.survived);
}

/* The same with four of the harms: where one run is many calls. */
static void
for_some_calls(void (*one)(struct fault_plan p, unsigned long *fired))
{
	static const struct fault_plan some[] = {
		{ .error = EIO },
		{ .error = ENOSPC, .forever = true },
		{ .error = EACCES },
		{ .mode = FAULT_SHORT_ONE },
	};

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
		for_each_nth(some[i], one);
	print_message("# %lu runs, %lu refused, %lu survived\n", f.runs, f.refused, f.survived);
}

/* ---- backup ---- */

/* May a run that reports `rc` have made its snapshot all the same? */
static bool
may_have_committed(enum ecode rc, const struct backup_result *r)
{
	return r->snapshot_made || rc == E_STORE_UNSURE || rc == E_IO_UNSURE;
}

static void
judge_backup(struct fault_plan p, enum ecode rc, const struct backup_result *r,
	const struct heard *h, uint64_t before, const struct id *tree, const struct err *e)
{
	uint64_t after = whole_vault(f.vault, &faults);

	no_leak(e);
	if (rc == E_OK) {
		f.survived += faults.fired > 0;
		assert_int_equal(after, before + 1);
		/* the very same tree, unless something about it was told */
		if (id_cmp(&r->tree, tree) != 0 && atomic_load(&h->problems) == 0) {
			fault_os_print_log(&faults);
			fail_msg("another tree, and nobody said why (%s refused)",
				fault_slot_name(faults.fired_slot));
		}
		return;
	}
	f.refused++;
	assert_true(faults.fired > 0);
	if (must_survive(&p)) {
		fault_os_print_log(&faults);
		fail_msg("%s was not survived: %s", fault_slot_name(faults.fired_slot), e->detail);
	}
	if (after > before && !may_have_committed(rc, r)) {
		fault_os_print_log(&faults);
		fail_msg("a snapshot nobody reported: %s", e->detail);
	}
}

/* The next step of every refusal here: mend the reason, run the same command again. */
static void
again_works(const struct id *tree)
{
	struct backup_result r;
	struct heard h;
	struct err e;

	if (run_backup((struct fault_plan){ 0 }, &r, &h, &e) != E_OK)
		fail_msg("again: %s", e.detail);
	assert_int_equal(id_cmp(&r.tree, tree), 0);
}

static void
first_backup(struct fault_plan p, unsigned long *fired)
{
	struct backup_result r;
	struct heard h;
	struct err e;
	enum ecode rc;

	empty_vault(f.vault);
	rc = run_backup(p, &r, &h, &e);
	*fired = faults.fired;
	judge_backup(p, rc, &r, &h, 0, &f.tree, &e);
	if (rc != E_OK)
		again_works(&f.tree);
	fault_os_done(&faults);
}

static int
unlink_lock(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)where;
	if (type == FTW_F)
		assert_int_equal(unlink(path), 0);
	return 0;
}

static void
forget_locks(void)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/locks", f.vault);
	assert_int_equal(nftw(path, unlink_lock, 16, FTW_PHYS), 0);
}

static void
next_backup(struct fault_plan p, unsigned long *fired)
{
	struct backup_result r;
	struct heard h;
	struct err e;
	uint64_t before = whole_vault(f.vault, &faults);
	enum ecode rc = run_backup(p, &r, &h, &e);

	*fired = faults.fired;
	judge_backup(p, rc, &r, &h, before, &f.tree_after_edit, &e);
	if (rc != E_OK)
		again_works(&f.tree_after_edit);
	forget_locks(); /* proven harmless by now; hundreds of them only slow the loop */
	if (before > 6) {
		empty_vault(f.vault);
		again_works(&f.tree_after_edit);
	}
	fault_os_done(&faults);
}

static void
test_first_backup(void **state)
{
	(void)state;
	for_every_call(first_backup);
	assert_true(f.refused > 100 / fault_stride());
}

static void
test_incremental_backup(void **state)
{
	struct backup_result r;
	struct heard h;
	struct err e;

	(void)state;
	f.refused = f.survived = f.runs = 0;
	empty_vault(f.vault);
	again_works(&f.tree);
	put("changed", "other words than before\n");
	put("added", "new\n");
	assert_int_equal(run_backup((struct fault_plan){ 0 }, &r, &h, &e), E_OK);
	f.tree_after_edit = r.tree;
	for_every_call(next_backup);
	assert_true(f.refused > 100 / fault_stride());
}

/* Links that are followed (D-12): none becomes a link, or another file, unnoticed. */
static void
test_followed_links(void **state)
{
	struct backup_result r;
	struct heard h;
	struct err e;
	struct id before = f.tree;
	char path[600];

	(void)state;
	f.refused = f.survived = f.runs = 0;
	(void)snprintf(path, sizeof(path), "%s/to file", f.src);
	assert_int_equal(symlink("changed", path), 0);
	(void)snprintf(path, sizeof(path), "%s/to dir", f.src);
	assert_int_equal(symlink("sub", path), 0);
	f.links = LINKS_FOLLOW;
	empty_vault(f.vault);
	assert_int_equal(run_backup((struct fault_plan){ 0 }, &r, &h, &e), E_OK);
	assert_int_equal(r.links_followed, 2);
	assert_int_equal(r.links_kept, 1);
	fault_os_done(&faults);
	f.tree = r.tree;
	for_some_calls(first_backup);
	f.links = LINKS_ARCHIVE;
	f.tree = before;
	assert_true(f.refused > 50 / fault_stride());
}

/* ---- a backup that takes checkpoints and continues an interrupted one (X-18) ---- */

/* Questions until the root's files are read and the directories are not. */
#define STOP_AFTER 12

static void
leave_unfinished(void)
{
	struct backup_result r;
	struct heard h;
	struct err e;

	empty_vault(f.vault);
	remove_tree(f.state);
	f.stop_after = STOP_AFTER;
	assert_int_equal(run_backup((struct fault_plan){ 0 }, &r, &h, &e), E_INTERRUPTED);
	f.stop_after = 0;
	fault_os_done(&faults);
}

static unsigned long resumed, checkpoints;

static void
resumed_backup(struct fault_plan p, unsigned long *fired)
{
	struct backup_result r;
	struct heard h;
	struct err e;
	enum ecode rc;

	leave_unfinished();
	p.slots = SLOTS_MUTATING | SLOT_BIT(SLOT_FSYNC) | SLOT_BIT(SLOT_CLOSE) |
		  SLOT_BIT(SLOT_OPEN) | SLOT_BIT(SLOT_READ) | SLOT_BIT(SLOT_GETDENTS);
	rc = run_backup(p, &r, &h, &e);
	*fired = faults.fired;
	resumed += r.files_reused > 0;
	checkpoints += r.checkpoints;
	judge_backup(p, rc, &r, &h, 0, &f.tree_after_edit, &e);
	if (rc != E_OK)
		again_works(&f.tree_after_edit);
	fault_os_done(&faults);
}

static void
test_resumed_backup(void **state)
{
	(void)state;
	f.refused = f.survived = f.runs = 0;
	f.checkpoint_bytes = 1;
	for_some_calls(resumed_backup);
	f.checkpoint_bytes = 0;
	print_message("# %lu resumed, %lu checkpoints\n", resumed, checkpoints);
	assert_true(f.refused > 100 / fault_stride());
	assert_true(resumed > 100 / fault_stride() && checkpoints > 100 / fault_stride());
	empty_vault(f.vault);
}

/* ---- check ---- */

static void
one_check(struct fault_plan p, unsigned long *fired)
{
	struct session s;
	struct heard h;
	struct err e;
	struct check_args args = { .read = CHECK_READ_ALL };
	char finding[FINDING_BYTES];
	struct check_result r = { 0 };
	uint64_t digest = tree_digest(f.vault);
	enum ecode rc;

	plan(p);
	rc = open_harmed(&s, &h, SESSION_NO_LOCK, &e);
	if (rc == E_OK) {
		rc = check_run(&s, &args, keep_finding, finding, &r, &e);
		check_result_done(&r);
		session_abandon(&s);
	}
	*fired = faults.fired;
	no_leak(&e);
	f.refused += rc != E_OK;
	f.survived += rc == E_OK && faults.fired > 0;
	if (rc != E_OK && must_survive(&p))
		fail_msg("%s was not survived: %s", fault_slot_name(faults.fired_slot), e.detail);
	/* a sound vault is never called whole without having been looked at */
	if (rc == E_OK)
		assert_true(r.packs_read == r.packs && r.snapshots > 0);
	assert_true(tree_digest(f.vault) == digest);
	fault_os_done(&faults);
}

static void
test_check(void **state)
{
	(void)state;
	f.refused = f.survived = f.runs = 0;
	empty_vault(f.vault);
	again_works(&f.tree_after_edit);
	for_every_call(one_check);
	assert_true(f.refused > 20 / fault_stride());
}

/* ---- key add ---- */

static bool
opens_with(const char *password)
{
	struct session s;
	struct heard h;
	struct err e;
	struct session_args args = {
		.os = os_posix(),
		.location = f.vault,
		.password = { (const uint8_t *)password, strlen(password) },
		.lock = SESSION_NO_LOCK,
		.listener = &h.listener,
	};

	heard_init(&h);
	if (session_open(&s, &args, &e) != E_OK)
		return false;
	session_abandon(&s);
	return true;
}

static void
one_key_add(struct fault_plan p, unsigned long *fired)
{
	struct keyadmin_args args = { .password = { (const uint8_t *)"second", 6 },
		.params = &cheap };
	struct session s;
	struct heard h;
	struct err e, late;
	struct id id;
	char command[900];
	enum ecode rc, closed;

	plan(p);
	rc = open_harmed(&s, &h, SESSION_SHARED, &e);
	if (rc == E_OK) {
		rc = keyadmin_add(&s, &args, &id, &e);
		closed = session_close(&s, &late);
		if (rc == E_OK)
			assert_true(opens_with("second"));
		if (rc == E_OK && closed != E_OK)
			rc = closed;
	}
	*fired = faults.fired;
	no_leak(&e);
	f.refused += rc != E_OK;
	f.survived += rc == E_OK && faults.fired > 0;
	assert_true(opens_with(TEST_PASSWORD));
	if (rc != E_OK && must_survive(&p))
		fail_msg("%s was not survived: %s", fault_slot_name(faults.fired_slot), e.detail);
	fault_os_done(&faults);
	/* back to one key: the oldest file is the first password's */
	(void)snprintf(command, sizeof(command),
		"cd '%s/keys' && ls -tr | tail -n +2 | xargs -r rm -f; rm -f '%s/locks/'*", f.vault,
		f.vault);
	assert_int_equal(system(command), 0);
}

static void
test_key_add(void **state)
{
	(void)state;
	f.refused = f.survived = f.runs = 0;
	for_every_call(one_key_add);
	assert_true(f.refused > 20 / fault_stride());
}

/* ---- init ---- */

static void
one_init(struct fault_plan p, unsigned long *fired)
{
	struct catalog_init_args args = { .location = f.vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.params = &cheap };
	struct id repo_id;
	struct err e;
	enum ecode rc;

	remove_tree(f.vault);
	plan(p);
	args.os = &faults.os;
	rc = catalog_init(&args, &repo_id, &e);
	*fired = faults.fired;
	no_leak(&e);
	f.refused += rc != E_OK;
	f.survived += rc == E_OK && faults.fired > 0;
	if (rc != E_OK && must_survive(&p))
		fail_msg("%s was not survived: %s", fault_slot_name(faults.fired_slot), e.detail);
	if (rc == E_OK)
		assert_true(opens_with(TEST_PASSWORD));
	fault_os_done(&faults);
	if (rc == E_OK || opens_with(TEST_PASSWORD)) {
		assert_true(rc == E_OK || rc == E_STORE_UNSURE || rc == E_IO_UNSURE);
		return;
	}
	/* the next step, without tidying up: again, also when a key file is left that could not be taken back */
	args.os = os_posix();
	assert_int_equal(catalog_init(&args, &repo_id, &e), E_OK);
	assert_true(opens_with(TEST_PASSWORD));
}

static void
test_init(void **state)
{
	(void)state;
	f.refused = f.survived = f.runs = 0;
	/* 261 directories: a refusal of each once is enough */
	for (unsigned long n = 1, fired = 1; fired != 0; n++)
		one_init((struct fault_plan){ .nth = n, .error = EIO }, &fired);
	for (unsigned long n = 1, fired = 1; fired != 0; n += 7)
		one_init((struct fault_plan){ .nth = n, .error = ENOSPC, .forever = true }, &fired);
	for (unsigned long n = 1, fired = 1; fired != 0; n += 7)
		one_init((struct fault_plan){ .nth = n, .error = EINTR }, &fired);
	for (unsigned long n = 1, fired = 1; fired != 0; n++)
		one_init((struct fault_plan){ .nth = n, .mode = FAULT_SHORT_ONE }, &fired);
	print_message("# %lu refused, %lu survived\n", f.refused, f.survived);
	assert_true(f.refused > 50 / fault_stride());
}

static int
setup(void **state)
{
	struct backup_result r;
	struct heard h;
	struct err e;
	char path[600];

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of fsyncs */
	temp_dir(f.dir, sizeof(f.dir));
	(void)snprintf(f.vault, sizeof(f.vault), "%s/vault", f.dir);
	(void)snprintf(f.src, sizeof(f.src), "%s/src", f.dir);
	(void)snprintf(f.state, sizeof(f.state), "%s/state", f.dir);
	make_vault(os_posix(), f.vault, 2);
	assert_int_equal(mkdir(f.src, 0755), 0);
	make_dir("sub");
	put("sub/inner", "inside\n");
	put("changed", "some words\n");
	put("empty", "");
	(void)snprintf(path, sizeof(path), "%s/link", f.src);
	assert_int_equal(symlink("nowhere", path), 0);
	assert_int_equal(chdir(f.dir), 0);
	empty_vault(f.vault);
	assert_int_equal(run_backup((struct fault_plan){ 0 }, &r, &h, &e), E_OK);
	f.tree = r.tree;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	remove_tree(f.dir);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_backup), cmocka_unit_test(test_incremental_backup),
		cmocka_unit_test(test_resumed_backup), cmocka_unit_test(test_check),
		cmocka_unit_test(test_key_add), cmocka_unit_test(test_init),
		cmocka_unit_test(test_followed_links), /* last: it adds to the source */
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
