/* The sampler: the generator's published values, each step of the contract, golden picks. */
#include "daemon/text/philox.h"
#include "daemon/text/sampler.h"
#include "kernels/math.h"
#include <check.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct sampler *s;
static struct sampler_params p;

static void setup(void) {
	ck_assert_int_eq(sampler_create(&s, 200000), 0);
	p = (struct sampler_params){
	        .temperature = 1, .top_p = 1, .repeat_penalty = 1, .penalty_window = 64, .seed = 1};
}

static void teardown(void) {
	sampler_destroy(s);
}

static uint32_t pick_log(
        const float *logits, uint32_t n, const uint32_t *log, size_t nlog, uint64_t position) {
	float *scratch = malloc(n * sizeof *scratch);
	uint32_t id = UINT32_MAX;
	ck_assert_ptr_nonnull(scratch);
	memcpy(scratch, logits, n * sizeof *scratch);
	ck_assert_int_eq(sampler_pick(s, &p, scratch, n, log, nlog, position, &id), 0);
	ck_assert_uint_lt(id, n);
	free(scratch);
	return id;
}

static uint32_t pick(const float *logits, uint32_t n, uint64_t position) {
	return pick_log(logits, n, NULL, 0, position);
}

/* Which ids ever come up. */
static uint64_t reach(const float *logits, uint32_t n, const uint32_t *log, size_t nlog) {
	uint64_t seen = 0;
	for (uint64_t i = 0; i < 3000; i++)
		seen |= (uint64_t)1 << pick_log(logits, n, log, nlog, i);
	return seen;
}

static void fill(float *logits, uint32_t n, uint32_t state) {
	for (uint32_t i = 0; i < n; i++) {
		state = state * 1664525 + 1013904223;
		logits[i] = (float)(int32_t)state * 0x1p-28f;
	}
}

/* Random123, tests/kat_vectors (Salmon and others, 2011). */
START_TEST(philox_published) {
	static const struct {
		uint32_t counter[4], key[2], out[4];
	} v[] = {
	        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
	        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
	                {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
	        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
	                {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};
	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		uint32_t out[4];
		philox4x32_10(v[i].counter, v[i].key, out);
		ck_assert_mem_eq(out, v[i].out, sizeof out);
	}
}
END_TEST

START_TEST(settings) {
	char err[200] = "";
	struct sampler_params q;
	sampler_params_default(&q);
	ck_assert_int_eq(sampler_params_check(&q, err, sizeof err), 0);
	ck_assert(q.temperature == 0.8f && q.top_k == 40 && q.top_p == 0.95f && q.min_p == 0.05f);
	ck_assert(q.repeat_penalty == 1 && q.presence_penalty == 0 && q.frequency_penalty == 0);
	ck_assert_uint_eq(q.penalty_window, 64);
	const struct {
		float *field;
		float bad[3];
		const char *name;
	} cases[] = {
	        {&q.temperature, {-0.1f, 101, NAN}, "temperature"},
	        {&q.top_p, {-0.1f, 1.1f, NAN}, "top_p"},
	        {&q.min_p, {-0.1f, 1.1f, NAN}, "min_p"},
	        {&q.repeat_penalty, {0, INFINITY, NAN}, "repeat_penalty"},
	        {&q.presence_penalty, {-101, 101, NAN}, "presence_penalty"},
	        {&q.frequency_penalty, {-101, 101, NAN}, "frequency_penalty"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		float good = *cases[i].field;
		for (size_t k = 0; k < 3; k++) {
			*cases[i].field = cases[i].bad[k];
			ck_assert_int_eq(sampler_params_check(&q, err, sizeof err), -EINVAL);
			ck_assert_msg(strstr(err, cases[i].name), "%s", err);
		}
		*cases[i].field = good;
	}
}
END_TEST

START_TEST(greedy) {
	static float logits[1000];
	for (uint32_t seed = 0; seed < 50; seed++) {
		fill(logits, 1000, seed);
		uint32_t best = 0;
		for (uint32_t i = 1; i < 1000; i++)
			best = logits[i] > logits[best] ? i : best;
		p.temperature = 0;
		p.top_k = 0;
		ck_assert_uint_eq(pick(logits, 1000, seed), best);
		p.temperature = 1.5f;
		p.top_k = 1;
		ck_assert_uint_eq(pick(logits, 1000, seed), best);
		p.top_k = 0;
		p.top_p = 0;
		ck_assert_uint_eq(pick(logits, 1000, seed), best);
		p.top_p = 1;
		p.min_p = 1;
		ck_assert_uint_eq(pick(logits, 1000, seed), best);
		p.min_p = 0;
	}
	const float one[] = {-3};
	ck_assert_uint_eq(pick(one, 1, 0), 0);
}
END_TEST

START_TEST(ties_to_the_lowest) {
	const float logits[] = {1, 3, 2, 3, 3, 2, -0.0f, 0.0f};
	p.temperature = 0;
	ck_assert_uint_eq(pick(logits, 8, 0), 1);
	p.temperature = 1;
	p.top_k = 2;
	ck_assert_uint_eq(reach(logits, 8, NULL, 0), 1 << 1 | 1 << 3);
	p.top_k = 4;
	ck_assert_uint_eq(reach(logits, 8, NULL, 0), 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
	/* both zeros are one number */
	const float zeros[] = {-0.0f, 0.0f, -0.0f, -1};
	p.top_k = 2;
	ck_assert_uint_eq(reach(zeros, 4, NULL, 0), 3);
	p.temperature = 0;
	ck_assert_uint_eq(pick(zeros, 4, 0), 0);
	/* a temperature that makes unlike logits one number: −0 beside 0 */
	const float close[] = {-1e-44f, 0, -1e-44f, -0.0f};
	p.temperature = 100;
	p.top_k = 2;
	ck_assert_uint_eq(reach(close, 4, NULL, 0), 3);
}
END_TEST

START_TEST(top_k_of_many) {
	/* the heap and the sort choose the same: a top_k that cuts nothing else changes no pick */
	static float logits[5000], few[5000];
	fill(logits, 5000, 7);
	for (uint32_t k = 2; k < 600; k += 37) {
		/* the k-th greatest and below, out of reach */
		memcpy(few, logits, sizeof few);
		for (uint32_t i = 0; i < 5000; i++) {
			uint32_t above = 0;
			for (uint32_t j = 0; j < 5000; j++)
				above += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
			if (above >= k)
				few[i] = -FLT_MAX;
		}
		for (uint64_t position = 0; position < 50; position++) {
			p.top_k = k;
			uint32_t id = pick(logits, 5000, position);
			p.top_k = 0;
			ck_assert_uint_eq(pick(few, 5000, position), id);
		}
	}
}
END_TEST

START_TEST(top_p_exact) {
	/* masses 1, 1/2, 1/4, 1/8, or as near as float logits come */
	const float logits[] = {-2.0794415f, 0, -0.6931472f, -1.3862944f};
	const struct {
		float top_p;
		uint64_t want;
	} cases[] = {{0.01f, 2}, {0.53f, 2}, {0.54f, 6}, {0.79f, 6}, {0.81f, 14}, {0.93f, 14}, {0.94f, 15},
	        {1, 15}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		p.top_p = cases[i].top_p;
		ck_assert_uint_eq(reach(logits, 4, NULL, 0), cases[i].want);
	}
	/* exactly half is enough */
	const float equal[] = {0, 0, 0, 0};
	p.top_p = 0.5f;
	ck_assert_uint_eq(reach(equal, 4, NULL, 0), 3);
	/* top-k comes first: of the two that are left the first has more than half */
	p.top_k = 2;
	p.top_p = 0.6f;
	ck_assert_uint_eq(reach(logits, 4, NULL, 0), 2);
}
END_TEST

START_TEST(min_p_exact) {
	const float logits[] = {-2.0794415f, 0, -0.6931472f, -1.3862944f};
	const struct {
		float min_p;
		uint64_t want;
	} cases[] = {{0.51f, 2}, {0.49f, 6}, {0.26f, 6}, {0.24f, 14}, {0.12f, 15}, {0, 15}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		p.min_p = cases[i].min_p;
		ck_assert_uint_eq(reach(logits, 4, NULL, 0), cases[i].want);
	}
	/* what equals the bound stays */
	p.min_p = kern_exp(-0.6931472f);
	ck_assert_uint_eq(reach(logits, 4, NULL, 0), 6);
	/* temperature comes before: the square root of the ratio */
	p.temperature = 2;
	p.min_p = 0.6f;
	ck_assert_uint_eq(reach(logits, 4, NULL, 0), 6);
}
END_TEST

START_TEST(no_mass_is_never_picked) {
	const float logits[] = {0, -88, 0, -1000, -FLT_MAX, 0};
	ck_assert_uint_eq(reach(logits, 6, NULL, 0), 1 | 4 | 32);
	/* differences beyond what a float holds */
	const float far[] = {FLT_MAX, -FLT_MAX, FLT_MAX};
	p.temperature = 1e-30f;
	ck_assert_uint_eq(reach(far, 3, NULL, 0), 5);
}
END_TEST

START_TEST(penalties_exact) {
	float logits[] = {2, -2, 1.5f, 0, 3};
	const uint32_t log[] = {4, 0, 1, 0, 3, 9, UINT32_MAX};
	uint32_t id;
	p.temperature = 0;
	p.repeat_penalty = 2;
	p.presence_penalty = 0.25f;
	p.frequency_penalty = 0.125f;
	ck_assert_int_eq(sampler_pick(s, &p, logits, 5, log, 7, 0, &id), 0);
	const float want[] = {1 - 0.5f, -4 - 0.375f, 1.5f, 0 - 0.375f, 1.5f - 0.375f};
	ck_assert_mem_eq(logits, want, sizeof want);
	ck_assert_uint_eq(id, 2);
	/* only the window is looked at, and nothing stays from the call before */
	float again[] = {2, -2, 1.5f, 0, 3};
	p.penalty_window = 4;
	ck_assert_int_eq(sampler_pick(s, &p, again, 5, log, 7, 0, &id), 0);
	const float windowed[] = {1 - 0.375f, -2, 1.5f, 0 - 0.375f, 3};
	ck_assert_mem_eq(again, windowed, sizeof windowed);
	ck_assert_uint_eq(id, 4);
	/* no window, no penalty */
	float off[] = {2, -2, 1.5f, 0, 3};
	p.penalty_window = 0;
	ck_assert_int_eq(sampler_pick(s, &p, off, 5, log, 7, 0, &id), 0);
	ck_assert_float_eq(off[0], 2);
}
END_TEST

/* Before penalties, each in its turn, and an id beyond the logits nowhere. */
START_TEST(biases_exact) {
	const struct sampler_bias bias[] = {
	        {0, -3}, {3, 1e8f}, {3, -1e8f}, {5, 9}, {UINT32_MAX, 9}, {1, 0.75f}};
	float logits[] = {4, -2, 1.5f, 1, 3, 77};
	const uint32_t log[] = {0, 1};
	uint32_t id;
	p.temperature = 0;
	p.repeat_penalty = 2;
	p.bias = bias;
	p.nbias = 6;
	ck_assert_int_eq(sampler_pick(s, &p, logits, 5, log, 2, 0, &id), 0);
	const float want[] = {0.5f, -2.5f, 1.5f, 0, 3, 77}; /* 1 + 1e8 − 1e8 is 0 in float32 */
	ck_assert_mem_eq(logits, want, sizeof want);
	ck_assert_uint_eq(id, 4);
	/* a bias may make it not finite */
	float large[] = {FLT_MAX, 0};
	const struct sampler_bias more[] = {{0, 1e30f}, {0, FLT_MAX}};
	p.bias = more;
	p.nbias = 2;
	ck_assert_int_eq(sampler_pick(s, &p, large, 2, NULL, 0, 0, &id), -EDOM);
}
END_TEST

/* What is never to be sampled is not, whatever its logit and the settings; but where nothing else is allowed. */
START_TEST(never_sampled) {
	const float logits[] = {90, 0, 1, -90};
	const struct sampler_bias never[] = {{0, SAMPLER_BIAS_NEVER}, {2, SAMPLER_BIAS_NEVER}};
	const uint32_t log[] = {0, 0, 2};
	const uint64_t allowed = 1 << 0 | 1 << 2;
	float scratch[4];
	uint32_t id;
	p.bias = never;
	p.nbias = 2;
	p.repeat_penalty = 0.01f;
	p.temperature = 100;
	ck_assert_uint_eq(reach(logits, 4, log, 3), 1 << 1 | 1 << 3);
	p.temperature = 0;
	ck_assert_uint_eq(reach(logits, 4, log, 3), 1 << 1);
	memcpy(scratch, logits, sizeof scratch);
	ck_assert_int_eq(sampler_pick_allowed(s, &p, scratch, 4, &allowed, NULL, 0, 0, &id), 0);
	ck_assert_uint_eq(id, 0);
}
END_TEST

START_TEST(not_finite) {
	const float bad[] = {NAN, INFINITY, -INFINITY};
	float logits[21];
	uint32_t id;
	for (size_t b = 0; b < 3; b++)
		for (uint32_t at = 0; at < 21; at++)
			for (int temperature = 0; temperature < 2; temperature++) {
				fill(logits, 21, at);
				logits[at] = bad[b];
				p.temperature = (float)temperature;
				ck_assert_int_eq(sampler_pick(s, &p, logits, 21, NULL, 0, 0, &id), -EDOM);
			}
	/* a penalty may make it so */
	float three[] = {-FLT_MAX, 2, 3};
	const uint32_t log[] = {0};
	p.repeat_penalty = 2;
	ck_assert_int_eq(sampler_pick(s, &p, three, 3, log, 1, 0, &id), -EDOM);
}
END_TEST

/* With a mask the result is that of a vocabulary of the allowed tokens alone, at any settings; and where one of the others has
 * the greatest logit. */
START_TEST(allowed_alone) {
	enum { N = 1000 };
	static float logits[N], few[N], scratch[N];
	uint32_t ids[N], log[] = {3, 500, 500, 999, 64}, few_log[5], id, want, different = 0;
	for (uint32_t round = 0; round < 400; round++) {
		uint64_t mask[(N + 63) / 64] = {0};
		uint32_t n = 0, nlog = 0, one_in = round % 4 == 0 ? 300 : round % 4 == 1 ? 20 : 2;
		fill(logits, N, round);
		for (uint32_t i = 0; i < N; i++)
			if ((i * 2654435761u ^ round * 40503u) % one_in == 0 || i == 500) {
				mask[i / 64] |= (uint64_t)1 << i % 64;
				few[n] = logits[i];
				ids[n++] = i;
			}
		for (size_t i = 0; i < 5; i++)
			for (uint32_t k = 0; k < n; k++)
				if (ids[k] == log[i])
					few_log[nlog++] = k;
		p = (struct sampler_params){.temperature = round % 3 == 0 ? 0 : 0.7f + (float)(round % 7),
		        .top_k = (const uint32_t[]){0, 1, 5, 40, 300, 2000}[round % 6],
		        .top_p = round % 5 == 0 ? 0.6f : 1,
		        .min_p = round % 7 == 0 ? 0.1f : 0,
		        .repeat_penalty = 1.3f,
		        .frequency_penalty = 0.5f,
		        .penalty_window = 64,
		        .seed = round};
		memcpy(scratch, logits, sizeof logits);
		ck_assert_int_eq(sampler_pick_allowed(s, &p, scratch, N, mask, log, 5, round, &id), 0);
		ck_assert_int_eq(sampler_pick(s, &p, few, n, few_log, nlog, round, &want), 0);
		ck_assert_uint_eq(id, ids[want]);
		different += pick_log(logits, N, log, 5, round) != id;
	}
	ck_assert_uint_gt(different, 100);
}
END_TEST

START_TEST(none_allowed) {
	float logits[70];
	uint64_t mask[2] = {0};
	uint32_t id;
	fill(logits, 70, 1);
	ck_assert_int_eq(sampler_pick_allowed(s, &p, logits, 70, mask, NULL, 0, 0, &id), -ENODATA);
	/* what is beyond the vocabulary does not count */
	fill(logits, 70, 1);
	mask[1] = (uint64_t)1 << 6;
	ck_assert_int_eq(sampler_pick_allowed(s, &p, logits, 70, mask, NULL, 0, 0, &id), -ENODATA);
	fill(logits, 70, 1);
	mask[1] = (uint64_t)1 << 5;
	ck_assert_int_eq(sampler_pick_allowed(s, &p, logits, 70, mask, NULL, 0, 0, &id), 0);
	ck_assert_uint_eq(id, 69);
	/* a logit that is not finite fails, also of a token that is not allowed */
	fill(logits, 70, 1);
	logits[3] = INFINITY;
	ck_assert_int_eq(sampler_pick_allowed(s, &p, logits, 70, mask, NULL, 0, 0, &id), -EDOM);
}
END_TEST

/* Pearson's test: at 15 degrees of freedom 44.3 is passed once in ten thousand times; seeds are fixed. */
static void chi_square(const float *logits, uint32_t n, bool by_seed) {
	double mass[16], all = 0, chi = 0;
	const int draws = 40000;
	int count[16] = {0};
	for (uint32_t i = 0; i < n; i++)
		all += mass[i] = exp((double)logits[i] / (double)p.temperature);
	for (int i = 0; i < draws; i++) {
		p.seed = by_seed ? (uint64_t)i << 20 : 99;
		count[pick(logits, n, by_seed ? 17 : (uint64_t)i)]++;
	}
	for (uint32_t i = 0; i < n; i++) {
		double want = draws * mass[i] / all;
		chi += (count[i] - want) * (count[i] - want) / want;
	}
	ck_assert_msg(chi < 44.3, "chi square %g", chi);
}

START_TEST(distribution) {
	float logits[16];
	for (uint32_t i = 0; i < 16; i++)
		logits[i] = (float)(i * 7 % 16) * 0.2f;
	chi_square(logits, 16, false);
	chi_square(logits, 16, true);
	p.temperature = 2;
	p.top_k = 16;
	chi_square(logits, 16, false);
}
END_TEST

START_TEST(same_again) {
	static float logits[50000];
	struct sampler *other;
	fill(logits, 50000, 3);
	sampler_params_default(&p);
	ck_assert_int_eq(sampler_create(&other, 50000), 0);
	for (uint64_t position = 0; position < 50; position++) {
		uint32_t id = pick(logits, 50000, position), again;
		ck_assert_uint_eq(pick(logits, 50000, position), id);
		/* another sampler, another history of use */
		float *scratch = malloc(sizeof logits);
		ck_assert_ptr_nonnull(scratch);
		memcpy(scratch, logits, sizeof logits);
		ck_assert_int_eq(sampler_pick(other, &p, scratch, 50000, NULL, 0, position, &again), 0);
		ck_assert_uint_eq(again, id);
		free(scratch);
	}
	sampler_destroy(other);
	sampler_destroy(NULL);
}
END_TEST

/* Computed from doc/numerics.md by a program that shares no code with this one. */
START_TEST(golden) {
	static float logits[128256];
	static const struct {
		float temperature;
		uint32_t top_k;
		float top_p, min_p;
		uint64_t seed, position;
		uint32_t want;
	} cases[] = {
	        {0.8f, 40, 0.95f, 0.05f, 0x0u, 0x0u, 8137},
	        {0.8f, 40, 0.95f, 0.05f, 0x1u, 0x1u, 8137},
	        {0.8f, 40, 0.95f, 0.05f, 0x3039u, 0x4du, 104955},
	        {0.8f, 40, 0.95f, 0.05f, 0xfedcba9876543210u, 0x200000000u, 8796},
	        {0.8f, 40, 0.95f, 0.05f, 0xffffffffffffffffu, 0xffffffffu, 7354},
	        {1, 0, 1, 0, 0x0u, 0x0u, 8566},
	        {1, 0, 1, 0, 0x1u, 0x1u, 66239},
	        {1, 0, 1, 0, 0x3039u, 0x4du, 126569},
	        {1, 0, 1, 0, 0xfedcba9876543210u, 0x200000000u, 16098},
	        {1, 0, 1, 0, 0xffffffffffffffffu, 0xffffffffu, 20500},
	        {1, 1000, 1, 0, 0x0u, 0x0u, 109588},
	        {1, 1000, 1, 0, 0x1u, 0x1u, 12135},
	        {1, 1000, 1, 0, 0x3039u, 0x4du, 13421},
	        {1, 1000, 1, 0, 0xfedcba9876543210u, 0x200000000u, 13036},
	        {1, 1000, 1, 0, 0xffffffffffffffffu, 0xffffffffu, 30196},
	        {0.7f, 0, 0.9f, 0, 0x0u, 0x0u, 77945},
	        {0.7f, 0, 0.9f, 0, 0x1u, 0x1u, 45297},
	        {0.7f, 0, 0.9f, 0, 0x3039u, 0x4du, 86743},
	        {0.7f, 0, 0.9f, 0, 0xfedcba9876543210u, 0x200000000u, 30072},
	        {0.7f, 0, 0.9f, 0, 0xffffffffffffffffu, 0xffffffffu, 73271},
	        {2, 0, 1, 0.02f, 0x0u, 0x0u, 122346},
	        {2, 0, 1, 0.02f, 0x1u, 0x1u, 10104},
	        {2, 0, 1, 0.02f, 0x3039u, 0x4du, 100462},
	        {2, 0, 1, 0.02f, 0xfedcba9876543210u, 0x200000000u, 22090},
	        {2, 0, 1, 0.02f, 0xffffffffffffffffu, 0xffffffffu, 108300},
	        {0.1f, 256, 1, 0, 0x0u, 0x0u, 67828},
	        {0.1f, 256, 1, 0, 0x1u, 0x1u, 127579},
	        {0.1f, 256, 1, 0, 0x3039u, 0x4du, 126900},
	        {0.1f, 256, 1, 0, 0xfedcba9876543210u, 0x200000000u, 51520},
	        {0.1f, 256, 1, 0, 0xffffffffffffffffu, 0xffffffffu, 19010},
	        {0, 0, 1, 0, 0x0u, 0x0u, 7134},
	        {0, 0, 1, 0, 0x1u, 0x1u, 7134},
	        {0, 0, 1, 0, 0x3039u, 0x4du, 7134},
	        {0, 0, 1, 0, 0xfedcba9876543210u, 0x200000000u, 7134},
	        {0, 0, 1, 0, 0xffffffffffffffffu, 0xffffffffu, 7134},
	};
	fill(logits, 128256, 42);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		p.temperature = cases[i].temperature;
		p.top_k = cases[i].top_k;
		p.top_p = cases[i].top_p;
		p.min_p = cases[i].min_p;
		p.seed = cases[i].seed;
		uint32_t id = pick(logits, 128256, cases[i].position);
		ck_assert_msg(id == cases[i].want, "case %zu: %u, not %u", i, id, cases[i].want);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *u = suite_create("sampler");
	TCase *c = tcase_create("sampler");
	tcase_set_timeout(c, 120);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, philox_published);
	tcase_add_test(c, settings);
	tcase_add_test(c, greedy);
	tcase_add_test(c, ties_to_the_lowest);
	tcase_add_test(c, top_k_of_many);
	tcase_add_test(c, top_p_exact);
	tcase_add_test(c, min_p_exact);
	tcase_add_test(c, no_mass_is_never_picked);
	tcase_add_test(c, penalties_exact);
	tcase_add_test(c, biases_exact);
	tcase_add_test(c, never_sampled);
	tcase_add_test(c, not_finite);
	tcase_add_test(c, allowed_alone);
	tcase_add_test(c, none_allowed);
	tcase_add_test(c, distribution);
	tcase_add_test(c, same_again);
	tcase_add_test(c, golden);
	suite_add_tcase(u, c);
	return u;
}

#include "tests/unit/check_main.h"
