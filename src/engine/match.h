/*
 * A snapshot held against a directory, or against nothing but its vault.  It
 * shares nothing with the restoring: the trees are loaded again, the directory
 * is listed again, and each piece of each file is hashed again.  For `verify`
 * and for a drill.  It only looks; access times stay where the system allows it.
 */
#ifndef HF_ENGINE_MATCH_H
#define HF_ENGINE_MATCH_H

#include "engine/session.h"
#include "repo/tree.h"

/* What one thread compares with; never two threads at a time. */
struct match_hand {
	struct session *s;
	struct blob_codec *codec;
	struct buf plain;   /* a piece of a file */
	struct arena arena; /* what the system says of one entry */
};
struct match_hand match_hand_of(struct session *s, struct blob_codec *codec);
void match_hand_done(struct match_hand *h);

/* DF-23's words for what became of one path. */
enum match_status {
	MATCH_OK,
	MATCH_MISSING,  /* or something of another type has its name */
	MATCH_SIZE,     /* size_mismatch */
	MATCH_HASH,     /* hash_mismatch; a link that points elsewhere, too */
	MATCH_ERROR,    /* could not be read */
	MATCH_EXTRA,    /* only the directory has it */
	MATCH_METADATA, /* all content is right, something else is not */
};
#define MATCH_STATUSES 7
const char *match_status_text(enum match_status status);

/* DF-20: each includes the one before. */
enum match_level {
	MATCH_EXISTENCE,
	MATCH_SIZES,
	MATCH_HASHES
};
const char *match_level_text(enum match_level level);

struct match_record {     /* lives during the call only */
	const char *path; /* in the snapshot, absolute; NUL-terminated */
	const struct node
		*node; /* NULL: MATCH_EXTRA, or a directory whose content cannot be read */
	enum match_status status;
	bool hashed; /* its content was compared by hash */
	uint64_t expected_size, actual_size;
	const char *why; /* NULL when all is well */
	unsigned beside; /* what match_args.beside said; 0: it was not asked */
};
struct match_counts {
	uint64_t status[MATCH_STATUSES];
	uint64_t files, dirs, others, bytes; /* of the snapshot, those wanted */
	uint64_t hashed_files, hashed_bytes;
	uint64_t sockets;  /* hold nothing: never compared */
	uint64_t unproven; /* owners and devices that only root could have made */
};
struct match_args {
	const struct id *tree;
	const char *dir; /* NULL: the vault alone */
	enum match_level level;
	bool privileged; /* owners and devices count; else they are unproven when they differ */
	const char *own; /* a name in `dir` that is not the snapshot's; may be NULL */
	/* which of the paths that are no directories; NULL: all.  Directories then need not be there */
	bool (*wanted)(void *arg, const char *path, size_t len);
	void *wanted_arg;
	/* the comparing function; NULL: match_content.  Called by the session's workers, several at a time. */
	enum ecode (*same)(
		struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e);
	/*
	 * More to be looked at where a path that is no directory is as recorded so far, before it is told (whether it is a
	 * link of the right file is seen later).  Called by the session's workers, several at a time; `each` finds *found in
	 * the record.  What it refuses ends the walk.  May be NULL.
	 */
	enum ecode (*beside)(void *arg, struct match_hand *h, const struct match_record *r,
		unsigned *found, struct err *e);
	/* in the calling thread, in order */
	enum ecode (*each)(void *arg, const struct match_record *r, struct err *e);
	void *arg; /* of both */
};
/*
 * Every path of the snapshot in its own order, what only the directory has among them.  What is damaged in the vault or
 * cannot be read in the directory is a record, not a refusal.  With threads, what a directory holds is compared ahead of
 * the telling (match_ahead.h); the records, their order and the first refusal are the same for every number of threads.
 * refuses: E_STORE_READ, E_NOMEM, E_INTERRUPTED, what `each` refuses; E_SRC_* when `dir` itself cannot be opened
 */
enum ecode match_run(struct session *s, const struct match_args *args, struct match_counts *out,
	struct err *e) must_check;

/* Is the content of an open file that of the node?  Read from its begin; size and every piece's hash. */
enum ecode match_content(struct match_hand *h, const struct node *node, int fd, bool *same,
	struct err *e) must_check;
/* The first thing of a node's metadata that the live entry has not, or NULL.  Neither type nor size nor content. */
const char *match_metadata(const struct node *node, const struct os_meta *m, bool owners);

#endif
