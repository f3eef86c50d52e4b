/* rules: a grammar as it is built: rules, each a nondeterministic automaton over bytes whose edges may also call
 * rules.  gbnf.c and json_schema.c build them, grammar.c compiles them.
 *
 * Owns: rules, edges, names.  The first rule is where a text begins.  A fragment is built between two states; errors
 * are sticky, so that a builder checks once at its end.
 * One thread at a time. */
#ifndef DAEMON_TEXT_GRAMMAR_RULES_H
#define DAEMON_TEXT_GRAMMAR_RULES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RULES_MAX 4096u         /* rules */
#define RULES_MAX_EDGES 400000u /* of all rules */
#define RULES_MAX_NAME 200u     /* bytes of a name that are kept */
#define RULES_UNBOUNDED UINT32_MAX
#define RULES_MAX_REPEAT 65536u /* the greatest number of repetitions */

#define RULES_EPSILON UINT32_MAX /* as an edge's rule: consumes nothing */
#define RULES_BYTES (UINT32_MAX - 1)

struct rules_edge {
	uint32_t from, to;
	uint32_t rule;  /* called; or RULES_EPSILON, RULES_BYTES */
	uint8_t lo, hi; /* RULES_BYTES: any byte from lo to hi */
};

struct rules_rule {
	char *name; /* for people */
	uint32_t start, end;
	bool defined;
	bool inlined; /* its callers may contain it instead of calling it, if it is short */
};

struct rules {
	struct rules_rule *rule;
	uint32_t rules, cap_rules;
	struct rules_edge *edge;
	uint32_t edges, cap_edges;
	uint32_t states;
	int error; /* 0, -ENOMEM, -E2BIG: too many rules or edges; nothing is added any more */
};

/* Code points from lo to hi. */
struct rules_range {
	uint32_t lo, hi;
};

/* What was added since is a fragment. */
struct rules_mark {
	uint32_t states, edges;
};

int rules_create(struct rules **out); /* 0 or -ENOMEM */
void rules_destroy(struct rules *r);  /* NULL allowed */

/* A new rule without edges; the name is copied. */
uint32_t rules_add(struct rules *r, const char *name, size_t len);

uint32_t rules_state(struct rules *r);
void rules_link(struct rules *r, uint32_t from, uint32_t to);
void rules_bytes(struct rules *r, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to);
void rules_call(struct rules *r, uint32_t from, uint32_t rule, uint32_t to);

/* Appends bytes to from; the state behind them. */
uint32_t rules_literal(struct rules *r, uint32_t from, const char *s, size_t len);

/* Sorts and joins ranges, or makes them what is not in them (out has n + 1 places then, and may not be in).  Their number. */
size_t rules_ranges_sort(struct rules_range *range, size_t n);
size_t rules_ranges_negate(const struct rules_range *in, size_t n, struct rules_range *out);

/* One character of sorted ranges, in UTF-8; surrogates are left out. */
void rules_class(struct rules *r, uint32_t from, const struct rules_range *range, size_t n, uint32_t to);

struct rules_mark rules_mark(const struct rules *r);

/* Appends a text whose <marks> and [marks] are each the control token of this name, or text. */
uint32_t rules_marked(struct rules *r, uint32_t from, const char *text);

/* Repeats the fragment that was built since mark, from start to end, min to max times (max may be RULES_UNBOUNDED); the
 * fragment becomes part of it.  *start and *end are those of the whole.  Long repetitions become rules of their own that are
 * called, unless flat. */
void rules_repeat(struct rules *r, struct rules_mark mark, uint32_t *start, uint32_t *end, uint32_t min,
        uint32_t max, bool flat);

/* A fragment of what both of two fragments match; neither may call rules. */
void rules_intersect(
        struct rules *r, const uint32_t a[2], const uint32_t b[2], uint32_t *start, uint32_t *end);

#endif
