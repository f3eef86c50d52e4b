/* The table of an AVX2 level; compiled once for each (avx2.h). */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/avx2_ops.h"

#ifdef AVX_VNNI
#define TABLE kern_ops_avxvnni
#define NAME "avxvnni"
#else
#define TABLE kern_ops_avx2
#define NAME "avx2"
#endif

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
                        [KERN_F32] = avx2_mul_f32,
                        [KERN_F16] = avx2_mul_f16,
                        [KERN_BF16] = avx2_mul_bf16,
                        [KERN_Q4_0] = AVX2_LEVEL(mul_q4_0),
                        [KERN_Q4_1] = AVX2_LEVEL(mul_q4_1),
                        [KERN_Q5_0] = AVX2_LEVEL(mul_q5_0),
                        [KERN_Q5_1] = AVX2_LEVEL(mul_q5_1),
                        [KERN_Q8_0] = AVX2_LEVEL(mul_q8_0),
                        [KERN_IQ4_NL] = AVX2_LEVEL(mul_iq4_nl),
                        [KERN_Q2_K] = AVX2_LEVEL(mul_q2_k),
                        [KERN_Q3_K] = AVX2_LEVEL(mul_q3_k),
                        [KERN_Q4_K] = AVX2_LEVEL(mul_q4_k),
                        [KERN_Q5_K] = AVX2_LEVEL(mul_q5_k),
                        [KERN_Q6_K] = AVX2_LEVEL(mul_q6_k),
                },
        .rmsnorm = avx2_rmsnorm,
        .rope = avx2_rope,
        .swiglu = avx2_swiglu,
        .add = avx2_add,
        .kv =
                {
                        [KERN_KV_F16] = {avx2_put_key_f16, avx2_put_value_f16, avx2_span_f16},
                        [KERN_KV_Q8_0] = {avx2_put_key_q8_0, avx2_put_value_q8_0, avx2_span_q8_0},
                },
        .combine = avx2_combine,
};
