/* attention_tmpl: attention over one span on x86, instantiated by attention.c of this folder and of avx512/ with their vector
 * widths.
 *
 * kernels/ref/attention.c is the definition; this code is only faster.  Attention waits for memory, so each panel of a block is
 * read into the first-level cache once, from start to end, and used by all queries of the call, a tile of them at a time.  The
 * queries are heads of a group, which share keys and values, or rows of a prefill tile.  What comes next is prefetched meanwhile
 * (but see ways_of).  Few queries take several panels side by side, a row of each in turn: that is several streams
 * of memory, and as many sums that do not wait for each other.
 *
 * One loop serves keys and values: one accumulator per query and lane, rows of the panel ascending.
 * Scores: a lane is a position, a row a dimension.  A panel may have positions that a query does not see: those scores are
 * computed from whatever is there and never used.
 * Values: a lane is a dimension, a row a position; between blocks the sums are kept in the query's output.
 * Positions that only some queries of a tile see are computed for each query by itself.
 * The including file defines `vec`, a vector of LANES floats, and its operations (vec_*); `vec_line`, a line of 64 bytes, and
 * vec_piece, LANES bytes of it, which vec_scaled makes numbers, by scales (scales_*) of ROW_FLOATS floats;
 * QUERIES, the largest tile, and QUERIES_Q8, the largest tile over bytes, whose lane scales take registers too; SIDE, the most
 * panels side by side.
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

/* Panels that are walked side by side. */
struct panels {
	const uint8_t *panel[SIDE];
	const uint8_t *ahead[SIDE]; /* what is prefetched during row 0; the rows after it follow */
	const void *scale[SIDE];    /* per lane: LANES halves for each group; per row: ROW_FLOATS floats */
};

/* What the rows are multiplied by: for query i and row t at[t * step + i * apart], both constants, so that few registers hold it. */
struct factors {
	const float *at;
	size_t step, apart;
};

INLINE size_t row_bytes_of(const enum kv_panel kind) {
	return kind == HALVES ? KV_LANES * 2 : KV_LANES;
}

/* Into the second-level cache unless it is for soon, where panels lie side by side: a prefetch into the first occupies one of its few
 * miss buffers until memory answers, and the loads that are due would have to wait for one. */
INLINE void prefetch(const uint8_t *p, const bool near) {
	if (near)
		_mm_prefetch((const char *)p, _MM_HINT_T0);
	else
		_mm_prefetch((const char *)p, _MM_HINT_T1);
}

/* Row t of `panels` panels for nq queries (constants): a[(i * panels + j) * GROUPS + g] = fma(factor of i, lanes g * LANES.. of
 * panel j, the same).  lane: the scales of the panels' groups; line: of each panel, the line whose half `half` the row is. */
INLINE void walk_row(vec *a, struct factors x, const struct panels *p, const struct scales *lane,
        const vec_line *line, size_t half, size_t t, const enum kv_panel kind, const size_t nq,
        const size_t panels) {
	vec k[QUERIES];
	UNROLL
	for (size_t i = 0; i < nq; i++)
		k[i] = vec_set1(x.at[t * x.step + i * x.apart]);
	UNROLL
	for (size_t j = 0; j < panels; j++) {
		struct scales row = scales_of(vec_zero());
		if (kind == ROW_SCALES)
			row = scales_row((const float *)p->scale[j] + t * ROW_FLOATS);
		UNROLL
		for (size_t g = 0; g < GROUPS; g++) {
			vec v;
			if (kind == HALVES)
				v = vec_halves(p->panel[j] + (t * KV_LANES + g * LANES) * 2);
			else
				v = vec_scaled(vec_piece(line[j], half * GROUPS + g),
				        kind == LANE_SCALES ? lane[j * GROUPS + g] : row);
			UNROLL
			for (size_t i = 0; i < nq; i++) {
				vec *sum = &a[(i * panels + j) * GROUPS + g];
				*sum = vec_fmadd(k[i], v, *sum);
			}
		}
	}
	UNROLL
	for (size_t i = 0; i < nq * panels * GROUPS; i++)
		VEC_PIN(a[i]);
}

/* The lines that row t is in. */
INLINE void walk_lines(
        vec_line *line, const struct panels *p, size_t t, const enum kv_panel kind, const size_t panels) {
	UNROLL
	for (size_t j = 0; kind != HALVES && j < panels; j++)
		line[j] = vec_line_at(p->panel[j] + t / 2 * 2 * KV_LANES);
}

/* Rows [from, to). */
INLINE void walk(vec *a, struct factors x, const struct panels *of, size_t from, size_t to,
        const enum kv_panel kind, const size_t nq, const size_t panels) {
	const size_t rows = kind == HALVES ? 1 : 2; /* of a line */
	struct scales lane[SIDE * GROUPS];
	struct panels p; /* in registers */
	vec_line line[SIDE];
	size_t t = from;
	HIDE(x.at);
	UNROLL
	for (size_t j = 0; j < panels; j++) {
		p.panel[j] = of->panel[j];
		p.ahead[j] = of->ahead[j];
		p.scale[j] = of->scale[j];
		UNROLL
		for (size_t g = 0; kind == LANE_SCALES && g < GROUPS; g++)
			lane[j * GROUPS + g] =
			        scales_of(vec_halves((const uint8_t *)p.scale[j] + g * LANES * 2));
	}
	if (kind == ROW_SCALES && t % 2 && t < to) {
		walk_lines(line, &p, t, kind, panels);
		walk_row(a, x, &p, lane, line, 1, t++, kind, nq, panels);
	}
	for (; t + rows <= to; t += rows) {
		UNROLL
		for (size_t j = 0; j < panels; j++)
			prefetch(p.ahead[j] + t * row_bytes_of(kind), panels > 1);
		walk_lines(line, &p, t, kind, panels);
		UNROLL
		for (size_t half = 0; half < rows; half++)
			walk_row(a, x, &p, lane, line, half, t + half, kind, nq, panels);
	}
	if (kind == ROW_SCALES && t < to) {
		walk_lines(line, &p, t, kind, panels);
		walk_row(a, x, &p, lane, line, 0, t, kind, nq, panels);
	}
}

/* How many rows before they are met the panels are prefetched, at most those of a panel; none: they are not. */
struct ways {
	size_t lead;
	bool none;
};

/* z[i][0..) = scale * query i . keys of the panels; q: the queries, dimension by dimension; next: what is read after each of them. */
INLINE void score_tile(float *z, const float *q, const uint8_t *const *panel, const uint8_t *const *next,
        size_t head_size, float scale, struct ways ways, const enum kern_kv type, const size_t nq,
        const size_t panels) {
	vec a[QUERIES * GROUPS];
	struct factors x = {q, nq, 1};
	struct panels p;
	size_t lead = min_size(ways.lead, head_size);
	UNROLL
	for (size_t i = 0; i < nq * panels * GROUPS; i++)
		a[i] = vec_zero();
	if (type == KERN_KV_F16) {
		UNROLL
		for (size_t j = 0; j < panels; j++) {
			p.panel[j] = panel[j];
			p.ahead[j] = panel[j] + (ways.none ? 0 : lead * KV_LANES * 2);
		}
		walk(a, x, &p, 0, head_size - lead, HALVES, nq, panels);
		if (!ways.none) {
			UNROLL
			for (size_t j = 0; j < panels; j++)
				p.ahead[j] = next[j] - (head_size - lead) * KV_LANES * 2;
		}
		walk(a, x, &p, head_size - lead, head_size, HALVES, nq, panels);
	} else {
		for (size_t d = 0; d < head_size; d += KV_LANES) {
			UNROLL
			for (size_t j = 0; j < panels; j++) {
				size_t group = d / KV_LANES * KV_Q8_KEYS,
				       leads = lead / KV_LANES * KV_Q8_KEYS;
				p.scale[j] = panel[j] + group;
				p.panel[j] = panel[j] + group + KV_Q8_KEY_SCALES;
				p.ahead[j] = d + lead < head_size ? panel[j] + group + leads
				                                  : next[j] + group + leads -
				                                            head_size / KV_LANES * KV_Q8_KEYS;
				if (ways.none)
					p.ahead[j] = p.panel[j];
				prefetch(p.ahead[j] + KV_LANES * KV_LANES, panels > 1);
			}
			walk(a, x, &p, 0, KV_LANES, LANE_SCALES, nq, panels);
			x.at += KV_LANES * nq;
		}
	}
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t j = 0; j < panels * GROUPS; j++)
			vec_store(z + i * KERN_SPAN + j * LANES,
			        vec_mul(vec_set1(scale), a[i * panels * GROUPS + j]));
	}
}

/* Replaces eight scores by exponentials, and adds them to their stripes. */
INLINE __m256 exponentials8(float *z, __m256 max, __m256 stripes) {
	__m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(z), max));
	_mm256_storeu_ps(z, e);
	return _mm256_add_ps(stripes, e);
}

/* The same for LANES scores. */
INLINE __m256 vec_exponentials(float *z, vec max, __m256 stripes) {
	vec e = vec_exp_below(vec_sub(vec_load(z), max));
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

#define CHAINS 4 /* of maxima, whose order does not matter */

/* Replaces the scores [first, count) by exponentials; returns the span's maximum and sum. */
static void soften(float *z, size_t first, size_t count, float *max, float *sum) {
	size_t start = first / 8 * 8, whole = start < first ? start + 8 : start, p = whole;
	/* max(z, m) is z > m ? z : m, so a NaN is ignored. */
	__m256 m = _mm256_set1_ps(-INFINITY);
	if (start < whole)
		m = maximum_of(z + start, seen_lanes(start, first, count), m);
	vec most[CHAINS];
	UNROLL
	for (size_t i = 0; i < CHAINS; i++)
		most[i] = vec_set1(-INFINITY);
	for (; p + CHAINS * LANES <= count; p += CHAINS * LANES) {
		UNROLL
		for (size_t i = 0; i < CHAINS; i++)
			most[i] = vec_max(vec_load(z + p + i * LANES), most[i]);
	}
	UNROLL
	for (size_t i = 0; i < CHAINS; i++)
		m = vec_max8(most[i], m);
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

/* q[i].o[d..] += sum of e[i][p] * row p of panels of dimensions d.., for p in [from, to), i < nq; next: what is read after each
 * panel; scale: of the rows of each. */
INLINE void value_tile(const float *e, const struct kern_query *q, const uint8_t *const *panel,
        const uint8_t *const *next, size_t from, size_t to, size_t d,
        const float (*scale)[KERN_KV_BLOCK * ROW_FLOATS], struct ways ways, const enum kern_kv type,
        const size_t nq, const size_t panels) {
	const enum kv_panel kind = type == KERN_KV_F16 ? HALVES : ROW_SCALES;
	const size_t head = type == KERN_KV_F16 ? 0 : KV_Q8_VALUE_SCALES, row_bytes = row_bytes_of(kind);
	size_t last = KERN_KV_BLOCK - min_size(ways.lead, KERN_KV_BLOCK),
	       middle = max_size(from, min_size(to, last));
	vec a[QUERIES * GROUPS];
	struct factors x = {e, 1, KERN_SPAN};
	struct panels p;
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t j = 0; j < panels * GROUPS; j++)
			a[i * panels * GROUPS + j] = vec_load(q[i].o + d + j * LANES);
	}
	UNROLL
	for (size_t j = 0; j < panels; j++) {
		p.panel[j] = panel[j] + head;
		p.ahead[j] = p.panel[j] + (ways.none ? 0 : ways.lead * row_bytes);
		p.scale[j] = scale[j];
	}
	walk(a, x, &p, from, middle, kind, nq, panels);
	if (!ways.none) {
		UNROLL
		for (size_t j = 0; j < panels; j++) {
			p.ahead[j] = next[j] + head - last * row_bytes;
			for (size_t i = 0; i < head; i += 64)
				prefetch(next[j] + i, panels > 1);
		}
	}
	walk(a, x, &p, middle, to, kind, nq, panels);
	UNROLL
	for (size_t i = 0; i < nq; i++) {
		UNROLL
		for (size_t j = 0; j < panels * GROUPS; j++)
			vec_store(q[i].o + d + j * LANES, a[i * panels * GROUPS + j]);
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

/* The scales of a panel's rows, as vec_scaled takes them. */
INLINE void row_scales(float *scale, const uint8_t *panel, const enum kern_kv type) {
	for (size_t i = 0; type != KERN_KV_F16 && i < KERN_KV_BLOCK; i += LANES)
		scales_rows(scale + i * ROW_FLOATS, vec_halves(panel + i * 2));
}

/* Bytes of a panel of keys, and of a full panel of values. */
INLINE size_t key_panel(size_t head_size, const enum kern_kv type) {
	return type == KERN_KV_F16 ? KV_LANES * head_size * 2 : head_size / KV_LANES * KV_Q8_KEYS;
}
INLINE size_t value_panel(const enum kern_kv type) {
	return type == KERN_KV_F16 ? KERN_KV_BLOCK * KV_LANES * 2 : KV_Q8_VALUES;
}

/* Panel i of a span's keys. */
INLINE const uint8_t *keys_at(const void *const *keys, size_t i, size_t head_size, const enum kern_kv type) {
	const size_t panels = KERN_KV_BLOCK / KV_LANES;
	return (const uint8_t *)keys[i / panels] + i % panels * key_panel(head_size, type);
}

/* The same, or where there are `end` panels, the values that are read after them. */
INLINE const uint8_t *keys_or_values_at(const void *const *keys, const void *values, size_t i, size_t end,
        size_t head_size, const enum kern_kv type) {
	return i < end ? keys_at(keys, i, head_size, type)
	               : (const uint8_t *)values + (i - end) * value_panel(type);
}

/* A call of many queries, or of some that see different positions. */
struct span {
	const struct kern_query *q;
	const float *x; /* the queries, as score_tile takes those of each tile */
	size_t nq;
	const void *const *keys, *const *values;
	size_t head_size, first_block, count; /* of what any query sees */
	float scale, *z;
	struct ways ways;
};

/* Computes the scores of all queries that see it against panel i of the keys. */
INLINE void score(const struct span *s, size_t i, const enum kern_kv type) {
	size_t position = i * KV_LANES, end = (s->count + KV_LANES - 1) / KV_LANES;
	const uint8_t *panel = keys_at(s->keys, i, s->head_size, type),
	              *next = keys_or_values_at(
	                      s->keys, s->values[s->first_block], i + 1, end, s->head_size, type);
	struct ways ways = s->ways;
	for (size_t k = 0, n; k < s->nq; k += n) {
		n = tile_of(s->nq - k, type);
		struct kv_seen seen = kv_seen(s->q + k, n);
		if (seen.count <= position || seen.first >= position + KV_LANES)
			continue;
#define SCORE(nq) \
	score_tile(s->z + k * KERN_SPAN + position, s->x + k * s->head_size, &panel, &next, s->head_size, \
	        s->scale, ways, type, nq, 1)
		TILE(n, SCORE)
#undef SCORE
		ways.none = true;
	}
}

/* A panel of values that starts at dimension d, and its rows' scales. */
struct values {
	const uint8_t *panel, *next;
	size_t d, width;
	const float (*scale)[KERN_KV_BLOCK * ROW_FLOATS];
};

/* Values [from, to) of a panel for nq (1..QUERIES) queries; e as for the whole block. */
INLINE void gather_rows(const float *e, const struct kern_query *q, size_t nq, const struct values *v,
        size_t from, size_t to, struct ways ways, const enum kern_kv type) {
	if (from >= to)
		return;
	if (type == KERN_KV_F16 && v->width < KV_LANES) {
		const uint16_t *row = (const uint16_t *)(const void *)v->panel + from * v->width;
		for (size_t i = 0; i < nq; i++)
			value_rest(e + i * KERN_SPAN + from, q + i, row, to - from, v->d, v->width);
		return;
	}
#define VALUE(n) value_tile(e, q, &v->panel, &v->next, from, to, v->d, v->scale, ways, type, n, 1)
	TILE(nq, VALUE)
#undef VALUE
}

/* Adds the panel of a block's values that starts at dimension d, for all queries. */
INLINE void gather(const struct span *s, size_t block, size_t d, const enum kern_kv type) {
	float scale[1][KERN_KV_BLOCK * ROW_FLOATS];
	struct values v = {.d = d,
	        .width = kv_width(s->head_size, d),
	        .scale = (const float(*)[KERN_KV_BLOCK * ROW_FLOATS]) scale};
	v.panel = (const uint8_t *)s->values[block] + d / KV_LANES * value_panel(type);
	v.next = v.panel + value_panel(type);
	if (d + KV_LANES >= s->head_size)
		v.next = s->values[(block + 1) * KERN_KV_BLOCK < s->count ? block + 1 : block];
	row_scales(scale[0], v.panel, type);
	struct ways ways = s->ways;
	for (size_t i = 0, n; i < s->nq; i += n) {
		const struct kern_query *q = s->q + i;
		const float *e = s->z + i * KERN_SPAN + block * KERN_KV_BLOCK;
		n = tile_of(s->nq - i, type);
		struct kv_seen shared = kv_shared(q, n, block);
		for (size_t j = 0; j < n && shared.first > 0; j++)
			gather_rows(e + j * KERN_SPAN, q + j, 1, &v, kv_in_block(q[j].first, block),
			        min_size(kv_in_block(q[j].count, block), shared.first), ways, type);
		gather_rows(e, q, n, &v, shared.first, shared.count, ways, type);
		for (size_t j = 0; j < n; j++)
			gather_rows(e + j * KERN_SPAN, q + j, 1, &v, shared.count,
			        kv_in_block(q[j].count, block), ways, type);
		ways.none = true;
	}
}

/* The next panel is prefetched; none where the processor prefetches by itself and few queries wait for the data. */
INLINE struct ways ways_of(size_t nq) {
	return (struct ways){.lead = SIZE_MAX, .none = avx2_fetches_near && nq <= 4};
}

/* x[i] = row i of q[0..8) from dimension d on, as a column. */
static inline void turn8(float *x, const struct kern_query *q, size_t d) {
	__m256 r[8], p[8];
	UNROLL
	for (size_t i = 0; i < 8; i++)
		r[i] = _mm256_loadu_ps(q[i].q + d);
	UNROLL
	for (size_t i = 0; i < 8; i += 2) {
		p[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
		p[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
	}
	UNROLL
	for (size_t i = 0; i < 8; i += 4) {
		UNROLL
		for (size_t k = 0; k < 2; k++) {
			r[i + 2 * k] = _mm256_shuffle_ps(p[i + k], p[i + 2 + k], 0x44);
			r[i + 2 * k + 1] = _mm256_shuffle_ps(p[i + k], p[i + 2 + k], 0xee);
		}
	}
	UNROLL
	for (size_t i = 0; i < 4; i++) {
		_mm256_storeu_ps(x + i * 8, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
		_mm256_storeu_ps(x + (i + 4) * 8, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
	}
}

/* The queries of a tile, dimension by dimension. */
INLINE void turn(float *x, const struct kern_query *q, size_t head_size, const size_t nq) {
	size_t d = 0;
	for (; nq == 8 && d + 8 <= head_size; d += 8)
		turn8(x + d * 8, q, d);
	for (; d < head_size; d++) {
		UNROLL
		for (size_t i = 0; i < nq; i++)
			x[d * nq + i] = q[i].q[d];
	}
}

/* The queries of all tiles, behind the scores. */
INLINE const float *turned(
        const struct kern_query *q, size_t nq, size_t head_size, float *z, const enum kern_kv type) {
	float *x = z + nq * KERN_SPAN;
	if (nq == 1)
		return q->q;
	for (size_t k = 0, n; k < nq; k += n) {
		n = tile_of(nq - k, type);
#define TURN(tile) turn(x + k * head_size, q + k, head_size, tile)
		TILE(n, TURN)
#undef TURN
	}
	return x;
}

static void soften_all(const struct kern_query *q, size_t nq, float *z, size_t head_size) {
	for (size_t i = 0; i < nq; i++) {
		soften(z + i * KERN_SPAN, q[i].first, q[i].count, q[i].m, q[i].l);
		for (size_t d = 0; d < head_size; d++)
			q[i].o[d] = 0.0f;
	}
}

INLINE void span_of_many(const struct kern_query *q, size_t nq, const void *const *keys,
        const void *const *values, size_t head_size, float scale, float *z, const enum kern_kv type) {
	struct kv_seen seen = kv_seen(q, nq);
	struct span s = {q, turned(q, nq, head_size, z, type), nq, keys, values, head_size,
	        seen.first / KERN_KV_BLOCK, seen.count, scale, z, ways_of(nq)};
	for (size_t i = seen.first / KV_LANES; i * KV_LANES < seen.count; i++)
		score(&s, i, type);
	soften_all(q, nq, z, head_size);
	for (size_t b = s.first_block; b * KERN_KV_BLOCK < seen.count; b++)
		for (size_t d = 0; d < head_size; d += KV_LANES)
			gather(&s, b, d, type);
}

/* ---- few queries that see the same positions: panels side by side ---- */

/* Scores of panels [at, end) of keys, as many at a time as `panels`; returns the first that is left. */
INLINE size_t score_side(const struct span *s, size_t at, size_t end, const enum kern_kv type,
        const size_t nq, const size_t panels) {
	for (; at + panels <= end; at += panels) {
		const uint8_t *panel[SIDE], *next[SIDE];
		UNROLL
		for (size_t j = 0; j < panels; j++) {
			panel[j] = keys_at(s->keys, at + j, s->head_size, type);
			next[j] = keys_or_values_at(
			        s->keys, s->values[s->first_block], at + panels + j, end, s->head_size, type);
		}
		score_tile(s->z + at * KV_LANES, s->x, panel, next, s->head_size, s->scale, s->ways, type, nq,
		        panels);
	}
	return at;
}

/* Full panels of a block's values from dimension d on; returns the first that is left. */
INLINE size_t gather_side(const struct span *s, size_t block, size_t d, const enum kern_kv type,
        const size_t nq, const size_t panels) {
	float scale[SIDE][KERN_KV_BLOCK * ROW_FLOATS];
	const float *e = s->z + block * KERN_KV_BLOCK;
	const void *after = s->values[(block + 1) * KERN_KV_BLOCK < s->count ? block + 1 : block];
	for (; d + panels * KV_LANES <= s->head_size; d += panels * KV_LANES) {
		const uint8_t *panel[SIDE], *next[SIDE];
		bool last = d + 2 * panels * KV_LANES > s->head_size;
		UNROLL
		for (size_t j = 0; j < panels; j++) {
			panel[j] = (const uint8_t *)s->values[block] + (d / KV_LANES + j) * value_panel(type);
			next[j] = last ? (const uint8_t *)after + j * value_panel(type)
			               : panel[j] + panels * value_panel(type);
			row_scales(scale[j], panel[j], type);
		}
		value_tile(e, s->q, panel, next, kv_in_block(s->q->first, block),
		        kv_in_block(s->count, block), d, (const float(*)[KERN_KV_BLOCK * ROW_FLOATS]) scale,
		        s->ways, type, nq, panels);
	}
	return d;
}

INLINE void span_of_few(const struct kern_query *q, const void *const *keys, const void *const *values,
        size_t head_size, float scale, float *z, const enum kern_kv type, const size_t nq) {
	const size_t panels = SIDE < QUERIES / nq ? SIDE : QUERIES / nq;
	size_t at = q->first / KV_LANES, end = (q->count + KV_LANES - 1) / KV_LANES;
	struct span s = {q, turned(q, nq, head_size, z, type), nq, keys, values, head_size,
	        q->first / KERN_KV_BLOCK, q->count, scale, z, ways_of(nq)};
	if (panels > 1)
		s.ways = (struct ways){.lead = KV_LANES};
	at = score_side(&s, at, end, type, nq, panels);
	if (panels > 2)
		at = score_side(&s, at, end, type, nq, 2);
	if (panels > 1)
		score_side(&s, at, end, type, nq, 1);
	soften_all(q, nq, z, head_size);
	for (size_t b = s.first_block; b * KERN_KV_BLOCK < q->count; b++) {
		size_t from = kv_in_block(q->first, b), to = kv_in_block(q->count, b);
		size_t d = gather_side(&s, b, 0, type, nq, panels);
		if (panels > 2)
			d = gather_side(&s, b, d, type, nq, 2);
		if (panels > 1)
			d = gather_side(&s, b, d, type, nq, 1);
		const uint16_t *rest =
		        (const uint16_t *)values[b] + d * KERN_KV_BLOCK + from * (head_size - d);
		for (size_t i = 0; i < nq && d < head_size; i++)
			value_rest(z + i * KERN_SPAN + b * KERN_KV_BLOCK + from, q + i, rest, to - from, d,
			        head_size - d);
	}
}

/* Whether few queries are to take panels side by side.  Intel's processors read several streams faster than one, others do
 * not. */
INLINE bool side_by_side(const struct kern_query *q, size_t nq, const enum kern_kv type) {
	const size_t most = type == KERN_KV_F16 ? QUERIES : QUERIES_Q8;
	if (nq > most || !__builtin_cpu_is("intel"))
		return false;
	for (size_t i = 1; i < nq; i++)
		if (q[i].first != q->first || q[i].count != q->count)
			return false;
	return true;
}

INLINE void span_of(const struct kern_query *q, size_t nq, const void *const *keys, const void *const *values,
        size_t head_size, float scale, float *z, const enum kern_kv type) {
	if (!side_by_side(q, nq, type)) {
		span_of_many(q, nq, keys, values, head_size, scale, z, type);
		return;
	}
#define FEW(n) span_of_few(q, keys, values, head_size, scale, z, type, n)
	TILE(nq, FEW)
#undef FEW
}

#endif
