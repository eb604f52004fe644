/*
 * The history is small and rewritten whole.  After a success it is not synced:
 * the worst a power cut can do is to leave the older one.  After a failure it
 * is, because it says how grave the next one is.
 */
#include "engine/health.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "os/io.h"

#define FORMAT           1
#define HEALTH_NAME      "health.json"
#define HEALTH_MAX_BYTES ((size_t)64 << 10)
#define STATE_DIR_MODE   0700
#define STATE_FILE_MODE  0600

/* ---- reading ---- */

static bool
take_time(struct json *j, struct instant *out)
{
	struct slice raw;
	bool escaped;

	return json_string(j, &raw, &escaped) && instant_parse(raw.p, raw.len, out);
}

static bool
take_reason(struct json *j, struct health_summary *h)
{
	autoclean(buf_done) struct buf text = buf_limit(HEALTH_MAX_BYTES);
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped) || json_unescape(&text, raw, NULL) != E_OK)
		return false;
	(void)snprintf(h->reason, sizeof(h->reason), "%.*s", (int)text.len,
		text.len == 0 ? "" : (const char *)text.p);
	return true;
}

static bool
take_member(struct json *j, struct slice key, struct health_summary *h, uint64_t *format)
{
	if (slice_is(key, "format"))
		return json_u64(j, format);
	if (slice_is(key, "failures"))
		return json_u64(j, &h->failures);
	if (slice_is(key, "reason"))
		return take_reason(j, h);
	if (slice_is(key, "first_failure"))
		return take_time(j, &h->first_failure);
	if (slice_is(key, "last_failure"))
		return take_time(j, &h->last_failure);
	if (!slice_is(key, "last_success"))
		return json_skip(j, NULL);
	h->has_success = true;
	return take_time(j, &h->last_success);
}

/* Any doubt: damaged, and nothing of it is believed. */
static void
parse(const struct buf *text, struct health_summary *out)
{
	struct health_summary h = { .damaged = false };
	uint64_t format = 0;
	struct slice key;
	struct json j;
	bool ok;

	json_init(&j, text->p, text->len);
	ok = json_enter_object(&j);
	while (ok && json_key(&j, &key))
		ok = take_member(&j, key, &h, &format);
	/* without their times nobody can say whether failures last */
	ok = ok && (h.failures == 0 || (h.first_failure.s != 0 && h.last_failure.s != 0));
	if (!ok || !json_end(&j) || format != FORMAT)
		h = (struct health_summary){ .damaged = true };
	*out = h;
}

/* <state>/vaults/<repo id>.  False: too long. */
static bool
dir_of(const char *state_dir, const struct id *repo_id, char out[static PATH_MAX])
{
	char hex[ID_HEX_SIZE];

	id_hex(repo_id, hex);
	return (size_t)snprintf(out, PATH_MAX, "%s/vaults/%s", state_dir, hex) < PATH_MAX;
}

enum ecode
health_summary(const struct os *os, const char *state_dir, const struct id *repo_id,
	struct health_summary *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(HEALTH_MAX_BYTES);
	char dir[PATH_MAX], path[PATH_MAX];
	struct err why = { .code = E_OK };
	enum ecode rc;

	*out = (struct health_summary){ 0 };
	if (!dir_of(state_dir, repo_id, dir) ||
		(size_t)snprintf(path, sizeof(path), "%s/" HEALTH_NAME, dir) >= sizeof(path))
		return err_set(e, E_REPORT_READ, ENAMETOOLONG, "the state directory's name");
	rc = io_read_file(os, AT_FDCWD, path, &text, &why);
	if (rc == E_IO_READ && why.sys == ENOENT)
		return E_OK;
	if (rc == E_LIMIT)
		out->damaged = true;
	else if (rc == E_OK)
		parse(&text, out);
	else if (rc == E_NOMEM)
		return err_set(e, rc, 0, "%s", why.detail);
	else
		return err_set(e, E_REPORT_READ, why.sys, "%s", why.detail);
	return E_OK;
}

/* ---- writing ---- */

static enum ecode
history_text(const struct health_summary *h, struct buf *out, struct err *e)
{
	struct json_out w;

	json_begin(&w, out);
	json_open_object(&w);
	json_member_u64(&w, "format", FORMAT);
	if (h->has_success)
		json_member_time(&w, "last_success", h->last_success);
	json_member_u64(&w, "failures", h->failures);
	if (h->failures > 0) {
		json_member_time(&w, "first_failure", h->first_failure);
		json_member_time(&w, "last_failure", h->last_failure);
		json_member_str(&w, "reason", h->reason);
	}
	json_close_object(&w);
	return json_done(&w, e);
}

static enum ecode
publish(const struct os *os, const char *path, const struct buf *text, bool durable, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct io_publish how = { .name = HEALTH_NAME, .mode = STATE_FILE_MODE, .fsync = durable };
	struct slice part = buf_slice(text);
	enum ecode rc = io_mkdirs(os, AT_FDCWD, path, STATE_DIR_MODE, e);

	if (rc == E_OK)
		rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);
	how.dir = dir.fd;
	return rc == E_OK ? io_publish(os, &how, &part, 1, e) : rc;
}

static enum ecode
keep(const struct session *s, const char *state_dir, const struct health_summary *h, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(HEALTH_MAX_BYTES);
	char path[PATH_MAX];
	enum ecode rc = history_text(h, &text, e);

	if (rc == E_OK && !dir_of(state_dir, &s->vault->repo_id, path))
		rc = err_set(e, E_IO, ENAMETOOLONG, "the state directory's name");
	return rc == E_OK ? publish(s->os, path, &text, h->failures > 0, e) : rc;
}

/* ---- the gate ---- */

static void
tell(const struct session *s, const char *event, const char *text)
{
	s->listener->note(s->listener->arg, event, text);
}

/* Unreadable or damaged: as if nothing were known, and told. */
static void
recall(const struct session *s, const char *state_dir, struct health_summary *h)
{
	struct err why = { .code = E_OK };

	*h = (struct health_summary){ 0 };
	if (state_dir == NULL)
		return;
	if (health_summary(s->os, state_dir, &s->vault->repo_id, h, &why) != E_OK)
		tell(s, "health_history_unreadable", why.detail);
	else if (h->damaged)
		tell(s, "health_history_damaged", "it is begun anew");
	h->damaged = false;
}

static void
remember(const struct session *s, const char *state_dir, const struct health_summary *h)
{
	struct err why = { .code = E_OK };

	if (state_dir != NULL && keep(s, state_dir, h, &why) != E_OK)
		tell(s, "health_history_not_kept", why.detail);
}

static void
count_failure(struct health_summary *h, struct instant now, const struct err *why)
{
	if (h->failures == 0)
		h->first_failure = now;
	if (h->failures < UINT64_MAX)
		h->failures++;
	h->last_failure = now;
	(void)snprintf(
		h->reason, sizeof(h->reason), "%s: %s", err_row(why->code)->name, why->detail);
}

/* A clock that went back proves no persistence. */
static bool
persists(const struct health_summary *h)
{
	int64_t span_s;

	if (h->failures >= HEALTH_STILL_COUNT)
		return true;
	return !__builtin_sub_overflow(h->last_failure.s, h->first_failure.s, &span_s) &&
	       span_s >= HEALTH_STILL_S;
}

static enum ecode
unwell(const struct health_summary *h, const struct err *why, struct err *e)
{
	enum ecode code = persists(h) ? E_VAULT_UNWELL_STILL : E_VAULT_UNWELL;
	char first[INSTANT_TEXT_MAX], good[INSTANT_TEXT_MAX] = "never";

	first[instant_format(h->first_failure, first)] = '\0';
	if (h->has_success)
		good[instant_format(h->last_success, good)] = '\0';
	err_set(e, code, why->sys, "%s (%s)", why->detail, err_row(why->code)->name);
	for (unsigned i = 0; i < why->notes; i++)
		err_note(e, "%s", why->note[i]);
	err_note(e, "%s: %s", err_row(why->code)->what, err_row(why->code)->next);
	err_note(e, "failed %" PRIu64 " time%s in a row, first %s; passed last: %s", h->failures,
		h->failures == 1 ? "" : "s", first, good);
	return code;
}

enum ecode
health_lock_refused(const struct session *s, const char *state_dir, enum ecode rc, struct err *e)
{
	struct health_summary h;
	struct err why;

	if ((rc != E_STORE_RDONLY && rc != E_STORE_WRITE && rc != E_STORE_UNSURE) ||
		state_dir == NULL || e == NULL)
		return rc;
	why = *e;
	recall(s, state_dir, &h);
	count_failure(&h, s->os->wall(s->os), &why);
	remember(s, state_dir, &h);
	return persists(&h) ? unwell(&h, &why, e) : rc;
}

enum ecode
health_gate(struct session *s, const char *state_dir, struct err *e)
{
	struct store_health found;
	struct health_summary h;
	struct err why = { .code = E_OK };
	enum ecode rc = store_probe(s->store, &found, &why);

	/* a full disk and a place of the wrong kind have rows and next steps of their own */
	if (rc == E_STORE_SPACE || rc == E_STORE_ATOMIC || rc == E_NOMEM) {
		if (e != NULL)
			*e = why;
		return rc;
	}
	recall(s, state_dir, &h);
	if (rc != E_OK) {
		count_failure(&h, s->os->wall(s->os), &why);
		remember(s, state_dir, &h);
		return unwell(&h, &why, e);
	}
	h = (struct health_summary){ .has_success = true, .last_success = s->os->wall(s->os) };
	remember(s, state_dir, &h);
	tell(s, "vault_probe_passed",
		found.leftovers > 0 ? "leftovers of an earlier probe removed" : "");
	return E_OK;
}
