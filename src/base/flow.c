/*
 * One mutex guards everything; a task costs one critical section to add and one
 * to complete and take the next, so tasks of a few microseconds are fine.
 *
 * Wake-ups.  `idle` workers sleep on `work`; `waking` of them have been signalled
 * and are on their way.  waking <= idle always, and waking == idle means that
 * nobody is asleep, so adding a task signals only when waking < idle: no lost
 * wake-up, and no signal that only a busy lock would answer.  A return without a
 * signal may take another's credit; that costs one spare signal, never a sleep.
 *
 * Capacity.  Producers sleep on `room`, and register the least cost among them.
 * They are woken when that much fits and either a quarter is free or the workers
 * are about to run out of tasks: one wake-up per burst of small tasks.
 *
 * Helping.  A worker over capacity runs other tasks on its own stack, at most
 * HELP_DEPTH_MAX deep.  With nothing to run it passes: the excess is one task per
 * worker.  At the greatest depth it sleeps as long as another worker moves on
 * (`busy`, or about to take a task); the last one passes, so that tasks which
 * only add tasks can not lock each other up.
 */
#include "base/flow.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* tasks on one worker's stack: 8 MiB of stack leave each level half a MiB */
#define HELP_DEPTH_MAX 16

struct worker {
	struct flow *flow;
	pthread_t thread;
	unsigned index;
	unsigned depth; /* tasks begun and not ended on this stack; the worker's own */
};

struct flow {
	pthread_mutex_t lock;
	pthread_cond_t work, room, done;
	struct flow_task *head, *tail; /* waiting tasks */
	size_t waiting;                /* number of them */
	size_t live;                   /* waiting, running or being dropped */
	size_t load, capacity;         /* bytes of live tasks */
	size_t least_need;             /* bytes; of those asleep on `room`, SIZE_MAX when none */
	unsigned threads, idle, waking;
	unsigned busy;      /* workers inside a task and not asleep on `room` */
	unsigned held;      /* workers asleep on `room` */
	unsigned producers; /* all asleep on `room` */
	enum flow_order order;
	bool closing;
	atomic_bool stopping; /* code != E_OK; written under the lock */
	enum ecode code;
	struct err err;
	enum ecode (*ask)(void *arg, struct err *e); /* NULL: nobody watches */
	void *ask_arg;
	struct worker workers[]; /* at least one: the serial twin's */
};

static void
lock(struct flow *f)
{
	invariant(pthread_mutex_lock(&f->lock) == 0);
}

static void
unlock(struct flow *f)
{
	invariant(pthread_mutex_unlock(&f->lock) == 0);
}

static bool
stopping(struct flow *f)
{
	return atomic_load_explicit(&f->stopping, memory_order_relaxed);
}

/* ---- the list ---- */

static void
push(struct flow *f, struct flow_task *task)
{
	task->next = NULL;
	if (f->head == NULL) {
		f->head = task;
		f->tail = task;
	} else if (f->order == FLOW_LIFO) {
		task->next = f->head;
		f->head = task;
	} else {
		f->tail->next = task;
		f->tail = task;
	}
	f->waiting++;
	f->live++;
	f->load += task->cost;
}

static struct flow_task *
pop(struct flow *f)
{
	struct flow_task *task = f->head;

	if (task != NULL) {
		f->head = task->next;
		task->next = NULL;
		f->waiting--;
	}
	return task;
}

/* ---- room: everything here is called with the lock held ---- */

static bool
fits(const struct flow *f, size_t cost)
{
	return f->load <= f->capacity && cost <= f->capacity - f->load;
}

/* Some worker other than those asleep for room will end a task. */
static bool
others_move(const struct flow *f)
{
	return f->busy > 0 || (f->head != NULL && f->busy + f->held < f->threads);
}

static bool
room_worth_waking(struct flow *f)
{
	if (stopping(f) || f->load == 0 || (f->held > 0 && !others_move(f)))
		return true;
	return fits(f, f->least_need) &&
	       (f->load <= f->capacity - f->capacity / 4 || f->waiting < f->threads);
}

static void
wake_producers(struct flow *f)
{
	if (f->producers == 0 || !room_worth_waking(f))
		return;
	f->least_need = SIZE_MAX; /* who stays registers again */
	(void)pthread_cond_broadcast(&f->room);
}

static void
sleep_for_room(struct flow *f, size_t cost)
{
	f->producers++;
	if (cost < f->least_need)
		f->least_need = cost;
	(void)pthread_cond_wait(&f->room, &f->lock);
	f->producers--;
}

/* A thread that is no worker here. */
static void
wait_outside(struct flow *f, size_t cost)
{
	while (!stopping(f) && !fits(f, cost) && f->load > 0)
		sleep_for_room(f, cost);
}

/* A worker too deep to help. */
static void
wait_held(struct flow *f, size_t cost)
{
	f->busy--;
	f->held++;
	wake_producers(f); /* those held before may have waited for this worker */
	while (!stopping(f) && !fits(f, cost) && others_move(f))
		sleep_for_room(f, cost);
	f->held--;
	f->busy++;
}

/* ---- ending tasks ---- */

static void
account(struct flow *f, size_t tasks, size_t cost)
{
	f->live -= tasks;
	f->load -= cost;
	if (f->live == 0)
		(void)pthread_cond_broadcast(&f->done);
}

/* Drop what waits.  Called and left with the lock held; drops run without it. */
static void
drop_waiting(struct flow *f)
{
	struct flow_task *task = f->head;
	size_t tasks = f->waiting, cost = 0;

	f->head = NULL;
	f->waiting = 0;
	unlock(f);
	while (task != NULL) {
		struct flow_task *next = task->next;

		cost += task->cost;
		task->drop(task);
		task = next;
	}
	lock(f);
	account(f, tasks, cost);
	wake_producers(f);
}

/* The first refusal is the result; called with the lock held. */
static void
stop_locked(struct flow *f, enum ecode code, const struct err *why)
{
	if (f->code != E_OK)
		return;
	f->code = code;
	if (why != NULL && why->code == code)
		f->err = *why;
	else
		(void)err_set(&f->err, code, 0, "the work was stopped");
	atomic_store_explicit(&f->stopping, true, memory_order_relaxed);
	wake_producers(f);
	drop_waiting(f);
}

/* Without the lock.  After a refusal the task is gone all the same. */
static enum ecode
ask_and_run(struct flow *f, struct worker *w, struct flow_task *task, struct err *e)
{
	enum ecode rc = f->ask == NULL ? E_OK : f->ask(f->ask_arg, e);

	if (rc != E_OK) {
		task->drop(task);
		return rc;
	}
	w->depth++;
	rc = task->run(task, w->index, e);
	w->depth--;
	return rc;
}

/* Run a task taken from the list.  Called and left with the lock held. */
static void
run_task(struct flow *f, struct worker *w, struct flow_task *task)
{
	size_t cost = task->cost; /* the task is gone when it returns */
	enum ecode rc;
	struct err e;

	unlock(f);
	e.code = E_OK; /* a refusal that forgets to tell why gets a plain text */
	rc = ask_and_run(f, w, task, &e);
	lock(f);
	if (rc != E_OK)
		stop_locked(f, rc, &e);
	account(f, 1, cost);
}

/* ---- threads ---- */

static void
sleep_for_work(struct flow *f)
{
	f->idle++;
	(void)pthread_cond_wait(&f->work, &f->lock);
	f->idle--;
	if (f->waking > 0)
		f->waking--;
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	struct flow *f = w->flow;

	lock(f);
	while (!f->closing) {
		struct flow_task *task = pop(f);

		if (task != NULL)
			f->busy++;
		wake_producers(f);
		if (task == NULL) {
			sleep_for_work(f);
			continue;
		}
		run_task(f, w, task);
		f->busy--;
	}
	unlock(f);
	return NULL;
}

static struct flow *
new_flow(unsigned threads)
{
	size_t workers = threads > 0 ? threads : 1;
	struct flow *f = NULL;

	if (workers <= (SIZE_MAX - sizeof(*f)) / sizeof(f->workers[0]))
		f = calloc(1, sizeof(*f) + workers * sizeof(f->workers[0]));
	if (f == NULL)
		return NULL;
	if (pthread_mutex_init(&f->lock, NULL) != 0 || pthread_cond_init(&f->work, NULL) != 0 ||
		pthread_cond_init(&f->room, NULL) != 0 || pthread_cond_init(&f->done, NULL) != 0) {
		free(f); /* on Linux none of these four holds anything */
		return NULL;
	}
	for (size_t i = 0; i < workers; i++)
		f->workers[i] = (struct worker){ .flow = f, .index = (unsigned)i };
	return f;
}

enum ecode
flow_open(struct flow **out, unsigned threads, enum flow_order order, size_t capacity_bytes,
	struct err *e)
{
	struct flow *f = new_flow(threads);
	int failed = 0;

	if (f == NULL)
		return err_set(e, E_NOMEM, 0, "a flow of %u threads", threads);
	f->order = order;
	f->capacity = capacity_bytes;
	f->least_need = SIZE_MAX;
	/* Nobody reads `threads` before the first task, which is added after this. */
	while (f->threads < threads && failed == 0) {
		struct worker *w = &f->workers[f->threads];

		failed = pthread_create(&w->thread, NULL, worker_main, w);
		if (failed == 0)
			f->threads++;
	}
	if (failed != 0) {
		flow_close(&f);
		return err_set(e, E_NOMEM, failed, "thread %u", threads);
	}
	*out = f;
	return E_OK;
}

unsigned
flow_workers(const struct flow *f)
{
	return f->threads > 0 ? f->threads : 1;
}

void
flow_close(struct flow **fp)
{
	struct flow *f = fp == NULL ? NULL : *fp;

	if (f == NULL)
		return;
	lock(f);
	stop_locked(f, E_FLOW_STOPPED, NULL);
	f->closing = true;
	(void)pthread_cond_broadcast(&f->work);
	unlock(f);
	for (unsigned i = 0; i < f->threads; i++)
		invariant(pthread_join(f->workers[i].thread, NULL) == 0);
	(void)pthread_cond_destroy(&f->work);
	(void)pthread_cond_destroy(&f->room);
	(void)pthread_cond_destroy(&f->done);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
	*fp = NULL;
}

/* ---- tasks ---- */

/* Called with the lock held, left without it. */
static void
add_and_unlock(struct flow *f, struct flow_task *task)
{
	bool refused = stopping(f), wake = false;

	if (!refused) {
		push(f, task);
		wake = f->waking < f->idle;
		if (wake)
			f->waking++;
	}
	unlock(f);
	if (wake)
		(void)pthread_cond_signal(&f->work);
	if (refused)
		task->drop(task);
}

void
flow_add(struct flow *f, struct flow_task *task)
{
	lock(f);
	add_and_unlock(f, task);
}

/* Run tasks on this worker's stack until `cost` fits.  Called and left with the lock held. */
static void
help(struct flow *f, struct worker *w, size_t cost)
{
	while (!stopping(f) && !fits(f, cost)) {
		struct flow_task *task = pop(f);

		if (task == NULL)
			return;
		run_task(f, w, task);
		wake_producers(f);
	}
}

void
flow_add_bounded(struct flow *f, struct flow_task *task, unsigned worker)
{
	bool serial = f->threads == 0;
	struct worker *w = serial ? &f->workers[0] : NULL;

	if (!serial && worker != FLOW_OUTSIDE) {
		invariant(worker < f->threads);
		w = &f->workers[worker];
	}
	lock(f);
	if (w == NULL)
		wait_outside(f, task->cost);
	else if (w->depth < HELP_DEPTH_MAX)
		help(f, w, task->cost);
	else if (!serial)
		wait_held(f, task->cost);
	add_and_unlock(f, task);
}

void
flow_stop(struct flow *f, enum ecode code, const struct err *why)
{
	invariant(code != E_OK);
	lock(f);
	stop_locked(f, code, why);
	unlock(f);
}

void
flow_watch(struct flow *f, enum ecode (*ask)(void *arg, struct err *e), void *arg)
{
	lock(f);
	f->ask = ask;
	f->ask_arg = arg;
	unlock(f);
}

bool
flow_stopping(struct flow *f)
{
	return stopping(f);
}

enum ecode
flow_finish(struct flow *f, struct err *e)
{
	enum ecode rc;

	lock(f);
	while (f->threads == 0 && f->head != NULL)
		run_task(f, &f->workers[0], pop(f));
	while (f->live > 0)
		(void)pthread_cond_wait(&f->done, &f->lock);
	rc = f->code;
	if (rc != E_OK && e != NULL)
		*e = f->err;
	unlock(f);
	return rc;
}
