/* run_report.json: the fields of docs/run-report.schema.json, in its order (catalogue B1, refusals.md, DF-31). */
#include "report/runparts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/io.h"

#define SCHEMA_VERSION  "1.0.0"
#define PROC_STATUS_MAX (64U << 10) /* /proc/self/status is about 1.5 KiB */
#define ARTIFACT_BYTES  64

static void
put_texts(struct json_out *w, const char *key, const char *const *v, size_t n)
{
	json_put_key(w, key);
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_str(w, v[i]);
	json_close_array(w);
}

static void
put_command(struct json_out *w, const struct run *r)
{
	json_put_key(w, "command");
	json_open_object(w);
	put_texts(w, "argv", r->args.argv, r->args.argc);
	json_member_str(w, "version", r->args.version);
	json_close_object(w);
}

static void
put_paths(struct json_out *w, const struct run_result *result)
{
	json_put_key(w, "paths");
	json_open_object(w);
	json_member_str(w, "source", result->source);
	json_member_str(w, "target", result->target);
	json_close_object(w);
}

static void
put_counts(struct json_out *w, const struct run_counts *c)
{
	json_put_key(w, "counts");
	json_open_object(w);
	json_member_u64(w, "scannedFiles", c->scanned_files);
	json_member_u64(w, "selectedFiles", c->selected_files);
	json_member_u64(w, "uploadedFiles", c->uploaded_files);
	json_member_u64(w, "downloadedFiles", c->downloaded_files);
	json_member_u64(w, "failedFiles", c->failed_files);
	json_member_u64(w, "verifiedFiles", c->verified_files);
	json_member_u64(w, "verifyFailedFiles", c->verify_failed_files);
	json_member_u64(w, "deletedRemoteFiles", c->deleted_remote_files);
	json_member_u64(w, "retriedOperations", c->retried_operations);
	json_close_object(w);
}

static void
put_artifacts(struct json_out *w, const struct run *r, const struct run_result *result)
{
	char name[ARTIFACT_BYTES + ID_HEX_SIZE];

	json_put_key(w, "artifacts");
	json_open_object(w);
	(void)snprintf(name, sizeof(name), "snapshots/%s",
		result->snapshot_id == NULL ? "" : result->snapshot_id);
	json_member_str(w, "manifestPath",
		result->snapshot_id == NULL ? NULL : name); /* inside the vault */
	json_member_str(w, "logPath", RUN_JOURNAL_NAME);
	json_member_str(w, "reportPath", RUN_REPORT_NAME);
	for (unsigned i = 0; i < RUN_LISTS; i++) {
		if (r->roll[i].fd < 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s.jsonl", run_list_name((enum run_list)i));
		json_member_str(w, run_list_name((enum run_list)i), name);
	}
	json_close_object(w);
}

static void
put_bytes(struct json_out *w, const struct run_result *result)
{
	json_put_key(w, "bytes");
	json_open_object(w);
	json_member_u64(w, "read", result->bytes_read);
	json_member_u64(w, "added", result->bytes_added);
	json_member_u64(w, "stored", result->bytes_stored);
	json_member_u64(w, "sent", result->bytes_sent);
	json_member_u64(w, "received", result->bytes_received);
	json_close_object(w);
}

/* The lists' first entries, and how many there were. */
static void
put_lists(struct json_out *w, const struct run *r)
{
	for (unsigned i = 0; i < RUN_LISTS; i++) {
		json_put_key(w, run_list_name((enum run_list)i));
		json_open_array(w);
		if (r->roll[i].head.len > 0)
			json_put_raw(w, r->roll[i].head.p, r->roll[i].head.len);
		json_close_array(w);
	}
	json_put_key(w, "list_totals");
	json_open_object(w);
	for (unsigned i = 0; i < RUN_LISTS; i++)
		json_member_u64(w, run_list_name((enum run_list)i), r->roll[i].total);
	json_close_object(w);
}

static void
put_warnings(struct json_out *w, const struct run *r, const struct run_result *result)
{
	char text[ERR_DETAIL_BYTES + 64];

	json_put_key(w, "warnings");
	json_open_array(w);
	for (size_t i = 0; i < result->warning_count; i++)
		json_put_str(w, result->warnings[i]);
	if (r->trouble.code != E_OK) {
		(void)snprintf(text, sizeof(text), "the journal or a list is incomplete: %s",
			r->trouble.detail);
		json_put_str(w, text);
	}
	json_close_array(w);
}

/* The kernel's own high-water mark, in KiB; 0 when it is not told. */
static uint64_t
peak_rss_bytes(const struct os *os)
{
	autoclean(buf_done) struct buf text = buf_limit(PROC_STATUS_MAX);
	const char *at;

	if (io_read_file(os, AT_FDCWD, "/proc/self/status", &text, NULL) != E_OK)
		return 0;
	if (buf_add_byte(&text, 0, NULL) != E_OK)
		return 0;
	at = strstr((const char *)text.p, "VmHWM:");
	return at == NULL ? 0 : strtoull(at + 6, NULL, 10) * 1024;
}

static void
put_head(struct json_out *w, const struct run *r, const struct run_result *result)
{
	uint64_t spent_ns = r->os->monotonic_ns(r->os) - r->started_ns;

	json_member_str(w, "schemaVersion", SCHEMA_VERSION);
	json_member_str(w, "runId", r->id);
	json_member_str(w, "mode", r->args.mode);
	json_member_str(w, "status", result->status);
	json_member_time(w, "startedAt", r->started);
	json_member_time(w, "finishedAt", r->os->wall(r->os));
	json_member_u64(w, "durationMs", spent_ns / 1000000);
	put_command(w, r);
	put_paths(w, result);
	put_counts(w, &result->counts);
}

static void
put_audit(struct json_out *w, const struct audit_mark *mark)
{
	json_put_key(w, "audit");
	if (mark == NULL) {
		json_put_null(w);
		return;
	}
	json_open_object(w);
	json_member_str(w, "log", mark->log);
	json_member_u64(w, "seq", mark->seq);
	json_member_id(w, "digest", &mark->digest);
	json_close_object(w);
}

static void
put_outcome(struct json_out *w, const struct run *r, const struct run_result *result)
{
	const struct err_row *row = result->refusal == NULL ? NULL : err_row(result->refusal->code);

	json_put_key(w, "exitCode");
	json_put_i64(w, row == NULL ? 0 : (int64_t)row->class);
	json_member_str(w, "failureCode", row == NULL ? "none" : eclass_name(row->class));
	json_member_str(w, "snapshotId", result->snapshot_id);
	json_member_str(w, "vault", r->args.vault);
	json_member_str(w, "repositoryId", result->repo_id);
	put_audit(w, result->audit);
	json_put_key(w, "refusal");
	if (row == NULL)
		json_put_null(w);
	else
		refusal_json(w, result->refusal, r->id);
}

enum ecode
run_record(struct run *r, const struct run_result *result, struct buf *out, struct err *e)
{
	struct json_out w;
	enum ecode rc;

	(void)pthread_mutex_lock(&r->lock);
	json_begin(&w, out);
	json_open_object(&w);
	put_head(&w, r, result);
	put_outcome(&w, r, result);
	put_artifacts(&w, r, result);
	put_warnings(&w, r, result);
	put_lists(&w, r);
	put_texts(&w, "safety_measures", result->safety_measures, result->safety_count);
	json_put_key(&w, "retries");
	json_open_object(&w);
	json_member_u64(&w, "store", result->counts.retried_operations);
	json_close_object(&w);
	put_bytes(&w, result);
	json_member_u64(&w, "peak_rss_bytes", peak_rss_bytes(r->os));
	json_close_object(&w);
	rc = json_done(&w, e);
	(void)pthread_mutex_unlock(&r->lock);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}
