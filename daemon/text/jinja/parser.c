/* parser: statements.  The grammar is that of Jinja's parser (jinja2/parser.py), with the tags that transformers adds.
 * One thread. */
#include "daemon/text/jinja/ast_internal.h"
#include "daemon/text/jinja/eval_internal.h"
#include <string.h>

struct node *jinja_node(struct parser *p, enum node_type type) {
	struct node *n = jinja_alloc(p->j, sizeof *n);
	n->type = type;
	n->line = p->at->line;
	return n;
}

bool jinja_is_op(const struct parser *p, enum operator_type op) {
	return p->at->type == T_OPERATOR && p->at->op == op;
}

bool jinja_skip_op(struct parser *p, enum operator_type op) {
	if (!jinja_is_op(p, op))
		return false;
	p->at++;
	return true;
}

void jinja_expect_op(struct parser *p, enum operator_type op) {
	if (!jinja_skip_op(p, op))
		jinja_unexpected(p);
}

bool jinja_is_name(const struct token *t, const char *name) {
	return t->type == T_NAME && jinja_str_is(t->value.u.s, name);
}

bool jinja_skip_name(struct parser *p, const char *name) {
	if (!jinja_is_name(p->at, name))
		return false;
	p->at++;
	return true;
}

const struct str *jinja_expect_name(struct parser *p) {
	if (p->at->type != T_NAME)
		jinja_unexpected(p);
	return (p->at++)->value.u.s;
}

void jinja_unexpected(struct parser *p) {
	static const char *const what[] = {[T_END] = "end of the template",
	        [T_DATA] = "text",
	        [T_BLOCK_BEGIN] = "{%",
	        [T_BLOCK_END] = "%}",
	        [T_VARIABLE_BEGIN] = "{{",
	        [T_VARIABLE_END] = "}}",
	        [T_STRING] = "string",
	        [T_INTEGER] = "integer",
	        [T_FLOAT] = "float"};
	const struct token *t = p->at;
	p->j->line = t->line;
	if (t->type == T_NAME)
		jinja_fail(
		        p->j, -EINVAL, "unexpected '%.*s'", (int)(t->value.u.s->len % 100), t->value.u.s->p);
	jinja_fail(p->j, -EINVAL, "unexpected %s",
	        t->type == T_OPERATOR ? jinja_operator_text(t->op) : what[t->type]);
}

static void parser_expect(struct parser *p, enum token_type type) {
	if (p->at->type != type)
		jinja_unexpected(p);
	p->at++;
}

static bool parser_is_constant_name(const struct str *s) {
	static const char *const names[] = {"true", "false", "none", "True", "False", "None"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (jinja_str_is(s, names[i]))
			return true;
	return false;
}

static const struct str *parser_target_name(struct parser *p) {
	if (p->at->type == T_NAME && parser_is_constant_name(p->at->value.u.s))
		jinja_fail(p->j, -EINVAL, "'%.*s' cannot be assigned to", (int)p->at->value.u.s->len,
		        p->at->value.u.s->p);
	return jinja_expect_name(p);
}

static void parser_check_target(struct parser *p, const struct node *n) {
	jinja_enter(p->j);
	if (n->type == N_TUPLE)
		for (const struct node *i = n->list; i; i = i->next)
			parser_check_target(p, i);
	else if (n->type != N_NAME && n->type != N_NAMESPACE)
		jinja_fail(p->j, -EINVAL, "only names can be assigned to");
	jinja_leave(p->j);
}

static struct node *parser_target_part(struct parser *p, bool with_namespace) {
	if (!with_namespace || p->at->type != T_NAME || parser_is_constant_name(p->at->value.u.s) ||
	        p->at[1].type != T_OPERATOR || p->at[1].op != OP_DOT)
		return jinja_parse_primary(p);
	struct node *n = jinja_node(p, N_NAMESPACE);
	n->name = jinja_expect_name(p);
	p->at++;
	n->attribute = jinja_expect_name(p);
	return n;
}

/* Names, by commas a tuple of them. */
static struct node *parser_target(struct parser *p, bool with_namespace, const char *end) {
	struct node *tuple = jinja_node(p, N_TUPLE), **to = &tuple->list;
	unsigned uses = p->uses;
	bool is_tuple = false;
	do {
		if (p->at->type == T_BLOCK_END || (end && jinja_is_name(p->at, end)))
			break;
		*to = parser_target_part(p, with_namespace);
		to = &(*to)->next;
		is_tuple |= jinja_is_op(p, OP_COMMA);
	} while (jinja_skip_op(p, OP_COMMA));
	p->uses = uses;
	if (!tuple->list)
		jinja_unexpected(p);
	struct node *target = is_tuple ? tuple : tuple->list;
	parser_check_target(p, target);
	return target;
}

static struct node *parser_body(struct parser *p, const char *const *ends);

/* The body of a block up to {% end %}, whose name is skipped; the tag's %} is for the caller. */
static struct node *parser_block(struct parser *p, const char *end) {
	struct node *body = parser_body(p, (const char *const[]){end, NULL});
	p->at++;
	return body;
}

static struct node *parser_set(struct parser *p) {
	struct node *n = jinja_node(p, N_SET);
	p->at++;
	n->a = parser_target(p, true, NULL);
	if (jinja_skip_op(p, OP_ASSIGN)) {
		n->b = jinja_parse_tuple(p, true, NULL);
		return n;
	}
	n->type = N_SET_BLOCK;
	n->b = jinja_parse_filters(p, NULL);
	n->body = parser_block(p, "endset");
	return n;
}

static struct node *parser_for(struct parser *p) {
	struct node *n = jinja_node(p, N_FOR);
	p->at++;
	n->a = parser_target(p, false, "in");
	if (!jinja_skip_name(p, "in"))
		jinja_unexpected(p);
	n->b = jinja_parse_tuple(p, false, "recursive");
	if (jinja_skip_name(p, "if"))
		n->c = jinja_parse_expression(p);
	n->recursive = jinja_skip_name(p, "recursive");
	p->loops++;
	n->body = parser_body(p, (const char *const[]){"else", "endfor", NULL});
	p->loops--;
	if (jinja_is_name(p->at++, "else"))
		n->otherwise = parser_block(p, "endfor");
	return n;
}

static struct node *parser_if(struct parser *p) {
	struct node *first = NULL, **to = &first;
	for (;;) {
		struct node *n = jinja_node(p, N_IF);
		*to = n;
		to = &n->otherwise;
		p->at++;
		n->a = jinja_parse_tuple(p, false, NULL);
		n->body = parser_body(p, (const char *const[]){"elif", "else", "endif", NULL});
		if (!jinja_is_name(p->at, "elif"))
			break;
	}
	if (jinja_is_name(p->at, "else")) {
		*to = jinja_node(p, N_IF);
		p->at++;
		(*to)->body = parser_block(p, "endif");
	} else {
		p->at++;
	}
	return first;
}

static void parser_parameters(struct parser *p, struct node *macro) {
	struct node **to = &macro->list;
	bool defaults = false;
	jinja_expect_op(p, OP_LPAREN);
	while (!jinja_is_op(p, OP_RPAREN)) {
		if (macro->list)
			jinja_expect_op(p, OP_COMMA);
		struct node *n = jinja_node(p, N_NAME);
		n->name = parser_target_name(p);
		for (const struct node *other = macro->list; other; jinja_step(p->j, 0), other = other->next)
			if (jinja_str_equal(other->name, n->name))
				jinja_fail(p->j, -EINVAL, "two arguments have the same name");
		if (jinja_skip_op(p, OP_ASSIGN)) {
			n->a = jinja_parse_expression(p);
			defaults = true;
		} else if (defaults) {
			jinja_fail(p->j, -EINVAL, "an argument without a default follows one with a default");
		}
		*to = n;
		to = &n->next;
	}
	p->at++;
}

static void parser_macro_body(struct parser *p, struct node *macro, const char *end) {
	unsigned uses = p->uses, loops = p->loops;
	p->uses = 0;
	p->loops = 0;
	macro->body = parser_block(p, end);
	macro->uses = p->uses;
	p->uses |= uses;
	p->loops = loops;
}

static struct node *parser_macro(struct parser *p) {
	struct node *n = jinja_node(p, N_MACRO);
	p->at++;
	n->name = parser_target_name(p);
	parser_parameters(p, n);
	parser_macro_body(p, n, "endmacro");
	return n;
}

static struct node *parser_call(struct parser *p) {
	struct node *n = jinja_node(p, N_CALL_BLOCK);
	p->at++;
	n->a = jinja_node(p, N_MACRO);
	if (jinja_is_op(p, OP_LPAREN))
		parser_parameters(p, n->a);
	n->b = jinja_parse_expression(p);
	if (n->b->type != N_CALL)
		jinja_fail(p->j, -EINVAL, "a call block needs a call");
	parser_macro_body(p, n->a, "endcall");
	return n;
}

static struct node *parser_filter_block(struct parser *p) {
	struct node *n = jinja_node(p, N_FILTER_BLOCK);
	p->at++;
	n->b = jinja_parse_filters(p, jinja_parse_filter(p, NULL));
	n->body = parser_block(p, "endfilter");
	return n;
}

static struct node *parser_with(struct parser *p) {
	struct node *n = jinja_node(p, N_WITH), **to = &n->list;
	p->at++;
	while (p->at->type != T_BLOCK_END) {
		if (n->list)
			jinja_expect_op(p, OP_COMMA);
		struct node *set = jinja_node(p, N_SET);
		set->a = parser_target(p, false, NULL);
		jinja_expect_op(p, OP_ASSIGN);
		set->b = jinja_parse_expression(p);
		*to = set;
		to = &set->next;
	}
	n->body = parser_block(p, "endwith");
	return n;
}

/* Its body is a macro's to transformers: loops around it are not to be left from within. */
static struct node *parser_generation(struct parser *p) {
	struct node *n = jinja_node(p, N_GENERATION);
	unsigned loops = p->loops;
	p->at++;
	p->loops = 0;
	n->body = parser_block(p, "endgeneration");
	p->loops = loops;
	return n;
}

static struct node *parser_print(struct parser *p) {
	struct node *n = jinja_node(p, N_PRINT), **to = &n->list;
	p->at++;
	while (p->at->type != T_BLOCK_END) {
		if (n->list)
			jinja_expect_op(p, OP_COMMA);
		*to = jinja_parse_expression(p);
		to = &(*to)->next;
	}
	return n;
}

static struct node *parser_jump(struct parser *p) {
	bool is_break = jinja_is_name(p->at, "break");
	struct node *n = jinja_node(p, is_break ? N_BREAK : N_CONTINUE);
	if (p->loops == 0)
		jinja_fail(p->j, -EINVAL, "%s stands outside of a loop", is_break ? "break" : "continue");
	p->at++;
	return n;
}

static const struct {
	const char *name;
	struct node *(*parse)(struct parser *p);
} statements[] = {{"set", parser_set}, {"for", parser_for}, {"if", parser_if}, {"macro", parser_macro},
        {"call", parser_call}, {"filter", parser_filter_block}, {"with", parser_with},
        {"generation", parser_generation}, {"print", parser_print}, {"break", parser_jump},
        {"continue", parser_jump}};

static void parser_refuse_tag(struct parser *p) {
	static const char *const known[] = {
	        "include", "import", "from", "extends", "block", "autoescape", "do", "trans", "debug"};
	const struct str *s = p->at->value.u.s;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (jinja_str_is(s, known[i]))
			jinja_fail(p->j, -ENOTSUP, "{%% %s %%} is not supported in chat templates", known[i]);
	jinja_fail(p->j, -EINVAL, "the tag {%% %.*s %%} is not known, or stands at the wrong place",
	        (int)(s->len < 100 ? s->len : 100), s->p);
}

static struct node *parser_statement(struct parser *p) {
	p->j->line = p->at->line;
	if (p->at->type != T_NAME)
		jinja_unexpected(p);
	for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
		if (jinja_is_name(p->at, statements[i].name))
			return statements[i].parse(p);
	parser_refuse_tag(p);
	return NULL;
}

static struct node *parser_output(struct parser *p) {
	struct node *n = jinja_node(p, N_PRINT);
	p->at++;
	n->list = jinja_parse_tuple(p, true, NULL);
	parser_expect(p, T_VARIABLE_END);
	return n;
}

static bool parser_is_one_of(const struct token *t, const char *const *names) {
	for (; names && *names; names++)
		if (jinja_is_name(t, *names))
			return true;
	return false;
}

/* Statements until a tag of one of these names, which is then the token at hand; NULL: until the end of the template. */
static struct node *parser_statements(struct parser *p, const char *const *ends) {
	struct node *first = NULL, **to = &first;
	for (; p->at->type != T_END; to = &(*to)->next) {
		if (p->at->type == T_DATA) {
			*to = jinja_node(p, N_DATA);
			(*to)->value = (p->at++)->value;
		} else if (p->at->type == T_VARIABLE_BEGIN) {
			*to = parser_output(p);
		} else {
			parser_expect(p, T_BLOCK_BEGIN);
			if (parser_is_one_of(p->at, ends))
				return first;
			*to = parser_statement(p);
			parser_expect(p, T_BLOCK_END);
		}
	}
	const char *end = NULL;
	for (; ends && *ends; ends++)
		end = *ends;
	if (end)
		jinja_fail(p->j, -EINVAL, "the template ends where {%% %s %%} is missing", end);
	return first;
}

static struct node *parser_body(struct parser *p, const char *const *ends) {
	jinja_skip_op(p, OP_COLON);
	parser_expect(p, T_BLOCK_END);
	jinja_enter(p->j);
	struct node *body = parser_statements(p, ends);
	jinja_leave(p->j);
	return body;
}

struct node *jinja_parse(struct jinja *j, const char *text, size_t len) {
	struct tokens tokens = jinja_lex(j, text, len);
	struct parser p = {.j = j, .at = tokens.t};
	return parser_statements(&p, NULL);
}
