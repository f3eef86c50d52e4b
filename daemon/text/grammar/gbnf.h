/* gbnf: the grammars of llama.cpp as text (its grammars/README.md): rules, alternatives, literals, classes of characters,
 * groups, repetitions, comments.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_GBNF_H
#define DAEMON_TEXT_GRAMMAR_GBNF_H
#include <stddef.h>

struct rules;

#define GBNF_MAX_DEPTH 64 /* groups within groups */

/* 0; -EINVAL with the line and column of what is wrong; -E2BIG, -ENOMEM. */
int gbnf_parse(struct rules **out, const char *text, size_t len, char *err, size_t errlen);

#endif
