/* json_schema: a JSON schema as rules, whose texts are the JSON values that are valid by it (README.md lists keywords and
 * deviations).  A keyword that cannot be honoured is refused, never ignored.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_JSON_SCHEMA_H
#define DAEMON_TEXT_GRAMMAR_JSON_SCHEMA_H
#include "daemon/text/grammar/grammar.h"

struct rules;

#define JSON_SCHEMA_MAX_DEPTH 64    /* schemas within schemas */
#define JSON_SCHEMA_MAX_ITEMS 10000 /* minItems, maxItems, minProperties, maxProperties */

/* 0; -EINVAL with the keyword and its JSON pointer; -E2BIG, -ENOMEM. */
int json_schema_rules(
        struct rules **out, const json_t *schema, enum json_space space, char *err, size_t errlen);

#endif
