/* Vaults that lie, kernels that fail in one place: nothing outside of the stage may change. */
#include "support/restore_fix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/wire.h"
#include "repo/reader.h"

static struct session s;
static struct maker m;

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
	struct fix *f = *state;
	char cmd[400];

	restore_result_done(&f->result);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir); /* deep trees are beyond fts */
	return system(cmd) == 0 ? 0 : -1;
}

/* ---- names ---- */

static struct node
named(const char *name, size_t len, const struct id *x)
{
	struct node node = node_file("", x, 1, 1);

	node.name = (struct slice){ (const uint8_t *)name, len };
	return node;
}

static void
expect_unsafe(struct fix *f, const struct node *nodes, size_t n)
{
	uint64_t before;

	fix_made(&s, &m, nodes, n);
	before = tree_digest(f->dir);
	expect_rc(f, fix_restore(f), E_PATH_UNSAFE);
	assert_true(before == tree_digest(f->dir)); /* not even a stage */
	assert_int_equal(f->h.codes[0], E_PATH_UNSAFE);
	f->threads = 2;
	expect_rc(f, fix_restore(f), E_PATH_UNSAFE);
	assert_true(before == tree_digest(f->dir));
}

static void
refuse_name(struct fix *f, const char *name, size_t len)
{
	struct node node;
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	node = named(name, len, &x);
	expect_unsafe(f, &node, 1);
}

static void
test_name_dot_dot(void **state)
{
	refuse_name(*state, "..", 2);
}

static void
test_name_dot(void **state)
{
	refuse_name(*state, ".", 1);
}

static void
test_name_empty(void **state)
{
	refuse_name(*state, "", 0);
}

static void
test_name_with_slash(void **state)
{
	refuse_name(*state, "../../escaped", 13);
}

static void
test_name_absolute(void **state)
{
	refuse_name(*state, "/tmp/holdfast-escaped", 21);
	assert_false(exists("/tmp/holdfast-escaped"));
}

static void
test_name_with_nul(void **state)
{
	refuse_name(*state, "a\0b", 3);
}

static void
test_name_too_long(void **state)
{
	static char name[256];

	memset(name, 'n', sizeof(name));
	refuse_name(*state, name, sizeof(name));
}

static void
test_bad_name_below_is_found_first(void **state)
{
	struct fix *f = *state;
	struct node nodes[2], inner;
	struct id x, sub;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	inner = named("..", 2, &x);
	sub = maker_tree(&m, &inner, 1);
	nodes[0] = node_file("good", &x, 1, 1);
	nodes[1] = node_dir("sub", &sub);
	expect_unsafe(f, nodes, 2);
}

static void
test_twins(void **state)
{
	struct fix *f = *state;
	struct node nodes[2];
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	nodes[0] = nodes[1] = node_file("same", &x, 1, 1);
	expect_unsafe(f, nodes, 2);
}

/* A link to somewhere, then a directory of the same name with a file in it. */
static void
test_link_then_child_of_link(void **state)
{
	struct fix *f = *state;
	struct node nodes[3], inner;
	char outside[400];
	struct id x, sub;

	fix_path(f, "outside", outside, sizeof(outside));
	assert_int_equal(mkdir(outside, 0755), 0);
	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	inner = node_file("child", &x, 1, 1);
	sub = maker_tree(&m, &inner, 1);
	nodes[0] = node_symlink("link", outside);
	nodes[1] = node_file("between", &x, 1, 1); /* unsorted, so that twins are not neighbours */
	nodes[2] = node_dir("link", &sub);
	expect_unsafe(f, nodes, 3);
	assert_int_equal(tree_entries(outside), 0);
}

static void
test_unsorted_is_restored(void **state)
{
	struct fix *f = *state;
	struct node nodes[3];
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	nodes[0] = node_file("c", &x, 1, 1);
	nodes[1] = node_file("a", &x, 1, 1);
	nodes[2] = node_file("b", &x, 1, 1);
	fix_made(&s, &m, nodes, 3);
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(tree_entries(f->dest), 3);
	assert_int_equal(f->result.verified_files, 3);
}

/* ---- lies about content ---- */

static void
expect_damaged_unwritten(struct fix *f, const struct node *nodes, size_t n, enum ecode code)
{
	uint64_t before;

	fix_made(&s, &m, nodes, n);
	before = tree_digest(f->dir);
	expect_rc(f, fix_restore(f), E_RESTORE_DAMAGED);
	assert_true(before == tree_digest(f->dir));
	assert_string_equal(err_row(f->h.codes[0])->name, err_row(code)->name);
	assert_int_equal(f->h.fatal_problems, 1);
}

static void
test_size_too_large(void **state)
{
	struct node nodes[2];
	struct id x;

	fix_make(*state, &s, &m);
	x = maker_data(&m, "x", 1);
	nodes[0] = node_file("a", &x, 1, 1);
	nodes[1] = node_file("b", &x, 1, 2);
	expect_damaged_unwritten(*state, nodes, 2, E_BLOB_LENGTH);
}

static void
test_size_too_small(void **state)
{
	struct id x[2];
	struct node node;

	fix_make(*state, &s, &m);
	x[0] = x[1] = maker_data(&m, "xyz", 3);
	node = node_file("b", x, 2, 5);
	expect_damaged_unwritten(*state, &node, 1, E_BLOB_LENGTH);
}

static void
test_piece_missing(void **state)
{
	struct id x = { { 1, 2, 3 } };
	struct node node;

	fix_make(*state, &s, &m);
	node = node_file("b", &x, 1, 5);
	expect_damaged_unwritten(*state, &node, 1, E_BLOB_ABSENT);
}

static void
test_tree_missing(void **state)
{
	struct id x = { { 1, 2, 3 } };
	struct node node;

	fix_make(*state, &s, &m);
	node = node_dir("b", &x);
	expect_damaged_unwritten(*state, &node, 1, E_BLOB_ABSENT);
}

static void
test_tree_is_garbage(void **state)
{
	struct node node;
	struct id x;

	fix_make(*state, &s, &m);
	x = maker_tree_text(&m, "{\"nodes\":[{\"name\":\"a\",");
	node = node_dir("b", &x);
	fix_made(&s, &m, &node, 1);
	uint64_t before = tree_digest(((struct fix *)*state)->dir);

	expect_rc(*state, fix_restore(*state), E_RESTORE_DAMAGED);
	assert_true(before == tree_digest(((struct fix *)*state)->dir));
}

static void
test_unknown_type(void **state)
{
	struct node node = node_symlink("odd", "x");

	fix_make(*state, &s, &m);
	node.type = NODE_IRREGULAR;
	expect_damaged_unwritten(*state, &node, 1, E_TREE_FORMAT);
}

static void
test_socket_is_skipped(void **state)
{
	struct fix *f = *state;
	struct node nodes[2];
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	nodes[0] = node_file("f", &x, 1, 1);
	nodes[1] = node_symlink("sock", "x");
	nodes[1].type = NODE_SOCKET;
	fix_made(&s, &m, nodes, 2);
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.sockets_skipped, 1);
	assert_int_equal(tree_entries(f->dest), 1);
}

/* Every file of one directory of the vault is removed: the test writes its own instead. */
static void
empty_out(const char *vault, const char *sub)
{
	char path[700];
	struct dirent *ent;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%s", vault, sub);
	d = opendir(path);
	assert_non_null(d);
	for (ent = readdir(d); ent != NULL; ent = readdir(d)) {
		(void)snprintf(path, sizeof(path), "%s/%s/%s", vault, sub, ent->d_name);
		if (ent->d_name[0] != '.')
			assert_int_equal(unlink(path), 0);
	}
	(void)closedir(d);
}

#define PACKS_MAX 8

/* Write the index anew with another length for a blob: in every pack, or in the one the reader asks first. */
static void
lie_about_length(struct fix *f, const struct id *blob, bool first_only)
{
	autoclean(buf_done) struct buf out = buf_limit(1 << 20);
	struct index_pack packs[PACKS_MAX] = { 0 };
	struct blob_loc first;
	struct id index_id;
	struct err e;
	size_t n;

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	assert_int_equal(session_load_index(&s, &e), E_OK);
	assert_true(index_find(s.index, BLOB_DATA, blob, &first));
	n = index_pack_count(s.index);
	assert_in_range(n, 1, PACKS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct pack_list *blobs = &packs[i].blobs;

		index_pack_id(s.index, i, &packs[i].id);
		assert_int_equal(index_pack_blobs(s.index, i, blobs, &e), E_OK);
		for (size_t k = 0; k < blobs->n; k++)
			if (id_cmp(&blobs->v[k].id, blob) == 0 &&
				(!first_only || id_cmp(&packs[i].id, &first.pack) == 0))
				blobs->v[k].ulen += 7;
	}
	assert_int_equal(index_write(packs, n, &out, &e), E_OK);
	empty_out(f->vault, "index");
	assert_int_equal(vault_save(s.vault, s.own, O_INDEX, out.p, out.len, &index_id, &e), E_OK);
	for (size_t i = 0; i < n; i++)
		pack_list_done(&packs[i].blobs);
	session_abandon(&s);
}

/* The node agrees with the lie, so that only the content itself can tell. */
static void
test_index_lies_about_length(void **state)
{
	static uint8_t text[4000];
	struct fix *f = *state;
	struct node node;
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, text, sizeof(text));
	node = node_file("f", &x, 1, sizeof(text) + 7);
	fix_made(&s, &m, &node, 1);
	lie_about_length(f, &x, false);
	expect_rc(f, fix_restore(f), E_RESTORE_DAMAGED);
	assert_int_equal(f->h.codes[0], E_BLOB_LENGTH);
	assert_false(exists(f->dest));
	assert_non_null(f->result.stage);
	assert_true(exists(f->result.stage));
}

/* The other copy is whole, but not as long as the plan was told: later pieces would land at wrong places. */
static void
test_index_lies_about_one_copy(void **state)
{
	static uint8_t text[4000];
	struct fix *f = *state;
	struct session other;
	struct maker also;
	struct node node;
	struct id x, tree;

	make_vault(os_posix(), f->vault, 2);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	open_session(&other, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	maker_begin(&m, &s);
	maker_begin(&also, &other);
	x = maker_data(&m, text, sizeof(text));
	(void)maker_data(&also, text, sizeof(text));
	node = node_file("f", &x, 1, sizeof(text) + 7);
	tree = maker_tree(&also, &node, 1);
	(void)maker_end(&also, &tree);
	session_abandon(&other);
	fix_made(&s, &m, &node, 1);
	lie_about_length(f, &x, true);
	expect_rc(f, fix_restore(f), E_RESTORE_DAMAGED);
	assert_int_equal(f->h.codes[0], E_BLOB_LENGTH);
	assert_non_null(f->result.stage); /* the plan believed it */
	assert_int_equal(tree_entries(f->result.stage), 1);
	assert_false(exists(f->dest));
}

/* ---- damaged packs ---- */

static void
flip_byte(const char *path, long at)
{
	FILE *file;
	int c;

	assert_int_equal(chmod(path, 0600), 0);
	file = fopen(path, "r+e");
	assert_non_null(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	c = fgetc(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	assert_int_equal(fputc(c ^ 0x40, file), c ^ 0x40);
	assert_int_equal(fclose(file), 0);
}

/* Flip a byte in the pack that holds the n-th copy of a data blob. */
static void
damage_copy(struct fix *f, const struct id *blob, size_t copy)
{
	struct blob_loc locs[4];
	char path[700], text[ONAME_TEXT_MAX];
	struct oname name = { .kind = O_PACK };
	struct err e;

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	assert_int_equal(session_load_index(&s, &e), E_OK);
	assert_true(index_find_all(s.index, BLOB_DATA, blob, locs, 4) > copy);
	name.id = locs[copy].pack;
	oname_text(&name, text);
	(void)snprintf(path, sizeof(path), "%s/%s", f->vault, text);
	flip_byte(path, (long)locs[copy].offset + 20);
	session_abandon(&s);
}

static void
test_damaged_content(void **state)
{
	struct fix *f = *state;
	struct node nodes[3];
	struct id x, y;

	fix_make(f, &s, &m);
	x = maker_data(&m, "the bad one", 11);
	y = maker_data(&m, "the good one", 12);
	nodes[0] = node_file("a", &y, 1, 12);
	nodes[1] = node_file("b", &x, 1, 11);
	nodes[2] = node_file("c", &x, 1, 11);
	fix_made(&s, &m, nodes, 3);
	damage_copy(f, &x, 0);
	expect_rc(f, fix_restore(f), E_RESTORE_DAMAGED);
	assert_int_equal(f->h.fatal_problems, 2);
	assert_false(exists(f->dest));
	assert_non_null(f->result.stage);
	assert_int_equal(tree_entries(f->result.stage), 2); /* stage_root, a */
}

static void
test_another_copy_rescues(void **state)
{
	struct fix *f = *state;
	struct session other;
	struct maker also;
	struct node node;
	struct id x, tree;

	make_vault(os_posix(), f->vault, 2);
	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	open_session(&other, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	maker_begin(&m, &s);
	maker_begin(&also, &other); /* knows nothing of what the first adds */
	x = maker_data(&m, "stored twice", 12);
	(void)maker_data(&also, "stored twice", 12);
	node = node_file("f", &x, 1, 12);
	tree = maker_tree(&also, &node, 1);
	(void)maker_end(&also, &tree);
	session_abandon(&other);
	fix_made(&s, &m, &node, 1);
	damage_copy(f, &x, 0);
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->h.problems, 0);
	assert_int_equal(tree_entries(f->dest), 1);
	remove_tree(f->dest);
	damage_copy(f, &x, 1);
	expect_rc(f, fix_restore(f), E_RESTORE_DAMAGED);
	assert_false(exists(f->dest));
}

/* ---- depth and number ---- */

static void
test_deep_tree(void **state)
{
	enum {
		DEPTH = 2600
	}; /* a path of 5,200 bytes: above PATH_MAX */
	struct fix *f = *state;
	struct node node;
	struct id tree;

	fix_make(f, &s, &m);
	tree = maker_tree(&m, NULL, 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		node = node_dir("d", &tree);
		tree = maker_tree(&m, &node, 1);
	}
	(void)maker_end(&m, &tree);
	session_abandon(&s);
	f->threads = 2;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.dirs, DEPTH);
	assert_true(f->result.promoted);
}

/* A kernel table with one call exchanged. */
struct bent {
	struct os os;
	uint64_t free_bytes, free_inodes;
	const char *path; /* for what the call should do besides */
	unsigned calls;
};
static struct bent bent;

static int
tell_space(const struct os *os, int fd, struct statvfs *out)
{
	int rc = os_posix()->statvfs(os_posix(), fd, out);

	(void)os;
	out->f_frsize = 1;
	out->f_bavail = bent.free_bytes;
	out->f_files = 1000000;
	out->f_favail = bent.free_inodes;
	return rc;
}

/* 2^40 directories in 41 trees: the inodes that are free end it. */
static void
test_tree_that_multiplies(void **state)
{
	struct fix *f = *state;
	struct node nodes[2];
	struct id tree;

	fix_make(f, &s, &m);
	tree = maker_tree(&m, NULL, 0);
	for (unsigned i = 0; i < 40; i++) {
		nodes[0] = node_dir("a", &tree);
		nodes[1] = node_dir("b", &tree);
		tree = maker_tree(&m, nodes, 2);
	}
	(void)maker_end(&m, &tree);
	session_abandon(&s);
	bent = (struct bent){
		.os = *os_posix(), .free_bytes = UINT64_C(1) << 40, .free_inodes = 5000
	};
	bent.os.statvfs = tell_space;
	f->os = &bent.os;
	expect_rc(f, fix_restore(f), E_DEST_SPACE);
	assert_int_equal(tree_entries(f->out), 0);
}

static void
test_too_little_space(void **state)
{
	struct fix *f = *state;
	struct node node;
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "x", 1);
	node = node_file("f", &x, 1, 1);
	fix_made(&s, &m, &node, 1);
	bent = (struct bent){ .os = *os_posix(), .free_bytes = 1 << 20, .free_inodes = 5000 };
	bent.os.statvfs = tell_space;
	f->os = &bent.os;
	expect_rc(f, fix_restore(f), E_DEST_SPACE);
	assert_int_equal(tree_entries(f->out), 0);
	bent.free_bytes = 1 << 30;
	bent.free_inodes = 2;
	expect_rc(f, fix_restore(f), E_DEST_SPACE);
	assert_int_equal(tree_entries(f->out), 0);
	bent.free_inodes = 100;
	expect_rc(f, fix_restore(f), E_OK);
}

/* ---- a neighbour who interferes ---- */

static void
make_one(struct fix *f)
{
	struct node node;
	struct id x;

	fix_make(f, &s, &m);
	x = maker_data(&m, "one file of some bytes", 22);
	node = node_file("f", &x, 1, 22);
	fix_made(&s, &m, &node, 1);
	bent = (struct bent){ .os = *os_posix(), .path = f->dest };
	f->os = &bent.os;
}

static void
test_stage_is_a_trap(void **state)
{
	struct fix *f = *state;
	char trap[400], outside[400];

	make_one(f);
	fix_path(f, "outside", outside, sizeof(outside));
	assert_int_equal(mkdir(outside, 0755), 0);
	(void)snprintf(trap, sizeof(trap), "%s.holdfast_stage", f->dest);
	assert_int_equal(symlink(outside, trap), 0);
	expect_rc(f, fix_restore(f), E_STAGE_IO);
	assert_int_equal(tree_entries(outside), 0);
	assert_int_equal(unlink(trap), 0);
	assert_int_equal(mkdir(trap, 0777), 0);
	assert_int_equal(chmod(trap, 0777), 0);
	expect_rc(f, fix_restore(f), E_STAGE_IO);
	assert_int_equal(tree_entries(f->out), 1);
}

static void
test_same_run_twice(void **state)
{
	struct fix *f = *state;
	char kept[500];

	make_one(f);
	(void)snprintf(kept, sizeof(kept), "%s.holdfast_stage", f->dest);
	assert_int_equal(mkdir(kept, 0700), 0);
	(void)snprintf(kept, sizeof(kept), "%s.holdfast_stage/%s", f->dest, f->args.run_id);
	assert_int_equal(mkdir(kept, 0700), 0);
	expect_rc(f, fix_restore(f), E_STAGE_IO);
	assert_true(exists(kept)); /* it is not ours to remove */
	f->args.run_id = "another";
	expect_rc(f, fix_restore(f), E_OK);
	assert_true(exists(kept));
}

static int
rename_late(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	char path[400];

	(void)os;
	(void)mkdir(bent.path, 0755);
	(void)snprintf(path, sizeof(path), "%s/appeared", bent.path);
	write_file(path, "x", 1);
	return os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
}

static void
test_destination_fills_before_promotion(void **state)
{
	struct fix *f = *state;
	char path[400];

	make_one(f);
	bent.os.rename = rename_late;
	expect_rc(f, fix_restore(f), E_PROMOTE);
	assert_int_equal(tree_entries(f->dest), 1);
	assert_non_null(f->result.stage);
	(void)snprintf(path, sizeof(path), "%s/stage_root/f", f->result.stage);
	assert_true(exists(path)); /* the verified tree is still there */
	remove_tree(f->dest);
	assert_int_equal(mkdir(f->dest, 0755), 0); /* empty when looked at */
	f->args.run_id = "second";
	expect_rc(f, fix_restore(f), E_PROMOTE);
	assert_int_equal(tree_entries(f->dest), 1);
}

static int
rename_plain_only(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	bent.calls++;
	return flags != 0 ? -EINVAL
			  : os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
}

static void
test_file_system_without_noreplace(void **state)
{
	struct fix *f = *state;

	make_one(f);
	bent.os.rename = rename_plain_only;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(bent.calls, 2);
	assert_int_equal(tree_entries(f->dest), 1);
}

/* ---- a medium that lies ---- */

static ssize_t
write_flipped(const struct os *os, int fd, const void *p, size_t len)
{
	uint8_t copy[64];

	(void)os;
	if (len == 0 || len > sizeof(copy))
		return os_posix()->write(os_posix(), fd, p, len);
	memcpy(copy, p, len);
	copy[len / 2] ^= 1;
	return os_posix()->write(os_posix(), fd, copy, len);
}

static void
test_verification_sees_a_flipped_bit(void **state)
{
	struct fix *f = *state;

	make_one(f);
	bent.os.write = write_flipped;
	expect_rc(f, fix_restore(f), E_STAGE_VERIFY);
	assert_int_equal(f->h.codes[0], E_STAGE_VERIFY);
	assert_string_equal(f->h.last_path, "/f");
	assert_false(exists(f->dest));
	assert_non_null(f->result.stage);
}

static int
close_adding(const struct os *os, int fd)
{
	int dir;

	(void)os;
	if (bent.calls++ ==
		0) { /* the first close of a run is that of the parent's listing or of the file */
		dir = os_posix()->open(os_posix(), AT_FDCWD, bent.path, O_RDONLY | O_DIRECTORY, 0);
		if (dir < 0)
			bent.calls = 0;
		else
			(void)os_posix()->close(os_posix(), dir);
		if (dir >= 0)
			(void)os_posix()->symlink(
				os_posix(), "x", AT_FDCWD, bent.path + strlen(bent.path) + 1);
	}
	return os_posix()->close(os_posix(), fd);
}

static void
test_verification_sees_a_foreign_entry(void **state)
{
	static char where[1000];
	struct fix *f = *state;
	int n;

	make_one(f);
	/* two texts: the stage's root, and the name that appears in it once it exists */
	n = snprintf(
		where, sizeof(where), "%s.holdfast_stage/%s/stage_root", f->dest, f->args.run_id);
	(void)snprintf(where + n + 1, sizeof(where) - (size_t)n - 1,
		"%s.holdfast_stage/%s/stage_root/foreign", f->dest, f->args.run_id);
	bent.path = where;
	bent.os.close = close_adding;
	expect_rc(f, fix_restore(f), E_STAGE_VERIFY);
	assert_string_equal(f->h.last_path, "/foreign");
	assert_false(exists(f->dest));
}

/* NFS and quotas may tell of lost bytes only when a file that was written is closed. */
static int
close_refused(const struct os *os, int fd)
{
	bool written = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
	int rc = os_posix()->close(os_posix(), fd);

	(void)os;
	return written ? -EDQUOT : rc;
}

static void
test_refused_close_is_lost_content(void **state)
{
	struct fix *f = *state;

	make_one(f);
	bent.os.close = close_refused;
	expect_rc(f, fix_restore(f), E_IO_SPACE);
	assert_false(exists(f->dest));
}

static int
fsync_refused(const struct os *os, int fd)
{
	(void)os;
	(void)fd;
	return -EIO;
}

static void
test_not_durable_is_not_promoted(void **state)
{
	struct fix *f = *state;

	make_one(f);
	bent.os.syncfs = fsync_refused;
	expect_rc(f, fix_restore(f), E_STAGE_IO);
	assert_false(exists(f->dest));
	assert_non_null(f->result.stage);
}

static int
fsync_second_refused(const struct os *os, int fd)
{
	(void)os;
	return bent.calls++ == 0 ? os_posix()->fsync(os_posix(), fd) : -EIO;
}

static void
test_promotion_of_doubtful_durability(void **state)
{
	struct fix *f = *state;

	make_one(f);
	bent.os.fsync = fsync_second_refused;
	expect_rc(f, fix_restore(f), E_IO_UNSURE);
	assert_true(f->result.promoted);
	assert_int_equal(tree_entries(f->dest), 1);
	assert_null(f->result.stage);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_name_dot_dot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_dot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_with_slash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_absolute, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_with_nul, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_bad_name_below_is_found_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link_then_child_of_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsorted_is_restored, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_too_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_piece_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tree_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tree_is_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_type, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_is_skipped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_lies_about_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_lies_about_one_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_copy_rescues, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tree_that_multiplies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_little_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stage_is_a_trap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_run_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_destination_fills_before_promotion, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_file_system_without_noreplace, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_verification_sees_a_flipped_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_verification_sees_a_foreign_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_refused_close_is_lost_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_durable_is_not_promoted, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_promotion_of_doubtful_durability, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
