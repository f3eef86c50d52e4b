/* The table of an AVX-512 level; compiled once for each (avx512.h).
 * Few columns wait for memory, and the avx2 level waits better: it goes strip by strip, where a vector here has rows of two
 * strips.  How few these are was measured (doc/performance.md). */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/avx2_ops.h"
#include "kernels/avx512/avx512.h"

#ifdef AVX512_VNNI
#define TABLE kern_ops_avx512vnni
#define NAME "avx512vnni"
#else
#define TABLE kern_ops_avx512
#define NAME "avx512"
#endif

/* Up to `most` columns by `few`, with VNNI if this level has it, more by `many`: the same bits either way. */
#define FEW_AVX2(type, few, most, many) \
	static void type##_few_avx2(float *y, size_t ldy, const void *w, size_t rows, size_t n, \
	        const void *x, size_t xstride, size_t cols) { \
		(cols <= (most) ? few : many)(y, ldy, w, rows, n, x, xstride, cols); \
	}

FEW_AVX2(f32, avx2_mul_f32, 1, avx512_mul_f32)
FEW_AVX2(f16, avx2_mul_f16, 1, avx512_mul_f16)
FEW_AVX2(bf16, avx2_mul_bf16, 1, avx512_mul_bf16)
FEW_AVX2(q4_0, AVX2_LEVEL(mul_q4_0), 2, AVX512_LEVEL(mul_q4_0))
FEW_AVX2(q4_1, AVX2_LEVEL(mul_q4_1), 2, AVX512_LEVEL(mul_q4_1))
FEW_AVX2(q5_0, AVX2_LEVEL(mul_q5_0), 2, AVX512_LEVEL(mul_q5_0))
FEW_AVX2(q5_1, AVX2_LEVEL(mul_q5_1), 2, AVX512_LEVEL(mul_q5_1))
FEW_AVX2(q8_0, AVX2_LEVEL(mul_q8_0), 4, AVX512_LEVEL(mul_q8_0))
FEW_AVX2(iq4_nl, AVX2_LEVEL(mul_iq4_nl), 2, AVX512_LEVEL(mul_iq4_nl))
FEW_AVX2(q2_k, AVX2_LEVEL(mul_q2_k), 1, AVX512_LEVEL(mul_q2_k))
FEW_AVX2(q3_k, AVX2_LEVEL(mul_q3_k), 1, AVX512_LEVEL(mul_q3_k))
FEW_AVX2(q4_k, AVX2_LEVEL(mul_q4_k), 8, AVX512_LEVEL(mul_q4_k))
FEW_AVX2(q5_k, AVX2_LEVEL(mul_q5_k), 8, AVX512_LEVEL(mul_q5_k))
FEW_AVX2(q6_k, AVX2_LEVEL(mul_q6_k), 8, AVX512_LEVEL(mul_q6_k))

const struct kern_ops TABLE = {
        .name = NAME,
        .quantize =
                {
                        [KERN_FORM_F32] = avx2_quantize_f32,
                        [KERN_FORM_Q8_32] = avx2_quantize_q8_32,
                        [KERN_FORM_Q8_256] = avx2_quantize_q8_256,
                },
        .mul =
                {
                        [KERN_F32] = f32_few_avx2,
                        [KERN_F16] = f16_few_avx2,
                        [KERN_BF16] = bf16_few_avx2,
                        [KERN_Q4_0] = q4_0_few_avx2,
                        [KERN_Q4_1] = q4_1_few_avx2,
                        [KERN_Q5_0] = q5_0_few_avx2,
                        [KERN_Q5_1] = q5_1_few_avx2,
                        [KERN_Q8_0] = q8_0_few_avx2,
                        [KERN_IQ4_NL] = iq4_nl_few_avx2,
                        [KERN_Q2_K] = q2_k_few_avx2,
                        [KERN_Q3_K] = q3_k_few_avx2,
                        [KERN_Q4_K] = q4_k_few_avx2,
                        [KERN_Q5_K] = q5_k_few_avx2,
                        [KERN_Q6_K] = q6_k_few_avx2,
                },
        .rmsnorm = avx2_rmsnorm,
        .rope = avx2_rope,
        .swiglu = avx2_swiglu,
        .add = avx2_add,
        .kv =
                {
                        [KERN_KV_F16] = {avx2_put_key_f16, avx2_put_value_f16, avx512_span_f16},
                        [KERN_KV_Q8_0] = {avx2_put_key_q8_0, avx2_put_value_q8_0, avx512_span_q8_0},
                },
        .combine = avx2_combine,
};
