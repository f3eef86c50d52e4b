/* planner_search: splits the layers of a model among nodes, for planner.c and its tests.
 *
 * Among the plans whose time for a token is close to the least (search_allowed), it selects those that move the fewest bytes
 * to the nodes' disks; of these the one with the fastest slowest stage; of these the quickest; of these the one on the fewest
 * nodes.
 * Owns: nothing; pure, any thread.  Time is in whole picoseconds, so that sums do not depend on their order and equal plans
 * compare equal. */
#ifndef DAEMON_PLAN_PLANNER_SEARCH_H
#define DAEMON_PLAN_PLANNER_SEARCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_EXACT_MAX 8      /* up to this many nodes, every subset in every order is considered, */
#define SEARCH_EXACT_LAYERS 256 /* for models of up to this many layers */

struct search {
	size_t nodes, coordinator;
	uint32_t layers;
	const uint64_t *time;   /* [nodes][layers + 1]: picoseconds of layers [0, l) on the node, ascending */
	const uint64_t *moved;  /* the same: bytes of them that the node's disk has not */
	const uint64_t *weight; /* [layers + 1]: bytes of layers [0, l) */
	const uint64_t *kv;     /* the same of their KV cache */
	const uint64_t *
	        memory_limit; /* [nodes]: bytes for weights and KV; what is fixed on the node is off already */
	const uint64_t *hop;  /* [nodes]: picoseconds for a row to arrive */
	const bool *required, *excluded; /* [nodes] */
	uint64_t io_time;                /* of embedding and output, on the coordinator */
	/* Files that are not in a node's store yet need space on its disk. */
	const uint64_t *store; /* [nodes]: bytes that it can take; NULL: nobody asks */
	const uint64_t
	        *stored; /* [nodes * (layers + 1)]: bytes of the files that layers [0, l) would add there */
	/* Weights that do not fit into a node's memory are streamed from its disk in every step. */
	const uint64_t *disk; /* [nodes]: picoseconds a MiB, 0: it cannot; NULL: no node does */
	uint64_t buffers;     /* bytes that reading takes on a node that does */
	const uint64_t
	        *stay; /* [layers + 1]: bytes of layers [0, l) besides their KV cache that are never read */
};

struct search_stage {
	size_t node;
	uint32_t first, last;
};

/* stage: an array of `nodes` elements, filled in.  0, -ENOSPC when nothing fits, -ENOMEM. */
int search_best(const struct search *s, struct search_stage *stage, size_t *stages);

/* Of a plan: the time of a token, with hops, embedding and output; of the hops alone; of the slowest stage, with embedding
 * and output added to the coordinator's; the bytes that have to move. */
uint64_t search_total(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_hops(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_slowest(const struct search *s, const struct search_stage *stage, size_t stages);
uint64_t search_moved(const struct search *s, const struct search_stage *stage, size_t stages);
/* Time of layers [a, b) on a node: computing, or reading from disk if that takes longer. */
uint64_t search_time(const struct search *s, size_t node, uint32_t a, uint32_t b);
bool search_fits(const struct search *s, size_t node, uint32_t first, uint32_t last);
/* A lower bound of any plan's time, picoseconds; 0 without memory to compute it. */
uint64_t search_bound(const struct search *s);
/* The longest time of a plan that may be preferred for the bytes that it moves or for its slowest stage: the least time of all
 * plans, plus 3% of the least time of computing alone.  Hops do not count in the 3%: round trips vary from one measurement to the
 * next, and must not change which plans over the same nodes are allowed. */
uint64_t search_allowed(uint64_t best, uint64_t computing);

#endif
