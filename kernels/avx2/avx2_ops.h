/* avx2_ops: the operations of a layer with AVX2, FMA and F16C, for the level table (kernels/avx2/ops_table.c).
 * Each equals its namesake in kernels/ref/ref_ops.h to the last bit. */
#ifndef KERNELS_AVX2_OPS_H
#define KERNELS_AVX2_OPS_H
#include <immintrin.h>

#include "kernels/kernels.h"

int avx2_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);
void avx2_rope(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs);
void avx2_swiglu(float *y, const float *gate, const float *up, size_t n);
void avx2_add(float *y, const float *x, size_t n);
void avx2_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size);
void avx2_put_value_f16(void *values, size_t slot, const float *v, size_t head_size);
void avx2_span_f16(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void avx2_put_key_q8_0(void *keys, size_t slot, const float *k, size_t head_size);
void avx2_put_value_q8_0(void *values, size_t slot, const float *v, size_t head_size);
void avx2_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void avx2_combine(float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size);

#endif
