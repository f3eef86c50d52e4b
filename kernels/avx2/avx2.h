/* avx2: the ISA levels for x86 processors with AVX2, FMA and F16C.  Private to them.
 *
 * This folder has the sources of two levels: "avx2", and "avxvnni" for processors that multiply and add bytes in one step but
 * have no AVX-512.  quants_32.c, quants_256.c and ops_table.c are compiled once for each, with AVX_VNNI defined for the latter.
 * The two quants files are compiled a third time, with AVX512_VNNI, for the few columns of that level.  Everything else is shared.
 *
 * A vector of eight 32-bit lanes is the eight rows of a strip.  A lane of bytes is four neighbouring elements of its row; the
 * activation word of the same four elements is broadcast to all lanes. */
#ifndef KERNELS_AVX2_AVX2_H
#define KERNELS_AVX2_AVX2_H
#include "kernels/ops_decl.h"

#if defined AVX_VNNI
#define AVX2_VNNI
#define AVX2_LEVEL(name) avxvnni_##name
#elif defined AVX512_VNNI
#define AVX2_VNNI
#define AVX2_LEVEL(name) avx512vnni_few_##name
#else
#define AVX2_LEVEL(name) avx2_##name
#endif

extern const struct kern_ops kern_ops_avx2, kern_ops_avxvnni;

/* Whether this processor (Zen 1 to Zen 4) detects streams by itself, and works best with few prefetches: of
 * near data into the first-level cache, or none.  For others, data farther ahead is prefetched into the
 * second-level cache (doc/performance.md).  Set once, by kern_init. */
extern bool avx2_fetches_near;

/* Whether four strips side by side are read faster than one: on Intel's, whose detection of streams ends with each page of 4 KiB, so that
 * one stream of several always starts anew.  Set once, by kern_init. */
extern bool avx2_side_by_side;

#define AVX2_OP(name) avx2_##name
KERN_DECLARE_OPS(AVX2_OP);
KERN_DECLARE_SPANS(AVX2_OP);
KERN_DECLARE_FLOATS(AVX2_OP);
KERN_DECLARE_QUANTS(AVX2_LEVEL);

#endif
