/* health: see health.h. */
#include "daemon/calibration/health.h"

#include "common/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GHZ 1e9

bool health_heat(struct health_problem *out, const Caravan__Machine *machine, const char *name) {
	char degrees[64] = "", clock[96] = "";
	*out = (struct health_problem){.kind = "hot"};
	if (!machine->hot && machine->temperature < HEALTH_TOO_HOT)
		return false;
	if (machine->temperature > 0)
		snprintf(degrees, sizeof degrees, " at %.0f degrees Celsius", machine->temperature);
	if (machine->hot && machine->clock > 0 && machine->clock_max > 0)
		snprintf(clock, sizeof clock, ", now to %.1f of %.1f GHz", machine->clock / GHZ,
		        machine->clock_max / GHZ);
	if (machine->hot)
		snprintf(out->what, sizeof out->what, "The processor of %s is slowed down by heat%s%s.", name,
		        degrees, clock);
	else
		snprintf(out->what, sizeof out->what, "The processor of %s is%s, near its limit.", name,
		        degrees);
	snprintf(out->advice, sizeof out->advice,
	        "Clean its fan and give it air; until then it computes more slowly than the plan says.");
	return true;
}

bool health_power(struct health_problem *out, const Caravan__Machine *machine, const char *name) {
	*out = (struct health_problem){.kind = "weak-power"};
	if (!machine->weak_power)
		return false;
	snprintf(out->what, sizeof out->what,
	        "The processor of %s is slowed down because its power supply is too weak.", name);
	snprintf(out->advice, sizeof out->advice,
	        "Use the power supply and the cable that its maker recommends.");
	return true;
}

bool health_memory(struct health_problem *out, const Caravan__Machine *machine, const char *name) {
	*out = (struct health_problem){.kind = "low-memory"};
	if (!machine->memory_size || machine->memory_free >= HEALTH_MEMORY_LEAST ||
	        (double)machine->memory_free >= HEALTH_MEMORY_SHARE * (double)machine->memory_size)
		return false;
	snprintf(out->what, sizeof out->what, "%s has %s of memory left, of %s.", name,
	        size_text((double)machine->memory_free).s, size_text((double)machine->memory_size).s);
	snprintf(out->advice, sizeof out->advice,
	        "Close other programs there, or start its caravand with a lower --memory: weights that are pushed out of memory are read from disk for each token.");
	return true;
}

bool health_swap(struct health_problem *out, const Caravan__Machine *machine, const char *name) {
	*out = (struct health_problem){.kind = "swapped"};
	if (machine->swapped < HEALTH_SWAPPED)
		return false;
	snprintf(out->what, sizeof out->what, "%s of caravand's memory on %s is in the swap space.",
	        size_text((double)machine->swapped).s, name);
	snprintf(out->advice, sizeof out->advice,
	        "Close other programs there, or start its caravand with a lower --memory.");
	return true;
}

bool health_version(struct health_problem *out, const Caravan__NodeState *node, const char *name,
        const Caravan__NodeState *other, const char *other_name) {
	*out = (struct health_problem){.kind = "old-version"};
	if (!*node->version || !*other->version || strverscmp(node->version, other->version) >= 0)
		return false;
	snprintf(out->what, sizeof out->what, "%s runs Caravan %s, and %s runs %s.", name, node->version,
	        other_name, other->version);
	snprintf(out->advice, sizeof out->advice,
	        "Install the same version on all nodes: what is new works only where every node knows it.");
	return true;
}

/* A time for people. */
static const char *health_duration(char *text, size_t len, double seconds) {
	if (seconds < 120)
		snprintf(text, len, "%.0f seconds", seconds);
	else if (seconds < 7200)
		snprintf(text, len, "%.0f minutes", seconds / 60);
	else if (seconds < 172800)
		snprintf(text, len, "%.0f hours", seconds / 3600);
	else
		snprintf(text, len, "%.0f days", seconds / 86400);
	return text;
}

bool health_clock(struct health_problem *out, const double *ahead, size_t n, double own, const char *name) {
	char by[32];
	*out = (struct health_problem){.kind = "clock"};
	if (n < 2)
		return false;
	/* of an even number: the one in the middle that is nearer to this clock; two nodes cannot say which of them is right */
	double low = ahead[(n - 1) / 2], high = ahead[n / 2];
	double off = own - (fabs(own - low) < fabs(own - high) ? low : high);
	if (n == 2)
		off = own == high ? high - low : 0;
	if (fabs(off) < HEALTH_CLOCK_S)
		return false;
	snprintf(out->what, sizeof out->what,
	        n == 2 ? "The clock of %s is %s %s the other node's."
	               : "The clock of %s is %s %s those of the others.",
	        name, health_duration(by, sizeof by, fabs(off)), off > 0 ? "ahead of" : "behind");
	snprintf(out->advice, sizeof out->advice,
	        "Set it, for example with 'timedatectl set-ntp true': invitations and API keys expire by it.");
	return true;
}

bool health_fewer_nodes(struct health_problem *out, const char *model, size_t was, size_t now,
        const char *down, const char *all) {
	*out = (struct health_problem){.kind = "fewer-nodes"};
	if (now >= was)
		return false;
	snprintf(out->what, sizeof out->what, "%s was loaded over %zu nodes and now runs on %zu%s%s.", model,
	        was, now, *down ? ": " : ", although the others are up again", down);
	snprintf(out->advice, sizeof out->advice,
	        "It serves, and stays there. %s'caravan unload %s' and then 'caravan load%s%s %s' spread it over all of them again.",
	        *down ? "When they are all up, " : "", model, *all ? " --nodes " : "", all, model);
	return true;
}

bool health_node_drags(struct health_problem *out, const char *model, const Caravan__Alternative *a,
        const char *name, const char *nodes) {
	*out = (struct health_problem){.kind = "node-drags"};
	if (!(a->then > 0) || a->now <= a->then)
		return false;
	snprintf(out->what, sizeof out->what,
	        "%s holds the line up: without it %s would run at %.3g tokens a second for one stream, instead of %.3g.",
	        name, model, 1 / a->then, 1 / a->now);
	if (*nodes)
		snprintf(out->advice, sizeof out->advice,
		        "Find out what slows it or its link down, or leave it out: 'caravan unload %s' and then 'caravan load --nodes %s %s'.",
		        model, nodes, model);
	else
		snprintf(out->advice, sizeof out->advice,
		        "Find out what slows it or its link down, or load %s with --nodes and all the others.",
		        model);
	return true;
}

bool health_node_unused(
        struct health_problem *out, const char *model, const Caravan__Alternative *a, const char *name) {
	*out = (struct health_problem){.kind = "node-unused"};
	if (!(a->then > 0) || a->now <= a->then)
		return false;
	snprintf(out->what, sizeof out->what,
	        "%s is not used by %s: with it, it would run at %.3g tokens a second for one stream, instead of %.3g.",
	        name, model, 1 / a->then, 1 / a->now);
	snprintf(out->advice, sizeof out->advice,
	        "'caravan unload %s' and then 'caravan load %s' make a plan that has it.", model, model);
	return true;
}

bool health_single_copy(struct health_problem *out, const Caravan__ModelState *model) {
	*out = (struct health_problem){.kind = "single-copy"};
	if (!model->copy_missing || !*model->at_risk || model->seconds <= HEALTH_COPIES_S)
		return false;
	snprintf(out->what, sizeof out->what, "%s is at risk until it is copied: %s.", model->name,
	        model->at_risk);
	snprintf(out->advice, sizeof out->advice, "Its copies are not complete; progress is shown below.");
	return true;
}
