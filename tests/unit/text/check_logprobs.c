/* Log-probabilities: against plain formulas in more precision and a full sort, and golden figures. */
#include "daemon/text/logprobs.h"
#include "kernels/kernels.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

enum { MANY = 128256 };
static float logits[MANY];

static void setup(void) {
	char err[100];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
}

static void fill(uint32_t n, uint32_t state) {
	for (uint32_t i = 0; i < n; i++) {
		state = state * 1664525 + 1013904223;
		logits[i] = (float)(int32_t)state * 0x1p-28f;
	}
}

static int compare_places(const void *a, const void *b) {
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	if (logits[i] != logits[j])
		return logits[i] < logits[j] ? 1 : -1;
	return (i > j) - (i < j);
}

/* The figures of logits[0..n), for a sampled `id`. */
static void expect_formulas(uint32_t n, uint32_t id, uint32_t top) {
	static uint32_t order[MANY];
	struct logprobs p;
	long double sum = 0, max = -INFINITY;
	for (uint32_t i = 0; i < n; i++) {
		order[i] = i;
		max = fmaxl(max, logits[i]);
	}
	for (uint32_t i = 0; i < n; i++)
		sum += expl(logits[i] - max);
	qsort(order, n, sizeof *order, compare_places);
	logprobs_compute(&p, logits, n, id, top);
	ck_assert_uint_eq(p.top, top < n ? top : n);
	long double want = logits[id] - max - logl(sum);
	ck_assert_msg(fabsl(p.token - want) < 1e-6, "%.9g is not %.9Lg", (double)p.token, want);
	for (uint32_t i = 0; i < p.top; i++) {
		ck_assert_uint_eq(p.list[i].id, order[i]);
		want = logits[order[i]] - max - logl(sum);
		ck_assert_msg(fabsl(p.list[i].value - want) < 1e-6, "%.9g is not %.9Lg",
		        (double)p.list[i].value, want);
		if (p.list[i].id == id)
			ck_assert(p.list[i].value == p.token);
	}
}

START_TEST(formulas) {
	static const uint32_t sizes[] = {1, 2, 5, 8, 19, 20, 21, 333, MANY};
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
		for (uint32_t top = 0; top <= LOGPROBS_TOP_MAX; top += top < 2 ? 1 : 9) {
			fill(sizes[k], 7 * top);
			expect_formulas(sizes[k], sizes[k] / 3, top);
		}
}
END_TEST

/* Whatever order the logits come in. */
START_TEST(orders) {
	for (uint32_t i = 0; i < 5000; i++)
		logits[i] = (float)i * 0x1p-8f;
	expect_formulas(5000, 4999, 20);
	for (uint32_t i = 0; i < 5000; i++)
		logits[i] = -(float)i * 0x1p-8f;
	expect_formulas(5000, 17, 20);
	for (uint32_t i = 0; i < 5000; i++)
		logits[i] = (float)(i * 7 % 5);
	expect_formulas(5000, 17, 20);
}
END_TEST

START_TEST(equals_in_order_of_ids) {
	static const float some[] = {1, 3, -0.0f, 0.0f, 3, 0.0f, -0.0f, 3};
	static const uint32_t want[] = {1, 4, 7, 0, 2, 3, 5, 6};
	struct logprobs p;
	logprobs_compute(&p, some, 8, 0, 20);
	ck_assert_uint_eq(p.top, 8);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_uint_eq(p.list[i].id, want[i]);
}
END_TEST

/* What there is no doubt of is 0 and not −0 nor above; what cannot be is the least there is. */
START_TEST(limits) {
	static const float sure[] = {-FLT_MAX, 100, -1e5f, -9800, -9950};
	struct logprobs p;
	logprobs_compute(&p, sure, 5, 0, 5);
	ck_assert(p.token == LOGPROBS_LEAST);
	ck_assert(p.list[0].id == 1 && p.list[0].value == 0 && !signbit(p.list[0].value));
	ck_assert(p.list[1].value == -9900);
	ck_assert(p.list[2].value == LOGPROBS_LEAST);
	ck_assert(p.list[3].value == LOGPROBS_LEAST && p.list[4].value == LOGPROBS_LEAST);
	static const float far[] = {FLT_MAX, -FLT_MAX};
	logprobs_compute(&p, far, 2, 1, 0);
	ck_assert(p.token == LOGPROBS_LEAST && p.top == 0);
	static const float alone[] = {-7};
	logprobs_compute(&p, alone, 1, 0, 20);
	ck_assert(p.token == 0 && p.top == 1 && p.list[0].value == 0);
}
END_TEST

START_TEST(sums) {
	for (uint32_t seed = 0; seed < 50; seed++) {
		struct logprobs p;
		double sum = 0;
		fill(40, seed);
		logprobs_compute(&p, logits, 40, 39, 20);
		for (uint32_t i = 0; i < 20; i++)
			sum += exp((double)p.list[i].value);
		ck_assert_msg(sum <= 1 + 1e-6 && sum > 0.5, "%g", sum);
	}
}
END_TEST

/* Computed by a separate program that was written from the definition alone. */
START_TEST(golden) {
	static const struct {
		uint32_t n, state;
		struct logprob top[3];
		float last, middle;
	} cases[] = {
	        {1000, 42, {{772, -0x1.081496p+2f}, {817, -0x1.08287cp+2f}, {231, -0x1.083aa2p+2f}},
	                -0x1.dd55c4p+3f, -0x1.a1ed52p+2f},
	        {MANY, 42, {{7134, -0x1.1f923ap+3f}, {67298, -0x1.1f92c2p+3f}, {68147, -0x1.1f932cp+3f}},
	                -0x1.77ef7p+3f, -0x1.08e4f8p+4f},
	        {77, 7, {{55, -0x1.09294cp+1f}, {50, -0x1.19fb58p+1f}, {71, -0x1.1f9a48p+1f}},
	                -0x1.a91506p+2f, -0x1.6d135ep+2f},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct logprobs p;
		uint32_t n = cases[i].n;
		fill(n, cases[i].state);
		logprobs_compute(&p, logits, n, n - 1, 3);
		for (size_t k = 0; k < 3; k++) {
			ck_assert_uint_eq(p.list[k].id, cases[i].top[k].id);
			ck_assert_msg(p.list[k].value == cases[i].top[k].value, "%a is not %a",
			        (double)p.list[k].value, (double)cases[i].top[k].value);
		}
		ck_assert_msg(
		        p.token == cases[i].last, "%a is not %a", (double)p.token, (double)cases[i].last);
		logprobs_compute(&p, logits, n, n / 2, 0);
		ck_assert_msg(
		        p.token == cases[i].middle, "%a is not %a", (double)p.token, (double)cases[i].middle);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *u = suite_create("logprobs");
	TCase *c = tcase_create("logprobs");
	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, formulas);
	tcase_add_test(c, orders);
	tcase_add_test(c, equals_in_order_of_ids);
	tcase_add_test(c, limits);
	tcase_add_test(c, sums);
	tcase_add_test(c, golden);
	suite_add_tcase(u, c);
	return u;
}

#include "tests/unit/check_main.h"
