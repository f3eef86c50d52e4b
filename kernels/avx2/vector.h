/* vector: shared by the AVX2 operations: lane masks, the tree over lanes, and kern_exp on eight lanes. */
#ifndef KERNELS_AVX2_VECTOR_H
#define KERNELS_AVX2_VECTOR_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/math.h"

/* All ones in the lanes below n. */
static inline __m256i lanes_below(size_t n) {
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), lane);
}

/* The contract's tree over eight stripes, one per lane. */
static inline float tree8(__m256 s) {
	__m128 a = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
	a = _mm_add_ps(a, _mm_movehl_ps(a, a));
	return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

/* 2^n, for a normal exponent n. */
static inline __m256 exp8_pow2(__m256i n) {
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* kern_exp on every lane.  Results of lanes beyond the clamps are replaced at the end. */
static inline __m256 exp8(__m256 x) {
	__m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(KERN_EXP_LOG2E)),
	        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-KERN_EXP_LN2_HI), x);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-KERN_EXP_LN2_LO), r);
	__m256 p = _mm256_set1_ps(KERN_EXP_C6);
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C5));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C4));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C2));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C1));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_C0));
	__m256i k = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(k, 1);
	p = _mm256_mul_ps(_mm256_mul_ps(p, exp8_pow2(half)), exp8_pow2(_mm256_sub_epi32(k, half)));
	__m256 over = _mm256_cmp_ps(x, _mm256_set1_ps(KERN_EXP_MAX), _CMP_GT_OQ);
	__m256 under = _mm256_cmp_ps(x, _mm256_set1_ps(KERN_EXP_MIN), _CMP_LT_OQ);
	p = _mm256_blendv_ps(p, _mm256_set1_ps(__builtin_inff()), over);
	p = _mm256_andnot_ps(under, p);
	return _mm256_blendv_ps(p, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

#endif
