/*
 * What a drill proved, kept twice: <state>/drills/<run id>.json (0600), and
 * sealed as the note `.drill-<run id>` in the vault.  A record that cannot be
 * read, or lies under another run's name, is counted and told, never believed.
 */
#ifndef HF_ENGINE_DRILL_RECORD_H
#define HF_ENGINE_DRILL_RECORD_H

#include "base/json.h"
#include "engine/session.h"

enum drill_verdict {
	DRILL_PASS,    /* all of the snapshot was reproduced: the only proof there is */
	DRILL_SAMPLED, /* a random part was; the rest was not looked at */
	DRILL_UNKNOWN, /* something was skipped, or the drill could not be finished */
	DRILL_FAIL
};
const char *drill_verdict_text(enum drill_verdict v); /* "pass", "sampled", "unknown", "fail" */

#define DRILL_TEXT_BYTES   200 /* of one text, NUL included; longer ones are cut */
#define DRILL_RECORD_BYTES ((size_t)64 << 10)
/* Records looked at in one place; more are counted as unreadable. */
#define DRILLS_MAX         4096U
/* A proof is old after so long (L-23: a drill every three months). */
#define DRILL_OLD_S        (INT64_C(90) * 86400)
/* … or when so many newer snapshots of the same host and paths have none. */
#define DRILL_BEHIND_MAX   10U

struct drill_record {
	char run_id[NOTE_ID_MAX + 1];
	char host[DRILL_TEXT_BYTES], username[DRILL_TEXT_BYTES];
	char sample[DRILL_TEXT_BYTES]; /* "full", "10%", "files 20" */
	char seed[DRILL_TEXT_BYTES];   /* of the sample; "" */
	char why[DRILL_TEXT_BYTES];    /* "" on success */
	struct id repo_id, snapshot_id;
	struct instant started, snapshot_time;
	uint64_t duration_ms, files, bytes, live_files; /* live: also equal to the live file */
	enum drill_verdict verdict;
	struct id digest; /* over path, outcome, size and pieces of everything compared */
};
/* Into the state directory (NULL: nowhere), durable.  refuses: E_REPORT_WRITE, E_NOMEM */
enum ecode drill_record_keep(const struct os *os, const char *state_dir,
	const struct drill_record *r, struct err *e) must_check;
/* Into the vault, sealed.  A store without notes keeps none.  refuses: those of the store */
enum ecode drill_record_note(
	struct session *s, const struct drill_record *r, struct err *e) must_check;

struct drill_list { /* newest first; memory is the arena's */
	struct drill_record *v;
	size_t n, unreadable;
};
/*
 * Of the vault (s may be NULL: none) and of the state directory (may be NULL), each run once; with a session only those
 * of its vault.  A state directory that cannot be listed counts as one unreadable record.  refuses: E_STORE_READ, E_NOMEM
 */
enum ecode drill_list_load(struct session *s, const struct os *os, const char *state_dir,
	struct arena *a, struct drill_list *out, struct err *e) must_check;
/* The newest record with DRILL_PASS of this snapshot, or NULL. */
const struct drill_record *drill_proof(const struct drill_list *l, const struct id *snapshot);

/* How proofs have aged (L-04). */
struct drill_drift {
	bool any; /* there is a proof of a snapshot that still exists */
	const struct drill_record *newest;
	size_t behind; /* snapshots newer than the one that was proven last */
	bool old;      /* no proof, older than DRILL_OLD_S, or DRILL_BEHIND_MAX snapshots behind */
};
void drill_drift(const struct drill_list *l, const struct snapshot_list *snapshots,
	struct instant now, struct drill_drift *out);

/* The record's text: any bytes.  refuses: E_JSON_*, E_DRILL_FORMAT, E_LIMIT */
enum ecode drill_record_parse(
	const void *json, size_t len, struct drill_record *out, struct err *e) must_check;
void drill_record_put(struct json_out *w, const struct drill_record *r); /* one object */

#endif
