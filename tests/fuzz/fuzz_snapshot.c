/* Any bytes as a snapshot's text.  What is read must be written and read again as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "repo/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ARENA ((size_t)64 << 20)

static void
write_again(const struct snapshot *s)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	autoclean(buf_done) struct buf one = buf_limit(FUZZ_ARENA), two = buf_limit(FUZZ_ARENA);
	struct snapshot again;

	invariant(snapshot_write(s, &one, NULL) == E_OK);
	invariant(snapshot_parse(one.p, one.len, &a, &again, NULL) == E_OK);
	invariant(snapshot_write(&again, &two, NULL) == E_OK);
	invariant(one.len == two.len && memcmp(one.p, two.p, one.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	struct snapshot s = { .uid = 77 };
	struct err e = { .code = E_OK };
	enum ecode rc = snapshot_parse(data, size, &a, &s, &e);

	invariant(rc == E_OK || (rc == e.code && s.uid == 77));
	if (rc == E_OK)
		write_again(&s);
	return 0;
}
