/*
 * A lock is a file that says who works here.  Nothing but agreement enforces
 * it, so the order of steps is everything: look, write, wait, look again; and
 * refreshing writes the new file before the old one goes.
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
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/pulse.h"
#include "base/wire.h"
#include "store/erase.h"

/* 0001-01-01T00:00:00Z, the zero time of the format's JSON */
#define ZERO_TIME_S (-62135596800)
#define NS_PER_S    1000000000U
#define NS_PER_MS   1000000U

/* seconds; waits before listing again when a lock cannot be read (8.2) */
static const unsigned unreadable_waits_s[] = { 5, 10, 20 };
/* seconds; first and longest wait of --retry-lock (8.2) */
#define RETRY_FIRST_S    5
#define RETRY_MAX_S      60
/* ms; how soon a wait notices that it should stop */
#define STOP_POLL_MS     500
/* seconds; how often the thread looks at the clock, and the pause after a refused refresh */
#define TICK_S           10
/* seconds; "try for up to a minute" (8.3) */
#define RELEASE_FOR_S    60
/* lock files of ours that could not be removed yet; more refused removals than refreshes of a day */
#define LEFTOVER_MAX     300
/* bytes; names of hosts (Linux: 64) and users */
#define HOST_NAME_BYTES  256
#define USER_NAME_BYTES  256
/* bytes of parsed lock texts in one listing */
#define LOCK_ARENA_BYTES ((size_t)64 << 20)

struct lock {
	struct vault *v;
	const struct os *os;
	struct lock_args args;
	struct blob_codec *codec;
	pthread_mutex_t mutex;
	struct pulse *refresher;
	bool has_thread;

	struct id id;          /* of the file in force */
	uint64_t refreshed_ns; /* boot clock, taken before that file was written */
	uint64_t tried_ns;     /* boot clock of the last try, successful or not */
	bool lost;
	struct id leftover[LEFTOVER_MAX];
	size_t leftovers;
	struct buf
		harmless; /* ids of locks that were read and do not conflict; only while taking */
};

/* ---- the record ---- */

static enum ecode
parse_text(struct json *j, struct arena *a, struct slice *out, struct err *e)
{
	autoclean(buf_done) struct buf plain = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct slice raw;
	bool escaped;
	enum ecode rc;

	if (json_null(j))
		return E_OK;
	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, "lock", e);
	if (!escaped)
		return arena_copy(a, raw.p, raw.len, out, e);
	rc = json_unescape(&plain, raw, e);
	return rc == E_OK ? arena_copy(a, plain.p, plain.len, out, e) : rc;
}

static enum ecode
parse_time(struct json *j, struct instant *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_null(j))
		return E_OK;
	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, "lock", e);
	if (!instant_parse(raw.p, raw.len, out))
		return err_set(e, E_LOCK_UNREADABLE, 0, "its time is not one");
	return E_OK;
}

static enum ecode
parse_u32(struct json *j, uint32_t *out, struct err *e)
{
	uint64_t v = 0;

	if (json_null(j))
		return E_OK;
	if (!json_u64(j, &v))
		return json_refusal(j, "lock", e);
	if (v > UINT32_MAX)
		return err_set(e, E_LOCK_UNREADABLE, 0, "user number %" PRIu64, v);
	*out = (uint32_t)v;
	return E_OK;
}

static enum ecode
parse_member(
	struct json *j, struct slice key, struct arena *a, struct lock_info *info, struct err *e)
{
	bool ok = true;

	if (slice_is(key, "time"))
		return parse_time(j, &info->time, e);
	if (slice_is(key, "hostname"))
		return parse_text(j, a, &info->hostname, e);
	if (slice_is(key, "username"))
		return parse_text(j, a, &info->username, e);
	if (slice_is(key, "uid"))
		return parse_u32(j, &info->uid, e);
	if (slice_is(key, "gid"))
		return parse_u32(j, &info->gid, e);
	if (slice_is(key, "exclusive"))
		ok = json_null(j) || json_bool(j, &info->exclusive);
	else if (slice_is(key, "pid"))
		ok = json_null(j) || json_i64(j, &info->pid);
	else
		ok = json_skip(j, NULL);
	return ok ? E_OK : json_refusal(j, "lock", e);
}

enum ecode
lock_parse(const void *json, size_t len, struct arena *a, struct lock_info *out, struct err *e)
{
	struct lock_info info = { .time.s = INT64_MIN /
					    2 }; /* without a time it is as old as can be */
	enum ecode rc = E_OK;
	struct slice key;
	struct json j;

	json_init(&j, json, len);
	if (!json_enter_object(&j))
		return json_refusal(&j, "lock", e);
	while (rc == E_OK && json_key(&j, &key))
		rc = parse_member(&j, key, a, &info, e);
	if (rc == E_OK && !json_end(&j))
		rc = json_refusal(&j, "lock", e);
	if (rc == E_OK)
		*out = info;
	return rc;
}

static void
put_name(struct json_out *w, const char *key, const char *text)
{
	json_put_key(w, key);
	json_put_str(w, text);
}

static enum ecode
lock_text(const struct lock *l, struct buf *out, struct err *e)
{
	const struct os *os = l->os;
	struct os_ids ids = os->ids(os);
	char host[HOST_NAME_BYTES] = "", user[USER_NAME_BYTES] = "", when[INSTANT_TEXT_MAX];
	size_t len = instant_format(os->wall(os), when);
	struct json_out w;

	/* a name that cannot be told stays empty: the lock counts all the same */
	(void)os->hostname(os, host, sizeof(host));
	(void)os->user_name(os, ids.uid, user, sizeof(user));
	json_begin(&w, out);
	json_open_object(&w);
	json_put_key(&w, "time");
	json_put_text(&w, when, len);
	json_put_key(&w, "exclusive");
	json_put_bool(&w, l->args.exclusive);
	put_name(&w, "hostname", host);
	put_name(&w, "username", user);
	json_put_key(&w, "pid");
	json_put_i64(&w, os->pid(os));
	if (ids.uid != 0) {
		json_put_key(&w, "uid");
		json_put_u64(&w, ids.uid);
	}
	if (ids.gid != 0) {
		json_put_key(&w, "gid");
		json_put_u64(&w, ids.gid);
	}
	json_close_object(&w);
	return json_done(&w, e);
}

/* ---- files in locks/ ---- */

static enum ecode
erase_file(struct lock *l, const struct id *id, struct err *e)
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

/* A file of ours that is of no use any more: gone now, or at the next occasion. */
static void
erase_or_remember(struct lock *l, const struct id *id)
{
	if (erase_file(l, id, NULL) != E_OK)
		remember_leftover(l, id);
}

static enum ecode
erase_leftovers(struct lock *l, struct err *e)
{
	while (l->leftovers > 0) {
		enum ecode rc = erase_file(l, &l->leftover[l->leftovers - 1], e);

		if (rc != E_OK)
			return rc;
		l->leftovers--;
	}
	return E_OK;
}

/*
 * A new file of ours.  An unsure write is answered by looking: a lock need not
 * survive a power cut, it must only be seen.  After any refusal the file is removed.
 */
static enum ecode
write_file(struct lock *l, struct id *out, struct err *e)
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
		erase_or_remember(l, &name.id);
	return rc;
}

static enum ecode
load_info(struct vault *v, struct blob_codec *c, const struct store_entry *entry, struct arena *a,
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

/* ---- judging others ---- */

enum lock_verdict
lock_judge(const struct os *os, const struct lock_info *info)
{
	struct instant now = os->wall(os), limit = info->time;
	char host[HOST_NAME_BYTES] = "";

	if (limit.s > INT64_MAX - LOCK_STALE_S)
		limit.s = INT64_MAX - LOCK_STALE_S;
	limit.s += LOCK_STALE_S;
	if (instant_cmp(limit, now) < 0)
		return LOCK_TOO_OLD;
	if (os->hostname(os, host, sizeof(host)) < 0 || host[0] == '\0' ||
		info->hostname.len == 0 || !slice_is(info->hostname, host))
		return LOCK_UNKNOWN_HOST;
	if (info->pid <= 0 ||
		info->pid > INT_MAX) /* no process of this system: only the age can tell */
		return LOCK_UNKNOWN_HOST;
	return os->kill(os, (int)info->pid, 0) == -ESRCH ? LOCK_DEAD_PROCESS : LOCK_ALIVE;
}

static const char *
verdict_text(enum lock_verdict verdict)
{
	switch (verdict) {
	case LOCK_ALIVE:
		return "the process is running";
	case LOCK_DEAD_PROCESS:
		return "the process is not there any more";
	case LOCK_TOO_OLD:
		return "not refreshed for more than 30 minutes";
	case LOCK_UNKNOWN_HOST:
		return "on another host, refreshed within 30 minutes";
	}
	return "?"; /* not reached */
}

static int
shown(struct slice s)
{
	return s.len < 100 ? (int)s.len : 100;
}

static enum ecode
locked_refusal(const struct os *os, const struct lock_info *info, struct err *e)
{
	char id[9], when[INSTANT_TEXT_MAX];

	id_short(&info->id, id);
	when[instant_format(info->time, when)] = '\0';
	return err_set(e, E_LOCKED, 0, "%s lock %s of %.*s@%.*s, process %" PRId64 ", since %s: %s",
		info->exclusive ? "exclusive" : "shared", id, shown(info->username),
		(const char *)info->username.p, shown(info->hostname),
		(const char *)info->hostname.p, info->pid, when,
		verdict_text(lock_judge(os, info)));
}

/* ---- taking ---- */

static bool
asked_to_stop(const struct lock *l)
{
	return l->args.stopped != NULL && l->args.stopped(l->args.arg);
}

/* Sleep for `ms` of the monotonic clock; signals may wake us early, a stop ends it. */
static enum ecode
wait_ms(const struct lock *l, uint64_t ms, struct err *e)
{
	const struct os *os = l->os;
	uint64_t end = os->monotonic_ns(os) + ms * NS_PER_MS, now;

	for (now = os->monotonic_ns(os); now < end; now = os->monotonic_ns(os)) {
		uint64_t left = end - now, step = (uint64_t)STOP_POLL_MS * NS_PER_MS;

		if (asked_to_stop(l))
			return err_set(e, E_FLOW_STOPPED, 0, "while waiting for the vault's lock");
		os->sleep_ns(os, left < step ? left : step);
	}
	return E_OK;
}

static bool
is_harmless(const struct lock *l, const struct id *id)
{
	for (size_t at = 0; at < l->harmless.len; at += sizeof(id->b))
		if (memcmp(l->harmless.p + at, id->b, sizeof(id->b)) == 0)
			return true;
	return false;
}

/* One foreign lock.  E_LOCKED; E_LOCK_UNREADABLE when it cannot be read. */
static enum ecode
judge_conflict(struct lock *l, const struct store_entry *entry, struct arena *a, struct err *e)
{
	struct err why = { .code = E_OK };
	struct lock_info info = { .exclusive = true };
	enum ecode rc = load_info(l->v, l->codec, entry, a, &info, &why);
	char id[9];

	if (rc == E_STORE_ABSENT) /* released meanwhile */
		return E_OK;
	if (rc == E_NOMEM)
		return err_set(e, E_NOMEM, ENOMEM, "%s", why.detail);
	if (rc != E_OK) {
		id_short(&entry->id, id);
		return err_set(e, E_LOCK_UNREADABLE, why.sys, "lock %s: %s (%s)", id, why.detail,
			err_row(rc)->name);
	}
	if (info.exclusive || l->args.exclusive)
		return locked_refusal(l->os, &info, e);
	return buf_add(&l->harmless, entry->id.b, sizeof(entry->id.b), e);
}

/* One look at locks/.  `own` may be NULL.  A conflict is told before an unreadable one. */
static enum ecode
look_once(struct lock *l, const struct id *own, struct err *e)
{
	autoclean(store_listing_done) struct store_listing names = { .n = 0 };
	autoclean(arena_done) struct arena a = arena_limit(LOCK_ARENA_BYTES);
	struct err unreadable = { .code = E_OK };
	enum ecode rc = store_list_all(l->v->store, O_LOCK, &names, e);

	for (size_t i = 0; rc == E_OK && i < names.n; i++) {
		const struct store_entry *entry = &names.v[i];
		struct err why = { .code = E_OK };

		/* an empty file is an upload that was interrupted (8.2) */
		if (entry->size == 0 || (own != NULL && id_cmp(own, &entry->id) == 0) ||
			is_harmless(l, &entry->id))
			continue;
		rc = judge_conflict(l, entry, &a, &why);
		if (rc == E_LOCK_UNREADABLE) {
			unreadable = why;
			rc = E_OK;
		} else if (rc != E_OK && e != NULL) {
			*e = why;
		}
	}
	if (rc == E_OK && unreadable.code != E_OK) {
		rc = unreadable.code;
		if (e != NULL)
			*e = unreadable;
	}
	return rc;
}

/* As look_once, but an unreadable lock gets three more chances: it may be half uploaded. */
static enum ecode
look(struct lock *l, const struct id *own, struct err *e)
{
	enum ecode rc = look_once(l, own, e);

	for (size_t n = 0; n < sizeof(unreadable_waits_s) / sizeof(unreadable_waits_s[0]); n++) {
		if (rc != E_LOCK_UNREADABLE)
			return rc;
		rc = wait_ms(l, unreadable_waits_s[n] * 1000ULL, e);
		if (rc == E_OK)
			rc = look_once(l, own, e);
	}
	return rc;
}

static enum ecode
attempt(struct lock *l, struct err *e)
{
	uint64_t begun;
	enum ecode rc;

	buf_clear(&l->harmless);
	rc = look(l, NULL, e);
	if (rc != E_OK)
		return rc;
	begun = l->os->boottime_ns(l->os);
	rc = write_file(l, &l->id, e);
	if (rc != E_OK)
		return rc;
	rc = wait_ms(l, LOCK_RECHECK_MS, e);
	if (rc == E_OK)
		rc = look(l, &l->id, e);
	if (rc != E_OK)
		erase_or_remember(l, &l->id);
	l->refreshed_ns = begun;
	l->tried_ns = begun;
	return rc;
}

/* --retry-lock: 5 s, doubling to 60 s, until the time is over; then one last attempt. */
static enum ecode
attempt_until(struct lock *l, struct err *e)
{
	const struct os *os = l->os;
	uint64_t begin = os->monotonic_ns(os), for_ns, wait_s = RETRY_FIRST_S;
	enum ecode rc = attempt(l, e);

	if (__builtin_mul_overflow(l->args.retry_for_s, (uint64_t)NS_PER_S, &for_ns))
		for_ns = UINT64_MAX;
	for (bool last = for_ns == 0; rc == E_LOCKED && !last;) {
		uint64_t gone = os->monotonic_ns(os) - begin, wait_ns = wait_s * NS_PER_S;

		last = gone >= for_ns || for_ns - gone <= wait_ns;
		if (last)
			wait_ns = gone >= for_ns ? 0 : for_ns - gone;
		rc = wait_ms(l, wait_ns / NS_PER_MS, e);
		if (rc == E_OK)
			rc = attempt(l, e);
		wait_s = wait_s * 2 < RETRY_MAX_S ? wait_s * 2 : RETRY_MAX_S;
	}
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
	rc = write_file(l, &fresh, e);
	if (rc != E_OK)
		return rc;
	l->id = fresh;
	l->refreshed_ns = begun;
	erase_or_remember(l, &old);
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
		rc = write_file(l, &fresh, e);
	if (rc != E_OK)
		return rc;
	l->os->sleep_ns(l->os, (uint64_t)LOCK_RECHECK_MS * NS_PER_MS);
	rc = own_is_there(l, &old, &there, e);
	if (rc == E_OK && !there)
		rc = lost_refusal(l, e);
	if (rc != E_OK) {
		erase_or_remember(l, &fresh);
		return rc;
	}
	l->id = fresh;
	l->refreshed_ns = begun;
	erase_or_remember(l, &old);
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
	rc = attempt_until(l, e);
	buf_done(&l->harmless);
	if (rc == E_OK && args->refresh_thread) {
		rc = start_refreshing(l, e);
		if (rc != E_OK)
			erase_or_remember(l, &l->id);
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
		enum ecode rc = load_info(v, c, &names->v[i], a, &infos[counts[0]], &why);

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
