/* fields: see fields.h. */
#include "daemon/api/routes/fields.h"
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIM_BYTES (1u << 18) /* of a body, from which on memory is given back */

void fields_fail(struct fields *f, const char *param, const char *fmt, ...) {
	va_list ap;
	if (f->status)
		return;
	f->status = 400;
	snprintf(f->param, sizeof f->param, "%s", param);
	va_start(ap, fmt);
	vsnprintf(f->error, sizeof f->error, fmt, ap);
	va_end(ap);
}

/* Where the string that begins at `at` ends. */
static size_t string_end(const char *s, size_t len, size_t at) {
	for (at++; at < len && s[at] != '"'; at++)
		at += s[at] == '\\';
	return at;
}

/* Whether a body is within the bounds; one that is not JSON is the parser's to refuse. */
static bool fields_bounded(struct fields *f, const char *s, size_t len) {
	size_t values = 1, containers = 0, depth = 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '"') {
			i = string_end(s, len, i);
		} else if (s[i] == '{' || s[i] == '[') {
			containers++;
			values++;
			depth++;
		} else if (s[i] == '}' || s[i] == ']') {
			depth -= depth > 0;
		} else if (s[i] == ',') {
			values++;
		}
		if (values > FIELDS_VALUES_MAX || containers > FIELDS_CONTAINERS_MAX) {
			fields_fail(f, "", "the body has more than %d values, or %d objects and arrays",
			        FIELDS_VALUES_MAX, FIELDS_CONTAINERS_MAX);
			return false;
		}
		if (depth > FIELDS_DEPTH_MAX) {
			fields_fail(f, "", "the body has more than %d objects and arrays within each other",
			        FIELDS_DEPTH_MAX);
			return false;
		}
	}
	return true;
}

static void fields_fail_syntax(struct fields *f, const json_error_t *e) {
	if (json_error_code(e) == json_error_null_character)
		fields_fail(f, "", "line %d, column %d: \\u0000 is not supported in a string", e->line,
		        e->column);
	else if (strstr(e->text, "invalid Unicode"))
		fields_fail(f, "",
		        "line %d, column %d: half of a surrogate pair is not a character; was the text cut inside one?",
		        e->line, e->column);
	else
		fields_fail(
		        f, "", "the body is not JSON: line %d, column %d: %s", e->line, e->column, e->text);
}

void fields_parse(struct fields *f, const char *body, size_t len) {
	json_error_t e;
	memset(f, 0, sizeof *f);
	f->size = len;
	if (fields_bounded(f, body, len)) {
		f->body = json_loadb(body, len, 0, &e);
		if (f->body && json_is_object(f->body))
			return;
		if (f->body)
			fields_fail(f, "", "the body is JSON, but not an object");
		else
			fields_fail_syntax(f, &e);
	}
	json_decref(f->body);
	f->body = json_object();
	if (!f->body)
		f->status = 500;
}

void fields_clear(struct fields *f) {
	json_decref(f->body);
	f->body = NULL;
#ifdef __GLIBC__
	if (f->size > TRIM_BYTES)
		malloc_trim(0); /* many small values, in an arena that would keep them */
#endif
}

const json_t *fields_get(const struct fields *f, const json_t *o, const char *name) {
	const json_t *v = json_object_get(o ? o : f->body, name);
	return json_is_null(v) ? NULL : v;
}

bool fields_bool(struct fields *f, const json_t *o, const char *name, bool otherwise) {
	const json_t *v = fields_get(f, o, name);
	if (!v || f->status)
		return otherwise;
	if (!json_is_boolean(v)) {
		fields_fail(f, name, "%s must be true or false", name);
		return otherwise;
	}
	return json_is_true(v);
}

/* A number, or a string that is one. */
static bool number_of(const json_t *v, double *out) {
	char *end;
	if (json_is_number(v)) {
		*out = json_number_value(v);
		return true;
	}
	const char *s = json_string_value(v);
	if (!s || !*s || strspn(s, "+-.0123456789eE") != strlen(s))
		return false;
	*out = strtod(s, &end);
	return *end == '\0' && isfinite(*out);
}

double fields_real(struct fields *f, const json_t *o, const char *name, double otherwise) {
	const json_t *v = fields_get(f, o, name);
	double x;
	if (!v || f->status)
		return otherwise;
	if (!number_of(v, &x)) {
		fields_fail(f, name, "%s must be a number", name);
		return otherwise;
	}
	return x;
}

int64_t fields_integer(
        struct fields *f, const json_t *o, const char *name, int64_t least, int64_t most, int64_t otherwise) {
	const json_t *v = fields_get(f, o, name);
	double x;
	if (!v || f->status)
		return otherwise;
	if (json_is_integer(v) && json_integer_value(v) >= least && json_integer_value(v) <= most)
		return json_integer_value(v);
	/* 2^53: beyond it a double cannot represent every integer */
	if (json_is_integer(v) || !number_of(v, &x) || x != floor(x) || fabs(x) > 9007199254740992.0 ||
	        x < (double)least || x > (double)most) {
		if (least == INT64_MIN && most == INT64_MAX)
			fields_fail(f, name, "%s must be a whole number", name);
		else
			fields_fail(f, name, "%s must be a whole number from %" PRId64 " to %" PRId64, name,
			        least, most);
		return otherwise;
	}
	return (int64_t)x;
}

const char *fields_string(struct fields *f, const json_t *o, const char *name, const char *otherwise) {
	const json_t *v = fields_get(f, o, name);
	if (!v || f->status)
		return otherwise;
	if (!json_is_string(v)) {
		fields_fail(f, name, "%s must be a string", name);
		return otherwise;
	}
	return json_string_value(v);
}

static bool is_nothing(const json_t *v, const char *but) {
	if (json_is_boolean(v))
		return json_is_false(v);
	if (json_is_number(v))
		return json_number_value(v) == 0;
	if (json_is_string(v))
		return !*json_string_value(v) || (but && strcmp(json_string_value(v), but) == 0);
	return json_is_array(v) ? json_array_size(v) == 0 : json_object_size(v) == 0;
}

void fields_refuse(struct fields *f, const json_t *o, const char *name, const char *but) {
	const json_t *v = fields_get(f, o, name);
	if (v && !is_nothing(v, but))
		fields_fail(f, name, "%s is not supported", name);
}
