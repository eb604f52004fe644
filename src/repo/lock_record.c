/* The text of a lock file (format document 8.1): ours, and whatever others left. */
#include <inttypes.h>

#include "base/wire.h"
#include "repo/lock_internal.h"

static enum ecode
parse_text(struct json *j, struct arena *a, struct slice *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (json_null(j))
		return E_OK;
	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, "lock", e);
	return json_text(raw, escaped, SMALL_OBJECT_MAX_BYTES, a, out, e);
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

/* "holdfast": {"run_id", "identity"}, both in order or none: half an answer is none. */
static enum ecode
parse_own(struct json *j, struct arena *a, struct lock_info *info, struct err *e)
{
	struct identity id = { .pid = 0 };
	struct slice key, run_id = { NULL, 0 };
	enum ecode rc = E_OK;

	if (!json_enter_object(j))
		return json_refusal(j, "lock", e);
	while (rc == E_OK && json_key(j, &key)) {
		if (slice_is(key, "identity"))
			rc = identity_take(j, &id, e);
		else if (slice_is(key, "run_id"))
			rc = parse_text(j, a, &run_id, e);
		else if (!json_skip(j, NULL))
			rc = json_refusal(j, "lock", e);
	}
	if (rc == E_OK && !json_end(j))
		rc = json_refusal(j, "lock", e);
	if (rc != E_OK)
		return rc;
	info->identity = id;
	info->run_id = run_id;
	return E_OK;
}

/* What is ours must not make a lock unreadable for anybody: an odd one counts as restic's, which is never taken over. */
static enum ecode
parse_guest(struct json *j, struct arena *a, struct lock_info *info, struct err *e)
{
	struct json inner;
	struct slice raw;
	struct err why;
	enum ecode rc;

	if (!json_skip(j, &raw))
		return json_refusal(j, "lock", e);
	json_init(&inner, raw.p, raw.len);
	rc = parse_own(&inner, a, info, &why);
	return rc == E_NOMEM ? err_set(e, rc, why.sys, "%s", why.detail) : E_OK;
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
	if (slice_is(key, "holdfast"))
		return parse_guest(j, a, info, e);
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

/*
 * Now, or what the boot clock says since the lock was taken, if that is later:
 * were the wall clock set back, a refresh would look older than the lock it
 * replaces, and others would take us for dead.
 */
static struct instant
record_time(const struct lock *l)
{
	uint64_t held_ns = l->os->boottime_ns(l->os) - l->begun_ns;
	struct instant now = l->os->wall(l->os), steady = l->begun;

	steady.s += (int64_t)(held_ns / NS_PER_S);
	steady.ns += (int32_t)(held_ns % NS_PER_S);
	if (steady.ns >= (int32_t)NS_PER_S) {
		steady.s++;
		steady.ns -= (int32_t)NS_PER_S;
	}
	return instant_cmp(now, steady) < 0 ? steady : now;
}

/* restic skips members it does not know. */
static void
put_own(struct json_out *w, const struct lock *l)
{
	json_put_key(w, "holdfast");
	json_open_object(w);
	if (l->args.run_id != NULL)
		json_member_str(w, "run_id", l->args.run_id);
	json_put_key(w, "identity");
	identity_put(w, &l->identity);
	json_close_object(w);
}

enum ecode
lock_text(const struct lock *l, struct buf *out, struct err *e)
{
	const struct os *os = l->os;
	struct os_ids ids = os->ids(os);
	char host[HOST_NAME_BYTES] = "", user[USER_NAME_BYTES] = "", when[INSTANT_TEXT_MAX];
	size_t len = instant_format(record_time(l), when);
	struct json_out w;

	/* a name that cannot be told stays empty: the lock counts all the same */
	(void)os->hostname(os, host, sizeof(host));
	(void)os->user_name(os, ids.uid, user, sizeof(user));
	json_begin(&w, out);
	json_open_object(&w);
	json_put_key(&w, "time");
	json_put_text(&w, when, len);
	json_member_bool(&w, "exclusive", l->args.exclusive);
	json_member_str(&w, "hostname", host);
	json_member_str(&w, "username", user);
	json_put_key(&w, "pid");
	json_put_i64(&w, os->pid(os));
	if (ids.uid != 0) {
		json_member_u64(&w, "uid", ids.uid);
	}
	if (ids.gid != 0) {
		json_member_u64(&w, "gid", ids.gid);
	}
	put_own(&w, l);
	json_close_object(&w);
	return json_done(&w, e);
}
