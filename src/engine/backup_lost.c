/*
 * Which paths could not be taken, and why: counts by cause, a digest over all
 * of them, and the first ones by name for the question, the refusal and a
 * second round.  Memory stays bounded however many there are.
 */
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "repo/blob.h"

/* Paths kept by name; beyond, a second round tries them again although it may be in vain. */
#define LOST_KEPT_MAX    100000
#define LOST_ARENA_BYTES ((size_t)64 << 20)
/* A path in the evidence of a refusal; of a longer one the end is shown. */
#define LOST_SHOWN_BYTES 160

static struct lost_list
list_new(void)
{
	return (struct lost_list){ .arena = arena_limit(LOST_ARENA_BYTES) };
}

static void
list_done(struct lost_list *l)
{
	arena_done(&l->arena);
	map_done(&l->by_path);
}

enum ecode
lost_open(struct backup *b, struct err *e)
{
	struct session *s = b->s;

	pthread_mutex_init(&b->lost.lock, NULL);
	b->lost.now = list_new();
	b->lost.past = list_new();
	return blob_codec_open(
		s->vault->keys, s->os, s->vault->version, COMPRESSION_OFF, &b->lost.hash, e);
}

void
lost_close(struct backup *b)
{
	list_done(&b->lost.now);
	list_done(&b->lost.past);
	if (b->lost.hash != NULL)
		blob_codec_close(&b->lost.hash);
	pthread_mutex_destroy(&b->lost.lock);
}

/* Little-endian addition modulo 2^256: the order of the paths does not matter, and none cancels another. */
static void
digest_add(struct id *sum, const struct id *one)
{
	unsigned carry = 0;

	for (size_t i = 0; i < sizeof(sum->b); i++) {
		carry += (unsigned)sum->b[i] + one->b[i];
		sum->b[i] = (uint8_t)carry;
		carry >>= 8;
	}
}

/* The first 16 bytes of the SHA-256 of a path: nobody meets two of the same. */
static void
path_key(struct lost *l, const char *path, uint64_t key[static 2])
{
	struct id id;

	blob_id(l->hash, path, strlen(path), &id);
	memcpy(key, id.b, 2 * sizeof(key[0]));
}

static enum ecode
keep(struct lost *l, const char *path, const struct err *why, enum cause cause, struct err *e)
{
	struct lost_list *list = &l->now;
	struct lost_path *item;
	uint64_t key[2], *slot;
	bool found;
	void *p;
	enum ecode rc;

	if (list->kept == LOST_KEPT_MAX)
		return E_OK;
	rc = arena_alloc(&list->arena, sizeof(*item), &p, e);
	if (rc != E_OK)
		return rc == E_LIMIT ? E_OK : rc;
	item = p;
	*item = (struct lost_path){ .code = why->code, .sys = why->sys, .cause = cause };
	rc = arena_str(&list->arena, path, strlen(path), &item->path, e);
	if (rc != E_OK)
		return rc == E_LIMIT ? E_OK : rc;
	path_key(l, path, key);
	rc = map_put(&list->by_path, key[0], key[1], (uint64_t)(uintptr_t)item, &slot, &found, e);
	if (rc != E_OK)
		return rc;
	if (list->last == NULL)
		list->first = item;
	else
		list->last->next = item;
	list->last = item;
	list->kept++;
	return E_OK;
}

static enum ecode
digest_path(struct lost *l, const char *path, enum cause cause, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(PATH_TEXT_MAX + 64);
	struct id one;
	enum ecode rc = buf_add(&line, path, strlen(path) + 1, e); /* with its NUL */

	if (rc == E_OK)
		rc = buf_add_str(&line, cause_name(cause), e);
	if (rc == E_OK)
		rc = buf_add_byte(&line, '\n', e);
	if (rc != E_OK)
		return rc;
	blob_id(l->hash, line.p, line.len, &one);
	digest_add(&l->now.digest, &one);
	return E_OK;
}

void
lost_add(struct backup *b, const char *path, const struct err *why, enum cause cause)
{
	struct lost *l = &b->lost;
	struct err e;
	enum ecode rc;

	pthread_mutex_lock(&l->lock);
	l->now.total++;
	l->now.can_retry += cause_can_retry(cause);
	l->now.by_cause[cause]++;
	if (l->hash == NULL) /* nothing of an estimate is recorded */
		rc = E_OK;
	else
		rc = digest_path(l, path, cause, &e);
	if (rc == E_OK && l->hash != NULL)
		rc = keep(l, path, why, cause, &e);
	if (rc != E_OK && l->trouble.code == E_OK)
		l->trouble = e;
	pthread_mutex_unlock(&l->lock);
}

void
lost_next_round(struct backup *b)
{
	struct lost *l = &b->lost;

	list_done(&l->past);
	l->past = l->now;
	l->now = list_new();
}

bool
lost_for_good(struct backup *b, const char *path, struct err *why)
{
	struct lost *l = &b->lost;
	const struct lost_path *item = NULL;
	uint64_t key[2], at;

	if (l->past.total == l->past.can_retry)
		return false;
	pthread_mutex_lock(&l->lock);
	path_key(l, path, key);
	if (map_get(&l->past.by_path, key[0], key[1], &at))
		item = (const struct lost_path *)(uintptr_t)at;
	pthread_mutex_unlock(&l->lock);
	if (item == NULL || cause_can_retry(item->cause) || strcmp(item->path, path) != 0)
		return false;
	(void)err_set(why, item->code, item->sys, "not tried again");
	return true;
}

/* "2 permission denied, 1 input/output error" */
static void
causes_text(const struct lost_list *list, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < CAUSE_COUNT; i++) {
		int n;

		if (list->by_cause[i] == 0)
			continue;
		n = snprintf(out + at, size - at, "%s%llu %s", at == 0 ? "" : ", ",
			(unsigned long long)list->by_cause[i], cause_short((enum cause)i));
		if (n < 0 || (size_t)n >= size - at)
			return; /* cut where it did not fit: the counts are in the report */
		at += (size_t)n;
	}
}

enum ecode
lost_refusal(struct backup *b, enum ecode code, struct err *e)
{
	const struct lost_list *list = &b->lost.now;
	unsigned long long total = list->total;
	unsigned told = 0;
	char causes[ERR_DETAIL_BYTES / 2];

	causes_text(list, causes, sizeof(causes));
	(void)err_set(e, code, 0, "%llu path%s could not be read: %s; files saved well: %llu",
		total, total == 1 ? "" : "s", causes, (unsigned long long)atomic_load(&b->files));
	for (const struct lost_path *p = list->first; p != NULL && told < LOST_NAMED_MAX;
		p = p->next) {
		size_t len = strlen(p->path);
		size_t skip = len > LOST_SHOWN_BYTES ? len - LOST_SHOWN_BYTES : 0;

		err_note(e, "%s%s: %s", skip == 0 ? "" : "...", p->path + skip,
			cause_short(p->cause));
		told++;
	}
	if (told > 0 && total > told)
		err_note(e, "and %llu more, all in the run's failed.jsonl", total - told);
	return code;
}
