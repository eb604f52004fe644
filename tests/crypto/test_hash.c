#include "support/unit_json.h"

#include <openssl/evp.h>

#include "crypto/hash.h"

/* FIPS 180-4 examples, from the standard's own worked examples */
static const struct {
	const char *text, *hex;
} known[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

#define KNOWN_COUNT (sizeof(known) / sizeof(known[0]))

static void
assert_id(const struct id *id, const char *hex)
{
	char text[ID_HEX_SIZE];

	id_hex(id, text);
	assert_string_equal(text, hex);
}

static void
sum_matches_the_standard(void **state)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	struct id id;

	(void)state;
	assert_int_equal(hasher_open(&h, NULL), E_OK);
	for (size_t i = 0; i < KNOWN_COUNT; i++) {
		hasher_sum(h, known[i].text, strlen(known[i].text), &id);
		assert_id(&id, known[i].hex);
	}
}

/* A million times 'a' in uneven pieces, also in the standard. */
static void
streaming_matches_the_standard(void **state)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	static uint8_t a[1009];
	struct id id;

	(void)state;
	assert_int_equal(hasher_open(&h, NULL), E_OK);
	memset(a, 'a', sizeof(a));
	hasher_begin(h);
	for (size_t left = 1000000; left > 0;) {
		size_t n = left < sizeof(a) ? left : sizeof(a);

		hasher_add(h, a, n);
		left -= n;
	}
	hasher_end(h, &id);
	assert_id(&id, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void
every_split_gives_the_same_name(void **state)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	uint8_t bytes[200];
	struct id whole, split;

	(void)state;
	assert_int_equal(hasher_open(&h, NULL), E_OK);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	hasher_sum(h, bytes, sizeof(bytes), &whole);
	for (size_t at = 0; at <= sizeof(bytes); at++) {
		hasher_begin(h);
		hasher_add(h, bytes, at);
		hasher_add(h, bytes + at, sizeof(bytes) - at);
		hasher_end(h, &split);
		assert_memory_equal(whole.b, split.b, sizeof(whole.b));
	}
}

/* A stream that was begun and never ended must not leak into the next one. */
static void
an_abandoned_stream_is_forgotten(void **state)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	struct id id;

	(void)state;
	assert_int_equal(hasher_open(&h, NULL), E_OK);
	hasher_begin(h);
	hasher_add(h, "left over", 9);
	hasher_sum(h, "abc", 3, &id);
	assert_id(&id, known[1].hex);
}

static void
closing_twice_is_fine(void **state)
{
	struct hasher *h = NULL;

	(void)state;
	assert_int_equal(hasher_open(&h, NULL), E_OK);
	hasher_close(&h);
	assert_null(h);
	hasher_close(&h);
}

/* As on a machine whose libcrypto is configured to offer nothing of this. */
static void
a_missing_algorithm_is_told(void **state)
{
	struct hasher *h = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(EVP_set_default_properties(NULL, "provider=none"), 1);
	assert_int_equal(hasher_open(&h, &e), E_CRYPTO);
	assert_int_equal(e.code, E_CRYPTO);
	assert_null(h);
	assert_int_equal(EVP_set_default_properties(NULL, ""), 1);
	assert_int_equal(hasher_open(&h, &e), E_OK);
	hasher_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sum_matches_the_standard),
		cmocka_unit_test(streaming_matches_the_standard),
		cmocka_unit_test(every_split_gives_the_same_name),
		cmocka_unit_test(an_abandoned_stream_is_forgotten),
		cmocka_unit_test(closing_twice_is_fine),
		cmocka_unit_test(a_missing_algorithm_is_told),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
