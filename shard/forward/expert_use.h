/* expert_use: how often the router of each layer of a slice has chosen each expert, since the slice is used.
 *
 * A row counts once for each expert that it uses.  What is counted never affects results.
 * Threads: expert_use_add on one member of the team at a time, expert_use_layer on any thread meanwhile. */
#ifndef SHARD_FORWARD_EXPERT_USE_H
#define SHARD_FORWARD_EXPERT_USE_H
#include "shard/model/hparams.h"

struct expert_use;
int expert_use_create(struct expert_use **out, uint32_t layers, uint32_t experts);
void expert_use_destroy(struct expert_use *u); /* NULL allowed */

/* `rows` rows have chosen an expert; layer: counted from the slice's first. */
void expert_use_add(struct expert_use *u, uint32_t layer, uint32_t expert, uint64_t rows);

/* How many rows have chosen an expert. */
uint64_t expert_use_rows(const struct expert_use *u, uint32_t layer, uint32_t expert);

#define EXPERT_USE_TOP 4 /* experts that are named */
struct expert_use_layer {
	uint64_t chosen; /* by all rows together */
	uint32_t
	        half; /* the experts chosen most, so many that they have at least half of that; 0: nothing was chosen */
	uint32_t tops;
	uint32_t top[EXPERT_USE_TOP]; /* `tops` of them: the experts chosen most, the first most of all */
	double share[EXPERT_USE_TOP]; /* of what was chosen, 0 to 1 */
};
void expert_use_layer(const struct expert_use *u, uint32_t layer, struct expert_use_layer *out);

#endif
