/* step_timing: where the time of a model's steps goes: waiting, computing, on the wire; per stage and per
 * step.
 *
 * Every node that a step passes adds its times to the step (StepTime); clocks of different nodes are never
 * compared.  Each node measures by its own clock how long it had the step.  The rest of the time between
 * sending a step and receiving its result was spent on the wire.  It is divided among the transfers in
 * proportion to their round trips, which the senders measure.
 * Owns: the sums since the model's epoch began.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_STEP_TIMING_H
#define DAEMON_SERVE_COORDINATOR_STEP_TIMING_H
#include "proto/caravan.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

struct step_timing;

/* Seconds of one step, from beginning to end. */
struct step_timing_step {
	double waited, computed, wire;
};

int step_timing_create(struct step_timing **out, uint32_t stages);
void step_timing_destroy(struct step_timing *a); /* NULL allowed */

/* A step has returned.  times: as reported by the nodes, the coordinator's first.  away_ns: since the
 * coordinator sent it.  Impossible times are ignored: then returns false. */
bool step_timing_add(struct step_timing *a, uint32_t rows, Caravan__StepTime *const *times, size_t n,
        uint64_t away_ns, struct step_timing_step *out);
/* Adds the time of embedding and output on the coordinator: waiting for the compute thread, computing. */
void step_timing_io(struct step_timing *a, uint64_t waited_ns, uint64_t computed_ns);

/* How many steps with rows of prompts are on the wire when no stage is ever idle, estimated from recent
 * steps. */
uint32_t step_timing_on_wire(const struct step_timing *a);

/* Fills in the times; pointers are valid until the next call. */
void step_timing_state(struct step_timing *a, Caravan__ModelState *out);

#endif
