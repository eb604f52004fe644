/* What match*.c share: where a walk is, and what it finds. */
#ifndef HF_ENGINE_MATCH_INTERNAL_H
#define HF_ENGINE_MATCH_INTERNAL_H

#include "base/map.h"
#include "engine/match.h"
#include "engine/match_vault.h"
#include "fs/place.h"
#include "fs/walk.h"

/* A directory on the way down. */
struct level {
	struct level *up;
	struct arena arena;
	struct walk_list list;
	size_t at;       /* first entry that was not passed yet */
	size_t path_len; /* bytes of "/a/b"; 0: the root */
	int fd;          /* -1: not held now, or not there */
	bool there;
	bool unread; /* it is there, but from here on cannot be looked at: nothing of it is called missing */
};
struct matching {
	struct session *s;
	const struct match_args *args;
	struct match_counts *out;
	struct place *place;       /* NULL: the vault alone */
	struct match_vault *vault; /* NULL: a directory */
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

/* Compare what is at its place with the snapshot's node; the first difference is r's.  Refuses only what ends the walk. */
enum ecode match_entry(struct matching *m, struct match_record *r, const struct walk_entry *entry,
	struct err *e) must_check;

#endif
