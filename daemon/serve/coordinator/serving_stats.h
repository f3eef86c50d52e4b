/* serving_stats: how fast a model is served: tokens a second, and percentiles of what clients wait for.
 *
 * Generated tokens are those of clients' sequences, not those of drafts.  Prompt tokens are computed positions of what
 * sequences came with; those found in the prefix cache do not count.
 * The first token's time is from the arrival of the Submit at the coordinator to the sampling of the first token: compiling a
 * grammar, waiting in the queue and computing the prompt, without the way between gateway and coordinator.  Embeddings and
 * logits have none.
 * The time between tokens is from one sampled token of a sequence to the next; tokens of one step (accepted drafts) share
 * the time since the sequence's last token evenly.
 * Rates of "now" are over the last ten seconds (rate.h); the last minute and the last hour consist of slots of a second and a
 * minute for tokens, and of five seconds and a minute for times (window.h).  Percentiles are within 5% (quantile.h).
 * Owns: about 130 KiB, whatever is served.
 * Threads: the owner's.  Pure: the time comes with each call. */
#ifndef DAEMON_SERVE_COORDINATOR_SERVING_STATS_H
#define DAEMON_SERVE_COORDINATOR_SERVING_STATS_H
#include "proto/wire.h"

struct serving_stats;

int serving_stats_create(struct serving_stats **out, uint64_t now_ns); /* 0 or -ENOMEM */
void serving_stats_destroy(struct serving_stats *s);                   /* NULL allowed */

void serving_stats_generated(struct serving_stats *s, uint64_t now_ns, uint32_t tokens);
void serving_stats_prompt(struct serving_stats *s, uint64_t now_ns, uint32_t tokens);
void serving_stats_first_token(struct serving_stats *s, uint64_t now_ns, uint64_t waited_ns);
/* The time of so many tokens together. */
void serving_stats_inter_token(struct serving_stats *s, uint64_t now_ns, uint32_t tokens, uint64_t waited_ns);

/* Generated tokens a second, now. */
double serving_stats_rate(const struct serving_stats *s, uint64_t now_ns);

/* Fills in rates, statistics and histograms; pointers are valid until the next call. */
void serving_stats_state(struct serving_stats *s, uint64_t now_ns, Caravan__ModelState *out);

#endif
