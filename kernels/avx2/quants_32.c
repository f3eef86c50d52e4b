/* The products of the types with blocks of 32. */
#include "kernels/avx2/quants_tmpl.h"

KERN_BLOCKS_32(MUL)
