/* coordinator: a model that this node coordinates: its embedding and output, its scheduler, its steps in
 * flight.
 *
 * Owns: the slice of embedding and output (once coordinator_create has succeeded), every submitted sequence,
 * the downstream connection to the first stage.  The life of a sequence: submit → [compile its grammar →] [schedule → embed → stages
 * → head → sample], repeated → finished.
 * Invariants: at most stages + 1 steps are in flight, plus, for prompts, those on the wire; a sequence's
 * answers are sent in order of position.
 * Threads: the loop; embedding, head and sampling are jobs on the compute thread, and during such a job the
 * loop does not touch the logs of its sequences. */
#ifndef DAEMON_SERVE_COORDINATOR_COORDINATOR_H
#define DAEMON_SERVE_COORDINATOR_COORDINATOR_H
#include "daemon/net/peers.h"
#include "daemon/serve/stage/compute.h"
#include "daemon/text/tokenizer.h"
#include "shard/forward/slice.h"

struct constraints;
struct coordinator;

/* Sequences with grammars, running or waiting; more are refused as busy. */
#define COORDINATOR_CONSTRAINED_MAX 64

/* plan: copied.  first: the name of the first stage's node.  tokenizer: borrowed until coordinator_close; constraints, peers
 * and compute likewise.  io: embedding and output, mapped. */
int coordinator_create(struct coordinator **out, struct peers *p, struct compute *c, struct constraints *cs,
        const Caravan__Plan *plan, const char *first, const struct tokenizer *tokenizer, struct slice *io,
        char *err, size_t errlen);

/* Ends every sequence with this error; memory is released once the compute thread no longer uses it. */
void coordinator_close(struct coordinator *m, const char *why);

/* Sets the draft model, which has the same tokenizer; NULL: none.  Borrowed until the next call. */
void coordinator_set_draft_model(struct coordinator *m, struct coordinator *small);

const Caravan__Plan *coordinator_plan(const struct coordinator *m);

/* From a gateway: answered with Tokens, Logits or an Embedding and one Finished, or with Refused.  payload: token ids. */
void coordinator_submit(struct coordinator *m, const struct peers_from *from, const Caravan__Submit *submit,
        struct payload *payload);
/* No more answers to this request; an unknown one is ignored. */
void coordinator_cancel(struct coordinator *m, const struct node_id *gateway, uint64_t ref);
/* The client has taken `rows` rows of logits in total; a window more may be computed. */
void coordinator_logits_taken(
        struct coordinator *m, const struct node_id *gateway, uint64_t ref, uint32_t rows);
/* A gateway has gone: cancels its sequences. */
void coordinator_cancel_node(struct coordinator *m, const struct node_id *gateway);

void coordinator_step_done(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepDone *d, struct payload *x);
/* Returns whether it came from a stage of the model. */
bool coordinator_step_failed(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepFailed *f);
bool coordinator_ack(struct coordinator *m, const struct node_id *node, uint64_t ref, uint64_t waited_ns);
bool coordinator_refused(struct coordinator *m, const struct node_id *node, uint64_t ref, const char *why);
void coordinator_link_lost(struct coordinator *m, const struct node_id *node, const char *why);

/* With at most so many streams; pointers are valid until the next call. */
void coordinator_state(struct coordinator *m, uint32_t streams, Caravan__ModelState *out);

#endif
