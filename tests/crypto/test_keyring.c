#include "support/unit_json.h"

#include <openssl/evp.h>

#include "support/random_os.h"

#include "crypto/kdf.h"
#include "crypto/keyring.h"
#include "crypto/seal.h"

#define TEXT_MAX_BYTES ((size_t)1 << 20)

/* unit.json's key file, decoded */
struct fixture {
	struct buf vectors, file, master, password, salt, data;
	struct kdf_params params;
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
};

static const struct kdf_params cheap = { .n = 2, .r = 1, .p = 1 };
static const uint8_t some_salt[KDF_SALT_BYTES] = { 1, 2, 3 };

static void
decode_base64(struct slice object, const char *key, struct buf *out)
{
	autoclean(buf_done) struct buf digits = buf_limit(TEXT_MAX_BYTES);

	vectors_text(object, key, &digits);
	assert_int_equal(buf_reserve(out, digits.len, NULL), E_OK);
	assert_true(base64_read(digits.p, digits.len, out->p, &out->len));
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct slice keyfile, file;

	assert_non_null(f);
	f->vectors = buf_limit(VECTORS_MAX_BYTES);
	f->file = f->master = f->password = f->salt = f->data = buf_limit(TEXT_MAX_BYTES);
	vectors_read("unit.json", &f->vectors);
	keyfile = vectors_member(buf_slice(&f->vectors), "keyfile");
	vectors_text(keyfile, "file", &f->file);
	vectors_text(keyfile, "master_json", &f->master);
	vectors_text(keyfile, "password", &f->password);
	file = buf_slice(&f->file);
	decode_base64(file, "salt", &f->salt);
	decode_base64(file, "data", &f->data);
	f->params.n = vectors_u64(file, "N");
	f->params.r = (uint32_t)vectors_u64(file, "r");
	f->params.p = (uint32_t)vectors_u64(file, "p");
	f->seed = 1;
	f->ros = random_os_make(&f->seed, &f->calls);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	buf_done(&f->vectors);
	buf_done(&f->file);
	buf_done(&f->master);
	buf_done(&f->password);
	buf_done(&f->salt);
	buf_done(&f->data);
	free(f);
	return 0;
}

static enum ecode
unwrap(struct fixture *f, const char *password, struct keyring **out, struct err *e)
{
	struct slice secret = { (const uint8_t *)password, strlen(password) };

	return keyring_unwrap(secret, &f->params, f->salt.p, buf_slice(&f->data), out, e);
}

static bool
same_key(const struct keyring *a, const struct keyring *b)
{
	return memcmp(keyring_parts(a), keyring_parts(b), sizeof(struct key_parts)) == 0;
}

static void
the_derived_key_matches_the_vector(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf want = buf_limit(TEXT_MAX_BYTES);
	struct key_parts got;

	vectors_hex(vectors_member(buf_slice(&f->vectors), "keyfile"), "scrypt_out", &want);
	assert_int_equal(
		kdf_derive(buf_slice(&f->password), &f->params, f->salt.p, &got, NULL), E_OK);
	assert_int_equal(want.len, sizeof(got));
	assert_memory_equal(&got, want.p, sizeof(got));
}

static void
the_key_file_of_the_vectors_opens(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *opened = NULL;
	autoclean(keyring_close) struct keyring *given = NULL;

	assert_int_equal(f->salt.len, KDF_SALT_BYTES);
	assert_int_equal(unwrap(f, "holdfast-vector-1", &opened, NULL), E_OK);
	assert_int_equal(keyring_from_json(buf_slice(&f->master), &given, NULL), E_OK);
	assert_true(same_key(opened, given));
	/* r is kept as stored, not clamped */
	for (size_t i = 0; i < sizeof(keyring_parts(opened)->r); i++)
		assert_int_equal(keyring_parts(opened)->r[i], 0xff);
}

static void
a_wrong_password_is_a_wrong_tag(void **state)
{
	struct fixture *f = *state;
	const char *wrong[] = { "", "holdfast-vector-2", "holdfast-vector-1 ",
		"Holdfast-vector-1" };
	struct keyring *k = NULL;
	struct err e = { 0 };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(unwrap(f, wrong[i], &k, &e), E_SEAL_MAC);
		assert_null(k);
	}
}

static void
every_truncation_is_refused(void **state)
{
	struct fixture *f = *state;
	struct keyring *k = NULL;
	struct err e = { 0 };
	autoclean(buf_done) struct buf sealed = buf_limit(TEXT_MAX_BYTES);
	autoclean(keyring_close) struct keyring *own = NULL;

	assert_int_equal(keyring_generate(&f->ros.os, &own, &e), E_OK);
	assert_int_equal(keyring_wrap(own, &f->ros.os, (struct slice){ NULL, 0 }, &cheap, some_salt,
				 &sealed, &e),
		E_OK);
	for (size_t len = 0; len < sealed.len; len++) {
		struct slice cut = { sealed.p, len };

		assert_int_equal(
			keyring_unwrap((struct slice){ NULL, 0 }, &cheap, some_salt, cut, &k, &e),
			len < SEAL_OVERHEAD ? E_SEAL_SHORT : E_SEAL_MAC);
		assert_null(k);
	}
}

static void
an_oversized_key_is_refused_before_deriving(void **state)
{
	static uint8_t large[1 << 20];
	struct keyring *k = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(keyring_unwrap((struct slice){ NULL, 0 }, &cheap, some_salt,
				 (struct slice){ large, sizeof(large) }, &k, &e),
		E_KEY_DAMAGED);
}

static void
what_is_wrapped_is_restics_text(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *k = NULL;
	autoclean(keyring_close) struct keyring *user = NULL;
	autoclean(keyring_close) struct keyring *again = NULL;
	autoclean(sealer_close) struct sealer *s = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf plain = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf json = buf_limit(TEXT_MAX_BYTES);
	struct slice password = { (const uint8_t *)"p\0q", 3 };
	struct key_parts derived;
	struct json_out w;

	assert_int_equal(keyring_from_json(buf_slice(&f->master), &k, NULL), E_OK);
	assert_int_equal(
		keyring_wrap(k, &f->ros.os, password, &cheap, some_salt, &sealed, NULL), E_OK);
	assert_int_equal(
		keyring_unwrap(password, &cheap, some_salt, buf_slice(&sealed), &again, NULL),
		E_OK);
	assert_true(same_key(k, again));

	/* open it by hand: a keyring of the derived key */
	assert_int_equal(kdf_derive(password, &cheap, some_salt, &derived, NULL), E_OK);
	json_begin(&w, &json);
	json_open_object(&w);
	json_put_key(&w, "encrypt");
	json_put_base64(&w, derived.encrypt, sizeof(derived.encrypt));
	json_put_key(&w, "mac");
	json_open_object(&w);
	json_put_key(&w, "r");
	json_put_base64(&w, derived.r, sizeof(derived.r));
	json_put_key(&w, "k");
	json_put_base64(&w, derived.k, sizeof(derived.k));
	json_close_object(&w);
	json_close_object(&w);
	assert_int_equal(json_done(&w, NULL), E_OK);
	assert_int_equal(keyring_from_json(buf_slice(&json), &user, NULL), E_OK);
	assert_int_equal(sealer_open(user, NULL, &s, NULL), E_OK);
	assert_int_equal(seal_open(s, sealed.p, sealed.len, &plain, NULL), E_OK);
	assert_int_equal(plain.len, f->master.len);
	assert_memory_equal(plain.p, f->master.p, plain.len);
}

static void
generated_keys_differ_and_survive_wrapping(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *a = NULL;
	autoclean(keyring_close) struct keyring *b = NULL;
	autoclean(keyring_close) struct keyring *c = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(TEXT_MAX_BYTES);
	struct slice password = buf_slice(&f->password);

	assert_int_equal(keyring_generate(&f->ros.os, &a, NULL), E_OK);
	assert_int_equal(keyring_generate(&f->ros.os, &b, NULL), E_OK);
	assert_false(same_key(a, b));
	assert_int_equal(
		keyring_wrap(a, &f->ros.os, password, &cheap, some_salt, &sealed, NULL), E_OK);
	assert_int_equal(
		keyring_unwrap(password, &cheap, some_salt, buf_slice(&sealed), &c, NULL), E_OK);
	assert_true(same_key(a, c));
}

static void
refused_random_bytes_are_told(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *k = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(TEXT_MAX_BYTES);
	struct keyring *none = NULL;
	struct err e = { 0 };

	assert_int_equal(keyring_generate(&f->ros.os, &k, &e), E_OK);
	f->ros.refuse_from = 2;
	assert_int_equal(keyring_generate(&f->ros.os, &none, &e), E_RANDOM);
	assert_int_equal(e.sys, EIO);
	assert_null(none);
	assert_int_equal(keyring_wrap(k, &f->ros.os, buf_slice(&f->password), &cheap, some_salt,
				 &sealed, &e),
		E_RANDOM);
	assert_int_equal(sealed.len, 0);
	f->ros.refuse_from = 0;
	f->ros.zeros = true;
	assert_int_equal(keyring_generate(&f->ros.os, &none, &e), E_RANDOM);
	assert_null(none);
}

/* ---- the master key's text ---- */

#define K16 "QEFCQ0RFRkdISUpLTE1OTw=="
#define Z16 "AAAAAAAAAAAAAAAAAAAAAA=="
#define E32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define Z32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static enum ecode
parse(const char *text)
{
	struct keyring *k = NULL;
	struct err e = { 0 };
	enum ecode rc =
		keyring_from_json((struct slice){ (const uint8_t *)text, strlen(text) }, &k, &e);

	assert_true((rc == E_OK) == (k != NULL));
	assert_int_equal(e.code, rc);
	keyring_close(&k);
	return rc;
}

static void
any_valid_writing_of_the_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(
		parse("{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}"),
		E_OK);
	assert_int_equal(parse(" { \"encrypt\" : \"" E32
			       "\" , \"new\": [1,{}], \"mac\" : {\"x\":null, \"r\":\"" K16
			       "\", \"k\":\"" K16 "\"} } \n"),
		E_OK);
	assert_int_equal(
		parse("{\"mac\":{\"k\":\"\\u0051EFCQ0RFRkdISUpLTE1OTw\\u003d\\u003d\",\"r\":\"" K16
		      "\"},\"encrypt\":\"" E32 "\"}"),
		E_OK);
}

static void
a_damaged_key_text_is_refused(void **state)
{
	const char *bad[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}x",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"}}",
		"{\"mac\":{\"k\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":[],\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"k\":7,\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"k\":\"" Z16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" Z16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" Z32 "\"}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" K16 "\"}",
		"{\"mac\":{\"k\":\"" E32 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 E32 "\"}",
		"{\"mac\":{\"k\":\"" K16 "\",\"r\":\"" K16 "\"},\"encrypt\":\"*" E32 "\"}",
		"{\"mac\":{\"k\":\"\",\"r\":\"" K16 "\"},\"encrypt\":\"" E32 "\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i]), E_KEY_DAMAGED);
}

/* ---- costs ---- */

struct cost_case {
	struct kdf_params params;
	bool right;
};

static const struct cost_case costs[] = {
	{ { 2, 1, 1 }, true }, { { 1024, 8, 2 }, true }, { { 16384, 8, 1 }, true },
	{ { 32768, 8, 4 }, true }, { { 131072, 8, 1 }, true }, /* rustic */
	{ { 131072, 8, 64 }, true },                           /* the most work: 2^33 bytes */
	{ { 131072, 8, 65 }, false },                          /* one more */
	{ { 262144, 8, 1 }, false },                           /* 256 MiB and a little */
	{ { 1 << 20, 8, 1 }, false },                          /* restic would take 1 GiB */
	{ { 0, 8, 1 }, false },                                /* not above 1 */
	{ { 1, 8, 1 }, false },                                /* not above 1 */
	{ { 3, 8, 1 }, false },                                /* no power of two */
	{ { 32767, 8, 1 }, false },                            /* no power of two */
	{ { 32768, 0, 1 }, false },                            /* r */
	{ { 32768, 8, 0 }, false },                            /* p */
	{ { 65536, 1, 1 }, false },                            /* RFC 7914: N < 2^(16 r) */
	{ { 32768, 1, 1 }, true },                             /* just below */
	{ { UINT64_C(1) << 63, 8, 1 }, false },                /* products that would wrap */
	{ { UINT64_C(1) << 62, UINT32_MAX, UINT32_MAX }, false },
	{ { UINT64_C(1) << 57, 1, 1 }, false }, { { UINT64_C(1) << 57, 128, 1 }, false },
	{ { 2, UINT32_MAX, 1 }, false }, { { 2, 1, UINT32_MAX }, false },
	{ { 2, UINT32_MAX, UINT32_MAX }, false }, { { 2, 8388608, 1 }, false }, /* r of 2^23 */
	{ { 2, 1 << 15, 1 << 15 }, false },                                     /* r·p of 2^30 */
};

static void
unreasonable_costs_are_refused(void **state)
{
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
		e = (struct err){ 0 };
		if (kdf_params_check(&costs[i].params, &e) !=
			(costs[i].right ? E_OK : E_KDF_PARAMS))
			fail_msg("case %zu", i);
		assert_int_equal(e.code, costs[i].right ? E_OK : E_KDF_PARAMS);
	}
}

/* All entrances check: nothing is derived with the costs of a hostile key file. */
static void
every_entrance_checks_the_costs(void **state)
{
	struct fixture *f = *state;
	const struct kdf_params hostile = { UINT64_C(1) << 40, 1 << 20, 1 << 20 };
	autoclean(keyring_close) struct keyring *k = NULL;
	autoclean(buf_done) struct buf out = buf_limit(TEXT_MAX_BYTES);
	struct slice password = buf_slice(&f->password);
	struct keyring *none = NULL;
	struct key_parts parts;
	struct err e = { 0 };

	assert_int_equal(kdf_derive(password, &hostile, some_salt, &parts, &e), E_KDF_PARAMS);
	assert_int_equal(
		keyring_unwrap(password, &hostile, f->salt.p, buf_slice(&f->data), &none, &e),
		E_KDF_PARAMS);
	assert_null(none);
	assert_int_equal(keyring_generate(&f->ros.os, &k, &e), E_OK);
	assert_int_equal(
		keyring_wrap(k, &f->ros.os, password, &hostile, some_salt, &out, &e), E_KDF_PARAMS);
	assert_int_equal(out.len, 0);
}

/* 128 MiB of working memory: above libcrypto's own default ceiling of 32 MiB. */
static void
the_costs_that_rustic_writes_are_accepted(void **state)
{
	const struct kdf_params rustic = { 131072, 8, 1 };
	struct key_parts parts;

	(void)state;
	assert_int_equal(kdf_derive((struct slice){ (const uint8_t *)"p", 1 }, &rustic, some_salt,
				 &parts, NULL),
		E_OK);
}

static void
a_missing_algorithm_is_told(void **state)
{
	struct key_parts parts;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(EVP_set_default_properties(NULL, "provider=none"), 1);
	assert_int_equal(
		kdf_derive((struct slice){ NULL, 0 }, &cheap, some_salt, &parts, &e), E_CRYPTO);
	assert_int_equal(EVP_set_default_properties(NULL, ""), 1);
	assert_int_equal(
		kdf_derive((struct slice){ NULL, 0 }, &cheap, some_salt, &parts, &e), E_OK);
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(the_derived_key_matches_the_vector),
		RUN(the_key_file_of_the_vectors_opens),
		RUN(a_wrong_password_is_a_wrong_tag),
		RUN(every_truncation_is_refused),
		cmocka_unit_test(an_oversized_key_is_refused_before_deriving),
		RUN(what_is_wrapped_is_restics_text),
		RUN(generated_keys_differ_and_survive_wrapping),
		RUN(refused_random_bytes_are_told),
		cmocka_unit_test(any_valid_writing_of_the_key_is_read),
		cmocka_unit_test(a_damaged_key_text_is_refused),
		cmocka_unit_test(unreasonable_costs_are_refused),
		RUN(every_entrance_checks_the_costs),
		cmocka_unit_test(the_costs_that_rustic_writes_are_accepted),
		cmocka_unit_test(a_missing_algorithm_is_told),
	};

	return cmocka_run_group_tests_name("keyring", tests, NULL, NULL);
}
