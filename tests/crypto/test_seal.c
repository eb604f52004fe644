#include "support/unit_json.h"

#include <openssl/evp.h>

#include "support/random_os.h"

#include "crypto/seal.h"

#define SMALL_MAX_BYTES ((size_t)4 << 20)

struct fixture {
	struct buf vectors; /* unit.json */
	struct keyring *keys;
	struct sealer *sealer;
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
};

/* The master key of `seal` in unit.json is that of `keyfile`. */
static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct buf json = buf_limit(VECTORS_MAX_BYTES);

	assert_non_null(f);
	f->vectors = buf_limit(VECTORS_MAX_BYTES);
	vectors_read("unit.json", &f->vectors);
	vectors_text(vectors_member(buf_slice(&f->vectors), "keyfile"), "master_json", &json);
	assert_int_equal(keyring_from_json(buf_slice(&json), &f->keys, NULL), E_OK);
	buf_done(&json);
	f->seed = 20260821;
	f->ros = random_os_make(&f->seed, &f->calls);
	assert_int_equal(sealer_open(f->keys, &f->ros.os, &f->sealer, NULL), E_OK);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	sealer_close(&f->sealer);
	sealer_close(&f->sealer);
	keyring_close(&f->keys);
	buf_done(&f->vectors);
	free(f);
	return 0;
}

static void
check_case(struct fixture *f, struct slice c)
{
	autoclean(buf_done) struct buf iv = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf plain = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);

	vectors_hex(c, "iv", &iv);
	vectors_hex(c, "plain", &plain);
	vectors_hex(c, "sealed", &sealed);
	assert_int_equal(iv.len, SEAL_IV_BYTES);
	assert_int_equal(seal_shut_iv(f->sealer, iv.p, plain.p, plain.len, &got, NULL), E_OK);
	assert_int_equal(got.len, sealed.len);
	assert_memory_equal(got.p, sealed.p, sealed.len);
	buf_clear(&got);
	assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &got, NULL), E_OK);
	assert_int_equal(got.len, plain.len);
	if (plain.len > 0)
		assert_memory_equal(got.p, plain.p, plain.len);
}

/* Among the eight is one whose counter wraps around 2^128. */
static void
the_vectors_match_both_ways(void **state)
{
	struct fixture *f = *state;
	struct slice cases =
		vectors_member(vectors_member(buf_slice(&f->vectors), "seal"), "cases");
	struct slice one;
	struct json j;
	size_t n = 0;

	json_init(&j, cases.p, cases.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		assert_true(json_skip(&j, &one));
		check_case(f, one);
		n++;
	}
	assert_false(j.bad);
	assert_int_equal(n, 8);
}

/*
 * CTR is a key stream: with the counter at 2^128 - 1, block 1 must be the
 * stream's block of counter 0, which counter 2^128 - 2 gives as its block 2.
 */
static void
the_counter_wraps_over_128_bits(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf a = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf b = buf_limit(SMALL_MAX_BYTES);
	static const uint8_t plain[20000]; /* crosses the pieces of seal.c */
	uint8_t iv[SEAL_IV_BYTES];

	memset(iv, 0xff, sizeof(iv));
	assert_int_equal(seal_shut_iv(f->sealer, iv, plain, sizeof(plain), &a, NULL), E_OK);
	iv[15] = 0xfe;
	assert_int_equal(seal_shut_iv(f->sealer, iv, plain, sizeof(plain), &b, NULL), E_OK);
	assert_memory_equal(a.p + 16, b.p + 32, sizeof(plain) - 16);
}

static void
a_round_trip_at_every_small_length(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);
	uint8_t plain[600];

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)random_next(&f->seed);
	for (size_t len = 0; len <= sizeof(plain); len++) {
		buf_clear(&sealed);
		buf_clear(&got);
		assert_int_equal(seal_shut(f->sealer, plain, len, &sealed, NULL), E_OK);
		assert_int_equal(sealed.len, len + SEAL_OVERHEAD);
		assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &got, NULL), E_OK);
		assert_int_equal(got.len, len);
		assert_true(len == 0 || memcmp(got.p, plain, len) == 0);
	}
}

/* Around the borders of the pieces, and appending behind what is there already. */
static void
a_round_trip_of_large_units(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);
	const size_t lens[] = { 8191, 8192, 8193, 16384, 100001, 1 << 20 };
	uint8_t *plain = malloc(1 << 20);

	assert_non_null(plain);
	for (size_t i = 0; i < 1 << 20; i++)
		plain[i] = (uint8_t)(i * 31 >> 3);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		buf_clear(&sealed);
		buf_clear(&got);
		assert_int_equal(buf_add_str(&sealed, "before", NULL), E_OK);
		assert_int_equal(buf_add_str(&got, "and", NULL), E_OK);
		assert_int_equal(seal_shut(f->sealer, plain, lens[i], &sealed, NULL), E_OK);
		assert_memory_equal(sealed.p, "before", 6);
		assert_int_equal(
			seal_open(f->sealer, sealed.p + 6, sealed.len - 6, &got, NULL), E_OK);
		assert_int_equal(got.len, 3 + lens[i]);
		assert_memory_equal(got.p, "and", 3);
		assert_memory_equal(got.p + 3, plain, lens[i]);
	}
	free(plain);
}

static void
every_truncation_is_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);
	struct err e = { 0 };

	assert_int_equal(
		seal_shut(f->sealer, "forty bytes of plaintext, give or take it", 40, &sealed, &e),
		E_OK);
	for (size_t len = 0; len < sealed.len; len++) {
		/* a copy of exactly this length: a read behind it is seen by the address sanitizer */
		uint8_t *cut = malloc(len + (len == 0));

		assert_non_null(cut);
		memcpy(cut, sealed.p, len);
		assert_int_equal(seal_open(f->sealer, cut, len, &got, &e),
			len < SEAL_OVERHEAD ? E_SEAL_SHORT : E_SEAL_MAC);
		assert_int_equal(got.len, 0);
		free(cut);
	}
}

/* A flip in the IV changes s and so the tag: nothing of the unit is unprotected. */
static void
every_flipped_bit_is_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);
	struct err e = { 0 };

	assert_int_equal(
		seal_shut(f->sealer, "what is in here is not to be changed", 36, &sealed, &e),
		E_OK);
	for (size_t bit = 0; bit < sealed.len * 8; bit++) {
		sealed.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &got, &e), E_SEAL_MAC);
		assert_int_equal(got.len, 0);
		sealed.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &got, &e), E_OK);
}

/* A refused unit must not disturb the next one in the same contexts. */
static void
a_refusal_leaves_the_sealer_usable(void **state)
{
	struct fixture *f = *state;

	every_truncation_is_refused(state);
	the_vectors_match_both_ways(state);
	assert_non_null(f->sealer);
}

static void
another_key_does_not_open(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *other = NULL;
	autoclean(sealer_close) struct sealer *s = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_MAX_BYTES);
	autoclean(buf_done) struct buf got = buf_limit(SMALL_MAX_BYTES);

	assert_int_equal(keyring_generate(&f->ros.os, &other, NULL), E_OK);
	assert_int_equal(sealer_open(other, &f->ros.os, &s, NULL), E_OK);
	assert_int_equal(seal_shut(f->sealer, "abc", 3, &sealed, NULL), E_OK);
	assert_int_equal(seal_open(s, sealed.p, sealed.len, &got, NULL), E_SEAL_MAC);
	assert_int_equal(got.len, 0);
}

static void
an_iv_of_zeros_is_refused_on_both_sides(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf out = buf_limit(SMALL_MAX_BYTES);
	static const uint8_t zero[SEAL_OVERHEAD + 8];
	struct err e = { 0 };

	assert_int_equal(seal_shut_iv(f->sealer, zero, "abc", 3, &out, &e), E_RANDOM);
	assert_int_equal(out.len, 0);
	assert_int_equal(seal_open(f->sealer, zero, sizeof(zero), &out, &e), E_SEAL_MAC);
	assert_int_equal(out.len, 0);
	f->ros.zeros = true; /* a generator that gives zeros */
	assert_int_equal(seal_shut(f->sealer, "abc", 3, &out, &e), E_RANDOM);
	assert_int_equal(out.len, 0);
}

/* One random() serves many seals; every refused one is told, and the next try works. */
static void
refused_random_bytes_are_told(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf out = buf_limit(SMALL_MAX_BYTES);
	struct err e = { 0 };
	unsigned sealed = 0;

	f->ros.refuse_from = 2;
	while (seal_shut(f->sealer, "abc", 3, &out, &e) == E_OK)
		sealed++;
	assert_int_equal(sealed, 256);
	assert_int_equal(e.code, E_RANDOM);
	assert_int_equal(e.sys, EIO);
	assert_int_equal(f->calls, 2);
	assert_int_equal(out.len, (size_t)sealed * (3 + SEAL_OVERHEAD));
	assert_int_equal(seal_shut(f->sealer, "abc", 3, &out, &e), E_RANDOM);
	f->ros.refuse_from = 0;
	assert_int_equal(seal_shut(f->sealer, "abc", 3, &out, &e), E_OK);
}

static void
no_iv_is_used_twice(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf out = buf_limit(SMALL_MAX_BYTES);
	const size_t size = SEAL_OVERHEAD, n = 1000;

	for (size_t i = 0; i < n; i++)
		assert_int_equal(seal_shut(f->sealer, "", 0, &out, NULL), E_OK);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = i + 1; k < n; k++)
			assert_true(memcmp(out.p + i * size, out.p + k * size, SEAL_IV_BYTES) != 0);
	}
}

static void
the_ceiling_of_the_output_holds(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf sealed = buf_limit(41);
	autoclean(buf_done) struct buf plain = buf_limit(8);
	struct err e = { 0 };

	assert_int_equal(seal_shut(f->sealer, "0123456789", 10, &sealed, &e), E_LIMIT);
	assert_int_equal(sealed.len, 0);
	assert_int_equal(seal_shut(f->sealer, "012345678", 9, &sealed, &e), E_OK);
	assert_int_equal(seal_open(f->sealer, sealed.p, sealed.len, &plain, &e), E_LIMIT);
	assert_int_equal(plain.len, 0);
	assert_int_equal(seal_shut_iv(f->sealer, (const uint8_t *)"0123456789abcdef", "",
				 SIZE_MAX - 31, &sealed, &e),
		E_LIMIT);
}

static void
a_missing_algorithm_is_told(void **state)
{
	struct fixture *f = *state;
	struct sealer *s = NULL;
	struct err e = { 0 };

	assert_int_equal(EVP_set_default_properties(NULL, "provider=none"), 1);
	assert_int_equal(sealer_open(f->keys, &f->ros.os, &s, &e), E_CRYPTO);
	assert_null(s);
	assert_int_equal(EVP_set_default_properties(NULL, ""), 1);
	assert_int_equal(sealer_open(f->keys, &f->ros.os, &s, &e), E_OK);
	sealer_close(&s);
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(the_vectors_match_both_ways),
		RUN(the_counter_wraps_over_128_bits),
		RUN(a_round_trip_at_every_small_length),
		RUN(a_round_trip_of_large_units),
		RUN(every_truncation_is_refused),
		RUN(every_flipped_bit_is_refused),
		RUN(a_refusal_leaves_the_sealer_usable),
		RUN(another_key_does_not_open),
		RUN(an_iv_of_zeros_is_refused_on_both_sides),
		RUN(refused_random_bytes_are_told),
		RUN(no_iv_is_used_twice),
		RUN(the_ceiling_of_the_output_holds),
		RUN(a_missing_algorithm_is_told),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
