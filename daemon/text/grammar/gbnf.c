/* gbnf: see gbnf.h.  A recursive-descent parser that builds fragments as it reads; a repetition copies what was just
 * built.  A newline ends a rule, unless it is within parentheses or behind "::=" or "|". */
#include "daemon/text/grammar/gbnf.h"
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/rules.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANGES 256 /* of a class */

/* Where a rule is first used. */
struct use {
	const char *name; /* borrowed from the text */
	size_t len;
};

struct parser {
	const char *text, *at, *end;
	struct rules *r;
	struct use *use; /* one for each rule */
	int depth;
	char *err;
	size_t errlen;
	int rc; /* the first error */
};

static bool parser_fail_at(struct parser *p, const char *at, const char *sentence, ...) {
	unsigned line = 1, column = 1;
	if (p->rc < 0)
		return false;
	for (const char *c = p->text; c < at; c++) {
		column = *c == '\n' ? 1 : column + (((unsigned char)*c & 0xC0) != 0x80);
		line += *c == '\n';
	}
	int n = snprintf(p->err, p->errlen, "line %u, column %u: ", line, column);
	va_list ap;
	va_start(ap, sentence);
	if (n >= 0 && (size_t)n < p->errlen)
		vsnprintf(p->err + n, p->errlen - (size_t)n, sentence, ap);
	va_end(ap);
	p->rc = -EINVAL;
	return false;
}

static bool parser_is(const struct parser *p, char c) {
	return p->at < p->end && *p->at == c;
}

/* White space and comments; newlines too, if they may be passed. */
static void parser_skip(struct parser *p, bool newlines) {
	while (p->at < p->end) {
		if (*p->at == '#')
			while (p->at < p->end && *p->at != '\n' && *p->at != '\r')
				p->at++;
		else if (*p->at == ' ' || *p->at == '\t' || (newlines && (*p->at == '\n' || *p->at == '\r')))
			p->at++;
		else
			break;
	}
}

static bool is_word(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_';
}

static size_t parser_word(struct parser *p) {
	size_t n = 0;
	while (p->at + n < p->end && is_word(p->at[n]))
		n++;
	return n;
}

/* The rule of the name at p->at, made if it is new; passes the name. */
static uint32_t parser_rule(struct parser *p, size_t len) {
	uint32_t i = 0;
	for (; i < p->r->rules; i++)
		if (p->use[i].len == len && memcmp(p->use[i].name, p->at, len) == 0)
			break;
	if (i == p->r->rules) {
		i = rules_add(p->r, p->at, len);
		if (p->r->error == 0) {
			p->use[i] = (struct use){p->at, len};
			p->r->rule[i].inlined = true;
		}
	}
	p->at += len;
	return i;
}

static bool parser_hex(struct parser *p, unsigned digits, uint32_t *c) {
	*c = 0;
	for (unsigned i = 0; i < digits; i++, p->at++) {
		static const char hex[] = "0123456789abcdef0123456789ABCDEF";
		const char *d = p->at < p->end && *p->at ? strchr(hex, *p->at) : NULL;
		if (!d)
			return parser_fail_at(p, p->at, "%u hexadecimal digits are expected", digits);
		*c = *c << 4 | (uint32_t)((d - hex) & 15);
	}
	if (*c > 0x10FFFF || (*c >= 0xD800 && *c <= 0xDFFF))
		return parser_fail_at(p, p->at - digits, "U+%X is not a character", *c);
	return true;
}

/* One character of a literal or a class, escaped or not. */
static bool parser_char(struct parser *p, uint32_t *c) {
	static const char plain[] = "nrt\\\"[]", value[] = "\n\r\t\\\"[]";
	size_t n;
	if (p->at == p->end)
		return parser_fail_at(p, p->at, "the grammar ends within a literal or a class");
	if (*p->at != '\\') {
		if (utf8_next(p->at, (size_t)(p->end - p->at), &n) != UTF8_WHOLE)
			return parser_fail_at(p, p->at, "this is not UTF-8");
		*c = utf8_code(p->at, n);
		p->at += n;
		return true;
	}
	if (++p->at == p->end)
		return parser_fail_at(p, p->at, "the grammar ends within an escape");
	char e = *p->at++;
	const char *known = e ? strchr(plain, e) : NULL;
	if (known) {
		*c = (unsigned char)value[known - plain];
		return true;
	}
	if (e == 'x' || e == 'u' || e == 'U')
		return parser_hex(p, e == 'x' ? 2 : e == 'u' ? 4 : 8, c);
	return parser_fail_at(p, p->at - 2, "the escape \\%c is not known", e >= ' ' && e < 127 ? e : '?');
}

static uint32_t parser_add_char(struct parser *p, uint32_t from, uint32_t c) {
	uint32_t to = rules_state(p->r);
	rules_class(p->r, from, &(struct rules_range){c, c}, 1, to);
	return to;
}

/* A literal, from its first quote on. */
static bool parser_literal(struct parser *p, uint32_t from, uint32_t *to) {
	uint32_t c;
	p->at++;
	while (!parser_is(p, '"')) {
		if (!parser_char(p, &c))
			return false;
		from = parser_add_char(p, from, c);
	}
	p->at++;
	*to = from;
	return true;
}

/* A class, from its bracket on. */
static bool parser_class(struct parser *p, uint32_t from, uint32_t *to) {
	struct rules_range range[MAX_RANGES], other[MAX_RANGES + 1];
	const char *begin = p->at++;
	bool negated = parser_is(p, '^');
	size_t n = 0;
	if (negated)
		p->at++;
	while (!parser_is(p, ']')) {
		uint32_t lo, hi;
		const char *first = p->at;
		if (n == MAX_RANGES)
			return parser_fail_at(p, begin, "a class has at most %d ranges", MAX_RANGES);
		if (!parser_char(p, &lo))
			return false;
		hi = lo;
		if (parser_is(p, '-') && p->end - p->at > 1 && p->at[1] != ']') {
			p->at++;
			if (!parser_char(p, &hi))
				return false;
		}
		if (hi < lo)
			return parser_fail_at(p, first, "this range ends before it begins");
		range[n++] = (struct rules_range){lo, hi};
	}
	p->at++;
	n = rules_ranges_sort(range, n);
	*to = rules_state(p->r);
	if (negated)
		rules_class(p->r, from, other, rules_ranges_negate(range, n, other), *to);
	else
		rules_class(p->r, from, range, n, *to);
	return true;
}

static bool parser_alternates(struct parser *p, uint32_t start, uint32_t end, bool nested);

static bool parser_group(struct parser *p, uint32_t from, uint32_t *to) {
	const char *begin = p->at++;
	if (p->depth == GBNF_MAX_DEPTH)
		return parser_fail_at(p, begin, "groups may be nested %d deep", GBNF_MAX_DEPTH);
	*to = rules_state(p->r);
	p->depth++;
	parser_skip(p, true);
	if (!parser_alternates(p, from, *to, true))
		return false;
	p->depth--;
	if (!parser_is(p, ')'))
		return parser_fail_at(p, p->at, "a ) is expected");
	p->at++;
	return true;
}

/* One element without its repetition; *found: there is one. */
static bool parser_element(struct parser *p, uint32_t from, uint32_t *to, bool *found) {
	size_t n;
	*found = true;
	if (parser_is(p, '"'))
		return parser_literal(p, from, to);
	if (parser_is(p, '['))
		return parser_class(p, from, to);
	if (parser_is(p, '('))
		return parser_group(p, from, to);
	if (parser_is(p, '.')) {
		p->at++;
		*to = rules_state(p->r);
		rules_class(p->r, from, &(struct rules_range){0, 0x10FFFF}, 1, *to);
		return true;
	}
	if ((n = parser_word(p)) > 0) {
		uint32_t rule = parser_rule(p, n);
		*to = rules_state(p->r);
		rules_call(p->r, from, rule, *to);
		return true;
	}
	*found = false;
	return true;
}

static bool parser_number(struct parser *p, uint32_t *n) {
	const char *begin = p->at;
	*n = 0;
	for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
		*n = *n * 10 + (uint32_t)(*p->at - '0');
		if (*n > RULES_MAX_REPEAT)
			return parser_fail_at(
			        p, begin, "at most %u repetitions are possible", RULES_MAX_REPEAT);
	}
	return p->at > begin || parser_fail_at(p, p->at, "a number is expected");
}

/* What follows an element: * + ? {m} {m,} {m,n}; *found: there is one. */
static bool parser_repetition(struct parser *p, uint32_t *min, uint32_t *max, bool *found) {
	*found = true;
	*min = parser_is(p, '+');
	*max = parser_is(p, '?') ? 1 : RULES_UNBOUNDED;
	if (parser_is(p, '*') || parser_is(p, '+') || parser_is(p, '?')) {
		p->at++;
		return true;
	}
	*found = parser_is(p, '{');
	if (!*found)
		return true;
	const char *begin = p->at++;
	parser_skip(p, false);
	if (!parser_number(p, min))
		return false;
	*max = *min;
	parser_skip(p, false);
	if (parser_is(p, ',')) {
		p->at++;
		parser_skip(p, false);
		*max = RULES_UNBOUNDED;
		if (!parser_is(p, '}') && !parser_number(p, max))
			return false;
		parser_skip(p, false);
	}
	if (!parser_is(p, '}'))
		return parser_fail_at(p, p->at, "a } is expected");
	p->at++;
	return *min <= *max ||
	       parser_fail_at(p, begin, "this repeats at least %u and at most %u times", *min, *max);
}

static bool parser_sequence(struct parser *p, uint32_t start, uint32_t end, bool nested) {
	uint32_t at = start;
	for (;;) {
		struct rules_mark mark = rules_mark(p->r);
		uint32_t first = rules_state(p->r), last, min, max;
		bool found;
		const char *begin = p->at;
		if (!parser_element(p, first, &last, &found))
			return false;
		if (!found)
			break;
		parser_skip(p, nested);
		for (;;) {
			if (!parser_repetition(p, &min, &max, &found))
				return false;
			if (!found)
				break;
			rules_repeat(p->r, mark, &first, &last, min, max, false);
			parser_skip(p, nested);
		}
		if (p->r->error == -E2BIG)
			return parser_fail_at(p, begin, "the grammar is too large here");
		rules_link(p->r, at, first);
		at = last;
	}
	rules_link(p->r, at, end);
	return true;
}

static bool parser_alternates(struct parser *p, uint32_t start, uint32_t end, bool nested) {
	for (;;) {
		if (!parser_sequence(p, start, end, nested))
			return false;
		if (!parser_is(p, '|'))
			return true;
		p->at++;
		parser_skip(p, true);
	}
}

static bool parser_definition(struct parser *p) {
	const char *begin = p->at;
	size_t n = parser_word(p);
	if (n == 0)
		return parser_fail_at(p, p->at, "the name of a rule is expected");
	uint32_t rule = parser_rule(p, n);
	if (p->r->error)
		return parser_fail_at(p, begin, "at most %u rules are possible", RULES_MAX);
	if (p->r->rule[rule].defined)
		return parser_fail_at(p, begin, "rule %s is defined twice", p->r->rule[rule].name);
	parser_skip(p, false);
	if (p->end - p->at < 3 || memcmp(p->at, "::=", 3) != 0)
		return parser_fail_at(p, p->at, "::= is expected");
	p->at += 3;
	parser_skip(p, true);
	p->r->rule[rule].defined = true;
	if (!parser_alternates(p, p->r->rule[rule].start, p->r->rule[rule].end, false))
		return false;
	if (p->at < p->end && *p->at != '\n' && *p->at != '\r')
		return parser_fail_at(p, p->at, "an element or the end of the line is expected");
	return true;
}

static bool parser_run(struct parser *p) {
	uint32_t root = rules_add(p->r, "root", 4);
	if (p->r->error)
		return false;
	p->use[root] = (struct use){"root", 4};
	for (parser_skip(p, true); p->at < p->end; parser_skip(p, true))
		if (!parser_definition(p))
			return false;
	for (uint32_t i = 0; i < p->r->rules; i++) {
		const struct use *u = &p->use[i];
		if (p->r->rule[i].defined)
			continue;
		if (i == root)
			return parser_fail_at(p, p->end, "there is no rule root");
		return parser_fail_at(p, u->name, "rule %s is not defined", p->r->rule[i].name);
	}
	return true;
}

int gbnf_parse(struct rules **out, const char *text, size_t len, char *err, size_t errlen) {
	struct parser p = {.text = text, .at = text, .end = text + len, .err = err, .errlen = errlen};
	*out = NULL;
	if (len > GRAMMAR_MAX_TEXT) {
		snprintf(err, errlen, "a grammar may have %u bytes, this one has %zu", GRAMMAR_MAX_TEXT, len);
		return -E2BIG;
	}
	p.use = calloc(RULES_MAX, sizeof *p.use);
	if (!p.use || rules_create(&p.r) < 0) {
		snprintf(err, errlen, "no memory for the grammar");
		p.rc = -ENOMEM;
	} else if (!parser_run(&p) && p.rc == 0) {
		snprintf(err, errlen, "no memory for the grammar");
		p.rc = -ENOMEM;
	}
	free(p.use);
	if (p.rc < 0)
		rules_destroy(p.r);
	else
		*out = p.r;
	return p.rc;
}
