/* strings: what Python's str does that filters do as well.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/jinja/unicode_internal.h"
#include "daemon/text/utf8.h"
#include <string.h>

static bool string_strips(struct jinja *j, const struct str *chars, const char *p, size_t n) {
	if (!chars)
		return jinja_is_space(utf8_code(p, n));
	jinja_step(j, chars->len);
	return memmem(chars->p, chars->len, p, n) != NULL;
}

const struct str *jinja_strip(
        struct jinja *j, const struct str *s, const struct str *chars, enum strip_ends ends) {
	size_t from = 0, end = s->len, n;
	jinja_step(j, s->len);
	while ((ends & STRIP_LEFT) && from < end) {
		utf8_next(s->p + from, end - from, &n);
		if (!string_strips(j, chars, s->p + from, n))
			break;
		from += n;
	}
	while ((ends & STRIP_RIGHT) && end > from) {
		for (n = 1; ((unsigned char)s->p[end - n] & 0xC0) == 0x80; n++)
			;
		if (!string_strips(j, chars, s->p + end - n, n))
			break;
		end -= n;
	}
	return jinja_sub(j, s, from, end);
}

/* Python puts `new` before every character and at the end where `old` is empty. */
static const struct str *string_replace_empty(
        struct jinja *j, const struct str *s, const struct str *new, int64_t count) {
	struct buf b = {0};
	size_t at = 0;
	for (size_t n; at < s->len && count != 0; at += n, count--) {
		utf8_next(s->p + at, s->len - at, &n);
		jinja_put_str(j, &b, new);
		jinja_put(j, &b, s->p + at, n, s->given ? s->given + at : NULL);
	}
	jinja_put_str(j, &b, jinja_sub(j, s, at, s->len));
	if (count != 0)
		jinja_put_str(j, &b, new);
	return jinja_buf_str(j, &b);
}

const struct str *jinja_replace(
        struct jinja *j, const struct str *s, const struct str *old, const struct str *new, int64_t count) {
	if (old->len == 0)
		return string_replace_empty(j, s, new, count);
	struct buf b = {0};
	size_t at = 0;
	jinja_step(j, s->len);
	for (const char *found; count != 0 && (found = memmem(s->p + at, s->len - at, old->p, old->len));
	        count--) {
		size_t to = (size_t)(found - s->p);
		jinja_put(j, &b, s->p + at, to - at, s->given ? s->given + at : NULL);
		jinja_put_str(j, &b, new);
		at = to + old->len;
	}
	jinja_put(j, &b, s->p + at, s->len - at, s->given ? s->given + at : NULL);
	return jinja_buf_str(j, &b);
}

const struct str *jinja_capitalize(struct jinja *j, const struct str *s) {
	struct buf b = {0};
	if (s->len == 0)
		return s;
	size_t n;
	utf8_next(s->p, s->len, &n);
	jinja_put_str(j, &b, jinja_change_case(j, jinja_sub(j, s, 0, n), CASE_TITLE));
	jinja_put_str(j, &b, jinja_change_case(j, jinja_sub(j, s, n, s->len), CASE_LOWER));
	return jinja_buf_str(j, &b);
}

const struct str *jinja_pad(
        struct jinja *j, const struct str *s, int64_t width, const struct str *fill, int left) {
	if (width <= (int64_t)s->chars)
		return s;
	struct buf b = {0};
	int64_t all = width - (int64_t)s->chars;
	/* str.center puts the odd one on the left where the width is odd */
	int64_t before = left == 0 ? 0 : left == 2 ? all : all / 2 + (all & width & 1);
	for (int64_t i = 0; i < before; i++)
		jinja_put_str(j, &b, fill);
	jinja_put_str(j, &b, s);
	for (int64_t i = before; i < all; i++)
		jinja_put_str(j, &b, fill);
	return jinja_buf_str(j, &b);
}

struct seq *jinja_lines(struct jinja *j, const struct str *s, bool keep_ends) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0;
	jinja_step(j, s->len);
	for (size_t from = 0, at = 0, n; at < s->len;) {
		utf8_next(s->p + at, s->len - at, &n);
		size_t end = at;
		at += n;
		if (!jinja_is_line_end(utf8_code(s->p + end, n))) {
			if (at < s->len)
				continue;
			end = at;
		} else if (s->p[end] == '\r' && at < s->len && s->p[at] == '\n') {
			at++;
		}
		jinja_step(j, 0);
		jinja_seq_add(j, out, &cap, value_str(jinja_sub(j, s, from, keep_ends ? at : end)));
		from = at;
	}
	return out;
}

const struct str *jinja_join(struct jinja *j, const struct str *between, const struct seq *parts) {
	struct buf b = {0};
	for (size_t i = 0; i < parts->n; i++) {
		if (i)
			jinja_put_str(j, &b, between);
		jinja_put_value(j, &b, parts->v[i]);
	}
	return jinja_buf_str(j, &b);
}

const struct str *jinja_escape(struct jinja *j, const struct str *s) {
	struct buf b = {0};
	for (size_t i = 0; i < s->len; i++) {
		static const char special[] = "&<>'\"";
		static const char *const instead[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
		const char *at = s->p[i] ? strchr(special, s->p[i]) : NULL;
		if (at)
			jinja_put_text(j, &b, instead[at - special]);
		else
			jinja_put(j, &b, s->p + i, 1, s->given ? s->given + i : NULL);
	}
	struct str *out = (struct str *)jinja_buf_str(j, &b);
	out->markup = true;
	return out;
}
