#include "base/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pair {
	const char *in, *out;
};

/* Expected by the rules of Go's path/filepath.Clean. */
static const struct pair cleans[] = {
	{ "", "." },
	{ ".", "." },
	{ "./.", "." },
	{ "abc", "abc" },
	{ "abc/def", "abc/def" },
	{ "/", "/" },
	{ "//", "/" },
	{ "///a", "/a" },
	{ "/abc/", "/abc" },
	{ "abc/", "abc" },
	{ "a//b/./c/..", "a/b" },
	{ "abc//def//ghi", "abc/def/ghi" },
	{ "./abc", "abc" },
	{ "/./abc", "/abc" },
	{ "abc/.", "abc" },
	{ "abc/..", "." },
	{ "abc/../..", ".." },
	{ "abc/../../x", "../x" },
	{ "..", ".." },
	{ "../..", "../.." },
	{ "../../abc", "../../abc" },
	{ "../a/../..", "../.." },
	{ "/..", "/" },
	{ "/../..", "/" },
	{ "/../abc", "/abc" },
	{ "/abc/../..", "/" },
	{ "/abc/def/../ghi", "/abc/ghi" },
	{ "abc/def/../../../ghi/jkl/../../../mno", "../../mno" },
	{ "a/b/../../c", "c" },
	{ "...", "..." },
	{ "..a/.b/c..", "..a/.b/c.." },
	{ " / ", " / " },
	{ "/a/../b/../", "/" },
};

static void
test_clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cleans) / sizeof(cleans[0]); i++) {
		autoclean(buf_done) struct buf out = buf_limit(100);
		struct err e;

		assert_int_equal(buf_add_str(&out, "../", &e), E_OK); /* must not be looked at */
		assert_int_equal(path_clean(&out, cleans[i].in, strlen(cleans[i].in), &e), E_OK);
		assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
		assert_memory_equal(out.p, "../", 3);
		assert_string_equal((const char *)out.p + 3, cleans[i].out);
	}
}

/* What is clean stays; only `len` bytes count; bytes are not characters. */
static void
test_clean_is_stable(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(100);
	struct err e;

	(void)state;
	assert_int_equal(path_clean(&out, "a/\xff\0b/../c", 8, &e), E_OK);
	assert_int_equal(out.len, 1);
	buf_clear(&out);
	assert_int_equal(path_clean(&out, "/a\0b//c", 7, &e), E_OK);
	assert_int_equal(out.len, 6);
	assert_memory_equal(out.p, "/a\0b/c", 6);
}

static void
test_clean_limit(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(6);
	struct err e;

	(void)state;
	assert_int_equal(buf_add_str(&out, "xy", &e), E_OK);
	assert_int_equal(path_clean(&out, "abc/def", 7, &e), E_LIMIT);
	assert_int_equal(out.len, 2); /* nothing half done */
}

static void
test_join(void **state)
{
	static const struct {
		const char *dir, *name, *want;
	} rows[] = {
		{ "/", "a", "/a" },
		{ "/a", "b", "/a/b" },
		{ "/a/", "b", "/a/b" },
		{ "", "b", "b" },
		{ ".", "b", "./b" },
		{ "a", "", "a/" },
	};
	autoclean(arena_done) struct arena a = arena_limit(1000);
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *out = NULL;

		assert_int_equal(path_join(&a, rows[i].dir, rows[i].name, &out, &e), E_OK);
		assert_string_equal(out, rows[i].want);
	}
}

static void
test_join_limits(void **state)
{
	autoclean(arena_done) struct arena small = arena_limit(8);
	autoclean(arena_done) struct arena a = arena_limit(4U << 20);
	char *text = malloc(PATH_TEXT_MAX + 1);
	const char *out = "unchanged";
	struct err e;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', PATH_TEXT_MAX);
	text[PATH_TEXT_MAX] = '\0';
	assert_int_equal(path_join(&a, text, "b", &out, &e), E_LIMIT);
	assert_int_equal(path_join(&a, "b", text, &out, &e), E_LIMIT);
	assert_int_equal(path_join(&a, text + 1, "b", &out, &e), E_LIMIT);
	assert_int_equal(path_join(&small, "/aaaa", "bbbb", &out, &e), E_LIMIT);
	assert_string_equal(out, "unchanged");
	assert_int_equal(path_join(&a, text + 2, "b", &out, &e), E_OK);
	assert_int_equal(strlen(out), PATH_TEXT_MAX);
	free(text);
}

static void
test_safe_names(void **state)
{
	char longest[NAME_BYTES_MAX + 1];

	(void)state;
	memset(longest, 'n', sizeof(longest));
	assert_true(name_is_safe("a", 1));
	assert_true(name_is_safe("...", 3));
	assert_true(name_is_safe("..a", 3));
	assert_true(name_is_safe("\xff\n\\", 3));
	assert_true(name_is_safe(longest, NAME_BYTES_MAX));
	assert_false(name_is_safe(longest, NAME_BYTES_MAX + 1));
	assert_false(name_is_safe("", 0));
	assert_false(name_is_safe(".", 1));
	assert_false(name_is_safe("..", 2));
	assert_false(name_is_safe("/", 1));
	assert_false(name_is_safe("a/b", 3));
	assert_false(name_is_safe("a\0b", 3));
	assert_false(name_is_safe("a\0", 2));
}

static void
test_base(void **state)
{
	(void)state;
	assert_string_equal(path_base("/"), "/");
	assert_string_equal(path_base("/a"), "a");
	assert_string_equal(path_base("/a/bc"), "bc");
	assert_string_equal(path_base("a"), "a");
	assert_string_equal(path_base("."), ".");
}

static void
test_within(void **state)
{
	(void)state;
	assert_true(path_within("/", "/"));
	assert_true(path_within("/", "/a"));
	assert_true(path_within("/a", "/a"));
	assert_true(path_within("/a", "/a/b"));
	assert_true(path_within("/a/b", "/a/b/c/d"));
	assert_false(path_within("/a", "/ab"));
	assert_false(path_within("/a/b", "/a"));
	assert_false(path_within("/a/b", "/a/c"));
	assert_false(path_within("/a", "/"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_clean_is_stable),
		cmocka_unit_test(test_clean_limit),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_join_limits),
		cmocka_unit_test(test_safe_names),
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
