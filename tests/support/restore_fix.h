/* What the programs that test restore share: a temporary place with a vault, and one call that restores. */
#ifndef HF_TESTS_RESTORE_FIX_H
#define HF_TESTS_RESTORE_FIX_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/restore.h"
#include "support/compare_tree.h"
#include "support/make_vault.h"

struct fix {
	char dir[256];   /* everything of this test */
	char vault[300]; /* dir/vault, not made yet */
	char dest[300];  /* dir/out/dest; dir/out exists */
	char out[300];
	const struct os *os;
	const char *password;
	unsigned threads;
	struct heard h;
	struct restore_args args; /* snapshot, dest, run_id, verify are set */
	struct restore_result result;
	struct err e;
};

static inline void
fix_path(const struct fix *f, const char *rel, char *out, size_t size)
{
	assert_true(snprintf(out, size, "%s/%s", f->dir, rel) < (int)size);
}

static inline void
fix_begin(struct fix *f)
{
	char cmd[400];

	memset(f, 0, sizeof(*f));
	temp_dir(f->dir, sizeof(f->dir));
	fix_path(f, "vault", f->vault, sizeof(f->vault));
	fix_path(f, "out", f->out, sizeof(f->out));
	fix_path(f, "out/dest", f->dest, sizeof(f->dest));
	assert_true(snprintf(cmd, sizeof(cmd), "%s", f->out) > 0);
	assert_int_equal(mkdir(cmd, 0755), 0);
	f->os = os_posix();
	f->password = TEST_PASSWORD;
	heard_init(&f->h);
	f->args = (struct restore_args){
		.snapshot = "latest",
		.dest = f->dest,
		.run_id = "20261121T000000Z-00000001",
		.verify = VERIFY_HASH,
	};
}

static inline void
fix_end(struct fix *f)
{
	restore_result_done(&f->result);
	remove_tree(f->dir);
}

/* Make the vault and start filling it. */
static inline void
fix_make(struct fix *f, struct session *s, struct maker *m)
{
	make_vault(os_posix(), f->vault, 2);
	open_session(s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	maker_begin(m, s);
}

static inline void
fix_made(struct session *s, struct maker *m, const struct node *nodes, size_t n)
{
	struct id tree = maker_tree(m, nodes, n);

	(void)maker_end(m, &tree);
	session_abandon(s);
}

/* Opens with the real kernel, restores with f->os. */
static inline enum ecode
fix_restore(struct fix *f)
{
	struct session s;
	enum ecode rc;

	restore_result_done(&f->result);
	memset(&f->e, 0, sizeof(f->e));
	open_session(&s, os_posix(), f->vault, f->password, f->threads, SESSION_NO_LOCK, &f->h);
	s.os = f->os;
	rc = restore_run(&s, &f->args, &f->result, &f->e);
	session_abandon(&s);
	return rc;
}

/* A refusal must have this code; its detail is printed when it has not. */
static inline void
expect_rc(struct fix *f, enum ecode rc, enum ecode wanted)
{
	if (rc != wanted)
		print_message("# %s: %s (errno %d, %s:%d) note: %s path: %s\n", err_row(rc)->name,
			f->e.detail, f->e.sys, f->e.file, f->e.line, f->e.note[0], f->h.last_path);
	assert_string_equal(err_row(rc)->name, err_row(wanted)->name);
}

#define FIX_TIME \
	1600000000 /* seconds: of every node of make_vault.c, and one nanosecond for what is the test's */

static inline void
fix_time(const char *path)
{
	const struct timespec times[2] = { { FIX_TIME, 1 }, { FIX_TIME, 1 } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static inline void
fix_put(const char *dir, const char *name, const char *text)
{
	char path[600];

	assert_true(snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path));
	write_file(path, text, strlen(text));
	fix_time(path);
}

static inline bool
exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

#endif
