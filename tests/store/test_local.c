/* The local store: what is on disk (format document 1.1, 1.2), and its promises under refused calls. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "store/conform.h"
#include "store/erase.h"
#include "store/local.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

struct place {
	char path[TMPDIR_PATH_MAX];
	struct fault_os f;
	struct store *st;
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct err e;

	(void)umask(022);
	assert_non_null(p);
	tmpdir_make_fast(p->path);
	fault_os_init(&p->f, os_posix());
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	store_close(&p->st);
	assert_int_equal(p->f.open_fds, 0);
	fault_os_done(&p->f);
	tmpdir_remove(p->path);
	free(p);
	return 0;
}

static void
reopen(struct place *p)
{
	struct err e;

	store_close(&p->st);
	assert_int_equal(p->f.open_fds, 0);
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
}

static enum ecode
put(struct place *p, const struct oname *name, const char *text, struct err *e)
{
	struct slice part = { (const uint8_t *)text, strlen(text) };

	return store_put(p->st, name, &part, 1, e);
}

static void
check_object(struct place *p, const struct oname *name, const char *want)
{
	char rel[ONAME_TEXT_MAX];
	size_t len;
	char *have;

	oname_text(name, rel);
	have = tmpdir_read(p->path, rel, &len);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(have, want, len);
	free(have);
}

static size_t
count(struct place *p, enum okind kind)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	struct err e;

	assert_int_equal(store_list_all(p->st, kind, &l, &e), E_OK);
	return l.n;
}

static void
test_prepare_makes_the_layout(void **state)
{
	static const char *const dirs[] = { "keys", "data", "index", "snapshots", "locks",
		"data/00", "data/7f", "data/ff" };
	struct place *p = *state;
	struct err e;

	assert_int_equal(store_prepare(p->st, &e), E_OK);
	assert_int_equal(tmpdir_count(p->path, ""), 5);
	assert_int_equal(tmpdir_count(p->path, "data"), 256);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(tmpdir_mode(p->path, dirs[i]), 0700);
	assert_int_equal(store_prepare(p->st, &e), E_OK);
}

static void
test_prepare_makes_parents_and_syncs_them(void **state)
{
	struct place *p = *state;
	struct err e;

	assert_int_equal(chdir(p->path), 0); /* nothing above is looked at */
	/* an init may have been killed before its fsync: directories that are found are synced alike */
	for (unsigned round = 1; round <= 2; round++) {
		store_close(&p->st);
		assert_int_equal(local_open(&p->f.os, "a/b/vault", &p->st, &e), E_OK);
		assert_int_equal(store_prepare(p->st, &e), E_OK);
		assert_int_equal(tmpdir_mode(p->path, "a/b/vault"), 0700);
		/* a/b, a, what was there before; then data and the vault itself */
		assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 5 * round);
	}
	assert_int_equal(chdir("/"), 0);
}

static void
test_modes_are_private(void **state)
{
	struct place *p = *state;
	struct err e;

	for (unsigned kind = 0; kind < O_KINDS; kind++) {
		struct oname name = conform_name((enum okind)kind, 0x0f, kind);
		char rel[ONAME_TEXT_MAX];

		assert_int_equal(put(p, &name, "x", &e), E_OK);
		oname_text(&name, rel);
		assert_int_equal(tmpdir_mode(p->path, rel), 0400);
		if (kind != O_CONFIG)
			assert_int_equal(tmpdir_mode(p->path, okind_dir((enum okind)kind)), 0700);
	}
	assert_int_equal(tmpdir_mode(p->path, "data/0f"), 0700);
}

static void
test_modes_follow_a_group_readable_config(void **state)
{
	struct place *p = *state;
	struct oname pack = conform_name(O_PACK, 0x0f, 1), config = { .kind = O_CONFIG };
	char rel[ONAME_TEXT_MAX];
	struct err e;

	tmpdir_write(p->path, "config", "c", 1);
	assert_int_equal(os_posix()->chmod(os_posix(), AT_FDCWD, p->path, 0770), 0);
	assert_int_equal(chdir(p->path), 0);
	assert_int_equal(chmod("config", 0440), 0);
	assert_int_equal(chdir("/"), 0);
	(void)umask(007);
	assert_int_equal(put(p, &pack, "x", &e), E_OK);
	oname_text(&pack, rel);
	assert_int_equal(tmpdir_mode(p->path, rel), 0440);
	assert_int_equal(tmpdir_mode(p->path, "data"), 0770);
	assert_int_equal(tmpdir_mode(p->path, "data/0f"), 0770);
	assert_int_equal(put(p, &config, "new", &e), E_OK);
	assert_int_equal(tmpdir_mode(p->path, "config"), 0440); /* stays shared */
	assert_int_equal(store_prepare(p->st, &e), E_OK);
	assert_int_equal(tmpdir_mode(p->path, "locks"), 0770);
	assert_int_equal(tmpdir_mode(p->path, "data/10"), 0770);
	(void)umask(022);
}

static void
test_a_new_config_is_private_until_it_exists(void **state)
{
	struct place *p = *state;
	struct oname config = { .kind = O_CONFIG }, key = conform_name(O_KEY, 1, 1);
	char rel[ONAME_TEXT_MAX];
	struct err e;

	assert_int_equal(put(p, &key, "k", &e), E_OK);
	assert_int_equal(put(p, &config, "c", &e), E_OK);
	oname_text(&key, rel);
	assert_int_equal(tmpdir_mode(p->path, rel), 0400);
	assert_int_equal(tmpdir_mode(p->path, "config"), 0400);
}

static void
test_foreign_files_are_not_listed(void **state)
{
	static const char hex[] =
		"ab00000000000000000000000000000000000000000000000000000000000000";
	struct place *p = *state;
	struct oname index = conform_name(O_INDEX, 1, 1), pack = conform_name(O_PACK, 0xab, 1);
	char rel[256];
	struct err e;

	assert_int_equal(put(p, &index, "x", &e), E_OK);
	assert_int_equal(put(p, &pack, "x", &e), E_OK);
	tmpdir_write(p->path, "index/.DS_Store", "x", 1);
	(void)snprintf(rel, sizeof(rel), "index/%s-tmp-123", hex);
	tmpdir_write(p->path, rel, "x", 1);
	(void)snprintf(rel, sizeof(rel), "index/%.63s", hex);
	tmpdir_write(p->path, rel, "x", 1);
	(void)snprintf(rel, sizeof(rel), "index/AB%s", hex + 2); /* upper case */
	tmpdir_write(p->path, rel, "x", 1);
	(void)snprintf(rel, sizeof(rel), "index/%s", hex); /* a directory with such a name */
	tmpdir_mkdir(p->path, rel);
	(void)snprintf(rel, sizeof(rel), "data/%s", hex); /* a pack one level too high */
	tmpdir_write(p->path, rel, "x", 1);
	(void)snprintf(rel, sizeof(rel), "data/cd/%s", hex); /* in a wrong directory */
	tmpdir_write(p->path, rel, "x", 1);
	(void)snprintf(rel, sizeof(rel), "data/lost+found/%s", hex);
	tmpdir_write(p->path, rel, "x", 1);
	tmpdir_write(p->path, "data/ee", "a file", 6);
	assert_int_equal(count(p, O_INDEX), 1);
	assert_int_equal(count(p, O_PACK), 1);
}

static void
test_missing_directories_list_as_empty(void **state)
{
	struct place *p = *state;

	for (unsigned kind = O_KEY; kind < O_KINDS; kind++)
		assert_int_equal(count(p, (enum okind)kind), 0);
	tmpdir_mkdir(p->path, "data");
	assert_int_equal(count(p, O_PACK), 0);
}

static void
test_an_absent_vault(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_PACK, 1, 1);
	struct eraser er;
	autoclean(buf_done) struct buf out = buf_limit(10);
	char vault[TMPDIR_PATH_MAX + 16];
	struct err e;

	(void)snprintf(vault, sizeof(vault), "%s/absent", p->path);
	store_close(&p->st);
	assert_int_equal(local_open(&p->f.os, vault, &p->st, &e), E_OK);
	assert_int_equal(count(p, O_KEY), 0);
	assert_int_equal(store_get(p->st, &name, 0, 1, &out, &e), E_STORE_ABSENT);
	/* neither made by a put nor called erased: the disk may not be mounted */
	assert_int_equal(put(p, &name, "x", &e), E_STORE_WRITE);
	er = eraser_for(p->st, 1U << O_PACK);
	assert_int_equal(eraser_erase(&er, &name, &e), E_STORE_ERASE);
	assert_int_equal(tmpdir_count(p->path, ""), 0);
}

static void
test_a_vault_removed_under_our_hands_does_not_list_as_empty(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_INDEX, 1, 1);
	autoclean(store_listing_done) struct store_listing l = { 0 };
	struct err e;

	assert_int_equal(put(p, &name, "x", &e), E_OK);
	tmpdir_remove(p->path);
	assert_int_equal(store_list_all(p->st, O_INDEX, &l, &e), E_STORE_READ);
	assert_int_equal(put(p, &name, "x", &e), E_STORE_WRITE);
	assert_int_equal(mkdir(p->path, 0700), 0); /* for the teardown */
}

static void
test_what_is_not_a_file_is_not_read(void **state)
{
	struct place *p = *state;
	struct oname pipe = conform_name(O_INDEX, 1, 1), dir = conform_name(O_INDEX, 1, 2);
	autoclean(buf_done) struct buf out = buf_limit(10);
	char rel[ONAME_TEXT_MAX], full[TMPDIR_PATH_MAX + ONAME_TEXT_MAX];
	uint64_t size;
	struct err e;

	oname_text(&dir, rel);
	tmpdir_mkdir(p->path, rel);
	oname_text(&pipe, rel);
	(void)snprintf(full, sizeof(full), "%s/%s", p->path, rel);
	assert_int_equal(mkfifo(full, 0600), 0);
	assert_int_equal(store_get(p->st, &pipe, 0, 1, &out, &e), E_STORE_READ); /* does not hang */
	assert_int_equal(store_get(p->st, &dir, 0, 1, &out, &e), E_STORE_READ);
	assert_int_equal(store_stat(p->st, &pipe, &size, &e), E_STORE_READ);
	assert_int_equal(store_stat(p->st, &dir, &size, &e), E_STORE_READ);
	assert_int_equal(count(p, O_INDEX), 0);
}

static void
test_a_directory_removed_by_a_tidy_tool_is_made_again(void **state)
{
	struct place *p = *state;
	struct oname a = conform_name(O_PACK, 5, 1), b = conform_name(O_PACK, 5, 2);
	struct eraser er = eraser_for(p->st, 1U << O_PACK);
	struct err e;

	assert_int_equal(put(p, &a, "x", &e), E_OK);
	assert_int_equal(eraser_erase(&er, &a, &e), E_OK);
	tmpdir_empty(p->path);
	assert_int_equal(put(p, &b, "y", &e), E_OK);
	check_object(p, &b, "y");
}

static void
test_a_put_syncs_file_directory_and_new_parents(void **state)
{
	struct place *p = *state;
	struct oname a = conform_name(O_PACK, 5, 1), b = conform_name(O_PACK, 5, 2);
	struct err e;

	assert_int_equal(put(p, &a, "x", &e), E_OK);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 4); /* data, the vault; file, data/05 */
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	assert_int_equal(put(p, &b, "x", &e), E_OK);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 2); /* parents are known to be durable */
	reopen(p);
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	assert_int_equal(put(p, &a, "x", &e), E_OK); /* a new process cannot know */
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 4);
}

/* What it refers to may be of a run that was killed before it synced index/. */
static void
test_the_first_snapshot_secures_the_indexes(void **state)
{
	struct place *p = *state;
	struct oname index = conform_name(O_INDEX, 1, 1), a = conform_name(O_SNAPSHOT, 1, 1),
		     b = conform_name(O_SNAPSHOT, 1, 2);
	struct err e;

	assert_int_equal(put(p, &index, "x", &e), E_OK);
	reopen(p);
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	assert_int_equal(put(p, &a, "x", &e), E_OK);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 4); /* index, the vault; file, snapshots */
	assert_int_equal(put(p, &b, "x", &e), E_OK);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 6);
}

static void
test_an_existing_object_is_replaced_not_believed(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_PACK, 5, 1);
	char rel[ONAME_TEXT_MAX];
	struct err e;

	oname_text(&name, rel);
	tmpdir_write(
		p->path, rel, "zero!", 5); /* as a power cut may leave it: size without bytes */
	assert_int_equal(put(p, &name, "right", &e), E_OK);
	check_object(p, &name, "right");
}

struct mapped {
	int error;
	enum fault_slot slot;
	enum ecode want;
};

static void
test_refusals_of_put_are_told_apart(void **state)
{
	static const struct mapped map[] = {
		{ ENOSPC, SLOT_WRITE, E_STORE_SPACE },
		{ EDQUOT, SLOT_WRITE, E_STORE_SPACE },
		{ ENOSPC, SLOT_OPEN_CREATE, E_STORE_SPACE },
		{ ENOSPC, SLOT_MKDIR, E_STORE_SPACE },
		{ EROFS, SLOT_OPEN_CREATE, E_STORE_RDONLY },
		{ EACCES, SLOT_OPEN_CREATE, E_STORE_RDONLY },
		{ EPERM, SLOT_OPEN_CREATE, E_STORE_RDONLY },
		{ EROFS, SLOT_MKDIR, E_STORE_RDONLY },
		{ EACCES, SLOT_OPEN, E_STORE_RDONLY },
		{ EIO, SLOT_OPEN_CREATE, E_STORE_WRITE },
		{ EMFILE, SLOT_OPEN, E_STORE_WRITE },
		{ EIO, SLOT_WRITE, E_STORE_WRITE },
		{ EIO, SLOT_CLOSE, E_STORE_WRITE },
		{ EIO, SLOT_RENAME, E_STORE_WRITE },
		{ EIO, SLOT_RANDOM, E_STORE_WRITE },
		{ EIO, SLOT_CHMOD, E_STORE_UNSURE },
	};
	struct place *p = *state;
	struct oname name = conform_name(O_LOCK, 5, 1);
	struct err e;

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		tmpdir_empty(p->path);
		fault_os_plan(&p->f, (struct fault_plan){ .nth = 1,
					     .forever = map[i].slot != SLOT_CLOSE,
					     .error = map[i].error,
					     .slots = SLOT_BIT(map[i].slot) });
		if (map[i].slot == SLOT_CLOSE)
			p->f.plan.nth = 2; /* after the parent that was synced */
		assert_int_equal(put(p, &name, "x", &e), map[i].want);
		assert_int_equal(e.sys, map[i].error);
		assert_true(p->f.fired > 0);
		reopen(p);
	}
}

static void
test_a_failed_directory_sync_is_unsure(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_LOCK, 5, 1);
	struct err e;

	fault_os_plan(
		&p->f, (struct fault_plan){ .nth = 3,
			       .error = EIO,
			       .slots = SLOT_BIT(SLOT_FSYNC) }); /* the vault, the file, locks/ */
	assert_int_equal(put(p, &name, "x", &e), E_STORE_UNSURE);
	check_object(p, &name, "x");
}

/* What store.h promises about put, after a refused call. */
static void
check_put(
	struct place *p, enum ecode rc, const struct oname *name, bool had_old, const struct err *e)
{
	char rel[ONAME_TEXT_MAX];

	oname_text(name, rel);
	switch ((int)rc) {
	case E_OK:
	case E_STORE_UNSURE:
		check_object(p, name, "new");
		break;
	case E_STORE_WRITE:
	case E_STORE_SPACE:
	case E_STORE_RDONLY:
		assert_int_equal(tmpdir_exists(p->path, rel), had_old);
		if (had_old)
			check_object(p, name, "before");
		break;
	default:
		fail_msg("put refused with %s: %s", err_row(rc)->name, e->detail);
	}
	if (!p->f.plan.forever && p->f.fired_slot != SLOT_UNLINK)
		assert_int_equal(tmpdir_count_like(p->path, "-tmp-"), 0);
	assert_in_range(p->f.open_fds, rc == E_OK, 1); /* the vault's directory, at most */
}

static unsigned long
put_loop(struct place *p, struct fault_plan plan, const struct oname *name, bool old)
{
	char rel[ONAME_TEXT_MAX];
	unsigned long n = 1;
	struct err e;

	oname_text(name, rel);
	for (;; n++) {
		enum ecode rc;

		tmpdir_empty(p->path);
		if (old)
			tmpdir_write(p->path, rel, "before", 6);
		reopen(p);
		plan.nth = n;
		fault_os_plan(&p->f, plan);
		rc = put(p, name, "new", &e);
		check_put(p, rc, name, old, &e);
		if (p->f.fired == 0) {
			assert_int_equal(rc, E_OK);
			break;
		}
		if (p->f.fired_slot == SLOT_FSYNC && !plan.forever)
			assert_true(rc != E_OK);
		/* the repeat, in the same store and without any tidying */
		fault_os_plan(&p->f, (struct fault_plan){ 0 });
		assert_int_equal(put(p, name, "new", &e), E_OK);
		check_object(p, name, "new");
	}
	return n - 1;
}

static const int errors[] = { EIO, ENOSPC, EDQUOT, EINTR, EROFS, EACCES, ESTALE, ENOMEM, EMFILE };
#define ERRORS (sizeof(errors) / sizeof(errors[0]))

static void
test_put_keeps_its_promise(void **state)
{
	struct place *p = *state;
	struct oname names[] = { conform_name(O_PACK, 5, 1), { .kind = O_CONFIG } };
	unsigned long refused = 0;

	for (size_t i = 0; i < ERRORS; i++) {
		for (size_t k = 0; k < 4; k++) {
			struct fault_plan plan = { .error = errors[i], .forever = k >= 2 };

			refused += put_loop(p, plan, &names[0], k % 2 == 1);
			refused += put_loop(p, plan, &names[1], k % 2 == 1);
		}
	}
	assert_true(refused > 300);
}

/* Read and look, with one call refused.  False when there were fewer calls than that. */
static bool
get_refused(struct place *p, const struct oname *name, struct fault_plan plan)
{
	autoclean(buf_done) struct buf out = buf_limit(100);
	uint64_t size = 77;
	enum ecode rc, stat_rc;
	struct err e;

	reopen(p);
	fault_os_plan(&p->f, plan);
	rc = store_get(p->st, name, 2, 5, &out, &e);
	stat_rc = store_stat(p->st, name, &size, &e);
	assert_true(rc == E_OK || rc == E_STORE_READ);
	assert_int_equal(out.len, rc == E_OK ? 5 : 0);
	if (rc == E_OK)
		assert_memory_equal(out.p, "23456", 5);
	assert_true(stat_rc == E_OK || stat_rc == E_STORE_READ);
	assert_int_equal(size, stat_rc == E_OK ? 10 : 77);
	if (p->f.fired > 0 && plan.error != EINTR && p->f.fired_slot != SLOT_CLOSE)
		assert_true(rc != E_OK || stat_rc != E_OK);
	return p->f.fired > 0;
}

static void
test_get_keeps_its_promise(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_PACK, 5, 1);
	unsigned long refused = 0;
	struct err e;

	assert_int_equal(put(p, &name, "0123456789", &e), E_OK);
	for (size_t i = 0; i < ERRORS; i++) {
		struct fault_plan plan = { .nth = 1, .error = errors[i] };

		for (; get_refused(p, &name, plan); plan.nth++)
			refused++;
	}
	assert_true(refused > 20);
}

static void
test_get_survives_short_reads_and_detects_truncation(void **state)
{
	struct place *p = *state;
	struct oname name = conform_name(O_PACK, 5, 1);
	autoclean(buf_done) struct buf out = buf_limit(100);
	char rel[ONAME_TEXT_MAX];
	struct err e;

	assert_int_equal(put(p, &name, "0123456789", &e), E_OK);
	fault_os_plan(
		&p->f, (struct fault_plan){ .nth = 1, .forever = true, .mode = FAULT_SHORT_ONE });
	assert_int_equal(store_get_all(p->st, &name, &out, &e), E_OK);
	assert_memory_equal(out.p, "0123456789", 10);
	assert_int_equal(p->f.fired, 10);
	oname_text(&name, rel);
	for (size_t len = 0; len < 10; len++) {
		tmpdir_write(p->path, rel, "0123456789", len);
		buf_clear(&out);
		assert_int_equal(store_get(p->st, &name, 0, 10, &out, &e), E_STORE_SHORT);
		assert_int_equal(out.len, 0);
	}
}

/* R8: a listing is complete or refused. */
static void
test_list_is_whole_or_refused(void **state)
{
	struct place *p = *state;
	unsigned long refused = 0;
	struct err e;

	for (unsigned i = 0; i < 6; i++) {
		struct oname name = conform_name(O_PACK, (uint8_t)(i / 2), i);

		assert_int_equal(put(p, &name, "x", &e), E_OK);
	}
	for (size_t i = 0; i < ERRORS; i++) {
		for (unsigned long n = 1;; n++) {
			autoclean(store_listing_done) struct store_listing l = { 0 };
			enum ecode rc;

			reopen(p);
			fault_os_plan(&p->f, (struct fault_plan){ .nth = n, .error = errors[i] });
			rc = store_list_all(p->st, O_PACK, &l, &e);
			if (p->f.fired == 0)
				break;
			refused++;
			assert_int_equal(l.n, rc == E_OK ? 6 : 0);
			if (rc != E_OK)
				assert_int_equal(rc, E_STORE_READ);
			if (errors[i] != EINTR && p->f.fired_slot != SLOT_CLOSE)
				assert_int_equal(rc, E_STORE_READ);
		}
	}
	assert_true(refused > 50);
}

static void
test_an_object_erased_while_listing_is_passed_over(void **state)
{
	struct place *p = *state;
	struct oname a = conform_name(O_KEY, 1, 1), b = conform_name(O_KEY, 2, 2);
	struct err e;

	assert_int_equal(put(p, &a, "x", &e), E_OK);
	assert_int_equal(put(p, &b, "x", &e), E_OK);
	fault_os_plan(&p->f,
		(struct fault_plan){ .nth = 1, .error = ENOENT, .slots = SLOT_BIT(SLOT_STAT) });
	assert_int_equal(count(p, O_KEY), 1);
	assert_int_equal(p->f.fired, 1);
}

static void
test_erase_keeps_its_promise(void **state)
{
	static const struct mapped map[] = {
		{ EIO, SLOT_UNLINK, E_STORE_ERASE },
		{ EROFS, SLOT_UNLINK, E_STORE_RDONLY },
		{ EACCES, SLOT_UNLINK, E_STORE_RDONLY },
		{ EPERM, SLOT_UNLINK, E_STORE_RDONLY },
		{ EIO, SLOT_OPEN, E_STORE_ERASE },
	};
	struct place *p = *state;
	struct oname name = conform_name(O_SNAPSHOT, 1, 1);
	struct eraser er;
	struct err e;

	assert_int_equal(put(p, &name, "x", &e), E_OK);
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		reopen(p);
		er = eraser_for(p->st, 1U << O_SNAPSHOT);
		fault_os_plan(&p->f,
			(struct fault_plan){
				.nth = 1, .error = map[i].error, .slots = SLOT_BIT(map[i].slot) });
		assert_int_equal(eraser_erase(&er, &name, &e), map[i].want);
		check_object(p, &name, "x");
	}
	er = eraser_for(p->st, 1U << O_SNAPSHOT);
	assert_int_equal(eraser_erase(&er, &name, &e), E_OK);
	assert_int_equal(eraser_erase(&er, &name, &e), E_OK);
	assert_int_equal(count(p, O_SNAPSHOT), 0);
}

/* Refuse one call of making a vault.  False when there were fewer calls than that. */
static bool
prepare_refused(struct place *p, const char *vault, struct fault_plan plan)
{
	enum ecode rc;
	struct err e;

	tmpdir_empty(p->path);
	store_close(&p->st);
	assert_int_equal(local_open(&p->f.os, vault, &p->st, &e), E_OK);
	fault_os_plan(&p->f, plan);
	rc = store_prepare(p->st, &e);
	if (p->f.fired == 0)
		return false;
	/* a refused mkdir of what is there already (the parents) does no harm */
	if (p->f.fired_slot != SLOT_CLOSE && p->f.fired_slot != SLOT_MKDIR)
		assert_int_equal(rc, E_STORE_WRITE);
	assert_true(rc == E_STORE_WRITE || rc == E_OK);
	if (rc == E_OK)
		assert_int_equal(tmpdir_count(vault, "data"), 256);
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	assert_int_equal(store_prepare(p->st, &e), E_OK);
	assert_int_equal(tmpdir_count(vault, "data"), 256);
	return true;
}

static void
test_prepare_keeps_its_promise(void **state)
{
	static const unsigned long mkdirs[] = { 1, 3, 4, 8, 263 }; /* 256 alike are not all tried */
	struct place *p = *state;
	struct fault_plan plan = { .error = EIO, .slots = SLOTS_ALL & ~SLOT_BIT(SLOT_MKDIR) };
	char vault[TMPDIR_PATH_MAX + 16];

	(void)snprintf(vault, sizeof(vault), "%s/a/vault", p->path);
	for (plan.nth = 1; prepare_refused(p, vault, plan); plan.nth++)
		continue;
	assert_true(plan.nth > 10);
	plan.slots = SLOT_BIT(SLOT_MKDIR);
	for (size_t i = 0; i < sizeof(mkdirs) / sizeof(mkdirs[0]); i++) {
		plan.nth = mkdirs[i];
		assert_true(prepare_refused(p, vault, plan));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_prepare_makes_the_layout),
		T(test_prepare_makes_parents_and_syncs_them),
		T(test_modes_are_private),
		T(test_modes_follow_a_group_readable_config),
		T(test_a_new_config_is_private_until_it_exists),
		T(test_foreign_files_are_not_listed),
		T(test_missing_directories_list_as_empty),
		T(test_an_absent_vault),
		T(test_a_vault_removed_under_our_hands_does_not_list_as_empty),
		T(test_what_is_not_a_file_is_not_read),
		T(test_a_directory_removed_by_a_tidy_tool_is_made_again),
		T(test_a_put_syncs_file_directory_and_new_parents),
		T(test_the_first_snapshot_secures_the_indexes),
		T(test_an_existing_object_is_replaced_not_believed),
		T(test_refusals_of_put_are_told_apart),
		T(test_a_failed_directory_sync_is_unsure),
		T(test_put_keeps_its_promise),
		T(test_get_keeps_its_promise),
		T(test_get_survives_short_reads_and_detects_truncation),
		T(test_list_is_whole_or_refused),
		T(test_an_object_erased_while_listing_is_passed_over),
		T(test_erase_keeps_its_promise),
		T(test_prepare_keeps_its_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
