/*
 * What happens to a backup when paths cannot be read: every cause by name, in
 * both twins; races between listing, opening and reading; the record in the
 * snapshot; the refusal; the question and a second round (D-7, DF-30 … DF-36, IX-01, DV-04).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/backup.h"
#include "engine/check.h"
#include "engine/inspect.h"
#include "engine/ownrecord.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

#define VICTIM     "victim"
#define FD_MAX     1024
/* Nothing here may block; the alarm kills the program, which is a failure. */
#define PATIENCE_S 120

enum trick {
	TRICK_NONE,
	TRICK_OPEN_ERROR,
	TRICK_STAT_ERROR,
	TRICK_READ_ERROR,     /* at once */
	TRICK_LATE_ERROR,     /* in the middle of the file */
	TRICK_GETDENTS_ERROR, /* of the directory */
	TRICK_FIFO,           /* between listing and opening it becomes … */
	TRICK_LINK,
	TRICK_DIR,
	TRICK_FILE, /* a directory becomes a file */
	TRICK_SOCKET,
	TRICK_GONE,
	TRICK_TRUNCATE, /* while it is read it … */
	TRICK_GROW
};

/* A kernel that plays tricks with one name. */
struct tricky {
	struct os os; /* first */
	struct tricky *self;
	const char *name; /* of what is met; VICTIM unless told otherwise */
	char path[600];
	enum trick trick;
	int error;
	_Atomic unsigned opens, sleeps;
	_Atomic bool is_victim[FD_MAX];
	_Atomic uint64_t read_bytes;
	const char *hopeless; /* this one gives EIO, always */
	_Atomic unsigned hopeless_opens;
};

static struct tricky *
of(const struct os *os)
{
	return ((const struct tricky *)os)->self; /* os is the first member */
}

static bool
named(const char *path, const char *name)
{
	const char *slash = path == NULL ? NULL : strrchr(path, '/');

	return path != NULL && name != NULL && strcmp(slash == NULL ? path : slash + 1, name) == 0;
}

static void
must(bool ok)
{
	if (!ok)
		abort(); /* cmocka's assertions are for the test's own thread */
}

static void
write_text(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static void
make_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(strlen(path) < sizeof(a.sun_path));
	memcpy(a.sun_path, path, strlen(path) + 1);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && close(fd) == 0);
}

/* Between listing and opening. */
static void
swap(struct tricky *t)
{
	enum trick trick = t->trick;

	if (trick < TRICK_FIFO || trick > TRICK_GONE)
		return;
	t->trick = TRICK_NONE;
	must((trick == TRICK_FILE ? rmdir(t->path) : unlink(t->path)) == 0);
	if (trick == TRICK_FIFO)
		must(mkfifo(t->path, 0600) == 0);
	else if (trick == TRICK_LINK)
		must(symlink("/etc/hostname", t->path) == 0);
	else if (trick == TRICK_DIR)
		must(mkdir(t->path, 0700) == 0);
	else if (trick == TRICK_FILE)
		write_text(t->path, "a file now", 0);
	else if (trick == TRICK_SOCKET)
		make_socket(t->path);
}

static int
tricky_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct tricky *t = of(os);
	int fd;

	if (named(path, t->hopeless)) {
		atomic_fetch_add(&t->hopeless_opens, 1);
		return -EIO;
	}
	if (!named(path, t->name))
		return os_posix()->open(os_posix(), dir, path, flags, mode);
	atomic_fetch_add(&t->opens, 1);
	swap(t);
	if (t->trick == TRICK_OPEN_ERROR)
		return -t->error;
	fd = os_posix()->open(os_posix(), dir, path, flags, mode);
	if (fd >= 0 && fd < FD_MAX)
		atomic_store(&t->is_victim[fd], true);
	return fd;
}

static int
tricky_close(const struct os *os, int fd)
{
	if (fd >= 0 && fd < FD_MAX)
		atomic_store(&of(os)->is_victim[fd], false);
	return os_posix()->close(os_posix(), fd);
}

static int
tricky_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	struct tricky *t = of(os);

	if (t->trick == TRICK_STAT_ERROR && named(path, t->name))
		return -t->error;
	return os_posix()->stat(os_posix(), dir, path, at_flags, out);
}

static ssize_t
tricky_getdents(const struct os *os, int fd, void *p, size_t len)
{
	struct tricky *t = of(os);

	if (t->trick == TRICK_GETDENTS_ERROR && fd < FD_MAX && atomic_load(&t->is_victim[fd]))
		return -t->error;
	return os_posix()->getdents(os_posix(), fd, p, len);
}

static ssize_t
tricky_read(const struct os *os, int fd, void *p, size_t len)
{
	struct tricky *t = of(os);
	ssize_t n;

	if (fd >= FD_MAX || !atomic_load(&t->is_victim[fd]))
		return os_posix()->read(os_posix(), fd, p, len);
	if (t->trick == TRICK_READ_ERROR)
		return -t->error;
	if (t->trick == TRICK_LATE_ERROR && atomic_load(&t->read_bytes) > 0)
		return -t->error;
	n = os_posix()->read(os_posix(), fd, p, len);
	if (n > 0)
		atomic_fetch_add(&t->read_bytes, (uint64_t)n);
	if (n > 0 && t->trick == TRICK_TRUNCATE) {
		t->trick = TRICK_NONE; /* once: the second reading finds it still */
		must(truncate(t->path, 10) == 0);
	}
	if (t->trick == TRICK_GROW)
		write_text(t->path, "and more", O_APPEND);
	return n;
}

/* A lease is waited for; not here. */
static void
tricky_sleep(const struct os *os, uint64_t ns)
{
	(void)ns;
	atomic_fetch_add(&of(os)->sleeps, 1);
}

struct bench {
	char dir[256], vault[300], src[300];
	struct tricky t;
	struct heard h;
	struct backup_result r;
	struct err e;
};

static struct bench b; /* too large for a stack, with its errors and texts */

static void
bench_open(void)
{
	memset(&b, 0, sizeof(b));
	temp_dir(b.dir, sizeof(b.dir));
	(void)snprintf(b.vault, sizeof(b.vault), "%s/vault", b.dir);
	(void)snprintf(b.src, sizeof(b.src), "%s/src", b.dir);
	make_vault(os_posix(), b.vault, 2);
	assert_int_equal(mkdir(b.src, 0755), 0);
	b.t.os = *os_posix();
	b.t.self = &b.t;
	b.t.name = VICTIM;
	b.t.os.open = tricky_open;
	b.t.os.close = tricky_close;
	b.t.os.stat = tricky_stat;
	b.t.os.read = tricky_read;
	b.t.os.getdents = tricky_getdents;
	b.t.os.sleep_ns = tricky_sleep;
	(void)snprintf(b.t.path, sizeof(b.t.path), "%s/" VICTIM, b.src);
	assert_int_equal(chdir(b.dir), 0);
}

static void
bench_close(void)
{
	assert_int_equal(chdir("/"), 0);
	remove_tree(b.dir);
}

static void
put(const char *name, size_t len)
{
	char path[800];
	uint8_t *p = malloc(len + 1);
	uint64_t seed = len;

	assert_non_null(p);
	for (size_t i = 0; i < len; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		p[i] = (uint8_t)(seed >> 56);
	}
	(void)snprintf(path, sizeof(path), "%s/%s", b.src, name);
	write_file(path, p, len);
	free(p);
}

static struct backup_args
args_for(enum on_unreadable how)
{
	static const char *const target = "src";

	return (struct backup_args){ .targets = &target,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.program_version = "test",
		.run_id = "run-1",
		.on_unreadable = how };
}

static enum ecode
run_with(const struct backup_args *args, unsigned threads)
{
	struct session s;
	struct err late;
	enum ecode rc;

	heard_init(&b.h);
	open_session(&s, &b.t.os, b.vault, TEST_PASSWORD, threads,
		args->dry_run ? SESSION_NO_LOCK : SESSION_SHARED, &b.h);
	rc = backup_run(&s, args, &b.r, &b.e);
	assert_int_equal(session_close(&s, &late), E_OK);
	return rc;
}

static enum ecode
run(enum on_unreadable how, unsigned threads)
{
	struct backup_args args = args_for(how);

	return run_with(&args, threads);
}

/* What the newest snapshot says of itself; how many snapshots there are. */
static size_t
newest(struct arena *a, struct own_record *own)
{
	struct session s;
	struct heard h;
	struct snapshot_list list;
	struct err e;

	heard_init(&h);
	open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	assert_int_equal(snapshot_list_load(s.vault, s.own, a, &list, &e), E_OK);
	if (list.n > 0)
		assert_int_equal(own_parse(list.v[list.n - 1].holdfast, a, own, &e), E_OK);
	assert_int_equal(session_close(&s, &e), E_OK);
	return list.n;
}

static void
nothing_found(void *arg, const struct check_finding *f)
{
	unsigned *hints = arg;

	if (f->hint && f->code == E_PARTIAL)
		++*hints;
}

static void
assert_sound(uint64_t snapshots, uint64_t partial)
{
	struct session s;
	struct heard h;
	struct check_args how = { .read = CHECK_READ_ALL };
	struct check_result result;
	struct err e;
	unsigned hints = 0;

	heard_init(&h);
	open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	assert_int_equal(check_run(&s, &how, nothing_found, &hints, &result, &e), E_OK);
	assert_int_equal(result.snapshots, snapshots);
	assert_int_equal(result.partial, partial);
	assert_int_equal(hints, partial);
	check_result_done(&result);
	assert_int_equal(session_close(&s, &e), E_OK);
}

static const unsigned twins[] = { 0, 3 };

/* ---- causes ---- */

struct cause_row {
	enum trick trick;
	int error;
	enum cause cause;
	bool can_retry;
	size_t size;
};

static void
assert_told(const struct cause_row *row)
{
	assert_false(b.r.snapshot_made);
	assert_int_equal(b.r.unreadable, 1);
	assert_int_equal(atomic_load(&b.h.fatal_problems), 1);
	assert_int_equal(atomic_load(&b.h.causes[0]), row->cause);
	assert_int_equal(atomic_load(&b.h.can_retry), row->can_retry);
	assert_non_null(strstr(b.h.last_path, "/src/" VICTIM));
	assert_non_null(strstr(b.e.note[0], "/src/" VICTIM ": "));
	assert_non_null(strstr(b.e.note[0], cause_short(row->cause)));
}

static void
test_causes(void **state)
{
	static const struct cause_row rows[] = {
		{ TRICK_OPEN_ERROR, EACCES, CAUSE_PERMISSION, true, 10 },
		{ TRICK_OPEN_ERROR, EAGAIN, CAUSE_LOCKED, true, 10 },
		{ TRICK_OPEN_ERROR, EBUSY, CAUSE_BUSY, true, 10 },
		{ TRICK_OPEN_ERROR, ETXTBSY, CAUSE_BUSY, true, 10 },
		{ TRICK_OPEN_ERROR, ELOOP, CAUSE_CHANGED, true, 10 },
		{ TRICK_OPEN_ERROR, ENAMETOOLONG, CAUSE_INVALID_PATH, false, 10 },
		{ TRICK_OPEN_ERROR, ESTALE, CAUSE_CHANGED, true, 10 },
		{ TRICK_OPEN_ERROR, EIO, CAUSE_IO_ERROR, false, 10 },
		{ TRICK_OPEN_ERROR, ETIMEDOUT, CAUSE_TIMEOUT, true, 10 },
		{ TRICK_OPEN_ERROR, EPROTO, CAUSE_UNKNOWN, false, 10 },
		{ TRICK_READ_ERROR, EAGAIN, CAUSE_TEMP_FAILURE, true, 10 },
		{ TRICK_READ_ERROR, EBUSY, CAUSE_BUSY, true, 10 },
		{ TRICK_READ_ERROR, EIO, CAUSE_IO_ERROR, false, 10 },
		{ TRICK_READ_ERROR, EISDIR, CAUSE_INVALID_PATH, false, 10 },
		{ TRICK_READ_ERROR, ESTALE, CAUSE_CHANGED, true, 10 },
		{ TRICK_LATE_ERROR, EIO, CAUSE_IO_ERROR, false, 2500000 },
		{ TRICK_LATE_ERROR, EIO, CAUSE_IO_ERROR, false, 9000000 }, /* shared out */
		{ TRICK_STAT_ERROR, EACCES, CAUSE_PERMISSION, true, 10 },
		{ TRICK_STAT_ERROR, EIO, CAUSE_IO_ERROR, false, 10 },
	};

	(void)state;
	bench_open();
	put("other", 10);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put(VICTIM, rows[i].size);
		b.t.trick = rows[i].trick;
		b.t.error = rows[i].error;
		for (size_t k = 0; k < 2; k++) {
			atomic_store(&b.t.read_bytes, 0);
			assert_int_equal(run(UNREADABLE_REFUSE, twins[k]), E_SRC_UNREADABLE);
			assert_told(&rows[i]);
		}
	}
	bench_close();
}

/* A directory that cannot be listed, or not to its end, is one failed path; what it held is not taken for deleted. */
static void
test_directories(void **state)
{
	static const struct cause_row rows[] = {
		{ TRICK_OPEN_ERROR, EACCES, CAUSE_PERMISSION, true, 0 },
		{ TRICK_GETDENTS_ERROR, EIO, CAUSE_IO_ERROR, false, 0 },
		{ TRICK_GETDENTS_ERROR, ESTALE, CAUSE_CHANGED, true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bench_open();
		assert_int_equal(mkdir(b.t.path, 0755), 0);
		put(VICTIM "/inside", 10);
		put("other", 10);
		b.t.trick = rows[i].trick;
		b.t.error = rows[i].error;
		for (size_t k = 0; k < 2; k++) {
			assert_int_equal(run(UNREADABLE_REFUSE, twins[k]), E_SRC_UNREADABLE);
			assert_int_equal(b.r.unreadable, 1);
			assert_int_equal(atomic_load(&b.h.causes[0]), rows[i].cause);
			assert_int_equal(run(UNREADABLE_RECORD, twins[k]), E_PARTIAL);
			assert_int_equal(b.r.summary.total_files_processed, 1);
		}
		assert_sound(2, 2);
		bench_close();
	}
}

/* Our own shortage says nothing about the source: no snapshot without the file, not even a partial one. */
static void
test_our_own_shortage_ends_the_run(void **state)
{
	static const struct {
		int error;
		enum ecode code;
	} rows[] = { { EMFILE, E_SRC_DESCRIPTORS }, { ENFILE, E_SRC_DESCRIPTORS },
		{ ENOMEM, E_NOMEM } };

	(void)state;
	bench_open();
	put(VICTIM, 10);
	b.t.trick = TRICK_OPEN_ERROR;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t k = 0; k < 2; k++) {
			b.t.error = rows[i].error;
			assert_int_equal(run(UNREADABLE_RECORD, twins[k]), rows[i].code);
			assert_false(b.r.snapshot_made);
			assert_int_equal(b.r.unreadable, 0);
		}
	}
	b.t.trick = TRICK_NONE;
	assert_int_equal(run(UNREADABLE_REFUSE, 0), E_OK);
	assert_sound(1, 0);
	bench_close();
}

/* A lease is waited for, then told; a lease that is given back in time is no problem at all. */
static void
test_a_lease_is_waited_for(void **state)
{
	(void)state;
	bench_open();
	put(VICTIM, 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EAGAIN;
	assert_int_equal(run(UNREADABLE_REFUSE, 0), E_SRC_UNREADABLE);
	assert_true(atomic_load(&b.t.sleeps) >= 50);
	assert_int_equal(atomic_load(&b.h.codes[0]), E_SRC_BUSY);
	bench_close();
}

/* ---- races ---- */

static void
test_replaced_between_listing_and_opening(void **state)
{
	static const enum trick tricks[] = { TRICK_FIFO, TRICK_LINK, TRICK_DIR, TRICK_SOCKET };

	(void)state;
	for (size_t i = 0; i < sizeof(tricks) / sizeof(tricks[0]); i++) {
		for (size_t k = 0; k < 2; k++) {
			bench_open();
			put("other", 10);
			put(VICTIM, 10);
			b.t.trick = tricks[i];
			assert_int_equal(run(UNREADABLE_RECORD, twins[k]), E_PARTIAL);
			assert_int_equal(b.r.unreadable, 1);
			assert_int_equal(b.r.summary.total_files_processed, 1);
			assert_int_equal(atomic_load(&b.h.causes[0]), CAUSE_CHANGED);
			assert_int_equal(atomic_load(&b.h.can_retry), 1);
			assert_sound(1, 1);
			bench_close();
		}
	}
}

static void
test_directory_replaced_by_a_file(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		bench_open();
		assert_int_equal(mkdir(b.t.path, 0755), 0);
		b.t.trick = TRICK_FILE;
		assert_int_equal(run(UNREADABLE_REFUSE, twins[k]), E_SRC_UNREADABLE);
		assert_int_equal(atomic_load(&b.h.causes[0]), CAUSE_CHANGED);
		bench_close();
	}
}

/* Told and counted, but files come and go: not a failure.  Unless it was asked for by name. */
static void
test_vanished(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own;

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		static const char *const targets[] = { "src/" VICTIM, "src/other" };
		struct backup_args args = args_for(UNREADABLE_REFUSE);

		bench_open();
		put("other", 10);
		put(VICTIM, 10);
		b.t.trick = TRICK_GONE;
		assert_int_equal(run(UNREADABLE_REFUSE, twins[k]), E_OK);
		assert_int_equal(b.r.vanished, 1);
		assert_int_equal(b.r.unreadable, 0);
		assert_int_equal(atomic_load(&b.h.causes[0]), CAUSE_VANISHED);
		assert_int_equal(atomic_load(&b.h.can_retry), 0);
		assert_int_equal(newest(&a, &own), 1);
		assert_int_equal(own.state, COMPLETENESS_COMPLETE);
		assert_int_equal(own.vanished, 1);
		put(VICTIM, 10);
		b.t.trick = TRICK_GONE;
		args.targets = targets;
		args.target_count = 2;
		assert_int_equal(run_with(&args, twins[k]), E_SRC_UNREADABLE);
		assert_int_equal(b.r.vanished, 0);
		assert_int_equal(atomic_load(&b.h.causes[0]), CAUSE_NOT_FOUND);
		bench_close();
	}
}

/* Shorter or longer than it was: read again, then recorded as it was read, with a size that is the sum of its chunks. */
static void
test_truncated_and_growing(void **state)
{
	static const struct {
		enum trick trick;
		size_t size;
	} rows[] = { { TRICK_TRUNCATE, 2500000 }, { TRICK_TRUNCATE, 9000000 }, { TRICK_GROW, 10 },
		{ TRICK_GROW, 0 }, { TRICK_GROW, 9000000 } };
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t k = 0; k < 2; k++) {
			bench_open();
			put(VICTIM, rows[i].size);
			b.t.trick = rows[i].trick;
			assert_int_equal(run(UNREADABLE_REFUSE, twins[k]), E_OK);
			assert_int_equal(b.r.unreadable, 0);
			assert_int_equal(b.r.changed_while_read, rows[i].trick == TRICK_GROW);
			assert_int_equal(newest(&a, &own), 1);
			assert_int_equal(own.state, COMPLETENESS_COMPLETE);
			assert_int_equal(own.changed_while_read, rows[i].trick == TRICK_GROW);
			assert_sound(1, 0);
			bench_close();
		}
	}
}

/* ---- the record and the refusal ---- */

static void
test_record(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own, other, third;

	(void)state;
	bench_open();
	put("other", 10);
	put(VICTIM, 10);
	put("second", 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	b.t.hopeless = "second";
	assert_int_equal(run(UNREADABLE_RECORD, 0), E_PARTIAL);
	assert_true(b.r.snapshot_made);
	assert_int_equal(newest(&a, &own), 1);
	assert_int_equal(own.state, COMPLETENESS_PARTIAL);
	assert_int_equal(own.unreadable, 2);
	assert_true(own.has_digest);
	assert_int_equal(own.run_id.len, 5);
	assert_int_equal(run(UNREADABLE_RECORD, 3), E_PARTIAL);
	assert_int_equal(newest(&a, &other), 2);
	assert_int_equal(id_cmp(&own.list_digest, &other.list_digest), 0); /* no order of threads */
	b.t.error = EBUSY; /* the same paths for another cause */
	assert_int_equal(run(UNREADABLE_RECORD, 0), E_PARTIAL);
	assert_int_equal(newest(&a, &third), 3);
	assert_int_not_equal(id_cmp(&own.list_digest, &third.list_digest), 0);
	b.t.trick = TRICK_NONE;
	b.t.hopeless = NULL;
	assert_int_equal(run(UNREADABLE_RECORD, 0), E_OK);
	assert_int_equal(newest(&a, &own), 4);
	assert_int_equal(own.state, COMPLETENESS_COMPLETE);
	assert_false(own.has_digest);
	assert_sound(4, 3);
	bench_close();
}

/* One line of the digest by hand: SHA-256 of path NUL cause LF. */
static void
test_digest_of_one_path(void **state)
{
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own;
	struct session s;
	struct err e;
	struct id want;
	char line[700];
	int len;

	(void)state;
	bench_open();
	put("other", 10);
	put(VICTIM, 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	assert_int_equal(run(UNREADABLE_RECORD, 0), E_PARTIAL);
	assert_int_equal(newest(&a, &own), 1);
	len = snprintf(line, sizeof(line), "%s%cpermission\n", b.h.last_path, 0);
	open_session(&s, os_posix(), b.vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &b.h);
	blob_id(s.own, line, (size_t)len, &want);
	assert_int_equal(session_close(&s, &e), E_OK);
	assert_int_equal(id_cmp(&want, &own.list_digest), 0);
	bench_close();
}

static void
test_refusal_names_paths(void **state)
{
	char name[400];

	(void)state;
	bench_open();
	for (unsigned i = 0; i < 7; i++) {
		(void)snprintf(name, sizeof(name), "%s/d%u", b.src, i);
		assert_int_equal(mkdir(name, 0755), 0);
		(void)snprintf(name, sizeof(name), "d%u/" VICTIM, i);
		put(name, 10);
	}
	put("fine", 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	assert_int_equal(run(UNREADABLE_REFUSE, 2), E_SRC_UNREADABLE);
	assert_int_equal(b.e.notes, 6);
	for (unsigned i = 0; i < 5; i++)
		assert_non_null(strstr(b.e.note[i], "/" VICTIM ": permission denied"));
	assert_non_null(strstr(b.e.note[5], "and 2 more"));
	assert_non_null(strstr(b.e.detail, "7 paths could not be read: 7 permission denied"));
	assert_non_null(strstr(b.e.detail, "files saved well: 1"));
	assert_int_equal(run(UNREADABLE_RECORD, 2), E_PARTIAL);
	assert_int_equal(b.e.notes, 6);
	bench_close();
}

/* ---- the question ---- */

struct script { /* answers in order; the last one stays */
	const enum recover_answer *answers;
	unsigned n, asked;
	struct recover_question last;
	char first_path[600];
	bool mends; /* what failed can be read from the first answer on */
	bool stops; /* Ctrl-C instead of an answer */
};

static enum recover_answer
answer(void *arg, const struct recover_question *q)
{
	struct script *s = arg;
	unsigned at = s->asked < s->n ? s->asked : s->n - 1;

	s->asked++;
	s->last = *q;
	assert_true(q->listed_count > 0 && q->listed_count <= RECOVER_LISTED_MAX);
	(void)snprintf(s->first_path, sizeof(s->first_path), "%s", q->listed[0].path);
	if (s->mends)
		b.t.trick = TRICK_NONE;
	if (s->stops)
		atomic_store(&b.h.stop_after, 0);
	return s->answers[at];
}

static enum ecode
run_asked(struct script *script, unsigned threads)
{
	struct backup_args args = args_for(UNREADABLE_REFUSE);

	args.recover = answer;
	args.recover_arg = script;
	return run_with(&args, threads);
}

/* Only what failed is read again, and the snapshot is as if nothing had happened. */
static void
test_retry_mends(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_RETRY };
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own;

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct script script = { .answers = answers, .n = 1, .mends = true };

		bench_open();
		put("large", 9000000);
		put("small", 1000);
		put(VICTIM, 77);
		b.t.trick = TRICK_OPEN_ERROR;
		b.t.error = EACCES;
		assert_int_equal(run_asked(&script, twins[k]), E_OK);
		assert_int_equal(script.asked, 1);
		assert_int_equal(script.last.round, 1);
		assert_int_equal(script.last.done, 2);
		assert_int_equal(script.last.failed, 1);
		assert_int_equal(script.last.can_retry, 1);
		assert_true(script.last.may_retry);
		assert_non_null(strstr(script.first_path, "/src/" VICTIM));
		assert_int_equal(b.r.bytes_read, 9000000 + 1000 + 77);
		assert_int_equal(b.r.unreadable, 0);
		assert_int_equal(b.r.summary.files_new, 3);
		assert_int_equal(b.r.summary.total_files_processed, 3);
		assert_int_equal(b.r.summary.dirs_new, 1);
		assert_int_equal(newest(&a, &own), 1);
		assert_int_equal(own.state, COMPLETENESS_COMPLETE);
		assert_sound(1, 0);
		bench_close();
	}
}

/* A device that is dying is not read once more, whoever says retry (DF-33, DF-35). */
static void
test_retry_leaves_the_hopeless_alone(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_RETRY, RECOVER_SKIP };
	autoclean(arena_done) struct arena a = arena_limit((size_t)16 << 20);
	struct own_record own;

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct script script = { .answers = answers, .n = 2, .mends = true };

		bench_open();
		put("dying", 10);
		put(VICTIM, 10);
		b.t.hopeless = "dying";
		b.t.trick = TRICK_OPEN_ERROR;
		b.t.error = EACCES;
		assert_int_equal(run_asked(&script, twins[k]), E_PARTIAL);
		assert_int_equal(script.asked, 2);
		assert_int_equal(script.last.failed, 1);
		assert_int_equal(script.last.can_retry, 0);
		assert_false(script.last.may_retry);
		assert_int_equal(atomic_load(&b.t.hopeless_opens), 1);
		assert_int_equal(atomic_load(&b.t.opens), 2); /* refused, then opened */
		assert_int_equal(newest(&a, &own), 1);
		assert_int_equal(own.state, COMPLETENESS_PARTIAL);
		assert_int_equal(own.unreadable, 1);
		bench_close();
	}
}

static void
test_skip_and_abort(void **state)
{
	static const enum recover_answer skip[] = { RECOVER_SKIP }, abort_[] = { RECOVER_ABORT };

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct script script = { .answers = skip, .n = 1 };

		bench_open();
		put("other", 10);
		put(VICTIM, 10);
		b.t.trick = TRICK_OPEN_ERROR;
		b.t.error = EACCES;
		assert_int_equal(run_asked(&script, twins[k]), E_PARTIAL);
		assert_true(b.r.snapshot_made);
		script = (struct script){ .answers = abort_, .n = 1 };
		assert_int_equal(run_asked(&script, twins[k]), E_SRC_UNREADABLE);
		assert_false(b.r.snapshot_made);
		assert_sound(1, 1);
		bench_close();
	}
}

/* Somebody who says retry for ever is stopped, and gets the refusal. */
static void
test_rounds_are_counted(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_RETRY };
	struct script script = { .answers = answers, .n = 1 };

	(void)state;
	bench_open();
	put(VICTIM, 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	assert_int_equal(run_asked(&script, 2), E_SRC_UNREADABLE);
	assert_int_equal(script.asked, RECOVER_ROUNDS_MAX);
	assert_int_equal(script.last.round, RECOVER_ROUNDS_MAX);
	assert_false(script.last.may_retry);
	assert_int_equal(b.r.unreadable, 1);
	bench_close();
}

static void
test_a_stop_is_no_answer(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_SKIP };
	struct script script = { .answers = answers, .n = 1, .stops = true };

	(void)state;
	bench_open();
	put(VICTIM, 10);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	assert_int_equal(run_asked(&script, 2), E_INTERRUPTED);
	assert_false(b.r.snapshot_made);
	bench_close();
}

static void
test_nobody_is_asked_in_vain(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_RETRY };
	struct script script = { .answers = answers, .n = 1 };
	struct backup_args args = args_for(UNREADABLE_RECORD);

	(void)state;
	bench_open();
	put("other", 10);
	put(VICTIM, 10);
	assert_int_equal(run_asked(&script, 2), E_OK); /* nothing failed */
	put(VICTIM, 11);
	b.t.trick = TRICK_OPEN_ERROR;
	b.t.error = EACCES;
	args.recover = answer;
	args.recover_arg = &script;
	assert_int_equal(run_with(&args, 2), E_PARTIAL); /* the answer was given before */
	args.on_unreadable = UNREADABLE_REFUSE;
	args.dry_run = true;
	assert_int_equal(run_with(&args, 2), E_SRC_UNREADABLE);
	assert_int_equal(script.asked, 0);
	bench_close();
}

/* A target that was not there when the run began is looked for again. */
static void
test_retry_looks_for_targets_again(void **state)
{
	static const enum recover_answer answers[] = { RECOVER_RETRY };
	static const char *const targets[] = { "src/" VICTIM, "src/other" };
	struct script script = { .answers = answers, .n = 1, .mends = true };
	struct backup_args args = args_for(UNREADABLE_REFUSE);

	(void)state;
	bench_open();
	put("other", 10);
	put(VICTIM, 10);
	b.t.trick = TRICK_STAT_ERROR;
	b.t.error = EACCES;
	args.targets = targets;
	args.target_count = 2;
	args.recover = answer;
	args.recover_arg = &script;
	assert_int_equal(run_with(&args, 2), E_OK);
	assert_int_equal(script.asked, 1);
	assert_int_equal(b.r.summary.total_files_processed, 2);
	assert_sound(1, 0);
	bench_close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_our_own_shortage_ends_the_run),
		cmocka_unit_test(test_a_lease_is_waited_for),
		cmocka_unit_test(test_replaced_between_listing_and_opening),
		cmocka_unit_test(test_directory_replaced_by_a_file),
		cmocka_unit_test(test_vanished),
		cmocka_unit_test(test_truncated_and_growing),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_digest_of_one_path),
		cmocka_unit_test(test_refusal_names_paths),
		cmocka_unit_test(test_retry_mends),
		cmocka_unit_test(test_retry_leaves_the_hopeless_alone),
		cmocka_unit_test(test_skip_and_abort),
		cmocka_unit_test(test_rounds_are_counted),
		cmocka_unit_test(test_a_stop_is_no_answer),
		cmocka_unit_test(test_nobody_is_asked_in_vain),
		cmocka_unit_test(test_retry_looks_for_targets_again),
	};

	(void)alarm(PATIENCE_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
