/* operators: Python's arithmetic, in 64 bits: what does not fit is an error, not another number.
 * One thread. */
#include "daemon/text/jinja/eval_internal.h"
#include <math.h>
#include <string.h>

static void operator_refuse(struct jinja *j, enum operator_type op, struct value a, struct value b) {
	jinja_need_defined(j, a);
	jinja_need_defined(j, b);
	jinja_fail(j, -EINVAL, "%s is not for a %s and a %s", jinja_operator_text(op), jinja_type_name(a),
	        jinja_type_name(b));
}

/* Each false where the result does not fit. */
static bool operator_fits_sum(int64_t a, int64_t b) {
	return b > 0 ? a <= INT64_MAX - b : a >= INT64_MIN - b;
}

static bool operator_fits_difference(int64_t a, int64_t b) {
	return b < 0 ? a <= INT64_MAX + b : a >= INT64_MIN + b;
}

static bool operator_fits_product(int64_t a, int64_t b) {
	if (a == 0 || b == 0)
		return true;
	if (a > 0)
		return b > 0 ? a <= INT64_MAX / b : b >= INT64_MIN / a;
	return b > 0 ? a >= INT64_MIN / b : b >= INT64_MAX / a;
}

static void operator_need_fit(struct jinja *j, bool fits) {
	if (!fits)
		jinja_fail(j, -ENOTSUP, "integers of more than 64 bits are not supported");
}

static bool operator_both_numbers(struct value a, struct value b) {
	return jinja_is_number(a) && jinja_is_number(b);
}

static bool operator_both_integers(struct value a, struct value b) {
	return jinja_is_integer(a) && jinja_is_integer(b);
}

/* Jinja's Markup escapes what is added to it. */
static struct value operator_concatenate(struct jinja *j, const struct str *a, const struct str *b) {
	struct buf buf = {0};
	bool markup = a->markup || b->markup;
	jinja_put_str(j, &buf, markup && !a->markup ? jinja_escape(j, a) : a);
	jinja_put_str(j, &buf, markup && !b->markup ? jinja_escape(j, b) : b);
	struct value v = jinja_buf_value(j, &buf);
	((struct str *)v.u.s)->markup = markup;
	return v;
}

static struct value operator_join_seqs(
        struct jinja *j, enum value_type type, const struct seq *a, const struct seq *b) {
	jinja_step(j, (a->n + b->n) * sizeof *a->v);
	struct seq *s = jinja_seq(j, a->n + b->n);
	if (a->n)
		memcpy(s->v, a->v, a->n * sizeof *s->v);
	if (b->n)
		memcpy(s->v + a->n, b->v, b->n * sizeof *s->v);
	return value_seq(type, s);
}

struct value jinja_add(struct jinja *j, struct value a, struct value b) {
	if (operator_both_integers(a, b)) {
		operator_need_fit(j, operator_fits_sum(jinja_integer(a), jinja_integer(b)));
		return value_int(jinja_integer(a) + jinja_integer(b));
	}
	if (operator_both_numbers(a, b))
		return value_float(jinja_number(a) + jinja_number(b));
	if (a.type == V_STRING && b.type == V_STRING)
		return operator_concatenate(j, a.u.s, b.u.s);
	if (a.type == b.type && (a.type == V_LIST || a.type == V_TUPLE))
		return operator_join_seqs(j, a.type, a.u.seq, b.u.seq);
	operator_refuse(j, OP_ADD, a, b);
	return a;
}

static struct value operator_subtract(struct jinja *j, struct value a, struct value b) {
	if (operator_both_integers(a, b)) {
		operator_need_fit(j, operator_fits_difference(jinja_integer(a), jinja_integer(b)));
		return value_int(jinja_integer(a) - jinja_integer(b));
	}
	if (operator_both_numbers(a, b))
		return value_float(jinja_number(a) - jinja_number(b));
	operator_refuse(j, OP_SUB, a, b);
	return a;
}

static struct value operator_repeat_str(struct jinja *j, const struct str *s, int64_t times) {
	struct buf b = {0};
	for (; times > 0 && s->len > 0; times--)
		jinja_put_str(j, &b, s);
	struct value v = jinja_buf_value(j, &b);
	((struct str *)v.u.s)->markup = s->markup;
	return v;
}

static struct value operator_repeat_seq(
        struct jinja *j, enum value_type type, const struct seq *s, int64_t times) {
	struct seq *out = jinja_seq(j, 0);
	size_t cap = 0;
	for (; times > 0 && s->n > 0; times--)
		for (size_t i = 0; i < s->n; i++) {
			jinja_step(j, 0);
			jinja_seq_add(j, out, &cap, s->v[i]);
		}
	return value_seq(type, out);
}

static struct value operator_multiply(struct jinja *j, struct value a, struct value b) {
	if (operator_both_integers(a, b)) {
		operator_need_fit(j, operator_fits_product(jinja_integer(a), jinja_integer(b)));
		return value_int(jinja_integer(a) * jinja_integer(b));
	}
	if (operator_both_numbers(a, b))
		return value_float(jinja_number(a) * jinja_number(b));
	struct value times = jinja_is_integer(a) ? a : b, of = jinja_is_integer(a) ? b : a;
	if (jinja_is_integer(times) && of.type == V_STRING)
		return operator_repeat_str(j, of.u.s, jinja_integer(times));
	if (jinja_is_integer(times) && (of.type == V_LIST || of.type == V_TUPLE))
		return operator_repeat_seq(j, of.type, of.u.seq, jinja_integer(times));
	operator_refuse(j, OP_MUL, a, b);
	return a;
}

static void operator_need_divisor(struct jinja *j, struct value b) {
	if (jinja_number(b) == 0)
		jinja_fail(j, -EINVAL, "division by zero");
}

static bool operator_is_exact(int64_t i) {
	return i <= 1LL << 53 && i >= -(1LL << 53);
}

static struct value operator_divide(struct jinja *j, struct value a, struct value b) {
	if (!operator_both_numbers(a, b))
		operator_refuse(j, OP_DIV, a, b);
	operator_need_divisor(j, b);
	if (operator_both_integers(a, b) &&
	        (!operator_is_exact(jinja_integer(a)) || !operator_is_exact(jinja_integer(b))))
		jinja_fail(j, -ENOTSUP, "/ of integers above 2 to the 53 is not supported");
	return value_float(jinja_number(a) / jinja_number(b));
}

/* Python's: the remainder has the divisor's sign. */
static double operator_float_mod(double a, double b) {
	double m = fmod(a, b);
	if (m == 0)
		return copysign(0, b);
	return (m < 0) != (b < 0) ? m + b : m;
}

static double operator_float_floor_div(double a, double b) {
	double m = fmod(a, b), d = (a - m) / b;
	if (m != 0 && (b < 0) != (m < 0))
		d -= 1;
	if (d == 0)
		return copysign(0, a / b);
	double f = floor(d);
	return d - f > 0.5 ? f + 1 : f;
}

static struct value operator_floor_divide(struct jinja *j, struct value a, struct value b) {
	if (!operator_both_numbers(a, b))
		operator_refuse(j, OP_FLOORDIV, a, b);
	operator_need_divisor(j, b);
	if (!operator_both_integers(a, b))
		return value_float(operator_float_floor_div(jinja_number(a), jinja_number(b)));
	int64_t x = jinja_integer(a), y = jinja_integer(b);
	operator_need_fit(j, x != INT64_MIN || y != -1);
	return value_int(x / y - (x % y != 0 && (x < 0) != (y < 0)));
}

static struct value operator_modulo(struct jinja *j, struct value a, struct value b) {
	if (a.type == V_STRING)
		return jinja_format(j, a.u.s, b);
	if (!operator_both_numbers(a, b))
		operator_refuse(j, OP_MOD, a, b);
	operator_need_divisor(j, b);
	if (!operator_both_integers(a, b))
		return value_float(operator_float_mod(jinja_number(a), jinja_number(b)));
	int64_t x = jinja_integer(a), y = jinja_integer(b);
	if (y == -1)
		return value_int(0);
	int64_t m = x % y;
	return value_int(m != 0 && (m < 0) != (y < 0) ? m + y : m);
}

static struct value operator_power(struct jinja *j, struct value a, struct value b) {
	if (!operator_both_numbers(a, b))
		operator_refuse(j, OP_POW, a, b);
	if (operator_both_integers(a, b) && jinja_integer(b) >= 0) {
		int64_t r = 1, base = jinja_integer(a), e = jinja_integer(b);
		if (base == 0 || base == 1)
			return value_int(e == 0 ? 1 : base);
		if (base == -1)
			return value_int(e % 2 ? -1 : 1);
		for (; e > 0; e--) {
			operator_need_fit(j, operator_fits_product(r, base));
			r *= base;
		}
		return value_int(r);
	}
	double x = jinja_number(a), y = jinja_number(b);
	if (x == 0 && y < 0)
		jinja_fail(j, -EINVAL, "zero has no negative power");
	if (x < 0 && y != floor(y) && isfinite(y))
		jinja_fail(j, -ENOTSUP, "complex numbers are not supported");
	double r = pow(x, y);
	if (isinf(r) && isfinite(x) && isfinite(y))
		jinja_fail(j, -EINVAL, "the power is too large for a float");
	return value_float(r);
}

struct value jinja_binary(struct jinja *j, enum operator_type op, struct value a, struct value b) {
	switch (op) {
	case OP_ADD:
		return jinja_add(j, a, b);
	case OP_SUB:
		return operator_subtract(j, a, b);
	case OP_MUL:
		return operator_multiply(j, a, b);
	case OP_DIV:
		return operator_divide(j, a, b);
	case OP_FLOORDIV:
		return operator_floor_divide(j, a, b);
	case OP_MOD:
		return operator_modulo(j, a, b);
	default:
		return operator_power(j, a, b);
	}
}

struct value jinja_unary(struct jinja *j, enum operator_type op, struct value a) {
	jinja_need_defined(j, a);
	if (!jinja_is_number(a))
		jinja_fail(j, -EINVAL, "a sign is not for a %s", jinja_type_name(a));
	if (a.type == V_FLOAT)
		return value_float(op == OP_SUB ? -a.u.f : a.u.f);
	int64_t i = jinja_integer(a);
	operator_need_fit(j, op != OP_SUB || i != INT64_MIN);
	return value_int(op == OP_SUB ? -i : i);
}

bool jinja_contains(struct jinja *j, struct value in, struct value v) {
	if (in.type == V_STRING) {
		jinja_need_defined(j, v);
		if (v.type != V_STRING)
			jinja_fail(j, -EINVAL, "'in' a string is not for a %s", jinja_type_name(v));
		jinja_step(j, in.u.s->len);
		return v.u.s->len == 0 || memmem(in.u.s->p, in.u.s->len, v.u.s->p, v.u.s->len);
	}
	if (in.type == V_DICT)
		return jinja_dict_find(j, in.u.dict, v) != NULL;
	const struct seq *s = jinja_items(j, in);
	for (size_t i = 0; i < s->n; i++)
		if (jinja_equal(j, s->v[i], v))
			return true;
	return false;
}

bool jinja_compare_op(struct jinja *j, enum operator_type op, struct value a, struct value b) {
	int c;
	switch (op) {
	case OP_EQ:
		return jinja_equal(j, a, b);
	case OP_NE:
		return !jinja_equal(j, a, b);
	case OP_IN:
		return jinja_contains(j, b, a);
	case OP_NOT_IN:
		return !jinja_contains(j, b, a);
	default:
		c = jinja_compare(j, a, b, jinja_operator_text(op));
		if (c == NOT_ORDERED)
			return false;
		return op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c > 0 : c >= 0;
	}
}
