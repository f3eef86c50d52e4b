/* exec: statements.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"

struct value jinja_capture(struct jinja *j, const struct node *list, struct scope *scope) {
	struct buf b = {0}, *out = j->out;
	struct scope *outer = j->scope;
	j->out = &b;
	j->scope = jinja_scope(j, scope);
	jinja_exec(j, list);
	j->out = out;
	j->scope = outer;
	return jinja_buf_value(j, &b);
}

static enum flow exec_if(struct jinja *j, const struct node *n) {
	for (; n; n = n->otherwise)
		if (!n->a || jinja_truth(jinja_eval(j, n->a)))
			return jinja_exec(j, n->body);
	return FLOW_ON;
}

static void exec_set_block(struct jinja *j, const struct node *n) {
	struct value v = jinja_capture(j, n->body, j->scope);
	jinja_assign(j, n->a, n->b ? jinja_apply_filter(j, n->b, v) : v);
}

static void exec_filter_block(struct jinja *j, const struct node *n) {
	struct value v = jinja_apply_filter(j, n->b, jinja_capture(j, n->body, j->scope));
	jinja_put_str(j, j->out, jinja_need_str(j, v, "what a filter block prints"));
}

static enum flow exec_with(struct jinja *j, const struct node *n) {
	struct scope *outer = j->scope, *inner = jinja_scope(j, outer);
	for (const struct node *set = n->list; set; set = set->next) {
		struct value v = jinja_eval(j, set->b);
		j->scope = inner;
		jinja_assign(j, set->a, v);
		j->scope = outer;
	}
	j->scope = inner;
	enum flow flow = jinja_exec(j, n->body);
	j->scope = outer;
	return flow;
}

static void exec_macro(struct jinja *j, const struct node *n) {
	struct macro *m = jinja_alloc(j, sizeof *m);
	*m = (struct macro){n, j->scope};
	jinja_bind(j, j->scope, n->name, (struct value){.type = V_MACRO, .u.macro = m});
}

static void exec_call_block(struct jinja *j, const struct node *n) {
	struct macro *caller = jinja_alloc(j, sizeof *caller);
	*caller = (struct macro){n->a, j->scope};
	struct value callee = jinja_eval(j, n->b->a);
	struct args a = jinja_eval_args(j, n->b->list);
	jinja_need_defined(j, callee);
	j->line = n->line;
	if (callee.type != V_MACRO)
		jinja_fail(j, -ENOTSUP, "a call block of a %s, which is no macro, is not supported",
		        jinja_type_name(callee));
	jinja_put_value(j, j->out, jinja_call_macro(j, callee.u.macro, &a, caller));
}

static enum flow exec_one(struct jinja *j, const struct node *n) {
	switch (n->type) {
	case N_DATA:
		jinja_put_str(j, j->out, n->value.u.s);
		return FLOW_ON;
	case N_PRINT:
		for (const struct node *i = n->list; i; i = i->next)
			jinja_put_value(j, j->out, jinja_eval(j, i));
		return FLOW_ON;
	case N_IF:
		return exec_if(j, n);
	case N_FOR:
		return jinja_exec_for(j, n);
	case N_SET:
		jinja_assign(j, n->a, jinja_eval(j, n->b));
		return FLOW_ON;
	case N_SET_BLOCK:
		exec_set_block(j, n);
		return FLOW_ON;
	case N_MACRO:
		exec_macro(j, n);
		return FLOW_ON;
	case N_CALL_BLOCK:
		exec_call_block(j, n);
		return FLOW_ON;
	case N_FILTER_BLOCK:
		exec_filter_block(j, n);
		return FLOW_ON;
	case N_WITH:
		return exec_with(j, n);
	case N_GENERATION:
		jinja_put_value(j, j->out, jinja_capture(j, n->body, j->scope));
		return FLOW_ON;
	case N_BREAK:
		return FLOW_BREAK;
	default:
		return FLOW_CONTINUE;
	}
}

enum flow jinja_exec(struct jinja *j, const struct node *list) {
	enum flow flow = FLOW_ON;
	jinja_enter(j);
	for (const struct node *n = list; n && flow == FLOW_ON; n = n->next) {
		jinja_step(j, 0);
		j->line = n->line;
		flow = exec_one(j, n);
	}
	jinja_leave(j);
	return flow;
}
