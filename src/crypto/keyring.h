/*
 * The master key, by reference: nobody outside crypto/ sees its bytes, except
 * through keyring_export() for sealing it into a key file.  Memory is locked
 * where allowed, kept out of core dumps and wiped.  Read-only after opening,
 * so it may be shared between threads.
 */
#ifndef HF_CRYPTO_KEYRING_H
#define HF_CRYPTO_KEYRING_H

#include "base/buf.h"
#include "os/os.h"

struct keyring;
/* A fresh random master key.  E_RANDOM, E_NOMEM */
enum ecode keyring_generate(const struct os *os, struct keyring **out, struct err *e) must_check;
void keyring_close(struct keyring **k); /* wipes */

/* Scrypt costs as a key file states them; N is the cost itself. */
struct kdf_params {
	uint64_t n;
	uint32_t r, p;
};
#define KDF_SALT_BYTES       64
/* Most memory a foreign key file may ask for: rustic writes 128 MiB (format document 2.2). */
#define KDF_MEMORY_MAX_BYTES (UINT64_C(256) << 20)
/* Most work: 128·N·r·p bytes mixed; about 20 s here. */
#define KDF_WORK_MAX_BYTES   (UINT64_C(8) << 30)
/* refuses: E_KDF_PARAMS, before any memory is taken */
enum ecode kdf_params_check(const struct kdf_params *params, struct err *e) must_check;

/*
 * Seal the master key's JSON (format document 2.3) under a password; out gets
 * the `data` of a key file (sealed, not base64).
 */
enum ecode keyring_wrap(const struct keyring *k, const struct os *os, struct slice password,
	const struct kdf_params *params, const uint8_t salt[static KDF_SALT_BYTES], struct buf *out,
	struct err *e) must_check;
/* The reverse.  refuses: E_SEAL_MAC (this password is not for this key), E_SEAL_SHORT, E_KDF_PARAMS, E_KEY_DAMAGED */
enum ecode keyring_unwrap(struct slice password, const struct kdf_params *params,
	const uint8_t salt[static KDF_SALT_BYTES], struct slice sealed, struct keyring **out,
	struct err *e) must_check;

/* For tests and vectors: a keyring from the master key's JSON. */
enum ecode keyring_from_json(struct slice json, struct keyring **out, struct err *e) must_check;

#endif
