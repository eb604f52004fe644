/*
 * Restore into a destination that is absent or empty: plan → stage → verify →
 * promote.  The stage is `<dest>.holdfast_stage/<run_id>/stage_root`, on the
 * destination's file system; one rename puts it in place.  Before that rename
 * the destination is untouched; a refusal says where the stage is.
 */
#ifndef HF_ENGINE_RESTORE_H
#define HF_ENGINE_RESTORE_H

#include "engine/ownrecord.h"
#include "engine/session.h"
#include "fs/rules.h"

enum restore_verify {
	VERIFY_HASH,
	VERIFY_SIZE,
	VERIFY_NONE
};
/* D-5: one engine, three ways to put a verified tree in place. */
enum restore_kind {
	RESTORE_EMPTY,   /* the destination is absent or empty */
	RESTORE_SWAP,    /* the staged tree is exchanged with the destination, which is kept */
	RESTORE_IN_PLACE /* safety set first, then file by file */
};
enum restore_tree {   /* what the destination holds afterwards (C-02) */
	TREE_EXACT,   /* the snapshot and nothing else */
	TREE_MERGE,   /* the snapshot over what is there */
	TREE_ADD_ONLY /* only what is not there yet */
};
/* What happens to a path that is at the destination and differs. */
enum conflict_rule {
	CONFLICT_REFUSE, /* unresolved: nothing is put in place (exit 38) */
	CONFLICT_SNAPSHOT,
	CONFLICT_LIVE,
	CONFLICT_NEWER,
	CONFLICT_LARGER,
	CONFLICT_KEEP_BOTH, /* the live one moves to `name.live-<run id>` */
	CONFLICT_ASK
};
const char *conflict_rule_text(enum conflict_rule rule); /* "keep-both" */
bool conflict_rule_named(const char *name, enum conflict_rule *out);
/* The event of a note: an earlier restore to this destination left something there that a person must look at. */
#define RESTORE_NOTE_LEFT  "restore_left_over"
/* … something older of this destination stays, though retention would have removed it, and why. */
#define RESTORE_NOTE_STAYS "retention_stays"
/* … and what it removed, or in a dry run would remove: told in the report, too. */
#define RESTORE_NOTE_GONE  "retention_removed"
#define RESTORE_NOTE_GOES  "retention_would_remove"
#define RESTORE_NOTE_KEPT  "retention_waits"
/* … the name service could not be asked: owners kept their numbers. */
#define RESTORE_NOTE_NAMES "names_not_asked"
/* A path of the snapshot that goes elsewhere below the destination; what is below it goes with it. */
struct restore_move {
	const char *from, *to;
};
/* Kinds of metadata that are not applied (D-14). */
struct restore_without {
	bool owner, mode, times, xattrs, acls, hardlinks, devices;
	bool setid; /* set-user-ID, set-group-ID, file capabilities */
};
/* The member of this name, or NULL. */
bool *restore_without_named(struct restore_without *w, const char *name);
struct restore_args {
	const char *snapshot;                 /* "latest", id, "id:sub/folder" */
	const struct snapshot_filter *filter; /* may be NULL */
	const struct instant *at; /* with "latest": the newest that is not younger; NULL: now */
	const char *dest;
	const char *run_id;
	const struct rules *includes,
		*excludes; /* may be NULL; matched against the path in the snapshot */
	/* further: which of the paths that are no directories; any thread; NULL: all of them */
	bool (*wanted)(void *arg, const char *path, size_t len);
	void *wanted_arg;
	const char *const *only; /* these paths and what is below them; each must be there */
	size_t only_count;
	size_t strip; /* leading names taken off every path that no move is about */
	const struct restore_move *moves; /* the longest `from` wins */
	size_t move_count;
	bool dry_run;
	bool sparse; /* leave holes for runs of zeros */
	bool ownership_by_name;
	struct restore_without without;
	bool metadata_auto;           /* not root: without what only root can apply */
	bool allow_setid;             /* also where the owner is not the recorded one */
	const char *const *owner_map; /* "FROM:TO", "group:FROM:TO"; the first that fits */
	size_t owner_map_count;
	bool strict_metadata; /* an attribute that cannot be applied refuses (nothing promoted) */
	enum restore_verify verify;
	enum restore_kind kind;
	enum restore_tree tree;
	const struct rules *choices;            /* globs; the last that matches decides */
	const enum conflict_rule *choice_rules; /* what each of them says; parallel to choices */
	/* CONFLICT_ASK; from any thread; NULL: nobody is there, which is CONFLICT_REFUSE */
	enum conflict_rule (*ask)(void *arg, const char *path);
	void *ask_arg;
	/*
	 * The tree need not outlive the run that reads it (a drill's): nothing waits for the medium.  Its parent was made for
	 * it: not a link, and nobody else's (E_DEST_PARENT).
	 */
	bool passing;
	/* WC-15…23: write the artifact set; where: see restore_artifacts.c */
	bool artifacts;
	const char *artifacts_dir; /* NULL: below the destination */
	const char
		*fallback_dir; /* when the snapshot has its own thing of that name; may be NULL */
	/* RESTORE_IN_PLACE: where safety sets go; NULL: none is made (D-23).  home, state_dir may be NULL */
	const char *safety_dir, *home, *state_dir;
	const char *source; /* told in the safety set's manifest; NULL: the snapshot's name */
	/* RESTORE_SWAP, RESTORE_IN_PLACE: so many safety sets, and so many previous trees of this destination, stay when this
	 * restore begins (D-8); 0: all of them */
	unsigned max_backups;
	const char *plan_file;   /* write the plan here and stop (as dry_run); NULL: not asked */
	const char *plan_digest; /* hex; the plan must have it, or E_PLAN_CHANGED; NULL: any */
	/* IX-48: the stage keeps what restore_resume_load() needs; not for RESTORE_IN_PLACE, which is repeated instead */
	bool resumable;
	const char
		*resume; /* the run whose stage is continued, with its plan's digest; NULL: none */
	/* D-20, RESTORE_EMPTY: what the vault lacks is left out, and the rest goes to `<dest>.partial` */
	bool allow_partial;
};
#define RESTORE_MISSING_TOLD 25 /* D-20 */
struct restore_result {
	struct id snapshot_id;
	enum completeness completeness;      /* what the snapshot says of itself */
	uint64_t lacking;                    /* paths it says it lacks */
	uint64_t files, dirs, others, bytes; /* planned = done on success */
	uint64_t verified_files, verified_bytes;
	uint64_t metadata_problems;
	uint64_t sockets_skipped;
	/* against what is at the destination; zero for RESTORE_EMPTY */
	uint64_t fresh, identical, differing, only_live, unresolved;
	uint64_t needed_bytes, estimated_s;
	struct id plan_digest; /* of restore_plan.json without its time */
	const char *
		previous; /* where the tree that was replaced is now, or NULL; owned by the result */
	/* RESTORE_IN_PLACE: names that changed hands, those of them that something had before; the safety set and its copies */
	uint64_t put_paths, replaced_paths, safety_files;
	const char *safety;    /* NULL: nothing needed one; owned by the result */
	const char *artifacts; /* directory they ended up in, or NULL; owned by the result */
	const char
		*stage; /* kept stage directory after a refusal, else NULL; owned by the result */
	uint64_t kept_files, kept_bytes; /* staged by the run that is continued, and hashed again */
	uint64_t missing;                /* paths that a partial restore left out */
	const char *missing_path[RESTORE_MISSING_TOLD]; /* the first of them; NULL: no more */
	const char *partial; /* where it is; NULL: it is none; owned by the result */
	const char *
		*retired; /* what retention removed, or in a dry run would; owned by the result */
	size_t retired_count;
	bool promoted;
};
/*
 * refuses: E_STRICT_VERIFY, E_DEST_* (before the first byte), E_PATH_UNSAFE, E_RESTORE_DAMAGED, E_STAGE_IO, E_STAGE_VERIFY, E_PROMOTE,
 * E_NOTHING_MATCHED, E_SUBPATH_ABSENT, E_SNAPSHOT_*, E_INTERRUPTED.
 * Restoring as non-root: owner refusals (EPERM) are counted, reported once as a note, and are not a failure.
 */
enum ecode restore_run(struct session *s, const struct restore_args *args,
	struct restore_result *out, struct err *e) must_check;
void restore_result_done(struct restore_result *r);

const char *restore_kind_text(enum restore_kind kind); /* "restore-swap" */

/*
 * A plan that was written with plan_file or by a dry run, to be carried out: fills what decides about it (snapshot,
 * dest, kind, tree, verify, patterns, rules for conflicts, digest); texts and rules live in `hold`.  E_PLAN_FILE when it is not a plan, was
 * edited, or is of another vault than `vault_id` (may be NULL).
 */
struct restore_approval {
	struct arena arena;
	struct rules *includes, *excludes, *choices;
};
enum ecode restore_plan_load(const struct os *os, const char *path, const struct id *vault_id,
	struct restore_approval *hold, struct restore_args *out, struct err *e) must_check;
void restore_approval_done(struct restore_approval *hold);

/*
 * The plan that an interrupted restore left in its stage at `<dest>.holdfast_stage/<run>`: fills `out` as
 * restore_plan_load() does, and what makes it a continuation.  `digest` (hex, may be NULL) is what the run's own record
 * says of its plan.  The stage is not trusted: nothing is followed, and only a plan for this place and run is taken.
 * refuses: E_RESUME_STAGE
 */
enum ecode restore_resume_load(const struct os *os, const char *dest, const char *run,
	const char *digest, struct restore_approval *hold, struct restore_args *out,
	struct err *e) must_check;
struct restore_resume_ask {
	const char *run_id;
	const char *state_dir; /* where this machine's runs are recorded; NULL: nowhere */
	const char *dest;      /* from the root; NULL: as the run's record says */
};
/*
 * The same, for a run that is known by its name: its record says where the stage is, and what its plan was.
 * refuses: E_RESUME_STAGE (the next step names the run that has the stage now), E_REPORT_READ, E_NOMEM
 */
enum ecode restore_resume_find(const struct os *os, const struct restore_resume_ask *ask,
	struct arena *a, struct restore_approval *hold, struct restore_args *out,
	struct err *e) must_check;
/* Is there a stage of this run that can be continued?  Only looks; what it says of itself is not read.  False between two renames of a promotion. */
bool restore_resume_there(const struct os *os, const char *dest, const char *run);
#define RESTORE_STAGE_SUFFIX ".holdfast_stage" /* D-1 */
/* In args->fallback_dir: the digest of the run's plan, 64 digits and a line feed. */
#define RESTORE_DIGEST_NAME  "restore_plan.sha256"

#endif
