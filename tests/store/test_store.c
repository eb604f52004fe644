/* Names, locations, listings, and the conformance suite over every store there is. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "store/conform.h"
#include "store/erase.h"
#include "store/local.h"
#include "store/mem.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/tmpdir.h"

static void
test_names(void **state)
{
	static const char *const want[O_KINDS] = { "config", "keys/", "data/a0/", "index/",
		"snapshots/", "locks/" };
	char text[ONAME_TEXT_MAX], hex[ID_HEX_SIZE];

	(void)state;
	for (unsigned kind = 0; kind < O_KINDS; kind++) {
		struct oname name = conform_name((enum okind)kind, 0xa0, 3);

		oname_text(&name, text);
		id_hex(&name.id, hex);
		assert_memory_equal(text, want[kind], strlen(want[kind]));
		assert_string_equal(text + strlen(want[kind]), kind == O_CONFIG ? "" : hex);
		assert_memory_equal(okind_dir((enum okind)kind), want[kind],
			strlen(okind_dir((enum okind)kind)));
	}
}

static void
test_locations(void **state)
{
	static const char *const good[][2] = {
		{ "/srv/vault", "/srv/vault" },
		{ "vault", "vault" },
		{ "./a:b", "./a:b" },
		{ "/a:b/c", "/a:b/c" },
		{ "local:/srv/vault", "/srv/vault" },
		{ "local:rest:x", "rest:x" },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct store *st = NULL;

		assert_int_equal(store_open(os_posix(), good[i][0], &st, &e), E_OK);
		assert_string_equal(store_local_path(st), good[i][1]);
		store_close(&st);
		assert_null(st);
	}
}

static void
test_foreign_locations_are_refused(void **state)
{
	static const char *const bad[] = { "", "local:", "sftp:user@host:/x", "rest:http://h/",
		"s3:s3.example.org/b", "rclone:r:p", "b2:bucket", "azure:c:/", "gs:b:/",
		"swift:c:/", "http://host/", "unknown:thing" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct store *st = NULL;

		assert_int_equal(store_open(os_posix(), bad[i], &st, &e), E_STORE_LOCATION);
		assert_null(st);
	}
}

static void
test_opening_touches_nothing(void **state)
{
	char dir[TMPDIR_PATH_MAX], vault[TMPDIR_PATH_MAX + 8];
	struct store *st = NULL;
	struct err e;

	(void)state;
	tmpdir_make_fast(dir);
	(void)snprintf(vault, sizeof(vault), "%s/vault", dir);
	assert_int_equal(store_open(os_posix(), vault, &st, &e), E_OK);
	store_close(&st);
	assert_int_equal(tmpdir_count(dir, ""), 0);
	tmpdir_remove(dir);
}

static void
test_note_names(void **state)
{
	static const char *const good[] = { ".incomplete-a",
		".incomplete-20261121T031522Z-5e0c7a11", ".incomplete--", ".incomplete-tmp-1",
		".drill-20261121T031522Z-5e0c7a11",
		".incomplete-0123456789012345678901234567890123456789012345678901234567890123" };
	static const char *const bad[] = { "", ".incomplete", ".incomplete-", ".incomplete-a/b",
		".incomplete-..", ".incomplete-a b", ".incomplete-a-tmp-17", "config", "a",
		".drill-", ".drill", "drill-a", ".drill-a-tmp-1", ".incomplete-\xc3\xa4",
		".incomplete-a\n", "x.incomplete-a",
		".incomplete-01234567890123456789012345678901234567890123456789012345678901234" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(note_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(note_name_valid(bad[i]));
}

static void
test_conform_mem(void **state)
{
	struct store *st = NULL;
	struct err e;

	(void)state;
	assert_int_equal(mem_open(&st, &e), E_OK);
	conform_run(st);
	assert_null(store_local_path(st));
	store_close(&st);
}

static void
test_conform_local(void **state)
{
	char dir[TMPDIR_PATH_MAX];
	struct fault_os f;
	struct store *st = NULL;
	struct err e;

	(void)state;
	tmpdir_make_fast(dir);
	fault_os_init(&f, os_posix());
	assert_int_equal(local_open(&f.os, dir, &st, &e), E_OK);
	assert_int_equal(store_prepare(st, &e), E_OK);
	conform_run(st);
	store_close(&st);
	assert_int_equal(f.open_fds, 0);
	fault_os_done(&f);
	tmpdir_remove(dir);
}

static void
test_conform_local_without_any_directory(void **state)
{
	char dir[TMPDIR_PATH_MAX];
	struct store *st = NULL;
	struct slice part = { (const uint8_t *)"x", 1 };
	struct oname name = conform_name(O_PACK, 0x11, 1);
	struct err e;

	(void)state;
	tmpdir_make_fast(dir);
	assert_int_equal(local_open(os_posix(), dir, &st, &e), E_OK);
	assert_int_equal(store_put(st, &name, &part, 1, &e), E_OK);
	assert_true(tmpdir_exists(dir, "data/11"));
	assert_int_equal(tmpdir_count(dir, ""), 1); /* on demand, not all of them */
	store_close(&st);
	tmpdir_remove(dir);
}

static void
test_conform_fault_store_without_a_fault(void **state)
{
	struct store *under = NULL, *st;
	struct err e;

	(void)state;
	assert_int_equal(mem_open(&under, &e), E_OK);
	st = &fault_store_open(under)->st;
	conform_run(st);
	store_close(&st);
}

/* Four objects of one kind, for the fault store's own tests. */
static struct fault_store *
filled(void)
{
	struct slice part = { (const uint8_t *)"0123456789", 10 };
	struct store *under = NULL;
	struct err e;

	assert_int_equal(mem_open(&under, &e), E_OK);
	for (unsigned i = 0; i < 4; i++) {
		struct oname name = conform_name(O_INDEX, 9, i);

		assert_int_equal(store_put(under, &name, &part, 1, &e), E_OK);
	}
	return fault_store_open(under);
}

static void
test_fault_store_falsifies(void **state)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	autoclean(buf_done) struct buf out = buf_limit(100);
	struct fault_store *f = filled();
	struct oname name = conform_name(O_INDEX, 9, 0), fresh = conform_name(O_INDEX, 9, 50);
	struct store *st = &f->st;
	struct err e;

	(void)state;
	fault_store_set_plan(f, (struct fault_store_plan){ .nth = 2, .code = E_STORE_READ });
	assert_int_equal(store_stat(st, &name, &(uint64_t){ 0 }, &e), E_OK);
	assert_int_equal(store_get(st, &name, 0, 10, &out, &e), E_STORE_READ);
	assert_int_equal(store_get(st, &name, 0, 10, &out, &e), E_OK);
	fault_store_set_plan(f, (struct fault_store_plan){ .nth = 1, .mode = STORE_CUT });
	buf_clear(&out);
	assert_int_equal(store_get(st, &name, 0, 10, &out, &e), E_OK);
	assert_int_equal(out.len, 5);
	fault_store_set_plan(f, (struct fault_store_plan){ .nth = 1, .mode = STORE_FLIP });
	buf_clear(&out);
	assert_int_equal(store_get(st, &name, 0, 10, &out, &e), E_OK);
	assert_memory_equal(out.p, "0123446789", 10);
	fault_store_set_plan(f, (struct fault_store_plan){ .nth = 1, .mode = STORE_CUT });
	assert_int_equal(store_list_all(st, O_INDEX, &l, &e), E_OK);
	assert_int_equal(l.n, 2);
	fault_store_set_plan(f, (struct fault_store_plan){
					.nth = 1, .mode = STORE_CUT_LIST, .code = E_STORE_READ });
	assert_int_equal(store_list_all(st, O_INDEX, &l, &e), E_STORE_READ);
	assert_int_equal(l.n, 2); /* a refused listing leaves the old one */
	fault_store_set_plan(f, (struct fault_store_plan){
					.nth = 1, .mode = STORE_LOSE_ACK, .code = E_STORE_UNSURE });
	assert_int_equal(store_put(st, &fresh, NULL, 0, &e), E_STORE_UNSURE);
	assert_int_equal(store_stat(st, &fresh, &(uint64_t){ 0 }, &e), E_OK);
	assert_int_equal(f->fired, 1);
	store_close(&st);
}

static void
test_fault_store_lists_the_past(void **state)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	struct fault_store *f = filled();
	struct store *st = &f->st;
	struct eraser er = eraser_for(st, 1U << O_INDEX);
	struct oname old = conform_name(O_INDEX, 9, 0), fresh = conform_name(O_INDEX, 9, 50);
	struct err e;

	(void)state;
	fault_store_freeze(f);
	assert_int_equal(store_put(st, &fresh, NULL, 0, &e), E_OK);
	assert_int_equal(eraser_erase(&er, &old, &e), E_OK);
	assert_int_equal(eraser_erase(&er, &(struct oname){ .kind = O_INDEX }, &e), E_OK);
	assert_int_equal(store_list_all(st, O_INDEX, &l, &e), E_OK);
	assert_int_equal(l.n, 4);
	for (size_t i = 0; i < l.n; i++)
		assert_true(id_cmp(&l.v[i].id, &fresh.id) != 0);
	fault_store_thaw(f);
	assert_int_equal(store_list_all(st, O_INDEX, &l, &e), E_OK);
	assert_int_equal(l.n, 4); /* one more, one less */
	store_close(&st);
}

/* An eraser of the wrong kind stops the program: looked at from outside. */
static void
test_eraser_obeys_its_kinds(void **state)
{
	struct store *st = NULL;
	struct oname name = conform_name(O_PACK, 1, 1);
	struct err e;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(mem_open(&st, &e), E_OK);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct eraser er = eraser_for(st, 1U << O_LOCK);

		(void)close(STDERR_FILENO); /* its last words are expected */
		_exit(eraser_erase(&er, &name, &e) == E_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	store_close(&st);
}

#define WRITERS    4
#define PER_WRITER 100

struct writer {
	struct store *st;
	unsigned number;
	enum ecode rc;
};

/* Each writes its own objects and, between, one that all write. */
static void *
write_many(void *arg)
{
	struct writer *w = arg;
	struct slice part = { (const uint8_t *)"the same", 8 };
	struct oname common = conform_name(O_PACK, 0xee, 4242);

	for (unsigned i = 0; w->rc == E_OK && i < PER_WRITER; i++) {
		struct oname name = conform_name(O_PACK, (uint8_t)i, w->number * 1000 + i);

		w->rc = store_put(w->st, &name, &part, 1, NULL);
		if (w->rc == E_OK && i % 10 == 0)
			w->rc = store_put(w->st, &common, &part, 1, NULL);
	}
	return NULL;
}

static void
write_in_parallel(struct store *st)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	struct writer w[WRITERS];
	pthread_t threads[WRITERS];
	struct err e;

	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .st = st, .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, &w[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(w[i].rc, E_OK);
	}
	assert_int_equal(store_list_all(st, O_PACK, &l, &e), E_OK);
	assert_int_equal(l.n, WRITERS * PER_WRITER + 1);
	for (size_t i = 0; i < l.n; i++)
		assert_int_equal(l.v[i].size, 8);
}

static int
no_sync(const struct os *os, int fd)
{
	(void)os;
	(void)fd;
	return 0; /* this test is about threads, not about disks */
}

static void
test_any_thread_may_put(void **state)
{
	char dir[TMPDIR_PATH_MAX];
	struct os os = *os_posix();
	struct store *st = NULL;
	struct err e;

	(void)state;
	assert_int_equal(mem_open(&st, &e), E_OK);
	write_in_parallel(st);
	store_close(&st);
	tmpdir_make_fast(dir);
	os.fsync = no_sync;
	assert_int_equal(local_open(&os, dir, &st, &e), E_OK);
	write_in_parallel(st);
	assert_int_equal(tmpdir_count_like(dir, "-tmp-"), 0);
	store_close(&st);
	tmpdir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_locations),
		cmocka_unit_test(test_foreign_locations_are_refused),
		cmocka_unit_test(test_opening_touches_nothing),
		cmocka_unit_test(test_note_names),
		cmocka_unit_test(test_conform_mem),
		cmocka_unit_test(test_conform_local),
		cmocka_unit_test(test_conform_local_without_any_directory),
		cmocka_unit_test(test_conform_fault_store_without_a_fault),
		cmocka_unit_test(test_fault_store_falsifies),
		cmocka_unit_test(test_fault_store_lists_the_past),
		cmocka_unit_test(test_eraser_obeys_its_kinds),
		cmocka_unit_test(test_any_thread_may_put),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
