/* schema_number: numbers of a schema.  Without bounds: at most 16 digits before and behind the point and two of an exponent, so
 * that every program reads them.
 *
 * With bounds a number has no exponent, and at most 15 digits (integers 18): so many decimal digits that differ are different
 * doubles, and what is within the bounds as it is written is within them as it is read.  For each number of digits before the
 * point, value times 10 to the power of those behind it is a whole number, and bounds are compared digit by digit. */
#include "daemon/text/grammar/schema_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REAL_DIGITS 15
#define INTEGER_DIGITS 18
#define FREE_DIGITS 16 /* without bounds; and of an integer with one bound */
#define FREE_EXPONENT 2
#define LIMIT 1000000000000000000 /* 10 to the power of 18 */

static int64_t min64(int64_t a, int64_t b) {
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b) {
	return a > b ? a : b;
}

/* ---- without bounds ---- */

static uint32_t digits(struct schema *c, uint32_t from, uint32_t min, uint32_t max) {
	struct rules_mark mark = rules_mark(c->r);
	uint32_t start = rules_state(c->r), end = rules_state(c->r);
	rules_bytes(c->r, start, '0', '9', end);
	rules_repeat(c->r, mark, &start, &end, min, max, true);
	rules_link(c->r, from, start);
	return end;
}

void schema_builtin_number(struct schema *c, uint32_t start, uint32_t end, bool integer) {
	struct rules *r = c->r;
	uint32_t sign = rules_state(r), whole = rules_state(r), more = rules_state(r),
	         exponent = rules_state(r);
	rules_link(r, start, sign);
	rules_bytes(r, start, '-', '-', sign);
	rules_bytes(r, sign, '0', '0', whole);
	rules_bytes(r, sign, '1', '9', more);
	rules_link(r, digits(c, more, 0, FREE_DIGITS - 1), whole);
	rules_link(r, whole, end);
	if (integer)
		return;
	uint32_t point = rules_literal(r, whole, ".", 1), sign_of_exponent = rules_state(r);
	rules_link(r, whole, exponent);
	rules_link(r, digits(c, point, 1, FREE_DIGITS), exponent);
	rules_link(r, exponent, end);
	uint32_t e = rules_state(r);
	rules_bytes(r, exponent, 'e', 'e', e);
	rules_bytes(r, exponent, 'E', 'E', e);
	rules_link(r, e, sign_of_exponent);
	rules_bytes(r, e, '+', '+', sign_of_exponent);
	rules_bytes(r, e, '-', '-', sign_of_exponent);
	rules_link(r, digits(c, sign_of_exponent, 1, FREE_EXPONENT), end);
}

/* ---- bounds ---- */

/* A bound as it is written: mantissa times 10 to the power of exponent. */
struct decimal {
	int64_t mantissa;
	int exponent;
	bool exclusive;
};

static void decimal_read(struct decimal *d, const json_t *v) {
	char text[40];
	if (json_is_integer(v)) {
		d->mantissa = json_integer_value(v);
		d->exponent = 0;
	} else {
		int digits_of = 15;
		do
			snprintf(text, sizeof text, "%.*e", digits_of - 1, json_real_value(v));
		while (strtod(text, NULL) != json_real_value(v) && ++digits_of <= 17);
		char *e = strchr(text, 'e'), *point = strchr(text, '.');
		d->exponent = atoi(e + 1) - (int)(e - point - 1);
		memmove(point, point + 1, strlen(point));
		d->mantissa = strtoll(text, NULL, 10);
	}
	while (d->mantissa != 0 && d->mantissa % 10 == 0) {
		d->mantissa /= 10;
		d->exponent++;
	}
	if (d->mantissa == 0)
		d->exponent = 0;
}

/* The least (up: rounded so) or greatest whole number that is within a bound once all is times 10 to the power of scale;
 * beyond LIMIT it does not matter which. */
static int64_t decimal_scale(const struct decimal *d, int scale, bool least) {
	int64_t n = d->mantissa;
	int e = d->exponent + scale;
	bool cut = false, negative = n < 0;
	for (; e > 0 && n != 0; e--) {
		if (n > LIMIT / 10 || n < -LIMIT / 10)
			return negative ? -LIMIT : LIMIT;
		n *= 10;
	}
	for (; e < 0 && n != 0; e++) {
		cut = cut || n % 10 != 0;
		n /= 10;
	}
	if (cut) /* rounded towards zero */
		n += least ? !negative : -negative;
	else if (d->exclusive)
		n += least ? 1 : -1;
	return min64(max64(n, -LIMIT), LIMIT);
}

/* ---- digits between bounds ---- */

/* Numbers of whole and fraction digits from lo to hi, as one row of digits. */
struct range {
	struct schema *c;
	int whole, fraction;
	char lo[INTEGER_DIGITS + 2], hi[INTEGER_DIGITS + 2];
	uint32_t end;
	uint32_t state[INTEGER_DIGITS + 2][2]
	              [2]; /* at a digit, still equal to lo, to hi; UINT32_MAX: not made yet */
};

/* Behind the digits before the point, whether the number may end: the others are 0 then. */
static bool range_may_end(const struct range *x, int at, bool low) {
	return at >= x->whole && (!low || strspn(x->lo + at, "0") == strlen(x->lo + at));
}

static uint32_t range_state(struct range *x, int at, bool low, bool high);

/* The digits that may follow. */
static void range_digits(struct range *x, int at, bool low, bool high, uint32_t from) {
	char first = low ? x->lo[at] : '0', last = high ? x->hi[at] : '9';
	if (at == 0 && x->whole > 1 && first == '0')
		first = '1';
	for (char d = first; d <= last; d++) {
		uint32_t to = range_state(x, at + 1, low && d == x->lo[at], high && d == x->hi[at]);
		rules_bytes(x->c->r, from, (uint8_t)d, (uint8_t)d, to);
	}
}

static uint32_t range_state(struct range *x, int at, bool low, bool high) {
	uint32_t *state = &x->state[at][low][high];
	if (*state != UINT32_MAX || schema_failed(x->c))
		return *state;
	uint32_t made = *state = rules_state(x->c->r), from = made;
	if (range_may_end(x, at, low))
		rules_link(x->c->r, made, x->end);
	if (at == x->whole + x->fraction)
		return made;
	if (at == x->whole)
		from = rules_literal(x->c->r, made, ".", 1);
	range_digits(x, at, low, high, from);
	return made;
}

/* From lo to hi, neither negative, of so many digits. */
static void range_add(
        struct schema *c, uint32_t from, int64_t lo, int64_t hi, int whole, int fraction, uint32_t to) {
	struct range x = {.c = c, .whole = whole, .fraction = fraction, .end = to};
	if (lo > hi)
		return;
	for (int i = whole + fraction; i-- > 0; lo /= 10, hi /= 10) {
		x.lo[i] = (char)('0' + lo % 10);
		x.hi[i] = (char)('0' + hi % 10);
	}
	memset(x.state, 0xFF, sizeof x.state);
	rules_link(c->r, from, range_state(&x, 0, true, true));
}

static int64_t power(int n) {
	int64_t p = 1;
	while (n-- > 0)
		p *= 10;
	return p;
}

struct bounds {
	struct decimal lo, hi;
	bool has_lo, has_hi;
	bool integer;
};

/* Magnitudes of one sign, for each number of digits before the point. */
static void bounds_add(struct schema *c, const struct bounds *b, bool negative, uint32_t from, uint32_t to) {
	int digits_of = !b->integer ? REAL_DIGITS : b->has_lo && b->has_hi ? INTEGER_DIGITS : FREE_DIGITS;
	for (int whole = 1; whole <= digits_of; whole++) {
		int fraction = b->integer ? 0 : digits_of - whole;
		int64_t lo = b->has_lo ? decimal_scale(&b->lo, fraction, true) : -LIMIT;
		int64_t hi = b->has_hi ? decimal_scale(&b->hi, fraction, false) : LIMIT;
		int64_t least = whole == 1 ? negative : power(whole - 1 + fraction);
		int64_t most = power(whole + fraction) - 1;
		if (negative)
			range_add(c, from, max64(least, -hi), min64(most, -lo), whole, fraction, to);
		else
			range_add(c, from, max64(least, lo), min64(most, hi), whole, fraction, to);
	}
}

/* The tighter of an inclusive and an exclusive bound.  Before 2019 "exclusive..." said true of the other. */
static bool bound_read(struct schema *c, struct decimal *out, const json_t *s, const char *key,
        const char *exclusive, bool lower, const struct path *path) {
	const json_t *v = json_object_get(s, key), *x = json_object_get(s, exclusive);
	if ((v && !json_is_number(v)) || (x && !json_is_number(x) && !json_is_boolean(x)))
		schema_fail(c, path, "%s and %s must be numbers", key, exclusive);
	if (json_is_number(x)) {
		double a = json_number_value(x), b = json_number_value(v);
		out->exclusive = !v || (lower ? a >= b : a <= b);
	} else {
		out->exclusive = v && json_is_true(x);
	}
	const json_t *used = json_is_number(x) && out->exclusive ? x : v;
	if (!used || schema_failed(c))
		return false;
	decimal_read(out, used);
	return true;
}

/* A bound that is an integer of the format int32. */
static void bounds_of_format(struct bounds *b, const json_t *s) {
	const char *format = json_string_value(json_object_get(s, "format"));
	if (!format || strcmp(format, "int32") != 0)
		return;
	const struct decimal lo = {INT32_MIN, 0, false}, hi = {INT32_MAX, 0, false};
	if (!b->has_lo || decimal_scale(&b->lo, 0, true) < INT32_MIN)
		b->lo = lo;
	if (!b->has_hi || decimal_scale(&b->hi, 0, false) > INT32_MAX)
		b->hi = hi;
	b->has_lo = b->has_hi = true;
}

uint32_t schema_number(
        struct schema *c, const json_t *s, const struct path *path, bool integer, uint32_t from) {
	struct bounds b = {.integer = integer};
	b.has_lo = bound_read(c, &b.lo, s, "minimum", "exclusiveMinimum", true, path);
	b.has_hi = bound_read(c, &b.hi, s, "maximum", "exclusiveMaximum", false, path);
	if (schema_failed(c))
		return from;
	bounds_of_format(&b, s);
	if (!b.has_lo && !b.has_hi)
		return schema_call(c, from, schema_builtin(c, integer ? BUILTIN_INTEGER : BUILTIN_NUMBER));
	uint32_t to = rules_state(c->r);
	bounds_add(c, &b, false, from, to);
	bounds_add(c, &b, true, rules_literal(c->r, from, "-", 1), to);
	return to;
}
