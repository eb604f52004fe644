#include "crypto/hash.h"

#include <stdlib.h>

#include <openssl/evp.h>

struct hasher {
	EVP_MD *alg; /* fetched once: a fetch costs as much as hashing 512 bytes */
	EVP_MD_CTX *ctx;
};

void
hasher_close(struct hasher **h)
{
	if (*h == NULL)
		return;
	EVP_MD_CTX_free((*h)->ctx);
	EVP_MD_free((*h)->alg);
	free(*h);
	*h = NULL;
}

enum ecode
hasher_open(struct hasher **out, struct err *e)
{
	struct hasher *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a hasher");
	h->alg = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->ctx = EVP_MD_CTX_new();
	if (h->alg == NULL || h->ctx == NULL || EVP_DigestInit_ex2(h->ctx, h->alg, NULL) != 1) {
		hasher_close(&h);
		return err_set(e, E_CRYPTO, 0, "SHA-256 is not available");
	}
	*out = h;
	return E_OK;
}

void
hasher_begin(struct hasher *h)
{
	invariant(EVP_DigestInit_ex2(h->ctx, h->alg, NULL) == 1);
}

void
hasher_add(struct hasher *h, const void *p, size_t len)
{
	invariant(EVP_DigestUpdate(h->ctx, p, len) == 1);
}

void
hasher_end(struct hasher *h, struct id *out)
{
	unsigned len = 0;

	invariant(EVP_DigestFinal_ex(h->ctx, out->b, &len) == 1 && len == sizeof(out->b));
}

void
hasher_sum(struct hasher *h, const void *p, size_t len, struct id *out)
{
	hasher_begin(h);
	hasher_add(h, p, len);
	hasher_end(h, out);
}
