/* ref: the C reference: the contract of doc/numerics.md in code.  Built everywhere; every other ISA level equals it.
 * Private to this level. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H
#include "kernels/ops_decl.h"

extern const struct kern_ops kern_ops_ref;

/* Quants of a block of activations, or of a group of a KV cache; the scale in *d.  0, or -EDOM when a value
 * is not finite. */
int ref_quantize_block(float *d, int8_t *q, const float *x, size_t block);

/* Folds the upper half onto the lower until one is left; n is a power of two. */
float ref_tree(float *s, size_t n);

#define REF_OP(name) ref_##name
KERN_DECLARE_OPS(REF_OP);
KERN_DECLARE_SPANS(REF_OP);
KERN_DECLARE_FLOATS(REF_OP);
KERN_DECLARE_QUANTS(REF_OP);

#endif
