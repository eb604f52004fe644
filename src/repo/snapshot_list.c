/*
 * The snapshots of a vault: read with what cannot be read told apart, oldest
 * first, and chosen by id, prefix, `latest`, host, tags and paths.
 */
#include "repo/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/wire.h"

/* "latest~N": more snapshots than this nobody counts */
#define LATEST_DIGITS_MAX 9

/* ---- all of them ---- */

static int
cmp_age(const void *pa, const void *pb)
{
	const struct snapshot *a = pa, *b = pb;
	int c = instant_cmp(a->time, b->time);

	return c != 0 ? c : id_cmp(&a->id, &b->id);
}

static enum ecode
load_each(struct vault *v, struct blob_codec *c, const struct store_listing *names, struct arena *a,
	struct snapshot_list *out, struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		struct err why = { .code = E_OK };
		enum ecode rc = snapshot_load(v, c, &names->v[i].id, a, &out->v[out->n], &why);

		if (rc == E_NOMEM) { /* ours, not the record's */
			if (e != NULL)
				*e = why;
			return rc;
		}
		if (rc == E_OK) {
			out->n++;
			continue;
		}
		if (out->unreadable == 0)
			out->first_unreadable = why;
		out->broken[out->unreadable++] =
			(struct snapshot_broken){ .id = names->v[i].id, .code = rc };
	}
	return E_OK;
}

enum ecode
snapshot_list_load(struct vault *v, struct blob_codec *c, struct arena *a,
	struct snapshot_list *out, struct err *e)
{
	autoclean(store_listing_done) struct store_listing names = { .n = 0 };
	struct snapshot_list list = { .n = 0 };
	void *mem = NULL;
	enum ecode rc = store_list_all(v->store, O_SNAPSHOT, &names, e);

	if (rc == E_OK && names.n > SIZE_MAX / sizeof(*list.v))
		rc = err_set(e, E_LIMIT, 0, "%zu snapshots", names.n);
	if (rc == E_OK)
		rc = arena_alloc(a, names.n * sizeof(*list.v), &mem, e);
	if (rc != E_OK)
		return rc;
	list.v = mem;
	rc = arena_alloc(a, names.n * sizeof(*list.broken), &mem, e);
	if (rc != E_OK)
		return rc;
	list.broken = mem;
	rc = load_each(v, c, &names, a, &list, e);
	if (rc != E_OK)
		return rc;
	if (list.n > 1)
		qsort(list.v, list.n, sizeof(*list.v), cmp_age);
	*out = list;
	return E_OK;
}

/* ---- choosing ---- */

static bool
has_text(const struct slice *v, size_t n, struct slice want)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].len == want.len &&
			(want.len == 0 || memcmp(v[i].p, want.p, want.len) == 0))
			return true;
	return false;
}

static bool
has_paths(const struct snapshot *s, const char *const *paths, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct slice want = { (const uint8_t *)paths[i], strlen(paths[i]) };

		if (!has_text(s->paths, s->path_count, want))
			return false;
	}
	return true;
}

static struct slice
without_blanks(struct slice s)
{
	while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* All tags of one "a,b"; the empty list asks for a snapshot without tags. */
static bool
has_tag_list(const struct snapshot *s, const char *list)
{
	const char *p = list;

	if (list[0] == '\0')
		return s->tag_count == 0;
	for (;;) {
		size_t len = strcspn(p, ",");
		struct slice tag = without_blanks((struct slice){ (const uint8_t *)p, len });

		if (tag.len > 0 && !has_text(s->tags, s->tag_count, tag))
			return false;
		if (p[len] == '\0')
			return true;
		p += len + 1;
	}
}

static bool
has_host(const struct snapshot *s, const char *const *hosts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slice_is(s->hostname, hosts[i]))
			return true;
	return n == 0;
}

bool
snapshot_matches(const struct snapshot *s, const struct snapshot_filter *f)
{
	bool tagged = f->tag_count == 0;

	for (size_t i = 0; !tagged && i < f->tag_count; i++)
		tagged = has_tag_list(s, f->tags[i]);
	return tagged && has_host(s, f->hosts, f->host_count) &&
	       has_paths(s, f->paths, f->path_count);
}

/* The nth newest (0 is the newest) that passes the filter. */
static enum ecode
select_latest(const struct snapshot_list *list, const struct snapshot_filter *f, size_t nth,
	const struct snapshot **out, struct err *e)
{
	size_t seen = 0;

	for (size_t i = list->n; i > 0; i--) {
		const struct snapshot *s = &list->v[i - 1];

		if (f != NULL && !snapshot_matches(s, f))
			continue;
		if (seen++ == nth) {
			*out = s;
			return E_OK;
		}
	}
	return err_set(e, E_SNAPSHOT_ABSENT, 0, "latest~%zu asked for, %zu of %zu snapshots match",
		nth, seen, list->n);
}

/* "latest" or "latest~N"; *is tells which kind of text it was. */
static enum ecode
parse_latest(struct slice text, bool *is, size_t *nth, struct err *e)
{
	static const char word[] = "latest";
	size_t len = sizeof(word) - 1, n = 0;

	*is = text.len >= len && memcmp(text.p, word, len) == 0;
	*nth = 0;
	if (!*is || text.len == len)
		return E_OK;
	if (text.p[len] != '~' || text.len == len + 1 || text.len - len - 1 > LATEST_DIGITS_MAX)
		return err_set(e, E_ID_SYNTAX, 0, "\"%.*s\"", text.len < 100 ? (int)text.len : 100,
			(const char *)text.p);
	for (size_t i = len + 1; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return err_set(
				e, E_ID_SYNTAX, 0, "\"%.*s\"", (int)text.len, (const char *)text.p);
		n = n * 10 + (size_t)(text.p[i] - '0');
	}
	*nth = n;
	return E_OK;
}

/* Nothing readable fits.  A damaged record that does is damage, not absence: never told as something milder. */
static enum ecode
refuse_absent(const struct snapshot_list *list, struct slice prefix, struct err *e)
{
	int shown = prefix.len < 100 ? (int)prefix.len : 100;
	char hex[ID_HEX_SIZE];

	for (size_t i = 0; list->broken != NULL && i < list->unreadable; i++) {
		id_hex(&list->broken[i].id, hex);
		if (memcmp(hex, prefix.p, prefix.len) == 0)
			return err_set(e, list->broken[i].code, 0,
				"the record of snapshot %s is there and cannot be trusted", hex);
	}
	return err_set(e, E_SNAPSHOT_ABSENT, 0, "none of %zu has an id that begins with %.*s",
		list->n, shown, (const char *)prefix.p);
}

static enum ecode
select_prefix(const struct snapshot_list *list, struct slice prefix, const struct snapshot **out,
	struct err *e)
{
	int shown = prefix.len < 100 ? (int)prefix.len : 100;
	const struct snapshot *found[2] = { NULL, NULL };
	char hex[ID_HEX_SIZE], other[ID_HEX_SIZE];
	size_t n = 0;

	for (size_t i = 0; i < prefix.len; i++)
		if (prefix.len > 64 || strchr("0123456789abcdef", prefix.p[i]) == NULL)
			return err_set(
				e, E_ID_SYNTAX, 0, "\"%.*s\"", shown, (const char *)prefix.p);
	if (prefix.len == 0)
		return err_set(e, E_ID_SYNTAX, 0, "an empty id");
	for (size_t i = 0; i < list->n; i++) {
		id_hex(&list->v[i].id, hex);
		if (memcmp(hex, prefix.p, prefix.len) != 0)
			continue;
		if (n < 2)
			found[n] = &list->v[i];
		n++;
	}
	if (n == 0)
		return refuse_absent(list, prefix, e);
	*out = found[0];
	if (n == 1)
		return E_OK;
	id_hex(&found[0]->id, hex);
	id_hex(&found[1]->id, other);
	return err_set(e, E_ID_AMBIGUOUS, 0, "%.*s fits %zu snapshots: %.*s, %.*s%s", shown,
		(const char *)prefix.p, n, id_digits_telling(prefix.len), hex,
		id_digits_telling(prefix.len), other, n > 2 ? ", …" : "");
}

static enum ecode
clean_sub(const char *colon, struct arena *a, const char **sub, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	enum ecode rc;

	*sub = NULL;
	if (colon == NULL || colon[1] == '\0')
		return E_OK;
	rc = path_clean(&clean, colon + 1, strlen(colon + 1), e);
	return rc == E_OK ? arena_str(a, clean.p, clean.len, sub, e) : rc;
}

enum ecode
snapshot_select(const struct snapshot_list *list, const struct snapshot_filter *f, const char *text,
	struct arena *a, const struct snapshot **out, const char **sub, struct err *e)
{
	const char *colon = strchr(text, ':');
	struct slice id = { (const uint8_t *)text,
		colon != NULL ? (size_t)(colon - text) : strlen(text) };
	const struct snapshot *found = NULL;
	const char *below = NULL;
	size_t nth = 0;
	bool latest = false;
	enum ecode rc = parse_latest(id, &latest, &nth, e);

	if (rc == E_OK)
		rc = latest ? select_latest(list, f, nth, &found, e)
			    : select_prefix(list, id, &found, e);
	if (rc == E_SNAPSHOT_ABSENT && list->unreadable > 0)
		err_note(e, "%zu snapshots of this vault could not be read", list->unreadable);
	if (rc == E_OK)
		rc = clean_sub(colon, a, &below, e);
	if (rc == E_OK) {
		*out = found;
		*sub = below;
	}
	return rc;
}

const struct snapshot *
snapshot_parent(const struct snapshot_list *list, const char *host, const char *const *paths,
	size_t path_count, struct instant not_after)
{
	for (size_t i = list->n; i > 0; i--) {
		const struct snapshot *s = &list->v[i - 1];

		if (instant_cmp(s->time, not_after) <= 0 && slice_is(s->hostname, host) &&
			has_paths(s, paths, path_count))
			return s;
	}
	return NULL;
}
