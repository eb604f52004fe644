/*
 * The audit chain: <state>/audit/audit.jsonl, one line an entry, only ever
 * appended to.  Every line names the SHA-256 of the line before it (`prev`) and
 * ends in the SHA-256 of its own text (`sum`); head.json, replaced after each
 * append, names the last one.  A run that changes a vault or a destination
 * writes `begin` before its first change and `end` before its report; a killed
 * run leaves a begin without end.  The run report keeps its end entry's number
 * and digest: a log that was cut together with its head differs from them.
 *
 * What it proves: nobody changed, removed or added entries without rewriting
 * log, head and run reports alike.  There is no key: whoever may write all of
 * them can make up another history (a copy elsewhere is the answer to that).
 * Processes are serialised by the kernel's lock on the log.
 */
#ifndef HF_REPORT_AUDIT_H
#define HF_REPORT_AUDIT_H

#include "base/arena.h"
#include "base/instant.h"
#include "os/os.h"

#define AUDIT_DIR_NAME       "audit"
#define AUDIT_LOG_ID_SIZE    33           /* 32 hex digits and the NUL */
#define AUDIT_LINE_MAX_BYTES (512U << 10) /* argv and texts are cut far below */
#define AUDIT_LOG_MAX_BYTES  (1ULL << 30) /* about a million runs; then it is put aside by hand */
#define AUDIT_LOCK_WAIT_MS   30000        /* an append holds the lock for milliseconds */
#define AUDIT_OPEN_MAX       100000       /* begins without end that are told one by one */

enum audit_event {
	AUDIT_BEGIN,
	AUDIT_END,
	AUDIT_TORN, /* a line cut by a power loss was kept in a file of its own */
	AUDIT_OTHER /* of a later version; read only */
};
struct audit_entry { /* what a caller says; texts without secrets */
	enum audit_event event;
	const char *run_id, *command; /* "key add" */
	const char *const *argv;      /* begin */
	size_t argc;
	const char *vault, *repo_id, *destination; /* NULL: none, or not known */
	enum ecode code;                           /* end: E_OK for success */
	const char *const *snapshots;              /* end: made or restored, full ids */
	size_t snapshot_count;
};
/* Which entry: what the run report keeps. */
struct audit_mark {
	char log[AUDIT_LOG_ID_SIZE]; /* made at random with the first entry */
	uint64_t seq;                /* from 1; 0: no entry */
	struct id digest;            /* of the whole line, its newline not included */
};
/*
 * Append one entry; durable when E_OK.  Heals what an interrupted append left: a whole line is taken into the chain,
 * a torn one is kept as torn-… beside the log and an entry says so.
 * refuses: E_AUDIT_WRITE, E_AUDIT_READ, E_AUDIT_FULL (nothing is in the log); E_AUDIT_BROKEN, E_AUDIT_TAIL (the end of the
 * log is not what head.json says).  After E_AUDIT_WRITE the entry may be there: the next append takes it in.
 */
enum ecode audit_append(const struct os *os, const char *state_dir, const struct audit_entry *entry,
	struct audit_mark *out, struct err *e) must_check;

struct audit_record { /* one entry as read; texts in the arena, "" where absent */
	char log[AUDIT_LOG_ID_SIZE];
	uint64_t seq, uid;
	struct id prev;
	struct instant time;
	enum audit_event event;
	const char *event_text, *run_id, *command, *user, *host;
	const char *vault, *repo_id, *destination, *class_name, *torn_file;
	const char **argv, **snapshots;
	size_t argc, snapshot_count;
	uint64_t argv_left_out, torn_bytes, code;
	uint64_t exit_code;
	struct slice text; /* the line as it stands; points into what was parsed */
};
/* One line without its newline; pure.  E_AUDIT_BROKEN, E_NOMEM, E_LIMIT */
enum ecode audit_parse(const void *line, size_t len, struct arena *a, struct audit_record *out,
	struct err *e) must_check;

struct audit_claim { /* what a run report says of its end entry */
	const char *run_id;
	struct audit_mark mark;
};
#define AUDIT_NAME_BYTES 40
struct audit_open { /* a begin without end */
	char run_id[AUDIT_NAME_BYTES], command[AUDIT_NAME_BYTES];
	struct instant time;
	uint64_t seq;
};
struct audit_summary { /* lists in the arena */
	char log[AUDIT_LOG_ID_SIZE];
	uint64_t entries, bytes;
	struct instant first, last;
	struct audit_open *open; /* oldest first */
	size_t open_count;
	uint64_t open_unlisted;   /* beyond AUDIT_OPEN_MAX */
	uint64_t torn_entries;    /* lines once torn and kept */
	uint64_t torn_untold;     /* kept in a file, but the entry about it was interrupted */
	bool interrupted;         /* the last entry stands, head.json does not know it yet */
	uint64_t torn_tail_bytes; /* a torn line at the end, not yet healed; 0: none */
	uint64_t claims,
		claims_elsewhere; /* reports that agree; reports of logs that were put aside */
};
struct audit_reading {
	/* Called for every entry, oldest first; its arena is emptied before the next.  NULL: only the summary. */
	enum ecode (*each)(void *arg, const struct audit_record *r, struct err *e);
	void *arg;
	const struct audit_claim *claims; /* sorted by seq; may be NULL */
	size_t claim_count;
};
/*
 * Read and prove the whole log.  The summary is filled as far as the proof went, also on refusal.
 * refuses: E_AUDIT_BROKEN (a line changed, missing, moved or foreign), E_AUDIT_TAIL (the log ends before head.json or a run
 * report says), E_AUDIT_READ; what `each` refuses.
 */
enum ecode audit_read(const struct os *os, const char *state_dir, const struct audit_reading *how,
	struct arena *a, struct audit_summary *out, struct err *e) must_check;

#endif
