/* neon: the ISA levels for aarch64.  Private to them.
 *
 * This folder has the sources of three levels: "neon", which every aarch64 processor runs, "dotprod" for those with the
 * four-element dot product (ARMv8.2 and later), and "i8mm" for those that also multiply matrices of bytes.  quants_32.c,
 * quants_256.c and ops_table.c are compiled once for each, with NEON_DOTPROD defined for the latter two and NEON_I8MM for the
 * last; everything else is shared, and i8mm has products of one column from dotprod.
 *
 * Two vectors of four 32-bit lanes are the eight rows of a strip; a lane of bytes is four neighbouring
 * elements of its row.  A vector of activations has four words; the four words of a quad of weights (16
 * elements) are multiplied with one of them each, in all lanes. */
#ifndef KERNELS_NEON_NEON_H
#define KERNELS_NEON_NEON_H
#include "kernels/ops_decl.h"

#if defined NEON_I8MM
#define NEON_LEVEL(name) i8mm_##name
#elif defined NEON_DOTPROD
#define NEON_LEVEL(name) dotprod_##name
#else
#define NEON_LEVEL(name) neon_##name
#endif

extern const struct kern_ops kern_ops_neon, kern_ops_dotprod, kern_ops_i8mm;

#define NEON_OP(name) neon_##name
#define NEON_DOTPROD_OP(name) dotprod_##name
KERN_DECLARE_OPS(NEON_OP);
KERN_DECLARE_SPANS(NEON_OP);
KERN_DECLARE_FLOATS(NEON_OP);
KERN_DECLARE_QUANTS(NEON_LEVEL);
#ifdef NEON_I8MM
KERN_DECLARE_QUANTS(NEON_DOTPROD_OP);
#endif

#endif
