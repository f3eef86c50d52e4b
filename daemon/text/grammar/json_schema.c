/* json_schema: see json_schema.h.  Each schema becomes a rule, so that recursive references are calls.  Schemas that apply
 * together (allOf, siblings of $ref, anyOf, oneOf) are merged first. */
#include "daemon/text/grammar/json_schema.h"
#include "daemon/text/grammar/schema_internal.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

static void path_print(const struct path *path, char *out, size_t len) {
	if (!path || !path->up) {
		snprintf(out, len, "#");
		return;
	}
	path_print(path->up, out, len);
	size_t n = strlen(out);
	snprintf(out + n, len - n, "/%s", path->key);
}

void schema_fail(struct schema *c, const struct path *path, const char *sentence, ...) {
	const char *at = path && path->up ? "at " : "";
	char where[512] = "at the top", what[512];
	va_list ap;
	if (c->rc < 0)
		return;
	va_start(ap, sentence);
	vsnprintf(what, sizeof what, sentence, ap);
	va_end(ap);
	if (path && path->up)
		path_print(path, where, sizeof where);
	snprintf(c->err, c->errlen, "%s%s: %s", at, where, what);
	c->rc = -EINVAL;
}

void schema_no_memory(struct schema *c) {
	if (c->rc == 0) {
		snprintf(c->err, c->errlen, "no memory for the grammar of the schema");
		c->rc = -ENOMEM;
	}
}

bool schema_failed(const struct schema *c) {
	return c->rc < 0 || c->r->error < 0;
}

/* ---- keywords ---- */

struct keyword {
	const char *name;
	unsigned types; /* that it is about; 0: all */
};

static const struct keyword keywords[] = {
        {"type", 0},
        {"enum", 0},
        {"const", 0},
        {"$ref", 0},
        {"allOf", 0},
        {"anyOf", 0},
        {"oneOf", 0},
        {"nullable", 0},
        {"$defs", 0},
        {"definitions", 0},
        {"properties", TYPE_OBJECT},
        {"required", TYPE_OBJECT},
        {"additionalProperties", TYPE_OBJECT},
        {"patternProperties", TYPE_OBJECT},
        {"propertyNames", TYPE_OBJECT},
        {"minProperties", TYPE_OBJECT},
        {"maxProperties", TYPE_OBJECT},
        {"items", TYPE_ARRAY},
        {"prefixItems", TYPE_ARRAY},
        {"additionalItems", TYPE_ARRAY},
        {"minItems", TYPE_ARRAY},
        {"maxItems", TYPE_ARRAY},
        {"uniqueItems", TYPE_ARRAY},
        {"pattern", TYPE_STRING},
        {"format", TYPE_STRING},
        {"minLength", TYPE_STRING},
        {"maxLength", TYPE_STRING},
        {"minimum", TYPE_NUMBER},
        {"maximum", TYPE_NUMBER},
        {"exclusiveMinimum", TYPE_NUMBER},
        {"exclusiveMaximum", TYPE_NUMBER},
};

static const char *const annotations[] = {"title", "description", "default", "examples", "example", "$schema",
        "$id", "$comment", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType",
        "discriminator", "externalDocs"};

bool schema_is_annotation(const char *key) {
	for (size_t i = 0; i < sizeof annotations / sizeof *annotations; i++)
		if (strcmp(key, annotations[i]) == 0)
			return true;
	return strncmp(key, "x-", 2) == 0;
}

static const struct keyword *keyword_find(const char *key) {
	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
		if (strcmp(key, keywords[i].name) == 0)
			return &keywords[i];
	return NULL;
}

static void schema_check_keywords(struct schema *c, const json_t *s, const struct path *path) {
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)s, key, value) {
		if (!keyword_find(key) && !schema_is_annotation(key))
			schema_fail(c, path, "%.100s is not supported", key);
		if (strcmp(key, "$id") == 0 && path && path->up)
			schema_fail(c, path, "$id within a schema is not supported");
		if (strcmp(key, "uniqueItems") == 0 && !json_is_boolean(value))
			schema_fail(c, path, "uniqueItems must be true or false");
	}
}

/* ---- types ---- */

static const struct {
	const char *name;
	unsigned type;
} type_names[] = {{"null", TYPE_NULL}, {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER},
        {"number", TYPE_NUMBER | TYPE_INTEGER}, {"string", TYPE_STRING}, {"array", TYPE_ARRAY},
        {"object", TYPE_OBJECT}};

#define TYPES (sizeof type_names / sizeof *type_names)

static unsigned type_of_name(struct schema *c, const json_t *name, const struct path *path) {
	for (size_t i = 0; i < TYPES; i++)
		if (json_is_string(name) && strcmp(json_string_value(name), type_names[i].name) == 0)
			return type_names[i].type;
	char *given = json_dumps(name, JSON_ENCODE_ANY);
	schema_fail(c, path,
	        "type is %.60s: it must be null, boolean, integer, number, string, array or object, or several of these",
	        given ? given : "something else");
	free(given);
	return 0;
}

json_t *schema_types_json(unsigned types) {
	json_t *list = json_array();
	for (size_t i = 0; i < TYPES && list; i++) {
		unsigned t = type_names[i].type;
		if ((types & t) == t && (t != TYPE_INTEGER || !(types & TYPE_NUMBER)))
			json_array_append_new(list, json_string(type_names[i].name));
	}
	return list;
}

unsigned schema_types(struct schema *c, const json_t *s, const struct path *path) {
	const json_t *type = json_object_get(s, "type");
	unsigned types = 0;
	if (json_is_array(type)) {
		for (size_t i = 0; i < json_array_size(type); i++)
			types |= type_of_name(c, json_array_get(type, i), path);
		return types;
	}
	if (type)
		return type_of_name(c, type, path);
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)s, key, value) {
		const struct keyword *k = keyword_find(key);
		types |= k ? k->types : 0;
	}
	if (types & TYPE_NUMBER)
		types |= TYPE_INTEGER;
	return types == 0 || json_object_get(s, "enum") || json_object_get(s, "const") ? TYPE_ANY : types;
}

/* ---- pieces of text ---- */

uint32_t schema_call(struct schema *c, uint32_t from, uint32_t rule) {
	uint32_t to = rules_state(c->r);
	rules_call(c->r, from, rule, to);
	return to;
}

uint32_t schema_space(struct schema *c, uint32_t from) {
	return c->space == JSON_SPACE_COMPACT ? from : schema_call(c, from, schema_builtin(c, BUILTIN_SPACE));
}

/* Nothing, a space, or one or two newlines and up to 20 spaces or tabs. */
static void builtin_space(struct schema *c, uint32_t start, uint32_t end) {
	struct rules *r = c->r;
	uint32_t one = rules_state(r), at;
	rules_link(r, start, end);
	rules_bytes(r, start, ' ', ' ', end);
	rules_bytes(r, start, '\n', '\n', one);
	rules_bytes(r, one, '\n', '\n', at = rules_state(r));
	rules_link(r, one, at);
	for (int i = 0; i < 20; i++) {
		uint32_t next = rules_state(r);
		rules_link(r, at, end);
		rules_bytes(r, at, ' ', ' ', next);
		rules_bytes(r, at, '\t', '\t', next);
		at = next;
	}
	rules_link(r, at, end);
}

static void builtin_value(struct schema *c, uint32_t start, uint32_t end) {
	static const enum builtin other[] = {BUILTIN_OBJECT, BUILTIN_ARRAY, BUILTIN_STRING, BUILTIN_NUMBER};
	static const char *const word[] = {"null", "true", "false"};
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		rules_call(c->r, start, schema_builtin(c, other[i]), end);
	for (size_t i = 0; i < sizeof word / sizeof *word; i++)
		rules_link(c->r, rules_literal(c->r, start, word[i], strlen(word[i])), end);
}

uint32_t schema_builtin(struct schema *c, enum builtin b) {
	static const char *const name[] = {
	        "value", "object", "array", "string", "integer", "number", "space"};
	if (c->builtin[b] != UINT32_MAX || schema_failed(c))
		return c->builtin[b];
	uint32_t rule = rules_add(c->r, name[b], strlen(name[b]));
	if (schema_failed(c))
		return rule;
	c->builtin[b] = rule;
	uint32_t start = c->r->rule[rule].start, end = c->r->rule[rule].end;
	json_t *empty = schema_keep(c, json_object());
	switch (b) {
	case BUILTIN_VALUE:
		builtin_value(c, start, end);
		break;
	case BUILTIN_OBJECT:
		rules_link(c->r, schema_object(c, empty, NULL, start), end);
		break;
	case BUILTIN_ARRAY:
		rules_link(c->r, schema_array(c, empty, NULL, start), end);
		break;
	case BUILTIN_STRING:
		schema_builtin_string(c, start, end);
		break;
	case BUILTIN_SPACE:
		builtin_space(c, start, end);
		break;
	default:
		schema_builtin_number(c, start, end, b == BUILTIN_INTEGER);
	}
	return rule;
}

/* The shortest text of a number that is read as the same. */
static uint32_t literal_number(struct schema *c, uint32_t from, const json_t *value) {
	char *text = NULL;
	for (size_t digits = 15; digits <= 17; digits++) {
		free(text);
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
		if (!text || json_is_integer(value) || strtod(text, NULL) == json_real_value(value))
			break;
	}
	if (!text)
		schema_no_memory(c);
	else
		from = rules_literal(c->r, from, text, strlen(text));
	free(text);
	return from;
}

static uint32_t literal_list(struct schema *c, uint32_t from, const json_t *value) {
	from = rules_literal(c->r, from, "[", 1);
	for (size_t i = 0; i < json_array_size(value); i++) {
		if (i > 0)
			from = rules_literal(c->r, from, ",", 1);
		from = schema_literal(c, schema_space(c, from), json_array_get(value, i));
	}
	return rules_literal(c->r, schema_space(c, from), "]", 1);
}

static uint32_t literal_object(struct schema *c, uint32_t from, const json_t *value) {
	const char *key;
	json_t *member;
	bool first = true;
	from = rules_literal(c->r, from, "{", 1);
	json_object_foreach((json_t *)(uintptr_t)value, key, member) {
		if (!first)
			from = rules_literal(c->r, from, ",", 1);
		first = false;
		from = schema_quoted(c, schema_space(c, from), key, strlen(key));
		from = schema_space(c, rules_literal(c->r, from, ":", 1));
		from = schema_literal(c, from, member);
	}
	return rules_literal(c->r, schema_space(c, from), "}", 1);
}

uint32_t schema_literal(struct schema *c, uint32_t from, const json_t *value) {
	if (schema_failed(c))
		return from;
	switch (json_typeof(value)) {
	case JSON_NULL:
		return rules_literal(c->r, from, "null", 4);
	case JSON_TRUE:
		return rules_literal(c->r, from, "true", 4);
	case JSON_FALSE:
		return rules_literal(c->r, from, "false", 5);
	case JSON_STRING:
		return schema_quoted(c, from, json_string_value(value), json_string_length(value));
	case JSON_ARRAY:
		return literal_list(c, from, value);
	case JSON_OBJECT:
		return literal_object(c, from, value);
	default:
		return literal_number(c, from, value);
	}
}

uint32_t schema_count(struct schema *c, const json_t *s, const char *key, uint32_t other, uint32_t max,
        const struct path *path) {
	const json_t *v = json_object_get(s, key);
	double n = json_number_value(v);
	if (!v)
		return other;
	if (!json_is_number(v) || n < 0 || n != (double)(uint64_t)(n < 1e15 ? n : 0))
		schema_fail(c, path, "%s must be a whole number that is not negative", key);
	else if (n > max)
		schema_fail(c, path, "%s is supported up to %u", key, (unsigned)max);
	return schema_failed(c) ? other : (uint32_t)n;
}

/* ---- given values ---- */

static unsigned type_of_value(const json_t *v) {
	switch (json_typeof(v)) {
	case JSON_NULL:
		return TYPE_NULL;
	case JSON_TRUE:
	case JSON_FALSE:
		return TYPE_BOOLEAN;
	case JSON_STRING:
		return TYPE_STRING;
	case JSON_ARRAY:
		return TYPE_ARRAY;
	case JSON_OBJECT:
		return TYPE_OBJECT;
	case JSON_INTEGER:
		return TYPE_INTEGER;
	default: {
		double d = json_real_value(v);
		return d > -1e15 && d < 1e15 && d == (double)(int64_t)d ? TYPE_INTEGER : TYPE_NUMBER;
	}
	}
}

/* Whether the other keywords of a schema allow one of its given values; keywords that this does not know are refused. */
static bool value_fits(
        struct schema *c, const json_t *s, unsigned types, const json_t *v, const struct path *path) {
	static const char *const known[] = {"type", "enum", "const", "$defs", "definitions", "minimum",
	        "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"};
	const unsigned type = type_of_value(v);
	const char *key;
	json_t *limit;
	if (!(types & type))
		return false;
	json_object_foreach((json_t *)(uintptr_t)s, key, limit) {
		const struct keyword *k = keyword_find(key);
		bool is_known = !k || !(k->types & (type == TYPE_INTEGER ? TYPE_NUMBER : type));
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			is_known = is_known || strcmp(key, known[i]) == 0;
		if (!is_known)
			schema_fail(c, path, "%s beside enum or const is not supported", key);
		double d = json_number_value(v), l = json_number_value(limit);
		if (json_is_number(v) && json_is_number(limit) &&
		        ((strcmp(key, "minimum") == 0 && d < l) || (strcmp(key, "maximum") == 0 && d > l) ||
		                (strcmp(key, "exclusiveMinimum") == 0 && d <= l) ||
		                (strcmp(key, "exclusiveMaximum") == 0 && d >= l)))
			return false;
	}
	if (json_is_string(v)) {
		uint32_t n = 0;
		for (const char *p = json_string_value(v); *p; p++)
			n += ((unsigned char)*p & 0xC0) != 0x80;
		return n >= schema_count(c, s, "minLength", 0, RULES_MAX_REPEAT, path) &&
		       n <= schema_count(c, s, "maxLength", UINT32_MAX, RULES_MAX_REPEAT, path);
	}
	return true;
}

static void schema_values(
        struct schema *c, const json_t *s, const struct path *path, uint32_t start, uint32_t end) {
	const json_t *list = json_object_get(s, "enum"), *only = json_object_get(s, "const");
	const unsigned types = schema_types(c, s, path);
	if (list && !json_is_array(list))
		schema_fail(c, path, "enum must be an array");
	if (!list) {
		if (value_fits(c, s, types, only, path))
			rules_link(c->r, schema_literal(c, start, only), end);
		return;
	}
	for (size_t i = 0; i < json_array_size(list) && !schema_failed(c); i++) {
		const json_t *v = json_array_get(list, i);
		if ((!only || json_equal(v, only)) && value_fits(c, s, types, v, path))
			rules_link(c->r, schema_literal(c, start, v), end);
	}
}

/* ---- references ---- */

/* The next name of a JSON pointer in a URI fragment, decoded; false: it is malformed or too long. */
static bool pointer_step(const char **at, char *out, size_t len) {
	size_t n = 0;
	for (; **at && **at != '/'; n++) {
		unsigned ch = (unsigned char)*(*at)++;
		int used = 0;
		if (ch == '%' && (sscanf(*at, "%2x%n", &ch, &used) != 1 || used != 2 || ch == 0))
			return false;
		*at += used;
		if (ch == '~') {
			if (**at != '0' && **at != '1')
				return false;
			ch = *(*at)++ == '0' ? '~' : '/';
		}
		if (n + 1 >= len)
			return false;
		out[n] = (char)ch;
	}
	out[n] = '\0';
	return true;
}

const json_t *schema_resolve(struct schema *c, const json_t *ref, const struct path *path) {
	const char *text = json_string_value(ref), *at = text ? text + 1 : NULL;
	const json_t *s = c->top;
	char name[1024];
	if (!text || text[0] != '#' || (text[1] && text[1] != '/')) {
		schema_fail(c, path,
		        "$ref %.100s is not supported: only references into this schema, as #/$defs/name",
		        text ? text : "that is not a string");
		return NULL;
	}
	while (s && *at == '/') {
		at++;
		if (!pointer_step(&at, name, sizeof name))
			s = NULL;
		else if (json_is_array(s) && name[0] >= '0' && name[0] <= '9')
			s = json_array_get(s, strtoul(name, NULL, 10));
		else
			s = json_object_get(s, name);
	}
	if (!s)
		schema_fail(c, path, "$ref %.100s leads nowhere", text);
	return s;
}

/* ---- alternatives ---- */

/* A copy without a keyword, and whether anything else in it restricts. */
static json_t *schema_without(struct schema *c, const json_t *s, const char *without, bool *plain) {
	json_t *base = schema_keep(c, json_copy((json_t *)(uintptr_t)s));
	const char *key;
	json_t *value;
	*plain = true;
	if (!base)
		return NULL;
	json_object_del(base, without);
	json_object_foreach(base, key, value) if (!schema_is_annotation(key) && strcmp(key, "$defs") != 0 &&
	                                          strcmp(key, "definitions") != 0) *plain = false;
	return base;
}

static void schema_emit(
        struct schema *c, const json_t *s, const struct path *path, uint32_t start, uint32_t end);

static void schema_check_disjoint(struct schema *c, const json_t *list, const struct path *path) {
	for (size_t i = 0; i < json_array_size(list) && !schema_failed(c); i++)
		for (size_t k = i + 1; k < json_array_size(list) && !schema_failed(c); k++)
			if (!schema_disjoint(c, json_array_get(list, i), json_array_get(list, k), path, 0))
				schema_fail(c, path,
				        "the alternatives %zu and %zu of oneOf may both be valid: use anyOf, or "
				        "make them differ in type or in a required const",
				        i, k);
}

static void schema_alternatives(struct schema *c, const json_t *s, const char *keyword,
        const struct path *path, uint32_t start, uint32_t end) {
	const json_t *list = json_object_get(s, keyword);
	bool plain;
	const json_t *base = schema_without(c, s, keyword, &plain);
	const struct path at = {path, keyword};
	if (!json_is_array(list) || json_array_size(list) == 0)
		schema_fail(c, path, "%s must be an array of schemas", keyword);
	if (!schema_failed(c) && strcmp(keyword, "oneOf") == 0)
		schema_check_disjoint(c, list, path);
	for (size_t i = 0; i < json_array_size(list) && !schema_failed(c); i++) {
		char index[24];
		snprintf(index, sizeof index, "%zu", i);
		const struct path here = {&at, index};
		const json_t *one = json_array_get(list, i);
		if (!plain)
			one = schema_merge(c, base, schema_flatten(c, one, &here), &here);
		if (!schema_failed(c))
			rules_call(c->r, start, schema_rule(c, one, &here), end);
	}
}

/* ---- one schema ---- */

static void schema_emit_type(struct schema *c, const json_t *s, unsigned type, const struct path *path,
        uint32_t start, uint32_t end) {
	uint32_t last = start;
	switch (type) {
	case TYPE_NULL:
		last = rules_literal(c->r, start, "null", 4);
		break;
	case TYPE_BOOLEAN:
		rules_link(c->r, rules_literal(c->r, start, "true", 4), end);
		last = rules_literal(c->r, start, "false", 5);
		break;
	case TYPE_INTEGER:
		last = schema_number(c, s, path, true, start);
		break;
	case TYPE_NUMBER:
		last = schema_number(c, s, path, false, start);
		break;
	case TYPE_STRING:
		last = schema_string(c, s, path, start);
		break;
	case TYPE_ARRAY:
		last = schema_array(c, s, path, start);
		break;
	case TYPE_OBJECT:
		last = schema_object(c, s, path, start);
		break;
	default:
		return;
	}
	rules_link(c->r, last, end);
}

static void schema_emit_types(
        struct schema *c, const json_t *s, const struct path *path, uint32_t start, uint32_t end) {
	unsigned types = schema_types(c, s, path);
	if (types == TYPE_ANY && !json_object_get(s, "type")) {
		rules_call(c->r, start, schema_builtin(c, BUILTIN_VALUE), end);
		return;
	}
	if (types & TYPE_NUMBER)
		types &= ~(unsigned)TYPE_INTEGER;
	for (unsigned t = 1; t < TYPE_ANY && !schema_failed(c); t <<= 1)
		if (types & t)
			schema_emit_type(c, s, t, path, start, end);
}

/* A reference alone is a call, so that it may be recursive. */
static bool schema_is_reference(const json_t *s) {
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)s, key,
	        value) if (strcmp(key, "$ref") != 0 && !schema_is_annotation(key) &&
	                   strcmp(key, "$defs") != 0 && strcmp(key, "definitions") != 0) return false;
	return json_object_get(s, "$ref") != NULL;
}

static void schema_emit_object(
        struct schema *c, const json_t *s, const struct path *path, uint32_t start, uint32_t end) {
	schema_check_keywords(c, s, path);
	if (schema_failed(c))
		return;
	if (schema_is_reference(s)) {
		const json_t *target = schema_resolve(c, json_object_get(s, "$ref"), path);
		const char *name = json_string_value(json_object_get(s, "$ref"));
		const struct path top = {NULL, NULL},
		                  there = {&top, name && name[0] && name[1] ? name + 2 : ""};
		if (target)
			rules_call(
			        c->r, start, schema_rule(c, target, target == c->top ? &top : &there), end);
		return;
	}
	if (json_object_get(s, "$ref") || json_object_get(s, "allOf") || json_object_get(s, "nullable")) {
		const json_t *flat = schema_flatten(c, s, path);
		if (flat)
			schema_emit(c, flat, path, start, end);
	} else if (json_object_get(s, "anyOf")) {
		schema_alternatives(c, s, "anyOf", path, start, end);
	} else if (json_object_get(s, "oneOf")) {
		schema_alternatives(c, s, "oneOf", path, start, end);
	} else if (json_object_get(s, "enum") || json_object_get(s, "const")) {
		schema_values(c, s, path, start, end);
	} else {
		schema_emit_types(c, s, path, start, end);
	}
}

static void schema_emit(
        struct schema *c, const json_t *s, const struct path *path, uint32_t start, uint32_t end) {
	if (schema_failed(c))
		return;
	if (c->depth == JSON_SCHEMA_MAX_DEPTH) {
		schema_fail(c, path, "schemas may be nested %d deep", JSON_SCHEMA_MAX_DEPTH);
		return;
	}
	c->depth++;
	if (json_is_true(s))
		rules_call(c->r, start, schema_builtin(c, BUILTIN_VALUE), end);
	else if (json_is_object(s))
		schema_emit_object(c, s, path, start, end);
	else if (!json_is_false(s))
		schema_fail(c, path, "a schema must be an object, true or false");
	c->depth--;
}

uint32_t schema_rule(struct schema *c, const json_t *s, const struct path *path) {
	char name[RULES_MAX_NAME + 1];
	for (uint32_t i = 0; i < c->rules; i++)
		if (c->rule[i].schema == s && json_is_object(s))
			return c->rule[i].rule;
	path_print(path, name, sizeof name);
	uint32_t rule = rules_add(c->r, name, strlen(name));
	if (schema_failed(c))
		return rule;
	c->rule[c->rules++] = (struct schema_rule){s, rule};
	schema_emit(c, s, path, c->r->rule[rule].start, c->r->rule[rule].end);
	return rule;
}

/* ---- all of it ---- */

struct schema *schema_create(enum json_space space, char *err, size_t errlen) {
	struct schema *c = calloc(1, sizeof *c);
	if (!c || rules_create(&c->r) < 0 || !(c->made = json_array())) {
		snprintf(err, errlen, "no memory for the grammar of the schema");
		if (c)
			rules_destroy(c->r);
		free(c);
		return NULL;
	}
	c->space = space;
	c->err = err;
	c->errlen = errlen;
	for (int i = 0; i < BUILTINS; i++)
		c->builtin[i] = UINT32_MAX;
	return c;
}

int schema_finish(struct schema *c, struct rules **out) {
	int rc = c->rc;
	if (rc == 0)
		*out = c->r;
	else
		rules_destroy(c->r);
	json_decref(c->made);
	free(c);
	return rc;
}

int json_schema_rules(
        struct rules **out, const json_t *schema, enum json_space space, char *err, size_t errlen) {
	struct schema *c = schema_create(space, err, errlen);
	const struct path top = {NULL, NULL};
	*out = NULL;
	if (!c)
		return -ENOMEM;
	c->top = schema;
	schema_rule(c, schema, &top);
	return schema_finish(c, out);
}
