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
	uint32_t pack_target_bytes;  /* 0: default */
	const char *program_version; /* "holdfast 0.1.0" */
	const char *run_id;          /* for the snapshot's own record; may be NULL */
};
struct backup_result {
	bool snapshot_made; /* false: dry run, skipped, or refused */
	struct id snapshot_id, tree;
	bool has_parent;
	struct id parent;
	struct snapshot_summary summary;
	struct commit_totals totals;
	uint64_t unreadable, changed_while_read, vanished, sockets_skipped, excluded;
	uint64_t bytes_read;
};
/*
 * refuses: E_SRC_NONE, E_SRC_MISSING (none of the targets is there), E_SRC_UNREADABLE (after everything readable was stored, no snapshot), E_SRC_OVERLAP,
 * E_EMPTY_SNAPSHOT, E_STDIN_COMMAND, E_INTERRUPTED, those of commit.  E_PARTIAL: the snapshot was made (UNREADABLE_RECORD).
 * The session holds a shared lock (none for a dry run).  Loads the index itself.
 */
enum ecode backup_run(struct session *s, const struct backup_args *args, struct backup_result *out,
	struct err *e) must_check;

#endif
