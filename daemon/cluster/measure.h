/* measure: what this node can do: read bandwidth, for each weight type the rate of products with one column and with
 * many, and the rate of its disk.
 *
 * Owns: the figures, and STATE/rates, where they are kept with what they depend on (rung, threads, revisions of
 * arithmetic and layout): they are measured again when any of that is another, or when the machine has drifted from them.
 * Threads: measuring runs on a thread and a team of its own, for a few seconds; the rest is the loop's. */
#ifndef DAEMON_CLUSTER_MEASURE_H
#define DAEMON_CLUSTER_MEASURE_H
#include "daemon/net/loop.h"
#include "kernels/kernels.h"
#include "proto/wire.h"

struct measure;

/* Takes what state_dir has and, if that is old, looks whether it still holds; or begins to measure.  memory: what this node
 * may use of it, in bytes.  cpus: where to pin the threads, or NULL; copied.  busy: whether something is being computed,
 * which looking again would disturb, or has the memory that it takes. */
int measure_start(struct measure **out, struct loop *l, const char *state_dir, uint64_t memory,
        unsigned threads, const int *cpus, bool (*busy)(void *arg), void *arg);
void measure_stop(struct measure *m); /* waits for a measurement under way, which ends soon; NULL allowed */
bool measure_ready(const struct measure *m);
uint64_t measure_memory(const struct measure *m); /* bytes that it takes while it measures */

/* Adds what is known (nothing, until it is) to what this node tells of itself; pointers are valid as long as m. NULL
 * allowed for m. */
void measure_fill(struct measure *m, Caravan__NodeState *out);

#endif
