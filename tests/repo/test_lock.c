/* lock.c, lock_take.c: taking, holding and letting go, in a world where every call can be refused. */
#include "lock_world.h"

#include <time.h>

/* ---- taking ---- */

static void
the_file_is_as_the_format_says(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);

	expect_text(w, &w->a,
		"{\"time\":\"2026-11-18T11:06:40Z\",\"exclusive\":false,\"hostname\":\"alpha\",\"username\":\"user\",\"pid\":11" OWN_A);
	release(l);
	w->wall_s = START_S;
	w->a.uid = 1000;
	l = take(&w->a, true);
	expect_text(w, &w->a,
		"{\"time\":\"2026-11-18T11:06:40Z\",\"exclusive\":true,\"hostname\":\"alpha\",\"username\":\"user\",\"pid\":11,"
		"\"uid\":1000,\"gid\":1000" OWN_A);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
shared_excludes_exclusive_only(void **state)
{
	static const struct {
		bool held, wanted;
		enum ecode code;
	} rows[] = { { false, false, E_OK }, { false, true, E_LOCKED }, { true, false, E_LOCKED },
		{ true, true, E_LOCKED } };
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lock_args args = { .exclusive = rows[i].wanted };
		struct lock *held = take(&w->a, rows[i].held), *l = NULL;
		struct err e = { .code = E_OK };

		expect_code(lock_take(&w->b.v, &args, &l, &e), rows[i].code, &e);
		assert_int_equal(files(w), rows[i].code == E_OK ? 2 : 1);
		if (rows[i].code == E_LOCKED)
			assert_non_null(
				strstr(e.detail, "user@alpha, process 11, since 2026-11-18T"));
		assert_int_equal(lock_release(&l, NULL), E_OK);
		assert_int_equal(lock_check(held, NULL), E_OK);
		release(held);
		assert_int_equal(files(w), 0);
	}
}

static void
one_waits_200_ms_and_looks_again(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, true);

	assert_int_equal(w->sleeps, 1);
	assert_int_equal(w->slept[0], 200000000);
	assert_int_equal(w->calls, 3);
	assert_int_equal(w->call[0].what, 'l');
	assert_int_equal(w->call[1].what, 'p');
	assert_int_equal(w->call[2].what, 'l');
	release(l);
}

static void
b_writes_exclusive(struct world *w)
{
	w->remembered = put_text(w,
		"{\"time\":\"2026-11-18T11:06:40Z\",\"exclusive\":true,\"hostname\":\"beta\",\"pid\":22}");
}

static void
a_lock_that_appears_meanwhile_wins(void **state)
{
	struct lock_args args = { .exclusive = false };
	struct world *w = *state;
	struct id left;

	w->on_sleep = b_writes_exclusive;
	expect_refused(&w->a, &args, E_LOCKED);
	left = only_file(w); /* ours is gone */
	assert_memory_equal(&left, &w->remembered, sizeof(left));
}

static void
harmless_locks_are_read_once(void **state)
{
	struct world *w = *state;
	struct lock *held = take(&w->b, false), *l;
	size_t gets = 0, before = w->calls;

	l = take(&w->a, false);
	for (size_t i = before; i < w->calls; i++)
		gets += w->call[i].what == 'g';
	assert_int_equal(gets, 1);
	release(l);
	release(held);
}

/* Two at once, in lock step: both look, both write, both look again. */
struct racer {
	struct host *h;
	struct world *w;
	enum ecode rc;
	bool exclusive;
};
static pthread_barrier_t step;
static _Thread_local unsigned steps;

static enum ecode
racing_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	(void)pthread_barrier_wait(&step); /* both have looked */
	return store_put(((struct world *)st)->below, name, parts, n, e);
}

static void
racing_sleep(const struct os *os, uint64_t ns)
{
	world_of(os)->mono += ns;
	if (steps++ == 0)
		(void)pthread_barrier_wait(&step); /* both have written */
}

static void *
race(void *arg)
{
	struct racer *r = arg;
	struct lock_args args = { .exclusive = r->exclusive };
	struct lock *l = NULL;

	steps = 0;
	r->rc = lock_take(&r->h->v, &args, &l, NULL);
	if (lock_release(&l, NULL) != E_OK)
		r->rc = E_BUG;
	return NULL;
}

static void
of_two_simultaneous_ones_at_most_one_wins(void **state)
{
	static const struct {
		bool a, b, both;
	} rows[] = { { true, true, false }, { true, false, false }, { false, false, true } };
	struct world *w = *state;
	struct store_ops ops = layer;

	ops.put = racing_put;
	w->st.ops = &ops;
	w->a.os.sleep_ns = w->b.os.sleep_ns = racing_sleep;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct racer a = { .h = &w->a, .w = w, .exclusive = rows[i].a };
		struct racer b = { .h = &w->b, .w = w, .exclusive = rows[i].b };
		pthread_t ta, tb;

		assert_int_equal(pthread_barrier_init(&step, NULL, 2), 0);
		assert_int_equal(pthread_create(&ta, NULL, race, &a), 0);
		assert_int_equal(pthread_create(&tb, NULL, race, &b), 0);
		assert_int_equal(pthread_join(ta, NULL), 0);
		assert_int_equal(pthread_join(tb, NULL), 0);
		assert_int_equal(pthread_barrier_destroy(&step), 0);
		if (rows[i].both)
			assert_true(a.rc == E_OK && b.rc == E_OK);
		else
			assert_false(a.rc == E_OK && b.rc == E_OK);
		assert_int_equal(files(w), 0);
	}
}

/* ---- what cannot be read ---- */

static void
empty_files_are_ignored(void **state)
{
	struct world *w = *state;
	struct lock *l;

	(void)put_raw(w, 1, "", 0);
	l = take(&w->a, true);
	assert_int_equal(w->sleeps, 1);
	release(l);
	assert_int_equal(files(w), 1);
}

static uint64_t
total_slept(const struct world *w)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < w->sleeps && i < 64; i++)
		sum += w->slept[i];
	return sum;
}

static void
garbage_is_looked_at_four_times_and_then_refused(void **state)
{
	struct lock_args args = { .exclusive = false };
	struct world *w = *state;
	size_t lists = 0;

	(void)put_raw(w, 1, "garbage that is no lock at all, but long enough", 47);
	expect_refused(&w->a, &args, E_LOCK_UNREADABLE);
	for (size_t i = 0; i < w->calls; i++)
		lists += w->call[i].what == 'l';
	assert_int_equal(lists, 4);
	w->slept[63] = 0;
	assert_true(w->mono - 1000 * S == 35 * S);
	assert_int_equal(files(w), 1);
}

static void
remove_garbage(struct world *w)
{
	assert_int_equal(below_erase(w, &w->remembered), E_OK);
}

static void
a_half_uploaded_lock_gets_time(void **state)
{
	struct world *w = *state;
	struct lock *l;

	w->remembered = put_raw(w, 1, "half of a lock", 14);
	w->on_sleep = remove_garbage;
	w->sleep_at = 3;
	l = take(&w->a, true);
	assert_true(total_slept(w) == 5 * S + S / 5);
	release(l);
}

static void
a_conflict_is_told_before_garbage(void **state)
{
	struct lock_args args = { .exclusive = false };
	struct world *w = *state;
	struct lock *held;

	held = take(&w->b, true);
	w->sleeps = 0;
	(void)put_raw(w, 1, "garbage", 7);
	expect_refused(&w->a, &args, E_LOCKED);
	assert_int_equal(w->sleeps, 0);
	release(held);
}

/* ---- --retry-lock ---- */

static void
release_at_17_s(struct world *w)
{
	if (w->mono >= 1017 * S && w->remembered.b[0] != 0xee) {
		assert_int_equal(below_erase(w, &w->remembered), E_OK);
		w->remembered.b[0] = 0xee; /* done */
	}
}

static void
waiting_ends_when_the_other_goes(void **state)
{
	struct lock_args args = { .exclusive = true, .retry_for_s = 600 };
	struct world *w = *state;
	struct lock *l = NULL;

	b_writes_exclusive(w);
	w->on_sleep = release_at_17_s;
	assert_int_equal(lock_take(&w->a.v, &args, &l, NULL), E_OK);
	/* tried at 0, 5, 15, 35 s; then the 200 ms */
	assert_true(w->mono == 1035 * S + S / 5);
	release(l);
}

static void
waiting_ends_with_one_last_attempt(void **state)
{
	struct lock_args args = { .exclusive = true, .retry_for_s = 250 };
	struct world *w = *state;
	size_t lists = 0;

	b_writes_exclusive(w);
	expect_refused(&w->a, &args, E_LOCKED);
	assert_true(w->mono == 1250 * S);
	for (size_t i = 0; i < w->calls; i++)
		lists += w->call[i].what == 'l';
	assert_int_equal(lists, 8); /* at 0, 5, 15, 35, 75, 135, 195, 250 */
	assert_int_equal(files(w), 1);
}

static bool
stopped_after_3(void *arg)
{
	unsigned *asked = arg;

	return ++*asked > 3;
}

static void
a_stop_ends_the_waiting(void **state)
{
	unsigned asked = 0;
	struct lock_args args = {
		.exclusive = true, .retry_for_s = 600, .stopped = stopped_after_3, .arg = &asked
	};
	struct world *w = *state;

	b_writes_exclusive(w);
	expect_refused(&w->a, &args, E_FLOW_STOPPED);
	assert_true(w->mono < 1002 * S);
	assert_int_equal(files(w), 1);
	/* also between writing and looking again: nothing of ours stays */
	assert_int_equal(below_erase(w, &w->remembered), E_OK);
	expect_refused(&w->a, &args, E_FLOW_STOPPED);
	assert_int_equal(files(w), 0);
}

/* ---- holding ---- */

static void
refreshing_writes_before_it_erases(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct id old = only_file(w), now;
	size_t before;

	pass(w, 290 * S);
	assert_int_equal(lock_check(l, NULL), E_OK);
	now = only_file(w);
	assert_memory_equal(&now, &old, sizeof(old));
	before = w->calls;
	pass(w, 11 * S);
	assert_int_equal(lock_check(l, NULL), E_OK);
	now = only_file(w);
	assert_int_not_equal(id_cmp(&now, &old), 0);
	assert_int_equal(w->calls, before + 2);
	assert_int_equal(w->call[before].what, 'p');
	assert_int_equal(w->call[before + 1].what, 'e');
	assert_int_equal(id_cmp(&w->call[before].id, &now), 0);
	assert_int_equal(id_cmp(&w->call[before + 1].id, &old), 0);
	expect_text(w, &w->a,
		"{\"time\":\"2026-11-18T11:11:41.2Z\",\"exclusive\":false,\"hostname\":\"alpha\",\"username\":\"user\",\"pid\":11" OWN_A);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
the_wall_clock_may_jump(void **state)
{
	/* 2038 is where 32 bits end */
	static const int64_t jumps[] = { 86400 * 3650, -86400 * 3650, 3600, -3600, 86400, -86400,
		-START_S, INT32_MAX - START_S, INT32_MAX - START_S + INT64_C(1) };
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	size_t before = w->calls;

	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		w->wall_s = START_S + jumps[i];
		assert_int_equal(lock_check(l, NULL), E_OK);
	}
	assert_int_equal(w->calls, before);
	release(l);
}

static void
refuse_all(struct world *w, char what, enum ecode code)
{
	w->fail_what = what;
	w->fail_from = 1;
	w->fail_seen = 0;
	w->fail_count = SIZE_MAX;
	w->fail_code = code;
}

static void
a_refused_refresh_is_patient_until_22_minutes(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct err e = { .code = E_OK };

	refuse_all(w, 'p', E_STORE_WRITE);
	for (unsigned s = 0; s < 1320; s += 60) {
		pass(w, 60 * S);
		expect_code(lock_check(l, &e), E_OK, &e);
	}
	pass(w, 60 * S); /* 23 minutes */
	expect_code(lock_check(l, &e), E_STORE_WRITE, &e);
	w->fail_what = 0; /* the store is back, and our file is still there */
	expect_code(lock_check(l, &e), E_OK, &e);
	(void)only_file(w);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
suspend_counts(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct id old = only_file(w), now;

	w->boot += 7200 * S; /* the monotonic clock stood still */
	w->sleeps = 0;
	assert_int_equal(lock_check(l, NULL), E_OK);
	assert_int_equal(w->sleeps, 1); /* 200 ms between the two looks */
	now = only_file(w);
	assert_int_not_equal(id_cmp(&now, &old), 0);
	release(l);
}

static void
a_lock_removed_by_others_is_lost_for_good(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct id old = only_file(w);
	struct err e = { .code = E_OK };

	w->boot += 1351 * S;
	assert_int_equal(below_erase(w, &old), E_OK);
	expect_code(lock_check(l, &e), E_LOCK_LOST, &e);
	assert_int_equal(files(w), 0);
	expect_code(lock_check(l, &e), E_LOCK_LOST, &e);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
erase_remembered(struct world *w)
{
	assert_int_equal(below_erase(w, &w->remembered), E_OK);
}

static void
a_lock_removed_between_the_two_looks_is_lost(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct err e = { .code = E_OK };

	w->remembered = only_file(w);
	w->boot += 1351 * S;
	w->on_sleep = erase_remembered;
	expect_code(lock_check(l, &e), E_LOCK_LOST, &e);
	assert_int_equal(files(w), 0); /* the new one was taken back */
	release(l);
}

static void
a_listing_that_fails_is_not_an_absent_lock(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	struct err e = { .code = E_OK };

	w->boot += 1351 * S;
	refuse_all(w, 'l', E_STORE_READ);
	expect_code(lock_check(l, &e), E_STORE_READ, &e);
	w->fail_what = 0;
	expect_code(lock_check(l, &e), E_OK, &e);
	release(l);
}

static void
an_old_file_that_would_not_go_goes_later(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);

	refuse_all(w, 'e', E_STORE_ERASE);
	pass(w, 301 * S);
	assert_int_equal(lock_check(l, NULL), E_OK);
	assert_int_equal(files(w), 2);
	w->fail_what = 0;
	pass(w, 301 * S);
	assert_int_equal(lock_check(l, NULL), E_OK);
	assert_int_equal(files(w), 1);
	release(l);
	assert_int_equal(files(w), 0);
}

/* ---- letting go ---- */

static void
releasing_is_tried_for_a_minute(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);

	refuse_all(w, 'e', E_STORE_ERASE);
	w->fail_count = 5;
	release(l);
	assert_int_equal(files(w), 0);
}

static void
releasing_gives_up_after_a_minute(void **state)
{
	struct world *w = *state;
	struct lock *l = take(&w->a, false);
	uint64_t begin = w->mono;
	struct err e = { .code = E_OK };

	refuse_all(w, 'e', E_STORE_ERASE);
	expect_code(lock_release(&l, &e), E_STORE_ERASE, &e);
	assert_null(l);
	assert_int_equal(e.notes, 1);
	assert_true(w->mono - begin >= 60 * S && w->mono - begin < 70 * S);
	assert_int_equal(lock_release(&l, &e), E_OK); /* nothing is held */
}

static void
a_read_only_store_is_not_asked_again(void **state)
{
	struct lock_args args = { .exclusive = false };
	struct world *w = *state;

	refuse_all(w, 'p', E_STORE_RDONLY);
	expect_refused(&w->a, &args, E_STORE_RDONLY);
	assert_true(w->mono == 1000 * S);
}

static void
an_unsure_write_is_answered_by_looking(void **state)
{
	struct lock_args args = { .exclusive = true };
	struct world *w = *state;
	struct lock *l;

	refuse_all(w, 'p', E_STORE_UNSURE);
	w->fail_after = true;
	l = take(&w->a, true);
	assert_int_equal(files(w), 1);
	w->fail_what = 0;
	release(l);
	refuse_all(w, 'p', E_STORE_UNSURE);
	w->fail_after = false; /* it did not happen */
	expect_refused(&w->a, &args, E_STORE_UNSURE);
	assert_int_equal(files(w), 0);
}

/* One round of work under a lock; the first refusal ends it. */
static enum ecode
work(struct world *w, struct err *e)
{
	struct lock_args args = { .exclusive = false };
	struct lock *l = NULL;
	enum ecode rc = lock_take(&w->a.v, &args, &l, e), rc2;

	if (rc == E_OK) {
		pass(w, 301 * S);
		rc = lock_check(l, e);
	}
	if (rc == E_OK) {
		w->boot += 1400 * S;
		rc = lock_check(l, e);
	}
	rc2 = lock_release(&l, rc == E_OK ? e : NULL);
	return rc != E_OK ? rc : rc2;
}

/* The n-th call of the store refused, before or after it happened: never a file left, and the next run works. */
static void
any_single_refusal_leaves_nothing_behind(void **state)
{
	static const enum ecode codes[] = { E_STORE_WRITE, E_STORE_READ, E_NOMEM };
	struct world *w = *state;
	struct lock *other = take(&w->b, false);
	unsigned refused = 0;

	for (unsigned variant = 0; variant < 6; variant++) {
		for (size_t n = 1;; n++) {
			struct err e = { .code = E_OK };

			w->fail_what = '*';
			w->fail_from = n;
			w->fail_count = 1;
			w->fail_seen = 0;
			w->fail_code = codes[variant / 2];
			w->fail_after = variant % 2 != 0;
			enum ecode rc = work(w, &e);

			refused += rc != E_OK;
			assert_true(rc == E_OK || rc == e.code);
			assert_int_equal(files(w), 1); /* the other's */
			if (w->fail_seen < n)
				break;
		}
	}
	assert_true(refused > 10);
	w->fail_what = 0;
	release(other);
}

/* ---- the thread ---- */

static void
the_thread_refreshes_by_itself(void **state)
{
	struct lock_args args = { .refresh_thread = true };
	struct world *w = *state;
	struct lock *l = NULL;
	struct id old, now;
	time_t give_up = time(NULL) + 20;

	assert_int_equal(lock_take(&w->a.v, &args, &l, NULL), E_OK);
	old = only_file(w);
	w->clock_stands = true;
	w->mono = 0; /* its waits are over at once */
	w->boot += 301 * S;
	do {
		struct store_listing names = { .n = 0 };

		assert_int_equal(store_list_all(w->below, O_LOCK, &names, NULL), E_OK);
		now = names.n == 1 ? names.v[0].id : old;
		store_listing_done(&names);
	} while (id_cmp(&now, &old) == 0 && time(NULL) < give_up);
	assert_int_not_equal(id_cmp(&now, &old), 0);
	assert_int_equal(lock_check(l, NULL), E_OK);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
the_thread_ends_at_once(void **state)
{
	struct lock_args args = { .refresh_thread = true };
	struct world *w = *state;
	time_t begin = time(NULL);

	for (unsigned i = 0; i < 50; i++) {
		struct lock *l = NULL;

		w->mono =
			os_posix()->monotonic_ns(os_posix()); /* so that its waits are real ones */
		assert_int_equal(lock_take(&w->a.v, &args, &l, NULL), E_OK);
		release(l);
	}
	assert_true(time(NULL) - begin < 5);
	assert_int_equal(files(w), 0);
}

/* ---- judging, parsing, listing ---- */

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static void
who_is_dead(void **state)
{
	static const struct {
		const char *host;
		int64_t age_s, pid;
		int kill_answer;
		enum lock_verdict verdict;
	} rows[] = {
		{ "alpha", 0, 5, 0, LOCK_ALIVE }, { "alpha", 0, 5, -ESRCH, LOCK_DEAD_PROCESS },
		{ "alpha", 0, 5, -EPERM, LOCK_ALIVE }, /* another user's */
		{ "alpha", 0, 5, -EINVAL, LOCK_ALIVE }, { "beta", 0, 5, -ESRCH, LOCK_UNKNOWN_HOST },
		{ "", 0, 5, -ESRCH, LOCK_UNKNOWN_HOST },
		{ "alpha", 0, 0, -ESRCH, LOCK_UNKNOWN_HOST },
		{ "alpha", 0, -5, -ESRCH, LOCK_UNKNOWN_HOST },
		{ "alpha", 0, INT64_MAX, -ESRCH, LOCK_UNKNOWN_HOST },
		{ "alpha", 1799, 5, 0, LOCK_ALIVE }, { "alpha", 1800, 5, 0, LOCK_ALIVE },
		{ "alpha", 1801, 5, 0, LOCK_TOO_OLD }, { "beta", 1801, 5, 0, LOCK_TOO_OLD },
		{ "beta", 1799, 5, 0, LOCK_UNKNOWN_HOST },
		{ "beta", -86400, 5, 0, LOCK_UNKNOWN_HOST }, /* from the future: never old */
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lock_info info = { .time = { .s = START_S - rows[i].age_s },
			.hostname = text(rows[i].host),
			.pid = rows[i].pid };

		w->a.kill_answer = rows[i].kill_answer;
		if (lock_judge(&w->a.os, &info) != rows[i].verdict)
			fail_msg("row %zu", i);
	}
}

static void
records_are_read(void **state)
{
	static const char json[] =
		"{\"time\":\"2026-11-18T11:06:40.5+01:00\",\"exclusive\":true,\"hostname\":\"h\\u003c\","
		"\"username\":\"u\",\"pid\":123,\"uid\":4294967295,\"gid\":1,\"new\":[{}]}";
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct lock_info info;

	(void)state;
	assert_int_equal(lock_parse(json, sizeof(json) - 1, &a, &info, NULL), E_OK);
	assert_true(info.exclusive);
	assert_int_equal(info.pid, 123);
	assert_true(info.uid == UINT32_MAX);
	assert_int_equal(info.hostname.len, 2);
	assert_memory_equal(info.hostname.p, "h<", 2);
	assert_int_equal(info.time.ns, 500000000);
	for (size_t len = 0; len < sizeof(json) - 1; len++)
		assert_int_not_equal(lock_parse(json, len, &a, &info, NULL), E_OK);
	assert_int_equal(lock_parse("{}", 2, &a, &info, NULL), E_OK);
	assert_false(info.exclusive);
	assert_true(info.time.s < 0); /* as old as can be */
}

static void
unusable_records_are_refused(void **state)
{
	static const char *const bad[] = { "", "[]", "null", "{\"time\":1}", "{\"time\":\"now\"}",
		"{\"exclusive\":1}", "{\"pid\":\"1\"}", "{\"pid\":1e3}", "{\"uid\":4294967296}",
		"{\"hostname\":7}", "{} {}" };
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct lock_info info = { .pid = 77 };

		if (lock_parse(bad[i], strlen(bad[i]), &a, &info, NULL) == E_OK)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(info.pid, 77);
	}
}

static void
a_listing_counts_what_it_cannot_read(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct world *w = *state;
	struct lock *l = take(&w->a, true);
	struct id own = only_file(w);
	struct lock_info *infos = NULL;
	size_t n = 99, unreadable = 99;
	struct err e = { .code = E_OK };

	(void)put_raw(w, 1, "garbage", 7);
	(void)put_raw(w, 2, "", 0);
	expect_code(lock_list(&w->b.v, &a, &infos, &n, &unreadable, &e), E_OK, &e);
	assert_int_equal(n, 1);
	assert_int_equal(unreadable, 2);
	assert_true(infos[0].exclusive);
	assert_int_equal(infos[0].pid, 11);
	assert_int_equal(id_cmp(&infos[0].id, &own), 0);
	refuse_all(w, 'l', E_STORE_READ);
	expect_code(lock_list(&w->b.v, &a, &infos, &n, &unreadable, &e), E_STORE_READ, &e);
	assert_int_equal(n, 1);
	w->fail_what = 0;
	release(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_is_as_the_format_says, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_excludes_exclusive_only, setup, teardown),
		cmocka_unit_test_setup_teardown(one_waits_200_ms_and_looks_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lock_that_appears_meanwhile_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(harmless_locks_are_read_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			of_two_simultaneous_ones_at_most_one_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_files_are_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(
			garbage_is_looked_at_four_times_and_then_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_half_uploaded_lock_gets_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_conflict_is_told_before_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_ends_when_the_other_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			waiting_ends_with_one_last_attempt, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stop_ends_the_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(
			refreshing_writes_before_it_erases, setup, teardown),
		cmocka_unit_test_setup_teardown(the_wall_clock_may_jump, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_refused_refresh_is_patient_until_22_minutes, setup, teardown),
		cmocka_unit_test_setup_teardown(suspend_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lock_removed_by_others_is_lost_for_good, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_lock_removed_between_the_two_looks_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_listing_that_fails_is_not_an_absent_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_old_file_that_would_not_go_goes_later, setup, teardown),
		cmocka_unit_test_setup_teardown(releasing_is_tried_for_a_minute, setup, teardown),
		cmocka_unit_test_setup_teardown(releasing_gives_up_after_a_minute, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_read_only_store_is_not_asked_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_unsure_write_is_answered_by_looking, setup, teardown),
		cmocka_unit_test_setup_teardown(
			any_single_refusal_leaves_nothing_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(the_thread_refreshes_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(the_thread_ends_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_dead, setup, teardown),
		cmocka_unit_test_setup_teardown(records_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(unusable_records_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_listing_counts_what_it_cannot_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
