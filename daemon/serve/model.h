/* model: a model that this node coordinates: its two ends, its scheduler, its steps in flight.
 *
 * Owns: the ends' slice (from a successful model_create on), every sequence that was submitted, the hop to the
 * first stage.  A sequence goes: submit → [schedule → embed → stages → head → sample] again and again → finished.
 * Invariants: at most stages + 1 steps are in flight; answers of a sequence leave in order of position.
 * Threads: the loop; embedding, head and sampling are jobs on the worker's lane, and while one is there the loop
 * does not touch the logs of its sequences. */
#ifndef DAEMON_SERVE_MODEL_H
#define DAEMON_SERVE_MODEL_H
#include "daemon/net/peers.h"
#include "daemon/serve/worker.h"
#include "daemon/text/tokenizer.h"
#include "shard/slice.h"

struct model;

/* plan: copied.  tokenizer: borrowed.  ends: the mapped ends. */
int model_create(struct model **out, struct peers *p, struct worker *w, const Caravan__Plan *plan,
        const struct tokenizer *tokenizer, struct slice *ends, char *err, size_t errlen);

/* Every sequence ends with this error; memory is released when the lane has left it. */
void model_close(struct model *m, const char *why);

const Caravan__Plan *model_plan(const struct model *m);

/* From a gateway: answered with Tokens or Logits and one Finished, or Refused.  payload: token ids. */
void model_submit(struct model *m, const struct peers_from *from, const Caravan__Submit *submit,
        struct payload *payload);
/* No answers any more to this question; an unknown one is ignored. */
void model_cancel(struct model *m, const struct node_id *gateway, uint64_t ref);
/* A gateway has gone. */
void model_cancel_node(struct model *m, const struct node_id *gateway);

void model_step_done(
        struct model *m, const struct peers_from *from, const Caravan__StepDone *d, struct payload *x);
void model_step_failed(struct model *m, const struct peers_from *from, const Caravan__StepFailed *f);
bool model_ack(struct model *m, const struct node_id *node, uint64_t ref);
bool model_refused(struct model *m, const struct node_id *node, uint64_t ref, const char *why);
void model_link_lost(struct model *m, const struct node_id *node, const char *why);

void model_state(const struct model *m, Caravan__ModelState *out);

#endif
