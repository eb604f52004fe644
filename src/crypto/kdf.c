#include "crypto/kdf.h"

#include <inttypes.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

/* restic's limits on reading (format document 2.2) */
#define SCRYPT_N_R_MAX ((UINT64_C(1) << 31) / 128 - 1) /* N·r, floor((2^31 - 1) / 128) */
#define SCRYPT_R_P_MAX ((UINT64_C(1) << 30) - 1)
#define SCRYPT_R_MAX   ((UINT64_C(1) << 31) / 256 - 1)
/* RFC 7914, 2: N < 2^(128·r/8); from here on any N of 64 bits is below */
#define SCRYPT_R_FREE  4

/* scrypt's block, its list of N blocks and a few spare ones, as libcrypto counts them */
#define SCRYPT_SPARE_BLOCKS 8

static bool
cost_shape_ok(const struct kdf_params *params)
{
	uint64_t n = params->n;

	if (n < 2 || (n & (n - 1)) != 0 || params->r < 1 || params->p < 1)
		return false;
	return params->r >= SCRYPT_R_FREE || n < UINT64_C(1) << (16 * params->r);
}

/* The divisions keep every product far from 2^64: N·r is bounded before it is used. */
static bool
cost_size_ok(const struct kdf_params *params)
{
	uint64_t r = params->r, p = params->p;

	if (r > SCRYPT_R_MAX || params->n > SCRYPT_N_R_MAX / r || p > SCRYPT_R_P_MAX / r)
		return false;
	if (128 * r * (params->n + p) > KDF_MEMORY_MAX_BYTES)
		return false;
	return p <= KDF_WORK_MAX_BYTES / (128 * params->n * r);
}

enum ecode
kdf_params_check(const struct kdf_params *params, struct err *e)
{
	if (cost_shape_ok(params) && cost_size_ok(params))
		return E_OK;
	return err_set(e, E_KDF_PARAMS, 0, "scrypt with N=%" PRIu64 ", r=%" PRIu32 ", p=%" PRIu32,
		params->n, params->r, params->p);
}

static void
kdf_ctx_done(EVP_KDF_CTX **ctx)
{
	EVP_KDF_CTX_free(*ctx);
}

static void
kdf_alg_done(EVP_KDF **alg)
{
	EVP_KDF_free(*alg);
}

/* OSSL_PARAM wants writable pointers for what it only reads */
static void *
readable(const void *p)
{
	return (void *)(uintptr_t)p;
}

enum ecode
kdf_derive(struct slice password, const struct kdf_params *params,
	const uint8_t salt[static KDF_SALT_BYTES], struct key_parts *out, struct err *e)
{
	autoclean(kdf_alg_done) EVP_KDF *alg = NULL;
	autoclean(kdf_ctx_done) EVP_KDF_CTX *ctx = NULL;
	uint64_t n = params->n;
	uint32_t r = params->r, p = params->p;
	uint64_t memory = 128 * (uint64_t)r * (n + p + SCRYPT_SPARE_BLOCKS);
	struct key_parts key;
	enum ecode rc = kdf_params_check(params, e);

	_Static_assert(sizeof(key) == 64, "scrypt's output is the key, in this order");
	if (rc != E_OK)
		return rc;
	OSSL_PARAM args[] = {
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD,
			readable(password.len == 0 ? (const uint8_t *)"" : password.p),
			password.len),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, readable(salt), KDF_SALT_BYTES),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
		OSSL_PARAM_construct_end(),
	};

	alg = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
	if (alg != NULL)
		ctx = EVP_KDF_CTX_new(alg);
	if (ctx == NULL)
		return err_set(e, E_CRYPTO, 0, "scrypt is not available");
	/* the costs were checked: what is left to fail is the working memory */
	if (EVP_KDF_derive(ctx, (unsigned char *)&key, sizeof(key), args) != 1)
		return err_set(e, E_NOMEM, 0, "scrypt over %" PRIu64 " bytes", memory);
	*out = key;
	OPENSSL_cleanse(&key, sizeof(key));
	return E_OK;
}
