/* access: attributes, items, slices, as Jinja's sandbox looks them up: x.y is a method or what Python has as an attribute, then
 * an item; x['y'] an item, then an attribute.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/utf8.h"
#include <stdlib.h>
#include <string.h>

static struct value access_not_there(const struct str *name) {
	return value_undefined(UNDEFINED_ATTRIBUTE, name);
}

static struct value access_method(struct jinja *j, const struct builtin *b, struct value self) {
	struct function *f = jinja_alloc(j, sizeof *f);
	*f = (struct function){b, self};
	return (struct value){.type = V_FUNCTION, .u.function = f};
}

static bool access_is_one_of(const struct str *s, const char *names) {
	/* names, each between spaces */
	for (const char *p = names; *p; p += strcspn(p, " ") + 1) {
		size_t n = strcspn(p, " ");
		if (n == s->len && memcmp(p, s->p, n) == 0)
			return true;
		if (!p[n])
			break;
	}
	return false;
}

/* What Python has there and this does not. */
static void access_refuse_known(struct jinja *j, struct value of, const struct str *name) {
	static const char *const known[] = {
	        [V_STRING] = "encode translate maketrans format_map isidentifier casefold expandtabs",
	        [V_DICT] = "fromkeys",
	        [V_INT] =
	                "real imag numerator denominator bit_length bit_count conjugate as_integer_ratio to_bytes from_bytes",
	        [V_BOOL] =
	                "real imag numerator denominator bit_length bit_count conjugate as_integer_ratio to_bytes from_bytes",
	        [V_FLOAT] = "real imag is_integer hex fromhex conjugate as_integer_ratio",
	        [V_RANGE] = "start stop step index count",
	        [V_VIEW] = "mapping isdisjoint",
	        [V_ITERATOR] = "send throw close gi_frame gi_code gi_running gi_yieldfrom gi_suspended",
	        [V_MACRO] = "arguments catch_kwargs catch_varargs caller explicit_caller",
	        [V_JOINER] = "sep used",
	        [V_CYCLER] = "items pos",
	};
	size_t n = sizeof known / sizeof known[0];
	if ((size_t)of.type < n && known[of.type] && access_is_one_of(name, known[of.type]))
		jinja_fail(j, -ENOTSUP, "the %s's '%.*s' is not supported", jinja_type_name(of),
		        (int)name->len, name->p);
}

static bool access_changes(struct value of, const struct str *name) {
	if (of.type == V_DICT)
		return access_is_one_of(name, "update pop popitem clear setdefault");
	return of.type == V_LIST &&
	       access_is_one_of(name, "append clear extend insert pop remove reverse sort");
}

static struct value access_loop_attribute(struct jinja *j, struct loop *l, const struct str *name) {
	int64_t i = (int64_t)l->index0;
	if (jinja_str_is(name, "index0"))
		return value_int(i);
	if (jinja_str_is(name, "index"))
		return value_int(i + 1);
	if (jinja_str_is(name, "first"))
		return value_bool(i == 0);
	if (jinja_str_is(name, "last"))
		return value_bool(jinja_loop_peek(j, l).type == V_MISSING);
	if (jinja_str_is(name, "length"))
		return value_int((int64_t)jinja_loop_length(j, l));
	if (jinja_str_is(name, "revindex"))
		return value_int((int64_t)jinja_loop_length(j, l) - i);
	if (jinja_str_is(name, "revindex0"))
		return value_int((int64_t)jinja_loop_length(j, l) - i - 1);
	if (jinja_str_is(name, "depth"))
		return value_int((int64_t)l->depth0 + 1);
	if (jinja_str_is(name, "depth0"))
		return value_int((int64_t)l->depth0);
	if (jinja_str_is(name, "previtem"))
		return i == 0 ? jinja_hint(j, "there is no previous item") : l->before;
	if (jinja_str_is(name, "nextitem")) {
		struct value v = jinja_loop_peek(j, l);
		return v.type == V_MISSING ? jinja_hint(j, "there is no next item") : v;
	}
	return value_missing();
}

/* What Python's getattr finds; V_MISSING: nothing. */
static struct value access_python_attribute(struct jinja *j, struct value of, const struct str *name) {
	const struct builtin *b = NULL;
	switch (of.type) {
	case V_NAMESPACE: {
		const struct value *v = jinja_dict_find(j, of.u.dict, value_str(name));
		return v ? *v : value_missing();
	}
	case V_LOOP: {
		struct value v = access_loop_attribute(j, of.u.loop, name);
		if (v.type != V_MISSING)
			return v;
		b = jinja_object_method(of.type, name);
		break;
	}
	case V_STRING:
		b = jinja_str_method(name);
		break;
	case V_TUPLE:
		if (of.u.seq->name && jinja_str_is(name, "grouper"))
			return of.u.seq->v[0];
		if (of.u.seq->name && jinja_str_is(name, "list"))
			return of.u.seq->v[1];
		b = jinja_container_method(of.type, name);
		break;
	case V_DICT:
	case V_LIST:
		b = jinja_container_method(of.type, name);
		break;
	case V_CYCLER:
		if (jinja_str_is(name, "current"))
			return of.u.seq->v[of.u.seq->at];
		b = jinja_object_method(of.type, name);
		break;
	case V_MACRO:
		if (jinja_str_is(name, "name"))
			return of.u.macro->node->name ? value_str(of.u.macro->node->name) : value_none();
		break;
	default:
		break;
	}
	if (b)
		return access_method(j, b, of);
	if (access_changes(of, name))
		return value_undefined(UNDEFINED_CHANGES, name);
	access_refuse_known(j, of, name);
	return value_missing();
}

struct value jinja_attribute(struct jinja *j, struct value of, const struct str *name) {
	jinja_need_defined(j, of);
	struct value v = access_python_attribute(j, of, name);
	if (v.type != V_MISSING)
		return v;
	const struct value *item = of.type == V_DICT ? jinja_dict_find(j, of.u.dict, value_str(name)) : NULL;
	return item ? *item : access_not_there(name);
}

static struct value access_seq_item(struct jinja *j, const struct seq *s, int64_t i) {
	int64_t n = (int64_t)s->n;
	i = i < 0 ? i + n : i;
	if (i < 0 || i >= n)
		return jinja_hint(j, "the sequence has no such item");
	return s->v[i];
}

static struct value access_str_item(struct jinja *j, const struct str *s, int64_t i) {
	int64_t n = (int64_t)s->chars;
	i = i < 0 ? i + n : i;
	if (i < 0 || i >= n)
		return jinja_hint(j, "the string has no such character");
	jinja_step(j, s->chars == s->len ? 0 : s->len);
	size_t from = jinja_offset(s, (size_t)i), len;
	utf8_next(s->p + from, s->len - from, &len);
	return value_str(jinja_sub(j, s, from, from + len));
}

struct value jinja_item(struct jinja *j, struct value of, struct value key) {
	jinja_need_defined(j, of);
	if (of.type == V_DICT) {
		if (key.type == V_LIST || key.type == V_DICT)
			return jinja_hint(j, "the dict has no such key");
		const struct value *v = jinja_dict_find(j, of.u.dict, key);
		if (v)
			return *v;
	}
	if (jinja_is_integer(key)) {
		if (of.type == V_LIST || of.type == V_TUPLE || of.type == V_RANGE)
			return access_seq_item(j, of.u.seq, jinja_integer(key));
		if (of.type == V_STRING)
			return access_str_item(j, of.u.s, jinja_integer(key));
	}
	if (key.type != V_STRING)
		return jinja_hint(j, "the value has no such item");
	struct value v = access_python_attribute(j, of, key.u.s);
	return v.type == V_MISSING ? access_not_there(key.u.s) : v;
}

/* A bound of a slice, as an index within 0..n (or -1..n-1 backwards). */
static int64_t access_slice_bound(
        struct jinja *j, struct value v, int64_t n, int64_t otherwise, bool backwards) {
	if (v.type == V_NONE)
		return otherwise;
	int64_t i = jinja_need_int(j, v, "a bound of a slice");
	if (i < 0) {
		i = i < -n ? -1 : i + n;
		if (i < 0)
			return backwards ? -1 : 0;
	}
	if (i >= n)
		return backwards ? n - 1 : n;
	return i;
}

struct span {
	int64_t from, end, step;
	size_t count;
};

static struct span access_slice_span(
        struct jinja *j, size_t len, struct value from, struct value end, struct value step) {
	struct span s = {.step = step.type == V_NONE ? 1 : jinja_need_int(j, step, "the step of a slice")};
	int64_t n = (int64_t)len;
	if (s.step == 0)
		jinja_fail(j, -EINVAL, "the step of a slice is 0");
	if (s.step < -n - 1)
		s.step = -n - 1;
	if (s.step > n + 1)
		s.step = n + 1;
	bool backwards = s.step < 0;
	s.from = access_slice_bound(j, from, n, backwards ? n - 1 : 0, backwards);
	s.end = access_slice_bound(j, end, n, backwards ? -1 : n, backwards);
	if (backwards ? s.end < s.from : s.from < s.end)
		s.count =
		        (size_t)(backwards ? (s.from - s.end - 1) / -s.step : (s.end - s.from - 1) / s.step) +
		        1;
	return s;
}

static struct value access_slice_str(struct jinja *j, const struct str *s, struct span w) {
	jinja_step(j, s->len);
	if (w.step == 1 || w.count == 0) {
		size_t from = jinja_offset(s, (size_t)w.from);
		size_t end = w.count ? jinja_offset(s, (size_t)w.end) : from;
		return value_str(jinja_sub(j, s, from, end));
	}
	const struct seq *chars = jinja_items(j, value_str(s));
	struct buf b = {0};
	for (size_t i = 0; i < w.count; i++)
		jinja_put_str(j, &b, chars->v[w.from + (int64_t)i * w.step].u.s);
	return jinja_buf_value(j, &b);
}

static int64_t access_range_at(struct jinja *j, const struct seq *s, int64_t i) {
	struct value behind = jinja_binary(j, OP_MUL, value_int(s->step), value_int(i));
	return jinja_integer(jinja_add(j, value_int(s->start), behind));
}

static struct value access_slice_seq(struct jinja *j, struct value of, struct span w) {
	struct seq *out = jinja_seq(j, w.count);
	const struct seq *s = of.u.seq;
	jinja_step(j, w.count * sizeof *out->v);
	for (size_t i = 0; i < w.count; i++)
		out->v[i] = s->v[w.from + (int64_t)i * w.step];
	if (of.type == V_RANGE) {
		out->start = access_range_at(j, s, w.from);
		out->stop = access_range_at(j, s, w.end);
		out->step = jinja_integer(jinja_binary(j, OP_MUL, value_int(s->step), value_int(w.step)));
	}
	return value_seq(of.type, out);
}

struct value jinja_slice(
        struct jinja *j, struct value of, struct value from, struct value end, struct value step) {
	jinja_need_defined(j, of);
	switch (of.type) {
	case V_STRING:
		return access_slice_str(j, of.u.s, access_slice_span(j, of.u.s->chars, from, end, step));
	case V_LIST:
	case V_TUPLE:
	case V_RANGE:
		return access_slice_seq(j, of, access_slice_span(j, of.u.seq->n, from, end, step));
	default:
		jinja_fail(j, -EINVAL, "a %s cannot be sliced", jinja_type_name(of));
	}
}

static struct value access_path_part(struct jinja *j, const struct str *part) {
	bool number = part->len > 0 && part->len < 18;
	for (size_t i = 0; i < part->len; i++)
		number &= part->p[i] >= '0' && part->p[i] <= '9';
	if (!number)
		return value_str(part);
	char text[20] = "";
	memcpy(text, part->p, part->len);
	return value_int(atoll(text));
}

struct value jinja_path(struct jinja *j, struct value of, struct value path, struct value otherwise) {
	if (path.type != V_STRING) {
		struct value v = jinja_item(j, of, path);
		return v.type == V_UNDEFINED && otherwise.type != V_MISSING ? otherwise : v;
	}
	const struct str *s = path.u.s;
	for (size_t from = 0, end; from <= s->len; from = end + 1) {
		const char *dot = memchr(s->p + from, '.', s->len - from);
		end = dot ? (size_t)(dot - s->p) : s->len;
		of = jinja_item(j, of, access_path_part(j, jinja_sub(j, s, from, end)));
		if (of.type == V_UNDEFINED && otherwise.type != V_MISSING)
			of = otherwise;
	}
	return of;
}
