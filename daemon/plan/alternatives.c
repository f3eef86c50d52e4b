/* alternatives: see alternatives.h. */
#include "daemon/plan/alternatives.h"

#include "daemon/plan/advice.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAME 1.02 /* times as slow under load: not slower */

/* A plan that serves, with the rates that it shows. */
struct present {
	struct planner_input in;
	struct planner_node *node; /* in.node, owned */
	const struct alternatives_stage *stage;
	size_t stages;
	double now, slowest; /* seconds of a token; of the slowest stage or hop */
};

static bool alternatives_has(const struct present *p, size_t node) {
	for (size_t i = 0; i < p->stages; i++)
		if (p->stage[i].node == node)
			return true;
	return false;
}

static double alternatives_predicted(const struct planner_input *in, const struct alternatives_stage *s) {
	return planner_layers_seconds(in, s->node, s->first, s->last);
}

static double alternatives_seconds(const struct planner_input *in, const struct alternatives_stage *s) {
	return s->seconds > 0 ? s->seconds : alternatives_predicted(in, s);
}

/* Corrects the rates of the plan's nodes by what was measured; those of the others, never upwards, by the mean. */
static void alternatives_correct(struct present *p) {
	double predicted = 0, measured = 0;
	for (size_t i = 0; i < p->stages; i++) {
		predicted += alternatives_predicted(&p->in, &p->stage[i]);
		measured += alternatives_seconds(&p->in, &p->stage[i]);
	}
	double mean = fmin(1, predicted / measured);
	for (size_t n = 0; n < p->in.nodes; n++) {
		double factor = mean;
		for (size_t i = 0; i < p->stages; i++)
			if (p->stage[i].node == n)
				factor = alternatives_predicted(&p->in, &p->stage[i]) /
				         alternatives_seconds(&p->in, &p->stage[i]);
		for (int t = 0; t < KERN_TYPES; t++)
			p->node[n].bytes_per_second[t] *= factor;
	}
}

/* What a token takes now, and its slowest part. */
static void alternatives_measure(struct present *p) {
	double io = planner_head_seconds(&p->in), hop;
	size_t at = p->in.coordinator;
	p->now = p->slowest = io;
	for (size_t i = 0; i < p->stages; i++) {
		size_t node = p->stage[i].node;
		double seconds = alternatives_seconds(&p->in, &p->stage[i]);
		hop = node == at ? 0 : p->in.node[node].hop;
		p->now += seconds + hop;
		p->slowest = fmax(p->slowest, fmax(hop, seconds + (node == p->in.coordinator ? io : 0)));
		at = node;
	}
	hop = at == p->in.coordinator ? 0 : p->in.node[p->in.coordinator].hop;
	p->now += hop;
	p->slowest = fmax(p->slowest, hop);
}

/* The best plan with these nodes; seconds 0 if none. */
static int alternatives_plan(
        struct planner_plan *out, const struct present *p, const struct planner_node *nodes) {
	struct planner_input in = p->in;
	char err[256];
	in.node = nodes;
	in.memory_only = true;
	int rc = planner_plan(out, &in, err, sizeof err);
	if (rc && rc != -ENOMEM) {
		planner_clear(out);
		rc = 0;
	}
	return rc;
}

static bool alternatives_gains(double now, double then) {
	return then > 0 && then * ALTERNATIVES_GAIN <= now && now - then >= ALTERNATIVES_LEAST;
}

static int alternatives_without(
        struct alternative *out, const struct present *p, size_t left_out, struct planner_node *nodes) {
	struct planner_plan plan;
	memcpy(nodes, p->node, p->in.nodes * sizeof *nodes);
	for (size_t n = 0; n < p->in.nodes; n++) {
		nodes[n].required = alternatives_has(p, n) && n != left_out;
		nodes[n].excluded = !nodes[n].required;
	}
	int rc = alternatives_plan(&plan, p, nodes);
	if (rc)
		return rc;
	/* what one stream gains, many must not lose, if there may be many */
	bool loses = p->in.parallel > 1 && plan.slowest > SAME * p->slowest;
	if (alternatives_gains(p->now, plan.seconds) && !loses && (!out->found || plan.seconds < out->then))
		*out = (struct alternative){true, left_out, plan.seconds};
	planner_clear(&plan);
	return 0;
}

/* Whether stage i is among the slowest by layer. */
static bool alternatives_tries(const struct present *p, size_t i) {
	size_t slower = 0;
	for (size_t k = 0; k < p->stages; k++) {
		const struct alternatives_stage *a = &p->stage[k], *b = &p->stage[i];
		slower += alternatives_seconds(&p->in, a) / (a->last - a->first) >
		          alternatives_seconds(&p->in, b) / (b->last - b->first);
	}
	return slower < ALTERNATIVES_TRIES;
}

/* Another node helps if the best plan of all nodes has it, and is quicker than the best one of the plan's own nodes. */
static int alternatives_with(struct alternative *out, const struct present *p, struct planner_node *nodes) {
	struct planner_plan own, all;
	bool any = false;
	memcpy(nodes, p->node, p->in.nodes * sizeof *nodes);
	for (size_t n = 0; n < p->in.nodes; n++) {
		any = any || (!nodes[n].excluded && !alternatives_has(p, n));
		nodes[n].excluded = !alternatives_has(p, n);
	}
	if (!any)
		return 0;
	int rc = alternatives_plan(&own, p, nodes);
	if (rc)
		return rc;
	double least = own.seconds > 0 ? fmin(own.seconds, p->now) : p->now;
	planner_clear(&own);
	if ((rc = alternatives_plan(&all, p, p->node)) != 0)
		return rc;
	uint32_t most = 0;
	for (size_t i = 0; i < all.stages && alternatives_gains(least, all.seconds); i++) {
		const struct planner_stage *s = &all.stage[i];
		if (alternatives_has(p, s->node) || s->last - s->first <= most)
			continue;
		most = s->last - s->first;
		*out = (struct alternative){true, s->node, all.seconds};
	}
	planner_clear(&all);
	return 0;
}

int alternatives_find(struct alternatives *out, const struct planner_input *in,
        const struct alternatives_stage *stage, size_t stages) {
	struct present p = {.in = *in, .stage = stage, .stages = stages};
	struct planner_node *nodes = calloc(in->nodes, sizeof *nodes);
	int rc = 0;
	*out = (struct alternatives){0};
	p.node = calloc(in->nodes, sizeof *p.node);
	if (!nodes || !p.node) {
		rc = -ENOMEM;
	} else if (advice_measured(in)) {
		memcpy(p.node, in->node, in->nodes * sizeof *p.node);
		alternatives_measure(&p);
		alternatives_correct(&p);
		p.in.node = p.node;
		out->now = p.now;
		for (size_t i = 0; i < stages && stages > 1 && rc == 0; i++)
			if (stage[i].node != in->coordinator && alternatives_tries(&p, i))
				rc = alternatives_without(&out->without, &p, stage[i].node, nodes);
		if (rc == 0)
			rc = alternatives_with(&out->with, &p, nodes);
	}
	free(nodes);
	free(p.node);
	return rc;
}
