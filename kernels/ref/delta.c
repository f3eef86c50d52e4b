/* ref/delta: the operations of gated delta nets in plain C: the definition of doc/numerics.md, "Gated delta nets".
 * Pure; any thread. */
#include "kernels/ref/ref.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/math.h"

#define L2_STRIPES 32

static float ref_sigmoid(float x) {
	return 1.0f / (1.0f + kern_exp(-x));
}

void ref_gate(float *y, const float *x, const float *gate, size_t n) {
	for (size_t i = 0; i < n; i++)
		y[i] = x[i] * ref_sigmoid(gate[i]);
}

int ref_l2norm(float *y, const float *x, size_t n, float scale) {
	float s[L2_STRIPES] = {0.0f};
	for (size_t i = 0; i < n; i++)
		s[i % L2_STRIPES] = fmaf(x[i], x[i], s[i % L2_STRIPES]);
	float sum = ref_tree(s, L2_STRIPES);
	if (!isfinite(sum))
		return -EDOM;
	float r = scale / sqrtf(sum + KERN_L2_EPS);
	for (size_t i = 0; i < n; i++)
		y[i] = x[i] * r;
	return 0;
}

void ref_conv(float *y, const float *const *x, const float *const *w, size_t n) {
	for (size_t i = 0; i < n; i++) {
		float a = 0.0f;
		for (size_t t = 0; t < KERN_CONV; t++)
			a = fmaf(w[t][i], x[t][i], a);
		y[i] = a * ref_sigmoid(a);
	}
}

/* One row, one panel. */
static void ref_delta_row(float *to, const float *from, const float *q, const float *k, const float *v,
        float *o, const float *rate, size_t n) {
	float m[KERN_PANEL] = {0.0f}, d[KERN_PANEL];
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < KERN_PANEL; j++)
			m[j] = fmaf(from[i * KERN_PANEL + j], k[i], m[j]);
	for (size_t j = 0; j < KERN_PANEL; j++) {
		d[j] = (v[j] - rate[0] * m[j]) * rate[1];
		o[j] = 0.0f;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < KERN_PANEL; j++) {
			float s = fmaf(k[i], d[j], rate[0] * from[i * KERN_PANEL + j]);
			to[i * KERN_PANEL + j] = s;
			o[j] = fmaf(s, q[i], o[j]);
		}
}

void ref_delta(float *to, const float *from, const struct kern_delta *d, size_t n, size_t panels) {
	size_t size = n * KERN_PANEL;
	if (!from)
		memset(to, 0, panels * size * sizeof *to);
	for (size_t p = 0; p < panels; p++)
		for (size_t r = 0; r < d->rows; r++)
			ref_delta_row(to + p * size, (r || !from ? to : from) + p * size,
			        d->q + r * d->stride, d->k + r * d->stride,
			        d->v + r * d->stride + p * KERN_PANEL,
			        d->o + r * d->o_stride + p * KERN_PANEL, d->rate + r * d->rate_stride, n);
}
