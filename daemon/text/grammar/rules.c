/* rules: see rules.h.  UTF-8 classes split a range of code points where the bytes of its ends differ in more than
 * their last varying byte (as Ken Thompson's and RE2's compilers do). */
#include "daemon/text/grammar/rules.h"
#include "daemon/text/grammar/token_trie.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Repetitions above this call a rule of so many as the square root. */
#define FLAT_REPEAT 64

int rules_create(struct rules **out) {
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -ENOMEM;
}

void rules_destroy(struct rules *r) {
	if (!r)
		return;
	for (uint32_t i = 0; i < r->rules; i++)
		free(r->rule[i].name);
	free(r->rule);
	free(r->edge);
	free(r);
}

static void rules_fail(struct rules *r, int error) {
	if (r->error == 0)
		r->error = error;
}

uint32_t rules_state(struct rules *r) {
	return r->states++;
}

uint32_t rules_add(struct rules *r, const char *name, size_t len) {
	if (r->rules >= RULES_MAX)
		rules_fail(r, -E2BIG);
	if (r->error)
		return 0;
	if (r->rules == r->cap_rules) {
		uint32_t cap = r->cap_rules ? r->cap_rules * 2 : 32;
		struct rules_rule *more = realloc(r->rule, cap * sizeof *more);
		if (!more) {
			rules_fail(r, -ENOMEM);
			return 0;
		}
		r->rule = more;
		r->cap_rules = cap;
	}
	len = len < RULES_MAX_NAME ? len : RULES_MAX_NAME;
	char *copy = malloc(len + 1);
	if (!copy) {
		rules_fail(r, -ENOMEM);
		return 0;
	}
	memcpy(copy, name, len);
	copy[len] = '\0';
	uint32_t start = rules_state(r);
	r->rule[r->rules] = (struct rules_rule){.name = copy, .start = start, .end = rules_state(r)};
	return r->rules++;
}

static void rules_add_edge(struct rules *r, struct rules_edge e) {
	if (r->edges >= RULES_MAX_EDGES)
		rules_fail(r, -E2BIG);
	if (r->error)
		return;
	if (r->edges == r->cap_edges) {
		uint32_t cap = r->cap_edges ? r->cap_edges * 2 : 256;
		struct rules_edge *more = realloc(r->edge, cap * sizeof *more);
		if (!more) {
			rules_fail(r, -ENOMEM);
			return;
		}
		r->edge = more;
		r->cap_edges = cap;
	}
	r->edge[r->edges++] = e;
}

void rules_link(struct rules *r, uint32_t from, uint32_t to) {
	rules_add_edge(r, (struct rules_edge){from, to, RULES_EPSILON, 0, 0});
}

void rules_bytes(struct rules *r, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to) {
	rules_add_edge(r, (struct rules_edge){from, to, RULES_BYTES, lo, hi});
}

void rules_call(struct rules *r, uint32_t from, uint32_t rule, uint32_t to) {
	rules_add_edge(r, (struct rules_edge){from, to, rule, 0, 0});
}

uint32_t rules_literal(struct rules *r, uint32_t from, const char *s, size_t len) {
	for (size_t i = 0; i < len && !r->error; i++) {
		uint32_t next = rules_state(r);
		rules_bytes(r, from, (uint8_t)s[i], (uint8_t)s[i], next);
		from = next;
	}
	return from;
}

static uint32_t rules_control(struct rules *r, uint32_t from, const char *name, size_t len) {
	uint32_t at = rules_state(r);
	rules_bytes(r, from, TOKEN_TRIE_CONTROL, TOKEN_TRIE_CONTROL, at);
	rules_link(r, from, at);
	return rules_literal(r, at, name, len);
}

uint32_t rules_marked(struct rules *r, uint32_t from, const char *text) {
	while (*text) {
		const char *end = *text == '<' ? strchr(text, '>') : *text == '[' ? strchr(text, ']') : NULL;
		size_t n = end ? (size_t)(end - text) + 1 : 1;
		from = end ? rules_control(r, from, text, n) : rules_literal(r, from, text, n);
		text += n;
	}
	return from;
}

/* ---- classes of characters ---- */

static int compare_ranges(const void *a, const void *b) {
	const struct rules_range *x = a, *y = b;
	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

size_t rules_ranges_sort(struct rules_range *range, size_t n) {
	size_t out = 0;
	if (n == 0)
		return 0;
	qsort(range, n, sizeof *range, compare_ranges);
	for (size_t i = 1; i < n; i++)
		if (range[i].lo <= range[out].hi + 1)
			range[out].hi = range[i].hi > range[out].hi ? range[i].hi : range[out].hi;
		else
			range[++out] = range[i];
	return out + 1;
}

size_t rules_ranges_negate(const struct rules_range *in, size_t n, struct rules_range *out) {
	uint32_t at = 0;
	size_t m = 0;
	for (size_t i = 0; i < n; i++) {
		if (in[i].lo > at)
			out[m++] = (struct rules_range){at, in[i].lo - 1};
		at = in[i].hi + 1;
	}
	if (at <= 0x10FFFF)
		out[m++] = (struct rules_range){at, 0x10FFFF};
	return m;
}

static unsigned encode(uint32_t c, uint8_t out[4]) {
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	unsigned n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (unsigned i = n; i-- > 1; c >>= 6)
		out[i] = (uint8_t)(0x80 | (c & 63));
	out[0] = (uint8_t)((0xF00u >> n & 0xF0) | c);
	return n;
}

/* One class while it is built: the states from which i more bytes 80 to BF lead to its end are shared. */
struct class {
	struct rules *r;
	uint32_t from, tail[4];
	bool made[4];
};

static uint32_t class_tail(struct class *c, unsigned i) {
	if (!c->made[i]) {
		c->tail[i] = rules_state(c->r);
		c->made[i] = true;
		rules_bytes(c->r, c->tail[i], 0x80, 0xBF, class_tail(c, i - 1));
	}
	return c->tail[i];
}

/* Characters whose encodings have one length and differ in bytes that vary freely. */
static void class_add_bytes(struct class *c, uint32_t lo, uint32_t hi) {
	uint8_t a[4], b[4];
	unsigned n = encode(lo, a), free = n;
	encode(hi, b);
	while (free > 1 && a[free - 1] == 0x80 && b[free - 1] == 0xBF)
		free--;
	uint32_t at = c->from;
	for (unsigned i = 0; i < free; i++) {
		uint32_t next = i + 1 == free ? class_tail(c, n - free) : rules_state(c->r);
		rules_bytes(c->r, at, a[i], b[i], next);
		at = next;
	}
}

static void class_add(struct class *c, uint32_t lo, uint32_t hi) {
	static const uint32_t last[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF};
	if (lo > hi)
		return;
	for (size_t i = 0; i < sizeof last / sizeof *last; i++)
		if (lo <= last[i] && hi > last[i]) {
			class_add(c, lo, last[i]);
			class_add(c, last[i] + 1, hi);
			return;
		}
	if (lo >= 0xD800 && hi <= 0xDFFF)
		return;
	for (unsigned bits = 6; bits <= 18 && lo >= 0x80; bits += 6) {
		uint32_t m = ((uint32_t)1 << bits) - 1;
		if ((lo & ~m) == (hi & ~m))
			continue;
		if ((lo & m) != 0) {
			class_add(c, lo, lo | m);
			class_add(c, (lo | m) + 1, hi);
			return;
		}
		if ((hi & m) != m) {
			class_add(c, lo, (hi & ~m) - 1);
			class_add(c, hi & ~m, hi);
			return;
		}
	}
	class_add_bytes(c, lo, hi);
}

void rules_class(struct rules *r, uint32_t from, const struct rules_range *range, size_t n, uint32_t to) {
	struct class c = {.r = r, .from = from, .tail = {to}, .made = {true}};
	for (size_t i = 0; i < n && !r->error; i++)
		class_add(&c, range[i].lo, range[i].hi < 0x10FFFF ? range[i].hi : 0x10FFFF);
}

/* ---- repetition ---- */

struct rules_mark rules_mark(const struct rules *r) {
	return (struct rules_mark){r->states, r->edges};
}

/* A fragment to be copied. */
struct fragment {
	struct rules_mark begin, end;
	uint32_t in, out;
};

/* A copy of a fragment behind from; the state behind it. */
static uint32_t fragment_copy(struct rules *r, const struct fragment *f, uint32_t from) {
	uint32_t by = r->states - f->begin.states;
	r->states += f->end.states - f->begin.states;
	for (uint32_t i = f->begin.edges; i < f->end.edges && !r->error; i++) {
		struct rules_edge e = r->edge[i];
		e.from += by;
		e.to += by;
		rules_add_edge(r, e);
	}
	rules_link(r, from, f->in + by);
	return f->out + by;
}

/* min to max copies behind from. */
static uint32_t fragment_chain(
        struct rules *r, const struct fragment *f, uint32_t from, uint32_t min, uint32_t max) {
	for (uint32_t i = 0; i < min && !r->error; i++)
		from = fragment_copy(r, f, from);
	if (max == RULES_UNBOUNDED) {
		uint32_t loop = rules_state(r);
		rules_link(r, from, loop);
		rules_link(r, fragment_copy(r, f, loop), loop);
		return loop;
	}
	uint32_t end = rules_state(r);
	rules_link(r, from, end);
	for (uint32_t i = min; i < max && !r->error; i++) {
		from = fragment_copy(r, f, from);
		rules_link(r, from, end);
	}
	return end;
}

/* times calls behind from; from each state before the last call edges lead to early (RULES_EPSILON: none). */
static uint32_t call_chain(struct rules *r, uint32_t from, uint32_t rule, uint32_t times, uint32_t early) {
	for (uint32_t i = 0; i < times && !r->error; i++) {
		uint32_t next = rules_state(r);
		if (early != RULES_EPSILON)
			rules_link(r, from, early);
		rules_call(r, from, rule, next);
		from = next;
	}
	return from;
}

/* The same with a rule of k: n = q k + rest.  A number below q k is some calls and up to k - 1 more. */
static uint32_t fragment_chain_by_calls(
        struct rules *r, const struct fragment *f, uint32_t from, uint32_t min, uint32_t max) {
	uint32_t most = max == RULES_UNBOUNDED ? min : max, k = 1;
	while (k * k < most)
		k++;
	uint32_t rule = rules_add(r, "repetition", 10);
	if (r->error)
		return from;
	uint32_t last = fragment_chain(r, f, r->rule[rule].start, k, k);
	rules_link(r, last, r->rule[rule].end);
	r->rule[rule].defined = true;
	from = call_chain(r, from, rule, min / k, RULES_EPSILON);
	from = fragment_chain(r, f, from, min % k, min % k);
	if (max == RULES_UNBOUNDED)
		return fragment_chain(r, f, from, 0, max);
	uint32_t end = rules_state(r), early = rules_state(r), n = max - min;
	from = call_chain(r, from, rule, n / k, early);
	rules_link(r, fragment_chain(r, f, early, 0, k - 1), end);
	rules_link(r, fragment_chain(r, f, from, 0, n % k), end);
	return end;
}

void rules_repeat(struct rules *r, struct rules_mark mark, uint32_t *start, uint32_t *end, uint32_t min,
        uint32_t max, bool flat) {
	const struct fragment f = {mark, rules_mark(r), *start, *end};
	uint32_t most = max == RULES_UNBOUNDED ? min : max, from = rules_state(r);
	if (most > RULES_MAX_REPEAT)
		rules_fail(r, -E2BIG);
	if (r->error)
		return;
	*start = from;
	if (flat || most <= FLAT_REPEAT)
		*end = fragment_chain(r, &f, from, min, max);
	else
		*end = fragment_chain_by_calls(r, &f, from, min, max);
}

/* ---- intersection ---- */

/* Pairs of states that were reached, in the order of their numbers, and where to find them. */
struct pairs {
	uint32_t (*pair)[2];
	uint32_t *slot; /* number + 1 */
	uint32_t n, mask, first;
};

#define MAX_PAIRS (1u << 16)

static uint32_t pairs_number(struct rules *r, struct pairs *p, uint32_t a, uint32_t b) {
	uint32_t at = (a * 2654435761u ^ b * 2246822519u) & p->mask;
	for (; p->slot[at]; at = (at + 1) & p->mask) {
		const uint32_t *q = p->pair[p->slot[at] - 1];
		if (q[0] == a && q[1] == b)
			return p->first + p->slot[at] - 1;
	}
	if (p->n == MAX_PAIRS) {
		rules_fail(r, -E2BIG);
		return p->first;
	}
	p->pair[p->n][0] = a;
	p->pair[p->n][1] = b;
	p->slot[at] = ++p->n;
	rules_state(r);
	return p->first + p->n - 1;
}

/* The edges by the state that they leave: at[s] to at[s + 1] of order. */
static int index_edges(const struct rules *r, uint32_t **at, uint32_t **order) {
	*at = calloc((size_t)r->states + 2, sizeof **at);
	*order = malloc(((size_t)r->edges + 1) * sizeof **order);
	if (!*at || !*order)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->edges; i++)
		(*at)[r->edge[i].from + 2]++;
	for (uint32_t s = 2; s < r->states + 2; s++)
		(*at)[s] += (*at)[s - 1];
	for (uint32_t i = 0; i < r->edges; i++)
		(*order)[(*at)[r->edge[i].from + 1]++] = i;
	return 0;
}

/* The edges of one pair: either side may pass an empty edge alone, both pass bytes together. */
static void intersect_edges(
        struct rules *r, struct pairs *p, uint32_t number, const uint32_t *at, const uint32_t *order) {
	const uint32_t a = p->pair[number][0], b = p->pair[number][1], from = p->first + number;
	for (uint32_t i = at[a]; i < at[a + 1] && !r->error; i++) {
		struct rules_edge x = r->edge[order[i]];
		if (x.rule == RULES_EPSILON)
			rules_link(r, from, pairs_number(r, p, x.to, b));
		for (uint32_t k = at[b]; k < at[b + 1] && x.rule == RULES_BYTES; k++) {
			struct rules_edge y = r->edge[order[k]];
			uint8_t lo = x.lo > y.lo ? x.lo : y.lo, hi = x.hi < y.hi ? x.hi : y.hi;
			if (y.rule == RULES_BYTES && lo <= hi)
				rules_bytes(r, from, lo, hi, pairs_number(r, p, x.to, y.to));
		}
	}
	for (uint32_t k = at[b]; k < at[b + 1] && !r->error; k++)
		if (r->edge[order[k]].rule == RULES_EPSILON)
			rules_link(r, from, pairs_number(r, p, a, r->edge[order[k]].to));
}

void rules_intersect(
        struct rules *r, const uint32_t a[2], const uint32_t b[2], uint32_t *start, uint32_t *end) {
	struct pairs p = {.mask = 2 * MAX_PAIRS - 1, .first = r->states};
	uint32_t *at = NULL, *order = NULL;
	p.pair = malloc(MAX_PAIRS * sizeof *p.pair);
	p.slot = calloc(2 * MAX_PAIRS, sizeof *p.slot);
	if (r->error == 0 && (!p.pair || !p.slot || index_edges(r, &at, &order) < 0))
		rules_fail(r, -ENOMEM);
	*start = *end = 0;
	if (r->error == 0) {
		*start = pairs_number(r, &p, a[0], b[0]);
		*end = pairs_number(r, &p, a[1], b[1]);
		for (uint32_t i = 0; i < p.n && !r->error; i++)
			intersect_edges(r, &p, i, at, order);
	}
	free(at);
	free(order);
	free(p.pair);
	free(p.slot);
}
