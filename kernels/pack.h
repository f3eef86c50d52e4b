/* pack: the packed layout of weights, one for every rung.
 *
 * A strip is KERN_STRIP rows.  The fields of a canonical block are cut into units of 2 or 4 bytes, and the
 * units of the eight rows stand side by side: a float16 scale becomes eight halves, a word of four quants
 * eight words, so that a 32-bit lane of a vector is a row with four neighbouring elements.  First come the
 * heads of all blocks of the strip (scales, minima, sub-block scales), then the bodies of all (quants), so
 * that bodies lie on whole vectors whatever the size of a scale.  No byte is added or lost: the packed
 * strip is as long as its eight canonical rows.
 *
 *   strip = head[0] .. head[k-1] body[0] .. body[k-1]          k = n / block
 *   part of a block = its fields in the order of the table, each units x 8 rows
 *
 * This file is the table, which the kernels know by heart, and what the reference needs of it. */
#ifndef KERNELS_PACK_H
#define KERNELS_PACK_H
#include "kernels/kernels.h"

enum { KERN_FIELDS = 5 };

struct kern_field {
	uint8_t offset; /* in the canonical block */
	uint8_t length; /* bytes, a multiple of unit; 0 ends the table */
	uint8_t unit;   /* 2 or 4 */
	uint8_t body;   /* 0: in the head */
};

struct kern_layout {
	struct kern_field field[KERN_FIELDS]; /* heads before bodies */
};

/* The layout of a type that kern_traits knows. */
const struct kern_layout *kern_layout(enum kern_type type);

/* Bytes that a block of one row has in the head. */
size_t kern_head_bytes(enum kern_type type);

/* Gathers the canonical block b of row r (< KERN_STRIP) out of a strip of rows of n elements. */
void kern_strip_block(enum kern_type type, void *dst, const void *strip, size_t n, size_t r, size_t b);

#endif
