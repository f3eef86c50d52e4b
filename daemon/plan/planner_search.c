/* planner_search: shortest paths with two costs, time and bytes moved, by label setting with bounds.
 *
 * A state of the graph is a pair (row, layers placed); an edge assigns the next layers to one more node.  With up to
 * SEARCH_EXACT_MAX nodes a row is the set of nodes used, so that the graph has every subset in every order: the search is
 * exact.  With more nodes a row is a position in a fixed order of the nodes, and nodes may be skipped.  Three orders are
 * tried: the coordinator first, or last, with the others by speed; and the order of the layers that nodes have on disk.
 * This is exact in time when all layers are alike, since then the order of the other nodes does not matter.
 * A row of activations takes a hop to every node except a coordinator that comes first, and one back to the coordinator
 * unless that comes last.
 *
 * A backward pass computes the least remaining time and the least remaining bytes of every state.  A forward pass keeps at
 * each state a Pareto front of labels (partial plans).  A label that cannot reach the end within the bounds on time and bytes
 * is dropped at once; the bounds are close to the minimum, so few labels are kept.  The fewest bytes are found by widening
 * their bound, then the fastest slowest stage by bisection over the stage times that occur.  A pass that exceeds EFFORT
 * comparisons gives up (deterministically): the bytes of the quickest plan, or the next slower stage, are used then.
 * Threads: any; pure. */
#include "daemon/plan/planner_search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define UNLIMITED (UINT64_MAX - 1)
#define EFFORT (1u << 25)
#define NONE UINT32_MAX
#define SKIP UINT16_MAX
#define ORDERS 3
#define MIB ((uint64_t)1 << 20)
#define LONGEST \
	((uint64_t)86400 * 1000000000000u) /* of a stage that streams: a day, so that sums do not overflow */

struct label {
	uint64_t time, moved; /* so far */
	uint32_t next;        /* of this state: slower, fewer bytes moved */
	uint32_t parent;
	uint32_t from; /* layers placed before the last stage */
	uint16_t used; /* stages */
	uint16_t node; /* of the last stage; SKIP: the node of this row was skipped */
};

struct graph {
	size_t *order; /* owned; NULL: rows are sets of nodes */
	uint64_t *time_left, *moved_left;
};

struct work {
	const struct search *s;
	size_t rows;
	uint32_t
	        must; /* the required nodes, a bit each, where rows are sets; with an order, search_may_skip checks */
	struct graph graph[ORDERS];
	size_t graphs;
	uint32_t *front; /* the first label of each state */
	struct label *label;
	size_t labels, capacity;
	uint32_t spare; /* free list of labels */
	uint64_t effort;
};

struct bounds {
	uint64_t slowest, time, moved;
};

uint64_t search_allowed(uint64_t best, uint64_t computing) {
	return best + computing / 100 * 3 + computing % 100 * 3 / 100;
}

static uint64_t search_difference(
        const uint64_t *sums, const struct search *s, size_t node, uint32_t a, uint32_t b) {
	const uint64_t *t = sums + node * (s->layers + 1);
	return t[b] - t[a];
}

static uint64_t search_memory_needed(const struct search *s, uint32_t a, uint32_t b) {
	return s->weight[b] - s->weight[a] + s->kv[b] - s->kv[a];
}

bool search_fits(const struct search *s, size_t node, uint32_t a, uint32_t b) {
	return !s->excluded[node] &&
	       (!s->store || search_difference(s->stored, s, node, a, b) <= s->store[node]) &&
	       (search_memory_needed(s, a, b) <= s->memory_limit[node] ||
	               (s->disk && s->disk[node] &&
	                       s->buffers + s->stay[b] - s->stay[a] + s->kv[b] - s->kv[a] <=
	                               s->memory_limit[node]));
}

uint64_t search_time(const struct search *s, size_t node, uint32_t a, uint32_t b) {
	uint64_t t = search_difference(s->time, s, node, a, b), bytes = search_memory_needed(s, a, b),
	         read = 0;
	if (s->disk && bytes > s->memory_limit[node])
		read = ((bytes + s->buffers - s->memory_limit[node]) / MIB + 1) * s->disk[node];
	read = read < LONGEST ? read : LONGEST;
	return t > read ? t : read;
}

uint64_t search_hops(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t sum = 0;
	size_t at = s->coordinator;
	for (size_t i = 0; i < n; i++) {
		if (st[i].node != at)
			sum += s->hop[st[i].node];
		at = st[i].node;
	}
	return at == s->coordinator ? sum : sum + s->hop[s->coordinator];
}

uint64_t search_total(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t sum = s->io_time + search_hops(s, st, n);
	for (size_t i = 0; i < n; i++)
		sum += search_time(s, st[i].node, st[i].first, st[i].last);
	return sum;
}

uint64_t search_moved(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += search_difference(s->moved, s, st[i].node, st[i].first, st[i].last);
	return sum;
}

uint64_t search_slowest(const struct search *s, const struct search_stage *st, size_t n) {
	uint64_t worst = s->io_time;
	for (size_t i = 0; i < n; i++) {
		uint64_t t = search_time(s, st[i].node, st[i].first, st[i].last);
		if (st[i].node == s->coordinator)
			t += s->io_time;
		worst = t > worst ? t : worst;
	}
	return worst;
}

/* ---- the graph ---- */

struct edge {
	size_t node, row; /* node: of the next stage; row: then */
};

/* The nodes that may come next in this row. */
static size_t search_edges(
        const struct work *w, const struct graph *g, size_t row, struct edge edge[SEARCH_EXACT_MAX]) {
	size_t n = 0;
	if (g->order) {
		if (row < w->s->nodes)
			edge[n++] = (struct edge){g->order[row], row + 1};
		return n;
	}
	for (size_t node = 0; node < w->s->nodes; node++)
		if (!(row >> node & 1))
			edge[n++] = (struct edge){node, row | (size_t)1 << node};
	return n;
}

/* Whether the node of this row may be skipped. */
static bool search_may_skip(const struct work *w, const struct graph *g, size_t row) {
	return g->order && row < w->s->nodes && !w->s->required[g->order[row]];
}

static bool search_is_end(const struct work *w, const struct graph *g, size_t row) {
	return g->order ? row == w->s->nodes : (row & w->must) == w->must;
}

/* Time of layers [a, b) as the next stage, with its hops; NEVER when the stage is slower than the bound. */
static uint64_t search_edge_time(
        const struct search *s, size_t node, uint32_t a, uint32_t b, uint64_t slowest) {
	uint64_t t = search_time(s, node, a, b);
	if (t + (node == s->coordinator ? s->io_time : 0) > slowest)
		return NEVER;
	if (!(node == s->coordinator && a == 0))
		t += s->hop[node];
	if (b == s->layers && node != s->coordinator)
		t += s->hop[s->coordinator];
	return t;
}

static void search_lower(uint64_t *to, uint64_t step, uint64_t rest) {
	if (rest != NEVER && step + rest < *to)
		*to = step + rest;
}

/* The backward pass: fills in the least remaining costs of every state.  Returns the least time of a whole plan. */
static uint64_t search_measure_rest(const struct work *w, const struct graph *g, uint64_t slowest) {
	const struct search *s = w->s;
	size_t width = s->layers + 1;
	for (size_t row = w->rows; row-- > 0;) {
		struct edge edge[SEARCH_EXACT_MAX];
		size_t n = search_edges(w, g, row, edge);
		bool skip = search_may_skip(w, g, row), end = search_is_end(w, g, row);
		for (uint32_t a = s->layers + 1; a-- > 0;) {
			size_t at = row * width + a;
			uint64_t time = NEVER, moved = NEVER;
			if (end && a == s->layers)
				time = moved = 0;
			if (skip) {
				search_lower(&time, 0, g->time_left[at + width]);
				search_lower(&moved, 0, g->moved_left[at + width]);
			}
			for (size_t i = 0; i < n; i++)
				for (uint32_t b = a + 1; b <= s->layers && search_fits(s, edge[i].node, a, b);
				        b++) {
					uint64_t t = search_edge_time(s, edge[i].node, a, b, slowest);
					if (t == NEVER)
						break;
					size_t to = edge[i].row * width + b;
					search_lower(&time, t, g->time_left[to]);
					search_lower(&moved,
					        search_difference(s->moved, s, edge[i].node, a, b),
					        g->moved_left[to]);
				}
			g->time_left[at] = time;
			g->moved_left[at] = moved;
		}
	}
	return g->time_left[0];
}

/* ---- labels ---- */

static bool label_is_quicker(const struct label *a, const struct label *b) {
	return a->time < b->time || (a->time == b->time && a->used <= b->used);
}

static uint32_t label_alloc(struct work *w) {
	uint32_t i = w->spare;
	if (i != NONE) {
		w->spare = w->label[i].next;
		return i;
	}
	if (w->labels == w->capacity) {
		size_t capacity = w->capacity ? 2 * w->capacity : 4096;
		struct label *grown = capacity < NONE ? realloc(w->label, capacity * sizeof *grown) : NULL;
		if (!grown)
			return NONE;
		w->label = grown;
		w->capacity = capacity;
	}
	return (uint32_t)w->labels++;
}

/* Adds a label to the front of a state unless it is dominated, and removes those that it dominates; they have no successors
 * yet, because states are expanded in order.  single: keeps only the quickest label of each state.  0 or -ENOMEM. */
static int label_add(struct work *w, size_t state, struct label new, bool single) {
	uint32_t *at = &w->front[state];
	while (*at != NONE && label_is_quicker(&w->label[*at], &new)) {
		w->effort++;
		if (single || w->label[*at].moved <= new.moved)
			return 0;
		at = &w->label[*at].next;
	}
	while (*at != NONE && (single || w->label[*at].moved >= new.moved)) {
		uint32_t beaten = *at;
		w->effort++;
		*at = w->label[beaten].next;
		w->label[beaten].next = w->spare;
		w->spare = beaten;
	}
	size_t offset = 0;
	bool first = at == &w->front[state];
	if (!first) /* label_alloc may move what `at` points into */
		offset = (size_t)((char *)at - (char *)w->label);
	uint32_t i = label_alloc(w);
	if (i == NONE)
		return -ENOMEM;
	if (!first)
		at = (uint32_t *)(void *)((char *)w->label + offset);
	new.next = *at;
	w->label[i] = new;
	*at = i;
	return 0;
}

/* The forward pass, within the bounds.  search_measure_rest must have been called with this bound on the slowest stage.
 * 0: complete; -EAGAIN: it would take too long; -ENOMEM. */
static int search_expand(struct work *w, const struct graph *g, const struct bounds *most, bool single) {
	const struct search *s = w->s;
	size_t width = s->layers + 1;
	int rc = 0;
	for (size_t i = 0; i < w->rows * width; i++)
		w->front[i] = NONE;
	w->labels = 0;
	w->spare = NONE;
	w->effort = 0;
	if (g->time_left[0] > most->time || g->moved_left[0] > most->moved)
		return 0;
	rc = label_add(w, 0, (struct label){.parent = NONE, .node = SKIP}, single);
	for (size_t row = 0; row < w->rows && rc == 0; row++) {
		struct edge edge[SEARCH_EXACT_MAX];
		size_t n = search_edges(w, g, row, edge);
		bool skip = search_may_skip(w, g, row);
		for (uint32_t a = 0; a <= s->layers && rc == 0; a++) {
			uint32_t begin = w->front[row * width + a];
			for (uint32_t i = begin; i != NONE && skip && rc == 0; i = w->label[i].next) {
				struct label l = w->label[i];
				size_t to = (row + 1) * width + a;
				l.parent = i;
				l.node = SKIP;
				if (g->time_left[to] <= most->time &&
				        l.time <= most->time - g->time_left[to] &&
				        g->moved_left[to] <= most->moved &&
				        l.moved <= most->moved - g->moved_left[to])
					rc = label_add(w, to, l, single);
			}
			for (size_t k = 0; k < n && begin != NONE; k++)
				for (uint32_t b = a + 1; b <= s->layers && search_fits(s, edge[k].node, a, b);
				        b++) {
					uint64_t t = search_edge_time(s, edge[k].node, a, b, most->slowest);
					if (t == NEVER)
						break;
					size_t to = edge[k].row * width + b;
					uint64_t d = search_difference(s->moved, s, edge[k].node, a, b);
					if (g->time_left[to] > most->time || g->moved_left[to] > most->moved)
						continue;
					uint64_t time = most->time - g->time_left[to],
					         moved = most->moved - g->moved_left[to];
					for (uint32_t i = begin; i != NONE && rc == 0; i = w->label[i].next) {
						const struct label *l = &w->label[i];
						w->effort++;
						if (l->time + t > time)
							break; /* the remaining labels are slower */
						if (l->moved + d <= moved)
							rc = label_add(w, to,
							        (struct label){l->time + t, l->moved + d,
							                NONE, i, a, (uint16_t)(l->used + 1),
							                (uint16_t)edge[k].node},
							        single);
					}
				}
			if (w->effort > EFFORT)
				return -EAGAIN;
		}
	}
	return rc;
}

/* The complete plan that moves the fewest bytes, or the quickest; NONE if none. */
static uint32_t search_final_label(const struct work *w, const struct graph *g, bool least_moved) {
	const struct search *s = w->s;
	uint32_t best = NONE;
	for (size_t row = 0; row < w->rows; row++) {
		if (!search_is_end(w, g, row))
			continue;
		for (uint32_t i = w->front[row * (s->layers + 1) + s->layers]; i != NONE;
		        i = w->label[i].next) {
			const struct label *l = &w->label[i], *b = &w->label[best == NONE ? i : best];
			if (best == NONE || (least_moved ? l->moved < b->moved : !label_is_quicker(b, l)))
				best = i;
		}
	}
	return best;
}

/* ---- the search ---- */

/* The plan with the fewest bytes, or the quickest, within the bounds, over all graphs.  0, -ENOSPC: there is none, -EAGAIN:
 * not known, -ENOMEM.  stage, stages: receive the plan, or NULL. */
static int search_find(struct work *w, const struct bounds *most, bool least_moved, bool single,
        struct label *found, struct search_stage *stage, size_t *stages) {
	int rc = -ENOSPC;
	for (size_t k = 0; k < w->graphs; k++) {
		const struct graph *g = &w->graph[k];
		int one = search_expand(w, g, most, single);
		if (one == -ENOMEM)
			return one;
		uint32_t i = one ? NONE : search_final_label(w, g, least_moved);
		if (one && rc)
			rc = one;
		if (i == NONE)
			continue;
		const struct label *l = &w->label[i];
		if (rc == 0 && (least_moved ? found->moved <= l->moved : label_is_quicker(found, l)))
			continue;
		rc = 0;
		*found = *l;
		if (!stage)
			continue;
		*stages = l->used;
		for (size_t at = l->used; i != NONE; i = l->parent) {
			l = &w->label[i];
			if (l->node == SKIP)
				continue;
			/* the stage ends where the next one begins, or with the last layer */
			uint32_t last = at == *stages ? w->s->layers : stage[at].first;
			stage[--at] = (struct search_stage){l->node, l->from, last};
		}
	}
	return rc;
}

static void search_measure_all(const struct work *w, uint64_t slowest, uint64_t *time, uint64_t *moved) {
	*time = *moved = NEVER;
	for (size_t k = 0; k < w->graphs; k++) {
		const struct graph *g = &w->graph[k];
		uint64_t t = search_measure_rest(w, g, slowest);
		*time = t < *time ? t : *time;
		*moved = g->moved_left[0] < *moved ? g->moved_left[0] : *moved;
	}
}

/* The fewest bytes that a plan within the time moves.  The bound starts at the fewest of any plan and is widened: a wide bound
 * keeps many labels.  NEVER when it takes too long. */
static int search_fewest_moved(struct work *w, uint64_t time, uint64_t least, uint64_t *moved) {
	uint64_t all = 0;
	for (size_t i = 0; i < w->s->nodes; i++)
		all += search_difference(w->s->moved, w->s, i, 0, w->s->layers);
	for (uint64_t gap = 0;; gap = gap ? 2 * gap : (all - least) / 64 + 1) {
		struct bounds most = {UNLIMITED, time, gap < all - least ? least + gap : all};
		struct label found;
		int rc = search_find(w, &most, true, false, &found, NULL, NULL);
		*moved = rc ? NEVER : found.moved;
		if (rc != -ENOSPC || most.moved == all)
			return rc == -EAGAIN ? 0 : rc;
	}
}

static int search_compare_times(const void *a, const void *b) {
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Every possible time of a stage, ascending: the least feasible bound on the slowest stage is one of them. */
static uint64_t *search_stage_times(const struct search *s, size_t *count) {
	size_t n = 0, per = (size_t)s->layers * (s->layers + 1) / 2;
	uint64_t *t = malloc((s->nodes * per + 1) * sizeof *t);
	if (!t)
		return NULL;
	t[n++] = s->io_time;
	for (size_t node = 0; node < s->nodes; node++)
		for (uint32_t a = 0; a < s->layers; a++)
			for (uint32_t b = a + 1; b <= s->layers && search_fits(s, node, a, b); b++) {
				uint64_t one = search_time(s, node, a, b);
				if (node == s->coordinator)
					one += s->io_time;
				t[n++] = one > s->io_time ? one : s->io_time; /* below this no plan gains */
			}
	qsort(t, n, sizeof *t, search_compare_times);
	*count = n;
	return t;
}

/* ---- orders ---- */

struct speed {
	uint64_t time; /* of all layers */
	size_t node;
};

static int search_compare_speed(const void *a, const void *b) {
	const struct speed *x = a, *y = b;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->node < y->node ? -1 : 1;
}

/* Greedy along the model: next comes the node whose disk has the longest run of layers from here; a layer on no disk is
 * passed over.  The remaining nodes keep their order. */
static void search_order_by_disk(const struct search *s, size_t *order) {
	size_t done = 0;
	for (uint32_t l = 0; l < s->layers && done < s->nodes;) {
		uint32_t longest = l;
		size_t who = done;
		for (size_t i = done; i < s->nodes; i++) {
			uint32_t b = l;
			while (b < s->layers && search_difference(s->moved, s, order[i], b, b + 1) == 0 &&
			        search_fits(s, order[i], l, b + 1))
				b++;
			if (b > longest) {
				longest = b;
				who = i;
			}
		}
		if (longest == l) {
			l++;
			continue;
		}
		size_t node = order[who];
		memmove(&order[done + 1], &order[done], (who - done) * sizeof *order);
		order[done++] = node;
		l = longest;
	}
}

static int search_make_orders(struct work *w) {
	const struct search *s = w->s;
	struct speed *by = malloc(s->nodes * sizeof *by);
	int rc = by ? 0 : -ENOMEM;
	for (size_t k = 0; k < ORDERS && rc == 0; k++) {
		w->graph[k].order = malloc(s->nodes * sizeof *w->graph[k].order);
		rc = w->graph[k].order ? 0 : -ENOMEM;
	}
	if (rc == 0) {
		size_t n = 0;
		for (size_t i = 0; i < s->nodes; i++)
			by[i] = (struct speed){
			        i == s->coordinator ? 0 : 1 + search_difference(s->time, s, i, 0, s->layers),
			        i};
		qsort(by, s->nodes, sizeof *by, search_compare_speed);
		for (size_t i = 0; i < s->nodes; i++)
			w->graph[0].order[i] = w->graph[2].order[i] = by[i].node;
		for (size_t i = 1; i < s->nodes; i++)
			w->graph[1].order[n++] = by[i].node;
		w->graph[1].order[n] = s->coordinator;
		search_order_by_disk(s, w->graph[2].order);
	}
	free(by);
	return rc;
}

static int search_work_create(struct work *w, const struct search *s) {
	bool exact = s->nodes <= SEARCH_EXACT_MAX && s->layers <= SEARCH_EXACT_LAYERS;
	*w = (struct work){.s = s, .rows = exact ? (size_t)1 << s->nodes : s->nodes + 1, .spare = NONE};
	w->graphs = exact ? 1 : ORDERS;
	for (size_t i = 0; i < s->nodes && exact; i++)
		w->must |= s->required[i] ? 1u << i : 0;
	size_t states = w->rows * (s->layers + 1);
	w->front = malloc(states * sizeof *w->front);
	bool ok = w->front != NULL;
	for (size_t k = 0; k < w->graphs && ok; k++) {
		w->graph[k].time_left = malloc(states * sizeof(uint64_t));
		w->graph[k].moved_left = malloc(states * sizeof(uint64_t));
		ok = w->graph[k].time_left && w->graph[k].moved_left;
	}
	return ok && (exact || search_make_orders(w) == 0) ? 0 : -ENOMEM;
}

static void search_work_clear(struct work *w) {
	for (size_t k = 0; k < ORDERS; k++) {
		free(w->graph[k].order);
		free(w->graph[k].time_left);
		free(w->graph[k].moved_left);
	}
	free(w->front);
	free(w->label);
}

/* The least time of computing alone, without hops, embedding and output. */
static int search_least_computing(struct work *w, uint64_t *out) {
	const struct search *s = w->s;
	uint64_t *none = calloc(s->nodes, sizeof *none), moved;
	struct search still = *s;
	if (!none)
		return -ENOMEM;
	still.hop = none;
	w->s = &still;
	search_measure_all(w, UNLIMITED, out, &moved);
	w->s = s;
	free(none);
	return 0;
}

int search_best(const struct search *s, struct search_stage *stage, size_t *stages) {
	struct work w;
	struct label found;
	struct bounds most = {UNLIMITED, 0, UNLIMITED};
	size_t ntimes = 0, low = 0;
	uint64_t computing, best, least, *times = search_stage_times(s, &ntimes);
	int rc = search_work_create(&w, s);
	if (rc == 0 && (!times || search_least_computing(&w, &computing) < 0))
		rc = -ENOMEM;
	if (rc)
		goto error;
	search_measure_all(&w, UNLIMITED, &best, &least);
	rc = -ENOSPC;
	if (best == NEVER)
		goto error;
	most.time = search_allowed(best + s->io_time, computing + s->io_time) - s->io_time;
	/* the quickest plan bounds the bytes, and is the result if the rest takes too long */
	if ((rc = search_find(&w, &most, false, true, &found, stage, stages)) < 0)
		goto error;
	most.moved = found.moved;
	uint64_t moved;
	if ((rc = search_fewest_moved(&w, most.time, least, &moved)) < 0)
		goto error;
	most.moved = moved < most.moved ? moved : most.moved;
	for (size_t high = ntimes - 1; low < high;) { /* the greatest time allows the plan found */
		size_t mid = low + (high - low) / 2;
		uint64_t time, bytes;
		search_measure_all(&w, times[mid], &time, &bytes);
		most.slowest = times[mid];
		rc = time > most.time || bytes > most.moved
		             ? -ENOSPC
		             : search_find(&w, &most, false, false, &found, NULL, NULL);
		if (rc == -ENOMEM)
			goto error;
		if (rc == 0)
			high = mid;
		else
			low = mid + 1;
	}
	most.slowest = times[low];
	search_measure_all(&w, most.slowest, &best, &least);
	rc = search_find(&w, &most, false, false, &found, stage, stages);
	rc = rc == -ENOMEM ? rc : 0;
error:
	free(times);
	search_work_clear(&w);
	return rc;
}
