/*
 * A vault for tests: made at once (cheap key derivation), filled with blobs,
 * trees and snapshots of the test's own making, hostile ones too.
 */
#ifndef HF_TESTS_MAKE_VAULT_H
#define HF_TESTS_MAKE_VAULT_H

#include "engine/session.h"
#include "repo/tree.h"

#define TEST_PASSWORD "correct horse"

/* A listener that counts what it hears.  Safe from any thread. */
struct heard {
	struct progress progress;
	struct listener listener;
	_Atomic unsigned problems, fatal_problems, notes, items;
	_Atomic unsigned codes[8];             /* the first problems' codes */
	_Atomic unsigned causes[8], can_retry; /* … and causes; how many could be tried again */
	_Atomic long stop_after; /* the n-th question whether to stop is answered yes; < 0: never */
	char last_path[512];     /* of the latest problem; read it when the run is over */
	char last_note[512];
};
void heard_init(struct heard *h);

/* Make a vault in `dir` (absent or empty). */
void make_vault(const struct os *os, const char *dir, unsigned version);
/* Open it; aborts when that is refused. */
void open_session(struct session *s, const struct os *os, const char *dir, const char *password,
	unsigned threads, enum session_lock lock, struct heard *h);

/* What a test puts into an open session's vault. */
struct maker {
	struct session *s;
	struct commit *commit;
};
void maker_begin(struct maker *m, struct session *s); /* loads the index */
struct id maker_data(struct maker *m, const void *p, size_t len);
struct id maker_tree_text(struct maker *m, const char *text); /* stored as it is */
struct id maker_tree_bytes(struct maker *m, const void *p, size_t len);
/* Nodes in any order are stored in the order given; names may be bad ones (written without the writer's checks). */
struct id maker_tree(struct maker *m, const struct node *nodes, size_t n);
/* Everything durable, then the snapshot of that tree. */
struct id maker_end(struct maker *m, const struct id *tree);

struct node node_file(const char *name, const struct id *content, size_t n, uint64_t size);
struct node node_dir(const char *name, const struct id *subtree);
struct node node_symlink(const char *name, const char *target);

#endif
