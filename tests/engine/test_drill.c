/*
 * Drills (DV-30, DV-31, DV-32, appendix E 13): what passes, what fails, what proves nothing, what is recorded, and that every
 * kernel call may be refused.  Also each refusal of `verify`.  Further faults, of the store too: test_verify_faults.c.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <unistd.h>

#include "base/path.h"
#include "engine/drill.h"
#include "engine/verify.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define RUN       "20261121T000000Z-0000000a"
#define CALLS_MAX 20000

static char tmp[300], state[300];
static struct drill_result result;

static int
setup(void **unused)
{
	static struct fix f;
	struct session s;
	struct maker m;
	struct node inner[2], nodes[5];
	struct id x[2], sub;
	static uint8_t big[70000];

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_path(&f, "tmp", tmp, sizeof(tmp));
	fix_path(&f, "state", state, sizeof(state));
	assert_int_equal(mkdir(tmp, 0755), 0);
	fix_make(&f, &s, &m);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 2654435761U >> 9);
	x[0] = maker_data(&m, big, sizeof(big));
	x[1] = maker_data(&m, "small", 5);
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_file("small", &x[1], 1, 5);
	sub = maker_tree(&m, inner, 2);
	nodes[0] = node_dir("dir", &sub);
	nodes[1] = node_symlink("link", "dir");
	nodes[2] = node_file("parts", x, 2, sizeof(big) + 5);
	nodes[3] = node_file("twin-a", &x[1], 1, 5);
	nodes[4] = node_file("twin-b", &x[1], 1, 5);
	nodes[3].inode = nodes[4].inode = 5;
	nodes[3].links = nodes[4].links = 2;
	for (size_t i = 0; i < 5;
		i++) { /* as the user who runs this: owners are then no matter of privilege */
		nodes[i].uid = getuid();
		nodes[i].gid = getgid();
	}
	fix_made(&s, &m, nodes, 5);
	*unused = &f;
	return 0;
}

static int
teardown(void **unused)
{
	drill_result_done(&result);
	fix_end(*unused);
	return 0;
}

static enum ecode
drill(struct fix *f, const struct drill_args *more, const struct os *os)
{
	struct drill_args args = *more;
	struct session s;
	enum ecode rc;

	drill_result_done(&result);
	memset(&f->e, 0, sizeof(f->e));
	if (args.snapshot == NULL)
		args.snapshot = "latest";
	args.parent = tmp;
	args.state_dir = state;
	if (args.run_id == NULL)
		args.run_id = RUN;
	open_session(&s, os_posix(), f->vault, f->password, f->threads, SESSION_NO_LOCK, &f->h);
	s.os = os;
	rc = drill_run(&s, &args, &result, &f->e);
	s.os = os_posix();
	session_abandon(&s);
	return rc;
}

/* ---- verdicts ---- */

static void
expect_pass(struct fix *f, unsigned threads)
{
	size_t before = tmpdir_count(f->dir, "tmp"); /* evidence */

	f->threads = threads;
	expect_rc(f, drill(f, &(struct drill_args){ .kind = DRILL_FULL }, os_posix()), E_OK);
	assert_int_equal(result.record.verdict, DRILL_PASS);
	assert_true(result.control);
	assert_int_equal(result.counts.files, 5);
	assert_int_equal(result.counts.hashed_files, 5);
	assert_int_equal(tmpdir_count(f->dir, "tmp"), before);
	assert_true(result.recorded);
	assert_int_equal(tmpdir_mode(f->dir, "state/drills/" RUN ".json"), 0600);
	assert_true(tmpdir_exists(f->dir, "vault/.drill-" RUN));
}

static void
test_e13_a_good_snapshot_passes_with_and_without_threads(void **unused)
{
	struct id first;

	expect_pass(*unused, 0);
	first = result.record.digest;
	for (unsigned threads = 1; threads <= 8; threads *= 2) {
		expect_pass(*unused, threads);
		assert_memory_equal(&first, &result.record.digest, sizeof(first));
	}
}

static enum ecode
always_equal(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	(void)h, (void)node, (void)fd, (void)e;
	*same = true;
	return E_OK;
}

static enum ecode
never_equal(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	(void)h, (void)node, (void)fd, (void)e;
	*same = false;
	return E_OK;
}

static void
test_e13_a_comparison_that_cannot_fail_is_unknown(void **unused)
{
	struct drill_args args = { .same = always_equal };

	expect_rc(*unused, drill(*unused, &args, os_posix()), E_DRILL_CONTROL);
	assert_int_equal(result.record.verdict, DRILL_UNKNOWN);
	assert_false(result.control);
	assert_non_null(result.kept);
	assert_true(exists(result.kept));
	assert_non_null(strstr(result.kept, "-evidence"));
	assert_int_equal(err_row(E_DRILL_CONTROL)->class, CLASS_DRILL_FAILED);
}

static void
test_what_is_not_equal_fails(void **unused)
{
	struct drill_args args = { .same = never_equal };

	expect_rc(*unused, drill(*unused, &args, os_posix()), E_DRILL_FAILED);
	assert_int_equal(result.record.verdict, DRILL_FAIL);
	assert_non_null(strstr(result.kept, RUN "-evidence"));
}

/* ---- the control of a file of many pieces ---- */

#define PIECES      9
#define PIECE_BYTES 70000 /* more than what is copied at a time */

static uint8_t pieces[PIECES][PIECE_BYTES];

/* The newest snapshot: a single file; its pieces differ in length, and one of them is empty. */
static void
save_many_pieces(struct fix *f)
{
	struct node node;
	struct session s;
	struct maker m;
	struct id x[PIECES], tree;
	uint64_t size = 0;

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	maker_begin(&m, &s);
	for (size_t k = 0; k < PIECES; k++) {
		size_t len = k == 0 ? 0 : PIECE_BYTES - k;

		for (size_t i = 0; i < len; i++)
			pieces[k][i] = (uint8_t)((i + k * 977) * 2654435761U >> 11);
		x[k] = maker_data(&m, pieces[k], len);
		size += len;
	}
	node = node_file("many", x, PIECES, size);
	node.uid = getuid();
	node.gid = getgid();
	tree = maker_tree(&m, &node, 1);
	(void)maker_end(&m, &tree);
	session_abandon(&s);
}

/* What was compared last: the control comes after everything else. */
static struct {
	unsigned calls;
	size_t count;
	uint64_t size, on_disk;
	uint8_t bytes[PIECE_BYTES];
	size_t got;
} last;

static void
look_at(const struct node *node, int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	last.calls++;
	last.count = node->content_count;
	last.size = node->size;
	last.on_disk = (uint64_t)st.st_size;
	last.got = (size_t)pread(fd, last.bytes, sizeof(last.bytes), 0);
}

static enum ecode
watched(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	look_at(node, fd);
	return match_content(h, node, fd, same, e);
}

static enum ecode
watched_and_always_equal(
	struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	(void)h, (void)e;
	look_at(node, fd);
	*same = true;
	return E_OK;
}

/* Which piece it is but for one bit; PIECES: none. */
static size_t
piece_with_a_flip(const uint8_t *p, size_t len)
{
	for (size_t k = 0; k < PIECES; k++) {
		size_t other = 0;

		if (len == 0 || len != (k == 0 ? 0 : PIECE_BYTES - k))
			continue;
		for (size_t i = 0; i < len; i++)
			other += pieces[k][i] != p[i];
		if (other == 1)
			return k;
	}
	return PIECES;
}

static void
expect_one_piece(void)
{
	assert_int_equal(last.count, 1);
	assert_int_equal(last.on_disk, last.size);
	assert_int_equal(last.got, last.size);
	assert_in_range(piece_with_a_flip(last.bytes, last.got), 1, PIECES - 1);
}

/* DV-32: of a file of many pieces one is copied, another each time, and its flipped byte is seen. */
static void
test_the_control_is_one_piece(void **unused)
{
	struct drill_args args = { .kind = DRILL_FULL, .same = watched };
	bool seen[PIECES + 1] = { false };
	struct fix *f = *unused;
	unsigned different = 0;

	save_many_pieces(f);
	for (unsigned i = 0; i < 8; i++) {
		char run[NOTE_ID_MAX];

		(void)snprintf(run, sizeof(run), "20261121T000000Z-%08x", i + 100);
		args.run_id = run;
		expect_rc(f, drill(f, &args, os_posix()), E_OK);
		assert_true(result.control);
		expect_one_piece();
		seen[piece_with_a_flip(last.bytes, last.got)] = true;
	}
	for (size_t k = 0; k < PIECES; k++)
		different += seen[k];
	assert_in_range(different, 2, PIECES); /* 8 the same: once in two million */
}

static void
test_the_control_of_one_piece_finds_a_broken_comparison(void **unused)
{
	struct drill_args args = { .same = watched_and_always_equal };
	struct fix *f = *unused;
	char control[600];
	struct stat st;

	save_many_pieces(f);
	expect_rc(f, drill(f, &args, os_posix()), E_DRILL_CONTROL);
	assert_int_equal(result.record.verdict, DRILL_UNKNOWN);
	expect_one_piece();
	(void)snprintf(control, sizeof(control), "%s/control", result.kept);
	assert_int_equal(stat(control, &st), 0); /* all that was written for it */
	assert_int_equal(st.st_size, last.size);
}

/* The largest pack: the one with the content. */
static void
damage(const struct fix *f)
{
	char cmd[900];

	assert_true(snprintf(cmd, sizeof(cmd),
			    "p=$(ls -S %s/data/*/* | head -n 1); chmod 600 $p; "
			    "printf XYZ | dd of=$p bs=1 seek=2000 conv=notrunc 2>/dev/null",
			    f->vault) < (int)sizeof(cmd));
	assert_int_equal(system(cmd), 0);
}

static void
test_e13_a_bad_snapshot_fails_and_keeps_evidence(void **unused)
{
	struct fix *f = *unused;

	damage(f);
	expect_rc(f, drill(f, &(struct drill_args){ .kind = DRILL_FULL }, os_posix()),
		E_DRILL_FAILED);
	assert_int_equal(result.record.verdict, DRILL_FAIL);
	assert_true(exists(result.kept));
	assert_true(tmpdir_exists(f->dir, "vault/.drill-" RUN));
}

static void
test_a_sample_is_no_proof(void **unused)
{
	struct drill_args args = { .kind = DRILL_FILES, .amount = 2 };
	struct fix *f = *unused;
	struct snapshot snap = { .id = { { 0 } } };
	struct snapshot_list snaps = { .v = &snap, .n = 1 };
	struct drill_list list = { .v = &result.record, .n = 1 };
	struct drill_drift drift;

	expect_rc(f, drill(f, &args, os_posix()), E_OK);
	assert_int_equal(result.record.verdict, DRILL_SAMPLED);
	assert_int_equal(result.counts.files, 2);
	assert_int_equal(strlen(result.record.seed), 32);
	assert_null(drill_proof(&list, &result.record.snapshot_id));
	snap.id = result.record.snapshot_id;
	drill_drift(&list, &snaps, result.record.started, &drift);
	assert_true(drift.old);
	assert_false(drift.any);
}

static void
test_nothing_to_flip_is_unknown(void **unused)
{
	struct fix *f = *unused;
	struct session s;
	struct maker m;
	struct node node = node_file("empty", NULL, 0, 0);
	struct id tree;

	node.uid = getuid();
	node.gid = getgid();
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	maker_begin(&m, &s);
	tree = maker_tree(&m, &node, 1);
	char hex[ID_HEX_SIZE];
	struct id snap = maker_end(&m, &tree);
	session_abandon(&s);
	for (size_t i = 0; i < 32; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", snap.b[i]);
	expect_rc(
		f, drill(f, &(struct drill_args){ .snapshot = hex }, os_posix()), E_DRILL_UNKNOWN);
	assert_int_equal(result.record.verdict, DRILL_UNKNOWN);
	assert_int_equal(tmpdir_count(f->dir, "tmp"), 0);
	assert_int_equal(err_row(E_DRILL_UNKNOWN)->class, CLASS_PARTIAL);
}

/* ---- records ---- */

static void
test_records_are_read_again_and_doubted(void **unused)
{
	static const char *const wrong[] = { "{}", "{\"format\":1}",
		"{\"format\":2,\"verdict\":\"pass\"}" };
	struct fix *f = *unused;
	autoclean(buf_done) struct buf text = buf_limit(DRILL_RECORD_BYTES);
	struct drill_record back;
	struct json_out w;
	struct err e;

	expect_pass(f, 0);
	json_begin(&w, &text);
	drill_record_put(&w, &result.record);
	assert_int_equal(json_done(&w, &e), E_OK);
	assert_int_equal(drill_record_parse(text.p, text.len, &back, &e), E_OK);
	assert_string_equal(back.run_id, RUN);
	assert_memory_equal(&back.digest, &result.record.digest, sizeof(back.digest));
	for (size_t len = 0; len < text.len; len++) /* cut anywhere */
		assert_int_not_equal(drill_record_parse(text.p, len, &back, &e), E_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
			drill_record_parse(wrong[i], strlen(wrong[i]), &back, &e), E_DRILL_FORMAT);
}

static void
test_a_proof_grows_old(void **unused)
{
	struct drill_record r = { .verdict = DRILL_PASS, .started = { .s = 1000 } };
	struct snapshot snaps[DRILL_BEHIND_MAX + 1] = { 0 };
	struct snapshot_list all = { .v = snaps, .n = 1 };
	struct drill_list list = { .v = &r, .n = 1 };
	struct instant now = { .s = 1000 + DRILL_OLD_S };
	struct drill_drift d;

	(void)unused;
	for (size_t i = 0; i <= DRILL_BEHIND_MAX; i++)
		snaps[i].id.b[0] = (uint8_t)(i + 1);
	r.snapshot_id = snaps[0].id;
	drill_drift(&list, &all, now, &d);
	assert_true(d.any && !d.old && d.behind == 0);
	now.s++;
	drill_drift(&list, &all, now, &d);
	assert_true(d.old);
	now.s = 1000;
	all.n = DRILL_BEHIND_MAX;
	drill_drift(&list, &all, now, &d);
	assert_true(!d.old && d.behind == DRILL_BEHIND_MAX - 1);
	all.n = DRILL_BEHIND_MAX + 1;
	drill_drift(&list, &all, now, &d);
	assert_true(d.old && d.behind == DRILL_BEHIND_MAX);
}

/* ---- faults ---- */

static void
test_every_kernel_call_of_a_drill_may_be_refused(void **unused)
{
	static struct fault_os faults;
	struct fix *f = *unused;
	unsigned long refused = 0, nth;

	for (nth = 1; nth < CALLS_MAX; nth++) {
		char run[NOTE_ID_MAX];
		struct drill_args args = { .run_id = run };
		enum ecode rc;
		unsigned long fired;

		(void)snprintf(run, sizeof(run), "fault-%lu", nth);
		fault_os_init(&faults, os_posix());
		faults.real_random = true;
		faults.plan = (struct fault_plan){ .nth = nth, .error = EIO };
		heard_init(&f->h);
		rc = drill(f, &args, &faults.os);
		fired = faults.fired;
		if (faults.open_fds != 0)
			fault_os_print_log(&faults);
		assert_int_equal(faults.open_fds, 0);
		fault_os_done(&faults);
		refused += rc != E_OK;
		if (rc == E_OK)
			assert_int_equal(result.record.verdict, DRILL_PASS);
		else
			assert_true(fired > 0);
		if (fired == 0)
			break;
	}
	assert_true(nth < CALLS_MAX);
	print_message("# %lu calls, %lu drills refused\n", nth, refused);
	assert_true(refused > 50);
	expect_pass(f, 0); /* and nobody had to tidy up */
}

/* ---- verify ---- */

static enum ecode
verify(struct fix *f, const char *against, unsigned threads, struct verify_result *out)
{
	struct session s;
	char reports[400];
	struct verify_args args = { .snapshot = "latest",
		.level = MATCH_HASHES,
		.run_id = RUN,
		.against = against,
		.reports = reports };
	static unsigned count;
	enum ecode rc;

	(void)snprintf(reports, sizeof(reports), "%s/reports-%u", f->dir, count++);
	open_session(&s, os_posix(), f->vault, f->password, threads, SESSION_NO_LOCK, &f->h);
	rc = verify_run(&s, &args, out, &f->e);
	session_abandon(&s);
	return rc;
}

static void
test_verify_tells_the_vault_from_the_directory(void **unused)
{
	struct fix *f = *unused;
	struct verify_result r;
	char path[400];

	for (unsigned threads = 0; threads <= 2; threads += 2) {
		expect_rc(f, verify(f, NULL, threads, &r), E_OK);
		assert_int_equal(r.files_ok, 5);
		assert_int_equal(r.failed, 0);
	}
	expect_rc(f, fix_restore(f), E_OK);
	expect_rc(f, verify(f, f->dest, 0, &r), E_OK);
	assert_int_equal(r.files_ok, 5);
	(void)snprintf(path, sizeof(path), "%s/dir/small", f->dest);
	assert_int_equal(unlink(path), 0);
	expect_rc(f, verify(f, f->dest, 0, &r), E_VERIFY_DIFFERS);
	assert_int_equal(r.counts.status[MATCH_MISSING], 1);
	damage(f);
	expect_rc(f, verify(f, NULL, 0, &r), E_VERIFY_FAILED);
	assert_true(r.counts.status[MATCH_HASH] >= 1);
}

/* The newest snapshot once more, with what a backup says of its size. */
static void
save_with_summary(struct fix *f)
{
	autoclean(arena_done) struct arena a = arena_limit(1U << 20);
	autoclean(buf_done) struct buf text = buf_limit(1U << 20);
	struct snapshot_list list;
	struct snapshot snap;
	struct session s;
	struct id id;

	open_session(&s, os_posix(), f->vault, f->password, 0, SESSION_NO_LOCK, &f->h);
	assert_int_equal(snapshot_list_load(s.vault, s.own, &a, &list, &f->e), E_OK);
	snap = list.v[list.n - 1];
	snap.time.s++;
	snap.has_summary = true;
	snap.summary.total_files_processed = 6;
	snap.summary.dirs_new = 1;
	snap.summary.total_bytes_processed = 70015;
	assert_int_equal(snapshot_write(&snap, &text, &f->e), E_OK);
	assert_int_equal(
		vault_save(s.vault, s.own, O_SNAPSHOT, text.p, text.len, &id, &f->e), E_OK);
	session_abandon(&s);
}

/* A hostile source of such a length has no live files, and is no word about the snapshot. */
static void
test_a_source_that_no_call_can_name(void **unused)
{
	static uint8_t long_path[3 * PATH_TEXT_MAX];
	const struct slice path = { long_path, sizeof(long_path) };
	autoclean(arena_done) struct arena a = arena_limit(1U << 24);
	autoclean(buf_done) struct buf text = buf_limit(1U << 24);
	struct fix *f = *unused;
	struct snapshot_list list;
	struct snapshot snap;
	struct session s;
	struct id id;

	for (size_t i = 0; i < sizeof(long_path); i++)
		long_path[i] = i % 200 == 0 ? '/' : 'p';
	open_session(&s, os_posix(), f->vault, f->password, 0, SESSION_NO_LOCK, &f->h);
	assert_int_equal(snapshot_list_load(s.vault, s.own, &a, &list, &f->e), E_OK);
	snap = list.v[list.n - 1];
	snap.time.s++;
	snap.paths = &path;
	snap.path_count = 1;
	expect_rc(f, snapshot_write(&snap, &text, &f->e), E_OK);
	expect_rc(f, vault_save(s.vault, s.own, O_SNAPSHOT, text.p, text.len, &id, &f->e), E_OK);
	session_abandon(&s);
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		expect_pass(f, threads);
		assert_int_equal(result.live_changed, 5);
	}
}

/* DF-24: of how many is known from what the snapshot says; one that says nothing is counted only. */
static void
test_verify_knows_of_how_many(void **unused)
{
	struct fix *f = *unused;
	struct verify_result r;

	expect_rc(f, verify(f, NULL, 0, &r), E_OK);
	assert_false(f->h.progress.totals_final);
	save_with_summary(f);
	expect_rc(f, verify(f, NULL, 0, &r), E_OK);
	assert_true(f->h.progress.totals_final);
	assert_int_equal(f->h.progress.total_items, 7);
	assert_int_equal(f->h.progress.done_items, 7);
	assert_int_equal(f->h.progress.total_bytes, 70015);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_e13_a_good_snapshot_passes_with_and_without_threads),
		T(test_e13_a_comparison_that_cannot_fail_is_unknown),
		T(test_what_is_not_equal_fails),
		T(test_the_control_is_one_piece),
		T(test_the_control_of_one_piece_finds_a_broken_comparison),
		T(test_e13_a_bad_snapshot_fails_and_keeps_evidence),
		T(test_a_sample_is_no_proof),
		T(test_nothing_to_flip_is_unknown),
		T(test_records_are_read_again_and_doubted),
		cmocka_unit_test(test_a_proof_grows_old),
		T(test_every_kernel_call_of_a_drill_may_be_refused),
		T(test_verify_tells_the_vault_from_the_directory),
		T(test_a_source_that_no_call_can_name),
		T(test_verify_knows_of_how_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
