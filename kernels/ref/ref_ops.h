/* ref_ops: the C reference of the operations of a layer, for the level table (kernels/ref/ops_table.c).
 * What each does is said in struct kern_ops; doc/numerics.md defines it to the bit. */
#ifndef KERNELS_REF_OPS_H
#define KERNELS_REF_OPS_H
#include "kernels/kernels.h"

/* Folds the upper half onto the lower until one is left; n is a power of two. */
float ref_tree(float *s, size_t n);

int ref_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);
void ref_rope(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs);
void ref_swiglu(float *y, const float *gate, const float *up, size_t n);
void ref_add(float *y, const float *x, size_t n);
void ref_put_key_f16(void *keys, size_t slot, const float *k, size_t head_size);
void ref_put_value_f16(void *values, size_t slot, const float *v, size_t head_size);
void ref_span_f16(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void ref_put_key_q8_0(void *keys, size_t slot, const float *k, size_t head_size);
void ref_put_value_q8_0(void *values, size_t slot, const float *v, size_t head_size);
void ref_span_q8_0(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, void *scratch);
void ref_combine(float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size);

#endif
