#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/pulse.h"

#define NS_PER_MS UINT64_C(1000000)
#define FAR_NS    (UINT64_C(3600000) * NS_PER_MS) /* an hour: never, for a test */
#define WAIT_MS   20000

struct heart {
	atomic_uint beats;
	atomic_bool busy, masked;
	uint64_t pause_ns;
	useconds_t work_us;
};

static uint64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

static uint64_t
beat(void *arg)
{
	struct heart *h = arg;
	sigset_t mask;

	atomic_store(&h->busy, true);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	atomic_store(
		&h->masked, sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1);
	(void)usleep(h->work_us);
	atomic_fetch_add(&h->beats, 1);
	atomic_store(&h->busy, false);
	return now_ns() + h->pause_ns;
}

static void
await_beats(struct heart *h, unsigned n)
{
	for (unsigned ms = 0; ms < WAIT_MS && atomic_load(&h->beats) < n; ms++)
		(void)usleep(1000);
	assert_true(atomic_load(&h->beats) >= n);
}

static void
it_beats_until_stopped(void **state)
{
	struct heart h = { .pause_ns = NS_PER_MS };
	struct pulse *p = NULL;
	unsigned n;

	(void)state;
	assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
	await_beats(&h, 10);
	pulse_stop(&p);
	assert_null(p);
	n = atomic_load(&h.beats);
	(void)usleep(20000);
	assert_int_equal(atomic_load(&h.beats), n);
}

static void
the_first_beat_comes_at_once_and_the_next_when_due(void **state)
{
	struct heart h = { .pause_ns = FAR_NS };
	struct pulse *p = NULL;

	(void)state;
	assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
	await_beats(&h, 1);
	(void)usleep(50000);
	assert_int_equal(atomic_load(&h.beats), 1);
	pulse_stop(&p);
}

static void
a_pause_is_kept(void **state)
{
	struct heart h = { .pause_ns = 50 * NS_PER_MS };
	uint64_t begin = now_ns();
	struct pulse *p = NULL;

	(void)state;
	assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
	await_beats(&h, 3);
	assert_true(now_ns() - begin >= 100 * NS_PER_MS);
	pulse_stop(&p);
}

static void
stopping_ends_a_long_pause(void **state)
{
	struct heart h = { .pause_ns = FAR_NS };
	uint64_t begin = now_ns();

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct pulse *p = NULL;

		assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
		if (i % 2 != 0)
			await_beats(&h, 1);
		pulse_stop(&p);
	}
	assert_true(now_ns() - begin < WAIT_MS * NS_PER_MS);
}

static void
stopping_waits_for_a_beat(void **state)
{
	struct heart h = { .pause_ns = FAR_NS, .work_us = 50000 };
	struct pulse *p = NULL;

	(void)state;
	assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
	for (unsigned ms = 0; ms < WAIT_MS && !atomic_load(&h.busy); ms++)
		(void)usleep(1000);
	pulse_stop(&p);
	assert_false(atomic_load(&h.busy));
	assert_int_equal(atomic_load(&h.beats), 1);
}

static void
it_takes_no_signals(void **state)
{
	struct heart h = { .pause_ns = FAR_NS };
	struct pulse *p = NULL;
	sigset_t mask;

	(void)state;
	assert_int_equal(pulse_start(&p, beat, &h, NULL), E_OK);
	await_beats(&h, 1);
	pulse_stop(&p);
	assert_true(atomic_load(&h.masked));
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	assert_int_equal(sigismember(&mask, SIGINT), 0); /* ours is as it was */
}

static void
nothing_to_stop(void **state)
{
	struct pulse *p = NULL;

	(void)state;
	pulse_stop(&p);
	assert_null(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_beats_until_stopped),
		cmocka_unit_test(the_first_beat_comes_at_once_and_the_next_when_due),
		cmocka_unit_test(a_pause_is_kept),
		cmocka_unit_test(stopping_ends_a_long_pause),
		cmocka_unit_test(stopping_waits_for_a_beat),
		cmocka_unit_test(it_takes_no_signals),
		cmocka_unit_test(nothing_to_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
