/* eval: rendering: scopes, calls, operators, and the tables of what templates may call.
 * One thread. */
#ifndef DAEMON_TEXT_JINJA_EVAL_INTERNAL_H
#define DAEMON_TEXT_JINJA_EVAL_INTERNAL_H
#include "daemon/text/jinja/ast_internal.h"
#include "daemon/text/jinja/value_internal.h"

struct named {
	const struct str *name;
	struct value v;
};

/* What a call gives. */
struct args {
	struct value *v;
	size_t n;
	struct named *named;
	size_t nnamed;
};

/* A function of Python or Jinja.  self: what a method is of, or what a filter or test is put upon.
 * parameters: names, parted by spaces, of which the first `required` must be given; the arguments then come as v[0], v[1], ...,
 * V_MISSING where not given.  "*": any number of positions; "**": anything, as it was given. */
struct builtin {
	const char *name;
	const char *parameters;
	unsigned required;
	struct value (*call)(struct jinja *j, struct value self, const struct args *a);
};

struct function {
	const struct builtin *builtin;
	struct value self;
};

struct binding {
	const struct str *name;
	struct value v;
};

/* The variables of a block.  A macro keeps the scope that it is defined in. */
struct scope {
	struct scope *parent;
	struct binding *b;
	size_t n, cap;
	const struct dict *variables[2]; /* of the outermost: own, given */
};

struct macro {
	const struct node *node;
	struct scope *scope;
};

struct loop {
	const struct node *node;
	struct scope *scope; /* around it */
	struct scope *
	        inner; /* of an iteration, and again of the next, for a macro defined in it too, as in Python */
	const struct seq *items;
	size_t at;                           /* in items, of the next that is looked at */
	struct value before, current, after; /* V_MISSING: none, or not looked at */
	bool peeked;
	size_t index0;
	size_t length; /* SIZE_MAX: not known */
	unsigned depth0;
	struct value changed;
};

/* eval.c */
struct value jinja_eval(struct jinja *j, const struct node *n);
/* Whether the operators' comparison holds. */
bool jinja_compare_op(struct jinja *j, enum operator_type op, struct value a, struct value b);
void jinja_assign(struct jinja *j, const struct node *target, struct value v);
void jinja_bind(struct jinja *j, struct scope *s, const struct str *name, struct value v);
struct scope *jinja_scope(struct jinja *j, struct scope *parent);
struct args jinja_eval_args(struct jinja *j, const struct node *list);
struct value jinja_call(struct jinja *j, struct value callee, const struct args *a);
struct value jinja_call_builtin(
        struct jinja *j, const struct builtin *b, struct value self, const struct args *a, const char *kind);
struct value jinja_apply_filter(struct jinja *j, const struct node *filter, struct value input);
/* By a name that is not known before: of map, select and the like. */
const struct builtin *jinja_need_filter(struct jinja *j, const struct str *name);
const struct builtin *jinja_need_test(struct jinja *j, const struct str *name);

/* exec.c */
enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
enum flow jinja_exec(struct jinja *j, const struct node *list);
/* What the statements print, in a scope of their own below `scope`. */
struct value jinja_capture(struct jinja *j, const struct node *list, struct scope *scope);

/* macros.c, loops.c */
struct value jinja_call_macro(
        struct jinja *j, const struct macro *m, const struct args *a, const struct macro *caller);
enum flow jinja_exec_for(struct jinja *j, const struct node *n);
struct value jinja_loop_again(struct jinja *j, struct loop *of, const struct args *a);
size_t jinja_loop_length(struct jinja *j, struct loop *l);
/* The item after the current one; V_MISSING: none. */
struct value jinja_loop_peek(struct jinja *j, struct loop *l);
void jinja_put_object(struct jinja *j, struct buf *b, struct value v); /* macros and loops, as repr() */

/* operators.c */
struct value jinja_binary(struct jinja *j, enum operator_type op, struct value a, struct value b);
struct value jinja_unary(struct jinja *j, enum operator_type op, struct value a);
bool jinja_contains(struct jinja *j, struct value in, struct value v);
struct value jinja_add(struct jinja *j, struct value a, struct value b);
/* format.c: Python's % upon a string. */
struct value jinja_format(struct jinja *j, const struct str *format, struct value of);

/* format.c: str.format() */
struct value jinja_format_fields(struct jinja *j, const struct str *format, const struct args *a);

/* access.c */
struct value jinja_attribute(struct jinja *j, struct value of, const struct str *name);
struct value jinja_item(struct jinja *j, struct value of, struct value key);
/* of[from:end:step], V_NONE where one is left out */
struct value jinja_slice(
        struct jinja *j, struct value of, struct value from, struct value end, struct value step);
/* "a.b.0": by items, as filters with an attribute do; each that is not there becomes otherwise, unless that is V_MISSING. */
struct value jinja_path(struct jinja *j, struct value of, struct value path, struct value otherwise);

/* the tables; NULL if none has that name */
const struct builtin *jinja_filter(const struct str *name);
const struct builtin *jinja_test(const struct str *name);
const struct builtin *jinja_global(const struct str *name);
const struct builtin *jinja_str_method(const struct str *name);
/* dict, list and tuple */
const struct builtin *jinja_container_method(enum value_type type, const struct str *name);
const struct builtin *jinja_object_method(enum value_type type, const struct str *name);
const struct builtin *jinja_find_builtin(const struct builtin *table, size_t n, const struct str *name);
extern const struct builtin jinja_text_filters[];
extern const size_t jinja_text_filter_count;
extern const struct builtin jinja_sequence_filters[];
extern const size_t jinja_sequence_filter_count;

/* arguments */
static inline bool args_has(const struct args *a, size_t i) {
	return i < a->n && a->v[i].type != V_MISSING;
}
int64_t jinja_arg_int(struct jinja *j, const struct args *a, size_t i, int64_t otherwise);
bool jinja_arg_truth(const struct args *a, size_t i, bool otherwise);
/* NULL where it is missing. */
const struct str *jinja_arg_str(struct jinja *j, const struct args *a, size_t i);
int64_t jinja_need_int(struct jinja *j, struct value v, const char *what);
const struct str *jinja_need_str(struct jinja *j, struct value v, const char *what);

/* strings.c: Python's methods of str, which filters use as well */
enum strip_ends { STRIP_LEFT = 1, STRIP_RIGHT = 2, STRIP_BOTH = 3 };
/* chars NULL: white space */
const struct str *jinja_strip(
        struct jinja *j, const struct str *s, const struct str *chars, enum strip_ends ends);
/* count <0: all */
const struct str *jinja_replace(
        struct jinja *j, const struct str *s, const struct str *old, const struct str *new, int64_t count);
const struct str *jinja_capitalize(struct jinja *j, const struct str *s);
/* `fill` on either side up to width characters; left: how much of it stands before s, of 2 (0 none, 1 half, 2 all) */
const struct str *jinja_pad(
        struct jinja *j, const struct str *s, int64_t width, const struct str *fill, int left);
struct seq *jinja_lines(struct jinja *j, const struct str *s, bool keep_ends);
const struct str *jinja_join(struct jinja *j, const struct str *between, const struct seq *parts);
const struct str *jinja_escape(struct jinja *j, const struct str *s);

#endif
