/* neon: the ISA levels for aarch64.  Private to them.
 *
 * This folder has the sources of two levels: "neon", which every aarch64 processor runs, and "dotprod" for
 * those with the four-element dot product (ARMv8.2 and later).  quants_32.c, quants_256.c and ops_table.c are
 * compiled once for each, with NEON_DOTPROD defined for the latter; everything else is shared.
 *
 * Two vectors of four 32-bit lanes are the eight rows of a strip; a lane of bytes is four neighbouring
 * elements of its row.  A vector of activations has four words; the four words of a quad of weights (16
 * elements) are multiplied with one of them each, in all lanes. */
#ifndef KERNELS_NEON_NEON_H
#define KERNELS_NEON_NEON_H
#include "kernels/ops_decl.h"

#ifdef NEON_DOTPROD
#define NEON_LEVEL(name) dotprod_##name
#else
#define NEON_LEVEL(name) neon_##name
#endif

extern const struct kern_ops kern_ops_neon, kern_ops_dotprod;

#define NEON_OP(name) neon_##name
KERN_DECLARE_OPS(NEON_OP);
KERN_DECLARE_SPANS(NEON_OP);
KERN_DECLARE_FLOATS(NEON_OP);
KERN_DECLARE_QUANTS(NEON_LEVEL);

#endif
