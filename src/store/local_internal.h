/* The inside of the local store, shared by local*.c only. */
#ifndef HF_STORE_LOCAL_INTERNAL_H
#define HF_STORE_LOCAL_INTERNAL_H

#include <pthread.h>

#include "store/local.h"

#define PACK_DIRS            256 /* data/00 … data/ff (format document 1.1) */
#define LOCAL_DIR_TEXT_MAX   16  /* "data/ab", "snapshots" */
#define LOCAL_DIR_MODE       0700
#define LOCAL_DIR_MODE_GROUP 0770

struct local_store {
	struct store st; /* first: the operations cast back */
	const struct os *os;
	char *dir;
	pthread_mutex_t lock; /* guards what follows */
	int root;             /* -1 until first used */
	bool shared;          /* config was seen to be readable by its group */
	bool mode_known;      /* config was seen at all */
	bool pack_synced[PACK_DIRS];
	bool kind_synced[O_KINDS];
};

static inline struct local_store *
local_of(struct store *st)
{
	return (struct local_store *)st;
}

/* The vault's directory: 0 and *root, or -errno.  A refusal is not remembered. */
int local_root(struct local_store *l, int *root);
/* Group-readable config: the whole vault is shared with the group (format document 1.2). */
enum ecode local_learn_mode(struct local_store *l, int root, bool *shared, struct err *e);
/* What the system said about `path` below the vault, as a refusal of the store. */
enum ecode local_read_refusal(
	const struct local_store *l, int rc, const char *call, const char *path, struct err *e);
enum ecode local_write_refusal(
	const struct local_store *l, int rc, const char *call, const char *path, struct err *e);
enum ecode local_erase_refusal(
	const struct local_store *l, int rc, const char *path, struct err *e);
/* A directory below `root`, and what is missing above it.  E_STORE_* */
enum ecode local_make_dir(
	struct local_store *l, int root, const char *path, mode_t mode, struct err *e);
/* Its names are durable; where the file system cannot say, they are taken to be.  Never E_STORE_UNSURE. */
enum ecode local_sync_dir(struct local_store *l, int root, const char *path, struct err *e);
/* Durably, with the modes of an object. */
enum ecode local_publish(struct local_store *l, int dir, const char *name, bool shared,
	const struct slice *parts, size_t n, struct err *e);

/* ---- local_note.c ---- */
enum ecode local_note_put(struct store *st, const char *name, struct slice bytes, struct err *e);
enum ecode local_note_get(struct store *st, const char *name, struct buf *out, struct err *e);
enum ecode local_note_list(struct store *st,
	enum ecode (*each)(void *arg, const char *name, struct err *e), void *arg, struct err *e);
enum ecode local_note_erase(struct store *st, const char *name, struct err *e);
/* Every name in the vault's root that begins with `prefix`, "" for all.  E_STORE_READ */
enum ecode local_root_names(struct local_store *l, const char *prefix,
	enum ecode (*each)(void *arg, const char *name, struct err *e), void *arg, struct err *e);

/* ---- local_prepare.c ---- */
enum ecode local_prepare(struct store *st, struct err *e);

/* ---- local_probe.c ---- */
enum ecode local_probe(struct store *st, struct store_health *out, struct err *e);
void local_go_cold(struct store *st, const struct oname *name);

#endif
