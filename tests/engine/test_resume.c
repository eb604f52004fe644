/*
 * Resume: what an interrupted or killed run finished is not read again, what
 * changed since is, and nothing that an incomplete record says is believed
 * without proof (D-4, DV-08, X-18, L-32; issue 3 points 4 and 6).
 */
#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/check.h"
#include "engine/incomplete.h"
#include "engine/restore.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"
#include "support/tmpdir.h"

#define FILES      12
#define FILE_BYTES 700000U

struct bench { /* one vault, one source, one state directory, all below `dir` */
	char dir[TMPDIR_PATH_MAX], vault[TMPDIR_PATH_MAX + 8], src[TMPDIR_PATH_MAX + 8],
		out[TMPDIR_PATH_MAX + 8], state[TMPDIR_PATH_MAX + 8];
	unsigned threads;
	struct heard h;
	struct backup_args args;
	struct backup_result r;
	struct err e;
	uint64_t stop_at; /* bytes read; 0: never */
	bool kill;        /* then the process ends at once */
};

static const char *const target = "src"; /* relative: directories above it are no part of it */

static void
put(const struct bench *b, const char *name, const void *p, size_t len)
{
	char path[1000];

	(void)snprintf(path, sizeof(path), "%s/%s", b->src, name);
	write_file(path, p, len);
}

/* Not compressible, not repeating. */
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
make_dir(const struct bench *b, const char *name)
{
	char path[1000];

	(void)snprintf(path, sizeof(path), "%s/%s", b->src, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void
fill(const struct bench *b)
{
	char name[64];

	make_dir(b, "a");
	make_dir(b, "a/deep");
	make_dir(b, "b");
	for (unsigned i = 0; i < FILES; i++) {
		static const char *const where[] = { "", "a/", "a/deep/", "b/" };

		(void)snprintf(name, sizeof(name), "%sfile-%02u", where[i % 4], i);
		put_noise(b, name, FILE_BYTES, i + 1);
	}
}

static bool
stop_or_die(void *arg)
{
	struct bench *b = arg;

	if (b->stop_at == 0 || atomic_load(&b->h.progress.done_bytes) < b->stop_at)
		return false;
	if (b->kill)
		_exit(9);
	return true;
}

static void
fresh_ears(struct bench *b)
{
	heard_init(&b->h);
	b->h.listener.item = NULL;
}

static void
bench_open(struct bench *b, unsigned threads)
{
	memset(b, 0, sizeof(*b));
	tmpdir_make_fast(b->dir);
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	(void)snprintf(b->src, sizeof(b->src), "%s/src", b->dir);
	(void)snprintf(b->out, sizeof(b->out), "%s/out", b->dir);
	(void)snprintf(b->state, sizeof(b->state), "%s/state", b->dir);
	make_vault(os_posix(), b->vault, 2);
	assert_int_equal(mkdir(b->src, 0755), 0);
	assert_int_equal(chdir(b->dir), 0);
	b->threads = threads;
	b->args = (struct backup_args){ .targets = &target,
		.target_count = 1,
		.host = "test-host",
		.program_version = "holdfast test",
		.run_id = "run-1",
		.state_dir = b->state };
	fill(b);
}

static void
bench_close(struct bench *b)
{
	assert_int_equal(chdir("/"), 0);
	remove_tree(b->dir);
}

/* What hears the stop question, and everything else, through one argument. */
static struct bench *asked;

static bool
stop_asked(void *arg)
{
	(void)arg;
	return stop_or_die(asked);
}

static enum ecode
run(struct bench *b, const char *run_id)
{
	struct session s;
	struct err late;
	enum ecode rc;

	fresh_ears(b);
	asked = b;
	b->h.listener.stop = stop_asked;
	b->args.run_id = run_id;
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, b->threads,
		b->args.dry_run ? SESSION_NO_LOCK : SESSION_SHARED, &b->h);
	rc = backup_run(&s, &b->args, &b->r, &b->e);
	if (session_close(&s, &late) != E_OK && rc == E_OK) {
		b->e = late;
		rc = late.code;
	}
	return rc;
}

static void
run_ok(struct bench *b, const char *run_id)
{
	b->stop_at = 0;
	b->kill = false;
	if (run(b, run_id) != E_OK)
		fail_msg("%s: %s", run_id, b->e.detail);
	assert_true(b->r.snapshot_made);
}

static void
interrupt(struct bench *b, const char *run_id, uint64_t at)
{
	b->stop_at = at;
	assert_int_equal(run(b, run_id), E_INTERRUPTED);
	assert_false(b->r.snapshot_made);
	b->stop_at = 0;
}

/* A process of its own, which is gone from one instruction to the next (L-32). */
static void
killed(struct bench *b, const char *run_id, uint64_t at)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		b->stop_at = at;
		b->kill = true;
		(void)run(b, run_id);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 9);
}

/* ---- what is in the vault ---- */

static void
note_path(const struct bench *b, const char *run_id, char out[static 600])
{
	(void)snprintf(out, 1000, "%s/.incomplete-%s", b->vault, run_id);
}

static bool
has_note(const struct bench *b, const char *run_id)
{
	char path[1000];

	note_path(b, run_id, path);
	return access(path, F_OK) == 0;
}

static void
local_path(const struct bench *b, const char *run_id, char out[static 900])
{
	char dir[600];
	struct dirent *d;
	DIR *list;

	(void)snprintf(dir, sizeof(dir), "%s/vaults", b->state);
	out[0] = '\0';
	list = opendir(dir);
	for (d = list == NULL ? NULL : readdir(list); d != NULL; d = readdir(list)) {
		if (d->d_name[0] != '.')
			(void)snprintf(out, 1200, "%s/%s/checkpoint-%s", dir, d->d_name, run_id);
	}
	if (list != NULL)
		(void)closedir(list);
}

static bool
has_local(const struct bench *b, const char *run_id)
{
	char path[1200];

	local_path(b, run_id, path);
	return path[0] != '\0' && access(path, F_OK) == 0;
}

static void
flip_bit(const char *path)
{
	FILE *f = fopen(path, "r+");
	int c;

	assert_non_null(f);
	assert_int_equal(fseek(f, 40, SEEK_SET), 0);
	c = fgetc(f);
	assert_true(c != EOF);
	assert_int_equal(fseek(f, 40, SEEK_SET), 0);
	assert_int_equal(fputc(c ^ 1, f), c ^ 1);
	assert_int_equal(fclose(f), 0);
}

static bool
heard_code(const struct bench *b, enum ecode code)
{
	for (unsigned i = 0; i < 8; i++) {
		if (b->h.codes[i] == (unsigned)code)
			return true;
	}
	return false;
}

static void
assert_sound(struct bench *b, uint64_t snapshots)
{
	struct session s;
	struct check_result result;
	struct check_args args = { .read = CHECK_READ_ALL };
	struct heard h;

	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	assert_int_equal(check_run(&s, &args, NULL, NULL, &result, &b->e), E_OK);
	assert_int_equal(result.snapshots, snapshots);
	check_result_done(&result);
	assert_int_equal(session_close(&s, &b->e), E_OK);
}

static void
assert_restores(struct bench *b)
{
	struct session s;
	struct restore_result result;
	struct heard h;
	char hex[ID_HEX_SIZE], what[100], why[1024];
	struct restore_args args = { .snapshot = what, .dest = b->out, .run_id = "restore-1" };

	id_hex(&b->r.snapshot_id, hex);
	(void)snprintf(what, sizeof(what), "%s:src", hex);
	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 2, SESSION_SHARED, &h);
	if (restore_run(&s, &args, &result, &b->e) != E_OK)
		fail_msg("restore: %s", b->e.detail);
	restore_result_done(&result);
	assert_int_equal(session_close(&s, &b->e), E_OK);
	if (!trees_equal(b->src, b->out, COMPARE_ALL, why, sizeof(why)))
		fail_msg("restored tree: %s", why);
	remove_tree(b->out);
}

/* The run continued `from`, read no more than `most` bytes, and left nothing behind. */
static void
assert_continued(struct bench *b, const char *from, uint64_t most)
{
	assert_string_equal(b->r.continued_from, from);
	assert_true(b->r.files_reused > 0);
	assert_true(b->r.bytes_reused >= b->r.files_reused * FILE_BYTES);
	if (b->r.bytes_read > most)
		fail_msg("%llu bytes were read, not %llu", (unsigned long long)b->r.bytes_read,
			(unsigned long long)most);
	assert_int_equal(
		b->r.summary.files_new, FILES); /* counted against the parent: there is none */
	assert_false(has_note(b, from));
	assert_false(has_local(b, from));
	assert_false(has_note(b, "again"));
	assert_false(has_local(b, "again"));
	assert_restores(b);
	assert_sound(b, 1);
}

#define ALL_BYTES ((uint64_t)FILES * FILE_BYTES)

/* ---- interrupted and killed ---- */

static void
interrupted_then_again(unsigned threads)
{
	struct bench b;

	bench_open(&b, threads);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	assert_true(has_note(&b, "first"));
	assert_true(has_local(&b, "first"));
	run_ok(&b, "again");
	/* what was under way is read again: at most two files a worker */
	assert_continued(&b, "first", ALL_BYTES / 4 + (threads + 2) * (uint64_t)FILE_BYTES);
	bench_close(&b);
}

static void
test_interrupted(void **state)
{
	(void)state;
	interrupted_then_again(0);
	interrupted_then_again(2);
}

static void
test_killed(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	b.args.checkpoint_bytes = 1;
	killed(&b, "first", ALL_BYTES * 3 / 4);
	assert_true(has_note(&b, "first"));
	run_ok(&b, "again");
	assert_continued(&b, "first", ALL_BYTES / 4 + 2 * (uint64_t)FILE_BYTES);
	bench_close(&b);
}

/* Wait for the checkpoint of the other thread, then end. */
static bool
die_after_checkpoint(void *arg)
{
	(void)arg;
	if (atomic_load(&asked->h.progress.done_bytes) < asked->stop_at)
		return false;
	while (!has_local(asked, "first"))
		(void)sched_yield();
	_exit(9);
}

static void
test_killed_with_threads(void **state)
{
	struct bench b;
	int status;
	pid_t pid;

	(void)state;
	bench_open(&b, 2);
	b.args.checkpoint_bytes = 1;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct session s;

		fresh_ears(&b);
		asked = &b;
		b.stop_at = ALL_BYTES * 3 / 4;
		b.h.listener.stop = die_after_checkpoint;
		b.args.run_id = "first";
		/* the estimate would ask `stop` too, and the checkpoint would wait for the estimate */
		b.args.capacity = CAPACITY_WATCH;
		open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 2, SESSION_SHARED, &b.h);
		_exit(backup_run(&s, &b.args, &b.r, &b.e) == E_OK ? 1 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 9);
	run_ok(&b, "again");
	assert_continued(&b, "first", ALL_BYTES);
	bench_close(&b);
}

/* What the first run finished and the second had not come to is not lost by a second interruption. */
static void
test_interrupted_twice(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	b.stop_at = 1; /* at once: nothing is listed but the root */
	assert_int_equal(run(&b, "second"), E_INTERRUPTED);
	assert_string_equal(b.r.continued_from, "first");
	assert_true(has_note(&b, "first"));
	run_ok(&b, "again");
	assert_true(b.r.bytes_read <= ALL_BYTES / 4 + 2 * (uint64_t)FILE_BYTES);
	assert_false(has_note(&b, "first"));
	assert_false(has_note(&b, "second"));
	assert_restores(&b);
	bench_close(&b);
}

/* Refused for one missing source: all that could be read is finished work. */
static void
test_refused_for_unreadable(void **state)
{
	static const char *const two[] = { "src", "missing" };
	struct bench b;

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		bench_open(&b, threads);
		b.args.targets = two;
		b.args.target_count = 2;
		assert_int_equal(run(&b, "first"), E_SRC_UNREADABLE);
		assert_true(has_note(&b, "first"));
		b.args.on_unreadable = UNREADABLE_RECORD;
		assert_int_equal(run(&b, "again"), E_PARTIAL);
		assert_true(b.r.snapshot_made);
		assert_string_equal(b.r.continued_from, "first");
		assert_int_equal(b.r.files_reused, FILES);
		assert_int_equal(b.r.bytes_read, 0);
		assert_false(has_note(&b, "first"));
		assert_false(has_note(&b, "again"));
		bench_close(&b);
	}
}

static void
remove_from_source(const struct bench *b, const char *name)
{
	char path[1000];

	(void)snprintf(path, sizeof(path), "%s/%s", b->src, name);
	remove_tree(path);
}

/* A SEV-1 refusal deletes nothing, not even the record of an older run; what it finished is reused all the same. */
static void
test_refused_as_shrunk(void **state)
{
	struct bench b;

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		bench_open(&b, threads);
		run_ok(&b, "zero");
		remove_from_source(&b, "a");
		remove_from_source(&b, "b");
		put_noise(&b, "zz-new", FILE_BYTES, 90);
		interrupt(&b, "first", 3 * (uint64_t)FILE_BYTES + 1);
		b.args.band.max_shrink_pct = SANITY_SHRINK_PCT;
		assert_int_equal(run(&b, "second"), E_SRC_SHRUNK);
		assert_string_equal(eclass_severity(err_row(E_SRC_SHRUNK)->class), "SEV-1");
		assert_true(has_note(&b, "first"));
		assert_true(has_note(&b, "second"));
		assert_true(has_local(&b, "second"));
		b.args.band.max_shrink_pct = 0;
		run_ok(&b, "again");
		assert_string_equal(b.r.continued_from, "second");
		assert_int_equal(b.r.bytes_read, 0);
		assert_int_equal(b.r.files_reused, 1);
		assert_false(has_note(&b, "first"));
		assert_false(has_note(&b, "second"));
		assert_restores(&b);
		bench_close(&b);
	}
}

/* ---- what changed meanwhile ---- */

static void
test_changed_after_the_checkpoint(void **state)
{
	struct bench b;
	char from[1000], to[1000];

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		bench_open(&b, threads);
		interrupt(&b, "first", ALL_BYTES * 3 / 4);
		put_noise(&b, "file-00", FILE_BYTES,
			77); /* the first that was read: same size, other bytes */
		(void)snprintf(from, sizeof(from), "%s/file-04", b.src);
		assert_int_equal(unlink(from), 0);
		(void)snprintf(from, sizeof(from), "%s/a", b.src);
		(void)snprintf(to, sizeof(to), "%s/renamed", b.src);
		assert_int_equal(rename(from, to), 0);
		run_ok(&b, "again");
		assert_string_equal(b.r.continued_from, "first");
		assert_true(b.r.bytes_read >= FILE_BYTES);
		assert_restores(&b);
		assert_sound(&b, 1);
		bench_close(&b);
	}
}

/* A parent snapshot and finished work at the same time: counts stay relative to the parent. */
static void
test_beside_a_parent(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	run_ok(&b, "zero");
	put_noise(&b, "file-00", FILE_BYTES, 78);
	put_noise(&b, "zz-new", FILE_BYTES, 79);
	put_noise(&b, "b/zz-last", FILE_BYTES, 80);
	interrupt(&b, "first", 4 * (uint64_t)FILE_BYTES); /* two unchanged, two read */
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "first");
	assert_true(b.r.has_parent);
	assert_int_equal(b.r.summary.files_changed, 1);
	assert_int_equal(b.r.summary.files_new, 2);
	assert_int_equal(b.r.summary.files_unmodified, FILES - 1);
	assert_true(b.r.files_reused >= 1);
	assert_true(b.r.bytes_read <= 2 * (uint64_t)FILE_BYTES);
	assert_restores(&b);
	bench_close(&b);
}

/* ---- records that are not to be trusted, or not ours to take ---- */

static void
test_tampered_record(void **state)
{
	struct bench b;
	char path[1200];

	(void)state;
	bench_open(&b, 0);
	b.args.state_dir = NULL;
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	note_path(&b, "first", path);
	flip_bit(path);
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "");
	assert_int_equal(b.r.bytes_read, ALL_BYTES);
	assert_true(heard_code(&b, E_SEAL_MAC)); /* told */
	assert_int_equal(b.h.fatal_problems, 0);
	assert_true(has_note(&b, "first")); /* and kept: it is evidence */
	assert_restores(&b);
	bench_close(&b);
}

/* The newer of both copies counts; a tampered one in the state directory is told and kept as well. */
static void
test_copy_in_the_state_directory(void **state)
{
	struct bench b;
	char path[1200];
	struct stat st;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	local_path(&b, "first", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	note_path(&b, "first", path);
	assert_int_equal(unlink(path), 0); /* as on a store without notes */
	run_ok(&b, "again");
	assert_continued(&b, "first", ALL_BYTES / 4 + 2 * (uint64_t)FILE_BYTES);
	bench_close(&b);

	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	note_path(&b, "first", path);
	assert_int_equal(unlink(path), 0);
	local_path(&b, "first", path);
	flip_bit(path);
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "");
	assert_true(heard_code(&b, E_SEAL_MAC));
	assert_true(has_local(&b, "first"));
	bench_close(&b);
}

/* A record under another run's name: sealed by us, but not where it was. */
static void
test_renamed_record(void **state)
{
	struct bench b;
	char from[1200], to[1200];

	(void)state;
	bench_open(&b, 0);
	b.args.state_dir = NULL;
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	note_path(&b, "first", from);
	note_path(&b, "other", to);
	assert_int_equal(rename(from, to), 0);
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "");
	assert_true(has_note(&b, "other"));
	bench_close(&b);
}

static void
remove_files_in(const struct bench *b, const char *name)
{
	char dir[1000], path[2000];
	struct dirent *d;
	DIR *list;

	(void)snprintf(dir, sizeof(dir), "%s/%s", b->vault, name);
	list = opendir(dir);
	assert_non_null(list);
	for (d = readdir(list); d != NULL; d = readdir(list)) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
		if (d->d_name[0] != '.')
			assert_int_equal(unlink(path), 0);
	}
	(void)closedir(list);
}

/* The tree of the checkpoint is in no index any more (a prune by another program). */
static void
test_tree_is_gone(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	remove_files_in(&b, "index");
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "");
	assert_true(heard_code(&b, E_BLOB_ABSENT));
	assert_int_equal(b.r.bytes_read, ALL_BYTES);
	assert_restores(&b);
	bench_close(&b);
}

static void
remove_packs(const struct bench *b, off_t below_bytes)
{
	char dir[1000], path[2000];

	for (unsigned i = 0; i < 256; i++) {
		struct dirent *d;
		struct stat st;
		DIR *list;

		(void)snprintf(dir, sizeof(dir), "%s/data/%02x", b->vault, i);
		list = opendir(dir);
		for (d = list == NULL ? NULL : readdir(list); d != NULL; d = readdir(list)) {
			(void)snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
			if (d->d_name[0] != '.' && stat(path, &st) == 0 && st.st_size < below_bytes)
				assert_int_equal(unlink(path), 0);
		}
		if (list != NULL)
			(void)closedir(list);
	}
}

/* The index still has the tree, its pack is lost: a warning, and all is read again; never a refusal. */
static void
test_tree_pack_is_lost(void **state)
{
	struct bench b;

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		bench_open(&b, threads);
		interrupt(&b, "first", ALL_BYTES * 3 / 4);
		remove_packs(&b, 100000); /* trees are small, the data packs are not */
		run_ok(&b, "again");
		assert_string_equal(b.r.continued_from, "first");
		assert_int_equal(b.r.files_reused, 0);
		assert_true(b.h.problems > 0);
		assert_int_equal(b.h.fatal_problems, 0);
		assert_int_equal(b.r.bytes_read, ALL_BYTES);
		bench_close(&b);
	}
}

static void
nothing_continued(struct bench *b, const char *kept)
{
	run_ok(b, "again");
	assert_string_equal(b->r.continued_from, "");
	assert_int_equal(b->r.files_reused, 0);
	assert_int_equal(b->r.bytes_read, ALL_BYTES);
	assert_true(has_note(b, kept));
	assert_restores(b);
}

static void
test_other_host_or_sources(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	b.args.host = "elsewhere";
	nothing_continued(&b, "first");
	bench_close(&b);

	static const char *const two[] = { "src", "src/a" };
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	b.args.targets = two;
	b.args.target_count = 2;
	nothing_continued(&b, "first");
	bench_close(&b);
}

/* Rewrite the record of an interrupted run as if its owner were another. */
static void
rewrite_owner(struct bench *b, const char *run_id, const struct identity *owner)
{
	struct incomplete_list list;
	struct arena a = arena_limit(1 << 20);
	struct session s;

	fresh_ears(b);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &b->h);
	assert_int_equal(incomplete_list_load(&s, &a, &list, &b->e), E_OK);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.v[0].run_id, run_id);
	assert_true(list.v[0].has_tree);
	assert_true(list.v[0].ended);
	assert_string_equal(list.v[0].ended_how, "E_INTERRUPTED");
	list.v[0].ended = false;
	list.v[0].owner = *owner;
	assert_int_equal(incomplete_write(&s, &list.v[0], &b->e), E_OK);
	assert_int_equal(session_close(&s, &b->e), E_OK);
	arena_done(&a);
}

/* A run that lives, and one of which nothing can be proven, are not touched. */
static void
test_live_and_unknown_runs(void **state)
{
	struct bench b;
	struct identity me, other = { .machine = "0123456789abcdef0123456789abcdef", .pid = 1 };

	(void)state;
	assert_int_equal(identity_self(os_posix(), &me, NULL), E_OK);
	for (unsigned i = 0; i < 2; i++) {
		bench_open(&b, 0);
		b.args.state_dir = NULL;
		interrupt(&b, "first", ALL_BYTES * 3 / 4);
		rewrite_owner(&b, "first", i == 0 ? &me : &other);
		nothing_continued(&b, "first");
		bench_close(&b);
	}
}

static void
test_no_resume(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	b.args.no_resume = true;
	run_ok(&b, "again");
	assert_string_equal(b.r.continued_from, "");
	assert_int_equal(b.r.bytes_read, ALL_BYTES);
	assert_false(has_note(&b, "first")); /* its success ends what the other left undone */
	bench_close(&b);
}

/* ---- what a run leaves, and when it takes a checkpoint ---- */

static void
test_dry_run_writes_nothing(void **state)
{
	struct bench b;
	uint64_t before;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	before = tree_digest(b.dir);
	b.args.dry_run = true;
	assert_int_equal(run(&b, "dry"), E_OK);
	assert_true(tree_digest(b.dir) == before);
	bench_close(&b);
}

static void
test_checkpoints_are_paid_by_reading(void **state)
{
	struct bench b;

	(void)state;
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		bench_open(&b, threads);
		b.args.checkpoint_bytes = 1;
		run_ok(&b, "first");
		assert_true(threads > 0 || b.r.checkpoints >= FILES / 2);
		assert_sound(&b, 1);
		assert_restores(&b);
		run_ok(&b, "again"); /* nothing is read: nothing to write down */
		assert_int_equal(b.r.checkpoints, 0);
		assert_int_equal(b.r.totals.index_files, 0);
		assert_false(has_note(&b, "first"));
		assert_false(has_note(&b, "again"));
		bench_close(&b);
	}
}

static void
test_far_from_a_checkpoint_none_is_taken(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	run_ok(&b, "first");
	assert_int_equal(b.r.checkpoints, 0);
	assert_int_equal(b.r.totals.index_files, 1);
	bench_close(&b);
}

/* An incomplete run is never taken for a snapshot (DV-08). */
static void
test_asked_for_as_a_snapshot(void **state)
{
	static const char *const texts[] = { "first", ".incomplete-first", "first:src" };
	struct restore_result result;
	struct restore_args args = { .run_id = "restore-1" };
	struct session s;
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	interrupt(&b, "first", ALL_BYTES * 3 / 4);
	args.dest = b.out;
	fresh_ears(&b);
	open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 0, SESSION_SHARED, &b.h);
	for (unsigned i = 0; i < 3; i++) {
		args.snapshot = texts[i];
		assert_int_equal(restore_run(&s, &args, &result, &b.e), E_SNAPSHOT_INCOMPLETE);
		restore_result_done(&result);
	}
	args.snapshot = "second";
	assert_int_not_equal(restore_run(&s, &args, &result, &b.e), E_SNAPSHOT_INCOMPLETE);
	restore_result_done(&result);
	assert_int_equal(session_close(&s, &b.e), E_OK);
	assert_true(access(b.out, F_OK) != 0);
	b.args.parent = "first";
	assert_int_equal(run(&b, "again"), E_SNAPSHOT_INCOMPLETE);
	bench_close(&b);
}

static void
test_run_without_a_name(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, 0);
	b.stop_at = ALL_BYTES * 3 / 4;
	assert_int_equal(run(&b, NULL), E_INTERRUPTED);
	run_ok(&b, NULL);
	assert_int_equal(strlen(b.r.continued_from), 32);
	assert_false(has_note(&b, b.r.continued_from));
	bench_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_killed_with_threads),
		cmocka_unit_test(test_interrupted_twice),
		cmocka_unit_test(test_refused_for_unreadable),
		cmocka_unit_test(test_refused_as_shrunk),
		cmocka_unit_test(test_changed_after_the_checkpoint),
		cmocka_unit_test(test_beside_a_parent),
		cmocka_unit_test(test_tampered_record),
		cmocka_unit_test(test_copy_in_the_state_directory),
		cmocka_unit_test(test_renamed_record),
		cmocka_unit_test(test_tree_is_gone),
		cmocka_unit_test(test_tree_pack_is_lost),
		cmocka_unit_test(test_other_host_or_sources),
		cmocka_unit_test(test_live_and_unknown_runs),
		cmocka_unit_test(test_no_resume),
		cmocka_unit_test(test_dry_run_writes_nothing),
		cmocka_unit_test(test_checkpoints_are_paid_by_reading),
		cmocka_unit_test(test_far_from_a_checkpoint_none_is_taken),
		cmocka_unit_test(test_asked_for_as_a_snapshot),
		cmocka_unit_test(test_run_without_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
