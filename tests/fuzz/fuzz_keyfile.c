/*
 * A key file as somebody else wrote it, under its right name in a store of
 * memory, and the master key's text that a key file holds.  Files that ask for
 * costs we accept are passed over: deriving keys would be all the fuzzer does.
 */
#include <stdlib.h>
#include <string.h>

#include "crypto/hash.h"
#include "fuzz/test_key.h"
#include "repo/format.h"
#include "repo/keys.h"
#include "store/mem.h"

/* N·r·p; above it a run costs more than a few milliseconds */
#define FUZZ_COST_MAX (UINT64_C(1) << 14)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many of the files are worth trying: 0 or 1. */
static bool
cheap_enough(struct store *st)
{
	autoclean(arena_done) struct arena a = arena_limit(SMALL_OBJECT_MAX_BYTES * 4);
	struct key_info *info = NULL;
	size_t n = 0, damaged = 0;

	if (keys_list(st, &a, &info, &n, &damaged, NULL) != E_OK)
		return false;
	invariant(n + damaged == 1);
	if (n == 0 || kdf_params_check(&info[0].params, NULL) != E_OK)
		return true;
	return info[0].params.n * info[0].params.r * info[0].params.p <= FUZZ_COST_MAX;
}

static void
try_file(struct store *st, const uint8_t *data, size_t size)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	struct oname name = { .kind = O_KEY };
	const struct slice part = { data, size },
			   password = { (const uint8_t *)"holdfast-vector-1", 17 };
	struct keyring *keys = NULL;
	struct id id;
	enum ecode rc;

	if (hasher_open(&h, NULL) != E_OK)
		return;
	hasher_sum(h, data, size, &name.id);
	if (store_put(st, &name, &part, 1, NULL) != E_OK || !cheap_enough(st))
		return;
	rc = keys_find(&test_key_os, st, password, NULL, &keys, &id, NULL);
	invariant((rc == E_OK) == (keys != NULL));
	keyring_close(&keys);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store *st = NULL;
	struct keyring *keys = NULL;
	enum ecode rc;

	if (size > SMALL_OBJECT_MAX_BYTES)
		return 0;
	rc = keyring_from_json((struct slice){ data, size }, &keys, NULL);
	invariant((rc == E_OK) == (keys != NULL));
	keyring_close(&keys);
	if (mem_open(&st, NULL) != E_OK)
		return 0;
	try_file(st, data, size);
	store_close(&st);
	return 0;
}
