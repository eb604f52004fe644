/*
 * The run folder: what it holds, that the report is whole or absent whatever
 * the kernel refuses, that old folders go and foreign things stay.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/io.h"
#include "report/runlog.h"
#include "support/compare_tree.h"

/* A kernel that refuses one call, or one and all later ones. */
struct refusing {
	struct os os; /* first: the slots cast back */
	unsigned *calls;
	unsigned at; /* 0: never */
	bool forever;
};

static bool
refused(const struct os *os)
{
	const struct refusing *r = (const struct refusing *)os;
	unsigned n = ++*r->calls;

	return r->at != 0 && (r->forever ? n >= r->at : n == r->at);
}

static int
r_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	return refused(os) ? -EIO : os_posix()->open(os_posix(), dir, path, flags, mode);
}

static ssize_t
r_write(const struct os *os, int fd, const void *p, size_t len)
{
	return refused(os) ? -ENOSPC : os_posix()->write(os_posix(), fd, p, len);
}

static int
r_fsync(const struct os *os, int fd)
{
	return refused(os) ? -EIO : os_posix()->fsync(os_posix(), fd);
}

static int
r_mkdir(const struct os *os, int dir, const char *path, mode_t mode)
{
	return refused(os) ? -EACCES : os_posix()->mkdir(os_posix(), dir, path, mode);
}

static int
r_rename(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	return refused(os) ? -EIO
			   : os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
}

static int
r_ftruncate(const struct os *os, int fd, uint64_t len)
{
	return refused(os) ? -EIO : os_posix()->ftruncate(os_posix(), fd, len);
}

static int
r_unlink(const struct os *os, int dir, const char *path, int at_flags)
{
	return refused(os) ? -EIO : os_posix()->unlink(os_posix(), dir, path, at_flags);
}

static int
r_chmod(const struct os *os, int dir, const char *path, mode_t mode)
{
	return refused(os) ? -EPERM : os_posix()->chmod(os_posix(), dir, path, mode);
}

static int
r_random(const struct os *os, void *p, size_t len)
{
	return refused(os) ? -EIO : os_posix()->random(os_posix(), p, len);
}

static ssize_t
r_getdents(const struct os *os, int fd, void *p, size_t len)
{
	return refused(os) ? -EIO : os_posix()->getdents(os_posix(), fd, p, len);
}

static int
r_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	return refused(os) ? -EIO : os_posix()->stat(os_posix(), dir, path, at_flags, out);
}

static struct refusing
refusing_make(unsigned *calls, unsigned at, bool forever)
{
	struct refusing r = { .os = *os_posix(), .calls = calls, .at = at, .forever = forever };

	*calls = 0;
	r.os.open = r_open;
	r.os.write = r_write;
	r.os.fsync = r_fsync;
	r.os.mkdir = r_mkdir;
	r.os.rename = r_rename;
	r.os.unlink = r_unlink;
	r.os.ftruncate = r_ftruncate;
	r.os.chmod = r_chmod;
	r.os.random = r_random;
	r.os.getdents = r_getdents;
	r.os.stat = r_stat;
	return r;
}

struct place {
	char root[256], state[300];
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	temp_dir(p->root, sizeof(p->root));
	(void)snprintf(p->state, sizeof(p->state), "%s/state/holdfast", p->root);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	remove_tree(p->root);
	free(p);
	return 0;
}

static const char *const argv_plain[] = { "holdfast", "backup", "/home" };

static enum ecode
begin(const struct os *os, const struct place *p, struct run **run, struct err *e)
{
	struct run_args args = { .state_dir = p->state,
		.mode = "backup",
		.argv = argv_plain,
		.argc = 3,
		.version = "holdfast test" };

	return run_open(os, &args, run, e);
}

static void
read_text(const char *dir, const char *name, struct buf *out)
{
	char path[600];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(io_read_file(os_posix(), AT_FDCWD, path, out, &e), E_OK);
	assert_int_equal(buf_add_byte(out, 0, &e), E_OK);
	out->len--;
}

static unsigned
mode_of(const char *dir, const char *name)
{
	char path[600];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static bool
exists(const char *dir, const char *name)
{
	char path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void
test_folder_and_modes(void **state)
{
	const struct place *p = *state;
	struct run_result result = { .status = "success" };
	struct run *run = NULL;
	struct err e;
	char dir[400];

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	assert_int_equal(strlen(run_id(run)), 25);
	(void)snprintf(dir, sizeof(dir), "%s", run_dir(run));
	assert_non_null(strstr(dir, run_id(run)));
	assert_int_equal(mode_of(dir, "."), 0700);
	assert_int_equal(mode_of(dir, "execution_journal.jsonl"), 0600);
	assert_false(exists(dir, "run_report.json"));
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	assert_null(run);
	assert_int_equal(mode_of(dir, "run_report.json"), 0600);
}

static void
test_journal_lines_are_sorted_and_flushed(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(65536);
	const struct place *p = *state;
	struct run *run = NULL;
	struct err e;

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_event(run, "stage_build_started", "{\"a\":1}");
	run_event(run, "bare", NULL);
	read_text(run_dir(run), "execution_journal.jsonl", &text); /* before any closing */
	assert_non_null(strstr((char *)text.p, "{\"data\":{\"mode\":\"backup\",\"pid\":"));
	assert_non_null(strstr((char *)text.p,
		"{\"data\":{\"a\":1},\"event\":\"stage_build_started\",\"ts\":\"20"));
	assert_non_null(strstr((char *)text.p, "{\"data\":{},\"event\":\"bare\",\"ts\":\""));
	assert_int_equal(text.p[text.len - 1], '\n');
	run_abandon(&run);
}

/* Every member's key, at depth one, is one of the schema's properties. */
static void
check_keys(const struct buf *report, const struct buf *schema)
{
	struct json j;
	struct slice key;
	char quoted[64];
	unsigned n = 0;

	json_init(&j, report->p, report->len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		(void)snprintf(quoted, sizeof(quoted), "\n    \"%.*s\": {", (int)key.len,
			(const char *)key.p);
		if (strstr((const char *)schema->p, quoted) == NULL)
			fail_msg("not in the schema: %s", quoted);
		assert_true(json_skip(&j, NULL));
		n++;
	}
	assert_true(json_end(&j));
	assert_int_equal(n, 28);
}

static void
test_report_of_a_refusal(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 20), schema = buf_limit(1 << 20);
	const struct place *p = *state;
	struct run_result result = {
		.status = "failure", .bytes_read = 7, .source = "/home", .target = "/vault"
	};
	struct run *run = NULL;
	struct err e, why;
	char dir[400];

	(void)err_set(&why, E_STORE_WRITE, EACCES, "open data/ab/ab");
	err_note(&why, "while storing a pack");
	result.refusal = &why;
	result.counts.failed_files = 2;
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	(void)snprintf(dir, sizeof(dir), "%s", run_dir(run));
	run_item(run, RUN_FAILED, "/home/a\xff", E_SRC_DENIED, "permission denied");
	run_item(run, RUN_CAN_RETRY, "/home/b", E_SRC_VANISHED, "gone");
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	read_text(dir, "run_report.json", &text);
	read_text(getenv("HOLDFAST_SOURCE_ROOT"), "docs/run-report.schema.json", &schema);
	check_keys(&text, &schema);
	assert_non_null(strstr((char *)text.p, "\"exitCode\":21,\"failureCode\":\"store-failed\""));
	assert_non_null(strstr((char *)text.p,
		"\"class\":\"store-failed\",\"exit\":21,\"severity\":\"SEV-2\",\"code\":4002"));
	assert_non_null(strstr((char *)text.p, "\"EACCES: Permission denied\""));
	assert_non_null(strstr((char *)text.p, "while storing a pack"));
	assert_non_null(strstr((char *)text.p, "\"failedFiles\":2"));
	assert_non_null(strstr((char *)text.p,
		"\"path\":\"/home/a\\ufffd\",\"status\":\"failed\",\"error_type\":\"permission\""));
	assert_non_null(strstr((char *)text.p, "\"can_retry\":[{\"path\":\"/home/b\""));
	assert_non_null(strstr((char *)text.p, "\"argv\":[\"holdfast\",\"backup\",\"/home\"]"));
	assert_true(exists(dir, "failed.jsonl"));
	assert_false(exists(dir, "skipped.jsonl"));
}

static void
test_lists_are_bounded(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(16 << 20);
	const struct place *p = *state;
	struct run_result result = { .status = "partial" };
	struct run *run = NULL;
	struct err e;
	char dir[400];
	size_t lines = 0;

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	(void)snprintf(dir, sizeof(dir), "%s", run_dir(run));
	for (int i = 0; i < RUN_LIST_MAX + 5; i++)
		run_item(run, RUN_SKIPPED, "/x", E_OK, NULL);
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	read_text(dir, "skipped.jsonl", &text);
	for (size_t i = 0; i < text.len; i++)
		lines += text.p[i] == '\n';
	assert_int_equal(lines, RUN_LIST_MAX);
	buf_clear(&text);
	read_text(dir, "run_report.json", &text);
	assert_true(text.len < 16384);
	assert_non_null(strstr((char *)text.p, "\"skipped\":10005"));
}

/* What failed and was tried again is no failure any more; what was done stays done (DF-36). */
static void
test_lists_restart(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	const struct place *p = *state;
	struct run_result result = { .status = "success" };
	struct problem problem = { .during = "archival",
		.path = "/busy",
		.code = E_SRC_BUSY,
		.sys = EBUSY,
		.cause = CAUSE_BUSY,
		.why = "close it",
		.can_retry = true };
	struct run *run = NULL;
	struct err e;
	char dir[400];

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	(void)snprintf(dir, sizeof(dir), "%s", run_dir(run));
	run_item(run, RUN_COMPLETED, "snapshots/1", E_OK, NULL);
	for (unsigned i = 0; i < 30; i++)
		run_problem(run, RUN_FAILED, &problem);
	run_problem(run, RUN_CAN_RETRY, &problem);
	run_lists_restart(run);
	problem.path = "/still";
	run_problem(run, RUN_FAILED, &problem);
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	read_text(dir, "failed.jsonl", &text);
	assert_string_equal((char *)text.p,
		"{\"path\":\"/still\",\"status\":\"failed\",\"error_type\":\"busy\",\"error_code\":3006,"
		"\"error_message\":\"close it\",\"can_retry\":true}\n");
	buf_clear(&text);
	read_text(dir, "can_retry.jsonl", &text);
	assert_int_equal(text.len, 0);
	buf_clear(&text);
	read_text(dir, "run_report.json", &text);
	assert_null(strstr((char *)text.p, "/busy"));
	assert_non_null(strstr((char *)text.p,
		"\"list_totals\":{\"failed\":1,\"skipped\":0,\"can_retry\":0,\"completed\":1}"));
}

static void
test_unwritable_state_refuses(void **state)
{
	struct place p = *(struct place *)*state;
	struct run *run = NULL;
	struct err e;
	char file[280];

	(void)snprintf(file, sizeof(file), "%s/file", p.root);
	write_file(file, "x", 1);
	(void)snprintf(p.state, sizeof(p.state), "%s/holdfast", file);
	assert_int_equal(begin(os_posix(), &p, &run, &e), E_REPORT_WRITE);
	assert_null(run);
}

static size_t
folders(const struct place *p)
{
	char path[400];
	DIR *d;
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "%s/runs", p->state);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n - 2;
}

static void
fake_file(const struct place *p, unsigned i, const char *name, const char *text)
{
	char file[560];

	(void)snprintf(file, sizeof(file), "%s/runs/20200101T%06uZ-00000000/%s", p->state, i, name);
	write_file(file, text, strlen(text));
}

/* `report` NULL: killed, or still at work */
static void
fake_folder(const struct place *p, unsigned i, const char *report)
{
	char path[420];

	(void)snprintf(path, sizeof(path), "%s/runs/20200101T%06uZ-00000000", p->state, i);
	assert_int_equal(mkdir(path, 0700), 0);
	if (report != NULL)
		fake_file(p, i, "run_report.json", report);
}

static bool
is_kept(const struct place *p, unsigned i)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "runs/20200101T%06uZ-00000000", i);
	return exists(p->state, name);
}

#define OWNER_DEAD_BACKUP "{\"mode\":\"backup\",\"identity\":{\"pid\":1},\"locked\":true}"
#define REPORT_SEV1       "{\"mode\":\"check\",\"refusal\":{\"severity\":\"SEV-1\",\"code\":2001}}"

/* DV-14, D-8: what may be evidence is spared, a run at work always. */
static void
test_retention(void **state)
{
	const struct place *p = *state;
	struct run *run = NULL;
	struct err e;
	char path[512];
	int live;

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_abandon(&run);
	for (unsigned i = 0; i < RUNS_KEPT_MAX + 10; i++)
		fake_folder(p, i, i == 3 || i == 4 ? NULL : i == 5 ? REPORT_SEV1 : "{}");
	fake_file(p, 4, "run_owner.json", OWNER_DEAD_BACKUP);
	(void)snprintf(
		path, sizeof(path), "%s/runs/20200101T000003Z-00000000/run_owner.json", p->state);
	write_file(path, OWNER_DEAD_BACKUP, strlen(OWNER_DEAD_BACKUP));
	live = open(path, O_RDONLY);
	assert_int_equal(flock(live, LOCK_EX), 0);
	(void)snprintf(path, sizeof(path), "%s/runs/foreign", p->state);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_abandon(&run);
	/* kept: the limit, three that were spared, the foreign one */
	assert_int_equal(folders(p), RUNS_KEPT_MAX + 4);
	assert_true(exists(p->state, "runs/foreign"));
	assert_false(is_kept(p, 0));
	assert_true(is_kept(p, 3) && is_kept(p, 4) && is_kept(p, 5));
	assert_false(is_kept(p, 6));
	assert_int_equal(close(live), 0);
}

/* Beyond the second limit evidence goes too, but no live run and no killed backup. */
static void
test_evidence_goes_in_the_end(void **state)
{
	const struct place *p = *state;
	struct run *run = NULL;
	struct err e;

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_abandon(&run);
	for (unsigned i = 0; i < RUNS_EVIDENCE_MAX + 30; i++)
		fake_folder(p, i, i % 2 == 0 ? REPORT_SEV1 : NULL);
	fake_file(p, 1, "run_owner.json", OWNER_DEAD_BACKUP);
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_abandon(&run);
	assert_int_equal(folders(p), RUNS_EVIDENCE_MAX + 1);
	assert_true(is_kept(p, 1));
	assert_false(is_kept(p, 0) || is_kept(p, 2) || is_kept(p, 3));
	assert_true(is_kept(p, RUNS_EVIDENCE_MAX));
}

/* The kernel's lock tells a run at work from a killed one; a process number does not. */
static void
test_a_live_run_is_told_from_a_dead_one(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(64 << 20);
	const struct place *p = *state;
	struct run_args args = { .state_dir = p->state,
		.mode = "backup",
		.argv = argv_plain,
		.argc = 3,
		.version = "test",
		.vault = "/mnt/vault",
		.source = "/home",
		.target = "/mnt/vault" };
	struct run_info *runs;
	struct run *run = NULL;
	struct err e;
	size_t n;

	assert_int_equal(run_open(os_posix(), &args, &run, &e), E_OK);
	assert_int_equal(mode_of(run_dir(run), "run_owner.json"), 0600);
	assert_false(exists(run_dir(run), "run_owner.json-tmp"));
	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(n, 1);
	assert_int_equal(runs[0].life, RUN_LIVE);
	assert_string_equal(runs[0].status, "running");
	assert_string_equal(runs[0].mode, "backup");
	assert_string_equal(runs[0].vault, "/mnt/vault");
	assert_string_equal(runs[0].source, "/home");
	assert_int_equal(runs[0].pid, getpid());
	assert_int_equal(runs[0].argc, 3);
	assert_string_equal(runs[0].argv[2], "/home");
	assert_non_null(runs[0].cwd);
	run_abandon(&run); /* lets go of the lock, as any end does; this very process still lives */
	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(runs[0].life, RUN_DEAD);
	assert_string_equal(runs[0].status, "unfinished");
	assert_string_equal(runs[0].argv[1], "backup");
}

static int
no_locks(const struct os *os, int fd, int operation)
{
	(void)os;
	(void)fd;
	(void)operation;
	return -ENOLCK;
}

/* A file system without locks: the identity judges, and this process is alive. */
static void
test_without_locks_the_identity_judges(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(64 << 20);
	const struct place *p = *state;
	struct os os = *os_posix();
	struct run_info *runs;
	struct run *run = NULL;
	struct err e;
	size_t n;

	os.flock = no_locks;
	assert_int_equal(begin(&os, p, &run, &e), E_OK);
	run_abandon(&run);
	assert_int_equal(run_list_all(&os, p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(runs[0].life, RUN_LIVE);
}

/* The report names the vault and the end entry of the audit log, and both are read again. */
static void
test_the_report_names_its_audit_entry(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(64 << 20);
	const struct place *p = *state;
	struct audit_mark mark = { .log = "0123456789abcdef0123456789abcdef", .seq = 77 };
	struct run_result result = { .status = "skipped", .repo_id = "ab", .audit = &mark };
	struct run_info *runs;
	struct run *run = NULL;
	struct err e;
	size_t n;

	mark.digest.b[31] = 9;
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(runs[0].life, RUN_ENDED);
	assert_string_equal(runs[0].status, "skipped");
	assert_string_equal(runs[0].repo_id, "ab");
	assert_int_equal(runs[0].audit.seq, 77);
	assert_string_equal(runs[0].audit.log, mark.log);
	assert_memory_equal(&runs[0].audit.digest, &mark.digest, sizeof(mark.digest));
}

static void
test_list(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(64 << 20);
	const struct place *p = *state;
	struct run_result good = { .status = "success", .snapshot_id = "abcd" };
	struct run_info *runs;
	struct run *run = NULL;
	struct err e, why;
	struct run_result bad = { .status = "failure", .refusal = &why };
	size_t n = 99;

	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(n, 0); /* nothing ran yet */
	(void)err_set(&why, E_LOCKED, 0, "somebody");
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	assert_int_equal(run_finish(&run, &good, &e), E_OK);
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	assert_int_equal(run_finish(&run, &bad, &e), E_OK);
	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	run_abandon(&run);
	fake_folder(p, 1, "{}"); /* a report without members */
	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(n, 4);
	assert_string_equal(runs[3].id, "20200101T000001Z-00000000"); /* oldest last */
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(runs[i].mode, "backup");
		assert_non_null(runs[i].started);
		if (strcmp(runs[i].status, "success") == 0)
			assert_string_equal(runs[i].snapshot_id, "abcd");
		if (strcmp(runs[i].status, "failure") == 0)
			assert_int_equal(runs[i].exit_code, 11);
	}
}

static void
test_list_survives_damage(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(64 << 20);
	const struct place *p = *state;
	struct run_info *runs;
	struct run *run = NULL;
	struct err e;
	size_t n;
	char path[500];

	assert_int_equal(begin(os_posix(), p, &run, &e), E_OK);
	(void)snprintf(path, sizeof(path), "%s/run_report.json", run_dir(run));
	run_abandon(&run);
	write_file(path, "{\"mode\":\"backup\",", 17);
	assert_int_equal(run_list_all(os_posix(), p->state, &a, &runs, &n, &e), E_OK);
	assert_int_equal(n, 1);
	assert_string_equal(runs[0].status, "unreadable");
}

/* A whole life of a run; what is in the folder afterwards is judged by the caller. */
static enum ecode
live(const struct os *os, const struct place *p, char *dir, size_t size)
{
	struct run_result result = { .status = "success" };
	struct run *run = NULL;
	struct err e;
	enum ecode rc = begin(os, p, &run, &e);

	*dir = '\0';
	if (rc != E_OK)
		return rc;
	(void)snprintf(dir, size, "%s", run_dir(run));
	run_event(run, "working", NULL);
	run_item(run, RUN_FAILED, "/a", E_SRC_IO, "why");
	run_lists_restart(run);
	run_item(run, RUN_FAILED, "/b", E_SRC_IO, "why");
	return run_finish(&run, &result, &e);
}

static void
judge(enum ecode rc, const char *dir)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	struct json j;

	if (rc != E_OK)
		assert_int_equal(rc, E_REPORT_WRITE);
	if (*dir == '\0')
		return;
	if (rc == E_OK)
		assert_true(exists(dir, "run_report.json"));
	if (!exists(dir, "run_report.json"))
		return;
	read_text(dir, "run_report.json", &text); /* present means whole */
	json_init(&j, text.p, text.len);
	assert_true(json_skip(&j, NULL));
	assert_true(json_end(&j));
}

static void
fault_loop(const struct place *p, bool forever)
{
	char dir[400];
	unsigned calls = 0, refusals = 0;

	for (unsigned at = 1;; at++) {
		size_t fds = open_descriptors();
		struct refusing r = refusing_make(&calls, at, forever);
		enum ecode rc = live(&r.os, p, dir, sizeof(dir));

		judge(rc, dir);
		refusals += rc != E_OK;
		assert_int_equal(open_descriptors(), fds);
		/* the next run works without tidying */
		rc = live(os_posix(), p, dir, sizeof(dir));
		assert_int_equal(rc, E_OK);
		judge(rc, dir);
		if (calls < at)
			break;
	}
	assert_true(refusals > 5);
}

static void
test_every_call_refused_once(void **state)
{
	fault_loop(*state, false);
}

static void
test_every_call_refused_for_ever(void **state)
{
	fault_loop(*state, true);
}

static void
test_trouble_shows_in_the_report(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 20);
	const struct place *p = *state;
	struct run_result result = { .status = "success" };
	unsigned calls = 0;
	struct refusing r = refusing_make(&calls, 0, false);
	struct run *run = NULL;
	struct err e;
	char dir[400];

	assert_int_equal(begin(&r.os, p, &run, &e), E_OK);
	(void)snprintf(dir, sizeof(dir), "%s", run_dir(run));
	r.at = calls + 1;
	run_event(run, "lost", NULL);
	assert_int_equal(run_finish(&run, &result, &e), E_OK);
	read_text(dir, "run_report.json", &text);
	assert_non_null(strstr((char *)text.p, "the journal or a list is incomplete"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_folder_and_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_journal_lines_are_sorted_and_flushed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_report_of_a_refusal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lists_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lists_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unwritable_state_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_retention, setup, teardown),
		cmocka_unit_test_setup_teardown(test_evidence_goes_in_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_live_run_is_told_from_a_dead_one, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_without_locks_the_identity_judges, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_report_names_its_audit_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_survives_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_call_refused_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_call_refused_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trouble_shows_in_the_report, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
