/* planner_search: the best way to cut a line of layers among nodes, for planner.c and its tests.
 *
 * Which is best: among the plans that take little longer for a token than the quickest (search_allowed), those that
 * move the fewest bytes to nodes' disks; of these the one whose slowest stage is the least slow; of these the
 * quickest; of these one on the fewest nodes.
 * Owns: nothing; pure, any thread.  Time is whole picoseconds, so that sums do not depend on their order and
 * equal plans are equal. */
#ifndef DAEMON_PLAN_PLANNER_SEARCH_H
#define DAEMON_PLAN_PLANNER_SEARCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_EXACT_MAX 8      /* up to so many nodes every subset in every order is considered, */
#define SEARCH_EXACT_LAYERS 256 /* for models of up to so many layers */

struct search {
	size_t nodes, coordinator;
	uint32_t layers;
	const uint64_t *time;   /* [nodes][layers + 1]: picoseconds of layers [0, l) on the node, ascending */
	const uint64_t *moved;  /* the same: bytes of them that the node's disk has not */
	const uint64_t *weight; /* [layers + 1]: bytes of layers [0, l) */
	uint64_t kv_layer;      /* bytes a layer */
	const uint64_t
	        *room;       /* [nodes]: bytes for weights and KV; what is fixed on the node is off already */
	const uint64_t *hop; /* [nodes]: picoseconds for a row to arrive */
	const bool *required, *excluded; /* [nodes] */
	uint64_t end_time;               /* of the ends, on the coordinator */
	/* Files that a node's store has not yet need room on its disk. */
	const uint64_t *store; /* [nodes]: bytes that it can take; NULL: nobody asks */
	const uint64_t
	        *stored; /* [nodes * (layers + 1)]: bytes of the files that layers [0, l) would add there */
	/* What has no room in a node's memory is read from its disk in every step. */
	const uint64_t *disk; /* [nodes]: picoseconds a MiB, 0: it cannot; NULL: no node does */
	uint64_t buffers;     /* bytes that reading takes on a node that does */
	uint64_t stay_layer;  /* bytes a layer that are never read, KV cache included */
};

struct search_stage {
	size_t node;
	uint32_t first, last;
};

/* stage: room for `nodes` stages.  0, or -ENOSPC when nothing fits, -ENOMEM. */
int search_best(const struct search *s, struct search_stage *stage, size_t *stages);

/* Of a plan: time of a token that goes through these stages, ends and hops included; of the hops alone; of the
 * slowest stage, the ends counted with the coordinator's; bytes that have to move. */
uint64_t search_total(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_hops(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_slowest(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_moved(const struct search *s, const struct search_stage *stage, size_t stages);
/* Time of layers [a, b) on a node: computing, or reading if that is longer. */
uint64_t search_time(const struct search *s, size_t node, uint32_t a, uint32_t b);
bool search_fits(const struct search *s, size_t node, uint32_t first, uint32_t last);
/* Picoseconds that no plan takes less than; 0 without memory to find out. */
uint64_t search_bound(const struct search *s);
/* A plan may take so long and still be preferred for what it moves or for its slowest stage: the least time of all
 * plans, and 3% of the least that computing alone takes.  Hops, which are measured anew every time, are no part of
 * the 3%: which plans over the same nodes are allowed does not depend on how round trips wobble. */
uint64_t search_allowed(uint64_t best, uint64_t computing);

#endif
