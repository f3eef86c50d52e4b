/* ref/ops: the operations of a layer other than products, in plain C.
 *
 * Owns: the definition of doc/numerics.md, "The rest of a layer", in code.  Every other ISA level must give the same bits, so
 * nothing here is optimised, and every order is that of the contract.
 * Pure; any thread. */
#include "kernels/ref/ref.h"

#include <errno.h>
#include <math.h>

#include "kernels/math.h"

#define NORM_STRIPES 32
#define EXP_STRIPES 8

float ref_tree(float *s, size_t n) {
	while (n > 1) {
		n /= 2;
		for (size_t i = 0; i < n; i++)
			s[i] = s[i] + s[i + n];
	}
	return s[0];
}

int ref_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
	float s[NORM_STRIPES] = {0.0f};
	for (size_t i = 0; i < n; i++)
		s[i % NORM_STRIPES] = fmaf(x[i], x[i], s[i % NORM_STRIPES]);
	float sum = ref_tree(s, NORM_STRIPES);
	if (!isfinite(sum))
		return -EDOM;
	float r = 1.0f / sqrtf(sum / (float)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (x[i] * r) * w[i];
	return 0;
}

static void ref_rotate(float *a, float *b, const float *cs) {
	float c = cs[0], s = cs[1], x0 = *a, x1 = *b;
	*a = fmaf(x0, c, -(x1 * s));
	*b = fmaf(x0, s, x1 * c);
}

void ref_rope_pairs(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size)
		for (size_t i = 0; i < pairs; i++)
			ref_rotate(x + 2 * i, x + 2 * i + 1, cs + 2 * i);
}

void ref_rope_halves(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size)
		for (size_t i = 0; i < pairs; i++)
			ref_rotate(x + i, x + pairs + i, cs + 2 * i);
}

/* g times the sigmoid of v, times u */
static float ref_gated(float g, float v, float u) {
	return (g * (1.0f / (1.0f + kern_exp(-v)))) * u;
}

void ref_swiglu(float *y, const float *gate, const float *up, size_t n) {
	for (size_t i = 0; i < n; i++)
		y[i] = ref_gated(gate[i], gate[i], up[i]);
}

void ref_geglu(float *y, const float *gate, const float *up, size_t n) {
	for (size_t i = 0; i < n; i++) {
		float g = gate[i];
		y[i] = ref_gated(g, g * fmaf(KERN_GELU_C1, g * g, KERN_GELU_C0), up[i]);
	}
}

/* Written so that a NaN stays one. */
void ref_swiglu_bounded(float *y, const float *gate, const float *up, size_t n) {
	const float most = KERN_GLU_BOUND;
	for (size_t i = 0; i < n; i++) {
		float g = gate[i] > most ? most : gate[i];
		float u = up[i] > most ? most : up[i] < -most ? -most : up[i];
		y[i] = ref_gated(g, KERN_GLU_SLOPE * g, u + 1.0f);
	}
}

void ref_add(float *y, const float *x, size_t n) {
	for (size_t i = 0; i < n; i++)
		y[i] = y[i] + x[i];
}

double ref_exp_sum(const float *x, size_t n, float max) {
	double s[EXP_STRIPES] = {0};
	for (size_t i = 0; i < n; i++)
		s[i % EXP_STRIPES] += (double)kern_exp(x[i] - max);
	for (size_t m = EXP_STRIPES / 2; m > 0; m /= 2)
		for (size_t i = 0; i < m; i++)
			s[i] = s[i] + s[i + m];
	return s[0];
}
