/* What the audit chain's files share.  Internal to report/. */
#ifndef HF_REPORT_AUDITPARTS_H
#define HF_REPORT_AUDITPARTS_H

#include "base/json.h"
#include "crypto/hash.h"
#include "report/audit.h"

#define AUDIT_LOG_NAME  "audit.jsonl"
#define AUDIT_HEAD_NAME "head.json"

/* The log, open and locked, up to the last entry that head.json knows (or one that an interrupted append left). */
struct audit_log {
	const struct os *os;
	int dir, fd; /* -1: absent */
	struct hasher *hasher;
	struct audit_mark last; /* seq 0: no entry yet; log "" then */
	uint64_t bytes;         /* where the last entry's line ends */
	uint64_t size;          /* of the file when it was locked */
	struct buf beyond;      /* what lies behind it */
	bool has_head;
};
enum audit_beyond {
	BEYOND_NOTHING,
	BEYOND_ENTRY, /* one whole entry that follows: an append that did not come to its head */
	BEYOND_TORN   /* no entry and no foreign line: a write that a power cut ended */
};
/* Read head.json and the end of the log, compare them and judge what lies behind.  The log is locked already. */
enum ecode audit_end(struct audit_log *g, enum audit_beyond *beyond, struct err *e) must_check;
/* Open directory and log for reading, lock shared.  g->fd stays -1 where there is none. */
enum ecode audit_open_reading(struct audit_log *g, const char *state_dir, struct err *e) must_check;
void audit_log_done(struct audit_log *g); /* lets go of the lock; fine on { .dir = -1, .fd = -1 } */
/* The step that a refusal of the chain needs: how to put it aside. */
void audit_note_aside(const struct audit_log *g, const char *state_dir, struct err *e);

/* auditline.c: one entry's line without newline.  `place` gives log, prev and seq (last of the chain). */
struct audit_line {
	const struct audit_entry *entry;
	const char *torn_file; /* AUDIT_TORN only */
	uint64_t torn_bytes;
	const struct id *torn_digest;
};
enum ecode audit_line_make(struct audit_log *g, const struct audit_line *what, struct buf *out,
	struct err *e) must_check;
/* The mark of a parsed line. */
struct audit_mark audit_mark_of(struct audit_log *g, const struct audit_record *r);
/* A JSON string into the arena, NUL-terminated; a NUL inside refuses. */
bool audit_take_text(struct json *j, struct arena *a, const char **out) must_check;
bool audit_take_log(struct json *j, char out[static AUDIT_LOG_ID_SIZE]) must_check;
bool audit_take_id(struct json *j, struct id *out) must_check;

#endif
