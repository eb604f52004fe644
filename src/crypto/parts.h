/*
 * Internal to crypto/: the bytes of a key and where they live.  No other room
 * may include this header (power is a type: keys travel as struct keyring).
 */
#ifndef HF_CRYPTO_PARTS_H
#define HF_CRYPTO_PARTS_H

#include "crypto/keyring.h"

/* 64 bytes in scrypt's output order (format document 2.2); r is not clamped. */
struct key_parts {
	uint8_t encrypt[32]; /* AES-256 */
	uint8_t k[16];       /* AES-128 of Poly1305-AES */
	uint8_t r[16];       /* Poly1305, clamped by the library when used */
};

/* Lives as long as the keyring. */
const struct key_parts *keyring_parts(const struct keyring *k);

/*
 * Zeroed memory for secrets: locked and kept out of core dumps while the
 * locked heap has room and RLIMIT_MEMLOCK allows, ordinary memory otherwise.
 * NULL when there is none.  secret_free wipes `len` bytes; NULL is fine.
 */
void *secret_alloc(size_t len) must_check;
void secret_free(void *p, size_t len);

struct sealer;
/*
 * seal_open into plain memory of len - SEAL_OVERHEAD bytes, which is written
 * only after the tag was verified.  refuses: E_SEAL_SHORT, E_SEAL_MAC, E_CRYPTO
 */
enum ecode seal_open_into(struct sealer *s, const uint8_t *sealed, size_t len, uint8_t *plain,
	struct err *e) must_check;

#endif
