/* regex: regular expressions of ECMAScript that need no looking around and no memory: alternatives, groups, classes, repetitions;
 * ^ and $ at the ends of alternatives.  As in JSON Schema, a pattern may match anywhere unless they say otherwise. */
#include "daemon/text/grammar/schema_internal.h"
#include "daemon/text/utf8.h"
#include <string.h>

#define MAX_RANGES 200
#define MAX_GROUPS 32 /* groups within groups */

struct regex {
	struct schema *c;
	const char *pattern, *at;
	const struct path *path;
	int depth;
};

static const struct rules_range any_char[] = {{1, 0x10FFFF}};
static const struct rules_range digits[] = {{'0', '9'}};
static const struct rules_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct rules_range spaces[] = {{9, 13}, {' ', ' '}, {0xA0, 0xA0}, {0x1680, 0x1680},
        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
        {0xFEFF, 0xFEFF}};
static const struct rules_range line_ends[] = {{10, 10}, {13, 13}, {0x2028, 0x2029}};

static bool regex_fail(struct regex *x, const char *what) {
	schema_fail(x->c, x->path, "the pattern %.100s is not supported: %s at character %zu", x->pattern,
	        what, (size_t)(x->at - x->pattern) + 1);
	return false;
}

static bool regex_char(struct regex *x, uint32_t *ch) {
	size_t n, len = strnlen(x->at, 4);
	if (len == 0 || utf8_next(x->at, len, &n) != UTF8_WHOLE)
		return regex_fail(x, "an incomplete expression");
	*ch = utf8_code(x->at, n);
	x->at += n;
	return true;
}

static bool regex_hex(struct regex *x, unsigned digits_wanted, uint32_t *ch) {
	*ch = 0;
	for (unsigned i = 0; i < digits_wanted; i++, x->at++) {
		static const char hex[] = "0123456789abcdef0123456789ABCDEF";
		const char *d = *x->at ? strchr(hex, *x->at) : NULL;
		if (!d)
			return regex_fail(x, "an incomplete escape");
		*ch = *ch << 4 | (uint32_t)((d - hex) & 15);
	}
	return (*ch < 0xD800 || *ch > 0xDFFF) || regex_fail(x, "half a character");
}

/* A set of characters as it is read. */
struct set {
	struct rules_range range[MAX_RANGES + 1];
	size_t n;
};

static bool set_add(
        struct regex *x, struct set *set, const struct rules_range *range, size_t n, bool negated) {
	struct rules_range other[16];
	if (negated) {
		n = rules_ranges_negate(range, n, other);
		range = other;
	}
	if (set->n + n > MAX_RANGES)
		return regex_fail(x, "a class of too many ranges");
	memcpy(set->range + set->n, range, n * sizeof *range);
	set->n += n;
	return true;
}

/* What follows a backslash: *is_set: it is added to set, otherwise one character. */
static bool regex_escape(struct regex *x, bool in_class, struct set *set, bool *is_set, uint32_t *ch) {
	static const char plain[] = "tnrfv0", value[] = "\t\n\r\f\v";
	char e = *x->at;
	*is_set = true;
	switch (e) {
	case 'd':
	case 'D':
		x->at++;
		return set_add(x, set, digits, 1, e == 'D');
	case 'w':
	case 'W':
		x->at++;
		return set_add(x, set, words, 4, e == 'W');
	case 's':
	case 'S':
		x->at++;
		return set_add(x, set, spaces, sizeof spaces / sizeof *spaces, e == 'S');
	default:
		*is_set = false;
	}
	const char *known = e ? strchr(plain, e) : NULL;
	if (known && e != '0') {
		x->at++;
		*ch = (unsigned char)value[known - plain];
		return true;
	}
	if (e == 'x' || e == 'u') {
		x->at++;
		return regex_hex(x, e == 'x' ? 2 : 4, ch);
	}
	if (e == 'b' && in_class) {
		x->at++;
		*ch = '\b';
		return true;
	}
	if (!e || !strchr("^$\\.*+?()[]{}|/-\"'@#%&=~!,:;<>_` ", e))
		return regex_fail(x, "this escape");
	*ch = (unsigned char)e;
	x->at++;
	return true;
}

/* One member of a class. */
static bool class_member(struct regex *x, struct set *set, bool *is_set, uint32_t *ch) {
	*is_set = false;
	if (*x->at != '\\')
		return regex_char(x, ch);
	x->at++;
	return regex_escape(x, true, set, is_set, ch);
}

static bool regex_class(struct regex *x, uint32_t from, uint32_t *to) {
	struct set set = {.n = 0};
	struct rules_range other[MAX_RANGES + 2];
	bool negated = *++x->at == '^', is_set;
	if (negated)
		x->at++;
	while (*x->at != ']') {
		uint32_t lo, hi;
		if (!class_member(x, &set, &is_set, &lo))
			return false;
		if (is_set)
			continue;
		hi = lo;
		if (x->at[0] == '-' && x->at[1] && x->at[1] != ']') {
			x->at++;
			if (!class_member(x, &set, &is_set, &hi))
				return false;
			if (is_set || hi < lo)
				return regex_fail(x, "this range");
		}
		if (!set_add(x, &set, &(struct rules_range){lo, hi}, 1, false))
			return false;
	}
	x->at++;
	size_t n = rules_ranges_sort(set.range, set.n);
	*to = negated ? schema_chars(x->c, from, other, rules_ranges_negate(set.range, n, other))
	              : schema_chars(x->c, from, set.range, n);
	return true;
}

static bool regex_alternatives(struct regex *x, uint32_t start, uint32_t end);

static bool regex_group(struct regex *x, uint32_t from, uint32_t *to) {
	x->at++;
	if (x->at[0] == '?') {
		if (x->at[1] != ':')
			return regex_fail(x, "looking around and named groups");
		x->at += 2;
	}
	if (x->depth == MAX_GROUPS)
		return regex_fail(x, "groups nested this deep");
	x->depth++;
	*to = rules_state(x->c->r);
	if (!regex_alternatives(x, from, *to))
		return false;
	x->depth--;
	if (*x->at != ')')
		return regex_fail(x, "a group without an end");
	x->at++;
	return true;
}

static bool regex_element(struct regex *x, uint32_t from, uint32_t *to) {
	struct set set = {.n = 0};
	bool is_set = false;
	uint32_t ch;
	switch (*x->at) {
	case '(':
		return regex_group(x, from, to);
	case '[':
		return regex_class(x, from, to);
	case '.':
		x->at++;
		if (!set_add(x, &set, line_ends, 3, true))
			return false;
		*to = schema_chars(x->c, from, set.range, set.n);
		return true;
	case '\\':
		x->at++;
		if (!regex_escape(x, false, &set, &is_set, &ch))
			return false;
		break;
	case '^':
	case '$':
		return regex_fail(x, "^ or $ within an expression");
	case '*':
	case '+':
	case '?':
	case '{':
	case '}':
	case ']':
		return regex_fail(x, "this character");
	default:
		if (!regex_char(x, &ch))
			return false;
	}
	if (!is_set)
		*to = schema_chars(x->c, from, &(struct rules_range){ch, ch}, 1);
	else
		*to = schema_chars(x->c, from, set.range, set.n);
	return true;
}

static bool regex_number(struct regex *x, uint32_t *n) {
	const char *begin = x->at;
	for (*n = 0; *x->at >= '0' && *x->at <= '9'; x->at++)
		if ((*n = *n * 10 + (uint32_t)(*x->at - '0')) > RULES_MAX_REPEAT)
			return regex_fail(x, "so many repetitions");
	return x->at > begin || regex_fail(x, "this character");
}

/* *found: a repetition follows. */
static bool regex_repetition(struct regex *x, uint32_t *min, uint32_t *max, bool *found) {
	char q = *x->at;
	*found = q && strchr("*+?{", q);
	if (!*found)
		return true;
	x->at++;
	*min = q == '+';
	*max = q == '?' ? 1 : RULES_UNBOUNDED;
	if (q == '{') {
		if (!regex_number(x, min))
			return false;
		*max = *min;
		if (*x->at == ',') {
			x->at++;
			*max = RULES_UNBOUNDED;
			if (*x->at != '}' && !regex_number(x, max))
				return false;
		}
		if (*x->at != '}' || *max < *min)
			return regex_fail(x, "this repetition");
		x->at++;
	}
	if (*x->at == '?') /* that it is lazy does not change what matches */
		x->at++;
	return true;
}

static bool regex_sequence(struct regex *x, uint32_t start, uint32_t end) {
	uint32_t at = start;
	while (*x->at && *x->at != '|' && *x->at != ')' && !schema_failed(x->c)) {
		struct rules_mark mark = rules_mark(x->c->r);
		uint32_t first = rules_state(x->c->r), last, min, max;
		bool found;
		if (*x->at == '$' && x->depth == 0 && (x->at[1] == '\0' || x->at[1] == '|'))
			break;
		if (!regex_element(x, first, &last) || !regex_repetition(x, &min, &max, &found))
			return false;
		if (found)
			rules_repeat(x->c->r, mark, &first, &last, min, max, x->c->flat);
		rules_link(x->c->r, at, first);
		at = last;
	}
	rules_link(x->c->r, at, end);
	return !schema_failed(x->c);
}

static bool regex_alternatives(struct regex *x, uint32_t start, uint32_t end) {
	for (;; x->at++) {
		if (!regex_sequence(x, start, end))
			return false;
		if (*x->at != '|')
			return true;
	}
}

/* Any characters; there is one place for them before and one behind. */
static void regex_anything(struct regex *x, uint32_t at) {
	rules_link(x->c->r, schema_chars(x->c, at, any_char, 1), at);
}

/* One alternative at the top. */
static bool regex_top(struct regex *x, uint32_t from, uint32_t to) {
	uint32_t start = rules_state(x->c->r), end = rules_state(x->c->r);
	rules_link(x->c->r, from, start);
	rules_link(x->c->r, end, to);
	if (*x->at == '^')
		x->at++;
	else
		regex_anything(x, start);
	if (!regex_sequence(x, start, end))
		return false;
	if (*x->at == '$')
		x->at++;
	else
		regex_anything(x, end);
	return true;
}

uint32_t regex_build(struct schema *c, const char *pattern, const struct path *path, uint32_t from) {
	struct regex x = {.c = c, .pattern = pattern, .at = pattern, .path = path};
	uint32_t to = rules_state(c->r);
	for (;; x.at++) {
		if (!regex_top(&x, from, to))
			return to;
		if (*x.at != '|')
			break;
	}
	if (*x.at)
		regex_fail(&x, "this character");
	return to;
}
