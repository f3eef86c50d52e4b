/* The table of a NEON level; compiled once for each (neon.h). */
#include "kernels/formats.h"
#include "kernels/neon/neon.h"

#ifdef NEON_DOTPROD
#define TABLE kern_ops_dotprod
#define NAME "dotprod"
#else
#define TABLE kern_ops_neon
#define NAME "neon"
#endif

#define FLOATS(TYPE, name) [KERN_##TYPE] = KERN_ONE_WAY(NEON_OP(mul_##name)),
#define QUANTS(TYPE, name, ...) [KERN_##TYPE] = KERN_ONE_WAY(NEON_LEVEL(mul_##name)),
const struct kern_ops TABLE = KERN_OPS_TABLE(
        NAME, NEON_OP, NEON_OP, KERN_FLOATS(FLOATS) KERN_BLOCKS_32(QUANTS) KERN_BLOCKS_256(QUANTS));
