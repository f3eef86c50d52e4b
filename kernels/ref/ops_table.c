/* The table of the C reference. */
#include "kernels/formats.h"
#include "kernels/ref/ref.h"

#define WAYS(TYPE, name, ...) [KERN_##TYPE] = KERN_ONE_WAY(REF_OP(mul_##name)),
const struct kern_ops kern_ops_ref = KERN_OPS_TABLE("ref", REF_OP, REF_OP, KERN_ALL_TYPES(WAYS));
