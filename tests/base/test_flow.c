#include "base/flow.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NO_LIMIT SIZE_MAX

/* What the tasks of one test share. */
struct shared {
	struct flow *flow;
	atomic_uint ran, dropped;
	atomic_size_t load, load_max; /* bytes of tasks added and not ended */
	unsigned order[64];           /* numbers in the order they ran; serial tests */
	atomic_uint depth[8], depth_max;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool opened; /* the gate that gate_run waits at */
	unsigned at_gate;
};

struct item {
	struct flow_task task; /* first: run() casts back */
	struct shared *shared;
	unsigned number;
	unsigned children, levels; /* for the tree: each child has levels - 1 */
	bool lean;                 /* only the first child has children itself */
	enum ecode refusal;
};

static void
item_drop(struct flow_task *task)
{
	struct item *item = (struct item *)task;

	atomic_fetch_add(&item->shared->dropped, 1);
	atomic_fetch_sub(&item->shared->load, task->cost);
	free(item);
}

static struct item *
item_new(struct shared *s, enum ecode (*run)(struct flow_task *, unsigned, struct err *),
	unsigned number, size_t cost)
{
	struct item *item = calloc(1, sizeof(*item));

	if (item == NULL)
		abort();
	item->task.run = run;
	item->task.drop = item_drop;
	item->task.cost = cost;
	item->shared = s;
	item->number = number;
	return item;
}

/* Cost is counted from when the producer got through. */
static void
count_load(struct shared *s, size_t cost)
{
	size_t now = atomic_fetch_add(&s->load, cost) + cost;
	size_t most = atomic_load(&s->load_max);

	while (now > most && !atomic_compare_exchange_weak(&s->load_max, &most, now))
		continue;
}

static void
shared_open(struct shared *s, unsigned threads, enum flow_order order, size_t capacity)
{
	struct err e;

	memset(s, 0, sizeof(*s));
	assert_int_equal(pthread_mutex_init(&s->lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&s->changed, NULL), 0);
	assert_int_equal(flow_open(&s->flow, threads, order, capacity, &e), E_OK);
}

static void
shared_close(struct shared *s)
{
	flow_close(&s->flow);
	assert_null(s->flow);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
}

static enum ecode
finish(struct shared *s)
{
	struct err e;

	return flow_finish(s->flow, &e);
}

/* ---- tasks ---- */

static enum ecode
count_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct item *item = (struct item *)task;
	struct shared *s = item->shared;
	unsigned at = atomic_fetch_add(&s->ran, 1);
	enum ecode rc = item->refusal;

	(void)worker;
	if (at < sizeof(s->order) / sizeof(s->order[0]) && flow_workers(s->flow) == 1)
		s->order[at] = item->number;
	atomic_fetch_sub(&s->load, task->cost);
	if (rc != E_OK)
		(void)err_set(e, rc, 0, "item %u", item->number);
	free(item);
	return rc;
}

/* Wait until the gate is opened. */
static enum ecode
gate_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct shared *s = ((struct item *)task)->shared;

	pthread_mutex_lock(&s->lock);
	s->at_gate++;
	pthread_cond_broadcast(&s->changed);
	while (!s->opened)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return count_run(task, worker, e);
}

static void
wait_at_gate(struct shared *s, unsigned tasks)
{
	pthread_mutex_lock(&s->lock);
	while (s->at_gate < tasks)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void
open_gate(struct shared *s)
{
	pthread_mutex_lock(&s->lock);
	s->opened = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* Adds its children, bounded, and remembers how deep this worker is in tasks. */
static enum ecode
tree_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct item *item = (struct item *)task;
	struct shared *s = item->shared;
	unsigned depth = atomic_fetch_add(&s->depth[worker], 1) + 1;
	unsigned most = atomic_load(&s->depth_max);

	while (depth > most && !atomic_compare_exchange_weak(&s->depth_max, &most, depth))
		continue;
	for (unsigned i = 0; i < item->children && item->levels > 0; i++) {
		struct item *child = item_new(s, tree_run, i, task->cost);

		child->children = item->children;
		child->levels = item->lean && i > 0 ? 0 : item->levels - 1;
		child->lean = item->lean;
		count_load(s, child->task.cost);
		flow_add_bounded(s->flow, &child->task, worker);
	}
	atomic_fetch_sub(&s->depth[worker], 1);
	return count_run(task, worker, e);
}

static void
add_tree(struct shared *s, unsigned children, unsigned levels, size_t cost)
{
	struct item *root = item_new(s, tree_run, 0, cost);

	root->children = children;
	root->levels = levels;
	count_load(s, cost);
	flow_add(s->flow, &root->task);
}

/* ---- tests ---- */

static const unsigned thread_counts[] = { 0, 1, 2, 3, 8 };
#define COUNTS (sizeof(thread_counts) / sizeof(thread_counts[0]))

static void
test_open_close(void **state)
{
	struct flow *none = NULL;

	(void)state;
	flow_close(NULL);
	flow_close(&none);
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_LIFO, 1);
		assert_int_equal(
			flow_workers(s.flow), thread_counts[i] == 0 ? 1 : thread_counts[i]);
		assert_int_equal(finish(&s), E_OK);
		shared_close(&s);
	}
}

static void
test_every_task_runs_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i / 2], i % 2 == 0 ? FLOW_LIFO : FLOW_FIFO, 1000);
		for (unsigned round = 1; round <= 3; round++) {
			for (unsigned n = 0; n < 2000; n++)
				flow_add(s.flow, &item_new(&s, count_run, n, 10)->task);
			assert_int_equal(finish(&s), E_OK);
			assert_int_equal(atomic_load(&s.ran), round * 2000);
		}
		assert_int_equal(atomic_load(&s.dropped), 0);
		shared_close(&s);
	}
}

static void
test_serial_order(void **state)
{
	static const unsigned lifo[] = { 4, 3, 2, 1, 0 }, fifo[] = { 0, 1, 2, 3, 4 };

	(void)state;
	for (int which = 0; which < 2; which++) {
		struct shared s;

		shared_open(&s, 0, which == 0 ? FLOW_LIFO : FLOW_FIFO, NO_LIMIT);
		for (unsigned n = 0; n < 5; n++)
			flow_add(s.flow, &item_new(&s, count_run, n, 1)->task);
		assert_int_equal(atomic_load(&s.ran), 0);
		assert_int_equal(finish(&s), E_OK);
		assert_memory_equal(s.order, which == 0 ? lifo : fifo, sizeof(lifo));
		shared_close(&s);
	}
}

/* The serial twin makes room by running tasks, the same ones every time. */
static void
test_serial_bounded(void **state)
{
	static const unsigned want[] = { 0, 1, 2, 3, 4, 5 };
	struct shared s;

	(void)state;
	shared_open(&s, 0, FLOW_FIFO, 30);
	for (unsigned n = 0; n < 6; n++) {
		flow_add_bounded(s.flow, &item_new(&s, count_run, n, 10)->task, FLOW_OUTSIDE);
		assert_int_equal(atomic_load(&s.ran), n < 3 ? 0 : n - 2);
	}
	assert_int_equal(finish(&s), E_OK);
	assert_memory_equal(s.order, want, sizeof(want));
	shared_close(&s);
}

static void
test_serial_tree_same_order(void **state)
{
	struct shared a, b;

	(void)state;
	shared_open(&a, 0, FLOW_LIFO, 35);
	shared_open(&b, 0, FLOW_LIFO, 35);
	add_tree(&a, 3, 3, 10);
	add_tree(&b, 3, 3, 10);
	assert_int_equal(finish(&a), E_OK);
	assert_int_equal(finish(&b), E_OK);
	assert_int_equal(atomic_load(&a.ran), 40);
	assert_memory_equal(a.order, b.order, 40 * sizeof(a.order[0]));
	shared_close(&a);
	shared_close(&b);
}

/* Fewer than three threads would never bring three tasks to the gate. */
static void
test_threads_run_side_by_side(void **state)
{
	struct shared s;

	(void)state;
	shared_open(&s, 3, FLOW_LIFO, 1);
	for (unsigned n = 0; n < 3; n++)
		flow_add(s.flow, &item_new(&s, gate_run, n, 10)->task);
	wait_at_gate(&s, 3);
	open_gate(&s);
	assert_int_equal(finish(&s), E_OK);
	shared_close(&s);
}

static void
test_refusal_drops_the_rest(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;
		struct item *bad;
		struct err e;

		shared_open(&s, thread_counts[i], FLOW_FIFO, NO_LIMIT);
		bad = item_new(&s, count_run, 7, 1);
		bad->refusal = E_LIMIT;
		flow_add(s.flow, &bad->task);
		for (unsigned n = 0; n < 500; n++)
			flow_add(s.flow, &item_new(&s, count_run, n, 1)->task);
		assert_int_equal(flow_finish(s.flow, &e), E_LIMIT);
		assert_int_equal(e.code, E_LIMIT);
		assert_string_equal(e.detail, "item 7");
		assert_int_equal(atomic_load(&s.ran) + atomic_load(&s.dropped), 501);
		if (thread_counts[i] == 0)
			assert_int_equal(atomic_load(&s.ran), 1);
		/* and it stays so */
		flow_add(s.flow, &item_new(&s, count_run, 0, 1)->task);
		flow_add_bounded(s.flow, &item_new(&s, count_run, 0, 1)->task, FLOW_OUTSIDE);
		assert_int_equal(flow_finish(s.flow, NULL), E_LIMIT);
		assert_int_equal(atomic_load(&s.ran) + atomic_load(&s.dropped), 503);
		assert_true(flow_stopping(s.flow));
		shared_close(&s);
	}
}

static void
test_first_refusal_wins(void **state)
{
	struct shared s;
	struct item *bad[2];
	struct err e;

	(void)state;
	shared_open(&s, 2, FLOW_FIFO, NO_LIMIT);
	for (int i = 0; i < 2; i++) {
		bad[i] = item_new(&s, gate_run, (unsigned)i, 1);
		bad[i]->refusal = E_NOMEM;
		flow_add(s.flow, &bad[i]->task);
	}
	wait_at_gate(&s, 2);
	(void)err_set(&e, E_FLOW_STOPPED, 4, "by hand");
	flow_stop(s.flow, E_FLOW_STOPPED, &e);
	flow_stop(s.flow, E_LIMIT, NULL);
	open_gate(&s);
	assert_int_equal(flow_finish(s.flow, &e), E_FLOW_STOPPED);
	assert_string_equal(e.detail, "by hand");
	assert_int_equal(e.sys, 4);
	shared_close(&s);
}

static void
test_stop_without_reason(void **state)
{
	struct shared s;
	struct err e;

	(void)state;
	shared_open(&s, 0, FLOW_LIFO, 1);
	assert_false(flow_stopping(s.flow));
	flow_add(s.flow, &item_new(&s, count_run, 0, 1)->task);
	flow_stop(s.flow, E_FLOW_STOPPED, NULL);
	assert_true(flow_stopping(s.flow));
	assert_int_equal(atomic_load(&s.dropped), 1);
	assert_int_equal(flow_finish(s.flow, &e), E_FLOW_STOPPED);
	assert_int_equal(e.code, E_FLOW_STOPPED);
	assert_true(strlen(e.detail) > 0);
	shared_close(&s);
}

static void
test_close_drops_what_waits(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_LIFO, NO_LIMIT);
		for (unsigned n = 0; n < 300; n++)
			flow_add(s.flow, &item_new(&s, count_run, n, 1)->task);
		flow_close(&s.flow);
		assert_int_equal(atomic_load(&s.ran) + atomic_load(&s.dropped), 300);
		shared_close(&s);
	}
}

/* A producer outside: never more than the capacity, except for one dear task alone. */
static void
test_outside_bounded(void **state)
{
	(void)state;
	for (size_t i = 1; i < COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_FIFO, 100);
		for (unsigned n = 0; n < 3000; n++) {
			size_t cost = n % 7 == 0 ? 60 : n % 13;
			struct item *item = item_new(&s, count_run, n, cost);

			flow_add_bounded(s.flow, &item->task, FLOW_OUTSIDE);
		}
		assert_int_equal(finish(&s), E_OK);
		assert_int_equal(atomic_load(&s.ran), 3000);
		shared_close(&s);
	}
}

struct producer {
	struct shared *s;
	unsigned tasks;
	size_t cost;
	atomic_uint passed;
};

static void *
produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned n = 0; n < p->tasks; n++) {
		flow_add_bounded(
			p->s->flow, &item_new(p->s, gate_run, n, p->cost)->task, FLOW_OUTSIDE);
		atomic_fetch_add(&p->passed, 1);
	}
	return NULL;
}

static void
short_pause(void)
{
	const struct timespec t = { .tv_nsec = 20000000 };

	(void)nanosleep(
		&t, NULL); /* only ever makes a failing test pass, never a passing one fail */
}

/* With the workers held at the gate a producer gets no further than the capacity. */
static void
test_capacity_holds_back(void **state)
{
	struct shared s;
	struct producer p = { .s = &s, .tasks = 50, .cost = 10 };
	pthread_t thread;

	(void)state;
	shared_open(&s, 2, FLOW_FIFO, 100);
	assert_int_equal(pthread_create(&thread, NULL, produce, &p), 0);
	wait_at_gate(&s, 2);
	while (atomic_load(&p.passed) < 10)
		short_pause();
	short_pause();
	assert_int_equal(atomic_load(&p.passed), 10);
	open_gate(&s);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(finish(&s), E_OK);
	assert_int_equal(atomic_load(&s.ran), 50);
	shared_close(&s);
}

/* Tasks dearer than the capacity pass one by one. */
static void
test_dear_task_alone(void **state)
{
	struct shared s;
	struct producer p = { .s = &s, .tasks = 3, .cost = 1000 };
	pthread_t thread;

	(void)state;
	shared_open(&s, 2, FLOW_FIFO, 100);
	assert_int_equal(pthread_create(&thread, NULL, produce, &p), 0);
	wait_at_gate(&s, 1);
	short_pause();
	assert_int_equal(atomic_load(&p.passed), 1);
	open_gate(&s);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(finish(&s), E_OK);
	assert_int_equal(atomic_load(&s.ran), 3);
	shared_close(&s);
}

/* A producer asleep for room is woken by a stop, and its task is dropped. */
static void
test_stop_wakes_producer(void **state)
{
	struct shared s;
	struct producer p = { .s = &s, .tasks = 5, .cost = 100 };
	pthread_t thread;

	(void)state;
	shared_open(&s, 1, FLOW_FIFO, 100);
	assert_int_equal(pthread_create(&thread, NULL, produce, &p), 0);
	wait_at_gate(&s, 1);
	short_pause();
	flow_stop(s.flow, E_FLOW_STOPPED, NULL);
	assert_int_equal(pthread_join(thread, NULL), 0); /* while the worker is still held */
	assert_int_equal(atomic_load(&s.dropped), 4);
	open_gate(&s);
	assert_int_equal(finish(&s), E_FLOW_STOPPED);
	shared_close(&s);
}

static void
test_many_producers(void **state)
{
	struct shared s;
	struct producer p[4];
	pthread_t thread[4];

	(void)state;
	shared_open(&s, 2, FLOW_LIFO, 64);
	open_gate(&s);
	for (unsigned i = 0; i < 4; i++) {
		p[i] = (struct producer){ .s = &s, .tasks = 2000, .cost = i == 3 ? 100 : i * 10 };
		assert_int_equal(pthread_create(&thread[i], NULL, produce, &p[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(finish(&s), E_OK);
	assert_int_equal(atomic_load(&s.ran), 8000);
	shared_close(&s);
}

/*
 * Tasks that add tasks while there is no room at all: workers help, the stacks
 * stay bounded, nobody is locked up, memory stays near one path through the tree.
 */
static void
test_tree_of_tasks(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * COUNTS; i++) {
		struct shared s;
		unsigned workers = thread_counts[i / 2] == 0 ? 1 : thread_counts[i / 2];

		shared_open(&s, thread_counts[i / 2], i % 2 == 0 ? FLOW_LIFO : FLOW_FIFO, 50);
		add_tree(&s, 6, 5, 10);
		assert_int_equal(finish(&s), E_OK);
		assert_int_equal(atomic_load(&s.ran), 9331); /* 6^0 + … + 6^5 */
		assert_true(atomic_load(&s.depth_max) <= 16);
		if (i % 2 == 0)
			assert_true(atomic_load(&s.load_max) <= 10 * 10 * (6 + workers));
		shared_close(&s);
	}
}

/*
 * A line of tasks, each with a dead end beside it, and room for nothing: to add
 * the dead end a worker would run the rest of the line on its own stack.
 */
static void
test_deep_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_LIFO, 5);
		for (unsigned n = 0; n < 4; n++) {
			struct item *root = item_new(&s, tree_run, n, 10);

			root->children = 2;
			root->levels = 1000;
			root->lean = true;
			count_load(&s, 10);
			flow_add(s.flow, &root->task);
		}
		assert_int_equal(finish(&s), E_OK);
		assert_int_equal(atomic_load(&s.ran), 4 * 2001);
		assert_true(atomic_load(&s.depth_max) <= 16);
		if (thread_counts[i] <= 1)
			assert_int_equal(atomic_load(&s.depth_max), 16);
		shared_close(&s);
	}
}

/* One child per task and no room at all. */
static void
test_long_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_LIFO, 0);
		add_tree(&s, 3, 1, 1);
		add_tree(&s, 1, 5000, 1);
		assert_int_equal(finish(&s), E_OK);
		assert_int_equal(atomic_load(&s.ran), 5005);
		assert_true(atomic_load(&s.depth_max) <= 16);
		shared_close(&s);
	}
}

static void
test_refusal_inside_tree(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct shared s;
		struct item *bad;
		unsigned total;

		shared_open(&s, thread_counts[i], FLOW_LIFO, 50);
		bad = item_new(&s, count_run, 1, 1);
		bad->refusal = E_NOMEM;
		count_load(&s, 1);
		flow_add(s.flow, &bad->task);
		add_tree(&s, 6, 4, 10);
		assert_int_equal(finish(&s), E_NOMEM);
		total = atomic_load(&s.ran) + atomic_load(&s.dropped);
		assert_true(total >= 2);
		assert_int_equal(atomic_load(&s.load), 0);
		shared_close(&s);
	}
}

/* Workers go to sleep and are woken again and again: a lost wake-up would hang here. */
static void
test_ping_pong(void **state)
{
	struct shared s;

	(void)state;
	shared_open(&s, 3, FLOW_LIFO, 10);
	for (unsigned n = 0; n < 3000; n++) {
		flow_add(s.flow, &item_new(&s, count_run, n, 1)->task);
		if (n % 3 == 0)
			assert_int_equal(finish(&s), E_OK);
	}
	assert_int_equal(finish(&s), E_OK);
	assert_int_equal(atomic_load(&s.ran), 3000);
	shared_close(&s);
}

/* ---- a flow that is watched ---- */

struct watch {
	atomic_uint asked;
	unsigned patience; /* so often the answer is to go on */
};

static enum ecode
watch_ask(void *arg, struct err *e)
{
	struct watch *w = arg;

	if (atomic_fetch_add(&w->asked, 1) < w->patience)
		return E_OK;
	return err_set(e, E_INTERRUPTED, 0, "enough");
}

/* Every task is either run or dropped, and the watcher's own words are the result. */
static void
test_watch_ends_the_work(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct watch w = { .patience = 10 };
		struct shared s;
		struct err e;

		shared_open(&s, thread_counts[i], FLOW_FIFO, NO_LIMIT);
		flow_watch(s.flow, watch_ask, &w);
		for (unsigned n = 0; n < 500; n++) {
			count_load(&s, 1);
			flow_add(s.flow, &item_new(&s, count_run, n, 1)->task);
		}
		assert_int_equal(flow_finish(s.flow, &e), E_INTERRUPTED);
		assert_string_equal(e.detail, "enough");
		assert_int_equal(atomic_load(&s.ran), 10);
		assert_int_equal(atomic_load(&s.dropped), 490);
		assert_int_equal(atomic_load(&s.load), 0);
		shared_close(&s);
	}
}

static void
test_watch_inside_tree(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTS; i++) {
		struct watch w = { .patience = 100 };
		struct shared s;

		shared_open(&s, thread_counts[i], FLOW_LIFO, 50);
		flow_watch(s.flow, watch_ask, &w);
		add_tree(&s, 6, 4, 10);
		assert_int_equal(finish(&s), E_INTERRUPTED);
		assert_int_equal(atomic_load(&s.ran), 100);
		assert_int_equal(atomic_load(&s.load), 0);
		shared_close(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_close),
		cmocka_unit_test(test_every_task_runs_once),
		cmocka_unit_test(test_serial_order),
		cmocka_unit_test(test_serial_bounded),
		cmocka_unit_test(test_serial_tree_same_order),
		cmocka_unit_test(test_threads_run_side_by_side),
		cmocka_unit_test(test_refusal_drops_the_rest),
		cmocka_unit_test(test_first_refusal_wins),
		cmocka_unit_test(test_stop_without_reason),
		cmocka_unit_test(test_close_drops_what_waits),
		cmocka_unit_test(test_outside_bounded),
		cmocka_unit_test(test_capacity_holds_back),
		cmocka_unit_test(test_dear_task_alone),
		cmocka_unit_test(test_stop_wakes_producer),
		cmocka_unit_test(test_many_producers),
		cmocka_unit_test(test_tree_of_tasks),
		cmocka_unit_test(test_deep_line),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_refusal_inside_tree),
		cmocka_unit_test(test_ping_pong),
		cmocka_unit_test(test_watch_ends_the_work),
		cmocka_unit_test(test_watch_inside_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
