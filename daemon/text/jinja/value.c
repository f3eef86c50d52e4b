/* value: sequences, dicts, what is true, equal, less.
 * One thread. */
#include "daemon/text/jinja/value_internal.h"
#include "daemon/text/utf8.h"
#include <math.h>
#include <string.h>

struct seq *jinja_seq(struct jinja *j, size_t n) {
	struct seq *s = jinja_alloc(j, sizeof *s);
	if (n > SIZE_MAX / sizeof *s->v)
		jinja_fail(j, -E2BIG, "a sequence of %zu items is too long", n);
	s->v = jinja_alloc(j, n * sizeof *s->v);
	s->n = n;
	return s;
}

void jinja_seq_add(struct jinja *j, struct seq *s, size_t *cap, struct value v) {
	if (s->n == *cap) {
		size_t more = *cap ? 2 * *cap : 8;
		struct value *grown = jinja_alloc(j, more * sizeof *grown);
		if (s->n)
			memcpy(grown, s->v, s->n * sizeof *grown);
		s->v = grown;
		*cap = more;
	}
	s->v[s->n++] = v;
}

struct dict *jinja_dict(struct jinja *j) {
	return jinja_alloc(j, sizeof(struct dict));
}

static void value_need_hashable(struct jinja *j, struct value key) {
	jinja_step(j, 0);
	if (key.type == V_LIST || key.type == V_DICT)
		jinja_fail(j, -EINVAL, "a %s cannot be a key", jinja_type_name(key));
	if (key.type == V_TUPLE)
		for (size_t i = 0; i < key.u.seq->n; i++) {
			jinja_enter(j);
			value_need_hashable(j, key.u.seq->v[i]);
			jinja_leave(j);
		}
}

struct value *jinja_dict_find(struct jinja *j, const struct dict *d, struct value key) {
	value_need_hashable(j, key);
	if (key.type == V_STRING) {
		jinja_step(j, d->n * 4);
		return jinja_dict_find_text(d, key.u.s->p, key.u.s->len);
	}
	for (size_t i = 0; i < d->n; i++)
		if (jinja_equal(j, d->e[i].key, key))
			return &d->e[i].value;
	return NULL;
}

struct value *jinja_dict_find_text(const struct dict *d, const char *key, size_t len) {
	for (size_t i = 0; i < d->n; i++) {
		const struct value *k = &d->e[i].key;
		if (k->type == V_STRING && k->u.s->len == len && memcmp(k->u.s->p, key, len) == 0)
			return &d->e[i].value;
	}
	return NULL;
}

void jinja_dict_set(struct jinja *j, struct dict *d, struct value key, struct value v) {
	struct value *there = jinja_dict_find(j, d, key);
	if (there) {
		*there = v;
		return;
	}
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 4;
		struct pair *e = jinja_alloc(j, cap * sizeof *e);
		if (d->n)
			memcpy(e, d->e, d->n * sizeof *e);
		d->e = e;
		d->cap = cap;
	}
	d->e[d->n++] = (struct pair){key, v};
}

static struct seq *value_characters(struct jinja *j, const struct str *s) {
	struct seq *out = jinja_seq(j, s->chars);
	for (size_t i = 0, at = 0, n; at < s->len; at += n, i++) {
		utf8_next(s->p + at, s->len - at, &n);
		jinja_step(j, 0);
		struct str *c = (struct str *)jinja_sub(j, s, at, at + n);
		c->markup = false;
		out->v[i] = value_str(c);
	}
	return out;
}

static struct seq *value_dict_keys(struct jinja *j, const struct dict *d) {
	struct seq *out = jinja_seq(j, d->n);
	for (size_t i = 0; i < d->n; i++)
		out->v[i] = d->e[i].key;
	return out;
}

void jinja_realize(struct jinja *j, struct seq *s) {
	const struct pending *p = s->pending;
	if (!p)
		return;
	s->pending = NULL;
	const struct seq *made = p->make(j, p->self, p->a);
	s->v = made->v;
	s->n = made->n;
}

bool jinja_iterable(struct value v) {
	switch (v.type) {
	case V_UNDEFINED:
	case V_STRING:
	case V_LIST:
	case V_TUPLE:
	case V_DICT:
	case V_RANGE:
	case V_VIEW:
	case V_ITERATOR:
	case V_LOOP:
		return true;
	default:
		return false;
	}
}

static struct seq *value_use_up(struct jinja *j, struct seq *s) {
	struct seq *rest = jinja_seq(j, 0);
	jinja_realize(j, s);
	rest->v = s->v + s->at;
	rest->n = s->n - s->at;
	s->at = s->n;
	return rest;
}

struct seq *jinja_items(struct jinja *j, struct value v) {
	switch (v.type) {
	case V_UNDEFINED:
		return jinja_seq(j, 0);
	case V_STRING:
		return value_characters(j, v.u.s);
	case V_LIST:
	case V_TUPLE:
	case V_RANGE:
	case V_VIEW:
		return v.u.seq;
	case V_DICT:
		return value_dict_keys(j, v.u.dict);
	case V_ITERATOR:
		return value_use_up(j, v.u.seq);
	case V_LOOP:
		jinja_fail(j, -ENOTSUP, "going over the loop variable itself is not supported");
	default:
		jinja_fail(j, -EINVAL, "a %s cannot be gone over: it has no items", jinja_type_name(v));
	}
}

bool jinja_truth(struct value v) {
	switch (v.type) {
	case V_MISSING:
	case V_UNDEFINED:
	case V_NONE:
		return false;
	case V_BOOL:
		return v.u.b;
	case V_INT:
		return v.u.i != 0;
	case V_FLOAT:
		return v.u.f != 0;
	case V_STRING:
		return v.u.s->len > 0;
	case V_LIST:
	case V_TUPLE:
	case V_RANGE:
	case V_VIEW:
		return v.u.seq->n > 0;
	case V_DICT:
		return v.u.dict->n > 0;
	default:
		return true;
	}
}

bool jinja_is_integer(struct value v) {
	return v.type == V_INT || v.type == V_BOOL;
}

bool jinja_is_number(struct value v) {
	return jinja_is_integer(v) || v.type == V_FLOAT;
}

int64_t jinja_integer(struct value v) {
	return v.type == V_BOOL ? v.u.b : v.u.i;
}

double jinja_number(struct value v) {
	return v.type == V_FLOAT ? v.u.f : (double)jinja_integer(v);
}

/* Integers against floats exactly, as Python does. */
static int value_compare_int_float(int64_t i, double f) {
	if (isnan(f))
		return NOT_ORDERED;
	if (f >= 0x1p63)
		return -1;
	if (f < -0x1p63)
		return 1;
	int64_t whole = (int64_t)f; /* towards zero */
	if (i != whole)
		return i < whole ? -1 : 1;
	double rest = f - (double)whole;
	return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int value_compare_numbers(struct value a, struct value b) {
	if (a.type == V_FLOAT && b.type == V_FLOAT) {
		if (isnan(a.u.f) || isnan(b.u.f))
			return NOT_ORDERED;
		return a.u.f < b.u.f ? -1 : a.u.f > b.u.f;
	}
	if (a.type == V_FLOAT) {
		int c = value_compare_int_float(jinja_integer(b), a.u.f);
		return c == NOT_ORDERED ? c : -c;
	}
	if (b.type == V_FLOAT)
		return value_compare_int_float(jinja_integer(a), b.u.f);
	int64_t x = jinja_integer(a), y = jinja_integer(b);
	return x < y ? -1 : x > y;
}

static bool value_equal_dicts(struct jinja *j, const struct dict *a, const struct dict *b) {
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct value *v = jinja_dict_find(j, b, a->e[i].key);
		if (!v || !jinja_equal(j, a->e[i].value, *v))
			return false;
	}
	return true;
}

static bool value_equal_seqs(struct jinja *j, const struct seq *a, const struct seq *b) {
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!jinja_equal(j, a->v[i], b->v[i]))
			return false;
	return true;
}

static bool value_equal_parts(struct jinja *j, struct value a, struct value b) {
	switch (a.type) {
	case V_UNDEFINED:
	case V_NONE:
		return true;
	case V_STRING:
		return jinja_str_equal(a.u.s, b.u.s);
	case V_LIST:
	case V_TUPLE:
	case V_RANGE:
		return value_equal_seqs(j, a.u.seq, b.u.seq);
	case V_DICT:
		return value_equal_dicts(j, a.u.dict, b.u.dict);
	case V_VIEW:
		if (a.u.seq->name == b.u.seq->name && strcmp(a.u.seq->name, "dict_values") != 0)
			jinja_fail(j, -ENOTSUP, "comparing %s is not supported", a.u.seq->name);
		return a.u.seq == b.u.seq;
	default:
		return a.u.seq == b.u.seq; /* the same thing */
	}
}

bool jinja_equal(struct jinja *j, struct value a, struct value b) {
	jinja_step(j, a.type == V_STRING ? a.u.s->len : 0);
	if (jinja_is_number(a) && jinja_is_number(b))
		return value_compare_numbers(a, b) == 0;
	if (a.type != b.type)
		return false;
	jinja_enter(j);
	bool equal = value_equal_parts(j, a, b);
	jinja_leave(j);
	return equal;
}

static int value_compare_strings(const struct str *a, const struct str *b) {
	size_t n = a->len < b->len ? a->len : b->len;
	int c = n ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts as code points do */
	return c ? (c < 0 ? -1 : 1) : a->len < b->len ? -1 : a->len > b->len;
}

static int value_compare_seqs(struct jinja *j, const struct seq *a, const struct seq *b, const char *op) {
	for (size_t i = 0; i < a->n && i < b->n; i++)
		if (!jinja_equal(j, a->v[i], b->v[i]))
			return jinja_compare(j, a->v[i], b->v[i], op);
	return a->n < b->n ? -1 : a->n > b->n;
}

int jinja_compare(struct jinja *j, struct value a, struct value b, const char *op) {
	jinja_step(j, a.type == V_STRING ? a.u.s->len : 0);
	if (jinja_is_number(a) && jinja_is_number(b))
		return value_compare_numbers(a, b);
	if (a.type == V_STRING && b.type == V_STRING)
		return value_compare_strings(a.u.s, b.u.s);
	if (a.type == b.type && (a.type == V_LIST || a.type == V_TUPLE)) {
		jinja_enter(j);
		int c = value_compare_seqs(j, a.u.seq, b.u.seq, op);
		jinja_leave(j);
		return c;
	}
	jinja_need_defined(j, a);
	jinja_need_defined(j, b);
	if (a.type == V_VIEW && b.type == V_VIEW)
		jinja_fail(j, -ENOTSUP, "%s between %s is not supported", op, a.u.seq->name);
	jinja_fail(
	        j, -EINVAL, "%s does not compare a %s and a %s", op, jinja_type_name(a), jinja_type_name(b));
}

const char *jinja_type_name(struct value v) {
	static const char *const name[] = {
	        [V_MISSING] = "missing value",
	        [V_UNDEFINED] = "undefined value",
	        [V_NONE] = "none",
	        [V_BOOL] = "bool",
	        [V_INT] = "int",
	        [V_FLOAT] = "float",
	        [V_STRING] = "string",
	        [V_LIST] = "list",
	        [V_TUPLE] = "tuple",
	        [V_DICT] = "dict",
	        [V_RANGE] = "range",
	        [V_VIEW] = "view of a dict",
	        [V_ITERATOR] = "generator",
	        [V_NAMESPACE] = "namespace",
	        [V_FUNCTION] = "function",
	        [V_MACRO] = "macro",
	        [V_LOOP] = "loop",
	        [V_CYCLER] = "cycler",
	        [V_JOINER] = "joiner",
	};
	return name[v.type];
}

void jinja_need_defined(struct jinja *j, struct value v) {
	if (v.type != V_UNDEFINED)
		return;
	const char *s = v.u.s ? v.u.s->p : "";
	int len = v.u.s ? (int)(v.u.s->len < 200 ? v.u.s->len : 200) : 0;
	switch (v.undefined) {
	case UNDEFINED_NAME:
		jinja_fail(j, -EINVAL, "'%.*s' is undefined", len, s);
	case UNDEFINED_ATTRIBUTE:
		jinja_fail(j, -EINVAL, "the value has no '%.*s'", len, s);
	case UNDEFINED_CHANGES:
		jinja_fail(j, -EINVAL, "'%.*s' is not for templates: values may not be changed", len, s);
	case UNDEFINED_HINT:
		jinja_fail(j, -EINVAL, "%.*s", len, s);
	}
}
