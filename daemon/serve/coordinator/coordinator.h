/* coordinator: a model that this node coordinates: its embedding and output, its scheduler, its steps in flight.
 *
 * Owns: the slice of embedding and output (from a successful coordinator_create on), every sequence that was submitted, the hop to the
 * first stage.  A sequence goes: submit → [schedule → embed → stages → head → sample] again and again → finished.
 * Invariants: at most stages + 1 steps are in flight, and for prompts those on the wire; answers of a sequence leave in order of position.
 * Threads: the loop; embedding, head and sampling are jobs on the compute thread, and while one is there the loop
 * does not touch the logs of its sequences. */
#ifndef DAEMON_SERVE_COORDINATOR_COORDINATOR_H
#define DAEMON_SERVE_COORDINATOR_COORDINATOR_H
#include "daemon/net/peers.h"
#include "daemon/serve/stage/compute.h"
#include "daemon/text/tokenizer.h"
#include "shard/forward/slice.h"

struct coordinator;

/* plan: copied.  first: the name of the first stage's node.  tokenizer: borrowed.  io: embedding and output, mapped. */
int coordinator_create(struct coordinator **out, struct peers *p, struct compute *w,
        const Caravan__Plan *plan, const char *first, const struct tokenizer *tokenizer, struct slice *io,
        char *err, size_t errlen);

/* Every sequence ends with this error; memory is released when the compute thread no longer uses it. */
void coordinator_close(struct coordinator *m, const char *why);

/* The model that makes drafts for this one from now on, with the same words; NULL: none.  Borrowed until it is set anew. */
void coordinator_set_draft_model(struct coordinator *m, struct coordinator *small);

const Caravan__Plan *coordinator_plan(const struct coordinator *m);

/* From a gateway: answered with Tokens or Logits and one Finished, or Refused.  payload: token ids. */
void coordinator_submit(struct coordinator *m, const struct peers_from *from, const Caravan__Submit *submit,
        struct payload *payload);
/* No answers any more to this question; an unknown one is ignored. */
void coordinator_cancel(struct coordinator *m, const struct node_id *gateway, uint64_t ref);
/* The client accepts so many rows of logits, counted from the first, and a window of more. */
void coordinator_logits_taken(
        struct coordinator *m, const struct node_id *gateway, uint64_t ref, uint32_t rows);
/* A gateway has gone. */
void coordinator_cancel_node(struct coordinator *m, const struct node_id *gateway);

void coordinator_step_done(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepDone *d, struct payload *x);
/* Whether it came from a stage of the model. */
bool coordinator_step_failed(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepFailed *f);
bool coordinator_ack(struct coordinator *m, const struct node_id *node, uint64_t ref, uint64_t waited_ns);
bool coordinator_refused(struct coordinator *m, const struct node_id *node, uint64_t ref, const char *why);
void coordinator_link_lost(struct coordinator *m, const struct node_id *node, const char *why);

void coordinator_state(const struct coordinator *m, Caravan__ModelState *out);

#endif
