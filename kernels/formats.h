/* formats: the blocks of GGUF's weight types as they stand in a file, little-endian.
 *
 * Owns: nothing but these declarations, written from the format.  F32, F16 and BF16 have no blocks: a row is
 * its elements.  `d` and `m` are float16.  Where two elements share a byte the lower bits belong to the
 * earlier one.  All structures have alignment of at most 2 and no padding (checked in traits.c). */
#ifndef KERNELS_FORMATS_H
#define KERNELS_FORMATS_H
#include <stdint.h>

/* 32 elements; element j and j + 16 are the low and high nibble of qs[j], minus 8. */
struct q4_0 {
	uint16_t d;
	uint8_t qs[16];
};

/* The same, not offset: value = d * u + m. */
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

/* The non-linear steps of IQ4_NL. */
extern const int8_t kern_iq4nl[16];

#endif
