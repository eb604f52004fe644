#include "engine/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "engine/check_internal.h"
#include "engine/ownrecord.h"

/* Snapshot records, keys and locks of a vault: 100,000 records of 2 KiB. */
#define CHECK_ARENA_BYTES ((size_t)1 << 30)
#define FINDING_TEXT_MAX  512
/* Largest divisor of n/t: it selects by one byte of the pack's name (format document 11.12). */
#define SUBSET_PARTS_MAX  256

/* ---- telling ---- */

static void
tell(struct check *c, const struct check_finding *f)
{
	atomic_fetch_add(f->hint ? &c->hints : &c->errors, 1);
	if (!f->hint)
		atomic_fetch_add(&c->s->listener->progress->problems, 1);
	c->found(c->arg, f);
}

static void
tell_text(struct check *c, struct check_finding *f, const char *kind, const struct id *id,
	const char *fmt, va_list ap)
{
	char object[128], text[FINDING_TEXT_MAX], hex[ID_HEX_SIZE] = "";

	if (id != NULL)
		id_hex(id, hex);
	(void)snprintf(object, sizeof(object), "%s%s%s", kind, id == NULL ? "" : " ", hex);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence still says most */
	f->object = object;
	f->text = text;
	tell(c, f);
}

void
check_error(struct check *c, enum ecode code, const char *kind, const struct id *id,
	const char *fmt, ...)
{
	struct check_finding f = { .code = code };
	va_list ap;

	va_start(ap, fmt);
	tell_text(c, &f, kind, id, fmt, ap);
	va_end(ap);
}

void
check_hint(struct check *c, enum ecode code, const char *kind, const struct id *id, const char *fmt,
	...)
{
	struct check_finding f = { .code = code, .hint = true };
	va_list ap;

	va_start(ap, fmt);
	tell_text(c, &f, kind, id, fmt, ap);
	va_end(ap);
}

enum ecode
check_broken(struct check *c, const struct id *pack, struct err *e)
{
	enum ecode rc = E_OK;

	pthread_mutex_lock(&c->lock);
	if (c->broken_n == c->broken_cap) {
		size_t cap = c->broken_cap == 0 ? 16 : c->broken_cap * 2;
		struct id *p = realloc(c->broken, cap * sizeof(*p));

		if (p == NULL) {
			rc = err_set(e, E_NOMEM, 0, "the list of damaged packs");
		} else {
			c->broken = p;
			c->broken_cap = cap;
		}
	}
	if (rc == E_OK)
		c->broken[c->broken_n++] = *pack;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

enum ecode
check_stopped(struct check *c, struct err *e)
{
	const struct listener *l = c->s->listener;

	return l->stop(l->arg)
		       ? err_set(e, E_INTERRUPTED, 0, "the check was stopped before its end")
		       : E_OK;
}

/* ---- a set of ids ---- */

struct id_set {
	struct id *slot;
	bool *used;
	size_t n, cap; /* cap is a power of two */
};

enum ecode
id_set_open(struct id_set **out, struct err *e)
{
	struct id_set *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set(e, E_NOMEM, 0, "a set of ids");
	*out = s;
	return E_OK;
}

void
id_set_close(struct id_set **s)
{
	if (*s == NULL)
		return;
	free((*s)->slot);
	free((*s)->used);
	free(*s);
	*s = NULL;
}

/* Ids are SHA-256 values: their first bytes are a hash already. */
static size_t
id_set_find(const struct id_set *s, const struct id *id)
{
	size_t at;

	memcpy(&at, id->b, sizeof(at));
	for (at &= s->cap - 1; s->used[at]; at = (at + 1) & (s->cap - 1)) {
		if (id_cmp(&s->slot[at], id) == 0)
			break;
	}
	return at;
}

static enum ecode
id_set_grow(struct id_set *s, struct err *e)
{
	struct id_set bigger = { .cap = s->cap == 0 ? 1024 : s->cap * 2, .n = s->n };

	bigger.slot = malloc(bigger.cap * sizeof(struct id));
	bigger.used = calloc(bigger.cap, sizeof(bool));
	if (bigger.slot == NULL || bigger.used == NULL) {
		free(bigger.slot);
		free(bigger.used);
		return err_set(e, E_NOMEM, 0, "a set of ids");
	}
	for (size_t i = 0; i < s->cap; i++) {
		if (s->used[i]) {
			size_t at = id_set_find(&bigger, &s->slot[i]);

			bigger.slot[at] = s->slot[i];
			bigger.used[at] = true;
		}
	}
	free(s->slot);
	free(s->used);
	*s = bigger;
	return E_OK;
}

enum ecode
id_set_add(struct id_set *s, const struct id *id, bool *fresh, struct err *e)
{
	size_t at;

	if (s->n * 2 >= s->cap) {
		enum ecode rc = id_set_grow(s, e);

		if (rc != E_OK)
			return rc;
	}
	at = id_set_find(s, id);
	*fresh = !s->used[at];
	if (*fresh) {
		s->slot[at] = *id;
		s->used[at] = true;
		s->n++;
	}
	return E_OK;
}

/* ---- stages ---- */

static void
index_flaw(void *arg, const struct id *file, const struct err *why)
{
	check_error(arg, E_INDEX_FORMAT, "index", file, "it cannot be used: %s", why->detail);
}

static enum ecode
check_index(struct check *c, struct err *e)
{
	struct index_flaws flaws = { 0 };
	enum ecode rc = index_load(
		c->s->index, c->s->vault, c->s->flow, c->s->codec, &flaws, index_flaw, c, e);

	if (rc != E_OK)
		return rc;
	if (flaws.conflicting_packs > 0)
		check_error(c, E_INDEX_FORMAT, "index", NULL,
			"%zu packs are listed with different content in different files",
			flaws.conflicting_packs);
	if (flaws.duplicate_packs > 0)
		check_hint(c, E_INDEX_FORMAT, "index", NULL,
			"%zu packs are listed more than once; repair index would tidy this",
			flaws.duplicate_packs);
	if (flaws.mixed_packs > 0)
		check_hint(c, E_INDEX_FORMAT, "index", NULL,
			"%zu packs mix data and directories; prune would separate them",
			flaws.mixed_packs);
	if (flaws.unreadable > 0 || flaws.duplicate_packs > 0)
		atomic_store(&c->suggest_repair_index, true);
	if (flaws.mixed_packs > 0)
		atomic_store(&c->suggest_prune, true);
	if (flaws.unreadable > 0)
		return err_set(e, E_INDEX_FORMAT, 0,
			"%zu index files cannot be used; nothing behind them was checked",
			flaws.unreadable);
	return E_OK;
}

/* A partial snapshot is no damage, but whoever relies on it must know; one that cannot say what it is, is damage (DV-04). */
static void
check_claim(struct check *c, struct arena *a, const struct snapshot *s)
{
	struct own_record own;
	struct err why;
	enum ecode rc = own_parse(s->holdfast, a, &own, &why);

	if (rc == E_OWN_VERSION)
		check_hint(c, rc, "snapshot", &s->id, "%s", why.detail);
	else if (rc != E_OK)
		check_error(c, rc, "snapshot", &s->id, "%s", why.detail);
	else if (own.state == COMPLETENESS_PARTIAL) {
		c->partial++;
		check_hint(c, E_PARTIAL, "snapshot", &s->id,
			"it is partial: %llu path%s could not be read when it was made",
			(unsigned long long)own.unreadable, own.unreadable == 1 ? "" : "s");
	}
}

static enum ecode
check_snapshots(struct check *c, struct arena *a, struct snapshot_list *list, struct err *e)
{
	enum ecode rc = snapshot_list_load(c->s->vault, c->s->own, a, list, e);

	if (rc == E_OK && list->unreadable > 0)
		check_error(c, E_SNAPSHOT_FORMAT, "snapshot", NULL,
			"%zu records cannot be read; the first: %s", list->unreadable,
			list->first_unreadable.detail);
	for (size_t i = 0; rc == E_OK && i < list->n; i++)
		check_claim(c, a, &list->v[i]);
	return rc;
}

static enum ecode
check_keys_and_locks(struct check *c, struct arena *a, struct err *e)
{
	struct key_info *keys;
	struct lock_info *locks;
	size_t n, damaged = 0, unreadable = 0;
	enum ecode rc = keys_list(c->s->store, a, &keys, &n, &damaged, e);

	if (rc == E_OK && damaged > 0)
		check_error(c, E_KEY_DAMAGED, "keys", NULL,
			"%zu key files cannot be read or are damaged", damaged);
	if (rc == E_OK)
		rc = lock_list(c->s->vault, a, &locks, &n, &unreadable, e);
	if (rc == E_OK && unreadable > 0)
		check_hint(c, E_LOCK_UNREADABLE, "locks", NULL, "%zu locks cannot be read",
			unreadable);
	return rc;
}

static enum ecode
check_stages(struct check *c, struct arena *a, struct snapshot_list *snapshots, struct err *e)
{
	struct progress *p = c->s->listener->progress;
	enum ecode rc;

	/* snapshots before the index: the other order races with a backup that finishes in between (11.1) */
	rc = check_snapshots(c, a, snapshots, e);
	if (rc == E_OK)
		rc = check_keys_and_locks(c, a, e);
	atomic_store(&p->phase, PHASE_INDEX);
	if (rc == E_OK)
		rc = check_index(c, e);
	atomic_store(&p->phase, PHASE_SCAN);
	if (rc == E_OK)
		rc = check_trees(c, snapshots, e);
	atomic_store(&p->phase, PHASE_VERIFY);
	if (rc == E_OK)
		rc = check_packs(c, e);
	return rc;
}

static int
compare_ids(const void *a, const void *b)
{
	return id_cmp(a, b);
}

static void
fill_result(struct check *c, const struct snapshot_list *snapshots, struct check_result *out)
{
	size_t kept = 0;

	out->errors = atomic_load(&c->errors);
	out->hints = atomic_load(&c->hints);
	out->snapshots = snapshots->n;
	out->partial = c->partial;
	out->trees = atomic_load(&c->trees);
	out->packs = index_pack_count(c->s->index);
	out->blobs = index_blob_count(c->s->index);
	out->packs_read = atomic_load(&c->packs_read);
	out->bytes_read = atomic_load(&c->bytes_read);
	out->suggest_repair_index = atomic_load(&c->suggest_repair_index);
	out->suggest_prune = atomic_load(&c->suggest_prune);
	if (c->broken_n > 0)
		qsort(c->broken, c->broken_n, sizeof(c->broken[0]), compare_ids);
	for (size_t i = 0; i < c->broken_n; i++) {
		if (kept == 0 || id_cmp(&c->broken[kept - 1], &c->broken[i]) != 0)
			c->broken[kept++] = c->broken[i];
	}
	out->broken_packs = c->broken;
	out->broken_pack_count = kept;
}

void
check_result_done(struct check_result *r)
{
	free(r->broken_packs);
	r->broken_packs = NULL;
	r->broken_pack_count = 0;
}

enum ecode
check_run(struct session *s, const struct check_args *args,
	void (*found)(void *arg, const struct check_finding *f), void *arg,
	struct check_result *out, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(CHECK_ARENA_BYTES);
	struct check c = { .s = s, .args = args, .found = found, .arg = arg };
	struct snapshot_list snapshots = { 0 };
	enum ecode rc;

	*out = (struct check_result){ 0 };
	pthread_mutex_init(&c.lock, NULL);
	rc = id_set_open(&c.seen_trees, e);
	if (rc == E_OK)
		rc = check_stages(&c, &a, &snapshots, e);
	fill_result(&c, &snapshots, out);
	if (rc == E_OK && out->errors > 0)
		rc = err_set(
			e, E_CHECK_FAILED, 0, "%llu findings", (unsigned long long)out->errors);
	id_set_close(&c.seen_trees);
	pthread_mutex_destroy(&c.lock);
	return rc;
}

/* ---- --read-data-subset ---- */

static bool
parse_fraction(const char *text, struct check_args *out)
{
	unsigned n, t;
	int used = 0;

	if (sscanf(text, "%3u/%3u%n", &n, &t, &used) != 2 || text[used] != '\0')
		return false;
	if (n == 0 || t == 0 || n > t || t > SUBSET_PARTS_MAX)
		return false;
	out->read = CHECK_READ_FRACTION;
	out->n = n;
	out->t = t;
	return true;
}

static bool
parse_percent(const char *text, struct check_args *out)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || strcmp(end, "%") != 0 || !isfinite(v) || v <= 0 || v > 100)
		return false;
	out->read = CHECK_READ_PERCENT;
	out->percent = v;
	return true;
}

static bool
parse_bytes(const char *text, struct check_args *out)
{
	static const char units[] = "kmgt";
	char *end;
	unsigned long long v = strtoull(text, &end, 10);
	uint64_t scale = 1;
	const char *unit;

	if (end == text || text[0] == '-' || v == 0)
		return false;
	if (*end != '\0') {
		unit = strchr(units, *end | 0x20);
		if (unit == NULL || end[1] != '\0')
			return false;
		scale = UINT64_C(1) << (10 * (unit - units + 1));
	}
	if (v > UINT64_MAX / scale)
		return false;
	out->read = CHECK_READ_BYTES;
	out->bytes = v * scale;
	return true;
}

enum ecode
check_subset_parse(const char *text, struct check_args *out, struct err *e)
{
	struct check_args parsed = *out;

	if (!parse_fraction(text, &parsed) && !parse_percent(text, &parsed) &&
		!parse_bytes(text, &parsed))
		return err_set(e, E_USAGE, 0,
			"\"%s\" is none of n/t (t up to 256), a percentage like 5%%, or a size like 500M",
			text);
	*out = parsed;
	return E_OK;
}
