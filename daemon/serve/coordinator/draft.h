/* draft: a draft model's sequence beside the sequence that it drafts for.
 *
 * The draft model is a smaller model with the same tokenizer that this node coordinates as well.  Its sequence begins when the
 * first token of the answer is known, follows every sampled token, and runs ahead with what the draft model samples under the
 * same settings at the same positions.  On a mismatch it rolls back.  It runs ahead only while that pays, counting the cost
 * of its tokens; otherwise it is held and catches up later.  The larger model delays a step for drafts in progress as long as
 * that pays, which it mostly does when latency between nodes dominates.
 * Owns: the pair.  The tokens of the draft that the text does not have yet are provisional (scheduler.h).
 * Invariants: a draft ends with either of the two sequences, and whoever waits for it goes on then.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_DRAFT_H
#define DAEMON_SERVE_COORDINATOR_DRAFT_H
#include "daemon/serve/coordinator/coordinator_internal.h"

/* Begins one for a sequence of `large`, if there is a draft model and the sequence wants drafts.  Without memory, or a place
 * in the draft model, there is none. */
void draft_begin(struct coordinator *large, struct client_sequence *g);
void draft_end(struct draft *d);  /* the larger model's sequence has ended: the smaller's is dropped */
void draft_lost(struct draft *d); /* the smaller model's has: it drafts no more */
/* Of a generation: whether it is a draft's sequence itself. */
bool draft_is(const struct client_sequence *g);

/* The token that the larger model has just put into its log. */
void draft_follow(struct draft *d);
/* A row of the draft's sequence is back, and its next token sampled. */
void draft_sampled(struct draft *d, const struct scheduled *e, const struct output_row *row);

/* What there is of it from the first token that is not known on; borrowed until the loop goes on. */
struct draft_run draft_tokens(struct draft *d);
/* Whether it pays to make more of it; the smaller model goes on, or is held. */
bool draft_goes_on(struct draft *d);

#endif
