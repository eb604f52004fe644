/*
 * A safety set that is there: its manifest read back, its copies proven.  A
 * manifest is input like any other: names are judged before they are used.
 */
#include <fcntl.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/wire.h"
#include "engine/safety.h"
#include "os/io.h"
#include "repo/blob.h" /* with the hasher */

#define PROVE_BYTES ((size_t)1 << 20)

/* ---- manifest.json ---- */

struct reading {
	struct json j;
	struct arena *a;
	struct safety_set *set;
	struct safety_entry *entry, *first, **tail;
	bool keep; /* entries, too */
	bool ours;
};

static enum ecode
unescaped(struct reading *r, const char **out, struct err *e)
{
	struct slice raw, text = { NULL, 0 };
	bool escaped;
	enum ecode rc;

	if (!json_string(&r->j, &raw, &escaped))
		return E_OK; /* json_refusal() tells at the end */
	rc = json_text(raw, escaped, PATH_TEXT_MAX, r->a, &text, e);
	if (rc == E_OK)
		*out = (const char *)text.p;
	return rc;
}

static enum ecode
decoded(struct reading *r, struct slice *out, struct err *e)
{
	autoclean(buf_done) struct buf bytes = buf_limit(XATTR_VALUE_MAX_BYTES * 2);
	struct slice raw;
	size_t len = 0;
	bool escaped;
	enum ecode rc;

	if (!json_string(&r->j, &raw, &escaped))
		return E_OK;
	rc = buf_reserve(&bytes, raw.len + 4, e);
	if (rc != E_OK)
		return rc;
	if (!base64_read(raw.p, raw.len, bytes.p, &len))
		return err_set(e, E_SAFETY_SET, 0, "a name is not in base64");
	return arena_copy(r->a, bytes.p, len, out, e);
}

/* A name in base64, without a NUL inside. */
static enum ecode
decoded_text(struct reading *r, const char **out, struct err *e)
{
	struct slice bytes = { NULL, 0 };
	enum ecode rc = decoded(r, &bytes, e);

	if (rc != E_OK || r->j.bad)
		return rc;
	if (memchr(bytes.p, '\0', bytes.len) != NULL)
		return err_set(e, E_SAFETY_SET, 0, "a name with a NUL");
	return arena_str(r->a, bytes.p, bytes.len, out, e);
}

/* One of the text members of an object, plain or in base64; false: it is another. */
struct text_member {
	const char *key, *key_b64;
	const char **to;
};

static bool
take_text(struct reading *r, struct slice key, const struct text_member *m, size_t n,
	enum ecode *rc, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_is(key, m[i].key))
			*rc = unescaped(r, m[i].to, e);
		else if (slice_is(key, m[i].key_b64))
			*rc = decoded_text(r, m[i].to, e);
		else
			continue;
		return true;
	}
	return false;
}

static void
take_time(struct reading *r, struct instant *out)
{
	int64_t s = 0, ns = 0;

	if (!json_enter_array(&r->j))
		return;
	if (json_element(&r->j) && json_i64(&r->j, &s) && json_element(&r->j) &&
		json_i64(&r->j, &ns) && !json_element(&r->j) && ns >= 0 && ns < 1000000000)
		*out = (struct instant){ .s = s, .ns = (int32_t)ns };
}

static bool
take_number(struct reading *r, struct slice key)
{
	struct os_meta *m = &r->entry->meta;
	uint64_t small = 0;

	if (slice_is(key, "size"))
		return json_u64(&r->j, &m->size);
	if (slice_is(key, "rdev"))
		return json_u64(&r->j, &m->rdev);
	if (!json_u64(&r->j, &small) || small > UINT32_MAX)
		return false;
	if (slice_is(key, "mode"))
		m->mode = (uint32_t)small;
	else if (slice_is(key, "uid"))
		m->uid = (uint32_t)small;
	else
		m->gid = (uint32_t)small;
	return true;
}

static bool
is_number(struct slice key)
{
	return slice_is(key, "mode") || slice_is(key, "uid") || slice_is(key, "gid") ||
	       slice_is(key, "size") || slice_is(key, "rdev");
}

static enum ecode
take_xattr(struct reading *r, struct meta_xattr *x, struct err *e)
{
	struct slice key;
	enum ecode rc = E_OK;

	*x = (struct meta_xattr){ .name = { NULL, 0 } };
	if (!json_enter_object(&r->j))
		return E_OK;
	while (rc == E_OK && json_key(&r->j, &key)) {
		if (slice_is(key, "name_b64"))
			rc = decoded(r, &x->name, e);
		else if (slice_is(key, "value_b64"))
			rc = decoded(r, &x->value, e);
		else if (!json_skip(&r->j, NULL))
			break;
	}
	return rc;
}

#define XATTRS_MAX 4096 /* of one file; the kernel's list of names ends far below */

static enum ecode
take_xattrs(struct reading *r, struct err *e)
{
	struct meta_xattrs *x = &r->entry->xattrs;
	enum ecode rc;
	void *p;

	rc = arena_alloc(r->a, XATTRS_MAX * sizeof(*x->v), &p, e);
	if (rc != E_OK || !json_enter_array(&r->j))
		return rc;
	x->v = p;
	while (rc == E_OK && json_element(&r->j)) {
		if (x->n == XATTRS_MAX)
			return err_set(e, E_SAFETY_SET, 0, "too many attributes of one file");
		rc = take_xattr(r, &x->v[x->n++], e);
	}
	return rc;
}

static void
take_hash(struct reading *r)
{
	struct slice raw;
	bool escaped;

	if (json_string(&r->j, &raw, &escaped) && !id_parse(raw.p, raw.len, &r->entry->hash))
		r->j.bad = true;
}

static enum ecode
take_entry_member(struct reading *r, struct slice key, struct err *e)
{
	struct safety_entry *entry = r->entry;
	const struct text_member texts[] = { { "path", "path_b64", &entry->rel },
		{ "copy", "copy_b64", &entry->copy }, { "target", "target_b64", &entry->target } };
	enum ecode rc = E_OK;

	if (take_text(r, key, texts, sizeof(texts) / sizeof(texts[0]), &rc, e))
		return rc;
	if (slice_is(key, "xattrs"))
		return take_xattrs(r, e);
	if (slice_is(key, "mtime"))
		take_time(r, &entry->meta.mtime);
	else if (slice_is(key, "atime"))
		take_time(r, &entry->meta.atime);
	else if (slice_is(key, "sha256"))
		take_hash(r);
	else if (slice_is(key, "created"))
		(void)!json_bool(&r->j, &entry->created);
	else if (is_number(key) ? !take_number(r, key) : !json_skip(&r->j, NULL))
		r->j.bad = true;
	return rc;
}

/* place_* judge the names again when they are used. */
static enum ecode
judge_entry(const struct safety_entry *entry, struct err *e)
{
	bool copied = S_ISREG(entry->meta.mode);

	if (entry->rel == NULL || (copied && entry->copy == NULL) ||
		(S_ISLNK(entry->meta.mode) && entry->target == NULL))
		return err_set(e, E_SAFETY_SET, 0, "an entry lacks its path, copy or target");
	return E_OK;
}

static enum ecode
take_entry(struct reading *r, struct err *e)
{
	struct slice key;
	enum ecode rc;
	void *p;

	rc = arena_alloc(r->a, sizeof(*r->entry), &p, e);
	if (rc != E_OK || !json_enter_object(&r->j))
		return rc;
	r->entry = p;
	*r->entry = (struct safety_entry){ .next = NULL };
	while (rc == E_OK && json_key(&r->j, &key))
		rc = take_entry_member(r, key, e);
	if (rc == E_OK && !r->j.bad)
		rc = judge_entry(r->entry, e);
	*r->tail = r->entry;
	r->tail = &r->entry->next;
	return rc;
}

static enum ecode
take_entries(struct reading *r, struct err *e)
{
	enum ecode rc = E_OK;

	if (!r->keep) {
		(void)!json_skip(&r->j, NULL);
		return rc;
	}
	if (!json_enter_array(&r->j))
		return rc;
	while (rc == E_OK && json_element(&r->j))
		rc = take_entry(r, e);
	return rc;
}

static enum ecode
take_member(struct reading *r, struct slice key, struct err *e)
{
	struct safety_set *set = r->set;
	const char *owner = NULL;
	uint64_t version = 0;
	const struct text_member texts[] = { { "owner", "", &owner },
		{ "timestamp", "", &set->created },
		{ "source_backup", "source_backup_b64", &set->source },
		{ "run_id", "run_id_b64", &set->run_id },
		{ "destination", "destination_b64", &set->dest } };
	enum ecode rc = E_OK;

	if (take_text(r, key, texts, sizeof(texts) / sizeof(texts[0]), &rc, e)) {
		if (owner != NULL)
			r->ours = strcmp(owner, SAFETY_MARK) == 0;
		return rc;
	}
	if (slice_is(key, "entries"))
		return take_entries(r, e);
	if (slice_is(key, "file_count"))
		(void)!json_u64(&r->j, &set->files);
	else if (slice_is(key, "version"))
		(void)!json_u64(&r->j, &version);
	else
		(void)!json_skip(&r->j, NULL);
	if (version > SAFETY_VERSION)
		return err_set(e, E_SAFETY_SET, 0, "a newer version of holdfast made it");
	return rc;
}

static enum ecode
read_manifest(struct reading *r, const struct buf *text, struct err *e)
{
	struct slice key;
	enum ecode rc = E_OK;

	json_init(&r->j, text->p, text->len);
	if (json_enter_object(&r->j))
		while (rc == E_OK && json_key(&r->j, &key))
			rc = take_member(r, key, e);
	if (rc == E_OK && !json_end(&r->j))
		rc = json_refusal(&r->j, SAFETY_JSON, e);
	if (rc == E_OK && (!r->ours || r->set->dest == NULL || r->set->dest[0] != '/'))
		rc = err_set(e, E_SAFETY_SET, 0, SAFETY_JSON " is not of a safety set");
	return rc;
}

static enum ecode
load(const struct os *os, int base, struct reading *r, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	autoclean(buf_done) struct buf text = buf_limit(SAFETY_TEXT_MAX);
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	struct os_meta m;
	enum ecode rc = io_open(os, base, r->set->name, flags, 0, &dir.fd, e);

	if (rc == E_OK && os->stat(os, dir.fd, SAFETY_TOML, AT_SYMLINK_NOFOLLOW, &m) < 0)
		rc = err_set(e, E_SAFETY_SET, 0, "there is no " SAFETY_TOML);
	if (rc == E_OK)
		rc = io_read_file(os, dir.fd, SAFETY_JSON, &text, e);
	return rc == E_OK ? read_manifest(r, &text, e) : rc;
}

enum ecode
safety_load(const struct os *os, const char *base, const char *name, struct arena *a,
	struct safety_set *set, struct safety_entry **out, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct reading r = { .a = a, .set = set, .keep = true };
	struct os_meta m;
	struct err why;
	enum ecode rc;

	r.tail = &r.first;
	*set = (struct safety_set){ .name = name };
	if (!safety_is_name(name) ||
		io_open(os, AT_FDCWD, base, O_RDONLY | O_DIRECTORY, 0, &dir.fd, NULL) != E_OK ||
		os->stat(os, dir.fd, name, AT_SYMLINK_NOFOLLOW, &m) < 0)
		return err_set(e, E_SAFETY_SET_ABSENT, 0, "%s in %s", name, base);
	rc = path_join(a, base, name, &set->path, e);
	if (rc == E_OK)
		rc = load(os, dir.fd, &r, &why);
	else
		return rc;
	if (rc != E_OK && rc != E_NOMEM)
		return err_set(e, E_SAFETY_SET, why.sys, "%s: %s", set->path, why.detail);
	if (rc != E_OK)
		return err_set(e, rc, why.sys, "%s", why.detail);
	set->whole = true;
	*out = r.first;
	return E_OK;
}

enum ecode
safety_look(const struct os *os, int base, struct safety_set *set, struct arena *a, struct err *e)
{
	struct reading r = { .a = a, .set = set };

	return load(os, base, &r, e);
}

/* ---- proof ---- */

static enum ecode
damaged(const struct safety_entry *entry, const char *why, struct err *e)
{
	return err_set(e, E_SAFETY_SET_DAMAGED, 0, "%s: %s", entry->copy, why);
}

static enum ecode
prove_bytes(const struct os *os, int fd, const struct safety_entry *entry, struct err *e)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	autoclean(buf_done) struct buf data = buf_limit(PROVE_BYTES);
	uint64_t at = 0;
	size_t got = 1;
	struct id id;
	enum ecode rc = hasher_open(&h, e);

	if (rc == E_OK)
		rc = buf_reserve(&data, PROVE_BYTES, e);
	if (rc != E_OK)
		return rc;
	hasher_begin(h);
	while (rc == E_OK && got > 0) {
		rc = io_pread(os, fd, data.p, PROVE_BYTES, at, &got, entry->copy, e);
		if (rc == E_OK)
			hasher_add(h, data.p, got);
		at += got;
	}
	hasher_end(h, &id);
	if (rc == E_OK && (at != entry->meta.size || id_cmp(&id, &entry->hash) != 0))
		rc = damaged(entry, "it is not what was recorded", e);
	return rc;
}

enum ecode
safety_prove(
	const struct os *os, struct place *set, const struct safety_entry *entry, struct err *e)
{
	autoclean(io_fd_done) struct io_fd file = { .os = os, .fd = -1 };
	enum ecode rc;

	if (entry->copy == NULL || entry->created || !S_ISREG(entry->meta.mode))
		return E_OK; /* a link's target stands in the manifest */
	rc = place_reopen(set, entry->copy, O_RDONLY, &file.fd, e);
	if (rc != E_OK)
		return rc == E_NOMEM ? rc : damaged(entry, "it cannot be opened", e);
	(void)os->fadvise(
		os, file.fd, 0, 0, POSIX_FADV_DONTNEED); /* from the medium, if possible */
	return prove_bytes(os, file.fd, entry, e);
}
