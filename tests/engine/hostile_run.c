/*
 * One hostile vault: made, and taken through every verb that reads one, in a process of its own.  For each verb: nothing
 * around the destination changes, not even a time; memory and time are bounded; the refusal has the right type, or the
 * tree is exactly what the format's rules say.
 */
#include "engine/hostile_run.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/fault_os.h"
#include "support/jail.h"

/* Of the processor, for all verbs of a row together: a bomb was measured at 12 s, the others take less than one. */
#define CPU_S     60
/* A guard against what waits for ever; machines may be busy. */
#define HANG_S    400
#define GOOD      "f644 1 \\xff\\xff\\xff"
#define KEEP      "d755 keep|f644 4 keep/kept"
#define ITEMS_MAX 400
#define PARTIAL   "out/dest.partial" /* judge_leftovers() knows which verb may make it */

struct verb {
	const char *name;
	enum restore_kind kind;
	enum restore_tree tree;
	bool dry, plan, in_use, partial;
};
static const struct verb verbs[] = {
	{ .name = "dry run", .dry = true },
	{ .name = "plan", .plan = true },
	{ .name = "restore" },
	{ .name = "partial", .partial = true },
	{ .name = "swap exact", .kind = RESTORE_SWAP, .tree = TREE_EXACT, .in_use = true },
	{ .name = "swap merge", .kind = RESTORE_SWAP, .tree = TREE_MERGE, .in_use = true },
	{ .name = "swap add-only", .kind = RESTORE_SWAP, .tree = TREE_ADD_ONLY, .in_use = true },
	{ .name = "in place", .kind = RESTORE_IN_PLACE, .in_use = true },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* ---- telling ---- */

static double
clock_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void
hostile_blame(
	struct row *r, const char *verb, const char *what, const char *got, const char *wanted)
{
	r->failed++;
	(void)fprintf(stderr, "# %s: %s: %s: got %.3000s\n", r->h->name, verb, what, got);
	if (wanted != NULL)
		(void)fprintf(stderr, "#\twanted %.3000s\n", wanted);
	if (r->f.e.code != E_OK)
		(void)fprintf(stderr, "#\t%s: %.200s (%s:%d; %s)\n", err_row(r->f.e.code)->name,
			r->f.e.detail, r->f.e.file, r->f.e.line, r->f.h.last_path);
}

static const char *
code_name(enum ecode code)
{
	return code == E_OK ? "E_OK" : err_row(code)->name;
}

bool
hostile_judge_code(struct row *r, const char *verb, enum ecode got, enum ecode wanted)
{
	r->tried++;
	if (getenv("HOSTILE_TIMES") != NULL)
		(void)fprintf(stderr, "# %8.3f s until %s of %s: %s\n", clock_s() - r->began, verb,
			r->h->name, got == E_OK ? "fine" : err_row(got)->name);
	if (got != E_OK && err_row(got)->class == CLASS_INTERNAL)
		hostile_blame(r, verb, "internal", err_row(got)->name, NULL);
	else if ((r->h->flags & H_ANY) == 0 && wanted != E_BUG && got != wanted)
		hostile_blame(r, verb, "code", code_name(got), code_name(wanted));
	return got == E_OK;
}

/* ---- the place ---- */

static void
make_dir(const char *path)
{
	assert_int_equal(mkdir(path, 0755), 0);
}

static void
make_live_item(struct row *r, const char *item)
{
	char kind, name[100], target[400] = "", path[800], from[800];

	assert_true(sscanf(item, "%c %99s %399s", &kind, name, target) >= 2);
	(void)snprintf(path, sizeof(path), "%s/%s", r->f.dest, name);
	if (strncmp(target, "DECOYS", 6) == 0)
		(void)snprintf(from, sizeof(from), "%s%s", r->around, target + 6);
	else
		(void)snprintf(from, sizeof(from), "%s", target);
	if (kind == 'l')
		assert_int_equal(symlink(from, path), 0);
	else if (kind == 'h')
		assert_int_equal(link(from, path), 0);
	else if (kind == 'p')
		assert_int_equal(mkfifo(path, 0600), 0);
	else if (kind == 'd')
		make_dir(path);
	else
		write_file(path, "live", 4);
}

/* Deep trees, which are made by a function, are beyond nftw; two processes each time are beyond patience. */
static void
remove_all(const struct row *r, const char *path)
{
	char cmd[400];

	if (r->h->make == NULL) {
		remove_tree(path);
		return;
	}
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", path);
	assert_int_equal(system(cmd), 0);
}

/* What a verb finds. */
static void
set_out(struct row *r, bool in_use)
{
	char path[400], items[400], *save = NULL;

	free(r->last);
	r->last = NULL;
	remove_all(r, r->f.out);
	make_dir(r->f.out);
	(void)snprintf(path, sizeof(path), "%s/neighbour", r->f.out);
	write_file(path, "n", 1);
	if (!in_use)
		return;
	make_dir(r->f.dest);
	(void)snprintf(path, sizeof(path), "%s/keep", r->f.dest);
	make_dir(path);
	(void)snprintf(path, sizeof(path), "%s/keep/kept", r->f.dest);
	write_file(path, "kept", 4);
	if (r->h->live == NULL)
		return;
	(void)snprintf(items, sizeof(items), "%s", r->h->live);
	for (char *p = strtok_r(items, "|", &save); p != NULL; p = strtok_r(NULL, "|", &save))
		make_live_item(r, p);
}

static void
make_place(struct row *r)
{
	char path[300];

	fix_begin(&r->f);
	fix_path(&r->f, "around", r->around, sizeof(r->around));
	fix_path(&r->f, "sets", r->sets, sizeof(r->sets));
	fix_path(&r->f, "tmp", r->tmp, sizeof(r->tmp));
	fix_path(&r->f, "state", r->state, sizeof(r->state));
	fix_path(&r->f, "state/plan.json", r->plan, sizeof(r->plan));
	fix_path(&r->f, "cwd", path, sizeof(path));
	jail_decoys(r->around);
	make_dir(r->tmp);
	make_dir(r->state);
	make_dir(path);
	assert_int_equal(chdir(path), 0);
	assert_int_equal(rules_open(&r->all, &r->f.e), E_OK);
	assert_int_equal(rules_add(r->all, "*", false, &r->f.e), E_OK);
}

static struct id
make_tree(struct row *r, struct maker *m)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 26);
	struct hostile_ids ids = { .decoys = r->around };
	const struct hostile *h = r->h;

	if (h->craft != NULL)
		return h->craft(m, &h->lie); /* nothing else is in that vault */
	ids.x = maker_data(m, "x", 1);
	ids.y = maker_data(m, "yy", 2);
	if (h->make != NULL)
		return h->make(m);
	hostile_tree(&text, "", false, &ids);
	ids.empty = maker_tree_bytes(m, text.p, text.len);
	hostile_tree(&text, "f name'child", false, &ids);
	ids.sub = maker_tree_bytes(m, text.p, text.len);
	if (h->inner != NULL) {
		hostile_tree(&text, h->inner, false, &ids);
		ids.inner = maker_tree_bytes(m, text.p, text.len);
	}
	hostile_tree(&text, h->nodes, (h->flags & H_LISTED) == 0, &ids);
	return maker_tree_bytes(m, text.p, text.len);
}

static void
make_vault_of(struct row *r)
{
	struct session s;
	struct maker m;
	struct id tree;

	fix_make(&r->f, &s, &m);
	tree = make_tree(r, &m);
	(void)maker_end(&m, &tree);
	session_abandon(&s);
	r->f.result.snapshot_id = tree; /* for rows that write a record of their own */
	if (r->h->spoil != NULL)
		r->h->spoil(&r->f, r->h);
}

/* ---- listings as sets ---- */

static int
by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* What our own records are, is not the snapshot's. */
static bool
is_ours(const char *item)
{
	return strcmp(item, "d700 .holdfast_restore") == 0 ||
	       (*item != 'l' && (strstr(item, " .holdfast_restore/h-") != NULL ||
					strstr(item, " .holdfast_restore/owner.json") != NULL));
}

static size_t
split(char *text, char *items[static ITEMS_MAX], bool ours_too)
{
	char *save = NULL;
	size_t n = 0;

	for (char *p = strtok_r(text, "|", &save); p != NULL && n < ITEMS_MAX;
		p = strtok_r(NULL, "|", &save))
		if (ours_too || !is_ours(p))
			items[n++] = p;
	qsort(items, n, sizeof(items[0]), by_text);
	return n;
}

static bool
same_items(const char *a, const char *b)
{
	char *x = strdup(a), *y = strdup(b);
	char *xs[ITEMS_MAX], *ys[ITEMS_MAX];
	size_t n = split(x, xs, false), m = split(y, ys, false);
	bool same = n == m;

	for (size_t i = 0; same && i < n; i++)
		same = strcmp(xs[i], ys[i]) == 0;
	free(x);
	free(y);
	return same;
}

/* The decoys' path in a listing becomes a word. */
static char *
listing_of(const struct row *r, const char *path)
{
	char *text = jail_listing(path), *out = calloc(1, strlen(text) + 1), *to = out;
	size_t len = strlen(r->around);

	for (const char *p = text; *p != '\0';) {
		if (strncmp(p, r->around, len) == 0) {
			(void)memcpy(to, "DECOYS", 6);
			to += 6;
			p += len;
		} else {
			*to++ = *p++;
		}
	}
	free(text);
	return out;
}

static void
judge_tree(struct row *r, const char *verb, const char *path, const char *more)
{
	const struct hostile *h = r->h;
	char *got, *wanted = NULL;
	bool good = h->nodes != NULL && (h->flags & H_LISTED) == 0;

	if ((h->flags & H_UNLISTED) != 0)
		return;
	got = listing_of(r, path);
	assert_true(asprintf(&wanted, "%s|%s|%s", h->tree, good ? GOOD : "", more) > 0);
	if (!same_items(got, wanted))
		hostile_blame(r, verb, "tree", got, wanted);
	free(wanted);
	free(got);
}

/* ---- the census ---- */

static char *
census(const struct row *r, bool with_dest)
{
	static const char *const grows[] = { ".", "out", "tmp", "state", "vault", "around/linked",
		NULL };
	static const char *const but_dest[] = { "sets", "tmp/*", "state/*", "vault/.drill-*",
		"out/dest.holdfast_stage", "out/.holdfast_restore_previous_*", "out/dest", PARTIAL,
		NULL };
	static const char *const all[] = { "sets", "tmp/*", "state/*", "vault/.drill-*",
		"out/dest.holdfast_stage", PARTIAL, NULL };

	return jail_census(r->f.dir, with_dest ? all : but_dest, grows);
}

/* For a verb that changes nothing: the one before it told how things are.  The caller frees. */
char *
hostile_census(struct row *r)
{
	char *known = r->last;

	r->last = NULL;
	return known != NULL ? known : census(r, true);
}

void
hostile_judge_census(struct row *r, const char *verb, const char *before, bool with_dest)
{
	char *after = census(r, with_dest);

	if (!jail_same(before, after, r->h->name))
		hostile_blame(r, verb, "census", "another", NULL);
	free(r->last);
	r->last = with_dest ? after : NULL;
	if (!with_dest)
		free(after);
	if (exists("/tmp/x"))
		hostile_blame(r, verb, "outside", "/tmp/x", NULL);
}

/* Beside the destination only what the result tells of. */
static void
judge_leftovers(struct row *r, const char *verb)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s.holdfast_stage", r->f.dest);
	if (exists(path) && r->f.result.stage == NULL)
		hostile_blame(r, verb, "stage left", path, NULL);
	if (!exists(path) && r->f.result.stage != NULL)
		hostile_blame(r, verb, "stage told", "nothing there", NULL);
	fix_path(&r->f, PARTIAL, path, sizeof(path));
	if (exists(path) != (r->f.e.code == E_RESTORE_PARTIAL))
		hostile_blame(r, verb, "beside the destination", "a part, or none", NULL);
}

/* ---- the verbs ---- */

static void
set_args(struct row *r, const struct verb *v)
{
	static const enum conflict_rule snapshot[] = { CONFLICT_SNAPSHOT };
	bool wins = (r->h->flags & H_SNAPSHOT_WINS) != 0;
	bool artifacts = (r->h->flags & H_ARTIFACTS) != 0;

	(void)snprintf(r->run, sizeof(r->run), "h-%td", v - verbs);
	(void)snprintf(r->previous, sizeof(r->previous), "%s/.holdfast_restore_previous_dest_%s",
		r->f.out, r->run);
	r->f.args = (struct restore_args){
		.snapshot = "latest",
		.dest = r->f.dest,
		.run_id = r->run,
		.verify = VERIFY_HASH,
		.kind = v->kind,
		.tree = v->tree,
		.dry_run = v->dry,
		.plan_file = v->plan ? r->plan : NULL,
		.allow_partial = v->partial,
		.choices = wins ? r->all : NULL,
		.choice_rules = wins ? snapshot : NULL,
		.artifacts = artifacts && !v->dry,
		.fallback_dir = r->state,
		.safety_dir = v->kind == RESTORE_IN_PLACE ? r->sets : NULL,
	};
}

static bool
is_conflict(const struct row *r, const struct verb *v)
{
	return r->h->live != NULL && v->in_use && v->tree != TREE_EXACT &&
	       (r->h->flags & H_SNAPSHOT_WINS) == 0;
}

/* With what is there already, by the verb's own rule. */
static void
judge_success(struct row *r, const struct verb *v, const char *live)
{
	char *previous;

	if (v->dry || v->plan)
		return;
	if (v->tree == TREE_ADD_ONLY && r->h->live != NULL)
		return; /* what is there stays: the census tells that nothing else changed */
	judge_tree(r, v->name, r->f.dest,
		v->kind == RESTORE_IN_PLACE || v->tree == TREE_MERGE || v->tree == TREE_ADD_ONLY
			? KEEP
			: "");
	if (v->kind != RESTORE_SWAP)
		return;
	previous = listing_of(r, r->previous);
	if (strcmp(previous, live) != 0)
		hostile_blame(r, v->name, "previous tree", previous, live);
	free(previous);
}

/* What is whole of a damaged snapshot, beside the destination (D-20). */
static void
judge_partial(struct row *r, const struct verb *v)
{
	char path[400], *got;

	fix_path(&r->f, PARTIAL, path, sizeof(path));
	got = listing_of(r, path);
	if (!same_items(got, r->h->partial))
		hostile_blame(r, v->name, "tree", got, r->h->partial);
	free(got);
}

static enum ecode
of_restore(const struct row *r, const struct verb *v)
{
	const struct hostile *h = r->h;

	if ((v->dry || v->plan) && (h->flags & H_PLANNED) != 0)
		return E_OK;
	if (v->partial && h->partial != NULL)
		return E_RESTORE_PARTIAL;
	return h->want == E_OK && is_conflict(r, v) && !v->dry ? E_RESTORE_CONFLICT : h->want;
}

static void
run_verb(struct row *r, const struct verb *v)
{
	bool with_dest = v->dry || v->plan, ok;
	enum ecode wanted = of_restore(r, v), rc;
	char *before, *whole, *live;

	set_out(r, v->in_use);
	set_args(r, v);
	live = listing_of(r, r->f.dest);
	before = census(r, false);
	whole = census(r, true);
	heard_init(&r->f.h);
	rc = fix_restore(&r->f);
	if (rc == E_RESTORE_CONFLICT && r->h->live != NULL && v->tree == TREE_ADD_ONLY)
		wanted = rc; /* what is there stays, whatever the rule wants */
	ok = hostile_judge_code(r, v->name, rc, wanted);
	hostile_judge_census(r, v->name, ok && !with_dest ? before : whole, !ok || with_dest);
	judge_leftovers(r, v->name);
	if (ok && v->kind == RESTORE_EMPTY && !with_dest)
		r->restored = true;
	if (rc == E_RESTORE_PARTIAL && r->h->partial != NULL)
		judge_partial(r, v);
	if (ok)
		judge_success(r, v, live);
	else if (!with_dest && r->restored && wanted == E_OK && (r->h->flags & H_ANY) != 0)
		hostile_blame(r, v->name, "not as restore", err_row(rc)->name, "E_OK");
	free(live);
	free(before);
	free(whole);
}

static void
run_row(struct row *r)
{
	make_place(r);
	make_vault_of(r);
	for (size_t i = 0; i < VERBS; i++)
		if ((!verbs[i].in_use || (r->h->flags & H_ALONE) == 0) &&
			(!verbs[i].partial || r->h->partial != NULL))
			run_verb(r, &verbs[i]);
	set_out(r, false);
	set_args(r, &verbs[2]);
	r->f.args.run_id = "h-again";
	if (fix_restore(&r->f) != E_OK)
		hostile_run_verify(r, "verify against decoys", r->around, hostile_of_against(r));
	else
		hostile_run_verify(
			r, "verify against what was restored", r->f.dest, hostile_of_against(r));
	hostile_run_verify(r, "verify", NULL, hostile_of_verify(r->h));
	hostile_run_drill(r);
	hostile_run_check(r, false);
	if (r->h->nodes == NULL || r->h->spoil != NULL) /* the packs are honest else */
		hostile_run_check(r, true);
	free(r->last);
}

/* ---- a process a vault ---- */

static size_t address_bytes = (size_t)6 << 30;

void
hostile_limit(size_t bytes)
{
	address_bytes = bytes;
}

static void
limit_self(void)
{
	struct rlimit limit = { address_bytes, address_bytes };

	if (fault_stride() > 1) /* sanitizers map terabytes, and are many times slower */
		return;
	(void)setrlimit(RLIMIT_AS, &limit);
	limit = (struct rlimit){ CPU_S, CPU_S };
	(void)setrlimit(RLIMIT_CPU, &limit);
}

static void
in_child(const struct hostile *h, unsigned threads)
{
	static struct row r;

	limit_self();
	(void)setenv(
		"CMOCKA_TEST_ABORT", "1", 1); /* a failed check must not go on with the next test */
	(void)alarm(HANG_S);
	r.h = h;
	r.f.threads = threads;
	r.began = clock_s();
	run_row(&r);
	rules_close(&r.all);
	restore_result_done(&r.f.result);
	assert_int_equal(chdir("/"), 0);
	remove_all(&r, r.f.dir);
	exit(r.failed > 0 ? 1 : 0);
}

static unsigned long vaults, bad;
static long peak_kib;
static const char *peak_name;

static void
try_vault(const struct hostile *h, unsigned threads)
{
	struct rusage usage;
	int status;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		in_child(h, threads);
	assert_int_equal(wait4(pid, &status, 0, &usage), pid);
	vaults++;
	if (usage.ru_maxrss > peak_kib) {
		peak_kib = usage.ru_maxrss;
		peak_name = h->name;
	}
	if (getenv("HOSTILE_TIMES") != NULL)
		(void)fprintf(stderr, "# %4ld ms %6ld KiB %s\n",
			usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 +
				usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000,
			usage.ru_maxrss, h->name);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	bad++;
	(void)fprintf(stderr, "# %s: %s %d\n", h->name,
		WIFSIGNALED(status) ? "killed by signal" : "failed, status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void
hostile_family(const struct hostile *rows, size_t n, const char *family)
{
	const char *only = getenv("HOSTILE_ONLY");
	unsigned long from = vaults, worse = bad, left_out = 0;

	for (size_t i = 0; i < n; i += fault_stride()) {
		if (only != NULL && strstr(rows[i].name, only) == NULL)
			continue;
		if ((rows[i].flags & H_ROOT) != 0 && getuid() != 0)
			left_out++;
		else
			try_vault(&rows[i], i % 3 == 0 ? 2 : 0);
	}
	print_message("# %s: %lu vaults, %lu bad, %lu left out: they need root\n", family,
		vaults - from, bad - worse, left_out);
	assert_int_equal(bad, worse);
}

void
hostile_memory(long kib_max, unsigned long vaults_min)
{
	print_message("# %lu vaults; most memory: %ld KiB (%s)\n", vaults, peak_kib, peak_name);
	if (fault_stride() > 1 || getenv("HOSTILE_ONLY") != NULL)
		return;
	assert_in_range(peak_kib, 1, kib_max);
	assert_true(vaults >= vaults_min);
}

int
hostile_main(const struct CMUnitTest *tests, size_t n)
{
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0); /* thousands of syncfs */
	(void)umask(022);
	return _cmocka_run_group_tests("hostile", tests, n, NULL, NULL);
}
