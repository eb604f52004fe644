/*
 * The audit chain (issue 3 point 8; IX-07, X-23): every way of changing a log
 * is told, every interruption is healed, and nothing that was told is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "crypto/hash.h"
#include "os/io.h"
#include "report/audit.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define ENTRIES   5
#define LOG_BYTES (1U << 20)

struct place {
	char root[TMPDIR_PATH_MAX];
	char dir[TMPDIR_PATH_MAX + 32]; /* <root>/audit */
	struct fault_os f;
	struct audit_mark mark[ENTRIES + 1]; /* from 1 */
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	tmpdir_make_fast(p->root);
	(void)snprintf(p->dir, sizeof(p->dir), "%s/audit", p->root);
	fault_os_init(&p->f, os_posix());
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(p->f.open_fds, 0);
	fault_os_done(&p->f);
	tmpdir_remove(p->root);
	free(p);
	return 0;
}

/* ---- files, behind the program's back ---- */

static struct buf
read_all(const struct place *p, const char *name)
{
	struct buf out = buf_limit(LOG_BYTES);
	char path[TMPDIR_PATH_MAX + 128];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	if (io_read_file(os_posix(), AT_FDCWD, path, &out, &e) != E_OK)
		buf_done(&out);
	return out;
}

static void
write_all(const struct place *p, const char *name, const void *bytes, size_t len)
{
	char path[TMPDIR_PATH_MAX + 128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(len == 0 ? 0 : fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void
remove_file(const struct place *p, const char *name)
{
	char path[TMPDIR_PATH_MAX + 128];

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	assert_int_equal(unlink(path), 0);
}

/* Where line n (from 0) begins; the end for n = number of lines. */
static size_t
line_at(const struct buf *log, unsigned n)
{
	size_t at = 0;

	while (n-- > 0) {
		const uint8_t *end = memchr(log->p + at, '\n', log->len - at);

		assert_non_null(end);
		at = (size_t)(end - log->p) + 1;
	}
	return at;
}

/* ---- the log through its door ---- */

static const char *const plain_argv[] = { "holdfast", "backup", "/home/ada" };

static enum ecode
append(const struct os *os, const char *root, unsigned run, enum audit_event event,
	struct audit_mark *mark, struct err *e)
{
	char id[32], snapshot[ID_HEX_SIZE];
	const char *const snapshots[] = { snapshot };
	struct audit_entry entry = { .event = event,
		.run_id = id,
		.command = "backup",
		.argv = plain_argv,
		.argc = 3,
		.vault = "/mnt/vault",
		.destination = NULL,
		.snapshots = snapshots,
		.snapshot_count = event == AUDIT_END };

	(void)snprintf(id, sizeof(id), "20260102T030405Z-%08x", run);
	memset(snapshot, 'a', sizeof(snapshot) - 1);
	snapshot[sizeof(snapshot) - 1] = '\0';
	return audit_append(os, root, &entry, mark, e);
}

/* begin, end, begin, end, begin: the last run is open. */
static void
fill(struct place *p)
{
	struct err e;

	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(append(&p->f.os, p->root, i / 2,
					 i % 2 == 0 ? AUDIT_BEGIN : AUDIT_END, &p->mark[i + 1], &e),
			E_OK);
}

static enum ecode
verify(const struct os *os, const struct place *p, const struct audit_claim *claims, size_t n,
	struct audit_summary *sum, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(16U << 20);
	struct audit_reading how = { .claims = claims, .claim_count = n };
	enum ecode rc = audit_read(os, p->root, &how, &a, sum, e);

	sum->open = NULL; /* the arena goes */
	return rc;
}

static enum ecode
verify_plain(const struct place *p, struct audit_summary *sum)
{
	struct err e;
	enum ecode rc = verify(os_posix(), p, NULL, 0, sum, &e);

	if (rc == E_AUDIT_BROKEN || rc == E_AUDIT_TAIL)
		assert_non_null(strstr(e.note[e.notes - 1], "put it aside: mv '"));
	return rc;
}

static bool
is_refused(enum ecode rc)
{
	return rc == E_AUDIT_BROKEN || rc == E_AUDIT_TAIL;
}

/* ---- what it holds ---- */

struct seen {
	unsigned n;
	enum audit_event event[16];
	char last[512];
};

static enum ecode
see(void *arg, const struct audit_record *r, struct err *e)
{
	struct seen *s = arg;

	(void)e;
	assert_int_equal(r->seq, s->n + 1);
	assert_true(s->n < 16);
	s->event[s->n++] = r->event;
	(void)snprintf(s->last, sizeof(s->last), "%s|%s|%s|%s|%zu|%s|%zu", r->event_text, r->run_id,
		r->command, r->vault, r->argc, r->class_name, r->snapshot_count);
	return E_OK;
}

static void
test_what_was_written_is_read(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit(16U << 20);
	struct place *p = *state;
	struct seen seen = { .n = 0 };
	struct audit_reading how = { .each = see, .arg = &seen };
	struct audit_summary sum;
	struct stat st;
	struct err e;

	fill(p);
	assert_int_equal(audit_read(os_posix(), p->root, &how, &a, &sum, &e), E_OK);
	assert_int_equal(seen.n, ENTRIES);
	assert_int_equal(sum.entries, ENTRIES);
	assert_string_equal(seen.last, "begin|20260102T030405Z-00000002|backup|/mnt/vault|3||0");
	assert_int_equal(sum.open_count, 1);
	assert_string_equal(sum.open[0].run_id, "20260102T030405Z-00000002");
	assert_string_equal(sum.open[0].command, "backup");
	assert_int_equal(sum.open[0].seq, 5);
	assert_false(sum.interrupted);
	assert_int_equal(sum.torn_tail_bytes, 0);
	assert_int_equal(stat(p->dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	(void)snprintf(p->dir + strlen(p->dir), 32, "/audit.jsonl");
	assert_int_equal(stat(p->dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, sum.bytes);
}

static void
test_nothing_yet_is_no_entry(void **state)
{
	struct place *p = *state;
	struct audit_summary sum;

	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_int_equal(sum.entries, 0);
	assert_int_equal(access(p->dir, F_OK), -1); /* looking makes nothing */
}

static void
test_long_words_are_cut_and_counted(void **state)
{
	static const char *many[3000];
	autoclean(arena_done) struct arena a = arena_limit(16U << 20);
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_entry entry = { .event = AUDIT_BEGIN,
		.run_id = "r",
		.command = "restore",
		.argv = many,
		.argc = 3000 };
	struct audit_record r;
	struct audit_mark mark;
	char *control = malloc(100001);
	struct err e;

	assert_non_null(control);
	memset(control, 1, 100000); /* six bytes each when escaped */
	control[100000] = '\0';
	for (size_t i = 0; i < 3000; i++)
		many[i] = i == 7 ? control : "w";
	entry.vault = control;
	entry.destination = control;
	assert_int_equal(audit_append(&p->f.os, p->root, &entry, &mark, &e), E_OK);
	log = read_all(p, "audit.jsonl");
	assert_int_equal(audit_parse(log.p, log.len - 1, &a, &r, &e), E_OK);
	assert_int_equal(r.argc, 1000);
	assert_int_equal(r.argv_left_out, 2000);
	assert_int_equal(strlen(r.argv[7]), 4096);
	free(control);
}

/* ---- tampering ---- */

static void
test_every_byte_flipped(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;

	fill(p);
	log = read_all(p, "audit.jsonl");
	for (size_t i = 0; i < log.len; i++) {
		log.p[i] ^= (uint8_t)(1U << (i % 8));
		write_all(p, "audit.jsonl", log.p, log.len);
		if (!is_refused(verify_plain(p, &sum)))
			fail_msg("byte %zu changed, and nobody noticed", i);
		log.p[i] ^= (uint8_t)(1U << (i % 8));
	}
	write_all(p, "audit.jsonl", log.p, log.len);
	assert_int_equal(verify_plain(p, &sum), E_OK);
}

/* A changed head that still names the last entry is no change of the log. */
static void
test_every_byte_of_the_head_flipped(void **state)
{
	autoclean(buf_done) struct buf head = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;
	unsigned passed = 0;

	fill(p);
	head = read_all(p, "head.json");
	for (size_t i = 0; i < head.len; i++) {
		head.p[i] ^= (uint8_t)(1U << (i % 8));
		write_all(p, "head.json", head.p, head.len);
		passed += verify_plain(p, &sum) == E_OK;
		head.p[i] ^= (uint8_t)(1U << (i % 8));
	}
	/* white space at the end */
	assert_true(passed <= 1);
	for (size_t len = 0; len + 1 < head.len; len++) {
		write_all(p, "head.json", head.p, len);
		assert_true(is_refused(verify_plain(p, &sum)));
	}
}

static void
test_every_line_removed(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;

	fill(p);
	log = read_all(p, "audit.jsonl");
	for (unsigned i = 0; i < ENTRIES; i++) {
		autoclean(buf_done) struct buf cut = buf_limit(LOG_BYTES);
		size_t from = line_at(&log, i), to = line_at(&log, i + 1);

		assert_int_equal(buf_add(&cut, log.p, from, NULL), E_OK);
		assert_int_equal(buf_add(&cut, log.p + to, log.len - to, NULL), E_OK);
		write_all(p, "audit.jsonl", cut.p, cut.len);
		assert_int_equal(
			verify_plain(p, &sum), i + 1 < ENTRIES ? E_AUDIT_BROKEN : E_AUDIT_TAIL);
	}
}

static void
test_lines_in_another_order(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;

	fill(p);
	log = read_all(p, "audit.jsonl");
	for (unsigned i = 0; i < ENTRIES; i++) {
		for (unsigned k = i + 1; k < ENTRIES; k++) {
			autoclean(buf_done) struct buf mixed = buf_limit(LOG_BYTES);

			for (unsigned n = 0; n < ENTRIES; n++) {
				unsigned from = n == i ? k : n == k ? i : n;
				size_t at = line_at(&log, from);

				assert_int_equal(buf_add(&mixed, log.p + at,
							 line_at(&log, from + 1) - at, NULL),
					E_OK);
			}
			write_all(p, "audit.jsonl", mixed.p, mixed.len);
			assert_int_equal(verify_plain(p, &sum), E_AUDIT_BROKEN);
		}
	}
}

static void
test_the_tail_cut_at_every_length(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;
	struct audit_mark mark;
	struct err e;

	fill(p);
	log = read_all(p, "audit.jsonl");
	for (size_t len = 0; len < log.len; len++) {
		write_all(p, "audit.jsonl", log.p, len);
		if (verify_plain(p, &sum) != E_AUDIT_TAIL)
			fail_msg("cut to %zu bytes, and nobody noticed", len);
		/* and nothing may be built on it */
		assert_int_equal(
			append(&p->f.os, p->root, 9, AUDIT_BEGIN, &mark, &e), E_AUDIT_TAIL);
	}
	remove_file(p, "audit.jsonl");
	assert_int_equal(verify_plain(p, &sum), E_AUDIT_TAIL);
}

static void
test_foreign_lines(void **state)
{
	static const char *const foreign[] = { "{}\n", "\n", "a note\n",
		"{\"seq\":6,\"sum\":\"0000\"}\n", "one\ntwo\n" };
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;
	struct audit_mark mark;
	struct err e;

	fill(p);
	log = read_all(p, "audit.jsonl");
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		autoclean(buf_done) struct buf more = buf_limit(LOG_BYTES);

		assert_int_equal(buf_add(&more, log.p, log.len, NULL), E_OK);
		assert_int_equal(buf_add_str(&more, foreign[i], NULL), E_OK);
		write_all(p, "audit.jsonl", more.p, more.len);
		assert_int_equal(verify_plain(p, &sum), E_AUDIT_BROKEN);
		assert_int_equal(
			append(&p->f.os, p->root, 9, AUDIT_BEGIN, &mark, &e), E_AUDIT_BROKEN);
	}
}

/* An older head: one entry behind is what an interrupted append leaves, two are not. */
static void
test_the_head_removed_or_rolled_back(void **state)
{
	struct buf old[ENTRIES + 1];
	struct place *p = *state;
	struct audit_summary sum;
	struct err e;

	for (unsigned i = 1; i <= ENTRIES; i++) {
		assert_int_equal(append(&p->f.os, p->root, i, AUDIT_BEGIN, &p->mark[i], &e), E_OK);
		old[i] = read_all(p, "head.json");
	}
	for (unsigned i = 1; i <= ENTRIES; i++) {
		write_all(p, "head.json", old[i].p, old[i].len);
		assert_int_equal(verify_plain(p, &sum), i + 1 >= ENTRIES ? E_OK : E_AUDIT_BROKEN);
		assert_int_equal(sum.interrupted, i + 1 == ENTRIES);
		assert_int_equal(sum.entries, ENTRIES);
	}
	remove_file(p, "head.json");
	assert_int_equal(verify_plain(p, &sum), E_AUDIT_TAIL);
	for (unsigned i = 1; i <= ENTRIES; i++)
		buf_done(&old[i]);
}

/* Log and head cut back together are whole again for themselves: the run reports know better. */
static void
test_reports_know_what_was_cut(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	autoclean(buf_done) struct buf head = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_claim claims[2];
	struct audit_summary sum;
	struct err e;
	char aside[TMPDIR_PATH_MAX + 128];

	for (unsigned i = 1; i <= 4; i++) {
		assert_int_equal(append(&p->f.os, p->root, (i - 1) / 2,
					 i % 2 == 1 ? AUDIT_BEGIN : AUDIT_END, &p->mark[i], &e),
			E_OK);
		if (i == 2) {
			log = read_all(p, "audit.jsonl");
			head = read_all(p, "head.json");
		}
	}
	claims[0] = (struct audit_claim){ .run_id = "zero", .mark = p->mark[2] };
	claims[1] = (struct audit_claim){ .run_id = "one", .mark = p->mark[4] };
	assert_int_equal(verify(os_posix(), p, claims, 2, &sum, &e), E_OK);
	assert_int_equal(sum.claims, 2);
	write_all(p, "audit.jsonl", log.p, log.len);
	write_all(p, "head.json", head.p, head.len);
	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_int_equal(verify(os_posix(), p, claims, 2, &sum, &e), E_AUDIT_TAIL);
	assert_non_null(strstr(e.detail, "run one wrote entry 4; the log ends at 2"));
	/* another history of the same length */
	assert_int_equal(append(&p->f.os, p->root, 7, AUDIT_BEGIN, &p->mark[3], &e), E_OK);
	assert_int_equal(append(&p->f.os, p->root, 7, AUDIT_END, &p->mark[4], &e), E_OK);
	assert_int_equal(verify(os_posix(), p, claims, 2, &sum, &e), E_AUDIT_BROKEN);
	assert_non_null(strstr(e.detail, "is not the one that the report of run one names"));
	/* the whole log gone; then put aside under the name that was told */
	(void)snprintf(aside, sizeof(aside), "%s/audit-%s", p->root, p->mark[1].log);
	assert_int_equal(rename(p->dir, aside), 0);
	assert_int_equal(verify(os_posix(), p, claims, 2, &sum, &e), E_OK);
	assert_int_equal(sum.claims_elsewhere, 2);
	tmpdir_remove(aside);
	assert_int_equal(verify(os_posix(), p, claims, 2, &sum, &e), E_AUDIT_TAIL);
	assert_non_null(strstr(e.detail, "which is not here"));
}

/* ---- interruptions ---- */

/* The torn bytes stand beside the log under the name that their entry tells. */
static void
check_kept(struct place *p, const void *bytes, size_t len)
{
	autoclean(buf_done) struct buf torn = buf_limit(LOG_BYTES);
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	char name[64], told[80], hex[ID_HEX_SIZE];
	struct hasher *h;
	struct id digest;
	struct err e;

	assert_int_equal(hasher_open(&h, &e), E_OK);
	hasher_sum(h, bytes, len, &digest);
	hasher_close(&h);
	id_hex(&digest, hex);
	(void)snprintf(name, sizeof(name), "torn-%d-%.16s", ENTRIES + 1, hex);
	(void)snprintf(told, sizeof(told), "\"torn_file\":\"%s\"", name);
	torn = read_all(p, name);
	assert_int_equal(torn.len, len);
	assert_memory_equal(torn.p, bytes, len);
	log = read_all(p, "audit.jsonl");
	assert_non_null(memmem(log.p, log.len, told, strlen(told)));
	assert_non_null(memmem(log.p, log.len, hex, strlen(hex)));
	remove_file(p, name);
}

/* Whatever part of the next line a power cut leaves, zeros included: the bytes stay, the chain goes on and says so. */
static void
test_a_torn_line_is_kept_and_told(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	autoclean(buf_done) struct buf head = buf_limit(LOG_BYTES);
	autoclean(buf_done) struct buf next = buf_limit(LOG_BYTES);
	struct place *p = *state;
	struct audit_summary sum;
	struct audit_mark mark;
	struct err e;

	fill(p);
	log = read_all(p, "audit.jsonl");
	head = read_all(p, "head.json");
	assert_int_equal(append(&p->f.os, p->root, 2, AUDIT_END, &mark, &e), E_OK);
	next = read_all(p, "audit.jsonl");
	for (size_t cut = log.len + 1; cut < next.len; cut += 7) {
		/* an odd length: cut there; an even one: whole length, one zero block in it */
		bool zero = cut % 2 == 0;
		size_t len = zero ? next.len : cut;
		uint8_t was = next.p[cut - 1];

		if (zero)
			next.p[cut - 1] = 0;
		write_all(p, "audit.jsonl", next.p, len);
		write_all(p, "head.json", head.p, head.len);
		assert_int_equal(verify_plain(p, &sum), E_OK);
		assert_int_equal(sum.torn_tail_bytes, len - log.len);
		assert_int_equal(append(&p->f.os, p->root, 3, AUDIT_BEGIN, &mark, &e), E_OK);
		assert_int_equal(mark.seq, ENTRIES + 2); /* the entry about it stands between */
		assert_int_equal(verify_plain(p, &sum), E_OK);
		assert_int_equal(sum.torn_entries, 1);
		assert_int_equal(sum.torn_untold, 0);
		assert_int_equal(sum.torn_tail_bytes, 0);
		check_kept(p, next.p + log.len, len - log.len);
		next.p[cut - 1] = was;
	}
}

static void
test_a_torn_first_line(void **state)
{
	struct place *p = *state;
	struct audit_summary sum;
	struct audit_mark mark;
	struct err e;

	assert_int_equal(mkdir(p->dir, 0700), 0);
	write_all(p, "audit.jsonl", "{\"log\":\"", 8);
	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_int_equal(sum.torn_tail_bytes, 8);
	assert_int_equal(append(&p->f.os, p->root, 0, AUDIT_BEGIN, &mark, &e), E_OK);
	assert_int_equal(mark.seq, 2);
	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_int_equal(sum.torn_entries, 1);
}

/* Killed between line and head, at the first entry too: nothing is lost, nothing stands twice. */
static void
test_killed_between_line_and_head(void **state)
{
	struct place *p = *state;
	struct audit_summary sum;
	struct audit_mark mark;
	struct err e;

	for (unsigned i = 0; i < 3; i++) {
		autoclean(buf_done) struct buf head = buf_limit(LOG_BYTES);
		autoclean(buf_done) struct buf newer = buf_limit(LOG_BYTES);

		head = read_all(p, "head.json");
		assert_int_equal(append(&p->f.os, p->root, i, AUDIT_BEGIN, &mark, &e), E_OK);
		assert_int_equal(mark.seq, i + 1);
		newer = read_all(p, "head.json");
		if (head.len == 0)
			remove_file(p, "head.json");
		else
			write_all(p, "head.json", head.p, head.len);
		assert_int_equal(verify_plain(p, &sum), E_OK);
		assert_true(sum.interrupted);
		assert_int_equal(sum.entries, i + 1);
		if (i < 2)
			write_all(p, "head.json", newer.p, newer.len);
	}
	assert_int_equal(append(&p->f.os, p->root, 2, AUDIT_END, &mark, &e), E_OK);
	assert_int_equal(mark.seq, 4);
	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_false(sum.interrupted);
}

/* ---- the kernel says no ---- */

struct fault_kind {
	int error;
	enum fault_mode mode;
	bool forever;
};

static const struct fault_kind kinds[] = { { EIO, FAULT_REFUSE, false },
	{ EIO, FAULT_REFUSE, true }, { ENOSPC, FAULT_REFUSE, false },
	{ ENOSPC, FAULT_REFUSE, true }, { EINTR, FAULT_REFUSE, false },
	{ EACCES, FAULT_REFUSE, true }, { 0, FAULT_SHORT_ONE, false },
	{ 0, FAULT_SHORT_HALF, true } };

static bool
may_append_refuse(enum ecode rc)
{
	return rc == E_OK || rc == E_AUDIT_WRITE || rc == E_AUDIT_READ;
}

/* One append under a fault: an acknowledged entry is there, and the next append works without tidying. */
static bool
one_fault(struct place *p, const struct fault_kind *k, unsigned long n, const struct buf *torn)
{
	struct audit_summary before, after;
	struct audit_mark mark = { .seq = 0 }, next;
	struct err e;
	enum ecode rc;
	bool fired;

	if (tmpdir_exists(p->root, "audit"))
		tmpdir_remove(p->dir);
	fault_os_plan(&p->f, (struct fault_plan){ .nth = 0 });
	assert_int_equal(append(&p->f.os, p->root, 0, AUDIT_BEGIN, &p->mark[1], &e), E_OK);
	if (torn != NULL) {
		autoclean(buf_done) struct buf log = read_all(p, "audit.jsonl");

		assert_int_equal(buf_add(&log, torn->p, torn->len, NULL), E_OK);
		write_all(p, "audit.jsonl", log.p, log.len);
	}
	fault_os_plan(&p->f,
		(struct fault_plan){
			.nth = n, .error = k->error, .mode = k->mode, .forever = k->forever });
	rc = append(&p->f.os, p->root, 0, AUDIT_END, &mark, &e);
	fired = p->f.fired > 0;
	fault_os_plan(&p->f, (struct fault_plan){ .nth = 0 });
	assert_int_equal(p->f.open_fds, 0);
	if (!may_append_refuse(rc))
		fail_msg("call %lu, errno %d: %d %s", n, k->error, (int)rc, e.detail);
	assert_int_equal(verify_plain(p, &before), E_OK);
	if (rc == E_OK) {
		struct audit_claim claim = { .run_id = "x", .mark = mark };

		assert_int_equal(verify(os_posix(), p, &claim, 1, &before, &e), E_OK);
		assert_int_equal(before.claims, 1);
	}
	assert_int_equal(append(&p->f.os, p->root, 1, AUDIT_BEGIN, &next, &e), E_OK);
	assert_int_equal(verify_plain(p, &after), E_OK);
	assert_int_equal(after.torn_tail_bytes, 0);
	assert_false(after.interrupted);
	assert_true(after.entries > before.entries);
	return fired;
}

static void
test_every_refused_call_of_an_append(void **state)
{
	static const char half[] = "{\"log\":\"0123";
	autoclean(buf_done) struct buf torn = buf_limit(64);
	struct place *p = *state;

	assert_int_equal(buf_add_str(&torn, half, NULL), E_OK);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		unsigned long n = 1;

		while (one_fault(p, &kinds[k], n, NULL))
			n++;
		assert_true(n > (kinds[k].error == EACCES || kinds[k].error == 0 ? 2 : 5));
		for (n = 1; one_fault(p, &kinds[k], n, &torn);)
			n++;
	}
}

static void
test_every_refused_call_of_a_proof(void **state)
{
	struct place *p = *state;

	fill(p);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (unsigned long n = 1;; n++) {
			struct audit_summary sum;
			struct err e;
			enum ecode rc;

			fault_os_plan(&p->f, (struct fault_plan){ .nth = n,
						     .error = kinds[k].error,
						     .mode = kinds[k].mode,
						     .forever = kinds[k].forever });
			rc = verify(&p->f.os, p, NULL, 0, &sum, &e);
			assert_int_equal(p->f.open_fds, 0);
			if (rc == E_OK)
				assert_int_equal(sum.entries, ENTRIES); /* never fewer, quietly */
			else
				assert_int_equal(rc, E_AUDIT_READ); /* never called tampering */
			if (p->f.fired == 0)
				break;
			assert_true(kinds[k].error != EINTR || rc == E_OK);
		}
	}
}

/* ---- several at once ---- */

#define WRITERS     4
#define EACH_WRITES 25

static void
write_many(const char *root, unsigned who)
{
	struct audit_mark mark;
	struct err e;

	for (unsigned i = 0; i < EACH_WRITES; i++) {
		unsigned run = who * EACH_WRITES + i;

		if (append(os_posix(), root, run, AUDIT_BEGIN, &mark, &e) != E_OK ||
			append(os_posix(), root, run, AUDIT_END, &mark, &e) != E_OK)
			_exit(1);
	}
	_exit(0);
}

static void
test_four_processes_append(void **state)
{
	struct place *p = *state;
	struct audit_summary sum;
	pid_t pid[WRITERS];
	int status;

	for (unsigned i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			write_many(p->root, i);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(verify_plain(p, &sum), E_OK);
	assert_int_equal(sum.entries, WRITERS * EACH_WRITES * 2);
	assert_int_equal(sum.open_count, 0);
}

/* Somebody who never lets go: a refusal after the limit, not a wait for ever. */
static void
test_a_lock_that_is_never_let_go(void **state)
{
	struct place *p = *state;
	char path[TMPDIR_PATH_MAX + 128];
	struct audit_mark mark;
	struct err e;
	int fd;

	fill(p);
	(void)snprintf(path, sizeof(path), "%s/audit.jsonl", p->dir);
	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(append(&p->f.os, p->root, 9, AUDIT_BEGIN, &mark, &e), E_AUDIT_WRITE);
	assert_non_null(strstr(e.detail, "another process held audit.jsonl for 30 seconds"));
	assert_int_equal(close(fd), 0);
	assert_int_equal(append(&p->f.os, p->root, 9, AUDIT_BEGIN, &mark, &e), E_OK);
}

/* The limit, reached with a hole instead of a gigabyte: the last entry is put at its end. */
static void
test_the_size_limit(void **state)
{
	autoclean(buf_done) struct buf log = buf_limit(LOG_BYTES);
	struct place *p = *state;
	char path[TMPDIR_PATH_MAX + 128], head[512], hex[ID_HEX_SIZE];
	struct audit_mark mark;
	struct err e;
	size_t from;
	int fd;

	fill(p);
	log = read_all(p, "audit.jsonl");
	from = line_at(&log, ENTRIES - 1) - 1; /* with the newline before it */
	(void)snprintf(path, sizeof(path), "%s/audit.jsonl", p->dir);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, log.p + from, log.len - from,
				 (off_t)(AUDIT_LOG_MAX_BYTES - (log.len - from))),
		log.len - from);
	assert_int_equal(close(fd), 0);
	id_hex(&p->mark[ENTRIES].digest, hex);
	(void)snprintf(head, sizeof(head),
		"{\"log\":\"%s\",\"seq\":5,\"digest\":\"%s\",\"bytes\":%llu}\n", p->mark[1].log,
		hex, AUDIT_LOG_MAX_BYTES);
	write_all(p, "head.json", head, strlen(head));
	assert_int_equal(append(&p->f.os, p->root, 9, AUDIT_BEGIN, &mark, &e), E_AUDIT_FULL);
	assert_non_null(strstr(e.note[0], "put it aside: mv '"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_was_written_is_read),
		T(test_nothing_yet_is_no_entry),
		T(test_long_words_are_cut_and_counted),
		T(test_every_byte_flipped),
		T(test_every_byte_of_the_head_flipped),
		T(test_every_line_removed),
		T(test_lines_in_another_order),
		T(test_the_tail_cut_at_every_length),
		T(test_foreign_lines),
		T(test_the_head_removed_or_rolled_back),
		T(test_reports_know_what_was_cut),
		T(test_a_torn_line_is_kept_and_told),
		T(test_a_torn_first_line),
		T(test_killed_between_line_and_head),
		T(test_every_refused_call_of_an_append),
		T(test_every_refused_call_of_a_proof),
		T(test_four_processes_append),
		T(test_a_lock_that_is_never_let_go),
		T(test_the_size_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
