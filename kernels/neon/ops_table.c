/* The table of a NEON level; compiled once for each (neon.h). */
#include "kernels/neon/neon.h"
#include "kernels/neon/neon_ops.h"

#ifdef NEON_DOTPROD
#define TABLE kern_ops_dotprod
#define NAME "dotprod"
#else
#define TABLE kern_ops_neon
#define NAME "neon"
#endif

const struct kern_ops TABLE = {
        .name = NAME,
        .quantize =
                {
                        [KERN_FORM_F32] = neon_quantize_f32,
                        [KERN_FORM_Q8_32] = neon_quantize_q8_32,
                        [KERN_FORM_Q8_256] = neon_quantize_q8_256,
                },
        .mul =
                {
                        [KERN_F32] = neon_mul_f32,
                        [KERN_F16] = neon_mul_f16,
                        [KERN_BF16] = neon_mul_bf16,
                        [KERN_Q4_0] = NEON_LEVEL(mul_q4_0),
                        [KERN_Q4_1] = NEON_LEVEL(mul_q4_1),
                        [KERN_Q5_0] = NEON_LEVEL(mul_q5_0),
                        [KERN_Q5_1] = NEON_LEVEL(mul_q5_1),
                        [KERN_Q8_0] = NEON_LEVEL(mul_q8_0),
                        [KERN_IQ4_NL] = NEON_LEVEL(mul_iq4_nl),
                        [KERN_Q2_K] = NEON_LEVEL(mul_q2_k),
                        [KERN_Q3_K] = NEON_LEVEL(mul_q3_k),
                        [KERN_Q4_K] = NEON_LEVEL(mul_q4_k),
                        [KERN_Q5_K] = NEON_LEVEL(mul_q5_k),
                        [KERN_Q6_K] = NEON_LEVEL(mul_q6_k),
                },
        .rmsnorm = neon_rmsnorm,
        .rope = neon_rope,
        .swiglu = neon_swiglu,
        .add = neon_add,
        .kv =
                {
                        [KERN_KV_F16] = {neon_put_key_f16, neon_put_value_f16, neon_span_f16},
                        [KERN_KV_Q8_0] = {neon_put_key_q8_0, neon_put_value_q8_0, neon_span_q8_0},
                },
        .combine = neon_combine,
};
