/* filters_text: Jinja's filters of single values: texts and numbers (jinja2/filters.py), and transformers' tojson.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/utf8.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name) static struct value name(struct jinja *j, struct value self, const struct args *a)

FILTER(filter_upper) {
	return value_str(jinja_change_case(j, jinja_to_str(j, self), CASE_UPPER));
}

FILTER(filter_lower) {
	return value_str(jinja_change_case(j, jinja_to_str(j, self), CASE_LOWER));
}

FILTER(filter_capitalize) {
	return value_str(jinja_capitalize(j, jinja_to_str(j, self)));
}

static bool filter_parts_words(uint32_t c) {
	return jinja_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
}

/* The first letter of what stands behind white space or one of -({[< */
FILTER(filter_title) {
	const struct str *s = jinja_to_str(j, self);
	struct buf b = {0};
	bool within = false;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		const struct str *c = jinja_sub(j, s, i, i + n);
		jinja_put_str(j, &b, jinja_change_case(j, c, within ? CASE_LOWER : CASE_UPPER));
		within = !filter_parts_words(utf8_code(s->p + i, n));
	}
	return jinja_buf_value(j, &b);
}

FILTER(filter_trim) {
	const struct str *chars = args_has(a, 0) && a->v[0].type != V_NONE ? jinja_arg_str(j, a, 0) : NULL;
	return value_str(jinja_strip(j, jinja_to_str(j, self), chars, STRIP_BOTH));
}

FILTER(filter_center) {
	return value_str(
	        jinja_pad(j, jinja_to_str(j, self), jinja_arg_int(j, a, 0, 80), jinja_str(j, " ", 1), 1));
}

FILTER(filter_replace) {
	int64_t count = args_has(a, 2) && a->v[2].type != V_NONE ? jinja_need_int(j, a->v[2], "a count") : -1;
	return value_str(jinja_replace(
	        j, jinja_to_str(j, self), jinja_to_str(j, a->v[0]), jinja_to_str(j, a->v[1]), count));
}

FILTER(filter_string) {
	return value_str(jinja_to_str(j, self));
}

static struct value filter_as_markup(struct jinja *j, const struct str *s) {
	struct str *copy = jinja_alloc(j, sizeof *copy);
	*copy = *s;
	copy->markup = true;
	return value_str(copy);
}

FILTER(filter_safe) {
	return filter_as_markup(j, jinja_to_str(j, self));
}

FILTER(filter_escape) {
	const struct str *s = jinja_to_str(j, self);
	return value_str(s->markup ? s : jinja_escape(j, s));
}

FILTER(filter_forceescape) {
	return value_str(jinja_escape(j, jinja_to_str(j, self)));
}

FILTER(filter_format) {
	const struct str *format = jinja_to_str(j, self);
	if (a->n && a->nnamed)
		jinja_fail(j, -EINVAL, "format takes positions or names, not both");
	struct seq *s = jinja_seq(j, a->n);
	if (a->n)
		memcpy(s->v, a->v, a->n * sizeof *s->v);
	struct dict *d = jinja_dict(j);
	for (size_t i = 0; i < a->nnamed; i++)
		jinja_dict_set(j, d, value_str(a->named[i].name), a->named[i].v);
	return jinja_format(j, format, a->nnamed ? value_dict(d) : value_seq(V_TUPLE, s));
}

static const struct str *filter_indention(struct jinja *j, const struct args *a) {
	if (args_has(a, 0) && a->v[0].type == V_STRING)
		return a->v[0].u.s;
	struct buf b = {0};
	int64_t n = jinja_arg_int(j, a, 0, 4);
	jinja_put_char(j, &b, ' ', n > 0 ? (size_t)n : 0);
	return jinja_buf_str(j, &b);
}

FILTER(filter_indent) {
	const struct str *width = filter_indention(j, a), *s = jinja_need_str(j, self, "what is indented");
	bool first = jinja_arg_truth(a, 1, false), blank = jinja_arg_truth(a, 2, false);
	struct buf with_end = {0}, b = {0};
	jinja_put_str(j, &with_end, s);
	jinja_put_text(j, &with_end, "\n");
	const struct seq *lines = jinja_lines(j, jinja_buf_str(j, &with_end), false);
	for (size_t i = 0; i < lines->n; i++) {
		const struct str *line = lines->v[i].u.s;
		if (i)
			jinja_put_text(j, &b, "\n");
		if (i ? blank || line->len : first)
			jinja_put_str(j, &b, width);
		jinja_put_str(j, &b, line);
	}
	return jinja_buf_value(j, &b);
}

FILTER(filter_truncate) {
	int64_t length = jinja_arg_int(j, a, 0, 255);
	bool kill = jinja_arg_truth(a, 1, false);
	const struct str *end = args_has(a, 2) ? jinja_arg_str(j, a, 2) : jinja_str(j, "...", 3);
	int64_t leeway =
	        args_has(a, 3) && a->v[3].type != V_NONE ? jinja_need_int(j, a->v[3], "a leeway") : 5;
	if (length < (int64_t)end->chars || leeway < 0)
		jinja_fail(j, -EINVAL, "truncate: the length or the leeway is too small");
	const struct args none = {0};
	struct value n = jinja_filter(jinja_str(j, "length", 6))->call(j, self, &none);
	if (n.u.i <= length || n.u.i - length <= leeway)
		return self;
	const struct str *s = jinja_need_str(j, self, "what is truncated");
	const struct str *cut = jinja_sub(j, s, 0, jinja_offset(s, (size_t)length - end->chars));
	const char *space = kill ? NULL : memrchr(cut->p, ' ', cut->len);
	struct buf b = {0};
	jinja_put_str(j, &b, space ? jinja_sub(j, cut, 0, (size_t)(space - cut->p)) : cut);
	jinja_put_str(j, &b, end);
	return jinja_buf_value(j, &b);
}

FILTER(filter_wordcount) {
	const struct str *s = jinja_to_str(j, self);
	int64_t words = 0;
	bool within = false;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		uint32_t c = utf8_code(s->p + i, n);
		jinja_step(j, 0);
		bool word = c < 0x80 ? isalnum((int)c) || c == '_' : jinja_is(j, UNICODE_WORD, c);
		words += word && !within;
		within = word;
	}
	return value_int(words);
}

static void filter_put_quoted(struct jinja *j, struct buf *b, const struct str *s, bool query) {
	for (size_t i = 0; i < s->len; i++) {
		unsigned char c = (unsigned char)s->p[i];
		char text[4];
		if (isalnum(c) || (c && strchr("_.-~", c)) || (c == '/' && !query))
			jinja_put(j, b, s->p + i, 1, s->given ? s->given + i : NULL);
		else if (c == ' ' && query)
			jinja_put_text(j, b, "+");
		else if (snprintf(text, sizeof text, "%%%02X", c) > 0)
			jinja_put_text(j, b, text);
	}
}

static void filter_put_query(struct jinja *j, struct buf *b, struct value key, struct value v) {
	if (b->len)
		jinja_put_text(j, b, "&");
	filter_put_quoted(j, b, jinja_to_str(j, key), true);
	jinja_put_text(j, b, "=");
	filter_put_quoted(j, b, jinja_to_str(j, v), true);
}

FILTER(filter_urlencode) {
	struct buf b = {0};
	if (self.type == V_STRING || !jinja_iterable(self)) {
		filter_put_quoted(j, &b, jinja_to_str(j, self), false);
	} else if (self.type == V_DICT) {
		for (size_t i = 0; i < self.u.dict->n; i++)
			filter_put_query(j, &b, self.u.dict->e[i].key, self.u.dict->e[i].value);
	} else {
		const struct seq *s = jinja_items(j, self);
		for (size_t i = 0; i < s->n; i++) {
			const struct seq *pair = jinja_items(j, s->v[i]);
			if (pair->n != 2)
				jinja_fail(j, -EINVAL, "urlencode needs pairs");
			filter_put_query(j, &b, pair->v[0], pair->v[1]);
		}
	}
	return jinja_buf_value(j, &b);
}

/* s without what begins with open and ends with close. */
static const struct str *filter_without(
        struct jinja *j, const struct str *s, const char *open, const char *close) {
	struct buf b = {0};
	size_t at = 0;
	for (;;) {
		const char *from = memmem(s->p + at, s->len - at, open, strlen(open));
		const char *end =
		        from ? memmem(from, s->len - (size_t)(from - s->p), close, strlen(close)) : NULL;
		if (!end)
			break;
		jinja_put_str(j, &b, jinja_sub(j, s, at, (size_t)(from - s->p)));
		at = (size_t)(end - s->p) + strlen(close);
	}
	jinja_put_str(j, &b, jinja_sub(j, s, at, s->len));
	return jinja_buf_str(j, &b);
}

FILTER(filter_striptags) {
	const struct str *s = jinja_to_str(j, self);
	if (memchr(s->p, '&', s->len))
		jinja_fail(j, -ENOTSUP, "striptags of a text with & is not supported");
	s = filter_without(j, filter_without(j, s, "<!--", "-->"), "<", ">");
	struct buf b = {0};
	bool within = false;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		bool space = jinja_is_space(utf8_code(s->p + i, n));
		if (!space && !within && b.len)
			jinja_put_text(j, &b, " ");
		if (!space)
			jinja_put_str(j, &b, jinja_sub(j, s, i, i + n));
		within = !space;
	}
	return jinja_buf_value(j, &b);
}

/* ---- numbers */

/* What Python's int() and float() take of a text: without white space around and single _ between digits. */
static char *filter_number_text(struct jinja *j, const struct str *s) {
	s = jinja_strip(j, s, NULL, STRIP_BOTH);
	char *text = jinja_alloc_text(j, s->len + 1), *to = text;
	for (size_t i = 0; i < s->len; i++) {
		bool between = i > 0 && i + 1 < s->len && isalnum((unsigned char)s->p[i - 1]) &&
		               isalnum((unsigned char)s->p[i + 1]);
		if (s->p[i] == '_' && between)
			continue;
		*to++ = s->p[i] ? s->p[i] : '?';
	}
	*to = '\0';
	return text;
}

static bool filter_parse_int(struct jinja *j, const struct str *s, int base, int64_t *i) {
	char *text = filter_number_text(j, s), *end;
	const char *digits = text + (*text == '-' || *text == '+');
	if (!isalnum((unsigned char)*digits) || (base == 16 && !isxdigit((unsigned char)*digits)))
		return false;
	errno = 0;
	*i = strtoll(text, &end, base);
	if (*end == '\0' && errno == ERANGE)
		jinja_fail(j, -ENOTSUP, "integers of more than 64 bits are not supported");
	return *end == '\0' && end > digits;
}

static bool filter_parse_float(struct jinja *j, const struct str *s, double *f) {
	char *text = filter_number_text(j, s), *end;
	const char *digits = text + (*text == '-' || *text == '+');
	if (!*digits || isspace((unsigned char)*digits) || strpbrk(digits, "xX(+-") == digits ||
	        (digits[0] == '0' && (digits[1] | 0x20) == 'x') || strchr(digits, '('))
		return false;
	*f = strtod(text, &end);
	return *end == '\0';
}

static bool filter_to_float(struct jinja *j, struct value v, double *f) {
	jinja_need_defined(j, v);
	if (jinja_is_number(v)) {
		*f = jinja_number(v);
		return true;
	}
	return v.type == V_STRING && filter_parse_float(j, v.u.s, f);
}

FILTER(filter_int) {
	struct value otherwise = args_has(a, 0) ? a->v[0] : value_int(0);
	int64_t base = jinja_arg_int(j, a, 1, 10), i;
	double f;
	if (jinja_is_integer(self))
		return value_int(jinja_integer(self));
	if (base != 10 && base != 16 && base != 8 && base != 2)
		jinja_fail(j, -ENOTSUP, "int: only the bases 2, 8, 10 and 16 are supported");
	if (self.type == V_STRING && base != 10 && base != 16)
		jinja_fail(j, -ENOTSUP, "int: texts of base 2 and 8 are not supported");
	if (self.type == V_STRING && filter_parse_int(j, self.u.s, (int)base, &i))
		return value_int(i);
	if (!filter_to_float(j, self, &f) || isnan(f) || (isinf(f) && self.type == V_STRING))
		return otherwise;
	if (!(fabs(f) < 0x1p63))
		jinja_fail(j, -ENOTSUP, "integers of more than 64 bits are not supported");
	return value_int((int64_t)f);
}

FILTER(filter_float) {
	double f;
	if (filter_to_float(j, self, &f))
		return value_float(f);
	return args_has(a, 0) ? a->v[0] : value_float(0);
}

FILTER(filter_abs) {
	jinja_need_defined(j, self);
	if (!jinja_is_number(self))
		jinja_fail(j, -EINVAL, "abs is not for a %s", jinja_type_name(self));
	if (self.type == V_FLOAT)
		return value_float(fabs(self.u.f));
	return jinja_integer(self) < 0 ? jinja_unary(j, OP_SUB, self) : value_int(jinja_integer(self));
}

/* To the nearest decimal, of two the even one: of the exact value, as Python does. */
static struct value filter_round_common(struct jinja *j, struct value v, int64_t precision) {
	char text[400];
	if (precision < 0)
		jinja_fail(j, -ENOTSUP, "round to tens is not supported");
	if (v.type != V_FLOAT)
		return value_int(jinja_integer(v));
	if (precision > 20 || !isfinite(v.u.f))
		return v;
	snprintf(text, sizeof text, "%.*f", (int)precision, v.u.f);
	return value_float(strtod(text, NULL));
}

FILTER(filter_round) {
	int64_t precision = jinja_arg_int(j, a, 0, 0);
	const struct str *method = jinja_arg_str(j, a, 1);
	jinja_need_defined(j, self);
	if (!jinja_is_number(self))
		jinja_fail(j, -EINVAL, "round is not for a %s", jinja_type_name(self));
	if (!method || jinja_str_is(method, "common"))
		return filter_round_common(j, self, precision);
	if (precision < 0 || precision > 15)
		jinja_fail(j, -ENOTSUP, "round: a precision outside of 0 to 15 is not supported");
	double scale = pow(10, (double)precision), f = jinja_number(self) * scale;
	if (!isfinite(f))
		jinja_fail(j, -EINVAL, "round is not for an infinite number");
	if (jinja_str_is(method, "ceil"))
		return value_float(ceil(f) / scale + 0.0);
	if (jinja_str_is(method, "floor"))
		return value_float(floor(f) / scale + 0.0);
	jinja_fail(j, -EINVAL, "round: the method must be common, ceil or floor");
}

/* ---- any value */

FILTER(filter_default) {
	(void)j;
	if (self.type == V_UNDEFINED || (jinja_arg_truth(a, 1, false) && !jinja_truth(self)))
		return args_has(a, 0) ? a->v[0] : value_str(jinja_str(j, "", 0));
	return self;
}

static const struct str *filter_json_indent(struct jinja *j, const struct args *a) {
	if (!args_has(a, 1) || a->v[1].type == V_NONE)
		return NULL;
	if (a->v[1].type == V_STRING)
		return a->v[1].u.s;
	int64_t n = jinja_need_int(j, a->v[1], "an indent");
	struct buf b = {0};
	jinja_put_char(j, &b, ' ', n > 0 ? (size_t)n : 0);
	return jinja_buf_str(j, &b);
}

FILTER(filter_tojson) {
	struct json_style style = {
	        .ascii = jinja_arg_truth(a, 0, false), .sort = jinja_arg_truth(a, 3, false)};
	struct buf b = {0};
	style.indent = filter_json_indent(j, a);
	style.item = style.indent ? jinja_str(j, ",", 1) : jinja_str(j, ", ", 2);
	style.key = jinja_str(j, ": ", 2);
	if (args_has(a, 2) && a->v[2].type != V_NONE) {
		const struct seq *s = jinja_items(j, a->v[2]);
		if (s->n != 2)
			jinja_fail(j, -EINVAL, "tojson: there are two separators");
		style.item = jinja_need_str(j, s->v[0], "a separator");
		style.key = jinja_need_str(j, s->v[1], "a separator");
	}
	jinja_put_json(j, &b, self, &style);
	return jinja_buf_value(j, &b);
}

static struct value filter_sorted_dicts(struct jinja *j, struct value v);

static struct seq *filter_sorted_parts(struct jinja *j, const struct seq *s) {
	struct seq *out = jinja_seq(j, s->n);
	for (size_t i = 0; i < s->n; i++)
		out->v[i] = filter_sorted_dicts(j, s->v[i]);
	return out;
}

/* pprint sorts dicts by their keys. */
static struct value filter_sorted_dicts(struct jinja *j, struct value v) {
	jinja_step(j, 0);
	jinja_enter(j);
	if (v.type == V_LIST || v.type == V_TUPLE) {
		v = value_seq(v.type, filter_sorted_parts(j, v.u.seq));
	} else if (v.type == V_DICT) {
		struct dict *d = jinja_dict(j);
		d->n = d->cap = v.u.dict->n;
		d->e = jinja_alloc(j, d->n * sizeof *d->e);
		for (size_t i = 0; i < d->n; i++) {
			size_t at = i;
			for (; at > 0 && jinja_compare(j, v.u.dict->e[i].key, d->e[at - 1].key, "<") < 0;
			        at--)
				d->e[at] = d->e[at - 1];
			d->e[at] = (struct pair){
			        v.u.dict->e[i].key, filter_sorted_dicts(j, v.u.dict->e[i].value)};
		}
		v = value_dict(d);
	}
	jinja_leave(j);
	return v;
}

FILTER(filter_pprint) {
	struct buf b = {0};
	jinja_put_repr(j, &b, filter_sorted_dicts(j, self));
	const struct str *s = jinja_buf_str(j, &b);
	if (s->chars > 80)
		jinja_fail(j, -ENOTSUP, "pprint of more than a line is not supported");
	return value_str(s);
}

FILTER(filter_attr) {
	const struct str *name = jinja_arg_str(j, a, 0);
	if (self.type == V_DICT && jinja_dict_find_text(self.u.dict, name->p, name->len) &&
	        !jinja_container_method(V_DICT, name))
		return value_undefined(UNDEFINED_ATTRIBUTE, name);
	return jinja_attribute(j, self, name);
}

const struct builtin jinja_text_filters[] = {
        {"abs", "", 0, filter_abs},
        {"attr", "name", 1, filter_attr},
        {"capitalize", "", 0, filter_capitalize},
        {"center", "width", 0, filter_center},
        {"d", "default_value boolean", 0, filter_default},
        {"default", "default_value boolean", 0, filter_default},
        {"e", "", 0, filter_escape},
        {"escape", "", 0, filter_escape},
        {"float", "default", 0, filter_float},
        {"forceescape", "", 0, filter_forceescape},
        {"format", "**", 0, filter_format},
        {"indent", "width first blank", 0, filter_indent},
        {"int", "default base", 0, filter_int},
        {"lower", "", 0, filter_lower},
        {"pprint", "", 0, filter_pprint},
        {"replace", "old new count", 2, filter_replace},
        {"round", "precision method", 0, filter_round},
        {"safe", "", 0, filter_safe},
        {"string", "", 0, filter_string},
        {"striptags", "", 0, filter_striptags},
        {"title", "", 0, filter_title},
        {"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
        {"trim", "chars", 0, filter_trim},
        {"truncate", "length killwords end leeway", 0, filter_truncate},
        {"upper", "", 0, filter_upper},
        {"urlencode", "", 0, filter_urlencode},
        {"wordcount", "", 0, filter_wordcount},
};
const size_t jinja_text_filter_count = sizeof jinja_text_filters / sizeof jinja_text_filters[0];
