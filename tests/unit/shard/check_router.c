/* Which experts a row uses, how much each counts, and how often each was chosen. */
#include "shard/forward/expert_use.h"
#include "shard/forward/router.h"
#include <check.h>
#include <math.h>
#include <string.h>

enum { EXPERTS = 6, USED = 3 };

/* Scores, the bias of the choice, and what is chosen with it: in which order, and the weights by exp() and 1 / (1 + exp()). */
static const struct {
	float score[EXPERTS], bias[EXPERTS];
	uint32_t chosen[USED];
} rows[] = {
        {{0.5f, 2, -1, 3, 0.25f, 1}, {0}, {3, 1, 5}},
        {{1, 1, 1, 1, 1, 1}, {0}, {0, 1, 2}}, /* of equal ones the first */
        {{-0.0f, 0, -5, -5, -5, -5}, {0}, {0, 1, 2}}, {{-3, 0, 2, 0, 2, 2}, {0}, {2, 4, 5}},
        {{80, -80, 0, 79, 0, 0}, {0}, {0, 3, 2}},
        {{0.5f, 2, -1, 3, 0.25f, 1}, {0, 0, 9, -4, 0, 0}, {2, 1, 5}},
        {{0, 0, 0, 0, 0, 0}, {0, 0.25f, 0, 0.25f, 0.5f, 0},
                {4, 1, 3}}, /* the bias decides, and not the weight */
};

static double plain(enum hparams_router router, float score) {
	return router >= ROUTER_SIGMOID ? 1 / (1 + exp(-(double)score)) : exp((double)score);
}

START_TEST(choice_and_weights) {
	for (enum hparams_router router = 0; router < ROUTERS; router++)
		for (int scaled = 0; scaled < 2; scaled++) {
			const struct hparams hp = {.experts = EXPERTS,
			        .experts_used = USED,
			        .router = router,
			        .expert_scale = scaled ? 2.5f : 0};
			float score[EXPERTS];
			struct choice out[USED];
			double all = 0, chosen = 0;
			memcpy(score, rows[_i].score, sizeof score);
			router_choose(&hp, score, rows[_i].bias, out);
			for (uint32_t e = 0; e < EXPERTS; e++)
				all += plain(router, rows[_i].score[e]);
			for (uint32_t i = 0; i < USED; i++)
				chosen += plain(router, rows[_i].score[rows[_i].chosen[i]]);
			double by = router == ROUTER_ALL ? all : router == ROUTER_SIGMOID_ONLY ? 1 : chosen;
			for (uint32_t i = 0; i < USED; i++) {
				double want = plain(router, rows[_i].score[rows[_i].chosen[i]]) / by *
				              (scaled ? 2.5 : 1);
				ck_assert_uint_eq(out[i].expert, rows[_i].chosen[i]);
				ck_assert_double_le(fabs((double)out[i].weight - want), 1e-6 * want + 1e-30);
			}
		}
}
END_TEST

/* Three groups of two: by sigmoid the best two groups by the sums of their scores, by softmax those with the best ones. */
static const struct {
	float score[EXPERTS], bias[EXPERTS];
	uint32_t by_sum[USED], by_best[USED];
} grouped[] = {
        {{3, -9, 2, 1.5f, 1, 1.25f}, {0}, {2, 3, 5}, {0, 2, 3}},
        {{-9, 4, 0, 0.5f, 0.25f, 0}, {0}, {3, 4, 2}, {1, 3, 2}},
        {{1, 1, 1, 1, 1, 1}, {0}, {0, 1, 2}, {0, 1, 2}}, /* of equal ones the first */
        {{1, 2, 3, 4, 5, 6}, {9, 9, 0, 0, 0, 0}, {1, 0, 5}, {1, 0, 5}},
        {{-3, -4, -5, -6, -7, -8}, {-2, -2, -2, -2, -2, -2}, {0, 1, 2}, {0, 1, 2}},
};

START_TEST(groups) {
	for (enum hparams_router router = 0; router < ROUTERS; router++) {
		const struct hparams hp = {.experts = EXPERTS,
		        .experts_used = USED,
		        .router = router,
		        .expert_groups = 3,
		        .groups_used = 2};
		const uint32_t *want = router >= ROUTER_SIGMOID ? grouped[_i].by_sum : grouped[_i].by_best;
		float score[EXPERTS];
		struct choice out[USED];
		double all = 0, chosen = 0;
		memcpy(score, grouped[_i].score, sizeof score);
		router_choose(&hp, score, grouped[_i].bias, out);
		for (uint32_t e = 0; e < EXPERTS; e++)
			all += plain(router, grouped[_i].score[e]);
		for (uint32_t i = 0; i < USED; i++)
			chosen += plain(router, grouped[_i].score[want[i]]);
		double by = router == ROUTER_ALL ? all : router == ROUTER_SIGMOID_ONLY ? 1 : chosen;
		for (uint32_t i = 0; i < USED; i++) {
			double weight = plain(router, grouped[_i].score[want[i]]) / by;
			ck_assert_uint_eq(out[i].expert, want[i]);
			ck_assert_double_le(fabs((double)out[i].weight - weight), 1e-6 * weight);
		}
	}
}
END_TEST

/* All of them, as many as there may be. */
START_TEST(all_experts) {
	const struct hparams hp = {
	        .experts = HPARAMS_MAX_EXPERTS_USED, .experts_used = HPARAMS_MAX_EXPERTS_USED};
	float score[HPARAMS_MAX_EXPERTS_USED];
	struct choice out[HPARAMS_MAX_EXPERTS_USED];
	double sum = 0;
	for (uint32_t e = 0; e < hp.experts; e++)
		score[e] = (float)((e * 29 + 5) % hp.experts) / 16;
	router_choose(&hp, score, NULL, out);
	for (uint32_t i = 0; i < hp.experts; i++) {
		ck_assert_uint_eq((out[i].expert * 29 + 5) % hp.experts, hp.experts - 1 - i);
		sum += (double)out[i].weight;
	}
	ck_assert_double_le(fabs(sum - 1), 1e-6);
}
END_TEST

/* How often each expert was chosen, and how many have half of that. */
static const struct {
	uint64_t rows[EXPERTS];
	uint64_t chosen;
	uint32_t half, tops, top[EXPERT_USE_TOP];
} used[] = {
        {{0}, 0, 0, 0, {0}},
        {{0, 0, 0, 1, 0, 0}, 1, 1, 1, {3}},
        {{1, 1, 1, 1, 1, 1}, 6, 3, 4, {0, 1, 2, 3}}, /* of equal ones the first */
        {{0, 5, 0, 3, 2, 0}, 10, 1, 3, {1, 3, 4}},
        {{0, 4, 0, 3, 2, 0}, 9, 2, 3, {1, 3, 4}},
        {{1, 2, 3, 4, 5, (uint64_t)1 << 40}, ((uint64_t)1 << 40) + 15, 1, 4, {5, 4, 3, 2}},
};

START_TEST(counted_by_layer_and_expert) {
	struct expert_use *u;
	struct expert_use_layer out;
	const uint32_t layers = sizeof used / sizeof *used;
	ck_assert_int_eq(expert_use_create(&u, layers, EXPERTS), 0);
	for (int pass = 1; pass <= 2; pass++) {
		for (uint32_t l = 0; l < layers; l++)
			for (uint32_t e = 0; e < EXPERTS; e++)
				expert_use_add(u, l, e, used[l].rows[e]);
		for (uint32_t l = 0; l < layers; l++) {
			expert_use_layer(u, l, &out);
			ck_assert_uint_eq(out.chosen, (uint64_t)pass * used[l].chosen);
			ck_assert_uint_eq(out.half, used[l].half);
			ck_assert_uint_eq(out.tops, used[l].tops);
			for (uint32_t i = 0; i < out.tops; i++) {
				double of = (double)used[l].chosen;
				ck_assert_uint_eq(out.top[i], used[l].top[i]);
				ck_assert_double_eq(out.share[i], (double)used[l].rows[out.top[i]] / of);
			}
		}
	}
	expert_use_destroy(u);
	expert_use_destroy(NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("router");
	TCase *t = tcase_create("router");
	tcase_add_loop_test(t, choice_and_weights, 0, (int)(sizeof rows / sizeof *rows));
	tcase_add_loop_test(t, groups, 0, (int)(sizeof grouped / sizeof *grouped));
	tcase_add_test(t, all_experts);
	tcase_add_test(t, counted_by_layer_and_expert);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
