/* Activation rows (the parts of kernels/acts.h), 16 elements at a time; groups of a KV cache are quantised the same way. */
#include "kernels/neon/common.h"
#include "kernels/neon/neon.h"

/* The largest magnitude of x[0..n), n a multiple of 16, or infinity where a value is not finite. */
INLINE float magnitude(const float *x, size_t n) {
	const uint32x4_t mask = vdupq_n_u32(0x7fffffff);
	uint32x4_t top[4]; /* of non-negative floats, and NaN, the order is that of integers */
	UNROLL for (int k = 0; k < 4; k++) top[k] = vdupq_n_u32(0);
	for (size_t i = 0; i < n; i += 16) {
		UNROLL for (size_t k = 0; k < 4; k++) top[k] =
		        vmaxq_u32(top[k], vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i + 4 * k)), mask));
	}
	uint32_t bits = vmaxvq_u32(vmaxq_u32(vmaxq_u32(top[0], top[1]), vmaxq_u32(top[2], top[3])));
	float f;
	if (bits > 0x7f800000)
		bits = 0x7f800000;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* 16 quants in order. */
INLINE int8x16_t quantize_16(const float *x, float inverse) {
	int16x4_t h[4];
	UNROLL for (size_t k = 0; k < 4; k++) h[k] =
	        vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * k), inverse)));
	return vcombine_s8(vqmovn_s16(vcombine_s16(h[0], h[1])), vqmovn_s16(vcombine_s16(h[2], h[3])));
}

INLINE void quantize_32_at(int8_t *q, const float *x, float inverse) {
	vst1q_s8(q, quantize_16(x, inverse));
	vst1q_s8(q + 16, quantize_16(x + 16, inverse));
}

#include "kernels/quantize_tmpl.h"

/* The sums of the elements 0, 1 mod 4 and of 2, 3 mod 4, in every pair of lanes. */
INLINE int16x8_t pair_sums(int8x16_t q) {
	int16x8_t s = vpaddlq_s8(q);
	s = vaddq_s16(s, vextq_s16(s, s, 4));
	return vaddq_s16(s, vextq_s16(s, s, 2));
}

/* `factor` times the two sums, as a word of repair. */
INLINE void put_repair(uint8_t *to, int16x8_t s, int16_t factor) {
	vst1q_lane_s32((int32_t *)to, vreinterpretq_s32_s16(vmulq_n_s16(s, factor)), 0);
}

INLINE int add_pair(int16x8_t s) {
	return vgetq_lane_s16(s, 0) + vgetq_lane_s16(s, 1);
}

INLINE void put_q8_32(uint8_t *row, const struct acts_q8_32 *at, size_t b, const float *x, float inverse) {
	int8x16_t q0 = quantize_16(x, inverse), q1 = quantize_16(x + 16, inverse);
	vst1q_s8((int8_t *)row + at->q + b * 32, q0);
	vst1q_s8((int8_t *)row + at->q + b * 32 + 16, q1);
	int16x8_t s = vaddq_s16(pair_sums(q0), pair_sums(q1));
	((float *)(row + at->sum))[b] = (float)add_pair(s);
	put_repair(row + at->repair + b * 4, s, -8);
}

INLINE void put_q8_256(uint8_t *row, const struct acts_q8_256 *at, size_t b, const float *x, float inverse) {
	int16_t *sum16 = (int16_t *)(row + at->sum16), *sum32 = (int16_t *)(row + at->sum32);
	for (size_t k = b * 16; k < b * 16 + 16; k++, x += 16) {
		int8x16_t q = quantize_16(x, inverse);
		int16x8_t s = pair_sums(q);
		vst1q_s8((int8_t *)row + at->q + k * 16, q);
		sum16[k] = (int16_t)add_pair(s);
		put_repair(row + at->repair + k * 4, s, -32);
	}
	for (size_t k = b * 8; k < b * 8 + 8; k++)
		sum32[k] = (int16_t)(sum16[2 * k] + sum16[2 * k + 1]);
}

KERN_DEFINE_QUANTIZERS(NEON_OP)
