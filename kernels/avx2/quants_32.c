/* The products of the types with blocks of 32. */
#include "kernels/avx2/quants_tmpl.h"

MUL(q4_0, KERN_Q4_0)
MUL(q4_1, KERN_Q4_1)
MUL(q5_0, KERN_Q5_0)
MUL(q5_1, KERN_Q5_1)
MUL(q8_0, KERN_Q8_0)
MUL(iq4_nl, KERN_IQ4_NL)
