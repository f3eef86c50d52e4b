/* filters: Jinja's filters of sequences and dicts (jinja2/filters.py).  What Jinja makes a generator of is worked out when
 * it is first asked, all of it, and can be gone over once.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include <string.h>

#define FILTER(name) static struct value name(struct jinja *j, struct value self, const struct args *a)

static struct value filter_iterator(struct seq *s) {
	return value_seq(V_ITERATOR, s);
}

/* What a generator yields, once it is asked. */
#define GENERATOR(name) static struct seq *name(struct jinja *j, struct value self, const struct args *a)

static struct value filter_generator(struct jinja *j,
        struct seq *(*make)(struct jinja *, struct value, const struct args *), struct value self,
        const struct args *a) {
	struct pending *p = jinja_alloc(j, sizeof *p);
	struct args *copy = jinja_alloc(j, sizeof *copy);
	*copy = *a;
	*p = (struct pending){make, self, copy};
	struct seq *s = jinja_seq(j, 0);
	s->pending = p;
	return filter_iterator(s);
}

/* A new sequence that grows. */
struct growing {
	struct seq *s;
	size_t cap;
};

static struct growing filter_grow(struct jinja *j) {
	return (struct growing){jinja_seq(j, 0), 0};
}

static void filter_add(struct jinja *j, struct growing *g, struct value v) {
	jinja_step(j, 0);
	jinja_seq_add(j, g->s, &g->cap, v);
}

FILTER(filter_list) {
	struct growing g = filter_grow(j);
	const struct seq *s = jinja_items(j, self);
	for (size_t i = 0; i < s->n; i++)
		filter_add(j, &g, s->v[i]);
	return value_seq(V_LIST, g.s);
}

FILTER(filter_length) {
	switch (self.type) {
	case V_UNDEFINED:
		return value_int(0);
	case V_STRING:
		return value_int((int64_t)self.u.s->chars);
	case V_LIST:
	case V_TUPLE:
	case V_RANGE:
	case V_VIEW:
		return value_int((int64_t)self.u.seq->n);
	case V_DICT:
		return value_int((int64_t)self.u.dict->n);
	case V_LOOP:
		return value_int((int64_t)jinja_loop_length(j, self.u.loop));
	default:
		jinja_fail(j, -EINVAL, "a %s has no length", jinja_type_name(self));
	}
}

FILTER(filter_first) {
	if (self.type == V_ITERATOR)
		jinja_realize(j, self.u.seq);
	if (self.type == V_ITERATOR && self.u.seq->at < self.u.seq->n)
		return self.u.seq->v[self.u.seq->at++];
	const struct seq *s = jinja_items(j, self);
	return s->n ? s->v[0] : jinja_hint(j, "there is no first item: the sequence is empty");
}

FILTER(filter_last) {
	if (self.type == V_ITERATOR)
		jinja_fail(j, -EINVAL, "last is not for a generator");
	const struct seq *s = jinja_items(j, self);
	return s->n ? s->v[s->n - 1] : jinja_hint(j, "there is no last item: the sequence is empty");
}

static struct seq *filter_reversed(struct jinja *j, const struct seq *s) {
	struct seq *out = jinja_seq(j, s->n);
	for (size_t i = 0; i < s->n; i++)
		out->v[i] = s->v[s->n - 1 - i];
	return out;
}

FILTER(filter_reverse) {
	struct seq *s = filter_reversed(j, jinja_items(j, self));
	if (self.type == V_STRING)
		return value_str(jinja_join(j, jinja_str(j, "", 0), s));
	return self.type == V_ITERATOR ? value_seq(V_LIST, s) : filter_iterator(s);
}

static struct value filter_attribute_or(
        struct jinja *j, struct value v, struct value attribute, struct value otherwise) {
	bool none = attribute.type == V_MISSING || attribute.type == V_NONE;
	return none ? v : jinja_path(j, v, attribute, otherwise);
}

FILTER(filter_join) {
	struct growing g = filter_grow(j);
	const struct str *between = args_has(a, 0) ? jinja_to_str(j, a->v[0]) : jinja_str(j, "", 0);
	const struct seq *s = jinja_items(j, self);
	for (size_t i = 0; i < s->n; i++)
		filter_add(j, &g, filter_attribute_or(j, s->v[i], a->v[1], value_missing()));
	return value_str(jinja_join(j, between, g.s));
}

static struct value filter_pair(struct jinja *j, struct value x, struct value y) {
	struct seq *s = jinja_seq(j, 2);
	s->v[0] = x;
	s->v[1] = y;
	return value_seq(V_TUPLE, s);
}

GENERATOR(filter_yield_items) {
	struct growing g = filter_grow(j);
	if (self.type != V_DICT && self.type != V_UNDEFINED)
		jinja_fail(j, -EINVAL, "items is for a dict, not a %s", jinja_type_name(self));
	for (size_t i = 0; self.type == V_DICT && i < self.u.dict->n; i++)
		filter_add(j, &g, filter_pair(j, self.u.dict->e[i].key, self.u.dict->e[i].value));
	return g.s;
}

FILTER(filter_items) {
	return filter_generator(j, filter_yield_items, self, a);
}

/* ---- order */

struct keyed {
	struct value key, v;
};

static struct value filter_ignore_case(struct jinja *j, struct value v, bool sensitive) {
	return sensitive || v.type != V_STRING ? v : value_str(jinja_change_case(j, v.u.s, CASE_LOWER));
}

static void filter_merge(struct jinja *j, struct keyed *e, struct keyed *spare, size_t n, bool backwards) {
	if (n < 2)
		return;
	size_t half = n / 2, x = 0, y = half;
	filter_merge(j, e, spare, half, backwards);
	filter_merge(j, e + half, spare, n - half, backwards);
	for (size_t i = 0; i < n; i++) {
		bool right = x == half;
		if (!right && y < n) {
			/* of equal ones the left comes first, either way */
			int c = backwards ? jinja_compare(j, e[x].key, e[y].key, "<")
			                  : jinja_compare(j, e[y].key, e[x].key, "<");
			right = c < 0;
		}
		spare[i] = right ? e[y++] : e[x++];
	}
	memcpy(e, spare, n * sizeof *e);
}

static struct seq *filter_sort_keyed(struct jinja *j, struct keyed *e, size_t n, bool backwards) {
	struct seq *out = jinja_seq(j, n);
	filter_merge(j, e, jinja_alloc(j, n * sizeof *e), n, backwards);
	for (size_t i = 0; i < n; i++)
		out->v[i] = e[i].v;
	return out;
}

/* "a,b": a list of both; the whole value where there is none. */
static struct value filter_sort_key(struct jinja *j, struct value v, struct value attribute, bool sensitive) {
	if (attribute.type != V_STRING || !memchr(attribute.u.s->p, ',', attribute.u.s->len))
		return filter_ignore_case(
		        j, filter_attribute_or(j, v, attribute, value_missing()), sensitive);
	struct growing g = filter_grow(j);
	const struct str *s = attribute.u.s;
	for (size_t from = 0, end; from <= s->len; from = end + 1) {
		const char *comma = memchr(s->p + from, ',', s->len - from);
		end = comma ? (size_t)(comma - s->p) : s->len;
		struct value one = jinja_path(j, v, value_str(jinja_sub(j, s, from, end)), value_missing());
		filter_add(j, &g, filter_ignore_case(j, one, sensitive));
	}
	return value_seq(V_LIST, g.s);
}

FILTER(filter_sort) {
	const struct seq *s = jinja_items(j, self);
	struct keyed *e = jinja_alloc(j, s->n * sizeof *e);
	for (size_t i = 0; i < s->n; i++)
		e[i] = (struct keyed){
		        filter_sort_key(j, s->v[i], a->v[2], jinja_arg_truth(a, 1, false)), s->v[i]};
	return value_seq(V_LIST, filter_sort_keyed(j, e, s->n, jinja_arg_truth(a, 0, false)));
}

FILTER(filter_dictsort) {
	const struct str *by = jinja_arg_str(j, a, 1);
	bool value = by && jinja_str_is(by, "value");
	if (by && !value && !jinja_str_is(by, "key"))
		jinja_fail(j, -EINVAL, "dictsort sorts by key or by value");
	jinja_need_defined(j, self);
	if (self.type != V_DICT)
		jinja_fail(j, -EINVAL, "dictsort is for a dict, not a %s", jinja_type_name(self));
	const struct dict *d = self.u.dict;
	struct keyed *e = jinja_alloc(j, d->n * sizeof *e);
	for (size_t i = 0; i < d->n; i++) {
		struct value key = value ? d->e[i].value : d->e[i].key;
		e[i].key = filter_ignore_case(j, key, jinja_arg_truth(a, 0, false));
		e[i].v = filter_pair(j, d->e[i].key, d->e[i].value);
	}
	return value_seq(V_LIST, filter_sort_keyed(j, e, d->n, jinja_arg_truth(a, 2, false)));
}

static struct value filter_extreme(struct jinja *j, struct value self, const struct args *a, int sign) {
	const struct seq *s = jinja_items(j, self);
	if (s->n == 0)
		return jinja_hint(j, "the sequence is empty");
	bool sensitive = jinja_arg_truth(a, 0, false);
	size_t best = 0;
	struct value best_key =
	        filter_ignore_case(j, filter_attribute_or(j, s->v[0], a->v[1], value_missing()), sensitive);
	for (size_t i = 1; i < s->n; i++) {
		struct value key = filter_ignore_case(
		        j, filter_attribute_or(j, s->v[i], a->v[1], value_missing()), sensitive);
		int c = jinja_compare(j, key, best_key, sign < 0 ? "<" : ">");
		if (c != NOT_ORDERED && c * sign > 0) {
			best = i;
			best_key = key;
		}
	}
	return s->v[best];
}

FILTER(filter_min) {
	return filter_extreme(j, self, a, -1);
}

FILTER(filter_max) {
	return filter_extreme(j, self, a, 1);
}

static bool filter_is_among(struct jinja *j, const struct seq *s, struct value v) {
	for (size_t i = 0; i < s->n; i++)
		if (jinja_equal(j, s->v[i], v))
			return true;
	return false;
}

GENERATOR(filter_yield_unique) {
	struct growing seen = filter_grow(j), g = filter_grow(j);
	const struct seq *s = jinja_items(j, self);
	const struct dict none = {0};
	for (size_t i = 0; i < s->n; i++) {
		struct value key = filter_attribute_or(j, s->v[i], a->v[1], value_missing());
		key = filter_ignore_case(j, key, jinja_arg_truth(a, 0, false));
		jinja_dict_find(j, &none, key); /* fails for what cannot be a key */
		if (filter_is_among(j, seen.s, key))
			continue;
		filter_add(j, &seen, key);
		filter_add(j, &g, s->v[i]);
	}
	return g.s;
}

FILTER(filter_unique) {
	return filter_generator(j, filter_yield_unique, self, a);
}

static struct value filter_group(struct jinja *j, struct value key, struct seq *members) {
	struct value v = filter_pair(j, key, value_seq(V_LIST, members));
	v.u.seq->name = "group";
	return v;
}

FILTER(filter_groupby) {
	const struct seq *s = jinja_items(j, self);
	bool sensitive = jinja_arg_truth(a, 2, false);
	struct value otherwise = args_has(a, 1) && a->v[1].type != V_NONE ? a->v[1] : value_missing();
	struct keyed *e = jinja_alloc(j, s->n * sizeof *e);
	for (size_t i = 0; i < s->n; i++)
		e[i] = (struct keyed){
		        filter_ignore_case(j, jinja_path(j, s->v[i], a->v[0], otherwise), sensitive),
		        s->v[i]};
	filter_sort_keyed(j, e, s->n, false);
	struct growing groups = filter_grow(j);
	for (size_t from = 0, end; from < s->n; from = end) {
		struct growing members = filter_grow(j);
		for (end = from; end < s->n && jinja_equal(j, e[end].key, e[from].key); end++)
			filter_add(j, &members, e[end].v);
		if (end == from) /* not equal to itself */
			filter_add(j, &members, e[end++].v);
		filter_add(
		        j, &groups, filter_group(j, jinja_path(j, e[from].v, a->v[0], otherwise), members.s));
	}
	return value_seq(V_LIST, groups.s);
}

FILTER(filter_sum) {
	struct value sum = args_has(a, 1) ? a->v[1] : value_int(0);
	const struct seq *s = jinja_items(j, self);
	if (sum.type == V_STRING)
		jinja_fail(j, -EINVAL, "sum does not begin with a string");
	for (size_t i = 0; i < s->n; i++)
		sum = jinja_add(j, sum, filter_attribute_or(j, s->v[i], a->v[0], value_missing()));
	return sum;
}

/* ---- parts */

static int64_t filter_need_count(struct jinja *j, struct value v) {
	int64_t n = jinja_need_int(j, v, "a count");
	if (n <= 0 || n > 100000)
		jinja_fail(j, -ENOTSUP, "a count of %lld is not supported here", (long long)n);
	return n;
}

GENERATOR(filter_yield_batch) {
	size_t count = (size_t)filter_need_count(j, a->v[0]);
	bool fill = args_has(a, 1) && a->v[1].type != V_NONE;
	struct growing g = filter_grow(j);
	const struct seq *s = jinja_items(j, self);
	for (size_t i = 0; i < s->n; i += count) {
		struct growing part = filter_grow(j);
		for (size_t k = i; k < s->n && k < i + count; k++)
			filter_add(j, &part, s->v[k]);
		while (fill && part.s->n < count)
			filter_add(j, &part, a->v[1]);
		filter_add(j, &g, value_seq(V_LIST, part.s));
	}
	return g.s;
}

FILTER(filter_batch) {
	return filter_generator(j, filter_yield_batch, self, a);
}

GENERATOR(filter_yield_slice) {
	size_t slices = (size_t)filter_need_count(j, a->v[0]), at = 0;
	bool fill = args_has(a, 1) && a->v[1].type != V_NONE;
	struct growing g = filter_grow(j);
	const struct seq *s = jinja_items(j, self);
	for (size_t i = 0; i < slices; i++) {
		struct growing part = filter_grow(j);
		bool longer = i < s->n % slices;
		for (size_t k = 0; k < s->n / slices + longer; k++)
			filter_add(j, &part, s->v[at++]);
		if (fill && !longer)
			filter_add(j, &part, a->v[1]);
		filter_add(j, &g, value_seq(V_LIST, part.s));
	}
	return g.s;
}

FILTER(filter_slice) {
	return filter_generator(j, filter_yield_slice, self, a);
}

/* ---- map, select */

/* map, select and their like take whatever is false for nothing. */
static const struct seq *filter_items_or_none(struct jinja *j, struct value v) {
	return jinja_truth(v) ? jinja_items(j, v) : jinja_seq(j, 0);
}

/* The arguments behind the first n. */
static struct args filter_rest_of(const struct args *a, size_t n) {
	struct args rest = *a;
	rest.v += n;
	rest.n -= n;
	return rest;
}

static struct value filter_find_named(const struct args *a, const char *name) {
	for (size_t i = 0; i < a->nnamed; i++)
		if (jinja_str_is(a->named[i].name, name))
			return a->named[i].v;
	return value_missing();
}

GENERATOR(filter_yield_map) {
	struct growing g = filter_grow(j);
	struct value attribute = filter_find_named(a, "attribute"),
	             otherwise = filter_find_named(a, "default");
	bool by_attribute = a->n == 0 && attribute.type != V_MISSING;
	if (by_attribute && a->nnamed > 1 + (otherwise.type != V_MISSING))
		jinja_fail(j, -EINVAL, "map has no such argument");
	if (!by_attribute && a->n == 0)
		jinja_fail(j, -EINVAL, "map needs a filter or an attribute");
	if (otherwise.type == V_NONE)
		otherwise = value_missing();
	const struct builtin *filter = by_attribute ? NULL : jinja_need_filter(j, jinja_arg_str(j, a, 0));
	struct args rest = by_attribute ? *a : filter_rest_of(a, 1);
	const struct seq *s = filter_items_or_none(j, self);
	for (size_t i = 0; i < s->n; i++)
		filter_add(j, &g,
		        by_attribute ? jinja_path(j, s->v[i], attribute, otherwise)
		                     : jinja_call_builtin(j, filter, s->v[i], &rest, "filter"));
	return g.s;
}

FILTER(filter_map) {
	return filter_generator(j, filter_yield_map, self, a);
}

/* Those for which the test that a[first] names holds, or that are true where none is named. */
static struct seq *filter_choose(struct jinja *j, struct value self, const struct args *a,
        struct value attribute, size_t first, bool holds) {
	struct growing g = filter_grow(j);
	const struct builtin *test = a->n > first ? jinja_need_test(j, jinja_arg_str(j, a, first)) : NULL;
	struct args rest = test ? filter_rest_of(a, first + 1) : *a;
	const struct seq *s = filter_items_or_none(j, self);
	for (size_t i = 0; i < s->n; i++) {
		struct value v = filter_attribute_or(j, s->v[i], attribute, value_missing());
		struct value is = test ? jinja_call_builtin(j, test, v, &rest, "test") : v;
		if (jinja_truth(is) == holds)
			filter_add(j, &g, s->v[i]);
	}
	return g.s;
}

GENERATOR(filter_yield_select) {
	return filter_choose(j, self, a, value_missing(), 0, true);
}

FILTER(filter_select) {
	return filter_generator(j, filter_yield_select, self, a);
}

GENERATOR(filter_yield_reject) {
	return filter_choose(j, self, a, value_missing(), 0, false);
}

FILTER(filter_reject) {
	return filter_generator(j, filter_yield_reject, self, a);
}

static struct value filter_need_attribute(struct jinja *j, const struct args *a) {
	if (a->n == 0)
		jinja_fail(j, -EINVAL, "the name of an attribute is missing");
	return a->v[0];
}

GENERATOR(filter_yield_selectattr) {
	return filter_choose(j, self, a, filter_need_attribute(j, a), 1, true);
}

FILTER(filter_selectattr) {
	return filter_generator(j, filter_yield_selectattr, self, a);
}

GENERATOR(filter_yield_rejectattr) {
	return filter_choose(j, self, a, filter_need_attribute(j, a), 1, false);
}

FILTER(filter_rejectattr) {
	return filter_generator(j, filter_yield_rejectattr, self, a);
}

const struct builtin jinja_sequence_filters[] = {
        {"batch", "linecount fill_with", 1, filter_batch},
        {"count", "", 0, filter_length},
        {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
        {"first", "", 0, filter_first},
        {"groupby", "attribute default case_sensitive", 1, filter_groupby},
        {"items", "", 0, filter_items},
        {"join", "d attribute", 0, filter_join},
        {"last", "", 0, filter_last},
        {"length", "", 0, filter_length},
        {"list", "", 0, filter_list},
        {"map", "**", 0, filter_map},
        {"max", "case_sensitive attribute", 0, filter_max},
        {"min", "case_sensitive attribute", 0, filter_min},
        {"reject", "**", 0, filter_reject},
        {"rejectattr", "**", 0, filter_rejectattr},
        {"reverse", "", 0, filter_reverse},
        {"select", "**", 0, filter_select},
        {"selectattr", "**", 0, filter_selectattr},
        {"slice", "slices fill_with", 1, filter_slice},
        {"sort", "reverse case_sensitive attribute", 0, filter_sort},
        {"sum", "attribute start", 0, filter_sum},
        {"unique", "case_sensitive attribute", 0, filter_unique},
};
const size_t jinja_sequence_filter_count = sizeof jinja_sequence_filters / sizeof jinja_sequence_filters[0];
