/*
 * What is behind the seal of a record or blob: four bytes of recorded length,
 * then a body that is sealed with the test key and opened as an unpacked
 * record of both versions and as a blob.
 */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "fuzz/test_key.h"
#include "repo/blob.h"

/* small, so that a swelling frame meets the ceiling */
#define FUZZ_MAX_BYTES ((size_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
open_as_record(const struct keyring *keys, unsigned version, const struct buf *sealed)
{
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	autoclean(buf_done) struct buf out = buf_limit(FUZZ_MAX_BYTES);
	enum ecode rc;

	if (blob_codec_open(keys, &test_key_os, version, COMPRESSION_AUTO, &c, NULL) != E_OK)
		return;
	rc = unpacked_open(c, NULL, sealed->p, sealed->len, &out, NULL);
	invariant(rc == E_OK || out.len == 0);
	invariant(out.len <= FUZZ_MAX_BYTES);
}

static void
open_as_blob(const struct keyring *keys, uint32_t ulen, const struct buf *sealed)
{
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	autoclean(buf_done) struct buf out = buf_limit(FUZZ_MAX_BYTES);
	struct id id = { { 0 } };
	enum ecode rc;

	if (blob_codec_open(keys, &test_key_os, 2, COMPRESSION_AUTO, &c, NULL) != E_OK)
		return;
	rc = blob_open(c, &id, sealed->p, sealed->len, ulen, &out, NULL);
	invariant(rc != E_OK && out.len == 0); /* nothing hashes to zeros */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(keyring_close) struct keyring *keys = NULL;
	autoclean(sealer_close) struct sealer *s = NULL;
	autoclean(buf_done) struct buf sealed = buf_limit(FUZZ_MAX_BYTES);

	if (size < 4 || size > FUZZ_MAX_BYTES / 2)
		return 0;
	keys = test_key_open();
	s = test_key_sealer(keys);
	invariant(seal_shut(s, data + 4, size - 4, &sealed, NULL) == E_OK);
	open_as_record(keys, 1, &sealed);
	open_as_record(keys, 2, &sealed);
	open_as_blob(keys, le32_get(data), &sealed);
	return 0;
}
