/* schema_internal: what the files of the converter of JSON schemas share: json_schema.c (keywords, references, alternatives,
 * types), calls.c (calls of tools), schema_merge.c (schemas that apply together), schema_object.c, schema_string.c, schema_number.c, regex.c.
 *
 * Functions that build take the state to begin at and give back the one behind; errors are sticky in schema.rc. */
#ifndef DAEMON_TEXT_GRAMMAR_SCHEMA_INTERNAL_H
#define DAEMON_TEXT_GRAMMAR_SCHEMA_INTERNAL_H
#include "daemon/text/grammar/json_schema.h"
#include "daemon/text/grammar/rules.h"
#include <stdbool.h>

enum {
	TYPE_NULL = 1,
	TYPE_BOOLEAN = 2,
	TYPE_INTEGER = 4,
	TYPE_NUMBER = 8, /* all numbers */
	TYPE_STRING = 16,
	TYPE_ARRAY = 32,
	TYPE_OBJECT = 64,
	TYPE_ANY = 127
};

/* Where a schema is, for people: the way from the top. */
struct path {
	const struct path *up; /* NULL: the top */
	const char *key;
};

/* Rules that all schemas use; made when they are first needed. */
enum builtin {
	BUILTIN_VALUE,
	BUILTIN_OBJECT,
	BUILTIN_ARRAY,
	BUILTIN_STRING,
	BUILTIN_INTEGER,
	BUILTIN_NUMBER,
	BUILTIN_SPACE,
	BUILTINS
};

struct schema_rule {
	const json_t *schema; /* borrowed from the schema, or kept in schema.made */
	uint32_t rule;
};

struct schema {
	struct rules *r;
	const json_t *top;
	enum json_space space;
	struct schema_rule rule[RULES_MAX]; /* of schemas that were met */
	uint32_t rules;
	uint32_t builtin[BUILTINS]; /* UINT32_MAX: not made yet */
	json_t *made;               /* merged schemas, so that they live as long */
	int depth;
	uint32_t merged; /* schemas that were flattened or compared: bounded, since references can multiply */
	bool flat;       /* what is being built is intersected: it must not call rules */
	char *err;
	size_t errlen;
	int rc; /* the first error */
};

/* json_schema.c */
/* Without rules yet; NULL: no memory, as err says. */
struct schema *schema_create(enum json_space space, char *err, size_t errlen);
/* Frees it, and gives its rules, unless it failed: c->rc. */
int schema_finish(struct schema *c, struct rules **out);
void schema_fail(struct schema *c, const struct path *path, const char *sentence, ...)
        __attribute__((format(printf, 3, 4)));
void schema_no_memory(struct schema *c);
bool schema_failed(const struct schema *c);
uint32_t schema_builtin(struct schema *c, enum builtin b);
/* The rule of a schema, made at the first call. */
uint32_t schema_rule(struct schema *c, const json_t *schema, const struct path *path);
unsigned schema_types(struct schema *c, const json_t *s, const struct path *path);
json_t *schema_types_json(unsigned types);
/* The schema that a reference is to; NULL: c->rc. */
const json_t *schema_resolve(struct schema *c, const json_t *ref, const struct path *path);
/* A keyword only people read. */
bool schema_is_annotation(const char *key);
/* A number that is not negative and at most max (a larger one is max, if capped), or other if there is none. */
uint32_t schema_count(struct schema *c, const json_t *s, const char *key, uint32_t other, uint32_t max,
        const struct path *path);
uint32_t schema_space(struct schema *c, uint32_t from);
uint32_t schema_call(struct schema *c, uint32_t from, uint32_t rule);
/* A given value, as text. */
uint32_t schema_literal(struct schema *c, uint32_t from, const json_t *value);

/* schema_merge.c: made schemas, NULL: c->rc */
/* One schema without $ref and allOf at its top. */
const json_t *schema_flatten(struct schema *c, const json_t *s, const struct path *path);
/* Both apply. */
const json_t *schema_merge(struct schema *c, const json_t *a, const json_t *b, const struct path *path);
/* It is certain that no value is valid by both. */
bool schema_disjoint(struct schema *c, const json_t *a, const json_t *b, const struct path *path, int depth);
json_t *schema_keep(struct schema *c, json_t *made);

/* schema_object.c */
uint32_t schema_object(struct schema *c, const json_t *s, const struct path *path, uint32_t from);
uint32_t schema_array(struct schema *c, const json_t *s, const struct path *path, uint32_t from);

/* schema_string.c: what is between the quotes of a string is its content */
uint32_t schema_string(struct schema *c, const json_t *s, const struct path *path, uint32_t from);
/* One character of sorted ranges as it is spelled within a JSON string. */
uint32_t schema_chars(struct schema *c, uint32_t from, const struct rules_range *range, size_t n);
uint32_t schema_quoted(struct schema *c, uint32_t from, const char *s, size_t len);
/* A key that is none of names, which are strings. */
uint32_t schema_other_key(struct schema *c, uint32_t from, const json_t *names);
uint32_t schema_pattern_key(
        struct schema *c, uint32_t from, const char *pattern, const json_t *names, const struct path *path);
void schema_builtin_string(struct schema *c, uint32_t start, uint32_t end);

/* schema_number.c */
uint32_t schema_number(
        struct schema *c, const json_t *s, const struct path *path, bool integer, uint32_t from);
void schema_builtin_number(struct schema *c, uint32_t start, uint32_t end, bool integer);

/* regex.c: what a regular expression matches anywhere in a string, as the content of a JSON string. */
uint32_t regex_build(struct schema *c, const char *pattern, const struct path *path, uint32_t from);

#endif
