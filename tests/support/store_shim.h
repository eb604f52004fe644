/*
 * For tests of repo: a store over another one that lies, refuses or forgets
 * at a chosen call, and filling a store from a directory of the vectors.
 */
#ifndef HF_TESTS_SUPPORT_STORE_SHIM_H
#define HF_TESTS_SUPPORT_STORE_SHIM_H

#include "support/unit_json.h"

#include <dirent.h>
#include <sys/stat.h>

#include "store/store.h"

struct store_shim {
	struct store st; /* first: the slots cast back */
	struct store *below;
	unsigned puts, gets; /* calls so far */
	unsigned lie_at_get; /* flip a bit of what this get gives; 0: none */
	bool lie_for_ever;   /* and of all later ones */
	unsigned refuse_put; /* refuse this put; 0: none */
	enum ecode refuse_as;
	bool put_anyway; /* the object is stored all the same: a lost acknowledgement */
};

static inline enum ecode
shim_put(struct store *st, const struct oname *name, const struct slice *parts, size_t n,
	struct err *e)
{
	struct store_shim *s = (struct store_shim *)st;
	enum ecode rc = E_OK;

	s->puts++;
	if (s->puts != s->refuse_put || s->put_anyway)
		rc = store_put(s->below, name, parts, n, e);
	if (rc == E_OK && s->puts == s->refuse_put)
		rc = err_set(e, s->refuse_as, 0, "refused by the test");
	return rc;
}

static inline enum ecode
shim_get(struct store *st, const struct oname *name, uint64_t off, size_t len, struct buf *out,
	struct err *e)
{
	struct store_shim *s = (struct store_shim *)st;
	size_t before = out->len;
	enum ecode rc = store_get(s->below, name, off, len, out, e);

	s->gets++;
	if (rc == E_OK && out->len > before && s->lie_at_get != 0 &&
		(s->gets == s->lie_at_get || (s->lie_for_ever && s->gets > s->lie_at_get)))
		out->p[before] ^= 1;
	return rc;
}

static inline enum ecode
shim_stat(struct store *st, const struct oname *name, uint64_t *size, struct err *e)
{
	return store_stat(((struct store_shim *)st)->below, name, size, e);
}

static inline enum ecode
shim_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e)
{
	return store_list(((struct store_shim *)st)->below, kind, each, arg, e);
}

static inline enum ecode
shim_erase(struct store *st, const struct oname *name, struct err *e)
{
	struct store *below = ((struct store_shim *)st)->below;

	return below->ops->erase(below, name, e);
}

static inline enum ecode
shim_prepare(struct store *st, struct err *e)
{
	return store_prepare(((struct store_shim *)st)->below, e);
}

static inline enum ecode
shim_note_put(struct store *st, const char *name, struct slice bytes, struct err *e)
{
	return store_note_put(((struct store_shim *)st)->below, name, bytes, e);
}

static inline enum ecode
shim_note_get(struct store *st, const char *name, struct buf *out, struct err *e)
{
	return store_note_get(((struct store_shim *)st)->below, name, out, e);
}

static inline enum ecode
shim_note_list(struct store *st, enum ecode (*each)(void *arg, const char *name, struct err *e),
	void *arg, struct err *e)
{
	return store_note_list(((struct store_shim *)st)->below, each, arg, e);
}

static inline enum ecode
shim_note_erase(struct store *st, const char *name, struct err *e)
{
	return store_note_erase(((struct store_shim *)st)->below, name, e);
}

static inline enum ecode
shim_probe(struct store *st, struct store_health *out, struct err *e)
{
	return store_probe(((struct store_shim *)st)->below, out, e);
}

static inline void
shim_go_cold(struct store *st, const struct oname *name)
{
	store_go_cold(((struct store_shim *)st)->below, name);
}

static inline enum ecode
shim_secure(struct store *st, enum okind kind, struct err *e)
{
	return store_secure(((struct store_shim *)st)->below, kind, e);
}

static inline void
shim_close(struct store *st)
{
	(void)st; /* belongs to the test's stack */
}

static inline void
store_shim_init(struct store_shim *s, struct store *below)
{
	static const struct store_ops ops = {
		.put = shim_put,
		.get = shim_get,
		.stat = shim_stat,
		.list = shim_list,
		.erase = shim_erase,
		.prepare = shim_prepare,
		.close = shim_close,
		.note_put = shim_note_put,
		.note_get = shim_note_get,
		.note_list = shim_note_list,
		.note_erase = shim_note_erase,
		.probe = shim_probe,
		.go_cold = shim_go_cold,
		.secure = shim_secure,
	};

	*s = (struct store_shim){ .st = { .ops = &ops, .location = "shim:", .connections = 1 },
		.below = below };
}

/* Store one object under its name. */
static inline void
shim_fill(struct store *st, enum okind kind, const struct id *id, struct slice content)
{
	struct oname name = { .kind = kind };

	if (id != NULL)
		name.id = *id;
	assert_int_equal(store_put(st, &name, &content, 1, NULL), E_OK);
}

/* tests/vectors/<dir>: all objects of one kind, named by their hash, into the store */
static inline void
shim_fill_kind(struct store *st, enum okind kind, const char *dir)
{
	char path[4096], name[1024];
	struct dirent **names;
	struct id id;
	int n;

	(void)snprintf(path, sizeof(path), "%s/tests/vectors/%s/%s", getenv("HOLDFAST_SOURCE_ROOT"),
		dir, okind_dir(kind));
	n = scandir(path, &names, NULL, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		struct buf content = buf_limit(VECTORS_MAX_BYTES);

		if (id_parse(names[i]->d_name, strlen(names[i]->d_name), &id)) {
			(void)snprintf(name, sizeof(name), "%s/%s/%s", dir, okind_dir(kind),
				names[i]->d_name);
			vectors_read(name, &content);
			shim_fill(st, kind, &id, buf_slice(&content));
		}
		buf_done(&content);
		free(names[i]);
	}
	free(names);
}

/* A copy of the vector repository `dir` ("v1", "v2"): config, keys, snapshots, index. */
static inline void
shim_fill_vectors(struct store *st, const char *dir)
{
	struct buf config = buf_limit(VECTORS_MAX_BYTES);
	char name[64];

	(void)snprintf(name, sizeof(name), "%s/config", dir);
	vectors_read(name, &config);
	shim_fill(st, O_CONFIG, NULL, buf_slice(&config));
	buf_done(&config);
	shim_fill_kind(st, O_KEY, dir);
	shim_fill_kind(st, O_SNAPSHOT, dir);
	shim_fill_kind(st, O_INDEX, dir);
}

#endif
