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

/* Every type once, as X(TYPE, name) or, for types of blocks, X(TYPE, name, body, sub_block, offset, minima).
 *   name       the structure of a block (not of float types), used in the names of its kernels
 *   body       bytes of a block that are quants; the others, scales and minima, are its head (kernels/pack.h)
 *   sub_block  elements that share a scale
 *   offset     subtracted from the unsigned quants to get weights (of MXFP4: what kernels add); 0: none, or they are signed
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
#define KERN_BLOCKS_256(X) \
	X(Q2_K, q2_k, 64, 16, 0, true) \
	X(Q3_K, q3_k, 96, 16, 4, false) \
	X(Q4_K, q4_k, 128, 32, 0, true) \
	X(Q5_K, q5_k, 160, 32, 0, true) \
	X(Q6_K, q6_k, 192, 16, 32, false) \
	X(IQ4_XS, iq4_xs, 128, 32, 0, false)

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

/* The number of sub-blocks in a block. */
INLINE int kern_sub_blocks(enum kern_type type) {
	return (int)(kern_block_size(type) / kern_sub_block(type));
}

/* The non-linear steps of IQ4_NL and IQ4_XS, and the steps of MXFP4. */
extern const int8_t kern_iq4nl[16], kern_mxfp4[16];

#endif
