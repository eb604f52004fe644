#include "support/random_os.h"
#include "support/store_shim.h"

#include "repo/format.h"
#include "repo/keys.h"
#include "store/mem.h"

#include "crypto/hash.h"

#define TEXT_MAX_BYTES ((size_t)4 << 20)

struct fixture {
	struct buf file, name; /* the key file of unit.json */
	uint64_t seed;
	unsigned calls;
	struct random_os ros;
	struct store *mem;
	struct store_shim shim;
	struct keyring *master;
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
	struct buf vectors = buf_limit(VECTORS_MAX_BYTES);
	struct slice keyfile;

	assert_non_null(f);
	f->file = f->name = buf_limit(VECTORS_MAX_BYTES);
	vectors_read("unit.json", &vectors);
	keyfile = vectors_member(buf_slice(&vectors), "keyfile");
	vectors_text(keyfile, "file", &f->file);
	vectors_text(keyfile, "name", &f->name);
	buf_done(&vectors);
	f->seed = 4711;
	f->ros = random_os_make(&f->seed, &f->calls);
	assert_int_equal(mem_open(&f->mem, NULL), E_OK);
	store_shim_init(&f->shim, f->mem);
	assert_int_equal(keyring_generate(&f->ros.os, &f->master, NULL), E_OK);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	keyring_close(&f->master);
	store_close(&f->mem);
	buf_done(&f->file);
	buf_done(&f->name);
	free(f);
	return 0;
}

/* Store a key file under the hash of its text. */
static struct id
put_key_text(struct fixture *f, struct slice text)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	struct id id;

	assert_int_equal(hasher_open(&h, NULL), E_OK);
	hasher_sum(h, text.p, text.len, &id);
	shim_fill(f->mem, O_KEY, &id, text);
	return id;
}

static struct id
add_key(struct fixture *f, const char *password)
{
	struct id id;

	assert_int_equal(keys_add(&f->ros.os, &f->shim.st, f->master, text_of(password), &cheap,
				 NULL, &id, NULL),
		E_OK);
	return id;
}

static enum ecode
find(struct fixture *f, const char *password, const char *hint, struct id *id)
{
	struct keyring *keys = NULL;
	struct err e = { 0 };
	struct id found = { { 0 } };
	enum ecode rc =
		keys_find(&f->ros.os, &f->shim.st, text_of(password), hint, &keys, &found, &e);

	assert_int_equal(e.code, rc);
	assert_true((rc == E_OK) == (keys != NULL));
	keyring_close(&keys);
	if (id != NULL)
		*id = found;
	return rc;
}

static void
the_key_file_of_the_vectors_opens(void **state)
{
	struct fixture *f = *state;
	struct id id = put_key_text(f, buf_slice(&f->file)), found;
	char hex[ID_HEX_SIZE];

	id_hex(&id, hex);
	assert_int_equal(f->name.len, 64);
	assert_memory_equal(hex, f->name.p, 64);
	assert_int_equal(find(f, "holdfast-vector-1", NULL, &found), E_OK);
	assert_memory_equal(found.b, id.b, sizeof(id.b));
	assert_int_equal(find(f, "holdfast-vector-1", "", NULL), E_OK);
	assert_int_equal(find(f, "holdfast-vector-1", "253ae", NULL), E_OK);
	assert_int_equal(find(f, "holdfast-vector-1", "no such key", NULL), E_OK);
	assert_int_equal(find(f, "wrong", NULL, NULL), E_KEY_WRONG);
	assert_int_equal(find(f, "wrong", "253a", NULL), E_KEY_WRONG);
}

static void
no_keys_is_told(void **state)
{
	assert_int_equal(find(*state, "x", NULL, NULL), E_KEY_NONE);
}

static void
each_password_finds_its_key(void **state)
{
	struct fixture *f = *state;
	struct id a = add_key(f, "alpha"), b = add_key(f, ""), found;

	assert_int_equal(find(f, "alpha", NULL, &found), E_OK);
	assert_memory_equal(found.b, a.b, sizeof(a.b));
	assert_int_equal(find(f, "", NULL, &found), E_OK);
	assert_memory_equal(found.b, b.b, sizeof(b.b));
	assert_int_equal(find(f, "beta", NULL, NULL), E_KEY_WRONG);
}

static void
a_new_key_file_reads_as_restics(void **state)
{
	struct fixture *f = *state;
	autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);
	const struct key_labels labels = { .username = "grace <g>", .hostname = NULL };
	const char head[] =
		"{\"created\":\"2026-11-21T03:15:22.5Z\",\"username\":\"grace \\u003cg\\u003e\",\"hostname\":"
		"\"host\",\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"";
	struct oname name = { .kind = O_KEY };

	assert_int_equal(keys_add(&f->ros.os, &f->shim.st, f->master, text_of("pw"), &cheap,
				 &labels, &name.id, NULL),
		E_OK);
	assert_int_equal(store_get_all(f->mem, &name, &text, NULL), E_OK);
	assert_true(text.len > sizeof(head));
	assert_memory_equal(text.p, head, sizeof(head) - 1);
	assert_memory_equal(text.p + sizeof(head) - 1 + 88, "\",\"data\":\"", 10);
	assert_memory_equal(text.p + text.len - 2, "\"}", 2);
}

static void
listing_shows_the_good_and_counts_the_bad(void **state)
{
	struct fixture *f = *state;
	autoclean(arena_done) struct arena a = arena_limit(1 << 20);
	struct key_info *info = NULL;
	size_t n = 99, damaged = 99;
	struct id own;

	assert_int_equal(keys_list(&f->shim.st, &a, &info, &n, &damaged, NULL), E_OK);
	assert_int_equal(n, 0);
	assert_int_equal(damaged, 0);
	own = add_key(f, "alpha");
	(void)put_key_text(f, buf_slice(&f->file));
	(void)put_key_text(f, text_of("{}"));
	(void)put_key_text(f, text_of(""));
	assert_int_equal(keys_list(&f->shim.st, &a, &info, &n, &damaged, NULL), E_OK);
	assert_int_equal(n, 2);
	assert_int_equal(damaged, 2);
	assert_true(id_cmp(&info[0].id, &info[1].id) < 0);
	for (size_t i = 0; i < n; i++) {
		bool mine = id_cmp(&info[i].id, &own) == 0;

		assert_true(slice_is(info[i].username, mine ? "ada" : "u"));
		assert_true(slice_is(info[i].hostname, mine ? "host" : "h"));
		assert_int_equal(info[i].created.s, mine ? 1795230922 : 1767323045);
		assert_int_equal(info[i].created.ns, mine ? 500000000 : 600000000);
		assert_int_equal(info[i].params.n, mine ? 2 : 1024);
		assert_false(info[i].current);
	}
}

static void
a_removed_key_no_longer_opens(void **state)
{
	struct fixture *f = *state;
	struct eraser eraser = eraser_for(f->mem, 1U << O_KEY);
	struct id a = add_key(f, "alpha");

	(void)add_key(f, "beta");
	assert_int_equal(keys_remove(&eraser, &a, NULL), E_OK);
	assert_int_equal(find(f, "alpha", NULL, NULL), E_KEY_WRONG);
	assert_int_equal(find(f, "beta", NULL, NULL), E_OK);
	assert_int_equal(keys_remove(&eraser, &a, NULL), E_OK);
}

/* ---- damage ---- */

static void
a_file_under_a_wrong_name_is_damaged(void **state)
{
	struct fixture *f = *state;
	struct id id = { { 1, 2, 3 } };

	shim_fill(f->mem, O_KEY, &id, buf_slice(&f->file));
	assert_int_equal(find(f, "holdfast-vector-1", NULL, NULL), E_KEY_DAMAGED);
	assert_int_equal(find(f, "holdfast-vector-1", "0102", NULL), E_KEY_DAMAGED);
	(void)add_key(f, "alpha"); /* a damaged file hides no good one */
	assert_int_equal(find(f, "alpha", NULL, NULL), E_OK);
	assert_int_equal(find(f, "alpha", "0102", NULL), E_OK);
	assert_int_equal(find(f, "beta", NULL, NULL), E_KEY_DAMAGED);
}

/* A bad read is not damage: it is read once more. */
static void
a_lying_read_is_repeated_once(void **state)
{
	struct fixture *f = *state;

	(void)add_key(f, "alpha");
	f->shim.gets = 0;
	f->shim.lie_at_get = 1;
	assert_int_equal(find(f, "alpha", NULL, NULL), E_OK);
	assert_int_equal(f->shim.gets, 2);
	f->shim.gets = 0;
	f->shim.lie_for_ever = true;
	assert_int_equal(find(f, "alpha", NULL, NULL), E_KEY_DAMAGED);
	assert_int_equal(f->shim.gets, 2);
}

/* Truncated at every length, with a name that fits: authenticity is all that is left to refuse it. */
static void
every_truncation_is_damage(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->file.len; len += len < 150 ? 1 : 7) {
		store_close(&f->mem);
		assert_int_equal(mem_open(&f->mem, NULL), E_OK);
		f->shim.below = f->mem;
		(void)put_key_text(f, (struct slice){ f->file.p, len });
		assert_int_equal(find(f, "holdfast-vector-1", NULL, NULL), E_KEY_DAMAGED);
	}
}

static enum ecode
find_in_text(struct fixture *f, const char *text)
{
	store_close(&f->mem);
	assert_int_equal(mem_open(&f->mem, NULL), E_OK);
	f->shim.below = f->mem;
	(void)put_key_text(f, text_of(text));
	return find(f, "x", NULL, NULL);
}

#define SALT64 \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
#define DATA32 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define DATA31 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw=="

struct key_case {
	const char *text;
	enum ecode code;
};

static const struct key_case texts[] = {
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32
	  "\"}",
		E_KEY_WRONG },
	{ " {\"data\":\"" DATA32
	  "\",\"new\":[{}],\"kdf\":\"\\u0073crypt\",\"created\":null,\"username\":null,\"N\":2,"
	  "\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\"}\n",
		E_KEY_WRONG },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA31
	  "\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\"}", E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"****\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" DATA32 "\",\"data\":\"" DATA32
	  "\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":1,\"p\":1,\"data\":\"" DATA32 "\"}", E_KEY_DAMAGED },
	{ "{\"kdf\":\"argon\",\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32
	  "\"}",
		E_KEY_DAMAGED },
	{ "{\"N\":2,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32 "\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":\"2\",\"r\":1,\"p\":1,\"salt\":\"" SALT64
	  "\",\"data\":\"" DATA32 "\"}",
		E_KEY_DAMAGED },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":-1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32
	  "\"}",
		E_KEY_DAMAGED },
	{ "[]", E_KEY_DAMAGED },
	{ "null", E_KEY_DAMAGED },
	/* hostile costs: refused before memory or time is spent */
	{ "{\"kdf\":\"scrypt\",\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32 "\"}",
		E_KDF_PARAMS },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32 "\"}",
		E_KDF_PARAMS },
	{ "{\"kdf\":\"scrypt\",\"N\":3,\"r\":1,\"p\":1,\"salt\":\"" SALT64 "\",\"data\":\"" DATA32
	  "\"}",
		E_KDF_PARAMS },
	{ "{\"kdf\":\"scrypt\",\"N\":1099511627776,\"r\":8,\"p\":1,\"salt\":\"" SALT64
	  "\",\"data\":\"" DATA32 "\"}",
		E_KDF_PARAMS },
	{ "{\"kdf\":\"scrypt\",\"N\":2,\"r\":4294967296,\"p\":1,\"salt\":\"" SALT64
	  "\",\"data\":\"" DATA32 "\"}",
		E_KDF_PARAMS },
	{ "{\"kdf\":\"scrypt\",\"N\":32768,\"r\":8,\"p\":4294967295,\"salt\":\"" SALT64
	  "\",\"data\":\"" DATA32 "\"}",
		E_KDF_PARAMS },
};

static void
odd_key_files_are_told_apart(void **state)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		enum ecode rc = find_in_text(*state, texts[i].text);

		if (rc != texts[i].code)
			fail_msg("case %zu: %s", i, err_row(rc)->name);
	}
}

static void
an_oversized_key_file_is_damage(void **state)
{
	struct fixture *f = *state;
	uint8_t *large = calloc(1, SMALL_OBJECT_MAX_BYTES + 1);

	assert_non_null(large);
	(void)put_key_text(f, (struct slice){ large, SMALL_OBJECT_MAX_BYTES + 1 });
	assert_int_equal(find(f, "x", NULL, NULL), E_KEY_DAMAGED);
	free(large);
}

/* ---- more than 20 keys ---- */

struct many {
	struct id id;
	char password[8];
};

static int
by_id(const void *a, const void *b)
{
	return id_cmp(&((const struct many *)a)->id, &((const struct many *)b)->id);
}

static void
at_most_twenty_keys_are_tried(void **state)
{
	struct fixture *f = *state;
	struct many keys[25];
	char hint[ID_HEX_SIZE];

	for (size_t i = 0; i < 25; i++) {
		(void)snprintf(keys[i].password, sizeof(keys[i].password), "p%zu", i);
		keys[i].id = add_key(f, keys[i].password);
	}
	qsort(keys, 25, sizeof(keys[0]), by_id);
	for (size_t i = 0; i < 25; i++) {
		id_hex(&keys[i].id, hint);
		assert_int_equal(find(f, keys[i].password, NULL, NULL),
			i < KEYS_TRIED_MAX ? E_OK : E_KEY_LIMIT);
		hint[12] = '\0';
		assert_int_equal(find(f, keys[i].password, hint, NULL), E_OK);
	}
	assert_int_equal(find(f, "none", NULL, NULL), E_KEY_LIMIT);
}

/* ---- refusals while adding ---- */

static void
a_refused_add_leaves_no_key(void **state)
{
	struct fixture *f = *state;
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	const enum ecode codes[] = { E_STORE_WRITE, E_STORE_SPACE, E_STORE_UNSURE };
	struct id id = { { 42 } };
	struct err e = { 0 };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		f->shim.puts = 0;
		f->shim.refuse_put = 1;
		f->shim.refuse_as = codes[i];
		f->shim.put_anyway = codes[i] == E_STORE_UNSURE;
		assert_int_equal(keys_add(&f->ros.os, &f->shim.st, f->master, text_of("pw"), &cheap,
					 NULL, &id, &e),
			codes[i]);
		assert_int_equal(id.b[0], 42);
	}
	for (unsigned n = 1; n <= 2; n++) { /* the salt, then the IV */
		f->calls = 0;
		f->ros.refuse_from = n;
		assert_int_equal(keys_add(&f->ros.os, &f->shim.st, f->master, text_of("pw"), &cheap,
					 NULL, &id, &e),
			E_RANDOM);
	}
	f->ros.refuse_from = 0;
	assert_int_equal(store_list_all(f->mem, O_KEY, &list, &e), E_OK);
	assert_int_equal(list.n, 0);
	(void)add_key(f, "pw");
	assert_int_equal(find(f, "pw", NULL, NULL), E_OK);
}

#define RUN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RUN(the_key_file_of_the_vectors_opens),
		RUN(no_keys_is_told),
		RUN(each_password_finds_its_key),
		RUN(a_new_key_file_reads_as_restics),
		RUN(listing_shows_the_good_and_counts_the_bad),
		RUN(a_removed_key_no_longer_opens),
		RUN(a_file_under_a_wrong_name_is_damaged),
		RUN(a_lying_read_is_repeated_once),
		RUN(every_truncation_is_damage),
		RUN(odd_key_files_are_told_apart),
		RUN(an_oversized_key_file_is_damage),
		RUN(at_most_twenty_keys_are_tried),
		RUN(a_refused_add_leaves_no_key),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
