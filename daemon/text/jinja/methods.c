/* methods: Python's methods of str.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/utf8.h"
#include <string.h>

#define METHOD(name) static struct value name(struct jinja *j, struct value self, const struct args *a)

/* ---- case, white space */

METHOD(str_upper) {
	return value_str(jinja_change_case(j, self.u.s, CASE_UPPER));
}

METHOD(str_lower) {
	return value_str(jinja_change_case(j, self.u.s, CASE_LOWER));
}

METHOD(str_capitalize) {
	return value_str(jinja_capitalize(j, self.u.s));
}

static bool method_is_cased(struct jinja *j, uint32_t c) {
	if (c < 0x80)
		return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
	return jinja_is(j, UNICODE_UPPER, c) || jinja_is(j, UNICODE_LOWER, c) ||
	       jinja_is(j, UNICODE_TITLE, c);
}

/* Words are letters that stand together. */
METHOD(str_title) {
	struct buf b = {0};
	bool within = false;
	const struct str *s = self.u.s;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		jinja_put_str(j, &b,
		        jinja_change_case(j, jinja_sub(j, s, i, i + n), within ? CASE_LOWER : CASE_TITLE));
		within = method_is_cased(j, utf8_code(s->p + i, n));
	}
	return jinja_buf_value(j, &b);
}

METHOD(str_swapcase) {
	struct buf b = {0};
	const struct str *s = self.u.s;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		const struct str *c = jinja_sub(j, s, i, i + n), *lower = jinja_change_case(j, c, CASE_LOWER);
		jinja_put_str(j, &b, jinja_str_equal(c, lower) ? jinja_change_case(j, c, CASE_UPPER) : lower);
	}
	return jinja_buf_value(j, &b);
}

static const struct str *method_strip_chars(struct jinja *j, const struct args *a) {
	return args_has(a, 0) && a->v[0].type != V_NONE ? jinja_arg_str(j, a, 0) : NULL;
}

METHOD(str_strip) {
	return value_str(jinja_strip(j, self.u.s, method_strip_chars(j, a), STRIP_BOTH));
}

METHOD(str_lstrip) {
	return value_str(jinja_strip(j, self.u.s, method_strip_chars(j, a), STRIP_LEFT));
}

METHOD(str_rstrip) {
	return value_str(jinja_strip(j, self.u.s, method_strip_chars(j, a), STRIP_RIGHT));
}

static struct value method_pad(struct jinja *j, struct value self, const struct args *a, int left) {
	const struct str *fill = args_has(a, 1) ? jinja_arg_str(j, a, 1) : jinja_str(j, " ", 1);
	if (fill->chars != 1)
		jinja_fail(j, -EINVAL, "what fills must be one character");
	return value_str(jinja_pad(j, self.u.s, jinja_need_int(j, a->v[0], "a width"), fill, left));
}

METHOD(str_ljust) {
	return method_pad(j, self, a, 0);
}

METHOD(str_center) {
	return method_pad(j, self, a, 1);
}

METHOD(str_rjust) {
	return method_pad(j, self, a, 2);
}

METHOD(str_zfill) {
	const struct str *s = self.u.s;
	int64_t width = jinja_need_int(j, a->v[0], "a width");
	size_t sign = s->len && (s->p[0] == '-' || s->p[0] == '+');
	struct buf b = {0};
	jinja_put_str(j, &b, jinja_sub(j, s, 0, sign));
	if (width > (int64_t)s->chars)
		jinja_put_char(j, &b, '0', (size_t)width - s->chars);
	jinja_put_str(j, &b, jinja_sub(j, s, sign, s->len));
	return jinja_buf_value(j, &b);
}

/* ---- split and join */

static struct seq *method_split_space(struct jinja *j, const struct str *s, int64_t max) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0;
	const struct str *rest = jinja_strip(j, s, NULL, STRIP_LEFT);
	while (rest->len > 0) {
		size_t at = 0, n;
		for (; max != 0 && at < rest->len; at += n) {
			utf8_next(rest->p + at, rest->len - at, &n);
			if (jinja_is_space(utf8_code(rest->p + at, n)))
				break;
		}
		if (max == 0)
			at = rest->len;
		jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, rest, 0, at)));
		if (max == 0)
			break;
		max--;
		size_t skip = at;
		for (; skip < rest->len; skip += n) {
			utf8_next(rest->p + skip, rest->len - skip, &n);
			if (!jinja_is_space(utf8_code(rest->p + skip, n)))
				break;
		}
		rest = jinja_sub(j, rest, skip, rest->len);
	}
	return out;
}

static struct seq *method_split_by(struct jinja *j, const struct str *s, const struct str *sep, int64_t max) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0, at = 0;
	for (const char *found; max != 0 && (found = memmem(s->p + at, s->len - at, sep->p, sep->len));
	        max--) {
		size_t to = (size_t)(found - s->p);
		jinja_step(j, to - at);
		jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, s, at, to)));
		at = to + sep->len;
	}
	jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, s, at, s->len)));
	return out;
}

/* The last occurrence of what in s[0..end), SIZE_MAX: none. */
static size_t method_find_last(struct jinja *j, const struct str *s, size_t end, const struct str *what) {
	for (size_t at = end < what->len ? SIZE_MAX : end - what->len; at != SIZE_MAX; at--) {
		if (at % 64 == 0)
			jinja_step(j, 64 * what->len);
		if (memcmp(s->p + at, what->p, what->len) == 0)
			return at;
	}
	return SIZE_MAX;
}

static void method_turn(struct seq *s) {
	for (size_t i = 0; i < s->n / 2; i++) {
		struct value v = s->v[i];
		s->v[i] = s->v[s->n - 1 - i];
		s->v[s->n - 1 - i] = v;
	}
}

static struct seq *method_rsplit_by(
        struct jinja *j, const struct str *s, const struct str *sep, int64_t max) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0, end = s->len;
	jinja_step(j, s->len);
	for (size_t at; max != 0 && (at = method_find_last(j, s, end, sep)) != SIZE_MAX; max--) {
		jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, s, at + sep->len, end)));
		end = at;
	}
	jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, s, 0, end)));
	method_turn(out);
	return out;
}

/* Where the last word of s begins, which ends without white space. */
static size_t method_last_word(const struct str *s) {
	size_t at = s->len;
	while (at > 0) {
		size_t from = at - 1;
		while (((unsigned char)s->p[from] & 0xC0) == 0x80)
			from--;
		if (jinja_is_space(utf8_code(s->p + from, at - from)))
			break;
		at = from;
	}
	return at;
}

static struct seq *method_rsplit_space(struct jinja *j, const struct str *s, int64_t max) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0;
	const struct str *rest = jinja_strip(j, s, NULL, STRIP_RIGHT);
	for (; rest->len > 0; max--) {
		if (max == 0) {
			jinja_seq_add(j, out, &cap, value_str(rest));
			break;
		}
		size_t at = method_last_word(rest);
		jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, rest, at, rest->len)));
		rest = jinja_strip(j, jinja_sub(j, rest, 0, at), NULL, STRIP_RIGHT);
	}
	method_turn(out);
	return out;
}

static const struct str *method_separator(struct jinja *j, const struct args *a) {
	const struct str *sep = method_strip_chars(j, a);
	if (sep && sep->len == 0)
		jinja_fail(j, -EINVAL, "an empty separator does not split");
	return sep;
}

/* The same, of what has to have one. */
static const struct str *method_need_separator(struct jinja *j, const struct args *a) {
	jinja_arg_str(j, a, 0);
	return method_separator(j, a);
}

METHOD(str_split) {
	const struct str *sep = method_separator(j, a);
	int64_t max = jinja_arg_int(j, a, 1, -1);
	return value_seq(
	        V_LIST, sep ? method_split_by(j, self.u.s, sep, max) : method_split_space(j, self.u.s, max));
}

METHOD(str_rsplit) {
	const struct str *sep = method_separator(j, a);
	int64_t max = jinja_arg_int(j, a, 1, -1);
	return value_seq(V_LIST,
	        sep ? method_rsplit_by(j, self.u.s, sep, max) : method_rsplit_space(j, self.u.s, max));
}

METHOD(str_splitlines) {
	return value_seq(V_LIST, jinja_lines(j, self.u.s, jinja_arg_truth(a, 0, false)));
}

static struct value method_three(
        struct jinja *j, const struct str *x, const struct str *y, const struct str *z) {
	struct seq *s = jinja_seq(j, 3);
	s->v[0] = value_str(x);
	s->v[1] = value_str(y);
	s->v[2] = value_str(z);
	return value_seq(V_TUPLE, s);
}

METHOD(str_partition) {
	const struct str *s = self.u.s, *sep = method_need_separator(j, a), *none = jinja_str(j, "", 0);
	const char *found = memmem(s->p, s->len, sep->p, sep->len);
	if (!found)
		return method_three(j, s, none, none);
	size_t at = (size_t)(found - s->p);
	return method_three(j, jinja_sub(j, s, 0, at), jinja_sub(j, s, at, at + sep->len),
	        jinja_sub(j, s, at + sep->len, s->len));
}

METHOD(str_rpartition) {
	const struct str *s = self.u.s, *sep = method_need_separator(j, a), *none = jinja_str(j, "", 0);
	jinja_step(j, s->len);
	size_t at = method_find_last(j, s, s->len, sep);
	if (at == SIZE_MAX)
		return method_three(j, none, none, s);
	return method_three(j, jinja_sub(j, s, 0, at), jinja_sub(j, s, at, at + sep->len),
	        jinja_sub(j, s, at + sep->len, s->len));
}

METHOD(str_join) {
	const struct seq *parts = jinja_items(j, a->v[0]);
	for (size_t i = 0; i < parts->n; i++)
		jinja_need_str(j, parts->v[i], "each part of join");
	return value_str(jinja_join(j, self.u.s, parts));
}

METHOD(str_replace) {
	return value_str(jinja_replace(
	        j, self.u.s, jinja_arg_str(j, a, 0), jinja_arg_str(j, a, 1), jinja_arg_int(j, a, 2, -1)));
}

METHOD(str_removeprefix) {
	const struct str *s = self.u.s, *x = jinja_arg_str(j, a, 0);
	bool there = x->len <= s->len && memcmp(s->p, x->p, x->len) == 0;
	return value_str(jinja_sub(j, s, there ? x->len : 0, s->len));
}

METHOD(str_removesuffix) {
	const struct str *s = self.u.s, *x = jinja_arg_str(j, a, 0);
	bool there = x->len > 0 && x->len <= s->len && memcmp(s->p + s->len - x->len, x->p, x->len) == 0;
	return value_str(jinja_sub(j, s, 0, s->len - (there ? x->len : 0)));
}

/* ---- search */

/* A bound among the arguments, in characters from 0 to the end. */
static size_t method_bound(
        struct jinja *j, const struct str *s, const struct args *a, size_t i, size_t otherwise) {
	if (!args_has(a, i) || a->v[i].type == V_NONE)
		return otherwise;
	int64_t at = jinja_need_int(j, a->v[i], "a bound"), n = (int64_t)s->chars;
	at = at < 0 ? at + n : at;
	return at < 0 ? 0 : (size_t)at;
}

/* self between the bounds that are arguments 1 and 2, and how many characters stand before; NULL where the first is beyond. */
static const struct str *method_part(
        struct jinja *j, const struct str *s, const struct args *a, size_t *before) {
	size_t from = method_bound(j, s, a, 1, 0), end = method_bound(j, s, a, 2, s->chars);
	end = end > s->chars ? s->chars : end;
	*before = from;
	jinja_step(j, s->len);
	if (from > s->chars || from > end)
		return NULL;
	return jinja_sub(j, s, jinja_offset(s, from), jinja_offset(s, end));
}

static int64_t method_find(struct jinja *j, struct value self, const struct args *a, bool last) {
	size_t before;
	const struct str *what = jinja_arg_str(j, a, 0), *s = method_part(j, self.u.s, a, &before);
	if (!s)
		return -1;
	jinja_step(j, s->len);
	size_t at = SIZE_MAX;
	if (last) {
		at = method_find_last(j, s, s->len, what);
	} else {
		const char *found = what->len ? memmem(s->p, s->len, what->p, what->len) : s->p;
		at = found ? (size_t)(found - s->p) : SIZE_MAX;
	}
	return at == SIZE_MAX ? -1 : (int64_t)(before + jinja_sub(j, s, 0, at)->chars);
}

METHOD(str_find) {
	return value_int(method_find(j, self, a, false));
}

METHOD(str_rfind) {
	return value_int(method_find(j, self, a, true));
}

static struct value method_need_found(struct jinja *j, int64_t at) {
	if (at < 0)
		jinja_fail(j, -EINVAL, "index: what is looked for is not there");
	return value_int(at);
}

METHOD(str_index) {
	return method_need_found(j, method_find(j, self, a, false));
}

METHOD(str_rindex) {
	return method_need_found(j, method_find(j, self, a, true));
}

METHOD(str_count) {
	size_t before;
	const struct str *what = jinja_arg_str(j, a, 0), *s = method_part(j, self.u.s, a, &before);
	if (!s)
		return value_int(0);
	if (what->len == 0)
		return value_int((int64_t)s->chars + 1);
	int64_t n = 0;
	jinja_step(j, s->len);
	for (const char *p = s->p; (p = memmem(p, s->len - (size_t)(p - s->p), what->p, what->len));
	        p += what->len)
		n++;
	return value_int(n);
}

static bool method_begins(const struct str *s, const struct str *x, bool at_end) {
	return x->len <= s->len && memcmp(s->p + (at_end ? s->len - x->len : 0), x->p, x->len) == 0;
}

static struct value method_begins_or_ends(
        struct jinja *j, struct value self, const struct args *a, bool at_end) {
	size_t before;
	const struct str *s = method_part(j, self.u.s, a, &before);
	if (a->v[0].type != V_TUPLE) {
		const struct str *x = jinja_arg_str(j, a, 0);
		return value_bool(s && method_begins(s, x, at_end));
	}
	for (size_t i = 0; i < a->v[0].u.seq->n; i++)
		if (method_begins(
		            s ? s : self.u.s, jinja_need_str(j, a->v[0].u.seq->v[i], "each part"), at_end) &&
		        s)
			return value_bool(true);
	return value_bool(false);
}

METHOD(str_startswith) {
	return method_begins_or_ends(j, self, a, false);
}

METHOD(str_endswith) {
	return method_begins_or_ends(j, self, a, true);
}

/* ---- classes */

typedef bool char_class(struct jinja *j, uint32_t c);

static bool method_is_digit(struct jinja *j, uint32_t c) {
	return c < 0x80 ? c >= '0' && c <= '9' : jinja_is(j, UNICODE_DIGIT, c);
}
static bool method_is_decimal(struct jinja *j, uint32_t c) {
	return c < 0x80 ? c >= '0' && c <= '9' : jinja_is(j, UNICODE_DECIMAL, c);
}
static bool method_is_numeric(struct jinja *j, uint32_t c) {
	return c < 0x80 ? c >= '0' && c <= '9' : jinja_is(j, UNICODE_NUMERIC, c);
}
static bool method_is_alpha(struct jinja *j, uint32_t c) {
	return c < 0x80 ? (c | 0x20) >= 'a' && (c | 0x20) <= 'z' : jinja_is(j, UNICODE_ALPHA, c);
}
static bool method_is_alnum(struct jinja *j, uint32_t c) {
	return method_is_alpha(j, c) || method_is_digit(j, c) || method_is_numeric(j, c);
}
static bool method_is_space(struct jinja *j, uint32_t c) {
	(void)j;
	return jinja_is_space(c);
}
static bool method_is_ascii(struct jinja *j, uint32_t c) {
	(void)j;
	return c < 0x80;
}

static struct value method_all(struct jinja *j, const struct str *s, char_class *is, bool when_empty) {
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		jinja_step(j, 0);
		if (!is(j, utf8_code(s->p + i, n)))
			return value_bool(false);
	}
	return value_bool(s->len > 0 || when_empty);
}

METHOD(str_isdigit) {
	return method_all(j, self.u.s, method_is_digit, false);
}
METHOD(str_isdecimal) {
	return method_all(j, self.u.s, method_is_decimal, false);
}
METHOD(str_isnumeric) {
	return method_all(j, self.u.s, method_is_numeric, false);
}
METHOD(str_isalpha) {
	return method_all(j, self.u.s, method_is_alpha, false);
}
METHOD(str_isalnum) {
	return method_all(j, self.u.s, method_is_alnum, false);
}
METHOD(str_isspace) {
	return method_all(j, self.u.s, method_is_space, false);
}
METHOD(str_isascii) {
	return method_all(j, self.u.s, method_is_ascii, true);
}
METHOD(str_isprintable) {
	return method_all(j, self.u.s, jinja_is_printable, true);
}

enum case_of { NO_CASE, UPPER, LOWER, TITLE };

static enum case_of method_case_of(struct jinja *j, uint32_t c) {
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? UPPER : c >= 'a' && c <= 'z' ? LOWER : NO_CASE;
	return jinja_is(j, UNICODE_UPPER, c)   ? UPPER
	       : jinja_is(j, UNICODE_LOWER, c) ? LOWER
	       : jinja_is(j, UNICODE_TITLE, c) ? TITLE
	                                       : NO_CASE;
}

/* All that have a case have this one, and one has. */
static struct value method_all_cased(struct jinja *j, const struct str *s, enum case_of want) {
	bool any = false;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		jinja_step(j, 0);
		enum case_of c = method_case_of(j, utf8_code(s->p + i, n));
		if (c != NO_CASE && c != want)
			return value_bool(false);
		any |= c != NO_CASE;
	}
	return value_bool(any);
}

METHOD(str_isupper) {
	return method_all_cased(j, self.u.s, UPPER);
}

METHOD(str_islower) {
	return method_all_cased(j, self.u.s, LOWER);
}

METHOD(str_istitle) {
	bool any = false, within = false;
	const struct str *s = self.u.s;
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		enum case_of c = method_case_of(j, utf8_code(s->p + i, n));
		if (c != NO_CASE && (c == LOWER) != within)
			return value_bool(false);
		within = c != NO_CASE;
		any |= within;
	}
	return value_bool(any);
}

METHOD(str_format) {
	return jinja_format_fields(j, self.u.s, a);
}

static const struct builtin methods[] = {
        {"capitalize", "", 0, str_capitalize},
        {"center", "width fillchar", 1, str_center},
        {"count", "sub start end", 1, str_count},
        {"endswith", "suffix start end", 1, str_endswith},
        {"find", "sub start end", 1, str_find},
        {"format", "**", 0, str_format},
        {"index", "sub start end", 1, str_index},
        {"isalnum", "", 0, str_isalnum},
        {"isalpha", "", 0, str_isalpha},
        {"isascii", "", 0, str_isascii},
        {"isdecimal", "", 0, str_isdecimal},
        {"isdigit", "", 0, str_isdigit},
        {"islower", "", 0, str_islower},
        {"isnumeric", "", 0, str_isnumeric},
        {"isprintable", "", 0, str_isprintable},
        {"isspace", "", 0, str_isspace},
        {"istitle", "", 0, str_istitle},
        {"isupper", "", 0, str_isupper},
        {"join", "iterable", 1, str_join},
        {"ljust", "width fillchar", 1, str_ljust},
        {"lower", "", 0, str_lower},
        {"lstrip", "chars", 0, str_lstrip},
        {"partition", "sep", 1, str_partition},
        {"removeprefix", "prefix", 1, str_removeprefix},
        {"removesuffix", "suffix", 1, str_removesuffix},
        {"replace", "old new count", 2, str_replace},
        {"rfind", "sub start end", 1, str_rfind},
        {"rindex", "sub start end", 1, str_rindex},
        {"rjust", "width fillchar", 1, str_rjust},
        {"rpartition", "sep", 1, str_rpartition},
        {"rsplit", "sep maxsplit", 0, str_rsplit},
        {"rstrip", "chars", 0, str_rstrip},
        {"split", "sep maxsplit", 0, str_split},
        {"splitlines", "keepends", 0, str_splitlines},
        {"startswith", "prefix start end", 1, str_startswith},
        {"strip", "chars", 0, str_strip},
        {"swapcase", "", 0, str_swapcase},
        {"title", "", 0, str_title},
        {"upper", "", 0, str_upper},
        {"zfill", "width", 1, str_zfill},
};

const struct builtin *jinja_str_method(const struct str *name) {
	return jinja_find_builtin(methods, sizeof methods / sizeof methods[0], name);
}
