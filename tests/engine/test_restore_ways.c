/*
 * The ways to restore beside the plain one — into a directory that is there,
 * going on from a stage, to other places, chosen paths, a metadata policy,
 * strictly, partially — where every kernel call and every store call may be
 * refused, cut short or falsified.  At every one of them: done and right, or a
 * refusal after which the destination is what it was, and either the run it
 * names goes on from its stage or the same command does it anew.
 */
#include "support/harmed.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Calls of one restore, with room; reaching it means that the loop does not end. */
#define CALLS_MAX 5000
#define BIG       60000
#define REHEARSAL "20261121T000000Z-00000000"
#define FIRST     "20261121T000000Z-00000001"
#define SECOND    "20261121T000000Z-00000002"
#define THIRD     "20261121T000000Z-00000003"

enum way_bits {
	WAY_LIVE = 1,      /* something is at the destination */
	WAY_RESUME = 2,    /* an interrupted run is continued */
	WAY_DAMAGED = 4,   /* a piece of the vault is damaged, and what is whole is wanted */
	WAY_REHEARSED = 8, /* a dry run was made there before, and left its records (D-6) */
};
struct way {
	const char *name;
	void (*choose)(void); /* completes f.args */
	unsigned bits;
	char wanted[300]; /* what it comes to, made unharmed */
};

static struct fix f;
static struct fault_os faults;
static struct os stubborn; /* a kernel that puts no tree in place */
static struct rules *includes, *excludes, *all;
static struct restore_approval hold;
static char damaged[300], good_vault[300], jail[300], original[300], partial[400];
static const struct way *way; /* the one at hand */
static unsigned long runs, refused, survived, went_on, anew;

/* ---- the snapshot, in a vault that is whole and in one that is not ---- */

static struct node
owned(struct node n)
{
	n.uid = getuid();
	n.gid = getgid();
	n.user = n.group = (struct slice){ (const uint8_t *)"root", 4 };
	return n;
}

static void
make_snapshot(void)
{
	static uint8_t big[BIG];
	static const struct xattr note = { { (const uint8_t *)"user.note", 9 },
		{ (const uint8_t *)"v", 1 } };
	struct node inner[3], nodes[5];
	uint64_t state = 7;
	struct session s;
	struct id x[3], sub;
	struct maker m;

	for (size_t i = 0; i < BIG; i++) {
		state = state * 6364136223846793005U + 1442695040888963407U;
		big[i] = (uint8_t)(state >> 56);
	}
	fix_make(&f, &s, &m);
	x[0] = maker_data(&m, big, BIG);
	x[1] = maker_data(&m, "small", 5);
	x[2] = maker_data(&m, "other", 5);
	inner[0] = owned(node_file("empty", NULL, 0, 0));
	inner[1] = owned(node_symlink("link", "nowhere"));
	inner[2] = owned(node_file("small", &x[1], 1, 5));
	inner[2].xattrs = &note;
	inner[2].xattr_count = 1;
	sub = maker_tree(&m, inner, 3);
	nodes[0] = owned(node_dir("dir", &sub));
	nodes[1] = owned(node_file("other", &x[2], 1, 5));
	nodes[2] = owned(node_file("parts", x, 1, BIG));
	nodes[3] = owned(node_file("twin-a", &x[1], 1, 5));
	nodes[4] = owned(node_file("twin-b", &x[1], 1, 5));
	nodes[3].inode = nodes[4].inode = 5;
	nodes[3].links = nodes[4].links = 2;
	fix_made(&s, &m, nodes, 5);
}

static void
make_damaged(void)
{
	char cmd[1200];

	assert_true(snprintf(cmd, sizeof(cmd),
			    "cp -a '%s' '%s' && p=$(ls -S '%s'/data/*/* | head -n 1) && "
			    "chmod u+w \"$p\" && printf X | "
			    "dd of=\"$p\" bs=1 seek=%d conv=notrunc status=none",
			    f.vault, damaged, damaged, BIG / 2) < (int)sizeof(cmd));
	assert_int_equal(system(cmd), 0);
}

/* ---- the ways ---- */

static void
choose_nothing(void)
{
}

static void
choose_exact(void)
{
	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_EXACT;
}

static void
choose_merge(void)
{
	static const enum conflict_rule choice[] = { CONFLICT_SNAPSHOT };

	f.args.kind = RESTORE_SWAP;
	f.args.tree = TREE_MERGE;
	f.args.choices = all;
	f.args.choice_rules = choice;
}

static void
choose_places(void)
{
	static const struct restore_move moves[] = { { "/parts", "/new/place/parts" },
		{ "/twin-b", "/new/twin" } };
	static const char *const only[] = { "dir", "parts", "twin-a", "twin-b" };

	f.args.moves = moves;
	f.args.move_count = 2;
	f.args.only = only;
	f.args.only_count = 2;
	f.args.strip = 1;
}

static void
choose_some(void)
{
	f.args.includes = includes;
	f.args.excludes = excludes;
}

static void
choose_policy(void)
{
	static const char *const map[] = { "0:0", "group:0:0" };

	f.args.without = (struct restore_without){ .times = true, .hardlinks = true };
	f.args.owner_map = map;
	f.args.owner_map_count = 2;
	f.args.sparse = true;
}

/* Where the name service refuses, an owner keeps its number. */
static void
choose_names(void)
{
	f.args.ownership_by_name = true;
}

static void
choose_strict(void)
{
	f.args.strict_metadata = true;
}

static void
choose_partial(void)
{
	f.args.allow_partial = true;
}

static struct way ways[] = {
	{ .name = "rehearsed", .choose = choose_nothing, .bits = WAY_REHEARSED },
	{ .name = "swap-exact", .choose = choose_exact, .bits = WAY_LIVE },
	{ .name = "swap-merge", .choose = choose_merge, .bits = WAY_LIVE },
	{ .name = "places", .choose = choose_places },
	{ .name = "some", .choose = choose_some },
	{ .name = "policy", .choose = choose_policy },
	{ .name = "names", .choose = choose_names },
	{ .name = "strict", .choose = choose_strict },
	{ .name = "partial", .choose = choose_partial, .bits = WAY_DAMAGED },
	{ .name = "resume", .choose = choose_nothing, .bits = WAY_RESUME },
	{ .name = "resume-exact", .choose = choose_exact, .bits = WAY_RESUME | WAY_LIVE },
	{ .name = "resume-merge", .choose = choose_merge, .bits = WAY_RESUME | WAY_LIVE },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* ---- before a run ---- */

static void
make_live(const char *dir)
{
	char sub[400];

	assert_int_equal(mkdir(dir, 0750), 0);
	fix_put(dir, "other", "the old other one");
	fix_put(dir, "unrelated", "precious");
	assert_true(snprintf(sub, sizeof(sub), "%s/mine", dir) < (int)sizeof(sub));
	assert_int_equal(mkdir(sub, 0750), 0);
	fix_put(sub, "here", "also precious");
	fix_time(sub);
	fix_time(dir);
}

static int
rename_stubborn(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	(void)os;
	if (strcmp(from, "stage_root") == 0)
		return -EIO;
	return os_posix()->rename(os_posix(), from_dir, from, to_dir, to, flags);
}

static void
fresh_args(const char *run_id)
{
	f.args = (struct restore_args){ .snapshot = "latest",
		.dest = f.dest,
		.run_id = run_id,
		.verify = VERIFY_HASH,
		.artifacts = true,
		.resumable = true };
	way->choose();
}

/* A stage in which one piece is wrong, so that it must be fetched. */
static void
leave_stage(void)
{
	char path[600];
	int fd;

	f.os = &stubborn;
	expect_rc(&f, fix_restore(&f), E_PROMOTE);
	f.os = os_posix();
	assert_true(snprintf(path, sizeof(path), "%s.holdfast_stage/" FIRST "/stage_root/parts",
			    f.dest) < (int)sizeof(path));
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "flip", 4, BIG / 2), 4);
	assert_int_equal(close(fd), 0);
}

static void
rehearse(void)
{
	fresh_args(REHEARSAL);
	f.args.dry_run = true;
	expect_rc(&f, fix_restore(&f), E_OK);
	assert_true(exists(f.dest));
}

static void
set_the_scene(void)
{
	remove_tree(f.out);
	assert_int_equal(mkdir(f.out, 0755), 0);
	fix_put(f.out, "bystander", "of somebody");
	if ((way->bits & WAY_LIVE) != 0)
		make_live(f.dest);
	(void)snprintf(f.vault, sizeof(f.vault), "%s",
		(way->bits & WAY_DAMAGED) != 0 ? damaged : good_vault);
	heard_init(&f.h);
	if ((way->bits & WAY_REHEARSED) != 0)
		rehearse();
	fresh_args(FIRST);
	if ((way->bits & WAY_RESUME) != 0)
		leave_stage();
}

/* ---- one run ---- */

/* Takes over the stage of `from`, as `id`; the arguments live as long as `hold`. */
static void
load_stage(const char *from, const char *id)
{
	f.args = (struct restore_args){ .run_id = id, .artifacts = true };
	assert_int_equal(
		restore_resume_load(os_posix(), f.dest, from, NULL, &hold, &f.args, &f.e), E_OK);
	f.args.allow_partial = (way->bits & WAY_DAMAGED) != 0;
}

static enum ecode
run(const struct fault_plan *kernel, const struct fault_store_plan *vault, unsigned threads,
	bool *fired)
{
	struct harmed h;
	enum ecode rc;

	restore_result_done(&f.result);
	harmed_open(&h, &f, &faults, kernel, vault, threads);
	rc = restore_run(&h.s, &f.args, &f.result, &f.e);
	*fired = harmed_close(&h);
	return rc;
}

/* ---- judging ---- */

/* Where the tree goes. */
static const char *
target(void)
{
	return (way->bits & WAY_DAMAGED) != 0 ? partial : f.dest;
}

static bool
is_done(enum ecode rc)
{
	return rc == ((way->bits & WAY_DAMAGED) != 0 ? E_RESTORE_PARTIAL : E_OK);
}

/* The store failed besides: less is there, and nothing else (D-20). */
static void
expect_less(void)
{
	char cmd[1400];

	assert_true(tree_entries(target()) < tree_entries(way->wanted));
	assert_true(snprintf(cmd, sizeof(cmd),
			    "! diff -r --no-dereference '%s' '%s' | grep -v '^Only in %s'",
			    way->wanted, target(), way->wanted) < (int)sizeof(cmd));
	assert_int_equal(system(cmd), 0);
}

static void
expect_complete(void)
{
	unsigned parts = way->choose == choose_policy ? COMPARE_ALL & ~COMPARE_MTIME : COMPARE_ALL;
	char why[512], records[500];

	assert_true(snprintf(records, sizeof(records), "%s/.holdfast_restore", target()) > 0);
	remove_tree(records);
	if (f.result.missing > 1)
		expect_less(); /* never nothing at all: that is no part of it */
	else if (!trees_equal(way->wanted, target(), parts, why, sizeof(why)))
		fail_msg("%s: %s", way->name, why);
}

/* In place, whatever was told afterwards. */
static void
judge_done(enum ecode rc)
{
	char records[500], why[512];

	if (f.result.metadata_problems == 0) {
		expect_complete();
	} else { /* an attribute was refused, and told */
		assert_true(way->choose != choose_strict);
		assert_int_equal(f.h.problems, f.result.metadata_problems + f.result.missing);
		(void)snprintf(records, sizeof(records), "%s/.holdfast_restore", target());
		remove_tree(records);
		assert_int_equal(tree_entries(target()), tree_entries(way->wanted));
	}
	if ((way->bits & WAY_LIVE) == 0)
		return;
	if (f.result.previous == NULL)
		assert_int_not_equal(rc, E_OK);
	else if (!trees_equal(original, f.result.previous, COMPARE_ALL, why, sizeof(why)))
		fail_msg("the previous tree: %s", why);
}

/* Nothing was put in place; the records of a rehearsal may be in the stage already. */
static void
judge_refused(uint64_t live)
{
	char records[500];

	assert_false(exists(partial));
	if ((way->bits & WAY_REHEARSED) != 0) {
		assert_true(snprintf(records, sizeof(records), "%s/.holdfast_restore", f.dest) > 0);
		assert_int_equal(
			tree_entries(f.dest), exists(records) ? 1 + tree_entries(records) : 0);
	} else {
		assert_true(exists(f.dest) == ((way->bits & WAY_LIVE) != 0));
		assert_true(tree_digest(f.dest) == live);
	}
	if (f.result.stage != NULL)
		assert_true(exists(f.result.stage));
}

/* Follows the advice: what it names goes on, else the same command does it. */
static void
follow(void)
{
	const char *told = strstr(f.e.next, "--resume ");
	char from[40] = "";
	bool fired;
	enum ecode rc;

	if (told != NULL) {
		(void)snprintf(from, sizeof(from), "%.25s", told + strlen("--resume "));
		assert_true(restore_resume_there(os_posix(), f.dest, from));
		load_stage(from, THIRD);
		went_on++;
	} else {
		fresh_args(THIRD);
		anew++;
	}
	rc = run(NULL, NULL, 0, &fired);
	if (!is_done(rc))
		expect_rc(&f, rc, E_OK);
	expect_complete();
	if (told != NULL)
		restore_approval_done(&hold);
	f.args.dest = f.dest; /* it was the approval's */
}

static bool
one_run(const struct fault_plan *kernel, const struct fault_store_plan *vault, unsigned threads)
{
	uint64_t live, others = tree_digest(jail);
	char bystander[400];
	enum ecode rc;
	bool fired;

	set_the_scene();
	live = tree_digest(f.dest);
	if ((way->bits & WAY_RESUME) != 0)
		load_stage(FIRST, SECOND);
	rc = run(kernel, vault, threads, &fired);
	if ((way->bits & WAY_RESUME) != 0)
		restore_approval_done(&hold);
	f.args.dest = f.dest;
	runs++;
	refused += !is_done(rc);
	survived += fired && is_done(rc);
	if (!fired && !is_done(rc))
		expect_rc(&f, rc, E_OK);
	if (f.result.promoted) {
		judge_done(rc);
	} else {
		assert_false(is_done(rc));
		judge_refused(live);
		follow();
	}
	assert_true(tree_digest(jail) == others);
	assert_true(snprintf(bystander, sizeof(bystander), "%s/bystander", f.out) > 0);
	assert_true(exists(bystander));
	return fired;
}

static void
begin(void)
{
	runs = refused = survived = went_on = anew = 0;
}

static void
end(const char *what, unsigned long at_least)
{
	print_message("# %s, %s: %lu runs, %lu refused, %lu survived, %lu went on, %lu anew\n",
		way->name, what, runs, refused, survived, went_on, anew);
	assert_in_range(refused, at_least / fault_stride(), CALLS_MAX);
	if ((way->bits & WAY_RESUME) != 0)
		assert_in_range(went_on, at_least / (2 * fault_stride()), CALLS_MAX);
}

static void
every_kernel_call(struct fault_plan plan)
{
	bool fired = true;

	for (plan.nth = 1; fired && plan.nth < CALLS_MAX; plan.nth += fault_stride())
		fired = one_run(&plan, NULL, 0);
	assert_in_range(plan.nth, 2, CALLS_MAX - 1);
}

static void
every_store_call(struct fault_store_plan plan, unsigned threads)
{
	bool fired = true;

	for (plan.nth = 1; fired && plan.nth < CALLS_MAX; plan.nth++)
		fired = one_run(NULL, &plan, threads);
	assert_in_range(plan.nth, 2, CALLS_MAX - 1);
}

static void
test_every_kernel_call(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		way = &ways[i];
		begin();
		every_kernel_call((struct fault_plan){ .error = EIO });
		every_kernel_call((struct fault_plan){ .error = EIO, .forever = true });
		every_kernel_call((struct fault_plan){
			.error = ENOSPC, .forever = true, .slots = SLOTS_MUTATING });
		end("kernel", 100);
	}
}

static void
test_short_calls(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		way = &ways[i];
		begin();
		every_kernel_call((struct fault_plan){ .mode = FAULT_SHORT_ONE });
		every_kernel_call((struct fault_plan){ .mode = FAULT_SHORT_HALF, .forever = true });
		assert_int_equal(refused, 0);
	}
}

static void
test_every_store_call(void **state)
{
	static const enum fault_store_mode modes[] = { STORE_REFUSE, STORE_CUT, STORE_CUT_LIST,
		STORE_FLIP };

	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		way = &ways[i];
		begin();
		for (size_t k = 0; k < sizeof(modes) / sizeof(modes[0]); k++) {
			struct fault_store_plan plan = { .mode = modes[k], .code = E_STORE_READ };

			every_store_call(plan, 0);
			plan.forever = true;
			every_store_call(plan, 0);
			every_store_call(plan, 2);
		}
		end("store", 20);
	}
}

/* ---- */

static int
setup(void **state)
{
	bool fired;
	enum ecode rc;

	(void)state;
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncfs */
	fix_begin(&f);
	fix_path(&f, "damaged", damaged, sizeof(damaged));
	fix_path(&f, "jail", jail, sizeof(jail));
	assert_true(snprintf(partial, sizeof(partial), "%s.partial", f.dest) > 0);
	assert_true(snprintf(good_vault, sizeof(good_vault), "%s", f.vault) > 0);
	assert_int_equal(mkdir(jail, 0755), 0);
	fix_put(jail, "secret", "quiet");
	fix_path(&f, "original", original, sizeof(original));
	make_live(original);
	make_snapshot();
	make_damaged();
	stubborn = *os_posix();
	stubborn.rename = rename_stubborn;
	if (rules_open(&includes, &f.e) != E_OK || rules_open(&excludes, &f.e) != E_OK ||
		rules_open(&all, &f.e) != E_OK)
		return -1;
	assert_int_equal(rules_add(all, "*", false, &f.e), E_OK);
	assert_int_equal(rules_add(includes, "/dir", false, &f.e), E_OK);
	assert_int_equal(rules_add(includes, "/parts", false, &f.e), E_OK);
	assert_int_equal(rules_add(excludes, "link", false, &f.e), E_OK);
	for (size_t i = 0; i < WAYS; i++) {
		way = &ways[i];
		set_the_scene();
		if ((way->bits & WAY_RESUME) != 0)
			fresh_args(SECOND);
		rc = run(NULL, NULL, 0, &fired);
		if (!is_done(rc))
			expect_rc(&f, rc, E_OK);
		assert_int_equal(f.result.missing, (way->bits & WAY_DAMAGED) != 0);
		fix_path(&f, way->name, ways[i].wanted, sizeof(ways[i].wanted));
		assert_int_equal(rename(target(), way->wanted), 0);
		char records[400];

		(void)snprintf(records, sizeof(records), "%s/.holdfast_restore", way->wanted);
		remove_tree(records);
		assert_in_range(tree_entries(way->wanted), 3, 20);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	rules_close(&includes);
	rules_close(&excludes);
	rules_close(&all);
	fix_end(&f);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kernel_call),
		cmocka_unit_test(test_short_calls),
		cmocka_unit_test(test_every_store_call),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
