/* stage: one slice of a model that this node serves under a plan: it takes steps in, computes them in order and
 * passes them on.
 *
 * Owns: the slice (from a successful stage_create on), its KV blocks, its buffers, the hop to the next node.
 * Has no memory of sequences: a step carries the block tables that it indexes, and every step is checked
 * against what this stage has before it comes near a kernel.
 * Invariant: steps are computed in the order of their numbers; an older number than one seen is refused.
 * Threads: the loop; the computing itself is a job on the compute thread. */
#ifndef DAEMON_SERVE_STAGE_STAGE_H
#define DAEMON_SERVE_STAGE_STAGE_H
#include "daemon/net/peers.h"
#include "daemon/serve/stage/compute.h"
#include "shard/forward/slice.h"

struct stage;

/* plan: copied.  index: of this stage in it.  next: the name of the node that its results go to. */
int stage_create(struct stage **out, struct peers *p, struct compute *w, const Caravan__Plan *plan,
        uint32_t index, const char *next, struct slice *slice, char *err, size_t errlen);

/* No step is taken any more; memory is released when the compute thread no longer uses it. */
void stage_destroy(struct stage *s);

bool stage_is(const struct stage *s, const char *model, const Caravan__Epoch *epoch, uint32_t index);
const Caravan__Plan *stage_plan(const struct stage *s);
uint32_t stage_index(const struct stage *s);

/* A Step for this stage arrived: acknowledged when it is taken up, refused with a sentence when it is wrong. */
void stage_step(struct stage *s, const struct peers_from *from, const Caravan__Step *step, struct payload *x);

/* The coordinator cancelled this step: it is not computed, if it was not yet. */
void stage_void(struct stage *s, const struct peers_from *from, uint64_t number);

/* For hops: an acknowledgement, a lost link. */
bool stage_ack(struct stage *s, const struct node_id *node, uint64_t ref, uint64_t waited_ns);
bool stage_refused(struct stage *s, const struct node_id *node, uint64_t ref, const char *why);
/* Whether it lost a step and could not tell the coordinator, which waits for it. */
bool stage_broken(const struct stage *s);
void stage_link_lost(struct stage *s, const struct node_id *node, const char *why);

/* What status shows; out's pointers are borrowed from the stage. */
void stage_state(const struct stage *s, Caravan__StageState *out);

#endif
