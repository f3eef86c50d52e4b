/* formats: the blocks of GGUF's weight types as in a file, little-endian, and the facts of each type.
 *
 * Written from the format.  F32, F16 and BF16 have no blocks: a row is its elements.  `d` and `m` are float16.  Where two elements
 * share a byte, the lower bits belong to the earlier element.  All structures have an alignment of at most 2 and no padding
 * (checked in traits.c). */
#ifndef KERNELS_FORMATS_H
#define KERNELS_FORMATS_H
#include "kernels/compiler.h"
#include "kernels/kernels.h"

/* 32 elements; element j and j + 16 are the low and high nibble of qs[j], minus 8. */
struct q4_0 {
	uint16_t d;
	uint8_t qs[16];
};

/* The same without an offset: value = d * u + m. */
struct q4_1 {
	uint16_t d, m;
	uint8_t qs[16];
};

/* A fifth bit for element j is bit j of qh (little-endian); minus 16. */
struct q5_0 {
	uint16_t d;
	uint8_t qh[4];
	uint8_t qs[16];
};

struct q5_1 {
	uint16_t d, m;
	uint8_t qh[4];
	uint8_t qs[16];
};

struct q8_0 {
	uint16_t d;
	int8_t qs[32];
};

/* Nibbles in the order of q4_0, each an index into kern_iq4nl. */
struct iq4_nl {
	uint16_t d;
	uint8_t qs[16];
};

/* One of OCP's microscaling formats: the scale is 2^(e - 128), e = 255 is not a number; nibbles in the order of q4_0, each an index
 * into kern_mxfp4, which has twice the values of E2M1. */
struct mxfp4 {
	uint8_t e;
	uint8_t qs[16];
};

/* The K types: 256 elements.
 *
 * q2_k: sub-block s (16 elements) has scale scales[s] & 15 and minimum scales[s] >> 4.
 * Element 128h + 32j + l (l < 32): bits 2j, 2j+1 of qs[32h + l]. */
struct q2_k {
	uint8_t scales[16];
	uint8_t qs[64];
	uint16_t d, dmin;
};

/* q3_k: low two bits as in q2_k; the third of element 128h + 32j + l is bit 4h + j of hmask[l], and a clear
 * bit subtracts 4.  Sixteen six-bit scales, offset 32: low nibbles of scales[0..7] are those of sub-blocks
 * 0..7, high nibbles of 8..15; the upper two bits of sub-block s are bits 2(s/4), 2(s/4)+1 of
 * scales[8 + s%4]. */
struct q3_k {
	uint8_t hmask[32];
	uint8_t qs[64];
	uint8_t scales[12];
	uint16_t d;
};

/* q4_k: element 64j + l is the low, 64j + 32 + l the high nibble of qs[32j + l].  Eight sub-blocks of 32
 * with six-bit scales and minima: of s < 4 the low six bits of scales[s] and scales[s + 4]; of s >= 4 the
 * low (scale) and high (minimum) nibble of scales[s + 4], upper two bits in the top of scales[s - 4] and
 * scales[s]. */
struct q4_k {
	uint16_t d, dmin;
	uint8_t scales[12];
	uint8_t qs[128];
};

/* q5_k: q4_k with a fifth bit: of sub-block s, element l, bit s of qh[l]. */
struct q5_k {
	uint16_t d, dmin;
	uint8_t scales[12];
	uint8_t qh[32];
	uint8_t qs[128];
};

/* q6_k: element 128h + 32j + l: low nibble (j < 2) or high nibble (j >= 2) of ql[64h + 32(j%2) + l], upper
 * bits 2j, 2j+1 of qh[32h + l]; minus 32.  Sixteen signed scales. */
struct q6_k {
	uint8_t ql[128];
	uint8_t qh[64];
	int8_t scales[16];
	uint16_t d;
};

/* 256 elements as eight blocks of iq4_nl, qs[16s..16s + 15] being those of sub-block s, with six-bit scales, offset 32: the low four
 * bits of that of s are the low (s even) or high nibble of scales_l[s / 2], its upper two are bits 2s, 2s+1 of scales_h. */
struct iq4_xs {
	uint16_t d, scales_h;
	uint8_t scales_l[4];
	uint8_t qs[128];
};

/* The types with codebooks take eight or four neighbouring elements at once: magnitudes, by an index into one of the codebooks of
 * kernels/grids.h.  256 elements, in sub-blocks of 32 or 16 with odd scales: 2 n + 1, n having four bits.  A set bit is a minus, the lowest
 * being that of the first element.  Where eight elements have seven bits, the number of minuses is even.
 *
 * iq2_xxs: sub-block s (32): qs[8s..8s + 3] are four indices; of the word that follows, little-endian, seven bits of signs for each of them,
 * and n on top. */
struct iq2_xxs {
	uint16_t d;
	uint8_t qs[64];
};

/* iq2_xs: nine bits of index and seven of signs; n of sub-block s (16) is nibble s of scales. */
struct iq2_xs {
	uint16_t d, qs[32];
	uint8_t scales[8];
};

/* iq2_s: index i has its upper two bits in bits 2i, 2i+1 of qh, seen as one number; scales as in iq2_xs. */
struct iq2_s {
	uint16_t d;
	uint8_t qs[32], signs[32], qh[8], scales[8];
};

/* iq3_xxs: an index has four elements; the words of signs, one a sub-block (32), are as in iq2_xxs. */
struct iq3_xxs {
	uint16_t d;
	uint8_t qs[64], signs[32];
};

/* iq3_s: bit i of qh, seen as one number, is the ninth of index i; n of sub-block s (32) is nibble s of scales. */
struct iq3_s {
	uint16_t d;
	uint8_t qs[64], qh[8], signs[32], scales[4];
};

/* The types of IQ1: eight weights of -1, 0 and 1 by an index of eleven bits, all plus or all minus (bit set) 1/8; n has three bits.
 *
 * iq1_s: of sub-block s (32), bits 3j..3j+2 of qh[s] are the upper ones of index 4s + j, bits 12 to 14 are n, and bit 15 the sign of 1/8. */
struct iq1_s {
	uint16_t d;
	uint8_t qs[32];
	uint16_t qh[8];
};

/* iq1_m: nibble i of qh has the upper three bits of index i, and the sign of its 1/8.  Of the four shorts of scales, little-endian, the top
 * nibbles together are the scale of the block, a float16, and bits 3i..3i+2 of short s are n of sub-block 4s + i (16). */
struct iq1_m {
	uint8_t qs[32], qh[16], scales[8];
};

/* The ternary types: 256 weights of -1, 0 and 1, of which a block has the digits 0, 1 and 2.
 *
 * tq1_0: a byte is five digits to the base of 3, as a fraction: digit n of byte b is the whole part of 3 f, where f is what is left of
 * 3^n b / 256 without its whole part.  Element 32n + l (n < 5, l < 32) is digit n of qs[l], 160 + 16n + l (l < 16) that of qs[32 + l],
 * and 240 + 4n + l (n < 4, l < 4) that of qh[l]. */
struct tq1_0 {
	uint8_t qs[48], qh[4];
	uint16_t d;
};

/* tq2_0: digits of two bits in the order of q2_k; a 3 is a weight of 2. */
struct tq2_0 {
	uint8_t qs[64];
	uint16_t d;
};

/* Every type once, as X(TYPE, name) or, for types of blocks, X(TYPE, name, body, sub_block, offset, minima).
 *   name       the structure of a block (not of float types), used in the names of its kernels
 *   body       bytes of a block that are quants; the others, scales and minima, are its head (kernels/pack.h)
 *   sub_block  elements that share a scale
 *   offset     subtracted from the unsigned quants to get weights (of MXFP4: what kernels add); 0: none, or they are signed, or
 *              ternary: the 1 of their digits is subtracted from sums of a whole block
 *   minima     whether the type has them */
#define KERN_FLOATS(X) X(F32, f32) X(F16, f16) X(BF16, bf16)
#define KERN_BLOCKS_32(X) \
	X(Q4_0, q4_0, 16, 32, 8, false) \
	X(Q4_1, q4_1, 16, 32, 0, true) \
	X(Q5_0, q5_0, 20, 32, 16, false) \
	X(Q5_1, q5_1, 20, 32, 0, true) \
	X(Q8_0, q8_0, 32, 32, 0, false) \
	X(IQ4_NL, iq4_nl, 16, 32, 0, false) \
	X(MXFP4, mxfp4, 16, 32, 16, false)
#define KERN_BLOCKS_K(X) \
	X(Q2_K, q2_k, 64, 16, 0, true) \
	X(Q3_K, q3_k, 96, 16, 4, false) \
	X(Q4_K, q4_k, 128, 32, 0, true) \
	X(Q5_K, q5_k, 160, 32, 0, true) \
	X(Q6_K, q6_k, 192, 16, 32, false) \
	X(IQ4_XS, iq4_xs, 128, 32, 0, false) \
	X(TQ1_0, tq1_0, 52, 256, 0, false) \
	X(TQ2_0, tq2_0, 64, 256, 0, false)
#define KERN_BLOCKS_GRID(X) \
	X(IQ2_XXS, iq2_xxs, 64, 32, 0, false) \
	X(IQ2_XS, iq2_xs, 64, 16, 0, false) \
	X(IQ2_S, iq2_s, 72, 16, 0, false) \
	X(IQ3_XXS, iq3_xxs, 96, 32, 0, false) \
	X(IQ3_S, iq3_s, 104, 32, 0, false) \
	X(IQ1_S, iq1_s, 48, 32, 0, false) \
	X(IQ1_M, iq1_m, 48, 16, 0, false)
#define KERN_BLOCKS_256(X) KERN_BLOCKS_K(X) KERN_BLOCKS_GRID(X)
#define KERN_ALL_TYPES(X) KERN_FLOATS(X) KERN_BLOCKS_32(X) KERN_BLOCKS_256(X)

/* The same facts of a type of blocks, constant when the type is; 0 for a float type. */
#define KERN_FACT(result, function, of_32, of_256) \
	INLINE result function(enum kern_type type) { \
		switch (type) { \
			KERN_BLOCKS_32(of_32) \
			KERN_BLOCKS_256(of_256) \
		default: \
			return 0; \
		} \
	}
#define KERN_FACT_32(TYPE, ...) \
	case KERN_##TYPE: \
		return 32;
#define KERN_FACT_256(TYPE, ...) \
	case KERN_##TYPE: \
		return 256;
#define KERN_FACT_BODY(TYPE, name, body, ...) \
	case KERN_##TYPE: \
		return body;
#define KERN_FACT_HEAD(TYPE, name, body, ...) \
	case KERN_##TYPE: \
		return sizeof(struct name) - (body);
#define KERN_FACT_SUB_BLOCK(TYPE, name, body, sub_block, ...) \
	case KERN_##TYPE: \
		return sub_block;
#define KERN_FACT_OFFSET(TYPE, name, body, sub_block, offset, minima) \
	case KERN_##TYPE: \
		return offset;
#define KERN_FACT_MINIMA(TYPE, name, body, sub_block, offset, minima) \
	case KERN_##TYPE: \
		return minima;

KERN_FACT(size_t, kern_block_size, KERN_FACT_32, KERN_FACT_256) /* elements */
KERN_FACT(size_t, kern_body_bytes, KERN_FACT_BODY, KERN_FACT_BODY)
KERN_FACT(size_t, kern_head_bytes, KERN_FACT_HEAD, KERN_FACT_HEAD)
KERN_FACT(size_t, kern_sub_block, KERN_FACT_SUB_BLOCK, KERN_FACT_SUB_BLOCK)
KERN_FACT(int, kern_offset, KERN_FACT_OFFSET, KERN_FACT_OFFSET)
KERN_FACT(bool, kern_has_minima, KERN_FACT_MINIMA, KERN_FACT_MINIMA)

/* Whether a type has a codebook. */
INLINE bool kern_has_grid(enum kern_type type) {
	switch (type) {
	case KERN_IQ2_XXS:
	case KERN_IQ2_XS:
	case KERN_IQ2_S:
	case KERN_IQ3_XXS:
	case KERN_IQ3_S:
	case KERN_IQ1_S:
	case KERN_IQ1_M:
		return true;
	default:
		return false;
	}
}

/* Whether the weights of a type are digits of three values, all with the scale of their block. */
INLINE bool kern_is_ternary(enum kern_type type) {
	return type == KERN_TQ1_0 || type == KERN_TQ2_0;
}

/* Words of four elements of TQ1_0: the one that digit n of unit u (four bytes of a row) is part of, and the digits of a unit. */
INLINE int kern_tq1_0_word(int u, int n) {
	return u < 8 ? 8 * n + u : u < 12 ? 32 + 4 * n + u : 60 + n;
}
INLINE int kern_tq1_0_digits(int u) {
	return u < 12 ? 5 : 4;
}

/* The number of sub-blocks in a block. */
INLINE int kern_sub_blocks(enum kern_type type) {
	return (int)(kern_block_size(type) / kern_sub_block(type));
}

/* The non-linear steps of IQ4_NL and IQ4_XS, and the steps of MXFP4. */
extern const int8_t kern_iq4nl[16], kern_mxfp4[16];

#endif
