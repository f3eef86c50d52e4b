/* avx512/lanes: vectors of sixteen floats, by the names that attention_tmpl.h and delta_tmpl.h have for their operations. */
#ifndef KERNELS_AVX512_LANES_H
#define KERNELS_AVX512_LANES_H
#include "kernels/compiler.h"
#include <immintrin.h>

typedef __m512 vec;

INLINE vec vec_zero(void) {
	return _mm512_setzero_ps();
}
INLINE vec vec_load(const float *p) {
	return _mm512_loadu_ps(p);
}
INLINE void vec_store(float *p, vec v) {
	_mm512_storeu_ps(p, v);
}
INLINE vec vec_set1(float x) {
	return _mm512_set1_ps(x);
}
INLINE vec vec_sub(vec a, vec b) {
	return _mm512_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
	return _mm512_mul_ps(a, b);
}
INLINE vec vec_fmadd(vec a, vec b, vec c) {
	return _mm512_fmadd_ps(a, b, c);
}

#endif
