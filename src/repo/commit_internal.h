/*
 * The inside of a commit, shared by commit*.c only.
 *
 * Locks, never two at once except slot → lock: each open pack has its own; `lock`
 * guards everything below it.  `sync_lock` is taken first of all, by one commit_sync
 * at a time.
 */
#ifndef HF_REPO_COMMIT_INTERNAL_H
#define HF_REPO_COMMIT_INTERNAL_H

#include "repo/commit.h"

#include <pthread.h>

#include "base/flow.h"
#include "base/wire.h"

#define KINDS         2U
#define OPEN_PER_KIND 2U /* 4: by chance between them, so that pack sizes do not tell chunk sizes */
/* One sync at a time: what was given before it, and what comes meanwhile. */
#define ROUNDS        2U

/* Offsets are 32 bits (4). */
#define PACK_BODY_MAX_BYTES ((size_t)UINT32_MAX)
/* One more entry and the sealed header would pass its limit. */
#define PACK_ENTRIES_MAX    ((PACK_HEADER_MAX_BYTES - SEAL_OVERHEAD) / PACK_ENTRY_ZSTD_BYTES)

struct packing {
	struct flow_task task; /* first: the flow gives it back */
	struct commit *c;
	unsigned round;
	struct buf body;
	struct pack_list list;
};

struct slot {
	pthread_mutex_t lock;
	struct packing *open; /* NULL: none yet */
};

struct scratch {
	struct buf buf;
	struct scratch *next;
};

struct pending { /* packs stored and in no index file */
	struct index_pack *v;
	size_t n, cap, blobs;
	uint64_t since_ns; /* monotonic */
};

struct stored { /* what to look for again */
	struct oname name;
	uint64_t size;
};

struct stored_list {
	struct stored *v;
	size_t n, cap;
};

struct commit {
	struct vault *v;
	struct index *ix;
	struct commit_args args;
	struct flow *flow;
	struct blob_codec **codecs; /* of the writers */
	unsigned codec_count, locks_made;
	struct slot slots[KINDS][OPEN_PER_KIND];
	pthread_mutex_t sync_lock;
	pthread_mutex_t lock;
	pthread_cond_t moved; /* one of the four below changed in a way somebody may wait for */
	unsigned adding;      /* calls of commit_blob that passed the gate */
	bool gathering;       /* the gate is closed: open packs are being collected */
	unsigned round;       /* of packs handed over now */
	unsigned out[ROUNDS]; /* packs handed over and not stored */
	unsigned indexing;    /* index files on their way */
	struct scratch *free_scratch;
	struct pending pending;
	struct stored_list stored;
	struct commit_totals totals;
	struct err refusal; /* code E_OK: none */
	uint64_t chance;
	unsigned chances; /* bits left in it */
};

/* ---- commit.c ---- */
void commit_take(pthread_mutex_t *lock);
void commit_give(pthread_mutex_t *lock);
/* Keep the first one; the caller gets its own. */
enum ecode commit_refuse(struct commit *c, enum ecode rc, const struct err *e);
/* The kept one; E_OK: none. */
enum ecode commit_refused(struct commit *c, struct err *e);

/* ---- commit_store.c: packs and indexes on their way into the store ---- */
/* NULL: no memory. */
struct packing *packing_take(struct commit *c);
void packing_free(struct packing *p);
/* Hand a pack to the writers; may wait.  It counts for `round`. */
void commit_submit(struct commit *c, struct packing *p, unsigned round);
/* Blobs of `from` behind those of `to`; a refusal leaves `to` as it was. */
enum ecode packing_merge(struct packing *to, struct packing *from, struct err *e) must_check;
/* Wait until the packs of `round` are stored.  The refusal is kept. */
void commit_drain(struct commit *c, unsigned round);
/* An index file of every stored pack; returns when all are in one. */
enum ecode commit_index_rest(struct commit *c, struct blob_codec *codec, struct err *e) must_check;
void pending_done(struct pending *p);

/* ---- commit_prove.c ---- */
/* Remember an object that was put.  `lock` is held. */
enum ecode stored_add(
	struct stored_list *l, const struct oname *name, uint64_t size, struct err *e) must_check;

#endif
