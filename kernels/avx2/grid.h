/* grid: the types with codebooks (IQ1, IQ2, IQ3), for eight rows: their weights, scales and signs.
 *
 * An entry of a codebook is eight or four neighbouring elements of a row, so each of the eight rows of a strip looks up its own: loads that
 * copy an entry into every lane, of which one lane is kept.  Indices are made as vectors and go through memory.  Gathers are slow on AMD's
 * processors and on those of Intel that are patched against data sampling.  A sub-block has 32 elements, as four groups of eight; sub-block k is 4 * half + c, where c is a constant.
 * Shared by the folders avx2 and avx512. */
#ifndef KERNELS_AVX2_GRID_H
#define KERNELS_AVX2_GRID_H
#include "kernels/compiler.h"
#include "kernels/formats.h"
#include "kernels/grids.h"
#include <immintrin.h>

/* Whether this processor gathers eight entries of four elements faster than it loads them one by one.  Set once, by kern_init. */
extern bool avx2_gathers;

/* Whether entries have four elements, or eight; and whether they are signed. */
INLINE bool grid_is_four(enum kern_type t) {
	return t == KERN_IQ3_XXS || t == KERN_IQ3_S;
}
INLINE bool grid_is_one(enum kern_type t) {
	return t == KERN_IQ1_S || t == KERN_IQ1_M;
}

/* Unit u of a body: four bytes of each row. */
INLINE __m256i grid_unit(const uint8_t *body, int u) {
	return _mm256_loadu_si256((const __m256i *)(const void *)(body + u * 32));
}

/* Bits from `from` on, moved to `to`, under a mask. */
INLINE __m256i grid_bits(__m256i v, int from, int to, int mask) {
	v = from > to ? _mm256_srli_epi32(v, from - to) : _mm256_slli_epi32(v, to - from);
	return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}

/* The indices of group j of a sub-block, or of the word j of one where entries have four elements. */
INLINE __m256i grid_index(enum kern_type t, const uint8_t *body, int half, int c, int j) {
	int k = 4 * half + c;
	switch (t) {
	case KERN_IQ2_XXS:
		return grid_bits(grid_unit(body, 2 * k), 8 * j, 0, 0xff);
	case KERN_IQ2_XS:
		return grid_bits(grid_unit(body, 2 * k + j / 2), j % 2 * 16, 0, 0x1ff);
	case KERN_IQ2_S:
		return _mm256_or_si256(grid_bits(grid_unit(body, k), 8 * j, 0, 0xff),
		        grid_bits(grid_unit(body, 16 + half), 8 * c + 2 * j, 8, 0x300));
	case KERN_IQ1_S:
		return _mm256_or_si256(grid_bits(grid_unit(body, k), 8 * j, 0, 0xff),
		        grid_bits(grid_unit(body, 8 + 2 * half + c / 2), c % 2 * 16 + 3 * j, 8, 0x700));
	case KERN_IQ1_M:
		return _mm256_or_si256(grid_bits(grid_unit(body, k), 8 * j, 0, 0xff),
		        grid_bits(grid_unit(body, 8 + 2 * half + c / 2), c % 2 * 16 + 4 * j, 8, 0x700));
	case KERN_IQ3_S:
		return _mm256_or_si256(grid_bits(grid_unit(body, 2 * k + j / 4), j % 4 * 8, 0, 0xff),
		        grid_bits(grid_unit(body, 16 + half), 8 * c + j, 8, 0x100));
	default: /* KERN_IQ3_XXS */
		return grid_bits(grid_unit(body, 2 * k + j / 4), j % 4 * 8, 0, 0xff);
	}
}

/* The signs of a sub-block: byte j of each lane is those of group j, a set bit for minus. */
INLINE __m256i grid_signs(enum kern_type t, const uint8_t *body, int half, int c) {
	int k = 4 * half + c;
	__m256i v;
	if (t == KERN_IQ2_S)
		return grid_unit(body, 8 + k);
	if (t == KERN_IQ3_S)
		return grid_unit(body, 18 + k);
	if (t == KERN_IQ2_XS) { /* the upper seven bits of the halves of two units */
		const __m256i order = _mm256_broadcastsi128_si256(
		        _mm_setr_epi32(0x09080100, 0x0b0a0302, 0x0d0c0504, 0x0f0e0706));
		v = _mm256_packus_epi16(_mm256_srli_epi16(grid_unit(body, 2 * k), 9),
		        _mm256_srli_epi16(grid_unit(body, 2 * k + 1), 9));
		v = _mm256_shuffle_epi8(v, order);
	} else { /* four times seven bits */
		__m256i w = grid_unit(body, t == KERN_IQ2_XXS ? 2 * k + 1 : 16 + k);
		v = _mm256_or_si256(_mm256_or_si256(grid_bits(w, 0, 0, 0x7f), grid_bits(w, 0, 1, 0x7f00)),
		        _mm256_or_si256(grid_bits(w, 0, 2, 0x7f0000), grid_bits(w, 0, 3, 0x7f000000)));
	}
	/* the eighth makes their number even */
	const __m256i odd = _mm256_broadcastsi128_si256(
	        _mm_setr_epi32(0x00808000, (int32_t)0x80000080, (int32_t)0x80000080, 0x00808000));
	__m256i nibble = _mm256_and_si256(_mm256_xor_si256(v, _mm256_srli_epi32(v, 4)), _mm256_set1_epi8(15));
	return _mm256_or_si256(v, _mm256_shuffle_epi8(odd, nibble));
}

/* The signs of group j in every byte, and the bit of each byte of its word `odd`. */
INLINE __m256i grid_spread(__m256i signs, int j) {
	__m256i at =
	        _mm256_broadcastsi128_si256(_mm_setr_epi32(0x00000000, 0x04040404, 0x08080808, 0x0c0c0c0c));
	return _mm256_shuffle_epi8(signs, _mm256_add_epi32(at, _mm256_set1_epi32(j * 0x01010101)));
}
INLINE __m256i grid_sign_bits(int odd) {
	return _mm256_set1_epi32(odd ? (int32_t)0x80402010 : 0x08040201);
}

/* 1 or -1 for each byte of word `odd` of group j, by its sign. */
INLINE __m256i grid_sign(__m256i signs, int j, int odd) {
	const __m256i bits = grid_sign_bits(odd);
	__m256i set = _mm256_and_si256(grid_spread(signs, j), bits);
	return _mm256_or_si256(_mm256_cmpeq_epi8(set, bits), _mm256_set1_epi8(1));
}

/* The delta of IQ1 for group j: 1 or -1 in every byte. */
INLINE __m256i grid_delta(enum kern_type t, const uint8_t *body, int half, int c, int j) {
	int bit = t == KERN_IQ1_S ? 15 : 4 * j + 3;
	__m256i v = grid_unit(body, 8 + 2 * half + c / 2);
	v = _mm256_srai_epi32(_mm256_slli_epi32(v, 31 - (c % 2 * 16 + bit)), 31);
	return _mm256_or_si256(v, _mm256_set1_epi8(1));
}

/* Keeps the compiler from taking a vector apart in registers, which is slower than loads. */
#define IN_MEMORY(array) __asm__("" : "+m"(array))

#define GRID_KEEP_32(v, i, lane) \
	_mm256_blend_epi32(v, _mm256_set1_epi32((int32_t)grid[index[i]]), 1 << (lane))
#define GRID_KEEP_64(v, i, lane) \
	_mm256_blend_epi32(v, _mm256_set1_epi64x((int64_t)grid[index[i]]), 3 << 2 * (lane))

/* Four elements of each row. */
INLINE __m256i grid_look_up_4(const uint32_t *grid, __m256i indices) {
	if (avx2_gathers)
		return _mm256_i32gather_epi32((const int *)(const void *)grid, indices, 4);
	_Alignas(32) uint32_t index[8];
	_mm256_storeu_si256((__m256i *)(void *)index, indices);
	IN_MEMORY(index);
	__m256i a = _mm256_set1_epi32((int32_t)grid[index[0]]),
	        b = _mm256_set1_epi32((int32_t)grid[index[4]]);
	a = GRID_KEEP_32(a, 1, 1);
	b = GRID_KEEP_32(b, 5, 5);
	a = GRID_KEEP_32(a, 2, 2);
	b = GRID_KEEP_32(b, 6, 6);
	a = GRID_KEEP_32(a, 3, 3);
	b = GRID_KEEP_32(b, 7, 7);
	return _mm256_blend_epi32(a, b, 0xf0);
}

/* Eight elements of each row, as two words. */
INLINE void grid_look_up_8(__m256i w[2], const uint64_t *grid, __m256i indices) {
	_Alignas(32) uint32_t index[8];
	_mm256_storeu_si256((__m256i *)(void *)index, indices);
	IN_MEMORY(index);
	__m256i a = _mm256_set1_epi64x((int64_t)grid[index[0]]),
	        b = _mm256_set1_epi64x((int64_t)grid[index[2]]);
	a = GRID_KEEP_64(a, 1, 1);
	b = GRID_KEEP_64(b, 3, 1);
	a = GRID_KEEP_64(a, 4, 2);
	b = GRID_KEEP_64(b, 6, 2);
	a = GRID_KEEP_64(a, 5, 3);
	b = GRID_KEEP_64(b, 7, 3);
	__m256 lower = _mm256_castsi256_ps(a), upper = _mm256_castsi256_ps(b);
	w[0] = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0x88));
	w[1] = _mm256_castps_si256(_mm256_shuffle_ps(lower, upper, 0xdd));
}

/* The entries of group j of a sub-block: its two words. */
INLINE void grid_entries(__m256i w[2], enum kern_type t, const uint8_t *body, int half, int c, int j) {
	const uint64_t *grid = t == KERN_IQ2_XXS  ? kern_grid_iq2_xxs
	                       : t == KERN_IQ2_XS ? kern_grid_iq2_xs
	                       : t == KERN_IQ2_S  ? kern_grid_iq2_s
	                                          : kern_grid_iq1;
	if (grid_is_four(t)) {
		const uint32_t *four = t == KERN_IQ3_S ? kern_grid_iq3_s : kern_grid_iq3_xxs;
		w[0] = grid_look_up_4(four, grid_index(t, body, half, c, 2 * j));
		w[1] = grid_look_up_4(four, grid_index(t, body, half, c, 2 * j + 1));
		return;
	}
	grid_look_up_8(w, grid, grid_index(t, body, half, c, j));
}

/* The signed weights of group j: its two words. */
INLINE void grid_weights(
        __m256i w[2], enum kern_type t, const uint8_t *body, __m256i signs, int half, int c, int j) {
	grid_entries(w, t, body, half, c, j);
	UNROLL for (int i = 0; i < 2; i++) w[i] =
	        grid_is_one(t) ? _mm256_add_epi8(w[i], grid_delta(t, body, half, c, j))
	                       : _mm256_sign_epi8(w[i], grid_sign(signs, j, i));
}

/* The scale of sub-block k, or of its lower or upper half where these have their own: an odd number, as int32. */
INLINE __m256i grid_scale(enum kern_type t, const uint8_t *head, const uint8_t *body, int k, int upper) {
	__m256i v;
	int from, mask = 0x1e;
	switch (t) {
	case KERN_IQ2_XXS:
		v = grid_unit(body, 2 * k + 1);
		from = 28;
		break;
	case KERN_IQ3_XXS:
		v = grid_unit(body, 16 + k);
		from = 28;
		break;
	case KERN_IQ3_S:
		v = grid_unit(head + 16, 0);
		from = 4 * k;
		break;
	case KERN_IQ1_S:
		v = grid_unit(body, 8 + k / 2);
		from = k % 2 * 16 + 12;
		mask = 0xe;
		break;
	case KERN_IQ1_M:
		v = grid_unit(head, k / 4);
		from = k / 2 % 2 * 16 + k % 2 * 6 + 3 * upper;
		mask = 0xe;
		break;
	default: /* KERN_IQ2_XS, KERN_IQ2_S */
		v = grid_unit(head + 16, k / 4);
		from = k % 4 * 8 + 4 * upper;
	}
	return _mm256_or_si256(grid_bits(v, from, 1, mask), _mm256_set1_epi32(1));
}

/* The scale of the block, times the power of two by which weights and scales are larger than the format has them. */
INLINE __m256 grid_d(enum kern_type t, const uint8_t *head) {
	__m128i halves = _mm_loadu_si128((const __m128i *)(const void *)head);
	if (t == KERN_IQ1_M) { /* four bits at the top of each of four shorts */
		__m256i a = grid_unit(head, 0), b = grid_unit(head, 1);
		a = _mm256_or_si256(grid_bits(a, 12, 0, 0xf), grid_bits(a, 28, 4, 0xf0));
		b = _mm256_or_si256(grid_bits(b, 12, 8, 0xf00), grid_bits(b, 28, 12, 0xf000));
		a = _mm256_or_si256(a, b);
		halves = _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	}
	__m256 d = _mm256_cvtph_ps(halves);
	return t == KERN_IQ3_S ? d : _mm256_mul_ps(d, _mm256_set1_ps(t == KERN_IQ3_XXS ? 0.25f : 0.125f));
}

#endif
