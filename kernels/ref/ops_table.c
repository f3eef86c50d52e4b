/* The table of the C reference. */
#include "kernels/ref/ref.h"

const struct kern_ops kern_ops_ref = KERN_OPS_TABLE("ref", REF_OP, REF_OP, REF_OP, REF_OP);
