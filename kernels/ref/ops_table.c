/* The reference level's table. */
#include "kernels/ref/ref.h"
#include "kernels/ref/ref_ops.h"

const struct kern_ops kern_ops_ref = {
        .name = "ref",
        .quantize =
                {
                        [KERN_FORM_F32] = ref_quantize_f32,
                        [KERN_FORM_Q8_32] = ref_quantize_q8_32,
                        [KERN_FORM_Q8_256] = ref_quantize_q8_256,
                },
        .mul =
                {
                        [KERN_F32] = ref_mul_f32,
                        [KERN_F16] = ref_mul_f16,
                        [KERN_BF16] = ref_mul_bf16,
                        [KERN_Q4_0] = ref_mul_q4_0,
                        [KERN_Q4_1] = ref_mul_q4_1,
                        [KERN_Q5_0] = ref_mul_q5_0,
                        [KERN_Q5_1] = ref_mul_q5_1,
                        [KERN_Q8_0] = ref_mul_q8_0,
                        [KERN_IQ4_NL] = ref_mul_iq4_nl,
                        [KERN_Q2_K] = ref_mul_q2_k,
                        [KERN_Q3_K] = ref_mul_q3_k,
                        [KERN_Q4_K] = ref_mul_q4_k,
                        [KERN_Q5_K] = ref_mul_q5_k,
                        [KERN_Q6_K] = ref_mul_q6_k,
                },
        .rmsnorm = ref_rmsnorm,
        .rope = ref_rope,
        .swiglu = ref_swiglu,
        .add = ref_add,
        .kv =
                {
                        [KERN_KV_F16] = {ref_put_key_f16, ref_put_value_f16, ref_span_f16},
                        [KERN_KV_Q8_0] = {ref_put_key_q8_0, ref_put_value_q8_0, ref_span_q8_0},
                },
        .combine = ref_combine,
};
