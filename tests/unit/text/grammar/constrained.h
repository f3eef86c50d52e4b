/* constrained: what the tests of grammars share: a vocabulary of single bytes and a few words, its trie, and matching of
 * texts byte by byte or in the vocabulary's own tokens. */
#ifndef TESTS_UNIT_TEXT_GRAMMAR_CONSTRAINED_H
#define TESTS_UNIT_TEXT_GRAMMAR_CONSTRAINED_H
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/token_trie.h"
#include "daemon/text/tokenizer.h"
#include "tests/unit/text/text_vocab.h"
#include <check.h>
#include <errno.h>

static struct small_vocab *vocabulary;
static struct tokenizer *tokenizer;
static struct token_trie *trie;
static struct grammar *grammar;
static struct grammar_matcher *matcher;
static char err[1000];
static uint64_t random_state = 1;

static inline void drop_grammar(void) {
	grammar_matcher_destroy(matcher);
	grammar_destroy(grammar);
	matcher = NULL;
	grammar = NULL;
}

static inline void drop_vocabulary(void) {
	drop_grammar();
	token_trie_destroy(trie);
	tokenizer_destroy(tokenizer);
	free(vocabulary);
}

static inline void use_vocabulary(struct small_vocab *x) {
	vocabulary = x;
	ck_assert_msg(tokenizer_create(&tokenizer, &x->v, err, sizeof err) == 0, "%s", err);
	ck_assert_int_eq(token_trie_create(&trie, tokenizer), 0);
}

static inline void use_small_vocabulary(void) {
	use_vocabulary(small_bpe("llama-bpe"));
}

static inline void use_gbnf(const char *text) {
	drop_grammar();
	int rc = grammar_from_gbnf(&grammar, text, strlen(text), err, sizeof err);
	ck_assert_msg(rc == 0, "%s: %s", text, err);
	ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
}

static inline uint32_t start_state(void) {
	uint32_t state;
	if (grammar_start(matcher, &state, err, sizeof err) < 0)
		ck_abort_msg("%s", err);
	return state;
}

/* The state behind a text in the vocabulary's own tokens, or in single bytes, whose tokens have their numbers; false: it does
 * not begin a text of the grammar. */
static inline bool match(const char *text, size_t len, bool bytes, uint32_t *state) {
	uint32_t *ids;
	size_t n;
	bool is = true;
	*state = start_state();
	if (tokenizer_encode(tokenizer, text, len, 0, &ids, &n) < 0)
		ck_abort_msg("no memory");
	if (bytes)
		n = len;
	for (size_t i = 0; i < n && is; i++)
		is = grammar_accept(matcher, state, bytes ? (uint8_t)text[i] : ids[i], err, sizeof err) == 0;
	free(ids);
	return is;
}

/* Whether the text is whole, however it is cut into tokens. */
static inline bool matches(const char *text, size_t len) {
	uint32_t a, b;
	bool is = match(text, len, false, &a);
	if (is != match(text, len, true, &b))
		ck_abort_msg("the tokens of \"%.*s\" differ from its bytes", (int)len, text);
	if (is && a != b)
		ck_abort_msg("the state of \"%.*s\" depends on its tokens", (int)len, text);
	return is && grammar_may_end(matcher, a);
}

/* Check's own assertions talk to another process each time; these do only when they fail. */
static inline void accept(uint32_t *state, uint32_t token) {
	if (grammar_accept(matcher, state, token, err, sizeof err) < 0)
		ck_abort_msg("token %u: %s", (unsigned)token, err);
}

static inline const uint64_t *mask_of(uint32_t state) {
	const uint64_t *mask;
	if (grammar_mask(matcher, state, &mask, err, sizeof err) < 0)
		ck_abort_msg("%s", err);
	return mask;
}

static inline uint32_t random_below(uint32_t below) {
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((random_state >> 33) * below) >> 31);
}

static inline bool mask_has(const uint64_t *mask, uint32_t token) {
	return mask[token / 64] >> token % 64 & 1;
}

#endif
