/*
 * For the tests of index, commit and reader: a vault made in a moment (no key
 * derivation) over a store that counts, logs, refuses and lies, and a kernel
 * table with a clock and a chance of the test's own.
 */
#ifndef HF_TESTS_REPO_VAULT_FIX_H
#define HF_TESTS_REPO_VAULT_FIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/flow.h"
#include "base/json.h"
#include "base/wire.h"
#include "repo/commit.h"
#include "repo/reader.h"
#include "store/mem.h"

#define PUTS_LOGGED    4096
#define FIX_WORKERS    2
#define FIX_BLOB_BYTES ((size_t)64 << 20)

static inline uint64_t
mix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline struct id
mix_id(uint64_t *state)
{
	struct id id;

	for (unsigned i = 0; i < sizeof(id.b); i++)
		id.b[i] = (uint8_t)mix(state);
	return id;
}

static inline uint64_t
fresh_seed(void)
{
	const char *given = getenv("HOLDFAST_TEST_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

	print_message("# seed %llu\n", (unsigned long long)seed);
	return seed;
}

struct fix {
	struct os os;    /* first: its slots find the rest */
	struct store st; /* the layer over `mem` */
	struct store *mem;
	struct vault v;
	struct blob_codec *codec;
	struct blob_codec *codecs[FIX_WORKERS]; /* for a flow */
	struct index *ix;
	struct err e;

	pthread_mutex_t lock;    /* guards what follows */
	uint64_t chance, others; /* states: of the commit's choices, of all else */
	unsigned random_refused; /* the n-th drawing of bits is refused; 0: none */
	unsigned randoms;
	uint64_t now_ns, tick_ns;      /* each question for the time moves the clock on */
	uint64_t slept_ns;             /* as boottime knows it, and the monotonic clock does not */
	struct oname put[PUTS_LOGGED]; /* acknowledged ones, in this order */
	size_t puts;
	unsigned refuse_put; /* this attempt (from 1 on), */
	bool refuse_on;      /* and all later ones, */
	enum ecode refuse_as;
	bool put_anyway; /* although stored */
	unsigned put_attempts;
	unsigned lie_get;    /* the n-th get comes with a bit flipped, */
	bool lie_on;         /* and all later ones, */
	struct id lie_about; /* of this pack, unless zero */
	unsigned gets;
	void (*before_put)(struct fix *f);
};

static inline struct fix *
fix_of_os(const struct os *os)
{
	return (struct fix *)(uintptr_t)os;
}

static inline struct fix *
fix_of_store(struct store *st)
{
	return (struct fix *)((char *)st - offsetof(struct fix, st));
}

/* Only draws of 8 bytes are the commit's choices; the IVs' are 16 or more. */
static inline int
fix_random(const struct os *os, void *p, size_t len)
{
	struct fix *f = fix_of_os(os);
	uint8_t *out = p;
	bool choice = len == sizeof(uint64_t);
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	if (choice && ++f->randoms == f->random_refused)
		rc = -EIO;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)mix(choice ? &f->chance : &f->others);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static inline uint64_t
fix_monotonic(const struct os *os)
{
	struct fix *f = fix_of_os(os);
	uint64_t now;

	pthread_mutex_lock(&f->lock);
	now = f->now_ns += f->tick_ns;
	pthread_mutex_unlock(&f->lock);
	return now;
}

static inline uint64_t
fix_boottime(const struct os *os)
{
	struct fix *f = fix_of_os(os);
	uint64_t now;

	pthread_mutex_lock(&f->lock);
	now = f->now_ns + f->slept_ns;
	pthread_mutex_unlock(&f->lock);
	return now;
}

static inline void
fix_sleep(const struct os *os, uint64_t ns)
{
	struct fix *f = fix_of_os(os);

	pthread_mutex_lock(&f->lock);
	f->now_ns += ns;
	pthread_mutex_unlock(&f->lock);
}

static inline enum ecode
fix_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct fix *f = fix_of_store(st);
	enum ecode rc = E_OK;
	unsigned attempt;
	bool refused;

	if (f->before_put != NULL)
		f->before_put(f);
	pthread_mutex_lock(&f->lock);
	attempt = ++f->put_attempts;
	refused = f->refuse_put != 0 &&
		  (attempt == f->refuse_put || (f->refuse_on && attempt > f->refuse_put));
	pthread_mutex_unlock(&f->lock);
	if (!refused || f->put_anyway)
		rc = store_put(f->mem, name, parts, n, e);
	if (rc == E_OK && refused)
		return err_set(e, f->refuse_as, EIO, "refused by the test");
	pthread_mutex_lock(&f->lock);
	assert_true(f->puts < PUTS_LOGGED);
	f->put[f->puts++] = *name;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static inline enum ecode
fix_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct fix *f = fix_of_store(st);
	size_t before = out->len;
	enum ecode rc = store_get(f->mem, name, off, len, out, e);
	bool lie;

	pthread_mutex_lock(&f->lock);
	f->gets++;
	lie = f->lie_get != 0 && (f->gets == f->lie_get || (f->lie_on && f->gets > f->lie_get)) &&
	      (id_is_zero(&f->lie_about) || id_cmp(&f->lie_about, &name->id) == 0);
	pthread_mutex_unlock(&f->lock);
	if (rc == E_OK && lie && out->len > before)
		out->p[before + (out->len - before) / 2] ^= 4;
	return rc;
}

static inline enum ecode
fix_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	return store_stat(fix_of_store(st)->mem, name, size, e);
}

static inline enum ecode
fix_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	return store_list(fix_of_store(st)->mem, kind, each, arg, e);
}

static inline enum ecode
fix_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct store *mem = fix_of_store(st)->mem;

	return mem->ops->erase(mem, name, e);
}

static inline enum ecode
fix_prepare(struct store *st, struct err *e)
{
	return store_prepare(fix_of_store(st)->mem, e);
}

static inline enum ecode
fix_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	return store_note_put(fix_of_store(st)->mem, name, bytes, e);
}

static inline enum ecode
fix_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	return store_note_get(fix_of_store(st)->mem, name, out, e);
}

static inline enum ecode
fix_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	return store_note_list(fix_of_store(st)->mem, each, arg, e);
}

static inline enum ecode
fix_note_erase(struct store *st, const char *name, struct err *e)
{
	return store_note_erase(fix_of_store(st)->mem, name, e);
}

static inline enum ecode
fix_probe(struct store *st, struct store_health *out, struct err *e)
{
	return store_probe(fix_of_store(st)->mem, out, e);
}

static inline void
fix_go_cold(struct store *st, const struct oname *name)
{
	store_go_cold(fix_of_store(st)->mem, name);
}

static inline enum ecode
fix_secure(struct store *st, enum okind kind, struct err *e)
{
	return store_secure(fix_of_store(st)->mem, kind, e);
}

static inline void
fix_st_close(struct store *st)
{
	(void)st; /* part of the fixture */
}

/* An empty index over what the store holds now. */
static inline void
fix_fresh_index(struct fix *f)
{
	index_close(&f->ix);
	assert_int_equal(index_open(&f->ix, &f->e), E_OK);
}

static inline struct fix *
fix_open(unsigned version)
{
	static const struct store_ops ops = {
		.put = fix_put,
		.get = fix_get,
		.stat = fix_stat,
		.list = fix_list,
		.erase = fix_erase,
		.prepare = fix_prepare,
		.close = fix_st_close,
		.note_put = fix_note_put,
		.note_get = fix_note_get,
		.note_list = fix_note_list,
		.note_erase = fix_note_erase,
		.probe = fix_probe,
		.go_cold = fix_go_cold,
		.secure = fix_secure,
	};
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->os = *os_posix();
	f->os.random = fix_random;
	f->os.monotonic_ns = fix_monotonic;
	f->os.boottime_ns = fix_boottime;
	f->os.sleep_ns = fix_sleep;
	f->now_ns = UINT64_C(1) << 40;
	f->chance = 7;
	assert_int_equal(pthread_mutex_init(&f->lock, NULL), 0);
	assert_int_equal(mem_open(&f->mem, &f->e), E_OK);
	f->st = (struct store){ .ops = &ops, .location = "test:", .connections = 2 };
	f->v = (struct vault){ .os = &f->os, .store = &f->st, .version = version };
	assert_int_equal(keyring_generate(&f->os, &f->v.keys, &f->e), E_OK);
	assert_int_equal(
		blob_codec_open(f->v.keys, &f->os, version, COMPRESSION_AUTO, &f->codec, &f->e),
		E_OK);
	for (unsigned i = 0; i < FIX_WORKERS; i++)
		assert_int_equal(blob_codec_open(f->v.keys, &f->os, version, COMPRESSION_AUTO,
					 &f->codecs[i], &f->e),
			E_OK);
	fix_fresh_index(f);
	return f;
}

static inline void
fix_close(struct fix *f)
{
	index_close(&f->ix);
	blob_codec_close(&f->codec);
	for (unsigned i = 0; i < FIX_WORKERS; i++)
		blob_codec_close(&f->codecs[i]);
	keyring_close(&f->v.keys);
	store_close(&f->mem);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}

/* Load all index files into f->ix, with threads or without. */
static inline enum ecode
fix_load(struct fix *f, unsigned threads, struct index_flaws *flaws,
	void (*each)(void *arg, const struct id *file, const struct err *why), void *arg)
{
	struct flow *flow = NULL;
	enum ecode rc;

	assert_int_equal(flow_open(&flow, threads, FLOW_LIFO, 1 << 20, &f->e), E_OK);
	rc = index_load(f->ix, &f->v, flow, f->codecs, flaws, each, arg, &f->e);
	flow_close(&flow);
	return rc;
}

/* Store an index text as an index file. */
static inline struct id
fix_save_index(struct fix *f, const void *text, size_t len)
{
	struct buf sealed = buf_limit(FIX_BLOB_BYTES);
	struct oname name = { .kind = O_INDEX };
	struct slice part;

	assert_int_equal(unpacked_shut(f->codec, text, len, &sealed, &name.id, &f->e), E_OK);
	part = buf_slice(&sealed);
	assert_int_equal(store_put(f->mem, &name, &part, 1, &f->e), E_OK);
	buf_done(&sealed);
	return name.id;
}

/* The n-th content of a test: `len` bytes that do not compress when `noise`. */
static inline void
fix_content(uint64_t n, bool noise, uint8_t *p, size_t len)
{
	uint64_t state = n * 2 + 1;

	for (size_t i = 0; i < len; i++)
		p[i] = noise || i < 16 ? (uint8_t)mix(&state) : (uint8_t)(i >> 6);
}

#endif
