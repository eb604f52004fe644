/*
 * A whole backup with all that issue 3 gave it — a named run with its lock and
 * its incomplete record, the health gate and its memory, capacity, checkpoints
 * with copies in the state directory, the proof after writing — with every
 * kernel call and every store call refused, shortened or falsified, in the
 * serial twin.  Whatever is refused: no descriptor is lost, no snapshot is there
 * that was not reported, none without its proof, and the same command again works
 * without tidying up first.
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
#include "engine/health.h"
#include "store/local.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/make_vault.h"
#include "support/whole_vault.h"

/* Calls of one run, with room: reaching it means that a loop does not end. */
#define CALLS_MAX    20000
/* Snapshots that gather before the vault is emptied: each is checked after each run. */
#define GATHERED_MAX 6

enum scene {
	SCENE_FIRST,      /* an empty vault */
	SCENE_NEXT,       /* a parent, and a file that changed since */
	SCENE_INTERRUPTED /* the record and checkpoint of a run that was stopped */
};

struct fixture {
	char dir[256], vault[300], src[300], state[300];
	struct id repo;
	enum scene scene;
	enum commit_proof proof;
	unsigned number;                       /* of runs so far: each has a name of its own */
	long stop_at;                          /* the question that leaves a checkpoint behind */
	unsigned long runs, refused, survived; /* of the loop at hand */
	unsigned long resumed, checkpoints, unwell, unproven, store_calls[OP_COUNT];
	uint64_t slots; /* that were refused or shortened */
};

static struct fixture f;
static struct fault_os faults;

struct run {
	struct backup_result r;
	struct heard h;
	struct err e;
	enum ecode rc;
	char id[40];
};

/* ---- the source and the vault ---- */

static void
put(const char *name, const char *text)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", f.src, name);
	write_file(path, text, strlen(text));
}

static void
change_source(void)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "words number %08u\n", f.number);
	put("changed", text);
}

/* Neither snapshots nor what the state directory knows of them. */
static void
forget_all(void)
{
	empty_vault(f.vault);
	remove_tree(f.state);
}

static int
unlink_leftover(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	if (type == FTW_F && (where->level == 1 ? strstr(path, "/.") : strstr(path, "/locks/")))
		assert_int_equal(unlink(path), 0);
	return 0;
}

/* Proven harmless by the run before: locks, notes and probes that could not be removed only slow the loop. */
static void
forget_leftovers(void)
{
	assert_int_equal(nftw(f.vault, unlink_leftover, 16, FTW_PHYS), 0);
}

static bool
note_is_there(const char *run_id)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/" NOTE_PREFIX "%s", f.vault, run_id);
	return access(path, F_OK) == 0;
}

/* ---- running ---- */

static void
plan(struct fault_plan p)
{
	fault_os_init(&faults, os_posix());
	faults.real_random = true;
	faults.plan = p;
}

/* On `faults`; through `st` when it is given. */
static void
run_on(struct store *st, long stop_after, struct run *run)
{
	const char *target = "src"; /* relative: the directories above are not ours */
	struct backup_args args = { .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.checkpoint_bytes = 1,
		.state_dir = f.state,
		.run_id = run->id,
		.verify_after = f.proof,
		.program_version = "test" };
	struct session_args open = { .os = &faults.os,
		.location = f.vault,
		.store = st,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = SESSION_SHARED,
		.run_id = run->id,
		.health_dir = f.state };
	struct session s = { .os = NULL };
	enum ecode closed;
	struct err late;

	run->r = (struct backup_result){ 0 };
	run->e = (struct err){ .code = E_OK };
	(void)snprintf(run->id, sizeof(run->id), "20260102T030405Z-%08x", ++f.number);
	heard_init(&run->h);
	run->h.stop_after = -1;
	open.listener = &run->h.listener;
	run->rc = session_open(&s, &open, &run->e);
	if (run->rc != E_OK)
		return;
	run->h.stop_after = stop_after;
	run->rc = backup_run(&s, &args, &run->r, &run->e);
	closed = session_close(&s, &late);
	if (run->rc == E_OK && closed != E_OK) {
		run->e = late;
		run->rc = closed;
	}
}

/* ---- judging ---- */

static bool
measured(const struct run *run, const char *part)
{
	for (unsigned i = 0; i < run->r.measures.n; i++)
		if (strstr(run->r.measures.text[i], part) != NULL)
			return true;
	return false;
}

static struct health_summary
history(void)
{
	struct health_summary sum;
	struct err e;

	assert_int_equal(health_summary(os_posix(), f.state, &f.repo, &sum, &e), E_OK);
	assert_false(
		sum.damaged); /* whatever is refused: an older one or a newer one, never half of one */
	return sum;
}

/* No success without everything that was promised. */
static void
judge_success(const struct run *run)
{
	bool told = atomic_load(&run->h.problems) > 0;

	assert_true(run->r.snapshot_made);
	assert_true(measured(run, "the vault's place was probed"));
	assert_true(measured(run, "the snapshot's record was read back"));
	if (f.proof == PROOF_READ)
		assert_true(measured(run, "were read back and hashed before"));
	else
		assert_true(measured(run, "were seen with their sizes before"));
	assert_int_equal(
		run->r.totals.proved_objects, run->r.totals.packs + run->r.totals.index_files);
	assert_true(told || !note_is_there(run->id));
	f.resumed += run->r.files_reused > 0;
	f.checkpoints += run->r.checkpoints;
}

/* May a run that was refused have made its snapshot all the same? */
static bool
may_have_committed(const struct run *run)
{
	return run->r.snapshot_made || run->rc == E_STORE_UNSURE || run->rc == E_IO_UNSURE;
}

static void
judge(const struct run *run, uint64_t before, const char *what)
{
	uint64_t after = whole_vault(f.vault, &faults);
	struct health_summary sum = history();

	if (faults.open_fds != 0 || faults.children != 0) {
		fault_os_print_log(&faults);
		fail_msg("%s: %ld descriptors leaked after: %s", what, faults.open_fds,
			run->e.detail);
	}
	f.unwell += run->rc == E_VAULT_UNWELL;
	f.unproven += run->rc == E_PROOF;
	if (run->rc == E_OK) {
		judge_success(run);
		assert_int_equal(after, before + 1);
		return;
	}
	f.refused++;
	if (run->rc == E_VAULT_UNWELL_STILL || sum.failures > 1)
		fail_msg("%s: one failure counted as %u: %s", what, (unsigned)sum.failures,
			run->e.detail);
	if (after > before && !may_have_committed(run)) {
		fault_os_print_log(&faults);
		fail_msg("%s: a snapshot nobody reported: %s", what, run->e.detail);
	}
}

/* The next step of every refusal here: mend the reason, run the same command again. */
static void
again(const struct run *harmed)
{
	struct run run;

	plan((struct fault_plan){ 0 });
	run_on(NULL, -1, &run);
	if (run.rc != E_OK)
		fail_msg("again: %s: %s", err_row(run.rc)->name, run.e.detail);
	judge_success(&run);
	assert_int_equal(
		history().failures, 0); /* it is well, and nobody holds the past against it */
	assert_int_equal(atomic_load(&run.h.problems), 0);
	/* the very same tree, unless something about it was told */
	if (harmed->rc == E_OK && atomic_load(&harmed->h.problems) == 0)
		assert_int_equal(id_cmp(&run.r.tree, &harmed->r.tree), 0);
	fault_os_done(&faults);
	forget_leftovers();
}

/* ---- scenes ---- */

static enum ecode
leave_unfinished(long stop_at)
{
	struct run run;

	forget_all();
	plan((struct fault_plan){ 0 });
	run_on(NULL, stop_at, &run);
	fault_os_done(&faults);
	assert_true(run.rc == E_OK || run.rc == E_INTERRUPTED);
	return run.rc;
}

static uint64_t
set_the_scene(void)
{
	uint64_t before = f.scene == SCENE_NEXT ? whole_vault(f.vault, &faults) : 0;
	struct run none = { .rc = E_INTERRUPTED };

	switch (f.scene) {
	case SCENE_FIRST:
		forget_all();
		return 0;
	case SCENE_NEXT:
		if (before == 0 || before > GATHERED_MAX) {
			forget_all();
			again(&none);
			before = 1;
		}
		change_source();
		return before;
	case SCENE_INTERRUPTED:
		assert_int_equal(leave_unfinished(f.stop_at), E_INTERRUPTED);
		return 0;
	}
	return 0;
}

/* The first question at which a stopped run leaves something worth continuing. */
static void
find_stop(void)
{
	for (f.stop_at = 1;; f.stop_at++) {
		unsigned long resumed = f.resumed;
		struct run none = { .rc = E_INTERRUPTED };

		assert_int_equal(leave_unfinished(f.stop_at), E_INTERRUPTED);
		again(&none);
		if (f.resumed > resumed)
			return;
	}
}

static void
begin(enum scene scene, enum commit_proof proof)
{
	f.scene = scene;
	f.proof = proof;
	f.runs = f.refused = f.survived = f.resumed = f.checkpoints = f.unwell = f.unproven = 0;
	f.slots = 0;
	forget_all();
	change_source();
	if (scene == SCENE_INTERRUPTED)
		find_stop();
}

/* ---- the kernel ---- */

/* An interrupted call and a short one are the kernel's right, but fsync and close are never repeated (R4). */
static bool
must_survive(const struct fault_plan *p)
{
	return p->mode != FAULT_REFUSE || (p->error == EINTR && faults.fired_slot != SLOT_FSYNC &&
						  faults.fired_slot != SLOT_CLOSE);
}

static bool
one_kernel_call(struct fault_plan p)
{
	uint64_t before = set_the_scene();
	const char *slot;
	bool fired;
	struct run run;

	plan(p);
	run_on(NULL, -1, &run);
	fired = faults.fired > 0;
	slot = fault_slot_name(faults.fired_slot);
	if (!fired)
		assert_int_equal(run.rc, E_OK);
	else
		f.slots |= SLOT_BIT(faults.fired_slot);
	f.survived += fired && run.rc == E_OK;
	if (run.rc != E_OK && must_survive(&p)) {
		fault_os_print_log(&faults);
		fail_msg("%s was not survived: %s", slot, run.e.detail);
	}
	judge(&run, before, slot);
	fault_os_done(&faults);
	again(&run);
	f.runs++;
	return fired;
}

static void
tell(void)
{
	print_message("# %lu runs, %lu refused, %lu survived; %lu resumed, %lu checkpoints, "
		      "%lu unwell, %lu unproven\n",
		f.runs, f.refused, f.survived, f.resumed, f.checkpoints, f.unwell, f.unproven);
}

static void
kernel_loop(const struct fault_plan *harms, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fault_plan p = harms[i];

		for (p.nth = 1; one_kernel_call(p); p.nth++)
			assert_true(p.nth < CALLS_MAX);
	}
	tell();
	assert_true(f.refused > 100);
}

/* What the run's parts ask the kernel: each was refused or shortened at least once. */
static void
reached(const enum fault_slot *slots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((f.slots & SLOT_BIT(slots[i])) == 0)
			fail_msg("no %s was ever refused", fault_slot_name(slots[i]));
}

static void
first_backup_under_every_refused_kernel_call(void **state)
{
	static const struct fault_plan harms[] = {
		{ .error = EIO },
		{ .error = ENOSPC, .forever = true },
		{ .error = EACCES },
		{ .error = EINTR },
		{ .error = EMFILE, .forever = true },
		{ .mode = FAULT_SHORT_ONE },
		{ .mode = FAULT_SHORT_HALF, .forever = true },
	};
	static const enum fault_slot slots[] = { SLOT_OPEN, SLOT_OPEN_CREATE, SLOT_CLOSE, SLOT_READ,
		SLOT_PREAD, SLOT_WRITE, SLOT_FSYNC, SLOT_STAT, SLOT_GETDENTS, SLOT_STATVFS,
		SLOT_MKDIR, SLOT_RENAME, SLOT_UNLINK, SLOT_RANDOM };

	(void)state;
	begin(SCENE_FIRST, PROOF_READ);
	kernel_loop(harms, sizeof(harms) / sizeof(harms[0]));
	reached(slots, sizeof(slots) / sizeof(slots[0]));
	assert_true(f.checkpoints > 100 && f.unwell > 0);
}

static void
next_backup_under_every_refused_kernel_call(void **state)
{
	static const struct fault_plan harms[] = {
		{ .error = EIO },
		{ .error = ENOSPC },
		{ .error = EACCES, .forever = true },
		{ .mode = FAULT_SHORT_HALF },
	};

	(void)state;
	begin(SCENE_NEXT, PROOF_PRESENCE);
	kernel_loop(harms, sizeof(harms) / sizeof(harms[0]));
}

static void
continued_backup_under_every_refused_kernel_call(void **state)
{
	static const struct fault_plan harms[] = {
		{ .error = EIO },
		{ .error = EIO, .forever = true },
		{ .mode = FAULT_SHORT_ONE },
	};

	(void)state;
	begin(SCENE_INTERRUPTED, PROOF_PRESENCE);
	kernel_loop(harms, sizeof(harms) / sizeof(harms[0]));
	assert_true(f.resumed > 100);
}

/* ---- the store ---- */

static bool
one_store_call(struct fault_store_plan p)
{
	uint64_t before = set_the_scene();
	struct store *under = NULL;
	struct fault_store *fs;
	char what[80];
	struct run run;
	bool fired;

	plan((struct fault_plan){ 0 });
	assert_int_equal(local_open(&faults.os, f.vault, &under, NULL), E_OK);
	fs = fault_store_open(under);
	fault_store_set_plan(fs, p);
	run_on(&fs->st, -1, &run);
	fired = fs->fired > 0;
	for (unsigned i = 0; i < OP_COUNT; i++)
		f.store_calls[i] += fs->op_calls[i];
	store_close(&(struct store *){ &fs->st });
	(void)snprintf(what, sizeof(what), "store call %lu, mode %u, %s", p.nth, (unsigned)p.mode,
		p.code == E_OK ? "" : err_row(p.code)->name);
	if (!fired)
		assert_int_equal(run.rc, E_OK);
	f.survived += fired && run.rc == E_OK;
	judge(&run, before, what);
	fault_os_done(&faults);
	again(&run);
	f.runs++;
	return fired;
}

#define READING                                                                     \
	(OP_BIT(OP_GET) | OP_BIT(OP_STAT) | OP_BIT(OP_LIST) | OP_BIT(OP_NOTE_GET) | \
		OP_BIT(OP_NOTE_LIST))
#define WRITING (OP_BIT(OP_PUT) | OP_BIT(OP_NOTE_PUT))
#define ERASING (OP_BIT(OP_ERASE) | OP_BIT(OP_NOTE_ERASE))

static void
store_loop(void)
{
	static const struct fault_store_plan harms[] = {
		{ .code = E_STORE_READ, .ops = READING },
		{ .code = E_STORE_READ, .ops = READING, .forever = true },
		{ .code = E_STORE_ABSENT, .ops = OP_BIT(OP_GET) | OP_BIT(OP_NOTE_GET) },
		{ .code = E_STORE_WRITE, .ops = WRITING },
		{ .code = E_STORE_SPACE, .ops = WRITING, .forever = true },
		{ .code = E_STORE_RDONLY, .ops = WRITING | ERASING, .forever = true },
		{ .code = E_STORE_ERASE, .ops = ERASING },
		{ .code = E_STORE_PROBE, .ops = OP_BIT(OP_PROBE) },
		{ .mode = STORE_LOSE_ACK, .code = E_STORE_UNSURE },
		{ .mode = STORE_CUT },
		{ .mode = STORE_CUT_LIST, .code = E_STORE_READ },
		{ .mode = STORE_FLIP },
		{ .mode = STORE_FLIP, .forever = true },
	};

	memset(f.store_calls, 0, sizeof(f.store_calls));
	for (size_t i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
		struct fault_store_plan p = harms[i];

		for (p.nth = 1; one_store_call(p); p.nth++)
			assert_true(p.nth < CALLS_MAX);
	}
	tell();
	assert_true(f.refused > 30 && f.unwell > 0);
	for (unsigned i = 0; i < OP_COUNT; i++)
		if (i != OP_PREPARE && f.store_calls[i] == 0 &&
			(i != OP_NOTE_GET || f.scene == SCENE_INTERRUPTED))
			fail_msg("no run made store call %u", i);
}

static void
first_backup_under_every_refused_store_call(void **state)
{
	(void)state;
	begin(SCENE_FIRST, PROOF_READ);
	store_loop();
	assert_true(f.unproven > 0);
}

static void
next_backup_under_every_refused_store_call(void **state)
{
	(void)state;
	begin(SCENE_NEXT, PROOF_PRESENCE);
	store_loop();
}

static void
continued_backup_under_every_refused_store_call(void **state)
{
	(void)state;
	begin(SCENE_INTERRUPTED, PROOF_READ);
	store_loop();
	assert_true(f.resumed > 30);
}

/* ---- the state directory ---- */

/* What lies beside the vault helps and decides nothing. */
static void
without_a_state_directory_the_backup_is_whole(void **state)
{
	struct run run;

	(void)state;
	begin(SCENE_FIRST, PROOF_PRESENCE);
	write_file(f.state, "x", 1); /* a file is in its place */
	plan((struct fault_plan){ 0 });
	run_on(NULL, -1, &run);
	fault_os_done(&faults);
	if (run.rc != E_OK)
		fail_msg("%s: %s", err_row(run.rc)->name, run.e.detail);
	judge_success(&run);
	assert_true(
		atomic_load(&run.h.problems) > 0); /* that checkpoints could not be kept is told */
	assert_int_equal(unlink(f.state), 0);
	again(&run);
}

static struct id
repo_of(void)
{
	struct heard h;
	struct session s;
	struct id id;

	heard_init(&h);
	open_session(&s, os_posix(), f.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	id = s.vault->repo_id;
	session_abandon(&s);
	return id;
}

static int
setup(void **state)
{
	char path[600];

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of fsyncs */
	temp_dir(f.dir, sizeof(f.dir));
	(void)snprintf(f.vault, sizeof(f.vault), "%s/vault", f.dir);
	(void)snprintf(f.src, sizeof(f.src), "%s/src", f.dir);
	(void)snprintf(f.state, sizeof(f.state), "%s/state", f.dir);
	make_vault(os_posix(), f.vault, 2);
	f.repo = repo_of();
	assert_int_equal(mkdir(f.src, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/sub", f.src);
	assert_int_equal(mkdir(path, 0755), 0);
	put("sub/inner", "inside\n");
	assert_int_equal(chdir(f.dir), 0);
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
		cmocka_unit_test(first_backup_under_every_refused_kernel_call),
		cmocka_unit_test(next_backup_under_every_refused_kernel_call),
		cmocka_unit_test(continued_backup_under_every_refused_kernel_call),
		cmocka_unit_test(first_backup_under_every_refused_store_call),
		cmocka_unit_test(next_backup_under_every_refused_store_call),
		cmocka_unit_test(continued_backup_under_every_refused_store_call),
		cmocka_unit_test(without_a_state_directory_the_backup_is_whole),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
