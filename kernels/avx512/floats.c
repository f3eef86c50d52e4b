/* Products of the float types: one fused multiply-add per element, ascending.  Several accumulators run side by side (pairs of
 * strips, columns), because each is a dependency chain; a piece of a walk of four strips stays in the first-level cache for all
 * columns of a tile. */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/common.h"
#include "kernels/formats.h"

enum {
	PAIRS = 2,   /* of a walk: one column is the avx2 level's (ops_table.c) */
	PIECE = 128, /* elements of four strips: at most half of a first cache of 32 KiB */
	TILE = 16,   /* columns whose whole width stays in the second cache */
	COLS = 8     /* at once */
};

typedef __m512 sums[PAIRS];

INLINE size_t element(enum kern_type t) {
	return t == KERN_F32 ? 4 : 2;
}

/* Element i of the rows of a pair. */
INLINE __m512 weights(enum kern_type t, const uint8_t *const *strips, size_t i) {
	switch (t) {
	case KERN_F32:
		return _mm512_castsi512_ps(load(strips, i * 32));
	case KERN_F16:
		return load_halves(strips, i * 16);
	default: { /* KERN_BF16: the upper half of a float */
		__m256i h = _mm256_inserti128_si256(
		        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(strips[0] + i * 16))),
		        _mm_loadu_si128((const __m128i *)(strips[1] + i * 16)), 1);
		return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
	}
	}
}

/* Elements [first, last) of a walk times `cols` columns, added to `to`. */
INLINE void tile(enum kern_type t, size_t cols, sums *to, const uint8_t *const (*at)[2], const uint8_t *x,
        size_t xstride, size_t first, size_t last) {
	__m512 s[COLS][PAIRS];
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < PAIRS; r++) s[c][r] = to[c][r];
	}
	for (size_t i = first; i < last; i++) {
		UNROLL for (size_t r = 0; r < PAIRS; r++) {
			__m512 v = weights(t, at[r], i);
			UNROLL for (size_t c = 0; c < cols; c++) s[c][r] = _mm512_fmadd_ps(
			        v, _mm512_set1_ps(((const float *)(x + c * xstride))[i]), s[c][r]);
		}
	}
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < PAIRS; r++) to[c][r] = s[c][r];
	}
}

/* A walk from strip `index` on times a tile of columns; missing strips are replaced by the last one. */
INLINE void run_walk(enum kern_type t, float *y, size_t ldy, const void *w, size_t index, size_t rows,
        size_t n, const uint8_t *x, size_t xstride, size_t cols) {
	const uint8_t *at[PAIRS][2];
	size_t strips = (rows + 7) / 8;
	sums s[TILE];
	for (size_t i = 0; i < 2 * PAIRS; i++) {
		size_t k = index + i < strips ? index + i : strips - 1;
		at[i / 2][i % 2] = (const uint8_t *)w + k * 8 * n * element(t);
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < PAIRS; r++)
			s[c][r] = _mm512_setzero_ps();
	for (size_t i = 0; i < n; i += PIECE) {
		size_t end = n - i < PIECE ? n : i + PIECE, c = 0;
		for (; c + COLS <= cols; c += COLS)
			tile(t, COLS, s + c, at, x + c * xstride, xstride, i, end);
		for (; c + 4 <= cols; c += 4)
			tile(t, 4, s + c, at, x + c * xstride, xstride, i, end);
		for (; c + 2 <= cols; c += 2)
			tile(t, 2, s + c, at, x + c * xstride, xstride, i, end);
		for (; c < cols; c++)
			tile(t, 1, s + c, at, x + c * xstride, xstride, i, end);
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < PAIRS && index + 2 * r < strips; r++)
			store_rows(y + c * ldy + (index + 2 * r) * 8, s[c][r], rows - (index + 2 * r) * 8);
}

INLINE void mul(enum kern_type t, float *y, size_t ldy, const void *w, size_t rows, size_t n, const void *x,
        size_t xstride, size_t cols) {
	size_t strips = (rows + 7) / 8;
	for (size_t c0 = 0; c0 < cols; c0 += TILE) {
		size_t count = cols - c0 < TILE ? cols - c0 : TILE;
		const uint8_t *at = (const uint8_t *)x + c0 * xstride;
		for (size_t k = 0; k < strips; k += 2 * PAIRS)
			run_walk(t, y + c0 * ldy, ldy, w, k, rows, n, at, xstride, count);
	}
}

#define MUL(TYPE, name) KERN_DEFINE_MUL(AVX512_OP(mul_##name), mul, KERN_##TYPE)
KERN_FLOATS(MUL)
