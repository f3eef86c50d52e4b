/* planner_bound: what no plan is quicker than, for those that the search has not gone through whole.
 *
 * Layers are cut as finely as anybody likes: each node computes a byte of weights as quickly as it computes any layer's, and
 * takes as many as it has room for; the quickest are filled first.  On top come the ends and, where one node cannot
 * have everything, a way to another node and one back.
 * Threads: any; pure. */
#include "daemon/plan/planner_search.h"

#include <stdlib.h>

struct offer {
	double pace; /* picoseconds a byte of weights */
	double room; /* bytes of weights */
};

static int offer_compare(const void *a, const void *b) {
	double x = ((const struct offer *)a)->pace, y = ((const struct offer *)b)->pace;
	return (x > y) - (x < y);
}

/* What a node offers: its best pace over all layers, and what it has room for if KV cache took least. */
static struct offer offer_make(const struct search *s, size_t node) {
	const uint64_t *t = s->time + node * (s->layers + 1);
	double all = (double)s->weight[s->layers], heaviest = 0;
	struct offer o = {.pace = -1};
	for (uint32_t l = 0; l < s->layers; l++) {
		double bytes = (double)(s->weight[l + 1] - s->weight[l]),
		       pace = (double)(t[l + 1] - t[l]) / bytes;
		o.pace = o.pace < 0 || pace < o.pace ? pace : o.pace;
		heaviest = bytes > heaviest ? bytes : heaviest;
	}
	/* of the room that a layer takes, weights are this part at most */
	o.room = (double)s->room[node] * (heaviest / (heaviest + (double)s->kv_layer));
	if (s->disk && s->disk[node])
		o.room = all;
	return o;
}

uint64_t search_bound(const struct search *s) {
	struct offer *o = calloc(s->nodes, sizeof *o);
	double left = (double)s->weight[s->layers], sum = (double)s->end_time;
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
		double take = o[i].room < left ? o[i].room : left;
		sum += take * o[i].pace;
		left -= take;
	}
	if (!search_fits(s, s->coordinator, 0, s->layers) && out != UINT64_MAX)
		sum += (double)(out + s->hop[s->coordinator]);
	free(o);
	/* rounding of sums must not make it more than what it bounds */
	return (uint64_t)(sum * (1 - 1e-12));
}
