/* The table of a NEON level; compiled once for each (neon.h). */
#include "kernels/formats.h"
#include "kernels/neon/neon.h"

#if defined NEON_I8MM
#define TABLE kern_ops_i8mm
#define NAME "i8mm"
#elif defined NEON_DOTPROD
#define TABLE kern_ops_dotprod
#define NAME "dotprod"
#else
#define TABLE kern_ops_neon
#define NAME "neon"
#endif

#define FLOATS(TYPE, name) [KERN_##TYPE] = KERN_ONE_WAY(NEON_OP(mul_##name)),
#ifdef NEON_I8MM
#define MORE(name) KERN_WAYS({"default", NEON_LEVEL(mul_##name)})
#define QUANTS(TYPE, name, ...) \
	[KERN_##TYPE] = {KERN_WAYS({"default", NEON_DOTPROD_OP(mul_##name)}), MORE(name), MORE(name), \
	        MORE(name), MORE(name)},
#else
#define QUANTS(TYPE, name, ...) [KERN_##TYPE] = KERN_ONE_WAY(NEON_LEVEL(mul_##name)),
#endif
const struct kern_ops TABLE = KERN_OPS_TABLE(
        NAME, NEON_OP, NEON_OP, KERN_FLOATS(FLOATS) KERN_BLOCKS_32(QUANTS) KERN_BLOCKS_256(QUANTS));
