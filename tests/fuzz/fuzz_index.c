/* An index text, as version 1 and 2: what is accepted keeps its limits and comes back as it was. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "repo/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
judge_blob(struct index *ix, const struct pack_entry *b, uint32_t pack_no)
{
	struct blob_loc loc[4];
	size_t n = index_find_all(ix, b->kind, &b->id, loc, 4);
	bool found = n > 4; /* more than looked at */

	invariant(b->length >= SEAL_OVERHEAD && b->ulen <= BLOB_PLAIN_MAX_BYTES);
	invariant((uint64_t)b->offset + b->length <= UINT32_MAX);
	for (size_t i = 0; i < n && i < 4; i++)
		found |= loc[i].pack_no == pack_no && loc[i].offset == b->offset;
	invariant(found);
}

/* All packs written again and parsed again are as many blobs. */
static void
judge_again(const struct index_pack *packs, size_t n, unsigned version, size_t blobs)
{
	struct buf text = buf_limit((size_t)64 << 20);
	struct index *again = NULL;

	invariant(index_open(&again, NULL) == E_OK);
	invariant(index_write(packs, n, &text, NULL) == E_OK);
	invariant(index_parse(again, text.p, text.len, version, NULL) == E_OK);
	invariant(index_blob_count(again) == blobs);
	buf_done(&text);
	index_close(&again);
}

#define JUDGED_MAX 64 /* packs */

static void
judge(struct index *ix, unsigned version)
{
	struct index_pack packs[JUDGED_MAX] = { 0 };
	size_t n = index_pack_count(ix), blobs = 0;
	bool overlap = false;

	for (uint32_t i = 0; i < n && i < JUDGED_MAX; i++) {
		struct pack_list *l = &packs[i].blobs;

		index_pack_id(ix, i, &packs[i].id);
		invariant(index_pack_blobs(ix, i, l, NULL) == E_OK);
		invariant(index_pack_size(ix, i) == pack_size(l));
		for (size_t k = 0; k < l->n; k++) {
			judge_blob(ix, &l->v[k], i);
			if (k > 0 &&
				(uint64_t)l->v[k - 1].offset + l->v[k - 1].length > l->v[k].offset)
				overlap = true; /* two listings of one pack contradict each other */
		}
		blobs += l->n;
	}
	if (n <= JUDGED_MAX) {
		invariant(blobs == index_blob_count(ix));
		if (!overlap)
			judge_again(packs, n, version, blobs);
	}
	for (size_t i = 0; i < n && i < JUDGED_MAX; i++)
		pack_list_done(&packs[i].blobs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (unsigned version = 1; version <= 2; version++) {
		struct index *ix = NULL;

		invariant(index_open(&ix, NULL) == E_OK);
		if (index_parse(ix, data, size, version, NULL) == E_OK)
			judge(ix, version);
		index_close(&ix);
	}
	return 0;
}
