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
#define SIDE 4
#define VEC_PIN(v) __asm__("" : "+v"(v))

INLINE vec vec_halves(const uint8_t *p) {
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE vec vec_max(vec a, vec b) {
	return _mm512_max_ps(a, b);
}
INLINE __m256 vec_max8(vec a, __m256 m) {
	m = _mm256_max_ps(_mm512_castps512_ps256(a), m);
	return _mm256_max_ps(_mm512_extractf32x8_ps(a, 1), m);
}

#ifdef __AVX512VBMI__
/* A byte b and 128 in the bits below an exponent's make 2^15 + 128 + b, of which by * b is one multiply-add, exact as by has
 * 11 bits: by * (2^15 + 128 + b) + plus, plus = -by * (2^15 + 128). */
#define ROW_FLOATS 2
typedef __m512i vec_line;
struct scales {
	vec by, plus;
};
INLINE vec_line vec_line_at(const uint8_t *p) {
	return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8((char)0x80));
}
INLINE vec vec_piece(vec_line line, size_t i) {
	const __m512i first = _mm512_set_epi32(0xf00, 0xe00, 0xd00, 0xc00, 0xb00, 0xa00, 0x900, 0x800, 0x700,
	        0x600, 0x500, 0x400, 0x300, 0x200, 0x100, 0);
	__m512i from = _mm512_add_epi32(first, _mm512_set1_epi32((int)i << 12));
	return _mm512_castsi512_ps(
	        _mm512_mask_permutexvar_epi8(_mm512_set1_epi32(0x47000000), 0x2222222222222222, from, line));
}
INLINE vec vec_scaled(vec x, struct scales s) {
	return _mm512_fmadd_ps(x, s.by, s.plus);
}
INLINE struct scales scales_of(vec by) {
	return (struct scales){by, _mm512_mul_ps(by, _mm512_set1_ps(-32896.0f))};
}
INLINE struct scales scales_row(const float *p) {
	return (struct scales){_mm512_set1_ps(p[0]), _mm512_set1_ps(p[1])};
}
INLINE void scales_rows(float *p, vec by) {
	vec plus = scales_of(by).plus;
	const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0),
	              high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
	_mm512_storeu_ps(p, _mm512_permutex2var_ps(by, low, plus));
	_mm512_storeu_ps(p + LANES, _mm512_permutex2var_ps(by, high, plus));
}
#else
INLINE vec vec_bytes(const uint8_t *p) {
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
#include "kernels/avx2/attention_bytes.h"
#endif

/* kern_exp on every lane, of numbers that are not above 0: multiplied by 2^n in one step, as exactly as in two. */
INLINE vec vec_exp_below(vec x) {
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
	__mmask16 above =
	        _mm512_cmp_ps_mask(x, _mm512_set1_ps(KERN_EXP_MIN), _CMP_NLT_UQ); /* or NaN, as p is */
	return _mm512_maskz_scalef_ps(above, p, n);
}

/* There are eight stripes: the lower half of sixteen consecutive values is added first. */
INLINE __m256 vec_stripes(__m256 stripes, vec e) {
	stripes = _mm256_add_ps(stripes, _mm512_castps512_ps256(e));
	return _mm256_add_ps(stripes, _mm512_extractf32x8_ps(e, 1));
}

#include "kernels/avx2/attention_tmpl.h"

#ifdef __AVX512VBMI__
KERN_DEFINE_SPAN(avx512_span_q8_0_vbmi, KERN_KV_Q8_0)
#else
KERN_DEFINE_SPAN(avx512_span_f16, KERN_KV_F16)

void avx512_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys,
        const void *const *values, size_t head_size, float scale, void *scratch) {
	if (__builtin_cpu_supports("avx512vbmi"))
		avx512_span_q8_0_vbmi(q, nq, keys, values, head_size, scale, scratch);
	else
		span_of(q, nq, keys, values, head_size, scale, scratch, KERN_KV_Q8_0);
}
#endif
