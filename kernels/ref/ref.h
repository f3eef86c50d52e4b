/* ref: the C reference, the contract of doc/numerics.md in code.  Built everywhere; every other level
 * equals it.  This header is private to the level. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H
#include "kernels/kernels.h"

extern const struct kern_ops kern_ops_ref;

/* Quants of a block of activations, or of a group of a KV cache: the scale in *d.  0, or -EDOM for what is not finite. */
int ref_quantize_block(float *d, int8_t *q, const float *x, size_t block);
int ref_quantize_f32(void *dst, const float *x, size_t n);
int ref_quantize_q8_32(void *dst, const float *x, size_t n);
int ref_quantize_q8_256(void *dst, const float *x, size_t n);

kern_mul_fn ref_mul_f32, ref_mul_f16, ref_mul_bf16;
kern_mul_fn ref_mul_q4_0, ref_mul_q4_1, ref_mul_q5_0, ref_mul_q5_1, ref_mul_q8_0, ref_mul_iq4_nl;
kern_mul_fn ref_mul_q2_k, ref_mul_q3_k, ref_mul_q4_k, ref_mul_q5_k, ref_mul_q6_k;

#endif
