/* draft: what a smaller model makes of a text, beside the sequence that writes it.
 *
 * The smaller model is one of the same words that this node coordinates as well.  A draft is a sequence of its own there: it
 * begins when the first token of the answer is known, follows every token that is picked, and runs ahead of them with what
 * the smaller model picks under the same settings at the same positions.  Where the text takes another turn it goes back.
 * It makes more only while that pays, counting what a token of it takes; otherwise it is held and catches up later.
 * The larger model waits with a step for guesses that are being made as long as they pay, which most do where a token goes
 * a long way.
 * Owns: the pair.  Of a draft's sequence the tokens that the text does not have yet are provisional (scheduler.h).
 * Invariants: a draft ends with either of the two sequences, and whoever waits for it goes on then.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_DRAFT_H
#define DAEMON_SERVE_COORDINATOR_DRAFT_H
#include "daemon/serve/coordinator/coordinator_internal.h"

/* Begins one for a sequence of `large`, where it has a smaller model and the sequence wants guesses; no memory, or no place
 * there: there is none. */
void draft_begin(struct coordinator *large, struct client_sequence *g);
void draft_end(struct draft *d);  /* the larger model's sequence has ended: the smaller's is dropped */
void draft_lost(struct draft *d); /* the smaller model's has: there are no more guesses from it */
/* Of a generation: whether it is a draft's sequence itself. */
bool draft_is(const struct client_sequence *g);

/* The token that the larger model has just put into its log. */
void draft_follow(struct draft *d);
/* A row of the draft's sequence is back, and its next token picked. */
void draft_sampled(struct draft *d, const struct scheduled *e, const struct output_row *row);

/* What there is of it from the first token that is not known on; borrowed until the loop goes on. */
struct draft_run draft_tokens(struct draft *d);
/* Whether it pays to make more of it; the smaller model goes on, or is held. */
bool draft_goes_on(struct draft *d);

#endif
