/* math: the elementary functions that results depend on, the same on every machine (doc/numerics.md).
 *
 * Those of the C library differ between versions and processors.  These use only IEEE operations in a fixed order, so math.c
 * defines them to the bit.  The polynomials are minimax fits (Remez) with rounded coefficients.  Pure; any thread. */
#ifndef KERNELS_MATH_H
#define KERNELS_MATH_H

/* kern_exp, for ISA levels that vectorise it: the clamps, the reduction and the polynomial, c6 first in Horner. */
#define KERN_EXP_MAX 88.72283f  /* above: infinity */
#define KERN_EXP_MIN -87.33654f /* below: +0, so that no result is subnormal */
#define KERN_EXP_LOG2E 0x1.715476p+0f
#define KERN_EXP_LN2_HI 0x1.62e4p-1f
#define KERN_EXP_LN2_LO 0x1.7f7d1cp-20f
#define KERN_EXP_C6 0x1.6a242ep-10f
#define KERN_EXP_C5 0x1.1239e2p-7f
#define KERN_EXP_C4 0x1.5558f2p-5f
#define KERN_EXP_C3 0x1.555492p-3f
#define KERN_EXP_C2 0x1.fffffcp-2f
#define KERN_EXP_C1 1.0f
#define KERN_EXP_C0 1.0f

/* GELU's approximation by tanh is x * sigma(x * (C0 + C1 * x^2)): 2 * sqrt(2 / pi), and that times 0.044715. */
#define KERN_GELU_C0 0x1.988454p+0f
#define KERN_GELU_C1 0x1.2444f2p-4f
/* gpt-oss: the steepness of the sigmoid, and the bound of what goes into a gated unit. */
#define KERN_GLU_SLOPE 1.702f
#define KERN_GLU_BOUND 7.0f

/* e^x, within 1.1 units in the last place where the result is neither +0 nor infinity by the clamps. */
float kern_exp(float x);

/* Within 1 unit in the last place for |x| <= 2^32, NaN beyond. */
void kern_sincos(double x, double *sin, double *cos);

/* The natural logarithm, within 1 unit in the last place; -inf at 0, NaN below. */
double kern_log(double x);

/* log(1 + e^x), within 2 units in the last place, and 2^-52 more. */
float kern_softplus(float x);

/* base^exponent, within 1 unit in the last place (of the smallest normal number where it is subnormal);
 * NaN unless base is positive and both are finite. */
double kern_pow(double base, double exponent);

#endif
