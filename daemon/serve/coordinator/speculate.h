/* speculate: guesses at what comes next in a text, taken from the text itself or from a draft, and whether they pay.
 *
 * A text quotes itself: where the last tokens stood before, what followed them then is a guess at what follows now.  A draft
 * is what a smaller model makes of the text (draft.h).  Of the two the likelier is taken.  Guesses go through the stages as
 * rows of the same sequence, and several steps of them may be under way before the first is back.  What comes back says for
 * each row which token is next in truth: guesses are believed as far as they are those tokens, and rows that were computed
 * from a wrong one are thrown away.  So answers are what they are without, sampled or greedy.
 *
 * How often a guess is right is counted for every token of a sequence, whether it was guessed or not, apart for short and
 * long places in common, and for drafts by how sure the smaller model was.  What a row costs is taken from the steps that are back.  A guess is made while its chance times
 * what a token takes without it is more than what its row takes: where that is never so, none is made.
 * Owns: what steps of a model took, lately.  Pure but for that; the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_SPECULATE_H
#define DAEMON_SERVE_COORDINATOR_SPECULATE_H
#include "proto/caravan.pb-c.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPECULATION_CLASSES = 5 };
#define SPECULATION_AHEAD 48 /* guesses of a sequence that nothing is known of yet */

/* How often guesses were right, of one sequence: those from the text by how much was in common, those of its draft by the
 * probability that the smaller model gave them, and the draft's all together. */
struct draft_stats {
	float right[SPECULATION_CLASSES], draft[SPECULATION_CLASSES], drafts;
};

/* The tokens of a draft from the first that is not known on, with their probability. */
struct draft_run {
	const uint32_t *id;
	const float *probability;
	uint32_t n;
};

void draft_stats_init(struct draft_stats *g);
/* The token that followed where the last tokens of log[0..n) stood before: of the longest such place, the last one.  How
 * many tokens it has in common, at most NGRAM_COMMON_MAX; 0: there is none.  at: of that token in the log. */
#define NGRAM_COMMON_MAX 32
uint32_t ngram_next(const uint32_t *log, uint32_t n, uint32_t *at);
/* The token after log[0..n) is known: what would have been guessed is counted. */
void draft_stats_observe(struct draft_stats *g, const uint32_t *log, uint32_t n, uint32_t token);

/* The same for a draft's token; and a token for which there was none: what is long not tried is believed as before. */
void draft_stats_observe_draft(struct draft_stats *g, float probability, bool right);
void draft_stats_decay(struct draft_stats *g);
/* The chance that all tokens of a draft are right. */
float draft_stats_chance(const struct draft_stats *g, const struct draft_run *d);

struct speculation;

int speculation_create(struct speculation **out, uint32_t stages);
void speculation_destroy(struct speculation *s); /* NULL allowed */

/* A step of so many rows is back: times as it brought them, the coordinator's first; away: seconds since the coordinator
 * sent it, all stages and hops. */
void speculation_observe(
        struct speculation *s, uint32_t rows, Caravan__StepTime *const *times, size_t n, double away);

/* Of so many rows of such a step the next tokens have been picked. */
void speculation_observe_ends(struct speculation *s, uint32_t rows, double seconds);

/* Seconds until a next token is there, without guesses: a step of one row through all stages, and its head; 0: nobody knows. */
double speculation_token(const struct speculation *s);

/* Whether a guess pays whose chance is this, and that takes so many seconds beside its row. */
bool speculation_pays(const struct speculation *s, uint32_t answered, double chance, double seconds);

/* Writes guesses behind log[0..tokens + guessed), of which the last `guessed` are guesses already, into a log with room for
 * `room` tokens, as long as they pay; answered: sequences whose answers are being made.  How many guesses there are now. */
uint32_t speculation_draft(const struct speculation *s, const struct draft_stats *g, uint32_t *log,
        uint32_t tokens, uint32_t guessed, uint32_t room, uint32_t answered, const struct draft_run *draft);

#endif
