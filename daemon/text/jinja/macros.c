/* macros: their calls, as Jinja's runtime does them (jinja2/runtime.py, Macro).
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include <string.h>

static const struct str *macro_text(struct jinja *j, const char *s) {
	return jinja_str(j, s, strlen(s));
}

static struct value *macro_find_named(const struct args *a, const struct str *name) {
	for (size_t i = 0; i < a->nnamed; i++)
		if (jinja_str_equal(a->named[i].name, name))
			return &a->named[i].v;
	return NULL;
}

static void macro_refuse_call(
        struct jinja *j, const struct macro *m, const char *why, const struct str *name) {
	const struct str *of = m->node->name;
	jinja_fail(j, -EINVAL, "the macro %.*s %s%.*s", of ? (int)of->len : 6, of ? of->p : "caller", why,
	        name ? (int)name->len : 0, name ? name->p : "");
}

/* Parameters that are given; a name that is used becomes V_MISSING, so that the rest is known. */
static size_t macro_bind_given(
        struct jinja *j, const struct macro *m, const struct args *a, struct scope *s) {
	size_t i = 0;
	for (const struct node *p = m->node->list; p; p = p->next, i++) {
		struct value *named = macro_find_named(a, p->name);
		if (i < a->n) {
			jinja_bind(j, s, p->name, a->v[i]);
		} else if (named) {
			jinja_bind(j, s, p->name, *named);
			named->type = V_MISSING;
		} else {
			jinja_bind(j, s, p->name, value_missing());
		}
	}
	return i;
}

/* Defaults are evaluated within the macro, so that one may speak of parameters before it. */
static void macro_bind_defaults(struct jinja *j, const struct macro *m, struct scope *s) {
	size_t i = 0;
	for (const struct node *p = m->node->list; p; p = p->next, i++)
		if (s->b[i].v.type == V_MISSING) {
			struct value v =
			        p->a ? jinja_eval(j, p->a) : value_undefined(UNDEFINED_NAME, p->name);
			s->b[i].v = v;
		}
}

static void macro_bind_rest(
        struct jinja *j, const struct macro *m, const struct args *a, size_t count, struct scope *s) {
	struct dict *rest = jinja_dict(j);
	struct seq *more = jinja_seq(j, a->n > count ? a->n - count : 0);
	for (size_t i = 0; i < a->nnamed; i++)
		if (a->named[i].v.type != V_MISSING)
			jinja_dict_set(j, rest, value_str(a->named[i].name), a->named[i].v);
	if (rest->n && !(m->node->uses & USES_KWARGS))
		macro_refuse_call(j, m, "has no argument ", rest->e[0].key.u.s);
	if (more->n)
		memcpy(more->v, a->v + count, more->n * sizeof *more->v);
	if (more->n && !(m->node->uses & USES_VARARGS))
		macro_refuse_call(j, m, "is given too many arguments", NULL);
	if (m->node->uses & USES_KWARGS)
		jinja_bind(j, s, macro_text(j, "kwargs"), value_dict(rest));
	if (m->node->uses & USES_VARARGS)
		jinja_bind(j, s, macro_text(j, "varargs"), value_seq(V_TUPLE, more));
}

/* What {% call %} gives, or an argument of that name. */
static void macro_bind_caller(struct jinja *j, const struct macro *m, const struct args *a,
        const struct macro *caller, struct scope *s) {
	const struct str *name = macro_text(j, "caller");
	struct value *named = macro_find_named(a, name);
	if (!(m->node->uses & USES_CALLER)) {
		if (caller)
			macro_refuse_call(j, m, "does not call its caller", NULL);
		return;
	}
	struct value v = value_undefined(UNDEFINED_NAME, name);
	if (caller)
		v = (struct value){.type = V_MACRO, .u.macro = (struct macro *)caller};
	else if (named && named->type != V_MISSING && named->type != V_NONE)
		v = *named;
	if (named)
		named->type = V_MISSING;
	jinja_bind(j, s, name, v);
}

struct value jinja_call_macro(
        struct jinja *j, const struct macro *m, const struct args *a, const struct macro *caller) {
	struct scope *outer = j->scope, *s = jinja_scope(j, m->scope);
	unsigned line = j->line;
	jinja_enter(j);
	size_t count = macro_bind_given(j, m, a, s);
	macro_bind_caller(j, m, a, caller, s);
	macro_bind_rest(j, m, a, count, s);
	j->scope = s;
	macro_bind_defaults(j, m, s);
	struct value v = jinja_capture(j, m->node->body, s);
	j->scope = outer;
	j->line = line;
	jinja_leave(j);
	return v;
}
