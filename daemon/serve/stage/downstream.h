/* downstream: the way of steps from this node to the next one: the next stage, or the coordinator after the last.
 *
 * Owns: the steps that wait for a credit, and the numbers of those sent and not yet acknowledged.
 * Flow: a receiver acknowledges a step when its compute thread takes it up, so at most DOWNSTREAM_CREDITS steps of one
 * hop wait at the receiver; the others wait here, and their number is bounded by the coordinator, which has
 * only so many steps in flight.
 * Invariant: steps leave in the order in which they came; a step that was sent over a link that is lost before
 * the acknowledgement is reported as lost, once.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_STAGE_DOWNSTREAM_H
#define DAEMON_SERVE_STAGE_DOWNSTREAM_H
#include "daemon/net/peers.h"

#define DOWNSTREAM_CREDITS 8 /* over a link of 5 ms a step every 1.3 ms */

struct downstream;

/* A step did not reach the next node. */
typedef void downstream_lost_fn(void *arg, uint64_t step, bool refused, const char *why);

/* name: of the node `to`, for people; copied. */
int downstream_create(struct downstream **out, struct peers *p, const struct node_id *to, const char *name,
        downstream_lost_fn *lost, void *arg);
void downstream_destroy(struct downstream *h); /* NULL allowed; says nothing of steps that were under way */

/* Sends env (a Step or a StepDone): at once when a credit is there, else a copy of it when one comes.  since_ns: when there was no more to
 * compute; what it was held since then, and how long the hop lately took, go into the last of its times.  0 or
 * -ENOMEM. */
int downstream_send(struct downstream *h, uint64_t step, Caravan__Envelope *env, struct payload *payload,
        uint64_t since_ns);

/* An acknowledgement came from `node` for `ref`, which had lain there for so long; whether it was for this hop. */
bool downstream_ack(struct downstream *h, const struct node_id *node, uint64_t ref, uint64_t waited_ns);

/* `node` refused what was sent with `ref`: the step is reported as lost; whether it was of this hop. */
bool downstream_refused(struct downstream *h, const struct node_id *node, uint64_t ref, const char *why);

/* The link to `node` was lost. */
void downstream_link_lost(struct downstream *h, const struct node_id *node, const char *why);

#endif
