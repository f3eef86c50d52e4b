/* pack_grid: the order of bits in which strips have the indices and signs of types with codebooks.
 *
 * Indices: those that share four bytes in a file are one number in a strip, the first index lowest.  Its lower 32 bits are where a file has
 * their lower eight, the rest is where it has their upper ones, so that most indices are a shift and a mask.
 *
 * Signs: two neighbouring sub-blocks of 32 have eight groups of eight elements, and two words of signs.  Bit 8i + g of the first is the sign
 * of element i of group g, of the second that of element 4 + i: one shift brings those of four elements to the tops of their bytes.  Where a
 * file has only seven signs for eight elements, the byte of the eighth has a nibble for each of the two sub-blocks: n (IQ2_XXS, IQ3_XXS), or
 * the rest of the indices (IQ2_XS, which has the four indices of a sub-block and then its signs, as IQ2_XXS).
 *
 * IQ1_M: of the sixteen bits for a sub-block, those of the indices are the lower twelve.
 *
 * Owns: nothing.  Pure. */
#ifndef KERNELS_PACK_GRID_H
#define KERNELS_PACK_GRID_H
#include "kernels/kernels.h"

/* A block from the order of a file to that of a strip and back, in place; nothing for types without a codebook. */
void kern_grid_pack(enum kern_type type, uint8_t *block);
void kern_grid_unpack(enum kern_type type, uint8_t *block);

#endif
