/* stage: one slice of a model that this node serves under a plan: it receives steps, computes them in order
 * and passes them on.
 *
 * Owns: the slice (once stage_create has succeeded), its KV blocks, its buffers, the downstream connection.
 * Keeps no state of sequences: a step carries the block tables that it uses, and every step is checked
 * against this stage's limits before it reaches a kernel.
 * Invariant: steps are computed in the order of their numbers; a step older than one already received is
 * refused.
 * Threads: the loop; the computing itself is a job on the compute thread. */
#ifndef DAEMON_SERVE_STAGE_STAGE_H
#define DAEMON_SERVE_STAGE_STAGE_H
#include "daemon/net/peers.h"
#include "daemon/serve/stage/compute.h"
#include "shard/forward/slice.h"

struct stage;

/* plan: copied.  index: of this stage in the plan.  next: the name of the node that receives its results. */
int stage_create(struct stage **out, struct peers *p, struct compute *c, const Caravan__Plan *plan,
        uint32_t index, const char *next, struct slice *slice, char *err, size_t errlen);

/* Accepts no more steps; memory is released once the compute thread no longer uses it. */
void stage_destroy(struct stage *s);

bool stage_is(const struct stage *s, const char *model, const Caravan__Epoch *epoch, uint32_t index);
const Caravan__Plan *stage_plan(const struct stage *s);
uint32_t stage_index(const struct stage *s);

/* A Step for this stage has arrived: acknowledged when it is taken up, refused with a sentence when it is
 * invalid. */
void stage_step(struct stage *s, const struct peers_from *from, const Caravan__Step *step, struct payload *x);

/* The coordinator cancelled this step: it is skipped, unless already computed. */
void stage_void(struct stage *s, const struct peers_from *from, uint64_t number);

/* For its downstream connection: an acknowledgement, a refusal, a lost link. */
bool stage_ack(struct stage *s, const struct node_id *node, uint64_t ref, uint64_t waited_ns);
bool stage_refused(struct stage *s, const struct node_id *node, uint64_t ref, const char *why);
/* Whether it lost a step that the coordinator waits for, and could not report it. */
bool stage_broken(const struct stage *s);
void stage_link_lost(struct stage *s, const struct node_id *node, const char *why);

/* The state for status, with the experts of at most so many layers, or of none if there are more; pointers in out are borrowed
 * from the stage, until the next call. */
void stage_state(struct stage *s, uint32_t expert_layers, Caravan__StageState *out);

#endif
