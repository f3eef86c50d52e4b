/* The table of an AVX-512 level; compiled once for each (avx512.h).
 *
 * With few columns, memory is the bottleneck, and the avx2 products use it better: they read strip by strip, while a vector here
 * has rows of two strips.  The defaults, which are first, were measured on few processors (doc/performance-log.md). */
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"

#ifdef AVX512_VNNI
#define TABLE kern_ops_avx512vnni
#define NAME "avx512vnni"
#else
#define TABLE kern_ops_avx512
#define NAME "avx512"
#endif

/* Ways: this level's, and lists of it and the avx2 level's, with VNNI if this level has it, in either order. */
#define WIDE(name) \
	{ "512 bits", AVX512_LEVEL(mul_##name) }
#define WIDE_FLOATS(name) \
	{ "512 bits", AVX512_OP(mul_##name) }
#define WIDE_LOOKED_UP(name) \
	{"512 bits, loads", AVX512_LEVEL(name##_loads)}, { \
		"512 bits, gathers", AVX512_LEVEL(name##_gathers) \
	}
#define NARROW_FIRST(name, narrow, wide) KERN_WAYS(narrow(name), wide(name))
#define WIDE_FIRST(name, narrow, wide) KERN_WAYS(wide(name), narrow(name))

/* The same for 2, 4 and 8 columns, where up to so many are best on what narrow vectors do. */
#define FEW_1(...) WIDE_FIRST(__VA_ARGS__), WIDE_FIRST(__VA_ARGS__), WIDE_FIRST(__VA_ARGS__)
#define FEW_2(...) NARROW_FIRST(__VA_ARGS__), WIDE_FIRST(__VA_ARGS__), WIDE_FIRST(__VA_ARGS__)
#define FEW_4(...) NARROW_FIRST(__VA_ARGS__), NARROW_FIRST(__VA_ARGS__), WIDE_FIRST(__VA_ARGS__)
#define FEW_8(...) NARROW_FIRST(__VA_ARGS__), NARROW_FIRST(__VA_ARGS__), NARROW_FIRST(__VA_ARGS__)

/* A type of blocks: its ways for one column, for few, and how many of these narrow vectors are best for. */
#define QUANT(name, one, few, most) \
	{ NARROW_FIRST(name, one, WIDE), FEW_##most(name, few, WIDE), WIDE_FIRST(name, AVX2_TILES, WIDE) }
#define FLOATS(TYPE, name) \
	[KERN_##TYPE] = {NARROW_FIRST(name, AVX2_FLOATS, WIDE_FLOATS), \
	        FEW_1(name, AVX2_FLOATS, WIDE_FLOATS), WIDE_FIRST(name, AVX2_FLOATS, WIDE_FLOATS)},
#define GRID(TYPE, name, ...) \
	[KERN_##TYPE] = {NARROW_FIRST(name, AVX2_LOOKED_UP, WIDE_LOOKED_UP), \
	        FEW_8(name, AVX2_LOOKED_UP, WIDE_LOOKED_UP), \
	        WIDE_FIRST(name, AVX2_LOOKED_UP, WIDE_LOOKED_UP)},

const struct kern_ops TABLE = KERN_OPS_TABLE(NAME, AVX2_OP, AVX512_OP,
        KERN_FLOATS(FLOATS)[KERN_Q4_0] = QUANT(q4_0, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_Q4_1] = QUANT(q4_1, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_Q5_0] = QUANT(q5_0, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_Q5_1] = QUANT(q5_1, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_Q8_0] = QUANT(q8_0, AVX2_BESIDE, AVX2_FETCHED, 4),
        [KERN_IQ4_NL] = QUANT(iq4_nl, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_MXFP4] = QUANT(mxfp4, AVX2_BESIDE, AVX2_FETCHED, 2),
        [KERN_Q2_K] = QUANT(q2_k, AVX2_BESIDE, AVX2_FETCHED, 1),
        [KERN_Q3_K] = QUANT(q3_k, AVX2_BESIDE, AVX2_FETCHED, 1),
        [KERN_Q4_K] = QUANT(q4_k, AVX2_BESIDE, AVX2_FETCHED, 8),
        [KERN_Q5_K] = QUANT(q5_k, AVX2_BESIDE, AVX2_FETCHED, 8),
        [KERN_Q6_K] = QUANT(q6_k, AVX2_BESIDE, AVX2_FETCHED, 8),
        [KERN_IQ4_XS] = QUANT(iq4_xs, AVX2_BESIDE, AVX2_FETCHED, 8),
        [KERN_TQ1_0] = QUANT(tq1_0, AVX2_STRIPS, AVX2_TILES, 8),
        [KERN_TQ2_0] = QUANT(tq2_0, AVX2_BESIDE, AVX2_FETCHED, 1), KERN_BLOCKS_GRID(GRID));
