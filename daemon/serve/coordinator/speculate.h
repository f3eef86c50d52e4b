/* speculate: drafts the next tokens of a text, from the text itself or from a draft model, as long as that
 * pays.
 *
 * README.md describes the method.  Answers are the same as without drafts, sampled or greedy.
 * Owns: the recent cost of a model's steps.  Otherwise pure.  Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_SPECULATE_H
#define DAEMON_SERVE_COORDINATOR_SPECULATE_H
#include "proto/caravan.pb-c.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPECULATION_CLASSES = 5 };
#define SPECULATION_AHEAD 48 /* most drafted tokens of a sequence that are not verified yet */

/* How often drafted tokens of one sequence were accepted: n-gram drafts by the length of the match, a draft model's by the
 * probability that it gave them, and all of the draft model's. */
struct draft_stats {
	float right[SPECULATION_CLASSES], draft[SPECULATION_CLASSES], drafts;
};

/* The tokens of a draft model's sequence from the first unknown one on, with their probabilities. */
struct draft_run {
	const uint32_t *id;
	const float *probability;
	uint32_t n;
};

void draft_stats_init(struct draft_stats *g);
/* Finds where the last tokens of log[0..n) occurred before: the longest match, the last one of several.  The number of
 * matching tokens, at most NGRAM_COMMON_MAX; 0: none.  at: the index of the token that followed. */
#define NGRAM_COMMON_MAX 32
uint32_t ngram_next(const uint32_t *log, uint32_t n, uint32_t *at);
/* The token after log[0..n) is known: counts whether the n-gram draft would have been right. */
void draft_stats_observe(struct draft_stats *g, const uint32_t *log, uint32_t n, uint32_t token);

/* The same for a token of a draft model; and, for a token without a draft, lets old counts fade. */
void draft_stats_observe_draft(struct draft_stats *g, float probability, bool right);
void draft_stats_decay(struct draft_stats *g);
/* The chance that all tokens of a draft are accepted. */
float draft_stats_chance(const struct draft_stats *g, const struct draft_run *d);

struct speculation;

int speculation_create(struct speculation **out, uint32_t stages);
void speculation_destroy(struct speculation *s); /* NULL allowed */

/* A step of `rows` rows has returned.  times: as reported by the nodes, the coordinator's first.  away:
 * seconds since the coordinator sent it, including all stages and transfers. */
void speculation_observe(
        struct speculation *s, uint32_t rows, Caravan__StepTime *const *times, size_t n, double away);

/* The next tokens of `rows` rows of such a step have been sampled, in this many seconds. */
void speculation_observe_io(struct speculation *s, uint32_t rows, double seconds);

/* Seconds per token without drafts: a step of one row through all stages, and its output; 0: unknown. */
double speculation_token(const struct speculation *s);

/* Whether a drafted token with this chance of acceptance pays, if making it takes `seconds` in addition to
 * its row. */
bool speculation_pays(const struct speculation *s, uint32_t answered, double chance, double seconds);

/* Appends drafted tokens to log[0..tokens + drafted), whose last `drafted` are drafted already and which
 * holds up to `capacity` tokens, as long as they pay.  answered: sequences that generate.  Returns the number
 * of drafted tokens. */
uint32_t speculation_draft(const struct speculation *s, const struct draft_stats *g, uint32_t *log,
        uint32_t tokens, uint32_t drafted, uint32_t capacity, uint32_t answered,
        const struct draft_run *draft);

#endif
