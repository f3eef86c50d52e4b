/* avx2: the rung for x86 processors with AVX2, FMA and F16C.  Private to the rung.
 *
 * A vector of eight 32-bit lanes is the eight rows of a strip; a lane of bytes is four neighbouring
 * elements of its row, an activation word of the same four is broadcast to all lanes. */
#ifndef KERNELS_AVX2_AVX2_H
#define KERNELS_AVX2_AVX2_H
#include "kernels/kernels.h"

extern const struct kern_ops kern_rung_avx2;

int avx2_quantize_f32(void *dst, const float *x, size_t n);
int avx2_quantize_q8_32(void *dst, const float *x, size_t n);
int avx2_quantize_q8_256(void *dst, const float *x, size_t n);

kern_mul_fn avx2_mul_f32, avx2_mul_f16, avx2_mul_bf16;
kern_mul_fn avx2_mul_q4_0, avx2_mul_q4_1, avx2_mul_q5_0, avx2_mul_q5_1, avx2_mul_q8_0, avx2_mul_iq4_nl;
kern_mul_fn avx2_mul_q2_k, avx2_mul_q3_k, avx2_mul_q4_k, avx2_mul_q5_k, avx2_mul_q6_k;

#endif
