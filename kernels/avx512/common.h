/* common: shared by the products of these levels: loads of two strips, and storing the results of a pair. */
#ifndef KERNELS_AVX512_COMMON_H
#define KERNELS_AVX512_COMMON_H
#include "kernels/compiler.h"
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Keeps an accumulator in its register: without it the compiler reorders the additions of an unrolled
 * tile until it runs out of registers. */
#define PIN(v) __asm__("" : "+v"(v))

/* 32 bytes of each strip of a pair, at offset i. */
INLINE __m512i load(const uint8_t *const *p, size_t i) {
	return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p[0] + i))),
	        _mm256_loadu_si256((const __m256i *)(p[1] + i)), 1);
}

/* Eight float16 of each strip of a pair, at offset i. */
INLINE __m512 load_halves(const uint8_t *const *p, size_t i) {
	return _mm512_cvtph_ps(
	        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p[0] + i))),
	                _mm_loadu_si128((const __m128i *)(p[1] + i)), 1));
}

/* Eight unsigned shorts of each strip of a pair, at offset i. */
INLINE __m512i load_shorts(const uint8_t *const *p, size_t i) {
	return _mm512_cvtepu16_epi32(
	        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p[0] + i))),
	                _mm_loadu_si128((const __m128i *)(p[1] + i)), 1));
}

/* The scales of eight blocks of MXFP4 of each strip of a pair: 2^(e - 128). */
INLINE __m512 load_exponents(const uint8_t *const *p) {
	__m512i e =
	        _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p[0]),
	                _mm_loadl_epi64((const __m128i *)(const void *)p[1])));
	e = _mm512_max_epi32(_mm512_slli_epi32(e, 23), _mm512_set1_epi32(0x400000));
	return _mm512_mul_ps(_mm512_castsi512_ps(e), _mm512_set1_ps(0.5f));
}

/* Word i of p in every lane. */
INLINE __m512i spread(const void *p, size_t i) {
	int32_t word;
	memcpy(&word, (const uint8_t *)p + 4 * i, 4);
	return _mm512_set1_epi32(word);
}

/* Stores the results of a pair, as far as there are rows. */
INLINE void store_rows(float *y, __m512 v, size_t rows) {
	if (rows >= 16)
		_mm512_storeu_ps(y, v);
	else
		_mm512_mask_storeu_ps(y, (__mmask16)((1u << rows) - 1), v);
}

#endif
