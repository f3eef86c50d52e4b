/* Products of the float types: one fused multiply-add per element, ascending.  Several accumulators run side by side (strips,
 * columns), because each is a dependency chain; a piece of two strips stays in the first-level cache for all columns of a
 * tile. */
#include "kernels/formats.h"
#include "kernels/neon/common.h"
#include "kernels/neon/neon.h"

enum {
	WALK = 4,    /* strips that decode walks at once */
	PIECE = 256, /* elements of two strips: at most half of a first cache of 32 KiB */
	TILE = 16,   /* columns whose whole width stays in the second cache */
	COLS = 4
};

/* Of a strip's four rows of one half. */
typedef float32x4_t sums[WALK][2];

INLINE size_t element(enum kern_type t) {
	return t == KERN_F32 ? 4 : 2;
}

/* Element i of the rows of half h of a strip. */
INLINE float32x4_t weights(enum kern_type t, const uint8_t *strip, size_t i, int h) {
	switch (t) {
	case KERN_F32:
		return vld1q_f32((const float *)strip + i * 8 + 4 * h);
	case KERN_F16:
		return load_halves(strip + i * 16, h);
	default: /* KERN_BF16: the upper half of a float */
		return vreinterpretq_f32_u32(
		        vshll_n_u16(vld1_u16((const uint16_t *)(strip + i * 16) + 4 * h), 16));
	}
}

/* Elements [first, last) of `strips` strips times `cols` columns, added to `to`. */
INLINE void tile(enum kern_type t, size_t strips, size_t cols, sums *to, const uint8_t *w, size_t n,
        const uint8_t *x, size_t xstride, size_t first, size_t last) {
	float32x4_t s[COLS][WALK][2];
	const float *column[COLS];
	UNROLL for (size_t c = 0; c < cols; c++) {
		column[c] = (const float *)(x + c * xstride);
		UNROLL for (size_t r = 0; r < strips; r++) {
			s[c][r][0] = to[c][r][0];
			s[c][r][1] = to[c][r][1];
		}
	}
	size_t i = first;
	for (; i + 4 <= last; i += 4) {
		float32x4_t v[COLS];
		UNROLL for (size_t c = 0; c < cols; c++) v[c] = vld1q_f32(column[c] + i);
		UNROLL for (size_t r = 0; r < strips; r++) {
			const uint8_t *strip = w + r * 8 * n * element(t);
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t w0 = weights(t, strip, i, h), w1 = weights(t, strip, i + 1, h),
				            w2 = weights(t, strip, i + 2, h),
				            w3 = weights(t, strip, i + 3, h);
				UNROLL for (size_t c = 0; c < cols; c++)
				        FMA_LANES(s[c][r][h], w0, w1, w2, w3, v[c]);
			}
		}
	}
	for (; i < last; i++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t v = weights(t, w + r * 8 * n * element(t), i, h);
				UNROLL for (size_t c = 0; c < cols; c++) s[c][r][h] =
				        vfmaq_n_f32(s[c][r][h], v, column[c][i]);
			}
		}
	}
	UNROLL for (size_t c = 0; c < cols; c++) {
		UNROLL for (size_t r = 0; r < strips; r++) {
			to[c][r][0] = s[c][r][0];
			to[c][r][1] = s[c][r][1];
		}
	}
}

/* `strips` strips (from `index` on) times a tile of columns. */
INLINE void run_tile(enum kern_type t, size_t strips, float *y, size_t ldy, const void *w, size_t index,
        size_t rows, size_t n, const uint8_t *x, size_t xstride, size_t cols) {
	const uint8_t *at = (const uint8_t *)w + index * 8 * n * element(t);
	sums s[TILE];
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			s[c][r][0] = s[c][r][1] = vdupq_n_f32(0);
	for (size_t i = 0; i < n; i += PIECE) {
		size_t end = n - i < PIECE ? n : i + PIECE, c = 0;
		if (strips <= 2)
			for (; c + COLS <= cols; c += COLS)
				tile(t, strips, COLS, s + c, at, n, x + c * xstride, xstride, i, end);
		if (strips <= 2 && cols - c == 3)
			tile(t, strips, 3, s + c, at, n, x + c * xstride, xstride, i, end);
		else if (strips <= 2 && cols - c == 2)
			tile(t, strips, 2, s + c, at, n, x + c * xstride, xstride, i, end);
		else if (c < cols)
			tile(t, strips, 1, s + c, at, n, x + c * xstride, xstride, i, end);
	}
	for (size_t c = 0; c < cols; c++)
		for (size_t r = 0; r < strips; r++)
			store_rows(y + c * ldy + (index + r) * 8, s[c][r], rows - (index + r) * 8);
}

#include "kernels/floats_tmpl.h"

#define MUL(TYPE, name) KERN_DEFINE_MUL(NEON_OP(mul_##name), mul, KERN_##TYPE)
KERN_FLOATS(MUL)
