#include "vault_fix.h"

#include "store/local.h"
#include "support/vectors.h"

#define TEXT_MAX ((size_t)64 << 20)

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

/* ---- made-up packs ---- */

static struct index_pack
make_pack(uint64_t *seed, size_t blobs, enum blob_kind kind)
{
	struct index_pack p = { .id = mix_id(seed) };
	uint32_t at = 0;

	for (size_t i = 0; i < blobs; i++) {
		struct pack_entry b = { .id = mix_id(seed),
			.offset = at,
			.length = 33 + (uint32_t)(mix(seed) % 5000),
			.kind = kind };

		b.ulen = mix(seed) % 3 == 0 ? 0 : b.length * 2;
		at += b.length;
		assert_int_equal(pack_list_add(&p.blobs, &b, NULL), E_OK);
	}
	return p;
}

static void
drop_packs(struct index_pack *packs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pack_list_done(&packs[i].blobs);
}

static struct buf
text_of(const struct index_pack *packs, size_t n)
{
	struct buf text = buf_limit(TEXT_MAX);

	assert_int_equal(index_write(packs, n, &text, NULL), E_OK);
	return text;
}

static void
parse_packs(struct fix *f, const struct index_pack *packs, size_t n)
{
	struct buf text = text_of(packs, n);

	assert_int_equal(index_parse(f->ix, text.p, text.len, 2, &f->e), E_OK);
	buf_done(&text);
}

static void
save_packs(struct fix *f, const struct index_pack *packs, size_t n)
{
	struct buf text = text_of(packs, n);

	(void)fix_save_index(f, text.p, text.len);
	buf_done(&text);
}

static void
shuffle(uint64_t *seed, struct pack_list *l)
{
	for (size_t i = l->n; i > 1; i--) {
		size_t k = mix(seed) % i;
		struct pack_entry t = l->v[i - 1];

		l->v[i - 1] = l->v[k];
		l->v[k] = t;
	}
}

static void
expect_pack(struct fix *f, const struct index_pack *p)
{
	for (size_t i = 0; i < p->blobs.n; i++) {
		const struct pack_entry *b = &p->blobs.v[i];
		struct blob_loc loc;
		uint32_t len;

		assert_true(index_has(f->ix, b->kind, &b->id));
		assert_true(index_find(f->ix, b->kind, &b->id, &loc));
		assert_memory_equal(&loc.pack, &p->id, sizeof(p->id));
		assert_int_equal(loc.offset, b->offset);
		assert_int_equal(loc.length, b->length);
		assert_int_equal(loc.ulen, b->ulen);
		assert_true(index_size(f->ix, b->kind, &b->id, &len));
		assert_int_equal(len, b->ulen != 0 ? b->ulen : b->length - 32);
	}
}

/* ---- the table ---- */

static void
test_empty(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 1;
	struct id id = mix_id(&seed);
	struct blob_loc loc;
	uint32_t len;

	assert_false(index_has(f->ix, BLOB_DATA, &id));
	assert_false(index_find(f->ix, BLOB_DATA, &id, &loc));
	assert_int_equal(index_find_all(f->ix, BLOB_TREE, &id, &loc, 1), 0);
	assert_false(index_size(f->ix, BLOB_DATA, &id, &len));
	assert_int_equal(index_blob_count(f->ix), 0);
	assert_int_equal(index_pack_count(f->ix), 0);
}

static void
test_text_round_trip(void **state)
{
	struct fix *f = *state;
	uint64_t seed = fresh_seed();
	struct index_pack packs[3] = { make_pack(&seed, 100, BLOB_DATA),
		make_pack(&seed, 1, BLOB_TREE), make_pack(&seed, 333, BLOB_DATA) };
	struct buf first = text_of(packs, 3), again;
	struct index_pack back[3] = { 0 };

	assert_int_equal(first.p[first.len - 1], '\n');
	parse_packs(f, packs, 3);
	assert_int_equal(index_blob_count(f->ix), 434);
	assert_int_equal(index_pack_count(f->ix), 3);
	for (uint32_t i = 0; i < 3; i++) {
		expect_pack(f, &packs[i]);
		assert_int_equal(index_pack_size(f->ix, i), pack_size(&packs[i].blobs));
		index_pack_id(f->ix, i, &back[i].id);
		assert_int_equal(index_pack_blobs(f->ix, i, &back[i].blobs, &f->e), E_OK);
	}
	again = text_of(back, 3);
	assert_int_equal(again.len, first.len);
	assert_memory_equal(again.p, first.p, first.len);
	buf_done(&first);
	buf_done(&again);
	drop_packs(packs, 3);
	drop_packs(back, 3);
}

static void
test_order_is_irrelevant(void **state)
{
	struct fix *f = *state;
	uint64_t seed = fresh_seed();
	struct index_pack packs[2] = { make_pack(&seed, 50, BLOB_DATA),
		make_pack(&seed, 70, BLOB_TREE) };
	struct index_pack turned[2];
	struct pack_list got = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		turned[i] = (struct index_pack){ .id = packs[1 - i].id };
		for (size_t k = 0; k < packs[1 - i].blobs.n; k++)
			assert_int_equal(
				pack_list_add(&turned[i].blobs, &packs[1 - i].blobs.v[k], NULL),
				E_OK);
		shuffle(&seed, &turned[i].blobs);
	}
	parse_packs(f, turned, 2);
	parse_packs(f, packs, 2); /* everything a second time: collapses */
	assert_int_equal(index_blob_count(f->ix), 120);
	assert_int_equal(index_pack_count(f->ix), 2);
	expect_pack(f, &packs[0]);
	expect_pack(f, &packs[1]);
	assert_int_equal(index_pack_size(f->ix, 0), pack_size(&packs[1].blobs));
	assert_int_equal(index_pack_blobs(f->ix, 0, &got, &f->e), E_OK);
	assert_int_equal(got.n, 70);
	for (size_t k = 0; k < got.n; k++) {
		assert_memory_equal(&got.v[k].id, &packs[1].blobs.v[k].id, sizeof(struct id));
		assert_int_equal(got.v[k].offset, packs[1].blobs.v[k].offset);
	}
	pack_list_done(&got);
	drop_packs(packs, 2);
	drop_packs(turned, 2);
}

static void
test_several_locations(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 3;
	struct index_pack packs[20];
	struct blob_loc locs[20];
	struct id same = mix_id(&seed);

	for (unsigned i = 0; i < 20; i++) {
		packs[i] = make_pack(&seed, 3, BLOB_DATA);
		packs[i].blobs.v[1].id = same;
	}
	parse_packs(f, packs, 20);
	assert_int_equal(index_find_all(f->ix, BLOB_DATA, &same, locs, 5), 20);
	assert_int_equal(index_find_all(f->ix, BLOB_DATA, &same, locs, 20), 20);
	for (unsigned i = 0; i < 20; i++) {
		unsigned of = locs[i].pack_no;

		assert_true(of < 20);
		assert_memory_equal(&locs[i].pack, &packs[of].id, sizeof(struct id));
		assert_int_equal(locs[i].offset, packs[of].blobs.v[1].offset);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(locs[k].pack_no, of);
	}
	assert_int_equal(index_blob_count(f->ix), 60);
	drop_packs(packs, 20);
}

static void
test_too_many_copies_are_refused(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 4;
	struct id same = mix_id(&seed);
	struct index_pack p = make_pack(&seed, 1, BLOB_DATA);
	enum ecode rc = E_OK;
	unsigned n = 0;

	p.blobs.v[0].id = same;
	while (rc == E_OK && n < 10000) {
		p.id = mix_id(&seed);
		rc = index_add_pack(f->ix, &p.id, &p.blobs, &f->e);
		n++;
	}
	assert_int_equal(rc, E_INDEX_FORMAT);
	assert_true(n > 1000);
	drop_packs(&p, 1);
}

static void
test_kinds_are_separate_names(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 5;
	struct index_pack packs[2] = { make_pack(&seed, 1, BLOB_DATA),
		make_pack(&seed, 1, BLOB_TREE) };
	struct blob_loc loc;

	packs[1].blobs.v[0].id = packs[0].blobs.v[0].id;
	parse_packs(f, packs, 1);
	assert_false(index_has(f->ix, BLOB_TREE, &packs[0].blobs.v[0].id));
	parse_packs(f, packs + 1, 1);
	expect_pack(f, &packs[0]);
	expect_pack(f, &packs[1]);
	assert_int_equal(index_find_all(f->ix, BLOB_TREE, &packs[0].blobs.v[0].id, &loc, 1), 1);
	drop_packs(packs, 2);
}

#define MANY_PACKS 600
#define MANY_BLOBS 500

static void
test_memory_per_blob(void **state)
{
	struct fix *f = *state;
	uint64_t seed = fresh_seed(), first = seed;
	size_t bytes, n = (size_t)MANY_PACKS * MANY_BLOBS;

	for (unsigned i = 0; i < MANY_PACKS; i++) {
		struct index_pack p = make_pack(&seed, MANY_BLOBS, BLOB_DATA);

		assert_int_equal(index_add_pack(f->ix, &p.id, &p.blobs, &f->e), E_OK);
		drop_packs(&p, 1);
	}
	assert_int_equal(index_blob_count(f->ix), n);
	bytes = index_memory_bytes(f->ix);
	print_message("# %.2f bytes a blob\n", (double)bytes / (double)n);
	/* performance.md; the half segment each shard leaves free is 6 KiB of 256, whatever the number */
	assert_true(bytes <= n * 56 + 256 * 12288);
	for (unsigned i = 0; i < MANY_PACKS; i += 37) {
		struct pack_list got = { 0 };

		assert_int_equal(index_pack_blobs(f->ix, i, &got, &f->e), E_OK);
		assert_int_equal(got.n, MANY_BLOBS);
		assert_int_equal(pack_size(&got), index_pack_size(f->ix, i));
		pack_list_done(&got);
	}
	seed = first;
	for (unsigned i = 0; i < MANY_PACKS; i++) {
		struct index_pack p = make_pack(&seed, MANY_BLOBS, BLOB_DATA);

		expect_pack(f, &p);
		drop_packs(&p, 1);
	}
}

/* ---- claims ---- */

static void
test_claim_then_locate(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 6;
	struct index_pack p = make_pack(&seed, 4, BLOB_DATA);
	struct pack_list got = { 0 };
	struct blob_loc loc;
	bool mine = false;
	uint32_t len;

	assert_int_equal(index_claim(f->ix, BLOB_DATA, &p.blobs.v[0].id, &mine, &f->e), E_OK);
	assert_true(mine);
	assert_int_equal(index_claim(f->ix, BLOB_DATA, &p.blobs.v[0].id, &mine, &f->e), E_OK);
	assert_false(mine);
	assert_true(index_has(f->ix, BLOB_DATA, &p.blobs.v[0].id));
	assert_false(index_find(f->ix, BLOB_DATA, &p.blobs.v[0].id, &loc));
	assert_false(index_size(f->ix, BLOB_DATA, &p.blobs.v[0].id, &len));
	assert_int_equal(index_blob_count(f->ix), 0);
	assert_int_equal(index_add_pack(f->ix, &p.id, &p.blobs, &f->e), E_OK);
	expect_pack(f, &p);
	assert_int_equal(index_blob_count(f->ix), 4);
	assert_int_equal(index_claim(f->ix, BLOB_DATA, &p.blobs.v[1].id, &mine, &f->e), E_OK);
	assert_false(mine);
	assert_int_equal(index_pack_blobs(f->ix, 0, &got, &f->e), E_OK);
	assert_int_equal(got.n, 4);
	pack_list_done(&got);
	drop_packs(&p, 1);
}

static void
test_order_by_pack_is_made_again(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 8;
	struct index_pack packs[2] = { make_pack(&seed, 4, BLOB_DATA),
		make_pack(&seed, 5, BLOB_TREE) };
	struct pack_list got = { 0 };

	assert_int_equal(index_add_pack(f->ix, &packs[0].id, &packs[0].blobs, &f->e), E_OK);
	assert_int_equal(index_pack_blobs(f->ix, 0, &got, &f->e), E_OK);
	assert_int_equal(index_add_pack(f->ix, &packs[1].id, &packs[1].blobs, &f->e), E_OK);
	assert_int_equal(index_pack_blobs(f->ix, 1, &got, &f->e), E_OK); /* appended */
	assert_int_equal(got.n, 9);
	assert_memory_equal(&got.v[4].id, &packs[1].blobs.v[0].id, sizeof(struct id));
	assert_int_equal(got.v[4].kind, BLOB_TREE);
	pack_list_done(&got);
	drop_packs(packs, 2);
}

#define CLAIMERS 4
#define CLAIMED  20000

struct claimer {
	struct fix *f;
	pthread_t thread;
	size_t won;
	bool failed;
};

static void *
claim_all(void *arg)
{
	struct claimer *c = arg;
	uint64_t seed = 11; /* all the same ones */

	for (size_t i = 0; i < CLAIMED; i++) {
		struct id id = mix_id(&seed);
		bool mine;

		if (index_claim(c->f->ix, i % 5 == 0 ? BLOB_TREE : BLOB_DATA, &id, &mine, NULL) !=
			E_OK)
			c->failed = true;
		c->won += mine;
	}
	return NULL;
}

static void
test_claims_are_unique(void **state)
{
	struct fix *f = *state;
	struct claimer c[CLAIMERS];
	size_t won = 0;

	for (unsigned i = 0; i < CLAIMERS; i++) {
		c[i] = (struct claimer){ .f = f };
		assert_int_equal(pthread_create(&c[i].thread, NULL, claim_all, &c[i]), 0);
	}
	for (unsigned i = 0; i < CLAIMERS; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_false(c[i].failed);
		won += c[i].won;
	}
	assert_int_equal(won, CLAIMED);
}

/* One enters packs while others ask by blob and by pack. */
static void *
enter_packs(void *arg)
{
	struct claimer *c = arg;
	uint64_t seed = 12;

	for (unsigned i = 0; i < 200; i++) {
		struct index_pack p = make_pack(&seed, 20, BLOB_DATA);

		c->failed |= index_add_pack(c->f->ix, &p.id, &p.blobs, NULL) != E_OK;
		drop_packs(&p, 1);
	}
	return NULL;
}

static void *
ask_packs(void *arg)
{
	struct claimer *c = arg;

	for (unsigned i = 0; i < 300; i++) {
		struct pack_list got = { 0 };
		size_t packs = index_pack_count(c->f->ix);

		if (packs > 0) {
			struct blob_loc loc;
			uint32_t no = (uint32_t)(packs / 2);

			/* a pack that is just being entered may have no blob yet, never a wrong one */
			c->failed |=
				index_pack_blobs(c->f->ix, no, &got, NULL) != E_OK || got.n > 20;
			for (size_t k = 0; k < got.n; k++)
				c->failed |= !index_find(c->f->ix, BLOB_DATA, &got.v[k].id, &loc) ||
					     loc.pack_no != no;
		}
		pack_list_done(&got);
	}
	return NULL;
}

static void
test_asking_while_entering(void **state)
{
	struct fix *f = *state;
	struct claimer c[3] = { { .f = f }, { .f = f }, { .f = f } };

	assert_int_equal(pthread_create(&c[0].thread, NULL, enter_packs, &c[0]), 0);
	assert_int_equal(pthread_create(&c[1].thread, NULL, ask_packs, &c[1]), 0);
	assert_int_equal(pthread_create(&c[2].thread, NULL, ask_packs, &c[2]), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_false(c[i].failed);
	}
	assert_int_equal(index_blob_count(f->ix), 4000);
}

/* ---- texts ---- */

#define A64         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64         "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define PACK(blobs) "{\"packs\":[{\"id\":\"" A64 "\",\"blobs\":[" blobs "]}]}"
#define BLOB(rest)  PACK("{\"id\":\"" B64 "\",\"type\":\"data\"," rest "}")

static void
test_refused_texts(void **state)
{
	struct fix *f = *state;
	static const char *const bad[] = {
		"",
		"[]",
		"null",
		"{",
		"{}}",
		"{\"packs\":{}}",
		"{\"packs\":[1]}",
		"{\"packs\":[{}]}",
		"{\"packs\":[{\"id\":\"" A64 "\",\"blobs\":{}}]}",
		"{\"packs\":[{\"id\":\"abc\",\"blobs\":[]}]}",
		"{\"packs\":[{\"id\":null,\"blobs\":[]}]}",
		"{\"packs\":[{\"blobs\":[]}]}",
		PACK("{\"type\":\"data\",\"offset\":0,\"length\":40}"),
		PACK("{\"id\":\"" B64 "\",\"offset\":0,\"length\":40}"),
		PACK("{\"id\":\"" B64 "\",\"type\":\"snow\",\"offset\":0,\"length\":40}"),
		PACK("{\"id\":\"" B64 "\",\"type\":7,\"offset\":0,\"length\":40}"),
		PACK("[]"),
		BLOB("\"offset\":0"),
		BLOB("\"offset\":0,\"length\":0"),
		BLOB("\"offset\":0,\"length\":31"),
		BLOB("\"offset\":0,\"length\":-40"),
		BLOB("\"offset\":0,\"length\":40.5"),
		BLOB("\"offset\":0,\"length\":\"40\""),
		BLOB("\"offset\":0,\"length\":4294967296"),
		BLOB("\"offset\":4294967295,\"length\":40"),
		BLOB("\"offset\":4294967256,\"length\":40"),
		BLOB("\"offset\":18446744073709551616,\"length\":40"),
		BLOB("\"offset\":0,\"length\":40,\"uncompressed_length\":2147483649"),
		BLOB("\"offset\":0,\"length\":4294967295"),
		PACK("{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":0,\"length\":40},"
		     "{\"id\":\"" C64 "\",\"type\":\"data\",\"offset\":39,\"length\":40}"),
		PACK("{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":50,\"length\":40},"
		     "{\"id\":\"" C64 "\",\"type\":\"data\",\"offset\":0,\"length\":60}"),
		PACK("{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":0,\"length\":40},"
		     "{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":0,\"length\":41}"),
		BLOB("\"offset\":0,\"length\":40") "x",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = { 0 };
		enum ecode rc = index_parse(f->ix, bad[i], strlen(bad[i]), 2, &e);

		if (rc != E_INDEX_FORMAT || e.code != E_INDEX_FORMAT)
			fail_msg("%d for: %s", rc, bad[i]);
	}
	assert_int_equal(index_blob_count(f->ix), 0);
	assert_int_equal(index_pack_count(f->ix), 0);
}

static void
test_odd_but_good_texts(void **state)
{
	struct fix *f = *state;
	static const struct {
		const char *text;
		size_t blobs;
	} good[] = {
		{ "{}", 0 },
		{ "{\"packs\":null}\n", 0 },
		{ "{\"supersedes\":[\"" C64 "\"],\"packs\":[]}", 0 },
		{ PACK(""), 0 },
		{ "{\"packs\":[{\"id\":\"" A64 "\",\"blobs\":null}]}", 0 },
		{ "{\"packs\":[{\"id\":\"" A64 "\"}]}", 0 },
		{ BLOB("\"offset\":0,\"length\":32"), 1 },
		{ BLOB("\"length\":40"), 1 }, /* a missing number is zero */
		{ BLOB("\"offset\":null,\"length\":40,\"uncompressed_length\":0,\"new\":{\"a\":[1]}"),
			1 },
		{ BLOB("\"offset\":4294967255,\"length\":40"), 1 },
		{ BLOB("\"offset\":0,\"length\":40,\"uncompressed_length\":2147483648"), 1 },
		{ " { \"x\" : 1 , \"packs\" : [ { \"blobs\" : [ { \"length\" : 40 , \"type\" : \"tree\" ,"
		  " \"id\" : \"" B64 "\" } ] , \"id\" : \"" A64 "\" } ] } \n ",
			1 },
		{ PACK("{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":0,\"length\":40},"
		       "{\"id\":\"" B64 "\",\"type\":\"data\",\"offset\":0,\"length\":40}"),
			1 },
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		fix_fresh_index(f);
		if (index_parse(f->ix, good[i].text, strlen(good[i].text), 2, &f->e) != E_OK)
			fail_msg("%s: %s", f->e.detail, good[i].text);
		assert_int_equal(index_blob_count(f->ix), good[i].blobs);
	}
}

static void
test_version_1_knows_no_compression(void **state)
{
	struct fix *f = *state;
	static const char compressed[] =
		BLOB("\"offset\":0,\"length\":40,\"uncompressed_length\":50");
	static const char plain[] = BLOB("\"offset\":0,\"length\":40");

	assert_int_equal(
		index_parse(f->ix, compressed, sizeof(compressed) - 1, 1, &f->e), E_INDEX_FORMAT);
	assert_int_equal(index_parse(f->ix, plain, sizeof(plain) - 1, 1, &f->e), E_OK);
	assert_int_equal(index_parse(f->ix, compressed, sizeof(compressed) - 1, 2, &f->e), E_OK);
}

/* What is accepted must be within the limits, whatever the text was. */
static void
judge_index(struct fix *f)
{
	size_t packs = index_pack_count(f->ix), blobs = 0;

	for (uint32_t i = 0; i < packs; i++) {
		struct pack_list got = { 0 };

		assert_int_equal(index_pack_blobs(f->ix, i, &got, &f->e), E_OK);
		for (size_t k = 0; k < got.n; k++) {
			assert_true(got.v[k].length >= 32);
			assert_true((uint64_t)got.v[k].offset + got.v[k].length <= UINT32_MAX);
			assert_true(got.v[k].ulen <= BLOB_PLAIN_MAX_BYTES);
			assert_true(index_has(f->ix, got.v[k].kind, &got.v[k].id));
		}
		blobs += got.n;
		pack_list_done(&got);
	}
	assert_int_equal(blobs, index_blob_count(f->ix));
}

static void
mutate(uint64_t *seed, uint8_t *p, size_t *len)
{
	static const char spice[] = "{}[]\",:0123456789-.eE\\u nultrefasdiobj";
	unsigned changes = 1 + mix(seed) % 4;

	for (; changes > 0 && *len > 1; changes--) {
		size_t at = mix(seed) % *len, many = mix(seed) % 8;

		switch (mix(seed) % 5) {
		case 0:
			p[at] ^= (uint8_t)(1U << many);
			break;
		case 1:
			p[at] = (uint8_t)spice[mix(seed) % (sizeof(spice) - 1)];
			break;
		case 2:
			*len = at + 1;
			break;
		case 3: /* cut out */
			many = many < *len - at ? many : 0;
			memmove(p + at, p + at + many, *len - at - many);
			*len -= many;
			break;
		default: /* swap two places, as sorting and overlaps care */
			p[at] = p[mix(seed) % *len];
			break;
		}
	}
}

static void
test_hostile_texts(void **state)
{
	struct fix *f = *state;
	uint64_t seed = fresh_seed();
	struct index_pack packs[2] = { make_pack(&seed, 6, BLOB_DATA),
		make_pack(&seed, 3, BLOB_TREE) };
	struct buf text = text_of(packs, 2);
	unsigned accepted = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint8_t *copy = malloc(text.len); /* exact: a sanitizer sees one byte too far */
		size_t len = text.len;
		enum ecode rc;

		assert_non_null(copy);
		memcpy(copy, text.p, len);
		mutate(&seed, copy, &len);
		copy = realloc(copy, len);
		rc = index_parse(f->ix, copy, len, 1 + i % 2, &f->e);
		if (rc != E_OK)
			assert_int_equal(rc, E_INDEX_FORMAT);
		accepted += rc == E_OK;
		free(copy);
		if (i % 500 == 499) {
			judge_index(f);
			fix_fresh_index(f);
		}
	}
	assert_true(accepted > 0); /* else the loop tests only the first byte */
	buf_done(&text);
	drop_packs(packs, 2);
}

/* ---- loading ---- */

struct told {
	unsigned n;
	struct id file;
	enum ecode code;
};

static void
tell(void *arg, const struct id *file, const struct err *why)
{
	struct told *t = arg;

	t->n++;
	t->file = *file;
	t->code = why->code;
}

static void
test_load_is_the_union(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 21;
	struct index_pack packs[30];
	struct index_flaws flaws = { 0 };

	for (unsigned i = 0; i < 30; i++) {
		packs[i] = make_pack(&seed, 10 + i, i % 3 == 0 ? BLOB_TREE : BLOB_DATA);
		save_packs(f, packs + i, 1);
	}
	for (unsigned threads = 0; threads <= FIX_WORKERS; threads += FIX_WORKERS) {
		fix_fresh_index(f);
		assert_int_equal(fix_load(f, threads, &flaws, NULL, NULL), E_OK);
		assert_int_equal(index_pack_count(f->ix), 30);
		assert_int_equal(flaws.unreadable + flaws.duplicate_packs +
					 flaws.conflicting_packs + flaws.mixed_packs,
			0);
		for (unsigned i = 0; i < 30; i++)
			expect_pack(f, &packs[i]);
	}
	drop_packs(packs, 30);
}

static void
test_flaws_of_packs_are_counted(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 22;
	struct index_pack packs[4] = { make_pack(&seed, 5, BLOB_DATA),
		make_pack(&seed, 5, BLOB_DATA), make_pack(&seed, 5, BLOB_DATA),
		make_pack(&seed, 6, BLOB_DATA) };
	struct index_flaws flaws = { 0 };
	struct pack_list got = { 0 };

	packs[1].blobs.v[2].kind = BLOB_TREE; /* mixed */
	save_packs(f, packs, 3);
	save_packs(f, packs, 1); /* the same listing again, in another file */
	packs[3].id = packs[2].id;
	save_packs(f, packs + 3, 1); /* says something else about a known pack */
	assert_int_equal(fix_load(f, 0, &flaws, NULL, NULL), E_OK);
	assert_int_equal(flaws.duplicate_packs, 1);
	assert_int_equal(flaws.conflicting_packs, 1);
	assert_int_equal(flaws.mixed_packs, 1);
	assert_int_equal(flaws.unreadable, 0);
	assert_int_equal(index_pack_count(f->ix), 3);
	assert_int_equal(index_blob_count(f->ix), 5 + 5 + 11);
	for (uint32_t i = 0; i < 3; i++) {
		struct id id;

		index_pack_id(f->ix, i, &id);
		if (id_cmp(&id, &packs[2].id) == 0)
			assert_int_equal(index_pack_blobs(f->ix, i, &got, &f->e), E_OK);
	}
	assert_int_equal(got.n, 11); /* all claims are kept: any of them may be the true one */
	pack_list_done(&got);
	drop_packs(packs, 4);
}

static void
test_unreadable_file(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 23;
	struct index_pack p = make_pack(&seed, 5, BLOB_DATA);
	struct index_flaws flaws = { 0 };
	struct told told = { 0 };
	struct id bad = fix_save_index(f, "[\"old format\"]", 14);

	save_packs(f, &p, 1);
	for (unsigned threads = 0; threads <= FIX_WORKERS; threads += FIX_WORKERS) {
		fix_fresh_index(f);
		assert_int_equal(fix_load(f, threads, NULL, NULL, NULL), E_INDEX_FORMAT);
		assert_int_equal(f->e.code, E_INDEX_FORMAT);
	}
	fix_fresh_index(f);
	assert_int_equal(fix_load(f, 0, &flaws, tell, &told), E_OK);
	assert_int_equal(flaws.unreadable, 1);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.code, E_INDEX_FORMAT);
	assert_memory_equal(&told.file, &bad, sizeof(bad));
	expect_pack(f, &p);
	fix_fresh_index(f);
	assert_int_equal(fix_load(f, 0, &flaws, NULL, NULL), E_OK);
	assert_int_equal(flaws.unreadable, 2);
	drop_packs(&p, 1);
}

static void
test_damaged_file_is_an_index_refusal(void **state)
{
	struct fix *f = *state;
	uint64_t seed = 24;
	struct index_pack p = make_pack(&seed, 5, BLOB_DATA);

	save_packs(f, &p, 1);
	f->lie_get = 1;
	assert_int_equal(fix_load(f, 0, NULL, NULL, NULL), E_OK); /* once: read again (13.5) */
	fix_fresh_index(f);
	f->gets = 0;
	f->lie_on = true;
	assert_int_equal(fix_load(f, 0, NULL, NULL, NULL), E_INDEX_FORMAT);
	drop_packs(&p, 1);
}

/* ---- vectors ---- */

/* The member `key` of an object's text. */
static struct slice
member(struct slice text, const char *key)
{
	struct slice name, value, found = { NULL, 0 };
	struct json j;

	json_init(&j, text.p, text.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		assert_true(json_skip(&j, &value));
		if (slice_is(name, key))
			found = value;
	}
	assert_false(j.bad);
	assert_non_null(found.p);
	return found;
}

/* Load the vectors' index and every tree restic wrote into them. */
static void
read_vectors(struct fix *f, const char *which)
{
	autoclean(buf_done) struct buf all = buf_limit(1), path = buf_limit(4096);
	autoclean(buf_done) struct buf scratch = buf_limit(FIX_BLOB_BYTES),
				       text = buf_limit(FIX_BLOB_BYTES);
	struct slice repo, name;
	struct store *st = NULL;
	unsigned trees = 0;
	struct json j;

	assert_true(vector_load("expected.json", &all));
	repo = member(member(buf_slice(&all), "repos"), which);
	keyring_close(&f->v.keys);
	assert_int_equal(keyring_from_json(member(repo, "masterkey"), &f->v.keys, &f->e), E_OK);
	for (unsigned i = 0; i < FIX_WORKERS; i++) {
		blob_codec_close(&f->codecs[i]);
		assert_int_equal(blob_codec_open(f->v.keys, &f->os, f->v.version, COMPRESSION_AUTO,
					 &f->codecs[i], &f->e),
			E_OK);
	}
	assert_int_equal(buf_printf(&path, &f->e, "%s/tests/vectors/%s",
				 getenv("HOLDFAST_SOURCE_ROOT"), which),
		E_OK);
	assert_int_equal(buf_add_byte(&path, 0, &f->e), E_OK);
	assert_int_equal(local_open(&f->os, (const char *)path.p, &st, &f->e), E_OK);
	f->v.store = st;
	assert_int_equal(fix_load(f, FIX_WORKERS, NULL, NULL, NULL), E_OK);
	repo = member(repo, "trees");
	json_init(&j, repo.p, repo.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		struct id id;

		assert_true(id_parse(name.p, name.len, &id));
		assert_true(json_skip(&j, NULL));
		assert_int_equal(blob_load(&f->v, f->ix, f->codecs[0], BLOB_TREE, &id, &scratch,
					 &text, &f->e),
			E_OK);
		assert_memory_equal(text.p, "{\"nodes\":[", 10);
		trees++;
	}
	assert_true(json_end(&j));
	assert_true(trees >= 5);
	judge_index(f);
	store_close(&st);
}

static void
test_vectors_v1(void **state)
{
	struct fix *f = fix_open(1);

	(void)state;
	read_vectors(f, "v1");
	fix_close(f);
}

static void
test_vectors_v2(void **state)
{
	read_vectors(*state, "v2");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_empty),
		CASE(test_text_round_trip),
		CASE(test_order_is_irrelevant),
		CASE(test_several_locations),
		CASE(test_too_many_copies_are_refused),
		CASE(test_kinds_are_separate_names),
		CASE(test_memory_per_blob),
		CASE(test_claim_then_locate),
		CASE(test_order_by_pack_is_made_again),
		CASE(test_claims_are_unique),
		CASE(test_asking_while_entering),
		CASE(test_refused_texts),
		CASE(test_odd_but_good_texts),
		CASE(test_version_1_knows_no_compression),
		CASE(test_hostile_texts),
		CASE(test_load_is_the_union),
		CASE(test_flaws_of_packs_are_counted),
		CASE(test_unreadable_file),
		CASE(test_damaged_file_is_an_index_refusal),
		cmocka_unit_test(test_vectors_v1),
		CASE(test_vectors_v2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
