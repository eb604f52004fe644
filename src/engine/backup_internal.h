/*
 * The inside of a backup, shared by backup*.c only.
 *
 * A directory is a `struct dir_job`.  Its task lists it, compares each entry
 * with the parent snapshot's tree and hands file contents on in batches.  When
 * the last of its children is known, whoever finished that child writes the
 * directory's tree blob and tells the directory above: bottom-up, no waiting.
 */
#ifndef HF_ENGINE_BACKUP_INTERNAL_H
#define HF_ENGINE_BACKUP_INTERNAL_H

#include "base/map.h"
#include "base/pulse.h"
#include "engine/backup.h"
#include "engine/incomplete.h"
#include "fs/meta.h"
#include "fs/mounts.h"
#include "fs/walk.h"
#include "repo/reader.h"
#include "repo/tree.h"
#include <pthread.h>
#include <stdatomic.h>

/* A file up to this size is read, cut and stored by one worker; above, its chunks are shared out. */
#define BACKUP_SPREAD_BYTES    (4U << 20)
/* Files that travel together: enough that handing over costs nothing, few enough to share. */
#define BACKUP_BATCH_FILES     64
#define BACKUP_BATCH_BYTES     (1U << 20)
/* Descriptors of directories are kept down to this depth; deeper ones are reopened from there (RLIMIT_NOFILE). */
#define BACKUP_HELD_DEPTH      128
/* How often a file that changes while it is read is read again. */
#define BACKUP_CHANGE_RETRIES  2
/* Names and nodes of one directory; 10 million entries of 100 bytes. */
#define BACKUP_DIR_ARENA_BYTES ((size_t)1 << 32)
/* One read call for files larger than a chunk's minimum. */
#define BACKUP_READ_BYTES      (1U << 20)

/* Memory of shared-out chunks kept for the next ones: as many as usually travel, of the usual size. */
#define BACKUP_SPARES      6
#define BACKUP_SPARE_BYTES ((size_t)4 << 20)

struct vnode; /* backup_targets.c */

enum child_state {
	CHILD_PENDING,
	CHILD_DONE,
	CHILD_DROPPED
};

/* One entry of a directory on its way into the tree. */
struct child {
	const char *name; /* in the snapshot; NUL-terminated, in the job's arena */
	const char *
		open_name; /* for opening relative to the job's descriptor; a whole path below a vnode */
	const char *abs_path;      /* only below a vnode: where the target really is */
	struct os_meta meta;       /* as listed */
	const struct node *prev;   /* the parent snapshot's node of this name, or NULL */
	const struct node *done;   /* the same in the tree of finished work, or NULL */
	const struct vnode *vnode; /* an intermediate directory above targets, or NULL */
	atomic_int
		state; /* enum child_state; DONE is set after the node is whole, which then stays as it is */
	struct source *source; /* of a target; else the job's */
	bool explicit_target;
	bool contents_excluded; /* a directory on another device */
	bool followed;          /* what a link led to: open_name is its real path */
	bool left_out;          /* a link, by LINKS_SKIP */
	bool was_read;
	uint64_t data_added, data_stored; /* bytes of fresh blobs: plain, sealed */
	struct node node;
};

struct spread; /* backup_file.c: a large file whose chunks are shared out */

struct file_batch {
	struct flow_task task;
	struct dir_job *job;
	struct file_batch *next; /* the job's list, for release */
	struct arena arena;
	struct spread *spreads; /* released with the batch */
	uint32_t n;
	uint32_t child[BACKUP_BATCH_FILES]; /* numbers within the job */
};

/* A directory as an earlier tree has it. */
struct older {
	struct id tree;
	bool has_tree;
	struct buf text;
	struct node *v; /* in the job's arena, slices into the text */
	size_t n;
	bool flawed; /* not canonical: never reused as it is */
};

struct dir_job {
	struct flow_task task;
	struct backup *b;
	struct dir_job *up; /* NULL for the root */
	uint32_t up_child;  /* our number there */
	unsigned depth;
	const char *path;      /* absolute, for messages and patterns; in our arena */
	const char *snap_path; /* in the snapshot, "/" first */
	const struct vnode
		*vnode; /* a directory above targets: children come from here, fd is AT_FDCWD */
	int fd;         /* -1: not open (any more) */
	atomic_uint
		pins; /* users of fd: tasks of this job, and descendants that open relative to it */
	struct dir_job *
		anchor; /* ourselves or the nearest above whose descriptor is kept for descendants */
	struct source *source;                 /* whose content this is; NULL above targets */
	struct dir_job *live_next, *live_prev; /* the backup's list, for release after a refusal */
	uint64_t dev;                          /* device of the target above, for one_file_system */
	bool contents_excluded;                /* on another device: stays, but empty */
	bool followed;                         /* reached through a link */
	struct older prev;                     /* of the parent snapshot */
	struct older done;                     /* of b->done_tree */
	struct arena arena;
	struct child *child;
	size_t n;
	atomic_bool
		planned; /* the children, their older nodes and batches are all there, and stay */
	atomic_uint pending;
	struct file_batch *batches;
	/* A checkpoint's own, under live_lock: the tree of what is finished here, and of which subdirectories there is one. */
	struct id partial;
	struct dir_job *partials, *partial_next;
};

/* One target of the command line: what was found in it, and what its last snapshot had. */
struct source {
	const char *path; /* as in the snapshot's paths */
	const char *real; /* without links; NULL: not known, or not needed */
	_Atomic uint64_t files, bytes;
	bool nested;  /* nothing is counted here: it lies in another target, or is absent */
	bool compare; /* the parent snapshot has this source: */
	uint64_t had_files, had_bytes;
};

/* What one rule left out.  A directory counts once; what is below it is not looked at. */
struct exclusion {
	_Atomic uint64_t count, bytes;
};

/* What a backup needs and what there is, in bytes. */
struct capacity {
	bool known;     /* the vault tells its free space */
	bool estimated; /* data and metadata are filled in */
	uint64_t data, metadata, reserve, need, free;
};

/* What one worker owns. */
struct worker {
	struct blob_codec *codec;
	struct buf
		read;   /* file content; never held across a flow call, which may run other tasks */
	struct buf ids; /* of the file being read */
	struct buf tree;    /* a tree being written */
	struct buf scratch; /* sealed blobs being loaded */
};
/* Failing paths named in the evidence of a refusal (IX-01). */
#define LOST_NAMED_MAX 5

struct lost_path {
	struct lost_path *next;
	const char *path; /* absolute */
	enum ecode code;
	int sys;
	enum cause cause;
};
/* Of one round of the walk. */
struct lost_list {
	struct arena arena;
	struct lost_path *first, *last; /* as they came; the first LOST_KEPT_MAX */
	size_t kept;
	struct map by_path; /* of those kept */
	uint64_t total, can_retry, by_cause[CAUSE_COUNT];
	struct id digest; /* sum modulo 2^256 of SHA-256(path NUL cause LF), little-endian */
};
struct lost {
	pthread_mutex_t lock;
	struct blob_codec *hash; /* under the lock */
	struct lost_list now, past;
	struct err trouble; /* first refusal while recording; E_OK: none */
};

/*
 * How much is read again at most after a crash: what came in since the last
 * checkpoint.  One costs up to two small packs a kind and an index file, so it is
 * taken by time, and by bytes where the disks are fast.  Both leave room for the
 * checkpoint itself below the promise of 5 minutes or 5 GiB (issue 3 point 6).
 */
#define CHECKPOINT_S     240
#define CHECKPOINT_BYTES (UINT64_C(4) << 30)

struct checkpoint {
	struct pulse *pulse;
	struct buf text;
	uint64_t due_ns, read_before; /* bytes_read at the last one */
	uint64_t taken;
	bool told; /* that one could not be written down */
};

/* A run whose record was read there: what cannot be read stays where it is. */
struct old_run {
	const char *run_id;
	bool in_vault, in_state;
};

/* The incomplete record of this run and what it continues. */
struct resume {
	struct incomplete own;
	bool announced;      /* the record is in the vault, or would be if the store kept notes */
	bool local;          /* there is a copy in the state directory */
	struct old_run *old; /* whose records end with this run's success */
	size_t old_n;
};

struct backup {
	struct session *s;
	const struct backup_args *args;
	struct commit *commit;
	struct backup_measures measures;
	struct meta_names *names;
	struct worker worker[SESSION_WORKERS_MAX];
	const char *cwd; /* absolute; NULL when it has no name: cwd_error tells why */
	int cwd_error;
	uint64_t vault_dev, vault_ino;
	bool vault_known;
	struct mounts mounts; /* empty where the system does not tell */
	struct source *source;
	size_t source_count;          /* 0: standard input */
	const struct vnode *targets;  /* their tree, once built */
	const struct id *parent_tree; /* NULL: no parent */
	struct exclusion *by_rule;    /* NULL: not counted */
	size_t rule_count;
	bool estimating;     /* sizes only: no content is read, nothing is stored */
	bool estimate_opens; /* … but what would be read is opened, to find what cannot be */
	_Atomic uint64_t new_bytes, meta_bytes; /* of an estimate */
	pthread_mutex_t link_lock;
	struct map links;      /* hard-linked files of an estimate that were counted */
	atomic_bool walk_over; /* all content is sealed: what is still to be stored is known */
	pthread_mutex_t space_lock;
	bool space_judged;        /* there is room for what was estimated */
	struct err space_refused; /* there is not: it holds for whoever asks later, too */
	const char *space_how;    /* … and this is how it was found out; NULL: it was not asked */
	uint64_t space_looks; /* objects that were compared with the free space of their moment */
	struct capacity capacity;
	bool counted_ahead; /* totals come from the scan, not from the walk */
	pthread_mutex_t live_lock;
	struct dir_job *live; /* every job that is not finished */
	pthread_mutex_t spare_lock;
	struct buf spare[BACKUP_SPARES];
	unsigned spare_n;
	struct id root_tree;
	bool root_done, root_empty;
	/* Of an interrupted run or an earlier round, durable and indexed: a file it holds unchanged is not read again. */
	struct id done_tree;
	bool has_done_tree;
	struct lost lost;
	uint64_t first_files_reused, first_bytes_reused; /* of round 1 */
	unsigned round;                                  /* of the walk; 1 is the first */
	bool durable; /* everything up to root_tree is stored and indexed */
	struct checkpoint checkpoint;
	struct resume resume;
	const char *continued_from;       /* run id; NULL: from none */
	enum on_unreadable on_unreadable; /* as asked for, or as answered */
	_Atomic uint64_t files_new, files_changed, files_unmodified, dirs_new, dirs_changed,
		dirs_unmodified;
	_Atomic uint64_t files_reused, bytes_reused; /* their content came from done_tree */
	_Atomic uint64_t files, bytes, bytes_read, unreadable, changed, vanished, sockets, excluded;
	_Atomic uint64_t symlinks, links_followed, links_left_out; /* symlinks: saved as such */
};

/* What the snapshot record says, gathered while the run goes on. */
struct record {
	struct arena arena;
	struct snapshot_list known;
	const struct snapshot *parent;
	struct snapshot next;
	const char *host;
};

/* ---- backup_gates.c: what must hold before and after the work ---- */
/* Before anything is written: the vault's health, atomic commits, the clock.  The parent is chosen, the index not loaded. */
enum ecode gates_before(struct backup *b, struct record *rec, struct err *e) must_check;
/* All is stored and counted; before the snapshot is written: the sanity band of every source. */
enum ecode gates_after(struct backup *b, struct record *rec, struct err *e) must_check;
/* E_CLOCK: hours before, or years after, the newest snapshot was made; accept_clock lets it pass. */
enum ecode gate_clock(struct backup *b, const struct record *rec, struct err *e) must_check;

/* ---- backup_band.c: the size of every source ---- */
/* E_SRC_BAND, E_SRC_SHRUNK, E_SHRINK_TOKEN.  The walk is over. */
enum ecode gate_band(struct backup *b, const struct record *rec, struct err *e) must_check;
/* Fills in what the parent says of the sources, when it says it; false when its trees would have to be counted. */
bool band_known(struct backup *b, const struct snapshot *parent);

/* ---- backup_capacity.c: one model of space (D-18) ---- */
/*
 * Before each object (commit_args.before_put; arg is the struct backup; any
 * thread).  The first object of all waits for the verdict on the whole: see there.
 * refuses: E_CAPACITY, E_IO_READ, those of a walk.
 */
enum ecode gate_space(void *arg, uint64_t bytes, struct err *e) must_check;
/* The same verdict on what a dry run has sealed, or on an estimate: data and metadata in bytes.  *out is filled in any case. */
enum ecode capacity_judge(struct backup *b, uint64_t data, uint64_t metadata, struct capacity *out,
	struct err *e) must_check;
enum ecode gate_capacity_of_dry_run(struct backup *b, struct err *e) must_check;
/* For the report: what the gate looked at; nothing when no object was due.  All objects are stored. */
void capacity_measure(struct backup *b);
/* A vault that filled up in mid-run: E_STORE_SPACE becomes E_CAPACITY with the numbers. */
enum ecode capacity_explain(struct backup *b, enum ecode rc, struct err *e);

/* ---- backup_estimate.c: the walk without content ---- */
/* Metadata of one more piece of content: its seal (32), pack header entry (41), index entry and id in a tree (about 250 as text). */
#define ESTIMATE_BLOB_BYTES 320
/* A node's text in a tree; usually 300 to 450. */
#define ESTIMATE_NODE_BYTES 512
/* A file that a backup would read. */
enum ecode estimate_file(struct dir_job *job, struct child *c, struct err *e) must_check;
/* A directory whose tree a backup would write. */
void estimate_tree(struct backup *b, const struct dir_job *job);
/* Beside a running backup, in the calling thread: fills in the new content and metadata of all targets. */
enum ecode estimate_beside(
	struct backup *b, uint64_t *data, uint64_t *metadata, struct err *e) must_check;

/* ---- backup_prove.c: what was stored is looked at again, and what guarded the run is told ---- */
/* For the report's safety_measures: call it when the thing has been done.  From the thread of backup_run only. */
void backup_measure(struct backup *b, const char *fmt, ...) printf_like(2, 3);
/* Before the snapshot is written: everything this run stored, as args->verify_after asks. */
enum ecode prove_stored(struct backup *b, struct err *e) must_check;
/* After it was written: its own record. */
enum ecode prove_snapshot(struct backup *b, const struct id *id, struct err *e) must_check;

/* ---- backup_resume.c: the incomplete record, checkpoints, and what an interrupted run left ---- */
/* Announces the run as incomplete and finds what an earlier one left (b->done_tree).  Commit and index are open. */
enum ecode resume_begin(struct backup *b, struct record *rec, struct err *e) must_check;
/* `rc`, `e`: how the run ended.  Success removes the record of this run and of those it continued; else what was done is kept for the next. */
enum ecode resume_end(
	struct backup *b, struct record *rec, enum ecode rc, struct err *e) must_check;

/* Writes the record of this run, with the last checkpoint, to the vault and beside it. */
enum ecode resume_record(struct backup *b, struct err *e) must_check;

/* ---- backup_checkpoint.c: the tree of what is finished so far ---- */
/* While the walk runs, from a thread of its own.  The serial twin has none: it polls. */
enum ecode checkpoint_begin(struct backup *b, struct err *e) must_check;
void checkpoint_end(struct backup *b);
void checkpoint_poll(struct backup *b);
/* The walk was refused with `why` and its jobs are still there: what is finished is kept for the next run. */
void checkpoint_last(struct backup *b, enum ecode why);

/* ---- backup_recover.c: the recovery question ---- */
/* The walk is over and some paths failed: asks when somebody is there.  *again: walk once more, with b->done_tree. */
enum ecode recover_ask(struct backup *b, bool *again, struct err *e) must_check;

/* ---- backup_lost.c: which paths could not be taken ---- */
enum ecode lost_open(struct backup *b, struct err *e) must_check;
void lost_close(struct backup *b);
/* Any thread.  What cannot be recorded shows in lost.trouble. */
void lost_add(struct backup *b, const char *path, const struct err *why, enum cause cause);
/* The walk begins anew: what was lost becomes what is tried again. */
void lost_next_round(struct backup *b);
/* The round before lost this path for a reason that trying again does not change: *why is that reason.  Any thread. */
bool lost_for_good(struct backup *b, const char *path, struct err *why);
/* `code` with counts by cause and the first paths as evidence; returns it. */
enum ecode lost_refusal(struct backup *b, enum ecode code, struct err *e);

/* ---- backup_claim.c ---- */
/* Fills in rec->next.holdfast.  The walk is over. */
enum ecode claim_write(struct backup *b, struct record *rec, struct err *e) must_check;

/* ---- backup_targets.c: which directories lead to which targets (format document 6.9) ---- */
struct vnode {
	const char *name;    /* in the snapshot */
	const char *fs_path; /* for opening, relative to the working directory or absolute */
	const char *abs_path;
	bool leaf, explicit_target;
	size_t source; /* of a leaf: which target it belongs to */
	struct vnode *up;
	const char *root;              /* where its first component lies: "", "/", "..", "../.." */
	struct vnode *children, *next; /* children sorted by name */
};
/* Builds the tree of targets.  Missing ones are told as problems and left out; none left: E_SRC_MISSING. */
enum ecode targets_build(
	struct backup *b, struct arena *a, struct vnode **root, struct err *e) must_check;
/* The absolute cleaned targets in command-line order, for the snapshot's `paths` (missing ones included, as restic). */
enum ecode targets_paths(
	struct backup *b, struct arena *a, struct slice **out, struct err *e) must_check;
enum ecode target_clean(
	struct arena *a, const char *text, const char **out, struct err *e) must_check;
enum ecode target_absolute(const struct backup *b, struct arena *a, const char *clean,
	const char **out, struct err *e) must_check;

/* ---- backup_overlap.c ---- */
/*
 * E_SRC_OVERLAP when the vault, or a part of it, is above, below or equal to a
 * target: by device and inode on the way up, and by the list of mounts, so that links
 * and bind mounts count in both directions.  Loads b->mounts.
 */
enum ecode gate_overlap(struct backup *b, struct arena *a, struct err *e) must_check;

/* ---- backup_list.c ---- */
/* The children of a job: from its open directory, or from its vnode. */
enum ecode list_directory(struct dir_job *job, struct err *e) must_check;
enum ecode list_vnode(struct dir_job *job, struct err *e) must_check;
/* The nodes that the parent snapshot and the finished work have of this directory.  An unreadable tree is a warning: all is read again (11.3). */
enum ecode load_older(struct dir_job *job, struct worker *w, struct err *e) must_check;
/* Gives each child its older nodes. */
void match_older(struct dir_job *job);
/* --exclude-if-present: only the mark itself stays (appendix A). */
void apply_marks(struct dir_job *job);
/* Left out by name, size or device; a directory on another device stays, but empty. */
bool child_excluded(struct dir_job *job, struct child *c);
/* Which rules there are, for b->by_rule: the patterns, then the marks, then size and device. */
enum ecode exclusions_make(struct backup *b, struct arena *a, struct err *e) must_check;
/* Into the result; the arena is for scratch. */
enum ecode exclusions_tell(const struct backup *b, struct arena *a, struct backup_result *out,
	struct err *e) must_check;
/* The rule as a person would type it. */
enum ecode exclusion_text(const struct backup_args *args, size_t rule, struct arena *a,
	const char **out, struct err *e) must_check;

/* ---- backup_job.c: a directory's job from its making to its release ---- */
/* Among the living of the backup from now on; `up` NULL: the root. */
enum ecode job_new(struct backup *b, struct dir_job *up, uint32_t up_child, struct dir_job **out,
	struct err *e) must_check;
/* A job for a subdirectory: where it is, what it was, and whose descriptor it will be opened from. */
enum ecode job_below(
	struct dir_job *up, uint32_t number, struct dir_job **out, struct err *e) must_check;
enum ecode job_open_dir(struct dir_job *job, struct err *e) must_check;
void job_unpin(struct dir_job *job);
void job_free(struct dir_job *job);
/* Jobs and their batches are released through the backup's list, whether they ran or not. */
void job_drop(struct flow_task *task);
void older_is(struct older *old, const struct id *tree);
/* Finished work that the parent snapshot has as well tells nothing new. */
void skip_same(struct dir_job *job);

/* ---- backup_walk.c ---- */
/* Of a job: lists the directory, takes what is at hand and hands out the rest. */
enum ecode job_run(struct flow_task *task, unsigned worker, struct err *e);
/* Runs the walk from the root of targets to the root tree; b->root_tree is then set. */
enum ecode walk_targets(struct backup *b, const struct vnode *root, const struct id *prev_tree,
	struct err *e) must_check;
/* n children are known (or dropped): the last one writes the tree and goes on upwards.  The job may be gone after it. */
enum ecode child_finished(
	struct dir_job *job, unsigned n, struct worker *w, struct err *e) must_check;
/* The child is complete: counts it. */
void child_done(struct dir_job *job, struct child *c);
void child_problem(struct dir_job *job, const struct child *c, const struct err *why);
/* Refusals that concern one path only; the run goes on without it. */
bool backup_concerns_path(enum ecode rc);
/* True when the refusal concerns this path only: told, and the child is dropped. */
bool child_refused(struct dir_job *job, struct child *c, const struct err *why);

/* ---- backup_links.c ---- */
/* Where each source really is, when links are followed.  b->source is there. */
enum ecode links_begin(struct backup *b, struct arena *a, struct err *e) must_check;
/* A link becomes what it leads to (c->followed, c->meta, c->open_name), is left out (c->left_out), or stays one. */
enum ecode link_decide(struct dir_job *job, struct child *c, struct err *e) must_check;
void link_count(struct backup *b, const struct child *c);
/* Of a followed child that was opened: it is still where it was decided to be.  E_SRC_CHANGED */
enum ecode link_landed(
	const struct backup *b, const struct child *c, int fd, struct err *e) must_check;

/* ---- backup_node.c ---- */
/* Fill node fields that come from the file system's metadata. */
void node_from_meta(struct backup *b, struct node *node, const struct os_meta *m);
/* Attributes of an item: reused from the parent's node when ctime and inode prove them unchanged, else read. */
enum ecode node_xattrs(struct dir_job *job, struct child *c, int dir, const char *name,
	struct arena *a, struct err *e) must_check;
bool node_equal(const struct node *a, const struct node *b);
/* Tell of a path that could not be taken: counts, never stops the run. */
void backup_problem(struct backup *b, const char *path, const struct err *why);
void backup_warning(struct backup *b, const char *path, enum ecode code, const char *why);
/* Absolute, NUL-terminated, in `out`; "?" when memory is short: it is for messages. */
const char *child_path(const struct dir_job *job, const struct child *c, struct buf *out);

/* ---- backup_file.c ---- */
/* Read and store the files of a batch, then count each as finished.  The batch stays with its job. */
enum ecode batch_run(struct flow_task *task, unsigned worker, struct err *e);
void batch_free(struct file_batch *batch);
/* Content from an open descriptor that is not a file of the tree (stdin, a command's pipe). */
enum ecode stream_store(
	struct backup *b, int fd, struct arena *a, struct node *node, struct err *e) must_check;
/* All blobs of a content list are in the index. */
bool content_known(struct backup *b, const struct node *node);

/* ---- backup_stdin.c ---- */
/* The one path of the snapshot. */
enum ecode stdin_path(struct backup *b, struct record *rec, struct err *e) must_check;
/* Reads to the end, and wraps the file into its directories: b->root_tree. */
enum ecode run_stdin(struct backup *b, struct record *rec, struct err *e) must_check;

/* ---- backup.c: what preflight shares ---- */
enum ecode backup_begin(struct backup *b, struct session *s, const struct backup_args *args,
	struct err *e) must_check;
void backup_end(struct backup *b);
/* Labels, absolute targets, snapshots known, parent chosen. */
enum ecode record_begin(struct backup *b, struct record *rec, struct err *e) must_check;

/* ---- backup_scan.c ---- */
struct scan;
/* Starts the thread that counts the targets' items and bytes into the listener's progress. */
enum ecode scan_begin(
	struct backup *b, const struct vnode *root, struct scan **out, struct err *e) must_check;
/* Stops it, finished or not.  NULL inside is fine. */
void scan_end(struct scan **scan);

#endif
