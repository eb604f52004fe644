/* The inside of check, shared by check*.c only. */
#ifndef HF_ENGINE_CHECK_INTERNAL_H
#define HF_ENGINE_CHECK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/check.h"

struct check {
	struct session *s;
	const struct check_args *args;
	void (*found)(void *arg, const struct check_finding *f);
	void *arg;
	uint64_t partial; /* counted before the workers begin */
	_Atomic uint64_t errors, hints, trees, blobs, packs_read, bytes_read;
	atomic_bool suggest_repair_index, suggest_prune;
	pthread_mutex_t lock; /* guards what follows */
	struct id *broken;
	size_t broken_n, broken_cap;
	struct id_set *seen_trees;
};

/* Tell a finding; `object` is made from a kind word and an id.  Any thread. */
void check_error(struct check *c, enum ecode code, const char *kind, const struct id *id,
	const char *fmt, ...) printf_like(5, 6);
void check_hint(struct check *c, enum ecode code, const char *kind, const struct id *id,
	const char *fmt, ...) printf_like(5, 6);
/* Remember a pack that `repair packs` should save. */
enum ecode check_broken(struct check *c, const struct id *pack, struct err *e) must_check;
enum ecode check_stopped(
	struct check *c, struct err *e) must_check; /* E_INTERRUPTED when asked to stop */

/* Ids met so far.  Not thread-safe. */
struct id_set;
enum ecode id_set_open(struct id_set **out, struct err *e) must_check;
void id_set_close(struct id_set **s);
enum ecode id_set_add(struct id_set *s, const struct id *id, bool *fresh, struct err *e) must_check;

/* check_packs.c: what is in data/ against the index, then the selected packs byte by byte. */
enum ecode check_packs(struct check *c, struct err *e) must_check;
/* check_trees.c: everything reachable from the snapshots. */
enum ecode check_trees(
	struct check *c, const struct snapshot_list *snapshots, struct err *e) must_check;

#endif
