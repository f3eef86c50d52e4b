/* attention_tmpl: attention over one span on x86, instantiated by attention.c of this folder and of avx512/ with their vector
 * widths.
 *
 * kernels/ref/attention.c is the definition; this code is only faster.  Attention waits for memory, so each panel of a block is
 * read into the first-level cache once, from start to end, and used by all queries of the call, a tile of them at a time.  The
 * queries are heads of a group, which share keys and values, or rows of a prefill tile.  While one panel is read, the next one
 * is prefetched (but see ahead_of).
 *
 * One loop serves keys and values: one accumulator per query and lane, rows of the panel ascending.
 * Scores: a lane is a position, a row a dimension.  A panel may have positions that a query does not see: those scores are
 * computed from whatever is there and never used.
 * Values: a lane is a dimension, a row a position; between blocks the sums are kept in the query's output.
 * Positions that only some queries of a tile see are computed for each query by itself.
 * The including file defines `vec`, a vector of LANES floats, and its operations (vec_*); QUERIES, the largest tile, and
 * QUERIES_Q8, the largest tile over bytes, whose lane scales take registers too.
 * Pure; any thread. */
#ifndef KERNELS_AVX2_ATTENTION_TMPL_H
#define KERNELS_AVX2_ATTENTION_TMPL_H
#include <math.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/common.h"
#include "kernels/avx2/vector.h"
#include "kernels/kernels.h"
#include "kernels/kvlayout.h"

#define GROUPS (KV_LANES / LANES)

/* How many of the `left` remaining queries are in the next tile: the last two tiles have about the same
 * size. */
INLINE size_t tile_of(size_t left, const enum kern_kv type) {
	const size_t most = type == KERN_KV_F16 ? QUERIES : QUERIES_Q8;
	return left > most && left < 2 * most ? (left + 1) / 2 : min_size(left, most);
}

/* Calls with the number of queries as a constant. */
#define TILE(nq, call) \
	switch (nq) { \
	case 1: \
		call(1); \
		break; \
	case 2: \
		call(2); \
		break; \
	case 3: \
		call(3); \
		break; \
		TILE_WIDE(call) \
	}
#if QUERIES > 3
#define TILE_WIDE(call) \
	case 4: \
		call(4); \
		break; \
	case 5: \
		call(5); \
		break; \
	case 6: \
		call(6); \
		break; \
	case 7: \
		call(7); \
		break; \
	case 8: \
		call(8); \
		break;
#else
#define TILE_WIDE(call)
#endif

/* The prefetches during the walk over a panel: `step` bytes per row.  Into the second-level cache: a prefetch
 * into the first occupies one of its few miss buffers until memory answers, and the loads that are due would
 * have to wait for one. */
struct ahead {
	const char *at;
	size_t step; /* 0 if already prefetched */
};

/* Loads LANES lanes of a row. */
INLINE vec lanes_at(const uint8_t *row, size_t g, vec scale, const enum kv_panel kind) {
	if (kind == HALVES)
		return vec_halves(row + g * LANES * 2);
	return vec_mul(vec_bytes(row + g * LANES), scale);
}

/* a[i][g] = fma(x[i][t], lanes g * LANES.. of row t, a[i][g]) for t < rows, i < nq (a constant of the
 * caller).  scale: per lane (a vector per group) or per row (a float each). */
INLINE void walk(vec *a, const float *const *x, const uint8_t *panel, size_t rows, struct ahead ahead,
        const void *scale, const enum kv_panel kind, const size_t nq) {
	const size_t row_bytes = kind == HALVES ? KV_LANES * 2 : KV_LANES;
	vec lane[GROUPS];
	if (kind == LANE_SCALES) {
		UNROLL
		for (size_t g = 0; g < GROUPS; g++)
			lane[g] = vec_halves((const uint8_t *)scale + g * LANES * 2);
	}
	for (size_t t = 0; t < rows; t++, ahead.at += ahead.step) {
		vec k[QUERIES], row = vec_zero();
		_mm_prefetch(ahead.at, _MM_HINT_T1);
		if (kind == ROW_SCALES)
			row = vec_set1(((const float *)scale)[t]);
		UNROLL
		for (size_t i = 0; i < nq; i++)
			k[i] = vec_set1(x[i][t]);
		UNROLL
		for (size_t g = 0; g < GROUPS; g++) {
			vec v = lanes_at(panel + t * row_bytes, g, kind == LANE_SCALES ? lane[g] : row, kind);
			UNROLL
			for (size_t i = 0; i < nq; i++)
				a[i * GROUPS + g] = vec_fmadd(k[i], v, a[i * GROUPS + g]);
		}
		UNROLL
		for (size_t i = 0; i < nq * GROUPS; i++)
			VEC_PIN(a[i]);
	}
}

/* z[i][0..KV_LANES) = scale * q[i] . keys of the panel. */
INLINE void score_tile(float *z, const struct kern_query *q, const uint8_t *panel, size_t head_size,
        float scale, struct ahead ahead, const enum kern_kv type, const size_t nq) {
	vec a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL
	for (size_t i = 0; i < nq; i++)
		x[i] = q[i].q;
	UNROLL
	for (size_t i = 0; i < nq * GROUPS; i++)
		a[i] = vec_zero();
	if (type == KERN_KV_F16) {
		walk(a, x, panel, head_size, ahead, NULL, HALVES, nq);
	} else {
		for (size_t d = 0; d < head_size; d += KV_LANES) {
			walk(a, x, panel + KV_Q8_KEY_SCALES, KV_LANES, ahead, panel, LANE_SCALES, nq);
			panel += KV_Q8_KEYS;
			ahead.at += KV_LANES * ahead.step;
			UNROLL
			for (size_t i = 0; i < nq; i++)
				x[i] += KV_LANES;
		}
	}
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t g = 0; g < GROUPS; g++)
			vec_store(z + i * KERN_SPAN + g * LANES, vec_mul(vec_set1(scale), a[i * GROUPS + g]));
	}
}

INLINE void score_panel(float *z, const struct kern_query *q, size_t nq, const uint8_t *panel,
        size_t head_size, float scale, struct ahead ahead, const enum kern_kv type){
#define SCORE(n) score_tile(z, q, panel, head_size, scale, ahead, type, n)
        TILE(nq, SCORE)
#undef SCORE
}

/* Replaces eight scores by exponentials, and adds them to their stripes. */
INLINE __m256 exponentials8(float *z, __m256 max, __m256 stripes) {
	__m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(z), max));
	_mm256_storeu_ps(z, e);
	return _mm256_add_ps(stripes, e);
}

/* The same for LANES scores. */
INLINE __m256 vec_exponentials(float *z, vec max, __m256 stripes) {
	vec e = vec_exp(vec_sub(vec_load(z), max));
	vec_store(z, e);
	return vec_stripes(stripes, e);
}

/* The lanes of the group at p whose positions are in [first, count). */
static inline __m256 seen_lanes(size_t p, size_t first, size_t count) {
	__m256i before = lanes_below(first > p ? first - p : 0);
	return _mm256_castsi256_ps(_mm256_andnot_si256(before, lanes_below(count - p)));
}

/* Of a group of which only some lanes are seen: the greatest score and m; the exponentials, added to their stripes (adding +0
 * does not change a sum of exponentials). */
static inline __m256 maximum_of(const float *z, __m256 seen, __m256 m) {
	return _mm256_max_ps(_mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_loadu_ps(z), seen), m);
}
static inline __m256 exponentials_of(float *z, __m256 seen, __m256 max, __m256 stripes) {
	__m256 e = _mm256_and_ps(exp8(_mm256_sub_ps(_mm256_loadu_ps(z), max)), seen);
	_mm256_storeu_ps(z, e);
	return _mm256_add_ps(stripes, e);
}

/* Replaces the scores [first, count) by exponentials; returns the span's maximum and sum. */
static void soften(float *z, size_t first, size_t count, float *max, float *sum) {
	size_t start = first / 8 * 8, whole = start < first ? start + 8 : start, p = whole;
	/* max_ps(z, m) is z > m ? z : m, so a NaN is ignored. */
	__m256 m = _mm256_set1_ps(-INFINITY);
	if (start < whole)
		m = maximum_of(z + start, seen_lanes(start, first, count), m);
	for (; p + 8 <= count; p += 8)
		m = _mm256_max_ps(_mm256_loadu_ps(z + p), m);
	if (p < count)
		m = maximum_of(z + p, seen_lanes(p, first, count), m);
	__m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
	h = _mm_max_ps(h, _mm_movehl_ps(h, h));
	h = _mm_max_ss(h, _mm_movehdup_ps(h));
	*max = _mm_cvtss_f32(h) + 0.0f; /* a zero becomes +0, as in the reference */
	m = _mm256_set1_ps(*max);
	__m256 s = _mm256_setzero_ps();
	if (start < whole)
		s = exponentials_of(z + start, seen_lanes(start, first, count), m, s);
	for (p = whole; p + LANES <= count; p += LANES)
		s = vec_exponentials(z + p, vec_set1(*max), s);
	for (; p + 8 <= count; p += 8)
		s = exponentials8(z + p, m, s);
	if (p < count)
		s = exponentials_of(z + p, seen_lanes(p, first, count), m, s);
	*sum = tree8(s);
}

/* q[i].o[d..] += sum of e[i][p] * row p of a panel of dimensions d.., for p < n, i < nq.  scale: of the rows. */
INLINE void value_tile(const float *e, const struct kern_query *q, const uint8_t *panel, size_t n, size_t d,
        struct ahead ahead, const float *scale, const enum kern_kv type, const size_t nq) {
	vec a[QUERIES * GROUPS];
	const float *x[QUERIES];
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		x[i] = e + i * KERN_SPAN;
		UNROLL
		for (size_t g = 0; g < GROUPS; g++)
			a[i * GROUPS + g] = vec_load(q[i].o + d + g * LANES);
	}
	walk(a, x, panel, n, ahead, scale, type == KERN_KV_F16 ? HALVES : ROW_SCALES, nq);
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t g = 0; g < GROUPS; g++)
			vec_store(q[i].o + d + g * LANES, a[i * GROUPS + g]);
	}
}

/* The same for a narrower panel of halves, for one query. */
static void value_rest(
        const float *e, const struct kern_query *q, const uint16_t *panel, size_t n, size_t d, size_t width) {
	size_t g = 0;
	for (; g + 8 <= width; g += 8) {
		__m256 a = _mm256_loadu_ps(q->o + d + g);
		for (size_t p = 0; p < n; p++)
			a = _mm256_fmadd_ps(
			        _mm256_broadcast_ss(e + p), load_halves(panel + p * width + g), a);
		_mm256_storeu_ps(q->o + d + g, a);
	}
	for (; g < width; g++) {
		float a = q->o[d + g];
		for (size_t p = 0; p < n; p++)
			a = fmaf(e[p], _cvtsh_ss(panel[p * width + g]), a);
		q->o[d + g] = a;
	}
}

/* A panel of values: rows of `width` lanes, one per position. */
struct values {
	const uint8_t *row;
	size_t row_bytes, width;
	const float *scale; /* of each row, for types with scales */
};

/* Values [from, to) of a panel that starts at dimension d, for nq (1..QUERIES) queries; e as for the whole block. */
INLINE void value_panel(const float *e, const struct kern_query *q, size_t nq, const struct values *v,
        size_t from, size_t to, size_t d, struct ahead ahead, const enum kern_kv type) {
	if (from >= to)
		return;
	const uint8_t *row = v->row + from * v->row_bytes;
	const float *scale = v->scale + from;
	e += from;
	if (type == KERN_KV_F16 && v->width < KV_LANES) {
		for (size_t i = 0; i < nq; i++)
			value_rest(e + i * KERN_SPAN, q + i, (const uint16_t *)(const void *)row, to - from,
			        d, v->width);
		return;
	}
#define VALUE(n) value_tile(e, q, row, to - from, d, ahead, scale, type, n)
	TILE(nq, VALUE)
#undef VALUE
}

/* Computes the scores of all queries that see it against the panel of keys from `position` on. */
INLINE void score(const struct kern_query *q, size_t nq, const uint8_t *panel, struct ahead ahead,
        size_t position, size_t head_size, float scale, float *z, const enum kern_kv type) {
	for (size_t i = 0, n; i < nq; i += n) {
		n = tile_of(nq - i, type);
		struct kv_seen seen = kv_seen(q + i, n);
		if (seen.count <= position || seen.first >= position + KV_LANES)
			continue;
		score_panel(z + i * KERN_SPAN + position, q + i, n, panel, head_size, scale, ahead, type);
		ahead.step = 0;
	}
}

/* Adds the panel of a block's values that starts at dimension d, for all queries. */
INLINE void gather(const struct kern_query *q, size_t nq, const struct values *v, struct ahead ahead,
        size_t block, size_t d, const float *z, const enum kern_kv type) {
	for (size_t i = 0, n; i < nq; i += n) {
		const float *e = z + i * KERN_SPAN + block * KERN_KV_BLOCK;
		n = tile_of(nq - i, type);
		struct kv_seen shared = kv_shared(q + i, n, block);
		for (size_t j = 0; j < n && shared.first > 0; j++)
			value_panel(e + j * KERN_SPAN, q + i + j, 1, v, kv_in_block(q[i + j].first, block),
			        min_size(kv_in_block(q[i + j].count, block), shared.first), d, ahead, type);
		value_panel(e, q + i, n, v, shared.first, shared.count, d, ahead, type);
		for (size_t j = 0; j < n; j++)
			value_panel(e + j * KERN_SPAN, q + i + j, 1, v, shared.count,
			        kv_in_block(q[i + j].count, block), d, ahead, type);
		ahead.step = 0;
	}
}

/* Bytes of a panel of keys, and of a full panel of values. */
INLINE size_t key_panel(size_t head_size, const enum kern_kv type) {
	return type == KERN_KV_F16 ? KV_LANES * head_size * 2 : head_size / KV_LANES * KV_Q8_KEYS;
}

INLINE size_t value_panel_bytes(const enum kern_kv type) {
	return type == KERN_KV_F16 ? KERN_KV_BLOCK * KV_LANES * 2 : KV_Q8_VALUES;
}

/* Bytes to prefetch per row of a walk: those of a panel divided by its rows. */
INLINE size_t step_of(const enum kern_kv type) {
	return type == KERN_KV_F16 ? KV_LANES * 2 : KV_Q8_KEYS / KV_LANES;
}

/* None where the processor prefetches by itself and few queries wait for the data. */
INLINE struct ahead ahead_of(const void *panel, const void *next, size_t nq, const enum kern_kv type) {
	if (avx2_fetches_near && nq <= 4)
		return (struct ahead){panel, 0};
	return (struct ahead){next, step_of(type)};
}

INLINE void span_of(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, float *z, const enum kern_kv type) {
	struct kv_seen seen = kv_seen(q, nq);
	size_t block = seen.first / KERN_KV_BLOCK;
	float row_scale[KERN_KV_BLOCK];
	for (size_t p = seen.first / KV_LANES * KV_LANES, end; p < seen.count; p = end) {
		const uint8_t *panel = (const uint8_t *)keys[p / KERN_KV_BLOCK] +
		                       p % KERN_KV_BLOCK / KV_LANES * key_panel(head_size, type);
		end = p + KV_LANES;
		const void *next = end >= seen.count          ? values[block]
		                   : end % KERN_KV_BLOCK == 0 ? keys[end / KERN_KV_BLOCK]
		                                              : panel + key_panel(head_size, type);
		score(q, nq, panel, ahead_of(panel, next, nq, type), p, head_size, scale, z, type);
	}
	for (size_t i = 0; i < nq; i++) {
		soften(z + i * KERN_SPAN, q[i].first, q[i].count, q[i].m, q[i].l);
		for (size_t d = 0; d < head_size; d++)
			q[i].o[d] = 0.0f;
	}
	for (size_t b = block; b * KERN_KV_BLOCK < seen.count; b++)
		for (size_t d = 0; d < head_size; d += KV_LANES) {
			const uint8_t *panel =
			        (const uint8_t *)values[b] + d / KV_LANES * value_panel_bytes(type);
			const void *next = panel + value_panel_bytes(type);
			if (d + KV_LANES >= head_size)
				next = values[(b + 1) * KERN_KV_BLOCK < seen.count ? b + 1 : b];
			struct values v = {.row = panel, .width = kv_width(head_size, d), .scale = row_scale};
			v.row_bytes = v.width * 2;
			if (type == KERN_KV_Q8_0) {
				for (size_t i = 0; i < KERN_KV_BLOCK; i += 8)
					_mm256_storeu_ps(row_scale + i, load_halves(panel + i * 2));
				v.row += KV_Q8_VALUE_SCALES;
				v.row_bytes = KV_LANES;
			}
			gather(q, nq, &v, ahead_of(panel, next, nq, type), b, d, z, type);
		}
}

#endif
