/* step_timing: where the time of a model's steps goes: waiting, computing, on the wire; for each stage and for a step as a
 * whole.
 *
 * Every step carries what each node that it passed had to say of it (StepTime); clocks of nodes are never compared.
 * Each measures by its own clock how long it had the step.  What is left of the time between sending a step and
 * hearing that it is done was spent on the wire, all hops together, and is divided among them as their round trips
 * are, which their senders measure.
 * Owns: the sums since the model's epoch began.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_STEP_TIMING_H
#define DAEMON_SERVE_COORDINATOR_STEP_TIMING_H
#include "proto/caravan.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

struct step_timing;

/* Seconds of one step on its whole way. */
struct step_timing_step {
	double waited, computed, wire;
};

int step_timing_create(struct step_timing **out, uint32_t stages);
void step_timing_destroy(struct step_timing *a); /* NULL allowed */

/* A step is back: times as it brought them, the coordinator's first; away_ns: since the coordinator sent it.  What a
 * step brings that cannot be is left out: then false. */
bool step_timing_add(struct step_timing *a, uint32_t rows, Caravan__StepTime *const *times, size_t n,
        uint64_t away_ns, struct step_timing_step *out);
/* Time of embedding and output on the coordinator: waiting for the compute thread, computing. */
void step_timing_io(struct step_timing *a, uint64_t waited_ns, uint64_t computed_ns);

/* How many steps with rows of prompts are on the wire when no stage is ever idle, by those that lately came back. */
uint32_t step_timing_on_wire(const struct step_timing *a);

/* Fills in the times; pointers are valid until the next call. */
void step_timing_state(struct step_timing *a, Caravan__ModelState *out);

#endif
