/*
 * Taking a lock is four steps whose order is everything: look, write, wait,
 * look again (format document 8.2).
 */
#include <errno.h>
#include <string.h>

#include "base/wire.h"
#include "repo/lock_internal.h"

/* seconds; waits before listing again when a lock cannot be read (8.2) */
static const unsigned unreadable_waits_s[] = { 5, 10, 20 };
/* seconds; first and longest wait of --retry-lock (8.2) */
#define RETRY_FIRST_S 5
#define RETRY_MAX_S   60
/* ms; how soon a wait notices that it should stop */
#define STOP_POLL_MS  500

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
is_among(const struct buf *ids, const struct id *id)
{
	for (size_t at = 0; at < ids->len; at += sizeof(id->b))
		if (memcmp(ids->p + at, id->b, sizeof(id->b)) == 0)
			return true;
	return false;
}

/*
 * Its process is provably gone.  Seen for the first time it is only noted; in
 * the look after LOCK_RECHECK_MS it goes.  Where a store will not remove it,
 * it is told and does not count: nobody is behind it.
 */
static enum ecode
bury(struct lock *l, const struct lock_info *info, bool second, const char *why, struct err *e)
{
	struct lock_takeover what = { .info = info, .why = why };
	struct err refusal;

	if (!second)
		return is_among(&l->condemned, &info->id)
			       ? E_OK
			       : buf_add(&l->condemned, info->id.b, sizeof(info->id.b), e);
	if (lock_erase_file(l, &info->id, &refusal) != E_OK)
		what.refusal = &refusal;
	if (l->args.taken_over != NULL)
		l->args.taken_over(l->args.arg, &what);
	return buf_add(&l->harmless, info->id.b, sizeof(info->id.b), e);
}

/* One foreign lock.  E_LOCKED; E_LOCK_UNREADABLE when it cannot be read. */
static enum ecode
judge_conflict(struct lock *l, const struct store_entry *entry, bool second, struct arena *a,
	struct err *e)
{
	bool condemned = is_among(&l->condemned, &entry->id);
	struct err why = { .code = E_OK };
	struct lock_info info = { .exclusive = true };
	const char *proof;
	enum ecode rc = lock_load(l->v, l->codec, entry, a, &info, &why);
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
	/* one that is dead only now, in the second look, is left to whoever comes next */
	if ((!second || condemned) && lock_is_gone(l->os, &info, &proof))
		return bury(l, &info, second, proof, e);
	if (info.exclusive || l->args.exclusive)
		return lock_refusal(l->os, &info, e);
	return buf_add(&l->harmless, entry->id.b, sizeof(entry->id.b), e);
}

/* One look at locks/.  `own` is NULL in the first.  A conflict is told before an unreadable one. */
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
			is_among(&l->harmless, &entry->id))
			continue;
		rc = judge_conflict(l, entry, own != NULL, &a, &why);
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
	buf_clear(&l->condemned);
	rc = look(l, NULL, e);
	if (rc != E_OK)
		return rc;
	begun = l->os->boottime_ns(l->os);
	rc = lock_write_file(l, &l->id, e);
	if (rc != E_OK)
		return rc;
	rc = wait_ms(l, LOCK_RECHECK_MS, e);
	if (rc == E_OK)
		rc = look(l, &l->id, e);
	if (rc != E_OK)
		lock_drop_file(l, &l->id);
	l->refreshed_ns = begun;
	l->tried_ns = begun;
	return rc;
}

/* --retry-lock: 5 s, doubling to 60 s, until the time is over; then one last attempt. */
enum ecode
lock_attempt(struct lock *l, struct err *e)
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
