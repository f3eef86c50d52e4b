/* The table of an AVX2 level; compiled once for each (avx2.h). */
#include "kernels/avx2/avx2.h"

#ifdef AVX_VNNI
#define TABLE kern_ops_avxvnni
#define NAME "avxvnni"
#else
#define TABLE kern_ops_avx2
#define NAME "avx2"
#endif

const struct kern_ops TABLE = KERN_OPS_TABLE(NAME, AVX2_OP, AVX2_OP, AVX2_OP, AVX2_LEVEL);
