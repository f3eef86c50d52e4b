/* eval: expressions, calls, variables.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include <string.h>

struct scope *jinja_scope(struct jinja *j, struct scope *parent) {
	struct scope *s = jinja_alloc(j, sizeof *s);
	s->parent = parent;
	return s;
}

static struct value *eval_find_binding(struct jinja *j, const struct scope *s, const struct str *name) {
	jinja_step(j, s->n * 16);
	for (size_t i = 0; i < s->n; i++)
		if (jinja_str_equal(s->b[i].name, name))
			return &s->b[i].v;
	return NULL;
}

void jinja_bind(struct jinja *j, struct scope *s, const struct str *name, struct value v) {
	struct value *there = eval_find_binding(j, s, name);
	if (there) {
		*there = v;
		return;
	}
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 4;
		struct binding *b = jinja_alloc(j, cap * sizeof *b);
		if (s->n)
			memcpy(b, s->b, s->n * sizeof *b);
		s->b = b;
		s->cap = cap;
	}
	s->b[s->n++] = (struct binding){name, v};
}

static struct value eval_lookup(struct jinja *j, const struct str *name) {
	for (const struct scope *s = j->scope; s; s = s->parent) {
		const struct value *v = eval_find_binding(j, s, name);
		for (size_t i = 0; !v && i < 2; i++)
			v = s->variables[i] ? jinja_dict_find(j, s->variables[i], value_str(name)) : NULL;
		if (v)
			return *v;
	}
	const struct builtin *b = jinja_global(name);
	if (!b && jinja_str_is(name, "self"))
		jinja_fail(j, -ENOTSUP, "self is not supported");
	if (!b)
		return value_undefined(UNDEFINED_NAME, name);
	struct function *f = jinja_alloc(j, sizeof *f);
	f->builtin = b;
	return (struct value){.type = V_FUNCTION, .u.function = f};
}

static void eval_assign_parts(struct jinja *j, const struct node *target, struct value v) {
	size_t want = 0;
	for (const struct node *n = target->list; n; n = n->next)
		want++;
	const struct seq *s = jinja_items(j, v);
	if (s->n != want)
		jinja_fail(j, -EINVAL, "%zu names are assigned %zu values", want, s->n);
	const struct value *item = s->v;
	for (const struct node *n = target->list; n; n = n->next)
		jinja_assign(j, n, *item++);
}

void jinja_assign(struct jinja *j, const struct node *target, struct value v) {
	if (target->type == N_NAME) {
		jinja_bind(j, j->scope, target->name, v);
	} else if (target->type == N_NAMESPACE) {
		struct value ns = eval_lookup(j, target->name);
		jinja_need_defined(j, ns);
		if (ns.type != V_NAMESPACE)
			jinja_fail(j, -EINVAL, "'%.*s' is not a namespace: its attributes cannot be set",
			        (int)target->name->len, target->name->p);
		jinja_dict_set(j, ns.u.dict, value_str(target->attribute), v);
	} else {
		jinja_enter(j);
		eval_assign_parts(j, target, v);
		jinja_leave(j);
	}
}

/* ---- calls */

static void eval_add_named(
        struct jinja *j, struct args *a, size_t *cap, const struct str *name, struct value v) {
	jinja_step(j, a->nnamed * 16);
	for (size_t i = 0; i < a->nnamed; i++)
		if (jinja_str_equal(a->named[i].name, name))
			jinja_fail(j, -EINVAL, "the argument '%.*s' is given twice", (int)name->len, name->p);
	if (a->nnamed == *cap) {
		*cap = *cap ? 2 * *cap : 4;
		struct named *grown = jinja_alloc(j, *cap * sizeof *grown);
		if (a->nnamed)
			memcpy(grown, a->named, a->nnamed * sizeof *grown);
		a->named = grown;
	}
	a->named[a->nnamed++] = (struct named){name, v};
}

static void eval_add_dict(struct jinja *j, struct args *a, size_t *cap, struct value of) {
	jinja_need_defined(j, of);
	if (of.type != V_DICT)
		jinja_fail(j, -EINVAL, "** needs a dict, not a %s", jinja_type_name(of));
	for (size_t i = 0; i < of.u.dict->n; i++)
		eval_add_named(j, a, cap, jinja_need_str(j, of.u.dict->e[i].key, "a key behind **"),
		        of.u.dict->e[i].value);
}

struct args jinja_eval_args(struct jinja *j, const struct node *list) {
	struct seq positions = {0};
	struct args a = {0};
	size_t cap = 0, named_cap = 0;
	for (const struct node *n = list; n; n = n->next) {
		if (n->type == N_NAMED) {
			eval_add_named(j, &a, &named_cap, n->name, jinja_eval(j, n->a));
		} else if (n->type == N_STARSTAR) {
			eval_add_dict(j, &a, &named_cap, jinja_eval(j, n->a));
		} else if (n->type == N_STAR) {
			const struct seq *more = jinja_items(j, jinja_eval(j, n->a));
			for (size_t i = 0; i < more->n; i++)
				jinja_seq_add(j, &positions, &cap, more->v[i]);
		} else {
			jinja_seq_add(j, &positions, &cap, jinja_eval(j, n));
		}
	}
	a.v = positions.v;
	a.n = positions.n;
	return a;
}

/* The number of parameters, and where name stands among them, SIZE_MAX for nowhere. */
static size_t eval_count_parameters(const char *parameters, const struct str *name, size_t *at) {
	size_t n = 0;
	for (const char *p = parameters; *p; n++) {
		size_t len = strcspn(p, " ");
		if (name && len == name->len && memcmp(p, name->p, len) == 0)
			*at = n;
		p += len + (p[len] == ' ');
	}
	return n;
}

static void eval_refuse_count(struct jinja *j, const struct builtin *b, const char *kind) {
	jinja_fail(j, -EINVAL, "the %s %s is called with a wrong number of arguments", kind, b->name);
}

static void eval_place_named(
        struct jinja *j, const struct builtin *b, struct args *to, const struct named *n, const char *kind) {
	size_t at = SIZE_MAX;
	eval_count_parameters(b->parameters, n->name, &at);
	if (at == SIZE_MAX)
		jinja_fail(j, -EINVAL, "the %s %s has no argument '%.*s'", kind, b->name, (int)n->name->len,
		        n->name->p);
	if (to->v[at].type != V_MISSING)
		jinja_fail(j, -EINVAL, "the argument '%.*s' is given twice", (int)n->name->len, n->name->p);
	to->v[at] = n->v;
}

static struct args eval_place(
        struct jinja *j, const struct builtin *b, const struct args *a, const char *kind) {
	struct args to = {.n = eval_count_parameters(b->parameters, NULL, NULL)};
	if (a->n > to.n)
		eval_refuse_count(j, b, kind);
	to.v = jinja_seq(j, to.n)->v;
	if (a->n)
		memcpy(to.v, a->v, a->n * sizeof *a->v);
	for (size_t i = 0; i < a->nnamed; i++)
		eval_place_named(j, b, &to, &a->named[i], kind);
	for (size_t i = 0; i < b->required; i++)
		if (to.v[i].type == V_MISSING)
			eval_refuse_count(j, b, kind);
	return to;
}

struct value jinja_call_builtin(
        struct jinja *j, const struct builtin *b, struct value self, const struct args *a, const char *kind) {
	jinja_step(j, 0);
	if (strcmp(b->parameters, "**") == 0)
		return b->call(j, self, a);
	if (strcmp(b->parameters, "*") == 0) {
		if (a->nnamed || a->n < b->required)
			eval_refuse_count(j, b, kind);
		return b->call(j, self, a);
	}
	struct args placed = eval_place(j, b, a, kind);
	return b->call(j, self, &placed);
}

struct value jinja_call(struct jinja *j, struct value callee, const struct args *a) {
	jinja_need_defined(j, callee);
	switch (callee.type) {
	case V_FUNCTION:
		return jinja_call_builtin(
		        j, callee.u.function->builtin, callee.u.function->self, a, "function");
	case V_MACRO:
		return jinja_call_macro(j, callee.u.macro, a, NULL);
	case V_LOOP:
		return jinja_loop_again(j, callee.u.loop, a);
	case V_JOINER: {
		bool used = callee.u.joiner->used;
		callee.u.joiner->used = true;
		return used ? value_str(callee.u.joiner->sep) : jinja_text(j, "");
	}
	default:
		jinja_fail(j, -EINVAL, "a %s cannot be called", jinja_type_name(callee));
	}
}

const struct builtin *jinja_need_filter(struct jinja *j, const struct str *name) {
	const struct builtin *b = jinja_filter(name);
	if (!b)
		jinja_fail(j, -ENOTSUP, "the filter '%.*s' is not supported", (int)name->len, name->p);
	return b;
}

const struct builtin *jinja_need_test(struct jinja *j, const struct str *name) {
	const struct builtin *b = jinja_test(name);
	if (!b)
		jinja_fail(j, -ENOTSUP, "the test '%.*s' is not supported", (int)name->len, name->p);
	return b;
}

/* One filter, or those that stand behind each other; input is for the innermost, which has none of its own. */
struct value jinja_apply_filter(struct jinja *j, const struct node *filter, struct value input) {
	jinja_enter(j);
	if (filter->a)
		input = filter->a->type == N_FILTER ? jinja_apply_filter(j, filter->a, input)
		                                    : jinja_eval(j, filter->a);
	j->line = filter->line;
	const struct builtin *b = filter->builtin ? filter->builtin : jinja_need_filter(j, filter->name);
	struct args a = jinja_eval_args(j, filter->list);
	struct value v = jinja_call_builtin(j, b, input, &a, "filter");
	jinja_leave(j);
	return v;
}

static struct value eval_test(struct jinja *j, const struct node *n) {
	const struct builtin *b = n->builtin ? n->builtin : jinja_need_test(j, n->name);
	struct value v = jinja_eval(j, n->a);
	struct args a = jinja_eval_args(j, n->list);
	return jinja_call_builtin(j, b, v, &a, "test");
}

static struct value eval_call(struct jinja *j, const struct node *n) {
	struct value callee = jinja_eval(j, n->a);
	struct args a = jinja_eval_args(j, n->list);
	j->line = n->line;
	return jinja_call(j, callee, &a);
}

/* ---- literals and operators */

static struct value eval_list(struct jinja *j, const struct node *n) {
	struct seq *s = jinja_seq(j, 0);
	size_t cap = 0;
	for (const struct node *i = n->list; i; i = i->next)
		jinja_seq_add(j, s, &cap, jinja_eval(j, i));
	return value_seq(n->type == N_LIST ? V_LIST : V_TUPLE, s);
}

static struct value eval_dict(struct jinja *j, const struct node *n) {
	struct dict *d = jinja_dict(j);
	for (const struct node *i = n->list; i; i = i->next) {
		struct value key = jinja_eval(j, i->a);
		jinja_dict_set(j, d, key, jinja_eval(j, i->b));
	}
	return value_dict(d);
}

static struct value eval_concat(struct jinja *j, const struct node *n) {
	struct buf b = {0};
	for (const struct node *i = n->list; i; i = i->next)
		jinja_put_value(j, &b, jinja_eval(j, i));
	return jinja_buf_value(j, &b);
}

static struct value eval_comparison(struct jinja *j, const struct node *n) {
	struct value a = jinja_eval(j, n->a);
	for (const struct node *o = n->list; o; o = o->next) {
		struct value b = jinja_eval(j, o->a);
		if (!jinja_compare_op(j, o->op, a, b))
			return value_bool(false);
		a = b;
	}
	return value_bool(true);
}

static struct value eval_or_none(struct jinja *j, const struct node *n) {
	return n ? jinja_eval(j, n) : value_none();
}

static struct value eval_item(struct jinja *j, const struct node *n) {
	struct value of = jinja_eval(j, n->a);
	if (n->b->type != N_SLICE)
		return jinja_item(j, of, jinja_eval(j, n->b));
	struct value from = eval_or_none(j, n->b->a), end = eval_or_none(j, n->b->b);
	return jinja_slice(j, of, from, end, eval_or_none(j, n->b->c));
}

static struct value eval_if_else(struct jinja *j, const struct node *n) {
	if (jinja_truth(jinja_eval(j, n->a)))
		return jinja_eval(j, n->b);
	return n->c ? jinja_eval(j, n->c) : jinja_hint(j, "the condition without an else does not hold");
}

static struct value eval_node(struct jinja *j, const struct node *n) {
	struct value a;
	switch (n->type) {
	case N_CONST:
		return n->value;
	case N_NAME:
		return eval_lookup(j, n->name);
	case N_TUPLE:
	case N_LIST:
		return eval_list(j, n);
	case N_DICT:
		return eval_dict(j, n);
	case N_ATTRIBUTE:
		return jinja_attribute(j, jinja_eval(j, n->a), n->name);
	case N_ITEM:
		return eval_item(j, n);
	case N_CALL:
		return eval_call(j, n);
	case N_FILTER:
		return jinja_apply_filter(j, n, value_missing());
	case N_TEST:
		return eval_test(j, n);
	case N_NOT:
		return value_bool(!jinja_truth(jinja_eval(j, n->a)));
	case N_UNARY:
		return jinja_unary(j, n->op, jinja_eval(j, n->a));
	case N_BINARY:
		a = jinja_eval(j, n->a);
		return jinja_binary(j, n->op, a, jinja_eval(j, n->b));
	case N_CONCAT:
		return eval_concat(j, n);
	case N_COMPARE:
		return eval_comparison(j, n);
	case N_AND:
		a = jinja_eval(j, n->a);
		return jinja_truth(a) ? jinja_eval(j, n->b) : a;
	case N_OR:
		a = jinja_eval(j, n->a);
		return jinja_truth(a) ? a : jinja_eval(j, n->b);
	case N_IF_ELSE:
		return eval_if_else(j, n);
	default:
		jinja_fail(j, -EINVAL, "the expression is not complete");
	}
}

struct value jinja_eval(struct jinja *j, const struct node *n) {
	jinja_step(j, 0);
	jinja_enter(j);
	j->line = n->line;
	struct value v = eval_node(j, n);
	jinja_leave(j);
	return v;
}
