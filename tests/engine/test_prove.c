/*
 * The proof after writing (R5, X-06, D-22): a store that loses, shortens or
 * falsifies a pack after it acknowledged it is caught by what promises to, and
 * no snapshot refers to it.  And the gate before: a vault that is not well
 * takes no backup, and what lasts is graver (DV-23, DV-53).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/backup.h"
#include "engine/health.h"
#include "store/local.h"
#include "support/compare_tree.h"
#include "support/fault_os.h"
#include "support/fault_store.h"
#include "support/make_vault.h"

enum harm {
	HARM_NONE,
	HARM_LOSE,
	HARM_SHORTEN,
	HARM_FLIP,
	HARM_FLIP_ONCE /* only the first read of it lies */
};

/* Over the real store: the first pack put is harmed after it was acknowledged. */
struct harmer {
	struct store st; /* first: the operations cast back */
	struct store *under;
	enum harm harm;
	enum okind kind;
	atomic_bool chosen; /* by one of the writers, which then fills in the victim */
	struct oname victim;
	atomic_bool harmed; /* … which stays */
	atomic_bool lied;
};

static struct harmer *
harmer_of(struct store *st)
{
	return (struct harmer *)st;
}

static bool
is_victim(const struct harmer *h, const struct oname *name)
{
	return h->harmed && name->kind == h->victim.kind &&
	       memcmp(name->id.b, h->victim.id.b, sizeof(name->id.b)) == 0;
}

static enum ecode
h_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct harmer *h = harmer_of(st);
	struct slice cut = parts[0];
	enum ecode rc;

	if (h->harm == HARM_NONE || name->kind != h->kind || atomic_exchange(&h->chosen, true))
		return store_put(h->under, name, parts, n, e);
	h->victim = *name;
	atomic_store(&h->harmed, true);
	assert_int_equal(n, 1);
	cut.len--;
	if (h->harm == HARM_SHORTEN)
		return store_put(h->under, name, &cut, 1, e);
	rc = store_put(h->under, name, parts, n, e);
	if (rc == E_OK && h->harm == HARM_LOSE)
		rc = h->under->ops->erase(h->under, name, e);
	return rc;
}

static enum ecode
h_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct harmer *h = harmer_of(st);
	size_t before = out->len;
	enum ecode rc = store_get(h->under, name, off, len, out, e);
	bool flips = h->harm == HARM_FLIP || (h->harm == HARM_FLIP_ONCE && !h->lied);

	if (rc == E_OK && flips && is_victim(h, name) && out->len > before) {
		out->p[before + len / 2] ^= 1;
		h->lied = true;
	}
	return rc;
}

static enum ecode
h_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	return store_stat(harmer_of(st)->under, name, size, e);
}

static enum ecode
h_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	return store_list(harmer_of(st)->under, kind, each, arg, e);
}

static enum ecode
h_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct store *under = harmer_of(st)->under;

	return under->ops->erase(under, name, e);
}

static const struct store_ops harm_ops = { .put = h_put,
	.get = h_get,
	.stat = h_stat,
	.list = h_list,
	.erase = h_erase };

struct bench {
	char dir[256], vault[300], src[300], state[300];
	struct store *local;
	unsigned seed;
};

static void
new_content(struct bench *b)
{
	char path[400];
	uint8_t noise[5000];

	b->seed++;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 131 + i / 7 + (size_t)b->seed * i);
	(void)snprintf(path, sizeof(path), "%s/file-%u", b->src, b->seed);
	write_file(path, noise, sizeof(noise));
}

static int
setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct err e;

	assert_non_null(b);
	temp_dir(b->dir, sizeof(b->dir));
	(void)snprintf(b->vault, sizeof(b->vault), "%s/vault", b->dir);
	(void)snprintf(b->src, sizeof(b->src), "%s/src", b->dir);
	(void)snprintf(b->state, sizeof(b->state), "%s/state", b->dir);
	make_vault(os_posix(), b->vault, 2);
	assert_int_equal(mkdir(b->src, 0755), 0);
	new_content(b);
	assert_int_equal(local_open(os_posix(), b->vault, &b->local, &e), E_OK);
	assert_int_equal(chdir(b->dir), 0);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	store_close(&b->local);
	assert_int_equal(chdir("/"), 0);
	remove_tree(b->dir);
	free(b);
	return 0;
}

static size_t
snapshots(struct bench *b)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };

	assert_int_equal(store_list_all(b->local, O_SNAPSHOT, &l, NULL), E_OK);
	return l.n;
}

static enum ecode
back_up(struct bench *b, struct store *st, unsigned threads, enum commit_proof how,
	struct backup_result *r, struct err *e)
{
	/* relative: the directories above are everybody's, and change */
	const char *targets[] = { "src" };
	struct backup_args args = { .targets = targets,
		.target_count = 1,
		.host = "h",
		.username = "u",
		.program_version = "test",
		.verify_after = how,
		.state_dir = b->state };
	struct heard h;
	struct session_args open = { .os = os_posix(),
		.location = b->vault,
		.store = st,
		.password = { (const uint8_t *)TEST_PASSWORD, strlen(TEST_PASSWORD) },
		.lock = SESSION_NO_LOCK,
		.threads = threads };
	struct session s = { .os = NULL };
	enum ecode rc;

	heard_init(&h);
	open.listener = &h.listener;
	assert_int_equal(session_open(&s, &open, e), E_OK);
	rc = backup_run(&s, &args, r, e);
	assert_int_equal(session_close(&s, NULL), E_OK);
	return rc;
}

static void
check_harm(struct bench *b, enum harm harm, enum okind kind, enum commit_proof how, bool caught)
{
	for (unsigned threads = 0; threads <= 2; threads += 2) {
		struct harmer h = {
			.st = { .ops = &harm_ops, .location = "harm:", .connections = 1 },
			.under = b->local,
			.harm = harm,
			.kind = kind
		};
		size_t before = snapshots(b);
		struct backup_result r;
		struct err e = { .code = E_OK };
		enum ecode rc = back_up(b, &h.st, threads, how, &r, &e);

		assert_true(h.harmed);
		assert_int_equal(rc, caught ? E_PROOF : E_OK);
		assert_int_equal(r.snapshot_made, !caught);
		assert_int_equal(snapshots(b), caught ? before : before + 1);
		if (caught)
			assert_true(e.notes > 0);
		/* the next one finds nothing of it, and stores something new */
		assert_int_equal(b->local->ops->erase(b->local, &h.victim, &e), E_OK);
		new_content(b);
	}
}

static void
a_lost_or_short_object_is_caught_by_both(void **state)
{
	static const enum okind kinds[] = { O_PACK, O_INDEX };

	for (size_t i = 0; i < 2; i++) {
		check_harm(*state, HARM_LOSE, kinds[i], PROOF_PRESENCE, true);
		check_harm(*state, HARM_LOSE, kinds[i], PROOF_READ, true);
		check_harm(*state, HARM_SHORTEN, kinds[i], PROOF_PRESENCE, true);
		check_harm(*state, HARM_SHORTEN, kinds[i], PROOF_READ, true);
	}
}

static void
a_flipped_bit_is_caught_by_reading_only(void **state)
{
	check_harm(*state, HARM_FLIP, O_PACK, PROOF_READ, true);
	check_harm(*state, HARM_FLIP, O_INDEX, PROOF_READ, true);
	check_harm(*state, HARM_FLIP, O_PACK, PROOF_PRESENCE, false); /* it does not promise that */
}

static void
right_at_the_second_read_is_a_finding(void **state)
{
	check_harm(*state, HARM_FLIP_ONCE, O_PACK, PROOF_READ, true); /* D-22 */
}

static void
without_a_proof_nothing_is_caught(void **state)
{
	check_harm(*state, HARM_LOSE, O_PACK, PROOF_NONE, false);
}

static void
a_snapshot_that_does_not_read_back_is_told(void **state)
{
	struct bench *b = *state;
	struct harmer h = { .st = { .ops = &harm_ops, .location = "harm:", .connections = 1 },
		.under = b->local,
		.harm = HARM_FLIP,
		.kind = O_SNAPSHOT };
	struct backup_result r;
	struct err e;

	assert_int_equal(back_up(b, &h.st, 0, PROOF_PRESENCE, &r, &e), E_PROOF);
	assert_true(r.snapshot_made); /* it was written: nothing is hidden */
	assert_non_null(strstr(e.note[0], "written but does not read back"));
}

static bool
measured(const struct backup_result *r, const char *part)
{
	for (unsigned i = 0; i < r->measures.n; i++)
		if (strstr(r->measures.text[i], part) != NULL)
			return true;
	return false;
}

static void
the_report_says_what_ran(void **state)
{
	struct bench *b = *state;
	struct backup_result r;
	struct err e;

	assert_int_equal(back_up(b, b->local, 2, PROOF_READ, &r, &e), E_OK);
	assert_true(r.totals.proved_objects == r.totals.packs + r.totals.index_files);
	assert_true(r.totals.packs >= 1);
	assert_true(r.totals.proved_bytes == r.totals.stored_bytes);
	assert_true(measured(&r, "read back and hashed before"));
	assert_true(measured(&r, "probed"));
	assert_true(measured(&r, "the vault's space: it has room for")); /* D-18 */
	assert_true(measured(&r, "compared with the free space before it was written"));
	assert_int_equal(back_up(b, b->local, 0, PROOF_NONE, &r, &e), E_OK);
	assert_false(measured(&r, "snapshot was written"));
	assert_false(measured(&r, "every sealed blob")); /* none was stored */
	assert_false(measured(&r, "space"));             /* nor was anything asked */
}

/* ---- the gate before ---- */

static struct fault_store *
ailing(struct bench *b, enum ecode code)
{
	struct fault_store *f;
	struct store *under = NULL;

	assert_int_equal(local_open(os_posix(), b->vault, &under, NULL), E_OK);
	f = fault_store_open(under);
	fault_store_set_plan(
		f, (struct fault_store_plan){
			   .nth = 1, .forever = true, .code = code, .ops = OP_BIT(OP_PROBE) });
	return f;
}

static struct id
repo_of(struct bench *b)
{
	struct heard h;
	struct session s;
	struct id id;

	heard_init(&h);
	open_session(&s, os_posix(), b->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	id = s.vault->repo_id;
	assert_int_equal(session_close(&s, NULL), E_OK);
	return id;
}

static void
what_lasts_is_graver(void **state)
{
	struct bench *b = *state;
	struct fault_store *f = ailing(b, E_STORE_PROBE);
	struct id repo = repo_of(b);
	struct health_summary sum;
	struct backup_result r;
	struct err e;

	for (unsigned i = 1; i <= 4; i++) {
		enum ecode rc = back_up(b, &f->st, 0, PROOF_PRESENCE, &r, &e);

		assert_int_equal(rc, i < 3 ? E_VAULT_UNWELL : E_VAULT_UNWELL_STILL);
		assert_string_equal(err_severity(rc), i < 3 ? "SEV-2" : "SEV-1");
		assert_int_equal(snapshots(b), 0);
		assert_int_equal(health_summary(os_posix(), b->state, &repo, &sum, &e), E_OK);
		assert_int_equal(sum.failures, i);
		assert_non_null(strstr(sum.reason, "E_STORE_PROBE"));
	}
	store_close(&(struct store *){ &f->st });
	assert_int_equal(back_up(b, b->local, 0, PROOF_PRESENCE, &r, &e), E_OK);
	assert_int_equal(health_summary(os_posix(), b->state, &repo, &sum, &e), E_OK);
	assert_int_equal(sum.failures, 0);
	assert_true(sum.has_success);
	f = ailing(b, E_STORE_DRIFT);
	assert_int_equal(back_up(b, &f->st, 0, PROOF_PRESENCE, &r, &e), E_VAULT_UNWELL);
	fault_store_set_plan(f, (struct fault_store_plan){ .nth = 1,
					.forever = true,
					.code = E_STORE_ATOMIC,
					.ops = OP_BIT(OP_PROBE) });
	assert_int_equal(back_up(b, &f->st, 0, PROOF_PRESENCE, &r, &e), E_STORE_ATOMIC);
	store_close(&(struct store *){ &f->st });
}

static void
a_damaged_history_is_not_trusted(void **state)
{
	static const char *const texts[] = { "", "{", "{\"format\":9,\"failures\":7}",
		"{\"format\":1,\"failures\":-1}",
		"{\"format\":1,\"failures\":9,\"last_failure\":3}" };
	struct bench *b = *state;
	struct fault_store *f = ailing(b, E_STORE_PROBE);
	struct id repo = repo_of(b);
	struct health_summary sum;
	struct backup_result r;
	char path[500];
	struct stat st;
	struct err e;

	assert_int_equal(back_up(b, &f->st, 0, PROOF_PRESENCE, &r, &e), E_VAULT_UNWELL);
	(void)snprintf(path, sizeof(path), "%s/vaults", b->state);
	for (size_t i = 0; i < sizeof(repo.b); i++)
		(void)snprintf(path + strlen(path), sizeof(path) - strlen(path),
			i == 0 ? "/%02x" : "%02x", repo.b[i]);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700); /* IX-07 */
	(void)strcat(path, "/health.json");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(unlink(path), 0);
		write_file(path, texts[i], strlen(texts[i]));
		assert_int_equal(health_summary(os_posix(), b->state, &repo, &sum, &e), E_OK);
		assert_true(sum.damaged);
		assert_int_equal(sum.failures, 0);
		/* counted anew from one: nothing of it is believed */
		assert_int_equal(back_up(b, &f->st, 0, PROOF_PRESENCE, &r, &e), E_VAULT_UNWELL);
	}
	store_close(&(struct store *){ &f->st });
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_lost_or_short_object_is_caught_by_both),
		T(a_flipped_bit_is_caught_by_reading_only),
		T(right_at_the_second_read_is_a_finding),
		T(without_a_proof_nothing_is_caught),
		T(a_snapshot_that_does_not_read_back_is_told),
		T(the_report_says_what_ran),
		T(what_lasts_is_graver),
		T(a_damaged_history_is_not_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
