/*
 * What one run adds to a vault (format document 4, 5.2, 11.1, 11.2): blobs into
 * open packs, packs into the store through a small pool of writers, interim
 * indexes, then the remaining index.  Order: packs → indexes → (caller) snapshot.
 * Threads: commit_blob from any thread with its own codec.
 */
#ifndef HF_REPO_COMMIT_H
#define HF_REPO_COMMIT_H

#include "repo/index.h"
#include "repo/lock.h"

/* What is looked at again before the snapshot is written (R5, X-06). */
enum commit_proof {
	PROOF_PRESENCE, /* every pack and index of the run is there with its size */
	PROOF_READ,     /* and its bytes, read from the medium, hash to its name */
	PROOF_NONE
};
struct commit;
struct commit_args {
	uint32_t pack_target_bytes; /* 0: default */
	unsigned writers;           /* threads; 0: the serial twin */
	enum compression compression;
	struct lock *lock; /* checked before each publication; may be NULL (tests) */
	/* asked from any thread before an object of so many bytes is stored; NULL: nothing to ask */
	enum ecode (*before_put)(void *arg, uint64_t bytes, struct err *e);
	void *before_put_arg;
	bool dry_run; /* count, store nothing */
};
struct commit_totals {
	uint64_t data_blobs, tree_blobs; /* new ones */
	uint64_t data_added;             /* plaintext bytes of new blobs (both kinds) */
	uint64_t data_added_packed;      /* sealed bytes plus their header entries */
	uint64_t packs, index_files;
	uint64_t stored_bytes;                 /* bytes of all objects put */
	uint64_t proved_objects, proved_bytes; /* by commit_prove; bytes: read again */
};
struct blob_added {
	bool fresh;            /* not known before */
	uint32_t sealed_bytes; /* of a fresh one, header entry included */
};
/* The index must be loaded; v, ix and the lock outlive the commit. */
enum ecode commit_open(struct vault *v, struct index *ix, const struct commit_args *args,
	struct commit **out, struct err *e) must_check;
/*
 * Make sure the vault will hold this blob.  Known or claimed by another thread:
 * nothing to do.  The plaintext is only read during the call.  May block while
 * writers are busy (memory bound: COMMIT_WAITING_PACKS finished packs).
 */
enum ecode commit_blob(struct commit *c, struct blob_codec *codec, enum blob_kind kind,
	const struct id *id, const void *plain, size_t len, struct blob_added *added,
	struct err *e) must_check;
#define COMMIT_WAITING_PACKS 2
/*
 * Everything whose commit_blob returned before this call is durable and in an index file; the commit goes on.
 * From any thread while others add, but not from a callback of the commit.  `codec` is the caller's.
 * Packs that are not full are stored as they are, at most two of each kind.
 */
enum ecode commit_sync(struct commit *c, struct blob_codec *codec, struct err *e) must_check;
/* The same when all is given. */
enum ecode commit_flush(struct commit *c, struct blob_codec *codec, struct err *e) must_check;
/*
 * After commit_flush, before the snapshot: look again at every pack and index file this commit stored (R5, X-06).
 * A read that fails once and then succeeds is a finding too (D-22).  `stopped` (may be NULL) is asked between pieces.
 * refuses: E_PROOF, naming the first objects and their flaws; E_FLOW_STOPPED; E_NOMEM
 */
enum ecode commit_prove(struct commit *c, enum commit_proof how, bool (*stopped)(void *arg),
	void *arg, struct err *e) must_check;
/* The same for one object, read whole and from the medium whatever its size: for the snapshot's own record. */
enum ecode commit_prove_one(struct vault *v, struct blob_codec *codec, const struct oname *name,
	struct err *e) must_check;
void commit_totals(struct commit *c, struct commit_totals *out);
/* Any packs written so far but in no index are left as orphans; prune or the next run's check names them. */
void commit_close(struct commit **c);

#endif
