/* What the files of lock_*.c share.  Who holds a lock looks into lock.h. */
#ifndef HF_REPO_LOCK_INTERNAL_H
#define HF_REPO_LOCK_INTERNAL_H

#include <pthread.h>

#include "base/json.h"
#include "base/pulse.h"
#include "repo/lock.h"

/* lock files of ours that could not be removed yet; more refused removals than refreshes of a day */
#define LEFTOVER_MAX     300
/* bytes; names of hosts (Linux: 64) and users */
#define HOST_NAME_BYTES  256
#define USER_NAME_BYTES  256
/* bytes of parsed lock texts in one listing */
#define LOCK_ARENA_BYTES ((size_t)64 << 20)
#define NS_PER_S         1000000000U
#define NS_PER_MS        1000000U

struct lock {
	struct vault *v;
	const struct os *os;
	struct lock_args args;
	struct blob_codec *codec;
	pthread_mutex_t mutex;
	struct pulse *refresher;
	bool has_thread;
	struct identity identity; /* of this process */
	struct instant begun;     /* wall clock at … */
	uint64_t begun_ns;        /* … this time of the boot clock */

	struct id id;          /* of the file in force */
	uint64_t refreshed_ns; /* boot clock, taken before that file was written */
	uint64_t tried_ns;     /* boot clock of the last try, successful or not */
	bool lost;
	struct id leftover[LEFTOVER_MAX];
	size_t leftovers;
	/* ids of other locks; only while taking */
	struct buf harmless;  /* were read and do not count */
	struct buf condemned; /* were judged dead in the first look */
};

/* ---- lock_record.c ---- */
enum ecode lock_text(const struct lock *l, struct buf *out, struct err *e) must_check;

/* ---- lock_judge.c ---- */
/* E_LOCKED with who, where, since when. */
enum ecode lock_refusal(const struct os *os, const struct lock_info *info, struct err *e);

/* ---- lock_take.c ---- */
/* The whole of 8.2, --retry-lock included: the file of l->id is in force, or none is. */
enum ecode lock_attempt(struct lock *l, struct err *e) must_check;

/* ---- lock.c ---- */
/*
 * A new file of ours.  An unsure write is answered by looking: a lock need not
 * survive a power cut, it must only be seen.  After any refusal the file is removed.
 */
enum ecode lock_write_file(struct lock *l, struct id *out, struct err *e) must_check;
enum ecode lock_erase_file(struct lock *l, const struct id *id, struct err *e) must_check;
/* A file of ours that is of no use any more: gone now, or at the next occasion. */
void lock_drop_file(struct lock *l, const struct id *id);
/* Fetch and read one lock.  E_LOCK_UNREADABLE, E_STORE_ABSENT, whatever vault_load() and lock_parse() refuse */
enum ecode lock_load(struct vault *v, struct blob_codec *c, const struct store_entry *entry,
	struct arena *a, struct lock_info *out, struct err *e) must_check;

#endif
