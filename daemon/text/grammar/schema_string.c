/* schema_string: strings of a schema: lengths, patterns, formats, keys.
 *
 * Where the content of a string is restricted, a character has one spelling: itself, or the short escape of JSON, or \u00XX for
 * other control characters.  So whatever counts or compares characters is exact.  U+0000 is left out everywhere: most programs
 * refuse it. */
#include "daemon/text/grammar/schema_internal.h"
#include "daemon/text/utf8.h"
#include <stdlib.h>
#include <string.h>

#define MAX_KEY 256    /* characters of a key that others must differ from */
#define MAX_FLAT 1024u /* characters that are counted beside a pattern */

static const struct rules_range all_chars[] = {{1, 0x10FFFF}};

/* ---- characters ---- */

static bool ranges_have(const struct rules_range *range, size_t n, uint32_t ch) {
	for (size_t i = 0; i < n; i++)
		if (range[i].lo <= ch && ch <= range[i].hi)
			return true;
	return false;
}

/* Those that are spelled as themselves. */
static void plain_chars(
        struct schema *c, uint32_t from, const struct rules_range *range, size_t n, uint32_t to) {
	static const struct rules_range plain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
	struct rules_range *part = malloc((n + 1) * 3 * sizeof *part);
	size_t parts = 0;
	if (!part) {
		schema_no_memory(c);
		return;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < 3; k++) {
			uint32_t lo = range[i].lo > plain[k].lo ? range[i].lo : plain[k].lo;
			uint32_t hi = range[i].hi < plain[k].hi ? range[i].hi : plain[k].hi;
			if (lo <= hi)
				part[parts++] = (struct rules_range){lo, hi};
		}
	rules_class(c->r, from, part, parts, to);
	free(part);
}

static void hex_digit(struct rules *r, uint32_t from, unsigned digit, uint32_t to) {
	if (digit < 10) {
		rules_bytes(r, from, (uint8_t)('0' + digit), (uint8_t)('0' + digit), to);
		return;
	}
	rules_bytes(r, from, (uint8_t)('a' + digit - 10), (uint8_t)('a' + digit - 10), to);
	rules_bytes(r, from, (uint8_t)('A' + digit - 10), (uint8_t)('A' + digit - 10), to);
}

/* Control characters, quote and backslash, behind a backslash. */
static void escaped_chars(
        struct schema *c, uint32_t from, const struct rules_range *range, size_t n, uint32_t to) {
	static const char code[] = "\"\\\b\f\n\r\t", name[] = "\"\\bfnrt";
	uint32_t zeros = UINT32_MAX, high[2] = {UINT32_MAX, UINT32_MAX};
	for (size_t i = 0; code[i]; i++)
		if (ranges_have(range, n, (unsigned char)code[i]))
			rules_bytes(c->r, from, (uint8_t)name[i], (uint8_t)name[i], to);
	for (uint32_t ch = 1; ch < 0x20; ch++) {
		if (!ranges_have(range, n, ch) || strchr(code, (int)ch))
			continue;
		if (zeros == UINT32_MAX)
			zeros = rules_literal(c->r, from, "u00", 3);
		if (high[ch >> 4] == UINT32_MAX)
			hex_digit(c->r, zeros, ch >> 4, high[ch >> 4] = rules_state(c->r));
		hex_digit(c->r, high[ch >> 4], ch & 15, to);
	}
}

static bool ranges_need_escape(const struct rules_range *range, size_t n) {
	return n > 0 && (range[0].lo < 0x20 || ranges_have(range, n, '"') || ranges_have(range, n, '\\'));
}

uint32_t schema_chars(struct schema *c, uint32_t from, const struct rules_range *range, size_t n) {
	uint32_t to = rules_state(c->r);
	plain_chars(c, from, range, n, to);
	if (ranges_need_escape(range, n))
		escaped_chars(c, rules_literal(c->r, from, "\\", 1), range, n, to);
	return to;
}

static uint32_t quoted_content(struct schema *c, uint32_t from, const char *s, size_t len) {
	for (size_t i = 0, n; i < len && !schema_failed(c); i += n) {
		utf8_next(s + i, len - i, &n);
		uint32_t ch = utf8_code(s + i, n);
		from = schema_chars(c, from, &(struct rules_range){ch, ch}, 1);
	}
	return from;
}

static uint32_t quote(struct schema *c, uint32_t from) {
	return rules_literal(c->r, from, "\"", 1);
}

uint32_t schema_quoted(struct schema *c, uint32_t from, const char *s, size_t len) {
	return quote(c, quoted_content(c, quote(c, from), s, len));
}

/* ---- any string ---- */

static uint32_t hex_digits(struct schema *c, uint32_t from, unsigned n) {
	while (n-- > 0) {
		uint32_t to = rules_state(c->r);
		for (unsigned d = 0; d < 16; d++)
			hex_digit(c->r, from, d, to);
		from = to;
	}
	return from;
}

static uint32_t hex_from(struct schema *c, uint32_t from, unsigned lo, unsigned hi) {
	uint32_t to = rules_state(c->r);
	for (unsigned d = lo; d <= hi; d++)
		hex_digit(c->r, from, d, to);
	return to;
}

/* Four digits: no U+0000; a surrogate only before or behind its other half. */
static void unicode_escape(struct schema *c, uint32_t from, uint32_t to) {
	uint32_t at = hex_from(c, from, 0, 0);
	rules_link(c->r, hex_digits(c, hex_from(c, at, 1, 15), 2), to);
	at = hex_from(c, at, 0, 0);
	rules_link(c->r, hex_digits(c, hex_from(c, at, 1, 15), 1), to);
	rules_link(c->r, hex_from(c, hex_from(c, at, 0, 0), 1, 15), to);
	rules_link(c->r, hex_digits(c, hex_from(c, from, 1, 12), 3), to);
	rules_link(c->r, hex_digits(c, hex_from(c, from, 14, 15), 3), to);
	at = hex_from(c, from, 13, 13);
	rules_link(c->r, hex_digits(c, hex_from(c, at, 0, 7), 2), to);
	at = rules_literal(c->r, hex_digits(c, hex_from(c, at, 8, 11), 2), "\\u", 2);
	rules_link(c->r, hex_digits(c, hex_from(c, hex_from(c, at, 13, 13), 12, 15), 2), to);
}

void schema_builtin_string(struct schema *c, uint32_t start, uint32_t end) {
	uint32_t at = quote(c, start), escape = rules_state(c->r);
	plain_chars(c, at, all_chars, 1, at);
	rules_bytes(c->r, at, '\\', '\\', escape);
	for (const char *s = "\"\\/bfnrt"; *s; s++)
		rules_bytes(c->r, escape, (uint8_t)*s, (uint8_t)*s, at);
	unicode_escape(c, rules_literal(c->r, escape, "u", 1), at);
	rules_bytes(c->r, at, '"', '"', end);
}

/* ---- keys ---- */

struct key {
	uint32_t *ch; /* its characters */
	size_t n;
};

static int compare_keys(const void *a, const void *b) {
	const struct key *x = a, *y = b;
	for (size_t i = 0; i < x->n && i < y->n; i++)
		if (x->ch[i] != y->ch[i])
			return x->ch[i] < y->ch[i] ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

/* Contents that are none of sorted keys, which all have depth characters in common. */
struct other_key {
	struct schema *c;
	uint32_t free, end; /* it is another key, whatever follows; it is complete */
};

static void other_key_add(struct other_key *o, const struct key *key, size_t n, size_t depth, uint32_t from) {
	struct rules_range *taken = malloc((n + 1) * sizeof *taken), *rest = malloc((n + 2) * sizeof *rest);
	size_t ntaken = 0;
	if (!taken || !rest)
		schema_no_memory(o->c);
	if (n > 0 && key->n == depth) {
		key++;
		n--;
	} else {
		rules_link(o->c->r, from, o->end);
	}
	for (size_t i = 0, same; i < n && !schema_failed(o->c); i += same) {
		const uint32_t ch = key[i].ch[depth];
		for (same = 1; i + same < n && key[i + same].ch[depth] == ch; same++)
			;
		taken[ntaken++] = (struct rules_range){ch, ch};
		other_key_add(o, key + i, same, depth + 1, schema_chars(o->c, from, &taken[ntaken - 1], 1));
	}
	if (!schema_failed(o->c)) {
		size_t m = rules_ranges_negate(taken, rules_ranges_sort(taken, ntaken), rest);
		rules_link(o->c->r, schema_chars(o->c, from, rest, m), o->free);
	}
	free(taken);
	free(rest);
}

static void key_read(struct schema *c, struct key *key, const json_t *name) {
	const char *s = json_string_value(name);
	size_t len = json_string_length(name);
	key->ch = malloc((len + 1) * sizeof *key->ch);
	if (!key->ch) {
		schema_no_memory(c);
		return;
	}
	for (size_t i = 0, n; i < len; i += n) {
		utf8_next(s + i, len - i, &n);
		key->ch[key->n++] = utf8_code(s + i, n);
	}
	if (key->n > MAX_KEY)
		schema_fail(c, NULL, "properties beside additionalProperties may have names of %d characters",
		        MAX_KEY);
}

static uint32_t other_key_content(struct schema *c, uint32_t from, const json_t *names) {
	size_t n = json_array_size(names);
	struct key *key = calloc(n + 1, sizeof *key);
	struct other_key o = {c, rules_state(c->r), rules_state(c->r)};
	if (!key) {
		schema_no_memory(c);
		return from;
	}
	for (size_t i = 0; i < n; i++)
		key_read(c, &key[i], json_array_get(names, i));
	if (!schema_failed(c)) {
		qsort(key, n, sizeof *key, compare_keys);
		other_key_add(&o, key, n, 0, from);
		rules_link(c->r, schema_chars(c, o.free, all_chars, 1), o.free);
		rules_link(c->r, o.free, o.end);
	}
	for (size_t i = 0; i < n; i++)
		free(key[i].ch);
	free(key);
	return o.end;
}

uint32_t schema_other_key(struct schema *c, uint32_t from, const json_t *names) {
	return quote(c, other_key_content(c, quote(c, from), names));
}

/* Behind from: what two contents that begin at a[0] and b[0] and end at a[1] and b[1] both are. */
static uint32_t intersect(struct schema *c, uint32_t from, const uint32_t a[2], const uint32_t b[2]) {
	uint32_t start, end;
	rules_intersect(c->r, a, b, &start, &end);
	if (schema_failed(c))
		return from;
	rules_link(c->r, from, start);
	return end;
}

uint32_t schema_pattern_key(
        struct schema *c, uint32_t from, const char *pattern, const json_t *names, const struct path *path) {
	from = quote(c, from);
	if (json_array_size(names) == 0)
		return quote(c, regex_build(c, pattern, path, from));
	uint32_t a[2] = {rules_state(c->r)}, b[2] = {rules_state(c->r)};
	bool flat = c->flat;
	c->flat = true;
	a[1] = regex_build(c, pattern, path, a[0]);
	b[1] = other_key_content(c, b[0], names);
	c->flat = flat;
	return quote(c, intersect(c, from, a, b));
}

/* ---- strings of a schema ---- */

#define DIGITS4 "[0-9][0-9][0-9][0-9]"
#define DATE \
	"(" DIGITS4 "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
	"|02-(0[1-9]|1[0-9]|2[0-8]))" \
	"|([0-9][0-9](0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define HEX "[0-9a-fA-F]"
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
/* A label of a host's name, with no hyphen at its ends and none in its third and fourth place. */
#define A "[A-Za-z0-9]"
#define X "[A-Za-z0-9-]"
#define LABEL "(" A "(" X "?" A ")?|" A X A X "{0,57}" A "|" A X "-" A "(" X "{0,57}" A ")?)"
#define SHORT_LABEL "(" A "(" X "?" A ")?|" A X A X "{0,25}" A "|" A X "-" A "(" X "{0,25}" A ")?)"
#define HOST "(" LABEL "(\\." LABEL "){0,3}|" SHORT_LABEL "(\\." SHORT_LABEL "){4,7})"
#define ATOM "[A-Za-z0-9_%+-]{1,30}"
#define H16 "[0-9a-fA-F]{1,4}"
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%" HEX HEX ")"
#define REST "(\\?(" PCHAR "|[/?]){0,120})?(#(" PCHAR "|[/?]){0,40})?"
#define DUR_TIME "T([0-9]{1,6}H([0-9]{1,6}M([0-9]{1,6}S)?)?|[0-9]{1,6}M([0-9]{1,6}S)?|[0-9]{1,6}S)"
#define DUR_DATE "([0-9]{1,6}Y([0-9]{1,6}M([0-9]{1,6}D)?)?|[0-9]{1,6}M([0-9]{1,6}D)?|[0-9]{1,6}D)"

/* Formats as patterns, and the lengths that they may have: RFC 3339, 4122, 3986, 1123, 4291, 6901. */
static const struct format {
	const char *name, *pattern;
	uint32_t min, max;
} formats[] = {
        {"date", "^" DATE "$", 10, 10},
        {"time", "^" TIME "$", 9, 24},
        {"date-time", "^" DATE "T" TIME "$", 20, 35},
        {"duration", "^P(" DUR_DATE "(" DUR_TIME ")?|" DUR_TIME "|[0-9]{1,6}W)$", 3, 44},
        {"uuid", "^" HEX "{8}(-" HEX "{4}){3}-" HEX "{12}$", 36, 36},
        {"email", "^" ATOM "(\\." ATOM ")?@" LABEL "(\\." LABEL "){1,2}$", 5, 250},
        {"hostname", "^" HOST "$", 1, 251},
        {"ipv4", "^" OCTET "(\\." OCTET "){3}$", 7, 15},
        {"ipv6",
                "^((" H16 ":){7}" H16 "|(" H16 ":){1,7}:|(" H16 ":){1,6}:" H16 "|(" H16 ":){1,5}(:" H16
                "){1,2}"
                "|(" H16 ":){1,4}(:" H16 "){1,3}|(" H16 ":){1,3}(:" H16 "){1,4}|(" H16 ":){1,2}(:" H16
                "){1,5}"
                "|" H16 ":(:" H16 "){1,6}|:((:" H16 "){1,7}|:))$",
                2, 39},
        {"uri",
                "^[A-Za-z][A-Za-z0-9+.-]{0,20}:(//" HOST "(:[0-9]{1,5})?(/(" PCHAR "|/){0,200})?|" PCHAR
                "(" PCHAR "|/){0,200})" REST "$",
                3, 1400},
        {"json-pointer", "^(/([^/~]|~[01])*)*$", 0, RULES_UNBOUNDED},
};

/* Formats of OpenAPI that are about numbers. */
static const char *const number_formats[] = {"int32", "int64", "float", "double"};

/* The format, or NULL. */
static const struct format *string_format(struct schema *c, const json_t *s, const struct path *path) {
	const json_t *v = json_object_get(s, "format");
	const char *name = json_string_value(v);
	if (v && !name)
		schema_fail(c, path, "format must be a string");
	if (!name)
		return NULL;
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(name, formats[i].name) == 0)
			return &formats[i];
	for (size_t i = 0; i < sizeof number_formats / sizeof *number_formats; i++)
		if (strcmp(name, number_formats[i]) == 0)
			return NULL;
	schema_fail(c, path, "format %.50s is not supported", name);
	return NULL;
}

static uint32_t string_of_length(struct schema *c, uint32_t from, uint32_t min, uint32_t max) {
	struct rules_mark mark = rules_mark(c->r);
	uint32_t start = rules_state(c->r), end = schema_chars(c, start, all_chars, 1);
	rules_repeat(c->r, mark, &start, &end, min, max, c->flat);
	rules_link(c->r, from, start);
	return end;
}

/* Behind from: a content for all of up to three restrictions. */
static uint32_t string_content(struct schema *c, uint32_t from, const char *const pattern[2], uint32_t min,
        uint32_t max, const struct path *path) {
	const bool counted = min > 0 || max != RULES_UNBOUNDED;
	const int parts = (pattern[0] != NULL) + (pattern[1] != NULL) + counted;
	uint32_t begin = rules_state(c->r), all[2] = {begin, UINT32_MAX};
	if (counted && parts > 1 && (min > MAX_FLAT || (max != RULES_UNBOUNDED && max > MAX_FLAT)))
		schema_fail(c, path,
		        "minLength and maxLength beside pattern or format are supported up to %u", MAX_FLAT);
	c->flat = parts > 1;
	for (int i = 0; i < 3 && !schema_failed(c); i++) {
		uint32_t one[2] = {rules_state(c->r), 0};
		if (i == 2 ? !counted : !pattern[i])
			continue;
		one[1] = i == 2 ? string_of_length(c, one[0], min, max)
		                : regex_build(c, pattern[i], path, one[0]);
		if (all[1] != UINT32_MAX && !schema_failed(c))
			rules_intersect(c->r, (const uint32_t[2]){all[0], all[1]}, one, &all[0], &all[1]);
		else
			memcpy(all, one, sizeof all);
	}
	c->flat = false;
	rules_link(c->r, from, all[0]);
	return all[1];
}

uint32_t schema_string(struct schema *c, const json_t *s, const struct path *path, uint32_t from) {
	const json_t *pattern = json_object_get(s, "pattern");
	const struct format *format = string_format(c, s, path);
	const char *part[2] = {json_string_value(pattern), format ? format->pattern : NULL};
	uint32_t min = schema_count(c, s, "minLength", 0, RULES_MAX_REPEAT, path);
	uint32_t max = schema_count(c, s, "maxLength", RULES_UNBOUNDED, RULES_MAX_REPEAT, path);
	if (pattern && !part[0])
		schema_fail(c, path, "pattern must be a string");
	if (schema_failed(c) || max < min)
		return rules_state(c->r);
	if (format && min <= format->min && max >= format->max) { /* nothing to count */
		min = 0;
		max = RULES_UNBOUNDED;
	}
	if (!part[0] && !part[1] && min == 0 && max == RULES_UNBOUNDED)
		return schema_call(c, from, schema_builtin(c, BUILTIN_STRING));
	return quote(c, string_content(c, quote(c, from), part, min, max, path));
}
