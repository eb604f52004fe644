/* The text of a lock file (format document 8.1): ours, and whatever others left. */
#include <inttypes.h>

#include "base/wire.h"
#include "repo/lock_internal.h"

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

enum ecode
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
