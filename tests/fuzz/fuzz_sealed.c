/*
 * Sealed units: the input is opened as it is (never authentic unless it is a
 * seed), and sealed, damaged at a place the input chooses, and opened: the
 * damage must be seen, the undamaged unit must give the input back.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/test_key.h"

#define FUZZ_MAX_BYTES ((size_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_damage(struct sealer *s, struct buf *sealed, struct slice plain)
{
	autoclean(buf_done) struct buf out = buf_limit(FUZZ_MAX_BYTES);
	size_t at = (plain.p[0] | (size_t)plain.p[1] << 8) % sealed->len;
	size_t cut = (plain.p[2] | (size_t)plain.p[3] << 8) % sealed->len;

	sealed->p[at] ^= (uint8_t)(1U << plain.p[0] % 8);
	invariant(seal_open(s, sealed->p, sealed->len, &out, NULL) == E_SEAL_MAC);
	sealed->p[at] ^= (uint8_t)(1U << plain.p[0] % 8);
	invariant(seal_open(s, sealed->p, cut, &out, NULL) ==
		  (cut < SEAL_OVERHEAD ? E_SEAL_SHORT : E_SEAL_MAC));
	invariant(out.len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(keyring_close) struct keyring *keys = test_key_open();
	autoclean(sealer_close) struct sealer *s = test_key_sealer(keys);
	autoclean(buf_done) struct buf sealed = buf_limit(FUZZ_MAX_BYTES);
	autoclean(buf_done) struct buf out = buf_limit(FUZZ_MAX_BYTES);
	enum ecode rc;

	if (size > FUZZ_MAX_BYTES / 2)
		return 0;
	rc = seal_open(s, data, size, &out, NULL);
	invariant(rc == E_OK ? out.len == size - SEAL_OVERHEAD : out.len == 0);
	buf_clear(&out);
	invariant(seal_shut(s, data, size, &sealed, NULL) == E_OK);
	invariant(seal_open(s, sealed.p, sealed.len, &out, NULL) == E_OK);
	invariant(out.len == size && (size == 0 || memcmp(out.p, data, size) == 0));
	if (size >= 4)
		check_damage(s, &sealed, (struct slice){ data, size });
	return 0;
}
