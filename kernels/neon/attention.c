/* neon/attention: attention over one span, and the combination of spans, with NEON.
 *
 * Owns: nothing but speed; kernels/ref/ops.c is the definition.  Each panel of a block is brought into the first
 * cache once, from end to end, and met by all queries of the call, QUERIES at a time: they are heads of a group, which
 * share keys and values, or rows of a prefill tile.
 *
 * Keys and values are walked by the same loop: an accumulator a query and lane, rows of the panel ascending.
 * Scores: a lane is a position, a row a dimension.  A panel may reach beyond a query's count: those scores are
 * computed from whatever is there and never looked at.
 * Values: a lane is a dimension, a row a position; the sums rest in the query's output between blocks.
 * Positions that only some queries of a tile see are done for each query alone.
 * Pure; any thread. */
#include "kernels/neon/neon_ops.h"

#include <math.h>

#include "kernels/neon/common.h"
#include "kernels/neon/vector.h"

#define QUERIES 2 /* of a tile: with eight groups of four lanes they take half of the registers */
#define GROUPS (KERN_KV_LANES / 4)

static inline size_t min_size(size_t a, size_t b) {
	return a < b ? a : b;
}

/* How many of `count` positions lie in block b. */
static inline size_t in_block(size_t count, size_t b) {
	size_t first = b * KERN_KV_BLOCK;
	return count <= first ? 0 : min_size(count - first, KERN_KV_BLOCK);
}

/* Four lanes of a row. */
INLINE float32x4_t lanes_at(const uint16_t *row, size_t g) {
	return load_halves(row + g * 4, 0);
}

/* a[i][g] = fma(x[i][t], lanes 4g.. of row t, a[i][g]) for t < rows, i < nq (a constant of the caller). */
INLINE void walk(float32x4_t *a, const float *const *x, const uint16_t *panel, size_t rows, const size_t nq) {
	size_t t = 0;
	for (; t + 4 <= rows; t += 4) {
		float32x4_t k[QUERIES];
		UNROLL for (size_t i = 0; i < nq; i++) k[i] = vld1q_f32(x[i] + t);
		UNROLL for (size_t g = 0; g < GROUPS; g++) {
			const uint16_t *row = panel + t * KERN_KV_LANES;
			float32x4_t v0 = lanes_at(row, g), v1 = lanes_at(row + KERN_KV_LANES, g),
			            v2 = lanes_at(row + 2 * KERN_KV_LANES, g),
			            v3 = lanes_at(row + 3 * KERN_KV_LANES, g);
			UNROLL for (size_t i = 0; i < nq; i++)
			        FMA_LANES(a[i * GROUPS + g], v0, v1, v2, v3, k[i]);
		}
	}
	for (; t < rows; t++) {
		UNROLL for (size_t g = 0; g < GROUPS; g++) {
			float32x4_t v = lanes_at(panel + t * KERN_KV_LANES, g);
			UNROLL for (size_t i = 0; i < nq; i++) a[i * GROUPS + g] =
			        vfmaq_n_f32(a[i * GROUPS + g], v, x[i][t]);
		}
	}
}

/* z[i][0..KERN_KV_LANES) = scale * q[i] . keys of the panel. */
INLINE void score_tile(float *z, const struct kern_query *q, const uint16_t *panel, size_t head_size,
        float scale, const size_t nq) {
	float32x4_t a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL for (size_t i = 0; i < nq; i++) x[i] = q[i].q;
	UNROLL for (size_t i = 0; i < nq * GROUPS; i++) a[i] = vdupq_n_f32(0);
	walk(a, x, panel, head_size, nq);
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t g = 0; g < GROUPS; g++)
		        vst1q_f32(z + i * KERN_SPAN + g * 4, vmulq_n_f32(a[i * GROUPS + g], scale));
	}
}

/* Scores to exponentials, in place; the span's maximum and sum.  The row is filled up to whole groups of
 * eight with scores that count for nothing: -infinity, whose exponential is +0. */
static void soften(float *z, size_t count, float *max, float *sum) {
	size_t end = (count + 7) / 8 * 8;
	for (size_t p = count; p < end; p++)
		z[p] = -INFINITY;
	/* FMAXNM of a number and a NaN is the number. */
	float32x4_t m0 = vdupq_n_f32(-INFINITY), m1 = m0;
	for (size_t p = 0; p < end; p += 8) {
		m0 = vmaxnmq_f32(m0, vld1q_f32(z + p));
		m1 = vmaxnmq_f32(m1, vld1q_f32(z + p + 4));
	}
	*max = vmaxnmvq_f32(vmaxnmq_f32(m0, m1)) + 0.0f; /* a zero becomes +0, as in the reference */
	float32x4_t m = vdupq_n_f32(*max), s0 = vdupq_n_f32(0), s1 = s0;
	for (size_t p = 0; p < end; p += 8) {
		float32x4_t e0 = exp4(vsubq_f32(vld1q_f32(z + p), m));
		float32x4_t e1 = exp4(vsubq_f32(vld1q_f32(z + p + 4), m));
		if (p + 8 > count) { /* a maximum that is not finite makes more of them than +0 */
			const uint32x4_t lane = {0, 1, 2, 3};
			uint32x4_t left = vdupq_n_u32((uint32_t)(count - p));
			e0 = vbslq_f32(vcltq_u32(lane, left), e0, vdupq_n_f32(0));
			e1 = vbslq_f32(vcltq_u32(vaddq_u32(lane, vdupq_n_u32(4)), left), e1, vdupq_n_f32(0));
		}
		vst1q_f32(z + p, e0);
		vst1q_f32(z + p + 4, e1);
		s0 = vaddq_f32(s0, e0);
		s1 = vaddq_f32(s1, e1);
	}
	*sum = tree8(s0, s1);
}

/* q[i].o[d..] += sum of e[i][p] * row p of the panel that starts at dimension d, for p < n, i < nq. */
INLINE void value_tile(const float *e, const struct kern_query *q, const uint16_t *panel, size_t n, size_t d,
        const size_t nq) {
	float32x4_t a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL for (size_t i = 0; i < nq; i++) {
		x[i] = e + i * KERN_SPAN;
		UNROLL for (size_t g = 0; g < GROUPS; g++) a[i * GROUPS + g] = vld1q_f32(q[i].o + d + g * 4);
	}
	walk(a, x, panel, n, nq);
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t g = 0; g < GROUPS; g++) vst1q_f32(q[i].o + d + g * 4, a[i * GROUPS + g]);
	}
}

/* The same of a narrower panel, for one query. */
static void value_rest(
        const float *e, const struct kern_query *q, const uint16_t *panel, size_t n, size_t d, size_t width) {
	size_t g = 0;
	for (; g + 4 <= width; g += 4) {
		float32x4_t a = vld1q_f32(q->o + d + g);
		for (size_t p = 0; p < n; p++)
			a = vfmaq_n_f32(a, load_halves(panel + p * width + g, 0), e[p]);
		vst1q_f32(q->o + d + g, a);
	}
	for (; g < width; g++) {
		float a = q->o[d + g];
		for (size_t p = 0; p < n; p++)
			a = fmaf(e[p], kern_from_half(panel[p * width + g]), a);
		q->o[d + g] = a;
	}
}

/* Values [from, to) of a panel that starts at dimension d, for nq (1..QUERIES) queries; e as for the whole block. */
static void value_panel(const float *e, const struct kern_query *q, size_t nq, const uint16_t *panel,
        size_t from, size_t to, size_t d, size_t width) {
	if (from >= to)
		return;
	panel += from * width;
	e += from;
	if (width < KERN_KV_LANES) {
		for (size_t i = 0; i < nq; i++)
			value_rest(e + i * KERN_SPAN, q + i, panel, to - from, d, width);
		return;
	}
	if (nq == 1)
		value_tile(e, q, panel, to - from, d, 1);
	else
		value_tile(e, q, panel, to - from, d, 2);
}

/* All queries that see it against the panel of keys of positions from `position` on. */
static void score(const struct kern_query *q, size_t nq, const uint16_t *panel, size_t position,
        size_t head_size, float scale, float *z) {
	for (size_t i = 0, n; i < nq; i += n) {
		size_t seen = 0;
		n = min_size(nq - i, QUERIES);
		for (size_t j = i; j < i + n; j++)
			seen = q[j].count > seen ? q[j].count : seen;
		if (seen <= position)
			continue;
		if (n == 1)
			score_tile(z + i * KERN_SPAN + position, q + i, panel, head_size, scale, 1);
		else
			score_tile(z + i * KERN_SPAN + position, q + i, panel, head_size, scale, 2);
	}
}

/* All queries against the panel of a block's values that starts at dimension d. */
static void gather(const struct kern_query *q, size_t nq, const uint16_t *panel, size_t block, size_t d,
        size_t head_size, const float *z) {
	size_t width = kern_kv_width(head_size, d);
	for (size_t i = 0, n; i < nq; i += n) {
		const float *e = z + i * KERN_SPAN + block * KERN_KV_BLOCK;
		size_t shared = KERN_SPAN;
		n = min_size(nq - i, QUERIES);
		for (size_t j = i; j < i + n; j++)
			shared = min_size(shared, q[j].count);
		shared = in_block(shared, block);
		value_panel(e, q + i, n, panel, 0, shared, d, width);
		for (size_t j = 0; j < n; j++)
			value_panel(e + j * KERN_SPAN, q + i + j, 1, panel, shared,
			        in_block(q[i + j].count, block), d, width);
	}
}

void neon_span(const struct kern_query *q, size_t nq, const uint16_t *const *keys,
        const uint16_t *const *values, size_t head_size, float scale, void *scratch) {
	float *z = scratch;
	size_t most = 0;
	for (size_t i = 0; i < nq; i++)
		most = q[i].count > most ? q[i].count : most;
	for (size_t p = 0; p < most; p += KERN_KV_LANES)
		score(q, nq, keys[p / KERN_KV_BLOCK] + kern_key_at(head_size, p % KERN_KV_BLOCK, 0), p,
		        head_size, scale, z);
	for (size_t i = 0; i < nq; i++) {
		soften(z + i * KERN_SPAN, q[i].count, q[i].m, q[i].l);
		for (size_t d = 0; d < head_size; d++)
			q[i].o[d] = 0.0f;
	}
	for (size_t b = 0; b * KERN_KV_BLOCK < most; b++)
		for (size_t d = 0; d < head_size; d += KERN_KV_LANES)
			gather(q, nq, values[b] + kern_value_at(head_size, 0, d), b, d, head_size, z);
}

/* out = fma(c, o, out) for one span. */
static void combine_span(float *out, const float *o, float c, size_t head_size) {
	size_t d = 0;
	for (; d + 4 <= head_size; d += 4)
		vst1q_f32(out + d, vfmaq_n_f32(vld1q_f32(out + d), vld1q_f32(o + d), c));
	for (; d < head_size; d++)
		out[d] = fmaf(c, o[d], out[d]);
}

void neon_combine(
        float *out, const float *o, const float *m, const float *l, size_t spans, size_t head_size) {
	float top = -INFINITY, total = 0.0f;
	for (size_t s = 0; s < spans; s++)
		top = m[s] > top ? m[s] : top;
	for (size_t d = 0; d < head_size; d++)
		out[d] = 0.0f;
	for (size_t s = 0; s < spans; s++) {
		float c = kern_exp(m[s] - top);
		total = fmaf(c, l[s], total);
		combine_span(out, o + s * head_size, c, head_size);
	}
	float r = 1.0f / total;
	for (size_t d = 0; d < head_size; d++)
		out[d] = out[d] * r;
}
