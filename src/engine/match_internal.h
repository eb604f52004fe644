/* What match*.c share: where a walk is, and what it finds. */
#ifndef HF_ENGINE_MATCH_INTERNAL_H
#define HF_ENGINE_MATCH_INTERNAL_H

#include "base/map.h"
#include "engine/match.h"
#include "engine/match_vault.h"
#include "fs/place.h"
#include "fs/walk.h"

/* An open directory, as long as somebody needs it.  Of the walking thread only; workers use what a batch holds for them. */
struct match_dir {
	const struct os *os;
	size_t refs;
	int fd;
};
/* The first reference, not open yet. */
enum ecode match_dir_new(const struct os *os, struct match_dir **out, struct err *e) must_check;
struct match_dir *match_dir_get(struct match_dir *d);
void match_dir_put(struct match_dir **d); /* the last one closes it; NULL is fine */

/* A record on its way to be told. */
struct match_item {
	struct match_record r;
	bool counts;           /* as one of the snapshot's */
	bool due;              /* match_entry() has not looked at it yet */
	struct match_dir *dir; /* where it is */
	struct os_meta meta;   /* as it was listed */
	bool unproven;         /* an owner that only root could have made */
	bool links;            /* all is well but for its other names, which nobody looked at yet */
	struct match_item *next;
};

/* A directory on the way down. */
struct level {
	struct level *up;
	struct arena arena;
	struct walk_list list;
	size_t at;             /* first entry that was not passed yet */
	size_t path_len;       /* bytes of "/a/b"; 0: the root */
	struct match_dir *dir; /* NULL: not held now, or not there */
	bool there;
	bool unread; /* it is there, but from here on cannot be looked at: nothing of it is called missing */
};
struct matching {
	struct session *s;
	const struct match_args *args;
	struct match_counts *out;
	struct place *place;       /* NULL: the vault alone */
	struct match_vault *vault; /* NULL: a directory */
	struct match_ahead *ahead; /* NULL: each entry is compared when it is told */
	struct match_hand hand;    /* the walking thread's */
	bool refused;              /* by whoever compares or is told: nothing more is told */
	struct level *top;
	struct map names; /* (device, inode) of the snapshot → inode of the directory */
	struct buf path;
	struct buf scratch, text; /* of the tree that is tried */
};

/* Refusals that end the walk: nothing about an entry follows from them. */
static inline bool
match_is_fatal(enum ecode rc)
{
	return rc == E_NOMEM || rc == E_INTERRUPTED || rc == E_SRC_DESCRIPTORS;
}

static inline void
match_flaw(struct match_record *r, enum match_status status, const char *why)
{
	r->status = status;
	r->why = why;
}

/*
 * Compare what is at its place with the snapshot's node; the first difference is the record's.  Any thread, with a hand of
 * its own.  Refuses only what ends the walk.
 */
enum ecode match_entry(struct match_hand *h, const struct match_args *args, struct match_item *item,
	struct err *e) must_check;
/* Names of one inode in the snapshot must be names of one inode here.  In the order of records. */
enum ecode match_links(struct matching *m, struct match_item *item, struct err *e) must_check;
/* What is left to be found out in order, then the record is told.  Of the walking thread. */
enum ecode match_conclude(struct matching *m, struct match_item *item, struct err *e) must_check;

#endif
