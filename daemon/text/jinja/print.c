/* print: values as Python prints them: str() and repr().
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/jinja/value_internal.h"
#include "daemon/text/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fewest digits that are this number, as d.ddde±x. */
static int print_shortest(char *digits, size_t size, double f) {
	for (int precision = 0; precision < 17; precision++) {
		snprintf(digits, size, "%.*e", precision, f);
		if (strtod(digits, NULL) == f)
			break;
	}
	return atoi(strchr(digits, 'e') + 1);
}

void jinja_put_float(struct jinja *j, struct buf *b, double f) {
	char digits[40], text[64];
	if (isnan(f) || isinf(f)) {
		jinja_put_text(j, b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
		return;
	}
	jinja_step(j, 512); /* it takes longer than other things */
	int exponent = print_shortest(digits, sizeof digits, f);
	char *e = strchr(digits, 'e');
	int after = (int)(e - digits) - (digits[0] == '-') - 2; /* digits behind the point */
	after = after < 0 ? 0 : after;
	if (exponent < -4 || exponent >= 16) {
		*e = '\0';
		snprintf(text, sizeof text, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
	} else {
		int places = after - exponent;
		snprintf(text, sizeof text, "%.*f", places > 1 ? places : 1, f);
	}
	jinja_put_text(j, b, text);
}

void jinja_put_int(struct jinja *j, struct buf *b, int64_t i) {
	char text[24];
	snprintf(text, sizeof text, "%" PRId64, i);
	jinja_put_text(j, b, text);
}

static void print_put_escape(struct jinja *j, struct buf *b, uint32_t c) {
	char text[16];
	switch (c) {
	case '\n':
		jinja_put_text(j, b, "\\n");
		return;
	case '\r':
		jinja_put_text(j, b, "\\r");
		return;
	case '\t':
		jinja_put_text(j, b, "\\t");
		return;
	}
	snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
	jinja_put_text(j, b, text);
}

static void print_put_string_repr(struct jinja *j, struct buf *b, const struct str *s) {
	bool doubled = s->len && memchr(s->p, '\'', s->len) && !memchr(s->p, '"', s->len);
	char quote = doubled ? '"' : '\'';
	if (s->markup)
		jinja_put_text(j, b, "Markup(");
	jinja_put(j, b, &quote, 1, NULL);
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		uint32_t c = utf8_code(s->p + i, n);
		if (c == (uint32_t)quote || c == '\\')
			jinja_put_text(j, b, "\\");
		if (jinja_is_printable(j, c))
			jinja_put(j, b, s->p + i, n, s->given ? s->given + i : NULL);
		else
			print_put_escape(j, b, c);
	}
	jinja_put(j, b, &quote, 1, NULL);
	if (s->markup)
		jinja_put_text(j, b, ")");
}

static void print_put_items(
        struct jinja *j, struct buf *b, const struct seq *s, const char *open, const char *close) {
	jinja_put_text(j, b, open);
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			jinja_put_text(j, b, ", ");
		jinja_put_repr(j, b, s->v[i]);
	}
	jinja_put_text(j, b, close);
}

static void print_put_dict(struct jinja *j, struct buf *b, const struct dict *d) {
	jinja_put_text(j, b, "{");
	for (size_t i = 0; i < d->n; i++) {
		if (i)
			jinja_put_text(j, b, ", ");
		jinja_put_repr(j, b, d->e[i].key);
		jinja_put_text(j, b, ": ");
		jinja_put_repr(j, b, d->e[i].value);
	}
	jinja_put_text(j, b, "}");
}

static void print_put_range(struct jinja *j, struct buf *b, const struct seq *s) {
	jinja_put_text(j, b, "range(");
	jinja_put_int(j, b, s->start);
	jinja_put_text(j, b, ", ");
	jinja_put_int(j, b, s->stop);
	if (s->step != 1) {
		jinja_put_text(j, b, ", ");
		jinja_put_int(j, b, s->step);
	}
	jinja_put_text(j, b, ")");
}

static void print_put_parts(struct jinja *j, struct buf *b, struct value v) {
	switch (v.type) {
	case V_UNDEFINED:
		jinja_put_text(j, b, "Undefined");
		return;
	case V_NONE:
		jinja_put_text(j, b, "None");
		return;
	case V_BOOL:
		jinja_put_text(j, b, v.u.b ? "True" : "False");
		return;
	case V_INT:
		jinja_put_int(j, b, v.u.i);
		return;
	case V_FLOAT:
		jinja_put_float(j, b, v.u.f);
		return;
	case V_STRING:
		print_put_string_repr(j, b, v.u.s);
		return;
	case V_LIST:
		print_put_items(j, b, v.u.seq, "[", "]");
		return;
	case V_TUPLE:
		print_put_items(j, b, v.u.seq, "(", v.u.seq->n == 1 ? ",)" : ")");
		return;
	case V_DICT:
		print_put_dict(j, b, v.u.dict);
		return;
	case V_RANGE:
		print_put_range(j, b, v.u.seq);
		return;
	case V_VIEW:
		jinja_put_text(j, b, v.u.seq->name);
		print_put_items(j, b, v.u.seq, "([", "])");
		return;
	case V_NAMESPACE:
		jinja_put_text(j, b, "<Namespace ");
		print_put_dict(j, b, v.u.dict);
		jinja_put_text(j, b, ">");
		return;
	case V_MACRO:
	case V_LOOP:
		jinja_put_object(j, b, v);
		return;
	default:
		jinja_fail(j, -ENOTSUP, "printing a %s is not supported", jinja_type_name(v));
	}
}

void jinja_put_repr(struct jinja *j, struct buf *b, struct value v) {
	size_t from = b->len;
	jinja_step(j, 0);
	jinja_enter(j);
	print_put_parts(j, b, v);
	jinja_leave(j);
	jinja_spread_given(b, from);
}

void jinja_put_value(struct jinja *j, struct buf *b, struct value v) {
	if (v.type == V_STRING)
		jinja_put_str(j, b, v.u.s);
	else if (v.type != V_UNDEFINED)
		jinja_put_repr(j, b, v);
}

const struct str *jinja_to_str(struct jinja *j, struct value v) {
	if (v.type == V_STRING)
		return v.u.s;
	struct buf b = {0};
	jinja_put_value(j, &b, v);
	return jinja_buf_str(j, &b);
}
