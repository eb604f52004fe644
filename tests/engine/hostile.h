/*
 * Hostile vaults, one a row.  A row is written in a small language of its own:
 * every line is a node, begun by a letter (f d l b c p s: file, directory,
 * link, block, character, pipe, socket) that stands for a harmless one; then
 * come the fields that are not harmless, parted by '|':
 *	key=JSON	the value, as it is	key'text	the same in quotes
 *	!key		the field is left out	+JSON		appended as it is
 * A line that begins with '{' is a node as it is; a text that begins with '!' is the whole tree.  A node whose name is three bytes 255
 * is added at the end of lines.
 *
 * In all of it: $X $Y data blobs of 1 and 2 bytes; $S a directory with the file
 * "child"; $E an empty one; $N nothing's id; $I the tree of `inner`; $T the whole tree; $P the list of packs (all ids
 * in quotes); $A the decoys' absolute path; $U $G who runs this; $0 a NUL;
 * $<n*text> text n times; $$ a dollar.
 */
#ifndef HF_TESTS_HOSTILE_H
#define HF_TESTS_HOSTILE_H

#include "support/restore_fix.h"

enum hostile_flags {     /* bits */
	H_ROOT = 1,      /* the outcome is root's; others leave it out */
	H_LISTED = 2,    /* no node is added */
	H_ARTIFACTS = 4, /* with the artifact set */
	H_ALONE = 8, /* only into an empty place: what is there says other things in other trees */
	H_UNLISTED = 16,      /* too deep for a listing */
	H_SNAPSHOT_WINS = 32, /* conflicts are the snapshot's */
	H_TIMES = 64, /* a time that not every file system can hold: proofs may go either way */
	H_PLANNED =
		256, /* only the content lies: neither a plan nor a check of the structure sees it */
	H_SOUND = 512, /* refused for what it would take; a check finds nothing wrong */
	H_ANY = 128,   /* a refusal of any kind but an internal one, or exactly that tree */
};
/* What is not a node's: which of these is looked at, `craft` or `spoil` knows. */
struct piece;
struct lie {
	const char *value;              /* a record's text */
	const char *index, *header;     /* of a crafted vault: hostile_craft.h; NULL: the truth */
	uint64_t size;                  /* of its file "big"; 0: the true one */
	void (*build)(struct piece *p); /* hostile_pieces.c */
};
struct hostile {
	const char *name, *nodes; /* nodes NULL: `make` or `craft` makes the tree */
	enum ecode want;          /* of each restore */
	const char *tree;         /* after it: see jail_listing(); without the added node */
	enum ecode verify;        /* E_OK: as `want` says */
	enum ecode drill;         /* the same */
	unsigned flags;
	const char *inner;
	const char
		*live; /* what is at a destination that is in use: "l name target|d name|f name" */
	struct lie lie;
	struct id (*make)(struct maker *m);
	void (*spoil)(struct fix *f, const struct hostile *h);
	struct id (*craft)(struct maker *m, const struct lie *lie);
	enum ecode check, read; /* check, and with --read-data; E_OK: as `want` says */
	const char *partial;    /* what a partial restore leaves beside the destination */
};

/* Making a vault does not fail. */
static inline void
must(enum ecode rc)
{
	invariant(rc == E_OK);
}

struct hostile_ids {
	struct id x, y, sub, empty, inner, tree;
	const char *packs; /* the index's, as JSON; NULL: not known yet */
	const char *decoys;
};
/* Replaces out. */
void hostile_expand(struct buf *out, const char *text, const struct hostile_ids *ids);
/* The tree's text in the language above → JSON.  Replaces out. */
void hostile_tree(struct buf *out, const char *nodes, bool good, const struct hostile_ids *ids);

/* hostile_run.c: every row, a process each; HOSTILE_ONLY=text those whose names have it; HOSTILE_TIMES=1 tells more. */
void hostile_family(const struct hostile *rows, size_t n, const char *family);
/* The address space of a row, before the first family; 6 GiB unless told. */
void hostile_limit(size_t address_bytes);
/* After all families: what all of them took, and that they were as many. */
void hostile_memory(long kib_max, unsigned long vaults_min);
int hostile_main(const struct CMUnitTest *tests, size_t n);

/* hostile_rows.c; `n` is set */
const struct hostile *hostile_names(size_t *n);
const struct hostile *hostile_nodes(size_t *n);
const struct hostile *hostile_texts(size_t *n);
/* hostile_shapes.c */
const struct hostile *hostile_shapes(size_t *n);
/* hostile_index.c, hostile_pieces.c, hostile_records.c */
const struct hostile *hostile_listings(size_t *n);
const struct hostile *hostile_pieces(size_t *n);
const struct hostile *hostile_records(size_t *n);

#endif
