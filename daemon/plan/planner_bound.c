/* planner_bound: a lower bound on the time of any plan, reported where the search is not exhaustive.
 *
 * A relaxation: layers may be cut anywhere, each node computes every byte of weights at the pace of its quickest layer and
 * takes as many as its memory holds, and the quickest nodes are filled first.  Embedding and output are added, and, where no
 * single node holds everything, one hop away and one back.
 * Threads: any; pure. */
#include "daemon/plan/planner_search.h"

#include <stdlib.h>

struct offer {
	double pace;     /* picoseconds a byte of weights */
	double capacity; /* bytes of weights */
};

static int offer_compare(const void *a, const void *b) {
	double x = ((const struct offer *)a)->pace, y = ((const struct offer *)b)->pace;
	return (x > y) - (x < y);
}

/* The best pace of a node over all layers, and the most weights that it can hold, with the least KV cache.  A layer without
 * weights takes no time. */
static struct offer offer_make(const struct search *s, size_t node) {
	const uint64_t *t = s->time + node * (s->layers + 1);
	double all = (double)s->weight[s->layers], most = 0;
	struct offer o = {.pace = -1};
	for (uint32_t l = 0; l < s->layers; l++) {
		double bytes = (double)(s->weight[l + 1] - s->weight[l]);
		if (bytes == 0)
			continue;
		double pace = (double)(t[l + 1] - t[l]) / bytes,
		       share = bytes / (bytes + (double)(s->kv[l + 1] - s->kv[l]));
		o.pace = o.pace < 0 || pace < o.pace ? pace : o.pace;
		most = share > most ? share : most;
	}
	/* the largest share of a layer's memory that is weights */
	o.capacity = (double)s->memory_limit[node] * most;
	if (s->disk && s->disk[node])
		o.capacity = all;
	return o;
}

uint64_t search_bound(const struct search *s) {
	struct offer *o = calloc(s->nodes, sizeof *o);
	double left = (double)s->weight[s->layers], sum = (double)s->io_time;
	uint64_t out = UINT64_MAX;
	size_t n = 0;
	if (!o)
		return 0;
	for (size_t i = 0; i < s->nodes; i++) {
		if (s->excluded[i])
			continue;
		if (i != s->coordinator && s->hop[i] < out)
			out = s->hop[i];
		o[n++] = offer_make(s, i);
	}
	qsort(o, n, sizeof *o, offer_compare);
	for (size_t i = 0; i < n && left > 0; i++) {
		double take = o[i].capacity < left ? o[i].capacity : left;
		sum += take * o[i].pace;
		left -= take;
	}
	if (!search_fits(s, s->coordinator, 0, s->layers) && out != UINT64_MAX)
		sum += (double)(out + s->hop[s->coordinator]);
	free(o);
	/* rounding must not lift it above what it bounds */
	return (uint64_t)(sum * (1 - 1e-12));
}
