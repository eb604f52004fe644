#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/rules.h"

struct row {
	const char *pattern, *path;
	bool matches;
};

static unsigned
match_one(const char *pattern, const char *path, bool insensitive)
{
	struct err e = { .code = E_OK };
	struct rules *r = NULL;
	unsigned got;

	assert_int_equal(rules_open(&r, &e), E_OK);
	if (rules_add(r, pattern, insensitive, &e) != E_OK)
		fail_msg("%s: %s", pattern, e.detail);
	got = rules_match(r, path, strlen(path));
	rules_close(&r);
	assert_null(r);
	return got;
}

static void
check_rows(const struct row *rows, size_t n, bool insensitive)
{
	for (size_t i = 0; i < n; i++)
		if ((match_one(rows[i].pattern, rows[i].path, insensitive) != 0) != rows[i].matches)
			fail_msg("\"%s\" and \"%s\": expected %d", rows[i].pattern, rows[i].path,
				rows[i].matches);
}

/* "Clean the pattern lexically, split at /." */
static void
patterns_are_cleaned(void **state)
{
	static const struct row rows[] = {
		{ "/a//b", "/a/b", true },
		{ "/a/./b", "/a/b", true },
		{ "/a/x/../b", "/a/b", true },
		{ "/a/b/", "/a/b", true },
		{ "a/b/", "/x/a/b/c", true },
		{ "./a", "/x/a", true },
		{ "/../a", "/a", true },
		{ "../a", "/a", false },
		{ ".", "/a", false },
		{ "/", "/a/b", true },
		{ "/", "/", true },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

/* "Within a component: * (not /), ?, [a-z], [^a], \c." */
static void
within_a_component(void **state)
{
	static const struct row rows[] = {
		{ "*", "/a", true },
		{ "*.o", "/src/a.o", true },
		{ "*.o", "/src/.o", true },
		{ "*.o", "/src/a.oo", false },
		{ "*.o", "/src.o/a", true },
		{ "a*", "/x/abc", true },
		{ "a*", "/x/ba", false },
		{ "a*c", "/abc", true },
		{ "a*c", "/ac", true },
		{ "a*c", "/a/c", false },
		{ "/a*", "/a/b", true },
		{ "a*b*c", "/aXbYbZc", true },
		{ "a*b*c", "/aXbYbZ", false },
		{ "*a*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaa", false },
		{ "?", "/a", true },
		{ "?", "/ab", false },
		{ "?", "/\xc3\xa9", true },
		{ "??", "/\xc3\xa9", false },
		{ "?", "/\xff", true },
		{ "*?", "/\xc3\xa9", true },
		{ "*??", "/\xc3\xa9", false },
		{ "[a-z]", "/m", true },
		{ "[a-z]", "/M", false },
		{ "[abc]x", "/bx", true },
		{ "[^a]", "/b", true },
		{ "[^a]", "/a", false },
		{ "[^a-y]z", "/zz", true },
		{ "[\\]]", "/]", true },
		{ "[\\-x]", "/-", true },
		{ "[a\\-z]", "/m", false },
		{ "[a-cx-z]", "/y", true },
		{ "[\xc3\xa0-\xc3\xbf]", "/\xc3\xa9", true },
		{ "[^x]", "/\xc3\xa9", true },
		{ "[!a]", "/!", true },
		{ "\\*", "/*", true },
		{ "\\*", "/a", false },
		{ "a\\?", "/a?", true },
		{ "a\\b", "/ab", true },
		{ "\\[x]", "/[x]", true },
		{ "x]", "/x]", true },
		{ "a**b", "/aXYb", true },
		{ "a**b", "/a/b", false },
		{ "\xff*", "/\xff\xfe", true },
		{ "a\nb", "/a\nb", true },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

/* "** as a whole component = any number of components, also none." */
static void
deep_star(void **state)
{
	static const struct row rows[] = {
		{ "/a/**/z", "/a/z", true },
		{ "/a/**/z", "/a/b/z", true },
		{ "/a/**/z", "/a/b/c/d/z/y", true },
		{ "/a/**/z", "/b/a/z", false },
		{ "/a/**", "/a", true },
		{ "/a/**", "/a/b/c", true },
		{ "/a/**", "/ab", false },
		{ "**", "/x", true },
		{ "/**", "/x/y", true },
		{ "/**/c", "/a/b/c", true },
		{ "a/**/b/**/c", "/x/a/1/b/c", true },
		{ "a/**/b/**/c", "/x/a/1/c/b", false },
		{ "/a/**/**/b", "/a/b", true },
		{ "**/x/y", "/x/x/y", true },
		{ "/**/b/*/d", "/b/b/c/d", true },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

/* "Absolute: n components match the first n; relative: n consecutive anywhere; both match everything below." */
static void
absolute_and_relative(void **state)
{
	static const struct row rows[] = {
		{ "/a/b", "/a/b", true },
		{ "/a/b", "/a/b/c/d", true },
		{ "/a/b", "/x/a/b", false },
		{ "/a/b", "/a", false },
		{ "/a/b", "/a/bc", false },
		{ "a/b", "/a/b", true },
		{ "a/b", "/x/a/b", true },
		{ "a/b", "/x/a/b/y", true },
		{ "a/b", "/a/x/b", false },
		{ "a/a/b", "/a/a/a/b", true },
		{ "a", "/x/a/y", true },
		{ "a", "/x/ab/y", false },
		{ "x/*/y", "/x/1/x/2/y", true },
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

static void
insensitive_folds_ascii_on_both_sides(void **state)
{
	static const struct row rows[] = {
		{ "FOO", "/x/foo", true }, { "foo", "/x/FOO", true }, { "*.JPG", "/a.jPg", true },
		{ "IMG*", "/img_1", true }, { "[A-C]x", "/bX", true }, { "\\A?", "/aB", true },
		{ "/Users/*/Tmp", "/users/Me/tmp/x", true },
		{ "\xc3\x89", "/\xc3\xa9", false }, /* only ASCII is folded */
	};

	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), true);
	assert_int_equal(match_one("FOO", "/foo", false), 0);
}

static void
malformed_patterns_are_refused(void **state)
{
	static const char *const bad[] = { "", "!", "[", "[]", "[]a]", "[^]", "[a", "[a-", "[a-]",
		"[-a]", "[a-\\", "a\\", "[a/b]", "x/[", "[\xff]", "*[", "a*\\", "!a[" };
	struct rules *r = NULL;

	(void)state;
	assert_int_equal(rules_open(&r, NULL), E_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = { .code = E_OK };

		if (rules_add(r, bad[i], false, &e) != E_PATTERN)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(e.code, E_PATTERN);
		assert_non_null(strstr(e.detail, bad[i]));
	}
	assert_int_equal(rules_count(r), 0);
	rules_close(&r);
}

static void
a_very_long_pattern_is_refused(void **state)
{
	size_t len = 100000;
	char *text = malloc(len + 1);
	struct rules *r = NULL;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', len);
	text[len] = '\0';
	assert_int_equal(rules_open(&r, NULL), E_OK);
	assert_int_equal(rules_add(r, text, false, NULL), E_PATTERN);
	rules_close(&r);
	free(text);
}

static struct rules *
rules_of(const char *const *patterns, size_t n)
{
	struct rules *r = NULL;

	assert_int_equal(rules_open(&r, NULL), E_OK);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(rules_add(r, patterns[i], false, NULL), E_OK);
	return r;
}

static unsigned
ask(const struct rules *r, const char *path)
{
	return rules_match(r, path, strlen(path));
}

/* "Evaluated in order; !pattern un-matches what earlier ones matched." */
static void
negation_undoes_and_later_ones_win(void **state)
{
	static const char *const list[] = { "*.log", "!keep.log", "/var/keep.log" };
	struct rules *r = rules_of(list, 3);

	(void)state;
	assert_int_equal(ask(r, "/a/x.log"), 1);
	assert_int_equal(ask(r, "/a/keep.log"), 0);
	assert_int_equal(ask(r, "/var/keep.log"), 3);
	assert_int_equal(ask(r, "/a/x.txt"), 0);
	assert_string_equal(rules_text(r, 1), "!keep.log");
	assert_int_equal(rules_count(r), 3);
	assert_null(rules_text(r, 3));
	rules_close(&r);
}

/* the way the document shows to keep one child of an excluded directory */
static void
the_documents_example_of_negation(void **state)
{
	static const char *const list[] = { "dir/*", "!dir/keep" };
	struct rules *r = rules_of(list, 2);

	(void)state;
	assert_int_equal(ask(r, "/x/dir"), 0);
	assert_int_equal(ask(r, "/x/dir/a"), 1);
	assert_int_equal(ask(r, "/x/dir/keep"), 0);
	assert_int_equal(ask(r, "/x/dir/keep/below"), 0);
	rules_close(&r);
}

static void
an_empty_list_matches_nothing(void **state)
{
	struct rules *r = rules_of(NULL, 0);

	(void)state;
	assert_int_equal(ask(r, "/a"), 0);
	assert_false(rules_may_match_below(r, "/a", 2));
	rules_close(&r);
	rules_close(&r); /* closing nothing is fine */
}

static void
the_path_need_not_end_in_nul(void **state)
{
	static const char *const list[] = { "/a/b" };
	struct rules *r = rules_of(list, 1);

	(void)state;
	assert_int_equal(rules_match(r, "/a/bcd", 4), 1);
	assert_int_equal(rules_match(r, "/a/bcd", 5), 0);
	rules_close(&r);
}

struct below {
	const char *pattern, *dir;
	bool may;
};

static void
what_may_match_below(void **state)
{
	static const struct below rows[] = {
		{ "/a/b/c", "/", true },
		{ "/a/b/c", "/a", true },
		{ "/a/b/c", "/a/b", true },
		{ "/a/b/c", "/a/b/c", true },
		{ "/a/b/c", "/a/b/c/d", true },
		{ "/a/b/c", "/a/x", false },
		{ "/a/b/c", "/b", false },
		{ "/a/*/c", "/a/x", true },
		{ "/a/*/c", "/a/x/d", false },
		{ "/a/**/c", "/a/x/d", true },
		{ "/a/**/c", "/b", false },
		{ "/**/c", "/b", true },
		{ "c", "/b/d/e", true },
		{ "!/a", "/a", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rules *r = rules_of(&rows[i].pattern, 1);

		if (rules_may_match_below(r, rows[i].dir, strlen(rows[i].dir)) != rows[i].may)
			fail_msg("%s below %s", rows[i].pattern, rows[i].dir);
		rules_close(&r);
	}
}

/* ---- files ---- */

static const char *
test_env(const char *name)
{
	if (strcmp(name, "HOME") == 0)
		return "/home/me";
	if (strcmp(name, "EXT") == 0)
		return "tmp";
	return NULL;
}

static enum ecode
add_text(struct rules *r, const void *text, size_t len, struct err *e)
{
	char path[] = "/tmp/hf-rules-XXXXXX";
	int fd = mkstemp(path);
	enum ecode rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	assert_int_equal(close(fd), 0);
	rc = rules_add_file(r, os_posix(), path, false, test_env, e);
	assert_int_equal(unlink(path), 0);
	return rc;
}

static void
files_are_trimmed_skipped_and_expanded(void **state)
{
	static const char text[] = "\xef\xbb\xbf# a comment\n"
				   "  \t\n"
				   "  *.o \t\r\n"
				   "   # another\n"
				   "$HOME/cache\n"
				   "${HOME}/x.${EXT}\n"
				   "a$$b\n"
				   "cost$\n"
				   "$UNSET\n"
				   "x${UNSET}y\n"
				   "!*.keep";
	static const char *const want[] = { "*.o", "/home/me/cache", "/home/me/x.tmp", "a$b",
		"cost$", "xy", "!*.keep" };
	struct rules *r = rules_of(NULL, 0);
	struct err e = { .code = E_OK };

	(void)state;
	if (add_text(r, text, sizeof(text) - 1, &e) != E_OK)
		fail_msg("%s", e.detail);
	assert_int_equal(rules_count(r), sizeof(want) / sizeof(want[0]));
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_string_equal(rules_text(r, i), want[i]);
	rules_close(&r);
}

static void
a_bad_line_refuses_the_whole_file(void **state)
{
	static const char *const bad[] = { "ok\n[\nmore\n", "ok\n${HOME\n", "ok\n${}\n", "!\n" };
	static const char *const first[] = { "before" };
	struct rules *r = rules_of(first, 1);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = { .code = E_OK };

		assert_int_equal(add_text(r, bad[i], strlen(bad[i]), &e), E_PATTERN);
		assert_int_equal(rules_count(r), 1);
		assert_int_equal(e.notes, 1); /* file and line */
	}
	assert_int_equal(add_text(r, "a\0b\n", 4, NULL), E_PATTERN);
	assert_int_equal(rules_count(r), 1);
	rules_close(&r);
}

static void
a_missing_file_is_refused(void **state)
{
	struct rules *r = rules_of(NULL, 0);
	struct err e = { .code = E_OK };

	(void)state;
	assert_int_equal(
		rules_add_file(r, os_posix(), "/nonexistent/x", false, test_env, &e), E_IO_READ);
	rules_close(&r);
}

static void
more_patterns_than_the_ceiling_are_refused(void **state)
{
	struct rules *r = rules_of(NULL, 0);

	(void)state;
	for (unsigned i = 0; i < RULES_MAX; i++)
		assert_int_equal(rules_add(r, "/a", false, NULL), E_OK);
	assert_int_equal(rules_add(r, "/a", false, NULL), E_LIMIT);
	assert_int_equal(rules_count(r), RULES_MAX);
	rules_close(&r);
}

/* A slow and obvious twin of the walk over components: every split is tried. */
static bool
slow_match(const char *const *pat, size_t n, const char *const *path, size_t len)
{
	if (n == 0)
		return true;
	if (strcmp(pat[0], "**") == 0)
		return slow_match(pat + 1, n - 1, path, len) ||
		       (len > 0 && slow_match(pat, n, path + 1, len - 1));
	return len > 0 && (strcmp(pat[0], "*") == 0 || strcmp(pat[0], path[0]) == 0) &&
	       slow_match(pat + 1, n - 1, path + 1, len - 1);
}

static void
random_patterns_agree_with_the_slow_twin(void **state)
{
	static const char *const words[] = { "a", "b", "*", "**" };
	unsigned seed = 20261121;

	(void)state;
	print_message("# seed %u\n", seed);
	for (unsigned round = 0; round < 20000; round++) {
		const char *pat[5], *path[6];
		size_t n = 1 + (unsigned)rand_r(&seed) % 4, len = 1 + (unsigned)rand_r(&seed) % 6;
		char pattern[64] = "", text[64] = "";
		struct rules *r = NULL;

		for (size_t i = 0; i < n; i++) {
			pat[i] = words[(unsigned)rand_r(&seed) % 4];
			(void)strcat(strcat(pattern, "/"), pat[i]);
		}
		for (size_t i = 0; i < len; i++) {
			path[i] = words[(unsigned)rand_r(&seed) % 2];
			(void)strcat(strcat(text, "/"), path[i]);
		}
		assert_int_equal(rules_open(&r, NULL), E_OK);
		assert_int_equal(rules_add(r, pattern, false, NULL), E_OK);
		if ((ask(r, text) != 0) != slow_match(pat, n, path, len))
			fail_msg("%s and %s", pattern, text);
		rules_close(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_are_cleaned),
		cmocka_unit_test(within_a_component),
		cmocka_unit_test(deep_star),
		cmocka_unit_test(absolute_and_relative),
		cmocka_unit_test(insensitive_folds_ascii_on_both_sides),
		cmocka_unit_test(malformed_patterns_are_refused),
		cmocka_unit_test(a_very_long_pattern_is_refused),
		cmocka_unit_test(negation_undoes_and_later_ones_win),
		cmocka_unit_test(the_documents_example_of_negation),
		cmocka_unit_test(an_empty_list_matches_nothing),
		cmocka_unit_test(the_path_need_not_end_in_nul),
		cmocka_unit_test(what_may_match_below),
		cmocka_unit_test(files_are_trimmed_skipped_and_expanded),
		cmocka_unit_test(a_bad_line_refuses_the_whole_file),
		cmocka_unit_test(a_missing_file_is_refused),
		cmocka_unit_test(more_patterns_than_the_ceiling_are_refused),
		cmocka_unit_test(random_patterns_agree_with_the_slow_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
