/* The table of an AVX-512 level; compiled once for each (avx512.h).
 *
 * With few columns, memory is the bottleneck, and the avx2 products use it better: they read strip by strip, while a vector here
 * has rows of two strips.  The numbers of columns were measured (doc/performance.md). */
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/compiler.h"

#ifdef AVX512_VNNI
#define TABLE kern_ops_avx512vnni
#define NAME "avx512vnni"
#else
#define TABLE kern_ops_avx512
#define NAME "avx512"
#endif

/* Up to `most` columns by the avx2 level, with VNNI if this level has it, more by this one: the same bits either way. */
INLINE void few_or_many(kern_mul_fn *few, size_t most, kern_mul_fn *many, float *y, size_t ldy, const void *w,
        size_t rows, size_t n, const void *x, size_t xstride, size_t cols) {
	(cols <= most ? few : many)(y, ldy, w, rows, n, x, xstride, cols);
}

#define FLOAT(name, most) \
	static KERN_DEFINE_MUL(few_##name, few_or_many, AVX2_OP(name), most, AVX512_OP(name))
#define QUANT(name, most) \
	static KERN_DEFINE_MUL(few_##name, few_or_many, AVX2_LEVEL(name), most, AVX512_LEVEL(name))

FLOAT(mul_f32, 1)
FLOAT(mul_f16, 1)
FLOAT(mul_bf16, 1)
QUANT(mul_q4_0, 2)
QUANT(mul_q4_1, 2)
QUANT(mul_q5_0, 2)
QUANT(mul_q5_1, 2)
QUANT(mul_q8_0, 4)
QUANT(mul_iq4_nl, 2)
QUANT(mul_mxfp4, 2)
QUANT(mul_q2_k, 1)
QUANT(mul_q3_k, 1)
QUANT(mul_q4_k, 8)
QUANT(mul_q5_k, 8)
QUANT(mul_q6_k, 8)
QUANT(mul_iq4_xs, 8)
QUANT(mul_iq2_xxs, 8)
QUANT(mul_iq2_xs, 8)
QUANT(mul_iq2_s, 8)
QUANT(mul_iq3_xxs, 8)
QUANT(mul_iq3_s, 8)
QUANT(mul_iq1_s, 8)
QUANT(mul_iq1_m, 8)
QUANT(mul_tq1_0, 8)
QUANT(mul_tq2_0, 1)

#define FEW_OP(name) few_##name
const struct kern_ops TABLE = KERN_OPS_TABLE(NAME, AVX2_OP, AVX512_OP, FEW_OP, FEW_OP);
