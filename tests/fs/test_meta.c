#include "fs/meta.h"

#include "fixture.h"

#include <sys/xattr.h>

#define TEST_ARENA ((size_t)64 << 20)

/* version 2; user::rw- user:1000:r-- group::r-- mask::r-- other::--- (format document 6.7) */
static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3,
	0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0,
	0, 0xff, 0xff, 0xff, 0xff };

/* What the callbacks heard. */
struct heard {
	unsigned n;
	int sys;
	enum meta_part part[16];
	char name[16][64];
};

static void
hear_skipped(void *arg, const char *name, int sys)
{
	struct heard *h = arg;

	assert_true(h->n < 16);
	(void)snprintf(h->name[h->n++], 64, "%s", name);
	h->sys = sys;
}

static void
hear_failed(void *arg, enum meta_part part, const char *xattr, int sys)
{
	struct heard *h = arg;

	hear_skipped(h, xattr != NULL ? xattr : "", sys);
	h->part[h->n - 1] = part;
}

static void
set(const struct fixture *f, const char *name, const char *key, const void *value, size_t len)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_int_equal(lsetxattr(path, key, value, len, 0), 0);
}

static const struct meta_xattr *
find(const struct meta_xattrs *x, const char *name)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].name.len == strlen(name) &&
			memcmp(x->v[i].name.p, name, strlen(name)) == 0)
			return &x->v[i];
	fail_msg("no %s", name);
	return NULL;
}

static void
check_value(const struct meta_xattrs *x, const char *name, const void *value, size_t len)
{
	const struct meta_xattr *got = find(x, name);

	assert_int_equal(got->value.len, len);
	assert_memory_equal(got->value.p, value, len);
}

static struct meta_xattrs
read_all(const struct fixture *f, const char *name)
{
	static struct arena a = { .limit = TEST_ARENA };
	struct meta_xattrs x = { .n = 99 };
	struct heard h = { .n = 0 };
	struct err e = { .code = E_OK };

	if (name == NULL)
		arena_done(&a);
	else
		expect_code(meta_xattrs_read(os_posix(), f->fd, name, &a, &x, hear_skipped, &h, &e),
			E_OK, &e);
	assert_int_equal(h.n, 0);
	return x;
}

static void
a_plain_file_has_none(void **state)
{
	struct fixture *f = *state;

	fixture_file(f, "x", "");
	assert_int_equal(read_all(f, "x").n, 0);
	(void)read_all(f, NULL);
}

static void
values_are_read_byte_for_byte(void **state)
{
	struct fixture *f = *state;
	static char big[3000];
	struct meta_xattrs x;

	memset(big, 'b', sizeof(big));
	fixture_file(f, "x", "");
	set(f, "x", "user.text", "hello", 5);
	set(f, "x", "user.empty", "", 0);
	set(f, "x", "user.nul", "a\0b\xff", 4);
	set(f, "x", "user.\xff\xfe", "odd", 3);
	set(f, "x", "user.big", big, sizeof(big)); /* more than the first read takes */
	x = read_all(f, "x");
	assert_int_equal(x.n, 5);
	check_value(&x, "user.text", "hello", 5);
	check_value(&x, "user.empty", "", 0);
	check_value(&x, "user.nul", "a\0b\xff", 4);
	check_value(&x, "user.\xff\xfe", "odd", 3);
	check_value(&x, "user.big", big, sizeof(big));
	(void)read_all(f, NULL);
}

static void
the_order_is_the_kernels(void **state)
{
	struct fixture *f = *state;
	char path[400], list[4096];
	struct meta_xattrs x;
	ssize_t len;
	size_t at = 0;

	fixture_file(f, "x", "");
	for (char c = 'z'; c >= 'p'; c--) {
		char key[] = "user.?";

		key[5] = c;
		set(f, "x", key, &c, 1);
	}
	(void)snprintf(path, sizeof(path), "%s/x", f->dir);
	len = llistxattr(path, list, sizeof(list));
	x = read_all(f, "x");
	assert_int_equal(x.n, 11);
	for (size_t i = 0; i < x.n; i++) {
		assert_memory_equal(x.v[i].name.p, list + at, x.v[i].name.len);
		at += x.v[i].name.len + 1;
	}
	assert_int_equal(at, len);
	(void)read_all(f, NULL);
}

static void
a_long_list_is_read_whole(void **state)
{
	struct fixture *f = *state;
	struct meta_xattrs x;
	char key[256];

	fixture_file(f, "x", "");
	for (unsigned i = 0; i < 12; i++) { /* names of 200 bytes: more than the first read takes */
		(void)snprintf(key, sizeof(key), "user.%0195u", i);
		set(f, "x", key, "v", 1);
	}
	x = read_all(f, "x");
	assert_int_equal(x.n, 12);
	check_value(&x, key, "v", 1);
	(void)read_all(f, NULL);
}

static void
acl_bytes_are_nothing_special(void **state)
{
	struct fixture *f = *state;
	struct meta_xattrs x;

	fixture_file(f, "x", "");
	set(f, "x", "system.posix_acl_access", acl, sizeof(acl));
	x = read_all(f, "x");
	assert_int_equal(x.n, 1);
	check_value(&x, "system.posix_acl_access", acl, sizeof(acl));
	(void)read_all(f, NULL);
}

static void
a_links_own_attributes_are_read(void **state)
{
	struct fixture *f = *state;
	struct meta_xattrs x;

	if (geteuid() != 0)
		skip(); /* trusted.* is for root; user.* is not allowed on links */
	fixture_file(f, "x", "");
	set(f, "x", "user.of-target", "t", 1);
	assert_int_equal(symlinkat("x", f->fd, "l"), 0);
	set(f, "l", "trusted.of-link", "l", 1);
	x = read_all(f, "l");
	assert_int_equal(x.n, 1);
	check_value(&x, "trusted.of-link", "l", 1);
	(void)read_all(f, NULL);
}

static void
an_open_file_is_asked_itself(void **state)
{
	struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct meta_xattrs x;
	int fd;

	fixture_file(f, "x", "");
	set(f, "x", "user.a", "1", 1);
	fd = openat(f->fd, "x", O_RDONLY);
	assert_int_equal(meta_xattrs_read(os_posix(), fd, NULL, &a, &x, NULL, NULL, NULL), E_OK);
	assert_int_equal(x.n, 1);
	assert_int_equal(close(fd), 0);
}

/* ---- a kernel with whims ---- */

struct whims {
	struct os os;
	int list_error;
	const char *bad; /* attribute that cannot be read or set */
	int bad_error;
	unsigned name_calls;
	int name_error;
	char trace[512]; /* calls of meta_put, in order */
	bool drop_setgid;
};

static ssize_t
whims_list(const struct os *os, int dir, const char *path, char *p, size_t len)
{
	const struct whims *w = (const struct whims *)os;

	return w->list_error != 0 ? -w->list_error
				  : os_posix()->listxattr(os_posix(), dir, path, p, len);
}

static ssize_t
whims_get(const struct os *os, int dir, const char *path, const char *name, void *p, size_t len)
{
	const struct whims *w = (const struct whims *)os;

	if (w->bad != NULL && strcmp(name, w->bad) == 0)
		return -w->bad_error;
	return os_posix()->getxattr(os_posix(), dir, path, name, p, len);
}

static void
trace(const struct os *os, const char *word)
{
	struct whims *w = (struct whims *)(uintptr_t)os;

	assert_true(strlen(w->trace) + strlen(word) + 2 < sizeof(w->trace));
	(void)strcat(strcat(w->trace, word), " ");
}

static int
whims_set(
	const struct os *os, int dir, const char *path, const char *name, const void *p, size_t len)
{
	const struct whims *w = (const struct whims *)os;

	(void)dir;
	(void)path;
	(void)p;
	(void)len;
	trace(os, name);
	return w->bad != NULL && strcmp(name, w->bad) == 0 ? -w->bad_error : 0;
}

static int
whims_chown(
	const struct os *os, int dir, const char *path, uint32_t uid, uint32_t gid, int at_flags)
{
	trace(os, "chown");
	return os_posix()->chown(os_posix(), dir, path, uid, gid, at_flags);
}

static int
whims_chmod(const struct os *os, int dir, const char *path, mode_t mode)
{
	const struct whims *w = (const struct whims *)os;

	trace(os, "chmod");
	return os_posix()->chmod(
		os_posix(), dir, path, w->drop_setgid ? mode & ~(mode_t)S_ISGID : mode);
}

static int
whims_utimens(const struct os *os, int dir, const char *path, struct instant atime,
	struct instant mtime, int at_flags)
{
	trace(os, "utimens");
	return os_posix()->utimens(os_posix(), dir, path, atime, mtime, at_flags);
}

static int
whims_name(const struct os *os, uint32_t id, char *p, size_t len)
{
	struct whims *w = (struct whims *)(uintptr_t)os;

	w->name_calls++;
	if (w->name_error != 0)
		return -w->name_error;
	p[0] = '\0';
	if (id != 7)
		(void)snprintf(p, len, "name%u", id);
	return 0;
}

static struct whims
whims(void)
{
	struct whims w = { .os = *os_posix() };

	w.os.listxattr = whims_list;
	w.os.getxattr = whims_get;
	w.os.setxattr = whims_set;
	w.os.chown = whims_chown;
	w.os.chmod = whims_chmod;
	w.os.utimens = whims_utimens;
	w.os.user_name = whims_name;
	w.os.group_name = whims_name;
	return w;
}

static void
refusals_of_the_list(void **state)
{
	static const struct {
		int error;
		enum ecode code;
	} rows[] = { { ENOTSUP, E_OK }, { EOPNOTSUPP, E_OK }, { ENODATA, E_OK },
		{ EACCES, E_SRC_DENIED }, { EPERM, E_SRC_DENIED }, { EIO, E_SRC_IO },
		{ ENOENT, E_SRC_MISSING }, { ESTALE, E_SRC_CHANGED } };
	struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);

	fixture_file(f, "x", "");
	set(f, "x", "user.a", "1", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct whims w = whims();
		struct meta_xattrs x = { .n = 77 };
		struct err e = { .code = E_OK };

		w.list_error = rows[i].error;
		expect_code(meta_xattrs_read(&w.os, f->fd, "x", &a, &x, NULL, NULL, &e),
			rows[i].code, &e);
		assert_int_equal(x.n, rows[i].code == E_OK ? 0 : 77);
	}
}

static void
one_unreadable_value_is_told_and_left_out(void **state)
{
	struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(TEST_ARENA);
	struct whims w = whims();
	struct heard h = { .n = 0 };
	struct meta_xattrs x;

	fixture_file(f, "x", "");
	set(f, "x", "user.a", "1", 1);
	set(f, "x", "user.b", "2", 1);
	set(f, "x", "user.c", "3", 1);
	w.bad = "user.b";
	w.bad_error = EACCES;
	assert_int_equal(meta_xattrs_read(&w.os, f->fd, "x", &a, &x, hear_skipped, &h, NULL), E_OK);
	assert_int_equal(x.n, 2);
	check_value(&x, "user.a", "1", 1);
	check_value(&x, "user.c", "3", 1);
	assert_int_equal(h.n, 1);
	assert_string_equal(h.name[0], "user.b");
	assert_int_equal(h.sys, EACCES);
	w.bad_error = ENODATA; /* removed between list and read: nothing is missing */
	assert_int_equal(meta_xattrs_read(&w.os, f->fd, "x", &a, &x, hear_skipped, &h, NULL), E_OK);
	assert_int_equal(x.n, 2);
	assert_int_equal(h.n, 1);
	w.bad_error = ERANGE; /* grows for ever */
	assert_int_equal(meta_xattrs_read(&w.os, f->fd, "x", &a, &x, hear_skipped, &h, NULL), E_OK);
	assert_int_equal(h.n, 2);
}

/* ---- names ---- */

static bool
is(struct slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static void
names_are_asked_once(void **state)
{
	struct whims w = whims();
	struct meta_names *n = NULL;

	(void)state;
	assert_int_equal(meta_names_open(&w.os, &n, NULL), E_OK);
	for (unsigned round = 0; round < 3; round++) {
		assert_true(is(meta_user(n, 1), "name1"));
		assert_true(is(meta_user(n, 257), "name257")); /* the same bucket */
		assert_true(is(meta_group(n, 1), "name1"));
		assert_int_equal(meta_user(n, 7).len, 0);
		assert_true(is(meta_user(n, UINT32_MAX), "name4294967295"));
	}
	assert_int_equal(w.name_calls, 5);
	meta_names_close(&n);
	assert_null(n);
	meta_names_close(&n);
}

static void
a_failing_directory_service_is_asked_again(void **state)
{
	struct whims w = whims();
	struct meta_names *n = NULL;

	(void)state;
	assert_int_equal(meta_names_open(&w.os, &n, NULL), E_OK);
	w.name_error = EIO;
	assert_int_equal(meta_user(n, 3).len, 0);
	w.name_error = 0;
	assert_true(is(meta_user(n, 3), "name3"));
	meta_names_close(&n);
}

static void
root_is_called_root(void **state)
{
	struct meta_names *n = NULL;

	(void)state;
	assert_int_equal(meta_names_open(os_posix(), &n, NULL), E_OK);
	assert_true(is(meta_user(n, 0), "root"));
	assert_true(is(meta_group(n, 0), "root"));
	assert_int_equal(meta_user(n, 4000000123U).len, 0);
	meta_names_close(&n);
}

/* ---- putting ---- */

static struct meta_xattr
xattr(const char *name, const char *value)
{
	return (struct meta_xattr){
		.name = { (const uint8_t *)name, strlen(name) },
		.value = { (const uint8_t *)value, strlen(value) },
	};
}

static struct meta_apply
everything(const struct meta_xattr *v, size_t n)
{
	return (struct meta_apply){
		.owner = true,
		.mode = true,
		.times = true,
		.xattrs = true,
		.uid = geteuid(),
		.gid = getegid(),
		.st_mode = S_IFREG | 0640,
		.atime = { .s = 100, .ns = 1 },
		.mtime = { .s = -200, .ns = 999999999 },
		.xattr = v,
		.xattr_count = n,
	};
}

static void
the_order_is_owner_attributes_mode_times(void **state)
{
	struct fixture *f = *state;
	const struct meta_xattr v[] = { xattr("security.capability", "c"), xattr("user.b", "2"),
		xattr("user.a", "1") };
	struct meta_apply m = everything(v, 3);
	struct whims w = whims();

	fixture_file(f, "x", "");
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, NULL, NULL), 0);
	assert_string_equal(w.trace, "chown user.b user.a security.capability chmod utimens ");
}

static void
a_fresh_file_of_ours_needs_no_chown(void **state)
{
	struct fixture *f = *state;
	struct meta_apply m = everything(NULL, 0);
	struct whims w = whims();

	fixture_file(f, "x", "");
	m.fresh = true;
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, NULL, NULL), 0);
	assert_string_equal(w.trace, "chmod utimens ");
}

static void
only_the_parts_asked_for_are_put(void **state)
{
	struct fixture *f = *state;
	const struct meta_xattr v[] = { xattr("user.a", "1") };
	struct meta_apply m = everything(v, 1);
	struct whims w = whims();

	fixture_file(f, "x", "");
	m.owner = m.mode = m.times = m.xattrs = false;
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, NULL, NULL), 0);
	assert_string_equal(w.trace, "");
	m.times = true;
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, NULL, NULL), 0);
	assert_string_equal(w.trace, "utimens ");
}

static void
expect_put(const struct fixture *f, const char *name, const struct meta_apply *m)
{
	struct stat st;

	assert_int_equal(fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_uid, m->uid);
	assert_int_equal(st.st_gid, m->gid);
	if (!m->is_symlink)
		assert_int_equal(st.st_mode & 07777, m->st_mode & 07777);
	assert_int_equal(st.st_atim.tv_sec, m->atime.s);
	assert_int_equal(st.st_mtim.tv_sec, m->mtime.s);
	assert_int_equal(st.st_mtim.tv_nsec, m->mtime.ns);
}

static void
what_is_put_is_there(void **state)
{
	struct fixture *f = *state;
	const struct meta_xattr v[] = { xattr("user.a", "1"), xattr("user.empty", "") };
	struct meta_apply m = everything(v, 2);
	struct heard h = { .n = 0 };
	struct meta_xattrs x;
	int fd;

	if (geteuid() == 0) {
		m.uid = 1234;
		m.gid = 4321;
		m.st_mode = 06755; /* set-ID bits survive because mode comes after owner */
	}
	fixture_file(f, "x", "");
	set(f, "x", "user.foreign", "gone", 4);
	assert_int_equal(meta_put(os_posix(), f->fd, "x", &m, hear_failed, &h), 0);
	expect_put(f, "x", &m);
	x = read_all(f, "x");
	assert_int_equal(x.n, 2); /* the foreign one was removed */
	check_value(&x, "user.a", "1", 1);
	check_value(&x, "user.empty", "", 0);
	fixture_file(f, "y", "");
	fd = openat(f->fd, "y", O_RDWR);
	assert_int_equal(meta_put(os_posix(), fd, NULL, &m, hear_failed, &h), 0);
	expect_put(f, "y", &m);
	assert_int_equal(read_all(f, "y").n, 2);
	assert_int_equal(close(fd), 0);
	(void)read_all(f, NULL);
}

static void
a_link_is_never_followed(void **state)
{
	struct fixture *f = *state;
	struct meta_apply m = everything(NULL, 0);
	struct stat before, after;

	fixture_file(f, "x", "");
	assert_int_equal(symlinkat("x", f->fd, "l"), 0);
	assert_int_equal(fstatat(f->fd, "x", &before, 0), 0);
	m.is_symlink = true;
	m.st_mode = 0777;
	if (geteuid() == 0)
		m.uid = m.gid = 55;
	assert_int_equal(meta_put(os_posix(), f->fd, "l", &m, NULL, NULL), 0);
	expect_put(f, "l", &m);
	assert_int_equal(fstatat(f->fd, "x", &after, 0), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void
a_failing_part_does_not_stop_the_rest(void **state)
{
	struct fixture *f = *state;
	const struct meta_xattr v[] = { xattr("user.bad", "1"), xattr("user.good", "2"),
		xattr("", "no name"), { .name = { (const uint8_t *)"user.\0x", 7 } } };
	struct meta_apply m = everything(v, 4);
	struct whims w = whims();
	struct heard h = { .n = 0 };

	fixture_file(f, "x", "");
	w.bad = "user.bad";
	w.bad_error = ENOSPC;
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, hear_failed, &h), 3);
	assert_int_equal(h.n, 3);
	assert_int_equal(h.part[0], META_XATTR);
	assert_string_equal(h.name[0], "user.bad");
	assert_string_equal(w.trace, "chown user.bad user.good chmod utimens ");
	expect_put(f, "x", &m);
}

/* The kernel says yes to chmod and leaves the bit out when the caller is not in the group. */
static void
a_silently_dropped_setgid_is_told(void **state)
{
	struct fixture *f = *state;
	struct meta_apply m = everything(NULL, 0);
	struct whims w = whims();
	struct heard h = { .n = 0 };

	fixture_file(f, "x", "");
	m.st_mode = 02755;
	w.drop_setgid = true;
	assert_int_equal(meta_put(&w.os, f->fd, "x", &m, hear_failed, &h), 1);
	assert_int_equal(h.part[0], META_MODE);
	assert_int_equal(h.sys, EPERM);
}

static void
put_as_nobody(struct fixture *f)
{
	const struct meta_xattr v[] = { xattr("trusted.no", "1"), xattr("user.yes", "2") };
	struct meta_apply m = everything(v, 2);
	struct heard h = { .n = 0 };
	int fd = open("/tmp/", O_TMPFILE | O_RDWR, 0600);
	char got[8];

	(void)f;
	child_check(fd >= 0, "a file of its own");
	m.uid = 0;
	child_check(meta_put(os_posix(), fd, NULL, &m, hear_failed, &h) == 2, "two refusals");
	child_check(h.part[0] == META_OWNER && h.sys == EPERM, "owner refused");
	child_check(h.part[1] == META_XATTR && strcmp(h.name[1], "trusted.no") == 0,
		"attribute refused");
	child_check(fgetxattr(fd, "user.yes", got, sizeof(got)) == 1, "the other attribute");
	(void)close(fd);
}

static void
nobody_may_not_give_files_away(void **state)
{
	as_nobody(put_as_nobody, *state);
}

static void
acl_and_mode_agree_after_putting(void **state)
{
	struct fixture *f = *state;
	struct meta_xattr v[] = { { .name = { (const uint8_t *)"system.posix_acl_access", 23 },
		.value = { acl, sizeof(acl) } } };
	struct meta_apply m = everything(v, 1);
	struct meta_xattrs x;

	fixture_file(f, "x", "");
	assert_int_equal(meta_put(os_posix(), f->fd, "x", &m, NULL, NULL), 0);
	expect_put(f, "x", &m);
	x = read_all(f, "x");
	check_value(&x, "system.posix_acl_access", acl, sizeof(acl));
	(void)read_all(f, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_plain_file_has_none, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			values_are_read_byte_for_byte, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_order_is_the_kernels, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_long_list_is_read_whole, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			acl_bytes_are_nothing_special, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_links_own_attributes_are_read, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_open_file_is_asked_itself, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			refusals_of_the_list, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			one_unreadable_value_is_told_and_left_out, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			names_are_asked_once, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_failing_directory_service_is_asked_again,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			root_is_called_root, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_order_is_owner_attributes_mode_times, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_fresh_file_of_ours_needs_no_chown, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			only_the_parts_asked_for_are_put, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			what_is_put_is_there, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_link_is_never_followed, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_failing_part_does_not_stop_the_rest, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_silently_dropped_setgid_is_told, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			nobody_may_not_give_files_away, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			acl_and_mode_agree_after_putting, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
