/* The table of a NEON level; compiled once for each (neon.h). */
#include "kernels/neon/neon.h"

#ifdef NEON_DOTPROD
#define TABLE kern_ops_dotprod
#define NAME "dotprod"
#else
#define TABLE kern_ops_neon
#define NAME "neon"
#endif

const struct kern_ops TABLE = KERN_OPS_TABLE(NAME, NEON_OP, NEON_OP, NEON_OP, NEON_LEVEL);
