#include "support/restore_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/json.h"
#include "support/vectors.h"

#define VECTOR_PASSWORD  "holdfast-vector-1"
#define TIME_EXACT_MAX_S INT64_C(9223372036) /* 2262 */
#define BIG_BYTES        ((size_t)600000)

static int
setup(void **state)
{
	static struct fix f;

	fix_begin(&f);
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	fix_end(*state);
	return 0;
}

/* ---- the vectors, path by path against what the file system had ---- */

struct want {
	char path[1024]; /* below the destination */
	char type[16];
	uint32_t mode, restic_mode;
	struct slice mtime_ns; /* digits; some are beyond 64 bits */
	uint64_t uid, gid, nlink, size, rdev;
	struct slice sha256, target_hex, restic_mtime, xattrs;
	bool intermediate;
};

static unsigned moved; /* times that the file system could not hold */

static uint32_t
octal(struct slice s)
{
	uint32_t v = 0;

	for (size_t i = 0; i < s.len; i++)
		v = v * 8 + (uint32_t)(s.p[i] - '0');
	return v;
}

static struct slice
text_of(struct json *j)
{
	struct slice s = { NULL, 0 };
	bool escaped;

	assert_true(json_string(j, &s, &escaped));
	return s;
}

static uint64_t
number_of(struct json *j)
{
	uint64_t v = 0;

	assert_true(json_u64(j, &v));
	return v;
}

static void
read_member(struct json *j, struct slice key, struct want *w)
{
	struct slice s;

	if (slice_is(key, "type")) {
		s = text_of(j);
		(void)snprintf(w->type, sizeof(w->type), "%.*s", (int)s.len, (const char *)s.p);
	} else if (slice_is(key, "unix_mode")) {
		w->mode = octal(text_of(j));
	} else if (slice_is(key, "uid")) {
		w->uid = number_of(j);
	} else if (slice_is(key, "gid")) {
		w->gid = number_of(j);
	} else if (slice_is(key, "nlink")) {
		w->nlink = number_of(j);
	} else if (slice_is(key, "size")) {
		w->size = number_of(j);
	} else if (slice_is(key, "rdev_raw")) {
		w->rdev = number_of(j);
	} else if (slice_is(key, "restic_mode")) {
		w->restic_mode = (uint32_t)number_of(j);
	} else if (slice_is(key, "mtime_ns")) {
		assert_true(json_skip(j, &w->mtime_ns));
	} else if (slice_is(key, "sha256")) {
		w->sha256 = text_of(j);
	} else if (slice_is(key, "target_hex")) {
		w->target_hex = text_of(j);
	} else if (slice_is(key, "restic_mtime")) {
		w->restic_mtime = text_of(j);
	} else if (slice_is(key, "intermediate")) {
		assert_true(json_bool(j, &w->intermediate));
	} else {
		assert_true(json_skip(j, slice_is(key, "xattrs") ? &w->xattrs : NULL));
	}
}

static void
check_content(const struct want *w)
{
	autoclean(buf_done) struct buf text = buf_limit(VECTOR_MAX_BYTES);
	struct hasher *h = NULL;
	char hex[ID_HEX_SIZE];
	struct err e;
	struct id sum;
	size_t got;
	FILE *f = fopen(w->path, "re");

	assert_non_null(f);
	assert_int_equal(buf_reserve(&text, VECTOR_MAX_BYTES, &e), E_OK);
	got = fread(text.p, 1, VECTOR_MAX_BYTES, f);
	(void)fclose(f);
	assert_int_equal(got, w->size);
	assert_int_equal(hasher_open(&h, &e), E_OK);
	hasher_sum(h, text.p, got, &sum);
	hasher_close(&h);
	id_hex(&sum, hex);
	assert_int_equal(w->sha256.len, 64);
	assert_memory_equal(hex, w->sha256.p, 64);
}

static void
check_target(const struct want *w)
{
	uint8_t wanted[4096];
	char target[4096];
	ssize_t len = readlink(w->path, target, sizeof(target));

	assert_true(hex_read(w->target_hex.p, w->target_hex.len, wanted));
	assert_int_equal(len, w->target_hex.len / 2);
	assert_memory_equal(target, wanted, (size_t)len);
}

/* Every attribute of the vector; SELinux's own may come on top. */
static void
check_xattrs(const struct want *w)
{
	autoclean(buf_done) struct buf name = buf_limit(4096);
	struct slice key, value;
	uint8_t wanted[4096], got[4096];
	struct json j;
	struct err e;
	size_t n;

	json_init(&j, w->xattrs.p, w->xattrs.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key)) {
		buf_clear(&name);
		assert_int_equal(json_unescape(&name, key, &e), E_OK);
		assert_int_equal(buf_add_byte(&name, '\0', &e), E_OK);
		value = text_of(&j);
		assert_true(base64_read(value.p, value.len, wanted, &n));
		ssize_t have = lgetxattr(w->path, (const char *)name.p, got, sizeof(got));

		if (have != (ssize_t)n)
			print_message("# %s: attribute %s has %zd bytes\n", w->path,
				(const char *)name.p, have);
		assert_int_equal(have, n);
		assert_memory_equal(got, wanted, n);
	}
}

static uint32_t
type_bits(const char *type)
{
	static const struct {
		const char *text;
		uint32_t bits;
	} types[] = { { "file", S_IFREG }, { "dir", S_IFDIR }, { "symlink", S_IFLNK },
		{ "dev", S_IFBLK }, { "chardev", S_IFCHR }, { "fifo", S_IFIFO } };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].text, type) == 0)
			return types[i].bits;
	return 0;
}

static struct instant
from_nanoseconds(struct slice digits)
{
	struct instant t = { 0 };

	for (size_t i = 0; i < digits.len; i++) {
		if (digits.len - i > 9)
			t.s = t.s * 10 + (digits.p[i] - '0');
		else
			t.ns = t.ns * 10 + (digits.p[i] - '0');
	}
	return t;
}

/* What this file system makes of a time that it may not be able to hold. */
static struct timespec
held_here(const char *dir, struct instant t)
{
	struct timespec ts[2] = { { .tv_sec = t.s, .tv_nsec = t.ns },
		{ .tv_sec = t.s, .tv_nsec = t.ns } };
	char path[1100];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/time-probe", dir);
	write_file(path, "", 0);
	assert_int_equal(utimensat(AT_FDCWD, path, ts, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
	return st.st_mtim;
}

static void
check_times(struct fix *f, const struct want *w, const struct stat *st)
{
	struct timespec held;
	struct instant t;

	assert_true(instant_parse(w->restic_mtime.p, w->restic_mtime.len, &t));
	/* outside of these years restic recorded something else than it saw (format document 6.6) */
	if (!w->intermediate && t.s > 0 && t.s < TIME_EXACT_MAX_S)
		t = from_nanoseconds(w->mtime_ns);
	held = held_here(f->dir, t);
	moved += held.tv_sec != t.s && !S_ISDIR(st->st_mode);
	assert_int_equal(st->st_mtim.tv_sec, held.tv_sec);
	assert_int_equal(st->st_mtim.tv_nsec, held.tv_nsec);
}

static void
check_path(struct fix *f, const struct want *w)
{
	struct stat st;

	if (lstat(w->path, &st) != 0)
		print_message("# missing: %s\n", w->path);
	assert_int_equal(lstat(w->path, &st), 0);
	assert_int_equal(st.st_mode & S_IFMT, type_bits(w->type));
	if (!S_ISLNK(st.st_mode))
		assert_int_equal(st.st_mode & 07777,
			w->intermediate ? mode_to_st(w->restic_mode) : w->mode & 07777);
	check_times(f, w, &st);
	if (w->intermediate)
		return;
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, w->uid);
		assert_int_equal(st.st_gid, w->gid);
	}
	if (S_ISREG(st.st_mode))
		check_content(w);
	if (S_ISREG(st.st_mode))
		assert_int_equal(st.st_nlink, w->nlink);
	if (S_ISLNK(st.st_mode))
		check_target(w);
	if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))
		assert_int_equal(st.st_rdev, w->rdev);
	if (w->xattrs.len > 0)
		check_xattrs(w);
}

static size_t
check_paths(struct fix *f, struct json *j)
{
	struct slice path, key;
	uint8_t raw[700];
	size_t n = 0;

	assert_true(json_enter_object(j));
	for (; json_key(j, &path); n++) {
		struct want w = { 0 };

		assert_true(path.len / 2 < sizeof(raw) && hex_read(path.p, path.len, raw));
		assert_true(snprintf(w.path, sizeof(w.path), "%s/%.*s", f->dest,
				    (int)(path.len / 2), (char *)raw) > 0);
		assert_true(json_enter_object(j));
		while (json_key(j, &key))
			read_member(j, key, &w);
		check_path(f, &w);
	}
	return n;
}

static void
check_snapshot(struct fix *f, struct json *j)
{
	struct slice key, id = { NULL, 0 }, paths = { NULL, 0 };
	struct json inner;
	char text[ID_HEX_SIZE];

	assert_true(json_enter_object(j));
	while (json_key(j, &key)) {
		if (slice_is(key, "id"))
			id = text_of(j);
		else
			assert_true(json_skip(j, slice_is(key, "paths") ? &paths : NULL));
	}
	(void)snprintf(text, sizeof(text), "%.*s", (int)id.len, (const char *)id.p);
	f->args.snapshot = text;
	moved = 0;
	f->h.problems = 0;
	expect_rc(f, fix_restore(f), E_OK);
	json_init(&inner, paths.p, paths.len);
	assert_int_equal(check_paths(f, &inner), tree_entries(f->dest));
	assert_int_equal(f->h.problems, moved); /* each is told, and nothing else is */
	assert_int_equal(f->result.metadata_problems, moved);
	assert_int_equal(f->result.files, f->result.verified_files);
	assert_int_equal(f->result.bytes, f->result.verified_bytes);
	assert_int_equal(tree_entries(f->out), tree_entries(f->dest) + 1); /* no stage is left */
	remove_tree(f->dest);
}

static void
check_vault(struct fix *f, const char *name, size_t snapshots)
{
	autoclean(buf_done) struct buf text = buf_limit(VECTOR_MAX_BYTES);
	const char *root = getenv("HOLDFAST_SOURCE_ROOT");
	char from[1024];
	struct slice key;
	struct json j;
	size_t n = 0;

	assert_non_null(root);
	(void)snprintf(from, sizeof(from), "%s/tests/vectors/%s", root, name);
	copy_tree(from, f->vault);
	f->password = VECTOR_PASSWORD;
	assert_true(vector_load("expected.json", &text));
	json_init(&j, text.p, text.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key) && !slice_is(key, "repos"))
		assert_true(json_skip(&j, NULL));
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key) && !slice_is(key, name))
		assert_true(json_skip(&j, NULL));
	assert_true(json_enter_object(&j));
	while (json_key(&j, &key) && !slice_is(key, "snapshots"))
		assert_true(json_skip(&j, NULL));
	assert_true(json_enter_array(&j));
	for (; json_element(&j); n++)
		check_snapshot(f, &j);
	assert_int_equal(n, snapshots);
}

static void
test_vectors_v1(void **state)
{
	check_vault(*state, "v1", 2);
}

static void
test_vectors_v2(void **state)
{
	check_vault(*state, "v2", 3);
}

static void
test_vectors_v2_threads(void **state)
{
	struct fix *f = *state;

	f->threads = 3;
	check_vault(f, "v2", 3);
}

/* ---- a small vault of the test's own ---- */

struct small {
	struct session s;
	struct maker m;
	uint8_t big[BIG_BYTES];
	struct id a, b, empty_dir;
};

static struct small small;

/* a-file (2 blobs), b-dir/{empty, inner, link}, c-file */
static void
make_small(struct fix *f)
{
	struct id pieces[3];
	struct node inner[3], nodes[3];
	struct id sub;

	fix_make(f, &small.s, &small.m);
	for (size_t i = 0; i < BIG_BYTES; i++)
		small.big[i] = (uint8_t)(i * 2654435761U >> 13);
	pieces[0] = maker_data(&small.m, small.big, BIG_BYTES);
	pieces[1] = maker_data(&small.m, "second piece", 12);
	pieces[2] = pieces[0];
	inner[0] = node_file("empty", NULL, 0, 0);
	inner[1] = node_file("inner", &pieces[1], 1, 12);
	inner[2] = node_symlink("link", "../a-file");
	sub = maker_tree(&small.m, inner, 3);
	nodes[0] = node_file("a-file", pieces, 3, 2 * BIG_BYTES + 12);
	nodes[1] = node_dir("b-dir", &sub);
	nodes[2] = node_file("c-file", &pieces[1], 1, 12);
	fix_made(&small.s, &small.m, nodes, 3);
}

static void
expect_small(const struct fix *f)
{
	char path[400], target[64] = { 0 };
	struct stat st;

	assert_int_equal(tree_entries(f->dest), 6);
	(void)snprintf(path, sizeof(path), "%s/a-file", f->dest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2 * BIG_BYTES + 12);
	assert_int_equal(st.st_mtim.tv_sec, 1600000000);
	(void)snprintf(path, sizeof(path), "%s/b-dir", f->dest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	(void)snprintf(path, sizeof(path), "%s/b-dir/link", f->dest);
	assert_int_equal(readlink(path, target, sizeof(target) - 1), 9);
	assert_string_equal(target, "../a-file");
}

static void
test_absent_destination(void **state)
{
	struct fix *f = *state;
	struct stat st;

	make_small(f);
	expect_rc(f, fix_restore(f), E_OK);
	expect_small(f);
	assert_true(f->result.promoted);
	assert_null(f->result.stage);
	assert_int_equal(f->result.files, 4);
	assert_int_equal(f->result.dirs, 1);
	assert_int_equal(f->result.others, 1);
	assert_int_equal(f->result.bytes, 2 * BIG_BYTES + 36);
	assert_int_equal(f->result.verified_files, 4);
	assert_int_equal(stat(f->dest, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(tree_entries(f->out), 7);
	assert_int_equal(f->h.items, 6);
}

static void
test_empty_destination_keeps_its_rights(void **state)
{
	struct fix *f = *state;
	struct stat st;

	make_small(f);
	assert_int_equal(mkdir(f->dest, 0700), 0);
	assert_int_equal(chmod(f->dest, 01711), 0);
	expect_rc(f, fix_restore(f), E_OK);
	expect_small(f);
	assert_int_equal(stat(f->dest, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01711);
}

static void
test_destination_not_empty(void **state)
{
	struct fix *f = *state;
	char path[400];
	uint64_t before;

	make_small(f);
	assert_int_equal(mkdir(f->dest, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/.hidden", f->dest);
	write_file(path, "mine", 4);
	before = tree_digest(f->out);
	expect_rc(f, fix_restore(f), E_DEST_NOT_EMPTY);
	assert_true(before == tree_digest(f->out));
	assert_false(f->result.promoted);
	assert_null(f->result.stage);
}

static void
test_destination_not_a_directory(void **state)
{
	struct fix *f = *state;
	char target[400];
	uint64_t before;

	make_small(f);
	write_file(f->dest, "file", 4);
	before = tree_digest(f->out);
	expect_rc(f, fix_restore(f), E_DEST_NOT_DIR);
	assert_true(before == tree_digest(f->out));
	assert_int_equal(unlink(f->dest), 0);
	fix_path(f, "elsewhere", target, sizeof(target));
	assert_int_equal(mkdir(target, 0755), 0);
	assert_int_equal(symlink(target, f->dest), 0);
	before = tree_digest(f->out);
	expect_rc(f, fix_restore(f), E_DEST_NOT_DIR);
	assert_true(before == tree_digest(f->out));
	assert_int_equal(tree_entries(target), 0);
	f->args.dest = "..";
	expect_rc(f, fix_restore(f), E_DEST_NOT_DIR);
}

static void
test_destination_mount_point(void **state)
{
	struct fix *f = *state;

	make_small(f);
	f->args.dest = "/proc";
	expect_rc(f, fix_restore(f), E_DEST_MOUNT);
	f->args.dest = "/";
	expect_rc(f, fix_restore(f), E_DEST_MOUNT);
}

static void
test_destination_parent_missing(void **state)
{
	struct fix *f = *state;
	char dest[400];

	make_small(f);
	(void)snprintf(dest, sizeof(dest), "%s/not/there", f->out);
	f->args.dest = dest;
	expect_rc(f, fix_restore(f), E_DEST_PARENT);
	assert_int_equal(tree_entries(f->out), 0);
}

static void
test_destination_with_slashes(void **state)
{
	struct fix *f = *state;
	char dest[400];

	make_small(f);
	(void)snprintf(dest, sizeof(dest), "%s/./sub/..//dest///", f->out);
	f->args.dest = dest;
	expect_rc(f, fix_restore(f), E_OK);
	expect_small(f);
}

static void
test_dry_run_writes_nothing(void **state)
{
	struct fix *f = *state;
	uint64_t before;

	make_small(f);
	before = tree_digest(f->dir);
	f->args.dry_run = true;
	expect_rc(f, fix_restore(f), E_OK);
	assert_true(before == tree_digest(f->dir));
	assert_int_equal(f->result.files, 4);
	assert_int_equal(f->result.bytes, 2 * BIG_BYTES + 36);
	assert_false(f->result.promoted);
	assert_int_equal(f->h.items, 0);
}

static struct rules *
one_rule(const char *pattern)
{
	struct rules *r = NULL;
	struct err e;

	assert_int_equal(rules_open(&r, &e), E_OK);
	assert_int_equal(rules_add(r, pattern, false, &e), E_OK);
	return r;
}

static void
test_includes(void **state)
{
	struct fix *f = *state;
	struct rules *r = one_rule("/b-dir/inner");
	char path[400];
	struct stat st;

	make_small(f);
	f->args.includes = r;
	expect_rc(f, fix_restore(f), E_OK);
	rules_close(&r);
	assert_int_equal(tree_entries(f->dest), 2);
	(void)snprintf(path, sizeof(path), "%s/b-dir/inner", f->dest);
	assert_true(exists(path));
	(void)snprintf(path, sizeof(path), "%s/b-dir", f->dest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1600000000); /* directories on the way are themselves */
	assert_int_equal(f->result.files, 1);
	assert_int_equal(f->result.dirs, 1);
}

static void
test_excludes(void **state)
{
	struct fix *f = *state;
	struct rules *r = one_rule("b-dir");

	make_small(f);
	f->args.excludes = r;
	expect_rc(f, fix_restore(f), E_OK);
	rules_close(&r);
	assert_int_equal(tree_entries(f->dest), 2);
}

static void
test_nothing_matched(void **state)
{
	struct fix *f = *state;
	struct rules *r = one_rule("/nowhere");

	make_small(f);
	f->args.includes = r;
	expect_rc(f, fix_restore(f), E_NOTHING_MATCHED);
	rules_close(&r);
	assert_int_equal(tree_entries(f->out), 0);
}

static void
test_sub_folder(void **state)
{
	struct fix *f = *state;

	make_small(f);
	f->args.snapshot = "latest:/b-dir";
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), 3);
	f->args.dest = f->vault; /* must not even be looked at for what is not there */
	f->args.snapshot = "latest:b-dir/inner";
	expect_rc(f, fix_restore(f), E_DEST_VAULT);
	remove_tree(f->dest);
	f->args.dest = f->dest;
	expect_rc(f, fix_restore(f), E_SUBPATH_ABSENT);
	f->args.snapshot = "latest:nope";
	expect_rc(f, fix_restore(f), E_SUBPATH_ABSENT);
	assert_int_equal(tree_entries(f->out), 0);
}

static void
test_snapshot_absent(void **state)
{
	struct fix *f = *state;

	make_small(f);
	f->args.snapshot = "0123456789abcdef";
	assert_int_not_equal(fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->out), 0);
}

static void
test_verify_size_and_none(void **state)
{
	struct fix *f = *state;

	make_small(f);
	f->args.verify = VERIFY_SIZE;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.verified_files, 4);
	assert_int_equal(f->result.verified_bytes, 0);
	remove_tree(f->dest);
	f->args.verify = VERIFY_NONE;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.verified_files, 0);
	expect_small(f);
}

/* ---- links, holes, names ---- */

static void
test_hard_links(void **state)
{
	struct fix *f = *state;
	struct node nodes[5];
	struct stat st[5];
	char path[400];
	struct id x, y;

	fix_make(f, &small.s, &small.m);
	x = maker_data(&small.m, "one", 3);
	y = maker_data(&small.m, "two", 3);
	nodes[0] = node_file("a", &x, 1, 3);
	nodes[1] = node_file("b", &x, 1, 3);
	nodes[2] = node_file("c", &y, 1, 3); /* same inode, another content: changed between */
	nodes[3] = node_symlink("d", "t");
	nodes[4] = node_symlink("e", "t");
	for (size_t i = 0; i < 5; i++) {
		nodes[i].links = 3;
		nodes[i].inode = i < 3 ? 7 : 8;
		nodes[i].device_id = UINT64_MAX;
	}
	fix_made(&small.s, &small.m, nodes, 5);
	expect_rc(f, fix_restore(f), E_OK);
	for (size_t i = 0; i < 5; i++) {
		(void)snprintf(path, sizeof(path), "%s/%c", f->dest, (char)('a' + i));
		assert_int_equal(lstat(path, &st[i]), 0);
	}
	assert_int_equal(st[0].st_ino, st[1].st_ino);
	assert_int_not_equal(st[0].st_ino, st[2].st_ino);
	assert_int_equal(st[2].st_nlink, 1);
	assert_int_equal(st[3].st_ino, st[4].st_ino);
	assert_int_equal(f->result.files, 3);
	assert_int_equal(f->result.verified_files, 3);
}

static void
test_holes(void **state)
{
	static uint8_t zeros[BIG_BYTES];
	struct fix *f = *state;
	struct node nodes[3];
	struct id ids[3], mixed;
	char path[400];
	struct stat st;

	fix_make(f, &small.s, &small.m);
	ids[0] = ids[2] = maker_data(&small.m, zeros, sizeof(zeros));
	ids[1] = maker_data(&small.m, "x", 1);
	memcpy(zeros + 300000, "middle", 6);
	mixed = maker_data(&small.m, zeros, sizeof(zeros));
	memset(zeros, 0, sizeof(zeros));
	nodes[0] = node_file("one", ids, 1, BIG_BYTES);
	nodes[1] = node_file("three", ids, 3, 2 * BIG_BYTES + 1);
	nodes[2] = node_file("zmixed", &mixed, 1, BIG_BYTES);
	fix_made(&small.s, &small.m, nodes, 3);
	f->args.sparse = true;
	expect_rc(f, fix_restore(f), E_OK);
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", f->dest,
			i == 0   ? "one"
			: i == 1 ? "three"
				 : "zmixed");
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, i == 1 ? 2 * BIG_BYTES + 1 : BIG_BYTES);
		assert_true(st.st_blocks * 512 <= 64 << 10);
	}
	assert_int_equal(f->result.verified_bytes, 4 * BIG_BYTES + 1);
}

/* More files than one range takes, all of one blob; more than one verification batch. */
static void
test_many_files_of_one_blob(void **state)
{
	enum {
		MANY = 1500
	};
	static struct node nodes[MANY];
	static char names[MANY][8];
	struct fix *f = *state;
	struct id x;

	fix_make(f, &small.s, &small.m);
	x = maker_data(&small.m, "the same everywhere", 19);
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "f%04u", i);
		nodes[i] = node_file(names[i], &x, 1, 19);
	}
	fix_made(&small.s, &small.m, nodes, MANY);
	f->threads = 2;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), MANY);
	assert_int_equal(f->result.verified_files, MANY);
}

/* 80 pieces of 600,000 bytes: several parts of a verification, ranges that end in the middle of the file. */
static void
test_large_file(void **state)
{
	enum {
		PIECES = 80
	};
	struct fix *f = *state;
	struct id ids[PIECES];
	struct node node;
	char a[400];

	fix_make(f, &small.s, &small.m);
	for (unsigned i = 0; i < PIECES; i++) {
		for (size_t k = 0; k < BIG_BYTES; k++)
			small.big[k] = (uint8_t)((k * 2654435761U >> 11) + i % 40 * (k >> 7));
		ids[i] = maker_data(&small.m, small.big, BIG_BYTES);
	}
	node = node_file("large", ids, PIECES, PIECES * BIG_BYTES);
	fix_made(&small.s, &small.m, &node, 1);
	f->threads = 2;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.verified_bytes, PIECES * BIG_BYTES);
	assert_int_equal(f->result.verified_files, 1);
	(void)snprintf(a, sizeof(a), "%s/large", f->dest);
	struct stat st;

	assert_int_equal(stat(a, &st), 0);
	assert_int_equal(st.st_size, PIECES * BIG_BYTES);
	assert_int_equal(st.st_mtim.tv_sec, 1600000000);
	assert_int_equal(st.st_mode & 07777, 0644);
}

static void
test_serial_twin_equals_threads(void **state)
{
	struct fix *f = *state;
	char other[400], why[512];

	make_small(f);
	fix_path(f, "out/other", other, sizeof(other));
	expect_rc(f, fix_restore(f), E_OK);
	f->args.dest = other;
	f->threads = 4;
	expect_rc(f, fix_restore(f), E_OK);
	if (!trees_equal(f->dest, other, COMPARE_ALL, why, sizeof(why)))
		fail_msg("%s", why);
}

static void
test_ownership_by_name(void **state)
{
	struct fix *f = *state;
	struct node nodes[2];
	struct stat st;
	char path[400];
	struct id x;

	if (geteuid() != 0)
		skip(); /* owners cannot be given away, and there is nothing to drop */
	fix_make(f, &small.s, &small.m);
	x = maker_data(&small.m, "x", 1);
	nodes[0] = node_file("known", &x, 1, 1);
	nodes[1] = node_file("unknown", &x, 1, 1);
	nodes[0].user = nodes[0].group = (struct slice){ (const uint8_t *)"root", 4 };
	nodes[1].user = nodes[1].group = (struct slice){ (const uint8_t *)"no-such-name", 12 };
	nodes[0].uid = nodes[0].gid = nodes[1].uid = nodes[1].gid = 4242;
	fix_made(&small.s, &small.m, nodes, 2);
	f->args.ownership_by_name = true;
	expect_rc(f, fix_restore(f), E_OK);
	(void)snprintf(path, sizeof(path), "%s/known", f->dest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 0);
	(void)snprintf(path, sizeof(path), "%s/unknown", f->dest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4242);
}

/* An attribute of a name space that does not exist. */
static void
make_impossible(struct fix *f)
{
	static const struct xattr bad = { { (const uint8_t *)"nonsense.x", 10 },
		{ (const uint8_t *)"v", 1 } };
	struct node node;
	struct id x;

	fix_make(f, &small.s, &small.m);
	x = maker_data(&small.m, "x", 1);
	node = node_file("f", &x, 1, 1);
	node.xattrs = &bad;
	node.xattr_count = 1;
	fix_made(&small.s, &small.m, &node, 1);
}

static void
test_attribute_that_cannot_be_applied(void **state)
{
	struct fix *f = *state;

	make_impossible(f);
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.metadata_problems, 1);
	assert_int_equal(f->h.problems, 1);
	assert_int_equal(f->h.fatal_problems, 0);
	assert_int_equal(f->h.codes[0], E_RESTORE_META);
	assert_string_equal(f->h.last_path, "/f");
}

static void
test_strict_metadata(void **state)
{
	struct fix *f = *state;

	make_impossible(f);
	f->args.strict_metadata = true;
	expect_rc(f, fix_restore(f), E_RESTORE_STRICT);
	assert_false(exists(f->dest));
	assert_non_null(f->result.stage);
	assert_true(exists(f->result.stage));
}

/* ---- somebody without privileges ---- */

#define NOBODY 65534

static int
as_nobody(struct fix *f)
{
	char path[400];
	struct stat st;

	if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
		return 10;
	if (fix_restore(f) != E_OK)
		return 11;
	if (f->result.metadata_problems != 1 || f->h.codes[0] != E_RESTORE_META)
		return 12; /* the device */
	if (strstr(f->h.last_note, "owners_not_applied") == NULL)
		return 17;
	(void)snprintf(path, sizeof(path), "%s/secret", f->dest);
	if (stat(path, &st) != 0 || (st.st_mode & 07777) != 0 || st.st_uid != NOBODY)
		return 13;
	(void)snprintf(path, sizeof(path), "%s/null", f->dest);
	if (stat(path, &st) == 0)
		return 14;
	(void)snprintf(path, sizeof(path), "%s/shut", f->dest);
	if (stat(path, &st) != 0 || (st.st_mode & 07777) != 0)
		return 15;
	return f->result.verified_files == 3 ? 0 : 16;
}

static void
test_without_privileges(void **state)
{
	struct fix *f = *state;
	struct node nodes[4], inner;
	struct id x, sub;
	char cmd[700];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip(); /* owners cannot be given away, and there is nothing to drop */
	fix_make(f, &small.s, &small.m);
	x = maker_data(&small.m, "x", 1);
	inner = node_file("inside", &x, 1, 1);
	sub = maker_tree(&small.m, &inner, 1);
	nodes[0] = node_symlink("null", "");
	nodes[0].type = NODE_CHARDEV;
	nodes[0].mode = MODE_DEVICE | MODE_CHARDEV | 0666;
	nodes[0].device = makedev(1, 3);
	nodes[1] = node_file("plain", &x, 1, 1);
	nodes[2] = node_file("secret", &x, 1, 1);
	nodes[2].mode = 0;
	nodes[3] = node_dir("shut", &sub);
	nodes[3].mode = MODE_DIR;
	fix_made(&small.s, &small.m, nodes, 4);
	(void)snprintf(cmd, sizeof(cmd), "chown -R %d:%d '%s' && chmod 755 '%s'", NOBODY, NOBODY,
		f->dir, f->dir);
	assert_int_equal(system(cmd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(as_nobody(f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(WIFEXITED(status));
	assert_true(exists(f->dest));
}

/* ---- asked to stop ---- */

static void
test_stop_at_every_question(void **state)
{
	struct fix *f = *state;
	enum ecode rc = E_INTERRUPTED;
	char run[32];

	make_small(f);
	for (unsigned n = 0; rc == E_INTERRUPTED && n < 100; n++) {
		f->h.stop_after = n;
		(void)snprintf(run, sizeof(run), "run-%u", n);
		f->args.run_id = run;
		rc = fix_restore(f);
		if (rc == E_OK)
			break;
		expect_rc(f, rc, E_INTERRUPTED);
		assert_false(exists(f->dest));
		assert_false(f->result.promoted);
		if (f->result.stage != NULL)
			assert_true(exists(f->result.stage));
	}
	expect_rc(f, rc, E_OK);
	f->h.stop_after = -1;
	expect_small(f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vectors_v1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vectors_v2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vectors_v2_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_destination, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_empty_destination_keeps_its_rights, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destination_not_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destination_not_a_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destination_mount_point, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destination_parent_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destination_with_slashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dry_run_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_includes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_excludes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_matched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sub_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshot_absent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verify_size_and_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hard_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_files_of_one_blob, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_serial_twin_equals_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ownership_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_attribute_that_cannot_be_applied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strict_metadata, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_privileges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_at_every_question, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
