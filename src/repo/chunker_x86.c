/*
 * 64 scans side by side, one in each byte of a 512-bit register.  The state of
 * a scan is G = x^3 * fingerprint: 56 bits, seven registers of one byte each, so
 * that multiplying by x^8 only renames them.  With t the byte shifted out, b the
 * byte that enters and o the byte that left 64 steps ago,
 *
 *     G' = G * x^8  +  x^3 * b  +  x^3 * (t * x^53 mod P)  +  x^3 * (o * x^512 mod P)
 *
 * Each of the last three is linear over GF(2), byte by byte an 8 x 8 bit matrix,
 * which is GF2P8AFFINEQB: 2 + 7 + 7 of them test 64 positions, exactly (the mask
 * is bits 3..22 of G).  The bytes of the 64 stretches come into order by
 * transposing 16 bytes of each at a time.
 */
#include <immintrin.h>

#include "repo/chunker_scan.h"

#define SCAN512     __attribute__((target("avx512f,avx512bw,avx512vl,gfni")))
#define LANES       64
#define GROUP       16 /* steps between two transpositions */
#define STATE_BYTES 7
/* 9 lines of 64 bytes: an odd number spreads the stretches over all sets of the cache */
#define STRETCH_MAX (9 * 64)

/* where the matrices stand in chunker.arch */
#define AT_ENTER  0 /* 2: for b */
#define AT_REDUCE 2 /* 7: for t */
#define AT_LEAVE  9 /* 7: for o */

/*
 * The matrix of output byte `k` of the linear function with the given images of
 * the eight unit bytes, as the instruction wants it: row of bit i in byte 7 - i.
 */
static uint64_t
matrix(const uint64_t image[8], unsigned k)
{
	uint64_t m = 0;

	for (unsigned bit = 0; bit < 8; bit++) {
		for (unsigned in = 0; in < 8; in++)
			m |= (image[in] >> (8 * k + bit) & 1) << (8 * (7 - bit) + in);
	}
	return m;
}

static void
prepare_gfni(struct chunker *c)
{
	uint64_t enter[8], reduce[8], leave[8];

	for (unsigned i = 0; i < 8; i++) {
		enter[i] = UINT64_C(1) << i << 3;
		reduce[i] = poly_mod(UINT64_C(1) << (POLY_DEGREE + i), c->poly) << 3;
		leave[i] = poly_mod(c->out[1U << i] << 8, c->poly) << 3;
	}
	for (unsigned k = 0; k < 2; k++)
		c->arch[AT_ENTER + k] = matrix(enter, k);
	for (unsigned k = 0; k < STATE_BYTES; k++) {
		c->arch[AT_REDUCE + k] = matrix(reduce, k);
		c->arch[AT_LEAVE + k] = matrix(leave, k);
	}
}

static bool
usable_512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("gfni");
}

/* One byte of 64 scans: p[0], p[stretch], ... for each of 16 steps. */
SCAN512 static inline void
transpose_512(const uint8_t *p, size_t stretch, __m512i out[static GROUP])
{
	__m512i row[GROUP], half[GROUP];

	for (size_t i = 0; i < GROUP; i++) {
		const uint8_t *at = p + i * stretch;
		__m512i r = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i_u *)at));

		for (unsigned q = 1; q < 4; q++) {
			__m128i part =
				_mm_loadu_si128((const __m128i_u *)(at + q * GROUP * stretch));

			r = _mm512_mask_broadcast_i32x4(r, (__mmask16)(0xfU << 4 * q), part);
		}
		row[i] = r;
	}
	/* Each pass turns (row, column), read as one number of 8 bits, by one bit. */
	for (unsigned pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < GROUP / 2; i++) {
			half[2 * i] = _mm512_unpacklo_epi8(row[i], row[i + GROUP / 2]);
			half[2 * i + 1] = _mm512_unpackhi_epi8(row[i], row[i + GROUP / 2]);
		}
		for (size_t i = 0; i < GROUP / 2; i++) {
			row[2 * i] = _mm512_unpacklo_epi8(half[i], half[i + GROUP / 2]);
			row[2 * i + 1] = _mm512_unpackhi_epi8(half[i], half[i + GROUP / 2]);
		}
	}
	for (size_t i = 0; i < GROUP; i++)
		out[i] = row[i];
}

/*
 * The matrices, each in every lane.  clang before 20 encodes the displacement
 * wrongly when it lets GF2P8AFFINEQB broadcast from memory (LLVM pull request
 * 120340), and would read another matrix; behind the empty asm it can not.
 */
SCAN512 static inline void
load_matrices(const struct chunker *c, __m512i m[static CHUNKER_ARCH_NUMBERS])
{
	for (size_t i = 0; i < CHUNKER_ARCH_NUMBERS; i++) {
		__m512i wide = _mm512_set1_epi64((long long)c->arch[i]);

		__asm__("" : "+v"(wide));
		m[i] = wide;
	}
}

SCAN512 static inline __m512i
apply(__m512i x, __m512i m)
{
	return _mm512_gf2p8affine_epi64_epi8(x, m, 0);
}

SCAN512 static inline __m512i
xor3(__m512i a, __m512i b, __m512i c)
{
	return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* All scans go on by one byte. */
SCAN512 static inline void
step_512(const __m512i *m, __m512i g[static STATE_BYTES], __m512i in, __m512i old)
{
	__m512i t = g[STATE_BYTES - 1];

	for (unsigned k = STATE_BYTES - 1; k > 0; k--)
		g[k] = xor3(g[k - 1], apply(t, m[AT_REDUCE + k]), apply(old, m[AT_LEAVE + k]));
	g[0] = xor3(apply(in, m[AT_ENTER]), apply(t, m[AT_REDUCE]), apply(old, m[AT_LEAVE]));
	g[1] = _mm512_xor_si512(g[1], apply(in, m[AT_ENTER + 1]));
}

/* Scans whose mask bits (3..22 of the state) are all zero. */
SCAN512 static inline uint64_t
hits_512(const __m512i g[static STATE_BYTES])
{
	const __m512i low = _mm512_set1_epi8((char)0xf8), high = _mm512_set1_epi8(0x7f);
	__m512i any = _mm512_ternarylogic_epi64(g[1], g[0], low, 0xf8); /* g1 | (g0 & low) */

	any = _mm512_ternarylogic_epi64(any, g[2], high, 0xf8);
	return _mm512_testn_epi8_mask(any, any);
}

/*
 * Bit i is set when the i-th of 64 stretches, each `stretch` positions long (a
 * multiple of 64) and the first beginning at `from`, holds a zero mask.
 */
SCAN512 static uint64_t
stretches_hit_512(const struct chunker *c, const uint8_t *p, size_t from, size_t stretch)
{
	const uint8_t *at = p + from - 1 - CHUNK_WINDOW_BYTES;
	__m512i window[CHUNK_WINDOW_BYTES], now[GROUP], g[STATE_BYTES], m[CHUNKER_ARCH_NUMBERS];
	uint64_t hit = 0;

	load_matrices(c, m);
	for (unsigned k = 0; k < STATE_BYTES; k++)
		g[k] = _mm512_setzero_si512();
	for (size_t i = 0; i < CHUNK_WINDOW_BYTES; i += GROUP) {
		transpose_512(at + i, stretch, window + i);
		for (size_t s = 0; s < GROUP; s++)
			step_512(m, g, window[i + s], _mm512_setzero_si512());
	}
	at += CHUNK_WINDOW_BYTES;
	for (size_t i = 0; i < stretch; i += GROUP) {
		__m512i *old = window + i % CHUNK_WINDOW_BYTES;

		transpose_512(at + i, stretch, now);
		for (size_t s = 0; s < GROUP; s++) {
			step_512(m, g, now[s], old[s]);
			old[s] = now[s];
			hit |= hits_512(g);
		}
	}
	return hit;
}

static size_t
scan_512(const struct chunker *c, const uint8_t *p, size_t from, size_t end)
{
	while (from <= end && end - from + 1 >= (size_t)LANES * 64) {
		size_t stretch = (end - from + 1) / LANES / 64 * 64;
		uint64_t hit;

		if (stretch > STRETCH_MAX)
			stretch = STRETCH_MAX;
		hit = stretches_hit_512(c, p, from, stretch);
		if (hit != 0) {
			from += (size_t)__builtin_ctzll(hit) * stretch;
			return chunker_scan_lanes(c, p, from, from + stretch - 1);
		}
		from += LANES * stretch;
	}
	return chunker_scan_lanes(c, p, from, end);
}

static const struct chunker_scanner scanners[] = {
	{ .name = "avx512-gfni", .usable = usable_512, .prepare = prepare_gfni, .scan = scan_512 },
};

size_t
chunker_arch_scanners(const struct chunker_scanner **list)
{
	*list = scanners;
	return sizeof(scanners) / sizeof(scanners[0]);
}
