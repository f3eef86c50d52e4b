/* builtins: tests, global functions, the methods of containers, and how arguments are read.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BUILTIN(name) static struct value name(struct jinja *j, struct value self, const struct args *a)

/* ---- arguments */

int64_t jinja_need_int(struct jinja *j, struct value v, const char *what) {
	jinja_need_defined(j, v);
	if (!jinja_is_integer(v))
		jinja_fail(j, -EINVAL, "%s must be an integer, not a %s", what, jinja_type_name(v));
	return jinja_integer(v);
}

const struct str *jinja_need_str(struct jinja *j, struct value v, const char *what) {
	jinja_need_defined(j, v);
	if (v.type != V_STRING)
		jinja_fail(j, -EINVAL, "%s must be a string, not a %s", what, jinja_type_name(v));
	return v.u.s;
}

int64_t jinja_arg_int(struct jinja *j, const struct args *a, size_t i, int64_t otherwise) {
	return args_has(a, i) ? jinja_need_int(j, a->v[i], "the argument") : otherwise;
}

bool jinja_arg_truth(const struct args *a, size_t i, bool otherwise) {
	return args_has(a, i) ? jinja_truth(a->v[i]) : otherwise;
}

const struct str *jinja_arg_str(struct jinja *j, const struct args *a, size_t i) {
	return args_has(a, i) ? jinja_need_str(j, a->v[i], "the argument") : NULL;
}

const struct builtin *jinja_find_builtin(const struct builtin *table, size_t n, const struct str *name) {
	for (size_t i = 0; i < n; i++)
		if (jinja_str_is(name, table[i].name))
			return &table[i];
	return NULL;
}

const struct builtin *jinja_filter(const struct str *name) {
	const struct builtin *b = jinja_find_builtin(jinja_text_filters, jinja_text_filter_count, name);
	return b ? b : jinja_find_builtin(jinja_sequence_filters, jinja_sequence_filter_count, name);
}

/* ---- tests */

static bool builtin_remainder_is(struct jinja *j, struct value v, struct value by, int64_t r) {
	return jinja_equal(j, jinja_binary(j, OP_MOD, v, by), value_int(r));
}

BUILTIN(test_odd) {
	return value_bool(builtin_remainder_is(j, self, value_int(2), 1));
}
BUILTIN(test_even) {
	return value_bool(builtin_remainder_is(j, self, value_int(2), 0));
}
BUILTIN(test_divisibleby) {
	return value_bool(builtin_remainder_is(j, self, a->v[0], 0));
}
BUILTIN(test_defined) {
	return value_bool(self.type != V_UNDEFINED);
}
BUILTIN(test_undefined) {
	return value_bool(self.type == V_UNDEFINED);
}
BUILTIN(test_none) {
	return value_bool(self.type == V_NONE);
}
BUILTIN(test_boolean) {
	return value_bool(self.type == V_BOOL);
}
BUILTIN(test_false) {
	return value_bool(self.type == V_BOOL && !self.u.b);
}
BUILTIN(test_true) {
	return value_bool(self.type == V_BOOL && self.u.b);
}
BUILTIN(test_integer) {
	return value_bool(self.type == V_INT);
}
BUILTIN(test_float) {
	return value_bool(self.type == V_FLOAT);
}
BUILTIN(test_number) {
	return value_bool(jinja_is_number(self));
}
BUILTIN(test_string) {
	return value_bool(self.type == V_STRING);
}
BUILTIN(test_mapping) {
	return value_bool(self.type == V_DICT);
}
BUILTIN(test_iterable) {
	return value_bool(jinja_iterable(self));
}
BUILTIN(test_sequence) {
	return value_bool(jinja_iterable(self) && self.type != V_VIEW && self.type != V_ITERATOR &&
	                  self.type != V_LOOP);
}
BUILTIN(test_callable) {
	return value_bool(self.type == V_FUNCTION || self.type == V_MACRO || self.type == V_LOOP ||
	                  self.type == V_JOINER || self.type == V_UNDEFINED);
}
BUILTIN(test_escaped) {
	return value_bool(self.type == V_STRING && self.u.s->markup);
}
BUILTIN(test_in) {
	return value_bool(jinja_contains(j, a->v[0], self));
}
BUILTIN(test_filter) {
	return value_bool(jinja_filter(jinja_need_str(j, self, "the name of a filter")) != NULL);
}
BUILTIN(test_test) {
	return value_bool(jinja_test(jinja_need_str(j, self, "the name of a test")) != NULL);
}

static struct value builtin_str_test(struct jinja *j, struct value self, const char *method, size_t len) {
	const struct args none = {0};
	const struct builtin *b = jinja_str_method(jinja_str(j, method, len));
	return b->call(j, value_str(jinja_to_str(j, self)), &none);
}
BUILTIN(test_lower) {
	return builtin_str_test(j, self, "islower", 7);
}
BUILTIN(test_upper) {
	return builtin_str_test(j, self, "isupper", 7);
}

/* Python keeps one object for none, true, false, and each small integer. */
BUILTIN(test_sameas) {
	struct value b = a->v[0];
	if (self.type != b.type)
		return value_bool(false);
	switch (self.type) {
	case V_NONE:
		return value_bool(true);
	case V_BOOL:
		return value_bool(self.u.b == b.u.b);
	case V_INT:
		return value_bool(self.u.i == b.u.i && self.u.i >= -5 && self.u.i <= 256);
	case V_FLOAT:
	case V_UNDEFINED:
		jinja_fail(j, -ENOTSUP, "sameas of a %s is not supported", jinja_type_name(self));
	default:
		return value_bool(self.u.seq == b.u.seq);
	}
}

BUILTIN(test_eq) {
	return value_bool(jinja_compare_op(j, OP_EQ, self, a->v[0]));
}
BUILTIN(test_ne) {
	return value_bool(jinja_compare_op(j, OP_NE, self, a->v[0]));
}
BUILTIN(test_lt) {
	return value_bool(jinja_compare_op(j, OP_LT, self, a->v[0]));
}
BUILTIN(test_le) {
	return value_bool(jinja_compare_op(j, OP_LE, self, a->v[0]));
}
BUILTIN(test_gt) {
	return value_bool(jinja_compare_op(j, OP_GT, self, a->v[0]));
}
BUILTIN(test_ge) {
	return value_bool(jinja_compare_op(j, OP_GE, self, a->v[0]));
}

static const struct builtin tests[] = {
        {"!=", "other", 1, test_ne},
        {"<", "other", 1, test_lt},
        {"<=", "other", 1, test_le},
        {"==", "other", 1, test_eq},
        {">", "other", 1, test_gt},
        {">=", "other", 1, test_ge},
        {"boolean", "", 0, test_boolean},
        {"callable", "", 0, test_callable},
        {"defined", "", 0, test_defined},
        {"divisibleby", "num", 1, test_divisibleby},
        {"eq", "other", 1, test_eq},
        {"equalto", "other", 1, test_eq},
        {"escaped", "", 0, test_escaped},
        {"even", "", 0, test_even},
        {"false", "", 0, test_false},
        {"filter", "", 0, test_filter},
        {"float", "", 0, test_float},
        {"ge", "other", 1, test_ge},
        {"greaterthan", "other", 1, test_gt},
        {"gt", "other", 1, test_gt},
        {"in", "seq", 1, test_in},
        {"integer", "", 0, test_integer},
        {"iterable", "", 0, test_iterable},
        {"le", "other", 1, test_le},
        {"lessthan", "other", 1, test_lt},
        {"lower", "", 0, test_lower},
        {"lt", "other", 1, test_lt},
        {"mapping", "", 0, test_mapping},
        {"ne", "other", 1, test_ne},
        {"none", "", 0, test_none},
        {"number", "", 0, test_number},
        {"odd", "", 0, test_odd},
        {"sameas", "other", 1, test_sameas},
        {"sequence", "", 0, test_sequence},
        {"string", "", 0, test_string},
        {"test", "", 0, test_test},
        {"true", "", 0, test_true},
        {"undefined", "", 0, test_undefined},
        {"upper", "", 0, test_upper},
};

const struct builtin *jinja_test(const struct str *name) {
	return jinja_find_builtin(tests, sizeof tests / sizeof tests[0], name);
}

/* ---- global functions */

#define RANGE_MAX 100000 /* that of Jinja's sandbox */

BUILTIN(make_range) {
	struct seq *s = jinja_seq(j, 0);
	s->start = a->n > 1 ? jinja_need_int(j, a->v[0], "where a range begins") : 0;
	s->stop = jinja_need_int(j, a->v[a->n > 1], "where a range ends");
	s->step = a->n > 2 ? jinja_need_int(j, a->v[2], "the step of a range") : 1;
	if (s->step == 0 || a->n > 3)
		jinja_fail(j, -EINVAL, "a range has a start, an end and a step other than 0");
	size_t cap = 0;
	for (int64_t i = s->start; s->step > 0 ? i < s->stop : i > s->stop;) {
		if (s->n == RANGE_MAX)
			jinja_fail(j, -EINVAL, "a range has at most %d items", RANGE_MAX);
		jinja_step(j, 0);
		jinja_seq_add(j, s, &cap, value_int(i));
		if (s->step > 0 ? i > INT64_MAX - s->step : i < INT64_MIN - s->step)
			break;
		i += s->step;
	}
	return value_seq(V_RANGE, s);
}

static struct dict *builtin_copy_dict(struct jinja *j, const struct dict *d) {
	struct dict *copy = jinja_dict(j);
	copy->n = copy->cap = d->n;
	copy->e = jinja_alloc(j, d->n * sizeof *d->e);
	if (d->n)
		memcpy(copy->e, d->e, d->n * sizeof *d->e);
	return copy;
}

static struct dict *dict_from(struct jinja *j, struct value of) {
	if (of.type == V_DICT)
		return builtin_copy_dict(j, of.u.dict);
	struct dict *d = jinja_dict(j);
	const struct seq *s = jinja_items(j, of);
	for (size_t i = 0; i < s->n; i++) {
		const struct seq *pair = jinja_items(j, s->v[i]);
		if (pair->n != 2)
			jinja_fail(j, -EINVAL, "a dict is made of pairs");
		jinja_dict_set(j, d, pair->v[0], pair->v[1]);
	}
	return d;
}

static struct dict *builtin_make(struct jinja *j, const struct args *a) {
	if (a->n > 1)
		jinja_fail(j, -EINVAL, "a dict is made of one value, and names");
	struct dict *d = a->n ? dict_from(j, a->v[0]) : jinja_dict(j);
	for (size_t i = 0; i < a->nnamed; i++)
		jinja_dict_set(j, d, value_str(a->named[i].name), a->named[i].v);
	return d;
}

BUILTIN(make_dict) {
	return value_dict(builtin_make(j, a));
}

BUILTIN(make_namespace) {
	return (struct value){.type = V_NAMESPACE, .u.dict = builtin_make(j, a)};
}

BUILTIN(make_joiner) {
	struct joiner *joiner = jinja_alloc(j, sizeof *joiner);
	joiner->sep = args_has(a, 0) ? jinja_arg_str(j, a, 0) : jinja_str(j, ", ", 2);
	return (struct value){.type = V_JOINER, .u.joiner = joiner};
}

BUILTIN(make_cycler) {
	struct seq *s = jinja_seq(j, a->n);
	memcpy(s->v, a->v, a->n * sizeof *s->v);
	return value_seq(V_CYCLER, s);
}

BUILTIN(builtin_raise_exception) {
	const struct str *s = jinja_to_str(j, a->v[0]);
	jinja_fail(
	        j, -EBADMSG, "the template refuses this: %.*s", (int)(s->len < 4096 ? s->len : 4096), s->p);
}

BUILTIN(builtin_strftime_now) {
	const struct str *format = jinja_arg_str(j, a, 0);
	char form[256], text[1024];
	struct tm tm;
	time_t now = (time_t)j->now;
	if (format->len >= sizeof form - 1 || memchr(format->p, 0, format->len))
		jinja_fail(j, -E2BIG, "the format of strftime_now is too long");
	/* with a character in front, since nothing is a result of strftime too */
	snprintf(form, sizeof form, "x%.*s", (int)format->len, format->p);
	if (strstr(form, "%f") || strstr(form, "%z") || strstr(form, "%Z"))
		jinja_fail(j, -ENOTSUP, "strftime_now: %%f, %%z and %%Z are not supported");
	if (!localtime_r(&now, &tm) || strftime(text, sizeof text, form, &tm) == 0)
		jinja_fail(j, -EINVAL, "strftime_now: the format cannot be used");
	return jinja_text(j, text + 1);
}

BUILTIN(builtin_lipsum) {
	jinja_fail(j, -ENOTSUP, "lipsum is not supported");
}

static const struct builtin globals[] = {
        {"cycler", "*", 1, make_cycler},
        {"dict", "**", 0, make_dict},
        {"joiner", "sep", 0, make_joiner},
        {"lipsum", "**", 0, builtin_lipsum},
        {"namespace", "**", 0, make_namespace},
        {"raise_exception", "message", 1, builtin_raise_exception},
        {"range", "*", 1, make_range},
        {"strftime_now", "format", 1, builtin_strftime_now},
};

const struct builtin *jinja_global(const struct str *name) {
	return jinja_find_builtin(globals, sizeof globals / sizeof globals[0], name);
}

/* ---- dict, list, tuple */

static struct value builtin_view(struct seq *s, const char *name) {
	s->name = name;
	return value_seq(V_VIEW, s);
}

BUILTIN(dict_keys) {
	const struct dict *d = self.u.dict;
	struct seq *s = jinja_seq(j, d->n);
	for (size_t i = 0; i < d->n; i++)
		s->v[i] = d->e[i].key;
	return builtin_view(s, "dict_keys");
}

BUILTIN(dict_values) {
	const struct dict *d = self.u.dict;
	struct seq *s = jinja_seq(j, d->n);
	for (size_t i = 0; i < d->n; i++)
		s->v[i] = d->e[i].value;
	return builtin_view(s, "dict_values");
}

BUILTIN(dict_items) {
	const struct dict *d = self.u.dict;
	struct seq *s = jinja_seq(j, d->n);
	for (size_t i = 0; i < d->n; i++) {
		struct seq *pair = jinja_seq(j, 2);
		pair->v[0] = d->e[i].key;
		pair->v[1] = d->e[i].value;
		s->v[i] = value_seq(V_TUPLE, pair);
	}
	return builtin_view(s, "dict_items");
}

BUILTIN(dict_get) {
	const struct value *v = jinja_dict_find(j, self.u.dict, a->v[0]);
	return v ? *v : args_has(a, 1) ? a->v[1] : value_none();
}

BUILTIN(dict_copy) {
	return value_dict(builtin_copy_dict(j, self.u.dict));
}

BUILTIN(list_count) {
	int64_t n = 0;
	for (size_t i = 0; i < self.u.seq->n; i++)
		n += jinja_equal(j, self.u.seq->v[i], a->v[0]);
	return value_int(n);
}

static size_t list_bound(struct jinja *j, const struct args *a, size_t i, size_t n, size_t otherwise) {
	if (!args_has(a, i))
		return otherwise;
	int64_t at = jinja_need_int(j, a->v[i], "a bound");
	at = at < 0 ? at + (int64_t)n : at;
	return at < 0 ? 0 : at > (int64_t)n ? n : (size_t)at;
}

BUILTIN(list_index) {
	const struct seq *s = self.u.seq;
	size_t end = list_bound(j, a, 2, s->n, s->n);
	for (size_t i = list_bound(j, a, 1, s->n, 0); i < end; i++)
		if (jinja_equal(j, s->v[i], a->v[0]))
			return value_int((int64_t)i);
	jinja_fail(j, -EINVAL, "index: what is looked for is not there");
}

BUILTIN(list_copy) {
	struct seq *s = jinja_seq(j, self.u.seq->n);
	if (s->n)
		memcpy(s->v, self.u.seq->v, s->n * sizeof *s->v);
	return value_seq(V_LIST, s);
}

const struct builtin *jinja_container_method(enum value_type type, const struct str *name) {
	static const struct builtin of_dict[] = {
	        {"copy", "", 0, dict_copy},
	        {"get", "key default", 1, dict_get},
	        {"items", "", 0, dict_items},
	        {"keys", "", 0, dict_keys},
	        {"values", "", 0, dict_values},
	};
	static const struct builtin of_list[] = {
	        {"count", "value", 1, list_count}, {"index", "value start stop", 1, list_index},
	        {"copy", "", 0, list_copy}, /* the last one: tuples have none */
	};
	if (type == V_DICT)
		return jinja_find_builtin(of_dict, sizeof of_dict / sizeof of_dict[0], name);
	return jinja_find_builtin(of_list, type == V_LIST ? 3 : 2, name);
}

/* ---- loop and cycler */

BUILTIN(loop_cycle) {
	return a->v[self.u.loop->index0 % a->n];
}

BUILTIN(loop_changed) {
	struct seq *s = jinja_seq(j, a->n);
	if (a->n)
		memcpy(s->v, a->v, a->n * sizeof *s->v);
	struct value now = value_seq(V_TUPLE, s), *before = &self.u.loop->changed;
	bool changed = before->type == V_MISSING || !jinja_equal(j, *before, now);
	*before = now;
	return value_bool(changed);
}

BUILTIN(cycler_next) {
	(void)j;
	struct seq *s = self.u.seq;
	struct value v = s->v[s->at];
	s->at = (s->at + 1) % s->n;
	return v;
}

BUILTIN(cycler_reset) {
	(void)j;
	self.u.seq->at = 0;
	return value_none();
}

const struct builtin *jinja_object_method(enum value_type type, const struct str *name) {
	static const struct builtin of_loop[] = {
	        {"cycle", "*", 1, loop_cycle},
	        {"changed", "*", 0, loop_changed},
	};
	static const struct builtin of_cycler[] = {
	        {"next", "", 0, cycler_next},
	        {"reset", "", 0, cycler_reset},
	};
	return jinja_find_builtin(type == V_LOOP ? of_loop : of_cycler, 2, name);
}
