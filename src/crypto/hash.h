/* SHA-256 with a context that is fetched once.  One hasher per thread. */
#ifndef HF_CRYPTO_HASH_H
#define HF_CRYPTO_HASH_H

#include "base/err.h"

struct hasher;
enum ecode hasher_open(struct hasher **out, struct err *e) must_check;
void hasher_close(struct hasher **h); /* NULL inside is fine */
/* One shot.  A failure of the library is a broken invariant, not a refusal: there is no input it may refuse. */
void hasher_sum(struct hasher *h, const void *p, size_t len, struct id *out);
/* Streaming: begin, add…, end.  One stream at a time per hasher. */
void hasher_begin(struct hasher *h);
void hasher_add(struct hasher *h, const void *p, size_t len);
void hasher_end(struct hasher *h, struct id *out);

#endif
