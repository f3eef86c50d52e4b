/* str: the texts of templates: made, cut, put together, each with the marks of what in it is a client's.
 * One thread. */
#include "daemon/text/jinja/value_internal.h"
#include <string.h>

static size_t str_count_chars(const char *p, size_t len) {
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)p[i] & 0xC0) != 0x80;
	return n;
}

struct str *jinja_str(struct jinja *j, const char *p, size_t len) {
	struct str *s = jinja_alloc(j, sizeof *s);
	jinja_step(j, len);
	*s = (struct str){p, NULL, len, str_count_chars(p, len), false};
	return s;
}

struct value jinja_text(struct jinja *j, const char *s) {
	size_t len = strlen(s);
	char *p = jinja_alloc_text(j, len + 1);
	memcpy(p, s, len + 1);
	return value_str(jinja_str(j, p, len));
}

struct value jinja_hint(struct jinja *j, const char *sentence) {
	return value_undefined(UNDEFINED_HINT, jinja_text(j, sentence).u.s);
}

const struct str *jinja_sub(struct jinja *j, const struct str *s, size_t from, size_t end) {
	struct str *sub = jinja_str(j, s->p + from, end > from ? end - from : 0);
	sub->given = s->given ? s->given + from : NULL;
	sub->markup = s->markup;
	return sub;
}

bool jinja_str_is(const struct str *s, const char *text) {
	return s->len == strlen(text) && memcmp(s->p, text, s->len) == 0;
}

bool jinja_str_equal(const struct str *a, const struct str *b) {
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

size_t jinja_offset(const struct str *s, size_t at) {
	if (s->chars == s->len)
		return at;
	size_t i = 0;
	for (; at > 0; at--)
		for (i++; i < s->len && ((unsigned char)s->p[i] & 0xC0) == 0x80; i++)
			;
	return i;
}

static void str_make_room(struct jinja *j, struct buf *b, size_t more) {
	if (more <= b->cap - b->len)
		return;
	size_t cap = b->cap + (b->cap > more ? b->cap : more);
	cap = cap < 64 ? 64 : cap;
	b->p = jinja_grow_text(j, b->p, b->cap, cap);
	if (b->given)
		b->given = (uint8_t *)jinja_grow_text(j, (char *)b->given, b->cap, cap);
	b->cap = cap;
}

void jinja_put(struct jinja *j, struct buf *b, const char *p, size_t len, const uint8_t *given) {
	if (len == 0)
		return;
	jinja_step(j, len);
	if (b == j->result && len > j->output_max - b->len)
		jinja_fail(j, -E2BIG, "the text is longer than %zu bytes", j->output_max);
	str_make_room(j, b, len);
	if (given && !b->given) {
		b->given = (uint8_t *)jinja_alloc_text(j, b->cap);
		memset(b->given, 0, b->len);
	}
	memcpy(b->p + b->len, p, len);
	if (given)
		memcpy(b->given + b->len, given, len);
	else if (b->given)
		memset(b->given + b->len, 0, len);
	b->len += len;
}

void jinja_put_str(struct jinja *j, struct buf *b, const struct str *s) {
	jinja_put(j, b, s->p, s->len, s->given);
}

void jinja_put_text(struct jinja *j, struct buf *b, const char *s) {
	jinja_put(j, b, s, strlen(s), NULL);
}

void jinja_spread_given(struct buf *b, size_t from) {
	if (b->given && memchr(b->given + from, 1, b->len - from))
		memset(b->given + from, 1, b->len - from);
}

void jinja_put_char(struct jinja *j, struct buf *b, char c, size_t times) {
	char run[64];
	memset(run, c, sizeof run);
	for (size_t n; times > 0; times -= n) {
		n = times < sizeof run ? times : sizeof run;
		jinja_put(j, b, run, n, NULL);
	}
}

void jinja_put_code(struct jinja *j, struct buf *b, uint32_t code, uint8_t given) {
	char p[4];
	const uint8_t marks[4] = {given, given, given, given};
	size_t n = 0;
	if (code < 0x80) {
		p[n++] = (char)code;
	} else if (code < 0x800) {
		p[n++] = (char)(0xC0 | code >> 6);
		p[n++] = (char)(0x80 | (code & 0x3F));
	} else if (code < 0x10000) {
		p[n++] = (char)(0xE0 | code >> 12);
		p[n++] = (char)(0x80 | (code >> 6 & 0x3F));
		p[n++] = (char)(0x80 | (code & 0x3F));
	} else {
		p[n++] = (char)(0xF0 | code >> 18);
		p[n++] = (char)(0x80 | (code >> 12 & 0x3F));
		p[n++] = (char)(0x80 | (code >> 6 & 0x3F));
		p[n++] = (char)(0x80 | (code & 0x3F));
	}
	jinja_put(j, b, p, n, given ? marks : NULL);
}

const struct str *jinja_buf_str(struct jinja *j, const struct buf *b) {
	struct str *s = jinja_str(j, b->len ? b->p : "", b->len);
	s->given = b->given;
	return s;
}

struct value jinja_buf_value(struct jinja *j, const struct buf *b) {
	return value_str(jinja_buf_str(j, b));
}
