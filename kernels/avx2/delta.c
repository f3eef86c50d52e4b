/* avx2/delta: gated delta nets with vectors of eight (delta_tmpl.h).
 * Equals kernels/ref/delta.c to the bit.  Pure; any thread. */
#include "kernels/avx2/avx2.h"

#include "kernels/compiler.h"
#include <immintrin.h>

#define LANES 8
#define PANELS 2 /* 16 KiB; twelve sums */

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

#include "kernels/delta_tmpl.h"

void avx2_delta(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels) {
	delta_run(to, from, d, n, panels);
}
