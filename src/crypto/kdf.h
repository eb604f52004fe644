/* Password to key: scrypt (format document 2.2).  Internal to crypto/. */
#ifndef HF_CRYPTO_KDF_H
#define HF_CRYPTO_KDF_H

#include "crypto/parts.h"

/*
 * Derive the user key.  The parameters are checked before any memory is taken.
 * refuses: E_KDF_PARAMS; E_NOMEM (scrypt's working memory was not to be had)
 */
enum ecode kdf_derive(struct slice password, const struct kdf_params *params,
	const uint8_t salt[static KDF_SALT_BYTES], struct key_parts *out, struct err *e) must_check;

#endif
