/* Key files (format document 2): making, trying, listing, removing.  Names are hashes of the file text. */
#ifndef HF_REPO_KEYS_H
#define HF_REPO_KEYS_H

#include "base/arena.h"
#include "crypto/keyring.h"
#include "store/erase.h"

struct key_info { /* unauthenticated; for display */
	struct id id;
	struct slice username, hostname; /* in the caller's arena */
	struct instant created;
	struct kdf_params params;
	bool current;
};

/* What we write: N 32768, r 8, and p = 4: about 0.4 s, 32 MiB (docs/decisions). Tests pass cheaper ones. */
extern const struct kdf_params KEYS_KDF_DEFAULT;

/* Derive, seal and store a new key file for the master key; *id is its name.  Created/host/user from os and the text given. */
struct key_labels {
	const char *username, *hostname; /* NULL: from the system */
};
enum ecode keys_add(const struct os *os, struct store *st, const struct keyring *keys,
	struct slice password, const struct kdf_params *params, const struct key_labels *labels,
	struct id *id, struct err *e) must_check;
/*
 * Find the key file that the password opens; hint (hex prefix, may be NULL) first, then at most
 * KEYS_TRIED_MAX of the list.  refuses: E_KEY_WRONG, E_KEY_LIMIT, E_KEY_NONE, E_KEY_DAMAGED (unreadable or hash mismatch,
 * when no other key fits; a damaged key file does not hide a good one: unlike restic we go on), E_KDF_PARAMS
 */
enum ecode keys_find(const struct os *os, struct store *st, struct slice password, const char *hint,
	struct keyring **keys, struct id *id, struct err *e) must_check;
/* All readable key files, sorted by id; damaged ones counted in *damaged. */
enum ecode keys_list(struct store *st, struct arena *a, struct key_info **out, size_t *n,
	size_t *damaged, struct err *e) must_check;
enum ecode keys_remove(struct eraser *er, const struct id *id, struct err *e) must_check;

#endif
