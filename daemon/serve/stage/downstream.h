/* downstream: sends steps from this node to the next one: the next stage, or the coordinator after the last.
 *
 * Owns: the steps that wait for a credit, and the numbers of those sent and not yet acknowledged.
 * Flow control: a receiver acknowledges a step when its compute thread takes it, so at most
 * DOWNSTREAM_CREDITS steps of one sender wait at the receiver.  The others wait here; the coordinator bounds
 * their number, because it limits the steps in flight.
 * Invariant: steps are sent in the order in which they came; a step is reported as lost, once, if its link is
 * lost before the acknowledgement.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_STAGE_DOWNSTREAM_H
#define DAEMON_SERVE_STAGE_DOWNSTREAM_H
#include "daemon/net/peers.h"

#define DOWNSTREAM_CREDITS 8 /* over a link with 5 ms of latency: a step every 1.3 ms */

struct downstream;

/* A step did not reach the next node. */
typedef void downstream_lost_fn(void *arg, uint64_t step, bool refused, const char *why);

/* name: of the node `to`, for messages; copied. */
int downstream_create(struct downstream **out, struct peers *p, const struct node_id *to, const char *name,
        downstream_lost_fn *lost, void *arg);
void downstream_destroy(struct downstream *d); /* NULL allowed; does not report steps in flight */

/* Sends env (a Step or a StepDone): at once if there is a credit, else a copy of it later.  since_ns: when
 * computing it ended; how long it was held since then, and the recent transfer time, are written into the
 * last of its times.  0 or -ENOMEM. */
int downstream_send(struct downstream *d, uint64_t step, Caravan__Envelope *env, struct payload *payload,
        uint64_t since_ns);

/* An acknowledgement came from `node` for `ref`, after the step had waited there for waited_ns; returns
 * whether the step was sent from here. */
bool downstream_ack(struct downstream *d, const struct node_id *node, uint64_t ref, uint64_t waited_ns);

/* `node` refused what was sent with `ref`: the step is reported as lost; returns whether it was sent from
 * here. */
bool downstream_refused(struct downstream *d, const struct node_id *node, uint64_t ref, const char *why);

/* The link to `node` was lost. */
void downstream_link_lost(struct downstream *d, const struct node_id *node, const char *why);

#endif
