/* Elementary functions and operations of a layer against plain formulas in more precision, and the
 * properties that the rest of the house builds on: attention does not depend on which queries share a call,
 * nor on what lies behind a query's last position.  Every level is tested; that levels equal each other is
 * checkkern's. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/math.h"
#include "tests/unit/check_often.h"

#define HEAD 64
#define SPANS 3

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t random_bits(void) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Uniform in [-1, 1). */
static double uniform(void) {
	return (double)(int64_t)random_bits() * 0x1p-63;
}

/* |got - want| in units in the last place of a double at want. */
static double error_of(double got, long double want) {
	double w = fabs((double)want);
	return (double)(fabsl((long double)got - want) / (long double)(nextafter(w, INFINITY) - w));
}

START_TEST(exp_is_within_its_bound) {
	double worst = 0;
	for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099) {
		uint32_t u = (uint32_t)bits;
		float x;
		memcpy(&x, &u, sizeof x);
		if (!(x <= KERN_EXP_MAX && x >= KERN_EXP_MIN))
			continue;
		long double want = expl((long double)x);
		float w = (float)want;
		double unit = w >= 0x1p127f ? 0x1p104 : (double)(nextafterf(w, INFINITY) - w);
		double e = (double)fabsl(kern_exp(x) - want) / unit;
		worst = e > worst ? e : worst;
	}
	ck_assert_double_lt(worst, 1.1);
	ck_assert_double_gt(worst, 0.0);
}
END_TEST

START_TEST(exp_has_its_ends) {
	ck_assert(kern_exp(0.0f) == 1.0f && kern_exp(-0.0f) == 1.0f);
	ck_assert(isnan(kern_exp(NAN)));
	ck_assert(kern_exp(INFINITY) == INFINITY && kern_exp(-INFINITY) == 0.0f);
	ck_assert(isfinite(kern_exp(KERN_EXP_MAX)));
	ck_assert(kern_exp(nextafterf(KERN_EXP_MAX, INFINITY)) == INFINITY);
	ck_assert(kern_exp(KERN_EXP_MIN) >= 0x1p-126f);
	float under = kern_exp(nextafterf(KERN_EXP_MIN, -INFINITY));
	ck_assert(under == 0.0f && !signbit(under));
}
END_TEST

static void sincos_near(double x, double *worst) {
	double s, c;
	kern_sincos(x, &s, &c);
	double e = error_of(s, sinl((long double)x)), f = error_of(c, cosl((long double)x));
	*worst = fmax(*worst, fmax(e, f));
	ck_assert_often((float)s == (float)sinl((long double)x));
	ck_assert_often((float)c == (float)cosl((long double)x));
}

START_TEST(sincos_is_within_its_bound) {
	double worst = 0;
	for (int i = 0; i < 200000; i++)
		sincos_near(uniform() * ldexp(1.0, (int)(random_bits() % 52) - 20), &worst);
	for (int i = 1; i < 200000; i++) { /* where a reduction loses its digits */
		double x = (double)((long double)i * 1.57079632679489661923L);
		sincos_near(x, &worst);
		sincos_near(nextafter(x, 0.0), &worst);
	}
	ck_assert_double_lt(worst, 1.0);
	double s, c;
	kern_sincos(0.0, &s, &c);
	ck_assert(s == 0.0 && c == 1.0);
	kern_sincos(0x1.00001p32, &s, &c);
	ck_assert(isnan(s) && isnan(c));
	kern_sincos(NAN, &s, &c);
	ck_assert(isnan(s) && isnan(c));
	kern_sincos(-INFINITY, &s, &c);
	ck_assert(isnan(s) && isnan(c));
}
END_TEST

START_TEST(log_is_within_its_bound) {
	double worst = 0;
	for (int i = 0; i < 400000; i++) {
		double x = i % 2 ? exp2(uniform() * 1074)
		                 : 1.0 + uniform() * exp2(-(double)(random_bits() % 50));
		if (x > 0 && x < INFINITY && x != 1.0)
			worst = fmax(worst, error_of(kern_log(x), logl((long double)x)));
	}
	ck_assert_double_lt(worst, 1.0);
	ck_assert(kern_log(1.0) == 0.0 && kern_log(0.0) == -INFINITY && kern_log(INFINITY) == INFINITY);
	ck_assert(isnan(kern_log(-1.0)) && isnan(kern_log(NAN)));
	ck_assert_double_lt(error_of(kern_log(0x1p-1074), logl(0x1p-1074L)), 1.0);
}
END_TEST

START_TEST(softplus_is_within_its_bound) {
	double worst = 0;
	for (int i = 0; i < 400000; i++) {
		float x = (float)(uniform() * (i % 2 ? 100 : 4));
		long double want = log1pl(expl((long double)x));
		float w = (float)want;
		double unit = (double)(nextafterf(w, INFINITY) - w);
		worst = fmax(worst, (double)(fabsl(kern_softplus(x) - want) - 0x1p-52L) / unit);
	}
	ck_assert_double_lt(worst, 2.0);
	ck_assert_double_gt(worst, 0.0);
	ck_assert(kern_softplus(-INFINITY) == 0.0f && kern_softplus(INFINITY) == INFINITY);
	ck_assert(kern_softplus(20.0f) == 20.0f && isnan(kern_softplus(NAN)));
}
END_TEST

START_TEST(pow_is_within_its_bound) {
	double worst = 0;
	for (int i = 0; i < 400000; i++) {
		double x = i % 2 ? exp2(uniform() * 1020)
		                 : 1.0 + uniform() * exp2(-(double)(random_bits() % 30) - 1);
		if (x == 1.0)
			continue;
		double y = uniform() * 700 / fabs(log(x));
		worst = fmax(worst, error_of(kern_pow(x, y), powl((long double)x, (long double)y)));
	}
	ck_assert_double_lt(worst, 1.0);
}
END_TEST

START_TEST(pow_makes_rope_tables) {
	static const double bases[] = {10000, 500000, 1000000};
	for (size_t b = 0; b < 3; b++) {
		for (int d = 2; d <= 256; d += 2) {
			for (int i = 0; i < d; i += 2) {
				double y = -(double)i / d;
				ck_assert_often(error_of(kern_pow(bases[b], y),
				                        powl(bases[b], (long double)y)) < 1.0);
			}
		}
	}
}
END_TEST

START_TEST(pow_has_its_ends) {
	ck_assert(kern_pow(2.0, 10.0) == 1024.0 && kern_pow(2.0, -1074.0) == 0x1p-1074);
	ck_assert(kern_pow(7.5, 0.0) == 1.0 && kern_pow(1.0, 1e300) == 1.0);
	ck_assert(kern_pow(2.0, 1024.0) == INFINITY && kern_pow(2.0, -1076.0) == 0.0);
	ck_assert(kern_pow(10.0, 1e300) == INFINITY && kern_pow(10.0, -1e300) == 0.0);
	ck_assert(kern_pow(0x1p-1074, 0.5) == 0x1p-537);
	ck_assert(isnan(kern_pow(0.0, 1.0)) && isnan(kern_pow(-1.0, 2.0)) && isnan(kern_pow(INFINITY, 1.0)));
	ck_assert(isnan(kern_pow(2.0, INFINITY)) && isnan(kern_pow(2.0, NAN)) && isnan(kern_pow(NAN, 1.0)));
}
END_TEST

START_TEST(rope_angles_are_rounded_once) {
	float freq[64], cs[128];
	for (int i = 0; i < 64; i++)
		freq[i] = (float)kern_pow(500000.0, -2.0 * i / 128);
	for (uint32_t p = 0; p < 131072; p += 1 + p / 3) {
		kern_rope_angles(cs, freq, 64, p);
		for (int i = 0; i < 64; i++) {
			double angle = (double)p * (double)freq[i];
			ck_assert_often(cs[2 * i] == (float)cosl((long double)angle));
			ck_assert_often(cs[2 * i + 1] == (float)sinl((long double)angle));
		}
	}
}
END_TEST

static void check_close(float got, double want, double tolerance) {
	if (!(fabs((double)got - want) <= tolerance))
		ck_abort_msg("%.9g is not %.9g", (double)got, want);
}

START_TEST(rmsnorm_is_a_norm) {
	for (size_t r = 0; kern_level(r); r++) {
		for (size_t n = 1; n < 200; n++) {
			float x[200], w[200], y[200];
			double sum = 0;
			for (size_t i = 0; i < n; i++) {
				x[i] = (float)uniform();
				w[i] = (float)uniform();
				sum += (double)x[i] * x[i];
			}
			ck_assert_int_eq(kern_level(r)->rmsnorm(y, x, w, n, 1e-5f), 0);
			for (size_t i = 0; i < n; i++)
				check_close(y[i], x[i] / sqrt(sum / (double)n + 1e-5f) * w[i], 1e-5);
		}
		float huge[2] = {0x1p100f, 1.0f}, one[2] = {1.0f, 1.0f}, y[2];
		ck_assert_int_eq(kern_level(r)->rmsnorm(y, huge, one, 2, 1e-5f), -EDOM);
	}
}
END_TEST

START_TEST(rope_rotates) {
	for (size_t r = 0; kern_level(r); r++) {
		float x[2 * 24], before[2 * 24], freq[10], cs[20];
		for (size_t i = 0; i < 48; i++)
			before[i] = x[i] = (float)uniform();
		for (size_t i = 0; i < 10; i++)
			freq[i] = (float)fabs(uniform());
		kern_rope_angles(cs, freq, 10, 77);
		kern_level(r)->rope[_i](x, 2, 24, cs, 10);
		for (size_t h = 0; h < 2; h++) {
			const float *a = before + h * 24, *b = x + h * 24;
			for (size_t i = 0; i < 10; i++) {
				double angle = 77 * (double)freq[i];
				size_t k = _i == KERN_ROPE_PAIRS ? 2 * i : i,
				       l = _i == KERN_ROPE_PAIRS ? k + 1 : k + 10;
				check_close(b[k], a[k] * cos(angle) - a[l] * sin(angle), 1e-6);
				check_close(b[l], a[k] * sin(angle) + a[l] * cos(angle), 1e-6);
			}
			ck_assert_mem_eq(a + 20, b + 20, 4 * sizeof *a);
		}
	}
}
END_TEST

START_TEST(units_and_add_are_formulas) {
	for (size_t r = 0; kern_level(r); r++) {
		float g[77], u[77], y[77];
		for (size_t i = 0; i < 77; i++) {
			g[i] = (float)uniform() * 20;
			u[i] = (float)uniform();
		}
		kern_level(r)->glu[KERN_SWIGLU](y, g, u, 77);
		for (size_t i = 0; i < 77; i++)
			check_close(y[i], g[i] / (1 + exp(-(double)g[i])) * u[i], 1e-5);
		kern_level(r)->glu[KERN_GEGLU](y, g, u, 77);
		for (size_t i = 0; i < 77; i++) {
			double x = (double)g[i], t = tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x));
			check_close(y[i], 0.5 * x * (1 + t) * (double)u[i], 1e-5);
		}
		for (size_t i = 0; i < 77; i++)
			u[i] *= 10;
		kern_level(r)->glu[KERN_SWIGLU_BOUNDED](y, g, u, 77);
		for (size_t i = 0; i < 77; i++) {
			double x = fmin((double)g[i], 7), f = fmax(fmin((double)u[i], 7), -7);
			check_close(y[i], x / (1 + exp(-1.702 * x)) * (f + 1), 1e-5);
		}
		memcpy(y, g, sizeof y);
		kern_level(r)->add(y, u, 77);
		for (size_t i = 0; i < 77; i++)
			ck_assert(y[i] == g[i] + u[i]);
	}
}
END_TEST

START_TEST(gate_l2norm_and_conv_are_formulas) {
	enum { N = 77 };
	for (size_t r = 0; kern_level(r); r++) {
		float x[N + KERN_CONV], w[N + KERN_CONV], y[N];
		for (size_t i = 0; i < N + KERN_CONV; i++) {
			x[i] = (float)(4 * uniform());
			w[i] = (float)uniform();
		}
		kern_level(r)->gate(y, x, w, N);
		for (size_t i = 0; i < N; i++)
			check_close(y[i], (double)x[i] / (1 + exp(-(double)w[i])), 1e-6);
		ck_assert_int_eq(kern_level(r)->l2norm(y, x, N, 3.0f), 0);
		double length = 0, before = 0;
		for (size_t i = 0; i < N; i++)
			before += (double)x[i] * (double)x[i];
		for (size_t i = 0; i < N; i++) {
			length += (double)y[i] * (double)y[i];
			check_close(y[i], 3 * (double)x[i] / sqrt(before + 1e-6), 1e-6);
		}
		check_close((float)length, 9, 1e-5);
		x[N / 2] = 0x1p100f;
		ck_assert_int_eq(kern_level(r)->l2norm(y, x, N, 1.0f), -EDOM);
		x[N / 2] = 1.0f;
		const float *rows[KERN_CONV] = {x, x + 1, x + 2, x + 3},
		            *taps[KERN_CONV] = {w + 3, w, w + 1, w + 2};
		kern_level(r)->conv(y, rows, taps, N);
		for (size_t i = 0; i < N; i++) {
			double a = 0;
			for (size_t t = 0; t < KERN_CONV; t++)
				a += (double)rows[t][i] * (double)taps[t][i];
			check_close(y[i], a / (1 + exp(-a)), 1e-5);
		}
	}
}
END_TEST

#define DELTA_N 32
#define DELTA_ROWS 9
#define DELTA_STRIDE (3 * DELTA_N)

/* The definition, in doubles and without panels: o of each row for a state that begins with zeros. */
static void delta_in_doubles(double o[DELTA_ROWS][DELTA_N], const float *x, const float *rate) {
	static double s[DELTA_N][DELTA_N];
	memset(s, 0, sizeof s);
	for (size_t r = 0; r < DELTA_ROWS; r++, x += DELTA_STRIDE, rate += 2)
		for (size_t j = 0; j < DELTA_N; j++) {
			const float *q = x, *k = x + DELTA_N, *v = x + 2 * DELTA_N;
			double d = (double)v[j];
			for (size_t i = 0; i < DELTA_N; i++)
				d -= (s[i][j] *= (double)rate[0]) * (double)k[i];
			o[r][j] = 0;
			for (size_t i = 0; i < DELTA_N; i++) {
				s[i][j] += (double)k[i] * d * (double)rate[1];
				o[r][j] += s[i][j] * (double)q[i];
			}
		}
}

/* Rows [first, last) of a state in panels. */
static void delta_rows(const struct kern_ops *ops, float *s, float *o, const float *x, const float *rate,
        size_t first, size_t last) {
	struct kern_delta d = {.q = x + first * DELTA_STRIDE,
	        .k = x + first * DELTA_STRIDE + DELTA_N,
	        .v = x + first * DELTA_STRIDE + 2 * DELTA_N,
	        .stride = DELTA_STRIDE,
	        .o = o + first * DELTA_N,
	        .o_stride = DELTA_N,
	        .rate = rate + 2 * first,
	        .rate_stride = 2,
	        .rows = last - first};
	ops->delta(s, first ? s : NULL, &d, DELTA_N, DELTA_N / KERN_PANEL);
}

START_TEST(delta_is_the_rule_and_may_be_cut_anywhere) {
	_Alignas(KERN_ALIGN) float s[2][DELTA_N * DELTA_N];
	float x[DELTA_ROWS * DELTA_STRIDE], rate[2 * DELTA_ROWS], o[2][DELTA_ROWS * DELTA_N];
	double want[DELTA_ROWS][DELTA_N];
	for (size_t i = 0; i < DELTA_ROWS * DELTA_STRIDE; i++)
		x[i] = (float)uniform() * (i % DELTA_STRIDE < 2 * DELTA_N ? 0.3f : 1.0f);
	for (size_t i = 0; i < 2 * DELTA_ROWS; i++)
		rate[i] = (float)(0.5 + 0.5 * uniform());
	delta_in_doubles(want, x, rate);
	for (size_t r = 0; kern_level(r); r++) {
		delta_rows(kern_level(r), s[0], o[0], x, rate, 0, DELTA_ROWS);
		for (size_t i = 0; i < DELTA_ROWS * DELTA_N; i++)
			check_close(o[0][i], want[i / DELTA_N][i % DELTA_N], 1e-5);
		for (size_t cut = 1; cut < DELTA_ROWS; cut++) {
			delta_rows(kern_level(r), s[1], o[1], x, rate, 0, cut);
			delta_rows(kern_level(r), s[1], o[1], x, rate, cut, DELTA_ROWS);
			ck_assert_mem_eq(o[0], o[1], sizeof o[0]);
			ck_assert_mem_eq(s[0], s[1], sizeof s[0]);
		}
	}
}
END_TEST

START_TEST(exp_sum_is_a_formula) {
	static float x[1003];
	for (size_t n = 1; n <= 1003; n += n < 20 ? 1 : 163)
		for (size_t r = 0; kern_level(r); r++) {
			float max = -INFINITY;
			long double want = 0;
			for (size_t i = 0; i < n; i++) {
				x[i] = (float)uniform() * 30;
				max = fmaxf(x[i], max);
			}
			for (size_t i = 0; i < n; i++)
				want += expl((long double)x[i] - (long double)max);
			check_close(kern_level(r)->exp_sum(x, n, max), (double)want, 1e-6 * (double)want);
		}
}
END_TEST

/* A sequence of SPANS spans' KV for one head, as the cache holds it and as doubles. */
struct cache {
	const struct kern_kv_ops *ops;
	void *keys[SPANS * 8], *values[SPANS * 8];
	const void *k[SPANS * 8], *v[SPANS * 8];
	double (*key)[HEAD], (*value)[HEAD];
	float *scratch;
};

static void *allocate(size_t n) {
	void *p = aligned_alloc(KERN_ALIGN, (n + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN);
	ck_assert_ptr_nonnull(p);
	return p;
}

/* What a q8_0 cache makes of 32 elements: each is a whole number of 127ths of the largest, which is kept as a float16. */
static void coarsen(double *out, const float *x) {
	float top = 0;
	for (size_t i = 0; i < 32; i++)
		top = fmaxf(top, fabsf(x[i]));
	double scale = kern_from_half(kern_to_half(top / 127));
	for (size_t i = 0; i < 32; i++)
		out[i] = nearbyintf(x[i] * (127 / top)) * scale;
}

static void keep(double *out, const float *x, enum kern_kv type) {
	for (size_t d = 0; d < HEAD && type == KERN_KV_F16; d++)
		out[d] = kern_from_half(kern_to_half(x[d]));
	for (size_t d = 0; d < HEAD && type == KERN_KV_Q8_0; d += 32)
		coarsen(out + d, x + d);
}

static void cache_make(struct cache *c, const struct kern_ops *ops, int kv) {
	enum kern_kv type = (enum kern_kv)kv;
	size_t bytes = kern_kv_bytes(type, HEAD);
	c->ops = &ops->kv[type];
	ck_assert(kern_kv_fits(type, HEAD));
	ck_assert_uint_eq(bytes, type == KERN_KV_F16 ? 64 * HEAD * 2 : 64 * (HEAD + HEAD / 32 * 2));
	c->key = allocate(SPANS * KERN_SPAN * sizeof *c->key);
	c->value = allocate(SPANS * KERN_SPAN * sizeof *c->value);
	c->scratch = allocate(kern_span_scratch(32, HEAD));
	for (size_t b = 0; b < SPANS * 8; b++) {
		c->k[b] = c->keys[b] = allocate(bytes);
		c->v[b] = c->values[b] = allocate(bytes);
		for (size_t slot = 0; slot < KERN_KV_BLOCK; slot++) {
			float k[HEAD], v[HEAD];
			for (size_t d = 0; d < HEAD; d++) {
				k[d] = (float)uniform() * 4;
				v[d] = (float)uniform();
			}
			keep(c->key[b * KERN_KV_BLOCK + slot], k, type);
			keep(c->value[b * KERN_KV_BLOCK + slot], v, type);
			c->ops->put_key(c->keys[b], slot, k, HEAD);
			c->ops->put_value(c->values[b], slot, v, HEAD);
		}
	}
}

static void cache_free(struct cache *c) {
	for (size_t b = 0; b < SPANS * 8; b++) {
		free(c->keys[b]);
		free(c->values[b]);
	}
	free(c->key);
	free(c->value);
	free(c->scratch);
}

/* One query and one position give its element back, whatever the layout: score = scale x key, output = value. */
START_TEST(cache_gives_back_what_it_keeps) {
	for (size_t r = 0; kern_level(r); r++) {
		struct cache c;
		cache_make(&c, kern_level(r), _i);
		for (size_t p = 0; p < 2 * KERN_KV_BLOCK; p++)
			for (size_t d = 0; d < HEAD; d++) {
				float q[HEAD] = {0}, o[HEAD], m, l;
				size_t block = p / 64, slot = p % 64;
				q[d] = 1;
				/* positions before it are seen too: its score is the greatest by far */
				struct kern_query one = {
				        .q = q, .o = o, .m = &m, .l = &l, .count = (uint32_t)slot + 1};
				double top = -INFINITY;
				for (size_t s = 0; s <= slot; s++)
					top = fmax(top, c.key[block * 64 + s][d]);
				c.ops->span(&one, 1, c.k + block, c.v + block, HEAD, 1.0f, c.scratch);
				ck_assert_often(m == (float)top + 0.0f);
				if (slot == 0)
					ck_assert(o[d] == (float)c.value[p][d]);
			}
		cache_free(&c);
	}
}
END_TEST

/* What is too large becomes what is largest; what is no number spoils what it lies with, and no more. */
START_TEST(cache_keeps_extremes) {
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_kv_ops *ops = &kern_level(r)->kv[_i];
		float big[HEAD] = {1e6f, -65519.0f, 65519.0f}, odd[HEAD] = {0}, o[HEAD], m, l, q[HEAD] = {0};
		void *keys = allocate(kern_kv_bytes((enum kern_kv)_i, HEAD));
		void *values = allocate(kern_kv_bytes((enum kern_kv)_i, HEAD));
		void *scratch = allocate(kern_span_scratch(1, HEAD));
		const void *k[1] = {keys}, *v[1] = {values};
		struct kern_query one = {.q = q, .o = o, .m = &m, .l = &l, .count = 1};
		ops->put_key(keys, 0, odd, HEAD);
		ops->put_value(values, 0, big, HEAD);
		ops->span(&one, 1, k, v, HEAD, 1.0f, scratch);
		if (_i == KERN_KV_F16) {
			ck_assert(o[0] == 65504 && o[1] == -65504 && o[2] == 65504);
		} else {
			float scale = kern_from_half(kern_to_half(1e6f / 127));
			ck_assert(o[0] == 127 * scale && o[1] == -8 * scale && o[2] == 8 * scale);
		}
		ck_assert(o[3] == 0 && o[HEAD - 1] == 0);
		odd[40] = NAN;
		ops->put_value(values, 0, odd, HEAD);
		ops->span(&one, 1, k, v, HEAD, 1.0f, scratch);
		ck_assert(isnan(o[40]) && o[0] == 0 && o[31] == 0);
		odd[40] = -INFINITY;
		ops->put_value(values, 0, odd, HEAD);
		ops->span(&one, 1, k, v, HEAD, 1.0f, scratch);
		ck_assert(_i == KERN_KV_F16 ? o[40] == -65504 : isnan(o[40]));
		ck_assert(o[0] == 0 && o[31] == 0);
		free(keys);
		free(values);
		free(scratch);
	}
}
END_TEST

/* Attention of one query over the positions [from, n), and a sink unless that is -infinity, by the plain formula. */
static void softmax(double *out, const struct cache *c, const float *q, size_t from, size_t n, double scale,
        double sink) {
	double top = sink, sum = 0;
	double *z = allocate(n * sizeof *z);
	for (size_t p = from; p < n; p++) {
		z[p] = 0;
		for (size_t d = 0; d < HEAD; d++)
			z[p] += q[d] * c->key[p][d];
		z[p] *= scale;
		top = fmax(top, z[p]);
	}
	memset(out, 0, HEAD * sizeof *out);
	for (size_t p = from; p < n; p++) {
		double e = exp(z[p] - top);
		sum += e;
		for (size_t d = 0; d < HEAD; d++)
			out[d] += e * c->value[p][d];
	}
	for (size_t d = 0; d < HEAD; d++)
		out[d] /= sum + exp(sink - top);
	free(z);
}

/* Outputs of spans for one query. */
struct outputs {
	float o[SPANS][HEAD], m[SPANS], l[SPANS];
};

static struct kern_query query(struct outputs *t, size_t span, const float *q, size_t first, size_t count) {
	return (struct kern_query){.q = q,
	        .o = t->o[span],
	        .m = &t->m[span],
	        .l = &t->l[span],
	        .first = (uint32_t)first,
	        .count = (uint32_t)count};
}

/* Without and with a window, which leaves out spans and the beginning of one; without and with a sink. */
START_TEST(spans_combine_to_softmax) {
	static const size_t lengths[] = {1, 5, 64, 100, 512, 513, 700, 1024, 1025, 1536},
	                    windows[] = {SPANS * KERN_SPAN, 1, 100, 700};
	float scale = 1.0f / sqrtf(HEAD), sink = 1.5f;
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_ops *ops = kern_level(r);
		struct cache c;
		cache_make(&c, ops, _i);
		for (size_t i = 0; i < 8 * sizeof lengths / sizeof *lengths; i++) {
			size_t n = lengths[i / 8], window = windows[i / 2 % 4],
			       from = n > window ? n - window : 0;
			size_t spans = (n + KERN_SPAN - 1) / KERN_SPAN, before = from / KERN_SPAN;
			struct outputs t;
			float q[HEAD], out[HEAD];
			double want[HEAD];
			for (size_t d = 0; d < HEAD; d++)
				q[d] = (float)uniform() * 3;
			for (size_t s = before; s < spans; s++) {
				size_t left = n - s * KERN_SPAN, first = s == before ? from % KERN_SPAN : 0;
				struct kern_query k =
				        query(&t, s, q, first, left < KERN_SPAN ? left : KERN_SPAN);
				c.ops->span(&k, 1, c.k + s * 8, c.v + s * 8, HEAD, scale, c.scratch);
			}
			ops->combine(out, t.o[before], t.m + before, t.l + before, spans - before,
			        i % 2 ? &sink : NULL, HEAD);
			softmax(want, &c, q, from, n, 1 / sqrt(HEAD), i % 2 ? (double)sink : -INFINITY);
			for (size_t d = 0; d < HEAD; d++)
				check_close(out[d], want[d], 2e-5);
		}
		cache_free(&c);
	}
}
END_TEST

START_TEST(span_does_not_depend_on_its_company) {
	enum { QUERIES = 19 };
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_ops *ops = kern_level(r);
		struct cache c;
		cache_make(&c, ops, _i);
		struct outputs alone[QUERIES], together[QUERIES];
		struct kern_query a[QUERIES], b[QUERIES];
		float q[QUERIES][HEAD];
		memset(alone, 0, sizeof alone);
		memset(together, 0, sizeof together);
		for (size_t i = 0; i < QUERIES; i++) {
			for (size_t d = 0; d < HEAD; d++)
				q[i][d] = (float)uniform() * 3;
			size_t count = i < 8 ? 301 : i < 14 ? 400 + i : 1 + random_bits() % KERN_SPAN;
			size_t first = i % 3 ? random_bits() % count : 0;
			a[i] = query(&alone[i], 0, q[i], first, count);
			b[i] = query(&together[i], 0, q[i], first, count);
			c.ops->span(&a[i], 1, c.k, c.v, HEAD, 0.125f, c.scratch);
		}
		for (size_t size = 2; size <= QUERIES; size++) {
			for (size_t i = 0; i < QUERIES; i += size)
				c.ops->span(b + i, i + size <= QUERIES ? size : QUERIES - i, c.k, c.v, HEAD,
				        0.125f, c.scratch);
			ck_assert_mem_eq(alone, together, sizeof alone);
		}
		cache_free(&c);
	}
}
END_TEST

START_TEST(span_does_not_look_beyond_its_count) {
	static const size_t counts[] = {1, 7, 8, 9, 63, 64, 65, 300, 511};
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_ops *ops = kern_level(r);
		struct cache c;
		cache_make(&c, ops, _i);
		float q[HEAD], nan[HEAD];
		for (size_t d = 0; d < HEAD; d++) {
			q[d] = (float)uniform();
			nan[d] = NAN;
		}
		for (size_t i = sizeof counts / sizeof *counts; i-- > 0;) {
			struct outputs before, after;
			memset(&before, 0, sizeof before);
			memset(&after, 0, sizeof after);
			struct kern_query k = query(&before, 0, q, 0, counts[i]);
			c.ops->span(&k, 1, c.k, c.v, HEAD, 0.125f, c.scratch);
			for (size_t p = counts[i]; p < KERN_SPAN; p++) {
				c.ops->put_key(c.keys[p / 64], p % 64, nan, HEAD);
				c.ops->put_value(c.values[p / 64], p % 64, nan, HEAD);
			}
			k = query(&after, 0, q, 0, counts[i]);
			c.ops->span(&k, 1, c.k, c.v, HEAD, 0.125f, c.scratch);
			ck_assert_mem_eq(&before, &after, sizeof before);
			ck_assert(isfinite(after.l[0]) && isfinite(after.o[0][0]));
		}
		cache_free(&c);
	}
}
END_TEST

START_TEST(one_position_is_its_value) {
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_ops *ops = kern_level(r);
		struct cache c;
		cache_make(&c, ops, _i);
		struct outputs t;
		float q[HEAD], out[HEAD];
		for (size_t d = 0; d < HEAD; d++)
			q[d] = (float)uniform();
		struct kern_query k = query(&t, 0, q, 0, 1);
		c.ops->span(&k, 1, c.k, c.v, HEAD, 0.125f, c.scratch);
		ck_assert(t.l[0] == 1.0f);
		ops->combine(out, t.o[0], t.m, t.l, 1, NULL, HEAD);
		for (size_t d = 0; d < HEAD; d++) {
			ck_assert(t.o[0][d] == c.value[0][d]);
			ck_assert(out[d] == t.o[0][d]);
		}
		cache_free(&c);
	}
}
END_TEST

START_TEST(combine_of_one_span_divides) {
	for (size_t r = 0; kern_level(r); r++) {
		float o[HEAD], out[HEAD], m = -3.5f, l = 7.25f;
		for (size_t d = 0; d < HEAD; d++)
			o[d] = (float)uniform();
		kern_level(r)->combine(out, o, &m, &l, 1, NULL, HEAD);
		for (size_t d = 0; d < HEAD; d++)
			ck_assert(out[d] == o[d] * (1.0f / l));
	}
}
END_TEST

START_TEST(a_nan_is_not_lost) {
	for (size_t r = 0; kern_level(r); r++) {
		const struct kern_ops *ops = kern_level(r);
		struct cache c;
		cache_make(&c, ops, _i);
		struct outputs t;
		float q[HEAD] = {NAN}, out[HEAD];
		struct kern_query k = query(&t, 0, q, 0, 100);
		c.ops->span(&k, 1, c.k, c.v, HEAD, 0.125f, c.scratch);
		ops->combine(out, t.o[0], t.m, t.l, 1, NULL, HEAD);
		for (size_t d = 0; d < HEAD; d++)
			ck_assert(isnan(out[d]));
		cache_free(&c);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("operations");
	TCase *t = tcase_create("elementary functions");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, exp_is_within_its_bound);
	tcase_add_test(t, exp_has_its_ends);
	tcase_add_test(t, sincos_is_within_its_bound);
	tcase_add_test(t, log_is_within_its_bound);
	tcase_add_test(t, softplus_is_within_its_bound);
	tcase_add_test(t, pow_is_within_its_bound);
	tcase_add_test(t, pow_makes_rope_tables);
	tcase_add_test(t, pow_has_its_ends);
	suite_add_tcase(s, t);
	t = tcase_create("layer");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, rope_angles_are_rounded_once);
	tcase_add_test(t, rmsnorm_is_a_norm);
	tcase_add_loop_test(t, rope_rotates, 0, KERN_ROPES);
	tcase_add_test(t, units_and_add_are_formulas);
	tcase_add_test(t, exp_sum_is_a_formula);
	tcase_add_test(t, gate_l2norm_and_conv_are_formulas);
	tcase_add_test(t, delta_is_the_rule_and_may_be_cut_anywhere);
	suite_add_tcase(s, t);
	t = tcase_create("attention");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, cache_gives_back_what_it_keeps, 0, KERN_KVS);
	tcase_add_loop_test(t, cache_keeps_extremes, 0, KERN_KVS);
	tcase_add_loop_test(t, spans_combine_to_softmax, 0, KERN_KVS);
	tcase_add_loop_test(t, span_does_not_depend_on_its_company, 0, KERN_KVS);
	tcase_add_loop_test(t, span_does_not_look_beyond_its_count, 0, KERN_KVS);
	tcase_add_loop_test(t, one_position_is_its_value, 0, KERN_KVS);
	tcase_add_test(t, combine_of_one_span_divides);
	tcase_add_loop_test(t, a_nan_is_not_lost, 0, KERN_KVS);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
