/* checkkern_ops: every operation of a layer, of every level, against the reference.
 *
 * Results must be equal bit for bit, except that one NaN is as good as another: which of them an operation
 * gives differs between processors, and a step with one fails.  Sizes cover the tails of every vector length,
 * values cover subnormals, infinities, NaN and the ends of float16.  What an operation must not touch is
 * compared as well.  One thread. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"
#include "tests/unit/kernels/checkkern.h"

#define MAX_N 4160
#define MAX_HEAD 576
#define MAX_QUERIES 16
#define BLOCKS (KERN_SPAN / KERN_KV_BLOCK)

static const size_t head_sizes[] = {2, 6, 8, 12, 16, 32, 64, 80, 96, 128, 160, 256, 576};
static const size_t counts[] = {1, 2, 7, 8, 9, 31, 63, 64, 65, 127, 129, 200, 320, 505, 511, 512};
#define LENGTH(a) (sizeof(a) / sizeof *(a))

/* Kinds of random values, from harmless to hostile. */
enum kind { PLAIN, WIDE, SMALL, HOSTILE, KINDS };
static const char *const kind_name[] = {"plain", "wide", "small", "hostile"};

/* Times 2^low to 2^(low + n - 1).  In two steps: arguments are evaluated in any order. */
static float scaled_float(struct checkkern *ck, int low, unsigned n) {
	float f = checkkern_float(ck);
	return ldexpf(f, low + (int)(checkkern_random(ck) % n));
}

static float any_float(struct checkkern *ck, enum kind kind) {
	static const float odd[] = {0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, -0x1p-149f,
	        0x1p-126f, 3.4028235e38f, -3.4028235e38f, 65504.0f, 65519.996f, 65520.0f, -65520.0f,
	        88.72283f, 88.72284f, -88.72283f, -88.72284f, -87.33654f, -87.33655f, 0x1p-24f, 0x1p-25f,
	        0x1.8p-25f};
	switch (kind) {
	case PLAIN:
		return 4.0f * checkkern_float(ck);
	case WIDE:
		return scaled_float(ck, -30, 60);
	case SMALL:
		return scaled_float(ck, -150, 30);
	default:
		return checkkern_random(ck) % 16 ? checkkern_float(ck)
		                                 : odd[checkkern_random(ck) % LENGTH(odd)];
	}
}

static void fill(struct checkkern *ck, float *x, size_t n, enum kind kind) {
	for (size_t i = 0; i < n; i++)
		x[i] = any_float(ck, kind);
}

static bool same(struct checkkern *ck, const float *a, const float *b, size_t n) {
	checkkern_hash_floats(ck, a, n);
	for (size_t i = 0; i < n; i++)
		if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
			return false;
	return true;
}

/* Lengths to try: all small ones, then a few that are whole and not. */
static size_t length_at(size_t i) {
	static const size_t more[] = {96, 100, 127, 128, 1000, 1024, 4095, 4096, 4100};
	return i < 70 ? i + 1 : i - 70 < LENGTH(more) ? more[i - 70] : 0;
}

struct buffers {
	float *x, *w, *a, *b;
};

static void check_norm(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n + 1, kind);
		fill(ck, f->w, n, kind == HOSTILE ? PLAIN : kind);
		memcpy(f->a, f->x, (n + 1) * sizeof(float));
		memcpy(f->b, f->x, (n + 1) * sizeof(float));
		int ra = ref->rmsnorm(f->a, f->x, f->w, n, 1e-5f),
		    rb = ops->rmsnorm(f->b, f->x, f->w, n, 1e-5f);
		ok &= ra == rb && (ra != 0 || same(ck, f->a, f->b, n + 1));
		memcpy(f->b, f->x, (n + 1) * sizeof(float));
		rb = ops->rmsnorm(f->b, f->b, f->w, n, 1e-5f);
		ok &= ra == rb && (ra != 0 || same(ck, f->a, f->b, n + 1));
	}
	checkkern_case(ck, ok, "%s rmsnorm, %s", ops->name, kind_name[kind]);
}

/* The sum of squares may overflow though every element is finite, in any stripe. */
static void check_norm_overflow(struct checkkern *ck, const struct kern_ops *ops, struct buffers *f) {
	bool ok = true;
	for (size_t n = 1; n <= 67; n++) {
		for (size_t at = 0; at < n; at++) {
			for (size_t i = 0; i < n; i++)
				f->x[i] = f->w[i] = 1.0f;
			f->x[at] = at % 3 == 0 ? NAN : at % 3 == 1 ? -INFINITY : 0x1p64f;
			ok &= ops->rmsnorm(f->a, f->x, f->w, n, 1e-5f) == -EDOM;
		}
	}
	checkkern_case(ck, ok, "%s rmsnorm refuses what is not finite", ops->name);
}

static void check_rope(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind, enum kern_rope way) {
	bool ok = true;
	for (size_t k = 0; k < LENGTH(head_sizes); k++) {
		size_t hs = head_sizes[k];
		for (size_t heads = 1; heads <= 3; heads++) {
			for (size_t pairs = hs / 2;; pairs = pairs / 2) {
				fill(ck, f->x, heads * hs, kind);
				fill(ck, f->w, 2 * pairs, PLAIN);
				memcpy(f->a, f->x, heads * hs * sizeof(float));
				memcpy(f->b, f->x, heads * hs * sizeof(float));
				ref->rope[way](f->a, heads, hs, f->w, pairs);
				ops->rope[way](f->b, heads, hs, f->w, pairs);
				ok &= same(ck, f->a, f->b, heads * hs);
				if (pairs == 0)
					break;
			}
		}
	}
	checkkern_case(ck, ok, "%s rope of %s, %s", ops->name, way == KERN_ROPE_PAIRS ? "pairs" : "halves",
	        kind_name[kind]);
}

static const char *const glu_name[KERN_GLUS] = {"swiglu", "geglu", "swiglu_bounded"};

static void check_glu(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind, enum kern_glu glu) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n + 1, kind);
		fill(ck, f->w, n + 1, kind);
		memcpy(f->a, f->x, (n + 1) * sizeof(float));
		memcpy(f->b, f->x, (n + 1) * sizeof(float));
		ref->glu[glu](f->a, f->x, f->w, n);
		ops->glu[glu](f->b, f->b, f->w, n);
		ok &= same(ck, f->a, f->b, n + 1);
		memcpy(f->b, f->w, (n + 1) * sizeof(float));
		ops->glu[glu](f->b, f->x, f->b, n);
		ok &= same(ck, f->a, f->b, n);
	}
	checkkern_case(ck, ok, "%s %s, %s", ops->name, glu_name[glu], kind_name[kind]);
}

/* Gates over all floats in steps: the exponential's clamps, the bound, both infinities, every NaN; the factors as well. */
static void check_glu_sweep(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kern_glu glu) {
	bool ok = true;
	uint64_t bits = 0, step = ck->quick ? 262147 : 12289;
	while (bits <= UINT32_MAX) {
		size_t n = 0;
		for (; n < 1024 && bits <= UINT32_MAX; n++, bits += step) {
			uint32_t u = (uint32_t)bits;
			memcpy(&f->x[n], &u, sizeof u);
			f->w[n] = 0x1p100f;
		}
		ref->glu[glu](f->a, f->x, f->w, n);
		ops->glu[glu](f->b, f->x, f->w, n);
		ok &= same(ck, f->a, f->b, n);
		ref->glu[glu](f->a, f->w, f->x, n);
		ops->glu[glu](f->b, f->w, f->x, n);
		ok &= same(ck, f->a, f->b, n);
	}
	checkkern_case(ck, ok, "%s %s over all floats in steps", ops->name, glu_name[glu]);
}

static void check_add(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n, kind);
		fill(ck, f->a, n + 1, kind);
		memcpy(f->b, f->a, (n + 1) * sizeof(float));
		ref->add(f->a, f->x, n);
		ops->add(f->b, f->x, n);
		ok &= same(ck, f->a, f->b, n + 1);
	}
	checkkern_case(ck, ok, "%s add, %s", ops->name, kind_name[kind]);
}

static void check_exp_sum(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n, kind);
		f->x[n] = NAN;
		float max = any_float(ck, kind);
		double a = ref->exp_sum(f->x, n, max), b = ops->exp_sum(f->x, n, max);
		ok &= memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
	}
	ok &= ops->exp_sum(f->x, 0, 0) == 0;
	checkkern_case(ck, ok, "%s exp_sum, %s", ops->name, kind_name[kind]);
}

/* The same buffer for operands and result, as callers have it. */
static void check_gate(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n + 1, kind);
		fill(ck, f->w, n + 1, kind);
		memcpy(f->a, f->x, (n + 1) * sizeof(float));
		memcpy(f->b, f->x, (n + 1) * sizeof(float));
		ref->gate(f->a, f->x, f->w, n);
		ops->gate(f->b, f->b, f->w, n);
		ok &= same(ck, f->a, f->b, n + 1);
	}
	checkkern_case(ck, ok, "%s gate, %s", ops->name, kind_name[kind]);
}

static void check_l2norm(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		fill(ck, f->x, n + 1, kind);
		memcpy(f->a, f->x, (n + 1) * sizeof(float));
		memcpy(f->b, f->x, (n + 1) * sizeof(float));
		int ra = ref->l2norm(f->a, f->x, n, 0.25f), rb = ops->l2norm(f->b, f->b, n, 0.25f);
		ok &= ra == rb && (ra != 0 || same(ck, f->a, f->b, n + 1));
	}
	checkkern_case(ck, ok, "%s l2norm, %s", ops->name, kind_name[kind]);
}

/* Rows and weights that overlap, each an element further on. */
static void check_conv(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	bool ok = true;
	for (size_t k = 0, n; (n = length_at(k)) > 0; k++) {
		const float *x[KERN_CONV], *w[KERN_CONV];
		for (size_t t = 0; t < KERN_CONV; t++) {
			x[t] = f->x + t;
			w[t] = f->w + KERN_CONV - t;
		}
		fill(ck, f->x, n + KERN_CONV, kind);
		fill(ck, f->w, n + KERN_CONV, PLAIN);
		f->a[n] = f->b[n] = 1.0f;
		ref->conv(f->a, x, w, n);
		ops->conv(f->b, x, w, n);
		ok &= same(ck, f->a, f->b, n + 1);
	}
	checkkern_case(ck, ok, "%s conv, %s", ops->name, kind_name[kind]);
}

#define DELTA_ROWS 5
#define DELTA_N 128

/* A state in place, from another one, and from nothing; rows that are further apart than they are long. */
static bool delta_same(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, size_t n, size_t panels, size_t rows, size_t start) {
	size_t size = panels * KERN_PANEL * n, width = panels * KERN_PANEL;
	float *state[2] = {checkkern_alloc(size * sizeof(float)), checkkern_alloc(size * sizeof(float))};
	float *from = checkkern_alloc(size * sizeof(float)), *out[2] = {f->a, f->b};
	fill(ck, from, size, PLAIN);
	for (int r = 0; r < 2; r++) {
		memcpy(state[r], from, size * sizeof(float));
		for (size_t i = 0; i < rows * (width + 3); i++)
			out[r][i] = 12345.0f;
		struct kern_delta d = {.q = f->x,
		        .k = f->x + n,
		        .v = f->x + 2 * n,
		        .stride = 2 * n + width + 1,
		        .o = out[r],
		        .o_stride = width + 3,
		        .rate = f->w,
		        .rate_stride = 3,
		        .rows = rows};
		(r ? ops : ref)
		        ->delta(state[r],
		                start == 0   ? NULL
		                : start == 1 ? from
		                             : state[r],
		                &d, n, panels);
	}
	bool ok = same(ck, state[0], state[1], size) && same(ck, f->a, f->b, rows * (width + 3));
	free(state[0]);
	free(state[1]);
	free(from);
	return ok;
}

static void check_delta(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	static const size_t sizes[] = {16, 48, 64, DELTA_N};
	bool ok = true;
	for (size_t s = 0, turn = 0; s < LENGTH(sizes); s++)
		for (size_t panels = 1; panels <= sizes[s] / KERN_PANEL; panels++)
			for (size_t rows = 1; rows <= DELTA_ROWS; rows++, turn++) {
				if (ck->quick && turn % 5 > 0)
					continue;
				fill(ck, f->x, DELTA_ROWS * (3 * DELTA_N + 1), kind);
				fill(ck, f->w, 3 * DELTA_ROWS, PLAIN);
				ok &= delta_same(ck, ref, ops, f, sizes[s], panels, rows, turn % 3);
			}
	checkkern_case(ck, ok, "%s delta, %s", ops->name, kind_name[kind]);
}

typedef void put_fn(void *block, size_t slot, const float *x, size_t head_size);

static bool check_put(
        struct checkkern *ck, enum kern_kv type, put_fn *ref, put_fn *put, float *x, enum kind kind) {
	bool ok = true;
	for (size_t k = 0; k < LENGTH(head_sizes); k++) {
		size_t hs = head_sizes[k], bytes = kern_kv_bytes(type, hs);
		if (!kern_kv_fits(type, hs))
			continue;
		uint8_t *a = checkkern_alloc(bytes), *b = checkkern_alloc(bytes);
		memset(a, 0xa5, bytes);
		memset(b, 0xa5, bytes);
		for (size_t slot = 0; slot < KERN_KV_BLOCK; slot += 1 + slot % 3) {
			fill(ck, x, hs, kind);
			ref(a, slot, x, hs);
			put(b, slot, x, hs);
			checkkern_hash(ck, a, bytes);
			ok &= memcmp(a, b, bytes) == 0;
		}
		free(a);
		free(b);
	}
	return ok;
}

/* One span's cache with as many blocks as the contract allows, and queries with outputs for two levels. */
struct attention {
	enum kern_kv type;
	void *keys[BLOCKS], *values[BLOCKS];
	const void *k[BLOCKS], *v[BLOCKS];
	float *q, *o[2], *m[2], *l[2];
	void *scratch;
};

static void attention_alloc(struct attention *t) {
	for (size_t b = 0; b < BLOCKS; b++) {
		t->keys[b] = checkkern_alloc(kern_kv_bytes(KERN_KV_F16, MAX_HEAD));
		t->values[b] = checkkern_alloc(kern_kv_bytes(KERN_KV_F16, MAX_HEAD));
		t->k[b] = t->keys[b];
		t->v[b] = t->values[b];
	}
	t->q = checkkern_alloc(MAX_QUERIES * MAX_HEAD * sizeof(float));
	for (int r = 0; r < 2; r++) {
		t->o[r] = checkkern_alloc((MAX_QUERIES * MAX_HEAD + 1) * sizeof(float)); /* and a guard */
		t->m[r] = checkkern_alloc(MAX_QUERIES * sizeof(float));
		t->l[r] = checkkern_alloc(MAX_QUERIES * sizeof(float));
	}
	t->scratch = checkkern_alloc(kern_span_scratch(MAX_QUERIES, MAX_HEAD));
}

static void attention_free(struct attention *t) {
	for (size_t b = 0; b < BLOCKS; b++) {
		free(t->keys[b]);
		free(t->values[b]);
	}
	free(t->q);
	for (int r = 0; r < 2; r++) {
		free(t->o[r]);
		free(t->m[r]);
		free(t->l[r]);
	}
	free(t->scratch);
}

/* Rows [first, count) hold values of a kind, the others what must not matter: NaN and infinities. */
static void attention_fill(struct checkkern *ck, struct attention *t, const struct kern_ops *ref, float *row,
        size_t head_size, size_t first, size_t count, enum kind kind) {
	static const uint16_t junk[] = {0x7e00, 0xfe00, 0x7c00, 0xfc00, 0xffff};
	for (size_t b = 0; b < BLOCKS; b++)
		for (size_t i = 0; i < kern_kv_bytes(t->type, head_size) / sizeof *junk; i++)
			((uint16_t *)t->keys[b])[i] = ((uint16_t *)t->values[b])[i] = junk[i % LENGTH(junk)];
	for (size_t p = first; p < count; p++) {
		fill(ck, row, head_size, kind);
		ref->kv[t->type].put_key(t->keys[p / KERN_KV_BLOCK], p % KERN_KV_BLOCK, row, head_size);
		fill(ck, row, head_size, kind);
		ref->kv[t->type].put_value(t->values[p / KERN_KV_BLOCK], p % KERN_KV_BLOCK, row, head_size);
	}
	/* A block that no query reaches need not exist. */
	for (size_t b = 0; b < BLOCKS; b++) {
		bool reached = b * KERN_KV_BLOCK < count && (b + 1) * KERN_KV_BLOCK > first;
		t->k[b] = reached ? t->keys[b] : NULL;
		t->v[b] = reached ? t->values[b] : NULL;
	}
}

/* Runs the same queries on both levels and compares every output.  first: NULL for zeros. */
static bool attention_same(struct checkkern *ck, struct attention *t, const struct kern_ops *ref,
        const struct kern_ops *ops, const uint32_t *first, const uint32_t *count, size_t nq, size_t head_size,
        float scale) {
	const struct kern_ops *level[2] = {ref, ops};
	for (int r = 0; r < 2; r++) {
		struct kern_query q[MAX_QUERIES];
		for (size_t i = 0; i < nq; i++)
			q[i] = (struct kern_query){.q = t->q + i * head_size,
			        .o = t->o[r] + i * head_size,
			        .m = t->m[r] + i,
			        .l = t->l[r] + i,
			        .first = first ? first[i] : 0,
			        .count = count[i]};
		t->o[r][nq * head_size] = 12345.0f;
		memset(t->scratch, 0xff, kern_span_scratch(nq, head_size));
		level[r]->kv[t->type].span(q, nq, t->k, t->v, head_size, scale, t->scratch);
	}
	return same(ck, t->o[0], t->o[1], nq * head_size + 1) && same(ck, t->m[0], t->m[1], nq) &&
	       same(ck, t->l[0], t->l[1], nq);
}

/* How the counts of a call's queries relate: heads of one token, rows of a prefill tile, anything. */
static uint32_t query_count(struct checkkern *ck, size_t pattern, size_t most, size_t i, size_t nq) {
	switch (pattern) {
	case 0:
		return (uint32_t)most;
	case 1:
		return (uint32_t)(most + i >= nq ? most + i + 1 - nq : 1);
	default:
		return i == nq / 2 ? (uint32_t)most : (uint32_t)(1 + checkkern_random(ck) % most);
	}
}

static void check_span(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct attention *t, float *row, size_t head_size, enum kind kind) {
	bool ok = true;
	float scale = 1.0f / sqrtf((float)head_size);
	/* Every number of queries with every count; the pattern goes round. */
	size_t turn = 0;
	for (size_t c = 0; c < LENGTH(counts); c++) {
		size_t most = counts[c];
		attention_fill(ck, t, ref, row, head_size, 0, most, kind);
		for (size_t nq = 1; nq <= MAX_QUERIES; nq = nq == 9 ? MAX_QUERIES : nq + 1, turn++) {
			if (head_size > 64 && most > 200 && turn % 3 != 0)
				continue;
			if (ck->quick && (turn + head_size / 2) % (most < 100 ? 3 : 11) != 0)
				continue;
			uint32_t count[MAX_QUERIES];
			for (size_t i = 0; i < nq; i++)
				count[i] = query_count(ck, turn % 3, most, i, nq);
			fill(ck, t->q, nq * head_size, kind);
			ok &= attention_same(ck, t, ref, ops, NULL, count, nq, head_size, scale);
		}
	}
	checkkern_case(ck, ok, "%s span of %s, head size %zu, %s", ops->name, kern_kv_name(t->type),
	        head_size, kind_name[kind]);
}

static void check_span_counts(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct attention *t, float *row) {
	bool ok = true;
	for (uint32_t most = 1; most <= KERN_SPAN; most += ck->quick ? 23 : 1) {
		uint32_t count[2] = {most, 1 + most / 2};
		size_t hs = t->type == KERN_KV_F16 ? 8 : 32;
		attention_fill(ck, t, ref, row, hs, 0, most, PLAIN);
		fill(ck, t->q, 2 * hs, PLAIN);
		ok &= attention_same(ck, t, ref, ops, NULL, count, 1, hs, 0.25f);
		ok &= attention_same(ck, t, ref, ops, NULL, count, 2, hs, 0.25f);
	}
	checkkern_case(ck, ok, "%s span of %s, every count from 1 to %d", ops->name, kern_kv_name(t->type),
	        KERN_SPAN);
}

/* Windows: queries that begin within the span, at one position each, at the same, at any. */
static void check_span_windows(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct attention *t, float *row, size_t head_size, enum kind kind) {
	static const uint32_t widths[] = {1, 2, 7, 8, 9, 31, 33, 64, 100, 128, 300, 511};
	bool ok = true;
	size_t turn = 0;
	for (size_t w = 0; w < LENGTH(widths); w++)
		for (size_t nq = 1; nq <= MAX_QUERIES; nq = nq == 9 ? MAX_QUERIES : nq + 1, turn++) {
			if (turn % (ck->quick || head_size > 64 ? 3 : 1) != 0)
				continue;
			uint32_t first[MAX_QUERIES], count[MAX_QUERIES], least = KERN_SPAN;
			uint32_t most = 1 + (uint32_t)(checkkern_random(ck) % KERN_SPAN);
			for (size_t i = 0; i < nq; i++) {
				count[i] = query_count(ck, turn % 3, most, i, nq);
				first[i] = count[i] > widths[w] ? count[i] - widths[w] : 0;
				least = first[i] < least ? first[i] : least;
			}
			attention_fill(ck, t, ref, row, head_size, least, most, kind);
			fill(ck, t->q, nq * head_size, kind);
			ok &= attention_same(ck, t, ref, ops, first, count, nq, head_size, 0.25f);
		}
	checkkern_case(ck, ok, "%s span of %s with windows, head size %zu, %s", ops->name,
	        kern_kv_name(t->type), head_size, kind_name[kind]);
}

/* Fills HEAD positions of which p has key[p] in dimension 0 and the value 1 in dimension p, so that outputs are
 * the exponentials themselves, and runs one query of q in dimension 0. */
enum { HEAD = 128 };

static bool exponentials_same(struct checkkern *ck, struct attention *t, const struct kern_ops *ref,
        const struct kern_ops *ops, const float *key, float q, uint32_t count) {
	float row[HEAD] = {0};
	for (size_t p = 0; p < HEAD; p++) {
		row[0] = key[p];
		ref->kv[t->type].put_key(t->keys[p / KERN_KV_BLOCK], p % KERN_KV_BLOCK, row, HEAD);
		row[0] = 0.0f;
		row[p] = 1.0f;
		ref->kv[t->type].put_value(t->values[p / KERN_KV_BLOCK], p % KERN_KV_BLOCK, row, HEAD);
		row[p] = 0.0f;
	}
	for (size_t b = 0; b < HEAD / KERN_KV_BLOCK; b++) {
		t->k[b] = t->keys[b];
		t->v[b] = t->values[b];
	}
	for (size_t d = 0; d < HEAD; d++)
		t->q[d] = d == 0 ? q : -0.0f; /* leaves a score of -0 as it is */
	return attention_same(ck, t, ref, ops, NULL, &count, 1, HEAD, 1.0f);
}

static void check_span_exponentials(
        struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops, struct attention *t) {
	bool ok = true;
	float key[HEAD] = {0};
	for (int round = 0; round < (ck->quick ? 10 : 100); round++) {
		for (size_t p = 1; p < HEAD; p++)
			key[p] = -fabsf(scaled_float(ck, 0, 12));
		ok &= exponentials_same(ck, t, ref, ops, key, 1.0f + 0.5f * checkkern_float(ck), HEAD);
	}
	/* The lower clamp: from where results are +0. */
	float q = -KERN_EXP_MIN;
	for (int i = 0; i < 10; i++)
		q = nextafterf(q, 0.0f);
	for (size_t p = 1; p < HEAD; p++)
		key[p] = p % 2 ? -1.0f : -0.5f;
	for (int i = 0; i < 20; i++, q = nextafterf(q, INFINITY))
		ok &= exponentials_same(ck, t, ref, ops, key, q, HEAD);
	checkkern_case(ck, ok, "%s span, the exponentials themselves", ops->name);
}

/* Scores that underflow to zeros of both signs: the maximum is +0 whichever comes first. */
static void check_span_zeros(
        struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops, struct attention *t) {
	bool ok = true;
	for (uint32_t count = 1; count <= HEAD; count += ck->quick ? 7 : 1) {
		float key[HEAD];
		for (size_t p = 0; p < HEAD; p++)
			key[p] = count % 2 || checkkern_random(ck) % 2 ? 0x1p-20f : -0x1p-20f;
		ok &= exponentials_same(ck, t, ref, ops, key, -0x1p-140f, count);
		ok &= t->m[1][0] == 0.0f && !signbit(t->m[1][0]);
	}
	checkkern_case(ck, ok, "%s span, a maximum of zero", ops->name);
}

static void check_combine(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct attention *t, enum kind kind) {
	bool ok = true;
	for (size_t k = 0; k < LENGTH(head_sizes); k++) {
		size_t hs = head_sizes[k];
		for (size_t spans = 1; spans <= MAX_QUERIES; spans++) {
			fill(ck, t->o[0], spans * hs, kind);
			fill(ck, t->m[0], spans, kind);
			for (size_t s = 0; s < spans; s++)
				t->l[0][s] = 1.0f + 511.0f * fabsf(checkkern_float(ck));
			t->q[hs] = t->o[1][hs] = 1.0f;
			float value = any_float(ck, kind), *sink = spans % 2 ? NULL : &value;
			ref->combine(t->q, t->o[0], t->m[0], t->l[0], spans, sink, hs);
			ops->combine(t->o[1], t->o[0], t->m[0], t->l[0], spans, sink, hs);
			ok &= same(ck, t->q, t->o[1], hs + 1);
		}
	}
	checkkern_case(ck, ok, "%s combine, %s", ops->name, kind_name[kind]);
}

/* Those of the operations `ops` that are its own. */
static void check_kind(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct buffers *f, enum kind kind) {
	if (!checkkern_is_shared(ops, &ops->rmsnorm))
		check_norm(ck, ref, ops, f, kind);
	for (int way = 0; way < KERN_ROPES; way++)
		if (!checkkern_is_shared(ops, &ops->rope[way]))
			check_rope(ck, ref, ops, f, kind, (enum kern_rope)way);
	for (int glu = 0; glu < KERN_GLUS; glu++)
		if (!checkkern_is_shared(ops, &ops->glu[glu]))
			check_glu(ck, ref, ops, f, kind, (enum kern_glu)glu);
	if (!checkkern_is_shared(ops, &ops->add))
		check_add(ck, ref, ops, f, kind);
	if (!checkkern_is_shared(ops, &ops->exp_sum))
		check_exp_sum(ck, ref, ops, f, kind);
	if (!checkkern_is_shared(ops, &ops->gate))
		check_gate(ck, ref, ops, f, kind);
	if (!checkkern_is_shared(ops, &ops->l2norm))
		check_l2norm(ck, ref, ops, f, kind);
	if (!checkkern_is_shared(ops, &ops->conv))
		check_conv(ck, ref, ops, f, kind);
	if (!checkkern_is_shared(ops, &ops->delta))
		check_delta(ck, ref, ops, f, kind);
}

/* The same of a type of KV cache. */
static void check_kv(struct checkkern *ck, const struct kern_ops *ref, const struct kern_ops *ops,
        struct attention *t, float *row, enum kind kind) {
	const struct kern_kv_ops *want = &ref->kv[t->type], *have = &ops->kv[t->type];
	const char *name = kern_kv_name(t->type);
	if (!checkkern_is_shared(ops, &have->put_key))
		checkkern_case(ck, check_put(ck, t->type, want->put_key, have->put_key, row, kind),
		        "%s put_key of %s, %s", ops->name, name, kind_name[kind]);
	if (!checkkern_is_shared(ops, &have->put_value))
		checkkern_case(ck, check_put(ck, t->type, want->put_value, have->put_value, row, kind),
		        "%s put_value of %s, %s", ops->name, name, kind_name[kind]);
	/* quick: every head size with harmless values, and with one of the other kinds */
	if (!checkkern_is_shared(ops, &have->span))
		for (size_t i = 0; i < LENGTH(head_sizes); i++)
			if (kern_kv_fits(t->type, head_sizes[i]) &&
			        (!ck->quick || kind == PLAIN || i % (KINDS - 1) == (size_t)kind - 1)) {
				check_span(ck, ref, ops, t, row, head_sizes[i], kind);
				check_span_windows(ck, ref, ops, t, row, head_sizes[i], kind);
			}
}

void checkkern_ops(struct checkkern *ck, const struct kern_ops *ops) {
	const struct kern_ops *ref = kern_level(0);
	size_t bytes = MAX_N * sizeof(float);
	struct buffers f = {checkkern_alloc(bytes), checkkern_alloc(bytes), checkkern_alloc(bytes),
	        checkkern_alloc(bytes)};
	struct attention t;
	attention_alloc(&t);
	if (!checkkern_is_shared(ops, &ops->rmsnorm))
		check_norm_overflow(ck, ops, &f);
	for (int glu = 0; glu < KERN_GLUS; glu++)
		if (!checkkern_is_shared(ops, &ops->glu[glu]))
			check_glu_sweep(ck, ref, ops, &f, (enum kern_glu)glu);
	for (t.type = 0; t.type < KERN_KVS; t.type++)
		if (!checkkern_is_shared(ops, &ops->kv[t.type].span))
			check_span_counts(ck, ref, ops, &t, f.x);
	t.type = KERN_KV_F16;
	if (!checkkern_is_shared(ops, &ops->kv[t.type].span)) {
		check_span_exponentials(ck, ref, ops, &t);
		check_span_zeros(ck, ref, ops, &t);
	}
	for (enum kind kind = 0; kind < KINDS; kind++) {
		check_kind(ck, ref, ops, &f, kind);
		for (t.type = 0; t.type < KERN_KVS; t.type++)
			check_kv(ck, ref, ops, &t, f.x, kind);
		if (!checkkern_is_shared(ops, &ops->combine))
			check_combine(ck, ref, ops, &t, kind);
	}
	attention_free(&t);
	free(f.x);
	free(f.w);
	free(f.a);
	free(f.b);
}
