/* Activation rows (the parts of kernels/acts.h), 32 elements at a time; groups of a KV cache are quantised the same way. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/common.h"

/* The largest magnitude of x[0..n), n a multiple of 8, or infinity where a value is not finite. */
INLINE float magnitude(const float *x, size_t n) {
	const __m256i mask = _mm256_set1_epi32(0x7fffffff);
	__m256i top =
	        _mm256_setzero_si256(); /* of non-negative floats, and NaN, the order is that of integers */
	for (size_t i = 0; i < n; i += 8)
		top = _mm256_max_epi32(top, _mm256_and_si256(load(x + i), mask));
	__m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	uint32_t bits = (uint32_t)_mm_cvtsi128_si32(m);
	float f;
	if (bits > 0x7f800000)
		bits = 0x7f800000;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* 32 quants in order. */
INLINE __m256i quantize_32(const float *x, __m256 inverse) {
	__m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
	__m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse));
	__m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16), inverse));
	__m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 24), inverse));
	__m256i q = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
	return _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

INLINE void quantize_32_at(int8_t *q, const float *x, float inverse) {
	_mm256_storeu_si256((__m256i *)(void *)q, quantize_32(x, _mm256_set1_ps(inverse)));
}

#include "kernels/quantize_tmpl.h"

/* Of each four quants the sum of the first and of the last two, as int16; 16 quants a 128-bit half. */
INLINE __m256i pair_sums(__m256i q) {
	return _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
}

/* Adds up the words of each 128-bit half; every word of it becomes the sum. */
INLINE __m256i add_words(__m256i v) {
	v = _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0x4e));
	return _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0xb1));
}

INLINE void put_q8_32(uint8_t *row, const struct acts_q8_32 *at, size_t b, const float *x, float inverse) {
	__m256i q = quantize_32(x, _mm256_set1_ps(inverse)), s = add_words(pair_sums(q));
	_mm256_storeu_si256((__m256i *)(row + at->q + b * 32), q);
	s = _mm256_add_epi16(s, _mm256_permute4x64_epi64(s, 0x4e));
	int32_t word = _mm256_cvtsi256_si32(s);
	((float *)(row + at->sum))[b] = (float)((int16_t)word + (word >> 16));
	int32_t repair = _mm256_cvtsi256_si32(_mm256_mullo_epi16(s, _mm256_set1_epi16(-8)));
	memcpy(row + at->repair + b * 4, &repair, sizeof repair);
}

INLINE void put_q8_256(uint8_t *row, const struct acts_q8_256 *at, size_t b, const float *x, float inverse) {
	int16_t *sum16 = (int16_t *)(row + at->sum16), *sum32 = (int16_t *)(row + at->sum32);
	for (size_t k = b * 8; k < b * 8 + 8; k++, x += 32) { /* each 32: two groups of 16 */
		__m256i q = quantize_32(x, _mm256_set1_ps(inverse)), s = add_words(pair_sums(q));
		_mm256_storeu_si256((__m256i *)(row + at->q + k * 32), q);
		int32_t low = _mm256_cvtsi256_si32(s), high = _mm256_extract_epi32(s, 4);
		sum16[2 * k] = (int16_t)((int16_t)low + (low >> 16));
		sum16[2 * k + 1] = (int16_t)((int16_t)high + (high >> 16));
		sum32[k] = (int16_t)(sum16[2 * k] + sum16[2 * k + 1]);
		s = _mm256_mullo_epi16(s, _mm256_set1_epi16(-32));
		int32_t repair[2] = {_mm256_cvtsi256_si32(s), _mm256_extract_epi32(s, 4)};
		memcpy(row + at->repair + k * 8, repair, sizeof repair);
	}
}

KERN_DEFINE_QUANTIZERS(AVX2_OP)
