/* ast: a template in pieces: tokens, and the tree that is made of them.
 *
 * All of it is in the arena of the template and refers to the template's text.  Immutable once parsed. */
#ifndef DAEMON_TEXT_JINJA_AST_INTERNAL_H
#define DAEMON_TEXT_JINJA_AST_INTERNAL_H
#include "daemon/text/jinja/value_internal.h"

enum token_type {
	T_END, /* of the template */
	T_DATA,
	T_BLOCK_BEGIN,
	T_BLOCK_END,
	T_VARIABLE_BEGIN,
	T_VARIABLE_END,
	T_NAME,
	T_STRING,
	T_INTEGER,
	T_FLOAT,
	T_OPERATOR
};

enum operator_type {
	OP_NONE,
	OP_ADD,
	OP_SUB,
	OP_MUL,
	OP_DIV,
	OP_FLOORDIV,
	OP_MOD,
	OP_POW,
	OP_TILDE,
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_IN,
	OP_NOT_IN,
	OP_ASSIGN,
	OP_DOT,
	OP_COLON,
	OP_COMMA,
	OP_PIPE,
	OP_SEMICOLON,
	OP_LPAREN,
	OP_RPAREN,
	OP_LBRACKET,
	OP_RBRACKET,
	OP_LBRACE,
	OP_RBRACE
};

struct token {
	enum token_type type;
	enum operator_type op;
	unsigned line;
	struct value value; /* data, names and strings: a string; numbers */
};

struct tokens {
	struct token *t; /* the last one is T_END */
	size_t n;
};
/* text: normalised by the lexer, which copies it.  Fails for what is none of Jinja's. */
struct tokens jinja_lex(struct jinja *j, const char *text, size_t len);
/* How an operator is written. */
const char *jinja_operator_text(enum operator_type op);

enum node_type {
	/* expressions */
	N_CONST,     /* value */
	N_NAME,      /* name */
	N_TUPLE,     /* list */
	N_LIST,      /* list */
	N_DICT,      /* list of N_PAIR: a: b */
	N_PAIR,      /* a, b */
	N_ATTRIBUTE, /* a . name */
	N_ITEM,      /* a [ b ] */
	N_SLICE,     /* a : b : c, each may be NULL */
	N_CALL,      /* a ( list ) */
	N_FILTER,    /* a | name ( list ); a NULL: of a block */
	N_TEST,      /* a is name ( list ) */
	N_NAMED,     /* an argument: name = a */
	N_STAR,      /* * a */
	N_STARSTAR,  /* ** a */
	N_NOT,       /* a */
	N_UNARY,     /* op a */
	N_BINARY,    /* a op b */
	N_CONCAT,    /* list */
	N_COMPARE,   /* a list of N_OPERAND */
	N_OPERAND,   /* op a */
	N_AND,       /* a, b */
	N_OR,        /* a, b */
	N_IF_ELSE,   /* b if a else c; c may be NULL */
	N_NAMESPACE, /* a target: name . attribute */
	/* statements */
	N_DATA,         /* value */
	N_PRINT,        /* list */
	N_IF,           /* a: body; otherwise: N_IF for elif, or, without a, for else */
	N_FOR,          /* a in b if c: body; otherwise */
	N_SET,          /* a = b */
	N_SET_BLOCK,    /* a = body, through b (filters) */
	N_MACRO,        /* name ( list of N_NAMED or N_NAME ): body */
	N_CALL_BLOCK,   /* b, a call, with the macro a as its caller */
	N_FILTER_BLOCK, /* body through b */
	N_WITH,         /* list of N_SET: body */
	N_GENERATION,   /* body */
	N_BREAK,
	N_CONTINUE
};

/* What a macro's body speaks of. */
enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };

struct node {
	enum node_type type;
	enum operator_type op;
	unsigned line;
	unsigned uses;     /* macros */
	bool recursive;    /* loops */
	struct node *next; /* in the list that it is part of */
	struct node *a, *b, *c;
	struct node *list;
	struct node *body, *otherwise;
	const struct str *name, *attribute;
	const struct builtin *builtin; /* filters and tests; NULL if none has that name */
	struct value value;
};

/* The statements of a template. */
struct node *jinja_parse(struct jinja *j, const char *text, size_t len);

/* parser.c and expressions.c between themselves */
struct parser {
	struct jinja *j;
	struct token *at;
	unsigned uses;
	unsigned loops; /* around, within the same macro */
};
struct node *jinja_node(struct parser *p, enum node_type type);
bool jinja_is_op(const struct parser *p, enum operator_type op);
bool jinja_skip_op(struct parser *p, enum operator_type op);
void jinja_expect_op(struct parser *p, enum operator_type op);
bool jinja_is_name(const struct token *t, const char *name);
bool jinja_skip_name(struct parser *p, const char *name);
const struct str *jinja_expect_name(struct parser *p);
void jinja_unexpected(struct parser *p) __attribute__((noreturn));
struct node *jinja_parse_expression(struct parser *p);
struct node *jinja_parse_or(struct parser *p);
struct node *jinja_parse_primary(struct parser *p);
/* One expression, or a tuple without parentheses.  condition: the expressions may be a if b else c; end: a name that ends it. */
struct node *jinja_parse_tuple(struct parser *p, bool condition, const char *end);
/* The filters behind a |, upon input. */
struct node *jinja_parse_filters(struct parser *p, struct node *input);
/* The first one of a block, without |. */
struct node *jinja_parse_filter(struct parser *p, struct node *input);

#endif
