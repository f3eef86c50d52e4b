/* grammar: what a text may be, compiled: one deterministic automaton over bytes for each rule, whose states may call
 * rules.  Made from GBNF or from a JSON schema; matched with matcher.h.
 *
 * Every state can still reach the end of its rule, so a text that was matched so far can always be finished.
 * Immutable once made; any thread. */
#ifndef DAEMON_TEXT_GRAMMAR_GRAMMAR_H
#define DAEMON_TEXT_GRAMMAR_GRAMMAR_H
#include "daemon/text/reasoning.h"
#include <jansson.h>
#include <stddef.h>

struct grammar;
struct rules;

#define GRAMMAR_MAX_TEXT 262144u  /* bytes of GBNF */
#define GRAMMAR_MAX_STATES 65536u /* of all rules */

/* White space between the tokens of JSON. */
enum json_space {
	JSON_SPACE_COMPACT, /* none */
	/* What models write: at places where a printer puts some, nothing, a space, or one or two newlines and up to 20
	 * spaces or tabs.  So a model cannot go on with white space for ever. */
	JSON_SPACE_LOOSE,
};

/* 0, or a negative errno with a sentence in err: -EINVAL (GBNF: with line and column; a schema: with the keyword and its JSON
 * pointer), -E2BIG: too large once compiled, -ENOMEM. */
int grammar_from_gbnf(struct grammar **out, const char *text, size_t len, char *err, size_t errlen);
/* The schema is borrowed for the call. */
int grammar_from_schema(
        struct grammar **out, const json_t *schema, enum json_space space, char *err, size_t errlen);
/* Any JSON object. */
int grammar_from_object(struct grammar **out, enum json_space space, char *err, size_t errlen);

/* What a client may give as text. */
enum grammar_language {
	GRAMMAR_OBJECT, /* any JSON object; no text */
	GRAMMAR_SCHEMA, /* a JSON schema, as JSON */
	GRAMMAR_GBNF,
	GRAMMAR_CALLS, /* calls of tools, as JSON: {format, one, tools} (calls.h) */
};
/* What a model that thinks writes before: its reasoning, of any text, or nothing. */
struct grammar_reasoning {
	enum reasoning_format format;
	bool open; /* the prompt begins the reasoning, so that it must end */
};
/* As the above; JSON with JSON_SPACE_LOOSE.  before: NULL: nothing comes before; never of GBNF. */
int grammar_from_text(struct grammar **out, enum grammar_language language, const char *text, size_t len,
        const struct grammar_reasoning *before, char *err, size_t errlen);

/* r is changed.  It has at least one rule, and all are defined. */
int grammar_compile(struct grammar **out, struct rules *r, char *err, size_t errlen);
void grammar_destroy(struct grammar *g); /* NULL allowed */

#endif
