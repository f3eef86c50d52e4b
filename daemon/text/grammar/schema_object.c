/* schema_object: objects and arrays of a schema.  Properties come in the order of the schema, additional ones behind them. */
#include "daemon/text/grammar/schema_internal.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

/* ---- objects ---- */

struct object {
	json_t *names;            /* of the properties, in order */
	const json_t *properties; /* may be NULL */
	const json_t *additional; /* schema of other keys; NULL: there are none */
	const char *pattern;      /* that other keys must match; NULL: none */
	const json_t *required;
	uint32_t min, max;
};

static bool object_requires(const struct object *o, const char *name) {
	for (size_t i = 0; i < json_array_size(o->required); i++) {
		const char *one = json_string_value(json_array_get(o->required, i));
		if (one && strcmp(one, name) == 0)
			return true;
	}
	return false;
}

static void object_read_names(struct schema *c, struct object *o, const struct path *path) {
	const char *key;
	json_t *value;
	o->names = schema_keep(c, json_array());
	json_object_foreach((json_t *)(uintptr_t)o->properties, key, value)
	        json_array_append_new(o->names, json_string(key));
	for (size_t i = 0; i < json_array_size(o->required); i++) {
		json_t *name = json_array_get(o->required, i);
		if (!json_is_string(name)) {
			schema_fail(c, path, "required must be an array of strings");
			return;
		}
		bool there = json_object_get(o->properties, json_string_value(name)) != NULL;
		for (size_t k = 0; k < i; k++)
			there = there || json_equal(json_array_get(o->required, k), name);
		if (!there)
			json_array_append(o->names, name);
	}
}

/* One pattern, and nothing beside it. */
static void object_read_pattern(
        struct schema *c, struct object *o, const json_t *patterns, const struct path *path) {
	const char *key;
	json_t *value;
	if (!json_is_object(patterns))
		schema_fail(c, path, "patternProperties must be an object");
	if (json_object_size(patterns) > 1)
		schema_fail(c, path, "patternProperties with more than one pattern is not supported");
	if (o->additional && !json_is_false(o->additional))
		schema_fail(
		        c, path, "additionalProperties beside patternProperties is only supported as false");
	o->additional = NULL;
	json_object_foreach((json_t *)(uintptr_t)patterns, key, value) {
		o->pattern = key;
		o->additional = value;
	}
}

/* Names that are any strings, or that match a pattern where no properties are named. */
static void object_read_property_names(
        struct schema *c, struct object *o, const json_t *names, const struct path *path) {
	const char *key;
	json_t *value;
	if (json_is_true(names))
		return;
	bool is_simple = json_is_object(names);
	json_object_foreach((json_t *)(uintptr_t)names, key, value) {
		bool is_type = strcmp(key, "type") == 0 && json_is_string(value) &&
		               strcmp(json_string_value(value), "string") == 0;
		bool is_pattern = strcmp(key, "pattern") == 0 && json_is_string(value);
		is_simple = is_simple && (is_type || is_pattern || schema_is_annotation(key));
	}
	const json_t *pattern = json_object_get(names, "pattern");
	if (!is_simple || (pattern && (json_object_size(o->properties) > 0 || o->pattern)))
		schema_fail(c, path,
		        "propertyNames is only supported as a pattern, where there is no properties and no "
		        "patternProperties");
	else if (pattern)
		o->pattern = json_string_value(pattern);
}

static void object_read(struct schema *c, struct object *o, const json_t *s, const struct path *path) {
	const json_t *patterns = json_object_get(s, "patternProperties");
	*o = (struct object){.properties = json_object_get(s, "properties"),
	        .additional = json_object_get(s, "additionalProperties"),
	        .required = json_object_get(s, "required"),
	        .min = schema_count(c, s, "minProperties", 0, JSON_SCHEMA_MAX_ITEMS, path),
	        .max = schema_count(c, s, "maxProperties", RULES_UNBOUNDED, JSON_SCHEMA_MAX_ITEMS, path)};
	if (o->properties && !json_is_object(o->properties))
		schema_fail(c, path, "properties must be an object");
	if (o->required && !json_is_array(o->required))
		schema_fail(c, path, "required must be an array of strings");
	if (!o->additional && !o->properties && !patterns)
		o->additional = schema_keep(c, json_true());
	if (patterns)
		object_read_pattern(c, o, patterns, path);
	if (json_object_get(s, "propertyNames"))
		object_read_property_names(c, o, json_object_get(s, "propertyNames"), path);
	if (json_is_false(o->additional))
		o->additional = NULL;
	object_read_names(c, o, path);
	size_t names = json_array_size(o->names), needed = json_array_size(o->required);
	if (o->min > needed && o->min > 1)
		schema_fail(c, path, "minProperties beyond 1 and the required properties is not supported");
	if (o->max < names && o->max != 0)
		schema_fail(c, path, "maxProperties below the number of named properties is not supported");
}

/* Whether a name matches a pattern: what JSON Schema uses of ECMAScript's is the same in Perl's. */
static bool name_matches(struct schema *c, const char *pattern, const char *name, const struct path *path) {
	int error;
	PCRE2_SIZE at;
	pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
	pcre2_match_data *data = re ? pcre2_match_data_create(1, NULL) : NULL;
	bool is = false;
	if (!data)
		schema_fail(c, path, "the pattern %.100s is not supported", pattern);
	else
		is = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL) >= 0;
	pcre2_match_data_free(data);
	pcre2_code_free(re);
	return is;
}

/* The schema of a named property. */
static const json_t *object_property(
        struct schema *c, const struct object *o, const char *name, const struct path *path) {
	const json_t *s = json_object_get(o->properties, name), *more = NULL;
	if (o->pattern && name_matches(c, o->pattern, name, path))
		more = o->additional;
	if (!s && !o->pattern)
		more = o->additional;
	if (!s && !more)
		return o->properties || o->pattern ? schema_keep(c, json_false())
		                                   : schema_keep(c, json_true());
	if (!s || !more)
		return s ? s : more;
	return schema_keep(c, json_pack("{s:[O,O]}", "allOf", s, more));
}

/* A colon and a value. */
static uint32_t member_value(struct schema *c, uint32_t from, const json_t *s, const struct path *path) {
	from = schema_space(c, rules_literal(c->r, from, ":", 1));
	return schema_call(c, from, schema_rule(c, s, path));
}

static uint32_t object_named(struct schema *c, const struct object *o, uint32_t from, const json_t *name,
        const struct path *path) {
	const char *key = json_string_value(name);
	const struct path up = {path, "properties"}, here = {&up, key};
	const json_t *s = object_property(c, o, key, path);
	from = schema_quoted(c, from, key, json_string_length(name));
	return schema_failed(c) ? from : member_value(c, from, s, &here);
}

static uint32_t object_other(
        struct schema *c, const struct object *o, uint32_t from, const struct path *path) {
	const struct path here = {path, o->pattern ? "patternProperties" : "additionalProperties"};
	const struct path there = {&here, o->pattern ? o->pattern : ""};
	if (o->pattern)
		from = schema_pattern_key(c, from, o->pattern, o->names, path);
	else if (json_array_size(o->names) > 0)
		from = schema_other_key(c, from, o->names);
	else
		from = schema_call(c, from, schema_builtin(c, BUILTIN_STRING));
	return member_value(c, from, o->additional, o->pattern ? &there : &here);
}

static uint32_t comma(struct schema *c, uint32_t from) {
	return schema_space(c, rules_literal(c->r, from, ",", 1));
}

/* What is behind the named properties: other ones, max of them at most.  first: none has come yet; more: one has. */
static void object_others(struct schema *c, const struct object *o, uint32_t *first, uint32_t *more,
        uint32_t max, const struct path *path) {
	if (max == 0)
		return;
	uint32_t begin = rules_state(c->r), end = object_other(c, o, begin, path), all = rules_state(c->r);
	rules_link(c->r, *first, begin);
	rules_link(c->r, comma(c, *more), begin);
	struct rules_mark mark = rules_mark(c->r);
	uint32_t rest = rules_state(c->r), rest_end = object_other(c, o, comma(c, rest), path);
	rules_repeat(c->r, mark, &rest, &rest_end, 0, max == RULES_UNBOUNDED ? max : max - 1, false);
	rules_link(c->r, end, rest);
	rules_link(c->r, rest_end, all);
	rules_link(c->r, *more, all);
	*more = all;
}

uint32_t schema_object(struct schema *c, const json_t *s, const struct path *path, uint32_t from) {
	struct object o;
	object_read(c, &o, s, path);
	if (schema_failed(c))
		return from;
	struct rules *r = c->r;
	uint32_t first = schema_space(c, rules_literal(r, from, "{", 1)), more = rules_state(r);
	uint32_t close = rules_state(r);
	size_t names = json_array_size(o.names);
	for (size_t i = 0; i < names && o.max > 0 && !schema_failed(c); i++) {
		const json_t *name = json_array_get(o.names, i);
		uint32_t key = rules_state(r), next_first = rules_state(r), next_more = rules_state(r);
		rules_link(r, first, key);
		rules_link(r, comma(c, more), key);
		rules_link(r, object_named(c, &o, key, name, path), next_more);
		if (!object_requires(&o, json_string_value(name))) {
			rules_link(r, first, next_first);
			rules_link(r, more, next_more);
		}
		first = next_first;
		more = next_more;
	}
	if (o.max == 0 && json_array_size(o.required) > 0)
		return rules_state(r); /* nothing is valid */
	if (o.additional)
		object_others(c, &o, &first, &more,
		        o.max == RULES_UNBOUNDED ? o.max : o.max - (o.max > 0 ? (uint32_t)names : 0), path);
	if (o.min == 0)
		rules_link(r, first, close);
	rules_link(r, more, close);
	return rules_literal(r, schema_space(c, close), "}", 1);
}

/* ---- arrays ---- */

struct array {
	const json_t *prefix; /* of the first items; may be NULL */
	const json_t *items;  /* of the others; NULL: there are none */
	uint32_t min, max;
};

static void array_read(struct schema *c, struct array *a, const json_t *s, const struct path *path) {
	const json_t *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems");
	*a = (struct array){.prefix = prefix,
	        .items = items,
	        .min = schema_count(c, s, "minItems", 0, JSON_SCHEMA_MAX_ITEMS, path),
	        .max = schema_count(c, s, "maxItems", RULES_UNBOUNDED, JSON_SCHEMA_MAX_ITEMS, path)};
	if (json_is_array(items)) { /* as it was written before 2020 */
		if (prefix)
			schema_fail(c, path, "items must not be an array beside prefixItems");
		a->prefix = items;
		a->items = json_object_get(s, "additionalItems");
	}
	if (a->prefix && !json_is_array(a->prefix))
		schema_fail(c, path, "prefixItems must be an array");
	size_t n = json_array_size(a->prefix);
	if (!a->items && (!a->prefix || a->min > n))
		a->items = schema_keep(c, json_true());
	if (json_is_false(a->items))
		a->items = NULL;
	if (!a->items && a->max > n)
		a->max = (uint32_t)n;
	if (json_is_true(json_object_get(s, "uniqueItems")) && a->max > 1)
		schema_fail(c, path, "uniqueItems is not supported for more than one item");
}

static uint32_t array_item(
        struct schema *c, const struct array *a, uint32_t i, uint32_t from, const struct path *path) {
	char index[16];
	snprintf(index, sizeof index, "%u", (unsigned)i);
	bool named = i < json_array_size(a->prefix);
	const struct path up = {path, named ? "prefixItems" : "items"}, here = {&up, index};
	const json_t *s = named ? json_array_get(a->prefix, i) : a->items;
	if (i > 0)
		from = comma(c, from);
	return schema_call(c, from, schema_rule(c, s, named ? &here : &up));
}

uint32_t schema_array(struct schema *c, const json_t *s, const struct path *path, uint32_t from) {
	struct array a;
	array_read(c, &a, s, path);
	if (schema_failed(c))
		return from;
	struct rules *r = c->r;
	uint32_t at = schema_space(c, rules_literal(r, from, "[", 1)), close = rules_state(r), i = 0;
	const uint32_t n = (uint32_t)json_array_size(a.prefix), least = n > a.min ? n : a.min;
	for (; i < a.max && (a.max != RULES_UNBOUNDED || i <= least) && !schema_failed(c); i++) {
		if (i >= a.min)
			rules_link(r, at, close);
		at = array_item(c, &a, i, at, path);
	}
	if (a.max == RULES_UNBOUNDED) /* behind an item that is like all further ones */
		rules_link(r, array_item(c, &a, i, at, path), at);
	if (i >= a.min)
		rules_link(r, at, close);
	return rules_literal(r, schema_space(c, close), "]", 1);
}
