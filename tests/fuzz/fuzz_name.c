/*
 * Any bytes as a raw name survive quoting and JSON escaping; any bytes as a
 * stored name are refused or mean the same after being written by us.
 */
#include <string.h>

#include "base/json.h"
#include "base/quote.h"
#include "base/utf8.h"

#define TEXT_MAX_BYTES (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
equal(const struct buf *b, const uint8_t *p, size_t len)
{
	return b->len == len && (len == 0 || memcmp(b->p, p, len) == 0);
}

static void
check_raw(const uint8_t *name, size_t len)
{
	autoclean(buf_done) struct buf quoted = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf decoded = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf back = buf_limit(TEXT_MAX_BYTES);

	invariant(quote_write(&quoted, name, len, NULL) == E_OK);
	invariant(utf8_valid(quoted.p, quoted.len));
	invariant(json_escape(&text, quoted.p, quoted.len, NULL) == E_OK);
	invariant(quote_is_plain(name, len) == equal(&text, name, len));
	invariant(json_unescape(&decoded, buf_slice(&text), NULL) == E_OK);
	invariant(equal(&decoded, quoted.p, quoted.len));
	invariant(quote_read(&back, decoded.p, decoded.len, NULL) == E_OK);
	invariant(equal(&back, name, len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(buf_done) struct buf name = buf_limit(TEXT_MAX_BYTES);

	check_raw(data, size);
	if (quote_read(&name, data, size, NULL) == E_OK)
		check_raw(name.p, name.len);
	return 0;
}
