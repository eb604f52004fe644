#include "repo/chunker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/json.h"
#include "base/wire.h"
#include "support/random_os.h"
#include "support/vectors.h"

#define POLY_KNOWN UINT64_C(0x27ebaa5864c881) /* the first of chunker.json */
#define INPUT_MAX  (32U << 20) /* bytes; the longest input of the vectors has 20 MiB */

static const char *const variants[] = { "lanes", "avx512-gfni" };
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

static uint64_t
fresh_seed(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &t), 0);
	return (uint64_t)t.tv_sec * 1000003 + (uint64_t)t.tv_nsec;
}

static struct chunker *
open_poly(uint64_t poly)
{
	struct chunker *c = NULL;
	struct err e;

	assert_int_equal(chunker_open(poly, &c, &e), E_OK);
	return c;
}

static uint64_t
some_poly(uint64_t *seed)
{
	unsigned calls;
	struct random_os os = random_os_make(seed, &calls);
	uint64_t poly = 0;
	struct err e;

	assert_int_equal(poly_random(&os.os, &poly, &e), E_OK);
	return poly;
}

/* ---- the reference: format document 9.3 and 9.4, byte by byte ---- */

static uint64_t
ref_mod(uint64_t a, uint64_t p)
{
	for (int bit = 63; bit >= 53; bit--) {
		if ((a >> bit & 1) != 0)
			a ^= p << (bit - 53);
	}
	return a;
}

struct ref {
	uint64_t poly, out[256], mod[256];
	uint8_t window[64];
	unsigned pos;
	uint64_t digest;
	size_t count;
};

static void
ref_start(struct ref *r)
{
	memset(r->window, 0, sizeof(r->window));
	r->window[0] = 1;
	r->pos = 1;
	r->digest = 1;
	r->count = 0;
}

static void
ref_init(struct ref *r, uint64_t poly)
{
	r->poly = poly;
	for (uint64_t b = 0; b < 256; b++) {
		uint64_t h = b;

		for (int i = 0; i < 63; i++)
			h = ref_mod(h << 8, poly);
		r->out[b] = h;
		r->mod[b] = ref_mod(b << 53, poly) | b << 53;
	}
	ref_start(r);
}

static bool
ref_byte(struct ref *r, uint8_t b)
{
	r->count++;
	if (r->count <= 524288 - 64)
		return false;
	r->digest ^= r->out[r->window[r->pos]];
	r->window[r->pos] = b;
	r->pos = (r->pos + 1) % 64;
	r->digest = (r->digest << 8 | b) ^ r->mod[r->digest >> 45];
	return r->count >= 524288 && ((r->digest & 0xfffff) == 0 || r->count >= 8388608);
}

/* As chunker_cut(), from the start of a chunk. */
static size_t
ref_cut(struct ref *r, const uint8_t *p, size_t len, uint64_t *digest)
{
	ref_start(r);
	for (size_t i = 0; i < len; i++) {
		if (ref_byte(r, p[i])) {
			*digest = r->digest;
			return r->count;
		}
	}
	return 0;
}

/* ---- polynomials ---- */

static bool
has_divisor(uint64_t p)
{
	for (uint64_t d = 2; d < 64; d++) {
		uint64_t a = p;

		while (a != 0 && __builtin_clzll(a) <= __builtin_clzll(d))
			a ^= d << (__builtin_clzll(d) - __builtin_clzll(a));
		if (a == 0 && d != p)
			return true;
	}
	return false;
}

/* All polynomials of degree 1 to 11: one with a divisor has one of degree <= 5. */
static void
test_irreducible_small(void **state)
{
	(void)state;
	assert_false(poly_irreducible(0));
	assert_false(poly_irreducible(1));
	for (uint64_t p = 2; p < 4096; p++)
		assert_int_equal(poly_irreducible(p), !has_divisor(p));
}

static void
test_irreducible_top_degree(void **state)
{
	(void)state;
	assert_true(poly_irreducible((UINT64_C(1) << 63) | 3)); /* x^63 + x + 1 */
	assert_false(poly_irreducible(UINT64_MAX));
}

static void
test_poly_random(void **state)
{
	uint64_t seed = fresh_seed(), last = 0;

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	for (int i = 0; i < 20; i++) {
		uint64_t poly = some_poly(&seed);

		assert_int_equal(poly >> 53, 1);
		assert_int_equal(poly & 1, 1);
		assert_true(poly_irreducible(poly));
		assert_true(poly != last);
		last = poly;
	}
}

static void
test_poly_random_refused(void **state)
{
	uint64_t seed = 1, poly = 77;
	unsigned calls;
	struct random_os os = random_os_make(&seed, &calls);
	struct err e;

	(void)state;
	os.refuse_from = 1;
	assert_int_equal(poly_random(&os.os, &poly, &e), E_RANDOM);
	assert_int_equal(e.sys, EIO);
	assert_int_equal(calls, 1);
	assert_int_equal(poly, 77);
}

/* A broken source must not keep us for ever. */
static void
test_poly_random_stuck(void **state)
{
	uint64_t seed = 1, poly = 77;
	unsigned calls;
	struct random_os os = random_os_make(&seed, &calls);
	struct err e;

	(void)state;
	os.zeros = true;
	assert_int_equal(poly_random(&os.os, &poly, &e), E_RANDOM);
	assert_int_equal(poly, 77);
}

static void
test_open_refuses(void **state)
{
	static const uint64_t bad[] = { 0, 1, UINT64_C(0x20000000000001), UINT64_MAX,
		(UINT64_C(1) << 63) | 3 /* irreducible, but of degree 63 */,
		(UINT64_C(1) << 52) | 9 /* x^52 + x^3 + 1: irreducible, degree 52 */ };
	struct chunker *c = NULL;
	struct err e;

	(void)state;
	assert_true(poly_irreducible((UINT64_C(1) << 52) | 9));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(chunker_open(bad[i], &c, &e), E_VAULT_POLY);
		assert_null(c);
	}
}

static void
test_variants(void **state)
{
	struct chunker *c = open_poly(POLY_KNOWN);

	(void)state;
	assert_false(chunker_use(c, "no such scanner"));
	assert_true(chunker_use(c, "lanes"));
	assert_string_equal(chunker_variant(c), "lanes");
	for (size_t i = 0; i < VARIANTS; i++) {
		bool here = chunker_use(c, variants[i]);

		print_message("# %s: %s\n", variants[i], here ? "tested" : "not on this machine");
		assert_int_equal(strcmp(chunker_variant(c), variants[i]) == 0, here);
	}
	chunker_close(&c);
	assert_null(c);
}

/* ---- the vectors ---- */

/* bytes [a, b) of the AES-256-CTR key stream with key SHA-256(seed) and a zero IV */
static void
key_stream(struct slice seed, size_t a, size_t b, struct buf *out)
{
	uint8_t key[32], iv[16] = { 0 };
	unsigned key_len = 0;
	int got = 0;
	struct err e;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *zeros = calloc(1, b + 1), *text = malloc(b + 1);

	assert_non_null(ctx);
	assert_non_null(zeros);
	assert_non_null(text);
	assert_int_equal(EVP_Digest(seed.p, seed.len, key, &key_len, EVP_sha256(), NULL), 1);
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_ctr(), NULL, key, iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, text, &got, zeros, (int)b), 1);
	assert_int_equal(got, b);
	assert_int_equal(buf_add(out, text + a, b - a, &e), E_OK);
	free(text);
	free(zeros);
	EVP_CIPHER_CTX_free(ctx);
}

static uint64_t
next_number(struct json *j)
{
	uint64_t v = 0;

	assert_true(json_element(j));
	assert_true(json_u64(j, &v));
	return v;
}

static struct slice
next_text(struct json *j)
{
	struct slice s = { NULL, 0 };
	bool escaped = false;

	assert_true(json_element(j));
	assert_true(json_string(j, &s, &escaped));
	assert_false(escaped);
	return s;
}

static void
add_repeated(struct buf *out, struct slice hex, size_t n)
{
	uint8_t bytes[64];
	struct err e;

	assert_true(hex.len / 2 <= sizeof(bytes) && hex_read(hex.p, hex.len, bytes));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf_add_byte(out, bytes[i % (hex.len / 2)], &e), E_OK);
}

/* One part, e.g. ["slice", "b", 0, 3145728]; the scanner stands inside the array. */
static void
add_part(struct json *j, struct buf *out)
{
	struct slice kind = next_text(j);
	struct err e;

	if (slice_is(kind, "byte")) {
		uint64_t v = next_number(j), n = next_number(j);

		assert_int_equal(buf_reserve(out, n, &e), E_OK);
		memset(out->p + out->len, (int)v, n);
		out->len += n;
	} else if (slice_is(kind, "aesctr")) {
		struct slice seed = next_text(j);

		key_stream(seed, 0, next_number(j), out);
	} else if (slice_is(kind, "slice")) {
		struct slice seed = next_text(j);
		uint64_t a = next_number(j);

		key_stream(seed, a, next_number(j), out);
	} else {
		assert_true(slice_is(kind, "repeat"));
		struct slice hex = next_text(j);

		add_repeated(out, hex, next_number(j));
	}
	assert_false(json_element(j));
}

/* The value of `key` in the object `text`. */
static struct slice
member(struct slice text, const void *key, size_t key_len)
{
	struct slice name, value;
	struct json j;

	json_init(&j, text.p, text.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		assert_true(json_skip(&j, &value));
		if (name.len == key_len && memcmp(name.p, key, key_len) == 0)
			return value;
	}
	fail_msg("no member %.*s", (int)key_len, (const char *)key);
	return (struct slice){ NULL, 0 };
}

static void
make_input(struct slice recipe, struct buf *out)
{
	struct json j;

	buf_clear(out);
	json_init(&j, recipe.p, recipe.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		assert_true(json_enter_array(&j));
		add_part(&j, out);
	}
	assert_true(json_end(&j));
}

static void
check_chunk(struct json *j, const struct chunker *c, struct slice rest, size_t *len)
{
	uint64_t want_len, digest = 0;
	uint8_t sum[32];
	unsigned sum_len = 0;
	char hex[65], digest_hex[20];
	struct slice want_sum, want_digest;
	size_t cut;

	assert_true(json_enter_array(j));
	want_len = next_number(j);
	want_sum = next_text(j);
	want_digest = next_text(j);
	assert_false(json_element(j));
	cut = chunker_cut(c, rest.p, rest.len, 0, &digest);
	*len = cut == 0 ? rest.len : cut;
	assert_int_equal(*len, want_len);
	assert_int_equal(EVP_Digest(rest.p, *len, sum, &sum_len, EVP_sha256(), NULL), 1);
	hex_write(sum, 32, hex);
	assert_memory_equal(hex, want_sum.p, want_sum.len);
	if (cut == 0) {
		assert_true(slice_is(want_digest, "-"));
	} else {
		(void)snprintf(digest_hex, sizeof(digest_hex), "%" PRIx64, digest);
		assert_true(slice_is(want_digest, digest_hex));
	}
}

/* `chunks`: the array of [length, sum, digest]; returns their number. */
static size_t
check_file(const struct chunker *c, struct slice chunks, const struct buf *input)
{
	struct json j;
	size_t at = 0, len = 0, n = 0;

	json_init(&j, chunks.p, chunks.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		assert_true(at < input->len);
		check_chunk(&j, c, (struct slice){ input->p + at, input->len - at }, &len);
		at += len;
		n++;
	}
	assert_true(json_end(&j));
	assert_int_equal(at, input->len);
	return n;
}

static void
check_table(const struct chunker *c, struct slice table,
	uint64_t (*entry)(const struct chunker *, unsigned))
{
	struct slice name, value;
	char text[20];
	struct json j;
	bool escaped;
	int entries = 0;

	json_init(&j, table.p, table.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		unsigned b = (unsigned)strtoul((const char *)name.p, NULL, 10);

		assert_true(json_string(&j, &value, &escaped));
		(void)snprintf(text, sizeof(text), "%" PRIx64, entry(c, b));
		assert_true(slice_is(value, text));
		entries++;
	}
	assert_true(json_end(&j));
	assert_true(entries >= 5);
}

static size_t
check_poly(uint64_t poly, struct slice vector, struct slice inputs)
{
	autoclean(buf_done) struct buf input = buf_limit(INPUT_MAX);
	struct slice files = member(vector, "files", 5), name, chunks;
	struct chunker *c = open_poly(poly);
	struct json j;
	size_t n = 0;

	assert_true(slice_is(member(vector, "irreducible", 11), "true"));
	check_table(c, member(vector, "out", 3), chunker_out);
	check_table(c, member(vector, "mod", 3), chunker_mod);
	json_init(&j, files.p, files.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		assert_true(json_skip(&j, &chunks));
		make_input(member(inputs, name.p, name.len), &input);
		for (size_t i = 0; i < VARIANTS; i++) {
			if (chunker_use(c, variants[i]))
				n += check_file(c, chunks, &input);
		}
	}
	assert_true(json_end(&j));
	chunker_close(&c);
	return n;
}

static void
test_vectors(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(VECTOR_MAX_BYTES);
	struct slice all, polys, name, vector;
	struct json j;
	size_t n = 0;
	int count = 0;

	(void)state;
	assert_true(vector_load("chunker.json", &text));
	all = buf_slice(&text);
	polys = member(all, "polynomials", 11);
	json_init(&j, polys.p, polys.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		uint64_t poly = strtoull((const char *)name.p, NULL, 16);

		assert_true(json_skip(&j, &vector));
		n += check_poly(poly, vector, member(all, "inputs", 6));
		count++;
	}
	assert_true(json_end(&j));
	assert_true(count >= 2);
	assert_true(n >= 50);
}

static void
test_reducible_vectors(void **state)
{
	autoclean(buf_done) struct buf text = buf_limit(VECTOR_MAX_BYTES);
	struct slice list, hex;
	struct json j;
	bool escaped;
	int n = 0;

	(void)state;
	assert_true(vector_load("chunker.json", &text));
	list = member(buf_slice(&text), "reducible_examples", 18);
	json_init(&j, list.p, list.len);
	assert_true(json_enter_array(&j));
	while (json_element(&j)) {
		assert_true(json_string(&j, &hex, &escaped));
		assert_false(poly_irreducible(strtoull((const char *)hex.p, NULL, 16)));
		n++;
	}
	assert_true(n >= 3);
}

/* ---- every variant against the reference ---- */

static uint8_t *
some_bytes(size_t len, uint64_t *seed)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)random_next(seed);
	return p;
}

/* Change the three bytes before n so that the low 20 bits of the fingerprint there are `low`. */
static void
craft(const struct ref *r, uint8_t *p, size_t n, uint32_t low)
{
	uint64_t digest = 0;
	uint32_t change;

	for (size_t i = n - 64; i < n; i++)
		digest = ref_mod(digest << 8 | p[i], r->poly);
	change = (uint32_t)(digest & 0xfffff) ^ low;
	p[n - 1] ^= (uint8_t)change;
	p[n - 2] ^= (uint8_t)(change >> 8);
	p[n - 3] ^= (uint8_t)(change >> 16);
}

static void
compare(struct chunker *c, struct ref *r, const uint8_t *p, size_t len)
{
	uint64_t want_digest = 0;
	size_t want = ref_cut(r, p, len, &want_digest);

	for (size_t i = 0; i < VARIANTS; i++) {
		uint64_t digest = 0;

		if (!chunker_use(c, variants[i]))
			continue;
		assert_int_equal(chunker_cut(c, p, len, 0, &digest), want);
		assert_int_equal(digest, want_digest);
	}
}

/* Hits and near misses at chosen places: every bit of the mask, every lane, every length. */
static void
test_crafted_hits(void **state)
{
	uint64_t seed = fresh_seed(), poly;
	size_t room = 524288 + 200000;
	struct chunker *c;
	struct ref r;
	uint8_t *p;

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	poly = some_poly(&seed);
	c = open_poly(poly);
	ref_init(&r, poly);
	p = some_bytes(room, &seed);
	for (int i = 0; i < 250; i++) {
		size_t span = i % 2 == 0 ? 200000 : 5000;
		size_t hit = 524288 + random_next(&seed) % span;
		size_t miss = 524288 + random_next(&seed) % (hit - 524288 + 1);
		size_t len = hit + random_next(&seed) % (room - hit);

		craft(&r, p, hit, 0);
		if (miss + 64 < hit)
			craft(&r, p, miss, 1U << random_next(&seed) % 20);
		compare(c, &r, p, len);
		compare(c, &r, p, hit - 1);
		craft(&r, p, hit, 1);
	}
	free(p);
	chunker_close(&c);
}

static void
compare_all(struct chunker *c, struct ref *r, const uint8_t *p, size_t len)
{
	uint64_t digest;

	while (len > 0) {
		size_t cut = ref_cut(r, p, len, &digest);

		compare(c, r, p, len);
		if (cut == 0)
			return;
		p += cut;
		len -= cut;
	}
}

/* Random, periodic, zero and mixed stretches one after the other. */
static void
fill_mixed(uint8_t *p, size_t len, uint64_t *seed)
{
	for (size_t at = 0; at < len;) {
		size_t n = random_next(seed) % 1500000 + 1, kind = random_next(seed) % 4;
		size_t period = random_next(seed) % 100 + 1;

		if (n > len - at)
			n = len - at;
		for (size_t i = 0; i < n; i++) {
			if (kind == 0)
				p[at + i] = 0;
			else if (kind == 1 && i >= period)
				p[at + i] = p[at + i - period];
			else
				p[at + i] = (uint8_t)random_next(seed);
		}
		at += n;
	}
}

static void
test_mixed_data(void **state)
{
	uint64_t seed = fresh_seed();
	size_t len = 12U << 20;
	uint8_t *p = malloc(len);

	(void)state;
	assert_non_null(p);
	print_message("# seed %" PRIu64 "\n", seed);
	for (int i = 0; i < 3; i++) {
		uint64_t poly = some_poly(&seed);
		struct chunker *c = open_poly(poly);
		struct ref r;

		ref_init(&r, poly);
		fill_mixed(p, len, &seed);
		compare_all(c, &r, p, len);
		chunker_close(&c);
	}
	free(p);
}

/* The caller reads on in pieces of any size, with the hint: the cut is the same. */
static void
test_growing_input(void **state)
{
	uint64_t seed = fresh_seed(), poly;
	size_t room = 9U << 20;
	struct chunker *c;
	uint8_t *p;

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	poly = some_poly(&seed);
	c = open_poly(poly);
	p = some_bytes(room, &seed);
	for (size_t i = 0; i < 20 * VARIANTS; i++) {
		size_t most = (size_t)1 << (8 + i % 13), len = 0, from = 0, cut = 0;
		size_t start = random_next(&seed) % 4096;

		if (!chunker_use(c, variants[i / 20]))
			continue;
		while (cut == 0) {
			from = len;
			len += random_next(&seed) % most + 1;
			if (len > room - start)
				len = room - start;
			cut = chunker_cut(c, p + start, len, from, NULL);
		}
		assert_true(cut > from);
		assert_int_equal(cut, chunker_cut(c, p + start, room - start, 0, NULL));
	}
	free(p);
	chunker_close(&c);
}

/* Exactly at, one below and one above the two limits. */
static void
test_limits(void **state)
{
	struct chunker *c = open_poly(POLY_KNOWN);
	uint8_t *p = malloc(8388609);
	uint64_t digest = 1;

	(void)state;
	assert_non_null(p);
	for (size_t i = 0; i < VARIANTS; i++) {
		if (!chunker_use(c, variants[i]))
			continue;
		memset(p, 0, 8388609);
		assert_int_equal(chunker_cut(c, p, 0, 0, NULL), 0);
		assert_int_equal(chunker_cut(c, p, 524287, 0, NULL), 0);
		assert_int_equal(chunker_cut(c, p, 524288, 0, &digest), 524288);
		assert_int_equal(digest, 0);
		memset(p, 0xff, 8388609); /* the vectors say: no cut before the maximum */
		assert_int_equal(chunker_cut(c, p, 8388607, 0, NULL), 0);
		assert_int_equal(chunker_cut(c, p, 8388608, 0, NULL), 8388608);
		assert_int_equal(chunker_cut(c, p, 8388609, 0, NULL), 8388608);
		assert_int_equal(chunker_cut(c, p, 8388609, 8388607, NULL), 8388608);
	}
	free(p);
	chunker_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_irreducible_small),
		cmocka_unit_test(test_irreducible_top_degree),
		cmocka_unit_test(test_poly_random),
		cmocka_unit_test(test_poly_random_refused),
		cmocka_unit_test(test_poly_random_stuck),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_reducible_vectors),
		cmocka_unit_test(test_crafted_hits),
		cmocka_unit_test(test_mixed_data),
		cmocka_unit_test(test_growing_input),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
