/*
 * Pack headers.  First byte: version and which door; the rest is a plain
 * header, parsed as it is and sealed at the end of a pack of zeros whose size
 * it claims.  What parses must be written back as the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "fuzz/test_key.h"
#include "repo/pack.h"

#define FUZZ_MAX_BYTES ((size_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_written(const struct pack_list *list, const uint8_t *header, size_t len)
{
	autoclean(buf_done) struct buf again = buf_limit(FUZZ_MAX_BYTES);

	invariant(pack_header_write(list, &again, NULL) == E_OK);
	invariant(again.len == len && memcmp(again.p, header, len) == 0);
}

static void
check_tail(
	struct blob_codec *c, unsigned version, const struct pack_list *want, struct slice header)
{
	autoclean(pack_list_done) struct pack_list got = { NULL, 0, 0 };
	autoclean(buf_done) struct buf tail = buf_limit(FUZZ_MAX_BYTES);
	uint64_t size = want->n > 0 ? pack_size(want) : 4096;
	uint8_t trailer[4];
	size_t need = 0;
	enum ecode rc;

	le32_put(trailer, (uint32_t)header.len + SEAL_OVERHEAD);
	invariant(seal_shut(blob_codec_sealer(c), header.p, header.len, &tail, NULL) == E_OK);
	invariant(buf_add(&tail, trailer, sizeof(trailer), NULL) == E_OK);
	rc = pack_tail_parse(c, tail.p, tail.len, size, version, &got, &need, NULL);
	invariant((rc == E_OK) == (got.n > 0) || need > tail.len);
	invariant(rc != E_OK || got.n == want->n);
	/* and as a foreign tail, not sealed by us */
	rc = pack_tail_parse(c, header.p, header.len, header.len + 100, version, &got, &need, NULL);
	invariant(rc != E_OK || need > header.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(pack_list_done) struct pack_list list = { NULL, 0, 0 };
	autoclean(keyring_close) struct keyring *keys = NULL;
	autoclean(blob_codec_close) struct blob_codec *c = NULL;
	unsigned version;

	if (size < 1 || size > FUZZ_MAX_BYTES / 2)
		return 0;
	version = data[0] % 2 + 1;
	if (pack_header_parse(data + 1, size - 1, version, &list, NULL) == E_OK)
		check_written(&list, data + 1, size - 1);
	keys = test_key_open();
	if (blob_codec_open(keys, &test_key_os, version, COMPRESSION_AUTO, &c, NULL) == E_OK)
		check_tail(c, version, &list, (struct slice){ data + 1, size - 1 });
	return 0;
}
