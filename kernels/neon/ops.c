/* neon/ops: norm, RoPE, SwiGLU, residual and KV stores with NEON.
 *
 * kernels/ref/ops.c is the definition.  A lane is an element, except in the norm, whose 32 stripes are eight registers of four.
 * A tail goes through a buffer padded with +0, which leaves a stripe of squares as it is: fma(0, 0, s) = s.
 * Pure; any thread. */
#include "kernels/kvlayout.h"
#include "kernels/neon/neon.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/neon/common.h"
#include "kernels/neon/vector.h"

/* Adds the squares of 32 elements to the 32 stripes. */
INLINE void squares(float32x4_t *s, const float *x) {
	UNROLL for (size_t k = 0; k < 8; k++) {
		float32x4_t v = vld1q_f32(x + 4 * k);
		s[k] = vfmaq_f32(s[k], v, v);
	}
}

static float sum_of_squares(const float *x, size_t n) {
	float32x4_t s[8];
	size_t i = 0;
	UNROLL for (int k = 0; k < 8; k++) s[k] = vdupq_n_f32(0);
	for (; i + 32 <= n; i += 32)
		squares(s, x + i);
	if (i < n) {
		float tail[32] = {0};
		memcpy(tail, x + i, (n - i) * sizeof *x);
		squares(s, tail);
	}
	UNROLL for (int k = 0; k < 4; k++) s[k] = vaddq_f32(s[k], s[k + 4]);
	return tree8(vaddq_f32(s[0], s[2]), vaddq_f32(s[1], s[3]));
}

int neon_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
	float sum = sum_of_squares(x, n);
	if (!isfinite(sum))
		return -EDOM;
	float r = 1.0f / sqrtf(sum / (float)n + eps);
	size_t i = 0;
	for (; i + 4 <= n; i += 4)
		vst1q_f32(y + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), r), vld1q_f32(w + i)));
	for (; i < n; i++)
		y[i] = (x[i] * r) * w[i];
	return 0;
}

int neon_l2norm(float *y, const float *x, size_t n, float scale) {
	float sum = sum_of_squares(x, n);
	if (!isfinite(sum))
		return -EDOM;
	float r = scale / sqrtf(sum + KERN_L2_EPS);
	size_t i = 0;
	for (; i + 4 <= n; i += 4)
		vst1q_f32(y + i, vmulq_n_f32(vld1q_f32(x + i), r));
	for (; i < n; i++)
		y[i] = x[i] * r;
	return 0;
}

void neon_rope_pairs(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size) {
		size_t i = 0;
		for (; i + 4 <= pairs; i += 4) {
			float32x4x2_t v = vld2q_f32(x + 2 * i), t = vld2q_f32(cs + 2 * i), u;
			u.val[0] = vfmaq_f32(vnegq_f32(vmulq_f32(v.val[1], t.val[1])), v.val[0], t.val[0]);
			u.val[1] = vfmaq_f32(vmulq_f32(v.val[1], t.val[0]), v.val[0], t.val[1]);
			vst2q_f32(x + 2 * i, u);
		}
		for (; i < pairs; i++) {
			float c = cs[2 * i], s = cs[2 * i + 1];
			float x0 = x[2 * i], x1 = x[2 * i + 1];
			x[2 * i] = fmaf(x0, c, -(x1 * s));
			x[2 * i + 1] = fmaf(x0, s, x1 * c);
		}
	}
}

void neon_rope_halves(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size) {
		size_t i = 0;
		for (; i + 4 <= pairs; i += 4) {
			float32x4x2_t t = vld2q_f32(cs + 2 * i);
			float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + pairs + i);
			vst1q_f32(x + i, vfmaq_f32(vnegq_f32(vmulq_f32(b, t.val[1])), a, t.val[0]));
			vst1q_f32(x + pairs + i, vfmaq_f32(vmulq_f32(b, t.val[0]), a, t.val[1]));
		}
		for (; i < pairs; i++) {
			float c = cs[2 * i], s = cs[2 * i + 1];
			float x0 = x[i], x1 = x[pairs + i];
			x[i] = fmaf(x0, c, -(x1 * s));
			x[pairs + i] = fmaf(x0, s, x1 * c);
		}
	}
}

static inline float32x4_t sigmoid4(float32x4_t x) {
	const float32x4_t one = vdupq_n_f32(1.0f);
	return vdivq_f32(one, vaddq_f32(one, exp4(vnegq_f32(x))));
}

/* g times the sigmoid of v, times u */
static inline float32x4_t gated4(float32x4_t g, float32x4_t v, float32x4_t u) {
	return vmulq_f32(vmulq_f32(g, sigmoid4(v)), u);
}

static inline float32x4_t swiglu4(float32x4_t g, float32x4_t u) {
	return gated4(g, g, u);
}

static inline float32x4_t geglu4(float32x4_t g, float32x4_t u) {
	float32x4_t v = vfmaq_f32(vdupq_n_f32(KERN_GELU_C0), vdupq_n_f32(KERN_GELU_C1), vmulq_f32(g, g));
	return gated4(g, vmulq_f32(g, v), u);
}

/* These minima and maxima let a NaN through. */
static inline float32x4_t swiglu_bounded4(float32x4_t g, float32x4_t u) {
	const float32x4_t most = vdupq_n_f32(KERN_GLU_BOUND), least = vdupq_n_f32(-KERN_GLU_BOUND);
	g = vminq_f32(g, most);
	u = vmaxq_f32(vminq_f32(u, most), least);
	return gated4(g, vmulq_n_f32(g, KERN_GLU_SLOPE), vaddq_f32(u, vdupq_n_f32(1.0f)));
}

/* Up to four elements, those behind them +0. */
static inline float32x4_t first_of(const float *x, size_t left) {
	float tail[4] = {0};
	if (left >= 4)
		return vld1q_f32(x);
	memcpy(tail, x, left * sizeof *x);
	return vld1q_f32(tail);
}

static inline void store_first(float *y, float32x4_t v, size_t left) {
	float tail[4];
	if (left >= 4) {
		vst1q_f32(y, v);
		return;
	}
	vst1q_f32(tail, v);
	memcpy(y, tail, left * sizeof *y);
}

#define GLU(function, of) \
	void function(float *y, const float *gate, const float *up, size_t n) { \
		for (size_t i = 0; i < n; i += 4) \
			store_first(y + i, of(first_of(gate + i, n - i), first_of(up + i, n - i)), n - i); \
	}
GLU(neon_swiglu, swiglu4)
GLU(neon_geglu, geglu4)
GLU(neon_swiglu_bounded, swiglu_bounded4)

void neon_gate(float *y, const float *x, const float *gate, size_t n) {
	for (size_t i = 0; i < n; i += 4)
		store_first(
		        y + i, vmulq_f32(first_of(x + i, n - i), sigmoid4(first_of(gate + i, n - i))), n - i);
}

void neon_conv(float *y, const float *const *x, const float *const *w, size_t n) {
	for (size_t i = 0; i < n; i += 4) {
		float32x4_t a = vdupq_n_f32(0);
		for (size_t t = 0; t < KERN_CONV; t++)
			a = vfmaq_f32(a, first_of(w[t] + i, n - i), first_of(x[t] + i, n - i));
		store_first(y + i, vmulq_f32(a, sigmoid4(a)), n - i);
	}
}

void neon_add(float *y, const float *x, size_t n) {
	size_t i = 0;
	for (; i + 4 <= n; i += 4)
		vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
	for (; i < n; i++)
		y[i] = y[i] + x[i];
}

static inline float64x2_t add_low(float64x2_t s, float32x4_t e) {
	return vaddq_f64(s, vcvt_f64_f32(vget_low_f32(e)));
}

static inline float64x2_t add_high(float64x2_t s, float32x4_t e) {
	return vaddq_f64(s, vcvt_high_f64_f32(e));
}

/* Eight stripes of doubles, two in each of s. */
double neon_exp_sum(const float *x, size_t n, float max) {
	const float32x4_t m = vdupq_n_f32(max);
	float64x2_t s0 = vdupq_n_f64(0), s1 = s0, s2 = s0, s3 = s0;
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		float32x4_t a = exp4(vsubq_f32(vld1q_f32(x + i), m)),
		            b = exp4(vsubq_f32(vld1q_f32(x + i + 4), m));
		s0 = add_low(s0, a);
		s1 = add_high(s1, a);
		s2 = add_low(s2, b);
		s3 = add_high(s3, b);
	}
	double s[8];
	vst1q_f64(s, s0);
	vst1q_f64(s + 2, s1);
	vst1q_f64(s + 4, s2);
	vst1q_f64(s + 6, s3);
	for (size_t j = 0; i + j < n; j++)
		s[j] += (double)kern_exp(x[i + j] - max);
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* Four halves, saturated; these minima and maxima let a NaN through. */
static inline uint16x4_t halves(float32x4_t v) {
	v = vmaxq_f32(vminq_f32(v, vdupq_n_f32(65504.0f)), vdupq_n_f32(-65504.0f));
	return vreinterpret_u16_f16(vcvt_f16_f32(v));
}

/* n halves of k, `stride` apart. */
INLINE void put_halves(uint16_t *dst, const float *k, size_t n, size_t stride) {
	size_t d = 0;
	for (; d + 4 <= n; d += 4) {
		uint16x4_t h = halves(vld1q_f32(k + d));
		uint16_t *to = dst + d * stride;
		if (stride == 1) {
			vst1_u16(to, h);
			continue;
		}
		vst1_lane_u16(to, h, 0);
		vst1_lane_u16(to + stride, h, 1);
		vst1_lane_u16(to + 2 * stride, h, 2);
		vst1_lane_u16(to + 3 * stride, h, 3);
	}
	for (; d < n; d++)
		vst1_lane_u16(dst + d * stride, halves(vdupq_n_f32(k[d])), 0);
}

void neon_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size) {
	put_halves((uint16_t *)keys + kv_key_at(head_size, slot, 0), k, head_size, KV_LANES);
}

void neon_put_value_f16(void *values, size_t slot, const float *v, size_t head_size) {
	for (size_t d = 0; d < head_size; d += KV_LANES)
		put_halves((uint16_t *)values + kv_value_at(head_size, slot, d), v + d,
		        kv_width(head_size, d), 1);
}
