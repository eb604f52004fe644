/*
 * A tree of any bytes is refused or read.  What was read and is in order is
 * written again; that text must be canonical: a second round changes nothing.
 */
#include <string.h>

#include "repo/tree.h"

#define ARENA_MAX_BYTES (64U << 20)
#define TEXT_MAX_BYTES  (256U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False when the text is refused or, having unsorted names, cannot be written. */
static bool
read_and_write(const uint8_t *text, size_t len, struct buf *out)
{
	autoclean(arena_done) struct arena a = arena_limit(ARENA_MAX_BYTES);
	struct tree_reader reader;
	struct tree_writer writer;
	struct node node;
	bool more = true;
	enum ecode rc;

	tree_reader_init(&reader, text, len, &a);
	rc = tree_begin(&writer, out, NULL);
	while (rc == E_OK && more) {
		rc = tree_next(&reader, &node, &more, NULL);
		if (reader.flaws.unsorted || reader.flaws.duplicate)
			return false;
		if (rc == E_OK && more)
			rc = tree_put(&writer, &node, NULL);
	}
	return rc == E_OK && tree_end(&writer, NULL) == E_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(buf_done) struct buf once = buf_limit(TEXT_MAX_BYTES);
	autoclean(buf_done) struct buf twice = buf_limit(TEXT_MAX_BYTES);

	if (!read_and_write(data, size, &once))
		return 0;
	invariant(read_and_write(once.p, once.len, &twice));
	invariant(once.len == twice.len);
	invariant(memcmp(once.p, twice.p, once.len) == 0);
	return 0;
}
