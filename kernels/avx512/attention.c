/* avx512/attention: attention over one span with vectors of sixteen; what combines spans is the avx2 rung's. */
#include "kernels/avx512/avx512.h"

#include "kernels/avx2/common.h"

#define LANES 16
#define QUERIES 8 /* sixteen sums, and as many registers for what they are made of */
#define QUERIES_Q8 8
#define VEC_PIN(v) __asm__("" : "+v"(v))

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
INLINE vec vec_mul(vec a, vec b) {
	return _mm512_mul_ps(a, b);
}
INLINE vec vec_fmadd(vec a, vec b, vec c) {
	return _mm512_fmadd_ps(a, b, c);
}
INLINE vec vec_halves(const uint8_t *p) {
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE vec vec_bytes(const uint8_t *p) {
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

#include "kernels/avx2/attention.h"

void avx512_span_f16(const struct kern_query *q, size_t nq, const void *const *keys,
        const void *const *values, size_t head_size, float scale, void *scratch) {
	span_of(q, nq, keys, values, head_size, scale, scratch, KERN_KV_F16);
}

void avx512_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys,
        const void *const *values, size_t head_size, float scale, void *scratch) {
	span_of(q, nq, keys, values, head_size, scale, scratch, KERN_KV_Q8_0);
}
