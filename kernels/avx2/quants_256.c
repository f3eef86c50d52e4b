/* The products of the K types, with blocks of 256. */
#include "kernels/avx2/quants_tmpl.h"

KERN_BLOCKS_K(MUL)
KERN_BLOCKS_GRID(MUL_GRID)
