/*
 * Backup: what goes in comes out, what did not change is not read, what cannot
 * be read is refused by name, and no kernel call's failure makes a false snapshot.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"
#include "engine/backup.h"
#include "engine/check.h"
#include "engine/inspect.h"
#include "engine/restore.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

struct bench { /* one vault, one source, both below `dir` */
	char dir[256], vault[300], src[300], out[300];
};

static void
bench_open(struct bench *b)
{
	temp_dir(b->dir, sizeof(b->dir));
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	(void)snprintf(b->src, sizeof(b->src), "%s/src", b->dir);
	(void)snprintf(b->out, sizeof(b->out), "%s/out", b->dir);
	make_vault(os_posix(), b->vault, 2);
	assert_int_equal(mkdir(b->src, 0755), 0);
}

static void
bench_close(struct bench *b)
{
	assert_int_equal(chdir("/"), 0);
	remove_tree(b->dir);
}

static void
put(const struct bench *b, const char *name, const void *p, size_t len)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", b->src, name);
	write_file(path, p, len);
}

static void
put_text(const struct bench *b, const char *name, const char *text)
{
	put(b, name, text, strlen(text));
}

static void
make_dir(const struct bench *b, const char *name)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", b->src, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* Not compressible, not repeating within 64-bit patience. */
static void
put_noise(const struct bench *b, const char *name, size_t len, uint64_t seed)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		p[i] = (uint8_t)(seed >> 56);
	}
	put(b, name, p, len);
	free(p);
}

static void
fill_source(const struct bench *b)
{
	char path[600];

	put_text(b, "plain.txt", "some words\n");
	put_text(b, "empty", "");
	put_noise(b, "one-chunk.bin", 400000, 1);
	put_noise(b, "chunks.bin", 3000000, 2);
	put_noise(b, "spread.bin", 9000000, 3);
	put_text(b, "new\nline \xff", "odd name\n");
	make_dir(b, "sub");
	make_dir(b, "sub/deeper");
	make_dir(b, "hollow");
	put_text(b, "sub/deeper/bottom", "down here\n");
	(void)snprintf(path, sizeof(path), "%s/link", b->src);
	assert_int_equal(symlink("no-such-target", path), 0);
	(void)snprintf(path, sizeof(path), "%s/fifo", b->src);
	assert_int_equal(mkfifo(path, 0640), 0);
}

static struct backup_args
args_for(const char *const *targets, size_t n)
{
	return (struct backup_args){ .targets = targets,
		.target_count = n,
		.host = "test-host",
		.program_version = "holdfast test",
		.run_id = "run-1" };
}

static enum ecode
back_up(const struct bench *b, const struct os *os, unsigned threads,
	const struct backup_args *args, struct backup_result *result, struct heard *h,
	struct err *e)
{
	struct session s;
	struct err late;
	enum ecode rc;

	open_session(&s, os, b->vault, TEST_PASSWORD, threads,
		args->dry_run ? SESSION_NO_LOCK : SESSION_SHARED, h);
	rc = backup_run(&s, args, result, e);
	if (session_close(&s, &late) != E_OK && rc == E_OK) {
		*e = late;
		rc = late.code;
	}
	return rc;
}

static enum ecode
back_up_source(const struct bench *b, unsigned threads, struct backup_result *result,
	struct heard *h, struct err *e)
{
	const char *target =
		"src"; /* relative: directories above it, which others change, are no part of it */
	struct backup_args args = args_for(&target, 1);

	assert_int_equal(chdir(b->dir), 0);
	return back_up(b, os_posix(), threads, &args, result, h, e);
}

static void
assert_restores(const struct bench *b, const struct id *snapshot, const char *source)
{
	struct heard h;
	struct session s;
	struct restore_result result;
	struct err e;
	char hex[ID_HEX_SIZE], what[1200], why[1024];

	id_hex(snapshot, hex);
	(void)snprintf(what, sizeof(what), "%s:src", hex);
	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 2, SESSION_SHARED, &h);
	struct restore_args args = { .snapshot = what, .dest = b->out, .run_id = "restore-1" };
	if (restore_run(&s, &args, &result, &e) != E_OK)
		fail_msg("restore: %s", e.detail);
	restore_result_done(&result);
	assert_int_equal(session_close(&s, &e), E_OK);
	if (!trees_equal(source, b->out, COMPARE_ALL, why, sizeof(why)))
		fail_msg("restored tree: %s", why);
	remove_tree(b->out);
}

static void
print_finding(void *arg, const struct check_finding *f)
{
	(void)arg;
	if (!f->hint)
		print_message("# finding: %s: %s\n", f->object, f->text);
}

static void
assert_vault_sound(const struct bench *b, uint64_t snapshots)
{
	struct heard h;
	struct session s;
	struct check_result result;
	struct check_args args = { .read = CHECK_READ_ALL };
	struct err e;

	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	assert_int_equal(check_run(&s, &args, print_finding, NULL, &result, &e), E_OK);
	assert_int_equal(result.snapshots, snapshots);
	check_result_done(&result);
	assert_int_equal(session_close(&s, &e), E_OK);
}

/* ---- tests ---- */

static void
test_round_trip(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	unsigned threads[] = { 0, 1, 2, 4 };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		bench_open(&b);
		fill_source(&b);
		heard_init(&h);
		assert_int_equal(back_up_source(&b, threads[i], &r, &h, &e), E_OK);
		assert_true(r.snapshot_made);
		assert_int_equal(r.unreadable, 0);
		assert_int_equal(r.summary.files_new, 7);
		assert_int_equal(r.summary.total_files_processed, 7);
		assert_vault_sound(&b, 1);
		assert_restores(&b, &r.snapshot_id, b.src);
		bench_close(&b);
	}
}

static void
test_twins_make_the_same_tree(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result serial, threaded;
	struct err e;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	heard_init(&h);
	assert_int_equal(back_up_source(&b, 0, &serial, &h, &e), E_OK);
	const char *target = "src";
	struct backup_args args = args_for(&target, 1);
	args.force = true;
	assert_int_equal(back_up(&b, os_posix(), 4, &args, &threaded, &h, &e), E_OK);
	assert_int_equal(id_cmp(&serial.tree, &threaded.tree), 0);
	assert_int_equal(threaded.summary.data_blobs, 0);
	assert_int_equal(threaded.summary.tree_blobs, 0);
	bench_close(&b);
}

static void
test_unchanged_is_not_read(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	heard_init(&h);
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	struct id tree = r.tree;
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_true(r.has_parent);
	assert_int_equal(r.bytes_read, 0);
	assert_int_equal(r.summary.files_unmodified, 7);
	assert_int_equal(r.summary.dirs_changed, 0);
	assert_int_equal(id_cmp(&tree, &r.tree), 0);
	put_text(&b, "plain.txt", "other words\n");
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_int_equal(r.summary.files_changed, 1);
	assert_int_equal(r.summary.files_unmodified, 6);
	assert_int_equal(r.bytes_read, strlen("other words\n"));
	assert_restores(&b, &r.snapshot_id, b.src);
	bench_close(&b);
}

static void
test_same_size_edit_is_seen(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	char path[600];
	struct stat st;

	(void)state;
	bench_open(&b);
	put_text(&b, "a", "one");
	heard_init(&h);
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	(void)snprintf(path, sizeof(path), "%s/a", b.src);
	assert_int_equal(stat(path, &st), 0);
	put_text(&b, "a", "two");
	struct timespec times[2] = { st.st_atim, st.st_mtim };
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0),
		0); /* mtime put back: ctime still tells */
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_int_equal(r.summary.files_changed, 1);
	assert_restores(&b, &r.snapshot_id, b.src);
	bench_close(&b);
}

static void
test_skip_if_unchanged(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	put_text(&b, "a", "one");
	heard_init(&h);
	/* relative: directories above the target, which others change, are then no part of the snapshot */
	assert_int_equal(chdir(b.dir), 0);
	const char *target = "src";
	struct backup_args args = args_for(&target, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	args.skip_if_unchanged = true;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	assert_false(r.snapshot_made);
	assert_vault_sound(&b, 1);
	bench_close(&b);
}

static void
test_dry_run_stores_nothing(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	heard_init(&h);
	uint64_t before = tree_digest(b.vault);
	const char *target = b.src;
	struct backup_args args = args_for(&target, 1);
	args.dry_run = true;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	assert_false(r.snapshot_made);
	assert_int_equal(r.summary.files_new, 7);
	assert_true(r.summary.data_added > 12000000);
	assert_true(tree_digest(b.vault) == before);
	bench_close(&b);
}

static void
test_overlap_is_refused(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	char linked[600], inside[600];

	(void)state;
	bench_open(&b);
	heard_init(&h);
	put_text(&b, "a", "one");
	const char *around = b.dir;
	struct backup_args args = args_for(&around, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_OVERLAP); /* */
	(void)snprintf(inside, sizeof(inside), "%s/data", b.vault);
	const char *in = inside;
	args = args_for(&in, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_OVERLAP);
	(void)snprintf(linked, sizeof(linked), "%s/src/to-dir", b.dir);
	assert_int_equal(symlink(b.dir, linked), 0); /* a link to it is only a link */
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	args = args_for(&around, 1);
	struct rules *rules;
	assert_int_equal(rules_open(&rules, &e), E_OK);
	assert_int_equal(rules_add(rules, b.vault, false, &e), E_OK);
	args.excludes = rules;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	rules_close(&rules);
	bench_close(&b);
}

static void
test_missing_sources(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	heard_init(&h);
	const char *none[] = { "/no/such/source" };
	struct backup_args args = args_for(none, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_MISSING);
	assert_string_equal(e.detail, "the only source given is not there");
	const char *nowhere[] = { "/no/such/source", "/nor/this" };
	args = args_for(nowhere, 2);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_MISSING);
	assert_string_equal(e.detail, "none of the 2 sources given is there");
	args = args_for(NULL, 0);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_NONE);
	put_text(&b, "a", "one");
	const char *both[] = { "/no/such/source", b.src };
	args = args_for(both, 2);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_UNREADABLE); /* D-7 */
	assert_false(r.snapshot_made);
	args.on_unreadable = UNREADABLE_RECORD;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_PARTIAL);
	assert_true(r.snapshot_made);
	assert_int_equal(r.unreadable, 1);
	assert_vault_sound(&b, 1);
	bench_close(&b);
}

static void
test_everything_excluded_is_refused(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	heard_init(&h);
	const char *targets[] = { b.src };
	struct backup_args args = args_for(targets, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e),
		E_OK); /* an empty directory is something */
	struct rules *rules;
	assert_int_equal(chdir(b.src), 0);
	put_text(&b, "a", "one");
	assert_int_equal(rules_open(&rules, &e), E_OK);
	assert_int_equal(rules_add(rules, "a", false, &e), E_OK);
	const char *dot[] = { "." };
	args = args_for(dot, 1);
	args.excludes = rules;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_EMPTY_SNAPSHOT);
	rules_close(&rules);
	bench_close(&b);
}

static void
test_excludes(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	struct rules *rules;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	make_dir(&b, "cache");
	put_text(&b, "cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
	put_text(&b, "cache/junk", "junk");
	heard_init(&h);
	assert_int_equal(rules_open(&rules, &e), E_OK);
	assert_int_equal(rules_add(rules, "*.bin", false, &e), E_OK);
	assert_int_equal(rules_add(rules, "!one-chunk.bin", false, &e), E_OK);
	const char *target = b.src;
	const struct exclude_if_present marks[] = {
		{ "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55" },
		{ "no-such-mark", NULL }
	};
	struct backup_args args = args_for(&target, 1);
	args.excludes = rules;
	args.if_present = marks;
	args.if_present_count = 2;
	args.exclude_larger_than = 300000;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	/* left: plain.txt, empty, the odd name, bottom, CACHEDIR.TAG; out: three .bin files and junk */
	assert_int_equal(r.summary.total_files_processed, 5);
	assert_int_equal(r.excluded, 4);
	rules_close(&rules);
	bench_close(&b);
}

/* The estimate: a thread that counts ahead ends with what the walk then does. */
static void
test_count_ahead(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	struct rules *rules;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	heard_init(&h);
	assert_int_equal(rules_open(&rules, &e), E_OK);
	assert_int_equal(rules_add(rules, "spread.bin", false, &e), E_OK);
	assert_int_equal(chdir(b.dir), 0);
	const char *target = "src";
	struct backup_args args = args_for(&target, 1);
	args.excludes = rules;
	args.count_ahead = true;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	assert_int_equal(atomic_load(&h.progress.done_bytes), r.summary.total_bytes_processed);
	/* the scan may have been cut short by a faster walk, but it never counts more than there is */
	assert_true(atomic_load(&h.progress.total_items) <= atomic_load(&h.progress.done_items));
	assert_true(atomic_load(&h.progress.total_bytes) <= r.summary.total_bytes_processed);
	for (unsigned i = 0;
		i < 50 && atomic_load(&h.progress.total_bytes) < r.summary.total_bytes_processed;
		i++) {
		heard_init(&h);
		args.force = true;
		assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	}
	assert_int_equal(atomic_load(&h.progress.total_bytes), r.summary.total_bytes_processed);
	assert_int_equal(atomic_load(&h.progress.total_items), atomic_load(&h.progress.done_items));
	rules_close(&rules);
	bench_close(&b);
}

static void
test_sockets_are_counted(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	bench_open(&b);
	assert_int_equal(chdir(b.src), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	put_text(&b, "a", "one");
	heard_init(&h);
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_int_equal(r.sockets_skipped, 1);
	assert_int_equal(r.summary.total_files_processed, 1);
	close(fd);
	bench_close(&b);
}

/* The root tree's paths, as ls would print them, joined by blanks. */
static enum ecode
collect_path(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	char *text = arg;
	size_t used = strlen(text);

	(void)e;
	(void)snprintf(text + used, 4096 - used, "%s%s", used > 0 ? " " : "", item->path);
	*descend = true;
	return E_OK;
}

static void
assert_paths(const struct bench *b, const struct id *tree, const char *expected)
{
	struct heard h;
	struct session s;
	struct err e;
	char text[4096] = "";

	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	assert_int_equal(session_load_index(&s, &e), E_OK);
	assert_int_equal(inspect_walk(&s, tree, collect_path, text, &e), E_OK);
	assert_string_equal(text, expected);
	assert_int_equal(session_close(&s, &e), E_OK);
}

/* The table of the format document, 6.9; the working directory is src. */
static void
test_target_paths(void **state)
{
	static const struct {
		const char *targets[3];
		const char *paths;
	} table[] = {
		{ { "docs" }, "/docs /docs/f" },
		{ { "./docs/" }, "/docs /docs/f" },
		{ { "a/b" }, "/a /a/b /a/b/f1" },
		{ { "../other/b" }, "/other /other/b /other/b/g" },
		{ { "f1", "../other/b" }, "/f1 /other /other/b /other/b/g" },
		{ { "a/b", "d/b" }, "/a /a/b /a/b/f1 /d /d/b" },
		{ { "a", "a/b/f1" }, "/a /a/b /a/b/f1" },
		{ { "a/b", "a/b/c" }, "/a /a/b /a/b/f1" },
		{ { "d", "../d" }, "/d /d/b /d-1 /d-1/x" },
		{ { "linkdir" }, "/linkdir" },
		{ { "linkdir/b" }, "/linkdir /linkdir/b /linkdir/b/f1" },
		{ { "." }, "/a /a/b /a/b/f1 /d /d/b /docs /docs/f /f1 /linkdir" },
	};
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	char path[700];

	(void)state;
	bench_open(&b);
	heard_init(&h);
	make_dir(&b, "docs");
	put_text(&b, "docs/f", "f");
	make_dir(&b, "a");
	make_dir(&b, "a/b");
	put_text(&b, "a/b/f1", "f1");
	make_dir(&b, "d");
	make_dir(&b, "d/b");
	put_text(&b, "f1", "f1");
	make_dir(&b, "../other");
	make_dir(&b, "../other/b");
	put_text(&b, "../other/b/g", "g");
	make_dir(&b, "../d");
	put_text(&b, "../d/x", "x");
	(void)snprintf(path, sizeof(path), "%s/linkdir", b.src);
	assert_int_equal(symlink("a", path), 0);
	assert_int_equal(chdir(b.src), 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = 0;

		while (n < 3 && table[i].targets[n] != NULL)
			n++;
		struct backup_args args = args_for(table[i].targets, n);
		args.on_unreadable = UNREADABLE_RECORD; /* a/b/c does not exist in one row */
		enum ecode rc = back_up(&b, os_posix(), 0, &args, &r, &h, &e);
		assert_true(rc == E_OK || (rc == E_PARTIAL && i == 7));
		assert_paths(&b, &r.tree, table[i].paths);
	}
	bench_close(&b);
}

/* "src" must not become "/src" because the directory we stand in was removed. */
static void
test_no_working_directory(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	const char *relative = "etc", *absolute;
	char gone[600];

	(void)state;
	bench_open(&b);
	heard_init(&h);
	put_text(&b, "f", "f");
	absolute = b.src;
	(void)snprintf(gone, sizeof(gone), "%s/gone", b.dir);
	assert_int_equal(mkdir(gone, 0755), 0);
	assert_int_equal(chdir(gone), 0);
	assert_int_equal(rmdir(gone), 0);
	struct backup_args args = args_for(&relative, 1);
	assert_int_equal(back_up(&b, os_posix(), 0, &args, &r, &h, &e), E_SRC_MISSING);
	assert_non_null(strstr(e.detail, "working directory"));
	args = args_for(&absolute, 1);
	assert_int_equal(back_up(&b, os_posix(), 0, &args, &r, &h, &e), E_OK);
	bench_close(&b);
}

/* A chain of directories of 200 bytes each; all levels but the last are short enough for a restore. */
static void
test_a_path_too_long_for_a_restore_is_told(void **state)
{
	const char *target = "src";
	struct backup_args args = args_for(&target, 1);
	char name[201], cmd[700];
	struct backup_result r;
	struct heard h;
	struct bench b;
	struct err e;
	int here;

	(void)state;
	bench_open(&b);
	heard_init(&h);
	put_text(&b, "short", "kept");
	memset(name, 'n', 200);
	name[200] = '\0';
	here = open(b.src, O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < PATH_TEXT_MAX / 201 + 1; i++) {
		int next;

		assert_int_equal(mkdirat(here, name, 0755), 0);
		next = openat(here, name, O_RDONLY | O_DIRECTORY);
		close(here);
		here = next;
	}
	close(here);
	assert_int_equal(chdir(b.dir), 0);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_SRC_UNREADABLE);
	assert_int_equal(r.unreadable, 1);
	args.on_unreadable = UNREADABLE_RECORD;
	assert_int_equal(back_up(&b, os_posix(), 0, &args, &r, &h, &e), E_PARTIAL);
	assert_int_equal(r.unreadable, 1);
	assert_int_equal(r.summary.total_files_processed, 1);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", b.src);
	assert_int_equal(system(cmd), 0);
	bench_close(&b);
}

static void
test_deep_and_wide(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	char name[64];
	int here;

	(void)state;
	bench_open(&b);
	heard_init(&h);
	here = open(b.src, O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < 1000; i++) {
		int next;

		assert_int_equal(mkdirat(here, "deeper", 0755), 0);
		next = openat(here, "deeper", O_RDONLY | O_DIRECTORY);
		close(here);
		here = next;
	}
	int fd = openat(here, "bottom", O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	close(here);
	make_dir(&b, "wide");
	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "wide/%u", i);
		put(&b, name, name, strlen(name));
	}
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_int_equal(r.unreadable, 0);
	assert_int_equal(r.summary.total_files_processed, 3001);
	assert_restores(&b, &r.snapshot_id, b.src);
	assert_int_equal(back_up_source(&b, 0, &r, &h, &e), E_OK);
	assert_int_equal(r.summary.files_unmodified, 3001);
	bench_close(&b);
}

static void
test_damaged_parent_heals(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	char command[800];

	(void)state;
	bench_open(&b);
	fill_source(&b);
	heard_init(&h);
	assert_int_equal(chdir(b.dir), 0);
	const char *target = "src";
	struct backup_args args = args_for(&target, 1);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	/* every pack and index gone: the parent's trees and contents are missing, the snapshot record is not */
	(void)snprintf(command, sizeof(command), "find %s/data %s/index -type f -delete", b.vault,
		b.vault);
	assert_int_equal(system(command), 0);
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	assert_true(r.bytes_read > 12000000);
	assert_true(atomic_load(&h.problems) > 0);
	assert_vault_sound(&b,
		2); /* the new snapshot brought everything back, so the old one is whole again too */
	bench_close(&b);
}

static void
test_stdin(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	int ends[2];

	(void)state;
	bench_open(&b);
	heard_init(&h);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "from a pipe\n", 12), 12);
	close(ends[1]);
	struct backup_args args = args_for(NULL, 0);
	args.stdin_name = "dumps/today.sql";
	args.stdin_fd = ends[0];
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	close(ends[0]);
	assert_paths(&b, &r.tree, "/dumps /dumps/today.sql");
	assert_int_equal(r.summary.total_bytes_processed, 12);
	char *const good[] = { (char[]){ "echo" }, (char[]){ "hello" }, NULL };
	args.stdin_command = good;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_OK);
	assert_int_equal(r.summary.total_bytes_processed, 6);
	char *const bad[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "echo some; exit 3" },
		NULL };
	args.stdin_command = bad;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_STDIN_COMMAND);
	char *const absent[] = { (char[]){ "no-such-program-anywhere" }, NULL };
	args.stdin_command = absent;
	assert_int_equal(back_up(&b, os_posix(), 2, &args, &r, &h, &e), E_STDIN_COMMAND);
	assert_vault_sound(&b, 2);
	bench_close(&b);
}

static void
test_stop_is_clean(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	bench_open(&b);
	fill_source(&b);
	for (long n = 1; n <= 20; n += 3) {
		heard_init(&h);
		atomic_store(&h.stop_after, n);
		enum ecode rc = back_up_source(&b, 2, &r, &h, &e);
		if (rc == E_OK)
			break;
		assert_int_equal(rc, E_INTERRUPTED);
		assert_false(r.snapshot_made);
	}
	heard_init(&h);
	assert_int_equal(back_up_source(&b, 2, &r, &h, &e), E_OK);
	assert_restores(&b, &r.snapshot_id, b.src);
	bench_close(&b);
}

/* Ctrl-C reaches both ends of a pipe: the writer dies, its end of file must not pass for the end of the data. */
static void
test_stopped_pipe_makes_no_snapshot(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;
	int ends[2];

	(void)state;
	bench_open(&b);
	for (long n = 0; n < 3; n++) {
		struct session s;

		heard_init(&h);
		assert_int_equal(pipe(ends), 0);
		assert_int_equal(write(ends[1], "half of it", 10), 10);
		close(ends[1]);
		struct backup_args args = args_for(NULL, 0);
		args.stdin_name = "dump";
		args.stdin_fd = ends[0];
		open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 0, SESSION_SHARED, &h);
		atomic_store(&h.stop_after, n);
		assert_int_equal(backup_run(&s, &args, &r, &e), E_INTERRUPTED);
		assert_false(r.snapshot_made);
		atomic_store(&h.stop_after, -1);
		assert_int_equal(session_close(&s, &e), E_OK);
		close(ends[0]);
	}
	assert_vault_sound(&b, 0);
	bench_close(&b);
}

/* Permission is asked of the kernel as nobody: root may read everything. */
static void
test_unreadable_as_nobody(void **state)
{
	struct bench b;
	char path[600], command[900];
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip(); /* needs root to become nobody */
	bench_open(&b);
	put_text(&b, "open", "everyone");
	put_text(&b, "closed", "nobody may");
	make_dir(&b, "locked");
	put_text(&b, "locked/inside", "unseen");
	(void)snprintf(command, sizeof(command), "chown -R 65534 %s && chmod 755 %s", b.dir, b.dir);
	assert_int_equal(system(command), 0);
	(void)snprintf(path, sizeof(path), "%s/closed", b.src);
	assert_int_equal(chmod(path, 0), 0);
	(void)snprintf(path, sizeof(path), "%s/locked", b.src);
	assert_int_equal(chmod(path, 0), 0);
	child = fork();
	if (child == 0) {
		struct heard h;
		struct backup_result r;
		struct err e;
		const char *target = b.src;
		struct backup_args args = args_for(&target, 1);
		enum ecode refused, recorded;

		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(90);
		heard_init(&h);
		refused = back_up(&b, os_posix(), 2, &args, &r, &h, &e);
		if (refused != E_SRC_UNREADABLE || r.unreadable != 2 || r.snapshot_made ||
			atomic_load(&h.fatal_problems) != 2)
			_exit(91);
		args.on_unreadable = UNREADABLE_RECORD;
		recorded = back_up(&b, os_posix(), 2, &args, &r, &h, &e);
		_exit(recorded == E_PARTIAL && r.snapshot_made &&
					r.summary.total_files_processed == 1
				? 0
				: 92);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	bench_close(&b);
}

/* A file that grows while it is read: read again, then recorded as it was read. */
struct growing {
	struct os os;
	char path[600];
	unsigned times;
};

static ssize_t
read_and_grow(const struct os *os, int fd, void *p, size_t len)
{
	struct growing *g = (struct growing *)(uintptr_t)os; /* os is the first member */
	ssize_t n = os_posix()->read(os_posix(), fd, p, len);

	if (n > 0 && g->times > 0 && memmem(p, (size_t)n, "watch me", 8) != NULL) {
		int more = open(g->path, O_WRONLY | O_APPEND);

		g->times--;
		if (write(more, "!", 1) != 1)
			n = -5;
		close(more);
	}
	return n;
}

static void
test_changing_file(void **state)
{
	struct bench b;
	struct heard h;
	struct backup_result r;
	struct err e;

	(void)state;
	for (unsigned times = 1; times <= 50; times += 49) {
		struct growing g = { .os = *os_posix(), .times = times };

		bench_open(&b);
		put_text(&b, "log", "watch me");
		(void)snprintf(g.path, sizeof(g.path), "%s/log", b.src);
		g.os.read = read_and_grow;
		heard_init(&h);
		const char *target = b.src;
		struct backup_args args = args_for(&target, 1);
		assert_int_equal(back_up(&b, &g.os, 0, &args, &r, &h, &e), E_OK);
		assert_int_equal(r.changed_while_read, times == 1 ? 0 : 1);
		assert_int_equal(atomic_load(&h.problems), times == 1 ? 0 : 1);
		assert_vault_sound(&b, 1);
		bench_close(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_twins_make_the_same_tree),
		cmocka_unit_test(test_unchanged_is_not_read),
		cmocka_unit_test(test_same_size_edit_is_seen),
		cmocka_unit_test(test_skip_if_unchanged),
		cmocka_unit_test(test_dry_run_stores_nothing),
		cmocka_unit_test(test_overlap_is_refused),
		cmocka_unit_test(test_missing_sources),
		cmocka_unit_test(test_everything_excluded_is_refused),
		cmocka_unit_test(test_excludes),
		cmocka_unit_test(test_count_ahead),
		cmocka_unit_test(test_sockets_are_counted),
		cmocka_unit_test(test_target_paths),
		cmocka_unit_test(test_no_working_directory),
		cmocka_unit_test(test_deep_and_wide),
		cmocka_unit_test(test_a_path_too_long_for_a_restore_is_told),
		cmocka_unit_test(test_damaged_parent_heals),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_stop_is_clean),
		cmocka_unit_test(test_stopped_pipe_makes_no_snapshot),
		cmocka_unit_test(test_unreadable_as_nobody),
		cmocka_unit_test(test_changing_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
