/* neon/attention: attention over one span, and the combination of spans, with NEON.
 *
 * Owns: nothing but speed; kernels/ref/ops.c is the definition.  Each block of 64 positions is brought into
 * the first cache once and met by all queries of the call, QUERIES at a time: they are heads of a group, which
 * share keys and values, or rows of a prefill tile.
 *
 * Scores: a lane is a position, one accumulator each, dimensions ascending; a tile is queries x groups of
 * eight positions, enough of them to hide the latency of the multiply-add.  A group may reach beyond a
 * query's count: those scores are computed from whatever is there and never looked at.
 * Values: a lane is a dimension, positions ascending; the sums rest in the query's output between blocks.
 * Positions that only some queries of a tile see are done for each query alone.
 * Pure; any thread. */
#include "kernels/neon/neon_ops.h"

#include <math.h>

#include "kernels/neon/common.h"
#include "kernels/neon/vector.h"

#define QUERIES 4

static inline size_t min_size(size_t a, size_t b) {
	return a < b ? a : b;
}

/* How many of `count` positions lie in block b. */
static inline size_t in_block(size_t count, size_t b) {
	size_t first = b * KERN_KV_BLOCK;
	return count <= first ? 0 : min_size(count - first, KERN_KV_BLOCK);
}

/* z[i][8g..] = scale * q[i] . keys of group g, for i < nq, g < ng (constants of the caller). */
INLINE void score_tile(float *z, const struct kern_query *q, const uint16_t *k, size_t head_size, float scale,
        const size_t nq, const size_t ng) {
	float32x4_t a[8][2];
	size_t d = 0;
	UNROLL for (size_t i = 0; i < nq * ng; i++) a[i][0] = a[i][1] = vdupq_n_f32(0);
	for (; d + 4 <= head_size; d += 4) {
		float32x4_t x[QUERIES];
		UNROLL for (size_t i = 0; i < nq; i++) x[i] = vld1q_f32(q[i].q + d);
		UNROLL for (size_t g = 0; g < ng; g++) {
			const uint16_t *at = k + (g * head_size + d) * 8;
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t k0 = load_halves(at, h), k1 = load_halves(at + 8, h),
				            k2 = load_halves(at + 16, h), k3 = load_halves(at + 24, h);
				UNROLL for (size_t i = 0; i < nq; i++)
				        FMA_LANES(a[i * ng + g][h], k0, k1, k2, k3, x[i]);
			}
		}
	}
	for (; d < head_size; d++) {
		UNROLL for (size_t g = 0; g < ng; g++) {
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t kv = load_halves(k + (g * head_size + d) * 8, h);
				UNROLL for (size_t i = 0; i < nq; i++) a[i * ng + g][h] =
				        vfmaq_n_f32(a[i * ng + g][h], kv, q[i].q[d]);
			}
		}
	}
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t g = 0; g < ng; g++) {
			float *to = z + i * KERN_SPAN + g * 8;
			vst1q_f32(to, vmulq_n_f32(a[i * ng + g][0], scale));
			vst1q_f32(to + 4, vmulq_n_f32(a[i * ng + g][1], scale));
		}
	}
}

/* Scores of nq (1..QUERIES) queries against the first `groups` groups of a block. */
static void score_block(float *z, const struct kern_query *q, size_t nq, const uint16_t *k, size_t groups,
        size_t head_size, float scale) {
	size_t g = 0;
#define TILE(NQ, NG) \
	for (; g + NG <= groups; g += NG) \
	score_tile(z + g * 8, q, k + g * 8 * head_size, head_size, scale, NQ, NG)
	switch (nq) {
	case 1:
		TILE(1, 8);
		TILE(1, 4);
		TILE(1, 2);
		TILE(1, 1);
		break;
	case 2:
		TILE(2, 4);
		TILE(2, 2);
		TILE(2, 1);
		break;
	case 3:
		TILE(3, 2);
		TILE(3, 1);
		break;
	default:
		TILE(4, 2);
		TILE(4, 1);
		break;
	}
#undef TILE
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

/* q[i].o[d..] += sum of e[i][p] * values[p][d..] for p < n, i < nq, nd times eight dimensions. */
INLINE void value_tile(const float *e, const struct kern_query *q, const uint16_t *v, size_t n,
        size_t head_size, size_t d, const size_t nq, const size_t nd) {
	float32x4_t a[8][2];
	size_t p = 0;
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t j = 0; j < nd; j++) {
			a[i * nd + j][0] = vld1q_f32(q[i].o + d + j * 8);
			a[i * nd + j][1] = vld1q_f32(q[i].o + d + j * 8 + 4);
		}
	}
	for (; p + 4 <= n; p += 4) {
		float32x4_t x[QUERIES];
		UNROLL for (size_t i = 0; i < nq; i++) x[i] = vld1q_f32(e + i * KERN_SPAN + p);
		UNROLL for (size_t j = 0; j < nd; j++) {
			const uint16_t *at = v + p * head_size + d + j * 8;
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t v0 = load_halves(at, h), v1 = load_halves(at + head_size, h),
				            v2 = load_halves(at + 2 * head_size, h),
				            v3 = load_halves(at + 3 * head_size, h);
				UNROLL for (size_t i = 0; i < nq; i++)
				        FMA_LANES(a[i * nd + j][h], v0, v1, v2, v3, x[i]);
			}
		}
	}
	for (; p < n; p++) {
		UNROLL for (size_t j = 0; j < nd; j++) {
			UNROLL for (int h = 0; h < 2; h++) {
				float32x4_t x = load_halves(v + p * head_size + d + j * 8, h);
				UNROLL for (size_t i = 0; i < nq; i++) a[i * nd + j][h] =
				        vfmaq_n_f32(a[i * nd + j][h], x, e[i * KERN_SPAN + p]);
			}
		}
	}
	UNROLL for (size_t i = 0; i < nq; i++) {
		UNROLL for (size_t j = 0; j < nd; j++) {
			vst1q_f32(q[i].o + d + j * 8, a[i * nd + j][0]);
			vst1q_f32(q[i].o + d + j * 8 + 4, a[i * nd + j][1]);
		}
	}
}

/* The first n values of a block (from v on) for nq (1..QUERIES) queries. */
static void value_block(const float *e, const struct kern_query *q, size_t nq, const uint16_t *v, size_t n,
        size_t head_size) {
	size_t d = 0;
#define TILE(NQ, ND) \
	for (; d + ND * 8 <= head_size; d += ND * 8) \
	value_tile(e, q, v, n, head_size, d, NQ, ND)
	switch (nq) {
	case 1:
		TILE(1, 8);
		TILE(1, 4);
		TILE(1, 2);
		TILE(1, 1);
		break;
	case 2:
		TILE(2, 4);
		TILE(2, 2);
		TILE(2, 1);
		break;
	case 3:
		TILE(3, 2);
		TILE(3, 1);
		break;
	default:
		TILE(4, 2);
		TILE(4, 1);
		break;
	}
#undef TILE
	for (; d < head_size; d++) {
		for (size_t i = 0; i < nq; i++) {
			float a = q[i].o[d];
			for (size_t p = 0; p < n; p++)
				a = fmaf(e[i * KERN_SPAN + p], kern_from_half(v[p * head_size + d]), a);
			q[i].o[d] = a;
		}
	}
}

void neon_span(const struct kern_query *q, size_t nq, const uint16_t *const *keys,
        const uint16_t *const *values, size_t head_size, float scale, void *scratch) {
	float *z = scratch;
	size_t most = 0;
	for (size_t i = 0; i < nq; i++)
		most = q[i].count > most ? q[i].count : most;
	size_t blocks = (most + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;

	for (size_t b = 0; b < blocks; b++) {
		for (size_t i = 0; i < nq; i += QUERIES) {
			size_t n = min_size(nq - i, QUERIES), seen = 0;
			for (size_t j = i; j < i + n; j++)
				seen = q[j].count > seen ? q[j].count : seen;
			size_t groups = (in_block(seen, b) + 7) / 8;
			score_block(z + i * KERN_SPAN + b * KERN_KV_BLOCK, q + i, n, keys[b], groups,
			        head_size, scale);
		}
	}
	for (size_t i = 0; i < nq; i++) {
		soften(z + i * KERN_SPAN, q[i].count, q[i].m, q[i].l);
		for (size_t d = 0; d < head_size; d++)
			q[i].o[d] = 0.0f;
	}
	for (size_t b = 0; b < blocks; b++) {
		for (size_t i = 0; i < nq; i += QUERIES) {
			size_t n = min_size(nq - i, QUERIES), shared = KERN_SPAN;
			for (size_t j = i; j < i + n; j++)
				shared = min_size(shared, q[j].count);
			shared = in_block(shared, b);
			const float *e = z + i * KERN_SPAN + b * KERN_KV_BLOCK;
			if (shared > 0)
				value_block(e, q + i, n, values[b], shared, head_size);
			for (size_t j = 0; j < n; j++) {
				size_t own = in_block(q[i + j].count, b);
				if (own > shared)
					value_block(e + j * KERN_SPAN + shared, q + i + j, 1,
					        values[b] + shared * head_size, own - shared, head_size);
			}
		}
	}
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
