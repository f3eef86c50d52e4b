/* neon/attention: attention over one span, and the combination of spans, with NEON.
 *
 * kernels/ref/attention.c is the definition; this code is only faster.  Each panel of a block is read into the first-level cache
 * once, from start to end, and used by all queries of the call, QUERIES at a time.  They are heads of a group, which share keys
 * and values, or rows of a prefill tile.
 *
 * One loop serves keys and values: one accumulator per query and lane, rows of the panel ascending.
 * Scores: a lane is a position, a row a dimension.  A panel may have positions that a query does not see: those scores are
 * computed from whatever is there and never used.
 * Values: a lane is a dimension, a row a position; between blocks the sums are kept in the query's output.
 * Positions that only some queries of a tile see are computed for each query by itself.
 * Pure; any thread. */
#include "kernels/neon/neon.h"

#include <math.h>

#include "kernels/combine_tmpl.h"
#include "kernels/kvlayout.h"
#include "kernels/neon/common.h"
#include "kernels/neon/vector.h"

#define QUERIES 2 /* in a tile: with eight groups of four lanes they take half of the registers */
#define GROUPS (KV_LANES / 4)

/* Four lanes of a row. */
INLINE float32x4_t lanes_at(const uint8_t *row, size_t g, const enum kv_panel kind) {
	if (kind == HALVES)
		return load_halves(row + g * 8, 0);
	uint32_t word;
	memcpy(&word, row + g * 4, sizeof word);
	int16x8_t q = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word)));
	return vcvtq_f32_s32(vmovl_s16(vget_low_s16(q)));
}

/* a[i][g] = fma(x[i][t], lanes 4g.. of row t, a[i][g]) for t < rows, i < nq (a constant of the caller).  scale: of lanes or
 * rows, as halves. */
INLINE void walk(float32x4_t *a, const float *const *x, const uint8_t *panel, size_t rows,
        const uint16_t *scale, const enum kv_panel kind, const size_t nq) {
	const size_t bytes = kind == HALVES ? KV_LANES * 2 : KV_LANES;
	float32x4_t lane[GROUPS];
	if (kind == LANE_SCALES) {
		UNROLL for (size_t g = 0; g < GROUPS; g++) lane[g] = load_halves(scale + g * 4, 0);
	}
	size_t t = 0;
	for (; t + 4 <= rows; t += 4) {
		float32x4_t k[QUERIES], s = vdupq_n_f32(0);
		UNROLL for (size_t i = 0; i < nq; i++) k[i] = vld1q_f32(x[i] + t);
		if (kind == ROW_SCALES)
			s = load_halves(scale + t, 0);
		UNROLL for (size_t g = 0; g < GROUPS; g++) {
			const uint8_t *row = panel + t * bytes;
			float32x4_t v0 = lanes_at(row, g, kind), v1 = lanes_at(row + bytes, g, kind),
			            v2 = lanes_at(row + 2 * bytes, g, kind),
			            v3 = lanes_at(row + 3 * bytes, g, kind);
			if (kind == LANE_SCALES) {
				v0 = vmulq_f32(v0, lane[g]);
				v1 = vmulq_f32(v1, lane[g]);
				v2 = vmulq_f32(v2, lane[g]);
				v3 = vmulq_f32(v3, lane[g]);
			} else if (kind == ROW_SCALES) {
				v0 = vmulq_laneq_f32(v0, s, 0);
				v1 = vmulq_laneq_f32(v1, s, 1);
				v2 = vmulq_laneq_f32(v2, s, 2);
				v3 = vmulq_laneq_f32(v3, s, 3);
			}
			UNROLL for (size_t i = 0; i < nq; i++)
			        FMA_LANES(a[i * GROUPS + g], v0, v1, v2, v3, k[i]);
		}
	}
	for (; t < rows; t++) {
		float s = kind == ROW_SCALES ? kern_from_half(scale[t]) : 1.0f;
		UNROLL for (size_t g = 0; g < GROUPS; g++) {
			float32x4_t v = lanes_at(panel + t * bytes, g, kind);
			if (kind == LANE_SCALES)
				v = vmulq_f32(v, lane[g]);
			else if (kind == ROW_SCALES)
				v = vmulq_n_f32(v, s);
			UNROLL for (size_t i = 0; i < nq; i++) a[i * GROUPS + g] =
			        vfmaq_n_f32(a[i * GROUPS + g], v, x[i][t]);
		}
	}
}

/* z[i][0..KV_LANES) = scale * q[i] . keys of the panel. */
INLINE void score_tile(float *z, const struct kern_query *q, const uint8_t *panel, size_t head_size,
        float scale, const enum kern_kv type, const size_t nq) {
	float32x4_t a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL for (size_t i = 0; i < nq; i++) x[i] = q[i].q;
	UNROLL for (size_t i = 0; i < nq * GROUPS; i++) a[i] = vdupq_n_f32(0);
	if (type == KERN_KV_F16) {
		walk(a, x, panel, head_size, NULL, HALVES, nq);
	} else {
		for (size_t d = 0; d < head_size; d += KV_LANES, panel += KV_Q8_KEYS) {
			walk(a, x, panel + KV_Q8_KEY_SCALES, KV_LANES, (const uint16_t *)(const void *)panel,
			        LANE_SCALES, nq);
			UNROLL for (size_t i = 0; i < nq; i++) x[i] += KV_LANES;
		}
	}
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t g = 0; g < GROUPS; g++)
		        vst1q_f32(z + i * KERN_SPAN + g * 4, vmulq_n_f32(a[i * GROUPS + g], scale));
	}
}

/* e where the positions from p on are in [first, count), else +0. */
INLINE float32x4_t only_seen(float32x4_t e, size_t p, size_t first, size_t count) {
	const uint32x4_t lane = {0, 1, 2, 3};
	uint32x4_t at = vaddq_u32(lane, vdupq_n_u32((uint32_t)p));
	uint32x4_t seen = vandq_u32(
	        vcgeq_u32(at, vdupq_n_u32((uint32_t)first)), vcltq_u32(at, vdupq_n_u32((uint32_t)count)));
	return vbslq_f32(seen, e, vdupq_n_f32(0));
}

/* Replaces the scores [first, count) by exponentials; returns the span's maximum and sum.  The row is filled up to whole groups
 * of eight with scores that do not count: -infinity, whose exponential is +0. */
static void soften(float *z, size_t first, size_t count, float *max, float *sum) {
	size_t start = first / 8 * 8, end = (count + 7) / 8 * 8;
	for (size_t p = start; p < first; p++)
		z[p] = -INFINITY;
	for (size_t p = count; p < end; p++)
		z[p] = -INFINITY;
	/* FMAXNM of a number and a NaN is the number. */
	float32x4_t m0 = vdupq_n_f32(-INFINITY), m1 = m0;
	for (size_t p = start; p < end; p += 8) {
		m0 = vmaxnmq_f32(m0, vld1q_f32(z + p));
		m1 = vmaxnmq_f32(m1, vld1q_f32(z + p + 4));
	}
	*max = vmaxnmvq_f32(vmaxnmq_f32(m0, m1)) + 0.0f; /* a zero becomes +0, as in the reference */
	float32x4_t m = vdupq_n_f32(*max), s0 = vdupq_n_f32(0), s1 = s0;
	for (size_t p = start; p < end; p += 8) {
		float32x4_t e0 = exp4(vsubq_f32(vld1q_f32(z + p), m));
		float32x4_t e1 = exp4(vsubq_f32(vld1q_f32(z + p + 4), m));
		if (p < first || p + 8 > count) { /* with a maximum that is not finite, they are not +0 */
			e0 = only_seen(e0, p, first, count);
			e1 = only_seen(e1, p + 4, first, count);
		}
		vst1q_f32(z + p, e0);
		vst1q_f32(z + p + 4, e1);
		s0 = vaddq_f32(s0, e0);
		s1 = vaddq_f32(s1, e1);
	}
	*sum = tree8(s0, s1);
}

/* A panel of values: rows of `width` lanes, one per position. */
struct values {
	const uint8_t *row;
	size_t row_bytes, width;
	const uint16_t *scale; /* of each row, for types with scales */
};

/* q[i].o[d..] += sum of e[i][p] * row p of the panel of dimensions d.., for from <= p < to, i < nq. */
INLINE void value_tile(const float *e, const struct kern_query *q, const struct values *v, size_t from,
        size_t to, size_t d, const enum kern_kv type, const size_t nq) {
	float32x4_t a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL for (size_t i = 0; i < nq; i++) {
		x[i] = e + i * KERN_SPAN + from;
		UNROLL for (size_t g = 0; g < GROUPS; g++) a[i * GROUPS + g] = vld1q_f32(q[i].o + d + g * 4);
	}
	walk(a, x, v->row + from * v->row_bytes, to - from, type == KERN_KV_F16 ? NULL : v->scale + from,
	        type == KERN_KV_F16 ? HALVES : ROW_SCALES, nq);
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t g = 0; g < GROUPS; g++) vst1q_f32(q[i].o + d + g * 4, a[i * GROUPS + g]);
	}
}

/* The same for a narrower panel of halves, for one query. */
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
INLINE void value_panel(const float *e, const struct kern_query *q, size_t nq, const struct values *v,
        size_t from, size_t to, size_t d, const enum kern_kv type) {
	if (from >= to)
		return;
	if (type == KERN_KV_F16 && v->width < KV_LANES) {
		const uint16_t *row = (const uint16_t *)(const void *)(v->row + from * v->row_bytes);
		for (size_t i = 0; i < nq; i++)
			value_rest(e + i * KERN_SPAN + from, q + i, row, to - from, d, v->width);
	} else if (nq == 1) {
		value_tile(e, q, v, from, to, d, type, 1);
	} else {
		value_tile(e, q, v, from, to, d, type, 2);
	}
}

/* Computes the scores of all queries that see it against the panel of keys from `position` on. */
INLINE void score(const struct kern_query *q, size_t nq, const uint8_t *panel, size_t position,
        size_t head_size, float scale, float *z, const enum kern_kv type) {
	for (size_t i = 0, n; i < nq; i += n) {
		n = min_size(nq - i, QUERIES);
		struct kv_seen seen = kv_seen(q + i, n);
		if (seen.count <= position || seen.first >= position + KV_LANES)
			continue;
		if (n == 1)
			score_tile(z + i * KERN_SPAN + position, q + i, panel, head_size, scale, type, 1);
		else
			score_tile(z + i * KERN_SPAN + position, q + i, panel, head_size, scale, type, 2);
	}
}

/* Adds the panel of a block's values that starts at dimension d, for all queries. */
INLINE void gather(const struct kern_query *q, size_t nq, const struct values *v, size_t block, size_t d,
        const float *z, const enum kern_kv type) {
	for (size_t i = 0, n; i < nq; i += n) {
		const float *e = z + i * KERN_SPAN + block * KERN_KV_BLOCK;
		n = min_size(nq - i, QUERIES);
		struct kv_seen shared = kv_shared(q + i, n, block);
		for (size_t j = 0; j < n && shared.first > 0; j++)
			value_panel(e + j * KERN_SPAN, q + i + j, 1, v, kv_in_block(q[i + j].first, block),
			        min_size(kv_in_block(q[i + j].count, block), shared.first), d, type);
		value_panel(e, q + i, n, v, shared.first, shared.count, d, type);
		for (size_t j = 0; j < n; j++)
			value_panel(e + j * KERN_SPAN, q + i + j, 1, v, shared.count,
			        kv_in_block(q[i + j].count, block), d, type);
	}
}

INLINE void span_of(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, float *z, const enum kern_kv type) {
	struct kv_seen seen = kv_seen(q, nq);
	for (size_t p = seen.first / KV_LANES * KV_LANES; p < seen.count; p += KV_LANES) {
		size_t at = type == KERN_KV_F16 ? kv_key_at(head_size, p % KERN_KV_BLOCK, 0) * 2
		                                : kv_q8_keys(head_size, p % KERN_KV_BLOCK, 0);
		score(q, nq, (const uint8_t *)keys[p / KERN_KV_BLOCK] + at, p, head_size, scale, z, type);
	}
	for (size_t i = 0; i < nq; i++) {
		soften(z + i * KERN_SPAN, q[i].first, q[i].count, q[i].m, q[i].l);
		for (size_t d = 0; d < head_size; d++)
			q[i].o[d] = 0.0f;
	}
	for (size_t b = seen.first / KERN_KV_BLOCK; b * KERN_KV_BLOCK < seen.count; b++)
		for (size_t d = 0; d < head_size; d += KV_LANES) {
			const uint8_t *part = values[b];
			struct values v = {.width = kv_width(head_size, d)};
			if (type == KERN_KV_F16) {
				v.row = part + kv_value_at(head_size, 0, d) * 2;
				v.row_bytes = v.width * 2;
			} else {
				v.scale = (const uint16_t *)(const void *)(part + kv_q8_values(d));
				v.row = part + kv_q8_values(d) + KV_Q8_VALUE_SCALES;
				v.row_bytes = KV_LANES;
			}
			gather(q, nq, &v, b, d, z, type);
		}
}

KERN_DEFINE_SPANS(NEON_OP)

/* out = fma(c, o, out) for one span. */
INLINE void combine_span(float *out, const float *o, float c, size_t head_size) {
	size_t d = 0;
	for (; d + 4 <= head_size; d += 4)
		vst1q_f32(out + d, vfmaq_n_f32(vld1q_f32(out + d), vld1q_f32(o + d), c));
	for (; d < head_size; d++)
		out[d] = fmaf(c, o[d], out[d]);
}

KERN_DEFINE_COMBINE(NEON_OP)
