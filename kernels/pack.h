/* pack: the packed layout of weights, the same for every ISA level.
 *
 * A strip is KERN_STRIP rows.  The fields of a canonical block are cut into units of 1, 2 or 4 bytes, and the
 * units of the eight rows are placed side by side: a float16 scale becomes eight halves, a word of four
 * quants eight words, so that a 32-bit lane of a vector is a row with four neighbouring elements.  In a
 * strip, a block is its head (scales, minima, sub-block scales) and its body (quants), in the order in which
 * a product uses them, and the blocks follow each other: a product reads memory from start to end.  No byte
 * is added or lost: a packed strip is as long as its eight canonical rows.
 *
 *   strip = block[0] .. block[k-1]            k = n / block
 *   block = head, body
 *   head  = its fields in the order of the table, each units x 8 rows
 *   body  = the same, except for fields with the upper bits of other fields: see body_unit() for their place
 *
 * Types with codebooks have the bits of indices and signs in another order than a canonical block has: see pack_grid.h.
 *
 * This file has the table, and what the reference needs of it; the kernels of the other levels have the
 * layout in their code. */
#ifndef KERNELS_PACK_H
#define KERNELS_PACK_H
#include "kernels/kernels.h"

enum { KERN_FIELDS = 5 };

struct kern_field {
	uint8_t offset; /* in the canonical block */
	uint8_t length; /* bytes, a multiple of unit; 0 ends the table */
	uint8_t unit;   /* 1, 2 or 4 */
	uint8_t body;   /* 0: in the head */
	uint8_t half;   /* its units are float16 that have to be finite */
};

struct kern_layout {
	struct kern_field field[KERN_FIELDS]; /* heads before bodies */
};

/* The layout of a type that kern_traits knows. */
const struct kern_layout *kern_layout(enum kern_type type);

/* The position of unit i of the lower bits of Q3_K and Q5_K in the body: each of the first eight follows the
 * unit of upper bits that shares its elements; the others come after them. */
static inline size_t kern_lower_unit(size_t i) {
	return i < 8 ? 2 * i + 1 : 8 + i;
}

/* Gathers the canonical block b of row r (< KERN_STRIP) from a strip. */
void kern_strip_block(enum kern_type type, void *dst, const void *strip, size_t r, size_t b);

#endif
