/*
 * Between planning and writing: put the directories in order, find out which
 * names share an inode, look up where every blob lies, and refuse what cannot
 * come out right while nothing has been written yet.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

/* Blob uses of one restore: 40 bytes each; 4 billion would be 160 GB of memory. */
#define USES_MAX   UINT32_MAX
/* With holes allowed, a blob that shrank this much is taken for zeros when space is estimated. */
#define HOLE_RATIO 500

bool
restore_is_link(const struct restore_item *item)
{
	return item->type != NODE_DIR && item->to.link_to != NULL;
}

/* ---- directories, parents first ---- */

static size_t
count_wanted(const struct restore *r, uint32_t *depth)
{
	size_t n = 0;

	*depth = 0;
	for (unsigned i = 0; i <= r->s->workers; i++)
		for (const struct restore_dir *d = r->worker[i].dirs; d != NULL; d = d->next)
			if (d->wanted) {
				*depth = d->depth > *depth ? d->depth : *depth;
				n++;
			}
	return n;
}

/* start[k]: where directories of depth k begin. */
static void
place_by_depth(struct restore *r, size_t *start)
{
	for (unsigned i = 0; i <= r->s->workers; i++)
		for (struct restore_dir *d = r->worker[i].dirs; d != NULL; d = d->next)
			if (d->wanted)
				r->dirs[start[d->depth]++] = d;
}

static void
depth_starts(const struct restore *r, size_t *start, uint32_t depth)
{
	size_t sum = 0;

	for (unsigned i = 0; i <= r->s->workers; i++)
		for (const struct restore_dir *d = r->worker[i].dirs; d != NULL; d = d->next)
			start[d->depth < depth && d->wanted ? d->depth + 1 : 0]++;
	start[0] = 0;
	for (uint32_t k = 0; k <= depth; k++) {
		sum += start[k];
		start[k] = sum;
	}
}

static enum ecode
order_dirs(struct restore *r, struct err *e)
{
	uint32_t depth;
	size_t *start;

	r->dir_count = count_wanted(r, &depth);
	r->dirs = calloc(r->dir_count + 1, sizeof(struct restore_dir *));
	start = calloc((size_t)depth + 1, sizeof(*start));
	if (r->dirs == NULL || start == NULL) {
		free(start);
		return err_set(e, E_NOMEM, ENOMEM, "%zu directories", r->dir_count);
	}
	depth_starts(r, start, depth);
	place_by_depth(r, start);
	free(start);
	return E_OK;
}

/* ---- hard links ---- */

/* Names of one inode that do not tell the same story are restored each by itself. */
static bool
same_inode(const struct restore_item *a, const struct restore_item *b)
{
	size_t n = a->content_count;

	if (a->type != b->type || a->size != b->size || n != b->content_count ||
		a->extra->rdev != b->extra->rdev)
		return false;
	if (a->type == NODE_SYMLINK && strcmp(a->extra->target, b->extra->target) != 0)
		return false;
	return n == 0 || memcmp(a->content, b->content, n * sizeof(*a->content)) == 0;
}

static enum ecode
link_item(struct restore *r, struct map *seen, struct restore_item *item, struct err *e)
{
	struct restore_item *first, **p;
	uint64_t *value;
	enum ecode rc;
	bool found;

	rc = map_put(seen, item->extra->device_id, item->extra->inode, (uint64_t)(uintptr_t)item,
		&value, &found, e);
	if (rc != E_OK || !found)
		return rc;
	first = (struct restore_item *)(uintptr_t)*value;
	if (!same_inode(first, item))
		return E_OK;
	if ((r->link_count & (r->link_count + 1)) == 0) { /* 0, 1, 3, 7 …: full */
		p = reallocarray(r->links, r->link_count * 2 + 1, sizeof(struct restore_item *));
		if (p == NULL)
			return err_set(e, E_NOMEM, ENOMEM, "%zu hard links", r->link_count);
		r->links = p;
	}
	r->links[r->link_count++] = item;
	item->to.link_to = first;
	first->extra->names++;
	return E_OK;
}

static enum ecode
find_links(struct restore *r, struct err *e)
{
	autoclean(map_done) struct map seen = { 0 };
	enum ecode rc = E_OK;

	for (size_t i = 0; restore_policy_links(r) && i < r->dir_count; i++) {
		struct restore_dir *d = r->dirs[i];

		invariant(d != NULL); /* order_dirs filled every place */
		for (size_t k = 0; rc == E_OK && k < d->count; k++)
			if (d->items[k].extra != NULL && d->items[k].extra->inode != 0 &&
				!d->items[k].skipped)
				rc = link_item(r, &seen, &d->items[k], e);
	}
	return rc;
}

/* ---- blobs ---- */

/* Does one content need writing of its own? */
static bool
has_blobs(const struct restore_item *item)
{
	return item->type == NODE_FILE && !item->skipped && !restore_is_link(item);
}

static enum ecode
count_uses(struct restore *r, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < r->dir_count; i++)
		for (size_t k = 0; k < r->dirs[i]->count; k++) {
			const struct restore_item *item = &r->dirs[i]->items[k];

			n += has_blobs(item) ? item->content_count
					     : 0; /* each is 32 bytes of memory: no overflow */
		}
	if (n > USES_MAX)
		return err_set(e, E_LIMIT, 0, "%zu pieces of content", n);
	r->uses = calloc(n + 1, sizeof(*r->uses));
	return r->uses != NULL ? E_OK : err_set(e, E_NOMEM, ENOMEM, "%zu pieces of content", n);
}

static bool
locate_blob(struct restore *r, struct restore_item *item, size_t k, uint64_t at, uint64_t *len)
{
	struct restore_use *use = &r->uses[r->use_count];
	struct blob_loc loc;

	if (!index_find(r->s->index, BLOB_DATA, &item->content[k], &loc) ||
		loc.length < SEAL_OVERHEAD)
		return false;
	*use = (struct restore_use){
		.pack_no = loc.pack_no,
		.offset = loc.offset,
		.length = loc.length,
		.ulen = loc.ulen,
		.seq = (uint32_t)r->use_count,
		.blob = (uint32_t)k,
		.item = item,
		.at = at,
	};
	*len = loc.ulen != 0 ? loc.ulen : loc.length - SEAL_OVERHEAD;
	r->use_count++;
	return true;
}

/* The bytes this blob will take, as far as that can be known. */
static uint64_t
space_of(const struct restore *r, const struct restore_use *use, uint64_t len)
{
	bool hole =
		r->args->sparse && use->ulen != 0 && (uint64_t)use->length * HOLE_RATIO < use->ulen;

	return hole ? 0 : len;
}

/* A recorded size that lies would put wrong bytes under a good name (format document 10.2). */
static void
locate_file(struct restore *r, struct restore_item *item, uint64_t *need)
{
	size_t before = r->use_count;
	uint64_t at = 0, len = 0, space = 0;

	for (size_t k = 0; k < item->content_count; k++) {
		if (!locate_blob(r, item, k, at, &len)) {
			restore_damage(r, item->dir, item->name, E_BLOB_ABSENT, 0,
				"a piece of its content is in no index");
			atomic_store(&item->damaged, true);
			r->use_count = before;
			return;
		}
		at += len; /* at most 2^32 pieces of 2^32 bytes */
		space += space_of(r, &r->uses[r->use_count - 1], len);
	}
	if (at != item->size) {
		restore_damage(r, item->dir, item->name, E_BLOB_LENGTH, 0,
			"its size is not that of its content");
		atomic_store(&item->damaged, true);
		r->use_count = before;
		return;
	}
	*need += (space + RESTORE_BLOCK_BYTES - 1) / RESTORE_BLOCK_BYTES * RESTORE_BLOCK_BYTES;
}

static void
count_item(struct restore *r, const struct restore_item *item)
{
	if (item->skipped && item->type != NODE_DIR)
		return; /* what is there stays */
	switch (item->type) {
	case NODE_FILE:
		r->planned.files++;
		r->planned.bytes += item->size;
		break;
	case NODE_DIR:
		r->planned.dirs += item->to.child->wanted ? 1 : 0;
		break;
	case NODE_SYMLINK:
	case NODE_DEV:
	case NODE_CHARDEV:
	case NODE_FIFO:
		r->planned.others++;
		break;
	case NODE_SOCKET:
	case NODE_IRREGULAR:
		break; /* never kept */
	}
}

static enum ecode
locate_all(struct restore *r, uint64_t *need, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < r->dir_count; i++) {
		struct restore_dir *d = r->dirs[i];

		rc = restore_asked_to_stop(r, e);
		*need += RESTORE_BLOCK_BYTES;
		for (size_t k = 0; k < d->count; k++) {
			count_item(r, &d->items[k]);
			if (has_blobs(&d->items[k]))
				locate_file(r, &d->items[k], need);
		}
	}
	return rc;
}

static int
by_place(const void *a, const void *b)
{
	const struct restore_use *x = a, *y = b;

	if (x->pack_no != y->pack_no)
		return x->pack_no < y->pack_no ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

/* ---- verdicts ---- */

/* The plan tells what sizes add up to; what is refused is what is really taken. */
static enum ecode
check_space(struct restore *r, uint64_t need, const struct restore_stays *stays, struct err *e)
{
	uint64_t real = stays->taken < stays->bytes ? stays->taken : stays->bytes;
	uint64_t items = r->planned.files + r->planned.dirs + r->planned.others - r->link_count + 3;

	need += RESTORE_RESERVE_BYTES;
	if (r->args->artifacts) /* wherever they go: a plan must not depend on it */
		need += items * RESTORE_RECORD_BYTES;
	if (__builtin_add_overflow(need, stays->bytes, &r->needed))
		r->needed = UINT64_MAX;
	if (__builtin_add_overflow(need, real, &need))
		need = UINT64_MAX;
	if (r->args->resume != NULL)
		return E_OK; /* some of it is staged: restore_adopt() */
	if (r->args->kind == RESTORE_IN_PLACE)
		return E_OK; /* what is there already is not written again: restore_in_place_choose() */
	if (need > r->space.free_bytes)
		return err_set(e, E_DEST_SPACE, 0,
			"%" PRIu64 " bytes are needed, %" PRIu64 " are free", need,
			r->space.free_bytes);
	if (items > r->space.free_inodes)
		return err_set(e, E_DEST_SPACE, 0,
			"%" PRIu64 " inodes are needed, %" PRIu64 " are free", items,
			r->space.free_inodes);
	return E_OK;
}

enum ecode
restore_locate(struct restore *r, struct err *e)
{
	bool filtered = r->args->includes != NULL || r->args->excludes != NULL ||
			r->args->only_count > 0 || r->args->strip > 0;
	const struct restore_stays nothing = { .bytes = 0 };
	uint64_t need = 0;
	bool none;
	enum ecode rc;

	rc = order_dirs(r, e);
	if (rc == E_OK)
		rc = find_links(r, e);
	if (rc == E_OK)
		rc = count_uses(r, e);
	if (rc == E_OK)
		rc = locate_all(r, &need, e);
	if (rc != E_OK)
		return rc;
	none = r->planned.files + r->planned.dirs + r->planned.others == 0;
	if (r->damaged > 0 && (none || !r->args->allow_partial)) /* of nothing there is no part */
		return err_set(e, E_RESTORE_DAMAGED, 0,
			"%" PRIu64 " path%s cannot be restored; nothing was written",
			(uint64_t)r->damaged, r->damaged == 1 ? "" : "s");
	if (filtered && none)
		return err_set(e, E_NOTHING_MATCHED, 0,
			"what is asked for leaves no path of snapshot %s", r->args->snapshot);
	if (r->use_count > 1)
		qsort(r->uses, r->use_count, sizeof(*r->uses), by_place);
	return restore_keeps(r) ? E_OK : check_space(r, need, &nothing, e);
}

/* ---- the plan without what stays ---- */

/* Parents before children: below what is not taken nothing is. */
static void
take_out(struct restore_dir *d)
{
	for (size_t k = 0; k < d->count; k++) {
		struct restore_item *item = &d->items[k];
		bool stays = (item->live & LIVE_THERE) != 0 && item->decision == CONFLICT_LIVE;

		if (item->type != NODE_DIR)
			item->skipped = stays;
		else if (!d->wanted || (stays && (item->live & LIVE_TYPE) != 0))
			item->to.child->wanted = false;
	}
}

static void
forget_places(struct restore *r)
{
	for (size_t i = 0; i < r->link_count; i++) {
		r->links[i]->to.link_to->extra->names = 1;
		r->links[i]->to.link_to = NULL;
	}
	r->link_count = 0;
	free(r->links);
	r->links = NULL;
	free(r->uses);
	r->uses = NULL;
	r->use_count = 0;
	free(r->dirs);
	r->dirs = NULL;
	r->planned = (struct restore_counts){ 0 };
}

enum ecode
restore_relocate(struct restore *r, struct err *e)
{
	struct restore_stays stays = { .bytes = 0 };
	uint64_t need = 0;
	enum ecode rc;

	if (!restore_keeps(r))
		return E_OK;
	for (size_t i = 0; i < r->dir_count; i++)
		take_out(r->dirs[i]);
	forget_places(r);
	rc = order_dirs(r, e);
	if (rc == E_OK)
		rc = find_links(r, e);
	if (rc == E_OK)
		rc = count_uses(r, e);
	if (rc == E_OK)
		rc = locate_all(r, &need, e);
	if (rc == E_OK)
		rc = restore_keep_measure(r, &stays, e);
	if (rc != E_OK)
		return rc;
	if (r->use_count > 1)
		qsort(r->uses, r->use_count, sizeof(*r->uses), by_place);
	if (r->args->resume == NULL && stays.entries > r->space.free_inodes)
		return err_set(e, E_DEST_SPACE, 0,
			"%" PRIu64 " inodes are needed for what stays, %" PRIu64 " are free",
			stays.entries, r->space.free_inodes);
	return check_space(r, need, &stays, e);
}
