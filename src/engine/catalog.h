/* Making a vault, and the list of its snapshots: thin doors to repo/ for cli/. */
#ifndef HF_ENGINE_CATALOG_H
#define HF_ENGINE_CATALOG_H

#include "engine/session.h"

struct catalog_init_args {
	const struct os *os;
	const char *location;
	struct store *store; /* given by tests; NULL: opened from location */
	struct slice password;
	const struct kdf_params *params; /* NULL: the default */
};
/* A new vault of format version 2.  refuses: E_STORE_LOCATION, E_VAULT_EXISTS, those of vault_init */
enum ecode catalog_init(
	const struct catalog_init_args *args, struct id *repo_id, struct err *e) must_check;

/* All snapshots, oldest first.  refuses: those of snapshot_list_load */
enum ecode catalog_list(
	struct session *s, struct arena *a, struct snapshot_list *out, struct err *e) must_check;

/*
 * The one snapshot that `text` means now ("latest", an id, "…:sub/folder"); *sub is NULL without a folder.  All memory is
 * the arena's.  "latest" among records that cannot be read is refused.  refuses: E_SNAPSHOT_*, E_ID_*, those of the list
 */
enum ecode catalog_choose(struct session *s, const struct snapshot_filter *filter, const char *text,
	struct arena *a, const struct snapshot **out, const char **sub, struct err *e) must_check;

/* The snapshot's record as restic prints it: section 7's object without its closing brace or final newline. */
enum ecode catalog_record_open(const struct snapshot *s, struct buf *out, struct err *e) must_check;

#endif
