/* format: "%s" % x and "{}".format(x), of Python: strings, integers, floats, with widths, precisions, signs and fills.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/utf8.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MAX 100000

struct spec {
	const struct str *fill; /* NULL: spaces */
	char align;             /* < > ^ = or 0 */
	char sign;              /* + or space or 0 */
	char group;             /* , or _ or 0 */
	bool alternate;         /* # */
	int64_t width;          /* 0: none */
	int precision;          /* -1: none */
	char type;              /* 0: none */
};

static void format_put_fill(struct jinja *j, struct buf *b, const struct spec *s, int64_t n) {
	for (; n > 0; n--)
		if (s->fill)
			jinja_put_str(j, b, s->fill);
		else
			jinja_put_char(j, b, ' ', 1);
}

/* sign and prefix, which = keeps in front of the fill, and the rest */
static void format_put_aligned(struct jinja *j, struct buf *b, const struct spec *s, const char *front,
        const struct str *rest, char align) {
	int64_t fill = s->width - (int64_t)strlen(front) - (int64_t)rest->chars;
	int64_t before = align == '>' ? fill : align == '^' ? (fill > 0 ? fill / 2 : 0) : 0;
	format_put_fill(j, b, s, before);
	jinja_put_text(j, b, front);
	if (align == '=')
		format_put_fill(j, b, s, fill);
	jinja_put_str(j, b, rest);
	if (align == '<' || align == '^')
		format_put_fill(j, b, s, fill - before);
}

static void format_put_text(
        struct jinja *j, struct buf *b, const struct spec *s, const struct str *text, char align) {
	if (s->precision >= 0 && (size_t)s->precision < text->chars)
		text = jinja_sub(j, text, 0, jinja_offset(text, (size_t)s->precision));
	format_put_aligned(j, b, s, "", text, s->align ? s->align : align);
}

static const char *format_sign_of(const struct spec *s, bool negative) {
	return negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
}

/* Digits with separators between groups. */
static const struct str *format_grouped(
        struct jinja *j, const char *digits, size_t whole, char sep, size_t every) {
	struct buf b = {0};
	for (size_t i = 0; i < whole; i++) {
		if (sep && i && (whole - i) % every == 0)
			jinja_put(j, &b, &sep, 1, NULL);
		jinja_put(j, &b, digits + i, 1, NULL);
	}
	jinja_put_text(j, &b, digits + whole);
	return jinja_buf_str(j, &b);
}

static void format_put_int(struct jinja *j, struct buf *b, const struct spec *s, int64_t i) {
	static const char digit[] = "0123456789abcdef";
	char text[70], front[4];
	size_t at = sizeof text - 1;
	uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
	unsigned base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
	text[at] = '\0';
	do
		text[--at] = digit[u % base];
	while (u /= base);
	while (s->precision >= 0 && at > 0 && (int)(sizeof text - 1 - at) < s->precision)
		text[--at] = '0';
	snprintf(front, sizeof front, "%s%s", format_sign_of(s, i < 0),
	        s->alternate && base != 10 ? (base == 16         ? "0x"
	                                             : base == 8 ? "0o"
	                                                         : "0b")
	                                   : "");
	if (s->type == 'X') {
		for (char *p = text + at; *p; p++)
			*p = (char)toupper(*p);
		for (char *p = front; *p; p++)
			*p = (char)toupper(*p);
	}
	format_put_aligned(j, b, s, front,
	        format_grouped(j, text + at, sizeof text - 1 - at, s->group, base == 10 ? 3 : 4),
	        s->align ? s->align : '>');
}

static void format_put_float(struct jinja *j, struct buf *b, const struct spec *s, double f) {
	int precision = s->precision < 0 ? 6 : s->precision;
	struct buf plain = {0};
	double size = fabs(s->type == '%' ? f * 100 : f);
	if (s->type == 0 && s->precision < 0) {
		jinja_put_float(j, &plain, fabs(f));
	} else {
		size_t room = (size_t)precision + 400;
		char *text = jinja_alloc_text(j, room);
		switch (s->type) {
		case 'e':
			snprintf(text, room, s->alternate ? "%#.*e" : "%.*e", precision, size);
			break;
		case 'E':
			snprintf(text, room, s->alternate ? "%#.*E" : "%.*E", precision, size);
			break;
		case 'g':
			snprintf(text, room, s->alternate ? "%#.*g" : "%.*g", precision, size);
			break;
		case 'G':
			snprintf(text, room, s->alternate ? "%#.*G" : "%.*G", precision, size);
			break;
		case 'F':
			snprintf(text, room, s->alternate ? "%#.*F" : "%.*F", precision, size);
			break;
		default:
			snprintf(text, room, s->alternate ? "%#.*f" : "%.*f", precision, size);
		}
		jinja_put_text(j, &plain, text);
		if (s->type == '%')
			jinja_put_text(j, &plain, "%");
	}
	jinja_put(j, &plain, "", 1, NULL); /* a zero byte, for strspn */
	format_put_aligned(j, b, s, format_sign_of(s, signbit(f) && !isnan(f)),
	        format_grouped(j, plain.p, strspn(plain.p, "0123456789"), s->group, 3),
	        s->align ? s->align : '>');
}

/* ---- % */

struct percent {
	struct jinja *j;
	const char *p, *end;
	struct value of;
	size_t next; /* of the arguments */
};

static struct value format_next_argument(struct percent *c) {
	bool tuple = c->of.type == V_TUPLE;
	if (tuple ? c->next >= c->of.u.seq->n : c->next > 0)
		jinja_fail(c->j, -EINVAL, "%%: there are not enough arguments for the format");
	return tuple ? c->of.u.seq->v[c->next++] : (c->next++, c->of);
}

static int format_read_number(struct percent *c) {
	if (c->p < c->end && *c->p == '*') {
		c->p++;
		int64_t i = jinja_need_int(c->j, format_next_argument(c), "a width behind %");
		if (i < -WIDTH_MAX || i > WIDTH_MAX)
			jinja_fail(c->j, -E2BIG, "a width of a format is above %d", WIDTH_MAX);
		return (int)i;
	}
	int n = 0;
	for (; c->p < c->end && isdigit((unsigned char)*c->p); c->p++)
		if ((n = n * 10 + (*c->p - '0')) > WIDTH_MAX)
			jinja_fail(c->j, -E2BIG, "a width of a format is above %d", WIDTH_MAX);
	return n;
}

/* The value named in %(name)s; V_MISSING: it has no name. */
static struct value format_read_name(struct percent *c) {
	if (c->p == c->end || *c->p != '(')
		return value_missing();
	const char *from = ++c->p;
	for (int depth = 1; c->p < c->end; c->p++) {
		depth += *c->p == '(' ? 1 : *c->p == ')' ? -1 : 0;
		if (depth == 0)
			break;
	}
	if (c->p == c->end || c->of.type != V_DICT)
		jinja_fail(c->j, -EINVAL, "%%: a format with names needs a dict");
	const struct value *v = jinja_dict_find_text(c->of.u.dict, from, (size_t)(c->p - from));
	if (!v)
		jinja_fail(c->j, -EINVAL, "%%: the dict has no '%.*s'", (int)(c->p - from), from);
	c->p++;
	c->next = 1;
	return *v;
}

static void format_read_flags(struct percent *c, struct spec *s, bool *left, bool *zero) {
	for (; c->p < c->end && *c->p && strchr("-+ #0", *c->p); c->p++) {
		*left |= *c->p == '-';
		*zero |= *c->p == '0';
		s->alternate |= *c->p == '#';
		if (*c->p == '+' || (*c->p == ' ' && !s->sign))
			s->sign = *c->p;
	}
}

static double format_to_float(struct jinja *j, struct value v) {
	jinja_need_defined(j, v);
	if (!jinja_is_number(v))
		jinja_fail(j, -EINVAL, "the format needs a number, not a %s", jinja_type_name(v));
	return jinja_number(v);
}

static int64_t format_to_int(struct jinja *j, struct value v) {
	double f = format_to_float(j, v);
	if (v.type != V_FLOAT)
		return jinja_integer(v);
	if (!(fabs(f) < 0x1p63))
		jinja_fail(j, -ENOTSUP, "integers of more than 64 bits are not supported");
	return (int64_t)f;
}

static void format_put_percent(struct percent *c, struct buf *b, struct spec *s, struct value v) {
	struct buf text = {0};
	switch (s->type) {
	case 's':
		jinja_put_value(c->j, &text, v);
		break;
	case 'r':
		jinja_put_repr(c->j, &text, v);
		break;
	case 'c':
		if (jinja_is_integer(v) && jinja_integer(v) >= 0 && jinja_integer(v) < 0xD800)
			jinja_put_code(c->j, &text, (uint32_t)jinja_integer(v), 0);
		else if (v.type == V_STRING && v.u.s->chars == 1)
			jinja_put_str(c->j, &text, v.u.s);
		else
			jinja_fail(c->j, -EINVAL, "%%c needs a character");
		break;
	case 'd':
	case 'i':
	case 'u':
		s->type = 'd';
		format_put_int(c->j, b, s, format_to_int(c->j, v));
		return;
	case 'x':
	case 'X':
	case 'o':
		if (!jinja_is_integer(v))
			jinja_fail(c->j, -EINVAL, "%%%c needs an integer", s->type);
		format_put_int(c->j, b, s, jinja_integer(v));
		return;
	case 'e':
	case 'E':
	case 'f':
	case 'F':
	case 'g':
	case 'G':
		format_put_float(c->j, b, s, format_to_float(c->j, v));
		return;
	default:
		jinja_fail(c->j, -ENOTSUP, "the format %%%c is not supported",
		        isprint((unsigned char)s->type) ? s->type : '?');
	}
	if (s->align == '=')
		s->align = '>'; /* zeroes are for numbers */
	s->fill = NULL;
	format_put_text(c->j, b, s, jinja_buf_str(c->j, &text), '>');
}

static void format_one(struct percent *c, struct buf *b) {
	struct spec s = {.precision = -1};
	bool left = false, zero = false;
	struct value v = format_read_name(c);
	format_read_flags(c, &s, &left, &zero);
	s.width = format_read_number(c);
	if (s.width < 0) {
		left = true;
		s.width = -s.width;
	}
	if (c->p < c->end && *c->p == '.') {
		c->p++;
		s.precision = format_read_number(c);
		s.precision = s.precision < 0 ? 0 : s.precision;
	}
	if (c->p < c->end && (*c->p == 'h' || *c->p == 'l' || *c->p == 'L'))
		c->p++;
	if (c->p == c->end)
		jinja_fail(c->j, -EINVAL, "%%: the format is not complete");
	s.type = *c->p++;
	if (s.type == '%') {
		jinja_put_text(c->j, b, "%");
		return;
	}
	s.align = left ? '<' : zero ? '=' : 0;
	if (zero && !left)
		s.fill = jinja_str(c->j, "0", 1);
	format_put_percent(c, b, &s, v.type == V_MISSING ? format_next_argument(c) : v);
}

struct value jinja_format(struct jinja *j, const struct str *format, struct value of) {
	struct percent c = {j, format->p, format->p + format->len, of, 0};
	struct buf b = {0};
	while (c.p < c.end) {
		const char *percent = memchr(c.p, '%', (size_t)(c.end - c.p)),
		           *to = percent ? percent : c.end;
		jinja_put(j, &b, c.p, (size_t)(to - c.p),
		        format->given ? format->given + (c.p - format->p) : NULL);
		c.p = to;
		if (percent) {
			c.p++;
			format_one(&c, &b);
		}
	}
	bool subscripts =
	        of.type == V_DICT || of.type == V_LIST || of.type == V_RANGE || of.type == V_UNDEFINED;
	bool rest = of.type == V_TUPLE ? c.next < of.u.seq->n : c.next == 0 && !subscripts;
	if (rest)
		jinja_fail(j, -EINVAL, "%%: not all arguments are used by the format");
	return jinja_buf_value(j, &b);
}

/* ---- {} */

struct fields {
	struct jinja *j;
	const struct args *a;
	int64_t next; /* -1: fields are numbered */
};

static struct value format_position(struct fields *f, int64_t i) {
	if (i < 0 || (size_t)i >= f->a->n)
		jinja_fail(f->j, -EINVAL, "format: there is no argument %" PRId64, i);
	return f->a->v[i];
}

static bool format_all_digits(const struct str *s) {
	for (size_t i = 0; i < s->len; i++)
		if (!isdigit((unsigned char)s->p[i]))
			return false;
	return s->len > 0 && s->len < 10;
}

static int64_t format_digits_value(const struct str *s) {
	int64_t n = 0;
	for (size_t i = 0; i < s->len; i++)
		n = n * 10 + (s->p[i] - '0');
	return n;
}

static struct value format_first_part(struct fields *f, const struct str *name) {
	if (name->len == 0) {
		if (f->next < 0)
			jinja_fail(f->j, -EINVAL, "format: fields are numbered or not, all of them");
		return format_position(f, f->next++);
	}
	if (format_all_digits(name)) {
		if (f->next > 0)
			jinja_fail(f->j, -EINVAL, "format: fields are numbered or not, all of them");
		f->next = -1;
		return format_position(f, format_digits_value(name));
	}
	for (size_t i = 0; i < f->a->nnamed; i++)
		if (jinja_str_equal(f->a->named[i].name, name))
			return f->a->named[i].v;
	jinja_fail(f->j, -EINVAL, "format: there is no argument '%.*s'", (int)name->len, name->p);
}

/* name, .attribute, [item] */
static struct value format_field_value(struct fields *f, const struct str *field) {
	size_t at = 0;
	while (at < field->len && field->p[at] != '.' && field->p[at] != '[')
		at++;
	struct value v = format_first_part(f, jinja_sub(f->j, field, 0, at));
	while (at < field->len) {
		bool item = field->p[at] == '[';
		size_t end = at + 1;
		while (end < field->len &&
		        (item ? field->p[end] != ']' : field->p[end] != '.' && field->p[end] != '['))
			end++;
		const struct str *part = jinja_sub(f->j, field, at + 1, end);
		if (part->len == 0 || (item && end == field->len))
			jinja_fail(f->j, -EINVAL, "format: a field's name is not complete");
		if (!item)
			v = jinja_attribute(f->j, v, part);
		else
			v = jinja_item(f->j, v,
			        format_all_digits(part) ? value_int(format_digits_value(part))
			                                : value_str(part));
		at = end + item;
	}
	return v;
}

static bool format_is_align(char c) {
	return c == '<' || c == '>' || c == '^' || c == '=';
}

static int format_spec_number(struct jinja *j, const struct str *s, size_t *at) {
	int n = 0;
	for (; *at < s->len && isdigit((unsigned char)s->p[*at]); ++*at)
		if ((n = n * 10 + (s->p[*at] - '0')) > WIDTH_MAX)
			jinja_fail(j, -E2BIG, "a width of a format is above %d", WIDTH_MAX);
	return n;
}

/* The character at *at, if it is one of these, skipped; else 0. */
static char format_skip_one(const struct str *s, size_t *at, const char *of) {
	if (*at < s->len && s->p[*at] && strchr(of, s->p[*at]))
		return s->p[(*at)++];
	return 0;
}

static struct spec format_parse_spec(struct jinja *j, const struct str *s) {
	struct spec out = {.precision = -1};
	size_t at = 0, n = 0;
	if (s->len > 0)
		utf8_next(s->p, s->len, &n);
	if (n < s->len && format_is_align(s->p[n])) {
		out.fill = jinja_sub(j, s, 0, n);
		out.align = s->p[n];
		at = n + 1;
	} else {
		out.align = format_skip_one(s, &at, "<>^=");
	}
	out.sign = format_skip_one(s, &at, "+- ");
	out.alternate = format_skip_one(s, &at, "#");
	if (format_skip_one(s, &at, "0") && !out.align) {
		out.fill = jinja_str(j, "0", 1);
		out.align = '=';
	}
	out.width = format_spec_number(j, s, &at);
	out.group = format_skip_one(s, &at, ",_");
	if (format_skip_one(s, &at, "."))
		out.precision = format_spec_number(j, s, &at);
	out.type = format_skip_one(s, &at, "sdxXobeEfFgG%c");
	if (at != s->len)
		jinja_fail(j, -ENOTSUP, "the format '%.*s' is not supported", (int)s->len, s->p);
	return out;
}

static void format_put_field(struct jinja *j, struct buf *b, struct value v, const struct str *text) {
	struct spec s = format_parse_spec(j, text);
	bool for_float = s.type && strchr("eEfFgG%", s.type);
	if (text->len == 0) {
		jinja_put_value(j, b, v);
	} else if (v.type == V_STRING && (!s.type || s.type == 's') && s.align != '=' && !s.sign &&
	           !s.group) {
		format_put_text(j, b, &s, v.u.s, '<');
	} else if (jinja_is_integer(v) && !for_float && s.type != 's' && s.type != 'c' && s.precision < 0) {
		format_put_int(j, b, &s, jinja_integer(v));
	} else if (jinja_is_number(v) && (for_float || (v.type == V_FLOAT && !s.type && s.precision < 0))) {
		if (s.group && s.fill && s.align == '=')
			jinja_fail(j, -ENOTSUP, "a format with 0 and %c is not supported", s.group);
		format_put_float(j, b, &s, jinja_number(v));
	} else {
		jinja_fail(j, -ENOTSUP, "the format '%.*s' for a %s is not supported", (int)text->len,
		        text->p, jinja_type_name(v));
	}
}

/* The end of the field that begins at from, behind its {: where its } is. */
static size_t format_field_end(struct jinja *j, const struct str *s, size_t from) {
	int depth = 1;
	for (size_t i = from; i < s->len; i++) {
		depth += s->p[i] == '{' ? 1 : s->p[i] == '}' ? -1 : 0;
		if (depth == 0)
			return i;
	}
	jinja_fail(j, -EINVAL, "format: a field does not end");
}

static void format_put_fields(struct fields *f, struct buf *b, const struct str *s, bool nested);

static void format_one_field(struct fields *f, struct buf *b, const struct str *field) {
	const char *colon = memchr(field->p, ':', field->len);
	size_t end = colon ? (size_t)(colon - field->p) : field->len;
	const struct str *name = jinja_sub(f->j, field, 0, end);
	const char *mark = memchr(name->p, '!', name->len);
	char conversion = 0;
	if (mark) {
		size_t at = (size_t)(mark - name->p);
		if (at + 2 != name->len || (name->p[at + 1] != 'r' && name->p[at + 1] != 's'))
			jinja_fail(f->j, -ENOTSUP, "format: the conversion '%.*s' is not supported",
			        (int)(name->len - at), mark);
		conversion = name->p[at + 1];
		name = jinja_sub(f->j, name, 0, at);
	}
	struct value v = format_field_value(f, name);
	struct buf spec = {0}, text = {0};
	if (colon)
		format_put_fields(f, &spec, jinja_sub(f->j, field, end + 1, field->len), true);
	if (conversion == 'r')
		jinja_put_repr(f->j, &text, v);
	else if (conversion)
		jinja_put_value(f->j, &text, v);
	format_put_field(f->j, b, conversion ? jinja_buf_value(f->j, &text) : v, jinja_buf_str(f->j, &spec));
}

static void format_put_fields(struct fields *f, struct buf *b, const struct str *s, bool nested) {
	jinja_enter(f->j);
	for (size_t at = 0; at < s->len;) {
		size_t n = 0;
		while (at + n < s->len && s->p[at + n] != '{' && s->p[at + n] != '}')
			n++;
		jinja_put_str(f->j, b, jinja_sub(f->j, s, at, at + n));
		at += n;
		if (at == s->len)
			break;
		bool doubled = at + 1 < s->len && s->p[at + 1] == s->p[at];
		if (doubled && !nested) {
			jinja_put_str(f->j, b, jinja_sub(f->j, s, at, at + 1));
			at += 2;
			continue;
		}
		if (s->p[at] == '}')
			jinja_fail(f->j, -EINVAL, "format: a } stands alone");
		size_t end = format_field_end(f->j, s, at + 1);
		format_one_field(f, b, jinja_sub(f->j, s, at + 1, end));
		at = end + 1;
	}
	jinja_leave(f->j);
}

struct value jinja_format_fields(struct jinja *j, const struct str *format, const struct args *a) {
	struct fields f = {j, a, 0};
	struct buf b = {0};
	format_put_fields(&f, &b, format, false);
	return jinja_buf_value(j, &b);
}
