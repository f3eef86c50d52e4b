/* ref/ops: the operations of a layer other than products, in plain C.
 *
 * Owns: the definition of doc/numerics.md, "The rest of a layer", in code.  Every other rung must give the
 * same bits, so nothing here is written for speed and every order is the contract's.
 * Pure; any thread. */
#include "kernels/ref/ref_ops.h"

#include <errno.h>
#include <math.h>

#include "kernels/math.h"

#define NORM_STRIPES 32
#define STRIPES 8 /* of a span's sum */

/* Folds the upper half onto the lower until one is left; n is a power of two. */
static float tree(float *s, size_t n) {
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
	float sum = tree(s, NORM_STRIPES);
	if (!isfinite(sum))
		return -EDOM;
	float r = 1.0f / sqrtf(sum / (float)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (x[i] * r) * w[i];
	return 0;
}

void ref_rope(float *x, size_t heads, size_t head_size, const float *cs, size_t pairs) {
	for (size_t h = 0; h < heads; h++, x += head_size) {
		for (size_t i = 0; i < pairs; i++) {
			float c = cs[2 * i], s = cs[2 * i + 1];
			float x0 = x[2 * i], x1 = x[2 * i + 1];
			x[2 * i] = fmaf(x0, c, -(x1 * s));
			x[2 * i + 1] = fmaf(x0, s, x1 * c);
		}
	}
}

void ref_swiglu(float *y, const float *gate, const float *up, size_t n) {
	for (size_t i = 0; i < n; i++) {
		float g = gate[i];
		y[i] = (g * (1.0f / (1.0f + kern_exp(-g)))) * up[i];
	}
}

void ref_add(float *y, const float *x, size_t n) {
	for (size_t i = 0; i < n; i++)
		y[i] = y[i] + x[i];
}

void ref_put_key(uint16_t *keys, size_t slot, const float *k, size_t head_size) {
	for (size_t d = 0; d < head_size; d++)
		keys[kern_key_at(head_size, slot, d)] = kern_to_half_sat(k[d]);
}

void ref_put_value(uint16_t *values, size_t slot, const float *v, size_t head_size) {
	for (size_t d = 0; d < head_size; d++)
		values[kern_value_at(head_size, slot, d)] = kern_to_half_sat(v[d]);
}

static float key_at(const uint16_t *const *keys, size_t head_size, size_t p, size_t d) {
	return kern_from_half(keys[p / KERN_KV_BLOCK][kern_key_at(head_size, p % KERN_KV_BLOCK, d)]);
}

static float value_at(const uint16_t *const *values, size_t head_size, size_t p, size_t d) {
	return kern_from_half(values[p / KERN_KV_BLOCK][kern_value_at(head_size, p % KERN_KV_BLOCK, d)]);
}

static void span_one(const struct kern_query *q, const uint16_t *const *keys, const uint16_t *const *values,
        size_t head_size, float scale, float *z) {
	float m = -INFINITY;
	for (size_t p = 0; p < q->count; p++) {
		float a = 0.0f;
		for (size_t d = 0; d < head_size; d++)
			a = fmaf(q->q[d], key_at(keys, head_size, p, d), a);
		z[p] = scale * a;
		m = z[p] > m ? z[p] : m;
	}
	m = m + 0.0f; /* of two zeros it does not matter which came first: +0 */
	float s[STRIPES] = {0.0f};
	for (size_t p = 0; p < q->count; p++) {
		z[p] = kern_exp(z[p] - m);
		s[p % STRIPES] = s[p % STRIPES] + z[p];
	}
	for (size_t d = 0; d < head_size; d++) {
		float a = 0.0f;
		for (size_t p = 0; p < q->count; p++)
			a = fmaf(z[p], value_at(values, head_size, p, d), a);
		q->o[d] = a;
	}
	*q->m = m;
	*q->l = tree(s, STRIPES);
}

void ref_span(const struct kern_query *q, size_t nq, const uint16_t *const *keys,
        const uint16_t *const *values, size_t head_size, float scale, void *scratch) {
	for (size_t i = 0; i < nq; i++)
		span_one(&q[i], keys, values, head_size, scale, scratch);
}

void ref_combine(float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size) {
	float top = -INFINITY;
	for (size_t s = 0; s < spans; s++)
		top = m[s] > top ? m[s] : top;
	float total = 0.0f;
	for (size_t d = 0; d < head_size; d++)
		out[d] = 0.0f;
	for (size_t s = 0; s < spans; s++) {
		float c = kern_exp(m[s] - top);
		total = fmaf(c, l[s], total);
		for (size_t d = 0; d < head_size; d++)
			out[d] = fmaf(c, o[s * head_size + d], out[d]);
	}
	float r = 1.0f / total;
	for (size_t d = 0; d < head_size; d++)
		out[d] = out[d] * r;
}
