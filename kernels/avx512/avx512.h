/* avx512: the levels for x86 processors with AVX-512 (F, BW, DQ, VL).  Private to them.
 *
 * Two levels come from the sources of this folder: "avx512", and "avx512vnni" for processors that multiply and
 * add bytes in one step.  quants_32.c, quants_256.c and ops_table.c are compiled once for each, with AVX512_VNNI
 * defined for the latter.  Attention is the same for both; what is neither is the avx2
 * level's: those processors have it too.
 *
 * A vector of sixteen 32-bit lanes is the rows of two strips side by side (a pair), half a vector from each:
 * the packed layout is that of every level.  Where there is no second strip the first stands in for it. */
#ifndef KERNELS_AVX512_AVX512_H
#define KERNELS_AVX512_AVX512_H
#include "kernels/ops_decl.h"

#ifdef AVX512_VNNI
#define AVX512_LEVEL(name) avx512vnni_##name
#else
#define AVX512_LEVEL(name) avx512_##name
#endif

extern const struct kern_ops kern_ops_avx512, kern_ops_avx512vnni;

#define AVX512_OP(name) avx512_##name
KERN_DECLARE_SPANS(AVX512_OP);
KERN_DECLARE_FLOATS(AVX512_OP);
KERN_DECLARE_QUANTS(AVX512_LEVEL);

#endif
