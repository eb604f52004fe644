/*
 * Nothing is held in memory but what was not yet written.  So [verification]
 * stands behind [[results]], which TOML allows: its numbers are known last.
 */
#include "engine/verify_report.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "os/io.h"

#define REPORT_DIR_MODE   0700
#define SUMMARY_MAX_BYTES (1U << 20)

/* WC-48's word where it differs from DF-23's. */
static const char *
status_word(enum match_status status)
{
	return status == MATCH_ERROR ? "unreadable" : match_status_text(status);
}

static enum ecode
refusal(enum ecode rc, struct err *e)
{
	if (rc == E_OK || rc == E_NOMEM || rc == E_IO_SPACE)
		return rc;
	if (e != NULL)
		e->code = E_REPORT_WRITE;
	return E_REPORT_WRITE;
}

static enum ecode
open_dir(struct verify_report *r, const struct os *os, struct err *e)
{
	const char *path = r->args->reports;
	enum ecode rc = io_mkdirs(os, AT_FDCWD, path, REPORT_DIR_MODE, e);

	return rc == E_OK ? io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &r->dir, e) : rc;
}

enum ecode
verify_report_open(struct verify_report *r, struct session *s, const struct verify_args *args,
	const struct verify_result *result, struct err *e)
{
	enum ecode rc = E_OK;

	*r = (struct verify_report){ .args = args, .result = result, .dir = LINES_NOWHERE };
	r->records = r->toml = r->json = (struct lines){ .os = s->os, .fd = -1 };
	r->begun = true;
	if (args->reports == NULL)
		return E_OK;
	rc = open_dir(r, s->os, e);
	if (rc == E_OK)
		rc = lines_open(&r->records, s->os, r->dir, "verify_report.jsonl", e);
	if (rc == E_OK)
		rc = lines_open(&r->toml, s->os, r->dir, "verification.toml", e);
	if (rc == E_OK)
		rc = lines_open(&r->json, s->os, r->dir, "verification.json", e);
	if (rc == E_OK)
		rc = buf_add_str(&r->json.text, "{\"results\":[", e);
	return refusal(rc, e);
}

void
verify_report_done(struct verify_report *r)
{
	if (!r->begun)
		return;
	lines_done(&r->records);
	lines_done(&r->toml);
	lines_done(&r->json);
	if (r->dir >= 0)
		io_close(r->records.os, &r->dir);
}

/* ---- one path ---- */

static enum ecode
put_record(struct verify_report *r, const struct match_record *m, struct err *e)
{
	struct json_out w;

	lines_begin(&r->records, &w);
	lines_u64(&w, "actual_size", m->actual_size);
	lines_u64(&w, "expected_size", m->expected_size);
	json_member_bool(&w, "hashed", m->hashed);
	lines_str(&w, "path", m->path);
	lines_str(&w, "run_id", r->args->run_id);
	lines_str(&w, "schema", "holdfast_verify_record_v1");
	lines_str(&w, "status", status_word(m->status));
	lines_str(&w, "why", m->why);
	return lines_end(&r->records, &w, e);
}

static bool
size_matches(const struct match_record *m)
{
	switch (m->status) {
	case MATCH_OK:
	case MATCH_HASH:
	case MATCH_METADATA:
		return true;
	case MATCH_MISSING:
	case MATCH_SIZE:
	case MATCH_ERROR:
	case MATCH_EXTRA:
		return false;
	}
	return false; /* not reached: -Wswitch-enum proves the list above */
}

/* A JSON string is a TOML basic string: both know the same escapes. */
static enum ecode
toml_text(struct buf *out, const char *key, const char *dir, const char *text, struct err *e)
{
	enum ecode rc = buf_printf(out, e, "%s = \"", key);

	if (rc == E_OK && dir != NULL)
		rc = json_escape(out, dir, strlen(dir), e);
	if (rc == E_OK)
		rc = json_escape(out, text, strlen(text), e);
	return rc == E_OK ? buf_add_str(out, "\"\n", e) : rc;
}

static enum ecode
put_toml(struct verify_report *r, const struct match_record *m, struct err *e)
{
	struct buf *out = &r->toml.text;
	enum ecode rc = buf_add_str(out, "[[results]]\n", e);

	if (rc == E_OK)
		rc = toml_text(out, "path", NULL, m->path, e);
	if (rc == E_OK && r->args->against != NULL)
		rc = toml_text(out, "backup_path", r->args->against, m->path, e);
	if (rc == E_OK)
		rc = buf_printf(out, e, "status = \"%s\"\nsize_match = %s\n",
			m->status == MATCH_OK ? "ok" : "failed",
			size_matches(m) ? "true" : "false");
	if (rc == E_OK && m->hashed)
		rc = buf_printf(
			out, e, "hash_match = %s\n", m->status == MATCH_HASH ? "false" : "true");
	if (rc == E_OK && m->status != MATCH_OK)
		rc = buf_printf(out, e,
			"error = \"%s\"\nexpected_size = %" PRIu64 "\nactual_size = %" PRIu64 "\n",
			match_status_text(m->status), m->expected_size, m->actual_size);
	if (rc == E_OK)
		rc = buf_add_byte(out, '\n', e);
	return rc == E_OK ? lines_text_end(&r->toml, e) : rc;
}

static void
put_backup_path(struct verify_report *r, struct json_out *w, const char *path)
{
	autoclean(buf_done) struct buf text = buf_limit(SUMMARY_MAX_BYTES * 2);

	json_put_key(w, "backup_path");
	if (r->args->against == NULL || buf_add_str(&text, r->args->against, NULL) != E_OK ||
		buf_add_str(&text, path, NULL) != E_OK)
		json_put_null(w);
	else
		json_put_text(w, text.p, text.len);
}

static enum ecode
put_json(struct verify_report *r, const struct match_record *m, struct err *e)
{
	struct json_out w;
	enum ecode rc = r->json.count == 0 ? E_OK : buf_add_byte(&r->json.text, ',', e);

	if (rc != E_OK)
		return rc;
	r->json.count++;
	json_begin(&w, &r->json.text);
	json_open_object(&w);
	if (m->status != MATCH_OK)
		lines_u64(&w, "actual_size", m->actual_size);
	put_backup_path(r, &w, m->path);
	if (m->status != MATCH_OK) {
		lines_str(&w, "error", match_status_text(m->status));
		lines_u64(&w, "expected_size", m->expected_size);
	}
	if (m->hashed) {
		json_member_bool(&w, "hash_match", m->status != MATCH_HASH);
	}
	lines_str(&w, "path", m->path);
	json_member_bool(&w, "size_match", size_matches(m));
	lines_str(&w, "status", m->status == MATCH_OK ? "ok" : "failed");
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? lines_text_end(&r->json, e) : rc;
}

enum ecode
verify_report_put(struct verify_report *r, const struct match_record *m, struct err *e)
{
	enum ecode rc;

	if (r->dir < 0 || (m->status == MATCH_OK && m->node != NULL && m->node->type == NODE_DIR))
		return E_OK;
	rc = put_record(r, m, e);
	if (rc == E_OK)
		rc = put_toml(r, m, e);
	if (rc == E_OK)
		rc = put_json(r, m, e);
	return refusal(rc, e);
}

/* ---- the end ---- */

static const char *
outcome(enum ecode rc)
{
	return rc == E_OK                                        ? "ok"
	       : rc == E_VERIFY_FAILED || rc == E_VERIFY_DIFFERS ? "failed"
								 : "incomplete";
}

static void
time_text(struct verify_report *r, char out[static INSTANT_TEXT_MAX])
{
	struct instant now = r->records.os->wall(r->records.os);

	now.off_min = 0;
	now.ns = 0;
	out[instant_format(now, out)] = '\0';
}

/* DF-23's total is the sum of the other two: what is wrong with a folder, and what only the directory has, counts like a file. */
static enum ecode
end_toml(struct verify_report *r, struct err *e)
{
	const struct verify_result *v = r->result;
	char time[INSTANT_TEXT_MAX];

	time_text(r, time);
	return buf_printf(&r->toml.text, e,
		"[verification]\ntimestamp = %s\nbackup_type = \"%s\"\ntotal_files = %" PRIu64
		"\nverified_ok = %" PRIu64 "\nverified_failed = %" PRIu64 "\nhash_verified = %s\n",
		time, r->args->against == NULL ? "vault" : "mirror", v->files_ok + v->failed,
		v->files_ok, v->failed, r->args->level == MATCH_HASHES ? "true" : "false");
}

static enum ecode
end_json(struct verify_report *r, struct err *e)
{
	const struct verify_result *v = r->result;
	char time[INSTANT_TEXT_MAX];
	struct json_out w;
	enum ecode rc = buf_add_str(&r->json.text, "],\"verification\":", e);

	if (rc != E_OK)
		return rc;
	time_text(r, time);
	json_begin(&w, &r->json.text);
	json_open_object(&w);
	lines_str(&w, "backup_type", r->args->against == NULL ? "vault" : "mirror");
	json_member_bool(&w, "hash_verified", r->args->level == MATCH_HASHES);
	lines_str(&w, "timestamp", time);
	lines_u64(&w, "total_files", v->files_ok + v->failed);
	lines_u64(&w, "verified_failed", v->failed);
	lines_u64(&w, "verified_ok", v->files_ok);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_str(&r->json.text, "}\n", e) : rc;
}

static void
put_counts(struct json_out *w, const struct verify_result *v)
{
	json_put_key(w, "counts");
	json_open_object(w);
	lines_u64(w, "bytes", v->counts.bytes);
	lines_u64(w, "directories", v->counts.dirs);
	lines_u64(w, "failed", v->failed);
	lines_u64(w, "files", v->counts.files);
	lines_u64(w, "hashed_bytes", v->counts.hashed_bytes);
	lines_u64(w, "hashed_files", v->counts.hashed_files);
	lines_u64(w, "others", v->counts.others);
	lines_u64(w, "sockets", v->counts.sockets);
	lines_u64(w, "verified_files", v->files_ok);
	json_close_object(w);
}

static void
put_status_counts(struct json_out *w, const struct match_counts *c)
{
	static const enum match_status by_name[MATCH_STATUSES] = { MATCH_EXTRA, MATCH_HASH,
		MATCH_METADATA, MATCH_MISSING, MATCH_OK, MATCH_SIZE, MATCH_ERROR };

	json_put_key(w, "status_counts");
	json_open_object(w);
	for (size_t i = 0; i < MATCH_STATUSES; i++)
		lines_u64(w, status_word(by_name[i]), c->status[by_name[i]]);
	json_close_object(w);
}

static enum ecode
write_report(struct verify_report *r, enum ecode rc, struct err *e)
{
	const struct os *os = r->records.os;
	autoclean(lines_done) struct lines l = { .os = os, .fd = -1 };
	struct json_out w;
	struct id ignored;
	enum ecode got = lines_open(&l, os, r->dir, "verify_report.json", e);

	if (got != E_OK)
		return got;
	lines_begin(&l, &w);
	lines_str(&w, "against", r->args->against);
	put_counts(&w, r->result);
	lines_str(&w, "level", match_level_text(r->args->level));
	lines_str(&w, "result", outcome(rc));
	lines_str(&w, "run_id", r->args->run_id);
	lines_str(&w, "schema", "holdfast_verify_report_v1");
	lines_id(&w, "snapshot_id", &r->result->snapshot_id);
	lines_time(&w, "snapshot_time", r->result->time);
	put_status_counts(&w, &r->result->counts);
	lines_time(&w, "timestamp", os->wall(os));
	got = lines_end(&l, &w, e);
	return got == E_OK ? lines_close(&l, &ignored, e) : got;
}

static enum ecode
write_summary(struct verify_report *r, enum ecode rc, struct err *e)
{
	const struct os *os = r->records.os;
	autoclean(lines_done) struct lines l = { .os = os, .fd = -1 };
	const struct match_counts *c = &r->result->counts;
	char text[VERIFY_TEXT_BYTES], hex[ID_HEX_SIZE];
	struct id ignored;
	enum ecode got = lines_open(&l, os, r->dir, "verify_summary.txt", e);

	id_hex(&r->result->snapshot_id, hex);
	if (got == E_OK)
		got = buf_printf(&l.text, e,
			"%s %s\nresult: %s\nsnapshot: %s\nagainst: %s\nlevel: %s\n",
			rc == E_OK ? "\xe2\x9c\x93" : "\xe2\x9c\x97", verify_text(r->result, text),
			outcome(rc), hex, r->args->against == NULL ? "the vault" : r->args->against,
			match_level_text(r->args->level));
	for (unsigned i = 0; got == E_OK && i < MATCH_STATUSES; i++)
		got = buf_printf(&l.text, e, "%s: %" PRIu64 "\n", status_word((enum match_status)i),
			c->status[i]);
	return got == E_OK ? lines_close(&l, &ignored, e) : got;
}

enum ecode
verify_report_close(struct verify_report *r, enum ecode rc, struct err *e)
{
	const struct os *os = r->records.os;
	struct id ignored;
	enum ecode got;
	int sys;

	if (r->dir < 0)
		return E_OK;
	got = lines_close(&r->records, &ignored, e);
	if (got == E_OK)
		got = end_toml(r, e);
	if (got == E_OK)
		got = lines_close(&r->toml, &ignored, e);
	if (got == E_OK)
		got = end_json(r, e);
	if (got == E_OK)
		got = lines_close(&r->json, &ignored, e);
	if (got == E_OK)
		got = write_report(r, rc, e);
	if (got == E_OK)
		got = write_summary(r, rc, e);
	sys = got == E_OK ? os->fsync(os, r->dir) : 0;
	if (sys < 0)
		got = io_refusal(e, E_IO, sys, "fsync", r->args->reports);
	return refusal(got, e);
}
