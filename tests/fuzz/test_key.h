/*
 * For the fuzz targets: a fixed master key, so that mutated plaintext can be
 * sealed and gets past the MAC, and a kernel table whose random bytes repeat.
 */
#ifndef HF_TESTS_FUZZ_TEST_KEY_H
#define HF_TESTS_FUZZ_TEST_KEY_H

#include <stdlib.h>
#include <string.h>

#include "crypto/seal.h"

#define TEST_KEY_JSON                                                                                   \
	"{\"mac\":{\"k\":\"QEFCQ0RFRkdISUpLTE1OTw==\",\"r\":\"/////////////////////w==\"},\"encrypt\":" \
	"\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}"

/* Fuzzing only: these bytes are not random. */
static inline int
test_key_random(const struct os *os, void *p, size_t len)
{
	(void)os;
	memset(p, 0x5a, len);
	return 0;
}

static const struct os test_key_os = { .random = test_key_random };

static inline struct keyring *
test_key_open(void)
{
	struct keyring *keys = NULL;

	if (keyring_from_json(
		    (struct slice){ (const uint8_t *)TEST_KEY_JSON, sizeof(TEST_KEY_JSON) - 1 },
		    &keys, NULL) != E_OK)
		abort();
	return keys;
}

static inline struct sealer *
test_key_sealer(const struct keyring *keys)
{
	struct sealer *s = NULL;

	if (sealer_open(keys, &test_key_os, &s, NULL) != E_OK)
		abort();
	return s;
}

#endif
