#include "vault_fix.h"

static const uint8_t content[] = "what is to be read back, whatever happens to one of its copies";

struct copies {
	struct fix *f;
	struct id id; /* of the blob */
	struct buf scratch, out;
};

/* The blob in `n` packs, each sealed on its own and behind a filler of another length. */
static void
store_copies(struct copies *c, unsigned n)
{
	struct fix *f = c->f;

	blob_id(f->codec, content, sizeof(content), &c->id);
	for (unsigned i = 0; i < n; i++) {
		struct buf body = buf_limit(FIX_BLOB_BYTES);
		struct oname name = { .kind = O_PACK };
		struct pack_list list = { 0 };
		struct pack_entry filler = { .kind = BLOB_DATA }, blob = { .id = c->id };
		struct slice part;

		blob_id(f->codec, &i, sizeof(i), &filler.id);
		assert_int_equal(blob_shut(f->codec, BLOB_DATA, &filler.id, &i, sizeof(i), &body,
					 &filler.ulen, &f->e),
			E_OK);
		filler.length = blob.offset = (uint32_t)body.len;
		assert_int_equal(pack_list_add(&list, &filler, &f->e), E_OK);
		assert_int_equal(blob_shut(f->codec, BLOB_DATA, &c->id, content, sizeof(content),
					 &body, &blob.ulen, &f->e),
			E_OK);
		blob.length = (uint32_t)body.len - blob.offset;
		assert_int_equal(pack_list_add(&list, &blob, &f->e), E_OK);
		assert_int_equal(pack_finish(f->codec, &list, 2, &body, &f->e), E_OK);
		hasher_sum(blob_codec_hasher(f->codec), body.p, body.len, &name.id);
		part = buf_slice(&body);
		assert_int_equal(store_put(f->mem, &name, &part, 1, &f->e), E_OK);
		assert_int_equal(index_add_pack(f->ix, &name.id, &list, &f->e), E_OK);
		pack_list_done(&list);
		buf_done(&body);
	}
}

static int
setup(void **state)
{
	struct copies *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->f = fix_open(2);
	c->scratch = buf_limit(FIX_BLOB_BYTES);
	c->out = buf_limit(FIX_BLOB_BYTES);
	*state = c;
	return 0;
}

static int
teardown(void **state)
{
	struct copies *c = *state;

	buf_done(&c->scratch);
	buf_done(&c->out);
	fix_close(c->f);
	free(c);
	return 0;
}

static enum ecode
load(struct copies *c)
{
	struct fix *f = c->f;

	f->gets = 0;
	f->e = (struct err){ 0 };
	return blob_load(&f->v, f->ix, f->codec, BLOB_DATA, &c->id, &c->scratch, &c->out, &f->e);
}

static void
expect_content(struct copies *c)
{
	assert_int_equal(load(c), E_OK);
	assert_int_equal(c->out.len, sizeof(content));
	assert_memory_equal(c->out.p, content, sizeof(content));
}

static void
lose(struct copies *c, uint32_t pack_no)
{
	struct oname name = { .kind = O_PACK };

	index_pack_id(c->f->ix, pack_no, &name.id);
	assert_int_equal(c->f->mem->ops->erase(c->f->mem, &name, NULL), E_OK);
}

static void
test_plain_load(void **state)
{
	struct copies *c = *state;

	store_copies(c, 1);
	assert_int_equal(buf_add_str(&c->out, "old", NULL), E_OK); /* is replaced */
	expect_content(c);
	expect_content(c);
	assert_int_equal(c->f->gets, 1);
}

static void
test_absent(void **state)
{
	struct copies *c = *state;

	store_copies(c, 1);
	c->id.b[31] ^= 1;
	assert_int_equal(load(c), E_BLOB_ABSENT);
	c->id.b[31] ^= 1;
	assert_int_equal(blob_load(&c->f->v, c->f->ix, c->f->codec, BLOB_TREE, &c->id, &c->scratch,
				 &c->out, &c->f->e),
		E_BLOB_ABSENT);          /* another name space */
	assert_int_equal(c->f->gets, 0); /* nobody was asked */
}

static void
test_claimed_is_absent(void **state)
{
	struct copies *c = *state;
	bool mine;

	blob_id(c->f->codec, content, sizeof(content), &c->id);
	assert_int_equal(index_claim(c->f->ix, BLOB_DATA, &c->id, &mine, NULL), E_OK);
	assert_int_equal(load(c), E_BLOB_ABSENT);
}

static void
test_read_once_more(void **state)
{
	struct copies *c = *state;

	store_copies(c, 1);
	c->f->lie_get = 1;
	expect_content(c);
	assert_int_equal(c->f->gets, 2);
}

static void
test_damage_is_refused(void **state)
{
	struct copies *c = *state;

	store_copies(c, 1);
	c->f->lie_get = 1;
	c->f->lie_on = true;
	assert_int_equal(load(c), E_SEAL_MAC);
	assert_int_equal(c->f->e.code, E_SEAL_MAC);
	assert_true(c->f->e.notes > 0); /* names the pack */
	assert_int_equal(c->f->gets, 2);
}

static void
test_one_bad_copy_of_two(void **state)
{
	for (uint32_t bad = 0; bad < 2; bad++) {
		struct copies *c = *state;

		store_copies(c, 2);
		c->f->lie_get = 1;
		c->f->lie_on = true;
		index_pack_id(c->f->ix, bad, &c->f->lie_about);
		expect_content(c);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void
test_one_lost_pack_of_two(void **state)
{
	for (uint32_t lost = 0; lost < 2; lost++) {
		struct copies *c = *state;

		store_copies(c, 2);
		lose(c, lost);
		expect_content(c);
		lose(c, 1 - lost);
		assert_int_equal(load(c), E_STORE_ABSENT);
		assert_int_equal(c->f->e.code, E_STORE_ABSENT);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void
test_first_refusal_is_told(void **state)
{
	struct copies *c = *state;
	struct blob_loc first;

	store_copies(c, 2);
	assert_true(index_find(c->f->ix, BLOB_DATA, &c->id, &first));
	lose(c, 1 - first.pack_no);
	c->f->lie_get = 1;
	c->f->lie_on = true;
	assert_int_equal(load(c), E_SEAL_MAC);
	assert_int_equal(c->f->e.code, E_SEAL_MAC);
}

static void
test_the_last_of_many_copies(void **state)
{
	struct copies *c = *state;
	struct blob_loc locs[30];
	size_t n;

	store_copies(c, 30);
	n = index_find_all(c->f->ix, BLOB_DATA, &c->id, locs, 30);
	assert_int_equal(n, 30);
	for (size_t i = 0; i + 1 < n; i++)
		lose(c, locs[i].pack_no);
	expect_content(c);
	assert_int_equal(c->f->gets, 30);
}

static void
test_wrong_index_numbers(void **state)
{
	struct copies *c = *state;
	struct fix *f = c->f;
	struct pack_list list = { 0 };
	struct pack_entry lie = { .kind = BLOB_DATA };
	struct blob_loc loc;

	store_copies(c, 1);
	assert_true(index_find(f->ix, BLOB_DATA, &c->id, &loc));
	lie = (struct pack_entry){
		.id = c->id, .offset = loc.offset, .length = loc.length, .ulen = loc.ulen
	};
	lie.id.b[0] ^= 1; /* another name for this content */
	assert_int_equal(pack_list_add(&list, &lie, NULL), E_OK);
	assert_int_equal(index_add_pack(f->ix, &loc.pack, &list, &f->e), E_OK);
	c->id = lie.id;
	assert_int_equal(load(c), E_BLOB_HASH);
	list.v[0].id.b[0] ^= 2;
	list.v[0].offset = UINT32_MAX - 4096; /* far behind the pack's end */
	assert_int_equal(index_add_pack(f->ix, &loc.pack, &list, &f->e), E_OK);
	c->id = list.v[0].id;
	assert_int_equal(load(c), E_STORE_SHORT);
	pack_list_done(&list);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_plain_load),
		CASE(test_absent),
		CASE(test_claimed_is_absent),
		CASE(test_read_once_more),
		CASE(test_damage_is_refused),
		CASE(test_one_bad_copy_of_two),
		CASE(test_one_lost_pack_of_two),
		CASE(test_first_refusal_is_told),
		CASE(test_the_last_of_many_copies),
		CASE(test_wrong_index_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
