/* neon_ops: the operations of a layer with NEON, for the tables of both levels (kernels/neon/ops_table.c).
 * Each equals its namesake in kernels/ref/ref_ops.h to the last bit. */
#ifndef KERNELS_NEON_OPS_H
#define KERNELS_NEON_OPS_H
#include "kernels/kernels.h"

int neon_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);
void neon_rope(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs);
void neon_swiglu(float *y, const float *gate, const float *up, size_t n);
void neon_add(float *y, const float *x, size_t n);
void neon_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size);
void neon_put_value_f16(void *values, size_t slot, const float *v, size_t head_size);
void neon_span_f16(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void neon_put_key_q8_0(void *keys, size_t slot, const float *k, size_t head_size);
void neon_put_value_q8_0(void *values, size_t slot, const float *v, size_t head_size);
void neon_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void neon_combine(float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size);

#endif
