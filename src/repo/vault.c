#include "repo/vault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/wire.h"
#include "repo/format.h"

#define VERSION_MIN     1
#define VERSION_MAX     2
/* hex digits of a 64-bit number */
#define POLY_DIGITS_MAX 16

static const struct oname config_name = { .kind = O_CONFIG };

/* What config says (format document 1.3). */
struct config {
	uint64_t version;
	struct id repo_id;
	uint64_t poly;
	bool has_id, has_poly;
};

/* ---- reading config ---- */

/* Hex of up to 64 bits; restic writes it without leading zeros, which other writers may not. */
static bool
read_poly(struct slice text, uint64_t *out)
{
	char digits[POLY_DIGITS_MAX];
	uint8_t bytes[POLY_DIGITS_MAX / 2];
	uint64_t v = 0;

	if (text.len == 0 || text.len > sizeof(digits))
		return false;
	memset(digits, '0', sizeof(digits));
	memcpy(digits + sizeof(digits) - text.len, text.p, text.len);
	if (!hex_read(digits, sizeof(digits), bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		v = v << 8 | bytes[i];
	*out = v;
	return true;
}

/* False when the scanner refused.  Unknown keys are ignored: other programs put their options here. */
static bool
read_config_field(struct json *j, struct slice key, struct config *c)
{
	struct slice text;
	bool escaped, is_id = slice_is(key, "id");

	if (slice_is(key, "version"))
		return json_u64(j, &c->version);
	if (!is_id && !slice_is(key, "chunker_polynomial"))
		return json_skip(j, NULL);
	if (!json_string(j, &text, &escaped))
		return false;
	if (is_id)
		c->has_id = id_parse(text.p, text.len, &c->repo_id);
	else
		c->has_poly = read_poly(text, &c->poly);
	return true;
}

static enum ecode
parse_config(struct slice text, struct config *out, struct err *e)
{
	struct config c = { 0 };
	struct slice key;
	struct json j;

	json_init(&j, text.p, text.len);
	if (!json_enter_object(&j))
		return err_set(e, E_VAULT_CONFIG, 0, "it is not a JSON object");
	while (json_key(&j, &key) && read_config_field(&j, key, &c))
		continue;
	if (!json_end(&j))
		return err_set(e, E_VAULT_CONFIG, 0, "it is not valid JSON");
	if (c.version < VERSION_MIN || c.version > VERSION_MAX)
		return err_set(e, E_VAULT_VERSION, 0, "version %" PRIu64, c.version);
	if (!c.has_id)
		return err_set(e, E_VAULT_CONFIG, 0, "its id is missing or not an id");
	if (!c.has_poly)
		return err_set(
			e, E_VAULT_CONFIG, 0, "its chunker polynomial is missing or not a number");
	*out = c;
	return E_OK;
}

static enum ecode
load_sealed_config(struct store *st, struct buf *sealed, struct err *e)
{
	enum ecode rc = store_get_all(st, &config_name, sealed, e);

	if (rc == E_STORE_ABSENT)
		return err_set(e, E_VAULT_MISSING, 0, "no config at %s", st->location);
	if (rc == E_LIMIT)
		return err_set(e, E_VAULT_CONFIG, 0, "it is larger than %zu bytes", sealed->limit);
	if (rc == E_OK && sealed->len < SEAL_OVERHEAD)
		return err_set(e, E_VAULT_CONFIG, 0, "it has only %zu bytes", sealed->len);
	return rc;
}

static enum ecode
open_config(const struct keyring *keys, const struct buf *sealed, struct buf *text, struct err *e)
{
	autoclean(sealer_close) struct sealer *sealer = NULL;
	enum ecode rc = sealer_open(keys, NULL, &sealer, e);

	if (rc == E_OK)
		rc = seal_open(sealer, sealed->p, sealed->len, text, e);
	if (rc == E_SEAL_MAC) { /* the key file was right: its tag fitted the password */
		(void)err_set(e, rc, 0, "the config does not authenticate with the vault's key");
		err_note(e, "the file config; it never changes after init, so any copy of it fits");
	}
	return rc;
}

/* ---- opening ---- */

void
vault_close(struct vault **vault)
{
	struct vault *v = *vault;

	if (v == NULL)
		return;
	chunker_close(&v->chunker);
	keyring_close(&v->keys);
	free(v);
	*vault = NULL;
}

static enum ecode
use_config(struct vault *v, const struct buf *sealed, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct config c = { 0 };
	enum ecode rc = open_config(v->keys, sealed, &text, e);

	if (rc == E_OK)
		rc = parse_config(buf_slice(&text), &c, e);
	if (rc != E_OK)
		return rc;
	v->version = (unsigned)c.version;
	v->repo_id = c.repo_id;
	v->poly = c.poly;
	return chunker_open(v->poly, &v->chunker, e);
}

static enum ecode
fill_vault(struct vault *v, struct slice password, const char *key_hint, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc;

	rc = load_sealed_config(
		v->store, &sealed, e); /* before the costly key: is there a vault? */
	if (rc == E_OK)
		rc = keys_find(v->os, v->store, password, key_hint, &v->keys, &v->key_id, e);
	return rc == E_OK ? use_config(v, &sealed, e) : rc;
}

enum ecode
vault_open(const struct os *os, struct store *st, struct slice password, const char *key_hint,
	struct vault **out, struct err *e)
{
	struct vault *v = calloc(1, sizeof(*v));
	enum ecode rc;

	if (v == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a vault");
	v->os = os;
	v->store = st;
	rc = fill_vault(v, password, key_hint, e);
	if (rc == E_OK)
		*out = v;
	else
		vault_close(&v);
	return rc;
}

enum ecode
vault_config_text(struct vault *v, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_OBJECT_MAX_BYTES);
	enum ecode rc = load_sealed_config(v->store, &sealed, e);

	buf_clear(out);
	return rc == E_OK ? open_config(v->keys, &sealed, out, e) : rc;
}

/* ---- making ---- */

static enum ecode
refuse_any(struct store *st, enum okind kind, struct err *e)
{
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	char text[ID_HEX_SIZE];
	enum ecode rc = store_list_all(st, kind, &list, e);

	if (rc != E_OK || list.n == 0)
		return rc;
	id_hex(&list.v[0].id, text);
	return err_set(e, E_VAULT_EXISTS, 0, "%s/%s is there already", okind_dir(kind), text);
}

static enum ecode
refuse_existing(struct store *st, struct err *e)
{
	uint64_t size;
	enum ecode rc = store_stat(st, &config_name, &size, e);

	if (rc == E_OK)
		return err_set(e, E_VAULT_EXISTS, 0, "config is there already");
	if (rc != E_STORE_ABSENT)
		return rc;
	rc = refuse_any(st, O_SNAPSHOT, e);
	if (rc == E_OK)
		rc = refuse_any(st, O_INDEX, e);
	if (rc == E_OK)
		rc = refuse_any(st, O_PACK, e);
	return rc;
}

/*
 * A key file alone, nothing sealed by it: an init that was killed before it
 * wrote config.  Whoever has its password goes on from there; a second key
 * beside it would shadow the new one.  *keys stays NULL when there is none.
 */
static enum ecode
find_half_made(const struct os *os, struct store *st, struct slice password, struct keyring **keys,
	struct id *key, struct err *e)
{
	struct err why = { 0 };
	enum ecode rc = keys_find(os, st, password, NULL, keys, key, &why);

	if (rc == E_OK || rc == E_KEY_NONE)
		return E_OK;
	if (rc == E_KEY_WRONG || rc == E_KEY_DAMAGED || rc == E_KEY_LIMIT || rc == E_KDF_PARAMS)
		return err_set(e, E_VAULT_EXISTS, why.sys,
			"keys/ holds what an unfinished init left, and this password does not open "
			"it (%s)",
			why.detail);
	if (e != NULL)
		*e = why;
	return rc;
}

/* Found, not written by us: it may not have reached the disk, and config must never be there without it. */
static enum ecode
secure_key(struct store *st, const struct id *key, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	const struct oname name = { O_KEY, *key };
	struct slice part;
	enum ecode rc = store_get_all(st, &name, &text, e);

	part = buf_slice(&text);
	return rc == E_OK ? store_put(st, &name, &part, 1, e) : rc;
}

static enum ecode
write_config(const struct config *c, struct buf *out, struct err *e)
{
	char poly[POLY_DIGITS_MAX + 1];
	struct json_out w;

	(void)snprintf(poly, sizeof(poly), "%" PRIx64, c->poly); /* 16 digits and NUL always fit */
	json_begin(&w, out);
	json_open_object(&w);
	json_member_u64(&w, "version", c->version);
	json_member_id(&w, "id", &c->repo_id);
	json_member_str(&w, "chunker_polynomial", poly);
	json_close_object(&w);
	return json_done(&w, e);
}

/* Everything that can be refused without touching the store. */
static enum ecode
choose_config(
	const struct os *os, const struct vault_init_args *args, struct config *c, struct err *e)
{
	autoclean(chunker_close) struct chunker *probe = NULL;
	enum ecode rc = E_OK;
	int n;

	if (args->version < VERSION_MIN || args->version > VERSION_MAX)
		return err_set(e, E_VAULT_VERSION, 0, "version %u", args->version);
	*c = (struct config){ .version = args->version, .poly = args->poly };
	n = os->random(os, c->repo_id.b, sizeof(c->repo_id.b));
	if (n < 0)
		return err_set(e, E_RANDOM, -n, "random bytes for the vault's id");
	if (c->poly == 0)
		rc = poly_random(os, &c->poly, e);
	return rc == E_OK ? chunker_open(c->poly, &probe, e) : rc;
}

static enum ecode
put_config(const struct os *os, struct store *st, const struct keyring *keys,
	const struct config *c, struct err *e)
{
	autoclean(blob_codec_close) struct blob_codec *codec = NULL;
	autoclean(buf_done) struct buf text = buf_limit(SMALL_OBJECT_MAX_BYTES);
	autoclean(buf_done) struct buf sealed = buf_limit(SMALL_OBJECT_MAX_BYTES);
	struct slice part;
	enum ecode rc =
		blob_codec_open(keys, os, (unsigned)c->version, COMPRESSION_AUTO, &codec, e);

	if (rc == E_OK)
		rc = write_config(c, &text, e);
	if (rc == E_OK)
		rc = record_shut(codec, text.p, text.len, &sealed, e);
	part = buf_slice(&sealed);
	return rc == E_OK ? store_put(st, &config_name, &part, 1, e) : rc;
}

/* Undo in the order that never leaves a config without its key. */
static void
undo_init(struct store *st, const struct id *key, bool config_doubtful, struct err *e)
{
	struct eraser eraser = eraser_for(st, 1U << O_CONFIG | 1U << O_KEY);
	const struct oname name = { O_KEY, *key };

	if (config_doubtful && eraser_erase(&eraser, &config_name, NULL) != E_OK)
		err_note(e, "config may be left behind");
	else if (eraser_erase(&eraser, &name, NULL) != E_OK)
		err_note(e, "a key file is left behind in keys/; the same init goes on from there");
}

/* The master key and its file, durable: new ones, or those of an init that did not end. */
static enum ecode
init_keys(const struct os *os, struct store *st, const struct vault_init_args *args,
	struct keyring **keys, struct id *key, struct err *e)
{
	const struct kdf_params *params = args->params != NULL ? args->params : &KEYS_KDF_DEFAULT;
	enum ecode rc = find_half_made(os, st, args->password, keys, key, e);
	bool found = *keys != NULL;

	if (rc == E_OK && !found)
		rc = keyring_generate(os, keys, e);
	if (rc == E_OK)
		rc = store_prepare(st, e);
	if (rc == E_OK && found)
		rc = secure_key(st, key, e);
	else if (rc == E_OK)
		rc = keys_add(os, st, *keys, args->password, params, NULL, key, e);
	return rc;
}

enum ecode
vault_init(const struct os *os, struct store *st, const struct vault_init_args *args,
	struct id *repo_id, struct err *e)
{
	autoclean(keyring_close) struct keyring *keys = NULL;
	struct config c = { 0 };
	struct id key;
	enum ecode rc = choose_config(os, args, &c, e);

	if (rc == E_OK)
		rc = refuse_existing(st, e);
	if (rc == E_OK)
		rc = init_keys(os, st, args, &keys, &key, e);
	if (rc != E_OK)
		return rc;
	rc = put_config(os, st, keys, &c, e);
	if (rc != E_OK) {
		undo_init(st, &key, rc == E_STORE_UNSURE, e);
		return rc;
	}
	*repo_id = c.repo_id;
	return E_OK;
}

/* ---- unpacked objects ---- */

static enum ecode
load_once(struct vault *v, struct blob_codec *c, const struct oname *name, struct buf *json,
	struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(UNPACKED_MAX_BYTES);
	enum ecode rc = store_get_all(v->store, name, &sealed, e);

	return rc == E_OK ? unpacked_open(c, &name->id, sealed.p, sealed.len, json, e) : rc;
}

enum ecode
vault_load(struct vault *v, struct blob_codec *c, enum okind kind, const struct id *id,
	struct buf *json, struct err *e)
{
	const struct oname name = { kind, *id };
	char text[ONAME_TEXT_MAX];
	enum ecode rc = load_once(v, c, &name, json, e);

	if (rc == E_OBJECT_HASH)
		rc = load_once(v, c, &name, json, e);
	if (rc != E_OK) {
		oname_text(&name, text);
		err_note(e, "while loading %s", text);
	}
	return rc;
}

enum ecode
vault_save(struct vault *v, struct blob_codec *c, enum okind kind, const void *json, size_t len,
	struct id *id, struct err *e)
{
	autoclean(buf_done) struct buf sealed = buf_limit(UNPACKED_MAX_BYTES);
	struct oname name = { .kind = kind };
	struct slice part;
	enum ecode rc = unpacked_shut(c, json, len, &sealed, &name.id, e);

	part = buf_slice(&sealed);
	if (rc == E_OK)
		rc = store_put(v->store, &name, &part, 1, e);
	if (rc == E_OK)
		*id = name.id;
	return rc;
}

/* ---- short names ---- */

struct prefix {
	char digits[ID_HEX_SIZE]; /* lower case */
	size_t len;
};

static bool
read_prefix(const char *text, struct prefix *out)
{
	size_t len = strlen(text);

	if (len == 0 || len >= sizeof(out->digits))
		return false;
	for (size_t i = 0; i < len; i++) {
		char ch = text[i];

		if (ch >= 'A' && ch <= 'F')
			ch |= 'a' ^ 'A';
		if ((ch < '0' || ch > '9') && (ch < 'a' || ch > 'f'))
			return false;
		out->digits[i] = ch;
	}
	out->digits[len] = '\0';
	out->len = len;
	return true;
}

enum ecode
vault_find(struct vault *v, enum okind kind, const char *prefix, struct id *out, struct err *e)
{
	autoclean(store_listing_done) struct store_listing list = { NULL, 0, 0 };
	size_t found = 0, at = 0, first = 0;
	char text[ID_HEX_SIZE], other[ID_HEX_SIZE];
	struct prefix p;
	enum ecode rc;

	if (!read_prefix(prefix, &p))
		return err_set(e, E_ID_SYNTAX, 0, "\"%.80s\"", prefix);
	rc = store_list_all(v->store, kind, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		id_hex(&list.v[i].id, text);
		if (memcmp(text, p.digits, p.len) == 0) {
			first = found == 0 ? i : first;
			at = found < 2 ? i : at;
			found++;
		}
	}
	if (rc != E_OK)
		return rc;
	if (found == 0)
		return err_set(e, E_ID_ABSENT, 0, "nothing in %s begins with %s", okind_dir(kind),
			p.digits);
	if (found > 1) {
		id_hex(&list.v[first].id, other);
		id_hex(&list.v[at].id, text);
		return err_set(e, E_ID_AMBIGUOUS, 0, "%s fits %zu objects in %s: %.*s, %.*s%s",
			p.digits, found, okind_dir(kind), id_digits_telling(p.len), other,
			id_digits_telling(p.len), text, found > 2 ? ", …" : "");
	}
	*out = list.v[at].id;
	return E_OK;
}
