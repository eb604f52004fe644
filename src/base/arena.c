#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/*
 * Blocks double from the first to the largest size; a request that would waste
 * most of a block gets one of its own behind the current one, which goes on
 * serving small requests.
 */
#define ARENA_ALIGN       16
#define BLOCK_FIRST_BYTES 4096
#define BLOCK_MOST_BYTES  (1U << 20)

struct arena_block {
	struct arena_block *next;
	size_t cap, used;
	alignas(ARENA_ALIGN) uint8_t bytes[];
};

static void
free_blocks(struct arena_block *block)
{
	while (block != NULL) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
}

void
arena_done(struct arena *a)
{
	free_blocks(a->blocks);
	a->blocks = NULL;
	a->used = 0;
}

void
arena_reset(struct arena *a)
{
	if (a->blocks == NULL)
		return;
	free_blocks(a->blocks->next);
	a->blocks->next = NULL;
	a->blocks->used = 0;
	a->used = 0;
}

static struct arena_block *
new_block(size_t cap)
{
	struct arena_block *block = NULL;

	if (cap <= SIZE_MAX - sizeof(*block))
		block = malloc(sizeof(*block) + cap);
	if (block != NULL) {
		block->next = NULL;
		block->cap = cap;
		block->used = 0;
	}
	return block;
}

static size_t
next_block_size(const struct arena *a)
{
	if (a->blocks == NULL)
		return BLOCK_FIRST_BYTES;
	return a->blocks->cap >= BLOCK_MOST_BYTES / 2 ? BLOCK_MOST_BYTES : a->blocks->cap * 2;
}

/* A block with room for `size` bytes, linked in; NULL when memory is short. */
static struct arena_block *
block_for(struct arena *a, size_t size)
{
	struct arena_block *head = a->blocks, *block;
	size_t usual = next_block_size(a);
	bool own = size > usual / 2;

	if (head != NULL && size <= head->cap - head->used)
		return head;
	block = new_block(own ? size : usual);
	if (block == NULL)
		return NULL;
	if (own && head != NULL) {
		block->next = head->next;
		head->next = block;
	} else {
		block->next = head;
		a->blocks = block;
	}
	return block;
}

enum ecode
arena_alloc(struct arena *a, size_t size, void **out, struct err *e)
{
	struct arena_block *block;
	size_t whole;

	if (size > a->limit)
		return err_set(e, E_LIMIT, 0, "%zu bytes exceed the limit of %zu", size, a->limit);
	if (size > SIZE_MAX - ARENA_ALIGN)
		return err_set(e, E_NOMEM, 0, "%zu bytes", size);
	whole = size == 0 ? ARENA_ALIGN : (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (a->used >= a->limit || size > a->limit - a->used)
		return err_set(e, E_LIMIT, 0, "%zu more bytes after %zu exceed the limit of %zu",
			size, a->used, a->limit);
	block = block_for(a, whole);
	if (block == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", size);
	*out = block->bytes + block->used;
	block->used += whole;
	a->used += whole;
	return E_OK;
}

enum ecode
arena_copy(struct arena *a, const void *p, size_t len, struct slice *out, struct err *e)
{
	void *to;
	enum ecode rc = arena_alloc(a, len, &to, e);

	if (rc != E_OK)
		return rc;
	if (len > 0)
		memcpy(to, p, len);
	*out = (struct slice){ to, len };
	return E_OK;
}

enum ecode
arena_str(struct arena *a, const void *p, size_t len, const char **out, struct err *e)
{
	void *to;
	enum ecode rc;

	if (len == SIZE_MAX)
		return err_set(e, E_LIMIT, 0, "a text of %zu bytes", len);
	rc = arena_alloc(a, len + 1, &to, e);
	if (rc != E_OK)
		return rc;
	if (len > 0)
		memcpy(to, p, len);
	((char *)to)[len] = '\0';
	*out = to;
	return E_OK;
}
