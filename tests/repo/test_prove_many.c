/*
 * The proof after writing (R5, X-06) by its two ways, each object by its name
 * and, for thousands, one listing a kind; with every store call of it refused, cut
 * or falsified.  A proof that could not be made is never one that was made.
 */
#include "vault_fix.h"

#include "support/fault_store.h"

#define FEW        8
#define MANY       4200 /* objects above PROVE_BY_NAME_MAX of commit_prove.c */
#define BLOB_BYTES 100
#define TARGET     ((uint32_t)64) /* each blob is a pack */
#define CALLS_MAX  1000
#define STORE_ROOM ((size_t)1 << 20)

struct bench {
	struct fix *f;
	struct fault_store *fs;
	struct commit *c;
	struct commit_totals totals;
};

static struct bench
bench_open(size_t blobs, unsigned writers)
{
	struct bench b = { .f = fix_open(2) };
	struct commit_args args = { .pack_target_bytes = TARGET, .writers = writers };
	struct store *mem = NULL;
	struct err *e = &b.f->e;

	assert_int_equal(mem_open(&mem, e), E_OK);
	b.fs = fault_store_open(mem);
	b.f->v.store = &b.fs->st;
	assert_int_equal(commit_open(&b.f->v, b.f->ix, &args, &b.c, e), E_OK);
	for (size_t i = 0; i < blobs; i++) {
		struct blob_added added;
		uint8_t p[BLOB_BYTES];
		struct id id;

		fix_content(i, true, p, sizeof(p));
		blob_id(b.f->codec, p, sizeof(p), &id);
		assert_int_equal(
			commit_blob(b.c, b.f->codec, BLOB_DATA, &id, p, sizeof(p), &added, e),
			E_OK);
	}
	assert_int_equal(commit_flush(b.c, b.f->codec, e), E_OK);
	commit_totals(b.c, &b.totals);
	assert_int_equal(b.totals.packs, blobs);
	return b;
}

static void
bench_close(struct bench *b)
{
	commit_close(&b->c);
	store_close(&(struct store *){ &b->fs->st });
	fix_close(b->f);
}

/* Under this plan, from the first call of the proof on. */
static enum ecode
prove(struct bench *b, enum commit_proof how, struct fault_store_plan plan)
{
	memset(b->fs->op_calls, 0, sizeof(b->fs->op_calls));
	fault_store_set_plan(b->fs, plan);
	return commit_prove(b->c, how, NULL, NULL, &b->f->e);
}

static void
check_sound(struct bench *b, enum commit_proof how)
{
	struct commit_totals t;

	assert_int_equal(prove(b, how, (struct fault_store_plan){ 0 }), E_OK);
	commit_totals(b->c, &t);
	assert_int_equal(t.proved_objects, t.packs + t.index_files);
	assert_int_equal(t.proved_bytes, how == PROOF_READ ? t.stored_bytes : 0);
}

/* Every call of the proof under this plan; gives how many there were. */
static unsigned long
each_call(struct bench *b, enum commit_proof how, struct fault_store_plan plan, enum ecode want)
{
	for (plan.nth = 1;; plan.nth++) {
		enum ecode rc = prove(b, how, plan);

		assert_true(plan.nth < CALLS_MAX);
		if (b->fs->fired == 0) {
			assert_int_equal(rc, E_OK);
			return plan.nth - 1;
		}
		if (rc != want)
			fail_msg("call %lu: %s: %s", plan.nth, err_row(rc)->name, b->f->e.detail);
		if (want == E_PROOF)
			assert_true(b->f->e.notes > 0); /* which object, and what */
		if (rc != E_OK && plan.forever)
			return plan.nth; /* all of them were refused at once */
	}
}

/* What one of the packs is now; `part` of it is left, 0: none. */
static struct oname
harm_a_pack(struct bench *b, size_t part)
{
	autoclean(store_listing_done) struct store_listing l = { .n = 0 };
	autoclean(buf_done) struct buf bytes = buf_limit(STORE_ROOM);
	struct store *under = b->fs->under;
	struct oname name = { .kind = O_PACK };
	struct slice rest;

	assert_int_equal(store_list_all(under, O_PACK, &l, NULL), E_OK);
	name.id = l.v[l.n / 2].id;
	assert_int_equal(store_get_all(under, &name, &bytes, NULL), E_OK);
	assert_int_equal(under->ops->erase(under, &name, NULL), E_OK);
	rest = (struct slice){ bytes.p, part };
	if (part > 0)
		assert_int_equal(store_put(under, &name, &rest, 1, NULL), E_OK);
	return name;
}

static void
check_named(struct bench *b, const struct oname *name, const char *what)
{
	char text[ONAME_TEXT_MAX];

	oname_text(name, text);
	assert_int_equal(prove(b, PROOF_PRESENCE, (struct fault_store_plan){ 0 }), E_PROOF);
	assert_int_equal(b->f->e.notes, 1);
	assert_non_null(strstr(b->f->e.note[0], text));
	assert_non_null(strstr(b->f->e.note[0], what));
}

static void
few_are_asked_for_by_name(void **state)
{
	struct bench b = bench_open(FEW, 0);
	size_t objects = FEW + b.totals.index_files;

	(void)state;
	check_sound(&b, PROOF_PRESENCE);
	assert_int_equal(b.fs->op_calls[OP_STAT], objects);
	assert_int_equal(b.fs->op_calls[OP_LIST], 0);
	assert_int_equal(each_call(&b, PROOF_PRESENCE,
				 (struct fault_store_plan){ .code = E_STORE_READ }, E_PROOF),
		objects);
	assert_int_equal(each_call(&b, PROOF_PRESENCE,
				 (struct fault_store_plan){ .code = E_STORE_ABSENT }, E_PROOF),
		objects);
	(void)each_call(&b, PROOF_PRESENCE,
		(struct fault_store_plan){ .code = E_STORE_READ, .forever = true }, E_PROOF);
	check_sound(&b, PROOF_PRESENCE);
	check_named(&b, &(struct oname){ O_PACK, harm_a_pack(&b, 0).id }, "not there any more");
	bench_close(&b);
}

static void
thousands_are_listed(void **state)
{
	struct bench b = bench_open(MANY, 0);
	struct fault_store_plan refused = { .code = E_STORE_READ };

	(void)state;
	check_sound(&b, PROOF_PRESENCE);
	assert_int_equal(b.fs->op_calls[OP_LIST], 2);
	assert_int_equal(b.fs->op_calls[OP_STAT], 0);
	assert_int_equal(each_call(&b, PROOF_PRESENCE, refused, E_STORE_READ), 2);
	refused.mode = STORE_CUT_LIST;
	assert_int_equal(each_call(&b, PROOF_PRESENCE, refused, E_STORE_READ), 2);
	/* half a listing that calls itself whole: found wanting, not believed */
	assert_int_equal(
		prove(&b, PROOF_PRESENCE, (struct fault_store_plan){ .nth = 1, .mode = STORE_CUT }),
		E_PROOF);
	assert_non_null(strstr(b.f->e.note[0], "not listed any more"));
	check_sound(&b, PROOF_PRESENCE);
	bench_close(&b);
}

static void
one_of_thousands_is_missed(void **state)
{
	struct bench b = bench_open(MANY, 0);
	struct oname gone;

	(void)state;
	gone = harm_a_pack(&b, 0);
	check_named(&b, &gone, "not listed any more");
	bench_close(&b);
	b = bench_open(MANY, 0);
	gone = harm_a_pack(&b, 17);
	check_named(&b, &gone, "it has 17 bytes");
	bench_close(&b);
}

/* Serial and with the commit's own writers. */
static void
reading_is_refused_or_falsified(void **state)
{
	(void)state;
	for (unsigned writers = 0; writers <= 2; writers += 2) {
		struct bench b = bench_open(FEW, writers);
		size_t objects = FEW + b.totals.index_files;
		struct fault_store_plan plan = { .code = E_STORE_READ };

		check_sound(&b, PROOF_READ);
		/* each is asked for its size and read in one piece; a flaw is looked at twice */
		assert_int_equal(each_call(&b, PROOF_READ, plan, E_PROOF), 2 * objects);
		plan.mode = STORE_FLIP;
		assert_int_equal(each_call(&b, PROOF_READ, plan, E_PROOF), objects);
		plan.forever = true;
		(void)each_call(&b, PROOF_READ, plan, E_PROOF);
		plan = (struct fault_store_plan){ .mode = STORE_CUT };
		assert_int_equal(each_call(&b, PROOF_READ, plan, E_PROOF), objects);
		check_sound(&b, PROOF_READ);
		(void)harm_a_pack(&b, 17);
		assert_int_equal(prove(&b, PROOF_READ, (struct fault_store_plan){ 0 }), E_PROOF);
		bench_close(&b);
	}
}

static bool
at_once(void *arg)
{
	(void)arg;
	return true;
}

static void
a_stop_is_no_proof(void **state)
{
	struct bench b = bench_open(FEW, 2);
	struct commit_totals t;

	(void)state;
	assert_int_equal(commit_prove(b.c, PROOF_READ, at_once, NULL, &b.f->e), E_FLOW_STOPPED);
	commit_totals(b.c, &t);
	assert_int_equal(t.proved_objects, 0);
	bench_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_are_asked_for_by_name),
		cmocka_unit_test(thousands_are_listed),
		cmocka_unit_test(one_of_thousands_is_missed),
		cmocka_unit_test(reading_is_refused_or_falsified),
		cmocka_unit_test(a_stop_is_no_proof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
