#include "support/random_os.h"
#include "support/store_shim.h"

#include "repo/vault.h"
#include "store/mem.h"

#define TEXT_MAX_BYTES ((size_t)64 << 20)
/* an irreducible polynomial, that of the format document's example */
#define SOME_POLY      UINT64_C(0x25b468838dcb75)

struct fixture {
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
	struct store *mem;
	struct store_shim shim;
};

static const struct kdf_params cheap = { .n = 2, .r = 1, .p = 1 };

static struct slice
text_of(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->seed = 3;
	f->ros = random_os_make(&f->seed, &f->calls);
	assert_int_equal(mem_open(&f->mem, NULL), E_OK);
	store_shim_init(&f->shim, f->mem);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	store_close(&f->mem);
	free(f);
	return 0;
}

static void
empty_store(struct fixture *f)
{
	store_close(&f->mem);
	assert_int_equal(mem_open(&f->mem, NULL), E_OK);
	store_shim_init(&f->shim, f->mem);
}

static enum ecode
open_vault(struct fixture *f, const char *password, struct vault **out)
{
	struct err e = { 0 };
	enum ecode rc;

	*out = NULL;
	rc = vault_open(&f->ros.os, &f->shim.st, text_of(password), NULL, out, &e);
	assert_int_equal(e.code, rc);
	assert_true((rc == E_OK) == (*out != NULL));
	return rc;
}

static enum ecode
try_open(struct fixture *f, const char *password)
{
	struct vault *v = NULL;
	enum ecode rc = open_vault(f, password, &v);

	vault_close(&v);
	vault_close(&v);
	return rc;
}

/* ---- restic's repositories ---- */

static void
check_vector(struct fixture *f, const char *dir, unsigned version, const char *password)
{
	autoclean(vault_close) struct vault *v = NULL;
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	autoclean(buf_done) struct buf json = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf config = buf_limit(TEXT_MAX_BYTES);
	char hex[ID_HEX_SIZE], want[96];
	struct id found;

	empty_store(f);
	shim_fill_vectors(f->mem, dir);
	assert_int_equal(open_vault(f, password, &v), E_OK);
	assert_int_equal(v->version, version);
	assert_true(poly_irreducible(v->poly));
	assert_int_equal(vault_config_text(v, &config, NULL), E_OK);
	id_hex(&v->repo_id, hex);
	(void)snprintf(want, sizeof(want), "\"id\":\"%s\"", hex);
	assert_non_null(memmem(config.p, config.len, want, strlen(want)));
	assert_int_equal(
		blob_codec_open(v->keys, &f->ros.os, v->version, COMPRESSION_AUTO, &c, NULL), E_OK);
	for (int kind = 0; kind < 2; kind++) {
		enum okind what = kind == 0 ? O_SNAPSHOT : O_INDEX;

		assert_int_equal(store_list_all(f->mem, what, &list, NULL), E_OK);
		assert_true(list.n > 0);
		for (size_t i = 0; i < list.n; i++) {
			assert_int_equal(vault_load(v, c, what, &list.v[i].id, &json, NULL), E_OK);
			assert_int_equal(json.p[0], '{');
			id_hex(&list.v[i].id, hex);
			assert_int_equal(vault_find(v, what, hex, &found, NULL), E_OK);
			assert_memory_equal(found.b, list.v[i].id.b, sizeof(found.b));
		}
		store_listing_done(&list);
	}
}

static void
restics_repositories_open(void **state)
{
	check_vector(*state, "v1", 1, "holdfast-vector-1");
	check_vector(*state, "v2", 2, "holdfast-vector-1");
	check_vector(*state, "v2", 2, "second-password");
}

static void
a_wrong_password_opens_nothing(void **state)
{
	struct fixture *f = *state;

	shim_fill_vectors(f->mem, "v2");
	assert_int_equal(try_open(f, "third-password"), E_KEY_WRONG);
	assert_int_equal(try_open(f, ""), E_KEY_WRONG);
}

/* ---- our own ---- */

static void
init_with(struct fixture *f, unsigned version, uint64_t poly)
{
	const struct vault_init_args args = {
		.password = text_of("pw"), .version = version, .params = &cheap, .poly = poly
	};
	struct id repo_id;

	assert_int_equal(vault_init(&f->ros.os, &f->shim.st, &args, &repo_id, NULL), E_OK);
}

static void
a_new_vault_opens(void **state)
{
	struct fixture *f = *state;
	const struct vault_init_args args = {
		.password = text_of("pw"), .version = 2, .params = &cheap
	};
	autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);
	struct id repo_id = { { 0 } };
	struct vault *v = NULL;
	char hex[ID_HEX_SIZE], want[256];

	assert_int_equal(vault_init(&f->ros.os, &f->shim.st, &args, &repo_id, NULL), E_OK);
	assert_int_equal(open_vault(f, "pw", &v), E_OK);
	assert_memory_equal(v->repo_id.b, repo_id.b, sizeof(repo_id.b));
	assert_int_equal(v->version, 2);
	id_hex(&repo_id, hex);
	assert_int_equal(vault_config_text(v, &text, NULL), E_OK);
	(void)snprintf(want, sizeof(want),
		"{\"version\":2,\"id\":\"%s\",\"chunker_polynomial\":\"%llx\"}", hex,
		(unsigned long long)v->poly);
	assert_int_equal(text.len, strlen(want));
	assert_memory_equal(text.p, want, text.len);
	vault_close(&v);
	assert_int_equal(try_open(f, "wp"), E_KEY_WRONG);
	empty_store(f);
	init_with(f, 1, SOME_POLY);
	assert_int_equal(open_vault(f, "pw", &v), E_OK);
	assert_int_equal(v->version, 1);
	assert_int_equal(v->poly, SOME_POLY);
	vault_close(&v);
}

static enum ecode
init_again(struct fixture *f, unsigned version, uint64_t poly)
{
	const struct vault_init_args args = {
		.password = text_of("pw"), .version = version, .params = &cheap, .poly = poly
	};
	struct id repo_id = { { 42 } };
	struct err e = { 0 };
	enum ecode rc = vault_init(&f->ros.os, &f->shim.st, &args, &repo_id, &e);

	assert_true(rc == E_OK || repo_id.b[0] == 42);
	return rc;
}

static void
nothing_existing_is_overwritten(void **state)
{
	struct fixture *f = *state;
	const struct id id = { { 7 } };

	init_with(f, 2, 0);
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	empty_store(f);
	shim_fill(f->mem, O_CONFIG, NULL, text_of("c"));
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	empty_store(f);
	shim_fill(f->mem, O_KEY, &id, text_of("k"));
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	empty_store(f);
	shim_fill(f->mem, O_SNAPSHOT, &id, text_of("s"));
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	empty_store(f);
	shim_fill(f->mem, O_INDEX, &id, text_of("i"));
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	empty_store(f);
	shim_fill(f->mem, O_PACK, &id, text_of("p"));
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	assert_int_equal(f->shim.puts, 0);
}

static void
odd_versions_and_polynomials_are_not_made(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(init_again(f, 0, SOME_POLY), E_VAULT_VERSION);
	assert_int_equal(init_again(f, 3, SOME_POLY), E_VAULT_VERSION);
	assert_int_equal(init_again(f, 2, UINT64_C(0x20000000000001)), E_VAULT_POLY);
	assert_int_equal(f->shim.puts, 0);
}

static size_t
count(struct fixture *f, enum okind kind)
{
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };

	assert_int_equal(store_list_all(f->mem, kind, &list, NULL), E_OK);
	return list.n;
}

/* Whatever is refused, and also when a refused put was done: no openable vault, no leftover, and the retry works. */
static void
a_refused_init_leaves_nothing_and_repeats(void **state)
{
	struct fixture *f = *state;
	const enum ecode codes[] = { E_STORE_WRITE, E_STORE_UNSURE };

	for (unsigned at = 1; at <= 2; at++) {
		for (size_t i = 0; i < 2; i++) {
			empty_store(f);
			f->shim.refuse_put = at;
			f->shim.refuse_as = codes[i];
			f->shim.put_anyway = codes[i] == E_STORE_UNSURE;
			assert_int_equal(init_again(f, 2, 0), codes[i]);
			assert_int_equal(try_open(f, "pw"), E_VAULT_MISSING);
			assert_int_equal(count(f, O_KEY), 0);
			assert_int_equal(init_again(f, 2, 0), E_OK);
			assert_int_equal(try_open(f, "pw"), E_OK);
		}
	}
}

/* Killed between key and config: the same password finishes it, no second key is made, another password is refused. */
static void
an_init_that_was_cut_off_is_finished(void **state)
{
	struct fixture *f = *state;
	autoclean(keyring_close) struct keyring *keys = NULL;
	struct id key;

	assert_int_equal(keyring_generate(&f->ros.os, &keys, NULL), E_OK);
	assert_int_equal(
		keys_add(&f->ros.os, f->mem, keys, text_of("other"), &cheap, NULL, &key, NULL),
		E_OK);
	assert_int_equal(init_again(f, 2, 0), E_VAULT_EXISTS);
	assert_int_equal(f->shim.puts, 0);
	empty_store(f);
	assert_int_equal(
		keys_add(&f->ros.os, f->mem, keys, text_of("pw"), &cheap, NULL, &key, NULL), E_OK);
	assert_int_equal(init_again(f, 2, 0), E_OK);
	assert_int_equal(f->shim.puts, 2); /* the key again, it may not be durable; then config */
	assert_int_equal(count(f, O_KEY), 1);
	assert_int_equal(try_open(f, "pw"), E_OK);
}

static void
every_refused_random_call_is_told(void **state)
{
	struct fixture *f = *state;
	unsigned n = 1;

	for (;; n++) {
		enum ecode rc;

		empty_store(f);
		f->calls = 0;
		f->ros.refuse_from = n;
		rc = init_again(f, 2, 0);
		if (rc == E_OK)
			break;
		assert_int_equal(rc, E_RANDOM);
		assert_int_equal(count(f, O_KEY), 0);
		f->ros.refuse_from = 0;
		assert_int_equal(init_again(f, 2, 0), E_OK);
	}
	assert_true(n > 5); /* id, polynomial, master key, salt, IV of the key, IV of config */
	f->ros.refuse_from = 0;
	assert_int_equal(try_open(f, "pw"), E_OK);
}

/* ---- damaged and foreign configs ---- */

static void
no_config_is_no_vault(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try_open(f, "pw"), E_VAULT_MISSING);
	shim_fill_kind(f->mem, O_KEY, "v2");
	assert_int_equal(try_open(f, "holdfast-vector-1"), E_VAULT_MISSING);
}

static void
no_keys_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t config[100] = { 1 };

	shim_fill(f->mem, O_CONFIG, NULL, (struct slice){ config, sizeof(config) });
	assert_int_equal(try_open(f, "pw"), E_KEY_NONE);
}

static void
a_damaged_config_is_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf config = buf_limit(TEXT_MAX_BYTES);
	const struct oname name = { .kind = O_CONFIG };

	init_with(f, 2, SOME_POLY);
	assert_int_equal(store_get_all(f->mem, &name, &config, NULL), E_OK);
	for (size_t len = 0; len < config.len; len++) {
		uint8_t *cut = malloc(len + (len == 0));

		assert_non_null(cut);
		memcpy(cut, config.p, len);
		shim_fill(f->mem, O_CONFIG, NULL, (struct slice){ cut, len });
		assert_int_equal(
			try_open(f, "pw"), len < SEAL_OVERHEAD ? E_VAULT_CONFIG : E_SEAL_MAC);
		free(cut);
	}
	for (size_t at = 0; at < config.len; at++) {
		config.p[at] ^= 1;
		shim_fill(f->mem, O_CONFIG, NULL, buf_slice(&config));
		assert_int_equal(try_open(f, "pw"), E_SEAL_MAC);
		config.p[at] ^= 1;
	}
	shim_fill(f->mem, O_CONFIG, NULL, buf_slice(&config));
	assert_int_equal(try_open(f, "pw"), E_OK);
}

#define ID64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Seal a text as the config of the vault that is in the store. */
static enum ecode
open_with_config(struct fixture *f, const char *text)
{
	autoclean(keyring_close) struct keyring *keys = NULL;
	autoclean(sealer_close) struct sealer *sealer = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(TEXT_MAX_BYTES);
	struct id id;

	assert_int_equal(
		keys_find(&f->ros.os, f->mem, text_of("pw"), NULL, &keys, &id, NULL), E_OK);
	assert_int_equal(sealer_open(keys, &f->ros.os, &sealer, NULL), E_OK);
	assert_int_equal(seal_shut(sealer, text, strlen(text), &sealed, NULL), E_OK);
	shim_fill(f->mem, O_CONFIG, NULL, buf_slice(&sealed));
	return try_open(f, "pw");
}

struct config_case {
	const char *text;
	enum ecode code;
};

static const struct config_case configs[] = {
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"25b468838dcb75\"}", E_OK },
	{ "{\"version\":1,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"0025B468838dcb75\"}", E_OK },
	{ " {\"is_hot\":null,\"chunker_polynomial\":\"25b468838dcb75\",\"id\":\"" ID64
	  "\",\"x\":[{}],\"version\":2} ",
		E_OK },
	{ "{\"version\":0,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"25b468838dcb75\"}",
		E_VAULT_VERSION },
	{ "{\"version\":3,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"25b468838dcb75\"}",
		E_VAULT_VERSION },
	{ "{\"version\":18446744073709551615,\"id\":\"" ID64
	  "\",\"chunker_polynomial\":\"25b468838dcb75\"}",
		E_VAULT_VERSION },
	{ "{\"version\":3}", E_VAULT_VERSION }, /* the future may look different */
	{ "{\"version\":\"2\",\"id\":\"" ID64 "\",\"chunker_polynomial\":\"25b468838dcb75\"}",
		E_VAULT_CONFIG },
	{ "{\"version\":2,\"chunker_polynomial\":\"25b468838dcb75\"}", E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"0123\",\"chunker_polynomial\":\"25b468838dcb75\"}",
		E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\"}", E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"\"}", E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"0x25b468838dcb\"}",
		E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"00000025b468838dcb75\"}",
		E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":7}", E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"0\"}", E_VAULT_POLY },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"3\"}", E_VAULT_POLY },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"ffffffffffffffff\"}",
		E_VAULT_POLY },
	{ "[]", E_VAULT_CONFIG },
	{ "", E_VAULT_CONFIG },
	{ "{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"25b468838dcb75\"",
		E_VAULT_CONFIG },
};

static void
odd_configs_are_told_apart(void **state)
{
	struct fixture *f = *state;

	init_with(f, 2, SOME_POLY);
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		enum ecode rc = open_with_config(f, configs[i].text);

		if (rc != configs[i].code)
			fail_msg("case %zu: %s", i, err_row(rc)->name);
	}
}

/* chunker.json has examples of degree 53 that are products. */
static void
reducible_polynomials_are_refused(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf vectors = buf_limit(VECTORS_MAX_BYTES);
	struct slice list, digits;
	struct json j;
	size_t n = 0;
	bool escaped;

	init_with(f, 2, SOME_POLY);
	vectors_read("chunker.json", &vectors);
	list = vectors_member(buf_slice(&vectors), "reducible_examples");
	json_init(&j, list.p, list.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		char text[256];

		assert_true(json_string(&j, &digits, &escaped));
		(void)snprintf(text, sizeof(text),
			"{\"version\":2,\"id\":\"" ID64 "\",\"chunker_polynomial\":\"%.*s\"}",
			(int)digits.len, (const char *)digits.p);
		assert_int_equal(open_with_config(f, text), E_VAULT_POLY);
		n++;
	}
	assert_int_equal(n, 3);
}

/* ---- unpacked objects ---- */

static void
objects_are_saved_and_loaded(void **state)
{
	struct fixture *f = *state;
	autoclean(vault_close) struct vault *v = NULL;
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	autoclean(buf_done) struct buf json = buf_limit(TEXT_MAX_BYTES);
	struct id id = { { 9 } }, other = { { 0 } };
	struct err e = { 0 };

	init_with(f, 2, SOME_POLY);
	assert_int_equal(open_vault(f, "pw", &v), E_OK);
	assert_int_equal(blob_codec_open(v->keys, &f->ros.os, 2, COMPRESSION_AUTO, &c, &e), E_OK);
	assert_int_equal(vault_save(v, c, O_INDEX, "{\"packs\":[]}\n", 13, &id, &e), E_OK);
	assert_int_equal(vault_load(v, c, O_INDEX, &id, &json, &e), E_OK);
	assert_int_equal(json.len, 13);
	assert_memory_equal(json.p, "{\"packs\":[]}\n", 13);
	assert_int_equal(vault_load(v, c, O_SNAPSHOT, &id, &json, &e), E_STORE_ABSENT);
	assert_int_equal(vault_load(v, c, O_INDEX, &other, &json, &e), E_STORE_ABSENT);
	assert_true(e.notes > 0);
	/* one bad read is forgiven, a second is damage */
	f->shim.gets = 0;
	f->shim.lie_at_get = 1;
	assert_int_equal(vault_load(v, c, O_INDEX, &id, &json, &e), E_OK);
	assert_int_equal(f->shim.gets, 2);
	f->shim.gets = 0;
	f->shim.lie_for_ever = true;
	assert_int_equal(vault_load(v, c, O_INDEX, &id, &json, &e), E_OBJECT_HASH);
	assert_int_equal(f->shim.gets, 2);
	f->shim.lie_at_get = 0;
	/* a refused put gives no name */
	f->shim.puts = 0;
	f->shim.refuse_put = 1;
	f->shim.refuse_as = E_STORE_SPACE;
	assert_int_equal(vault_save(v, c, O_INDEX, "{}", 2, &other, &e), E_STORE_SPACE);
	assert_true(id_is_zero(&other));
}

static void
short_names_are_resolved(void **state)
{
	struct fixture *f = *state;
	autoclean(vault_close) struct vault *v = NULL;
	struct id a = { { 0xab, 0xcd, 1 } }, b = { { 0xab, 0xcd, 2 } }, c = { { 0x12 } },
		  third = { { 0xab, 0xcd, 3 } }, got = { { 0 } };
	char hex[ID_HEX_SIZE + 1];
	struct err e = { 0 };

	init_with(f, 2, SOME_POLY);
	assert_int_equal(open_vault(f, "pw", &v), E_OK);
	shim_fill(f->mem, O_SNAPSHOT, &a, text_of("a"));
	shim_fill(f->mem, O_SNAPSHOT, &b, text_of("b"));
	shim_fill(f->mem, O_SNAPSHOT, &c, text_of("c"));
	assert_int_equal(vault_find(v, O_SNAPSHOT, "abcd", &got, &e), E_ID_AMBIGUOUS);
	assert_non_null(strstr(e.detail, "abcd fits 2 objects in snapshots: abcd0"));
	assert_non_null(strstr(e.detail, ", abcd0"));
	assert_null(strstr(e.detail, "…"));
	shim_fill(f->mem, O_SNAPSHOT, &third, text_of("d"));
	assert_int_equal(vault_find(v, O_SNAPSHOT, "abcd", &got, &e), E_ID_AMBIGUOUS);
	assert_string_equal(e.detail, "abcd fits 3 objects in snapshots: abcd0100, abcd0200, …");
	assert_int_equal(vault_find(v, O_SNAPSHOT, "abcd01", &got, &e), E_OK);
	assert_memory_equal(got.b, a.b, sizeof(a.b));
	assert_int_equal(vault_find(v, O_SNAPSHOT, "ABCD02", &got, &e), E_OK);
	assert_memory_equal(got.b, b.b, sizeof(b.b));
	assert_int_equal(vault_find(v, O_SNAPSHOT, "1", &got, &e), E_OK);
	assert_memory_equal(got.b, c.b, sizeof(c.b));
	assert_int_equal(vault_find(v, O_INDEX, "1", &got, &e), E_ID_ABSENT);
	assert_int_equal(vault_find(v, O_SNAPSHOT, "13", &got, &e), E_ID_ABSENT);
	assert_int_equal(vault_find(v, O_SNAPSHOT, "", &got, &e), E_ID_SYNTAX);
	assert_int_equal(vault_find(v, O_SNAPSHOT, "latest", &got, &e), E_ID_SYNTAX);
	assert_int_equal(vault_find(v, O_SNAPSHOT, "ab cd", &got, &e), E_ID_SYNTAX);
	id_hex(&b, hex);
	assert_int_equal(vault_find(v, O_SNAPSHOT, hex, &got, &e), E_OK);
	hex[64] = '0';
	hex[65] = '\0';
	assert_int_equal(vault_find(v, O_SNAPSHOT, hex, &got, &e), E_ID_SYNTAX);
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(restics_repositories_open),
		RUN(a_wrong_password_opens_nothing),
		RUN(a_new_vault_opens),
		RUN(nothing_existing_is_overwritten),
		RUN(odd_versions_and_polynomials_are_not_made),
		RUN(a_refused_init_leaves_nothing_and_repeats),
		RUN(an_init_that_was_cut_off_is_finished),
		RUN(every_refused_random_call_is_told),
		RUN(no_config_is_no_vault),
		RUN(no_keys_is_told),
		RUN(a_damaged_config_is_refused),
		RUN(odd_configs_are_told_apart),
		RUN(reducible_polynomials_are_refused),
		RUN(objects_are_saved_and_loaded),
		RUN(short_names_are_resolved),
	};

	return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
