/* A session whose kernel and store may refuse, cut short or lie, for the programs that judge what then becomes of a command. */
#ifndef HF_TESTS_HARMED_H
#define HF_TESTS_HARMED_H

#include "store/local.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/restore_fix.h"

struct harmed {
	struct fault_os
		*faults; /* the test's: what it logged and fired stays after harmed_close() */
	struct fault_store *store;
	struct session s;
};

/* The vault of `f` is opened unharmed; then both plans (NULL: none) are in force. */
static inline void
harmed_open(struct harmed *h, struct fix *f, struct fault_os *faults,
	const struct fault_plan *kernel, const struct fault_store_plan *vault, unsigned threads)
{
	struct session_args open = { .os = os_posix(),
		.location = f->vault,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.threads = threads,
		.lock = SESSION_NO_LOCK };
	struct store *under = NULL;

	memset(&f->e, 0, sizeof(f->e));
	heard_init(&f->h);
	fault_os_init(faults, os_posix());
	faults->real_random = true;
	assert_int_equal(local_open(os_posix(), f->vault, &under, NULL), E_OK);
	*h = (struct harmed){ .faults = faults, .store = fault_store_open(under) };
	open.store = &h->store->st;
	open.listener = &f->h.listener;
	expect_rc(f, session_open(&h->s, &open, &f->e), E_OK);
	h->s.os = &faults->os;
	if (kernel != NULL)
		fault_os_plan(faults, *kernel);
	if (vault != NULL)
		fault_store_set_plan(h->store, *vault);
}

/* Ends the harm, then the session; nothing may be left open.  Did a plan come to its call? */
static inline bool
harmed_close(struct harmed *h)
{
	bool fired = h->faults->fired + h->store->fired > 0;

	fault_store_set_plan(h->store, (struct fault_store_plan){ .nth = 0 });
	fault_os_plan(h->faults, (struct fault_plan){ .nth = 0 });
	h->s.os = os_posix();
	session_abandon(&h->s);
	store_close(&(struct store *){ &h->store->st });
	if (h->faults->open_fds != 0)
		fault_os_print_log(h->faults);
	assert_int_equal(h->faults->open_fds, 0);
	assert_int_equal(h->faults->children, 0);
	fault_os_done(h->faults);
	return fired;
}

#endif
