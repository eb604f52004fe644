#include "engine/keyadmin.h"

#include <string.h>

#include "base/wire.h"
#include "repo/keys.h"
#include "store/erase.h"

#define KEY_TEXT_SHOWN 8 /* digits; what `key list` shows */

static bool
same_id(const struct id *a, const struct id *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

enum ecode
keyadmin_list(struct session *s, struct arena *a, struct key_info **out, size_t *n, size_t *damaged,
	struct err *e)
{
	enum ecode rc = keys_list(s->store, a, out, n, damaged, e);

	for (size_t i = 0; rc == E_OK && i < *n; i++)
		(*out)[i].current = same_id(&(*out)[i].id, &s->vault->key_id);
	return rc;
}

static enum ecode
erase_key(struct session *s, const struct id *id, struct err *e)
{
	struct eraser er = eraser_for(s->store, 1U << O_KEY);

	return keys_remove(&er, id, e);
}

/* A key that was stored but does not open would be a false promise. */
static enum ecode
try_key(struct session *s, struct slice password, const struct id *id, struct err *e)
{
	char hint[ID_HEX_SIZE];
	struct keyring *keys = NULL;
	struct id found;
	enum ecode rc;

	id_hex(id, hint);
	rc = keys_find(s->os, s->store, password, hint, &keys, &found, e);
	keyring_close(&keys);
	if (rc == E_OK && !same_id(&found, id))
		rc = err_set(e, E_KEY_DAMAGED, 0, "the new key %.*s does not open the vault",
			KEY_TEXT_SHOWN, hint);
	return rc;
}

enum ecode
keyadmin_add(struct session *s, const struct keyadmin_args *args, struct id *id, struct err *e)
{
	static const struct key_labels from_system = { NULL, NULL };
	const struct kdf_params *params = args->params == NULL ? &KEYS_KDF_DEFAULT : args->params;
	const struct key_labels *labels = args->labels == NULL ? &from_system : args->labels;
	struct id made;
	struct err ignored;
	enum ecode rc =
		keys_add(s->os, s->store, s->vault->keys, args->password, params, labels, &made, e);

	if (rc != E_OK)
		return rc;
	rc = try_key(s, args->password, &made, e);
	if (rc != E_OK) {
		(void)erase_key(s, &made, &ignored); /* the refusal to tell is that of the test */
		return rc;
	}
	*id = made;
	return E_OK;
}

enum ecode
keyadmin_passwd(struct session *s, const struct keyadmin_args *args, struct id *id, struct err *e)
{
	enum ecode rc = keyadmin_add(s, args, id, e);

	if (rc == E_OK && s->lock != NULL)
		rc = lock_check(s->lock, e);
	if (rc == E_OK)
		rc = erase_key(s, &s->vault->key_id, e);
	return rc;
}

enum ecode
keyadmin_remove(struct session *s, const char *prefix, struct id *id, struct err *e)
{
	struct id found;
	enum ecode rc = vault_find(s->vault, O_KEY, prefix, &found, e);

	if (rc == E_OK && same_id(&found, &s->vault->key_id))
		rc = err_set(e, E_KEY_IN_USE, 0, "key %s", prefix);
	if (rc == E_OK && s->lock != NULL)
		rc = lock_check(s->lock, e);
	if (rc == E_OK)
		rc = erase_key(s, &found, e);
	if (rc == E_OK)
		*id = found;
	return rc;
}
