/* The record of a run under way (D-4): what is written comes back, what is not ours is counted and left alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/incomplete.h"
#include "store/mem.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/make_vault.h"

#define RUN   "20261121T031522Z-5e0c7a11"
#define OTHER "20261121T040000Z-00000001"
#define LIMIT ((size_t)64 << 20)

struct bench {
	char dir[256], vault[300];
	struct session s;
	struct heard h;
};

static int
setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	temp_dir(b->dir, sizeof(b->dir));
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	make_vault(os_posix(), b->vault, 2);
	heard_init(&b->h);
	open_session(&b->s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &b->h);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *b = *state;
	struct err e;

	assert_int_equal(session_close(&b->s, &e), E_OK);
	remove_tree(b->dir);
	free(b);
	return 0;
}

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static struct incomplete
example(const char *run_id)
{
	static struct slice paths[2];
	struct incomplete i = { .run_id = run_id,
		.host = text("ada's \"host\""),
		.username = text("ada"),
		.started = { .s = 1700000000, .ns = 5 },
		.updated = { .s = 1700000300 },
		.has_tree = true,
		.files = UINT64_MAX,
		.bytes = 7,
		.stored_bytes = 9 };

	paths[0] = text("/home/ada");
	paths[1] = text("/srv/a\nb");
	i.paths = paths;
	i.path_count = 2;
	memset(i.tree.b, 0xab, sizeof(i.tree.b));
	assert_int_equal(identity_self(os_posix(), &i.owner, NULL), E_OK);
	return i;
}

static void
write_one(struct bench *b, const struct incomplete *i)
{
	struct err e;

	assert_int_equal(incomplete_write(&b->s, i, &e), E_OK);
}

static void
check_same(const struct incomplete *a, const struct incomplete *b)
{
	autoclean(buf_done) struct buf x = buf_limit(LIMIT), y = buf_limit(LIMIT);

	assert_int_equal(incomplete_text(a, &x, NULL), E_OK);
	assert_int_equal(incomplete_text(b, &y, NULL), E_OK);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.p, y.p, x.len);
}

static struct incomplete_list
load(struct bench *b, struct arena *a)
{
	struct incomplete_list l;
	struct err e;

	assert_int_equal(incomplete_list_load(&b->s, a, &l, &e), E_OK);
	return l;
}

static void
what_is_written_comes_back(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(LIMIT);
	struct bench *b = *state;
	struct incomplete i = example(RUN);
	struct incomplete_list l = load(b, &a);

	assert_int_equal(l.n, 0);
	write_one(b, &i);
	l = load(b, &a);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.unreadable, 0);
	check_same(&l.v[0], &i);
	assert_int_equal(l.v[0].path_count, 2);
	assert_true(slice_is(l.v[0].paths[1], "/srv/a\nb"));
	assert_int_equal(l.v[0].started.ns, 5);
	assert_true(l.v[0].files == UINT64_MAX);
	assert_int_equal(l.state[0], INCOMPLETE_LIVE); /* it is this process */
	i.has_tree = false;
	i.ended = true;
	i.ended_how = "E_STORE_SPACE";
	write_one(b, &i);
	l = load(b, &a);
	assert_int_equal(l.n, 1); /* replaced */
	check_same(&l.v[0], &i);
	assert_string_equal(l.v[0].ended_how, "E_STORE_SPACE");
	assert_int_equal(l.state[0], INCOMPLETE_DEAD); /* it says so itself */
	assert_int_equal(incomplete_erase(&b->s, RUN, NULL), E_OK);
	assert_int_equal(load(b, &a).n, 0);
	assert_int_equal(incomplete_erase(&b->s, RUN, NULL), E_OK);
}

static void
the_newest_comes_first_and_states_are_judged(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(LIMIT);
	struct bench *b = *state;
	struct incomplete gone = example("gone"), far = example("far"), live = example("live");
	struct incomplete_list l;

	gone.updated.s += 10;
	gone.owner.boot[0] = gone.owner.boot[0] == 'a' ? 'b' : 'a'; /* of an earlier boot */
	gone.owner.pid = 1;
	(void)snprintf(
		far.owner.machine, sizeof(far.owner.machine), "00000000000000000000000000000001");
	(void)snprintf(
		far.owner.boot, sizeof(far.owner.boot), "00000000-0000-0000-0000-000000000000");
	far.updated.s += 20;
	write_one(b, &live);
	write_one(b, &far);
	write_one(b, &gone);
	l = load(b, &a);
	assert_int_equal(l.n, 3);
	assert_string_equal(l.v[0].run_id, "far");
	assert_int_equal(l.state[0], INCOMPLETE_UNKNOWN);
	assert_string_equal(l.v[1].run_id, "gone");
	if (gone.owner.machine[0] != '\0') /* without a machine-id nothing is provable */
		assert_int_equal(l.state[1], INCOMPLETE_DEAD);
	assert_string_equal(l.v[2].run_id, "live");
	assert_int_equal(l.state[2], INCOMPLETE_LIVE);
}

/* Copy one note's file under another name, with a byte changed when `flip`. */
static void
copy_note(struct bench *b, const char *from, const char *to, bool flip)
{
	autoclean(buf_done) struct buf sealed = buf_limit(LIMIT);
	struct err e;

	assert_int_equal(store_note_get(b->s.store, from, &sealed, &e), E_OK);
	if (flip)
		sealed.p[sealed.len / 2] ^= 1;
	assert_int_equal(store_note_put(b->s.store, to, buf_slice(&sealed), &e), E_OK);
}

static void
tampering_shows_and_nothing_is_removed(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(LIMIT);
	struct bench *b = *state;
	struct incomplete i = example(RUN);
	struct incomplete_list l;

	write_one(b, &i);
	copy_note(b, NOTE_PREFIX RUN, NOTE_PREFIX OTHER, false); /* under another run's name */
	l = load(b, &a);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.unreadable, 1);
	assert_non_null(strstr(b->h.last_note, OTHER));
	assert_non_null(strstr(b->h.last_note, "E_INCOMPLETE_FORMAT"));
	copy_note(b, NOTE_PREFIX RUN, NOTE_PREFIX OTHER, true); /* not what was sealed */
	l = load(b, &a);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.unreadable, 1);
	assert_non_null(strstr(b->h.last_note, "E_SEAL_MAC"));
	assert_int_equal(store_note_put(b->s.store, NOTE_PREFIX RUN, text(""), NULL), E_OK);
	l = load(b, &a);
	assert_int_equal(l.n, 0);
	assert_int_equal(l.unreadable, 2);
	assert_int_equal(b->h.problems, 0); /* no error of anybody */
}

static void
check_parse(const char *json, enum ecode want)
{
	autoclean(arena_done) struct arena a = arena_limit(LIMIT);
	struct incomplete i = { .files = 77 };
	struct err e = { .code = E_OK };

	assert_int_equal(incomplete_parse(json, strlen(json), &a, &i, &e), want);
	assert_int_equal(e.code, want);
	if (want != E_OK)
		assert_int_equal(i.files, 77); /* untouched */
}

#define TIMES "\"started\":\"2026-11-21T03:15:22Z\",\"updated\":\"2026-11-21T03:15:22Z\""

static void
only_whole_records_are_believed(void **state)
{
	(void)state;
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[]}", E_OK);
	check_parse(
		"{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[],\"new\":{\"x\":[1]}}", E_OK);
	check_parse("{\"format\":2,\"run_id\":\"a\"," TIMES ",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"run_id\":\"a\"," TIMES ",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1," TIMES ",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"a\",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES "}", E_INCOMPLETE_FORMAT);
	check_parse(
		"{\"format\":1,\"run_id\":\"../a\"," TIMES ",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"\"," TIMES ",\"paths\":[]}", E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[],\"tree\":\"ab\"}",
		E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[],\"ended\":\"rm -rf\"}",
		E_INCOMPLETE_FORMAT);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[1]}", E_JSON_SYNTAX);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[\"a\"", E_JSON_SYNTAX);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":{}}", E_JSON_SYNTAX);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"files\":-1}", E_JSON_SYNTAX);
	check_parse("{\"format\":1,\"run_id\":\"a\"," TIMES ",\"paths\":[]} x", E_JSON_SYNTAX);
	check_parse("[]", E_JSON_SYNTAX);
	check_parse("", E_JSON_SYNTAX);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_written_comes_back),
		T(the_newest_comes_first_and_states_are_judged),
		T(tampering_shows_and_nothing_is_removed),
		cmocka_unit_test(only_whole_records_are_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
