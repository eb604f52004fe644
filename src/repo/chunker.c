/*
 * The fingerprint at any possible cut depends on the last 64 bytes only (format
 * document 9.4), so a scan can begin anywhere, and several can run side by side.
 * One scan waits for its own table look-up at every byte; LANES of them over
 * neighbouring stretches keep the processor busy.  Whether a stretch holds a cut
 * is all the fast loop finds out; the exact place, met once in a mebibyte, is
 * searched again byte by byte.
 */
#include "repo/chunker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "repo/chunker_scan.h"

#define LANES          8
#define LANE_BYTES_MAX 1024 /* measured: longer gains nothing, a hit costs a second look */
#define LANE_BYTES_MIN 64   /* below, starting the lanes costs more than it saves */
/* One in 27 random numbers passes; 10,000 failures mean that they are not random. */
#define POLY_TRIES_MAX 10000

/* ---- polynomials over GF(2): bit i is the coefficient of x^i ---- */

static int
degree(uint64_t p)
{
	return p == 0 ? -1 : 63 - __builtin_clzll(p);
}

uint64_t
poly_mod(uint64_t a, uint64_t p)
{
	int deg = degree(p);

	while (degree(a) >= deg)
		a ^= p << (degree(a) - deg);
	return a;
}

/* a has a lower degree than p */
static uint64_t
mulmod(uint64_t a, uint64_t b, uint64_t p)
{
	uint64_t r = 0;

	for (; b != 0; b >>= 1) {
		if ((b & 1) != 0)
			r ^= a;
		a = poly_mod(a << 1, p);
	}
	return r;
}

static uint64_t
gcd(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t rest = poly_mod(a, b);

		a = b;
		b = rest;
	}
	return a;
}

bool
poly_irreducible(uint64_t p)
{
	uint64_t t = 2; /* x */

	if (degree(p) < 1)
		return false;
	for (int i = 0; i < degree(p) / 2; i++) {
		t = mulmod(t, t, p);
		if (gcd(p, t ^ 2) != 1)
			return false;
	}
	return true;
}

enum ecode
poly_random(const struct os *os, uint64_t *out, struct err *e)
{
	const uint64_t top = UINT64_C(1) << POLY_DEGREE;

	for (int i = 0; i < POLY_TRIES_MAX; i++) {
		uint64_t bits;
		int rc = os->random(os, &bits, sizeof(bits));

		if (rc < 0)
			return err_set(e, E_RANDOM, -rc, "a polynomial");
		bits = (bits & (top - 1)) | top | 1;
		if (poly_irreducible(bits)) {
			*out = bits;
			return E_OK;
		}
	}
	return err_set(e, E_RANDOM, 0, "no polynomial in %d tries", POLY_TRIES_MAX);
}

/* ---- the portable scanner ---- */

static inline uint64_t
add_byte(const struct chunker *c, uint64_t digest, uint8_t in)
{
	return (digest << 8 | in) ^ c->mod[digest >> (POLY_DEGREE - 8)];
}

static inline uint64_t
roll(const struct chunker *c, uint64_t digest, uint8_t old, uint8_t in)
{
	return add_byte(c, digest ^ c->out[old], in);
}

/* The fingerprint of p[n - 64, n). */
static uint64_t
digest_at(const struct chunker *c, const uint8_t *p, size_t n)
{
	uint64_t digest = 0;

	for (size_t i = n - CHUNK_WINDOW_BYTES; i < n; i++)
		digest = add_byte(c, digest, p[i]);
	return digest;
}

static size_t
scan_bytes(const struct chunker *c, const uint8_t *p, size_t from, size_t end)
{
	uint64_t digest;

	if (from > end)
		return 0;
	digest = digest_at(c, p, from - 1);
	for (size_t n = from; n <= end; n++) {
		digest = roll(c, digest, p[n - 1 - CHUNK_WINDOW_BYTES], p[n - 1]);
		if ((digest & CHUNK_MASK) == 0)
			return n;
	}
	return 0;
}

/* Does one of the LANES * len positions from `from` on have a zero mask? */
static bool
lanes_hit(const struct chunker *c, const uint8_t *p, size_t from, size_t len)
{
	const uint8_t *in = p + from - 1, *old = in - CHUNK_WINDOW_BYTES;
	uint64_t digest[LANES];
	bool hit = false;

	for (size_t lane = 0; lane < LANES; lane++)
		digest[lane] = digest_at(c, p, from - 1 + lane * len);
	for (size_t i = 0; i < len; i++) {
/* digests in registers: 1.3 GB/s instead of 0.9 with gcc 12 -O2 */
#pragma GCC unroll 8
		for (size_t lane = 0; lane < LANES; lane++) {
			size_t at = lane * len + i;

			digest[lane] = roll(c, digest[lane], old[at], in[at]);
			hit |= (digest[lane] & CHUNK_MASK) == 0;
		}
	}
	return hit;
}

size_t
chunker_scan_lanes(const struct chunker *c, const uint8_t *p, size_t from, size_t end)
{
	while (from <= end && end - from + 1 >= (size_t)LANES * LANE_BYTES_MIN) {
		size_t len = (end - from + 1) / LANES;

		if (len > LANE_BYTES_MAX)
			len = LANE_BYTES_MAX;
		if (lanes_hit(c, p, from, len))
			return scan_bytes(c, p, from, from + LANES * len - 1);
		from += LANES * len;
	}
	return scan_bytes(c, p, from, end);
}

static bool
everywhere(void)
{
	return true;
}

static const struct chunker_scanner lanes_scanner = {
	.name = "lanes",
	.usable = everywhere,
	.scan = chunker_scan_lanes,
};

/* ---- the chunker ---- */

static void
use(struct chunker *c, const struct chunker_scanner *scanner)
{
	c->scanner = scanner;
	if (scanner->prepare != NULL)
		scanner->prepare(c);
}

/* The scanner of that name, or the best when `name` is NULL; NULL when this machine lacks it. */
static const struct chunker_scanner *
find_scanner(const char *name)
{
	const struct chunker_scanner *list;
	size_t n = chunker_arch_scanners(&list);

	for (size_t i = 0; i < n; i++) {
		if ((name == NULL || strcmp(name, list[i].name) == 0) && list[i].usable())
			return &list[i];
	}
	if (name != NULL && strcmp(name, lanes_scanner.name) != 0)
		return NULL;
	return &lanes_scanner;
}

/* 9.3 */
static void
fill_tables(struct chunker *c)
{
	for (uint64_t b = 0; b < 256; b++) {
		uint64_t h = poly_mod(b, c->poly);

		for (unsigned i = 1; i < CHUNK_WINDOW_BYTES; i++)
			h = poly_mod(h << 8, c->poly);
		c->out[b] = h;
		c->mod[b] = poly_mod(b << POLY_DEGREE, c->poly) | b << POLY_DEGREE;
	}
}

enum ecode
chunker_open(uint64_t poly, struct chunker **out, struct err *e)
{
	struct chunker *c;

	if (degree(poly) != POLY_DEGREE || !poly_irreducible(poly))
		return err_set(e, E_VAULT_POLY, 0, "polynomial %" PRIx64, poly);
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return err_set(e, E_NOMEM, 0, "chunker tables");
	c->poly = poly;
	fill_tables(c);
	use(c, find_scanner(NULL));
	*out = c;
	return E_OK;
}

void
chunker_close(struct chunker **c)
{
	free(*c);
	*c = NULL;
}

uint64_t
chunker_out(const struct chunker *c, unsigned b)
{
	return c->out[b & 0xff];
}

uint64_t
chunker_mod(const struct chunker *c, unsigned b)
{
	return c->mod[b & 0xff];
}

size_t
chunker_cut(const struct chunker *c, const uint8_t *p, size_t len, size_t from, uint64_t *digest)
{
	size_t end = len < CHUNK_MAX_BYTES ? len : CHUNK_MAX_BYTES, cut = 0;

	if (from < CHUNK_MIN_BYTES - 1)
		from = CHUNK_MIN_BYTES - 1;
	if (from < end)
		cut = c->scanner->scan(c, p, from + 1, end);
	if (cut == 0 && end == CHUNK_MAX_BYTES)
		cut = end;
	if (cut != 0 && digest != NULL)
		*digest = digest_at(c, p, cut);
	return cut;
}

const char *
chunker_variant(const struct chunker *c)
{
	return c->scanner->name;
}

bool
chunker_use(struct chunker *c, const char *variant)
{
	const struct chunker_scanner *scanner = find_scanner(variant);

	if (scanner != NULL)
		use(c, scanner);
	return scanner != NULL;
}
