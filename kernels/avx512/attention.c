/* avx512/attention: attention over one span: avx2/attention_tmpl.h with vectors of sixteen.  Spans are combined by the avx2 code.
 * Equals kernels/ref/attention.c to the bit: a lane computes the same as with eight lanes, and sums of exponentials keep their
 * eight stripes.  Pure; any thread. */
#include "kernels/avx512/avx512.h"

#include "kernels/avx2/common.h"
#include "kernels/avx512/lanes.h"
#include "kernels/math.h"

#define LANES 16
#define QUERIES 8 /* sixteen sums, and as many registers for what they are made of */
#define QUERIES_Q8 8
#define VEC_PIN(v) __asm__("" : "+v"(v))

INLINE vec vec_halves(const uint8_t *p) {
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE vec vec_bytes(const uint8_t *p) {
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* 2^n, for a normal exponent n. */
INLINE vec exp16_pow2(__m512i n) {
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

/* kern_exp on every lane, like exp8 of the avx2 level. */
INLINE vec vec_exp(vec x) {
	vec n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(KERN_EXP_LOG2E)),
	        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	vec r = _mm512_fmadd_ps(n, _mm512_set1_ps(-KERN_EXP_LN2_HI), x);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(-KERN_EXP_LN2_LO), r);
	vec p = _mm512_set1_ps(KERN_EXP_C6);
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C5));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C4));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C3));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C2));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C1));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_C0));
	__m512i k = _mm512_cvtps_epi32(n), half = _mm512_srai_epi32(k, 1);
	p = _mm512_mul_ps(_mm512_mul_ps(p, exp16_pow2(half)), exp16_pow2(_mm512_sub_epi32(k, half)));
	__mmask16 over = _mm512_cmp_ps_mask(x, _mm512_set1_ps(KERN_EXP_MAX), _CMP_GT_OQ);
	__mmask16 under = _mm512_cmp_ps_mask(x, _mm512_set1_ps(KERN_EXP_MIN), _CMP_LT_OQ);
	p = _mm512_mask_mov_ps(p, over, _mm512_set1_ps(__builtin_inff()));
	p = _mm512_mask_mov_ps(p, under, _mm512_setzero_ps());
	return _mm512_mask_mov_ps(p, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

/* There are eight stripes: the lower half of sixteen consecutive values is added first. */
INLINE __m256 vec_stripes(__m256 stripes, vec e) {
	stripes = _mm256_add_ps(stripes, _mm512_castps512_ps256(e));
	return _mm256_add_ps(stripes, _mm512_extractf32x8_ps(e, 1));
}

#include "kernels/avx2/attention_tmpl.h"

KERN_DEFINE_SPANS(AVX512_OP)
