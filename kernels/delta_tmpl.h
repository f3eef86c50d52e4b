/* delta_tmpl: a gated delta net's state over rows, at the levels other than the reference (kernels/ref/delta.c).
 *
 * The including file defines
 *   LANES, PANELS  lanes of a vector; panels that are walked side by side, which stay in the first-level cache
 *   vec            a vector, and vec_zero, vec_load, vec_store, vec_set1, vec_sub, vec_mul, vec_fmadd(a, b, c) = a * b + c
 * A lane is a column of the state.  Each row of a step takes one pass over the state: it is updated, read out for this row, and
 * multiplied with the key of the next one.  The order of each sum is that of the reference.
 * Pure; any thread. */
#ifndef KERNELS_DELTA_TMPL_H
#define KERNELS_DELTA_TMPL_H
#include "kernels/compiler.h"
#include <string.h>

#define PANEL_VECS (KERN_PANEL / LANES)
#define MOST_VECS (PANELS * PANEL_VECS)

/* Vector x of row i of the state, from the first of its panels. */
INLINE size_t delta_at(size_t n, size_t i, size_t x) {
	return (x / PANEL_VECS * n + i) * KERN_PANEL + x % PANEL_VECS * LANES;
}

/* m = the state times a key. */
INLINE void delta_meet(vec *m, const float *state, const float *k, size_t n, const size_t vecs) {
	UNROLL for (size_t x = 0; x < vecs; x++) m[x] = vec_zero();
	for (size_t i = 0; i < n; i++) {
		vec key = vec_set1(k[i]);
		UNROLL for (size_t x = 0; x < vecs; x++) m[x] =
		        vec_fmadd(vec_load(state + delta_at(n, i, x)), key, m[x]);
	}
}

/* Updates the state by d and reads it out to o.  next: the key of the next row, whose product with the state goes to m; NULL:
 * there is none. */
INLINE void delta_pass(float *to, const float *from, const float *q, const float *k, const float *next,
        float decay, const vec *d, vec *o, vec *m, size_t n, const size_t vecs) {
	vec g = vec_set1(decay);
	UNROLL for (size_t x = 0; x < vecs; x++) o[x] = m[x] = vec_zero();
	for (size_t i = 0; i < n; i++) {
		vec key = vec_set1(k[i]), query = vec_set1(q[i]);
		UNROLL for (size_t x = 0; x < vecs; x++) {
			size_t at = delta_at(n, i, x);
			vec s = vec_fmadd(key, d[x], vec_mul(g, vec_load(from + at)));
			vec_store(to + at, s);
			o[x] = vec_fmadd(s, query, o[x]);
			if (next)
				m[x] = vec_fmadd(s, vec_set1(next[i]), m[x]);
		}
	}
}

/* All rows, for panels with `vecs` vectors. */
INLINE void delta_panels(
        float *to, const float *from, const struct kern_delta *a, size_t first, size_t n, const size_t vecs) {
	vec m[MOST_VECS], d[MOST_VECS], o[MOST_VECS];
	delta_meet(m, from, a->k, n, vecs);
	for (size_t r = 0; r < a->rows; r++, from = to) {
		const float *rate = a->rate + r * a->rate_stride, *k = a->k + r * a->stride,
		            *q = a->q + r * a->stride, *v = a->v + r * a->stride + first;
		float *out = a->o + r * a->o_stride + first;
		vec g = vec_set1(rate[0]), beta = vec_set1(rate[1]);
		UNROLL for (size_t x = 0; x < vecs; x++) d[x] =
		        vec_mul(vec_sub(vec_load(v + x * LANES), vec_mul(g, m[x])), beta);
		if (r + 1 < a->rows)
			delta_pass(to, from, q, k, k + a->stride, rate[0], d, o, m, n, vecs);
		else
			delta_pass(to, from, q, k, NULL, rate[0], d, o, m, n, vecs);
		UNROLL for (size_t x = 0; x < vecs; x++) vec_store(out + x * LANES, o[x]);
	}
}

INLINE void delta_run(float *to, const float *from, const struct kern_delta *a, size_t n, size_t panels) {
	if (!from) {
		memset(to, 0, panels * n * KERN_PANEL * sizeof *to);
		from = to;
	}
	size_t p = 0, size = n * KERN_PANEL;
	for (; p + PANELS <= panels; p += PANELS)
		delta_panels(to + p * size, from + p * size, a, p * KERN_PANEL, n, MOST_VECS);
	for (; p < panels; p++)
		delta_panels(to + p * size, from + p * size, a, p * KERN_PANEL, n, PANEL_VECS);
}

#endif
