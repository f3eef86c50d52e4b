/* matcher: which tokens may follow, by a grammar and a vocabulary.
 *
 * What was matched so far is a number, so the state of a sequence costs nothing to keep: one for each position, and
 * drafted tokens are rolled back by forgetting theirs.  Equal texts have the same masks, whatever was asked in between.
 *
 * Owns: the states that were met, and caches of masks.  One for each grammar and vocabulary; any number of sequences may share
 * it.  Its memory is bounded: when it is full, what no number that was given out needs is forgotten.
 * One thread at a time. */
#ifndef DAEMON_TEXT_GRAMMAR_MATCHER_H
#define DAEMON_TEXT_GRAMMAR_MATCHER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grammar;
struct token_trie;
struct grammar_matcher;

#define GRAMMAR_MAX_DEPTH 1000   /* rules within rules; a token that leads deeper is not allowed */
#define GRAMMAR_MAX_READINGS 500 /* ways in which a text may be read at once; likewise */

/* Both are borrowed.  0 or -ENOMEM. */
int grammar_matcher_create(
        struct grammar_matcher **out, const struct grammar *g, const struct token_trie *trie);
void grammar_matcher_destroy(struct grammar_matcher *m); /* NULL allowed */

/* The state of an empty text.  0, or a negative errno with a sentence. */
int grammar_start(struct grammar_matcher *m, uint32_t *state, char *err, size_t errlen);

/* The state behind a token; that of a token which ends the text allows nothing but the same.  0; -EINVAL: the token is not
 * allowed here; -E2BIG: more states than a text may have; -ENOMEM. */
int grammar_accept(struct grammar_matcher *m, uint32_t *state, uint32_t token, char *err, size_t errlen);

/* The tokens that may follow, bit i % 64 of word i / 64 for token i; tokens that end a text too, where the text may end.
 * Borrowed until the next call with m.  0; -ENODATA: the vocabulary has none; -E2BIG, -ENOMEM. */
int grammar_mask(struct grammar_matcher *m, uint32_t state, const uint64_t **mask, char *err, size_t errlen);

/* The text may end here. */
bool grammar_may_end(const struct grammar_matcher *m, uint32_t state);

/* States that are known now: for tests and measurements. */
uint32_t grammar_matcher_states(const struct grammar_matcher *m);

#endif
