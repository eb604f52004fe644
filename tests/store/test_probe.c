/* The probe of a vault's place (DV-23, DV-36, DV-53) on real directories, and under refused kernel calls. */
#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/local.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define NOBODY 65534

struct place {
	char path[TMPDIR_PATH_MAX];
	struct fault_os f;
	struct store *st;
};

static int
setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct slice part = { (const uint8_t *)"c", 1 };
	struct oname config = { .kind = O_CONFIG }, key = { .kind = O_KEY, .id = { { 1 } } };
	struct err e;

	(void)umask(022);
	assert_non_null(p);
	tmpdir_make_fast(p->path);
	fault_os_init(&p->f, os_posix());
	p->f.real_random = true;
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
	assert_int_equal(store_prepare(p->st, &e), E_OK);
	assert_int_equal(store_put(p->st, &key, &part, 1, &e), E_OK);
	assert_int_equal(store_put(p->st, &config, &part, 1, &e), E_OK);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	store_close(&p->st);
	assert_int_equal(p->f.open_fds, 0);
	fault_os_done(&p->f);
	tmpdir_remove(p->path);
	free(p);
	return 0;
}

static enum ecode
probe(struct place *p, struct err *e)
{
	struct store_health h;

	return store_probe(p->st, &h, e);
}

static void
inside(struct place *p, const char *name, char out[static 2 * TMPDIR_PATH_MAX])
{
	(void)snprintf(out, 2 * TMPDIR_PATH_MAX, "%s/%s", p->path, name);
}

static void
set_mode(struct place *p, const char *name, mode_t mode)
{
	char path[2 * TMPDIR_PATH_MAX];

	inside(p, name, path);
	assert_int_equal(chmod(path, mode), 0);
}

static void
a_sound_place_is_left_as_it_was(void **state)
{
	struct place *p = *state;
	struct store_health h;
	struct err e;

	assert_int_equal(store_probe(p->st, &h, &e), E_OK);
	assert_true(h.probed && h.keeps_modes && h.noreplace && !h.shared);
	assert_int_equal(tmpdir_count_like(p->path, "probe"), 0);
	fault_os_plan(&p->f, (struct fault_plan){ 0 });
	assert_int_equal(probe(p, &e), E_OK);
	assert_int_equal(p->f.slot_calls[SLOT_FSYNC], 2); /* that is all it costs */
}

static void
drift_is_named_with_what_it_should_be(void **state)
{
	static const char *const names[] = { "data", "index", "snapshots", "keys", "locks",
		"config", ".",
		"keys/0100000000000000000000000000000000000000000000000000000000000000" };
	struct place *p = *state;
	struct err e;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool is_file =
			strcmp(names[i], "config") == 0 || strncmp(names[i], "keys/", 5) == 0;
		mode_t good = is_file ? 0400 : 0700;

		set_mode(p, names[i], 0777);
		assert_int_equal(probe(p, &e), E_STORE_DRIFT);
		assert_memory_equal(e.detail, names[i], strlen(names[i]));
		assert_non_null(strstr(e.note[0], "chmod"));
		set_mode(p, names[i], 0770); /* its group: in a vault that was not shared */
		assert_int_equal(probe(p, &e), strcmp(names[i], ".") == 0 ? E_OK : E_STORE_DRIFT);
		set_mode(p, names[i], good);
		assert_int_equal(probe(p, &e), E_OK);
	}
	assert_int_equal(tmpdir_count_like(p->path, "probe"), 0);
}

static void
a_shared_vault_may_be_group_writable(void **state)
{
	struct place *p = *state;
	struct err e;

	set_mode(p, "config", 0440);
	set_mode(p, "data", 0770);
	store_close(&p->st);
	assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
	assert_int_equal(probe(p, &e), E_OK);
	set_mode(p, "data", 0777);
	assert_int_equal(probe(p, &e), E_STORE_DRIFT);
}

static void
a_missing_directory_is_drift(void **state)
{
	struct place *p = *state;
	char path[2 * TMPDIR_PATH_MAX];
	struct err e;

	inside(p, "index", path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(probe(p, &e), E_STORE_DRIFT);
	tmpdir_write(p->path, "index", "x", 1);
	assert_int_equal(probe(p, &e), E_STORE_DRIFT);
}

static void
another_file_system_inside_is_refused(void **state)
{
	struct place *p = *state;
	char path[2 * TMPDIR_PATH_MAX], other[] = "/tmp/holdfast-probe-XXXXXX";
	struct stat here, there;
	struct err e;

	assert_non_null(mkdtemp(other));
	assert_int_equal(stat(other, &there), 0);
	assert_int_equal(stat(p->path, &here), 0);
	if (here.st_dev != there.st_dev) {
		inside(p, "locks", path);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(symlink(other, path), 0);
		assert_int_equal(probe(p, &e), E_STORE_ATOMIC);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkdir(path, 0700), 0);
	} else {
		print_message("# no second file system for a link\n");
	}
	assert_int_equal(rmdir(other), 0);
	inside(p, "data", path);
	if (mount(path, path, NULL, MS_BIND, NULL) != 0) {
		print_message("# SKIP a mount point over data/: mounting is not possible here\n");
		return;
	}
	assert_int_equal(probe(p, &e), E_STORE_ATOMIC); /* the same device, and yet another mount */
	assert_int_equal(umount(path), 0);
	assert_int_equal(probe(p, &e), E_OK);
}

static void
nobody_is_told_which_directory(void **state)
{
	struct place *p = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		skip();
		return;
	}
	for (unsigned i = 0; i < 2; i++) {
		char path[2 * TMPDIR_PATH_MAX];

		inside(p, "index", path);
		assert_int_equal(chown(p->path, NOBODY, NOBODY), 0);
		assert_int_equal(chown(path, i == 0 ? NOBODY : 0, 0), 0);
		set_mode(p, "index", i == 0 ? 0500 : 0755);
		for (unsigned k = 0; k < 5; k++) {
			static const char *const rest[] = { "data", "snapshots", "keys", "locks",
				"config" };

			inside(p, rest[k], path);
			assert_int_equal(chown(path, NOBODY, NOBODY), 0);
		}
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct err e = { .code = E_OK };

			if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
				_exit(2);
			_exit(probe(p, &e) == E_STORE_DRIFT &&
						(strstr(e.detail, "index") != NULL ||
							strstr(e.detail, "keys/") != NULL)
					? 0
					: 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void
an_old_leftover_goes_a_fresh_one_stays(void **state)
{
	struct place *p = *state;
	struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	char path[2 * TMPDIR_PATH_MAX];
	struct store_health h;
	struct err e;

	tmpdir_write(p->path, ".holdfast-probe-0000abcd", "x", 1);
	tmpdir_write(p->path, "data/.holdfast-probe-0000abcd-a", "x", 1);
	tmpdir_write(p->path, ".holdfast-probe-00001234-a", "x", 1);
	tmpdir_write(p->path, ".holdfast-probe-mine", "x", 1);
	assert_int_equal(store_probe(p->st, &h, &e), E_OK);
	assert_int_equal(h.leftovers, 0);
	assert_int_equal(tmpdir_count_like(p->path, "probe"), 4); /* another probe may be at work */
	inside(p, ".holdfast-probe-0000abcd", path);
	assert_int_equal(utimensat(-100, path, old, 0), 0);
	inside(p, ".holdfast-probe-mine", path);
	assert_int_equal(utimensat(-100, path, old, 0), 0);
	assert_int_equal(store_probe(p->st, &h, &e), E_OK);
	assert_int_equal(h.leftovers, 1);
	assert_false(tmpdir_exists(p->path, ".holdfast-probe-0000abcd"));
	assert_false(tmpdir_exists(p->path, "data/.holdfast-probe-0000abcd-a"));
	assert_true(tmpdir_exists(p->path, ".holdfast-probe-00001234-a"));
	assert_true(tmpdir_exists(p->path, ".holdfast-probe-mine")); /* not ours */
}

/* After the retry was proven: what a refused unlink left would make the next run longer. */
static void
drop_leftovers(struct place *p)
{
	static const char *const dirs[] = { ".", "data", "index", "snapshots", "keys", "locks" };
	char pattern[2 * TMPDIR_PATH_MAX];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		glob_t found = { 0 };

		(void)snprintf(
			pattern, sizeof(pattern), "%s/%s/.holdfast-probe-*", p->path, dirs[i]);
		if (glob(pattern, 0, NULL, &found) == 0)
			for (size_t k = 0; k < found.gl_pathc; k++)
				assert_int_equal(unlink(found.gl_pathv[k]), 0);
		globfree(&found);
	}
}

/* Refuse one call after the other: a typed refusal or a sound answer, and never a leftover that another cannot remove. */
static void
loop(struct place *p, int error, enum fault_mode mode)
{
	struct err e;
	unsigned long n;

	for (n = 1;; n++) {
		enum ecode rc;

		store_close(&p->st);
		assert_int_equal(p->f.open_fds, 0);
		assert_int_equal(local_open(&p->f.os, p->path, &p->st, &e), E_OK);
		fault_os_plan(&p->f, (struct fault_plan){ .nth = n, .error = error, .mode = mode });
		e.code = E_OK;
		rc = probe(p, &e);
		if (p->f.fired == 0)
			break;
		if (rc != E_OK && rc != E_STORE_PROBE && rc != E_STORE_ATOMIC &&
			rc != E_STORE_DRIFT && rc != E_STORE_SPACE && rc != E_STORE_WRITE &&
			rc != E_STORE_RDONLY)
			fail_msg("call %lu: %s: %s", n, err_row(rc)->name, e.detail);
		if (rc == E_OK &&
			(p->f.fired_slot == SLOT_FSYNC || p->f.fired_slot == SLOT_WRITE) &&
			mode == FAULT_REFUSE && error != EINTR)
			fail_msg("call %lu was swallowed", n);
		fault_os_plan(&p->f, (struct fault_plan){ 0 });
		assert_int_equal(probe(p, &e), E_OK);
		drop_leftovers(p);
	}
	assert_true(n > 1);
}

static void
no_refused_call_is_swallowed(void **state)
{
	struct place *p = *state;

	loop(p, EIO, FAULT_REFUSE);
	loop(p, ENOSPC, FAULT_REFUSE);
	loop(p, EACCES, FAULT_REFUSE);
	loop(p, EINTR, FAULT_REFUSE);
	loop(p, EIO, FAULT_SHORT_ONE);
}

static int
lying_rename(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)flags; /* NOREPLACE is not obeyed */
	return os_posix()->rename(os, from_dir, from, to_dir, to, 0);
}

static ssize_t
lying_pread(const struct os *os, int fd, void *p, size_t len, uint64_t off)
{
	ssize_t got = os_posix()->pread(os, fd, p, len, off);

	if (got > 100)
		((uint8_t *)p)[100] ^= 1;
	return got;
}

static void
a_place_that_lies_is_refused(void **state)
{
	struct place *p = *state;
	struct os os = *os_posix();
	struct store *st = NULL;
	struct store_health h;
	struct err e;

	os.rename = lying_rename;
	assert_int_equal(local_open(&os, p->path, &st, &e), E_OK);
	assert_int_equal(store_probe(st, &h, &e), E_STORE_ATOMIC);
	store_close(&st);
	os = *os_posix();
	os.pread = lying_pread;
	assert_int_equal(local_open(&os, p->path, &st, &e), E_OK);
	assert_int_equal(store_probe(st, &h, &e), E_STORE_PROBE);
	store_close(&st);
	assert_int_equal(tmpdir_count_like(p->path, "probe"), 0);
}

static enum ecode
count_note(void *arg, const char *name, struct err *e)
{
	(void)name;
	(void)e;
	++*(unsigned *)arg;
	return E_OK;
}

static void
a_note_survives_its_temporaries(void **state)
{
	struct place *p = *state;
	struct slice text = { (const uint8_t *)"sealed", 6 };
	unsigned n = 0;
	struct err e;

	assert_int_equal(store_note_put(p->st, ".incomplete-a", text, &e), E_OK);
	assert_int_equal(tmpdir_mode(p->path, ".incomplete-a"), 0400);
	tmpdir_write(p->path, ".incomplete-a-tmp-17", "x", 1); /* of a killed process */
	tmpdir_write(p->path, ".incomplete-b-tmp-17", "x", 1);
	assert_int_equal(store_note_list(p->st, count_note, &n, &e), E_OK);
	assert_int_equal(n, 1);
	assert_int_equal(store_note_erase(p->st, ".incomplete-a", &e), E_OK);
	assert_false(tmpdir_exists(p->path, ".incomplete-a-tmp-17"));
	assert_true(tmpdir_exists(p->path, ".incomplete-b-tmp-17")); /* somebody else's */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_sound_place_is_left_as_it_was),
		T(drift_is_named_with_what_it_should_be),
		T(a_shared_vault_may_be_group_writable),
		T(a_missing_directory_is_drift),
		T(another_file_system_inside_is_refused),
		T(nobody_is_told_which_directory),
		T(an_old_leftover_goes_a_fresh_one_stays),
		T(no_refused_call_is_swallowed),
		T(a_place_that_lies_is_refused),
		T(a_note_survives_its_temporaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
