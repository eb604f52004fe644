/* lock_judge.c, lock_take.c: a lock goes unasked only when its process is provably gone (X-09, L-26, R6, R13). */
#include "lock_world.h"

#define HOUR INT64_C(3600)
#define DAY  INT64_C(86400)

/* ---- what others left ---- */

/* Everything of alpha, process 77 begun at tick 7700, an hour ago, shared: rows change some of it. */
struct left {
	const char *machine, *boot, *host, *raw; /* raw: the whole member "holdfast" */
	int64_t age_s;
	uint64_t ticks, pid_ns, time_ns;
	int pid;
	bool exclusive;
};

static struct left
left_new(void)
{
	return (struct left){ .machine = MACHINE_A,
		.boot = BOOT_A,
		.host = "alpha",
		.age_s = 3600,
		.ticks = 7700,
		.pid_ns = 7,
		.time_ns = 8,
		.pid = 77 };
}

static struct id
leave(struct world *w, const struct left *l)
{
	struct instant t = { .s = w->wall_s - l->age_s };
	char when[INSTANT_TEXT_MAX], own[512], text[1024];

	when[instant_format(t, when)] = '\0';
	(void)snprintf(own, sizeof(own),
		"{\"run_id\":\"20261118T100000Z-00112233\",\"identity\":{\"machine\":\"%s\",\"boot\":\"%s\",\"pid\":%d,"
		"\"started_ticks\":%llu,\"pid_ns\":%llu,\"time_ns\":%llu}}",
		l->machine, l->boot, l->pid, (unsigned long long)l->ticks,
		(unsigned long long)l->pid_ns, (unsigned long long)l->time_ns);
	(void)snprintf(text, sizeof(text),
		"{\"time\":\"%s\",\"exclusive\":%s,\"hostname\":\"%s\",\"username\":\"ada\",\"pid\":%d,\"holdfast\":%s}",
		when, l->exclusive ? "true" : "false", l->host, l->pid,
		l->raw == NULL ? own : l->raw);
	return put_text(w, text);
}

static struct id
leave_dead(struct world *w, bool exclusive)
{
	struct left l = left_new();

	l.exclusive = exclusive;
	w->a.kill_answer = -ESRCH;
	return leave(w, &l);
}

/* ---- what lock_take() told ---- */

struct heard {
	unsigned calls, stays;
	char who[LOCK_WHO_BYTES], why[128], run[64];
	enum ecode refusal;
};

static void
hear(void *arg, const struct lock_takeover *what)
{
	struct heard *h = arg;

	h->calls++;
	lock_who(what->info, h->who);
	(void)snprintf(h->why, sizeof(h->why), "%s", what->why);
	(void)snprintf(h->run, sizeof(h->run), "%.*s", (int)what->info->run_id.len,
		(const char *)what->info->run_id.p);
	h->stays += what->refusal != NULL;
	h->refusal = what->refusal == NULL ? E_OK : what->refusal->code;
}

static enum ecode
try(struct host *by, bool exclusive, struct heard *h, struct lock **out, struct err *e)
{
	struct lock_args args = { .exclusive = exclusive, .taken_over = hear, .arg = h };

	*h = (struct heard){ .calls = 0 };
	*out = NULL;
	return lock_take(&by->v, &args, out, e);
}

static bool
is_there(struct world *w, const struct id *id)
{
	struct oname name = { .kind = O_LOCK, .id = *id };
	uint64_t size;

	return store_stat(w->below, &name, &size, NULL) == E_OK;
}

/* ---- taking over ---- */

static void
dead_locks_of_any_kind_go_and_are_told(void **state)
{
	struct world *w = *state;

	for (unsigned row = 0; row < 4; row++) {
		struct err e = { .code = E_OK };
		struct heard h;
		struct lock *l;

		(void)leave_dead(w, row / 2 != 0);
		expect_code(try(&w->a, row % 2 != 0, &h, &l, &e), E_OK, &e);
		(void)only_file(w); /* ours */
		assert_int_equal(h.calls, 1);
		assert_int_equal(h.stays, 0);
		assert_non_null(strstr(h.who, row / 2 != 0 ? "exclusive lock " : "shared lock "));
		assert_non_null(strstr(h.who, " of ada@alpha, process 77, since 2026-11-18T"));
		assert_string_equal(h.why, "its process has ended");
		assert_string_equal(h.run, "20261118T100000Z-00112233");
		release(l);
		assert_int_equal(files(w), 0);
	}
}

static void
it_is_judged_twice_with_the_wait_in_between(void **state)
{
	static const char want[] = { 'l', 's', 'g', 'p', 'l', 's', 'g',
		'e' }; /* a size, then the bytes */
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;
	struct id dead = leave_dead(w, true);

	expect_code(try(&w->a, true, &h, &l, &e), E_OK, &e);
	assert_int_equal(w->sleeps, 1);
	assert_int_equal(w->slept[0], 200000000);
	assert_int_equal(w->calls, sizeof(want));
	for (size_t i = 0; i < sizeof(want); i++)
		assert_int_equal(w->call[i].what, want[i]);
	assert_memory_equal(&w->call[7].id, &dead, sizeof(dead));
	release(l);
}

static void
comes_to_life(struct world *w)
{
	w->a.kill_answer = 0;
	w->a.other_ticks = 7700;
}

static void
goes_by_itself(struct world *w)
{
	assert_int_equal(below_erase(w, &w->remembered), E_OK);
}

static void
what_is_alive_at_the_second_look_stays(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;
	struct id dead = leave_dead(w, true), left;

	w->on_sleep = comes_to_life;
	expect_code(try(&w->a, false, &h, &l, &e), E_LOCKED, &e);
	assert_int_equal(h.calls, 0);
	left = only_file(w);
	assert_memory_equal(&left, &dead, sizeof(left));
}

static void
what_went_meanwhile_is_nobodys_news(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;

	w->remembered = leave_dead(w, true);
	w->on_sleep = goes_by_itself;
	expect_code(try(&w->a, true, &h, &l, &e), E_OK, &e);
	assert_int_equal(h.calls, 0);
	release(l);
}

static void
a_death_between_the_looks_waits_for_the_next(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct left left = left_new();
	struct heard h;
	struct lock *l;
	struct id id;

	comes_to_life(w);
	id = leave(w, &left);
	expect_code(try(&w->a, false, &h, &l, &e), E_OK, &e);
	w->a.kill_answer = -ESRCH;
	assert_int_equal(h.calls, 0);
	assert_true(is_there(w, &id));
	release(l);
	expect_code(try(&w->a, false, &h, &l, &e), E_OK, &e);
	assert_int_equal(h.calls, 1);
	assert_false(is_there(w, &id));
	release(l);
}

/* While one waits, another takes the whole lock: both find the dead one, both may remove it. */
static struct lock *meanwhile;

static void
another_takes_it(struct world *w)
{
	struct lock_args args = { .exclusive = false };
	struct host *b = &w->b;

	w->on_sleep = NULL;
	b->machine = MACHINE_A;
	b->boot_id = BOOT_A;
	b->kill_answer = -ESRCH;
	assert_int_equal(lock_take(&b->v, &args, &meanwhile, NULL), E_OK);
	assert_int_equal(files(w), 2);
}

static void
two_may_take_it_over_at_once(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;

	(void)leave_dead(w, false);
	w->on_sleep = another_takes_it;
	/* nobody of alpha asks whether beta's new lock lives: it is shared */
	expect_code(try(&w->a, false, &h, &l, &e), E_OK, &e);
	assert_int_equal(h.calls, 0);
	assert_int_equal(lock_check(meanwhile, NULL), E_OK);
	release(meanwhile);
	release(l);
	assert_int_equal(files(w), 0);
}

static void
many_go_at_once(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct left l = left_new();
	struct heard h;
	struct lock *taken;

	w->a.kill_answer = -ESRCH;
	for (unsigned i = 0; i < 30; i++) {
		l.pid = 100 + (int)i;
		l.exclusive = i % 2 != 0;
		(void)leave(w, &l);
	}
	expect_code(try(&w->a, true, &h, &taken, &e), E_OK, &e);
	assert_int_equal(h.calls, 30);
	(void)only_file(w);
	assert_int_equal(w->sleeps, 1); /* one wait for all */
	release(taken);
}

static void
what_a_store_will_not_remove_is_told_and_does_not_count(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;
	struct id dead = leave_dead(w, true);

	w->fail_what = 'e';
	w->fail_from = 1;
	w->fail_count = 1;
	w->fail_code = E_STORE_ERASE;
	expect_code(try(&w->a, true, &h, &l, &e), E_OK, &e);
	assert_int_equal(h.calls, 1);
	assert_int_equal(h.stays, 1);
	assert_int_equal(h.refusal, E_STORE_ERASE);
	assert_true(is_there(w, &dead));
	release(l);
}

static void
a_dead_lock_beside_an_unreadable_one_goes_all_the_same(void **state)
{
	struct err e = { .code = E_OK };
	struct world *w = *state;
	struct heard h;
	struct lock *l;
	struct id dead = leave_dead(w, true);

	w->remembered = put_raw(w, 1, "half of a lock", 14);
	w->on_sleep = goes_by_itself; /* the half one is whole, and released, after 5 s */
	w->sleep_at = 3;
	expect_code(try(&w->a, true, &h, &l, &e), E_OK, &e);
	assert_int_equal(h.calls, 1);
	assert_false(is_there(w, &dead));
	release(l);
}

/* ---- anything less certain ---- */

struct doubt {
	const char *name;
	struct left left;
	int kill_answer;
	uint64_t other_ticks;
	const char *said; /* in the refusal; NULL: it goes */
};

static size_t
doubts(struct doubt *rows)
{
	struct left l = left_new();
	size_t n = 0;

	rows[n++] = (struct doubt){ "no such process", l, -ESRCH, 0, NULL };
	rows[n++] = (struct doubt){ "another process with its number", l, 0, 7701, NULL };
	rows[n++] = (struct doubt){ "the same process", l, 0, 7700, "the process is running" };
	rows[n++] =
		(struct doubt){ "… of another user", l, -EPERM, 7700, "the process is running" };
	l.age_s = 30 * DAY;
	rows[n++] = (struct doubt){ "… and not refreshed for a month", l, 0, 7700,
		"the process is running" };
	l = left_new();
	l.boot = BOOT_B;
	l.age_s = 5061;
	rows[n++] = (struct doubt){ "before this boot", l, 0, 7700, NULL };
	l.age_s = 4900;
	rows[n++] = (struct doubt){ "another boot, but refreshed since this one", l, -ESRCH, 0,
		"more than 30 minutes; this machine was started anew" };
	l.age_s = 0;
	rows[n++] = (struct doubt){ "a living clone of this machine", l, -ESRCH, 0,
		"within 30 minutes; this machine was started anew" };
	l.age_s = DAY;
	l.host = "beta";
	rows[n++] = (struct doubt){ "another boot and name", l, -ESRCH, 0, "started anew" };
	l = left_new();
	l.machine = MACHINE_B;
	rows[n++] = (struct doubt){ "another machine", l, -ESRCH, 0, "it is of another machine" };
	l = left_new();
	l.pid_ns = 9;
	rows[n++] =
		(struct doubt){ "another pid namespace", l, -ESRCH, 0, "in another pid namespace" };
	l = left_new();
	l.time_ns = 9;
	rows[n++] = (struct doubt){ "another time namespace", l, 0, 1, "cannot be compared" };
	l = left_new();
	l.raw = "{}";
	rows[n++] =
		(struct doubt){ "restic's, process gone", l, -ESRCH, 0, "more than 30 minutes" };
	l.age_s = 60;
	rows[n++] = (struct doubt){ "restic's, process gone, fresh", l, -ESRCH, 0,
		"the process is not there any more" };
	l.raw = "7";
	rows[n++] = (struct doubt){ "a member that is none", l, -ESRCH, 0, "not there any more" };
	l.raw = "{\"identity\":{\"boot\":\"../..\",\"pid\":77}}";
	rows[n++] =
		(struct doubt){ "an identity that is none", l, -ESRCH, 0, "not there any more" };
	l.raw = "{\"identity\":{\"machine\":\"" MACHINE_A "\",\"boot\":\"" BOOT_A
		"\",\"pid\":-1,\"pid_ns\":7}}";
	rows[n++] = (struct doubt){ "an identity with a group of processes", l, -ESRCH, 0,
		"not there any more" };
	return n;
}

static void
only_a_proof_counts(void **state)
{
	struct world *w = *state;
	struct doubt rows[32];
	size_t n = doubts(rows);

	assert_true(n > 15 && n <= 32);
	for (size_t i = 0; i < 2 * n; i++) {
		struct doubt *d = &rows[i / 2];
		struct err e = { .code = E_OK };
		struct heard h;
		struct lock *l;
		struct id id;
		enum ecode rc;

		w->wall_s = START_S;
		w->boot = 5000 * S;
		w->a.kill_answer = d->kill_answer;
		w->a.other_ticks = d->other_ticks;
		d->left.exclusive = i % 2 != 0;
		id = leave(w, &d->left);
		rc = try(&w->a, i % 2 == 0, &h, &l, &e); /* always a conflict */
		if (rc != (d->said == NULL ? E_OK : E_LOCKED) || is_there(w, &id) != (rc != E_OK))
			fail_msg("%s: %s, %s", d->name, err_row(rc)->name, e.detail);
		if (d->said != NULL && strstr(e.detail, d->said) == NULL)
			fail_msg("%s: %s", d->name, e.detail);
		assert_int_equal(h.calls, d->said == NULL);
		if (rc == E_OK)
			release(l);
		else
			assert_int_equal(below_erase(w, &id), E_OK);
		assert_int_equal(files(w), 0);
	}
}

/* ---- clocks ---- */

static const int64_t jumps[] = { 0, HOUR, -HOUR, DAY, -DAY, -START_S, INT32_MAX - START_S,
	INT32_MAX - START_S + INT64_C(1) };
#define JUMPS (sizeof(jumps) / sizeof(jumps[0]))

/* The wall clock here jumps; and, seen from here, the one of whoever wrote the lock did. */
static void
the_living_stay_alive_whatever_the_clock_says(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < JUMPS * 2; i++) {
		struct left left = left_new();
		struct err e = { .code = E_OK };
		struct heard h;
		struct lock *l;
		struct id id;

		comes_to_life(w);
		left.age_s = i % 2 == 0 ? 0 : jumps[i / 2];
		left.exclusive = true;
		w->wall_s = START_S;
		id = leave(w, &left);
		if (i % 2 == 0)
			w->wall_s = START_S + jumps[i / 2];
		expect_code(try(&w->a, false, &h, &l, &e), E_LOCKED, &e);
		assert_non_null(strstr(e.detail, "the process is running"));
		assert_true(is_there(w, &id));
		assert_int_equal(below_erase(w, &id), E_OK);
	}
}

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static struct lock_info
info_new(int64_t age_s)
{
	struct lock_info info = {
		.time = { .s = START_S - age_s }, .hostname = text("alpha"), .pid = 77
	};

	info.identity = (struct identity){ .machine = MACHINE_A,
		.boot = BOOT_A,
		.pid = 77,
		.started_ticks = 7700,
		.pid_ns = 7,
		.time_ns = 8 };
	return info;
}

static void
a_proof_goes_before_the_age(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < JUMPS; i++) {
		struct lock_info info = info_new(0);

		w->wall_s = START_S + jumps[i];
		comes_to_life(w);
		assert_int_equal(lock_judge(&w->a.os, &info), LOCK_ALIVE);
		w->a.kill_answer = -ESRCH;
		assert_int_equal(lock_judge(&w->a.os, &info), LOCK_DEAD_PROCESS);
		/* not to be judged from here: the age alone, and the future never is old */
		info.identity.pid_ns = 9;
		assert_int_equal(lock_judge(&w->a.os, &info),
			jumps[i] > 1800 ? LOCK_TOO_OLD : LOCK_UNKNOWN_HOST);
		strcpy(info.identity.machine, MACHINE_B);
		assert_int_equal(lock_judge(&w->a.os, &info),
			jumps[i] > 1800 ? LOCK_TOO_OLD : LOCK_UNKNOWN_HOST);
	}
}

/* The number of a process in another namespace means another process here: restic's rule would kill by mistake. */
static void
a_number_from_elsewhere_is_not_asked_for(void **state)
{
	struct lock_info info = info_new(60);
	struct world *w = *state;

	w->a.kill_answer = -ESRCH;
	info.identity.pid_ns = 9;
	assert_int_equal(lock_judge(&w->a.os, &info), LOCK_UNKNOWN_HOST);
	info.identity = (struct identity){ .pid = 0 };
	assert_int_equal(lock_judge(&w->a.os, &info), LOCK_DEAD_PROCESS);
}

static void
hostile_times_do_not_overflow(void **state)
{
	static const int64_t times[] = { INT64_MIN, INT64_MIN / 2, 0, INT64_MAX - 1, INT64_MAX };
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct lock_info info = info_new(0);

		info.time.s = times[i];
		strcpy(info.identity.boot, BOOT_B);
		assert_int_equal(lock_is_gone(&w->a.os, &info, NULL), times[i] <= 0);
		assert_int_equal(lock_judge(&w->a.os, &info),
			times[i] <= 0 ? LOCK_DEAD_PROCESS : LOCK_UNKNOWN_HOST);
	}
}

static struct instant
time_of_only_lock(struct world *w)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct lock_info *infos = NULL;
	size_t n = 0, unreadable = 0;
	struct err e;

	assert_int_equal(lock_list(&w->a.v, &a, &infos, &n, &unreadable, &e), E_OK);
	assert_int_equal(n, 1);
	assert_int_equal(unreadable, 0);
	assert_int_equal(infos[0].identity.started_ticks, 1100);
	return infos[0].time;
}

/* A refresh that looks older than the lock it replaces would make others take us for dead. */
static void
a_refreshed_lock_never_gets_older(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < JUMPS; i++) {
		struct lock *l;
		struct instant first, second;

		w->wall_s = START_S;
		l = take(&w->a, false);
		first = time_of_only_lock(w);
		pass(w, 301 * S);
		w->wall_s += jumps[i];
		assert_int_equal(lock_check(l, NULL), E_OK);
		second = time_of_only_lock(w);
		assert_true(second.s == first.s + 301 + (jumps[i] > 0 ? jumps[i] : 0));
		release(l);
	}
}

/* ---- refusals on the way ---- */

/* The n-th call of the store refused, before or after it happened: what lives stays, and nothing of ours is left. */
static void
a_refused_call_of_the_store_never_costs_a_living_lock(void **state)
{
	static const enum ecode codes[] = { E_STORE_WRITE, E_STORE_READ, E_NOMEM };
	struct world *w = *state;
	struct left alive = left_new();
	struct id kept;
	unsigned refused = 0;

	alive.machine = MACHINE_B;
	kept = leave(w, &alive);
	for (unsigned variant = 0; variant < 6; variant++) {
		for (size_t n = 1;; n++) {
			struct err e = { .code = E_OK };
			struct heard h;
			struct lock *l;
			struct id dead = leave_dead(w, true);

			w->fail_what = '*';
			w->fail_from = n;
			w->fail_count = 1;
			w->fail_seen = 0;
			w->fail_code = codes[variant / 2];
			w->fail_after = variant % 2 != 0;
			enum ecode rc = try(&w->a, false, &h, &l, &e);

			refused += rc != E_OK;
			assert_true(rc == E_OK || rc == e.code);
			assert_true(is_there(w, &kept));
			bool more = w->fail_seen >= n;

			w->fail_what = 0;
			assert_int_equal(lock_release(&l, NULL), E_OK);
			/* the same again, without tidying up */
			expect_code(try(&w->a, false, &h, &l, &e), E_OK, &e);
			assert_false(is_there(w, &dead));
			release(l);
			assert_int_equal(files(w), 1);
			if (!more)
				break;
		}
	}
	assert_true(refused > 10);
}

/* The n-th question to the kernel refused: at worst nobody is called dead. */
static void
a_refused_question_never_kills(void **state)
{
	static const int errors[] = { EIO, EACCES, EMFILE, ENFILE, ENOMEM };
	struct world *w = *state;
	unsigned refused = 0, doubted = 0;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		for (unsigned long n = 1;; n++) {
			struct left left = left_new();
			struct err e = { .code = E_OK };
			struct heard h;
			struct lock *l;
			struct id dead = leave_dead(w, true), alive;
			enum ecode rc;

			w->a.opens = 0;
			w->a.open_fail_at = n;
			w->a.open_error = errors[i];
			rc = try(&w->a, false, &h, &l, &e);
			assert_true(rc == E_OK || rc == E_LOCKED || rc == E_IO_READ);
			refused += rc == E_IO_READ;
			doubted += rc == E_LOCKED;
			if (rc == E_OK)
				release(l);
			bool more = w->a.opens >= n;

			(void)below_erase(w, &dead);
			comes_to_life(w);
			left.exclusive = true;
			alive = leave(w, &left);
			w->a.opens = 0;
			rc = try(&w->a, false, &h, &l, &e);
			assert_true(rc == E_LOCKED || rc == E_IO_READ);
			assert_true(is_there(w, &alive));
			assert_int_equal(below_erase(w, &alive), E_OK);
			assert_int_equal(files(w), 0);
			w->a.open_fail_at = 0;
			if (!more)
				break;
		}
	}
	assert_true(refused >= 9 && doubted > 10);
}

/* ---- the record ---- */

static void
a_record_with_a_run_is_read_back(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct lock_args args = { .run_id = "20261118T110640Z-0a0b0c0d" };
	struct world *w = *state;
	struct lock_info *infos = NULL;
	size_t n = 0, unreadable = 0;
	struct lock *l = NULL;
	struct err e;

	assert_int_equal(lock_take(&w->a.v, &args, &l, &e), E_OK);
	assert_int_equal(lock_list(&w->b.v, &a, &infos, &n, &unreadable, &e), E_OK);
	assert_int_equal(n, 1);
	assert_int_equal(infos[0].run_id.len, strlen(args.run_id));
	assert_memory_equal(infos[0].run_id.p, args.run_id, infos[0].run_id.len);
	assert_string_equal(infos[0].identity.machine, MACHINE_A);
	assert_string_equal(infos[0].identity.boot, BOOT_A);
	assert_int_equal(infos[0].identity.pid, 11);
	release(l);
}

static void
an_odd_member_of_ours_spoils_nothing(void **state)
{
	static const char *const odd[] = { "null", "7", "\"x\"", "[]", "{}", "{\"identity\":7}",
		"{\"run_id\":7}", "{\"identity\":{\"pid\":99999999999}}",
		"{\"identity\":{\"boot\":\"\\u0000\"}}", "{\"new\":[{}],\"identity\":null}" };
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct lock_info info = { .pid = 0 };
		char json[256];
		int len = snprintf(json, sizeof(json),
			"{\"hostname\":\"h\",\"holdfast\":%s,\"pid\":5}", odd[i]);

		assert_int_equal(lock_parse(json, (size_t)len, &a, &info, NULL), E_OK);
		assert_int_equal(info.pid, 5);
		assert_string_equal(info.identity.boot, "");
		assert_int_equal(info.identity.pid, 0);
		assert_int_equal(info.run_id.len, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			dead_locks_of_any_kind_go_and_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			it_is_judged_twice_with_the_wait_in_between, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_alive_at_the_second_look_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_went_meanwhile_is_nobodys_news, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_death_between_the_looks_waits_for_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(two_may_take_it_over_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(many_go_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_a_store_will_not_remove_is_told_and_does_not_count, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_dead_lock_beside_an_unreadable_one_goes_all_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(only_a_proof_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_living_stay_alive_whatever_the_clock_says, setup, teardown),
		cmocka_unit_test_setup_teardown(a_proof_goes_before_the_age, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_number_from_elsewhere_is_not_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_times_do_not_overflow, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refreshed_lock_never_gets_older, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_refused_call_of_the_store_never_costs_a_living_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_question_never_kills, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_with_a_run_is_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_odd_member_of_ours_spoils_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
