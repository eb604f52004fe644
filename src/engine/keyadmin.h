/*
 * The keys of an open vault (format document 2.6).  None of these re-encrypts
 * data: whoever had a key file and its password once has the master key for ever.
 */
#ifndef HF_ENGINE_KEYADMIN_H
#define HF_ENGINE_KEYADMIN_H

#include "engine/session.h"

/* All readable key files, sorted by id, the one in use marked; damaged ones counted. */
enum ecode keyadmin_list(struct session *s, struct arena *a, struct key_info **out, size_t *n,
	size_t *damaged, struct err *e) must_check;

struct keyadmin_args {
	struct slice password;
	const struct key_labels *labels; /* NULL: from the system */
	const struct kdf_params *params; /* NULL: the default */
};
/*
 * A further key file, opened again as a test before this returns; one that does not open is removed.
 * The session holds a lock.  refuses: E_KEY_*, E_STORE_*
 */
enum ecode keyadmin_add(struct session *s, const struct keyadmin_args *args, struct id *id,
	struct err *e) must_check;
/*
 * As keyadmin_add, then removes the key file that opened the session.  On a refusal of the removal both
 * passwords open the vault, and *id tells the new key.  The session holds the exclusive lock.
 */
enum ecode keyadmin_passwd(struct session *s, const struct keyadmin_args *args, struct id *id,
	struct err *e) must_check;
/* Remove the key file whose id begins with `prefix`.  The exclusive lock.  refuses: E_KEY_IN_USE, E_ID_*, E_STORE_ERASE */
enum ecode keyadmin_remove(
	struct session *s, const char *prefix, struct id *id, struct err *e) must_check;

#endif
