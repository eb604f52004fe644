/*
 * A world for tests of locks: one store that counts and refuses, one clock
 * that moves when asked, and hosts with identities of their own.
 */
#ifndef HF_TESTS_LOCK_WORLD_H
#define HF_TESTS_LOCK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "repo/lock.h"
#include "store/erase.h"
#include "store/mem.h"

#define TEST_ARENA ((size_t)16 << 20)
#define S          UINT64_C(1000000000)
#define START_S    1795000000 /* some day of 2026 */

/* The master key's JSON of all vaults here: nothing secret depends on it. */
static const char master[] =
	"{\"mac\":{\"k\":\"AQIDBAUGBwgJCgsMDQ4PEA==\",\"r\":\"AQIDBAUGBwgJCgsMDQ4PEA==\"},"
	"\"encrypt\":\"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\"}";

/* ---- a world: one store, one clock, several hosts ---- */

#define OPEN_MAX 4 /* descriptors of a host at a time */
struct world;
struct host {
	struct os os; /* first: slots find their host */
	struct world *w;
	const char *name, *user;
	int pid;
	uint32_t uid;
	int kill_answer; /* to a question for any process but alpha's and beta's own */
	/* what it tells of itself, and of every other process it is asked for */
	const char *machine, *boot_id;
	uint64_t pid_ns, time_ns, ticks, other_ticks;
	_Atomic unsigned long opens;
	unsigned long open_fail_at; /* from 1: this open is refused with … */
	int open_error;             /* … this errno */
	char said[OPEN_MAX][256];   /* by descriptor */
	size_t said_at[OPEN_MAX];
	struct vault v;
};
#define FD_FIRST  1000
#define MACHINE_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MACHINE_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BOOT_A    "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
#define BOOT_B    "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
/* the member of alpha's locks */
#define OWN_A                                                                                 \
	",\"holdfast\":{\"identity\":{\"machine\":\"" MACHINE_A "\",\"boot\":\"" BOOT_A "\"," \
	"\"pid\":11,\"started_ticks\":1100,\"pid_ns\":7,\"time_ns\":8}}}"
struct call {
	char what; /* p put, g get, s stat, l list, e erase */
	struct id id;
};
#define CALLS_MAX 4096
struct world {
	struct store st; /* first: a layer over the memory below, which counts and refuses */
	struct store *below;
	struct keyring *keys;
	_Atomic uint64_t mono, boot; /* ns */
	_Atomic int64_t wall_s;
	bool clock_stands; /* the monotonic clock does not advance: the refresh thread never waits */
	uint64_t slept[64];
	size_t sleeps;
	void (*on_sleep)(struct world *w);
	size_t sleep_at; /* on_sleep is called at this sleep, from 1 on; 0: at every one */
	struct call call[CALLS_MAX];
	_Atomic size_t calls;
	char fail_what;               /* calls of this kind fail; 0: none; '*': any */
	size_t fail_from, fail_count; /* from the n-th of that kind on, so many */
	size_t fail_seen;
	enum ecode fail_code;
	bool fail_after; /* the call happens and is refused all the same */
	struct host a, b;
	struct id remembered;
};

static inline struct world *
world_of(const struct os *os)
{
	return ((const struct host *)os)->w;
}

static inline struct instant
host_wall(const struct os *os)
{
	return (struct instant){ .s = world_of(os)->wall_s };
}

static inline uint64_t
host_mono(const struct os *os)
{
	return world_of(os)->mono;
}

static inline uint64_t
host_boot(const struct os *os)
{
	return world_of(os)->boot;
}

static inline void
pass(struct world *w, uint64_t ns)
{
	if (!w->clock_stands)
		w->mono += ns;
	w->boot += ns;
	w->wall_s += (int64_t)(ns / S);
}

static inline void
host_sleep(const struct os *os, uint64_t ns)
{
	struct world *w = world_of(os);

	if (w->sleeps < 64)
		w->slept[w->sleeps] = ns;
	w->sleeps++;
	pass(w, ns);
	if (w->on_sleep != NULL && (w->sleep_at == 0 || w->sleep_at == w->sleeps))
		w->on_sleep(w);
}

static inline int
host_pid(const struct os *os)
{
	return ((const struct host *)os)->pid;
}

static inline int
host_kill(const struct os *os, int pid, int sig)
{
	assert_true(pid > 0);
	assert_int_equal(sig, 0); /* a question, never a signal */
	if (pid == world_of(os)->a.pid || pid == world_of(os)->b.pid) /* they are there */
		return 0;
	return ((const struct host *)os)->kill_answer;
}

static inline struct os_ids
host_ids(const struct os *os)
{
	uint32_t uid = ((const struct host *)os)->uid;

	return (struct os_ids){ uid, uid };
}

static inline int
host_name(const struct os *os, char *p, size_t len)
{
	(void)snprintf(p, len, "%s", ((const struct host *)os)->name);
	return 0;
}

static inline int
host_user(const struct os *os, uint32_t uid, char *p, size_t len)
{
	(void)uid;
	(void)snprintf(p, len, "%s", ((const struct host *)os)->user);
	return 0;
}

static inline struct host *
host_of(const struct os *os)
{
	return (struct host *)(uintptr_t)os;
}

/* Fields 1 to 22 of proc_pid_stat(5). */
static inline void
say_process(char out[static 256], int pid, uint64_t ticks)
{
	(void)snprintf(out, 256, "%d (a (name)) S 1 2 2 0 -1 4 9 0 0 0 0 0 0 0 20 0 1 0 %llu 5\n",
		pid, (unsigned long long)ticks);
}

static inline int
host_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct host *h = host_of(os);
	int slot = 0, pid;

	assert_int_equal(dir, AT_FDCWD);
	assert_int_equal(flags & O_ACCMODE, O_RDONLY);
	(void)mode;
	if (++h->opens == h->open_fail_at)
		return -h->open_error;
	while (slot < OPEN_MAX && h->said[slot][0] != '\0')
		slot++;
	assert_true(slot < OPEN_MAX);
	h->said_at[slot] = 0;
	if (strcmp(path, "/etc/machine-id") == 0)
		(void)snprintf(h->said[slot], sizeof(h->said[slot]), "%s\n", h->machine);
	else if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		(void)snprintf(h->said[slot], sizeof(h->said[slot]), "%s\n", h->boot_id);
	else if (strcmp(path, "/proc/self/stat") == 0)
		say_process(h->said[slot], h->pid, h->ticks);
	else if (sscanf(path, "/proc/%d/stat", &pid) == 1)
		say_process(h->said[slot], pid,
			pid == h->w->a.pid   ? h->w->a.ticks
			: pid == h->w->b.pid ? h->w->b.ticks
					     : h->other_ticks);
	else
		fail_msg("%s was opened", path);
	return FD_FIRST + slot;
}

static inline ssize_t
host_read(const struct os *os, int fd, void *p, size_t len)
{
	struct host *h = host_of(os);
	const char *text = h->said[fd - FD_FIRST];
	size_t *at = &h->said_at[fd - FD_FIRST], left = strlen(text) - *at;

	len = len < left ? len : left;
	memcpy(p, text + *at, len);
	*at += len;
	return (ssize_t)len;
}

static inline int
host_close(const struct os *os, int fd)
{
	host_of(os)->said[fd - FD_FIRST][0] = '\0';
	return 0;
}

static inline int
host_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	struct host *h = host_of(os);

	(void)dir;
	(void)at_flags;
	*out = (struct os_meta){ .ino = strstr(path, "pid") != NULL ? h->pid_ns : h->time_ns };
	return 0;
}

static inline void
host_init(struct host *h, struct world *w, const char *name, int pid)
{
	h->machine = pid == 11 ? MACHINE_A : MACHINE_B;
	h->boot_id = pid == 11 ? BOOT_A : BOOT_B;
	h->pid_ns = 7;
	h->time_ns = 8;
	h->ticks = (uint64_t)pid * 100;
	h->other_ticks = 1;
	h->os = *os_posix();
	h->os.open = host_open;
	h->os.read = host_read;
	h->os.close = host_close;
	h->os.stat = host_stat;
	h->os.wall = host_wall;
	h->os.monotonic_ns = host_mono;
	h->os.boottime_ns = host_boot;
	h->os.sleep_ns = host_sleep;
	h->os.pid = host_pid;
	h->os.kill = host_kill;
	h->os.ids = host_ids;
	h->os.hostname = host_name;
	h->os.user_name = host_user;
	h->w = w;
	h->name = name;
	h->user = "user";
	h->pid = pid;
	h->v = (struct vault){ .os = &h->os, .store = &w->st, .keys = w->keys, .version = 2 };
}

/* ---- the layer ---- */

/* Note the call; true when it is to be refused. */
static inline bool
noted(struct world *w, char what, const struct oname *name)
{
	size_t n = w->calls++;

	if (n < CALLS_MAX) {
		w->call[n].what = what;
		if (name != NULL)
			w->call[n].id = name->id;
	}
	if (w->fail_what != '*' && w->fail_what != what)
		return false;
	w->fail_seen++;
	return w->fail_seen >= w->fail_from && w->fail_seen - w->fail_from < w->fail_count;
}

static inline enum ecode
refuse(struct world *w, struct err *e)
{
	return err_set(e, w->fail_code, EIO, "as told by the test");
}

static inline enum ecode
layer_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct world *w = (struct world *)st;
	bool fails = noted(w, 'p', name);

	if (fails && !w->fail_after)
		return refuse(w, e);
	enum ecode rc = store_put(w->below, name, parts, n, e);

	return fails ? refuse(w, e) : rc;
}

static inline enum ecode
layer_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct world *w = (struct world *)st;

	return noted(w, 'g', name) ? refuse(w, e) : store_get(w->below, name, off, len, out, e);
}

static inline enum ecode
layer_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	struct world *w = (struct world *)st;

	return noted(w, 's', name) ? refuse(w, e) : store_stat(w->below, name, size, e);
}

static inline enum ecode
layer_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	struct world *w = (struct world *)st;

	return noted(w, 'l', NULL) ? refuse(w, e) : store_list(w->below, kind, each, arg, e);
}

static inline enum ecode
below_erase(struct world *w, const struct id *id)
{
	struct eraser er = eraser_for(w->below, 1U << O_LOCK);
	struct oname name = { .kind = O_LOCK, .id = *id };

	return eraser_erase(&er, &name, NULL);
}

static inline enum ecode
layer_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct world *w = (struct world *)st;
	bool fails = noted(w, 'e', name);

	if (fails && !w->fail_after)
		return refuse(w, e);
	return below_erase(w, &name->id) == E_OK && !fails ? E_OK : refuse(w, e);
}

static const struct store_ops layer = {
	.put = layer_put,
	.get = layer_get,
	.stat = layer_stat,
	.list = layer_list,
	.erase = layer_erase,
};

static inline int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->st = (struct store){ .ops = &layer, .location = "world", .connections = 1 };
	assert_int_equal(mem_open(&w->below, NULL), E_OK);
	assert_int_equal(
		keyring_from_json(
			(struct slice){ (const uint8_t *)master, strlen(master) }, &w->keys, NULL),
		E_OK);
	w->wall_s = START_S;
	w->mono = 1000 * S;
	w->boot = 5000 * S;
	host_init(&w->a, w, "alpha", 11);
	host_init(&w->b, w, "beta", 22);
	*state = w;
	return 0;
}

static inline int
teardown(void **state)
{
	struct world *w = *state;

	keyring_close(&w->keys);
	store_close(&w->below);
	free(w);
	return 0;
}

/* ---- helpers ---- */

static inline size_t
files(struct world *w)
{
	struct store_listing l = { .n = 0 };
	size_t n;

	assert_int_equal(store_list_all(w->below, O_LOCK, &l, NULL), E_OK);
	n = l.n;
	store_listing_done(&l);
	return n;
}

static inline struct id
only_file(struct world *w)
{
	struct store_listing l = { .n = 0 };
	struct id id;

	assert_int_equal(store_list_all(w->below, O_LOCK, &l, NULL), E_OK);
	assert_int_equal(l.n, 1);
	id = l.v[0].id;
	store_listing_done(&l);
	return id;
}

static inline void
expect_code(enum ecode got, enum ecode want, const struct err *e)
{
	if (got != want)
		fail_msg("%s: %s, expected %s", err_row(got)->name, e->detail, err_row(want)->name);
}

static inline struct lock *
take(struct host *h, bool exclusive)
{
	struct lock_args args = { .exclusive = exclusive };
	struct lock *l = NULL;
	struct err e = { .code = E_OK };

	expect_code(lock_take(&h->v, &args, &l, &e), E_OK, &e);
	assert_non_null(l);
	return l;
}

static inline void
expect_refused(struct host *h, const struct lock_args *args, enum ecode want)
{
	struct lock *l = NULL;
	struct err e = { .code = E_OK };

	expect_code(lock_take(&h->v, args, &l, &e), want, &e);
	assert_int_equal(e.code, want);
	assert_null(l);
}

static inline void
release(struct lock *l)
{
	struct err e = { .code = E_OK };

	expect_code(lock_release(&l, &e), E_OK, &e);
	assert_null(l);
}

static inline struct id
put_raw(struct world *w, uint8_t first, const void *p, size_t len)
{
	struct oname name = { .kind = O_LOCK };
	struct slice part = { p, len };

	name.id.b[0] = first;
	assert_int_equal(store_put(w->below, &name, &part, 1, NULL), E_OK);
	return name.id;
}

/* Somebody else's lock with this text. */
static inline struct id
put_text(struct world *w, const char *json)
{
	struct blob_codec *c = NULL;
	struct buf sealed = buf_limit(1 << 16);
	struct oname name = { .kind = O_LOCK };
	struct slice part;

	assert_int_equal(blob_codec_open(w->keys, os_posix(), 2, COMPRESSION_AUTO, &c, NULL), E_OK);
	assert_int_equal(unpacked_shut(c, json, strlen(json), &sealed, &name.id, NULL), E_OK);
	part = buf_slice(&sealed);
	assert_int_equal(store_put(w->below, &name, &part, 1, NULL), E_OK);
	blob_codec_close(&c);
	buf_done(&sealed);
	return name.id;
}

static inline void
expect_text(struct world *w, struct host *h, const char *want)
{
	struct blob_codec *c = NULL;
	struct buf json = buf_limit(1 << 16);
	struct id id = only_file(w);

	assert_int_equal(blob_codec_open(w->keys, &h->os, 2, COMPRESSION_AUTO, &c, NULL), E_OK);
	assert_int_equal(vault_load(&h->v, c, O_LOCK, &id, &json, NULL), E_OK);
	assert_int_equal(json.len, strlen(want));
	assert_memory_equal(json.p, want, json.len);
	blob_codec_close(&c);
	buf_done(&json);
}

#endif
