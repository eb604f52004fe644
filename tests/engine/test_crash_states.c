/*
 * A power cut after every recorded call of init, first and incremental backup,
 * in every shape POSIX allows (support/crash_disk.h), and after a kill whose
 * next run was told to have succeeded.  In each state (DV-20, DV-37, IX-02):
 * the vault opens, everything it claims is there byte by byte, no snapshot is
 * lost or false, what was acknowledged is there, and the next backup works.
 *
 * A deliberate defect, one forgotten kind of fsync at a time, must be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/catalog.h"
#include "engine/check.h"
#include "support/compare_tree.h"
#include "support/crash_disk.h"
#include "support/fault_os.h"
#include "support/make_vault.h"
#include "support/whole_vault.h"

#define RANDOM_STATES 10                 /* of each prefix; init, mostly mkdirs, takes a third */
#define PACK_BYTES    ((size_t)96 << 10) /* several packs of a small tree */
#define FILE_BYTES    ((size_t)300 << 10)
#define STATES_MIN    20 /* fewer different ones, and the record is not what it was */
#define DULL_STEP     32 /* of the 256 alike */

static const struct kdf_params cheap = { .n = 16, .r = 1, .p = 1 };

enum verb {
	VERB_INIT,
	VERB_BACKUP
};

struct fixture {
	char dir[256], base[300], disk[300], state[300];
	uint64_t seed;
	struct id tree; /* what the sources give */
	bool skip;      /* the next backups are run with --skip-if-unchanged */
};

static struct fixture f;
static char why[2048];           /* the latest violation */
static struct fault_os harmless; /* clocks that move by themselves: no test waits for a lock */

/* What must hold in a state. */
struct promise {
	enum verb verb;
	uint64_t snapshots; /* before the verb */
	struct id old;      /* one of them, when there are any */
	uint64_t most;      /* snapshots after it, at most */
	bool acknowledged;  /* the verb told success before the cut */
	bool skip;          /* the run after a kill may say that nothing changed */
};

static const char *
violation(const char *what, enum ecode rc, const struct err *e)
{
	(void)snprintf(why, sizeof(why), "%s: %s: %s", what, rc == E_OK ? "" : err_row(rc)->name,
		rc == E_OK ? "" : e->detail);
	return why;
}

/* ---- running the verbs, in one thread ---- */

static void
clocks_over(const struct os *under)
{
	uint64_t random = harmless.random + 7919;

	fault_os_init(&harmless, under);
	harmless.real_sync = true;
	harmless.random = random;
}

static enum ecode
open_at(struct session *s, const char *root, enum session_lock lock, struct heard *h, struct err *e)
{
	char vault[400];
	struct session_args args = {
		.os = &harmless.os,
		.location = vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = lock,
		.listener = &h->listener,
	};

	heard_init(h);
	(void)snprintf(vault, sizeof(vault), "%s/vault", root);
	return session_open(s, &args, e);
}

static enum ecode
do_init(const struct os *under, const char *root, struct err *e)
{
	char vault[400];
	struct catalog_init_args args = { .os = &harmless.os,
		.location = vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.params = &cheap };
	struct id repo_id;
	enum ecode rc;

	clocks_over(under);
	(void)snprintf(vault, sizeof(vault), "%s/vault", root);
	rc = catalog_init(&args, &repo_id, e);
	fault_os_done(&harmless);
	return rc;
}

static enum ecode
do_backup(const struct os *under, const char *root, struct backup_result *r, struct err *e)
{
	const char *target = "src";
	struct backup_args args = { .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.program_version = "test",
		.skip_if_unchanged = f.skip,
		.pack_target_bytes = PACK_BYTES };
	struct session s;
	struct heard h;
	struct err late;
	enum ecode rc, closed;

	*r = (struct backup_result){ 0 };
	clocks_over(under);
	rc = open_at(&s, root, SESSION_SHARED, &h, e);
	if (rc == E_OK) {
		rc = backup_run(&s, &args, r, e);
		closed = session_close(&s, &late);
		if (rc == E_OK && closed != E_OK) {
			*e = late;
			rc = closed;
		}
	}
	fault_os_done(&harmless);
	return rc;
}

static enum ecode
do_verb(enum verb verb, const struct os *under, const char *root, struct err *e)
{
	struct backup_result r;

	switch (verb) {
	case VERB_INIT:
		return do_init(under, root, e);
	case VERB_BACKUP:
		return do_backup(under, root, &r, e);
	}
	return E_OK;
}

/* ---- the verdict ---- */

/* Open, read everything, count.  NULL when all is well. */
static const char *
whole(const char *root, const struct promise *p, uint64_t *snapshots)
{
	struct check_args args = { .read = CHECK_READ_ALL };
	char finding[FINDING_BYTES] = "";
	struct check_result r = { 0 };
	struct oname old = { O_SNAPSHOT, p->old };
	struct session s;
	struct heard h;
	struct err e;
	uint64_t size;
	enum ecode rc;

	clocks_over(os_posix());
	rc = open_at(&s, root, SESSION_NO_LOCK, &h, &e);
	if (rc != E_OK)
		return violation("the vault does not open", rc, &e);
	rc = check_run(&s, &args, keep_finding, finding, &r, &e);
	*snapshots = r.snapshots;
	if (rc != E_OK)
		(void)violation(finding, rc, &e);
	check_result_done(&r);
	if (rc == E_OK && p->snapshots > 0) {
		rc = store_stat(s.store, &old, &size, &e);
		if (rc != E_OK)
			(void)violation("an old snapshot is lost", rc, &e);
	}
	session_abandon(&s);
	fault_os_done(&harmless);
	return rc == E_OK ? NULL : why;
}

static const char *
next_backup_works(const char *root, const struct promise *p, uint64_t before)
{
	struct backup_result r;
	struct err e;
	uint64_t after = 0;
	enum ecode rc = do_backup(os_posix(), root, &r, &e);
	const char *wrong;

	if (rc != E_OK)
		return violation("the next backup refuses", rc, &e);
	if (id_cmp(&r.tree, &f.tree) != 0)
		return violation("the next backup made another tree", E_OK, NULL);
	wrong = whole(root, p, &after);
	if (wrong == NULL && after != before + 1)
		wrong = violation("the next backup's snapshot is not there", E_OK, NULL);
	return wrong;
}

static bool
opens(const char *root)
{
	struct session s;
	struct heard h;
	struct err e;
	enum ecode rc;

	clocks_over(os_posix());
	rc = open_at(&s, root, SESSION_NO_LOCK, &h, &e);
	if (rc == E_OK)
		session_abandon(&s);
	fault_os_done(&harmless);
	return rc == E_OK;
}

static const char *
judge(const char *root, const struct promise *p)
{
	const char *wrong;
	uint64_t n = 0;
	struct err e;

	if (p->verb == VERB_INIT && !opens(root)) {
		enum ecode rc = p->acknowledged ? E_OK : do_init(os_posix(), root, &e);

		if (p->acknowledged || rc != E_OK)
			return violation("init: no vault, and none can be made", rc, &e);
	}
	wrong = whole(root, p, &n);
	if (wrong != NULL)
		return wrong;
	if (n < p->snapshots || n > p->most)
		return violation("a snapshot is lost or false", E_OK, NULL);
	if (p->verb == VERB_BACKUP && p->acknowledged && n == p->snapshots)
		return violation("acknowledged, then lost", E_OK, NULL);
	return next_backup_works(root, p, n);
}

/* ---- states ---- */

struct tally {
	unsigned long states, violations;
	char first[3000];
};

static void
judge_state(struct crash_disk *d, unsigned long calls, enum crash_choice how,
	const struct promise *p, struct tally *t)
{
	const char *wrong;

	if (!crash_disk_make(d, calls, how, &f.seed, f.state))
		return;
	t->states++;
	wrong = judge(f.state, p);
	remove_tree(f.state);
	if (wrong != NULL && t->violations++ == 0)
		(void)snprintf(t->first, sizeof(t->first), "cut after call %lu (%s), choice %d: %s",
			calls, crash_disk_call(d, calls), (int)how, wrong);
}

/* One of the 256 directories of packs. */
static bool
is_dull(const struct crash_disk *d, unsigned long call)
{
	static const char mkdir_xx[] = "mkdir 00";

	return strlen(crash_disk_call(d, call)) == strlen(mkdir_xx) &&
	       strncmp(crash_disk_call(d, call), mkdir_xx, strlen("mkdir ")) == 0;
}

/* All prefixes from `from` on, all fixed choices and a few random ones. */
static void
judge_prefixes(struct crash_disk *d, unsigned long from, const struct promise *p, struct tally *t,
	bool until_found)
{
	/* from the end: a state is judged once, by the strictest promise it meets */
	for (unsigned long calls = d->calls + 1; calls-- > from;) {
		struct promise now = *p;

		if (p->verb == VERB_INIT && is_dull(d, calls) && calls % DULL_STEP != 0)
			continue;

		now.acknowledged = p->acknowledged && calls == d->calls;
		for (int how = 0; how < CRASH_FIXED + RANDOM_STATES; how++) {
			judge_state(d, calls,
				how < CRASH_FIXED ? (enum crash_choice)how : CRASH_RANDOM, &now, t);
			if (until_found && t->violations > 0)
				return;
		}
	}
}

static void
fresh_disk(enum verb verb)
{
	char from[400], to[400];

	remove_tree(f.disk);
	assert_int_equal(mkdir(f.disk, 0700), 0);
	(void)snprintf(from, sizeof(from), "%s/vault", f.base);
	(void)snprintf(to, sizeof(to), "%s/vault", f.disk);
	if (verb == VERB_BACKUP)
		copy_tree(from, to);
}

static void
tell(const char *what, const struct tally *t, unsigned long calls, time_t began)
{
	print_message("# %s: %lu calls, %lu different states, %lu violations, %ld s\n", what, calls,
		t->states, t->violations, (long)(time(NULL) - began));
}

/* The verb runs unharmed; then the power was cut after each of its calls. */
static void
sweep_once(const char *what, const struct promise *p)
{
	struct tally t = { 0 };
	time_t began = time(NULL);
	struct crash_disk d;
	struct err e;

	fresh_disk(p->verb);
	crash_disk_init(&d, f.disk);
	assert_int_equal(do_verb(p->verb, &d.os, f.disk, &e), E_OK);
	judge_prefixes(&d, 0, p, &t, false);
	tell(what, &t, d.calls, began);
	if (t.violations > 0)
		fail_msg("%s", t.first);
	assert_true(t.states > STATES_MIN);
	crash_disk_done(&d);
}

/* Killed at call k, and the machine runs on.  False when there are fewer calls. */
static bool
run_killed(struct crash_disk *d, enum verb verb, unsigned long k)
{
	bool stopped;
	struct err e;

	fresh_disk(verb);
	crash_disk_init(d, f.disk);
	d->stop_at = k;
	(void)do_verb(verb, &d->os, f.disk, &e); /* what it says nobody hears */
	stopped = d->stopped;
	d->stop_at = 0;
	d->stopped = false;
	return stopped;
}

/* The same again succeeds, or finds a whole vault: then the backup into it does. */
static void
run_again(struct crash_disk *d, struct promise *p)
{
	struct err e;
	enum ecode rc;

	f.skip = p->skip;
	rc = do_verb(p->verb, &d->os, f.disk, &e);
	f.skip = false;
	if (rc == E_VAULT_EXISTS && p->verb == VERB_INIT) {
		p->verb = VERB_BACKUP;
		p->most = 1;
		rc = do_verb(p->verb, &d->os, f.disk, &e);
	}
	if (rc != E_OK)
		fail_msg("the run after a kill refuses: %s", e.detail);
}

/* A kill at each call; the next run tells success; then the power is cut. */
static void
sweep_twice(const char *what, const struct promise *p)
{
	struct tally t = { 0 };
	time_t began = time(NULL);
	unsigned long k = 1, runs = 0, step = 1;

	for (bool stopped = true; stopped; k += step) {
		struct promise now = *p;
		struct crash_disk d;

		runs++;

		stopped = run_killed(&d, p->verb, k);
		step = p->verb == VERB_INIT && is_dull(&d, d.calls) ? DULL_STEP : 1;
		now.most += p->verb == VERB_BACKUP; /* the killed run may have come that far */
		if (stopped)
			run_again(&d, &now);
		judge_prefixes(&d, d.calls, &now, &t, false);
		crash_disk_done(&d);
		if (t.violations > 0)
			fail_msg("killed at call %lu, then %s", k, t.first);
	}
	tell(what, &t, k, began);
	assert_true(t.states > runs / 2);
}

/* ---- the tests ---- */

static void
make_base(enum verb verb, struct promise *p)
{
	*p = (struct promise){ .verb = verb, .most = verb == VERB_BACKUP, .acknowledged = true };
	remove_tree(f.base);
	assert_int_equal(mkdir(f.base, 0700), 0);
}

static void
put(const char *name, size_t len, unsigned seed)
{
	uint8_t *bytes = malloc(len + 1);
	char path[600];

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245U + 12345U;
		bytes[i] = (uint8_t)(seed >> 16);
	}
	(void)snprintf(path, sizeof(path), "%s/src/%s", f.dir, name);
	write_file(path, bytes, len);
	free(bytes);
}

/* The base of a first backup: a new vault.  The writer makes the directories of packs. */
static void
base_first(struct promise *p)
{
	char path[400];

	make_base(VERB_BACKUP, p);
	(void)snprintf(path, sizeof(path), "%s/vault", f.base);
	make_vault(os_posix(), path, 2);
	for (unsigned i = 0; i < 256; i++) {
		(void)snprintf(path, sizeof(path), "%s/vault/data/%02x", f.base, i);
		assert_int_equal(rmdir(path), 0);
	}
}

static void
learn_tree(void)
{
	struct backup_result r;
	struct err e;

	fresh_disk(VERB_BACKUP);
	if (do_backup(os_posix(), f.disk, &r, &e) != E_OK)
		fail_msg("%s", e.detail);
	f.tree = r.tree;
}

static void
base_incremental(struct promise *p)
{
	struct backup_result r;
	struct err e;

	base_first(p);
	if (do_backup(os_posix(), f.base, &r, &e) != E_OK)
		fail_msg("%s", e.detail);
	p->snapshots = 1;
	p->most = 2;
	p->old = r.snapshot_id;
	put("changed", 200000, (unsigned)f.seed);
}

static void
init_survives_every_cut(void **state)
{
	struct promise p;

	(void)state;
	base_first(&p);
	learn_tree();
	make_base(VERB_INIT, &p);
	sweep_once("init", &p);
}

static void
init_after_a_killed_init_survives(void **state)
{
	struct promise p;

	(void)state;
	base_first(&p);
	learn_tree();
	make_base(VERB_INIT, &p);
	sweep_twice("init after a killed init", &p);
}

static void
first_backup_survives_every_cut(void **state)
{
	struct promise p;

	(void)state;
	base_first(&p);
	learn_tree();
	sweep_once("first backup", &p);
}

static void
incremental_backup_survives_every_cut(void **state)
{
	struct promise p;

	(void)state;
	base_incremental(&p);
	learn_tree();
	sweep_once("incremental backup", &p);
}

static void
backup_after_a_killed_backup_survives(void **state)
{
	struct promise p;

	(void)state;
	base_incremental(&p);
	learn_tree();
	sweep_twice("backup after a killed backup", &p);
}

/* What says "nothing changed" vouches for a snapshot that it did not write. */
static void
skip_after_a_killed_backup_survives(void **state)
{
	struct promise p;

	(void)state;
	base_incremental(&p);
	p.skip = true;
	learn_tree();
	sweep_twice("backup --skip-if-unchanged after a killed backup", &p);
}

/* ---- does it find what it is to find? ---- */

static bool
in_data(const char *path)
{
	return strncmp(path, "vault/data", strlen("vault/data")) == 0;
}

static bool
forget_pack(const char *path, bool is_dir)
{
	return !is_dir && in_data(path);
}

static bool
forget_pack_dir(const char *path, bool is_dir)
{
	return is_dir && in_data(path) && strlen(path) > strlen("vault/data");
}

static bool
forget_data_dir(const char *path, bool is_dir)
{
	return is_dir && strcmp(path, "vault/data") == 0;
}

static bool
forget_index(const char *path, bool is_dir)
{
	return !is_dir && strncmp(path, "vault/index/", strlen("vault/index/")) == 0;
}

static bool
forget_index_dir(const char *path, bool is_dir)
{
	return is_dir && strcmp(path, "vault/index") == 0;
}

static bool
forget_snapshot(const char *path, bool is_dir)
{
	return !is_dir && strncmp(path, "vault/snapshots/", strlen("vault/snapshots/")) == 0;
}

static bool
forget_snapshot_dir(const char *path, bool is_dir)
{
	return is_dir && strcmp(path, "vault/snapshots") == 0;
}

static void
every_forgotten_fsync_is_found(void **state)
{
	static const struct {
		const char *what;
		bool (*forget)(const char *path, bool is_dir);
	} defects[] = {
		{ "a pack's", forget_pack },
		{ "that of a pack's directory", forget_pack_dir },
		{ "that of data/", forget_data_dir },
		{ "an index file's", forget_index },
		{ "that of index/", forget_index_dir },
		{ "a snapshot's", forget_snapshot },
		{ "that of snapshots/", forget_snapshot_dir },
	};
	struct promise p;

	(void)state;
	base_first(&p);
	learn_tree();
	for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
		struct tally t = { 0 };
		struct crash_disk d;
		struct err e;

		fresh_disk(VERB_BACKUP);
		crash_disk_init(&d, f.disk);
		d.forget = defects[i].forget;
		assert_int_equal(do_backup(&d.os, f.disk, &(struct backup_result){ 0 }, &e), E_OK);
		assert_true(d.forgotten > 0);
		judge_prefixes(&d, 0, &p, &t, true);
		print_message("# %s fsync forgotten: found after %lu states: %s\n", defects[i].what,
			t.states, t.first);
		assert_true(t.violations > 0);
		crash_disk_done(&d);
	}
}

/* ---- life ---- */

static int
setup(void **state)
{
	const char *given = getenv("HOLDFAST_SWEEP_SEED");
	char path[600];

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	f.seed = given != NULL ? strtoull(given, NULL, 10)
			       : (uint64_t)time(NULL) ^ (uint64_t)getpid();
	print_message("# seed %llu (HOLDFAST_SWEEP_SEED repeats it)\n", (unsigned long long)f.seed);
	temp_dir(f.dir, sizeof(f.dir));
	(void)snprintf(f.base, sizeof(f.base), "%s/base", f.dir);
	(void)snprintf(f.disk, sizeof(f.disk), "%s/disk", f.dir);
	(void)snprintf(f.state, sizeof(f.state), "%s/state", f.dir);
	(void)snprintf(path, sizeof(path), "%s/src", f.dir);
	assert_int_equal(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/src/sub", f.dir);
	assert_int_equal(mkdir(path, 0755), 0);
	put("large", FILE_BYTES, (unsigned)f.seed + 1);
	put("sub/inner", 5000, (unsigned)f.seed + 2);
	put("changed", 100, (unsigned)f.seed + 3);
	put("empty", 0, 0);
	return chdir(f.dir);
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
		cmocka_unit_test(init_survives_every_cut),
		cmocka_unit_test(init_after_a_killed_init_survives),
		cmocka_unit_test(first_backup_survives_every_cut),
		cmocka_unit_test(incremental_backup_survives_every_cut),
		cmocka_unit_test(backup_after_a_killed_backup_survives),
		cmocka_unit_test(skip_after_a_killed_backup_survives),
		cmocka_unit_test(every_forgotten_fsync_is_found),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
