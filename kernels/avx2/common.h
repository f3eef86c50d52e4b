/* common: shared by the products of this folder: loads, and storing the results of a strip. */
#ifndef KERNELS_AVX2_COMMON_H
#define KERNELS_AVX2_COMMON_H
#include "kernels/compiler.h"
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Keeps an accumulator in its register: without it the compiler reorders the additions of an unrolled
 * tile until it runs out of registers. */
#define PIN(v) __asm__("" : "+x"(v))

INLINE __m256i load(const void *p) {
	return _mm256_loadu_si256(p);
}

/* Loads eight consecutive float16. */
INLINE __m256 load_halves(const void *p) {
	return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

/* The scales of eight blocks of MXFP4: 2^(e - 128). */
INLINE __m256 load_exponents(const void *p) {
	__m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
	e = _mm256_max_epi32(_mm256_slli_epi32(e, 23), _mm256_set1_epi32(0x400000));
	return _mm256_mul_ps(_mm256_castsi256_ps(e), _mm256_set1_ps(0.5f));
}

/* Word i of p in every lane. */
INLINE __m256i spread(const void *p, size_t i) {
	int32_t word;
	memcpy(&word, (const uint8_t *)p + 4 * i, 4);
	return _mm256_set1_epi32(word);
}

/* Stores the results of a strip, as far as it has rows. */
INLINE void store_rows(float *y, __m256 v, size_t rows) {
	if (rows >= 8) {
		_mm256_storeu_ps(y, v);
		return;
	}
	float f[8];
	_mm256_storeu_ps(f, v);
	memcpy(y, f, rows * sizeof *f);
}

#endif
