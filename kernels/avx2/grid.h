/* grid: the types with codebooks (IQ1, IQ2, IQ3), for eight rows: their weights, scales and signs.
 *
 * An entry of a codebook is eight or four neighbouring elements of a row, so each of the eight rows of a strip looks up its own: a gather, or
 * loads that copy an entry into every lane, of which one lane is kept, with the indices going through memory.  Gathers are slow on AMD's
 * processors and on those of Intel that are patched against data sampling.  An entry is a word: eight elements are digits of two bits.
 * A sub-block has 32 elements, as four groups of eight; sub-block k is 4 * half + c, where c is a constant.  Indices and signs: kernels/pack_grid.h.
 * Shared by the folders avx2 and avx512. */
#ifndef KERNELS_AVX2_GRID_H
#define KERNELS_AVX2_GRID_H
#include "kernels/compiler.h"
#include "kernels/formats.h"
#include "kernels/grids.h"
#include <immintrin.h>

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
	if (from > to && (uint32_t)mask == UINT32_MAX >> (from - to))
		return v; /* nothing else is left */
	return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}

/* Index j of the four of `bits` bits that are a number in v and, above 32 bits, in the bits of `rest` from `from` on. */
INLINE __m256i grid_field(__m256i v, __m256i rest, int from, int j, int bits) {
	int first = j * bits, mask = (1 << bits) - 1;
	if (first + bits <= 32)
		return grid_bits(v, first, 0, mask);
	if (first >= 32)
		return grid_bits(rest, from + first - 32, 0, mask);
	return _mm256_or_si256(_mm256_srli_epi32(v, first),
	        grid_bits(rest, from, 32 - first, mask & ~((1 << (32 - first)) - 1)));
}

/* The indices of group j of a sub-block, or of the word j of one where entries have four elements. */
INLINE __m256i grid_index(enum kern_type t, const uint8_t *body, int half, int c, int j) {
	int k = 4 * half + c;
	switch (t) {
	case KERN_IQ2_XXS:
		return grid_bits(grid_unit(body, 2 * k), 8 * j, 0, 0xff);
	case KERN_IQ2_XS:
		return grid_field(grid_unit(body, 2 * k), grid_unit(body, 8 * half + c / 2 * 4 + 3),
		        24 + c % 2 * 4, j, 9);
	case KERN_IQ2_S:
		return grid_field(grid_unit(body, k), grid_unit(body, 16 + half), 8 * c, j, 10);
	case KERN_IQ1_S:
	case KERN_IQ1_M:
		return grid_field(
		        grid_unit(body, k), grid_unit(body, 8 + 2 * half + c / 2), c % 2 * 16, j, 11);
	case KERN_IQ3_S:
		return grid_field(grid_unit(body, 2 * k + j / 4), grid_unit(body, 16 + half),
		        8 * c + j / 4 * 4, j % 4, 9);
	default: /* KERN_IQ3_XXS */
		return grid_bits(grid_unit(body, 2 * k + j / 4), j % 4 * 8, 0, 0xff);
	}
}

/* The units of a pair of sub-blocks, from sub-block k on, that have signs. */
INLINE int grid_signs_at(enum kern_type t, int k, int upper) {
	return t == KERN_IQ2_S     ? 8 + k + upper
	       : t == KERN_IQ3_S   ? 18 + k + upper
	       : t == KERN_IQ3_XXS ? 16 + k + upper
	                           : 2 * (k + upper) + 1;
}

/* The signs of a pair of sub-blocks: bit g of byte i of each lane is that of element i, or 4 + i, of group g, set for minus. */
struct grid_signs {
	__m256i v[2];
};

INLINE struct grid_signs grid_signs(enum kern_type t, const uint8_t *body, int k) {
	struct grid_signs s;
	if (grid_is_one(t))
		return (struct grid_signs){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
	s.v[0] = grid_unit(body, grid_signs_at(t, k, 0));
	s.v[1] = grid_unit(body, grid_signs_at(t, k, 1));
	if (t == KERN_IQ2_S || t == KERN_IQ3_S)
		return s;
	/* the eighth of each group makes their number even; what is in its place cancels itself out */
	__m256i odd = _mm256_xor_si256(s.v[0], s.v[1]);
	odd = _mm256_xor_si256(odd, _mm256_srli_epi32(odd, 16));
	odd = _mm256_xor_si256(odd, _mm256_srli_epi32(odd, 8));
	s.v[1] = _mm256_xor_si256(s.v[1], _mm256_slli_epi32(odd, 24));
	return s;
}

/* A number for each byte of word i of group g that is negative where it has a minus, and not 0. */
INLINE __m256i grid_sign(struct grid_signs s, int g, int i) {
	const __m256i ones = _mm256_set1_epi8(1);
	if (g == 0)
		return _mm256_or_si256(_mm256_slli_epi32(s.v[i], 7), ones);
	return _mm256_slli_epi32(
	        _mm256_or_si256(s.v[i], ones), 7 - g); /* the lowest bit is in no other's way */
}

/* Keeps the compiler from taking a vector apart in registers, which is slower than loads. */
#define IN_MEMORY(array) __asm__("" : "+m"(array))

#define GRID_KEEP(v, i) _mm256_blend_epi32(v, _mm256_set1_epi32((int32_t)grid[index[i]]), 1 << (i))

/* An entry for each row. */
INLINE __m256i grid_look_up(const uint32_t *grid, __m256i indices, bool gathers) {
	if (gathers)
		return _mm256_i32gather_epi32((const int *)(const void *)grid, indices, 4);
	_Alignas(32) uint32_t index[8];
	_mm256_storeu_si256((__m256i *)(void *)index, indices);
	IN_MEMORY(index);
	__m256i a = _mm256_set1_epi32((int32_t)grid[index[0]]),
	        b = _mm256_set1_epi32((int32_t)grid[index[4]]);
	a = GRID_KEEP(a, 1);
	b = GRID_KEEP(b, 5);
	a = GRID_KEEP(a, 2);
	b = GRID_KEEP(b, 6);
	a = GRID_KEEP(a, 3);
	b = GRID_KEEP(b, 7);
	return _mm256_blend_epi32(a, b, 0xf0);
}

/* What the digits of elements 0 to 3, or 4 to 7, of an entry stand for: of IQ1, eight times the digit. */
INLINE __m256i grid_values(enum kern_type t, bool upper) {
	char a = grid_is_one(t) ? 0 : 8, b = grid_is_one(t) ? 8 : 25, c = grid_is_one(t) ? 16 : 43;
	return _mm256_broadcastsi128_si256(
	        upper ? _mm_setr_epi8(a, a, a, a, b, b, b, b, c, c, c, c, 0, 0, 0, 0)
	              : _mm_setr_epi8(a, b, c, 0, a, b, c, 0, a, b, c, 0, a, b, c, 0));
}

/* Twice in every byte, or nothing, what IQ1 adds to eight times the weight: group j has 1, or -1 where its bit is set. */
INLINE __m256i grid_delta(enum kern_type t, const uint8_t *body, int half, int c, int j) {
	int bit = t == KERN_IQ1_S ? 15 : 12 + j;
	__m256i v = grid_unit(body, 8 + 2 * half + c / 2);
	v = _mm256_srai_epi32(_mm256_slli_epi32(v, 31 - (c % 2 * 16 + bit)), 31);
	return _mm256_andnot_si256(v, _mm256_set1_epi8(2));
}

/* The entries of group j of a sub-block, its two words: magnitudes, or of IQ1 the weights plus GRID_ONE. */
enum { GRID_ONE = 9 };
INLINE void grid_entries(
        __m256i w[2], enum kern_type t, const uint8_t *body, int half, int c, int j, bool gathers) {
	const uint32_t *digits = t == KERN_IQ2_XXS  ? kern_digits_iq2_xxs
	                         : t == KERN_IQ2_XS ? kern_digits_iq2_xs
	                         : t == KERN_IQ2_S  ? kern_digits_iq2_s
	                                            : kern_digits_iq1;
	if (grid_is_four(t)) {
		const uint32_t *four = t == KERN_IQ3_S ? kern_grid_iq3_s : kern_grid_iq3_xxs;
		w[0] = grid_look_up(four, grid_index(t, body, half, c, 2 * j), gathers);
		w[1] = grid_look_up(four, grid_index(t, body, half, c, 2 * j + 1), gathers);
		return;
	}
	__m256i entry = grid_look_up(digits, grid_index(t, body, half, c, j), gathers);
	w[0] = _mm256_shuffle_epi8(grid_values(t, false), entry);
	w[1] = _mm256_shuffle_epi8(grid_values(t, true), entry);
	if (grid_is_one(t)) {
		__m256i delta = grid_delta(t, body, half, c, j);
		w[0] = _mm256_add_epi8(w[0], delta);
		w[1] = _mm256_add_epi8(w[1], delta);
	}
}

/* The signed weights of group j: its two words. */
INLINE void grid_weights(__m256i w[2], enum kern_type t, const uint8_t *body, struct grid_signs signs,
        int half, int c, int j, bool gathers) {
	grid_entries(w, t, body, half, c, j, gathers);
	UNROLL for (int i = 0; i < 2; i++) w[i] =
	        grid_is_one(t) ? _mm256_sub_epi8(w[i], _mm256_set1_epi8(GRID_ONE))
	                       : _mm256_sign_epi8(w[i], grid_sign(signs, c % 2 * 4 + j, i));
}

/* The scale of sub-block k, or of its lower or upper half where these have their own: an odd number, as int32. */
INLINE __m256i grid_scale(enum kern_type t, const uint8_t *head, const uint8_t *body, int k, int upper) {
	__m256i v;
	int from, mask = 0x1e;
	switch (t) {
	case KERN_IQ2_XXS:
	case KERN_IQ3_XXS:
		v = grid_unit(body, grid_signs_at(t, k / 2 * 2, 1));
		from = 24 + k % 2 * 4;
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
