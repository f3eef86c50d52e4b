/* grammar_internal: the compiled automaton, as grammar.c makes it and matcher.c reads it. */
#ifndef DAEMON_TEXT_GRAMMAR_GRAMMAR_INTERNAL_H
#define DAEMON_TEXT_GRAMMAR_GRAMMAR_INTERNAL_H
#include "daemon/text/grammar/grammar.h"
#include <stdbool.h>
#include <stdint.h>

/* A byte from lo to hi leads to a state.  Those of one state ascend and do not overlap. */
struct grammar_bytes {
	uint32_t to;
	uint8_t lo, hi;
};

/* A rule, by its first state, is matched; then the state is `to`. */
struct grammar_call {
	uint32_t rule, to;
};

struct grammar_state {
	uint32_t bytes, calls; /* the first of its edges; those of the next state follow */
	bool final;            /* the rule may end here */
};

struct grammar {
	struct grammar_state *state; /* states + 1 */
	uint32_t states, start;
	struct grammar_bytes *bytes;
	struct grammar_call *call;
	uint8_t class[256]; /* bytes of one class lead to the same state everywhere */
	uint8_t byte[256];  /* one of each class */
	uint32_t classes;
};

#endif
