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
#include "kernels/formats.h"
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

/* Whether attention of few queries works best without prefetches: on Zen 1 to Zen 4, which detect streams by themselves.  Set
 * once, by kern_init. */
extern bool avx2_fetches_near;

#define AVX2_OP(name) avx2_##name
KERN_DECLARE_OPS(AVX2_OP);
KERN_DECLARE_SPANS(AVX2_OP);
KERN_DECLARE_FLOATS(AVX2_OP);

/* The ways of a type of blocks.  One column: strip by strip, with weights prefetched far ahead into the second-level cache, less
 * far into the first, or not at all; or four strips side by side, which is faster where the detection of streams ends with each
 * page of 4 KiB, so that one stream of several always starts anew (Intel's).  Few columns: the same prefetches.  Many: tiles.  A
 * function takes any number of columns. */
#define AVX2_DECLARE(TYPE, name, ...) \
	kern_mul_fn AVX2_LEVEL(name##_far), AVX2_LEVEL(name##_near), AVX2_LEVEL(name##_plain), \
	        AVX2_LEVEL(name##_beside);
/* Of those with codebooks: entries loaded one by one, or gathered. */
#define AVX2_DECLARE_GRID(TYPE, name, ...) kern_mul_fn AVX2_LEVEL(name##_loads), AVX2_LEVEL(name##_gathers);
KERN_BLOCKS_32(AVX2_DECLARE)
KERN_BLOCKS_K(AVX2_DECLARE)
KERN_BLOCKS_GRID(AVX2_DECLARE_GRID)

/* Lists of them for the tables (ops_decl.h), of this folder and of avx512. */
#define AVX2_FETCHED(name) \
	{"far prefetch", AVX2_LEVEL(name##_far)}, { \
		"near prefetch", AVX2_LEVEL(name##_near) \
	}
#define AVX2_STRIPS(name) \
	AVX2_FETCHED(name), { \
		"no prefetch", AVX2_LEVEL(name##_plain) \
	}
#define AVX2_BESIDE(name) \
	AVX2_STRIPS(name), { \
		"4 strips", AVX2_LEVEL(name##_beside) \
	}
#define AVX2_LOOKED_UP(name) \
	{"loads", AVX2_LEVEL(name##_loads)}, { \
		"gathers", AVX2_LEVEL(name##_gathers) \
	}
#define AVX2_TILES(name) \
	{ "256 bits", AVX2_LEVEL(name##_far) }
#define AVX2_FLOATS(name) \
	{ "256 bits", AVX2_OP(mul_##name) }

#endif
