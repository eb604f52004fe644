/*
 * The sealed record behind `.incomplete-<run id>` in a vault (D-4): a run is,
 * or was, under way and has no snapshot yet.  It is sealed like any record, so
 * that tampering shows, and names its run inside, so that a record under
 * another run's name is refused.  Never restorable, never promoted.
 * Threads: write and erase from any thread, each run its own record.
 */
#ifndef HF_ENGINE_INCOMPLETE_H
#define HF_ENGINE_INCOMPLETE_H

#include "engine/session.h"
#include "os/identity.h"

/* Text of one record: 10,000 paths of 400 bytes. */
#define INCOMPLETE_MAX_BYTES    ((size_t)4 << 20)
#define INCOMPLETE_SEALED_BYTES (2 * INCOMPLETE_MAX_BYTES)
/* Records looked at in one vault; more are counted as unreadable. */
#define INCOMPLETE_MAX          1024U

struct incomplete {
	const char *run_id; /* 1 … NOTE_ID_MAX of [A-Za-z0-9-] */
	struct slice host, username;
	struct identity owner;
	struct instant started, updated;
	const struct slice *paths; /* as in the snapshot record */
	size_t path_count;
	bool has_tree;
	struct id tree; /* the last checkpoint: its content is durable and in an index */
	uint64_t files, bytes, stored_bytes; /* finished at that time */
	bool ended;                          /* the run ended by itself, … */
	const char *ended_how;               /* … with the refusal of this name; else NULL */
};

enum incomplete_state {
	INCOMPLETE_LIVE,
	INCOMPLETE_DEAD,   /* it ended by itself, or its process is provably gone */
	INCOMPLETE_UNKNOWN /* another machine, or not provable: treat it as live */
};

/* Durable; replaces the run's earlier record.  A store without notes keeps none.  refuses: those of the store */
enum ecode incomplete_write(
	struct session *s, const struct incomplete *i, struct err *e) must_check;
enum ecode incomplete_erase(struct session *s, const char *run_id, struct err *e) must_check;

/* Ended by itself, or the end of its process is provable: dead. */
enum incomplete_state incomplete_state_of(const struct os *os, const struct incomplete *i);
/* The sealed bytes, for a copy elsewhere; from any thread. */
enum ecode incomplete_seal(
	struct session *s, const struct incomplete *i, struct buf *out, struct err *e) must_check;
/* From them; the record of another run than `run_id` is refused.  E_SEAL_*, E_UNPACKED_FORMAT, E_JSON_*, E_INCOMPLETE_FORMAT */
enum ecode incomplete_open(struct session *s, struct slice sealed, const char *run_id,
	struct arena *a, struct incomplete *out, struct err *e) must_check;

struct incomplete_list { /* all memory is the arena's */
	struct incomplete *v;
	enum incomplete_state *state;
	size_t n, unreadable;
};
/*
 * Every record of the vault, newest first, the caller's own included.  One that cannot be read, is not sealed with
 * the vault's key or is no such record is counted and told as a note; it is never deleted and never refuses.
 * refuses: E_STORE_READ when the vault's root cannot be listed, E_NOMEM
 */
enum ecode incomplete_list_load(
	struct session *s, struct arena *a, struct incomplete_list *out, struct err *e) must_check;

/*
 * `rc`: why `text`, where a snapshot is wanted, names none.  When it is the id of a run that was not finished, or the
 * name of its record, that is said instead: E_SNAPSHOT_INCOMPLETE.  "…:folder" is cut.  Otherwise `rc`, `e` as they are.
 */
enum ecode incomplete_named(
	struct session *s, const char *text, enum ecode rc, struct err *e) must_check;

/* The record's text, for the tests: any bytes.  refuses: E_JSON_*, E_INCOMPLETE_FORMAT, E_LIMIT */
enum ecode incomplete_parse(const void *json, size_t len, struct arena *a, struct incomplete *out,
	struct err *e) must_check;
enum ecode incomplete_text(const struct incomplete *i, struct buf *out, struct err *e) must_check;

#endif
