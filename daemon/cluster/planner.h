/* planner: which layers on which node, and how fast it will be: a pure function.
 * Owns nothing; any thread. */
#ifndef DAEMON_CLUSTER_PLANNER_H
#define DAEMON_CLUSTER_PLANNER_H
#include "proto/wire.h"
#include "shard/manifest.h"

struct planner_node {
	struct node_id id;
	const char *name;
	uint64_t memory;                     /* that it may still use */
	double bytes_per_second[KERN_TYPES]; /* one column, canonical bytes; 0: not measured */
	double hop;                          /* seconds to send a row to it from another node */
	const uint32_t *held; /* the tensors that its disk has: bit layer * LAYER_ROLES + role; NULL: none */
	size_t held_words;    /* what lies beyond is not there */
	bool required;        /* named by the user: gets at least one layer */
	bool excluded;        /* gets none: a coordinator that is not among the named */
};

struct planner_input {
	const struct manifest *manifest;
	uint32_t context, parallel, max_rows;
	const struct planner_node *node;
	size_t nodes;
	size_t coordinator; /* index: has the ends */
	unsigned team;
};

struct planner_stage {
	size_t node;
	uint32_t first, last;
	uint64_t weights, kv, buffers; /* bytes */
	double seconds;                /* a token: computing */
};

struct planner_plan {
	struct planner_stage *stage; /* owned */
	size_t stages;
	uint32_t blocks; /* KV blocks on each stage */
	double seconds;  /* a token of one stream: stages, hops, ends */
};

/* 0, or -ENOSPC with a sentence that says how much memory is missing, -EINVAL for more required nodes than layers. */
int planner_plan(struct planner_plan *out, const struct planner_input *in, char *err, size_t errlen);
void planner_clear(struct planner_plan *p);

/* What a node is charged for: weights of layers [first, last) as they lie in the store, and all that a slice of them
 * takes with KV and buffers; the ends with their buffers, on the coordinator. Stages check the same sums. */
uint64_t planner_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last);
uint64_t planner_slice_bytes(const struct manifest *m, uint32_t first, uint32_t last, uint32_t blocks,
        uint32_t max_rows, unsigned team);
uint64_t planner_end_bytes(const struct manifest *m, uint32_t parallel, uint32_t max_rows);
uint32_t planner_blocks(uint32_t context, uint32_t parallel); /* KV blocks on each stage */

#endif
