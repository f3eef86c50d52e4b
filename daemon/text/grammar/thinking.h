/* thinking: what a model that thinks may write before a text of a grammar, as rules.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_THINKING_H
#define DAEMON_TEXT_GRAMMAR_THINKING_H
#include "daemon/text/grammar/grammar.h"

struct rules;

/* Makes a first rule of reasoning and then what was the first rule.  answer: with the mark that an answer begins with, where the
 * format has one.  Errors are in r. */
void thinking_rules(struct rules *r, const struct grammar_reasoning *before, bool answer);

#endif
