/* grammar: see grammar.h.  Compiles rules: short ones are put into their callers, each is made deterministic by the
 * subset construction (calls are letters like bytes), states that cannot reach an end are removed, left recursion is refused. */
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/calls.h"
#include "daemon/text/grammar/gbnf.h"
#include "daemon/text/grammar/grammar_internal.h"
#include "daemon/text/grammar/json_schema.h"
#include "daemon/text/grammar/rules.h"
#include "daemon/text/grammar/thinking.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_RULE 100u        /* edges of a rule that is put into its callers */
#define INLINE_DEPTH 8         /* of such in such */
#define MAX_MEMBERS (1u << 23) /* of all subsets */
#define MAX_WORK (1u << 27)    /* edges that are looked at: some tenths of a second */

static int fail(int rc, char *err, size_t errlen, const char *sentence, const char *name) {
	snprintf(err, errlen, sentence, name);
	return rc;
}

static int fail_size(char *err, size_t errlen) {
	return fail(-E2BIG, err, errlen, "the grammar is too large once compiled%s", "");
}

static int fail_memory(char *err, size_t errlen) {
	return fail(-ENOMEM, err, errlen, "no memory for the grammar%s", "");
}

/* Room for one more element; false: no memory. */
static bool grow(void *array, uint32_t n, uint32_t *cap, size_t size) {
	void **p = array;
	if (n < *cap)
		return true;
	uint32_t more = *cap ? *cap * 2 : 64;
	void *q = realloc(*p, more * size);
	if (!q)
		return false;
	*p = q;
	*cap = more;
	return true;
}

/* ---- the edges of rules, by the state that they leave ---- */

struct edges {
	uint32_t *at, *order; /* those of state s: order[at[s]] to order[at[s + 1]] */
	uint32_t states;      /* that there were */
};

static void edges_release(struct edges *e) {
	free(e->at);
	free(e->order);
}

static int edges_index(struct edges *e, const struct rules *r) {
	e->states = r->states;
	e->at = calloc((size_t)r->states + 2, sizeof *e->at);
	e->order = malloc(((size_t)r->edges + 1) * sizeof *e->order);
	if (!e->at || !e->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->edges; i++)
		e->at[r->edge[i].from + 2]++;
	for (uint32_t s = 2; s < r->states + 2; s++)
		e->at[s] += e->at[s - 1];
	for (uint32_t i = 0; i < r->edges; i++)
		e->order[e->at[r->edge[i].from + 1]++] = i;
	return 0;
}

/* ---- short rules are put into their callers ---- */

/* The states of a short rule, and its edges. */
struct body {
	uint32_t state[SHORT_RULE + 2], states;
	struct rules_edge edge[SHORT_RULE];
	uint32_t edges;
};

static bool body_add_state(struct body *b, uint32_t s) {
	for (uint32_t i = 0; i < b->states; i++)
		if (b->state[i] == s)
			return true;
	if (b->states == SHORT_RULE + 2)
		return false;
	b->state[b->states++] = s;
	return true;
}

/* Whether every state can be taken away after all that lead to it: no way leads back. */
static bool body_is_acyclic(const struct body *b) {
	bool gone[SHORT_RULE] = {false};
	for (uint32_t left = b->edges, before = left + 1; left < before;) {
		before = left;
		for (uint32_t i = 0; i < b->edges; i++) {
			bool blocked = gone[i];
			for (uint32_t k = 0; k < b->edges && !blocked; k++)
				blocked = !gone[k] && b->edge[k].to == b->edge[i].from;
			if (!blocked) {
				gone[i] = true;
				left--;
			}
		}
		if (left == 0)
			return true;
	}
	return b->edges == 0;
}

/* Whether a rule is short, calls nothing, and matches texts of bounded length.  One that has changed since its edges were indexed
 * has to wait. */
static bool body_find(
        struct body *b, const struct rules *r, const struct edges *e, const struct rules_rule *rule) {
	b->states = b->edges = 0;
	body_add_state(b, rule->start);
	for (uint32_t i = 0; i < b->states; i++)
		for (uint32_t k = e->at[b->state[i]]; k < e->at[b->state[i] + 1]; k++) {
			struct rules_edge x = r->edge[e->order[k]];
			if (x.rule < RULES_BYTES || x.to >= e->states || b->edges == SHORT_RULE ||
			        !body_add_state(b, x.to))
				return false;
			b->edge[b->edges++] = x;
		}
	return body_add_state(b, rule->end) && body_is_acyclic(b);
}

static uint32_t body_index(const struct body *b, uint32_t s) {
	uint32_t i = 0;
	while (b->state[i] != s)
		i++;
	return i;
}

/* Instead of edge i there is a copy of the rule that it calls. */
static void body_insert(const struct body *b, struct rules *r, uint32_t i, const struct rules_rule *rule) {
	uint32_t first = r->states, to = r->edge[i].to;
	r->states += b->states;
	for (uint32_t k = 0; k < b->edges; k++) {
		uint32_t from = first + body_index(b, b->edge[k].from);
		if (b->edge[k].rule == RULES_BYTES)
			rules_bytes(
			        r, from, b->edge[k].lo, b->edge[k].hi, first + body_index(b, b->edge[k].to));
		else
			rules_link(r, from, first + body_index(b, b->edge[k].to));
	}
	rules_link(r, first + body_index(b, rule->end), to);
	if (r->error == 0)
		r->edge[i] = (struct rules_edge){
		        r->edge[i].from, first + body_index(b, rule->start), RULES_EPSILON, 0, 0};
}

/* One level of them; *changed: there may be another. */
static int rules_inline(struct rules *r, bool *changed) {
	struct edges e = {0};
	struct body b;
	const uint32_t edges = r->edges;
	int rc = edges_index(&e, r);
	*changed = false;
	for (uint32_t i = 0; i < r->rules && rc == 0; i++) {
		const struct rules_rule *rule = &r->rule[i];
		if (!rule->inlined || !body_find(&b, r, &e, rule))
			continue;
		for (uint32_t k = 0; k < edges && r->edges < RULES_MAX_EDGES / 2; k++)
			if (r->edge[k].rule == i) {
				body_insert(&b, r, k, rule);
				*changed = true;
			}
	}
	edges_release(&e);
	return rc;
}

/* ---- the subset construction ---- */

struct subset {
	uint32_t first, n; /* of members */
	uint32_t rule;
};

struct compiler {
	struct rules *r;
	struct edges e;
	struct subset *subset; /* one for each state of the result */
	uint32_t cap_subset;
	uint32_t *member, members, cap_member;
	uint32_t *slot;        /* number of a subset + 1 */
	uint32_t *seen, stamp; /* by state of r */
	uint32_t *work;        /* states of r */
	uint32_t work_done;    /* edges looked at */
	uint32_t *first;       /* of each rule: its first state in the result, or UINT32_MAX */
	struct grammar *g;
	uint32_t cap_state, cap_bytes, cap_call, nbytes, ncalls;
};

#define SLOTS (2 * GRAMMAR_MAX_STATES)

static void compiler_release(struct compiler *c) {
	edges_release(&c->e);
	free(c->subset);
	free(c->member);
	free(c->slot);
	free(c->seen);
	free(c->work);
	free(c->first);
}

static int compare_u32(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* The states that matter are those with an edge that consumes, and the end. */
static bool matters(const struct compiler *c, uint32_t s, uint32_t end) {
	for (uint32_t k = c->e.at[s]; k < c->e.at[s + 1]; k++)
		if (c->r->edge[c->e.order[k]].rule != RULES_EPSILON)
			return true;
	return s == end;
}

/* Adds s, and what empty edges lead to, to the subset that is being made at the end of member. */
static int compiler_reach(struct compiler *c, uint32_t s, uint32_t end) {
	uint32_t n = 0;
	if (c->seen[s] == c->stamp)
		return 0;
	c->seen[s] = c->stamp;
	c->work[n++] = s;
	while (n > 0) {
		s = c->work[--n];
		if (matters(c, s, end)) {
			if (c->members >= MAX_MEMBERS)
				return -E2BIG;
			if (!grow(&c->member, c->members, &c->cap_member, sizeof *c->member))
				return -ENOMEM;
			c->member[c->members++] = s;
		}
		for (uint32_t k = c->e.at[s]; k < c->e.at[s + 1]; k++) {
			const struct rules_edge *x = &c->r->edge[c->e.order[k]];
			if (x->rule != RULES_EPSILON || c->seen[x->to] == c->stamp)
				continue;
			c->seen[x->to] = c->stamp;
			c->work[n++] = x->to;
		}
	}
	return 0;
}

/* The number of the subset from first to the end of member, which is new or forgotten again. */
static int compiler_intern(struct compiler *c, uint32_t rule, uint32_t first, uint32_t *number) {
	uint32_t n = c->members - first, hash = 0;
	if (n > 1)
		qsort(c->member + first, n, sizeof *c->member, compare_u32);
	for (uint32_t i = 0; i < n; i++)
		hash = (hash ^ c->member[first + i]) * 2654435761u;
	uint32_t at = (hash ^ hash >> 15) % SLOTS;
	for (; c->slot[at]; at = (at + 1) % SLOTS) {
		const struct subset *s = &c->subset[c->slot[at] - 1];
		if (s->n == n &&
		        memcmp(c->member + s->first, c->member + first, n * sizeof *c->member) == 0) {
			c->members = first;
			*number = c->slot[at] - 1;
			return 0;
		}
	}
	struct grammar *g = c->g;
	if (g->states == GRAMMAR_MAX_STATES)
		return -E2BIG;
	if (!grow(&c->subset, g->states, &c->cap_subset, sizeof *c->subset) ||
	        !grow(&g->state, g->states + 1, &c->cap_state, sizeof *g->state))
		return -ENOMEM;
	c->subset[g->states] = (struct subset){first, n, rule};
	*number = g->states;
	c->slot[at] = ++g->states;
	return 0;
}

/* The first state of a rule. */
static int compiler_rule(struct compiler *c, uint32_t rule, uint32_t *state) {
	const struct rules_rule *x = &c->r->rule[rule];
	if (c->first[rule] == UINT32_MAX) {
		uint32_t first = c->members;
		c->stamp++;
		int rc = compiler_reach(c, x->start, x->end);
		if (rc == 0)
			rc = compiler_intern(c, rule, first, &c->first[rule]);
		if (rc < 0)
			return rc;
	}
	*state = c->first[rule];
	return 0;
}

static const struct rules_edge *compiler_edge(const struct compiler *c, uint32_t k) {
	return &c->r->edge[c->e.order[k]];
}

/* Where the members of a subset get to with what an edge consumes. */
static int compiler_target(
        struct compiler *c, struct subset from, uint32_t rule, unsigned byte, uint32_t *to) {
	uint32_t first = c->members, end = c->r->rule[from.rule].end;
	int rc = 0;
	c->stamp++;
	for (uint32_t i = 0; i < from.n && rc == 0; i++) {
		uint32_t s = c->member[from.first + i];
		for (uint32_t k = c->e.at[s]; k < c->e.at[s + 1] && rc == 0; k++) {
			const struct rules_edge *x = compiler_edge(c, k);
			if (++c->work_done > MAX_WORK)
				return -E2BIG;
			if (x->rule == rule && (rule != RULES_BYTES || (x->lo <= byte && byte <= x->hi)))
				rc = compiler_reach(c, x->to, end);
		}
	}
	*to = UINT32_MAX;
	return rc < 0 || c->members == first ? rc : compiler_intern(c, from.rule, first, to);
}

static int compiler_add_bytes(struct compiler *c, uint32_t first, uint8_t lo, uint8_t hi, uint32_t to) {
	struct grammar *g = c->g;
	if (c->nbytes > first && g->bytes[c->nbytes - 1].to == to && g->bytes[c->nbytes - 1].hi + 1 == lo) {
		g->bytes[c->nbytes - 1].hi = hi;
		return 0;
	}
	if (!grow(&g->bytes, c->nbytes, &c->cap_bytes, sizeof *g->bytes))
		return -ENOMEM;
	g->bytes[c->nbytes++] = (struct grammar_bytes){to, lo, hi};
	return 0;
}

/* The edges of state q with bytes: intervals in which the same edges apply. */
static int compiler_bytes(struct compiler *c, struct subset from) {
	bool begins[257] = {true};
	uint32_t first = c->nbytes, to;
	int rc = 0;
	for (uint32_t i = 0; i < from.n; i++) {
		uint32_t s = c->member[from.first + i];
		for (uint32_t k = c->e.at[s]; k < c->e.at[s + 1]; k++) {
			const struct rules_edge *x = compiler_edge(c, k);
			if (x->rule == RULES_BYTES)
				begins[x->lo] = begins[x->hi + 1] = true;
		}
	}
	begins[256] = true;
	for (unsigned lo = 0, hi; lo < 256 && rc == 0; lo = hi) {
		for (hi = lo + 1; !begins[hi]; hi++)
			;
		rc = compiler_target(c, from, RULES_BYTES, lo, &to);
		if (rc == 0 && to != UINT32_MAX)
			rc = compiler_add_bytes(c, first, (uint8_t)lo, (uint8_t)(hi - 1), to);
	}
	return rc;
}

static int compiler_calls(struct compiler *c, struct subset from) {
	struct grammar *g = c->g;
	const uint32_t first = c->ncalls;
	for (uint32_t i = 0; i < from.n; i++) {
		uint32_t s = c->member[from.first + i];
		for (uint32_t k = c->e.at[s]; k < c->e.at[s + 1]; k++) {
			uint32_t called = compiler_edge(c, k)->rule, start, to, same = first;
			if (called >= RULES_BYTES)
				continue;
			int rc = compiler_rule(c, called, &start);
			if (rc < 0)
				return rc;
			while (same < c->ncalls && g->call[same].rule != start)
				same++;
			if (same < c->ncalls)
				continue;
			rc = compiler_target(c, from, called, 0, &to);
			if (rc == 0 && !grow(&g->call, c->ncalls, &c->cap_call, sizeof *g->call))
				rc = -ENOMEM;
			if (rc < 0)
				return rc;
			if (to != UINT32_MAX)
				g->call[c->ncalls++] = (struct grammar_call){start, to};
		}
	}
	return 0;
}

static int compiler_run(struct compiler *c) {
	struct grammar *g = c->g;
	int rc = compiler_rule(c, 0, &g->start);
	for (uint32_t q = 0; q < g->states && rc == 0; q++) {
		const struct subset from = c->subset[q];
		bool final = false;
		for (uint32_t i = 0; i < from.n; i++)
			final = final || c->member[from.first + i] == c->r->rule[from.rule].end;
		g->state[q] = (struct grammar_state){c->nbytes, c->ncalls, final};
		rc = compiler_bytes(c, from);
		if (rc == 0)
			rc = compiler_calls(c, from);
	}
	if (rc == 0)
		g->state[g->states] = (struct grammar_state){c->nbytes, c->ncalls, false};
	return rc;
}

/* ---- states that cannot reach an end ---- */

/* An edge as one that leads here sees it. */
struct incoming {
	uint32_t to, from;
	uint32_t rule; /* that is called, or UINT32_MAX */
};

struct trimmer {
	struct grammar *g;
	struct incoming *by_to, *by_rule; /* sorted */
	uint32_t n, *work, works;
	bool *good; /* the state reaches an end */
};

static int compare_to(const void *a, const void *b) {
	const struct incoming *x = a, *y = b;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int compare_rule(const void *a, const void *b) {
	const struct incoming *x = a, *y = b;
	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static void trimmer_add(struct trimmer *t, uint32_t q) {
	if (!t->good[q]) {
		t->good[q] = true;
		t->work[t->works++] = q;
	}
}

/* q is good: so is what leads to it, and what calls it and leads on to a good one. */
static void trimmer_spread(struct trimmer *t, uint32_t q) {
	uint32_t lo = 0, hi = t->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (t->by_to[mid].to < q)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < t->n && t->by_to[lo].to == q; lo++)
		if (t->by_to[lo].rule == UINT32_MAX || t->good[t->by_to[lo].rule])
			trimmer_add(t, t->by_to[lo].from);
	for (lo = 0, hi = t->n; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (t->by_rule[mid].rule < q)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < t->n && t->by_rule[lo].rule == q; lo++)
		if (t->good[t->by_rule[lo].to])
			trimmer_add(t, t->by_rule[lo].from);
}

/* Takes the edges away that lead to what is not good. */
static void trimmer_remove(const struct trimmer *t) {
	struct grammar *g = t->g;
	uint32_t nb = 0, nc = 0;
	for (uint32_t q = 0; q < g->states; q++) {
		const struct grammar_state x = g->state[q], next = g->state[q + 1];
		g->state[q].bytes = nb;
		g->state[q].calls = nc;
		for (uint32_t i = x.bytes; i < next.bytes; i++)
			if (t->good[g->bytes[i].to])
				g->bytes[nb++] = g->bytes[i];
		for (uint32_t i = x.calls; i < next.calls; i++)
			if (t->good[g->call[i].to] && t->good[g->call[i].rule])
				g->call[nc++] = g->call[i];
	}
	g->state[g->states].bytes = nb;
	g->state[g->states].calls = nc;
}

static int trimmer_run(struct trimmer *t, char *err, size_t errlen) {
	struct grammar *g = t->g;
	t->n = 0;
	for (uint32_t q = 0; q < g->states; q++) {
		for (uint32_t i = g->state[q].bytes; i < g->state[q + 1].bytes; i++)
			t->by_to[t->n++] = (struct incoming){g->bytes[i].to, q, UINT32_MAX};
		for (uint32_t i = g->state[q].calls; i < g->state[q + 1].calls; i++)
			t->by_to[t->n++] = (struct incoming){g->call[i].to, q, g->call[i].rule};
	}
	memcpy(t->by_rule, t->by_to, t->n * sizeof *t->by_to);
	qsort(t->by_to, t->n, sizeof *t->by_to, compare_to);
	qsort(t->by_rule, t->n, sizeof *t->by_rule, compare_rule);
	for (uint32_t q = 0; q < g->states; q++)
		if (g->state[q].final)
			trimmer_add(t, q);
	while (t->works > 0)
		trimmer_spread(t, t->work[--t->works]);
	trimmer_remove(t);
	if (!t->good[g->start])
		return fail(-EINVAL, err, errlen, "no text matches the grammar%s", "");
	return 0;
}

static int grammar_trim(struct grammar *g, char *err, size_t errlen) {
	struct trimmer t = {.g = g};
	const size_t n = (size_t)g->state[g->states].bytes + g->state[g->states].calls + 1;
	t.by_to = malloc(n * sizeof *t.by_to);
	t.by_rule = malloc(n * sizeof *t.by_rule);
	t.work = malloc(g->states * sizeof *t.work);
	t.good = calloc(g->states, sizeof *t.good);
	int rc = t.by_to && t.by_rule && t.work && t.good ? trimmer_run(&t, err, errlen)
	                                                  : fail_memory(err, errlen);
	free(t.by_to);
	free(t.by_rule);
	free(t.work);
	free(t.good);
	return rc;
}

/* ---- left recursion ---- */

enum colour { NEW, OPEN, DONE };

/* A depth-first search through states by the calls that may be reached without consuming a byte. */
struct leftmost {
	const struct grammar *g;
	bool *nullable; /* the state can reach the end of its rule without consuming */
	uint8_t *colour;
	uint32_t *stack,
	        *next; /* states that are open, and which edge is looked at next, two for each call */
};

static void leftmost_nullable(struct leftmost *l) {
	const struct grammar *g = l->g;
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t q = g->states; q-- > 0;) {
			bool is = g->state[q].final;
			for (uint32_t i = g->state[q].calls; i < g->state[q + 1].calls && !is; i++)
				is = l->nullable[g->call[i].rule] && l->nullable[g->call[i].to];
			changed = changed || is != l->nullable[q];
			l->nullable[q] = is;
		}
	}
}

/* The state that edge i of q leads to without consuming, or UINT32_MAX; false: there is no such edge. */
static bool leftmost_edge(const struct leftmost *l, uint32_t q, uint32_t i, uint32_t *to) {
	const struct grammar *g = l->g;
	if (g->state[q].calls + i / 2 >= g->state[q + 1].calls)
		return false;
	const struct grammar_call *x = &g->call[g->state[q].calls + i / 2];
	*to = i % 2 == 0 ? x->rule : l->nullable[x->rule] ? x->to : UINT32_MAX;
	return true;
}

/* A rule that calls itself before it consumes anything: from is a first state, and one is called again while it is open.  A
 * state may lead back to itself by a repetition of what may be empty, which is not such a call. */
static bool leftmost_search(struct leftmost *l, uint32_t from, const bool *is_first, uint32_t *rule) {
	uint32_t n = 0, to;
	l->stack[n] = from;
	l->next[n++] = 0;
	l->colour[from] = OPEN;
	while (n > 0) {
		uint32_t q = l->stack[n - 1], i = l->next[n - 1]++;
		if (!leftmost_edge(l, q, i, &to)) {
			l->colour[q] = DONE;
			n--;
			continue;
		}
		if (to == UINT32_MAX)
			continue;
		if (l->colour[to] == OPEN && i % 2 == 0 && is_first[to]) {
			*rule = to;
			return true;
		}
		if (l->colour[to] == NEW) {
			l->colour[to] = OPEN;
			l->stack[n] = to;
			l->next[n++] = 0;
		}
	}
	return false;
}

static int leftmost_run(struct leftmost *l, const struct compiler *c, char *err, size_t errlen) {
	const struct grammar *g = l->g;
	bool *is_first = calloc(g->states, sizeof *is_first);
	int rc = is_first ? 0 : fail_memory(err, errlen);
	for (uint32_t i = 0; i < c->r->rules && rc == 0; i++)
		if (c->first[i] != UINT32_MAX)
			is_first[c->first[i]] = true;
	leftmost_nullable(l);
	for (uint32_t q = 0, first; q < g->states && rc == 0; q++)
		if (is_first[q] && l->colour[q] == NEW && leftmost_search(l, q, is_first, &first))
			for (uint32_t i = 0; i < c->r->rules && rc == 0; i++)
				if (c->first[i] == first)
					rc = fail(-EINVAL, err, errlen,
					        "rule %s is left recursive: it begins with itself",
					        c->r->rule[i].name);
	free(is_first);
	return rc;
}

static int grammar_refuse_left_recursion(const struct compiler *c, char *err, size_t errlen) {
	const struct grammar *g = c->g;
	struct leftmost l = {.g = g};
	l.nullable = calloc(g->states, sizeof *l.nullable);
	l.colour = calloc(g->states, sizeof *l.colour);
	l.stack = malloc(g->states * sizeof *l.stack);
	l.next = malloc(g->states * sizeof *l.next);
	int rc = l.nullable && l.colour && l.stack && l.next ? leftmost_run(&l, c, err, errlen)
	                                                     : fail_memory(err, errlen);
	free(l.nullable);
	free(l.colour);
	free(l.stack);
	free(l.next);
	return rc;
}

/* ---- all of it ---- */

static void grammar_classify(struct grammar *g) {
	bool begins[257] = {true};
	for (uint32_t i = 0; i < g->state[g->states].bytes; i++)
		begins[g->bytes[i].lo] = begins[g->bytes[i].hi + 1] = true;
	for (unsigned b = 0; b < 256; b++) {
		if (begins[b])
			g->byte[g->classes++] = (uint8_t)b;
		g->class[b] = (uint8_t)(g->classes - 1);
	}
}

static int compiler_create(struct compiler *c, struct rules *r) {
	*c = (struct compiler){.r = r, .g = calloc(1, sizeof *c->g)};
	c->slot = calloc(SLOTS, sizeof *c->slot);
	c->seen = calloc((size_t)r->states + 1, sizeof *c->seen);
	c->work = malloc(((size_t)r->states + 1) * sizeof *c->work);
	c->first = malloc(r->rules * sizeof *c->first);
	if (!c->g || !c->slot || !c->seen || !c->work || !c->first || edges_index(&c->e, r) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->rules; i++)
		c->first[i] = UINT32_MAX;
	return 0;
}

static int grammar_check_rules(const struct rules *r, char *err, size_t errlen) {
	if (r->error == -E2BIG)
		return fail_size(err, errlen);
	return r->error < 0 ? fail_memory(err, errlen) : 0;
}

int grammar_compile(struct grammar **out, struct rules *r, char *err, size_t errlen) {
	struct compiler c;
	bool changed = true;
	int rc = grammar_check_rules(r, err, errlen);
	*out = NULL;
	for (int i = 0; i < INLINE_DEPTH && changed && rc == 0; i++)
		if (rules_inline(r, &changed) < 0)
			rc = fail_memory(err, errlen);
	if (rc == 0)
		rc = grammar_check_rules(r, err, errlen);
	if (rc < 0)
		return rc;
	rc = compiler_create(&c, r);
	if (rc == 0)
		rc = compiler_run(&c);
	if (rc < 0)
		rc = rc == -E2BIG ? fail_size(err, errlen) : fail_memory(err, errlen);
	if (rc == 0)
		rc = grammar_trim(c.g, err, errlen);
	if (rc == 0)
		rc = grammar_refuse_left_recursion(&c, err, errlen);
	if (rc == 0)
		grammar_classify(c.g);
	compiler_release(&c);
	if (rc < 0)
		grammar_destroy(c.g);
	else
		*out = c.g;
	return rc;
}

void grammar_destroy(struct grammar *g) {
	if (!g)
		return;
	free(g->state);
	free(g->bytes);
	free(g->call);
	free(g);
}

static int grammar_from_rules(struct grammar **out, int rc, struct rules *r, char *err, size_t errlen) {
	*out = NULL;
	if (rc == 0)
		rc = grammar_compile(out, r, err, errlen);
	rules_destroy(r);
	return rc;
}

int grammar_from_gbnf(struct grammar **out, const char *text, size_t len, char *err, size_t errlen) {
	struct rules *r = NULL;
	int rc = gbnf_parse(&r, text, len, err, errlen);
	return grammar_from_rules(out, rc, r, err, errlen);
}

int grammar_from_schema(
        struct grammar **out, const json_t *schema, enum json_space space, char *err, size_t errlen) {
	struct rules *r = NULL;
	int rc = json_schema_rules(&r, schema, space, err, errlen);
	return grammar_from_rules(out, rc, r, err, errlen);
}

int grammar_from_object(struct grammar **out, enum json_space space, char *err, size_t errlen) {
	json_t *any = json_pack("{s:s}", "type", "object");
	int rc = any ? grammar_from_schema(out, any, space, err, errlen) : fail_memory(err, errlen);
	json_decref(any);
	return rc;
}

static int grammar_from_json_text(struct grammar **out, enum grammar_language language, const char *text,
        size_t len, const struct grammar_reasoning *before, char *err, size_t errlen) {
	struct rules *r = NULL;
	json_error_t e;
	if (language == GRAMMAR_OBJECT) {
		text = "{\"type\":\"object\"}";
		len = strlen(text);
	}
	json_t *schema = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
	if (!schema) {
		snprintf(err, errlen, "the schema is not JSON: line %d, column %d: %s", e.line, e.column,
		        e.text);
		return -EINVAL;
	}
	int rc = language == GRAMMAR_CALLS ? calls_rules(&r, schema, JSON_SPACE_LOOSE, err, errlen)
	                                   : json_schema_rules(&r, schema, JSON_SPACE_LOOSE, err, errlen);
	json_decref(schema);
	if (rc == 0 && before)
		thinking_rules(r, before, language != GRAMMAR_CALLS);
	return grammar_from_rules(out, rc, r, err, errlen);
}

int grammar_from_text(struct grammar **out, enum grammar_language language, const char *text, size_t len,
        const struct grammar_reasoning *before, char *err, size_t errlen) {
	*out = NULL;
	switch (language) {
	case GRAMMAR_OBJECT:
	case GRAMMAR_SCHEMA:
	case GRAMMAR_CALLS:
		return grammar_from_json_text(out, language, text, len, before, err, errlen);
	case GRAMMAR_GBNF:
		return grammar_from_gbnf(out, text, len, err, errlen);
	}
	snprintf(err, errlen, "an unknown language of grammars");
	return -EINVAL;
}
