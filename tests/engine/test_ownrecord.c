/* A snapshot's own record: what is written is read back, format 1 stays readable, and no text makes a false claim (DV-04). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/ownrecord.h"

#define ARENA_BYTES ((size_t)16 << 20)

static struct slice
text_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static enum ecode
parse(const char *text, struct arena *a, struct own_record *out, struct err *e)
{
	*out = (struct own_record){ .unreadable = 77 };
	return own_parse(text_of(text), a, out, e);
}

static void
assert_text(struct slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.p, text, s.len);
}

static void
test_what_is_written_is_read(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	static const struct own_source sources[] = {
		{ { (const uint8_t *)"/home/a\"\\\n", 10 }, 5, UINT64_MAX }, { { NULL, 0 }, 0, 0 }
	};
	struct own_record r = { .run_id = text_of("run-7"),
		.continued_from = text_of("run-6"),
		.state = COMPLETENESS_PARTIAL,
		.unreadable = 1,
		.changed_while_read = 2,
		.vanished = 3,
		.excluded = 4,
		.sockets_skipped = 5,
		.has_digest = true,
		.sources = sources,
		.source_count = 2 };
	struct own_record got;
	struct err e;

	(void)state;
	memset(r.list_digest.b, 0xa5, sizeof(r.list_digest.b));
	assert_int_equal(own_write(&r, &text, &e), E_OK);
	assert_int_equal(own_parse(buf_slice(&text), &a, &got, &e), E_OK);
	assert_text(got.run_id, "run-7");
	assert_text(got.continued_from, "run-6");
	assert_int_equal(got.state, COMPLETENESS_PARTIAL);
	assert_int_equal(got.unreadable, 1);
	assert_int_equal(got.changed_while_read, 2);
	assert_int_equal(got.vanished, 3);
	assert_int_equal(got.excluded, 4);
	assert_int_equal(got.sockets_skipped, 5);
	assert_true(got.has_digest);
	assert_int_equal(id_cmp(&got.list_digest, &r.list_digest), 0);
	assert_int_equal(got.source_count, 2);
	assert_text(got.sources[0].path, "/home/a\"\\\n");
	assert_int_equal(got.sources[0].files, 5);
	assert_true(got.sources[0].bytes == UINT64_MAX);
	assert_int_equal(got.sources[1].path.len, 0);
}

static void
test_format_1(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
	struct own_record r;
	struct err e;

	(void)state;
	assert_int_equal(
		parse("{\"format\":1,\"run_id\":\"r\",\"completeness\":\"partial\",\"unreadable\":2,"
		      "\"changed_while_read\":1,\"excluded\":3,\"sockets_skipped\":4}",
			&a, &r, &e),
		E_OK);
	assert_int_equal(r.state, COMPLETENESS_PARTIAL);
	assert_int_equal(r.unreadable, 2);
	assert_int_equal(r.changed_while_read, 1);
	assert_int_equal(r.excluded, 3);
	assert_int_equal(r.sockets_skipped, 4);
	assert_false(r.has_digest);
	assert_int_equal(parse("{\"format\":1,\"completeness\":\"complete\"}", &a, &r, &e), E_OK);
	assert_int_equal(r.state, COMPLETENESS_COMPLETE);
}

static void
test_nothing_said(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
	struct own_record r;
	struct err e;

	(void)state;
	assert_int_equal(own_parse((struct slice){ NULL, 0 }, &a, &r, &e), E_OK);
	assert_int_equal(r.state, COMPLETENESS_UNSAID);
}

static void
test_false_claims(void **state)
{
	static const struct {
		const char *text;
		enum ecode code;
	} rows[] = {
		{ "{\"format\":2,\"completeness\":{\"state\":\"complete\",\"unreadable\":1}}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"partial\",\"unreadable\":0}}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"nearly\"}}", E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{}}", E_OWN_FORMAT },
		{ "{\"format\":2}", E_OWN_FORMAT },
		{ "{\"completeness\":{\"state\":\"complete\"}}", E_OWN_FORMAT },
		{ "{\"format\":0,\"completeness\":{\"state\":\"complete\"}}", E_OWN_FORMAT },
		{ "{\"format\":-1}", E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":7}", E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"complete\",\"vanished\":\"x\"}}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"complete\"},\"sources\":{}}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"complete\"},\"sources\":[7]}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"complete\"},\"run_id\":7}",
			E_OWN_FORMAT },
		{ "{\"format\":2,\"completeness\":{\"state\":\"partial\",\"unreadable\":1,\"list_digest\":\"00\"}}",
			E_OWN_FORMAT },
		{ "[]", E_OWN_FORMAT },
		{ "{", E_OWN_FORMAT },
		{ "nothing", E_OWN_FORMAT },
		{ "{\"format\":3}", E_OWN_VERSION },
		{ "{\"completeness\":7,\"format\":18446744073709551615}", E_OWN_VERSION },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
		struct snapshot s = { .holdfast = text_of(rows[i].text) };
		struct own_record r;
		struct err e;
		uint64_t lost;

		assert_int_equal(parse(rows[i].text, &a, &r, &e), rows[i].code);
		assert_int_equal(e.code, rows[i].code);
		assert_int_equal(r.unreadable, 77);
		assert_int_equal(own_completeness(&s, &lost), COMPLETENESS_UNREADABLE);
		assert_int_equal(lost, 0);
	}
}

/* A later version may add members; what we know of them stays true. */
static void
test_unknown_members(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
	struct own_record r;
	struct err e;

	(void)state;
	assert_int_equal(
		parse("{\"format\":2,\"signature\":{\"a\":[1,2]},\"completeness\":{\"state\":\"partial\","
		      "\"new\":null,\"unreadable\":9},\"sources\":[{\"path\":\"p\",\"new\":true}]}",
			&a, &r, &e),
		E_OK);
	assert_int_equal(r.unreadable, 9);
	assert_int_equal(r.source_count, 1);
}

static void
test_many_sources(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_BYTES);
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	struct own_record r;
	struct err e;

	(void)state;
	assert_int_equal(
		buf_add_str(&text,
			"{\"format\":2,\"completeness\":{\"state\":\"complete\"},\"sources\":[",
			&e),
		E_OK);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&text, &e, "%s{\"path\":\"/%u\",\"files\":%u}",
					 i == 0 ? "" : ",", i, i),
			E_OK);
	assert_int_equal(buf_add_str(&text, "]}", &e), E_OK);
	assert_int_equal(own_parse(buf_slice(&text), &a, &r, &e), E_OK);
	assert_int_equal(r.source_count, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(r.sources[i].files, i);
	a = (arena_done(&a), arena_limit(4096));
	assert_int_equal(own_parse(buf_slice(&text), &a, &r, &e), E_LIMIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_format_1),
		cmocka_unit_test(test_nothing_said),
		cmocka_unit_test(test_false_claims),
		cmocka_unit_test(test_unknown_members),
		cmocka_unit_test(test_many_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
