/* avx2/ops: norm, RoPE, SwiGLU, residual and KV stores with AVX2, FMA and F16C.
 *
 * kernels/ref/ops.c is the definition.  A lane is an element, except in the norm, whose 32 stripes are four registers of eight.
 * Tails use masked loads: a masked lane leaves a stripe of squares as it is, because fma(0, 0, s) = s.
 * Pure; any thread. */
#include "kernels/avx2/avx2.h"

#include <errno.h>
#include <math.h>

#include "kernels/avx2/vector.h"
#include "kernels/kvlayout.h"

/* One of the 32 stripes' four registers takes the elements i.. of x, of which `left` exist. */
static inline __m256 squares(__m256 s, const float *x, size_t left) {
	__m256 v = _mm256_maskload_ps(x, lanes_below(left));
	return _mm256_fmadd_ps(v, v, s);
}

static float sum_of_squares(const float *x, size_t n) {
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	size_t i = 0;
	for (; i + 32 <= n; i += 32) {
		__m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
		__m256 c = _mm256_loadu_ps(x + i + 16), d = _mm256_loadu_ps(x + i + 24);
		s0 = _mm256_fmadd_ps(a, a, s0);
		s1 = _mm256_fmadd_ps(b, b, s1);
		s2 = _mm256_fmadd_ps(c, c, s2);
		s3 = _mm256_fmadd_ps(d, d, s3);
	}
	if (i < n)
		s0 = squares(s0, x + i, n - i);
	if (i + 8 < n)
		s1 = squares(s1, x + i + 8, n - i - 8);
	if (i + 16 < n)
		s2 = squares(s2, x + i + 16, n - i - 16);
	if (i + 24 < n)
		s3 = squares(s3, x + i + 24, n - i - 24);
	return tree8(_mm256_add_ps(_mm256_add_ps(s0, s2), _mm256_add_ps(s1, s3)));
}

int avx2_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
	float sum = sum_of_squares(x, n);
	if (!isfinite(sum))
		return -EDOM;
	float r = 1.0f / sqrtf(sum / (float)n + eps);
	__m256 rv = _mm256_set1_ps(r);
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), rv);
		_mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
	}
	for (; i < n; i++)
		y[i] = (x[i] * r) * w[i];
	return 0;
}

int avx2_l2norm(float *y, const float *x, size_t n, float scale) {
	float sum = sum_of_squares(x, n);
	if (!isfinite(sum))
		return -EDOM;
	float r = scale / sqrtf(sum + KERN_L2_EPS);
	__m256 rv = _mm256_set1_ps(r);
	size_t i = 0;
	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), rv));
	for (; i < n; i++)
		y[i] = x[i] * r;
	return 0;
}

/* Four pairs a register: fmaddsub gives fma(x0, c, -(x1*s)) in even and fma(x0, s, x1*c) in odd lanes. */
void avx2_rope_pairs(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size) {
		size_t i = 0;
		for (; i + 4 <= pairs; i += 4) {
			__m256 v = _mm256_loadu_ps(x + 2 * i), t = _mm256_loadu_ps(cs + 2 * i);
			__m256 b = _mm256_mul_ps(_mm256_movehdup_ps(v), _mm256_permute_ps(t, 0xb1));
			_mm256_storeu_ps(x + 2 * i, _mm256_fmaddsub_ps(_mm256_moveldup_ps(v), t, b));
		}
		for (; i < pairs; i++) {
			float c = cs[2 * i], s = cs[2 * i + 1];
			float x0 = x[2 * i], x1 = x[2 * i + 1];
			x[2 * i] = fmaf(x0, c, -(x1 * s));
			x[2 * i + 1] = fmaf(x0, s, x1 * c);
		}
	}
}

/* Eight pairs: the cosines and sines of two registers are put in order. */
void avx2_rope_halves(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	const __m256i order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
	for (size_t h = 0; h < heads; h++, x += head_size) {
		size_t i = 0;
		for (; i + 8 <= pairs; i += 8) {
			__m256 t = _mm256_loadu_ps(cs + 2 * i), u = _mm256_loadu_ps(cs + 2 * i + 8);
			__m256 c = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(t, u, 0x88), order);
			__m256 s = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(t, u, 0xdd), order);
			__m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + pairs + i);
			_mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
			_mm256_storeu_ps(x + pairs + i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
		}
		for (; i < pairs; i++) {
			float c = cs[2 * i], s = cs[2 * i + 1];
			float x0 = x[i], x1 = x[pairs + i];
			x[i] = fmaf(x0, c, -(x1 * s));
			x[pairs + i] = fmaf(x0, s, x1 * c);
		}
	}
}

static inline __m256 sigmoid8(__m256 x) {
	const __m256 one = _mm256_set1_ps(1.0f);
	__m256 e = exp8(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
	return _mm256_div_ps(one, _mm256_add_ps(one, e));
}

/* g times the sigmoid of v, times u */
static inline __m256 gated8(__m256 g, __m256 v, __m256 u) {
	return _mm256_mul_ps(_mm256_mul_ps(g, sigmoid8(v)), u);
}

static inline __m256 swiglu8(__m256 g, __m256 u) {
	return gated8(g, g, u);
}

static inline __m256 geglu8(__m256 g, __m256 u) {
	__m256 v = _mm256_fmadd_ps(
	        _mm256_set1_ps(KERN_GELU_C1), _mm256_mul_ps(g, g), _mm256_set1_ps(KERN_GELU_C0));
	return gated8(g, _mm256_mul_ps(g, v), u);
}

/* The operand order of min and max lets a NaN through. */
static inline __m256 swiglu_bounded8(__m256 g, __m256 u) {
	const __m256 most = _mm256_set1_ps(KERN_GLU_BOUND), least = _mm256_set1_ps(-KERN_GLU_BOUND);
	g = _mm256_min_ps(most, g);
	u = _mm256_max_ps(least, _mm256_min_ps(most, u));
	return gated8(
	        g, _mm256_mul_ps(_mm256_set1_ps(KERN_GLU_SLOPE), g), _mm256_add_ps(u, _mm256_set1_ps(1.0f)));
}

#define GLU(function, of) \
	void function(float *y, const float *gate, const float *up, size_t n) { \
		size_t i = 0; \
		for (; i + 8 <= n; i += 8) \
			_mm256_storeu_ps(y + i, of(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i))); \
		if (i < n) { \
			__m256i k = lanes_below(n - i); \
			__m256 g = _mm256_maskload_ps(gate + i, k), u = _mm256_maskload_ps(up + i, k); \
			_mm256_maskstore_ps(y + i, k, of(g, u)); \
		} \
	}
GLU(avx2_swiglu, swiglu8)
GLU(avx2_geglu, geglu8)
GLU(avx2_swiglu_bounded, swiglu_bounded8)

void avx2_gate(float *y, const float *x, const float *gate, size_t n) {
	for (size_t i = 0; i < n; i += 8) {
		__m256i k = lanes_below(n - i);
		__m256 v = _mm256_maskload_ps(x + i, k), g = _mm256_maskload_ps(gate + i, k);
		_mm256_maskstore_ps(y + i, k, _mm256_mul_ps(v, sigmoid8(g)));
	}
}

void avx2_conv(float *y, const float *const *x, const float *const *w, size_t n) {
	for (size_t i = 0; i < n; i += 8) {
		__m256i k = lanes_below(n - i);
		__m256 a = _mm256_setzero_ps();
		for (size_t t = 0; t < KERN_CONV; t++)
			a = _mm256_fmadd_ps(
			        _mm256_maskload_ps(w[t] + i, k), _mm256_maskload_ps(x[t] + i, k), a);
		_mm256_maskstore_ps(y + i, k, _mm256_mul_ps(a, sigmoid8(a)));
	}
}

void avx2_add(float *y, const float *x, size_t n) {
	size_t i = 0;
	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
	for (; i < n; i++)
		y[i] = y[i] + x[i];
}

/* Four stripes of doubles in `low`, four in `high`; lanes that are not used add +0. */
double avx2_exp_sum(const float *x, size_t n, float max) {
	const __m256 m = _mm256_set1_ps(max);
	__m256d low = _mm256_setzero_pd(), high = low;
	for (size_t i = 0; i < n; i += 8) {
		__m256i k = lanes_below(n - i);
		__m256 e = exp8(_mm256_sub_ps(_mm256_maskload_ps(x + i, k), m));
		e = _mm256_and_ps(e, _mm256_castsi256_ps(k));
		low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(e)));
		high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1)));
	}
	low = _mm256_add_pd(low, high);
	__m128d s = _mm_add_pd(_mm256_castpd256_pd128(low), _mm256_extractf128_pd(low, 1));
	return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

/* Eight halves, saturated.  The operand order of min and max lets a NaN through. */
static inline __m128i halves(__m256 v) {
	v = _mm256_min_ps(_mm256_set1_ps(65504.0f), v);
	v = _mm256_max_ps(_mm256_set1_ps(-65504.0f), v);
	return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

/* The first n halves of eight, `stride` apart. */
static inline void scatter(uint16_t *dst, size_t stride, __m128i h, size_t n) {
	uint16_t s[8];
	_mm_storeu_si128((__m128i *)s, h);
	for (size_t i = 0; i < n; i++)
		dst[i * stride] = s[i];
}

void avx2_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size) {
	uint16_t *dst = (uint16_t *)keys + kv_key_at(head_size, slot, 0);
	size_t d = 0;
	for (; d + 8 <= head_size; d += 8)
		scatter(dst + d * KV_LANES, KV_LANES, halves(_mm256_loadu_ps(k + d)), 8);
	if (d < head_size) {
		size_t left = head_size - d;
		scatter(dst + d * KV_LANES, KV_LANES, halves(_mm256_maskload_ps(k + d, lanes_below(left))),
		        left);
	}
}

void avx2_put_value_f16(void *values, size_t slot, const float *v, size_t head_size) {
	uint16_t *dst = values;
	size_t d = 0;
	for (; d + 8 <= head_size; d += 8)
		_mm_storeu_si128(
		        (__m128i *)(dst + kv_value_at(head_size, slot, d)), halves(_mm256_loadu_ps(v + d)));
	if (d < head_size) {
		size_t left = head_size - d;
		scatter(dst + kv_value_at(head_size, slot, d), 1,
		        halves(_mm256_maskload_ps(v + d, lanes_below(left))), left);
	}
}
