/* Any bytes as the record of an interrupted run.  What is read must be written and read again as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/incomplete.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ARENA ((size_t)64 << 20)

static void
write_again(const struct incomplete *i)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	autoclean(buf_done) struct buf one = buf_limit(FUZZ_ARENA), two = buf_limit(FUZZ_ARENA);
	struct incomplete again;

	invariant(strlen(i->run_id) > 0 && strlen(i->run_id) <= NOTE_ID_MAX);
	invariant(incomplete_text(i, &one, NULL) == E_OK);
	if (one.len >
		INCOMPLETE_MAX_BYTES) /* escapes may be longer than what they were read from */
		return;
	invariant(incomplete_parse(one.p, one.len, &a, &again, NULL) == E_OK);
	invariant(incomplete_text(&again, &two, NULL) == E_OK);
	invariant(one.len == two.len && memcmp(one.p, two.p, one.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	struct incomplete i = { .files = 77 };
	struct err e = { .code = E_OK };
	enum ecode rc = incomplete_parse(data, size, &a, &i, &e);

	invariant(rc == E_OK || (rc == e.code && i.files == 77));
	if (rc == E_OK)
		write_again(&i);
	return 0;
}
