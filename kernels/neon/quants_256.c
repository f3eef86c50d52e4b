/* The products of the K types, with blocks of 256. */
#include "kernels/neon/quants_tmpl.h"

MUL(q2_k, KERN_Q2_K)
MUL(q3_k, KERN_Q3_K)
MUL(q4_k, KERN_Q4_K)
MUL(q5_k, KERN_Q5_K)
MUL(q6_k, KERN_Q6_K)
