#include "crypto/seal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "crypto/parts.h"
#include "crypto/secret.h"

/*
 * The hot path.  Everything is fetched and keyed in sealer_open(); a call sets
 * an IV, encrypts one block for s, and runs CTR and Poly1305.  Sealing goes in
 * pieces so that the MAC reads ciphertext that is still in the first-level
 * cache; opening cannot, since no plaintext may exist before the tag is
 * verified (invariant I5).
 */

/* bytes; half of a 32 KiB first-level data cache, a multiple of the AES block */
#define PIECE_BYTES      8192
/* bytes; IVs drawn at once, so that a kernel call is paid once in 256 seals */
#define IV_POOL_BYTES    4096
/* bytes; EVP_EncryptUpdate counts in int */
#define UPDATE_MAX_BYTES ((size_t)1 << 30)

/* Poly1305's key of one message: r is the key's, s is AES(k, IV) */
struct one_time {
	uint8_t r[16], s[16];
};

struct sealer {
	const struct os *os; /* NULL: opens only */
	EVP_CIPHER *ctr_alg, *block_alg;
	EVP_MAC *mac_alg;
	EVP_CIPHER_CTX *ctr;   /* AES-256-CTR under `encrypt` */
	EVP_CIPHER_CTX *block; /* AES-128-ECB under `k` */
	EVP_MAC_CTX *mac;
	struct one_time *one_time; /* in secret memory */
	size_t iv_left;            /* unused bytes at the head of iv_pool */
	uint8_t iv_pool[IV_POOL_BYTES];
};

void
sealer_close(struct sealer **s)
{
	struct sealer *own = *s;

	if (own == NULL)
		return;
	EVP_CIPHER_CTX_free(own->ctr); /* the three wipe their key schedules */
	EVP_CIPHER_CTX_free(own->block);
	EVP_MAC_CTX_free(own->mac);
	EVP_CIPHER_free(own->ctr_alg);
	EVP_CIPHER_free(own->block_alg);
	EVP_MAC_free(own->mac_alg);
	secret_free(own->one_time, sizeof(*own->one_time));
	secret_wipe(own->iv_pool, sizeof(own->iv_pool));
	free(own);
	*s = NULL;
}

static bool
fetch_all(struct sealer *s)
{
	s->ctr_alg = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
	s->block_alg = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	s->mac_alg = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	s->ctr = EVP_CIPHER_CTX_new();
	s->block = EVP_CIPHER_CTX_new();
	if (s->mac_alg != NULL)
		s->mac = EVP_MAC_CTX_new(s->mac_alg);
	return s->ctr_alg != NULL && s->block_alg != NULL && s->ctr != NULL && s->block != NULL &&
	       s->mac != NULL;
}

static bool
key_all(struct sealer *s, const struct key_parts *key)
{
	memcpy(s->one_time->r, key->r, sizeof(key->r));
	return EVP_EncryptInit_ex2(s->ctr, s->ctr_alg, key->encrypt, NULL, NULL) == 1 &&
	       EVP_EncryptInit_ex2(s->block, s->block_alg, key->k, NULL, NULL) == 1 &&
	       EVP_CIPHER_CTX_set_padding(s->block, 0) == 1;
}

static enum ecode
set_up(struct sealer *s, const struct key_parts *key, struct err *e)
{
	s->one_time = secret_alloc(sizeof(*s->one_time));
	if (s->one_time == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a sealer");
	if (!fetch_all(s) || !key_all(s, key))
		return err_set(e, E_CRYPTO, 0, "AES-256-CTR and Poly1305 cannot be set up");
	return E_OK;
}

enum ecode
sealer_open(const struct keyring *k, const struct os *os, struct sealer **out, struct err *e)
{
	struct sealer *s = calloc(1, sizeof(*s));
	enum ecode rc;

	if (s == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a sealer");
	s->os = os;
	rc = set_up(s, keyring_parts(k), e);
	if (rc == E_OK)
		*out = s;
	else
		sealer_close(&s);
	return rc;
}

static bool
is_zero(const uint8_t iv[static SEAL_IV_BYTES])
{
	static const uint8_t zero[SEAL_IV_BYTES];

	return memcmp(iv, zero, sizeof(zero)) == 0;
}

/* Key the three contexts for one message. */
static bool
set_iv(struct sealer *s, const uint8_t iv[static SEAL_IV_BYTES])
{
	int n = 0;

	return EVP_EncryptUpdate(s->block, s->one_time->s, &n, iv, SEAL_IV_BYTES) == 1 &&
	       n == SEAL_IV_BYTES &&
	       EVP_MAC_init(s->mac, (const uint8_t *)s->one_time, sizeof(*s->one_time), NULL) ==
		       1 &&
	       EVP_EncryptInit_ex2(s->ctr, NULL, NULL, iv, NULL) == 1;
}

static bool
end_mac(struct sealer *s, uint8_t tag[static SEAL_TAG_BYTES])
{
	size_t n = 0;

	return EVP_MAC_final(s->mac, tag, &n, SEAL_TAG_BYTES) == 1 && n == SEAL_TAG_BYTES;
}

static bool
run_ctr(struct sealer *s, uint8_t *to, const uint8_t *from, size_t len)
{
	int n = 0;

	return EVP_EncryptUpdate(s->ctr, to, &n, from, (int)len) == 1 && (size_t)n == len;
}

/* ciphertext and tag of `len` bytes into to[len + SEAL_TAG_BYTES] */
static bool
encrypt_and_mac(struct sealer *s, uint8_t *to, const uint8_t *plain, size_t len)
{
	for (size_t at = 0; at < len; at += PIECE_BYTES) {
		size_t n = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;

		if (!run_ctr(s, to + at, plain + at, n) || EVP_MAC_update(s->mac, to + at, n) != 1)
			return false;
	}
	return end_mac(s, to + len);
}

enum ecode
seal_shut_iv(struct sealer *s, const uint8_t iv[static SEAL_IV_BYTES], const void *plain,
	size_t len, struct buf *out, struct err *e)
{
	enum ecode rc;

	if (is_zero(iv))
		return err_set(e, E_RANDOM, 0, "an IV of zeros");
	if (len > SIZE_MAX - SEAL_OVERHEAD)
		return err_set(e, E_LIMIT, 0, "sealing %zu bytes", len);
	rc = buf_reserve(out, len + SEAL_OVERHEAD, e);
	if (rc != E_OK)
		return rc;
	memcpy(out->p + out->len, iv, SEAL_IV_BYTES);
	if (!set_iv(s, iv) || !encrypt_and_mac(s, out->p + out->len + SEAL_IV_BYTES, plain, len))
		return err_set(e, E_CRYPTO, 0, "sealing %zu bytes", len);
	out->len += len + SEAL_OVERHEAD;
	return E_OK;
}

static enum ecode
fill_iv_pool(struct sealer *s, struct err *e)
{
	int rc = s->os->random(s->os, s->iv_pool, sizeof(s->iv_pool));

	if (rc < 0)
		return err_set(e, E_RANDOM, -rc, "random bytes for sealing");
	s->iv_left = sizeof(s->iv_pool);
	return E_OK;
}

enum ecode
seal_shut(struct sealer *s, const void *plain, size_t len, struct buf *out, struct err *e)
{
	enum ecode rc = E_OK;

	invariant(s->os != NULL);
	if (s->iv_left == 0)
		rc = fill_iv_pool(s, e);
	if (rc != E_OK)
		return rc;
	s->iv_left -= SEAL_IV_BYTES; /* spent whatever follows: an IV is never offered twice */
	return seal_shut_iv(s, s->iv_pool + s->iv_left, plain, len, out, e);
}

static bool
decrypt(struct sealer *s, uint8_t *to, const uint8_t *from, size_t len)
{
	for (size_t at = 0; at < len; at += UPDATE_MAX_BYTES) {
		if (!run_ctr(s, to + at, from + at,
			    len - at < UPDATE_MAX_BYTES ? len - at : UPDATE_MAX_BYTES))
			return false;
	}
	return true;
}

enum ecode
seal_open_into(struct sealer *s, const uint8_t *sealed, size_t len, uint8_t *plain, struct err *e)
{
	uint8_t tag[SEAL_TAG_BYTES];
	size_t n;

	if (len < SEAL_OVERHEAD)
		return err_set(e, E_SEAL_SHORT, 0, "%zu bytes; at least %d", len, SEAL_OVERHEAD);
	n = len - SEAL_OVERHEAD;
	if (is_zero(sealed))
		return err_set(e, E_SEAL_MAC, 0, "an IV of zeros over %zu bytes", n);
	if (!set_iv(s, sealed) || EVP_MAC_update(s->mac, sealed + SEAL_IV_BYTES, n) != 1 ||
		!end_mac(s, tag))
		return err_set(e, E_CRYPTO, 0, "verifying %zu bytes", n);
	if (CRYPTO_memcmp(tag, sealed + SEAL_IV_BYTES + n, SEAL_TAG_BYTES) != 0)
		return err_set(e, E_SEAL_MAC, 0, "the tag over %zu bytes is wrong", n);
	if (!decrypt(s, plain, sealed + SEAL_IV_BYTES, n))
		return err_set(e, E_CRYPTO, 0, "decrypting %zu bytes", n);
	return E_OK;
}

enum ecode
seal_open(struct sealer *s, const void *sealed, size_t len, struct buf *out, struct err *e)
{
	size_t n = len < SEAL_OVERHEAD ? 0 : len - SEAL_OVERHEAD;
	enum ecode rc = buf_reserve(out, n, e);

	if (rc == E_OK)
		rc = seal_open_into(s, sealed, len, out->p == NULL ? NULL : out->p + out->len, e);
	if (rc == E_OK)
		out->len += n;
	return rc;
}
