/* avx2/attention: attention over one span (attention_tmpl.h with vectors of eight) and the combination of spans.
 * Equals kernels/ref/attention.c to the bit.  Pure; any thread. */
#include "kernels/avx2/avx2.h"

#include "kernels/avx2/common.h"
#include "kernels/avx2/lanes.h"
#include "kernels/avx2/vector.h"
#include "kernels/combine_tmpl.h"

#define LANES 8
#define QUERIES 3 /* with four groups of lanes they fill the registers */
#define QUERIES_Q8 2
#define SIDE 2
#define VEC_PIN PIN

INLINE vec vec_halves(const uint8_t *p) {
	return load_halves(p);
}
INLINE vec vec_bytes(const uint8_t *p) {
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
INLINE vec vec_max(vec a, vec b) {
	return _mm256_max_ps(a, b);
}
INLINE __m256 vec_max8(vec a, __m256 m) {
	return _mm256_max_ps(a, m);
}
INLINE vec vec_exp_below(vec x) {
	return exp8(x);
}
INLINE __m256 vec_stripes(__m256 stripes, vec e) {
	return _mm256_add_ps(stripes, e);
}

#include "kernels/avx2/attention_bytes.h"
#include "kernels/avx2/attention_tmpl.h"

KERN_DEFINE_SPANS(AVX2_OP)

/* out = fma(c, o, out) for one span. */
INLINE void combine_span(float *out, const float *o, float c, size_t head_size) {
	__m256 cv = _mm256_set1_ps(c);
	size_t d = 0;
	for (; d + 8 <= head_size; d += 8)
		_mm256_storeu_ps(
		        out + d, _mm256_fmadd_ps(cv, _mm256_loadu_ps(o + d), _mm256_loadu_ps(out + d)));
	for (; d < head_size; d++)
		out[d] = fmaf(c, o[d], out[d]);
}

KERN_DEFINE_COMBINE(AVX2_OP)
