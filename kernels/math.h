/* math: the elementary functions in the path of a result, the same on every machine (doc/numerics.md).
 * Pure; any thread. */
#ifndef KERNELS_MATH_H
#define KERNELS_MATH_H

float kern_exp(float x);
void kern_sincos(double x, double *sin, double *cos);
double kern_log(double x);
double kern_pow(double base, double exponent); /* base > 0 */

#endif
