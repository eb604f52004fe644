/*
 * The memory of a vault's health (DV-53, DV-23): three failures in a row or
 * longer than a day are graver, a success forgets, and a history that is damaged,
 * unreadable or dated in the future is never trusted and never refuses anything.
 * Then the real thing: a vault that the kernel lets nobody write to.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/health.h"
#include "store/local.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/make_vault.h"

#define HOUR_S INT64_C(3600)
#define DAY_S  (24 * HOUR_S)

struct bench {
	char dir[256], vault[300], src[300], state[300], file[500];
	struct fault_os os;
	struct fault_store *store;
	struct session s;
	struct heard h;
	struct id repo;
	struct err e;
};

static void
open_it(struct bench *b)
{
	struct session_args args = { .os = &b->os.os,
		.location = b->vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = SESSION_NO_LOCK,
		.listener = &b->h.listener };
	struct store *under = NULL;

	assert_int_equal(local_open(&b->os.os, b->vault, &under, &b->e), E_OK);
	b->store = fault_store_open(under);
	args.store = &b->store->st;
	heard_init(&b->h);
	assert_int_equal(session_open(&b->s, &args, &b->e), E_OK);
	b->repo = b->s.vault->repo_id;
}

static void
close_it(struct bench *b)
{
	session_abandon(&b->s);
	store_close(&(struct store *){ &b->store->st });
}

static int
setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	char hex[ID_HEX_SIZE], path[400];

	assert_non_null(b);
	temp_dir(b->dir, sizeof(b->dir));
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	(void)snprintf(b->src, sizeof(b->src), "%s/src", b->dir);
	(void)snprintf(b->state, sizeof(b->state), "%s/state", b->dir);
	make_vault(os_posix(), b->vault, 2);
	assert_int_equal(mkdir(b->src, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/file", b->src);
	write_file(path, "text", 4);
	fault_os_init(&b->os, os_posix());
	b->os.real_random = true;
	open_it(b);
	id_hex(&b->repo, hex);
	(void)snprintf(b->file, sizeof(b->file), "%s/vaults/%s/health.json", b->state, hex);
	*state = b;
	return 0;
}

/* chattr +i; false where it cannot be done. */
static bool
set_immutable(const char *path, bool on)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), flags = 0;
	bool done;

	assert_true(fd >= 0);
	done = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	done = done && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
	(void)close(fd);
	return done;
}

/* What a failed test left locked must not stay so. */
static void
unlock_vault(struct bench *b)
{
	static const char *const names[] = { ".", "data", "locks" };
	char path[400];

	(void)umount(b->vault);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", b->vault, names[i]);
		(void)set_immutable(path, false);
	}
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	unlock_vault(b);

	close_it(b);
	assert_int_equal(b->os.open_fds, 0);
	fault_os_done(&b->os);
	remove_tree(b->dir);
	free(b);
	return 0;
}

static void
ail(struct bench *b, enum ecode code)
{
	fault_store_set_plan(b->store, (struct fault_store_plan){ .nth = code == E_OK ? 0 : 1,
					       .forever = true,
					       .code = code,
					       .ops = OP_BIT(OP_PROBE) });
}

static enum ecode
gate(struct bench *b)
{
	return health_gate(&b->s, b->state, &b->e);
}

static struct health_summary
history(struct bench *b)
{
	struct health_summary sum;
	struct err e;

	assert_int_equal(health_summary(os_posix(), b->state, &b->repo, &sum, &e), E_OK);
	return sum;
}

/* ---- how long it lasts ---- */

static void
the_second_failure_is_graver_only_after_a_day(void **state)
{
	struct bench *b = *state;
	int64_t first;

	for (int64_t late = -1; late <= 0; late++) {
		ail(b, E_STORE_PROBE);
		first = b->os.wall.s;
		assert_int_equal(gate(b), E_VAULT_UNWELL);
		b->os.wall.s = first + DAY_S + late;
		assert_int_equal(gate(b), late < 0 ? E_VAULT_UNWELL : E_VAULT_UNWELL_STILL);
		assert_string_equal(err_severity(b->e.code), late < 0 ? "SEV-2" : "SEV-1");
		assert_int_equal(history(b).failures, 2);
		assert_int_equal(history(b).first_failure.s, first);
		assert_int_equal(history(b).last_failure.s, first + DAY_S + late);
		ail(b, E_OK);
		assert_int_equal(gate(b), E_OK);
		assert_int_equal(history(b).failures, 0);
	}
}

static void
a_success_in_between_begins_anew(void **state)
{
	struct bench *b = *state;

	for (unsigned i = 0; i < 4; i++) {
		ail(b, E_STORE_PROBE);
		assert_int_equal(gate(b), E_VAULT_UNWELL);
		b->os.wall.s += 20 * HOUR_S;
		assert_int_equal(gate(b), E_VAULT_UNWELL);
		ail(b, E_OK);
		b->os.wall.s += 20 * HOUR_S;
		assert_int_equal(gate(b), E_OK);
		assert_int_equal(history(b).last_success.s, b->os.wall.s);
	}
}

static void
a_clock_that_went_back_proves_nothing(void **state)
{
	struct bench *b = *state;

	ail(b, E_STORE_DRIFT);
	assert_int_equal(gate(b), E_VAULT_UNWELL);
	b->os.wall.s -= 40 * 366 * DAY_S;
	assert_int_equal(gate(b), E_VAULT_UNWELL);       /* not "since a day" */
	assert_int_equal(gate(b), E_VAULT_UNWELL_STILL); /* but the third in a row */
}

static void
other_refusals_are_not_counted(void **state)
{
	struct bench *b = *state;

	for (unsigned i = 0; i < 4; i++) {
		ail(b, E_STORE_SPACE);
		assert_int_equal(gate(b), E_STORE_SPACE);
		ail(b, E_STORE_ATOMIC);
		assert_int_equal(gate(b), E_STORE_ATOMIC);
	}
	assert_int_equal(history(b).failures, 0);
}

/* ---- a history that is none ---- */

static void
write_history(struct bench *b, const char *text)
{
	char dir[500], command[1200];

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(b->file, '/') - b->file), b->file);
	(void)snprintf(
		command, sizeof(command), "mkdir -p -m 700 '%s' && rm -rf '%s'", dir, b->file);
	assert_int_equal(system(command), 0);
	write_file(b->file, text, strlen(text));
}

#define PAST   "\"2026-01-01T00:00:00Z\""
#define FUTURE "\"2999-12-31T23:59:59Z\""

static void
a_damaged_history_is_told_and_begun_anew(void **state)
{
	static const char *const texts[] = { "", "{}", "[1]", "{\"format\":1,\"failures\":7",
		"{\"format\":1,\"failures\":7}", /* without their times: since 1970? */
		"{\"format\":1,\"failures\":7,\"first_failure\":" PAST "}",
		"{\"format\":1,\"failures\":7,\"first_failure\":\"yesterday\",\"last_failure\":" PAST
		"}",
		"{\"format\":2,\"failures\":7,\"first_failure\":" PAST ",\"last_failure\":" PAST
		"}",
		"{\"format\":1,\"failures\":18446744073709551616,\"first_failure\":" PAST
		",\"last_failure\":" PAST "}",
		"{\"format\":1,\"failures\":0,\"reason\":\"\\ud800\"}",
		"{\"format\":1,\"failures\":0}{\"format\":1}" };
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_history(b, texts[i]);
		if (i < 9 && !history(b).damaged)
			fail_msg("believed: %s", texts[i]);
		ail(b, E_STORE_PROBE);
		assert_int_equal(gate(b), E_VAULT_UNWELL);
		assert_int_equal(history(b).failures, 1);
		assert_false(history(b).damaged);
		write_history(b, texts[i]);
		ail(b, E_OK);
		assert_int_equal(gate(b), E_OK); /* refuses nothing */
		assert_true(history(b).has_success);
	}
}

static void
a_history_of_the_future_does_not_hurry(void **state)
{
	struct bench *b = *state;

	write_history(b,
		"{\"format\":1,\"failures\":1,\"first_failure\":" FUTURE ",\"last_failure\":" FUTURE
		",\"reason\":\"E\",\"last_success\":" FUTURE "}");
	ail(b, E_STORE_PROBE);
	assert_int_equal(gate(b), E_VAULT_UNWELL);
	assert_int_equal(history(b).failures, 2); /* what is counted is counted */
	ail(b, E_OK);
	assert_int_equal(gate(b), E_OK);
	assert_int_equal(history(b).last_success.s, b->os.wall.s); /* by the clock of now */
}

static void
a_count_at_its_end_stays_there(void **state)
{
	struct bench *b = *state;

	write_history(b, "{\"format\":1,\"failures\":18446744073709551615,\"first_failure\":" PAST
			 ",\"last_failure\":" PAST "}");
	ail(b, E_STORE_PROBE);
	assert_int_equal(gate(b), E_VAULT_UNWELL_STILL);
	assert_true(history(b).failures == UINT64_MAX);
}

static void
a_history_that_cannot_be_read_is_told(void **state)
{
	struct bench *b = *state;
	struct health_summary sum;
	struct err e;

	write_history(b, "x");
	assert_int_equal(unlink(b->file), 0);
	assert_int_equal(mkdir(b->file, 0700), 0); /* a directory in its place */
	assert_int_equal(health_summary(os_posix(), b->state, &b->repo, &sum, &e), E_REPORT_READ);
	b->h.notes = 0;
	assert_int_equal(gate(b), E_OK);
	assert_int_equal(b->h.notes, 3); /* not read, not kept, passed */
	ail(b, E_STORE_PROBE);
	assert_int_equal(gate(b), E_VAULT_UNWELL);
	assert_non_null(strstr(b->h.last_note, "health_history_not_kept"));
}

/* A longer one than anybody wrote. */
static void
a_history_without_an_end_is_damaged(void **state)
{
	struct bench *b = *state;
	char *text = malloc((size_t)1 << 20);

	assert_non_null(text);
	memset(text, ' ', (size_t)1 << 20);
	text[((size_t)1 << 20) - 1] = '\0';
	write_history(b, text);
	free(text);
	assert_true(history(b).damaged);
	assert_int_equal(gate(b), E_OK);
	assert_false(history(b).damaged);
}

/* ---- every call of reading and writing it ---- */

/* The old one or the new one, never half of one; and the verdict is the probe's. */
static void
one_refused_call(struct bench *b, struct fault_plan p, bool *fired)
{
	struct health_summary sum;
	enum ecode rc;

	write_history(b, "{\"format\":1,\"failures\":1,\"first_failure\":" PAST
			 ",\"last_failure\":" PAST ",\"reason\":\"before\"}");
	b->os.wall.s = 1767225600 + 2 * HOUR_S; /* two hours after it */
	fault_os_plan(&b->os, p);
	rc = gate(b); /* the probe is refused above the kernel: all calls are the history's */
	*fired = b->os.fired > 0;
	fault_os_plan(&b->os, (struct fault_plan){ 0 });
	assert_int_equal(rc, E_VAULT_UNWELL);
	assert_int_equal(b->os.open_fds, 1); /* the vault's directory */
	sum = history(b);
	assert_false(sum.damaged);
	if (*fired && p.mode != FAULT_REFUSE)
		assert_int_equal(sum.failures, 2); /* short calls lose nothing */
	assert_true(sum.failures == 1 || sum.failures == 2);
	assert_int_equal(gate(b), sum.failures == 1 ? E_VAULT_UNWELL : E_VAULT_UNWELL_STILL);
	assert_int_equal(history(b).failures, sum.failures + 1);
}

static void
every_refused_call_of_the_history(void **state)
{
	static const struct fault_plan harms[] = { { .error = EIO }, { .error = ENOSPC },
		{ .error = EACCES }, { .error = EINTR }, { .error = EMFILE, .forever = true },
		{ .error = EIO, .forever = true }, { .mode = FAULT_SHORT_ONE },
		{ .mode = FAULT_SHORT_HALF, .forever = true } };
	struct bench *b = *state;
	unsigned long runs = 0;

	ail(b, E_STORE_PROBE);
	for (size_t i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
		struct fault_plan p = harms[i];
		bool fired = true;

		for (p.nth = 1; fired; p.nth++, runs++) {
			assert_true(p.nth < 200);
			one_refused_call(b, p, &fired);
		}
	}
	print_message("# %lu runs\n", runs);
	assert_true(runs > 40);
}

/* ---- a vault that may only be read ---- */

static enum ecode
back_up(struct bench *b)
{
	const char *target = b->src;
	struct backup_args args = { .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.state_dir = b->state,
		.run_id = "20260102T030405Z-00000001",
		.program_version = "test" };
	struct session_args open = { .os = os_posix(),
		.location = b->vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = SESSION_SHARED,
		.run_id = args.run_id,
		.health_dir = b->state,
		.listener = &b->h.listener };
	struct session s = { .os = NULL };
	struct backup_result r;
	enum ecode rc;

	rc = session_open(&s, &open, &b->e);
	if (rc != E_OK)
		return rc;
	rc = backup_run(&s, &args, &r, &b->e);
	assert_int_equal(r.snapshot_made, rc == E_OK);
	session_abandon(&s);
	return rc;
}

static void
check_read_only(struct bench *b, enum ecode first)
{
	size_t entries = tree_entries(b->vault);

	for (unsigned i = 1; i <= 3; i++) {
		enum ecode rc = back_up(b);

		if (rc != (i < 3 ? first : E_VAULT_UNWELL_STILL))
			fail_msg("time %u: %s: %s", i, err_row(rc)->name, b->e.detail);
		assert_int_equal(err_row(rc)->class, CLASS_VAULT_UNHEALTHY);
		assert_int_equal(history(b).failures, i);
		assert_non_null(strstr(history(b).reason, "E_STORE_"));
	}
	assert_int_equal(tree_entries(b->vault), entries); /* nothing was made, nothing is left */
}

static void
a_read_only_mount_counts(void **state)
{
	struct bench *b = *state;

	if (mount(b->vault, b->vault, NULL, MS_BIND, NULL) != 0) {
		print_message("# mounting is not possible here\n");
		skip();
		return;
	}
	assert_int_equal(mount(NULL, b->vault, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	check_read_only(b, E_STORE_RDONLY); /* the lock is the first thing that is written */
	assert_int_equal(umount(b->vault), 0);
	assert_int_equal(back_up(b), E_OK);
	assert_int_equal(history(b).failures, 0);
}

static void
check_immutable(struct bench *b, const char *name, enum ecode first)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", b->vault, name);
	if (!set_immutable(path, true)) {
		print_message("# directories cannot be made immutable here\n");
		skip();
		return;
	}
	check_read_only(b, first);
	assert_true(set_immutable(path, false));
	assert_int_equal(back_up(b), E_OK);
	assert_int_equal(history(b).failures, 0);
}

static void
an_immutable_vault_counts(void **state)
{
	check_immutable(
		*state, ".", E_VAULT_UNWELL); /* locks/ takes the lock; the probe does not pass */
}

static void
an_immutable_data_directory_counts(void **state)
{
	check_immutable(*state, "data", E_VAULT_UNWELL);
}

static void
an_immutable_lock_directory_counts(void **state)
{
	check_immutable(*state, "locks", E_STORE_RDONLY);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_second_failure_is_graver_only_after_a_day),
		T(a_success_in_between_begins_anew),
		T(a_clock_that_went_back_proves_nothing),
		T(other_refusals_are_not_counted),
		T(a_damaged_history_is_told_and_begun_anew),
		T(a_history_of_the_future_does_not_hurry),
		T(a_count_at_its_end_stays_there),
		T(a_history_that_cannot_be_read_is_told),
		T(a_history_without_an_end_is_damaged),
		T(every_refused_call_of_the_history),
		T(a_read_only_mount_counts),
		T(an_immutable_vault_counts),
		T(an_immutable_data_directory_counts),
		T(an_immutable_lock_directory_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
