#include "base/pulse.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

struct pulse {
	uint64_t (*beat)(void *arg);
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	bool stop;
};

/* The caller holds the lock.  True: it is time; false: the end is wanted. */
static bool
wait_until(struct pulse *p, uint64_t due_ns)
{
	struct timespec at = { (time_t)(due_ns / NS_PER_S), (long)(due_ns % NS_PER_S) };

	while (!p->stop)
		if (pthread_cond_timedwait(&p->stopped, &p->lock, &at) == ETIMEDOUT)
			return !p->stop;
	return false;
}

static void *
pulse_main(void *arg)
{
	struct pulse *p = arg;
	uint64_t due_ns = 0;

	(void)pthread_mutex_lock(&p->lock);
	while (wait_until(p, due_ns)) {
		(void)pthread_mutex_unlock(&p->lock);
		due_ns = p->beat(p->arg);
		(void)pthread_mutex_lock(&p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int
start_masked(struct pulse *p)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&p->thread, NULL, pulse_main, p);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void
pulse_free(struct pulse *p)
{
	(void)pthread_cond_destroy(&p->stopped);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

enum ecode
pulse_start(struct pulse **out, uint64_t (*beat)(void *arg), void *arg, struct err *e)
{
	struct pulse *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int rc;

	if (p == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "a thread");
	p->beat = beat;
	p->arg = arg;
	(void)pthread_mutex_init(&p->lock, NULL); /* these cannot fail with glibc */
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->stopped, &attr);
	(void)pthread_condattr_destroy(&attr);
	rc = start_masked(p);
	if (rc != 0) {
		pulse_free(p);
		return err_set(e, E_NOMEM, rc, "a thread");
	}
	*out = p;
	return E_OK;
}

void
pulse_stop(struct pulse **pp)
{
	struct pulse *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	(void)pthread_mutex_lock(&p->lock);
	p->stop = true;
	(void)pthread_cond_signal(&p->stopped);
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_join(p->thread, NULL); /* it is ours and was not joined before */
	pulse_free(p);
}
