/*
 * A vault: an opened repository.  Opening reads keys and config and nothing
 * else; the index is loaded on demand.  Read-only after opening, so it may be
 * shared by threads.
 */
#ifndef HF_REPO_VAULT_H
#define HF_REPO_VAULT_H

#include "repo/blob.h"
#include "repo/chunker.h"
#include "repo/keys.h"

struct vault {
	const struct os *os;
	struct store *store;     /* borrowed: closed by whoever opened it */
	struct keyring *keys;    /* owned */
	struct chunker *chunker; /* owned */
	struct id key_id;        /* the key file that opened it */
	unsigned version;        /* 1 or 2 */
	struct id repo_id;
	uint64_t poly;
};

struct vault_init_args {
	struct slice password;
	unsigned version;                /* 2; 1 only for tests */
	const struct kdf_params *params; /* NULL: KEYS_KDF_DEFAULT */
	uint64_t poly;                   /* 0: random */
};
/*
 * Make a new vault: directories, key file, config last.  Refuses with
 * E_VAULT_EXISTS when config, any snapshot, index or pack exists.  A key file
 * without any of them is an init that was cut off: it is finished with that
 * key, or refused (E_VAULT_EXISTS) when the password does not open it.
 * Promise: a refusal leaves no openable vault; what was written by this call
 * is removed again where possible, and repeating the call works.
 */
enum ecode vault_init(const struct os *os, struct store *st, const struct vault_init_args *args,
	struct id *repo_id, struct err *e) must_check;
/* refuses: E_VAULT_MISSING, E_VAULT_CONFIG, E_VAULT_VERSION, E_VAULT_POLY, those of keys_find */
enum ecode vault_open(const struct os *os, struct store *st, struct slice password,
	const char *key_hint, struct vault **out, struct err *e) must_check;
void vault_close(struct vault **v);
/* The config's JSON text, for `cat config`. */
enum ecode vault_config_text(struct vault *v, struct buf *out, struct err *e) must_check;

/* Load an unpacked object (index, snapshot, lock), hash checked; on mismatch it is read once more (13.5). */
enum ecode vault_load(struct vault *v, struct blob_codec *c, enum okind kind, const struct id *id,
	struct buf *json, struct err *e) must_check;
/* Seal and store one; *id is its name. */
enum ecode vault_save(struct vault *v, struct blob_codec *c, enum okind kind, const void *json,
	size_t len, struct id *id, struct err *e) must_check;
/* The object of `kind` whose id begins with hex `prefix`.  E_ID_SYNTAX, E_ID_AMBIGUOUS, E_ID_ABSENT */
enum ecode vault_find(struct vault *v, enum okind kind, const char *prefix, struct id *out,
	struct err *e) must_check;

#endif
