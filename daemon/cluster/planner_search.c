/* planner_search: two searches with one cost.
 *
 * Up to SEARCH_EXACT_MAX nodes: a table over (set of nodes used, layers placed) holds the least time in which those
 * nodes, in whatever order, compute those layers; a row arrives at each node over its hop, but for a coordinator
 * that comes first, and goes back to the coordinator unless that comes last.  Exact for any layers and nodes.
 * Beyond that: the same over (position in a fixed order, layers placed), where nodes may be passed over; the order
 * is the coordinator first or last and the others by speed.  Exact when layers are alike, since then the order of
 * the others does not matter.
 * The least slowest stage among plans within the allowance is found by halving over the stage times that occur,
 * each time asking for the least total with no stage above a limit.
 * Threads: any; pure. */
#include "daemon/cluster/planner_search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

struct cell {
	uint64_t time; /* NEVER: not reached */
	uint32_t from; /* layers placed before the last stage */
	uint16_t used; /* stages */
	uint16_t node; /* of the last stage; SKIP: none at this position */
};
#define SKIP UINT16_MAX

uint64_t search_allowed(uint64_t best) {
	return best + best / 100 * 3 + best % 100 * 3 / 100;
}

static uint64_t stage_time(const struct search *s, size_t node, uint32_t a, uint32_t b) {
	const uint64_t *t = s->time + node * (s->layers + 1);
	return t[b] - t[a];
}

bool search_fits(const struct search *s, size_t node, uint32_t a, uint32_t b) {
	uint64_t bytes = s->weight[b] - s->weight[a] + (b - a) * s->kv_layer;
	return !s->excluded[node] && bytes <= s->room[node];
}

uint64_t search_total(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t sum = s->end_time;
	size_t at = s->coordinator;
	for (size_t i = 0; i < n; i++) {
		sum += stage_time(s, st[i].node, st[i].first, st[i].last);
		if (st[i].node != at)
			sum += s->hop[st[i].node];
		at = st[i].node;
	}
	return at == s->coordinator ? sum : sum + s->hop[s->coordinator];
}

uint64_t search_slowest(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t worst = s->end_time;
	for (size_t i = 0; i < n; i++) {
		uint64_t t = stage_time(s, st[i].node, st[i].first, st[i].last);
		if (st[i].node == s->coordinator)
			t += s->end_time;
		worst = t > worst ? t : worst;
	}
	return worst;
}

static bool better(uint64_t time, unsigned used, uint64_t than, unsigned than_used) {
	return time < than || (time == than && used < than_used);
}

/* Least time to compute layers [a, b) as the next stage, hops included; NEVER when it may not. */
static uint64_t step_time(const struct search *s, size_t node, uint32_t a, uint32_t b, uint64_t limit) {
	uint64_t t = stage_time(s, node, a, b);
	if (t + (node == s->coordinator ? s->end_time : 0) > limit)
		return NEVER;
	if (!(node == s->coordinator && a == 0))
		t += s->hop[node];
	if (b == s->layers && node != s->coordinator)
		t += s->hop[s->coordinator];
	return t;
}

/* ---- every order ---- */

static uint64_t exact_least(
        const struct search *s, uint64_t limit, struct cell *cell, struct search_stage *st, size_t *n) {
	uint32_t layers = s->layers, width = layers + 1, sets = 1u << s->nodes, must = 0;
	for (size_t i = 0; i < s->nodes; i++)
		must |= s->required[i] ? 1u << i : 0;
	for (size_t i = 0; i < (size_t)sets * width; i++)
		cell[i].time = NEVER;
	cell[0] = (struct cell){0};
	uint64_t best = NEVER;
	uint32_t best_set = 0;
	unsigned best_used = 0;
	for (uint32_t set = 0; set < sets; set++)
		for (uint32_t a = 0; a < layers; a++) {
			const struct cell *c = &cell[(size_t)set * width + a];
			if (c->time == NEVER)
				continue;
			for (size_t node = 0; node < s->nodes; node++) {
				uint32_t with = set | 1u << node;
				if (with == set)
					continue;
				for (uint32_t b = a + 1; b <= layers && search_fits(s, node, a, b); b++) {
					uint64_t t = step_time(s, node, a, b, limit);
					if (t == NEVER)
						break;
					struct cell *d = &cell[(size_t)with * width + b];
					if (better(c->time + t, c->used + 1u, d->time, d->used))
						*d = (struct cell){c->time + t, a, (uint16_t)(c->used + 1),
						        (uint16_t)node};
				}
			}
		}
	for (uint32_t set = 1; set < sets; set++) {
		const struct cell *c = &cell[(size_t)set * width + layers];
		if ((set & must) == must && c->time != NEVER && better(c->time, c->used, best, best_used)) {
			best = c->time;
			best_used = c->used;
			best_set = set;
		}
	}
	if (best == NEVER)
		return NEVER;
	*n = best_used;
	uint32_t l = layers;
	for (size_t i = best_used; i-- > 0;) {
		const struct cell *c = &cell[(size_t)best_set * width + l];
		st[i] = (struct search_stage){c->node, c->from, l};
		best_set &= ~(1u << c->node);
		l = c->from;
	}
	return best;
}

/* ---- one order ---- */

static uint64_t order_least(const struct search *s, const size_t *order, uint64_t limit, struct cell *cell,
        struct search_stage *st, size_t *n) {
	uint32_t layers = s->layers, width = layers + 1;
	for (size_t i = 0; i < (s->nodes + 1) * width; i++)
		cell[i].time = NEVER;
	cell[0] = (struct cell){0};
	for (size_t k = 0; k < s->nodes; k++) {
		size_t node = order[k];
		const struct cell *row = cell + k * width;
		struct cell *next = cell + (k + 1) * width;
		for (uint32_t a = 0; a <= layers; a++) {
			const struct cell *c = &row[a];
			if (c->time == NEVER)
				continue;
			if (!s->required[node] && better(c->time, c->used, next[a].time, next[a].used))
				next[a] = (struct cell){c->time, a, c->used, SKIP};
			for (uint32_t b = a + 1; b <= layers && search_fits(s, node, a, b); b++) {
				uint64_t t = step_time(s, node, a, b, limit);
				if (t == NEVER)
					break;
				if (better(c->time + t, c->used + 1u, next[b].time, next[b].used))
					next[b] = (struct cell){
					        c->time + t, a, (uint16_t)(c->used + 1), (uint16_t)node};
			}
		}
	}
	const struct cell *c = &cell[s->nodes * width + layers];
	uint64_t best = c->time;
	if (best == NEVER)
		return NEVER;
	*n = c->used;
	size_t i = c->used;
	uint32_t l = layers;
	for (size_t k = s->nodes; k > 0; k--) {
		c = &cell[k * width + l];
		if (c->node != SKIP)
			st[--i] = (struct search_stage){c->node, c->from, l};
		l = c->from;
	}
	return best;
}

struct speed {
	uint64_t time; /* of all layers */
	size_t node;
};

static int compare_speed(const void *a, const void *b) {
	const struct speed *x = a, *y = b;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->node < y->node ? -1 : 1;
}

/* ---- both ---- */

struct work {
	const struct search *s;
	struct cell *cell;
	size_t *order[2]; /* the coordinator first, last; NULL: every order */
	struct search_stage *trial;
};

static uint64_t least(const struct work *w, uint64_t limit, struct search_stage *st, size_t *n) {
	if (!w->order[0])
		return exact_least(w->s, limit, w->cell, st, n);
	uint64_t first = order_least(w->s, w->order[0], limit, w->cell, st, n);
	size_t m = 0;
	uint64_t last = order_least(w->s, w->order[1], limit, w->cell, w->trial, &m);
	if (last == NEVER || (first != NEVER && !better(last, (unsigned)m, first, (unsigned)*n)))
		return first;
	memcpy(st, w->trial, m * sizeof *st);
	*n = m;
	return last;
}

static int compare_times(const void *a, const void *b) {
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Every time that a stage can take, ascending: one of them is the least limit under which a plan is allowed. */
static uint64_t *all_times(const struct search *s, size_t *count) {
	size_t n = 0, per = (size_t)s->layers * (s->layers + 1) / 2;
	uint64_t *t = malloc((s->nodes * per + 1) * sizeof *t);
	if (!t)
		return NULL;
	t[n++] = s->end_time;
	for (size_t node = 0; node < s->nodes; node++)
		for (uint32_t a = 0; a < s->layers; a++)
			for (uint32_t b = a + 1; b <= s->layers && search_fits(s, node, a, b); b++) {
				uint64_t one = stage_time(s, node, a, b);
				if (node == s->coordinator)
					one += s->end_time;
				t[n++] = one > s->end_time ? one : s->end_time; /* less is no gain */
			}
	qsort(t, n, sizeof *t, compare_times);
	*count = n;
	return t;
}

static int orders(struct work *w) {
	const struct search *s = w->s;
	struct speed *by = malloc(s->nodes * sizeof *by);
	w->order[0] = malloc(s->nodes * sizeof **w->order);
	w->order[1] = malloc(s->nodes * sizeof **w->order);
	int rc = by && w->order[0] && w->order[1] ? 0 : -ENOMEM;
	if (rc == 0) {
		size_t n = 0;
		for (size_t i = 0; i < s->nodes; i++)
			by[i] = (struct speed){
			        i == s->coordinator ? 0 : 1 + stage_time(s, i, 0, s->layers) + s->hop[i], i};
		qsort(by, s->nodes, sizeof *by, compare_speed);
		for (size_t i = 0; i < s->nodes; i++)
			w->order[0][i] = by[i].node;
		for (size_t i = 1; i < s->nodes; i++)
			w->order[1][n++] = by[i].node;
		w->order[1][n] = s->coordinator;
	}
	free(by);
	return rc;
}

int search_best(const struct search *s, struct search_stage *stage, size_t *stages) {
	struct work w = {.s = s};
	bool exact = s->nodes <= SEARCH_EXACT_MAX && s->layers <= SEARCH_EXACT_LAYERS;
	size_t rows = exact ? (size_t)1 << s->nodes : s->nodes + 1, ntimes = 0;
	uint64_t *times = all_times(s, &ntimes);
	int rc = -ENOMEM;
	w.cell = malloc(rows * (s->layers + 1) * sizeof *w.cell);
	w.trial = malloc(s->nodes * sizeof *w.trial);
	if (!times || !w.cell || !w.trial || (!exact && orders(&w) < 0))
		goto error;
	rc = -ENOSPC;
	uint64_t best = least(&w, NEVER - 1, stage, stages);
	if (best == NEVER)
		goto error;
	uint64_t allowed = search_allowed(best + s->end_time) - s->end_time;
	size_t low = 0, high = ntimes - 1; /* the greatest limit allows the best plan */
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (least(&w, times[mid], stage, stages) <= allowed)
			high = mid;
		else
			low = mid + 1;
	}
	least(&w, times[high], stage, stages);
	rc = 0;
error:
	free(times);
	free(w.cell);
	free(w.trial);
	free(w.order[0]);
	free(w.order[1]);
	return rc;
}
