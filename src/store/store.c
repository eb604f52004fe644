#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "store/local.h"

/* entries of one listing: 2^26 packs are a petabyte of 16 MiB packs */
#define STORE_LISTING_MAX   (1U << 26)
#define STORE_LISTING_FIRST 64

const char *
okind_dir(enum okind kind)
{
	switch (kind) {
	case O_CONFIG:
		return "config";
	case O_KEY:
		return "keys";
	case O_PACK:
		return "data";
	case O_INDEX:
		return "index";
	case O_SNAPSHOT:
		return "snapshots";
	case O_LOCK:
		return "locks";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}

void
oname_text(const struct oname *name, char out[static ONAME_TEXT_MAX])
{
	char hex[ID_HEX_SIZE];

	id_hex(&name->id, hex);
	if (name->kind == O_CONFIG)
		(void)snprintf(out, ONAME_TEXT_MAX, "config");
	else if (name->kind == O_PACK)
		(void)snprintf(out, ONAME_TEXT_MAX, "data/%.2s/%s", hex, hex);
	else
		(void)snprintf(out, ONAME_TEXT_MAX, "%s/%s", okind_dir(name->kind), hex);
}

enum ecode
store_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	return st->ops->put(st, name, parts, n, e);
}

enum ecode
store_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	return st->ops->get(st, name, off, len, out, e);
}

enum ecode
store_get_all(struct store *st, const struct oname *name, struct buf *out, struct err *e)
{
	char text[ONAME_TEXT_MAX];
	uint64_t size;
	enum ecode rc = st->ops->stat(st, name, &size, e);

	if (rc != E_OK)
		return rc;
	if (out->len > out->limit || size > out->limit - out->len) {
		oname_text(name, text);
		return err_set(
			e, E_LIMIT, 0, "%s is longer than %zu bytes", text, out->limit - out->len);
	}
	return st->ops->get(st, name, 0, (size_t)size, out, e);
}

enum ecode
store_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	return st->ops->stat(st, name, size, e);
}

enum ecode
store_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	invariant(kind != O_CONFIG);
	return st->ops->list(st, kind, each, arg, e);
}

enum ecode
store_prepare(struct store *st, struct err *e)
{
	return st->ops->prepare(st, e);
}

void
store_close(struct store **st)
{
	if (*st != NULL)
		(*st)->ops->close(*st);
	*st = NULL;
}

void
store_listing_done(struct store_listing *l)
{
	free(l->v);
	*l = (struct store_listing){ 0 };
}

static enum ecode
listing_grow(struct store_listing *l, struct err *e)
{
	size_t cap = l->cap == 0 ? STORE_LISTING_FIRST : l->cap * 2;
	struct store_entry *v;

	if (cap > STORE_LISTING_MAX)
		return err_set(
			e, E_LIMIT, 0, "more than %u objects of one kind", STORE_LISTING_MAX);
	v = realloc(l->v, cap * sizeof(*v));
	if (v == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", cap * sizeof(*v));
	l->v = v;
	l->cap = cap;
	return E_OK;
}

static enum ecode
listing_add(void *arg, const struct store_entry *entry, struct err *e)
{
	struct store_listing *l = arg;
	enum ecode rc = l->n == l->cap ? listing_grow(l, e) : E_OK;

	if (rc == E_OK)
		l->v[l->n++] = *entry;
	return rc;
}

static int
by_id(const void *a, const void *b)
{
	const struct store_entry *x = a, *y = b;

	return id_cmp(&x->id, &y->id);
}

enum ecode
store_list_all(struct store *st, enum okind kind, struct store_listing *out, struct err *e)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	struct store_listing old;
	enum ecode rc = store_list(st, kind, listing_add, &l, e);

	if (rc != E_OK)
		return rc;
	if (l.n > 0)
		qsort(l.v, l.n, sizeof(l.v[0]), by_id);
	old = *out; /* released by the cleanup of l */
	*out = l;
	l = old;
	return E_OK;
}

/* ---- notes, health ---- */

static bool
is_note_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-';
}

const char *
note_id(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 ? name + len : NULL;
}

bool
note_name_valid(const char *name)
{
	const char *id = note_id(name, NOTE_PREFIX);
	size_t len;

	if (id == NULL)
		id = note_id(name, NOTE_DRILL_PREFIX);
	if (id == NULL)
		return false;
	len = strnlen(id, NOTE_ID_MAX + 1);
	if (len == 0 || len > NOTE_ID_MAX || strstr(id, "-tmp-") != NULL)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_note_char(id[i]))
			return false;
	return true;
}

bool
store_has_notes(const struct store *st)
{
	return st->ops->note_put != NULL;
}

enum ecode
store_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	invariant(note_name_valid(name));
	return store_has_notes(st) ? st->ops->note_put(st, name, bytes, e) : E_OK;
}

enum ecode
store_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	invariant(note_name_valid(name));
	if (store_has_notes(st))
		return st->ops->note_get(st, name, out, e);
	return err_set(e, E_STORE_ABSENT, 0, "%s: this store keeps no notes", name);
}

enum ecode
store_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	return store_has_notes(st) ? st->ops->note_list(st, each, arg, e) : E_OK;
}

enum ecode
store_note_erase(struct store *st, const char *name, struct err *e)
{
	invariant(note_name_valid(name));
	return store_has_notes(st) ? st->ops->note_erase(st, name, e) : E_OK;
}

enum ecode
store_probe(struct store *st, struct store_health *out, struct err *e)
{
	*out = (struct store_health){ 0 };
	return st->ops->probe == NULL ? E_OK : st->ops->probe(st, out, e);
}

void
store_go_cold(struct store *st, const struct oname *name)
{
	if (st->ops->go_cold != NULL)
		st->ops->go_cold(st, name);
}

enum ecode
store_secure(struct store *st, enum okind kind, struct err *e)
{
	return st->ops->secure == NULL ? E_OK : st->ops->secure(st, kind, e);
}

/* ---- opening ---- */

/* Length of "scheme" before a colon, or 0: a slash before the colon makes it a path. */
static size_t
scheme_len(const char *location)
{
	size_t len = strcspn(location, ":/");

	return location[len] == ':' ? len : 0;
}

enum ecode
store_open(const struct os *os, const char *location, struct store **out, struct err *e)
{
	size_t len = scheme_len(location);
	const char *dir = len == 0 ? location : location + len + 1;

	if (len > 0 && (len != strlen("local") || memcmp(location, "local", len) != 0))
		return err_set(e, E_STORE_LOCATION, 0,
			"\"%.*s:\" in %s; supported: DIR, local:DIR (also for names with a colon)",
			(int)(len > 32 ? 32 : len), location, location);
	if (dir[0] == '\0')
		return err_set(e, E_STORE_LOCATION, 0, "\"%s\" names no directory", location);
	return local_open(os, dir, out, e);
}

const char *
store_local_path(const struct store *st)
{
	return local_path(st);
}
