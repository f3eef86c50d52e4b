/* schema_merge: schemas that apply together become one: allOf, what stands beside a $ref, a base and one of its alternatives.
 * And whether two schemas exclude each other, for oneOf. */
#include "daemon/text/grammar/schema_internal.h"
#include <math.h>
#include <string.h>

#define MAX_PRODUCT 256  /* alternatives of two lists of alternatives */
#define MAX_MERGED 20000 /* schemas */
#define MAX_EXCLUSION 8  /* properties within properties that are compared */

json_t *schema_keep(struct schema *c, json_t *made) {
	if (!made || json_array_append_new(c->made, made) < 0) {
		schema_no_memory(c);
		return NULL;
	}
	return made;
}

static void set(struct schema *c, json_t *object, const char *key, const json_t *value) {
	if (json_object_set(object, key, (json_t *)(uintptr_t)value) < 0)
		schema_no_memory(c);
}

static void set_new(struct schema *c, json_t *object, const char *key, json_t *value) {
	if (json_object_set_new(object, key, value) < 0)
		schema_no_memory(c);
}

/* {"allOf": [a, b]}, or one of them where the other is NULL or allows all. */
static json_t *both(struct schema *c, const json_t *a, const json_t *b) {
	if (!a || json_is_true(a))
		return json_incref((json_t *)(uintptr_t)(b ? b : a));
	if (!b || json_is_true(b) || a == b)
		return json_incref((json_t *)(uintptr_t)a);
	json_t *made = json_pack("{s:[O,O]}", "allOf", a, b);
	if (!made)
		schema_no_memory(c);
	return made;
}

/* ---- properties and items ---- */

static bool has_any(const json_t *s, const char *const *key) {
	for (; *key; key++)
		if (json_object_get(s, *key))
			return true;
	return false;
}

static const char *const object_keys[] = {"properties", "patternProperties", "additionalProperties", NULL};
static const char *const array_keys[] = {"items", "prefixItems", "additionalItems", NULL};

static bool is_in(const char *key, const char *const *keys) {
	for (; *keys; keys++)
		if (strcmp(key, *keys) == 0)
			return true;
	return false;
}

/* The properties of one side that the other has not fall under its additionalProperties. */
static void merge_properties(
        struct schema *c, json_t *out, const json_t *a, const json_t *b, const struct path *path) {
	json_t *pa = json_object_get(a, "properties"), *pb = json_object_get(b, "properties"), *value;
	json_t *more_a = json_object_get(a, "additionalProperties");
	json_t *more_b = json_object_get(b, "additionalProperties");
	const char *key;
	if (json_object_get(a, "patternProperties") || json_object_get(b, "patternProperties")) {
		schema_fail(c, path,
		        "patternProperties together with other properties of allOf, anyOf, oneOf or "
		        "$ref is not supported");
		return;
	}
	json_t *all = json_object();
	set_new(c, out, "properties", all);
	json_object_foreach(pa, key, value) {
		json_t *other = json_object_get(pb, key);
		set_new(c, all, key, both(c, value, other ? other : more_b));
	}
	json_object_foreach(pb, key, value) if (!json_object_get(pa, key))
	        set_new(c, all, key, both(c, more_a, value));
	if (json_is_false(more_a) || json_is_false(more_b))
		set_new(c, out, "additionalProperties", json_false());
	else if (more_a || more_b)
		set_new(c, out, "additionalProperties", both(c, more_a, more_b));
	if (json_object_size(all) == 0)
		json_object_del(out, "properties");
}

static void merge_items(
        struct schema *c, json_t *out, const json_t *a, const json_t *b, const struct path *path) {
	const json_t *ia = json_object_get(a, "items"), *ib = json_object_get(b, "items");
	if (!ia || !ib || json_is_array(ia) || json_is_array(ib) || json_object_get(a, "prefixItems") ||
	        json_object_get(b, "prefixItems"))
		schema_fail(c, path,
		        "prefixItems together with other items of allOf, anyOf, oneOf or $ref is not "
		        "supported");
	else
		set_new(c, out, "items", both(c, ia, ib));
}

static void merge_group(struct schema *c, json_t *out, const json_t *a, const json_t *b,
        const char *const *keys, const struct path *path) {
	if (has_any(a, keys) && has_any(b, keys)) {
		if (keys == object_keys)
			merge_properties(c, out, a, b, path);
		else
			merge_items(c, out, a, b, path);
		return;
	}
	for (; *keys; keys++)
		if (json_object_get(b, *keys))
			set(c, out, *keys, json_object_get(b, *keys));
}

/* ---- single keywords ---- */

static void merge_required(struct schema *c, json_t *out, const json_t *a, const json_t *b) {
	json_t *all = json_copy((json_t *)(uintptr_t)a);
	for (size_t i = 0; i < json_array_size(b) && all; i++) {
		bool there = false;
		for (size_t k = 0; k < json_array_size(a); k++)
			there = there || json_equal(json_array_get(a, k), json_array_get(b, i));
		if (!there)
			json_array_append(all, json_array_get(b, i));
	}
	set_new(c, out, "required", all);
}

static void merge_enum(struct schema *c, json_t *out, const json_t *a, const json_t *b) {
	json_t *common = json_array();
	for (size_t i = 0; i < json_array_size(a) && common; i++)
		for (size_t k = 0; k < json_array_size(b); k++)
			if (json_equal(json_array_get(a, i), json_array_get(b, k))) {
				json_array_append(common, json_array_get(a, i));
				break;
			}
	set_new(c, out, "enum", common);
}

/* Alternatives of both: those of each with those of each. */
static void merge_alternatives(struct schema *c, json_t *out, const char *key, const json_t *a,
        const json_t *b, const struct path *path) {
	json_t *all = json_array();
	if (json_array_size(a) * json_array_size(b) > MAX_PRODUCT)
		schema_fail(c, path, "more than %d combinations of %s are not supported", MAX_PRODUCT, key);
	for (size_t i = 0; i < json_array_size(a) && all && !schema_failed(c); i++)
		for (size_t k = 0; k < json_array_size(b); k++)
			json_array_append_new(all, both(c, json_array_get(a, i), json_array_get(b, k)));
	set_new(c, out, key, all);
}

static bool is_lower_bound(const char *key) {
	static const char *const keys[] = {
	        "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", NULL};
	return is_in(key, keys);
}

static bool is_upper_bound(const char *key) {
	static const char *const keys[] = {
	        "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", NULL};
	return is_in(key, keys);
}

/* Both have the keyword; false: nothing is valid by both. */
static bool merge_keyword(struct schema *c, json_t *out, const char *key, const json_t *a, const json_t *b,
        const struct path *path) {
	double x = json_number_value(a), y = json_number_value(b);
	if (strcmp(key, "const") == 0)
		return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
	if (json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b) && strcmp(key, "anyOf") != 0)
		return true;
	if (strcmp(key, "enum") == 0 && json_is_array(a) && json_is_array(b))
		merge_enum(c, out, a, b);
	else if (strcmp(key, "required") == 0 && json_is_array(a) && json_is_array(b))
		merge_required(c, out, a, b);
	else if ((strcmp(key, "anyOf") == 0 || strcmp(key, "oneOf") == 0) && json_is_array(a) &&
	         json_is_array(b))
		merge_alternatives(c, out, key, a, b, path);
	else if (strcmp(key, "uniqueItems") == 0)
		set_new(c, out, key, json_boolean(json_is_true(a) || json_is_true(b)));
	else if (json_is_number(a) && json_is_number(b) && is_lower_bound(key))
		set(c, out, key, x < y ? b : a);
	else if (json_is_number(a) && json_is_number(b) && is_upper_bound(key))
		set(c, out, key, x > y ? b : a);
	else
		schema_fail(c, path,
		        "%s together with another %s of allOf, anyOf, oneOf or $ref is not supported", key,
		        key);
	return true;
}

/* The types that both name; NULL: none. */
static json_t *merge_types(struct schema *c, const json_t *a, const json_t *b, const struct path *path) {
	unsigned types = schema_types(c, a, path) & schema_types(c, b, path);
	if (types == 0 || schema_failed(c))
		return NULL;
	return schema_types_json(types);
}

const json_t *schema_merge(struct schema *c, const json_t *a, const json_t *b, const struct path *path) {
	const char *key;
	json_t *value;
	if (schema_failed(c) || !a || !b)
		return NULL;
	if (!json_is_object(a) || !json_is_object(b)) {
		if ((!json_is_object(a) && !json_is_boolean(a)) ||
		        (!json_is_object(b) && !json_is_boolean(b)))
			schema_fail(c, path, "a schema must be an object, true or false");
		return json_is_false(a) || json_is_true(b) ? a : b;
	}
	json_t *out = schema_keep(c, json_copy((json_t *)(uintptr_t)a)), *none = schema_keep(c, json_false());
	if (!out)
		return NULL;
	merge_group(c, out, a, b, object_keys, path);
	merge_group(c, out, a, b, array_keys, path);
	json_object_foreach((json_t *)(uintptr_t)b, key, value) {
		const json_t *mine = json_object_get(a, key);
		if (is_in(key, object_keys) || is_in(key, array_keys) || schema_is_annotation(key) ||
		        strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0)
			continue;
		if (!mine) {
			set(c, out, key, value);
		} else if (strcmp(key, "type") == 0) {
			json_t *types = merge_types(c, a, b, path);
			if (!types)
				return none;
			set_new(c, out, key, types);
		} else if (!merge_keyword(c, out, key, mine, value, path)) {
			return none;
		}
	}
	return schema_failed(c) ? NULL : out;
}

/* ---- flattening ---- */

/* "nullable": true of OpenAPI adds the type null. */
static void flatten_nullable(struct schema *c, json_t *base, const struct path *path) {
	bool nullable = json_is_true(json_object_get(base, "nullable"));
	json_object_del(base, "nullable");
	if (nullable && json_object_get(base, "type"))
		set_new(c, base, "type", schema_types_json(schema_types(c, base, path) | TYPE_NULL));
}

static const json_t *flatten_parts(struct schema *c, json_t *base, const json_t *s, const struct path *path) {
	const json_t *ref = json_object_get(s, "$ref"), *all = json_object_get(s, "allOf"), *out = base;
	json_object_del(base, "$ref");
	json_object_del(base, "allOf");
	flatten_nullable(c, base, path);
	if (ref) {
		const json_t *target = schema_resolve(c, ref, path);
		out = target ? schema_merge(c, out, schema_flatten(c, target, path), path) : NULL;
	}
	if (all && !json_is_array(all))
		schema_fail(c, path, "allOf must be an array of schemas");
	for (size_t i = 0; i < json_array_size(all) && !schema_failed(c); i++)
		out = schema_merge(c, out, schema_flatten(c, json_array_get(all, i), path), path);
	return schema_failed(c) ? NULL : out;
}

const json_t *schema_flatten(struct schema *c, const json_t *s, const struct path *path) {
	if (++c->merged > MAX_MERGED)
		schema_fail(c, path, "references, allOf, anyOf and oneOf multiply to more than %d schemas",
		        MAX_MERGED);
	if (schema_failed(c))
		return NULL;
	if (!json_is_object(s) || (!json_object_get(s, "$ref") && !json_object_get(s, "allOf") &&
	                                  !json_object_get(s, "nullable")))
		return s;
	if (c->depth >= JSON_SCHEMA_MAX_DEPTH) {
		schema_fail(c, path, "references and allOf may be nested %d deep", JSON_SCHEMA_MAX_DEPTH);
		return NULL;
	}
	json_t *base = schema_keep(c, json_copy((json_t *)(uintptr_t)s));
	c->depth++;
	const json_t *out = base ? flatten_parts(c, base, s, path) : NULL;
	c->depth--;
	return out;
}

/* ---- what excludes what ---- */

/* The values that a schema gives: its enum, or its const in a list; NULL: it does not. */
static json_t *given_values(struct schema *c, const json_t *s) {
	json_t *list = json_object_get(s, "enum"), *only = json_object_get(s, "const");
	return only ? schema_keep(c, json_pack("[O]", only)) : list;
}

static bool values_disjoint(struct schema *c, const json_t *a, const json_t *b) {
	json_t *va = given_values(c, a), *vb = given_values(c, b);
	if (!json_is_array(va) || !json_is_array(vb))
		return false;
	for (size_t i = 0; i < json_array_size(va); i++)
		for (size_t k = 0; k < json_array_size(vb); k++) {
			const json_t *x = json_array_get(va, i), *y = json_array_get(vb, k);
			if (json_equal(x, y) || (json_is_number(x) && json_is_number(y) &&
			                                json_number_value(x) == json_number_value(y)))
				return false;
		}
	return true;
}

/* Whether b excludes a property that a requires: by its schema, or because it has no such property. */
static bool objects_disjoint(
        struct schema *c, const json_t *a, const json_t *b, const struct path *path, int depth) {
	const json_t *list = json_object_get(a, "required");
	const json_t *pa = json_object_get(a, "properties"), *pb = json_object_get(b, "properties");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		const json_t *x = name ? json_object_get(pa, name) : NULL;
		const json_t *y = name ? json_object_get(pb, name) : NULL;
		if (!name)
			continue;
		if (!y && json_is_false(json_object_get(b, "additionalProperties")) &&
		        !json_object_get(b, "patternProperties"))
			return true;
		if (x && y && schema_disjoint(c, x, y, path, depth + 1))
			return true;
	}
	return false;
}

static double lower_bound(const json_t *s) {
	const json_t *v = json_object_get(s, "minimum");
	return json_is_number(v) ? json_number_value(v) : -INFINITY;
}

static double upper_bound(const json_t *s) {
	const json_t *v = json_object_get(s, "maximum");
	return json_is_number(v) ? json_number_value(v) : INFINITY;
}

/* Types that the schema itself names: without them, or with values given, any. */
static unsigned named_types(struct schema *c, const json_t *s, const struct path *path) {
	return json_object_get(s, "type") ? schema_types(c, s, path) : TYPE_ANY;
}

static bool alternatives_disjoint(
        struct schema *c, const json_t *list, const json_t *other, const struct path *path, int depth) {
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!schema_disjoint(c, json_array_get(list, i), other, path, depth + 1))
			return false;
	return json_array_size(list) > 0;
}

bool schema_disjoint(struct schema *c, const json_t *a, const json_t *b, const struct path *path, int depth) {
	a = schema_flatten(c, a, path);
	b = schema_flatten(c, b, path);
	if (schema_failed(c) || depth > MAX_EXCLUSION)
		return false;
	if (json_is_false(a) || json_is_false(b))
		return true;
	if (!json_is_object(a) || !json_is_object(b))
		return false;
	unsigned common = named_types(c, a, path) & named_types(c, b, path);
	if (common == 0 || values_disjoint(c, a, b))
		return true;
	if ((common & ~(unsigned)TYPE_OBJECT) == 0 &&
	        (objects_disjoint(c, a, b, path, depth) || objects_disjoint(c, b, a, path, depth)))
		return true;
	if ((common & ~(unsigned)(TYPE_NUMBER | TYPE_INTEGER)) == 0 &&
	        (upper_bound(a) < lower_bound(b) || upper_bound(b) < lower_bound(a)))
		return true;
	return alternatives_disjoint(c, json_object_get(a, "anyOf"), b, path, depth) ||
	       alternatives_disjoint(c, json_object_get(a, "oneOf"), b, path, depth) ||
	       alternatives_disjoint(c, json_object_get(b, "anyOf"), a, path, depth) ||
	       alternatives_disjoint(c, json_object_get(b, "oneOf"), a, path, depth);
}
