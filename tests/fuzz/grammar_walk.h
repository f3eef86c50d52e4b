/* grammar_walk: walks through a grammar that came from a fuzzer, and destroys it. */
#ifndef TESTS_FUZZ_GRAMMAR_WALK_H
#define TESTS_FUZZ_GRAMMAR_WALK_H
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/token_trie.h"
#include "daemon/text/tokenizer.h"
#include "tests/unit/text/text_vocab.h"
#include <errno.h>

#define FUZZ_STEPS 24

static inline bool fuzz_allows(const uint64_t *mask, uint32_t token) {
	return mask[token / 64] >> token % 64 & 1;
}

/* A token of the mask, the one behind `from` in a circle. */
static inline uint32_t fuzz_choose(const uint64_t *mask, uint32_t tokens, uint32_t from) {
	for (uint32_t i = 0; i < tokens; i++)
		if (fuzz_allows(mask, (from + i) % tokens))
			return (from + i) % tokens;
	abort(); /* a mask is not empty */
}

static inline void fuzz_grammar(struct grammar *g, size_t seed) {
	static struct token_trie *trie;
	static struct tokenizer *t;
	char err[300];
	struct grammar_matcher *m;
	const uint64_t *mask;
	uint32_t state[FUZZ_STEPS + 1], choice = (uint32_t)seed;
	if (!t && (tokenizer_create(&t, &small_bpe("llama-bpe")->v, err, sizeof err) < 0 ||
	                  token_trie_create(&trie, t) < 0))
		abort();
	if (grammar_matcher_create(&m, g, trie) < 0)
		abort();
	int rc = grammar_start(m, &state[0], err, sizeof err);
	for (int i = 0; i < FUZZ_STEPS && rc == 0; i++) {
		rc = grammar_mask(m, state[i], &mask, err, sizeof err);
		if (rc < 0)
			break;
		choice = choice * 1664525 + 1013904223;
		uint32_t id = fuzz_choose(mask, tokenizer_tokens(t), choice % tokenizer_tokens(t)),
		         again = state[i];
		state[i + 1] = state[i];
		rc = grammar_accept(m, &state[i + 1], id, err, sizeof err);
		if (rc == -EINVAL)
			abort(); /* what a mask allows is accepted */
		if (rc == 0 && (grammar_accept(m, &again, id, err, sizeof err) < 0 || again != state[i + 1]))
			abort();
	}
	if (rc < 0 && rc != -E2BIG)
		abort();
	grammar_matcher_destroy(m);
	grammar_destroy(g);
}

#endif
