/*
 * Encrypt-then-MAC as the format has it (format document 2.4): AES-256-CTR and
 * Poly1305-AES.  One sealer per thread; contexts are fetched and keyed once.
 * The IV is born here, from the kernel table's random bytes.
 */
#ifndef HF_CRYPTO_SEAL_H
#define HF_CRYPTO_SEAL_H

#include "crypto/keyring.h"

#define SEAL_IV_BYTES  16
#define SEAL_TAG_BYTES 16
#define SEAL_OVERHEAD  32 /* IV and tag */

struct sealer;
/* The keyring and the table must outlive the sealer.  os may be NULL for one that only opens. */
enum ecode sealer_open(const struct keyring *k, const struct os *os, struct sealer **out,
	struct err *e) must_check;
void sealer_close(struct sealer **s);
/* Append IV ‖ ciphertext ‖ tag.  E_RANDOM, E_NOMEM, E_LIMIT */
enum ecode seal_shut(
	struct sealer *s, const void *plain, size_t len, struct buf *out, struct err *e) must_check;
/*
 * Verify the tag in constant time, then append the plaintext; nothing is
 * appended otherwise.  refuses: E_SEAL_SHORT, E_SEAL_MAC, E_LIMIT, E_NOMEM
 */
enum ecode seal_open(struct sealer *s, const void *sealed, size_t len, struct buf *out,
	struct err *e) must_check;
/* For vectors: seal with a given IV. */
enum ecode seal_shut_iv(struct sealer *s, const uint8_t iv[static SEAL_IV_BYTES], const void *plain,
	size_t len, struct buf *out, struct err *e) must_check;

#endif
