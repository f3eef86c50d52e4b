/* avx512: the ISA levels for x86 processors with AVX-512 (F, BW, DQ, VL).  Private to them.
 *
 * This folder has the sources of two levels: "avx512", and "avx512vnni" for processors that multiply and add bytes in one step.
 * quants_32.c, quants_256.c and ops_table.c are compiled once for each, with AVX512_VNNI defined for the latter.  Attention and
 * the float products are shared; all other operations are those of avx2, which these processors have too.
 *
 * A vector of sixteen 32-bit lanes is the rows of two adjacent strips (a pair), half a vector from each: the packed layout is the
 * same for every level.  Where there is no second strip, the first one is used twice. */
#ifndef KERNELS_AVX512_AVX512_H
#define KERNELS_AVX512_AVX512_H
#include "kernels/formats.h"
#include "kernels/ops_decl.h"

#ifdef AVX512_VNNI
#define AVX512_LEVEL(name) avx512vnni_##name
#else
#define AVX512_LEVEL(name) avx512_##name
#endif

extern const struct kern_ops kern_ops_avx512, kern_ops_avx512vnni;

#define AVX512_OP(name) avx512_##name
KERN_DECLARE_SPANS(AVX512_OP);
kern_span_fn avx512_span_q8_0_vbmi; /* for processors that move bytes anywhere */
KERN_DECLARE_FLOATS(AVX512_OP);

/* The ways of a type of blocks (AVX2_DECLARE, kernels/avx2/avx2.h). */
#define AVX512_DECLARE(TYPE, name, ...) kern_mul_fn AVX512_LEVEL(mul_##name);
#define AVX512_DECLARE_GRID(TYPE, name, ...) \
	kern_mul_fn AVX512_LEVEL(name##_loads), AVX512_LEVEL(name##_gathers);
KERN_BLOCKS_32(AVX512_DECLARE)
KERN_BLOCKS_K(AVX512_DECLARE)
KERN_BLOCKS_GRID(AVX512_DECLARE_GRID)

#endif
