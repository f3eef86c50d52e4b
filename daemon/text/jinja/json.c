/* json: values from JSON, and into it as Python's json.dumps writes it.
 * One thread. */
#include "daemon/text/jinja/value_internal.h"
#include "daemon/text/utf8.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct value json_string_from(struct jinja *j, const json_t *json, bool given) {
	size_t len = json_string_length(json);
	char *p = jinja_alloc_text(j, len + 1);
	memcpy(p, json_string_value(json), len + 1);
	struct str *s = jinja_str(j, p, len);
	if (given && len) {
		uint8_t *marks = (uint8_t *)jinja_alloc_text(j, len);
		memset(marks, 1, len);
		s->given = marks;
	}
	return value_str(s);
}

static struct value json_list_from(struct jinja *j, const json_t *json, bool given) {
	size_t n = json_array_size(json);
	struct seq *s = jinja_seq(j, n);
	for (size_t i = 0; i < n; i++)
		s->v[i] = jinja_from_json(j, json_array_get(json, i), given);
	return value_seq(V_LIST, s);
}

/* Templates make special tokens of roles ("<|" + role + "|>"): a plain word is not marked. */
static bool json_is_role(const char *key, const json_t *v) {
	const char *s = json_string_value(v);
	return strcmp(key, "role") == 0 && s &&
	       json_string_length(v) == strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-");
}

static struct value json_dict_from(struct jinja *j, const json_t *json, bool given) {
	struct dict *d = jinja_dict(j);
	const char *key;
	json_t *v;
	d->cap = json_object_size(json);
	d->e = jinja_alloc(j, d->cap * sizeof *d->e);
	json_object_foreach((json_t *)json, key, v) {
		struct value k = jinja_text(j, key);
		if (given && k.u.s->len) {
			uint8_t *marks = (uint8_t *)jinja_alloc_text(j, k.u.s->len);
			memset(marks, 1, k.u.s->len);
			((struct str *)k.u.s)->given = marks;
		}
		d->e[d->n++] = (struct pair){k, jinja_from_json(j, v, given && !json_is_role(key, v))};
	}
	return value_dict(d);
}

static struct value json_value_from(struct jinja *j, const json_t *json, bool given) {
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return json_dict_from(j, json, given);
	case JSON_ARRAY:
		return json_list_from(j, json, given);
	case JSON_STRING:
		return json_string_from(j, json, given);
	case JSON_INTEGER:
		return value_int(json_integer_value(json));
	case JSON_REAL:
		return value_float(json_real_value(json));
	case JSON_TRUE:
	case JSON_FALSE:
		return value_bool(json_is_true(json));
	default:
		return value_none();
	}
}

struct value jinja_from_json(struct jinja *j, const json_t *json, bool given) {
	jinja_step(j, 0);
	jinja_enter(j);
	struct value v = json_value_from(j, json, given);
	jinja_leave(j);
	return v;
}

/* As \uXXXX, above U+FFFF in two halves. */
static void json_put_code_escape(struct jinja *j, struct buf *b, uint32_t c) {
	char text[16];
	if (c >= 0x10000)
		snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
		        0xDC00 + (c & 0x3FF));
	else
		snprintf(text, sizeof text, "\\u%04x", c);
	jinja_put_text(j, b, text);
}

static void json_put_character(
        struct jinja *j, struct buf *b, const struct str *s, size_t i, size_t n, bool ascii) {
	static const char special[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	uint32_t c = utf8_code(s->p + i, n);
	const char *at = c && c < 0x80 ? strchr(special, (int)c) : NULL;
	if (at)
		jinja_put(j, b, (char[]){'\\', letter[at - special]}, 2, NULL);
	else if (c < 0x20 || (ascii && c >= 0x7F))
		json_put_code_escape(j, b, c);
	else
		jinja_put(j, b, s->p + i, n, s->given ? s->given + i : NULL);
}

static void json_put_string(struct jinja *j, struct buf *b, const struct str *s, bool ascii) {
	jinja_put_text(j, b, "\"");
	for (size_t i = 0, n; i < s->len; i += n) {
		utf8_next(s->p + i, s->len - i, &n);
		json_put_character(j, b, s, i, n, ascii);
	}
	jinja_put_text(j, b, "\"");
}

static void json_put_float(struct jinja *j, struct buf *b, double f) {
	if (isnan(f) || isinf(f))
		jinja_put_text(j, b, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
	else
		jinja_put_float(j, b, f);
}

static void json_put_key(struct jinja *j, struct buf *b, struct value key, const struct json_style *style) {
	if (key.type == V_STRING) {
		json_put_string(j, b, key.u.s, style->ascii);
		return;
	}
	if (key.type != V_NONE && !jinja_is_number(key))
		jinja_fail(j, -EINVAL, "tojson: a %s is no key of JSON", jinja_type_name(key));
	jinja_put_text(j, b, "\"");
	jinja_put_json(j, b, key, style);
	jinja_put_text(j, b, "\"");
}

static void json_put_line(struct jinja *j, struct buf *b, const struct json_style *style, unsigned level) {
	if (!style->indent)
		return;
	jinja_put_text(j, b, "\n");
	for (; level > 0; level--)
		jinja_put_str(j, b, style->indent);
}

static void json_put_json(
        struct jinja *j, struct buf *b, struct value v, const struct json_style *style, unsigned level);

static void json_put_array(
        struct jinja *j, struct buf *b, const struct seq *s, const struct json_style *style, unsigned level) {
	jinja_put_text(j, b, "[");
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			jinja_put_str(j, b, style->item);
		json_put_line(j, b, style, level + 1);
		json_put_json(j, b, s->v[i], style, level + 1);
	}
	if (s->n)
		json_put_line(j, b, style, level);
	jinja_put_text(j, b, "]");
}

/* By keys; jinja_compare fails for those that Python does not sort. */
static struct pair *json_sorted_pairs(struct jinja *j, const struct dict *d) {
	struct pair *e = jinja_alloc(j, d->n * sizeof *e);
	for (size_t i = 0; i < d->n; i++) {
		size_t at = i;
		for (; at > 0 && jinja_compare(j, d->e[i].key, e[at - 1].key, "<") < 0; at--)
			e[at] = e[at - 1];
		e[at] = d->e[i];
	}
	return e;
}

static void json_put_object(struct jinja *j, struct buf *b, const struct dict *d,
        const struct json_style *style, unsigned level) {
	const struct pair *e = style->sort ? json_sorted_pairs(j, d) : d->e;
	jinja_put_text(j, b, "{");
	for (size_t i = 0; i < d->n; i++) {
		if (i)
			jinja_put_str(j, b, style->item);
		json_put_line(j, b, style, level + 1);
		json_put_key(j, b, e[i].key, style);
		jinja_put_str(j, b, style->key);
		json_put_json(j, b, e[i].value, style, level + 1);
	}
	if (d->n)
		json_put_line(j, b, style, level);
	jinja_put_text(j, b, "}");
}

static void json_put_parts(
        struct jinja *j, struct buf *b, struct value v, const struct json_style *style, unsigned level) {
	switch (v.type) {
	case V_NONE:
		jinja_put_text(j, b, "null");
		return;
	case V_BOOL:
		jinja_put_text(j, b, v.u.b ? "true" : "false");
		return;
	case V_INT:
		jinja_put_int(j, b, v.u.i);
		return;
	case V_FLOAT:
		json_put_float(j, b, v.u.f);
		return;
	case V_STRING:
		json_put_string(j, b, v.u.s, style->ascii);
		return;
	case V_LIST:
	case V_TUPLE:
		json_put_array(j, b, v.u.seq, style, level);
		return;
	case V_DICT:
		json_put_object(j, b, v.u.dict, style, level);
		return;
	case V_UNDEFINED:
		jinja_need_defined(j, v);
		return;
	default:
		jinja_fail(j, -EINVAL, "tojson: a %s is not JSON", jinja_type_name(v));
	}
}

static void json_put_json(
        struct jinja *j, struct buf *b, struct value v, const struct json_style *style, unsigned level) {
	jinja_step(j, 0);
	jinja_enter(j);
	json_put_parts(j, b, v, style, level);
	jinja_leave(j);
}

void jinja_put_json(struct jinja *j, struct buf *b, struct value v, const struct json_style *style) {
	size_t from = b->len;
	json_put_json(j, b, v, style, 0);
	jinja_spread_given(b, from);
}
