/* avx2/attention: attention over one span, and the combination of spans, with AVX2, FMA and F16C.
 *
 * Owns: nothing but speed; kernels/ref/ops.c is the definition.  Memory is what attention waits for, so each
 * block of 64 positions is brought into the first cache once and met by all queries of the call, QUERIES at
 * a time: they are heads of a group, which share keys and values, or rows of a prefill tile.  While a block
 * is read, as much of the next one is prefetched (with it 1.2 to 1.8 times the rate on Zen 5, by the number
 * of queries; the processor's own prefetching does not follow from block to block).
 *
 * Scores: a lane is a position, one accumulator each, dimensions ascending; a tile is queries x groups of
 * eight positions, enough of them to hide the latency of the multiply-add.  A group may reach beyond a
 * query's count: those scores are computed from whatever is there and never looked at.
 * Values: a lane is a dimension, positions ascending; the sums rest in the query's output between blocks.
 * Positions that only some queries of a tile see are done for each query alone.
 * Pure; any thread. */
#include "kernels/avx2/avx2_ops.h"

#include <math.h>

#include "kernels/avx2/common.h"
#include "kernels/avx2/vector.h"

#define QUERIES 4

static inline size_t min_size(size_t a, size_t b) {
	return a < b ? a : b;
}

/* How many of `count` positions lie in block b. */
static inline size_t in_block(size_t count, size_t b) {
	size_t first = b * KERN_KV_BLOCK;
	return count <= first ? 0 : min_size(count - first, KERN_KV_BLOCK);
}

/* Asks for a cache line that the next block will need, into the second cache: the block at hand fills the first. */
INLINE void ask(const uint16_t *p) {
	_mm_prefetch((const char *)p, _MM_HINT_T1);
}

/* z[i][8g..] = scale * q[i] . keys of group g, for i < nq, g < ng (constants of the caller).  As many bytes as
 * are read here are asked for from `ahead` on. */
INLINE void score_tile(float *z, const struct kern_query *q, const uint16_t *k, const uint16_t *ahead,
        size_t head_size, float scale, const size_t nq, const size_t ng) {
	__m256 a[8];
	const float *x[QUERIES];
	UNROLL
	for (size_t i = 0; i < nq * ng; i++)
		a[i] = _mm256_setzero_ps();
	UNROLL
	for (size_t i = 0; i < nq; i++)
		x[i] = q[i].q;
	for (size_t d = 0; d < head_size; d++) {
		UNROLL
		for (size_t g = 0; g < ng; g += 4)
			ask(ahead + (d * ng + g) * 8);
		UNROLL
		for (size_t g = 0; g < ng; g++) {
			__m256 kv = load_halves(k + (g * head_size + d) * 8);
			UNROLL
			for (size_t i = 0; i < nq; i++)
				a[i * ng + g] =
				        _mm256_fmadd_ps(_mm256_broadcast_ss(x[i] + d), kv, a[i * ng + g]);
		}
	}
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t g = 0; g < ng; g++)
			_mm256_storeu_ps(z + i * KERN_SPAN + g * 8,
			        _mm256_mul_ps(_mm256_set1_ps(scale), a[i * ng + g]));
	}
}

/* Scores of nq (1..QUERIES) queries against the first `groups` groups of a block. */
static void score_block(float *z, const struct kern_query *q, size_t nq, const uint16_t *k,
        const uint16_t *ahead, size_t groups, size_t head_size, float scale) {
	size_t g = 0;
#define TILE(NQ, NG) \
	for (; g + NG <= groups; g += NG) \
	score_tile(z + g * 8, q, k + g * 8 * head_size, ahead + g * 8 * head_size, head_size, scale, NQ, NG)
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

/* Scores to exponentials, in place; the span's maximum and sum. */
static void soften(float *z, size_t count, float *max, float *sum) {
	const __m256 low = _mm256_set1_ps(-INFINITY);
	const __m256 valid = _mm256_castsi256_ps(lanes_below(count % 8));
	size_t whole = count / 8 * 8;
	/* max_ps(z, m) is z > m ? z : m, so a NaN is not taken. */
	__m256 m = low;
	for (size_t p = 0; p < whole; p += 8)
		m = _mm256_max_ps(_mm256_loadu_ps(z + p), m);
	if (whole < count)
		m = _mm256_max_ps(_mm256_blendv_ps(low, _mm256_loadu_ps(z + whole), valid), m);
	__m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
	h = _mm_max_ps(h, _mm_movehl_ps(h, h));
	h = _mm_max_ss(h, _mm_movehdup_ps(h));
	*max = _mm_cvtss_f32(h) + 0.0f; /* a zero becomes +0, as in the reference */
	m = _mm256_set1_ps(*max);
	__m256 s = _mm256_setzero_ps();
	for (size_t p = 0; p < whole; p += 8) {
		__m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(z + p), m));
		_mm256_storeu_ps(z + p, e);
		s = _mm256_add_ps(s, e);
	}
	if (whole < count) { /* +0 added to a sum of exponentials leaves it as it is */
		__m256 e = _mm256_and_ps(exp8(_mm256_sub_ps(_mm256_loadu_ps(z + whole), m)), valid);
		_mm256_storeu_ps(z + whole, e);
		s = _mm256_add_ps(s, e);
	}
	*sum = tree8(s);
}

/* q[i].o[d..] += sum of e[i][p] * values[p][d..] for p < n, i < nq, nd registers of dimensions. */
INLINE void value_tile(const float *e, const struct kern_query *q, const uint16_t *v, const uint16_t *ahead,
        size_t n, size_t head_size, size_t d, const size_t nq, const size_t nd) {
	__m256 a[8];
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t j = 0; j < nd; j++)
			a[i * nd + j] = _mm256_loadu_ps(q[i].o + d + j * 8);
	}
	for (size_t p = 0; p < n; p++) {
		const uint16_t *row = v + p * head_size + d;
		UNROLL
		for (size_t j = 0; j < nd; j += 4)
			ask(ahead + p * head_size + d + j * 8);
		UNROLL
		for (size_t j = 0; j < nd; j++) {
			__m256 x = load_halves(row + j * 8);
			UNROLL
			for (size_t i = 0; i < nq; i++)
				a[i * nd + j] = _mm256_fmadd_ps(
				        _mm256_broadcast_ss(e + i * KERN_SPAN + p), x, a[i * nd + j]);
		}
	}
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t j = 0; j < nd; j++)
			_mm256_storeu_ps(q[i].o + d + j * 8, a[i * nd + j]);
	}
}

/* The first n values of a block (from v on) for nq (1..QUERIES) queries. */
static void value_block(const float *e, const struct kern_query *q, size_t nq, const uint16_t *v,
        const uint16_t *ahead, size_t n, size_t head_size) {
	size_t d = 0;
#define TILE(NQ, ND) \
	for (; d + ND * 8 <= head_size; d += ND * 8) \
	value_tile(e, q, v, ahead, n, head_size, d, NQ, ND)
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
				a = fmaf(e[i * KERN_SPAN + p], _cvtsh_ss(v[p * head_size + d]), a);
			q[i].o[d] = a;
		}
	}
}

void avx2_span(const struct kern_query *q, size_t nq, const uint16_t *const *keys,
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
			score_block(z + i * KERN_SPAN + b * KERN_KV_BLOCK, q + i, n, keys[b],
			        b + 1 < blocks ? keys[b + 1] : values[0], groups, head_size, scale);
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
			const uint16_t *next = values[b + 1 < blocks ? b + 1 : b];
			const float *e = z + i * KERN_SPAN + b * KERN_KV_BLOCK;
			if (shared > 0)
				value_block(e, q + i, n, values[b], next, shared, head_size);
			for (size_t j = 0; j < n; j++) {
				size_t own = in_block(q[i + j].count, b);
				if (own > shared)
					value_block(e + j * KERN_SPAN + shared, q + i + j, 1,
					        values[b] + shared * head_size, next + shared * head_size,
					        own - shared, head_size);
			}
		}
	}
}

/* out = fma(c, o, out) for one span. */
static void combine_span(float *out, const float *o, float c, size_t head_size) {
	__m256 cv = _mm256_set1_ps(c);
	size_t d = 0;
	for (; d + 8 <= head_size; d += 8)
		_mm256_storeu_ps(
		        out + d, _mm256_fmadd_ps(cv, _mm256_loadu_ps(o + d), _mm256_loadu_ps(out + d)));
	for (; d < head_size; d++)
		out[d] = fmaf(c, o[d], out[d]);
}

void avx2_combine(
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
