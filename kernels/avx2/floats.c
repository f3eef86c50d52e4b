/* Products of the float types: one fused multiply-add per element, ascending.  Several accumulators run side by side (strips,
 * columns), because each is a dependency chain; a piece of two strips stays in the first-level cache for all columns of a
 * tile. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/common.h"
#include "kernels/formats.h"

enum {
	WALK = 4,    /* strips that decode walks at once */
	PIECE = 256, /* elements of two strips: at most half of a first cache of 32 KiB */
	TILE = 16,   /* columns whose whole width stays in the second cache */
	COLS = 4
};

INLINE size_t element(enum kern_type t) {
	return t == KERN_F32 ? 4 : 2;
}

/* Element i of the eight rows of a strip. */
INLINE __m256 weights(enum kern_type t, const uint8_t *strip, size_t i) {
	switch (t) {
	case KERN_F32:
		return _mm256_loadu_ps((const float *)strip + i * 8);
	case KERN_F16:
		return load_halves(strip + i * 16);
	default: { /* KERN_BF16: the upper half of a float */
		__m128i h = _mm_loadu_si128((const __m128i *)(strip + i * 16));
		return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
	}
	}
}

/* Elements [first, last) of `strips` strips times `cols` columns, added to s. */
INLINE void tile(enum kern_type t, size_t strips, size_t cols, __m256 (*sums)[WALK], const uint8_t *w,
        size_t n, const uint8_t *x, size_t xstride, size_t first, size_t last) {
	__m256 s[COLS][WALK];
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			s[c][r] = sums[c][r];
		}
	}
	for (size_t i = first; i < last; i++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			__m256 v = weights(t, w + r * 8 * n * element(t), i);
			UNROLL for (size_t c = 0; c < cols; c++) {
				__m256 a = _mm256_broadcast_ss((const float *)(x + c * xstride) + i);
				s[c][r] = _mm256_fmadd_ps(v, a, s[c][r]);
			}
		}
	}
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			sums[c][r] = s[c][r];
		}
	}
}

/* `strips` strips (from `index` on) times a tile of columns. */
INLINE void run_tile(enum kern_type t, size_t strips, float *y, size_t ldy, const void *w, size_t index,
        size_t rows, size_t n, const uint8_t *x, size_t xstride, size_t cols) {
	const uint8_t *at = (const uint8_t *)w + index * 8 * n * element(t);
	__m256 sums[TILE][WALK];
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			sums[c][r] = _mm256_setzero_ps();
	for (size_t i = 0; i < n; i += PIECE) {
		size_t end = n - i < PIECE ? n : i + PIECE, c = 0;
		if (strips <= 2)
			for (; c + COLS <= cols; c += COLS)
				tile(t, strips, COLS, sums + c, at, n, x + c * xstride, xstride, i, end);
		for (; c < cols; c++)
			tile(t, strips, 1, sums + c, at, n, x + c * xstride, xstride, i, end);
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			store_rows(y + c * ldy + (index + r) * 8, sums[c][r], rows - (index + r) * 8);
}

#include "kernels/floats_tmpl.h"

#define MUL(TYPE, name) KERN_DEFINE_MUL(AVX2_OP(mul_##name), mul, KERN_##TYPE)
KERN_FLOATS(MUL)
