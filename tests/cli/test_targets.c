/* Targets from arguments and lists; words and argv of the command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/pick.h"
#include "cli/targets.h"
#include "support/compare_tree.h"

static struct cli cli;
static struct options opt;
static char root[200];
static struct err err;

static int
setup(void **state)
{
	(void)state;
	memset(&cli, 0, sizeof(cli));
	cli.os = os_posix();
	cli.opt = &opt;
	cli.arena = arena_limit(16 << 20);
	screen_init(&cli.screen);
	cli.screen.json = true; /* no warnings on the test's stderr */
	temp_dir(root, sizeof(root));
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	arena_done(&cli.arena);
	remove_tree(root);
	return 0;
}

static const char *
in_root(const char *name)
{
	return cli_text(&cli, "%s/%s", root, name);
}

static void
parse(const char *const *words)
{
	char *argv[16] = { (char *)(uintptr_t) "holdfast" };
	int argc = 1;

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	assert_int_equal(options_parse(argc, argv, &cli.arena, &opt, &err), E_OK);
	assert_int_equal(cli_safe_argv(&cli, argc, argv, &err), E_OK);
}

#define parse_words(...) parse((const char *const[]){ __VA_ARGS__, NULL })

static void
test_verbatim_and_raw(void **state)
{
	const char *lines = in_root("lines"), *raw = in_root("raw");
	struct targets t;

	(void)state;
	write_file(lines, "# not a comment\n\n* \r\nlast", 25);
	write_file(raw, "a\nb\0c\0", 6);
	parse_words("backup", "/arg", "--files-from-verbatim", lines, "--files-from-raw", raw);
	assert_int_equal(targets_collect(&cli, &t, &err), E_OK);
	assert_int_equal(t.n, 6);
	assert_string_equal(t.v[0], "/arg");
	assert_string_equal(t.v[1], "# not a comment");
	assert_string_equal(t.v[2], "* ");
	assert_string_equal(t.v[3], "last");
	assert_string_equal(t.v[4], "a\nb");
	assert_string_equal(t.v[5], "c");
}

static void
test_raw_must_be_whole(void **state)
{
	const char *raw = in_root("raw");
	struct targets t;

	(void)state;
	parse_words("backup", "--files-from-raw", raw);
	write_file(raw, "a\0b", 3);
	assert_int_equal(targets_collect(&cli, &t, &err), E_USAGE);
	write_file(raw, "a\0\0", 3);
	assert_int_equal(targets_collect(&cli, &t, &err), E_USAGE);
	assert_int_equal(unlink(raw), 0);
	assert_int_equal(targets_collect(&cli, &t, &err), E_IO_READ);
}

static void
test_patterns(void **state)
{
	const char *list = in_root("list");
	struct targets t;
	char text[1024];

	(void)state;
	assert_int_equal(mkdir(in_root("d1"), 0700), 0);
	assert_int_equal(mkdir(in_root("d2"), 0700), 0);
	write_file(in_root("d1/b.txt"), "", 0);
	write_file(in_root("d1/a.txt"), "", 0);
	write_file(in_root("d2/c.txt"), "", 0);
	write_file(in_root("d2/[x]"), "", 0);
	(void)snprintf(text, sizeof(text), "# comment\n\n  %s/d?/*.txt  \n%s/d2/\\[x]\n%s/none*\n",
		root, root, root);
	write_file(list, text, strlen(text));
	parse_words("backup", "--files-from", list);
	assert_int_equal(targets_collect(&cli, &t, &err), E_OK);
	assert_int_equal(t.n, 4);
	assert_string_equal(t.v[0], in_root("d1/a.txt"));
	assert_string_equal(t.v[1], in_root("d1/b.txt"));
	assert_string_equal(t.v[2], in_root("d2/c.txt"));
	assert_string_equal(t.v[3], in_root("d2/[x]"));
}

static void
test_words_are_split(void **state)
{
	const char *const *v;
	size_t n;

	(void)state;
	parse_words("backup", "/x", "--tag", "a, b,,", "--tag", "c");
	assert_int_equal(pick_words(&cli, &opt.flags[FLAG_TAG], &v, &n, &err), E_OK);
	assert_int_equal(n, 3);
	assert_string_equal(v[0], "a");
	assert_string_equal(v[1], "b");
	assert_string_equal(v[2], "c");
}

static void
test_filter(void **state)
{
	struct snapshot_filter f;
	char cwd[1024], want[1100];

	(void)state;
	cli.set.host = "from-env";
	parse_words("snapshots", "--path", "/a/../b/", "--path", "rel", "--tag", "x,y");
	assert_int_equal(pick_filter(&cli, &f, &err), E_OK);
	assert_int_equal(f.host_count, 1);
	assert_string_equal(f.hosts[0], "from-env");
	assert_string_equal(f.paths[0], "/b");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(want, sizeof(want), "%s/rel", cwd);
	assert_string_equal(f.paths[1], want);
	assert_int_equal(f.tag_count, 1);
	parse_words("snapshots", "--host", "");
	assert_int_equal(pick_filter(&cli, &f, &err), E_OK);
	assert_int_equal(f.host_count, 0);
}

static void
test_argv_without_secrets(void **state)
{
	(void)state;
	parse_words("--password-command", "echo geheim", "snapshots");
	assert_string_equal(cli.argv[2], "(not recorded)");
	parse_words("--password-command=echo geheim", "snapshots");
	assert_string_equal(cli.argv[1], "--password-command=(not recorded)");
	parse_words("-r", "rest:https://ada:geheim@host/x", "snapshots");
	assert_string_equal(cli.argv[2], "rest:https://ada:***@host/x");
	parse_words("backup", "--stdin-from-command", "--", "dump", "-pgeheim");
	assert_string_equal(cli.argv[4], "dump");
	assert_string_equal(cli.argv[5], "(not recorded)");
	assert_int_equal(cli.argc, 6);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_verbatim_and_raw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raw_must_be_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_patterns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words_are_split, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_argv_without_secrets, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
