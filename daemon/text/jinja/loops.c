/* loops: for, and what `loop` tells (jinja2/runtime.py, LoopContext).  The filter of a loop is asked item by item as the loop goes
 * on, so that it sees what the body has changed in a namespace.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include <string.h>

static bool loop_passes(struct jinja *j, const struct loop *l, struct value item) {
	if (!l->node->c)
		return true;
	struct scope *outer = j->scope;
	j->scope = jinja_scope(j, l->scope);
	jinja_assign(j, l->node->a, item);
	bool pass = jinja_truth(jinja_eval(j, l->node->c));
	j->scope = outer;
	return pass;
}

/* The next item that passes, or V_MISSING. */
static struct value loop_next_item(struct jinja *j, struct loop *l) {
	while (l->at < l->items->n) {
		jinja_step(j, 0);
		struct value v = l->items->v[l->at++];
		if (loop_passes(j, l, v))
			return v;
	}
	return value_missing();
}

struct value jinja_loop_peek(struct jinja *j, struct loop *l) {
	if (!l->peeked)
		l->after = loop_next_item(j, l);
	l->peeked = true;
	return l->after;
}

/* With a filter: all that is left is asked now. */
size_t jinja_loop_length(struct jinja *j, struct loop *l) {
	if (l->length != SIZE_MAX)
		return l->length;
	struct seq *rest = jinja_seq(j, 0);
	size_t cap = 0;
	for (struct value v; (v = loop_next_item(j, l)).type != V_MISSING;)
		jinja_seq_add(j, rest, &cap, v);
	l->length = l->index0 + 1 + (l->peeked && l->after.type != V_MISSING) + rest->n;
	l->items = rest;
	l->at = 0;
	/* they have passed */
	struct node *plain = jinja_alloc(j, sizeof *plain);
	*plain = *l->node;
	plain->c = NULL;
	l->node = plain;
	return l->length;
}

static bool loop_advance(struct jinja *j, struct loop *l, bool first) {
	struct value v = l->peeked ? l->after : loop_next_item(j, l);
	l->peeked = false;
	if (v.type == V_MISSING)
		return false;
	l->index0 = first ? 0 : l->index0 + 1;
	l->before = l->current;
	l->current = v;
	return true;
}

static enum flow loop_run_body(struct jinja *j, struct loop *l, const struct str *name) {
	if (!l->inner)
		l->inner = jinja_scope(j, l->scope);
	l->inner->n = 0;
	j->scope = l->inner;
	jinja_bind(j, j->scope, name, (struct value){.type = V_LOOP, .u.loop = l});
	jinja_assign(j, l->node->a, l->current);
	return jinja_exec(j, l->node->body);
}

static enum flow loop_run(struct jinja *j, struct loop *l) {
	const struct str *name = jinja_str(j, "loop", 4);
	struct scope *outer = j->scope;
	bool whole =
	        false; /* an iteration came to its end: the else is not for this loop (jinja2/compiler.py) */
	enum flow flow = FLOW_ON;
	for (bool first = true; flow != FLOW_BREAK && loop_advance(j, l, first); first = false) {
		flow = loop_run_body(j, l, name);
		whole |= flow == FLOW_ON;
	}
	j->scope = outer;
	if (whole || !l->node->otherwise)
		return FLOW_ON;
	j->scope = jinja_scope(j, l->scope);
	flow = jinja_exec(j, l->node->otherwise);
	j->scope = outer;
	return flow;
}

static struct loop *loop_new(struct jinja *j, const struct node *n, struct scope *scope, struct value over) {
	struct loop *l = jinja_alloc(j, sizeof *l);
	l->node = n;
	l->scope = scope;
	l->items = jinja_items(j, over);
	bool has_length = !n->c && over.type != V_ITERATOR;
	l->length = has_length ? l->items->n : SIZE_MAX;
	return l;
}

enum flow jinja_exec_for(struct jinja *j, const struct node *n) {
	return loop_run(j, loop_new(j, n, j->scope, jinja_eval(j, n->b)));
}

struct value jinja_loop_again(struct jinja *j, struct loop *of, const struct args *a) {
	if (!of->node->recursive)
		jinja_fail(j, -EINVAL, "only a loop that is marked recursive can be called");
	if (a->n != 1 || a->nnamed)
		jinja_fail(j, -EINVAL, "a loop is called with one argument");
	struct buf b = {0}, *out = j->out;
	struct loop *l = loop_new(j, of->node, of->scope, a->v[0]);
	struct scope *outer = j->scope;
	l->depth0 = of->depth0 + 1;
	j->out = &b;
	j->scope = of->scope;
	jinja_enter(j);
	loop_run(j, l);
	jinja_leave(j);
	j->out = out;
	j->scope = outer;
	return jinja_buf_value(j, &b);
}

void jinja_put_object(struct jinja *j, struct buf *b, struct value v) {
	if (v.type == V_MACRO) {
		jinja_put_text(j, b, "<Macro ");
		if (v.u.macro->node->name)
			jinja_put_repr(j, b, value_str(v.u.macro->node->name));
		else
			jinja_put_text(j, b, "anonymous");
	} else {
		jinja_put_text(j, b, "<LoopContext ");
		jinja_put_int(j, b, (int64_t)v.u.loop->index0 + 1);
		jinja_put_text(j, b, "/");
		jinja_put_int(j, b, (int64_t)jinja_loop_length(j, v.u.loop));
	}
	jinja_put_text(j, b, ">");
}
