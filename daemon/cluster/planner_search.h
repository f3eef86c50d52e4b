/* planner_search: the best way to cut a line of layers among nodes, for planner.c and its tests.
 *
 * Owns: nothing; pure, any thread.  Time is whole picoseconds, so that sums do not depend on their order and
 * equal plans are equal. */
#ifndef DAEMON_CLUSTER_PLANNER_SEARCH_H
#define DAEMON_CLUSTER_PLANNER_SEARCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_EXACT_MAX 8      /* up to so many nodes every subset in every order is considered, */
#define SEARCH_EXACT_LAYERS 256 /* for models of up to so many layers */

struct search {
	size_t nodes, coordinator;
	uint32_t layers;
	const uint64_t *time;   /* [nodes][layers + 1]: picoseconds of layers [0, l) on the node, ascending */
	const uint64_t *weight; /* [layers + 1]: bytes of layers [0, l) */
	uint64_t kv_layer;      /* bytes a layer */
	const uint64_t
	        *room;       /* [nodes]: bytes for weights and KV; what is fixed on the node is off already */
	const uint64_t *hop; /* [nodes]: picoseconds for a row to arrive */
	const bool *required, *excluded; /* [nodes] */
	uint64_t end_time;               /* of the ends, on the coordinator */
};

struct search_stage {
	size_t node;
	uint32_t first, last;
};

/* stage: room for `nodes` stages.  0, or -ENOSPC when nothing fits, -ENOMEM. */
int search_best(const struct search *s, struct search_stage *stage, size_t *stages);

/* Time of a token that goes through these stages, ends and hops included; and of the slowest stage, the ends
 * counted with the coordinator's. */
uint64_t search_total(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_slowest(const struct search *s, const struct search_stage *stage, size_t stages);
bool search_fits(const struct search *s, size_t node, uint32_t first, uint32_t last);
/* A plan may take so long and still be preferred for its slowest stage: 3% more than the best. */
uint64_t search_allowed(uint64_t best);

#endif
