/* unpack: packed blocks of a pair of strips as words of bytes, scales and minima, for every type.
 *
 * Each function takes the type as a constant.  A word has the integer weights of four neighbouring elements per lane, always
 * unsigned: with the offset of the type still in them, and plus 128 for the signed types (Q8_0, IQ4_NL, IQ4_XS, those with
 * codebooks).  The order of fields in
 * head and body is that of kernels/pack.c. */
#ifndef KERNELS_AVX512_UNPACK_H
#define KERNELS_AVX512_UNPACK_H
#include "kernels/avx2/grid.h"
#include "kernels/avx512/common.h"
#include "kernels/formats.h"
#include "kernels/pack.h"

INLINE bool is_signed(enum kern_type t) {
	return t == KERN_Q8_0 || t == KERN_IQ4_NL || t == KERN_IQ4_XS || kern_has_grid(t);
}

/* Whether the unsigned words of a type include an offset. */
INLINE bool has_offset(enum kern_type t) {
	return is_signed(t) || kern_offset(t) != 0;
}

INLINE __m512i low_nibbles(__m512i v) {
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}
INLINE __m512i high_nibbles(__m512i v) {
	return low_nibbles(_mm512_srli_epi32(v, 4));
}

/* a with the bits of mask taken from b. */
INLINE __m512i insert(__m512i a, __m512i b, int mask) {
	return _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)mask), b, a, 0xca);
}

/* Shifts left by a positive, right by a negative count. */
INLINE __m512i shift(__m512i v, int by) {
	return by >= 0 ? _mm512_slli_epi32(v, (unsigned)by) : _mm512_srli_epi32(v, (unsigned)-by);
}

/* The fifth bits of word w of a block of 32: bits 4w..4w+3 of the lane, as bit 4 of each byte. */
INLINE __m512i fifth_bits(__m512i qh, int w) {
	/* the byte with these bits in every byte, then one bit of it for each */
	__m512i at = _mm512_add_epi32(
	        _mm512_broadcast_i32x4(_mm_setr_epi32(0x00000000, 0x04040404, 0x08080808, 0x0c0c0c0c)),
	        _mm512_set1_epi32(w / 2 * 0x01010101));
	__mmask64 set = _mm512_test_epi8_mask(
	        _mm512_shuffle_epi8(qh, at), _mm512_set1_epi32(w % 2 ? (int32_t)0x80402010 : 0x08040201));
	return _mm512_maskz_set1_epi8(set, 16);
}

/* Nibbles of a type as the steps that they stand for, made unsigned. */
INLINE __m512i steps_of(enum kern_type t, __m512i nibbles) {
	const int8_t *bytes = t == KERN_MXFP4 ? kern_mxfp4 : kern_iq4nl;
	__m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)bytes));
	int add = t == KERN_MXFP4 ? kern_offset(t) : 128;
	return _mm512_shuffle_epi8(_mm512_add_epi8(table, _mm512_set1_epi8((char)add)), nibbles);
}

/* Word w (0..7) of a block of 32. */
INLINE __m512i word_32(enum kern_type t, const uint8_t *const *body, int w) {
	if (t == KERN_Q8_0)
		return _mm512_xor_si512(load(body, (size_t)w * 32), _mm512_set1_epi8((char)0x80));
	bool fifth = t == KERN_Q5_0 || t == KERN_Q5_1;
	__m512i v = load(body, (size_t)(fifth ? 32 : 0) + (size_t)(w % 4) * 32);
	v = w < 4 ? low_nibbles(v) : high_nibbles(v);
	if (t == KERN_IQ4_NL || t == KERN_MXFP4)
		return steps_of(t, v);
	return fifth ? _mm512_or_si512(v, fifth_bits(load(body, 0), w)) : v;
}

/* Word w (0..63) of a block of 256: elements 4w..4w+3. */
INLINE __m512i word_256(enum kern_type t, const uint8_t *const *body, int w) {
	int half = w / 32, j = w % 32 / 8; /* element 128 half + 32 j + 4 l */
	size_t l = (size_t)w % 8, h = (size_t)half;
	const __m512i two = _mm512_set1_epi8(3);
	__m512i v;
	switch (t) {
	case KERN_Q2_K:
	case KERN_TQ2_0:
		return _mm512_and_si512(shift(load(body, (h * 8 + l) * 32), -2 * j), two);
	case KERN_Q3_K:
		v = _mm512_and_si512(shift(load(body, kern_lower_unit(h * 8 + l) * 32), -2 * j), two);
		return insert(v, shift(load(body, 2 * l * 32), 2 - (half * 4 + j)), 4);
	case KERN_Q4_K:
		v = load(body, (size_t)(w / 16 * 8 + (int)l) * 32);
		return j % 2 ? high_nibbles(v) : low_nibbles(v);
	case KERN_Q5_K:
		v = load(body, kern_lower_unit((size_t)w / 16 * 8 + l) * 32);
		v = j % 2 ? high_nibbles(v) : low_nibbles(v);
		return insert(v, shift(load(body, 2 * l * 32), 4 - w / 8), 16);
	case KERN_IQ4_XS:
		v = load(body, (size_t)(w / 8 * 4 + w % 4) * 32);
		return steps_of(t, l / 4 ? high_nibbles(v) : low_nibbles(v));
	default: /* KERN_Q6_K: moves upper bits 2j, 2j+1 to 4, 5 */
		v = load(body, (h * 24 + l * 3 + (size_t)(j % 2)) * 32);
		v = j / 2 ? high_nibbles(v) : low_nibbles(v);
		return insert(v, shift(load(body, (h * 24 + l * 3 + 2) * 32), 4 - 2 * j), 0x30);
	}
}

/* The digits of fractions of TQ1_0: 1 from 86/256 on, and 2 from 171/256. */
INLINE __m512i ternary_digit(__m512i v) {
	const __m512i one = _mm512_set1_epi8(1);
	__m512i digit = _mm512_maskz_mov_epi8(_mm512_cmpgt_epu8_mask(v, _mm512_set1_epi8(85)), one);
	return _mm512_mask_add_epi8(
	        digit, _mm512_cmpgt_epu8_mask(v, _mm512_set1_epi8((char)170)), digit, one);
}

/* Whether the integer sums of 16 elements fit 16 bits, so that one multiplication by the scale also adds them up: 16 elements of at most
 * 15 * 127. */
INLINE bool is_narrow(enum kern_type t) {
	return t == KERN_Q2_K || t == KERN_Q3_K || t == KERN_Q4_K;
}

/* The contents of the head of a block of 256. */
struct scales {
	__m512i sc[16]; /* of sub-blocks, for fold_256() */
	__m512i mn[8];  /* minima of two sub-blocks as int16 */
	__m512 d, dmin;
};

/* The lower or the upper half (int16) of each lane as a scale: as int32, or as int16 in its lower half with VNNI;
 * as int16 in both halves without. */
INLINE __m512i scale_of(enum kern_type t, __m512i v, int upper) {
#ifdef AVX512_VNNI
	if (is_narrow(t))
		return upper ? _mm512_srli_epi32(v, 16) : _mm512_and_si512(v, _mm512_set1_epi32(0xffff));
	return _mm512_srai_epi32(upper ? v : _mm512_slli_epi32(v, 16), 16);
#else
	__m512i at = _mm512_broadcast_i32x4(_mm_setr_epi32(0x01000100, 0x05040504, 0x09080908, 0x0d0c0d0c));
	return _mm512_shuffle_epi8(v, _mm512_add_epi32(at, _mm512_set1_epi32(upper * 0x02020202)));
#endif
}

/* Scales of four sub-blocks: one byte each in every lane. */
struct quarter {
	__m512i even, odd; /* bytes 0 and 2, 1 and 3, as int16 */
};

INLINE struct quarter quarter_of(__m512i v, bool sign) {
	if (sign)
		return (struct quarter){
		        _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8), _mm512_srai_epi16(v, 8)};
	return (struct quarter){_mm512_and_si512(v, _mm512_set1_epi16(255)), _mm512_srli_epi16(v, 8)};
}

INLINE void put_scales(enum kern_type t, struct scales *out, int k, struct quarter q) {
	UNROLL for (int i = 0; i < 4; i++) out->sc[4 * k + i] = scale_of(t, i % 2 ? q.odd : q.even, i / 2);
}

/* Stores minima in pairs. */
INLINE void put_minima(struct scales *out, int k, struct quarter q) {
	out->mn[2 * k] = _mm512_mask_blend_epi16(0xaaaaaaaa, q.even, _mm512_slli_epi32(q.odd, 16));
	out->mn[2 * k + 1] = _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(q.even, 16), q.odd);
}

/* The four pieces of `bits` bits (2 or 4) that are the low ones of a lane, one in each of its bytes. */
INLINE __m512i spread_bits(__m512i v, int bits) {
	const __m512i pairs = _mm512_set1_epi32(((1 << 2 * bits) - 1) * 0x10001);
	const __m512i ones = _mm512_set1_epi8((char)((1 << bits) - 1));
	v = _mm512_and_si512(v, _mm512_set1_epi32((1 << 4 * bits) - 1));
	v = _mm512_and_si512(_mm512_or_si512(v, shift(v, 16 - 2 * bits)), pairs);
	return _mm512_and_si512(_mm512_or_si512(v, shift(v, 8 - bits)), ones);
}

/* Vectors of the two strips of a pair, as one. */
INLINE __m512i join(__m256i a, __m256i b) {
	return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* The scales of a type with a codebook. */
INLINE void read_scales_grid(enum kern_type t, struct scales *out, const uint8_t *const *head) {
	size_t at = 8 * kern_head_bytes(t);
	int each = kern_sub_blocks(t) / 8;
	out->d = _mm512_castsi512_ps(
	        join(_mm256_castps_si256(grid_d(t, head[0])), _mm256_castps_si256(grid_d(t, head[1]))));
	UNROLL for (int i = 0; i < 8 * each; i++) out->sc[i] = scale_of(t,
	        join(grid_scale(t, head[0], head[0] + at, i / each, i % each),
	                grid_scale(t, head[1], head[1] + at, i / each, i % each)),
	        0);
}

INLINE void read_scales(enum kern_type t, struct scales *out, const uint8_t *const *head) {
	if (kern_has_grid(t)) {
		read_scales_grid(t, out, head);
		return;
	}
	size_t s = kern_has_minima(t) ? 32 : 16;
	const __m512i six = _mm512_set1_epi8(63);
	out->d = load_halves(head, 0);
	if (kern_is_ternary(t))
		return;
	out->dmin = kern_has_minima(t) ? load_halves(head, 16) : _mm512_setzero_ps();
	if (t == KERN_Q4_K || t == KERN_Q5_K) {
		__m512i a = load(head, s), b = load(head, s + 32), c = load(head, s + 64);
		put_scales(t, out, 0, quarter_of(_mm512_and_si512(a, six), false));
		put_scales(t, out, 1, quarter_of(insert(low_nibbles(c), shift(a, -2), 0x30), false));
		put_minima(out, 0, quarter_of(_mm512_and_si512(b, six), false));
		put_minima(out, 1, quarter_of(insert(high_nibbles(c), shift(b, -2), 0x30), false));
		return;
	}
	if (t == KERN_IQ4_XS) {
		__m512i low = load(head, s + 16), high = load_shorts(head, s);
		UNROLL for (int k = 0; k < 2; k++) {
			__m512i v = spread_bits(shift(low, -16 * k), 4),
			        up = spread_bits(shift(high, -8 * k), 2);
			v = _mm512_sub_epi8(_mm512_or_si512(v, shift(up, 4)), _mm512_set1_epi8(32));
			put_scales(t, out, k, quarter_of(v, true));
		}
		return;
	}
	UNROLL for (int k = 0; k < 4; k++) { /* sub-blocks 4k..4k+3 */
		__m512i v = load(head, s + (size_t)(t == KERN_Q3_K ? k % 2 : k) * 32);
		struct quarter q;
		if (t == KERN_Q2_K) {
			q = quarter_of(low_nibbles(v), false);
			put_minima(out, k, quarter_of(high_nibbles(v), false));
		} else if (t == KERN_Q3_K) {
			v = insert(k < 2 ? low_nibbles(v) : high_nibbles(v),
			        shift(load(head, s + 64), 4 - 2 * k), 0x30);
			q = quarter_of(_mm512_sub_epi8(v, _mm512_set1_epi8(32)), true);
		} else {
			q = quarter_of(v, true);
		}
		put_scales(t, out, k, q);
	}
}

#endif
