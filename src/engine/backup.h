/*
 * Backup: targets → blobs, trees → packs, indexes → one snapshot (format
 * document 6.9, 11.2-11.4).  The order of publication is the promise: a
 * refusal or a crash anywhere leaves every earlier snapshot as it was and no
 * new one (invariants I2, I3).
 */
#ifndef HF_ENGINE_BACKUP_H
#define HF_ENGINE_BACKUP_H

#include "engine/session.h"
#include "fs/rules.h"

enum on_unreadable {
	UNREADABLE_REFUSE,
	UNREADABLE_RECORD
}; /* D-7 */

/* What becomes of symbolic links (D-12) */
enum links {
	LINKS_ARCHIVE, /* saved as links */
	LINKS_SKIP,    /* left out */
	LINKS_FOLLOW   /* what they lead to, within their own source, in their place */
};

/* The sanity band of every source (L-21); 0 switches a part off. */
struct sanity_band {
	uint64_t min_files, min_bytes;
	unsigned max_shrink_pct; /* against the parent, of files or bytes */
};
#define SANITY_SHRINK_PCT 50 /* the default of max_shrink_pct (catalogue L-21) */
enum capacity_mode {
	CAPACITY_REFUSE, /* estimate above the free space: refused before the first byte (DV-26) */
	CAPACITY_WATCH   /* only the check of every object before it is written */
};
/* When something could not be read and somebody is there to ask (DF-33). */
enum recover_answer {
	RECOVER_ABORT,
	RECOVER_SKIP, /* as UNREADABLE_RECORD, for this run */
	RECOVER_RETRY /* only what can succeed is read again */
};
#define RECOVER_LISTED_MAX 10
#define RECOVER_ROUNDS_MAX \
	10 /* somebody who mends things needs a few; a program that says yes for ever is stopped */
struct recover_path {
	const char *path, *reason;
	bool can_retry;
};
struct recover_question {
	uint64_t done, failed, can_retry; /* files; paths */
	unsigned round;                   /* 1: first time asked */
	bool may_retry;                   /* else RECOVER_RETRY is RECOVER_ABORT */
	const struct recover_path *listed;
	size_t listed_count;
};
struct exclude_if_present {
	const char *name;   /* file that marks a directory */
	const char *header; /* it must begin with this; NULL: any content */
};
struct backup_args {
	const char *const *targets; /* as typed */
	size_t target_count;
	/* stdin: one file of this name from `stdin_fd` instead of targets; NULL when not used */
	const char *stdin_name;
	int stdin_fd;
	char *const *stdin_command; /* run it and take its output; its failure means no snapshot */
	char *const *stdin_env;     /* its environment; NULL: a minimal one */

	const struct rules *excludes;     /* may be NULL */
	const char *const *exclude_texts; /* for the snapshot's `excludes` */
	size_t exclude_text_count;
	const struct exclude_if_present *if_present;
	size_t if_present_count;
	uint64_t exclude_larger_than; /* bytes; 0: off */
	bool one_file_system;
	enum links links;

	const char *const *tags;
	size_t tag_count;
	const char *host;     /* NULL: from the system */
	const char *username; /* NULL: from the system */
	bool time_given;
	struct instant time;
	const char *parent; /* id text; NULL: chosen */
	bool force;         /* no parent */
	bool dry_run, with_atime, ignore_ctime, ignore_inode, skip_if_unchanged;
	bool count_ahead; /* a thread counts what is to come, for an ETA; not in the serial twin */
	enum on_unreadable on_unreadable;
	uint32_t pack_target_bytes; /* 0: default */
	struct sanity_band band;
	const char *accept_shrink; /* token of an E_SRC_SHRUNK refusal; may be NULL */
	bool accept_clock;         /* go on although the clock is far from the newest snapshot */
	enum capacity_mode capacity;
	enum commit_proof verify_after;
	uint64_t checkpoint_bytes; /* read since the last one; 0: CHECKPOINT_BYTES */
	unsigned checkpoint_s;     /* 0: CHECKPOINT_S */
	bool no_resume;            /* do not continue from an interrupted run */
	/* asked from the thread that called backup_run, under UNREADABLE_REFUSE only; NULL: nobody is there, never asked */
	enum recover_answer (*recover)(void *arg, const struct recover_question *q);
	void *recover_arg;
	const char *state_dir;       /* health history and checkpoints; NULL: none is kept */
	const char *program_version; /* "holdfast 0.1.0" */
	const char *run_id;          /* for the snapshot's own record; may be NULL */
};
/* What guarded this run, in words for its report: only what really ran. */
#define BACKUP_MEASURES_MAX  16U
#define BACKUP_MEASURE_BYTES 160U /* NUL included */
struct backup_measures {
	unsigned n;
	char text[BACKUP_MEASURES_MAX][BACKUP_MEASURE_BYTES];
};
/* What one rule left out (D-13); a longer text is cut. */
#define BACKUP_RULES_TOLD 16
struct backup_excluded {
	char rule[128];
	uint64_t count, bytes;
};
struct backup_result {
	bool snapshot_made; /* false: dry run, skipped, or refused */
	struct id snapshot_id, tree;
	bool has_parent;
	struct id parent;
	struct snapshot_summary summary;
	struct commit_totals totals;
	uint64_t unreadable, changed_while_read, vanished, sockets_skipped, excluded;
	uint64_t links_kept, links_followed, links_left_out;
	uint64_t bytes_read;
	uint64_t excluded_bytes; /* of files; what lies in excluded directories is not looked at */
	struct backup_excluded
		by_rule[BACKUP_RULES_TOLD]; /* the first rules that left something out */
	size_t rules_told, rules_used;
	char continued_from[NOTE_ID_MAX + 1]; /* run id; "": from none */
	uint64_t files_reused, bytes_reused;  /* finished by it, unchanged, and not read again */
	uint64_t checkpoints;                 /* taken by this run */
	struct backup_measures measures;
};
/*
 * refuses: E_SRC_NONE, E_SRC_MISSING (none of the targets is there), E_SRC_UNREADABLE (after everything readable was stored, no snapshot), E_SRC_OVERLAP,
 * E_EMPTY_SNAPSHOT, E_STDIN_COMMAND, E_INTERRUPTED, those of commit and of health_gate.  E_PARTIAL: the snapshot was
 * made (UNREADABLE_RECORD).  E_PROOF: what was stored is not there; no snapshot, or (snapshot_made) its record is damaged.
 * The session holds a shared lock (none for a dry run).  Loads the index itself.
 */
enum ecode backup_run(struct session *s, const struct backup_args *args, struct backup_result *out,
	struct err *e) must_check;

#endif
