#include "crypto/secret.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <openssl/crypto.h>

#include "crypto/parts.h"

/*
 * libcrypto's secure heap is one mapping that is locked, excluded from core
 * dumps and fenced by guard pages.  It is the process's, like libcrypto's
 * other state; when it is full or refused, ordinary memory is used and wiped
 * all the same.
 */

/* bytes, a power of two; far below Debian's RLIMIT_MEMLOCK of 8 MiB, enough for 60 secrets */
#define HEAP_BYTES       ((size_t)512 << 10)
/* bytes; smallest piece the heap hands out */
#define HEAP_PIECE_BYTES 64

static void
heap_init(void)
{
	/* 2 means "made but not locked": a small RLIMIT_MEMLOCK, accepted calmly */
	(void)CRYPTO_secure_malloc_init(HEAP_BYTES, HEAP_PIECE_BYTES);
}

void *
secret_alloc(size_t len)
{
	static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT; /* the heap is one per process */
	void *p = NULL;

	if (CRYPTO_THREAD_run_once(&once, heap_init) == 1)
		p = OPENSSL_secure_zalloc(len);
	return p != NULL ? p : OPENSSL_zalloc(len);
}

void
secret_free(void *p, size_t len)
{
	OPENSSL_secure_clear_free(p, len); /* knows which of the two heaps p is from */
}

struct secret {
	size_t len;
	uint8_t b[SECRET_MAX_BYTES];
};

enum ecode
secret_open(struct secret **out, struct err *e)
{
	struct secret *s = secret_alloc(sizeof(*s));

	if (s == NULL)
		return err_set(e, E_NOMEM, 0, "memory for a secret");
	*out = s;
	return E_OK;
}

void
secret_close(struct secret **s)
{
	secret_free(*s, sizeof(**s));
	*s = NULL;
}

enum ecode
secret_set(struct secret *s, const void *p, size_t len, struct err *e)
{
	if (len > sizeof(s->b))
		return err_set(
			e, E_LIMIT, 0, "a secret of %zu bytes; at most %zu", len, sizeof(s->b));
	OPENSSL_cleanse(s->b, sizeof(s->b));
	if (len > 0)
		memcpy(s->b, p, len);
	s->len = len;
	return E_OK;
}

struct slice
secret_bytes(const struct secret *s)
{
	return (struct slice){ s->b, s->len };
}

void
secret_wipe(void *p, size_t len)
{
	if (p != NULL)
		OPENSSL_cleanse(p, len);
}

void
secret_harden_process(void)
{
	const struct rlimit none = { 0, 0 };

	/* both are extra walls: a kernel that refuses one leaves the secrets as guarded as before */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}
