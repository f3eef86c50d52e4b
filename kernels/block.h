/* block: a canonical block of a quantised type, unpacked into integers.
 *
 * Shared by the reference product and dequantisation, so that the order of nibbles and high bits is in one place.  Pure. */
#ifndef KERNELS_BLOCK_H
#define KERNELS_BLOCK_H
#include "kernels/kernels.h"

struct kern_block {
	float d;        /* the scale */
	float m;        /* Q4_1, Q5_1: the minimum; K types with minima: their scale */
	int16_t sc[16]; /* blocks of 256: scale of each sub-block, offset removed; 1 where they have none */
	int16_t mn[16]; /* K types with minima: of each sub-block */
	int8_t w[256];  /* the integer weights, signed or unsigned as the type defines them */
};

/* src: one block of a type that is not F32, F16 or BF16. */
void kern_block_read(enum kern_type type, struct kern_block *out, const void *src);

/* The same for the types with codebooks (block_iq.c), and the scale of a block of IQ1_M. */
void kern_block_read_iq(enum kern_type type, struct kern_block *out, const void *src);
uint16_t kern_iq1_m_scale(const uint8_t *scales);

#endif
