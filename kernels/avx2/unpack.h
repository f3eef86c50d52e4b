/* unpack: packed blocks of a strip as words of bytes, scales and minima, for every type.
 *
 * Each function takes the type as a constant.  A word has the integer weights of four neighbouring elements per lane: unsigned,
 * with the offset of the type still in them, and with VNNI plus 128 for the types of eight bits (Q8_0, IQ4_NL, IQ4_XS and those with
 * codebooks), which are signed without VNNI.  The order of fields in head and body is that of kernels/pack.c. */
#ifndef KERNELS_AVX2_UNPACK_H
#define KERNELS_AVX2_UNPACK_H
#include "kernels/avx2/common.h"
#include "kernels/avx2/grid.h"
#include "kernels/formats.h"
#include "kernels/pack.h"

/* Types of eight bits: signed, or with VNNI unsigned with 128 added. */
INLINE bool is_eight(enum kern_type t) {
	return t == KERN_Q8_0 || t == KERN_IQ4_NL || t == KERN_IQ4_XS || kern_has_grid(t);
}
INLINE bool is_biased(enum kern_type t) {
#ifdef AVX2_VNNI
	return is_eight(t);
#else
	return false;
#endif
}
INLINE bool is_signed(enum kern_type t) {
	return is_eight(t) && !is_biased(t);
}

/* Whether the unsigned words of a type include an offset. */
INLINE bool has_offset(enum kern_type t) {
	return is_biased(t) || kern_offset(t) != 0;
}

INLINE __m256i low_nibbles(__m256i v) {
	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}
INLINE __m256i high_nibbles(__m256i v) {
	return low_nibbles(_mm256_srli_epi32(v, 4));
}

/* Bit `from` of every byte as bit `to`. */
INLINE __m256i move_bit(__m256i v, int from, int to) {
	v = from > to ? _mm256_srli_epi32(v, from - to) : _mm256_slli_epi32(v, to - from);
	return _mm256_and_si256(v, _mm256_set1_epi8((char)(1 << to)));
}

/* The fifth bits of word w of a block of 32: bits 4w..4w+3 of the lane, one to each byte. */
INLINE __m256i fifth_bits(__m256i qh, int w) {
	/* the byte with these bits in every byte, then one bit of it for each */
	__m256i spread8 = _mm256_shuffle_epi8(
	        qh, _mm256_setr_epi32(0x00000000 + w / 2 * 0x01010101, 0x04040404 + w / 2 * 0x01010101,
	                    0x08080808 + w / 2 * 0x01010101, 0x0c0c0c0c + w / 2 * 0x01010101,
	                    0x00000000 + w / 2 * 0x01010101, 0x04040404 + w / 2 * 0x01010101,
	                    0x08080808 + w / 2 * 0x01010101, 0x0c0c0c0c + w / 2 * 0x01010101));
	__m256i bit = _mm256_set1_epi32(w % 2 ? (int32_t)0x80402010 : 0x08040201);
	__m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread8, bit), bit);
	return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

/* The sixteen bytes of a table in both halves, plus `add`. */
INLINE __m256i table(const int8_t *bytes, int add) {
	return _mm256_add_epi8(
	        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes)),
	        _mm256_set1_epi8((char)add));
}

/* Nibbles of a type as the steps that they stand for. */
INLINE __m256i steps_of(enum kern_type t, __m256i nibbles) {
	if (t == KERN_MXFP4)
		return _mm256_shuffle_epi8(table(kern_mxfp4, kern_offset(t)), nibbles);
	return _mm256_shuffle_epi8(table(kern_iq4nl, is_biased(t) ? 128 : 0), nibbles);
}

/* Word w (0..7) of a block of 32. */
INLINE __m256i word_32(enum kern_type t, const uint8_t *body, int w) {
	if (t == KERN_Q8_0)
		return _mm256_xor_si256(load(body + w * 32), _mm256_set1_epi8(is_biased(t) ? -128 : 0));
	bool fifth = t == KERN_Q5_0 || t == KERN_Q5_1;
	const uint8_t *qs = fifth ? body + 32 : body;
	__m256i v = load(qs + w % 4 * 32);
	v = w < 4 ? low_nibbles(v) : high_nibbles(v);
	if (t == KERN_IQ4_NL || t == KERN_MXFP4)
		return steps_of(t, v);
	return fifth ? _mm256_or_si256(v, fifth_bits(load(body), w)) : v;
}

/* A block of 256 consists of parts whose words are in the same bytes: the number of words in a part. */
INLINE int part_words(enum kern_type t) {
	return kern_sub_blocks(t) == 8 ? 16 : 32;
}

/* Shifts every lane right by `by`, which need not be a constant. */
INLINE __m256i shift_down(__m256i v, int by) {
	return __builtin_constant_p(by) ? _mm256_srli_epi32(v, by)
	                                : _mm256_srl_epi32(v, _mm_cvtsi32_si128(by));
}

/* Word w of a part of a block of 256: its elements 4w..4w+3.  w is a constant, the part need not be. */
INLINE __m256i word_256(enum kern_type t, const uint8_t *body, int part, int w) {
	int j = w / 8, l = w % 8; /* element 32 j + 4 l */
	const __m256i two = _mm256_set1_epi8(3);
	__m256i v;
	switch (t) {
	case KERN_Q2_K:
	case KERN_TQ2_0:
		return _mm256_and_si256(_mm256_srli_epi32(load(body + (part * 8 + l) * 32), 2 * j), two);
	case KERN_Q3_K:
		v = _mm256_and_si256(
		        _mm256_srli_epi32(
		                load(body + (int)kern_lower_unit((size_t)(part * 8 + l)) * 32), 2 * j),
		        two);
		return _mm256_or_si256(v, move_bit(shift_down(load(body + 2 * l * 32), 4 * part), j, 2));
	case KERN_Q4_K:
		v = load(body + (part * 8 + l) * 32);
		return j ? high_nibbles(v) : low_nibbles(v);
	case KERN_Q5_K:
		v = load(body + (int)kern_lower_unit((size_t)(part * 8 + l)) * 32);
		v = j ? high_nibbles(v) : low_nibbles(v);
		return _mm256_or_si256(v, move_bit(shift_down(load(body + 2 * l * 32), 2 * part), j, 4));
	case KERN_IQ4_XS:
		v = load(body + (part * 8 + j * 4 + l % 4) * 32);
		return steps_of(t, l / 4 ? high_nibbles(v) : low_nibbles(v));
	default: { /* KERN_Q6_K: moves upper bits 2j, 2j+1 to 4, 5 */
		v = load(body + (part * 24 + l * 3 + j % 2) * 32);
		v = j / 2 ? high_nibbles(v) : low_nibbles(v);
		__m256i high = load(body + (part * 24 + l * 3 + 2) * 32);
		high = j < 2 ? _mm256_slli_epi32(high, 4 - 2 * j) : _mm256_srli_epi32(high, 2 * j - 4);
		return _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
	}
	}
}

/* A unit of TQ1_0, plus 128: fractions of which the next digits are multiplied out.  A digit is 1 from 86/256 on, and 2 from 171/256. */
INLINE __m256i ternary_unit(const uint8_t *body, int u) {
	return _mm256_xor_si256(load(body + u * 32), _mm256_set1_epi8(-128));
}
INLINE __m256i ternary_digit(__m256i v) {
	__m256i none = _mm256_cmpgt_epi8(_mm256_set1_epi8(86 - 128), v),
	        two = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(170 - 128));
	return _mm256_sub_epi8(_mm256_add_epi8(none, _mm256_set1_epi8(1)), two);
}
INLINE __m256i ternary_next(__m256i v) {
	return _mm256_add_epi8(_mm256_add_epi8(v, v), v);
}

#ifdef AVX2_VNNI
/* Elements whose products are summed before the scale is applied; for weights of at most four bits, a sum of
 * 16 fits int16, and is_narrow says for which types it is scaled in this form. */
INLINE int group(enum kern_type t) {
	return t == KERN_Q5_K || kern_is_ternary(t) || (is_biased(t) && kern_sub_blocks(t) == 8) ? 32 : 16;
}
INLINE bool is_narrow(enum kern_type t) {
	return t == KERN_Q2_K || t == KERN_Q3_K || t == KERN_Q4_K;
}
#else
/* Elements whose products are summed in int16 before widening: no sum of that many exceeds int16, because of
 * the repair for types with an offset, and because of its size otherwise. */
INLINE int group(enum kern_type t) {
	switch (t) {
	case KERN_Q5_1:
	case KERN_Q2_K:
	case KERN_Q3_K:
	case KERN_Q5_K:
	case KERN_Q6_K:
	case KERN_IQ2_XS:
	case KERN_IQ2_S:
	case KERN_IQ1_M:
		return 16;
	default:
		return 32;
	}
}
#endif

/* The contents of the head of a block of 256. */
struct scales {
	__m256i sc[16]; /* a sub-block's scale, in the form of scale() */
	__m256i mn[8];  /* two sub-blocks' minima as int16 */
	__m256 d, dmin;
};

/* Byte i of each lane, zero-extended: a scale.  With VNNI as an int32, otherwise as an int16 in both
 * halves. */
INLINE __m256i scale(__m256i v, int i) {
#ifdef AVX2_VNNI
	return _mm256_and_si256(_mm256_srli_epi32(v, 8 * i), _mm256_set1_epi32(255));
#else
	__m256i at = _mm256_setr_epi32(
	        0, 0x00040004, 0x00080008, 0x000c000c, 0, 0x00040004, 0x00080008, 0x000c000c);
	at = _mm256_add_epi32(at, _mm256_set1_epi32((int32_t)0x80008000 + i * 0x00010001));
	return _mm256_shuffle_epi8(v, at);
#endif
}

/* Bytes i and i+1 of each lane, zero-extended, in one half each. */
INLINE __m256i pair(__m256i v, int i) {
	__m256i at = _mm256_setr_epi32(
	        0, 0x00040004, 0x00080008, 0x000c000c, 0, 0x00040004, 0x00080008, 0x000c000c);
	at = _mm256_add_epi32(at, _mm256_set1_epi32((int32_t)0x80018000 + i * 0x00010001));
	return _mm256_shuffle_epi8(v, at);
}

/* Half i (int16) of each lane, signed, in the form of scale(); for narrow types only the lower half is
 * used. */
INLINE __m256i signed_scale(enum kern_type t, __m256i v, int i) {
#ifdef AVX2_VNNI
	if (is_narrow(t))
		return i ? _mm256_srli_epi32(v, 16) : _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
	return _mm256_srai_epi32(i ? v : _mm256_slli_epi32(v, 16), 16);
#endif
	__m256i at = _mm256_setr_epi32(0x01000100, 0x05040504, 0x09080908, 0x0d0c0d0c, 0x01000100, 0x05040504,
	        0x09080908, 0x0d0c0d0c);
	return _mm256_shuffle_epi8(v, _mm256_add_epi32(at, _mm256_set1_epi32(i * 0x02020202)));
}

/* Unpacks four signed bytes per lane into four scales, `apart` from each other. */
INLINE void signed_scales(enum kern_type t, __m256i *sc, int apart, __m256i v) {
	__m256i odd = _mm256_srai_epi16(v, 8), even = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
	sc[0] = signed_scale(t, even, 0);
	sc[apart] = signed_scale(t, odd, 0);
	sc[2 * apart] = signed_scale(t, even, 1);
	sc[3 * apart] = signed_scale(t, odd, 1);
}

/* The scales of IQ4_XS, plus 32: s has the upper bits and then the lower ones of eight rows.  Bytes 0 and 2 of `upper` have the upper
 * bits of an even scale in bits 0, 1 and of an odd one in bits 2, 3; bytes 1 and 3 have them in bits 4, 5 and 6, 7. */
INLINE void read_scales_iq4_xs(const uint8_t *s, __m256i *even, __m256i *odd) {
	const __m256i first = _mm256_set1_epi32(0x00300030), second = _mm256_set1_epi32(0x30003000);
	__m256i low = load(s + 16), upper = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)s));
	upper = _mm256_shuffle_epi8(upper,
	        _mm256_broadcastsi128_si256(_mm_setr_epi32(0x01010000, 0x05050404, 0x09090808, 0x0d0d0c0c)));
	*even = _mm256_or_si256(
	        _mm256_and_si256(_mm256_slli_epi32(upper, 4), first), _mm256_and_si256(upper, second));
	*odd = _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi32(upper, 2), first),
	        _mm256_and_si256(_mm256_srli_epi32(upper, 2), second));
	*even = _mm256_or_si256(*even, low_nibbles(low));
	*odd = _mm256_or_si256(*odd, high_nibbles(low));
}

/* The scales of a type with a codebook. */
INLINE void read_scales_grid(enum kern_type t, struct scales *out, const uint8_t *head) {
	const uint8_t *body = head + 8 * kern_head_bytes(t);
	int each = kern_sub_blocks(t) / 8;
	out->d = grid_d(t, head);
	UNROLL for (int i = 0; i < 8 * each; i++) {
		__m256i sc = grid_scale(t, head, body, i / each, i % each);
#ifndef AVX2_VNNI
		sc = _mm256_or_si256(sc, _mm256_slli_epi32(sc, 16));
#endif
		out->sc[i] = sc;
	}
}

INLINE void read_scales(enum kern_type t, struct scales *out, const uint8_t *head) {
	if (kern_has_grid(t)) {
		read_scales_grid(t, out, head);
		return;
	}
	bool minima = kern_has_minima(t);
	if (kern_is_ternary(t)) {
		out->d = load_halves(head);
		return;
	}
	const uint8_t *s = head + (minima ? 32 : 16);
	const __m256i six = _mm256_set1_epi8(63), top = _mm256_set1_epi8(0x30);
	out->d = load_halves(head);
	out->dmin = minima ? load_halves(head + 16) : _mm256_setzero_ps();
	if (t == KERN_Q2_K) {
		UNROLL for (int k = 0; k < 4; k++) {
			__m256i v = load(s + 32 * k), sc = low_nibbles(v), mn = high_nibbles(v);
			UNROLL for (int i = 0; i < 4; i++) out->sc[4 * k + i] = scale(sc, i);
			out->mn[2 * k] = pair(mn, 0);
			out->mn[2 * k + 1] = pair(mn, 2);
		}
	} else if (t == KERN_Q3_K) {
		__m256i upper = load(s + 64);
		UNROLL for (int k = 0; k < 4; k++) { /* sub-blocks 4k..4k+3 */
			__m256i v = load(s + 32 * (k % 2)), low = k < 2 ? low_nibbles(v) : high_nibbles(v);
			__m256i high = k < 2 ? _mm256_slli_epi32(upper, 4 - 2 * k)
			                     : _mm256_srli_epi32(upper, 2 * k - 4);
			v = _mm256_or_si256(low, _mm256_and_si256(high, top));
			signed_scales(t, out->sc + 4 * k, 1, _mm256_sub_epi8(v, _mm256_set1_epi8(32)));
		}
	} else if (t == KERN_IQ4_XS) {
		__m256i v[2];
		read_scales_iq4_xs(s, &v[0], &v[1]);
		UNROLL for (int k = 0; k < 2; k++)
		        signed_scales(t, out->sc + k, 2, _mm256_sub_epi8(v[k], _mm256_set1_epi8(32)));
	} else if (t == KERN_Q6_K) {
		UNROLL for (int k = 0; k < 4; k++) signed_scales(t, out->sc + 4 * k, 1, load(s + 32 * k));
	} else { /* Q4_K, Q5_K */
		__m256i a = load(s), b = load(s + 32), c = load(s + 64);
		__m256i sc[2] = {_mm256_and_si256(a, six),
		        _mm256_or_si256(low_nibbles(c), _mm256_and_si256(_mm256_srli_epi32(a, 2), top))};
		__m256i mn[2] = {_mm256_and_si256(b, six),
		        _mm256_or_si256(high_nibbles(c), _mm256_and_si256(_mm256_srli_epi32(b, 2), top))};
		UNROLL for (int k = 0; k < 2; k++) {
			UNROLL for (int i = 0; i < 4; i++) out->sc[4 * k + i] = scale(sc[k], i);
			out->mn[2 * k] = pair(mn[k], 0);
			out->mn[2 * k + 1] = pair(mn[k], 2);
		}
	}
}

#endif
