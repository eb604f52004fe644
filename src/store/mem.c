#include "store/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing real is this large; a test that loops is stopped. */
#define MEM_OBJECTS_MAX      (1U << 20)
#define MEM_OBJECT_BYTES_MAX ((size_t)1 << 30)
#define MEM_NOTES_MAX        64U
#define MEM_CONNECTIONS      4

struct mem_object {
	struct oname name;
	struct buf bytes;
};

struct mem_note {
	char name[NOTE_NAME_MAX];
	struct buf bytes;
};

struct mem_store {
	struct store st; /* first: the operations cast back */
	pthread_mutex_t lock;
	struct mem_object *v; /* sorted by name */
	size_t n, cap;
	struct mem_note note[MEM_NOTES_MAX];
	size_t notes;
};

static struct mem_store *
mem_of(struct store *st)
{
	return (struct mem_store *)st;
}

static int
name_cmp(const struct oname *a, const struct oname *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->kind == O_CONFIG ? 0 : __builtin_memcmp(a->id.b, b->id.b, sizeof(a->id.b));
}

/* Index of the first object not before `name`. */
static size_t
mem_at(const struct mem_store *m, const struct oname *name)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (name_cmp(&m->v[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct mem_object *
mem_find(const struct mem_store *m, const struct oname *name)
{
	size_t at = mem_at(m, name);

	return at < m->n && name_cmp(&m->v[at].name, name) == 0 ? &m->v[at] : NULL;
}

static enum ecode
mem_grow(struct mem_store *m, struct err *e)
{
	size_t cap = m->cap == 0 ? 64 : m->cap * 2;
	struct mem_object *v;

	if (m->n < m->cap)
		return E_OK;
	if (cap > MEM_OBJECTS_MAX)
		return err_set(e, E_STORE_SPACE, 0, "%u objects", MEM_OBJECTS_MAX);
	v = realloc(m->v, cap * sizeof(*v));
	if (v == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", cap * sizeof(*v));
	m->v = v;
	m->cap = cap;
	return E_OK;
}

/* Takes the bytes over. */
static enum ecode
mem_insert(struct mem_store *m, const struct oname *name, struct buf *bytes, struct err *e)
{
	struct mem_object *have = mem_find(m, name);
	enum ecode rc = E_OK;
	size_t at;

	if (have == NULL) {
		rc = mem_grow(m, e);
		if (rc != E_OK)
			return rc;
		at = mem_at(m, name);
		have = &m->v[at];
		memmove(have + 1, have, (m->n - at) * sizeof(*have));
		*have = (struct mem_object){ .name = *name,
			.bytes = buf_limit(MEM_OBJECT_BYTES_MAX) };
		m->n++;
	}
	buf_done(&have->bytes);
	buf_take(&have->bytes, bytes);
	return rc;
}

static enum ecode
mem_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	autoclean(buf_done) struct buf bytes = buf_limit(MEM_OBJECT_BYTES_MAX);
	struct mem_store *m = mem_of(st);
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < n; i++)
		rc = buf_add(&bytes, parts[i].p, parts[i].len, e);
	if (rc != E_OK)
		return rc;
	(void)pthread_mutex_lock(&m->lock);
	rc = mem_insert(m, name, &bytes, e);
	(void)pthread_mutex_unlock(&m->lock);
	return rc;
}

static enum ecode
mem_absent(const struct oname *name, struct err *e)
{
	char text[ONAME_TEXT_MAX];

	oname_text(name, text);
	return err_set(e, E_STORE_ABSENT, 0, "%s", text);
}

static enum ecode
mem_copy(const struct mem_store *m, const struct oname *name, uint64_t off, size_t len,
	struct buf *out, struct err *e)
{
	const struct mem_object *have = mem_find(m, name);
	char text[ONAME_TEXT_MAX];

	if (have == NULL)
		return mem_absent(name, e);
	if (off > have->bytes.len || len > have->bytes.len - off) {
		oname_text(name, text);
		return err_set(e, E_STORE_SHORT, 0, "%s has %zu bytes", text, have->bytes.len);
	}
	return len == 0 ? E_OK : buf_add(out, have->bytes.p + off, len, e);
}

static enum ecode
mem_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct mem_store *m = mem_of(st);
	enum ecode rc;

	(void)pthread_mutex_lock(&m->lock);
	rc = mem_copy(m, name, off, len, out, e);
	(void)pthread_mutex_unlock(&m->lock);
	return rc;
}

static enum ecode
mem_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	struct mem_store *m = mem_of(st);
	const struct mem_object *have;

	(void)pthread_mutex_lock(&m->lock);
	have = mem_find(m, name);
	if (have != NULL)
		*size = have->bytes.len;
	(void)pthread_mutex_unlock(&m->lock);
	return have == NULL ? mem_absent(name, e) : E_OK;
}

/* The first object of the kind after `name` (from == false: at or after it). */
static bool
mem_next(struct mem_store *m, struct oname *name, bool after, struct store_entry *entry)
{
	const struct mem_object *have;
	size_t at;
	bool found;

	(void)pthread_mutex_lock(&m->lock);
	at = mem_at(m, name);
	if (after && at < m->n && name_cmp(&m->v[at].name, name) == 0)
		at++;
	found = at < m->n && m->v[at].name.kind == name->kind;
	if (found) {
		have = &m->v[at];
		*name = have->name;
		*entry = (struct store_entry){ .id = have->name.id, .size = have->bytes.len };
	}
	(void)pthread_mutex_unlock(&m->lock);
	return found;
}

/* No lock is held while the caller is told: it may use the store. */
static enum ecode
mem_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	struct oname name = { .kind = kind };
	struct store_entry entry;
	enum ecode rc = E_OK;

	for (bool after = false; rc == E_OK && mem_next(mem_of(st), &name, after, &entry);
		after = true)
		rc = each(arg, &entry, e);
	return rc;
}

static enum ecode
mem_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct mem_store *m = mem_of(st);
	struct mem_object *have;

	(void)e;
	(void)pthread_mutex_lock(&m->lock);
	have = mem_find(m, name);
	if (have != NULL) {
		buf_done(&have->bytes);
		memmove(have, have + 1, (size_t)(m->v + m->n - have - 1) * sizeof(*have));
		m->n--;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return E_OK;
}

static enum ecode
mem_prepare(struct store *st, struct err *e)
{
	(void)st;
	(void)e;
	return E_OK;
}

/* ---- notes ---- */

/* Place of the note, or m->notes. */
static size_t
note_at(const struct mem_store *m, const char *name)
{
	size_t at = 0;

	while (at < m->notes && strcmp(m->note[at].name, name) != 0)
		at++;
	return at;
}

static enum ecode
mem_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	struct buf fresh = buf_limit(MEM_OBJECT_BYTES_MAX);
	struct mem_store *m = mem_of(st);
	enum ecode rc = buf_add(&fresh, bytes.p, bytes.len, e);
	size_t at;

	if (rc != E_OK)
		return rc;
	(void)pthread_mutex_lock(&m->lock);
	at = note_at(m, name);
	if (at == m->notes && at < MEM_NOTES_MAX) {
		m->notes++;
		m->note[at] = (struct mem_note){ .bytes = buf_limit(MEM_OBJECT_BYTES_MAX) };
		(void)snprintf(m->note[at].name, NOTE_NAME_MAX, "%s", name);
	}
	if (at == MEM_NOTES_MAX) {
		rc = err_set(e, E_STORE_SPACE, 0, "%u notes", MEM_NOTES_MAX);
	} else {
		buf_done(&m->note[at].bytes);
		buf_take(&m->note[at].bytes, &fresh);
	}
	(void)pthread_mutex_unlock(&m->lock);
	buf_done(&fresh);
	return rc;
}

static enum ecode
mem_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	struct mem_store *m = mem_of(st);
	enum ecode rc;
	size_t at;

	(void)pthread_mutex_lock(&m->lock);
	at = note_at(m, name);
	if (at == m->notes)
		rc = err_set(e, E_STORE_ABSENT, 0, "%s", name);
	else
		rc = buf_add(out, m->note[at].bytes.p, m->note[at].bytes.len, e);
	(void)pthread_mutex_unlock(&m->lock);
	return rc;
}

/* The n-th name; no lock is held while the caller is told. */
static bool
note_name(struct mem_store *m, size_t n, char name[static NOTE_NAME_MAX])
{
	bool there;

	(void)pthread_mutex_lock(&m->lock);
	there = n < m->notes;
	if (there)
		memcpy(name, m->note[n].name, NOTE_NAME_MAX);
	(void)pthread_mutex_unlock(&m->lock);
	return there;
}

static enum ecode
mem_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	char name[NOTE_NAME_MAX];
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && note_name(mem_of(st), i, name); i++)
		rc = each(arg, name, e);
	return rc;
}

static enum ecode
mem_note_erase(struct store *st, const char *name, struct err *e)
{
	struct mem_store *m = mem_of(st);
	size_t at;

	(void)e;
	(void)pthread_mutex_lock(&m->lock);
	at = note_at(m, name);
	if (at < m->notes) {
		buf_done(&m->note[at].bytes);
		m->notes--;
		memmove(&m->note[at], &m->note[at + 1], (m->notes - at) * sizeof(m->note[0]));
	}
	(void)pthread_mutex_unlock(&m->lock);
	return E_OK;
}

static enum ecode
mem_probe(struct store *st, struct store_health *out, struct err *e)
{
	(void)st;
	(void)e;
	*out = (struct store_health){ .probed = true, .noreplace = true };
	return E_OK;
}

static void
mem_close(struct store *st)
{
	struct mem_store *m = mem_of(st);

	for (size_t i = 0; i < m->notes; i++)
		buf_done(&m->note[i].bytes);

	for (size_t i = 0; i < m->n; i++)
		buf_done(&m->v[i].bytes);
	free(m->v);
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct store_ops mem_ops = {
	.put = mem_put,
	.get = mem_get,
	.stat = mem_stat,
	.list = mem_list,
	.erase = mem_erase,
	.prepare = mem_prepare,
	.close = mem_close,
	.note_put = mem_note_put,
	.note_get = mem_note_get,
	.note_list = mem_note_list,
	.note_erase = mem_note_erase,
	.probe = mem_probe,
};

enum ecode
mem_open(struct store **out, struct err *e)
{
	struct mem_store *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return err_set(e, E_NOMEM, 0, "%zu bytes", sizeof(*m));
	m->st = (struct store){
		.ops = &mem_ops, .location = "memory", .connections = MEM_CONNECTIONS
	};
	(void)pthread_mutex_init(&m->lock, NULL);
	*out = &m->st;
	return E_OK;
}
