#include "vault_fix.h"

#include "store/local.h"
#include "support/fault_os.h"
#include "support/tmpdir.h"

#define TARGET ((uint32_t)64 << 10) /* small packs, many of them */

static int
setup(void **state)
{
	*state = fix_open(2);
	return 0;
}

static int
teardown(void **state)
{
	fix_close(*state);
	return 0;
}

/* ---- what a run adds ---- */

struct batch {
	size_t first, n; /* the contents' numbers */
	size_t len;      /* of each, at least 16 bytes */
	bool noise;
	enum blob_kind kind;
};

static struct id
content_of(struct fix *f, const struct batch *b, size_t i, uint8_t *p)
{
	struct id id;

	fix_content(b->first + i, b->noise, p, b->len);
	blob_id(f->codec, p, b->len, &id);
	return id;
}

/* Add the batch with the given codec; the first refusal, or E_OK.  *fresh counts the new ones. */
static enum ecode
add_batch(struct fix *f, struct commit *c, struct blob_codec *codec, const struct batch *b,
	size_t *fresh, struct err *e)
{
	uint8_t *p = malloc(b->len);
	enum ecode rc = E_OK;

	assert_non_null(p);
	for (size_t i = 0; rc == E_OK && i < b->n; i++) {
		struct blob_added added = { 0 };
		struct id id;

		fix_content(b->first + i, b->noise, p, b->len);
		blob_id(codec, p, b->len, &id);
		rc = commit_blob(c, codec, b->kind, &id, p, b->len, &added, e);
		*fresh += added.fresh;
	}
	(void)f;
	free(p);
	return rc;
}

static struct commit *
begin(struct fix *f, unsigned writers)
{
	struct commit_args args = { .pack_target_bytes = TARGET, .writers = writers };
	struct commit *c = NULL;

	assert_int_equal(commit_open(&f->v, f->ix, &args, &c, &f->e), E_OK);
	return c;
}

/* A whole run, made durable behind each batch when `sync`. */
static enum ecode
run_parts(struct fix *f, unsigned writers, const struct batch *b, size_t batches, bool sync,
	struct commit_totals *totals)
{
	struct commit *c = begin(f, writers);
	enum ecode rc = E_OK;
	size_t fresh = 0;

	for (size_t i = 0; rc == E_OK && i < batches; i++) {
		rc = add_batch(f, c, f->codec, &b[i], &fresh, &f->e);
		if (rc == E_OK && sync)
			rc = commit_sync(c, f->codec, &f->e);
	}
	if (rc == E_OK)
		rc = commit_flush(c, f->codec, &f->e);
	commit_totals(c, totals);
	commit_close(&c);
	assert_null(c);
	return rc;
}

static enum ecode
run(struct fix *f, unsigned writers, const struct batch *b, size_t batches,
	struct commit_totals *totals)
{
	return run_parts(f, writers, b, batches, false, totals);
}

/* ---- what must hold of a vault ---- */

static size_t
count_objects(struct store *st, enum okind kind)
{
	struct store_listing l = { 0 };
	size_t n;

	assert_int_equal(store_list_all(st, kind, &l, NULL), E_OK);
	n = l.n;
	store_listing_done(&l);
	return n;
}

/* One pack of the index: it is there, whole, and holds exactly what the index says. */
static void
check_pack(const struct vault *v, struct index *ix, struct blob_codec *codec, uint32_t no)
{
	struct oname name = { .kind = O_PACK };
	struct buf bytes = buf_limit(FIX_BLOB_BYTES);
	struct pack_list said = { 0 }, held = { 0 };
	struct id sum;
	size_t need = 0;

	index_pack_id(ix, no, &name.id);
	assert_int_equal(store_get_all(v->store, &name, &bytes, NULL), E_OK);
	hasher_sum(blob_codec_hasher(codec), bytes.p, bytes.len, &sum);
	assert_memory_equal(&sum, &name.id, sizeof(sum));
	assert_int_equal(bytes.len, index_pack_size(ix, no));
	assert_int_equal(pack_tail_parse(codec, bytes.p, bytes.len, bytes.len, v->version, &held,
				 &need, NULL),
		E_OK);
	assert_int_equal(index_pack_blobs(ix, no, &said, NULL), E_OK);
	assert_int_equal(said.n, held.n);
	for (size_t i = 0; i < said.n; i++) {
		assert_memory_equal(&said.v[i].id, &held.v[i].id, sizeof(sum));
		assert_int_equal(said.v[i].offset, held.v[i].offset);
		assert_int_equal(said.v[i].length, held.v[i].length);
		assert_int_equal(said.v[i].ulen, held.v[i].ulen);
		assert_int_equal(said.v[i].kind, held.v[i].kind);
		assert_int_equal(said.v[i].kind, said.v[0].kind); /* never mixed */
	}
	pack_list_done(&said);
	pack_list_done(&held);
	buf_done(&bytes);
}

/* Load what is stored into a new index and judge every pack it names.  The caller closes it. */
static struct index *
check_vault(struct vault *v)
{
	struct blob_codec *codec = NULL;
	struct index_flaws flaws = { 0 };
	struct flow *flow = NULL;
	struct index *ix = NULL;
	struct err e;

	assert_int_equal(
		blob_codec_open(v->keys, v->os, v->version, COMPRESSION_AUTO, &codec, &e), E_OK);
	assert_int_equal(flow_open(&flow, 0, FLOW_LIFO, 1 << 20, &e), E_OK);
	assert_int_equal(index_open(&ix, &e), E_OK);
	assert_int_equal(index_load(ix, v, flow, &codec, &flaws, NULL, NULL, &e), E_OK);
	assert_int_equal(flaws.unreadable, 0);
	assert_int_equal(flaws.conflicting_packs, 0);
	assert_int_equal(flaws.mixed_packs, 0);
	for (uint32_t i = 0; i < index_pack_count(ix); i++)
		check_pack(v, ix, codec, i);
	flow_close(&flow);
	blob_codec_close(&codec);
	return ix;
}

static void
expect_batch(struct fix *f, struct index *ix, const struct batch *b)
{
	struct buf scratch = buf_limit(FIX_BLOB_BYTES), out = buf_limit(FIX_BLOB_BYTES);
	uint8_t *p = malloc(b->len);

	assert_non_null(p);
	for (size_t i = 0; i < b->n; i++) {
		struct id id = content_of(f, b, i, p);

		assert_int_equal(
			blob_load(&f->v, ix, f->codec, b->kind, &id, &scratch, &out, &f->e), E_OK);
		assert_int_equal(out.len, b->len);
		assert_memory_equal(out.p, p, b->len);
	}
	free(p);
	buf_done(&scratch);
	buf_done(&out);
}

/* Every index file came after all packs it names, and each pack is in one file only. */
static void
expect_order(struct fix *f)
{
	size_t listed = 0, packs = 0;

	for (size_t i = 0; i < f->puts; i++) {
		struct buf json = buf_limit(FIX_BLOB_BYTES);
		struct index *ix = NULL;

		packs += f->put[i].kind == O_PACK;
		if (f->put[i].kind != O_INDEX)
			continue;
		assert_int_equal(index_open(&ix, NULL), E_OK);
		assert_int_equal(
			vault_load(&f->v, f->codec, O_INDEX, &f->put[i].id, &json, &f->e), E_OK);
		assert_int_equal(index_parse(ix, json.p, json.len, f->v.version, &f->e), E_OK);
		for (uint32_t k = 0; k < index_pack_count(ix); k++) {
			struct id id;
			size_t at = 0;

			index_pack_id(ix, k, &id);
			while (at < i && id_cmp(&f->put[at].id, &id) != 0)
				at++;
			assert_true(at < i);
			assert_int_equal(f->put[at].kind, O_PACK);
			listed++;
		}
		index_close(&ix);
		buf_done(&json);
	}
	assert_int_equal(listed, packs);
}

/* ---- a run without faults ---- */

static void
round_trip(struct fix *f, unsigned writers)
{
	const struct batch b[] = {
		{ .first = 0, .n = 100, .len = 3000, .noise = true },
		{ .first = 1000, .n = 50, .len = 20000 },
		{ .first = 2000, .n = 40, .len = 700, .kind = BLOB_TREE },
		{ .first = 3000, .n = 3, .len = 200000, .noise = true },
		{ .first = 0, .n = 100, .len = 3000, .noise = true }, /* again */
	};
	struct commit_totals t;
	struct index *ix;

	assert_int_equal(run(f, writers, b, 5, &t), E_OK);
	assert_int_equal(t.data_blobs, 153);
	assert_int_equal(t.tree_blobs, 40);
	assert_int_equal(t.data_added, 100 * 3000 + 50 * 20000 + 40 * 700 + 3 * 200000);
	assert_int_equal(t.packs, count_objects(f->mem, O_PACK));
	assert_int_equal(t.index_files, 1);
	assert_int_equal(count_objects(f->mem, O_INDEX), 1);
	assert_true(t.stored_bytes > t.data_added_packed);
	expect_order(f);
	ix = check_vault(&f->v);
	assert_int_equal(index_blob_count(ix), 193);
	assert_int_equal(index_pack_count(ix), t.packs);
	for (unsigned i = 0; i < 4; i++)
		expect_batch(f, ix, &b[i]);
	for (unsigned i = 0; i < 4; i++)
		expect_batch(f, f->ix, &b[i]); /* the run's own index knows it as well */
	index_close(&ix);
}

static void
test_round_trip_serial(void **state)
{
	round_trip(*state, 0);
}

static void
test_round_trip_writers(void **state)
{
	round_trip(*state, 2);
}

static void
test_version_1(void **state)
{
	struct fix *f = fix_open(1);
	const struct batch b = { .n = 20, .len = 5000 };
	struct commit_totals t;
	struct index *ix;

	(void)state;
	assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
	assert_int_equal(t.data_added_packed, 20 * (5000 + SEAL_OVERHEAD + PACK_ENTRY_PLAIN_BYTES));
	ix = check_vault(&f->v);
	expect_batch(f, ix, &b);
	index_close(&ix);
	fix_close(f);
}

static void
test_known_blobs_are_not_stored(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = 30, .len = 4000, .noise = true };
	struct commit_totals t;
	size_t puts;

	assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
	puts = f->puts;
	fix_fresh_index(f);
	assert_int_equal(fix_load(f, 0, NULL, NULL, NULL), E_OK);
	assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
	assert_int_equal(t.data_blobs, 0);
	assert_int_equal(t.data_added_packed, 0);
	assert_int_equal(t.packs, 0);
	assert_int_equal(t.index_files, 0); /* nothing new, no index */
	assert_int_equal(f->puts, puts);
}

static void
test_nothing_added(void **state)
{
	struct fix *f = *state;
	struct commit_totals t;

	assert_int_equal(run(f, 2, NULL, 0, &t), E_OK);
	assert_int_equal(f->puts, 0);
}

static void
test_added_tells_sizes(void **state)
{
	struct fix *f = *state;
	struct commit *c = begin(f, 0);
	struct blob_added added = { 0 };
	struct commit_totals t;
	uint8_t p[1000];
	struct id id;

	fix_content(1, true, p, sizeof(p));
	blob_id(f->codec, p, sizeof(p), &id);
	assert_int_equal(
		commit_blob(c, f->codec, BLOB_DATA, &id, p, sizeof(p), &added, &f->e), E_OK);
	assert_true(added.fresh);
	assert_int_equal(added.sealed_bytes, 1000 + SEAL_OVERHEAD + PACK_ENTRY_PLAIN_BYTES);
	assert_int_equal(
		commit_blob(c, f->codec, BLOB_DATA, &id, p, sizeof(p), &added, &f->e), E_OK);
	assert_false(added.fresh);
	assert_int_equal(
		commit_blob(c, f->codec, BLOB_TREE, &id, p, sizeof(p), &added, &f->e), E_OK);
	assert_true(added.fresh); /* the other name space */
	commit_totals(c, &t);
	assert_int_equal(t.data_blobs, 1);
	assert_int_equal(t.tree_blobs, 1);
	commit_close(&c); /* without a flush: nothing was published, nothing leaks */
	assert_int_equal(f->puts, 0);
}

static void
test_dry_run(void **state)
{
	struct fix *f = *state;
	const struct batch b[] = { { .n = 40, .len = 9000, .noise = true },
		{ .first = 50, .n = 5, .len = 300, .kind = BLOB_TREE } };
	struct commit_args args = { .pack_target_bytes = TARGET, .writers = 2, .dry_run = true };
	struct commit_totals dry, real;
	struct commit *c = NULL;
	size_t fresh = 0;

	assert_int_equal(commit_open(&f->v, f->ix, &args, &c, &f->e), E_OK);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(add_batch(f, c, f->codec, &b[i], &fresh, &f->e), E_OK);
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_OK);
	commit_totals(c, &dry);
	commit_close(&c);
	assert_int_equal(f->put_attempts, 0);
	assert_int_equal(fresh, 45);
	fix_fresh_index(f);
	assert_int_equal(run(f, 0, b, 2, &real), E_OK);
	assert_int_equal(dry.data_blobs, real.data_blobs);
	assert_int_equal(dry.tree_blobs, real.tree_blobs);
	assert_int_equal(dry.data_added, real.data_added);
	assert_int_equal(dry.data_added_packed, real.data_added_packed);
	assert_int_equal(dry.packs + dry.index_files + dry.stored_bytes, 0);
}

/* ---- packs ---- */

static void
test_full_packs_and_lone_blobs(void **state)
{
	struct fix *f = *state;
	const struct batch b[] = { { .n = 300, .len = 2000, .noise = true },
		{ .first = 1000, .n = 2, .len = TARGET, .noise = true } };
	struct commit_totals t;
	unsigned small = 0, lone = 0;
	struct index *ix;

	assert_int_equal(run(f, 0, b, 2, &t), E_OK);
	ix = check_vault(&f->v);
	for (uint32_t i = 0; i < index_pack_count(ix); i++) {
		struct pack_list l = { 0 };
		uint64_t bytes = 0;

		assert_int_equal(index_pack_blobs(ix, i, &l, &f->e), E_OK);
		for (size_t k = 0; k < l.n; k++)
			bytes += l.v[k].length;
		small += bytes < TARGET;
		assert_true(l.n == 1 || bytes - l.v[l.n - 1].length < TARGET); /* closed at once */
		for (size_t k = 0; k < l.n; k++) {
			if (l.v[k].length >= TARGET) {
				assert_int_equal(l.n, 1);
				lone++;
			}
		}
		pack_list_done(&l);
	}
	assert_int_equal(lone, 2);
	assert_true(small <= 2); /* the last of each open pack */
	index_close(&ix);
}

static void
test_last_packs_are_merged(void **state)
{
	struct fix *f = *state;
	const struct batch b[] = { { .n = 20, .len = 1000, .noise = true },
		{ .first = 100, .n = 10, .len = 1000, .noise = true, .kind = BLOB_TREE } };
	struct commit_totals t;
	struct index *ix;

	assert_int_equal(run(f, 0, b, 2, &t), E_OK);
	assert_int_equal(t.packs, 2); /* one of each kind */
	ix = check_vault(&f->v);
	expect_batch(f, ix, &b[0]);
	expect_batch(f, ix, &b[1]);
	index_close(&ix);
}

/* Numbers of the contents in the order in which the packs hold them. */
static void
order_in_packs(struct fix *f, const struct batch *b, uint32_t pack[], uint32_t offset[])
{
	uint8_t *p = malloc(b->len);

	assert_non_null(p);
	for (size_t i = 0; i < b->n; i++) {
		struct id id = content_of(f, b, i, p);
		struct blob_loc loc;

		assert_true(index_find(f->ix, b->kind, &id, &loc));
		pack[i] = loc.pack_no;
		offset[i] = loc.offset;
	}
	free(p);
}

#define CHANCE_BLOBS 200

static void
test_blobs_go_into_packs_by_chance(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = CHANCE_BLOBS, .len = 2000, .noise = true };
	uint32_t pack[3][CHANCE_BLOBS], offset[3][CHANCE_BLOBS];
	struct commit_totals t;
	unsigned changes = 0;

	for (unsigned r = 0; r < 3; r++) {
		f->chance = r == 2 ? 99 : 5;
		fix_fresh_index(f);
		assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
		order_in_packs(f, &b, pack[r], offset[r]);
	}
	/* the same chance, the same packs (the serial twin); another one, others */
	assert_memory_equal(pack[0], pack[1], sizeof(pack[0]));
	assert_memory_equal(offset[0], offset[1], sizeof(offset[0]));
	assert_memory_not_equal(offset[0], offset[2], sizeof(offset[0]));
	for (unsigned i = 1; i < CHANCE_BLOBS; i++)
		changes += pack[0][i] != pack[0][i - 1];
	/* a coin for each blob: 100 changes ± 7; in sequence it would be 6 */
	assert_in_range(changes, 60, 140);
}

/* ---- interim index files ---- */

static void
test_interim_index_by_count(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = INDEX_FULL_BLOBS + 5000, .len = 16, .noise = true };
	struct commit_totals t;
	struct index *ix;

	assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
	assert_int_equal(t.index_files, 2);
	expect_order(f);
	ix = check_vault(&f->v);
	assert_int_equal(index_blob_count(ix), b.n);
	index_close(&ix);
}

static void
test_interim_index_by_age(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = 700, .len = 2000, .noise = true };
	struct commit_totals t;
	struct index *ix;

	f->tick_ns = UINT64_C(150) *
		     1000000000; /* a stored pack asks once: every fourth is 600 s later */
	assert_int_equal(run(f, 0, &b, 1, &t), E_OK);
	assert_true(t.packs >= 20);
	assert_in_range(t.index_files, t.packs / 4, t.packs / 4 + 1);
	assert_int_equal(f->put[4].kind, O_INDEX);
	expect_order(f);
	ix = check_vault(&f->v);
	expect_batch(f, ix, &b);
	index_close(&ix);
}

static void
test_young_index_waits(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = 700, .len = 2000, .noise = true };
	struct commit_totals t;

	f->tick_ns = UINT64_C(1000000000);
	assert_int_equal(run(f, 2, &b, 1, &t), E_OK);
	assert_int_equal(t.index_files, 1);
	assert_int_equal(f->put[f->puts - 1].kind, O_INDEX);
}

/* ---- refusals ---- */

static const struct batch small_run[] = {
	{ .n = 70, .len = 3000, .noise = true },
	{ .first = 500, .n = 2, .len = TARGET, .noise = true },
	{ .first = 600, .n = 9, .len = 800, .kind = BLOB_TREE },
};

/* After a refusal: the vault is sound, and the same run done again completes it. */
static void
expect_sound_then_repeat(struct fix *f, unsigned writers)
{
	struct commit_totals t;
	struct index *ix = check_vault(&f->v);

	index_close(&ix);
	f->refuse_put = 0;
	f->random_refused = 0;
	fix_fresh_index(f);
	assert_int_equal(fix_load(f, 0, NULL, NULL, NULL), E_OK);
	assert_int_equal(run(f, writers, small_run, 3, &t), E_OK);
	ix = check_vault(&f->v);
	for (unsigned i = 0; i < 3; i++)
		expect_batch(f, ix, &small_run[i]);
	index_close(&ix);
}

struct fault {
	enum ecode code;
	bool for_ever, put_anyway, sync;
	unsigned writers;
};

/* Refuse each put in turn. */
static void
fault_loop(const struct fault *how)
{
	bool fired = true;

	for (unsigned n = 1; fired; n++) {
		struct fix *f = fix_open(2);
		struct commit_totals t;
		enum ecode rc;

		assert_true(n < 100);
		f->tick_ns = UINT64_C(200) * 1000000000; /* interim index files, too */
		f->refuse_put = n;
		f->refuse_on = how->for_ever;
		f->refuse_as = how->code;
		f->put_anyway = how->put_anyway;
		rc = run_parts(f, how->writers, small_run, 3, how->sync, &t);
		fired = f->put_attempts >= n;
		assert_int_equal(rc, fired ? how->code : E_OK);
		assert_true(!fired || f->e.code == how->code);
		if (fired)
			expect_sound_then_repeat(f, how->writers);
		fix_close(f);
		assert_true(fired || n > 5); /* the loop went somewhere */
	}
}

static void
test_refused_puts_serial(void **state)
{
	(void)state;
	fault_loop(&(struct fault){ .code = E_STORE_WRITE });
	fault_loop(&(struct fault){ .code = E_STORE_SPACE, .for_ever = true });
}

static void
test_refused_puts_writers(void **state)
{
	(void)state;
	fault_loop(&(struct fault){ .code = E_STORE_WRITE, .writers = 2 });
	fault_loop(&(struct fault){ .code = E_STORE_SPACE, .for_ever = true, .writers = 2 });
}

static void
test_refused_puts_of_a_sync(void **state)
{
	(void)state;
	fault_loop(&(struct fault){ .code = E_STORE_WRITE, .sync = true });
	fault_loop(&(struct fault){ .code = E_STORE_WRITE, .sync = true, .writers = 2 });
	fault_loop(&(struct fault){
		.code = E_STORE_UNSURE, .put_anyway = true, .sync = true, .writers = 2 });
}

static void
test_unsure_is_a_refusal(void **state)
{
	(void)state;
	fault_loop(&(struct fault){ .code = E_STORE_UNSURE });
	fault_loop(&(struct fault){ .code = E_STORE_UNSURE, .put_anyway = true });
	fault_loop(&(struct fault){ .code = E_STORE_UNSURE, .put_anyway = true, .writers = 2 });
}

static void
test_first_refusal_sticks(void **state)
{
	struct fix *f = *state;
	struct commit *c = begin(f, 0);
	struct batch more = { .first = 9000, .n = 1, .len = 100 };
	size_t fresh = 0;

	f->refuse_put = 1;
	f->refuse_as = E_STORE_SPACE;
	f->refuse_on = false; /* the store works again, the run does not */
	assert_int_equal(add_batch(f, c, f->codec, &small_run[0], &fresh, &f->e), E_OK);
	for (unsigned i = 0; i < 3; i++) {
		struct err e = { 0 };
		enum ecode rc = add_batch(f, c, f->codec, &small_run[1], &fresh, &e);

		rc = rc == E_OK ? commit_flush(c, f->codec, &e) : rc;
		assert_int_equal(rc, E_STORE_SPACE);
		assert_int_equal(e.code, E_STORE_SPACE);
		assert_int_equal(e.sys, EIO);
	}
	fresh = 0;
	assert_int_equal(add_batch(f, c, f->codec, &more, &fresh, &f->e), E_STORE_SPACE);
	assert_int_equal(commit_flush(c, f->codec, NULL), E_STORE_SPACE);
	assert_int_equal(fresh, 0);
	commit_close(&c);
	assert_int_equal(count_objects(f->mem, O_INDEX), 0);
}

static void
test_no_chance_no_pack(void **state)
{
	struct fix *f = *state;
	struct commit_totals t;

	f->random_refused = f->randoms + 1;
	assert_int_equal(run(f, 0, small_run, 3, &t), E_RANDOM);
	assert_int_equal(f->e.sys, EIO);
	assert_int_equal(f->puts, 0);
	expect_sound_then_repeat(f, 0);
}

static void
remove_locks(struct fix *f)
{
	struct store_listing l = { 0 };

	assert_int_equal(store_list_all(f->mem, O_LOCK, &l, NULL), E_OK);
	assert_true(l.n > 0);
	for (size_t i = 0; i < l.n; i++) {
		const struct oname name = { .kind = O_LOCK, .id = l.v[i].id };

		assert_int_equal(f->mem->ops->erase(f->mem, &name, NULL), E_OK);
	}
	store_listing_done(&l);
}

static void
test_a_lost_lock_stops_publishing(void **state)
{
	struct fix *f = *state;
	size_t stored_before;
	struct lock_args how = { .exclusive = false };
	struct commit_args args = { .pack_target_bytes = TARGET };
	struct lock *lock = NULL;
	struct commit *c = NULL;
	size_t fresh = 0;

	assert_int_equal(lock_take(&f->v, &how, &lock, &f->e), E_OK);
	args.lock = lock;
	assert_int_equal(commit_open(&f->v, f->ix, &args, &c, &f->e), E_OK);
	assert_int_equal(add_batch(f, c, f->codec, &small_run[0], &fresh, &f->e), E_OK);
	stored_before = count_objects(f->mem, O_PACK);
	remove_locks(f);                           /* by somebody who took us for dead: */
	f->slept_ns = UINT64_C(2000) * 1000000000; /* suspended for longer than a lock lives */
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_LOCK_LOST);
	commit_close(&c);
	assert_int_equal(count_objects(f->mem, O_INDEX), 0);
	assert_int_equal(count_objects(f->mem, O_PACK), stored_before);
	assert_int_equal(
		lock_release(&lock, &f->e), E_OK); /* what it held is removed all the same */
}

static int
no_fsync(const struct os *os, int fd)
{
	(void)os;
	(void)fd;
	return 0; /* durability has its own tests; here a refused fsync matters, a real one only waits */
}

/* Add the batch to the store `at`, as a new run; then judge the whole vault through `sound`. */
static enum ecode
run_in(struct fix *f, struct store *at, struct store *sound, const struct batch *b)
{
	struct commit_totals t;
	struct index *ix;
	enum ecode rc;

	f->v.store = sound;
	fix_fresh_index(f);
	assert_int_equal(fix_load(f, 0, NULL, NULL, NULL), E_OK);
	f->v.store = at;
	rc = run(f, 0, b, 1, &t);
	f->v.store = sound;
	ix = check_vault(&f->v);
	if (rc == E_OK)
		expect_batch(f, ix, b);
	index_close(&ix);
	return rc;
}

/* The n-th call that changes something is refused; nothing is tidied before the next try. */
static bool
refuse_nth(struct fix *f, const struct os *quick, const char *dir, struct fault_plan plan)
{
	const struct batch b = { .first = plan.nth * 100, .n = 9, .len = 800 };
	struct store *st = NULL, *sound = NULL;
	struct fault_os fo;
	bool fired;

	fault_os_init(&fo, quick);
	assert_int_equal(local_open(quick, dir, &sound, &f->e), E_OK);
	assert_int_equal(local_open(&fo.os, dir, &st, &f->e), E_OK);
	fault_os_plan(&fo, plan);
	if (run_in(f, st, sound, &b) != E_OK)
		assert_true(fo.fired > 0);
	fired = fo.fired > 0;
	store_close(&st);
	assert_int_equal(fo.open_fds, 0);
	assert_int_equal(run_in(f, sound, sound, &b), E_OK);
	store_close(&sound);
	f->v.store = &f->st;
	fault_os_done(&fo);
	return fired;
}

static void
refuse_each(struct fix *f, int error, bool for_ever)
{
	struct os quick = *os_posix();
	char dir[TMPDIR_PATH_MAX];
	struct store *st = NULL;
	bool fired = true;

	quick.fsync = no_fsync;
	tmpdir_make(dir);
	assert_int_equal(local_open(&quick, dir, &st, &f->e), E_OK);
	assert_int_equal(store_prepare(st, &f->e), E_OK);
	store_close(&st);
	for (unsigned long n = 1; fired; n++) {
		const struct fault_plan plan = { .nth = n,
			.forever = for_ever,
			.error = error,
			.slots = SLOTS_MUTATING | SLOT_BIT(SLOT_FSYNC) | SLOT_BIT(SLOT_CLOSE) };

		fired = refuse_nth(f, &quick, dir, plan);
		assert_true(fired || n > 4);
		assert_true(n < 1000);
	}
	tmpdir_remove(dir);
}

static void
test_refused_kernel_calls(void **state)
{
	refuse_each(*state, EIO, false);
	refuse_each(*state, EIO, true);
	refuse_each(*state, ENOSPC, true);
}

/* ---- threads ---- */

#define ADDERS 4

struct adder {
	struct fix *f;
	struct commit *c;
	struct blob_codec *codec;
	struct batch own, shared;
	pthread_t thread;
	size_t fresh;
	enum ecode rc;
};

static void *
add_both(void *arg)
{
	struct adder *a = arg;

	a->rc = add_batch(a->f, a->c, a->codec, &a->shared, &a->fresh, NULL);
	if (a->rc == E_OK)
		a->rc = add_batch(a->f, a->c, a->codec, &a->own, &a->fresh, NULL);
	return NULL;
}

static void
add_from_threads(struct fix *f, struct commit *c, struct adder a[static ADDERS])
{
	for (unsigned i = 0; i < ADDERS; i++) {
		a[i] = (struct adder){ .f = f, .c = c };
		a[i].shared = (struct batch){ .n = 150, .len = 1500, .noise = true };
		a[i].own = (struct batch){
			.first = 1000 * (i + 1), .n = 100, .len = 2500, .noise = true
		};
		assert_int_equal(
			blob_codec_open(f->v.keys, &f->os, 2, COMPRESSION_AUTO, &a[i].codec, &f->e),
			E_OK);
		assert_int_equal(pthread_create(&a[i].thread, NULL, add_both, &a[i]), 0);
	}
	for (unsigned i = 0; i < ADDERS; i++) {
		assert_int_equal(pthread_join(a[i].thread, NULL), 0);
		blob_codec_close(&a[i].codec);
	}
}

static void
test_many_threads(void **state)
{
	struct fix *f = *state;
	struct adder a[ADDERS];
	struct commit *c = begin(f, 2);
	struct commit_totals t;
	struct index *ix;
	size_t fresh = 0;

	add_from_threads(f, c, a);
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_OK);
	commit_totals(c, &t);
	commit_close(&c);
	for (unsigned i = 0; i < ADDERS; i++) {
		assert_int_equal(a[i].rc, E_OK);
		fresh += a[i].fresh;
	}
	assert_int_equal(fresh, 150 + ADDERS * 100);
	assert_int_equal(t.data_blobs, fresh);
	expect_order(f);
	ix = check_vault(&f->v);
	assert_int_equal(index_blob_count(ix), fresh);
	expect_batch(f, ix, &a[0].shared);
	for (unsigned i = 0; i < ADDERS; i++)
		expect_batch(f, ix, &a[i].own);
	index_close(&ix);
}

static void
test_many_threads_refused(void **state)
{
	struct fix *f = *state;
	struct adder a[ADDERS];
	struct commit *c = begin(f, 2);
	struct index *ix;

	f->refuse_put = 3;
	f->refuse_on = true;
	f->refuse_as = E_STORE_WRITE;
	add_from_threads(f, c, a);
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_STORE_WRITE);
	commit_close(&c);
	ix = check_vault(&f->v);
	assert_int_equal(index_blob_count(ix), 0);
	index_close(&ix);
}

/* ---- durable so far, and on it goes (issue 3 point 6) ---- */

static void
sync_then_go_on(struct fix *f, unsigned writers)
{
	const struct batch b[] = { { .n = 60, .len = 3000, .noise = true },
		{ .first = 700, .n = 5, .len = 300, .kind = BLOB_TREE },
		{ .first = 900, .n = 60, .len = 3000, .noise = true } };
	struct commit *c = begin(f, writers);
	struct commit_totals t;
	struct index *ix;
	size_t fresh = 0, puts;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(add_batch(f, c, f->codec, &b[i], &fresh, &f->e), E_OK);
	assert_int_equal(commit_sync(c, f->codec, &f->e), E_OK);
	ix = check_vault(&f->v); /* what a crash now would leave */
	expect_batch(f, ix, &b[0]);
	expect_batch(f, ix, &b[1]);
	index_close(&ix);
	puts = f->puts;
	assert_int_equal(commit_sync(c, f->codec, &f->e), E_OK);
	assert_int_equal(f->puts, puts); /* nothing new, nothing published */
	assert_int_equal(add_batch(f, c, f->codec, &b[2], &fresh, &f->e), E_OK);
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_OK);
	commit_totals(c, &t);
	assert_int_equal(t.index_files, 2);
	commit_close(&c);
	expect_order(f);
	ix = check_vault(&f->v);
	assert_int_equal(index_blob_count(ix), 125);
	for (unsigned i = 0; i < 3; i++)
		expect_batch(f, ix, &b[i]);
	index_close(&ix);
}

static void
test_sync_then_go_on_serial(void **state)
{
	sync_then_go_on(*state, 0);
}

static void
test_sync_then_go_on_writers(void **state)
{
	sync_then_go_on(*state, 2);
}

/* Without a sync the last packs and their index are still in memory. */
static void
test_no_sync_nothing_durable(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = 10, .len = 300, .noise = true };
	struct commit *c = begin(f, 2);
	size_t fresh = 0;

	assert_int_equal(add_batch(f, c, f->codec, &b, &fresh, &f->e), E_OK);
	assert_int_equal(f->puts, 0);
	commit_close(&c);
}

static void
test_sync_of_a_dry_run(void **state)
{
	struct fix *f = *state;
	const struct batch b = { .n = 10, .len = 300, .noise = true };
	struct commit_args args = { .pack_target_bytes = TARGET, .writers = 2, .dry_run = true };
	struct commit *c = NULL;
	size_t fresh = 0;

	assert_int_equal(commit_open(&f->v, f->ix, &args, &c, &f->e), E_OK);
	assert_int_equal(add_batch(f, c, f->codec, &b, &fresh, &f->e), E_OK);
	assert_int_equal(commit_sync(c, f->codec, &f->e), E_OK);
	assert_int_equal(f->put_attempts, 0);
	commit_close(&c);
}

#define SYNC_ROUNDS 20

/* Another thread claims the same contents: what this one was told is known must be durable after its sync. */
static void
test_sync_while_others_add(void **state)
{
	struct fix *f = *state;
	struct adder a = { .f = f };
	struct commit *c = begin(f, 2);

	a.c = c;
	a.shared = (struct batch){ .n = SYNC_ROUNDS * 20, .len = 3000, .noise = true };
	a.own = (struct batch){ .first = 5000, .n = 50, .len = 2500, .noise = true };
	assert_int_equal(
		blob_codec_open(f->v.keys, &f->os, 2, COMPRESSION_AUTO, &a.codec, &f->e), E_OK);
	assert_int_equal(pthread_create(&a.thread, NULL, add_both, &a), 0);
	for (unsigned i = 0; i < SYNC_ROUNDS; i++) {
		const struct batch mine = {
			.first = (size_t)i * 20, .n = 20, .len = 3000, .noise = true
		};
		size_t fresh = 0;
		struct index *ix;

		assert_int_equal(add_batch(f, c, f->codec, &mine, &fresh, &f->e), E_OK);
		assert_int_equal(commit_sync(c, f->codec, &f->e), E_OK);
		ix = check_vault(&f->v);
		expect_batch(f, ix, &mine);
		index_close(&ix);
	}
	assert_int_equal(pthread_join(a.thread, NULL), 0);
	blob_codec_close(&a.codec);
	assert_int_equal(a.rc, E_OK);
	assert_int_equal(commit_flush(c, f->codec, &f->e), E_OK);
	commit_close(&c);
	expect_order(f);
}

/* Callers may be so many packs ahead of the store, and not one more. */
#define AHEAD (1 + COMMIT_WAITING_PACKS)
#define LONE  30

static _Atomic size_t returned, stored, most_ahead;
static atomic_bool all_added;

/* Each put waits until the caller is as far ahead as it may be, then looks whether it goes further. */
static void
press(struct fix *f)
{
	(void)f;
	while (!all_added && returned < stored + AHEAD)
		(void)sched_yield();
	for (unsigned i = 0; i < 200; i++)
		(void)sched_yield();
	if (returned - stored > most_ahead)
		most_ahead = returned - stored;
	stored++;
}

static void *
add_lone(void *arg)
{
	struct adder *a = arg;

	for (size_t i = 0; a->rc == E_OK && i < LONE; i++) {
		const struct batch one = { .first = i, .n = 1, .len = TARGET, .noise = true };

		a->rc = add_batch(a->f, a->c, a->f->codec, &one, &a->fresh, NULL);
		returned++;
	}
	all_added = true;
	return NULL;
}

static void
test_callers_are_held_back(void **state)
{
	struct fix *f = *state;
	struct adder a = { .f = f, .c = begin(f, 1) };

	returned = stored = most_ahead = 0;
	all_added = false;
	f->before_put = press;
	assert_int_equal(pthread_create(&a.thread, NULL, add_lone, &a), 0);
	assert_int_equal(pthread_join(a.thread, NULL), 0);
	assert_int_equal(a.rc, E_OK);
	assert_int_equal(commit_flush(a.c, f->codec, &f->e), E_OK);
	commit_close(&a.c);
	assert_int_equal(a.fresh, LONE);
	assert_int_equal(most_ahead, AHEAD);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_round_trip_serial),
		CASE(test_round_trip_writers),
		cmocka_unit_test(test_version_1),
		CASE(test_known_blobs_are_not_stored),
		CASE(test_nothing_added),
		CASE(test_added_tells_sizes),
		CASE(test_dry_run),
		CASE(test_full_packs_and_lone_blobs),
		CASE(test_last_packs_are_merged),
		CASE(test_blobs_go_into_packs_by_chance),
		CASE(test_interim_index_by_count),
		CASE(test_interim_index_by_age),
		CASE(test_young_index_waits),
		cmocka_unit_test(test_refused_puts_serial),
		cmocka_unit_test(test_refused_puts_writers),
		cmocka_unit_test(test_unsure_is_a_refusal),
		cmocka_unit_test(test_refused_puts_of_a_sync),
		CASE(test_first_refusal_sticks),
		CASE(test_no_chance_no_pack),
		CASE(test_a_lost_lock_stops_publishing),
		CASE(test_refused_kernel_calls),
		CASE(test_many_threads),
		CASE(test_many_threads_refused),
		CASE(test_callers_are_held_back),
		CASE(test_sync_then_go_on_serial),
		CASE(test_sync_then_go_on_writers),
		CASE(test_no_sync_nothing_durable),
		CASE(test_sync_of_a_dry_run),
		CASE(test_sync_while_others_add),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
