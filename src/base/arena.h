/*
 * Memory that is released all at once: one run, one tree, one request.
 * Not thread-safe.  A zeroed arena with a limit set is ready: arena_limit().
 */
#ifndef HF_BASE_ARENA_H
#define HF_BASE_ARENA_H

#include "base/err.h"

struct arena_block;
struct arena {
	struct arena_block *blocks;
	size_t used, limit; /* bytes */
};

static inline struct arena
arena_limit(size_t limit_bytes)
{
	return (struct arena){ .limit = limit_bytes };
}

void arena_done(struct arena *a);
/* Forget everything, keep one block for reuse. */
void arena_reset(struct arena *a);
/* 16-byte aligned, uninitialised.  size 0 gives a valid pointer.  refuses: E_NOMEM, E_LIMIT */
enum ecode arena_alloc(struct arena *a, size_t size, void **out, struct err *e) must_check;
enum ecode arena_copy(
	struct arena *a, const void *p, size_t len, struct slice *out, struct err *e) must_check;
/* The copy ends in a NUL that is not counted. */
enum ecode arena_str(
	struct arena *a, const void *p, size_t len, const char **out, struct err *e) must_check;

#endif
