/*
 * Preloaded by the sweeps: scrypt with N = 16 whatever the program asks for.
 * A sweep opens vaults thousands of times; what it looks at is the order of
 * writes, not the price of a guess.  The program itself is the real one.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define PARAMS_MAX 16

int
EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *key, size_t keylen, const OSSL_PARAM params[])
{
	static uint64_t cheap = 16;
	int (*real)(EVP_KDF_CTX *, unsigned char *, size_t, const OSSL_PARAM *);
	void *symbol = dlsym(RTLD_NEXT, "EVP_KDF_derive");
	OSSL_PARAM copy[PARAMS_MAX];
	size_t n = 0;

	memcpy(&real, &symbol, sizeof(real)); /* ISO C has no cast from an object to a function */
	for (; n + 1 < PARAMS_MAX && params[n].key != NULL; n++) {
		copy[n] = params[n];
		if (strcmp(params[n].key, OSSL_KDF_PARAM_SCRYPT_N) == 0)
			copy[n] = OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &cheap);
	}
	copy[n] = OSSL_PARAM_construct_end();
	return real(ctx, key, keylen, copy);
}
