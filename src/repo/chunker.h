/*
 * Content-defined cutting, identical to restic's (format document 9).  Cut
 * points depend on the polynomial and on the bytes since the last cut only.
 * A chunker may be shared by threads after opening: it is only tables.
 */
#ifndef HF_REPO_CHUNKER_H
#define HF_REPO_CHUNKER_H

#include "base/err.h"
#include "os/os.h"
#include "repo/format.h"

bool poly_irreducible(uint64_t p);
/* A random irreducible polynomial of degree 53.  E_RANDOM */
enum ecode poly_random(const struct os *os, uint64_t *out, struct err *e) must_check;

struct chunker;
/* refuses: E_VAULT_POLY (reducible, or degree is not 53), E_NOMEM */
enum ecode chunker_open(uint64_t poly, struct chunker **out, struct err *e) must_check;
void chunker_close(struct chunker **c);
/* Table entries, for the vectors: OUT[b] and MOD[b]. */
uint64_t chunker_out(const struct chunker *c, unsigned b);
uint64_t chunker_mod(const struct chunker *c, unsigned b);

/*
 * Length of the first chunk of the bytes p[0, len): the position of the first
 * cut, or 0 when there is no cut in them (the caller reads on, or, at the end
 * of the file, takes the rest as the last chunk).  len up to CHUNK_MAX_BYTES is
 * enough to decide: with len >= CHUNK_MAX_BYTES the result is never 0.
 * `from` is a hint: bytes below it were looked at by an earlier call on the
 * same chunk with a shorter len and held no cut (0 on the first call).
 * *digest (may be NULL) is the fingerprint at the cut.
 */
size_t chunker_cut(
	const struct chunker *c, const uint8_t *p, size_t len, size_t from, uint64_t *digest);

/* For tests and the benchmark: which scanner runs ("avx512-gfni", "lanes", …), and choosing one by name. */
const char *chunker_variant(const struct chunker *c);
bool chunker_use(
	struct chunker *c, const char *variant) must_check; /* false: not on this machine */

#endif
