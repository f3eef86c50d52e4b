/* slowness: see slowness.h. */
#include "daemon/calibration/slowness.h"

#include "common/size.h"
#include "daemon/calibration/kernel_rates.h"

#include <stdio.h>

#define ROWS_LEAST 16                   /* before the time of a stage is judged */
#define DIFFERENCE 5e-3                 /* seconds; smaller differences are normal */
#define LAYER_SECONDS 1e-4              /* fixed time allowed per layer */
#define SMALL_BYTES ((uint64_t)1 << 30) /* weights that may fit into a cache: */
#define SMALL_FACTOR 8.0                /* and this factor */
#define QUICKER_SECONDS 1e-3            /* smaller predictions are not judged */

/* The ratio for a message: "8 times". */
static double slowness_ratio(double slow, double quick) {
	return slow / quick;
}

static bool slowness_than_usual(struct health_problem *out, const Caravan__StageState *st, const char *name) {
	if (!(st->usual_seconds > 0) || st->lately_seconds < SLOW_TIMES * st->usual_seconds ||
	        st->lately_seconds - st->usual_seconds < DIFFERENCE)
		return false;
	out->kind = "slow-stage";
	snprintf(out->what, sizeof out->what,
	        "%s is %.0f times slower than usual: %s of %s take%s %s a token, usually %s.", name,
	        slowness_ratio(st->lately_seconds, st->usual_seconds),
	        size_layers_named(st->first, st->last).s, st->model, st->last - st->first == 1 ? "s" : "",
	        size_duration(st->lately_seconds).s, size_duration(st->usual_seconds).s);
	snprintf(out->advice, sizeof out->advice,
	        "Check whether %s is busy with other programs, too hot, or short of memory.", name);
	return true;
}

static bool slowness_than_predicted(struct health_problem *out, const Caravan__Plan *plan,
        const Caravan__Stage *s, const Caravan__StageState *st, const Caravan__NodeState *node,
        const char *name) {
	double took =
	        st->usual_seconds > 0 ? st->usual_seconds : st->single_seconds / (double)st->single_rows;
	double fixed = LAYER_SECONDS * (s->last - s->first);
	bool slower = took > KERNEL_RATES_FACTOR * s->seconds + fixed && took - s->seconds > DIFFERENCE;
	double least = st->weight_bytes < SMALL_BYTES ? SMALL_FACTOR : KERNEL_RATES_FACTOR;
	bool quicker = s->seconds > least * took && s->seconds > QUICKER_SECONDS;
	if (!slower && !quicker)
		return false;
	double off = slower ? slowness_ratio(took, s->seconds) : slowness_ratio(s->seconds, took);
	out->kind = "prediction-off";
	snprintf(out->what, sizeof out->what,
	        "The prediction for %s is off by a factor of %.0f%s: %s of %s take%s %s a token, predicted were %s.",
	        name, off, node && node->measuring ? ", to be measured again when idle" : "",
	        size_layers_named(s->first, s->last).s, plan->model, s->last - s->first == 1 ? "s" : "",
	        size_duration(took).s, size_duration(s->seconds).s);
	if (slower && node && !node->measuring)
		snprintf(out->advice, sizeof out->advice,
		        "Check whether %s is busy with other programs or throttled; 'caravan measure %s' measures it again.",
		        name, name);
	else if (node && !node->measuring)
		snprintf(out->advice, sizeof out->advice,
		        "Its figures have been corrected: 'caravan unload %s' and 'caravan load' make a plan with them.",
		        plan->model);
	return true;
}

bool slowness_stage(struct health_problem *out, const Caravan__Plan *plan, size_t stage,
        const Caravan__StageState *st, const Caravan__NodeState *node, const char *name) {
	const Caravan__Stage *s = plan->stages[stage];
	*out = (struct health_problem){.kind = ""};
	if (!st || st->single_rows < ROWS_LEAST)
		return false;
	if (slowness_than_usual(out, st, name))
		return true;
	/* streaming stages are not judged: disk speed varies, and plans use the current figure */
	return s->seconds > 0 && !s->streamed && slowness_than_predicted(out, plan, s, st, node, name);
}

bool slowness_calibration(struct health_problem *out, const Caravan__NodeState *node, const char *name) {
	*out = (struct health_problem){.kind = "measured-busy"};
	if (!node || !node->disturbed)
		return false;
	if (node->lost >= 0.005)
		snprintf(out->what, sizeof out->what,
		        "%s was measured while other programs used %.0f%% of its processors: plans use an estimate.",
		        name, 100 * node->lost);
	else /* before the daemon was started again */
		snprintf(out->what, sizeof out->what,
		        "%s has only been measured while its processors were busy: plans use an estimate.",
		        name);
	snprintf(out->advice, sizeof out->advice,
	        "It is measured again automatically; 'caravan measure %s' does it at once when its machine is idle.",
	        name);
	return true;
}

bool slowness_link(
        struct health_problem *out, const Caravan__PeerState *p, const char *from, const char *to) {
	*out = (struct health_problem){.kind = "slow-link"};
	if (!(p->rate > 0) || p->slow_best <= p->rate)
		return false;
	snprintf(out->what, sizeof out->what, "The link from %s to %s carries %s; it carried %s before.",
	        from, to, size_link(p->rate).s, size_link(p->slow_best).s);
	snprintf(out->advice, sizeof out->advice,
	        "Check the cable, the wireless signal and what else uses the network between %s and %s.",
	        from, to);
	return true;
}

bool slowness_loss(
        struct health_problem *out, const Caravan__PeerState *p, const char *from, const char *to) {
	*out = (struct health_problem){.kind = "lossy-link"};
	if (p->lost < LOST_SHARE)
		return false;
	snprintf(out->what, sizeof out->what, "%.*f%% of what %s sends to %s gets lost on the way.",
	        p->lost < 0.0995, 100 * p->lost, from, to);
	snprintf(out->advice, sizeof out->advice,
	        "Check the cable and its plugs, or the wireless signal or powerline adapter, between %s and %s: each loss holds a token up until it is noticed.",
	        from, to);
	return true;
}
