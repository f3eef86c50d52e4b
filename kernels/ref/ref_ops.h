/* ref_ops: the C reference of the operations of a layer, for the rung table (kernels/ref/rung.c).
 * What each does is said in struct kern_ops; doc/numerics.md defines it to the bit. */
#ifndef KERNELS_REF_OPS_H
#define KERNELS_REF_OPS_H
#include "kernels/kernels.h"

int ref_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps);
void ref_rope(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs);
void ref_swiglu(float *y, const float *gate, const float *up, size_t n);
void ref_add(float *y, const float *x, size_t n);
void ref_put_key(uint16_t *keys, size_t slot, const float *k, size_t head_size);
void ref_put_value(uint16_t *values, size_t slot, const float *v, size_t head_size);
void ref_span(const struct kern_query *q, size_t nq, const uint16_t *const *keys,
        const uint16_t *const *values, size_t head_size, float scale, void *scratch);
void ref_combine(float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size);

#endif
