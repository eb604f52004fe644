/* The format's vectors: reading tests/vectors/<name> whole.  Tests only. */
#ifndef HF_TESTS_SUPPORT_VECTORS_H
#define HF_TESTS_SUPPORT_VECTORS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

#define VECTOR_MAX_BYTES (8U << 20) /* the largest file there has 210 kB */

/* Replaces `out`.  False when the file cannot be read: a test must fail then. */
static inline bool
vector_load(const char *name, struct buf *out)
{
	const char *root = getenv("HOLDFAST_SOURCE_ROOT");
	char path[1024];
	FILE *f;
	size_t got;

	if (root == NULL || snprintf(path, sizeof(path), "%s/tests/vectors/%s", root, name) < 0)
		return false;
	f = fopen(path, "rb");
	if (f == NULL)
		return false;
	buf_done(out);
	*out = buf_limit(VECTOR_MAX_BYTES);
	if (buf_reserve(out, VECTOR_MAX_BYTES, NULL) == E_OK) {
		got = fread(out->p, 1, VECTOR_MAX_BYTES, f);
		out->len = got;
	}
	(void)fclose(f);
	return out->len > 0 && out->len < VECTOR_MAX_BYTES;
}

#endif
