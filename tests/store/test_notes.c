/*
 * Notes of a local vault under refused and shortened kernel calls: a note is
 * the old text or the new one, whole, also when its replacement was interrupted,
 * and a repeat works without tidying up.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/local.h"
#include "store/mem.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/tmpdir.h"

#define NOTE      NOTE_PREFIX "20260102T030405Z-00000001"
#define OTHER     NOTE_PREFIX "20260102T030405Z-00000002"
#define CALLS_MAX 500
#define TEXT_MAX  ((size_t)64 << 10)

struct place {
	char path[TMPDIR_PATH_MAX];
	struct fault_os f;
	struct store *st;
	char *long_text; /* more than one read or write of the short modes */
	bool fired;      /* in the operation at hand */
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct err e;

	assert_non_null(p);
	tmpdir_make_fast(p->path);
	fault_os_init(&p->f, os_posix());
	p->f.real_random = true;
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
	p->long_text = calloc(1, 3000);
	assert_non_null(p->long_text);
	memset(p->long_text, 'n', 2999);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	store_close(&p->st);
	assert_int_equal(p->f.open_fds, 0);
	fault_os_done(&p->f);
	tmpdir_remove(p->path);
	free(p->long_text);
	free(p);
	return 0;
}

static void
reopen(struct place *p)
{
	struct err e;

	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	store_close(&p->st);
	assert_int_equal(p->f.open_fds, 0);
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
}

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static bool
holds(struct place *p, const char *name, const char *want)
{
	size_t len = 0;
	char *have = tmpdir_read(p->path, name, &len);
	bool same = len == strlen(want) && memcmp(have, want, len) == 0;

	free(have);
	return same;
}

struct names {
	unsigned n;
	char last[NOTE_NAME_MAX];
};

static enum ecode
take_name(void *arg, const char *name, struct err *e)
{
	struct names *l = arg;

	(void)e;
	l->n++;
	(void)snprintf(l->last, sizeof(l->last), "%s", name);
	return E_OK;
}

/* ---- one operation under one plan ---- */

/* The operation is over: what follows is not refused any more. */
static void
over(struct place *p)
{
	p->fired = p->f.fired > 0;
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
}

static void
check_put(struct place *p, enum ecode rc, bool replaces, const struct err *e)
{
	bool there = tmpdir_exists(p->path, NOTE);

	switch ((int)rc) {
	case E_OK:
		assert_true(holds(p, NOTE, p->long_text));
		break;
	case E_STORE_UNSURE: /* it may be there: then whole */
		assert_true(holds(p, NOTE, p->long_text));
		break;
	case E_STORE_WRITE:
	case E_STORE_SPACE:
	case E_STORE_RDONLY:
		assert_int_equal(there, replaces);
		if (replaces)
			assert_true(holds(p, NOTE, "before"));
		break;
	default:
		fail_msg("put of a note refused with %s: %s", err_row(rc)->name, e->detail);
	}
}

static enum ecode
put_one(struct place *p, bool replaces, struct err *e)
{
	enum ecode rc = store_note_put(p->st, NOTE, text(p->long_text), e);
	struct names l = { 0 };

	over(p);
	check_put(p, rc, replaces, e);
	/* what is half written is nobody's note */
	assert_int_equal(store_note_list(p->st, take_name, &l, e), E_OK);
	assert_int_equal(l.n, tmpdir_exists(p->path, NOTE));
	assert_int_equal(store_note_put(p->st, NOTE, text("again"), e), E_OK);
	assert_true(holds(p, NOTE, "again"));
	return rc;
}

static enum ecode
put_new(struct place *p, struct err *e)
{
	return put_one(p, false, e);
}

static enum ecode
put_over(struct place *p, struct err *e)
{
	return put_one(p, true, e);
}

static enum ecode
get(struct place *p, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(TEXT_MAX);
	enum ecode rc = store_note_get(p->st, NOTE, &out, e);

	over(p);
	if (rc == E_OK) {
		assert_int_equal(out.len, strlen("before"));
		assert_memory_equal(out.p, "before", out.len);
	} else {
		assert_int_equal(out.len, 0);
		assert_int_equal(rc, E_STORE_READ); /* never "absent": that would be a lie */
	}
	return rc;
}

static enum ecode
list(struct place *p, struct err *e)
{
	struct names l = { 0 };
	enum ecode rc = store_note_list(p->st, take_name, &l, e);

	over(p);
	if (rc == E_OK) {
		assert_int_equal(l.n, 1); /* whole or refused */
		assert_string_equal(l.last, NOTE);
	} else {
		assert_int_equal(rc, E_STORE_READ);
	}
	return rc;
}

static enum ecode
erase(struct place *p, struct err *e)
{
	enum ecode rc = store_note_erase(p->st, NOTE, e);

	over(p);
	if (rc == E_OK)
		assert_false(tmpdir_exists(p->path, NOTE));
	else
		assert_true(rc == E_STORE_ERASE || rc == E_STORE_RDONLY || rc == E_STORE_READ);
	assert_int_equal(store_note_erase(p->st, NOTE, e), E_OK);
	assert_int_equal(tmpdir_count_like(p->path, NOTE), 0); /* with its temporaries */
	assert_true(holds(p, OTHER "-tmp-1", "somebody else's"));
	return rc;
}

/* ---- loops ---- */

static const struct fault_plan harms[] = { { .error = EIO }, { .error = EIO, .forever = true },
	{ .error = ENOSPC }, { .error = ENOSPC, .forever = true }, { .error = EDQUOT },
	{ .error = EROFS, .forever = true }, { .error = EACCES }, { .error = EPERM },
	{ .error = EMFILE }, { .error = ESTALE }, { .error = EINTR }, { .mode = FAULT_SHORT_ONE },
	{ .mode = FAULT_SHORT_ONE, .forever = true }, { .mode = FAULT_SHORT_HALF } };

static void
loop(struct place *p, bool has_note, enum ecode (*one)(struct place *p, struct err *e),
	unsigned long at_least)
{
	unsigned long refused = 0, runs = 0;

	for (size_t i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
		struct fault_plan plan = harms[i];
		bool fired = true;

		for (plan.nth = 1; fired; plan.nth++, runs++) {
			struct err e = { .code = E_OK };
			enum ecode rc;

			assert_true(plan.nth < CALLS_MAX);
			tmpdir_empty(p->path);
			if (has_note)
				tmpdir_write(p->path, NOTE, "before", 6);
			/* of processes that were killed in the middle of a replacement */
			if (one == put_over || one == erase)
				tmpdir_write(p->path, NOTE "-tmp-99", "hal", 3);
			if (one == erase)
				tmpdir_write(p->path, OTHER "-tmp-1", "somebody else's", 15);
			reopen(p);
			fault_os_plan(&p->f, plan);
			rc = one(p, &e);
			fired = p->fired;
			if (!fired)
				assert_int_equal(rc, E_OK);
			refused += rc != E_OK;
			if (rc != E_OK && plan.mode != FAULT_REFUSE)
				fail_msg("a short call was not survived: %s", e.detail);
		}
	}
	print_message("# %lu runs, %lu refused\n", runs, refused);
	assert_true(refused >= at_least);
}

static void
a_new_note_under_every_refused_call(void **state)
{
	loop(*state, false, put_new, 30);
}

static void
a_replacement_under_every_refused_call(void **state)
{
	loop(*state, true, put_over, 30);
}

static void
reading_under_every_refused_call(void **state)
{
	loop(*state, true, get, 10);
}

static void
listing_under_every_refused_call(void **state)
{
	loop(*state, true, list, 10);
}

static void
erasing_under_every_refused_call(void **state)
{
	loop(*state, true, erase, 10);
}

/* ---- in memory, through the store that refuses ---- */

static void
in_memory_a_lost_answer_is_survived(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(TEXT_MAX);
	struct store *mem = NULL;
	struct fault_store *fs;
	struct names l = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(mem_open(&mem, &e), E_OK);
	fs = fault_store_open(mem);
	fault_store_set_plan(fs, (struct fault_store_plan){ .nth = 2,
					 .forever = true,
					 .mode = STORE_LOSE_ACK,
					 .code = E_STORE_UNSURE,
					 .ops = OP_BIT(OP_NOTE_PUT) | OP_BIT(OP_NOTE_ERASE) });
	assert_int_equal(store_note_put(&fs->st, NOTE, text("first"), &e), E_OK);
	assert_int_equal(store_note_put(&fs->st, NOTE, text("second"), &e), E_STORE_UNSURE);
	assert_int_equal(store_note_get(&fs->st, NOTE, &out, &e), E_OK);
	assert_int_equal(out.len, 6);
	assert_memory_equal(out.p, "second", 6);
	assert_int_equal(store_note_erase(&fs->st, NOTE, &e), E_STORE_UNSURE);
	assert_int_equal(store_note_erase(&fs->st, NOTE, &e), E_STORE_UNSURE); /* absent by now */
	fault_store_set_plan(fs, (struct fault_store_plan){ 0 });
	assert_int_equal(store_note_erase(&fs->st, NOTE, &e), E_OK);
	assert_int_equal(store_note_list(&fs->st, take_name, &l, &e), E_OK);
	assert_int_equal(l.n, 0);
	store_close(&(struct store *){ &fs->st });
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_note_under_every_refused_call),
		T(a_replacement_under_every_refused_call),
		T(reading_under_every_refused_call),
		T(listing_under_every_refused_call),
		T(erasing_under_every_refused_call),
		cmocka_unit_test(in_memory_a_lost_answer_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
