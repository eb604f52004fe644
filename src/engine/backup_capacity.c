/*
 * Space in the vault (D-18, DV-26).
 *
 *	need = new data + metadata + reserve      free = what this user may use
 *
 * Nothing is published before the verdict, and an unchanged tree, which stores
 * nothing, is never asked.  The first object that is due looks for the verdict, the
 * cheapest first: all that the sources' file systems hold would fit; or the walk is
 * over, and what is left to store is known to the byte; or the sources are walked a
 * second time for their sizes, while reading goes on.  Afterwards every object is
 * compared with the free space of that moment, because others write there, too.
 *
 * The reserve stays free: the snapshot and the indexes of a run that is nearly done
 * must fit, and removing anything later needs room for a pack that is written first.
 */
#include <inttypes.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "fs/space.h"

/* Reserve: a hundredth of the file system, at least what snapshot, index and lock need, at most four packs of 16 MiB. */
#define RESERVE_PART       100
#define RESERVE_MIN_BYTES  (UINT64_C(1) << 20)
#define RESERVE_MAX_BYTES  (UINT64_C(64) << 20)
/* Names that a run makes beside its packs: index files, snapshot, locks, notes, temporaries of the writers. */
#define RESERVE_INODES     64
/* Distinct file systems below the sources; of more there is no cheap proof. */
#define FILE_SYSTEMS_MAX   64
#define PLACES_ARENA_BYTES ((size_t)64 << 20)

static uint64_t
add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t
reserve_of(const struct space *space)
{
	uint64_t part = space->total_bytes / RESERVE_PART;

	if (part < RESERVE_MIN_BYTES)
		return RESERVE_MIN_BYTES;
	return part > RESERVE_MAX_BYTES ? RESERVE_MAX_BYTES : part;
}

static enum ecode
vault_space(const struct backup *b, struct space *out, struct err *e)
{
	return space_at(b->s->os, store_local_path(b->s->store), out, e);
}

/* ---- refusals ---- */

static void
explain_next(struct err *e)
{
	err_next(e,
		"If most of it is stored already or compresses well, add --capacity watch: then only each object is compared with the free space before it is written.");
}

static enum ecode
refuse_bytes(const struct backup *b, const struct capacity *c, struct err *e)
{
	char need[SPACE_TEXT_MAX], free[SPACE_TEXT_MAX], data[SPACE_TEXT_MAX],
		metadata[SPACE_TEXT_MAX], reserve[SPACE_TEXT_MAX];
	enum ecode rc = err_set(e, E_CAPACITY, 0,
		"this backup needs %s; %s are free in %.200s; nothing was stored",
		space_text(c->need, need), space_text(c->free, free), b->s->store->location);

	err_note(e, "new data %s, metadata %s, reserve %s", space_text(c->data, data),
		space_text(c->metadata, metadata), space_text(c->reserve, reserve));
	explain_next(e);
	return rc;
}

/* Every pack is a file; with small ones inodes end before bytes do. */
static enum ecode
judge_inodes(
	const struct backup *b, const struct capacity *c, const struct space *space, struct err *e)
{
	uint64_t pack = b->args->pack_target_bytes == 0 ? PACK_TARGET_DEFAULT_BYTES
							: b->args->pack_target_bytes;
	uint64_t need = (c->need - c->reserve) / pack + RESERVE_INODES;

	if (space->free_inodes >= need)
		return E_OK;
	return err_set(e, E_CAPACITY, 0,
		"this backup needs %llu files in %.200s; its file system has room for %llu more; nothing was stored",
		(unsigned long long)need, b->s->store->location,
		(unsigned long long)space->free_inodes);
}

enum ecode
capacity_judge(
	struct backup *b, uint64_t data, uint64_t metadata, struct capacity *out, struct err *e)
{
	struct space space;
	enum ecode rc;

	*out = (struct capacity){ .estimated = true, .data = data, .metadata = metadata };
	if (store_local_path(b->s->store) == NULL)
		return E_OK;
	rc = vault_space(b, &space, e);
	if (rc != E_OK)
		return rc;
	out->known = true;
	out->free = space.free_bytes;
	out->reserve = data + metadata == 0 ? 0 : reserve_of(&space);
	out->need = add(add(data, metadata), out->reserve);
	if (out->need > out->free)
		return refuse_bytes(b, out, e);
	return judge_inodes(b, out, &space, e);
}

/* ---- the cheap proof ---- */

/* Types whose used blocks hold all their content.  Others show the files of somewhere else, or pack them more than we do. */
static bool
counts_its_content(const char *type)
{
	static const char *const types[] = { "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs",
		"tmpfs", "vfat", "exfat", "ntfs3" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i], type) == 0)
			return true;
	}
	return false;
}

struct holdings {
	uint64_t dev[FILE_SYSTEMS_MAX];
	size_t n;
	uint64_t bytes; /* used there, and metadata for as many files */
};

/* False: this file system does not say how much it holds. */
static bool
add_file_system(const struct backup *b, const struct mount *m, const char *path, struct holdings *h)
{
	struct space space;
	struct err ignored;

	for (size_t i = 0; i < h->n; i++) {
		if (h->dev[i] == m->dev)
			return true;
	}
	if (h->n == FILE_SYSTEMS_MAX || !counts_its_content(m->type) ||
		space_at(b->s->os, path, &space, &ignored) != E_OK || space.total_bytes == 0)
		return false;
	h->dev[h->n++] = m->dev;
	h->bytes = add(h->bytes, space.used_bytes);
	h->bytes = add(h->bytes, space.used_bytes / CHUNK_MIN_BYTES * ESTIMATE_BLOB_BYTES);
	h->bytes = add(h->bytes,
		space.used_inodes *
			(ESTIMATE_NODE_BYTES + ESTIMATE_BLOB_BYTES)); /* inodes: below 2^48 */
	return true;
}

static bool
add_source(const struct backup *b, const char *path, struct arena *a, struct holdings *h)
{
	struct mount_place at;
	struct err ignored;
	bool found = false;

	if (mounts_locate_path(&b->mounts, b->s->os, path, a, &at, &ignored) != E_OK ||
		at.inside == NULL)
		return false;
	for (size_t i = 0; i < b->mounts.n; i++) {
		const struct mount *m = &b->mounts.v[i];
		bool own = m->dev == at.dev;

		if (!own && (b->args->one_file_system || !path_within(at.real, m->point)))
			continue;
		if (!add_file_system(b, m, own ? path : m->point, h))
			return false;
		found |= own;
	}
	return found;
}

/* All that the sources' file systems hold would fit. */
static bool
fits_whole(const struct backup *b, const struct space *space)
{
	autoclean(arena_done) struct arena a = arena_limit(PLACES_ARENA_BYTES);
	struct holdings h = { .n = 0 };

	for (size_t i = 0; i < b->source_count; i++) {
		if (!b->source[i].nested && !add_source(b, b->source[i].path, &a, &h))
			return false;
	}
	return b->source_count > 0 && add(h.bytes, reserve_of(space)) <= space->free_bytes;
}

/* ---- the verdict ---- */

/* Sealed and not yet stored; the walk is over, so this is all. */
static enum ecode
judge_rest(struct backup *b, struct err *e)
{
	struct commit_totals t;
	uint64_t data;

	commit_totals(b->commit, &t);
	data = t.data_added_packed > t.stored_bytes ? t.data_added_packed - t.stored_bytes : 0;
	b->space_how = "it has room for all that was sealed";
	return capacity_judge(
		b, data, (t.data_blobs + t.tree_blobs) * ESTIMATE_BLOB_BYTES, &b->capacity, e);
}

static enum ecode
judge_estimate(struct backup *b, struct err *e)
{
	const struct listener *l = b->s->listener;
	uint64_t data = 0, metadata = 0;
	enum ecode rc = estimate_beside(b, &data, &metadata, e);

	if (rc == E_OK)
		rc = capacity_judge(b, data, metadata, &b->capacity, e);
	if (rc != E_OK)
		return rc;
	b->space_how = "it has room for what the sources, counted a second time, can bring";
	l->note(l->arg, "space_estimated", "the sources were counted; the vault has room");
	return E_OK;
}

static enum ecode
judge_whole(struct backup *b, struct err *e)
{
	struct space space;
	enum ecode rc;

	if (b->args->capacity == CAPACITY_WATCH || b->source_count == 0)
		return E_OK; /* of a stream nobody knows the end */
	if (atomic_load(&b->walk_over))
		return judge_rest(b, e);
	rc = vault_space(b, &space, e);
	if (rc != E_OK)
		return rc;
	if (!fits_whole(b, &space))
		return judge_estimate(b, e);
	b->space_how = "it has room for all that the sources' file systems hold";
	return E_OK;
}

/* One object, at this moment. */
static enum ecode
judge_object(const struct backup *b, uint64_t bytes, struct err *e)
{
	char need[SPACE_TEXT_MAX], free[SPACE_TEXT_MAX];
	struct space space;
	uint64_t want;
	enum ecode rc = vault_space(b, &space, e);

	if (rc != E_OK)
		return rc;
	want = add(bytes, reserve_of(&space));
	if (want <= space.free_bytes && space.free_inodes > 0)
		return E_OK;
	if (want <= space.free_bytes)
		return err_set(e, E_CAPACITY, 0,
			"the file system of %.200s has no room for one more file",
			b->s->store->location);
	return err_set(e, E_CAPACITY, 0,
		"the next object needs %s, a reserve included; %s are free in %.200s",
		space_text(want, need), space_text(space.free_bytes, free), b->s->store->location);
}

/*
 * b->space_lock is held.  The first refusal is the run's: a second look, while the
 * run ends, would find fewer bytes waiting and let them through.
 */
static enum ecode
judge_once(struct backup *b, struct err *e)
{
	enum ecode rc = b->space_refused.code;

	if (rc != E_OK) {
		*e = b->space_refused;
	} else if (!b->space_judged) {
		rc = judge_whole(b, e);
		if (rc != E_OK)
			b->space_refused = *e;
		b->space_judged = rc == E_OK;
	}
	return rc;
}

enum ecode
gate_space(void *arg, uint64_t bytes, struct err *e)
{
	struct backup *b = arg;
	enum ecode rc;

	if (store_local_path(b->s->store) == NULL)
		return E_OK;
	pthread_mutex_lock(&b->space_lock);
	rc = judge_once(b, e);
	b->space_looks++;
	pthread_mutex_unlock(&b->space_lock);
	return rc == E_OK ? judge_object(b, bytes, e) : rc;
}

enum ecode
gate_capacity_of_dry_run(struct backup *b, struct err *e)
{
	struct commit_totals t;

	if (b->args->capacity == CAPACITY_WATCH)
		return E_OK;
	commit_totals(b->commit, &t);
	return capacity_judge(b, t.data_added_packed,
		(t.data_blobs + t.tree_blobs) * ESTIMATE_BLOB_BYTES, &b->capacity, e);
}

void
capacity_measure(struct backup *b)
{
	if (b->space_how != NULL)
		backup_measure(
			b, "before the first byte was stored, the vault's space: %s", b->space_how);
	if (b->space_looks > 0)
		backup_measure(b,
			"each of %" PRIu64
			" objects was compared with the free space before it was written",
			b->space_looks);
}

enum ecode
capacity_explain(struct backup *b, enum ecode rc, struct err *e)
{
	char need[SPACE_TEXT_MAX], free[SPACE_TEXT_MAX] = "an unknown number of bytes";
	struct commit_totals t = { 0 };
	struct space space = { .free_inodes = UINT64_MAX };
	struct err why;
	uint64_t left;

	if (rc != E_STORE_SPACE || b->commit == NULL || store_local_path(b->s->store) == NULL)
		return rc;
	commit_totals(b->commit, &t);
	left = t.data_added_packed > t.stored_bytes ? t.data_added_packed - t.stored_bytes : 0;
	if (b->capacity.data > t.data_added_packed)
		left = add(left, b->capacity.data - t.data_added_packed);
	why = *e;
	if (vault_space(b, &space, NULL) == E_OK)
		(void)space_text(space.free_bytes, free);
	rc = err_set(e, E_CAPACITY, why.sys,
		"the vault filled up: at least %s more are needed; %s%s are free in %.200s",
		space_text(left, need), space.free_inodes == 0 ? "no file and " : "", free,
		b->s->store->location);
	err_note(e, "%.250s", why.detail);
	return rc;
}
