/* calls: calls of tools as rules, in the formats of daemon/text/toolcall.h, with arguments that are valid by each tool's schema.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_CALLS_H
#define DAEMON_TEXT_GRAMMAR_CALLS_H
#include "daemon/text/grammar/grammar.h"

struct rules;

#define CALLS_MAX 16 /* calls in an answer */

/* calls: {format: a name of toolcall.h, one: at most one call, tools: [{name, parameters}, ...]}; without parameters a tool's
 * arguments are {}.  A mark of a format is either its control token or text.
 * 0; -EINVAL with the tool's name, the keyword and its JSON pointer; -E2BIG, -ENOMEM. */
int calls_rules(struct rules **out, const json_t *calls, enum json_space space, char *err, size_t errlen);

#endif
