/* step_timing: see step_timing.h. */
#include "daemon/serve/coordinator/step_timing.h"
#include <errno.h>
#include <stdlib.h>

struct step_timing {
	uint32_t parts; /* the coordinator and its stages, in the order in which a step passes them */
	Caravan__StageTime *sum, **list;
	double wire, slowest; /* of steps with rows of prompts, smoothed: on the wire; at the slowest stage */
};

#define PROMPT_ROWS 64 /* steps with fewer rows say little about large ones */

int step_timing_create(struct step_timing **out, uint32_t stages) {
	struct step_timing *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->parts = stages + 1;
	a->sum = calloc(a->parts, sizeof *a->sum);
	a->list = calloc(a->parts, sizeof(Caravan__StageTime *));
	if (!a->sum || !a->list) {
		step_timing_destroy(a);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < a->parts; i++) {
		caravan__stage_time__init(&a->sum[i]);
		a->list[i] = &a->sum[i];
	}
	*out = a;
	return 0;
}

void step_timing_destroy(struct step_timing *a) {
	if (!a)
		return;
	free(a->sum);
	free(a->list);
	free(a);
}

static double step_timing_seconds(uint64_t ns) {
	return (double)ns * 1e-9;
}

static double step_timing_smoothed(double old, double now) {
	return old > 0 ? (3 * old + now) / 4 : now;
}

bool step_timing_add(struct step_timing *a, uint32_t rows, Caravan__StepTime *const *times, size_t n,
        uint64_t away_ns, struct step_timing_step *out) {
	double away = step_timing_seconds(away_ns), stages = 0, trips = 0, slowest = 0;
	*out = (struct step_timing_step){0};
	if (n != a->parts)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			stages += step_timing_seconds(times[i]->waited) +
			          step_timing_seconds(times[i]->computed) +
			          step_timing_seconds(times[i]->held);
		trips += step_timing_seconds(times[i]->trip);
		if (step_timing_seconds(times[i]->computed) > slowest)
			slowest = step_timing_seconds(times[i]->computed);
	}
	/* allows a nanosecond or two of rounding; more means that a node counts wrongly */
	if (stages > away * 1.0001)
		return false;
	double wire = away > stages ? away - stages : 0;
	for (size_t i = 0; i < n; i++) {
		const Caravan__StepTime *t = times[i];
		Caravan__StageTime *s = &a->sum[i];
		s->waited += step_timing_seconds(t->waited);
		s->computed += step_timing_seconds(t->computed);
		s->held += step_timing_seconds(t->held);
		s->wire += wire * (trips > 0 ? step_timing_seconds(t->trip) / trips : 1.0 / (double)n);
		out->waited += step_timing_seconds(t->waited) + step_timing_seconds(t->held);
		out->computed += step_timing_seconds(t->computed);
	}
	out->wire = wire;
	if (rows >= PROMPT_ROWS) {
		a->wire = step_timing_smoothed(a->wire, wire);
		a->slowest = step_timing_smoothed(a->slowest, slowest);
	}
	return true;
}

void step_timing_io(struct step_timing *a, uint64_t waited_ns, uint64_t computed_ns) {
	a->sum[0].waited += step_timing_seconds(waited_ns);
	a->sum[0].computed += step_timing_seconds(computed_ns);
}

uint32_t step_timing_on_wire(const struct step_timing *a) {
	double steps = a->slowest > 0 ? a->wire / a->slowest : 0, most = 4.0 * (a->parts - 1);
	return (uint32_t)(steps < most ? steps : most);
}

void step_timing_state(struct step_timing *a, Caravan__ModelState *out) {
	out->times = a->list;
	out->n_times = a->parts;
}
