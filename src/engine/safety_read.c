/*
 * Safety sets that are there: listing, reading back, proving, retention.  A
 * manifest is input like any other: names are judged before they are used, and
 * a directory is removed only when it has the name and the mark of a set.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/wire.h"
#include "engine/safety.h"
#include "fs/remove.h"
#include "fs/walk.h"
#include "os/io.h"
#include "repo/blob.h" /* with the hasher */

#define PROVE_BYTES ((size_t)1 << 20)

/* ---- names of sets ---- */

/* YYYY-MM-DD_HHMMSS, or that and _N. */
static bool
is_set_name(const char *name)
{
	static const char shape[] = "dddd-dd-dd_dddddd";
	size_t i = 0;

	for (; shape[i] != '\0'; i++)
		if (shape[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != shape[i])
			return false;
	if (name[i] == '\0')
		return true;
	if (name[i] != '_' || name[i + 1] == '\0')
		return false;
	return name[i + 1 + strspn(name + i + 1, "0123456789")] == '\0';
}

/* By time, then by number: _10 comes after _9. */
static int
set_order(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	int order = strncmp(a, b, strlen("YYYY-MM-DD_HHMMSS"));

	if (order == 0 && la != lb)
		return la < lb ? -1 : 1;
	return order == 0 ? strcmp(a, b) : order;
}

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
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	struct slice raw;
	bool escaped;
	enum ecode rc;

	if (!json_string(&r->j, &raw, &escaped))
		return E_OK; /* json_refusal() tells at the end */
	rc = json_unescape(&text, raw, e);
	return rc == E_OK ? arena_str(r->a, text.p, text.len, out, e) : rc;
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
	if (!is_set_name(name) ||
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

/* ---- the list ---- */

/* A set of ours: the mark of its first moment lies in it. */
static bool
has_mark(const struct os *os, int base, const char *name)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	struct os_meta m;

	return io_open(os, base, name, flags, 0, &dir.fd, NULL) == E_OK &&
	       os->stat(os, dir.fd, SAFETY_BEGUN, AT_SYMLINK_NOFOLLOW, &m) >= 0 && S_ISREG(m.mode);
}

static void
add_sorted(struct safety_sets *sets, struct safety_set set)
{
	size_t i = sets->n++;

	for (; i > 0 && set_order(sets->v[i - 1].name, set.name) > 0; i--)
		sets->v[i] = sets->v[i - 1];
	sets->v[i] = set;
}

static enum ecode
list_at(const struct os *os, int base, const char *base_path, struct arena *a,
	struct safety_sets *out, struct err *e)
{
	struct walk_list list = { 0 };
	enum ecode rc = walk_dir(os, base, base_path, a, &list, e);
	void *p;

	if (rc == E_OK)
		rc = arena_alloc(a, (list.n + 1) * sizeof(*out->v), &p, e);
	if (rc != E_OK)
		return rc;
	*out = (struct safety_sets){ .v = p };
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		struct safety_set set = { .name = list.v[i].name };

		if (!list.v[i].have_meta || !S_ISDIR(list.v[i].meta.mode) ||
			!is_set_name(set.name) || !has_mark(os, base, set.name))
			continue;
		rc = path_join(a, base_path, set.name, &set.path, e);
		add_sorted(out, set);
	}
	return rc;
}

static enum ecode
open_base(const struct os *os, const char *base, int *fd, bool *there, struct err *e)
{
	struct err why;
	enum ecode rc = io_open(os, AT_FDCWD, base, O_RDONLY | O_DIRECTORY, 0, fd, &why);

	*there = rc == E_OK;
	if (rc == E_OK || why.sys == ENOENT)
		return E_OK;
	return err_set(e, E_IO_READ, why.sys, "%s", why.detail);
}

enum ecode
safety_list(const struct os *os, const char *base, struct arena *a, struct safety_sets *out,
	struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	bool there;
	enum ecode rc = open_base(os, base, &dir.fd, &there, e);

	*out = (struct safety_sets){ .n = 0 };
	if (rc == E_OK && there)
		rc = list_at(os, dir.fd, base, a, out, e);
	for (size_t i = 0; rc == E_OK && i < out->n; i++) {
		struct reading r = { .a = a, .set = &out->v[i] };

		rc = load(os, dir.fd, &r, NULL);
		out->v[i].whole = rc == E_OK;
		rc = rc == E_NOMEM ? err_set(e, E_NOMEM, ENOMEM, "safety sets") : E_OK;
	}
	return rc;
}

/* ---- old ones go ---- */

/* The mark in a set is among the first that goes: what is half removed is known by its name. */
static bool
is_leftover(const struct walk_entry *entry)
{
	const size_t len = strlen(SAFETY_REMOVING);

	return strncmp(entry->name, SAFETY_REMOVING, len) == 0 && is_set_name(entry->name + len) &&
	       entry->have_meta && S_ISDIR(entry->meta.mode);
}

static enum ecode
remove_set(const struct os *os, int base, const char *name, const struct safety_retain_args *args,
	struct arena *a, struct err *e)
{
	const struct retire_listener *l = &args->listener;
	const char *path;
	struct err why;
	enum ecode rc = path_join(a, args->base, name, &path, e);

	if (rc != E_OK)
		return rc;
	if (args->dry_run || remove_tree_at(os, base, name, &why) == E_OK)
		l->tell(l->arg, RETIRED_GONE, path, NULL);
	else
		l->tell(l->arg, RETIRED_UNDONE, path, why.detail);
	return E_OK;
}

static enum ecode
finish_earlier(const struct os *os, int base, const struct safety_retain_args *args,
	struct arena *a, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc = io_open(os, base, ".", O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);

	if (rc == E_OK)
		rc = walk_dir(os, dir.fd, args->base, a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		if (is_leftover(&list.v[i]))
			rc = remove_set(os, base, list.v[i].name, args, a, e);
	return rc;
}

static enum ecode
retire(const struct os *os, int base, const struct safety_set *set,
	const struct safety_retain_args *args, struct arena *a, struct err *e)
{
	const struct retire_listener *l = &args->listener;
	char name[NAME_BYTES_MAX + 1];
	int rc;

	if (args->dry_run)
		return remove_set(os, base, set->name, args, a, e);
	(void)snprintf(name, sizeof(name), SAFETY_REMOVING "%s", set->name);
	rc = os->rename(os, base, set->name, base, name, 0);
	if (rc >= 0)
		return remove_set(os, base, name, args, a, e);
	l->tell(l->arg, RETIRED_STAYS, set->path, "it cannot be renamed");
	return E_OK;
}

enum ecode
safety_retain(
	const struct os *os, const struct safety_retain_args *args, struct arena *a, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct safety_sets sets = { .n = 0 };
	size_t keep = args->keep > 0 ? args->keep : 1;
	bool there;
	enum ecode rc = open_base(os, args->base, &dir.fd, &there, e);

	if (rc == E_OK && there)
		rc = finish_earlier(os, dir.fd, args, a, e);
	if (rc == E_OK && there)
		rc = list_at(os, dir.fd, args->base, a, &sets, e);
	for (size_t i = 0; rc == E_OK && i + keep < sets.n; i++)
		rc = retire(os, dir.fd, &sets.v[i], args, a, e);
	return rc;
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
