/* value: what expressions yield: Python's values as far as templates see them, and the texts among them.
 *
 * Values are immutable but for namespaces, cyclers, joiners, and iterators that are used up.  They live in an arena, or
 * in the template where they are constants; nothing is freed one by one.
 * One thread. */
#ifndef DAEMON_TEXT_JINJA_VALUE_INTERNAL_H
#define DAEMON_TEXT_JINJA_VALUE_INTERNAL_H
#include "daemon/text/jinja/state_internal.h"
#include <jansson.h>

enum value_type {
	V_MISSING, /* no value: an argument that was not given */
	V_UNDEFINED,
	V_NONE,
	V_BOOL,
	V_INT,
	V_FLOAT,
	V_STRING,
	V_LIST,
	V_TUPLE,
	V_DICT,
	V_RANGE,
	V_VIEW,     /* of a dict: keys(), values(), items() */
	V_ITERATOR, /* what Python makes a generator of: to be used once */
	V_NAMESPACE,
	V_FUNCTION,
	V_MACRO,
	V_LOOP,
	V_CYCLER,
	V_JOINER
};

/* Valid UTF-8.  Immutable. */
struct str {
	const char *p;
	const uint8_t *given; /* a byte for each of p, 1 where it is a client's; NULL: none is */
	size_t len;           /* bytes */
	size_t chars;
	bool markup; /* Jinja's Markup: what is added to it is escaped */
};

enum undefined_kind {
	UNDEFINED_NAME,      /* no variable s */
	UNDEFINED_ATTRIBUTE, /* nothing has an attribute or an element s */
	UNDEFINED_CHANGES,   /* the method s changes a value, which templates may not */
	UNDEFINED_HINT       /* s says it */
};

struct value {
	enum value_type type;
	enum undefined_kind undefined;
	union {
		bool b;
		int64_t i;
		double f;
		const struct str *s; /* a string; or what is undefined */
		struct seq *seq;     /* list, tuple, range, view, iterator, cycler */
		struct dict *dict;   /* dict, namespace */
		struct function *function;
		struct macro *macro;
		struct loop *loop;
		struct joiner *joiner;
	} u;
};

struct args;
struct seq;

/* What a generator will yield: worked out when it is first asked, as in Python, so that what is wrong with it is told then. */
struct pending {
	struct seq *(*make)(struct jinja *j, struct value self, const struct args *a);
	struct value self;
	const struct args *a;
};

struct seq {
	struct value *v;
	size_t n;
	size_t at;                     /* iterators and cyclers: the next one */
	int64_t start, stop, step;     /* ranges */
	const char *name;              /* of a view, "dict_keys"; of a pair of groupby, "group" */
	const struct pending *pending; /* iterators: v is not there yet */
};

struct pair {
	struct value key, value;
};

struct dict {
	struct pair *e;
	size_t n, cap;
};

struct joiner {
	const struct str *sep;
	bool used;
};

static inline struct value value_none(void) {
	return (struct value){.type = V_NONE};
}
static inline struct value value_missing(void) {
	return (struct value){.type = V_MISSING};
}
static inline struct value value_bool(bool b) {
	return (struct value){.type = V_BOOL, .u.b = b};
}
static inline struct value value_int(int64_t i) {
	return (struct value){.type = V_INT, .u.i = i};
}
static inline struct value value_float(double f) {
	return (struct value){.type = V_FLOAT, .u.f = f};
}
static inline struct value value_str(const struct str *s) {
	return (struct value){.type = V_STRING, .u.s = s};
}
static inline struct value value_seq(enum value_type type, struct seq *seq) {
	return (struct value){.type = type, .u.seq = seq};
}
static inline struct value value_dict(struct dict *d) {
	return (struct value){.type = V_DICT, .u.dict = d};
}
static inline struct value value_undefined(enum undefined_kind kind, const struct str *s) {
	return (struct value){.type = V_UNDEFINED, .undefined = kind, .u.s = s};
}
static inline bool value_is(struct value v, enum value_type type) {
	return v.type == type;
}

/* The borrowed bytes as a text; from bytes that live as long as the arena. */
struct str *jinja_str(struct jinja *j, const char *p, size_t len);
/* A copy of a C string's. */
struct value jinja_text(struct jinja *j, const char *s);
struct value jinja_hint(struct jinja *j, const char *sentence);
/* Bytes from to end of s. */
const struct str *jinja_sub(struct jinja *j, const struct str *s, size_t from, size_t end);
bool jinja_str_is(const struct str *s, const char *text);
bool jinja_str_equal(const struct str *a, const struct str *b);
/* Where the character at begins, in bytes; at is at most s->chars. */
size_t jinja_offset(const struct str *s, size_t at);

/* A text that grows. */
struct buf {
	char *p;
	uint8_t *given; /* NULL as long as nothing is given */
	size_t len, cap;
};
void jinja_put(struct jinja *j, struct buf *b, const char *p, size_t len, const uint8_t *given);
void jinja_put_str(struct jinja *j, struct buf *b, const struct str *s);
void jinja_put_text(struct jinja *j, struct buf *b, const char *s);
/* All of b from that byte on is given, if a byte of it is. */
void jinja_spread_given(struct buf *b, size_t from);
void jinja_put_char(struct jinja *j, struct buf *b, char c, size_t times);
void jinja_put_code(struct jinja *j, struct buf *b, uint32_t code, uint8_t given);
const struct str *jinja_buf_str(struct jinja *j, const struct buf *b);
struct value jinja_buf_value(struct jinja *j, const struct buf *b);

/* n values, which are zeroed (V_MISSING) and for the caller to fill. */
struct seq *jinja_seq(struct jinja *j, size_t n);
/* Appends to a sequence whose room is *cap. */
void jinja_seq_add(struct jinja *j, struct seq *s, size_t *cap, struct value v);
struct dict *jinja_dict(struct jinja *j);
/* NULL where it is not there; a key that can be none (a list, a dict) fails. */
struct value *jinja_dict_find(struct jinja *j, const struct dict *d, struct value key);
struct value *jinja_dict_find_text(const struct dict *d, const char *key, size_t len);
void jinja_dict_set(struct jinja *j, struct dict *d, struct value key, struct value v);

/* Works out what an iterator yields, unless that is done. */
void jinja_realize(struct jinja *j, struct seq *s);

/* All of v's items, in order: what a Python loop goes over; an iterator's are used up by it.  Fails for what has none. */
struct seq *jinja_items(struct jinja *j, struct value v);
bool jinja_iterable(struct value v);
bool jinja_truth(struct value v);
bool jinja_equal(struct jinja *j, struct value a, struct value b);
/* -1, 0, 1; NOT_ORDERED with a float that is not a number.  Fails for what Python does not compare; op is for that sentence. */
#define NOT_ORDERED 2
int jinja_compare(struct jinja *j, struct value a, struct value b, const char *op);
/* Whether v counts as a number (a bool does), and which. */
bool jinja_is_number(struct value v);
bool jinja_is_integer(struct value v); /* int or bool */
int64_t jinja_integer(struct value v);
double jinja_number(struct value v);
/* Python's name of its type. */
const char *jinja_type_name(struct value v);
/* Fails where v is undefined, saying what is. */
void jinja_need_defined(struct jinja *j, struct value v);

/* given: its strings are marked as a client's. */
struct value jinja_from_json(struct jinja *j, const json_t *json, bool given);

/* print.c.  Python's str() and repr(). */
const struct str *jinja_to_str(struct jinja *j, struct value v);
void jinja_put_value(struct jinja *j, struct buf *b, struct value v); /* as str() */
void jinja_put_repr(struct jinja *j, struct buf *b, struct value v);
void jinja_put_float(struct jinja *j, struct buf *b, double f);
void jinja_put_int(struct jinja *j, struct buf *b, int64_t i);
/* json.c.  Python's json.dumps. */
struct json_style {
	bool ascii, sort;
	const struct str *indent;     /* NULL: on one line */
	const struct str *item, *key; /* separators */
};
void jinja_put_json(struct jinja *j, struct buf *b, struct value v, const struct json_style *style);

#endif
