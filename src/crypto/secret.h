/* Bytes that must not leak: locked where the limit allows, not dumped, wiped on release.  Used for passwords. */
#ifndef HF_CRYPTO_SECRET_H
#define HF_CRYPTO_SECRET_H

#include "base/err.h"

#define SECRET_MAX_BYTES 4096 /* longest password or key text */
struct secret;
enum ecode secret_open(
	struct secret **out, struct err *e) must_check; /* empty, room for SECRET_MAX_BYTES */
void secret_close(struct secret **s);
enum ecode secret_set(
	struct secret *s, const void *p, size_t len, struct err *e) must_check; /* E_LIMIT */
struct slice secret_bytes(const struct secret *s);
void secret_wipe(void *p, size_t len); /* not removed by the compiler */
/* No core dumps and no ptrace by others from now on (whole process). */
void secret_harden_process(void);

#endif
