#include "repo/keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "crypto/hash.h"
#include "repo/format.h"

/* N = 32768, r = 8 take 32 MiB as restic's own choice does; p = 4 makes it about 0.4 s here (format document 2.2) */
const struct kdf_params KEYS_KDF_DEFAULT = { .n = 32768, .r = 8, .p = 4 };

/* bytes; longest user or host name we write, NUL included (HOST_NAME_MAX is 64, LOGIN_NAME_MAX 256) */
#define LABEL_MAX_BYTES 257

/* A parsed key file. */
struct key_file {
	struct buf text;     /* owns what the slices point into */
	struct buf username; /* escapes decoded */
	struct buf hostname;
	struct buf data; /* sealed master key */
	struct instant created;
	struct kdf_params params;
	uint8_t salt[KDF_SALT_BYTES];
	size_t salt_len;
	bool kdf_known;
};

static struct key_file
key_file_empty(void)
{
	const struct buf small = buf_limit(SMALL_OBJECT_MAX_BYTES);

	return (struct key_file){
		.text = small, .username = small, .hostname = small, .data = small
	};
}

static void
key_file_done(struct key_file *f)
{
	buf_done(&f->text);
	buf_done(&f->username);
	buf_done(&f->hostname);
	buf_done(&f->data);
}

/* ---- reading one ---- */

/* The decoded string; null and a missing key count as the empty one (format document 0). */
static enum ecode
read_text(struct json *j, struct buf *out, struct err *e)
{
	struct slice raw;
	bool escaped;

	buf_clear(out);
	if (json_null(j) || !json_string(j, &raw, &escaped))
		return E_OK; /* the scanner remembers what was wrong */
	return escaped ? json_unescape(out, raw, e) : buf_add(out, raw.p, raw.len, e);
}

static enum ecode
read_base64(struct json *j, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc = read_text(j, &text, e);

	buf_clear(out);
	if (rc == E_OK)
		rc = buf_reserve(out, text.len / 4 * 3, e);
	if (rc == E_OK && text.len > 0 && !base64_read(text.p, text.len, out->p, &out->len))
		rc = err_set(e, E_KEY_DAMAGED, 0, "its base64 is not valid");
	return rc;
}

static enum ecode
read_salt(struct json *j, struct key_file *f, struct err *e)
{
	autoclean(buf_done) struct buf salt = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc = read_base64(j, &salt, e);

	if (rc != E_OK)
		return rc;
	f->salt_len = salt.len;
	if (salt.len == sizeof(f->salt))
		memcpy(f->salt, salt.p, sizeof(f->salt));
	return E_OK;
}

/* A cost that does not fit its type is as unreasonable as one above its limit. */
static enum ecode
read_cost(struct json *j, uint32_t *out, struct err *e)
{
	uint64_t v = 0;

	if (!json_u64(j, &v))
		return E_OK;
	if (v > UINT32_MAX)
		return err_set(e, E_KDF_PARAMS, 0, "scrypt with a cost of %" PRIu64, v);
	*out = (uint32_t)v;
	return E_OK;
}

static enum ecode
read_kdf(struct json *j, struct key_file *f, struct err *e)
{
	autoclean(buf_done) struct buf name = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc = read_text(j, &name, e);

	f->kdf_known = rc == E_OK && slice_is(buf_slice(&name), "scrypt");
	return rc;
}

/* For display only: a time that cannot be read is shown as the epoch. */
static enum ecode
read_created(struct json *j, struct key_file *f, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc = read_text(j, &text, e);

	if (rc == E_OK && (text.len == 0 || !instant_parse(text.p, text.len, &f->created)))
		f->created = (struct instant){ 0 };
	return rc;
}

static enum ecode
read_field(struct json *j, struct slice key, struct key_file *f, struct err *e)
{
	if (slice_is(key, "created"))
		return read_created(j, f, e);
	if (slice_is(key, "username"))
		return read_text(j, &f->username, e);
	if (slice_is(key, "hostname"))
		return read_text(j, &f->hostname, e);
	if (slice_is(key, "kdf"))
		return read_kdf(j, f, e);
	if (slice_is(key, "r"))
		return read_cost(j, &f->params.r, e);
	if (slice_is(key, "p"))
		return read_cost(j, &f->params.p, e);
	if (slice_is(key, "salt"))
		return read_salt(j, f, e);
	if (slice_is(key, "data"))
		return read_base64(j, &f->data, e);
	if (slice_is(key, "N") ? json_u64(j, &f->params.n) : json_skip(j, NULL))
		return E_OK;
	return err_set(e, E_KEY_DAMAGED, 0, "it is not valid JSON");
}

static enum ecode
parse_key_file(struct key_file *f, struct err *e)
{
	enum ecode rc = E_OK;
	struct slice key;
	struct json j;

	json_init(&j, f->text.p, f->text.len);
	if (!json_enter_object(&j))
		return err_set(e, E_KEY_DAMAGED, 0, "it is not a JSON object");
	while (rc == E_OK && json_key(&j, &key))
		rc = read_field(&j, key, f, e);
	if (rc != E_OK)
		return rc;
	if (!json_end(&j))
		return err_set(e, E_KEY_DAMAGED, 0, "it is not valid JSON");
	if (!f->kdf_known)
		return err_set(e, E_KEY_DAMAGED, 0, "its key derivation is not scrypt");
	if (f->salt_len != sizeof(f->salt))
		return err_set(e, E_KEY_DAMAGED, 0, "its salt has %zu bytes instead of %zu",
			f->salt_len, sizeof(f->salt));
	return E_OK;
}

static enum ecode
load_once(struct store *st, struct hasher *h, const struct id *id, struct buf *text, struct err *e)
{
	const struct oname name = { O_KEY, *id };
	struct id got;
	enum ecode rc;

	buf_clear(text);
	rc = store_get_all(st, &name, text, e);
	if (rc == E_LIMIT)
		return err_set(e, E_KEY_DAMAGED, 0, "it is larger than %zu bytes", text->limit);
	if (rc != E_OK)
		return rc;
	hasher_sum(h, text->p, text->len, &got);
	if (id_cmp(&got, id) != 0)
		return err_set(e, E_KEY_DAMAGED, 0, "its content does not match its name");
	return E_OK;
}

/* Load, verify the name, parse.  A wrong hash is read once more (format document 13.5). */
static enum ecode
load_key_file(
	struct store *st, struct hasher *h, const struct id *id, struct key_file *f, struct err *e)
{
	char text[ID_HEX_SIZE];
	enum ecode rc = load_once(st, h, id, &f->text, e);

	if (rc == E_KEY_DAMAGED)
		rc = load_once(st, h, id, &f->text, e);
	if (rc == E_OK)
		rc = parse_key_file(f, e);
	if (rc != E_OK) {
		id_hex(id, text);
		err_note(e, "key file keys/%s", text);
	}
	return rc;
}

/* ---- finding the one that opens ---- */

struct finder {
	struct store *st;
	struct hasher *hasher;
	struct slice password;
	struct keyring **keys;
	struct id *id;
	struct err first; /* the first key file that could not be judged; code E_OK: none */
};

/* Refusals after which no other key file need be tried. */
static bool
is_final(enum ecode rc)
{
	return rc == E_OK || rc == E_NOMEM || rc == E_CRYPTO || rc == E_BUG;
}

/*
 * Try one.  E_SEAL_MAC: this password is not for it.  What else is wrong with
 * one file is remembered and must not hide another, good one.
 */
static enum ecode
try_key(struct finder *f, const struct id *id, struct err *e)
{
	autoclean(key_file_done) struct key_file file = key_file_empty();
	struct err why = { 0 };
	enum ecode rc = load_key_file(f->st, f->hasher, id, &file, &why);

	if (rc == E_OK) {
		rc = keyring_unwrap(
			f->password, &file.params, file.salt, buf_slice(&file.data), f->keys, &why);
		if (rc == E_SEAL_SHORT)
			rc = err_set(&why, E_KEY_DAMAGED, 0, "its sealed part is cut short");
	}
	if (rc == E_OK)
		*f->id = *id;
	else if (is_final(rc) && e != NULL)
		*e = why;
	else if (rc != E_SEAL_MAC && rc != E_STORE_ABSENT && f->first.code == E_OK)
		f->first = why; /* absent: removed since the listing */
	return rc;
}

static enum ecode
none_fits(const struct finder *f, size_t n, struct err *e)
{
	if (n > KEYS_TRIED_MAX)
		return err_set(e, E_KEY_LIMIT, 0, "%zu keys, %u tried", n, KEYS_TRIED_MAX);
	if (f->first.code == E_OK)
		return err_set(e, E_KEY_WRONG, 0, "%zu tried", n);
	if (e != NULL)
		*e = f->first;
	err_note(e, "the other keys, if any, do not fit the password");
	return f->first.code;
}

static bool
has_prefix(const struct id *id, const char *prefix)
{
	char text[ID_HEX_SIZE];

	id_hex(id, text);
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Index of the only key with that prefix; l->n when there is none or more than one. */
static size_t
hinted(const struct store_listing *l, const char *hint)
{
	size_t found = l->n;

	if (hint == NULL || hint[0] == '\0')
		return l->n;
	for (size_t i = 0; i < l->n; i++) {
		if (has_prefix(&l->v[i].id, hint)) {
			if (found != l->n)
				return l->n;
			found = i;
		}
	}
	return found;
}

static enum ecode
try_all(struct finder *f, const struct store_listing *l, size_t first, struct err *e)
{
	enum ecode rc = first < l->n ? try_key(f, &l->v[first].id, e) : E_SEAL_MAC;
	size_t tried = 0;

	if (is_final(rc))
		return rc;
	for (size_t i = 0; i < l->n && tried < KEYS_TRIED_MAX; i++) {
		if (i == first)
			continue;
		rc = try_key(f, &l->v[i].id, e);
		if (is_final(rc))
			return rc;
		tried++;
	}
	return none_fits(f, l->n, e);
}

enum ecode
keys_find(const struct os *os, struct store *st, struct slice password, const char *hint,
	struct keyring **keys, struct id *id, struct err *e)
{
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	autoclean(hasher_close) struct hasher *h = NULL;
	struct finder f = { .st = st, .password = password, .keys = keys, .id = id };
	enum ecode rc = hasher_open(&h, e);

	(void)os; /* opening needs neither time nor random bytes */
	if (rc == E_OK)
		rc = store_list_all(st, O_KEY, &list, e);
	if (rc != E_OK)
		return rc;
	if (list.n == 0)
		return err_set(e, E_KEY_NONE, 0, "keys/ is empty");
	f.hasher = h;
	return try_all(&f, &list, hinted(&list, hint), e);
}

/* ---- listing ---- */

static enum ecode
copy_info(const struct key_file *f, const struct id *id, struct arena *a, struct key_info *out,
	struct err *e)
{
	enum ecode rc;

	*out = (struct key_info){ .id = *id, .created = f->created, .params = f->params };
	rc = arena_copy(a, f->username.p, f->username.len, &out->username, e);
	if (rc == E_OK)
		rc = arena_copy(a, f->hostname.p, f->hostname.len, &out->hostname, e);
	return rc;
}

static enum ecode
list_one(struct store *st, struct hasher *h, const struct id *id, struct arena *a,
	struct key_info *out, struct err *e)
{
	autoclean(key_file_done) struct key_file file = key_file_empty();
	enum ecode rc = load_key_file(st, h, id, &file, e);

	return rc == E_OK ? copy_info(&file, id, a, out, e) : rc;
}

static bool
is_damage(enum ecode rc)
{
	return rc == E_KEY_DAMAGED || rc == E_KDF_PARAMS || rc == E_STORE_SHORT ||
	       rc == E_STORE_READ;
}

static enum ecode
list_each(struct store *st, const struct store_listing *l, struct arena *a, struct key_info *info,
	size_t *n, size_t *damaged, struct err *e)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	enum ecode rc = hasher_open(&h, e);

	for (size_t i = 0; rc == E_OK && i < l->n; i++) {
		rc = list_one(st, h, &l->v[i].id, a, &info[*n], e);
		if (rc == E_OK)
			(*n)++;
		else if (is_damage(rc))
			(*damaged)++;
		if (is_damage(rc) || rc == E_STORE_ABSENT)
			rc = E_OK;
	}
	return rc;
}

enum ecode
keys_list(struct store *st, struct arena *a, struct key_info **out, size_t *n, size_t *damaged,
	struct err *e)
{
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	size_t good = 0, bad = 0;
	void *info = NULL;
	enum ecode rc = store_list_all(st, O_KEY, &list, e);

	if (rc == E_OK && list.n > SIZE_MAX / sizeof(struct key_info))
		rc = err_set(e, E_LIMIT, 0, "%zu key files", list.n);
	if (rc == E_OK)
		rc = arena_alloc(a, list.n * sizeof(struct key_info), &info, e);
	if (rc == E_OK)
		rc = list_each(st, &list, a, info, &good, &bad, e);
	if (rc != E_OK)
		return rc;
	*out = info;
	*n = good;
	*damaged = bad;
	return E_OK;
}

/* ---- adding and removing ---- */

/* User and host as the system knows them; unknown ones stay empty, they are for display only. */
struct owner {
	char username[LABEL_MAX_BYTES], hostname[LABEL_MAX_BYTES];
};

static void
system_owner(const struct os *os, struct owner *out)
{
	*out = (struct owner){ { 0 }, { 0 } };
	if (os->user_name(os, os->ids(os).uid, out->username, sizeof(out->username)) < 0)
		out->username[0] = '\0';
	if (os->hostname(os, out->hostname, sizeof(out->hostname)) < 0)
		out->hostname[0] = '\0';
}

struct new_key {
	const char *username, *hostname;
	struct instant created;
	struct kdf_params params;
	uint8_t salt[KDF_SALT_BYTES];
	struct buf data;
};

static void
new_key_done(struct new_key *k)
{
	buf_done(&k->data);
}

/* Field for field as restic writes it (format document 2.1). */
static enum ecode
write_key_file(const struct new_key *k, struct buf *out, struct err *e)
{
	char created[INSTANT_TEXT_MAX];
	struct json_out w;

	json_begin(&w, out);
	json_open_object(&w);
	json_put_key(&w, "created");
	json_put_text(&w, created, instant_format(k->created, created));
	json_member_str(&w, "username", k->username);
	json_member_str(&w, "hostname", k->hostname);
	json_member_str(&w, "kdf", "scrypt");
	json_member_u64(&w, "N", k->params.n);
	json_member_u64(&w, "r", k->params.r);
	json_member_u64(&w, "p", k->params.p);
	json_put_key(&w, "salt");
	json_put_base64(&w, k->salt, sizeof(k->salt));
	json_put_key(&w, "data");
	json_put_base64(&w, k->data.p, k->data.len);
	json_close_object(&w);
	return json_done(&w, e);
}

/* What nobody can open must not be stored: read the text back with the password. */
static enum ecode
verify_key_file(struct slice password, const struct buf *text, struct err *e)
{
	autoclean(key_file_done) struct key_file file = key_file_empty();
	autoclean(keyring_close) struct keyring *keys = NULL;
	enum ecode rc = buf_add(&file.text, text->p, text->len, e);

	if (rc == E_OK)
		rc = parse_key_file(&file, e);
	if (rc == E_OK)
		rc = keyring_unwrap(
			password, &file.params, file.salt, buf_slice(&file.data), &keys, e);
	if (rc == E_OK || rc == E_NOMEM)
		return rc;
	return err_set(e, E_BLOB_VERIFY, 0, "a new key file cannot be opened again");
}

static enum ecode
store_key_file(struct store *st, const struct buf *text, struct id *id, struct err *e)
{
	autoclean(hasher_close) struct hasher *h = NULL;
	struct oname name = { .kind = O_KEY };
	struct slice part = buf_slice(text);
	struct eraser eraser = eraser_for(st, 1U << O_KEY);
	enum ecode rc = hasher_open(&h, e);

	if (rc != E_OK)
		return rc;
	hasher_sum(h, text->p, text->len, &name.id);
	rc = store_put(st, &name, &part, 1, e);
	if (rc ==
		E_STORE_UNSURE) { /* a refusal should leave no key: the caller will make another */
		if (eraser_erase(&eraser, &name, NULL) != E_OK)
			err_note(e, "the new key file may be left in keys/");
	}
	if (rc == E_OK)
		*id = name.id;
	return rc;
}

enum ecode
keys_add(const struct os *os, struct store *st, const struct keyring *keys, struct slice password,
	const struct kdf_params *params, const struct key_labels *labels, struct id *id,
	struct err *e)
{
	autoclean(new_key_done) struct new_key k = { .created = os->wall(os), .params = *params };
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct owner owner;
	enum ecode rc;
	int n = os->random(os, k.salt, sizeof(k.salt));

	if (n < 0)
		return err_set(e, E_RANDOM, -n, "random bytes for a salt");
	system_owner(os, &owner);
	k.username = labels != NULL && labels->username != NULL ? labels->username : owner.username;
	k.hostname = labels != NULL && labels->hostname != NULL ? labels->hostname : owner.hostname;
	k.data = buf_limit(SMALL_OBJECT_MAX_BYTES);
	rc = keyring_wrap(keys, os, password, params, k.salt, &k.data, e);
	if (rc == E_OK)
		rc = write_key_file(&k, &text, e);
	if (rc == E_OK)
		rc = verify_key_file(password, &text, e);
	if (rc == E_OK)
		rc = store_key_file(st, &text, id, e);
	return rc;
}

enum ecode
keys_remove(struct eraser *er, const struct id *id, struct err *e)
{
	const struct oname name = { O_KEY, *id };

	return eraser_erase(er, &name, e);
}
