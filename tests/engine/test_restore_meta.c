/*
 * What of the metadata is applied (D-14, IX-20): every switch, owners given to
 * others, set-user-ID bits, and that the plan carries it.  And where nothing is
 * restored to: the vault.  X-05 by name.
 */
#include "support/restore_fix.h"

#include <errno.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "support/tmpdir.h"

#define OLD 1000000000

static struct xattr one_xattr;

/* Mode bits with a Go-encoded type as the writer takes them come from node_file; only permissions change here. */
static void
dress(struct node *n, uint32_t mode, uint32_t uid)
{
	n->mode = (n->mode & ~UINT32_C(0777)) | mode;
	n->uid = uid;
	n->gid = uid;
	n->user = (struct slice){ (const uint8_t *)"someone", 7 };
	n->mtime = n->atime = (struct instant){ .s = OLD };
}

#define GO_SETUID (UINT32_C(1) << 23)

/* d/ 0750 {a 0640}, bare/ 0710, twin-a = twin-b, set (04755), null device, link */
static void
make_source(struct fix *f)
{
	struct session s;
	struct maker m;
	struct node inner[1], nodes[7];
	struct id x, d, none;

	fix_make(f, &s, &m);
	x = maker_data(&m, "data", 4);
	inner[0] = node_file("a", &x, 1, 4);
	dress(&inner[0], 0640, 4321);
	one_xattr.name = (struct slice){ (const uint8_t *)"user.note", 9 };
	one_xattr.value = (struct slice){ (const uint8_t *)"kept", 4 };
	inner[0].xattrs = &one_xattr;
	inner[0].xattr_count = 1;
	d = maker_tree(&m, inner, 1);
	none = maker_tree(&m, NULL, 0);
	nodes[0] = node_dir("bare", &none);
	dress(&nodes[0], 0710, 4321);
	nodes[1] = node_dir("d", &d);
	dress(&nodes[1], 0750, 4321);
	nodes[2] = node_symlink("link", "nowhere");
	nodes[3] = node_symlink("null", "x");
	nodes[3].type = NODE_CHARDEV;
	nodes[3].linktarget = (struct slice){ NULL, 0 };
	nodes[3].device = makedev(1, 3);
	nodes[4] = node_file("set", &x, 1, 4);
	dress(&nodes[4], 0755, 4321);
	nodes[4].mode |= GO_SETUID;
	nodes[5] = node_file("twin-a", &x, 1, 4);
	nodes[6] = node_file("twin-b", &x, 1, 4);
	nodes[5].inode = nodes[6].inode = 9;
	nodes[5].links = nodes[6].links = 2;
	fix_made(&s, &m, nodes, 7);
}

static int
setup(void **state)
{
	static struct fix f;

	fix_begin(&f);
	make_source(&f);
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	fix_end(*state);
	return 0;
}

static struct stat
look(const struct fix *f, const char *rel)
{
	char path[700];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dest, rel);
	if (lstat(path, &st) != 0)
		fail_msg("%s is missing", path);
	return st;
}

static bool
is_root(void)
{
	return geteuid() == 0;
}

/* mode 750 does not become 755, empty directories and links do not vanish. */
static void
test_x05_modes_empty_directories_and_links(void **state)
{
	struct fix *f = *state;

	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "d").st_mode, S_IFDIR | 0750);
	assert_int_equal(look(f, "d/a").st_mode, S_IFREG | 0640);
	assert_int_equal(look(f, "bare").st_mode, S_IFDIR | 0710);
	assert_true(S_ISLNK(look(f, "link").st_mode));
	assert_int_equal(look(f, "d/a").st_mtime, OLD);
	assert_int_equal(look(f, "twin-a").st_ino, look(f, "twin-b").st_ino);
	if (is_root()) {
		assert_int_equal(look(f, "set").st_mode & 07777, 04755);
		assert_int_equal(look(f, "set").st_uid, 4321);
		assert_true(S_ISCHR(look(f, "null").st_mode));
	}
}

static void
test_without_each(void **state)
{
	struct fix *f = *state;
	char path[700], value[8];

	f->args.without = (struct restore_without){ .owner = true,
		.mode = true,
		.times = true,
		.xattrs = true,
		.hardlinks = true,
		.devices = true };
	f->args.strict_metadata = true; /* nothing of it is a failure */
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(f->result.metadata_problems, 0);
	assert_int_equal(look(f, "d").st_mode, S_IFDIR | 0700);
	assert_int_equal(look(f, "d/a").st_mode, S_IFREG | 0600);
	assert_int_equal(look(f, "set").st_mode, S_IFREG | 0600);
	assert_int_equal(look(f, "d/a").st_uid, geteuid());
	assert_true(look(f, "d/a").st_mtime > OLD);
	assert_true(look(f, "twin-a").st_ino != look(f, "twin-b").st_ino);
	(void)snprintf(path, sizeof(path), "%s/null", f->dest);
	assert_false(exists(path));
	(void)snprintf(path, sizeof(path), "%s/d/a", f->dest);
	assert_true(getxattr(path, "user.note", value, sizeof(value)) < 0);
}

/* The bits would give the rights of whoever restores. */
static void
test_setuid_needs_its_owner(void **state)
{
	struct fix *f = *state;

	f->args.without.owner = true;
	f->args.without.devices = true;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "set").st_mode & 07777, 0755);
	remove_tree(f->dest);
	f->args.allow_setid = true;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "set").st_mode & 07777, 04755);
	remove_tree(f->dest);
	f->args.allow_setid = false;
	f->args.without = (struct restore_without){ .setid = true };
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "set").st_mode & 07777, 0755);
}

static void
test_owners_are_given_to_others(void **state)
{
	static const char *const map[] = { "4321:1234", "group:4321:1235" };
	static const char *const by_name[] = { "someone:nobody" };
	struct fix *f = *state;

	if (!is_root())
		skip();
	f->args.owner_map = map;
	f->args.owner_map_count = 2;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "d/a").st_uid, 1234);
	assert_int_equal(look(f, "d/a").st_gid, 1235);
	assert_int_equal(look(f, "set").st_mode & 07777, 04755);
	remove_tree(f->dest);
	f->args.owner_map = by_name;
	f->args.owner_map_count = 1;
	expect_rc(f, fix_restore(f), E_OK);
	assert_int_equal(look(f, "d/a").st_uid, 65534);
	assert_int_equal(look(f, "d/a").st_gid, 4321);
}

/* ---- the name service ---- */

static struct os directory; /* a machine whose accounts are not in /etc/passwd */
static _Atomic unsigned asked;
static int answer;

static int
directory_number(const struct os *os, const char *name, uint32_t *out)
{
	(void)os;
	asked++;
	if (answer == 0 && strcmp(name, "someone") != 0)
		return -ENOENT;
	*out = 777;
	return answer;
}

static char *
plan_by_name(struct fix *f, int how)
{
	static char plan[400];
	size_t len;

	directory = *os_posix();
	directory.user_number = directory.group_number = directory_number;
	answer = how;
	asked = 0;
	f->os = &directory;
	f->args.ownership_by_name = true;
	fix_path(f, "plan.json", plan, sizeof(plan));
	f->args.plan_file = plan;
	(void)unlink(plan);
	fix_path(f, "plan.json.candidates.jsonl", plan, sizeof(plan));
	(void)unlink(plan);
	fix_path(f, "plan.json.conflicts.jsonl", plan, sizeof(plan));
	(void)unlink(plan);
	fix_path(f, "plan.json", plan, sizeof(plan));
	expect_rc(f, fix_restore(f), E_OK);
	return tmpdir_read(f->dir, "plan.json.candidates.jsonl", &len);
}

static size_t
times_in(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)) != NULL; text++)
		n++;
	return n;
}

/* Every name once, however many files and threads ask. */
static void
test_owners_by_name_come_from_the_name_service(void **state)
{
	struct fix *f = *state;
	char *text;

	f->threads = 3;
	text = plan_by_name(f, 0);
	assert_int_equal(times_in(text, "\"uid\":4321"), 0);
	assert_in_range(times_in(text, "\"uid\":777"), 4, 20);
	assert_in_range(asked, 1, 2);
	free(text);
}

/* An owner that nobody could be asked for keeps its number, and that is told. */
static void
test_a_name_service_that_is_down_is_told(void **state)
{
	struct fix *f = *state;
	char *text = plan_by_name(f, -EIO);

	assert_int_equal(times_in(text, "\"uid\":777"), 0);
	assert_in_range(times_in(text, "\"uid\":4321"), 4, 20);
	assert_non_null(strstr(f->h.last_note, "names_not_asked"));
	free(text);
}

static void
test_owners_that_cannot_be_used(void **state)
{
	static const char *const bad[] = { "1", ":1", "1:", "1:2:3", "1:no-such-user-here",
		"1:4294967295", "group:1" };
	struct fix *f = *state;

	f->args.owner_map_count = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f->args.owner_map = &bad[i];
		expect_rc(f, fix_restore(f), E_OWNER_MAP);
	}
	assert_false(exists(f->dest));
}

static void
test_the_plan_carries_it(void **state)
{
	static const char *const map[] = { "4321:77" };
	struct fix *f = *state;
	struct restore_args given = f->args;
	struct restore_approval hold;
	char plan[400];
	size_t len;
	char *text;

	fix_path(f, "plan.json", plan, sizeof(plan));
	f->args.plan_file = plan;
	f->args.owner_map = map;
	f->args.owner_map_count = 1;
	f->args.without = (struct restore_without){ .times = true, .devices = true };
	f->args.allow_setid = true;
	expect_rc(f, fix_restore(f), E_OK);
	text = tmpdir_read(f->dir, "plan.json", &len);
	assert_non_null(strstr(text, "\"owner_map\":[\"4321:77\"]"));
	assert_non_null(strstr(text, "\"without\":[\"devices\",\"times\"]"));
	assert_non_null(strstr(text, "\"allow_setuid\":true"));
	free(text);
	f->args = given;
	assert_int_equal(restore_plan_load(os_posix(), plan, NULL, &hold, &f->args, &f->e), E_OK);
	expect_rc(f, fix_restore(f), E_OK);
	assert_true(look(f, "d/a").st_mtime > OLD);
	if (is_root())
		assert_int_equal(look(f, "d/a").st_uid, 77);
	restore_approval_done(&hold);
}

/* ---- the vault is no destination ---- */

static void
test_the_vault_is_no_destination(void **state)
{
	struct fix *f = *state;
	char path[700], link[400];

	(void)snprintf(path, sizeof(path), "%s/data/new", f->vault);
	f->args.dest = path;
	expect_rc(f, fix_restore(f), E_DEST_VAULT);
	f->args.dest = f->vault;
	expect_rc(f, fix_restore(f), E_DEST_VAULT);
	f->args.dest = f->dir;
	f->args.kind = RESTORE_SWAP;
	expect_rc(f, fix_restore(f), E_DEST_VAULT);
	f->args.kind = RESTORE_EMPTY;
	fix_path(f, "by-another-name", link, sizeof(link));
	assert_int_equal(symlink(f->vault, link), 0);
	(void)snprintf(path, sizeof(path), "%s/new", link);
	f->args.dest = path;
	expect_rc(f, fix_restore(f), E_DEST_VAULT);
	f->args.dest = f->dest;
	expect_rc(f, fix_restore(f), E_OK);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_x05_modes_empty_directories_and_links),
		T(test_without_each),
		T(test_setuid_needs_its_owner),
		T(test_owners_are_given_to_others),
		T(test_owners_by_name_come_from_the_name_service),
		T(test_a_name_service_that_is_down_is_told),
		T(test_owners_that_cannot_be_used),
		T(test_the_plan_carries_it),
		T(test_the_vault_is_no_destination),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
