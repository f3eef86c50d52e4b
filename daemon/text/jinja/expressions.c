/* expressions: their grammar, by recursive descent as in Jinja's parser (jinja2/parser.py), with its precedences:
 * if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, and behind an operand . [] () | is.
 * One thread. */
#include "daemon/text/jinja/ast_internal.h"
#include "daemon/text/jinja/eval_internal.h"
#include <string.h>

static struct node *expression_binary(
        struct parser *p, enum node_type type, enum operator_type op, struct node *a) {
	struct node *n = jinja_node(p, type);
	n->op = op;
	n->a = a;
	return n;
}

static struct node *expression_unary(struct parser *p, bool with_filters);

static struct node *expression_pow(struct parser *p) {
	struct node *left = expression_unary(p, true);
	while (jinja_is_op(p, OP_POW)) {
		left = expression_binary(p, N_BINARY, OP_POW, left);
		p->at++;
		left->b = expression_unary(p, true);
	}
	return left;
}

static bool expression_is_product(const struct parser *p) {
	return jinja_is_op(p, OP_MUL) || jinja_is_op(p, OP_DIV) || jinja_is_op(p, OP_FLOORDIV) ||
	       jinja_is_op(p, OP_MOD);
}

static struct node *expression_product(struct parser *p) {
	struct node *left = expression_pow(p);
	while (expression_is_product(p)) {
		left = expression_binary(p, N_BINARY, p->at->op, left);
		p->at++;
		left->b = expression_pow(p);
	}
	return left;
}

static struct node *expression_concat(struct parser *p) {
	struct node *first = expression_product(p);
	if (!jinja_is_op(p, OP_TILDE))
		return first;
	struct node *n = jinja_node(p, N_CONCAT), **to = &first->next;
	n->list = first;
	while (jinja_skip_op(p, OP_TILDE)) {
		*to = expression_product(p);
		to = &(*to)->next;
	}
	return n;
}

static struct node *expression_sum(struct parser *p) {
	struct node *left = expression_concat(p);
	while (jinja_is_op(p, OP_ADD) || jinja_is_op(p, OP_SUB)) {
		left = expression_binary(p, N_BINARY, p->at->op, left);
		p->at++;
		left->b = expression_concat(p);
	}
	return left;
}

/* The comparison that stands here, skipped; OP_NONE: none. */
static enum operator_type expression_skip_comparison(struct parser *p) {
	if (p->at->type == T_OPERATOR && p->at->op >= OP_EQ && p->at->op <= OP_GE)
		return (p->at++)->op;
	if (jinja_skip_name(p, "in"))
		return OP_IN;
	if (jinja_is_name(p->at, "not") && jinja_is_name(p->at + 1, "in")) {
		p->at += 2;
		return OP_NOT_IN;
	}
	return OP_NONE;
}

static struct node *expression_comparison(struct parser *p) {
	struct node *left = expression_sum(p), *n = NULL, **to = NULL;
	for (enum operator_type op; (op = expression_skip_comparison(p)) != OP_NONE; to = &(*to)->next) {
		if (!n) {
			n = expression_binary(p, N_COMPARE, OP_NONE, left);
			to = &n->list;
		}
		*to = jinja_node(p, N_OPERAND);
		(*to)->op = op;
		(*to)->a = expression_sum(p);
	}
	return n ? n : left;
}

static struct node *expression_not(struct parser *p) {
	if (!jinja_is_name(p->at, "not"))
		return expression_comparison(p);
	struct node *n = jinja_node(p, N_NOT);
	p->at++;
	jinja_enter(p->j);
	n->a = expression_not(p);
	jinja_leave(p->j);
	return n;
}

static struct node *expression_and(struct parser *p) {
	struct node *left = expression_not(p);
	while (jinja_is_name(p->at, "and")) {
		left = expression_binary(p, N_AND, OP_NONE, left);
		p->at++;
		left->b = expression_not(p);
	}
	return left;
}

struct node *jinja_parse_or(struct parser *p) {
	struct node *left = expression_and(p);
	while (jinja_is_name(p->at, "or")) {
		left = expression_binary(p, N_OR, OP_NONE, left);
		p->at++;
		left->b = expression_and(p);
	}
	return left;
}

struct node *jinja_parse_expression(struct parser *p) {
	p->j->line = p->at->line;
	jinja_enter(p->j);
	struct node *first = jinja_parse_or(p);
	while (jinja_skip_name(p, "if")) {
		struct node *n = jinja_node(p, N_IF_ELSE);
		n->b = first;
		n->a = jinja_parse_or(p);
		if (jinja_skip_name(p, "else"))
			n->c = jinja_parse_expression(p);
		first = n;
	}
	jinja_leave(p->j);
	return first;
}

static bool expression_tuple_ends(const struct parser *p, const char *end) {
	return p->at->type == T_VARIABLE_END || p->at->type == T_BLOCK_END || jinja_is_op(p, OP_RPAREN) ||
	       (end && jinja_is_name(p->at, end));
}

struct node *jinja_parse_tuple(struct parser *p, bool condition, const char *end) {
	struct node *tuple = jinja_node(p, N_TUPLE), **to = &tuple->list;
	bool is_tuple = false;
	do {
		if (expression_tuple_ends(p, end))
			break;
		*to = condition ? jinja_parse_expression(p) : jinja_parse_or(p);
		to = &(*to)->next;
		is_tuple |= jinja_is_op(p, OP_COMMA);
	} while (jinja_skip_op(p, OP_COMMA));
	if (!tuple->list)
		jinja_unexpected(p);
	return is_tuple ? tuple : tuple->list;
}

static struct node *expression_parentheses(struct parser *p) {
	struct node *n;
	p->at++;
	if (jinja_is_op(p, OP_RPAREN))
		n = jinja_node(p, N_TUPLE);
	else
		n = jinja_parse_tuple(p, true, NULL);
	jinja_expect_op(p, OP_RPAREN);
	return n;
}

static struct node *expression_list(struct parser *p) {
	struct node *n = jinja_node(p, N_LIST), **to = &n->list;
	p->at++;
	while (!jinja_is_op(p, OP_RBRACKET)) {
		*to = jinja_parse_expression(p);
		to = &(*to)->next;
		if (!jinja_skip_op(p, OP_COMMA))
			break;
	}
	jinja_expect_op(p, OP_RBRACKET);
	return n;
}

static struct node *expression_dict(struct parser *p) {
	struct node *n = jinja_node(p, N_DICT), **to = &n->list;
	p->at++;
	while (!jinja_is_op(p, OP_RBRACE)) {
		*to = jinja_node(p, N_PAIR);
		(*to)->a = jinja_parse_expression(p);
		jinja_expect_op(p, OP_COLON);
		(*to)->b = jinja_parse_expression(p);
		to = &(*to)->next;
		if (!jinja_skip_op(p, OP_COMMA))
			break;
	}
	jinja_expect_op(p, OP_RBRACE);
	return n;
}

static struct node *expression_constant(struct parser *p, struct value v) {
	struct node *n = jinja_node(p, N_CONST);
	n->value = v;
	p->at++;
	return n;
}

/* Adjacent strings are one. */
static struct node *expression_string(struct parser *p) {
	if (p->at[1].type != T_STRING)
		return expression_constant(p, p->at->value);
	struct node *n = jinja_node(p, N_CONST);
	struct buf b = {0};
	while (p->at->type == T_STRING)
		jinja_put_str(p->j, &b, (p->at++)->value.u.s);
	n->value = jinja_buf_value(p->j, &b);
	return n;
}

static struct node *expression_name(struct parser *p) {
	const struct str *s = p->at->value.u.s;
	if (jinja_str_is(s, "true") || jinja_str_is(s, "True"))
		return expression_constant(p, value_bool(true));
	if (jinja_str_is(s, "false") || jinja_str_is(s, "False"))
		return expression_constant(p, value_bool(false));
	if (jinja_str_is(s, "none") || jinja_str_is(s, "None"))
		return expression_constant(p, value_none());
	struct node *n = jinja_node(p, N_NAME);
	n->name = jinja_expect_name(p);
	p->uses |= jinja_str_is(s, "caller")    ? USES_CALLER
	           : jinja_str_is(s, "varargs") ? USES_VARARGS
	           : jinja_str_is(s, "kwargs")  ? USES_KWARGS
	                                        : 0;
	return n;
}

struct node *jinja_parse_primary(struct parser *p) {
	p->j->line = p->at->line;
	switch (p->at->type) {
	case T_NAME:
		return expression_name(p);
	case T_STRING:
		return expression_string(p);
	case T_INTEGER:
	case T_FLOAT:
		return expression_constant(p, p->at->value);
	default:
		break;
	}
	if (jinja_is_op(p, OP_LPAREN))
		return expression_parentheses(p);
	if (jinja_is_op(p, OP_LBRACKET))
		return expression_list(p);
	if (jinja_is_op(p, OP_LBRACE))
		return expression_dict(p);
	jinja_unexpected(p);
}

static struct node *expression_argument(struct parser *p) {
	struct node *n;
	if (jinja_is_op(p, OP_MUL) || jinja_is_op(p, OP_POW)) {
		n = jinja_node(p, jinja_is_op(p, OP_MUL) ? N_STAR : N_STARSTAR);
		p->at++;
	} else if (p->at->type == T_NAME && p->at[1].type == T_OPERATOR && p->at[1].op == OP_ASSIGN) {
		n = jinja_node(p, N_NAMED);
		n->name = jinja_expect_name(p);
		p->at++;
	} else {
		return jinja_parse_expression(p);
	}
	n->a = jinja_parse_expression(p);
	return n;
}

/* Positions first, then *, names, ** (names may stand before *). */
static void expression_check_order(struct parser *p, const struct node *list) {
	bool star = false, starstar = false, named = false;
	for (const struct node *n = list; n; n = n->next) {
		bool bad = n->type == N_STAR       ? star || starstar
		           : n->type == N_STARSTAR ? starstar
		           : n->type == N_NAMED    ? starstar
		                                   : star || starstar || named;
		if (bad)
			jinja_fail(p->j, -EINVAL, "the arguments of the call stand in a wrong order");
		star |= n->type == N_STAR;
		starstar |= n->type == N_STARSTAR;
		named |= n->type == N_NAMED;
	}
}

static struct node *expression_arguments(struct parser *p) {
	struct node *list = NULL, **to = &list;
	jinja_expect_op(p, OP_LPAREN);
	while (!jinja_is_op(p, OP_RPAREN)) {
		*to = expression_argument(p);
		to = &(*to)->next;
		if (!jinja_skip_op(p, OP_COMMA))
			break;
	}
	jinja_expect_op(p, OP_RPAREN);
	expression_check_order(p, list);
	return list;
}

static struct node *expression_optional(struct parser *p) {
	if (jinja_is_op(p, OP_COLON) || jinja_is_op(p, OP_RBRACKET) || jinja_is_op(p, OP_COMMA))
		return NULL;
	return jinja_parse_expression(p);
}

/* What stands in brackets: an expression, or a slice. */
static struct node *expression_index(struct parser *p) {
	struct node *n = jinja_node(p, N_SLICE);
	if (!jinja_is_op(p, OP_COLON)) {
		n->a = jinja_parse_expression(p);
		if (!jinja_is_op(p, OP_COLON))
			return n->a;
	}
	p->at++;
	n->b = expression_optional(p);
	if (jinja_skip_op(p, OP_COLON))
		n->c = expression_optional(p);
	return n;
}

static struct node *expression_dot(struct parser *p, struct node *of) {
	p->at++;
	struct node *n = jinja_node(p, N_ATTRIBUTE);
	n->a = of;
	if (p->at->type == T_INTEGER) {
		n->type = N_ITEM;
		n->b = expression_constant(p, p->at->value);
	} else {
		n->name = jinja_expect_name(p);
	}
	return n;
}

static struct node *expression_brackets(struct parser *p, struct node *of) {
	struct node *n = jinja_node(p, N_ITEM);
	n->a = of;
	p->at++;
	n->b = expression_index(p);
	if (jinja_is_op(p, OP_COMMA))
		jinja_fail(p->j, -ENOTSUP, "several indices in brackets are not supported");
	jinja_expect_op(p, OP_RBRACKET);
	return n;
}

static struct node *expression_call(struct parser *p, struct node *of) {
	struct node *n = jinja_node(p, N_CALL);
	n->a = of;
	n->list = expression_arguments(p);
	return n;
}

static struct node *expression_postfix(struct parser *p, struct node *n) {
	for (;;) {
		if (jinja_is_op(p, OP_DOT))
			n = expression_dot(p, n);
		else if (jinja_is_op(p, OP_LBRACKET))
			n = expression_brackets(p, n);
		else if (jinja_is_op(p, OP_LPAREN))
			n = expression_call(p, n);
		else
			return n;
	}
}

struct node *jinja_parse_filter(struct parser *p, struct node *input) {
	struct node *n = jinja_node(p, N_FILTER);
	n->a = input;
	n->name = jinja_expect_name(p);
	n->builtin = jinja_filter(n->name);
	if (jinja_is_op(p, OP_LPAREN))
		n->list = expression_arguments(p);
	return n;
}

struct node *jinja_parse_filters(struct parser *p, struct node *input) {
	while (jinja_skip_op(p, OP_PIPE))
		input = jinja_parse_filter(p, input);
	return input;
}

/* A test's argument may stand without parentheses. */
static bool expression_argument_follows(const struct parser *p) {
	switch (p->at->type) {
	case T_STRING:
	case T_INTEGER:
	case T_FLOAT:
		return true;
	case T_NAME:
		return !jinja_is_name(p->at, "else") && !jinja_is_name(p->at, "or") &&
		       !jinja_is_name(p->at, "and");
	default:
		return jinja_is_op(p, OP_LBRACKET) || jinja_is_op(p, OP_LBRACE);
	}
}

static struct node *expression_test(struct parser *p, struct node *of) {
	p->at++;
	struct node *inverse = jinja_is_name(p->at, "not") ? jinja_node(p, N_NOT) : NULL;
	p->at += inverse != NULL;
	struct node *n = jinja_node(p, N_TEST);
	n->a = of;
	n->name = jinja_expect_name(p);
	n->builtin = jinja_test(n->name);
	if (jinja_is_op(p, OP_LPAREN)) {
		n->list = expression_arguments(p);
	} else if (expression_argument_follows(p)) {
		if (jinja_is_name(p->at, "is"))
			jinja_fail(p->j, -EINVAL, "tests cannot be chained with is");
		n->list = expression_postfix(p, jinja_parse_primary(p));
	}
	if (!inverse)
		return n;
	inverse->a = n;
	return inverse;
}

static struct node *expression_filters_and_tests(struct parser *p, struct node *n) {
	for (;;) {
		if (jinja_is_op(p, OP_PIPE))
			n = jinja_parse_filters(p, n);
		else if (jinja_is_name(p->at, "is"))
			n = expression_test(p, n);
		else if (jinja_is_op(p, OP_LPAREN))
			n = expression_call(p, n);
		else
			return n;
	}
}

static struct node *expression_unary(struct parser *p, bool with_filters) {
	struct node *n;
	if (jinja_is_op(p, OP_SUB) || jinja_is_op(p, OP_ADD)) {
		n = jinja_node(p, N_UNARY);
		n->op = (p->at++)->op;
		jinja_enter(p->j);
		n->a = expression_unary(p, false);
		jinja_leave(p->j);
	} else {
		n = jinja_parse_primary(p);
	}
	n = expression_postfix(p, n);
	return with_filters ? expression_filters_and_tests(p, n) : n;
}
