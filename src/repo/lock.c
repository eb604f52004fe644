/*
 * Holding a lock.  A lock is a file that says who works here; nothing but
 * agreement enforces it.  Refreshing writes the new file before the old one goes.
 *
 * Ages of our own lock are measured on the boot clock, which counts suspend
 * and never jumps.  The wall clock appears only in the text and in judging
 * other people's locks.
 *
 * One mutex guards the handle.  The refresh thread holds it while it talks to
 * the store, so lock_check() waits for a refresh in progress: better late than
 * publishing under a lock that may be gone.  The codec belongs to the mutex.
 */
#include "repo/lock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/wire.h"
#include "repo/lock_internal.h"
#include "store/erase.h"

/* seconds; how often the thread looks at the clock, and the pause after a refused refresh */
#define TICK_S        10
/* seconds; "try for up to a minute" (8.3) */
#define RELEASE_FOR_S 60

/* ---- files in locks/ ---- */

enum ecode
lock_erase_file(struct lock *l, const struct id *id, struct err *e)
{
	struct eraser er = eraser_for(l->v->store, 1U << O_LOCK);
	struct oname name = { .kind = O_LOCK, .id = *id };

	return eraser_erase(&er, &name, e);
}

static void
remember_leftover(struct lock *l, const struct id *id)
{
	if (l->leftovers < LEFTOVER_MAX)
		l->leftover[l->leftovers++] = *id;
}

void
lock_drop_file(struct lock *l, const struct id *id)
{
	if (lock_erase_file(l, id, NULL) != E_OK)
		remember_leftover(l, id);
}

static enum ecode
erase_leftovers(struct lock *l, struct err *e)
{
	while (l->leftovers > 0) {
		enum ecode rc = lock_erase_file(l, &l->leftover[l->leftovers - 1], e);

		if (rc != E_OK)
			return rc;
		l->leftovers--;
	}
	return E_OK;
}

enum ecode
lock_write_file(struct lock *l, struct id *out, struct err *e)
{
	autoclean(buf_done) struct buf json = buf_limit(SMALL_OBJECT_MAX_BYTES);
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct oname name = { .kind = O_LOCK };
	struct slice part;
	uint64_t size;
	enum ecode rc = lock_text(l, &json, e);

	if (rc == E_OK)
		rc = unpacked_shut(l->codec, json.p, json.len, &sealed, &name.id, e);
	if (rc != E_OK)
		return rc;
	part = buf_slice(&sealed);
	rc = store_put(l->v->store, &name, &part, 1, e);
	if (rc == E_STORE_UNSURE && store_stat(l->v->store, &name, &size, NULL) == E_OK &&
		size == sealed.len)
		rc = E_OK;
	if (rc == E_OK)
		*out = name.id;
	else
		lock_drop_file(l, &name.id);
	return rc;
}

enum ecode
lock_load(struct vault *v, struct blob_codec *c, const struct store_entry *entry, struct arena *a,
	struct lock_info *out, struct err *e)
{
	autoclean(buf_done) struct buf json = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc;

	if (entry->size == 0 || entry->size > SMALL_OBJECT_MAX_BYTES)
		return err_set(e, E_LOCK_UNREADABLE, 0, "it has %" PRIu64 " bytes", entry->size);
	rc = vault_load(v, c, O_LOCK, &entry->id, &json, e);
	if (rc == E_OK)
		rc = lock_parse(json.p, json.len, a, out, e);
	if (rc == E_OK)
		out->id = entry->id;
	return rc;
}

/* ---- holding ---- */

/* The new file first, then the old one goes: at no moment is there none. */
static enum ecode
refresh(struct lock *l, struct err *e)
{
	uint64_t begun = l->os->boottime_ns(l->os);
	struct id old = l->id, fresh;
	enum ecode rc;

	l->tried_ns = begun;
	(void)erase_leftovers(l, NULL); /* tried again next time */
	rc = lock_write_file(l, &fresh, e);
	if (rc != E_OK)
		return rc;
	l->id = fresh;
	l->refreshed_ns = begun;
	lock_drop_file(l, &old);
	return E_OK;
}

static enum ecode
own_is_there(struct lock *l, const struct id *own, bool *there, struct err *e)
{
	autoclean(store_listing_done) struct store_listing names = { .n = 0 };
	enum ecode rc = store_list_all(l->v->store, O_LOCK, &names, e);

	*there = false;
	for (size_t i = 0; rc == E_OK && i < names.n; i++)
		if (id_cmp(&names.v[i].id, own) == 0)
			*there = true;
	return rc;
}

static enum ecode
lost_refusal(struct lock *l, struct err *e)
{
	l->lost = true;
	return err_set(e, E_LOCK_LOST, 0,
		"it was not refreshed for %d minutes and another process removed it",
		LOCK_LOST_AFTER_S / 60);
}

/*
 * Overdue: the machine slept, or the store was away.  Others may have taken
 * our lock for dead, so it counts only if it is there before and after a new
 * one was written (8.3).
 */
static enum ecode
recover(struct lock *l, struct err *e)
{
	uint64_t begun = l->os->boottime_ns(l->os);
	struct id old = l->id, fresh;
	bool there = false;
	enum ecode rc;

	l->tried_ns = begun;
	rc = own_is_there(l, &old, &there, e);
	if (rc == E_OK && !there)
		rc = lost_refusal(l, e);
	if (rc == E_OK)
		rc = lock_write_file(l, &fresh, e);
	if (rc != E_OK)
		return rc;
	l->os->sleep_ns(l->os, (uint64_t)LOCK_RECHECK_MS * NS_PER_MS);
	rc = own_is_there(l, &old, &there, e);
	if (rc == E_OK && !there)
		rc = lost_refusal(l, e);
	if (rc != E_OK) {
		lock_drop_file(l, &fresh);
		return rc;
	}
	l->id = fresh;
	l->refreshed_ns = begun;
	lock_drop_file(l, &old);
	return E_OK;
}

static bool
older_than(const struct lock *l, uint64_t since_ns, uint64_t s)
{
	return l->os->boottime_ns(l->os) - since_ns >= s * NS_PER_S;
}

/* Under the mutex.  What is due is done; a refused refresh is no refusal while the lock is young enough. */
static enum ecode
keep_up(struct lock *l, bool refresh_here, struct err *e)
{
	if (l->lost)
		return lost_refusal(l, e);
	if (older_than(l, l->refreshed_ns, LOCK_LOST_AFTER_S))
		return recover(l, e);
	if (refresh_here && older_than(l, l->refreshed_ns, LOCK_REFRESH_S) &&
		older_than(l, l->tried_ns, TICK_S))
		(void)refresh(l,
			NULL); /* tried again after TICK_S; LOCK_LOST_AFTER_S ends the patience */
	return E_OK;
}

enum ecode
lock_check(struct lock *l, struct err *e)
{
	enum ecode rc;

	(void)pthread_mutex_lock(
		&l->mutex); /* cannot fail: a plain mutex, not held by this thread */
	rc = keep_up(l, !l->has_thread, e);
	(void)pthread_mutex_unlock(&l->mutex);
	return rc;
}

/* Short waits on the monotonic clock: a machine that was suspended looks at the boot clock soon after it wakes. */
static uint64_t
refresh_beat(void *arg)
{
	struct lock *l = arg;
	uint64_t next_ns;

	(void)pthread_mutex_lock(&l->mutex);
	if (!l->lost)
		(void)keep_up(l, true, NULL); /* lock_check() tells the worker */
	next_ns = l->os->monotonic_ns(l->os) + TICK_S * (uint64_t)NS_PER_S;
	(void)pthread_mutex_unlock(&l->mutex);
	return next_ns;
}

static enum ecode
start_refreshing(struct lock *l, struct err *e)
{
	enum ecode rc;

	l->has_thread = true; /* set before: the thread may look */
	rc = pulse_start(&l->refresher, refresh_beat, l, e);
	if (rc != E_OK)
		l->has_thread = false;
	return rc;
}

/* ---- life ---- */

static enum ecode
lock_new(struct vault *v, const struct lock_args *args, struct lock **out, struct err *e)
{
	struct lock *l = calloc(1, sizeof(*l));
	enum ecode rc;

	if (l == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "lock");
	l->v = v;
	l->os = v->os;
	l->args = *args;
	l->harmless = buf_limit(LOCK_ARENA_BYTES);
	l->condemned = buf_limit(LOCK_ARENA_BYTES);
	l->begun = l->os->wall(l->os);
	l->begun_ns = l->os->boottime_ns(l->os);
	rc = identity_self(l->os, &l->identity, e);
	if (rc == E_OK)
		rc = blob_codec_open(v->keys, v->os, v->version, COMPRESSION_AUTO, &l->codec, e);
	if (rc != E_OK) {
		free(l);
		return rc;
	}
	(void)pthread_mutex_init(&l->mutex, NULL); /* cannot fail with glibc */
	*out = l;
	return E_OK;
}

static void
lock_free(struct lock *l)
{
	(void)pthread_mutex_destroy(&l->mutex);
	blob_codec_close(&l->codec);
	buf_done(&l->harmless);
	buf_done(&l->condemned);
	free(l);
}

/* Every file of ours, with pauses, for up to a minute: what stays would block others until `unlock`. */
static enum ecode
erase_all(struct lock *l, struct err *e)
{
	const struct os *os = l->os;
	uint64_t begin = os->monotonic_ns(os), wait_s = 1;
	enum ecode rc = erase_leftovers(l, e);

	while (rc != E_OK && rc != E_STORE_RDONLY) {
		if (os->monotonic_ns(os) - begin >= (uint64_t)RELEASE_FOR_S * NS_PER_S)
			break;
		os->sleep_ns(os, wait_s * NS_PER_S);
		wait_s = wait_s < 8 ? wait_s * 2 : wait_s;
		rc = erase_leftovers(l, e);
	}
	if (rc != E_OK)
		err_note(e, "a lock of this process stays in the vault; later: holdfast unlock");
	return rc;
}

enum ecode
lock_take(struct vault *v, const struct lock_args *args, struct lock **out, struct err *e)
{
	struct lock *l = NULL;
	enum ecode rc = lock_new(v, args, &l, e);

	if (rc != E_OK)
		return rc;
	invariant(l != NULL);
	rc = lock_attempt(l, e);
	buf_done(&l->harmless);
	buf_done(&l->condemned);
	if (rc == E_OK && args->refresh_thread) {
		rc = start_refreshing(l, e);
		if (rc != E_OK)
			lock_drop_file(l, &l->id);
	}
	if (rc != E_OK) {
		(void)erase_all(l, NULL); /* the first refusal is the one to tell */
		lock_free(l);
		return rc;
	}
	*out = l;
	return E_OK;
}

enum ecode
lock_release(struct lock **lp, struct err *e)
{
	struct lock *l = *lp;
	enum ecode rc;

	if (l == NULL)
		return E_OK;
	*lp = NULL;
	pulse_stop(&l->refresher);
	if (l->leftovers == LEFTOVER_MAX)
		l->leftovers--;
	remember_leftover(l, &l->id); /* absent counts as erased, so a lost lock is fine */
	rc = erase_all(l, e);
	lock_free(l);
	return rc;
}

/* ---- listing ---- */

static enum ecode
list_each(struct vault *v, struct blob_codec *c, const struct store_listing *names, struct arena *a,
	struct lock_info *infos, size_t counts[static 2], struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		struct err why = { .code = E_OK };
		enum ecode rc = lock_load(v, c, &names->v[i], a, &infos[counts[0]], &why);

		if (rc == E_NOMEM)
			return err_set(e, E_NOMEM, ENOMEM, "%s", why.detail);
		if (rc == E_OK)
			counts[0]++;
		else if (rc != E_STORE_ABSENT) /* released while we looked */
			counts[1]++;
	}
	return E_OK;
}

enum ecode
lock_list(struct vault *v, struct arena *a, struct lock_info **out, size_t *n, size_t *unreadable,
	struct err *e)
{
	autoclean(store_listing_done) struct store_listing names = { .n = 0 };
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	size_t counts[2] = { 0, 0 }; /* readable, unreadable */
	void *mem = NULL;
	enum ecode rc = blob_codec_open(v->keys, v->os, v->version, COMPRESSION_AUTO, &c, e);

	if (rc == E_OK)
		rc = store_list_all(v->store, O_LOCK, &names, e);
	if (rc == E_OK && names.n > SIZE_MAX / sizeof(**out))
		rc = err_set(e, E_LIMIT, 0, "%zu locks", names.n);
	if (rc == E_OK)
		rc = arena_alloc(a, names.n * sizeof(**out), &mem, e);
	if (rc == E_OK)
		rc = list_each(v, c, &names, a, mem, counts, e);
	if (rc != E_OK)
		return rc;
	*out = mem;
	*n = counts[0];
	*unreadable = counts[1];
	return E_OK;
}
