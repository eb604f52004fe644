/*
 * Threads, in one place.  A flow is a pool of workers over one list of tasks.
 * A task is a function of one item; it may add more tasks.  The first refusal
 * wins: tasks not yet begun are then dropped, running ones end by themselves.
 *
 * Newest first (FLOW_LIFO) walks a tree depth-first and so bounds memory;
 * FLOW_FIFO is for writers.  With threads = 0 the flow is its own serial twin:
 * tasks run in the thread that calls flow_finish()/flow_add_bounded(), always
 * in the same order, so that the n-th kernel call is always the same call.
 *
 * Every task states a cost in bytes.  flow_add_bounded() holds its caller back
 * while the waiting and running cost exceeds the capacity: a worker of the same
 * flow helps by running tasks meanwhile, any other thread sleeps.  A single task
 * dearer than the capacity is let through alone.
 */
#ifndef HF_BASE_FLOW_H
#define HF_BASE_FLOW_H

#include "base/err.h"

struct flow;
struct flow_task {
	/* `worker` is 0 … flow_workers()-1: the index of this thread's own contexts. */
	enum ecode (*run)(struct flow_task *task, unsigned worker, struct err *e);
	/* Release a task that will never run.  Required. */
	void (*drop)(struct flow_task *task);
	size_t cost;
	struct flow_task *next; /* the flow's own */
};
enum flow_order {
	FLOW_LIFO,
	FLOW_FIFO
};

/* Starts the threads.  refuses: E_NOMEM (also when the system gives no thread). */
enum ecode flow_open(struct flow **out, unsigned threads, enum flow_order order,
	size_t capacity_bytes, struct err *e) must_check;
/* Workers that may run tasks, for sizing per-worker contexts: threads, or 1 for the serial twin. */
unsigned flow_workers(const struct flow *f);
/* Never blocks.  After a refusal or a stop the task is dropped at once. */
void flow_add(struct flow *f, struct flow_task *task);
/* As flow_add, but obeys the capacity.  `worker`: the caller's index when it is a worker of f, else FLOW_OUTSIDE. */
#define FLOW_OUTSIDE (~0U)
void flow_add_bounded(struct flow *f, struct flow_task *task, unsigned worker);
/* Ask all to stop: the flow's result becomes `code` unless it already has a refusal. Any thread. */
void flow_stop(struct flow *f, enum ecode code, const struct err *why);
bool flow_stopping(struct flow *f);
/* Wait until no task is left, then the first refusal.  The flow can be used again when E_OK. */
enum ecode flow_finish(struct flow *f, struct err *e) must_check;
/*
 * Before each task `ask` is called, from any thread: a refusal becomes the flow's result and the task is dropped.  To be
 * set before the first task; cheap, as it is asked often.
 */
void flow_watch(struct flow *f, enum ecode (*ask)(void *arg, struct err *e), void *arg);
/* Ends the threads; drops what was never run.  NULL is fine. */
void flow_close(struct flow **f);

#endif
