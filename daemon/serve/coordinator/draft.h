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

/* Begins a draft for a sequence of `large`, if there is a draft model and the sequence wants drafts.  There
 * is no draft when out of memory, or when the draft model has no place for it. */
void draft_begin(struct coordinator *large, struct client_sequence *g);
void draft_end(struct draft *d);  /* the larger model's sequence has ended: the draft's is dropped */
void draft_lost(struct draft *d); /* the draft's sequence has ended: no more drafts */
/* Whether a sequence is a draft's own. */
bool draft_is(const struct client_sequence *g);

/* Follows the token that the larger model has just put into its log. */
void draft_follow(struct draft *d);
/* A row of the draft's sequence has returned, and its next token was sampled. */
void draft_sampled(struct draft *d, const struct scheduled *e, const struct output_row *row);

/* The drafted tokens that the larger model does not know yet; borrowed until control returns to the loop. */
struct draft_run draft_tokens(struct draft *d);
/* Whether to wait for more drafted tokens because they pay; lets the draft's sequence continue, or holds
 * it. */
bool draft_goes_on(struct draft *d);

#endif
