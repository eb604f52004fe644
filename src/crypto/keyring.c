#include "crypto/keyring.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/json.h"
#include "base/wire.h"
#include "crypto/kdf.h"
#include "crypto/parts.h"
#include "crypto/seal.h"
#include "crypto/secret.h"

/* {"mac":{"k":"…24…","r":"…24…"},"encrypt":"…44…"} as restic writes it (format document 2.3) */
#define KEY_JSON_HEAD      "{\"mac\":{\"k\":\""
#define KEY_JSON_R         "\",\"r\":\""
#define KEY_JSON_CIPHER    "\"},\"encrypt\":\""
#define KEY_JSON_TAIL      "\"}"
/* bytes; what we write is 138 long, other writers may add white space or fields */
#define KEY_JSON_MAX_BYTES 4096

/* The keyring is the key itself, in secret memory. */
struct keyring {
	struct key_parts parts;
};

const struct key_parts *
keyring_parts(const struct keyring *k)
{
	return &k->parts;
}

void
keyring_close(struct keyring **k)
{
	secret_free(*k, sizeof(**k));
	*k = NULL;
}

static bool
any_part_zero(const struct key_parts *parts)
{
	static const uint8_t zero[sizeof(parts->encrypt)];

	return CRYPTO_memcmp(parts->encrypt, zero, sizeof(parts->encrypt)) == 0 ||
	       CRYPTO_memcmp(parts->k, zero, sizeof(parts->k)) == 0 ||
	       CRYPTO_memcmp(parts->r, zero, sizeof(parts->r)) == 0;
}

enum ecode
keyring_generate(const struct os *os, struct keyring **out, struct err *e)
{
	autoclean(keyring_close) struct keyring *k = secret_alloc(sizeof(*k));
	int n;

	if (k == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a key");
	n = os->random(os, &k->parts, sizeof(k->parts));
	if (n < 0)
		return err_set(e, E_RANDOM, -n, "random bytes for the master key");
	if (any_part_zero(&k->parts))
		return err_set(e, E_RANDOM, 0, "random bytes for the master key are zeros");
	*out = k;
	k = NULL;
	return E_OK;
}

/* ---- reading the master key's JSON ---- */

static void
wiped_buf_done(struct buf *b)
{
	secret_wipe(b->p, b->cap);
	buf_done(b);
}

static enum ecode
decode_part(struct slice text, uint8_t *part, size_t size, struct err *e)
{
	uint8_t bytes[48]; /* 44 and 64 digits of base64 give at most this */
	size_t len = 0;
	bool right = text.len <= base64_size(sizeof(bytes)) &&
		     base64_read(text.p, text.len, bytes, &len) && len == size;

	if (right)
		memcpy(part, bytes, size);
	secret_wipe(bytes, sizeof(bytes));
	return right ? E_OK
		     : err_set(e, E_KEY_DAMAGED, 0, "a part of the master key is not %zu bytes",
			       size);
}

static enum ecode
read_part(struct json *j, uint8_t *part, size_t size, struct err *e)
{
	autoclean(wiped_buf_done) struct buf plain = buf_limit(KEY_JSON_MAX_BYTES);
	struct slice text = { NULL, 0 };
	bool escaped = false;
	enum ecode rc = E_OK;

	if (!json_string(j, &text, &escaped))
		return E_OK; /* the scanner remembers; parse_key() refuses */
	if (escaped) {
		rc = buf_reserve(
			&plain, text.len * 3, e); /* no second allocation to leave traces */
		if (rc == E_OK)
			rc = json_unescape(&plain, text, e);
		text = buf_slice(&plain);
	}
	return rc == E_OK ? decode_part(text, part, size, e) : rc;
}

static enum ecode
read_mac(struct json *j, struct key_parts *parts, struct err *e)
{
	enum ecode rc = E_OK;
	struct slice key;

	if (!json_enter_object(j))
		return E_OK;
	while (rc == E_OK && json_key(j, &key)) {
		if (slice_is(key, "k"))
			rc = read_part(j, parts->k, sizeof(parts->k), e);
		else if (slice_is(key, "r"))
			rc = read_part(j, parts->r, sizeof(parts->r), e);
		else if (!json_skip(j, NULL))
			break;
	}
	return rc;
}

static enum ecode
parse_key(struct slice text, struct key_parts *parts, struct err *e)
{
	enum ecode rc = E_OK;
	struct slice key;
	struct json j;

	json_init(&j, text.p, text.len);
	if (!json_enter_object(&j))
		return err_set(e, E_KEY_DAMAGED, 0, "the master key is not a JSON object");
	while (rc == E_OK && json_key(&j, &key)) {
		if (slice_is(key, "mac"))
			rc = read_mac(&j, parts, e);
		else if (slice_is(key, "encrypt"))
			rc = read_part(&j, parts->encrypt, sizeof(parts->encrypt), e);
		else if (!json_skip(&j, NULL))
			break;
	}
	if (rc != E_OK)
		return rc;
	if (!json_end(&j)) /* the scanner's own refusal would quote bytes of the key */
		return err_set(e, E_KEY_DAMAGED, 0, "the master key is not valid JSON");
	if (any_part_zero(parts))
		return err_set(e, E_KEY_DAMAGED, 0, "a part of the master key is missing or zero");
	return E_OK;
}

enum ecode
keyring_from_json(struct slice json, struct keyring **out, struct err *e)
{
	autoclean(keyring_close) struct keyring *k = secret_alloc(sizeof(*k));
	enum ecode rc;

	if (k == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a key");
	rc = parse_key(json, &k->parts, e);
	if (rc != E_OK)
		return rc;
	*out = k;
	k = NULL;
	return E_OK;
}

/* ---- under a password ---- */

/* Fixed length; the members are text without NUL at the end. */
struct key_json {
	char head[sizeof(KEY_JSON_HEAD) - 1], k[24];
	char mid[sizeof(KEY_JSON_R) - 1], r[24];
	char cipher[sizeof(KEY_JSON_CIPHER) - 1], encrypt[44];
	char tail[sizeof(KEY_JSON_TAIL) - 1];
};

static void
write_key(const struct key_parts *parts, struct key_json *out)
{
	memcpy(out->head, KEY_JSON_HEAD, sizeof(out->head));
	base64_write_raw(out->k, parts->k, sizeof(parts->k));
	memcpy(out->mid, KEY_JSON_R, sizeof(out->mid));
	base64_write_raw(out->r, parts->r, sizeof(parts->r));
	memcpy(out->cipher, KEY_JSON_CIPHER, sizeof(out->cipher));
	base64_write_raw(out->encrypt, parts->encrypt, sizeof(parts->encrypt));
	memcpy(out->tail, KEY_JSON_TAIL, sizeof(out->tail));
}

/* A sealer under the user key; the key itself is gone again when this returns. */
static enum ecode
user_sealer(struct slice password, const struct kdf_params *params,
	const uint8_t salt[static KDF_SALT_BYTES], const struct os *os, struct sealer **out,
	struct err *e)
{
	autoclean(keyring_close) struct keyring *user = secret_alloc(sizeof(*user));
	enum ecode rc;

	if (user == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a key");
	rc = kdf_derive(password, params, salt, &user->parts, e);
	if (rc == E_OK)
		rc = sealer_open(user, os, out, e);
	return rc;
}

enum ecode
keyring_wrap(const struct keyring *k, const struct os *os, struct slice password,
	const struct kdf_params *params, const uint8_t salt[static KDF_SALT_BYTES], struct buf *out,
	struct err *e)
{
	autoclean(sealer_close) struct sealer *sealer = NULL;
	struct key_json *text;
	enum ecode rc = user_sealer(password, params, salt, os, &sealer, e);

	if (rc != E_OK)
		return rc;
	text = secret_alloc(sizeof(*text));
	if (text == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a key");
	write_key(&k->parts, text);
	rc = seal_shut(sealer, text, sizeof(*text), out, e);
	secret_free(text, sizeof(*text));
	return rc;
}

/* The cheap refusals first: a hostile key file costs nothing. */
static enum ecode
check_wrapped(const struct kdf_params *params, struct slice sealed, struct err *e)
{
	if (sealed.len < SEAL_OVERHEAD)
		return err_set(e, E_SEAL_SHORT, 0, "a key of %zu bytes; at least %d", sealed.len,
			SEAL_OVERHEAD);
	if (sealed.len - SEAL_OVERHEAD > KEY_JSON_MAX_BYTES)
		return err_set(e, E_KEY_DAMAGED, 0, "a key of %zu bytes; at most %d", sealed.len,
			KEY_JSON_MAX_BYTES + SEAL_OVERHEAD);
	return kdf_params_check(params, e);
}

enum ecode
keyring_unwrap(struct slice password, const struct kdf_params *params,
	const uint8_t salt[static KDF_SALT_BYTES], struct slice sealed, struct keyring **out,
	struct err *e)
{
	autoclean(sealer_close) struct sealer *sealer = NULL;
	enum ecode rc = check_wrapped(params, sealed, e);
	uint8_t *text;

	if (rc == E_OK)
		rc = user_sealer(password, params, salt, NULL, &sealer, e);
	if (rc != E_OK)
		return rc;
	text = secret_alloc(KEY_JSON_MAX_BYTES);
	if (text == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a key");
	rc = seal_open_into(sealer, sealed.p, sealed.len, text, e);
	if (rc == E_OK)
		rc = keyring_from_json((struct slice){ text, sealed.len - SEAL_OVERHEAD }, out, e);
	secret_free(text, KEY_JSON_MAX_BYTES);
	return rc;
}
