/* avx2/lanes: vectors of eight floats, by the names that attention_tmpl.h and delta_tmpl.h have for their operations. */
#ifndef KERNELS_AVX2_LANES_H
#define KERNELS_AVX2_LANES_H
#include "kernels/compiler.h"
#include <immintrin.h>

typedef __m256 vec;

INLINE vec vec_zero(void) {
	return _mm256_setzero_ps();
}
INLINE vec vec_load(const float *p) {
	return _mm256_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v) {
	_mm256_storeu_ps(p, v);
}
INLINE vec vec_set1(float x) {
	return _mm256_set1_ps(x);
}
INLINE vec vec_sub(vec a, vec b) {
	return _mm256_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
	return _mm256_mul_ps(a, b);
}
INLINE vec vec_fmadd(vec a, vec b, vec c) {
	return _mm256_fmadd_ps(a, b, c);
}

#endif
