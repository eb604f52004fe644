/* Any bytes as a snapshot's member "holdfast"; what is accepted must be writable and read back as the same claim. */
#include <stdint.h>
#include <string.h>

#include "engine/ownrecord.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ARENA ((size_t)64 << 20)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	autoclean(buf_done) struct buf text = buf_limit(FUZZ_ARENA);
	struct own_record r = { .unreadable = 77 }, again;
	struct err e = { .code = E_OK };
	enum ecode rc = own_parse((struct slice){ data, size }, &a, &r, &e);

	invariant(rc == E_OK || (rc == e.code && r.unreadable == 77));
	if (rc != E_OK || size == 0)
		return 0;
	invariant(r.state == COMPLETENESS_COMPLETE || r.state == COMPLETENESS_PARTIAL);
	invariant((r.state == COMPLETENESS_PARTIAL) == (r.unreadable > 0));
	invariant(own_write(&r, &text, &e) == E_OK);
	invariant(own_parse(buf_slice(&text), &a, &again, &e) == E_OK);
	invariant(again.state == r.state && again.unreadable == r.unreadable &&
		  again.vanished == r.vanished && again.source_count == r.source_count &&
		  again.has_digest == r.has_digest && again.run_id.len == r.run_id.len);
	return 0;
}
