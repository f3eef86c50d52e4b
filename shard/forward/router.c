/* router: see router.h. */
#include "shard/forward/router.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/math.h"

/* Whether expert a comes before b: by its score, then by its number. */
static bool router_is_better(const float *score, uint32_t a, uint32_t b) {
	return score[a] > score[b] || (score[a] == score[b] && a < b);
}

/* The best expert after `last`; NULL: the best of all. */
static uint32_t router_next(const float *score, uint32_t experts, const struct choice *last) {
	uint32_t best = experts;
	for (uint32_t e = 0; e < experts; e++)
		if ((!last || router_is_better(score, last->expert, e)) &&
		        (best == experts || router_is_better(score, e, best)))
			best = e;
	return best;
}

/* e^(score - max) of the chosen, and the sum of that over all experts or over the chosen. */
static float router_softmax(const struct hparams *hp, const float *score, struct choice *chosen) {
	bool all = hp->router == ROUTER_ALL;
	float sum = 0, most = all ? score[0] : chosen[0].weight;
	for (uint32_t e = 1; all && e < hp->experts; e++)
		most = score[e] > most ? score[e] : most;
	for (uint32_t i = 1; !all && i < hp->experts_used; i++)
		most = chosen[i].weight > most ? chosen[i].weight : most;
	for (uint32_t e = 0; all && e < hp->experts; e++)
		sum += kern_exp(score[e] - most);
	for (uint32_t i = 0; i < hp->experts_used; i++) {
		chosen[i].weight = kern_exp(chosen[i].weight - most);
		sum += all ? 0 : chosen[i].weight;
	}
	return sum;
}

/* How much a group counts in the choice: its best score, and for sigmoids its second best as well. */
static float router_group_score(const float *score, uint32_t size, bool two) {
	float best = score[0], second = -INFINITY;
	for (uint32_t e = 1; e < size; e++) {
		float s = score[e];
		second = s > best ? best : s > second ? s : second;
		best = s > best ? s : best;
	}
	return two && size > 1 ? best + second : best;
}

/* Leaves the experts of the best groups, by putting the others behind all. */
static void router_choose_groups(const struct hparams *hp, float *score, bool sigmoid) {
	float group[HPARAMS_MAX_EXPERTS];
	bool stays[HPARAMS_MAX_EXPERTS] = {false};
	struct choice last = {0};
	uint32_t groups = hp->expert_groups, size = hp->experts / groups;
	for (uint32_t g = 0; g < groups; g++)
		group[g] = router_group_score(score + g * size, size, sigmoid);
	for (uint32_t i = 0; i < hp->groups_used; i++) {
		last.expert = router_next(group, groups, i ? &last : NULL);
		stays[last.expert] = true;
	}
	for (uint32_t e = 0; e < hp->experts; e++)
		if (!stays[e / size])
			score[e] = -INFINITY;
}

void router_choose(const struct hparams *hp, float *score, const float *bias, struct choice *out) {
	bool sigmoid = hp->router == ROUTER_SIGMOID || hp->router == ROUTER_SIGMOID_ONLY;
	float value[HPARAMS_MAX_EXPERTS], sum = 0;
	for (uint32_t e = 0; sigmoid && e < hp->experts; e++)
		score[e] = 1 / (1 + kern_exp(-score[e]));
	memcpy(value, score, hp->experts * sizeof *value);
	for (uint32_t e = 0; bias && e < hp->experts; e++)
		score[e] += bias[e];
	if (hp->expert_groups)
		router_choose_groups(hp, score, sigmoid);
	for (uint32_t i = 0; i < hp->experts_used; i++) {
		uint32_t e = router_next(score, hp->experts, i ? &out[i - 1] : NULL);
		out[i] = (struct choice){.expert = e, .weight = value[e]};
		sum += value[e];
	}
	sum = sigmoid ? sum + 1e-20f : router_softmax(hp, value, out);
	for (uint32_t i = 0; i < hp->experts_used; i++) {
		if (hp->router != ROUTER_SIGMOID_ONLY)
			out[i].weight /= sum;
		if (hp->expert_scale != 0)
			out[i].weight *= hp->expert_scale;
	}
}
