/*
 * One line of the audit log as text: made for an append, parsed strictly when
 * read.  `sum` is the last member and covers every byte before its comma.
 */
#include "report/auditparts.h"

#include <ctype.h>
#include <string.h>

#include "base/wire.h"

#define NAME_TEXT_BYTES 256         /* user and host names: LOGIN_NAME_MAX, HOST_NAME_MAX + 1 */
#define ARG_MAX_BYTES   (4U << 10)  /* a longer argument is cut; the run report has all of it */
#define ARGV_MAX_BYTES  (32U << 10) /* of one line, likewise */
#define TEXT_PART_BYTES (16U << 10) /* a location; escaped at most six times as long */
#define TEXTS_MAX       1000 /* arguments or snapshots in one line; further arguments are counted */
#define VALUE_MAX_BYTES AUDIT_LINE_MAX_BYTES
#define SUM_BYTES       (sizeof(",\"sum\":\"\"}") - 1 + ID_HEX_SIZE - 1)

static const char *
event_name(enum audit_event event)
{
	switch (event) {
	case AUDIT_BEGIN:
		return "begin";
	case AUDIT_END:
		return "end";
	case AUDIT_TORN:
		return "torn";
	case AUDIT_OTHER:
		return "other";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

/* ---- making ---- */

static void
put(struct json_out *w, const char *key, const char *text)
{
	size_t len = text == NULL ? 0 : strlen(text);

	json_put_key(w, key);
	if (text == NULL)
		json_put_null(w);
	else
		json_put_text(w, text, len < TEXT_PART_BYTES ? len : TEXT_PART_BYTES);
}

static void
put_who(struct json_out *w, const struct os *os)
{
	char user[NAME_TEXT_BYTES] = "", host[NAME_TEXT_BYTES] = "", time[INSTANT_TEXT_MAX];
	struct os_ids ids = os->ids(os);

	/* a name that cannot be had is left empty: the number beside it stands */
	if (os->user_name(os, ids.uid, user, sizeof(user)) < 0)
		user[0] = '\0';
	if (os->hostname(os, host, sizeof(host)) < 0)
		host[0] = '\0';
	(void)instant_format(os->wall(os), time);
	put(w, "time", time);
	put(w, "user", user);
	json_member_u64(w, "uid", ids.uid);
	put(w, "host", host);
}

static void
put_argv(struct json_out *w, const struct audit_entry *entry)
{
	size_t used = 0, n = 0;

	json_put_key(w, "argv");
	json_open_array(w);
	for (; n < entry->argc && n < TEXTS_MAX; n++) {
		size_t len = strnlen(entry->argv[n], ARG_MAX_BYTES);

		if (used + len > ARGV_MAX_BYTES)
			break;
		json_put_text(w, entry->argv[n], len);
		used += len + 1;
	}
	json_close_array(w);
	json_member_u64(w, "argv_left_out", entry->argc - n);
}

static void
put_outcome(struct json_out *w, const struct audit_entry *entry)
{
	const struct err_row *row = entry->code == E_OK ? NULL : err_row(entry->code);
	size_t n = entry->snapshot_count < TEXTS_MAX ? entry->snapshot_count : TEXTS_MAX;

	put(w, "class", row == NULL ? "success" : eclass_name(row->class));
	json_member_u64(w, "exit", row == NULL ? 0 : (uint64_t)row->class);
	json_member_u64(w, "code", (uint64_t)entry->code);
	json_put_key(w, "snapshots");
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_str(w, entry->snapshots[i]);
	json_close_array(w);
}

static void
put_entry(struct json_out *w, const struct audit_entry *entry)
{
	put(w, "run_id", entry->run_id);
	put(w, "command", entry->command);
	put(w, "vault", entry->vault);
	put(w, "repo_id", entry->repo_id);
	put(w, "destination", entry->destination);
	if (entry->event == AUDIT_END)
		put_outcome(w, entry);
	else
		put_argv(w, entry);
}

static void
put_torn(struct json_out *w, const struct audit_line *what)
{
	put(w, "torn_file", what->torn_file);
	json_member_u64(w, "torn_bytes", what->torn_bytes);
	json_member_id(w, "torn_sha256", what->torn_digest);
}

enum ecode
audit_line_make(struct audit_log *g, const struct audit_line *what, struct buf *out, struct err *e)
{
	char hex[ID_HEX_SIZE];
	struct json_out w;
	struct id sum;
	enum ecode rc;

	json_begin(&w, out);
	json_open_object(&w);
	put(&w, "log", g->last.log);
	json_member_u64(&w, "seq", g->last.seq + 1);
	json_member_id(&w, "prev", &g->last.digest);
	put(&w, "event", event_name(what->entry->event));
	put_who(&w, g->os);
	if (what->entry->event == AUDIT_TORN)
		put_torn(&w, what);
	else
		put_entry(&w, what->entry);
	rc = json_done(&w, e);
	if (rc != E_OK)
		return rc;
	hasher_sum(g->hasher, out->p, out->len, &sum);
	id_hex(&sum, hex);
	return buf_printf(out, e, ",\"sum\":\"%s\"}", hex);
}

/* ---- parsing ---- */

bool
audit_take_text(struct json *j, struct arena *a, const char **out)
{
	struct slice raw, text;
	bool escaped;

	if (json_null(j))
		return true;
	if (!json_string(j, &raw, &escaped) ||
		json_text(raw, escaped, VALUE_MAX_BYTES, a, &text, NULL) != E_OK ||
		memchr(text.p, 0, text.len) != NULL)
		return false;
	*out = (const char *)text.p;
	return true;
}

bool
audit_take_log(struct json *j, char out[static AUDIT_LOG_ID_SIZE])
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped) || raw.len != AUDIT_LOG_ID_SIZE - 1)
		return false;
	for (size_t i = 0; i < raw.len; i++) {
		if (isxdigit(raw.p[i]) == 0)
			return false;
	}
	memcpy(out, raw.p, raw.len);
	out[raw.len] = '\0';
	return true;
}

bool
audit_take_id(struct json *j, struct id *out)
{
	struct slice raw;
	bool escaped;

	return json_string(j, &raw, &escaped) && raw.len == ID_HEX_SIZE - 1 &&
	       id_parse(raw.p, raw.len, out);
}

static bool
take_texts(struct json *j, struct arena *a, const char ***out, size_t *n)
{
	void *room;
	struct err e;

	*n = 0;
	if (arena_alloc(a, TEXTS_MAX * sizeof(char *), &room, &e) != E_OK || !json_enter_array(j))
		return false;
	*out = room;
	while (json_element(j)) {
		if (*n == TEXTS_MAX)
			return false;
		(*out)[*n] = "";
		if (!audit_take_text(j, a, &(*out)[*n]))
			return false;
		(*n)++;
	}
	return !j->bad;
}

static bool
take_event(struct json *j, struct arena *a, struct audit_record *r)
{
	if (!audit_take_text(j, a, &r->event_text))
		return false;
	r->event = AUDIT_OTHER;
	for (int i = AUDIT_BEGIN; i < AUDIT_OTHER; i++) {
		if (strcmp(r->event_text, event_name((enum audit_event)i)) == 0)
			r->event = (enum audit_event)i;
	}
	return true;
}

static bool
take_time(struct json *j, struct instant *out)
{
	struct slice raw;
	bool escaped;

	return json_string(j, &raw, &escaped) && instant_parse(raw.p, raw.len, out);
}

/* Where a text member goes; NULL for others. */
static const char **
text_member(struct audit_record *r, struct slice key)
{
	struct {
		const char *key;
		const char **to;
	} texts[] = { { "user", &r->user }, { "host", &r->host }, { "run_id", &r->run_id },
		{ "command", &r->command }, { "vault", &r->vault }, { "repo_id", &r->repo_id },
		{ "destination", &r->destination }, { "class", &r->class_name },
		{ "torn_file", &r->torn_file } };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (slice_is(key, texts[i].key))
			return texts[i].to;
	}
	return NULL;
}

static uint64_t *
count_member(struct audit_record *r, struct slice key)
{
	struct {
		const char *key;
		uint64_t *to;
	} counts[] = { { "seq", &r->seq }, { "uid", &r->uid }, { "exit", &r->exit_code },
		{ "code", &r->code }, { "argv_left_out", &r->argv_left_out },
		{ "torn_bytes", &r->torn_bytes } };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		if (slice_is(key, counts[i].key))
			return counts[i].to;
	}
	return NULL;
}

/* Members of later versions are covered by the sum and passed over. */
static bool
take_member(struct json *j, struct slice key, struct arena *a, struct audit_record *r)
{
	const char **text = text_member(r, key);
	uint64_t *count = count_member(r, key);

	if (text != NULL)
		return audit_take_text(j, a, text);
	if (count != NULL)
		return json_u64(j, count);
	if (slice_is(key, "log"))
		return audit_take_log(j, r->log);
	if (slice_is(key, "prev"))
		return audit_take_id(j, &r->prev);
	if (slice_is(key, "event"))
		return take_event(j, a, r);
	if (slice_is(key, "time"))
		return take_time(j, &r->time);
	if (slice_is(key, "argv"))
		return take_texts(j, a, &r->argv, &r->argc);
	if (slice_is(key, "snapshots"))
		return take_texts(j, a, &r->snapshots, &r->snapshot_count);
	return json_skip(j, NULL);
}

/* The sum is checked before a single member is believed. */
static enum ecode
check_sum(const uint8_t *line, size_t len, struct err *e)
{
	static const char before[] = ",\"sum\":\"";
	struct hasher *hasher;
	struct id told, sum;
	const uint8_t *tail;
	enum ecode rc;

	if (len < SUM_BYTES || len > AUDIT_LINE_MAX_BYTES)
		return err_set(e, E_AUDIT_BROKEN, 0, "a line of %zu bytes is no entry", len);
	tail = line + len - SUM_BYTES;
	if (memcmp(tail, before, sizeof(before) - 1) != 0 ||
		!id_parse(tail + sizeof(before) - 1, ID_HEX_SIZE - 1, &told) ||
		memcmp(line + len - 2, "\"}", 2) != 0)
		return err_set(e, E_AUDIT_BROKEN, 0, "a line does not end in its own digest");
	rc = hasher_open(&hasher, e);
	if (rc != E_OK)
		return rc;
	hasher_sum(hasher, line, len - SUM_BYTES, &sum);
	hasher_close(&hasher);
	if (id_cmp(&sum, &told) != 0)
		return err_set(e, E_AUDIT_BROKEN, 0, "a line is not what its digest says");
	return E_OK;
}

enum ecode
audit_parse(const void *line, size_t len, struct arena *a, struct audit_record *out, struct err *e)
{
	struct audit_record r = { .event = AUDIT_OTHER,
		.event_text = "",
		.run_id = "",
		.command = "",
		.user = "",
		.host = "",
		.vault = "",
		.repo_id = "",
		.destination = "",
		.class_name = "",
		.torn_file = "",
		.text = { line, len } };
	struct slice key;
	struct json j;
	enum ecode rc = check_sum(line, len, e);

	if (rc != E_OK)
		return rc;
	json_init(&j, line, len);
	if (!json_enter_object(&j))
		return err_set(e, E_AUDIT_BROKEN, 0, "a line is no JSON object");
	while (json_key(&j, &key)) {
		if (!take_member(&j, key, a, &r))
			return err_set(e, E_AUDIT_BROKEN, 0, "member %.*s of a line is wrong",
				(int)(key.len < 64 ? key.len : 64), (const char *)key.p);
	}
	if (!json_end(&j) || r.seq == 0 || r.log[0] == '\0' || r.event_text[0] == '\0')
		return err_set(e, E_AUDIT_BROKEN, 0, "a line is not a whole entry");
	*out = r;
	return E_OK;
}

struct audit_mark
audit_mark_of(struct audit_log *g, const struct audit_record *r)
{
	struct audit_mark mark = { .seq = r->seq };

	memcpy(mark.log, r->log, sizeof(mark.log));
	hasher_sum(g->hasher, r->text.p, r->text.len, &mark.digest);
	return mark;
}
