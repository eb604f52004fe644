/*
 * The inside of a restore, shared by restore*.c only.
 *
 * A snapshot's directory is a `struct restore_dir`, whose entries stand in one
 * array in ascending order of names.  Four passes go over them, each on the
 * session's flow: plan (load trees), stage (create, write), verify (list, read
 * again), finish (what only the directories still lack).  Plans live in the
 * arenas of the workers that made them, contents never do.
 */
#ifndef HF_ENGINE_RESTORE_INTERNAL_H
#define HF_ENGINE_RESTORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/repeats.h"
#include "engine/restore.h"
#include "engine/restore_lines.h"
#include "fs/meta.h"
#include "fs/place.h"
#include "fs/space.h"
#include "repo/tree.h"

/* Plans of one worker: at about 200 bytes an entry some 20 million entries. */
#define RESTORE_ARENA_BYTES   ((size_t)1 << 32)
/* Neighbouring blobs of a pack travel together across gaps up to this (format document 11.5). */
#define RESTORE_GAP_BYTES     (1U << 20)
/* One request; half a pack, so that both workers' buffers stay below the memory goal (performance.md). */
#define RESTORE_RANGE_BYTES   (8U << 20)
/* Files written in one task: enough that handing over costs nothing, few enough to share and to stop soon. */
#define RESTORE_RANGE_USES    512
/* Verification of a larger file is shared out in parts of about this size. */
#define RESTORE_VERIFY_BYTES  (UINT64_C(32) << 20)
/* Kept free at the destination beyond what the plan needs: journals, directories that grow. */
#define RESTORE_RESERVE_BYTES (UINT64_C(4) << 20)
/* Lines about one path in the artifact set: measured 370 bytes and five times its path (of 60 bytes, say). */
#define RESTORE_RECORD_BYTES  UINT64_C(670)
#define RESTORE_BLOCK_BYTES   UINT64_C(4096) /* what a file is rounded up to */
#define RESTORE_LINK_BATCH    256

struct restore;
struct restore_dir;
struct restore_item;

/* How a planned path compares with what is at the destination; differences are bits. */
#define LIVE_ABSENT  0U
#define LIVE_THERE   1U
#define LIVE_TYPE    2U
#define LIVE_SIZE    4U
#define LIVE_CONTENT 8U
#define LIVE_TIME    16U
#define LIVE_OWNER   32U
#define LIVE_MODE    64U
#define LIVE_LINK \
	128U /* the snapshot has it as another name of an inode; here it is a file of its own */
#define LIVE_DIFFERS (LIVE_TYPE | LIVE_SIZE | LIVE_CONTENT)

/* What few entries have. */
struct restore_extra {
	const struct meta_xattr *xattrs;
	size_t xattr_count;
	const char *target; /* symlinks; NUL-terminated */
	uint64_t rdev;
	uint64_t inode, device_id; /* links > 1 only, else 0 */
	uint64_t live_ino;  /* of what is at the destination, when that is of this type; else 0 */
	uint64_t live_size; /* of what differs there and is no directory */
	struct instant live_mtime;
	bool live_told;   /* these two are set */
	uint32_t names;   /* names this inode gets; counted at the primary */
	const char *from; /* its path in the snapshot ("/a/b"), where that is another; else NULL */
	uint8_t *
		have; /* of a continued restore: a bit per piece that is in the file already; else NULL */
};

struct restore_item {
	const char *name;        /* NUL-terminated */
	struct restore_dir *dir; /* that holds it */
	enum node_type type;
	uint32_t st_mode; /* permission bits and above, without the type */
	uint32_t uid, gid;
	struct instant mtime, atime;
	uint64_t size;
	const struct id *content;    /* files: blobs; directories: the subtree */
	size_t content_count;        /* 0 for directories */
	struct restore_extra *extra; /* NULL: none */
	union {
		struct restore_dir *child;    /* directories */
		struct restore_item *link_to; /* others: the first name of this inode, or NULL */
	} to;
	uint8_t live; /* LIVE_* */
	bool kept;    /* an earlier run staged it, or some of it, and that was hashed again */
	uint8_t decision; /* enum conflict_rule: SNAPSHOT, LIVE, KEEP_BOTH, or REFUSE while unresolved */
	_Atomic size_t left; /* blobs that are not written yet */
	atomic_bool made;    /* staged whole */
	atomic_bool unlike;  /* the verification found it to be something else */
	atomic_bool damaged,
		skipped; /* skipped: could not be made (device without the privilege) */
};

/* RESTORE_IN_PLACE: what becomes of the entries of a directory. */
enum restore_fate {
	FATE_THERE, /* it is at the destination: each entry by itself */
	FATE_NEW,   /* it, or one above it, is put in place whole */
	FATE_LEFT   /* something else is there and stays */
};
struct restore_dir {
	struct flow_task task; /* first: tasks are cast back */
	struct restore *run;
	struct restore_dir *parent; /* NULL: the root */
	struct restore_item *self;  /* the root's has no name */
	struct restore_item *items;
	size_t count;
	size_t path_len; /* bytes of "/a/b"; 0 for the root */
	uint32_t depth;
	struct restore_dir *next; /* all directories of the worker that planned it */
	uint8_t fate;             /* enum restore_fate */
	bool touched;             /* an entry of it is put */
	atomic_bool wanted;       /* something in it, or it itself, was selected */
	atomic_uint pending;      /* child directories that are not finished */
};

/* One place where one blob belongs. */
struct restore_use {
	uint32_t pack_no, offset, length, ulen;
	uint32_t seq;  /* order of planning, so that equal places sort the same way every time */
	uint32_t blob; /* number within the file */
	struct restore_item *item;
	uint64_t at; /* byte in the file */
};

/* Everything between two bytes of a pack. */
struct restore_range {
	struct flow_task task;
	struct restore *run;
	size_t first, count; /* uses */
	uint64_t start, len; /* bytes in the pack */
};

struct restore_counts {
	uint64_t files, dirs, others, bytes;
};

/* One thread's own things.  The last one belongs to the thread that runs the restore. */
struct restore_worker {
	struct blob_codec *codec;
	struct arena plan;  /* entries, names, tasks */
	struct arena nodes; /* of the tree in hand */
	struct buf scratch, spare, plain,
		path;               /* spare: for another copy, while scratch holds a range */
	struct restore_item *draft; /* entries of the tree in hand */
	size_t draft_count, draft_cap;
	struct restore_dir *dirs;
	const struct restore_dir *open_dir; /* whose descriptor is held; NULL: none */
	int dir_fd;
	struct restore_item *open_file;
	int file_fd;
	struct restore_counts done, verified;
};

struct restore_names;  /* restore_owner.c */
struct restore_only;   /* restore_select.c */
struct restore_policy; /* restore_policy.c */

/* Something at the destination that the plan does not have. */
struct restore_extra_live {
	struct restore_extra_live *next;
	const char *path; /* relative */
	uint32_t st_mode;
	uint64_t size;
};

/* The artifact set of one restore (WC-15…23). */
struct restore_artifacts {
	int fd;            /* its directory; -1: none */
	int journal_fd;    /* execution_journal.jsonl; -1: none */
	const char *path;  /* where it is now */
	bool staged;       /* below the stage: moves with it */
	bool earlier;      /* those of a run that is continued are in the stage, too */
	bool in_tree;      /* its parent directory was made by us inside the tree */
	bool staged_later; /* the table of what was staged is written beside the verification: nothing is taken out of the stage before */
	struct id candidates, conflicts, plan; /* digests */
	struct hasher *hasher;
	pthread_mutex_t journal_lock; /* over the three below, and journal_fd while workers run */
	struct err trouble;           /* of the journal: code E_OK while there is none */
	uint64_t built, built_told;   /* in the stage; as the journal knows it */
	uint64_t tally[3];            /* of the table being written: done, skipped, failed */
	uint64_t staged_paths;        /* candidates that are in the stage */
};

/* Whose the destination's ARTIFACTS_DIR is (D-6). */
enum restore_records {
	RECORDS_NONE,
	RECORDS_OURS,   /* it has the mark, and nothing but runs besides */
	RECORDS_FOREIGN /* somebody's data: never touched */
};

struct restore_dest {
	const char *previous; /* name the replaced tree gets; NULL: nothing is replaced */
	bool noted;           /* LEFT_NOTE was written (restore_left.c) */
	bool resumable;       /* what is needed to continue is in the stage (restore_resume.c) */
	bool old_staged;      /* it could not get that name: it is in the stage */
	const char *path, *parent, *base;   /* cleaned; base is one safe name */
	const char *partial, *partial_path; /* "<base>.partial"; NULL unless it is allowed */
	const char *stage_name;             /* "<base>.holdfast_stage" */
	const char *stage_path;             /* "<dest>.holdfast_stage" */
	const char *run_path;               /* "<dest>.holdfast_stage/<run_id>" */
	int parent_fd, stage_fd, run_fd, root_fd;
	int home_fd; /* directory that holds the stage's, when that is not the parent; else -1 */
	bool inside; /* the stage is in the destination, not beside it */
	bool exists; /* an empty directory, to be replaced */
	enum restore_records records;         /* what its ARTIFACTS_DIR is */
	struct os_meta meta;                  /* of it */
	uint64_t run_dev;                     /* of a stage that is continued */
	bool stage_made, run_made, root_made; /* by this run, and still there */
};

struct restore {
	struct session *s;
	const struct restore_args *args;
	struct restore_result *out;
	struct arena arena; /* of the thread that runs the restore */
	struct restore_dest dest;
	struct place *place;
	struct restore_names *names; /* NULL unless by name */
	struct restore_policy *policy;
	_Atomic uint64_t devices_left;                       /* not restored by choice */
	_Atomic uint64_t kept_files, kept_bytes, kept_space; /* of a stage that is continued */
	struct restore_only *only;                           /* NULL: no list of paths */
	struct instant when;                                 /* of the snapshot */
	uint64_t stripped; /* entries of which --strip-components left no name */
	struct space space;
	bool privileged;               /* runs as root */
	struct restore_worker *worker; /* s->workers + 1 */
	struct restore_dir *root;
	struct restore_dir **dirs; /* wanted ones, parents before children */
	size_t dir_count;
	struct restore_use *uses; /* by pack and offset once sorted */
	size_t use_count;
	struct restore_range *ranges;
	size_t range_count;
	struct restore_item **links; /* second and later names */
	size_t link_count;
	struct restore_counts planned;
	struct restore_counts left;     /* planned, and at the destination already: not staged */
	_Atomic uint64_t planned_items; /* grows while planning */
	struct repeats repeats;         /* the same */
	_Atomic uint64_t damaged, verify_failed, metadata_problems, owner_refused, sockets,
		not_made;
	atomic_bool generic_noted;
	struct place *live; /* the destination, for looking only; NULL: nothing is there */
	struct restore_extra_live *only_live;
	pthread_mutex_t live_lock; /* over only_live, and the result's missing_path */
	_Atomic uint64_t fresh, identical, differing, only_live_count, unresolved;
	struct restore_keep_dir *keep_dirs; /* the last one; parents before */
	uint64_t needed;                    /* bytes at the destination */
	struct id tree;                     /* of the snapshot, or its part */
	const char *sub;                    /* the part; NULL: all of it */
	struct restore_artifacts art;
};

/* ---- restore_parts.c: what every pass needs ---- */
/* Asked between items: E_INTERRUPTED once the listener wants an end. */
enum ecode restore_asked_to_stop(struct restore *r, struct err *e) must_check;
/* "/a/b/name" replaces `out`, NUL-terminated (not counted); name NULL: the directory itself ("" for the root). */
enum ecode restore_path(
	const struct restore_dir *d, const char *name, struct buf *out, struct err *e) must_check;
/* The same without the leading slash, for place_*. */
const char *restore_rel(const struct buf *path);
/* True when the refusal means that the vault lacks something, so that the rest may go on. */
bool restore_is_damage(enum ecode code);
/* Tell one path's problem.  name NULL: the directory itself. */
struct restore_trouble {
	const char *during;
	enum ecode code;
	int sys;
	const char *why;
	bool fatal_for_item;
};
void restore_tell(struct restore *r, const struct restore_dir *d, const char *name,
	const struct restore_trouble *t);
/* The same for an entry that cannot be restored. */
void restore_damage(struct restore *r, const struct restore_dir *d, const char *name,
	enum ecode code, int sys, const char *why);
/* The descriptor of a staged directory, held by the worker until it needs another. */
enum ecode restore_open_dir(struct restore *r, struct restore_worker *w,
	const struct restore_dir *d, int *fd, struct err *e) must_check;
enum ecode restore_open_workers(struct restore *r, struct err *e) must_check;
void restore_close_workers(struct restore *r);
void restore_close_held(struct restore *r);     /* of all workers */
void restore_keep_task(struct flow_task *task); /* drop for tasks that live in an arena */
/* Refusals of writing below the stage become E_STAGE_IO; E_IO_SPACE and others stay. */
enum ecode restore_stage_refusal(enum ecode rc, struct err *e) must_check;

/* ---- restore_plan.c ---- */
/* Load and select everything below `tree`; tells damage, refuses unsafe names. */
enum ecode restore_plan(struct restore *r, const struct id *tree, struct err *e) must_check;

/* A directory of the plan, in the memory of `w`; parent NULL: the root. */
enum ecode restore_dir_add(struct restore *r, struct restore_worker *w, struct restore_dir *parent,
	struct restore_item *self, struct restore_dir **out, struct err *e) must_check;
/* Directories above something kept are needed. */
void restore_want(struct restore_dir *d);

/* ---- restore_select.c: a list of paths ---- */
/* Fine without a list: r->only stays NULL. */
enum ecode restore_only_open(struct restore *r, struct err *e) must_check;
void restore_only_close(struct restore_only **o);
/* *listed: it or something above it is in the list; *above: something below it is. */
void restore_only_ask(
	struct restore_only *o, const char *path, size_t len, bool *listed, bool *above);
/* Every path of the list was met, or E_ONLY_ABSENT, each told. */
enum ecode restore_only_met(struct restore *r, struct err *e) must_check;

/* ---- restore_policy.c: what of the metadata is applied ---- */
enum ecode restore_policy_open(struct restore *r, struct err *e) must_check;
void restore_policy_close(struct restore_policy **p);
/* Owner and mode as they will be. */
void restore_policy_item(
	const struct restore *r, const struct node *node, struct restore_item *item);
bool restore_policy_leaves(struct restore *r, enum node_type type); /* counted */
bool restore_policy_xattr(const struct restore *r, struct slice name);
bool restore_policy_links(const struct restore *r);
bool restore_policy_times(const struct restore *r);
/* LIVE_*: differences of attributes that count in place.  What is not applied is no difference. */
unsigned restore_policy_live(const struct restore *r);
void restore_put_without(struct json_out *w, const struct restore_args *args);

/* ---- restore_map.c: the plan's paths, moved (--map, --strip-components) ---- */
/* Replaces the plan by one with other paths; fine when nothing is to be moved. */
enum ecode restore_map(struct restore *r, struct err *e) must_check;

/* ---- restore_locate.c ---- */
/* Order directories, find hard links, locate every blob, check sizes, count, and compare with the space there is. */
enum ecode restore_locate(struct restore *r, struct err *e) must_check;
/* Once it is decided what stays: the plan without it, and the space for all of it. */
enum ecode restore_relocate(struct restore *r, struct err *e) must_check;
bool restore_is_link(const struct restore_item *item); /* a second or later name */

/* ---- restore_dest.c ---- */
enum ecode restore_dest_check(struct restore *r, struct err *e) must_check; /* writes nothing */
enum ecode restore_stage_make(struct restore *r, struct err *e) must_check;
enum ecode restore_promote(struct restore *r, struct err *e) must_check;
void restore_dest_done(struct restore *r, bool keep_stage);

#define RESTORE_STAGE_ROOT "stage_root"
#define RESTORE_STAGE_INSIDE \
	".holdfast_stage" /* where nothing may be made beside the destination */

/* ---- restore_apart.c ---- */
/* The destination is neither the vault nor in it nor around it, by whatever name: E_DEST_VAULT. */
enum ecode restore_apart(struct restore *r, struct err *e) must_check;

/* ---- restore_swap.c ---- */
/* The name of the previous tree is free.  Fine for the other verbs. */
enum ecode restore_swap_check(struct restore *r, struct err *e) must_check;
/* The stage and the destination change places; the previous tree is kept.  Sets out->promoted. */
enum ecode restore_swap(struct restore *r, struct err *e) must_check;

/* The name of a tree replaced by a run; false when the run's name leaves no room. */
bool restore_previous_name(const char *base, const char *run_id, char *out, size_t size);
/* The name it gets before it is removed. */
bool restore_removing_name(const char *base, const char *run_id, char *out, size_t size);

/* ---- restore_retain.c: old safety sets and previous trees (D-8, DF-13) ---- */
/* At the start of a restore over something; a dry run only tells.  Nothing refuses but a lack of memory. */
enum ecode restore_retain(struct restore *r, struct err *e) must_check;

/* ---- restore_keep.c: what stays of the live tree in a merge (C-02) ---- */
struct restore_keep_dir;
/* Something of the live tree becomes part of the new one. */
bool restore_keeps(const struct restore *r);
/* A directory that both have: it keeps the metadata it has. */
bool restore_dir_stays(const struct restore *r, const struct restore_item *dir);
struct restore_stays {
	uint64_t bytes;   /* by size: the same tree always gives the same plan (D-15) */
	uint64_t taken;   /* by blocks, which depend on what the file system did before */
	uint64_t entries; /* inodes at most */
};
enum ecode restore_keep_measure(
	struct restore *r, struct restore_stays *out, struct err *e) must_check;
enum ecode restore_keep_copy(struct restore *r, struct err *e) must_check;
enum ecode restore_keep_compare(struct restore *r, struct err *e) must_check;
enum ecode restore_keep_finish(struct restore *r, struct err *e) must_check;

/* ---- restore_left.c: what earlier runs left beside the destination ---- */
#define PATH_TEXT_SHOWN 1024 /* of each path in a sentence */
/* Told by notes; nothing is removed, nothing refuses but a lack of memory. */
enum ecode restore_left_look(struct restore *r, struct err *e) must_check;
/* Nothing is at `dest`, for the run ended between its two renames: *aside is where the tree is that was there, NUL included. */
bool restore_left_between(
	const struct os *os, const char *dest, const char *run, struct buf *aside);
/* Before an exchange: which tree is to be replaced. */
enum ecode restore_left_note(struct restore *r, struct err *e) must_check;
void restore_left_forget(struct restore *r);

/* ---- restore_resume.c: the stage of an interrupted restore (IX-48) ---- */
#define RESTORE_STAGE_PLAN "restore_plan.json" /* in the run's directory of the stage */
/* Held with d->run_fd: no two programs build one stage.  E_RESUME_BUSY; places that know no such locks go without. */
enum ecode restore_stage_lock(struct restore *r, struct err *e) must_check;
/* The stage of args->resume becomes this run's: opened, locked, checked, renamed.  E_RESUME_STAGE, E_RESUME_BUSY */
enum ecode restore_stage_take(struct restore *r, struct err *e) must_check;
/* Records of the runs that are continued: nothing but plain files.  Before anything is written among them. */
enum ecode restore_records_check(struct restore *r, struct err *e) must_check;
/* Durable, before the first byte is staged.  Fine without args->resumable. */
enum ecode restore_resume_note(struct restore *r, struct err *e) must_check;
void restore_resume_forget(struct restore *r);
/* The next step of a refusal. */
void restore_resume_tell(struct restore *r, struct err *e);

/* ---- restore_adopt.c ---- */
/* What the earlier run staged: kept where it hashes to the plan, else removed; E_RESUME_FOREIGN.  Fine without args->resume. */
enum ecode restore_adopt(struct restore *r, struct err *e) must_check;
/* This piece is in its file already. */
bool restore_has_piece(const struct restore_item *item, size_t blob);

/* ---- restore_partial.c (D-20) ---- */
/* The name of a partial restore is free.  Fine when none is allowed. */
enum ecode restore_partial_check(struct restore *r, struct err *e) must_check;
/* What cannot be restored whole is taken out of the stage and of the plan. */
enum ecode restore_partial_drop(struct restore *r, struct err *e) must_check;
/* One more for the result's list; the run folder has all of them.  Any thread. */
void restore_partial_missing(struct restore *r, const struct restore_dir *d, const char *name);
/* Where the records are once it is in place. */
enum ecode restore_partial_records(struct restore *r, struct err *e) must_check;

/* ---- restore_in_place.c ---- */
/* Entries that are at the destination already are marked as skipped.  Fine for the other verbs. */
enum ecode restore_in_place_choose(struct restore *r, struct err *e) must_check;
/* Safety set, then name by name.  Sets out->promoted once all of it is in place. */
enum ecode restore_in_place(struct restore *r, struct err *e) must_check;

/* ---- restore_stage.c ---- */
enum ecode restore_stage(struct restore *r, struct err *e) must_check;
/* Directories' own metadata, deepest first; modes that would have hindered the verification. */
enum ecode restore_finish(struct restore *r, struct err *e) must_check;

/* ---- restore_write.c: one entry ---- */
/* Create, write, describe, close: a file of at most one blob. */
enum ecode restore_write_whole(struct restore *r, struct restore_worker *w,
	struct restore_item *item, struct slice data, struct err *e) must_check;
/* Create at full length; parts follow. */
enum ecode restore_write_begin(struct restore *r, struct restore_worker *w,
	struct restore_item *item, struct err *e) must_check;
enum ecode restore_write_part(struct restore *r, struct restore_worker *w,
	const struct restore_use *use, struct slice data, struct err *e) must_check;
enum ecode restore_file_release(
	struct restore *r, struct restore_worker *w, struct err *e) must_check;
/* Symlinks, devices, fifos. */
enum ecode restore_write_other(struct restore *r, struct restore_worker *w,
	struct restore_item *item, struct err *e) must_check;
/* Put the entry's metadata on a descriptor (name NULL) or a name; problems are told, not returned. */
void restore_describe(struct restore *r, const struct restore_item *item, int fd, const char *name);
/* The same for a directory of the destination, which may have attributes of its own: they go. */
void restore_describe_live(struct restore *r, const struct restore_item *item, int fd);
void restore_item_done(struct restore *r, struct restore_worker *w, struct restore_item *item);
/* Its final mode would keep us from reading it again: set after the verification. */
bool restore_mode_is_late(const struct restore *r, const struct restore_item *item);

/* ---- restore_iter.c: every entry of the plan, parents first, names ascending by bytes ---- */
struct restore_iter {
	const struct restore_dir *dir;
	size_t at;
};
void restore_iter_begin(struct restore_iter *it, const struct restore *r);
/* NULL at the end.  The order depends on the snapshot alone (D-15). */
const struct restore_item *restore_iter_next(struct restore_iter *it);

/* ---- restore_live.c: the plan against what is at the destination ---- */
/* Looks at every planned path; nothing is changed.  Unresolved conflicts are counted, not refused. */
/* What is at the destination is not what the snapshot has; in place attributes count, too. */
bool restore_differs(const struct restore *r, const struct restore_item *item);
enum ecode restore_live_compare(struct restore *r, struct err *e) must_check;
/* Are the bytes of an open file from `at` on this piece?  *len: how many it has.  What cannot be read is not. */
enum ecode restore_same_piece(struct restore *r, struct restore_worker *w, int fd, uint64_t at,
	const struct id *piece, uint32_t *len, bool *same, struct err *e) must_check;

/* ---- restore_planfile.c ---- */
/* Every file has one object a candidate. */
struct restore_table {
	const char *name;
	bool sync_later; /* in the stage: the syncfs before the promotion is soon enough */
	enum ecode (*put)(struct restore *r, struct lines *l, const struct restore_item *item,
		uint64_t index, const struct buf *path, struct err *e);
};
/* LINES_NOWHERE: only hashed. */
enum ecode restore_table_write(struct restore *r, int dir, const struct restore_table *t,
	struct id *digest, struct err *e) must_check;
void restore_put_path(struct json_out *w, const char *key, const struct buf *path);
/* ---- restore_apply.c ---- */
#define PLAN_FILE_MAX_BYTES (16U << 20) /* patterns of many options; more is no plan of ours */
#define PLAN_ARENA_BYTES    (64U << 20)
/* The text of a plan; hold->arena is set.  E_PLAN_FILE */
enum ecode restore_plan_take(const struct buf *text, const struct id *vault_id,
	struct restore_approval *hold, struct restore_args *out, struct err *e) must_check;

const char *restore_tree_text(enum restore_tree tree);
const char *restore_verify_text(enum restore_verify verify);
/* The plan alone, in a directory of our choice, whether or not there are artifacts. */
enum ecode artifacts_plan_at(
	struct restore *r, int dir, const char *name, struct err *e) must_check;
/* args->plan_digest is that of this plan, or E_PLAN_CHANGED; nothing is written. */
enum ecode artifacts_approved(struct restore *r, struct err *e) must_check;
/* restore_plan.json, restore_candidates.jsonl, restore_conflicts.jsonl among the artifacts. */
enum ecode artifacts_plan(struct restore *r, struct err *e) must_check;
/* args->plan_file, and the tables beside it; nothing else is touched. */
enum ecode artifacts_plan_file(struct restore *r, struct err *e) must_check;

/* ---- restore_artifacts.c ---- */
#define ARTIFACTS_DIR ".holdfast_restore" /* D-1 */
/* Makes the directory: below the stage once that is there, else where a dry run writes. */
enum ecode artifacts_open(struct restore *r, struct err *e) must_check;
/* stage_copy_results.jsonl, stage_copy_summary.json: what became of every candidate. */
enum ecode artifacts_staged(struct restore *r, enum ecode rc, struct err *e) must_check;
/* stage_verify_results.jsonl, stage_verify_summary.json */
enum ecode artifacts_verified(struct restore *r, enum ecode rc, struct err *e) must_check;
/* restore_summary.json: how it ended, for every end. */
enum ecode artifacts_summary(struct restore *r, enum ecode rc, struct err *e) must_check;
void artifacts_close(struct restore *r);
/* Whose ARTIFACTS_DIR of an open directory is. */
enum ecode artifacts_earlier(
	struct restore *r, int dest, enum restore_records *whose, struct err *e) must_check;
/* Into the stage with those of ours: the destination is then empty. */
enum ecode artifacts_take_over(struct restore *r, struct err *e) must_check;
bool artifacts_in_tree(const struct restore *r);
/* The entry is ours, not the snapshot's: the verification leaves it out. */
bool artifacts_is_own(const struct restore *r, const struct restore_dir *d, const char *name);

/* ---- restore_journal.c: from any thread ---- */
/* A line {ts,event,data}; `text` may be NULL.  Trouble with it is told at the end, by artifacts_close. */
void artifacts_event(struct restore *r, const char *event, const char *text);
/* One more is in the stage: the first, each 250th and the last of them have a line. */
void artifacts_built(struct restore *r);
void artifacts_stage_ended(struct restore *r, enum ecode rc);

/* ---- restore_verify.c ---- */
enum ecode restore_verify(struct restore *r, struct err *e) must_check;

/* ---- restore_owner.c: names to numbers, as this machine knows them ---- */
enum ecode restore_names_open(
	const struct os *os, struct restore_names **out, struct err *e) must_check;
void restore_names_close(struct restore_names **n);
/* `number` itself when the name is empty or unknown.  Any thread. */
uint32_t restore_user_number(struct restore_names *n, struct slice name, uint32_t number);
uint32_t restore_group_number(struct restore_names *n, struct slice name, uint32_t number);
/* Names that could not be asked for: -errno of the first, else 0. */
int restore_names_trouble(const struct restore_names *n);

#endif
