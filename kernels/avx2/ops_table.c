/* The table of an AVX2 level; compiled once for each (avx2.h). */
#include "kernels/avx2/avx2.h"

#ifdef AVX_VNNI
#define TABLE kern_ops_avxvnni
#define NAME "avxvnni"
#else
#define TABLE kern_ops_avx2
#define NAME "avx2"
#endif

/* Ways for one column, for 2, 4 and 8, and for more. */
#define FLOATS(TYPE, name) [KERN_##TYPE] = SAME(AVX2_FLOATS(name)),
#define SAME(...) \
	{ \
		KERN_WAYS(__VA_ARGS__), KERN_WAYS(__VA_ARGS__), KERN_WAYS(__VA_ARGS__), \
		        KERN_WAYS(__VA_ARGS__), KERN_WAYS(__VA_ARGS__) \
	}
#define FETCHED(name, one) \
	{ \
		KERN_WAYS(one(name)), KERN_WAYS(AVX2_FETCHED(name)), KERN_WAYS(AVX2_FETCHED(name)), \
		        KERN_WAYS(AVX2_FETCHED(name)), KERN_WAYS(AVX2_TILES(name)) \
	}
#define UNPACKED(name) \
	{ \
		KERN_WAYS(AVX2_STRIPS(name)), KERN_WAYS(AVX2_TILES(name)), KERN_WAYS(AVX2_TILES(name)), \
		        KERN_WAYS(AVX2_TILES(name)), KERN_WAYS(AVX2_TILES(name)) \
	}
#define BESIDE(TYPE, name, ...) [KERN_##TYPE] = FETCHED(name, AVX2_BESIDE),
#define GRID(TYPE, name, ...) [KERN_##TYPE] = SAME(AVX2_LOOKED_UP(name)),

const struct kern_ops TABLE = KERN_OPS_TABLE(NAME, AVX2_OP, AVX2_OP,
        KERN_FLOATS(FLOATS) KERN_BLOCKS_32(BESIDE)[KERN_Q2_K] = FETCHED(q2_k, AVX2_BESIDE),
        [KERN_Q3_K] = FETCHED(q3_k, AVX2_BESIDE), [KERN_Q4_K] = FETCHED(q4_k, AVX2_BESIDE),
        [KERN_Q5_K] = FETCHED(q5_k, AVX2_BESIDE), [KERN_Q6_K] = FETCHED(q6_k, AVX2_BESIDE),
        [KERN_IQ4_XS] = FETCHED(iq4_xs, AVX2_BESIDE), [KERN_TQ1_0] = UNPACKED(tq1_0),
        [KERN_TQ2_0] = FETCHED(tq2_0, AVX2_BESIDE), KERN_BLOCKS_GRID(GRID));
