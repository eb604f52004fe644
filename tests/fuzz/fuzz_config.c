/* A config text, sealed with the test key, in a vault whose key file holds that key. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/test_key.h"
#include "repo/vault.h"
#include "store/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 2015-01-02T18:10:13Z; names nobody */
static struct instant
wall(const struct os *os)
{
	(void)os;
	return (struct instant){ .s = 1420222213 };
}

static struct os_ids
ids(const struct os *os)
{
	(void)os;
	return (struct os_ids){ 0, 0 };
}

static int
no_user(const struct os *os, uint32_t uid, char *p, size_t len)
{
	(void)os;
	(void)uid;
	if (len > 0)
		p[0] = '\0';
	return 0;
}

static int
no_host(const struct os *os, char *p, size_t len)
{
	return no_user(os, 0, p, len);
}

static const struct os table = {
	.random = test_key_random,
	.wall = wall,
	.ids = ids,
	.user_name = no_user,
	.hostname = no_host,
};

static const struct kdf_params cheap = { .n = 2, .r = 1, .p = 1 };

static void
open_with(struct store *st, const struct keyring *keys, const uint8_t *data, size_t size)
{
	autoclean(sealer_close) struct sealer *s = test_key_sealer(keys);
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_OBJECT_MAX_BYTES + SEAL_OVERHEAD);
	const struct slice password = { (const uint8_t *)"p", 1 };
	const struct oname name = { .kind = O_CONFIG };
	struct vault *v = NULL;
	struct slice part;
	struct id id;
	enum ecode rc;

	invariant(keys_add(&table, st, keys, password, &cheap, NULL, &id, NULL) == E_OK);
	invariant(seal_shut(s, data, size, &sealed, NULL) == E_OK);
	part = buf_slice(&sealed);
	invariant(store_put(st, &name, &part, 1, NULL) == E_OK);
	rc = vault_open(&table, st, password, NULL, &v, NULL);
	invariant((rc == E_OK) == (v != NULL));
	invariant(v == NULL || ((v->version == 1 || v->version == 2) && poly_irreducible(v->poly)));
	vault_close(&v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(keyring_close) struct keyring *keys = NULL;
	struct store *st = NULL;

	if (size > SMALL_OBJECT_MAX_BYTES - SEAL_OVERHEAD)
		return 0;
	keys = test_key_open();
	if (mem_open(&st, NULL) != E_OK)
		return 0;
	open_with(st, keys, data, size);
	store_close(&st);
	return 0;
}
