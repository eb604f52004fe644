/*
 * A sample is every file whose rank is low.  A rank is a hash of a random seed
 * and the path: it needs no memory while it is asked for, gives the same files
 * again for the same seed, and no file can arrange to be left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/drill_internal.h"
#include "engine/inspect.h"

#define RANKS_FIRST 1024 /* grows by doubling: 8 bytes a file */

static uint64_t
rank_of(struct drill *d, struct hasher *h, const char *path, size_t len)
{
	struct id id;
	uint64_t rank;

	hasher_begin(h);
	hasher_add(h, d->seed, sizeof(d->seed));
	hasher_add(h, path, len);
	hasher_end(h, &id);
	memcpy(&rank, id.b, sizeof(rank));
	return rank;
}

bool
drill_sample_wants(void *drill, const char *path, size_t len)
{
	struct drill *d = drill;
	struct hasher *h = NULL;
	bool wanted;

	/* asked from any thread; without memory for a hasher more is looked at, never less */
	if (hasher_open(&h, NULL) != E_OK)
		return true;
	wanted = rank_of(d, h, path, len) <= d->threshold;
	hasher_close(&h);
	return wanted;
}

static enum ecode
grow(struct drill *d, struct err *e)
{
	size_t cap = d->rank_cap == 0 ? RANKS_FIRST : 2 * d->rank_cap;
	uint64_t *more = reallocarray(d->ranks, cap, sizeof(*more));

	if (more == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "the list of files to choose from");
	d->ranks = more;
	d->rank_cap = cap;
	return E_OK;
}

static enum ecode
each_file(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	struct drill *d = arg;
	enum ecode rc = E_OK;

	(void)descend;
	if (item->node->type != NODE_FILE)
		return E_OK;
	if (d->rank_count == d->rank_cap)
		rc = grow(d, e);
	if (rc == E_OK)
		d->ranks[d->rank_count++] = rank_of(d, d->keys, item->path, strlen(item->path));
	return rc;
}

static int
ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static size_t
how_many(const struct drill *d)
{
	uint64_t n = d->args->amount;

	if (d->args->kind == DRILL_PERCENT)
		n = (uint64_t)d->rank_count * n / 100 + ((uint64_t)d->rank_count * n % 100 != 0);
	return n < d->rank_count ? (size_t)n : d->rank_count;
}

enum ecode
drill_sample_choose(struct drill *d, struct err *e)
{
	const struct os *os = d->s->os;
	int got = os->random(os, d->seed, sizeof(d->seed));
	enum ecode rc = E_OK;

	if (got < 0)
		return err_set(e, E_RANDOM, -got, "the seed of the sample");
	for (size_t i = 0; i < sizeof(d->seed); i++)
		(void)snprintf(&d->out->record.seed[2 * i], 3, "%02x", d->seed[i]);
	rc = inspect_walk(d->s, &d->snap->tree, each_file, d, e);
	if (rc != E_OK)
		return rc;
	if (d->rank_count == 0)
		return err_set(e, E_NOTHING_MATCHED, 0, "there is no file to choose");
	qsort(d->ranks, d->rank_count, sizeof(*d->ranks), ascending);
	d->threshold = d->ranks[how_many(d) - 1];
	return E_OK;
}
