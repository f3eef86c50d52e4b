/* vector: shared by the NEON operations: the tree over lanes, and kern_exp on four lanes. */
#ifndef KERNELS_NEON_VECTOR_H
#define KERNELS_NEON_VECTOR_H
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/math.h"

/* The contract's tree over eight stripes: those of a, then those of b. */
static inline float tree8(float32x4_t a, float32x4_t b) {
	a = vaddq_f32(a, b);
	float32x2_t h = vadd_f32(vget_low_f32(a), vget_high_f32(a));
	return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}

/* 2^n, for a normal exponent n. */
static inline float32x4_t exp4_pow2(int32x4_t n) {
	return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* kern_exp on every lane.  Results of lanes beyond the clamps are replaced at the end. */
static inline float32x4_t exp4(float32x4_t x) {
	float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(KERN_EXP_LOG2E)));
	float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-KERN_EXP_LN2_HI));
	r = vfmaq_f32(r, n, vdupq_n_f32(-KERN_EXP_LN2_LO));
	float32x4_t p = vdupq_n_f32(KERN_EXP_C6);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C5), p, r);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C4), p, r);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C3), p, r);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C2), p, r);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C1), p, r);
	p = vfmaq_f32(vdupq_n_f32(KERN_EXP_C0), p, r);
	int32x4_t k = vcvtq_s32_f32(n), half = vshrq_n_s32(k, 1);
	p = vmulq_f32(vmulq_f32(p, exp4_pow2(half)), exp4_pow2(vsubq_s32(k, half)));
	p = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(KERN_EXP_MAX)), vdupq_n_f32(__builtin_inff()), p);
	p = vbslq_f32(vcltq_f32(x, vdupq_n_f32(KERN_EXP_MIN)), vdupq_n_f32(0.0f), p);
	return vbslq_f32(vceqq_f32(x, x), p, x); /* NaN stays */
}

#endif
