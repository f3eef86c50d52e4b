/* common: shared by the products of these levels: loads, and storing the results of a strip. */
#ifndef KERNELS_NEON_COMMON_H
#define KERNELS_NEON_COMMON_H
#include "kernels/compiler.h"
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

INLINE uint8x16_t load(const void *p) {
	return vld1q_u8(p);
}

/* Four of eight consecutive float16; h: the first or the second four. */
INLINE float32x4_t load_halves(const void *p, int h) {
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p + 4 * h)));
}

/* The scales of four of eight blocks of MXFP4: 2^(e - 128). */
INLINE float32x4_t load_exponents(const void *p, int h) {
	uint16x8_t wide = vmovl_u8(vld1_u8(p));
	uint32x4_t e = vmovl_u16(h ? vget_high_u16(wide) : vget_low_u16(wide));
	e = vmaxq_u32(vshlq_n_u32(e, 23), vdupq_n_u32(0x400000));
	return vmulq_n_f32(vreinterpretq_f32_u32(e), 0.5f);
}

/* Word i of p in every lane. */
INLINE int32x4_t spread(const void *p, size_t i) {
	int32_t word;
	memcpy(&word, (const uint8_t *)p + 4 * i, 4);
	return vdupq_n_s32(word);
}

/* a + w times lanes 0 to 3 of x: four elements in turn. */
#define FMA_LANES(a, w0, w1, w2, w3, x) \
	do { \
		(a) = vfmaq_laneq_f32((a), (w0), (x), 0); \
		(a) = vfmaq_laneq_f32((a), (w1), (x), 1); \
		(a) = vfmaq_laneq_f32((a), (w2), (x), 2); \
		(a) = vfmaq_laneq_f32((a), (w3), (x), 3); \
	} while (0)

/* Stores the results of a strip, v[0] and v[1], as far as it has rows. */
INLINE void store_rows(float *y, const float32x4_t *v, size_t rows) {
	if (rows >= 8) {
		vst1q_f32(y, v[0]);
		vst1q_f32(y + 4, v[1]);
		return;
	}
	float f[8];
	vst1q_f32(f, v[0]);
	vst1q_f32(f + 4, v[1]);
	memcpy(y, f, rows * sizeof *f);
}

#endif
