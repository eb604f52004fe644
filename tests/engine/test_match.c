/*
 * match_run with a directory (DF-20, DV-31): the same records in the same order, the same counts and the same first refusal
 * for every number of threads.  What becomes of a refused kernel or store call: test_verify_faults.c and test_drill.c.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "engine/match.h"
#include "support/fault_os.h"

#define MANY        200
#define DIRS        150 /* of one file each: more than may be held open */
#define LARGE       6
#define LARGE_BYTES 700000 /* of one piece; a file has two: more than one batch holds */
#define EMPTY       20
#define LINKS       12
#define TEXT_MAX    (4U << 20)
#define DIRS_MAX    64 /* of these, in the window: match_ahead.c */
#define HOLD_S      1
/* What a walk may hold beside the window: levels, root, listing, one file for each thread. */
#define FDS_MAX     (DIRS_MAX + 8 + 16)

static const unsigned all_threads[] = { 0, 1, 2, 4, 8 };
#define ALL_THREADS (sizeof(all_threads) / sizeof(all_threads[0]))

static struct fix f;
static struct id good, bad; /* trees; `bad` is the good one and what is wrong with a tree */
static struct buf expected; /* of all that is wrong: the records of a walk without threads */
static struct match_counts expected_counts;
static size_t expected_records;

/* ---- the snapshot ---- */

static char names[MANY + DIRS][8];

static struct id
make_many(struct maker *m)
{
	struct node nodes[MANY];
	struct id x[MANY];
	char text[32];

	for (size_t i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "f%03zu", i);
		(void)snprintf(text, sizeof(text), "many %03zu", i);
		x[i] = maker_data(m, text, 8);
		nodes[i] = node_file(names[i], &x[i], 1, 8);
	}
	return maker_tree(m, nodes, MANY);
}

static struct id
make_dirs(struct maker *m)
{
	struct node nodes[DIRS], file;
	struct id x = maker_data(m, "alone", 5), tree[DIRS];

	for (size_t i = 0; i < DIRS; i++) {
		char *name = names[MANY + i];

		(void)snprintf(name, sizeof(names[0]), "d%03zu", i);
		file = node_file("alone", &x, 1, 5);
		file.inode = 100 + i;
		tree[i] = maker_tree(m, &file, 1);
		nodes[i] = node_dir(name, &tree[i]);
	}
	return maker_tree(m, nodes, DIRS);
}

static struct id
make_large(struct maker *m)
{
	static const char *const name[LARGE] = { "l0", "l1", "l2", "l3", "l4", "l5" };
	static uint8_t bytes[LARGE_BYTES];
	struct node nodes[LARGE];
	struct id x[LARGE][2], piece[2];

	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((i + k * 77) * 2654435761U >> 13);
		piece[k] = maker_data(m, bytes, sizeof(bytes));
	}
	for (size_t i = 0; i < LARGE; i++) {
		x[i][0] = piece[i % 2];
		x[i][1] = piece[1 - i % 2];
		nodes[i] = node_file(name[i], x[i], 2, 2 * LARGE_BYTES);
	}
	return maker_tree(m, nodes, LARGE);
}

/* Three names of one inode, links that point somewhere, files with an attribute. */
static struct id
make_links(struct maker *m)
{
	static const struct xattr notes[] = {
		{ { (const uint8_t *)"user.note", 9 }, { (const uint8_t *)"first", 5 } },
		{ { (const uint8_t *)"user.other", 10 }, { (const uint8_t *)"second", 6 } },
	};
	static char name[LINKS][8];
	struct node nodes[LINKS + 5];
	struct id x = maker_data(m, "twins", 5);
	size_t n = 0;

	nodes[n++] = node_file("noted-a", &x, 1, 5);
	nodes[n++] = node_file("noted-b", &x, 1, 5);
	for (size_t i = 0; i < n; i++) {
		nodes[i].xattrs = notes;
		nodes[i].xattr_count = 2;
		nodes[i].inode = 20 + i;
	}
	for (size_t i = 0; i < LINKS; i++) {
		(void)snprintf(name[i], sizeof(name[i]), "s%03zu", i);
		nodes[n++] = node_symlink(name[i], i % 2 == 0 ? "noted-a" : "../elsewhere");
	}
	for (size_t i = 0; i < 3; i++, n++) {
		static const char *const twin[] = { "twin-a", "twin-b", "twin-c" };

		nodes[n] = node_file(twin[i], &x, 1, 5);
		nodes[n].inode = 5;
		nodes[n].links = 3;
	}
	return maker_tree(m, nodes, n);
}

static struct id
make_empty(struct maker *m)
{
	struct node nodes[EMPTY];

	for (size_t i = 0; i < EMPTY; i++)
		nodes[i] = node_file(names[i], NULL, 0, 0);
	return maker_tree(m, nodes, EMPTY);
}

static void
make_trees(struct maker *m)
{
	static const struct id nowhere = { { 1, 2, 3 } };
	struct id sub[5] = { make_many(m), make_dirs(m), make_large(m), make_links(m),
		make_empty(m) };
	struct id x = maker_data(m, "last", 4);
	struct node nodes[12];

	nodes[0] = node_dir("a-many", &sub[0]);
	nodes[1] = node_dir("b-dirs", &sub[1]);
	nodes[2] = node_dir("c-large", &sub[2]);
	nodes[3] = node_dir("d-links", &sub[3]);
	nodes[4] = node_dir("e-empty", &sub[4]);
	nodes[5] = node_file("f-last", &x, 1, 4);
	good = maker_tree(m, nodes, 6);
	nodes[6] = node_dir("g-absent", &nowhere);
	nodes[7] = node_dir("h-none", &nowhere);
	nodes[7].has_subtree = false;
	nodes[8] = node_file("i/out", &x, 1, 4);
	nodes[9] = node_file("j-unknown", &nowhere, 1, 4);
	nodes[10] = node_file("a-again", &x, 1, 4);
	nodes[11] = node_dir("k-many", &sub[0]);
	bad = maker_tree(m, nodes, 12);
}

/* ---- the directory ---- */

static const char *
in(const char *rel)
{
	static char path[2][600];
	static unsigned turn;

	turn = 1 - turn;
	assert_true(
		snprintf(path[turn], sizeof(path[0]), "%s/%s", f.dest, rel) < (int)sizeof(path[0]));
	return path[turn];
}

static void
flip(const char *rel, off_t at)
{
	int fd = open(in(rel), O_RDWR);
	char byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	assert_int_equal(close(fd), 0);
}

/* A file of its own with the bytes and the metadata of another name. */
static void
part_from_twin(const char *rel)
{
	struct stat st;

	assert_int_equal(stat(in(rel), &st), 0);
	assert_int_equal(unlink(in(rel)), 0);
	write_file(in(rel), "twins", 5);
	assert_int_equal(chmod(in(rel), st.st_mode & 07777), 0);
	assert_int_equal(
		utimensat(AT_FDCWD, in(rel), (struct timespec[2]){ st.st_atim, st.st_mtim }, 0), 0);
}

static void
harm(void)
{
	flip("a-many/f010", 3);
	assert_int_equal(truncate(in("a-many/f020"), 3), 0);
	assert_int_equal(unlink(in("a-many/f030")), 0);
	write_file(in("a-many/f030x"), "extra", 5);
	assert_int_equal(chmod(in("a-many/f040"), 0711), 0);
	assert_int_equal(unlink(in("a-many/f050")), 0);
	assert_int_equal(mkdir(in("a-many/f050"), 0755), 0);
	flip("a-many/f199", 7);
	assert_int_equal(unlink(in("b-dirs/d005/alone")), 0);
	assert_int_equal(rmdir(in("b-dirs/d005")), 0);
	write_file(in("b-dirs/d010/extra"), "extra", 5);
	assert_int_equal(unlink(in("b-dirs/d011/alone")), 0);
	assert_int_equal(rmdir(in("b-dirs/d011")), 0);
	write_file(in("b-dirs/d011"), "file", 4);
	flip("b-dirs/d149/alone", 0);
	flip("c-large/l1", LARGE_BYTES + 12345);
	fix_time(in("c-large/l3"));
	assert_int_equal(unlink(in("d-links/s003")), 0);
	assert_int_equal(symlink("nowhere", in("d-links/s003")), 0);
	assert_int_equal(unlink(in("d-links/s004")), 0);
	part_from_twin("d-links/twin-b");
	assert_int_equal(mkdir(in("g-absent"), 0755), 0);
	assert_int_equal(mkdir(in("h-none"), 0755), 0);
	assert_int_equal(mkdir(in("zz-extra"), 0755), 0);
	write_file(in("j-unknown"), "what", 4);
}

/* ---- a walk ---- */

struct told {
	struct buf text;
	size_t records, refuse_at; /* 0: never */
	enum ecode code;           /* to refuse with */
	struct fault_os *faults;
	long most_fds;
};

/* All of a record, so that a walk is a text. */
static enum ecode
put_record(struct buf *out, const struct match_record *r, struct err *e)
{
	const struct node *n = r->node;
	enum ecode rc = buf_printf(out, e, "%s %s %d %u %llu/%llu %s", r->path,
		match_status_text(r->status), r->hashed, r->beside,
		(unsigned long long)r->expected_size, (unsigned long long)r->actual_size,
		r->why == NULL ? "-" : r->why);

	if (rc == E_OK && n != NULL)
		rc = buf_printf(out, e, " %s %.*s %.*s %.*s %o %llu %lld.%u %zu,%zu",
			node_type_text(n->type), (int)n->name.len, (const char *)n->name.p,
			(int)n->linktarget.len, (const char *)n->linktarget.p, (int)n->user.len,
			(const char *)n->user.p, n->mode, (unsigned long long)n->inode,
			(long long)n->mtime.s, n->mtime.ns, n->content_count, n->xattr_count);
	for (size_t i = 0; rc == E_OK && n != NULL && i < n->content_count; i++)
		rc = buf_add(out, n->content[i].b, sizeof(n->content[i].b), e);
	for (size_t i = 0; rc == E_OK && n != NULL && i < n->xattr_count; i++) {
		rc = buf_add(out, n->xattrs[i].name.p, n->xattrs[i].name.len, e);
		if (rc == E_OK)
			rc = buf_add(out, n->xattrs[i].value.p, n->xattrs[i].value.len, e);
	}
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

static void
note_descriptors(struct told *t)
{
	long open;

	if (t->faults == NULL)
		return;
	assert_int_equal(pthread_mutex_lock(&t->faults->lock), 0);
	open = t->faults->open_fds;
	assert_int_equal(pthread_mutex_unlock(&t->faults->lock), 0);
	if (open > t->most_fds)
		t->most_fds = open;
}

static enum ecode
on_record(void *arg, const struct match_record *r, struct err *e)
{
	struct told *t = arg;

	if (++t->records == t->refuse_at)
		return err_set(e, t->code, ENOSPC, "record %zu", t->records);
	note_descriptors(t);
	return put_record(&t->text, r, e);
}

static enum ecode
look_beside(void *arg, struct match_hand *h, const struct match_record *r, unsigned *found,
	struct err *e)
{
	(void)arg;
	if (r->status != MATCH_OK || r->why != NULL || r->node->type == NODE_DIR)
		return err_set(e, E_BUG, 0, "%s is not to be looked at", r->path);
	h->plain.len = 0; /* a hand is one thread's: a race here is seen by a sanitizer */
	*found = 1 + (unsigned)strlen(r->path) % 7;
	return E_OK;
}

/* `more` says which and how; dir, tree and the callbacks of this test are filled in when they are not there. */
static enum ecode
walk(const struct match_args *more, unsigned threads, long stop_after, struct told *t,
	struct match_counts *counts)
{
	struct match_args args = *more;
	struct session s;
	enum ecode rc;

	if (args.tree == NULL)
		args.tree = &bad;
	args.dir = f.dest;
	args.own = ".holdfast_restore";
	args.beside = look_beside;
	args.each = on_record;
	args.arg = t;
	t->text = buf_limit(TEXT_MAX);
	t->records = 0;
	memset(&f.e, 0, sizeof(f.e));
	open_session(&s, os_posix(), f.vault, f.password, threads, SESSION_NO_LOCK, &f.h);
	expect_rc(&f, session_load_index(&s, &f.e), E_OK);
	if (t->faults != NULL)
		s.os = &t->faults->self->os;
	f.h.stop_after = stop_after;
	rc = match_run(&s, &args, counts, &f.e);
	f.h.stop_after = -1;
	s.os = os_posix();
	session_abandon(&s);
	return rc;
}

static bool
is_begin_of(const struct buf *part, const struct buf *whole)
{
	return part->len <= whole->len &&
	       (part->len == 0 || memcmp(part->p, whole->p, part->len) == 0);
}

/* What threads that compare tell each other. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t seen;
	pthread_t teller;
	unsigned others, own;
	unsigned
		ahead; /* files in directories of their own, compared while the first of them was held up */
	bool holding;
} who;

static int
setup(void **unused)
{
	pthread_condattr_t clock;
	struct told t = { .refuse_at = 0 };
	struct session s;
	struct maker m;

	(void)unused;
	(void)pthread_mutex_init(&who.lock, NULL);
	(void)pthread_condattr_init(&clock);
	(void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&who.seen, &clock);
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	fix_begin(&f);
	fix_make(&f, &s, &m);
	make_trees(&m);
	(void)maker_end(&m, &good);
	session_abandon(&s);
	expect_rc(&f, fix_restore(&f), E_OK);
	harm();
	expect_rc(&f,
		walk(&(struct match_args){ .level = MATCH_HASHES }, 0, -1, &t, &expected_counts),
		E_OK);
	expected = t.text;
	expected_records = t.records;
	return 0;
}

static int
teardown(void **unused)
{
	(void)unused;
	buf_done(&expected);
	fix_end(&f);
	return 0;
}

/* ---- the records ---- */

/* Else the comparisons below would compare nothing. */
static void
test_the_walk_finds_what_was_harmed(void **unused)
{
	static const char *const lines[] = { "\n/a-many/f010 hash_mismatch 1 0 8/8 ",
		"\n/a-many/f020 size_mismatch 0 0 8/3 ", "\n/a-many/f030 missing 0 0 8/0 ",
		"\n/a-many/f030x extra 0 0 0/5 ", "\n/a-many/f040 metadata 1 0 8/8 ",
		"\n/a-many/f050 missing 0 0 8/0 ", "\n/a-many/f051 ok 1 ",
		"\n/b-dirs/d005 missing ", "\n/b-dirs/d010/extra extra ", "\n/b-dirs/d011 missing ",
		"\n/b-dirs/d149/alone hash_mismatch ", "\n/c-large/l0 ok 1 ",
		"\n/c-large/l1 hash_mismatch ", "\n/c-large/l3 metadata 1 ",
		"\n/d-links/noted-a ok 1 ", "\n/d-links/s003 hash_mismatch ",
		"\n/d-links/s004 missing ", "\n/d-links/twin-a ok 1 ",
		"\n/d-links/twin-b metadata 1 ", "\n/d-links/twin-c ok 1 ", "\n/g-absent error ",
		"\n/h-none error ", "\n/i/out error ", "\n/j-unknown hash_mismatch ",
		"\n/a-again error ", "\n/k-many/f000 missing ", "\n/zz-extra extra " };

	(void)unused;
	assert_int_equal(buf_add_byte(&expected, '\0', NULL), E_OK);
	expected.len--;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (memmem(expected.p, expected.len, lines[i], strlen(lines[i])) == NULL)
			fail_msg("no record: %s", lines[i] + 1);
	assert_int_equal(expected_counts.files, 2 * MANY + DIRS + LARGE + 5 + EMPTY + 2);
	assert_int_equal(expected_counts.dirs, 6 + DIRS + 2);
	assert_int_equal(expected_counts.others, LINKS);
}

static void
expect_same(const struct match_args *args)
{
	autoclean(buf_done) struct buf first = buf_limit(TEXT_MAX);
	struct match_counts counts, first_counts;
	struct told t = { .refuse_at = 0 };

	for (size_t i = 0; i < ALL_THREADS; i++) {
		expect_rc(&f, walk(args, all_threads[i], -1, &t, &counts), E_OK);
		if (i == 0) {
			first = t.text;
			first_counts = counts;
			continue;
		}
		assert_int_equal(t.text.len, first.len);
		assert_memory_equal(t.text.p, first.p, first.len);
		assert_memory_equal(&counts, &first_counts, sizeof(counts));
		buf_done(&t.text);
	}
}

static bool
every_third(void *arg, const char *path, size_t len)
{
	(void)arg;
	return path[len - 1] % 3 == 0;
}

/* DF-20, DV-31: nothing that a person reads depends on how many threads there are. */
static void
test_the_records_are_the_same_for_any_number_of_threads(void **unused)
{
	(void)unused;
	expect_same(&(struct match_args){ .level = MATCH_HASHES });
	expect_same(&(struct match_args){ .level = MATCH_HASHES, .privileged = true });
	expect_same(&(struct match_args){ .level = MATCH_HASHES, .tree = &good });
	expect_same(&(struct match_args){ .level = MATCH_SIZES });
	expect_same(&(struct match_args){ .level = MATCH_EXISTENCE });
	expect_same(&(struct match_args){ .level = MATCH_HASHES, .wanted = every_third });
}

/* ---- who compares ---- */

/* The telling thread waits in its first comparison until another thread has made one. */
static enum ecode
same_by_whom(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	(void)pthread_mutex_lock(&who.lock);
	if (pthread_equal(pthread_self(), who.teller)) {
		who.own++;
		while (who.others == 0)
			(void)pthread_cond_wait(&who.seen, &who.lock);
	} else {
		who.others++;
		(void)pthread_cond_signal(&who.seen);
	}
	(void)pthread_mutex_unlock(&who.lock);
	return match_content(h, node, fd, same, e);
}

static void
test_other_threads_compare(void **unused)
{
	struct match_counts counts;

	(void)unused;
	who.teller = pthread_self();
	for (size_t i = 1; i < ALL_THREADS; i++) {
		struct told t = { .refuse_at = 0 };

		who.others = who.own = 0;
		expect_rc(&f,
			walk(&(struct match_args){ .level = MATCH_HASHES, .same = same_by_whom },
				all_threads[i], -1, &t, &counts),
			E_OK);
		assert_true(who.others > 0);
		assert_int_equal(who.others + who.own, counts.hashed_files);
		assert_memory_equal(t.text.p, expected.p, expected.len);
		buf_done(&t.text);
	}
}

/* ---- refusals ---- */

static enum ecode
refuse_two(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	if (node->inode == 100 + DIRS / 2) /* the first in order */
		return err_set(e, E_NOMEM, ENOMEM, "the first");
	if (node->size == 2 * LARGE_BYTES)
		return err_set(e, E_SRC_DESCRIPTORS, EMFILE, "a later one");
	return match_content(h, node, fd, same, e);
}

static void
test_the_first_refusal_in_order_is_told(void **unused)
{
	static const char last[] = "/b-dirs/d075 ";
	size_t first_len = 0;

	(void)unused;
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < ALL_THREADS; i++) {
			struct told t = { .refuse_at = 0 };
			struct match_counts counts;
			const uint8_t *line;

			expect_rc(&f,
				walk(&(struct match_args){ .level = MATCH_HASHES,
					     .same = refuse_two },
					all_threads[i], -1, &t, &counts),
				E_NOMEM);
			assert_string_equal(f.e.detail, "the first");
			assert_true(is_begin_of(&t.text, &expected));
			line = memmem(t.text.p, t.text.len, last, strlen(last));
			assert_non_null(line); /* the directory of the one that refused … */
			assert_ptr_equal(memchr(line, '\n', t.text.len - (size_t)(line - t.text.p)),
				t.text.p + t.text.len - 1); /* … was told last */
			first_len = first_len == 0 ? t.text.len : first_len;
			assert_int_equal(t.text.len, first_len);
			buf_done(&t.text);
		}
	}
}

static enum ecode
refuse_without_a_word(
	struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	return node->inode == 110 ? E_NOMEM : match_content(h, node, fd, same, e);
}

static void
test_a_refusal_without_a_word_is_one(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ALL_THREADS; i++) {
		struct told t = { .refuse_at = 0 };
		struct match_counts counts;

		expect_rc(&f,
			walk(&(struct match_args){ .level = MATCH_HASHES,
				     .same = refuse_without_a_word },
				all_threads[i], -1, &t, &counts),
			E_NOMEM);
		assert_true(is_begin_of(&t.text, &expected));
		buf_done(&t.text);
	}
}

/* Also with a code that would be a finding if the trees were read with it. */
static void
test_nothing_is_told_after_the_teller_refused(void **unused)
{
	(void)unused;
	for (size_t nth = 1; nth <= expected_records; nth += 47) {
		for (size_t i = 0; i < ALL_THREADS; i++) {
			struct told t = { .refuse_at = nth,
				.code = nth % 2 == 0 ? E_REPORT_WRITE : E_TREE_FORMAT };
			struct match_counts counts;

			expect_rc(&f,
				walk(&(struct match_args){ .level = MATCH_HASHES }, all_threads[i],
					-1, &t, &counts),
				t.code);
			assert_int_equal(t.records, nth);
			assert_true(is_begin_of(&t.text, &expected));
			buf_done(&t.text);
		}
	}
}

static void
test_a_stop_at_any_time_ends_it(void **unused)
{
	unsigned long stopped = 0;

	(void)unused;
	for (long nth = 0; nth < 1200; nth += 41) {
		for (size_t i = 0; i < ALL_THREADS; i++) {
			struct told t = { .refuse_at = 0 };
			struct match_counts counts;
			enum ecode rc = walk(&(struct match_args){ .level = MATCH_HASHES },
				all_threads[i], nth, &t, &counts);

			if (rc == E_OK)
				assert_int_equal(t.text.len, expected.len);
			else
				expect_rc(&f, rc, E_INTERRUPTED);
			stopped += rc != E_OK;
			assert_true(is_begin_of(&t.text, &expected));
			buf_done(&t.text);
		}
	}
	assert_true(stopped > 100);
}

/* ---- descriptors ---- */

static void
test_open_descriptors_are_bounded(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ALL_THREADS; i++) {
		static struct fault_os faults;
		struct told t = { .faults = &faults };
		struct match_counts counts;

		fault_os_init(&faults, os_posix());
		expect_rc(&f,
			walk(&(struct match_args){ .level = MATCH_HASHES }, all_threads[i], -1, &t,
				&counts),
			E_OK);
		assert_int_equal(faults.open_fds, 0);
		print_message("# %u threads: %ld descriptors\n", all_threads[i], t.most_fds);
		assert_in_range(t.most_fds, 1, all_threads[i] == 0 ? 8 : FDS_MAX);
		fault_os_done(&faults);
		buf_done(&t.text);
	}
}

/* While one comparison is held up, the walk goes on as far as it may: that it goes no further only time can tell. */
static enum ecode
same_held_up(struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += HOLD_S;
	(void)pthread_mutex_lock(&who.lock);
	if (node->inode == 100 && !pthread_equal(pthread_self(), who.teller)) {
		who.holding = true;
		while (who.ahead <= DIRS_MAX &&
			pthread_cond_timedwait(&who.seen, &who.lock, &until) == 0)
			;
		who.holding = false;
	} else if (node->inode > 100) {
		who.ahead += who.holding;
		(void)pthread_cond_signal(&who.seen);
	}
	(void)pthread_mutex_unlock(&who.lock);
	return match_content(h, node, fd, same, e);
}

static void
test_a_slow_comparison_does_not_fill_the_table_of_descriptors(void **unused)
{
	struct told t = { .refuse_at = 0 };
	struct match_counts counts;

	(void)unused;
	who.teller = pthread_self();
	expect_rc(&f,
		walk(&(struct match_args){ .level = MATCH_HASHES, .same = same_held_up }, 8, -1, &t,
			&counts),
		E_OK);
	print_message("# %u directories ahead\n", who.ahead);
	assert_in_range(who.ahead, 0, DIRS_MAX);
	assert_int_equal(t.text.len, expected.len);
	buf_done(&t.text);
}

/* No descriptor for a while: a refusal, or nothing; never a word about a path. */
static void
test_no_descriptor_is_no_finding(void **unused)
{
	unsigned long refused = 0;

	(void)unused;
	for (unsigned long nth = 1; nth < 900; nth += 61) {
		for (size_t i = 0; i < ALL_THREADS; i++) {
			static struct fault_os faults;
			struct told t = { .faults = &faults };
			struct match_counts counts;
			enum ecode rc;

			fault_os_init(&faults, os_posix());
			faults.plan = (struct fault_plan){
				.nth = nth, .error = EMFILE, .slots = SLOT_BIT(SLOT_OPEN)
			};
			rc = walk(&(struct match_args){ .level = MATCH_HASHES }, all_threads[i], -1,
				&t, &counts);
			assert_int_equal(faults.open_fds, 0);
			assert_int_equal(rc != E_OK, faults.fired > 0);
			assert_true(is_begin_of(&t.text, &expected));
			refused += rc != E_OK;
			fault_os_done(&faults);
			buf_done(&t.text);
		}
	}
	assert_true(refused > 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_walk_finds_what_was_harmed),
		cmocka_unit_test(test_the_records_are_the_same_for_any_number_of_threads),
		cmocka_unit_test(test_other_threads_compare),
		cmocka_unit_test(test_the_first_refusal_in_order_is_told),
		cmocka_unit_test(test_a_refusal_without_a_word_is_one),
		cmocka_unit_test(test_nothing_is_told_after_the_teller_refused),
		cmocka_unit_test(test_a_stop_at_any_time_ends_it),
		cmocka_unit_test(test_open_descriptors_are_bounded),
		cmocka_unit_test(test_a_slow_comparison_does_not_fill_the_table_of_descriptors),
		cmocka_unit_test(test_no_descriptor_is_no_finding),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
